//! Runs tests against one mutant at a time, in processes of their own with bounded time and memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::compile::TestProgram;

/// What the tests said about a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This test failed.
    Killed(String),
    /// A test neither passed nor failed within its time; that is noticed too.
    TimedOut,
    /// All tests that reach it passed.
    Survived,
    /// No test runs this code.
    Unreached,
}

/// A test of a program, with what it costs and what it reaches.
#[derive(Debug)]
struct Test {
    program: usize,
    name: String,
    /// What it adds to a process that runs others too.
    cost: Duration,
    reached: BTreeSet<usize>,
}

/// The tests of a crate after a run without a mutant.
#[derive(Debug)]
pub(crate) struct Tests {
    programs: Vec<TestProgram>,
    /// In order of cost.
    tests: Vec<Test>,
    scratch: PathBuf,
    seconds: u64,
}

/// Tests in one process until their cost comes to this; then, if the mutant still lives, the next ones.
const CHUNK: Duration = Duration::from_secs(1);
/// Processor seconds for a process: this many times what its tests cost without a mutant, and some seconds more.
const TIMES_THE_COST: u64 = 10;
/// Seconds of the clock on the wall for a test that sleeps for ever.
const WALL: Duration = Duration::from_secs(300);
/// The code with which a test program says that a test failed. A shell that cannot run the program, say because somebody
/// builds it anew, says another; that is no verdict on a mutant.
const FAILED: i32 = 101;
/// Address space of a process, in KiB: a mutant that allocates without end is stopped.
const MEMORY_KIB: u64 = 1 << 20;

/// How a process of tests ended.
enum End {
    Passed,
    Failed(String),
    Stopped,
}

impl Tests {
    /// Lists the tests and runs each alone, without a mutant. All must pass but those in `skip`, which take no part.
    /// `seconds` of the processor are what a run may take beyond a multiple of its cost.
    pub(crate) fn survey(
        programs: Vec<TestProgram>,
        scratch: &Path,
        jobs: usize,
        seconds: u64,
        skip: &[String],
    ) -> Result<Self> {
        fs::create_dir_all(scratch).with_context(|| scratch.display().to_string())?;
        let mut names = Vec::new();
        for (program, of) in programs.iter().enumerate() {
            let listed = list(of)?.into_iter();
            let wanted = listed.filter(|name| !skip.contains(name));
            names.extend(wanted.map(|name| (program, name)));
        }
        let scratch = scratch.to_path_buf();
        let tests = in_parallel(jobs, &names, |worker, (program, name)| {
            let trace = scratch.join(format!("trace-{worker}"));
            let _ = fs::remove_file(&trace);
            let of = programs.get(*program).context("no such program")?;
            let started = Instant::now();
            let process = Process {
                program: of,
                names: &[name],
                environment: ("SEALWRIGHT_MUTANTS_TRACE", trace.display().to_string()),
                processor_seconds: 600,
                output: scratch.join(format!("output-{worker}")),
            };
            match process.run()? {
                End::Passed => Ok(Test {
                    program: *program,
                    name: name.clone(),
                    cost: started.elapsed(),
                    reached: numbers(&trace),
                }),
                _ => bail!("{name} fails without a mutant"),
            }
        })?;
        let mut tests = Self {
            programs,
            tests,
            scratch,
            seconds,
        };
        tests.share_costs()?;
        Ok(tests)
    }

    /// Tests of one program may share what one of them makes first. Alone each pays for it; together they cost what a run
    /// of all of them does.
    fn share_costs(&mut self) -> Result<()> {
        for (number, program) in self.programs.iter().enumerate() {
            let mine = || self.tests.iter().filter(|test| test.program == number);
            let names: Vec<&String> = mine().map(|test| &test.name).collect();
            let alone: Duration = mine().map(|test| test.cost).sum();
            let process = Process {
                program,
                names: &names,
                environment: ("SEALWRIGHT_MUTANT", "0".to_owned()),
                processor_seconds: 600,
                output: self.scratch.join("output-all"),
            };
            let started = Instant::now();
            if names.is_empty() || !matches!(process.run()?, End::Passed) {
                continue;
            }
            let share = started.elapsed().as_secs_f64() / alone.as_secs_f64().max(f64::EPSILON);
            for test in self.tests.iter_mut().filter(|test| test.program == number) {
                test.cost = test.cost.mul_f64(share.min(1.0));
            }
        }
        self.tests.sort_by_key(|test| test.cost);
        Ok(())
    }

    /// How many tests there are.
    pub(crate) fn len(&self) -> usize {
        self.tests.len()
    }

    /// Whether there is no test at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Tries each of the mutants with these numbers; `done` hears of every outcome as it comes.
    pub(crate) fn try_all(
        &self,
        numbers: &[usize],
        jobs: usize,
        done: impl Fn(usize, &Outcome) + Sync,
    ) -> Result<()> {
        in_parallel(jobs, numbers, |worker, number| {
            let outcome = self.try_one(*number, worker)?;
            done(*number, &outcome);
            Ok(())
        })?;
        Ok(())
    }

    fn try_one(&self, number: usize, worker: usize) -> Result<Outcome> {
        let chunks = self.chunks(number);
        if chunks.is_empty() {
            return Ok(Outcome::Unreached);
        }
        for chunk in chunks {
            let Some(program) = chunk
                .first()
                .and_then(|test| self.programs.get(test.program))
            else {
                continue;
            };
            let cost: Duration = chunk.iter().map(|test| test.cost).sum();
            let names: Vec<&String> = chunk.iter().map(|test| &test.name).collect();
            let process = Process {
                program,
                names: &names,
                environment: ("SEALWRIGHT_MUTANT", number.to_string()),
                processor_seconds: self.seconds + TIMES_THE_COST * cost.as_millis() as u64 / 1000,
                output: self.scratch.join(format!("output-{worker}")),
            };
            match process.run()? {
                End::Passed => {}
                End::Failed(test) => return Ok(Outcome::Killed(test)),
                End::Stopped => return Ok(Outcome::TimedOut),
            }
        }
        Ok(Outcome::Survived)
    }

    /// The tests that reach a mutant, cheap ones first, in portions for one process each.
    fn chunks(&self, number: usize) -> Vec<Vec<&Test>> {
        let mut open: BTreeMap<usize, Vec<&Test>> = BTreeMap::new();
        let mut chunks = Vec::new();
        for test in self
            .tests
            .iter()
            .filter(|test| test.reached.contains(&number))
        {
            let chunk = open.entry(test.program).or_default();
            chunk.push(test);
            if chunk.iter().map(|test| test.cost).sum::<Duration>() >= CHUNK {
                chunks.push(std::mem::take(chunk));
            }
        }
        chunks.extend(open.into_values().filter(|chunk| !chunk.is_empty()));
        chunks.sort_by_key(|chunk| chunk.iter().map(|test| test.cost).sum::<Duration>());
        chunks
    }
}

/// A test program with some of its tests.
struct Process<'a, Name: AsRef<str>> {
    program: &'a TestProgram,
    names: &'a [Name],
    environment: (&'static str, String),
    processor_seconds: u64,
    output: PathBuf,
}

impl<Name: AsRef<str>> Process<'_, Name> {
    fn run(&self) -> Result<End> {
        let output = File::create(&self.output).context("no file for a test's output")?;
        let limits = format!(
            "ulimit -c 0; ulimit -t {}; ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"",
            self.processor_seconds
        );
        let mut child = Command::new("sh")
            .args(["-c", &limits])
            .arg(&self.program.path)
            .args(["--exact", "--test-threads=1"])
            .args(self.names.iter().map(Name::as_ref))
            .current_dir(&self.program.folder)
            .env("CARGO_MANIFEST_DIR", &self.program.folder)
            // What one mutant taught a random test must not judge the next one.
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env(self.environment.0, &self.environment.1)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .context("a test program does not start")?;
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() > WALL {
                child.kill()?;
                child.wait()?;
                return Ok(End::Stopped);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        if status.success() {
            return Ok(End::Passed);
        }
        match status.code() {
            Some(FAILED) => Ok(End::Failed(self.first_failure())),
            Some(code) => bail!(
                "{} ends with {code}, which no test program does",
                self.program.path.display()
            ),
            None => Ok(self.signalled(&status)),
        }
    }

    /// A process that a signal ended: its time was over, or it aborted, which is a failure like any other.
    fn signalled(&self, status: &std::process::ExitStatus) -> End {
        use std::os::unix::process::ExitStatusExt as _;
        const SIGKILL: i32 = 9;
        const SIGXCPU: i32 = 24;
        match status.signal() {
            Some(SIGKILL | SIGXCPU) => End::Stopped,
            signal => End::Failed(format!("signal {}", signal.unwrap_or_default())),
        }
    }

    fn first_failure(&self) -> String {
        let output = fs::read(&self.output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output).into_owned();
        // The process ends while a test is under way, and its line is the last one.
        let last = output
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("test "));
        let name = last.and_then(|line| line.split(" ... ").next());
        name.unwrap_or("the program").to_owned()
    }
}

fn list(program: &TestProgram) -> Result<Vec<String>> {
    let output = Command::new(&program.path)
        .args(["--list", "--format", "terse"])
        .current_dir(&program.folder)
        .output()
        .with_context(|| program.path.display().to_string())?;
    let lines = String::from_utf8(output.stdout).context("names of tests are UTF-8")?;
    Ok(lines
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect())
}

fn numbers(trace: &Path) -> BTreeSet<usize> {
    let lines = fs::read_to_string(trace).unwrap_or_default();
    lines.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Gives the items to `jobs` threads; the answers come in any order. The first error ends it.
fn in_parallel<Item: Sync, Answer: Send>(
    jobs: usize,
    items: &[Item],
    work: impl Fn(usize, &Item) -> Result<Answer> + Sync,
) -> Result<Vec<Answer>> {
    let next = Mutex::new(items.iter());
    let answers = Mutex::new(Vec::new());
    let (next, answers, work) = (&next, &answers, &work);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1))
            .map(|worker| {
                scope.spawn(move || -> Result<()> {
                    loop {
                        let item = next.lock().ok().and_then(|mut items| items.next());
                        let Some(item) = item else {
                            return Ok(());
                        };
                        let answer = work(worker, item)?;
                        if let Ok(mut answers) = answers.lock() {
                            answers.push(answer);
                        }
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })?;
    let answers = std::mem::take(
        &mut *answers
            .lock()
            .map_err(|_| anyhow::anyhow!("a worker panicked"))?,
    );
    Ok(answers)
}
