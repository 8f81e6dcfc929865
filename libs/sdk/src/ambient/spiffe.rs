//! The SPIFFE Workload API: a JWT-SVID from the agent of this machine, by gRPC on a local socket.
//!
//! Three small messages of the API are all that is used, so they stand here. Field numbers are those of the SPIFFE Workload
//! API specification.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use crate::error::{AmbientProblem, Failure};

const METHOD: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";
/// The header that no web page can make a browser send, which the specification asks for.
const SECURITY_HEADER: &str = "workload.spiffe.io";
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer holds one token for each identity of the workload.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

#[derive(Clone, PartialEq, prost::Message)]
struct JwtSvidRequest {
    #[prost(string, repeated, tag = "1")]
    audience: Vec<String>,
    #[prost(string, tag = "2")]
    spiffe_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtSvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<JwtSvid>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtSvid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(string, tag = "2")]
    svid: String,
}

/// Asks the agent at `address` (`unix:///path`, `unix:/path` or `tcp://ADDRESS:PORT`) for a token. A workload with several
/// identities gets that of `spiffe_id`, or the first, which the specification makes the default.
pub(crate) async fn token(
    address: &str,
    spiffe_id: Option<&str>,
    audience: &str,
) -> Result<Zeroizing<String>, AmbientProblem> {
    let failed = |failure| AmbientProblem::Service {
        url: address.to_owned(),
        failure,
    };
    let endpoint = Address::parse(address)?;
    let exchange = async {
        let channel = endpoint.connect().await.map_err(unreachable)?;
        fetch(channel, spiffe_id, audience).await
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(outcome) => outcome.map_err(failed),
        Err(_) => Err(failed(Failure::Timeout(PATIENCE))),
    }
}

async fn fetch(
    channel: Channel,
    spiffe_id: Option<&str>,
    audience: &str,
) -> Result<Zeroizing<String>, Failure> {
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    client.ready().await.map_err(unreachable)?;
    let mut request = tonic::Request::new(JwtSvidRequest {
        audience: vec![audience.to_owned()],
        spiffe_id: spiffe_id.unwrap_or_default().to_owned(),
    });
    request
        .metadata_mut()
        .insert(SECURITY_HEADER, MetadataValue::from_static("true"));
    let codec = ProstCodec::<JwtSvidRequest, JwtSvidResponse>::default();
    let answer = client
        .unary(request, PathAndQuery::from_static(METHOD), codec)
        .await
        .map_err(|status| refused(&status))?;
    let svid = answer.into_inner().svids.into_iter().next();
    let svid = svid.filter(|svid| spiffe_id.is_none_or(|wanted| wanted == svid.spiffe_id));
    match svid {
        Some(svid) => Ok(Zeroizing::new(svid.svid)),
        None => Err(Failure::Malformed(
            "it holds no token for this workload".into(),
        )),
    }
}

/// A refusal in words, as other services' are shown.
fn refused(status: &tonic::Status) -> Failure {
    let message = crate::http::printable(status.message());
    match status.code() {
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => {
            Failure::Status(Box::new(crate::error::Refusal {
                status: 403,
                reason: None,
                message: format!("the agent knows no identity for this workload: {message}"),
                request_id: None,
            }))
        }
        tonic::Code::InvalidArgument => Failure::Status(Box::new(crate::error::Refusal {
            status: 400,
            reason: None,
            message,
            request_id: None,
        })),
        code => Failure::Unreachable(format!("{code:?}: {message}")),
    }
}

fn unreachable(error: tonic::transport::Error) -> Failure {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Failure::Unreachable(cause.to_string())
}

/// Where an agent listens.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Unix(PathBuf),
    Tcp(std::net::SocketAddr),
}

impl Address {
    /// The forms of the SPIFFE Workload Endpoint specification, section 4.
    fn parse(text: &str) -> Result<Self, AmbientProblem> {
        let refuse = || {
            AmbientProblem::Setting(format!(
                "SPIFFE_ENDPOINT_SOCKET is {text:?}; expected unix:///PATH or tcp://ADDRESS:PORT"
            ))
        };
        if let Some(address) = text.strip_prefix("tcp://") {
            return address.parse().map(Self::Tcp).map_err(|_| refuse());
        }
        let path = text.strip_prefix("unix:").ok_or_else(refuse)?;
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.starts_with('/') && !path.contains(['?', '#', '\0']) {
            Ok(Self::Unix(path.into()))
        } else {
            Err(refuse())
        }
    }

    async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        match self {
            Self::Tcp(address) => {
                Endpoint::from_shared(format!("http://{address}"))?
                    .connect()
                    .await
            }
            Self::Unix(path) => {
                let path = path.clone();
                let connector = tower::service_fn(move |_| {
                    let path = path.clone();
                    async move {
                        let stream = tokio::net::UnixStream::connect(path).await?;
                        Ok::<_, std::io::Error>(TokioIo::new(stream))
                    }
                });
                // The name is never looked up; HTTP wants one.
                Endpoint::from_static("http://localhost")
                    .connect_with_connector(connector)
                    .await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_address_has_one_of_two_forms() {
        for text in ["unix:///run/agent.sock", "unix:/run/agent.sock"] {
            let parsed = Address::parse(text).expect(text);
            assert_eq!(parsed, Address::Unix("/run/agent.sock".into()));
        }
        assert!(matches!(
            Address::parse("tcp://127.0.0.1:8081"),
            Ok(Address::Tcp(_))
        ));
        for text in [
            "",
            "/run/agent.sock",
            "unix://host/a",
            "unix:a",
            "tcp://agent:8081",
            "https://a",
        ] {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.contains("SPIFFE_ENDPOINT_SOCKET"), "{error}");
        }
    }
}
