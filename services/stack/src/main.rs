//! `sealwrightd`: every server of a Sealwright stack, in one program.

use std::process::ExitCode;

/// A request's buffers are made on one thread and freed on another, which the C library's allocator pays for with locks: it
/// took a tenth of the processor time of a log entry.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sealwright_stack::cli::main()
}
