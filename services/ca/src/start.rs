//! What must hold before the authority starts: a misconfigured one would issue certificates that nobody accepts.

use sealwright_crypto::{Signer, random_bytes};
use sealwright_pki::issue::Issuer;
use sealwright_pki::{Certificate, oid};

use crate::config::Config;
use crate::error::{ChainProblem, Error};

/// Precedes what is signed at start. With its NUL it is neither DER nor a log's structure, so that the signature is
/// good for nothing else.
const SELF_TEST_DOMAIN: &[u8] = b"sealwright.dev/ca-self-test/v1\0";

/// Checks the chain from the issuing certificate to the root: fit to issue, each signed by the next, all of them
/// authorities, path lengths, purposes, validity, and the issuing key ours.
pub(crate) fn check_chain(
    chain: &[Certificate],
    signer: &dyn Signer,
    now: i64,
) -> Result<Issuer, Error> {
    let check = || {
        let issuing = chain.first().ok_or(ChainProblem::Empty)?;
        let issuer = Issuer::new(issuing.clone(), signer)?;
        for (at, certificate) in chain.iter().enumerate() {
            check_authority(certificate, at, now)?;
        }
        check_links(chain)?;
        Ok(issuer)
    };
    check().map_err(Error::Chain)
}

fn check_authority(certificate: &Certificate, at: usize, now: i64) -> Result<(), ChainProblem> {
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    if !certificate.is_valid_at(now) {
        return Err(ChainProblem::NotValid {
            at,
            not_before,
            not_after,
            now,
        });
    }
    if !certificate.is_ca()
        || !certificate
            .key_usage()
            .is_some_and(|usage| usage.key_cert_sign())
    {
        return Err(ChainProblem::NotAnAuthority { at });
    }
    let for_code = |usage: &sealwright_pki::certificate::ExtendedKeyUsage| {
        usage.contains(&oid::CODE_SIGNING) || usage.contains(&oid::ANY_EXTENDED_KEY_USAGE)
    };
    if !certificate.extended_key_usage().is_none_or(for_code) {
        return Err(ChainProblem::Purpose { at });
    }
    let below = u64::try_from(at).unwrap_or(u64::MAX);
    let limit = certificate
        .basic_constraints()
        .and_then(|constraints| constraints.path_len)
        .map(u64::from);
    match limit {
        Some(limit) if below > limit => Err(ChainProblem::PathLength { at, limit, below }),
        _ => Ok(()),
    }
}

/// Names and signatures. The last certificate is signed by itself.
fn check_links(chain: &[Certificate]) -> Result<(), ChainProblem> {
    let signed_by = |certificate: &Certificate, parent: &Certificate| {
        let key = parent.public_key();
        certificate.issuer_der() == parent.subject_der()
            && key.is_ok_and(|key| certificate.verify_signature(key).is_ok())
    };
    for (at, pair) in chain.windows(2).enumerate() {
        if let [certificate, parent] = pair
            && !signed_by(certificate, parent)
        {
            return Err(ChainProblem::NotSignedByNext { at });
        }
    }
    if chain.last().is_some_and(|root| signed_by(root, root)) {
        Ok(())
    } else {
        Err(ChainProblem::NoRoot)
    }
}

/// One signature over random bytes, checked with the issuing certificate's key.
pub(crate) async fn self_test(issuer: &Issuer, signer: &dyn Signer) -> Result<(), Error> {
    let message = [SELF_TEST_DOMAIN, &random_bytes::<32>()].concat();
    let signature = signer.sign(&message).await?;
    let key = issuer
        .certificate()
        .public_key()
        .map_err(|error| Error::Chain(ChainProblem::Pki(error)))?;
    key.verify(signer.algorithm(), &message, &signature)
        .map_err(|_| Error::SelfTest)
}

pub(crate) fn warn_about(config: &Config, not_after: i64, now: i64) {
    let left = not_after - now;
    if u64::try_from(left).is_ok_and(|left| left < config.expiry_warning.as_secs()) {
        tracing::warn!(
            ca.chain.not_after = not_after,
            "the issuing chain ends in {} days",
            left / 86_400
        );
    }
    for (url, issuer) in &config.oidc_issuers {
        if issuer.insecure_http {
            tracing::warn!(
                issuer = url,
                "the keys of this issuer are fetched over plain HTTP"
            );
        }
    }
}
