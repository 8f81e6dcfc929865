//! The sequence of checks.
//!
//! [`verify_all`] tells the whole story in order; its helpers each do one
//! thing and decide nothing about the order. Check V1 is [`crate::bundle::Bundle::parse`].

use std::collections::BTreeSet;

use sealwright_crypto::{Algorithm, Digest, HashAlgorithm, KeyType, PublicKey, base64};
use sealwright_pki::certificate::Certificate;
use sealwright_tlog::dsse;
use serde_json::value::RawValue;

use crate::artifact::Artifact;
use crate::bundle::{Bundle, BundleVersion, Content, Envelope, MessageSignature, SignerMaterial};
use crate::error::{Counted, StructureFault, VerifyError};
use crate::keyless::{self, VerifiedScts};
use crate::log::{Claim, Logged, logged_entries};
use crate::own_pki::{self, CertificateRule};
use crate::policy::{self, IdentityRule, Policy, Signers, TrustedKey};
use crate::statement::{self, Statement};
use crate::times::{Observed, observed_times};
use crate::trusted_root::{TrustedRoot, Validity};
use crate::verdict::{RawPayload, Signer, Verified, Warning};

pub use crate::keyless::{VerifiedCertificate, verify_certificate, verify_certificate_path};

/// Verifies a bundle against an artifact.
///
/// `now` (Unix seconds) is used for two things: to refuse promises from the future, and, where the policy says so, to judge
/// a certificate of an own PKI that no verified time speaks for. Whether any other certificate was valid is decided by
/// verified times alone.
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
    verify_all(bundle, std::slice::from_ref(artifact), root, policy, now)
}

/// Verifies an attestation against several artifacts: its statement must name every one of them.
///
/// With one artifact this is [`verify`]. A signature over a file is over one file.
///
/// # Errors
/// The first check that fails; [`VerifyError::PolicyInvalid`] without an artifact.
pub fn verify_all(
    bundle: &Bundle,
    artifacts: &[Artifact<'_>],
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> Result<Verified, VerifyError> {
    // V1, the part that depends on the policy: chains, and the kinds of signer and content.
    let (artifact, others) = one_and_others(artifacts)?;
    refuse_chain(bundle, policy)?;
    let content = expected_content(bundle, policy)?;
    let statement = content.statement();
    content.takes(artifact, others)?;
    let claimed = claimed_signer(bundle, artifact, policy)?;
    let key = claimed.public_key()?;
    let algorithms = algorithms_of(key);

    // V2: nothing counts twice.
    refuse_repeated_entries(bundle)?;
    refuse_repeated_timestamps(bundle)?;

    // V3: when the signature existed.
    let observed = observed_times(bundle, root, now)?;
    observed.enough(claimed.times_needed(policy), policy)?;

    // V4, V5, V6 for certificates; for keys, that they were valid then.
    let signed = signed_by(&claimed, bundle, root, policy, &observed, now)?;

    // V7, V8: the signature was logged, and the entries speak of this bundle.
    let claim = Claim {
        bundle,
        artifact,
        key,
        certificate: claimed.certificate(),
        algorithms: &algorithms,
        times: &observed.times,
        witnesses: policy.witnesses.as_ref(),
    };
    let logged = logged_entries(&claim, root)?;
    reach_log_threshold(&logged, policy.log_threshold)?;
    let algorithms = logged.algorithms(&algorithms);

    // V9: the signature itself.
    let algorithm = verified_signature(bundle, artifact, key, &algorithms)?;
    if let Content::Message(message) = bundle.content() {
        stated_digest_is_true(message, artifact)?;
    }

    // V10: the statement speaks of these artifacts.
    if let Some(statement) = statement {
        for artifact in artifacts {
            statement_names_artifact(statement, artifact)?;
        }
    }

    // V11: the statement is of an accepted type.
    if let Some(statement) = statement {
        accepted_predicate(statement, policy)?;
    }

    // V12: everything that was shown.
    let shown = Shown {
        root,
        artifacts,
        algorithm,
        logged: &logged,
        observed: &observed,
        signed: &signed,
    };
    let warnings = shown.warnings();
    Ok(Verified {
        media_type: bundle.version().media_type(),
        algorithm: algorithm.to_string(),
        artifact_digests: compared_digests(artifacts, statement, algorithm),
        logs: logged.entries(),
        predicate_type: statement.map(|statement| statement.predicate_type.clone()),
        payload: payload_text(bundle, statement)?,
        raw_payload: content.raw_payload(bundle),
        statement: content.into_statement(),
        warnings,
        signer: signed.signer,
        certificate_logs: signed.scts.verified,
        times: observed.times,
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
    /// The key, and its place in the policy.
    Key(&'a TrustedKey, usize),
}

impl ClaimedSigner<'_> {
    fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Key(..) => None,
            Self::Certificate(leaf, _) | Self::Own(leaf, _) => Some(leaf),
        }
    }

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

    /// What the policy says, and one at least where a certificate is to be judged and the present will not do.
    fn times_needed(&self, policy: &Policy) -> usize {
        let certificate = match self {
            Self::Certificate(..) => true,
            Self::Own(_, rule) => rule.needs_time(),
            Self::Key(..) => false,
        };
        policy.time_threshold.max(usize::from(certificate))
    }
}

/// What V4, V5 and V6 have shown about the signer.
struct SignedBy {
    signer: Signer,
    scts: VerifiedScts,
    warnings: Vec<Warning>,
}

fn signed_by(
    claimed: &ClaimedSigner<'_>,
    bundle: &Bundle,
    root: &TrustedRoot,
    policy: &Policy,
    observed: &Observed,
    now: i64,
) -> Result<SignedBy, VerifyError> {
    let times = &observed.times;
    match claimed {
        ClaimedSigner::Certificate(leaf, rules) => {
            let judged = keyless::judge(leaf, bundle, root, policy, rules, times)?;
            Ok(SignedBy {
                signer: judged.signer,
                scts: judged.scts,
                warnings: Vec::new(),
            })
        }
        ClaimedSigner::Own(leaf, rule) => {
            let judged = own_pki::judge(leaf, bundle, rule, times, now)?;
            let scts = match (policy.certificate_log_threshold, &judged.chain) {
                (0, _) => VerifiedScts::default(),
                (_, Some(chain)) => keyless::verified_scts(chain, root, policy.into())?,
                (_, None) => return Err(VerifyError::SctMissing),
            };
            Ok(SignedBy {
                signer: judged.signer,
                scts,
                warnings: judged.warnings,
            })
        }
        ClaimedSigner::Key(trusted, position) => {
            key_valid_at(trusted, observed)?;
            Ok(SignedBy {
                signer: Signer::Key {
                    fingerprint: hex::encode(trusted.key.fingerprint()),
                    matched_rule: *position,
                },
                scts: VerifiedScts::default(),
                warnings: Vec::new(),
            })
        }
    }
}

fn one_and_others<'a, 'b>(
    artifacts: &'a [Artifact<'b>],
) -> Result<(&'a Artifact<'b>, &'a [Artifact<'b>]), VerifyError> {
    artifacts
        .split_first()
        .ok_or_else(|| VerifyError::PolicyInvalid {
            what: "no artifact".into(),
        })
}

fn refuse_chain(bundle: &Bundle, policy: &Policy) -> Result<(), VerifyError> {
    let chain = matches!(bundle.signer(), SignerMaterial::CertificateChain(..));
    if chain && bundle.version() >= BundleVersion::V0_3 && !policy.certificate_chain_allowed {
        return Err(StructureFault::ChainNotAllowed.into());
    }
    Ok(())
}

/// The signed content that the policy lets in.
enum ExpectedContent {
    Message,
    Statement(Box<Statement>),
    /// An envelope whose payload nobody here reads.
    Raw,
}

impl ExpectedContent {
    fn statement(&self) -> Option<&Statement> {
        match self {
            Self::Statement(statement) => Some(statement),
            Self::Message | Self::Raw => None,
        }
    }

    fn into_statement(self) -> Option<Statement> {
        match self {
            Self::Statement(statement) => Some(*statement),
            Self::Message | Self::Raw => None,
        }
    }

    fn raw_payload(&self, bundle: &Bundle) -> Option<RawPayload> {
        match (self, bundle.content()) {
            (Self::Raw, Content::Dsse(envelope)) => Some(RawPayload {
                payload_type: envelope.payload_type.clone(),
                bytes: envelope.payload.clone(),
            }),
            _ => None,
        }
    }

    /// One file for a signature over a file, as many as one likes for a statement, none for what is not read.
    fn takes(&self, first: &Artifact<'_>, others: &[Artifact<'_>]) -> Result<(), VerifyError> {
        match self {
            Self::Message if !others.is_empty() => Err(VerifyError::ContentKind {
                found: "a signature over one file",
                expected: "a statement about several",
            }),
            Self::Raw if !(first.is_unbound() && others.is_empty()) => {
                Err(VerifyError::PolicyInvalid {
                    what: "a raw envelope together with an artifact; nothing ties one to the other"
                        .into(),
                })
            }
            _ => Ok(()),
        }
    }
}

fn expected_content(bundle: &Bundle, policy: &Policy) -> Result<ExpectedContent, VerifyError> {
    match (bundle.content(), &policy.content) {
        (Content::Message(_), policy::Content::Attestation(_)) => Err(VerifyError::ContentKind {
            found: "a signature over a file",
            expected: "an attestation",
        }),
        (Content::Message(_), policy::Content::RawEnvelope(_)) => Err(VerifyError::ContentKind {
            found: "a signature over a file",
            expected: "an envelope",
        }),
        (Content::Message(_), policy::Content::Blob | policy::Content::Either(_)) => {
            Ok(ExpectedContent::Message)
        }
        (Content::Dsse(envelope), policy::Content::RawEnvelope(types)) => {
            payload_type(envelope, types).map(|()| ExpectedContent::Raw)
        }
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
            Ok(ExpectedContent::Statement(Box::new(statement)))
        }
    }
}

fn read_statement(envelope: &Envelope) -> Result<Statement, VerifyError> {
    payload_type(envelope, &[statement::PAYLOAD_TYPE.to_owned()])?;
    Statement::parse(&envelope.payload)
}

fn payload_type(envelope: &Envelope, accepted: &[String]) -> Result<(), VerifyError> {
    if accepted.contains(&envelope.payload_type) {
        return Ok(());
    }
    Err(VerifyError::PayloadType {
        found: envelope.payload_type.chars().take(128).collect(),
        expected: accepted.to_vec(),
    })
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
        (SignerMaterial::PublicKeyHint(hint), Signers::Keys(keys)) => {
            if policy.certificate_log_threshold > 0 {
                return Err(VerifyError::PolicyInvalid {
                    what: "certificate logs are asked for, and a key has no certificate that they could hold".into(),
                });
            }
            let (position, key) = key_that_signed(bundle, artifact, keys, hint)?;
            Ok(ClaimedSigner::Key(key, position))
        }
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

/// The policy's key that the bundle is to be verified with, and its place: the only one, else one whose signature it is, of
/// which the one that the hint names is tried first.
fn key_that_signed<'a>(
    bundle: &Bundle,
    artifact: &Artifact<'_>,
    keys: &'a [TrustedKey],
    hint: &str,
) -> Result<(usize, &'a TrustedKey), VerifyError> {
    if let [only] = keys {
        return Ok((0, only));
    }
    let named = keys
        .iter()
        .position(|trusted| base64::encode(&trusted.key.fingerprint()) == hint)
        .and_then(|position| Some((position, keys.get(position)?)));
    let fits = |(_, trusted): &(usize, &TrustedKey)| {
        verified_signature(bundle, artifact, &trusted.key, &algorithms_of(&trusted.key)).is_ok()
    };
    named
        .into_iter()
        .chain(keys.iter().enumerate())
        .find(fits)
        // The failure of the one that is named says more than that none fits.
        .or(named)
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
        // One key can sign with either padding; a log entry names the one.
        KeyType::Rsa { bits } => vec![
            KeyType::Rsa { bits }.default_algorithm(),
            Algorithm::RsaPss {
                bits,
                hash: HashAlgorithm::Sha256,
            },
        ],
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

/// A key was valid at every verified time. One that counts in a window needs such a time: whoever holds a retired key can
/// sign with it for ever.
fn key_valid_at(trusted: &TrustedKey, observed: &Observed) -> Result<(), VerifyError> {
    if observed.times.is_empty() && trusted.validity != Validity::ALWAYS {
        return Err(observed.shortage());
    }
    match observed
        .times
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
    match logged.passed_over().first() {
        Some(reason) => Err(reason.clone()),
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
    if let Some(named) = artifact.named_digest() {
        return match statement.names(named) {
            true => Ok(()),
            false => Err(VerifyError::SubjectMissing {
                artifact: vec![named.to_string()],
                subjects: statement.subjects.len(),
            }),
        };
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
        policy::Content::Blob | policy::Content::RawEnvelope(_) => Ok(()),
    }
}

/// The artifacts' digests that something signed was compared with.
fn compared_digests(
    artifacts: &[Artifact<'_>],
    statement: Option<&Statement>,
    algorithm: Algorithm,
) -> Vec<String> {
    let of_message = [algorithm.hash().unwrap_or(HashAlgorithm::Sha256)];
    let compared = |artifact: &Artifact<'_>| match statement {
        Some(statement) => {
            let mut digests = artifact.digests(&statement.digest_algorithms());
            digests.retain(|digest| statement.subject_with(digest).is_some());
            let named = artifact.named_digest().map(ToString::to_string);
            let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
            digests.into_iter().chain(named).collect::<Vec<_>>()
        }
        None => {
            let digests = artifact.digests(&of_message);
            digests.iter().map(ToString::to_string).collect()
        }
    };
    artifacts.iter().flat_map(compared).collect()
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

/// What the checks have shown besides the verdict's own parts.
struct Shown<'a> {
    root: &'a TrustedRoot,
    artifacts: &'a [Artifact<'a>],
    algorithm: Algorithm,
    logged: &'a Logged,
    observed: &'a Observed,
    signed: &'a SignedBy,
}

impl Shown<'_> {
    /// What a careful reader wants to know although the verification succeeded.
    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.signed.warnings.clone();
        warnings.extend(self.passed_over());
        warnings.extend(self.not_asked_for());
        if matches!(
            self.algorithm,
            Algorithm::EcdsaP384Sha256 | Algorithm::EcdsaP521Sha256
        ) {
            let message = format!(
                "signed with {}, as old clients do; the curve is stronger than the hash",
                self.algorithm
            );
            warnings.push(warning("LEGACY_ALGORITHM", message));
        }
        warnings
    }

    /// Parts of the trusted root and of the bundle that did not count.
    fn passed_over(&self) -> Vec<Warning> {
        let root = self.root.warnings().iter();
        let tokens = self.observed.rejected.iter();
        let scts = self.signed.scts.rejected.iter();
        let entries = self.logged.passed_over().iter();
        root.map(|message| warning("TRUSTED_ROOT", message.clone()))
            .chain(tokens.map(|(position, fault)| {
                let message = format!("timestamp {position} does not count: {fault}");
                warning("TIMESTAMP_REJECTED", message)
            }))
            .chain(scts.map(|fault| {
                let message = format!("a certificate timestamp does not count: {fault}");
                warning("SCT_REJECTED", message)
            }))
            .chain(entries.map(|error| warning(error.code(), error.to_string())))
            .collect()
    }

    /// Checks that the policy waived, and that the bundle gave no occasion for.
    fn not_asked_for(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.logged.is_empty() {
            let message = "no log that counts holds the signature, and the policy asks for none";
            warnings.push(warning("NOT_LOGGED", message.into()));
        } else if self.observed.times.is_empty() {
            let message = "nobody vouches for when the signature was made, so whether the log's key was trusted then is unknown";
            warnings.push(warning("TIME_UNKNOWN", message.into()));
        }
        if matches!(self.signed.signer, Signer::Identity { .. })
            && self.signed.scts.verified.is_empty()
        {
            let message = "no certificate log that counts holds the certificate, and the policy asks for none";
            warnings.push(warning("CERTIFICATE_NOT_LOGGED", message.into()));
        }
        if self.artifacts.iter().any(Artifact::is_unbound) {
            let message = "what was signed was not compared with any artifact";
            warnings.push(warning("ARTIFACT_UNBOUND", message.into()));
        }
        warnings
    }
}

fn warning(code: &'static str, message: String) -> Warning {
    Warning { code, message }
}

#[cfg(test)]
mod tests;
