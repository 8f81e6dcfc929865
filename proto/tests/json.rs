//! proto3 JSON: strict where half-read input would be dangerous, lenient where clients need it.

use sealwright_proto::{bundle, fulcio, rekor, trustroot};

fn entry(text: &str) -> Result<rekor::v2::CreateEntryRequest, serde_json::Error> {
    serde_json::from_str(text)
}

#[test]
fn a_log_request_with_an_unknown_field_is_refused() {
    assert!(entry(r#"{"hashedRekordRequestV002": {"digest": "AQI="}}"#).is_ok());
    for unknown in [
        r#"{"surprise": 1}"#,
        r#"{"hashedRekordRequestV002": {"digest": "AQI=", "surprise": 1}}"#,
        r#"{"hashedRekordRequestV002": {"signature": {"verifier": {"keyDetails": "NO_SUCH_KEY"}}}}"#,
    ] {
        assert!(entry(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn a_field_or_a_choice_given_twice_is_refused() {
    for twice in [
        r#"{"hashedRekordRequestV002": {"digest": "AQI=", "digest": "AQI="}}"#,
        r#"{"hashedRekordRequestV002": {}, "dsseRequestV002": {}}"#,
    ] {
        assert!(entry(twice).is_err(), "{twice}");
    }
}

#[test]
fn names_of_either_case_and_both_base64_alphabets_are_read() {
    for digest in ["-_8", "-_8=", "+/8", "+/8="] {
        for name in ["hashedRekordRequestV002", "hashed_rekord_request_v002"] {
            let request = entry(&format!(r#"{{"{name}": {{"digest": "{digest}"}}}}"#)).unwrap();
            match request.spec {
                Some(rekor::v2::create_entry_request::Spec::HashedRekordRequestV002(spec)) => {
                    assert_eq!(spec.digest, [0xfb, 0xff]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(entry(r#"{"hashedRekordRequestV002": {"digest": "*"}}"#).is_err());
}

#[test]
fn integers_of_64_bits_are_written_as_text_and_read_as_either() {
    let log_entry = rekor::v1::TransparencyLogEntry {
        log_index: 9_007_199_254_740_993,
        ..Default::default()
    };
    let text = serde_json::to_string(&log_entry).unwrap();
    assert_eq!(text, r#"{"logIndex":"9007199254740993"}"#);
    for text in [text.as_str(), r#"{"logIndex":9007199254740993}"#] {
        assert_eq!(
            serde_json::from_str::<rekor::v1::TransparencyLogEntry>(text).unwrap(),
            log_entry
        );
    }
}

#[test]
fn bundles_refuse_unknown_fields_and_trust_roots_pass_over_them() {
    assert!(
        serde_json::from_str::<bundle::v1::Bundle>(r#"{"mediaType": "x", "surprise": 1}"#).is_err()
    );
    let root =
        r#"{"mediaType": "x", "surprise": {"a": []}, "tlogs": [{"baseUrl": "u", "surprise": 1}]}"#;
    assert_eq!(
        serde_json::from_str::<trustroot::v1::TrustedRoot>(root)
            .unwrap()
            .tlogs
            .len(),
        1
    );
}

#[test]
fn the_certificate_authority_reads_what_published_clients_send() {
    for algorithm in [r#""ECDSA""#, r#""""#, r#""RSA""#, "2", "99", "null"] {
        let text = format!(
            r#"{{"credentials": {{"oidcIdentityToken": "t", "surprise": 1}}, "surprise": [],
                "publicKeyRequest": {{"publicKey": {{"algorithm": {algorithm}, "content": "pem"}},
                "proofOfPossession": "AQI"}}}}"#
        );
        let request: fulcio::v2::CreateSigningCertificateRequest =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert!(request.key.is_some(), "{algorithm}");
    }
}

#[test]
fn answers_of_the_certificate_authority_hold_absent_values_too() {
    let configuration = fulcio::v2::Configuration {
        issuers: vec![fulcio::v2::OidcIssuer::default()],
    };
    let text = serde_json::to_string(&configuration).unwrap();
    for field in [
        "audience",
        "challengeClaim",
        "spiffeTrustDomain",
        "issuerType",
        "subjectDomain",
        "skipEmailVerification",
    ] {
        assert!(text.contains(field), "{field} is missing in {text}");
    }
}
