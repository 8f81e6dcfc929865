//! `sealwrightd trust`: what an operator does with the trust root of a running deployment, over the control socket in the
//! trust role's directory, which only the owner of that directory can open.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use sealwright_crypto::{MemorySigner, PrivateKey, Signer as _};
use sealwright_host::config::parse_duration;
use sealwright_host::grpc::socket_channel;
use sealwright_proto::sealwright::trust::v1 as wire;
use sealwright_proto::sealwright::trust::v1::trust_client::TrustClient;
use sealwright_trust::ceremony;
use tonic::transport::Channel;

use crate::assemble::{CONTROL_SOCKET, TRUST_STATE};
use crate::keys::DAY;

/// One step. Each is separate, so that people and offline keys can stand between them.
#[derive(Debug, Subcommand)]
pub(crate) enum Step {
    /// Show published versions, entries and what is staged
    Status,
    /// Ask the services for their keys and proofs, and stage what is new
    Stage {
        /// Let a signature log follow another: entries of the old and of the new one, by id
        #[arg(long, value_name = "OLD=NEW", value_parser = succession)]
        succeed: Vec<(String, String)>,
        /// For how long both are offered, and again how long the old one is then believed
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m")]
        overlap: Duration,
    },
    /// Sign what is staged
    Sign {
        /// The targets key, PEM; it is read here and never sent
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Publish what is staged and signed
    Publish,
    /// Mark published entries as in use, all whose time has come when none is named
    Activate {
        /// Entries, by id
        ids: Vec<String>,
    },
    /// Stage the end of an entry's validity
    Retire {
        /// The entry
        id: String,
        /// When, in Unix seconds [default: now]
        #[arg(long, value_name = "SECONDS")]
        until: Option<i64>,
    },
    /// Break glass: stage the removal of an entry, so that nothing it vouched for verifies any more
    Remove {
        /// The entry
        id: String,
        /// Why; it is kept
        #[arg(long)]
        reason: String,
    },
    /// Renew the root for the same keys, and publish it
    RenewRoot {
        /// The root key, PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// How long the new root is believed, in days
        #[arg(long, default_value_t = 365)]
        days: u32,
    },
}

/// Takes `step` on the instance in `dir` at `now` (Unix seconds), and tells the outcome on `out`.
pub(crate) async fn operate(
    dir: &Path,
    step: Step,
    now: i64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let socket = dir.join(CONTROL_SOCKET);
    if !socket.exists() {
        bail!(
            "no trust service is running on {} (there is no {CONTROL_SOCKET}): name the directory of the trust role, and start it with \
             `sealwrightd run trust --dir {}`",
            dir.display(),
            dir.display()
        );
    }
    let mut control = TrustClient::new(socket_channel(&socket));
    match step {
        Step::Status => {
            let status = control.status(wire::StatusRequest {}).await.map_err(said)?;
            tell_status(&status.into_inner(), out)?;
        }
        Step::Stage { succeed, overlap } => {
            let overlap = i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX);
            let successions = succeed
                .into_iter()
                .map(|(old_id, new_id)| wire::Succession {
                    old_id,
                    new_id,
                    overlap,
                });
            let request = wire::StageRequest {
                successions: successions.collect(),
                ..wire::StageRequest::default()
            };
            let answer = control.stage(request).await.map_err(said)?;
            match answer.into_inner().staged {
                Some(staged) => tell_staged(&staged, out)?,
                None => writeln!(out, "nothing is new, and nothing was staged")?,
            }
        }
        Step::Sign { key } => sign(&mut control, &read_key(&key)?, out).await?,
        Step::Publish => {
            let answer = control
                .publish(wire::PublishRequest {})
                .await
                .map_err(said)?;
            tell_roles(&answer.into_inner().roles, out)?;
        }
        Step::Activate { ids } => {
            let answer = control
                .activate(wire::ActivateRequest { ids })
                .await
                .map_err(said)?;
            tell_entries(&answer.into_inner().entries, out)?;
        }
        Step::Retire { id, until } => {
            let valid_until = until.unwrap_or(now);
            let request = wire::RetireRequest { id, valid_until };
            tell_change(control.retire(request).await.map_err(said)?, out)?;
        }
        Step::Remove { id, reason } => {
            let request = wire::RemoveRequest { id, reason };
            tell_change(control.remove(request).await.map_err(said)?, out)?;
        }
        Step::RenewRoot { key, days } => {
            let expires = now.saturating_add(i64::from(days) * DAY);
            let root =
                ceremony::renew_root(&dir.join(TRUST_STATE), expires, &read_key(&key)?).await?;
            let request = wire::PublishRootRequest { root };
            let answer = control.publish_root(request).await.map_err(said)?;
            tell_roles(&answer.into_inner().roles, out)?;
        }
    }
    Ok(())
}

fn succession(text: &str) -> Result<(String, String), String> {
    let pair = text
        .split_once('=')
        .filter(|(old, new)| !old.is_empty() && !new.is_empty());
    pair.map(|(old, new)| (old.to_owned(), new.to_owned()))
        .ok_or_else(|| format!("{text:?} is not OLD=NEW"))
}

/// The payload is fetched, shown and signed; only the signature goes back.
pub(crate) async fn sign(
    control: &mut TrustClient<Channel>,
    key: &MemorySigner,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let status = control.status(wire::StatusRequest {}).await.map_err(said)?;
    let staged = status.into_inner().staged;
    let staged = staged.context("nothing is staged: `sealwrightd trust stage` comes first")?;
    let key_id = sealwright_tuf::key_of(key.public_key())?.id().to_string();
    let signature = key.sign(&staged.payload).await?;
    let signatures = vec![wire::Signature { key_id, signature }];
    let answer = control
        .sign(wire::SignRequest { signatures })
        .await
        .map_err(said)?;
    let staged = answer
        .into_inner()
        .staged
        .context("the service tells nothing of what was signed")?;
    Ok(tell_staged(&staged, out)?)
}

pub(crate) fn read_key(path: &Path) -> anyhow::Result<MemorySigner> {
    let pem = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let key = PrivateKey::from_pem(&pem).with_context(|| path.display().to_string())?;
    Ok(MemorySigner::new(key))
}

pub(crate) fn said(status: tonic::Status) -> anyhow::Error {
    // What the service sends has no cause; one means that the connection failed here.
    let broke = std::error::Error::source(&status).is_some();
    let absent = status.code() == tonic::Code::Unavailable && status.details().is_empty();
    if broke || absent {
        return anyhow!(
            "the service does not answer: {}; once it runs, its `status` tells whether this was done, and asking again does no harm",
            status.message()
        );
    }
    anyhow!("{}", status.message())
}

fn tell_change(
    answer: tonic::Response<wire::StageResponse>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    answer
        .into_inner()
        .staged
        .map_or(Ok(()), |staged| tell_staged(&staged, out))
}

pub(crate) fn tell_staged(staged: &wire::Staged, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "staged as version {}: {} of {} signatures, SHA-256 {}",
        staged.version, staged.valid_signatures, staged.threshold, staged.sha256
    )?;
    staged
        .changes
        .iter()
        .try_for_each(|change| writeln!(out, "    {change}"))
}

fn tell_roles(roles: &[wire::RoleStatus], out: &mut impl Write) -> std::io::Result<()> {
    roles.iter().try_for_each(|role| {
        writeln!(
            out,
            "{:<10} version {}, until {}",
            role.role, role.version, role.expires
        )
    })
}

fn tell_entries(entries: &[wire::Entry], out: &mut impl Write) -> std::io::Result<()> {
    entries.iter().try_for_each(|entry| {
        let state = wire::EntryState::try_from(entry.state).unwrap_or_default();
        writeln!(
            out,
            "{} {:<9} {}",
            entry.id,
            state.as_str_name().to_ascii_lowercase(),
            entry.url
        )
    })
}

fn tell_status(status: &wire::StatusResponse, out: &mut impl Write) -> std::io::Result<()> {
    tell_roles(&status.roles, out)?;
    tell_entries(&status.entries, out)?;
    status
        .staged
        .as_ref()
        .map_or(Ok(()), |staged| tell_staged(staged, out))
}
