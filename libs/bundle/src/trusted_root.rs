//! The Sigstore trusted root: which authorities and logs a verifier believes, and when.
//!
//! A trusted root is read once, with every certificate and key parsed, and then shared by all
//! verifications. It is authentic by its origin (TUF, or the person who placed the file); what is
//! refused here is what could be misunderstood.

use sealwright_crypto::{Algorithm, PublicKey};
use sealwright_pki::certificate::Certificate;
use sealwright_proto::Timestamp;
use sealwright_proto::common::v1 as common;
use sealwright_proto::trustroot::v1 as proto;
use sealwright_tlog::NoteKey;

use crate::error::VerifyError;

/// Bytes of one document; the public instance's has 15 KiB.
pub const MAX_TRUSTED_ROOT_BYTES: usize = 4 << 20;
/// Authorities or logs of one kind.
const MAX_INSTANCES: usize = 256;
/// Certificates of one authority.
const MAX_CHAIN: usize = 8;

const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
];

/// A window of time that includes both of its ends. A missing end is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    start_ms: Option<i64>,
    end_ms: Option<i64>,
}

impl Validity {
    /// No limit on either side.
    pub const ALWAYS: Self = Self {
        start_ms: None,
        end_ms: None,
    };

    /// From `start` to `end`, Unix seconds, both included.
    #[must_use]
    pub fn new(start: Option<i64>, end: Option<i64>) -> Self {
        let ms = |seconds: i64| seconds.saturating_mul(1000);
        Self {
            start_ms: start.map(ms),
            end_ms: end.map(ms),
        }
    }

    /// Reads a protobuf time range. Fractions below the millisecond narrow the window.
    ///
    /// # Errors
    /// A sentence about the malformed part.
    pub(crate) fn from_proto(range: Option<&common::TimeRange>) -> Result<Self, String> {
        let Some(range) = range else {
            return Ok(Self::ALWAYS);
        };
        let start_ms = range
            .start
            .as_ref()
            .map(|start| milliseconds(start, 999_999))
            .transpose()?;
        let end_ms = range
            .end
            .as_ref()
            .map(|end| milliseconds(end, 0))
            .transpose()?;
        if start_ms.zip(end_ms).is_some_and(|(start, end)| start > end) {
            return Err("validFor ends before it starts".into());
        }
        Ok(Self { start_ms, end_ms })
    }

    /// Whether the window covers a moment, Unix seconds.
    #[must_use]
    pub fn covers(&self, unix: i64) -> bool {
        self.covers_ms(unix.saturating_mul(1000))
    }

    /// Whether the window covers a moment, Unix milliseconds.
    #[must_use]
    pub fn covers_ms(&self, unix_ms: i64) -> bool {
        self.start_ms.is_none_or(|start| start <= unix_ms)
            && self.end_ms.is_none_or(|end| unix_ms <= end)
    }

    /// The beginning, Unix milliseconds; `None` when open.
    #[must_use]
    pub fn start_ms(&self) -> Option<i64> {
        self.start_ms
    }

    /// The end, Unix milliseconds; `None` when open.
    #[must_use]
    pub fn end_ms(&self) -> Option<i64> {
        self.end_ms
    }
}

fn milliseconds(time: &Timestamp, round: i64) -> Result<i64, String> {
    let nanos = i64::from(time.nanos);
    if !(0..1_000_000_000).contains(&nanos) {
        return Err("a time with impossible nanoseconds".into());
    }
    time.seconds
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add((nanos + round) / 1_000_000))
        .ok_or_else(|| "a time beyond the calendar".into())
}

/// A certificate authority or timestamp authority.
#[derive(Debug, Clone)]
pub struct Authority {
    pub(crate) chain: Vec<Certificate>,
    pub(crate) uri: String,
    pub(crate) operator: String,
    pub(crate) validity: Validity,
}

impl Authority {
    /// Its certificates; the last one is the trust anchor, self-signed or not.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Its address.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Who runs it; empty when not stated.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// When it is trusted.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The trust anchor, and the certificates below it with the lowest first.
    pub(crate) fn split(&self) -> (&[Certificate], &[Certificate]) {
        let below = self.chain.len().saturating_sub(1);
        let (below, anchor) = self.chain.split_at_checked(below).unwrap_or_default();
        (anchor, below)
    }
}

/// A signature log.
#[derive(Debug, Clone)]
pub struct TransparencyLog {
    base_url: String,
    operator: String,
    log_id: Vec<u8>,
    validity: Validity,
    key: PublicKey,
    /// One key per name that the log may sign checkpoints with: address with path, host with port, host.
    note_keys: Vec<NoteKey>,
}

impl TransparencyLog {
    /// Its address.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Who runs it; empty when not stated.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Its identifier, as entries name it.
    #[must_use]
    pub fn log_id(&self) -> &[u8] {
        &self.log_id
    }

    /// When its key is trusted.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The origin that published clients expect: the host of its address, without the port.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.note_keys.last().map_or("", NoteKey::name)
    }

    /// How this log signs: Ed25519, RSA, or ECDSA with SHA-256 on every curve.
    pub(crate) fn checkpoint_algorithm(&self) -> Algorithm {
        self.note_keys
            .first()
            .map_or_else(|| self.key.default_algorithm(), NoteKey::algorithm)
    }

    /// The key under which this log signs checkpoints of `origin`, if the origin is its own.
    ///
    /// Rekor v1 appends " - " and a tree number to the name in its origin line.
    pub(crate) fn note_key(&self, origin: &str) -> Option<&NoteKey> {
        let name = origin.split_once(" - ").map_or(origin, |(name, _)| name);
        self.note_keys.iter().find(|key| key.name() == name)
    }

    /// What distinguishes operators when thresholds are counted: the operator, or the log itself.
    pub(crate) fn operator_or_url(&self) -> &str {
        if self.operator.is_empty() {
            &self.base_url
        } else {
            &self.operator
        }
    }
}

/// A certificate transparency log.
#[derive(Debug, Clone)]
pub struct CertificateLog {
    pub(crate) base_url: String,
    pub(crate) operator: String,
    pub(crate) log_id: Vec<u8>,
    pub(crate) key: PublicKey,
    pub(crate) validity: Validity,
}

impl CertificateLog {
    /// Its address.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Who runs it; empty when not stated.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// SHA-256 of its key, as SCTs name it.
    #[must_use]
    pub fn log_id(&self) -> &[u8] {
        &self.log_id
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// When its key is trusted.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// Everything that a verifier believes.
#[derive(Debug, Clone, Default)]
pub struct TrustedRoot {
    certificate_authorities: Vec<Authority>,
    timestamp_authorities: Vec<Authority>,
    transparency_logs: Vec<TransparencyLog>,
    certificate_logs: Vec<CertificateLog>,
    warnings: Vec<String>,
}

impl TrustedRoot {
    /// Trusts nobody; enough for signatures by known keys that ask for no witnesses.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the JSON document, version 0.1 or 0.2.
    ///
    /// # Errors
    /// [`VerifyError::TrustedRootInvalid`].
    pub fn parse(json: &[u8]) -> Result<Self, VerifyError> {
        if json.len() > MAX_TRUSTED_ROOT_BYTES {
            return Err(invalid(format!(
                "{} bytes; at most {MAX_TRUSTED_ROOT_BYTES} are read",
                json.len()
            )));
        }
        Self::from_proto(crate::json::parse_message(json).map_err(|e| invalid(e.to_string()))?)
    }

    /// Takes the message apart, for instance out of a client trust configuration.
    ///
    /// # Errors
    /// [`VerifyError::TrustedRootInvalid`].
    pub fn from_proto(message: proto::TrustedRoot) -> Result<Self, VerifyError> {
        if !MEDIA_TYPES.contains(&message.media_type.as_str()) {
            return Err(invalid(format!("media type {:?}", message.media_type)));
        }
        let mut warnings = Vec::new();
        let root = Self {
            certificate_authorities: authorities(
                "certificateAuthorities",
                message.certificate_authorities,
            )?,
            timestamp_authorities: authorities(
                "timestampAuthorities",
                message.timestamp_authorities,
            )?,
            transparency_logs: transparency_logs(message.tlogs, &mut warnings)?,
            certificate_logs: certificate_logs(message.ctlogs, &mut warnings)?,
            warnings,
        };
        root.refuse_ambiguous_logs()?;
        Ok(root)
    }

    /// The authorities that issue signing certificates.
    #[must_use]
    pub fn certificate_authorities(&self) -> &[Authority] {
        &self.certificate_authorities
    }

    /// The authorities that sign times.
    #[must_use]
    pub fn timestamp_authorities(&self) -> &[Authority] {
        &self.timestamp_authorities
    }

    /// The signature logs.
    #[must_use]
    pub fn transparency_logs(&self) -> &[TransparencyLog] {
        &self.transparency_logs
    }

    /// The certificate logs.
    #[must_use]
    pub fn certificate_logs(&self) -> &[CertificateLog] {
        &self.certificate_logs
    }

    /// Parts that were passed over: logs with keys of a kind that is not verified here.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The logs with this identifier. Several may share a key; their origins tell them apart.
    pub(crate) fn logs_with_id<'a>(
        &'a self,
        log_id: &'a [u8],
    ) -> impl Iterator<Item = &'a TransparencyLog> {
        self.transparency_logs
            .iter()
            .filter(move |log| log.log_id == log_id)
    }

    /// The certificate log with this identifier; several entries may describe one key in several windows.
    pub(crate) fn certificate_logs_with_id<'a>(
        &'a self,
        log_id: &'a [u8],
    ) -> impl Iterator<Item = &'a CertificateLog> {
        self.certificate_logs
            .iter()
            .filter(move |log| log.log_id == log_id)
    }

    /// Two logs with one identifier and a common name could each pass for the other.
    fn refuse_ambiguous_logs(&self) -> Result<(), VerifyError> {
        for (position, log) in self.transparency_logs.iter().enumerate() {
            let others = self.transparency_logs.iter().skip(position + 1);
            for other in others.filter(|other| other.log_id == log.log_id) {
                if other.base_url == log.base_url && other.key == log.key {
                    continue;
                }
                if log
                    .note_keys
                    .iter()
                    .any(|key| other.note_key(key.name()).is_some())
                {
                    let (first, second) = (&log.base_url, &other.base_url);
                    return Err(invalid(format!(
                        "tlogs {first} and {second} cannot be told apart"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn authorities(
    field: &str,
    messages: Vec<proto::CertificateAuthority>,
) -> Result<Vec<Authority>, VerifyError> {
    within(field, messages.len(), MAX_INSTANCES)?;
    messages
        .into_iter()
        .map(|message| authority(field, message))
        .collect()
}

fn authority(field: &str, message: proto::CertificateAuthority) -> Result<Authority, VerifyError> {
    let certificates = message.cert_chain.unwrap_or_default().certificates;
    if certificates.is_empty() {
        return Err(invalid(format!("{field} {}: no certificates", message.uri)));
    }
    within(field, certificates.len(), MAX_CHAIN)?;
    let chain = certificates
        .into_iter()
        .map(|certificate| Certificate::from_der(certificate.raw_bytes))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(format!("{field} {}: {error}", message.uri)))?;
    let validity = validity(field, &message.uri, message.valid_for.as_ref())?;
    Ok(Authority {
        chain,
        uri: message.uri,
        operator: message.operator,
        validity,
    })
}

fn transparency_logs(
    messages: Vec<proto::TransparencyLogInstance>,
    warnings: &mut Vec<String>,
) -> Result<Vec<TransparencyLog>, VerifyError> {
    within("tlogs", messages.len(), MAX_INSTANCES)?;
    let mut logs = Vec::with_capacity(messages.len());
    for message in messages {
        let Some(parts) = log_parts("tlogs", &message, warnings)? else {
            continue;
        };
        if parts.validity.start_ms.is_none() {
            return Err(invalid(format!(
                "tlogs {}: publicKey.validFor.start is missing",
                message.base_url
            )));
        }
        let note_keys = note_keys(&message.base_url, &parts.key)?;
        logs.push(TransparencyLog {
            base_url: message.base_url,
            operator: message.operator,
            log_id: parts.log_id,
            validity: parts.validity,
            key: parts.key,
            note_keys,
        });
    }
    Ok(logs)
}

fn certificate_logs(
    messages: Vec<proto::TransparencyLogInstance>,
    warnings: &mut Vec<String>,
) -> Result<Vec<CertificateLog>, VerifyError> {
    within("ctlogs", messages.len(), MAX_INSTANCES)?;
    let mut logs = Vec::with_capacity(messages.len());
    for message in messages {
        let Some(parts) = log_parts("ctlogs", &message, warnings)? else {
            continue;
        };
        logs.push(CertificateLog {
            base_url: message.base_url,
            operator: message.operator,
            log_id: parts.log_id,
            key: parts.key,
            validity: parts.validity,
        });
    }
    Ok(logs)
}

struct LogParts {
    log_id: Vec<u8>,
    key: PublicKey,
    validity: Validity,
}

/// Identifier, key and window of a log; `None`, with a warning, for a key that cannot be used here.
fn log_parts(
    field: &str,
    message: &proto::TransparencyLogInstance,
    warnings: &mut Vec<String>,
) -> Result<Option<LogParts>, VerifyError> {
    let place = || format!("{field} {}", message.base_url);
    let public_key = message
        .public_key
        .as_ref()
        .ok_or_else(|| invalid(format!("{}: no publicKey", place())))?;
    let log_id = message
        .log_id
        .as_ref()
        .map(|id| id.key_id.clone())
        .unwrap_or_default();
    if log_id.is_empty() {
        return Err(invalid(format!("{}: no logId", place())));
    }
    let validity = validity(field, &message.base_url, public_key.valid_for.as_ref())?;
    match log_key(public_key) {
        Ok(key) => Ok(Some(LogParts {
            log_id,
            key,
            validity,
        })),
        Err(why) => {
            warnings.push(format!("{}: passed over: {why}", place()));
            Ok(None)
        }
    }
}

/// The key, unless it is of another kind than `keyDetails` says: then one of the two is not what the operator meant.
fn log_key(message: &common::PublicKey) -> Result<PublicKey, String> {
    let key = read_key(message.raw_bytes.as_deref().unwrap_or_default())
        .map_err(|error| error.to_string())?;
    match Algorithm::from_key_details(message.key_details) {
        Some(stated) if !stated.fits(key.key_type()) => Err(format!(
            "a key of type {}, for which keyDetails says {stated}",
            key.key_type()
        )),
        _ => Ok(key),
    }
}

/// A SubjectPublicKeyInfo, or the bare PKCS#1 key that old roots have for RSA logs.
fn read_key(der: &[u8]) -> Result<PublicKey, sealwright_crypto::KeyError> {
    PublicKey::from_spki_der(der)
        .or_else(|error| PublicKey::from_rsa_pkcs1_der(der).map_err(|_| error))
}

/// The names under which a log may sign: its address without the scheme (C2SP), its host and port, its host.
fn note_keys(base_url: &str, key: &PublicKey) -> Result<Vec<NoteKey>, VerifyError> {
    let unusable = |error: String| invalid(format!("tlogs {base_url}: {error}"));
    let address = base_url
        .split_once("://")
        .map_or(base_url, |(_, rest)| rest)
        .trim_end_matches('/');
    let authority = address
        .split_once('/')
        .map_or(address, |(authority, _)| authority);
    let mut names = vec![address, authority, host(authority)];
    names.dedup();
    let keys = names
        .into_iter()
        .map(|name| NoteKey::for_log(name, key.clone()))
        .collect::<Result<Vec<_>, _>>();
    keys.map_err(|error| unusable(error.to_string()))
}

/// The host of `host:port`, with the brackets of IPv6 removed.
fn host(authority: &str) -> &str {
    if let Some((host, _)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return host;
    }
    authority
        .split_once(':')
        .map_or(authority, |(host, _)| host)
}

fn validity(
    field: &str,
    place: &str,
    range: Option<&common::TimeRange>,
) -> Result<Validity, VerifyError> {
    Validity::from_proto(range).map_err(|what| invalid(format!("{field} {place}: {what}")))
}

fn within(field: &str, found: usize, limit: usize) -> Result<(), VerifyError> {
    if found <= limit {
        Ok(())
    } else {
        Err(invalid(format!(
            "{found} items in {field}; at most {limit} are read"
        )))
    }
}

fn invalid(what: String) -> VerifyError {
    VerifyError::TrustedRootInvalid { what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwright_crypto::{KeyType, PrivateKey, base64};

    fn log(base_url: &str, key: &PublicKey, log_id: &[u8], valid_for: &str) -> String {
        format!(
            r#"{{"baseUrl":"{base_url}","hashAlgorithm":"SHA2_256","publicKey":{{"rawBytes":"{}","keyDetails":"PKIX_ED25519"{valid_for}}},"logId":{{"keyId":"{}"}}}}"#,
            base64::encode(key.spki_der()),
            base64::encode(log_id),
        )
    }

    const SINCE_2026: &str = r#","validFor":{"start":"2026-01-01T00:00:00Z"}"#;

    fn root(tlogs: &[String]) -> Result<TrustedRoot, VerifyError> {
        let json = format!(
            r#"{{"mediaType":"{}","tlogs":[{}]}}"#,
            MEDIA_TYPES[0],
            tlogs.join(",")
        );
        TrustedRoot::parse(json.as_bytes())
    }

    fn key() -> PublicKey {
        PrivateKey::generate(KeyType::Ed25519)
            .expect("a key")
            .public_key()
            .clone()
    }

    #[test]
    fn windows_include_both_ends() {
        let validity = Validity::new(Some(10), Some(20));
        for (time, covered) in [(9, false), (10, true), (15, true), (20, true), (21, false)] {
            assert_eq!(validity.covers(time), covered, "{time}");
        }
        assert!(
            !validity.covers_ms(9_999) && !validity.covers_ms(20_001) && validity.covers_ms(20_000)
        );
        assert!(Validity::ALWAYS.covers(i64::MIN) && Validity::ALWAYS.covers(i64::MAX));
    }

    #[test]
    fn fractions_narrow_a_window() {
        let time = |seconds, nanos| Some(Timestamp { seconds, nanos });
        let range = common::TimeRange {
            start: time(10, 1),
            end: time(20, 999_999_999),
        };
        let validity = Validity::from_proto(Some(&range)).expect("a window");
        assert_eq!(
            (validity.start_ms(), validity.end_ms()),
            (Some(10_001), Some(20_999))
        );
        let backwards = common::TimeRange {
            start: time(20, 0),
            end: time(10, 0),
        };
        assert!(Validity::from_proto(Some(&backwards)).is_err());
        let absurd = common::TimeRange {
            start: time(i64::MAX, 0),
            end: None,
        };
        assert!(Validity::from_proto(Some(&absurd)).is_err());
        let absurd = common::TimeRange {
            start: time(0, -1),
            end: None,
        };
        assert!(Validity::from_proto(Some(&absurd)).is_err());
    }

    #[test]
    fn a_log_without_start_makes_the_root_unusable() {
        let key = key();
        for valid_for in ["", r#","validFor":{"end":"2027-01-01T00:00:00Z"}"#] {
            let error = root(&[log("https://log.example", &key, &[1; 32], valid_for)])
                .expect_err("no start");
            assert!(error.to_string().contains("validFor.start"), "{error}");
        }
    }

    #[test]
    fn a_log_whose_key_is_not_of_the_stated_kind_is_passed_over() {
        let other = PrivateKey::generate(KeyType::EcP256).expect("a key");
        let contradiction = log(
            "https://log.example",
            other.public_key(),
            &[1; 32],
            SINCE_2026,
        );
        let read = root(std::slice::from_ref(&contradiction)).expect("a root");
        assert!(read.transparency_logs().is_empty());
        assert!(
            matches!(read.warnings(), [only] if only.contains("PKIX_ED25519") || only.contains("ed25519")),
            "{:?}",
            read.warnings()
        );
        let unstated = contradiction.replace("PKIX_ED25519", "PUBLIC_KEY_DETAILS_UNSPECIFIED");
        let read = root(&[unstated]).expect("a root");
        assert_eq!(read.transparency_logs().len(), 1);
    }

    #[test]
    fn a_log_answers_to_its_address_its_authority_and_its_host() {
        let key = key();
        let root = root(&[log(
            "http://log.example:7700/v2/",
            &key,
            &[1; 32],
            SINCE_2026,
        )])
        .expect("a root");
        let log = root.logs_with_id(&[1; 32]).next().expect("the log");
        for origin in [
            "log.example:7700/v2",
            "log.example:7700",
            "log.example",
            "log.example - 42",
        ] {
            assert!(log.note_key(origin).is_some(), "{origin}");
        }
        for origin in ["log.example/v2", "example", "", "other - log.example"] {
            assert!(log.note_key(origin).is_none(), "{origin}");
        }
        assert_eq!(log.origin(), "log.example");
        assert_eq!(host("[::1]:7700"), "::1");
    }

    #[test]
    fn logs_that_cannot_be_told_apart_are_refused() {
        let (key, other) = (key(), key());
        let one = |url: &str, key: &PublicKey| log(url, key, &[1; 32], SINCE_2026);
        assert!(
            root(&[
                one("https://a.example/1", &key),
                one("https://a.example/2", &other)
            ])
            .is_err()
        );
        assert!(
            root(&[
                one("https://a.example", &key),
                one("https://b.example", &key)
            ])
            .is_ok()
        );
        assert!(
            root(&[
                one("https://a.example", &key),
                one("https://a.example", &key)
            ])
            .is_ok()
        );
    }

    #[test]
    fn malformed_documents_are_refused() {
        let key = key();
        let good = log("https://log.example", &key, &[1; 32], SINCE_2026);
        let documents = [
            String::new(),
            "{}".into(),
            r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot.v0.3+json"}"#.into(),
            format!(r#"{{"mediaType":"{0}","mediaType":"{0}"}}"#, MEDIA_TYPES[0]),
            format!(
                r#"{{"mediaType":"{}","tlogs":[{}]}}"#,
                MEDIA_TYPES[0],
                good.replace("logId", "log_identity")
            ),
            format!(
                r#"{{"mediaType":"{}","certificateAuthorities":[{{"uri":"x"}}]}}"#,
                MEDIA_TYPES[0]
            ),
            format!(
                r#"{{"mediaType":"{}","certificateAuthorities":[{{"certChain":{{"certificates":[{{"rawBytes":"AAAA"}}]}}}}]}}"#,
                MEDIA_TYPES[0]
            ),
        ];
        for document in documents {
            let error = TrustedRoot::parse(document.as_bytes()).expect_err(&document);
            assert_eq!(error.code(), "TRUSTED_ROOT_INVALID", "{document}");
        }
    }

    #[test]
    fn a_key_of_an_unknown_kind_is_passed_over_with_a_warning() {
        let key = key();
        let unknown = log("https://new.example", &key, &[2; 32], SINCE_2026)
            .replace(&base64::encode(key.spki_der()), "AAAA");
        let root = root(&[
            unknown,
            log("https://log.example", &key, &[1; 32], SINCE_2026),
        ])
        .expect("a root");
        assert_eq!(root.transparency_logs().len(), 1);
        assert!(
            root.warnings()[0].contains("https://new.example"),
            "{:?}",
            root.warnings()
        );
    }

    #[test]
    fn a_second_has_less_than_a_thousand_million_nanoseconds() {
        let ending = |nanos| {
            let range = common::TimeRange {
                start: None,
                end: Some(Timestamp { seconds: 1, nanos }),
            };
            Validity::from_proto(Some(&range)).map(|window| window.end_ms())
        };
        assert_eq!(ending(999_999_999), Ok(Some(1_999)));
        assert!(ending(1_000_000_000).is_err());
    }

    #[test]
    fn the_last_certificate_alone_is_the_anchor() {
        use sealwright_testkit::bundle_factory::CertificateAuthority;
        let chain = CertificateAuthority::new("https://ca.example").chain;
        let [issuing, anchor] = chain.as_slice() else {
            panic!("two certificates");
        };
        let split = |chain: &[Certificate]| {
            let authority = Authority {
                chain: chain.to_vec(),
                uri: String::new(),
                operator: String::new(),
                validity: Validity::ALWAYS,
            };
            let (anchor, below) = authority.split();
            (anchor.to_vec(), below.to_vec())
        };
        let (top, low) = (vec![anchor.clone()], vec![issuing.clone()]);
        assert_eq!(split(&chain), (top.clone(), low));
        assert_eq!(split(&top), (top, Vec::new()));
        assert_eq!(split(&[]), (Vec::new(), Vec::new()));
    }

    #[test]
    fn documents_lists_and_chains_have_a_largest_size() {
        use sealwright_testkit::bundle_factory::World;
        let world = World::new();
        let few = world.trusted_root();
        let mut long = world.trusted_root_json();
        long.push_str(&" ".repeat(MAX_TRUSTED_ROOT_BYTES - long.len()));
        TrustedRoot::parse(long.as_bytes()).expect("the longest document");
        let longer = TrustedRoot::parse(format!("{long} ").as_bytes()).expect_err("a longer one");
        assert!(longer.to_string().contains("bytes"), "{longer}");

        fn repeat<T: Clone>(items: &mut Vec<T>, times: usize) {
            *items = vec![items[0].clone(); times];
        }
        let judge = |change: &dyn Fn(&mut proto::TrustedRoot)| {
            let mut root = few.clone();
            change(&mut root);
            TrustedRoot::from_proto(root).map(|_| ())
        };
        let judge = |size: usize, what: &str| {
            judge(&|root| match what {
                "tlogs" => repeat(&mut root.tlogs, size),
                "ctlogs" => repeat(&mut root.ctlogs, size),
                "certificateAuthorities" => repeat(&mut root.certificate_authorities, size),
                "timestampAuthorities" => repeat(&mut root.timestamp_authorities, size),
                _ => {
                    let authority = &mut root.certificate_authorities[0];
                    let chain = authority.cert_chain.as_mut().expect("a chain");
                    repeat(&mut chain.certificates, size);
                }
            })
        };
        for (what, most) in [
            ("tlogs", MAX_INSTANCES),
            ("ctlogs", MAX_INSTANCES),
            ("certificateAuthorities", MAX_INSTANCES),
            ("timestampAuthorities", MAX_INSTANCES),
            ("a chain", MAX_CHAIN),
        ] {
            judge(most, what).expect(what);
            let refused = judge(most + 1, what).expect_err(what);
            assert!(refused.to_string().contains("at most"), "{what}: {refused}");
        }
    }
}
