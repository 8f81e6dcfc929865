//! The client of C2SP tlog-witness: asks the witnesses of a policy, all at once.
//!
//! A witness is believed one thing, its own cosignature over the very checkpoint that was sent; and it can stop the log,
//! by knowing what the log cannot explain. Everything else it may say, or not say, makes it one that is missing.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use sealwright_crypto::BoxFuture;
use sealwright_host::http::is_loopback;
use sealwright_tlog::witness::{
    AddCheckpoint, MAX_RESPONSE_BYTES, SIZE_CONTENT_TYPE, parse_cosignatures, parse_size_body,
};
use sealwright_tlog::{Note, NoteKey, NoteSignature, WitnessPolicy};
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

use super::{Alarm, CosignHead, Cosigner, Proofs, Round, WitnessMode};
use crate::mirror::{client, innermost};

/// Requests of one round to one witness: a first one, and one after it said which size it knows.
const ATTEMPTS: usize = 2;
/// Bytes of a refusal that go into the log.
const QUOTED_BYTES: usize = 200;

/// The witnesses of a policy that have an address.
#[derive(Debug)]
pub struct Witnesses {
    policy: WitnessPolicy,
    witnesses: Vec<Arc<One>>,
    mode: WitnessMode,
    timeout: Duration,
}

#[derive(Debug)]
struct One {
    /// Position in the policy.
    position: usize,
    name: String,
    key: NoteKey,
    endpoint: Url,
    client: reqwest::Client,
    /// The size that it is believed to know. Whoever asks it holds the lock, so that it sees our sizes in order.
    known: Arc<Mutex<u64>>,
}

/// What one witness answered.
enum Answer {
    Cosigned(Vec<NoteSignature>),
    Missing(String),
    Alarm(Alarm),
}

impl Witnesses {
    /// The witnesses of `policy`, for the log with `key`.
    ///
    /// # Errors
    /// In the words for the operator: the policy does not accept this log, an address cannot be used or is plaintext to
    /// another host, no quorum is asked for, or the quorum cannot be reached with the witnesses that have an address.
    pub fn open(
        policy: WitnessPolicy,
        key: &NoteKey,
        mode: WitnessMode,
        timeout: Duration,
    ) -> Result<Self, String> {
        if !policy.accepts_log(key) {
            return Err("it names logs, and this log's key is not among them".to_owned());
        }
        if policy.is_met_by(&[]) {
            return Err("its quorum is none: name the witnesses that have to cosign".to_owned());
        }
        if timeout.is_zero() {
            return Err("the timeout must not be 0".to_owned());
        }
        let mut witnesses = Vec::new();
        for (position, key) in policy.witnesses().iter().enumerate() {
            let name = policy.witness_name(position).to_owned();
            let Some(url) = policy.witness_url(position) else {
                continue;
            };
            let refused = |what: String| format!("witness {name}: {what}");
            let endpoint = endpoint(url).map_err(refused)?;
            let client = client(endpoint.scheme() == "https")
                .map_err(|error| refused(error.without_url().to_string()))?;
            witnesses.push(Arc::new(One {
                position,
                key: key.clone(),
                endpoint,
                client,
                known: Arc::default(),
                name,
            }));
        }
        let asked: Vec<usize> = witnesses.iter().map(|one| one.position).collect();
        if !policy.is_met_by(&asked) {
            return Err(format!(
                "its quorum, {}, cannot be met by the witnesses that have an address",
                policy.quorum()
            ));
        }
        Ok(Self {
            policy,
            witnesses,
            mode,
            timeout,
        })
    }

    /// The quorum in words.
    pub fn quorum(&self) -> String {
        self.policy.quorum()
    }

    async fn ask_all(&self, head: &CosignHead, proofs: &Arc<dyn Proofs>) -> Round {
        let mut round = Round::default();
        let note = match Note::parse(&head.note) {
            Ok(note) => Arc::new(note),
            Err(error) => {
                round.missing.push(("all".into(), error.to_string()));
                return round;
            }
        };
        let head = Arc::new(head.clone());
        let mut waiting: Vec<&One> = self.witnesses.iter().map(AsRef::as_ref).collect();
        let mut answers: FuturesUnordered<_> = self
            .witnesses
            .iter()
            .map(|one| {
                let (head, note) = (head.clone(), note.clone());
                async move {
                    (
                        one,
                        one.turn(head, note, proofs.clone(), self.timeout).await,
                    )
                }
            })
            .collect();
        let mut cosigned = Vec::new();
        let gathered = async {
            while let Some((one, answer)) = answers.next().await {
                waiting.retain(|other| other.position != one.position);
                match answer {
                    Answer::Cosigned(lines) => {
                        round.cosignatures.extend(lines);
                        cosigned.push(one.position);
                        round.quorum_met = self.policy.is_met_by(&cosigned);
                    }
                    Answer::Missing(why) => round.missing.push((one.name.clone(), why)),
                    Answer::Alarm(alarm) => round.alarm = Some(alarm),
                }
                if round.quorum_met || round.alarm.is_some() {
                    break;
                }
            }
        };
        let in_time = timeout(self.timeout, gathered).await.is_ok();
        drop(answers);
        if !in_time {
            let late = waiting
                .iter()
                .map(|one| (one.name.clone(), "no answer in time".to_owned()));
            round.missing.extend(late);
        }
        round
    }
}

impl Cosigner for Witnesses {
    fn round<'a>(
        &'a self,
        head: &'a CosignHead,
        proofs: &'a Arc<dyn Proofs>,
    ) -> BoxFuture<'a, Round> {
        Box::pin(self.ask_all(head, proofs))
    }

    fn mode(&self) -> WitnessMode {
        self.mode
    }

    fn patience(&self) -> Duration {
        self.timeout
    }
}

impl One {
    /// Asks when the last request is answered. Once it is sent it runs to its end, also when the round is over: a witness
    /// that is slower than its quorum still learns of the tree, and its next answer is not a conflict.
    async fn turn(
        self: &Arc<Self>,
        head: Arc<CosignHead>,
        note: Arc<Note>,
        proofs: Arc<dyn Proofs>,
        patience: Duration,
    ) -> Answer {
        let mut known = self.known.clone().lock_owned().await;
        let one = self.clone();
        let asking = tokio::spawn(async move {
            let asked = one.ask(&head, &note, proofs.as_ref(), &mut known);
            timeout(patience, asked)
                .await
                .unwrap_or_else(|_| Answer::Missing("no answer in time".into()))
        });
        asking
            .await
            .unwrap_or_else(|error| Answer::Missing(format!("asking it failed: {error}")))
    }

    async fn ask(
        &self,
        head: &CosignHead,
        note: &Note,
        proofs: &dyn Proofs,
        known: &mut u64,
    ) -> Answer {
        for _ in 0..ATTEMPTS {
            let old_size = *known;
            let proof = match proofs.consistency(old_size, head.size).await {
                Ok(proof) => proof,
                Err(error) => return Answer::Missing(format!("there is no proof for it: {error}")),
            };
            let request = AddCheckpoint {
                old_size,
                proof,
                note: note.clone(),
            };
            let (status, kind, body) = match self.post(request.to_string()).await {
                Ok(answer) => answer,
                Err(why) => return Answer::Missing(why),
            };
            match status {
                StatusCode::OK => {
                    return match parse_cosignatures(&body, note, &self.key) {
                        Ok(lines) => {
                            *known = head.size;
                            Answer::Cosigned(lines)
                        }
                        Err(error) => {
                            Answer::Missing(format!("its answer is no cosignature: {error}"))
                        }
                    };
                }
                StatusCode::CONFLICT => {
                    let Some(size) = parse_size_body(&body)
                        .ok()
                        .filter(|_| kind == SIZE_CONTENT_TYPE)
                    else {
                        return Answer::Missing("it says 409 and no size".into());
                    };
                    let have = proofs.durable_size();
                    if size > have {
                        let (witness, seen) = (self.name.clone(), size);
                        return Answer::Alarm(Alarm::Larger {
                            witness,
                            seen,
                            have,
                        });
                    }
                    if size == old_size && size == head.size {
                        // An older edition of the protocol says so when it knows another root of this size.
                        return self.forked(size);
                    }
                    *known = size;
                    if size > head.size {
                        return Answer::Missing(format!(
                            "it knows our tree of {size} entries already"
                        ));
                    }
                }
                // It compares with what it has stored only after it has found the sizes equal: its tree is not ours.
                StatusCode::UNPROCESSABLE_ENTITY => return self.forked(old_size),
                status => {
                    let start = body.get(..body.len().min(QUOTED_BYTES)).unwrap_or_default();
                    let text = String::from_utf8_lossy(start);
                    return Answer::Missing(format!("it answers {status}: {:?}", text.trim_end()));
                }
            }
        }
        Answer::Missing("its size changes while it is asked".into())
    }

    fn forked(&self, size: u64) -> Answer {
        let witness = self.name.clone();
        Answer::Alarm(Alarm::Forked { witness, size })
    }

    async fn post(&self, body: String) -> Result<(StatusCode, String, Vec<u8>), String> {
        let gone = |error: reqwest::Error| format!("it cannot be reached: {}", innermost(&error));
        let request = self.client.post(self.endpoint.clone()).body(body);
        let mut answer = request.send().await.map_err(gone)?;
        let kind = answer.headers().get(CONTENT_TYPE);
        let kind = kind
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(gone)? {
            if bytes.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(format!(
                    "its answer is longer than {MAX_RESPONSE_BYTES} bytes"
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((answer.status(), kind, bytes))
    }
}

/// Where checkpoints are sent, below the submission prefix `url`.
fn endpoint(url: &str) -> Result<Url, String> {
    let mut endpoint = Url::parse(url).map_err(|error| format!("{url:?}: {error}"))?;
    if endpoint.scheme() != "https" && !(endpoint.scheme() == "http" && is_loopback(&endpoint)) {
        return Err(format!("{url:?} is neither https nor http on this host"));
    }
    if endpoint.query().is_some() || endpoint.fragment().is_some() {
        return Err(format!("{url:?} has a query or a fragment"));
    }
    let path = format!("{}/add-checkpoint", endpoint.path().trim_end_matches('/'));
    endpoint.set_path(&path);
    Ok(endpoint)
}

#[cfg(test)]
mod tests;
