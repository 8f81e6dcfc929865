use axum::body::Body;
use futures::future::join_all;
use http::Request;
use http_body_util::BodyExt as _;
use sealwright_crypto::{KeyType, MemorySigner, PrivateKey};
use sealwright_host::clock::ManualClock;
use sealwright_tlog::hash::{leaf_hash, merkle_tree_hash};
use sealwright_tlog::proof::{HashReader, Node, consistency_proof};
use sealwright_tlog::{Checkpoint, Hash, Note, cosignature};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;

const NOW: i64 = 1_800_000_000;

/// A log whose leaves are numbers, in one of two worlds.
struct Log {
    key: NoteKey,
    private: PrivateKey,
    leaves: Vec<Hash>,
}

impl Log {
    fn new(origin: &str, kind: SignatureKind) -> Self {
        let key_type = match kind {
            SignatureKind::Ed25519 => KeyType::Ed25519,
            _ => KeyType::EcP256,
        };
        let private = PrivateKey::generate(key_type).unwrap();
        let key = NoteKey::new(origin, kind, private.public_key().clone()).unwrap();
        let leaves = (0_u64..64).map(|leaf| leaf_hash(&leaf.to_be_bytes()));
        Self {
            key,
            private,
            leaves: leaves.collect(),
        }
    }

    /// The same log as an attacker continues it after `shared` entries.
    fn forked(&self, shared: usize) -> Self {
        let other = (0_u64..64).map(|leaf| leaf_hash(&leaf.to_le_bytes()));
        let leaves = self.leaves.iter().take(shared).copied();
        let private = PrivateKey::from_pem(&self.private.to_pkcs8_pem()).unwrap();
        Self {
            key: self.key.clone(),
            private,
            leaves: leaves.chain(other.skip(shared + 1)).collect(),
        }
    }

    fn root(&self, size: u64) -> Hash {
        merkle_tree_hash(&self.leaves[..size as usize])
    }

    fn note(&self, size: u64) -> Note {
        let text = Checkpoint::new(self.key.name(), size, self.root(size)).to_text();
        let message = self.key.message(&text, 1_700_000_000_000).unwrap();
        let raw = self.private.sign(self.key.algorithm(), &message).unwrap();
        let mut note = Note::new(text).unwrap();
        note.push(self.key.signature(&raw, 1_700_000_000_000).unwrap());
        note
    }

    fn request(&self, old_size: u64, size: u64) -> String {
        let proof = consistency_proof(old_size, size, self).unwrap_or_default();
        let note = self.note(size);
        AddCheckpoint {
            old_size,
            proof,
            note,
        }
        .to_string()
    }
}

impl HashReader for Log {
    type Error = sealwright_tlog::Error;

    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, Self::Error> {
        let hash = |node: &Node| {
            let start = (node.index << node.level) as usize;
            merkle_tree_hash(&self.leaves[start..start + (1 << node.level)])
        };
        Ok(nodes.iter().map(hash).collect())
    }
}

/// A witness's folder, key and clock, over all its lives.
struct Home {
    folder: TempDir,
    signer: Arc<dyn Signer>,
    clock: Arc<ManualClock>,
    config: Config,
}

impl Home {
    fn knowing(logs: &[&Log]) -> Self {
        let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let section = |log: &&Log| LogConfig {
            key: log.key.to_vkey().unwrap(),
            origin: None,
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            signer: Arc::new(MemorySigner::new(key)),
            clock: Arc::new(ManualClock::at(NOW)),
            config: Config {
                name: "witness.example/w".into(),
                url: "https://witness.example".into(),
                logs: logs.iter().map(section).collect(),
                ..Config::default()
            },
        }
    }

    async fn open(&self, create: bool) -> Result<Witness, Error> {
        let deps = Deps {
            clock: self.clock.clone(),
            registry: Registry::new(),
            state: self.folder.path().to_owned(),
            folder: self.folder.path().to_owned(),
            signer: self.signer.clone(),
            create,
        };
        Witness::open(self.config.clone(), deps).await
    }

    /// The time of the one cosignature in an answer.
    fn time_of(&self, note: &Note, answer: &str) -> u64 {
        let key = self
            .config
            .note_key(self.signer.public_key().clone())
            .unwrap();
        let whole = format!("{note}{answer}");
        let whole = Note::parse(whole.as_bytes()).unwrap();
        let seen = cosignature::verify(&whole, &[key]).unwrap();
        assert_eq!(seen.len(), 1);
        seen[0].time
    }
}

async fn ask(router: &Router, method: &str, path: &str, body: String) -> (u16, String, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::from(body)).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, kind) = (
        response.status().as_u16(),
        response.headers().get("content-type"),
    );
    let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

async fn add(router: &Router, request: String) -> (u16, String, String) {
    ask(router, "POST", "/add-checkpoint", request).await
}

#[tokio::test]
async fn logs_of_every_kind_are_cosigned_each_along_its_own_tree() {
    let logs = [
        Log::new("log.example", SignatureKind::Ed25519),
        Log::new("kms.example", SignatureKind::Ecdsa),
        Log::new("ct.example/ct/a", SignatureKind::Rfc6962TreeHead),
    ];
    let home = Home::knowing(&logs.each_ref());
    let witness = home.open(true).await.unwrap();
    let router = witness.router();
    for (old, new) in [(0, 3), (3, 3), (3, 40)] {
        for log in &logs {
            let (status, kind, answer) = add(&router, log.request(old, new)).await;
            assert_eq!(
                (status, kind.as_str()),
                (200, "text/plain; charset=utf-8"),
                "{answer}"
            );
            assert_eq!(home.time_of(&log.note(new), &answer), NOW as u64);
            let path = format!("/{}", monitoring_path(log.key.name()));
            let (status, _, shown) = ask(&router, "GET", &path, String::new()).await;
            assert_eq!(status, 200);
            let shown = Note::parse(shown.as_bytes()).unwrap();
            assert!(shown.verify(std::slice::from_ref(&log.key)).is_ok());
            assert!(answer.contains(&shown.signatures()[1].to_string()));
        }
    }
}

#[tokio::test]
async fn refusals_have_the_status_of_the_protocol() {
    let log = Log::new("log.example", SignatureKind::Ed25519);
    let home = Home::knowing(&[&log]);
    let witness = home.open(true).await.unwrap();
    let router = witness.router();
    assert_eq!(add(&router, log.request(0, 7)).await.0, 200);
    let impostor = Log::new("log.example", SignatureKind::Ed25519);
    let stranger = Log::new("other.example", SignatureKind::Ed25519);
    for (request, status) in [
        ("old 7".to_owned(), 400),
        (log.request(9, 8), 400),
        (impostor.request(7, 9), 403),
        (stranger.request(0, 9), 404),
        (log.request(7, 9).replacen("\n\n", "\nAAAA\n\n", 1), 400),
        (log.request(7, 9).replacen("old 7\n", "old 7\n\n", 1), 400),
        (log.forked(5).request(7, 9), 422),
        (log.forked(5).request(7, 7), 422),
        ("x".repeat((64 << 10) + 1), 413),
    ] {
        let answer = add(&router, request).await;
        assert_eq!(answer.0, status, "{answer:?}");
        assert_eq!(answer.1, "application/json", "{answer:?}");
    }
    for old in [0, 6, 8] {
        let answer = add(&router, log.request(old, 9)).await;
        let expected = (409, "text/x.tlog.size".to_owned(), "7\n".to_owned());
        assert_eq!(answer, expected);
    }
    let shown = |path: String| {
        let router = router.clone();
        async move { ask(&router, "GET", &path, String::new()).await.0 }
    };
    assert_eq!(
        shown(format!("/{}", monitoring_path("log.example"))).await,
        200
    );
    assert_eq!(
        shown(format!("/{}", monitoring_path("other.example"))).await,
        404
    );
    assert_eq!(shown("/ABC/checkpoint".into()).await, 400);
    assert_eq!(
        ask(&router, "GET", "/add-checkpoint", String::new())
            .await
            .0,
        405
    );
}

/// Feeders race with the same old size and different trees: the witness takes one, and nobody gets two.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_who_begin_at_the_same_size_exactly_one_wins() {
    let log = Log::new("log.example", SignatureKind::Ed25519);
    let home = Home::knowing(&[&log]);
    let witness = home.open(true).await.unwrap();
    let mut old = 0;
    for round in 1..=12_u64 {
        let new = old + 4;
        let worlds = [&log, &log.forked(old as usize)];
        let sizes = [new, new - 1, new - 2];
        let requests = worlds
            .iter()
            .flat_map(|world| sizes.map(|size| (world.request(old, size), size)));
        let asked = requests.map(|(request, size)| {
            let router = witness.router();
            tokio::spawn(async move { (add(&router, request).await.0, size) })
        });
        let answers = join_all(asked).await.into_iter().map(Result::unwrap);
        let won: Vec<u64> = answers
            .filter(|(status, _)| *status == 200)
            .map(|(_, size)| size)
            .collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        let row = witness
            .shared
            .state
            .row("log.example")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.size, won[0]);
        if row.root != log.root(row.size) {
            // The fork won; the honest log is refused from now on.
            assert_eq!(
                add(&witness.router(), log.request(row.size, 60)).await.0,
                422
            );
            return;
        }
        old = row.size;
    }
}

#[tokio::test]
async fn what_was_cosigned_is_remembered_by_the_next_life() {
    let log = Log::new("log.example", SignatureKind::Ed25519);
    let home = Home::knowing(&[&log]);
    let witness = home.open(true).await.unwrap();
    assert_eq!(add(&witness.router(), log.request(0, 7)).await.0, 200);
    // No shutdown: the next life begins as after a kill.
    std::mem::forget(witness);
    let witness = home.open(false).await.unwrap();
    assert_eq!(add(&witness.router(), log.request(0, 9)).await.2, "7\n");
    assert_eq!(add(&witness.router(), log.request(7, 9)).await.0, 200);
    witness.shutdown().await;
    let file = home
        .folder
        .path()
        .join("public")
        .join(monitoring_path("log.example"));
    let shown = Note::parse(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(Checkpoint::parse(shown.text()).unwrap().size, 9);
}

#[tokio::test]
async fn a_witness_whose_memory_was_put_back_does_not_start() {
    let log = Log::new("log.example", SignatureKind::Ed25519);
    let home = Home::knowing(&[&log]);
    assert!(matches!(
        home.open(false).await,
        Err(Error::NotAWitness { .. })
    ));
    let witness = home.open(true).await.unwrap();
    witness.shutdown().await;
    let backup = std::fs::read(state::path(home.folder.path())).unwrap();
    let witness = home.open(false).await.unwrap();
    assert_eq!(add(&witness.router(), log.request(0, 7)).await.0, 200);
    witness.shutdown().await;
    std::fs::write(state::path(home.folder.path()), backup).unwrap();
    let refused = home.open(false).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::RolledBack {
                shown: 7,
                known: 0,
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn the_time_of_cosignatures_never_goes_back() {
    let log = Log::new("log.example", SignatureKind::Ed25519);
    let home = Home::knowing(&[&log]);
    let witness = home.open(true).await.unwrap();
    let router = witness.router();
    assert_eq!(add(&router, log.request(0, 1)).await.0, 200);
    home.clock.set_ms((NOW - 30) * 1000);
    let (status, _, answer) = add(&router, log.request(1, 2)).await;
    assert_eq!(status, 200);
    assert_eq!(
        home.time_of(&log.note(2), &answer),
        NOW as u64,
        "the last time is repeated"
    );
    home.clock.set_ms((NOW - 61) * 1000);
    let (status, _, answer) = add(&router, log.request(2, 3)).await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("TIME_NOT_AVAILABLE"), "{answer}");
    witness.shutdown().await;
    assert!(matches!(
        home.open(false).await,
        Err(Error::StateOfTheFuture { .. })
    ));
    home.clock.set_ms((NOW + 5) * 1000);
    let witness = home.open(false).await.unwrap();
    let (_, _, answer) = add(&witness.router(), log.request(2, 3)).await;
    assert_eq!(home.time_of(&log.note(3), &answer), NOW as u64 + 5);
}

#[tokio::test]
async fn the_path_of_the_url_is_served() {
    let log = Log::new("log.example", SignatureKind::Ed25519);
    let mut home = Home::knowing(&[&log]);
    home.config.url = "https://example.com/witness/".into();
    let witness = home.open(true).await.unwrap();
    let router = witness.router();
    let path = "/witness/add-checkpoint";
    assert_eq!(ask(&router, "POST", path, log.request(0, 1)).await.0, 200);
    assert_eq!(add(&router, log.request(1, 2)).await.0, 404);
}
