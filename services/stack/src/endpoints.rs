//! Where clients find each service, all derived from one base URL.

use serde::Serialize;
use url::Url;

use crate::error::Error;
use crate::files::{self, Readers};
use crate::place::Place;

/// The name of the built-in CT log, part of its address and so of its origin.
pub const CT_LOG_NAME: &str = "dev";

/// `DIR/endpoints.json`. A role that runs by itself knows only where it is; what is empty is not written.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Endpoints {
    /// Base URL of the certificate authority.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// Base URL of the signature log.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// Submission prefix of the CT log.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ct: String,
    /// Full endpoint of the timestamp authority.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tsa: String,
    /// Base URL of the TUF repository.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tuf: String,
    /// Issuer URL of the development identity provider; absent in production.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<String>,
    /// The console.
    pub console: String,
    /// Base URL of the certificate authority over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_tls: Option<String>,
}

impl Endpoints {
    /// The endpoints of a stack at `base`, which has no trailing slash.
    #[must_use]
    pub fn at(base: &str, ct_log: &str, with_idp: bool) -> Self {
        Self {
            ca: base.to_owned(),
            log: base.to_owned(),
            ct: format!("{base}/ct/{ct_log}"),
            tsa: format!("{base}/api/v1/timestamp"),
            tuf: format!("{base}/tuf"),
            oidc: with_idp.then(|| format!("{base}/oidc")),
            console: base.to_owned(),
            ca_tls: None,
        }
    }

    /// Writes `DIR/endpoints.json`, unless it already says so.
    pub(crate) fn write(&self, place: &Place) -> Result<(), Error> {
        let path = place.path("endpoints.json");
        files::write_if_different(&path, &self.to_json(), Readers::All).map(|_| ())
    }

    /// The content of the file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Text has a JSON form.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Name, purpose and address of each, for people.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, &'static str, &str)> {
        let mut named = vec![
            ("CA", "certificates for identities", &*self.ca),
            ("Log", "transparency log of signatures", &*self.log),
            ("CT log", "transparency log of certificates", &*self.ct),
            ("TSA", "RFC 3161 timestamps", &*self.tsa),
            ("TUF", "trust root", &*self.tuf),
        ];
        named.extend(
            self.oidc
                .as_deref()
                .map(|url| ("OIDC", "development identity provider", url)),
        );
        named.retain(|(_, _, url)| !url.is_empty());
        named
    }
}

/// A base URL that clients can use: http or https, a host, no user, query or fragment; without its trailing slash.
///
/// # Errors
/// [`Error::PublicUrl`].
pub fn base_url(text: &str) -> Result<String, Error> {
    let refuse = |what: &str| Error::PublicUrl {
        url: text.to_owned(),
        what: what.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("the scheme is neither http nor https"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refuse("it names no host"));
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(refuse("only scheme, host and port are allowed"));
    }
    // Paths of the services are fixed below the host.
    if url.path() != "/" {
        return Err(refuse("a path is not supported"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The origin of the signature log: the host of its base URL, without the port (official clients derive it so).
///
/// # Errors
/// [`Error::PublicUrl`].
pub fn log_origin(base: &str) -> Result<String, Error> {
    let refuse = || Error::PublicUrl {
        url: base.to_owned(),
        what: "it names no host".to_owned(),
    };
    let url = Url::parse(base).map_err(|_| refuse())?;
    url.host_str().map(str::to_owned).ok_or_else(refuse)
}

/// The origin of a CT log: its submission prefix without the scheme.
#[must_use]
pub fn ct_origin(prefix: &str) -> &str {
    prefix.split_once("://").map_or(prefix, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_follow_from_the_base_url() {
        let base = base_url("http://127.0.0.1:7700/").unwrap();
        let endpoints = Endpoints::at(&base, CT_LOG_NAME, true);
        assert_eq!(log_origin(&base).unwrap(), "127.0.0.1");
        assert_eq!(ct_origin(&endpoints.ct), "127.0.0.1:7700/ct/dev");
        assert_eq!(endpoints.tsa, "http://127.0.0.1:7700/api/v1/timestamp");
    }

    #[test]
    fn unusable_base_urls_are_refused() {
        for bad in [
            "",
            "localhost:7700",
            "ftp://a",
            "http://u@a",
            "http://a/?q",
            "http://a/#f",
            "http://a/path",
            "http://",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
