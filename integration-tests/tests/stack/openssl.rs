//! OpenSSL judges what we issue.

use std::fs;

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
fn chain_files(
    authority: &Value,
    dir: &std::path::Path,
) -> anyhow::Result<(std::path::PathBuf, std::path::PathBuf)> {
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

#[test]
fn openssl_verifies_a_timestamp_with_the_root_alone() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (dir, file) = artifact(b"what time is it")?;
    let (query, reply) = (dir.path().join("query.tsq"), dir.path().join("reply.tsr"));
    let root = trusted_root(&daemon)?;
    let (_, anchor) = chain_files(&root["timestampAuthorities"][0], dir.path())?;
    for hash in ["-sha256", "-sha384", "-sha512"] {
        openssl()
            .args(["ts", "-query", "-cert", hash, "-data"])
            .arg(&file)
            .arg("-out")
            .arg(&query)
            .run()?
            .success()?;
        let response = http()
            .post(&daemon.endpoints().tsa)
            .header("content-type", "application/timestamp-query")
            .body(fs::read(&query)?)
            .send()?;
        assert!(matches!(response.status().as_u16(), 200 | 201));
        assert_eq!(
            response.headers()["content-type"],
            "application/timestamp-reply"
        );
        fs::write(&reply, response.bytes()?)?;
        let verify = openssl()
            .args(["ts", "-verify", "-queryfile"])
            .arg(&query)
            .arg("-in")
            .arg(&reply);
        let shown = verify.arg("-CAfile").arg(&anchor).run()?;
        assert!(
            format!("{}{}", shown.stdout, shown.stderr).contains("Verification: OK"),
            "{shown}"
        );
    }

    fs::write(&file, b"what time was it")?;
    let verify = openssl()
        .args(["ts", "-verify", "-data"])
        .arg(&file)
        .arg("-in")
        .arg(&reply);
    verify.arg("-CAfile").arg(&anchor).run()?.failure()?;
    Ok(())
}
