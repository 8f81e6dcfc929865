//! What a client trusts at one moment, and the rules by which new metadata may replace old: the decisions of
//! specification section 5, without the fetching.

use std::collections::BTreeMap;

use crate::delegation::Lead;
use crate::envelope::Envelope;
use crate::error::{Error, Problem};
use crate::key::{Key, KeyId};
use crate::metadata::{Expiry, MetaFile, Metadata, Role, Root, Snapshot, Targets, Timestamp};
use crate::name::file_name;

/// Verified metadata. Every value in here has passed signature and version checks; expiry is judged by
/// [`TrustedSet::in_force`] when a role is put to use.
#[derive(Debug)]
pub(crate) struct TrustedSet {
    pub(crate) root: Envelope<Root>,
    pub(crate) timestamp: Option<Envelope<Timestamp>>,
    pub(crate) snapshot: Option<Envelope<Snapshot>>,
    /// Targets roles whose bytes match the snapshot. Being in here says nothing of who delegated: the threshold is
    /// verified for every delegation that leads to a role.
    pub(crate) targets: BTreeMap<String, Envelope<Targets>>,
    now: i64,
}

/// What a new timestamp means for the one already trusted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It replaces the old one.
    New,
    /// It has the same version; the old one stays, whatever the new one holds.
    Same,
}

impl TrustedSet {
    /// Starts from a root that the caller trusts by other means. It must be signed by its own keys; its expiry is
    /// judged only after newer roots have been looked for.
    pub(crate) fn new(root: &[u8], now: i64) -> Result<Self, Error> {
        Ok(Self {
            root: Envelope::parse_self_signed(root)?,
            timestamp: None,
            snapshot: None,
            targets: BTreeMap::new(),
            now,
        })
    }

    /// Begins again from the root. A second refresh compares with what the store kept: a delegated role of the snapshot
    /// before must not serve under the new one, nor an old timestamp outlive the rotation of its key.
    pub(crate) fn forget_all_but_root(&mut self) {
        self.timestamp = None;
        self.snapshot = None;
        self.targets.clear();
    }

    /// 5.3.10: after the last new root, this root must be in force.
    pub(crate) fn root_in_force(&self) -> Result<(), Error> {
        self.in_force(self.root.signed(), Role::Root.name())
    }

    /// 5.4.2 and 5.4.3. Expiry is judged by [`TrustedSet::snapshot_promise`], so that a stored timestamp that has expired
    /// still protects against older ones.
    pub(crate) fn accept_timestamp(&mut self, bytes: &[u8]) -> Result<Freshness, Error> {
        let new = Envelope::<Timestamp>::parse(bytes)?;
        self.root.signed().verify(&new)?;
        if let Some(old) = &self.timestamp {
            let role = Role::Timestamp.name();
            not_lower(role, old.signed().version, new.signed().version)?;
            if old.signed().version == new.signed().version {
                return Ok(Freshness::Same);
            }
            let (before, after) = (snapshot_of(old)?.version, snapshot_of(&new)?.version);
            not_lower(Role::Snapshot.name(), before, after)?;
        }
        self.timestamp = Some(new);
        Ok(Freshness::New)
    }

    /// 5.4.4: what the trusted timestamp, in force now, says about the snapshot.
    pub(crate) fn snapshot_promise(&self) -> Result<MetaFile, Error> {
        let timestamp = self.timestamp.as_ref().ok_or(Error::NotRefreshed)?;
        self.in_force(timestamp.signed(), Role::Timestamp.name())?;
        snapshot_of(timestamp).cloned()
    }

    /// A snapshot from the local store counts as "the last one seen" as soon as its signatures are good.
    pub(crate) fn known_snapshot(&self, bytes: &[u8]) -> Result<Envelope<Snapshot>, Error> {
        let snapshot = Envelope::<Snapshot>::parse(bytes)?;
        self.root.signed().verify(&snapshot)?;
        Ok(snapshot)
    }

    /// 5.5.2 to 5.5.6, against the snapshot seen before.
    pub(crate) fn accept_snapshot(
        &mut self,
        bytes: &[u8],
        before: Option<&Envelope<Snapshot>>,
    ) -> Result<(), Error> {
        let promise = self.snapshot_promise()?;
        let name = file_name(Role::Snapshot.name());
        promise.verify(&name, bytes)?;
        let new = self.known_snapshot(bytes)?;
        exact_version(Role::Snapshot.name(), promise.version, new.signed().version)?;
        if let Some(before) = before {
            nothing_went_back(before.signed(), new.signed())?;
        }
        self.in_force(new.signed(), Role::Snapshot.name())?;
        self.snapshot = Some(new);
        Ok(())
    }

    /// What the trusted snapshot says about a targets role.
    pub(crate) fn targets_promise(&self, role: &str) -> Result<MetaFile, Error> {
        let snapshot = self.snapshot.as_ref().ok_or(Error::NotRefreshed)?;
        let promise = snapshot.signed().role(role);
        promise.cloned().ok_or_else(|| Error::NotInSnapshot {
            role: role.to_owned(),
        })
    }

    /// 5.6.2 to 5.6.5 for a targets role, under the keys of the role that delegates to it.
    pub(crate) fn accept_targets(
        &mut self,
        bytes: &[u8],
        role: &str,
        delegator: Option<(&str, &Lead)>,
    ) -> Result<(), Error> {
        let promise = self.targets_promise(role)?;
        promise.verify(&file_name(role), bytes)?;
        let new = Envelope::<Targets>::parse_named(bytes, role)?;
        self.authorised(&new, role, delegator)?;
        exact_version(role, promise.version, new.signed().version)?;
        self.in_force(new.signed(), role)?;
        self.targets.insert(role.to_owned(), new);
        Ok(())
    }

    /// Whether the keys that *this* delegation names have signed a role. Asked again for every delegation, so that a
    /// role reached by two ways never borrows the authority of the first for the second.
    pub(crate) fn authorised(
        &self,
        targets: &Envelope<Targets>,
        role: &str,
        delegator: Option<(&str, &Lead)>,
    ) -> Result<(), Error> {
        match delegator {
            None => self.root.signed().verify(targets),
            Some((delegator, lead)) => {
                targets.verify(self.delegation_keys(delegator)?, &lead.keys, role)
            }
        }
    }

    fn delegation_keys(&self, delegator: &str) -> Result<&BTreeMap<KeyId, Key>, Error> {
        let delegations = self
            .targets
            .get(delegator)
            .and_then(|targets| targets.signed().delegations.as_ref());
        delegations
            .map(|delegations| &delegations.keys)
            .ok_or(Error::NotRefreshed)
    }

    fn in_force<T: Metadata>(&self, metadata: &T, role: &str) -> Result<(), Error> {
        if self.now < metadata.expires().unix() {
            return Ok(());
        }
        Err(Error::Expired {
            role: role.to_owned(),
            expires: metadata.expires(),
            now: Expiry::from_unix(self.now),
        })
    }
}

fn snapshot_of(timestamp: &Envelope<Timestamp>) -> Result<&MetaFile, Error> {
    timestamp.signed().snapshot().ok_or_else(|| {
        Error::malformed(
            Role::Timestamp.name(),
            Problem::Meta("snapshot.json and nothing else"),
        )
    })
}

/// 5.5.5: every file the old snapshot lists is still there, with a version that did not fall.
fn nothing_went_back(before: &Snapshot, after: &Snapshot) -> Result<(), Error> {
    for (name, old) in &before.meta {
        let new = after
            .meta
            .get(name)
            .ok_or_else(|| Error::RoleRemoved { role: name.clone() })?;
        not_lower(name, old.version, new.version)?;
    }
    Ok(())
}

fn not_lower(role: &str, trusted: u64, found: u64) -> Result<(), Error> {
    if found >= trusted {
        return Ok(());
    }
    Err(Error::Rollback {
        role: role.to_owned(),
        trusted,
        found,
    })
}

pub(crate) fn exact_version(role: &str, expected: u64, found: u64) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::WrongVersion {
        role: role.to_owned(),
        expected,
        found,
    })
}
