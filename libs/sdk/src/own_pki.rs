//! Certificates of an organisation's own PKI: read from files, and ready to sign with.

use std::path::Path;

use sealwright_bundle::bundle::SignerMaterial;
use sealwright_bundle::own_pki::SHORT_LIVED_SECONDS;
use sealwright_bundle::{CertificateRule, VerifyError};
use sealwright_crypto::PublicKey;
use sealwright_pki::certificate::{MAX_BUNDLE_CERTIFICATES, MAX_CERTIFICATE_BYTES};
use sealwright_pki::crl::MAX_CRL_TEXT_BYTES;
use sealwright_pki::{
    Certificate, CertificateRevocationList, Purpose, check_leaf_certificate, parse_pem_chain,
    verify_chain,
};

use crate::error::Error;
use crate::file::read_capped;

/// Bytes of a file with certificates: as many as are read of one bundle would be 4 MiB, in PEM a third more.
const MAX_CERTIFICATES_BYTES: usize = MAX_BUNDLE_CERTIFICATES * MAX_CERTIFICATE_BYTES * 3 / 2;
/// Identifier octet of a SEQUENCE, with which every certificate in DER begins; no PEM does.
const DER_START: u8 = 0x30;

/// Reads a file of certificates: one in DER, or one or more in PEM, in their order. `what` names it in the error.
///
/// # Errors
/// [`Error::File`] when it cannot be read, [`Error::Input`] when it is something else.
pub fn read_certificates(what: &'static str, path: &Path) -> Result<Vec<Certificate>, Error> {
    let bytes = read_capped(what, path, MAX_CERTIFICATES_BYTES)?;
    let read = if bytes.first() == Some(&DER_START) {
        Certificate::from_der(bytes).map(|certificate| vec![certificate])
    } else {
        parse_pem_chain(&String::from_utf8_lossy(&bytes))
    };
    read.map_err(|error| {
        Error::input(
            format!("{what} {}", path.display()),
            format!(
                "{error}; expected X.509 certificates in PEM (BEGIN CERTIFICATE), or one in DER"
            ),
        )
    })
}

/// Reads a file with exactly one certificate, in PEM or DER.
///
/// # Errors
/// As [`read_certificates`].
pub fn read_certificate(what: &'static str, path: &Path) -> Result<Certificate, Error> {
    let mut certificates = read_certificates(what, path)?;
    match (certificates.pop(), certificates.len()) {
        (Some(only), 0) => Ok(only),
        (_, others) => Err(Error::input(
            format!("{what} {}", path.display()),
            format!("it holds {} certificates; expected one", others + 1),
        )),
    }
}

/// Reads a file of certificate revocation lists: one in DER, or one or more in PEM.
///
/// # Errors
/// [`Error::File`] when it cannot be read, [`Error::Input`] when it is something else, or a list that cannot be relied on.
pub fn read_revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationList>, Error> {
    let bytes = read_capped("CRL", path, MAX_CRL_TEXT_BYTES)?;
    CertificateRevocationList::parse_file(&bytes).map_err(|error| {
        Error::input(
            format!("CRL {}", path.display()),
            format!("{error}; expected complete X.509 revocation lists in PEM (BEGIN X509 CRL), or one in DER"),
        )
    })
}

/// A certificate of an organisation's own PKI to sign with.
///
/// Bundles carry the certificate alone, since whoever verifies has the issuers; with [`Self::send_chain`] they carry the
/// intermediates too, which verifiers take only when told to.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    leaf: Certificate,
    /// Its issuer first, the root last; empty when the caller did not say.
    issuers: Vec<Certificate>,
    chain_sent: bool,
}

impl OwnCertificate {
    /// A certificate whose issuers nobody here looks at.
    #[must_use]
    pub fn new(leaf: Certificate) -> Self {
        Self {
            leaf,
            issuers: Vec::new(),
            chain_sent: false,
        }
    }

    /// Names the issuers: the leaf's first, the root last. The path is checked before anything is signed, and bundles are
    /// verified against this root before they are given out.
    #[must_use]
    pub fn issued_by(mut self, issuers: Vec<Certificate>) -> Self {
        self.issuers = issuers;
        self
    }

    /// Puts the intermediates of [`Self::issued_by`] into bundles. Never the root.
    #[must_use]
    pub fn send_chain(mut self) -> Self {
        self.chain_sent = true;
        self
    }

    /// Whether the certificate can sign at all: it is for this key and for code signing, valid now, and its issuers, if they
    /// were named, lead to the last of them.
    pub(crate) fn check(&self, key: &PublicKey, now: i64) -> Result<(), Error> {
        if self.leaf.spki_der() != key.spki_der() {
            return Err(refuse(format!(
                "it is for another key, with SHA-256 {}; the signing key has {}",
                hex::encode(self.leaf.spki_sha256()),
                hex::encode(key.fingerprint())
            )));
        }
        let usable = match self.issuers.split_last() {
            None => check_leaf_certificate(&self.leaf, now, Purpose::CodeSigning),
            Some((root, others)) => {
                let anchors = std::slice::from_ref(root);
                verify_chain(&self.leaf, others, anchors, now, Purpose::CodeSigning).map(|_| ())
            }
        };
        usable.map_err(|error| {
            refuse(format!(
                "{error}; expected a certificate for code signing that is valid now, and after --certificate-chain its \
                 issuer first and the root last"
            ))
        })
    }

    /// Whether signatures need a timestamp to be worth anything.
    pub(crate) fn is_short_lived(&self) -> bool {
        let lifetime = self.leaf.not_after().saturating_sub(self.leaf.not_before());
        lifetime <= SHORT_LIVED_SECONDS
    }

    pub(crate) fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    pub(crate) fn material(&self) -> SignerMaterial {
        let above = self.issuers.iter();
        let sent: Vec<_> = above
            .filter(|issuer| self.chain_sent && !issuer.is_self_issued())
            .cloned()
            .collect();
        if sent.is_empty() {
            return SignerMaterial::Certificate(self.leaf.clone());
        }
        SignerMaterial::CertificateChain(self.leaf.clone(), sent)
    }

    /// The rule under which our own verification has to succeed.
    pub(crate) fn rule(&self) -> Result<CertificateRule, VerifyError> {
        let rule = match self.issuers.split_last() {
            None => CertificateRule::trusting(self.leaf.clone()),
            Some((root, others)) => CertificateRule::pinned(self.leaf.clone(), vec![root.clone()])?
                .intermediates(others.to_vec()),
        };
        // Whether a time is needed was decided before anything was sent.
        Ok(rule.allow_current_time())
    }
}

fn refuse(problem: String) -> Error {
    Error::input("certificate", problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwright_testkit::bundle_factory::{DAY, NOW};
    use sealwright_testkit::own_pki::{Leaf, Listing, OwnAuthority};

    #[test]
    fn a_certificate_signs_for_its_own_key_while_it_is_valid() {
        let root = OwnAuthority::root("root");
        let issuing = root.below("issuing");
        let leaf = issuing.issue(&Leaf::default());
        let key = leaf.key.public_key();
        let alone = OwnCertificate::new(leaf.certificate.clone());
        assert!(alone.check(key, NOW).is_ok());
        let other = issuing.issue(&Leaf::default());
        let refused = alone
            .check(other.key.public_key(), NOW)
            .expect_err("another key");
        assert!(refused.to_string().contains("another key"), "{refused}");
        let (start, end) = (leaf.certificate.not_before(), leaf.certificate.not_after());
        assert!(alone.check(key, start).is_ok() && alone.check(key, end).is_ok());
        assert!(alone.check(key, start - 1).is_err() && alone.check(key, end + 1).is_err());
        let chain = |issuers: &[&OwnAuthority]| {
            let issuers = issuers.iter().map(|issuer| issuer.certificate.clone());
            alone.clone().issued_by(issuers.collect()).check(key, NOW)
        };
        assert!(chain(&[&issuing, &root]).is_ok());
        assert!(chain(&[&issuing]).is_ok(), "an anchor need not be a root");
        assert!(chain(&[&root]).is_err());
        assert!(
            chain(&[&root, &issuing]).is_ok(),
            "the last one is the anchor"
        );
    }

    #[test]
    fn a_bundle_carries_what_was_asked_for_and_never_a_root() {
        let root = OwnAuthority::root("root");
        let issuing = root.below("issuing");
        let leaf = issuing.issue(&Leaf::default()).certificate;
        let issuers = vec![issuing.certificate.clone(), root.certificate];
        let own = OwnCertificate::new(leaf.clone()).issued_by(issuers);
        assert_eq!(own.material(), SignerMaterial::Certificate(leaf.clone()));
        let sent = SignerMaterial::CertificateChain(leaf, vec![issuing.certificate]);
        assert_eq!(own.send_chain().material(), sent);
    }

    #[test]
    fn a_day_is_short() {
        let issuing = OwnAuthority::root("root");
        for (seconds, short) in [(DAY, true), (DAY + 1, false)] {
            let validity = (NOW, NOW + seconds);
            let leaf = issuing.issue(&Leaf {
                validity,
                ..Leaf::default()
            });
            let own = OwnCertificate::new(leaf.certificate);
            assert_eq!(own.is_short_lived(), short, "{seconds}");
        }
    }

    #[test]
    fn files_hold_certificates_and_lists_in_either_form() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).expect("it is written");
            path
        };
        let root = OwnAuthority::root("root");
        let certificate = root.certificate.clone();
        let list = root.revocation_list(&Listing::default());
        let (pem, two) = (certificate.to_pem(), certificate.to_pem().repeat(2));
        let read = |path: &Path| read_certificates("roots", path).map(|read| read.len());
        assert_eq!(read(&write("one.pem", pem.as_bytes())).expect("PEM"), 1);
        assert_eq!(read(&write("two.pem", two.as_bytes())).expect("PEM"), 2);
        assert_eq!(read(&write("one.der", certificate.der())).expect("DER"), 1);
        let one = read_certificate("certificate", &dir.path().join("one.der"));
        assert_eq!(one.expect("one"), certificate);
        let refused = read_certificate("certificate", &dir.path().join("two.pem"));
        assert!(
            refused
                .expect_err("two")
                .to_string()
                .contains("2 certificates")
        );
        let lists = read_revocation_lists(&write("list.der", list.der())).expect("DER");
        assert_eq!(lists, [list]);
        for (name, bytes) in [
            ("empty", &b""[..]),
            ("text", b"hello"),
            ("list", &[0x30, 0x80]),
        ] {
            let path = write(name, bytes);
            let error = read(&path).expect_err(name);
            assert_eq!(
                (error.code(), error.verdict()),
                ("INPUT_INVALID", crate::Verdict::Usage),
                "{name}"
            );
            let error = read_revocation_lists(&path).expect_err(name).to_string();
            assert!(error.contains("BEGIN X509 CRL"), "{error}");
        }
    }
}
