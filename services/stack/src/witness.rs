//! Making a witness, and the lines by which logs and witnesses learn of each other.
//!
//! A witness's directory holds its configuration, its key and its state, and nothing of a deployment: it belongs to
//! somebody else than the logs, or at least to another machine. `init` prints what the log's operator puts into the
//! witness policy; `log-keys`, run where the logs are, prints what the witness's operator puts into its list.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use sealwright_crypto::KeyType;
use sealwright_host::SharedClock;
use sealwright_host::metrics::Registry;

use crate::assemble;
use crate::config::{self, CONFIG_FILE, Role};
use crate::endpoints::base_url;
use crate::error::Error;
use crate::files::{self, Readers};
use crate::init::{DRAFT, OPTIONS_OF_HOST, quoted};
use crate::keys::KeyRing;
use crate::place::{Kind, Place, Share};

/// The list of logs that `init` makes, for lines that `log-keys` prints.
const LOG_LIST: &str = "logs.txt";
const LOG_LIST_HEAD: &str = "# The logs that this witness cosigns, a line each: log VKEY [URL]. Printed by `sealwrightd witness log-keys` where the log\n\
     # runs. A running witness reads this file again when it changes.\n";

/// `sealwrightd witness`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a witness: its key, its empty memory, its configuration
    Init {
        /// Where it lives; new or empty
        #[arg(long)]
        dir: PathBuf,
        /// Its name on cosignatures, e.g. witness.example.com/w1; it never changes
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Base URL as logs and monitors will see it, e.g. `https://witness.example.com`
        #[arg(long, value_name = "URL")]
        url: String,
        /// Address to listen on
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7710")]
        listen: SocketAddr,
    },
    /// Print a witness's key, and its line for a witness policy
    Show {
        /// The witness's directory
        #[arg(long)]
        dir: PathBuf,
    },
    /// Print the keys of a log instance, in the lines that a witness's list takes
    LogKeys {
        /// The directory of the instance, or of the log role
        #[arg(long)]
        dir: PathBuf,
    },
}

impl Command {
    pub(crate) async fn run(self, clock: &SharedClock, out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            Self::Init {
                dir,
                name,
                url,
                listen,
            } => {
                init(&dir, &name, &url, listen, clock).await?;
                writeln!(out, "made {}", dir.display())?;
                show(&dir, out)?;
                writeln!(
                    out,
                    "next: put the log's line (`sealwrightd witness log-keys`, where it runs) into {}",
                    dir.join(LOG_LIST).display()
                )?;
                writeln!(out, "then: sealwrightd run witness --dir {}", dir.display())?;
                Ok(())
            }
            Self::Show { dir } => show(&dir, out),
            Self::LogKeys { dir } => log_keys(&dir, out),
        }
    }
}

/// Makes a witness in `dir`.
///
/// # Errors
/// See [`Error`]; a directory that holds an instance is never touched, and one that was cut short is completed.
async fn init(
    dir: &Path,
    name: &str,
    url: &str,
    listen: SocketAddr,
    clock: &SharedClock,
) -> Result<(), Error> {
    let base = base_url(url)?;
    let place = Place::claim(dir, Kind::Production, Share::Whole)?;
    let config_path = place.path(CONFIG_FILE);
    if config_path.exists() {
        return Err(Error::AlreadyThere {
            dir: dir.to_owned(),
        });
    }
    KeyRing::new(&place, Kind::Production, name, clock.unix())
        .online("witness", KeyType::Ed25519)?;
    let list = place.path(LOG_LIST);
    if !list.exists() {
        files::write_atomically(&list, LOG_LIST_HEAD.as_bytes(), Readers::All)?;
    }
    // The configuration gets its name last: what is cut short before is completed by another `init`.
    let draft = place.path(DRAFT);
    let text = sample(name, &base, listen);
    files::write_atomically(&draft, text.as_bytes(), Readers::All)?;
    let mut validated = config::load(&draft, Some(Role::Witness))?;
    if let Some(part) = &mut validated.parts.witness {
        part.create = true;
    }
    let registry = Registry::new();
    let services = assemble::open(validated.parts, place.dir(), &registry, clock, None).await?;
    services.shutdown().await;
    std::fs::rename(&draft, &config_path).map_err(Error::io(config_path))
}

fn sample(name: &str, base: &str, listen: SocketAddr) -> String {
    format!(
        r#"# A witness of transparency logs: `sealwrightd run witness --dir .` Unknown keys are refused;
# `sealwrightd check-config --role witness` reads this file and all it names.
#
# Never put its state (the folder `witness`) back from a backup: it would cosign what it has forgotten. A witness that lost
# its state starts anew, with a new name and key.

[host]
listen = ["{listen}"]
public_url = "{base}"

{OPTIONS_OF_HOST}
[witness]
name = {name}
url = "{base}"
key = "file:keys/witness.key"
log_lists = ["{LOG_LIST}"]
"#,
        name = quoted(name),
    )
}

/// Prints the key and the policy line of the witness in `dir`.
fn show(dir: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = config::load(&dir.join(CONFIG_FILE), Some(Role::Witness))?;
    let Some(part) = config.parts.witness else {
        return Ok(());
    };
    let key = part.config.note_key(part.signer.public_key().clone())?;
    let vkey = key.to_vkey().unwrap_or_default();
    let short: String = key
        .name()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    writeln!(out, "key: {vkey}")?;
    writeln!(
        out,
        "line for a witness policy: witness {short} {vkey} {}",
        part.config.url
    )?;
    Ok(())
}

/// Prints a line for every log of the instance in `dir`.
fn log_keys(dir: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = config::load(&dir.join(CONFIG_FILE), Some(Role::Log))?;
    let Some(part) = config.parts.log else {
        return Ok(());
    };
    for log in &part.config.logs {
        let signer = part.signers.iter().find(|(name, _)| *name == log.name);
        let Some((_, signer)) = signer else { continue };
        let key = log.note_key(signer.public_key().clone())?;
        writeln!(
            out,
            "log {} {}",
            key.to_vkey().unwrap_or_default(),
            log.url.trim_end_matches('/')
        )?;
    }
    Ok(())
}
