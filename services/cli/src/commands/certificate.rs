//! `certificate`.

use std::fmt::Write as _;
use std::path::Path;

use sealwright_sdk::crypto::{KeyType, PrivateKey};
use sealwright_sdk::{
    CertificationRequest, Error, IssuedCertificate, read_capped, rfc3339, write_atomically,
    write_secret,
};
use serde_json::json;

use crate::args::Certificate;
use crate::commands::identity::Source;
use crate::commands::sign::{context, key_type, read_key};
use crate::environment::Environment;
use crate::output::Report;

/// What certificate authorities read of a request, in PEM.
const MAX_REQUEST_BYTES: usize = 32 * 1024;

/// Gets a certificate for a key or a request, and writes it whole or not at all. A key that had to be made is written first:
/// without it the certificate would be worth nothing.
pub(crate) async fn certificate(
    args: &Certificate,
    environment: &Environment,
) -> Result<Report, Error> {
    check_places(args)?;
    let order = Order::read(args)?;
    let source = Source::choose(&args.identity, &args.trust, environment)?;
    let source_name = source.name();
    let context = context(&args.trust, args.signing_config.as_deref(), environment).await?;
    let (context, token) = source.obtain(context, environment).await?;
    let issued = context.certificate(&token, &order.request).await?;
    if let (Some(key), Some(path)) = (&order.made, &args.key) {
        write_secret("key", path, key.to_pkcs8_pem().as_bytes())?;
    }
    let chain = issued.to_pem_chain();
    if let Some(path) = &args.chain_out {
        write_atomically("chain", path, issued.issuers_pem().as_bytes())?;
    }
    if let Some(path) = &args.out {
        write_atomically("certificate", path, chain.as_bytes())?;
    }
    Ok(report(
        args,
        &issued,
        chain,
        &source_name,
        order.made.is_some(),
    ))
}

/// What the certificate is asked for with.
struct Order {
    request: CertificationRequest,
    /// The key, if it did not exist before.
    made: Option<PrivateKey>,
}

impl Order {
    fn read(args: &Certificate) -> Result<Self, Error> {
        if let Some(path) = &args.csr {
            let pem = read_capped("certification request", path, MAX_REQUEST_BYTES)?;
            let request = CertificationRequest::from_pem(
                &path.display().to_string(),
                &String::from_utf8_lossy(&pem),
            )?;
            return Ok(Self {
                request,
                made: None,
            });
        }
        let path = args.key.as_deref().unwrap_or(Path::new(""));
        if path.exists() {
            if args.signing_algorithm.is_some() {
                return Err(Error::Input {
                    what: "--signing-algorithm".into(),
                    problem: format!(
                        "{} exists and has its own; leave the flag out",
                        path.display()
                    ),
                });
            }
            let request = CertificationRequest::for_key(&read_key(path)?)?;
            return Ok(Self {
                request,
                made: None,
            });
        }
        let wanted = args
            .signing_algorithm
            .as_deref()
            .map(key_type)
            .transpose()?;
        let key = PrivateKey::generate(wanted.unwrap_or(KeyType::EcP256))
            .map_err(|error| Error::Internal(format!("key generation: {error}")))?;
        Ok(Self {
            request: CertificationRequest::for_key(&key)?,
            made: Some(key),
        })
    }
}

/// Refuses a certificate that would replace what it is for.
fn check_places(args: &Certificate) -> Result<(), Error> {
    let inputs = [("--key", &args.key), ("--csr", &args.csr)];
    let outputs = [("--out", &args.out), ("--chain-out", &args.chain_out)];
    for (output, place) in outputs {
        let taken = inputs.iter().chain(&outputs[..1]);
        let taken = taken.filter(|(flag, _)| *flag != output);
        for (flag, other) in taken {
            if place.is_some() && place == *other {
                return Err(Error::Input {
                    what: output.into(),
                    problem: format!("it is the file of {flag}, which it would replace"),
                });
            }
        }
    }
    Ok(())
}

fn report(
    args: &Certificate,
    issued: &IssuedCertificate,
    chain: String,
    source: &str,
    key_was_made: bool,
) -> Report {
    let certificate = issued.certificate();
    let (not_before, not_after) = (
        rfc3339(certificate.not_before()),
        rfc3339(certificate.not_after()),
    );
    let logs: Vec<&str> = issued
        .certificate_logs()
        .iter()
        .map(|promise| promise.log.as_str())
        .collect();
    let mut text = format!(
        "Certificate for {} (issuer {})\n  expiry:    {not_after}\n",
        issued.subject().escape_debug(),
        issued.issuer().escape_debug()
    );
    for log in &logs {
        let _ = writeln!(text, "  promised:  {log}");
    }
    if let (Some(path), true) = (&args.key, key_was_made) {
        let _ = writeln!(text, "  key:       {} (made)", path.display());
    }
    if let Some(path) = &args.out {
        let _ = writeln!(text, "  written:   {}", path.display());
    }
    let json = json!({
        "identity": issued.subject(),
        "issuer": issued.issuer(),
        "notBefore": not_before,
        "notAfter": not_after,
        "serial": certificate.serial_hex(),
        "certificateLogs": logs,
        "tokenSource": source,
        "keyMade": key_was_made,
        "out": args.out,
        "chain": chain,
    });
    Report {
        text,
        product: if args.out.is_none() {
            chain
        } else {
            String::new()
        },
        json: json.to_string(),
        ..Report::default()
    }
}
