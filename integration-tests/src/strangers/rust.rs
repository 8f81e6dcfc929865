//! The crates `sigstore-sign`, `sigstore-verify` and `sigstore-trust-root`, through a small program of ours that is
//! built apart, with a lock file of its own.

use std::path::PathBuf;

use super::{Act, Call, Limit, browser::with_browser, driver::Driven};
use crate::{Tool, workspace_root};

/// The `sigstore-*` crates.
#[derive(Debug)]
pub struct Crates;

fn program() -> PathBuf {
    workspace_root().join(".clients/rust/debug/client-rust")
}

impl Driven for Crates {
    fn name(&self) -> &'static str {
        "sigstore-rust 0.15.1"
    }

    fn absent(&self) -> Option<String> {
        (!program().exists())
            .then(|| "the Rust client is not installed: run `make setup`".to_owned())
    }

    fn limits(&self) -> &'static [Limit] {
        &[Limit {
            act: Act::LoginDevice,
            shows: "",
            because: "has no device flow",
        }]
    }

    fn program(&self, call: Call<'_>) -> anyhow::Result<Tool> {
        let tool = Tool::new(program())
            .env("HOME", call.home)
            .env("XDG_CACHE_HOME", call.home.join("cache"))
            .env("XDG_DATA_HOME", call.home.join("data"));
        with_browser(tool, call.home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_the_name_is_the_one_that_is_built() {
        let locked = include_str!("../../clients/rust/Cargo.lock");
        let version = Crates.name().replace("sigstore-rust ", "");
        for name in ["sigstore-sign", "sigstore-trust-root", "sigstore-verify"] {
            assert!(
                locked.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")),
                "{name} {version} is not what the lock file names"
            );
        }
    }
}
