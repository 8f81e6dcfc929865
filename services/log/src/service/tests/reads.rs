//! Claims about what can be read of a log: the same over HTTP and gRPC, provable, and never beyond the published head.

use sealwright_host::http as host_http;
use sealwright_proto::sealwright::log::v1 as log_wire;
use sealwright_proto::sealwright::log::v1::transparency_log_client::TransparencyLogClient;
use sealwright_tlog::TlogProof;

use super::*;

const CT_KEY_NAME: &str = "log.example:7700/ct/dev";

/// Hashes of a JSON list.
fn hashes(list: &Value) -> Vec<Hash> {
    let list = list.as_array().expect("a list").iter();
    list.map(|hash| bytes(hash).try_into().expect("32 bytes"))
        .collect()
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().expect("a number as text");
    text.parse().expect("a number")
}

fn hash(value: &Value) -> Hash {
    bytes(value).try_into().expect("32 bytes")
}

/// Logs so many entries and returns what the log answered.
async fn log_entries(router: &Router, key: &NoteKey, count: usize) -> Vec<TransparencyLogEntry> {
    let mut entries = Vec::new();
    for number in 0..count {
        let request = hashed_rekord(&number.to_le_bytes()).to_string();
        entries.push(post(router, ENTRIES, request).await.entry(key));
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_found_by_index_and_by_hash_with_a_fresh_proof() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let key = fixture.signature_key();
    let logged = log_entries(&router, &key, 3).await;
    for (index, entry) in logged.iter().enumerate() {
        let leaf = leaf_hash(&entry.canonicalized_body);
        let (digits, text) = (hex::encode(leaf), base64::encode_url(&leaf));
        for path in [
            format!("/api/v2/entries/{index}"),
            format!("/api/v2/entries?leafHash={digits}"),
            format!("/api/v2/entries?leafHash={text}"),
        ] {
            let answer = read(&router, &path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert_eq!(answer.header("cache-control"), "no-cache");
            let found: TransparencyLogEntry =
                serde_json::from_slice(&answer.body).expect("a TransparencyLogEntry");
            verify(&found, &key);
            assert_eq!(found.log_index, entry.log_index);
            assert_eq!(found.canonicalized_body, entry.canonicalized_body);
            assert_eq!(found.kind_version, entry.kind_version);
            let proof = found.inclusion_proof.expect("a proof");
            assert_eq!(
                proof.tree_size, 3,
                "the newest tree, not the one of the receipt"
            );
            assert_eq!(answer.json()["integratedTime"], "0");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_between_any_two_trees_of_the_log_hold() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let key = fixture.signature_key();
    let leaves: Vec<Hash> = log_entries(&router, &key, 7)
        .await
        .iter()
        .map(|entry| leaf_hash(&entry.canonicalized_body))
        .collect();
    let root = |size: u64| {
        sealwright_tlog::hash::merkle_tree_hash(&leaves[..usize::try_from(size).expect("small")])
    };
    for size in 1..=7_u64 {
        for index in 0..size {
            let path = format!("/api/v2/proof/inclusion?index={index}&size={size}");
            let answer = read(&router, &path).await;
            assert_eq!(
                answer.header("cache-control"),
                host_http::IMMUTABLE,
                "{path}"
            );
            let answer = answer.json();
            let leaf = leaves[usize::try_from(index).expect("small")];
            let proof = hashes(&answer["hashes"]);
            verify_inclusion(index, size, &leaf, &proof, &root(size)).expect("included");
            assert_eq!(number(&answer["logIndex"]), index);
            assert_eq!(number(&answer["treeSize"]), size);
            assert_eq!(hash(&answer["rootHash"]), root(size));
            assert_eq!(hash(&answer["leafHash"]), leaf);
            assert!(answer.get("checkpoint").is_none());
            let by_hash = format!(
                "/api/v2/proof/inclusion?leafHash={}&size={size}",
                hex::encode(leaf)
            );
            assert_eq!(read(&router, &by_hash).await.json(), answer);
        }
        for from in 0..=size {
            let path = format!("/api/v2/proof/consistency?from={from}&to={size}");
            let answer = read(&router, &path).await;
            assert_eq!(
                answer.header("cache-control"),
                host_http::IMMUTABLE,
                "{path}"
            );
            let proof = hashes(&answer.json()["hashes"]);
            verify_consistency(from, &root(from), size, &root(size), &proof).expect("extends");
        }
    }
    // Without a size the newest head is meant, and comes along.
    for path in ["inclusion?index=3", "consistency?from=3"] {
        let answer = read(&router, &format!("/api/v2/proof/{path}")).await;
        assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
        let note = answer.json()["checkpoint"]["envelope"].clone();
        let note = note.as_str().expect("a note").as_bytes();
        let opened = Checkpoint::open(note, key.name(), std::slice::from_ref(&key));
        let opened = opened.expect("signed by the log");
        assert_eq!(opened.checkpoint().root, root(7));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_and_an_entry_can_be_had_as_offline_proofs() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let key = fixture.signature_key();
    let first = &log_entries(&router, &key, 1).await[0];
    let request = hashed_rekord(b"as text").to_string();
    let ask = || {
        Request::post(ENTRIES)
            .header("content-type", "application/json")
            .header("accept", "text/plain")
            .body(Body::from(request.clone()))
            .expect("a request")
    };
    let created = send(&router, ask()).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(created.header("cache-control"), "no-store");
    let body = read(&router, "/api/v2/entries/1").await.json()["canonicalizedBody"].clone();
    let proof = TlogProof::parse(&created.body).expect("a tlog-proof");
    proof
        .open(
            &leaf_hash(&bytes(&body)),
            key.name(),
            std::slice::from_ref(&key),
        )
        .expect("it proves the entry");
    let again = send(&router, ask()).await;
    assert_eq!(again.header("x-log-index"), "1");
    assert!(TlogProof::parse(&again.body).is_ok());

    let answer = read(&router, "/api/v2/proof/0").await;
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert!(
        answer
            .header("content-disposition")
            .contains("0.tlog-proof")
    );
    let proof = TlogProof::parse(&answer.body).expect("a tlog-proof");
    let leaf = leaf_hash(&first.canonicalized_body);
    let opened = proof.open(&leaf, key.name(), std::slice::from_ref(&key));
    assert_eq!(opened.expect("it proves the entry").checkpoint().size, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_tree_is_404_and_what_makes_no_sense_400() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    log_entries(&router, &fixture.signature_key(), 2).await;
    let unknown = "0".repeat(64);
    let absent = [
        "entries/2",
        "entries/18446744073709551615",
        &format!("entries?leafHash={unknown}"),
        &format!("proof/inclusion?leafHash={unknown}"),
        "proof/inclusion?index=2",
        "proof/inclusion?index=0&size=3",
        "proof/inclusion?index=9&size=3",
        "proof/consistency?from=3",
        "proof/consistency?from=1&to=3",
        "proof/consistency?from=4&to=3",
        "proof/2",
        "proof/18446744073709551615",
    ];
    for path in absent {
        let answer = read(&router, &format!("/api/v2/{path}")).await;
        assert_eq!(answer.reason(), "NOT_FOUND", "{path}");
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let malformed = [
        "entries",
        "entries?leafHash=",
        "entries?leafHash=00",
        "entries?leafhash=00",
        &format!("entries?leafHash={unknown}&leafHash={unknown}"),
        &format!("entries?leafHash={unknown}&index=0"),
        "entries/01",
        "entries/-1",
        "entries/+1",
        "entries/x",
        "entries/0x0",
        "entries/18446744073709551616",
        "entries/%ff",
        "proof/inclusion",
        "proof/inclusion?size=2",
        "proof/inclusion?index=",
        "proof/inclusion?index=-1",
        "proof/inclusion?index=0&size=0",
        "proof/inclusion?index=1&size=1",
        "proof/inclusion?index=0&size=two",
        "proof/inclusion?index=0&tree=2",
        &format!("proof/inclusion?index=0&leafHash={unknown}"),
        "proof/consistency",
        "proof/consistency?to=2",
        "proof/consistency?from=2&to=1",
        "proof/consistency?from=-1&to=1",
        "proof/00",
        "proof/x",
    ];
    for path in malformed {
        let answer = read(&router, &format!("/api/v2/{path}")).await;
        assert_eq!(answer.reason(), "MALFORMED_REQUEST", "{path}");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    for path in [
        "entries",
        "entries/0",
        "proof/0",
        "proof/inclusion",
        "proof/consistency",
    ] {
        let answer = post(&router, &format!("/api/v2/{path}"), "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.header("allow"), "GET, HEAD", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_answered_like_gets_without_a_body() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    log_entries(&router, &fixture.signature_key(), 2).await;
    for path in [
        "/api/v2/checkpoint",
        "/api/v2/tile/0/000.p/2",
        "/api/v2/tile/entries/000.p/2",
        "/api/v2/entries/1",
        "/api/v2/proof/1",
        "/api/v2/proof/consistency?from=1&to=2",
        "/ct/dev/checkpoint",
    ] {
        let full = read(&router, path).await;
        let request = Request::head(path).header("host", "log.example:7700");
        let head = send(&router, request.body(Body::empty()).expect("a request")).await;
        assert_eq!(head.status, StatusCode::OK, "{path}");
        assert!(head.body.is_empty(), "{path}");
        for name in ["content-type", "cache-control", "etag", "vary"] {
            assert_eq!(head.header(name), full.header(name), "{path}: {name}");
        }
        let length = full.body.len().to_string();
        assert_eq!(head.header("content-length"), length, "{path}");
    }
}

async fn client(fixture: &Fixture) -> (Router, TransparencyLogClient<tonic::transport::Channel>) {
    let router = fixture.open().await.router();
    let channel = grpc::memory_channel(&HostConfig::default(), router.clone());
    (router, TransparencyLogClient::new(channel))
}

fn names(fixture: &Fixture) -> (String, String) {
    let of = |kind| {
        let mut logs = fixture.keys.iter();
        let found = logs.find(|(config, _)| config.kind == kind);
        found.expect("a log of each kind").0.name.clone()
    };
    (of(Kind::Rekor), of(Kind::Ct))
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_reads_both_kinds_of_log_and_its_proofs_hold() {
    let fixture = Fixture::new();
    let (router, mut client) = client(&fixture).await;
    let (signatures, certificates) = names(&fixture);
    let key = fixture.signature_key();
    log_entries(&router, &key, 3).await;
    for number in 1..=3 {
        let precertificate = fixture.authority.precertificate(number).await;
        let chain = fixture.authority.chain(precertificate.certificate());
        sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    }
    let ct_key = NoteKey::for_ct_log(CT_KEY_NAME, fixture.ct_key()).expect("a note key");
    for (log, key, kind) in [
        (signatures, key, Kind::Rekor),
        (certificates, ct_key, Kind::Ct),
    ] {
        let head = client
            .get_tree_head(log_wire::GetTreeHeadRequest { log: log.clone() })
            .await
            .expect("a head")
            .into_inner();
        let keys = std::slice::from_ref(&key);
        let opened = Checkpoint::open(head.checkpoint.as_bytes(), key.name(), keys);
        let checkpoint = opened.expect("signed by the log").checkpoint().clone();
        assert_eq!((checkpoint.size, head.tree_size), (3, 3));
        assert_eq!(head.root_hash, checkpoint.root);
        assert!(head.timestamp_ms > 0);

        let ask = |entry| log_wire::GetEntryRequest {
            log: log.clone(),
            entry: Some(entry),
        };
        let by_index = ask(log_wire::get_entry_request::Entry::LeafIndex(1));
        let entry = client.get_entry(by_index).await.expect("an entry");
        let entry = entry.into_inner();
        let facts = kind.facts(&entry.stored).expect("a stored leaf");
        assert_eq!(entry.leaf_hash, facts.leaf_hash);
        assert_eq!(entry.timestamp_ms, facts.time_ms);
        assert_eq!(entry.checkpoint, head.checkpoint);
        let proof = entry.inclusion_proof.clone().expect("a proof");
        let path = list(&proof.hashes);
        verify_inclusion(1, 3, &facts.leaf_hash, &path, &checkpoint.root).expect("included");
        let by_hash = log_wire::get_entry_request::Entry::LeafHash(entry.leaf_hash.clone());
        let again = client.get_entry(ask(by_hash)).await.expect("the same");
        assert_eq!(again.into_inner(), entry);

        let inclusion = client
            .get_inclusion_proof(log_wire::GetInclusionProofRequest {
                log: log.clone(),
                entry: Some(log_wire::get_inclusion_proof_request::Entry::LeafIndex(1)),
                tree_size: Some(2),
            })
            .await
            .expect("a proof")
            .into_inner();
        let older: Hash = inclusion.root_hash.as_slice().try_into().expect("a root");
        let path = list(&inclusion.hashes);
        verify_inclusion(1, 2, &facts.leaf_hash, &path, &older).expect("included");

        let consistency = client
            .get_consistency_proof(log_wire::GetConsistencyProofRequest {
                log: log.clone(),
                from: 2,
                to: None,
            })
            .await
            .expect("a proof")
            .into_inner();
        assert_eq!((consistency.from, consistency.to), (2, 3));
        let path = list(&consistency.hashes);
        verify_consistency(2, &older, 3, &checkpoint.root, &path).expect("extends");

        let text = client
            .get_tlog_proof(log_wire::GetTlogProofRequest {
                log: log.clone(),
                entry: Some(log_wire::get_tlog_proof_request::Entry::LeafIndex(1)),
            })
            .await
            .expect("a tlog-proof")
            .into_inner()
            .text;
        let proof = TlogProof::parse(text.as_bytes()).expect("a tlog-proof");
        proof
            .open(&facts.leaf_hash, key.name(), keys)
            .expect("it proves the entry");

        let bundle = match kind {
            Kind::Rekor => "tile/entries/000.p/3",
            Kind::Ct => "tile/data/000.p/3",
        };
        for (path, length) in [("tile/0/000.p/3", Some(96)), (bundle, None)] {
            let tile = client
                .get_tile(log_wire::GetTileRequest {
                    log: log.clone(),
                    path: path.to_owned(),
                })
                .await
                .expect("a tile")
                .into_inner();
            assert!(length.is_none_or(|length| tile.data.len() == length));
            assert!(!tile.data.is_empty());
        }
    }
}

fn list(hashes: &[Vec<u8>]) -> Vec<Hash> {
    let hashes = hashes.iter();
    hashes
        .map(|hash| hash.as_slice().try_into().expect("32 bytes"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_lists_the_logs_and_refuses_what_is_no_question() {
    let fixture = Fixture::new();
    let (router, mut client) = client(&fixture).await;
    let (signatures, certificates) = names(&fixture);
    log_entries(&router, &fixture.signature_key(), 1).await;
    let listed = client.list_logs(log_wire::ListLogsRequest {}).await;
    let listed = listed.expect("a list").into_inner().logs;
    let own: Vec<&str> = listed.iter().map(|log| log.name.as_str()).collect();
    assert_eq!(own, [signatures.as_str(), certificates.as_str()]);
    let first = &listed[0];
    let key = fixture.signature_key();
    assert_eq!(first.kind(), log_wire::LogKind::Signature);
    assert_eq!(listed[1].kind(), log_wire::LogKind::Certificate);
    assert_eq!(first.state(), log_wire::LogState::Active);
    assert_eq!(first.origin, key.name());
    assert_eq!(first.log_id, key.log_id());
    assert_eq!(first.public_key, key.public_key().spki_der());
    assert_eq!(first.tree_size, 1);
    let note = first.checkpoint.as_bytes();
    Checkpoint::open(note, key.name(), std::slice::from_ref(&key))
        .expect("signed by the key beside it");

    // Without a name the signature log is meant.
    let head = client.get_tree_head(log_wire::GetTreeHeadRequest::default());
    let head = head.await.expect("a head").into_inner();
    assert_eq!(head.checkpoint, first.checkpoint);

    use log_wire::get_inclusion_proof_request::Entry;
    let inclusion = |log: &str, entry, tree_size| log_wire::GetInclusionProofRequest {
        log: log.to_owned(),
        entry,
        tree_size,
    };
    for (request, reason) in [
        (
            inclusion("no-such", Some(Entry::LeafIndex(0)), None),
            Reason::NotFound,
        ),
        (inclusion(&signatures, None, None), Reason::MalformedRequest),
        (
            inclusion(&signatures, Some(Entry::LeafHash(vec![1; 31])), None),
            Reason::MalformedRequest,
        ),
        (
            inclusion(&signatures, Some(Entry::LeafHash(vec![1; 32])), None),
            Reason::NotFound,
        ),
        (
            inclusion(&signatures, Some(Entry::LeafIndex(1)), None),
            Reason::NotFound,
        ),
        (
            inclusion(&signatures, Some(Entry::LeafIndex(0)), Some(2)),
            Reason::NotFound,
        ),
        (
            inclusion(&signatures, Some(Entry::LeafIndex(0)), Some(0)),
            Reason::MalformedRequest,
        ),
    ] {
        let refused = client.get_inclusion_proof(request.clone()).await;
        let refused = status::from_status(&refused.expect_err("refused"));
        assert_eq!(
            refused.map(|(reason, _)| reason),
            Some(reason),
            "{request:?}"
        );
    }
    for (path, reason) in [
        ("0/000.p/1", Reason::MalformedRequest),
        ("tile/0/../000", Reason::MalformedRequest),
        ("tile/0/000", Reason::NotFound),
        ("tile/data/000.p/1", Reason::NotFound),
    ] {
        let request = log_wire::GetTileRequest {
            log: signatures.clone(),
            path: path.to_owned(),
        };
        let refused = client.get_tile(request).await.expect_err("refused");
        let refused = status::from_status(&refused).map(|(reason, _)| reason);
        assert_eq!(refused, Some(reason), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_logs_prove_consistency_and_entries_over_grpc() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let channel = grpc::memory_channel(&HostConfig::default(), router.clone());
    let mut client = CertificateTransparencyClient::new(channel);
    for number in 1..=3 {
        let precertificate = fixture.authority.precertificate(number).await;
        let chain = fixture.authority.chain(precertificate.certificate());
        sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    }
    let log = String::new;
    let answer = client
        .get_signed_tree_head_consistency(ct_wire::GetSignedTreeHeadConsistencyRequest {
            log: log(),
            first: 2,
            second: 3,
        })
        .await
        .expect("a proof")
        .into_inner();
    let path = format!("{CT}/get-sth-consistency?first=2&second=3");
    let over_http = read(&router, &path).await.json();
    assert_eq!(list(&answer.consistency), hashes(&over_http["consistency"]));
    assert!(!answer.consistency.is_empty());

    let answer = client
        .get_entry_and_proof(ct_wire::GetEntryAndProofRequest {
            log: log(),
            leaf_index: 1,
            tree_size: 3,
        })
        .await
        .expect("an entry")
        .into_inner();
    let path = format!("{CT}/get-entry-and-proof?leaf_index=1&tree_size=3");
    let over_http = read(&router, &path).await.json();
    let entry = answer.entry.expect("an entry");
    assert_eq!(entry.leaf_input, bytes(&over_http["leaf_input"]));
    assert_eq!(entry.extra_data, bytes(&over_http["extra_data"]));
    assert_eq!(list(&answer.audit_path), hashes(&over_http["audit_path"]));

    for (first, second) in [(0, 1), (3, 2), (1, 4)] {
        let request = ct_wire::GetSignedTreeHeadConsistencyRequest {
            log: log(),
            first,
            second,
        };
        let refused = client.get_signed_tree_head_consistency(request).await;
        assert_eq!(
            refused.expect_err("refused").code(),
            tonic::Code::InvalidArgument,
            "{first} {second}"
        );
    }
}
