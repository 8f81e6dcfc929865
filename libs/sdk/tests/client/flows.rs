//! What works: each way of signing, and what the requests of one run have in common.

use std::sync::Arc;

use sealwright_crypto::{KeyType, MemorySigner, PrivateKey};
use sealwright_sdk::bundle::policy::PredicateTypes;
use sealwright_sdk::bundle::verdict::Signer;
use sealwright_sdk::bundle::{Bundle, IdentityRule, Policy, TrustedKey};
use sealwright_sdk::{
    Artifact, CertificationRequest, Error, TokenProblem, Verdict, blocking, signing_algorithm,
    verify,
};
use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, statement};
use serde_json::json;

use crate::instance::{CA, Instance, LOG, TSA, token, token_with};

fn by_jane() -> sealwright_sdk::bundle::policy::SignerChosen {
    Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER).expect("a rule"))
}

#[tokio::test]
async fn a_keyless_signature_verifies_and_another_file_does_not() {
    let instance = Instance::start().await;
    let session = instance
        .context()
        .keyless(token())
        .await
        .expect("a session");
    let signed = session
        .sign(&Artifact::Bytes(b"artifact".to_vec()))
        .await
        .expect("it signs");
    assert!(
        matches!(signed.verified().signer(), Signer::Identity { subject, .. } if subject == EMAIL)
    );

    let bundle = Bundle::parse(signed.to_json().as_bytes()).expect("what is written can be read");
    let root = instance.trust.trusted_root();
    let policy = by_jane().blob();
    let later = instance.now() + 30 * 24 * 3600;
    verify(
        &bundle,
        &Artifact::Bytes(b"artifact".to_vec()),
        root,
        &policy,
        later,
    )
    .await
    .expect("it verifies");
    let error = verify(
        &bundle,
        &Artifact::Bytes(b"artifacts".to_vec()),
        root,
        &policy,
        later,
    )
    .await
    .expect_err("changed");
    assert_eq!(error.verdict(), Verdict::Refused);
}

#[tokio::test]
async fn every_key_type_signs() {
    let instance = Instance::start().await;
    for key_type in [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 3072 },
    ] {
        let context = instance.context().with_key_type(key_type);
        let session = context
            .keyless(token())
            .await
            .unwrap_or_else(|error| panic!("{key_type}: {error}"));
        let signed = session.sign(&Artifact::Bytes(b"x".to_vec())).await;
        signed.unwrap_or_else(|error| panic!("{key_type}: {error}"));
    }
}

#[tokio::test]
async fn a_statement_is_signed_byte_for_byte() {
    let instance = Instance::start().await;
    let session = instance
        .context()
        .keyless(token())
        .await
        .expect("a session");
    let text = statement(b"artifact", "https://example.com/p").replace(":true", ": true ");
    let signed = session
        .attest(text.clone().into_bytes())
        .await
        .expect("it signs");
    assert_eq!(signed.verified().statement_json(), Some(text.as_str()));

    let policy = by_jane().attestation(PredicateTypes::Any);
    let artifact = Artifact::Bytes(b"artifact".to_vec());
    verify(
        signed.bundle(),
        &artifact,
        instance.trust.trusted_root(),
        &policy,
        instance.now(),
    )
    .await
    .expect("it verifies");
    let error = session
        .attest(b"{}".to_vec())
        .await
        .expect_err("no statement");
    assert_eq!(error.verdict(), Verdict::Refused);
    assert_eq!(instance.asked(LOG), 1, "what is no statement is not logged");
}

#[tokio::test]
async fn a_key_of_ones_own_needs_no_certificate() {
    let instance = Instance::start().await;
    for key_type in [
        KeyType::EcP256,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 2048 },
    ] {
        let key = PrivateKey::generate(key_type).expect("a key");
        let public = key.public_key().clone();
        let signer =
            MemorySigner::with_algorithm(key, signing_algorithm(key_type)).expect("it fits");
        let session = instance
            .context()
            .with_key(Arc::new(signer))
            .expect("a session");
        let signed = session
            .sign(&Artifact::Bytes(b"x".to_vec()))
            .await
            .unwrap_or_else(|error| panic!("{key_type}: {error}"));
        assert!(signed.certificate().is_none());
        let policy = Policy::signed_by_key(TrustedKey::new(public)).blob();
        let artifact = Artifact::Bytes(b"x".to_vec());
        verify(
            signed.bundle(),
            &artifact,
            instance.trust.trusted_root(),
            &policy,
            instance.now(),
        )
        .await
        .expect("it verifies");
    }
    assert_eq!(instance.asked(CA), 0);
}

#[tokio::test]
async fn many_artifacts_share_one_certificate() {
    let instance = Instance::start().await;
    let session = instance
        .context()
        .keyless(token())
        .await
        .expect("a session");
    let artifacts = (0..20_u8)
        .map(|number| Artifact::Bytes(vec![number]))
        .collect();
    let signed = session.sign_all(artifacts, 8).await;
    let certificates: Vec<_> = signed
        .iter()
        .map(|signed| signed.as_ref().expect("it signs").certificate().cloned())
        .collect();
    assert!(certificates.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(
        (instance.asked(CA), instance.asked(TSA), instance.asked(LOG)),
        (1, 20, 20)
    );
}

#[tokio::test]
async fn a_certificate_near_its_end_is_replaced_while_the_token_lasts() {
    let instance = Instance::start().await;
    let session = instance
        .context()
        .keyless(token())
        .await
        .expect("a session");
    instance.advance(580);
    session
        .sign(&Artifact::Bytes(b"x".to_vec()))
        .await
        .expect("it signs with a new certificate");
    assert_eq!(instance.asked(CA), 2);
    instance.advance(3600);
    let error = session
        .sign(&Artifact::Bytes(b"y".to_vec()))
        .await
        .expect_err("the token has expired too");
    assert_eq!(error.code(), "TOKEN_EXPIRED");
}

#[tokio::test]
async fn timestamp_and_log_are_asked_at_the_same_time() {
    let instance = Instance::start().await;
    instance.make_tsa_wait_for_log();
    let session = instance
        .context()
        .keyless(token())
        .await
        .expect("a session");
    let artifact = Artifact::Bytes(b"x".to_vec());
    let signed = session.sign(&artifact);
    let signed = tokio::time::timeout(std::time::Duration::from_secs(20), signed).await;
    signed
        .expect("one after the other would wait for ever")
        .expect("it signs");
}

#[tokio::test]
async fn all_requests_are_of_one_trace_with_spans_of_their_own() {
    let instance = Instance::start().await;
    let session = instance
        .context()
        .keyless(token())
        .await
        .expect("a session");
    session
        .sign(&Artifact::Bytes(b"x".to_vec()))
        .await
        .expect("it signs");
    let mut parents = instance.headers("traceparent");
    assert_eq!(parents.len(), 3);
    assert!(
        parents
            .iter()
            .all(|parent| parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")),
        "{parents:?}"
    );
    parents.sort();
    parents.dedup();
    assert_eq!(parents.len(), 3);
}

#[tokio::test]
async fn a_token_that_cannot_work_is_not_sent() {
    let instance = Instance::start().await;
    let expired = token_with(|claims| claims["exp"] = json!(instance.now()));
    let error = instance
        .context()
        .keyless(expired)
        .await
        .expect_err("it has expired");
    assert_eq!((error.code(), instance.asked("")), ("TOKEN_EXPIRED", 0));
    let unverified = token_with(|claims| claims["email_verified"] = json!(false));
    let error = instance
        .context()
        .keyless(unverified)
        .await
        .expect_err("the address is not verified");
    assert_eq!(
        (error.code(), instance.asked("")),
        ("TOKEN_CLAIMS_REFUSED", 0)
    );
}

#[tokio::test]
async fn another_audience_is_the_authoritys_to_accept() {
    let instance = Instance::start().await;
    let other = || token_with(|claims| claims["aud"] = json!("corp"));
    let error = instance
        .context()
        .keyless(other())
        .await
        .expect_err("the authority says sigstore");
    let expected = TokenProblem::Audience {
        found: "[\"corp\"]".into(),
        expected: "sigstore".into(),
    };
    assert_eq!(error.to_string(), format!("identity token: {expected}"));
    assert_eq!(instance.asked("/ca/api/v2/signingCert"), 0);

    instance.expect_audience(Some("corp"));
    instance
        .context()
        .keyless(other())
        .await
        .expect("the authority says corp");
    instance.expect_audience(None);
    instance
        .context()
        .keyless(other())
        .await
        .expect("the authority does not say, and takes it");
    let strict = instance.context().with_audience("sigstore");
    assert_eq!(
        strict
            .keyless(other())
            .await
            .expect_err("the caller says sigstore")
            .code(),
        "TOKEN_WRONG_AUDIENCE"
    );
}

#[tokio::test]
async fn a_certificate_alone_is_for_its_key_and_names_its_log() {
    let instance = Instance::start().await;
    let key = PrivateKey::generate(KeyType::EcP384).expect("a key");
    let request = CertificationRequest::for_key(&key).expect("a request");
    let issued = instance.context().certificate(&token(), &request).await;
    let issued = issued.expect("a certificate");
    assert_eq!((issued.subject(), issued.issuer()), (EMAIL, ISSUER));
    assert_eq!(issued.certificate().spki_der(), key.public_key().spki_der());
    assert_eq!(issued.certificate_logs().len(), 1);
    let chain = sealwright_pki::certificate::parse_pem_chain(&issued.to_pem_chain());
    let chain = chain.expect("what is written can be read");
    assert_eq!(&chain[0], issued.certificate());
    assert!(
        chain
            .iter()
            .all(|certificate| !certificate.is_self_issued()),
        "no root"
    );
    assert_eq!(
        (instance.asked(TSA), instance.asked(LOG)),
        (0, 0),
        "nothing was signed"
    );
}

/// A program without a runtime: a thread of its own, beside the one the services run in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blocking_client_does_the_same() {
    let instance = Instance::start().await;
    let (context, trust, now) = (instance.context(), instance.trust.clone(), instance.now());
    let inside = blocking::SigningContext::new(instance.context()).keyless(token());
    let refused = inside.expect_err("it would hold up the runtime");
    assert!(matches!(refused, Error::InsideRuntime));
    assert_eq!(instance.asked(CA), 0);

    let program = std::thread::spawn(move || -> Result<usize, Error> {
        let session = blocking::SigningContext::new(context).keyless(token())?;
        let artifacts = ["a", "b", "c"].map(|text| Artifact::Bytes(text.into()));
        let signed = session.sign_all(artifacts.to_vec(), 2)?;
        for (artifact, signed) in artifacts.iter().zip(&signed) {
            let signed = signed.as_ref().expect("it signs");
            let policy = by_jane().blob();
            blocking::verify(
                signed.bundle(),
                artifact,
                trust.trusted_root(),
                &policy,
                now,
            )?;
        }
        session.attest(statement(b"a", "https://example.com/p").into_bytes())?;
        Ok(signed.len())
    });
    let done = tokio::task::spawn_blocking(|| program.join()).await;
    let done = done.expect("no panic").expect("no panic");
    assert_eq!(done.expect("it signs and verifies"), 3);
    assert_eq!(instance.asked(CA), 1, "one certificate for all");
}
