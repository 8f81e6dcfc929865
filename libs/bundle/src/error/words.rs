//! What a refusal says to a person: what was found, what would have been accepted, and what to do. One table, an arm for
//! each variant; the codes that programs match on do not depend on it.

use super::{StructureFault, VerifyError};
use crate::json::rfc3339;

impl VerifyError {
    /// What was found, what was expected, and what to do.
    pub(super) fn words(&self) -> (String, String, &'static str) {
        match self {
            Self::TrustedRootInvalid { what } => (
                what.clone(),
                "a Sigstore trusted root, version 0.1 or 0.2".into(),
                "Fetch the trusted root again, or ask its publisher.",
            ),
            Self::PolicyInvalid { what } => (
                what.clone(),
                "a policy that names at least one signer and only usable patterns".into(),
                "Correct the identity, issuer or key given to the verification.",
            ),
            Self::DigestUnavailable { needed } => (
                "an artifact without that digest".into(),
                format!("the artifact's bytes, or its {needed} digest"),
                "Give the file itself instead of a digest.",
            ),
            Self::BundleMalformed { what } => (
                what.clone(),
                "the JSON of a Sigstore bundle, without unknown or repeated members".into(),
                "Check that the file is the bundle and that it was copied whole.",
            ),
            Self::UnsupportedBundleVersion { media_type } => (
                format!("media type {media_type:?}"),
                "bundle version 0.1, 0.2 or 0.3".into(),
                "A newer client may be needed.",
            ),
            Self::LimitExceeded { what, found, limit } => (
                format!("{found} {what}"),
                format!("at most {limit}"),
                "No honest bundle is this large; do not trust it.",
            ),
            Self::BundleStructure(fault @ StructureFault::ChainNotAllowed) => (
                fault.to_string(),
                "the certificate alone, or a policy that allows chains".into(),
                "Allow certificate chains if the signer's authority has intermediates that you do not have; roots never come from a bundle.",
            ),
            Self::BundleStructure(fault) => (
                fault.to_string(),
                "a bundle that follows the rules of its version".into(),
                "The tool that made the bundle is at fault, or the bundle was changed.",
            ),
            Self::CertificateMalformed { what } => (
                what.clone(),
                "a DER-encoded X.509 certificate".into(),
                "The bundle was changed, or made by a faulty tool.",
            ),
            Self::DuplicateEntry { first, second } => (
                format!("log entries {first} and {second} are the same"),
                "each log entry once".into(),
                "Repeated proofs count for nothing; the bundle was changed.",
            ),
            Self::DuplicateTimestamp { first, second } => (
                format!("timestamps {first} and {second} are the same"),
                "each timestamp once".into(),
                "Repeated proofs count for nothing; the bundle was changed.",
            ),
            Self::NoTimeSource => (
                "no timestamp and no log promise".into(),
                "at least one time vouched for by a trusted authority".into(),
                "A short-lived certificate, or a key that counts in a window, needs a timestamp: sign again with a timestamp authority configured.",
            ),
            Self::TimestampsRejected { faults } => (
                join(
                    faults
                        .iter()
                        .map(|(index, fault)| format!("timestamp {index}: {fault}")),
                ),
                "a timestamp over this signature from a trusted authority".into(),
                "Check that the trusted root is the one the signer used.",
            ),
            Self::PromiseInvalid { entry } => (
                format!("log entry {entry}: the log's promise does not verify"),
                "a promise signed by the log".into(),
                "The bundle was changed, or the trusted root has another key for this log.",
            ),
            Self::TimeInFuture { time, now } => (
                rfc3339(*time),
                format!("a time not after {}", rfc3339(*now)),
                "Check this machine's clock.",
            ),
            Self::ThresholdNotMet {
                counted,
                have,
                need,
            } => (
                format!("{have} {counted}"),
                format!("at least {need}"),
                "The policy asks for more than the bundle has; what the trusted root does not know does not count.",
            ),
            Self::CertificateUntrusted { reason } => (
                reason.clone(),
                "a path to a certificate authority of the trusted root".into(),
                "The bundle may come from another Sigstore instance: check the trusted root.",
            ),
            Self::CertificateNotValidAt {
                time,
                not_before,
                not_after,
            } => (
                format!("signed at {}", rfc3339(*time)),
                format!(
                    "a time from {} to {}",
                    rfc3339(*not_before),
                    rfc3339(*not_after)
                ),
                "The signature was made outside the certificate's life and cannot be trusted.",
            ),
            Self::OwnCertificateUntrusted { reason } => (
                reason.clone(),
                "a path to one of the root certificates that were given".into(),
                "Check the roots and intermediates that were given, and what the certificate is for.",
            ),
            Self::CertificateMismatch { found, expected } => (
                format!("the certificate with SHA-256 {found}"),
                format!("the certificate with SHA-256 {expected}"),
                "Signed with another certificate: check the artifact's origin before you change the certificate.",
            ),
            Self::ShortLivedWithoutTime { lifetime } => (
                format!("no verified time, and a certificate that lives for {lifetime} seconds"),
                "a timestamp by a trusted authority, or a certificate that lives for more than 24 hours".into(),
                "The present says nothing about when a short-lived certificate signed: sign again with a timestamp authority configured.",
            ),
            Self::ExpiredWithoutTime { not_after, now } => (
                format!(
                    "no verified time, and a certificate that expired at {}, before {}",
                    rfc3339(*not_after),
                    rfc3339(*now)
                ),
                "a timestamp by a trusted authority, from before the expiry".into(),
                "After its expiry a certificate only counts for what a timestamp authority saw before: sign again, with a timestamp.",
            ),
            Self::CertificateRevoked {
                certificate,
                serial,
                reason,
                since,
                signed,
            } => (
                format!(
                    "certificate {serial} of {certificate:?} was revoked at {} ({reason}); {}",
                    rfc3339(*since),
                    signed.map_or_else(
                        || "nobody vouches for when the signature was made".to_owned(),
                        |time| format!("signed at {}", rfc3339(time)),
                    )
                ),
                "a certificate that is not revoked, or was revoked in good order (superseded, cessationOfOperation, \
                 affiliationChanged) after the signature"
                    .into(),
                "Do not trust the signature; ask the issuer why the certificate was revoked.",
            ),
            Self::RevocationUnknown {
                certificate,
                issuer,
            } => (
                format!("no revocation list by {issuer:?} that speaks for {certificate:?}"),
                "a current list of the issuer of every certificate of the path".into(),
                "Get the issuer's list and give it too.",
            ),
            Self::RevocationListStale {
                issuer,
                this_update,
                next_update,
                now,
            } => (
                format!(
                    "the list of {issuer:?} of {}, which counts until {}",
                    rfc3339(*this_update),
                    next_update.map_or_else(|| "a time it does not name".to_owned(), rfc3339)
                ),
                format!("a list that is current at {}", rfc3339(*now)),
                "Get the issuer's latest list; if it is the latest, check this machine's clock.",
            ),
            Self::RevocationListInvalid { issuer, what } => (
                format!("the list of {issuer:?}: {what}"),
                "a list that the issuer of the certificate signed".into(),
                "The list was changed, or is by another authority of the same name.",
            ),
            Self::AuthorityNotTrustedAt { time, authority } => (
                format!("signed at {} under {authority}", rfc3339(*time)),
                "a time in which the trusted root trusts that authority".into(),
                "The authority was retired, or the trusted root is out of date.",
            ),
            Self::SctMissing => (
                "a certificate without signed certificate timestamps".into(),
                "a certificate that was entered in a certificate log".into(),
                "The certificate authority must log what it issues.",
            ),
            Self::SctsRejected { faults } => (
                join(faults.iter().map(ToString::to_string)),
                "a certificate timestamp from a log of the trusted root".into(),
                "The certificate was not logged where the trusted root says, or it was changed.",
            ),
            Self::IdentityMissing { what } => (
                what.clone(),
                "a certificate that names its subject, and the identity provider that vouched for it where one is asked for"
                    .into(),
                "Ask whoever issued the certificate: it does not say who signed in a way that could be compared.",
            ),
            Self::IdentityMismatch { found, expected } => (
                found.clone(),
                expected.clone(),
                "Signed by somebody else: check the artifact's origin before you change the identity.",
            ),
            Self::IssuerMismatch { found, expected } => (
                found.clone(),
                expected.clone(),
                "Another identity provider vouched for this name: check before you change the issuer.",
            ),
            Self::ExtensionMismatch {
                extension,
                found,
                expected,
            } => (
                format!("{extension} = {}", found.as_deref().unwrap_or("(absent)")),
                expected.clone(),
                "The signer is right, the circumstances are not those that the policy asks for.",
            ),
            Self::SignerKind { found, expected } => (
                (*found).into(),
                (*expected).into(),
                "Give a key for key-signed bundles, an identity and an issuer for keyless ones.",
            ),
            Self::UnknownLog { entry, log_id } => (
                format!("log entry {entry} is of log {log_id}"),
                "an entry of a log in the trusted root".into(),
                "The bundle may come from another Sigstore instance, or the trusted root is out of date.",
            ),
            Self::CheckpointMalformed { entry, what } => (
                format!("log entry {entry}: {what}"),
                "a signed note with origin, size and root hash".into(),
                "The bundle was changed, or the log is faulty.",
            ),
            Self::CheckpointOrigin {
                entry,
                found,
                expected,
            } => (
                format!("log entry {entry}: origin {found:?}"),
                format!("origin {expected:?}"),
                "The proof is of another log than the entry names.",
            ),
            Self::CheckpointSignature {
                entry,
                origin,
                what,
            } => (
                format!("log entry {entry}: {what}"),
                format!("a checkpoint signed by {origin}"),
                "The bundle was changed, or the trusted root has another key for this log.",
            ),
            Self::LogNotInPolicy { entry, origin } => (
                format!("log entry {entry} is of log {origin:?}"),
                "an entry of a log that the witness policy names".into(),
                "Add the log to the witness policy, if it is one that you know.",
            ),
            Self::WitnessQuorum {
                entry,
                origin,
                cosigned,
                quorum,
            } => (
                match (origin.as_str(), cosigned.as_slice()) {
                    ("", _) => format!("log entry {entry} rests on a promise, without a checkpoint"),
                    (origin, []) => {
                        format!("log entry {entry}: a checkpoint of {origin} without a known witness")
                    }
                    (origin, cosigned) => format!(
                        "log entry {entry}: a checkpoint of {origin} cosigned by {}",
                        cosigned.join(", ")
                    ),
                },
                format!("a checkpoint cosigned by {quorum}"),
                "The log had not been witnessed when the bundle was made: ask the signer to sign again, or the log's operator.",
            ),
            Self::InclusionProofInvalid { entry, what } => (
                format!("log entry {entry}: {what}"),
                "a proof that leads from this entry to the checkpoint".into(),
                "The signature is not in the log as claimed.",
            ),
            Self::EntryMismatch {
                entry,
                field,
                found,
                expected,
            } => (
                format!("log entry {entry}: {field} {found}"),
                format!("{field} {expected}"),
                field.help(),
            ),
            Self::UnsupportedEntryType {
                entry,
                kind_version,
            } => (
                format!("log entry {entry} is of type {kind_version}"),
                "hashedrekord 0.0.2, or hashedrekord 0.0.1, dsse 0.0.1, intoto 0.0.2 of older logs"
                    .into(),
                "A newer client may be needed.",
            ),
            Self::LogKeyNotValidAt { entry, time } => (
                format!("log entry {entry}, made at {}", rfc3339(*time)),
                "a time in which the trusted root trusts the log's key".into(),
                "The log was retired, or the trusted root is out of date.",
            ),
            Self::KeyMismatch { tried } => (
                format!("a signature by none of the {tried} given keys"),
                "a signature by a given key".into(),
                "Another key was used, or the artifact is not the one that was signed.",
            ),
            Self::KeyNotValidAt { time } => (
                format!("signed at {}", rfc3339(*time)),
                "a time in which the key is valid".into(),
                "The key was retired, or not yet in use.",
            ),
            Self::UnsupportedKey { key_type } => (
                key_type.clone(),
                "ECDSA P-256, P-384, P-521, Ed25519, or RSA of 2048 bits or more".into(),
                "Sign with a supported key.",
            ),
            Self::SignatureInvalid => (
                "a signature that does not verify".into(),
                "a signature over this artifact by the signer's key".into(),
                "The artifact is not the one that was signed, or the bundle was changed.",
            ),
            Self::DigestMismatch {
                algorithm,
                found,
                expected,
            } => (
                format!("{algorithm} {found} in the bundle"),
                format!("{algorithm} {expected} of the artifact"),
                "The artifact is not the one that was signed.",
            ),
            Self::PayloadType { found, expected } => (
                format!("payload type {found:?}"),
                format!("payload type {}", join(expected.iter().map(|one| format!("{one:?}")))),
                "Only in-toto statements can be tied to an artifact.",
            ),
            Self::StatementMalformed { what } => (
                what.clone(),
                "an in-toto statement, version 1 or 0.1, with at least one subject".into(),
                "The tool that made the attestation is at fault.",
            ),
            Self::SubjectMissing { artifact, subjects } => (
                format!("{subjects} subjects, none of them with the artifact's digest"),
                join(artifact.iter().cloned()),
                "The attestation is about another artifact.",
            ),
            Self::PredicateType { found, expected } => (
                found.clone(),
                expected.join(" or "),
                "Ask for this type explicitly if it is the one you want.",
            ),
            Self::ContentKind { found, expected } => (
                (*found).into(),
                (*expected).into(),
                "Verify signatures and attestations each with their own command.",
            ),
        }
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}
