//! Every answer, right: the same fault is told the same way over HTTP and gRPC, every address names the methods it takes, and
//! what is no request at all still gets the envelope.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use prost::Message;
use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PrivateKey, base64};
use sealwright_integration_tests::{Daemon, EMAIL, certificate_request, entry_request, http};
use sealwright_proto::common::v1::PublicKeyDetails;
use sealwright_proto::fulcio::v2 as fulcio;
use sealwright_proto::rekor::v2 as rekor;
use sealwright_proto::sealwright::ct::v1 as ct;
use sealwright_proto::sealwright::log::v1 as log;
use serde_json::{Value, json};
use tonic::transport::Channel;

/// What an answer says: gRPC code, reason, sentence.
#[derive(Debug, PartialEq)]
struct Told {
    code: i64,
    reason: String,
    /// With digits replaced, since a sentence may hold the time that has passed.
    sentence: String,
}

fn told(code: i64, reason: &str, sentence: &str) -> Told {
    let digits = |c: char| if c.is_ascii_digit() { '#' } else { c };
    Told {
        code,
        reason: reason.to_owned(),
        sentence: sentence.chars().map(digits).collect(),
    }
}

/// What a refusal over HTTP says, with its status; the envelope and its headers must be whole.
fn over_http(response: reqwest::blocking::Response) -> anyhow::Result<(u16, Told)> {
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let id = header("x-request-id").unwrap_or_default();
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert_eq!(header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(status == 401, header("www-authenticate").is_some());
    assert_eq!(status == 405, header("allow").is_some());
    let waits = matches!(status, 429 | 503);
    assert_eq!(waits, header("retry-after").is_some(), "{status}");
    let envelope: Value = response.json()?;
    let detail = &envelope["details"][0];
    assert_eq!(detail["metadata"]["requestId"], id.as_str(), "{envelope}");
    assert_eq!(detail["domain"], "sealwright.dev", "{envelope}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let code = envelope["code"].as_i64().unwrap_or(-1);
    let (reason, sentence) = (text(&detail["reason"]), text(&envelope["message"]));
    Ok((status, told(code, &reason, &sentence)))
}

/// `google.rpc.Status` and `google.rpc.ErrorInfo`, as far as they are read here.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: std::collections::BTreeMap<String, String>,
}

/// What a refusal over gRPC says.
fn over_grpc(status: &tonic::Status) -> anyhow::Result<Told> {
    let details = Status::decode(status.details())?.details;
    let info = details
        .iter()
        .find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"));
    let info = info.ok_or_else(|| anyhow::anyhow!("no ErrorInfo: {status:?}"))?;
    let info = ErrorInfo::decode(info.value.as_slice())?;
    let id = status.metadata().get("x-request-id");
    assert_eq!(
        id.and_then(|id| id.to_str().ok()),
        info.metadata.get("requestId").map(String::as_str),
        "{status:?}"
    );
    Ok(told(status.code() as i64, &info.reason, status.message()))
}

/// A runtime with a channel to the daemon, for calls one after another.
struct Rpc {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

impl Rpc {
    fn to(daemon: &Daemon) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Runtime::new()?;
        let endpoint = tonic::transport::Endpoint::from_shared(daemon.endpoints().ca.clone())?;
        let channel = runtime.block_on(endpoint.connect())?;
        Ok(Self { runtime, channel })
    }

    fn refused<T: std::fmt::Debug>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> anyhow::Result<Told> {
        over_grpc(&self.runtime.block_on(call).expect_err("a refusal"))
    }
}

fn certificate(token: &str, key: Option<Key>) -> fulcio::CreateSigningCertificateRequest {
    let token = fulcio::credentials::Credentials::OidcIdentityToken(token.to_owned());
    fulcio::CreateSigningCertificateRequest {
        credentials: Some(fulcio::Credentials {
            credentials: Some(token),
        }),
        key,
    }
}

use fulcio::create_signing_certificate_request::Key;

fn public_key(pem: &str, proof: &[u8]) -> Key {
    Key::PublicKeyRequest(fulcio::PublicKeyRequest {
        public_key: Some(fulcio::PublicKey {
            algorithm: fulcio::PublicKeyAlgorithm::Ecdsa.into(),
            content: pem.to_owned(),
        }),
        proof_of_possession: proof.to_vec(),
    })
}

#[test]
fn the_authority_tells_a_fault_the_same_way_over_http_and_grpc() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (rpc, url) = (
        Rpc::to(&daemon)?,
        format!("{}/api/v2/signingCert", daemon.endpoints().ca),
    );
    let token = daemon.token()?;
    let minted = |args: &[&str]| daemon.token_with(&[&["--email", EMAIL], args].concat());
    let claiming = |claims: Value| {
        let file = daemon.dir().join("claims.json");
        std::fs::write(&file, claims.to_string())?;
        minted(&["--claims", &file.display().to_string()])
    };
    let bent = {
        let (head, signature) = token.rsplit_once('.').unwrap_or_default();
        let mut bytes = base64::decode_url(signature)?;
        bytes[10] ^= 1;
        format!("{head}.{}", base64::encode_url(&bytes))
    };
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let pem = key.public_key().to_pem();
    let proof = key.sign(Algorithm::EcdsaP256Sha256, EMAIL.as_bytes())?;
    let good = || Some(public_key(&pem, &proof));
    let small = PrivateKey::generate(KeyType::Rsa { bits: 2048 })?;
    let rsa = Algorithm::RsaPkcs1 {
        bits: 2048,
        hash: HashAlgorithm::Sha256,
    };
    let small_proof = small.sign(rsa, EMAIL.as_bytes())?;
    let other_proof = key.sign(Algorithm::EcdsaP256Sha256, b"eve@example.com")?;
    let csr = |text: &str| Some(Key::CertificateSigningRequest(text.into()));
    let no_key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let faults = [
        (certificate("", good()), 401, "TOKEN_MISSING"),
        (certificate("no.token", good()), 401, "TOKEN_MALFORMED"),
        (
            certificate(&"a".repeat(20_000), good()),
            401,
            "TOKEN_MALFORMED",
        ),
        (
            certificate(&minted(&["--ttl", "-120"])?, good()),
            401,
            "TOKEN_EXPIRED",
        ),
        (
            certificate(&claiming(json!({"nbf": now + 3600}))?, good()),
            401,
            "TOKEN_NOT_YET_VALID",
        ),
        (
            certificate(&minted(&["--audience", "other"])?, good()),
            401,
            "TOKEN_WRONG_AUDIENCE",
        ),
        // Without a configured issuer nothing is known of the caller, so it is 401 as for any token that proves nothing.
        (
            certificate(
                &claiming(json!({"iss": "https://unknown.example"}))?,
                good(),
            ),
            401,
            "TOKEN_UNKNOWN_ISSUER",
        ),
        (certificate(&bent, good()), 401, "TOKEN_BAD_SIGNATURE"),
        // Here the caller is known, and may not have what it asks for.
        (
            certificate(&claiming(json!({"email_verified": false}))?, good()),
            403,
            "TOKEN_CLAIMS_REFUSED",
        ),
        (certificate(&token, None), 400, "MALFORMED_REQUEST"),
        (
            certificate(&token, Some(public_key("", &proof))),
            400,
            "KEY_UNREADABLE",
        ),
        (
            certificate(&token, Some(public_key(no_key, &proof))),
            400,
            "KEY_UNREADABLE",
        ),
        (
            certificate(
                &token,
                Some(public_key(&small.public_key().to_pem(), &small_proof)),
            ),
            400,
            "KEY_REFUSED",
        ),
        (
            certificate(&token, Some(public_key(&pem, &other_proof))),
            400,
            "PROOF_OF_POSSESSION_INVALID",
        ),
        (
            certificate(&token, Some(public_key(&pem, b""))),
            400,
            "PROOF_OF_POSSESSION_INVALID",
        ),
        (certificate(&token, csr("no request")), 400, "CSR_MALFORMED"),
    ];
    for (request, status, reason) in faults {
        let (found, http_told) = over_http(http().post(&url).json(&request).send()?)?;
        assert_eq!((found, http_told.reason.as_str()), (status, reason));
        let mut client = fulcio::ca_client::CaClient::new(rpc.channel.clone());
        let grpc_told = rpc.refused(client.create_signing_certificate(request))?;
        assert_eq!(grpc_told, http_told);
    }
    Ok(())
}

fn entry(key: &PrivateKey) -> anyhow::Result<rekor::HashedRekordRequestV002> {
    let digest = HashAlgorithm::Sha256.digest(b"artifact");
    Ok(rekor::HashedRekordRequestV002 {
        digest: digest.as_bytes().to_vec(),
        signature: Some(rekor::Signature {
            content: key.sign_digest(Algorithm::EcdsaP256Sha256, &digest)?,
            verifier: Some(rekor::Verifier {
                verifier: Some(rekor::verifier::Verifier::PublicKey(rekor::PublicKey {
                    raw_bytes: key.public_key().spki_der().to_vec(),
                })),
                key_details: PublicKeyDetails::PkixEcdsaP256Sha256.into(),
            }),
        }),
    })
}

#[test]
fn the_logs_tell_a_fault_the_same_way_over_http_and_grpc() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let rpc = Rpc::to(&daemon)?;
    let base = daemon.endpoints().log.clone();
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let good = entry(&key)?;
    let bent = |bend: fn(&mut rekor::HashedRekordRequestV002)| {
        let mut request = good.clone();
        bend(&mut request);
        let spec = rekor::create_entry_request::Spec::HashedRekordRequestV002(request);
        rekor::CreateEntryRequest { spec: Some(spec) }
    };
    fn verifier(request: &mut rekor::HashedRekordRequestV002) -> Option<&mut rekor::Verifier> {
        request.signature.as_mut()?.verifier.as_mut()
    }
    fn details(request: &mut rekor::HashedRekordRequestV002, details: PublicKeyDetails) {
        if let Some(verifier) = verifier(request) {
            verifier.key_details = details.into();
        }
    }
    fn raw_key(request: &mut rekor::HashedRekordRequestV002, raw_bytes: Vec<u8>) {
        if let Some(verifier) = verifier(request) {
            let key = rekor::PublicKey { raw_bytes };
            verifier.verifier = Some(rekor::verifier::Verifier::PublicKey(key));
        }
    }
    let faults = [
        (
            rekor::CreateEntryRequest { spec: None },
            "ENTRY_TYPE_UNSUPPORTED",
        ),
        (bent(|entry| entry.signature = None), "ENTRY_INVALID"),
        (bent(|entry| entry.digest.clear()), "ENTRY_INVALID"),
        (bent(|entry| entry.digest.truncate(20)), "ENTRY_INVALID"),
        (bent(|entry| entry.digest[0] ^= 1), "SIGNATURE_INVALID"),
        (
            bent(|entry| details(entry, PublicKeyDetails::PkixEd25519)),
            "ALGORITHM_NOT_PERMITTED",
        ),
        (
            bent(|entry| details(entry, PublicKeyDetails::Unspecified)),
            "ALGORITHM_NOT_PERMITTED",
        ),
        (bent(|entry| raw_key(entry, Vec::new())), "ENTRY_INVALID"),
        (
            bent(|entry| raw_key(entry, b"no key".to_vec())),
            "KEY_UNREADABLE",
        ),
    ];
    for (request, reason) in faults {
        let posted = http().post(format!("{base}/api/v2/log/entries"));
        let (status, http_told) = over_http(posted.json(&request).send()?)?;
        assert_eq!((status, http_told.reason.as_str()), (400, reason));
        let mut log = rekor::rekor_client::RekorClient::new(rpc.channel.clone());
        let grpc_told = rpc.refused(log.create_entry(request))?;
        assert_eq!(grpc_told, http_told);
    }
    for (l, n, status) in [
        (0, "005", 404),
        (1, "000", 404),
        (64, "000", 400),
        (0, "5", 400),
    ] {
        let url = format!("{base}/api/v2/tile/{l}/{n}");
        let (found, http_told) = over_http(http().get(url).send()?)?;
        assert_eq!(found, status, "{l}/{n}");
        let mut log = rekor::rekor_client::RekorClient::new(rpc.channel.clone());
        let n = n.to_owned();
        let grpc_told = rpc.refused(log.get_tile(rekor::TileRequest { l, n }))?;
        assert_eq!(grpc_told, http_told);
    }
    let mut log = ct::certificate_transparency_client::CertificateTransparencyClient::new(
        rpc.channel.clone(),
    );
    for chain in [vec![], vec![b"no certificate".to_vec()]] {
        let texts: Vec<_> = chain.iter().map(|der| base64::encode(der)).collect();
        let posted = http().post(format!("{}/ct/v1/add-chain", daemon.endpoints().ct));
        let (_, http_told) = over_http(posted.json(&json!({"chain": texts})).send()?)?;
        let request = ct::AddChainRequest {
            log: String::new(),
            chain,
        };
        let grpc_told = rpc.refused(log.add_chain(request))?;
        assert_eq!(grpc_told, http_told);
    }
    Ok(())
}

/// The inclusion proof that a query over HTTP asks for, as a message.
fn inclusion(index: Option<u64>, tree_size: Option<u64>) -> log::GetInclusionProofRequest {
    log::GetInclusionProofRequest {
        log: String::new(),
        entry: index.map(log::get_inclusion_proof_request::Entry::LeafIndex),
        tree_size,
    }
}

#[test]
fn what_cannot_be_proven_is_told_the_same_way_over_http_and_grpc() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let rpc = Rpc::to(&daemon)?;
    let base = format!("{}/api/v2", daemon.endpoints().log);
    let key = PrivateKey::generate(KeyType::EcP256)?;
    for number in 0..2_u8 {
        let request = entry_request(&key, &[number])?;
        let posted = http().post(format!("{base}/log/entries"));
        assert_eq!(posted.json(&request).send()?.status(), 201);
    }
    let asked = |path: &str| -> anyhow::Result<(u16, Told)> {
        over_http(http().get(format!("{base}/{path}")).send()?)
    };
    let client = || log::transparency_log_client::TransparencyLogClient::new(rpc.channel.clone());
    for (path, request, status) in [
        ("proof/inclusion?index=2", inclusion(Some(2), None), 404),
        (
            "proof/inclusion?index=0&size=3",
            inclusion(Some(0), Some(3)),
            404,
        ),
        (
            "proof/inclusion?index=1&size=1",
            inclusion(Some(1), Some(1)),
            400,
        ),
    ] {
        let (found, http_told) = asked(path)?;
        assert_eq!(found, status, "{path}");
        let mut client = client();
        let grpc_told = rpc.refused(client.get_inclusion_proof(request))?;
        assert_eq!(grpc_told, http_told, "{path}");
    }
    for (from, to, status) in [(1, 3, 404), (2, 1, 400)] {
        let (found, http_told) = asked(&format!("proof/consistency?from={from}&to={to}"))?;
        assert_eq!(found, status);
        let request = log::GetConsistencyProofRequest {
            log: String::new(),
            from,
            to: Some(to),
        };
        let mut client = client();
        let grpc_told = rpc.refused(client.get_consistency_proof(request))?;
        assert_eq!(grpc_told, http_told);
    }
    let unknown = [0x5a_u8; 32];
    let (found, http_told) = asked(&format!("entries?leafHash={}", hex::encode(unknown)))?;
    assert_eq!(found, 404);
    let request = log::GetEntryRequest {
        log: String::new(),
        entry: Some(log::get_entry_request::Entry::LeafHash(unknown.to_vec())),
    };
    let mut client = client();
    assert_eq!(rpc.refused(client.get_entry(request))?, http_told);
    let (found, http_told) = asked("proof/7")?;
    assert_eq!(found, 404);
    let request = log::GetTlogProofRequest {
        log: String::new(),
        entry: Some(log::get_tlog_proof_request::Entry::LeafIndex(7)),
    };
    assert_eq!(rpc.refused(client.get_tlog_proof(request))?, http_told);
    Ok(())
}

/// Addresses, and the methods each takes.
fn addresses(daemon: &Daemon) -> Vec<(String, &'static str)> {
    let ends = daemon.endpoints();
    let (base, reads, posts) = (ends.log.clone(), "GET, HEAD", "POST");
    let mut all = vec![(ends.tsa.clone(), posts)];
    for (path, takes) in [
        ("/api/v2/signingCert", posts),
        ("/api/v1/signingCert", posts),
        ("/api/v1/rootCert", reads),
        ("/api/v2/trustBundle", reads),
        ("/api/v2/configuration", reads),
        ("/api/v2/log/entries", posts),
        ("/api/v2/checkpoint", reads),
        ("/api/v2/tile/0/000.p/1", reads),
        ("/api/v2/tile/entries/000.p/1", reads),
        ("/api/v2/entries", reads),
        ("/api/v2/entries/0", reads),
        ("/api/v2/proof/0", reads),
        ("/api/v2/proof/inclusion", reads),
        ("/api/v2/proof/consistency", reads),
        ("/tuf/root.json", reads),
        ("/tuf/1.root.json", reads),
        ("/healthz", reads),
        ("/readyz", reads),
    ] {
        all.push((format!("{base}{path}"), takes));
    }
    for (path, takes) in [
        ("/ct/v1/add-chain", posts),
        ("/ct/v1/add-pre-chain", posts),
        ("/ct/v1/get-sth", reads),
        ("/ct/v1/get-roots", reads),
        ("/ct/v1/get-sth-consistency", reads),
        ("/ct/v1/get-proof-by-hash", reads),
        ("/ct/v1/get-entries", reads),
        ("/ct/v1/get-entry-and-proof", reads),
        ("/checkpoint", reads),
        ("/tile/0/000.p/1", reads),
        ("/issuer/00", reads),
    ] {
        all.push((format!("{}{path}", ends.ct), takes));
    }
    all
}

#[test]
fn every_address_names_the_methods_it_takes() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let client = http();
    for (url, takes) in addresses(&daemon) {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if takes.split(", ").any(|taken| taken == method) {
                continue;
            }
            let method = reqwest::Method::from_bytes(method.as_bytes())?;
            let response = client.request(method.clone(), &url).body("{}").send()?;
            let allow = response.headers().get("allow").cloned();
            let allow = allow.as_ref().and_then(|allow| allow.to_str().ok());
            assert_eq!(allow, Some(takes), "{method} {url}");
            let (status, told) = over_http(response)?;
            let expected = (405, 12, "METHOD_NOT_ALLOWED");
            assert_eq!(
                (status, told.code, told.reason.as_str()),
                expected,
                "{method} {url}"
            );
        }
        if takes.starts_with("GET") {
            let get = client.get(&url).send()?;
            let head = client.head(&url).send()?;
            assert_eq!(head.status(), get.status(), "HEAD {url}");
            let kind = |response: &reqwest::blocking::Response| {
                response.headers().get("content-type").cloned()
            };
            assert_eq!(kind(&head), kind(&get), "HEAD {url}");
            assert!(head.bytes()?.is_empty(), "HEAD {url}");
        }
    }
    Ok(())
}

#[test]
fn v1_answers_as_its_clients_expect() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let base = &daemon.endpoints().ca;
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let proof = key.sign(Algorithm::EcdsaP256Sha256, EMAIL.as_bytes())?;
    let token = daemon.token()?;
    for content in [
        key.public_key().spki_der().to_vec(),
        key.public_key().to_pem().into_bytes(),
    ] {
        let request = json!({
            "publicKey": {"algorithm": "ecdsa", "content": base64::encode(&content)},
            "signedEmailAddress": base64::encode(&proof),
        });
        let post = || {
            http()
                .post(format!("{base}/api/v1/signingCert"))
                .json(&request)
        };
        let (status, told) = over_http(post().send()?)?;
        assert_eq!((status, told.reason.as_str()), (401, "TOKEN_MISSING"));
        let answer = post().bearer_auth(&token).send()?;
        assert_eq!(answer.status(), 201);
        assert_eq!(
            answer.headers()["content-type"],
            "application/pem-certificate-chain"
        );
        assert!(!answer.headers().contains_key("sct"), "the SCT is embedded");
        let chain = sealwright_pki::parse_pem_chain(&answer.text()?)?;
        let leaf = chain.first().expect("a leaf").public_key()?;
        assert_eq!(leaf, key.public_key());
        let roots = http().get(format!("{base}/api/v1/rootCert")).send()?;
        assert_eq!(
            roots.headers()["content-type"],
            "application/pem-certificate-chain"
        );
        let roots = sealwright_pki::parse_pem_chain(&roots.text()?)?;
        let der = |chain: &[sealwright_pki::Certificate]| -> Vec<Vec<u8>> {
            chain.iter().map(|one| one.der().to_vec()).collect()
        };
        assert_eq!(
            der(&chain[1..]),
            der(&roots),
            "leaf, then what rootCert gives"
        );
    }
    Ok(())
}

#[test]
fn one_token_counts_and_its_place_is_decided() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let url = format!("{}/api/v2/signingCert", daemon.endpoints().ca);
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let token = daemon.token()?;
    let with = |token: &str| certificate_request(token, &key, Algorithm::EcdsaP256Sha256, EMAIL);
    let post = |body: &Value, headers: &[&str]| {
        let request = http().post(&url).json(body);
        headers
            .iter()
            .fold(request, |request, value| {
                request.header("authorization", *value)
            })
            .send()
    };
    let bearer = format!("Bearer {token}");
    assert_eq!(
        post(&with(&token)?, &["Bearer garbage"])?.status(),
        200,
        "the message wins"
    );
    assert_eq!(post(&with("")?, &[&bearer])?.status(), 200);
    let (status, told) = over_http(post(&with("garbage")?, &[&bearer])?)?;
    assert_eq!((status, told.reason.as_str()), (401, "TOKEN_MALFORMED"));
    let (status, told) = over_http(post(&with("")?, &["Basic YTpi"])?)?;
    assert_eq!((status, told.reason.as_str()), (401, "TOKEN_MISSING"));
    let (status, told) = over_http(post(&with(&token)?, &[&bearer, &bearer])?)?;
    assert_eq!((status, told.reason.as_str()), (400, "MALFORMED_REQUEST"));

    let rpc = Rpc::to(&daemon)?;
    let proof = key.sign(Algorithm::EcdsaP256Sha256, EMAIL.as_bytes())?;
    let request = certificate("", Some(public_key(&key.public_key().to_pem(), &proof)));
    let mut client = fulcio::ca_client::CaClient::new(rpc.channel.clone());
    let mut beside = tonic::Request::new(request.clone());
    beside
        .metadata_mut()
        .insert("oidcidentitytoken", token.parse()?);
    let issued = rpc
        .runtime
        .block_on(client.create_signing_certificate(beside));
    issued.map_err(|status| anyhow::anyhow!("{status:?}"))?;
    let mut twice = tonic::Request::new(request);
    for _ in 0..2 {
        twice
            .metadata_mut()
            .append("oidcidentitytoken", token.parse()?);
    }
    let told = rpc.refused(client.create_signing_certificate(twice))?;
    assert_eq!((told.code, told.reason.as_str()), (3, "MALFORMED_REQUEST"));
    Ok(())
}

#[test]
fn bodies_that_are_not_what_they_should_be_are_refused_in_words() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (log, ca) = (
        format!("{}/api/v2/log/entries", daemon.endpoints().log),
        format!("{}/api/v2/signingCert", daemon.endpoints().ca),
    );
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let good = entry_request(&key, b"artifact")?;
    let spec = good["hashedRekordRequestV002"].to_string();
    let dsse = r#""dsseRequestV002":{"envelope":{}}"#;
    // The authority passes over what it does not know, however deep, so here the depth is where something is read.
    let deep_token = format!(
        r#"{{"credentials":{}{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for (case, url, body) in [
        ("nothing", &log, Vec::new()),
        (
            "no UTF-8",
            &log,
            b"{\"hashedRekordRequestV002\":\"\xff\xfe\"}".to_vec(),
        ),
        ("a zero byte", &log, b"{\0}".to_vec()),
        ("an array", &log, b"[]".to_vec()),
        (
            "null inside",
            &log,
            b"{\"hashedRekordRequestV002\":7}".to_vec(),
        ),
        ("more after it", &log, format!("{good} {good}").into_bytes()),
        ("an unknown field", &log, br#"{"surprise":1}"#.to_vec()),
        (
            "one key twice",
            &log,
            format!(r#"{{"hashedRekordRequestV002":{spec},"hashedRekordRequestV002":{spec}}}"#)
                .into_bytes(),
        ),
        (
            "two of one",
            &log,
            format!(r#"{{"hashedRekordRequestV002":{spec},{dsse}}}"#).into_bytes(),
        ),
        ("deep nesting", &log, deep.into_bytes()),
        ("deep nesting", &ca, deep_token.into_bytes()),
        (
            "one key twice",
            &ca,
            br#"{"credentials":{},"credentials":{}}"#.to_vec(),
        ),
        (
            "two of one",
            &ca,
            br#"{"certificateSigningRequest":"AA==","publicKeyRequest":{}}"#.to_vec(),
        ),
        (
            "a number as a token",
            &ca,
            br#"{"credentials":{"oidcIdentityToken":7}}"#.to_vec(),
        ),
        (
            "no UTF-8",
            &ca,
            b"{\"credentials\":{\"oidcIdentityToken\":\"\xff\"}}".to_vec(),
        ),
    ] {
        let posted = http().post(url).header("content-type", "application/json");
        let (status, told) = over_http(posted.body(body).send()?)?;
        let found = (status, told.reason.as_str());
        assert_eq!(found, (400, "MALFORMED_REQUEST"), "{case} at {url}");
    }
    for (kind, status) in [
        (Some("application/json"), 201),
        (Some("application/json; charset=utf-8"), 201),
        (None, 201),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
    ] {
        let posted = http().post(&log).body(good.to_string());
        let posted = kind
            .iter()
            .fold(posted, |posted, kind| posted.header("content-type", *kind));
        assert_eq!(posted.send()?.status(), status, "{kind:?}");
    }
    // A bomb is refused by its label, before a byte is unfolded.
    let bomb = http().post(&log).header("content-encoding", "gzip");
    let (status, told) = over_http(bomb.body(vec![0x1f; 1000]).send()?)?;
    assert_eq!(
        (status, told.reason.as_str()),
        (415, "UNSUPPORTED_MEDIA_TYPE")
    );
    Ok(())
}

/// Sends bytes as they are and gives what comes back until the server closes, or until it has been silent for a while.
fn exchange(address: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(bytes)?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..read]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn bytes_that_are_no_request_still_get_the_envelope() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let address = daemon.address().to_owned();
    let post = "POST /api/v2/log/entries HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let large = "a".repeat(100_000);
    for (case, sent, status, reason) in [
        (
            "no HTTP",
            "hello\r\n\r\n".to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "no host",
            "GET /api/v2/checkpoint HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "two hosts",
            "GET /api/v2/checkpoint HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n"
                .to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "a zero in the path",
            "GET /api\0 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "a folded head",
            "GET / HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n".to_owned(),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "two lengths",
            format!("{post}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "no number of bytes",
            format!("{post}content-length: -2\r\n\r\n{{}}"),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "a bad chunk",
            format!("{post}transfer-encoding: chunked\r\n\r\nxyz\r\n"),
            400,
            "MALFORMED_REQUEST",
        ),
        (
            "a giant head",
            format!("GET / HTTP/1.1\r\nhost: x\r\nx: {large}\r\n\r\n"),
            431,
            "REQUEST_TOO_LARGE",
        ),
        (
            "a giant address",
            format!("GET /{large} HTTP/1.1\r\nhost: x\r\n\r\n"),
            414,
            "REQUEST_TOO_LARGE",
        ),
        (
            "a declared giant",
            format!("{post}content-length: 99999999999\r\n\r\n"),
            413,
            "REQUEST_TOO_LARGE",
        ),
    ] {
        let answer = exchange(&address, sent.as_bytes())?;
        // The parser counts a long address as part of the head when the head is full first.
        let statuses = if status == 414 {
            vec![414, 431]
        } else {
            vec![status]
        };
        assert!(
            statuses
                .iter()
                .any(|status| answer.starts_with(&format!("HTTP/1.1 {status} "))),
            "{case}: {answer}"
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let envelope: Value = serde_json::from_str(body)
            .map_err(|error| anyhow::anyhow!("{case}: {error}: {answer}"))?;
        let detail = &envelope["details"][0];
        assert_eq!(detail["reason"], reason, "{case}: {envelope}");
        let id = detail["metadata"]["requestId"].as_str().unwrap_or("none");
        assert!(
            head.contains(&format!("x-request-id: {id}")),
            "{case}: {answer}"
        );
    }
    Ok(())
}

#[test]
fn unusual_but_right_requests_are_answered() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let address = daemon.address().to_owned();
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let body = entry_request(&key, b"artifact")?.to_string();
    let head = format!(
        "POST /api/v2/log/entries HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    );
    for (case, sent, begins) in [
        (
            "absolute form",
            format!(
                "GET http://{address}/api/v2/checkpoint HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
            ),
            "HTTP/1.1 200 ",
        ),
        (
            "another host, as behind a proxy",
            "GET /api/v2/checkpoint HTTP/1.1\r\nhost: log.example\r\nconnection: close\r\n\r\n"
                .to_owned(),
            "HTTP/1.1 200 ",
        ),
        (
            "HTTP/1.0",
            "GET /api/v2/checkpoint HTTP/1.0\r\n\r\n".to_owned(),
            "HTTP/1.0 200 ",
        ),
        (
            "chunks",
            format!(
                "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            ),
            "HTTP/1.1 201 ",
        ),
        (
            "told to go on",
            format!(
                "{head}content-length: {}\r\nexpect: 100-continue\r\n\r\n{body}",
                body.len()
            ),
            "HTTP/1.1 100 ",
        ),
    ] {
        let answer = exchange(&address, sent.as_bytes())?;
        assert!(answer.starts_with(begins), "{case}: {answer}");
        assert!(!answer.contains("HTTP/1.1 4"), "{case}: {answer}");
    }
    Ok(())
}
