//! How each known provider is asked.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::Url;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{PRODUCT_NAME_FILE, Surroundings, Way, command, spiffe};
use crate::error::{AmbientProblem, Error, Failure, ServiceName};
use crate::http::{Call, Http, join, shown};
use crate::identity::TokenRequest;

type Token = Result<Zeroizing<String>, AmbientProblem>;

const PROVIDER: ServiceName = ServiceName::IdentityProvider;
/// Who gives tokens does so at once, or does so at the next attempt.
const PATIENCE: Duration = Duration::from_secs(10);
/// A machine's own metadata server is next door, or is not there.
const METADATA_PATIENCE: Duration = Duration::from_secs(3);
/// Answers that are no JSON come from a proxy that is having a moment.
const ACTIONS_ATTEMPTS: u32 = 3;
const MAX_TOKEN_FILE_BYTES: usize = 64 * 1024;

const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const REQUEST_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const AZURE_URL: &str = "SYSTEM_OIDCREQUESTURI";
const AZURE_TOKEN: &str = "SYSTEM_ACCESSTOKEN";
const BUILDKITE_TOKEN: &str = "BUILDKITE_AGENT_ACCESS_TOKEN";
const BUILDKITE_JOB: &str = "BUILDKITE_JOB_ID";
const BUILDKITE_ENDPOINT: &str = "https://agent.buildkite.com/v3";
const GOOGLE_ACCOUNT: &str = "GOOGLE_SERVICE_ACCOUNT_NAME";
const GOOGLE_METADATA_HOST: &str = "GCE_METADATA_HOST";
/// What Google's own tools read for a private address of the same API.
const GOOGLE_IAM_OVERRIDE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS";
const GOOGLE_IAM: &str = "https://iamcredentials.googleapis.com";
const METADATA_FLAVOR: (HeaderName, &str) = (HeaderName::from_static("metadata-flavor"), "Google");

/// The first variable that a way always needs and that is not set.
pub(super) fn missing(way: Way, surroundings: &Surroundings) -> Option<String> {
    let needed: &[&str] = match way {
        Way::Actions => &[REQUEST_URL, REQUEST_TOKEN],
        Way::AzurePipelines => &[AZURE_URL, AZURE_TOKEN],
        Way::Variable(name) | Way::NamedFile(name) => &[name],
        Way::Spiffe => &["SPIFFE_ENDPOINT_SOCKET"],
        Way::NamedForAudience
        | Way::Buildkite
        | Way::CircleCi
        | Way::FixedFile(_)
        | Way::Google => &[],
    };
    let absent = needed
        .iter()
        .find(|name| surroundings.variable(name).is_none());
    absent.map(|name| (*name).to_owned())
}

pub(super) async fn token(
    way: Way,
    surroundings: &Surroundings,
    request: &TokenRequest<'_>,
) -> Token {
    let (http, audience) = (request.http, request.audience);
    match way {
        Way::Actions => actions(surroundings, http, audience).await,
        Way::NamedForAudience => variable(surroundings, &variable_for(audience)),
        Way::Buildkite => buildkite(surroundings, http, audience).await,
        Way::CircleCi => circleci(surroundings, audience).await,
        Way::AzurePipelines => azure_pipelines(surroundings, http).await,
        Way::Variable(name) => variable(surroundings, name),
        Way::Spiffe => {
            let socket = needed(surroundings, "SPIFFE_ENDPOINT_SOCKET")?;
            spiffe::token(socket, surroundings.variable("SPIFFE_ID"), audience).await
        }
        Way::FixedFile(path) => file(&surroundings.place(path)),
        Way::NamedFile(name) => file(Path::new(needed(surroundings, name)?)),
        Way::Google => google(surroundings, http, audience).await,
    }
}

/// A token in a variable.
pub(super) fn variable(surroundings: &Surroundings, name: &str) -> Token {
    needed(surroundings, name).map(|value| Zeroizing::new(value.to_owned()))
}

/// A token in a file, which whoever projects it replaces before it expires.
pub(super) fn file(path: &Path) -> Token {
    let failed = |source| AmbientProblem::File {
        path: path.to_owned(),
        source,
    };
    let bytes = crate::file::read_regular(path, MAX_TOKEN_FILE_BYTES).map_err(failed)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(_) => Err(crate::error::TokenProblem::Malformed("it is not text").into()),
    }
}

fn needed<'a>(surroundings: &'a Surroundings, name: &str) -> Result<&'a str, AmbientProblem> {
    surroundings
        .variable(name)
        .ok_or_else(|| AmbientProblem::Missing(name.to_owned()))
}

/// `sigstore` gives `SIGSTORE_ID_TOKEN`: letters in upper case, anything but letters and digits an underscore.
fn variable_for(audience: &str) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() {
            character.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    audience.chars().map(plain).collect::<String>() + "_ID_TOKEN"
}

async fn actions(surroundings: &Surroundings, http: &Http, audience: &str) -> Token {
    let url = address(REQUEST_URL, needed(surroundings, REQUEST_URL)?)?;
    let url = with_query(url, &[("audience", audience)]);
    let bearer = bearer(needed(surroundings, REQUEST_TOKEN)?);
    let headers = [
        (AUTHORIZATION, bearer.as_str()),
        (ACCEPT, "application/json"),
    ];
    let mut attempt = 1;
    loop {
        let answer = ask(http, Call::get(PROVIDER, &url, &headers), PATIENCE).await?;
        match member(&url, &answer, &["value"]) {
            Err(_) if attempt < ACTIONS_ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

async fn azure_pipelines(surroundings: &Surroundings, http: &Http) -> Token {
    let url = address(AZURE_URL, needed(surroundings, AZURE_URL)?)?;
    let mut query = vec![("api-version", "7.1")];
    // Set by tasks that run on behalf of a service connection; without it the token is the pipeline's own.
    query.extend(
        surroundings
            .variable("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID")
            .map(|id| ("serviceConnectionId", id)),
    );
    let url = with_query(url, &query);
    let bearer = bearer(needed(surroundings, AZURE_TOKEN)?);
    let headers = [
        (AUTHORIZATION, bearer.as_str()),
        (CONTENT_TYPE, "application/json"),
        (ACCEPT, "application/json"),
    ];
    let call = Call::post(PROVIDER, &url, &headers, Bytes::new());
    let answer = ask(http, call, PATIENCE).await?;
    member(&url, &answer, &["oidcToken"])
}

/// The agent's API takes the job's token; where a job does not have that, the agent's program does the same.
async fn buildkite(surroundings: &Surroundings, http: &Http, audience: &str) -> Token {
    let Some(access) = surroundings.variable(BUILDKITE_TOKEN) else {
        let command = [
            "buildkite-agent",
            "oidc",
            "request-token",
            "--audience",
            audience,
        ];
        return program(surroundings, &command, "BUILDKITE*").await;
    };
    let endpoint = surroundings.variable("BUILDKITE_AGENT_ENDPOINT");
    let mut url = address(
        "BUILDKITE_AGENT_ENDPOINT",
        endpoint.unwrap_or(BUILDKITE_ENDPOINT),
    )?;
    let job = needed(surroundings, BUILDKITE_JOB)?;
    push(&mut url, &["jobs", job, "oidc", "tokens"]);
    let authorization = Zeroizing::new(format!("Token {access}"));
    let headers = [
        (AUTHORIZATION, authorization.as_str()),
        (CONTENT_TYPE, "application/json"),
        (ACCEPT, "application/json"),
    ];
    let body = json!({ "audience": audience }).to_string();
    let url = String::from(url);
    let call = Call::post(PROVIDER, &url, &headers, body.into());
    let answer = ask(http, call, PATIENCE).await?;
    member(&url, &answer, &["token"])
}

/// The program gives tokens for any audience. Those in variables are for the organisation, whatever is wanted, and are used
/// where the program is not installed; whether the audience does is checked like any other.
async fn circleci(surroundings: &Surroundings, audience: &str) -> Token {
    let claims = json!({ "aud": audience }).to_string();
    let command = ["circleci", "run", "oidc", "get", "--claims", &claims];
    match program(surroundings, &command, "CIRCLE*").await {
        Err(AmbientProblem::Missing(program)) => ["CIRCLE_OIDC_TOKEN_V2", "CIRCLE_OIDC_TOKEN"]
            .iter()
            .find_map(|name| variable(surroundings, name).ok())
            .ok_or(AmbientProblem::Missing(program)),
        outcome => outcome,
    }
}

async fn program(surroundings: &Surroundings, command: &[&str], variables: &str) -> Token {
    let command: Vec<String> = command.iter().map(|&part| part.to_owned()).collect();
    let passed = [variables.to_owned()];
    command::run(&command, surroundings.for_program(&passed)).await
}

/// Whether the machine is Google's, or is set up to act as a service account of it.
pub(super) fn on_google(surroundings: &Surroundings) -> bool {
    let named = [GOOGLE_ACCOUNT, GOOGLE_METADATA_HOST]
        .iter()
        .any(|name| surroundings.variable(name).is_some());
    let product = || std::fs::read_to_string(surroundings.place(PRODUCT_NAME_FILE));
    named || product().is_ok_and(|name| ["Google", "Google Compute Engine"].contains(&name.trim()))
}

async fn google(surroundings: &Surroundings, http: &Http, audience: &str) -> Token {
    let host = surroundings
        .variable(GOOGLE_METADATA_HOST)
        .unwrap_or("metadata.google.internal");
    let base = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/");
    match surroundings.variable(GOOGLE_ACCOUNT) {
        Some(account) => impersonate(surroundings, http, &base, account, audience).await,
        None => {
            let url = address(GOOGLE_METADATA_HOST, &join(&base, "identity"))?;
            let url = with_query(url, &[("audience", audience), ("format", "full")]);
            let answer = metadata(http, &url).await?;
            match std::str::from_utf8(&answer) {
                Ok(token) => Ok(Zeroizing::new(token.to_owned())),
                Err(_) => Err(malformed(&url, "it is not text")),
            }
        }
    }
}

/// The machine's access token buys an ID token of the account, if the account lets it.
async fn impersonate(
    surroundings: &Surroundings,
    http: &Http,
    metadata_base: &str,
    account: &str,
    audience: &str,
) -> Token {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@.-_".contains(&byte);
    if !account.bytes().all(plain) {
        return Err(AmbientProblem::Setting(format!(
            "{GOOGLE_ACCOUNT} is {account:?}; expected the e-mail address of a service account"
        )));
    }
    let url = join(metadata_base, "token");
    let access = member(&url, &metadata(http, &url).await?, &["access_token"])?;
    let bearer = bearer(&access);
    let base = surroundings
        .variable(GOOGLE_IAM_OVERRIDE)
        .unwrap_or(GOOGLE_IAM);
    let url = join(
        base,
        &format!("v1/projects/-/serviceAccounts/{account}:generateIdToken"),
    );
    let headers = [
        (AUTHORIZATION, bearer.as_str()),
        (CONTENT_TYPE, "application/json"),
        (ACCEPT, "application/json"),
    ];
    let body = json!({ "audience": audience, "includeEmail": true }).to_string();
    let call = Call::post(PROVIDER, &url, &headers, body.into());
    let answer = ask(http, call, PATIENCE).await?;
    member(&url, &answer, &["token"])
}

async fn metadata(http: &Http, url: &str) -> Result<Bytes, AmbientProblem> {
    let headers = [METADATA_FLAVOR];
    ask(http, Call::get(PROVIDER, url, &headers), METADATA_PATIENCE).await
}

async fn ask(http: &Http, call: Call<'_>, patience: Duration) -> Result<Bytes, AmbientProblem> {
    let call = Call {
        patience: Some(patience),
        max_answer_bytes: 256 * 1024,
        ..call
    };
    http.send(&call).await.map_err(|error| match error {
        Error::Service { url, failure, .. } => AmbientProblem::Service { url, failure },
        other => AmbientProblem::Setting(other.to_string()),
    })
}

/// A text within a JSON answer, which is never quoted: it may be a token after all.
fn member(url: &str, answer: &[u8], path: &[&str]) -> Token {
    let answer: Value =
        serde_json::from_slice(answer).map_err(|_| malformed(url, "it is not JSON"))?;
    let value = path
        .iter()
        .try_fold(&answer, |value, name| value.get(name))
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    match value {
        Some(text) => Ok(Zeroizing::new(text.to_owned())),
        None => Err(malformed(url, &format!("it has no {:?}", path.join(".")))),
    }
}

fn malformed(url: &str, problem: &str) -> AmbientProblem {
    AmbientProblem::Service {
        url: shown(url),
        failure: Failure::Malformed(problem.to_owned()),
    }
}

fn bearer(token: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("Bearer {token}"))
}

/// A URL from a variable. It may hold a secret in its query, so what is wrong with it is said without it.
fn address(variable: &str, text: &str) -> Result<Url, AmbientProblem> {
    let refuse = |problem: &str| {
        AmbientProblem::Setting(format!(
            "{variable} is no address that can be asked: {problem}; expected an http or https URL"
        ))
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(refuse("it has another scheme or no host"))
    }
}

/// Adds to the query that is there already.
fn with_query(mut url: Url, pairs: &[(&str, &str)]) -> String {
    url.query_pairs_mut().extend_pairs(pairs);
    url.into()
}

fn push(url: &mut Url, segments: &[&str]) {
    // Refused only for addresses that cannot have a path, and `address` lets none of those through.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_for_an_audience_has_its_name() {
        for (audience, name) in [
            ("sigstore", "SIGSTORE_ID_TOKEN"),
            ("https://a.b", "HTTPS___A_B_ID_TOKEN"),
        ] {
            assert_eq!(variable_for(audience), name);
        }
    }

    #[test]
    fn an_address_keeps_its_query_and_hides_it_in_errors() {
        let url = address("X", "https://ci.test/a?secret=s").expect("a URL");
        assert_eq!(
            with_query(url, &[("audience", "a&b c")]),
            "https://ci.test/a?secret=s&audience=a%26b+c"
        );
        let mut url = address("X", "https://ci.test/v3/").expect("a URL");
        push(&mut url, &["jobs", "../a", "oidc"]);
        assert_eq!(url.as_str(), "https://ci.test/v3/jobs/..%2Fa/oidc");
        for text in ["", "ci.test?secret", "file:///etc/secret", "http://"] {
            let error = address("X", text).expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_answer_is_never_quoted() {
        for answer in ["eyJ.secret", r#"{"other":"secret"}"#, r#"{"value":5}"#] {
            let error = member("https://h/?q=secret", answer.as_bytes(), &["value"]);
            let error = error.expect_err(answer).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
