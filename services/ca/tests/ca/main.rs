//! The authority as its clients meet it. Each test is a claim about what goes in and what comes out.

mod world;

use std::process::Command;
use std::time::Duration;

use sealwright_ca::{ChainProblem, Error};
use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PrivateKey, base64};
use sealwright_pki::authority::{Parent, intermediate, root};
use sealwright_pki::request::{build_request, build_request_pem};
use sealwright_pki::sct::embedded_scts;
use sealwright_pki::{Certificate, Identity, Purpose, SubjectAlternativeName, verify_chain};
use sealwright_proto::fulcio::v2 as proto;
use sealwright_proto::fulcio::v2::ca_client::CaClient;
use sealwright_proto::sealwright::trust::v1::trust_material_client::TrustMaterialClient;
use sealwright_proto::sealwright::trust::v1::{DescribeRequest, MaterialKind};
use serde_json::{Value, json};

use world::{
    Behaviour, NOW, Options, Way, World, csr, envelope, generate, good_key, mail_claims, name,
    pem_chain, proven, public_key, with_token,
};

const CA: &str = "/api/v2/signingCert";

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is installed");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The certificate holds under the root, says who asked, and carries a timestamp of the log.
fn check_certificate(
    world: &World,
    leaf: &Certificate,
    identity: &SubjectAlternativeName,
    issuer: &str,
) -> Identity {
    let intermediates = world.chain.split_last().unwrap().1;
    let path = verify_chain(
        leaf,
        intermediates,
        &world.chain[world.chain.len() - 1..],
        NOW,
        Purpose::CodeSigning,
    )
    .unwrap();
    let timestamps = embedded_scts(leaf).unwrap();
    assert_eq!(timestamps.len(), 1);
    timestamps[0]
        .verify_embedded(leaf, path.issuer_key_hash(), world.log.public_key())
        .unwrap();
    let found = Identity::from_certificate(leaf).unwrap();
    assert_eq!(
        (&found.subject_alternative_name, found.issuer.as_str()),
        (identity, issuer)
    );
    found
}

fn ann() -> SubjectAlternativeName {
    SubjectAlternativeName::Email("ann@example.com".into())
}

#[tokio::test]
async fn every_accepted_key_is_certified() {
    let world = World::new().await;
    let issuer = format!("{}/mail", world.idp.base);
    for key_type in [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 3072 },
    ] {
        let key = generate(key_type);
        for request in [proven(&key), csr(&build_request_pem(&key).unwrap())] {
            let leaf = world.sign(&world.token(), &request).await.leaf();
            let identity = check_certificate(&world, &leaf, &ann(), &issuer);
            assert_eq!(identity.extensions.token_subject.as_deref(), Some("17"));
            assert_eq!(leaf.public_key().unwrap(), key.public_key());
            assert_eq!((leaf.not_before(), leaf.not_after()), (NOW, NOW + 600));
        }
    }
}

#[tokio::test]
async fn weak_and_unknown_keys_are_refused() {
    let world = World::new().await;
    let token = world.token();
    // (arguments of openssl genpkey, arguments of openssl dgst, reason)
    let rsa = |bits: &'static str, exponent: &'static str| {
        vec!["-algorithm", "RSA", "-pkeyopt", bits, "-pkeyopt", exponent]
    };
    let curve = |name: &'static str| vec!["-algorithm", "EC", "-pkeyopt", name];
    let cases = [
        rsa("rsa_keygen_bits:1024", "rsa_keygen_pubexp:65537"),
        rsa("rsa_keygen_bits:2048", "rsa_keygen_pubexp:65537"),
        rsa("rsa_keygen_bits:2560", "rsa_keygen_pubexp:65537"),
        rsa("rsa_keygen_bits:3072", "rsa_keygen_pubexp:3"),
        curve("ec_paramgen_curve:P-224"),
        curve("ec_paramgen_curve:secp256k1"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, challenge, signature) = (path("key.pem"), path("challenge"), path("signature"));
    std::fs::write(&challenge, "ann@example.com").unwrap();
    for case in cases {
        openssl(&[&["genpkey", "-out", &key][..], &case].concat());
        openssl(&[
            "dgst", "-sha256", "-sign", &key, "-out", &signature, &challenge,
        ]);
        let pem = openssl(&["pkey", "-in", &key, "-pubout"]);
        let proof = base64::encode(&std::fs::read(&signature).unwrap());
        let request = json!({ "publicKeyRequest": { "publicKey": { "content": pem }, "proofOfPossession": proof } });
        world
            .sign(&token, &request)
            .await
            .refused(400, "KEY_REFUSED");
    }
    assert!(world.log.submissions().is_empty());
}

#[tokio::test]
async fn rsa_2048_is_certified_only_where_it_is_switched_on() {
    let world = World::with(Options {
        config: |config| config.accept_rsa_2048 = true,
        ..Options::default()
    })
    .await;
    let key = generate(KeyType::Rsa { bits: 2048 });
    assert_eq!(world.sign(&world.token(), &proven(&key)).await.status, 200);
}

#[tokio::test]
async fn the_proof_may_be_over_the_subject_and_over_nothing_else() {
    let world = World::new().await;
    let key = generate(KeyType::EcP256);
    let proof = |challenge: &str| public_key(&key, Algorithm::EcdsaP256Sha256, challenge);
    assert_eq!(world.sign(&world.token(), &proof("17")).await.status, 200);
    for other in ["", "ann@example.co", "sigstore", "1"] {
        world
            .sign(&world.token(), &proof(other))
            .await
            .refused(400, "PROOF_OF_POSSESSION_INVALID");
    }
}

#[tokio::test]
async fn proofs_by_the_wrong_hash_or_padding_are_refused() {
    let world = World::new().await;
    let p384 = generate(KeyType::EcP384);
    // Our own keys do not sign with the old combination, so OpenSSL does.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, challenge, signature) = (path("key.pem"), path("challenge"), path("signature"));
    std::fs::write(&key, p384.to_pkcs8_pem().as_bytes()).unwrap();
    std::fs::write(&challenge, "ann@example.com").unwrap();
    openssl(&[
        "dgst", "-sha256", "-sign", &key, "-out", &signature, &challenge,
    ]);
    let mut wrong_hash = proven(&p384);
    let proof = base64::encode(&std::fs::read(&signature).unwrap());
    wrong_hash["publicKeyRequest"]["proofOfPossession"] = Value::from(proof);
    let rsa = generate(KeyType::Rsa { bits: 3072 });
    let pss = public_key(
        &rsa,
        Algorithm::RsaPss {
            bits: 3072,
            hash: HashAlgorithm::Sha256,
        },
        "ann@example.com",
    );
    let mut empty = proven(&p384);
    empty["publicKeyRequest"]["proofOfPossession"] = Value::from("");
    let mut absent = proven(&p384);
    absent["publicKeyRequest"]
        .as_object_mut()
        .unwrap()
        .remove("proofOfPossession");
    for request in [wrong_hash, pss, empty, absent] {
        world
            .sign(&world.token(), &request)
            .await
            .refused(400, "PROOF_OF_POSSESSION_INVALID");
    }
}

#[tokio::test]
async fn certificate_requests_are_pem_with_a_permitted_signature() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key_file = path("key.pem");
    openssl(&[
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
        &key_file,
    ]);
    let request = |extra: &[&str]| {
        openssl(
            &[
                &[
                    "req",
                    "-new",
                    "-key",
                    &key_file,
                    "-subj",
                    "/CN=mallory@example.com",
                ][..],
                extra,
            ]
            .concat(),
        )
    };
    let sent = async |request: Value| world.sign(&world.token(), &request).await;

    let foreign = sent(csr(&request(&["-sha256"]))).await.leaf();
    assert_eq!(
        foreign.subject(),
        "",
        "what the request says of its subject is not looked at"
    );
    assert_eq!(
        Identity::from_certificate(&foreign)
            .unwrap()
            .subject_alternative_name,
        ann()
    );
    let message = sent(csr(&request(&["-sha384"])))
        .await
        .refused(400, "ALGORITHM_NOT_PERMITTED");
    assert!(message.contains("not permitted"), "{message}");
    assert_eq!(
        sent(csr(&request(&["-sha256", "-newhdr"]))).await.status,
        200
    );

    let key = generate(KeyType::EcP256);
    let der = build_request(&key, Algorithm::EcdsaP256Sha256).unwrap();
    let raw = json!({ "certificateSigningRequest": base64::encode(&der) });
    sent(raw).await.refused(400, "CSR_MALFORMED");
    let mut tampered = der.clone();
    let middle = tampered.len() - 20;
    tampered[middle] ^= 1;
    let tampered = sealwright_pki::pem::encode("CERTIFICATE REQUEST", &tampered);
    sent(csr(&tampered))
        .await
        .refused(400, "PROOF_OF_POSSESSION_INVALID");
    let rsa = generate(KeyType::Rsa { bits: 3072 });
    let sha512 = build_request(
        &rsa,
        Algorithm::RsaPkcs1 {
            bits: 3072,
            hash: HashAlgorithm::Sha512,
        },
    )
    .unwrap();
    let sha512 = sealwright_pki::pem::encode("CERTIFICATE REQUEST", &sha512);
    sent(csr(&sha512))
        .await
        .refused(400, "ALGORITHM_NOT_PERMITTED");
}

#[tokio::test]
async fn tokens_are_judged_one_rule_at_a_time() {
    let world = World::new().await;
    let key = good_key();
    let with = |claims: Value| {
        let mut all = mail_claims();
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        world.idp.token("mail", all)
    };
    let header = |header: Value| world.idp.token_with_header(header, "mail", mail_claims());
    let good = world.token();
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let iss = format!("{}/mail", world.idp.base);
    let twice = format!(
        r#"{{"iss":"{iss}","iss":"{iss}","aud":"sigstore","sub":"17","iat":{NOW},"exp":{}}}"#,
        NOW + 9
    );
    let refused = [
        (String::new(), 401, "TOKEN_MISSING"),
        ("nonsense".to_owned(), 401, "TOKEN_MALFORMED"),
        ("a.b.c.d".to_owned(), 401, "TOKEN_MALFORMED"),
        ("x".repeat(17 * 1024), 401, "TOKEN_MALFORMED"),
        (
            world.idp.raw_token(r#"{"alg":"ES256","kid":"k"}"#, &twice),
            401,
            "TOKEN_MALFORMED",
        ),
        (with(json!({ "aud": "other" })), 401, "TOKEN_WRONG_AUDIENCE"),
        (
            with(json!({ "aud": ["other", "sigstore"], "azp": "other" })),
            401,
            "TOKEN_WRONG_AUDIENCE",
        ),
        (with(json!({ "exp": NOW })), 401, "TOKEN_EXPIRED"),
        (
            with(json!({ "nbf": NOW + 360 })),
            401,
            "TOKEN_NOT_YET_VALID",
        ),
        (
            with(json!({ "iat": NOW + 86_400, "exp": NOW + 90_000 })),
            401,
            "TOKEN_NOT_YET_VALID",
        ),
        (
            with(json!({ "exp": NOW + 315_360_000 })),
            403,
            "TOKEN_CLAIMS_REFUSED",
        ),
        (with(json!({ "iat": null })), 401, "TOKEN_MALFORMED"),
        (with(json!({ "exp": null })), 401, "TOKEN_MALFORMED"),
        (with(json!({ "sub": null })), 401, "TOKEN_MALFORMED"),
        (with(json!({ "sub": "" })), 401, "TOKEN_MALFORMED"),
        (
            with(json!({ "iss": "https://elsewhere.example.com" })),
            401,
            "TOKEN_UNKNOWN_ISSUER",
        ),
        (
            header(json!({ "alg": "ES256", "kid": "k", "typ": "at+jwt" })),
            401,
            "TOKEN_MALFORMED",
        ),
        (
            header(json!({ "alg": "ES256", "kid": "k", "crit": ["exp"] })),
            401,
            "TOKEN_MALFORMED",
        ),
        (header(json!({ "alg": "none" })), 401, "TOKEN_MALFORMED"),
        (
            header(json!({ "alg": "HS256", "kid": "k" })),
            401,
            "TOKEN_MALFORMED",
        ),
        (
            header(json!({ "alg": "RS256", "kid": "k" })),
            401,
            "TOKEN_BAD_SIGNATURE",
        ),
        (
            header(json!({ "alg": "ES256", "kid": "unknown" })),
            401,
            "TOKEN_BAD_SIGNATURE",
        ),
        (
            format!("{unsigned}.{}", base64::encode_url(&[1; 64])),
            401,
            "TOKEN_BAD_SIGNATURE",
        ),
        (format!("{unsigned}."), 401, "TOKEN_BAD_SIGNATURE"),
        (
            with(json!({ "email_verified": false })),
            403,
            "TOKEN_CLAIMS_REFUSED",
        ),
        (with(json!({ "email": null })), 403, "TOKEN_CLAIMS_REFUSED"),
    ];
    for (token, status, reason) in refused {
        let answer = world.sign(&token, &key).await;
        answer.refused(status, reason);
        assert!(
            token.len() < 40 || !answer.text.contains(&token),
            "a token is never repeated"
        );
    }
    assert!(world.log.submissions().is_empty() && world.events().await.is_empty());

    for token in [
        with(json!({ "aud": ["other", "sigstore"] })),
        with(json!({ "nbf": NOW + 60 })),
        with(json!({ "email_verified": "true" })),
        header(json!({ "alg": "ES256" })),
    ] {
        assert_eq!(world.sign(&token, &key).await.status, 200);
    }
    // One token may be used for several keys: that is what a build with many artifacts does.
    for _ in 0..3 {
        assert_eq!(world.sign(&good, &good_key()).await.status, 200);
    }
}

#[tokio::test]
async fn an_email_that_a_certificate_cannot_carry_is_named_as_the_cause() {
    let world = World::new().await;
    let token = world.idp.token(
        "mail",
        json!({ "email": "ännï@example.com", "email_verified": true }),
    );
    let message = world
        .sign(&token, &good_key())
        .await
        .refused(403, "TOKEN_CLAIMS_REFUSED");
    assert!(message.contains("ASCII"), "{message}");
}

#[tokio::test]
async fn the_token_of_the_body_wins_over_the_header() {
    let world = World::new().await;
    let bob = world.idp.token(
        "mail",
        json!({ "sub": "18", "email": "bob@example.com", "email_verified": true }),
    );
    let post = |path: &str| world.http.post(format!("{}{path}", world.base));

    let both = with_token(&world.token(), &good_key());
    let leaf = world
        .send(post(CA).bearer_auth(&bob).json(&both))
        .await
        .leaf();
    assert_eq!(
        Identity::from_certificate(&leaf)
            .unwrap()
            .subject_alternative_name,
        ann()
    );
    for body in [good_key(), with_token("", &good_key())] {
        assert_eq!(
            world
                .send(post(CA).bearer_auth(world.token()).json(&body))
                .await
                .status,
            200
        );
    }
    world
        .send(post(CA).json(&good_key()))
        .await
        .refused(401, "TOKEN_MISSING");
    world
        .send(
            post(CA)
                .header("authorization", "Basic abc")
                .json(&good_key()),
        )
        .await
        .refused(401, "TOKEN_MISSING");
}

#[tokio::test]
async fn the_v1_pair_answers_as_old_clients_expect() {
    let world = World::new().await;
    let key = generate(KeyType::EcP256);
    let proof = key
        .sign(Algorithm::EcdsaP256Sha256, b"ann@example.com")
        .unwrap();
    let post = |body: &Value| {
        world
            .http
            .post(format!("{}/api/v1/signingCert", world.base))
            .bearer_auth(world.token())
            .json(body)
    };
    let body = |content: &[u8]| {
        json!({
            "publicKey": { "algorithm": "ecdsa", "content": base64::encode(content) },
            "signedEmailAddress": base64::encode(&proof),
        })
    };
    let csr = json!({ "certificateSigningRequest": base64::encode(build_request_pem(&key).unwrap().as_bytes()) });
    for body in [
        body(key.public_key().spki_der()),
        body(key.public_key().to_pem().as_bytes()),
        csr,
    ] {
        let answer = world.send(post(&body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(
            answer.headers["content-type"],
            "application/pem-certificate-chain"
        );
        let chain = pem_chain(&answer.text);
        assert_eq!(chain[1..], world.chain);
        check_certificate(
            &world,
            &chain[0],
            &ann(),
            &format!("{}/mail", world.idp.base),
        );
    }
    let in_body = with_token(&world.token(), &body(key.public_key().spki_der()));
    world
        .post("/api/v1/signingCert", &in_body)
        .await
        .refused(401, "TOKEN_MISSING");
    world
        .send(post(&json!({})))
        .await
        .refused(400, "MALFORMED_REQUEST");

    let roots = world
        .send(world.http.get(format!("{}/api/v1/rootCert", world.base)))
        .await;
    assert_eq!(
        (roots.status, pem_chain(&roots.text)),
        (200, world.chain.clone())
    );

    let modern = World::with(Options {
        config: |config| config.legacy_api = false,
        ..Options::default()
    })
    .await;
    modern
        .post("/api/v1/signingCert", &json!({}))
        .await
        .refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn json_is_read_leniently_and_within_bounds() {
    let world = World::new().await;
    let post = || world.http.post(format!("{}{CA}", world.base));
    let good = with_token(&world.token(), &good_key());

    let mut odd = good.clone();
    odd["future"] = json!({ "x": [1, 2] });
    odd["publicKeyRequest"]["publicKey"]["algorithm"] = Value::from("NO_SUCH_ALGORITHM");
    assert_eq!(world.send(post().json(&odd)).await.status, 200);
    odd["publicKeyRequest"]["publicKey"]["algorithm"] = Value::from("");
    assert_eq!(world.send(post().json(&odd)).await.status, 200);
    let plain = post()
        .header("content-type", "text/plain")
        .header("accept", "application/pem-certificate-chain");
    assert_eq!(world.send(plain.body(good.to_string())).await.status, 200);
    assert_eq!(world.send(post().body(good.to_string())).await.status, 200);
    let snake = good
        .to_string()
        .replace("publicKeyRequest", "public_key_request")
        .replace("oidcIdentity", "oidc_identity");
    let snake = snake.replace("oidc_identityToken", "oidc_identity_token");
    assert_eq!(world.send(post().body(snake)).await.status, 200);

    let mut both = good.clone();
    both["certificateSigningRequest"] = Value::from("AAAA");
    world
        .send(post().json(&both))
        .await
        .refused(400, "MALFORMED_REQUEST");
    for body in ["", "{", "[]", "null", "7", r#"{"credentials":7}"#] {
        world
            .send(post().body(body))
            .await
            .refused(400, "MALFORMED_REQUEST");
    }
    world
        .sign(&world.token(), &json!({}))
        .await
        .refused(400, "MALFORMED_REQUEST");
    let unreadable = json!({ "publicKeyRequest": { "publicKey": { "content": "AAAA" }, "proofOfPossession": "AAAA" } });
    world
        .sign(&world.token(), &unreadable)
        .await
        .refused(400, "KEY_UNREADABLE");

    for size in [200 << 10, 5 << 20] {
        world
            .send(post().body("x".repeat(size)))
            .await
            .refused(413, "REQUEST_TOO_LARGE");
    }
    let wrong = world
        .send(world.http.get(format!("{}{CA}", world.base)))
        .await;
    wrong.refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(wrong.headers["allow"], "POST");
    world
        .post("/api/v2/trustBundle", &json!({}))
        .await
        .refused(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_build_is_certified_with_its_extensions() {
    let world = World::new().await;
    let key = generate(KeyType::EcP256);
    let sign = async |claims: Value| {
        let token = world.idp.token("ci", claims);
        world
            .sign(&token, &public_key(&key, Algorithm::EcdsaP256Sha256, "17"))
            .await
    };
    let run = "123456789012345678901234";
    let claims = |extra: &str| -> Value {
        serde_json::from_str(&format!(
            r#"{{"workflow":"o/r/w.yml@refs/heads/main","event":"push","run":"{run}"{extra}}}"#
        ))
        .unwrap()
    };
    let uri = "https://forge.example.com/o/r/w.yml@refs/heads/main";
    let leaf = sign(claims("")).await.leaf();
    let issuer = format!("{}/ci", world.idp.base);
    let identity = check_certificate(
        &world,
        &leaf,
        &SubjectAlternativeName::Uri(uri.into()),
        &issuer,
    );
    let extensions = identity.extensions;
    assert_eq!(extensions.build_signer_uri.as_deref(), Some(uri));
    assert_eq!(extensions.github_workflow_trigger.as_deref(), Some("push"));
    assert_eq!(
        extensions.run_invocation_uri,
        Some(format!("https://forge.example.com/runs/{run}"))
    );
    assert_eq!(
        (
            extensions.deployment_environment,
            extensions.token_subject.as_deref()
        ),
        (None, Some("17"))
    );

    let moved = sign(claims(r#","url":"https://evil.example.com""#))
        .await
        .leaf();
    let identity = Identity::from_certificate(&moved).unwrap();
    assert_eq!(
        identity.subject_alternative_name,
        SubjectAlternativeName::Uri(uri.into()),
        "a claim moves no host"
    );
    for bad in [
        json!({ "workflow": { "a": 1 }, "event": "push", "run": 1 }),
        json!({ "workflow": ["a"], "event": "push", "run": 1 }),
        json!({ "workflow": "a/../../b", "event": "push", "run": 1 }),
        json!({ "workflow": "", "event": "push", "run": 1 }),
        json!({ "event": "push", "run": 1 }),
    ] {
        sign(bad).await.refused(403, "TOKEN_CLAIMS_REFUSED");
    }
}

#[tokio::test]
async fn integers_beyond_floating_point_are_certified_exactly() {
    let world = World::new().await;
    let iss = format!("{}/ci", world.idp.base);
    let claims = format!(
        r#"{{"iss":"{iss}","aud":"sigstore","sub":"17","iat":{NOW},"exp":{},"workflow":"w","event":"push","run":123456789012345678901234}}"#,
        NOW + 600
    );
    let token = world.idp.raw_token(r#"{"alg":"ES256","kid":"k"}"#, &claims);
    let key = generate(KeyType::EcP256);
    let leaf = world
        .sign(&token, &public_key(&key, Algorithm::EcdsaP256Sha256, "17"))
        .await
        .leaf();
    let run = Identity::from_certificate(&leaf)
        .unwrap()
        .extensions
        .run_invocation_uri;
    assert_eq!(
        run.as_deref(),
        Some("https://forge.example.com/runs/123456789012345678901234")
    );
}

#[tokio::test]
async fn a_workload_is_certified_under_its_domain_only() {
    let world = World::new().await;
    let key = generate(KeyType::EcP256);
    let sign = async |sub: &str| {
        let token = world.idp.token("uri", json!({ "sub": sub }));
        world
            .sign(&token, &public_key(&key, Algorithm::EcdsaP256Sha256, sub))
            .await
    };
    let workload = format!("{}/team/service", world.idp.base);
    let leaf = sign(&workload).await.leaf();
    let issuer = format!("{}/uri", world.idp.base);
    check_certificate(
        &world,
        &leaf,
        &SubjectAlternativeName::Uri(workload),
        &issuer,
    );
    sign("https://evil.example.com/x")
        .await
        .refused(403, "TOKEN_CLAIMS_REFUSED");
    sign("/relative").await.refused(403, "TOKEN_CLAIMS_REFUSED");
}

#[tokio::test]
async fn without_a_good_timestamp_nothing_is_issued() {
    for way_to_log in [Way::Channel, Way::InProcess, Way::Http] {
        let world = World::with(Options {
            way_to_log,
            ..Options::default()
        })
        .await;
        use Behaviour::{Fails, JunkSignature, OldTimestamp, OtherEntry, OtherKey, Refuses};
        let bad = [
            JunkSignature,
            OtherKey,
            OtherEntry,
            OldTimestamp,
            Refuses,
            Fails,
        ];
        for behaviour in bad {
            world.log.behave(behaviour);
            let answer = world.sign(&world.token(), &good_key()).await;
            answer.refused(503, "CT_LOG_UNAVAILABLE");
            assert!(answer.headers.contains_key("retry-after"));
            assert!(
                !answer.text.contains("10.1.2.3") && !answer.text.contains("BEGIN CERTIFICATE"),
                "{answer:?}"
            );
        }
        let events = world.events_after(2 * bad.len()).await;
        let failed = (2, "CT_LOG_UNAVAILABLE".to_owned());
        assert_eq!(
            events.iter().filter(|event| **event == failed).count(),
            bad.len(),
            "{events:?}"
        );
        assert!(events.iter().all(|(kind, _)| *kind != 1));
        world.log.behave(Behaviour::Good);
        assert_eq!(world.sign(&world.token(), &good_key()).await.status, 200);
    }
}

#[tokio::test]
async fn a_log_that_does_not_answer_costs_bounded_time() {
    let world = World::with(Options {
        config: |config| config.ct.timeout = Duration::from_millis(100),
        ..Options::default()
    })
    .await;
    world.log.behave(Behaviour::Slow);
    world
        .sign(&world.token(), &good_key())
        .await
        .refused(503, "CT_LOG_UNAVAILABLE");
}

#[tokio::test]
async fn what_is_issued_is_what_was_logged_and_recorded() {
    let world = World::new().await;
    let leaf = world.sign(&world.token(), &good_key()).await.leaf();
    let submissions = world.log.submissions();
    let [submission] = submissions.as_slice() else {
        panic!("{} submissions", submissions.len())
    };
    assert_eq!(submission[1..], world.chain);
    let scts = sealwright_pki::issue::correspond(submission[0].tbs_der(), leaf.tbs_der()).unwrap();
    assert_eq!(scts, embedded_scts(&leaf).unwrap());

    world.events_after(2).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.journal());
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let query = sqlx::query_as("SELECT serial, kind, content FROM event ORDER BY seq");
    let events: Vec<(Vec<u8>, i64, Vec<u8>)> = query.fetch_all(&pool).await.unwrap();
    let serial = leaf.serial().to_vec();
    let expected = [
        (serial.clone(), 0, submission[0].tbs_der().to_vec()),
        (serial, 1, leaf.fingerprint().to_vec()),
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn nothing_is_signed_that_cannot_be_recorded() {
    let world = World::new().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.journal());
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("ALTER TABLE event RENAME TO hidden")
        .execute(&pool)
        .await
        .unwrap();
    world
        .sign(&world.token(), &good_key())
        .await
        .refused(503, "STORAGE_UNAVAILABLE");
    assert!(world.log.submissions().is_empty());
    assert!(
        failed_checks(&world)
            .await
            .contains(&"ca.journal".to_owned())
    );
    sqlx::query("ALTER TABLE hidden RENAME TO event")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(world.sign(&world.token(), &good_key()).await.status, 200);
    assert!(failed_checks(&world).await.is_empty());
}

async fn failed_checks(world: &World) -> Vec<String> {
    let health = sealwright_host::health::Health::new();
    health.register(world.ca.checks());
    let report = health.report().await;
    report
        .checks
        .into_iter()
        .filter(|finding| !finding.ok)
        .map(|finding| finding.name)
        .collect()
}

#[tokio::test]
async fn readiness_asks_the_log_for_our_root_and_the_issuers_for_keys() {
    let world = World::new().await;
    assert!(failed_checks(&world).await.is_empty());
    assert_eq!(world.idp.key_fetches(), 3, "one for each issuer");
    world.log.trust_nobody();
    assert_eq!(failed_checks(&world).await, ["ca.ct"]);
    world.clock.advance(3650 * 24 * 60 * 60);
    assert!(
        failed_checks(&world)
            .await
            .contains(&"ca.certificate".to_owned())
    );
}

#[tokio::test]
async fn an_issuance_outlives_the_client_that_asked_for_it() {
    let world = World::new().await;
    world.log.behave(Behaviour::Waits);
    let request = world.http.post(format!("{}{CA}", world.base));
    let request = request.json(&with_token(&world.token(), &good_key()));
    let client = tokio::spawn(request.send());
    while world.log.submissions().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.abort();
    assert!(client.await.is_err_and(|error| error.is_cancelled()));
    // The server notices that the connection is gone.
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.log.tell();
    let events = world.events_after(2).await;
    let kinds: Vec<i64> = events.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [0, 1]);
}

#[tokio::test]
async fn many_requests_at_once_get_certificates_of_their_own() {
    let world = std::sync::Arc::new(World::new().await);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let world = world.clone();
        requests.spawn(async move {
            world
                .sign(&world.token(), &good_key())
                .await
                .leaf()
                .serial()
                .to_vec()
        });
    }
    let serials: std::collections::BTreeSet<Vec<u8>> =
        requests.join_all().await.into_iter().collect();
    assert_eq!(serials.len(), 40);
    assert_eq!(world.events_after(80).await.len(), 80);
    assert_eq!(world.idp.key_fetches(), 1);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_the_provider_once() {
    let world = World::new().await;
    world.ca.warm().await;
    let before = world.idp.key_fetches();
    world.clock.advance(30);
    for n in 0..20 {
        let header = json!({ "alg": "ES256", "kid": format!("unknown-{n}") });
        let token = world.idp.token_with_header(header, "mail", mail_claims());
        world
            .sign(&token, &good_key())
            .await
            .refused(401, "TOKEN_BAD_SIGNATURE");
    }
    assert_eq!(world.idp.key_fetches(), before + 1);
}

#[tokio::test]
async fn a_slow_provider_is_told_from_a_bad_token() {
    let world = World::new().await;
    world.idp.set_delay(Duration::from_secs(30));
    let started = std::time::Instant::now();
    let answer = world.sign(&world.token(), &good_key()).await;
    let message = answer.refused(503, "ISSUER_UNREACHABLE");
    assert!(message.contains("/mail"), "{message}");
    assert!(started.elapsed() < Duration::from_secs(8));
    let again = std::time::Instant::now();
    world
        .sign(&world.token(), &good_key())
        .await
        .refused(503, "ISSUER_UNREACHABLE");
    assert!(
        again.elapsed() < Duration::from_secs(1),
        "the failure is remembered"
    );
}

#[tokio::test]
async fn a_leaf_never_outlives_its_issuer() {
    let world = World::with(Options {
        ca_not_after: NOW + 110,
        ..Options::default()
    })
    .await;
    assert_eq!(
        world
            .sign(&world.token(), &good_key())
            .await
            .leaf()
            .not_after(),
        NOW + 110
    );
    world.clock.advance(111);
    let token = world.idp.token(
        "mail",
        json!({ "email": "ann@example.com", "email_verified": true }),
    );
    world
        .sign(&token, &good_key())
        .await
        .refused(503, "SIGNER_UNAVAILABLE");
}

#[tokio::test]
async fn validity_and_backdate_are_the_operators() {
    let world = World::with(Options {
        config: |config| {
            (config.validity, config.backdate) = (Duration::from_secs(300), Duration::from_secs(20))
        },
        ..Options::default()
    })
    .await;
    let leaf = world.sign(&world.token(), &good_key()).await.leaf();
    assert_eq!((leaf.not_before(), leaf.not_after()), (NOW - 20, NOW + 300));
}

#[tokio::test]
async fn a_root_may_issue_by_itself() {
    let world = World::with(Options {
        root_issues: true,
        ..Options::default()
    })
    .await;
    let answer = world.sign(&world.token(), &good_key()).await;
    let chain = answer.chain();
    assert_eq!(chain[1..], world.chain);
    check_certificate(
        &world,
        &chain[0],
        &ann(),
        &format!("{}/mail", world.idp.base),
    );
}

#[tokio::test]
async fn authorities_that_nobody_would_accept_do_not_start() {
    let problem =
        async |chain: Vec<Certificate>, key: PrivateKey| match World::open(chain, key).await {
            Err(Error::Chain(problem)) => problem,
            other => panic!("{other:?}"),
        };
    let (root_key, key) = (generate(KeyType::EcP384), generate(KeyType::EcP256));
    let good_root = root(&root_key, &name("Root"), 1, &envelope(NOW + 1000)).unwrap();
    let issue = |purpose, parent: &Certificate, parent_key: &PrivateKey, not_after| {
        let parent = Parent {
            certificate: parent,
            key: parent_key,
        };
        intermediate(
            key.public_key(),
            &name("Issuing"),
            purpose,
            &envelope(not_after),
            parent,
        )
        .unwrap()
    };
    let good = issue(Purpose::CodeSigning, &good_root, &root_key, NOW + 1000);
    let copy = || PrivateKey::from_pkcs8_der(&key.to_pkcs8_der()).unwrap();
    World::open(vec![good.clone(), good_root.clone()], copy())
        .await
        .unwrap();

    assert!(matches!(problem(vec![], copy()).await, ChainProblem::Empty));
    assert!(matches!(
        problem(
            vec![good.clone(), good_root.clone()],
            generate(KeyType::EcP256)
        )
        .await,
        ChainProblem::Pki(_)
    ));
    assert!(matches!(
        problem(vec![good.clone()], copy()).await,
        ChainProblem::NoRoot
    ));
    let stranger = root(
        &generate(KeyType::EcP384),
        &name("Root"),
        1,
        &envelope(NOW + 1000),
    )
    .unwrap();
    assert!(matches!(
        problem(vec![good, stranger], copy()).await,
        ChainProblem::NotSignedByNext { at: 0 }
    ));
    let expired = issue(Purpose::CodeSigning, &good_root, &root_key, NOW - 1);
    assert!(matches!(
        problem(vec![expired, good_root.clone()], copy()).await,
        ChainProblem::NotValid { at: 0, .. }
    ));
    let stamping = issue(Purpose::TimeStamping, &good_root, &root_key, NOW + 1000);
    assert!(matches!(
        problem(vec![stamping, good_root], copy()).await,
        ChainProblem::Pki(_)
    ));
    let short = root(&root_key, &name("Root"), 0, &envelope(NOW + 1000)).unwrap();
    let below = issue(Purpose::CodeSigning, &short, &root_key, NOW + 1000);
    assert!(matches!(
        problem(vec![below, short], copy()).await,
        ChainProblem::PathLength {
            at: 1,
            limit: 0,
            below: 1
        }
    ));
}

/// An authority certificate without keyCertSign, which our own tools do not write and OpenSSL does.
#[tokio::test]
async fn an_authority_that_may_not_sign_certificates_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key.pem"), path("ca.pem"));
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        &key,
    ]);
    for usage in ["digitalSignature", "cRLSign"] {
        let usage = format!("keyUsage=critical,{usage}");
        let subject = [
            "req",
            "-x509",
            "-new",
            "-key",
            &key,
            "-subj",
            "/O=Example/CN=Root",
            "-days",
            "36500",
        ];
        let extensions = ["-addext", &usage, "-out", &certificate];
        openssl(&[&subject[..], &extensions].concat());
        let chain = pem_chain(&std::fs::read_to_string(&certificate).unwrap());
        let key = PrivateKey::from_pem(&std::fs::read_to_string(&key).unwrap()).unwrap();
        assert!(matches!(
            World::open(chain, key).await,
            Err(Error::Chain(ChainProblem::Pki(_)))
        ));
    }
}

#[tokio::test]
async fn openssl_reads_and_verifies_what_we_issue() {
    let world = World::new().await;
    let chain = world.sign(&world.token(), &good_key()).await.chain();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, certificate: &Certificate| {
        let path = folder.path().join(name);
        std::fs::write(&path, certificate.to_pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (leaf, issuing, root) = (
        write("leaf", &chain[0]),
        write("issuing", world.issuing()),
        write("root", world.root()),
    );
    let at = (NOW + 300).to_string();
    let verified = openssl(&[
        "verify",
        "-x509_strict",
        "-attime",
        &at,
        "-CAfile",
        &root,
        "-untrusted",
        &issuing,
        &leaf,
    ]);
    assert!(verified.trim_end().ends_with("OK"), "{verified}");
    let text = openssl(&["x509", "-in", &leaf, "-noout", "-text"]);
    for expected in [
        "Version: 3",
        "Subject: \n",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                Code Signing\n",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "X509v3 Subject Alternative Name: critical\n                email:ann@example.com\n",
        "1.3.6.1.4.1.57264.1.1",
        "1.3.6.1.4.1.57264.1.8",
        "CT Precertificate SCTs",
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            squeezed(&text).contains(&squeezed(expected)),
            "{expected:?} is not in\n{text}"
        );
    }
}

#[tokio::test]
async fn the_chain_ends_in_the_root_and_the_bundle_is_the_chain() {
    let world = World::new().await;
    let answer = world.sign(&world.token(), &good_key()).await;
    assert_eq!(answer.chain()[1..], world.chain);
    let json = answer.json();
    let pem = json["signedCertificateEmbeddedSct"]["chain"]["certificates"][0]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        pem.ends_with("-----END CERTIFICATE-----"),
        "no trailing line break"
    );

    let bundle = world
        .send(world.http.get(format!("{}/api/v2/trustBundle", world.base)))
        .await
        .json();
    let pems = bundle["chains"][0]["certificates"].as_array().unwrap();
    let pems: Vec<&str> = pems.iter().map(|pem| pem.as_str().unwrap()).collect();
    assert_eq!(
        pems,
        world
            .chain
            .iter()
            .map(Certificate::to_pem)
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_configuration_tells_clients_what_to_sign() {
    let world = World::new().await;
    let configuration = world
        .send(
            world
                .http
                .get(format!("{}/api/v2/configuration", world.base)),
        )
        .await
        .json();
    let issuers = configuration["issuers"].as_array().unwrap();
    let told: Vec<_> = issuers
        .iter()
        .map(|issuer| {
            let text = |name: &str| issuer[name].as_str().unwrap_or_default().to_owned();
            (
                text("issuerUrl"),
                text("audience"),
                text("challengeClaim"),
                text("issuerType"),
                text("subjectDomain"),
            )
        })
        .collect();
    let base = &world.idp.base;
    let row = |issuer: &str, claim: &str, kind: &str, domain: &str| {
        (
            format!("{base}/{issuer}"),
            "sigstore".to_owned(),
            claim.to_owned(),
            kind.to_owned(),
            domain.to_owned(),
        )
    };
    let expected = [
        row("ci", "sub", "ci-provider", ""),
        row("mail", "email", "email", ""),
        row("uri", "sub", "uri", base),
    ];
    assert_eq!(told, expected);
    assert_eq!(issuers[1]["skipEmailVerification"], false);
}

#[tokio::test]
async fn grpc_gives_the_same_answers_as_http() {
    let world = World::new().await;
    let channel = tonic::transport::Channel::from_shared(world.base.clone())
        .unwrap()
        .connect_lazy();
    let mut client = CaClient::new(channel);
    let key = generate(KeyType::EcP256);
    let request = |token: &str| {
        use proto::create_signing_certificate_request::Key;
        let proof = key
            .sign(Algorithm::EcdsaP256Sha256, b"ann@example.com")
            .unwrap();
        let public_key = proto::PublicKey {
            content: key.public_key().to_pem(),
            ..proto::PublicKey::default()
        };
        proto::CreateSigningCertificateRequest {
            credentials: Some(proto::Credentials {
                credentials: Some(proto::credentials::Credentials::OidcIdentityToken(
                    token.to_owned(),
                )),
            }),
            key: Some(Key::PublicKeyRequest(proto::PublicKeyRequest {
                public_key: Some(public_key),
                proof_of_possession: proof,
            })),
        }
    };
    let chain = |answer: proto::SigningCertificate| match answer.certificate.unwrap() {
        proto::signing_certificate::Certificate::SignedCertificateEmbeddedSct(embedded) => {
            embedded.chain.unwrap().certificates
        }
        other => panic!("{other:?}"),
    };
    let answer = client
        .create_signing_certificate(request(&world.token()))
        .await
        .unwrap()
        .into_inner();
    let certificates = chain(answer);
    assert_eq!(certificates.len(), 3);
    let leaf = Certificate::from_pem(&certificates[0]).unwrap();
    check_certificate(&world, &leaf, &ann(), &format!("{}/mail", world.idp.base));

    let mut beside = tonic::Request::new(request(""));
    beside
        .metadata_mut()
        .insert("oidcidentitytoken", world.token().parse().unwrap());
    assert!(client.create_signing_certificate(beside).await.is_ok());
    let mut bearer = tonic::Request::new(request(""));
    bearer.metadata_mut().insert(
        "authorization",
        format!("Bearer {}", world.token()).parse().unwrap(),
    );
    assert!(client.create_signing_certificate(bearer).await.is_ok());

    let refused = client
        .create_signing_certificate(request("nonsense"))
        .await
        .unwrap_err();
    let (reason, _) = sealwright_host::status::from_status(&refused).expect("a reason of ours");
    assert_eq!(
        (refused.code(), reason),
        (
            tonic::Code::Unauthenticated,
            sealwright_host::Reason::TokenMalformed
        )
    );
    let bundle = client
        .get_trust_bundle(proto::GetTrustBundleRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(bundle.chains[0].certificates.len(), 2);
    let configuration = client
        .get_configuration(proto::GetConfigurationRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(configuration.issuers.len(), 3);
}

#[tokio::test]
async fn the_authority_describes_itself_with_a_proof_of_its_key() {
    let world = World::new().await;
    let host = sealwright_host::run::HostConfig::default();
    let channel = sealwright_host::grpc::memory_channel(&host, world.ca.trust_material_router());
    let mut client = TrustMaterialClient::new(channel);
    let challenge = vec![7; 32];
    let request = DescribeRequest {
        challenge: challenge.clone(),
    };
    let materials = client
        .describe(request)
        .await
        .unwrap()
        .into_inner()
        .materials;
    let [material] = materials.as_slice() else {
        panic!("{} materials", materials.len())
    };
    assert_eq!(material.kind(), MaterialKind::CertificateAuthority);
    assert_eq!(
        (material.url.as_str(), material.operator.as_str()),
        ("https://ca.example.com", "example.com")
    );
    assert_eq!(material.chain.len(), 2);
    let key = world.issuing().public_key().unwrap();
    let proof = &material.proof_of_possession;
    key.verify(
        key.default_algorithm(),
        &material.proof_message(&challenge),
        proof,
    )
    .unwrap();
    assert!(
        key.verify(
            key.default_algorithm(),
            &material.proof_message(&[8; 32]),
            proof
        )
        .is_err()
    );
    let refused = client
        .describe(DescribeRequest {
            challenge: vec![7; 4],
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn an_orderly_end_loses_no_outcome() {
    let world = World::new().await;
    world.sign(&world.token(), &good_key()).await.leaf();
    let World { ca, folder, .. } = world;
    ca.shutdown().await;
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("issuance.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let kinds: Vec<(i64,)> = sqlx::query_as("SELECT kind FROM event ORDER BY seq")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(
        kinds,
        [(0,), (1,)],
        "the outcome is written when the authority ends"
    );
}

/// Prints what a certificate costs: `cargo test --release -p sealwright-ca --test ca -- --ignored --nocapture cost`.
///
/// Requests are made beforehand and enter through the router, so that the figure is the authority's and that of the
/// small log of these tests, without sockets and without the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a claim"]
async fn cost_of_a_certificate() {
    use axum::body::Body;
    use tower::ServiceExt as _;

    const REQUESTS: usize = 2000;
    let world = World::with(Options {
        way_to_log: Way::InProcess,
        ..Options::default()
    })
    .await;
    world.ca.warm().await;
    let router = world.ca.router();
    let bodies: Vec<String> = (0..REQUESTS)
        .map(|_| with_token(&world.token(), &good_key()).to_string())
        .collect();
    for at_once in [1, 16] {
        let queue = std::sync::Arc::new(std::sync::Mutex::new(bodies.clone()));
        let took = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let (cpu, started) = (
            sealwright_host::metrics::cpu_seconds().unwrap(),
            std::time::Instant::now(),
        );
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..at_once {
            let (queue, took, router) = (queue.clone(), took.clone(), router.clone());
            clients.spawn(async move {
                loop {
                    let Some(body) = queue.lock().unwrap().pop() else {
                        return;
                    };
                    let request = http::Request::post(CA).body(Body::from(body)).unwrap();
                    let begun = std::time::Instant::now();
                    assert_eq!(router.clone().oneshot(request).await.unwrap().status(), 200);
                    took.lock().unwrap().push(begun.elapsed());
                }
            });
        }
        clients.join_all().await;
        let cpu = sealwright_host::metrics::cpu_seconds().unwrap() - cpu;
        let mut took = took.lock().unwrap().clone();
        took.sort();
        println!(
            "{at_once} at once: {:.0} us CPU each, {:.0} a second, p50 {:?}, p99 {:?}",
            cpu * 1e6 / REQUESTS as f64,
            REQUESTS as f64 / started.elapsed().as_secs_f64(),
            took[REQUESTS / 2],
            took[REQUESTS * 99 / 100],
        );
    }
}
