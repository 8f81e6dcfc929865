//! The timestamp authority: a signature in, a signed time out (RFC 3161).

use sealwright_bundle::TrustedRoot;
use sealwright_bundle::signing_config::Service;
use sealwright_bundle::trusted_root::Authority;
use sealwright_crypto::{random_bytes, sha256};
use sealwright_pki::timestamp::{self, Expectation, TimeStampReq, TimestampError, nonce_content};

use crate::error::{Error, Failure, ServiceName};
use crate::http::{Call, Http};
use http::header::{ACCEPT, CONTENT_TYPE};

const SERVICE: ServiceName = ServiceName::TimestampAuthority;

/// Asks for a timestamp over `signature` and checks the answer before anybody relies on it: it answers this very request,
/// speaks of this signature, and comes from an authority the trusted root trusts at the time it states.
///
/// `window` is the certificate's life, outside of which a timestamp is useless.
#[tracing::instrument(skip_all, fields(url = service.url))]
pub(crate) async fn stamp(
    http: &Http,
    service: &Service,
    signature: &[u8],
    root: &TrustedRoot,
    window: Option<(i64, i64)>,
) -> Result<Vec<u8>, Error> {
    let nonce = nonce_content(random_bytes());
    let digest = sha256(signature);
    let request = TimeStampReq::sha256(&digest, &nonce).to_der();
    let headers = [
        (CONTENT_TYPE, "application/timestamp-query"),
        (ACCEPT, "application/timestamp-reply"),
    ];
    let answer = http
        .send(&Call::post(SERVICE, &service.url, &headers, request.into()))
        .await?;
    check(&answer, signature, &nonce, root, window).map_err(|failure| Error::Service {
        service: SERVICE,
        url: service.url.clone(),
        failure,
    })?;
    Ok(answer.to_vec())
}

fn check(
    answer: &[u8],
    signature: &[u8],
    nonce: &[u8],
    root: &TrustedRoot,
    window: Option<(i64, i64)>,
) -> Result<(), Failure> {
    let expected = Expectation {
        nonce: Some(nonce),
        ..Expectation::over(signature)
    };
    let mut problem = "the trusted root has no timestamp authority".to_owned();
    for authority in root.timestamp_authorities() {
        match verified_time(answer, authority, &expected) {
            Ok(time) if !authority.validity().covers(time) => {
                problem = format!(
                    "its time {time} (Unix) is outside the window in which the trusted root trusts {}",
                    authority.uri()
                );
            }
            Ok(time) => return within(time, window),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(Failure::Untrustworthy(problem))
}

fn verified_time(
    answer: &[u8],
    authority: &Authority,
    expected: &Expectation<'_>,
) -> Result<i64, TimestampError> {
    let chain = authority.chain();
    let (below, roots) = chain.split_at(chain.len().saturating_sub(1));
    let signer = below.first().filter(|first| !first.is_ca());
    let trusted = timestamp::Authority {
        roots,
        intermediates: below,
        signer,
    };
    Ok(timestamp::verify(answer, &trusted, expected)?.gen_time())
}

fn within(time: i64, window: Option<(i64, i64)>) -> Result<(), Failure> {
    match window {
        Some((not_before, not_after)) if !(not_before..=not_after).contains(&time) => {
            Err(Failure::Untrustworthy(format!(
                "its time {time} (Unix) is outside the certificate's life, {not_before} to {not_after}; one of the clocks is wrong"
            )))
        }
        _ => Ok(()),
    }
}
