//! A filter that says of most unknown keys, without reading a file, that they are unknown.
//!
//! It is a Bloom filter in blocks of one cache line: a key has one bit in each of the eight words of its block, so that
//! asking costs one access to memory. With [`BITS_PER_KEY`] bits about one unknown key in 200 passes for a known one. A
//! filter with smaller files (a fuse filter) was not taken: making one needs all keys in memory, and merging runs of
//! millions of entries must not.

/// A block is one cache line.
const WORDS: usize = 8;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = WORDS * 8;
/// 1.5 bytes an entry.
const BITS_PER_KEY: u64 = 12;
/// Bits of a block.
const BLOCK_BITS: u64 = 8 * BLOCK_BYTES as u64;
/// Spreads the low bits of a key, which do not choose its block, over the bits that choose its place in a word.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The keys of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    blocks: Vec<[u64; WORDS]>,
}

impl Filter {
    /// Blocks of a filter for `keys` keys.
    pub(crate) fn blocks_for(keys: u64) -> u64 {
        (keys * BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1)
    }

    /// An empty filter for `keys` keys.
    pub(crate) fn for_keys(keys: u64) -> Self {
        let blocks = usize::try_from(Self::blocks_for(keys)).unwrap_or(usize::MAX);
        Self {
            blocks: vec![[0; WORDS]; blocks],
        }
    }

    pub(crate) fn insert(&mut self, key: u64) {
        let block = block_of(key, self.blocks.len());
        let block = &mut self.blocks[block];
        for (word, bit) in block.iter_mut().zip(bits(key)) {
            *word |= bit;
        }
    }

    /// False only for a key that was not inserted.
    pub(crate) fn may_hold(&self, key: u64) -> bool {
        let block = &self.blocks[block_of(key, self.blocks.len())];
        block
            .iter()
            .zip(bits(key))
            .all(|(word, bit)| word & bit != 0)
    }

    /// As it is kept in a file.
    pub(crate) fn to_bytes(&self) -> impl Iterator<Item = [u8; 8]> {
        self.blocks.iter().flatten().map(|word| word.to_le_bytes())
    }

    /// The filter in a file's bytes; `None` unless they are one or more whole blocks.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        if blocks.is_empty() || !rest.is_empty() {
            return None;
        }
        let words = |block: &[u8; BLOCK_BYTES]| {
            let mut words = [0; WORDS];
            for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            words
        };
        Some(Self {
            blocks: blocks.iter().map(words).collect(),
        })
    }

    /// Bytes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }
}

/// Evenly, and in the order of keys: sorted keys fill a filter from its beginning to its end.
fn block_of(key: u64, blocks: usize) -> usize {
    ((u128::from(key) * blocks as u128) >> 64) as usize
}

/// The key's bit in each word of its block.
fn bits(key: u64) -> impl Iterator<Item = u64> {
    let spread = key.wrapping_mul(SPREAD);
    (0..WORDS as u32).map(move |word| 1 << (spread >> (16 + 6 * word) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::key::Keyed;

    #[test]
    fn inserted_keys_are_held_and_few_others_seem_to_be() {
        let keyed = Keyed::new(b"filter");
        let key = |number: u64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            keyed.key(&hash)
        };
        for count in [1, 100, 16_384, 65_536] {
            let mut filter = Filter::for_keys(count);
            (0..count).for_each(|number| filter.insert(key(number)));
            assert!((0..count).all(|number| filter.may_hold(key(number))));
            let unknown = 100_000;
            let taken = (count..count + unknown)
                .filter(|number| filter.may_hold(key(*number)))
                .count();
            // One in 200 is expected; twice as many would be a filter that does not spread its keys.
            assert!(
                taken < unknown as usize / 100,
                "{taken} of {unknown} at {count}"
            );
            let bytes: Vec<u8> = filter.to_bytes().flatten().collect();
            assert_eq!(Filter::from_bytes(&bytes), Some(filter));
            assert_eq!(Filter::from_bytes(&bytes[1..]), None);
        }
        assert_eq!(Filter::from_bytes(&[]), None);
    }
}
