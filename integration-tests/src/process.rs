//! A server process of a test: started, waited for, killed or asked to end, and what it wrote.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::signal;

/// A server process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Locked, so that threads may share the process's owner.
    lines: Mutex<mpsc::Receiver<String>>,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, whose standard error is added to the file `log`.
    pub fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        if let Some(parent) = log.parent() {
            fs::create_dir_all(parent)?;
        }
        let stderr = fs::OpenOptions::new().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                // Nobody may be listening any more; reading on keeps the pipe from filling.
                let _unimportant = sender.send(line);
            }
        });
        Ok(Self {
            child,
            lines: Mutex::new(lines),
            log: log.to_owned(),
        })
    }

    /// Waits for the line that says it is ready.
    pub fn ready(&mut self) -> anyhow::Result<String> {
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        match lines.recv_timeout(Duration::from_secs(60)) {
            Ok(line) if line.starts_with("ready") => Ok(line),
            other => {
                let _unimportant = self.child.kill();
                let status = self.child.wait()?;
                bail!(
                    "sealwrightd is not ready: {other:?}, {status}\n{}",
                    self.stderr()
                );
            }
        }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far, over all runs with the same log.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it as a power cut would end it, as far as the process can tell.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits; answers its exit status and the time it took.
    pub fn terminate(&mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        let asked = Instant::now();
        signal(self.id(), "TERM")?;
        while asked.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, asked.elapsed()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!(
            "sealwrightd did not end within 20 s of SIGTERM\n{}",
            self.stderr()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _unimportant = self.child.kill();
        let _unimportant = self.child.wait();
        if thread::panicking() {
            let text = self.stderr();
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            eprintln!(
                "--- last lines of {}\n{}",
                self.log.display(),
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }
}
