//! `sealwrightd log import`: a log that another server wrote becomes one to be read here.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use sealwright_host::grpc::socket_channel;
use sealwright_log::{ImportPlan, Imported, Kind as LogKind, imported_log};
use sealwright_proto::sealwright::log::v1 as log_wire;
use sealwright_proto::sealwright::trust::v1 as wire;
use sealwright_proto::sealwright::trust::v1::trust_client::TrustClient;

use crate::assemble::CONTROL_SOCKET;
use crate::config::CONFIG_FILE;
use crate::files;
use crate::log_control::LOG_SOCKET;
use crate::log_sections;
use crate::operator::{said, tell_staged};
use crate::place::kind_of;
use crate::rotate::{log_control, require_new};

/// What stands above the section of an imported log.
const HEADING: &str =
    "# A log that another server wrote, brought here by `sealwrightd log import`, to be read.\n";
/// Progress is told once for so many entries.
const TOLD: u64 = 1 << 18;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The directory of the instance, or of the log role; running or not
    #[arg(long)]
    dir: PathBuf,
    /// A folder with `checkpoint` and `tile/` (C2SP tlog-tiles), or the https address below which they are served
    #[arg(long, value_name = "DIR|URL")]
    from: String,
    /// The key that signs the log's checkpoints, as signed notes have it: NAME+ID+KEY
    #[arg(long, value_name = "VKEY")]
    vkey: String,
    /// First line of the log's checkpoints
    #[arg(long, value_name = "ORIGIN")]
    origin: String,
    /// What the log is called here
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Base URL at which it can be read from now on: a host name of its own, or, for certificates, a path /ct/NAME
    #[arg(long, value_name = "URL")]
    url: String,
    /// What it holds
    #[arg(long, value_enum, default_value = "rekor")]
    kind: Holds,
    /// Who ran it
    #[arg(long, value_name = "NAME", default_value = "")]
    operator: String,
    /// Stage its key for the trust root, so that verifiers believe its entries; signing and publishing stay steps of their own
    #[arg(long, requires = "valid_from")]
    trust: bool,
    /// From when on its key signed, Unix seconds
    #[arg(long, value_name = "SECONDS")]
    valid_from: Option<i64>,
    /// Until when [default: now]
    #[arg(long, value_name = "SECONDS", requires = "trust")]
    valid_until: Option<i64>,
    /// The directory of the trust role, where roles run apart
    #[arg(long, value_name = "DIR", requires = "trust")]
    trust_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Holds {
    /// Signatures: entry bundles below tile/entries
    Rekor,
    /// Certificates: data tiles below tile/data, and issuers
    Ct,
}

impl From<Holds> for LogKind {
    fn from(holds: Holds) -> Self {
        match holds {
            Holds::Rekor => Self::Rekor,
            Holds::Ct => Self::Ct,
        }
    }
}

/// Imports at `now` (Unix seconds). Every step may be repeated: what is there already is left as it is.
pub(crate) async fn import(args: Import, now: i64, out: &mut impl Write) -> anyhow::Result<()> {
    ensure!(
        kind_of(&args.dir)?.is_some(),
        "{} holds no instance",
        args.dir.display()
    );
    let running = args.dir.join(LOG_SOCKET).exists();
    let section = section(&args)?;
    if log_sections::written(&args.dir, CONFIG_FILE, &args.name)?.is_none() && running {
        let status = log_control(&args.dir)?
            .status(log_wire::StatusRequest {})
            .await;
        require_new(
            &args.name,
            &args.url,
            &status.map_err(said)?.into_inner().shards,
        )?;
    }
    require_own_origin(&args)?;
    let imported = fetch(&args, now, out).await?;
    log_sections::create(&args.dir, &args.name, &section)?;
    if running {
        let request = log_wire::OpenRequest {
            name: args.name.clone(),
        };
        log_control(&args.dir)?.open(request).await.map_err(said)?;
        writeln!(out, "{} can be read at {}", args.name, args.url)?;
    } else {
        writeln!(
            out,
            "{} can be read at {} from the next start on",
            args.name, args.url
        )?;
    }
    match args.trust {
        true => stage(&args, &imported, now, out).await,
        false => Ok(writeln!(
            out,
            "verifiers are not told of its key (--trust)"
        )?),
    }
}

/// Two logs of one origin would be taken for a fork; a start would refuse them.
fn require_own_origin(args: &Import) -> anyhow::Result<()> {
    let folder = args.dir.join("log");
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let records = ["log.json", "imported.json"].map(|file| std::fs::read(path.join(file)));
        let origins = records.into_iter().filter_map(|record| {
            let record: serde_json::Value = serde_json::from_slice(&record.ok()?).ok()?;
            record["origin"].as_str().map(str::to_owned)
        });
        let taken = origins.into_iter().any(|origin| origin == args.origin);
        ensure!(
            !taken || path == folder.join(&args.name),
            "{} holds the log {:?} already",
            path.display(),
            args.origin
        );
    }
    Ok(())
}

/// The section, refused before anything is copied when no log could have it.
fn section(args: &Import) -> anyhow::Result<String> {
    let text = |value: &str| toml::Value::String(value.to_owned());
    let kind = match args.kind {
        Holds::Rekor => "rekor",
        Holds::Ct => "ct",
    };
    let table = [
        ("name", text(&args.name)),
        ("kind", text(kind)),
        ("url", text(&args.url)),
        ("operator", text(&args.operator)),
        ("imported", toml::Value::Boolean(true)),
    ];
    let table = table
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    let section = log_sections::section(HEADING, table.collect())?;
    log_sections::check(&section, &args.name)?;
    Ok(section)
}

async fn fetch(args: &Import, now: i64, out: &mut impl Write) -> anyhow::Result<Imported> {
    let folder = args.dir.join("log");
    let there = folder.join(&args.name);
    if there.exists() {
        let imported = imported_log(&there)
            .with_context(|| format!("{} is there and is no imported log", there.display()))?;
        ensure!(
            (imported.vkey.as_str(), imported.origin.as_str()) == (&*args.vkey, &*args.origin),
            "{} is there and holds another log",
            there.display()
        );
        writeln!(
            out,
            "{} was imported before: {} entries",
            args.name, imported.size
        )?;
        return Ok(imported);
    }
    files::make_private_folder(&folder)?;
    let plan = ImportPlan {
        from: args.from.clone(),
        vkey: args.vkey.clone(),
        origin: args.origin.clone(),
        name: args.name.clone(),
        kind: args.kind.into(),
    };
    let told = std::sync::atomic::AtomicU64::new(0);
    let progress = |read: u64, size: u64| {
        let step = read / TOLD;
        if told.swap(step, std::sync::atomic::Ordering::Relaxed) != step {
            tracing::info!(read, size, "importing");
        }
    };
    let imported = sealwright_log::import(&plan, &folder, now, progress).await?;
    writeln!(
        out,
        "imported {}: {} entries, all of which lead to its checkpoint",
        args.name, imported.size
    )?;
    Ok(imported)
}

async fn stage(
    args: &Import,
    imported: &Imported,
    now: i64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let dir = args.trust_dir.as_ref().unwrap_or(&args.dir);
    let socket = dir.join(CONTROL_SOCKET);
    if !socket.exists() {
        bail!(
            "no trust service is running on {}; name its directory with --trust-dir",
            dir.display()
        );
    }
    let kind = match args.kind {
        Holds::Rekor => wire::MaterialKind::TransparencyLog,
        Holds::Ct => wire::MaterialKind::CtLog,
    };
    let foreign = wire::ForeignLog {
        kind: kind as i32,
        // Clients derive the origin from it, so it is where the log was and not where it is read now.
        url: format!("https://{}", args.origin),
        origin: args.origin.clone(),
        operator: args.operator.clone(),
        public_key: imported.public_key.clone(),
        key_name: imported.key_name.clone(),
        checkpoint: imported.checkpoint.clone().into_bytes(),
        valid_from: args.valid_from.unwrap_or_default(),
        valid_until: args.valid_until.unwrap_or(now),
    };
    let request = wire::StageRequest {
        foreign_logs: vec![foreign],
        ..wire::StageRequest::default()
    };
    let mut trust = TrustClient::new(socket_channel(&socket));
    let answer = trust.stage(request).await.map_err(said)?.into_inner();
    match answer.staged {
        Some(staged) => tell_staged(&staged, out)?,
        None => writeln!(out, "the trust root has its key already")?,
    }
    Ok(())
}
