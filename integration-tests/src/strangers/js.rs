//! The npm packages: the libraries, through a small program of ours, and the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{
    Act, Call, Client, Limit, Question, Signer, Statement, Verdict,
    browser::with_browser,
    driver::{self, Driven},
};
use crate::{Outcome, Tool, workspace_root};

/// `@sigstore/sign`, `@sigstore/verify`, `@sigstore/tuf` and `sigstore`.
#[derive(Debug)]
pub struct Packages;

/// `@sigstore/cli`, which takes its trust from TUF alone, whatever it is asked.
#[derive(Debug)]
pub struct Cli;

fn folder() -> PathBuf {
    workspace_root().join("integration-tests/clients/js")
}

/// Node of the version that the packages ask for, which npm installs beside them.
fn node() -> PathBuf {
    folder().join("node_modules/node/bin/node")
}

fn absent() -> Option<String> {
    let installed = folder().join("node_modules/.installed");
    (!installed.exists()).then(|| "the npm clients are not installed: run `make setup`".to_owned())
}

/// Names of the errors by which the verifier refuses.
const VERDICTS: [&str; 2] = ["VerificationError", "PolicyError"];

/// Node with a home and cache of its own, outside of any continuous integration.
fn tool(call: Call<'_>, script: &Path) -> Tool {
    Tool::new(node())
        .arg(script)
        .env("HOME", call.home)
        .env("XDG_DATA_HOME", call.home.join("data"))
        .env("XDG_CACHE_HOME", call.home.join("cache"))
        .env("CI", "false")
}

impl Driven for Packages {
    fn name(&self) -> &'static str {
        "sigstore-js 5.0.1"
    }

    fn absent(&self) -> Option<String> {
        absent()
    }

    fn limits(&self) -> &'static [Limit] {
        &[
            Limit {
                act: Act::LoginBrowser,
                shows: "",
                because: "takes a token; logging in is for its command line",
            },
            Limit {
                act: Act::LoginDevice,
                shows: "",
                because: "has no device flow",
            },
            Limit {
                act: Act::Subject,
                shows: "",
                because: "verifies the envelope and leaves the statement's subject to its caller",
            },
            Limit {
                act: Act::WholeIdentity,
                shows: "",
                because: "takes the identity for a regular expression that may match anywhere",
            },
        ]
    }

    fn program(&self, call: Call<'_>) -> anyhow::Result<Tool> {
        Ok(tool(call, &folder().join("driver.mjs")))
    }
}

impl Cli {
    fn tool(call: Call<'_>) -> Tool {
        tool(call, &folder().join("node_modules/@sigstore/cli/bin/run"))
    }

    /// A verdict is an error that the verifier has thrown, which the program shows with its code.
    fn verdict(outcome: &Outcome) -> anyhow::Result<Verdict> {
        match outcome.code {
            Some(0) if outcome.stderr.contains("Verification succeeded") => Ok(Verdict::Accepted),
            Some(1) if VERDICTS.iter().any(|name| outcome.stderr.contains(name)) => {
                Ok(Verdict::Refused(outcome.stderr.clone()))
            }
            _ => bail!("no verdict from {outcome}"),
        }
    }

    fn question(call: Call<'_>, question: Question<'_>) -> Tool {
        Self::tool(call)
            .arg("verify")
            .args(["--tuf-mirror-url", &call.instance.tuf])
            .arg("--tuf-root-path")
            .arg(&call.instance.tuf_root)
            .arg("--tuf-cache-path")
            .arg(call.home.join("tuf"))
            .args(["--certificate-issuer", question.issuer])
            .args(["--certificate-identity-email", question.identity])
    }
}

impl Client for Cli {
    fn name(&self) -> &'static str {
        "@sigstore/cli 0.10.3"
    }

    fn absent(&self) -> Option<String> {
        absent()
    }

    fn limits(&self) -> &'static [Limit] {
        &[
            Limit {
                act: Act::Sign,
                shows: "",
                because: "has no verb that signs a file",
            },
            Limit {
                act: Act::Attest,
                shows: "TLOG_CREATE_ENTRY_ERROR",
                because: "submits to the interface of Rekor v1 alone, which has no place here",
            },
            Limit {
                act: Act::LoginDevice,
                shows: "",
                because: "has no device flow",
            },
            Limit {
                act: Act::Subject,
                shows: "",
                because: "verifies the envelope and leaves the statement's subject to its caller",
            },
            Limit {
                act: Act::WholeIdentity,
                shows: "",
                because: "takes the identity for a regular expression that may match anywhere",
            },
        ]
    }

    fn bootstrap(&self, call: Call<'_>) -> anyhow::Result<()> {
        let tool = Self::tool(call)
            .args(["initialize", "--mirror", &call.instance.tuf])
            .arg("--root")
            .arg(&call.instance.tuf_root)
            .arg("--cache-path")
            .arg(call.home.join("tuf"));
        driver::done(tool.run()?)
    }

    /// Logs in with the verb `token`; the packages sign with what it answers, since the command line cannot.
    fn sign(
        &self,
        call: Call<'_>,
        signer: Signer<'_>,
        artifact: &Path,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        let Signer::Browser = signer else {
            bail!("the client signs no files");
        };
        let tool = Self::tool(call).args(["token", "--issuer", &call.instance.issuer]);
        let stdout = with_browser(tool, call.home)?.run()?.success()?;
        let token = stdout
            .lines()
            .last()
            .context("a token on standard output")?;
        Packages.sign(call, Signer::Token(token), artifact, bundle)
    }

    /// Logs in through the browser: the verb takes no token.
    fn attest(
        &self,
        call: Call<'_>,
        _token: &str,
        statement: &Statement,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&call.instance.signing_config)?)?;
        let url = |service: &str| {
            let url = config[service][0]["url"].as_str();
            url.map(str::to_owned)
                .with_context(|| format!("{service} in the signing config"))
        };
        let tool = Self::tool(call)
            .args(["attest", "--oidc-issuer", &call.instance.issuer])
            .args(["--fulcio-url", &url("caUrls")?])
            .args(["--rekor-url", &url("rekorTlogUrls")?])
            .args(["--tsa-server-url", &url("tsaUrls")?])
            .arg("--output-file")
            .arg(bundle)
            .arg(&statement.statement);
        driver::done(with_browser(tool, call.home)?.run()?)
    }

    fn verify(&self, call: Call<'_>, question: Question<'_>) -> anyhow::Result<Verdict> {
        let tool = Self::question(call, question)
            .arg("--blob-file")
            .arg(question.artifact);
        Self::verdict(&tool.arg(question.bundle).run()?)
    }

    fn verify_attestation(
        &self,
        call: Call<'_>,
        question: Question<'_>,
    ) -> anyhow::Result<Verdict> {
        Self::verdict(&Self::question(call, question).arg(question.bundle).run()?)
    }
}
