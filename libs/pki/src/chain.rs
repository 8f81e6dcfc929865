//! Certification path validation (RFC 5280 section 6), by our own code.
//!
//! A path runs from the leaf through intermediates, which anybody may have sent, to a trust anchor, which the caller
//! vouches for. Everything is checked for the given moment (the hybrid model: every certificate of the path is valid
//! then). An issuer is whoever made the signature; names and key identifiers only say whom to try first. The result
//! is a [`VerifiedChain`], which nothing but this module can make.
//!
//! Anchors may be self-signed or not; their own signatures are not looked at, the rest of what they say is: an anchor
//! constrains its paths as any other authority does. Revocation is not consulted: the certificates of this profile
//! live for minutes, and removing an authority is done in the trust root. Who has certificates that live longer asks
//! [`crate::crl`] about each certificate of the path.

use sealwright_crypto::KeyType;

use crate::certificate::Certificate;
use crate::error::{ChainFault, Error, IssuerFault};
use crate::name_constraints;
use crate::oid;

/// Longest path, leaf and anchor included.
pub const MAX_PATH_CERTIFICATES: usize = 8;
/// Most intermediates that are considered; more are refused unread.
pub const MAX_INTERMEDIATES: usize = 64;
/// Most signatures checked in search of one path. A hostile sender can make certificates of one name and thereby many
/// candidates; honest paths need one check a certificate.
const MAX_SIGNATURE_CHECKS: usize = 48;

/// What the leaf's key is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// id-kp-codeSigning among the leaf's purposes.
    CodeSigning,
    /// id-kp-timeStamping as the leaf's only purpose, and critical (RFC 3161 section 2.3).
    TimeStamping,
    /// id-kp-serverAuth among the leaf's purposes.
    ServerAuth,
    /// A purpose of the caller's choice among the leaf's purposes.
    Other(const_oid::ObjectIdentifier),
    /// Whatever the leaf and its issuers are for; also a leaf that does not say.
    Any,
}

impl Purpose {
    /// The purpose as an extended key usage.
    pub fn oid(self) -> const_oid::ObjectIdentifier {
        match self {
            Self::CodeSigning => oid::CODE_SIGNING,
            Self::TimeStamping => oid::TIME_STAMPING,
            Self::ServerAuth => oid::SERVER_AUTH,
            Self::Other(purpose) => purpose,
            Self::Any => oid::ANY_EXTENDED_KEY_USAGE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::CodeSigning => "code signing",
            Self::TimeStamping => "time stamping",
            Self::ServerAuth => "server authentication",
            Self::Other(_) => "the purpose asked for",
            Self::Any => "any purpose",
        }
    }
}

/// A path that was found to be valid: leaf first, trust anchor last, two certificates at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedChain {
    path: Vec<Certificate>,
}

impl VerifiedChain {
    /// The whole path, leaf first, anchor last.
    pub fn certificates(&self) -> &[Certificate] {
        &self.path
    }

    /// The certificate that was asked about.
    pub fn leaf(&self) -> &Certificate {
        self.path.first().expect("a verified path has a leaf")
    }

    /// Who signed the leaf.
    pub fn issuer(&self) -> &Certificate {
        self.path.get(1).expect("a verified path has an issuer")
    }

    /// The trust anchor at the end.
    pub fn anchor(&self) -> &Certificate {
        self.path.last().expect("a verified path has an anchor")
    }

    /// SHA-256 of the issuer's SubjectPublicKeyInfo, as signed certificate timestamps refer to it (RFC 6962).
    pub fn issuer_key_hash(&self) -> [u8; 32] {
        self.issuer().spki_sha256()
    }
}

/// Finds and validates a path from `leaf` to one of `anchors` at the moment `at` (Unix seconds).
///
/// `intermediates` may be in any order, and may hold what is not needed. Fails with [`Error::Chain`]; when several
/// paths were tried, the reason is that of the one that came furthest.
pub fn verify_chain(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    at: i64,
    purpose: Purpose,
) -> Result<VerifiedChain, Error> {
    Search::new(intermediates, anchors, at, purpose).run(leaf, Kind::Certificate)
}

/// The same for a precertificate (RFC 6962 section 3.1): the poison must be there, and nothing else differs. For logs.
pub fn verify_precertificate_chain(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    at: i64,
    purpose: Purpose,
) -> Result<VerifiedChain, Error> {
    Search::new(intermediates, anchors, at, purpose).run(leaf, Kind::Precertificate)
}

/// Checks what [`verify_chain`] asks of a leaf, whoever issued it: that it may sign for `purpose`, is no authority, has a
/// strong key and nothing critical that is not understood, and is valid at the moment `at` (Unix seconds).
///
/// # Errors
/// [`Error::Chain`].
pub fn check_leaf_certificate(leaf: &Certificate, at: i64, purpose: Purpose) -> Result<(), Error> {
    check_leaf(leaf, Kind::Certificate, at, purpose).map_err(Error::Chain)
}

/// Checks that leaves for `purpose` can be issued with this certificate: an authority that may sign certificates, whose
/// extended key usage does not exclude the purpose, with a subject and a key identifier by which leaves can name it.
/// Nothing is said about its own path, nor about the time.
///
/// # Errors
/// What the certificate lacks.
pub fn check_issuing_certificate(
    certificate: &Certificate,
    purpose: Purpose,
) -> Result<(), IssuerFault> {
    let identifier = certificate.subject_key_identifier();
    if !certificate.is_ca() {
        Err(IssuerFault::NotAnAuthority)
    } else if !certificate
        .key_usage()
        .is_some_and(|usage| usage.key_cert_sign())
    {
        Err(IssuerFault::MayNotSignCertificates)
    } else if !certifies_for(certificate, purpose) {
        Err(IssuerFault::Purpose {
            purpose: purpose.name(),
        })
    } else if identifier.is_none_or(<[u8]>::is_empty) {
        Err(IssuerFault::NoKeyIdentifier)
    } else if certificate.subject().is_empty() {
        Err(IssuerFault::EmptySubject)
    } else {
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Certificate,
    Precertificate,
}

struct Search<'a> {
    intermediates: &'a [Certificate],
    anchors: &'a [Certificate],
    at: i64,
    purpose: Purpose,
    checks_left: usize,
    best: Option<(Progress, ChainFault)>,
}

/// How far a path came before it failed: the reason of the furthest is the one worth telling.
type Progress = (usize, Stage);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    NoCandidate,
    NoSignature,
    Refused,
}

impl<'a> Search<'a> {
    fn new(
        intermediates: &'a [Certificate],
        anchors: &'a [Certificate],
        at: i64,
        purpose: Purpose,
    ) -> Self {
        Self {
            intermediates,
            anchors,
            at,
            purpose,
            checks_left: MAX_SIGNATURE_CHECKS,
            best: None,
        }
    }

    fn run(mut self, leaf: &'a Certificate, kind: Kind) -> Result<VerifiedChain, Error> {
        check_leaf(leaf, kind, self.at, self.purpose).map_err(Error::Chain)?;
        if self.intermediates.len() > MAX_INTERMEDIATES {
            return Err(Error::Chain(ChainFault::TooComplex));
        }
        let mut path = vec![leaf];
        if self.extend(&mut path) {
            return Ok(VerifiedChain {
                path: path.into_iter().cloned().collect(),
            });
        }
        let unknown = ChainFault::UnknownIssuer {
            issuer: leaf.issuer(),
        };
        Err(Error::Chain(self.best.map_or(unknown, |(_, fault)| fault)))
    }

    /// Tries to complete `path`; leaves it as it was when that fails.
    fn extend(&mut self, path: &mut Vec<&'a Certificate>) -> bool {
        let depth = path.len();
        let Some(child) = path.last().copied() else {
            return false;
        };
        if depth == MAX_PATH_CERTIFICATES {
            self.note((depth, Stage::Refused), ChainFault::TooComplex);
            return false;
        }
        let candidates = self.candidates(child, path);
        if candidates.is_empty() {
            self.note(
                (depth, Stage::NoCandidate),
                ChainFault::UnknownIssuer {
                    issuer: child.issuer(),
                },
            );
        }
        for candidate in candidates {
            if self.checks_left == 0 {
                self.note(
                    (MAX_PATH_CERTIFICATES, Stage::Refused),
                    ChainFault::TooComplex,
                );
                return false;
            }
            self.checks_left -= 1;
            if let Err((stage, fault)) = self.check_issuer(path, candidate) {
                self.note((depth, stage), fault);
                continue;
            }
            path.push(candidate.certificate);
            if self.complete(path, candidate) {
                return true;
            }
            path.pop();
        }
        false
    }

    fn complete(&mut self, path: &mut Vec<&'a Certificate>, last: Candidate<'a>) -> bool {
        if !last.anchor {
            return self.extend(path);
        }
        match name_constraints::check(path) {
            Ok(()) => true,
            Err(fault) => {
                self.note((path.len(), Stage::Refused), fault);
                false
            }
        }
    }

    /// Certificates with the name of the child's issuer: anchors first, key identifiers that match before others.
    fn candidates(&self, child: &Certificate, path: &[&'a Certificate]) -> Vec<Candidate<'a>> {
        let anchors = self.anchors.iter().map(|certificate| Candidate {
            certificate,
            anchor: true,
        });
        let others = self.intermediates.iter().map(|certificate| Candidate {
            certificate,
            anchor: false,
        });
        let mut candidates: Vec<_> = anchors
            .chain(others)
            .filter(|candidate| candidate.certificate.subject_der() == child.issuer_der())
            .filter(|candidate| !path.contains(&candidate.certificate))
            .collect();
        let wanted = child.authority_key_identifier();
        candidates
            .sort_by_key(|candidate| wanted != candidate.certificate.subject_key_identifier());
        candidates
    }

    fn check_issuer(
        &self,
        path: &[&Certificate],
        candidate: Candidate<'_>,
    ) -> Result<(), (Stage, ChainFault)> {
        let depth = path.len();
        let issuer = candidate.certificate;
        let Some(child) = path.last() else {
            return Ok(());
        };
        check_signature(child, issuer, depth).map_err(|fault| (Stage::NoSignature, fault))?;
        check_authority(issuer, depth, candidate.anchor)
            .and_then(|()| check_path_length(issuer, path))
            .and_then(|()| check_validity(issuer, depth, self.at))
            .and_then(|()| check_authority_purpose(issuer, depth, self.purpose))
            .and_then(|()| check_critical(issuer, depth, Kind::Certificate))
            .map_err(|fault| (Stage::Refused, fault))
    }

    fn note(&mut self, progress: Progress, fault: ChainFault) {
        if self.best.as_ref().is_none_or(|(best, _)| progress > *best) {
            self.best = Some((progress, fault));
        }
    }
}

#[derive(Clone, Copy)]
struct Candidate<'a> {
    certificate: &'a Certificate,
    anchor: bool,
}

fn check_leaf(leaf: &Certificate, kind: Kind, at: i64, purpose: Purpose) -> Result<(), ChainFault> {
    let poisoned = leaf.extension(&oid::PRECERTIFICATE_POISON).is_some();
    if poisoned != (kind == Kind::Precertificate) {
        return Err(ChainFault::Poison { present: poisoned });
    }
    check_critical(leaf, 0, kind)?;
    if leaf.is_ca() || leaf.key_usage().is_some_and(|usage| usage.key_cert_sign()) {
        return Err(ChainFault::LeafIsAuthority);
    }
    if !leaf
        .key_usage()
        .is_some_and(|usage| usage.digital_signature())
    {
        return Err(ChainFault::LeafMayNotSign);
    }
    check_leaf_purpose(leaf, purpose)?;
    check_key(leaf, 0)?;
    check_validity(leaf, 0, at)
}

fn check_leaf_purpose(leaf: &Certificate, purpose: Purpose) -> Result<(), ChainFault> {
    if purpose == Purpose::Any {
        return Ok(());
    }
    let suits = leaf
        .extended_key_usage()
        .is_some_and(|usage| match purpose {
            Purpose::TimeStamping => usage.critical && usage.purposes == [purpose.oid()],
            _ => usage.contains(&purpose.oid()),
        });
    if suits {
        Ok(())
    } else {
        Err(ChainFault::Purpose {
            depth: 0,
            purpose: purpose.name(),
        })
    }
}

/// An authority without purposes may certify for all; one with purposes for those only.
fn certifies_for(issuer: &Certificate, purpose: Purpose) -> bool {
    purpose == Purpose::Any
        || issuer.extended_key_usage().is_none_or(|usage| {
            usage.contains(&purpose.oid()) || usage.contains(&oid::ANY_EXTENDED_KEY_USAGE)
        })
}

fn check_authority_purpose(
    issuer: &Certificate,
    depth: usize,
    purpose: Purpose,
) -> Result<(), ChainFault> {
    if certifies_for(issuer, purpose) {
        Ok(())
    } else {
        Err(ChainFault::Purpose {
            depth,
            purpose: purpose.name(),
        })
    }
}

/// keyUsage must be there and say keyCertSign; an anchor, which somebody chose by hand, may leave it out.
fn check_authority(issuer: &Certificate, depth: usize, anchor: bool) -> Result<(), ChainFault> {
    if !issuer.is_ca() {
        return Err(ChainFault::NotAnAuthority { depth });
    }
    if issuer
        .key_usage()
        .map_or(anchor, |usage| usage.key_cert_sign())
    {
        Ok(())
    } else {
        Err(ChainFault::MayNotSignCertificates { depth })
    }
}

/// Self-issued authorities do not count (RFC 5280 section 4.2.1.9).
fn check_path_length(issuer: &Certificate, path: &[&Certificate]) -> Result<(), ChainFault> {
    let below = path
        .iter()
        .skip(1)
        .filter(|authority| !authority.is_self_issued())
        .count();
    let found = u32::try_from(below).unwrap_or(u32::MAX);
    match issuer
        .basic_constraints()
        .and_then(|constraints| constraints.path_len)
    {
        Some(limit) if found > limit => Err(ChainFault::PathLength {
            depth: path.len(),
            limit,
            found,
        }),
        _ => Ok(()),
    }
}

fn check_validity(certificate: &Certificate, depth: usize, at: i64) -> Result<(), ChainFault> {
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    if at < not_before {
        Err(ChainFault::NotYetValid {
            depth,
            not_before,
            at,
        })
    } else if at > not_after {
        Err(ChainFault::Expired {
            depth,
            not_after,
            at,
        })
    } else {
        Ok(())
    }
}

fn check_critical(certificate: &Certificate, depth: usize, kind: Kind) -> Result<(), ChainFault> {
    let understood = |oid: &const_oid::ObjectIdentifier| match *oid {
        oid::KEY_USAGE
        | oid::EXTENDED_KEY_USAGE
        | oid::BASIC_CONSTRAINTS
        | oid::SUBJECT_ALT_NAME => true,
        // With any policy acceptable and no policy constraints (which are refused), every policy set is valid.
        oid::CERTIFICATE_POLICIES => true,
        oid::NAME_CONSTRAINTS => certificate.is_ca(),
        oid::PRECERTIFICATE_POISON => kind == Kind::Precertificate,
        _ => false,
    };
    match certificate
        .extensions()
        .find(|extension| extension.critical && !understood(&extension.oid))
    {
        Some(extension) => Err(ChainFault::UnknownCriticalExtension {
            depth,
            oid: extension.oid,
        }),
        None => Ok(()),
    }
}

fn check_key(certificate: &Certificate, depth: usize) -> Result<(), ChainFault> {
    let strong = certificate
        .public_key()
        .is_ok_and(|key| is_strong(key.key_type()));
    if strong {
        Ok(())
    } else {
        Err(ChainFault::WeakAlgorithm { depth })
    }
}

fn is_strong(key_type: KeyType) -> bool {
    match key_type {
        KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 | KeyType::Ed25519 => true,
        KeyType::Rsa { bits } => bits >= 2048,
    }
}

/// `depth` is the issuer's; the signature is on the certificate below it.
fn check_signature(
    child: &Certificate,
    issuer: &Certificate,
    depth: usize,
) -> Result<(), ChainFault> {
    check_key(issuer, depth)?;
    let key = issuer
        .public_key()
        .map_err(|_| ChainFault::WeakAlgorithm { depth })?;
    match child.verify_signature(key) {
        Ok(()) => Ok(()),
        Err(Error::SignatureAlgorithm { .. }) => {
            Err(ChainFault::WeakAlgorithm { depth: depth - 1 })
        }
        Err(_) => Err(ChainFault::BadSignature {
            depth: depth - 1,
            issuer: issuer.subject(),
        }),
    }
}
