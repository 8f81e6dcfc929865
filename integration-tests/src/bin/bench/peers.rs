//! Peers that are installed here, for figures from the same minutes.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use sealwright_integration_tests::{process_cpu_us, workspace_root};

/// A program of the folder that `make peers` fills.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = workspace_root().join(".clients/bin").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("  {name} is not installed (`make peers`); its published figures stand in the table");
    None
}

/// The ecosystem's timestamp server with a key in memory, as its own defaults have it; killed when dropped.
pub(crate) struct TimestampServer {
    child: Child,
    address: String,
}

impl TimestampServer {
    /// `None` where it is not installed.
    pub(crate) fn start() -> anyhow::Result<Option<Self>> {
        let Some(program) = program("timestamp-server") else {
            return Ok(None);
        };
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(program)
            .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--scheme", "http", "--timestamp-signer", "memory"])
            .arg("--disable-ntp-monitoring")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start timestamp-server")?;
        let mut server = Self {
            child,
            address: format!("127.0.0.1:{port}"),
        };
        for _ in 0..200 {
            if TcpStream::connect(&server.address).is_ok() {
                return Ok(Some(server));
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("timestamp-server ended: {status}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("timestamp-server does not answer at {}", server.address);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        process_cpu_us(self.child.id())
    }
}

impl Drop for TimestampServer {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _unimportant = self.child.kill();
        let _unimportant = self.child.wait();
    }
}
