//! Published clients, unchanged, against a running stack: the PyPI `sigstore` and `tuf` packages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sealwright_crypto::HashAlgorithm;
use sealwright_integration_tests::{Daemon, EMAIL, Outcome, Tool, artifact, python};

const PROVENANCE: &str = r#"{
  "buildDefinition": {"buildType": "https://example.com/build/v1", "externalParameters": {"target": "all"}},
  "runDetails": {"builder": {"id": "https://example.com/builder"}}
}"#;

/// The PyPI client, in a home of its own so that nothing is shared between tests.
struct Python {
    program: PathBuf,
    home: tempfile::TempDir,
    trust: Vec<String>,
}

impl Python {
    fn with_trust_config(test: &str, daemon: &Daemon) -> Option<Self> {
        let trust = daemon.trust().to_vec();
        Some(Self {
            program: python(test)?,
            home: tempfile::tempdir().expect("a scratch home"),
            trust,
        })
    }

    /// Bootstraps from the TUF repository, as `trust-instance` of the package does.
    fn with_tuf(test: &str, daemon: &Daemon) -> anyhow::Result<Option<Self>> {
        let trust = vec![
            "--instance".to_owned(),
            daemon.endpoints().tuf.trim_end_matches('/').to_owned(),
        ];
        let Some(program) = python(test) else {
            return Ok(None);
        };
        let client = Self {
            program,
            home: tempfile::tempdir()?,
            trust,
        };
        client
            .tool()
            .arg("trust-instance")
            .arg(daemon.client_file("root.json"))
            .run()?
            .success()?;
        Ok(Some(client))
    }

    fn tool(&self) -> Tool {
        Tool::new(&self.program)
            .args(["-m", "sigstore"])
            .args(&self.trust)
            .env("HOME", self.home.path())
            .env("XDG_DATA_HOME", self.home.path().join("data"))
            .env("XDG_CACHE_HOME", self.home.path().join("cache"))
            .env("SIGSTORE_IDENTITY_TOKEN", "")
    }

    fn sign(&self, token: &str, file: &Path) -> anyhow::Result<PathBuf> {
        let bundle = file.with_extension("python.json");
        let tool = self
            .tool()
            .args(["sign", "--overwrite", "--identity-token", token, "--bundle"]);
        tool.arg(&bundle).arg(file).run()?.success()?;
        Ok(bundle)
    }

    fn attest(&self, token: &str, file: &Path) -> anyhow::Result<PathBuf> {
        let bundle = file.with_extension("python-attestation.json");
        let predicate = file.with_extension("predicate.json");
        fs::write(&predicate, PROVENANCE)?;
        let tool = self
            .tool()
            .args(["attest", "--overwrite", "--identity-token", token]);
        let tool = tool.args([
            "--predicate-type",
            "https://slsa.dev/provenance/v1",
            "--predicate",
        ]);
        tool.arg(predicate)
            .arg("--bundle")
            .arg(&bundle)
            .arg(file)
            .run()?
            .success()?;
        Ok(bundle)
    }

    fn verify(&self, issuer: &str, file: &Path, bundle: &Path) -> anyhow::Result<Outcome> {
        let tool = self
            .tool()
            .args(["verify", "identity", "--offline", "--bundle"])
            .arg(bundle);
        tool.args(["--cert-identity", EMAIL, "--cert-oidc-issuer", issuer])
            .arg(file)
            .run()
    }
}

fn our_attestation(daemon: &Daemon, file: &Path) -> anyhow::Result<PathBuf> {
    let digest = HashAlgorithm::Sha256.digest(&fs::read(file)?);
    let statement = file.with_extension("statement.json");
    let predicate: serde_json::Value = serde_json::from_str(PROVENANCE)?;
    let content = serde_json::json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artifact", "digest": {"sha256": hex::encode(digest.as_bytes())}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": predicate,
    });
    fs::write(&statement, content.to_string())?;
    let bundle = file.with_extension("attestation.json");
    let token = daemon.token()?;
    Tool::sealwright()
        .args(["attest-blob", "--identity-token", "-", "--statement"])
        .arg(&statement)
        .arg("--bundle")
        .arg(&bundle)
        .args(daemon.trust())
        .run_with_input(token.as_bytes())?
        .success()?;
    Ok(bundle)
}

fn verify_our_attestation(daemon: &Daemon, file: &Path, bundle: &Path) -> anyhow::Result<Outcome> {
    Tool::sealwright()
        .args([
            "verify-blob-attestation",
            "--type",
            "slsaprovenance1",
            "--output",
            "json",
            "--bundle",
        ])
        .arg(bundle)
        .args(daemon.trust())
        .args(daemon.identity())
        .arg(file)
        .run()
}

fn everyone_verifies_everyone(daemon: &Daemon, client: &Python) -> anyhow::Result<()> {
    let issuer = &daemon.endpoints().oidc;
    let (_dir, file) = artifact(b"signed by two, verified by two")?;
    let theirs = client.sign(&daemon.token()?, &file)?;
    let ours = daemon.sign(&file)?;
    for bundle in [&theirs, &ours] {
        client.verify(issuer, &file, bundle)?.success()?;
        let verdict: serde_json::Value =
            serde_json::from_str(&daemon.verify(&file, bundle)?.success()?)?;
        assert!(
            verdict.to_string().contains(EMAIL),
            "the verdict names the signer: {verdict}"
        );
    }

    let theirs = client.attest(&daemon.token()?, &file)?;
    let ours = our_attestation(daemon, &file)?;
    for bundle in [&theirs, &ours] {
        client.verify(issuer, &file, bundle)?.success()?;
        verify_our_attestation(daemon, &file, bundle)?.success()?;
    }

    fs::write(&file, b"another file")?;
    for bundle in [&theirs, &ours] {
        client.verify(issuer, &file, bundle)?.failure()?;
        verify_our_attestation(daemon, &file, bundle)?.code(1)?;
    }
    Ok(())
}

#[test]
fn python_and_we_verify_each_other_with_a_trust_config() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    match Python::with_trust_config(
        "python_and_we_verify_each_other_with_a_trust_config",
        &daemon,
    ) {
        Some(client) => everyone_verifies_everyone(&daemon, &client),
        None => Ok(()),
    }
}

#[test]
fn python_bootstraps_from_our_tuf_repository() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    match Python::with_tuf("python_bootstraps_from_our_tuf_repository", &daemon)? {
        Some(client) => everyone_verifies_everyone(&daemon, &client),
        None => Ok(()),
    }
}

#[test]
fn we_bootstrap_from_our_tuf_repository() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let home = tempfile::tempdir()?;
    let tool = || {
        Tool::sealwright()
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path().join("c"))
            .env("XDG_DATA_HOME", home.path().join("d"))
            .env("XDG_CACHE_HOME", home.path().join("k"))
    };
    tool()
        .args([
            "trust",
            "init",
            &daemon.endpoints().tuf,
            "--profile",
            "test",
            "--root",
        ])
        .arg(daemon.client_file("root.json"))
        .run()?
        .success()?;
    let (_dir, file) = artifact(b"signed through a profile")?;
    let bundle = file.with_extension("sigstore.json");
    tool()
        .args([
            "sign-blob",
            "--profile",
            "test",
            "--identity-token",
            "-",
            "--bundle",
        ])
        .arg(&bundle)
        .arg(&file)
        .run_with_input(daemon.token()?.as_bytes())?
        .success()?;
    tool()
        .args(["verify-blob", "--profile", "test", "--bundle"])
        .arg(&bundle)
        .args(daemon.identity())
        .arg(&file)
        .run()?
        .success()?;
    Ok(())
}

#[test]
fn python_tuf_reads_the_repository() -> anyhow::Result<()> {
    const SCRIPT: &str = r#"
import sys, os, tempfile
from tuf.ngclient import Updater
base, root, out = sys.argv[1:4]
metadata = os.path.join(out, "metadata"); targets = os.path.join(out, "targets")
os.makedirs(metadata); os.makedirs(targets)
updater = Updater(metadata, base, targets, base + "targets/", bootstrap=open(root, "rb").read())
updater.refresh()
for name in sys.argv[4:]:
    info = updater.get_targetinfo(name)
    assert info is not None, name
    print(name, open(updater.download_target(info), "rb").read().decode()[:60].replace("\n", " "))
"#;
    let Some(python) = python("python_tuf_reads_the_repository") else {
        return Ok(());
    };
    let daemon = Daemon::fresh()?;
    let out = tempfile::tempdir()?;
    let base = format!("{}/", daemon.endpoints().tuf.trim_end_matches('/'));
    let shown = Tool::new(python)
        .args(["-c", SCRIPT, &base])
        .arg(daemon.client_file("root.json"))
        .arg(out.path().join("store"))
        .args(["trusted_root.json", "signing_config.v0.2.json"])
        .run()?
        .success()?;
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let json = |path: &Path| -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    };
    let downloaded = json(&out.path().join("store/targets/trusted_root.json"))?;
    assert_eq!(downloaded, json(&daemon.client_file("trusted_root.json"))?);
    Ok(())
}
