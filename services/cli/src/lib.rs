//! The command line of the client: cosign's verbs and flags over `sealwright-sdk`.
//!
//! What a run needs from outside (arguments, environment, clock, standard streams) comes in here and goes on as values; what
//! it decides is the SDK's. Standard output carries results (with `--output json` always one JSON document), standard error
//! everything said to a person. Exit codes: 0 done or verified, 1 refused, 2 usage, 3 could not tell.

mod args;
mod commands;
mod environment;
mod output;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use sealwright_sdk::{Error, TokenSource};

use args::{Cli, Command};
use environment::Environment;
use output::Report;

/// Runs the program with the process's own arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    start_log(cli.verbose);
    let environment = Environment::of_process();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the operating system refuses what a network client needs: {error}");
            return ExitCode::from(output::UNDECIDED);
        }
    };
    let outcome = runtime.block_on(within(
        cli.timeout,
        commands::run(&cli.command, &environment),
    ));
    // A thread that still reads a slow file must not hold up the exit.
    runtime.shutdown_background();
    output::finish(cli.output, cli.command.name(), outcome)
}

/// Help and version go to standard output and succeed; anything else is usage. An argument that was misplaced is quoted by the
/// parser, so one that is a token is taken out first.
fn usage(error: &clap::Error) -> ExitCode {
    let mut message = error.render().to_string();
    for argument in std::env::args().filter(|argument| is_token(argument)) {
        message = message.replace(argument.trim(), "[identity token]");
    }
    if error.use_stderr() {
        eprint!("{message}");
        output::print_usage(&message);
        return ExitCode::from(output::USAGE);
    }
    print!("{message}");
    ExitCode::SUCCESS
}

pub(crate) fn is_token(argument: &str) -> bool {
    matches!(TokenSource::from_argument(argument), TokenSource::Token(_))
}

async fn within(
    limit: Duration,
    work: impl Future<Output = Result<Report, Error>>,
) -> Result<Report, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::TimedOut(limit)),
    }
}

fn start_log(verbose: bool) {
    let level = if verbose {
        tracing::Level::DEBUG
    } else {
        tracing::Level::WARN
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(verbose)
        .init();
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::SignBlob(_) => "sign-blob",
            Self::VerifyBlob(_) => "verify-blob",
            Self::AttestBlob(_) => "attest-blob",
            Self::VerifyBlobAttestation(_) => "verify-blob-attestation",
            Self::Token(_) => "token",
            Self::Trust(_) => "trust",
            Self::Bundle(_) => "bundle",
            Self::Version => "version",
            Self::Completion { .. } => "completion",
        }
    }
}
