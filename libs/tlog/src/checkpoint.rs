//! Checkpoints (C2SP tlog-checkpoint): the text by which a log commits to a tree.

use sealwright_crypto::base64;

use crate::error::Error;
use crate::hash::{HASH_LEN, Hash, empty_root};
use crate::note::{Note, NoteKey, VerifiedSignature};

/// Origin, tree size, root hash, and extension lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's unique name: one non-empty line.
    pub origin: String,
    /// Tree size.
    pub size: u64,
    /// Root hash of the tree of that size.
    pub root: Hash,
    /// Further non-empty lines, without line ends. Covered by the log's signature; most logs have none.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: &str, size: u64, root: Hash) -> Self {
        Self {
            origin: origin.to_owned(),
            size,
            root,
            extensions: Vec::new(),
        }
    }

    /// The note text, with its last line end.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            base64::encode(&self.root)
        );
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads a note text. Strict: the text written back is the text read.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let checkpoint = Self::parse_any_root(text)?;
        if checkpoint.size == 0 && checkpoint.root != empty_root() {
            return Err(Error::MalformedCheckpoint(
                "a tree without leaves has another root",
            ));
        }
        Ok(checkpoint)
    }

    /// As [`Checkpoint::parse`], and leaves to the caller whether the root of an empty tree is that of one: a witness
    /// answers that with a status of its own.
    pub(crate) fn parse_any_root(text: &str) -> Result<Self, Error> {
        let lines = text
            .strip_suffix('\n')
            .ok_or(Error::MalformedCheckpoint("the last line has no line end"))?;
        let mut lines = lines.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(Error::MalformedCheckpoint("it has fewer than three lines"));
        };
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: parse_size(size)?,
            root: parse_root(root)?,
            // Each line is looked at before it is kept: thousands of empty ones would take many times their length.
            extensions: lines
                .map(|line| not_empty(line).map(str::to_owned))
                .collect::<Result<_, _>>()?,
        };
        not_empty(origin)?;
        Ok(checkpoint)
    }

    /// Reads a signed checkpoint and checks it: known signature, origin, grammar.
    ///
    /// `origin` and the names of `keys` may differ, as they do for old logs. Errors are those of [`Note::verify`] and
    /// [`Checkpoint::parse`], and [`Error::WrongOrigin`].
    pub fn open(note: &[u8], origin: &str, keys: &[NoteKey]) -> Result<OpenedCheckpoint, Error> {
        let note = Note::parse(note)?;
        let signatures = note.verify(keys)?;
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin != origin {
            return Err(Error::WrongOrigin {
                expected: origin.to_owned(),
                actual: checkpoint.origin,
            });
        }
        Ok(OpenedCheckpoint {
            checkpoint,
            note,
            signatures,
        })
    }
}

fn not_empty(line: &str) -> Result<&str, Error> {
    if line.is_empty() {
        return Err(Error::MalformedCheckpoint("it has an empty line"));
    }
    Ok(line)
}

/// A checkpoint whose signatures were checked; only [`Checkpoint::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
    signatures: Vec<VerifiedSignature>,
}

impl OpenedCheckpoint {
    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note it came in.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The signatures by known keys, by position in the keys that were given.
    pub fn signatures(&self) -> &[VerifiedSignature] {
        &self.signatures
    }
}

fn parse_size(line: &str) -> Result<u64, Error> {
    let canonical =
        line.bytes().all(|b| b.is_ascii_digit()) && (line == "0" || !line.starts_with('0'));
    let size = line.parse().ok().filter(|_| canonical);
    size.ok_or(Error::MalformedCheckpoint(
        "the tree size is not a decimal number without leading zeros",
    ))
}

fn parse_root(line: &str) -> Result<Hash, Error> {
    let bytes = base64::decode(line).ok();
    let root = bytes.and_then(|bytes| <[u8; HASH_LEN]>::try_from(bytes).ok());
    root.ok_or(Error::MalformedCheckpoint(
        "the root hash is not the base64 of 32 bytes",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sealwright_crypto::{KeyType, PrivateKey};

    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

    #[test]
    fn a_checkpoint_survives_its_text() {
        let text = format!("log.example\n20852163\n{ROOT}\nLog frozen\n");
        let checkpoint = Checkpoint::parse(&text).unwrap();
        assert_eq!(
            (checkpoint.size, checkpoint.extensions.len()),
            (20_852_163, 1)
        );
        assert_eq!(checkpoint.to_text(), text);
    }

    #[test]
    fn texts_that_are_no_checkpoints() {
        let refused = [
            String::new(),
            "\n".into(),
            format!("log.example\n7\n{ROOT}"),
            format!("\n7\n{ROOT}\n"),
            "log.example\n7\n".into(),
            format!("log.example\n07\n{ROOT}\n"),
            format!("log.example\n+7\n{ROOT}\n"),
            format!("log.example\n\n{ROOT}\n"),
            format!("log.example\n18446744073709551616\n{ROOT}\n"),
            format!("log.example\n7\n{ROOT}\n\n"),
            format!("log.example\n7\n{ROOT}\n\nx\n"),
            "log.example\n7\nAAAA\n".into(),
            format!("log.example\n7\n{}\n", ROOT.trim_end_matches('=')),
            format!("log.example\n7\n {ROOT}\n"),
            format!("log.example\n0\n{ROOT}\n"),
        ];
        for text in refused {
            assert!(
                matches!(Checkpoint::parse(&text), Err(Error::MalformedCheckpoint(_))),
                "{text:?} was read"
            );
        }
        assert!(
            Checkpoint::parse(&Checkpoint::new("log.example", 0, empty_root()).to_text()).is_ok()
        );
    }

    #[test]
    fn opening_checks_signature_and_origin() {
        let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let key = NoteKey::for_log("log.example", private.public_key().clone()).unwrap();
        let text = Checkpoint::new("log.example", 3, [7; 32]).to_text();
        let mut note = Note::new(text.clone()).unwrap();
        note.push(
            key.signature(&private.sign(key.algorithm(), text.as_bytes()).unwrap(), 0)
                .unwrap(),
        );
        let bytes = note.to_string().into_bytes();

        let opened = Checkpoint::open(&bytes, "log.example", std::slice::from_ref(&key)).unwrap();
        assert_eq!(
            (opened.checkpoint().size, opened.signatures().len()),
            (3, 1)
        );
        let wrong = Checkpoint::open(&bytes, "other.example", std::slice::from_ref(&key));
        assert!(matches!(wrong, Err(Error::WrongOrigin { .. })));
        let forged = String::from_utf8(bytes)
            .unwrap()
            .replacen("\n3\n", "\n4\n", 1);
        let refused = Checkpoint::open(forged.as_bytes(), "log.example", &[key]);
        assert!(matches!(refused, Err(Error::BadSignature { .. })));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_back_unchanged(text in "[a-z ]{0,8}\n[0-9]{0,20}\n[A-Za-z0-9+/]{43}=\n([a-z]{0,3}\n){0,2}") {
            if let Ok(checkpoint) = Checkpoint::parse(&text) {
                prop_assert_eq!(checkpoint.to_text(), text);
            }
        }
    }
}
