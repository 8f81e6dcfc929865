//! Inputs on disk. `corpus/<target>/` holds the seeds, each named for what it is; `regressions/<target>/` holds what once
//! broke a parser, each named for what was wrong, and is run first.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// One input and the name of its file.
#[derive(Debug, Clone)]
pub struct Input {
    /// File name.
    pub name: String,
    /// The input itself.
    pub bytes: Vec<u8>,
}

/// The folder of this package.
#[must_use]
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the seeds of a target.
#[must_use]
pub fn seeds_of(target: &str) -> PathBuf {
    package().join("corpus").join(target)
}

/// The folder of the inputs that once broke a target.
#[must_use]
pub fn regressions_of(target: &str) -> PathBuf {
    package().join("regressions").join(target)
}

/// Every file of a folder, in the order of their names; none when there is no such folder.
///
/// # Errors
/// What the file system says.
pub fn read(folder: &Path) -> io::Result<Vec<Input>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut inputs = Vec::new();
    for entry in entries {
        let entry = entry?;
        inputs.push(Input {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: fs::read(entry.path())?,
        });
    }
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(inputs)
}

/// One seed that a target compares with.
///
/// # Panics
/// When the file is not there: the corpus is part of the source.
#[must_use]
pub fn seed(target: &str, name: &str) -> Vec<u8> {
    let path = seeds_of(target).join(name);
    fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `sealwright-fuzz corpus` makes it",
            path.display()
        )
    })
}
