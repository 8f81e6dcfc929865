//! A machine whose power can fail: a file system that knows what is durable and what is only written, and the head's
//! database beside it.
//!
//! It promises what [`System`] promises and nothing more. When the power fails, each page that was written and not synced
//! has the content of any of its versions, sector by sector where a write can tear; each name that was made, changed or
//! removed in a folder that was not synced is there or not, independently of the others. When only the process ends,
//! everything that was written stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::random::Random;
use crate::disk::system::{Handle, Node, Open, System};
use crate::error::Error;
use crate::head::{HeadRow, HeadStore};

/// What the operating system writes at once, if it is not torn.
const PAGE: usize = 4096;
/// What a disk writes at once.
const SECTOR: usize = 512;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// Nothing that was written is lost.
    Process,
    /// Nothing that was not synced is kept.
    PowerAndAll,
    /// Of what was not synced, some is kept.
    PowerAndSome,
    /// Everything that was written happens to be kept, but nothing is known of it.
    PowerAndNothing,
}

/// Calls that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Read,
    Write,
    Sync,
    SyncFolder,
    Rename,
    Database,
}

/// What is left of the pages that a failed sync was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Residue {
    /// They stay readable, are taken for clean, and no later sync writes them.
    Clean,
    /// They are dropped: the file reads as it was.
    Dropped,
    /// Some were written before the error; the rest is taken for clean.
    Partial,
}

/// A call that is going to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) call: Call,
    /// So many of them succeed before.
    pub(super) after: u64,
    /// Or once.
    pub(super) for_good: bool,
    pub(super) residue: Residue,
}

/// How full the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Free,
    /// No file grows, none is made.
    Full,
    /// Not even what exists can be written over, as on a file system that copies on write.
    FullForAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(u64),
}

#[derive(Debug, Clone)]
enum Change {
    Set(String, Entry),
    /// From, to, and what is moved: the name it had need not have become durable before.
    Move(String, String, Entry),
    Gone(String),
}

#[derive(Debug, Default, Clone)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// By page, every version since the last sync.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
}

#[derive(Debug)]
struct State {
    random: Random,
    files: BTreeMap<u64, File>,
    next_file: u64,
    names: BTreeMap<String, Entry>,
    durable_names: BTreeMap<String, Entry>,
    /// Not durable yet, oldest first, with the folder whose sync makes each so.
    changes: Vec<(String, Change)>,
    locks: BTreeSet<(u64, String)>,
    /// Counts the starts of the machine: locks of an earlier one are gone.
    start: u64,
    on: bool,
    /// Calls until the power fails.
    fuse: Option<u64>,
    space: Space,
    troubles: Vec<Trouble>,
    lying: bool,
    short: bool,
    torn: bool,
    head: Option<HeadRow>,
    tally: BTreeMap<&'static str, u64>,
}

/// Clones are the same machine.
#[derive(Debug, Clone)]
pub(super) struct Machine(Arc<Mutex<State>>);

fn name_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

fn broken() -> io::Error {
    // EIO, as Linux has it.
    io::Error::from_raw_os_error(5)
}

impl File {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[at..end].copy_from_slice(bytes);
        for page in at / PAGE..end.div_ceil(PAGE) {
            let version = self.page(page);
            self.dirty.entry(page).or_default().push(version);
        }
    }

    fn page(&self, page: usize) -> Vec<u8> {
        let start = page * PAGE;
        self.now[start..(start + PAGE).min(self.now.len())].to_vec()
    }

    fn make_durable(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for page in std::mem::take(&mut self.dirty).into_keys() {
            let (start, end) = (page * PAGE, ((page + 1) * PAGE).min(self.now.len()));
            self.durable[start..end].copy_from_slice(&self.now[start..end]);
        }
    }

    /// Some of what was written reaches the disk, in no order.
    fn write_back_some(&mut self, random: &mut Random, torn: bool) {
        let grows = self.now.len() > self.durable.len() && random.one_in(2);
        if grows {
            self.durable.resize(self.now.len(), 0);
        }
        for (page, versions) in std::mem::take(&mut self.dirty) {
            let chosen = random.below(versions.len() as u64 + 1) as usize;
            for sector in 0..PAGE / SECTOR {
                let chosen = if torn {
                    random.below(versions.len() as u64 + 1) as usize
                } else {
                    chosen
                };
                let Some(version) = chosen.checked_sub(1).map(|version| &versions[version]) else {
                    continue;
                };
                let from = sector * SECTOR;
                let start = page * PAGE + from;
                let end = (start + SECTOR).min(self.durable.len());
                let have = version
                    .len()
                    .saturating_sub(from)
                    .min(end.saturating_sub(start));
                if have > 0 {
                    self.durable[start..start + have].copy_from_slice(&version[from..from + have]);
                }
            }
        }
    }
}

impl State {
    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Every call begins here.
    fn call(&mut self) -> io::Result<()> {
        if let Some(fuse) = &mut self.fuse {
            if *fuse == 0 {
                self.fuse = None;
                self.on = false;
                self.count("power failed within a call");
            } else {
                *fuse -= 1;
            }
        }
        if self.on { Ok(()) } else { Err(off()) }
    }

    /// Whether this call is one that fails, and what is left then.
    fn trouble(&mut self, call: Call) -> Option<Residue> {
        let at = self
            .troubles
            .iter()
            .position(|trouble| trouble.call == call)?;
        let trouble = &mut self.troubles[at];
        if trouble.after > 0 {
            trouble.after -= 1;
            return None;
        }
        let residue = trouble.residue;
        if !trouble.for_good {
            self.troubles.remove(at);
        }
        self.count(match call {
            Call::Read => "reads failed",
            Call::Write => "writes failed",
            Call::Sync => "syncs failed",
            Call::SyncFolder => "syncs of folders failed",
            Call::Rename => "renames failed",
            Call::Database => "database failed",
        });
        Some(residue)
    }

    fn require_space(&mut self, needed: Space) -> io::Result<()> {
        let full = match self.space {
            Space::Free => false,
            Space::Full => needed == Space::Full,
            Space::FullForAll => true,
        };
        if !full {
            return Ok(());
        }
        self.count("writes on a full disk");
        Err(ErrorKind::StorageFull.into())
    }

    fn require_folder(&self, name: &str) -> io::Result<()> {
        let folder = folder_of(name);
        match self.names.get(folder) {
            _ if folder.is_empty() => Ok(()),
            Some(Entry::Folder) => Ok(()),
            Some(Entry::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn file(&self, name: &str) -> io::Result<u64> {
        match self.names.get(name) {
            Some(Entry::File(file)) => Ok(*file),
            Some(Entry::Folder) => Err(ErrorKind::IsADirectory.into()),
            None => {
                self.require_folder(name)?;
                Err(ErrorKind::NotFound.into())
            }
        }
    }

    /// Does it for readers at once, and for a later start when the folder is synced.
    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        let folder = match &change {
            Change::Set(name, _) | Change::Gone(name) | Change::Move(_, name, _) => folder_of(name),
        };
        self.changes.push((folder.to_owned(), change));
    }

    fn make_file(&mut self, name: &str) -> io::Result<u64> {
        self.require_folder(name)?;
        self.require_space(Space::Full)?;
        self.next_file += 1;
        let file = self.next_file;
        self.files.insert(file, File::default());
        self.change(Change::Set(name.to_owned(), Entry::File(file)));
        Ok(file)
    }

    fn lose(&mut self, crash: Crash) {
        let (random, torn) = (&mut self.random, self.torn);
        for file in self.files.values_mut() {
            match crash {
                Crash::Process => return,
                Crash::PowerAndAll => file.dirty.clear(),
                Crash::PowerAndNothing => file.make_durable(),
                Crash::PowerAndSome => file.write_back_some(random, torn),
            }
            file.now = file.durable.clone();
        }
        for (_, change) in std::mem::take(&mut self.changes) {
            let kept = match crash {
                Crash::Process | Crash::PowerAndAll => false,
                Crash::PowerAndNothing => true,
                Crash::PowerAndSome => self.random.one_in(2),
            };
            if kept {
                apply(&mut self.durable_names, &change);
            }
        }
        let names = self.durable_names.clone();
        self.durable_names.retain(|name, _| {
            let mut folder = folder_of(name);
            while !folder.is_empty() {
                if names.get(folder) != Some(&Entry::Folder) {
                    return false;
                }
                folder = folder_of(folder);
            }
            true
        });
        self.names = self.durable_names.clone();
        self.forget_unnamed();
    }

    fn forget_unnamed(&mut self) {
        let entries = self.names.values().chain(self.durable_names.values());
        let named: BTreeSet<u64> = entries
            .filter_map(|entry| match entry {
                Entry::File(file) => Some(*file),
                Entry::Folder => None,
            })
            .collect();
        self.files.retain(|file, _| named.contains(file));
    }
}

fn apply(names: &mut BTreeMap<String, Entry>, change: &Change) {
    match change {
        Change::Set(name, entry) => {
            names.insert(name.clone(), *entry);
        }
        Change::Gone(name) => {
            names.remove(name);
        }
        Change::Move(from, to, entry) => {
            names.remove(from);
            names.insert(to.clone(), *entry);
        }
    }
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::of(seed, 1);
        let (short, torn) = (random.one_in(3), random.one_in(2));
        Self(Arc::new(Mutex::new(State {
            random,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            locks: BTreeSet::new(),
            start: 0,
            on: true,
            fuse: None,
            space: Space::Free,
            troubles: Vec::new(),
            lying: false,
            short,
            torn,
            head: None,
            tally: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power fails after so many more calls.
    pub(super) fn light_fuse(&self, calls: u64) {
        self.state().fuse = Some(calls);
    }

    pub(super) fn is_on(&self) -> bool {
        self.state().on
    }

    /// Ends whatever runs here, and starts the machine again. Troubles end with it; a full disk stays full.
    pub(super) fn restart(&self, crash: Crash) {
        let mut state = self.state();
        state.lose(crash);
        state.count(match crash {
            Crash::Process => "process ended",
            Crash::PowerAndAll => "power lost, with all that was not synced",
            Crash::PowerAndSome => "power lost, with some of what was not synced",
            Crash::PowerAndNothing => "power lost, with nothing",
        });
        state.start += 1;
        state.locks.clear();
        state.on = true;
        state.fuse = None;
    }

    pub(super) fn arm(&self, trouble: Trouble) {
        self.state().troubles.push(trouble);
    }

    /// No call that is going to fail is left, and there is space.
    pub(super) fn heal(&self) {
        let mut state = self.state();
        state.troubles.clear();
        state.space = Space::Free;
    }

    pub(super) fn is_troubled(&self) -> bool {
        let state = self.state();
        !state.troubles.is_empty() || state.space != Space::Free
    }

    pub(super) fn set_space(&self, space: Space) {
        self.state().space = space;
    }

    /// From now on syncs succeed and keep nothing.
    pub(super) fn lie(&self) {
        self.state().lying = true;
    }

    pub(super) fn head(&self) -> Option<HeadRow> {
        self.state().head.clone()
    }

    pub(super) fn set_head(&self, head: Option<HeadRow>) {
        self.state().head = head;
    }

    pub(super) fn tally(&self) -> BTreeMap<&'static str, u64> {
        self.state().tally.clone()
    }

    pub(super) fn count(&self, what: &'static str) {
        self.state().count(what);
    }

    /// A file as a reader beside the log sees it.
    pub(super) fn look(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        match state.names.get(name) {
            Some(Entry::File(file)) => state.files.get(file).map(|file| file.now.clone()),
            _ => None,
        }
    }

    /// Every file by name.
    pub(super) fn image(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let files = state.names.iter().filter_map(|(name, entry)| match entry {
            Entry::File(file) => Some((name.clone(), state.files.get(file)?.now.clone())),
            Entry::Folder => None,
        });
        files.collect()
    }

    /// Puts files in the place of those whose name begins with `prefix`, durably.
    pub(super) fn replace(&self, prefix: &str, image: &BTreeMap<String, Vec<u8>>) {
        let mut state = self.state();
        let gone =
            |name: &String, entry: &mut Entry| *entry == Entry::Folder || !name.starts_with(prefix);
        state.names.retain(gone);
        for (name, bytes) in image.iter().filter(|(name, _)| name.starts_with(prefix)) {
            let mut folder = folder_of(name);
            while !folder.is_empty() {
                state.names.insert(folder.to_owned(), Entry::Folder);
                folder = folder_of(folder);
            }
            state.next_file += 1;
            let file = state.next_file;
            let content = File {
                now: bytes.clone(),
                durable: bytes.clone(),
                dirty: BTreeMap::new(),
            };
            state.files.insert(file, content);
            state.names.insert(name.clone(), Entry::File(file));
        }
        state.durable_names = state.names.clone();
        state.changes.clear();
        state.forget_unnamed();
    }

    /// Changes a file at rest: `None` removes it.
    pub(super) fn damage(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut image = BTreeMap::new();
        image.extend(bytes.map(|bytes| (name.to_owned(), bytes)));
        let others = self.image().into_iter().filter(|(own, _)| own != name);
        image.extend(others.filter(|(own, _)| own.starts_with(name)));
        self.replace(name, &image);
    }
}

impl System for Machine {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        let name = name_of(path);
        let mut state = self.state();
        state.call()?;
        let found = state.file(&name);
        let file = match (how, found) {
            (Open::Read | Open::Existing, found) => found?,
            (Open::Kept, Ok(file)) => file,
            (Open::Kept, Err(error)) if error.kind() != ErrorKind::NotFound => return Err(error),
            (Open::Empty, Err(error)) if error.kind() == ErrorKind::IsADirectory => {
                return Err(error);
            }
            // What it had before is gone for readers; a crash may bring it back.
            (Open::Kept | Open::Empty, _) => state.make_file(&name)?,
        };
        Ok(Box::new(OpenFile {
            machine: self.clone(),
            start: state.start,
            file,
        }))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Debug + Send + Sync>> {
        let name = name_of(path);
        let mut state = self.state();
        state.call()?;
        if state.file(&name).is_err() {
            state.make_file(&name)?;
        }
        let start = state.start;
        if !state.locks.insert((start, name.clone())) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock {
            machine: self.clone(),
            lock: (start, name),
        }))
    }

    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        let name = name_of(path);
        let mut state = self.state();
        state.call()?;
        Ok(match state.names.get(&name) {
            _ if name.is_empty() => Some(Node::Folder),
            Some(Entry::Folder) => Some(Node::Folder),
            Some(Entry::File(_)) => Some(Node::Other),
            None => None,
        })
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = name_of(folder);
        let mut state = self.state();
        state.call()?;
        match state.names.get(&name) {
            Some(Entry::Folder) => {}
            Some(Entry::File(_)) => return Err(ErrorKind::NotADirectory.into()),
            None if name.is_empty() => {}
            None => return Err(ErrorKind::NotFound.into()),
        }
        let own = state.names.keys().filter(|own| folder_of(own) == name);
        let own = own.map(|own| own.rsplit('/').next().unwrap_or_default().to_owned());
        Ok(own.collect())
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let name = name_of(folder);
        let mut state = self.state();
        state.call()?;
        state.require_folder(&name)?;
        if state.names.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.require_space(Space::Full)?;
        state.change(Change::Set(name, Entry::Folder));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let name = name_of(path);
        let mut state = self.state();
        state.call()?;
        state.file(&name)?;
        if name.starts_with("wal/") {
            state.count("segments removed");
        }
        state.change(Change::Gone(name));
        Ok(())
    }

    fn remove_tree(&self, folder: &Path) -> io::Result<()> {
        let name = name_of(folder);
        let inside = format!("{name}/");
        loop {
            let mut state = self.state();
            state.call()?;
            // The deepest first, as a folder has to be empty.
            let next = state.names.keys().rfind(|own| own.starts_with(&inside));
            match next.cloned() {
                Some(next) => state.change(Change::Gone(next)),
                None => {
                    state.change(Change::Gone(name));
                    return Ok(());
                }
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (name_of(from), name_of(to));
        let mut state = self.state();
        state.call()?;
        if state.trouble(Call::Rename).is_some() {
            return Err(broken());
        }
        let moved = Entry::File(state.file(&from)?);
        state.require_folder(&to)?;
        if state.names.get(&to) == Some(&Entry::Folder) {
            return Err(ErrorKind::IsADirectory.into());
        }
        if from.starts_with("wal/") {
            state.count("segments recycled");
        }
        if to.starts_with("dedup/") {
            state.count("runs of known entries");
        }
        state.change(Change::Move(from, to, moved));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let name = name_of(folder);
        let mut state = self.state();
        state.call()?;
        if !name.is_empty() && state.names.get(&name) != Some(&Entry::Folder) {
            return Err(ErrorKind::NotFound.into());
        }
        let failed = state.trouble(Call::SyncFolder);
        if state.lying {
            state.count("syncs that lied");
            return Ok(());
        }
        let mut kept = Vec::new();
        for (own, change) in std::mem::take(&mut state.changes) {
            // After an error some are durable, and the others are so only if the folder is synced again.
            let done = own == name && (failed.is_none() || state.random.one_in(2));
            if done {
                apply(&mut state.durable_names, &change);
            } else {
                kept.push((own, change));
            }
        }
        state.changes = kept;
        failed.map_or(Ok(()), |_| Err(broken()))
    }
}

#[derive(Debug)]
struct Lock {
    machine: Machine,
    lock: (u64, String),
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.machine.state().locks.remove(&self.lock);
    }
}

#[derive(Debug)]
struct OpenFile {
    machine: Machine,
    start: u64,
    file: u64,
}

impl OpenFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.machine.state();
        if state.start != self.start {
            return Err(off());
        }
        state.call()?;
        Ok(state)
    }
}

impl State {
    fn content(&mut self, file: u64) -> &mut File {
        self.files.entry(file).or_default()
    }
}

impl Handle for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.content(self.file).now.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        if state.trouble(Call::Read).is_some() {
            return Err(broken());
        }
        if state.short && state.random.one_in(16) {
            state.count("reads interrupted");
            return Err(ErrorKind::Interrupted.into());
        }
        let short = state.short && state.random.one_in(4);
        let most = if short && bytes.len() > 1 {
            let half = bytes.len() as u64 / 2;
            state.count("short reads");
            state.random.range(half, bytes.len() as u64) as usize
        } else {
            bytes.len()
        };
        let content = &state.content(self.file).now;
        let start = (offset as usize).min(content.len());
        let count = (content.len() - start).min(most.max(1)).min(bytes.len());
        bytes[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        let at = offset as usize;
        let grows = state.content(self.file).now.len() < at + bytes.len();
        let needed = if grows {
            Space::Full
        } else {
            Space::FullForAll
        };
        let failed = match state.trouble(Call::Write) {
            Some(_) => Err(broken()),
            None => state.require_space(needed),
        };
        if let Err(error) = failed {
            // Some of it may be written all the same.
            let some = state.random.below(bytes.len() as u64 + 1) as usize;
            if some == 0 || !state.random.one_in(3) {
                return Err(error);
            }
            state.content(self.file).write(at, &bytes[..some]);
            return if some == bytes.len() {
                Err(error)
            } else {
                Ok(some)
            };
        }
        state.content(self.file).write(at, bytes);
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let (residue, torn) = (state.trouble(Call::Sync), state.torn);
        if residue.is_none() && state.lying {
            state.count("syncs that lied");
            return Ok(());
        }
        let State { files, random, .. } = &mut *state;
        let file = files.entry(self.file).or_default();
        match residue {
            None => {
                file.make_durable();
                return Ok(());
            }
            Some(Residue::Clean) => file.dirty.clear(),
            Some(Residue::Dropped) => {
                file.dirty.clear();
                file.now = file.durable.clone();
            }
            Some(Residue::Partial) => file.write_back_some(random, torn),
        }
        Err(broken())
    }
}

/// The row of the head in a database that keeps its promise.
#[derive(Debug)]
pub(super) struct SimulatedHead(pub(super) Machine);

fn database_failed() -> Error {
    Error::Database("the simulated database failed".into())
}

impl HeadStore for SimulatedHead {
    fn load(&mut self) -> Result<Option<HeadRow>, Error> {
        let mut state = self.0.state();
        state.call().map_err(|_| database_failed())?;
        if state.trouble(Call::Database).is_some() {
            return Err(database_failed());
        }
        Ok(state.head.clone())
    }

    fn replace(&mut self, before: Option<&HeadRow>, next: &HeadRow) -> Result<(), Error> {
        let mut state = self.0.state();
        state.call().map_err(|_| database_failed())?;
        let failed = state.trouble(Call::Database);
        if failed == Some(Residue::Dropped) {
            return Err(database_failed());
        }
        let key = |row: &HeadRow| (row.epoch, row.size, row.root);
        if state.head.as_ref().map(key) != before.map(key) {
            return Err(Error::Fenced);
        }
        state.head = Some(next.clone());
        // The answer is lost, and not what it is about.
        if failed.is_some() || state.call().is_err() {
            return Err(database_failed());
        }
        Ok(())
    }

    fn close(self: Box<Self>) {}
}
