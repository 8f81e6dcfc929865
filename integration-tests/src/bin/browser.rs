//! `browser URL`: fetches a page over plain HTTP, following redirects, and shows nothing; tests hand it to clients that
//! open a browser. It ends with 0 only when the last page was answered with success.

use std::time::Duration;

use anyhow::{Context as _, ensure};

fn main() -> anyhow::Result<()> {
    let url = std::env::args()
        .nth(1)
        .context("the address to open is missing")?;
    ensure!(
        url.starts_with("http://127.0.0.1:") || url.starts_with("http://localhost:"),
        "only pages of this machine are opened, not {url}"
    );
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
