//! The PyPI package `sigstore`, through its command line.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::{
    Act, Call, Client, Limit, PREDICATE_TYPE, Question, Signer, Statement, Trust, Verdict,
    browser::with_browser, driver::done,
};
use crate::{Outcome, Tool, workspace_root};

/// `sigstore` from PyPI.
#[derive(Debug)]
pub struct Python;

/// The interpreter of the folder that `make setup` fills.
pub fn program() -> PathBuf {
    workspace_root().join(".venv/bin/python")
}

impl Python {
    fn tool(call: Call<'_>) -> Tool {
        let home = call.home;
        let tool = Tool::new(program())
            .args(["-m", "sigstore"])
            .env("HOME", home)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("SIGSTORE_IDENTITY_TOKEN", "");
        match call.trust {
            Trust::Files => tool.arg("--trust-config").arg(&call.instance.trust_config),
            Trust::Bootstrapped => tool.args(["--instance", &call.instance.tuf]),
        }
    }

    fn signed(tool: Tool, call: Call<'_>, signer: Signer<'_>) -> anyhow::Result<Tool> {
        match signer {
            Signer::Token(token) => Ok(tool.args(["--identity-token", token])),
            Signer::Browser => {
                with_browser(tool.arg("--oidc-disable-ambient-providers"), call.home)
            }
            Signer::Device => bail!("the client has no device flow"),
        }
    }

    /// A verdict is what the verifier says; a traceback, which has the same exit code, is none.
    fn verdict(outcome: &Outcome) -> anyhow::Result<Verdict> {
        match outcome.code {
            Some(0) => Ok(Verdict::Accepted),
            Some(1)
                if outcome.stderr.contains("FAIL:") && !outcome.stderr.contains("Traceback") =>
            {
                Ok(Verdict::Refused(outcome.stderr.clone()))
            }
            _ => bail!("no verdict from {outcome}"),
        }
    }
}

impl Client for Python {
    fn name(&self) -> &'static str {
        "sigstore-python 4.5.1"
    }

    fn absent(&self) -> Option<String> {
        (!program().exists())
            .then(|| "the Python clients are not installed: run `make setup`".to_owned())
    }

    fn limits(&self) -> &'static [Limit] {
        &[Limit {
            act: Act::LoginDevice,
            shows: "",
            because: "has no device flow",
        }]
    }

    fn bootstrap(&self, call: Call<'_>) -> anyhow::Result<()> {
        let call = Call {
            trust: Trust::Bootstrapped,
            ..call
        };
        let tool = Self::tool(call)
            .arg("trust-instance")
            .arg(&call.instance.tuf_root);
        done(tool.run()?)
    }

    fn sign(
        &self,
        call: Call<'_>,
        signer: Signer<'_>,
        artifact: &Path,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        let tool = Self::tool(call).args(["sign", "--overwrite", "--bundle"]);
        let tool = Self::signed(tool.arg(bundle), call, signer)?;
        done(tool.arg(artifact).run()?)
    }

    fn attest(
        &self,
        call: Call<'_>,
        token: &str,
        statement: &Statement,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        let tool = Self::tool(call)
            .args(["attest", "--overwrite", "--identity-token", token])
            .args(["--predicate-type", PREDICATE_TYPE, "--predicate"])
            .arg(&statement.predicate)
            .arg("--bundle")
            .arg(bundle);
        done(tool.arg(&statement.artifact).run()?)
    }

    fn verify(&self, call: Call<'_>, question: Question<'_>) -> anyhow::Result<Verdict> {
        let tool = Self::tool(call)
            .args(["verify", "identity"])
            .arg("--bundle")
            .arg(question.bundle)
            .args(["--cert-identity", question.identity])
            .args(["--cert-oidc-issuer", question.issuer]);
        Self::verdict(&tool.arg(question.artifact).run()?)
    }

    fn verify_attestation(
        &self,
        call: Call<'_>,
        question: Question<'_>,
    ) -> anyhow::Result<Verdict> {
        // The same verb; it looks at what the bundle holds.
        self.verify(call, question)
    }
}
