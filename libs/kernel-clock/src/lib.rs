//! Whether something keeps the kernel's clock right, as `adjtimex(2)` tells it.
//!
//! It reads and never sets. The call is a crate of its own because it is the only `unsafe` of the project: no maintained
//! crate gives a safe form of it, and a room with one function is quickly audited. The neighbours: `sealwright-host` gives
//! the answer as a property of its clock, and the timestamp authority decides what follows from it.

use std::io;
use std::time::Duration;

/// What the kernel knows about its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether a time service has steered the clock lately (the kernel drops the flag by itself after a while without).
    pub synchronised: bool,
    /// The furthest the clock may be from the true time. It grows by 500 us a second until the service sets it anew.
    pub max_error: Duration,
}

/// Asks the kernel.
///
/// # Errors
/// What the operating system said, e.g. when a sandbox forbids the call.
#[cfg(target_os = "linux")]
pub fn status() -> io::Result<Status> {
    let (state, timex) = query()?;
    let max_error = u64::try_from(timex.maxerror).unwrap_or(u64::MAX);
    Ok(Status {
        synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        max_error: Duration::from_micros(max_error),
    })
}

/// Where there is no such call, nothing can be told.
///
/// # Errors
/// Always `Unsupported`.
#[cfg(not(target_os = "linux"))]
pub fn status() -> io::Result<Status> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that no maintained crate wraps")]
fn query() -> io::Result<(libc::c_int, libc::timex)> {
    // SAFETY: `timex` is plain numbers, for each of which all bits zero is a value; `modes` zero asks and sets nothing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live, writable `timex`, and the kernel keeps it no longer than the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((state, timex))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_kernels_or_its_refusal() {
        match status() {
            // The kernel's own ceiling is 16 s, with which it also starts.
            Ok(status) => assert!(status.max_error <= Duration::from_secs(16), "{status:?}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
