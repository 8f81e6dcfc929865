//! `sealwright`: sign and verify.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealwright_cli::main()
}
