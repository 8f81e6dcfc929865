//! V3 (d), V4 and V6 for certificates of an organisation's own PKI: no identity provider, no certificate log, and leaves
//! that may live for years.
//!
//! The anchors are the policy's, never the trusted root's; logs and timestamp authorities are the trusted root's as ever.

use sealwright_pki::certificate::Certificate;
use sealwright_pki::chain::{Purpose, VerifiedChain, verify_chain};

use crate::bundle::{Bundle, SignerMaterial};
use crate::error::VerifyError;
use crate::verdict::{Signer, UnixTime, VerifiedTime, Warning};

/// Which certificates of an own PKI count. All conditions must hold.
#[derive(Debug, Clone)]
pub struct CertificateRule {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    pinned: Option<Certificate>,
}

impl CertificateRule {
    /// Certificates with a path to one of these anchors.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] without an anchor.
    pub fn new(roots: Vec<Certificate>) -> Result<Self, VerifyError> {
        if roots.is_empty() {
            return Err(VerifyError::PolicyInvalid {
                what: "no root certificate".into(),
            });
        }
        Ok(Self {
            roots,
            intermediates: Vec::new(),
            pinned: None,
        })
    }

    /// Certificates that help on the way to an anchor, and are none.
    #[must_use]
    pub fn intermediates(mut self, intermediates: Vec<Certificate>) -> Self {
        self.intermediates = intermediates;
        self
    }

    /// This certificate alone: the bundle must carry it, or a key hint and none.
    #[must_use]
    pub fn pinned(mut self, leaf: Certificate) -> Self {
        self.pinned = Some(leaf);
        self
    }
}

/// What the checks of an own certificate have shown.
pub(crate) struct Judged {
    pub(crate) chain: VerifiedChain,
    pub(crate) signer: Signer,
    pub(crate) warnings: Vec<Warning>,
}

/// V1: the certificate that is to have signed, the bundle's or the pinned one.
pub(crate) fn claimed_leaf<'a>(
    bundle: &'a Bundle,
    rule: &'a CertificateRule,
) -> Result<&'a Certificate, VerifyError> {
    match (bundle.certificate(), &rule.pinned) {
        (Some(found), Some(pinned)) if found != pinned => Err(VerifyError::SignerKind {
            found: "another certificate",
            expected: "the certificate that the policy names",
        }),
        (Some(found), _) => Ok(found),
        (None, Some(pinned)) => Ok(pinned),
        (None, None) => Err(VerifyError::SignerKind {
            found: "a signature by a key",
            expected: "a signature with a certificate",
        }),
    }
}

/// V3 (d), V4 and V6. `times` are all the verified ones, perhaps none; `now` is the verifier's clock.
pub(crate) fn judge(
    leaf: &Certificate,
    bundle: &Bundle,
    rule: &CertificateRule,
    times: &[VerifiedTime],
    _now: i64,
) -> Result<Judged, VerifyError> {
    let sent: &[Certificate] = match bundle.signer() {
        SignerMaterial::CertificateChain(_, others) => others,
        _ => &[],
    };
    let others = [&rule.intermediates, sent].concat();
    let mut path = Err(VerifyError::NoTimeSource);
    for time in times {
        path = Ok(path_at(leaf, &others, rule, time.time.0)?);
    }
    let chain = path?;
    let signer = signer(&chain);
    Ok(Judged {
        chain,
        signer,
        warnings: Vec::new(),
    })
}

fn path_at(
    leaf: &Certificate,
    others: &[Certificate],
    rule: &CertificateRule,
    at: i64,
) -> Result<VerifiedChain, VerifyError> {
    if !leaf.is_valid_at(at) {
        return Err(VerifyError::CertificateNotValidAt {
            time: at,
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
        });
    }
    verify_chain(leaf, others, &rule.roots, at, Purpose::CodeSigning).map_err(|error| {
        VerifyError::CertificateUntrusted {
            reason: error.to_string(),
        }
    })
}

fn signer(chain: &VerifiedChain) -> Signer {
    let leaf = chain.leaf();
    Signer::Certificate {
        subject: leaf.subject(),
        serial: leaf.serial_hex(),
        not_before: UnixTime(leaf.not_before()),
        not_after: UnixTime(leaf.not_after()),
        certificate_issuer: leaf.issuer(),
        anchor: chain.anchor().subject(),
        fingerprint: hex::encode(leaf.fingerprint()),
    }
}
