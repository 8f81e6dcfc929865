//! Noticing that a log's folder was copied or put back from a backup.
//!
//! A folder cannot know what it lost, but it can know that it was moved: a copied LOCK file is another file. That is a hint
//! and no proof, since not every file system keeps the numbers by which files are told apart.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sealwright_host::file::{Readers, read_optional, write_whole};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::open::LOCK_FILE;

/// Which file system and which file the LOCK was when the log was last known to be in its place.
const PLACE_FILE: &str = "place.json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    device: u64,
    inode: u64,
}

/// Whether the log's folder is the one it was; the first time, it is remembered. The folder must be locked.
pub(crate) fn is_same(dir: &Path) -> Result<bool, Error> {
    let path = dir.join(PLACE_FILE);
    let text = read_optional(&path).map_err(|error| Error::disk("reading", PLACE_FILE, error))?;
    // One that cannot be read is no more than a hint that is missing.
    let known = text.and_then(|text| serde_json::from_slice::<Place>(&text).ok());
    match known {
        Some(known) => Ok(known == current(dir)?),
        None => remember(dir).map(|()| true),
    }
}

/// Whether the log in `dir` is where it was when it was last opened or restored; `None` when that is not known. Changes
/// nothing.
pub fn is_in_place(dir: &Path) -> Option<bool> {
    let text = read_optional(&dir.join(PLACE_FILE)).ok()??;
    let known: Place = serde_json::from_slice(&text).ok()?;
    Some(current(dir).is_ok_and(|current| current == known))
}

/// The log is where it should be from now on.
pub(crate) fn remember(dir: &Path) -> Result<(), Error> {
    let text = serde_json::to_vec(&current(dir)?)
        .map_err(|error| Error::corrupt(PLACE_FILE, error.to_string()))?;
    write_whole(&dir.join(PLACE_FILE), &text, Readers::All)
        .map_err(|error| Error::disk("writing", PLACE_FILE, error))
}

fn current(dir: &Path) -> Result<Place, Error> {
    let lock = fs::metadata(dir.join(LOCK_FILE));
    let lock = lock.map_err(|error| Error::disk("looking at", LOCK_FILE, error))?;
    Ok(Place {
        device: lock.dev(),
        inode: lock.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_noticed_until_it_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let (own, copy) = (folder.path().join("own"), folder.path().join("copy"));
        for dir in [&own, &copy] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join(LOCK_FILE), b"").unwrap();
        }
        assert!(is_same(&own).unwrap(), "the first time");
        assert!(is_same(&own).unwrap());
        fs::copy(own.join(PLACE_FILE), copy.join(PLACE_FILE)).unwrap();
        assert!(!is_same(&copy).unwrap());
        assert!(!is_same(&copy).unwrap(), "also the next time");
        remember(&copy).unwrap();
        assert!(is_same(&copy).unwrap());
        fs::write(own.join(PLACE_FILE), b"{").unwrap();
        assert!(is_same(&own).unwrap(), "a hint is missing, no more");
    }
}
