//! The keys of an instance and the certificates of its authorities: made once, then read.
//!
//! Each key is a file of its own, written whole before its certificate, so a first start that is cut short is completed by
//! the next. Roots and TUF's root and targets keys are in the offline folder; nothing that serves needs them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, PublicKey, Signer, random_bytes};
use sealwright_pki::authority::{self, AuthorityName, Envelope, Parent};
use sealwright_pki::{Certificate, Purpose, SerialNumber, parse_pem_chain, pem_chain};

use crate::error::Error;
use crate::files::{self, Readers};
use crate::place::{Kind, Place};

/// Seconds of a day.
pub(crate) const DAY: i64 = 24 * 60 * 60;
/// Roots last ten years.
const ROOT_DAYS: i64 = 3650;
/// Issuing and timestamp certificates last nearly as long; `authority` cuts them to their root's end.
const AUTHORITY_DAYS: i64 = 3600;
/// TLS certificates of `dev` are renewed at each start, long before they end.
const TLS_DAYS: i64 = 90;
/// Certificates between services last a year; `doctor` warns a month before.
const INTERNAL_DAYS: i64 = 365;
/// Certificates begin a little in the past, for clients whose clock is behind.
const BACKDATED: i64 = 5 * 60;

/// An authority's signing key and its chain, the signing certificate first and the root last.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The signing key.
    pub signer: Arc<dyn Signer>,
    /// The chain.
    pub chain: Vec<Certificate>,
}

/// The files of one instance's keys.
#[derive(Debug)]
pub struct KeyRing<'a> {
    place: &'a Place,
    offline: PathBuf,
    organization: &'a str,
    development: bool,
    now: i64,
}

impl<'a> KeyRing<'a> {
    /// The keys of `place`; `organization` names the authorities in certificates that are made now.
    #[must_use]
    pub fn new(place: &'a Place, kind: Kind, organization: &'a str, now: i64) -> Self {
        Self {
            place,
            offline: place.path("offline"),
            organization,
            development: matches!(kind, Kind::Dev),
            now,
        }
    }

    /// Keeps the keys that no server needs in `folder` instead of `DIR/offline`.
    #[must_use]
    pub fn with_offline(self, folder: PathBuf) -> Self {
        Self {
            offline: folder,
            ..self
        }
    }

    /// The authority for the certificates that services show each other: its key is offline, and it issues to the roles
    /// of this deployment alone.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Key`].
    pub fn internal_authority(&self) -> Result<InternalAuthority, Error> {
        files::make_private_folder(&self.offline)?;
        let key = key_at(&self.offline.join("internal_ca.key"), KeyType::EcP256)?;
        let path = self.offline.join("internal_ca.pem");
        let certificate = self.root_at(&path, &key, "Sealwright internal")?;
        Ok(InternalAuthority { certificate, key })
    }

    /// The certificate authority: root and issuing key P-256.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Key`].
    pub fn certificate_authority(&self) -> Result<Authority, Error> {
        self.authority("ca", "Sealwright CA", |key, name, envelope, parent| {
            authority::intermediate(
                key.public_key(),
                name,
                Purpose::CodeSigning,
                envelope,
                parent,
            )
        })
    }

    /// The timestamp authority: root and leaf P-256.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Key`].
    pub fn timestamp_authority(&self) -> Result<Authority, Error> {
        self.authority("tsa", "Sealwright TSA", |key, name, envelope, parent| {
            authority::time_stamping_leaf(key.public_key(), name, envelope, parent)
        })
    }

    /// A key that signs online, e.g. a log's. Made with `key_type` when it is absent.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Key`].
    pub fn online(&self, name: &str, key_type: KeyType) -> Result<Arc<dyn Signer>, Error> {
        let path = self
            .place
            .private_folder("keys")?
            .join(format!("{name}.key"));
        Ok(Arc::new(MemorySigner::new(key_at(&path, key_type)?)))
    }

    /// Writes what one role reads of another's keys: the CT log's public key for the authority, below `ca`, and the
    /// authority's root for the CT log, below `log`.
    pub(crate) fn exchange_public(
        authority: &Authority,
        ct_log: &dyn Signer,
        ca: &Place,
        log: &Place,
    ) -> Result<(), Error> {
        let key = ct_log.public_key().to_pem();
        files::write_atomically(&ca.path("keys/ct_log.pub"), key.as_bytes(), Readers::All)?;
        let root = authority.chain.last().map(Certificate::to_pem);
        let root = root.unwrap_or_default();
        files::write_atomically(&log.path("keys/ca_root.pem"), root.as_bytes(), Readers::All)
    }

    fn authority(
        &self,
        file: &str,
        title: &str,
        certify: impl FnOnce(
            &PrivateKey,
            &AuthorityName,
            &Envelope,
            Parent<'_>,
        ) -> Result<Certificate, sealwright_pki::Error>,
    ) -> Result<Authority, Error> {
        let folder = self.place.private_folder("keys")?;
        let (key_path, chain_path) = (
            folder.join(format!("{file}.key")),
            folder.join(format!("{file}_chain.pem")),
        );
        let key = key_at(&key_path, KeyType::EcP256)?;
        let chain = match files::read_if_there(&chain_path)? {
            Some(text) => parse_pem_chain(&text).map_err(Error::key(&chain_path))?,
            None => {
                files::make_private_folder(&self.offline)?;
                let root_path = self.offline.join(format!("{file}_root.key"));
                let root_key = key_at(&root_path, KeyType::EcP256)?;
                let root_name = self.name(&format!("{title} root"));
                let root = authority::root(&root_key, &root_name, 1, &self.envelope(ROOT_DAYS))
                    .map_err(Error::key(&chain_path))?;
                let parent = Parent {
                    certificate: &root,
                    key: &root_key,
                };
                let leaf = certify(
                    &key,
                    &self.name(title),
                    &self.envelope(AUTHORITY_DAYS),
                    parent,
                );
                let chain = vec![leaf.map_err(Error::key(&chain_path))?, root];
                files::write_atomically(&chain_path, pem_chain(&chain).as_bytes(), Readers::All)?;
                chain
            }
        };
        let matching = chain
            .first()
            .is_some_and(|leaf| leaf.spki_der() == key.public_key().spki_der());
        if !matching {
            return Err(Error::key(chain_path)(format!(
                "does not begin with a certificate of {}",
                key_path.display()
            )));
        }
        Ok(Authority {
            signer: Arc::new(MemorySigner::new(key)),
            chain,
        })
    }

    /// Reads the root certificate at `path`, or makes it: of `key`, directly above what it issues.
    fn root_at(&self, path: &Path, key: &PrivateKey, title: &str) -> Result<Certificate, Error> {
        if let Some(text) = files::read_if_there(path)? {
            return Certificate::from_pem(&text).map_err(Error::key(path));
        }
        let made = authority::root(key, &self.name(title), 0, &self.envelope(ROOT_DAYS))
            .map_err(Error::key(path))?;
        files::write_atomically(path, made.to_pem().as_bytes(), Readers::All)?;
        Ok(made)
    }

    fn name(&self, title: &str) -> AuthorityName {
        let (common_name, organization) = (title.to_owned(), self.organization.to_owned());
        AuthorityName {
            common_name,
            organization,
            development: self.development,
        }
    }

    const fn validity(&self, days: i64) -> (i64, i64) {
        (self.now - BACKDATED, self.now + days * DAY)
    }

    fn envelope(&self, days: i64) -> Envelope {
        let (not_before, not_after) = self.validity(days);
        Envelope {
            serial: SerialNumber::from_random(random_bytes()),
            not_before,
            not_after,
        }
    }

    /// Files for the TLS listener of `dev`: a local authority that lasts, and a server certificate made anew at each start.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Key`].
    pub fn tls(&self) -> Result<TlsFiles, Error> {
        let folder = self.place.private_folder("keys")?;
        let ca_path = self.place.path("client").join("tls_ca.pem");
        files::make_folder(&self.place.path("client"))?;
        let ca_key = key_at(&folder.join("tls_ca.key"), KeyType::EcP256)?;
        let ca = self.root_at(&ca_path, &ca_key, "Sealwright local TLS")?;
        let (key_path, certificate_path) = (folder.join("tls.key"), folder.join("tls.pem"));
        let key = key_at(&key_path, KeyType::EcP256)?;
        let addresses = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        let parent = Parent {
            certificate: &ca,
            key: &ca_key,
        };
        let made = authority::tls_server(
            key.public_key(),
            &["localhost"],
            &addresses,
            &self.envelope(TLS_DAYS),
            parent,
        );
        let made = made.map_err(Error::key(&certificate_path))?;
        files::write_atomically(&certificate_path, made.to_pem().as_bytes(), Readers::All)?;
        Ok(TlsFiles {
            key: key_path,
            certificate: certificate_path,
        })
    }
}

/// Issues the certificates that services show each other.
#[derive(Debug)]
pub struct InternalAuthority {
    certificate: Certificate,
    key: PrivateKey,
}

impl InternalAuthority {
    /// Reads the authority that `init` has made in `offline`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Key`].
    pub fn open(offline: &Path) -> Result<Self, Error> {
        let (key_path, path) = (
            offline.join("internal_ca.key"),
            offline.join("internal_ca.pem"),
        );
        let pem = std::fs::read_to_string(&key_path).map_err(Error::io(&key_path))?;
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        Ok(Self {
            key: PrivateKey::from_pem(&pem).map_err(Error::key(&key_path))?,
            certificate: Certificate::from_pem(&text).map_err(Error::key(&path))?,
        })
    }

    /// Its certificate, which every role trusts.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A new key and a certificate for `name`, in one PEM text, so that a file with both is replaced in one step. `now` is
    /// in Unix seconds.
    ///
    /// # Errors
    /// [`Error::Key`], at `subject`, which stands for the file in the error.
    pub fn issue(&self, name: &str, now: i64, subject: &Path) -> Result<String, Error> {
        let key = PrivateKey::generate(KeyType::EcP256).map_err(Error::key(subject))?;
        let envelope = Envelope {
            serial: SerialNumber::from_random(random_bytes()),
            not_before: now - BACKDATED,
            not_after: now + INTERNAL_DAYS * DAY,
        };
        let parent = Parent {
            certificate: &self.certificate,
            key: &self.key,
        };
        let made = authority::tls_service(key.public_key(), name, &envelope, parent);
        let made = made.map_err(Error::key(subject))?;
        Ok(format!("{}{}", made.to_pem(), key.to_pkcs8_pem().as_str()))
    }
}

/// Where the TLS listener finds its key and certificate.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PKCS#8 in PEM.
    pub key: PathBuf,
    /// The server's certificate in PEM.
    pub certificate: PathBuf,
}

/// Reads the key at `file` below `dir`, or makes it; gives the public one.
pub(crate) fn make_key(dir: &Path, file: &str, key_type: KeyType) -> Result<PublicKey, Error> {
    let path = dir.join(file);
    if let Some(folder) = path.parent() {
        files::make_private_folder(folder)?;
    }
    Ok(key_at(&path, key_type)?.public_key().clone())
}

/// Reads the key at `path`, or makes it.
fn key_at(path: &Path, key_type: KeyType) -> Result<PrivateKey, Error> {
    if let Some(pem) = files::read_if_there(path)? {
        return PrivateKey::from_pem(&pem).map_err(Error::key(path));
    }
    let key = PrivateKey::generate(key_type).map_err(Error::key(path))?;
    files::write_atomically(path, key.to_pkcs8_pem().as_bytes(), Readers::Owner)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Share;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn keys_are_made_once_and_chains_fit_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::claim(folder.path(), Kind::Dev, Share::Whole).unwrap();
        let ring = KeyRing::new(&place, Kind::Dev, "Example", NOW);
        let (first, again) = (
            ring.certificate_authority().unwrap(),
            ring.certificate_authority().unwrap(),
        );
        assert_eq!(first.chain, again.chain);
        assert_eq!(first.chain.len(), 2);
        assert!(
            first
                .chain
                .iter()
                .all(|certificate| certificate.subject().contains("development")),
            "{:?}",
            first.chain
        );
        let tsa = ring.timestamp_authority().unwrap();
        let (leaf, root) = (&tsa.chain[0], &tsa.chain[1..]);
        sealwright_pki::verify_chain(leaf, &[], root, NOW, Purpose::TimeStamping).unwrap();
        assert!(
            folder.path().join("offline/ca_root.key").exists()
                && !folder.path().join("keys/ca_root.key").exists()
        );
    }

    #[test]
    fn a_first_start_that_was_cut_short_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::claim(folder.path(), Kind::Dev, Share::Whole).unwrap();
        let ring = KeyRing::new(&place, Kind::Dev, "Example", NOW);
        let key = ring
            .certificate_authority()
            .unwrap()
            .signer
            .public_key()
            .clone();
        std::fs::remove_file(folder.path().join("keys/ca_chain.pem")).unwrap();
        assert_eq!(
            ring.certificate_authority().unwrap().signer.public_key(),
            &key
        );
    }

    #[test]
    fn a_chain_of_another_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::claim(folder.path(), Kind::Dev, Share::Whole).unwrap();
        let ring = KeyRing::new(&place, Kind::Dev, "Example", NOW);
        ring.certificate_authority().unwrap();
        std::fs::remove_file(folder.path().join("keys/ca.key")).unwrap();
        let error = ring.certificate_authority().expect_err("another key");
        assert!(error.to_string().contains("ca_chain.pem"), "{error}");
    }
}
