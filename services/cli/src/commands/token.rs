//! `token`.

use std::path::Path;

use sealwright_sdk::{Error, MintRequest, mint, read_capped};
use serde_json::{Map, Value, json};

use crate::args::Token;
use crate::environment::Environment;
use crate::output::Report;

/// No provider takes a token of more.
const MAX_CLAIMS_BYTES: usize = 64 * 1024;

/// Prints a token, alone.
pub(crate) async fn token(args: &Token, environment: &Environment) -> Result<Report, Error> {
    let request = MintRequest {
        audience: Some(args.audience.clone()),
        ttl: args.ttl,
        email: args.email.clone(),
        subject: args.subject.clone(),
        claims: args.claims.as_deref().map(read_claims).transpose()?,
    };
    let token = mint(&environment.http, &args.issuer, &request).await?;
    let json = json!({ "token": token }).to_string();
    Ok(Report {
        product: token,
        json,
        ..Report::default()
    })
}

fn read_claims(path: &Path) -> Result<Map<String, Value>, Error> {
    let path = if path == Path::new("-") {
        Path::new("/dev/stdin")
    } else {
        path
    };
    let text = read_capped("claims", path, MAX_CLAIMS_BYTES)?;
    serde_json::from_slice(&text).map_err(|error| Error::Input {
        what: format!("claims {}", path.display()),
        problem: format!("{error}; expected a JSON object"),
    })
}
