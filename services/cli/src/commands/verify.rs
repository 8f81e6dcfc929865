//! `verify-blob` and `verify-blob-attestation`.

use std::fmt::Write as _;

use sealwright_sdk::bundle::error::Step;
use sealwright_sdk::bundle::policy::PredicateTypes;
use sealwright_sdk::bundle::verdict::Signer;
use sealwright_sdk::bundle::{Bundle, Policy, TrustedRoot, Verified};
use sealwright_sdk::{
    Artifact, Error, Freshness, Subject, read_bundle_with_limit, verify, verify_subjects,
};
use serde_json::json;

use crate::args::{VerificationArgs, VerifyBlob, VerifyBlobAttestation};
use crate::commands::expectation::{counted, signer};
use crate::commands::sign::predicate_type;
use crate::commands::trust;
use crate::environment::Environment;
use crate::output::Report;

/// `verify-blob`: a signature over the file; a statement only where it says no more than that.
pub(crate) async fn verify_blob(
    args: &VerifyBlob,
    environment: &Environment,
) -> Result<Report, Error> {
    let verification = &args.verification;
    let policy = counted(signer(verification)?.blob(), verification)?;
    let bundle = bundle(verification)?;
    // It may be judged twice.
    let artifact = named(&args.file).read_once(&bundle, &policy).await?;
    let verified = judge(verification, environment, async |root, now| {
        verify(&bundle, &artifact, root, &policy, now).await
    })
    .await?;
    Ok(report(&verified, std::slice::from_ref(&args.file)))
}

/// `verify-blob-attestation`: a statement about the files, of a type that was asked for.
pub(crate) async fn verify_blob_attestation(
    args: &VerifyBlobAttestation,
    environment: &Environment,
) -> Result<Report, Error> {
    let verification = &args.verification;
    let policy = signer(verification)?.attestation(predicate_types(args)?);
    let policy = counted(policy, verification)?;
    let bundle = bundle(verification)?;
    let subjects = subjects(args, &bundle, &policy).await?;
    let verified = judge(verification, environment, async |root, now| {
        verify_subjects(&bundle, &subjects, root, &policy, now).await
    })
    .await?;
    Ok(report(&verified, &args.files))
}

fn predicate_types(args: &VerifyBlobAttestation) -> Result<PredicateTypes, Error> {
    if args.any_type {
        return Ok(PredicateTypes::Any);
    }
    if args.predicate_type.is_empty() {
        return Ok(PredicateTypes::cosign_default());
    }
    let types = args.predicate_type.iter().map(|name| predicate_type(name));
    Ok(PredicateTypes::OneOf(types.collect::<Result<_, _>>()?))
}

async fn subjects(
    args: &VerifyBlobAttestation,
    bundle: &Bundle,
    policy: &Policy,
) -> Result<Vec<Subject>, Error> {
    let mut subjects = Vec::new();
    for file in &args.files {
        let artifact = named(file).read_once(bundle, policy).await?;
        subjects.push(Subject::Artifact(artifact));
    }
    let digests = args.subject_digest.iter().cloned();
    subjects.extend(digests.map(|(name, digest)| Subject::Named { name, digest }));
    Ok(subjects)
}

fn bundle(args: &VerificationArgs) -> Result<Bundle, Error> {
    read_bundle_with_limit(&args.bundle, args.max_bundle_size)
}

fn named(file: &str) -> Artifact {
    Artifact::from_argument(if file == "-" { "/dev/stdin" } else { file })
}

/// Asks for a verdict, and once more when a profile's repository may know newer trust material than the profile has.
async fn judge(
    args: &VerificationArgs,
    environment: &Environment,
    verdict: impl AsyncFn(&TrustedRoot, i64) -> Result<Verified, Error>,
) -> Result<Verified, Error> {
    let loaded = trust::load(&args.trust, environment).await?;
    let now = environment.now();
    let first = verdict(loaded.trust.trusted_root(), now).await;
    match (first, loaded.profile) {
        // The signer may know a newer key than this profile has heard of, so its repository is asked before the answer is no.
        (Err(Error::Refused(refusal)), Some(profile)) if is_about_trust(refusal.step()) => {
            match profile
                .load(&environment.http, Freshness::Refreshed, now)
                .await
            {
                Ok(trust) => verdict(trust.trusted_root(), now).await,
                Err(_) => Err(Error::Refused(refusal)),
            }
        }
        (verdict, _) => verdict,
    }
}

fn is_about_trust(step: Step) -> bool {
    matches!(
        step,
        Step::Time | Step::Certificate | Step::CertificateTransparency | Step::Log
    )
}

fn report(verified: &Verified, files: &[String]) -> Report {
    let mut text = "Verified OK\n".to_owned();
    describe(&mut text, verified, &[]);
    let head = match files {
        [] => json!({ "verified": true }),
        [file] => json!({ "verified": true, "file": file }),
        [file, ..] => json!({ "verified": true, "file": file, "files": files }),
    }
    .to_string();
    // The SDK's object goes out as it is, statement text included; our own members are put in front.
    let verdict = verified.to_json();
    let members = verdict.strip_prefix('{').unwrap_or("}");
    let json = format!("{},{members}", head.trim_end_matches('}'));
    Report {
        text,
        json,
        ..Report::default()
    }
}

/// A verdict in words: what stands in its JSON, and nothing else. `passed_over` are warnings that go without saying here.
pub(crate) fn describe(text: &mut String, verified: &Verified, passed_over: &[&str]) {
    let mut line = |label: &str, parts: &[&str]| {
        let parts: Vec<String> = parts
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| one_line(part))
            .collect();
        let _ = writeln!(text, "  {:<10} {}", format!("{label}:"), parts.join(" | "));
    };
    describe_signer(&mut line, verified.signer());
    line("algorithm", &[verified.algorithm()]);
    if let Some(statement) = verified.statement() {
        line("predicate", &[&statement.predicate_type]);
    }
    for digest in verified.artifact_digests() {
        line("artifact", &[digest]);
    }
    for time in verified.times() {
        line("time", &[&time.time.to_string(), &time.uri, &time.operator]);
    }
    for entry in verified.logs() {
        let (index, size) = (entry.log_index.to_string(), entry.tree_size.to_string());
        let place = if entry.tree_size == 0 {
            format!("entry {index}")
        } else {
            format!("entry {index} of {size}")
        };
        line("log", &[&place, &entry.kind, &entry.log, &entry.operator]);
        for witness in &entry.witnesses {
            line("witness", &[&witness.name, &witness.time.to_string()]);
        }
    }
    for sct in verified.certificate_logs() {
        line("ct log", &[&sct.time.to_string(), &sct.log, &sct.operator]);
    }
    for warning in verified
        .warnings()
        .iter()
        .filter(|warning| !passed_over.contains(&warning.code))
    {
        line("warning", &[warning.code, &warning.message]);
    }
}

/// A text of a certificate or bundle must not begin a line of its own.
fn one_line(part: &str) -> String {
    let mut line = String::with_capacity(part.len());
    for character in part.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

fn describe_signer(line: &mut impl FnMut(&str, &[&str]), signer: &Signer) {
    match signer {
        Signer::Identity {
            subject,
            subject_type,
            issuer,
            extensions,
            serial,
            certificate_issuer,
            not_before,
            not_after,
            authority,
            ..
        } => {
            line("signer", &[subject, subject_type, issuer]);
            for (name, value) in extensions {
                line("attribute", &[name, value]);
            }
            let (from, to) = (not_before.to_string(), not_after.to_string());
            line("cert", &[serial, certificate_issuer, authority, &from, &to]);
        }
        Signer::Certificate {
            name,
            issuer,
            subject,
            serial,
            not_before,
            not_after,
            certificate_issuer,
            anchor,
            judged_at,
            revocation_lists,
            ..
        } => {
            let (named, kind) = name
                .as_ref()
                .map_or(("", ""), |name| (name.value.as_str(), name.kind));
            line(
                "signer",
                &[subject, named, kind, issuer.as_deref().unwrap_or_default()],
            );
            let (from, to) = (not_before.to_string(), not_after.to_string());
            line("cert", &[serial, certificate_issuer, anchor, &from, &to]);
            if let Some(at) = judged_at {
                line("judged at", &[&at.to_string()]);
            }
            for list in revocation_lists {
                let number = list.number.as_deref().unwrap_or_default();
                line(
                    "crl",
                    &[&list.issuer, number, &list.this_update.to_string()],
                );
            }
        }
        Signer::Key { fingerprint, .. } => line("signer", &["key", fingerprint]),
        _ => {}
    }
}
