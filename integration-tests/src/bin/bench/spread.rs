//! Durations, sorted.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Percentiles of durations in milliseconds.
#[derive(Debug)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort();
        Self(
            samples
                .into_iter()
                .map(|sample| sample.as_secs_f64() * 1e3)
                .collect(),
        )
    }

    /// Samples of several rounds as those of one.
    pub(crate) fn together(spreads: Vec<Self>) -> Self {
        let mut all: Vec<f64> = spreads.into_iter().flat_map(|spread| spread.0).collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }

    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get(last * percent / 100)
            .copied()
            .unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent| self.percentile(percent);
        write!(
            f,
            "min {:.2} p50 {:.2} p99 {:.2} max {:.2} ms",
            at(0),
            at(50),
            at(99),
            at(100)
        )
    }
}

/// Does something `count` times, one after the other.
pub(crate) fn repeat(
    count: usize,
    mut act: impl FnMut(usize) -> anyhow::Result<()>,
) -> anyhow::Result<Spread> {
    let mut samples = Vec::with_capacity(count);
    for n in 0..count {
        let begun = Instant::now();
        act(n)?;
        samples.push(begun.elapsed());
    }
    Ok(Spread::of(samples))
}
