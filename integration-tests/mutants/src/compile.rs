//! Builds a crate with all its mutants inside, and leaves out those that the compiler refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::mutate::{Blame, Rewritten, Site, Source};
use crate::tree::write_if_changed;

/// A mutant of the crate: a site of one of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MutantId {
    file: usize,
    site: usize,
}

/// A crate under test, with every site of its sources.
#[derive(Debug)]
pub(crate) struct Subject {
    package: String,
    /// Where the copy of the crate lies.
    folder: PathBuf,
    target: PathBuf,
    files: Vec<(PathBuf, Source)>,
    refused: BTreeSet<MutantId>,
}

/// A test program, with the folder cargo would start it in.
#[derive(Debug, Clone)]
pub(crate) struct TestProgram {
    /// The executable.
    pub(crate) path: PathBuf,
    /// The crate's folder in the copy.
    pub(crate) folder: PathBuf,
}

/// Compilers find type errors before they find borrow errors, so that refusals come in rounds. More than this is our fault.
const MOST_ROUNDS: usize = 25;

impl Subject {
    /// Takes the sources that lie in the copy; `files` are relative to `folder`.
    pub(crate) fn new(
        package: &str,
        folder: &Path,
        target: &Path,
        files: &[PathBuf],
    ) -> Result<Self> {
        let mut sources = Vec::new();
        for file in files {
            let path = folder.join(file);
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let source = Source::parse(&text).with_context(|| path.display().to_string())?;
            sources.push((file.clone(), source));
        }
        let test_modules: BTreeSet<String> = sources
            .iter()
            .flat_map(|(_, source)| source.test_modules.iter().cloned())
            .collect();
        sources.retain(|(file, _)| {
            let stem = file.file_stem().and_then(|stem| stem.to_str());
            !stem.is_some_and(|stem| test_modules.contains(stem))
        });
        Ok(Self {
            package: package.to_owned(),
            folder: folder.to_path_buf(),
            target: target.to_path_buf(),
            files: sources,
            refused: BTreeSet::new(),
        })
    }

    /// Every mutant, also those that were refused.
    pub(crate) fn mutants(&self) -> Vec<MutantId> {
        let sites = self
            .files
            .iter()
            .enumerate()
            .flat_map(|(file, (_, source))| {
                (0..source.sites.len()).map(move |site| MutantId { file, site })
            });
        sites.collect()
    }

    /// Where a mutant is, and what it does.
    pub(crate) fn site(&self, mutant: MutantId) -> Option<(&Path, &Site)> {
        let (path, source) = self.files.get(mutant.file)?;
        Some((path, source.sites.get(mutant.site)?))
    }

    /// The code of the file that a mutant is in, without tests.
    pub(crate) fn code(&self, mutant: MutantId) -> String {
        self.files
            .get(mutant.file)
            .map(|(_, source)| source.code())
            .unwrap_or_default()
    }

    /// Leaves a mutant out of the program: it is known not to compile.
    pub(crate) fn refuse(&mut self, mutant: MutantId) {
        self.refused.insert(mutant);
    }

    /// Whether the compiler refused a mutant.
    pub(crate) fn is_refused(&self, mutant: MutantId) -> bool {
        self.refused.contains(&mutant)
    }

    /// The number of a mutant in the program, from 1.
    pub(crate) fn number(&self, mutant: MutantId) -> usize {
        let before = self.files.iter().take(mutant.file);
        1 + mutant.site + before.map(|(_, source)| source.sites.len()).sum::<usize>()
    }

    /// Builds the test programs, in as many rounds as it takes until the compiler has refused what it will.
    pub(crate) fn build(&mut self, jobs: usize) -> Result<Vec<TestProgram>> {
        for _ in 0..MOST_ROUNDS {
            let rewritten = self.write()?;
            let messages = self.cargo(&["test", "--no-run", "--lib", "--tests"], jobs)?;
            let errors = errors(&messages);
            if errors.is_empty() {
                return self.programs(&messages);
            }
            let before = self.refused.len();
            for error in &errors {
                self.blame(error, &rewritten);
            }
            println!(
                "  {} mutants do not compile and are left out",
                self.refused.len()
            );
            if self.refused.len() == before {
                bail!(
                    "{} does not compile, and no mutant is to blame:\n{}",
                    self.package,
                    errors[0].text
                );
            }
        }
        bail!(
            "{} still does not compile after {MOST_ROUNDS} rounds",
            self.package
        )
    }

    fn write(&self) -> Result<BTreeMap<usize, Rewritten>> {
        let mut all = BTreeMap::new();
        let count = self.mutants().len();
        for (file, (path, source)) in self.files.iter().enumerate() {
            let mut rewritten = source.rewrite(|site| {
                let mutant = MutantId { file, site };
                (!self.is_refused(mutant)).then(|| self.number(mutant))
            });
            if path == Path::new("src/lib.rs") {
                rewritten.text.push_str(&switch(count));
            }
            write_if_changed(&self.folder.join(path), rewritten.text.as_bytes())?;
            all.insert(file, rewritten);
        }
        Ok(all)
    }

    fn blame(&mut self, error: &CompileError, rewritten: &BTreeMap<usize, Rewritten>) {
        let mut around = None;
        for (name, range) in &error.spans {
            let file = self
                .files
                .iter()
                .position(|(path, _)| name.ends_with(&*self.relative(path)));
            let Some((file, text)) = file.and_then(|file| Some((file, rewritten.get(&file)?)))
            else {
                continue;
            };
            let Some((_, source)) = self.files.get(file) else {
                continue;
            };
            let present = |site| !self.refused.contains(&MutantId { file, site });
            match source.blame(text, range, present) {
                Blame::Own(site) => {
                    self.refused.insert(MutantId { file, site });
                    return;
                }
                Blame::Around(site) => around = around.or(Some(MutantId { file, site })),
                Blame::Nobody => {}
            }
        }
        self.refused.extend(around);
    }

    /// A path as the compiler says it: relative to the workspace.
    fn relative(&self, path: &Path) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        Path::new(name).join(path).display().to_string()
    }

    fn cargo(&self, arguments: &[&str], jobs: usize) -> Result<Vec<Value>> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let output = Command::new(cargo)
            .args(arguments)
            .args(["-p", &self.package, "--message-format=json", "-q", "-j"])
            .arg(jobs.to_string())
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_INCREMENTAL", "0")
            // A mutant may be what a lint would refuse.
            .env("RUSTFLAGS", "--cap-lints=allow")
            .stderr(Stdio::piped())
            .output()
            .context("cargo does not start")?;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let messages: Vec<Value> = lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if !output.status.success() && errors(&messages).is_empty() {
            bail!(
                "cargo {} failed:\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(messages)
    }

    fn programs(&self, messages: &[Value]) -> Result<Vec<TestProgram>> {
        let executables = messages
            .iter()
            .filter(|message| message["profile"]["test"] == true)
            .filter_map(|message| message["executable"].as_str());
        let programs: Vec<TestProgram> = executables
            .map(|path| TestProgram {
                path: PathBuf::from(path),
                folder: self.folder.clone(),
            })
            .collect();
        if programs.is_empty() {
            bail!("{} has no test program", self.package);
        }
        Ok(programs)
    }
}

/// What the compiler says is wrong, and every place it names for it, the main ones first.
#[derive(Debug)]
struct CompileError {
    text: String,
    spans: Vec<(String, Range<usize>)>,
}

fn errors(messages: &[Value]) -> Vec<CompileError> {
    let diagnostics = messages
        .iter()
        .filter(|message| message["reason"] == "compiler-message")
        .map(|message| &message["message"])
        .filter(|message| message["level"] == "error");
    let errors = diagnostics.map(|message| {
        let mut spans: Vec<&Value> = message["spans"].as_array().into_iter().flatten().collect();
        spans.sort_by_key(|span| span["is_primary"] != true);
        CompileError {
            text: message["rendered"].as_str().unwrap_or_default().to_owned(),
            spans: spans.into_iter().filter_map(place).collect(),
        }
    });
    // "aborting due to 3 errors" has no place.
    errors.filter(|error| !error.spans.is_empty()).collect()
}

fn place(span: &Value) -> Option<(String, Range<usize>)> {
    let start = span["byte_start"].as_u64()?;
    let end = span["byte_end"].as_u64()?;
    let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
    Some((span["file_name"].as_str()?.to_owned(), range))
}

/// The module that every mutant asks whether it is on. With a file named in `SEALWRIGHT_MUTANTS_TRACE` it also writes down
/// the number of each mutant that asks, once. The first panic ends the process: tests that come after it would only cost time.
/// (A test that panics on purpose fails the run without a mutant, and can be skipped.)
fn switch(count: usize) -> String {
    format!(
        r#"
mod __mutant {{
    use std::io::Write as _;
    use std::sync::LazyLock;
    use std::sync::atomic::{{AtomicBool, Ordering::Relaxed}};

    static ACTIVE: LazyLock<usize> = LazyLock::new(|| {{
        let number = std::env::var("SEALWRIGHT_MUTANT").ok();
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }});
    static TRACE: LazyLock<Option<std::fs::File>> = LazyLock::new(|| {{
        let path = std::env::var_os("SEALWRIGHT_MUTANTS_TRACE")?;
        std::fs::OpenOptions::new().create(true).append(true).open(path).ok()
    }});
    static SEEN: [AtomicBool; {size}] = [const {{ AtomicBool::new(false) }}; {size}];

    static FIRST_PANIC_ENDS: LazyLock<()> = LazyLock::new(|| {{
        if *ACTIVE != 0 || TRACE.is_some() {{
            std::panic::set_hook(Box::new(|_| std::process::exit(101)));
        }}
    }});

    pub(crate) fn on(number: usize) -> bool {{
        LazyLock::force(&FIRST_PANIC_ENDS);
        if let Some(mut trace) = TRACE.as_ref()
            && !SEEN[number].swap(true, Relaxed)
        {{
            let line = format!("{{number}}\n");
            let _ = trace.write_all(line.as_bytes());
        }}
        *ACTIVE == number
    }}
}}
"#,
        size = count + 1
    )
}
