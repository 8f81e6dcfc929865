//! Changes that know nothing of a format.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{MAX_INPUT_BYTES, pick};

/// Values at the edges of lengths, signs and character sets.
const EDGES: [u8; 16] = [
    0x00, 0x01, 0x09, 0x0a, 0x0d, 0x1f, 0x20, 0x22, 0x5c, 0x7f, 0x80, 0x81, 0x82, 0xc0, 0xfe, 0xff,
];

/// One change somewhere.
pub fn mutate(rng: &mut StdRng, input: &[u8], other: &[u8], dictionary: &[&str]) -> Vec<u8> {
    let mut out = input.to_vec();
    match rng.random_range(0..12) {
        0 => flip(rng, &mut out),
        1 => set(rng, &mut out),
        2 => remove(rng, &mut out),
        3 => {
            let at = rng.random_range(0..=out.len());
            out.truncate(at);
        }
        4 => {
            let piece = range(rng, input).to_vec();
            insert(rng, &mut out, &piece);
        }
        5 => {
            let piece = range(rng, other).to_vec();
            insert(rng, &mut out, &piece);
        }
        6 => splice(rng, &mut out, other),
        7 => {
            let word = pick(rng, dictionary).copied().unwrap_or("\u{0}");
            insert(rng, &mut out, word.as_bytes());
        }
        8 => count(rng, &mut out),
        9 if rng.random_ratio(1, 16) => repeat(rng, &mut out),
        10 => {
            let random: Vec<u8> = (0..rng.random_range(1..=8)).map(|_| rng.random()).collect();
            insert(rng, &mut out, &random);
        }
        _ => {
            flip(rng, &mut out);
            set(rng, &mut out);
        }
    }
    out
}

fn flip(rng: &mut StdRng, out: &mut [u8]) {
    let at = rng.random_range(0..out.len().max(1));
    if let Some(byte) = out.get_mut(at) {
        *byte ^= 1 << rng.random_range(0..8);
    }
}

fn set(rng: &mut StdRng, out: &mut [u8]) {
    let at = rng.random_range(0..out.len().max(1));
    if let (Some(byte), Some(edge)) = (out.get_mut(at), pick(rng, &EDGES)) {
        *byte = *edge;
    }
}

/// Adds or subtracts a little: what counts and lengths go wrong by.
fn count(rng: &mut StdRng, out: &mut [u8]) {
    let at = rng.random_range(0..out.len().max(1));
    if let Some(byte) = out.get_mut(at) {
        *byte = byte.wrapping_add_signed(rng.random_range(-4..=4));
    }
}

/// A run of up to 64 bytes, now and then of any length.
fn range<'a>(rng: &mut StdRng, bytes: &'a [u8]) -> &'a [u8] {
    let start = rng.random_range(0..=bytes.len());
    let left = bytes.len() - start;
    let most = if rng.random_ratio(1, 8) {
        left
    } else {
        left.min(64)
    };
    let length = rng.random_range(0..=most);
    bytes.get(start..start + length).unwrap_or_default()
}

fn remove(rng: &mut StdRng, out: &mut Vec<u8>) {
    let start = rng.random_range(0..=out.len());
    let length = rng.random_range(0..=(out.len() - start).min(32));
    out.drain(start..start + length);
}

fn insert(rng: &mut StdRng, out: &mut Vec<u8>, piece: &[u8]) {
    let at = rng.random_range(0..=out.len());
    out.splice(at..at, piece.iter().copied());
}

fn splice(rng: &mut StdRng, out: &mut Vec<u8>, other: &[u8]) {
    let keep = rng.random_range(0..=out.len());
    let from = rng.random_range(0..=other.len());
    out.truncate(keep);
    out.extend_from_slice(other.get(from..).unwrap_or_default());
}

/// Repeats a piece many times, up to the cap: for whatever costs more than its length.
fn repeat(rng: &mut StdRng, out: &mut Vec<u8>) {
    let piece = range(rng, out).to_vec();
    let most = MAX_INPUT_BYTES.saturating_sub(out.len()) / piece.len().max(1);
    let magnitude = 1 << rng.random_range(1..=14);
    let times = rng.random_range(0..=most.min(magnitude));
    let at = rng.random_range(0..=out.len());
    out.splice(at..at, piece.repeat(times));
}
