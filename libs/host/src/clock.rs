//! Wall-clock time as a value that is passed around.
//!
//! Services hold a [`SharedClock`]; tests hand them a [`ManualClock`] and move it. [`SystemClock`] is the only place in
//! the servers that asks the operating system.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A source of wall-clock time.
///
/// Implementations answer at once, from any thread, and may step backwards (an operator sets the clock): a caller that
/// needs order keeps its own high-water mark.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
    fn unix_ms(&self) -> i64;

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    fn unix(&self) -> i64 {
        self.unix_ms().div_euclid(1000)
    }

    /// Whether something keeps this clock right. A clock that cannot tell says so.
    fn discipline(&self) -> Discipline {
        Discipline::Unknown
    }
}

/// What is known of how a clock is kept right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// A time service steers it.
    Synchronised {
        /// The furthest it may be from the true time, by the kernel's bookkeeping.
        max_error: Duration,
    },
    /// Nothing steers it.
    Unsynchronised,
    /// Nobody can tell.
    Unknown,
}

/// A clock that services share.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The system clock, ready to share.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where servers read the time"
    )]
    fn unix_ms(&self) -> i64 {
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    fn discipline(&self) -> Discipline {
        match sealwright_kernel_clock::status() {
            Ok(status) if status.synchronised => Discipline::Synchronised {
                max_error: status.max_error,
            },
            Ok(_) => Discipline::Unsynchronised,
            // A sandbox may forbid the call.
            Err(_) => Discipline::Unknown,
        }
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    unix_ms: AtomicI64,
    discipline: Mutex<Discipline>,
}

impl ManualClock {
    /// A clock that shows `unix` seconds.
    #[must_use]
    pub const fn at(unix: i64) -> Self {
        Self {
            unix_ms: AtomicI64::new(unix.saturating_mul(1000)),
            discipline: Mutex::new(Discipline::Unknown),
        }
    }

    /// Says from now on that it is kept right in this way.
    pub fn set_discipline(&self, discipline: Discipline) {
        *self
            .discipline
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = discipline;
    }

    /// Shows `unix_ms` milliseconds from now on; going backwards is allowed.
    pub fn set_ms(&self, unix_ms: i64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }

    /// Moves by `ms` milliseconds, which may be negative.
    pub fn advance_ms(&self, ms: i64) {
        self.unix_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Moves by `seconds`, which may be negative.
    pub fn advance(&self, seconds: i64) {
        self.advance_ms(seconds.saturating_mul(1000));
    }
}

impl Clock for ManualClock {
    fn unix_ms(&self) -> i64 {
        self.unix_ms.load(Ordering::SeqCst)
    }

    fn discipline(&self) -> Discipline {
        *self
            .discipline
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_down_also_before_the_epoch() {
        let clock = ManualClock::at(0);
        clock.set_ms(-1);
        assert_eq!(clock.unix(), -1);
        clock.advance_ms(1001);
        assert_eq!((clock.unix(), clock.unix_ms()), (1, 1000));
    }

    #[test]
    fn the_system_clock_shows_a_year_after_2020() {
        assert!(SystemClock.unix() > 1_577_836_800);
    }
}
