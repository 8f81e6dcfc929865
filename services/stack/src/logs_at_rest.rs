//! The logs of an instance that is not running, as its folders and its configuration name them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use sealwright_crypto::Signer;
use sealwright_log::{LogConfig, Memory, Mirror};

use crate::config::{self, CONFIG_FILE, Role};
use crate::error::Error;
use crate::place::{Kind, kind_of};

/// Where logs keep their state, within an instance's directory.
pub(crate) const LOG_STATE: &str = "log";

/// One log.
pub(crate) struct LogAtRest {
    /// Its name, and that of its folder.
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// Nothing for a development instance, whose logs have no section.
    pub(crate) section: Option<(LogConfig, Option<Arc<dyn Signer>>)>,
}

impl LogAtRest {
    /// Whether the folder holds a log that is written here; another is imported, or not made yet.
    pub(crate) fn is_own(&self) -> bool {
        self.dir.join("log.json").exists()
    }

    /// Everybody who is configured to remember it. Relative names are looked up in `dir`, the instance's directory.
    pub(crate) fn memories(&self, dir: &Path) -> anyhow::Result<Vec<Memory>> {
        match &self.section {
            Some((config, _)) => Ok(config.memories(dir)?),
            None => Ok(Vec::new()),
        }
    }

    /// Its configured mirrors.
    pub(crate) fn mirrors(&self, dir: &Path) -> anyhow::Result<Vec<Mirror>> {
        match &self.section {
            Some((config, _)) => Ok(config.open_mirrors(dir)?),
            None => Ok(Vec::new()),
        }
    }
}

/// The kind of the instance in `dir`, and its logs in the order of their names.
pub(crate) fn logs(dir: &Path) -> anyhow::Result<(Kind, Vec<LogAtRest>)> {
    let kind = kind_of(dir)?.ok_or_else(|| Error::NoInstance {
        dir: dir.to_owned(),
    })?;
    let logs = match kind {
        Kind::Dev => Vec::new(),
        Kind::Production => configured(dir)?,
    };
    Ok((kind, with_folders(logs, dir)?))
}

/// As [`logs`], for those who need no configuration: where it cannot be used (a backup without keys), the folders alone say
/// which logs there are, and why is given.
pub(crate) fn logs_as_found(
    dir: &Path,
) -> anyhow::Result<(Kind, Vec<LogAtRest>, Option<anyhow::Error>)> {
    match logs(dir) {
        Ok((kind, logs)) => Ok((kind, logs, None)),
        Err(error) => {
            let Some(kind) = kind_of(dir)? else {
                return Err(error);
            };
            Ok((kind, with_folders(Vec::new(), dir)?, Some(error)))
        }
    }
}

fn with_folders(mut logs: Vec<LogAtRest>, dir: &Path) -> anyhow::Result<Vec<LogAtRest>> {
    // What lies there without a section, too: a log that is no more configured is still worth keeping.
    for folder in folders(&dir.join(LOG_STATE))? {
        let known = logs.iter().any(|log| log.dir == folder);
        let name = folder.file_name().unwrap_or_default();
        let holds_one = ["log.json", "imported.json"];
        let holds_one = holds_one.iter().any(|file| folder.join(file).exists());
        if !known && holds_one {
            logs.push(LogAtRest {
                name: name.to_string_lossy().into_owned(),
                dir: folder,
                section: None,
            });
        }
    }
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(logs)
}

fn configured(dir: &Path) -> anyhow::Result<Vec<LogAtRest>> {
    let file = dir.join(CONFIG_FILE);
    // The offline keys of a deployment have a directory, and no configuration.
    if !file.exists() && !dir.join(LOG_STATE).exists() {
        return Ok(Vec::new());
    }
    // A directory of one role has a configuration that is not one of everything.
    let validated = match config::load(&file, None) {
        Ok(validated) => validated,
        Err(error) => match config::load(&file, Some(Role::Log)) {
            Ok(validated) => validated,
            Err(_) if holds_another_role(&file) => return Ok(Vec::new()),
            Err(_) => return Err(error.into()),
        },
    };
    let Some(part) = validated.parts.log else {
        return Ok(Vec::new());
    };
    let state = std::path::absolute(dir.join(LOG_STATE))?;
    let signer = |name: &str| {
        let found = part.signers.iter().find(|(of, _)| of == name);
        found.map(|(_, signer)| signer.clone())
    };
    let logs = part.config.logs.into_iter().map(|config| {
        let folder = config.dir.as_deref().unwrap_or(Path::new(&config.name));
        LogAtRest {
            name: config.name.clone(),
            dir: state.join(folder),
            section: Some((config.clone(), signer(&config.name))),
        }
    });
    Ok(logs.collect())
}

/// Whether the configuration is that of a role without logs.
fn holds_another_role(file: &Path) -> bool {
    let mut others = [Role::Ca, Role::Tsa, Role::Trust, Role::Witness].into_iter();
    others.any(|role| config::load(file, Some(role)).is_ok())
}

fn folders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = std::path::absolute(entry?.path())?;
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// The logs that a command is about: all, or the one that is named.
pub(crate) fn chosen(logs: Vec<LogAtRest>, name: Option<&str>) -> anyhow::Result<Vec<LogAtRest>> {
    let Some(name) = name else { return Ok(logs) };
    let known: Vec<String> = logs.iter().map(|log| log.name.clone()).collect();
    let chosen: Vec<_> = logs.into_iter().filter(|log| log.name == name).collect();
    ensure!(
        !chosen.is_empty(),
        "no log here is called {name:?}; there are: {}",
        known.join(", ")
    );
    Ok(chosen)
}
