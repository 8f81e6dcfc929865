//! Signed notes (C2SP signed-note): a text with signature lines below it.
//!
//! The reader is strict: one text has one meaning. What does not follow the grammar to the letter is refused, and so is
//! a note on which the signature of a known key is wrong. Signatures of unknown keys are carried along unread.

use std::fmt;

use sealwright_crypto::{
    Algorithm, BoxFuture, HashAlgorithm, KeyType, PublicKey, SignError, Signer, base64, sha256,
    sha256_concat,
};

use crate::checkpoint::Checkpoint;
use crate::cosignature;
use crate::ct;
use crate::error::Error;

/// The longest note that is read: 256 KiB.
pub const MAX_NOTE_BYTES: usize = 256 * 1024;
/// The most signature lines that are read. The specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 64;

const SIGNATURE_LINE_START: &str = "\u{2014} ";
const RSA_IDENTIFIER: &[u8] = b"PKIX-RSA-PKCS#1v1.5";

/// First four bytes of a key's digest, as they stand on a signature line.
pub type KeyId = [u8; 4];

/// How a note signature is made. The number is the type byte of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureKind {
    /// 0x01: Ed25519 over the text.
    Ed25519,
    /// 0x02: ECDSA, DER, over the SHA-256 of the text.
    Ecdsa,
    /// 0x04: a witness's Ed25519 signature over the text and a time (cosignature/v1).
    CosignatureV1,
    /// 0x05: the RFC 6962 tree head signature of a static-ct log.
    Rfc6962TreeHead,
    /// 0xff: RSASSA-PKCS1-v1_5 with SHA-256 over the text, as Rekor names it.
    RsaPkcs1,
}

impl SignatureKind {
    /// The type byte.
    pub fn type_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Ecdsa => 0x02,
            Self::CosignatureV1 => 0x04,
            Self::Rfc6962TreeHead => 0x05,
            Self::RsaPkcs1 => 0xff,
        }
    }

    fn fits(self, key: KeyType) -> bool {
        match self {
            Self::Ed25519 | Self::CosignatureV1 => key == KeyType::Ed25519,
            Self::Ecdsa => matches!(key, KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521),
            Self::Rfc6962TreeHead => key == KeyType::EcP256,
            Self::RsaPkcs1 => matches!(key, KeyType::Rsa { .. }),
        }
    }
}

/// A public key under the name it signs notes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    kind: SignatureKind,
    public_key: PublicKey,
    digest: [u8; 32],
}

impl NoteKey {
    /// A key of a given kind. Refuses a name that cannot stand on a signature line, and a key of the wrong type.
    pub fn new(name: &str, kind: SignatureKind, public_key: PublicKey) -> Result<Self, Error> {
        if !is_valid_name(name) {
            return Err(Error::UnusableKey(
                "the name is empty, has white space or a plus sign",
            ));
        }
        if !kind.fits(public_key.key_type()) {
            return Err(Error::UnusableKey(
                "the type of the key does not fit the kind of signature",
            ));
        }
        let digest = key_digest(name, kind, &public_key);
        Ok(Self {
            name: name.to_owned(),
            kind,
            public_key,
            digest,
        })
    }

    /// The key of a signature log, which signs checkpoints under its origin: the kind follows from the type of key.
    pub fn for_log(origin: &str, public_key: PublicKey) -> Result<Self, Error> {
        let kind = match public_key.key_type() {
            KeyType::Ed25519 => SignatureKind::Ed25519,
            KeyType::Rsa { .. } => SignatureKind::RsaPkcs1,
            KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 => SignatureKind::Ecdsa,
        };
        Self::new(origin, kind, public_key)
    }

    /// The key of a certificate log: P-256, tree head signatures of RFC 6962.
    pub fn for_ct_log(origin: &str, public_key: PublicKey) -> Result<Self, Error> {
        Self::new(origin, SignatureKind::Rfc6962TreeHead, public_key)
    }

    /// Reads a verifier key: `name+<8 hex digits of key id>+<base64 of type byte and key>`.
    pub fn from_vkey(text: &str) -> Result<Self, Error> {
        const BAD: Error = Error::UnusableKey("a verifier key is name+hexid+base64");
        let (name, rest) = text.split_once('+').ok_or(BAD)?;
        let (id, encoded) = rest.split_once('+').ok_or(BAD)?;
        let bytes = base64::decode(encoded).map_err(|_| BAD)?;
        let (kind, public_key) = read_vkey_material(&bytes)?;
        let key = Self::new(name, kind, public_key)?;
        if hex::encode(key.key_id()) != id {
            return Err(Error::UnusableKey(
                "the key id does not belong to this name and key",
            ));
        }
        Ok(key)
    }

    /// Writes a verifier key. For RFC 6962 keys none is specified; they have the form in which published witnesses and
    /// monitors take them, the type byte and the key as SubjectPublicKeyInfo. `None` where a key has no such form.
    pub fn to_vkey(&self) -> Option<String> {
        let mut material = vec![self.kind.type_byte()];
        match self.kind {
            SignatureKind::Ed25519 | SignatureKind::CosignatureV1 => {
                material.extend(self.public_key.ed25519_raw()?)
            }
            SignatureKind::Ecdsa | SignatureKind::Rfc6962TreeHead => {
                material.extend(self.public_key.spki_der())
            }
            SignatureKind::RsaPkcs1 => {
                material.extend([RSA_IDENTIFIER, self.public_key.spki_der()].concat())
            }
        }
        Some(format!(
            "{}+{}+{}",
            self.name,
            hex::encode(self.key_id()),
            base64::encode(&material)
        ))
    }

    /// The name on the signature line; a log's own signature carries its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How this key signs.
    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// The key itself.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The four bytes in front of the signature on its line.
    pub fn key_id(&self) -> KeyId {
        let [a, b, c, d, ..] = self.digest;
        [a, b, c, d]
    }

    /// The 32 bytes that name the log in `logId.keyId`, in trusted roots, log entries and SCTs.
    ///
    /// For a certificate log that is the SHA-256 of its key (RFC 6962 LogID); for every other kind it is the full digest
    /// whose first four bytes are [`NoteKey::key_id`].
    pub fn log_id(&self) -> [u8; 32] {
        match self.kind {
            SignatureKind::Rfc6962TreeHead => self.public_key.fingerprint(),
            _ => self.digest,
        }
    }

    /// The bytes to sign for `text` at `time_ms` (Unix milliseconds; kinds without a time ignore it).
    ///
    /// Fails when an RFC 6962 tree head is asked for a text that is not a plain checkpoint.
    pub fn message(&self, text: &str, time_ms: u64) -> Result<Vec<u8>, Error> {
        match self.kind {
            SignatureKind::CosignatureV1 => Ok(cosignature::message(time_ms / 1000, text)),
            SignatureKind::Rfc6962TreeHead => {
                let checkpoint = Checkpoint::parse(text)?;
                if !checkpoint.extensions.is_empty() {
                    return Err(Error::MalformedCheckpoint(
                        "a certificate log's checkpoint has no extension lines",
                    ));
                }
                Ok(ct::tree_head_message(
                    time_ms,
                    checkpoint.size,
                    &checkpoint.root,
                ))
            }
            SignatureKind::Ed25519 | SignatureKind::Ecdsa | SignatureKind::RsaPkcs1 => {
                Ok(text.as_bytes().to_vec())
            }
        }
    }

    /// The signature line for a signature over [`NoteKey::message`] with the same time.
    pub fn signature(&self, raw: &[u8], time_ms: u64) -> Result<NoteSignature, Error> {
        let signature = match self.kind {
            SignatureKind::CosignatureV1 => [&(time_ms / 1000).to_be_bytes(), raw].concat(),
            SignatureKind::Rfc6962TreeHead => ct::tree_head_signature(time_ms, raw)?,
            SignatureKind::Ed25519 | SignatureKind::Ecdsa | SignatureKind::RsaPkcs1 => raw.to_vec(),
        };
        Ok(NoteSignature {
            name: self.name.clone(),
            key_id: self.key_id(),
            signature,
        })
    }

    /// The algorithm a [`Signer`] for this key must use.
    pub fn algorithm(&self) -> Algorithm {
        match (self.kind, self.public_key.key_type()) {
            (_, KeyType::EcP256) => Algorithm::EcdsaP256Sha256,
            // The hash is SHA-256 for every curve: it belongs to the note's format, not to the key.
            (_, KeyType::EcP384) => Algorithm::EcdsaP384Sha256,
            (_, KeyType::EcP521) => Algorithm::EcdsaP521Sha256,
            (_, KeyType::Ed25519) => Algorithm::Ed25519,
            (_, KeyType::Rsa { bits }) => Algorithm::RsaPkcs1 {
                bits,
                hash: HashAlgorithm::Sha256,
            },
        }
    }

    fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, Error> {
        let bad = || Error::BadSignature {
            name: self.name.clone(),
            key_id: self.key_id(),
        };
        let (time_ms, raw) = match self.kind {
            SignatureKind::CosignatureV1 => {
                let (seconds, raw) = cosignature::split(signature).ok_or_else(bad)?;
                (Some(seconds.saturating_mul(1000)), raw)
            }
            SignatureKind::Rfc6962TreeHead => {
                let (time_ms, raw) = ct::parse_tree_head_signature(signature).map_err(|_| bad())?;
                (Some(time_ms), raw)
            }
            SignatureKind::Ed25519 | SignatureKind::Ecdsa | SignatureKind::RsaPkcs1 => {
                (None, signature)
            }
        };
        let message = self
            .message(text, time_ms.unwrap_or(0))
            .map_err(|_| bad())?;
        self.public_key
            .verify(self.algorithm(), &message, raw)
            .map_err(|_| bad())?;
        Ok(time_ms)
    }
}

fn key_digest(name: &str, kind: SignatureKind, key: &PublicKey) -> [u8; 32] {
    let generic = |material: &[&[u8]]| {
        let material = material.concat();
        sha256_concat(&[name.as_bytes(), b"\n", &[kind.type_byte()], &material])
    };
    match kind {
        // ECDSA ids leave out the name: older than the general rule, and kept.
        SignatureKind::Ecdsa => sha256(key.spki_der()),
        SignatureKind::Ed25519 | SignatureKind::CosignatureV1 => {
            generic(&[&key.ed25519_raw().unwrap_or_default()])
        }
        SignatureKind::Rfc6962TreeHead => generic(&[&key.fingerprint()]),
        SignatureKind::RsaPkcs1 => generic(&[RSA_IDENTIFIER, key.spki_der()]),
    }
}

fn read_vkey_material(bytes: &[u8]) -> Result<(SignatureKind, PublicKey), Error> {
    const BAD_KEY: Error = Error::UnusableKey("the key bytes are not a key of the stated type");
    let (type_byte, material) = bytes.split_first().ok_or(BAD_KEY)?;
    let ed25519 = || {
        let raw: [u8; 32] = material.try_into().map_err(|_| BAD_KEY)?;
        PublicKey::from_ed25519_raw(&raw).map_err(|_| BAD_KEY)
    };
    let spki = |der: &[u8]| PublicKey::from_spki_der(der).map_err(|_| BAD_KEY);
    match type_byte {
        0x01 => Ok((SignatureKind::Ed25519, ed25519()?)),
        0x02 => Ok((SignatureKind::Ecdsa, spki(material)?)),
        0x04 => Ok((SignatureKind::CosignatureV1, ed25519()?)),
        0x05 => Ok((SignatureKind::Rfc6962TreeHead, spki(material)?)),
        0xff => Ok((
            SignatureKind::RsaPkcs1,
            spki(material.strip_prefix(RSA_IDENTIFIER).ok_or(BAD_KEY)?)?,
        )),
        _ => Err(Error::UnusableKey("this type of note key is not supported")),
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: KeyId,
    signature: Vec<u8>,
}

impl NoteSignature {
    /// Reads one line without its line end.
    pub fn parse(line: &str) -> Result<Self, Error> {
        const BAD: Error =
            Error::MalformedNote("a signature line is: em dash, space, name, space, base64");
        let (name, encoded) = line
            .strip_prefix(SIGNATURE_LINE_START)
            .and_then(|rest| rest.split_once(' '))
            .ok_or(BAD)?;
        let bytes = base64::decode(encoded).map_err(|_| BAD)?;
        let (key_id, signature) = bytes.split_first_chunk::<4>().ok_or(BAD)?;
        if !is_valid_name(name) || signature.is_empty() {
            return Err(BAD);
        }
        Ok(Self {
            name: name.to_owned(),
            key_id: *key_id,
            signature: signature.to_vec(),
        })
    }

    /// Key name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What follows the key id; its form depends on the kind of key.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id, self.signature.as_slice()].concat();
        write!(
            f,
            "{SIGNATURE_LINE_START}{} {}",
            self.name,
            base64::encode(&bytes)
        )
    }
}

/// A text and its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// A signature that was checked and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// Position in the slice of keys that was given.
    pub key_index: usize,
    /// Time in the signature, Unix milliseconds, for the kinds that carry one.
    pub time_ms: Option<u64>,
}

impl Note {
    /// A note without signatures yet. The text must end with a line end and hold no control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        require_plain_text(&text)?;
        if !text.ends_with('\n') || text.len() > MAX_NOTE_BYTES {
            return Err(Error::MalformedNote(
                "the text does not end with a line end, or is longer than 256 KiB",
            ));
        }
        Ok(Self {
            text,
            signatures: Vec::new(),
        })
    }

    /// Reads a signed note: text, empty line, 1 to 64 signature lines.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(Error::TooLong {
                what: "signed note",
                actual: bytes.len(),
                limit: MAX_NOTE_BYTES,
            });
        }
        let whole =
            std::str::from_utf8(bytes).map_err(|_| Error::MalformedNote("it is not UTF-8"))?;
        require_plain_text(whole)?;
        // The last empty line divides: signature lines are never empty, while the text may have empty lines.
        let divide = whole
            .rfind("\n\n")
            .ok_or(Error::MalformedNote("it has no empty line"))?;
        let (text, lines) = (&whole[..=divide], &whole[divide + 2..]);
        let lines = lines
            .strip_suffix('\n')
            .ok_or(Error::MalformedNote("the last line has no line end"))?;
        let signatures = lines
            .split('\n')
            .map(NoteSignature::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(Error::MalformedNote("it has more than 64 signatures"));
        }
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The text, with its last line end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines in order, known or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Appends a signature line.
    pub fn push(&mut self, signature: NoteSignature) {
        self.signatures.push(signature);
    }

    /// Checks every signature by one of `keys`, and returns those that hold, in the order of the lines.
    ///
    /// [`Error::BadSignature`] when the signature of a known name and key id is wrong: the note is then worthless even if
    /// others hold. [`Error::NoKnownSignature`] when no line belongs to any of the keys.
    pub fn verify(&self, keys: &[NoteKey]) -> Result<Vec<VerifiedSignature>, Error> {
        let mut verified = Vec::new();
        for line in &self.signatures {
            let mut bad = None;
            let candidates: Vec<(usize, &NoteKey)> = keys
                .iter()
                .enumerate()
                .filter(|(_, key)| key.name == line.name && key.key_id() == line.key_id)
                .collect();
            let holds = candidates.iter().find_map(|(key_index, key)| {
                match key.verify(&self.text, &line.signature) {
                    Ok(time_ms) => Some(VerifiedSignature {
                        key_index: *key_index,
                        time_ms,
                    }),
                    Err(error) => {
                        bad = Some(error);
                        None
                    }
                }
            });
            match (holds, bad) {
                (Some(signature), _) => verified.push(signature),
                (None, Some(error)) => return Err(error),
                (None, None) => {}
            }
        }
        if verified.is_empty() {
            Err(Error::NoKnownSignature { known: keys.len() })
        } else {
            Ok(verified)
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// Why a note was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignNoteError {
    /// The text cannot be signed with this kind of key.
    #[error(transparent)]
    Note(#[from] Error),
    /// The signer refused or could not be reached.
    #[error("the note could not be signed")]
    Signer(#[source] SignError),
}

/// Signs `text` with `signer`, whose public half `key` holds. The time is Unix milliseconds.
pub fn sign<'a>(
    text: &'a str,
    key: &'a NoteKey,
    signer: &'a dyn Signer,
    time_ms: u64,
) -> BoxFuture<'a, Result<NoteSignature, SignNoteError>> {
    Box::pin(async move {
        let message = key.message(text, time_ms)?;
        let raw = match signer.sign_now(&message) {
            Some(answer) => answer,
            None => signer.sign(&message).await,
        };
        Ok(key.signature(&raw.map_err(SignNoteError::Signer)?, time_ms)?)
    })
}

pub(crate) fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

fn require_plain_text(text: &str) -> Result<(), Error> {
    let plain = text.chars().all(|c| c >= ' ' || c == '\n');
    if plain {
        Ok(())
    } else {
        Err(Error::MalformedNote("it has control characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sealwright_crypto::{MemorySigner, PrivateKey};

    fn signed(text: &str, key: &NoteKey, private: &PrivateKey, time_ms: u64) -> Note {
        let raw = private
            .sign(key.algorithm(), &key.message(text, time_ms).unwrap())
            .unwrap();
        let mut note = Note::new(text).unwrap();
        note.push(key.signature(&raw, time_ms).unwrap());
        note
    }

    fn key(kind: SignatureKind) -> (NoteKey, PrivateKey) {
        let key_type = match kind {
            SignatureKind::Ed25519 | SignatureKind::CosignatureV1 => KeyType::Ed25519,
            SignatureKind::RsaPkcs1 => KeyType::Rsa { bits: 2048 },
            _ => KeyType::EcP256,
        };
        let private = PrivateKey::generate(key_type).unwrap();
        (
            NoteKey::new("log.example", kind, private.public_key().clone()).unwrap(),
            private,
        )
    }

    const TEXT: &str = "log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";

    #[test]
    fn every_kind_signs_verifies_and_survives_its_text_form() {
        let kinds = [
            SignatureKind::Ed25519,
            SignatureKind::Ecdsa,
            SignatureKind::CosignatureV1,
            SignatureKind::Rfc6962TreeHead,
            SignatureKind::RsaPkcs1,
        ];
        for kind in kinds {
            let (key, private) = key(kind);
            let note = signed(TEXT, &key, &private, 1_700_000_000_000);
            let read = Note::parse(note.to_string().as_bytes()).unwrap();
            assert_eq!(read, note);
            let verified = read.verify(std::slice::from_ref(&key)).unwrap();
            let timed = matches!(
                kind,
                SignatureKind::CosignatureV1 | SignatureKind::Rfc6962TreeHead
            );
            let expected = VerifiedSignature {
                key_index: 0,
                time_ms: timed.then_some(1_700_000_000_000),
            };
            assert_eq!(verified, [expected], "{kind:?}");
            if let Some(vkey) = key.to_vkey() {
                assert_eq!(NoteKey::from_vkey(&vkey).unwrap(), key);
            }
        }
    }

    #[test]
    fn a_known_key_with_a_bad_signature_spoils_the_note() {
        let (good, good_private) = key(SignatureKind::Ed25519);
        let (_, other_private) = key(SignatureKind::Ed25519);
        let (witness, witness_private) = key(SignatureKind::CosignatureV1);
        let mut note = signed(TEXT, &good, &good_private, 0);
        let forged = other_private
            .sign(Algorithm::Ed25519, TEXT.as_bytes())
            .unwrap();
        note.push(witness.signature(&forged, 5000).unwrap());
        assert!(
            note.verify(std::slice::from_ref(&good)).is_ok(),
            "an unknown signer does no harm"
        );
        let refused = note.verify(&[good.clone(), witness.clone()]);
        assert_eq!(
            refused,
            Err(Error::BadSignature {
                name: "log.example".into(),
                key_id: witness.key_id()
            })
        );
        let honest = signed(TEXT, &witness, &witness_private, 5000);
        assert_eq!(
            honest.verify(&[good, witness]).unwrap(),
            [VerifiedSignature {
                key_index: 1,
                time_ms: Some(5000)
            }]
        );
    }

    #[test]
    fn a_note_that_no_known_key_signed_is_refused() {
        let (key, private) = key(SignatureKind::Ed25519);
        let stranger = NoteKey::new(
            "other.example",
            SignatureKind::Ed25519,
            private.public_key().clone(),
        )
        .unwrap();
        let note = signed(TEXT, &key, &private, 0);
        assert_eq!(
            note.verify(&[stranger]),
            Err(Error::NoKnownSignature { known: 1 })
        );
        assert_eq!(note.verify(&[]), Err(Error::NoKnownSignature { known: 0 }));
    }

    #[test]
    fn the_grammar_is_strict() {
        let (key, private) = key(SignatureKind::Ed25519);
        let line = signed(TEXT, &key, &private, 0).signatures[0].to_string();
        assert!(Note::parse(format!("{TEXT}\n{line}\n").as_bytes()).is_ok());
        assert!(
            Note::parse(format!("a\n\nb\n\n{line}\n").as_bytes()).is_ok(),
            "the last empty line divides"
        );
        let short = format!("\u{2014} a {}", base64::encode(&[1, 2, 3, 4]));
        let refused = [
            format!("{TEXT}\n{line}"),
            format!("{TEXT}{line}\n"),
            format!("{TEXT}\n{line}\n\n"),
            format!("{TEXT}\n"),
            format!("{TEXT}\n\n"),
            format!("{TEXT}\n{line} \n"),
            format!("{TEXT}\n{}\n", line.replace('\u{2014}', "-")),
            format!(
                "{TEXT}\n{}\n",
                line.replace("log.example ", "log.example  ")
            ),
            format!("{TEXT}\n{}\n", line.replace("log.example", "log+example")),
            format!("{TEXT}\n{line}\r\n"),
            format!("tab\t\n\n{line}\n"),
            format!("{TEXT}\n{short}\n"),
            format!("{TEXT}\n{}", format!("{line}\n").repeat(MAX_SIGNATURES + 1)),
        ];
        for note in refused {
            assert!(Note::parse(note.as_bytes()).is_err(), "{note:?} was read");
        }
        assert!(Note::parse(&[0xff, b'\n', b'\n']).is_err());
    }

    #[test]
    fn a_note_is_read_up_to_its_limits_and_not_beyond() {
        let (key, private) = key(SignatureKind::Ed25519);
        let line = signed(TEXT, &key, &private, 0).signatures[0].to_string();
        let lines = format!("{line}\n").repeat(MAX_SIGNATURES);
        assert!(Note::parse(format!("{TEXT}\n{lines}").as_bytes()).is_ok());
        let padded = |length: usize| {
            let rest = format!("\n\n{line}\n");
            format!("{}{rest}", "a".repeat(length - rest.len()))
        };
        assert!(Note::parse(padded(MAX_NOTE_BYTES).as_bytes()).is_ok());
        let too_long = Note::parse(padded(MAX_NOTE_BYTES + 1).as_bytes());
        let expected = Error::TooLong {
            what: "signed note",
            actual: MAX_NOTE_BYTES + 1,
            limit: MAX_NOTE_BYTES,
        };
        assert_eq!(too_long, Err(expected));
    }

    #[test]
    fn a_new_note_holds_a_text_that_could_be_read_back() {
        let long = |length: usize| format!("{}\n", "a".repeat(length - 1));
        assert!(Note::new(TEXT).is_ok());
        assert!(Note::new(long(MAX_NOTE_BYTES)).is_ok());
        for text in [
            long(MAX_NOTE_BYTES + 1),
            "no line end".into(),
            String::new(),
            "a tab\t\n".into(),
            "a return\r\n".into(),
            "nothing\0\n".into(),
        ] {
            assert!(
                matches!(Note::new(text.as_str()), Err(Error::MalformedNote(_))),
                "{:?}",
                text.get(..20)
            );
        }
    }

    #[test]
    fn names_and_vkeys_that_cannot_be_used_are_refused() {
        let (key, private) = key(SignatureKind::Ed25519);
        for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
            assert!(
                NoteKey::new(name, SignatureKind::Ed25519, private.public_key().clone()).is_err()
            );
        }
        assert!(NoteKey::new("a", SignatureKind::Ecdsa, private.public_key().clone()).is_err());
        let vkey = key.to_vkey().unwrap();
        assert!(NoteKey::from_vkey(&vkey.replace("log.example", "log2.example")).is_err());
        assert!(NoteKey::from_vkey("log.example+00000000+AQ==").is_err());
        assert!(NoteKey::from_vkey("log.example").is_err());
    }

    #[test]
    fn ids_of_the_kinds_of_key() {
        let (ed, _) = key(SignatureKind::Ed25519);
        let raw = ed.public_key().ed25519_raw().unwrap();
        assert_eq!(
            ed.log_id(),
            sha256(&[b"log.example\n\x01".as_slice(), &raw].concat())
        );
        let (ecdsa, private) = key(SignatureKind::Ecdsa);
        assert_eq!(ecdsa.log_id(), sha256(private.public_key().spki_der()));
        assert_eq!(ecdsa.key_id(), ecdsa.log_id()[..4]);
        let ct = NoteKey::for_ct_log("log.example", private.public_key().clone()).unwrap();
        assert_eq!(ct.log_id(), ecdsa.log_id());
        assert_eq!(
            ct.key_id(),
            sha256(&[b"log.example\n\x05".as_slice(), &ct.log_id()].concat())[..4]
        );
    }

    /// The public Sigstore log's key gives the log id that its trusted root states.
    #[test]
    fn the_log_id_of_a_published_log() {
        let spki =
            base64::decode("MCowBQYDK2VwAyEAt8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=").unwrap();
        let key = NoteKey::for_log(
            "log2025-1.rekor.sigstore.dev",
            PublicKey::from_spki_der(&spki).unwrap(),
        )
        .unwrap();
        assert_eq!(
            base64::encode(&key.log_id()),
            "zxGZFVvd0FEmjR8WrFwMdcAJ9vtaY/QXf44Y1wUeP6A="
        );
    }

    #[test]
    fn a_signer_signs_through_its_trait() {
        let (key, private) = key(SignatureKind::Ed25519);
        let signer = MemorySigner::new(private);
        let mut future = sign(TEXT, &key, &signer, 0);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(signature) = future.as_mut().poll(&mut context) else {
            panic!("a key in memory answers at once");
        };
        let mut note = Note::new(TEXT).unwrap();
        note.push(signature.unwrap());
        assert!(note.verify(std::slice::from_ref(&key)).is_ok());
    }

    proptest! {
        #[test]
        fn reading_any_note_does_not_panic(note in "([a-z \n]{0,20}\n\n)?(\u{2014} [a-z]{0,4} [A-Za-z0-9+/=]{0,12}\n?){0,3}") {
            if let Ok(read) = Note::parse(note.as_bytes()) {
                prop_assert_eq!(read.to_string(), note);
            }
        }
    }
}
