//! The timestamp authority as strangers use it: every bad request over the wire, and the tools of code signing.
//!
//! `openssl ts` has a chapter of its own in `openssl.rs`; the clients of the ecosystem are in the table of clients.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sealwright_crypto::{base64, sha256};
use sealwright_integration_tests::{Daemon, Tool, http, python, skipped};
use sealwright_pki::timestamp::{PkiFailureInfo, TimestampError, inspect};
use sealwright_proto::sealwright::timestamp::v1::{
    GetTimestampRequest, timestamp_authority_client::TimestampAuthorityClient,
};
use serde_json::Value;
use tonic::Code;

use crate::openssl::authority_files;

const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";

/// A DER element with a length of one octet, or of two.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![tag, short],
        _ => {
            let [high, low] = u16::try_from(length).expect("short enough").to_be_bytes();
            vec![tag, 0x82, high, low]
        }
    };
    [head, content.to_vec()].concat()
}

/// The parts of a request, so that a row of the table can bend one of them.
struct Query {
    version: Vec<u8>,
    hash: &'static [u8],
    parameters: &'static [u8],
    digest: Vec<u8>,
    rest: Vec<u8>,
}

/// 2.16.840.1.101.3.4.2, under which NIST numbers its hashes.
macro_rules! nist {
    ($last:expr) => {
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, $last]
    };
}
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05];
const NULL: &[u8] = &[5, 0];

impl Default for Query {
    fn default() -> Self {
        Self {
            version: vec![2, 1, 1],
            hash: nist!(1),
            parameters: NULL,
            digest: sha256(b"data").to_vec(),
            rest: Vec::new(),
        }
    }
}

impl Query {
    fn der(&self) -> Vec<u8> {
        let algorithm = [element(6, self.hash), self.parameters.to_vec()].concat();
        let imprint = [element(0x30, &algorithm), element(4, &self.digest)].concat();
        let fields = [
            self.version.clone(),
            element(0x30, &imprint),
            self.rest.clone(),
        ];
        element(0x30, &fields.concat())
    }

    fn of(hash: &'static [u8], digest_octets: usize) -> Vec<u8> {
        let digest = vec![7; digest_octets];
        Self {
            hash,
            digest,
            ..Self::default()
        }
        .der()
    }

    fn version(version: u8) -> Vec<u8> {
        Self {
            version: vec![2, 1, version],
            ..Self::default()
        }
        .der()
    }

    fn with(rest: &[u8]) -> Vec<u8> {
        Self {
            rest: rest.to_vec(),
            ..Self::default()
        }
        .der()
    }
}

/// One row: what is sent in DER, and what HTTP, the rejection and gRPC say to it. `None`: granted.
struct Row(
    &'static str,
    Vec<u8>,
    Option<(PkiFailureInfo, u16, &'static str)>,
);

fn table() -> Vec<Row> {
    use PkiFailureInfo::{
        BadAlg, BadDataFormat, BadRequest, UnacceptedExtension, UnacceptedPolicy,
    };
    let hash = Some((BadAlg, 400, "HASH_NOT_ACCEPTED"));
    let format = Some((BadDataFormat, 400, "TIMESTAMP_REQUEST_INVALID"));
    let request = Some((BadRequest, 400, "TIMESTAMP_REQUEST_INVALID"));
    let policy = Some((UnacceptedPolicy, 400, "POLICY_NOT_ACCEPTED"));
    let extension = Some((UnacceptedExtension, 400, "EXTENSION_NOT_ACCEPTED"));
    let extended = |critical: &[u8]| {
        let fields = [&[6, 3, 0x2a, 3, 4][..], critical, &[4, 0]].concat();
        Query::with(&element(0xa0, &element(0x30, &fields)))
    };
    let bare = Query {
        parameters: &[],
        ..Query::default()
    };
    let odd_parameters = Query {
        parameters: &[2, 1, 0],
        ..Query::default()
    };
    let trailing = [Query::default().der(), vec![0]].concat();
    vec![
        Row("SHA-256", Query::of(nist!(1), 32), None),
        Row("SHA-384", Query::of(nist!(2), 48), None),
        Row("SHA-512", Query::of(nist!(3), 64), None),
        Row("parameters absent", bare.der(), None),
        Row("certReq FALSE spelled out", Query::with(&[1, 1, 0]), None),
        Row("a negative nonce", Query::with(&[2, 1, 0xfe]), None),
        Row(
            "a nonce of 160 bits",
            Query::with(&element(2, &[0x41; 20])),
            None,
        ),
        Row("MD5", Query::of(MD5, 16), hash),
        Row("SHA-1", Query::of(SHA1, 20), hash),
        Row("SHA-224", Query::of(nist!(4), 28), hash),
        Row("SHA-512/256", Query::of(nist!(6), 32), hash),
        Row("SHA3-256", Query::of(nist!(8), 32), hash),
        Row("a digest too short", Query::of(nist!(1), 31), format),
        Row("a digest too long", Query::of(nist!(1), 64), format),
        Row("an empty digest", Query::of(nist!(1), 0), format),
        Row("parameters that are not NULL", odd_parameters.der(), format),
        Row("version 0", Query::version(0), request),
        Row("version 2", Query::version(2), request),
        Row("a foreign policy", Query::with(&[6, 3, 0x2a, 3, 4]), policy),
        Row("an extension", extended(&[]), extension),
        Row("a critical extension", extended(&[1, 1, 0xff]), extension),
        Row(
            "a nonce of 168 bits",
            Query::with(&element(2, &[0x41; 21])),
            request,
        ),
        Row(
            "a nonce of 2000 bits",
            Query::with(&element(2, &[0x41; 250])),
            request,
        ),
        Row("trailing bytes", trailing, format),
        Row(
            "fields out of order",
            Query::with(&[1, 1, 0xff, 2, 1, 1]),
            format,
        ),
        Row("garbage", b"not DER at all".to_vec(), format),
        Row("nothing", Vec::new(), format),
    ]
}

/// A reply as it came: status, content type, body.
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The detail of the error envelope.
    fn detail(&self) -> anyhow::Result<Value> {
        assert_eq!(self.header("content-type"), "application/json");
        let envelope: Value = serde_json::from_slice(&self.body)?;
        assert!(envelope["code"].is_u64() && envelope["message"].is_string());
        Ok(envelope["details"][0].clone())
    }
}

fn send(
    method: reqwest::Method,
    url: &str,
    content_type: Option<&str>,
    body: Vec<u8>,
) -> anyhow::Result<Answer> {
    let mut request = http().request(method, url).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let response = request.send()?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes()?.to_vec(),
    })
}

fn post(url: &str, content_type: Option<&str>, body: impl Into<Vec<u8>>) -> anyhow::Result<Answer> {
    send(reqwest::Method::POST, url, content_type, body.into())
}

fn never_cached(answer: &Answer) {
    let lasting = answer.header("cache-control");
    assert!(
        lasting.contains("no-store") && lasting.contains("max-age=0"),
        "{lasting}"
    );
    assert_eq!(answer.header("pragma"), "no-cache");
    assert_eq!(answer.header("expires"), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(answer.header("x-accel-expires"), "0");
}

#[test]
fn every_bad_request_gets_its_failure_over_http_and_grpc_at_every_address() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let base = daemon.endpoints().console.clone();
    for Row(name, der, expected) in table() {
        for path in ["/api/v1/timestamp", "/tsr", "/"] {
            let answer = post(&format!("{base}{path}"), Some(QUERY), der.clone())?;
            assert_eq!(answer.header("content-type"), REPLY, "{name} at {path}");
            assert_ne!(answer.header("x-request-id"), "", "{name} at {path}");
            never_cached(&answer);
            match (expected, inspect(&answer.body)) {
                (None, Ok(_)) => assert_eq!(answer.status, 200, "{name} at {path}"),
                (
                    Some((failure, status, _)),
                    Err(TimestampError::NotGranted {
                        status: 2,
                        failure: Some(found),
                        text,
                    }),
                ) => {
                    assert_eq!(
                        (found, answer.status),
                        (failure, status),
                        "{name} at {path}"
                    );
                    assert!(!text.is_empty(), "{name} has a sentence for people");
                }
                (_, other) => panic!("{name} at {path}: {other:?}"),
            }
        }
    }
    same_over_grpc(&base)
}

fn same_over_grpc(base: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(base.to_owned())?;
        let mut client = TimestampAuthorityClient::new(endpoint.connect().await?);
        for Row(name, query, expected) in table() {
            let outcome = client.get_timestamp(GetTimestampRequest { query }).await;
            match (expected, outcome) {
                (None, Ok(reply)) => {
                    inspect(&reply.into_inner().reply)?;
                }
                (Some((failure, _, reason)), Err(status)) => {
                    assert_eq!(status.code(), Code::InvalidArgument, "{name}");
                    let details = String::from_utf8_lossy(status.details()).into_owned();
                    for fact in [reason, failure.name()] {
                        assert!(
                            details.contains(fact),
                            "{name}: {fact} is not in {details:?}"
                        );
                    }
                }
                (_, other) => panic!("{name}: {other:?}"),
            }
        }
        Ok(())
    })
}

#[test]
fn bad_json_is_answered_in_json_with_the_same_failure() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let url = &daemon.endpoints().tsa;
    let digest = base64::encode(&sha256(b"data"));
    let with = |hash: &str, digest: &str, more: &str| {
        format!(r#"{{"artifactHash":"{digest}","hashAlgorithm":"{hash}"{more}}}"#)
    };
    let nonce = |digits: usize| format!(r#","nonce":1{}"#, "0".repeat(digits));
    let granted = [
        with("sha256", &digest, ""),
        with("SHA256", &digest, r#","certificates":true,"unknown":[1]"#),
        with("sha512", &base64::encode(&[1; 64]), r#","nonce":-5"#),
        with("sha256", &digest, &nonce(48)),
        with(
            "sha256",
            &digest,
            r#","tsaPolicyOID":"1.3.6.1.4.1.57264.2""#,
        ),
    ];
    for body in granted {
        let answer = post(url, Some("application/json; charset=utf-8"), body.clone())?;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, REPLY),
            "{body}"
        );
        never_cached(&answer);
        inspect(&answer.body)?;
    }
    let arcs = ["1.2"; 129].join(".");
    let refused = [
        (String::new(), "badDataFormat", "TIMESTAMP_REQUEST_INVALID"),
        (
            "[]".to_owned(),
            "badDataFormat",
            "TIMESTAMP_REQUEST_INVALID",
        ),
        (
            with("sha256", "*", ""),
            "badDataFormat",
            "TIMESTAMP_REQUEST_INVALID",
        ),
        (
            with("sha512", &digest, ""),
            "badDataFormat",
            "TIMESTAMP_REQUEST_INVALID",
        ),
        (
            with("sha256", "", ""),
            "badDataFormat",
            "TIMESTAMP_REQUEST_INVALID",
        ),
        (with("sha1", &digest, ""), "badAlg", "HASH_NOT_ACCEPTED"),
        (with("md5", &digest, ""), "badAlg", "HASH_NOT_ACCEPTED"),
        (with("", &digest, ""), "badAlg", "HASH_NOT_ACCEPTED"),
        (
            with("sha256", &digest, &nonce(49)),
            "badRequest",
            "TIMESTAMP_REQUEST_INVALID",
        ),
        (
            with("sha256", &digest, r#","nonce":"7""#),
            "badDataFormat",
            "TIMESTAMP_REQUEST_INVALID",
        ),
        (
            with("sha256", &digest, r#","tsaPolicyOID":"1.2.3""#),
            "unacceptedPolicy",
            "POLICY_NOT_ACCEPTED",
        ),
        (
            with("sha256", &digest, &format!(r#","tsaPolicyOID":"{arcs}""#)),
            "badDataFormat",
            "TIMESTAMP_REQUEST_INVALID",
        ),
    ];
    for (body, failure, reason) in refused {
        let answer = post(url, Some("application/json"), body.clone())?;
        assert_eq!(answer.status, 400, "{body}");
        let detail = answer.detail()?;
        assert_eq!(detail["reason"], reason, "{body}");
        assert_eq!(detail["metadata"]["failInfo"], failure, "{body}");
    }
    Ok(())
}

#[test]
fn methods_types_and_sizes_are_answered_by_their_status() -> anyhow::Result<()> {
    use reqwest::Method;
    let daemon = Daemon::fresh()?;
    let base = daemon.endpoints().console.clone();
    let at = |path: &str| format!("{base}{path}");
    for path in ["/api/v1/timestamp", "/tsr", "/"] {
        for content_type in [None, Some("text/plain"), Some(REPLY)] {
            let answer = post(&at(path), content_type, Query::default().der())?;
            assert_eq!(answer.status, 415, "{content_type:?} at {path}");
            assert_eq!(answer.detail()?["reason"], "UNSUPPORTED_MEDIA_TYPE");
        }
        let answer = post(&at(path), Some(QUERY), vec![0x30; (1 << 20) + 1])?;
        assert_eq!(answer.status, 413, "{path}");
        assert_eq!(answer.detail()?["reason"], "REQUEST_TOO_LARGE");
        let answer = post(&at(path), Some("application/json"), vec![b' '; 1025])?;
        assert_eq!(answer.status, 413, "{path}");
    }
    for (method, path, allow) in [
        (Method::GET, "/api/v1/timestamp", "POST"),
        (Method::OPTIONS, "/api/v1/timestamp", "POST"),
        (Method::DELETE, "/tsr", "POST"),
        (Method::PUT, "/", "POST,GET,HEAD"),
        (Method::POST, "/api/v1/timestamp/certchain", "GET, HEAD"),
    ] {
        let answer = send(method.clone(), &at(path), None, Vec::new())?;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, allow),
            "{method} {path}"
        );
        assert_eq!(answer.detail()?["reason"], "METHOD_NOT_ALLOWED");
    }
    let console = send(Method::GET, &at("/"), None, Vec::new())?;
    assert_eq!(console.status, 200);
    assert!(console.header("content-type").starts_with("text/html"));
    let chain = send(
        Method::GET,
        &at("/api/v1/timestamp/certchain"),
        None,
        Vec::new(),
    )?;
    assert_eq!(
        chain.header("content-type"),
        "application/pem-certificate-chain"
    );
    assert_eq!(chain.header("cache-control"), "max-age=86400, immutable");
    let text = String::from_utf8(chain.body)?;
    let published = sealwright_pki::parse_pem_chain(&text)?;
    let files = authority_files(&daemon)?;
    let trusted = fs::read_to_string(&files.chain)? + &fs::read_to_string(&files.root)?;
    assert_eq!(published, sealwright_pki::parse_pem_chain(&trusted)?);
    Ok(())
}

/// Whether the programs are here; reports the test as skipped otherwise.
fn have(test: &str, programs: &[&str]) -> bool {
    let folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let absent = |program: &&&str| !folders.iter().any(|folder| folder.join(program).exists());
    match programs.iter().find(absent) {
        None => true,
        Some(program) => {
            skipped(test, &format!("{program} is not installed"));
            false
        }
    }
}

/// A key of a code signer and its self-issued certificate, in PEM.
fn code_signer(dir: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (key, certificate) = (dir.join("code.key"), dir.join("code.pem"));
    Tool::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
        ])
        .args(["-subj", "/CN=Code signer"])
        .args(["-addext", "extendedKeyUsage=critical,codeSigning"])
        .args(["-addext", "keyUsage=critical,digitalSignature"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .run()?
        .success()?;
    Ok((key, certificate))
}

#[test]
fn osslsigncode_stamps_a_windows_program_and_verifies_it_with_the_root_alone() -> anyhow::Result<()>
{
    let test = "osslsigncode_stamps_a_windows_program_and_verifies_it_with_the_root_alone";
    if !have(test, &["osslsigncode", "go"]) {
        return Ok(());
    }
    let daemon = Daemon::fresh()?;
    let files = authority_files(&daemon)?;
    let dir = files.dir.path();
    fs::write(dir.join("main.go"), "package main\n\nfunc main() {}\n")?;
    Tool::new("go")
        .dir(dir)
        .env("GOOS", "windows")
        .env("GOARCH", "amd64")
        .env("GOFLAGS", "")
        .args(["build", "-o", "program.exe", "main.go"])
        .run()?
        .success()?;
    let (key, certificate) = code_signer(dir)?;
    let base = daemon.endpoints().console.clone();
    for url in [
        daemon.endpoints().tsa.clone(),
        format!("{base}/tsr"),
        format!("{base}/"),
    ] {
        let signed = dir.join("signed.exe");
        if signed.exists() {
            fs::remove_file(&signed)?;
        }
        Tool::new("osslsigncode")
            .args(["sign", "-h", "sha256", "-ts", &url, "-certs"])
            .arg(&certificate)
            .arg("-key")
            .arg(&key)
            .arg("-in")
            .arg(dir.join("program.exe"))
            .arg("-out")
            .arg(&signed)
            .run()?
            .success()?;
        let verify = |anchor: &Path| {
            Tool::new("osslsigncode")
                .args(["verify", "-CAfile"])
                .arg(&certificate)
                .arg("-TSA-CAfile")
                .arg(anchor)
                .arg("-in")
                .arg(&signed)
                .run()
        };
        let said = verify(&files.root)?.success()?;
        assert!(
            said.contains("Timestamp Server Signature verification: ok"),
            "{said}"
        );
        // With another anchor for the authority there is no verified time.
        let other = verify(&certificate)?;
        assert!(
            !other
                .stdout
                .contains("Timestamp Server Signature verification: ok"),
            "{other}"
        );
    }
    Ok(())
}

#[test]
fn jarsigner_stamps_an_archive_and_verifies_it_once_the_root_is_trusted() -> anyhow::Result<()> {
    let test = "jarsigner_stamps_an_archive_and_verifies_it_once_the_root_is_trusted";
    if !have(test, &["jarsigner", "keytool", "jar"]) {
        return Ok(());
    }
    let daemon = Daemon::fresh()?;
    let files = authority_files(&daemon)?;
    let dir = files.dir.path();
    let java = |program: &str| Tool::new(program).dir(dir).env("LC_ALL", "C");
    let store = ["-keystore", "store.p12", "-storepass", "of a test"];
    java("keytool")
        .args([
            "-genkeypair",
            "-alias",
            "code",
            "-keyalg",
            "RSA",
            "-keysize",
            "2048",
        ])
        .args(["-dname", "CN=Code signer", "-storetype", "PKCS12"])
        .args(store)
        .run()?
        .success()?;
    fs::write(dir.join("hello.txt"), "hello")?;
    java("jar")
        .args(["cf", "plain.jar", "hello.txt"])
        .run()?
        .success()?;
    let url = format!("{}/", daemon.endpoints().console);
    for url in [&daemon.endpoints().tsa, &url] {
        java("jarsigner")
            .args(["-tsa", url, "-signedjar", "signed.jar"])
            .args(store)
            .args(["plain.jar", "code"])
            .run()?
            .success()?;
    }
    let verify = || {
        java("jarsigner")
            .args(["-verify", "-strict", "-verbose:summary", "-certs"])
            .args(store)
            .arg("signed.jar")
            .run()
    };
    let said = verify()?.failure()?;
    assert!(said.contains("TSA certificate chain is invalid"), "{said}");
    java("keytool")
        .args(["-importcert", "-noprompt", "-alias", "tsa", "-file"])
        .arg(&files.root)
        .args(store)
        .run()?
        .success()?;
    let said = verify()?.success()?;
    for expected in [
        "jar verified.",
        "Timestamped by",
        "Timestamp digest algorithm: SHA-256",
    ] {
        assert!(said.contains(expected), "{expected} is missing in {said}");
    }
    Ok(())
}

/// Asks and verifies with both hashes the library has, with and without the chain in the token; then insists that
/// another message, another nonce and another root are refused.
const RFC3161_CLIENT: &str = r#"
import sys, urllib.request
from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerificationError, VerifierBuilder
from rfc3161_client import decode_timestamp_response

url, chain_file, root_file, other_file = sys.argv[1:5]
certificates = lambda name: x509.load_pem_x509_certificates(open(name, "rb").read())
[root] = certificates(root_file)
[other] = certificates(other_file)
leaf, *between = certificates(chain_file)
data = b"what is to be stamped"

def ask(algorithm, with_chain):
    builder = TimestampRequestBuilder().data(data).hash_algorithm(algorithm)
    request = builder.nonce(nonce=True).cert_request(cert_request=with_chain).build()
    headers = {"Content-Type": "application/timestamp-query"}
    call = urllib.request.Request(url, data=request.as_bytes(), headers=headers)
    return request, decode_timestamp_response(urllib.request.urlopen(call).read())

def verifier(nonce, anchor, with_chain):
    builder = VerifierBuilder().nonce(nonce).add_root_certificate(anchor)
    if not with_chain:
        builder = builder.tsa_certificate(leaf)
        for certificate in between:
            builder = builder.add_intermediate_certificate(certificate)
    return builder.build()

def refused(act):
    try:
        act()
    except VerificationError:
        return
    sys.exit("something false was believed")

for algorithm in HashAlgorithm:
    for with_chain in (True, False):
        request, response = ask(algorithm, with_chain)
        assert verifier(request.nonce, root, with_chain).verify_message(response, data)
        refused(lambda: verifier(request.nonce, root, with_chain).verify_message(response, data + b"!"))
        refused(lambda: verifier(request.nonce ^ 1, root, with_chain).verify_message(response, data))
        refused(lambda: verifier(request.nonce, other, with_chain).verify_message(response, data))
        print("verified", algorithm.name, with_chain)
"#;

#[test]
fn rfc3161_client_asks_and_verifies_with_and_without_the_chain_in_the_token() -> anyhow::Result<()>
{
    let Some(python) =
        python("rfc3161_client_asks_and_verifies_with_and_without_the_chain_in_the_token")
    else {
        return Ok(());
    };
    let daemon = Daemon::fresh()?;
    let files = authority_files(&daemon)?;
    let (_, other) = code_signer(files.dir.path())?;
    let said = Tool::new(python)
        .args(["-c", RFC3161_CLIENT, &daemon.endpoints().tsa])
        .args([&files.chain, &files.root, &other])
        .run()?
        .success()?;
    assert_eq!(said.matches("verified").count(), 4, "{said}");
    Ok(())
}
