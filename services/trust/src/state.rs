//! What the service remembers beside the repository: the staged change, when entries were published and activated, and
//! the open challenge. Small JSON files, replaced in one step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sealwright_crypto::random_bytes;
use sealwright_tuf::{Envelope, Targets};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::{self, FileWrite, read_optional};
use crate::documents::{Documents, json};
use crate::error::Error;
use crate::material::CHALLENGE_LENGTH;

/// How long a challenge stays open, in seconds: time enough to carry files by hand.
const CHALLENGE_LIFETIME: i64 = 7 * 86_400;

/// A change that waits for signatures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StagedFile {
    /// Targets version it was made from; absent when nothing was published.
    pub(crate) base: Option<u64>,
    /// The targets file with the signatures so far.
    pub(crate) targets: String,
    /// The target files by name.
    pub(crate) files: BTreeMap<String, String>,
    /// What changes, in sentences.
    pub(crate) changes: Vec<String>,
    /// The entry a break-glass removal takes away.
    pub(crate) removed: Option<Removal>,
}

/// A break-glass removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Removal {
    pub(crate) id: String,
    pub(crate) reason: String,
}

impl StagedFile {
    pub(crate) fn envelope(&self) -> Result<Envelope<Targets>, Error> {
        Ok(Envelope::parse(self.targets.as_bytes())?)
    }

    pub(crate) fn set_envelope(&mut self, envelope: &Envelope<Targets>) {
        self.targets = String::from_utf8(envelope.to_bytes()).unwrap_or_default();
    }

    pub(crate) fn file_bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let files = self.files.iter();
        files
            .map(|(name, text)| (name.clone(), text.clone().into_bytes()))
            .collect()
    }
}

/// When an entry passed each step. Unix seconds.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Steps {
    pub(crate) published_at: i64,
    pub(crate) usable_from: i64,
    pub(crate) activated_at: Option<i64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    entries: BTreeMap<String, Steps>,
    /// Break-glass removals, for ever.
    removals: Vec<Removal>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Challenge {
    hex: String,
    expires: i64,
}

/// The files of one service.
#[derive(Debug)]
pub(crate) struct State {
    dir: PathBuf,
    ledger: Ledger,
    staged: Option<StagedFile>,
    challenge: Option<Challenge>,
}

impl State {
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            ledger: read_json(&dir.join("ledger.json"))?.unwrap_or_default(),
            staged: read_json(&dir.join("staged.json"))?,
            challenge: read_json(&dir.join("challenge.json"))?,
            dir: dir.to_owned(),
        })
    }

    pub(crate) fn staged(&self) -> Option<&StagedFile> {
        self.staged.as_ref()
    }

    pub(crate) fn set_staged(&mut self, staged: StagedFile) -> Result<(), Error> {
        self.write("staged.json", &staged)?;
        self.staged = Some(staged);
        Ok(())
    }

    pub(crate) fn clear_staged(&mut self) -> Result<(), Error> {
        disk::remove(&self.dir.join("staged.json"))?;
        self.staged = None;
        Ok(())
    }

    /// The open challenge, a new one when the last has run out.
    pub(crate) fn challenge(&mut self, now: i64) -> Result<[u8; CHALLENGE_LENGTH], Error> {
        if let Some(open) = self.challenge.as_ref().and_then(|open| open.bytes(now)) {
            return Ok(open);
        }
        let bytes = random_bytes::<CHALLENGE_LENGTH>();
        let challenge = Challenge {
            hex: hex::encode(bytes),
            expires: now.saturating_add(CHALLENGE_LIFETIME),
        };
        self.write("challenge.json", &challenge)?;
        self.challenge = Some(challenge);
        Ok(bytes)
    }

    pub(crate) fn steps(&self, id: &str) -> Option<&Steps> {
        self.ledger.entries.get(id)
    }

    /// Remembers entries seen in the published documents for the first time.
    pub(crate) fn record_published(
        &mut self,
        documents: &Documents,
        now: i64,
        usable_from: i64,
    ) -> Result<(), Error> {
        let mut ledger = self.ledger.clone();
        for entry in documents.entries() {
            ledger.entries.entry(entry.id).or_insert(Steps {
                published_at: now,
                usable_from,
                activated_at: None,
            });
        }
        self.set_ledger(ledger)
    }

    pub(crate) fn record_removal(&mut self, removal: &Removal) -> Result<(), Error> {
        let mut ledger = self.ledger.clone();
        ledger.entries.remove(&removal.id);
        ledger.removals.push(removal.clone());
        self.set_ledger(ledger)
    }

    pub(crate) fn record_activation(&mut self, ids: &[String], now: i64) -> Result<(), Error> {
        let mut ledger = self.ledger.clone();
        for id in ids {
            if let Some(steps) = ledger.entries.get_mut(id) {
                steps.activated_at.get_or_insert(now);
            }
        }
        self.set_ledger(ledger)
    }

    fn set_ledger(&mut self, ledger: Ledger) -> Result<(), Error> {
        if ledger.entries != self.ledger.entries
            || ledger.removals.len() != self.ledger.removals.len()
        {
            self.write("ledger.json", &ledger)?;
            self.ledger = ledger;
        }
        Ok(())
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        FileWrite::replace(self.dir.join(name), json(value)).apply()
    }
}

impl Challenge {
    fn bytes(&self, now: i64) -> Option<[u8; CHALLENGE_LENGTH]> {
        let open = now < self.expires && self.expires.saturating_sub(now) <= CHALLENGE_LIFETIME;
        let bytes = hex::decode(&self.hex).ok()?.try_into().ok()?;
        open.then_some(bytes)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = read_optional(path)? else {
        return Ok(None);
    };
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|error| Error::Corrupt {
        what: format!("{}: {error}", path.display()),
    })
}
