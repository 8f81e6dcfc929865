//! What a run takes from its surroundings, read once.

use std::path::PathBuf;
use std::sync::Arc;

use sealwright_sdk::ambient::Surroundings;
use sealwright_sdk::{Clock, Http, HttpOptions, TraceContext};

use crate::Patience;

/// The surroundings of one run.
pub(crate) struct Environment {
    /// Where profiles are kept: `SEALWRIGHT_HOME`, or `sealwright` in the user's configuration directory.
    pub(crate) home: Option<PathBuf>,
    /// The profile to use when none is named: `SEALWRIGHT_PROFILE`.
    pub(crate) profile: Option<String>,
    /// What identity tokens are found by.
    pub(crate) surroundings: Surroundings,
    /// How long the command may take.
    pub(crate) patience: Patience,
    pub(crate) http: Arc<Http>,
    pub(crate) clock: Clock,
}

impl Environment {
    pub(crate) fn of_process(patience: Patience) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut options = HttpOptions::default();
        options.trace = variable("TRACEPARENT").map(|parent| TraceContext::continued(&parent));
        let configuration = variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let configuration =
            configuration.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")));
        Self {
            home: variable("SEALWRIGHT_HOME")
                .map(PathBuf::from)
                .or_else(|| Some(configuration?.join("sealwright"))),
            profile: variable("SEALWRIGHT_PROFILE"),
            surroundings: Surroundings::new(variables()),
            patience,
            http: Arc::new(Http::new(options)),
            clock: Arc::new(system_clock),
        }
    }

    /// The present, Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }
}

/// All variables that are text; nothing that is not could be a token or an address.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client's one place that reads the time"
)]
fn system_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is wrong in any case. With zero no token, certificate or promise is valid yet; what only expires (TUF
    // metadata) cannot be judged by such a clock at all.
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
