//! A verifier is worth its refusals: everything that can be bent is bent, and refused for the right reason.

use std::{fs, path::Path};

use sealwright_crypto::base64;
use sealwright_integration_tests::{
    ClientView, Daemon, EMAIL, Tool, artifact, deployment::Deployment,
};
use serde_json::{Value, json};

/// Bends one field of the bundle.
type Bend = fn(&mut Value);

/// Flips the last bit of base64-encoded bytes.
fn flip(value: &mut Value) {
    let mut bytes = base64::decode(value.as_str().expect("base64 text")).expect("base64 text");
    *bytes.last_mut().expect("bytes") ^= 1;
    *value = base64::encode(&bytes).into();
}

/// Flips one byte in the middle of base64-encoded bytes.
fn flip_middle(value: &mut Value) {
    let mut bytes = base64::decode(value.as_str().expect("base64 text")).expect("base64 text");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *value = base64::encode(&bytes).into();
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

fn timestamps(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
}

/// Changes a line of the checkpoint.
fn checkpoint_line(bundle: &mut Value, line: usize, change: impl Fn(&str) -> String) {
    let envelope = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
    let text = envelope.as_str().expect("a note").to_owned();
    let lines = text.split('\n').enumerate().map(|(n, old)| {
        if n == line {
            change(old)
        } else {
            old.to_owned()
        }
    });
    *envelope = lines.collect::<Vec<_>>().join("\n").into();
}

/// Name, bend, and words of which one must be in the refusal.
const BENDS: &[(&str, Bend, &[&str])] = &[
    (
        "signature",
        |b| flip(&mut b["messageSignature"]["signature"]),
        &["signature", "entry", "timestamp"],
    ),
    (
        "digest",
        |b| flip(&mut b["messageSignature"]["messageDigest"]["digest"]),
        &["digest"],
    ),
    (
        "no-entry",
        |b| b["verificationMaterial"]["tlogEntries"] = json!([]),
        &["log"],
    ),
    (
        "no-proof",
        |b| {
            entry(b)
                .as_object_mut()
                .expect("object")
                .remove("inclusionProof");
        },
        &["proof"],
    ),
    (
        "proof-root",
        |b| flip(&mut entry(b)["inclusionProof"]["rootHash"]),
        &["root", "proof"],
    ),
    (
        "proof-index",
        |b| entry(b)["inclusionProof"]["logIndex"] = json!("1000000"),
        &["index", "proof"],
    ),
    (
        "entry-index",
        |b| entry(b)["logIndex"] = json!("7"),
        &["index", "proof"],
    ),
    (
        "negative-index",
        |b| entry(b)["logIndex"] = json!("-1"),
        &["negative"],
    ),
    (
        "log-id",
        |b| flip(&mut entry(b)["logId"]["keyId"]),
        &["log"],
    ),
    (
        "body",
        |b| flip_middle(&mut entry(b)["canonicalizedBody"]),
        &["body", "entry"],
    ),
    (
        "kind",
        |b| entry(b)["kindVersion"]["kind"] = json!("rekord"),
        &["kind", "entry"],
    ),
    (
        "checkpoint-origin",
        |b| checkpoint_line(b, 0, |old| format!("{old}x")),
        &["checkpoint", "origin", "log"],
    ),
    (
        "checkpoint-size",
        |b| checkpoint_line(b, 1, |old| format!("{old}0")),
        &["checkpoint"],
    ),
    (
        "checkpoint-root",
        |b| checkpoint_line(b, 2, |_| base64::encode(&[7; 32])),
        &["checkpoint"],
    ),
    (
        "checkpoint-signature",
        |b| {
            checkpoint_line(b, 4, |old| {
                let (head, tail) = old.rsplit_once(' ').expect("a signature line");
                let mut bytes = base64::decode(tail).expect("base64");
                *bytes.last_mut().expect("bytes") ^= 1;
                format!("{head} {}", base64::encode(&bytes))
            })
        },
        &["checkpoint"],
    ),
    ("no-timestamp", |b| *timestamps(b) = json!([]), &["time"]),
    (
        "timestamp",
        |b| flip(&mut timestamps(b)[0]["signedTimestamp"]),
        &["time"],
    ),
    (
        "duplicate-timestamp",
        |b| {
            let one = timestamps(b)[0].clone();
            *timestamps(b) = json!([one, one]);
        },
        &["timestamp", "duplicate"],
    ),
    (
        "duplicate-entry",
        |b| {
            let one = entry(b).clone();
            b["verificationMaterial"]["tlogEntries"] = json!([one, one]);
        },
        &["duplicate", "twice"],
    ),
    (
        "certificate-signature",
        |b| flip(&mut b["verificationMaterial"]["certificate"]["rawBytes"]),
        &["certificate", "chain", "sct", "entry"],
    ),
    (
        "no-certificate",
        |b| {
            b["verificationMaterial"]
                .as_object_mut()
                .expect("object")
                .remove("certificate");
        },
        &["certificate", "key"],
    ),
    (
        "unknown-version",
        |b| b["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.9+json"),
        &["v0.9", "media"],
    ),
    ("unknown-field", |b| b["surprise"] = json!(1), &["surprise"]),
];

fn refuse(view: &ClientView, file: &Path, bundle: &Path) -> anyhow::Result<String> {
    Ok(view.verify(file, bundle)?.code(1)?.to_lowercase())
}

#[test]
fn whatever_is_bent_in_a_bundle_is_refused() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    refuses_whatever_is_bent(&daemon)
}

fn refuses_whatever_is_bent(view: &ClientView) -> anyhow::Result<()> {
    let (dir, file) = artifact(b"bend me")?;
    // A neighbour in the log makes proofs non-trivial.
    let (_other_dir, other) = artifact(b"a neighbour")?;
    view.sign(&other)?;
    let bundle: Value = serde_json::from_slice(&fs::read(view.sign(&file)?)?)?;
    for (name, bend, words) in BENDS {
        let mut bent = bundle.clone();
        bend(&mut bent);
        assert_ne!(bent, bundle, "{name} bends nothing");
        let path = dir.path().join(format!("{name}.json"));
        fs::write(&path, bent.to_string())?;
        let said = refuse(view, &file, &path).map_err(|error| error.context(*name))?;
        assert!(
            words.iter().any(|word| said.contains(word)),
            "{name}: none of {words:?} in\n{said}"
        );
    }
    Ok(())
}

#[test]
fn another_artifact_identity_or_issuer_is_refused() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    refuses_another_artifact_identity_or_issuer(&daemon)
}

fn refuses_another_artifact_identity_or_issuer(view: &ClientView) -> anyhow::Result<()> {
    let (_dir, file) = artifact(b"mine")?;
    let bundle = view.sign(&file)?;
    let verify = |identity: [&str; 4]| {
        let tool = Tool::sealwright()
            .args(["verify-blob", "--bundle"])
            .arg(&bundle)
            .args(view.trust());
        tool.args(identity).arg(&file).run()
    };
    let issuer = view.endpoints().oidc.as_str();
    verify([
        "--certificate-identity",
        EMAIL,
        "--certificate-oidc-issuer",
        issuer,
    ])?
    .success()?;
    verify([
        "--certificate-identity-regexp",
        r"dev@example\.com",
        "--certificate-oidc-issuer-regexp",
        "http://.*",
    ])?
    .success()?;
    let said = verify([
        "--certificate-identity",
        "eve@example.com",
        "--certificate-oidc-issuer",
        issuer,
    ])?
    .code(1)?;
    assert!(
        said.contains(EMAIL) && said.contains("eve@example.com"),
        "found and expected are named: {said}"
    );
    let said = verify([
        "--certificate-identity",
        EMAIL,
        "--certificate-oidc-issuer",
        "https://issuer.example",
    ])?
    .code(1)?;
    assert!(
        said.contains(issuer) && said.contains("https://issuer.example"),
        "{said}"
    );
    // Expressions match whole values: a part is not enough.
    verify([
        "--certificate-identity-regexp",
        "example",
        "--certificate-oidc-issuer",
        issuer,
    ])?
    .code(1)?;
    verify([
        "--certificate-identity",
        "example.com",
        "--certificate-oidc-issuer",
        issuer,
    ])?
    .code(1)?;

    fs::write(&file, b"not mine")?;
    let said = refuse(view, &file, &bundle)?;
    assert!(
        said.contains("digest") || said.contains("artifact") || said.contains("signature"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_bundle_of_another_stack_is_refused() -> anyhow::Result<()> {
    let (here, elsewhere) = (Daemon::fresh()?, Daemon::fresh()?);
    let (_dir, file) = artifact(b"whose is this")?;
    let bundle = elsewhere.sign(&file)?;
    let tool = Tool::sealwright()
        .args(["verify-blob", "--bundle"])
        .arg(&bundle)
        .args(here.trust());
    let issuer = [
        "--certificate-identity",
        EMAIL,
        "--certificate-oidc-issuer",
        elsewhere.endpoints().oidc.as_str(),
    ];
    tool.args(issuer).arg(&file).run()?.code(1)?;
    Ok(())
}

#[test]
fn an_sct_of_another_log_is_refused() -> anyhow::Result<()> {
    let (here, elsewhere) = (Daemon::fresh()?, Daemon::fresh()?);
    let (dir, file) = artifact(b"sct")?;
    let bundle = here.sign(&file)?;
    let mut root: Value =
        serde_json::from_slice(&fs::read(here.client_file("trusted_root.json"))?)?;
    let foreign: Value =
        serde_json::from_slice(&fs::read(elsewhere.client_file("trusted_root.json"))?)?;
    root["ctlogs"] = foreign["ctlogs"].clone();
    let bent = dir.path().join("root.json");
    fs::write(&bent, root.to_string())?;
    let tool = Tool::sealwright()
        .args(["verify-blob", "--bundle"])
        .arg(&bundle)
        .arg("--trusted-root")
        .arg(&bent);
    let said = tool
        .args(here.identity())
        .arg(&file)
        .run()?
        .code(1)?
        .to_lowercase();
    assert!(
        said.contains("sct") || said.contains("certificate timestamp"),
        "{said}"
    );
    Ok(())
}

#[test]
fn an_attestation_is_not_a_signature() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    tells_attestations_from_signatures(&daemon)
}

fn tells_attestations_from_signatures(view: &ClientView) -> anyhow::Result<()> {
    let (dir, file) = artifact(b"attested, not signed")?;
    let digest = hex::encode(sealwright_crypto::sha256(b"attested, not signed"));
    let statement = dir.path().join("statement.json");
    fs::write(
        &statement,
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "artifact", "digest": {"sha256": digest}}],
            "predicateType": "https://example.com/scan/v1",
            "predicate": {"result": "FAILED"},
        })
        .to_string(),
    )?;
    let bundle = dir.path().join("attestation.json");
    let tool = Tool::sealwright()
        .args(["attest-blob", "--identity-token", "-", "--statement"])
        .arg(&statement);
    tool.arg("--bundle")
        .arg(&bundle)
        .args(view.trust())
        .run_with_input(view.token()?.as_bytes())?
        .success()?;

    let said = refuse(view, &file, &bundle)?;
    assert!(said.contains("attestation"), "{said}");
    let attestation = |more: &[&str]| {
        let tool = Tool::sealwright()
            .args(["verify-blob-attestation", "--bundle"])
            .arg(&bundle)
            .args(view.trust());
        tool.args(view.identity()).args(more).arg(&file).run()
    };
    attestation(&[])?.code(1)?;
    attestation(&["--type", "https://example.com/other/v1"])?.code(1)?;
    attestation(&["--type", "https://example.com/scan/v1"])?.success()?;
    let said = attestation(&["--any-type"])?.code(0)?;
    assert!(said.contains("https://example.com/scan/v1"), "{said}");
    Ok(())
}

/// What is signed with the roles apart is worth the same refusals; one deployment serves all three questions.
#[test]
fn with_roles_apart_the_same_is_refused() -> anyhow::Result<()> {
    let mut deployment = Deployment::fresh()?;
    refuses_whatever_is_bent(&deployment)?;
    refuses_another_artifact_identity_or_issuer(&deployment)?;
    tells_attestations_from_signatures(&deployment)?;
    deployment.terminate()
}
