//! Cases as files, one directory each, in the layout that published conformance suites have.
//!
//! | file | content |
//! |---|---|
//! | `bundle.sigstore.json` | the bundle |
//! | `artifact` | the signed file |
//! | `trusted_root.json` | the trusted root |
//! | `identity`, `issuer` | the expected signer, in keyless cases |
//! | `key.pub` | the expected signer's key, in the others |
//! | `README` | what a verifier should say, and which right case it differs from |
//!
//! The name of a case that must be refused ends in `_fail`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Asked, Case, Expected};

/// The directory of a case.
#[must_use]
pub fn directory_name(case: &Case) -> String {
    match case.expected {
        Expected::Verified => case.name.into(),
        Expected::Refused { .. } => format!("{}_fail", case.name),
    }
}

/// Writes a case below `parent`, and returns its directory.
///
/// # Errors
/// As the file system reports them. A case that asks for more than files can say is [`io::ErrorKind::InvalidInput`]:
/// see [`Case::is_portable`].
pub fn write(case: &Case, parent: &Path) -> io::Result<PathBuf> {
    if !case.is_portable() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} needs a policy", case.name),
        ));
    }
    let directory = parent.join(directory_name(case));
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("bundle.sigstore.json"), &case.bundle)?;
    fs::write(directory.join("artifact"), &case.artifact)?;
    fs::write(directory.join("trusted_root.json"), &case.trusted_root)?;
    fs::write(directory.join("README"), readme(case))?;
    match &case.asked {
        Asked::Identity { subject, issuer } => {
            fs::write(directory.join("identity"), subject)?;
            fs::write(directory.join("issuer"), issuer)?;
        }
        Asked::Key(pem) => fs::write(directory.join("key.pub"), pem)?,
        Asked::Pattern { .. } => unreachable!("a portable case has no pattern"),
    }
    Ok(directory)
}

fn readme(case: &Case) -> String {
    let answer = match case.expected {
        Expected::Verified => "To be verified.".into(),
        Expected::Refused { code, step } => format!("To be refused in step {step}: {code}."),
    };
    let twin = case.twin.map_or_else(String::new, |twin| {
        format!(" Made from {twin}, which is right.")
    });
    format!("{:?}: {}\n\n{answer}{twin}\n", case.category, case.name)
}
