//! Requests that are read behind a service's door: the whole service answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt as _;
use sealwright_crypto::{KeyType, MemorySigner, PrivateKey};
use sealwright_host::clock::ManualClock;
use sealwright_host::metrics::Registry;
use sealwright_pki::authority::{self, AuthorityName, Envelope, Parent};
use sealwright_pki::timestamp::inspect;
use sealwright_pki::{Purpose, SerialNumber};
use sealwright_testkit::bundle_factory::{DAY, NOW};
use sealwright_tsa::{Config, Deps, Tsa};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::Target;
use crate::mutate::Format;

pub(super) const TIMESTAMP_JSON: Target = Target {
    name: "timestamp_json",
    format: Format::Json,
    dictionary: &[
        "artifactHash",
        "certificates",
        "hashAlgorithm",
        "nonce",
        "tsaPolicyOID",
        "sha256",
        "sha384",
        "sha512",
        "sha1",
        "1.3.6.1.4.1.57264.2",
        "2.999.340282366920938463463374607431768211456",
    ],
    cases: 2000,
    peak_factor: 64,
    check: timestamp_json,
};

/// A timestamp authority in memory; its folder lives as long as it does.
struct Authority {
    runtime: Runtime,
    router: Router,
    _state: tempfile::TempDir,
}

impl Authority {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let state = tempfile::tempdir().expect("a folder");
        let (root_key, issuer_key, key) = (generate(), generate(), generate());
        let root = authority::root(&root_key, &name("root"), 1, &envelope(1)).expect("a root");
        let above = Parent {
            certificate: &root,
            key: &root_key,
        };
        let issuer = authority::intermediate(
            issuer_key.public_key(),
            &name("issuer"),
            Purpose::TimeStamping,
            &envelope(2),
            above,
        )
        .expect("an issuer");
        let parent = Parent {
            certificate: &issuer,
            key: &issuer_key,
        };
        let leaf =
            authority::time_stamping_leaf(key.public_key(), &name("tsa"), &envelope(3), parent)
                .expect("a leaf");
        let deps = Deps {
            clock: Arc::new(ManualClock::at(NOW)),
            registry: Registry::new(),
            state: state.path().to_owned(),
            signer: Arc::new(MemorySigner::new(key)),
            chain: vec![leaf, issuer, root],
        };
        let tsa = runtime
            .block_on(Tsa::open(Config::default(), deps))
            .expect("the authority opens");
        Self {
            router: tsa.router(),
            runtime,
            _state: state,
        }
    }

    fn post(&self, content_type: &str, body: &[u8]) -> (http::StatusCode, Vec<u8>) {
        let request = http::Request::post("/api/v1/timestamp").header("content-type", content_type);
        let request = request.body(Body::from(body.to_vec())).expect("a request");
        self.runtime.block_on(async {
            let answer = self
                .router
                .clone()
                .oneshot(request)
                .await
                .unwrap_or_else(|never| match never {});
            let status = answer.status();
            let body = answer
                .into_body()
                .collect()
                .await
                .expect("an answer in memory");
            (status, body.to_bytes().to_vec())
        })
    }
}

fn generate() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).expect("a key")
}

fn name(common_name: &str) -> AuthorityName {
    AuthorityName {
        common_name: common_name.to_owned(),
        organization: "example.com".to_owned(),
        development: true,
    }
}

fn envelope(number: u8) -> Envelope {
    Envelope {
        serial: SerialNumber::from_random([number; 20]),
        not_before: NOW - DAY,
        not_after: NOW + 365 * DAY,
    }
}

thread_local! {
    static AUTHORITY: Authority = Authority::open();
}

fn timestamp_json(input: &[u8]) -> String {
    let (status, body) = AUTHORITY.with(|authority| authority.post("application/json", input));
    if status.is_success() {
        let timestamp = inspect(&body).expect("what is granted is a token");
        assert_eq!(timestamp.gen_time, NOW, "the time is the clock's");
        // The service passes over what it does not know, broken escapes in it included, while this reader looks at all.
        if let Ok(asked) = serde_json::from_slice::<serde_json::Value>(input) {
            assert_eq!(
                asked["nonce"].is_null(),
                timestamp.nonce.is_none(),
                "a nonce is echoed"
            );
        }
        return format!("ok {:?} {}", timestamp.hash_algorithm, timestamp.policy);
    }
    assert!(
        status.is_client_error(),
        "{status}: the requester is at fault"
    );
    let answer: serde_json::Value =
        serde_json::from_slice(&body).expect("JSON is answered with JSON");
    format!("{status} {}", crate::behaviour::of(&answer["message"]))
}
