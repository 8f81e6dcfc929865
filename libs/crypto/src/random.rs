//! Randomness from the operating system's generator, by way of the cryptographic library.

use aws_lc_rs::rand;

/// Fills `buffer` with random bytes.
pub fn fill_random(buffer: &mut [u8]) {
    rand::fill(buffer).expect(
        "the library's generator fails only when the operating system has no entropy source",
    );
}

/// An array of random bytes.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}
