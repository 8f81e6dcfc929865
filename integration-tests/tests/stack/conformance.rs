//! `sealwright-conformance`: the protocol by which the published suite drives a client, at a live instance.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sealwright_crypto::{HashAlgorithm, base64};
use sealwright_integration_tests::{
    Daemon, EMAIL, Outcome, Tool, binary, python,
    strangers::{Call, Client as _, Instance, Question, Trust, Verdict, python::Python},
};
use serde_json::{Value, json};

const TRUST: &str = "SEALWRIGHT_CONFORMANCE_TRUST";
const STAGING: &str = "SEALWRIGHT_CONFORMANCE_STAGING_TRUST";

const CONTENT: &[u8] = b"what the suite would sign";

/// An instance, and a folder with something to sign.
struct Bench {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let bench = Self {
            daemon: Daemon::fresh()?,
            dir: tempfile::tempdir()?,
        };
        fs::write(bench.path("artifact"), CONTENT)?;
        fs::write(bench.path("other"), b"something else")?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program in the folder, knowing no instance.
    fn program(&self) -> Tool {
        Tool::new(binary("sealwright-conformance"))
            .dir(self.dir.path())
            .env(TRUST, "")
            .env(STAGING, "")
    }

    /// The program, for which the suite's instance is this one.
    fn at_home(&self) -> Tool {
        self.program()
            .env(TRUST, self.daemon.client_file("trust_config.json"))
    }

    fn sign(
        &self,
        tool: Tool,
        flags: &[&str],
        bundle: &str,
        file: &str,
    ) -> anyhow::Result<Outcome> {
        tool.args(["sign-bundle"])
            .args(flags)
            .args([
                "--identity-token",
                &self.daemon.token()?,
                "--bundle",
                bundle,
                file,
            ])
            .run()
    }

    /// Asks for the signature of [`EMAIL`].
    fn verify(
        &self,
        tool: Tool,
        flags: &[&str],
        bundle: &str,
        file: &str,
    ) -> anyhow::Result<Outcome> {
        tool.args(["verify-bundle", "--bundle", bundle])
            .args(self.daemon.identity())
            .args(flags)
            .arg(file)
            .run()
    }

    fn bundle(&self, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.path(name))?)?)
    }

    /// What PyPI sigstore says, which is the suite's own judge; `None` where it is not installed.
    fn judge(&self, test: &str, bundle: &str) -> anyhow::Result<Option<Verdict>> {
        if python(test).is_none() {
            return Ok(None);
        }
        let instance = Instance::of(&self.daemon);
        let call = Call {
            instance: &instance,
            trust: Trust::Files,
            home: self.dir.path(),
        };
        let verdict = Python.verify(
            call,
            Question {
                bundle: &self.path(bundle),
                artifact: &self.path("artifact"),
                identity: EMAIL,
                issuer: &instance.issuer,
            },
        )?;
        Ok(Some(verdict))
    }
}

fn digest_of(content: &[u8]) -> String {
    format!(
        "sha256:{}",
        hex::encode(HashAlgorithm::Sha256.digest(content).as_bytes())
    )
}

/// A trusted root that PyPI sigstore brings along: `sigstore` for the public instance, `sigstage` for its staging one.
fn public_root(python: &Path, instance: &str) -> anyhow::Result<PathBuf> {
    let code = "import pathlib, sigstore; print(pathlib.Path(sigstore.__file__).parent / '_store')";
    let store = Tool::new(python).args(["-c", code]).run()?.success()?;
    let folder = format!("https%3A%2F%2Ftuf-repo-cdn.{instance}.dev");
    Ok(Path::new(store.trim())
        .join(folder)
        .join("trusted_root.json"))
}

#[test]
fn a_file_is_signed_and_verified_in_the_suites_words() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench
        .sign(bench.at_home(), &[], "bundle", "artifact")?
        .success()?;

    let bundle = bench.bundle("bundle")?;
    let material = &bundle["verificationMaterial"];
    assert!(
        bundle["messageSignature"]["signature"].is_string(),
        "{bundle}"
    );
    assert!(bundle.get("dsseEnvelope").is_none(), "{bundle}");
    assert!(
        material["certificate"]["rawBytes"].is_string(),
        "one certificate, no root: {bundle}"
    );
    assert_eq!(
        material["tlogEntries"][0]["kindVersion"],
        json!({ "kind": "hashedrekord", "version": "0.0.2" })
    );

    for file in ["artifact", &digest_of(CONTENT)] {
        let said = bench
            .verify(bench.at_home(), &[], "bundle", file)?
            .code(0)?;
        assert!(
            said.contains("Verified OK") && said.contains(EMAIL),
            "{said}"
        );
    }
    for file in ["other", &digest_of(b"something else")] {
        let said = bench
            .verify(bench.at_home(), &[], "bundle", file)?
            .code(1)?;
        assert!(said.contains("SIGNATURE_INVALID"), "{said}");
    }
    if let Some(verdict) = bench.judge("conformance: a file", "bundle")? {
        assert_eq!(verdict, Verdict::Accepted);
    }
    Ok(())
}

#[test]
fn a_statement_is_signed_byte_for_byte_and_verified_by_its_subject() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    // Spaces and line breaks are the signer's.
    let statement = serde_json::to_string_pretty(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "artifact", "digest": { "sha256": digest_of(CONTENT).trim_start_matches("sha256:") } }],
        "predicateType": "https://example.com/predicate/v1",
        "predicate": { "made": "here" },
    }))? + "\n\n";
    fs::write(bench.path("statement.json"), &statement)?;
    // No instance is known by itself, and both files are named, as one of the suite's tests does.
    let (root, config) = (
        bench
            .daemon
            .client_file("trusted_root.json")
            .display()
            .to_string(),
        bench
            .daemon
            .client_file("signing_config.json")
            .display()
            .to_string(),
    );
    let flags = [
        "--in-toto",
        "--trusted-root",
        &root,
        "--signing-config",
        &config,
    ];
    bench
        .sign(bench.program(), &flags, "bundle", "statement.json")?
        .success()?;

    let bundle = bench.bundle("bundle")?;
    let envelope = &bundle["dsseEnvelope"];
    let payload = base64::decode(envelope["payload"].as_str().unwrap_or_default())?;
    assert_eq!(String::from_utf8(payload)?, statement);
    assert_eq!(envelope["signatures"].as_array().map(Vec::len), Some(1));

    let trusted = ["--trusted-root", &root];
    for file in ["artifact", &digest_of(CONTENT)] {
        bench
            .verify(bench.program(), &trusted, "bundle", file)?
            .success()?;
    }
    let said = bench
        .verify(bench.program(), &trusted, "bundle", "other")?
        .code(1)?;
    assert!(said.contains("SUBJECT"), "no subject is that file: {said}");
    if let Some(verdict) = bench.judge("conformance: a statement", "bundle")? {
        assert_eq!(verdict, Verdict::Accepted);
    }

    fs::write(bench.path("statement.json"), b"{}")?;
    let refused = bench
        .sign(bench.program(), &flags, "nothing", "statement.json")?
        .failure()?;
    assert!(refused.contains("STATEMENT"), "{refused}");
    assert!(!bench.path("nothing").exists());
    Ok(())
}

#[test]
fn only_the_identity_that_was_named_will_do() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench
        .sign(bench.at_home(), &[], "bundle", "artifact")?
        .success()?;
    let issuer = bench.daemon.endpoints().oidc.clone();
    for (identity, issuer, code) in [
        ("joe@example.com", issuer.as_str(), "IDENTITY_MISMATCH"),
        ("dev@example.co", &issuer, "IDENTITY_MISMATCH"),
        (".*", &issuer, "IDENTITY_MISMATCH"),
        (EMAIL, "https://elsewhere.example.com", "ISSUER_MISMATCH"),
        ("", &issuer, "POLICY_INVALID"),
    ] {
        let said = bench
            .at_home()
            .args(["verify-bundle", "--bundle", "bundle"])
            .args([
                "--certificate-identity",
                identity,
                "--certificate-oidc-issuer",
                issuer,
            ])
            .arg("artifact")
            .run()?
            .failure()?;
        assert!(said.contains(code), "{identity:?} at {issuer}: {said}");
    }
    Ok(())
}

#[test]
fn a_key_stands_instead_of_an_identity() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    for name in ["own", "another"] {
        let (key, public) = (format!("{name}.pem"), format!("{name}.pub"));
        for args in [
            [
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                &key,
            ]
            .as_slice(),
            &["pkey", "-in", &key, "-pubout", "-out", &public],
        ] {
            Tool::new("openssl")
                .args(args)
                .dir(bench.dir.path())
                .run()?
                .success()?;
        }
    }
    Tool::sealwright()
        .args(["sign-blob", "--key", "own.pem", "--bundle", "keyed"])
        .args(bench.daemon.trust())
        .arg("artifact")
        .dir(bench.dir.path())
        .run()?
        .success()?;
    bench
        .sign(bench.at_home(), &[], "keyless", "artifact")?
        .success()?;
    fs::write(
        bench.path("broken.pub"),
        fs::read_to_string(bench.path("own.pub"))?.replace("MFkw", "MFk"),
    )?;
    let digest = digest_of(CONTENT);
    for (bundle, key, file, exit, code) in [
        ("keyed", "own.pub", "artifact", 0, "Verified OK"),
        ("keyed", "own.pub", &digest, 0, "Verified OK"),
        ("keyed", "own.pub", "other", 1, "SIGNATURE_INVALID"),
        ("keyed", "another.pub", "artifact", 1, "KEY_MISMATCH"),
        ("keyed", "broken.pub", "artifact", 2, "INPUT_INVALID"),
        ("keyed", "absent.pub", "artifact", 2, "absent.pub"),
        ("keyless", "own.pub", "artifact", 1, "SIGNER_KIND_MISMATCH"),
    ] {
        let outcome = bench
            .at_home()
            .args(["verify-bundle", "--bundle", bundle, "--key", key, file])
            .run()?;
        let said = outcome.code(exit)?;
        assert!(said.contains(code), "{bundle} with {key}: {said}");
    }
    let said = bench
        .verify(bench.at_home(), &[], "keyed", "artifact")?
        .code(1)?;
    assert!(
        said.contains("SIGNER_KIND_MISMATCH"),
        "no key was named: {said}"
    );
    Ok(())
}

#[test]
fn the_suites_instances_are_what_the_variables_name() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    for (flags, variable) in [(&[][..], TRUST), (&["--staging"][..], STAGING)] {
        for outcome in [
            bench.sign(bench.program(), flags, "bundle", "artifact")?,
            bench.verify(bench.program(), flags, "bundle", "artifact")?,
        ] {
            let said = outcome.code(3)?;
            assert!(said.contains(&format!("{variable} is not set")), "{said}");
        }
    }
    let (root, both) = (
        bench.daemon.client_file("trusted_root.json"),
        bench.daemon.client_file("trust_config.json"),
    );
    let staging = |file: &Path| bench.program().env(STAGING, file);
    bench
        .sign(staging(&both), &["--staging"], "bundle", "artifact")?
        .success()?;
    bench
        .verify(staging(&both), &["--staging"], "bundle", "artifact")?
        .success()?;
    bench
        .verify(staging(&root), &["--staging"], "bundle", "artifact")?
        .success()?;
    let said = bench
        .verify(staging(&root), &[], "bundle", "artifact")?
        .code(3)?;
    assert!(
        said.contains(TRUST),
        "the other instance stays unknown: {said}"
    );

    // A trusted root alone does not say where to sign, until a flag does.
    let alone = || bench.program().env(TRUST, &root);
    let said = bench.sign(alone(), &[], "again", "artifact")?.code(3)?;
    assert!(said.contains("sign"), "{said}");
    let config = bench
        .daemon
        .client_file("signing_config.json")
        .display()
        .to_string();
    bench
        .sign(alone(), &["--signing-config", &config], "again", "artifact")?
        .success()?;
    Ok(())
}

#[test]
fn a_bundle_of_one_instance_is_nothing_to_another() -> anyhow::Result<()> {
    let Some(python) = python("conformance: the public instances") else {
        return Ok(());
    };
    let bench = Bench::new()?;
    bench
        .sign(bench.at_home(), &[], "bundle", "artifact")?
        .success()?;
    let own = bench
        .daemon
        .client_file("trusted_root.json")
        .display()
        .to_string();
    for instance in ["sigstore", "sigstage"] {
        let public = public_root(&python, instance)?;
        let abroad = || bench.program().env(TRUST, &public);
        let said = bench.verify(abroad(), &[], "bundle", "artifact")?.code(1)?;
        assert!(said.contains("TIMESTAMP_UNTRUSTED"), "{instance}: {said}");
        // A trusted root that is named outweighs the instance's.
        bench
            .verify(abroad(), &["--trusted-root", &own], "bundle", "artifact")?
            .success()?;
    }
    Ok(())
}

#[test]
fn what_has_the_shape_of_a_digest_is_one_whatever_files_there_are() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench
        .sign(bench.at_home(), &[], "bundle", "artifact")?
        .success()?;
    // Whoever asks about a digest gets no answer about a file that somebody gave its name.
    let name = digest_of(b"something else");
    fs::write(bench.path(&name), CONTENT)?;
    bench
        .verify(bench.at_home(), &[], "bundle", &name)?
        .code(1)?;
    bench
        .verify(bench.at_home(), &[], "bundle", &format!("./{name}"))?
        .success()?;
    for name in [
        "sha256:00",
        "sha256:",
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "absent",
    ] {
        let said = bench
            .verify(bench.at_home(), &[], "bundle", name)?
            .code(2)?;
        assert!(
            said.contains(name) && said.contains("No such file"),
            "{name}: {said}"
        );
    }
    Ok(())
}

#[test]
fn what_cannot_be_used_is_named_and_nothing_is_overwritten() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let said = bench
        .sign(bench.at_home(), &[], "artifact", "artifact")?
        .code(2)?;
    assert!(said.contains("--bundle artifact"), "{said}");
    assert_eq!(fs::read(bench.path("artifact"))?, CONTENT);

    let expired = bench
        .daemon
        .token_with(&["--email", EMAIL, "--ttl", "-60"])?;
    for (token, exit) in [
        (expired.as_str(), 1),
        (&expired[..expired.len() / 2], 1),
        ("no token", 2),
    ] {
        let said = bench
            .at_home()
            .args([
                "sign-bundle",
                "--identity-token",
                token,
                "--bundle",
                "bundle",
                "artifact",
            ])
            .run()?
            .code(exit)?;
        assert!(
            !said.contains(&expired[..40]),
            "the token was printed: {said}"
        );
        assert!(!bench.path("bundle").exists());
    }

    fs::write(bench.path("bundle"), b"{\"mediaType\":")?;
    let said = bench
        .verify(bench.at_home(), &[], "bundle", "artifact")?
        .code(1)?;
    assert!(said.contains("BUNDLE_MALFORMED"), "{said}");
    let said = bench
        .verify(bench.at_home(), &[], "absent", "artifact")?
        .code(2)?;
    assert!(said.contains("absent"), "{said}");
    for line in [
        &["verify-bundle", "--bundle", "bundle", "artifact"][..],
        &[
            "verify-bundle",
            "--bundle",
            "bundle",
            "--key",
            "k",
            "--certificate-identity",
            "i",
            "artifact",
        ],
        &["sign-bundle", "--bundle", "bundle", "artifact"],
        &["sign", "artifact"],
        &[],
    ] {
        bench.at_home().args(line).run()?.code(2)?;
    }
    Ok(())
}
