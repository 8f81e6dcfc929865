//! Damage at rest, not at random: every kind of file, every kind of byte in it.

use std::collections::BTreeMap;

use super::driver::{Driver, Settings, Stage};
use super::ending::judge_open;
use super::random::Random;
use crate::fsck::fsck_on;
use crate::kind::Kind;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// A bit of this byte.
    Flip(usize),
    CutTo(usize),
    Lost,
    /// It has the content of another file of its folder.
    Other,
}

/// What a log that was damaged did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Refused,
    /// It opens, and fsck names the file.
    Named,
    /// It opens, and nothing was lost.
    Whole,
}

fn settings(kind: Kind) -> Settings {
    Settings {
        kind,
        spare_segments: 1,
        static_partials: true,
        strict_files: false,
        batch_entries: 150,
        witness: false,
        cosigned: false,
        mutant: None,
    }
}

/// A log of 600 small and some large entries, closed.
fn make<'a>(stage: &'a Stage, kind: Kind) -> Driver<'a> {
    let mut driver = Driver::new(stage, settings(kind), 77);
    let mut random = Random::new(77);
    driver.open(&mut random).unwrap();
    for round in 0..5 {
        driver.submit_new(120, 20).unwrap();
        driver.submit_new(2, 30_000).unwrap();
        while driver.batch().unwrap() {}
        if round != 3 {
            driver.publish().unwrap();
        }
    }
    driver.close().unwrap();
    driver
}

/// Bytes of a file that mean different things: of a frame each field, of anything else its beginning, middle and end.
fn harms(kind: Kind, name: &str, bytes: &[u8]) -> Vec<Harm> {
    let len = bytes.len();
    if len == 0 {
        return vec![Harm::Lost];
    }
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let mut at = vec![0, 1, len / 3, len / 2, written, len - 1];
    if kind == Kind::Ct {
        // Frames are the same in both kinds, and opening this one takes longer.
        at = vec![len / 2, written];
    } else if name.starts_with("wal/") {
        // Magic, version, flags, epoch, number, index, count, length, time, both roots, length and text of the note.
        at.extend([4, 6, 8, 16, 24, 32, 36, 40, 48, 80, 112, 130]);
        // The same of the frame behind the first, and of the last one.
        at.extend([
            4096,
            4100,
            4096 + 200,
            written / 4096 * 4096,
            written / 4096 * 4096 + 50,
        ]);
    }
    at.sort_unstable();
    at.dedup();
    let flips = at.into_iter().filter(|at| *at < len).map(Harm::Flip);
    let cuts = [0, 1, len / 2, len - 1].into_iter().map(Harm::CutTo);
    flips.chain(cuts).chain([Harm::Lost, Harm::Other]).collect()
}

fn harmed(harm: Harm, name: &str, image: &BTreeMap<String, Vec<u8>>) -> Option<Option<Vec<u8>>> {
    let mut bytes = image.get(name)?.clone();
    match harm {
        Harm::Flip(at) => *bytes.get_mut(at)? ^= 0x04,
        Harm::CutTo(len) => bytes.truncate(len),
        Harm::Lost => return Some(None),
        Harm::Other => {
            let folder = name.rsplit_once('/')?.0;
            let other = |own: &String| {
                own != name && own.rsplit_once('/').is_some_and(|(own, _)| own == folder)
            };
            bytes = image.iter().find(|(own, _)| other(own))?.1.clone();
        }
    }
    Some(Some(bytes))
}

/// The kind of a file, by its folder.
fn kind_of(name: &str) -> &str {
    if name.contains(".p/") {
        "partial tiles"
    } else if name.starts_with("public/tile/entries") || name.starts_with("public/tile/data") {
        "bundles"
    } else if name.starts_with("public/tile/") {
        "tiles"
    } else {
        name.split_once('/').map_or(name, |(folder, _)| folder)
    }
}

fn every_harm(kind: Kind) -> BTreeMap<String, BTreeMap<Answer, u64>> {
    let stage = Stage::new();
    let mut driver = make(&stage, kind);
    let (image, head) = (driver.machine.image(), driver.machine.head());
    let mut answers: BTreeMap<String, BTreeMap<Answer, u64>> = BTreeMap::new();
    for (name, bytes) in image.iter().filter(|(name, _)| *name != "LOCK") {
        for harm in harms(kind, name, bytes) {
            let Some(harmed) = harmed(harm, name, &image) else {
                continue;
            };
            driver.machine.replace("", &image);
            driver.machine.set_head(head.clone());
            driver.machine.damage(name, harmed.clone());
            let answer = answer(&mut driver, name, harm);
            let bundle_or_tile = ["bundles", "tiles"].contains(&kind_of(name));
            if bundle_or_tile && harmed.as_ref() != Some(bytes) {
                assert_ne!(
                    answer,
                    Answer::Whole,
                    "{kind:?}: {name}: {harm:?} is not noticed"
                );
            }
            let of_kind = answers.entry(kind_of(name).to_owned()).or_default();
            *of_kind.entry(answer).or_default() += 1;
        }
    }
    answers
}

fn answer(driver: &mut Driver<'_>, name: &str, harm: Harm) -> Answer {
    if let Err(violation) = judge_open(driver, &format!("{name}: {harm:?}")) {
        panic!("{}", violation.0);
    }
    let refused = !driver.is_open();
    driver.drop_log();
    if refused {
        return Answer::Refused;
    }
    match driver.disk().and_then(fsck_on) {
        Ok(report) if report.is_sound() => Answer::Whole,
        _ => Answer::Named,
    }
}

#[test]
fn damage_of_any_kind_in_any_file_is_refused_or_named_or_loses_nothing() {
    for kind in [Kind::Rekor, Kind::Ct] {
        let answers = every_harm(kind);
        println!("{kind:?}: {answers:?}");
        let refused = |file: &str| answers[file].get(&Answer::Refused).copied().unwrap_or(0);
        for file in ["wal", "public", "log.json"] {
            assert!(refused(file) > 0, "{file}: {answers:?}");
        }
        for file in ["bundles", "tiles", "dedup", "partial tiles"] {
            assert!(answers.contains_key(file), "the log has no {file}");
        }
    }
}
