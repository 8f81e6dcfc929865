//! Our verifier and the published one judge the same changed bundles, and ours accepts nothing that theirs refuses.

use std::{path::PathBuf, thread};

use anyhow::{bail, ensure};
use sealwright_integration_tests::{
    differential::{
        self, Case, Report, Verdict,
        judges::{Judge, Ours, Python},
        reasons::REASONS,
    },
    python, workspace_root,
};

/// Cases of a usual run: seconds on two cores.
const CASES: usize = 4000;
/// From this many cases on every reason has to have been needed.
const ENOUGH_FOR_EVERY_REASON: usize = 30_000;
/// The seed of the larger part of every run.
const FIXED_SEED: u64 = 20_261_124;

fn number(name: &str) -> anyhow::Result<Option<u64>> {
    let text = std::env::var(name).ok();
    Ok(text.map(|text| text.parse()).transpose()?)
}

/// As many pairs of verifiers as there are processors.
fn pairs<O>(ours: impl Fn() -> O) -> Vec<(O, Python)> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    (0..processors).map(|_| (ours(), Python::new())).collect()
}

#[test]
fn we_accept_no_changed_bundle_that_the_published_verifier_refuses() -> anyhow::Result<()> {
    let test = "we_accept_no_changed_bundle_that_the_published_verifier_refuses";
    if python(test).is_none() {
        return Ok(());
    }
    if let Some(file) = std::env::var_os("SEALWRIGHT_DIFFERENTIAL_REPLAY") {
        return judge_again(&PathBuf::from(file));
    }
    let cases = number("SEALWRIGHT_DIFFERENTIAL_CASES")?.map_or(Ok(CASES), usize::try_from)?;
    let seed = number("SEALWRIGHT_SEED")?.unwrap_or_else(rand::random);
    println!("seed {seed} (repeat with SEALWRIGHT_SEED={seed})");
    let random = cases / 4;
    let mut all = differential::cases(cases - random, FIXED_SEED);
    all.extend(differential::cases(random, seed));
    let report = differential::compare(&all, pairs(|| Ours))?;
    print!("{report}");
    without_findings(&report)?;
    ensure!(
        report.both_accept_changed > report.total() / 100
            && report.both_refuse > report.total() / 4,
        "the changes are too harmless or too coarse to compare anything by: {report}"
    );
    if all.len() >= ENOUGH_FOR_EVERY_REASON {
        let stale: Vec<_> = REASONS
            .iter()
            .filter(|reason| !report.excused.contains_key(reason.because))
            .collect();
        ensure!(stale.is_empty(), "reasons that nothing needs: {stale:#?}");
    }
    Ok(())
}

fn without_findings(report: &Report) -> anyhow::Result<()> {
    let folder = workspace_root().join("target/differential");
    for (number, finding) in report.findings.iter().enumerate().take(50) {
        let file = finding.keep(&folder, number)?;
        println!(
            "FOUND {finding}\n    judge again with SEALWRIGHT_DIFFERENTIAL_REPLAY={}",
            file.display()
        );
    }
    ensure!(
        report.findings.is_empty(),
        "{} cases are judged otherwise than they may be; the first are above",
        report.findings.len()
    );
    Ok(())
}

fn judge_again(file: &std::path::Path) -> anyhow::Result<()> {
    let case = Case::kept(file)?;
    println!("{}; {}; {}", case.specimen, case.class, case.place);
    println!("{}", String::from_utf8_lossy(&case.bundle));
    let (ours, theirs) = (Ours.judge(&case)?, Python::new().judge(&case)?);
    println!("ours:   {ours}\ntheirs: {theirs}");
    if ours == Verdict::Accepted && theirs != Verdict::Accepted {
        bail!("we alone accept");
    }
    Ok(())
}

/// A verifier that does not look.
#[derive(Debug, Clone)]
struct Blind(Verdict);

impl Judge for Blind {
    fn judge(&mut self, _: &Case) -> anyhow::Result<Verdict> {
        Ok(self.0.clone())
    }
}

fn refused() -> Verdict {
    Verdict::Refused {
        kind: "ALWAYS".into(),
        message: "whatever it is".into(),
    }
}

#[test]
fn a_verifier_that_accepts_everything_would_be_found() -> anyhow::Result<()> {
    let test = "a_verifier_that_accepts_everything_would_be_found";
    if python(test).is_none() {
        return Ok(());
    }
    let cases = differential::cases(200, FIXED_SEED);
    let report = differential::compare(&cases, pairs(|| Blind(Verdict::Accepted)))?;
    let refusals = report
        .findings
        .iter()
        .filter(|finding| finding.theirs != Verdict::Accepted);
    ensure!(refusals.count() > 50, "{report}");
    Ok(())
}

#[test]
fn verifiers_that_refuse_everything_would_be_found() -> anyhow::Result<()> {
    let cases = differential::cases(50, FIXED_SEED);
    let unchanged = cases
        .iter()
        .filter(|case| case.class == differential::UNCHANGED)
        .count();
    ensure!(unchanged > 5, "there are {unchanged} specimens");
    // Ours, then theirs.
    for pair in [
        (Blind(refused()), Blind(Verdict::Accepted)),
        (Blind(Verdict::Accepted), Blind(refused())),
        (Blind(refused()), Blind(refused())),
    ] {
        let report = differential::compare(&cases, vec![pair])?;
        let whole = report
            .findings
            .iter()
            .filter(|finding| finding.case.class == differential::UNCHANGED);
        ensure!(whole.count() == unchanged, "{report}");
    }
    Ok(())
}

#[test]
fn a_case_is_read_back_as_it_was_kept() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let case = differential::cases(1, FIXED_SEED).remove(0);
    let finding = differential::Finding {
        case: case.clone(),
        ours: refused(),
        theirs: refused(),
    };
    let again = Case::kept(&finding.keep(folder.path(), 0)?)?;
    assert_eq!(again.bundle, case.bundle);
    assert_eq!(again.trusted_root, case.trusted_root);
    assert_eq!(again.artifact, case.artifact);
    assert_eq!(Ours.judge(&again)?, Verdict::Accepted);
    Ok(())
}
