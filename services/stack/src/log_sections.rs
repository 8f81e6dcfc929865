//! `log.d/NAME.toml` beside the configuration: sections of logs that were added while the instance ran.
//!
//! What people wrote stays as they wrote it: rotating a log never touches `sealwright.toml`. A file in `log.d` holds
//! `[[log]]` like the configuration itself, so a section may be moved there by hand. When one changes, only the lines of
//! its keys do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwright_crypto::Signer;
use sealwright_host::config::{ConfigError, parse};
use sealwright_log::LogConfig;
use serde::Deserialize;

use crate::error::Error;
use crate::files::{self, Readers};

/// The folder, within an instance's directory.
pub(crate) const FOLDER: &str = "log.d";

/// A file of the folder.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    log: sealwright_log::Config,
}

/// The file of the log called `name`.
pub(crate) fn file_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(FOLDER).join(format!("{name}.toml"))
}

/// Every section in the folder, in the order of the files' names.
pub(crate) fn read_all(dir: &Path) -> Result<Vec<LogConfig>, Error> {
    let folder = dir.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(&folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    paths.sort();
    let mut logs = Vec::new();
    for path in paths {
        logs.extend(read(&path)?);
    }
    Ok(logs)
}

fn read(path: &Path) -> Result<Vec<LogConfig>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let file: File = parse(&text, &path.display().to_string())?;
    Ok(file.log.logs)
}

/// The section of one log that was added.
pub(crate) fn read_one(dir: &Path, name: &str) -> Result<LogConfig, Error> {
    let path = file_of(dir, name);
    if !path.exists() {
        let what = format!(
            "{} is not there: change a section that the configuration itself holds by hand, and start again",
            path.display()
        );
        return Err(ConfigError::unusable("log", what).into());
    }
    let found = read(&path)?.into_iter().find(|log| log.name == name);
    found.ok_or_else(|| {
        let what = format!("{} holds no section of this log", path.display());
        ConfigError::unusable("log", what).into()
    })
}

/// Finds the files that a section names, relative to `folder`, and its key. An imported log has none.
pub(crate) fn locate(log: &mut LogConfig, folder: &Path) -> Result<Option<Arc<dyn Signer>>, Error> {
    let signer = match log.imported {
        true => None,
        false => Some(log.load_signer(folder).map_err(Error::service("log"))?),
    };
    // The service looks relative paths up in its own folder; those of the file are relative to the file.
    log.roots
        .iter_mut()
        .for_each(|path| *path = folder.join(&path));
    if let Some(path) = &mut log.witness_policy {
        *path = folder.join(&path);
    }
    log.load_witness_policy(folder)
        .map_err(Error::service("log"))?;
    log.load_roots(folder).map_err(Error::service("log"))?;
    if let Some(dir) = &mut log.dir {
        *dir = folder.join(&dir);
    }
    for mirror in &mut log.mirrors {
        if !mirror.contains("://") {
            *mirror = folder.join(&*mirror).display().to_string();
        }
    }
    log.open_mirrors(folder).map_err(Error::service("log"))?;
    Ok(signer)
}

/// Whether `text` is the section of a log that can be.
pub(crate) fn check(text: &str, name: &str) -> Result<(), Error> {
    let file: File = parse(text, name)?;
    let mut logs = file.log.logs.iter();
    logs.try_for_each(LogConfig::check)
        .map_err(Error::service("log"))
}

/// Writes the section of a new log. An existing file is never replaced by another.
pub(crate) fn create(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = file_of(dir, name);
    match files::read_if_there(&path)? {
        Some(found) if found == text => Ok(()),
        Some(_) => Err(ConfigError::unusable(
            "log",
            format!("{} is there and says something else", path.display()),
        )
        .into()),
        None => {
            files::make_folder(&dir.join(FOLDER))?;
            files::write_atomically(&path, text.as_bytes(), Readers::All)
        }
    }
}

/// Sets keys in the file of one added log; the other lines stay as they are.
pub(crate) fn set(dir: &Path, name: &str, keys: &[(&str, String)]) -> Result<(), Error> {
    read_one(dir, name)?;
    let path = file_of(dir, name);
    let mut text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    for (key, value) in keys {
        text = with_key(&text, name, key, value);
    }
    // What could not be read again is not written.
    let _: File = parse(&text, &path.display().to_string())?;
    files::write_if_different(&path, text.as_bytes(), Readers::All).map(|_| ())
}

/// Replaces the line of `key` in the section of the log `name`, or adds one behind the heading of that section. Sections of
/// other logs that somebody wrote into the same file stay as they are.
fn with_key(text: &str, name: &str, key: &str, value: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut headings: Vec<usize> = (0..lines.len())
        .filter(|at| lines.get(*at).is_some_and(|line| is_heading(line)))
        .collect();
    headings.push(lines.len());
    let mut out: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    for section in headings.windows(2) {
        let &[start, end] = section else { continue };
        let find = |wanted: &str| {
            (start..end).find(|at| lines.get(*at).and_then(|line| key_of(line)) == Some(wanted))
        };
        let named = find("name")
            .and_then(|at| lines.get(at))
            .is_some_and(|line| is_named(line, name));
        if !named {
            continue;
        }
        let line = format!("{key} = {value}");
        match find(key).and_then(|at| out.get_mut(at)) {
            Some(old) => *old = line,
            None => out.insert(start + 1, line),
        }
        break;
    }
    out.join("\n") + "\n"
}

/// Whether a section of a log begins here.
fn is_heading(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    let inner = line
        .strip_prefix("[[")
        .and_then(|line| line.strip_suffix("]]"));
    inner.is_some_and(|inner| inner.trim() == "log")
}

fn key_of(line: &str) -> Option<&str> {
    line.split_once('=').map(|(key, _)| key.trim())
}

/// Whether the line `name = ...` says `name`; a comment may follow.
fn is_named(line: &str, name: &str) -> bool {
    let table: Result<toml::Table, _> = toml::from_str(line);
    table.is_ok_and(|table| table.get("name").and_then(toml::Value::as_str) == Some(name))
}

/// The certificate log that the authority uses where its section names `name`: the last of those that followed it and
/// take entries.
pub(crate) fn in_use<'a>(logs: &'a [LogConfig], name: &'a str) -> &'a str {
    let mut current = name;
    // A circle of successors would end nowhere; there are no more steps than logs.
    for _ in 0..logs.len() {
        let next = logs
            .iter()
            .find(|log| log.replaces.as_deref() == Some(current) && !log.staged);
        match next {
            Some(next) => current = &next.name,
            None => break,
        }
    }
    current
}

/// What the section of a successor begins with.
const HEADING: &str = "# A log that follows another, made by `sealwrightd log rotate`, which also changes `staged` and `accept_from`.\n";

/// The section of a new log: that of the old one, `old` in TOML, with the names of the new one.
pub(crate) fn successor(
    old: &toml::Table,
    name: &str,
    url: &str,
    accept_from: Option<i64>,
) -> Result<String, Error> {
    let mut table = old.clone();
    let replaced = table.get("name").cloned();
    for key in [
        "create",
        "dir",
        "frozen",
        // Copies of the old log, which know nothing of the new one.
        "mirrors",
        "accept_from",
        "staged",
        "replaces",
    ] {
        table.remove(key);
    }
    let text = |value: &str| toml::Value::String(value.to_owned());
    table.insert("name".to_owned(), text(name));
    table.insert("url".to_owned(), text(url));
    table.insert("key".to_owned(), text(&format!("file:{}", key_file(name))));
    table.insert("staged".to_owned(), toml::Value::Boolean(true));
    if let Some(from) = accept_from {
        table.insert("accept_from".to_owned(), toml::Value::Integer(from));
    }
    if let Some(replaced) = replaced {
        table.insert("replaces".to_owned(), replaced);
    }
    section(HEADING, table)
}

/// A file with one section.
pub(crate) fn section(heading: &str, table: toml::Table) -> Result<String, Error> {
    let mut file = toml::Table::new();
    let logs = toml::Value::Array(vec![toml::Value::Table(table)]);
    file.insert("log".to_owned(), logs);
    let text = toml::to_string(&file);
    let text = text.map_err(|error| ConfigError::unusable("log", error))?;
    Ok(format!("{heading}{text}"))
}

/// Where the key of a log that is made here goes, within the instance's directory.
pub(crate) fn key_file(name: &str) -> String {
    format!("keys/{name}.key")
}

/// The section of the log `name` as it is written, in the configuration or in `log.d`.
pub(crate) fn written(
    dir: &Path,
    config_file: &str,
    name: &str,
) -> Result<Option<toml::Table>, Error> {
    for path in [dir.join(config_file), file_of(dir, name)] {
        let Some(text) = files::read_if_there(&path)? else {
            continue;
        };
        let file: toml::Table = parse(&text, &path.display().to_string())?;
        let logs = file.get("log").and_then(toml::Value::as_array);
        let tables = logs.into_iter().flatten().filter_map(toml::Value::as_table);
        let named =
            |table: &&toml::Table| table.get("name").and_then(toml::Value::as_str) == Some(name);
        if let Some(table) = tables.into_iter().find(named) {
            return Ok(Some(table.clone()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str, replaces: Option<&str>, staged: bool) -> LogConfig {
        LogConfig {
            name: name.to_owned(),
            replaces: replaces.map(str::to_owned),
            staged,
            ..LogConfig::default()
        }
    }

    #[test]
    fn comments_and_foreign_lines_outlive_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let text = "# mine\n[[log]]\nname = \"b\" # the second\nurl = \"https://b.example.com\"\nstaged = true\n# end\n";
        create(folder.path(), "b", text).unwrap();
        let keys = [
            ("staged", "false".to_owned()),
            ("accept_from", "17".to_owned()),
        ];
        set(folder.path(), "b", &keys).unwrap();
        let changed = std::fs::read_to_string(file_of(folder.path(), "b")).unwrap();
        for kept in ["# mine\n", "name = \"b\" # the second\n", "# end\n"] {
            assert!(changed.contains(kept), "{changed}");
        }
        let read = read_one(folder.path(), "b").unwrap();
        assert_eq!((read.staged, read.accept_from), (false, Some(17)));
        set(folder.path(), "b", &[("accept_from", "18".to_owned())]).unwrap();
        assert_eq!(read_all(folder.path()).unwrap()[0].accept_from, Some(18));
        assert!(set(folder.path(), "absent", &keys).is_err());
        assert!(create(folder.path(), "b", "[[log]]\nname = \"b\"\n").is_err());
    }

    /// A key of one log was set in all sections of its file, so that accepting one opened the others as well.
    #[test]
    fn only_the_section_of_the_log_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[[log]]\nname = 'c'\nstaged = true\n[[ log ]] # mine\nstaged = true\nname = \"b\" # the second\n";
        create(folder.path(), "b", text).unwrap();
        let keys = [
            ("staged", "false".to_owned()),
            ("accept_from", "17".to_owned()),
        ];
        set(folder.path(), "b", &keys).unwrap();
        let read = read_all(folder.path()).unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|log| (log.name.as_str(), log.staged, log.accept_from))
            .collect();
        assert_eq!(read, [("c", true, None), ("b", false, Some(17))]);
        let said = read_one(folder.path(), "c")
            .expect_err("no file")
            .to_string();
        assert!(said.contains("by hand"), "{said}");
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_name() {
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), "b", "[[log]]\nstagd = true\n").unwrap();
        let said = read_all(folder.path()).expect_err("unknown").to_string();
        assert!(
            said.contains("did you mean `staged`") && said.contains("b.toml"),
            "{said}"
        );
    }

    #[test]
    fn a_successor_has_the_rules_of_the_old_log_and_its_own_names() {
        let old = "name = 'a'\nkind = 'ct'\nurl = 'https://x/ct/a'\nkey = 'file:a'\nroots = ['r.pem']\ncreate = true\nbatch_entries = 7\nmirrors = ['https://m/a']";
        let old: toml::Table = toml::from_str(old).unwrap();
        let text = successor(&old, "b", "https://x/ct/b", Some(9)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), "b", &text).unwrap();
        let read = read_one(folder.path(), "b").unwrap();
        assert_eq!(
            (read.url.as_str(), read.batch_entries),
            ("https://x/ct/b", 7)
        );
        assert_eq!(read.roots, [Path::new("r.pem")]);
        assert!(read.mirrors.is_empty(), "they are copies of the old log");
        assert_eq!(read.replaces.as_deref(), Some("a"));
        assert_eq!(read.accept_from, Some(9));
        check(&text, "b").unwrap();
        assert!(check(&text.replace("/ct/b", "/ct/c"), "b").is_err());
        assert!(read.staged && !read.create && read.key.is_some());
    }

    #[test]
    fn the_authority_goes_on_to_the_last_successor_that_takes_entries() {
        let logs = [
            log("a", None, false),
            log("b", Some("a"), false),
            log("c", Some("b"), true),
        ];
        assert_eq!(in_use(&logs, "a"), "b");
        assert_eq!(in_use(&logs, "other"), "other");
        let circle = [log("a", Some("b"), false), log("b", Some("a"), false)];
        assert!(["a", "b"].contains(&in_use(&circle, "a")));
    }
}
