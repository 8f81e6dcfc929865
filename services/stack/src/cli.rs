//! The command line of `sealwrightd`.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 usage. Standard output carries answers only (for `dev`, `up` and `run`: the line
//! that begins with `ready`); everything else goes to standard error.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{anyhow, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sealwright_host::Clock;
use sealwright_host::clock::SystemClock;
use sealwright_host::run::shutdown_signal;
use sealwright_host::telemetry::{self, LogFormat, Telemetry, TelemetryConfig};

use crate::config::{self, CONFIG_FILE, Role};
use crate::demo::demo;
use crate::doctor::doctor;
use crate::fsck::fsck;
use crate::init::{Plan, init};
use crate::{Error, Stack, StackConfig};

/// The servers of a private keyless-signing stack.
#[derive(Debug, Parser)]
#[command(name = "sealwrightd", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything on one port of this machine, with an identity provider for development
    Dev(Dev),
    /// Show the five-minute story: sign a file keylessly, verify it, refuse a changed one
    Demo {
        /// The file to sign; a sample when left out. It is only read
        file: Option<PathBuf>,
    },
    /// Make a production instance: keys, logs, trust root and a configuration file
    Init(Init),
    /// Serve every role of a production instance
    Up {
        #[command(flatten)]
        instance: Instance,
    },
    /// Serve one role of a production instance
    Run {
        /// Which
        role: Role,
        /// Listen here instead of where the configuration says: roles on one host need ports of their own
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
        #[command(flatten)]
        instance: Instance,
    },
    /// Read a configuration and everything it names, and say whether it could be served
    CheckConfig {
        #[command(flatten)]
        instance: Instance,
    },
    /// Check every log of an instance that is not running: entries, tiles, checkpoints
    Fsck {
        /// The instance
        #[arg(long)]
        dir: PathBuf,
    },
    /// Look at an instance, running or not, and say what is wrong with it
    Doctor {
        /// The instance
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Instance {
    /// The instance's directory, with sealwright.toml in it
    #[arg(long, required_unless_present = "config")]
    dir: Option<PathBuf>,
    /// The configuration file, where it is not DIR/sealwright.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Instance {
    fn file(self) -> PathBuf {
        let named = self.config;
        named.unwrap_or_else(|| self.dir.unwrap_or_default().join(CONFIG_FILE))
    }
}

#[derive(Debug, Args)]
struct Init {
    /// Where the instance lives; new or empty
    #[arg(long)]
    dir: PathBuf,
    /// Base URL as clients will see it, e.g. `https://sign.example.com`. It never changes
    #[arg(long, value_name = "URL")]
    public_url: String,
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700")]
    listen: SocketAddr,
    /// Who runs the instance: in certificates and trust files
    #[arg(long, value_name = "NAME")]
    organization: String,
    /// Issuer URL of the identity provider whose e-mail identities are certified
    #[arg(long, value_name = "URL")]
    oidc_issuer: String,
    /// Audience of its tokens
    #[arg(long, value_name = "ID", default_value = "sigstore")]
    oidc_client_id: String,
}

#[derive(Debug, Args)]
struct Dev {
    /// Where the stack keeps its keys and state; made when it is new or empty
    #[arg(long)]
    dir: PathBuf,
    /// Loopback address to serve on [default: what DIR was made with, else 127.0.0.1:7700]. Fixed when DIR is made; port 0
    /// takes a free port once and keeps it
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Base URL in certificates and trust files [default: http://ADDR]. Fixed when DIR is made
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Also serve TLS on this loopback address, with a certificate of a local authority (DIR/client/tls_ca.pem)
    #[arg(long, value_name = "ADDR")]
    tls_listen: Option<SocketAddr>,
    /// Approve every login at once as this address; without it there is a login page
    #[arg(long, value_name = "EMAIL")]
    login: Option<String>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

#[derive(Debug, Args)]
struct TelemetryArgs {
    /// Which log lines to write to standard error, e.g. info or warn,sealwright_ca=debug
    #[arg(
        long,
        value_name = "FILTER",
        env = "SEALWRIGHT_LOG",
        default_value = "info"
    )]
    log_filter: String,
    /// Form of the log lines
    #[arg(long, value_enum, default_value = "human")]
    log_format: LogForm,
    /// Export traces over OTLP/gRPC to this URL [default: off]
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// Serve Prometheus metrics on this address [default: off]
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    Human,
    Json,
}

impl From<TelemetryArgs> for TelemetryConfig {
    fn from(args: TelemetryArgs) -> Self {
        Self {
            log_format: match args.log_format {
                LogForm::Human => LogFormat::Human,
                LogForm::Json => LogFormat::Json,
            },
            log_filter: args.log_filter,
            otlp_endpoint: args.otlp_endpoint.filter(|endpoint| !endpoint.is_empty()),
            metrics_listen: args.metrics_listen,
            ..Self::default()
        }
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&anyhow::Error::new(error).context("the runtime cannot be started"));
        }
    };
    let outcome = runtime.block_on(run(cli.command));
    // Work that blocks in the background must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    outcome.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Many errors already repeat their cause.
        if !said.contains(&cause) {
            let gap = if said.is_empty() { "" } else { ": " };
            said.push_str(gap);
            said.push_str(&cause);
        }
    }
    // There is nowhere else to complain.
    let _ = writeln!(std::io::stderr(), "sealwrightd: {said}");
    ExitCode::FAILURE
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Dev(args) => dev(args).await,
        Command::Demo { file } => {
            let _telemetry = quiet()?;
            demo(file.as_deref(), SystemClock::shared(), std::io::stdout()).await
        }
        Command::Init(args) => make(args).await,
        Command::Up { instance } => up(&instance.file(), None, None).await,
        Command::Run {
            role,
            listen,
            instance,
        } => up(&instance.file(), Some(role), listen).await,
        Command::CheckConfig { instance } => {
            let file = instance.file();
            config::load(&file, None)?;
            writeln!(std::io::stdout(), "{} can be served", file.display())?;
            Ok(())
        }
        Command::Fsck { dir } => fsck(&dir, &mut std::io::stdout()),
        Command::Doctor { dir } => {
            let sound = doctor(&dir, SystemClock.unix(), &mut std::io::stdout()).await?;
            ensure!(sound, "{} has faults", dir.display());
            Ok(())
        }
    }
}

/// For commands that talk to a person: errors only.
fn quiet() -> anyhow::Result<Telemetry> {
    Ok(telemetry::init(&TelemetryConfig {
        log_filter: "error".to_owned(),
        ..TelemetryConfig::default()
    })?)
}

async fn make(args: Init) -> anyhow::Result<()> {
    let _telemetry = quiet()?;
    let plan = Plan {
        public_url: args.public_url,
        listen: args.listen,
        organization: args.organization,
        oidc_issuer: args.oidc_issuer,
        oidc_client_id: args.oidc_client_id,
    };
    init(&args.dir, &plan, &SystemClock::shared()).await?;
    let dir = args.dir.display();
    let mut out = std::io::stdout();
    writeln!(out, "made {dir}")?;
    writeln!(
        out,
        "next: read {dir}/{CONFIG_FILE}, move {dir}/offline to a medium apart, give clients {dir}/client/root.json"
    )?;
    writeln!(out, "then: sealwrightd up --dir {dir}")?;
    Ok(())
}

async fn up(file: &Path, role: Option<Role>, listen: Option<SocketAddr>) -> anyhow::Result<()> {
    let mut config = config::load(file, role)?;
    if let Some(address) = listen {
        config.listen_on(address);
    }
    let telemetry = telemetry::init(config.telemetry())?;
    serve(telemetry, Stack::up(config, SystemClock::shared())).await
}

async fn dev(args: Dev) -> anyhow::Result<()> {
    let mut config = StackConfig::dev(args.dir);
    config.listen = args.listen;
    config.public_url = args.public_url;
    config.tls_listen = args.tls_listen;
    config.login = args.login;
    config.telemetry = args.telemetry.into();
    let telemetry = telemetry::init(&config.telemetry)?;
    serve(telemetry, Stack::start(config)).await
}

/// The life of a server process: signals, start, `ready`, drain.
async fn serve(
    telemetry: Telemetry,
    start: impl Future<Output = Result<Stack, Error>>,
) -> anyhow::Result<()> {
    let signal = shutdown_signal()?;
    let stack = start.await?;
    let outcome = stay(&stack, signal).await;
    stack.shutdown().await;
    tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    outcome
}

/// Says `ready` when it is true and stays until a signal comes or a service stops for good. What the stack waits for may be
/// far away and take long; it serves meanwhile, and can be told to go.
async fn stay(stack: &Stack, signal: impl Future<Output = &'static str>) -> anyhow::Result<()> {
    let ends = async {
        tokio::select! {
            name = signal => {
                tracing::info!("{name}: draining");
                Ok(())
            }
            what = stack.stopped() => Err(anyhow!(what)),
        }
    };
    let mut ends = pin!(ends);
    tokio::select! {
        biased;
        outcome = ends.as_mut() => return outcome,
        () = stack.ready() => say_ready(stack)?,
    }
    ends.await
}

fn say_ready(stack: &Stack) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready {}", stack.endpoints().console)?;
    stdout.flush()
}
