//! Our verdict on a token beside that of openidconnect's own verifier.
//!
//! For RS256 and ES256 the two must agree on whether the issuer signed it for us and whether it has expired. Where
//! ours is stricter by design (lifetime, `iat`, `nbf`, `sub`, the whole header) the case says so.

use openidconnect::core::{
    CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use openidconnect::{ClientId, IssuerUrl, Nonce};

use crate::jwks::KeySet;
use crate::testing::{Minter, NOW, unsigned};
use crate::token::{ClaimRules, SignedToken};

const ISSUER: &str = "https://idp.example";

fn ours(token: &str, keys: &str) -> bool {
    let audiences = ["sigstore".to_owned()];
    let rules = ClaimRules {
        issuer: ISSUER,
        audiences: &audiences,
        max_lifetime: 86_400,
        not_before_leeway: 60,
    };
    let keys = KeySet::from_json(keys.as_bytes()).unwrap();
    SignedToken::parse(token)
        .and_then(|token| {
            rules.check(token.claims(), NOW)?;
            keys.verify(&token, ISSUER)
        })
        .is_ok()
}

fn theirs(token: &str, keys: &str) -> bool {
    let keys: CoreJsonWebKeySet = serde_json::from_str(keys).unwrap();
    let issuer = IssuerUrl::new(ISSUER.to_owned()).unwrap();
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW.try_into().unwrap());
    let verifier =
        CoreIdTokenVerifier::new_public_client(ClientId::new("sigstore".to_owned()), issuer, keys)
            .set_allowed_algs([
                CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
                CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            ])
            .set_time_fn(move || now.into());
    let any_nonce = |_: Option<&Nonce>| Ok(());
    token
        .parse::<CoreIdToken>()
        .is_ok_and(|token| token.claims(&verifier, any_nonce).is_ok())
}

#[derive(Debug, PartialEq)]
enum Expected {
    BothAccept,
    BothRefuse,
    OnlyWeRefuse,
}

#[test]
fn the_two_verifiers_agree_or_ours_is_stricter() {
    use Expected::{BothAccept, BothRefuse, OnlyWeRefuse};
    let claims = |from: &str, to: &str| {
        format!(
            r#"{{"iss":"{ISSUER}","aud":"sigstore","sub":"s","iat":{NOW},"exp":{}}}"#,
            NOW + 600
        )
        .replace(from, to)
    };
    let iat = format!("\"iat\":{NOW}");
    let exp = format!("\"exp\":{}", NOW + 600);
    let cases = [
        (claims("", ""), BothAccept),
        (claims("\"sigstore\"", "[\"sigstore\"]"), BothAccept),
        (claims("\"sub\"", "\"email\":\"a@b.c\",\"sub\""), BothAccept),
        (claims(ISSUER, "https://other.example"), BothRefuse),
        (claims("\"sigstore\"", "\"other\""), BothRefuse),
        (claims("\"sigstore\"", "[]"), BothRefuse),
        (claims(&exp, &format!("\"exp\":{}", NOW - 1)), BothRefuse),
        (claims(&format!(",{exp}"), ""), BothRefuse),
        (claims(&format!(",{iat}"), ""), BothRefuse),
        (claims("\"sub\":\"s\",", ""), BothRefuse),
        (
            claims(&exp, &format!("\"exp\":{}", NOW + 864_000)),
            OnlyWeRefuse,
        ),
        (claims(&iat, &format!("\"iat\":{}", NOW + 86)), OnlyWeRefuse),
        (
            claims(&iat, &format!("{iat},\"nbf\":{}", NOW + 86)),
            OnlyWeRefuse,
        ),
        (claims("\"s\"", "\"\""), OnlyWeRefuse),
    ];
    for minter in [Minter::rs256("k"), Minter::es256("k")] {
        let keys = Minter::jwks(std::slice::from_ref(&minter));
        for (claims, expected) in &cases {
            check(&minter.sign(claims), &keys, expected);
        }
        check(
            &minter.sign_without_kid(&claims("", "")),
            &keys,
            &BothAccept,
        );
        check(
            &minter.sign_as(&claims("", ""), &[1; 64]),
            &keys,
            &BothRefuse,
        );
        check(&minter.sign_as(&claims("", ""), &[]), &keys, &BothRefuse);
        let stranger = if minter.alg().name() == "ES256" {
            Minter::es256("k")
        } else {
            Minter::rs256("k")
        };
        check(&stranger.sign(&claims("", "")), &keys, &BothRefuse);
        check(
            &Minter::es256("other").sign(&claims("", "")),
            &keys,
            &BothRefuse,
        );
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256","kid":"k"}"#,
            r#"{"alg":"RS256","typ":"at+jwt"}"#,
        ] {
            check(&unsigned(header, &claims("", "")), &keys, &BothRefuse);
        }
    }
}

fn check(token: &str, keys: &str, expected: &Expected) {
    let found = match (ours(token, keys), theirs(token, keys)) {
        (true, true) => Expected::BothAccept,
        (false, false) => Expected::BothRefuse,
        (false, true) => Expected::OnlyWeRefuse,
        (true, false) => panic!("only we accept {token}"),
    };
    assert_eq!(&found, expected, "{token}");
}
