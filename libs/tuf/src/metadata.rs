//! The four metadata types, their members and the rules each must keep by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sealwright_crypto::HashAlgorithm;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::SPEC_VERSION;
use crate::delegation::Delegations;
use crate::envelope::Envelope;
use crate::error::{Error, Problem, Subject};
use crate::key::{Key, KeyId};

/// One of the four top-level roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Names the keys of all four.
    Root,
    /// Says which snapshot is the newest; short-lived.
    Timestamp,
    /// Pins the versions of all targets roles.
    Snapshot,
    /// Names target files and delegations.
    Targets,
}

impl Role {
    /// All four, root first.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// The name in metadata, and the value of `_type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the four types have in common.
pub trait Metadata: Clone + Serialize + DeserializeOwned + Send + Sync {
    /// Which role this type is; its name is the value of `_type`.
    const ROLE: Role;

    /// The version, at least 1.
    fn version(&self) -> u64;

    /// When clients stop believing it.
    fn expires(&self) -> Expiry;

    /// Sets version and expiry, for the next version of the same metadata.
    fn renew(&mut self, version: u64, expires: Expiry);

    /// The rules of this type that its shape alone does not enforce.
    ///
    /// # Errors
    /// The first rule broken.
    fn check(&self) -> Result<(), Problem>;

    /// A copy with the next version and a new expiry.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there is no next version.
    fn next(&self, expires: Expiry) -> Result<Self, Error> {
        let version = self.version().checked_add(1).ok_or_else(|| {
            Error::malformed(
                Self::ROLE.name(),
                Problem::VersionsExhausted(self.version()),
            )
        })?;
        let mut next = self.clone();
        next.renew(version, expires);
        Ok(next)
    }
}

const TIME_FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// A time in metadata: whole Unix seconds, written `YYYY-MM-DDTHH:MM:SSZ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expiry(i64);

impl Expiry {
    /// The last second that has a four-digit year, 9999-12-31T23:59:59Z.
    const MAX: i64 = 253_402_300_799;

    /// From Unix seconds; times before 1970 or after 9999 are moved to the nearest one that can be written.
    #[must_use]
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds.clamp(0, Self::MAX))
    }

    /// Unix seconds.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != "2026-01-01T00:00:00Z".len() {
            return None;
        }
        let time = PrimitiveDateTime::parse(text, TIME_FORMAT).ok()?;
        Some(Self(time.assume_utc().unix_timestamp()))
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp(self.0)
            .ok()
            .and_then(|time| time.format(TIME_FORMAT).ok());
        f.write_str(text.as_deref().unwrap_or("an unwritable time"))
    }
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(Problem::Time(text)))
    }
}

/// Which keys may sign for a role, and how many must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Ids of the keys, each once.
    pub keyids: Vec<KeyId>,
    /// How many distinct keys must sign; at least 1.
    pub threshold: u32,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl RoleKeys {
    /// Any `threshold` of `keys`.
    #[must_use]
    pub fn new(keys: &[&Key], threshold: u32) -> Self {
        Self {
            keyids: keys.iter().map(|key| key.id()).collect(),
            threshold,
            extra: Map::new(),
        }
    }

    pub(crate) fn check(&self, role: &str) -> Result<(), Problem> {
        if self.threshold == 0 {
            return Err(Problem::ThresholdZero(role.to_owned()));
        }
        let mut seen = BTreeSet::new();
        match self.keyids.iter().find(|id| !seen.insert(*id)) {
            Some(twice) => Err(Problem::DuplicateKeyId(twice.to_string())),
            None => Ok(()),
        }
    }
}

/// The root of trust: all keys, and which role uses which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// `1.x`.
    pub spec_version: String,
    /// Version, one more than the root before.
    pub version: u64,
    /// End of belief.
    pub expires: Expiry,
    /// Whether files carry their version (metadata) or hash (targets) in their name.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// All keys by id.
    pub keys: BTreeMap<KeyId, Key>,
    /// The four roles.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Root {
    /// Version 1 of a root with consistent snapshots and no keys yet; [`Root::set_role`] for each role follows.
    #[must_use]
    pub fn new(expires: Expiry) -> Self {
        Self {
            spec_version: SPEC_VERSION.to_owned(),
            version: 1,
            expires,
            consistent_snapshot: true,
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Gives a role exactly these keys, and forgets keys that no role uses any more.
    pub fn set_role(&mut self, role: Role, keys: &[&Key], threshold: u32) {
        for key in keys {
            self.keys.insert(key.id(), (*key).clone());
        }
        self.roles
            .insert(role.name().to_owned(), RoleKeys::new(keys, threshold));
        let used: BTreeSet<KeyId> = self
            .roles
            .values()
            .flat_map(|role| role.keyids.iter().cloned())
            .collect();
        self.keys.retain(|id, _| used.contains(id));
    }

    /// The keys of a role.
    #[must_use]
    pub fn role(&self, role: Role) -> Option<&RoleKeys> {
        self.roles.get(role.name())
    }

    /// Checks that enough keys of `T`'s role have signed.
    ///
    /// # Errors
    /// [`Error::Threshold`]; [`Error::Malformed`] when the root does not define the role.
    pub fn verify<T: Metadata>(&self, envelope: &Envelope<T>) -> Result<(), Error> {
        let role = T::ROLE;
        let keys = self.role(role).ok_or_else(|| {
            Error::malformed(Role::Root.name(), Problem::MissingRole(role.name()))
        })?;
        envelope.verify(&self.keys, keys, role.name())
    }

    /// Whether a key that could sign for `role` under `self` no longer can under `next`.
    #[must_use]
    pub fn key_removed(&self, role: Role, next: &Self) -> bool {
        let after = next.role(role).map_or(&[][..], |keys| &keys.keyids);
        self.role(role)
            .is_some_and(|before| before.keyids.iter().any(|id| !after.contains(id)))
    }
}

impl Metadata for Root {
    const ROLE: Role = Role::Root;

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Expiry {
        self.expires
    }

    fn renew(&mut self, version: u64, expires: Expiry) {
        self.version = version;
        self.expires = expires;
    }

    fn check(&self) -> Result<(), Problem> {
        for role in Role::ALL {
            self.role(role)
                .ok_or(Problem::MissingRole(role.name()))?
                .check(role.name())?;
        }
        Ok(())
    }
}

/// What one metadata file promises about another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// Its version.
    pub version: u64,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its hashes, hex by algorithm name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<BTreeMap<String, String>>,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl MetaFile {
    /// The promise about a file with these bytes: version, length and SHA-256.
    #[must_use]
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        Self {
            version,
            length: Some(bytes.len() as u64),
            hashes: Some(sha256_only(bytes)),
            extra: Map::new(),
        }
    }

    /// Checks length and hashes, where given.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with `name` and the broken promise.
    pub fn verify(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        verify_length(name, bytes, self.length)?;
        match &self.hashes {
            Some(hashes) => verify_hashes(name, bytes, hashes),
            None => Ok(()),
        }
    }

    fn check(&self, name: &str) -> Result<(), Problem> {
        if self.version == 0 {
            return Err(Problem::VersionZero);
        }
        match &self.hashes {
            Some(hashes) if hashes.is_empty() => Err(Problem::NoHashes(name.to_owned())),
            _ => Ok(()),
        }
    }
}

/// Says which snapshot is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// `1.x`.
    pub spec_version: String,
    /// Version.
    pub version: u64,
    /// End of belief.
    pub expires: Expiry,
    /// Exactly `snapshot.json`.
    pub meta: BTreeMap<String, MetaFile>,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Timestamp {
    const SNAPSHOT: &'static str = "snapshot.json";

    /// A timestamp that points at one snapshot.
    #[must_use]
    pub fn new(version: u64, expires: Expiry, snapshot: MetaFile) -> Self {
        Self {
            spec_version: SPEC_VERSION.to_owned(),
            version,
            expires,
            meta: BTreeMap::from([(Self::SNAPSHOT.to_owned(), snapshot)]),
            extra: Map::new(),
        }
    }

    /// What it says about the snapshot. Present in every timestamp that parsed.
    #[must_use]
    pub fn snapshot(&self) -> Option<&MetaFile> {
        self.meta.get(Self::SNAPSHOT)
    }
}

impl Metadata for Timestamp {
    const ROLE: Role = Role::Timestamp;

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Expiry {
        self.expires
    }

    fn renew(&mut self, version: u64, expires: Expiry) {
        self.version = version;
        self.expires = expires;
    }

    fn check(&self) -> Result<(), Problem> {
        match self.snapshot() {
            Some(snapshot) if self.meta.len() == 1 => snapshot.check(Self::SNAPSHOT),
            _ => Err(Problem::Meta("snapshot.json and nothing else")),
        }
    }
}

/// Pins the version of every targets role at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `1.x`.
    pub spec_version: String,
    /// Version.
    pub version: u64,
    /// End of belief.
    pub expires: Expiry,
    /// `targets.json` and `<role>.json` of every delegated role.
    pub meta: BTreeMap<String, MetaFile>,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Snapshot {
    /// A snapshot of the top-level targets alone; delegated roles are added to `meta`.
    #[must_use]
    pub fn new(version: u64, expires: Expiry, targets: MetaFile) -> Self {
        Self {
            spec_version: SPEC_VERSION.to_owned(),
            version,
            expires,
            meta: BTreeMap::from([("targets.json".to_owned(), targets)]),
            extra: Map::new(),
        }
    }

    /// What it says about a targets role, by role name.
    #[must_use]
    pub fn role(&self, role: &str) -> Option<&MetaFile> {
        self.meta.get(&format!("{role}.json"))
    }
}

impl Metadata for Snapshot {
    const ROLE: Role = Role::Snapshot;

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Expiry {
        self.expires
    }

    fn renew(&mut self, version: u64, expires: Expiry) {
        self.version = version;
        self.expires = expires;
    }

    fn check(&self) -> Result<(), Problem> {
        for (name, file) in &self.meta {
            file.check(name)?;
        }
        Ok(())
    }
}

/// What a targets role promises about a target file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Length in bytes.
    pub length: u64,
    /// Hashes, hex by algorithm name; at least one.
    pub hashes: BTreeMap<String, String>,
    /// The repository's own notes on the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl TargetFile {
    /// The promise about these bytes: length and SHA-256 alone, because sigstore-java asks for the SHA-512 name as
    /// soon as one is listed.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            length: bytes.len() as u64,
            hashes: sha256_only(bytes),
            custom: None,
            extra: Map::new(),
        }
    }

    /// Checks length and hashes.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with `name` and the broken promise.
    pub fn verify(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        verify_length(name, bytes, Some(self.length))?;
        verify_hashes(name, bytes, &self.hashes)
    }

    /// The hash that goes into the name of the file: SHA-256 where listed, else the first.
    #[must_use]
    pub fn name_hash(&self) -> Option<&str> {
        let hash = self.hashes.get("sha256").or(self.hashes.values().next());
        hash.map(String::as_str)
    }
}

/// Names target files, and other roles that may name some of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// `1.x`.
    pub spec_version: String,
    /// Version.
    pub version: u64,
    /// End of belief.
    pub expires: Expiry,
    /// Target files by path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Roles this one trusts for some paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Targets {
    /// Targets without any file.
    #[must_use]
    pub fn new(version: u64, expires: Expiry) -> Self {
        Self {
            spec_version: SPEC_VERSION.to_owned(),
            version,
            expires,
            targets: BTreeMap::new(),
            delegations: None,
            extra: Map::new(),
        }
    }

    /// Lists a file by its content.
    pub fn add(&mut self, path: &str, bytes: &[u8]) {
        self.targets.insert(path.to_owned(), TargetFile::of(bytes));
    }
}

impl Metadata for Targets {
    const ROLE: Role = Role::Targets;

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Expiry {
        self.expires
    }

    fn renew(&mut self, version: u64, expires: Expiry) {
        self.version = version;
        self.expires = expires;
    }

    fn check(&self) -> Result<(), Problem> {
        for (path, file) in &self.targets {
            if file.hashes.is_empty() {
                return Err(Problem::NoHashes(path.clone()));
            }
        }
        self.delegations.as_ref().map_or(Ok(()), Delegations::check)
    }
}

fn sha256_only(bytes: &[u8]) -> BTreeMap<String, String> {
    BTreeMap::from([(
        "sha256".to_owned(),
        hex::encode(sealwright_crypto::sha256(bytes)),
    )])
}

fn verify_length(name: &str, bytes: &[u8], length: Option<u64>) -> Result<(), Error> {
    match length {
        Some(length) if length != bytes.len() as u64 => Err(mismatch(name, Subject::Length)),
        _ => Ok(()),
    }
}

/// Every hash of a known algorithm must match, and there must be one.
fn verify_hashes(name: &str, bytes: &[u8], hashes: &BTreeMap<String, String>) -> Result<(), Error> {
    let mut known = false;
    for (algorithm, expected) in hashes {
        let Some(algorithm) = hash_algorithm(algorithm) else {
            continue;
        };
        known = true;
        let actual = hex::encode(algorithm.digest(bytes).as_bytes());
        if !actual.eq_ignore_ascii_case(expected) {
            return Err(mismatch(name, Subject::Hash));
        }
    }
    if known {
        Ok(())
    } else {
        Err(mismatch(name, Subject::KnownHash))
    }
}

fn hash_algorithm(name: &str) -> Option<HashAlgorithm> {
    match name {
        "sha256" => Some(HashAlgorithm::Sha256),
        "sha384" => Some(HashAlgorithm::Sha384),
        "sha512" => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}

fn mismatch(name: &str, subject: Subject) -> Error {
    Error::Mismatch {
        name: name.to_owned(),
        subject,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LATER: i64 = 1_800_000_000;

    /// A valid file of this type after one edit: what is said against it.
    fn edited<T: Metadata>(metadata: T, pointer: &str, value: Value) -> Option<Problem> {
        let bytes = Envelope::unsigned(metadata).unwrap().to_bytes();
        let mut file: Value = serde_json::from_slice(&bytes).unwrap();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = file.pointer_mut(&format!("/signed{parent}")).unwrap();
        parent[name] = value;
        match Envelope::<T>::parse(file.to_string().as_bytes()) {
            Ok(_) => None,
            Err(Error::Malformed { name, problem }) => {
                assert_eq!(name, T::ROLE.name());
                Some(problem)
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn expires() -> Expiry {
        Expiry::from_unix(LATER)
    }

    fn file() -> MetaFile {
        MetaFile::of(1, b"content")
    }

    #[test]
    fn a_timestamp_points_at_one_snapshot_that_can_exist() {
        let timestamp = || Timestamp::new(1, expires(), file());
        let other = serde_json::to_value(file()).unwrap();
        let only_the_snapshot = Some(Problem::Meta("snapshot.json and nothing else"));
        for (pointer, value, expected) in [
            (
                "/meta/targets.json",
                other.clone(),
                only_the_snapshot.clone(),
            ),
            ("/meta", json!({}), only_the_snapshot.clone()),
            ("/meta", json!({ "targets.json": other }), only_the_snapshot),
            (
                "/meta/snapshot.json/version",
                0.into(),
                Some(Problem::VersionZero),
            ),
            (
                "/meta/snapshot.json/hashes",
                json!({}),
                Some(Problem::NoHashes("snapshot.json".into())),
            ),
            ("/meta/snapshot.json/hashes", json!({"md5": "00"}), None),
            ("/version", 0.into(), Some(Problem::VersionZero)),
        ] {
            assert_eq!(edited(timestamp(), pointer, value), expected, "{pointer}");
        }
    }

    #[test]
    fn a_snapshot_lists_files_that_can_exist() {
        let snapshot = || Snapshot::new(1, expires(), file());
        for (pointer, value, expected) in [
            (
                "/meta/targets.json/version",
                json!(0),
                Some(Problem::VersionZero),
            ),
            (
                "/meta/targets.json/hashes",
                json!({}),
                Some(Problem::NoHashes("targets.json".into())),
            ),
            (
                "/meta/other.json",
                json!({"version": 0}),
                Some(Problem::VersionZero),
            ),
            ("/meta/other.json", json!({"version": 1}), None),
            ("/version", json!(0), Some(Problem::VersionZero)),
        ] {
            assert_eq!(edited(snapshot(), pointer, value), expected, "{pointer}");
        }
    }

    #[test]
    fn targets_have_hashes_and_delegations_a_meaning() {
        let targets = || {
            let mut targets = Targets::new(1, expires());
            targets.add("a", b"a");
            targets
        };
        let no_hashes = edited(targets(), "/targets/a/hashes", json!({}));
        assert_eq!(no_hashes, Some(Problem::NoHashes("a".into())));
        let zero = edited(targets(), "/version", json!(0));
        assert_eq!(zero, Some(Problem::VersionZero));

        let role = |name: &str, more: Value| {
            let mut role =
                json!({"name": name, "keyids": ["k"], "threshold": 1, "terminating": false});
            let members = role.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            role
        };
        let paths = json!({"paths": ["*"]});
        let bins = |bits: u32, threshold: u32| json!({"keyids": ["k"], "threshold": threshold, "bit_length": bits, "name_prefix": "bin"});
        let named = |roles: Value| json!({"keys": {}, "roles": roles});
        let family = |bins: Value| json!({"keys": {}, "succinct_roles": bins});
        let one_list =
            Problem::ExactlyOne("delegations must have exactly one of roles and succinct_roles");
        let one_rule = Problem::ExactlyOne(
            "a delegated role must have exactly one of paths and path_hash_prefixes",
        );
        for (delegations, expected) in [
            (named(json!([role("a", paths.clone())])), None),
            (
                named(json!([role("a", json!({"path_hash_prefixes": ["0"]}))])),
                None,
            ),
            (named(json!([])), None),
            (json!({"keys": {}}), Some(one_list.clone())),
            (
                json!({"keys": {}, "roles": [], "succinct_roles": bins(4, 1)}),
                Some(one_list),
            ),
            (
                named(json!([role("", paths.clone())])),
                Some(Problem::DelegatedName("".into())),
            ),
            (
                named(json!([role("root", paths.clone())])),
                Some(Problem::DelegatedName("root".into())),
            ),
            (
                named(json!([role("a", paths.clone()), role("a", paths.clone())])),
                Some(Problem::DelegatedName("a".into())),
            ),
            (named(json!([role("a", json!({}))])), Some(one_rule.clone())),
            (
                named(json!([role(
                    "a",
                    json!({"paths": ["*"], "path_hash_prefixes": ["0"]})
                )])),
                Some(one_rule),
            ),
            (
                named(json!([role("a", json!({"paths": ["*"], "threshold": 0}))])),
                Some(Problem::ThresholdZero("a".into())),
            ),
            (
                named(json!([role(
                    "a",
                    json!({"paths": ["*"], "keyids": ["k", "k"]})
                )])),
                Some(Problem::DuplicateKeyId("k".into())),
            ),
            (family(bins(1, 1)), None),
            (family(bins(32, 1)), None),
            (family(bins(0, 1)), Some(Problem::BitLength(0))),
            (family(bins(33, 1)), Some(Problem::BitLength(33))),
            (
                family(bins(4, 0)),
                Some(Problem::ThresholdZero("bin".into())),
            ),
        ] {
            let said = edited(targets(), "/delegations", delegations.clone());
            assert_eq!(said, expected, "{delegations}");
        }
    }

    /// A writer is held to the same rules as a reader.
    #[test]
    fn what_could_not_be_read_is_not_written() {
        let mut targets = Targets::new(1, expires());
        targets.add("a", b"a");
        targets.targets.get_mut("a").unwrap().hashes.clear();
        let refusal = Envelope::unsigned(targets).unwrap_err();
        assert!(matches!(
            refusal,
            Error::Malformed {
                problem: Problem::NoHashes(_),
                ..
            }
        ));
        let refusal = Envelope::unsigned(Targets::new(0, expires())).unwrap_err();
        assert!(matches!(
            refusal,
            Error::Malformed {
                problem: Problem::VersionZero,
                ..
            }
        ));
    }

    #[test]
    fn the_next_version_is_one_more_and_expires_later() {
        fn renewed<T: Metadata>(metadata: &T) -> (u64, i64) {
            let next = metadata.next(Expiry::from_unix(LATER + 5)).unwrap();
            (next.version(), next.expires().unix())
        }
        let mut root = Root::new(expires());
        root.version = 7;
        let expected = (8, LATER + 5);
        assert_eq!(renewed(&root), expected);
        assert_eq!(renewed(&Timestamp::new(7, expires(), file())), expected);
        assert_eq!(renewed(&Snapshot::new(7, expires(), file())), expected);
        assert_eq!(renewed(&Targets::new(7, expires())), expected);
        let last = Targets::new(u64::MAX, expires());
        assert!(matches!(
            last.next(expires()),
            Err(Error::Malformed {
                problem: Problem::VersionsExhausted(u64::MAX),
                ..
            })
        ));
    }

    #[test]
    fn times_that_cannot_be_written_become_the_nearest_that_can() {
        for (seconds, text) in [
            (-1, "1970-01-01T00:00:00Z"),
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:01Z"),
            (Expiry::MAX, "9999-12-31T23:59:59Z"),
            (Expiry::MAX + 1, "9999-12-31T23:59:59Z"),
        ] {
            let expiry = Expiry::from_unix(seconds);
            assert_eq!(expiry.to_string(), text);
            assert_eq!(Expiry::parse(text), Some(expiry));
        }
    }

    #[test]
    fn a_promise_may_be_of_length_or_hash_and_each_is_kept() {
        let whole = file();
        let mut only_length = whole.clone();
        only_length.hashes = None;
        let mut only_hash = whole.clone();
        only_hash.length = None;
        let refused = |promise: &MetaFile, bytes: &[u8]| match promise.verify("f", bytes) {
            Ok(()) => None,
            Err(Error::Mismatch { subject, .. }) => Some(subject),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(refused(&whole, b"content"), None);
        assert_eq!(refused(&whole, b"contents"), Some(Subject::Length));
        assert_eq!(refused(&whole, b"kontent"), Some(Subject::Hash));
        assert_eq!(refused(&only_length, b"kontent"), None);
        assert_eq!(refused(&only_length, b"contents"), Some(Subject::Length));
        assert_eq!(refused(&only_hash, b"contents"), Some(Subject::Hash));
        assert_eq!(Subject::Length.to_string(), "length");
        assert!(Subject::KnownHash.to_string().contains("sha384"));
    }

    #[test]
    fn a_key_that_no_role_uses_is_forgotten() {
        use sealwright_crypto::{KeyType, PrivateKey};
        let key = || {
            let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
            Key::from_public_key(private.public_key()).unwrap()
        };
        let (first, second) = (key(), key());
        let mut root = Root::new(expires());
        root.set_role(Role::Root, &[&first], 1);
        root.set_role(Role::Timestamp, &[&first], 1);
        root.set_role(Role::Root, &[&second], 1);
        assert_eq!(root.keys.len(), 2, "the timestamp still uses the first");
        root.set_role(Role::Timestamp, &[&second], 1);
        assert_eq!(root.keys.keys().collect::<Vec<_>>(), [&second.id()]);
        assert_eq!(Role::Timestamp.to_string(), "timestamp");
    }
}
