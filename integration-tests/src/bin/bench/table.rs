//! The table at the end: what was wanted, what is here, what the peers have.

use std::fmt;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Less than this.
    Under(f64),
    /// This at least.
    AtLeast(f64),
    /// Told for orientation.
    None,
}

impl Goal {
    fn verdict(self, here: f64) -> &'static str {
        let met = match self {
            Self::Under(limit) => here < limit,
            Self::AtLeast(limit) => here >= limit,
            Self::None => return "",
        };
        if met { "met" } else { "missed" }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Under(limit) => f.pad(&format!("< {}", figure(*limit))),
            Self::AtLeast(limit) => f.pad(&format!(">= {}", figure(*limit))),
            Self::None => f.pad(""),
        }
    }
}

#[derive(Debug)]
struct Row {
    what: String,
    goal: Goal,
    here: f64,
    peer: String,
}

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        goal: Goal,
        here: f64,
        peer: impl Into<String>,
    ) {
        self.0.push(Row {
            what: what.into(),
            goal,
            here,
            peer: peer.into(),
        });
    }
}

/// Three digits that count, and no more than the measurement bears.
pub(crate) fn figure(value: f64) -> String {
    if value.abs() < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.what.len()).max().unwrap_or(0);
        let line = |f: &mut fmt::Formatter<'_>, cells: [&str; 5]| {
            let [what, goal, here, verdict, peer] = cells;
            writeln!(
                f,
                "{what:width$}  {goal:>9}  {here:>9}  {verdict:6}  {peer}"
            )
        };
        line(f, ["figure", "goal", "here", "", "peers"])?;
        for row in &self.0 {
            let (goal, here) = (row.goal.to_string(), figure(row.here));
            line(
                f,
                [
                    &row.what,
                    &goal,
                    &here,
                    row.goal.verdict(row.here),
                    &row.peer,
                ],
            )?;
        }
        Ok(())
    }
}
