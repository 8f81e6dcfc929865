//! Writes the cases for verifiers as directories, for a verifier that is not asked by our tests:
//! `cargo run -p sealwright-testkit --example vectors DIR`.

use std::path::Path;
use std::process::ExitCode;

use sealwright_testkit::vectors::{Case, cases, directories};

fn main() -> ExitCode {
    let Some(parent) = std::env::args_os().nth(1) else {
        eprintln!("usage: vectors DIR");
        return ExitCode::from(2);
    };
    let mut cases = cases();
    cases.retain(Case::is_portable);
    for case in &cases {
        if let Err(error) = directories::write(case, Path::new(&parent)) {
            eprintln!("{}: {error}", case.name);
            return ExitCode::FAILURE;
        }
    }
    println!("{} cases below {}", cases.len(), parent.display());
    ExitCode::SUCCESS
}
