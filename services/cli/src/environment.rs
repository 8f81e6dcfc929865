//! What a run takes from its surroundings, read once.

use std::path::PathBuf;
use std::sync::Arc;

use sealwright_sdk::{Clock, Http, HttpOptions, TOKEN_VARIABLE, TraceContext};

/// The surroundings of one run.
pub(crate) struct Environment {
    /// Where profiles are kept: `SEALWRIGHT_HOME`, or `sealwright` in the user's configuration directory.
    pub(crate) home: Option<PathBuf>,
    /// The profile to use when none is named: `SEALWRIGHT_PROFILE`.
    pub(crate) profile: Option<String>,
    /// A token, in `SIGSTORE_ID_TOKEN`.
    pub(crate) identity_token: Option<String>,
    pub(crate) http: Arc<Http>,
    pub(crate) clock: Clock,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
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
            identity_token: variable(TOKEN_VARIABLE),
            http: Arc::new(Http::new(options)),
            clock: Arc::new(system_clock),
        }
    }

    /// The present, Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client's one place that reads the time"
)]
fn system_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is wrong in any case; zero makes everything look not yet valid, which is the safe side.
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
