//! `browser URL`: fetches a page over plain HTTP, following redirects, and shows nothing; tests hand it to clients that
//! open a browser.
//!
//! Like the openers of desktops it returns at once and leaves the fetching to a process of its own: some clients answer
//! their redirect only after the opener has ended.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// First argument of the process that fetches.
const FETCH: &str = "--fetch";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().context("the address to open is missing")?;
    if first == FETCH {
        return fetch(
            &arguments
                .next()
                .context("the address to fetch is missing")?,
        );
    }
    ensure!(
        first.starts_with("http://127.0.0.1:") || first.starts_with("http://localhost:"),
        "only pages of this machine are opened, not {first}"
    );
    // Nobody waits for it: it ends with its request.
    let _fetching = Command::new(std::env::current_exe()?)
        .args([FETCH, &first])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    Ok(())
}

fn fetch(url: &str) -> anyhow::Result<()> {
    // Fails only when there is a provider already, which serves as well.
    let _unimportant = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // HTTP/1.1 to the end: the listeners of some clients take nothing else.
    let client = reqwest::blocking::Client::builder()
        .http1_only()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()?;
    let response = client.get(url).send()?;
    ensure!(
        response.status().is_success(),
        "the last page was answered with {}",
        response.status()
    );
    Ok(())
}
