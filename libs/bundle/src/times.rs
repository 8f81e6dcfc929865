//! V3: when the signature existed, as far as trusted observers vouch for it.
//!
//! Which observers those are follows from the bundle and the trusted root, never from a flag: every token and every
//! promise is looked at, and every time that holds counts.

use sealwright_pki::timestamp::{self, TimestampError};

use crate::bundle::Bundle;
use crate::error::{Counted, TimestampFault, VerifyError};
use crate::log;
use crate::parties::{Party, distinct};
use crate::policy::Policy;
use crate::trusted_root::{Authority, TrustedRoot};
use crate::verdict::{TimeSource, UnixTime, VerifiedTime};

/// What observers say about the time.
pub(crate) struct Observed {
    pub(crate) times: Vec<VerifiedTime>,
    /// How many distinct parties they are of.
    parties: usize,
    /// How many distinct timestamp authorities are among them.
    authorities: usize,
    /// Tokens that do not count, and why: no harm as long as enough others do.
    pub(crate) rejected: Vec<(usize, TimestampFault)>,
    /// A promise of a log that the trusted root does not know.
    stranger: Option<VerifyError>,
}

impl Observed {
    /// There are as many times as are needed, of as many authorities as the policy asks for.
    pub(crate) fn enough(&self, need: usize, policy: &Policy) -> Result<(), VerifyError> {
        let have = self.parties;
        if have >= need && self.authorities >= policy.timestamp_authority_threshold {
            return Ok(());
        }
        if self.times.is_empty() || !self.rejected.is_empty() {
            return Err(self.shortage());
        }
        if have < need {
            return Err(VerifyError::ThresholdNotMet {
                counted: Counted::Times,
                have,
                need,
            });
        }
        let (have, need) = (self.authorities, policy.timestamp_authority_threshold);
        Err(VerifyError::ThresholdNotMet {
            counted: Counted::TimestampAuthorities,
            have,
            need,
        })
    }

    /// Why there is no time, or no further one.
    pub(crate) fn shortage(&self) -> VerifyError {
        if self.rejected.is_empty() {
            return self.stranger.clone().unwrap_or(VerifyError::NoTimeSource);
        }
        VerifyError::TimestampsRejected {
            faults: self.rejected.clone(),
        }
    }
}

/// The times that trusted observers vouch for.
pub(crate) fn observed_times(
    bundle: &Bundle,
    root: &TrustedRoot,
    now: i64,
) -> Result<Observed, VerifyError> {
    let mut seen = Vec::new();
    let mut observed = Observed {
        times: Vec::new(),
        parties: 0,
        authorities: 0,
        rejected: Vec::new(),
        stranger: log::stranger(bundle, root),
    };
    for (position, token) in bundle.timestamps().iter().enumerate() {
        match timestamp_time(token, bundle.signature(), root) {
            Ok(one) => seen.push(one),
            Err(fault) => observed.rejected.push((position, fault)),
        }
    }
    observed.authorities = distinct(seen.iter().map(Seen::party));
    seen.extend(log::promised_times(bundle, root, now)?);
    observed.parties = distinct(seen.iter().map(Seen::party));
    observed.times = seen.into_iter().map(|one| one.time).collect();
    Ok(observed)
}

/// A verified time, and the key of the observer that vouches for it, as SubjectPublicKeyInfo.
pub(crate) struct Seen {
    pub(crate) time: VerifiedTime,
    pub(crate) key: Vec<u8>,
}

impl Seen {
    fn party(&self) -> Party<'_> {
        let name = match self.time.operator.as_str() {
            "" => &self.time.uri,
            operator => operator,
        };
        Party {
            name,
            key: &self.key,
        }
    }
}

/// The time in one token, if an authority of the trusted root vouches for it.
fn timestamp_time(
    token: &[u8],
    signature: &[u8],
    root: &TrustedRoot,
) -> Result<Seen, TimestampFault> {
    let mut worst = TimestampFault::Untrusted("the trusted root has no timestamp authority".into());
    for authority in root.timestamp_authorities() {
        match timestamp_by(token, signature, authority) {
            Ok(time) => return Ok(time),
            Err(fault) if rank(&fault) >= rank(&worst) => worst = fault,
            Err(_) => {}
        }
    }
    Err(worst)
}

/// The reason that came furthest is the one worth telling.
fn rank(fault: &TimestampFault) -> u8 {
    match fault {
        TimestampFault::Untrusted(_) => 0,
        TimestampFault::Invalid(_) => 1,
        TimestampFault::OutsideAuthorityWindow { .. } => 2,
    }
}

fn timestamp_by(
    token: &[u8],
    signature: &[u8],
    authority: &Authority,
) -> Result<Seen, TimestampFault> {
    let (anchor, below) = authority.split();
    let signer = below.first().filter(|first| !first.is_ca());
    let trusted = timestamp::Authority {
        roots: anchor,
        intermediates: below,
        signer,
    };
    let verified = timestamp::verify(token, &trusted, &timestamp::Expectation::over(signature))
        .map_err(fault)?;
    let time = verified.gen_time();
    if !authority.validity().covers(time) {
        return Err(TimestampFault::OutsideAuthorityWindow { time });
    }
    Ok(Seen {
        time: VerifiedTime {
            time: UnixTime(time),
            source: TimeSource::TimestampAuthority,
            uri: authority.uri().to_owned(),
            operator: authority.operator().to_owned(),
        },
        key: verified.signer().spki_der().to_vec(),
    })
}

fn fault(error: TimestampError) -> TimestampFault {
    match error {
        TimestampError::SignerUnknown
        | TimestampError::SignerNotPinned
        | TimestampError::Chain(_) => TimestampFault::Untrusted(error.to_string()),
        other => TimestampFault::Invalid(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use sealwright_proto::bundle::v1 as proto;
    use sealwright_testkit::bundle_factory::{NOW, Signing, World};
    use sealwright_testkit::rekor_v1;

    use super::*;

    fn root(world: &World) -> TrustedRoot {
        TrustedRoot::parse(world.trusted_root_json().as_bytes()).expect("a trusted root")
    }

    /// A bundle without timestamps, whose entry is of a log that promises times, and whether it still does.
    fn promised(world: &mut World, promise: bool) -> proto::Bundle {
        let signing = Signing {
            stamped_at: Vec::new(),
            ..Signing::default()
        };
        let mut message = world.sign_blob(b"artifact", &signing);
        let mut entry = world.log.add_v1(rekor_v1::HASHEDREKORD, "{}", NOW);
        if !promise {
            entry.inclusion_promise = None;
        }
        let material = message.verification_material.as_mut().expect("material");
        material.tlog_entries = vec![entry];
        message
    }

    fn shortage(world: &mut World, promise: bool, root: &TrustedRoot) -> &'static str {
        let bundle = Bundle::from_proto(promised(world, promise)).expect("a bundle");
        let observed = observed_times(&bundle, root, NOW).expect("nothing false");
        assert!(observed.times.is_empty());
        observed.shortage().code()
    }

    #[test]
    fn a_promise_of_a_foreign_log_is_told_from_none() {
        let (mut world, elsewhere) = (World::new(), World::new());
        let (own, foreign) = (root(&world), root(&elsewhere));
        assert_eq!(shortage(&mut world, false, &own), "NO_TIME_SOURCE");
        assert_eq!(shortage(&mut world, false, &foreign), "NO_TIME_SOURCE");
        assert_eq!(shortage(&mut world, true, &foreign), "LOG_UNKNOWN");
        let bundle = Bundle::from_proto(promised(&mut world, true)).expect("a bundle");
        let observed = observed_times(&bundle, &own, NOW).expect("nothing false");
        assert_eq!(observed.times.len(), 1);
    }

    #[test]
    fn the_fault_that_came_furthest_outranks_the_others() {
        let untrusted = rank(&TimestampFault::Untrusted(String::new()));
        let invalid = rank(&TimestampFault::Invalid(String::new()));
        let outside = rank(&TimestampFault::OutsideAuthorityWindow { time: NOW });
        assert!(untrusted < invalid && invalid < outside);
    }

    /// Somebody who trusts one authority, and not the one that signed, must not be told to trust any.
    #[test]
    fn an_authority_of_others_is_told_from_none_at_all() {
        let mut world = World::new();
        let bundle = world.sign_blob(b"artifact", &Signing::default());
        let bundle = Bundle::from_proto(bundle).expect("a bundle");
        let told = |root: &TrustedRoot| {
            let token = &bundle.timestamps()[0];
            match timestamp_time(token, bundle.signature(), root) {
                Err(TimestampFault::Untrusted(why)) => why,
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("nobody vouches for it"),
            }
        };
        let none = told(&TrustedRoot::empty());
        assert!(none.contains("has no timestamp authority"), "{none}");
        let others = told(&root(&World::new()));
        assert_ne!(others, none);
    }
}
