//! Trust material: whom to believe, and which services to ask.
//!
//! It comes from one file (ClientTrustConfig), from two (trusted root and signing configuration), or from a [`Profile`], which
//! follows a TUF repository and keeps what it verified on disk.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwright_bundle::{SigningConfig, TrustedRoot};
use sealwright_crypto::{BoxFuture, random_bytes};
use sealwright_tuf::{Client, Fetch, FetchError, Place};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ambient::ProfileSettings;
use crate::error::Error;
use crate::file::{read_capped, write};
use crate::http::Http;
use crate::tuf::{DirectoryStore, Mirror, TargetDirectory};

/// The media type of the file that holds both halves.
pub const CLIENT_TRUST_CONFIG_MEDIA_TYPE: &str =
    "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";

/// Trusted roots of large instances have some 100 KiB.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
const MAX_ROOT_BYTES: usize = 512_000;

const TRUSTED_ROOT_TARGET: &str = "trusted_root.json";
const SIGNING_CONFIG_TARGET: &str = "signing_config.v0.2.json";

/// How long a profile is used without asking its repository. Expiry is checked on every use all the same.
const FRESH_SECONDS: i64 = 60 * 60;
/// How long a refresh may hold up work for which the disk has valid material.
const REFRESH_PATIENCE: Duration = Duration::from_secs(3);
/// A set-up that is older than this was killed.
const ABANDONED_SECONDS: i64 = 60 * 60;
/// How long a refresh waits for the one of another process, which has a server to wait for.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// Whom to believe, and which services to ask.
///
/// ```
/// use sealwright_sdk::bundle::TrustedRoot;
/// use sealwright_sdk::{Error, TrustConfig, Verdict};
/// # use sealwright_testkit::bundle_factory::World;
/// # let trusted_root_json = World::new().trusted_root_json();
///
/// // From bytes of one's own: enough to verify, and not to sign.
/// let root = TrustedRoot::parse(trusted_root_json.as_bytes())?;
/// let trust = TrustConfig::from_parts("built in", root, None);
/// assert!(trust.signing_config().is_none());
/// assert_eq!(trust.trusted_root().certificate_authorities().len(), 1);
///
/// // A file that is not there decides nothing about signatures.
/// let missing = TrustConfig::from_file("/nonexistent/trust_config.json".as_ref());
/// let error = missing.expect_err("there is no such file");
/// assert!(matches!(error, Error::TrustMissing { .. }));
/// assert_eq!(error.verdict(), Verdict::Undecided);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrustConfig {
    origin: String,
    trusted_root: TrustedRoot,
    signing_config: Option<SigningConfig>,
}

impl TrustConfig {
    /// Reads a ClientTrustConfig file.
    ///
    /// # Errors
    /// [`Error::TrustMissing`] when it cannot be read, [`Error::TrustInvalid`] when it is not one.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        Self::from_client_trust_config(
            &path.display().to_string(),
            &read_trust("trust configuration", path)?,
        )
    }

    /// Reads a ClientTrustConfig document. `origin` says in errors where it came from.
    ///
    /// # Errors
    /// [`Error::TrustInvalid`].
    pub fn from_client_trust_config(origin: &str, json: &[u8]) -> Result<Self, Error> {
        let invalid = |problem: String| invalid(origin, problem);
        let document: ClientTrustDocument<'_> = serde_json::from_slice(json).map_err(|error| {
            invalid(format!(
                "{error}; expected a document of type {CLIENT_TRUST_CONFIG_MEDIA_TYPE}"
            ))
        })?;
        let media_type = document.media_type.unwrap_or_default();
        if media_type != CLIENT_TRUST_CONFIG_MEDIA_TYPE {
            return Err(invalid(format!(
                "media type {media_type:?}; expected {CLIENT_TRUST_CONFIG_MEDIA_TYPE:?}"
            )));
        }
        let root = document
            .trusted_root
            .ok_or_else(|| invalid("trustedRoot is missing".into()))?;
        let config = document
            .signing_config
            .ok_or_else(|| invalid("signingConfig is missing".into()))?;
        Ok(Self {
            origin: origin.to_owned(),
            trusted_root: parse_trusted_root(origin, root.get().as_bytes())?,
            signing_config: Some(parse_signing_config(origin, config.get().as_bytes())?),
        })
    }

    /// Reads a trusted root and, for signing, a signing configuration.
    ///
    /// # Errors
    /// As [`Self::from_file`], for either file.
    pub fn from_files(trusted_root: &Path, signing_config: Option<&Path>) -> Result<Self, Error> {
        let root = read_trust("trusted root", trusted_root)?;
        let config = signing_config
            .map(|path| Ok::<_, Error>((path, read_trust("signing configuration", path)?)))
            .transpose()?;
        let config = config
            .map(|(path, json)| parse_signing_config(&path.display().to_string(), &json))
            .transpose()?;
        let origin = trusted_root.display().to_string();
        Ok(Self {
            trusted_root: parse_trusted_root(&origin, &root)?,
            signing_config: config,
            origin,
        })
    }

    /// Puts two parsed halves together.
    #[must_use]
    pub fn from_parts(
        origin: impl Into<String>,
        trusted_root: TrustedRoot,
        signing_config: Option<SigningConfig>,
    ) -> Self {
        Self {
            origin: origin.into(),
            trusted_root,
            signing_config,
        }
    }

    /// Replaces the signing configuration by the one in a file.
    ///
    /// # Errors
    /// As [`Self::from_file`].
    pub fn with_signing_config_file(mut self, path: &Path) -> Result<Self, Error> {
        let json = read_trust("signing configuration", path)?;
        self.signing_config = Some(parse_signing_config(&path.display().to_string(), &json)?);
        Ok(self)
    }

    /// Where it came from, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whom to believe.
    #[must_use]
    pub fn trusted_root(&self) -> &TrustedRoot {
        &self.trusted_root
    }

    /// Which services to ask.
    #[must_use]
    pub fn signing_config(&self) -> Option<&SigningConfig> {
        self.signing_config.as_ref()
    }
}

/// Both halves as they stand: each is read like a file of its own, so that what one may hold (null for what is absent, say)
/// the other may, too. Members of later versions are passed over.
#[derive(Deserialize)]
struct ClientTrustDocument<'a> {
    #[serde(default, alias = "media_type", rename = "mediaType")]
    media_type: Option<String>,
    #[serde(borrow, default, alias = "trusted_root", rename = "trustedRoot")]
    trusted_root: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "signing_config", rename = "signingConfig")]
    signing_config: Option<&'a RawValue>,
}

fn invalid(origin: &str, problem: String) -> Error {
    Error::TrustInvalid {
        origin: origin.to_owned(),
        problem,
    }
}

fn read_trust(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    read_capped(what, path, MAX_FILE_BYTES).map_err(|error| Error::TrustMissing {
        problem: error.to_string(),
    })
}

fn parse_trusted_root(origin: &str, json: &[u8]) -> Result<TrustedRoot, Error> {
    TrustedRoot::parse(json).map_err(|error| invalid(origin, error.to_string()))
}

fn parse_signing_config(origin: &str, json: &[u8]) -> Result<SigningConfig, Error> {
    SigningConfig::parse(json).map_err(|error| invalid(origin, error.to_string()))
}

/// How new a profile's material has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// What is on disk, without a network; expired material is refused.
    Cached,
    /// What is on disk when the repository was asked within the last hour; otherwise as [`Freshness::Refreshed`], falling
    /// back to the disk when the repository does not answer and nothing has expired.
    Usual,
    /// The repository is asked now.
    Refreshed,
}

/// A named set of trust material that follows a TUF repository.
///
/// On disk, each file replaced atomically:
///
/// ```text
/// DIR.toml               settings, written by hand ([`Profile::settings`])
/// DIR/profile.json       format and URL of the repository
/// DIR/checked            when the repository was last asked, Unix seconds
/// DIR/tuf/*.json         verified metadata, root first
/// DIR/targets/*.json     verified targets
/// ```
///
/// Nothing in it is believed because it is there: metadata and targets are verified again each time.
///
/// ```no_run
/// use sealwright_sdk::{Error, Freshness, Http, HttpOptions, Profile, TrustConfig};
///
/// /// Once, with a root that came by other means; then as often as one likes.
/// async fn trust(root: &[u8], now: i64) -> Result<TrustConfig, Error> {
///     let http = Http::new(HttpOptions::default());
///     let profile = Profile::named("/home/jane/.config/sealwright".as_ref(), "corp")?;
///     if !profile.exists() {
///         profile.init(&http, "https://trust.example.com/tuf", root, now).await?;
///     }
///     profile.load(&http, Freshness::Usual, now).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Profile {
    dir: PathBuf,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    format: u32,
    url: String,
}

const PROFILE_FORMAT: u32 = 1;
const MAX_NAME_LEN: usize = 64;

impl Profile {
    /// The profile `name` below `home`.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is no plain file name.
    pub fn named(home: &Path, name: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty()
            || name.len() > MAX_NAME_LEN
            || name.starts_with('.')
            || !name.bytes().all(plain)
        {
            let problem = "use 1 to 64 letters, digits, '-', '_' and '.', not beginning with '.'";
            return Err(Error::input(format!("profile {name:?}"), problem));
        }
        Ok(Self {
            dir: home.join("profiles").join(name),
        })
    }

    /// Where it is kept.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its settings, written by hand into `PROFILE.toml` beside its directory, so that setting the profile up again leaves
    /// them alone.
    ///
    /// # Errors
    /// As [`ProfileSettings::read`].
    pub fn settings(&self) -> Result<ProfileSettings, Error> {
        let mut name = self.dir.clone().into_os_string();
        name.push(".toml");
        ProfileSettings::read(Path::new(&name))
    }

    /// Whether it has been set up.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dir.join("profile.json").exists()
    }

    /// Sets the profile up from the TUF repository at `url` (`http`, `https`, or `file` for a copy on disk) and a root obtained
    /// by other means, replacing an older one of the name. Everything is fetched and verified before the old one goes.
    ///
    /// # Errors
    /// [`Error::Tuf`], [`Error::Service`], [`Error::TrustInvalid`]; the old profile is then untouched.
    pub async fn init(
        &self,
        http: &Http,
        url: &str,
        root: &[u8],
        now: i64,
    ) -> Result<TrustConfig, Error> {
        Mirror::sigstore(http, url)?;
        if root.len() > MAX_ROOT_BYTES {
            return Err(Error::input(
                "root",
                format!("longer than {MAX_ROOT_BYTES} bytes"),
            ));
        }
        self.sweep(now);
        let fresh = Self {
            dir: beside(&self.dir, "new"),
        };
        let result = fresh.fill(http, url, root, now).await;
        let result = result.and_then(|trust| self.replace_by(&fresh).map(|()| trust));
        if result.is_err() {
            let _ = std::fs::remove_dir_all(&fresh.dir);
        }
        result
    }

    async fn fill(
        &self,
        http: &Http,
        url: &str,
        root: &[u8],
        now: i64,
    ) -> Result<TrustConfig, Error> {
        for dir in ["tuf", "targets"] {
            let dir = self.dir.join(dir);
            std::fs::create_dir_all(&dir).map_err(|source| Error::File {
                what: "profile",
                path: dir,
                source,
            })?;
        }
        let profile = ProfileFile {
            format: PROFILE_FORMAT,
            url: url.to_owned(),
        };
        self.save(
            "profile.json",
            serde_json::to_string(&profile)
                .unwrap_or_default()
                .as_bytes(),
        )?;
        let started = DirectoryStore::bootstrap(self.metadata(), root, LOCK_PATIENCE).await;
        started.map_err(|source| Error::Tuf {
            url: url.to_owned(),
            source,
        })?;
        self.refreshed(http, url, now).await
    }

    /// Removes what set-ups that were killed more than an hour ago left beside the profile.
    fn sweep(&self, now: i64) {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let left = [format!(".{name}.new."), format!(".{name}.old.")];
        let Some(Ok(siblings)) = self.dir.parent().map(std::fs::read_dir) else {
            return;
        };
        for sibling in siblings.flatten() {
            let name = sibling.file_name();
            let ours = left
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix.as_str()));
            if ours && modified(&sibling).is_some_and(|at| at < now - ABANDONED_SECONDS) {
                let _ = std::fs::remove_dir_all(sibling.path());
            }
        }
    }

    /// Where the system can exchange two folders, a profile of this name is there at every moment.
    fn replace_by(&self, fresh: &Self) -> Result<(), Error> {
        if exchanged(&fresh.dir, &self.dir) {
            let _ = std::fs::remove_dir_all(&fresh.dir);
            return Ok(());
        }
        let old = beside(&self.dir, "old");
        let moved = match std::fs::rename(&self.dir, &old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let placed = moved.and_then(|()| std::fs::rename(&fresh.dir, &self.dir));
        placed.map_err(|source| Error::File {
            what: "profile",
            path: self.dir.clone(),
            source,
        })?;
        let _ = std::fs::remove_dir_all(&old);
        Ok(())
    }

    /// The profile's trust material.
    ///
    /// # Errors
    /// [`Error::TrustMissing`] when it was never set up; [`Error::Tuf`] when repository or disk do not lead to valid material.
    pub async fn load(
        &self,
        http: &Http,
        freshness: Freshness,
        now: i64,
    ) -> Result<TrustConfig, Error> {
        let url = self.url()?;
        if freshness == Freshness::Refreshed {
            return self.refreshed(http, &url, now).await;
        }
        match self.cached(&url, now).await {
            Ok(cached) if freshness == Freshness::Cached || self.is_fresh(now) => Ok(cached),
            Ok(cached) => self.refreshed_or(cached, http, &url, now).await,
            Err(error) if freshness == Freshness::Cached => Err(error),
            Err(error) => {
                tracing::debug!(%error, "the trust material on disk does not do");
                self.refreshed(http, &url, now).await
            }
        }
    }

    /// News from the repository, or what is on disk when the repository does not answer soon: work goes on without a
    /// network. A repository that answers wrongly is an error all the same.
    async fn refreshed_or(
        &self,
        cached: TrustConfig,
        http: &Http,
        url: &str,
        now: i64,
    ) -> Result<TrustConfig, Error> {
        let problem =
            match tokio::time::timeout(REFRESH_PATIENCE, self.refreshed(http, url, now)).await {
                Ok(Err(Error::Tuf { source, .. })) if serves_what_is_kept(&source) => {
                    source.to_string()
                }
                Ok(result) => return result,
                Err(_) => format!("no answer within {} seconds", REFRESH_PATIENCE.as_secs()),
            };
        tracing::warn!(
            url,
            problem,
            "the trust material could not be brought up to date, using what is on disk"
        );
        Ok(cached)
    }

    /// Brings metadata and targets up to date.
    async fn refreshed(&self, http: &Http, url: &str, now: i64) -> Result<TrustConfig, Error> {
        let tuf = |source| Error::Tuf {
            url: url.to_owned(),
            source,
        };
        let store = DirectoryStore::exclusive(self.metadata(), LOCK_PATIENCE).await;
        let source = Mirror::sigstore(http, url)?;
        let store = store.map_err(tuf)?;
        let mut client =
            Client::open(source, store, now).map_err(|error| self.unopened(url, error))?;
        client.refresh().await.map_err(tuf)?;
        let trust = self.material(&mut client, url).await?;
        // Without the note the repository is asked again sooner than needed, and nothing else.
        if let Err(error) = self.save("checked", now.to_string().as_bytes()) {
            tracing::warn!(%error, "when the TUF repository was asked cannot be noted");
        }
        Ok(trust)
    }

    /// What is on disk, if it is complete, verifies and has not expired. Nobody is waited for, until what is read does not
    /// fit together: then another process may be in the middle of a refresh.
    async fn cached(&self, url: &str, now: i64) -> Result<TrustConfig, Error> {
        let reader = DirectoryStore::reader(self.metadata());
        let first = self.cached_in(reader, url, now).await;
        if first.is_ok() {
            return first;
        }
        match DirectoryStore::exclusive(self.metadata(), REFRESH_PATIENCE).await {
            Ok(store) => self.cached_in(store, url, now).await,
            // A store that cannot be written to has nobody in the middle of anything.
            Err(_) => first,
        }
    }

    async fn cached_in(
        &self,
        store: DirectoryStore,
        url: &str,
        now: i64,
    ) -> Result<TrustConfig, Error> {
        let tuf = |source| Error::Tuf {
            url: url.to_owned(),
            source,
        };
        let mut client =
            Client::open(Nowhere, store, now).map_err(|error| self.unopened(url, error))?;
        client.load_cached().map_err(tuf)?;
        self.material(&mut client, url).await
    }

    /// A kept root that is none was not the repository's doing, and no refresh mends it: nothing is left to start from.
    fn unopened(&self, url: &str, error: sealwright_tuf::Error) -> Error {
        match error {
            source @ sealwright_tuf::Error::Store { .. } => Error::Tuf {
                url: url.to_owned(),
                source,
            },
            damage => invalid(
                &self.metadata().join("root.json").display().to_string(),
                format!("{damage}; run trust init again"),
            ),
        }
    }

    async fn material<F: Fetch>(
        &self,
        client: &mut Client<F, DirectoryStore>,
        url: &str,
    ) -> Result<TrustConfig, Error> {
        let root = self.target(client, url, TRUSTED_ROOT_TARGET).await?;
        let root = root.ok_or_else(|| {
            invalid(
                url,
                format!("the repository has no target {TRUSTED_ROOT_TARGET}"),
            )
        })?;
        let config = self.target(client, url, SIGNING_CONFIG_TARGET).await?;
        Ok(TrustConfig {
            origin: url.to_owned(),
            trusted_root: parse_trusted_root(url, &root)?,
            signing_config: config
                .map(|json| parse_signing_config(url, &json))
                .transpose()?,
        })
    }

    /// A target, from disk when the disk has the very bytes the metadata names, and from the repository otherwise.
    async fn target<F: Fetch>(
        &self,
        client: &mut Client<F, DirectoryStore>,
        url: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let tuf = |source| Error::Tuf {
            url: url.to_owned(),
            source,
        };
        let Some(target) = client.target(path).await.map_err(tuf)? else {
            return Ok(None);
        };
        let directory = TargetDirectory::new(self.dir.join("targets"));
        directory
            .fetch(client, &target)
            .await
            .map(Some)
            .map_err(tuf)
    }

    fn url(&self) -> Result<String, Error> {
        let path = self.dir.join("profile.json");
        let missing = |problem: String| Error::TrustMissing { problem };
        if !path.exists() {
            let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
            return Err(missing(format!(
                "profile {name:?} is not set up ({} does not exist); run: sealwright trust init URL --root FILE --profile {name}",
                path.display()
            )));
        }
        let bytes = read_capped("profile", &path, MAX_ROOT_BYTES)
            .map_err(|error| missing(error.to_string()))?;
        let profile: ProfileFile = serde_json::from_slice(&bytes).map_err(|error| {
            invalid(
                &path.display().to_string(),
                format!("{error}; run trust init again"),
            )
        })?;
        if profile.format != PROFILE_FORMAT {
            let problem = format!(
                "format {}; this program reads {PROFILE_FORMAT}",
                profile.format
            );
            return Err(invalid(&path.display().to_string(), problem));
        }
        Ok(profile.url)
    }

    /// A note from the future (the clock was set back) counts as no note.
    fn is_fresh(&self, now: i64) -> bool {
        let note = std::fs::read_to_string(self.dir.join("checked")).ok();
        let checked: Option<i64> = note.and_then(|note| note.trim().parse().ok());
        checked
            .and_then(|checked| now.checked_sub(checked))
            .is_some_and(|age| (0..FRESH_SECONDS).contains(&age))
    }

    fn metadata(&self) -> PathBuf {
        self.dir.join("tuf")
    }

    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(name);
        write(&path, bytes).map_err(|source| Error::File {
            what: "profile",
            path,
            source,
        })
    }
}

/// Whether valid material on disk may be used for lack of news: when the repository did not answer, and when its news cannot
/// be kept (a file system for reading only, or a full one).
fn serves_what_is_kept(error: &sealwright_tuf::Error) -> bool {
    error.is_transient() || matches!(error, sealwright_tuf::Error::Store { .. })
}

/// Unix seconds of the last change, where the disk tells.
fn modified(entry: &std::fs::DirEntry) -> Option<i64> {
    let modified = entry.metadata().ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Whether two folders have changed places at once; not where one is missing, or the disk cannot.
#[cfg(target_os = "linux")]
fn exchanged(one: &Path, other: &Path) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn exchanged(_one: &Path, _other: &Path) -> bool {
    false
}

fn beside(dir: &Path, purpose: &str) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(
        ".{name}.{purpose}.{}",
        hex::encode(random_bytes::<8>())
    ))
}

/// No repository: for work without a network.
#[derive(Debug)]
struct Nowhere;

impl Fetch for Nowhere {
    fn fetch<'a>(
        &'a self,
        _: Place,
        _: &'a str,
        _: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        Box::pin(std::future::ready(Err(FetchError::NotFound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpOptions;

    #[test]
    fn profile_names_stay_inside_their_directory() {
        let home = Path::new("/home");
        assert!(Profile::named(home, "corp-2026.a").is_ok());
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            ".hidden",
            "a b",
            &"x".repeat(65),
        ] {
            assert!(
                matches!(Profile::named(home, name), Err(Error::Input { .. })),
                "{name:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_profile_that_was_never_set_up_says_how() {
        let home = tempfile::tempdir().expect("a directory");
        let profile = Profile::named(home.path(), "corp").expect("a name");
        let http = Http::new(HttpOptions::default());
        let error = profile
            .load(&http, Freshness::Usual, 0)
            .await
            .expect_err("nothing is there");
        assert_eq!(error.code(), "TRUST_MISSING");
        assert!(
            error
                .to_string()
                .contains("trust init URL --root FILE --profile corp"),
            "{error}"
        );
    }

    #[test]
    fn documents_of_another_type_are_refused() {
        for json in [
            "",
            "{}",
            r#"{"mediaType":"x"}"#,
            &format!(r#"{{"mediaType":"{CLIENT_TRUST_CONFIG_MEDIA_TYPE}"}}"#),
        ] {
            let error =
                TrustConfig::from_client_trust_config("file", json.as_bytes()).expect_err(json);
            assert_eq!(error.code(), "TRUST_INVALID", "{json}");
        }
        let error =
            TrustConfig::from_file(Path::new("/nonexistent")).expect_err("there is no file");
        assert_eq!(error.code(), "TRUST_MISSING");
    }

    #[test]
    fn null_is_an_absent_member_in_both_halves() {
        let root = sealwright_testkit::bundle_factory::World::new().trusted_root_json();
        let root = root.replacen('{', r#"{"laterVersions":null,"#, 1);
        let config = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":null,
            "caUrls":[{"url":"http://ca.test","majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z","end":null},"operator":null}]}"#;
        let document = format!(
            r#"{{"mediaType":"{CLIENT_TRUST_CONFIG_MEDIA_TYPE}","trustedRoot":{root},"signingConfig":{config}}}"#
        );
        let trust = TrustConfig::from_client_trust_config("file", document.as_bytes());
        assert!(trust.expect("it is read").signing_config().is_some());
        let halved = document.replace(&root, "null");
        let error = TrustConfig::from_client_trust_config("file", halved.as_bytes())
            .expect_err("half of it is missing")
            .to_string();
        assert!(error.contains("trustedRoot is missing"), "{error}");
    }
}
