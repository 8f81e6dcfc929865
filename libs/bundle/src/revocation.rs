//! What a revocation means for a signature, for certificates that live long enough to be revoked.
//!
//! Whoever gives revocation lists wants an answer for every certificate of the path below the anchor (the anchor itself is
//! removed by no longer naming it). The answer has to be of today: a list that was current when the signature was made does
//! not know what was found out since. So each of these certificates needs a list by its own issuer that is current at the
//! verifier's clock; a list that is missing, stale, or not by the issuer refuses, each with a code of its own.
//!
//! A certificate that is listed refuses, with one exception: it was revoked in good order (superseded, cessationOfOperation,
//! affiliationChanged) and every verified time lies before the revocation. Then the key was its holder's alone when it
//! signed, and a successor does not undo what the predecessor did; the verdict carries a warning. With any other reason, or
//! none, nobody knows since when others had the key. The authority learned of the theft after it happened, and a thief could
//! have asked for a timestamp in between; so the time of the signature is no excuse. Without a verified time there is nothing
//! to compare with, and every revocation refuses.

use sealwright_pki::certificate::Certificate;
use sealwright_pki::chain::VerifiedChain;
use sealwright_pki::crl::{CertificateRevocationList, Revocation};

use crate::error::VerifyError;
use crate::json::rfc3339;
use crate::verdict::{ConsultedList, UnixTime, Warning};

/// What the lists had to say about a path that was not refused.
#[derive(Debug, Default)]
pub(crate) struct Consulted {
    pub(crate) lists: Vec<ConsultedList>,
    pub(crate) warnings: Vec<Warning>,
}

/// Judges every certificate of the path below the anchor. `times` are the verified ones, Unix seconds, and none when the path
/// was judged at the present; `now` is the verifier's clock.
pub(crate) fn consult(
    chain: &VerifiedChain,
    lists: &[CertificateRevocationList],
    times: &[i64],
    now: i64,
) -> Result<Consulted, VerifyError> {
    let mut consulted = Consulted::default();
    let path = chain.certificates();
    for (certificate, issuer) in path.iter().zip(path.iter().skip(1)) {
        let list = current_list(certificate, issuer, lists, now)?;
        consulted.lists.push(describe(list));
        if let Some(revocation) = list.revocation(certificate.serial()) {
            consulted
                .warnings
                .push(excuse(&revocation, certificate, times)?);
        } else if may_have_dropped(list, certificate) {
            consulted.warnings.push(silence(certificate, list));
        }
    }
    Ok(consulted)
}

/// The latest of the current lists by this issuer that speak for the certificate.
fn current_list<'a>(
    certificate: &Certificate,
    issuer: &Certificate,
    lists: &'a [CertificateRevocationList],
    now: i64,
) -> Result<&'a CertificateRevocationList, VerifyError> {
    let mut fault = None;
    let mut latest: Option<&CertificateRevocationList> = None;
    for list in lists.iter().filter(|list| list.covers(certificate)) {
        if let Err(error) = list.verify_issuer(issuer) {
            fault.get_or_insert(error);
        } else if latest.is_none_or(|known| rank(list, now) > rank(known, now)) {
            latest = Some(list);
        }
    }
    match (latest, fault) {
        (Some(list), _) if list.is_current_at(now) => Ok(list),
        (Some(list), _) => Err(VerifyError::RevocationListStale {
            issuer: list.issuer(),
            this_update: list.this_update(),
            next_update: list.next_update(),
            now,
        }),
        (None, Some(error)) => Err(VerifyError::RevocationListInvalid {
            issuer: issuer.subject(),
            what: error.to_string(),
        }),
        (None, None) => Err(VerifyError::RevocationUnknown {
            certificate: certificate.subject(),
            issuer: certificate.issuer(),
        }),
    }
}

/// The current list before others, then the later one, and of those made in one second the one with the higher number (RFC
/// 5280 section 5.2.3: numbers grow).
fn rank(list: &CertificateRevocationList, now: i64) -> (bool, i64, usize, String) {
    let number = list.number_hex().unwrap_or_default();
    let (current, made) = (list.is_current_at(now), list.this_update());
    (current, made, number.len(), number)
}

fn describe(list: &CertificateRevocationList) -> ConsultedList {
    ConsultedList {
        issuer: list.issuer(),
        number: list.number_hex(),
        this_update: UnixTime(list.this_update()),
        next_update: list.next_update().map(UnixTime),
    }
}

/// The warning for a revocation that does not touch the signature; every other refuses.
fn excuse(
    revocation: &Revocation,
    certificate: &Certificate,
    times: &[i64],
) -> Result<Warning, VerifyError> {
    let since = revocation.since();
    let signed_before = !times.is_empty() && times.iter().all(|time| *time < since);
    if !(signed_before && revocation.reason.is_orderly()) {
        return Err(VerifyError::CertificateRevoked {
            certificate: certificate.subject(),
            serial: certificate.serial_hex(),
            reason: revocation.reason.name(),
            since,
            signed: times.iter().max().copied(),
        });
    }
    let message = format!(
        "the certificate {} of {:?} was revoked at {} ({}), after the signature",
        certificate.serial_hex(),
        certificate.subject(),
        rfc3339(since),
        revocation.reason
    );
    Ok(Warning {
        code: "CERTIFICATE_REVOKED_LATER",
        message,
    })
}

/// RFC 5280 section 3.3: lists made after a certificate's expiry need not have it any more, unless they say that they do.
fn may_have_dropped(list: &CertificateRevocationList, certificate: &Certificate) -> bool {
    let expiry = certificate.not_after();
    list.this_update() > expiry
        && list
            .keeps_expired_since()
            .is_none_or(|since| since > expiry)
}

fn silence(certificate: &Certificate, list: &CertificateRevocationList) -> Warning {
    let message = format!(
        "the certificate {} of {:?} expired at {}, before the revocation list of {} was made; authorities may drop expired \
         certificates from their lists, so this one says nothing about it",
        certificate.serial_hex(),
        certificate.subject(),
        rfc3339(certificate.not_after()),
        rfc3339(list.this_update()),
    );
    Warning {
        code: "REVOCATION_OF_EXPIRED_UNKNOWN",
        message,
    }
}
