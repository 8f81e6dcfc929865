//! Makes files of what is durable in the write-ahead log: tiles, bundles, the public checkpoint, the head, the index.
//!
//! It runs behind the sequencer on a thread of its own, at most once an interval, because its syncs compete with the one
//! that writers wait for. Nothing it does makes an entry more durable; all of it can be repeated. The order within one
//! round is what matters: the checkpoint file follows its tiles, the head follows the checkpoint file, and a segment of
//! the write-ahead log is reused only after the head says that its entries are in files (R4).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealwright_tlog::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, TileKind, hashes_at_level};
use tokio::sync::watch;

use crate::attachments;
use crate::dedup::compact::Compactor;
use crate::error::Error;
use crate::head::{Head, HeadRow};
use crate::intake::Intake;
use crate::metrics::LogMetrics;
use crate::tree::{Overlay, PUBLIC, Snapshot, Tree, public_path, whole_bundles};
use crate::wal::Segments;

/// How long the publisher waits after a full disk before it tries again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The longest the sequencer waits for a round before it looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// Tile levels that a 64-bit tree size can have.
const LEVELS: u8 = 8;
/// The public checkpoint's file.
pub(crate) const CHECKPOINT_FILE: &str = "public/checkpoint";

/// How files are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishOptions {
    pub(crate) interval: Duration,
    /// Also write partial tiles, for static hosting of the folder.
    pub(crate) static_partials: bool,
    /// Receipts wait for the files; the interval does not apply.
    pub(crate) strict_files: bool,
    /// Entries that wait for their file may occupy this much memory; beyond, the log takes no more.
    pub(crate) backlog_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Publisher {
    options: PublishOptions,
    tree: Arc<Tree>,
    segments: Arc<Segments>,
    intake: Arc<Intake>,
    compactor: Compactor,
    state: Mutex<State>,
    changed: Condvar,
    /// A round ended, well or badly.
    ended: Condvar,
    /// Tree size of the public checkpoint.
    published: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    dirty: bool,
    /// Since when there is something that no file shows, for metrics.
    since: Option<Instant>,
    draining: bool,
    /// The last round failed, most likely for want of space.
    full: bool,
    /// Folders of the partial tiles of tiles that are full now. They go, once no checkpoint that is shown needs them.
    outgrown: Vec<String>,
    /// The checkpoint whose files were put last.
    put: Option<Bytes>,
}

impl Publisher {
    pub(crate) fn new(
        options: PublishOptions,
        tree: Arc<Tree>,
        segments: Arc<Segments>,
        intake: Arc<Intake>,
        compactor: Compactor,
        published: u64,
    ) -> Self {
        let state = Mutex::new(State {
            dirty: true,
            ..State::default()
        });
        let published = watch::Sender::new(published);
        Self {
            options,
            tree,
            segments,
            intake,
            compactor,
            state,
            changed: Condvar::new(),
            ended: Condvar::new(),
            published,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something new to publish.
    pub(crate) fn wake(&self) {
        let mut state = self.state();
        state.dirty = true;
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        self.changed.notify_one();
    }

    /// Publish what there is, and end.
    pub(crate) fn drain(&self) {
        self.state().draining = true;
        self.changed.notify_one();
    }

    /// The tree size of the public checkpoint file, as it changes.
    pub(crate) fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Refuses further entries while too much waits for its file.
    pub(crate) fn backlog(&self) -> Option<Error> {
        if !self.backlog_exceeded() {
            return None;
        }
        let waiting = self.tree.overlay_weight();
        Some(if self.state().full {
            Error::StorageFull
        } else {
            Error::Overloaded {
                entries: 0,
                bytes: waiting,
            }
        })
    }

    /// Waits while too much waits for its file and the next round may change that. Entries gather in the queue meanwhile,
    /// whose bounds are what writers are refused by: files that are slower than the write-ahead log slow writers down, and do
    /// not fail the batches that happen to be next.
    pub(crate) fn await_room(&self) {
        let mut state = self.state();
        while self.backlog_exceeded() && !state.full && !state.draining && !self.intake.is_stopped()
        {
            state.dirty = true;
            self.changed.notify_one();
            let waited = self.ended.wait_timeout(state, ROOM_PAUSE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn backlog_exceeded(&self) -> bool {
        self.tree.overlay_weight() > self.options.backlog_bytes
    }

    /// Works until drained. A failure other than a full disk or a database that does not answer stops the log.
    pub(crate) fn run(&self, mut head: Head, metrics: &LogMetrics) {
        loop {
            let draining = self.wait();
            let (begun, since) = (Instant::now(), self.state().since.take());
            let outcome = self.publish(&mut head);
            let behind = self
                .tree
                .snapshot()
                .size()
                .saturating_sub(*self.published.borrow());
            metrics.behind(behind);
            match outcome {
                Ok(()) => {
                    self.state().full = false;
                    metrics.published(begun.elapsed(), since.unwrap_or(begun).elapsed());
                }
                // The database is not what makes entries durable. While it does not answer, files and segments stay as
                // they are, and the backlog bounds what may still come.
                Err(error) if error.is_storage_full() || matches!(error, Error::Database(_)) => {
                    tracing::warn!(%error, "files of the log are not up to date");
                    let mut state = self.state();
                    (state.full, state.dirty) = (true, true);
                    state.since = since.or(state.since);
                    drop(state);
                    self.ended.notify_all();
                    if !draining {
                        std::thread::sleep(RETRY_PAUSE);
                    }
                }
                Err(error) => {
                    self.intake.stop(&error.to_string());
                    break;
                }
            }
            self.ended.notify_all();
            if draining || self.intake.is_stopped() {
                break;
            }
        }
        self.ended.notify_all();
        head.close();
    }

    /// Blocks until there is something to do and the interval is over; true when this is the last round.
    fn wait(&self) -> bool {
        let mut state = self.state();
        while !state.dirty && !state.draining {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + self.options.interval;
        while !state.draining && !self.options.strict_files {
            let Some(left) = until
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                break;
            };
            if self.tree.overlay_weight() > self.options.backlog_bytes / 4 {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.dirty = false;
        state.draining
    }

    /// One round: files of what was durable when it began, then what they allow. It neither waits nor looks at a clock.
    pub(crate) fn publish(&self, head: &mut Head) -> Result<(), Error> {
        // What is shown first, then the snapshot: each may then be more than the one before needs, never less.
        let shown = self.tree.shown();
        let snapshot = self.tree.snapshot();
        let overlay = self.tree.overlay();
        // A round may be for the index alone.
        if !overlay.is_empty() || self.state().put.as_ref() != Some(&shown.note) {
            self.put(&self.files(&overlay, &snapshot, shown.size)?)?;
            self.put(&[(CHECKPOINT_FILE.to_owned(), shown.note.to_vec())])?;
            self.state().put = Some(shown.note.clone());
        }
        let published = whole_bundles(snapshot.size());
        self.record(head, &snapshot, published)?;
        self.compactor.absorb(published)?;
        self.outgrow(&overlay);
        self.tree.settle(&overlay);
        self.published.send_replace(shown.size);
        // A start takes for filed what both the head and the public checkpoint cover, and the latter may be behind while
        // witnesses are asked: the frames in between are still needed.
        let covered = whole_bundles(shown.size);
        self.segments.maintain(published.min(covered))?;
        self.remove_partials(shown.size)?;
        self.compact(&overlay)
    }

    /// Everything that a reader of the checkpoint of `shown` entries may ask for and that is in no file yet.
    fn files(
        &self,
        overlay: &Overlay,
        snapshot: &Snapshot,
        shown: u64,
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut files = self.full_files(overlay)?;
        if self.options.static_partials {
            files.extend(if shown == snapshot.size() {
                self.partial_files(snapshot)?
            } else {
                self.partial_files_at(shown)?
            });
        }
        if self.tree.kind.max_attachment_bytes() > 0 {
            let attached = overlay.bundles.iter().map(|(bundle, leaves)| {
                (
                    attachments::path(*bundle),
                    attachments::encode(*bundle, leaves),
                )
            });
            files.extend(attached);
        }
        Ok(files)
    }

    /// A round's share of the index's upkeep. A full disk puts it off: what is known does not depend on it.
    fn compact(&self, overlay: &Overlay) -> Result<(), Error> {
        let entries = overlay.bundles.len() as u64 * u64::from(TILE_WIDTH);
        match self.compactor.step(entries) {
            Ok(false) => {}
            Ok(true) => self.state().dirty = true,
            Err(error) if error.is_storage_full() => {
                tracing::warn!(%error, "runs of known entries are not merged");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn put(&self, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let first = files.first().map_or(PUBLIC, |(path, _)| path);
        self.tree
            .disk
            .put(files)
            .map_err(|error| Error::disk("writing", first, error))
    }

    /// Files of full tiles and bundles. One that exists was put by a round that was interrupted: it must be the same, and it
    /// is put again, because nobody knows whether its folder was synced.
    fn full_files(&self, overlay: &Overlay) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut files = Vec::new();
        for (index, bundle) in &overlay.bundles {
            files.push((
                TileId::full(self.tree.kind.bundle(), *index),
                self.tree.join(bundle)?.to_vec(),
            ));
        }
        for ((level, index), tile) in &overlay.tiles {
            files.push((
                TileId::full(TileKind::Hashes(*level), *index),
                tile.bytes(TILE_WIDTH),
            ));
        }
        let mut compared = Vec::with_capacity(files.len());
        for (id, bytes) in files {
            let path = public_path(id);
            let existing = self.tree.disk.read(&path);
            let existing = existing.map_err(|error| Error::disk("reading", &path, error))?;
            if existing.is_some_and(|existing| existing != bytes) {
                return Err(Error::corrupt(
                    path,
                    "it differs from what the write-ahead log says",
                ));
            }
            compared.push((path, bytes));
        }
        Ok(compared)
    }

    fn partial_files(&self, snapshot: &Snapshot) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut files = Vec::new();
        for level in 0..LEVELS {
            let Some(tile) = snapshot.edge.tile(level) else {
                continue;
            };
            let index = hashes_at_level(level, snapshot.size()) >> TILE_HEIGHT;
            let id = TileId {
                kind: TileKind::Hashes(level),
                index,
                width: tile.width(),
            };
            files.push((public_path(id), tile.bytes(TILE_WIDTH)));
        }
        if !snapshot.partial.is_empty() {
            let width = snapshot.partial.len() as u16;
            let id = TileId {
                kind: self.tree.kind.bundle(),
                index: snapshot.size() >> TILE_HEIGHT,
                width,
            };
            files.push((public_path(id), self.tree.join(&snapshot.partial)?.to_vec()));
        }
        Ok(files)
    }

    /// The partial tiles of an older size: of the checkpoint that is shown while witnesses look at the newest.
    fn partial_files_at(&self, size: u64) -> Result<Vec<(String, Vec<u8>)>, Error> {
        partial_ids(self.tree.kind.bundle(), size)
            .map(|id| Ok((public_path(id), self.tree.tile(id)?.to_vec())))
            .collect()
    }

    fn record(&self, head: &mut Head, snapshot: &Snapshot, published: u64) -> Result<(), Error> {
        let epoch = head.current().epoch;
        let note = String::from_utf8_lossy(&snapshot.note).into_owned();
        let next = HeadRow {
            epoch,
            size: snapshot.size(),
            root: snapshot.root,
            note,
            published,
        };
        if *head.current() == next {
            return Ok(());
        }
        head.swap(next)
    }

    /// Remembers which partial tiles are not needed any more, before the overlay forgets which tiles became full.
    fn outgrow(&self, overlay: &Overlay) {
        let bundle = self.tree.kind.bundle();
        let bundles = overlay
            .bundles
            .keys()
            .map(|index| TileId::full(bundle, *index));
        let tiles = overlay
            .tiles
            .keys()
            .map(|(level, index)| TileId::full(TileKind::Hashes(*level), *index));
        let folders = bundles.chain(tiles).map(partial_folder);
        self.state().outgrown.extend(folders);
    }

    /// Removes outgrown partial tiles, but for those that the checkpoint of `shown` entries needs. What cannot be removed is
    /// tried again in the next round.
    fn remove_partials(&self, shown: u64) -> Result<(), Error> {
        let needed: Vec<String> = partial_ids(self.tree.kind.bundle(), shown)
            .map(partial_folder)
            .collect();
        let outgrown = std::mem::take(&mut self.state().outgrown);
        let (later, mut now): (Vec<_>, Vec<_>) = outgrown
            .into_iter()
            .partition(|folder| needed.contains(folder));
        self.state().outgrown = later;
        while let Some(folder) = now.pop() {
            if let Err(error) = self.tree.disk.remove(&folder) {
                let error = Error::disk("removing", &folder, error);
                now.push(folder);
                self.state().outgrown.extend(now);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Where the partial tiles of a tile are.
fn partial_folder(id: TileId) -> String {
    format!("{}.p", public_path(TileId::full(id.kind, id.index)))
}

/// The tiles and the bundle that are not full in the tree of `size` entries.
fn partial_ids(bundle: TileKind, size: u64) -> impl Iterator<Item = TileId> {
    let hashes =
        (0..LEVELS).map(move |level| (TileKind::Hashes(level), hashes_at_level(level, size)));
    hashes.chain([(bundle, size)]).filter_map(|(kind, count)| {
        let width = u16::try_from(count % u64::from(TILE_WIDTH)).ok()?;
        let index = count >> TILE_HEIGHT;
        (width > 0).then_some(TileId { kind, index, width })
    })
}
