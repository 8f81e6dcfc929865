//! The command line of the client: cosign's verbs and flags over `sealwright-sdk`.
//!
//! What a run needs from outside (arguments, environment, clock, standard streams) comes in here and goes on as values; what
//! it decides is the SDK's. Standard output carries results (with `--output json` always one JSON document), standard error
//! everything said to a person. Exit codes: 0 done or verified, 1 refused, 2 usage, 3 could not tell.

mod args;
mod commands;
pub mod conformance;
mod environment;
mod output;
pub mod tuf_conformance;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser as _;
use sealwright_sdk::{Error, TokenSource};
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use args::{Cli, Command, Output};
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
    let name = cli.command.name();
    drive(cli.output, name, cli.timeout, async |environment| {
        commands::run(&cli.command, environment).await
    })
}

/// Runs `work` on a runtime of its own for no longer than `limit`, prints what it has to say and turns it into an exit code.
fn drive(
    output: Output,
    name: &'static str,
    limit: Duration,
    work: impl AsyncFnOnce(&Environment) -> Result<Report, Error>,
) -> ExitCode {
    let patience = Patience::of(limit);
    let environment = Environment::of_process(patience.clone());
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::say(&format!(
                "error: the operating system refuses what a network client needs: {error}\n"
            ));
            return ExitCode::from(output::UNDECIDED);
        }
    };
    let outcome = runtime.block_on(within(&patience, work(&environment)));
    // A thread that still reads a slow file must not hold up the exit.
    runtime.shutdown_background();
    output::finish(output, name, outcome)
}

/// Help and version go to standard output and succeed; anything else is usage. An argument that was misplaced is quoted by the
/// parser, so one that is a token is taken out first.
fn usage(error: &clap::Error) -> ExitCode {
    let mut message = error.render().to_string();
    for argument in std::env::args().filter(|argument| is_token(argument)) {
        message = message.replace(argument.trim(), "[identity token]");
    }
    if error.use_stderr() {
        output::say(&message);
        output::print_usage(&message);
        return ExitCode::from(output::USAGE);
    }
    match output::print_all(&message) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            output::say(&format!("error: standard output: {error}\n"));
            ExitCode::from(output::UNDECIDED)
        }
        _ => ExitCode::SUCCESS,
    }
}

pub(crate) fn is_token(argument: &str) -> bool {
    matches!(TokenSource::from_argument(argument), TokenSource::Token(_))
}

/// How long a command may take. Time that is given to a person comes on top.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    limit: Duration,
    on_top_ms: Arc<AtomicU64>,
}

impl Patience {
    fn of(limit: Duration) -> Self {
        Self {
            limit,
            on_top_ms: Arc::default(),
        }
    }

    /// Gives a person so much time.
    pub(crate) fn extend(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.on_top_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    fn total(&self) -> Duration {
        let on_top_ms = self.on_top_ms.load(Ordering::Relaxed);
        self.limit.saturating_add(Duration::from_millis(on_top_ms))
    }
}

async fn within(
    patience: &Patience,
    work: impl Future<Output = Result<Report, Error>>,
) -> Result<Report, Error> {
    tokio::pin!(work);
    let mut waited = Duration::ZERO;
    loop {
        let total = patience.total();
        if total <= waited {
            return Err(Error::TimedOut(patience.limit));
        }
        if let Ok(outcome) = tokio::time::timeout(total - waited, &mut work).await {
            return outcome;
        }
        waited = total;
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
        // A line that cannot be written is complained of on the same stream, with a panic when that fails too.
        .log_internal_errors(false)
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
            Self::Certificate(_) => "certificate",
            Self::Token(_) => "token",
            Self::Trust(_) => "trust",
            Self::Bundle(_) => "bundle",
            Self::Version => "version",
            Self::Completion { .. } => "completion",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_persons_time_comes_on_top() {
        let patience = Patience::of(Duration::from_millis(20));
        assert!(
            within(&patience, async { Ok(Report::default()) })
                .await
                .is_ok()
        );
        let late = within(&patience, std::future::pending()).await;
        assert!(matches!(late, Err(Error::TimedOut(limit)) if limit.as_millis() == 20));
        let asking = async {
            patience.extend(Duration::from_secs(3600));
            tokio::time::sleep(Duration::from_millis(60)).await;
            Ok(Report::default())
        };
        assert!(within(&patience, asking).await.is_ok());
    }
}
