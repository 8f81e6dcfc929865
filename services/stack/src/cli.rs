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

use crate::apart::{ApartPlan, init_apart};
use crate::backup::{Backup, backup};
use crate::bench::{Bench, bench};
use crate::config::{self, CONFIG_FILE, Role};
use crate::demo::demo;
use crate::doctor::doctor;
use crate::fsck::{Fsck, fsck};
use crate::health::health;
use crate::init::{Plan, init};
use crate::internal::{renew_all, renew_one};
use crate::log_verbs::{self, Verb};
use crate::operator::{Step, operate};
use crate::restore::{RestoreArgs, restore};
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
        /// For this role alone, where roles run apart
        #[arg(long)]
        role: Option<Role>,
        #[command(flatten)]
        instance: Instance,
    },
    /// Build the trust root from the running services and publish it, step by step
    Trust {
        /// The directory of the instance, or of the trust role
        #[arg(long)]
        dir: PathBuf,
        #[command(subcommand)]
        step: Step,
    },
    /// Make a witness of logs, and tell logs and witness of each other
    #[command(subcommand)]
    Witness(crate::witness::Command),
    /// Look at the logs of a running instance, rotate them, freeze them
    Log {
        #[command(subcommand)]
        verb: Verb,
    },
    /// Renew the certificates that roles show each other; running processes notice by themselves
    InternalCert(InternalCert),
    /// Ask a running server how it is, and fail when it is not well
    Health {
        /// Plain http URL; its /readyz is asked when it names no path
        #[arg(default_value = "http://127.0.0.1:7700")]
        url: String,
    },
    /// Check every log of an instance that is not running: entries, tiles, checkpoints
    Fsck(Fsck),
    /// Copy an instance while it runs, so that it can be put back
    Backup(Backup),
    /// Find out what a directory from a backup has lost, and make its logs safe to go on
    Restore(RestoreArgs),
    /// Look at an instance, running or not, and say what is wrong with it
    Doctor {
        /// The instance
        #[arg(long)]
        dir: PathBuf,
    },
    /// Measure what this machine can do
    Bench {
        #[command(subcommand)]
        what: Bench,
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
    /// One process for everything, or directories for roles that run apart (ca, log, tsa, trust)
    #[arg(long, value_enum, default_value = "together")]
    layout: Layout,
    /// Base URL as clients will see it, e.g. `https://sign.example.com`. It never changes
    #[arg(
        long,
        value_name = "URL",
        required_unless_present_all = ["ca_url", "log_url", "tsa_url", "trust_url"]
    )]
    public_url: Option<String>,
    /// Base URL of the certificate authority, where roles run apart [default: the public URL]
    #[arg(long, value_name = "URL")]
    ca_url: Option<String>,
    /// Base URL of the logs, where roles run apart [default: the public URL]
    #[arg(long, value_name = "URL")]
    log_url: Option<String>,
    /// Base URL of the timestamp authority, where roles run apart [default: the public URL]
    #[arg(long, value_name = "URL")]
    tsa_url: Option<String>,
    /// Base URL of the trust root, where roles run apart [default: the public URL]
    #[arg(long, value_name = "URL")]
    trust_url: Option<String>,
    /// Address to listen on. Where roles run apart, their ports are counted from this one (clients +1 to +4, each other +11
    /// to +13), and 0.0.0.0 stands for hosts of their own, which find each other by name
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

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Layout {
    Together,
    Apart,
}

#[derive(Debug, Args)]
struct InternalCert {
    /// What `init --layout apart` has made: every role below it is renewed with the authority in DIR/offline
    #[arg(long, required_unless_present = "offline", conflicts_with_all = ["offline", "role", "out"])]
    dir: Option<PathBuf>,
    /// The folder with the internal authority, to write a file for a role elsewhere
    #[arg(long, value_name = "DIR", requires_all = ["role", "out"])]
    offline: Option<PathBuf>,
    /// The role
    #[arg(long, requires = "offline")]
    role: Option<Role>,
    /// The file to write: to be put in place as keys/internal.pem
    #[arg(long, value_name = "FILE", requires = "offline")]
    out: Option<PathBuf>,
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
        Command::CheckConfig { role, instance } => {
            let file = instance.file();
            config::load(&file, role)?;
            writeln!(std::io::stdout(), "{} can be served", file.display())?;
            Ok(())
        }
        Command::Trust { dir, step } => {
            operate(&dir, step, SystemClock.unix(), &mut std::io::stdout()).await
        }
        Command::Witness(command) => {
            let _telemetry = quiet()?;
            command
                .run(&SystemClock::shared(), &mut std::io::stdout())
                .await
        }
        Command::Log { verb } => {
            let mut out = std::io::stdout();
            log_verbs::run(verb, SystemClock.unix(), &mut out).await
        }
        Command::InternalCert(args) => renew(args),
        Command::Health { url } => {
            let (status, report) = health(&url).await?;
            writeln!(std::io::stdout(), "{}", report.trim_end())?;
            ensure!(status == 200, "{url} answers {status}");
            Ok(())
        }
        Command::Bench { what } => {
            let _telemetry = quiet()?;
            bench(what, SystemClock::shared(), &mut std::io::stdout()).await
        }
        Command::Fsck(args) => {
            let _telemetry = quiet()?;
            fsck(args, SystemClock.unix(), &mut std::io::stdout()).await
        }
        Command::Backup(args) => {
            let _telemetry = quiet()?;
            backup(args, SystemClock.unix(), &mut std::io::stdout()).await
        }
        Command::Restore(args) => {
            // What an operator overrides is said in the log, too.
            let _telemetry = telemetry::init(&TelemetryConfig {
                log_filter: "error,audit=info".to_owned(),
                ..TelemetryConfig::default()
            })?;
            restore(args, SystemClock::shared(), &mut std::io::stdout()).await
        }
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
    let apart = [&args.ca_url, &args.log_url, &args.tsa_url, &args.trust_url];
    if args.layout == Layout::Apart {
        return make_apart(args).await;
    }
    ensure!(
        apart.iter().all(|url| url.is_none()),
        "URLs of single roles are for `--layout apart`; together they share --public-url"
    );
    let plan = Plan {
        public_url: args.public_url.unwrap_or_default(),
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

async fn make_apart(args: Init) -> anyhow::Result<()> {
    let public = args.public_url.unwrap_or_default();
    let url = |own: Option<String>| own.unwrap_or_else(|| public.clone());
    let plan = ApartPlan {
        ca_url: url(args.ca_url),
        log_url: url(args.log_url),
        tsa_url: url(args.tsa_url),
        trust_url: url(args.trust_url),
        listen: args.listen,
        organization: args.organization,
        oidc_issuer: args.oidc_issuer,
        oidc_client_id: args.oidc_client_id,
    };
    init_apart(&args.dir, &plan, &SystemClock::shared()).await?;
    let dir = args.dir.display();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "made {dir}/ca {dir}/log {dir}/tsa {dir}/trust {dir}/offline"
    )?;
    writeln!(
        out,
        "next: read {dir}/*/{CONFIG_FILE}, and take each folder to where its role runs"
    )?;
    writeln!(
        out,
        "then: sealwrightd run ROLE --dir {dir}/ROLE, for ca, log, tsa and trust"
    )?;
    writeln!(
        out,
        "then: sealwrightd trust --dir {dir}/trust stage, sign --key {dir}/offline/targets.pem, publish, activate"
    )?;
    writeln!(
        out,
        "then: move {dir}/offline to a medium apart, give clients {dir}/trust/client/root.json"
    )?;
    Ok(())
}

fn renew(args: InternalCert) -> anyhow::Result<()> {
    let now = SystemClock.unix();
    let mut out = std::io::stdout();
    match args {
        InternalCert {
            offline: Some(offline),
            role: Some(role),
            out: Some(file),
            ..
        } => {
            renew_one(&offline, role, now, &file)?;
            writeln!(out, "wrote {}", file.display())?;
        }
        InternalCert { dir, .. } => {
            for role in renew_all(&dir.unwrap_or_default(), now)? {
                writeln!(out, "renewed {}", role.name())?;
            }
        }
    }
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
