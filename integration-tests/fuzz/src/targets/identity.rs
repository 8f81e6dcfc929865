//! Identity tokens and the keys of their issuers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use futures::executor::block_on;
use sealwright_crypto::PrivateKey;
use sealwright_identity::discovery::Provider;
use sealwright_identity::issuer::{CiProviderConfig, IssuerConfig, IssuerType, IssuersConfig};
use sealwright_identity::jwks::KeySet;
use sealwright_identity::token::SignedToken;
use sealwright_identity::{Extension, Issuers, TokenError};
use sealwright_testkit::bundle_factory::{ISSUER, NOW};

use super::{Target, outcome, text};
use crate::mutate::Format;
use crate::{corpus, seeds};

const CLAIM_NAMES: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "azp",
    "email",
    "email_verified",
    "federated_claims",
    "crit",
    "kid",
    "alg",
    "typ",
    "none",
    "HS256",
    "at+jwt",
    "repository",
    "run_id",
    "true",
    "jane@example.com",
];

pub(super) const TOKEN: Target = Target {
    name: "token",
    format: Format::Jws,
    dictionary: CLAIM_NAMES,
    cases: 5000,
    peak_factor: 96,
    check: token,
};
pub(super) const CLAIMS: Target = Target {
    name: "claims",
    format: Format::Json,
    dictionary: CLAIM_NAMES,
    cases: 2500,
    peak_factor: 160,
    check: claims,
};
pub(super) const JWKS: Target = Target {
    name: "jwks",
    format: Format::Json,
    dictionary: &[
        "keys",
        "kty",
        "RSA",
        "EC",
        "OKP",
        "oct",
        "crv",
        "P-256",
        "P-384",
        "P-521",
        "Ed25519",
        "X25519",
        "secp256k1",
        "use",
        "enc",
        "key_ops",
        "alg",
        "RS256",
        "x5c",
        "AQAB",
        "AAAA",
    ],
    cases: 3000,
    peak_factor: 160,
    check: jwks,
};

/// The issuers whose tokens the corpus holds, one of each type.
static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    let issuer = |r#type, subject_domain: Option<&str>, ci_provider: Option<&str>| IssuerConfig {
        r#type,
        subject_domain: subject_domain.map(str::to_owned),
        ci_provider: ci_provider.map(str::to_owned),
        jwks_file: Some(corpus::seeds_of("jwks").join("all.json")),
        ..IssuerConfig::default()
    };
    let templates = CiProviderConfig {
        default_template_values: BTreeMap::from([(
            "url".to_owned(),
            "https://ci.example.com".to_owned(),
        )]),
        extension_templates: BTreeMap::from([
            (
                Extension::SourceRepositoryUri,
                "{{ .url }}/{{ .repository }}".to_owned(),
            ),
            (
                Extension::SourceRepositoryIdentifier,
                "repository_id".to_owned(),
            ),
            (
                Extension::RunInvocationUri,
                "{{ .url }}/{{ .repository }}/runs/{{ .run_id }}/{{ .run_attempt }}".to_owned(),
            ),
        ]),
        subject_alternative_name_template: "{{ .url }}/{{ .repository }}@{{ .ref }}".to_owned(),
    };
    let config = IssuersConfig {
        oidc_issuers: BTreeMap::from([
            (ISSUER.to_owned(), issuer(IssuerType::Email, None, None)),
            (
                "https://spiffe.example.com".to_owned(),
                issuer(IssuerType::Uri, Some("https://workloads.example.com"), None),
            ),
            (
                "https://ci.example.com".to_owned(),
                issuer(IssuerType::CiProvider, None, Some("ci")),
            ),
        ]),
        ci_issuer_metadata: BTreeMap::from([("ci".to_owned(), templates)]),
    };
    Issuers::new(&config).expect("the corpus is coherent")
});

/// What the issuers of the corpus have signed: tokens up to their second dot.
static SIGNED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let tokens = corpus::read(&corpus::seeds_of("token")).expect("the corpus is readable");
    tokens
        .into_iter()
        .map(|token| signing_input(&token.bytes).to_vec())
        .collect()
});

fn signing_input(token: &[u8]) -> &[u8] {
    let end = token.iter().rposition(|byte| *byte == b'.').unwrap_or(0);
    token.get(..end).unwrap_or_default()
}

fn principal(token: &str) -> Result<String, TokenError> {
    let verified = block_on(ISSUERS.verify(token, NOW + 1))?;
    let principal = verified.principal()?;
    let mut texts = vec![principal.san.text(), &principal.issuer, &principal.subject];
    texts.extend(principal.extensions.iter().map(|(_, value)| value.as_str()));
    for text in texts {
        assert!(
            !text.is_empty() && !text.chars().any(char::is_control),
            "{text:?} would stand in a certificate"
        );
    }
    assert!(principal.san.text().is_ascii(), "{principal:?}");
    assert!(
        principal
            .challenges
            .iter()
            .all(|challenge| !challenge.is_empty()),
        "an empty challenge proves nothing"
    );
    Ok(format!("{} extensions", principal.extensions.len()))
}

fn token(input: &[u8]) -> String {
    let token = text(input);
    if let Ok(parsed) = &SignedToken::parse(&token) {
        let claims = parsed.claims();
        let _ = (
            claims.audiences(),
            claims.email_verified(),
            claims.seconds("exp"),
        );
    }
    let verified = principal(&token);
    if verified.is_ok() {
        assert!(
            SIGNED.iter().any(|signed| signed == signing_input(input)),
            "a token that nobody signed"
        );
    }
    outcome(verified, |said| said)
}

/// Claims that an issuer did sign, and that are hostile all the same: a person chooses much of what stands in them.
fn claims(input: &[u8]) -> String {
    static KEY: LazyLock<PrivateKey> = LazyLock::new(|| seeds::key("ed25519"));
    let token = seeds::token(r#"{"alg":"EdDSA","kid":"ed25519"}"#, input, &KEY);
    outcome(principal(&token), |said| said)
}

fn jwks(input: &[u8]) -> String {
    static TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let tokens = corpus::read(&corpus::seeds_of("token")).expect("the corpus is readable");
        tokens
            .iter()
            .map(|token| text(&token.bytes).into_owned())
            .collect()
    });
    outcome(KeySet::from_json(input), |set| {
        assert!((1..=64).contains(&set.len()), "{} keys", set.len());
        let verified = TOKENS.iter().filter(|token| {
            let token = SignedToken::parse(token).expect("a token of the corpus");
            set.verify(&token, ISSUER).is_ok()
        });
        format!("{} keys, {} tokens", set.len().min(8), verified.count())
    })
}

pub(super) const DISCOVERY: Target = Target {
    name: "discovery",
    format: Format::Json,
    dictionary: &[
        "issuer",
        "jwks_uri",
        "http://",
        "https://accounts.example.com",
        "https://[::1]:1/",
        "https://user@accounts.example.com",
        "\t",
        "%2f",
    ],
    cases: 4000,
    peak_factor: 96,
    check: discovery,
};

/// A provider's answer decides where keys are fetched; it must not send us to anybody else.
fn discovery(input: &[u8]) -> String {
    static PROVIDER: LazyLock<Provider> = LazyLock::new(|| {
        Provider::new(ISSUER, &["keys.example.com".to_owned()], None, true).expect("a provider")
    });
    outcome(PROVIDER.keys_url(input), |url| {
        let host = url.host_str().unwrap_or_default();
        assert!(
            matches!(host, "accounts.example.com" | "keys.example.com"),
            "keys are fetched from {url}"
        );
        assert!(
            matches!(url.scheme(), "https" | "http"),
            "keys are fetched from {url}"
        );
        format!("{} {}", url.scheme(), url.port().is_some())
    })
}
