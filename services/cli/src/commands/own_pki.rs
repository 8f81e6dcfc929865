//! Keys of an organisation's own PKI: from flags to a rule, and to a certificate to sign with.

use std::path::Path;

use sealwright_sdk::bundle::{CertificateRule, VerifyError};
use sealwright_sdk::pki::Certificate;
use sealwright_sdk::{
    Error, OwnCertificate, read_certificate, read_certificates, read_revocation_lists,
};

use crate::args::{OwnPkiArgs, SigningCertificateArgs, VerificationArgs};
use crate::commands::expectation::{issuers, subject_kind, subjects};

/// What the flags name of an own PKI.
struct Authorities {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
}

/// The rule for certificates of an own PKI, when one is named.
pub(crate) fn rule(args: &VerificationArgs) -> Result<Option<CertificateRule>, Error> {
    let own = &args.own_pki;
    let Some(authorities) = authorities(own)? else {
        return Ok(None);
    };
    let mut rule = named(args, authorities.roots)?
        .intermediates(authorities.intermediates)
        .purpose(own.certificate_purpose);
    if let Some(kind) = subject_kind(&args.identity)? {
        rule = rule.of_type(kind);
    }
    match issuers(&args.identity)?.as_slice() {
        [] => {}
        [issuer] => rule = rule.with_issuer(issuer.clone()),
        several => {
            return Err(Error::Input {
                what: format!("{} issuers", several.len()),
                problem: "expected one at most beside --certificate-chain or --ca-roots".into(),
            });
        }
    }
    for (name, value) in args.identity.extensions() {
        rule = rule.with_extension(name, sealwright_sdk::bundle::Matcher::exact(value)?)?;
    }
    let mut lists = Vec::new();
    for path in &own.crl {
        lists.extend(read_revocation_lists(path)?);
    }
    rule = rule.revocation_lists(lists);
    if own.allow_current_time {
        rule = rule.allow_current_time();
    }
    Ok(Some(rule))
}

/// Whom the certificate must name, or which one it must be. The parser has made sure that one of both is said.
fn named(args: &VerificationArgs, roots: Vec<Certificate>) -> Result<CertificateRule, Error> {
    let mut subjects = subjects(&args.identity)?.into_iter();
    let pinned = args.own_pki.certificate.as_deref();
    let pinned = pinned.map(|path| read_certificate("certificate", path));
    let rule = match (pinned.transpose()?, subjects.next()) {
        (Some(pinned), None) => CertificateRule::pinned(pinned, roots)?,
        (Some(pinned), Some(first)) => {
            CertificateRule::issued_to(first, roots)?.with_pinned(pinned)
        }
        (None, Some(first)) => CertificateRule::issued_to(first, roots)?,
        (None, None) => {
            return Err(VerifyError::PolicyInvalid {
                what: "neither an identity nor a certificate".into(),
            }
            .into());
        }
    };
    Ok(subjects.fold(rule, CertificateRule::or_subject))
}

fn authorities(own: &OwnPkiArgs) -> Result<Option<Authorities>, Error> {
    if let Some(path) = &own.certificate_chain {
        let mut chain = chain(path)?;
        let roots = chain.pop().into_iter().collect();
        return Ok(Some(Authorities {
            roots,
            intermediates: chain,
        }));
    }
    let Some(path) = &own.ca_roots else {
        return Ok(None);
    };
    let intermediates = own.ca_intermediates.as_deref();
    let intermediates = intermediates.map(|path| read_certificates("intermediates", path));
    Ok(Some(Authorities {
        roots: read_certificates("roots", path)?,
        intermediates: intermediates.transpose()?.unwrap_or_default(),
    }))
}

fn chain(path: &Path) -> Result<Vec<Certificate>, Error> {
    read_certificates("certificate chain", path)
}

/// The certificate that a signing key comes with.
pub(crate) fn signing_certificate(
    args: &SigningCertificateArgs,
) -> Result<Option<OwnCertificate>, Error> {
    let Some(path) = &args.certificate else {
        return Ok(None);
    };
    let mut own = OwnCertificate::new(read_certificate("certificate", path)?);
    if let Some(path) = &args.certificate_chain {
        own = own.issued_by(chain(path)?);
    }
    if args.include_certificate_chain {
        own = own.send_chain();
    }
    Ok(Some(own))
}
