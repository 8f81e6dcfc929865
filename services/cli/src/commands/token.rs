//! `token`.

use std::io::Read as _;
use std::path::Path;

use sealwright_sdk::{Error, MintRequest, mint};
use serde_json::{Map, Value, json};

use crate::args::Token;
use crate::environment::Environment;
use crate::output::Report;

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
    let file_error = |source| Error::File {
        what: "claims",
        path: path.to_owned(),
        source,
    };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .read_to_string(&mut text)
            .map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    serde_json::from_str(&text.map_err(file_error)?).map_err(|error| Error::Input {
        what: format!("claims {}", path.display()),
        problem: format!("{error}; expected a JSON object"),
    })
}
