//! OpenSSL judges what we issue.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sealwright_integration_tests::{Daemon, Tool, artifact, http};
use serde_json::Value;

fn openssl() -> Tool {
    Tool::new("openssl")
}

fn trusted_root(daemon: &Daemon) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&fs::read(
        daemon.client_file("trusted_root.json"),
    )?)?)
}

/// Writes the certificates of an authority as PEM: all but the last into one file, the last, its anchor, into another.
fn chain_files(authority: &Value, dir: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let certificates = authority["certChain"]["certificates"]
        .as_array()
        .expect("certificates");
    let pem = |certificate: &Value| {
        let body = certificate["rawBytes"].as_str().expect("rawBytes");
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("ASCII"))
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    };
    let (anchor, rest) = certificates.split_last().expect("a chain is not empty");
    let (rest_file, anchor_file) = (dir.join("chain.pem"), dir.join("root.pem"));
    fs::write(&rest_file, rest.iter().map(pem).collect::<String>())?;
    fs::write(&anchor_file, pem(anchor))?;
    Ok((rest_file, anchor_file))
}

#[test]
fn openssl_reads_and_verifies_a_signing_certificate() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (dir, file) = artifact(b"certificate, please")?;
    let bundle: Value = serde_json::from_slice(&fs::read(daemon.sign(&file)?)?)?;
    let body = bundle["verificationMaterial"]["certificate"]["rawBytes"]
        .as_str()
        .expect("a certificate");
    let leaf = dir.path().join("leaf.der");
    fs::write(&leaf, sealwright_crypto::base64::decode(body)?)?;
    let root = trusted_root(&daemon)?;
    let (chain, anchor) = chain_files(&root["certificateAuthorities"][0], dir.path())?;

    let text = openssl()
        .args(["x509", "-inform", "DER", "-noout", "-text", "-in"])
        .arg(&leaf)
        .run()?
        .success()?;
    for expected in [
        "Digital Signature",
        "Code Signing",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "X509v3 Subject Alternative Name: critical",
        "email:dev@example.com",
        "CT Precertificate SCTs",
        "1.3.6.1.4.1.57264.1.8",
        "ecdsa-with-SHA256",
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }

    let pem = dir.path().join("leaf.pem");
    openssl()
        .args(["x509", "-inform", "DER", "-in"])
        .arg(&leaf)
        .arg("-out")
        .arg(&pem)
        .run()?
        .success()?;
    let verify = openssl()
        .args(["verify", "-x509_strict", "-purpose", "codesign", "-CAfile"])
        .arg(&anchor);
    // Debian's OpenSSL 3.0 does not know the purpose `codesign`; the extended key usage was read above.
    let outcome = verify.arg("-untrusted").arg(&chain).arg(&pem).run()?;
    if outcome.code != Some(0) {
        let verify = openssl()
            .args(["verify", "-x509_strict", "-CAfile"])
            .arg(&anchor);
        verify
            .arg("-untrusted")
            .arg(&chain)
            .arg(&pem)
            .run()?
            .success()?;
    }
    Ok(())
}

/// The certificates of the timestamp authority in files of a folder that goes away with this.
pub(crate) struct AuthorityFiles {
    pub(crate) dir: tempfile::TempDir,
    /// All but the root, the signer's first.
    pub(crate) chain: PathBuf,
    pub(crate) root: PathBuf,
}

pub(crate) fn authority_files(daemon: &Daemon) -> anyhow::Result<AuthorityFiles> {
    let dir = tempfile::tempdir()?;
    let trusted = trusted_root(daemon)?;
    let (chain, root) = chain_files(&trusted["timestampAuthorities"][0], dir.path())?;
    Ok(AuthorityFiles { dir, chain, root })
}

/// A conversation of `openssl ts` with the authority.
struct Ts {
    daemon: Daemon,
    files: AuthorityFiles,
    data: PathBuf,
    query: PathBuf,
    reply: PathBuf,
}

impl Ts {
    fn new() -> anyhow::Result<Self> {
        let daemon = Daemon::fresh()?;
        let files = authority_files(&daemon)?;
        let [data, query, reply] =
            ["data.txt", "query.tsq", "reply.tsr"].map(|name| files.dir.path().join(name));
        fs::write(&data, "what time is it")?;
        Ok(Self {
            daemon,
            files,
            data,
            query,
            reply,
        })
    }

    /// Has OpenSSL make a request, sends it, and keeps the reply; answers the HTTP status.
    fn ask(&self, options: &[&str]) -> anyhow::Result<u16> {
        let make = openssl().args(["ts", "-query"]).args(options);
        let make = make.arg("-data").arg(&self.data);
        make.arg("-out").arg(&self.query).run()?.success()?;
        let response = http()
            .post(&self.daemon.endpoints().tsa)
            .header("content-type", "application/timestamp-query")
            .body(fs::read(&self.query)?)
            .send()?;
        let status = response.status().as_u16();
        let form = &response.headers()["content-type"];
        assert_eq!(form, "application/timestamp-reply");
        fs::write(&self.reply, response.bytes()?)?;
        Ok(status)
    }

    /// What `openssl ts -verify` says, with these options beside the reply.
    fn verify<A: AsRef<std::ffi::OsStr>>(
        &self,
        options: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<bool> {
        let verify = openssl().args(["ts", "-verify", "-in"]).arg(&self.reply);
        let verify = verify.args(options).arg("-CAfile").arg(&self.files.root);
        let outcome = verify.run()?;
        let verified = format!("{}{}", outcome.stdout, outcome.stderr).contains("Verification: OK");
        assert_eq!(verified, outcome.code == Some(0), "{outcome}");
        Ok(verified)
    }

    fn text(&self) -> anyhow::Result<String> {
        openssl()
            .args(["ts", "-reply", "-text", "-in"])
            .arg(&self.reply)
            .run()?
            .success()
    }
}

#[test]
fn openssl_verifies_a_timestamp_with_the_root_alone() -> anyhow::Result<()> {
    let ts = Ts::new()?;
    for hash in ["-sha256", "-sha384", "-sha512"] {
        for nonce in [&[][..], &["-no_nonce"]] {
            let status = ts.ask(&[&["-cert", hash][..], nonce].concat())?;
            assert_eq!(status, 200);
            assert!(
                ts.verify([Path::new("-queryfile"), &ts.query])?,
                "{hash} {nonce:?}"
            );
            assert_eq!(ts.text()?.contains("Nonce: unspecified"), !nonce.is_empty());
        }
    }
    assert!(ts.verify([Path::new("-data"), &ts.data])?);
    fs::write(&ts.data, "what time was it")?;
    assert!(!ts.verify([Path::new("-data"), &ts.data])?);
    // The reply to another request has another nonce.
    let earlier = ts.files.dir.path().join("earlier.tsq");
    assert_eq!(ts.ask(&["-cert", "-sha256"])?, 200);
    fs::rename(&ts.query, &earlier)?;
    assert_eq!(ts.ask(&["-cert", "-sha256"])?, 200);
    assert!(!ts.verify([Path::new("-queryfile"), &earlier])?);
    Ok(())
}

#[test]
fn openssl_verifies_a_token_without_certificates_with_the_chain_that_is_published()
-> anyhow::Result<()> {
    let ts = Ts::new()?;
    assert_eq!(ts.ask(&["-sha256"])?, 200);
    let query = [Path::new("-queryfile"), &ts.query];
    assert!(!ts.verify(query)?, "the token carries no certificate");
    let with_chain = [query[0], query[1], Path::new("-untrusted"), &ts.files.chain];
    assert!(ts.verify(with_chain)?);
    Ok(())
}

#[test]
fn openssl_reads_policies_and_rejections() -> anyhow::Result<()> {
    let ts = Ts::new()?;
    let policy = "1.3.6.1.4.1.57264.2";
    assert_eq!(ts.ask(&["-cert", "-sha256", "-tspolicy", policy])?, 200);
    assert!(ts.verify([Path::new("-queryfile"), &ts.query])?);
    let text = ts.text()?;
    for expected in [
        "Status: Granted.",
        &format!("Policy OID: {policy}"),
        "Accuracy: 0x01 seconds",
        "Ordering: no",
        "TSA: DirName:",
    ] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    for (options, failure) in [
        (
            &["-sha1"][..],
            "unrecognized or unsupported algorithm identifier",
        ),
        (
            &["-sha224"],
            "unrecognized or unsupported algorithm identifier",
        ),
        (
            &["-sha256", "-tspolicy", "1.2.3.4"],
            "the requested tsa policy is not supported by the tsa",
        ),
    ] {
        assert_eq!(ts.ask(options)?, 400, "{options:?}");
        let text = ts.text()?.to_lowercase();
        assert!(text.contains("status: rejected."), "{text}");
        assert!(text.contains(failure), "{failure} is missing in {text}");
        assert!(text.contains("tst info:\nnot included."), "{text}");
    }
    Ok(())
}
