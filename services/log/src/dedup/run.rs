//! A run: the keys of a range of entries in one file, sorted, which never changes.
//!
//! ```text
//! data     blocks of 4 KiB: 341 times (key u64 | index - first u32), zeros after the last, CRC-32C
//! filter   see `filter.rs`
//! fences   the first key of each block, u64
//! footer   magic | family | first | end | check | CRC of filter | CRC of fences | CRC of this
//! ```
//!
//! All numbers are little endian. How long each part is follows from the range, which is in the file's name. Filter and
//! fences are kept in memory, 1.5 bytes an entry; a look-up reads one block. The checksums begin with the run's name, so
//! that neither a block of zeros nor one of another run passes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::dedup::filter::{BLOCK_BYTES, Filter};
use crate::dedup::key::Family;
use crate::disk::Disk;
use crate::error::Error;

/// Folder of the runs.
pub(crate) const FOLDER: &str = "dedup";
/// A run that is being made, until it has its name.
pub(crate) const UNFINISHED: &str = ".new";
const SUFFIX: &str = ".run";
const MAGIC: u64 = u64::from_le_bytes(*b"SWKNOWN\x01");
/// Bytes of a data block.
pub(crate) const DATA_BLOCK: usize = 4096;
const CRC_BYTES: usize = 4;
/// Key and index.
const PAIR_BYTES: usize = 12;
/// Pairs in a data block: (4,096 - 4) / 12, without a rest.
const PAIRS: usize = (DATA_BLOCK - CRC_BYTES) / PAIR_BYTES;
/// Five numbers of eight bytes and three checksums.
const FOOTER_BYTES: usize = 5 * 8 + 3 * CRC_BYTES;

/// A key and the index of an entry that has it.
pub(crate) type Pair = (u64, u64);

/// Which keys of which entries a run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunId {
    pub(crate) family: Family,
    pub(crate) first: u64,
    /// The index after the last entry.
    pub(crate) end: u64,
}

impl RunId {
    /// Entries, and pairs of the file.
    pub(crate) fn len(self) -> u64 {
        self.end - self.first
    }

    pub(crate) fn path(self) -> String {
        let Self { family, first, end } = self;
        format!("{FOLDER}/{}-{first:020}-{end:020}{SUFFIX}", family.word())
    }

    /// The run of a file in the folder; `None` when the name is no run's.
    pub(crate) fn parse(name: &str, families: &[Family]) -> Option<Self> {
        let mut words = name.strip_suffix(SUFFIX)?.split('-');
        let (word, first, end) = (words.next()?, words.next()?, words.next()?);
        let id = Self {
            family: *families.iter().find(|family| family.word() == word)?,
            first: first.parse().ok()?,
            end: end.parse().ok()?,
        };
        let fits = id.first < id.end && id.end - id.first <= u64::from(u32::MAX);
        (fits && words.next().is_none() && id.path() == format!("{FOLDER}/{name}")).then_some(id)
    }

    fn blocks(self) -> u64 {
        self.len().div_ceil(PAIRS as u64)
    }

    /// Where the filter begins.
    fn data_bytes(self) -> u64 {
        self.blocks() * DATA_BLOCK as u64
    }

    fn filter_bytes(self) -> usize {
        Filter::blocks_for(self.len()) as usize * BLOCK_BYTES
    }

    /// Filter, fences and footer.
    fn tail_bytes(self) -> usize {
        self.filter_bytes() + self.blocks() as usize * 8 + FOOTER_BYTES
    }

    fn seed(self) -> u32 {
        crc32c::crc32c(self.path().as_bytes())
    }

    /// The checksum of a data block, at whose end it stands.
    fn block_checksum(self, block: u64, content: &[u8]) -> u32 {
        crc32c::crc32c_append(
            crc32c::crc32c_append(self.seed(), &block.to_le_bytes()),
            content,
        )
    }

    /// The pairs of a data block, in order; `None` when it is damaged.
    pub(crate) fn pairs(self, block: u64, bytes: &[u8]) -> Option<Vec<Pair>> {
        let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        if bytes.len() != DATA_BLOCK
            || u32::from_le_bytes(*crc) != self.block_checksum(block, content)
        {
            return None;
        }
        let before = block.checked_mul(PAIRS as u64)?;
        let count = self.len().checked_sub(before)?.min(PAIRS as u64) as usize;
        let pairs = content.as_chunks::<PAIR_BYTES>().0.iter().take(count);
        Some(pairs.map(|pair| self.pair(pair)).collect())
    }

    fn pair(self, bytes: &[u8; PAIR_BYTES]) -> Pair {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        let key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        (
            key,
            self.first + u64::from(u32::from_le_bytes([i, j, k, l])),
        )
    }

    fn footer(self, check: u64, filter_crc: u32, fences_crc: u32) -> Vec<u8> {
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        for word in [
            MAGIC,
            self.family.position() as u64,
            self.first,
            self.end,
            check,
        ] {
            footer.extend(word.to_le_bytes());
        }
        footer.extend(filter_crc.to_le_bytes());
        footer.extend(fences_crc.to_le_bytes());
        footer.extend(crc32c::crc32c_append(self.seed(), &footer).to_le_bytes());
        footer
    }
}

/// A finished run: what is in memory of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    filter: Filter,
    fences: Vec<u64>,
    /// A block turned out not to be what was written; the run has to be made again.
    damaged: AtomicBool,
}

impl Run {
    /// Reads filter and fences of a run; `None` when its file is missing, damaged, or made with another secret.
    pub(crate) fn open(disk: &dyn Disk, id: RunId, check: u64) -> Result<Option<Self>, Error> {
        let path = id.path();
        let tail = disk.read_at(&path, id.data_bytes(), id.tail_bytes());
        let tail = tail.map_err(|error| Error::disk("reading", &path, error))?;
        Ok(tail.and_then(|tail| Self::parse(id, check, &tail)))
    }

    fn parse(id: RunId, check: u64, tail: &[u8]) -> Option<Self> {
        let (filter, rest) = tail.split_at_checked(id.filter_bytes())?;
        let (fences, footer) = rest.split_at_checked(id.blocks() as usize * 8)?;
        if id.footer(check, crc32c::crc32c(filter), crc32c::crc32c(fences)) != footer {
            return None;
        }
        let fences = fences.as_chunks::<8>().0.iter();
        Some(Self {
            id,
            filter: Filter::from_bytes(filter)?,
            fences: fences.map(|fence| u64::from_le_bytes(*fence)).collect(),
            damaged: AtomicBool::new(false),
        })
    }

    /// False says that no entry of the run has the key.
    pub(crate) fn may_hold(&self, key: u64) -> bool {
        self.filter.may_hold(key)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.fences.len() as u64
    }

    /// Bytes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.filter.weight() + self.fences.len() * 8
    }

    /// The indexes of the entries that have the key, ascending. Reads a block, and more only where one key fills them.
    pub(crate) fn read(&self, disk: &dyn Disk, key: u64) -> Result<Vec<u64>, Error> {
        let mut indexes = Vec::new();
        // A block that begins with the key may not be the first that holds it.
        let first = self.fences.partition_point(|fence| *fence < key);
        for block in first.saturating_sub(1) as u64..self.blocks() {
            if self
                .fences
                .get(block as usize)
                .is_some_and(|fence| *fence > key)
            {
                break;
            }
            let pairs = self.block_pairs(disk, block, 1)?;
            let found = pairs.iter().filter(|(own, _)| *own == key);
            indexes.extend(found.map(|(_, index)| *index));
        }
        Ok(indexes)
    }

    /// The pairs of `count` blocks from `block`, fewer at the run's end. A damaged one is remembered, and an error.
    pub(crate) fn block_pairs(
        &self,
        disk: &dyn Disk,
        block: u64,
        count: u64,
    ) -> Result<Vec<Pair>, Error> {
        let path = self.id.path();
        let count = count.min(self.blocks().saturating_sub(block));
        let bytes = disk.read_at(
            &path,
            block * DATA_BLOCK as u64,
            count as usize * DATA_BLOCK,
        );
        let bytes = bytes
            .map_err(|error| Error::disk("reading", &path, error))?
            .unwrap_or_default();
        let mut pairs = Vec::with_capacity(count as usize * PAIRS);
        for number in 0..count {
            let start = number as usize * DATA_BLOCK;
            let bytes = bytes.get(start..start + DATA_BLOCK).unwrap_or_default();
            let Some(own) = self.id.pairs(block + number, bytes) else {
                self.damaged.store(true, Ordering::Relaxed);
                return Err(Error::corrupt(
                    path,
                    format!("block {} is not what was written", block + number),
                ));
            };
            pairs.extend(own);
        }
        Ok(pairs)
    }
}

/// Makes a run of sorted pairs, in pieces: what [`Builder::take`] and [`Builder::finish`] give, one after the other, is
/// the file.
#[derive(Debug)]
pub(crate) struct Builder {
    id: RunId,
    check: u64,
    filter: Filter,
    fences: Vec<u64>,
    pairs: u64,
    /// The block that is not full yet.
    block: Vec<u8>,
    /// Full blocks that were not taken yet.
    ready: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(id: RunId, check: u64) -> Self {
        Self {
            id,
            check,
            filter: Filter::for_keys(id.len()),
            fences: Vec::with_capacity(id.blocks() as usize),
            pairs: 0,
            block: Vec::with_capacity(DATA_BLOCK),
            ready: Vec::new(),
        }
    }

    /// The next pair; pairs come in their order, and as many as the range has entries.
    pub(crate) fn push(&mut self, (key, index): Pair) {
        if self.block.is_empty() {
            self.fences.push(key);
        }
        self.filter.insert(key);
        self.block.extend(key.to_le_bytes());
        self.block
            .extend(((index - self.id.first) as u32).to_le_bytes());
        self.pairs += 1;
        if self.block.len() == PAIRS * PAIR_BYTES {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        self.block.resize(PAIRS * PAIR_BYTES, 0);
        let number = self.fences.len() as u64 - 1;
        self.ready.extend_from_slice(&self.block);
        let crc = self.id.block_checksum(number, &self.block);
        self.ready.extend(crc.to_le_bytes());
        self.block.clear();
    }

    /// Bytes that can be taken.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready)
    }

    /// The rest of the file, and the run it makes. `None` when there were more or fewer pairs than entries.
    pub(crate) fn finish(mut self) -> Option<(Vec<u8>, Run)> {
        if self.pairs != self.id.len() {
            return None;
        }
        if !self.block.is_empty() {
            self.close_block();
        }
        let mut bytes = self.ready;
        bytes.reserve_exact(self.id.tail_bytes());
        let filter_at = bytes.len();
        self.filter.to_bytes().for_each(|word| bytes.extend(word));
        let filter_crc = crc32c::crc32c(&bytes[filter_at..]);
        let fences_at = bytes.len();
        self.fences
            .iter()
            .for_each(|fence| bytes.extend(fence.to_le_bytes()));
        let fences_crc = crc32c::crc32c(&bytes[fences_at..]);
        bytes.extend(self.id.footer(self.check, filter_crc, fences_crc));
        let run = Run {
            id: self.id,
            filter: self.filter,
            fences: self.fences,
            damaged: AtomicBool::new(false),
        };
        Some((bytes, run))
    }
}

/// The file of a run of pairs in any order, and the run.
pub(crate) fn build(id: RunId, check: u64, mut pairs: Vec<Pair>) -> Option<(Vec<u8>, Run)> {
    pairs.sort_unstable();
    let mut builder = Builder::new(id, check);
    pairs.into_iter().for_each(|pair| builder.push(pair));
    builder.finish()
}
