//! Our own client, asked the same questions as the others.

use std::path::Path;

use anyhow::bail;

use super::{
    Call, Client, PREDICATE_TYPE, Question, Signer, Statement, Trust, Verdict,
    browser::with_browser, driver::done,
};
use crate::Tool;

/// `sealwright`.
#[derive(Debug)]
pub struct Ours;

impl Ours {
    fn tool(call: Call<'_>, verb: &str) -> Tool {
        let home = call.home;
        let tool = Tool::sealwright()
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .arg(verb);
        match call.trust {
            Trust::Files => tool.arg("--trust-config").arg(&call.instance.trust_config),
            Trust::Bootstrapped => tool.args(["--profile", "matrix"]),
        }
    }

    /// The flow is named: without a terminal none would be chosen.
    fn logging_in(tool: Tool, flow: &str) -> Tool {
        tool.arg("--oidc-disable-ambient-providers")
            .args(["--fulcio-auth-flow", flow])
    }

    fn verdict(tool: Tool, question: Question<'_>) -> anyhow::Result<Verdict> {
        let outcome = tool
            .arg("--bundle")
            .arg(question.bundle)
            .args(["--certificate-identity", question.identity])
            .args(["--certificate-oidc-issuer", question.issuer])
            .arg(question.artifact)
            .run()?;
        match outcome.code {
            Some(0) => Ok(Verdict::Accepted),
            Some(1) => Ok(Verdict::Refused(outcome.stderr)),
            _ => bail!("no verdict from {outcome}"),
        }
    }
}

impl Client for Ours {
    fn name(&self) -> &'static str {
        "sealwright"
    }

    fn absent(&self) -> Option<String> {
        None
    }

    fn bootstrap(&self, call: Call<'_>) -> anyhow::Result<()> {
        let home = call.home;
        let tool = Tool::sealwright()
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .args(["trust", "init", &call.instance.tuf])
            .args(["--profile", "matrix", "--root"])
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
        let tool = Self::tool(call, "sign-blob").arg("--bundle").arg(bundle);
        match signer {
            Signer::Token(token) => done(
                tool.args(["--identity-token", "-"])
                    .arg(artifact)
                    .run_with_input(token.as_bytes())?,
            ),
            Signer::Browser => {
                let tool = Self::logging_in(tool, "normal").arg(artifact);
                done(with_browser(tool, call.home)?.run()?)
            }
            Signer::Device => done(Self::logging_in(tool, "device").arg(artifact).run()?),
        }
    }

    fn attest(
        &self,
        call: Call<'_>,
        token: &str,
        statement: &Statement,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        let tool = Self::tool(call, "attest-blob")
            .args(["--identity-token", "-", "--statement"])
            .arg(&statement.statement)
            .arg("--bundle")
            .arg(bundle);
        done(tool.run_with_input(token.as_bytes())?)
    }

    fn verify(&self, call: Call<'_>, question: Question<'_>) -> anyhow::Result<Verdict> {
        Self::verdict(Self::tool(call, "verify-blob"), question)
    }

    fn verify_attestation(
        &self,
        call: Call<'_>,
        question: Question<'_>,
    ) -> anyhow::Result<Verdict> {
        let tool = Self::tool(call, "verify-blob-attestation").args(["--type", PREDICATE_TYPE]);
        Self::verdict(tool, question)
    }
}
