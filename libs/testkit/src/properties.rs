//! Properties that are tried on inputs made at random: the same ones every time, and new ones.

use proptest::test_runner::{Config, RngSeed};
use sealwright_crypto::random_bytes;

/// So many inputs, the same ones every time.
#[must_use]
pub fn same_cases(cases: u32) -> Config {
    seeded(20_261_124, cases)
}

/// So many new inputs, with which a failure can be repeated: the seed is printed, and read from `SEALWRIGHT_SEED`.
#[must_use]
pub fn new_cases(cases: u32) -> Config {
    let seed = std::env::var("SEALWRIGHT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from_le_bytes(random_bytes()));
    println!("seed {seed} (repeat with SEALWRIGHT_SEED={seed})");
    seeded(seed, cases)
}

fn seeded(seed: u64, cases: u32) -> Config {
    Config {
        rng_seed: RngSeed::Fixed(seed),
        // The seed repeats a failure; a file beside the test would not, since keys are new each time.
        failure_persistence: None,
        ..Config::with_cases(cases)
    }
}

/// Properties, each on the same inputs every time and on new ones: a number of cases, then tests as `proptest!` takes them.
/// The caller has `proptest::prelude::*` in scope.
#[macro_export]
macro_rules! properties {
    ($cases:literal, $($body:tt)*) => {
        mod on_the_same_inputs {
            use super::*;
            proptest! { #![proptest_config($crate::properties::same_cases($cases))] $($body)* }
        }
        mod on_new_inputs {
            use super::*;
            proptest! { #![proptest_config($crate::properties::new_cases($cases))] $($body)* }
        }
    };
}
