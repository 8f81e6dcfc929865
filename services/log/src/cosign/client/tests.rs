use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_tlog::witness::{cosignature_body, size_body};
use sealwright_tlog::{Checkpoint, Hash, SignatureKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::error::Error;

const SIZE: u64 = 9;
const ROOT: Hash = [9; 32];
const PATIENCE: Duration = Duration::from_millis(700);

/// Proofs whose hashes say what they were asked for; `durable` is the log's size.
#[derive(Debug)]
struct NamedProofs {
    durable: u64,
}

impl Proofs for NamedProofs {
    fn durable_size(&self) -> u64 {
        self.durable
    }

    fn consistency(&self, from: u64, to: u64) -> BoxFuture<'_, Result<Vec<Hash>, Error>> {
        assert!(from <= to && to <= self.durable);
        Box::pin(async move { Ok(vec![[from as u8; 32]; usize::from(from > 0)]) })
    }
}

/// A witness of any conduct: each request is given to `answer`, which writes the raw response.
struct Peer {
    key: NoteKey,
    private: PrivateKey,
}

impl Peer {
    fn new(name: &str) -> Arc<Self> {
        let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let public = private.public_key().clone();
        let key = NoteKey::new(name, SignatureKind::CosignatureV1, public).unwrap();
        Arc::new(Self { key, private })
    }

    fn cosign(&self, text: &str) -> NoteSignature {
        let message = self.key.message(text, 1_800_000_000_000).unwrap();
        let raw = self.private.sign(self.key.algorithm(), &message).unwrap();
        self.key.signature(&raw, 1_800_000_000_000).unwrap()
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

fn conflict(size: u64) -> Vec<u8> {
    response(
        "409 Conflict",
        "content-type: text/x.tlog.size\r\n",
        &size_body(size),
    )
}

/// Reads one request of a connection; `None` when there is no more.
async fn request(stream: &mut TcpStream) -> io::Result<Option<AddCheckpoint>> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().unwrap())
        });
        if body.len() == length.unwrap() {
            assert!(
                head.starts_with("POST /w/add-checkpoint HTTP/1.1"),
                "{head}"
            );
            return Ok(Some(AddCheckpoint::parse(body.as_bytes()).unwrap()));
        }
    }
}

/// Serves on a port of its own; `answer` gets the number of the request, from 0.
async fn serve<F, Fut>(answer: F) -> String
where
    F: Fn(usize, AddCheckpoint) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<u8>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, count) = (answer.clone(), count.clone());
            tokio::spawn(async move {
                while let Ok(Some(request)) = request(&mut stream).await {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    if stream
                        .write_all(&answer(number, request).await)
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
    format!("http://{address}/w/")
}

struct World {
    log: NoteKey,
    head: CosignHead,
}

impl World {
    fn new() -> Self {
        let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let log = NoteKey::for_log("log.example", private.public_key().clone()).unwrap();
        let text = Checkpoint::new("log.example", SIZE, ROOT).to_text();
        let raw = private.sign(log.algorithm(), text.as_bytes()).unwrap();
        let mut note = Note::new(text).unwrap();
        note.push(log.signature(&raw, 0).unwrap());
        let head = CosignHead {
            origin: "log.example".into(),
            size: SIZE,
            root: ROOT,
            note: note.to_string().into(),
        };
        Self { log, head }
    }

    fn open(&self, peers: &[(&Peer, &str)], quorum: &str) -> Result<Witnesses, String> {
        let lines = peers.iter().enumerate().map(|(number, (peer, url))| {
            format!("witness w{number} {} {url}\n", peer.key.to_vkey().unwrap())
        });
        let policy = format!("{}{quorum}", lines.collect::<String>());
        let policy = WitnessPolicy::parse(policy.as_bytes()).unwrap();
        Witnesses::open(policy, &self.log, WitnessMode::Required, PATIENCE)
    }

    async fn round(&self, witnesses: &Witnesses) -> Round {
        let proofs: Arc<dyn Proofs> = Arc::new(NamedProofs { durable: SIZE + 3 });
        witnesses.round(&self.head, &proofs).await
    }
}

#[tokio::test]
async fn a_witness_that_answers_is_believed_its_own_cosignature() {
    let (world, peer, stranger) = (World::new(), Peer::new("w.example"), Peer::new("x.example"));
    let serving = (peer.clone(), stranger.clone());
    let url = serve(move |_, request| {
        let (peer, stranger) = serving.clone();
        async move {
            let text = request.note.text().to_owned();
            let lines = [stranger.cosign(&text), peer.cosign(&text)];
            response("200 OK", "", &cosignature_body(&lines))
        }
    })
    .await;
    let witnesses = world.open(&[(&peer, &url)], "quorum w0\n").unwrap();
    let round = world.round(&witnesses).await;
    assert!(round.quorum_met && round.missing.is_empty() && round.alarm.is_none());
    let names: Vec<_> = round.cosignatures.iter().map(NoteSignature::name).collect();
    assert_eq!(names, ["w.example"], "a stranger's line is not handed on");
}

#[tokio::test]
async fn a_conflict_is_answered_with_the_proof_from_that_size_and_remembered() {
    let (world, peer) = (World::new(), Peer::new("w.example"));
    let serving = peer.clone();
    let url = serve(move |count, request| {
        let peer = serving.clone();
        async move {
            let asked = (request.old_size, request.proof.clone());
            match count {
                0 => {
                    assert_eq!(asked, (0, vec![]));
                    conflict(4)
                }
                1 => {
                    assert_eq!(asked, (4, vec![[4; 32]]));
                    response(
                        "200 OK",
                        "",
                        &cosignature_body(&[peer.cosign(request.note.text())]),
                    )
                }
                _ => {
                    assert_eq!(asked.0, SIZE, "it knows what it was told");
                    response(
                        "200 OK",
                        "",
                        &cosignature_body(&[peer.cosign(request.note.text())]),
                    )
                }
            }
        }
    })
    .await;
    let witnesses = world.open(&[(&peer, &url)], "quorum w0\n").unwrap();
    for _ in 0..2 {
        let round = world.round(&witnesses).await;
        assert!(round.quorum_met, "{round:?}");
    }
}

#[tokio::test]
async fn what_the_log_cannot_explain_is_an_alarm() {
    let world = World::new();
    let (larger, forked) = (
        Alarm::Larger {
            witness: "w0".into(),
            seen: SIZE + 4,
            have: SIZE + 3,
        },
        Alarm::Forked {
            witness: "w0".into(),
            size: 4,
        },
    );
    let same = Alarm::Forked {
        witness: "w0".into(),
        size: SIZE,
    };
    let refused = || response("422 Unprocessable Entity", "", "no\n");
    for (answers, alarm) in [
        (vec![conflict(SIZE + 4)], Some(larger)),
        (vec![conflict(4), refused()], Some(forked)),
        (vec![conflict(SIZE), conflict(SIZE)], Some(same)),
        // A size that the log has, although the round is about a smaller one: somebody else asked meanwhile.
        (vec![conflict(SIZE + 3)], None),
        (vec![conflict(3), conflict(4)], None),
    ] {
        let peer = Peer::new("w.example");
        let served = answers.clone();
        let url = serve(move |count, _| {
            let answer = served[count].clone();
            async move { answer }
        })
        .await;
        let witnesses = world.open(&[(&peer, &url)], "quorum w0\n").unwrap();
        let round = world.round(&witnesses).await;
        assert_eq!(round.alarm, alarm, "{round:?}");
        assert!(!round.quorum_met && round.cosignatures.is_empty());
        assert_eq!(round.missing.is_empty(), alarm.is_some());
    }
}

#[tokio::test]
async fn whatever_else_a_witness_says_makes_it_a_missing_one() {
    let (world, liar) = (World::new(), Peer::new("x.example"));
    let endless = {
        let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec();
        bytes.resize(MAX_RESPONSE_BYTES * 2, b'a');
        bytes
    };
    let text = Checkpoint::new("log.example", SIZE + 1, ROOT).to_text();
    for (what, expected) in [
        (response("200 OK", "", ""), "no cosignature"),
        (response("200 OK", "", "welcome\n"), "no cosignature"),
        (
            response("200 OK", "", &cosignature_body(&[liar.cosign(&text)])),
            "no cosignature",
        ),
        (
            response("409 Conflict", "content-type: text/plain\r\n", "4\n"),
            "no size",
        ),
        (
            response("409 Conflict", "content-type: text/x.tlog.size\r\n", "04\n"),
            "no size",
        ),
        (
            response("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
            "302",
        ),
        (response("404 Not Found", "", "who?\n"), "404"),
        (response("403 Forbidden", "", ""), "403"),
        (
            response("500 Internal Server Error", "", "\x1b[31m\n"),
            "500",
        ),
        (endless, "longer than"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".to_vec(),
            "in time",
        ),
        (b"nonsense\r\n\r\n".to_vec(), "cannot be reached"),
        (Vec::new(), "in time"),
    ] {
        let peer = Peer::new("w.example");
        let url = serve(move |_, _| {
            let answer = what.clone();
            async move { answer }
        })
        .await;
        let witnesses = world.open(&[(&peer, &url)], "quorum w0\n").unwrap();
        let round = world.round(&witnesses).await;
        assert!(!round.quorum_met && round.alarm.is_none() && round.cosignatures.is_empty());
        let [(name, why)] = round.missing.as_slice() else {
            panic!("{round:?}")
        };
        assert!(name == "w0" && why.contains(expected), "{expected}: {why}");
        assert!(!why.contains('\x1b'), "{why:?}");
    }
    let nobody = Peer::new("w.example");
    let witnesses = world
        .open(&[(&nobody, "http://127.0.0.1:1/")], "quorum w0\n")
        .unwrap();
    let round = world.round(&witnesses).await;
    assert!(
        round.missing[0].1.contains("cannot be reached"),
        "{round:?}"
    );
}

/// A cosignature with the right name over another text is a lie: nothing of the answer is used.
#[tokio::test]
async fn a_wrong_cosignature_of_its_own_is_not_handed_on() {
    let (world, peer) = (World::new(), Peer::new("w.example"));
    let serving = peer.clone();
    let url = serve(move |_, request| {
        let peer = serving.clone();
        async move {
            let good = peer.cosign(request.note.text());
            let bad = peer.cosign(&Checkpoint::new("log.example", SIZE, [8; 32]).to_text());
            response("200 OK", "", &cosignature_body(&[good, bad]))
        }
    })
    .await;
    let witnesses = world.open(&[(&peer, &url)], "quorum w0\n").unwrap();
    let round = world.round(&witnesses).await;
    assert!(
        !round.quorum_met && round.cosignatures.is_empty(),
        "{round:?}"
    );
}

#[tokio::test]
async fn a_quorum_does_not_wait_for_those_it_does_not_need() {
    let (world, quick, slow) = (World::new(), Peer::new("w.example"), Peer::new("x.example"));
    let serving = quick.clone();
    let quick_url = serve(move |_, request| {
        let peer = serving.clone();
        async move {
            response(
                "200 OK",
                "",
                &cosignature_body(&[peer.cosign(request.note.text())]),
            )
        }
    })
    .await;
    let slow_url = serve(|_, _| std::future::pending()).await;
    let peers = [(&*quick, quick_url.as_str()), (&*slow, slow_url.as_str())];
    let any = world.open(&peers, "group g any w0 w1\nquorum g\n").unwrap();
    // The second round finds the slow one still at the first; it is waited for no more than before.
    for _ in 0..2 {
        let round = timeout(PATIENCE / 2, world.round(&any)).await.unwrap();
        assert!(round.quorum_met && round.cosignatures.len() == 1);
    }
    let all = world.open(&peers, "group g all w0 w1\nquorum g\n").unwrap();
    let round = world.round(&all).await;
    assert!(!round.quorum_met && round.cosignatures.len() == 1);
    assert_eq!(
        round.missing,
        [("w1".to_owned(), "no answer in time".to_owned())]
    );
}

#[test]
fn policies_that_cannot_work_are_refused() {
    let (world, peer, other) = (World::new(), Peer::new("w.example"), Peer::new("x.example"));
    for (urls, quorum, said) in [
        (["https://w.example", ""], "quorum none\n", "quorum is none"),
        (["http://w.example", ""], "quorum w0\n", "neither https"),
        (["ftp://w.example", ""], "quorum w0\n", "neither https"),
        (["https://w.example/?a=b", ""], "quorum w0\n", "query"),
        (["w.example", ""], "quorum w0\n", "w.example"),
        (
            ["https://w.example", ""],
            "group g all w0 w1\nquorum g\n",
            "cannot be met",
        ),
        (["", ""], "quorum w0\n", "cannot be met"),
    ] {
        let peers = [(&*peer, urls[0]), (&*other, urls[1])];
        let refused = world.open(&peers, quorum).unwrap_err();
        assert!(refused.contains(said), "{refused}");
    }
    let elsewhere = World::new().log.to_vkey().unwrap();
    let policy = format!(
        "log {elsewhere}\nwitness w {} https://w.example\nquorum w\n",
        peer.key.to_vkey().unwrap()
    );
    let policy = WitnessPolicy::parse(policy.as_bytes()).unwrap();
    let refused = Witnesses::open(policy, &world.log, WitnessMode::Required, PATIENCE);
    assert!(refused.unwrap_err().contains("not among them"));
}
