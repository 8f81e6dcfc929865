//! Making one timestamp: from a parsed request to the bytes of the answer. Knows nothing of HTTP or gRPC.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sealwright_crypto::{SignError, Signer, random_bytes};
use sealwright_host::{Reason, ServiceError};
use sealwright_pki::timestamp::{
    PkiFailureInfo, RequestError, RequestExtensions, Stamp, TimeStampReq, TokenTemplate,
};
use sealwright_pki::{ObjectIdentifier, SerialNumber};

use crate::config::ExtensionRule;
use crate::error::TimeNotAvailable;
use crate::time_keeper::TimeKeeper;

/// Extensions are repeated up to this length: a token is no place to keep things at the authority's word.
const MAX_COPIED_OCTETS: usize = 1024;

/// Why no timestamp is made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The requester's doing.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The JSON form of a request is malformed.
    #[error("{0}")]
    Json(String),
    /// The JSON form names no hash algorithm that may be used.
    #[error("{0}")]
    Hash(String),
    /// The clock cannot be believed.
    #[error("the time is not available: {0}")]
    Time(#[from] TimeNotAvailable),
    /// The signing certificate has ended, so a token of now would not verify.
    #[error("the timestamp certificate has expired")]
    Expired,
    /// The key did not sign.
    #[error("the signer is not available")]
    Signer(#[from] SignError),
}

impl Refusal {
    /// The bit of PKIFailureInfo.
    pub(crate) const fn failure_info(&self) -> PkiFailureInfo {
        match self {
            Self::Request(error) => error.failure_info(),
            Self::Json(_) => PkiFailureInfo::BadDataFormat,
            Self::Hash(_) => PkiFailureInfo::BadAlg,
            Self::Time(_) => PkiFailureInfo::TimeNotAvailable,
            Self::Expired | Self::Signer(_) => PkiFailureInfo::SystemFailure,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Request(RequestError::HashAlgorithm { .. }) | Self::Hash(_) => {
                Reason::HashNotAccepted
            }
            Self::Request(RequestError::Policy { .. }) => Reason::PolicyNotAccepted,
            Self::Request(RequestError::Extension { .. }) => Reason::ExtensionNotAccepted,
            Self::Request(_) | Self::Json(_) => Reason::TimestampRequestInvalid,
            Self::Time(_) => Reason::TimeNotAvailable,
            Self::Expired | Self::Signer(_) => Reason::SignerUnavailable,
        }
    }

    /// The same refusal for the wire, with the failure's name among the facts.
    pub(crate) fn into_service_error(self) -> ServiceError {
        let failure = self.failure_info().name();
        let mut error = ServiceError::new(self.reason(), sentence(&self.to_string()))
            .with_metadata("failInfo", failure);
        match &self {
            Self::Time(TimeNotAvailable::ClockBehind { seconds }) => {
                let wait = u64::try_from(*seconds).unwrap_or(1).clamp(1, 3600);
                error = error.with_retry_after(Duration::from_secs(wait));
            }
            Self::Signer(cause) => error = error.with_internal(cause),
            _ => {}
        }
        error
    }
}

/// Begins with a capital, as the sentences of all services do.
fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// The key at work: one signer, one chain.
#[derive(Debug)]
pub(crate) struct Stamper {
    pub(crate) template: TokenTemplate,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) time: TimeKeeper,
    pub(crate) policy: ObjectIdentifier,
    pub(crate) accepted_policies: Vec<ObjectIdentifier>,
    pub(crate) extensions: ExtensionRule,
    /// Unix seconds: the first end of validity in the chain.
    pub(crate) not_after: i64,
}

impl Stamper {
    /// The TimeStampResp, status granted, that answers this request.
    pub(crate) async fn stamp(&self, request: &TimeStampReq<'_>) -> Result<Vec<u8>, Refusal> {
        let policy = self.policy_for(request)?;
        let repeated = self.repeated_extensions(request)?;
        let gen_time = self.time.now().await?;
        if gen_time > self.not_after {
            return Err(Refusal::Expired);
        }
        let stamp = Stamp {
            policy,
            message_imprint: request.message_imprint,
            // Random, so that it is unique without a counter that could be lost.
            serial: *SerialNumber::from_random(random_bytes()).as_bytes(),
            gen_time,
            nonce: request.nonce,
            with_certificates: request.cert_req,
        };
        let token = self
            .template
            .prepare_with(&stamp, repeated)
            .map_err(|_| Refusal::Time(TimeNotAvailable::OutOfRange))?;
        // A key in memory answers here and now; only one elsewhere costs a boxed future.
        let signature = match self.signer.sign_now(token.message()) {
            Some(signature) => signature?,
            None => self.signer.sign(token.message()).await?,
        };
        Ok(token.finish(&signature))
    }

    fn policy_for(&self, request: &TimeStampReq<'_>) -> Result<ObjectIdentifier, RequestError> {
        match request.req_policy {
            None => Ok(self.policy),
            Some(policy) if policy == self.policy || self.accepted_policies.contains(&policy) => {
                Ok(policy)
            }
            Some(policy) => Err(RequestError::Policy { policy }),
        }
    }

    /// The extensions that the token repeats, when the request's may pass at all.
    fn repeated_extensions<'r>(
        &self,
        request: &'r TimeStampReq<'_>,
    ) -> Result<Option<&'r RequestExtensions<'r>>, RequestError> {
        let (Some(extension), Some(extensions)) = (request.extension, &request.extensions) else {
            return Ok(None);
        };
        let refused = Err(RequestError::Extension {
            extension: extension.identifier,
        });
        match self.extensions {
            _ if extension.critical => refused,
            ExtensionRule::Refuse => refused,
            ExtensionRule::Ignore => Ok(None),
            ExtensionRule::Copy if extensions.encoded_len() > MAX_COPIED_OCTETS => refused,
            ExtensionRule::Copy => match repeated_identifier(extensions) {
                Some(extension) => Err(RequestError::Extension { extension }),
                None => Ok(Some(extensions)),
            },
        }
    }
}

/// An identifier that stands twice: a list with one is no valid Extensions (RFC 5280 section 4.2). The list is short.
fn repeated_identifier(extensions: &RequestExtensions<'_>) -> Option<ObjectIdentifier> {
    let mut seen = HashSet::new();
    extensions
        .iter()
        .map(|extension| extension.identifier)
        .find(|identifier| !seen.insert(*identifier))
}
