//! `sealwrightd log`: what an operator does with the logs of a running instance.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;
use sealwright_proto::sealwright::log::v1 as wire;

use crate::log_import::{Import, import};
use crate::operator::said;
use crate::rotate::{Rotate, entry_id, log_control, rotate};

/// One verb.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show every log: its state, size, key and address
    Status {
        /// The directory of the instance, or of the log role
        #[arg(long)]
        dir: PathBuf,
    },
    /// Give a log a successor without downtime, as far as it goes now; run it again to go on
    Rotate(Rotate),
    /// Let a staged log take entries from a moment on. `rotate` does it at the right time
    Accept {
        /// The directory of the instance, or of the log role
        #[arg(long)]
        dir: PathBuf,
        /// The log
        #[arg(long, value_name = "NAME")]
        log: String,
        /// When, in Unix seconds [default: now]
        #[arg(long, value_name = "SECONDS")]
        from: Option<i64>,
    },
    /// Copy a log that another server wrote, verify all of it, and serve it to readers
    Import(Import),
    /// Freeze a log for good: it takes no more entries, its last checkpoint says so, and it stays readable
    Freeze {
        /// The directory of the instance, or of the log role
        #[arg(long)]
        dir: PathBuf,
        /// The log
        #[arg(long, value_name = "NAME")]
        log: String,
    },
}

/// Does what was asked at `now` (Unix seconds), and tells the outcome on `out`.
pub(crate) async fn run(verb: Verb, now: i64, out: &mut impl Write) -> anyhow::Result<()> {
    match verb {
        Verb::Status { dir } => {
            let mut control = log_control(&dir)?;
            let status = control.status(wire::StatusRequest {}).await.map_err(said)?;
            for shard in status.into_inner().shards {
                tell(&shard, out)?;
            }
        }
        Verb::Rotate(args) => rotate(args, out).await?,
        Verb::Import(args) => import(args, now, out).await?,
        Verb::Accept { dir, log, from } => {
            let from = from.unwrap_or(now);
            let request = wire::AcceptFromRequest { name: log, from };
            let shard = log_control(&dir)?
                .accept_from(request)
                .await
                .map_err(said)?;
            tell(&shard.into_inner(), out)?;
        }
        Verb::Freeze { dir, log } => {
            let request = wire::FreezeRequest { name: log };
            let shard = log_control(&dir)?.freeze(request).await.map_err(said)?;
            tell(&shard.into_inner(), out)?;
        }
    }
    Ok(())
}

fn tell(shard: &wire::Shard, out: &mut impl Write) -> std::io::Result<()> {
    let state = shard
        .state()
        .as_str_name()
        .trim_start_matches("SHARD_STATE_");
    writeln!(
        out,
        "{:<9} {} ({}) at {}: {} entries",
        state.to_ascii_lowercase(),
        shard.name,
        shard.kind,
        shard.url,
        shard.tree_size
    )?;
    writeln!(
        out,
        "    origin {}, trust root entry {}",
        shard.origin,
        entry_id(shard)
    )?;
    if !shard.replaces.is_empty() {
        writeln!(out, "    follows {}", shard.replaces)?;
    }
    if shard.takes_certificates {
        writeln!(out, "    the authority's certificates go here")?;
    }
    Ok(())
}
