//! Our client as a person at a terminal sees it: what it says comes line by line, and it can be typed to.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use sealwright_integration_tests::{Outcome, binary};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running client, killed when dropped.
pub(super) struct Terminal {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    heard: Vec<String>,
}

impl Terminal {
    /// Starts our client. The browser that it would open is one that does nothing.
    pub(super) fn start<A: AsRef<std::ffi::OsStr>>(
        args: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(binary("sealwright"))
            .args(args)
            .env_remove("SIGSTORE_ID_TOKEN")
            .env("BROWSER", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody may be listening any more; reading on keeps the pipe from filling.
                let _unimportant = sender.send(line);
            }
        });
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            lines,
            heard: Vec::new(),
        })
    }

    /// The next indented line: what a person has to open or to type.
    pub(super) fn told(&mut self) -> anyhow::Result<String> {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                bail!("nothing more was said than {:#?}", self.heard);
            };
            self.heard.push(line.clone());
            if let Some(told) = line.strip_prefix("    ") {
                return Ok(told.trim().to_owned());
            }
        }
    }

    /// Types a line.
    pub(super) fn types(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("it is typed to once")?;
        writeln!(stdin, "{line}")?;
        Ok(())
    }

    /// Waits for the end.
    pub(super) fn outcome(mut self) -> anyhow::Result<Outcome> {
        drop(self.stdin.take());
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.heard.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    bail!("it did not end; it said {:#?}", self.heard)
                }
            }
        }
        let mut stdout = String::new();
        let mut pipe = self.child.stdout.take().context("stdout is piped")?;
        pipe.read_to_string(&mut stdout)?;
        Ok(Outcome {
            shown: "sealwright".into(),
            code: self.child.wait()?.code(),
            stdout,
            stderr: self.heard.join("\n"),
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _unimportant = self.child.kill();
        let _unimportant = self.child.wait();
    }
}
