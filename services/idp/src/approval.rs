//! The two doors through which a person answers: for a login in a browser, and for a device.
//!
//! A form of our own pages is answered with a page or a redirect, and needs no script. Programs send the same answer as JSON
//! with a header that no form can carry, and are answered with JSON. Which guard applies follows from the content type, so
//! that neither way opens the other.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use sealwright_host::http as answers;
use sealwright_host::{Reason, ServiceError};
use serde::Deserialize;
use serde_json::json;

use crate::api::{MAX_BODY_BYTES, Provider, Shared, callback, intended_json, see_other};
use crate::claims::is_email;
use crate::flow::{Answer, Authorization, Redirect};
use crate::oauth::{OAuthError, Parameters, no_store};
use crate::page::{self, Problem, Waiting};

const FORM: &str = "application/x-www-form-urlencoded";
const LOGIN_GONE: &str = "such login; it expired or was answered, so start again";
const DEVICE_GONE: &str =
    "device waiting with this code; it expired, was answered, or the code has a typing error";

/// What a person decided, as it was sent.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    request: Option<String>,
    user_code: Option<String>,
    email: Option<String>,
    #[serde(default)]
    deny: bool,
}

impl Approval {
    /// A refusal needs no address; the one that stands in the form is not looked at.
    fn of_form(parameters: &Parameters) -> Self {
        let text = |name| parameters.get(name).map(str::to_owned);
        let deny = parameters.get("answer") == Some("refuse");
        Self {
            request: text("request"),
            user_code: text("user_code"),
            email: if deny { None } else { text("email") },
            deny,
        }
    }

    fn answer(&self) -> Result<Answer, String> {
        match (self.deny, &self.email) {
            (true, None) => Ok(Answer::Deny),
            (true, Some(_)) => Err("Both email and deny were sent; send one of them".into()),
            (false, Some(email)) if is_email(email) => Ok(Answer::Approve {
                email: email.clone(),
            }),
            (false, email) => {
                let given = email.as_deref().unwrap_or("");
                Err(format!(
                    "{given:?} is not an e-mail address; give one such as dev@example.com"
                ))
            }
        }
    }
}

/// The answer to a waiting authorization.
pub(crate) async fn authorization(
    State(provider): Shared,
    request: Request,
) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    if is_form(&parts) {
        return match own_form(&provider, &parts, body).await {
            Ok(parameters) => Ok(authorization_form(
                &provider,
                &Approval::of_form(&parameters),
            )),
            Err((status, problem)) => Ok(page::refusal(&provider.base, status, &problem)),
        };
    }
    let approval: Approval = intended_json(&provider, &parts, body).await?;
    let answer = approval.answer().map_err(malformed)?;
    let waiting = take(&provider, &approval).ok_or_else(|| answers::not_found(LOGIN_GONE))?;
    let answered = match decide(&provider, waiting, answer).map_err(busy)? {
        Decided::Redirect(location) => json!({ "location": location }),
        Decided::Code(code) => json!({ "code": code }),
        Decided::Refused => json!({}),
    };
    Ok(no_store(answers::json(StatusCode::OK, &answered)))
}

fn authorization_form(provider: &Provider, approval: &Approval) -> Response {
    let base = &provider.base;
    let Some(waiting) = take(provider, approval) else {
        let problem =
            "This login has expired or was answered. Start again in the program that asked.";
        return page::refusal(base, StatusCode::NOT_FOUND, problem);
    };
    let answer = match approval.answer() {
        Ok(answer) => answer,
        Err(problem) => return ask_again(provider, approval, waiting, problem),
    };
    match decide(provider, waiting, answer) {
        Ok(Decided::Redirect(location)) => see_other(&location),
        Ok(Decided::Code(code)) => page::code(base, &code),
        Ok(Decided::Refused) => page::done(base, "Refused", "You can close this page."),
        Err(error) => page::refusal(base, StatusCode::SERVICE_UNAVAILABLE, &error.description),
    }
}

/// Shows the page again, with what is wrong beside the field it is wrong in. The login goes on waiting.
fn ask_again(
    provider: &Provider,
    approval: &Approval,
    waiting: Authorization,
    text: String,
) -> Response {
    let base = &provider.base;
    let id = approval.request.clone().unwrap_or_default();
    let redirect = waiting.redirect.clone();
    let now = provider.clock.unix();
    if let Err(error) = provider.logins().wait(id.clone(), waiting, now) {
        return page::refusal(base, StatusCode::SERVICE_UNAVAILABLE, &error.description);
    }
    let waiting = Waiting {
        id: &id,
        redirect: &redirect,
    };
    let problem = Problem {
        field: "email",
        text,
    };
    let given = approval.email.as_deref().unwrap_or("");
    page::login(base, &waiting, given, Some(&problem))
}

fn take(provider: &Provider, approval: &Approval) -> Option<Authorization> {
    let id = approval.request.as_deref().unwrap_or_default();
    provider.logins().take_request(id, provider.clock.unix())
}

enum Decided {
    Redirect(String),
    Code(String),
    Refused,
}

fn decide(
    provider: &Provider,
    waiting: Authorization,
    answer: Answer,
) -> Result<Decided, OAuthError> {
    let Answer::Approve { email } = answer else {
        return Ok(match waiting.redirect {
            Redirect::OutOfBand => Decided::Refused,
            Redirect::Loopback(url) => {
                let parameters = [
                    ("error", "access_denied"),
                    ("error_description", "the person refused"),
                ];
                Decided::Redirect(callback(*url, &parameters, waiting.state.as_deref()))
            }
        });
    };
    Ok(match provider.approve(waiting, email)? {
        (Redirect::OutOfBand, code, _) => Decided::Code(code),
        (Redirect::Loopback(url), code, state) => {
            Decided::Redirect(callback(*url, &[("code", &code)], state.as_deref()))
        }
    })
}

/// The answer to a waiting device.
pub(crate) async fn device(
    State(provider): Shared,
    request: Request,
) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    if is_form(&parts) {
        return match own_form(&provider, &parts, body).await {
            Ok(parameters) => Ok(device_form(&provider, &Approval::of_form(&parameters))),
            Err((status, problem)) => Ok(page::refusal(&provider.base, status, &problem)),
        };
    }
    let approval: Approval = intended_json(&provider, &parts, body).await?;
    let answer = approval.answer().map_err(malformed)?;
    if !answer_device(&provider, &approval, answer) {
        return Err(answers::not_found(DEVICE_GONE));
    }
    Ok(no_store(answers::json(StatusCode::OK, &json!({}))))
}

fn device_form(provider: &Provider, approval: &Approval) -> Response {
    let base = &provider.base;
    let again = |field, text: String| {
        let user_code = approval.user_code.as_deref().unwrap_or("");
        let email = approval.email.as_deref().unwrap_or("");
        page::device(base, user_code, email, Some(&Problem { field, text }))
    };
    let answer = match approval.answer() {
        Ok(answer) => answer,
        Err(problem) => return again("email", problem),
    };
    if !answer_device(provider, approval, answer) {
        let problem =
            "No device waits with this code. It may have expired, or have a typing error.";
        return again("user_code", problem.into());
    }
    if approval.deny {
        page::done(
            base,
            "Refused",
            "The device was told. You can close this page.",
        )
    } else {
        page::done(
            base,
            "Done",
            "You can close this page and go back to the other device.",
        )
    }
}

fn answer_device(provider: &Provider, approval: &Approval, answer: Answer) -> bool {
    let user_code = approval.user_code.as_deref().unwrap_or_default();
    let now = provider.clock.unix();
    provider.logins().answer_device(user_code, answer, now)
}

fn is_form(parts: &Parts) -> bool {
    answers::content_type(&parts.headers).as_deref() == Some(FORM)
}

/// A form that one of our own pages sent. What is wrong with it is said on a page, since a person reads it.
async fn own_form(
    provider: &Provider,
    parts: &Parts,
    body: Body,
) -> Result<Parameters, (StatusCode, String)> {
    provider
        .guard
        .own_form(parts)
        .map_err(|refusal| (StatusCode::FORBIDDEN, refusal.to_string()))?;
    let unreadable = |_| {
        let problem = "The form did not arrive whole, or is longer than any honest one.";
        (StatusCode::BAD_REQUEST, problem.to_owned())
    };
    let body = answers::read_body(&parts.headers, body, MAX_BODY_BYTES)
        .await
        .map_err(unreadable)?;
    Parameters::parse_form(&parts.headers, &body)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.description))
}

fn malformed(problem: String) -> ServiceError {
    ServiceError::new(Reason::MalformedRequest, problem)
}

fn busy(error: OAuthError) -> ServiceError {
    ServiceError::new(Reason::Overloaded, error.description)
}
