//! The pages a person sees: a login form, a device form, a code to carry over, a refusal.
//!
//! Plain HTML without a script: a language, one main landmark, one heading, a label for each field, and what is wrong with a
//! field said beside it and tied to it. They read well without a style sheet. The content security policy allows the
//! provider's own style sheet and its forms and nothing else, and forbids framing, so that no other page can trick a click
//! out of the person.

use axum::response::{Html, IntoResponse, Response};
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};

use crate::flow::Redirect;
use crate::oauth::no_store;

/// The style sheet.
pub(crate) const STYLE: &str = include_str!("pages/page.css");

/// `same-origin`, since without any referrer browsers would also call the origin of our own forms `null`.
const HEADERS: [(HeaderName, &str); 3] = [
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
];

/// An authorization that waits for its person.
pub(crate) struct Waiting<'a> {
    /// What it is found by.
    pub(crate) id: &'a str,
    /// Where the answer will lead.
    pub(crate) redirect: &'a Redirect,
}

/// What is wrong with a field.
pub(crate) struct Problem {
    /// The name of the field.
    pub(crate) field: &'static str,
    /// What is wrong, and what would be accepted.
    pub(crate) text: String,
}

/// Asks who logs in.
pub(crate) fn login(
    base: &str,
    waiting: &Waiting<'_>,
    email: &str,
    problem: Option<&Problem>,
) -> Response {
    let fields = format!(
        r#"<input type="hidden" name="request" value="{}">
{}"#,
        escape(waiting.id),
        email_field(email, problem)
    );
    let form = Form {
        title: "Log in",
        lead: "A program on this machine asks who you are.",
        action: "auth/approve",
        fields,
        targets: targets(waiting.redirect),
    };
    form.page(base, problem)
}

/// Asks for the code another device shows, and who logs in.
pub(crate) fn device(
    base: &str,
    user_code: &str,
    email: &str,
    problem: Option<&Problem>,
) -> Response {
    let code = Field {
        name: "user_code",
        label: "Code on the other device",
        attributes: r#"type="text" autocomplete="off" autocapitalize="characters" spellcheck="false""#,
    };
    let fields = format!(
        "{}\n{}",
        code.html(user_code, problem),
        email_field(email, problem)
    );
    let form = Form {
        title: "Connect a device",
        lead: "Compare the code with the one the other device shows before you go on.",
        action: "device/approve",
        fields,
        targets: "'self'".into(),
    };
    form.page(base, problem)
}

/// Says how it ended.
pub(crate) fn done(base: &str, title: &str, text: &str) -> Response {
    let body = format!("<p>{}</p>", escape(text));
    document(StatusCode::OK, base, title, &body, "'none'")
}

/// Shows a code for the person to carry over.
pub(crate) fn code(base: &str, code: &str) -> Response {
    let body = format!(
        "<p>Copy this code into the program that asked for it:</p>\n<p><code>{}</code></p>",
        escape(code)
    );
    document(StatusCode::OK, base, "Your code", &body, "'none'")
}

/// Says why nothing happens.
pub(crate) fn refusal(base: &str, status: StatusCode, problem: &str) -> Response {
    document(
        status,
        base,
        "This login cannot go on",
        &format!("<p>{}</p>", escape(problem)),
        "'none'",
    )
}

fn email_field(value: &str, problem: Option<&Problem>) -> String {
    let field = Field {
        name: "email",
        label: "E-mail address to log in as",
        attributes: r#"type="email" autocomplete="email""#,
    };
    field.html(value, problem)
}

struct Field {
    name: &'static str,
    label: &'static str,
    attributes: &'static str,
}

impl Field {
    /// The label, the field, and what is wrong with it.
    fn html(&self, value: &str, problem: Option<&Problem>) -> String {
        let Self {
            name,
            label,
            attributes,
        } = self;
        let value = escape(value);
        let problem = problem.filter(|problem| problem.field == *name);
        let (said, tied) = match problem {
            Some(problem) => (
                format!(
                    r#"
<p class="problem" id="{name}-problem">{}</p>"#,
                    escape(&problem.text)
                ),
                format!(r#" aria-invalid="true" aria-describedby="{name}-problem" autofocus"#),
            ),
            None => (String::new(), String::new()),
        };
        format!(
            r#"<label for="{name}">{label}</label>{said}
<input id="{name}" name="{name}" value="{value}" required {attributes}{tied}>"#
        )
    }
}

struct Form {
    title: &'static str,
    lead: &'static str,
    /// Below the issuer's path.
    action: &'static str,
    fields: String,
    /// Where sending it may lead, redirects included.
    targets: String,
}

impl Form {
    fn page(&self, base: &str, problem: Option<&Problem>) -> Response {
        let Self {
            title,
            lead,
            action,
            fields,
            targets,
        } = self;
        let body = format!(
            r#"<p>{lead}</p>
<p>This provider is for development. It believes the address you give.</p>
<form action="{base}/{action}" method="post">
{fields}
<button type="submit" name="answer" value="approve">Approve</button>
<button type="submit" name="answer" value="refuse" formnovalidate>Refuse</button>
</form>"#
        );
        match problem {
            None => document(StatusCode::OK, base, title, &body, targets),
            // The title is what a screen reader says first.
            Some(_) => {
                let title = format!("Not yet: {title}");
                document(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    base,
                    &title,
                    &body,
                    targets,
                )
            }
        }
    }
}

/// Browsers hold the policy against the redirect that answers a form, too. It has no way of writing an IPv6 address.
fn targets(redirect: &Redirect) -> String {
    match redirect {
        Redirect::OutOfBand => "'self'".into(),
        Redirect::Loopback(url) if matches!(url.host(), Some(url::Host::Ipv6(_))) => {
            format!("'self' {}:", url.scheme())
        }
        Redirect::Loopback(url) => format!("'self' {}", url.origin().ascii_serialization()),
    }
}

fn document(status: StatusCode, base: &str, title: &str, body: &str, targets: &str) -> Response {
    let html = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - Sealwright development login</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{base}/page.css">
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"#
    );
    let mut response = no_store((status, Html(html)).into_response());
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action {targets}; frame-ancestors 'none'"
    );
    // Made of an origin that was parsed; if it could not be a header, the strictest policy stands in.
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'",
    ));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        assert_eq!(
            escape(r#"<a href="x" id='y'>&"#),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;"
        );
    }

    #[test]
    fn no_page_can_frame_ours() {
        let waiting = Waiting {
            id: "id",
            redirect: &Redirect::OutOfBand,
        };
        let response = login("/oidc", &waiting, "", None);
        let policy = response
            .headers()
            .get(CONTENT_SECURITY_POLICY)
            .and_then(|value| value.to_str().ok());
        assert!(policy.is_some_and(|policy| policy.contains("frame-ancestors 'none'")));
        assert_eq!(
            response
                .headers()
                .get(X_FRAME_OPTIONS)
                .and_then(|value| value.to_str().ok()),
            Some("DENY")
        );
    }
    #[test]
    fn a_form_may_lead_where_the_answer_goes_and_nowhere_else() {
        for (redirect, wanted) in [
            ("http://localhost:5/cb", "'self' http://localhost:5"),
            ("http://127.0.0.1:5/cb", "'self' http://127.0.0.1:5"),
            ("http://[::1]:5/cb", "'self' http:"),
        ] {
            let url = url::Url::parse(redirect).expect("a URL");
            assert_eq!(targets(&Redirect::Loopback(Box::new(url))), wanted);
        }
    }

    #[test]
    fn a_problem_stands_beside_its_field() {
        let problem = Problem {
            field: "email",
            text: "<wrong>".into(),
        };
        let field = email_field("a", Some(&problem));
        for needed in [
            r#"id="email-problem">&lt;wrong&gt;<"#,
            r#"aria-describedby="email-problem""#,
            r#"aria-invalid="true""#,
        ] {
            assert!(field.contains(needed), "{field}");
        }
        let other = Problem {
            field: "user_code",
            text: "wrong".into(),
        };
        assert!(!email_field("a", Some(&other)).contains("wrong"));
    }
}
