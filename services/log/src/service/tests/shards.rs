//! Claims about logs that come and stop while others serve.

use super::*;
use crate::GuardMode;

impl Fixture {
    /// A further signature log, as it is brought while the others serve.
    fn successor(&self, name: &str, url: &str) -> (LogConfig, MemorySigner) {
        let (config, signer) = rekor(name, url);
        let config = LogConfig {
            staged: true,
            replaces: Some("signatures".into()),
            wal_segment: 16 << 20,
            ..config
        };
        (config, signer)
    }
}

async fn at(router: &Router, host: &str, method: Method, path: &str, body: String) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(Body::from(body))
        .expect("a request");
    send(router, request).await
}

async fn get(router: &Router, path: &str) -> Answer {
    at(router, "log.example", Method::GET, path, String::new()).await
}

async fn submit(router: &Router, host: &str, content: &[u8]) -> Answer {
    let body = hashed_rekord(content).to_string();
    at(router, host, Method::POST, ENTRIES, body).await
}

async fn states(router: &Router) -> Vec<(String, String)> {
    let answer = get(router, "/api/v2/shards").await;
    let answer = answer.json();
    let rows = answer["shards"].as_array().expect("rows").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.map(|row| (text(&row["name"]), text(&row["state"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_comes_later_is_served_at_once_and_takes_entries_in_time() {
    let fixture = Fixture::new();
    let logs = fixture.open().await;
    // The router was made before the log came.
    let router = logs.router();
    let (config, signer) = fixture.successor("second", "http://second.example:7700");
    let key = NoteKey::for_log("second.example", signer.public_key().clone()).expect("a key");
    // Whoever is cut off asks again, and the first request is still at work.
    let signer: Arc<dyn Signer> = Arc::new(signer);
    let (first, again) = tokio::join!(
        logs.add(config.clone(), Some(signer.clone())),
        logs.add(config, Some(signer))
    );
    first.and(again).expect("added");
    let named = logs.status().into_iter();
    assert_eq!(named.filter(|shard| shard.name == "second").count(), 1);

    let staged = submit(&router, "second.example", b"early").await;
    assert_eq!(
        (staged.status, staged.reason().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE")
    );
    let checkpoint = at(
        &router,
        "second.example:7700",
        Method::GET,
        "/api/v2/checkpoint",
        String::new(),
    );
    assert!(checkpoint.await.body.starts_with(b"second.example\n0\n"));

    logs.accept_from("second", NOW + 10).expect("known");
    assert_eq!(
        submit(&router, "second.example", b"early").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    fixture.clock.advance(10);
    submit(&router, "SECOND.example", b"in time")
        .await
        .entry(&key);
    // The first log goes on, also for those who call it by another name.
    submit(&router, "log.example", b"other")
        .await
        .entry(&fixture.signature_key());
    submit(&router, "127.0.0.1:7700", b"another")
        .await
        .entry(&fixture.signature_key());
    assert!(logs.accept_from("third", NOW).is_err());
    logs.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_comes_later_shares_nothing_with_the_others() {
    let fixture = Fixture::new();
    let logs = fixture.open().await;
    let used = fixture.keys[0].1.clone();
    let cases = [
        (
            "name",
            fixture.successor("signatures", "http://a.example"),
            None,
        ),
        (
            "origin",
            fixture.successor("second", "https://log.example:8443"),
            None,
        ),
        (
            "key",
            fixture.successor("second", "http://a.example"),
            Some(used),
        ),
    ];
    for (share, (config, own), other) in cases {
        let signer: Arc<dyn Signer> = Arc::new(other.unwrap_or(own));
        let refused = logs.add(config, Some(signer)).await.expect_err("refused");
        assert!(
            refused.to_string().contains(&format!("the same {share}")),
            "{refused}"
        );
    }
    let (config, _) = fixture.successor("second", "http://a.example");
    assert!(
        logs.add(config, None).await.is_err(),
        "a log of our own has a key"
    );
    assert_eq!(logs.status().len(), 2);
    logs.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn freezing_is_for_good_and_the_list_says_so() {
    let mut fixture = Fixture::new();
    let logs = fixture.open().await;
    let router = logs.router();
    submit(&router, "log.example", b"last")
        .await
        .entry(&fixture.signature_key());
    let before = get(&router, "/api/v2/checkpoint").await.body;
    for _ in 0..2 {
        let status = logs.freeze("signatures").await.expect("frozen");
        assert_eq!((status.state, status.size), (ShardState::Frozen, 1));
    }
    assert!(matches!(
        logs.freeze("third").await,
        Err(Error::NoSuchLog { .. })
    ));
    let refused = submit(&router, "log.example", b"late").await;
    assert_eq!(
        (
            refused.status,
            refused.reason().as_str(),
            refused.header("allow")
        ),
        (StatusCode::METHOD_NOT_ALLOWED, "LOG_FROZEN", "")
    );
    let after = get(&router, "/api/v2/checkpoint").await.body;
    let open = |note: &[u8]| {
        let key = fixture.signature_key();
        Checkpoint::open(note, "log.example", &[key]).expect("signed by the log")
    };
    let (before, after) = (open(&before), open(&after));
    assert_eq!(before.checkpoint().root, after.checkpoint().root);
    assert_eq!(before.checkpoint().size, after.checkpoint().size);
    assert!(
        String::from_utf8_lossy(after.note().text().as_bytes()).contains("\nLog frozen \u{2014} ")
    );
    let expected = [("signatures", "frozen"), ("dev", "active")];
    let expected = expected.map(|(name, state)| (name.to_owned(), state.to_owned()));
    assert_eq!(states(&router).await, expected);
    let health = sealwright_host::health::Health::new();
    health.register(logs.checks());
    let report = health.report().await;
    assert!(report.ready(), "a frozen log is well: {report:?}");
    logs.shutdown().await;

    // So it is after a restart, whatever the section says; and a section may say it first.
    fixture.keys[1].0.frozen = true;
    let logs = fixture.open().await;
    let frozen = logs.status().into_iter().map(|log| log.state);
    assert_eq!(frozen.collect::<Vec<_>>(), [ShardState::Frozen; 2]);
    assert!(logs.logs().all(|log| log.frozen()));
    logs.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_list_proves_itself() {
    let fixture = Fixture::new();
    let logs = fixture.open().await;
    let router = logs.router();
    let answer = get(&router, "/api/v2/shards").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    let list = answer.json();
    for row in list["shards"].as_array().expect("rows") {
        let key = NoteKey::from_vkey(row["vkey"].as_str().expect("a vkey")).expect("a key");
        let note = row["checkpoint"].as_str().expect("a checkpoint").as_bytes();
        let origin = row["origin"].as_str().expect("an origin");
        let opened = Checkpoint::open(note, origin, std::slice::from_ref(&key)).expect("signed");
        assert_eq!(row["treeSize"], opened.checkpoint().size.to_string());
        assert_eq!(row["logId"], base64::encode(&key.log_id()));
        assert_eq!(row["validFor"]["start"], "2027-01-15T08:00:00Z");
    }
    let elsewhere = at(
        &router,
        "other.example",
        Method::GET,
        "/api/v2/shards",
        String::new(),
    )
    .await;
    assert_eq!(elsewhere.json(), list);
    let wrong = at(
        &router,
        "log.example",
        Method::POST,
        "/api/v2/shards",
        String::new(),
    )
    .await;
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD")
    );
    logs.shutdown().await;
}

impl Fixture {
    /// The signature log with a mirror that has to answer before the log starts.
    fn mirrored(mut self, mirror: &str) -> Self {
        let config = &mut self.keys.first_mut().expect("a log").0;
        config.mirrors = vec![mirror.to_owned()];
        config.guard = GuardMode::Required;
        self
    }
}

/// A path that led nowhere satisfied `guard = "required"`: it answered 404, which was taken for "I know of nothing more".
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_without_a_checkpoint_does_not_vouch_for_a_log_that_has_entries() {
    let copy = tempfile::tempdir().expect("a folder");
    let mirror = copy.path().display().to_string();
    let fixture = Fixture::new().mirrored(&mirror);
    let logs = fixture.open().await;
    submit(&logs.router(), "log.example", b"one").await;
    logs.shutdown().await;
    let refused = fixture.try_open().await.expect_err("an empty mirror");
    assert!(
        matches!(refused, Error::GuardUnanswered { .. }) && refused.to_string().contains("missing"),
        "{refused}"
    );
    let public = fixture.folder.path().join("signatures/public/checkpoint");
    std::fs::copy(public, copy.path().join("checkpoint")).expect("copied");
    fixture.open().await.shutdown().await;
}

/// The log's own folder, or its own address, always agrees with itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_no_mirror_of_itself() {
    for itself in ["signatures/public", "http://127.0.0.1:7700/api/v2"] {
        let mut fixture = Fixture::new().mirrored(itself);
        fixture.keys.first_mut().expect("a log").0.url = "http://127.0.0.1:7700".into();
        let refused = fixture.try_open().await.expect_err("refused");
        assert!(
            matches!(refused, Error::MirrorInvalid { .. })
                && refused.to_string().contains("this log itself"),
            "{refused}"
        );
    }
}
