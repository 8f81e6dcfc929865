//! No web page can obtain a token from the development identity provider.

use sealwright_integration_tests::{Daemon, EMAIL, http, http_without_redirects};
use serde_json::{Value, json};

#[test]
fn no_web_page_can_mint_a_token() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let url = format!("{}/mint", daemon.endpoints().oidc);
    let host = daemon.address().to_owned();
    let own_origin = format!("http://{host}");
    let mint = |headers: &[(&str, &str)]| -> anyhow::Result<(u16, String)> {
        let mut request = http().post(&url).json(&json!({"email": EMAIL}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send()?;
        assert!(
            !response
                .headers()
                .contains_key("access-control-allow-origin")
        );
        Ok((response.status().as_u16(), response.text()?))
    };
    let intent = ("sealwright-request", "1");
    assert_eq!(mint(&[intent])?.0, 200, "a program may");
    for headers in [
        &[][..],
        &[intent, ("origin", "https://evil.example")],
        &[intent, ("origin", "null")],
        &[intent, ("origin", "http://127.0.0.1:1")],
        &[intent, ("sec-fetch-site", "cross-site")],
        &[intent, ("sec-fetch-site", "same-site")],
        &[intent, ("host", "evil.example")],
        &[intent, ("host", "127.0.0.1.evil.example:7700")],
        &[
            intent,
            ("origin", own_origin.as_str()),
            ("sec-fetch-site", "cross-site"),
        ],
    ] {
        let (status, body) = mint(headers)?;
        assert!(
            (400..500).contains(&status),
            "{headers:?} was answered with {status} {body}"
        );
        assert!(!body.contains("eyJ"), "{headers:?} obtained a token");
    }
    let preflight = http()
        .request(reqwest::Method::OPTIONS, &url)
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "sealwright-request")
        .send()?;
    assert!(
        !preflight
            .headers()
            .contains_key("access-control-allow-origin")
    );
    assert!(
        !preflight
            .headers()
            .contains_key("access-control-allow-headers")
    );
    Ok(())
}

#[test]
fn discovery_lists_what_published_clients_look_for() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let issuer = &daemon.endpoints().oidc;
    let found: Value = http()
        .get(format!("{issuer}/.well-known/openid-configuration"))
        .send()?
        .json()?;
    assert_eq!(found["issuer"], issuer.as_str());
    for (name, path) in [
        ("authorization_endpoint", "/auth"),
        ("token_endpoint", "/token"),
        ("jwks_uri", "/keys"),
        ("device_authorization_endpoint", "/device/code"),
    ] {
        assert_eq!(found[name], format!("{issuer}{path}"), "{name}");
    }
    assert!(
        found["code_challenge_methods_supported"]
            .as_array()
            .is_some_and(|all| all.contains(&json!("S256")))
    );
    let keys: Value = http().get(format!("{issuer}/keys")).send()?.json()?;
    let keys = keys["keys"].as_array().cloned().unwrap_or_default();
    assert!(!keys.is_empty());
    assert!(
        keys.iter().all(|key| key.get("d").is_none()),
        "no private part is published"
    );
    Ok(())
}

/// With `--login`, an authorization request comes back at once with a code that PKCE turns into tokens, once.
#[test]
fn an_approved_login_gives_tokens_once_and_only_with_the_verifier() -> anyhow::Result<()> {
    let daemon = Daemon::fresh_with(&["--login", "someone@example.com"])?;
    let issuer = daemon.endpoints().oidc.clone();
    let verifier = "a-code-verifier-that-is-long-enough-for-rfc-7636-section-4-1";
    let challenge =
        sealwright_crypto::base64::encode_url(&sealwright_crypto::sha256(verifier.as_bytes()));
    let client = http_without_redirects();
    let code = || -> anyhow::Result<String> {
        let response = client
            .get(format!("{issuer}/auth"))
            .query(&[
                ("response_type", "code"),
                ("client_id", "sigstore"),
                ("scope", "openid email"),
                ("redirect_uri", "http://localhost:12345/auth/callback"),
                ("code_challenge", challenge.as_str()),
                ("code_challenge_method", "S256"),
                ("state", "a-state"),
                ("nonce", "a-nonce"),
            ])
            .send()?;
        let location = response.headers()["location"].to_str()?.to_owned();
        assert!(
            location.starts_with("http://localhost:12345/auth/callback?"),
            "{location}"
        );
        assert!(location.contains("state=a-state"), "{location}");
        let rest = location.split("code=").nth(1).unwrap_or_default();
        Ok(rest.split('&').next().unwrap_or_default().to_owned())
    };
    let exchange = |code: &str, verifier: &str| {
        client
            .post(format!("{issuer}/token"))
            .basic_auth("sigstore", Some(""))
            .form(&[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", "http://localhost:12345/auth/callback"),
                ("code_verifier", verifier),
            ])
            .send()
    };
    assert_eq!(
        exchange(
            &code()?,
            "another-verifier-that-is-long-enough-but-not-the-right-one"
        )?
        .status(),
        400
    );
    let good = code()?;
    let answer = exchange(&good, verifier)?;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json()?;
    for name in ["id_token", "access_token"] {
        let token = answer[name].as_str().unwrap_or_default();
        let payload = token.split('.').nth(1).unwrap_or_default();
        let claims: Value =
            serde_json::from_slice(&sealwright_crypto::base64::decode_url(payload)?)?;
        assert_eq!(claims["email"], "someone@example.com", "{name}");
        assert_eq!(claims["sub"], "someone@example.com", "{name}");
        assert_eq!(claims["aud"], "sigstore", "{name}");
        assert_eq!(claims["iss"], issuer.as_str(), "{name}");
    }
    assert_eq!(
        exchange(&good, verifier)?.status(),
        400,
        "a code is used once"
    );
    Ok(())
}

/// CORS is off everywhere: what is public is public to programs, and no page of another site is told that it may read.
#[test]
fn no_door_is_open_to_pages_of_other_origins() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (_dir, file) = sealwright_integration_tests::artifact(b"something to read")?;
    daemon.sign(&file)?;
    let endpoints = daemon.endpoints();
    for url in [
        format!("{}/api/v2/checkpoint", endpoints.log),
        format!("{}/api/v2/tile/0/000.p/1", endpoints.log),
        format!("{}/api/v2/tile/entries/000.p/1", endpoints.log),
        format!("{}/checkpoint", endpoints.ct),
        format!("{}/tile/data/000.p/1", endpoints.ct),
        format!("{}/ct/v1/get-sth", endpoints.ct),
        format!("{}/timestamp.json", endpoints.tuf),
        format!("{}/1.root.json", endpoints.tuf),
        format!("{}/api/v2/trustBundle", endpoints.ca),
        format!("{}/certchain", endpoints.tsa),
        format!("{}/.well-known/openid-configuration", endpoints.oidc),
        format!("{}/", endpoints.console.trim_end_matches('/')),
    ] {
        let response = http()
            .get(&url)
            .header("origin", "https://evil.example")
            .send()?;
        assert_eq!(response.status(), 200, "{url}");
        let opened = response
            .headers()
            .keys()
            .find(|name| name.as_str().starts_with("access-control-"));
        assert!(opened.is_none(), "{url} sends {opened:?}");
    }
    Ok(())
}
