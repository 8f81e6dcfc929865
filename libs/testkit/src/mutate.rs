//! Changes to an input, made with its format in mind.
//!
//! Blind changes of bytes rarely get past the first length or bracket. So DER and JSON are taken apart, changed as trees
//! and written again; what is packed inside (DER in OCTET STRINGs, base64 and JSON in JSON strings, base64 in lines of
//! text) is changed by the same rules. A part of the changes stays blind, and a part makes lengths lie.
//!
//! Everything random comes from the generator that is passed in: a seed and the number of a case name an input.

use rand::Rng as _;
use rand::rngs::StdRng;

pub mod bytes;
pub mod der;
pub mod json;
pub mod text;

/// Inputs do not grow beyond this many bytes: 128 KiB, twice the largest certificate that is read.
pub const MAX_INPUT_BYTES: usize = 128 * 1024;

/// What an input is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Bytes with lengths inside, as TLS writes them.
    Bytes,
    /// Tag, length, value.
    Der,
    /// A JSON document.
    Json,
    /// Lines, words, numbers and base64: notes, PEM, paths, TOML.
    Text,
    /// A compact JWS: JSON, JSON and a signature in base64url.
    Jws,
}

/// Changes `input` once to four times. `other` is another input of the same target, for splicing; the dictionary holds
/// words of the format.
pub fn mutate(
    rng: &mut StdRng,
    format: Format,
    input: &[u8],
    other: &[u8],
    dictionary: &[&str],
) -> Vec<u8> {
    let mut current = input.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        current = step(rng, format, &current, other, dictionary);
        current.truncate(MAX_INPUT_BYTES);
    }
    current
}

fn step(
    rng: &mut StdRng,
    format: Format,
    input: &[u8],
    other: &[u8],
    dictionary: &[&str],
) -> Vec<u8> {
    let blind = rng.random_ratio(1, 6);
    let changed = match format {
        _ if blind => None,
        Format::Bytes => None,
        Format::Der => der::mutate(rng, input, other),
        Format::Json => json::mutate(rng, input, other, dictionary),
        Format::Text => Some(text::mutate(rng, input, other, dictionary)),
        Format::Jws => jws(rng, input, other, dictionary),
    };
    changed.unwrap_or_else(|| bytes::mutate(rng, input, other, dictionary))
}

/// Changes one of the three parts inside its encoding, or takes one from another token.
fn jws(rng: &mut StdRng, input: &[u8], other: &[u8], dictionary: &[&str]) -> Option<Vec<u8>> {
    let split = |token: &[u8]| -> Option<Vec<String>> {
        let parts = std::str::from_utf8(token).ok()?.split('.');
        Some(parts.map(str::to_owned).collect())
    };
    let mut parts = split(input)?;
    let position = rng.random_range(0..parts.len());
    let part = parts.get_mut(position)?;
    if rng.random_ratio(1, 4) {
        *part = split(other)?.get(position)?.clone();
    } else {
        let content = sealwright_crypto::base64::decode_url(part).ok()?;
        let changed = if position < 2 {
            json::mutate(rng, &content, b"{}", dictionary)?
        } else {
            bytes::mutate(rng, &content, b"", dictionary)
        };
        *part = sealwright_crypto::base64::encode_url(&changed);
    }
    Some(parts.join(".").into_bytes())
}

/// One of a slice, when there is one.
#[must_use]
pub fn pick<'a, T>(rng: &mut StdRng, items: &'a [T]) -> Option<&'a T> {
    items.get(rng.random_range(0..items.len().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    const TOKEN: &[u8] = b"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.AAAA";

    fn many(format: Format, input: &[u8]) -> Vec<Vec<u8>> {
        let mut rng = StdRng::seed_from_u64(1);
        (0..2000)
            .map(|_| mutate(&mut rng, format, input, input, &["iss"]))
            .collect()
    }

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        assert_eq!(many(Format::Jws, TOKEN), many(Format::Jws, TOKEN));
        assert_eq!(
            many(Format::Der, &[0x30, 3, 2, 1, 5]),
            many(Format::Der, &[0x30, 3, 2, 1, 5])
        );
    }

    #[test]
    fn tokens_keep_their_encoding_often_enough_to_be_read() {
        let readable = many(Format::Jws, TOKEN)
            .iter()
            .filter_map(|token| std::str::from_utf8(token).ok())
            .filter_map(|token| token.split('.').nth(1).map(str::to_owned))
            .filter_map(|payload| sealwright_crypto::base64::decode_url(&payload).ok())
            .filter(|payload| serde_json::from_slice::<serde_json::Value>(payload).is_ok())
            .count();
        assert!(readable > 600, "{readable} of 2000 payloads are JSON");
    }

    #[test]
    fn nothing_outgrows_the_cap() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut input = b"{\"a\":[1,2,3]}".to_vec();
        for _ in 0..500 {
            input = mutate(&mut rng, Format::Json, &input, &input, &[]);
            assert!(input.len() <= MAX_INPUT_BYTES);
        }
    }
}
