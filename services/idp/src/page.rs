//! The pages a person sees: a login form, a device form, a code to carry over, a refusal.
//!
//! Plain HTML with labels, a language, one main landmark and a live status line; they read well without a style sheet. The
//! content security policy allows the provider's own script and style and nothing else, and forbids framing, so that no
//! other page can trick a click out of the person.

use axum::response::{Html, IntoResponse, Response};
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};

use crate::oauth::no_store;

/// The script of the forms.
pub(crate) const SCRIPT: &str = include_str!("pages/page.js");
/// The style sheet.
pub(crate) const STYLE: &str = include_str!("pages/page.css");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

/// Asks who logs in. `request` is the id of the waiting authorization.
pub(crate) fn login(base: &str, request: &str, login_hint: Option<&str>) -> Response {
    let hint = login_hint.unwrap_or("");
    let fields = format!(
        r#"<input type="hidden" name="request" value="{}">{}"#,
        escape(request),
        email_field(hint)
    );
    form(
        base,
        "Log in",
        "A program on this machine asks who you are.",
        &format!("{base}/auth/approve"),
        &fields,
    )
}

/// Asks for the code another device shows, and who logs in.
pub(crate) fn device(base: &str, user_code: &str) -> Response {
    let fields = format!(
        r#"<label for="user_code">Code on the other device</label>
<input id="user_code" name="user_code" value="{}" required autocomplete="off" autocapitalize="characters" spellcheck="false">{}"#,
        escape(user_code),
        email_field("")
    );
    let lead = "Compare the code with the one the other device shows before you go on.";
    form(
        base,
        "Connect a device",
        lead,
        &format!("{base}/device/approve"),
        &fields,
    )
}

/// Shows a code for the person to carry over.
pub(crate) fn code(base: &str, code: &str) -> Response {
    let body = format!(
        "<p>Copy this code into the program that asked for it:</p>\n<p><code>{}</code></p>",
        escape(code)
    );
    document(StatusCode::OK, base, "Your code", &body)
}

/// Says why nothing happens.
pub(crate) fn refusal(base: &str, status: StatusCode, problem: &str) -> Response {
    document(
        status,
        base,
        "This login cannot go on",
        &format!("<p>{}</p>", escape(problem)),
    )
}

fn email_field(value: &str) -> String {
    format!(
        r#"
<label for="email">E-mail address to log in as</label>
<input id="email" name="email" type="email" value="{}" required autocomplete="email" autofocus>"#,
        escape(value)
    )
}

fn form(base: &str, title: &str, lead: &str, action: &str, fields: &str) -> Response {
    let body = format!(
        r#"<p>{lead}</p>
<p>This provider is for development. It believes the address you give.</p>
<form action="{action}" method="post">
{fields}
<button type="submit">Approve</button>
<button type="button" id="deny">Refuse</button>
</form>
<p role="status" tabindex="-1"></p>
<noscript><p>This form needs its script, which sends a header that other sites cannot forge. Without a browser, use
<code>sealwright token</code>.</p></noscript>
<script src="{base}/page.js"></script>"#
    );
    document(StatusCode::OK, base, title, &body)
}

fn document(status: StatusCode, base: &str, title: &str, body: &str) -> Response {
    let html = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - Sealwright development login</title>
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
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
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
        let response = login("/oidc", "id", None);
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
}
