//! What keeps a web page away from the tokens.
//!
//! A developer's browser can reach this provider, so every page the developer visits can make the browser send requests to
//! it. Checks stop that, each for a different attack:
//!
//! - `Host` must be ours, which stops DNS rebinding: the page's own name then points at us, and the browser says so;
//! - `Origin` and `Sec-Fetch-Site`, when sent, must be same-origin (or `none`, a person's own navigation), which stops plain
//!   cross-site requests;
//! - a custom header must be present, which no HTML form can send and which a script may send across origins only after a
//!   CORS preflight, and we never answer one. The provider's own forms, which need no script, cannot send it; from them an
//!   `Origin` that is ours must be there, which browsers send with every POST and no page can choose.

use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::request::Parts;

/// The header that minting and approval need; any non-empty value will do.
pub const INTENT_HEADER: &str = "sealwright-request";

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Hosts that mean this machine whatever its resolver says. Any port: the TLS listener has its own.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request has no single Host; expected {expected:?}")]
    HostMissing { expected: String },
    #[error("Host {host:?} is not this provider; expected {expected:?}")]
    ForeignHost { host: String, expected: String },
    #[error(
        "Origin {origin:?} is another site; this provider answers its own pages and programs outside a browser"
    )]
    ForeignOrigin { origin: String },
    #[error(
        "the request was started by another site (Sec-Fetch-Site: {site}); open the address yourself instead of following a link"
    )]
    CrossSite { site: String },
    #[error(
        "the header {INTENT_HEADER} is missing; send it with any value, so that no web form can make this request"
    )]
    IntentMissing,
    #[error(
        "the form came without an Origin, so nothing says that this provider's own page sent it; use a browser that sends one"
    )]
    OriginMissing,
}

/// The checks, for one issuer.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    authority: String,
}

impl Guard {
    /// A guard for an issuer whose URL has this `host[:port]`.
    pub(crate) fn new(authority: &str) -> Self {
        Self {
            authority: authority.to_ascii_lowercase(),
        }
    }

    /// Refuses a foreign `Host` and anything another site started.
    pub(crate) fn same_origin(&self, parts: &Parts) -> Result<(), Refusal> {
        let host = self.host(parts)?;
        if let Some(origin) = only(&parts.headers, ORIGIN.as_str()) {
            let authority = origin
                .split_once("://")
                .map_or("", |(_, authority)| authority);
            if !authority.eq_ignore_ascii_case(&host) {
                return Err(Refusal::ForeignOrigin { origin });
            }
        }
        match only(&parts.headers, SEC_FETCH_SITE) {
            Some(site) if site != "same-origin" && site != "none" => {
                Err(Refusal::CrossSite { site })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a foreign `Host`.
    pub(crate) fn own_host(&self, parts: &Parts) -> Result<(), Refusal> {
        self.host(parts).map(|_| ())
    }

    /// [`Guard::same_origin`], and the custom header is there.
    pub(crate) fn intended(&self, parts: &Parts) -> Result<(), Refusal> {
        self.same_origin(parts)?;
        match parts.headers.get(INTENT_HEADER) {
            Some(value) if !value.is_empty() => Ok(()),
            _ => Err(Refusal::IntentMissing),
        }
    }

    /// [`Guard::same_origin`], and a browser says that the form is one of our own pages'.
    pub(crate) fn own_form(&self, parts: &Parts) -> Result<(), Refusal> {
        self.same_origin(parts)?;
        match parts.headers.contains_key(ORIGIN) {
            true => Ok(()),
            false => Err(Refusal::OriginMissing),
        }
    }

    /// The authority the caller used, when it is ours. HTTP/2 carries it in the URI, HTTP/1.1 in `Host`; a request that has
    /// both has to say the same in both.
    fn host(&self, parts: &Parts) -> Result<String, Refusal> {
        let missing = || Refusal::HostMissing {
            expected: self.authority.clone(),
        };
        let header = only(&parts.headers, HOST.as_str());
        let authority = parts
            .uri
            .authority()
            .map(|authority| authority.as_str().to_owned());
        let host = match (authority, header) {
            (Some(authority), Some(header)) if !authority.eq_ignore_ascii_case(&header) => {
                return Err(missing());
            }
            (Some(host), _) | (None, Some(host)) => host.to_ascii_lowercase(),
            (None, None) => return Err(missing()),
        };
        if host == self.authority || LOOPBACK_HOSTS.contains(&without_port(&host)) {
            return Ok(host);
        }
        Err(Refusal::ForeignHost {
            host,
            expected: self.authority.clone(),
        })
    }
}

/// The header's value; a header sent twice or not in ASCII gives a value that equals nothing.
fn only(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return Some("(sent twice)".into());
    }
    Some(first.to_str().unwrap_or("(not ASCII)").to_owned())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/oidc/mint");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
            .body(())
            .expect("the headers are valid")
            .into_parts()
            .0
    }

    fn guard() -> Guard {
        Guard::new("idp.example.test:7700")
    }

    #[test]
    fn a_program_without_browser_headers_passes() {
        for host in [
            "idp.example.test:7700",
            "IDP.example.test:7700",
            "localhost:1",
            "127.0.0.1:9",
            "[::1]:7700",
            "localhost",
        ] {
            assert_eq!(
                guard().same_origin(&parts(&[("host", host)])),
                Ok(()),
                "{host}"
            );
        }
    }

    #[test]
    fn a_foreign_host_is_refused() {
        for host in [
            "evil.test",
            "evil.test:7700",
            "localhost.evil.test",
            "127.0.0.1.evil.test:80",
            "localhost:x",
            "::1",
            "",
        ] {
            let refusal = guard().same_origin(&parts(&[("host", host)]));
            assert!(
                matches!(refusal, Err(Refusal::ForeignHost { .. })),
                "{host}: {refusal:?}"
            );
        }
        assert!(matches!(
            guard().same_origin(&parts(&[])),
            Err(Refusal::HostMissing { .. })
        ));
        let twice = parts(&[("host", "localhost"), ("host", "localhost")]);
        assert!(guard().same_origin(&twice).is_err());
    }

    #[test]
    fn another_origin_is_refused() {
        for origin in [
            "http://evil.test",
            "http://localhost:3000",
            "null",
            "",
            "http://localhost:7700.evil.test",
        ] {
            let refusal =
                guard().same_origin(&parts(&[("host", "localhost:7700"), ("origin", origin)]));
            assert!(
                matches!(refusal, Err(Refusal::ForeignOrigin { .. })),
                "{origin}: {refusal:?}"
            );
        }
        let own = parts(&[
            ("host", "localhost:7700"),
            ("origin", "http://localhost:7700"),
        ]);
        assert_eq!(guard().same_origin(&own), Ok(()));
    }

    #[test]
    fn a_request_another_site_started_is_refused() {
        for site in ["cross-site", "same-site", "", "anything"] {
            let refusal =
                guard().same_origin(&parts(&[("host", "localhost"), ("sec-fetch-site", site)]));
            assert!(
                matches!(refusal, Err(Refusal::CrossSite { .. })),
                "{site}: {refusal:?}"
            );
        }
        for site in ["same-origin", "none"] {
            assert_eq!(
                guard().same_origin(&parts(&[("host", "localhost"), ("sec-fetch-site", site)])),
                Ok(())
            );
        }
    }

    #[test]
    fn the_custom_header_is_needed() {
        assert_eq!(
            guard().intended(&parts(&[("host", "localhost")])),
            Err(Refusal::IntentMissing)
        );
        assert_eq!(
            guard().intended(&parts(&[("host", "localhost"), (INTENT_HEADER, "")])),
            Err(Refusal::IntentMissing)
        );
        assert_eq!(
            guard().intended(&parts(&[("host", "localhost"), (INTENT_HEADER, "1")])),
            Ok(())
        );
    }

    #[test]
    fn a_form_comes_from_our_own_page() {
        let own = [
            ("host", "localhost:7700"),
            ("origin", "http://localhost:7700"),
        ];
        assert_eq!(guard().own_form(&parts(&own)), Ok(()));
        let (host, _) = own.split_at(1);
        assert_eq!(guard().own_form(&parts(host)), Err(Refusal::OriginMissing));
        let foreign = [own[0], ("origin", "http://evil.test")];
        assert!(matches!(
            guard().own_form(&parts(&foreign)),
            Err(Refusal::ForeignOrigin { .. })
        ));
    }

    #[test]
    fn an_http2_authority_has_to_agree_with_host() {
        let request = |host: &str| {
            let request = http::Request::builder()
                .uri("http://localhost:7700/oidc/mint")
                .header("host", host);
            request
                .body(())
                .expect("the headers are valid")
                .into_parts()
                .0
        };
        assert_eq!(guard().same_origin(&request("localhost:7700")), Ok(()));
        assert!(guard().same_origin(&request("127.0.0.1:7700")).is_err());
    }
}
