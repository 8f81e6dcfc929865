//! The Sigstore signing configuration: which services to sign with, and how to choose among them.
//!
//! The choice is a function of the configuration, the versions a client speaks and the time.
//! Calling the chosen services is the SDK's.

use sealwright_proto::trustroot::v1 as proto;

use crate::trusted_root::Validity;

/// The one media type that is read.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
/// Size of the document in bytes.
const MAX_DOCUMENT: usize = 1 << 20;
/// Services of one kind.
const MAX_SERVICES: usize = 256;

/// Why no service could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// The document is not a signing configuration of version 0.2.
    #[error("the signing configuration is malformed: {what}; accepted is {MEDIA_TYPE}")]
    Malformed {
        /// Which part, and why.
        what: String,
    },
    /// No service of this kind can be used now.
    #[error("no usable {kind} in the signing configuration: {}", listed(.rejected))]
    NoService {
        /// The kind of service.
        kind: ServiceKind,
        /// Each service that was considered, and why it does not do.
        rejected: Vec<(String, Rejection)>,
    },
    /// The configuration asks for more services than it has.
    #[error(
        "the signing configuration asks for exactly {need} {kind}s and has {have} of distinct operators"
    )]
    NotEnough {
        /// The kind of service.
        kind: ServiceKind,
        /// How many are asked for.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// The configuration does not say how many services of this kind to use.
    #[error(
        "the signing configuration has no selector for {kind}s; ALL, ANY or EXACT with a count is needed"
    )]
    NoSelector {
        /// The kind of service.
        kind: ServiceKind,
    },
}

fn listed(services: &[(String, Rejection)]) -> String {
    if services.is_empty() {
        return "none is listed".into();
    }
    services
        .iter()
        .map(|(url, why)| format!("{url} {why}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Why a service was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Its window does not cover the present.
    #[error("is not valid now")]
    NotValidNow,
    /// It speaks a version that the client does not.
    #[error("speaks API version {0}")]
    Version(u32),
}

/// The kinds of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceKind {
    /// Issues certificates.
    CertificateAuthority,
    /// Issues identity tokens.
    IdentityProvider,
    /// Logs signatures.
    TransparencyLog,
    /// Signs times.
    TimestampAuthority,
}

impl std::fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CertificateAuthority => "certificate authority",
            Self::IdentityProvider => "identity provider",
            Self::TransparencyLog => "transparency log",
            Self::TimestampAuthority => "timestamp authority",
        })
    }
}

/// One service as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Base address; of a timestamp authority the full endpoint.
    pub url: String,
    /// Major version of its API; 0 is never chosen.
    pub api_version: u32,
    /// When it may be used.
    pub validity: Validity,
    /// Who runs it; empty when not stated.
    pub operator: String,
}

/// How many of a kind to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// Every one.
    All,
    /// One, whichever answers.
    Any,
    /// This many, of distinct operators.
    Exact(usize),
}

/// Services that were chosen for one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection<'a> {
    /// How many of the candidates must answer.
    pub need: usize,
    /// The candidates in the order in which to try them. More than `need` only for
    /// [`Selector::Any`]: the rest stands in when one fails.
    pub candidates: Vec<&'a Service>,
}

/// A parsed signing configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningConfig {
    certificate_authorities: Vec<Service>,
    identity_providers: Vec<Service>,
    transparency_logs: Vec<Service>,
    transparency_log_selector: Option<Selector>,
    timestamp_authorities: Vec<Service>,
    timestamp_authority_selector: Option<Selector>,
}

impl SigningConfig {
    /// Reads the JSON document.
    ///
    /// # Errors
    /// [`SelectionError::Malformed`].
    pub fn parse(json: &[u8]) -> Result<Self, SelectionError> {
        if json.len() > MAX_DOCUMENT {
            return Err(malformed(format!(
                "{} bytes, more than {MAX_DOCUMENT}",
                json.len()
            )));
        }
        Self::from_proto(crate::json::parse_message(json).map_err(|e| malformed(e.to_string()))?)
    }

    /// Takes the message apart, for instance out of a client trust configuration.
    ///
    /// # Errors
    /// [`SelectionError::Malformed`].
    pub fn from_proto(message: proto::SigningConfig) -> Result<Self, SelectionError> {
        if message.media_type != MEDIA_TYPE {
            return Err(malformed(format!("media type {:?}", message.media_type)));
        }
        Ok(Self {
            certificate_authorities: services("caUrls", message.ca_urls)?,
            identity_providers: services("oidcUrls", message.oidc_urls)?,
            transparency_logs: services("rekorTlogUrls", message.rekor_tlog_urls)?,
            transparency_log_selector: selector("rekorTlogConfig", message.rekor_tlog_config)?,
            timestamp_authorities: services("tsaUrls", message.tsa_urls)?,
            timestamp_authority_selector: selector("tsaConfig", message.tsa_config)?,
        })
    }

    /// The certificate authority to use now.
    ///
    /// # Errors
    /// [`SelectionError::NoService`].
    pub fn certificate_authority(
        &self,
        supported: &[u32],
        now: i64,
    ) -> Result<&Service, SelectionError> {
        single(
            ServiceKind::CertificateAuthority,
            &self.certificate_authorities,
            supported,
            now,
        )
    }

    /// The identity provider to use now.
    ///
    /// # Errors
    /// [`SelectionError::NoService`].
    pub fn identity_provider(
        &self,
        supported: &[u32],
        now: i64,
    ) -> Result<&Service, SelectionError> {
        single(
            ServiceKind::IdentityProvider,
            &self.identity_providers,
            supported,
            now,
        )
    }

    /// Whether any transparency log is configured.
    #[must_use]
    pub fn has_transparency_logs(&self) -> bool {
        !self.transparency_logs.is_empty()
    }

    /// Whether any timestamp authority is configured.
    #[must_use]
    pub fn has_timestamp_authorities(&self) -> bool {
        !self.timestamp_authorities.is_empty()
    }

    /// The logs to use now. `seed` (the artifact's digest) spreads [`Selector::Any`] over the logs
    /// so that the same artifact always begins at the same one.
    ///
    /// # Errors
    /// Any [`SelectionError`] but `Malformed`.
    pub fn transparency_logs(
        &self,
        supported: &[u32],
        now: i64,
        seed: &[u8],
    ) -> Result<Selection<'_>, SelectionError> {
        let kind = ServiceKind::TransparencyLog;
        many(
            kind,
            &self.transparency_logs,
            self.transparency_log_selector,
            supported,
            now,
            seed,
        )
    }

    /// The timestamp authorities to use now; `seed` as for [`Self::transparency_logs`].
    ///
    /// # Errors
    /// Any [`SelectionError`] but `Malformed`.
    pub fn timestamp_authorities(
        &self,
        supported: &[u32],
        now: i64,
        seed: &[u8],
    ) -> Result<Selection<'_>, SelectionError> {
        let kind = ServiceKind::TimestampAuthority;
        many(
            kind,
            &self.timestamp_authorities,
            self.timestamp_authority_selector,
            supported,
            now,
            seed,
        )
    }
}

fn single<'a>(
    kind: ServiceKind,
    services: &'a [Service],
    supported: &[u32],
    now: i64,
) -> Result<&'a Service, SelectionError> {
    let usable = highest_version(kind, services, supported, now)?;
    usable
        .into_iter()
        .reduce(newer)
        .ok_or(SelectionError::NoService {
            kind,
            rejected: Vec::new(),
        })
}

fn many<'a>(
    kind: ServiceKind,
    services: &'a [Service],
    selector: Option<Selector>,
    supported: &[u32],
    now: i64,
    seed: &[u8],
) -> Result<Selection<'a>, SelectionError> {
    let selector = selector.ok_or(SelectionError::NoSelector { kind })?;
    let mut candidates = newest_per_operator(&highest_version(kind, services, supported, now)?);
    let have = candidates.len();
    match selector {
        Selector::All => Ok(Selection {
            need: have,
            candidates,
        }),
        Selector::Any => {
            candidates.rotate_left(start(seed, have));
            Ok(Selection {
                need: 1,
                candidates,
            })
        }
        Selector::Exact(need) if need == 0 || need > have => {
            Err(SelectionError::NotEnough { kind, need, have })
        }
        Selector::Exact(need) => {
            candidates.truncate(need);
            Ok(Selection { need, candidates })
        }
    }
}

/// The usable services of the highest version among them; at least one.
fn highest_version<'a>(
    kind: ServiceKind,
    services: &'a [Service],
    supported: &[u32],
    now: i64,
) -> Result<Vec<&'a Service>, SelectionError> {
    let (usable, rejected): (Vec<_>, Vec<_>) = services
        .iter()
        .map(|service| (service, rejection(service, supported, now)))
        .partition(|(_, why)| why.is_none());
    let Some(highest) = usable.iter().map(|(service, _)| service.api_version).max() else {
        let rejected = rejected
            .into_iter()
            .filter_map(|(service, why)| Some((service.url.clone(), why?)))
            .collect();
        return Err(SelectionError::NoService { kind, rejected });
    };
    Ok(usable
        .into_iter()
        .map(|(service, _)| service)
        .filter(|service| service.api_version == highest)
        .collect())
}

fn rejection(service: &Service, supported: &[u32], now: i64) -> Option<Rejection> {
    if !service.validity.covers(now) {
        return Some(Rejection::NotValidNow);
    }
    // Version 0 marks a service that is not released; no client may claim to speak it.
    let spoken = service.api_version != 0 && supported.contains(&service.api_version);
    (!spoken).then_some(Rejection::Version(service.api_version))
}

/// The one that began later; the earlier in the list when both began together.
fn newer<'a>(best: &'a Service, next: &'a Service) -> &'a Service {
    if next.validity.start_ms() > best.validity.start_ms() {
        next
    } else {
        best
    }
}

/// One service per operator, in the order in which the operators appear.
fn newest_per_operator<'a>(services: &[&'a Service]) -> Vec<&'a Service> {
    let mut chosen: Vec<&Service> = Vec::new();
    for service in services {
        match chosen
            .iter_mut()
            .find(|other| other.operator == service.operator)
        {
            Some(best) => *best = newer(best, service),
            None => chosen.push(service),
        }
    }
    chosen
}

/// Where to begin among `candidates` services. Even enough for spreading load; nothing secret.
fn start(seed: &[u8], candidates: usize) -> usize {
    let sum = seed.iter().fold(0_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    sum.checked_rem(candidates).unwrap_or_default()
}

fn services(field: &str, messages: Vec<proto::Service>) -> Result<Vec<Service>, SelectionError> {
    if messages.len() > MAX_SERVICES {
        return Err(malformed(format!(
            "{} services in {field}, more than {MAX_SERVICES}",
            messages.len()
        )));
    }
    messages
        .into_iter()
        .map(|message| service(field, message))
        .collect()
}

fn service(field: &str, message: proto::Service) -> Result<Service, SelectionError> {
    let validity = Validity::from_proto(message.valid_for.as_ref())
        .map_err(|what| malformed(format!("{field}: {}: {what}", message.url)))?;
    if message.url.is_empty() {
        return Err(malformed(format!("{field}: a service without url")));
    }
    if validity.start_ms().is_none() {
        return Err(malformed(format!(
            "{field}: {}: validFor.start is missing",
            message.url
        )));
    }
    Ok(Service {
        url: message.url,
        api_version: message.major_api_version,
        validity,
        operator: message.operator,
    })
}

fn selector(
    field: &str,
    message: Option<proto::ServiceConfiguration>,
) -> Result<Option<Selector>, SelectionError> {
    let Some(message) = message else {
        return Ok(None);
    };
    match proto::ServiceSelector::try_from(message.selector) {
        Ok(proto::ServiceSelector::All) => Ok(Some(Selector::All)),
        Ok(proto::ServiceSelector::Any) => Ok(Some(Selector::Any)),
        Ok(proto::ServiceSelector::Exact) if message.count == 0 => {
            Err(malformed(format!("{field}: selector EXACT with count 0")))
        }
        Ok(proto::ServiceSelector::Exact) => Ok(Some(Selector::Exact(
            usize::try_from(message.count).unwrap_or(usize::MAX),
        ))),
        Ok(proto::ServiceSelector::Undefined) | Err(_) => {
            Err(malformed(format!("{field}: selector is undefined")))
        }
    }
}

fn malformed(what: String) -> SelectionError {
    SelectionError::Malformed { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn config(member: &str, list: &str, rest: &str) -> SigningConfig {
        let json = format!(r#"{{"mediaType":"{MEDIA_TYPE}","{member}":[{list}]{rest}}}"#);
        SigningConfig::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    /// A service that began `start` seconds before [`NOW`]'s day of 2027-01-15.
    fn service(url: &str, version: u32, start: &str, end: &str, operator: &str) -> String {
        let end = if end.is_empty() {
            String::new()
        } else {
            format!(r#","end":"{end}""#)
        };
        format!(
            r#"{{"url":"{url}","majorApiVersion":{version},"validFor":{{"start":"{start}"{end}}},"operator":"{operator}"}}"#
        )
    }

    fn logs(list: &[String], selector: &str) -> SigningConfig {
        config(
            "rekorTlogUrls",
            &list.join(","),
            &format!(r#","rekorTlogConfig":{selector}"#),
        )
    }

    fn urls<'a>(selection: &Selection<'a>) -> Vec<&'a str> {
        selection
            .candidates
            .iter()
            .map(|service| service.url.as_str())
            .collect()
    }

    #[test]
    fn the_highest_version_wins_then_the_newest_then_the_first() {
        let list = [
            service("old", 1, "2026-01-01T00:00:00Z", "", ""),
            service(
                "ended",
                2,
                "2026-06-01T00:00:00Z",
                "2026-12-31T00:00:00Z",
                "",
            ),
            service("future", 2, "2030-01-01T00:00:00Z", "", ""),
            service("first", 2, "2026-03-01T00:00:00Z", "", ""),
            service("second", 2, "2026-03-01T00:00:00Z", "", ""),
            service("unspoken", 3, "2026-03-01T00:00:00Z", "", ""),
            service("unreleased", 0, "2026-12-01T00:00:00Z", "", ""),
        ];
        let config = config("caUrls", &list.join(","), "");
        assert_eq!(
            config
                .certificate_authority(&[0, 1, 2], NOW)
                .expect("a CA")
                .url,
            "first"
        );
        assert_eq!(
            config.certificate_authority(&[1], NOW).expect("a CA").url,
            "old"
        );
    }

    #[test]
    fn a_window_holds_at_both_of_its_ends() {
        let list = service("ca", 1, "2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z", "");
        let config = config("caUrls", &list, "");
        assert!(config.certificate_authority(&[1], NOW).is_ok());
        for outside in [NOW - 1, NOW + 1] {
            let error = config
                .certificate_authority(&[1], outside)
                .expect_err("outside");
            let SelectionError::NoService { rejected, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(rejected, [("ca".to_owned(), Rejection::NotValidNow)]);
        }
    }

    #[test]
    fn one_service_per_operator_is_chosen_and_versions_are_not_mixed() {
        let list = [
            service("a1", 2, "2026-01-01T00:00:00Z", "", "a"),
            service("b", 2, "2026-01-01T00:00:00Z", "", "b"),
            service("a2", 2, "2026-02-01T00:00:00Z", "", "a"),
            service("c", 1, "2026-02-01T00:00:00Z", "", "c"),
        ];
        let all = logs(&list, r#"{"selector":"ALL"}"#);
        let selection = all.transparency_logs(&[1, 2], NOW, b"").expect("logs");
        assert_eq!((selection.need, urls(&selection)), (2, vec!["a2", "b"]));

        let exact = logs(&list, r#"{"selector":"EXACT","count":2}"#);
        assert_eq!(
            exact
                .transparency_logs(&[1, 2], NOW, b"")
                .expect("logs")
                .need,
            2
        );
        let exact = logs(&list, r#"{"selector":"EXACT","count":3}"#);
        let error = exact
            .transparency_logs(&[1, 2], NOW, b"")
            .expect_err("two operators");
        assert_eq!(
            error,
            SelectionError::NotEnough {
                kind: ServiceKind::TransparencyLog,
                need: 3,
                have: 2
            }
        );
    }

    #[test]
    fn any_begins_where_the_seed_says_and_keeps_the_rest_in_reserve() {
        let list = [
            service("a", 2, "2026-01-01T00:00:00Z", "", "a"),
            service("b", 2, "2026-01-01T00:00:00Z", "", "b"),
            service("c", 2, "2026-01-01T00:00:00Z", "", "c"),
        ];
        let any = logs(&list, r#"{"selector":"ANY"}"#);
        let begun: Vec<_> = (0..3_u8)
            .map(|seed| urls(&any.transparency_logs(&[2], NOW, &[seed]).expect("logs")))
            .collect();
        assert_eq!(begun, [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]);
        assert_eq!(
            any.transparency_logs(&[2], NOW, &[1]).expect("logs").need,
            1
        );
    }

    #[test]
    fn a_missing_selector_is_an_error_only_when_it_is_needed() {
        let config = config(
            "tsaUrls",
            &service("t", 1, "2026-01-01T00:00:00Z", "", ""),
            "",
        );
        let error = config
            .timestamp_authorities(&[1], NOW, b"")
            .expect_err("no selector");
        assert_eq!(
            error,
            SelectionError::NoSelector {
                kind: ServiceKind::TimestampAuthority
            }
        );
        assert!(config.has_timestamp_authorities() && !config.has_transparency_logs());
    }

    #[test]
    fn malformed_documents_are_refused() {
        let good = service("t", 1, "2026-01-01T00:00:00Z", "", "");
        let documents = [
            String::new(),
            r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.1+json"}"#.into(),
            format!(r#"{{"mediaType":"{MEDIA_TYPE}","mediaType":"{MEDIA_TYPE}"}}"#),
            format!(
                r#"{{"mediaType":"{MEDIA_TYPE}","caUrls":[{{"url":"x","majorApiVersion":1}}]}}"#
            ),
            format!(
                r#"{{"mediaType":"{MEDIA_TYPE}","caUrls":[{}]}}"#,
                good.replace(r#""url":"t""#, r#""url":"""#)
            ),
            format!(
                r#"{{"mediaType":"{MEDIA_TYPE}","tsaUrls":[{good}],"tsaConfig":{{"selector":"SERVICE_SELECTOR_UNDEFINED"}}}}"#
            ),
            format!(
                r#"{{"mediaType":"{MEDIA_TYPE}","tsaUrls":[{good}],"tsaConfig":{{"selector":"EXACT"}}}}"#
            ),
            format!(
                r#"{{"mediaType":"{MEDIA_TYPE}","tsaUrls":[{good}],"tsaConfig":{{"selector":"MOST"}}}}"#
            ),
        ];
        for document in documents {
            let result = SigningConfig::parse(document.as_bytes());
            assert!(
                matches!(result, Err(SelectionError::Malformed { .. })),
                "{document}: {result:?}"
            );
        }
    }

    #[test]
    fn a_refusal_names_the_kind_and_every_service_that_was_passed_over() {
        let ended = service(
            "https://ended",
            1,
            "2026-01-01T00:00:00Z",
            "2026-02-01T00:00:00Z",
            "",
        );
        let unspoken = service("https://new", 9, "2026-01-01T00:00:00Z", "", "");
        let told = |config: &SigningConfig| {
            let refused = config.certificate_authority(&[1], NOW);
            refused.expect_err("none fits").to_string()
        };
        let both = told(&config("caUrls", &format!("{ended},{unspoken}"), ""));
        for part in [
            "certificate authority",
            "https://ended is not valid now",
            "https://new speaks API version 9",
        ] {
            assert!(both.contains(part), "{both}");
        }
        assert!(told(&config("caUrls", "", "")).contains("none is listed"));
        let kinds = [
            ServiceKind::CertificateAuthority,
            ServiceKind::IdentityProvider,
            ServiceKind::TransparencyLog,
            ServiceKind::TimestampAuthority,
        ];
        let names = kinds.map(|kind| kind.to_string());
        assert_eq!(
            names,
            [
                "certificate authority",
                "identity provider",
                "transparency log",
                "timestamp authority"
            ]
        );
    }

    #[test]
    fn exact_is_no_more_and_no_less() {
        let list = ["a", "b"].map(|name| service(name, 2, "2026-01-01T00:00:00Z", "", name));
        let one = logs(&list, r#"{"selector":"EXACT","count":1}"#);
        let selection = one.transparency_logs(&[2], NOW, b"").expect("a log");
        assert_eq!((selection.need, urls(&selection)), (1, vec!["a"]));
        assert!(one.has_transparency_logs() && !one.has_timestamp_authorities());
    }

    #[test]
    fn every_byte_of_the_seed_counts() {
        let list = ["a", "b"].map(|name| service(name, 2, "2026-01-01T00:00:00Z", "", name));
        let any = logs(&list, r#"{"selector":"ANY"}"#);
        let begins = |seed: &[u8]| {
            let selection = any.transparency_logs(&[2], NOW, seed).expect("logs");
            selection.candidates[0].url.clone()
        };
        for position in 0..4 {
            let mut seed = [0; 4];
            seed[position] = 1;
            assert_ne!(begins(&[0; 4]), begins(&seed), "{position}");
        }
    }

    #[test]
    fn documents_and_lists_have_a_largest_size() {
        let one = service("t", 1, "2026-01-01T00:00:00Z", "", "");
        let judge = |services: usize, length: usize| {
            let list = vec![one.as_str(); services].join(",");
            let json = format!(r#"{{"mediaType":"{MEDIA_TYPE}","tsaUrls":[{list}]}}"#);
            let padding = " ".repeat(length.saturating_sub(json.len()));
            SigningConfig::parse((json + &padding).as_bytes()).map(|_| ())
        };
        judge(MAX_SERVICES, MAX_DOCUMENT).expect("the most there may be");
        for (services, length) in [(MAX_SERVICES + 1, 0), (1, MAX_DOCUMENT + 1)] {
            let refused = judge(services, length).expect_err("one more");
            assert!(refused.to_string().contains("more than"), "{refused}");
        }
    }
}
