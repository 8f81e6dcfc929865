//! Base64 as the protocols use it (RFC 4648).

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};

use crate::KeyError;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const LENIENT_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const LENIENT_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Standard alphabet with padding.
pub fn encode(data: &[u8]) -> String {
    general_purpose::STANDARD.encode(data)
}

/// URL-safe alphabet without padding.
pub fn encode_url(data: &[u8]) -> String {
    general_purpose::URL_SAFE_NO_PAD.encode(data)
}

/// Standard alphabet, padding required, no stray bits.
pub fn decode(text: &str) -> Result<Vec<u8>, KeyError> {
    general_purpose::STANDARD
        .decode(text)
        .map_err(|_| KeyError::Malformed {
            expected: "base64 text",
        })
}

/// URL-safe alphabet without padding, no stray bits: the form of JSON Web Signatures.
pub fn decode_url(text: &str) -> Result<Vec<u8>, KeyError> {
    general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| KeyError::Malformed {
            expected: "base64url text",
        })
}

/// Either alphabet, padded or not: what proto3 JSON accepts.
pub fn decode_lenient(text: &str) -> Result<Vec<u8>, KeyError> {
    let engine = if text.contains(['-', '_']) {
        &LENIENT_URL_SAFE
    } else {
        &LENIENT_STANDARD
    };
    engine.decode(text).map_err(|_| KeyError::Malformed {
        expected: "base64 text",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenient_reads_what_strict_refuses() {
        let data = [0xfb, 0xff, 0xfe, 0x01];
        assert_eq!(encode(&data), "+//+AQ==");
        assert_eq!(encode_url(&data), "-__-AQ");
        for text in ["+//+AQ==", "+//+AQ", "-__-AQ", "-__-AQ=="] {
            assert_eq!(decode_lenient(text).unwrap(), data);
        }
        assert!(decode("+//+AQ").is_err());
        assert!(decode("-__-AQ==").is_err());
        assert!(decode("+//+AR==").is_err(), "stray bits");
        assert!(decode_lenient("+/_+").is_err(), "mixed alphabets");
    }
}
