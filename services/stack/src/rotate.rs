//! `sealwrightd log rotate`: a log gets a successor, and nobody who signs meanwhile notices.
//!
//! ```text
//! make      key, section in log.d, folder; the running process opens it, staged
//! publish   the successor into the trust root, with its start in the future and the old one's end after it
//! wait      until no client can believe an older trust root, and until the start
//! switch    the successor takes entries; the authority sends its certificates there
//! drain     whoever began with the old log finishes
//! freeze    a last checkpoint of the old log says that nothing follows; it stays readable
//! retire    a certificate log's key gets its end now, a signature log's got it with its successor
//! ```
//!
//! Nothing remembers how far a rotation has come: each run looks at the logs and at the trust root, and does what is missing.
//! So it may be killed between any two steps, and goes on where it was.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use sealwright_crypto::{KeyType, PublicKey, sha256};
use sealwright_host::Clock;
use sealwright_host::clock::SystemClock;
use sealwright_host::config::{format_duration, parse_duration};
use sealwright_host::grpc::socket_channel;
use sealwright_proto::sealwright::log::v1 as log_wire;
use sealwright_proto::sealwright::log::v1::log_control_client::LogControlClient;
use sealwright_proto::sealwright::trust::v1 as wire;
use sealwright_proto::sealwright::trust::v1::trust_client::TrustClient;
use tonic::transport::Channel;

use crate::assemble::CONTROL_SOCKET;
use crate::config::CONFIG_FILE;
use crate::keys::make_key;
use crate::log_control::LOG_SOCKET;
use crate::log_sections;
use crate::operator::{read_key, said, sign};
use crate::place::{Kind, kind_of};

/// How much before its start the successor takes entries, at most: for clients whose clock is ahead.
const EARLY: i64 = 60;

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The directory of the instance, or of the log role
    #[arg(long)]
    dir: PathBuf,
    /// The log that gets a successor
    #[arg(long, value_name = "NAME")]
    log: String,
    /// Name of the successor [default: the old one's with a number]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Base URL of the successor, as clients will see it. A signature log has a host name of its own; a certificate log's
    /// URL ends in /ct/NAME
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Send signers to the successor not before this long from now, e.g. 30d. The trust root has its own least
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    activate_after: Duration,
    /// How long both logs are offered, and again how long the old one is then kept open for those who began with it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m")]
    overlap: Duration,
    /// The targets key of the trust root, PEM [default: offline/targets.pem where it is still there]. Without it the change is
    /// staged, and signed with `sealwrightd trust sign`
    #[arg(long, value_name = "FILE")]
    targets_key: Option<PathBuf>,
    /// The directory of the trust role, where roles run apart
    #[arg(long, value_name = "DIR")]
    trust_dir: Option<PathBuf>,
    /// The authority runs apart and submits to the successor already: go on to freeze the old certificate log
    #[arg(long)]
    authority_switched: bool,
    /// Stay until the rotation is complete, instead of saying when to come back
    #[arg(long)]
    wait: bool,
}

/// What a look at the rotation led to.
enum Progress {
    /// Something was done; look again.
    Moved,
    /// Nothing can be done before this moment, Unix seconds.
    Until(i64, String),
    /// Somebody else has to do something.
    Stuck(String),
    Complete,
}

/// Takes a rotation as far as it goes.
pub(crate) async fn rotate(args: Rotate, out: &mut impl Write) -> anyhow::Result<()> {
    let mut rotation = Rotation::open(args, out)?;
    loop {
        match rotation.advance().await? {
            Progress::Moved => {}
            Progress::Complete => return rotation.tell("the rotation is complete"),
            Progress::Stuck(why) => {
                return rotation.tell(&format!("next: {why}, then run this again"));
            }
            Progress::Until(moment, why) if rotation.args.wait => {
                rotation.sleep(moment, &why).await?
            }
            Progress::Until(moment, why) => {
                let left = Duration::from_secs(u64::try_from(moment - now()).unwrap_or(0));
                let left = format_duration(left);
                return rotation.tell(&format!(
                    "next: {why}; run this again in {left} (Unix time {moment})"
                ));
            }
        }
    }
}

fn now() -> i64 {
    SystemClock.unix()
}

/// The way to the logs of the running process on `dir`.
pub(crate) fn log_control(dir: &Path) -> anyhow::Result<LogControlClient<Channel>> {
    let socket = dir.join(LOG_SOCKET);
    if !socket.exists() {
        bail!(
            "no log is running on {} (there is no {LOG_SOCKET}): name the directory of the instance, or of the log role, and start it",
            dir.display()
        );
    }
    Ok(LogControlClient::new(socket_channel(&socket)))
}

/// What the trust service calls the entry of a log.
pub(crate) fn entry_id(shard: &log_wire::Shard) -> String {
    hex::encode(sha256(&shard.public_key))
}

struct Rotation<'a, W> {
    args: Rotate,
    logs: LogControlClient<Channel>,
    trust_dir: PathBuf,
    /// Staged anew in this run: what is staged is never older than that.
    staged: bool,
    said: String,
    out: &'a mut W,
}

impl<'a, W: Write> Rotation<'a, W> {
    fn open(args: Rotate, out: &'a mut W) -> anyhow::Result<Self> {
        ensure!(
            args.overlap >= Duration::from_secs(1),
            "--overlap is at least 1s: somebody is always under way"
        );
        let trust_dir = args.trust_dir.clone().unwrap_or_else(|| args.dir.clone());
        Ok(Self {
            logs: log_control(&args.dir)?,
            trust_dir,
            args,
            staged: false,
            said: String::new(),
            out,
        })
    }

    fn tell(&mut self, what: &str) -> anyhow::Result<()> {
        writeln!(self.out, "{what}")?;
        Ok(self.out.flush()?)
    }

    async fn sleep(&mut self, moment: i64, why: &str) -> anyhow::Result<()> {
        if self.said != why {
            self.tell(&format!("waiting: {why} (Unix time {moment})"))?;
            self.said = why.to_owned();
        }
        // In pieces, since the clock may be set meanwhile.
        let left = u64::try_from(moment - now()).unwrap_or(0).clamp(1, 60);
        tokio::time::sleep(Duration::from_secs(left)).await;
        Ok(())
    }

    fn overlap(&self) -> i64 {
        i64::try_from(self.args.overlap.as_secs()).unwrap_or(i64::MAX)
    }

    fn trust(&self) -> Option<TrustClient<Channel>> {
        let socket = self.trust_dir.join(CONTROL_SOCKET);
        socket
            .exists()
            .then(|| TrustClient::new(socket_channel(&socket)))
    }

    /// The whole story: looks how far it has come, and does the next thing.
    async fn advance(&mut self) -> anyhow::Result<Progress> {
        let shards = self.logs.status(log_wire::StatusRequest {}).await;
        let shards = shards.map_err(said)?.into_inner().shards;
        let old = shards.iter().find(|shard| shard.name == self.args.log);
        let old = old.with_context(|| format!("no log here is called {:?}", self.args.log))?;
        let Some(new) = shards.iter().find(|shard| shard.replaces == old.name) else {
            return self.make(old, &shards).await;
        };
        self.require_same(new)?;
        let Some(mut trust) = self.trust() else {
            return Ok(Progress::Stuck(self.elsewhere(old, new)));
        };
        let status = trust.status(wire::StatusRequest {}).await;
        let status = status.map_err(said)?.into_inner();
        let entry = |shard| {
            let id = entry_id(shard);
            status.entries.iter().find(move |entry| entry.id == id)
        };
        let ends = |shard| entry(shard).is_some_and(|entry| entry.valid_until != 0);
        let is_signature_log = old.kind == "rekor";
        let (known, old_is_known) = (entry(new), entry(old).is_some());
        let published = known.filter(|entry| entry.state() != wire::EntryState::Staged);
        let Some(published) = published.filter(|_| !is_signature_log || !old_is_known || ends(old))
        else {
            return self.publish(&mut trust, &status, old, new).await;
        };
        if now() < published.usable_from {
            let why = "clients may still believe a trust root without the successor".to_owned();
            return Ok(Progress::Until(published.usable_from, why));
        }
        if published.state() == wire::EntryState::Published {
            let request = wire::ActivateRequest {
                ids: vec![published.id.clone()],
            };
            trust.activate(request).await.map_err(said)?;
            self.tell(&format!("every client knows the key of {}", new.name))?;
            return Ok(Progress::Moved);
        }
        if new.state() == log_wire::ShardState::Staged {
            return self.switch(new, published.service_from).await;
        }
        if old.takes_certificates {
            let request = log_wire::UseForCertificatesRequest {
                name: new.name.clone(),
            };
            self.logs
                .use_for_certificates(request)
                .await
                .map_err(said)?;
            self.tell(&format!("certificates go to {} from now on", new.name))?;
            return Ok(Progress::Moved);
        }
        if !is_signature_log && !new.takes_certificates && !self.args.authority_switched {
            return Ok(Progress::Stuck(self.authority(new)));
        }
        if old.state() != log_wire::ShardState::Frozen {
            let until = match entry(old).filter(|_| is_signature_log) {
                Some(old) => old.valid_until,
                None => new.valid_from.saturating_add(self.overlap()),
            };
            return self.freeze(old, until).await;
        }
        if old_is_known && !ends(old) {
            return self.retire(&mut trust, &status, old).await;
        }
        Ok(Progress::Complete)
    }

    /// What was asked for must be what is under way.
    fn require_same(&self, new: &log_wire::Shard) -> anyhow::Result<()> {
        let same = |asked: &Option<String>, made: &str| {
            let asked = asked.as_deref().map(|asked| asked.trim_end_matches('/'));
            asked.is_none_or(|asked| asked == made.trim_end_matches('/'))
        };
        ensure!(
            same(&self.args.name, &new.name) && same(&self.args.url, &new.url),
            "{} is being followed by {} at {} already; leave out --name and --url to go on with that",
            self.args.log,
            new.name,
            new.url
        );
        Ok(())
    }

    /// Key, section, folder. The section is the promise: once it is there, the rest follows in every run.
    async fn make(
        &mut self,
        old: &log_wire::Shard,
        shards: &[log_wire::Shard],
    ) -> anyhow::Result<Progress> {
        let sections = log_sections::read_all(&self.args.dir)?;
        let made = sections
            .into_iter()
            .find(|log| log.replaces.as_deref() == Some(&*old.name));
        let name = match made {
            Some(made) => made.name,
            None => self.write_section(old, shards)?,
        };
        let request = log_wire::OpenRequest { name };
        let new = self.logs.open(request).await.map_err(said)?.into_inner();
        self.tell(&format!(
            "made {} at {}: it can be read and takes no entries yet",
            new.name, new.url
        ))?;
        Ok(Progress::Moved)
    }

    fn write_section(
        &mut self,
        old: &log_wire::Shard,
        shards: &[log_wire::Shard],
    ) -> anyhow::Result<String> {
        let dir = &self.args.dir;
        let url = self.args.url.clone().with_context(|| {
            format!(
                "--url is missing: {} never changes its own, so its successor needs another",
                old.name
            )
        })?;
        let name = match &self.args.name {
            Some(name) => name.clone(),
            None => free_name(&old.name, shards),
        };
        let table = match log_sections::written(dir, CONFIG_FILE, &old.name)? {
            Some(table) => table,
            None if kind_of(dir)? == Some(Kind::Dev) => crate::dev::section(&old.name, &old.kind),
            None => bail!(
                "{} has no section in {CONFIG_FILE} or {}/",
                old.name,
                log_sections::FOLDER
            ),
        };
        let after = i64::try_from(self.args.activate_after.as_secs()).unwrap_or(i64::MAX);
        let from = (after != 0).then(|| now().saturating_add(after));
        let text = log_sections::successor(&table, &name, &url, from)?;
        // What the process would refuse is refused before anything is written.
        require_new(&name, &url, shards)?;
        log_sections::check(&text, &name)?;
        let old_key = PublicKey::from_spki_der(&old.public_key).context(old.name.clone())?;
        let key_type = match old_key.key_type() {
            KeyType::Ed25519 => KeyType::Ed25519,
            _ => KeyType::EcP256,
        };
        let key = make_key(dir, &log_sections::key_file(&name), key_type)?;
        let public = dir.join(format!("keys/{name}.pub"));
        crate::files::write_if_different(
            &public,
            key.to_pem().as_bytes(),
            crate::files::Readers::All,
        )?;
        log_sections::create(dir, &name, &text)?;
        Ok(name)
    }

    /// Stages, signs and publishes. Staging again replaces what was staged, so what another run has left does no harm.
    async fn publish(
        &mut self,
        trust: &mut TrustClient<Channel>,
        status: &wire::StatusResponse,
        old: &log_wire::Shard,
        new: &log_wire::Shard,
    ) -> anyhow::Result<Progress> {
        let (old_id, new_id) = (entry_id(old), entry_id(new));
        let staged = status.entries.iter().find(|entry| entry.id == new_id);
        let believed = status.roles.iter().find(|role| role.role == "timestamp");
        let believed = believed.map_or(0, |role| role.expires);
        // Signers must not be sent to the successor while somebody does not know its key.
        let timely = |entry: &&wire::Entry| {
            old.kind != "rekor" || self.staged || entry.service_from >= believed
        };
        let Some(staged) = staged.filter(timely).filter(|_| status.staged.is_some()) else {
            let known = status.entries.iter().any(|entry| entry.id == old_id);
            let succession = wire::Succession {
                old_id,
                new_id,
                overlap: self.overlap(),
            };
            let wanted = old.kind == "rekor" && known;
            let request = wire::StageRequest {
                successions: wanted.then_some(succession).into_iter().collect(),
                ..wire::StageRequest::default()
            };
            let answer = trust.stage(request).await.map_err(said)?.into_inner();
            let staged = answer.staged.context("the trust service has nothing to stage: it does not ask this process (trust.services)")?;
            for change in staged.changes {
                self.tell(&format!("staged: {change}"))?;
            }
            self.staged = true;
            return Ok(Progress::Moved);
        };
        // The log opens by itself at the start, so that an operator who comes late keeps nobody waiting.
        if staged.service_from != 0 && new.state() == log_wire::ShardState::Staged {
            let start = staged.service_from;
            let early = ((start - now()) / 10).clamp(0, EARLY);
            self.accept_from(new, start - early).await?;
        }
        self.sign_and_publish(trust, status).await
    }

    async fn sign_and_publish(
        &mut self,
        trust: &mut TrustClient<Channel>,
        status: &wire::StatusResponse,
    ) -> anyhow::Result<Progress> {
        let signed = status
            .staged
            .as_ref()
            .is_some_and(|staged| staged.valid_signatures >= staged.threshold);
        if !signed {
            let Some(key) = self.targets_key() else {
                let dir = self.trust_dir.display();
                return Ok(Progress::Stuck(format!(
                    "sign what is staged: sealwrightd trust --dir {dir} sign --key FILE"
                )));
            };
            sign(trust, &read_key(&key)?, self.out).await?;
        }
        trust.publish(wire::PublishRequest {}).await.map_err(said)?;
        self.tell("published the trust root")?;
        Ok(Progress::Moved)
    }

    /// Where the targets key is, if it is at hand.
    fn targets_key(&self) -> Option<PathBuf> {
        let beside = self.trust_dir.parent().unwrap_or(Path::new("."));
        let usual = [
            self.trust_dir.join("offline/targets.pem"),
            beside.join("offline/targets.pem"),
        ];
        let mut found = self
            .args
            .targets_key
            .iter()
            .cloned()
            .chain(usual.into_iter().filter(|path| path.exists()));
        found.next()
    }

    /// The successor takes entries: a signature log at its start, a certificate log at once.
    async fn switch(
        &mut self,
        new: &log_wire::Shard,
        service_from: i64,
    ) -> anyhow::Result<Progress> {
        let start = new.valid_from.max(if service_from == 0 {
            0
        } else {
            service_from - EARLY
        });
        if start > now() {
            let why = format!("signers are sent to {} from its start on", new.name);
            // Until then it is opened by its own section.
            self.accept_from(new, start).await?;
            return Ok(Progress::Until(start, why));
        }
        self.accept_from(new, now()).await?;
        self.tell(&format!("{} takes entries", new.name))?;
        Ok(Progress::Moved)
    }

    async fn accept_from(&mut self, new: &log_wire::Shard, from: i64) -> anyhow::Result<()> {
        let request = log_wire::AcceptFromRequest {
            name: new.name.clone(),
            from,
        };
        self.logs.accept_from(request).await.map_err(said)?;
        Ok(())
    }

    async fn freeze(&mut self, old: &log_wire::Shard, until: i64) -> anyhow::Result<Progress> {
        if until > now() {
            let why = format!("whoever began with {} finishes", old.name);
            return Ok(Progress::Until(until, why));
        }
        let request = log_wire::FreezeRequest {
            name: old.name.clone(),
        };
        let frozen = self.logs.freeze(request).await.map_err(said)?.into_inner();
        self.tell(&format!(
            "froze {} at {} entries; it stays readable",
            frozen.name, frozen.tree_size
        ))?;
        Ok(Progress::Moved)
    }

    /// A certificate log's key ends when its last certificate is logged.
    async fn retire(
        &mut self,
        trust: &mut TrustClient<Channel>,
        status: &wire::StatusResponse,
        old: &log_wire::Shard,
    ) -> anyhow::Result<Progress> {
        let id = entry_id(old);
        let sentence = format!("({id})");
        let staged = status.staged.as_ref().filter(|staged| {
            let mut changes = staged.changes.iter();
            changes.any(|change| {
                change.starts_with("ends the validity of") && change.contains(&sentence)
            })
        });
        if staged.is_none() {
            let request = wire::RetireRequest {
                id,
                valid_until: now().saturating_add(1),
            };
            trust.retire(request).await.map_err(said)?;
            self.tell(&format!("staged: the end of {}", old.name))?;
            return Ok(Progress::Moved);
        }
        self.sign_and_publish(trust, status).await
    }

    fn elsewhere(&self, old: &log_wire::Shard, new: &log_wire::Shard) -> String {
        format!(
            "where the trust role runs: sealwrightd trust --dir DIR stage --succeed {}={}, sign, publish (or name its directory \
             here with --trust-dir)",
            entry_id(old),
            entry_id(new)
        )
    }

    fn authority(&self, new: &log_wire::Shard) -> String {
        format!(
            "give the authority's directory keys/{}.pub of this one, name it and the log {} in its [ca.ct], and restart it; then add \
             --authority-switched",
            new.name, new.name
        )
    }
}

/// Refuses a name or address that another log has.
pub(crate) fn require_new(name: &str, url: &str, shards: &[log_wire::Shard]) -> anyhow::Result<()> {
    let address = |text: &str| {
        let url = url::Url::parse(text).ok()?;
        let path = url.path().trim_end_matches('/').to_owned();
        Some((url.host_str()?.to_owned(), path))
    };
    for shard in shards {
        ensure!(shard.name != name, "there is a log called {name} already");
        ensure!(
            address(&shard.url) != address(url),
            "{url} is where {} is; every log has a host name (or, for certificates, a path) of its own",
            shard.name
        );
    }
    Ok(())
}

/// `signatures`, `signatures-2`, `signatures-3`.
fn free_name(old: &str, shards: &[log_wire::Shard]) -> String {
    let numbered = old.rsplit_once('-').and_then(|(stem, number)| {
        let number: u32 = number.parse().ok()?;
        Some((stem, number))
    });
    let (stem, first) =
        numbered.map_or((old, 2), |(stem, number)| (stem, number.saturating_add(1)));
    let mut names = (first..).map(|number| format!("{stem}-{number}"));
    let free = |name: &String| shards.iter().all(|shard| shard.name != *name);
    names.find(free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successors_are_numbered() {
        let shard = |name: &str| log_wire::Shard {
            name: name.to_owned(),
            ..log_wire::Shard::default()
        };
        let shards = [shard("signatures"), shard("signatures-2"), shard("log-9")];
        assert_eq!(free_name("signatures", &shards), "signatures-3");
        assert_eq!(free_name("signatures-2", &shards), "signatures-3");
        assert_eq!(free_name("log-9", &shards), "log-10");
        assert_eq!(free_name("log-2026a", &shards), "log-2026a-2");
    }
}
