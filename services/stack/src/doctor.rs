//! `sealwrightd doctor`: looks at an instance from outside and says what is wrong with it, and what to do.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use sealwright_pki::Certificate;

use crate::config::Role;
use crate::internal::certificates_in;
use crate::keys::DAY;
use crate::logs_at_rest;
use crate::place::{Kind, is_held, kind_of};
use crate::probe;

/// Below this a log may soon refuse entries.
const MIN_FREE_BYTES: u64 = 1 << 30;
/// Certificates that end within this time are worth a word.
const SOON_DAYS: i64 = 30;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Grade {
    Ok,
    Warning,
    Fault,
}

struct Findings(Vec<(Grade, String)>);

impl Findings {
    fn add(&mut self, grade: Grade, what: impl Into<String>) {
        self.0.push((grade, what.into()));
    }
}

/// Examines `dir` at `now` (Unix seconds), tells the findings on `out`, and gives whether there is no fault.
///
/// # Errors
/// Only when `out` cannot be written.
pub async fn doctor(dir: &Path, now: i64, out: &mut impl Write) -> std::io::Result<bool> {
    let mut findings = Findings(Vec::new());
    let roles = roles_below(dir);
    if roles.is_empty() {
        examine_instance(dir, now, &mut findings).await;
    }
    for role in roles {
        examine_instance(&role, now, &mut findings).await;
    }
    for (grade, what) in &findings.0 {
        let word = match grade {
            Grade::Ok => "ok     ",
            Grade::Warning => "warning",
            Grade::Fault => "FAULT  ",
        };
        writeln!(out, "{word}  {what}")?;
    }
    Ok(findings.0.iter().all(|(grade, _)| *grade < Grade::Fault))
}

/// The directories of roles that run apart, where `dir` holds some and is no instance itself.
fn roles_below(dir: &Path) -> Vec<PathBuf> {
    if !matches!(kind_of(dir), Ok(None)) {
        return Vec::new();
    }
    let folders = Role::ALL.iter().map(|role| dir.join(role.name()));
    folders
        .chain([dir.join("offline")])
        .filter(|folder| matches!(kind_of(folder), Ok(Some(_))))
        .collect()
}

async fn examine_instance(dir: &Path, now: i64, findings: &mut Findings) {
    if let Some(kind) = examine_directory(dir, findings) {
        examine_keys(dir, kind, now, findings);
        examine_logs(dir, kind, findings);
        examine_space(dir, findings);
        examine_server(dir, findings).await;
    }
}

fn examine_directory(dir: &Path, findings: &mut Findings) -> Option<Kind> {
    match kind_of(dir) {
        Ok(Some(kind)) => {
            findings.add(
                Grade::Ok,
                format!("{} is a {kind} instance of format 1", dir.display()),
            );
            Some(kind)
        }
        Ok(None) => {
            findings.add(
                Grade::Fault,
                format!(
                    "{} holds no instance (there is no FORMAT file)",
                    dir.display()
                ),
            );
            None
        }
        Err(error) => {
            findings.add(Grade::Fault, error.to_string());
            None
        }
    }
}

fn examine_keys(dir: &Path, kind: Kind, now: i64, findings: &mut Findings) {
    for folder in [".", "keys", "offline", "idp", "trust"] {
        for entry in fs::read_dir(dir.join(folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            let mode = entry
                .metadata()
                .map_or(0, |metadata| metadata.permissions().mode());
            if text.contains("PRIVATE KEY") && mode & 0o077 != 0 {
                findings.add(
                    Grade::Fault,
                    format!("{} is readable by others: chmod 600 it", path.display()),
                );
            }
            if text.contains("BEGIN CERTIFICATE") {
                examine_chain(&path, &text, now, findings);
            }
        }
    }
    let offline = if dir.ends_with("offline") {
        dir.to_owned()
    } else {
        dir.join("offline")
    };
    if kind == Kind::Production && offline.exists() {
        let what = format!(
            "{} is still here: move it to a medium that is not on this machine",
            offline.display()
        );
        findings.add(Grade::Warning, what);
    }
}

fn examine_chain(path: &Path, text: &str, now: i64, findings: &mut Findings) {
    match certificates_in(text) {
        Ok(chain) => match chain.iter().map(Certificate::not_after).min() {
            Some(end) if end <= now => {
                findings.add(Grade::Fault, format!("{} has ended", path.display()))
            }
            Some(end) if end - now < SOON_DAYS * DAY => {
                findings.add(
                    Grade::Warning,
                    format!("{} ends in {} days", path.display(), (end - now) / DAY),
                );
            }
            Some(end) => findings.add(
                Grade::Ok,
                format!(
                    "{} is valid for {} more days",
                    path.display(),
                    (end - now) / DAY
                ),
            ),
            None => findings.add(
                Grade::Fault,
                format!("{} holds no certificate", path.display()),
            ),
        },
        Err(error) => findings.add(Grade::Fault, format!("{}: {error}", path.display())),
    }
}

/// Whether anybody outside could tell that a log's folder is not the newest, and whether it is where it was.
fn examine_logs(dir: &Path, kind: Kind, findings: &mut Findings) {
    let logs = match logs_at_rest::logs(dir) {
        Ok((_, logs)) => logs,
        Err(error) => return findings.add(Grade::Fault, format!("{error:#}")),
    };
    for log in logs {
        let name = &log.name;
        if log.dir.join(sealwright_log::RESTORE_FILE).exists() {
            let what = format!(
                "log {name} is being restored: run `sealwrightd restore` again, it goes on where it was"
            );
            findings.add(Grade::Fault, what);
        }
        if sealwright_log::is_in_place(&log.dir) == Some(false) {
            let what = format!(
                "the folder of log {name} was copied or put back from a backup: run `sealwrightd restore`, which finds out whether it lost \
                 entries"
            );
            findings.add(Grade::Warning, what);
        }
        if kind == Kind::Dev {
            continue;
        }
        match log.memories(dir) {
            Err(error) => findings.add(Grade::Fault, format!("{error:#}")),
            Ok(memories) if memories.is_empty() => {
                let what = format!(
                    "log {name} has no outside memory: put back from a backup, it could not tell that it lost entries; name mirrors or a \
                     witness_policy in its section"
                );
                findings.add(Grade::Warning, what);
            }
            Ok(memories) => {
                let what = format!("log {name} is remembered by {} outside", memories.len());
                findings.add(Grade::Ok, what);
            }
        }
    }
}

fn examine_space(dir: &Path, findings: &mut Findings) {
    match statvfs(dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let grade = if free < MIN_FREE_BYTES {
                Grade::Warning
            } else {
                Grade::Ok
            };
            findings.add(grade, format!("{} MiB are free on its disk", free >> 20));
        }
        Err(error) => findings.add(Grade::Warning, format!("free space is unknown: {error}")),
    }
}

async fn examine_server(dir: &Path, findings: &mut Findings) {
    if !is_held(dir) {
        return findings.add(Grade::Ok, "no server is running on it");
    }
    let Some(address) = address(dir) else {
        return findings.add(Grade::Warning, "a server is starting on it");
    };
    match probe::get(address, "/readyz").await {
        Ok((200, _)) => findings.add(Grade::Ok, format!("the server at {address} is ready")),
        Ok((status, report)) => findings.add(
            Grade::Fault,
            format!("the server at {address} is not ready ({status}): {report}"),
        ),
        Err(error) => findings.add(
            Grade::Fault,
            format!("the server at {address} does not answer: {error}"),
        ),
    }
}

/// Where the server listens, from the file every start writes.
fn address(dir: &Path) -> Option<SocketAddr> {
    fs::read_to_string(dir.join("LISTENING"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use sealwright_host::Clock as _;
    use sealwright_host::clock::SystemClock;

    use super::*;
    use crate::apart::{ApartPlan, init_apart};

    #[tokio::test(flavor = "multi_thread")]
    async fn certificates_between_roles_are_warned_of_before_they_end() {
        let folder = tempfile::tempdir().unwrap();
        let url = || "https://sign.example.com".to_owned();
        let plan = ApartPlan {
            ca_url: url(),
            log_url: url(),
            tsa_url: url(),
            trust_url: url(),
            listen: "0.0.0.0:7700".parse().unwrap(),
            organization: "Example".to_owned(),
            oidc_issuer: "https://accounts.example.com".to_owned(),
            oidc_client_id: "sigstore".to_owned(),
        };
        init_apart(folder.path(), &plan, &SystemClock::shared())
            .await
            .unwrap();
        let now = SystemClock.unix();
        let tell = async |at: i64| {
            let mut out = Vec::new();
            let sound = doctor(folder.path(), at, &mut out).await.unwrap();
            (sound, String::from_utf8(out).unwrap())
        };
        let about = |told: &str, word: &str| {
            let lines = told.lines().filter(|line| line.contains("internal.pem"));
            lines.filter(|line| line.starts_with(word)).count()
        };
        let (sound, told) = tell(now).await;
        assert!(sound && about(&told, "ok") == Role::ALL.len(), "{told}");
        let (sound, told) = tell(now + 340 * DAY).await;
        assert!(
            sound && about(&told, "warning") == Role::ALL.len(),
            "{told}"
        );
        let (sound, told) = tell(now + 366 * DAY).await;
        assert!(!sound && about(&told, "FAULT") == Role::ALL.len(), "{told}");
    }
}
