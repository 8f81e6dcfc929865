//! `sealwright-conformance`: the client under test of the published conformance suite.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealwright_cli::conformance::main()
}
