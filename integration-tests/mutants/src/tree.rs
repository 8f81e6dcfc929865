//! A copy of the workspace's sources, where one crate may be rewritten without touching the original.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Folders that hold nothing a build of our crates reads.
const LEFT_OUT: &[&str] = &[
    ".cache",
    ".clients",
    ".git",
    ".venv",
    "node_modules",
    "target",
];

/// Makes `copy` equal to the sources of `root`. A file that is equal already keeps its time, so that nothing is built again.
pub(crate) fn mirror(root: &Path, copy: &Path) -> Result<()> {
    let wanted = files(root)?;
    for stale in files_if_any(copy)?.difference(&wanted) {
        remove(&copy.join(stale))?;
    }
    for file in &wanted {
        // A file that vanished since it was listed was somebody's temporary one.
        if let Ok(bytes) = fs::read(root.join(file)) {
            write_if_changed(&copy.join(file), &bytes)?;
        }
    }
    Ok(())
}

/// Writes a file unless it holds these bytes already. Says whether it wrote.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())?;
    Ok(true)
}

/// The Rust sources below `folder`, as paths relative to `base`, in order.
pub(crate) fn rust_sources(base: &Path, folder: &str) -> Result<Vec<PathBuf>> {
    let below = files_if_any(&base.join(folder))?;
    let sources = below
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    Ok(sources.map(|path| Path::new(folder).join(path)).collect())
}

fn files_if_any(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    if folder.is_dir() {
        files(folder)
    } else {
        Ok(BTreeSet::new())
    }
}

fn files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            if kind.is_dir() && !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                found.insert(path.strip_prefix(root).unwrap_or(&path).to_path_buf());
            }
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| path.display().to_string())
}
