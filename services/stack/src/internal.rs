//! The certificates that services show each other: who is called what, their files, and how long they last.

use std::fs;
use std::path::{Path, PathBuf};

use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use sealwright_pki::{Certificate, parse_pem_chain};

use crate::config::Role;
use crate::error::Error;
use crate::files::{self, Readers};
use crate::keys::{DAY, InternalAuthority};
use crate::place::{Kind, Place, Share, kind_of};

/// Within a role's directory: its certificate and key, in one file so that both change in one step.
pub(crate) const IDENTITY_FILE: &str = "keys/internal.pem";
/// Within a role's directory: the authority of the others' certificates.
pub(crate) const AUTHORITY_FILE: &str = "keys/internal_ca.pem";

/// From then on an end that comes near is told.
const WARNING_DAYS: i64 = 30;

/// The name of a role in its certificate and in the URLs that others call it by. The top-level domain is reserved for
/// private use, so no name server outside answers for it.
pub(crate) fn name_of(role: Role) -> String {
    format!("{}.internal", role.name())
}

/// Makes the files of `role` in the folder `dir`.
pub(crate) fn equip(
    dir: &Path,
    role: Role,
    authority: &InternalAuthority,
    now: i64,
) -> Result<(), Error> {
    files::make_private_folder(&dir.join("keys"))?;
    let path = dir.join(AUTHORITY_FILE);
    files::write_if_different(
        &path,
        authority.certificate().to_pem().as_bytes(),
        Readers::All,
    )?;
    renew(dir, role, authority, now)
}

/// Replaces certificate and key of `role` in the folder `dir`; a process that runs there notices by itself.
pub(crate) fn renew(
    dir: &Path,
    role: Role,
    authority: &InternalAuthority,
    now: i64,
) -> Result<(), Error> {
    let path = dir.join(IDENTITY_FILE);
    let pem = authority.issue(&name_of(role), now, &path)?;
    files::write_atomically(&path, pem.as_bytes(), Readers::Owner)
}

/// Renews the certificate of every role whose directory is below `dir`, with the authority in `dir/offline`. Gives the
/// roles that were renewed.
///
/// # Errors
/// [`Error::Io`] where the authority's key is not there; [`Error::NoInstance`] where there is no role.
pub(crate) fn renew_all(dir: &Path, now: i64) -> Result<Vec<Role>, Error> {
    let authority = InternalAuthority::open(&dir.join("offline"))?;
    let mut renewed = Vec::new();
    for role in Role::ALL {
        let place = dir.join(role.name());
        if kind_of(&place)? == Some(Kind::Production) {
            renew(&place, role, &authority, now)?;
            renewed.push(role);
        }
    }
    if renewed.is_empty() {
        return Err(Error::NoInstance {
            dir: dir.to_owned(),
        });
    }
    Ok(renewed)
}

/// Writes a new certificate and key of `role` to `out`, to be carried to the host where the role runs.
///
/// # Errors
/// [`Error::Io`], [`Error::Key`].
pub(crate) fn renew_one(offline: &Path, role: Role, now: i64, out: &Path) -> Result<(), Error> {
    let pem = InternalAuthority::open(offline)?.issue(&name_of(role), now, out)?;
    files::write_atomically(out, pem.as_bytes(), Readers::Owner)
}

/// Takes the folder that a role, or the offline keys, get. It must be new, empty or ours.
pub(crate) fn claim(dir: &Path) -> Result<Place, Error> {
    Place::claim(dir, Kind::Production, Share::Whole)
}

/// The certificates in a file that may hold a key as well.
pub(crate) fn certificates_in(text: &str) -> Result<Vec<Certificate>, sealwright_pki::Error> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = text.split(BEGIN).skip(1);
    let kept: String = blocks
        .filter_map(|block| block.split_once(END))
        .map(|(body, _)| format!("{BEGIN}{body}{END}\n"))
        .collect();
    parse_pem_chain(&kept)
}

/// Says at `/readyz` that the certificate shown to others ends soon. It goes on being shown.
pub(crate) fn check(file: PathBuf, clock: SharedClock) -> Check {
    Check::advisory("internal.certificate", move || {
        let verdict = judge(&file, clock.unix());
        async move { verdict }
    })
}

fn judge(file: &Path, now: i64) -> Result<(), String> {
    let unreadable = "the certificate for other services cannot be read";
    let text = fs::read_to_string(file).map_err(|_| unreadable.to_owned())?;
    let chain = certificates_in(&text).map_err(|_| unreadable.to_owned())?;
    let end = chain.iter().map(Certificate::not_after).min();
    match end.ok_or_else(|| unreadable.to_owned())? {
        end if end <= now => Err("the certificate for other services has ended".to_owned()),
        end if end - now < WARNING_DAYS * DAY => Err(format!(
            "the certificate for other services ends in {} days",
            (end - now) / DAY
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyRing;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn an_identity_is_renewed_in_one_file_and_its_end_is_told_before() {
        let folder = tempfile::tempdir().unwrap();
        let offline = claim(&folder.path().join("offline")).unwrap();
        let log = claim(&folder.path().join("log")).unwrap();
        let ring = KeyRing::new(&log, Kind::Production, "Example", NOW)
            .with_offline(offline.dir().to_owned());
        let authority = ring.internal_authority().unwrap();
        equip(log.dir(), Role::Log, &authority, NOW).unwrap();
        let file = log.path(IDENTITY_FILE);
        let first = fs::read_to_string(&file).unwrap();
        assert!(first.contains("BEGIN PRIVATE KEY"));
        assert_eq!(judge(&file, NOW), Ok(()));
        let late = judge(&file, NOW + 340 * DAY).unwrap_err();
        assert!(late.ends_with("ends in 25 days"), "{late}");
        assert!(
            judge(&file, NOW + 366 * DAY)
                .unwrap_err()
                .ends_with("has ended")
        );

        assert_eq!(
            renew_all(folder.path(), NOW + 340 * DAY).unwrap(),
            [Role::Log]
        );
        assert_ne!(fs::read_to_string(&file).unwrap(), first);
        assert_eq!(judge(&file, NOW + 366 * DAY), Ok(()));
        let out = folder.path().join("carried.pem");
        renew_one(offline.dir(), Role::Ca, NOW, &out).unwrap();
        let text = fs::read_to_string(out).unwrap();
        let carried = certificates_in(&text).unwrap();
        carried[0]
            .verify_signature(authority.certificate().public_key().unwrap())
            .unwrap();
    }

    #[test]
    fn a_folder_without_roles_has_nothing_to_renew() {
        let folder = tempfile::tempdir().unwrap();
        let renewed = renew_all(folder.path(), NOW);
        assert!(matches!(renewed, Err(Error::Io { .. })), "no authority");
        let offline = claim(&folder.path().join("offline")).unwrap();
        KeyRing::new(&offline, Kind::Production, "Example", NOW)
            .with_offline(offline.dir().to_owned())
            .internal_authority()
            .unwrap();
        let renewed = renew_all(folder.path(), NOW);
        assert!(
            matches!(renewed, Err(Error::NoInstance { .. })),
            "{renewed:?}"
        );
    }
}
