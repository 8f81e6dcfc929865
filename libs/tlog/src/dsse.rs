//! DSSE pre-authentication encoding (PAE): the bytes that an envelope's signature covers.

use sealwright_crypto::{Digest, HashAlgorithm, Hasher};

/// `"DSSEv1" SP len(type) SP type SP len(payload) SP payload`, lengths in decimal bytes (DSSE protocol, version 1).
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = pae_prefix(payload_type, payload.len() as u64);
    encoded.extend_from_slice(payload);
    encoded
}

/// Everything of the PAE that comes before the payload, for a payload that is streamed.
pub fn pae_prefix(payload_type: &str, payload_len: u64) -> Vec<u8> {
    format!(
        "DSSEv1 {} {payload_type} {payload_len} ",
        payload_type.len()
    )
    .into_bytes()
}

/// The digest of the PAE, without a copy of the payload.
pub fn pae_digest(algorithm: HashAlgorithm, payload_type: &str, payload: &[u8]) -> Digest {
    let mut hasher = pae_hasher(algorithm, payload_type, payload.len() as u64);
    hasher.update(payload);
    hasher.finish()
}

/// A hasher that has already taken the PAE's prefix: feed it the payload, exactly `payload_len` bytes of it.
pub fn pae_hasher(algorithm: HashAlgorithm, payload_type: &str, payload_len: u64) -> Hasher {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(&pae_prefix(payload_type, payload_len));
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_bytes() {
        let encoded = pae("http://example.com/HelloWorld", "hellö world".as_bytes());
        assert_eq!(
            encoded,
            "DSSEv1 29 http://example.com/HelloWorld 12 hellö world".as_bytes()
        );
    }

    #[test]
    fn an_empty_payload_keeps_its_separator() {
        assert_eq!(pae("t", b""), b"DSSEv1 1 t 0 ");
    }

    #[test]
    fn streamed_and_whole_agree() {
        let whole = HashAlgorithm::Sha384.digest(&pae("t", b"abcdef"));
        let mut hasher = pae_hasher(HashAlgorithm::Sha384, "t", 6);
        hasher.update(b"abc");
        hasher.update(b"def");
        assert_eq!(hasher.finish().as_bytes(), whole.as_bytes());
        assert_eq!(
            pae_digest(HashAlgorithm::Sha384, "t", b"abcdef").as_bytes(),
            whole.as_bytes()
        );
    }
}
