//! Clients under load, who keep what they were promised.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use sealwright_crypto::{Algorithm, KeyType, PrivateKey, base64};
use sealwright_host::{Clock as _, clock::SystemClock};
use sealwright_integration_tests::{EMAIL, Endpoints, certificate_request, entry_request, http};
use sealwright_pki::{
    SerialNumber,
    authority::{self, AuthorityName, Envelope},
    certificate::Certificate,
};
use serde_json::{Value, json};

use crate::receipt::{Receipt, receipt};

/// A promise of the certificate log: which leaf is where.
#[derive(Clone)]
pub(super) struct Promise {
    pub(super) index: u64,
    pub(super) leaf: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Recorder {
    pub(super) receipts: Mutex<Vec<Receipt>>,
    pub(super) promises: Mutex<Vec<Promise>>,
    /// Checkpoints that were served, by log.
    pub(super) notes: Mutex<Vec<(&'static str, String)>>,
    pub(super) unexpected: Mutex<Vec<String>>,
}

impl Recorder {
    /// How much was recorded, in words.
    pub(super) fn tally(&self) -> String {
        format!(
            "{} receipts, {} SCTs and {} checkpoints",
            self.receipts.lock().expect("lock").len(),
            self.promises.lock().expect("lock").len(),
            self.notes.lock().expect("lock").len()
        )
    }
}

/// One fresh entry for the signature log.
pub(super) fn numbered_entry(key: &PrivateKey, unique: u64) -> anyhow::Result<Value> {
    entry_request(key, &unique.to_be_bytes())
}

/// A self-made certificate of 24 KB, its name twice: whatever else is in it, a signature log keeps it whole.
pub(super) fn large_certificate(key: &PrivateKey) -> anyhow::Result<Vec<u8>> {
    let name = AuthorityName {
        common_name: "large".to_owned(),
        organization: "x".repeat(12_000),
        development: false,
    };
    let now = SystemClock.unix();
    let envelope = Envelope {
        serial: SerialNumber::from_random(rand::random()),
        not_before: now - 300,
        not_after: now + 86_400,
    };
    Ok(authority::root(key, &name, 0, &envelope)?.der().to_vec())
}

/// One fresh entry with that certificate.
pub(super) fn large_entry(
    key: &PrivateKey,
    certificate: &[u8],
    unique: u64,
) -> anyhow::Result<Value> {
    let mut request = numbered_entry(key, unique)?;
    request["hashedRekordRequestV002"]["signature"]["verifier"] = json!({
        "x509Certificate": {"rawBytes": base64::encode(certificate)},
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    });
    Ok(request)
}

fn write_entries(
    endpoints: &Endpoints,
    recorder: &Recorder,
    stop: &AtomicBool,
    unique: &AtomicU64,
) {
    let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
    let client = http();
    while !stop.load(Ordering::Relaxed) {
        let request =
            numbered_entry(&key, unique.fetch_add(1, Ordering::Relaxed)).expect("a request");
        let answer = client
            .post(format!("{}/api/v2/log/entries", endpoints.log))
            .json(&request)
            .send();
        // A connection that breaks is the crash itself. An answer that arrived whole is a receipt.
        let Ok(answer) = answer else { continue };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text() else { continue };
        match (status, serde_json::from_str::<Value>(&text)) {
            (201, Ok(value)) => match receipt(&value) {
                Ok(receipt) => recorder.receipts.lock().expect("lock").push(receipt),
                Err(error) => recorder
                    .unexpected
                    .lock()
                    .expect("lock")
                    .push(format!("{error:#}: {text}")),
            },
            (503, _) => thread::sleep(Duration::from_millis(5)),
            _ => recorder
                .unexpected
                .lock()
                .expect("lock")
                .push(format!("{status}: {text}")),
        }
    }
}

fn promise(chain: &[String]) -> anyhow::Result<Promise> {
    let certificates = chain
        .iter()
        .map(|pem| Certificate::from_pem(pem))
        .collect::<Result<Vec<_>, _>>()?;
    let (leaf, issuer) = (
        certificates.first().context("leaf")?,
        certificates.get(1).context("issuer")?,
    );
    let scts = sealwright_pki::sct::embedded_scts(leaf)?;
    let sct = scts.first().context("an embedded SCT")?;
    let entry = sealwright_tlog::ct::CtEntry::Precert {
        issuer_key_hash: sealwright_crypto::sha256(issuer.spki_der()),
        tbs_certificate: sealwright_pki::sct::precertificate_tbs(leaf.tbs_der())?,
        pre_certificate: Vec::new(),
    };
    let leaf = entry.merkle_tree_leaf(sct.timestamp_ms, &sct.extensions)?;
    Ok(Promise {
        index: sealwright_tlog::ct::parse_leaf_index(&sct.extensions)?,
        leaf,
    })
}

fn request_certificates(
    endpoints: &Endpoints,
    token: &str,
    recorder: &Recorder,
    stop: &AtomicBool,
) {
    let client = http();
    while !stop.load(Ordering::Relaxed) {
        let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
        let request =
            certificate_request(token, &key, Algorithm::EcdsaP256Sha256, EMAIL).expect("a request");
        let Ok(answer) = client
            .post(format!("{}/api/v2/signingCert", endpoints.ca))
            .json(&request)
            .send()
        else {
            continue;
        };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text() else { continue };
        if status == 503 {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let outcome = serde_json::from_str::<Value>(&text)
            .map_err(anyhow::Error::from)
            .and_then(|value| {
                ensure!(status == 200, "{status}");
                let chain = value["signedCertificateEmbeddedSct"]["chain"]["certificates"].clone();
                promise(&serde_json::from_value::<Vec<String>>(chain)?)
            });
        match outcome {
            Ok(promise) => recorder.promises.lock().expect("lock").push(promise),
            Err(error) => recorder
                .unexpected
                .lock()
                .expect("lock")
                .push(format!("{error:#}: {text}")),
        }
    }
}

/// Asks for the checkpoints of both logs, again and again.
fn watch_checkpoints(endpoints: &Endpoints, recorder: &Recorder, stop: &AtomicBool) {
    let client = http();
    let places = [
        ("log", format!("{}/api/v2/checkpoint", endpoints.log)),
        ("ct", format!("{}/checkpoint", endpoints.ct)),
    ];
    while !stop.load(Ordering::Relaxed) {
        for (name, url) in &places {
            let note = client.get(url).send().and_then(|answer| {
                let answer = answer.error_for_status()?;
                answer.text()
            });
            let Ok(note) = note else { continue };
            let mut notes = recorder.notes.lock().expect("lock");
            if notes
                .iter()
                .rfind(|(of, _)| of == name)
                .is_none_or(|(_, last)| *last != note)
            {
                notes.push((name, note));
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What one of the crowd does until it is stopped.
type Work = Box<dyn Fn(&Endpoints, &Recorder, &AtomicBool) + Send>;

/// Writers of entries, one who asks for certificates, one who looks at checkpoints.
pub(super) struct Crowd {
    stop: Arc<AtomicBool>,
    members: Vec<thread::JoinHandle<()>>,
}

impl Crowd {
    pub(super) fn gather(
        endpoints: &Endpoints,
        token: &str,
        recorder: &Arc<Recorder>,
        unique: &Arc<AtomicU64>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let member = |work: Work| {
            let (endpoints, recorder, stop) = (endpoints.clone(), recorder.clone(), stop.clone());
            thread::spawn(move || work(&endpoints, &recorder, &stop))
        };
        let mut members: Vec<_> = (0..4)
            .map(|_| {
                let unique = unique.clone();
                member(Box::new(move |endpoints, recorder, stop| {
                    write_entries(endpoints, recorder, stop, &unique);
                }))
            })
            .collect();
        let token = token.to_owned();
        members.push(member(Box::new(move |endpoints, recorder, stop| {
            request_certificates(endpoints, &token, recorder, stop);
        })));
        members.push(member(Box::new(watch_checkpoints)));
        Self { stop, members }
    }

    /// Waits until somebody has a receipt that was not there before, or five seconds: a log that has just started shows
    /// nothing before its witness has been asked.
    pub(super) fn until_receipt(&self, recorder: &Recorder, before: usize) {
        let begun = Instant::now();
        while recorder.receipts.lock().expect("lock").len() == before
            && begun.elapsed() < Duration::from_secs(5)
        {
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn disperse(self) {
        self.stop.store(true, Ordering::Relaxed);
        for member in self.members {
            member.join().expect("nobody of the crowd panics");
        }
    }
}
