//! A token: read, and judged on what it says.
//!
//! The life of a token: [`SignedToken::parse`] takes it apart under caps, [`ClaimRules::check`] decides on its
//! claims, and [`SignedToken::verify`] checks the signature with one of the issuer's keys. Claims come before the
//! signature: they cost nothing, and an old token replayed a thousand times must not make us ask the provider for
//! keys. What a forged token can learn this way is what its sender wrote.
//!
//! Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practices), OpenID Connect Core section 3.1.3.7.

use std::collections::BTreeMap;
use std::fmt;

use sealwright_crypto::key::ecdsa_der_from_fixed;
use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PublicKey, base64};

use crate::error::{Malformed, TokenError, echo};
use crate::json::{self, Json, JsonError};

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How far ahead of us an issuer's clock may be, in seconds, before `iat` is refused.
pub const ISSUED_AT_LEEWAY_SECONDS: i64 = 60;

/// The signature algorithms that are accepted (RFC 7518 section 3.1, RFC 8037). Neither `none` nor a symmetric
/// algorithm can be expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JwsAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA P-256 with SHA-256.
    Es256,
    /// ECDSA P-384 with SHA-384.
    Es384,
    /// ECDSA P-521 with SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl JwsAlgorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// The name in a JWS header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a JWS header; names are case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// What the registry calls this algorithm with a key of this type; `None` when the two do not fit.
    pub(crate) fn with_key(self, key: KeyType) -> Option<Algorithm> {
        let pkcs1 = |bits, hash| Some(Algorithm::RsaPkcs1 { bits, hash });
        let pss = |bits, hash| Some(Algorithm::RsaPss { bits, hash });
        match (self, key) {
            (Self::Rs256, KeyType::Rsa { bits }) => pkcs1(bits, HashAlgorithm::Sha256),
            (Self::Rs384, KeyType::Rsa { bits }) => pkcs1(bits, HashAlgorithm::Sha384),
            (Self::Rs512, KeyType::Rsa { bits }) => pkcs1(bits, HashAlgorithm::Sha512),
            (Self::Ps256, KeyType::Rsa { bits }) => pss(bits, HashAlgorithm::Sha256),
            (Self::Ps384, KeyType::Rsa { bits }) => pss(bits, HashAlgorithm::Sha384),
            (Self::Ps512, KeyType::Rsa { bits }) => pss(bits, HashAlgorithm::Sha512),
            (Self::Es256, KeyType::EcP256) => Some(Algorithm::EcdsaP256Sha256),
            (Self::Es384, KeyType::EcP384) => Some(Algorithm::EcdsaP384Sha384),
            (Self::Es512, KeyType::EcP521) => Some(Algorithm::EcdsaP521Sha512),
            (Self::EdDsa, KeyType::Ed25519) => Some(Algorithm::Ed25519),
            _ => None,
        }
    }
}

/// The claims of a token, exact: integers of any size keep their digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims(BTreeMap<String, Json>);

impl fmt::Debug for Claims {
    /// Names only: values are personal data and do not belong in a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Claims {
    /// A top-level claim. `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name).filter(|value| **value != Json::Null)
    }

    /// A top-level claim that is a non-empty string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(Json::as_str)
            .filter(|text| !text.is_empty())
    }

    /// `iss`.
    pub fn issuer(&self) -> Option<&str> {
        self.text("iss")
    }

    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.text("sub")
    }

    /// `email`.
    pub fn email(&self) -> Option<&str> {
        self.text("email")
    }

    /// Whether the issuer vouches for `email`: `email_verified` is true, or the string "true" or "True" that some
    /// providers send.
    pub fn email_verified(&self) -> bool {
        match self.get("email_verified") {
            Some(Json::Bool(verified)) => *verified,
            Some(Json::String(text)) => text == "true" || text == "True",
            _ => false,
        }
    }

    /// `aud` as a list; empty when absent or of another type.
    pub fn audiences(&self) -> Vec<&str> {
        match self.get("aud") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => many
                .iter()
                .map(Json::as_str)
                .collect::<Option<_>>()
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// A NumericDate (RFC 7519 section 2) in Unix seconds, a fraction cut off; `None` when absent.
    ///
    /// # Errors
    /// [`TokenError::InvalidClaim`] when it is not a number, or beyond what a clock can show.
    pub fn seconds(&self, name: &str) -> Result<Option<i64>, TokenError> {
        let invalid = || TokenError::InvalidClaim {
            claim: name.to_owned(),
            why: "a number of seconds since 1970 without an exponent is wanted".to_owned(),
        };
        match self.get(name) {
            None => Ok(None),
            Some(Json::Number(text)) => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                if !fraction.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(invalid());
                }
                let seconds: i64 = whole.parse().map_err(|_| invalid())?;
                if (0..=MAX_UNIX_SECONDS).contains(&seconds) {
                    Ok(Some(seconds))
                } else {
                    Err(invalid())
                }
            }
            Some(_) => Err(invalid()),
        }
    }

    fn required_seconds(&self, name: &'static str) -> Result<i64, TokenError> {
        self.seconds(name)?.ok_or_else(|| TokenError::MissingClaim {
            claim: name.to_owned(),
        })
    }
}

/// The end of the year 9999, the last an X.509 time can express. Below it sums of times cannot overflow.
const MAX_UNIX_SECONDS: i64 = 253_402_300_799;

/// A token taken apart and not yet believed.
pub struct SignedToken<'a> {
    signing_input: &'a [u8],
    alg: JwsAlgorithm,
    kid: Option<String>,
    claims: Claims,
    signature: Vec<u8>,
}

impl fmt::Debug for SignedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            alg, kid, claims, ..
        } = self;
        f.debug_struct("SignedToken")
            .field("alg", alg)
            .field("kid", kid)
            .field("claims", claims)
            .finish_non_exhaustive()
    }
}

impl<'a> SignedToken<'a> {
    /// Takes a compact JWS apart. Nothing in it is believed yet.
    ///
    /// # Errors
    /// [`TokenError::Missing`], [`TokenError::TooLarge`], [`TokenError::Malformed`],
    /// [`TokenError::UnsupportedAlgorithm`], [`TokenError::UnsupportedType`], [`TokenError::CriticalHeader`].
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        let parts = Parts::split(token)?;
        let header = parts.header()?;
        check_type(&header)?;
        if header.contains_key("crit") {
            return Err(TokenError::CriticalHeader);
        }
        let alg = header_text(&header, "alg")?.unwrap_or("");
        let alg = JwsAlgorithm::from_name(alg)
            .ok_or_else(|| TokenError::UnsupportedAlgorithm { alg: echo(alg) })?;
        let kid = header_text(&header, "kid")?.map(str::to_owned);
        let claims = parts.claims()?;
        let signature = decode("signature", parts.signature)?;
        Ok(Self {
            signing_input: parts.signing_input,
            alg,
            kid,
            claims,
            signature,
        })
    }

    /// The claims, not yet believed.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The header's `alg`.
    pub fn alg(&self) -> JwsAlgorithm {
        self.alg
    }

    /// The header's `kid`.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Checks the signature with one key. The key decides what it may verify: an algorithm that does not fit its
    /// type fails, whatever the header says.
    ///
    /// # Errors
    /// [`TokenError::BadSignature`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), TokenError> {
        let algorithm = self
            .alg
            .with_key(key.key_type())
            .ok_or(TokenError::BadSignature)?;
        let signature = match key.key_type().coordinate_len() {
            Some(len) if self.signature.len() != 2 * len => return Err(TokenError::BadSignature),
            Some(_) => &ecdsa_der_from_fixed(&self.signature).ok_or(TokenError::BadSignature)?,
            None => &self.signature,
        };
        key.verify(algorithm, self.signing_input, signature)
            .map_err(|_| TokenError::BadSignature)
    }

    /// The claims, for the caller that has checked them and the signature.
    pub fn into_claims(self) -> Claims {
        self.claims
    }
}

/// The three parts of a compact JWS, still encoded.
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    signing_input: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Splits at exactly two dots. Splitting stops at the third, so a token of dots costs nothing.
    fn split(token: &'a str) -> Result<Self, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge {
                len: token.len(),
                limit: MAX_TOKEN_BYTES,
            });
        }
        let not_three_parts = || TokenError::Malformed(Malformed::Parts);
        let (header, rest) = token.split_once('.').ok_or_else(not_three_parts)?;
        let (payload, signature) = rest.split_once('.').ok_or_else(not_three_parts)?;
        if signature.contains('.') {
            return Err(not_three_parts());
        }
        let signing_input = token
            .rsplit_once('.')
            .map_or("", |(input, _)| input)
            .as_bytes();
        Ok(Self {
            header,
            payload,
            signature,
            signing_input,
        })
    }

    fn header(&self) -> Result<BTreeMap<String, Json>, TokenError> {
        object("header", self.header)
    }

    fn claims(&self) -> Result<Claims, TokenError> {
        object("claims", self.payload).map(Claims)
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    base64::decode_url(text).map_err(|_| TokenError::Malformed(Malformed::Base64 { part }))
}

fn object(part: &'static str, text: &str) -> Result<BTreeMap<String, Json>, TokenError> {
    let bytes = decode(part, text)?;
    json::parse_object(&bytes).map_err(|error| {
        TokenError::Malformed(match error {
            JsonError::Syntax | JsonError::NotAnObject => Malformed::Json { part },
            JsonError::DuplicateKey(key) => Malformed::DuplicateKey {
                part,
                key: echo(&key),
            },
            JsonError::TooDeep => Malformed::TooDeep { part },
        })
    })
}

fn header_text<'h>(
    header: &'h BTreeMap<String, Json>,
    name: &'static str,
) -> Result<Option<&'h str>, TokenError> {
    match header.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Malformed(Malformed::HeaderParameter { name })),
    }
}

/// An access token (`at+jwt`, RFC 9068) or a logout token must not pass for an ID token (RFC 8725 section 3.11).
fn check_type(header: &BTreeMap<String, Json>) -> Result<(), TokenError> {
    match header_text(header, "typ")? {
        None => Ok(()),
        Some(typ) if typ.eq_ignore_ascii_case("JWT") => Ok(()),
        Some(typ) => Err(TokenError::UnsupportedType { typ: echo(typ) }),
    }
}

/// What an issuer's tokens must say.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRules<'a> {
    /// The only `iss` accepted, to the letter.
    pub issuer: &'a str,
    /// At least one of these must be in `aud`.
    pub audiences: &'a [String],
    /// The longest `exp - iat`, in seconds.
    pub max_lifetime: i64,
    /// How far ahead `nbf` may be, in seconds.
    pub not_before_leeway: i64,
}

impl ClaimRules<'_> {
    /// Decides on the claims at `now` (Unix seconds).
    ///
    /// # Errors
    /// The first rule that is broken, in the order: issuer, audience, authorized party, times, subject.
    pub fn check(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        self.check_times(claims, now)?;
        claims
            .subject()
            .map(drop)
            .ok_or_else(|| TokenError::MissingClaim {
                claim: "sub".to_owned(),
            })
    }

    fn check_issuer(&self, claims: &Claims) -> Result<(), TokenError> {
        match claims.issuer() {
            Some(issuer) if issuer == self.issuer => Ok(()),
            Some(issuer) => Err(TokenError::UnknownIssuer {
                issuer: echo(issuer),
            }),
            None => Err(TokenError::MissingClaim {
                claim: "iss".to_owned(),
            }),
        }
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), TokenError> {
        let accepted = |audience: &str| self.audiences.iter().any(|wanted| wanted == audience);
        let found = claims.audiences();
        if !found.iter().copied().any(accepted) {
            return Err(TokenError::WrongAudience {
                found: found.into_iter().take(8).map(echo).collect(),
                accepted: self.audiences.to_vec(),
            });
        }
        // Several audiences may replay the token to each other; `azp`, when there, says for whom it was made. With a
        // single audience providers put the requesting client there, which is nobody's business but theirs.
        match claims.get("azp") {
            Some(azp) if found.len() > 1 => match azp.as_str() {
                Some(azp) if accepted(azp) => Ok(()),
                azp => Err(TokenError::WrongAuthorizedParty {
                    azp: echo(azp.unwrap_or("(not a string)")),
                    accepted: self.audiences.to_vec(),
                }),
            },
            _ => Ok(()),
        }
    }

    fn check_times(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        let expires_at = claims.required_seconds("exp")?;
        let issued_at = claims.required_seconds("iat")?;
        if now >= expires_at {
            return Err(TokenError::Expired {
                expired_at: expires_at,
                ago: now - expires_at,
            });
        }
        if issued_at > now + ISSUED_AT_LEEWAY_SECONDS {
            return Err(TokenError::IssuedInTheFuture {
                issued_at,
                ahead: issued_at - now,
            });
        }
        if let Some(not_before) = claims.seconds("nbf")?
            && not_before > now + self.not_before_leeway
        {
            return Err(TokenError::NotYetValid {
                not_before,
                ahead: not_before - now,
            });
        }
        let seconds = expires_at - issued_at;
        if seconds > self.max_lifetime {
            return Err(TokenError::LifetimeTooLong {
                seconds,
                limit: self.max_lifetime,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Minter, NOW, unsigned};

    const RULES_AUDIENCE: &str = "sigstore";

    fn check(claims: &str) -> Result<(), TokenError> {
        let audiences = [RULES_AUDIENCE.to_owned()];
        let rules = ClaimRules {
            issuer: "https://idp",
            audiences: &audiences,
            max_lifetime: 86_400,
            not_before_leeway: 60,
        };
        let token = unsigned(r#"{"alg":"ES256"}"#, claims);
        rules.check(SignedToken::parse(&token)?.claims(), NOW)
    }

    /// Claims that pass, one member replaced or removed (value empty).
    fn with(name: &str, value: &str) -> String {
        let mut members = vec![
            ("iss", "\"https://idp\"".to_owned()),
            ("aud", "\"sigstore\"".to_owned()),
            ("sub", "\"s\"".to_owned()),
            ("iat", NOW.to_string()),
            ("exp", (NOW + 600).to_string()),
        ];
        members.retain(|(member, _)| *member != name);
        if !value.is_empty() {
            members.push((name, value.to_owned()));
        }
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(","))
    }

    #[test]
    fn good_claims_pass_in_all_their_forms() {
        for (name, value) in [
            ("x", "1".to_owned()),
            ("aud", r#"["other","sigstore"]"#.to_owned()),
            ("azp", "\"someone\"".to_owned()),
            ("nbf", (NOW + 60).to_string()),
            ("iat", (NOW + 60).to_string()),
            ("exp", format!("{}.75", NOW + 1)),
            ("exp", (NOW + 86_400).to_string()),
            ("nbf", "null".to_owned()),
        ] {
            assert_eq!(check(&with(name, &value)), Ok(()), "{name}={value}");
        }
    }

    #[test]
    fn each_rule_has_its_own_answer() {
        use TokenError as E;
        type Expectation = fn(&TokenError) -> bool;
        let cases: Vec<(&str, String, Expectation)> = vec![
            ("iss", "\"https://other\"".into(), |e| {
                matches!(e, E::UnknownIssuer { .. })
            }),
            ("iss", "\"https://idp/\"".into(), |e| {
                matches!(e, E::UnknownIssuer { .. })
            }),
            (
                "iss",
                "".into(),
                |e| matches!(e, E::MissingClaim { claim } if claim == "iss"),
            ),
            ("aud", "\"other\"".into(), |e| {
                matches!(e, E::WrongAudience { .. })
            }),
            ("aud", "[]".into(), |e| matches!(e, E::WrongAudience { .. })),
            ("aud", "[\"sigstore\",1]".into(), |e| {
                matches!(e, E::WrongAudience { .. })
            }),
            ("aud", "".into(), |e| matches!(e, E::WrongAudience { .. })),
            ("exp", NOW.to_string(), |e| {
                matches!(e, E::Expired { ago: 0, .. })
            }),
            ("exp", (NOW - 5).to_string(), |e| {
                matches!(e, E::Expired { ago: 5, .. })
            }),
            (
                "exp",
                "".into(),
                |e| matches!(e, E::MissingClaim { claim } if claim == "exp"),
            ),
            ("exp", (NOW + 10 * 365 * 86_400).to_string(), |e| {
                matches!(e, E::LifetimeTooLong { .. })
            }),
            ("exp", "1e12".into(), |e| {
                matches!(e, E::InvalidClaim { .. })
            }),
            ("exp", "99999999999999999999".into(), |e| {
                matches!(e, E::InvalidClaim { .. })
            }),
            ("exp", format!("\"{}\"", NOW + 600), |e| {
                matches!(e, E::InvalidClaim { .. })
            }),
            (
                "iat",
                "".into(),
                |e| matches!(e, E::MissingClaim { claim } if claim == "iat"),
            ),
            ("iat", "-1".into(), |e| matches!(e, E::InvalidClaim { .. })),
            ("iat", (NOW + 61).to_string(), |e| {
                matches!(e, E::IssuedInTheFuture { ahead: 61, .. })
            }),
            ("nbf", (NOW + 61).to_string(), |e| {
                matches!(e, E::NotYetValid { ahead: 61, .. })
            }),
            ("nbf", "true".into(), |e| {
                matches!(e, E::InvalidClaim { .. })
            }),
            (
                "sub",
                "".into(),
                |e| matches!(e, E::MissingClaim { claim } if claim == "sub"),
            ),
            (
                "sub",
                "\"\"".into(),
                |e| matches!(e, E::MissingClaim { claim } if claim == "sub"),
            ),
            (
                "sub",
                "7".into(),
                |e| matches!(e, E::MissingClaim { claim } if claim == "sub"),
            ),
        ];
        for (name, value, expected) in cases {
            let error = check(&with(name, &value)).expect_err(&format!("{name}={value}"));
            assert!(expected(&error), "{name}={value}: {error:?}");
        }
    }

    #[test]
    fn several_audiences_with_a_foreign_authorized_party_are_refused() {
        let claims = |azp: &str| {
            with("aud", r#"["sigstore","other"]"#).replace('}', &format!(",\"azp\":{azp}}}"))
        };
        assert_eq!(check(&claims("\"sigstore\"")), Ok(()));
        for azp in ["\"other\"", "7"] {
            assert!(
                matches!(
                    check(&claims(azp)),
                    Err(TokenError::WrongAuthorizedParty { .. })
                ),
                "{azp}"
            );
        }
    }

    #[test]
    fn headers_outside_the_list_are_refused() {
        let parse = |header: &str| SignedToken::parse(&unsigned(header, "{}")).map(drop);
        for alg in ["none", "HS256", "es256", "ES256K", "Ed448", "RSA-OAEP", ""] {
            let refused = parse(&format!(r#"{{"alg":"{alg}"}}"#));
            assert!(
                matches!(refused, Err(TokenError::UnsupportedAlgorithm { .. })),
                "{alg}"
            );
        }
        assert!(matches!(
            parse("{}"),
            Err(TokenError::UnsupportedAlgorithm { .. })
        ));
        assert_eq!(
            parse(r#"{"alg":"RS256","crit":["b64"]}"#),
            Err(TokenError::CriticalHeader)
        );
        assert_eq!(
            parse(r#"{"alg":"RS256","crit":null}"#),
            Err(TokenError::CriticalHeader)
        );
        for typ in ["at+jwt", "application/at+jwt", "logout+jwt", "dpop+jwt"] {
            let refused = parse(&format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#));
            assert!(
                matches!(refused, Err(TokenError::UnsupportedType { .. })),
                "{typ}"
            );
        }
        assert_eq!(
            parse(r#"{"alg":"RS256","typ":"jwt","kid":"k","x5t":"ignored"}"#),
            Ok(())
        );
        for header in [
            r#"{"alg":1}"#,
            r#"{"alg":"RS256","kid":7}"#,
            r#"{"alg":"RS256","typ":null}"#,
        ] {
            assert!(
                matches!(
                    parse(header),
                    Err(TokenError::Malformed(Malformed::HeaderParameter { .. }))
                ),
                "{header}"
            );
        }
    }

    #[test]
    fn what_is_not_a_compact_jws_is_malformed() {
        let parse = |token: &str| SignedToken::parse(token).map(drop).unwrap_err();
        assert_eq!(parse(""), TokenError::Missing);
        for token in ["a", "a.b", "a.b.c.d", "....", &".".repeat(MAX_TOKEN_BYTES)] {
            assert_eq!(parse(token), TokenError::Malformed(Malformed::Parts));
        }
        assert!(matches!(
            parse(&"a".repeat(MAX_TOKEN_BYTES + 1)),
            TokenError::TooLarge { .. }
        ));
        let good = unsigned(r#"{"alg":"ES256"}"#, "{}");
        assert!(matches!(
            parse(&format!("{good}=")),
            TokenError::Malformed(Malformed::Base64 { part: "signature" })
        ));
        assert!(matches!(
            parse(&good.replacen('.', "+.", 1)),
            TokenError::Malformed(Malformed::Base64 { part: "header" })
        ));
        let twice = unsigned(r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#);
        assert!(matches!(
            parse(&twice),
            TokenError::Malformed(Malformed::DuplicateKey { part: "claims", .. })
        ));
        let twice = unsigned(r#"{"alg":"ES256","alg":"none"}"#, "{}");
        assert!(matches!(
            parse(&twice),
            TokenError::Malformed(Malformed::DuplicateKey { part: "header", .. })
        ));
    }

    #[test]
    fn every_algorithm_verifies_and_a_changed_byte_does_not() {
        for minter in Minter::one_of_each() {
            let token = minter.sign(&with("x", "1"));
            let signed = SignedToken::parse(&token).unwrap();
            assert_eq!(signed.alg(), minter.alg());
            assert_eq!(
                signed.verify(minter.public_key()),
                Ok(()),
                "{:?}",
                minter.alg()
            );

            let other = minter.sign(&with("x", "2"));
            let (input, _) = token.rsplit_once('.').unwrap();
            let (_, signature) = other.rsplit_once('.').unwrap();
            let forged = format!("{input}.{signature}");
            let forged = SignedToken::parse(&forged).unwrap();
            assert_eq!(
                forged.verify(minter.public_key()),
                Err(TokenError::BadSignature),
                "{:?}",
                minter.alg()
            );
        }
    }

    #[test]
    fn a_key_of_another_type_never_verifies() {
        let minters = Minter::one_of_each();
        for minter in &minters {
            let token = minter.sign(&with("x", "1"));
            let signed = SignedToken::parse(&token).unwrap();
            for other in minters.iter().filter(|other| other.alg() != minter.alg()) {
                assert_eq!(
                    signed.verify(other.public_key()),
                    Err(TokenError::BadSignature)
                );
            }
        }
    }

    #[test]
    fn ecdsa_signatures_have_one_length_and_no_zeros() {
        let minter = Minter::es256("k");
        let claims = with("x", "1");
        for signature in [
            vec![],
            vec![0; 64],
            vec![0; 63],
            vec![1; 65],
            vec![0xff; 64],
        ] {
            let token = minter.sign_as(&claims, &signature);
            let signed = SignedToken::parse(&token).unwrap();
            assert_eq!(
                signed.verify(minter.public_key()),
                Err(TokenError::BadSignature)
            );
        }
    }

    #[test]
    fn no_form_of_a_token_shows_it() {
        let text = Minter::es256("k").sign(&with("x", "1"));
        let (_, signature) = text.rsplit_once('.').unwrap();
        let shown = format!("{:?}", SignedToken::parse(&text).unwrap());
        assert!(
            !shown.contains(signature) && !shown.contains("eyJ"),
            "{shown}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*", header in "\\PC*", claims in "\\PC*") {
            for token in [text, unsigned(&header, &claims)] {
                let _ = SignedToken::parse(&token);
            }
        }

        #[test]
        fn no_claim_makes_the_rules_panic(value in "[-0-9.eE\\[\\]{}:,a\"]{0,24}", at in 0_usize..6) {
            let name = ["iss", "aud", "sub", "iat", "exp", "nbf"][at];
            let _ = check(&with(name, &value));
        }

        #[test]
        fn a_changed_character_never_verifies(at in 0_usize..4096, to in 0_usize..64) {
            static SIGNED: std::sync::LazyLock<(Minter, String)> = std::sync::LazyLock::new(|| {
                let minter = Minter::es256("k");
                let token = minter.sign(&with("x", "1"));
                (minter, token)
            });
            const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let (minter, token) = &*SIGNED;
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = ALPHABET[to];
            let changed = String::from_utf8(bytes).unwrap();
            let accepted = SignedToken::parse(&changed).is_ok_and(|token| token.verify(minter.public_key()).is_ok());
            assert_eq!(accepted, changed == *token);
        }
    }
}
