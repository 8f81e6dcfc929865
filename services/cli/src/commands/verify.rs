//! `verify-blob` and `verify-blob-attestation`.

use std::fmt::Write as _;
use std::io::Read as _;

use sealwright_sdk::bundle::error::Step;
use sealwright_sdk::bundle::policy::PredicateTypes;
use sealwright_sdk::bundle::verdict::Signer;
use sealwright_sdk::bundle::{Bundle, IdentityRule, Matcher, Policy, TrustedKey, Verified};
use sealwright_sdk::crypto::PublicKey;
use sealwright_sdk::{Artifact, Error, Freshness, open_input, read_bundle, read_capped, verify};
use serde_json::json;

use crate::args::{VerificationArgs, VerifyBlob, VerifyBlobAttestation};
use crate::commands::sign::{MAX_KEY_BYTES, predicate_type};
use crate::commands::trust;
use crate::environment::Environment;
use crate::output::Report;

/// A pipe's content is held in memory.
const MAX_PIPED_BYTES: u64 = 1024 * 1024 * 1024;

/// `verify-blob`: a signature over the file; a statement only where it says no more than that.
pub(crate) async fn verify_blob(
    args: &VerifyBlob,
    environment: &Environment,
) -> Result<Report, Error> {
    let policy = signer(&args.verification)?.blob();
    judge(&args.verification, &args.file, &policy, environment).await
}

/// `verify-blob-attestation`: a statement about the file, of the type that was asked for.
pub(crate) async fn verify_blob_attestation(
    args: &VerifyBlobAttestation,
    environment: &Environment,
) -> Result<Report, Error> {
    let types = match &args.predicate_type {
        _ if args.any_type => PredicateTypes::Any,
        Some(name) => PredicateTypes::OneOf(vec![predicate_type(name)?]),
        None => PredicateTypes::cosign_default(),
    };
    let policy = signer(&args.verification)?.attestation(types);
    judge(&args.verification, &args.file, &policy, environment).await
}

fn signer(args: &VerificationArgs) -> Result<sealwright_sdk::bundle::policy::SignerChosen, Error> {
    if let Some(path) = &args.key {
        let what = || format!("--key {}", path.display());
        let refuse = |error: &dyn std::fmt::Display| Error::Input {
            what: what(),
            problem: format!("{error}; expected a public key in PEM (BEGIN PUBLIC KEY)"),
        };
        let pem = read_capped("key", path, MAX_KEY_BYTES)?;
        let pem = std::str::from_utf8(&pem).map_err(|error| refuse(&error))?;
        let key = PublicKey::from_pem(pem).map_err(|error| refuse(&error))?;
        return Ok(Policy::signed_by_key(TrustedKey::new(key)));
    }
    let subject = matcher(
        args.certificate_identity.as_deref(),
        args.certificate_identity_regexp.as_deref(),
    )?;
    let issuer = matcher(
        args.certificate_oidc_issuer.as_deref(),
        args.certificate_oidc_issuer_regexp.as_deref(),
    )?;
    Ok(Policy::signed_by_identity(IdentityRule::new(
        subject, issuer,
    )))
}

/// The parser has made sure that one of both is there.
fn matcher(exact: Option<&str>, pattern: Option<&str>) -> Result<Matcher, Error> {
    Ok(match pattern {
        Some(pattern) => Matcher::pattern(pattern)?,
        None => Matcher::exact(exact.unwrap_or_default())?,
    })
}

async fn judge(
    args: &VerificationArgs,
    file: &str,
    policy: &Policy,
    environment: &Environment,
) -> Result<Report, Error> {
    let bundle = read_bundle(&args.bundle)?;
    let artifact = artifact(file)?;
    let loaded = trust::load(&args.trust, environment).await?;
    let now = environment.now();
    let verdict = verify(&bundle, &artifact, loaded.trust.trusted_root(), policy, now).await;
    let verified = match (verdict, loaded.profile) {
        // The signer may know a newer key than this profile has heard of, so its repository is asked before the answer is no.
        (Err(Error::Refused(refusal)), Some(profile)) if is_about_trust(refusal.step()) => {
            match profile
                .load(&environment.http, Freshness::Refreshed, now)
                .await
            {
                Ok(trust) => verify(&bundle, &artifact, trust.trusted_root(), policy, now).await?,
                Err(_) => return Err(Error::Refused(refusal)),
            }
        }
        (verdict, _) => verdict?,
    };
    Ok(report(&verified, &bundle, file))
}

/// The artifact. What can be read only once (standard input, a pipe) is read into memory, since it may be judged twice.
fn artifact(file: &str) -> Result<Artifact, Error> {
    let artifact = Artifact::from_argument(if file == "-" { "/dev/stdin" } else { file });
    let Artifact::Path(path) = &artifact else {
        return Ok(artifact);
    };
    let file_error = |source| Error::File {
        what: "artifact",
        path: path.clone(),
        source,
    };
    let source = open_input("artifact", path)?;
    if source.metadata().map_err(file_error)?.is_file() {
        return Ok(artifact);
    }
    let mut bytes = Vec::new();
    source
        .take(MAX_PIPED_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(file_error)?;
    if bytes.len() as u64 > MAX_PIPED_BYTES {
        let problem =
            format!("more than {MAX_PIPED_BYTES} bytes from a pipe; give the file itself");
        return Err(Error::Input {
            what: format!("artifact {file}"),
            problem,
        });
    }
    Ok(Artifact::Bytes(bytes))
}

fn is_about_trust(step: Step) -> bool {
    matches!(
        step,
        Step::Time | Step::Certificate | Step::CertificateTransparency | Step::Log
    )
}

fn report(verified: &Verified, bundle: &Bundle, file: &str) -> Report {
    let mut text = "Verified OK\n".to_owned();
    describe(&mut text, verified, &[]);
    // The SDK's object goes out as it is, statement text included; only two members are put in front.
    let verdict = verified.to_json();
    let members = verdict.strip_prefix('{').unwrap_or("}");
    let head =
        json!({ "verified": true, "file": file, "mediaType": bundle.version().media_type() })
            .to_string();
    let json = format!("{},{members}", head.trim_end_matches('}'));
    Report {
        text,
        json,
        ..Report::default()
    }
}

/// Only what was checked is said. `passed_over` are warnings that go without saying here.
pub(crate) fn describe(text: &mut String, verified: &Verified, passed_over: &[&str]) {
    let _ = match verified.signer() {
        Signer::Identity {
            subject, issuer, ..
        } => writeln!(
            text,
            "  signer:    {} (issuer {})",
            subject.escape_debug(),
            issuer.escape_debug()
        ),
        Signer::Key { fingerprint, .. } => {
            writeln!(text, "  signer:    key with SHA-256 {fingerprint}")
        }
        _ => Ok(()),
    };
    if let Some(statement) = verified.statement() {
        let _ = writeln!(
            text,
            "  predicate: {}",
            statement.predicate_type.escape_debug()
        );
    }
    for digest in verified.artifact_digests() {
        let _ = writeln!(text, "  artifact:  {digest}");
    }
    for time in verified.times() {
        let _ = writeln!(text, "  time:      {} ({})", time.time, time.uri);
    }
    for entry in verified.logs() {
        let _ = writeln!(
            text,
            "  log entry: {} of {} ({})",
            entry.log_index, entry.tree_size, entry.log
        );
    }
    for warning in verified
        .warnings()
        .iter()
        .filter(|warning| !passed_over.contains(&warning.code))
    {
        let _ = writeln!(text, "  warning:   {} [{}]", warning.message, warning.code);
    }
}
