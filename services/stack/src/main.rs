//! `sealwrightd`: every server of a Sealwright stack, in one program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealwright_stack::cli::main()
}
