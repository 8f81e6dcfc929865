//! How many histories are played, and what is said of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sealwright_crypto::random_bytes;

use super::driver::Stage;
use super::history::{History, report};
use super::mutant::Mutant;

/// Histories in every run of the tests: the seeds from 0.
const HISTORIES: u64 = 2000;
/// Threads that play.
const PLAYERS: usize = 2;

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the histories of these seeds; gives how often what happened, or the first bad one, told as short as it can be.
fn play_all(seeds: &[u64], mutant: Option<Mutant>) -> Result<BTreeMap<&'static str, u64>, String> {
    let (next, bad) = (AtomicU64::new(0), Mutex::new(None::<u64>));
    let total = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                let stage = Stage::new();
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst) as usize;
                    let is_bad = bad.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                    let Some(seed) = seeds.get(at).filter(|_| !is_bad) else {
                        return;
                    };
                    match History::of(*seed, mutant).play(&stage) {
                        Ok(tally) => {
                            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                            for (what, count) in tally {
                                *total.entry(what).or_default() += count;
                            }
                        }
                        Err(_) => {
                            let mut bad = bad.lock().unwrap_or_else(PoisonError::into_inner);
                            *bad = Some(bad.map_or(*seed, |other: u64| other.min(*seed)));
                        }
                    }
                }
            });
        }
    });
    match bad.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner)),
        Some(seed) => Err(tell(seed, mutant)),
    }
}

fn tell(seed: u64, mutant: Option<Mutant>) -> String {
    let stage = Stage::new();
    let history = History::of(seed, mutant);
    let short = history.shrink(&stage);
    match short.play(&stage) {
        Err(violation) => report(&short, &violation),
        Ok(_) => format!("seed {seed} was bad once and is not again"),
    }
}

fn print(histories: usize, tally: &BTreeMap<&'static str, u64>) {
    let told: Vec<String> = tally
        .iter()
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    println!("{histories} histories hold; {}", told.join(", "));
}

#[test]
fn histories_keep_every_promise() {
    if let Some(seed) = environment("SIMULATION_SEED") {
        match History::of(seed, None).play(&Stage::new()) {
            Ok(tally) => print(1, &tally),
            Err(_) => panic!("{}", tell(seed, None)),
        }
        return;
    }
    let fresh = u64::from_le_bytes(random_bytes());
    println!("fixed seeds 0 to {}, and {fresh}", HISTORIES - 1);
    let count = environment("SIMULATION_HISTORIES").unwrap_or(HISTORIES);
    let seeds: Vec<u64> = (0..count).chain([fresh]).collect();
    match play_all(&seeds, None) {
        Ok(tally) => print(seeds.len(), &tally),
        Err(told) => panic!("{told}"),
    }
}

/// `SOAK_HISTORIES` of them, with seeds above those of every run; `SOAK_COUNTER` names a file with the next seed, so that
/// it goes on where it was interrupted.
#[test]
#[ignore = "a long proof, run by `make soak`"]
fn soak_of_histories() {
    let count = environment("SOAK_HISTORIES").unwrap_or(100_000);
    let counter = std::env::var("SOAK_COUNTER").ok();
    let read = || {
        std::fs::read_to_string(counter.as_deref()?)
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let mut next: u64 = read().unwrap_or(HISTORIES);
    let end = HISTORIES + count;
    let mut total = BTreeMap::new();
    let first = next;
    while next < end {
        let seeds: Vec<u64> = (next..end.min(next + 500)).collect();
        match play_all(&seeds, None) {
            Ok(tally) => tally
                .into_iter()
                .for_each(|(what, count)| *total.entry(what).or_default() += count),
            Err(told) => panic!("{told}"),
        }
        next += seeds.len() as u64;
        if let Some(counter) = &counter {
            std::fs::write(counter, next.to_string()).expect("the counter can be written");
        }
    }
    println!("seeds {first} to {}", end - 1);
    print(end.saturating_sub(first) as usize, &total);
}

#[test]
fn engines_that_are_broken_on_purpose_are_found() {
    let stage = Stage::new();
    for mutant in Mutant::ALL {
        let found = (0..HISTORIES).find_map(|seed| {
            let outcome = History::of(seed, Some(mutant)).play(&stage);
            outcome.err().map(|violation| (seed, violation))
        });
        match found {
            Some((seed, violation)) => println!("{mutant:?}: seed {seed}: {}", violation.0),
            None => panic!("{mutant:?} was not found by {HISTORIES} histories"),
        }
    }
}
