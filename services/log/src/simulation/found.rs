//! What was found, by the histories or while they were made, each told once more by itself.

use std::path::Path;
use std::sync::Arc;

use super::driver::{Driver, Settings, Stage};
use super::machine::{Call, Crash, Machine, Residue, Trouble};
use super::random::Random;
use crate::disk::{Disk, FileDisk};
use crate::kind::Kind;

fn disk(machine: &Machine) -> FileDisk {
    FileDisk::on(Arc::new(machine.clone()), Path::new(""), 1).unwrap()
}

fn put(disk: &FileDisk, path: &str) -> std::io::Result<()> {
    disk.put(&[(path.to_owned(), b"content".to_vec())])
}

/// A run makes a folder, and the sync that would have made its name durable fails. The next run finds the folder and
/// believes in it; what it puts there is synced, and gone with the folder when the power fails.
#[test]
fn a_folder_whose_name_was_never_made_durable_takes_nothing_with_it() {
    let machine = Machine::new(0);
    let first = disk(&machine);
    let lock = first.lock("LOCK").unwrap();
    machine.arm(Trouble {
        call: Call::SyncFolder,
        after: 0,
        for_good: true,
        residue: Residue::Clean,
    });
    assert!(put(&first, "public/checkpoint").is_err());
    drop((first, lock));
    machine.heal();
    machine.restart(Crash::Process);

    let second = disk(&machine);
    let lock = second.lock("LOCK").unwrap();
    put(&second, "public/checkpoint").unwrap();
    drop((second, lock));
    machine.restart(Crash::PowerAndAll);
    assert_eq!(machine.look("public/checkpoint"), Some(b"content".to_vec()));
}

/// Seed 6802: a start makes the first segment of a log and ends before its name is durable. The next start finds the
/// segment, and writes and syncs the first frame in it; the power fails, and the frame is gone with the name.
#[test]
fn a_segment_whose_name_was_never_made_durable_takes_no_frame_with_it() {
    let machine = Machine::new(0);
    let first = disk(&machine);
    let lock = first.lock("LOCK").unwrap();
    // The sync of the root, for the name of the folder, goes well.
    machine.arm(Trouble {
        call: Call::SyncFolder,
        after: 1,
        for_good: true,
        residue: Residue::Clean,
    });
    assert!(first.create_segment("wal/1", 8192).is_err());
    drop((first, lock));
    machine.heal();
    machine.restart(Crash::Process);

    let second = disk(&machine);
    let lock = second.lock("LOCK").unwrap();
    let segment = second.open_segment("wal/1").unwrap();
    segment.write(0, b"frame").unwrap();
    segment.sync().unwrap();
    drop((segment, second, lock));
    machine.restart(Crash::PowerAndAll);
    let kept = machine.look("wal/1").unwrap_or_default();
    assert!(kept.starts_with(b"frame"));
}

/// A folder that was removed is made again, and its name is made durable again.
#[test]
fn a_folder_that_was_removed_and_made_again_is_durable() {
    let machine = Machine::new(0);
    let disk = disk(&machine);
    let _lock = disk.lock("LOCK").unwrap();
    put(&disk, "public/tile/0/000.p/7").unwrap();
    disk.remove("public/tile/0/000.p").unwrap();
    put(&disk, "public/tile/0/000.p/9").unwrap();
    machine.restart(Crash::PowerAndAll);
    assert_eq!(
        machine.look("public/tile/0/000.p/9"),
        Some(b"content".to_vec())
    );
}

/// Seed 1860: two full segments are removed in one round. When the power failed, the end of the second was durable and
/// that of the first was not; the log found frames with a gap behind them, and did not open.
#[test]
fn of_two_segments_that_are_removed_the_first_does_not_come_back_alone() {
    let stage = Stage::new();
    for seed in 0..12 {
        let settings = Settings {
            kind: Kind::Rekor,
            spare_segments: 0,
            static_partials: false,
            strict_files: false,
            batch_entries: 150,
            witness: false,
            cosigned: false,
            mutant: None,
        };
        let mut driver = Driver::new(&stage, settings, seed);
        let mut random = Random::new(seed);
        driver.open(&mut random).unwrap();
        driver.submit_new(12, 30_000).unwrap();
        while driver.batch().unwrap() {}
        driver.submit_new(300, 10).unwrap();
        while driver.batch().unwrap() {}
        driver.publish().unwrap();
        let removed = driver.machine.tally().get("segments removed").copied();
        assert!(removed >= Some(2), "{removed:?}");
        driver.crash(Crash::PowerAndSome).unwrap();
        driver.open(&mut random).unwrap();
    }
}

/// What is removed as a file stays removed.
#[test]
fn a_removed_file_does_not_come_back() {
    let machine = Machine::new(0);
    let disk = disk(&machine);
    let _lock = disk.lock("LOCK").unwrap();
    put(&disk, "wal/1").unwrap();
    disk.remove("wal/1").unwrap();
    machine.restart(Crash::PowerAndAll);
    assert_eq!(machine.look("wal/1"), None);
}

/// What the machine itself promises: without a sync nothing need be kept, and a name is not content.
#[test]
fn the_machine_keeps_what_was_synced_and_no_more() {
    let machine = Machine::new(0);
    let disk = disk(&machine);
    let lock = disk.lock("LOCK").unwrap();
    let segment = disk.create_segment("wal/1", 8192).unwrap();
    segment.write(0, b"synced").unwrap();
    segment.sync().unwrap();
    segment.write(0, b"writte").unwrap();
    segment.write(4096, b"more").unwrap();
    disk.write_at("side", 0, b"side").unwrap();
    drop((segment, disk, lock));

    let before = machine.image();
    machine.restart(Crash::Process);
    assert_eq!(
        machine.image(),
        before,
        "a process that ends takes nothing with it"
    );
    machine.restart(Crash::PowerAndAll);
    let kept = machine.look("wal/1").unwrap();
    assert_eq!(
        (&kept[..6], &kept[4096..4100]),
        (&b"synced"[..], &[0; 4][..])
    );
    assert_eq!(machine.look("side"), None);
}

/// After a sync that failed, another one proves nothing.
#[test]
fn the_machine_forgets_a_failed_sync_as_operating_systems_do() {
    for residue in [Residue::Clean, Residue::Dropped] {
        let machine = Machine::new(0);
        let disk = disk(&machine);
        let _lock = disk.lock("LOCK").unwrap();
        let segment = disk.create_segment("wal/1", 4096).unwrap();
        machine.arm(Trouble {
            call: Call::Sync,
            after: 0,
            for_good: false,
            residue,
        });
        segment.write(0, b"frame").unwrap();
        assert!(segment.sync().is_err());
        segment.sync().unwrap();
        let read = segment.read().unwrap();
        assert_eq!(read.starts_with(b"frame"), residue == Residue::Clean);
        machine.restart(Crash::PowerAndNothing);
        assert!(machine.look("wal/1").unwrap().iter().all(|byte| *byte == 0));
    }
}
