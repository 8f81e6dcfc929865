//! What keeps the authority from starting, and what keeps it from issuing.

use std::path::PathBuf;
use std::time::Duration;

use sealwright_crypto::{KeyError, SignError};
use sealwright_host::db::DbError;
use sealwright_host::{Reason, ServiceError};
use sealwright_identity::TokenError;
use sealwright_pki::error::IssuerFault;
use thiserror::Error;

/// Why the authority does not start. All of it is the operator's to mend.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A configured value cannot be used.
    #[error("ca.{key}: {what}")]
    Config {
        /// The key within `[ca]`.
        key: &'static str,
        /// Which value, why, and what would be accepted.
        what: String,
    },
    /// An issuer of identity tokens cannot be used as configured.
    #[error("ca.oidc-issuers: {0}")]
    Issuers(#[from] sealwright_identity::ConfigError),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The journal cannot be opened.
    #[error("the issuance journal: {0}")]
    Journal(#[from] DbError),
    /// The journal was opened and cannot be read.
    #[error("the issuance journal cannot be read: {0}")]
    JournalUnreadable(#[source] sqlx::Error),
    /// The issuing key cannot be read.
    #[error("the issuing key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The certificate chain cannot be used.
    #[error("the issuing certificate chain cannot be used: {0}")]
    Chain(ChainProblem),
    /// The signer failed its first signature.
    #[error("the issuing signer does not sign: {0}")]
    Sign(#[from] SignError),
    /// The signer's first signature does not verify with the key of the issuing certificate.
    #[error("a signature made at start does not verify with the issuing certificate")]
    SelfTest,
    /// The certificate transparency log cannot be addressed.
    #[error("ca.ct.url: {0}")]
    Ct(String),
}

/// What is wrong with an issuing chain. Positions count from the issuing certificate, which is 0.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChainProblem {
    /// The text of the chain file is not PEM certificates, or the issuing certificate is not fit to issue.
    #[error(transparent)]
    Pki(#[from] sealwright_pki::Error),
    /// There is no certificate.
    #[error("it is empty")]
    Empty,
    /// A certificate is not signed by the next one.
    #[error("certificate {at} is not signed by the one after it")]
    NotSignedByNext {
        /// Its position.
        at: usize,
    },
    /// The last certificate is not a root.
    #[error("the last certificate is not self-signed, so the chain does not end in a root")]
    NoRoot,
    /// A certificate of the chain may not sign certificates.
    #[error(
        "certificate {at} is not an authority that may sign certificates (basicConstraints, keyUsage)"
    )]
    NotAnAuthority {
        /// Its position.
        at: usize,
    },
    /// An authority above the issuing one may not have that many below it.
    #[error("certificate {at} permits {limit} authorities below it; there are {below}")]
    PathLength {
        /// Its position.
        at: usize,
        /// Its pathLenConstraint.
        limit: u64,
        /// Authorities below it.
        below: u64,
    },
    /// An authority above the issuing one is not for code signing.
    #[error("certificate {at} is not for code signing (extKeyUsage)")]
    Purpose {
        /// Its position.
        at: usize,
    },
    /// A certificate is not valid now.
    #[error(
        "certificate {at} is valid from {not_before} to {not_after} (Unix seconds), and the clock says {now}; set the clock right, or bring a certificate that is valid"
    )]
    NotValid {
        /// Its position.
        at: usize,
        /// Begin of its validity.
        not_before: i64,
        /// End of its validity.
        not_after: i64,
        /// The time of the start.
        now: i64,
    },
}

/// Why no certificate is issued. [`Refusal::into_service_error`] is the only way out of the crate.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// The token is not accepted.
    #[error("{0}")]
    Token(TokenError),
    /// The token is accepted, and its claims do not make an identity that can be certified.
    #[error("{0}")]
    Identity(TokenError),
    /// There is neither a public key nor a certificate request.
    #[error("the request has neither a public key nor a certificate signing request")]
    NoKey,
    /// The public key cannot be read, or is of a kind that is not certified.
    #[error("the public key cannot be certified: {0}")]
    Key(KeyError),
    /// The proof of possession does not verify over any accepted challenge.
    #[error(
        "the proof of possession is not a signature by the key, with {algorithm}, over an accepted claim of the token \
         (its e-mail address or its subject)"
    )]
    Possession {
        /// The algorithm a proof by this key must have.
        algorithm: sealwright_crypto::Algorithm,
    },
    /// The certificate request cannot be read.
    #[error("the certificate signing request is not usable: {0}")]
    Request(sealwright_pki::Error),
    /// A key and hash that the operator does not permit.
    #[error("signing algorithm not permitted: {0}")]
    AlgorithmNotPermitted(sealwright_crypto::Algorithm),
    /// Preparing, linting or signing failed.
    #[error("{0}")]
    Issuance(sealwright_pki::Error),
    /// The intent could not be made durable, so nothing was signed.
    #[error("the issuance journal does not take entries: {0}")]
    Journal(String),
    /// The log gave no timestamp, or one that does not verify.
    #[error("certificate transparency: {0}")]
    Ct(CtFault),
    /// The work was cut off by a panic or by the end of the process.
    #[error("issuance was interrupted")]
    Interrupted,
}

/// Why there is no timestamp from the log.
#[derive(Debug, Error)]
pub(crate) enum CtFault {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection failed.
    #[error("the log cannot be reached: {0}")]
    Unreachable(String),
    /// The log refused the precertificate; the text is for the operator.
    #[error("the log refused the precertificate: {0}")]
    Refused(String),
    /// The answer is not a timestamp.
    #[error("the answer is not a timestamp: {0}")]
    Malformed(String),
    /// The timestamp is by another log, or its signature does not hold.
    #[error("the timestamp does not verify with the configured key: {0}")]
    Unverified(sealwright_pki::Error),
    /// The log's clock and ours disagree.
    #[error("the timestamp is {0} ms away from the time of this authority")]
    Clock(i64),
    /// The log does not accept certificates of this authority.
    #[error("the log does not list the root of this authority among those it accepts")]
    RootNotAccepted,
}

impl Refusal {
    /// Why, for programs.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Token(error) => token_reason(error),
            Self::Identity(_) => Reason::TokenClaimsRefused,
            Self::NoKey => Reason::MalformedRequest,
            Self::Key(KeyError::Unsupported { .. } | KeyError::Invalid { .. }) => {
                Reason::KeyRefused
            }
            Self::Key(_) => Reason::KeyUnreadable,
            Self::Possession { .. } => Reason::ProofOfPossessionInvalid,
            Self::Request(error) => request_reason(error),
            Self::AlgorithmNotPermitted(_) => Reason::AlgorithmNotPermitted,
            Self::Issuance(error) => issuance_reason(error),
            Self::Journal(_) => Reason::StorageUnavailable,
            Self::Ct(_) => Reason::CtLogUnavailable,
            Self::Interrupted => Reason::Internal,
        }
    }

    /// The answer to the client. Faults of the authority are told without their inside.
    pub(crate) fn into_service_error(self) -> ServiceError {
        let reason = self.reason();
        let public = match &self {
            Self::Token(TokenError::ProviderUnavailable {
                issuer,
                retry_after,
                ..
            }) => {
                let message =
                    format!("The keys of the issuer {issuer} cannot be obtained at the moment");
                let wait = Duration::from_secs(u64::try_from(*retry_after).unwrap_or(1).max(1));
                return ServiceError::new(reason, message)
                    .with_internal(&self)
                    .with_retry_after(wait);
            }
            Self::Ct(_) => {
                "The certificate transparency log gave no valid timestamp, so no certificate was issued"
            }
            Self::Journal(_) => {
                "The issuance cannot be recorded at the moment, so no certificate was issued"
            }
            _ if reason == Reason::SignerUnavailable => "The authority cannot sign at the moment",
            _ if reason == Reason::Internal => return ServiceError::internal(&self),
            _ => return ServiceError::new(reason, sentence(&self.to_string())),
        };
        ServiceError::new(reason, public).with_internal(&self)
    }
}

/// Public messages are sentences.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

fn token_reason(error: &TokenError) -> Reason {
    match error {
        TokenError::Missing => Reason::TokenMissing,
        TokenError::UnknownIssuer { .. } => Reason::TokenUnknownIssuer,
        TokenError::WrongAudience { .. } | TokenError::WrongAuthorizedParty { .. } => {
            Reason::TokenWrongAudience
        }
        TokenError::Expired { .. } => Reason::TokenExpired,
        TokenError::NotYetValid { .. } | TokenError::IssuedInTheFuture { .. } => {
            Reason::TokenNotYetValid
        }
        TokenError::LifetimeTooLong { .. } => Reason::TokenClaimsRefused,
        TokenError::UnknownKey { .. } | TokenError::BadSignature => Reason::TokenBadSignature,
        TokenError::ProviderUnavailable { .. } => Reason::IssuerUnreachable,
        _ => Reason::TokenMalformed,
    }
}

fn request_reason(error: &sealwright_pki::Error) -> Reason {
    match error {
        sealwright_pki::Error::Signature { .. } => Reason::ProofOfPossessionInvalid,
        sealwright_pki::Error::AlgorithmNotPermitted { .. }
        | sealwright_pki::Error::SignatureAlgorithm { .. } => Reason::AlgorithmNotPermitted,
        sealwright_pki::Error::Key(KeyError::Unsupported { .. } | KeyError::Invalid { .. }) => {
            Reason::KeyRefused
        }
        _ => Reason::CsrMalformed,
    }
}

fn issuance_reason(error: &sealwright_pki::Error) -> Reason {
    match error {
        sealwright_pki::Error::WeakKey(_) => Reason::KeyRefused,
        sealwright_pki::Error::Identity(_) => Reason::TokenClaimsRefused,
        sealwright_pki::Error::Sign(_)
        | sealwright_pki::Error::Issuer(IssuerFault::NotValid { .. }) => Reason::SignerUnavailable,
        _ => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_of_our_own_faults_stays_inside() {
        let secret = "10.1.2.3 says no";
        for refusal in [
            Refusal::Ct(CtFault::Refused(secret.to_owned())),
            Refusal::Journal(secret.to_owned()),
            Refusal::Issuance(sealwright_pki::Error::Render {
                detail: secret.to_owned(),
            }),
            Refusal::Token(TokenError::ProviderUnavailable {
                issuer: "https://idp".to_owned(),
                why: sealwright_identity::FetchError::Transport(secret.to_owned()),
                retry_after: 4,
            }),
        ] {
            let error = refusal.into_service_error();
            assert!(!error.message().contains("10.1.2.3"), "{error}");
            assert!(
                error
                    .internal_detail()
                    .is_some_and(|inside| inside.contains("10.1.2.3")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_client_learns_what_was_wrong_with_its_own_request() {
        let error = Refusal::Token(TokenError::Expired {
            expired_at: 10,
            ago: 5,
        })
        .into_service_error();
        assert_eq!(error.reason(), Reason::TokenExpired);
        assert!(
            error
                .message()
                .starts_with("The identity token expired at 10"),
            "{error}"
        );
    }
}
