//! V3 (d), V4 and V6 for certificates of an organisation's own PKI: no identity provider, no certificate log, and leaves
//! that may live for years.
//!
//! The anchors are the policy's, never the trusted root's; logs and timestamp authorities are the trusted root's as ever.
//!
//! A path has to hold at every verified time. Where there is none, a policy may say that the verifier's clock will do
//! ([`CertificateRule::allow_current_time`]): for a leaf that lives for more than a day and is valid now. It is a last
//! resort and no choice: as soon as the bundle has a verified time, that time counts alone. After the leaf's expiry a
//! signature without a timestamp can no longer be told from one that a thief of the old key makes today, so it is refused.

use std::net::{Ipv4Addr, Ipv6Addr};

use sealwright_pki::certificate::{Certificate, GeneralName};
use sealwright_pki::chain::{Purpose, VerifiedChain, check_leaf_certificate, verify_chain};
use sealwright_pki::crl::CertificateRevocationList;
use sealwright_pki::profile::issuer_of;

use crate::bundle::{Bundle, SignerMaterial};
use crate::error::VerifyError;
use crate::json::rfc3339;
use crate::keyless::extensions_match;
use crate::policy::{ExtensionRule, Matcher, SubjectType};
use crate::revocation::{self, Consulted};
use crate::verdict::{MatchedName, Signer, UnixTime, VerifiedTime, Warning};

/// A leaf that lives no longer than this (24 hours, in seconds) is short-lived: its holder throws the key away, so the
/// present says nothing about when it signed.
pub const SHORT_LIVED_SECONDS: i64 = 24 * 60 * 60;

/// Which certificates of an own PKI count. All conditions must hold.
///
/// ```
/// use sealwright_bundle::{CertificateRule, Matcher, Policy, VerifyError};
/// use sealwright_pki::Certificate;
/// use sealwright_pki::crl::CertificateRevocationList;
///
/// fn signed_by_release(root: Certificate, revoked: Vec<CertificateRevocationList>) -> Result<Policy, VerifyError> {
///     let release = Matcher::exact("release@example.com")?;
///     let rule = CertificateRule::issued_to(release, vec![root])?.revocation_lists(revoked);
///     Ok(Policy::signed_by_certificate(rule).blob())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct CertificateRule {
    /// Empty when the pinned leaf is trusted by itself.
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    pinned: Option<Certificate>,
    /// Any of them; none where the pinned certificate is enough.
    subjects: Vec<Matcher>,
    subject_type: Option<SubjectType>,
    issuer: Option<Matcher>,
    extensions: Vec<ExtensionRule>,
    purpose: Purpose,
    revocation_lists: Vec<CertificateRevocationList>,
    current_time_allowed: bool,
}

impl CertificateRule {
    /// Certificates for code signing with a path to one of `roots` and a subject alternative name (e-mail address, URI, DNS
    /// name, IP address, or user name of the profile) that `subject` matches. One of several names is enough.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] without a root.
    pub fn issued_to(subject: Matcher, roots: Vec<Certificate>) -> Result<Self, VerifyError> {
        let rule = Self::below(roots)?;
        Ok(Self {
            subjects: vec![subject],
            ..rule
        })
    }

    /// This very certificate, with a path to one of `roots`. A bundle may carry it, or nothing but a key hint.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] without a root.
    pub fn pinned(leaf: Certificate, roots: Vec<Certificate>) -> Result<Self, VerifyError> {
        Ok(Self::below(roots)?.with_pinned(leaf))
    }

    /// This very certificate, whoever issued it: as good as trusting its key while the certificate is valid. For signers,
    /// who have the key; a verifier wants a path.
    #[must_use]
    pub fn trusting(leaf: Certificate) -> Self {
        Self::unnamed(Vec::new()).with_pinned(leaf)
    }

    fn below(roots: Vec<Certificate>) -> Result<Self, VerifyError> {
        if roots.is_empty() {
            return Err(VerifyError::PolicyInvalid {
                what: "no root certificate".into(),
            });
        }
        Ok(Self::unnamed(roots))
    }

    fn unnamed(roots: Vec<Certificate>) -> Self {
        Self {
            roots,
            intermediates: Vec::new(),
            pinned: None,
            subjects: Vec::new(),
            subject_type: None,
            issuer: None,
            extensions: Vec::new(),
            purpose: Purpose::CodeSigning,
            revocation_lists: Vec::new(),
            current_time_allowed: false,
        }
    }

    /// Certificates that help on the way to an anchor, and are none.
    #[must_use]
    pub fn intermediates(mut self, intermediates: Vec<Certificate>) -> Self {
        self.intermediates = intermediates;
        self
    }

    /// This certificate alone, beside the other conditions.
    #[must_use]
    pub fn with_pinned(mut self, leaf: Certificate) -> Self {
        self.pinned = Some(leaf);
        self
    }

    /// Takes another subject alternative name too, beside those already given. After [`Self::pinned`] the first one is a
    /// condition: the pinned certificate has to have that name.
    #[must_use]
    pub fn or_subject(mut self, subject: Matcher) -> Self {
        self.subjects.push(subject);
        self
    }

    /// Also asks for the matching name to be of this type.
    #[must_use]
    pub fn of_type(mut self, subject_type: SubjectType) -> Self {
        self.subject_type = Some(subject_type);
        self
    }

    /// Also asks for an identity provider, which the certificate has to name in the extension of the Fulcio profile. Without
    /// this the issuer of the certificate speaks for its subject.
    #[must_use]
    pub fn with_issuer(mut self, issuer: Matcher) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// Also asks for a certificate extension with a matching text, as [`crate::IdentityRule::with_extension`] does.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] when the name is not known.
    pub fn with_extension(mut self, name: &str, value: Matcher) -> Result<Self, VerifyError> {
        self.extensions.push(ExtensionRule::named(name, value)?);
        Ok(self)
    }

    /// What the certificate must be for, instead of code signing.
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Revocation lists. With any, every certificate of the path below the anchor must be spoken for by a current list of
    /// its issuer, and revoked ones refuse: the rule and its reasons are in `docs/verification.md`.
    #[must_use]
    pub fn revocation_lists(mut self, lists: Vec<CertificateRevocationList>) -> Self {
        self.revocation_lists = lists;
        self
    }

    /// Judges a signature without any verified time at the verifier's clock, as long as its certificate lives for more than
    /// 24 hours and has not expired. Verified times, where there are any, count alone.
    #[must_use]
    pub fn allow_current_time(mut self) -> Self {
        self.current_time_allowed = true;
        self
    }

    fn names(&self, name: &MatchedName) -> bool {
        let of_type = self
            .subject_type
            .is_none_or(|kind| kind.to_string() == name.kind);
        let matches = |subject: &Matcher| subject.matches(&name.value);
        of_type && self.subjects.iter().any(matches)
    }

    fn expected_name(&self) -> String {
        let subjects = joined(self.subjects.iter().map(Matcher::to_string), " or ");
        match self.subject_type {
            Some(kind) => format!("{kind} {subjects}"),
            None => subjects,
        }
    }

    pub(crate) fn needs_time(&self) -> bool {
        !self.current_time_allowed
    }
}

/// What the checks of an own certificate have shown.
pub(crate) struct Judged {
    /// `None` for a leaf that is trusted by itself.
    pub(crate) chain: Option<VerifiedChain>,
    pub(crate) signer: Signer,
    pub(crate) warnings: Vec<Warning>,
}

/// V1: the certificate that is to have signed, the bundle's or the pinned one.
pub(crate) fn claimed_leaf<'a>(
    bundle: &'a Bundle,
    rule: &'a CertificateRule,
) -> Result<&'a Certificate, VerifyError> {
    match (bundle.certificate(), &rule.pinned) {
        (Some(found), Some(pinned)) if found != pinned => Err(VerifyError::CertificateMismatch {
            found: hex::encode(found.fingerprint()),
            expected: hex::encode(pinned.fingerprint()),
        }),
        (Some(found), _) => Ok(found),
        (None, Some(pinned)) => Ok(pinned),
        (None, None) => Err(VerifyError::SignerKind {
            found: "a signature by a key",
            expected: "a signature with a certificate",
        }),
    }
}

/// V3 (d), V4 and V6. `times` are all the verified ones, perhaps none; `now` is the verifier's clock.
pub(crate) fn judge(
    leaf: &Certificate,
    bundle: &Bundle,
    rule: &CertificateRule,
    times: &[VerifiedTime],
    now: i64,
) -> Result<Judged, VerifyError> {
    let verified: Vec<i64> = times.iter().map(|time| time.time.0).collect();
    let mut warnings = Vec::new();
    // V3 (d): the present, where nothing better is there and the policy lets it.
    let judged_at = if verified.is_empty() {
        present_will_do(leaf, rule, now)?;
        warnings.push(present_counted(leaf, now));
        Some(now)
    } else {
        None
    };

    // V4: a path at every one of these moments, and what the lists say about each path.
    let others = others(bundle, rule);
    let mut chains: Vec<VerifiedChain> = Vec::new();
    let mut consulted = Consulted::default();
    for at in verified.iter().copied().chain(judged_at) {
        let Some(chain) = path_at(leaf, &others, rule, at)? else {
            refuse_lists_without_path(leaf, rule)?;
            continue;
        };
        if chains.contains(&chain) {
            continue;
        }
        if !rule.revocation_lists.is_empty() {
            let found = revocation::consult(&chain, &rule.revocation_lists, &verified, now)?;
            consulted.lists.extend(found.lists);
            warnings.extend(found.warnings);
        }
        chains.push(chain);
    }

    // V6: the certificate names whom the policy asks for.
    let name = matched_name(leaf, rule)?;
    let issuer = matched_issuer(leaf, rule)?;
    extensions_match(leaf, &rule.extensions)?;
    let chain = chains.pop();
    let anchor = chain.as_ref().map_or(leaf, VerifiedChain::anchor);
    let signer = Signer::Certificate {
        name,
        issuer,
        subject: leaf.subject(),
        serial: leaf.serial_hex(),
        not_before: UnixTime(leaf.not_before()),
        not_after: UnixTime(leaf.not_after()),
        certificate_issuer: leaf.issuer(),
        anchor: anchor.subject(),
        fingerprint: hex::encode(leaf.fingerprint()),
        judged_at: judged_at.map(UnixTime),
        revocation_lists: consulted.lists,
    };
    Ok(Judged {
        chain,
        signer,
        warnings,
    })
}

/// V3 (d): whether the verifier's clock may stand in for a verified time.
fn present_will_do(
    leaf: &Certificate,
    rule: &CertificateRule,
    now: i64,
) -> Result<(), VerifyError> {
    let (not_before, not_after) = (leaf.not_before(), leaf.not_after());
    if !rule.current_time_allowed {
        return Err(VerifyError::NoTimeSource);
    }
    let lifetime = not_after.saturating_sub(not_before);
    if lifetime <= SHORT_LIVED_SECONDS {
        return Err(VerifyError::ShortLivedWithoutTime { lifetime });
    }
    if now > not_after {
        return Err(VerifyError::ExpiredWithoutTime { not_after, now });
    }
    Ok(())
}

fn present_counted(leaf: &Certificate, now: i64) -> Warning {
    let message = format!(
        "nobody vouches for when the signature was made; its certificate was judged at the present, {}, and after its expiry at \
         {} the signature will be refused",
        rfc3339(now),
        rfc3339(leaf.not_after())
    );
    Warning {
        code: "CURRENT_TIME",
        message,
    }
}

/// What may help on the way: the policy's intermediates, and what the signer sent along.
fn others(bundle: &Bundle, rule: &CertificateRule) -> Vec<Certificate> {
    let sent: &[Certificate] = match bundle.signer() {
        SignerMaterial::CertificateChain(_, others) => others,
        _ => &[],
    };
    [&rule.intermediates, sent].concat()
}

/// `None` for a leaf that needs no path.
fn path_at(
    leaf: &Certificate,
    others: &[Certificate],
    rule: &CertificateRule,
    at: i64,
) -> Result<Option<VerifiedChain>, VerifyError> {
    if !leaf.is_valid_at(at) {
        return Err(VerifyError::CertificateNotValidAt {
            time: at,
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
        });
    }
    let chain = if rule.roots.is_empty() {
        check_leaf_certificate(leaf, at, rule.purpose).map(|()| None)
    } else {
        verify_chain(leaf, others, &rule.roots, at, rule.purpose).map(Some)
    };
    chain.map_err(|error| VerifyError::OwnCertificateUntrusted {
        reason: error.to_string(),
    })
}

/// A list speaks for a certificate through the issuer's key, and a leaf that is trusted by itself has no issuer here.
fn refuse_lists_without_path(
    leaf: &Certificate,
    rule: &CertificateRule,
) -> Result<(), VerifyError> {
    if rule.revocation_lists.is_empty() {
        return Ok(());
    }
    Err(VerifyError::RevocationUnknown {
        certificate: leaf.subject(),
        issuer: leaf.issuer(),
    })
}

/// The first alternative name that the rule accepts; `None` when it asks for none.
fn matched_name(
    leaf: &Certificate,
    rule: &CertificateRule,
) -> Result<Option<MatchedName>, VerifyError> {
    if rule.subjects.is_empty() {
        return Ok(None);
    }
    let names: Vec<MatchedName> = leaf.subject_alt_names().iter().filter_map(named).collect();
    if names.is_empty() {
        return Err(VerifyError::IdentityMissing {
            what: "the certificate has no alternative name that is an e-mail address, URI, DNS name, IP address or user name"
                .into(),
        });
    }
    let found = names.iter().find(|name| rule.names(name));
    found.cloned().map(Some).ok_or_else(|| {
        let shown = |name: &MatchedName| format!("{} {}", name.kind, name.value);
        VerifyError::IdentityMismatch {
            found: joined(names.iter().map(shown), ", "),
            expected: rule.expected_name(),
        }
    })
}

fn joined(parts: impl Iterator<Item = String>, between: &str) -> String {
    parts.collect::<Vec<_>>().join(between)
}

fn named(name: &GeneralName) -> Option<MatchedName> {
    let (kind, value) = match name {
        GeneralName::Email(value) => ("email", value.clone()),
        GeneralName::Uri(value) => ("uri", value.clone()),
        GeneralName::Dns(value) => ("dns", value.clone()),
        GeneralName::Username(value) => ("username", value.clone()),
        GeneralName::Ip(octets) => ("ip", ip_text(octets)?),
        _ => return None,
    };
    Some(MatchedName { kind, value })
}

fn ip_text(octets: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(octets).ok()?;
    Some(Ipv6Addr::from(v6).to_string())
}

fn matched_issuer(
    leaf: &Certificate,
    rule: &CertificateRule,
) -> Result<Option<String>, VerifyError> {
    let Some(condition) = &rule.issuer else {
        return Ok(None);
    };
    let found = issuer_of(leaf).map_err(|error| VerifyError::IdentityMissing {
        what: error.to_string(),
    })?;
    if condition.matches(&found) {
        return Ok(Some(found));
    }
    Err(VerifyError::IssuerMismatch {
        found,
        expected: condition.to_string(),
    })
}

#[cfg(test)]
mod tests;
