//! cosign, through its command line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::bail;

use super::{
    Call, Client, PREDICATE_TYPE, Question, Signer, Statement, Trust, Verdict,
    browser::with_browser, driver::done,
};
use crate::{Outcome, Tool, workspace_root};

/// `cosign`, from the Go module.
#[derive(Debug)]
pub struct Cosign;

/// What cosign says when it has judged a bundle. Its exit code is 1 for everything, a mistyped flag included.
const REFUSALS: [&str; 2] = ["failed to verify", "bundle does not contain"];

fn program() -> PathBuf {
    workspace_root().join(".clients/bin/cosign")
}

impl Cosign {
    fn tool(call: Call<'_>, verb: &str) -> Tool {
        Tool::new(program())
            .arg(verb)
            .env("HOME", call.home)
            .env("TUF_ROOT", call.home.join("tuf"))
            .env("DOCKER_CONFIG", call.home.join("docker"))
    }

    fn signing(call: Call<'_>, verb: &str) -> Tool {
        let tool = Self::tool(call, verb).arg("--yes");
        match call.trust {
            Trust::Files => tool
                .arg("--trusted-root")
                .arg(&call.instance.trusted_root)
                .arg("--signing-config")
                .arg(&call.instance.signing_config),
            Trust::Bootstrapped => tool,
        }
    }

    fn signed(tool: Tool, call: Call<'_>, signer: Signer<'_>) -> anyhow::Result<Tool> {
        match signer {
            Signer::Token(token) => {
                let file = call.home.join("token.jwt");
                fs::write(&file, token)?;
                Ok(tool.arg("--identity-token").arg(file))
            }
            Signer::Browser => with_browser(Self::logging_in(tool, "normal"), call.home),
            Signer::Device => Ok(Self::logging_in(tool, "device")),
        }
    }

    /// The flow is named, since cosign would choose by whether it has a terminal.
    fn logging_in(tool: Tool, flow: &str) -> Tool {
        tool.arg("--oidc-disable-ambient-providers")
            .args(["--fulcio-auth-flow", flow])
    }

    fn asked(call: Call<'_>, verb: &str, question: Question<'_>) -> Tool {
        let tool = Self::tool(call, verb);
        let tool = match call.trust {
            Trust::Files => tool.arg("--trusted-root").arg(&call.instance.trusted_root),
            Trust::Bootstrapped => tool,
        };
        tool.arg("--bundle")
            .arg(question.bundle)
            .args(["--certificate-identity", question.identity])
            .args(["--certificate-oidc-issuer", question.issuer])
    }

    fn verdict(outcome: &Outcome) -> anyhow::Result<Verdict> {
        match outcome.code {
            Some(0) => Ok(Verdict::Accepted),
            Some(1) if REFUSALS.iter().any(|words| outcome.stderr.contains(words)) => {
                Ok(Verdict::Refused(outcome.stderr.trim().to_owned()))
            }
            _ => bail!("no verdict from {outcome}"),
        }
    }
}

impl Client for Cosign {
    fn name(&self) -> &'static str {
        "cosign 3.1.3"
    }

    fn absent(&self) -> Option<String> {
        (!program().exists()).then(|| "cosign is not installed: run `make setup`".to_owned())
    }

    fn bootstrap(&self, call: Call<'_>) -> anyhow::Result<()> {
        let tool = Self::tool(call, "initialize")
            .args(["--mirror", &call.instance.tuf, "--root"])
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
        let tool = Self::signed(Self::signing(call, "sign-blob"), call, signer)?;
        done(tool.arg("--bundle").arg(bundle).arg(artifact).run()?)
    }

    fn attest(
        &self,
        call: Call<'_>,
        token: &str,
        statement: &Statement,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        let tool = Self::signing(call, "attest-blob")
            .arg("--statement")
            .arg(&statement.statement);
        let tool = Self::signed(tool, call, Signer::Token(token))?;
        done(tool.arg("--bundle").arg(bundle).run()?)
    }

    fn verify(&self, call: Call<'_>, question: Question<'_>) -> anyhow::Result<Verdict> {
        let tool = Self::asked(call, "verify-blob", question);
        Self::verdict(&tool.arg(question.artifact).run()?)
    }

    fn verify_attestation(
        &self,
        call: Call<'_>,
        question: Question<'_>,
    ) -> anyhow::Result<Verdict> {
        let tool =
            Self::asked(call, "verify-blob-attestation", question).args(["--type", PREDICATE_TYPE]);
        Self::verdict(&tool.arg(question.artifact).run()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_the_name_is_the_one_that_is_installed() {
        let installs = include_str!("../../../.ci/clients");
        let version = Cosign.name().replace("cosign ", "cosign@v");
        assert!(
            installs.contains(&format!("/{version}\n")),
            "{version} is not what .ci/clients installs"
        );
    }

    #[test]
    fn a_tool_that_breaks_gives_no_verdict() {
        let outcome = |code, stderr: &str| Outcome {
            shown: "cosign".to_owned(),
            code,
            stdout: String::new(),
            stderr: stderr.to_owned(),
        };
        let refusal = outcome(Some(1), "Error: failed to verify signature: no");
        assert!(matches!(Cosign::verdict(&refusal), Ok(Verdict::Refused(_))));
        assert!(matches!(
            Cosign::verdict(&outcome(Some(0), "Verified OK")),
            Ok(Verdict::Accepted)
        ));
        for broken in [
            outcome(Some(1), "Error: unknown flag: --bundel"),
            outcome(Some(2), "failed to verify"),
            outcome(None, "failed to verify"),
        ] {
            assert!(Cosign::verdict(&broken).is_err(), "{broken}");
        }
    }
}
