//! The protocol of the small programs in `integration-tests/clients/` that drive a published library.
//!
//! ```text
//! VERB TRUST [FLAGS] ARTIFACT
//!
//! bootstrap           --tuf URL --root FILE --cache DIR
//! sign                TRUST SIGNER --bundle OUT ARTIFACT
//! attest              TRUST SIGNER --statement FILE --bundle OUT ARTIFACT
//! verify              TRUST --identity ID --issuer URL --bundle FILE ARTIFACT
//! verify-attestation  TRUST --identity ID --issuer URL --bundle FILE ARTIFACT
//!
//! TRUST is   --trust-config FILE --trusted-root FILE --signing-config FILE [--ca-tls URL --tls-ca FILE]
//!       or   --tuf URL --root FILE --cache DIR [--ca-tls URL --tls-ca FILE]
//! SIGNER is  --token-file FILE   or   --login ISSUER
//! ```
//!
//! Exit code 0: done, accepted. 10: the library refused the bundle; the reason is on standard error. Anything else: the
//! program broke, which is never a verdict. 1 is among these, since interpreters and virtual machines end with it when
//! they cannot even load the program.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, bail};

use super::{Call, Client, Limit, Question, Signer, Statement, Trust, Verdict};
use crate::{Outcome, Tool};

/// Exit code of a refusal.
const REFUSED: i32 = 10;

/// A client that is asked through such a program: who it is and how it is started; the rest is the protocol.
pub trait Driven: fmt::Debug + Send + Sync {
    /// As [`Client::name`].
    fn name(&self) -> &'static str;

    /// As [`Client::absent`].
    fn absent(&self) -> Option<String>;

    /// As [`Client::limits`].
    fn limits(&self) -> &'static [Limit] {
        &[]
    }

    /// The program, before the verb, with nothing of the person's own around it.
    fn program(&self, call: Call<'_>) -> anyhow::Result<Tool>;
}

impl<D: Driven> Client for D {
    fn name(&self) -> &'static str {
        Driven::name(self)
    }

    fn absent(&self) -> Option<String> {
        Driven::absent(self)
    }

    fn limits(&self) -> &'static [Limit] {
        Driven::limits(self)
    }

    fn bootstrap(&self, call: Call<'_>) -> anyhow::Result<()> {
        bootstrap(self.program(call)?, call)
    }

    fn sign(
        &self,
        call: Call<'_>,
        signer: Signer<'_>,
        artifact: &Path,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        sign(self.program(call)?, call, signer, artifact, bundle)
    }

    fn attest(
        &self,
        call: Call<'_>,
        token: &str,
        statement: &Statement,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        attest(self.program(call)?, call, token, statement, bundle)
    }

    fn verify(&self, call: Call<'_>, question: Question<'_>) -> anyhow::Result<Verdict> {
        verify(self.program(call)?, call, question)
    }

    fn verify_attestation(
        &self,
        call: Call<'_>,
        question: Question<'_>,
    ) -> anyhow::Result<Verdict> {
        verify_attestation(self.program(call)?, call, question)
    }
}

/// Makes the client bootstrap from TUF.
pub fn bootstrap(tool: Tool, call: Call<'_>) -> anyhow::Result<()> {
    done(tuf(tool.arg("bootstrap"), call).run()?)
}

/// Makes the client sign.
pub fn sign(
    tool: Tool,
    call: Call<'_>,
    signer: Signer<'_>,
    artifact: &Path,
    bundle: &Path,
) -> anyhow::Result<()> {
    let tool = trusted(tool.arg("sign"), call);
    let tool = signed(tool, call, signer)?;
    done(tool.arg("--bundle").arg(bundle).arg(artifact).run()?)
}

/// Makes the client attest.
pub fn attest(
    tool: Tool,
    call: Call<'_>,
    token: &str,
    statement: &Statement,
    bundle: &Path,
) -> anyhow::Result<()> {
    let tool = trusted(tool.arg("attest"), call);
    let tool = signed(tool, call, Signer::Token(token))?;
    let tool = tool.arg("--statement").arg(&statement.statement);
    done(
        tool.arg("--bundle")
            .arg(bundle)
            .arg(&statement.artifact)
            .run()?,
    )
}

/// Asks the client for a verdict on a message signature.
pub fn verify(tool: Tool, call: Call<'_>, question: Question<'_>) -> anyhow::Result<Verdict> {
    asked(tool.arg("verify"), call, question)
}

/// Asks the client for a verdict on an attestation.
pub fn verify_attestation(
    tool: Tool,
    call: Call<'_>,
    question: Question<'_>,
) -> anyhow::Result<Verdict> {
    asked(tool.arg("verify-attestation"), call, question)
}

fn asked(tool: Tool, call: Call<'_>, question: Question<'_>) -> anyhow::Result<Verdict> {
    let tool = trusted(tool, call)
        .args(["--identity", question.identity, "--issuer", question.issuer])
        .arg("--bundle")
        .arg(question.bundle)
        .arg(question.artifact);
    let outcome = tool.run()?;
    match outcome.code {
        Some(0) => Ok(Verdict::Accepted),
        Some(REFUSED) if !outcome.stderr.trim().is_empty() => {
            Ok(Verdict::Refused(outcome.stderr.trim().to_owned()))
        }
        _ => bail!("no verdict from {outcome}"),
    }
}

fn trusted(tool: Tool, call: Call<'_>) -> Tool {
    let instance = call.instance;
    let tool = match call.trust {
        Trust::Bootstrapped => tuf(tool, call),
        Trust::Files => tool
            .arg("--trust-config")
            .arg(&instance.trust_config)
            .arg("--trusted-root")
            .arg(&instance.trusted_root)
            .arg("--signing-config")
            .arg(&instance.signing_config),
    };
    match &instance.ca_tls {
        Some(url) => tool
            .args(["--ca-tls", url, "--tls-ca"])
            .arg(&instance.tls_ca),
        None => tool,
    }
}

fn tuf(tool: Tool, call: Call<'_>) -> Tool {
    tool.args(["--tuf", &call.instance.tuf])
        .arg("--root")
        .arg(&call.instance.tuf_root)
        .arg("--cache")
        .arg(call.home.join("tuf"))
}

fn signed(tool: Tool, call: Call<'_>, signer: Signer<'_>) -> anyhow::Result<Tool> {
    match signer {
        Signer::Token(token) => {
            let file = call.home.join("token.jwt");
            fs::write(&file, token)?;
            Ok(tool.arg("--token-file").arg(file))
        }
        Signer::Browser => Ok(tool.args(["--login", &call.instance.issuer])),
        Signer::Device => bail!("no driver offers the device flow"),
    }
}

/// Turns anything but success into an error that tells what the program said.
pub fn done(outcome: Outcome) -> anyhow::Result<()> {
    outcome
        .success()
        .map(drop)
        .context("the client did not do as asked")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::strangers::Instance;

    fn answer(script: &str) -> anyhow::Result<Verdict> {
        let instance = Instance {
            trust_config: PathBuf::new(),
            trusted_root: PathBuf::new(),
            signing_config: PathBuf::new(),
            tuf: String::new(),
            tuf_root: PathBuf::new(),
            issuer: String::new(),
            ca_tls: None,
            tls_ca: PathBuf::new(),
        };
        let nowhere = Path::new("/nowhere");
        let call = Call {
            instance: &instance,
            trust: Trust::Files,
            home: nowhere,
        };
        let question = Question {
            bundle: nowhere,
            artifact: nowhere,
            identity: "somebody",
            issuer: "somewhere",
        };
        verify(Tool::new("sh").args(["-c", script]), call, question)
    }

    #[test]
    fn only_the_exit_code_of_a_refusal_with_a_reason_refuses() -> anyhow::Result<()> {
        assert_eq!(answer("exit 0")?, Verdict::Accepted);
        assert_eq!(
            answer("echo another identity >&2; exit 10")?,
            Verdict::Refused("another identity".to_owned())
        );
        for broken in [
            "exit 10",
            "echo no such module >&2; exit 1",
            "echo usage >&2; exit 2",
            "kill -9 $$",
        ] {
            answer(broken).expect_err(broken);
        }
        Ok(())
    }
}
