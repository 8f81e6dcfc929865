//! Who is asked: our verifier in this process, and the published one in a process of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use sealwright_bundle::{
    Bundle,
    artifact::Artifact,
    policy::{IdentityRule, Policy, PredicateTypes},
    trusted_root::TrustedRoot,
    verify::verify,
};
use sealwright_crypto::{HashAlgorithm, base64};
use sealwright_testkit::bundle_factory::NOW;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Case, Verdict};
use crate::{strangers, workspace_root};

/// Somebody with an opinion on bundles.
pub trait Judge {
    /// The verdict on one case. An error is the judge's own fault and ends the comparison.
    fn judge(&mut self, case: &Case) -> anyhow::Result<Verdict>;
}

/// The verifier of this workspace.
#[derive(Debug)]
pub struct Ours;

impl Judge for Ours {
    fn judge(&mut self, case: &Case) -> anyhow::Result<Verdict> {
        let rule = IdentityRule::exact(&*case.identity, &*case.issuer)?;
        let policy = Policy::signed_by_identity(rule).blob_or_attestation(PredicateTypes::Any);
        let verified = TrustedRoot::parse(&case.trusted_root).and_then(|root| {
            let bundle = Bundle::parse(&case.bundle)?;
            let artifact = Artifact::from_bytes(&case.artifact);
            // An hour after the signature: no promise of the specimens is from the future.
            verify(&bundle, &artifact, &root, &policy, NOW + 3600)
        });
        Ok(match verified {
            Ok(_) => Verdict::Accepted,
            Err(error) => Verdict::Refused {
                kind: error.code().to_owned(),
                message: error.to_string(),
            },
        })
    }
}

/// The PyPI package `sigstore`, through `integration-tests/clients/python/verifier.py`.
#[derive(Debug)]
pub struct Python {
    process: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    questions: ChildStdin,
    answers: mpsc::Receiver<String>,
}

/// How long one verdict may take: a few milliseconds are usual, and a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Answer {
    verdict: String,
    kind: String,
    message: String,
}

impl Python {
    /// The published verifier; its process starts with the first question.
    pub fn new() -> Self {
        Self { process: None }
    }

    fn running(&mut self) -> anyhow::Result<&mut Running> {
        if self.process.is_none() {
            self.process = Some(Running::start()?);
        }
        self.process.as_mut().context("a process was started")
    }
}

impl Default for Python {
    fn default() -> Self {
        Self::new()
    }
}

impl Judge for Python {
    fn judge(&mut self, case: &Case) -> anyhow::Result<Verdict> {
        let question = question(case).to_string();
        match self.running()?.ask(&question) {
            Ok(answer) => answer.verdict(),
            Err(fault) => {
                // A process that a question ends has not accepted it. A new one answers the next.
                self.process = None;
                Ok(Verdict::Crashed {
                    kind: "process".into(),
                    message: fault.to_string(),
                })
            }
        }
    }
}

/// The question as the program reads it, one line; also the form in which a case is kept.
pub fn question(case: &Case) -> Value {
    json!({
        "class": case.class,
        "place": case.place,
        "specimen": case.specimen,
        "trusted_root": base64::encode(&case.trusted_root),
        "bundle": base64::encode(&case.bundle),
        "artifact": base64::encode(&case.artifact),
        "digest": hex::encode(HashAlgorithm::Sha256.digest(&case.artifact).as_bytes()),
        "identity": case.identity,
        "issuer": case.issuer,
    })
}

impl Running {
    fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(strangers::python::program())
            .arg(workspace_root().join("integration-tests/clients/python/verifier.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the Python verifier")?;
        let questions = child.stdin.take().context("stdin is piped")?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    fn ask(&mut self, question: &str) -> anyhow::Result<Answer> {
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        let line = self
            .answers
            .recv_timeout(PATIENCE)
            .context("the process gave no answer")?;
        serde_json::from_str(&line).with_context(|| format!("no answer: {line}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _unimportant = self.child.kill();
        let _unimportant = self.child.wait();
    }
}

impl Answer {
    fn verdict(self) -> anyhow::Result<Verdict> {
        let (kind, message) = (self.kind, self.message);
        match self.verdict.as_str() {
            "accepted" => Ok(Verdict::Accepted),
            "refused" => Ok(Verdict::Refused { kind, message }),
            "crashed" => Ok(Verdict::Crashed { kind, message }),
            other => bail!("the Python verifier answered {other:?}"),
        }
    }
}
