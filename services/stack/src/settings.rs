//! What is fixed when a development directory is made: address, port and names.
//!
//! They are part of what certificates, log origins and trust files say, so they never change; a caller who asks for
//! something else is told how to get it.

use std::net::SocketAddr;
use std::path::Path;

use sealwright_host::config;
use serde::Deserialize;

use crate::endpoints::base_url;
use crate::error::Error;
use crate::files::{self, Readers};

const SETTINGS_FILE: &str = "dev.toml";
/// Where `dev` listens when nothing is said.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7700);

/// What a caller asks for; `None` takes what the directory was made with, or the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) public_url: Option<String>,
    pub(crate) tls_listen: Option<SocketAddr>,
}

/// `DIR/dev.toml`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The plain listener.
    pub(crate) listen: SocketAddr,
    /// The base URL in every certificate and trust file.
    pub(crate) public_url: String,
    /// The TLS listener when it was last on.
    #[serde(default)]
    pub(crate) tls_listen: Option<SocketAddr>,
}

impl Asked {
    /// Refuses what would be reachable from elsewhere, before anything is made.
    pub(crate) fn check_loopback(&self) -> Result<(), Error> {
        let outside = [self.listen, self.tls_listen]
            .into_iter()
            .flatten()
            .find(|address| !address.ip().is_loopback());
        outside.map_or(Ok(()), |address| Err(Error::NotLoopback { address }))
    }

    /// Refuses a change of what `kept` fixed.
    pub(crate) fn check_against(&self, dir: &Path, kept: &Settings) -> Result<(), Error> {
        let fixed = |name, made_with: String, asked: String| Error::Fixed {
            dir: dir.to_owned(),
            name,
            made_with,
            asked,
        };
        if let Some(asked) = self
            .listen
            .filter(|asked| !same_address(*asked, kept.listen))
        {
            return Err(fixed("listen", kept.listen.to_string(), asked.to_string()));
        }
        if let Some(asked) = &self.public_url {
            let asked = base_url(asked)?;
            if asked != kept.public_url {
                return Err(fixed("public-url", kept.public_url.clone(), asked));
            }
        }
        Ok(())
    }

    /// The TLS address to bind: port 0 keeps the port first chosen.
    pub(crate) fn tls_to_bind(&self, kept: Option<&Settings>) -> Option<SocketAddr> {
        let asked = self.tls_listen?;
        let chosen = kept
            .and_then(|kept| kept.tls_listen)
            .filter(|chosen| same_address(asked, *chosen));
        Some(chosen.unwrap_or(asked))
    }
}

/// Port 0 stands for the port first chosen.
fn same_address(asked: SocketAddr, kept: SocketAddr) -> bool {
    asked.ip() == kept.ip() && (asked.port() == 0 || asked.port() == kept.port())
}

impl Settings {
    /// What `dir` was made with; `None` when it was not made to the end.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(SETTINGS_FILE);
        let Some(text) = files::read_if_there(&path)? else {
            return Ok(None);
        };
        Ok(Some(config::parse(&text, &path.display().to_string())?))
    }

    /// Keeps them in `dir`.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), Error> {
        let mut text = format!(
            "listen = \"{}\"\npublic_url = \"{}\"\n",
            self.listen, self.public_url
        );
        if let Some(address) = self.tls_listen {
            text.push_str(&format!("tls_listen = \"{address}\"\n"));
        }
        files::write_if_different(&dir.join(SETTINGS_FILE), text.as_bytes(), Readers::All)
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Settings {
        let listen = "127.0.0.1:7700".parse().unwrap();
        Settings {
            listen,
            public_url: "http://127.0.0.1:7700".to_owned(),
            tls_listen: "127.0.0.1:7701".parse().ok(),
        }
    }

    fn listening(address: &str) -> Asked {
        Asked {
            listen: Some(address.parse().unwrap()),
            ..Asked::default()
        }
    }

    #[test]
    fn settings_are_kept_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(folder.path()).unwrap(), None);
        kept().store(folder.path()).unwrap();
        assert_eq!(Settings::load(folder.path()).unwrap(), Some(kept()));
    }

    #[test]
    fn addresses_are_fixed_and_port_zero_keeps_the_port() {
        let check = |asked: &Asked| asked.check_against(Path::new("/d"), &kept());
        assert!(
            check(&listening("127.0.0.1:0")).is_ok() && check(&listening("127.0.0.1:7700")).is_ok()
        );
        let error = check(&listening("127.0.0.1:7702"))
            .expect_err("another port")
            .to_string();
        assert!(
            error.contains("127.0.0.1:7702")
                && error.contains("127.0.0.1:7700")
                && error.contains("--dir"),
            "{error}"
        );
        assert!(check(&listening("127.0.0.2:0")).is_err());
        let other = Asked {
            public_url: Some("http://localhost:7700".to_owned()),
            ..Asked::default()
        };
        assert!(check(&other).is_err());
        let tls = |address: &str| {
            Asked {
                tls_listen: address.parse().ok(),
                ..Asked::default()
            }
            .tls_to_bind(Some(&kept()))
        };
        assert_eq!(tls("127.0.0.1:0"), kept().tls_listen);
        assert_eq!(tls("127.0.0.1:9"), "127.0.0.1:9".parse().ok());
    }

    #[test]
    fn other_machines_are_kept_out() {
        for outside in ["0.0.0.0:0", "192.0.2.1:7700", "[::]:7700"] {
            assert!(
                matches!(
                    listening(outside).check_loopback(),
                    Err(Error::NotLoopback { .. })
                ),
                "{outside}"
            );
        }
        assert!(
            listening("127.0.0.2:0").check_loopback().is_ok()
                && listening("[::1]:0").check_loopback().is_ok()
        );
    }
}
