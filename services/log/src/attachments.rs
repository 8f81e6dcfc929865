//! What a log keeps beside its entries: in a certificate log, the signature of each entry's SCT.
//!
//! An attachment is not in the tree and proves nothing about it; it exists so that a second submission is answered with
//! the very bytes of the first. It becomes durable with the frame of its entry. Before a segment of the write-ahead log is
//! used again, the attachments of its full bundles are in files here, one a bundle, synced with the bundle itself.
//!
//! ```text
//! attachments/x001/234, little endian:
//!   magic u32 | bundle u64 | count u16 | (len u16 | bytes)* | crc32c u32
//! ```

use bytes::Bytes;
use sealwright_tlog::ct::TileLeaf;
use sealwright_tlog::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, TileKind};
use sealwright_tlog::{Error as LeafError, NoteKey};

use crate::disk::Disk;
use crate::error::Error;
use crate::kind::Kind;
use crate::tree::{StoredLeaf, public_path};

/// Folder of the files, beside the public ones: clients have no use for them.
const FOLDER: &str = "attachments";
/// "SWA1" in a hex dump.
const MAGIC: u32 = u32::from_le_bytes(*b"SWA1");
const CRC_BYTES: usize = 4;

/// The file with the attachments of a bundle.
pub(crate) fn path(bundle: u64) -> String {
    let tile = TileId::full(TileKind::Data, bundle).to_string();
    format!("{FOLDER}/{}", tile.trim_start_matches("tile/data/"))
}

/// The content of a bundle's file. Entries without an attachment (of a log from before there were any, or taken from a
/// mirror, which has none) are in it too: a file that is not there was lost.
pub(crate) fn encode(bundle: u64, leaves: &[StoredLeaf]) -> Vec<u8> {
    let mut out = MAGIC.to_le_bytes().to_vec();
    out.extend(bundle.to_le_bytes());
    out.extend((leaves.len() as u16).to_le_bytes());
    for leaf in leaves {
        out.extend((leaf.attachment.len() as u16).to_le_bytes());
        out.extend(&leaf.attachment);
    }
    let checksum = crc32c::crc32c(&out);
    out.extend(checksum.to_le_bytes());
    out
}

/// Reads the content of a bundle's file. `None` for anything that [`encode`] did not make for this bundle.
fn decode(bundle: u64, bytes: &Bytes) -> Option<Vec<Bytes>> {
    let covered = bytes.len().checked_sub(CRC_BYTES)?;
    let (content, checksum) = bytes.split_at_checked(covered)?;
    if checksum != crc32c::crc32c(content).to_le_bytes() {
        return None;
    }
    let (magic, rest) = content.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    let count = u16::from_le_bytes(*count);
    if *magic != MAGIC.to_le_bytes() || *number != bundle.to_le_bytes() || count > TILE_WIDTH {
        return None;
    }
    let mut attachments = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let (attachment, after) = after.split_at_checked(u16::from_le_bytes(*len).into())?;
        attachments.push(bytes.slice_ref(attachment));
        rest = after;
    }
    rest.is_empty().then_some(attachments)
}

/// The attachments of a full bundle from its file; `Ok(None)` when there is no file, [`Error::Corrupt`] when it is not
/// what was written.
pub(crate) fn read(disk: &dyn Disk, bundle: u64) -> Result<Option<Vec<Bytes>>, Error> {
    let path = path(bundle);
    let bytes = disk
        .read(&path)
        .map_err(|error| Error::disk("reading", &path, error))?;
    let Some(bytes) = bytes.map(Bytes::from) else {
        return Ok(None);
    };
    match decode(bundle, &bytes) {
        Some(attachments) => Ok(Some(attachments)),
        None => Err(Error::corrupt(
            path,
            "its checksum or its form is not that of a bundle's attachments",
        )),
    }
}

/// What is wrong with the attachments of a full bundle of a certificate log; `None` when each is a signature of its
/// entry's SCT under the log's key. From the entry `from` on every bundle has a file; where it is `None`, nothing is known.
pub(crate) fn problem(
    disk: &dyn Disk,
    key: &NoteKey,
    bundle: u64,
    from: Option<u64>,
) -> Result<Option<String>, Error> {
    let attachments = match read(disk, bundle) {
        Ok(Some(attachments)) => attachments,
        Ok(None) => {
            let missing = from.is_some_and(|from| from < (bundle + 1) << TILE_HEIGHT);
            return Ok(missing.then(|| "it is missing".to_owned()));
        }
        Err(Error::Corrupt { problem, .. }) => return Ok(Some(problem)),
        Err(error) => return Err(error),
    };
    let path = public_path(TileId::full(Kind::Ct.bundle(), bundle));
    let tile = disk
        .read(&path)
        .map_err(|error| Error::disk("reading", path, error))?;
    let Some(tile) = tile else { return Ok(None) };
    // A data tile that cannot be read is named by whoever checks tiles.
    let Ok(leaves) = Kind::Ct.split_bundle(&tile) else {
        return Ok(None);
    };
    if attachments.len() != leaves.len() {
        return Ok(Some(format!("it has {} attachments", attachments.len())));
    }
    for (index, (leaf, attachment)) in
        (bundle << TILE_HEIGHT..).zip(leaves.iter().zip(&attachments))
    {
        if !attachment.is_empty() && !is_promise(key, leaf, attachment) {
            return Ok(Some(format!(
                "the signature of entry {index} is not its own"
            )));
        }
    }
    Ok(None)
}

/// Whether an attachment is the log's signature of a leaf's SCT.
fn is_promise(key: &NoteKey, stored: &[u8], attachment: &[u8]) -> bool {
    let message = || -> Result<Vec<u8>, LeafError> {
        let (leaf, _) = TileLeaf::parse(stored)?;
        leaf.entry.sct_message(leaf.time_ms, &leaf.extensions)
    };
    message().is_ok_and(|message| {
        let verified = key
            .public_key()
            .verify(key.algorithm(), &message, attachment);
        verified.is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(attachments: &[Vec<u8>]) -> Vec<StoredLeaf> {
        let leaf = |attachment: &Vec<u8>| StoredLeaf {
            stored: Bytes::from_static(b"leaf"),
            identity: [0; 32],
            attachment: attachment.clone().into(),
        };
        attachments.iter().map(leaf).collect()
    }

    #[test]
    fn files_are_named_like_tiles() {
        assert_eq!(path(0), "attachments/000");
        assert_eq!(path(1_234_067), "attachments/x001/x234/067");
    }

    proptest! {
        #[test]
        fn attachments_survive_and_any_flipped_bit_is_found(
            attachments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..256),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let bytes = encode(7, &leaves(&attachments));
            let read = decode(7, &bytes.clone().into()).unwrap();
            prop_assert_eq!(read, attachments);
            prop_assert_eq!(decode(8, &bytes.clone().into()), None, "another bundle's file");
            let mut wrong = bytes.clone();
            wrong[at.index(bytes.len())] ^= 1 << bit;
            prop_assert_eq!(decode(7, &wrong.into()), None);
        }

        #[test]
        fn reading_any_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut framed = [&MAGIC.to_le_bytes()[..], &7u64.to_le_bytes(), &bytes].concat();
            framed.extend(crc32c::crc32c(&framed).to_le_bytes());
            if let Some(attachments) = decode(7, &framed.clone().into()) {
                let read: usize = attachments.iter().map(|attachment| attachment.len() + 2).sum();
                prop_assert_eq!(read + 4 + 8 + 2 + 4, framed.len());
            }
        }
    }
}
