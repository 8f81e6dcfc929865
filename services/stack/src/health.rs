//! `sealwrightd health URL`: one question to a running server, for health checks of machines that have no other client.

use std::io;
use std::net::ToSocketAddrs as _;

use url::Url;

use crate::probe;

/// Asks `url` (plain http; `/readyz` where it names no path) and gives the answer's status and body.
///
/// # Errors
/// The URL cannot be asked, or nobody answers.
pub async fn health(url: &str) -> io::Result<(u16, String)> {
    let unusable = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let url = Url::parse(url).map_err(|error| unusable(error.to_string()))?;
    if url.scheme() != "http" {
        return Err(unusable(
            "only http is asked: name the plain listener".to_owned(),
        ));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    let mut addresses = (host, port).to_socket_addrs()?;
    let address = addresses
        .next()
        .ok_or_else(|| unusable(format!("{host} has no address")))?;
    let path = match url.path() {
        "/" => "/readyz",
        path => path,
    };
    probe::get(address, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_plain_servers_are_asked() {
        for url in ["https://127.0.0.1:1", "127.0.0.1:1", "unix:/run/x"] {
            let refused = health(url).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{url}");
        }
        assert!(health("http://127.0.0.1:1/healthz").await.is_err());
    }
}
