//! Cosignatures (C2SP tlog-cosignature, Ed25519 cosignature/v1): a witness states that at a time this was the largest
//! tree it knew of the log, and that it extended every earlier one.

use crate::error::Error;
use crate::note::{Note, NoteKey, SignatureKind};

/// The bytes a witness signs: a header with the time in Unix seconds, then the whole note text with its extensions.
pub fn message(time: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

/// Splits the payload of a signature line into time (Unix seconds) and the 64 bytes of Ed25519 signature.
pub(crate) fn split(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (time, raw) = payload.split_first_chunk::<8>()?;
    (raw.len() == 64).then_some((u64::from_be_bytes(*time), raw))
}

/// A witness's statement that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosignature {
    /// Position of the witness in the slice of keys that was given.
    pub witness: usize,
    /// When it signed, Unix seconds.
    pub time: u64,
}

/// The valid cosignatures on a note by these witnesses, the latest one of each.
///
/// A wrong signature by a known witness refuses the note, as for every signature. No cosignature at all is an empty list:
/// whether that is enough is a question of policy.
pub fn verify(note: &Note, witnesses: &[NoteKey]) -> Result<Vec<Cosignature>, Error> {
    if witnesses
        .iter()
        .any(|key| key.kind() != SignatureKind::CosignatureV1)
    {
        return Err(Error::UnusableKey(
            "a witness key must be of type 0x04, cosignature/v1",
        ));
    }
    let verified = match note.verify(witnesses) {
        Err(Error::NoKnownSignature { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let mut latest: Vec<Cosignature> = Vec::new();
    for signature in verified {
        let time = signature.time_ms.unwrap_or(0) / 1000;
        match latest
            .iter_mut()
            .find(|known| known.witness == signature.key_index)
        {
            Some(known) => known.time = known.time.max(time),
            None => latest.push(Cosignature {
                witness: signature.key_index,
                time,
            }),
        }
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwright_crypto::{Algorithm, KeyType, PrivateKey};

    const TEXT: &str = "log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n";

    fn witness(name: &str) -> (NoteKey, PrivateKey) {
        let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
        (
            NoteKey::new(
                name,
                SignatureKind::CosignatureV1,
                private.public_key().clone(),
            )
            .unwrap(),
            private,
        )
    }

    fn cosign(note: &mut Note, key: &NoteKey, private: &PrivateKey, time: u64) {
        let raw = private
            .sign(Algorithm::Ed25519, &message(time, note.text()))
            .unwrap();
        note.push(key.signature(&raw, time * 1000).unwrap());
    }

    #[test]
    fn the_message_is_the_one_of_the_specification() {
        assert_eq!(
            message(1_679_315_147, "a\n"),
            b"cosignature/v1\ntime 1679315147\na\n"
        );
    }

    #[test]
    fn each_witness_counts_once_with_its_latest_time() {
        let ((a, a_private), (b, b_private)) = (witness("a.example"), witness("b.example"));
        let mut note = Note::new(TEXT).unwrap();
        cosign(&mut note, &b, &b_private, 100);
        cosign(&mut note, &a, &a_private, 200);
        cosign(&mut note, &b, &b_private, 300);
        let cosignatures = verify(&note, &[a, b]).unwrap();
        assert_eq!(
            cosignatures,
            [
                Cosignature {
                    witness: 1,
                    time: 300
                },
                Cosignature {
                    witness: 0,
                    time: 200
                }
            ]
        );
    }

    #[test]
    fn a_changed_time_is_a_bad_signature() {
        let (key, private) = witness("a.example");
        let mut note = Note::new(TEXT).unwrap();
        let raw = private
            .sign(Algorithm::Ed25519, &message(100, TEXT))
            .unwrap();
        note.push(key.signature(&raw, 101_000).unwrap());
        assert!(matches!(
            verify(&note, &[key]),
            Err(Error::BadSignature { .. })
        ));
    }

    #[test]
    fn no_witness_is_an_empty_list_and_a_log_key_is_no_witness() {
        let (key, private) = witness("a.example");
        assert_eq!(verify(&Note::new(TEXT).unwrap(), &[key]), Ok(Vec::new()));
        let log = NoteKey::for_log("a.example", private.public_key().clone()).unwrap();
        assert!(verify(&Note::new(TEXT).unwrap(), &[log]).is_err());
    }
}
