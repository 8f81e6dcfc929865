//! `[[log]]`: one section for each log of the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sealwright_crypto::{Algorithm, MemorySigner, PrivateKey, PublicKey, Signer};
use sealwright_host::config::{self, SecretRef};
use sealwright_pki::{Certificate, parse_pem_chain};
use sealwright_tlog::{Note, NoteKey, WitnessPolicy};
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::api::DuplicateMode;
use crate::cosign::{WitnessMode, Witnesses};
use crate::entry::rekor::LegacyDsse;
use crate::error::Error;
use crate::guard::{GuardMode, Memory};
use crate::identity::{LogIdentity, is_name};
use crate::kind::Kind;
use crate::mirror::{Mirror, Signed};
use crate::options::EngineOptions;

/// A spinning disk gives more than this, and a busy one can spare it.
const DEFAULT_SCRUB_RATE: u64 = 16 << 20;
/// At the default rate, 1.3 TiB a day could be checked.
const DEFAULT_SCRUB_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `"16MiB"` or `"off"`.
fn scrub_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "off" {
        return Ok(None);
    }
    config::size::deserialize(text.into_deserializer()).map(Some)
}

/// All logs of a process, in the order of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Config {
    /// One a section.
    pub logs: Vec<LogConfig>,
}

/// One `[[log]]`. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Short name: lower-case letters, digits and hyphens. In a certificate log's path, in metrics, in file names.
    pub name: String,
    /// `rekor` for signatures, `ct` for certificates.
    pub kind: Kind,
    /// Base URL as clients see it. The log's origin follows from it and never changes: the host of a signature log, so
    /// every signature log has a host name of its own; host, port and path of a certificate log, which ends in
    /// `/ct/<name>`.
    pub url: String,
    /// Who runs the log, as trust material names it.
    pub operator: String,
    /// Folder of the log; relative to the folder the process keeps its state in. The name, when left out.
    pub dir: Option<PathBuf>,
    /// Make the log when the folder holds none. A log is made once; leave it off afterwards, so that a lost disk is an
    /// error and not an empty log.
    pub create: bool,
    /// The key that signs checkpoints: a reference to PKCS #8, SEC 1 or PKCS #1 in PEM. Ed25519 or P-256 for a signature
    /// log, P-256 for a certificate log.
    pub key: Option<SecretRef>,

    /// What a resubmitted entry is answered with, in a signature log: `existing` (201, the index it has and a fresh proof) or
    /// `conflict` (409 and the index, as upstream answers). A certificate log always answers with the SCT it gave first.
    pub duplicate: DuplicateMode,
    /// What to do with DSSE requests, in a signature log.
    pub legacy_dsse: LegacyDsse,
    /// Signature algorithms that entries may have, in a signature log, by their registry names. The seven of the registry
    /// that sign digests, when left out.
    pub algorithms: Option<Vec<String>>,
    /// PEM files with the roots that chains must end in, in a certificate log.
    pub roots: Vec<PathBuf>,
    /// Whether anybody may submit to a certificate log. Off, only those who reach the process as one of its own services
    /// do: the authority whose certificates it is for. Reading is for everybody either way.
    pub public_submission: bool,
    /// Take no more entries, for good; what is in the log is still served. For a log whose successor is in the signing
    /// configuration.
    pub frozen: bool,
    /// Take no entries yet: clients may not know the key. `sealwrightd log rotate` makes a log so, and opens it in time.
    pub staged: bool,
    /// Take entries from this moment on, Unix seconds; from the start when left out.
    pub accept_from: Option<i64>,
    /// Name of the log that this one follows.
    pub replaces: Option<String>,
    /// A log that another server wrote, brought here by `sealwrightd log import`, to be read. It has no key here.
    pub imported: bool,
    /// Largest request that is read.
    #[serde(with = "config::size")]
    pub max_request: u64,

    /// The witnesses that see every checkpoint before anybody else does: a file in the format of C2SP tlog-policy, with the
    /// submission prefix of each witness as its URL; relative to the configuration file. None are asked, when left out.
    pub witness_policy: Option<PathBuf>,
    /// `required`: no receipt, no SCT and no checkpoint without the policy's quorum. `best-effort`: the quorum is waited for
    /// while it answers in time.
    pub witness_mode: WitnessMode,
    /// The longest that a round with the witnesses takes.
    #[serde(with = "config::duration")]
    pub witness_timeout: Duration,
    /// Copies of the log elsewhere, in tlog-tiles layout: folders (relative to the configuration file) or `https` addresses.
    /// Before the log takes entries they are asked how large they know it, and what is damaged here is fetched from there.
    pub mirrors: Vec<String>,
    /// Whether the log starts while a mirror or a witness cannot be asked: `best-effort` starts, says so and asks on;
    /// `required` does not start.
    pub guard: GuardMode,
    /// How many bytes of files are checked in a second in the background, e.g. `"64MiB"`; `"off"` for none.
    #[serde(deserialize_with = "scrub_rate")]
    pub scrub: Option<u64>,
    /// All files are checked once in this time.
    #[serde(with = "config::duration")]
    pub scrub_interval: Duration,

    /// Bytes of a segment of the write-ahead log.
    #[serde(with = "config::size")]
    pub wal_segment: u64,
    /// Segments kept ready for when the disk is full or slow.
    pub wal_spares: usize,
    /// Most entries in the queue; more are answered with 503.
    pub queue_entries: usize,
    /// Most bytes of entries in the queue.
    #[serde(with = "config::size")]
    pub queue_bytes: u64,
    /// Most entries in one batch.
    pub batch_entries: usize,
    /// Most bytes of entries in one batch.
    #[serde(with = "config::size")]
    pub batch_bytes: u64,
    /// Tile files, the public checkpoint file and `state.db` follow this long after a change. Receipts and reads over the
    /// network do not wait for them.
    #[serde(with = "config::duration")]
    pub publish_interval: Duration,
    /// Write partial tiles to files too, so that the `public` folder can be hosted as it is.
    pub static_partials: bool,
    /// Receipts wait for tile and checkpoint files as well.
    pub strict_files: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        let engine = EngineOptions::default();
        Self {
            name: String::new(),
            kind: Kind::Rekor,
            url: String::new(),
            operator: String::new(),
            dir: None,
            create: false,
            key: None,
            duplicate: DuplicateMode::default(),
            legacy_dsse: LegacyDsse::default(),
            algorithms: None,
            roots: Vec::new(),
            public_submission: false,
            frozen: false,
            staged: false,
            accept_from: None,
            replaces: None,
            imported: false,
            max_request: 4 << 20,
            witness_policy: None,
            witness_mode: WitnessMode::default(),
            witness_timeout: Duration::from_secs(1),
            mirrors: Vec::new(),
            guard: GuardMode::default(),
            scrub: Some(DEFAULT_SCRUB_RATE),
            scrub_interval: DEFAULT_SCRUB_INTERVAL,
            wal_segment: engine.segment_bytes,
            wal_spares: engine.spare_segments,
            queue_entries: engine.queue_entries,
            queue_bytes: engine.queue_bytes as u64,
            batch_entries: engine.batch_entries,
            batch_bytes: engine.batch_bytes as u64,
            publish_interval: engine.publish_interval,
            static_partials: engine.static_partials,
            strict_files: engine.strict_files,
        }
    }
}

impl LogConfig {
    /// Loads the configured key; relative paths are looked up in `folder`.
    ///
    /// # Errors
    /// When no key is configured, or it cannot be read.
    pub fn load_signer(&self, folder: &Path) -> Result<Arc<dyn Signer>, Error> {
        let key = self
            .key
            .as_ref()
            .ok_or_else(|| self.unusable("key is missing; name one, e.g. \"file:log.key\""))?;
        let secret = key.resolve(folder).map_err(|error| self.unusable(error))?;
        let pem = secret
            .expose_str()
            .map_err(|_| self.unusable("key is not PEM text"))?;
        let key =
            PrivateKey::from_pem(pem).map_err(|error| self.unusable(format!("key: {error}")))?;
        Ok(Arc::new(MemorySigner::new(key)))
    }

    /// Loads the configured roots; relative paths are looked up in `folder`.
    ///
    /// # Errors
    /// When a file cannot be read, or is not PEM certificates.
    pub fn load_roots(&self, folder: &Path) -> Result<Vec<Certificate>, Error> {
        let mut roots = Vec::new();
        for path in &self.roots {
            let path = folder.join(path);
            let problem = |error: &dyn std::fmt::Display| {
                self.unusable(format!("roots: {}: {error}", path.display()))
            };
            let text = std::fs::read_to_string(&path).map_err(|error| problem(&error))?;
            roots.extend(parse_pem_chain(&text).map_err(|error| problem(&error))?);
        }
        Ok(roots)
    }

    /// Refuses what no log can be made from, before anything is made.
    ///
    /// # Errors
    /// [`Error::Config`] with the key, its value and what would be accepted.
    pub fn check(&self) -> Result<(), Error> {
        self.signature_algorithms()?;
        let (identity, options) = (self.identity()?, self.engine_options()?);
        crate::options::require_usable(&identity, &options)
    }

    /// Name, kind and origin; refuses a name or URL that no log can have.
    pub(crate) fn identity(&self) -> Result<LogIdentity, Error> {
        if !is_name(&self.name) {
            return Err(self.unusable("name must be lower-case letters, digits and hyphens"));
        }
        let url = Url::parse(&self.url)
            .map_err(|error| self.unusable(format!("url {:?}: {error}", self.url)))?;
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
            return Err(self.unusable(format!(
                "url {:?} is not a plain http or https address",
                self.url
            )));
        }
        let base = url.as_str().trim_end_matches('/');
        let origin = match self.kind {
            Kind::Rekor if url.path() == "/" => url.host_str().unwrap_or_default().to_owned(),
            Kind::Rekor => {
                return Err(self.unusable(
                    "url of a signature log has no path: clients append /api/v2 to the host",
                ));
            }
            Kind::Ct
                if url
                    .path()
                    .trim_end_matches('/')
                    .ends_with(&format!("/ct/{}", self.name)) =>
            {
                base.split_once("://")
                    .map_or(base, |(_, rest)| rest)
                    .to_owned()
            }
            Kind::Ct => {
                return Err(self.unusable(format!(
                    "url of a certificate log ends in /ct/{}",
                    self.name
                )));
            }
        };
        Ok(LogIdentity {
            name: self.name.clone(),
            kind: self.kind,
            origin,
        })
    }

    /// Host of the URL, lower case, without the port; empty where there is none.
    pub(crate) fn host(&self) -> String {
        let url = Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(Url::host_str);
        host.unwrap_or_default().to_owned()
    }

    /// The key under which this log signs its checkpoints, for those who verify or cosign them.
    ///
    /// # Errors
    /// When the section's name or URL cannot be used, or the key's type does not fit the kind of log.
    pub fn note_key(&self, key: PublicKey) -> Result<NoteKey, Error> {
        let identity = self.identity()?;
        let key = identity.kind.note_key(&identity.origin, key);
        key.map_err(|error| self.unusable(error))
    }

    /// Reads the witness policy, if there is one; relative paths are looked up in `folder`.
    ///
    /// # Errors
    /// When the file cannot be read, or is no policy.
    pub fn load_witness_policy(&self, folder: &Path) -> Result<Option<WitnessPolicy>, Error> {
        let Some(path) = &self.witness_policy else {
            return Ok(None);
        };
        let path = folder.join(path);
        let unusable = |error: &dyn std::fmt::Display| {
            self.unusable(format!("witness_policy: {}: {error}", path.display()))
        };
        let file = std::fs::read(&path).map_err(|error| unusable(&error))?;
        let policy = WitnessPolicy::parse(&file).map_err(|error| unusable(&error))?;
        Ok(Some(policy))
    }

    /// The witnesses of the policy, for the log with `key`.
    ///
    /// # Errors
    /// As [`LogConfig::load_witness_policy`], and as [`Witnesses::open`] says.
    pub fn open_witnesses(&self, folder: &Path, key: &NoteKey) -> Result<Option<Witnesses>, Error> {
        let Some(policy) = self.load_witness_policy(folder)? else {
            return Ok(None);
        };
        let opened = Witnesses::open(policy, key, self.witness_mode, self.witness_timeout);
        let unusable = |problem| self.unusable(format!("witness_policy: {problem}"));
        opened.map(Some).map_err(unusable)
    }

    /// The copies of the log elsewhere; relative folders are looked up in `folder`.
    ///
    /// # Errors
    /// When one is named in a way that cannot be asked.
    pub fn open_mirrors(&self, folder: &Path) -> Result<Vec<Mirror>, Error> {
        let mirrors = self.mirrors.iter().map(|text| {
            let mirror = Mirror::parse(text, folder);
            mirror.map_err(|error| self.unusable(format!("mirrors: {error}")))
        });
        mirrors.collect()
    }

    /// Refuses a checkpoint that does not have the cosignatures without which this log would not have shown it.
    ///
    /// # Errors
    /// As [`LogConfig::load_witness_policy`]; [`Error::Config`] when the quorum is missing, or a known witness's signature is
    /// wrong.
    pub fn require_cosigned(&self, folder: &Path, signed: &Signed) -> Result<(), Error> {
        let Some(policy) = self.load_witness_policy(folder)? else {
            return Ok(());
        };
        let judged = Note::parse(signed.note.as_bytes()).and_then(|note| policy.judge(&note));
        let met = judged.map_err(|error| self.unusable(error))?.quorum_met;
        if met || self.witness_mode != WitnessMode::Required {
            return Ok(());
        }
        Err(self.unusable(format!(
            "a checkpoint of {} entries lacks the cosignatures of {}, which witness_policy requires",
            signed.checkpoint.size,
            policy.quorum()
        )))
    }

    /// Everybody who may remember the log; relative folders are looked up in `folder`.
    ///
    /// # Errors
    /// As [`LogConfig::open_mirrors`].
    pub fn memories(&self, folder: &Path) -> Result<Vec<Memory>, Error> {
        let mirrors = self.open_mirrors(folder)?.into_iter().map(Memory::mirror);
        let mut memories: Vec<_> = mirrors.collect();
        if let Some(policy) = self.load_witness_policy(folder)? {
            let origin = self.identity()?.origin;
            for witness in 0..policy.witnesses().len() {
                let Some(url) = policy.witness_url(witness) else {
                    continue;
                };
                let memory = Memory::witness(policy.witness_name(witness), url, &origin);
                memories.push(memory?);
            }
        }
        Ok(memories)
    }

    pub(crate) fn engine_options(&self) -> Result<EngineOptions, Error> {
        let size = |bytes: u64| usize::try_from(bytes).map_err(|error| self.unusable(error));
        Ok(EngineOptions {
            create: self.create,
            segment_bytes: self.wal_segment,
            spare_segments: self.wal_spares,
            queue_entries: self.queue_entries,
            queue_bytes: size(self.queue_bytes)?,
            batch_entries: self.batch_entries,
            batch_bytes: size(self.batch_bytes)?,
            publish_interval: self.publish_interval,
            static_partials: self.static_partials,
            strict_files: self.strict_files,
            ..EngineOptions::default()
        })
    }

    pub(crate) fn signature_algorithms(&self) -> Result<Option<Vec<Algorithm>>, Error> {
        let Some(names) = &self.algorithms else {
            return Ok(None);
        };
        let find = |name: &String| {
            let algorithm =
                Algorithm::from_cli_name(name).filter(|algorithm| algorithm.hash().is_some());
            algorithm.ok_or_else(|| {
                self.unusable(format!("algorithms: {name:?} is no algorithm that signs digests, e.g. ecdsa-sha2-256-nistp256"))
            })
        };
        names
            .iter()
            .map(find)
            .collect::<Result<Vec<_>, _>>()
            .map(Some)
    }

    pub(crate) fn max_request_bytes(&self) -> usize {
        usize::try_from(self.max_request).unwrap_or(usize::MAX)
    }

    pub(crate) fn unusable(&self, problem: impl ToString) -> Error {
        Error::Config {
            log: format!("{:?}", self.name),
            problem: problem.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(kind: Kind, url: &str) -> Result<String, Error> {
        let config = LogConfig {
            name: "dev".into(),
            kind,
            url: url.into(),
            ..LogConfig::default()
        };
        config.identity().map(|identity| identity.origin)
    }

    #[test]
    fn the_origin_follows_from_the_url() {
        assert_eq!(
            origin(Kind::Rekor, "http://127.0.0.1:7700").unwrap(),
            "127.0.0.1"
        );
        assert_eq!(
            origin(Kind::Rekor, "https://log-2026a.example.com/").unwrap(),
            "log-2026a.example.com"
        );
        assert_eq!(
            origin(Kind::Ct, "http://127.0.0.1:7700/ct/dev").unwrap(),
            "127.0.0.1:7700/ct/dev"
        );
        assert_eq!(
            origin(Kind::Ct, "https://ct.example.com/ct/dev/").unwrap(),
            "ct.example.com/ct/dev"
        );
    }

    #[test]
    fn urls_that_clients_could_not_use_are_refused() {
        for url in [
            "",
            "127.0.0.1",
            "ftp://a",
            "http://a/?q",
            "http://u@a",
            "http://a/log",
            "http://a/#f",
        ] {
            assert!(origin(Kind::Rekor, url).is_err(), "{url:?}");
        }
        assert!(origin(Kind::Ct, "http://a/ct/other").is_err());
        assert!(origin(Kind::Ct, "http://a").is_err());
    }

    #[test]
    fn a_section_is_read_and_unknown_keys_are_refused() {
        #[derive(Debug, Deserialize)]
        struct File {
            log: Config,
        }
        let text = "[[log]]\nname = \"a\"\nurl = \"https://a.example.com\"\nwal_segment = \"8MiB\"\npublish_interval = \"250ms\"\n\
                    [[log]]\nname = \"b\"\nkind = \"ct\"\nurl = \"https://a.example.com/ct/b\"\nlegacy_dsse = \"reject\"\n";
        let file: File = config::parse(text, "a.toml").unwrap();
        let [a, b] = file.log.logs.as_slice() else {
            panic!("two logs")
        };
        assert_eq!(
            (a.wal_segment, a.publish_interval, b.kind),
            (8 << 20, Duration::from_millis(250), Kind::Ct)
        );
        let refused = config::parse::<File>("[[log]]\nnmae = \"a\"\n", "a.toml").unwrap_err();
        assert!(
            refused.to_string().contains("did you mean `name`"),
            "{refused}"
        );
    }

    #[test]
    fn algorithms_are_named_as_in_the_registry_and_must_sign_digests() {
        let with = |name: &str| {
            LogConfig {
                algorithms: Some(vec![name.into()]),
                ..LogConfig::default()
            }
            .signature_algorithms()
        };
        assert_eq!(
            with("ed25519-ph").unwrap(),
            Some(vec![Algorithm::Ed25519Ph])
        );
        assert!(with("ed25519").is_err());
        assert!(with("md5").is_err());
    }
}
