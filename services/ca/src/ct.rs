//! The certificate transparency log, as the authority sees it: a precertificate goes in, a timestamp comes back.
//!
//! The timestamp is checked with the configured key before it is embedded, whatever the way it came; nothing here
//! trusts the connection.

use std::path::Path;
use std::time::Duration;

use sealwright_crypto::{PublicKey, base64};
use sealwright_host::grpc;
use sealwright_host::http::is_loopback;
use sealwright_host::telemetry::{self, TraceInterceptor};
use sealwright_pki::{Certificate, SignedCertificateTimestamp};
use sealwright_proto::sealwright::ct::v1 as proto;
use sealwright_proto::sealwright::ct::v1::certificate_transparency_client::CertificateTransparencyClient;
use serde::{Deserialize, Serialize};
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use tracing::Instrument as _;
use url::Url;

use crate::config::{CtConfig, CtTransport};
use crate::error::{CtFault, Error};

/// The longest answer that is read. A timestamp takes 300 bytes, a list of roots some KiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// How long establishing a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Attempts at an unreachable log: a connection that went stale since the last call fails once.
const ATTEMPTS: u32 = 2;

/// gRPC as a function from request to answer, over a connection or without one.
type Transport = BoxCloneSyncService<
    http::Request<tonic::body::Body>,
    http::Response<tonic::body::Body>,
    tonic::Status,
>;

/// What a trace calls a submission, whichever way it goes.
const ADD_PRE_CHAIN: &str = "sealwright.ct.v1.CertificateTransparency/AddPreChain";

type GrpcClient = CertificateTransparencyClient<InterceptedService<Transport, TraceInterceptor>>;

/// A log, the way to it, and the key that makes its timestamps believable.
#[derive(Debug, Clone)]
pub struct CtLog {
    key: PublicKey,
    timeout: Duration,
    /// Which log it is, for operators.
    place: String,
    submission: Submission,
}

#[derive(Debug, Clone)]
enum Submission {
    Grpc {
        client: GrpcClient,
        log: String,
    },
    Http {
        client: reqwest::Client,
        add_pre_chain: Url,
        get_roots: Url,
    },
}

impl CtLog {
    /// A log behind `sealwright.ct.v1.CertificateTransparency`. `log` is its name there, empty where there is one.
    #[must_use]
    pub fn grpc(
        channel: Channel,
        log: impl Into<String>,
        key: PublicKey,
        timeout: Duration,
    ) -> Self {
        let transport = channel.map_err(|error| tonic::Status::unavailable(error.to_string()));
        Self::over(BoxCloneSyncService::new(transport), log, key, timeout)
    }

    /// A log in the same process: the same messages, handed to its router without a connection between. Request id and trace are those of the calling task.
    #[must_use]
    pub fn in_process(
        router: axum::Router,
        log: impl Into<String>,
        key: PublicKey,
        timeout: Duration,
    ) -> Self {
        let transport = router
            .into_service::<tonic::body::Body>()
            .map_response(|response| response.map(tonic::body::Body::new))
            .map_err(|never| match never {});
        Self::over(BoxCloneSyncService::new(transport), log, key, timeout)
    }

    fn over(
        transport: Transport,
        log: impl Into<String>,
        key: PublicKey,
        timeout: Duration,
    ) -> Self {
        let client = CertificateTransparencyClient::with_interceptor(transport, TraceInterceptor)
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        let log = log.into();
        Self {
            key,
            timeout,
            place: log.clone(),
            submission: Submission::Grpc { client, log },
        }
    }

    /// Where the log is, as readiness tells it: an address or a name, no secret.
    #[must_use]
    pub fn at(self, place: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            ..self
        }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// A log that speaks RFC 6962 section 4 at `prefix`, before `/ct/v1/add-pre-chain`.
    ///
    /// # Errors
    /// When the prefix is not an http or https URL.
    pub fn http(prefix: &str, key: PublicKey, timeout: Duration) -> Result<Self, Error> {
        let endpoint = |path: &str| {
            let url = Url::parse(&format!("{}/ct/v1/{path}", prefix.trim_end_matches('/')));
            url.ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
                Error::Ct(format!("{prefix:?} is not the URL of a log; write for example \"https://ct.example.com/2026a\""))
            })
        };
        // An error means that the process has chosen a provider before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let add_pre_chain = endpoint("add-pre-chain")?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        // Without https there is no need for the system's roots, which may not exist.
        let builder = if add_pre_chain.scheme() == "https" {
            builder
        } else {
            builder.tls_certs_only(Vec::new())
        };
        let client = builder
            .build()
            .map_err(|error| Error::Ct(error.to_string()))?;
        let submission = Submission::Http {
            client,
            add_pre_chain,
            get_roots: endpoint("get-roots")?,
        };
        Ok(Self {
            key,
            timeout,
            place: prefix.to_owned(),
            submission,
        })
    }

    /// The log that the configuration names; relative paths are looked up in `folder`.
    ///
    /// # Errors
    /// When the key cannot be read, or the URL is not one, or leads beyond this host without TLS.
    pub fn open(config: &CtConfig, folder: &Path) -> Result<Self, Error> {
        let key = config.load_key(folder)?;
        refuse_plaintext(&config.url)?;
        match config.transport {
            CtTransport::Http => Self::http(&config.url, key, config.timeout),
            CtTransport::Grpc => {
                let unusable = |error| {
                    Error::Ct(format!(
                        "{:?} is not the base URL of a service: {error}",
                        config.url
                    ))
                };
                let channel = grpc::channel(&config.url, CONNECT_TIMEOUT).map_err(unusable)?;
                let log = Self::grpc(channel, config.log.clone(), key, config.timeout);
                Ok(log.at(&config.url))
            }
        }
    }

    /// The key that timestamps are checked with.
    pub(crate) fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Submits a precertificate with its issuers. The answer is not verified yet.
    ///
    /// # Errors
    /// [`CtFault`]; within the configured time.
    pub(crate) async fn add_pre_chain(
        &self,
        chain: &[&Certificate],
    ) -> Result<SignedCertificateTimestamp, CtFault> {
        let submit = async {
            let mut attempt = 1;
            loop {
                match self.submission.add_pre_chain(chain).await {
                    // Submitting again is safe: a log gives the same precertificate the same timestamp.
                    Err(CtFault::Unreachable(_)) if attempt < ATTEMPTS => attempt += 1,
                    outcome => return outcome,
                }
            }
        };
        // Within one process there is no server that would make a span of its own.
        let span = tracing::info_span!(
            "add_pre_chain",
            otel.name = ADD_PRE_CHAIN,
            otel.kind = "client"
        );
        tokio::time::timeout(self.timeout, submit.instrument(span))
            .await
            .unwrap_or(Err(CtFault::Timeout(self.timeout)))
    }

    /// Checks that the log accepts certificates under `root`.
    ///
    /// # Errors
    /// [`CtFault::RootNotAccepted`], or why the log could not be asked.
    pub(crate) async fn check_root(&self, root: &Certificate) -> Result<(), CtFault> {
        let asked = tokio::time::timeout(self.timeout, self.submission.roots()).await;
        let roots = asked.unwrap_or(Err(CtFault::Timeout(self.timeout)))?;
        if roots.iter().any(|der| der == root.der()) {
            Ok(())
        } else {
            Err(CtFault::RootNotAccepted)
        }
    }
}

/// Between hosts nothing is sent in the clear: whoever is on the way could keep certificates from being issued.
fn refuse_plaintext(url: &str) -> Result<(), Error> {
    let parsed = Url::parse(url).ok();
    if parsed.is_some_and(|url| url.scheme() != "http" || is_loopback(&url)) {
        return Ok(());
    }
    Err(Error::Ct(format!(
        "{url:?} is not usable: beyond this host an https URL is wanted"
    )))
}

impl Submission {
    async fn add_pre_chain(
        &self,
        chain: &[&Certificate],
    ) -> Result<SignedCertificateTimestamp, CtFault> {
        match self {
            Self::Grpc { client, log } => {
                let chain = chain
                    .iter()
                    .map(|certificate| certificate.der().to_vec())
                    .collect();
                let request = proto::AddChainRequest {
                    log: log.clone(),
                    chain,
                };
                let answer = client
                    .clone()
                    .add_pre_chain(request)
                    .await
                    .map_err(grpc_fault)?
                    .into_inner();
                timestamp(
                    answer.version,
                    &answer.log_id,
                    answer.timestamp_ms,
                    &answer.extensions,
                    &answer.signature,
                )
            }
            Self::Http {
                client,
                add_pre_chain,
                ..
            } => {
                let chain = chain
                    .iter()
                    .map(|certificate| base64::encode(certificate.der()))
                    .collect();
                let request = client.post(add_pre_chain.clone()).json(&AddChain { chain });
                let answer: AddChainAnswer = http_answer(request).await?;
                let decode = |what: &str, text: &str| {
                    base64::decode(text)
                        .map_err(|_| CtFault::Malformed(format!("its {what} is not base64")))
                };
                let (id, extensions) = (
                    decode("id", &answer.id)?,
                    decode("extensions", &answer.extensions)?,
                );
                let signature = decode("signature", &answer.signature)?;
                timestamp(
                    answer.sct_version,
                    &id,
                    answer.timestamp,
                    &extensions,
                    &signature,
                )
            }
        }
    }

    async fn roots(&self) -> Result<Vec<Vec<u8>>, CtFault> {
        match self {
            Self::Grpc { client, log } => {
                let request = proto::GetRootsRequest { log: log.clone() };
                let answer = client
                    .clone()
                    .get_roots(request)
                    .await
                    .map_err(grpc_fault)?
                    .into_inner();
                Ok(answer.certificates.into_iter().collect())
            }
            Self::Http {
                client, get_roots, ..
            } => {
                let answer: Roots = http_answer(client.get(get_roots.clone())).await?;
                let decoded = answer.certificates.iter().map(|text| base64::decode(text));
                decoded
                    .collect::<Result<_, _>>()
                    .map_err(|_| CtFault::Malformed("a root is not base64".to_owned()))
            }
        }
    }
}

/// RFC 6962 section 4.1.
#[derive(Serialize)]
struct AddChain {
    chain: Vec<String>,
}

#[derive(Deserialize)]
struct AddChainAnswer {
    sct_version: u32,
    id: String,
    timestamp: u64,
    #[serde(default)]
    extensions: String,
    signature: String,
}

/// RFC 6962 section 4.7.
#[derive(Deserialize)]
struct Roots {
    certificates: Vec<String>,
}

fn grpc_fault(status: tonic::Status) -> CtFault {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => CtFault::Unreachable(text),
        _ => CtFault::Refused(text),
    }
}

async fn http_answer<T: serde::de::DeserializeOwned>(
    request: reqwest::RequestBuilder,
) -> Result<T, CtFault> {
    let mut headers = http::HeaderMap::new();
    telemetry::inject(&mut headers);
    let unreachable = |error: reqwest::Error| CtFault::Unreachable(error.without_url().to_string());
    let mut answer = request.headers(headers).send().await.map_err(unreachable)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(CtFault::Malformed(format!(
                "it is longer than {MAX_ANSWER_BYTES} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        let text = String::from_utf8_lossy(body.get(..body.len().min(300)).unwrap_or_default())
            .into_owned();
        return Err(CtFault::Refused(format!("{status}: {text:?}")));
    }
    serde_json::from_slice(&body).map_err(|error| CtFault::Malformed(error.to_string()))
}

/// Puts the serialized form of RFC 6962 section 3.2 together and reads it, so that the strict reader judges both ways.
fn timestamp(
    version: u32,
    log_id: &[u8],
    timestamp_ms: u64,
    extensions: &[u8],
    signature: &[u8],
) -> Result<SignedCertificateTimestamp, CtFault> {
    let malformed = |what: &str| CtFault::Malformed(what.to_owned());
    let version = u8::try_from(version).map_err(|_| malformed("its version is not v1"))?;
    if log_id.len() != 32 {
        return Err(malformed("its log id does not have 32 bytes"));
    }
    let length =
        u16::try_from(extensions.len()).map_err(|_| malformed("its extensions are too long"))?;
    let mut bytes = vec![version];
    bytes.extend_from_slice(log_id);
    bytes.extend_from_slice(&timestamp_ms.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(extensions);
    bytes.extend_from_slice(signature);
    SignedCertificateTimestamp::parse(&bytes).map_err(|error| CtFault::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_stays_on_this_host() {
        for url in [
            "http://127.0.0.1:7700/ct/dev",
            "http://[::1]:1",
            "http://localhost",
            "https://ct.example.com",
        ] {
            assert!(refuse_plaintext(url).is_ok(), "{url}");
        }
        for url in [
            "http://ct.example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "",
            "ct",
        ] {
            assert!(refuse_plaintext(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_answer_that_is_no_timestamp_is_malformed() {
        let signature = [4, 3, 0, 1, 7];
        assert!(timestamp(0, &[1; 32], 5, &[], &signature).is_ok());
        let malformed = [
            timestamp(1, &[1; 32], 5, &[], &signature),
            timestamp(256, &[1; 32], 5, &[], &signature),
            timestamp(0, &[1; 31], 5, &[], &signature),
            timestamp(0, &[1; 32], 5, &vec![0; 70_000], &signature),
            timestamp(0, &[1; 32], 5, &[], &[4, 3, 0, 9, 7]),
            timestamp(0, &[1; 32], 5, &[], &[]),
        ];
        for outcome in malformed {
            assert!(matches!(outcome, Err(CtFault::Malformed(_))), "{outcome:?}");
        }
    }
}
