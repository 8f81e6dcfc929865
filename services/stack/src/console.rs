//! The page at `/`: where everything is, for a person who opened the port in a browser.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use sealwright_host::{build_info, http as host_http};

use crate::endpoints::Endpoints;
use crate::place::Kind;

/// Nothing but our own markup and style runs on the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:3rem auto;padding:0 1rem;color:#1d2433}\
    h1{font-size:1.5rem}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #d8dee9}\
    code{font-size:.95em}.note{background:#fff4d6;border-left:4px solid #d9a400;padding:.6rem 1rem}";

/// The route of the console.
pub(crate) fn router(kind: Kind, endpoints: &Endpoints) -> Router {
    let page = page(kind, endpoints);
    Router::new().route("/", get(move || std::future::ready(answer(&page))))
}

fn answer(page: &str) -> Response {
    let mut response = host_http::no_cache(host_http::bytes(
        StatusCode::OK,
        "text/html; charset=utf-8",
        page.to_owned(),
    ));
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

fn page(kind: Kind, endpoints: &Endpoints) -> String {
    let rows: String = endpoints
        .named()
        .iter()
        .map(|(name, what, url)| row(name, what, url))
        .collect();
    let note = match kind {
        Kind::Dev => {
            "<p class=note>This is a <b>development</b> instance: it gives identity tokens to whoever asks on this machine. \
             Do not rely on what it signs.</p>"
        }
        Kind::Production => "",
    };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Sealwright</title><style>{STYLE}</style><h1>Sealwright</h1>{note}\
         <table><tr><th>Service<th>What it does<th>Address</tr>{rows}</table>\
         <p>State: <a href=/readyz>/readyz</a>. Release {}.</p></html>",
        build_info::VERSION
    )
}

fn row(name: &str, what: &str, url: &str) -> String {
    format!(
        "<tr><td>{}<td>{}<td><code>{}</code></tr>",
        escape(name),
        escape(what),
        escape(url)
    )
}

/// For text and quoted attributes.
fn escape(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut escaped, c| {
            match c {
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '&' => escaped.push_str("&amp;"),
                '"' => escaped.push_str("&quot;"),
                other => escaped.push(other),
            }
            escaped
        })
}
