//! What an operator should mend soon while the log works as well as before: `/readyz` says it, and stays at 200.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What a note is about; also the last part of its check's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Whether anybody outside could tell that this folder is not the newest.
    Memory,
    /// Whether the folder is still where it was.
    Place,
    /// Whether tile and bundle files are what they should be.
    Files,
}

impl Topic {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Place, Self::Files];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Place => "place",
            Self::Files => "files",
        }
    }
}

/// The notes of one log. They are shown to whoever asks: no paths, no addresses.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<BTreeMap<Topic, String>>);

impl Notes {
    /// Replaces the note on a topic; `None` takes it away.
    pub(crate) fn set(&self, topic: Topic, note: Option<String>) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Some(note) => notes.insert(topic, note),
            None => notes.remove(&topic),
        };
    }

    /// The note on a topic.
    pub(crate) fn get(&self, topic: Topic) -> Option<String> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.get(&topic).cloned()
    }
}
