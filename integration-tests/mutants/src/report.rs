//! What is known about each mutant, kept in a file between runs, and why some may live.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::mutate::Site;
use crate::trial::Outcome;

/// A mutant that lives although all tests pass, and the reason why no test can or need tell it from the original.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explanation {
    #[serde(rename = "crate")]
    crate_name: String,
    file: PathBuf,
    function: String,
    mutation: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explained {
    #[serde(default)]
    survivor: Vec<Explanation>,
}

impl Explanation {
    /// Reads `explained.toml`; without such a file nothing is explained.
    pub(crate) fn read(path: &Path) -> Result<Vec<Self>> {
        let Ok(text) = fs::read_to_string(path) else {
            return Ok(Vec::new());
        };
        let explained: Explained =
            toml::from_str(&text).with_context(|| path.display().to_string())?;
        let idle = explained
            .survivor
            .iter()
            .find(|entry| entry.reason.trim().len() < 20);
        if let Some(entry) = idle {
            bail!(
                "{}: {} in {} has no reason that explains anything",
                path.display(),
                entry.mutation,
                entry.function
            );
        }
        Ok(explained.survivor)
    }

    /// The source file that it speaks of, relative to the crate.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    fn covers(&self, row: &Row) -> bool {
        self.file == row.file && self.function == row.function && self.mutation == row.mutation
    }
}

/// What is known about one mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Outcome in one word: killed, timeout, survived, unreached, refused.
    pub(crate) status: Status,
    /// What the outcome rests on: the code of the file for a mutant that is caught, the whole crate for one that lives.
    basis: u64,
    file: PathBuf,
    place: (usize, usize),
    function: String,
    mutation: String,
    /// The test that caught it.
    by: String,
}

/// The outcome as the table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// A test failed.
    Killed,
    /// A test did not end in its time, or took more memory than there is for it.
    Timeout,
    /// Every test that reaches it passed.
    Survived,
    /// No test reaches it.
    Unreached,
    /// The compiler would not have it.
    Refused,
}

impl Status {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Killed, "killed"),
        (Self::Timeout, "timeout"),
        (Self::Survived, "SURVIVED"),
        (Self::Unreached, "UNREACHED"),
        (Self::Refused, "refused"),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(status, _)| *status == self)
            .map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(status, _)| *status)
    }

    /// Whether the tests let the mutant live.
    pub(crate) fn lives(self) -> bool {
        matches!(self, Self::Survived | Self::Unreached)
    }
}

/// The fingerprints that outcomes rest on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Basis {
    /// Of the code, without tests, of the file that the mutant is in.
    pub(crate) file: u64,
    /// Of all sources and tests of the crate.
    pub(crate) whole: u64,
}

impl Basis {
    fn of(self, status: Status) -> u64 {
        if status.lives() {
            self.whole
        } else {
            self.file
        }
    }
}

/// A fingerprint of texts. It is compared with those of earlier runs of this same program alone.
pub(crate) fn fingerprint<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    texts.into_iter().for_each(|text| text.hash(&mut hasher));
    hasher.finish()
}

impl Row {
    /// The row of a mutant that was tried, or refused by the compiler when there is no outcome.
    pub(crate) fn new(file: &Path, site: &Site, outcome: Option<&Outcome>, basis: Basis) -> Self {
        let (status, by) = match outcome {
            None => (Status::Refused, ""),
            Some(Outcome::Killed(test)) => (Status::Killed, test.as_str()),
            Some(Outcome::TimedOut) => (Status::Timeout, ""),
            Some(Outcome::Survived) => (Status::Survived, ""),
            Some(Outcome::Unreached) => (Status::Unreached, ""),
        };
        Self {
            status,
            basis: basis.of(status),
            file: file.to_path_buf(),
            place: (site.line, site.column),
            function: site.function.clone(),
            mutation: site.mutation.clone(),
            by: by.to_owned(),
        }
    }

    /// Whether this row of an earlier run still says what a new run would.
    pub(crate) fn still_holds(&self, file: &Path, site: &Site, basis: Basis) -> bool {
        self.file == file
            && self.place == (site.line, site.column)
            && self.function == site.function
            && self.mutation == site.mutation
            && self.basis == basis.of(self.status)
    }

    /// The source file that the mutant is in, relative to the crate.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    fn line(&self) -> String {
        format!(
            "{}\t{:016x}\t{}:{}:{}\t{}\t{}\t{}",
            self.status.name(),
            self.basis,
            self.file.display(),
            self.place.0,
            self.place.1,
            self.function,
            self.mutation,
            self.by
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let [status, basis, place, function, mutation, by] =
            line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let mut place = place.rsplitn(3, ':');
        let column = place.next()?.parse().ok()?;
        let line = place.next()?.parse().ok()?;
        Some(Self {
            status: Status::named(status)?,
            basis: u64::from_str_radix(basis, 16).ok()?,
            file: PathBuf::from(place.next()?),
            place: (line, column),
            function: function.to_owned(),
            mutation: mutation.to_owned(),
            by: by.to_owned(),
        })
    }

    fn sentence(&self) -> String {
        format!(
            "{}:{}:{} in {}: {}",
            self.file.display(),
            self.place.0,
            self.place.1,
            self.function,
            self.mutation
        )
    }
}

/// Reads the table of an earlier run; what cannot be read is tried again.
pub(crate) fn read(path: &Path) -> Vec<Row> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(Row::parse).collect()
}

/// Writes the table, in order of place.
pub(crate) fn write(path: &Path, rows: &[Row]) -> Result<()> {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by(|a, b| (&a.file, a.place, &a.mutation).cmp(&(&b.file, b.place, &b.mutation)));
    let mut text = String::new();
    for row in sorted {
        writeln!(text, "{}", row.line())?;
    }
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).with_context(|| fresh.display().to_string())?;
    fs::rename(&fresh, path).with_context(|| path.display().to_string())
}

/// What a run comes to.
#[derive(Debug)]
pub(crate) struct Summary {
    text: String,
    /// Whether every mutant that lives is explained, and every explanation still explains something.
    pub(crate) clean: bool,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)
    }
}

/// Counts, living mutants with what explains them, and explanations that explain nothing (any more).
///
/// `complete` files are those that were tried; explanations of others are not judged.
pub(crate) fn summarise(
    crate_name: &str,
    rows: &[Row],
    explanations: &[Explanation],
    complete: &BTreeSet<PathBuf>,
) -> Result<Summary> {
    let mut text = String::new();
    let mine: Vec<&Explanation> = explanations
        .iter()
        .filter(|entry| entry.crate_name == crate_name && complete.contains(&entry.file))
        .collect();
    let living: Vec<&Row> = rows.iter().filter(|row| row.status.lives()).collect();
    let (explained, alive): (Vec<&Row>, Vec<&Row>) = living
        .iter()
        .partition(|row| mine.iter().any(|entry| entry.covers(row)));
    for row in &alive {
        writeln!(text, "{:9} {}", row.status.name(), row.sentence())?;
    }
    let stale: Vec<&&Explanation> = mine
        .iter()
        .filter(|entry| !living.iter().any(|row| entry.covers(row)))
        .collect();
    for entry in &stale {
        writeln!(
            text,
            "STALE     {} in {}: {} is explained, and no such mutant lives",
            entry.file.display(),
            entry.function,
            entry.mutation
        )?;
    }
    let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.status).or_default() += 1;
    }
    let count = |status| counts.get(&status).copied().unwrap_or_default();
    let tried = rows.len() - count(Status::Refused);
    writeln!(
        text,
        "{crate_name}: {tried} mutants, {} killed, {} stopped by their limits, {} explained, {} alive ({} more do not compile)",
        count(Status::Killed),
        count(Status::Timeout),
        explained.len(),
        alive.len(),
        count(Status::Refused),
    )?;
    Ok(Summary {
        clean: alive.is_empty() && stale.is_empty(),
        text,
    })
}
