//! Our verifier and the published one judge the same changed bundles, and ours accepts nothing that theirs refuses.

use anyhow::{Context as _, ensure};
use sealwright_integration_tests::{
    differential::{
        self, Case, FIXED_SEED, Verdict,
        judges::{Judge, Ours},
    },
    python,
};

/// Cases of a usual run: seconds on two cores.
const CASES: usize = 4000;

#[test]
fn we_accept_no_changed_bundle_that_the_published_verifier_refuses() -> anyhow::Result<()> {
    let test = "we_accept_no_changed_bundle_that_the_published_verifier_refuses";
    if python(test).is_none() {
        return Ok(());
    }
    let cases = match std::env::var("SEALWRIGHT_DIFFERENTIAL_CASES") {
        Ok(cases) => cases
            .parse()
            .context("SEALWRIGHT_DIFFERENTIAL_CASES is a number")?,
        Err(_) => CASES,
    };
    ensure!(
        differential::run(cases)?,
        "cases are judged otherwise than they may be; see above"
    );
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
    let report = differential::compare(&cases, differential::pairs(|| Blind(Verdict::Accepted)))?;
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
