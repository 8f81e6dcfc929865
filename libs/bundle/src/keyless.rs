//! V4, V5 and V6 for keyless signatures: a certificate of one of the trusted root's authorities, in its certificate logs,
//! for somebody whom the policy names.

use sealwright_pki::certificate::Certificate;
use sealwright_pki::chain::{Purpose, VerifiedChain, verify_chain};
use sealwright_pki::error::{ChainFault, Error as PkiError, SctFault as PkiSctFault};
use sealwright_pki::profile::{self, Identity};
use sealwright_pki::sct::{self, SignedCertificateTimestamp};

use crate::bundle::{Bundle, SignerMaterial};
use crate::error::{Counted, SctFault, VerifyError};
use crate::parties::{Party, distinct};
use crate::policy::{ExtensionRule, IdentityRule, Policy};
use crate::trusted_root::{Authority, CertificateLog, TrustedRoot};
use crate::verdict::{Signer, UnixTime, VerifiedSct, VerifiedTime};

/// What the checks of a keyless certificate have shown.
pub(crate) struct Judged {
    pub(crate) signer: Signer,
    pub(crate) scts: VerifiedScts,
}

/// V4, V5 and V6, at every one of `times`.
pub(crate) fn judge(
    leaf: &Certificate,
    bundle: &Bundle,
    root: &TrustedRoot,
    policy: &Policy,
    rules: &[IdentityRule],
    times: &[VerifiedTime],
) -> Result<Judged, VerifyError> {
    let trusted = trusted_path(leaf, bundle, root, times)?;
    let scts = verified_scts(&trusted.chain, root, policy.into())?;
    let identity = identity_of(leaf)?;
    let matched = matching_rule(leaf, &identity, rules)?;
    let signer = identity_signer(identity, &trusted, &matched);
    Ok(Judged { signer, scts })
}

/// Checks a certificate by itself, as V4 and V5 will at a verified time of `at`, and reads whom it names.
///
/// For signers: a certificate that fails here makes signatures that nobody accepts.
///
/// # Errors
/// The first check that fails.
pub fn verify_certificate(
    leaf: &Certificate,
    root: &TrustedRoot,
    at: i64,
) -> Result<Identity, VerifyError> {
    verify_certificate_path(leaf, root, at).map(|verified| verified.identity)
}

/// A certificate that [`verify_certificate_path`] found good, and what that showed.
#[derive(Debug)]
#[non_exhaustive]
pub struct VerifiedCertificate {
    /// Whom it names.
    pub identity: Identity,
    /// The certificate, and those above it up to one of the trusted root's.
    pub chain: VerifiedChain,
    /// The certificate logs that promised to hold it, one at least.
    pub certificate_logs: Vec<VerifiedSct>,
}

/// [`verify_certificate`], with the path that led to the trusted root and the logs that hold the certificate: for those who
/// pass a certificate on.
///
/// # Errors
/// The first check that fails.
pub fn verify_certificate_path(
    leaf: &Certificate,
    root: &TrustedRoot,
    at: i64,
) -> Result<VerifiedCertificate, VerifyError> {
    let trusted = path_at(leaf, &[], root, at)?;
    let certificate_logs = verified_scts(&trusted.chain, root, SctRule::one())?.verified;
    Ok(VerifiedCertificate {
        identity: identity_of(leaf)?,
        chain: trusted.chain,
        certificate_logs,
    })
}

struct TrustedPath<'a> {
    chain: VerifiedChain,
    authority: &'a Authority,
}

/// V4: a path to a trusted authority that held at every verified time.
fn trusted_path<'a>(
    leaf: &Certificate,
    bundle: &Bundle,
    root: &'a TrustedRoot,
    times: &[VerifiedTime],
) -> Result<TrustedPath<'a>, VerifyError> {
    let others: &[Certificate] = match bundle.signer() {
        SignerMaterial::CertificateChain(_, others) => others,
        _ => &[],
    };
    let mut path = Err(VerifyError::NoTimeSource);
    for time in times {
        path = Ok(path_at(leaf, others, root, time.time.0)?);
    }
    path
}

/// `others` are certificates the signer sent along: help on the way to an anchor, never one.
fn path_at<'a>(
    leaf: &Certificate,
    others: &[Certificate],
    root: &'a TrustedRoot,
    at: i64,
) -> Result<TrustedPath<'a>, VerifyError> {
    if !leaf.is_valid_at(at) {
        let (not_before, not_after) = (leaf.not_before(), leaf.not_after());
        return Err(VerifyError::CertificateNotValidAt {
            time: at,
            not_before,
            not_after,
        });
    }
    let mut failures = vec![(
        0,
        untrusted("the trusted root has no certificate authority"),
    )];
    for authority in root.certificate_authorities() {
        match path_by(leaf, others, authority, at) {
            Ok(chain) if authority.validity().covers(at) => {
                return Ok(TrustedPath { chain, authority });
            }
            Ok(_) => {
                let authority = authority.uri().to_owned();
                failures.push((
                    3,
                    VerifyError::AuthorityNotTrustedAt {
                        time: at,
                        authority,
                    },
                ));
            }
            // That one authority does not know the issuer says little when another came further.
            Err(error) => {
                failures.push((1 + u8::from(!is_unknown_issuer(&error)), untrusted(error)))
            }
        }
    }
    let furthest = failures.into_iter().max_by_key(|(rank, _)| *rank);
    Err(furthest.map_or_else(
        || untrusted("no certificate authority was tried"),
        |(_, error)| error,
    ))
}

fn path_by(
    leaf: &Certificate,
    others: &[Certificate],
    authority: &Authority,
    at: i64,
) -> Result<VerifiedChain, PkiError> {
    let (anchor, below) = authority.split();
    verify_chain(
        leaf,
        &[below, others].concat(),
        anchor,
        at,
        Purpose::CodeSigning,
    )
}

fn is_unknown_issuer(error: &PkiError) -> bool {
    matches!(error, PkiError::Chain(ChainFault::UnknownIssuer { .. }))
}

fn untrusted(reason: impl ToString) -> VerifyError {
    VerifyError::CertificateUntrusted {
        reason: reason.to_string(),
    }
}

/// How many certificate logs have to hold a certificate, and what is counted.
#[derive(Clone, Copy)]
pub(crate) struct SctRule {
    need: usize,
    by_operator: bool,
}

impl SctRule {
    fn one() -> Self {
        Self {
            need: 1,
            by_operator: false,
        }
    }
}

impl From<&Policy> for SctRule {
    fn from(policy: &Policy) -> Self {
        Self {
            need: policy.certificate_log_threshold,
            by_operator: policy.certificate_log_operators_distinct,
        }
    }
}

/// The certificate timestamps that hold, and why the others do not count.
#[derive(Default)]
pub(crate) struct VerifiedScts {
    pub(crate) verified: Vec<VerifiedSct>,
    pub(crate) rejected: Vec<SctFault>,
}

/// V5: certificate logs of the trusted root hold the certificate.
pub(crate) fn verified_scts(
    chain: &VerifiedChain,
    root: &TrustedRoot,
    rule: SctRule,
) -> Result<VerifiedScts, VerifyError> {
    let embedded = match sct::embedded_scts(chain.leaf()) {
        Ok(embedded) => embedded,
        Err(PkiError::Sct(PkiSctFault::Missing)) if rule.need == 0 => {
            return Ok(VerifiedScts::default());
        }
        Err(PkiError::Sct(PkiSctFault::Missing)) => return Err(VerifyError::SctMissing),
        Err(error) => {
            return Err(VerifyError::SctsRejected {
                faults: vec![SctFault::Invalid(error.to_string())],
            });
        }
    };
    let mut scts = VerifiedScts::default();
    let mut keys = Vec::new();
    for timestamp in &embedded {
        match verified_sct(timestamp, chain, root) {
            Ok((sct, log)) => {
                scts.verified.push(sct);
                keys.push(log.key().spki_der());
            }
            Err(fault) => scts.rejected.push(fault),
        }
    }
    let have = distinct_logs(scts.verified.iter().zip(keys), rule.by_operator);
    if have >= rule.need {
        return Ok(scts);
    }
    if !scts.rejected.is_empty() {
        return Err(VerifyError::SctsRejected {
            faults: scts.rejected,
        });
    }
    Err(VerifyError::ThresholdNotMet {
        counted: Counted::CertificateLogs,
        have,
        need: rule.need,
    })
}

/// How many logs, or operators of logs, these timestamps are of; each comes with its log's key.
pub(crate) fn distinct_logs<'a>(
    scts: impl IntoIterator<Item = (&'a VerifiedSct, &'a [u8])>,
    by_operator: bool,
) -> usize {
    distinct(scts.into_iter().map(|(sct, key)| {
        let name = match sct.operator.as_str() {
            operator if by_operator && !operator.is_empty() => operator,
            _ => &sct.log_id,
        };
        Party { name, key }
    }))
}

fn verified_sct<'a>(
    timestamp: &'a SignedCertificateTimestamp,
    chain: &VerifiedChain,
    root: &'a TrustedRoot,
) -> Result<(VerifiedSct, &'a CertificateLog), SctFault> {
    let mut known = root.certificate_logs_with_id(&timestamp.log_id).peekable();
    let first = *known
        .peek()
        .ok_or_else(|| SctFault::UnknownLog(hex::encode(timestamp.log_id)))?;
    timestamp
        .verify_embedded(chain.leaf(), chain.issuer_key_hash(), first.key())
        .map_err(|error| SctFault::Invalid(error.to_string()))?;
    let time_ms = i64::try_from(timestamp.timestamp_ms).unwrap_or(i64::MAX);
    let time = time_ms / 1000;
    let log = known
        .find(|log| log.validity().covers_ms(time_ms))
        .ok_or(SctFault::OutsideLogWindow { time })?;
    let sct = VerifiedSct {
        log: log.base_url().to_owned(),
        operator: log.operator().to_owned(),
        log_id: hex::encode(log.log_id()),
        time: UnixTime(time),
    };
    Ok((sct, log))
}

/// The rule that an identity satisfied.
struct Matched<'a> {
    position: usize,
    rule: &'a IdentityRule,
}

/// V6: the first of the rules that the certificate's identity satisfies.
fn matching_rule<'a>(
    leaf: &Certificate,
    identity: &Identity,
    rules: &'a [IdentityRule],
) -> Result<Matched<'a>, VerifyError> {
    let mut refusals = Vec::new();
    for (position, rule) in rules.iter().enumerate() {
        match satisfies(leaf, identity, rule) {
            Ok(()) => return Ok(Matched { position, rule }),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(closest(identity, rules, refusals))
}

fn satisfies(
    leaf: &Certificate,
    identity: &Identity,
    rule: &IdentityRule,
) -> Result<(), VerifyError> {
    let name = &identity.subject_alternative_name;
    if let Some(kind) = rule.subject_type
        && !kind.is_of(name)
    {
        return Err(VerifyError::IdentityMismatch {
            found: format!("{} {}", name.kind(), name.value()),
            expected: format!("{kind} {}", rule.subject),
        });
    }
    if !rule.subject.matches(name.value()) {
        return Err(VerifyError::IdentityMismatch {
            found: name.value().to_owned(),
            expected: rule.subject.to_string(),
        });
    }
    if !rule.issuer.matches(&identity.issuer) {
        return Err(VerifyError::IssuerMismatch {
            found: identity.issuer.clone(),
            expected: rule.issuer.to_string(),
        });
    }
    extensions_match(leaf, &rule.extensions)
}

/// Whether the certificate has all of these extensions with matching texts.
pub(crate) fn extensions_match(
    leaf: &Certificate,
    rules: &[ExtensionRule],
) -> Result<(), VerifyError> {
    for extension in rules {
        let found = profile::extension_text(leaf, &extension.oid).map_err(unnamed)?;
        if !found
            .as_deref()
            .is_some_and(|text| extension.value.matches(text))
        {
            return Err(VerifyError::ExtensionMismatch {
                extension: extension.name.clone(),
                found,
                expected: extension.value.to_string(),
            });
        }
    }
    Ok(())
}

/// Of several refusals the one by the rule that came closest; all rules when nobody knew the name.
fn closest(identity: &Identity, rules: &[IdentityRule], refusals: Vec<VerifyError>) -> VerifyError {
    let knows_the_name =
        |refusal: &VerifyError| !matches!(refusal, VerifyError::IdentityMismatch { .. });
    let all = VerifyError::IdentityMismatch {
        found: identity.subject_alternative_name.value().to_owned(),
        expected: rules
            .iter()
            .map(|rule| rule.subject.to_string())
            .collect::<Vec<_>>()
            .join(" or "),
    };
    refusals
        .into_iter()
        .find(|refusal| rules.len() == 1 || knows_the_name(refusal))
        .unwrap_or(all)
}

fn identity_of(leaf: &Certificate) -> Result<Identity, VerifyError> {
    Identity::from_certificate(leaf).map_err(unnamed)
}

fn unnamed(error: PkiError) -> VerifyError {
    VerifyError::IdentityMissing {
        what: error.to_string(),
    }
}

fn identity_signer(identity: Identity, trusted: &TrustedPath<'_>, matched: &Matched<'_>) -> Signer {
    let leaf = trusted.chain.leaf();
    let subject = &identity.subject_alternative_name;
    Signer::Identity {
        subject: subject.value().to_owned(),
        subject_type: subject.kind(),
        extensions: identity
            .extensions
            .iter()
            .map(|(row, value)| (row.name, value.to_owned()))
            .collect(),
        issuer: identity.issuer,
        serial: leaf.serial_hex(),
        fingerprint: hex::encode(leaf.fingerprint()),
        certificate_issuer: leaf.issuer(),
        not_before: UnixTime(leaf.not_before()),
        not_after: UnixTime(leaf.not_after()),
        authority: trusted.authority.uri().to_owned(),
        matched_rule: matched.position,
        matched: matched.rule.to_string(),
    }
}
