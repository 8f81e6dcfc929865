//! What goes into a token: of a login (OpenID Connect Core section 2) and of the minting door.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How long a token of a login is valid, in seconds.
pub(crate) const TOKEN_LIFETIME_SECONDS: i64 = 10 * 60;

/// The furthest a minted token's expiry may lie from now, in seconds, either way: one year.
const MAX_TTL_SECONDS: i64 = 365 * 24 * 60 * 60;

const MAX_EMAIL_LEN: usize = 254; // RFC 5321: a path of 256 octets less the two angle brackets.
const MAX_TEXT_LEN: usize = 2048;

/// Who logged in, and what the client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) email: String,
    pub(crate) with_email: bool,
    pub(crate) nonce: Option<String>,
    pub(crate) auth_time: i64,
}

impl Grant {
    /// The claims both tokens of a login share. `sub` is the e-mail address itself: some clients sign `sub` and some `email`
    /// as their proof of possession, and the certificate authority expects the address.
    pub(crate) fn claims(
        &self,
        issuer: &str,
        client_id: &str,
        now: i64,
        token_id: &str,
    ) -> Map<String, Value> {
        let mut claims = object(json!({
            "iss": issuer,
            "sub": self.email,
            "aud": client_id,
            "iat": now,
            "exp": now + TOKEN_LIFETIME_SECONDS,
            "auth_time": self.auth_time,
            "jti": token_id,
        }));
        if self.with_email {
            claims.insert("email".into(), self.email.clone().into());
            claims.insert("email_verified".into(), true.into());
        }
        if let Some(nonce) = &self.nonce {
            claims.insert("nonce".into(), nonce.clone().into());
        }
        claims
    }
}

/// The body of the minting door. Every member may be left out, but one of `email`, `subject` and `claims.sub` has to be
/// there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MintRequest {
    audience: Option<Audience>,
    ttl: Option<i64>,
    email: Option<String>,
    subject: Option<String>,
    claims: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl MintRequest {
    /// The claims of the token: the defaults, with the caller's own laid over them. A claim given as null is left out.
    ///
    /// A `ttl` of zero or less gives a token that has expired already, issued one second before it did, so that it is refused
    /// for its expiry and for nothing else. The error is a sentence for the caller.
    pub(crate) fn claims(
        self,
        issuer: &str,
        client_id: &str,
        now: i64,
        token_id: &str,
    ) -> Result<Map<String, Value>, String> {
        self.check()?;
        let expires = now.saturating_add(self.ttl());
        let audience = match self.audience {
            None => json!(client_id),
            Some(Audience::One(audience)) => json!(audience),
            Some(Audience::Many(audience)) => json!(audience),
        };
        let mut claims = object(json!({
            "iss": issuer, "aud": audience, "iat": now.min(expires.saturating_sub(1)), "exp": expires, "jti": token_id,
        }));
        if let Some(subject) = self.subject.or_else(|| self.email.clone()) {
            claims.insert("sub".into(), subject.into());
        }
        if let Some(email) = self.email {
            claims.insert("email".into(), email.into());
            claims.insert("email_verified".into(), true.into());
        }
        for (name, value) in self.claims.unwrap_or_default() {
            match value {
                Value::Null => claims.remove(&name),
                value => claims.insert(name, value),
            };
        }
        Ok(claims)
    }

    fn ttl(&self) -> i64 {
        self.ttl.unwrap_or(TOKEN_LIFETIME_SECONDS)
    }

    fn check(&self) -> Result<(), String> {
        let ttl = self.ttl();
        if ttl
            .checked_abs()
            .is_none_or(|distance| distance > MAX_TTL_SECONDS)
        {
            return Err(format!(
                "ttl {ttl} is too far away; give seconds between -{MAX_TTL_SECONDS} and {MAX_TTL_SECONDS}"
            ));
        }
        if let Some(email) = self.email.as_deref().filter(|email| !is_email(email)) {
            return Err(format!(
                "email {email:?} is not an e-mail address; give one such as dev@example.com"
            ));
        }
        if self
            .subject
            .as_deref()
            .is_some_and(|subject| subject.is_empty() || subject.len() > MAX_TEXT_LEN)
        {
            return Err(format!("subject must have 1 to {MAX_TEXT_LEN} bytes"));
        }
        let overlay = self.claims.as_ref();
        let named = overlay.is_some_and(|overlay| overlay.contains_key("sub"));
        if self.subject.is_none() && self.email.is_none() && !named {
            return Err(
                "nobody to issue the token to; give email, subject, or claims with sub".into(),
            );
        }
        Ok(())
    }
}

/// Whether this can stand as an e-mail address in a certificate: one `@` with something on both sides, printable ASCII.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let printable = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"<>()[],;:\\\"".contains(&byte));
    text.len() <= MAX_EMAIL_LEN
        && printable
        && !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('@')
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "http://127.0.0.1:7700/oidc";

    fn mint(body: Value) -> Result<Map<String, Value>, String> {
        let request: MintRequest = serde_json::from_value(body).expect("the request parses");
        request.claims(ISSUER, "sigstore", 1000, "id")
    }

    #[test]
    fn an_email_becomes_subject_and_verified_address() {
        let claims = mint(json!({ "email": "a@example.com" })).expect("it is minted");
        let expected = json!({
            "iss": ISSUER, "aud": "sigstore", "iat": 1000, "exp": 1600, "jti": "id",
            "sub": "a@example.com", "email": "a@example.com", "email_verified": true,
        });
        assert_eq!(Value::Object(claims), expected);
    }

    #[test]
    fn a_subject_carries_no_email() {
        let claims = mint(json!({ "subject": "repo:x", "audience": ["a", "b"], "ttl": 5 }))
            .expect("it is minted");
        let expected = json!({ "iss": ISSUER, "aud": ["a", "b"], "iat": 1000, "exp": 1005, "jti": "id", "sub": "repo:x" });
        assert_eq!(Value::Object(claims), expected);
    }

    #[test]
    fn a_negative_ttl_has_expired_and_was_issued_before() {
        let claims = mint(json!({ "email": "a@example.com", "ttl": -60 })).expect("it is minted");
        assert_eq!(
            (claims["exp"].as_i64(), claims["iat"].as_i64()),
            (Some(940), Some(939))
        );
    }

    #[test]
    fn own_claims_win_and_null_removes() {
        let body = json!({ "email": "a@example.com", "claims": { "iss": "https://x.test", "email_verified": null, "n": 1 } });
        let claims = mint(body).expect("it is minted");
        assert_eq!(claims["iss"], json!("https://x.test"));
        assert_eq!(claims["n"], json!(1));
        assert!(!claims.contains_key("email_verified"));
    }

    #[test]
    fn bad_requests_are_refused_with_the_value() {
        assert!(mint(json!({})).unwrap_err().contains("nobody"));
        assert!(mint(json!({ "email": "x" })).unwrap_err().contains("\"x\""));
        assert!(
            mint(json!({ "subject": "" }))
                .unwrap_err()
                .contains("subject")
        );
        for ttl in [i64::MIN, i64::MAX, MAX_TTL_SECONDS + 1] {
            assert!(
                mint(json!({ "subject": "s", "ttl": ttl }))
                    .unwrap_err()
                    .contains(&ttl.to_string())
            );
        }
        assert!(mint(json!({ "claims": { "sub": "s" } })).is_ok());
        assert!(serde_json::from_value::<MintRequest>(json!({ "emial": "a@b" })).is_err());
    }

    #[test]
    fn addresses() {
        for good in ["a@b", "first.last+tag@example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n", "ä@b", "<a@b>",
        ] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }
}
