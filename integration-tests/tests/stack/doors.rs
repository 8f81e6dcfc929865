//! Bad input at every door: a clear answer with a reason code, bounded memory, no panic.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PrivateKey, base64};
use sealwright_integration_tests::{Daemon, EMAIL, certificate_request, entry_request, http};
use serde_json::{Value, json};

/// Status and reason code of an answer, whose envelope must be whole.
fn verdict(response: reqwest::blocking::Response) -> anyhow::Result<(u16, String)> {
    let status = response.status().as_u16();
    let id = response
        .headers()
        .get("x-request-id")
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let allow = response.headers().contains_key("allow");
    let text = response.text()?;
    let envelope: Value = serde_json::from_str(&text)
        .map_err(|error| anyhow::anyhow!("{status}: {error}: {text}"))?;
    assert!(
        envelope["code"].is_number() && envelope["message"].as_str().is_some_and(|m| !m.is_empty()),
        "{envelope}"
    );
    let detail = &envelope["details"][0];
    assert_eq!(detail["metadata"]["requestId"], id.as_str(), "{envelope}");
    assert_eq!(
        status == 405,
        allow,
        "405 and only 405 names what is allowed: {envelope}"
    );
    Ok((
        status,
        detail["reason"].as_str().unwrap_or_default().to_owned(),
    ))
}

#[test]
fn the_certificate_authority_says_what_was_wrong() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let url = format!("{}/api/v2/signingCert", daemon.endpoints().ca);
    let post = |body: &Value| verdict(http().post(&url).json(body).send()?);
    let raw = |body: Vec<u8>| {
        verdict(
            http()
                .post(&url)
                .header("content-type", "application/json")
                .body(body)
                .send()?,
        )
    };
    let expect = |found: (u16, String), status: u16, reason: &str, case: &str| {
        assert_eq!(found, (status, reason.to_owned()), "{case}");
    };
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let with = |token: &str| certificate_request(token, &key, Algorithm::EcdsaP256Sha256, EMAIL);
    let token = daemon.token()?;

    expect(
        raw(b"{".to_vec())?,
        400,
        "MALFORMED_REQUEST",
        "half a document",
    );
    expect(raw(vec![b' '; 5 << 20])?, 413, "REQUEST_TOO_LARGE", "5 MiB");
    expect(
        verdict(http().get(&url).send()?)?,
        405,
        "METHOD_NOT_ALLOWED",
        "GET",
    );
    expect(post(&with("")?)?, 401, "TOKEN_MISSING", "no token");
    expect(
        post(&with("not.a.token")?)?,
        401,
        "TOKEN_MALFORMED",
        "no JWT",
    );
    expect(
        post(&with(&"a".repeat(20_000))?)?,
        401,
        "TOKEN_MALFORMED",
        "a long token",
    );
    let mint = |args: &[&str]| daemon.token_with(&[&["--email", EMAIL], args].concat());
    expect(
        post(&with(&mint(&["--ttl", "-120"])?)?)?,
        401,
        "TOKEN_EXPIRED",
        "expired",
    );
    expect(
        post(&with(&mint(&["--audience", "other"])?)?)?,
        401,
        "TOKEN_WRONG_AUDIENCE",
        "audience",
    );
    let claims = daemon.dir().join("claims.json");
    std::fs::write(
        &claims,
        json!({"iss": "https://unknown.example"}).to_string(),
    )?;
    let unknown = mint(&["--claims", &claims.display().to_string()])?;
    expect(
        post(&with(&unknown)?)?,
        401,
        "TOKEN_UNKNOWN_ISSUER",
        "issuer",
    );
    std::fs::write(&claims, json!({"email_verified": false}).to_string())?;
    let unverified = mint(&["--claims", &claims.display().to_string()])?;
    expect(
        post(&with(&unverified)?)?,
        403,
        "TOKEN_CLAIMS_REFUSED",
        "unverified e-mail",
    );
    let (head, signature) = token.rsplit_once('.').unwrap_or_default();
    let mut bytes = base64::decode_url(signature)?;
    bytes[10] ^= 1;
    let bent = format!("{head}.{}", base64::encode_url(&bytes));
    expect(
        post(&with(&bent)?)?,
        401,
        "TOKEN_BAD_SIGNATURE",
        "bent signature",
    );

    expect(
        post(&json!({"credentials": {"oidcIdentityToken": token}}))?,
        400,
        "MALFORMED_REQUEST",
        "no key",
    );
    let mut request = with(&token)?;
    request["publicKeyRequest"]["publicKey"]["content"] =
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into();
    expect(post(&request)?, 400, "KEY_UNREADABLE", "no key in PEM");
    let wrong = certificate_request(&token, &key, Algorithm::EcdsaP256Sha256, "eve@example.com")?;
    expect(
        post(&wrong)?,
        400,
        "PROOF_OF_POSSESSION_INVALID",
        "proof over another name",
    );
    let small = PrivateKey::generate(KeyType::Rsa { bits: 2048 })?;
    let algorithm = Algorithm::RsaPkcs1 {
        bits: 2048,
        hash: HashAlgorithm::Sha256,
    };
    expect(
        post(&certificate_request(&token, &small, algorithm, EMAIL)?)?,
        400,
        "KEY_REFUSED",
        "RSA 2048",
    );
    let csr = json!({"credentials": {"oidcIdentityToken": token}, "certificateSigningRequest": base64::encode(b"no csr")});
    expect(post(&csr)?, 400, "CSR_MALFORMED", "no CSR");

    // What clients send and no list holds is passed over.
    let mut request = with(&token)?;
    request["surprise"] = json!({"a": [1, 2]});
    request["publicKeyRequest"]["publicKey"]["algorithm"] = "".into();
    assert_eq!(http().post(&url).json(&request).send()?.status(), 200);
    let text = http()
        .post(&url)
        .header("content-type", "text/plain")
        .body(with(&token)?.to_string())
        .send()?;
    assert_eq!(text.status(), 200, "the content type is not looked at");
    let header = json!({"publicKeyRequest": with("")?["publicKeyRequest"]});
    assert_eq!(
        http()
            .post(&url)
            .bearer_auth(&token)
            .json(&header)
            .send()?
            .status(),
        200,
        "token in the header"
    );
    Ok(())
}

#[test]
fn the_log_says_what_was_wrong() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let base = &daemon.endpoints().log;
    let url = format!("{base}/api/v2/log/entries");
    let post = |body: &Value| verdict(http().post(&url).json(body).send()?);
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let good = entry_request(&key, b"entry")?;
    let bent = |pointer: &str, value: Value| {
        let mut request = good.clone();
        *request.pointer_mut(pointer).expect(pointer) = value;
        request
    };
    let entry = "/hashedRekordRequestV002";
    let verifier = "/hashedRekordRequestV002/signature/verifier";
    for (case, request, status, reasons) in [
        ("empty", json!({}), 400, &["ENTRY_TYPE_UNSUPPORTED"][..]),
        (
            "unknown field",
            json!({"surprise": 1}),
            400,
            &["MALFORMED_REQUEST"],
        ),
        (
            "digest of another length",
            bent(&format!("{entry}/digest"), base64::encode(&[1; 20]).into()),
            400,
            &["ENTRY_INVALID"],
        ),
        (
            "another digest",
            bent(&format!("{entry}/digest"), base64::encode(&[1; 32]).into()),
            400,
            &["SIGNATURE_INVALID"],
        ),
        (
            "no signature",
            bent(&format!("{entry}/signature/content"), "".into()),
            400,
            &["ENTRY_INVALID"],
        ),
        (
            "bad base64",
            bent(&format!("{entry}/signature/content"), "*".into()),
            400,
            &["MALFORMED_REQUEST"],
        ),
        (
            "another curve",
            bent(
                &format!("{verifier}/keyDetails"),
                "PKIX_ECDSA_P384_SHA_384".into(),
            ),
            400,
            &["ALGORITHM_NOT_PERMITTED", "ENTRY_INVALID"],
        ),
        (
            "pure Ed25519",
            bent(&format!("{verifier}/keyDetails"), "PKIX_ED25519".into()),
            400,
            &["ALGORITHM_NOT_PERMITTED", "ENTRY_INVALID"],
        ),
        (
            "no key",
            bent(
                &format!("{verifier}/publicKey/rawBytes"),
                base64::encode(b"no key").into(),
            ),
            400,
            &["KEY_UNREADABLE", "ENTRY_INVALID"],
        ),
    ] {
        let (found, reason) = post(&request)?;
        assert!(
            found == status && reasons.contains(&reason.as_str()),
            "{case}: {found} {reason}"
        );
    }
    let large = http()
        .post(&url)
        .header("content-type", "application/json")
        .body(vec![b' '; 5 << 20])
        .send()?;
    assert_eq!(verdict(large)?, (413, "REQUEST_TOO_LARGE".to_owned()));
    assert_eq!(
        verdict(http().get(&url).send()?)?,
        (405, "METHOD_NOT_ALLOWED".to_owned())
    );
    assert_eq!(http().post(&url).json(&good).send()?.status(), 201);
    for path in [
        "tile/0/000.p/200",
        "tile/0/001",
        "tile/9999/000",
        "tile/0/0",
        "tile/0/..%2f..",
        "tile/entries/005",
        "nothing",
    ] {
        let (status, _) = verdict(http().get(format!("{base}/api/v2/{path}")).send()?)?;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    Ok(())
}

#[test]
fn the_certificate_log_says_what_was_wrong() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let url = format!("{}/ct/v1/add-pre-chain", daemon.endpoints().ct);
    let post = |body: &Value| verdict(http().post(&url).json(body).send()?);
    assert_eq!(post(&json!({"chain": []}))?.0, 400);
    assert_eq!(
        post(&json!({"chain": [base64::encode(b"no certificate")]}))?.0,
        400
    );
    assert_eq!(
        verdict(http().get(&url).send()?)?,
        (405, "METHOD_NOT_ALLOWED".to_owned())
    );

    // A chain of another authority is no business of this log.
    let elsewhere = Daemon::fresh()?;
    let (_dir, file) = sealwright_integration_tests::artifact(b"elsewhere")?;
    let bundle: Value = serde_json::from_slice(&std::fs::read(elsewhere.sign(&file)?)?)?;
    let leaf = bundle["verificationMaterial"]["certificate"]["rawBytes"].clone();
    let (status, reason) = verdict(
        http()
            .post(url.replace("add-pre-chain", "add-chain"))
            .json(&json!({"chain": [leaf]}))
            .send()?,
    )?;
    assert_eq!((status, reason.as_str()), (400, "CHAIN_NOT_ACCEPTED"));
    let roots: Value = http()
        .get(format!("{}/ct/v1/get-roots", daemon.endpoints().ct))
        .send()?
        .json()?;
    assert!(
        roots["certificates"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );
    let head: Value = http()
        .get(format!("{}/ct/v1/get-sth", daemon.endpoints().ct))
        .send()?
        .json()?;
    assert!(
        head["tree_size"].is_u64() && head["tree_head_signature"].is_string(),
        "{head}"
    );
    for query in [
        "start=0&end=0",
        "start=5&end=1",
        "start=-1&end=1",
        "start=x",
        "",
    ] {
        let (status, _) = verdict(
            http()
                .get(format!(
                    "{}/ct/v1/get-entries?{query}",
                    daemon.endpoints().ct
                ))
                .send()?,
        )?;
        assert!(matches!(status, 400 | 404), "{query}: {status}");
    }
    Ok(())
}

#[test]
fn the_timestamp_authority_says_what_was_wrong() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let url = &daemon.endpoints().tsa;
    let der = |body: &[u8]| {
        http()
            .post(url)
            .header("content-type", "application/timestamp-query")
            .body(body.to_vec())
            .send()
    };
    for (case, body) in [
        ("empty", &b""[..]),
        ("garbage", b"\x30\x03\x02\x01\x07"),
        ("text", b"hello"),
        ("deep", &[0x30; 4096]),
    ] {
        let response = der(body)?;
        assert_eq!(response.status(), 400, "{case}");
        assert_eq!(
            response.headers()["content-type"],
            "application/timestamp-reply",
            "{case}: DER is answered in DER"
        );
        let reply = response.bytes()?;
        assert_eq!(reply.first(), Some(&0x30), "{case}");
    }
    let json_request = |body: &Value| verdict(http().post(url).json(body).send()?);
    let hash = base64::encode(&[3; 32]);
    assert_eq!(
        json_request(&json!({"artifactHash": hash, "hashAlgorithm": "md5"}))?.0,
        400
    );
    assert_eq!(
        json_request(&json!({"artifactHash": hash, "hashAlgorithm": "sha512"}))?.0,
        400
    );
    assert_eq!(
        verdict(
            http()
                .post(url)
                .header("content-type", "text/plain")
                .body("x")
                .send()?
        )?,
        (415, "UNSUPPORTED_MEDIA_TYPE".to_owned())
    );
    assert_eq!(
        verdict(http().get(url).send()?)?,
        (405, "METHOD_NOT_ALLOWED".to_owned())
    );
    let good = http()
        .post(url)
        .json(&json!({"artifactHash": hash, "hashAlgorithm": "sha256"}))
        .send()?;
    assert!(matches!(good.status().as_u16(), 200 | 201));
    Ok(())
}

#[test]
fn unknown_paths_have_the_same_envelope() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let base = daemon.endpoints().console.trim_end_matches('/').to_owned();
    for path in [
        "/nothing",
        "/api/v2/nothing",
        "/api/v9/signingCert",
        "/ct/other/ct/v1/get-sth",
        "/tuf/99.root.json",
    ] {
        let (status, reason) = verdict(http().get(format!("{base}{path}")).send()?)?;
        assert_eq!((status, reason.as_str()), (404, "NOT_FOUND"), "{path}");
    }
    let response = http()
        .get(format!("{base}/nothing"))
        .header("x-request-id", "my-own-id")
        .send()?;
    assert_eq!(response.headers()["x-request-id"], "my-own-id");
    Ok(())
}

#[test]
fn half_sent_requests_are_cut_and_disturb_nobody() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let address = daemon.address().to_owned();
    let mut halves = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(&address)?;
        let head = match n % 3 {
            0 => {
                "POST /api/v2/log/entries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"half\":"
            }
            1 => "POST /api/v2/log/entries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-",
            _ => "PRI * HTTP/2.0\r\n\r\n",
        };
        stream.write_all(head.as_bytes())?;
        halves.push(stream);
    }
    let (_dir, file) = sealwright_integration_tests::artifact(b"meanwhile")?;
    let bundle = daemon.sign(&file)?;
    daemon.verify(&file, &bundle)?.success()?;
    let waited = Instant::now();
    for mut stream in halves {
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        let mut rest = Vec::new();
        // Either an answer and the end, or a reset: both are a cut. A time-out would be an error of another kind.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_ne!(
                error.kind(),
                std::io::ErrorKind::WouldBlock,
                "still open after {:?}",
                waited.elapsed()
            );
        }
    }
    println!("all cut after {:?}", waited.elapsed());
    Ok(())
}

#[test]
fn large_and_many_bodies_cost_bounded_memory() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let before = daemon.resident_kib()?;
    let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..8 {
                    // An answer before the whole body was sent may close the connection; both are refusals.
                    let sent = http()
                        .post(&url)
                        .header("content-type", "application/json")
                        .body(vec![b'['; 20 << 20])
                        .send();
                    assert!(
                        sent.map(|answer| answer.status().as_u16() == 413
                            || answer.status().as_u16() == 503)
                            .unwrap_or(true)
                    );
                }
            });
        }
    });
    let after = daemon.resident_kib()?;
    println!("resident before {before} KiB, after 128 bodies of 20 MiB {after} KiB");
    assert!(after < before + 160 * 1024, "from {before} to {after} KiB");
    assert!(!daemon.stderr().contains("panicked"));
    Ok(())
}
