//! The two documents that clients work from, `TrustedRoot` and `SigningConfig`: how they grow out of admitted material,
//! and the guard that nothing old ever leaves them.

use std::collections::BTreeSet;

use sealwright_crypto::{PublicKey, sha256};
use sealwright_pki::Certificate;
use sealwright_proto::Timestamp;
use sealwright_proto::common::v1 as common;
use sealwright_proto::trustroot::v1::{
    CertificateAuthority, ClientTrustConfig, Service, ServiceConfiguration, ServiceSelector,
    SigningConfig, TransparencyLogInstance, TrustedRoot,
};
use sealwright_tuf::Expiry;

use crate::error::{Error, MaterialFault};
use crate::material::{Kind, Material};

/// The form that all published clients read.
const TRUSTED_ROOT_TYPE: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
const SIGNING_CONFIG_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
const CLIENT_TRUST_CONFIG_TYPE: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";

/// API versions that clients must speak. The certificate authority's is 1 by the ecosystem's count, whose clients call
/// `/api/v2/signingCert` under it.
const CA_API: u32 = 1;
const LOG_API: u32 = 2;
const TSA_API: u32 = 1;
const OIDC_API: u32 = 1;

/// Target name of the trusted root.
pub const TRUSTED_ROOT: &str = "trusted_root.json";
/// Target name of the signing config.
pub const SIGNING_CONFIG: &str = "signing_config.v0.2.json";
/// The name under which cosign asks for the signing config when told to use the log's second API.
pub const SIGNING_CONFIG_REKOR_V2: &str = "signing_config_rekor_v2.v0.2.json";

/// Both documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Documents {
    /// What verifiers trust.
    pub trusted_root: TrustedRoot,
    /// What signers call.
    pub signing_config: SigningConfig,
}

impl Default for Documents {
    fn default() -> Self {
        Self::empty()
    }
}

/// What one staging adds to the published documents.
#[derive(Debug)]
pub(crate) struct Addition<'a> {
    pub(crate) materials: &'a [Material],
    pub(crate) oidc_urls: &'a [String],
    pub(crate) operator: &'a str,
    pub(crate) now: i64,
    /// From when signers may be sent to new services; nothing means from the start of each key.
    pub(crate) services_from: Option<i64>,
}

impl Documents {
    /// Documents without any entry.
    #[must_use]
    pub fn empty() -> Self {
        let any = ServiceConfiguration {
            selector: ServiceSelector::Any as i32,
            count: 0,
        };
        Self {
            trusted_root: TrustedRoot {
                media_type: TRUSTED_ROOT_TYPE.to_owned(),
                ..TrustedRoot::default()
            },
            signing_config: SigningConfig {
                media_type: SIGNING_CONFIG_TYPE.to_owned(),
                rekor_tlog_config: Some(any),
                tsa_config: Some(any),
                ..SigningConfig::default()
            },
        }
    }

    /// The documents with new material and the configured identity providers, and what changed, in sentences.
    ///
    /// # Errors
    /// [`Error::Material`] when new material collides with what is there.
    pub(crate) fn extend(&self, addition: &Addition<'_>) -> Result<(Self, Vec<String>), Error> {
        let mut next = self.clone();
        let mut changes = Vec::new();
        for material in addition.materials {
            if next.admit(material, addition)? {
                changes.push(format!("adds {material} ({})", material.id()));
            }
        }
        next.set_oidc(addition, &mut changes);
        Ok((next, changes))
    }

    /// Whether the material was new.
    fn admit(&mut self, material: &Material, addition: &Addition<'_>) -> Result<bool, Error> {
        let new = self.is_new(material, addition.operator)?;
        if new {
            self.push(material, addition);
        }
        Ok(new)
    }

    /// Whether the material is not there yet, and may come.
    pub(crate) fn is_new(&self, material: &Material, operator: &str) -> Result<bool, Error> {
        let refuse = |fault| Error::Material {
            subject: material.to_string(),
            fault,
        };
        let id = material.id();
        let entries = self.entries();
        if let Some(known) = entries.iter().find(|entry| entry.id == id) {
            return match known.same_service(material, operator) {
                true => Ok(false),
                false => Err(refuse(MaterialFault::Changed)),
            };
        }
        let key = material.public_key.spki_der();
        // A certificate authority may renew its certificate over the same key; anything else is a key with two uses.
        let reused = entries.iter().find(|entry| {
            entry.public_key == key && !(entry.kind.is_authority() && entry.kind == material.kind)
        });
        if let Some(other) = reused {
            return Err(refuse(MaterialFault::KeyReused(other.to_string())));
        }
        let is_log = !material.kind.is_authority();
        let mut logs = entries.iter().filter(|entry| !entry.kind.is_authority());
        if let Some(other) = logs.find(|entry| is_log && entry.origin == material.origin) {
            return Err(refuse(MaterialFault::OriginReused(other.to_string())));
        }
        Ok(true)
    }

    pub(crate) fn push_log(&mut self, material: &Material, default_operator: &str) {
        let root = &mut self.trusted_root;
        let logs = match material.kind {
            Kind::CtLog => &mut root.ctlogs,
            _ => &mut root.tlogs,
        };
        logs.push(log(material, default_operator));
    }

    fn push(&mut self, material: &Material, addition: &Addition<'_>) {
        let root = &mut self.trusted_root;
        match material.kind {
            Kind::CertificateAuthority => root
                .certificate_authorities
                .push(authority(material, addition.operator)),
            Kind::TimestampAuthority => root
                .timestamp_authorities
                .push(authority(material, addition.operator)),
            Kind::TransparencyLog | Kind::CtLog => self.push_log(material, addition.operator),
        }
        let start = addition.services_from.unwrap_or(0).max(material.valid_from);
        let config = &mut self.signing_config;
        let (services, version) = match material.kind {
            Kind::CertificateAuthority => (&mut config.ca_urls, CA_API),
            Kind::TimestampAuthority => (&mut config.tsa_urls, TSA_API),
            Kind::TransparencyLog => (&mut config.rekor_tlog_urls, LOG_API),
            Kind::CtLog => return,
        };
        let open = |service: &Service| {
            service.url == material.url && end_of(service.valid_for.as_ref()).is_none()
        };
        if !services.iter().any(open) {
            let operator = operator(material, addition.operator);
            services.push(service(&material.url, version, start, operator));
        }
    }

    /// Identity providers are configuration: the ones listed are offered, one no longer listed gets an end.
    fn set_oidc(&mut self, addition: &Addition<'_>, changes: &mut Vec<String>) {
        let services = &mut self.signing_config.oidc_urls;
        for old in services.iter_mut() {
            let open = end_of(old.valid_for.as_ref()).is_none();
            if open && !addition.oidc_urls.contains(&old.url) {
                changes.push(format!(
                    "no longer offers the identity provider {}",
                    old.url
                ));
                set_end(&mut old.valid_for, addition.now);
            }
        }
        for url in addition.oidc_urls {
            let open = |s: &Service| s.url == *url && end_of(s.valid_for.as_ref()).is_none();
            if !services.iter().any(open) {
                changes.push(format!("offers the identity provider {url}"));
                services.push(service(url, OIDC_API, addition.now, addition.operator));
            }
        }
    }

    /// Ends the validity of one entry, and of the service offered under its URL when no other live entry has it.
    ///
    /// # Errors
    /// [`Error::UnknownEntry`], [`Error::BadEnd`].
    pub(crate) fn retire(
        &self,
        id: &str,
        end: i64,
        now: i64,
    ) -> Result<(Self, Vec<String>), Error> {
        let entry = self.entry(id)?;
        let writable = Expiry::from_unix(end).unix() == end;
        if end < now || !writable || entry.valid_until.is_some() {
            return Err(Error::BadEnd {
                id: id.to_owned(),
                earliest: now,
            });
        }
        let mut next = self.clone();
        next.for_entry(id, |valid_for| set_end(valid_for, end));
        next.end_orphaned_service(&entry, end);
        Ok((next, vec![format!("ends the validity of {entry} at {end}")]))
    }

    /// Break glass: takes an entry away.
    ///
    /// # Errors
    /// [`Error::UnknownEntry`].
    pub(crate) fn remove(&self, id: &str, now: i64) -> Result<(Self, Vec<String>), Error> {
        let entry = self.entry(id)?;
        let mut next = self.clone();
        let root = &mut next.trusted_root;
        root.tlogs.retain(|log| log_entry_id(log) != id);
        root.ctlogs.retain(|log| log_entry_id(log) != id);
        root.certificate_authorities
            .retain(|ca| authority_id(ca) != id);
        root.timestamp_authorities
            .retain(|tsa| authority_id(tsa) != id);
        next.end_orphaned_service(&entry, now);
        Ok((
            next,
            vec![format!(
                "REMOVES {entry}: nothing it vouched for will verify"
            )],
        ))
    }

    pub(crate) fn end_orphaned_service(&mut self, entry: &Entry, end: i64) {
        let live = |other: &Entry| {
            other.kind == entry.kind
                && other.url == entry.url
                && other.id != entry.id
                && other.valid_until.is_none()
        };
        if self.entries().iter().any(live) {
            return;
        }
        let config = &mut self.signing_config;
        let services = match entry.kind {
            Kind::CertificateAuthority => &mut config.ca_urls,
            Kind::TimestampAuthority => &mut config.tsa_urls,
            Kind::TransparencyLog => &mut config.rekor_tlog_urls,
            Kind::CtLog => return,
        };
        for service in services
            .iter_mut()
            .filter(|service| service.url == entry.url)
        {
            if end_of(service.valid_for.as_ref()).is_none() {
                set_end(&mut service.valid_for, end);
            }
        }
    }

    pub(crate) fn for_entry(&mut self, id: &str, act: impl Fn(&mut Option<common::TimeRange>)) {
        let root = &mut self.trusted_root;
        for log in root.tlogs.iter_mut().chain(&mut root.ctlogs) {
            if log_entry_id(log) == id
                && let Some(key) = &mut log.public_key
            {
                act(&mut key.valid_for);
            }
        }
        let authorities = root.certificate_authorities.iter_mut();
        for authority in authorities.chain(&mut root.timestamp_authorities) {
            if authority_id(authority) == id {
                act(&mut authority.valid_for);
            }
        }
    }

    pub(crate) fn entry(&self, id: &str) -> Result<Entry, Error> {
        let found = self.entries().into_iter().find(|entry| entry.id == id);
        found.ok_or_else(|| Error::UnknownEntry { id: id.to_owned() })
    }

    /// Everything in the trusted root.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let root = &self.trusted_root;
        let cas = root.certificate_authorities.iter();
        let tsas = root.timestamp_authorities.iter();
        cas.map(|ca| Entry::of_authority(Kind::CertificateAuthority, ca))
            .chain(tsas.map(|tsa| Entry::of_authority(Kind::TimestampAuthority, tsa)))
            .chain(
                root.tlogs
                    .iter()
                    .map(|log| Entry::of_log(Kind::TransparencyLog, log)),
            )
            .chain(
                root.ctlogs
                    .iter()
                    .map(|log| Entry::of_log(Kind::CtLog, log)),
            )
            .collect()
    }

    /// The earliest start among services that `published` does not offer.
    pub(crate) fn first_new_start(&self, published: &Self) -> Option<i64> {
        let old: BTreeSet<&str> = published
            .services()
            .map(|service| service.url.as_str())
            .collect();
        let new = self
            .services()
            .filter(|service| !old.contains(service.url.as_str()));
        new.map(|service| start_of(service.valid_for.as_ref()))
            .min()
    }

    /// Services whose use needs trusted keys; identity providers need none.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        let config = &self.signing_config;
        config
            .ca_urls
            .iter()
            .chain(&config.tsa_urls)
            .chain(&config.rekor_tlog_urls)
    }

    /// Both documents as one Sigstore `ClientTrustConfig`.
    #[must_use]
    pub fn client_trust_config(&self) -> ClientTrustConfig {
        ClientTrustConfig {
            media_type: CLIENT_TRUST_CONFIG_TYPE.to_owned(),
            trusted_root: Some(self.trusted_root.clone()),
            signing_config: Some(self.signing_config.clone()),
        }
    }

    /// The target files by name.
    pub(crate) fn files(&self) -> [(&'static str, Vec<u8>); 3] {
        let config = document(&self.signing_config);
        [
            (TRUSTED_ROOT, document(&self.trusted_root)),
            (SIGNING_CONFIG, config.clone()),
            (SIGNING_CONFIG_REKOR_V2, config),
        ]
    }

    /// Reads the documents back from their files.
    pub(crate) fn parse(trusted_root: &[u8], signing_config: &[u8]) -> Result<Self, Error> {
        let corrupt = |name: &str, error: serde_json::Error| Error::Corrupt {
            what: format!("{name}: {error}"),
        };
        Ok(Self {
            trusted_root: serde_json::from_slice(trusted_root)
                .map_err(|error| corrupt(TRUSTED_ROOT, error))?,
            signing_config: serde_json::from_slice(signing_config)
                .map_err(|error| corrupt(SIGNING_CONFIG, error))?,
        })
    }
}

/// A document as clients get it. The serializer writes the offset of a time as `+00:00`; proto3 JSON has it as `Z`, and
/// parsers that know only that exist.
pub(crate) fn document<T: serde::Serialize>(message: &T) -> Vec<u8> {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    end_times_with_z(&mut value);
    json(&value)
}

fn end_times_with_z(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                let time = matches!(name.as_str(), "start" | "end").then(|| member.as_str());
                match time.flatten().and_then(|time| time.strip_suffix("+00:00")) {
                    Some(time) => *member = format!("{time}Z").into(),
                    None => end_times_with_z(member),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(end_times_with_z),
        _ => {}
    }
}

/// Readable JSON with a newline at the end.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Messages of text, numbers, bytes and writable times always have a JSON form.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Refuses a next trusted root from which an entry of the old one is gone, or in which anything about it has changed
/// except that it got an end.
///
/// # Errors
/// [`Error::WouldDrop`] with the first such entry.
pub(crate) fn guard(old: &Documents, new: &Documents, removed: Option<&str>) -> Result<(), Error> {
    let after = new.frozen_entries();
    for (entry, frozen) in old.frozen_entries() {
        if removed == Some(entry.id.as_str()) {
            continue;
        }
        let kept = after.iter().any(|(candidate, other)| {
            *other == frozen
                && (entry.valid_until.is_none() || candidate.valid_until == entry.valid_until)
        });
        if !kept {
            return Err(Error::WouldDrop {
                entry: entry.to_string(),
            });
        }
    }
    Ok(())
}

impl Documents {
    /// Every entry with the bytes that must never change: all of it but the end of validity.
    fn frozen_entries(&self) -> Vec<(Entry, (Kind, Vec<u8>))> {
        let mut open = self.clone();
        for entry in self.entries() {
            open.for_entry(&entry.id, |valid_for| {
                if let Some(range) = valid_for {
                    range.end = None;
                }
            });
        }
        let root = open.trusted_root;
        let cas = root.certificate_authorities.iter();
        let tsas = root.timestamp_authorities.iter();
        let frozen = cas
            .map(|ca| (Kind::CertificateAuthority, json(ca)))
            .chain(tsas.map(|tsa| (Kind::TimestampAuthority, json(tsa))))
            .chain(
                root.tlogs
                    .iter()
                    .map(|log| (Kind::TransparencyLog, json(log))),
            )
            .chain(root.ctlogs.iter().map(|log| (Kind::CtLog, json(log))));
        self.entries().into_iter().zip(frozen).collect()
    }
}

/// One entry of the trusted root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Hex SHA-256 of the first certificate (authorities) or of the key (logs).
    pub id: String,
    /// What it is for.
    pub kind: Kind,
    /// Base URL, or endpoint of a timestamp authority.
    pub url: String,
    /// Origin of a log; empty for authorities.
    pub origin: String,
    /// Who runs it.
    pub operator: String,
    /// DER of the SubjectPublicKeyInfo; empty where it cannot be read.
    pub public_key: Vec<u8>,
    /// Unix seconds.
    pub valid_from: i64,
    /// Unix seconds; open where absent.
    pub valid_until: Option<i64>,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.url, self.id)
    }
}

impl Entry {
    fn of_authority(kind: Kind, authority: &CertificateAuthority) -> Self {
        let first = first_certificate(authority);
        let key = Certificate::from_der(first.to_vec()).map(|leaf| leaf.spki_der().to_vec());
        Self {
            id: authority_id(authority),
            kind,
            url: authority.uri.clone(),
            origin: String::new(),
            operator: authority.operator.clone(),
            public_key: key.unwrap_or_default(),
            valid_from: start_of(authority.valid_for.as_ref()),
            valid_until: end_of(authority.valid_for.as_ref()),
        }
    }

    fn of_log(kind: Kind, log: &TransparencyLogInstance) -> Self {
        let valid_for = log
            .public_key
            .as_ref()
            .and_then(|key| key.valid_for.as_ref());
        Self {
            id: log_entry_id(log),
            kind,
            url: log.base_url.clone(),
            origin: origin_of(kind, &log.base_url),
            operator: log.operator.clone(),
            public_key: log_key(log).to_vec(),
            valid_from: start_of(valid_for),
            valid_until: end_of(valid_for),
        }
    }

    fn same_service(&self, material: &Material, default_operator: &str) -> bool {
        self.kind == material.kind
            && self.url == material.url
            && self.operator == operator(material, default_operator)
    }
}

fn origin_of(kind: Kind, url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    if kind == Kind::CtLog {
        return rest.to_owned();
    }
    let host = url::Url::parse(url).ok();
    host.and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default()
}

fn log_key(log: &TransparencyLogInstance) -> &[u8] {
    let key = log.public_key.as_ref();
    key.and_then(|key| key.raw_bytes.as_deref())
        .unwrap_or_default()
}

fn log_entry_id(log: &TransparencyLogInstance) -> String {
    hex::encode(sha256(log_key(log)))
}

fn first_certificate(authority: &CertificateAuthority) -> &[u8] {
    let chain = authority.cert_chain.as_ref();
    chain
        .and_then(|chain| chain.certificates.first())
        .map(|certificate| certificate.raw_bytes.as_ref())
        .unwrap_or_default()
}

fn authority_id(authority: &CertificateAuthority) -> String {
    hex::encode(sha256(first_certificate(authority)))
}

fn operator<'a>(material: &'a Material, default: &'a str) -> &'a str {
    if material.operator.is_empty() {
        default
    } else {
        &material.operator
    }
}

fn authority(material: &Material, default_operator: &str) -> CertificateAuthority {
    let root = material
        .chain
        .last()
        .map(Certificate::subject)
        .unwrap_or_default();
    let certificates = material.chain.iter();
    CertificateAuthority {
        subject: Some(distinguished_name(&root)),
        uri: material.url.clone(),
        cert_chain: Some(common::X509CertificateChain {
            certificates: certificates
                .map(|certificate| common::X509Certificate {
                    raw_bytes: certificate.der().to_vec(),
                })
                .collect(),
        }),
        valid_for: Some(from(material.valid_from)),
        operator: operator(material, default_operator).to_owned(),
    }
}

fn log(material: &Material, default_operator: &str) -> TransparencyLogInstance {
    TransparencyLogInstance {
        base_url: material.url.clone(),
        hash_algorithm: common::HashAlgorithm::Sha2256 as i32,
        public_key: Some(common::PublicKey {
            raw_bytes: Some(material.public_key.spki_der().to_vec()),
            key_details: key_details(&material.public_key),
            valid_for: Some(from(material.valid_from)),
        }),
        log_id: material.log_id.map(|id| common::LogId {
            key_id: id.to_vec(),
        }),
        // Published clients read it in different ways; the full id above is enough for all of them.
        checkpoint_key_id: None,
        operator: operator(material, default_operator).to_owned(),
    }
}

fn key_details(key: &PublicKey) -> i32 {
    key.default_algorithm().key_details().unwrap_or_default()
}

fn service(url: &str, version: u32, start: i64, operator: &str) -> Service {
    Service {
        url: url.to_owned(),
        major_api_version: version,
        valid_for: Some(from(start)),
        operator: operator.to_owned(),
    }
}

fn from(start: i64) -> common::TimeRange {
    common::TimeRange {
        start: Some(timestamp(start)),
        end: None,
    }
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

pub(crate) fn start_of(range: Option<&common::TimeRange>) -> i64 {
    let start = range.and_then(|range| range.start.as_ref());
    start.map_or(0, |start| start.seconds)
}

pub(crate) fn end_of(range: Option<&common::TimeRange>) -> Option<i64> {
    let end = range.and_then(|range| range.end.as_ref());
    end.map(|end| end.seconds)
}

pub(crate) fn set_end(range: &mut Option<common::TimeRange>, end: i64) {
    range.get_or_insert_default().end = Some(timestamp(end));
}

/// Organisation and common name out of the text form of a name (RFC 4514). People read them; nothing is decided by
/// them.
fn distinguished_name(text: &str) -> common::DistinguishedName {
    let mut name = common::DistinguishedName::default();
    for attribute in split_unescaped(text) {
        match attribute.split_once('=') {
            Some(("O", value)) => name.organization = unescape(value),
            Some(("CN", value)) => name.common_name = unescape(value),
            _ => {}
        }
    }
    name
}

fn split_unescaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        let separator = !escaped && matches!(c, ',' | '+');
        escaped = !escaped && c == '\\';
        match parts.last_mut() {
            Some(part) if !separator => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts
}

fn unescape(value: &str) -> String {
    let mut out = String::new();
    let mut escaped = false;
    for c in value.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(c);
            escaped = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_their_text_form() {
        let name = distinguished_name(r"CN=Root\, the first,OU=x,O=A \+ B");
        assert_eq!(
            (name.common_name.as_str(), name.organization.as_str()),
            ("Root, the first", "A + B")
        );
    }

    #[test]
    fn origins_follow_from_urls() {
        assert_eq!(
            origin_of(Kind::TransparencyLog, "http://127.0.0.1:7700"),
            "127.0.0.1"
        );
        assert_eq!(
            origin_of(Kind::CtLog, "http://127.0.0.1:7700/ct/dev"),
            "127.0.0.1:7700/ct/dev"
        );
    }
}
