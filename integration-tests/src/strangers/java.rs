//! sigstore-java, through a small program of ours.
//!
//! The library speaks to the authority by gRPC over TLS only, so the daemon needs a TLS listener for it to sign.

use std::path::PathBuf;

use super::{Act, Call, Limit, browser::with_browser, driver::Driven};
use crate::{Tool, workspace_root};

/// `dev.sigstore:sigstore-java`.
#[derive(Debug)]
pub struct Java;

fn folder() -> PathBuf {
    workspace_root().join(".clients/java")
}

impl Driven for Java {
    fn name(&self) -> &'static str {
        "sigstore-java 2.0.0"
    }

    fn absent(&self) -> Option<String> {
        (!folder().join(".installed").exists())
            .then(|| "sigstore-java is not installed: run `make setup`".to_owned())
    }

    fn limits(&self) -> &'static [Limit] {
        &[
            Limit {
                act: Act::VerifyAttestation,
                shows: "Expecting type dsse:0.0.2, but found hashedrekord:0.0.2",
                because: "wants a kind of log entry for attestations that every other client refuses",
            },
            Limit {
                act: Act::LoginDevice,
                shows: "",
                because: "has no device flow",
            },
        ]
    }

    /// A virtual machine that is made to start fast, since each call is a process of its own.
    fn program(&self, call: Call<'_>) -> anyhow::Result<Tool> {
        let folder = folder();
        let tool = Tool::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
            .arg(format!("{0}/classes:{0}/lib/*", folder.display()))
            .arg("Driver")
            .env("HOME", call.home)
            // Any other value would be taken for continuous integration, where the library opens no browser.
            .env("CI", "false");
        with_browser(tool, call.home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_the_name_is_the_one_that_is_installed() {
        let project = include_str!("../../clients/java/pom.xml");
        let version = Java.name().replace("sigstore-java ", "");
        let dependency =
            format!("<artifactId>sigstore-java</artifactId>\n      <version>{version}</version>");
        assert!(
            project.contains(&dependency),
            "{version} is not what pom.xml names"
        );
    }
}
