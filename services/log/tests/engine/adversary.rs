//! Faults that need more than one of them to show: copies that are worked on, witnesses that hang while segments are
//! recycled, clocks that were years ahead. Each test is a fault that an engine had, or one that a change could bring back.

use std::future::pending;
use std::path::Path;

use sealwright_log::{CosignHead, Cosigner, Proofs, Round, WitnessMode, copy_log};

use super::*;

/// An entry of some 60 KB: seventeen of them fill a segment of 1 MiB.
fn large(number: u64) -> BodyLeaf {
    let mut body = vec![b'.'; 60_000];
    body[..8].copy_from_slice(&number.to_be_bytes());
    BodyLeaf::new(body).unwrap()
}

async fn submit_large(log: &Log, numbers: std::ops::Range<u64>) -> Vec<Receipt> {
    let receipts = join_all(numbers.map(|number| log.submit(large(number)))).await;
    receipts.into_iter().map(Result::unwrap).collect()
}

fn segment_lengths(dir: &Path) -> Vec<u64> {
    let segments = std::fs::read_dir(dir.join("wal")).unwrap();
    let length =
        |segment: io::Result<std::fs::DirEntry>| segment.unwrap().metadata().unwrap().len();
    segments.map(length).collect()
}

/// A copy holds segments as long as their frames, and none that is spare.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_on_from_a_copy_through_any_number_of_segments() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.spare_segments = 4;
    let log = fixture.open().await;
    let mut receipts = submit_large(&log, 0..40).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    copy_log(fixture.folder.path(), &copy, None).await.unwrap();
    log.shutdown().await;

    let log = fixture.try_open_at(&copy).await.unwrap();
    for first in (40..400).step_by(20) {
        receipts.extend(submit_large(&log, first..first + 20).await);
    }
    for receipt in &receipts {
        fixture.audit_later(&log, receipt).await;
    }
    log.shutdown().await;
    assert!(
        segment_lengths(&copy)
            .into_iter()
            .all(|length| length >= 1 << 20)
    );
    assert!(fsck(&copy).unwrap().is_sound());
}

/// What an interrupted copy, or a file system that lost a file's content, leaves among the segments.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_segment_is_no_spare() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    submit_large(&log, 0..3).await;
    log.shutdown().await;
    for ordinal in [700, 701] {
        std::fs::write(fixture.path(&format!("wal/{ordinal:020}.wal")), b"").unwrap();
    }
    let log = fixture.open().await;
    for first in (3..120).step_by(3) {
        submit_large(&log, first..first + 3).await;
    }
    log.shutdown().await;
    fixture.audit_files();
}

/// Answers for the first checkpoint, and then hangs.
#[derive(Debug, Default)]
struct Hanging(AtomicBool);

impl Cosigner for Hanging {
    fn round<'a>(&'a self, _: &'a CosignHead, _: &'a Arc<dyn Proofs>) -> BoxFuture<'a, Round> {
        Box::pin(async {
            if self.0.swap(true, Ordering::SeqCst) {
                pending::<()>().await;
            }
            Round {
                quorum_met: true,
                ..Round::default()
            }
        })
    }

    fn mode(&self) -> WitnessMode {
        WitnessMode::Required
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

/// The public checkpoint stays behind the tree while witnesses take their time, and a start goes by it.
#[tokio::test(flavor = "multi_thread")]
async fn segments_that_no_public_checkpoint_covers_are_kept() {
    let fixture = Fixture::new(Kind::Rekor);
    let witnessed = || async {
        let parts = EngineParts {
            cosigner: Some(Arc::new(Hanging::default())),
            ..fixture.parts()
        };
        let (identity, options) = (fixture.identity.clone(), fixture.options.clone());
        Log::open(fixture.folder.path(), identity, options, parts).await
    };
    let log = witnessed().await.unwrap();
    while log.condition().is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Nobody gets a receipt; the entries become durable all the same.
    for first in (0..600u64).step_by(20) {
        let waiting: Vec<_> = (first..first + 20)
            .map(|number| {
                let log = log.clone();
                tokio::spawn(async move { log.submit(large(number)).await })
            })
            .collect();
        while log.stored(first + 19).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }
    // Files of the full bundles are there, so that segments could go.
    while !fixture.path("public/tile/entries/001").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(log.tree_head().size, 0);
    let image = crash_image(fixture.folder.path());
    log.shutdown().await;

    for dir in [image.path(), fixture.folder.path()] {
        let log = fixture.try_open_at(dir).await.unwrap();
        assert_eq!(log.tree_head().size, 600);
        for number in [0, 300, 599] {
            assert!(log.submit(large(number)).await.unwrap().duplicate);
        }
        log.shutdown().await;
        assert!(fsck(dir).unwrap().is_sound());
    }
}

/// Nothing can be logged until the time of the last entry comes again, but the log can be left for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_clock_was_years_ahead_can_be_frozen() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    let ten_years = 3652 * 86_400_000;
    fixture.clock.advance_ms(ten_years);
    let receipt = log.submit(body(0)).await.unwrap();
    log.shutdown().await;
    fixture.clock.set_ms(NOW_MS);
    let log = fixture.open().await;
    let refused = log.submit(body(1)).await.unwrap_err();
    assert!(matches!(refused, Error::ClockBehind { .. }), "{refused}");
    assert!(log.submit(body(0)).await.unwrap().duplicate);
    let frozen = log.freeze().await.unwrap();
    assert!(log.frozen() && frozen.timestamp_ms >= receipt.timestamp_ms.unwrap());
    fixture.audit_later(&log, &receipt).await;
    log.shutdown().await;
    let log = fixture.open().await;
    assert!(log.frozen());
    log.shutdown().await;
    fixture.audit_files();
}

/// The head is written after the checkpoint and before segments go: a copy made in between would not start.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_head_is_older_than_its_frames_is_not_made() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    log.shutdown().await;
    let before = crash_image(fixture.folder.path());
    let log = fixture.open().await;
    for first in (0..700).step_by(20) {
        submit_large(&log, first..first + 20).await;
    }
    log.shutdown().await;
    let folder = tempfile::tempdir().unwrap();
    let (sound, unsound) = (folder.path().join("sound"), folder.path().join("unsound"));
    copy_log(fixture.folder.path(), &sound, None).await.unwrap();
    let log = fixture.try_open_at(&sound).await.unwrap();
    assert_eq!(log.tree_head().size, 700);
    log.shutdown().await;
    std::fs::copy(before.path().join("state.db"), fixture.path("state.db")).unwrap();
    let refused = copy_log(fixture.folder.path(), &unsound, None)
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, Error::Corrupt { file, .. } if file == "wal"),
        "{refused}"
    );
}

/// The frames of a segment as version 1 wrote them: no flags, no attachments.
fn in_version_1(segment: &[u8], secret: &[u8]) -> Vec<u8> {
    const HEADER: usize = 116;
    let number = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    };
    let (mut out, mut at) = (Vec::new(), 0);
    while segment[at..].starts_with(b"SWF1") {
        let frame = &segment[at..];
        let attached = frame[6] & 2 != 0;
        let (count, payload, note) = (number(frame, 32), number(frame, 36), number(frame, 112));
        let mut old = frame[..HEADER + note].to_vec();
        let mut position = HEADER + note;
        for _ in 0..count {
            let end = position + 4 + number(frame, position);
            old.extend(&frame[position..end]);
            position = end;
            if attached {
                position += 2 + usize::from(u16::from_le_bytes([frame[end], frame[end + 1]]));
            }
        }
        assert_eq!(position, HEADER + note + payload);
        let leaves = (old.len() - HEADER - note) as u32;
        old[4..8].copy_from_slice(&[1, 0, 0, 0]);
        old[36..40].copy_from_slice(&leaves.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(secret), &old);
        old.extend(checksum.to_le_bytes());
        old.resize(old.len().next_multiple_of(4096), 0);
        out.extend(old);
        at += (position + 4).next_multiple_of(4096);
    }
    out.resize(segment.len(), 0);
    out
}

/// Whoever has a log of the first format goes on with it; the signatures of that time's SCTs were not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_the_first_format_goes_on() {
    for kind in [Kind::Rekor, Kind::Ct] {
        let fixture = Fixture::new(kind);
        let submit = |log: Log, number: u64| async move {
            match kind {
                Kind::Rekor => log.submit(body(number)).await.unwrap(),
                Kind::Ct => log.submit(certificate(number)).await.unwrap(),
            }
        };
        let log = fixture.open().await;
        log.store_issuer(b"issuer").await.unwrap();
        let mut receipts = Vec::new();
        for number in 0..300 {
            receipts.push(submit(log.clone(), number).await);
        }
        log.shutdown().await;
        let record = std::fs::read(fixture.path("log.json")).unwrap();
        let mut record: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&record).unwrap();
        let secret = hex::decode(record["walKey"].as_str().unwrap()).unwrap();
        record.remove("digest");
        record.remove("attachmentsFrom");
        std::fs::write(
            fixture.path("log.json"),
            serde_json::to_vec(&record).unwrap(),
        )
        .unwrap();
        let segment = first_segment(fixture.folder.path());
        let frames = std::fs::read(&segment).unwrap();
        let old = in_version_1(&frames, &secret);
        assert!(old.starts_with(b"SWF1\x01\0\0\0") && old != frames);
        std::fs::write(&segment, old).unwrap();
        for lost in ["dedup", "attachments"] {
            let _ = std::fs::remove_dir_all(fixture.path(lost));
        }

        let log = fixture.open().await;
        for (number, receipt) in (0..).zip(&receipts).step_by(37) {
            fixture.audit_later(&log, receipt).await;
            let again = submit(log.clone(), number).await;
            assert_eq!((again.index, again.duplicate), (receipt.index, true));
            assert!(again.attachment.is_empty());
        }
        let new = submit(log.clone(), 300).await;
        assert_eq!(
            (new.index, new.attachment.is_empty()),
            (300, kind == Kind::Rekor)
        );
        audit_tree(&fixture, &log).await;
        log.shutdown().await;
        fixture.audit_files();
    }
}
