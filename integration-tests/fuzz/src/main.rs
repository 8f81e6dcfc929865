//! The fuzzer's command line. `make test` and `make soak` call it; CONTRIBUTING.md says how to call it by hand.

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use sealwright_fuzz::driver::{self, Current, Plan};
use sealwright_fuzz::{Target, seeds, targets};

/// Hostile bytes for every parser of the workspace.
#[derive(Debug, Parser)]
#[command(name = "sealwright-fuzz")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every target: regressions, seeds, the fixed seed and a random one. SEALWRIGHT_SEED repeats a random one.
    Run {
        /// Sizes the case counts: 1 is `make test`.
        #[arg(long, default_value_t = 1)]
        scale: u64,
        /// Start again with another random seed until so many minutes are over; what is new is kept under target/fuzz.
        #[arg(long)]
        minutes: Option<u64>,
        /// These targets only.
        #[arg(long = "target")]
        targets: Vec<String>,
    },
    /// One target in this process. `run` starts it.
    Target {
        name: String,
        #[arg(long = "seed")]
        seeds: Vec<u64>,
        #[arg(long)]
        cases: u64,
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Gives one file to a target and says what it does.
    Replay { target: String, file: PathBuf },
    /// Makes the seeds again.
    Corpus,
}

/// The seed whose inputs are the same in every run.
const FIXED_SEED: u64 = 1;
/// Targets that run at one time.
const PARALLEL: usize = 2;
/// How a process says that it found something.
const FOUND: u8 = 10;

fn main() -> Result<ExitCode> {
    match Cli::parse().verb {
        Verb::Run {
            scale,
            minutes,
            targets,
        } => run(
            scale,
            minutes.map(|minutes| Duration::from_secs(60 * minutes)),
            &targets,
        ),
        Verb::Target {
            name,
            seeds,
            cases,
            keep,
        } => {
            let plan = Plan { seeds, cases, keep };
            on_a_small_stack(move || one(known(&name)?, &plan))
        }
        Verb::Replay { target, file } => on_a_small_stack(move || {
            let input = fs::read(&file).with_context(|| file.display().to_string())?;
            println!("{}", (known(&target)?.check)(&input));
            Ok(ExitCode::SUCCESS)
        }),
        Verb::Corpus => seeds::write_all().map(|()| ExitCode::SUCCESS),
    }
}

fn known(name: &str) -> Result<&'static Target> {
    targets::named(name).with_context(|| {
        let names: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
        format!("there is no target {name}; there are {}", names.join(", "))
    })
}

fn on_a_small_stack(work: impl FnOnce() -> Result<ExitCode> + Send + 'static) -> Result<ExitCode> {
    let thread = std::thread::Builder::new().stack_size(driver::STACK_BYTES);
    let thread = thread.spawn(work)?;
    thread
        .join()
        .unwrap_or_else(|_| bail!("a parser broke a promise; see above"))
}

/// Where everything that is not committed goes.
fn folder() -> Result<PathBuf> {
    let executable = env::current_exe()?;
    let profile = executable
        .parent()
        .context("the executable is in a folder")?;
    // target/<profile>, or target/<profile>/deps.
    let target = profile
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "target"));
    Ok(target.unwrap_or(profile).join("fuzz"))
}

fn one(target: &'static Target, plan: &Plan) -> Result<ExitCode> {
    driver::record_panics();
    let folder = folder()?;
    let current = Current::create(&folder, target.name)?;
    let report = driver::run(target, plan, &current)?;
    current.done()?;
    let seconds = report.elapsed.as_secs_f64();
    println!(
        "{:<18} {:>8} cases {:>7.0}/s {:>5} behaviours, slowest {:>6.1} ms of {} bytes, memory {}x of {}x",
        target.name,
        report.cases,
        report.cases as f64 / seconds.max(0.001),
        report.behaviours.len(),
        report.slowest.0.as_secs_f64() * 1000.0,
        report.slowest.1,
        report.peak_factor,
        target.peak_factor,
    );
    for finding in &report.findings {
        tell(target.name, &finding.what, &finding.input)?;
    }
    Ok(if report.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        FOUND.into()
    })
}

/// Saves what broke a target and says how to see it again.
fn tell(target: &str, what: &str, input: &[u8]) -> Result<()> {
    let found = folder()?.join("findings").join(target);
    fs::create_dir_all(&found)?;
    let file = found.join(driver::name_of(input));
    fs::write(&file, input)?;
    // Comparisons of bytes print both sides in full.
    println!("FOUND {target}: {what:.600}");
    println!("      sealwright-fuzz replay {target} {}", file.display());
    Ok(())
}

fn run(scale: u64, time: Option<Duration>, only: &[String]) -> Result<ExitCode> {
    let chosen: Vec<&Target> = match only {
        [] => targets::ALL.iter().collect(),
        names => names
            .iter()
            .map(|name| known(name))
            .collect::<Result<_>>()?,
    };
    let end = time.map(|time| Instant::now() + time);
    loop {
        let seed: u64 = match env::var("SEALWRIGHT_SEED") {
            Ok(text) => text.parse().context("SEALWRIGHT_SEED is a number")?,
            Err(_) => rand::random(),
        };
        println!("seed {seed} (repeat with SEALWRIGHT_SEED={seed})");
        if !round(&chosen, seed, scale, time.is_some())? {
            return Ok(FOUND.into());
        }
        if end.is_none_or(|end| Instant::now() >= end) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Whether every target held.
fn round(chosen: &[&Target], seed: u64, scale: u64, keep: bool) -> Result<bool> {
    let mut waiting = chosen.iter();
    let mut running: Vec<(&Target, Child)> = Vec::new();
    let mut held = true;
    loop {
        while running.len() < PARALLEL
            && let Some(target) = waiting.next()
        {
            running.push((target, start(target, seed, scale, keep)?));
        }
        if running.is_empty() {
            return Ok(held);
        }
        let (target, child) = running.remove(0);
        held &= finish(target, child)?;
    }
}

fn start(target: &Target, seed: u64, scale: u64, keep: bool) -> Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    let cases = target.cases * scale / 2;
    command.args(["target", target.name, "--cases", &cases.to_string()]);
    // A long run need not repeat what every short one does.
    if !keep {
        command.args(["--seed", &FIXED_SEED.to_string()]);
    }
    command.args(["--seed", &seed.to_string()]);
    if keep {
        command
            .arg("--keep")
            .arg(folder()?.join("kept").join(target.name));
    }
    Ok(command.stdin(Stdio::null()).spawn()?)
}

fn finish(target: &Target, mut child: Child) -> Result<bool> {
    let status = child.wait()?;
    match status.code() {
        Some(0) => Ok(true),
        Some(code) if code == i32::from(FOUND) => Ok(false),
        _ => {
            let input = Current::read(&folder()?, target.name)?;
            tell(target.name, &format!("the process ended: {status}"), &input)?;
            Ok(false)
        }
    }
}
