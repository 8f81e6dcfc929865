//! Which logs a witness knows: their origins and keys, from the configuration and from lists that may change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sealwright_tlog::{NoteKey, SignatureKind};

use crate::config::{Config, LogConfig};
use crate::error::Error;

/// Bytes of one list.
const MAX_LIST_BYTES: u64 = 4 << 20;
/// Keys of one origin: a log has one or, while a key is replaced, two.
const MAX_KEYS: usize = 16;
/// Logs in all.
const MAX_LOGS: usize = 65_536;

type Keys = HashMap<String, Arc<[NoteKey]>>;

/// The logs, by origin.
#[derive(Debug)]
pub(crate) struct KnownLogs {
    configured: Vec<(String, NoteKey)>,
    lists: Vec<PathBuf>,
    current: RwLock<Current>,
}

#[derive(Debug, Default)]
struct Current {
    keys: Keys,
    /// What the lists said when they were read last.
    texts: Vec<Vec<u8>>,
    problem: Option<String>,
}

impl KnownLogs {
    pub(crate) fn open(config: &Config, folder: &Path) -> Result<Self, Error> {
        let configured = config
            .logs
            .iter()
            .map(configured)
            .collect::<Result<Vec<_>, _>>()?;
        let lists: Vec<_> = config
            .log_lists
            .iter()
            .map(|path| folder.join(path))
            .collect();
        let logs = Self {
            configured,
            lists,
            current: RwLock::default(),
        };
        let current = logs.read().map_err(|what| Error::Config {
            key: "log_lists",
            what,
        })?;
        *logs.write() = current;
        Ok(logs)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Current> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> std::sync::RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of the log with this origin.
    pub(crate) fn keys(&self, origin: &str) -> Option<Arc<[NoteKey]>> {
        self.current().keys.get(origin).cloned()
    }

    /// `Err` with the words for an operator when no log is known, or a list cannot be read.
    pub(crate) fn condition(&self) -> Result<(), String> {
        let current = self.current();
        match &current.problem {
            Some(problem) => Err(problem.clone()),
            None if current.keys.is_empty() => Err("no log is configured".to_owned()),
            None => Ok(()),
        }
    }

    /// Reads the lists again. One that cannot be used leaves everything as it is, and is said.
    pub(crate) fn read_again(&self) {
        match self.read() {
            Ok(next) => {
                if next.texts != self.current().texts {
                    tracing::info!(logs = next.keys.len(), "the lists of logs were read again");
                }
                *self.write() = next;
            }
            Err(problem) => {
                let mut current = self.write();
                if current.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        "a list of logs cannot be used, the logs stay as they are: {problem}"
                    );
                }
                current.problem = Some(problem);
            }
        }
    }

    fn read(&self) -> Result<Current, String> {
        let mut found: HashMap<String, Vec<NoteKey>> = HashMap::new();
        let mut add = |origin: &str, key: NoteKey| {
            let keys = found.entry(origin.to_owned()).or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
            keys.len() <= MAX_KEYS
        };
        for (origin, key) in &self.configured {
            if !add(origin, key.clone()) {
                return Err(format!("the log {origin:?} has more than {MAX_KEYS} keys"));
            }
        }
        let mut texts = Vec::new();
        for path in &self.lists {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = read_list(path).map_err(|error| format!("{name}: {error}"))?;
            for key in parse_list(&text).map_err(|what| format!("{name}, {what}"))? {
                let origin = key.name().to_owned();
                if !add(&origin, key) {
                    return Err(format!("{name}: a log has more than {MAX_KEYS} keys"));
                }
            }
            texts.push(text);
        }
        if found.len() > MAX_LOGS {
            return Err(format!("there are more than {MAX_LOGS} logs"));
        }
        let keys = found
            .into_iter()
            .map(|(origin, keys)| (origin, keys.into()));
        Ok(Current {
            keys: keys.collect(),
            texts,
            problem: None,
        })
    }
}

fn configured(log: &LogConfig) -> Result<(String, NoteKey), Error> {
    let key = log_key(&log.key).map_err(|what| Error::Config {
        key: "log.key",
        what: format!("{:?}: {what}", log.key),
    })?;
    let origin = log.origin.clone().unwrap_or_else(|| key.name().to_owned());
    if origin.is_empty() || origin.contains('\n') {
        return Err(Error::Config {
            key: "log.origin",
            what: format!("{origin:?} is not one line"),
        });
    }
    Ok((origin, key))
}

fn read_list(path: &Path) -> std::io::Result<Vec<u8>> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_LIST_BYTES {
        return Err(std::io::Error::other(format!(
            "it has {length} bytes, at most {MAX_LIST_BYTES} are read"
        )));
    }
    std::fs::read(path)
}

/// The keys of a list. A line cut short is refused, as everywhere: with its last line a list might lose a log.
fn parse_list(text: &[u8]) -> Result<Vec<NoteKey>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line has no line end".to_owned());
    }
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let items: Vec<&str> = line
            .split([' ', '\t'])
            .filter(|item| !item.is_empty())
            .collect();
        let key = match items.as_slice() {
            [] => continue,
            [first, ..] if first.starts_with('#') => continue,
            ["log", key] | ["log", key, _] | [key] => key,
            ["witness" | "group" | "quorum", ..] => continue,
            _ => return Err(format!("line {}: expected: log VKEY [URL]", number + 1)),
        };
        let key = log_key(key).map_err(|what| format!("line {}: {what}", number + 1))?;
        keys.push(key);
    }
    Ok(keys)
}

fn log_key(text: &str) -> Result<NoteKey, String> {
    let key = NoteKey::from_vkey(text).map_err(|error| error.to_string())?;
    match key.kind() {
        SignatureKind::CosignatureV1 => Err("the key is a witness's, not a log's".to_owned()),
        _ => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwright_crypto::{KeyType, PrivateKey};

    fn vkey(name: &str, kind: SignatureKind) -> String {
        let key_type = match kind {
            SignatureKind::Rfc6962TreeHead => KeyType::EcP256,
            _ => KeyType::Ed25519,
        };
        let key = PrivateKey::generate(key_type).unwrap();
        let key = NoteKey::new(name, kind, key.public_key().clone()).unwrap();
        key.to_vkey().unwrap()
    }

    #[test]
    fn a_policy_a_list_of_keys_and_a_mixture_are_read() {
        let (a, b) = (
            vkey("a.example", SignatureKind::Ed25519),
            vkey("b.example/ct", SignatureKind::Rfc6962TreeHead),
        );
        let witness = vkey("w", SignatureKind::CosignatureV1);
        let text =
            format!("# logs\n\nlog {a} https://a.example\n\t{b}\nwitness w {witness}\nquorum w\n");
        let names: Vec<_> = parse_list(text.as_bytes()).unwrap();
        let names: Vec<_> = names.iter().map(NoteKey::name).collect();
        assert_eq!(names, ["a.example", "b.example/ct"]);
        for (text, what) in [
            (format!("log {a}"), "no line end"),
            (format!("{witness}\n"), "witness's"),
            (format!("log {a} b c\n"), "expected"),
            ("log a+00000000+AA==\n".into(), "line 1"),
        ] {
            let refusal = parse_list(text.as_bytes()).unwrap_err();
            assert!(refusal.contains(what), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_list_that_changes_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("logs.txt");
        let write = |text: String| std::fs::write(&list, text).unwrap();
        let (a, b) = (
            vkey("a.example", SignatureKind::Ed25519),
            vkey("b.example", SignatureKind::Ed25519),
        );
        write(format!("{a}\n"));
        let config = Config {
            log_lists: vec!["logs.txt".into()],
            ..Config::default()
        };
        let logs = KnownLogs::open(&config, folder.path()).unwrap();
        let known = |origin| logs.keys(origin).is_some();
        assert!(known("a.example") && !known("b.example"));
        write(format!("{a}\n{b}\n"));
        logs.read_again();
        assert!(known("a.example") && known("b.example") && logs.condition().is_ok());
        write(format!("{a}\nnonsense and more\n"));
        logs.read_again();
        assert!(known("b.example"));
        let problem = logs.condition().unwrap_err();
        assert!(problem.contains("logs.txt, line 2"), "{problem}");
        write(format!("{b}\n"));
        logs.read_again();
        assert!(!known("a.example") && logs.condition().is_ok());
    }
}
