//! What can be asked of a verification, and that its answers in words and in JSON are one.

use std::collections::BTreeSet;

use sealwright_testkit::bundle_factory::{
    EMAIL, ISSUER, NOW, SctKind, SignatureLog, Signing, World, statement, workload,
};
use serde_json::Value;

use super::{Desk, by_jane};

const PAGE: &str = include_str!("../../../../docs/verification.md");
const WORKFLOW: &str = "https://gitlab.corp/team/app//ci.yml@refs/tags/v1";

fn desk_of_a_workflow() -> Desk {
    let mut desk = Desk::new();
    let attributes = [
        ("runnerEnvironment", "self-hosted"),
        ("githubWorkflowSHA", "c0ffee"),
        ("sourceRepositoryRef", "refs/tags/v1"),
    ];
    let signing = Signing {
        identity: workload(WORKFLOW, ISSUER, &attributes),
        ..Signing::default()
    };
    let bundle = desk.world.sign_blob(b"artifact", &signing);
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    desk
}

fn verdict(desk: &Desk, flags: &str) -> (i32, Value) {
    let line = format!(
        "verify-blob artifact --trusted-root root.json --bundle bundle.json {flags} -o json"
    );
    let outcome = desk.run(&line);
    let json = outcome.json();
    (outcome.code, json)
}

/// Exit code and, for a refusal, its code.
fn answer(desk: &Desk, flags: &str) -> (i32, String) {
    let (exit, json) = verdict(desk, flags);
    let code = json["error"]["code"].as_str().unwrap_or("VERIFIED");
    (exit, code.to_owned())
}

#[test]
fn identities_are_asked_for_in_every_way() {
    let desk = desk_of_a_workflow();
    let issuer = format!("--certificate-oidc-issuer {ISSUER}");
    let exactly = format!("--certificate-identity {WORKFLOW} {issuer}");
    for (flags, expected) in [
        (
            format!("--certificate-identity-glob https://gitlab.corp/team/** {issuer}"),
            "VERIFIED",
        ),
        (
            format!("--certificate-identity-glob https://gitlab.corp/* {issuer}"),
            "IDENTITY_MISMATCH",
        ),
        (
            format!("--certificate-identity-glob a***b {issuer}"),
            "POLICY_INVALID",
        ),
        (
            format!("--certificate-identity {EMAIL} --certificate-identity {WORKFLOW} {issuer}"),
            "VERIFIED",
        ),
        (
            format!(
                "--certificate-identity {EMAIL} --certificate-identity {WORKFLOW} {issuer} --certificate-oidc-issuer https://other"
            ),
            "ISSUER_MISMATCH",
        ),
        (
            format!(
                "--certificate-identity {EMAIL} --certificate-identity {WORKFLOW} --certificate-oidc-issuer https://other {issuer}"
            ),
            "VERIFIED",
        ),
        (
            format!("{exactly} --certificate-oidc-issuer https://other"),
            "INPUT_INVALID",
        ),
        (
            format!("{exactly} --certificate-identity-type uri"),
            "VERIFIED",
        ),
        (
            format!("{exactly} --certificate-identity-type email"),
            "IDENTITY_MISMATCH",
        ),
        (
            format!("{exactly} --certificate-identity-type address"),
            "INPUT_INVALID",
        ),
        (
            format!(
                "{exactly} --cert-ext runnerEnvironment=self-hosted --cert-ext 1.3.6.1.4.1.57264.1.14=refs/tags/v1"
            ),
            "VERIFIED",
        ),
        (
            format!(
                "{exactly} --cert-ext runnerEnvironment=self-hosted --cert-ext runnerEnvironment=hosted"
            ),
            "EXTENSION_MISMATCH",
        ),
        (format!("{exactly} --cert-ext nothing=x"), "POLICY_INVALID"),
        (
            format!("{exactly} --certificate-github-workflow-sha c0ffee"),
            "VERIFIED",
        ),
        (
            format!("{exactly} --certificate-github-workflow-sha beef"),
            "EXTENSION_MISMATCH",
        ),
        (
            format!("{exactly} --certificate-github-workflow-ref refs/heads/main"),
            "EXTENSION_MISMATCH",
        ),
        (
            format!("{exactly} --certificate-github-workflow-name x"),
            "EXTENSION_MISMATCH",
        ),
        (
            format!("{exactly} --certificate-github-workflow-repository x"),
            "EXTENSION_MISMATCH",
        ),
        (
            format!("{exactly} --certificate-github-workflow-trigger x"),
            "EXTENSION_MISMATCH",
        ),
    ] {
        let exit = match expected {
            "VERIFIED" => 0,
            "POLICY_INVALID" | "INPUT_INVALID" => 2,
            _ => 1,
        };
        assert_eq!(
            answer(&desk, &flags),
            (exit, expected.to_owned()),
            "{flags}"
        );
    }
}

#[test]
fn thresholds_are_asked_for_and_waived() {
    let desk = Desk::with_signature();
    let jane = format!("--certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER}");
    for (flags, expected) in [
        (
            "--log-threshold 1 --timestamp-threshold 1 --sct-threshold 1 --time-threshold 1",
            "VERIFIED",
        ),
        ("--log-threshold 2", "THRESHOLD_NOT_MET"),
        ("--timestamp-threshold 2", "THRESHOLD_NOT_MET"),
        ("--time-threshold 2", "THRESHOLD_NOT_MET"),
        ("--sct-threshold 2", "THRESHOLD_NOT_MET"),
        ("--sct-distinct-operators", "VERIFIED"),
        ("--use-signed-timestamps", "VERIFIED"),
        ("--max-bundle-size 1KiB", "LIMIT_EXCEEDED"),
        ("--max-bundle-size 1MiB", "VERIFIED"),
    ] {
        let (_, code) = answer(&desk, &format!("{jane} {flags}"));
        assert_eq!(code, expected, "{flags}");
    }
}

/// Who sends a bundle that is too long did not make the verifier's caller misuse a flag: the exit code is a refusal's.
#[test]
fn a_bundle_above_the_limit_is_refused_and_no_mistake_of_the_caller() {
    let desk = Desk::with_signature();
    let bundle = std::fs::read_to_string(desk.dir.path().join("bundle.json")).expect("a bundle");
    let padded = |length: usize| format!("{bundle}{}", " ".repeat(length - bundle.len()));
    let jane = format!("--certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER}");
    for (length, expected) in [
        (32 << 20, (0, "VERIFIED")),
        ((32 << 20) + 1, (1, "LIMIT_EXCEEDED")),
    ] {
        desk.put("bundle.json", padded(length));
        let (exit, code) = answer(&desk, &jane);
        assert_eq!((exit, code.as_str()), expected, "{length}");
    }
}

#[test]
fn cosigns_waivers_waive_a_threshold_and_switch_nothing_off() {
    let mut desk = Desk::new();
    let signing = Signing {
        sct: SctKind::Missing,
        ..Signing::default()
    };
    let mut bundle = desk.world.sign_blob(b"artifact", &signing);
    let jane = format!("--certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER}");
    let material = bundle.verification_material.as_mut().expect("material");
    let entry = material.tlog_entries.remove(0);
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    assert_eq!(answer(&desk, &jane).1, "SCT_MISSING");
    let no_sct = format!("{jane} --insecure-ignore-sct");
    assert_eq!(answer(&desk, &no_sct).1, "THRESHOLD_NOT_MET");
    for flag in ["--insecure-ignore-tlog", "--private-infrastructure"] {
        let (exit, json) = verdict(&desk, &format!("{no_sct} {flag}"));
        assert_eq!(exit, 0, "{json}");
        let codes: Vec<_> = json["warnings"]
            .as_array()
            .expect("warnings")
            .iter()
            .map(|warning| warning["code"].as_str().expect("a code"))
            .collect();
        assert_eq!(codes, ["NOT_LOGGED", "CERTIFICATE_NOT_LOGGED"]);
    }
    // An entry that is there and does not hold refuses all the same.
    let material = bundle.verification_material.as_mut().expect("material");
    let mut wrong = entry;
    let proof = wrong.inclusion_proof.as_mut().expect("a proof");
    proof.hashes[0][0] ^= 1;
    material.tlog_entries.push(wrong);
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    let waived = format!("{no_sct} --insecure-ignore-tlog");
    assert_eq!(answer(&desk, &waived).1, "INCLUSION_PROOF_INVALID");
}

#[test]
fn a_witness_policy_is_read_to_the_letter() {
    let desk = Desk::with_signature();
    let jane = format!(
        "--certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER} --witness-policy policy"
    );
    // A witness of whom nobody has heard.
    let key = "w.example+8ae8e296+BFHDpFGnuG+D0/dDZ1yXb56bVlH5BE7Em0ck+s+D+S4b";
    for (policy, expected) in [
        ("quorum none\n".to_owned(), "VERIFIED"),
        ("quorum none".to_owned(), "INPUT_INVALID"),
        ("quorum w\n".to_owned(), "INPUT_INVALID"),
        (format!("witness w {key}\nquorum w\n"), "INPUT_INVALID"),
    ] {
        desk.put("policy", &policy);
        let (exit, json) = verdict(&desk, &jane);
        let code = json["error"]["code"].as_str().unwrap_or("VERIFIED");
        assert_eq!(code, expected, "{policy}: {json}");
        assert_eq!(exit, if expected == "VERIFIED" { 0 } else { 2 });
        if code == "INPUT_INVALID" {
            let message = json["error"]["message"].as_str().expect("a message");
            assert!(message.contains("line 1"), "{message}");
        }
    }
}

#[test]
fn one_of_several_keys_will_do() {
    use sealwright_sdk::crypto::{KeyType, PrivateKey};
    let mut desk = Desk::new();
    let [signer, other] = [KeyType::EcP256, KeyType::Rsa { bits: 2048 }]
        .map(|kind| PrivateKey::generate(kind).expect("a key"));
    let bundle = desk
        .world
        .sign_blob_with_key(b"artifact", &signer, &Signing::default());
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    desk.put("signer.pem", signer.public_key().to_pem());
    desk.put("other.pem", other.public_key().to_pem());
    let (exit, json) = verdict(&desk, "--key other.pem --key signer.pem");
    assert_eq!(exit, 0, "{json}");
    assert_eq!(json["signer"]["matchedRule"], 1);
    assert_eq!(answer(&desk, "--key other.pem").1, "KEY_MISMATCH");
    assert_eq!(
        answer(&desk, "--key signer.pem --sct-threshold 1").1,
        "POLICY_INVALID"
    );
}

#[test]
fn every_file_and_every_digest_must_be_a_subject() {
    const COMMIT: &str = "1f7a7a472abf3dd9643fd615f6da379c4acb3e3a";
    let mut desk = Desk::new();
    let text = statement(b"artifact", "https://example.com/p/v1");
    let text = text.replacen(
        "\"subject\":[",
        &format!("\"subject\":[{{\"digest\":{{\"gitCommit\":\"{COMMIT}\"}}}},"),
        1,
    );
    let bundle = desk.world.sign_statement(&text, &Signing::default());
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    for (subjects, expected) in [
        ("artifact".to_owned(), "VERIFIED"),
        ("artifact artifact".to_owned(), "VERIFIED"),
        ("artifact changed".to_owned(), "SUBJECT_MISSING"),
        (format!("--subject-digest gitCommit:{COMMIT}"), "VERIFIED"),
        (
            format!("artifact --subject-digest gitCommit:{COMMIT}"),
            "VERIFIED",
        ),
        (
            format!("artifact --subject-digest gitTag:{COMMIT}"),
            "SUBJECT_MISSING",
        ),
        (
            format!("changed --subject-digest gitCommit:{COMMIT}"),
            "SUBJECT_MISSING",
        ),
    ] {
        for types in [
            "--any-type",
            "--type https://example.com/p/v0 --type https://example.com/p/v1",
        ] {
            let line = format!(
                "verify-blob-attestation {subjects} {types} {} -o json",
                by_jane()
            );
            let json = desk.run(&line).json();
            let code = json["error"]["code"].as_str().unwrap_or("VERIFIED");
            assert_eq!(code, expected, "{line}");
        }
    }
}

/// Verdicts of every shape: an identity with attributes, an attestation, a key, two logs, and warnings.
fn desks() -> Vec<(Desk, String)> {
    use sealwright_sdk::crypto::{KeyType, PrivateKey};
    let mut desks = vec![(
        desk_of_a_workflow(),
        format!(
            "verify-blob artifact --certificate-identity {WORKFLOW} --certificate-oidc-issuer {ISSUER}"
        ),
    )];
    let attestation = Desk::with_attestation("https://example.com/p/v1");
    let jane = format!("--certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER}");
    desks.push((
        attestation,
        format!("verify-blob-attestation artifact artifact --any-type {jane}"),
    ));

    let mut desk = Desk::new();
    let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
    let signing = Signing {
        stamped_at: Vec::new(),
        ..Signing::default()
    };
    let bundle = desk.world.sign_blob_with_key(b"artifact", &key, &signing);
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    desk.put("key.pem", key.public_key().to_pem());
    desks.push((desk, "verify-blob artifact --key key.pem".into()));

    let mut desk = Desk::new();
    let mut bundle = desk.world.sign_blob(b"artifact", &Signing::default());
    let material = bundle.verification_material.as_mut().expect("material");
    let body = material.tlog_entries[0].canonicalized_body.clone();
    for place in ["https://second.example.org", "https://nobody.example.org"] {
        let mut log = SignatureLog::new(place);
        let entry = log.add_body_among_others(body.clone(), (1, 1));
        material.tlog_entries.push(entry);
        if place.contains("second") {
            let mut root = desk.world.trusted_root();
            root.tlogs.push(log.trusted());
            root.tlogs[0].operator = "an operator".into();
            root.ctlogs[0].operator = "another operator".into();
            root.timestamp_authorities[0].operator = "a third".into();
            desk.put("root.json", serde_json::to_string(&root).expect("JSON"));
        }
    }
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    desks.push((desk, format!("verify-blob artifact {jane}")));
    desks
}

const MATERIAL: &str = "--trusted-root root.json --bundle bundle.json";

#[test]
fn the_words_say_nothing_that_the_json_does_not() {
    for (desk, line) in desks() {
        let words = desk.run(&format!("{line} {MATERIAL}"));
        assert_eq!(words.code, 0, "{line}: {}", words.stderr);
        let json = desk.run(&format!("{line} {MATERIAL} -o json")).json();
        let mut known = BTreeSet::new();
        scalars(&json, &mut known);
        let mut lines = words.stderr.lines();
        assert_eq!(lines.next(), Some("Verified OK"));
        let mut parts = 0;
        for said in lines {
            let (_, rest) = said.split_once(": ").expect("a label");
            for part in rest.trim().split(" | ") {
                let numbers = part.strip_prefix("entry ").map(|rest| rest.split(" of "));
                let pieces: Vec<&str> = numbers.map_or_else(|| vec![part], Iterator::collect);
                for piece in pieces {
                    assert!(
                        known.contains(piece),
                        "{piece:?} of {said:?} is not in {json}"
                    );
                    parts += 1;
                }
            }
        }
        assert!(parts >= 8, "{}", words.stderr);
    }
}

/// Every scalar and every name of a member, as text.
fn scalars(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                found.insert(name.clone());
                scalars(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| scalars(item, found)),
        Value::String(text) => {
            found.insert(text.clone());
        }
        other => {
            found.insert(other.to_string());
        }
    }
}

#[test]
fn the_json_is_what_the_published_schema_says() {
    let schema = schema();
    for (desk, line) in desks() {
        let json = desk.run(&format!("{line} {MATERIAL} -o json")).json();
        let fits = conforms(&json, &schema, "verdict");
        assert_eq!(fits, Ok(()), "{json}");
    }
}

#[test]
fn the_schema_tells_a_verdict_from_something_else() {
    let schema = schema();
    let desk = Desk::with_signature();
    let good = desk
        .run(&format!("verify-blob artifact {} -o json", by_jane()))
        .json();
    assert_eq!(conforms(&good, &schema, "verdict"), Ok(()));
    let mut without = good.clone();
    without.as_object_mut().expect("an object").remove("times");
    let mut more = good.clone();
    more["hint"] = "a hint".into();
    let mut other = good.clone();
    other["signer"]["kind"] = "stranger".into();
    let mut typed = good.clone();
    typed["logs"][0]["logIndex"] = "3".into();
    for bad in [without, more, other, typed] {
        assert!(conforms(&bad, &schema, "verdict").is_err(), "{bad}");
    }
}

fn schema() -> Value {
    let (_, rest) = PAGE.split_once("```json\n").expect("the schema");
    let (text, _) = rest.split_once("```").expect("its end");
    serde_json::from_str(text).expect("JSON")
}

/// As much of JSON Schema as the page uses.
fn conforms(value: &Value, schema: &Value, place: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{place}: {what}"));
    if let Some(constant) = schema.get("const")
        && value != constant
    {
        return wrong("not the constant");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array)
        && !values.contains(value)
    {
        return wrong("none of the values");
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let fitting = choices
            .iter()
            .filter(|choice| conforms(value, choice, place).is_ok());
        if fitting.count() != 1 {
            return wrong("not exactly one of the choices");
        }
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => members_conform(value, schema, place),
        Some("array") => {
            let Some(items) = value.as_array() else {
                return wrong("not an array");
            };
            let empty = Value::Object(serde_json::Map::new());
            let each = schema.get("items").unwrap_or(&empty);
            items
                .iter()
                .try_for_each(|item| conforms(item, each, place))
        }
        Some("string") if !value.is_string() => wrong("not a string"),
        Some("integer") if !value.is_u64() => wrong("not an integer"),
        _ => Ok(()),
    }
}

fn members_conform(value: &Value, schema: &Value, place: &str) -> Result<(), String> {
    let Some(members) = value.as_object() else {
        return Err(format!("{place}: not an object"));
    };
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Err(format!("{place}: {name} is missing"));
        }
    }
    for (name, member) in members {
        let known = schema.get("properties").and_then(|all| all.get(name));
        match (known, schema.get("additionalProperties")) {
            (Some(known), _) => conforms(member, known, name)?,
            (None, Some(Value::Bool(false))) => {
                return Err(format!("{place}: {name} is not known"));
            }
            (None, Some(more)) => conforms(member, more, name)?,
            (None, None) => {}
        }
    }
    Ok(())
}

#[test]
fn a_refusal_points_at_the_entry_or_the_timestamp() {
    let mut desk = Desk::new();
    let mut bundle = desk.world.sign_blob(b"artifact", &Signing::default());
    let material = bundle.verification_material.as_mut().expect("material");
    material.tlog_entries[0]
        .inclusion_proof
        .as_mut()
        .expect("a proof")
        .hashes[0][0] ^= 1;
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    let jane = format!("--certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER}");
    let (_, json) = verdict(&desk, &jane);
    assert_eq!(json["error"]["entry"], 0, "{json}");
    assert_eq!(json["error"].get("timestamp"), None);

    let mut world = World::new();
    let token = world.timestamp_authority.stamp(b"other bytes", NOW, true);
    let mut bundle = world.sign_blob(b"artifact", &Signing::default());
    let material = bundle.verification_material.as_mut().expect("material");
    let stamps = material
        .timestamp_verification_data
        .as_mut()
        .expect("stamps");
    stamps.rfc3161_timestamps[0].signed_timestamp = token;
    desk.put("root.json", world.trusted_root_json());
    desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
    let (_, json) = verdict(&desk, &jane);
    assert_eq!(json["error"]["code"], "TIMESTAMP_INVALID", "{json}");
    assert_eq!(json["error"]["timestamp"], 0);
}
