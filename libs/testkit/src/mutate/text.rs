//! Changes to lines, words, numbers and base64.

use rand::Rng as _;
use rand::rngs::StdRng;
use sealwright_crypto::base64;

use super::{bytes, pick};

/// Numbers at the edges of what readers take.
const NUMBERS: [&str; 12] = [
    "0",
    "00",
    "-1",
    "+1",
    "255",
    "256",
    "999",
    "1000",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];

/// One change to a line or a word; a text that is not UTF-8 is changed as bytes.
pub fn mutate(rng: &mut StdRng, input: &[u8], other: &[u8], dictionary: &[&str]) -> Vec<u8> {
    let Ok(whole) = std::str::from_utf8(input) else {
        return bytes::mutate(rng, input, other, dictionary);
    };
    match rng.random_range(0..8) {
        0 | 1 => lines(rng, whole, other),
        2..=5 => word(rng, whole, dictionary),
        6 => {
            let ends = ["\r\n", "\n\n", "\r", "\u{2028}", ""];
            whole
                .replacen(
                    '\n',
                    pick(rng, &ends).copied().unwrap_or(""),
                    rng.random_range(1..=9),
                )
                .into_bytes()
        }
        _ => bytes::mutate(rng, input, other, dictionary),
    }
}

fn lines(rng: &mut StdRng, whole: &str, other: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&str> = whole.split('\n').collect();
    let other = std::str::from_utf8(other).unwrap_or_default();
    let donors: Vec<&str> = other.split('\n').collect();
    let position = rng.random_range(0..lines.len());
    let line = lines.get(position).copied().unwrap_or_default();
    match rng.random_range(0..6) {
        0 => {
            lines.remove(position);
        }
        1 => lines.insert(position, line),
        2 => {
            let with = rng.random_range(0..lines.len());
            lines.swap(position, with);
        }
        3 => lines.insert(position, pick(rng, &donors).copied().unwrap_or_default()),
        4 => lines.insert(position, ""),
        _ => {
            let copies = 1 << rng.random_range(1..=8);
            lines.splice(position..position, std::iter::repeat_n(line, copies));
        }
    }
    lines.join("\n").into_bytes()
}

/// Replaces one word: numbers by numbers, base64 by changed base64, others by words of the format.
fn word(rng: &mut StdRng, whole: &str, dictionary: &[&str]) -> Vec<u8> {
    let is_border = |c: char| c.is_whitespace() || "/,:;\"[]()".contains(c);
    let mut starts = vec![0];
    starts.extend(
        whole
            .match_indices(is_border)
            .map(|(at, border)| at + border.len()),
    );
    let start = pick(rng, &starts).copied().unwrap_or(0);
    let (before, rest) = whole.split_at(start);
    // Base64 has slashes, so a long run is taken to the next white space.
    let until_space = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let as_base64 = rest
        .get(..until_space)
        .filter(|run| run.len() >= 8)
        .and_then(|run| base64::decode(run).ok());
    let end = match as_base64 {
        Some(_) => until_space,
        None => rest.find(is_border).unwrap_or(rest.len()),
    };
    let (old, after) = rest.split_at(end);
    let new = match as_base64 {
        Some(content) if !rng.random_ratio(1, 4) => {
            base64::encode(&bytes::mutate(rng, &content, b"", &[]))
        }
        _ if old.parse::<i64>().is_ok() => match rng.random_range(0..3) {
            0 => pick(rng, &NUMBERS).copied().unwrap_or("0").to_owned(),
            1 => format!("0{old}"),
            _ => old
                .parse::<i64>()
                .unwrap_or(0)
                .wrapping_add(rng.random_range(-2..=2))
                .to_string(),
        },
        _ if rng.random_ratio(1, 3) => pick(rng, dictionary).copied().unwrap_or("").to_owned(),
        _ => String::from_utf8_lossy(&bytes::mutate(rng, old.as_bytes(), b" \n", dictionary))
            .into_owned(),
    };
    [before, &new, after].concat().into_bytes()
}
