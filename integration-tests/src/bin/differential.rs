//! Puts changed bundles before our verifier and the published one: `differential [CASES]`, or `differential judge FILE` for
//! a case that was kept. `SEALWRIGHT_SEED` repeats a random seed.

use std::{env, path::Path, process::ExitCode};

use sealwright_integration_tests::differential;

/// Cases when no number is given.
const CASES: usize = 4000;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let fine = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["judge", file] => differential::judge_again(Path::new(file))?,
        [] => differential::run(CASES)?,
        [cases] => differential::run(cases.parse()?)?,
        _ => anyhow::bail!("differential [CASES] | differential judge FILE"),
    };
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
