//! Mutation testing: breaks a crate in every place it knows how to, one at a time, and says which breaks no test notices.
//!
//! A tool of development, called by `make mutants`. It works on a copy of the workspace in `target/mutants` and touches
//! nothing else. All mutants of a crate are compiled into its test programs once, each behind a switch in the
//! environment, so that trying one costs the run of the tests that reach it and no build.
//!
//! | module | what it does |
//! |---|---|
//! | [`mutate`] | finds what can be broken in a file and writes it with the switches |
//! | [`tree`] | copies the workspace |
//! | [`compile`] | builds, and leaves out what the compiler refuses |
//! | [`trial`] | runs the tests against one mutant at a time |
//! | [`report`] | keeps the outcomes, and the reasons why some mutants may live |

mod compile;
mod mutate;
mod report;
mod tree;
mod trial;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use crate::compile::{MutantId, Subject};
use crate::report::{Basis, Explanation, Row, fingerprint};
use crate::trial::Tests;

/// Breaks a crate in every place, one at a time, and says which breaks no test notices.
#[derive(Debug, Parser)]
#[command(name = "sealwright-mutants")]
struct Cli {
    /// Folder of the crate, relative to the workspace: `libs/tlog`. A bare name is looked for in `libs`.
    #[arg(long = "crate")]
    folder: PathBuf,
    /// These files only, by their stem, separated by commas: `proof,tile`.
    #[arg(long, value_delimiter = ',')]
    files: Vec<String>,
    /// Try everything again, also what an earlier run has tried.
    #[arg(long)]
    fresh: bool,
    /// Say what would be tried, and try nothing.
    #[arg(long)]
    list: bool,
    /// A test that takes no part, by its full name; for a tree in which somebody is still at work.
    #[arg(long)]
    skip: Vec<String>,
    /// Processes of tests at one time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Processor seconds that tests may take, beyond a multiple of what they take without a mutant.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Root of the workspace.
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
    /// The survivors that have a reason to live.
    #[arg(long, default_value = "integration-tests/mutants/explained.toml")]
    explained: PathBuf,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let run = Run::prepare(&cli)?;
    if cli.list {
        run.list();
        return Ok(ExitCode::SUCCESS);
    }
    let summary = run.finish(&cli)?;
    print!("{summary}");
    Ok(if summary.clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One crate, copied and read.
struct Run {
    crate_name: String,
    folder: PathBuf,
    state: PathBuf,
    subject: Subject,
    /// Fingerprint of all sources and tests of the crate.
    whole: u64,
    explained: PathBuf,
    workspace: PathBuf,
    /// Held until the run ends: there is one copy.
    _lock: File,
}

impl Run {
    fn prepare(cli: &Cli) -> Result<Self> {
        let workspace = fs::canonicalize(&cli.workspace)
            .with_context(|| cli.workspace.display().to_string())?;
        let folder = if workspace.join(&cli.folder).join("Cargo.toml").is_file() {
            cli.folder.clone()
        } else {
            Path::new("libs").join(&cli.folder)
        };
        let manifest = fs::read_to_string(workspace.join(&folder).join("Cargo.toml"))
            .with_context(|| format!("{} is no crate", folder.display()))?;
        let manifest: toml::Table = manifest.parse().context("its manifest is no TOML")?;
        let package = manifest
            .get("package")
            .and_then(|package| package.get("name")?.as_str())
            .context("its manifest names no package")?;
        let state = workspace.join("target/mutants");
        let lock = lock(&state)?;
        let copy = state.join("tree");
        tree::mirror(&workspace, &copy)?;
        let crate_folder = copy.join(&folder);
        let mut sources = tree::rust_sources(&crate_folder, "src")?;
        let texts = all_texts(&crate_folder, &sources)?;
        if !cli.files.is_empty() {
            sources.retain(|path| is_chosen(path, &cli.files) || is_root(path));
        }
        let subject = Subject::new(package, &crate_folder, &state.join("build"), &sources)?;
        let name = folder.file_name().unwrap_or_default();
        Ok(Self {
            crate_name: name.to_string_lossy().into_owned(),
            folder,
            state,
            subject,
            whole: fingerprint(texts.iter().map(String::as_str)),
            explained: workspace.join(&cli.explained),
            workspace,
            _lock: lock,
        })
    }

    fn list(&self) {
        for mutant in self.subject.mutants() {
            if let Some((file, site)) = self.subject.site(mutant) {
                println!(
                    "{}:{}:{} in {}: {}",
                    self.folder.join(file).display(),
                    site.line,
                    site.column,
                    site.function,
                    site.mutation
                );
            }
        }
    }

    fn basis(&self, mutant: MutantId) -> Basis {
        Basis {
            file: fingerprint([self.subject.code(mutant).as_str()]),
            whole: self.whole,
        }
    }

    fn row(&self, mutant: MutantId, outcome: Option<&trial::Outcome>) -> Option<Row> {
        let (file, site) = self.subject.site(mutant)?;
        Some(Row::new(file, site, outcome, self.basis(mutant)))
    }

    /// What an earlier run says about a mutant that still is what it was.
    fn known(&self, mutant: MutantId, earlier: &[Row]) -> Option<Row> {
        let (file, site) = self.subject.site(mutant)?;
        let basis = self.basis(mutant);
        earlier
            .iter()
            .find(|row| row.still_holds(file, site, basis))
            .cloned()
    }

    fn finish(mut self, cli: &Cli) -> Result<report::Summary> {
        let table = self.state.join(format!("{}.txt", self.crate_name));
        let earlier = if cli.fresh {
            Vec::new()
        } else {
            report::read(&table)
        };
        let mut rows = Vec::new();
        let mut open = Vec::new();
        for mutant in self.subject.mutants() {
            match self.known(mutant, &earlier) {
                Some(row) => {
                    if row.status == report::Status::Refused {
                        self.subject.refuse(mutant);
                    }
                    rows.push(row);
                }
                None => open.push(mutant),
            }
        }
        println!(
            "{}: {} mutants, {} known from earlier",
            self.crate_name,
            self.subject.mutants().len(),
            rows.len()
        );
        if !open.is_empty() {
            rows = self.try_open(&open, rows, &table, cli)?;
        }
        self.keep_others(&earlier, &rows, &table)?;
        let files: BTreeSet<PathBuf> = self
            .subject
            .mutants()
            .into_iter()
            .filter_map(|mutant| Some(self.subject.site(mutant)?.0.to_path_buf()))
            .collect();
        let explanations = Explanation::read(&self.explained)?;
        let mut files = files;
        files.extend(self.vanished(&explanations));
        report::summarise(&self.crate_name, &rows, &explanations, &files)
    }

    /// Files that an explanation names and that are gone: what it says is stale.
    fn vanished(&self, explanations: &[Explanation]) -> Vec<PathBuf> {
        let folder = self.workspace.join(&self.folder);
        let named = explanations.iter().map(Explanation::file);
        named
            .filter(|file| !folder.join(file).exists())
            .map(Path::to_path_buf)
            .collect()
    }

    fn try_open(
        &mut self,
        open: &[MutantId],
        mut rows: Vec<Row>,
        table: &Path,
        cli: &Cli,
    ) -> Result<Vec<Row>> {
        println!("  building with all of them inside");
        let programs = self.subject.build(cli.jobs)?;
        let tests = Tests::survey(
            programs,
            &self.state.join("scratch"),
            cli.jobs,
            cli.seconds,
            &cli.skip,
        )?;
        if tests.is_empty() {
            bail!("{} has no tests", self.crate_name);
        }
        println!("  {} tests pass without a mutant", tests.len());
        rows.extend(
            open.iter()
                .filter(|mutant| self.subject.is_refused(**mutant))
                .filter_map(|mutant| self.row(*mutant, None)),
        );
        let by_number: std::collections::BTreeMap<usize, MutantId> = open
            .iter()
            .filter(|mutant| !self.subject.is_refused(**mutant))
            .map(|mutant| (self.subject.number(*mutant), *mutant))
            .collect();
        let numbers: Vec<usize> = by_number.keys().copied().collect();
        let rows = Mutex::new(rows);
        let tried = AtomicUsize::new(0);
        tests.try_all(&numbers, cli.jobs, |number, outcome| {
            let row = by_number
                .get(&number)
                .and_then(|mutant| self.row(*mutant, Some(outcome)));
            let Ok(mut rows) = rows.lock() else {
                return;
            };
            rows.extend(row);
            let count = tried.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(SAVE_EVERY) {
                println!("  {count} of {} tried", numbers.len());
                // The next save, or the last one, tries again.
                let _ = report::write(table, &rows);
            }
        })?;
        rows.into_inner()
            .map_err(|_| anyhow::anyhow!("a worker panicked"))
    }

    /// Writes the table, with what is known about files that this run left alone.
    fn keep_others(&self, earlier: &[Row], rows: &[Row], table: &Path) -> Result<()> {
        let mine: BTreeSet<&Path> = self
            .subject
            .mutants()
            .into_iter()
            .filter_map(|mutant| Some(self.subject.site(mutant)?.0))
            .collect();
        let others = earlier.iter().filter(|row| !mine.contains(row.file()));
        let all: Vec<Row> = rows.iter().chain(others).cloned().collect();
        report::write(table, &all)
    }
}

/// Waits until no other run works on the copy.
fn lock(state: &Path) -> Result<File> {
    fs::create_dir_all(state).with_context(|| state.display().to_string())?;
    let lock = File::create(state.join("lock")).context("no file to lock")?;
    if lock.try_lock().is_err() {
        println!("waiting for another run to end");
        lock.lock().context("the copy cannot be locked")?;
    }
    Ok(lock)
}

/// Outcomes are saved after so many, so that an interrupted run goes on there.
const SAVE_EVERY: usize = 50;

fn is_root(path: &Path) -> bool {
    path == Path::new("src/lib.rs")
}

fn is_chosen(path: &Path, files: &[String]) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.is_some_and(|stem| files.iter().any(|file| file == stem))
}

/// The texts of all sources and tests of a crate.
fn all_texts(folder: &Path, sources: &[PathBuf]) -> Result<Vec<String>> {
    let tests = tree::rust_sources(folder, "tests")?;
    sources
        .iter()
        .chain(&tests)
        .map(|path| {
            fs::read_to_string(folder.join(path)).with_context(|| path.display().to_string())
        })
        .collect()
}
