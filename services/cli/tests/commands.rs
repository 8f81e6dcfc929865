//! The program as a script sees it: exit codes, standard output, standard error.

mod verification;

use std::process::{Command, Stdio};

use sealwright_sdk::crypto::HashAlgorithm;
use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, Signing, World, statement};
use serde_json::Value;

/// A directory with trust material, artifacts and bundles, in which the program runs without any environment.
struct Desk {
    dir: tempfile::TempDir,
    world: World,
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            dir: tempfile::tempdir().expect("a directory"),
            world: World::new(),
        };
        desk.put("root.json", desk.world.trusted_root_json());
        desk.put("artifact", "artifact");
        desk.put("changed", "artifact!");
        desk
    }

    fn with_signature() -> Self {
        let mut desk = Self::new();
        let bundle = desk.world.sign_blob(b"artifact", &Signing::default());
        desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
        desk
    }

    fn with_attestation(predicate_type: &str) -> Self {
        let mut desk = Self::new();
        let statement = statement(b"artifact", predicate_type);
        let bundle = desk.world.sign_statement(&statement, &Signing::default());
        desk.put("bundle.json", serde_json::to_string(&bundle).expect("JSON"));
        desk
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), text).expect("it is written");
    }

    fn run(&self, line: &str) -> Outcome {
        self.run_with(line, &[])
    }

    fn run_with(&self, line: &str, environment: &[(&str, &str)]) -> Outcome {
        let output = Command::new(env!("CARGO_BIN_EXE_sealwright"))
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env_clear()
            .env("SEALWRIGHT_HOME", self.dir.path().join("home"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        Outcome {
            code: output.status.code().expect("it was not killed"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.stdout))
    }
}

fn by_jane() -> String {
    format!(
        "--trusted-root root.json --bundle bundle.json --certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER}"
    )
}

#[test]
fn a_good_signature_is_verified_in_words_and_in_json() {
    let desk = Desk::with_signature();
    let words = desk.run(&format!("verify-blob artifact {}", by_jane()));
    assert_eq!(
        (words.code, words.stdout.as_str()),
        (0, ""),
        "{}",
        words.stderr
    );
    assert!(
        words.stderr.starts_with("Verified OK\n") && words.stderr.contains(EMAIL),
        "{}",
        words.stderr
    );
    let json = desk.run(&format!("verify-blob artifact {} --output json", by_jane()));
    assert_eq!((json.code, json.stderr.as_str()), (0, ""));
    let json = json.json();
    assert_eq!(json["verified"], true);
    assert_eq!(json["signer"]["subject"], EMAIL);
    assert_eq!(json["signer"]["issuer"], ISSUER);
    assert_eq!(json["file"], "artifact");
}

#[test]
fn a_digest_can_stand_for_the_file() {
    let desk = Desk::with_signature();
    let digest = "sha256:c7c5c1d70c5dec4416ab6158afd0b223ef40c29b1dc1f97ed9428b94d4cadb1c";
    assert_eq!(
        desk.run(&format!("verify-blob {digest} {}", by_jane()))
            .code,
        0
    );
}

/// Whoever can put a file into the working directory must not choose what a digest stands for.
#[test]
fn a_file_with_the_name_of_a_digest_does_not_stand_for_it() {
    let desk = Desk::with_signature();
    let changed = HashAlgorithm::Sha256.digest(b"artifact!").to_string();
    desk.put(&changed, "artifact");
    let asked = desk.run(&format!("verify-blob {changed} {}", by_jane()));
    assert_eq!(asked.code, 1, "{}", asked.stderr);
    let file = desk.run(&format!("verify-blob ./{changed} {}", by_jane()));
    assert_eq!(file.code, 0, "{}", file.stderr);
}

/// A full disk or a closed pipe must not turn an answer into a crash.
#[test]
fn an_answer_that_cannot_be_printed_is_still_an_exit_code() {
    let desk = Desk::with_signature();
    let good = format!("verify-blob artifact {}", by_jane());
    let json = format!("{good} --output json");
    let bad = format!("verify-blob changed {}", by_jane());
    for (line, out, err, expected) in [
        (good.as_str(), false, true, 0),
        (&format!("{good} --verbose"), true, true, 0),
        (&bad, true, true, 1),
        (&json, true, true, 3),
        ("verify-blob", false, true, 2),
        ("--help", true, true, 3),
    ] {
        let stream = |full: bool| match full {
            true => Stdio::from(std::fs::File::create("/dev/full").expect("a full device")),
            false => Stdio::null(),
        };
        let status = Command::new(env!("CARGO_BIN_EXE_sealwright"))
            .args(line.split_whitespace())
            .current_dir(desk.dir.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(stream(out))
            .stderr(stream(err))
            .status()
            .expect("the program runs");
        assert_eq!(status.code(), Some(expected), "{line}");
    }
}

#[test]
fn a_refusal_says_code_and_step_and_exits_1() {
    let desk = Desk::with_signature();
    let changed = desk.run(&format!("verify-blob changed {}", by_jane()));
    assert_eq!(changed.code, 1);
    assert!(
        changed.stderr.contains("refused at step"),
        "{}",
        changed.stderr
    );
    let json = desk.run(&format!("verify-blob changed {} --output json", by_jane()));
    assert_eq!((json.code, json.stderr.as_str()), (1, ""));
    assert_eq!(json.json()["verified"], false);
    assert!(json.json()["error"]["code"].is_string() && json.json()["error"]["step"].is_string());

    for (flags, code) in [
        (
            format!(
                "--certificate-identity mallory@example.com --certificate-oidc-issuer {ISSUER}"
            ),
            "IDENTITY_MISMATCH",
        ),
        (
            format!("--certificate-identity {EMAIL} --certificate-oidc-issuer https://evil.test"),
            "ISSUER_MISMATCH",
        ),
        (
            format!("--certificate-identity-regexp example --certificate-oidc-issuer {ISSUER}"),
            "IDENTITY_MISMATCH",
        ),
    ] {
        let refused = desk.run(&format!(
            "verify-blob artifact --trusted-root root.json --bundle bundle.json {flags} -o json"
        ));
        assert_eq!(
            (refused.code, refused.json()["error"]["code"].as_str()),
            (1, Some(code)),
            "{flags}"
        );
    }
    let regexp = "--certificate-identity-regexp .*@example\\.com --certificate-oidc-issuer-regexp https://.*";
    assert_eq!(
        desk.run(&format!(
            "verify-blob artifact --trusted-root root.json --bundle bundle.json {regexp}"
        ))
        .code,
        0
    );
}

#[test]
fn an_attestation_is_no_signature_and_has_to_be_of_the_type_asked_for() {
    let desk = Desk::with_attestation("https://example.com/p/v1");
    let code = |line: &str| desk.run(&format!("{line} artifact {}", by_jane())).code;
    assert_eq!(code("verify-blob"), 1);
    assert_eq!(code("verify-blob-attestation"), 1);
    assert_eq!(
        code("verify-blob-attestation --type https://example.com/p/v2"),
        1
    );
    assert_eq!(
        code("verify-blob-attestation --type https://example.com/p/v1"),
        0
    );
    assert_eq!(code("verify-blob-attestation --type slsa"), 2);
    let any = desk.run(&format!(
        "verify-blob-attestation artifact {} --any-type -o json",
        by_jane()
    ));
    assert_eq!(
        (any.code, any.json()["predicateType"].as_str()),
        (0, Some("https://example.com/p/v1"))
    );
    let words = desk.run(&format!(
        "verify-blob-attestation artifact {} --any-type",
        by_jane()
    ));
    assert!(
        words.stderr.contains("https://example.com/p/v1"),
        "{}",
        words.stderr
    );

    let custom = Desk::with_attestation("https://cosign.sigstore.dev/attestation/v1");
    assert_eq!(
        custom
            .run(&format!("verify-blob-attestation artifact {}", by_jane()))
            .code,
        0
    );
    let signature = Desk::with_attestation("https://sigstore.dev/cosign/sign/v1");
    assert_eq!(
        signature
            .run(&format!("verify-blob artifact {}", by_jane()))
            .code,
        0
    );
}

#[test]
fn questions_put_wrongly_exit_2_and_name_what_is_wrong() {
    let desk = Desk::with_signature();
    let identity = format!("--certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER}");
    for (line, expected) in [
        ("frobnicate".into(), "frobnicate"),
        (
            "verify-blob artifact --bundle bundle.json".into(),
            "--certificate-identity",
        ),
        (format!("verify-blob missing {}", by_jane()), "missing"),
        (
            format!(
                "verify-blob artifact --trusted-root root.json --bundle nowhere.json {identity}"
            ),
            "nowhere.json",
        ),
        (
            "verify-blob artifact --trusted-root root.json --bundle bundle.json --key artifact"
                .into(),
            "--key artifact",
        ),
        (
            format!("verify-blob artifact {} --timeout never", by_jane()),
            "never",
        ),
        (
            "sign-blob artifact --trusted-root root.json".into(),
            "SIGSTORE_ID_TOKEN",
        ),
        (
            "sign-blob missing --identity-token a --trusted-root root.json".into(),
            "missing",
        ),
        (
            "sign-blob artifact changed --bundle one.json --identity-token a".into(),
            "one.json",
        ),
    ] {
        let outcome = desk.run(&line);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (2, ""),
            "{line}: {}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains(expected),
            "{line}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn a_bundle_never_replaces_what_is_signed_nor_another_bundle() {
    let desk = Desk::new();
    let path = |name: &str| desk.dir.path().join(name);
    for folder in ["a", "b", "into"] {
        std::fs::create_dir(path(folder)).expect("it is made");
    }
    desk.put("a/x", "one");
    desk.put("b/x", "two");
    std::os::unix::fs::symlink("artifact", path("link")).expect("it is made");
    let rest = "--identity-token a --trusted-root root.json";
    for (line, expected) in [
        ("sign-blob artifact --bundle artifact", "would replace"),
        (
            "sign-blob artifact --bundle ./a/../artifact",
            "would replace",
        ),
        ("sign-blob link --bundle artifact", "would replace"),
        ("sign-blob artifact --bundle link", "would replace"),
        ("sign-blob a/x b/x --bundle into", "same name"),
        (
            "attest-blob --statement artifact --bundle artifact",
            "would replace",
        ),
        (
            "attest-blob changed --predicate artifact --bundle changed",
            "would replace",
        ),
    ] {
        let outcome = desk.run(&format!("{line} {rest}"));
        assert!(
            outcome.code == 2 && outcome.stderr.contains(expected),
            "{line}: {} {}",
            outcome.code,
            outcome.stderr
        );
    }
    assert_eq!(
        std::fs::read(path("artifact")).expect("it is there"),
        b"artifact"
    );
}

#[test]
fn an_endless_file_is_refused_where_a_short_one_belongs() {
    let desk = Desk::with_signature();
    let out = "--bundle out.json --trusted-root root.json";
    for line in [
        format!("sign-blob /dev/zero --identity-token a {out}"),
        format!("verify-blob /dev/zero {}", by_jane()),
        "token --issuer http://127.0.0.1:1/oidc --claims /dev/zero".to_owned(),
        "certificate --csr /dev/zero --identity-token a --trusted-root root.json".to_owned(),
        format!("attest-blob --statement /dev/zero --identity-token a {out}"),
        format!("attest-blob artifact --predicate /dev/zero --identity-token a {out}"),
        format!("sign-blob artifact --key /dev/zero {out}"),
        format!("verify-blob artifact --key /dev/zero {out}"),
        "trust init http://127.0.0.1:1/tuf --root /dev/zero".to_owned(),
    ] {
        let outcome = desk.run(&line);
        assert!(
            outcome.code == 2 && outcome.stderr.contains("a device, not a regular file"),
            "{line}: {} {}",
            outcome.code,
            outcome.stderr
        );
    }
}

#[test]
fn a_usage_error_is_json_too_for_who_asked_for_json() {
    let desk = Desk::with_signature();
    for flag in ["-o json", "--output json", "--output=json"] {
        let outcome = desk.run(&format!("verify-blob artifact {flag}"));
        assert_eq!(
            (outcome.code, outcome.json()["error"]["code"].as_str()),
            (2, Some("USAGE")),
            "{flag}"
        );
    }
}

#[test]
fn an_artifact_can_come_through_a_pipe() {
    let desk = Desk::with_signature();
    let program = env!("CARGO_BIN_EXE_sealwright");
    for (line, expected) in [("printf artifact", 0), ("printf artifacts", 1)] {
        let script = format!("{line} | {program} verify-blob - {}", by_jane());
        let status = Command::new("sh")
            .args(["-c", &script])
            .current_dir(desk.dir.path())
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.expect("it runs").code(), Some(expected), "{line}");
    }
}

#[test]
fn what_cannot_be_told_exits_3() {
    let desk = Desk::with_signature();
    let identity = format!("--certificate-identity {EMAIL} --certificate-oidc-issuer {ISSUER}");
    desk.put("damaged.json", "{}");
    for (trust, expected) in [
        ("", "trust init"),
        (
            "--profile corp",
            "trust init URL --root FILE --profile corp",
        ),
        ("--trusted-root nowhere.json", "nowhere.json"),
        ("--trusted-root damaged.json", "damaged.json"),
        ("--trust-config root.json", "clienttrustconfig"),
    ] {
        let outcome = desk.run(&format!(
            "verify-blob artifact --bundle bundle.json {identity} {trust}"
        ));
        assert_eq!(outcome.code, 3, "{trust}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(expected),
            "{trust}: {}",
            outcome.stderr
        );
    }
    let nobody = desk.run("token --issuer http://127.0.0.1:1/oidc --email a@b");
    assert_eq!((nobody.code, nobody.stdout.as_str()), (3, ""));
    assert!(
        nobody.stderr.contains("http://127.0.0.1:1/oidc"),
        "{}",
        nobody.stderr
    );
}

#[test]
fn a_malformed_bundle_is_refused() {
    let desk = Desk::with_signature();
    for text in [
        "",
        "{}",
        "[]",
        "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.4+json\"}",
    ] {
        desk.put("bundle.json", text);
        assert_eq!(
            desk.run(&format!("verify-blob artifact {}", by_jane()))
                .code,
            1,
            "{text:?}"
        );
    }
}

#[test]
fn a_token_is_never_echoed() {
    let desk = Desk::new();
    // An ES256 token that has expired, and one that was damaged on the way.
    let payload = "eyJpc3MiOiJodHRwczovL2kudGVzdCIsImF1ZCI6InNpZ3N0b3JlIiwic3ViIjoicyIsImV4cCI6MX0";
    let expired = format!("eyJhbGciOiJFUzI1NiJ9.{payload}.c2VjcmV0LXNpZ25hdHVyZQ");
    for token in [expired.as_str(), &expired[..60]] {
        for output in ["text", "json"] {
            let line = format!(
                "sign-blob artifact --trusted-root root.json --identity-token {token} -o {output} -d"
            );
            let outcome = desk.run(&line);
            assert_ne!(outcome.code, 0);
            assert!(
                !format!("{}{}", outcome.stdout, outcome.stderr).contains(&token[..40]),
                "{}",
                outcome.stderr
            );
            for misplaced in [
                "sign-blob",
                "sign-blob artifact",
                "verify-blob artifact",
                "frobnicate",
                "--timeout",
            ] {
                let outcome = desk.run(&format!("{misplaced} {token} --trusted-root root.json"));
                assert!(!outcome.stderr.contains(&token[..40]), "{}", outcome.stderr);
            }
            let outcome = desk.run_with(
                "sign-blob artifact --trusted-root root.json",
                &[("SIGSTORE_ID_TOKEN", token)],
            );
            assert!(!outcome.stderr.contains(&token[..40]), "{}", outcome.stderr);
        }
    }
}

#[test]
fn a_bundle_does_not_write_to_the_terminal_in_our_name() {
    let desk = Desk::with_signature();
    let good = std::fs::read_to_string(desk.dir.path().join("bundle.json")).expect("it is there");
    let forged = "\\u001b[2K\\nVerified OK\\u202e";
    for bundle in [
        good.replacen('{', &format!("{{\"{forged}\":1,"), 1),
        good.replacen("\"mediaType\":\"", &format!("\"mediaType\":\"{forged}"), 1),
    ] {
        desk.put("bundle.json", bundle);
        let inspect = "bundle inspect bundle.json".to_owned();
        for line in [format!("verify-blob artifact {}", by_jane()), inspect] {
            let outcome = desk.run(&line);
            let said = outcome.stderr + &outcome.stdout;
            assert_eq!(outcome.code, 1, "{line}: {said}");
            assert!(said.contains("Verified OK"), "{line}: {said}");
            assert!(
                !said.contains(['\u{1b}', '\u{202e}']) && !said.contains("\nVerified OK"),
                "{line}: {said}"
            );
        }
    }
}

#[test]
fn a_bundle_can_be_looked_at() {
    let desk = Desk::with_signature();
    let words = desk.run("bundle inspect bundle.json");
    assert_eq!(words.code, 0);
    assert!(
        words.stdout.contains("Nothing here has been verified") && words.stdout.contains(EMAIL),
        "{}",
        words.stdout
    );
    let json = desk.run("bundle inspect bundle.json --output json").json();
    assert_eq!(json["verified"], false);
    assert_eq!(json["signer"]["identityIssuer"], ISSUER);
    assert_eq!(json["logEntries"][0]["kind"], "hashedrekord");
    assert_eq!(json["timestamps"].as_array().map(Vec::len), Some(1));
}

#[test]
fn version_and_completion_are_printed() {
    let desk = Desk::new();
    assert!(desk.run("version").stdout.starts_with("sealwright "));
    assert_eq!(desk.run("version -o json").json()["name"], "sealwright");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            desk.run(&format!("completion {shell}"))
                .stdout
                .contains("verify-blob"),
            "{shell}"
        );
    }
    assert_eq!(desk.run("--help").code, 0);
}
