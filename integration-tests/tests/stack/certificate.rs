//! `sealwright certificate`: a short-lived certificate for tools that sign by themselves.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sealwright_integration_tests::{Daemon, EMAIL, Outcome, Tool};
use serde_json::Value;

fn openssl() -> Tool {
    Tool::new("openssl")
}

/// Somebody with a token who wants certificates.
struct Desk {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            daemon: Daemon::fresh()?,
            dir: tempfile::tempdir()?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn certificate(&self, args: &[&str], token: &str) -> anyhow::Result<Outcome> {
        Tool::sealwright()
            .args(["certificate", "--output", "json", "--identity-token", "-"])
            .args(self.daemon.trust())
            .args(args)
            .dir(self.dir.path())
            .run_with_input(token.as_bytes())
    }

    fn issued(&self, args: &[&str]) -> anyhow::Result<Value> {
        let stdout = self.certificate(args, &self.daemon.token()?)?.success()?;
        Ok(serde_json::from_str(&stdout)?)
    }

    fn trusted_root(&self) -> anyhow::Result<Value> {
        let file = self.daemon.client_file("trusted_root.json");
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// The anchor of the certificate authority, as PEM, for who verifies.
    fn anchor(&self) -> anyhow::Result<PathBuf> {
        let root = self.trusted_root()?;
        let chain = root["certificateAuthorities"][0]["certChain"]["certificates"].as_array();
        let last = chain.and_then(|chain| chain.last()).expect("a chain");
        let der = sealwright_crypto::base64::decode(last["rawBytes"].as_str().expect("bytes"))?;
        fs::write(self.path("anchor.der"), der)?;
        let (anchor, pem) = (self.path("anchor.der"), self.path("anchor.pem"));
        openssl()
            .args(["x509", "-inform", "DER", "-in"])
            .arg(anchor)
            .arg("-out")
            .arg(&pem)
            .run()?
            .success()?;
        Ok(pem)
    }
}

fn blocks(pem: &str) -> usize {
    pem.matches("-----BEGIN CERTIFICATE-----").count()
}

fn mode(path: &Path) -> anyhow::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn openssl_signs_with_it_and_others_verify_at_that_time() -> anyhow::Result<()> {
    let desk = Desk::new()?;
    let issued = desk.issued(&[
        "--key",
        "key.pem",
        "--out",
        "chain.pem",
        "--chain-out",
        "issuers.pem",
    ])?;
    assert_eq!(issued["identity"], EMAIL);
    assert_eq!(issued["issuer"], desk.daemon.endpoints().oidc.as_str());
    assert_eq!(
        (&issued["keyMade"], &issued["tokenSource"]),
        (&true.into(), &"stdin".into())
    );
    let logs = issued["certificateLogs"]
        .as_array()
        .expect("certificate logs");
    assert_eq!(logs.len(), 1, "a verified promise: {issued}");
    assert_eq!(mode(&desk.path("key.pem"))?, 0o600);
    let chain = fs::read_to_string(desk.path("chain.pem"))?;
    assert_eq!(issued["chain"], chain.as_str());
    let text = openssl()
        .args(["x509", "-noout", "-text", "-in", "chain.pem"])
        .dir(desk.dir.path())
        .run()?
        .success()?;
    assert!(
        text.contains(EMAIL) && text.contains("CT Precertificate SCTs"),
        "{text}"
    );

    // As git does with gpg.format = x509: a detached signature with the certificates in it, verified at its time.
    fs::write(
        desk.path("commit"),
        "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n",
    )?;
    openssl()
        .args([
            "cms",
            "-sign",
            "-binary",
            "-in",
            "commit",
            "-signer",
            "chain.pem",
        ])
        .args(["-certfile", "issuers.pem", "-inkey", "key.pem"])
        .args(["-outform", "DER", "-out", "commit.p7s"])
        .dir(desk.dir.path())
        .run()?
        .success()?;
    let anchor = desk.anchor()?;
    let when = openssl()
        .args(["x509", "-noout", "-startdate", "-in", "chain.pem"])
        .dir(desk.dir.path())
        .run()?
        .success()?;
    let when = when.trim().trim_start_matches("notBefore=").to_owned();
    let at = Tool::new("date")
        .args(["-u", "-d", &when, "+%s"])
        .run()?
        .success()?;
    let at: i64 = at.trim().parse()?;
    let verify = |content: &str, seconds: i64| {
        openssl()
            .args([
                "cms",
                "-verify",
                "-binary",
                "-inform",
                "DER",
                "-in",
                "commit.p7s",
            ])
            .args([
                "-content", content, "-purpose", "any", "-out", "verified", "-CAfile",
            ])
            .arg(&anchor)
            .args(["-attime", &(at + seconds).to_string()])
            .dir(desk.dir.path())
            .run()
    };
    verify("commit", 60)?.success()?;
    verify("commit", 24 * 3600)?.failure()?;
    fs::write(desk.path("changed"), "tree 0000\n")?;
    verify("changed", 60)?.failure()?;
    Ok(())
}

#[test]
fn a_key_that_exists_is_used_and_never_replaced() -> anyhow::Result<()> {
    let desk = Desk::new()?;
    for (name, algorithm, options) in [
        ("ec384", "EC", &["-pkeyopt", "ec_paramgen_curve:P-384"][..]),
        ("rsa", "RSA", &["-pkeyopt", "rsa_keygen_bits:3072"]),
        ("ed", "ed25519", &[]),
    ] {
        let tool = openssl()
            .args(["genpkey", "-algorithm", algorithm])
            .args(options);
        tool.args(["-out", name])
            .dir(desk.dir.path())
            .run()?
            .success()?;
        let key = fs::read(desk.path(name))?;
        let issued = desk.issued(&["--key", name, "--out", "out.pem"])?;
        assert_eq!(issued["keyMade"], false, "{name}");
        assert_eq!(fs::read(desk.path(name))?, key, "{name}");
        let public = |args: &[&str]| openssl().args(args).dir(desk.dir.path()).run()?.success();
        assert_eq!(
            public(&["x509", "-in", "out.pem", "-noout", "-pubkey"])?,
            public(&["pkey", "-in", name, "-pubout"])?,
            "{name}"
        );
    }
    let said = desk
        .certificate(&["--key", "ed", "--signing-algorithm", "ed25519-ph"], "x")?
        .code(2)?;
    assert!(said.contains("exists"), "{said}");
    desk.certificate(&["--key", "ed", "--out", "ed"], "x")?
        .code(2)?;
    assert!(fs::read_to_string(desk.path("ed"))?.contains("PRIVATE KEY"));
    Ok(())
}

#[test]
fn a_request_is_certified_for_whoever_holds_its_key() -> anyhow::Result<()> {
    let desk = Desk::new()?;
    openssl()
        .args([
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-keyout",
            "held.pem",
            "-out",
            "request.pem",
            "-subj",
            "/CN=somebody else",
        ])
        .dir(desk.dir.path())
        .run()?
        .success()?;
    // Without --output json the chain is what the command prints.
    let printed = Tool::sealwright()
        .args([
            "certificate",
            "--csr",
            "request.pem",
            "--identity-token",
            "-",
        ])
        .args(desk.daemon.trust())
        .dir(desk.dir.path())
        .run_with_input(desk.daemon.token()?.as_bytes())?
        .success()?;
    assert!(blocks(&printed) >= 1, "{printed}");
    fs::write(desk.path("printed.pem"), &printed)?;
    let subject = openssl()
        .args(["x509", "-noout", "-subject", "-in", "printed.pem"])
        .dir(desk.dir.path())
        .run()?
        .success()?;
    assert!(!subject.contains("somebody else"), "{subject}");

    // A request that its key did not sign, and what is no request, go nowhere.
    let pem = fs::read_to_string(desk.path("request.pem"))?;
    let mut der = sealwright_crypto::base64::decode(
        &pem.lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>(),
    )?;
    *der.last_mut().expect("bytes") ^= 1;
    let forged = sealwright_crypto::base64::encode(&der);
    fs::write(
        desk.path("forged.pem"),
        format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{forged}\n-----END CERTIFICATE REQUEST-----\n"
        ),
    )?;
    fs::write(desk.path("nonsense.pem"), "nonsense")?;
    for name in ["forged.pem", "nonsense.pem", "held.pem"] {
        let said = desk
            .certificate(&["--csr", name, "--out", "out.pem"], "x")?
            .code(2)?;
        assert!(
            said.contains(name) && !desk.path("out.pem").exists(),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn what_was_refused_leaves_nothing_behind() -> anyhow::Result<()> {
    let desk = Desk::new()?;
    let expired = desk
        .daemon
        .token_with(&["--email", EMAIL, "--ttl", "-60"])?;
    desk.certificate(&["--key", "key.pem", "--out", "out.pem"], &expired)?
        .code(1)?;

    // A certificate log that the trusted root does not know: the promise does not verify, and neither does the certificate.
    let mut root = desk.trusted_root()?;
    root["ctlogs"] = Value::Array(Vec::new());
    fs::write(desk.path("root.json"), root.to_string())?;
    let said = Tool::sealwright()
        .args([
            "certificate",
            "--key",
            "key.pem",
            "--out",
            "out.pem",
            "--identity-token",
            "-",
        ])
        .args(["--trusted-root", "root.json", "--signing-config"])
        .arg(desk.daemon.client_file("signing_config.json"))
        .dir(desk.dir.path())
        .run_with_input(desk.daemon.token()?.as_bytes())?
        .code(1)?;
    assert!(said.contains("certificate authority"), "{said}");
    assert!(!desk.path("key.pem").exists() && !desk.path("out.pem").exists());
    Ok(())
}
