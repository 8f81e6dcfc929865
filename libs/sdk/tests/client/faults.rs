//! What does not work: services that fail, stall, answer nonsense, or lie.

use std::time::{Duration, Instant};

use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_sdk::{
    Artifact, CertificationRequest, Error, Failure, ServiceName, Signed, Verdict,
};

use serde_json::json;

use crate::instance::{CA, Fault, GONE, Instance, LOG, Lie, TSA, token};

const SERVICES: [(&str, ServiceName); 3] = [
    (CA, ServiceName::CertificateAuthority),
    (TSA, ServiceName::TimestampAuthority),
    (LOG, ServiceName::TransparencyLog),
];

async fn sign(instance: &Instance) -> Result<Signed, Error> {
    let session = instance.context().keyless(token()).await?;
    session.sign(&Artifact::Bytes(b"artifact".to_vec())).await
}

fn blamed(error: &Error) -> ServiceName {
    match error {
        Error::Service { service, .. } => *service,
        other => panic!("no service is blamed: {other}"),
    }
}

#[tokio::test]
async fn a_service_that_is_busy_is_asked_again() {
    for (path, _) in SERVICES {
        for status in [429, 500, 502, 503, 504] {
            let instance = Instance::start().await;
            instance.fail(path, &[Fault::Status(status, "OVERLOADED"); 2]);
            sign(&instance)
                .await
                .unwrap_or_else(|error| panic!("{path} {status}: {error}"));
            assert_eq!(instance.asked(path), 3);
        }
    }
}

#[tokio::test]
async fn a_broken_answer_is_asked_for_again() {
    for (path, _) in SERVICES {
        let instance = Instance::start().await;
        instance.fail(path, &[Fault::HalfAnswer]);
        sign(&instance)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(instance.asked(path), 2);
    }
}

#[tokio::test]
async fn a_service_that_stays_away_leaves_the_question_open() {
    for (path, service) in SERVICES {
        let instance = Instance::start().await;
        instance.fail(path, &[Fault::Status(503, "SHUTTING_DOWN"); 10]);
        let error = sign(&instance).await.expect_err("it is away");
        assert_eq!(
            (blamed(&error), error.verdict(), error.code()),
            (service, Verdict::Undecided, "SHUTTING_DOWN")
        );
        assert_eq!(instance.asked(path), 4);
        assert!(error.to_string().contains("[request req-1]"), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_is_final_and_typed() {
    for (path, service) in SERVICES {
        let instance = Instance::start().await;
        instance.fail(path, &[Fault::Status(401, "TOKEN_UNKNOWN_ISSUER")]);
        let error = sign(&instance).await.expect_err("it is refused");
        assert_eq!(
            (blamed(&error), error.verdict(), error.code()),
            (service, Verdict::Refused, "TOKEN_UNKNOWN_ISSUER")
        );
        assert_eq!(instance.asked(path), 1);
    }
}

#[tokio::test]
async fn a_silent_service_costs_bounded_time() {
    for (path, service) in SERVICES {
        let instance = Instance::start().await;
        instance.fail(path, &[Fault::Silence; 10]);
        let context =
            instance.context_with(|options| options.attempt_timeout = Duration::from_millis(100));
        let started = Instant::now();
        let error = match context.keyless(token()).await {
            Ok(session) => session
                .sign(&Artifact::Bytes(b"x".to_vec()))
                .await
                .expect_err("it is silent"),
            Err(error) => error,
        };
        assert_eq!((blamed(&error), error.code()), (service, "SERVICE_TIMEOUT"));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn all_attempts_together_have_a_limit() {
    let instance = Instance::start().await;
    instance.fail(CA, &[Fault::Silence; 10]);
    let context = instance.context_with(|options| {
        options.attempt_timeout = Duration::from_secs(600);
        options.request_timeout = Duration::from_millis(100);
    });
    let error = context.keyless(token()).await.expect_err("it is silent");
    assert_eq!(
        (error.code(), error.verdict()),
        ("SERVICE_TIMEOUT", Verdict::Undecided)
    );
    assert_eq!(instance.asked(CA), 1, "it was still the first attempt");
}

#[tokio::test]
async fn nonsense_is_not_understood() {
    for (path, service) in SERVICES {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "<html>",
            "{\"signedCertificateEmbeddedSct\":{\"chain\":{\"certificates\":[\"x\"]}}}",
        ] {
            let instance = Instance::start().await;
            instance.fail(path, &[Fault::Body(body)]);
            let error = sign(&instance).await.expect_err(body);
            assert_eq!(blamed(&error), service, "{path} {body:?}: {error}");
            assert!(matches!(
                error,
                Error::Service {
                    failure: Failure::Malformed(_) | Failure::Untrustworthy(_),
                    ..
                }
            ));
        }
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    for (path, service) in SERVICES {
        let instance = Instance::start().await;
        instance.fail(path, &[Fault::Endless]);
        let error = sign(&instance).await.expect_err("it does not end");
        assert_eq!(
            (blamed(&error), error.code()),
            (service, "SERVICE_ANSWER_TOO_LARGE")
        );
    }
}

#[tokio::test]
async fn a_token_does_not_follow_a_redirect() {
    let instance = Instance::start().await;
    instance.fail(CA, &[Fault::Redirect]);
    let error = sign(&instance).await.expect_err("it redirects");
    assert!(
        error.to_string().contains("http://elsewhere.test/"),
        "{error}"
    );
    assert_eq!(instance.asked(CA), 1);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let instance = Instance::start().await;
    let url = instance.url.clone();
    let context = instance.context();
    drop(instance);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = context.keyless(token()).await.expect_err("nobody listens");
    assert_eq!(
        (error.code(), error.verdict()),
        ("SERVICE_UNREACHABLE", Verdict::Undecided)
    );
    assert!(error.to_string().contains(&url), "{error}");
}

#[tokio::test]
async fn a_lying_authority_gets_no_signature_out_of_us() {
    for (lie, expected) in [
        (Lie::CertificateForAnotherKey, "another key"),
        (Lie::CertificateForAnotherPerson, "mallory@example.com"),
        (Lie::CertificateOfAnotherIssuer, "https://evil.test"),
        (Lie::CertificateWithoutSct, "SCT_MISSING"),
        (Lie::CertificateWithForgedSct, "SCT"),
        (Lie::CertificateOfAnotherAuthority, "CERTIFICATE_UNTRUSTED"),
    ] {
        let instance = Instance::start().await;
        instance.lie(lie);
        let error = sign(&instance).await.expect_err("it lies");
        let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
        let request = CertificationRequest::for_key(&key).expect("a request");
        let certificate = instance.context().certificate(&token(), &request).await;
        let alone = certificate.expect_err("it lies to whoever wants the certificate alone, too");
        assert_eq!(
            (alone.code(), alone.to_string()),
            (error.code(), error.to_string())
        );
        assert_eq!(
            blamed(&error),
            ServiceName::CertificateAuthority,
            "{lie:?}: {error}"
        );
        assert_eq!(
            (error.code(), error.verdict()),
            ("SERVICE_ANSWER_UNTRUSTWORTHY", Verdict::Refused)
        );
        assert!(error.to_string().contains(expected), "{lie:?}: {error}");
        assert_eq!(
            (instance.asked(TSA), instance.asked(LOG)),
            (0, 0),
            "nothing was signed"
        );
    }
}

#[tokio::test]
async fn a_lying_timestamp_authority_is_found_out() {
    for lie in [
        Lie::TimestampWithoutNonce,
        Lie::TimestampOverOtherData,
        Lie::TimestampOfAnotherAuthority,
        Lie::TimestampOutsideTheCertificate,
    ] {
        let instance = Instance::start().await;
        instance.lie(lie);
        let error = sign(&instance).await.expect_err("it lies");
        assert_eq!(
            blamed(&error),
            ServiceName::TimestampAuthority,
            "{lie:?}: {error}"
        );
        assert_eq!(
            (error.code(), error.verdict()),
            ("SERVICE_ANSWER_UNTRUSTWORTHY", Verdict::Refused)
        );
    }
}

#[tokio::test]
async fn a_lying_log_is_found_out_before_anything_is_handed_out() {
    for lie in [
        Lie::EntryOfAnotherSignature,
        Lie::EntryWithBrokenProof,
        Lie::EntryOfAnotherLog,
    ] {
        let instance = Instance::start().await;
        instance.lie(lie);
        let error = sign(&instance).await.expect_err("it lies");
        assert_eq!(
            blamed(&error),
            ServiceName::TransparencyLog,
            "{lie:?}: {error}"
        );
        assert_eq!(
            (error.code(), error.verdict()),
            ("SERVICE_ANSWER_UNTRUSTWORTHY", Verdict::Refused)
        );
    }
}

#[tokio::test]
async fn where_any_service_will_do_another_stands_in() {
    let instance = Instance::start_selecting(Some(json!({ "selector": "ANY" }))).await;
    let session = instance
        .context()
        .keyless(token())
        .await
        .expect("a session");
    let artifacts = (0..16_u8)
        .map(|number| Artifact::Bytes(vec![number]))
        .collect();
    for signed in session.sign_all(artifacts, 4).await {
        signed.expect("one of both is there");
    }
    // Which one is asked first depends on the artifact, so that load is spread.
    let gone = instance.asked(GONE);
    assert!(
        gone > 0 && gone < 32,
        "{gone} of 32 began at the service that is not there"
    );
}

#[tokio::test]
async fn where_all_services_are_needed_none_is_passed_over() {
    for selector in [
        json!({ "selector": "ALL" }),
        json!({ "selector": "EXACT", "count": 2 }),
    ] {
        let instance = Instance::start_selecting(Some(selector)).await;
        let error = sign(&instance).await.expect_err("one is not there");
        assert!(error.to_string().contains(GONE), "{error}");
    }
}
