//! `sealwright-tuf-conformance`: the protocol by which the published TUF conformance suite drives a client.
//!
//! Nothing is decided here: this is `sealwright_sdk::tuf` with the suite's flags. Files are kept where the suite looks for
//! them, metadata under its unversioned names in one directory and targets in another. Exit code 0 says that everything
//! asked for was done, 1 that it was not, 2 that the command line was not understood.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use sealwright_sdk::read_capped;
use sealwright_sdk::tuf::{Client, DirectoryStore, Mirror, TargetDirectory};

use crate::Patience;
use crate::environment::Environment;

/// As much as a client reads of a root.
const MAX_ROOT_BYTES: usize = 512_000;
/// How long another process may hold the metadata directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// The client under test, as the published TUF conformance suite calls it.
#[derive(Debug, Parser)]
#[command(
    name = "sealwright-tuf-conformance",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    /// Where trusted metadata is kept.
    #[arg(long, value_name = "DIR")]
    metadata_dir: PathBuf,
    /// Base URL of the metadata: http, https or file.
    #[arg(long, value_name = "URL")]
    metadata_url: Option<String>,
    /// A target to download; may be given more than once.
    #[arg(long, value_name = "PATH")]
    target_name: Vec<String>,
    /// Base URL of the targets: http, https or file.
    #[arg(long, value_name = "URL")]
    target_base_url: Option<String>,
    /// Where targets are kept.
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trust a root that came by other means. Nothing is fetched.
    Init {
        /// The root.
        trusted_root: PathBuf,
    },
    /// Bring the metadata up to date.
    Refresh,
    /// Bring the metadata up to date, then download the targets in their order, stopping at the first that fails.
    Download,
}

/// Runs the program with the process's own arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return crate::usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return refused(&error),
    };
    match runtime.block_on(run(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refused(&*error),
    }
}

fn refused(error: &dyn std::error::Error) -> ExitCode {
    crate::output::say(&format!("error: {error}\n"));
    ExitCode::FAILURE
}

async fn run(cli: &Cli) -> Result<(), Box<dyn std::error::Error>> {
    match &cli.command {
        Command::Init { trusted_root } => {
            let root = read_capped("root", trusted_root, MAX_ROOT_BYTES)?;
            DirectoryStore::bootstrap(&cli.metadata_dir, &root, LOCK_PATIENCE).await?;
        }
        Command::Refresh => follow(cli, &[]).await?,
        Command::Download => {
            required(cli.target_name.first(), "--target-name", "a target's path")?;
            follow(cli, &cli.target_name).await?;
        }
    }
    Ok(())
}

/// One client for all of it: the time it starts with is the time of all its decisions.
async fn follow(cli: &Cli, wanted: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let environment = Environment::of_process(Patience::of(Duration::MAX));
    let metadata = required(cli.metadata_url.as_deref(), "--metadata-url", "a URL")?;
    let (targets, directory) = match wanted {
        // Nothing is asked of the other base.
        [] => (metadata, PathBuf::new()),
        _ => (
            required(cli.target_base_url.as_deref(), "--target-base-url", "a URL")?,
            required(cli.target_dir.clone(), "--target-dir", "a directory")?,
        ),
    };
    let mirror = Mirror::new(&environment.http, metadata, targets)?;
    let store = DirectoryStore::exclusive(&cli.metadata_dir, LOCK_PATIENCE).await?;
    let mut client = Client::open(mirror, store, environment.now())?;
    client.refresh().await?;
    for path in wanted {
        let target = client.target(path).await?;
        let target = target.ok_or_else(|| format!("the repository has no target {path:?}"))?;
        let kept = TargetDirectory::new(&directory);
        kept.fetch(&client, &target).await?;
    }
    Ok(())
}

fn required<T>(value: Option<T>, flag: &str, expected: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{flag} is missing; give {expected}"))
}
