//! Logs that follow others, and logs that somebody else has signed: what an operator adds to a staged change by hand.

use sealwright_crypto::PublicKey;
use sealwright_proto::sealwright::trust::v1 as wire;
use sealwright_tlog::{Checkpoint, NoteKey};
use sealwright_tuf::Expiry;

use crate::documents::{Documents, end_of, set_end, start_of};
use crate::error::{Error, MaterialFault};
use crate::material::{Kind, Material, check_key_type, check_operator, check_origin, parse_url};

/// The longest time for which two logs are offered together: a year.
const MAX_OVERLAP: i64 = 366 * 86_400;

/// One signature log follows another.
///
/// From the new one's start on signers are sent to it. The old one is offered for `overlap` seconds more and its key ends
/// as much later, so that whoever began with it, or whose clock is behind, can finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// Entry of the old log.
    pub old: String,
    /// Entry of the new log.
    pub new: String,
    /// Seconds.
    pub overlap: i64,
}

impl From<wire::Succession> for Succession {
    fn from(wire: wire::Succession) -> Self {
        Self {
            old: wire.old_id,
            new: wire.new_id,
            overlap: wire.overlap,
        }
    }
}

/// A log whose key nobody here holds, as an operator vouches for it. Only [`ForeignLog::admit`] makes one.
#[derive(Debug, Clone)]
pub struct ForeignLog {
    pub(crate) material: Material,
    pub(crate) valid_until: Option<i64>,
}

impl ForeignLog {
    /// Judges it. What stands in for a proof of possession is a checkpoint that the key has signed for the origin.
    ///
    /// # Errors
    /// [`Error::Material`] with the first fault.
    pub fn admit(offered: &wire::ForeignLog) -> Result<Self, Error> {
        Self::judge(offered).map_err(|fault| Error::Material {
            subject: format!("the imported log {:.200}", offered.origin),
            fault,
        })
    }

    fn judge(offered: &wire::ForeignLog) -> Result<Self, MaterialFault> {
        let kind = Kind::from_wire(offered.kind).filter(|kind| !kind.is_authority());
        let kind = kind.ok_or(MaterialFault::Kind)?;
        check_operator(&offered.operator)?;
        let public_key =
            PublicKey::from_spki_der(&offered.public_key).map_err(|_| MaterialFault::Key)?;
        let url = parse_url(&offered.url)?;
        check_origin(kind, &url, &offered.origin)?;
        check_key_type(kind, public_key.key_type())?;
        let key = match kind {
            Kind::CtLog => NoteKey::for_ct_log(&offered.key_name, public_key.clone()),
            _ => NoteKey::for_log(&offered.key_name, public_key.clone()),
        };
        let key = key.map_err(|_| MaterialFault::Key)?;
        Checkpoint::open(
            &offered.checkpoint,
            &offered.origin,
            std::slice::from_ref(&key),
        )
        .map_err(|_| MaterialFault::Proof)?;
        let valid_until = Some(offered.valid_until).filter(|end| *end != 0);
        let backwards = valid_until.is_some_and(|end| end <= offered.valid_from);
        let writable = Expiry::from_unix(offered.valid_from).unix() == offered.valid_from;
        if offered.valid_from <= 0 || backwards || !writable {
            return Err(MaterialFault::ValidFrom(offered.valid_from));
        }
        let material = Material {
            kind,
            url: offered.url.trim_end_matches('/').to_owned(),
            origin: offered.origin.clone(),
            operator: offered.operator.clone(),
            log_id: Some(key.log_id()),
            public_key,
            chain: Vec::new(),
            valid_from: offered.valid_from,
        };
        Ok(Self {
            material,
            valid_until,
        })
    }
}

impl Documents {
    /// Lets one log follow another, unless the old one has its end already. What changed, in sentences.
    ///
    /// # Errors
    /// [`Error::UnknownEntry`], [`Error::NoSuccession`].
    pub(crate) fn succeed(
        &mut self,
        succession: &Succession,
        now: i64,
        changes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let (old, new) = (self.entry(&succession.old)?, self.entry(&succession.new)?);
        let refuse = |why| Error::NoSuccession {
            old: succession.old.clone(),
            new: succession.new.clone(),
            why,
        };
        if old.id == new.id || [old.kind, new.kind] != [Kind::TransparencyLog; 2] {
            return Err(refuse("two different signature logs are needed"));
        }
        if !(1..=MAX_OVERLAP).contains(&succession.overlap) {
            return Err(refuse("the overlap is 1 second to 366 days"));
        }
        if old.valid_until.is_some() {
            return Ok(());
        }
        if new.valid_until.is_some() {
            return Err(refuse("the new log has an end itself"));
        }
        let start = self.service_times(&new.url).map(|(start, _)| start);
        let start = start.ok_or_else(|| refuse("signers are not sent to the new log"))?;
        let until = start.max(now).saturating_add(succession.overlap);
        let end = until.saturating_add(succession.overlap);
        self.for_entry(&old.id, |valid_for| set_end(valid_for, end));
        self.end_orphaned_service(&old, until);
        changes.push(format!(
            "sends signers from {start} on to {new}, and from {until} on no more to {old}, whose validity ends at {end}"
        ));
        Ok(())
    }

    /// Admits a log that is to be believed and not to be used. Whether it was new.
    ///
    /// # Errors
    /// [`Error::Material`] when it collides with what is there.
    pub(crate) fn admit_foreign(
        &mut self,
        foreign: &ForeignLog,
        operator: &str,
        changes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let material = &foreign.material;
        if !self.is_new(material, operator)? {
            return Ok(());
        }
        self.push_log(material, operator);
        if let Some(end) = foreign.valid_until {
            self.for_entry(&material.id(), |valid_for| set_end(valid_for, end));
        }
        changes.push(format!(
            "adds the imported {material} ({}), to be believed and not used",
            material.id()
        ));
        Ok(())
    }

    /// From when on and until when signers are sent to the service at `url`, the newest offer where there are several.
    pub(crate) fn service_times(&self, url: &str) -> Option<(i64, Option<i64>)> {
        let offers = self.services().filter(|service| service.url == url);
        let times = offers.map(|service| {
            let valid_for = service.valid_for.as_ref();
            (start_of(valid_for), end_of(valid_for))
        });
        times.max_by_key(|(start, _)| *start)
    }
}
