//! `sealwright-tuf-conformance`: the client under test of the published TUF conformance suite.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealwright_cli::tuf_conformance::main()
}
