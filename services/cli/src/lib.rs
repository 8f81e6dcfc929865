//! The command line of the client: cosign's verbs and flags over `sealwright-sdk`.
//!
//! What a run needs from outside (arguments, environment, clock, standard streams) comes in here and goes on as values; what
//! it decides is the SDK's. Standard output carries results (with `--output json` always one JSON document), standard error
//! everything said to a person. Exit codes: 0 done or verified, 1 refused, 2 usage, 3 could not tell.

mod args;
mod commands;
mod environment;
mod output;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use sealwright_sdk::{Error, TokenSource};
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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

/// Our own warnings, and with `--verbose` everything; what libraries complain of reaches the person as our error.
fn start_log(verbose: bool) {
    let quiet = Targets::new().with_target("sealwright", Level::WARN);
    let filter = if verbose {
        Targets::new().with_default(Level::DEBUG)
    } else {
        quiet
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(verbose);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
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
