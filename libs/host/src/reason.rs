//! What each [`Reason`] means on the wire: the one table from reason to gRPC code and HTTP status.
//!
//! The enum itself is part of the wire contract (`sealwright/error/v1/error.proto`), so that clients in any language can
//! match on it.

use ::http::StatusCode;
use tonic::Code;

pub use sealwright_proto::sealwright::error::v1::Reason;

/// The domain of our `google.rpc.ErrorInfo`: reasons are unique within it.
pub const ERROR_DOMAIN: &str = "sealwright.dev";

/// How a reason travels: the gRPC code and the HTTP status that carries the same answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wire {
    /// The gRPC code, also `code` in the JSON envelope.
    pub code: Code,
    /// The HTTP status of the JSON form.
    pub http: StatusCode,
}

/// The wire form of `reason`.
///
/// Permanent faults are 4xx; only 429 and 5xx invite a client to try again (published Sigstore clients retry on those).
#[must_use]
pub const fn wire(reason: Reason) -> Wire {
    use Reason as R;
    let (code, http) = match reason {
        R::MalformedRequest
        | R::KeyUnreadable
        | R::KeyRefused
        | R::ProofOfPossessionInvalid
        | R::CsrMalformed
        | R::AlgorithmNotPermitted
        | R::CertificateUnreadable
        | R::ChainNotAccepted
        | R::EntryInvalid
        | R::EntryTypeUnsupported
        | R::SignatureInvalid
        | R::TimestampRequestInvalid
        | R::HashNotAccepted
        | R::PolicyNotAccepted
        | R::ExtensionNotAccepted => (Code::InvalidArgument, StatusCode::BAD_REQUEST),
        // The request was well formed and will never fit, so no RESOURCE_EXHAUSTED: that would invite a retry.
        R::RequestTooLarge | R::EntryTooLarge => (Code::OutOfRange, StatusCode::PAYLOAD_TOO_LARGE),
        R::UnsupportedMediaType => (Code::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        R::RequestTimeout => (Code::DeadlineExceeded, StatusCode::REQUEST_TIMEOUT),
        R::MethodNotAllowed | R::LogFrozen => (Code::Unimplemented, StatusCode::METHOD_NOT_ALLOWED),
        R::NotFound => (Code::NotFound, StatusCode::NOT_FOUND),
        R::AlreadyExists => (Code::AlreadyExists, StatusCode::CONFLICT),
        R::TokenMissing
        | R::TokenMalformed
        | R::TokenExpired
        | R::TokenNotYetValid
        | R::TokenWrongAudience
        | R::TokenUnknownIssuer
        | R::TokenBadSignature
        | R::ClientCertificateMissing => (Code::Unauthenticated, StatusCode::UNAUTHORIZED),
        R::TokenClaimsRefused | R::PermissionDenied => {
            (Code::PermissionDenied, StatusCode::FORBIDDEN)
        }
        R::RateLimited => (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS),
        R::IssuerUnreachable
        | R::TimeNotAvailable
        | R::Overloaded
        | R::Unavailable
        | R::CtLogUnavailable
        | R::SignerUnavailable
        | R::StorageUnavailable
        | R::ShuttingDown => (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        R::Internal | R::Unspecified => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    };
    Wire { code, http }
}

/// The reason's name as it appears in `ErrorInfo.reason`, e.g. `TOKEN_EXPIRED`.
#[must_use]
pub fn name(reason: Reason) -> &'static str {
    reason.as_str_name()
}

/// Whether the same request may succeed later without being changed.
#[must_use]
pub const fn retryable(reason: Reason) -> bool {
    matches!(
        wire(reason).code,
        Code::Unavailable | Code::ResourceExhausted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_is_invited_only_by_statuses_that_clients_retry() {
        for number in 0..=200 {
            let Ok(reason) = Reason::try_from(number) else {
                continue;
            };
            let status = wire(reason).http;
            let inviting = status == StatusCode::TOO_MANY_REQUESTS
                || status == StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(retryable(reason), inviting, "{}", name(reason));
        }
    }

    #[test]
    fn the_page_of_errors_has_a_row_for_every_reason_and_no_other() {
        let page = include_str!("../../../docs/errors.md");
        let rows: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .collect();
        let reasons = (1..=200).filter_map(|number| Reason::try_from(number).ok());
        let mut count = 0;
        for reason in reasons {
            let Wire { code, http } = wire(reason);
            let row = rows
                .iter()
                .find(|row| row.starts_with(&format!("{}`", name(reason))));
            let row = row.unwrap_or_else(|| panic!("{} has no row", name(reason)));
            let told = format!("({}) | {} |", code as i32, http.as_u16());
            assert!(row.contains(&told), "{told} in {row}");
            count += 1;
        }
        assert_eq!(rows.len(), count);
    }

    #[test]
    fn names_carry_no_prefix() {
        assert_eq!(name(Reason::TokenExpired), "TOKEN_EXPIRED");
    }
}
