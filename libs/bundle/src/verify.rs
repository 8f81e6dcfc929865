//! The sequence of checks.
//!
//! [`verify`] tells the whole story in order; its helpers each do one
//! thing and decide nothing about the order. Check V1 is [`crate::bundle::Bundle::parse`].

use std::collections::BTreeSet;

use sealwright_crypto::{Algorithm, Digest, HashAlgorithm, KeyType, PublicKey, base64};
use sealwright_pki::certificate::Certificate;
use sealwright_pki::chain::{Purpose, VerifiedChain, verify_chain};
use sealwright_pki::error::{ChainFault, Error as PkiError, SctFault as PkiSctFault};
use sealwright_pki::profile::Identity;
use sealwright_pki::sct::{self, SignedCertificateTimestamp};
use sealwright_pki::timestamp::{self, TimestampError};
use sealwright_tlog::dsse;
use serde_json::value::RawValue;

use crate::artifact::Artifact;
use crate::bundle::{Bundle, BundleVersion, Content, Envelope, MessageSignature, SignerMaterial};
use crate::error::{Counted, SctFault, StructureFault, TimestampFault, VerifyError};
use crate::log::{self, Claim, Logged, logged_entries};
use crate::own_pki::{self, CertificateRule};
use crate::policy::{self, IdentityRule, Policy, Signers, TrustedKey};
use crate::statement::{self, Statement};
use crate::trusted_root::{Authority, TrustedRoot};
use crate::verdict::{Signer, TimeSource, UnixTime, Verified, VerifiedSct, VerifiedTime, Warning};

/// Verifies a bundle against an artifact.
///
/// `now` (Unix seconds) is used for one thing: to refuse promises from the future. Whether a
/// certificate was valid is decided by verified times alone.
///
/// # Errors
/// The first check that fails.
pub fn verify(
    bundle: &Bundle,
    artifact: &Artifact<'_>,
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> Result<Verified, VerifyError> {
    // V1, the part that depends on the policy: chains, and the kinds of signer and content.
    refuse_chain(bundle, policy)?;
    let statement = expected_content(bundle, policy)?;
    let claimed = claimed_signer(bundle, artifact, policy)?;
    let key = claimed.public_key()?;
    let algorithms = algorithms_of(key);

    // V2: nothing counts twice.
    refuse_repeated_entries(bundle)?;
    refuse_repeated_timestamps(bundle)?;

    // V3: when the signature existed.
    let observed = observed_times(bundle, root, now)?;
    enough_times(&observed, policy, &claimed)?;
    let times = observed.times;

    // V4, V5, V6 for certificates; for keys, that they were valid then.
    let mut remarks = Vec::new();
    let (signer, certificate_logs) = match &claimed {
        ClaimedSigner::Certificate(leaf, rules) => {
            let trusted = trusted_path(leaf, bundle, root, &times)?;
            let scts = verified_scts(&trusted.chain, root, policy.certificate_log_threshold)?;
            let identity = identity_of(leaf)?;
            let matched_rule = matching_rule(&identity, rules)?;
            (identity_signer(&identity, &trusted, matched_rule), scts)
        }
        ClaimedSigner::Own(leaf, rule) => {
            let judged = own_pki::judge(leaf, bundle, rule, &times, now)?;
            let need = policy.certificate_log_threshold;
            let scts = if need == 0 {
                Vec::new()
            } else {
                verified_scts(&judged.chain, root, need)?
            };
            remarks.extend(judged.warnings);
            (judged.signer, scts)
        }
        ClaimedSigner::Key(trusted, hint) => {
            key_valid_at(trusted, &times)?;
            (
                Signer::Key {
                    fingerprint: hex::encode(trusted.key.fingerprint()),
                    hint: (*hint).to_owned(),
                },
                Vec::new(),
            )
        }
    };

    // V7, V8: the signature was logged, and the entries speak of this bundle.
    let claim = Claim {
        bundle,
        artifact,
        key,
        algorithms: &algorithms,
        times: &times,
    };
    let logged = logged_entries(&claim, root)?;
    reach_log_threshold(&logged, policy.log_threshold)?;
    let algorithms = logged.algorithms(&algorithms);

    // V9: the signature itself.
    let algorithm = verified_signature(bundle, artifact, key, &algorithms)?;
    if let Content::Message(message) = bundle.content() {
        stated_digest_is_true(message, artifact)?;
    }

    // V10: the statement speaks of this artifact.
    if let Some(statement) = &statement {
        statement_names_artifact(statement, artifact)?;
    }

    // V11: the statement is of an accepted type.
    if let Some(statement) = &statement {
        accepted_predicate(statement, policy)?;
    }

    // V12: everything that was shown.
    let mut warnings = warnings(root, artifact, algorithm, &logged, &observed.rejected);
    warnings.extend(remarks);
    Ok(Verified {
        signer,
        algorithm: algorithm.to_string(),
        artifact_digests: compared_digests(artifact, statement.as_ref(), algorithm),
        times,
        logs: logged.entries(),
        certificate_logs,
        predicate_type: statement
            .as_ref()
            .map(|statement| statement.predicate_type.clone()),
        payload: payload_text(bundle, statement.as_ref())?,
        statement,
        warnings,
    })
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
    let certificate_logs = verified_scts(&trusted.chain, root, 1)?;
    Ok(VerifiedCertificate {
        identity: identity_of(leaf)?,
        chain: trusted.chain,
        certificate_logs,
    })
}

/// The digests of the artifact that [`verify`] will ask for: compute these while streaming it.
///
/// What the bundle says is only a hint about work to do; a missing digest is an error later, never
/// a weaker check.
#[must_use]
pub fn digest_algorithms(bundle: &Bundle, policy: &Policy) -> Vec<HashAlgorithm> {
    let wanted: BTreeSet<HashAlgorithm> = match bundle.content() {
        Content::Dsse(envelope) => Statement::parse(&envelope.payload)
            .map(|statement| statement.digest_algorithms())
            .unwrap_or_default(),
        Content::Message(message) => {
            let stated = message.digest.as_ref().map(Digest::algorithm);
            stated
                .into_iter()
                .chain(signing_hashes(bundle, policy))
                .collect::<Vec<_>>()
        }
    }
    .into_iter()
    .collect();
    if wanted.is_empty() {
        vec![HashAlgorithm::Sha256]
    } else {
        wanted.into_iter().collect()
    }
}

/// What [`verify`] may come to ask of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// Digests, none twice, one at least.
    pub digests: Vec<HashAlgorithm>,
    /// The bytes themselves: a key may have signed them and not a digest (pure Ed25519).
    pub bytes: bool,
}

/// Everything that [`verify`] may ask of the artifact, also for signatures of old clients: for an artifact that can be read
/// only once. [`digest_algorithms`] is shorter, and enough for one that can be read again.
#[must_use]
pub fn possible_needs(bundle: &Bundle, policy: &Policy) -> Needs {
    let mut needs = Needs {
        digests: digest_algorithms(bundle, policy),
        bytes: false,
    };
    if let Content::Message(_) = bundle.content() {
        for algorithm in signing_keys(bundle, policy)
            .into_iter()
            .flat_map(algorithms_of)
        {
            match algorithm.hash() {
                Some(hash) if !needs.digests.contains(&hash) => needs.digests.push(hash),
                Some(_) => {}
                None => needs.bytes = true,
            }
        }
    }
    needs
}

fn signing_hashes(bundle: &Bundle, policy: &Policy) -> Vec<HashAlgorithm> {
    signing_keys(bundle, policy)
        .into_iter()
        .filter_map(|key| {
            algorithms_of(key)
                .first()
                .and_then(|algorithm| algorithm.hash())
        })
        .collect()
}

/// The keys with which the signature may have been made.
fn signing_keys<'a>(bundle: &'a Bundle, policy: &'a Policy) -> Vec<&'a PublicKey> {
    match (bundle.certificate(), &policy.signers) {
        (Some(leaf), _) => leaf.public_key().into_iter().collect(),
        (None, Signers::Keys(keys)) => keys.iter().map(|trusted| &trusted.key).collect(),
        (None, Signers::Certificates(rule)) => own_pki::claimed_leaf(bundle, rule)
            .ok()
            .and_then(|leaf| leaf.public_key().ok())
            .into_iter()
            .collect(),
        (None, Signers::Identities(_)) => Vec::new(),
    }
}

/// Whoever the bundle says signed, matched with the kind of signer that the policy asks for.
enum ClaimedSigner<'a> {
    Certificate(&'a Certificate, &'a [IdentityRule]),
    Own(&'a Certificate, &'a CertificateRule),
    Key(&'a TrustedKey, &'a str),
}

impl ClaimedSigner<'_> {
    fn public_key(&self) -> Result<&PublicKey, VerifyError> {
        match self {
            Self::Key(trusted, _) => Ok(&trusted.key),
            Self::Certificate(leaf, _) | Self::Own(leaf, _) => {
                leaf.public_key()
                    .map_err(|error| VerifyError::UnsupportedKey {
                        key_type: error.to_string(),
                    })
            }
        }
    }
}

fn refuse_chain(bundle: &Bundle, policy: &Policy) -> Result<(), VerifyError> {
    let chain = matches!(bundle.signer(), SignerMaterial::CertificateChain(..));
    if chain && bundle.version() >= BundleVersion::V0_3 && !policy.certificate_chain_allowed {
        return Err(StructureFault::ChainNotAllowed.into());
    }
    Ok(())
}

/// The statement of an attestation that the policy lets in, or `None` for a message signature.
fn expected_content(bundle: &Bundle, policy: &Policy) -> Result<Option<Statement>, VerifyError> {
    match (bundle.content(), &policy.content) {
        (Content::Message(_), policy::Content::Attestation(_)) => Err(VerifyError::ContentKind {
            found: "a signature over a file",
            expected: "an attestation",
        }),
        (Content::Message(_), policy::Content::Blob | policy::Content::Either(_)) => Ok(None),
        (Content::Dsse(envelope), content) => {
            let statement = read_statement(envelope)?;
            if matches!(content, policy::Content::Blob)
                && statement.predicate_type != statement::COSIGN_SIGN
            {
                return Err(VerifyError::ContentKind {
                    found: "an attestation",
                    expected: "a signature over a file",
                });
            }
            Ok(Some(statement))
        }
    }
}

fn read_statement(envelope: &Envelope) -> Result<Statement, VerifyError> {
    if envelope.payload_type != statement::PAYLOAD_TYPE {
        let found = envelope.payload_type.chars().take(128).collect();
        return Err(VerifyError::PayloadType { found });
    }
    Statement::parse(&envelope.payload)
}

fn claimed_signer<'a>(
    bundle: &'a Bundle,
    artifact: &Artifact<'_>,
    policy: &'a Policy,
) -> Result<ClaimedSigner<'a>, VerifyError> {
    match (bundle.signer(), &policy.signers) {
        (
            SignerMaterial::Certificate(leaf) | SignerMaterial::CertificateChain(leaf, _),
            Signers::Identities(rules),
        ) => Ok(ClaimedSigner::Certificate(leaf, rules)),
        (SignerMaterial::PublicKeyHint(hint), Signers::Keys(keys)) => Ok(ClaimedSigner::Key(
            key_that_signed(bundle, artifact, keys, hint)?,
            hint,
        )),
        (_, Signers::Certificates(rule)) => {
            let leaf = own_pki::claimed_leaf(bundle, rule)?;
            Ok(ClaimedSigner::Own(leaf, rule))
        }
        (SignerMaterial::PublicKeyHint(_), Signers::Identities(_)) => {
            Err(VerifyError::SignerKind {
                found: "a signature by a key",
                expected: "a keyless signature",
            })
        }
        (_, Signers::Keys(_)) => Err(VerifyError::SignerKind {
            found: "a keyless signature",
            expected: "a signature by a key",
        }),
    }
}

/// The policy's key that the bundle is to be verified with: the only one, the one that the hint
/// names, or the one whose signature it is.
fn key_that_signed<'a>(
    bundle: &Bundle,
    artifact: &Artifact<'_>,
    keys: &'a [TrustedKey],
    hint: &str,
) -> Result<&'a TrustedKey, VerifyError> {
    if let [only] = keys {
        return Ok(only);
    }
    let named = keys
        .iter()
        .find(|trusted| base64::encode(&trusted.key.fingerprint()) == hint);
    let fits = |trusted: &&TrustedKey| {
        verified_signature(bundle, artifact, &trusted.key, &algorithms_of(&trusted.key)).is_ok()
    };
    named
        .or_else(|| keys.iter().find(fits))
        .ok_or(VerifyError::KeyMismatch { tried: keys.len() })
}

/// How a key of this type may have signed, the way of today first. Never taken from the bundle.
fn algorithms_of(key: &PublicKey) -> Vec<Algorithm> {
    match key.key_type() {
        // Old clients used SHA-256 with every curve.
        KeyType::EcP384 => vec![Algorithm::EcdsaP384Sha384, Algorithm::EcdsaP384Sha256],
        KeyType::EcP521 => vec![Algorithm::EcdsaP521Sha512, Algorithm::EcdsaP521Sha256],
        // Logs take the prehashed form only; key holders without a log use the pure one.
        KeyType::Ed25519 => vec![Algorithm::Ed25519Ph, Algorithm::Ed25519],
        other => vec![other.default_algorithm()],
    }
}

fn refuse_repeated_entries(bundle: &Bundle) -> Result<(), VerifyError> {
    let key = |entry: &crate::bundle::LogEntry| (entry.log_id.clone(), entry.log_index);
    match repeated(bundle.log_entries(), key) {
        Some((first, second)) => Err(VerifyError::DuplicateEntry { first, second }),
        None => Ok(()),
    }
}

fn refuse_repeated_timestamps(bundle: &Bundle) -> Result<(), VerifyError> {
    match repeated(bundle.timestamps(), Clone::clone) {
        Some((first, second)) => Err(VerifyError::DuplicateTimestamp { first, second }),
        None => Ok(()),
    }
}

/// Positions of the first two items with the same key. The lists have 32 items at most.
fn repeated<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> K) -> Option<(usize, usize)> {
    let keys: Vec<K> = items.iter().map(key).collect();
    keys.iter().enumerate().find_map(|(second, key)| {
        let first = keys
            .iter()
            .take(second)
            .position(|earlier| earlier == key)?;
        Some((first, second))
    })
}

/// What observers say about the time.
struct Observed {
    times: Vec<VerifiedTime>,
    /// How many timestamp authorities of distinct operators are among them.
    authorities: usize,
    /// Tokens that do not count, and why: no harm as long as enough others do.
    rejected: Vec<(usize, TimestampFault)>,
}

/// V3: the times that trusted observers vouch for.
fn observed_times(bundle: &Bundle, root: &TrustedRoot, now: i64) -> Result<Observed, VerifyError> {
    let mut observed = Observed {
        times: Vec::new(),
        authorities: 0,
        rejected: Vec::new(),
    };
    for (position, token) in bundle.timestamps().iter().enumerate() {
        match timestamp_time(token, bundle.signature(), root) {
            Ok(time) => observed.times.push(time),
            Err(fault) => observed.rejected.push((position, fault)),
        }
    }
    observed.authorities = distinct_operators(&observed.times);
    observed
        .times
        .extend(log::promised_times(bundle, root, now)?);
    Ok(observed)
}

/// V3: there are as many times as the policy asks for, and one at least for a certificate.
fn enough_times(
    observed: &Observed,
    policy: &Policy,
    claimed: &ClaimedSigner<'_>,
) -> Result<(), VerifyError> {
    let certificate = matches!(claimed, ClaimedSigner::Certificate(..));
    let need = policy.time_threshold.max(usize::from(certificate));
    let have = distinct_operators(&observed.times);
    if have >= need && observed.authorities >= policy.timestamp_authority_threshold {
        return Ok(());
    }
    if !observed.rejected.is_empty() {
        return Err(VerifyError::TimestampsRejected {
            faults: observed.rejected.clone(),
        });
    }
    if observed.times.is_empty() {
        return Err(VerifyError::NoTimeSource);
    }
    if have < need {
        return Err(VerifyError::ThresholdNotMet {
            counted: Counted::Times,
            have,
            need,
        });
    }
    let (have, need) = (observed.authorities, policy.timestamp_authority_threshold);
    Err(VerifyError::ThresholdNotMet {
        counted: Counted::TimestampAuthorities,
        have,
        need,
    })
}

fn distinct_operators(times: &[VerifiedTime]) -> usize {
    let operator = |time: &VerifiedTime| {
        if time.operator.is_empty() {
            time.uri.clone()
        } else {
            time.operator.clone()
        }
    };
    times.iter().map(operator).collect::<BTreeSet<_>>().len()
}

/// The time in one token, if an authority of the trusted root vouches for it.
fn timestamp_time(
    token: &[u8],
    signature: &[u8],
    root: &TrustedRoot,
) -> Result<VerifiedTime, TimestampFault> {
    let mut worst = TimestampFault::Untrusted("the trusted root has no timestamp authority".into());
    for authority in root.timestamp_authorities() {
        match timestamp_by(token, signature, authority) {
            Ok(time) => return Ok(time),
            Err(fault) if rank(&fault) >= rank(&worst) => worst = fault,
            Err(_) => {}
        }
    }
    Err(worst)
}

/// The reason that came furthest is the one worth telling.
fn rank(fault: &TimestampFault) -> u8 {
    match fault {
        TimestampFault::Untrusted(_) => 0,
        TimestampFault::Invalid(_) => 1,
        TimestampFault::OutsideAuthorityWindow { .. } => 2,
    }
}

fn timestamp_by(
    token: &[u8],
    signature: &[u8],
    authority: &Authority,
) -> Result<VerifiedTime, TimestampFault> {
    let (anchor, below) = authority.split();
    let signer = below.first().filter(|first| !first.is_ca());
    let trusted = timestamp::Authority {
        roots: anchor,
        intermediates: below,
        signer,
    };
    let verified = timestamp::verify(token, &trusted, &timestamp::Expectation::over(signature))
        .map_err(fault)?;
    let time = verified.gen_time();
    if !authority.validity().covers(time) {
        return Err(TimestampFault::OutsideAuthorityWindow { time });
    }
    Ok(VerifiedTime {
        time: UnixTime(time),
        source: TimeSource::TimestampAuthority,
        uri: authority.uri().to_owned(),
        operator: authority.operator().to_owned(),
    })
}

fn fault(error: TimestampError) -> TimestampFault {
    match error {
        TimestampError::SignerUnknown
        | TimestampError::SignerNotPinned
        | TimestampError::Chain(_) => TimestampFault::Untrusted(error.to_string()),
        other => TimestampFault::Invalid(other.to_string()),
    }
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

/// V5: certificate logs of the trusted root hold the certificate.
fn verified_scts(
    chain: &VerifiedChain,
    root: &TrustedRoot,
    threshold: usize,
) -> Result<Vec<VerifiedSct>, VerifyError> {
    let embedded = match sct::embedded_scts(chain.leaf()) {
        Ok(embedded) => embedded,
        Err(PkiError::Sct(PkiSctFault::Missing)) if threshold == 0 => return Ok(Vec::new()),
        Err(PkiError::Sct(PkiSctFault::Missing)) => return Err(VerifyError::SctMissing),
        Err(error) => {
            return Err(VerifyError::SctsRejected {
                faults: vec![SctFault::Invalid(error.to_string())],
            });
        }
    };
    let mut verified = Vec::new();
    let mut faults = Vec::new();
    let mut logs = BTreeSet::new();
    for timestamp in embedded {
        match verified_sct(&timestamp, chain, root) {
            Ok(sct) => {
                logs.insert(timestamp.log_id);
                verified.push(sct);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if logs.len() >= threshold {
        return Ok(verified);
    }
    if !faults.is_empty() {
        return Err(VerifyError::SctsRejected { faults });
    }
    Err(VerifyError::ThresholdNotMet {
        counted: Counted::CertificateLogs,
        have: logs.len(),
        need: threshold,
    })
}

fn verified_sct(
    timestamp: &SignedCertificateTimestamp,
    chain: &VerifiedChain,
    root: &TrustedRoot,
) -> Result<VerifiedSct, SctFault> {
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
    Ok(VerifiedSct {
        log: log.base_url().to_owned(),
        time: UnixTime(time),
    })
}

/// V6: the first of the rules that the certificate's identity satisfies.
fn matching_rule(identity: &Identity, rules: &[IdentityRule]) -> Result<usize, VerifyError> {
    let mut refusals = Vec::new();
    for (position, rule) in rules.iter().enumerate() {
        match satisfies(identity, rule) {
            Ok(()) => return Ok(position),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(closest(identity, rules, refusals))
}

fn satisfies(identity: &Identity, rule: &IdentityRule) -> Result<(), VerifyError> {
    let subject = identity.subject_alternative_name.value();
    if !rule.subject.matches(subject) {
        return Err(VerifyError::IdentityMismatch {
            found: subject.to_owned(),
            expected: rule.subject.to_string(),
        });
    }
    if !rule.issuer.matches(&identity.issuer) {
        return Err(VerifyError::IssuerMismatch {
            found: identity.issuer.clone(),
            expected: rule.issuer.to_string(),
        });
    }
    for (row, condition) in &rule.extensions {
        let found = identity.extension(&row.oid());
        if !found.is_some_and(|value| condition.matches(value)) {
            return Err(VerifyError::ExtensionMismatch {
                extension: row.name,
                found: found.map(str::to_owned),
                expected: condition.to_string(),
            });
        }
    }
    Ok(())
}

/// Of several refusals the one by the rule that came closest; all rules when nobody knew the name.
fn closest(identity: &Identity, rules: &[IdentityRule], refusals: Vec<VerifyError>) -> VerifyError {
    let all = || VerifyError::IdentityMismatch {
        found: identity.subject_alternative_name.value().to_owned(),
        expected: rules
            .iter()
            .map(|rule| rule.subject.to_string())
            .collect::<Vec<_>>()
            .join(" or "),
    };
    let knows_the_name =
        |refusal: &VerifyError| !matches!(refusal, VerifyError::IdentityMismatch { .. });
    refusals
        .into_iter()
        .find(knows_the_name)
        .unwrap_or_else(all)
}

fn identity_of(leaf: &Certificate) -> Result<Identity, VerifyError> {
    Identity::from_certificate(leaf).map_err(|error| VerifyError::IdentityMissing {
        what: error.to_string(),
    })
}

fn identity_signer(identity: &Identity, trusted: &TrustedPath<'_>, matched_rule: usize) -> Signer {
    let leaf = trusted.chain.leaf();
    let subject = &identity.subject_alternative_name;
    Signer::Identity {
        subject: subject.value().to_owned(),
        subject_type: subject.kind(),
        issuer: identity.issuer.clone(),
        extensions: identity
            .extensions
            .iter()
            .map(|(row, value)| (row.name, value.to_owned()))
            .collect(),
        serial: leaf.serial_hex(),
        not_before: UnixTime(leaf.not_before()),
        not_after: UnixTime(leaf.not_after()),
        authority: trusted.authority.uri().to_owned(),
        matched_rule,
    }
}

/// A key was valid at every verified time; without any, nothing can be said and nothing is refused.
fn key_valid_at(trusted: &TrustedKey, times: &[VerifiedTime]) -> Result<(), VerifyError> {
    match times
        .iter()
        .find(|time| !trusted.validity.covers(time.time.0))
    {
        Some(time) => Err(VerifyError::KeyNotValidAt { time: time.time.0 }),
        None => Ok(()),
    }
}

fn reach_log_threshold(logged: &Logged, need: usize) -> Result<(), VerifyError> {
    let have = logged.operators();
    if have >= need {
        return Ok(());
    }
    match logged.unknown().first() {
        Some(unknown) => Err(unknown.clone()),
        None => Err(VerifyError::ThresholdNotMet {
            counted: Counted::Logs,
            have,
            need,
        }),
    }
}

/// V9: the algorithm with which the key made this signature.
fn verified_signature(
    bundle: &Bundle,
    artifact: &Artifact<'_>,
    key: &PublicKey,
    algorithms: &[Algorithm],
) -> Result<Algorithm, VerifyError> {
    let mut failure = VerifyError::SignatureInvalid;
    for algorithm in algorithms {
        match signature_holds(bundle, artifact, key, *algorithm) {
            Ok(()) => return Ok(*algorithm),
            Err(VerifyError::SignatureInvalid) => {}
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn signature_holds(
    bundle: &Bundle,
    artifact: &Artifact<'_>,
    key: &PublicKey,
    algorithm: Algorithm,
) -> Result<(), VerifyError> {
    let verified = match (bundle.content(), algorithm.hash()) {
        (Content::Message(message), Some(hash)) => key.verify_digest(
            algorithm,
            artifact.digest(hash)?.as_ref(),
            &message.signature,
        ),
        (Content::Message(message), None) => {
            let needed = || VerifyError::DigestUnavailable {
                needed: format!("bytes ({algorithm} takes no digest)"),
            };
            key.verify(
                algorithm,
                artifact.bytes().ok_or_else(needed)?,
                &message.signature,
            )
        }
        (Content::Dsse(envelope), Some(hash)) => {
            let digest = dsse::pae_digest(hash, &envelope.payload_type, &envelope.payload);
            key.verify_digest(algorithm, &digest, &envelope.signature)
        }
        (Content::Dsse(envelope), None) => {
            let message = dsse::pae(&envelope.payload_type, &envelope.payload);
            key.verify(algorithm, &message, &envelope.signature)
        }
    };
    verified.map_err(|_| VerifyError::SignatureInvalid)
}

/// The digest beside a message signature must be the artifact's, lest it mislead whoever searches by it.
fn stated_digest_is_true(
    message: &MessageSignature,
    artifact: &Artifact<'_>,
) -> Result<(), VerifyError> {
    let Some(stated) = &message.digest else {
        return Ok(());
    };
    let actual = artifact.digest(stated.algorithm())?;
    if *stated == *actual {
        return Ok(());
    }
    Err(VerifyError::DigestMismatch {
        algorithm: stated.algorithm().short_name(),
        found: hex::encode(stated.as_bytes()),
        expected: hex::encode(actual.as_bytes()),
    })
}

/// V10: some subject has a digest of the artifact.
fn statement_names_artifact(
    statement: &Statement,
    artifact: &Artifact<'_>,
) -> Result<(), VerifyError> {
    if artifact.is_unbound() {
        return Ok(());
    }
    let stated = statement.digest_algorithms();
    let digests = artifact.digests(&stated);
    if digests
        .iter()
        .any(|digest| statement.subject_with(digest).is_some())
    {
        return Ok(());
    }
    if let (true, Some(needed)) = (digests.is_empty(), stated.first()) {
        return Err(VerifyError::DigestUnavailable {
            needed: needed.short_name().into(),
        });
    }
    let artifact = digests.iter().map(ToString::to_string).collect();
    Err(VerifyError::SubjectMissing {
        artifact,
        subjects: statement.subjects.len(),
    })
}

/// V11: the statement's type is one that the policy accepts.
fn accepted_predicate(statement: &Statement, policy: &Policy) -> Result<(), VerifyError> {
    match &policy.content {
        policy::Content::Attestation(types) | policy::Content::Either(types) => {
            types.accept(&statement.predicate_type)
        }
        // The kind of content was settled by this very type at the start.
        policy::Content::Blob => Ok(()),
    }
}

/// The artifact's digests that something signed was compared with.
fn compared_digests(
    artifact: &Artifact<'_>,
    statement: Option<&Statement>,
    algorithm: Algorithm,
) -> Vec<String> {
    let digests = match statement {
        Some(statement) => {
            let mut digests = artifact.digests(&statement.digest_algorithms());
            digests.retain(|digest| statement.subject_with(digest).is_some());
            digests
        }
        None => artifact.digests(&[algorithm.hash().unwrap_or(HashAlgorithm::Sha256)]),
    };
    digests.iter().map(ToString::to_string).collect()
}

fn payload_text(
    bundle: &Bundle,
    statement: Option<&Statement>,
) -> Result<Option<Box<RawValue>>, VerifyError> {
    let (Content::Dsse(envelope), Some(_)) = (bundle.content(), statement) else {
        return Ok(None);
    };
    let raw: Box<RawValue> = serde_json::from_slice(&envelope.payload).map_err(|error| {
        VerifyError::StatementMalformed {
            what: error.to_string(),
        }
    })?;
    Ok(Some(raw))
}

fn warnings(
    root: &TrustedRoot,
    artifact: &Artifact<'_>,
    algorithm: Algorithm,
    logged: &Logged,
    rejected: &[(usize, TimestampFault)],
) -> Vec<Warning> {
    let warning = |code, message: String| Warning { code, message };
    let mut warnings: Vec<_> = root
        .warnings()
        .iter()
        .map(|message| warning("TRUSTED_ROOT", message.clone()))
        .collect();
    warnings.extend(rejected.iter().map(|(position, fault)| {
        warning(
            "TIMESTAMP_REJECTED",
            format!("timestamp {position} does not count: {fault}"),
        )
    }));
    warnings.extend(
        logged
            .unknown()
            .iter()
            .map(|error| warning(error.code(), error.to_string())),
    );
    if matches!(
        algorithm,
        Algorithm::EcdsaP384Sha256 | Algorithm::EcdsaP521Sha256
    ) {
        let message = format!(
            "signed with {algorithm}, as old clients do; the curve is stronger than the hash"
        );
        warnings.push(warning("LEGACY_ALGORITHM", message));
    }
    if artifact.is_unbound() {
        let message = "the statement was not compared with any artifact".into();
        warnings.push(warning("ARTIFACT_UNBOUND", message));
    }
    warnings
}
