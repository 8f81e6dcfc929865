//! Admission to a certificate log (RFC 6962 section 3.1): a chain that leads to an accepted root becomes an entry.
//!
//! The log does not judge a certificate beyond its path: what was mis-issued is exactly what a log is for. It insists on
//! the path so that it cannot be filled with anybody's self-made certificates.

use std::sync::{Arc, PoisonError, RwLock};

use sealwright_host::{Reason, ServiceError};
use sealwright_pki::sct::precertificate_tbs;
use sealwright_pki::{
    Certificate, Purpose, VerifiedChain, oid, verify_chain, verify_precertificate_chain,
};
use sealwright_tlog::Hash;
use sealwright_tlog::ct::CtEntry;

/// Most certificates in one submission, the leaf included.
pub const MAX_CHAIN: usize = 8;

/// Most issuers that are remembered; an authority has a handful.
const MAX_KNOWN_ISSUERS: usize = 64;

/// What a certificate log accepts.
#[derive(Debug, Clone)]
pub struct Admission {
    roots: Vec<Certificate>,
    /// Issuers of chains admitted before, newest last. A certificate remembers whose signature it carries, so meeting it
    /// again saves a signature verification, a fifth of what admission costs. Only members of verified paths get in, so
    /// a stranger cannot push them out.
    known_issuers: Arc<RwLock<Vec<Certificate>>>,
}

/// Which of the two submissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// `add-chain`: a final certificate.
    Certificate,
    /// `add-pre-chain`: a precertificate.
    Precertificate,
}

/// An admitted chain.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// What is logged.
    pub entry: CtEntry,
    /// The issuers of the verified path, issuer of the leaf first, root last.
    pub issuers: Vec<Certificate>,
}

impl Admitted {
    /// SHA-256 of every issuer, in order: what the tile leaf stores.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<Hash> {
        self.issuers.iter().map(Certificate::fingerprint).collect()
    }
}

/// Why a chain is not admitted. Each is the submitter's doing, or a root the operator has not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No certificate at all.
    #[error("the chain is empty; send the certificate first, then its issuers")]
    Empty,
    /// More certificates than any path has.
    #[error("the chain has {found} certificates; at most {MAX_CHAIN} are read")]
    TooLong {
        /// How many.
        found: usize,
    },
    /// A certificate cannot be read.
    #[error("certificate {position} of the chain cannot be read: {source}")]
    Unreadable {
        /// Which one, the leaf being 0.
        position: usize,
        /// What the parser said.
        source: sealwright_pki::Error,
    },
    /// The path does not hold, or ends at a root that is not accepted.
    #[error("the chain does not lead to a root this log accepts: {0}")]
    Chain(sealwright_pki::Error),
    /// A precertificate that already carries timestamps, which only a final certificate may.
    #[error("the precertificate carries signed certificate timestamps")]
    Timestamped,
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        let reason = match &refusal {
            Refusal::Empty | Refusal::TooLong { .. } => Reason::MalformedRequest,
            Refusal::Unreadable { .. } => Reason::CertificateUnreadable,
            Refusal::Chain(_) => Reason::ChainNotAccepted,
            Refusal::Timestamped => Reason::EntryInvalid,
        };
        Self::new(reason, format!("The submission is not accepted: {refusal}"))
    }
}

impl Admission {
    /// Accepts chains that end at one of `roots`.
    #[must_use]
    pub fn new(roots: Vec<Certificate>) -> Self {
        Self {
            roots,
            known_issuers: Arc::default(),
        }
    }

    /// Where chains must end: what `get-roots` answers.
    #[must_use]
    pub fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    /// Verifies a chain of DER certificates, leaf first, and makes its entry. The root may be left out. Costs a
    /// signature verification for the leaf and for each issuer that was not met before.
    ///
    /// The path must have been valid when the leaf began to be: certificates of ten minutes are logged late, too.
    ///
    /// # Errors
    /// The first check that fails, see [`Refusal`].
    pub fn admit(&self, chain: Vec<Vec<u8>>, submitted: Submitted) -> Result<Admitted, Refusal> {
        if chain.len() > MAX_CHAIN {
            return Err(Refusal::TooLong { found: chain.len() });
        }
        let certificates = chain
            .into_iter()
            .enumerate()
            .map(|(position, der)| {
                self.read(position, der)
                    .map_err(|source| Refusal::Unreadable { position, source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (leaf, intermediates) = certificates.split_first().ok_or(Refusal::Empty)?;
        let verify = match submitted {
            Submitted::Certificate => verify_chain,
            Submitted::Precertificate => verify_precertificate_chain,
        };
        let path = verify(
            leaf,
            intermediates,
            &self.roots,
            leaf.not_before(),
            Purpose::CodeSigning,
        )
        .map_err(Refusal::Chain)?;
        let entry = match submitted {
            Submitted::Certificate => CtEntry::X509 {
                certificate: leaf.der().to_vec(),
            },
            Submitted::Precertificate => precertificate_entry(&path)?,
        };
        let issuers: Vec<Certificate> = path.certificates().iter().skip(1).cloned().collect();
        self.remember(&issuers);
        Ok(Admitted { entry, issuers })
    }

    /// Reads one certificate of a submission; an issuer that was met before is not parsed again.
    fn read(&self, position: usize, der: Vec<u8>) -> Result<Certificate, sealwright_pki::Error> {
        if position > 0 {
            let known = self
                .known_issuers
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(issuer) = known.iter().find(|known| known.der() == der) {
                return Ok(issuer.clone());
            }
        }
        Certificate::from_der(der)
    }

    fn remember(&self, issuers: &[Certificate]) {
        let known = |known: &[Certificate]| issuers.iter().all(|issuer| known.contains(issuer));
        if known(
            &self
                .known_issuers
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        ) {
            return;
        }
        let mut known = self
            .known_issuers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for issuer in issuers {
            if !known.contains(issuer) {
                known.push(issuer.clone());
            }
        }
        let surplus = known.len().saturating_sub(MAX_KNOWN_ISSUERS);
        known.drain(..surplus);
    }
}

fn precertificate_entry(path: &VerifiedChain) -> Result<CtEntry, Refusal> {
    let leaf = path.leaf();
    if leaf.extension(&oid::SCT_LIST).is_some() {
        return Err(Refusal::Timestamped);
    }
    let tbs_certificate =
        precertificate_tbs(leaf.tbs_der()).map_err(|source| Refusal::Unreadable {
            position: 0,
            source,
        })?;
    Ok(CtEntry::Precert {
        issuer_key_hash: path.issuer_key_hash(),
        tbs_certificate,
        pre_certificate: leaf.der().to_vec(),
    })
}
