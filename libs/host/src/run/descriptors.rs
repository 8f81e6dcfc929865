//! How many files the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for everything that is no connection from outside: state, logs, connections to others.
const RESERVE: u64 = 256;

/// Raises the soft limit of open files to the hard one and tells how many connections fit below it.
///
/// The soft limit is low by custom, for programs that use `select`, which no part of this process does.
pub(super) fn connections_that_fit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let soft = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // Not permitted: what there is has to do.
        Err(_) => limit.current,
    };
    let soft = soft.unwrap_or(u64::MAX);
    // Where there is next to nothing, half of it.
    let fit = soft.saturating_sub(RESERVE).max(soft / 2).max(1);
    usize::try_from(fit).unwrap_or(usize::MAX)
}
