//! `[witness]`: what an operator can choose.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwright_crypto::{MemorySigner, PrivateKey, PublicKey, Signer};
use sealwright_host::config::{self, SecretRef};
use sealwright_tlog::NoteKey;
use serde::Deserialize;
use url::Url;

use crate::KIND;
use crate::error::Error;

/// `[witness]`. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name on cosignatures, by convention a host name and a path without scheme, e.g. `witness.example.com/w1`. It
    /// never changes; with the key it is what policies know the witness by.
    pub name: String,
    /// Base URL as logs and monitors see it: both prefixes of C2SP tlog-witness. A path in it is served.
    pub url: String,
    /// The Ed25519 key: a reference to PKCS #8 in PEM.
    pub key: Option<SecretRef>,
    /// The logs whose checkpoints are cosigned, one a section.
    #[serde(rename = "log")]
    pub logs: Vec<LogConfig>,
    /// Files with more logs: lines `log VKEY`, as a C2SP tlog-policy has them, or a VKEY alone; other lines of a policy are
    /// passed over. They are read again when they change.
    pub log_lists: Vec<PathBuf>,
    /// Largest request that is read. A proof takes at most 3 KiB, a checkpoint with its signatures rarely more than one.
    #[serde(with = "config::size")]
    pub max_request: u64,
    /// Serve in one process with logs (`sealwrightd up`). A witness that falls with its log witnesses nothing; this is for
    /// trying it out.
    pub beside_logs: bool,
}

/// One `[[witness.log]]`: a key of a log. A log with several keys has several sections.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Verifier key (C2SP signed-note) of type 0x01 (Ed25519), 0x02 (ECDSA) or 0x05 (RFC 6962).
    pub key: String,
    /// The log's origin, where it is not the name in the key.
    pub origin: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            key: None,
            logs: Vec::new(),
            log_lists: Vec::new(),
            max_request: 64 << 10,
            beside_logs: false,
        }
    }
}

impl Config {
    /// Loads the configured key; relative paths are looked up in `folder`.
    ///
    /// # Errors
    /// When no key is configured, it cannot be read, or is not Ed25519.
    pub fn load_signer(&self, folder: &Path) -> Result<Arc<dyn Signer>, Error> {
        let unusable = |what: String| Error::Config { key: "key", what };
        let key = self.key.as_ref().ok_or_else(|| {
            unusable("is missing; name one, e.g. \"file:keys/witness.key\"".to_owned())
        })?;
        let secret = key
            .resolve(folder)
            .map_err(|error| unusable(error.to_string()))?;
        let pem = secret
            .expose_str()
            .map_err(|_| unusable("is not PEM text".to_owned()))?;
        let key = PrivateKey::from_pem(pem).map_err(|error| unusable(error.to_string()))?;
        self.note_key(key.public_key().clone())?;
        Ok(Arc::new(MemorySigner::new(key)))
    }

    /// The public half under the configured name.
    ///
    /// # Errors
    /// When the name cannot stand on a signature line, or the key is not Ed25519.
    pub fn note_key(&self, key: PublicKey) -> Result<NoteKey, Error> {
        NoteKey::new(&self.name, KIND, key).map_err(|error| Error::Config {
            key: "name",
            what: format!(
                "{:?} with this key: {error}; a name has no white space and no plus sign, the key is Ed25519",
                self.name
            ),
        })
    }

    /// The path of the URL, without a slash at its end.
    pub(crate) fn prefix(&self) -> Result<String, Error> {
        let unusable = |what: String| Error::Config { key: "url", what };
        let url =
            Url::parse(&self.url).map_err(|error| unusable(format!("{:?}: {error}", self.url)))?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
            return Err(unusable(format!(
                "{:?} is not a plain http or https address, e.g. https://witness.example.com",
                self.url
            )));
        }
        Ok(url.path().trim_end_matches('/').to_owned())
    }

    pub(crate) fn max_request_bytes(&self) -> usize {
        usize::try_from(self.max_request).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_and_unknown_keys_are_refused() {
        #[derive(Debug, Deserialize)]
        struct File {
            witness: Config,
        }
        let text = "[witness]\nname = \"w.example\"\nurl = \"https://w.example/w/\"\nlog_lists = [\"logs.txt\"]\n\
                    [[witness.log]]\nkey = \"a\"\n[[witness.log]]\nkey = \"b\"\norigin = \"c\"\n";
        let file: File = config::parse(text, "a.toml").unwrap();
        assert_eq!(file.witness.logs.len(), 2);
        assert_eq!(file.witness.prefix().unwrap(), "/w");
        let refused = config::parse::<File>("[witness]\nnmae = \"a\"\n", "a.toml").unwrap_err();
        assert!(
            refused.to_string().contains("did you mean `name`"),
            "{refused}"
        );
    }

    #[test]
    fn addresses_that_cannot_be_served_are_refused() {
        for url in ["", "w.example", "ftp://w", "https://w/?q", "https://u@w"] {
            let config = Config {
                url: url.into(),
                ..Config::default()
            };
            assert!(config.prefix().is_err(), "{url:?}");
        }
    }
}
