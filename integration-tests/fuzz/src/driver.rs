//! Runs cases against one target: makes inputs, watches each, keeps what is new, reports what broke.
//!
//! A target runs in a process of its own, on a thread with the stack of a server's worker, since a parser that recurses
//! without bound ends the process. The input under way is always in a file ([`Current`]), so that whoever started the
//! process finds it there.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::corpus::{self, Input};
use crate::mutate::{mutate, pick};
use crate::targets::Target;

/// Bytes that any case may allocate at one time, whatever its size: 256 KiB, for what parsers build before they look at the
/// input, and for the promises that are checked afterwards.
pub const BASE_BYTES: u64 = 256 * 1024;
/// The stack of a case: that of the threads on which servers parse.
pub const STACK_BYTES: usize = 2 * 1024 * 1024;
/// A case that takes this long is reported while it runs.
const SLOW: Duration = Duration::from_secs(5);
/// A case that takes this long does not end, as far as anybody waiting for it can tell.
const ENDLESS: Duration = Duration::from_secs(120);
/// Most inputs that are kept in memory; later ones replace earlier ones.
const MAX_KEPT: usize = 1024;
/// A target that broke in this many ways is stopped: somebody has to look first.
const MAX_FINDINGS: usize = 8;

/// How long to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Each seed makes `cases` inputs, independent of the others.
    pub seeds: Vec<u64>,
    /// Inputs for each seed.
    pub cases: u64,
    /// A folder in which inputs that do something new are kept from run to run. What it holds is used as well.
    pub keep: Option<PathBuf>,
}

/// Something that broke.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What happened, with the place in the source where there is one.
    pub what: String,
    /// The input that did it.
    pub input: Vec<u8>,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Report {
    /// Inputs that were tried, seeds and regressions included.
    pub cases: u64,
    /// Time for all of them.
    pub elapsed: Duration,
    /// Distinct behaviours.
    pub behaviours: BTreeSet<String>,
    /// Most bytes allocated at one time beyond [`BASE_BYTES`], for each byte of that input.
    pub peak_factor: u64,
    /// Processor time of the slowest case, and the size of its input.
    pub slowest: (Duration, usize),
    /// What broke; one for each way of breaking.
    pub findings: Vec<Finding>,
}

/// The input under way, where another process finds it when this one is ended by it.
#[derive(Debug)]
pub struct Current {
    file: File,
    path: PathBuf,
}

impl Current {
    /// Opens the file for a target in `folder`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(folder: &Path, target: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = Self::path(folder, target);
        Ok(Self {
            file: File::create(&path)?,
            path,
        })
    }

    fn path(folder: &Path, target: &str) -> PathBuf {
        folder.join(format!("{target}.current"))
    }

    /// Length first, so that a shorter input need not cut the file.
    fn set(&self, input: &[u8]) -> io::Result<()> {
        let length = input.len().to_be_bytes();
        self.file
            .write_all_at(&[length.as_slice(), input].concat(), 0)
    }

    /// The input that was under way when the process for `target` ended.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(folder: &Path, target: &str) -> io::Result<Vec<u8>> {
        let bytes = fs::read(Self::path(folder, target))?;
        let (length, rest) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let length = usize::from_be_bytes(*length);
        Ok(rest.get(..length).unwrap_or(rest).to_vec())
    }

    /// The target is done and nothing was under way.
    ///
    /// # Errors
    /// What the file system says.
    pub fn done(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Tries every regression, every seed, and what the plan asks for.
///
/// # Errors
/// What the file system says about the corpus.
pub fn run(target: &Target, plan: &Plan, current: &Current) -> io::Result<Report> {
    let regressions = corpus::read(&corpus::regressions_of(target.name))?;
    let mut seeds = corpus::read(&corpus::seeds_of(target.name))?;
    if let Some(folder) = &plan.keep {
        seeds.extend(corpus::read(folder)?);
    }
    // What targets make once, from the corpus, is not on any case's account.
    if let Some(first) = seeds.first() {
        let _ = panic::catch_unwind(|| (target.check)(&first.bytes));
    }
    let mut session = Session {
        target,
        current,
        keep: plan.keep.as_deref(),
        report: Report::default(),
        broken: BTreeSet::new(),
    };
    let started = Instant::now();
    let _watch = Watch::start(target.name);
    for input in regressions.iter().chain(&seeds) {
        session.try_one(&input.bytes)?;
    }
    for seed in &plan.seeds {
        session.mutate_all(*seed, plan.cases, &seeds)?;
    }
    session.report.elapsed = started.elapsed();
    Ok(session.report)
}

struct Session<'a> {
    target: &'a Target,
    current: &'a Current,
    keep: Option<&'a Path>,
    report: Report,
    broken: BTreeSet<String>,
}

impl Session<'_> {
    /// A seed always makes the same inputs: what other seeds found new is not used.
    fn mutate_all(&mut self, seed: u64, cases: u64, seeds: &[Input]) -> io::Result<()> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut known = BTreeSet::new();
        let mut kept: Vec<Vec<u8>> = Vec::new();
        for _ in 0..cases {
            if self.report.findings.len() >= MAX_FINDINGS {
                break;
            }
            let Some(input) = choose(&mut rng, seeds, &kept) else {
                break;
            };
            let other = choose(&mut rng, seeds, &kept).unwrap_or_default();
            let Target {
                format, dictionary, ..
            } = self.target;
            let input = mutate(&mut rng, *format, input, other, dictionary);
            let Some(behaviour) = self.try_one(&input)? else {
                continue;
            };
            if known.insert(behaviour) {
                if kept.len() < MAX_KEPT {
                    kept.push(input);
                } else if let Some(old) = kept.get_mut(rng.random_range(0..MAX_KEPT)) {
                    *old = input;
                }
            }
        }
        Ok(())
    }

    /// The behaviour, or `None` when something broke.
    fn try_one(&mut self, input: &[u8]) -> io::Result<Option<String>> {
        self.current.set(input)?;
        Watch::enter(Some(Instant::now()));
        let started = processor_time();
        let mut outcome = Err("the case did not end".to_owned());
        let allocated = allocation_counter::measure(|| outcome = case(self.target, input));
        let elapsed = processor_time().saturating_sub(started);
        Watch::enter(None);
        self.report.cases += 1;
        self.report.slowest = self.report.slowest.max((elapsed, input.len()));
        let size = u64::try_from(input.len()).unwrap_or(u64::MAX);
        let peak = allocated.bytes_max.saturating_sub(BASE_BYTES);
        let factor = peak.div_ceil(size.max(1));
        self.report.peak_factor = self.report.peak_factor.max(factor);
        if outcome.is_ok() && factor > self.target.peak_factor {
            outcome = Err(format!(
                "allocates {factor} bytes for each byte of input at one time; {} are allowed",
                self.target.peak_factor
            ));
        }
        match outcome {
            Ok(behaviour) => {
                if self.report.behaviours.insert(behaviour.clone()) {
                    self.remember(input)?;
                }
                Ok(Some(behaviour))
            }
            Err(what) => {
                if self.broken.insert(crate::behaviour::of(&what)) {
                    let input = input.to_vec();
                    self.report.findings.push(Finding { what, input });
                }
                Ok(None)
            }
        }
    }

    fn remember(&self, input: &[u8]) -> io::Result<()> {
        let Some(folder) = self.keep else {
            return Ok(());
        };
        fs::create_dir_all(folder)?;
        fs::write(folder.join(name_of(input)), input)
    }
}

/// What this thread has used of a processor: a machine that is busy otherwise does not make cases look slow.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A file name for an input: the beginning of its SHA-256.
#[must_use]
pub fn name_of(input: &[u8]) -> String {
    let mut name = hex::encode(sealwright_crypto::sha256(input));
    name.truncate(16);
    name
}

fn choose<'a>(rng: &mut StdRng, seeds: &'a [Input], kept: &'a [Vec<u8>]) -> Option<&'a [u8]> {
    if !kept.is_empty() && rng.random() {
        pick(rng, kept).map(Vec::as_slice)
    } else {
        pick(rng, seeds).map(|seed| seed.bytes.as_slice())
    }
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics off the terminal: each is reported once, with its input.
pub fn record_panics() {
    panic::set_hook(Box::new(|info| {
        PANIC.with_borrow_mut(|said| *said = info.to_string());
    }));
}

fn case(target: &Target, input: &[u8]) -> Result<String, String> {
    panic::catch_unwind(AssertUnwindSafe(|| (target.check)(input)))
        .map_err(|_| PANIC.with_borrow_mut(std::mem::take))
}

/// Looks from another thread whether the case under way ends.
struct Watch;

static SINCE: Mutex<Option<Instant>> = Mutex::new(None);

impl Watch {
    /// The thread ends with the process, as every target has one of its own.
    fn start(target: &'static str) -> Self {
        std::thread::spawn(move || {
            let mut told = None;
            loop {
                std::thread::sleep(Duration::from_millis(500));
                let since = SINCE.lock().ok().and_then(|since| *since);
                let Some(since) = since else { continue };
                if since.elapsed() > SLOW && told != Some(since) {
                    told = Some(since);
                    eprintln!("{target}: a case has been running for {SLOW:?}");
                }
                if since.elapsed() > ENDLESS {
                    eprintln!("{target}: a case does not end within {ENDLESS:?}");
                    std::process::abort();
                }
            }
        });
        Self
    }

    fn enter(since: Option<Instant>) {
        if let Ok(mut current) = SINCE.lock() {
            *current = since;
        }
    }
}
