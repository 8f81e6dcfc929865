//! The JSON form of a request, which published JavaScript clients send. The answer to it is DER all the same.

use sealwright_crypto::{HashAlgorithm, base64};
use sealwright_pki::timestamp::{MessageImprint, TimeStampReq, check_nonce};
use sealwright_pki::{ObjectIdentifier, asn1};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::stamp::Refusal;

/// Largest JSON request: a SHA-512 digest with every field takes under 300 bytes.
pub(crate) const MAX_JSON_BYTES: usize = 1024;

/// The members a request may have; unknown ones are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(default)]
    artifact_hash: String,
    #[serde(default)]
    certificates: bool,
    #[serde(default)]
    hash_algorithm: String,
    /// A number of any size, so it is kept as the digits that were sent.
    #[serde(default, borrow)]
    nonce: Option<&'a RawValue>,
    #[serde(default, rename = "tsaPolicyOID")]
    tsa_policy_oid: Option<String>,
}

/// A request read from JSON, owning what [`TimeStampReq`] borrows.
#[derive(Debug)]
pub(crate) struct JsonRequest {
    hash_algorithm: HashAlgorithm,
    digest: Vec<u8>,
    nonce: Option<Vec<u8>>,
    policy: Option<ObjectIdentifier>,
    certificates: bool,
}

impl JsonRequest {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        // A derived reader would also take the members' values from an array, by position.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Refusal::Json("the request is not a JSON object".to_owned()));
        }
        let members: Members<'_> = serde_json::from_slice(body).map_err(|error| {
            Refusal::Json(format!("the request is not the expected JSON: {error}"))
        })?;
        let hash_algorithm =
            HashAlgorithm::from_short_name(&members.hash_algorithm).ok_or_else(|| {
                Refusal::Hash(format!(
                    "hashAlgorithm {:?} is not accepted; use \"sha256\", \"sha384\" or \"sha512\"",
                    shortened(&members.hash_algorithm)
                ))
            })?;
        let digest = base64::decode_lenient(&members.artifact_hash)
            .map_err(|_| Refusal::Json("artifactHash is not base64".to_owned()))?;
        let policy = members
            .tsa_policy_oid
            .filter(|text| !text.is_empty())
            .map(|text| policy(&text))
            .transpose()?;
        let nonce = members
            .nonce
            .map(RawValue::get)
            .filter(|text| *text != "null")
            .map(nonce)
            .transpose()?;
        Ok(Self {
            hash_algorithm,
            digest,
            nonce,
            policy,
            certificates: members.certificates,
        })
    }

    pub(crate) fn request(&self, max_nonce: usize) -> Result<TimeStampReq<'_>, Refusal> {
        check_nonce(self.nonce.as_deref(), max_nonce)?;
        Ok(TimeStampReq {
            message_imprint: MessageImprint::new(self.hash_algorithm, &self.digest)?,
            req_policy: self.policy,
            nonce: self.nonce.as_deref(),
            cert_req: self.certificates,
            extension: None,
            extensions: None,
        })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn policy(text: &str) -> Result<ObjectIdentifier, Refusal> {
    text.parse().map_err(|_| {
        Refusal::Json(format!(
            "tsaPolicyOID {:?} is not an object identifier in dotted decimal",
            shortened(text)
        ))
    })
}

fn nonce(text: &str) -> Result<Vec<u8>, Refusal> {
    integer_content(text).ok_or_else(|| Refusal::Json("nonce is not a whole number".to_owned()))
}

/// The content octets of an INTEGER with this decimal value: two's complement in the fewest octets.
///
/// The number of digits is bounded by the cap on the body, so the quadratic conversion stays below a millisecond.
fn integer_content(decimal: &str) -> Option<Vec<u8>> {
    let (negative, digits) = match decimal.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, decimal),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let padded = two_complement(magnitude(digits), negative);
    asn1::fewest_octets(&padded).ok().map(<[u8]>::to_vec)
}

/// Big-endian octets of a decimal number, with a zero octet in front.
fn magnitude(digits: &str) -> Vec<u8> {
    let mut little_endian = vec![0_u8];
    for digit in digits.bytes() {
        let mut carry = u16::from(digit - b'0');
        for octet in &mut little_endian {
            let product = u16::from(*octet) * 10 + carry;
            let [high, low] = product.to_be_bytes();
            *octet = low;
            carry = u16::from(high);
        }
        if carry != 0 {
            little_endian.push(carry.to_be_bytes()[1]);
        }
    }
    little_endian.push(0);
    little_endian.into_iter().rev().collect()
}

fn two_complement(magnitude: Vec<u8>, negative: bool) -> Vec<u8> {
    if !negative {
        return magnitude;
    }
    let mut carry = true;
    let mut octets: Vec<u8> = magnitude
        .into_iter()
        .rev()
        .map(|octet| {
            let (sum, overflow) = (!octet).overflowing_add(u8::from(carry));
            carry = overflow;
            sum
        })
        .collect();
    octets.reverse();
    octets
}

#[cfg(test)]
mod tests {
    use sealwright_pki::timestamp::MAX_NONCE_OCTETS;

    use super::*;

    #[test]
    fn decimal_numbers_become_integers() {
        for (decimal, content) in [
            ("0", &[0][..]),
            ("-0", &[0]),
            ("127", &[0x7f]),
            ("128", &[0, 0x80]),
            ("-1", &[0xff]),
            ("-128", &[0x80]),
            ("-129", &[0xff, 0x7f]),
            ("65536", &[1, 0, 0]),
            ("18446744073709551616", &[1, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("000001", &[1]),
        ] {
            assert_eq!(
                integer_content(decimal).as_deref(),
                Some(content),
                "{decimal}"
            );
        }
        for text in ["", "-", "1.5", "1e3", "\"1\"", "true", "+1"] {
            assert_eq!(integer_content(text), None, "{text}");
        }
    }

    #[test]
    fn a_request_is_read_with_unknown_members_passed_over() {
        let hash = base64::encode(&[7; 64]);
        let body = format!(
            r#"{{"artifactHash":"{hash}","certificates":true,"hashAlgorithm":"SHA512","nonce":1329227995784915872903807060280344576,"tsaPolicyOID":"1.2.3","extra":1}}"#
        );
        let parsed = JsonRequest::parse(body.as_bytes()).expect("valid");
        let request = parsed.request(MAX_NONCE_OCTETS).expect("valid");
        assert!(request.cert_req);
        assert_eq!(request.message_imprint.hashed_message(), [7; 64]);
        assert_eq!(request.nonce.map(<[u8]>::len), Some(16));
        assert_eq!(
            request
                .req_policy
                .map(|policy| policy.to_string())
                .as_deref(),
            Some("1.2.3")
        );
    }

    #[test]
    fn bad_members_are_named() {
        let refused = |body: &str| {
            let outcome = JsonRequest::parse(body.as_bytes())
                .and_then(|parsed| parsed.request(MAX_NONCE_OCTETS).map(|_| ()));
            outcome.expect_err("must be refused").to_string()
        };
        let hash = base64::encode(&[7; 32]);
        assert!(refused("{").contains("JSON"));
        assert!(refused("7").contains("JSON"));
        assert!(refused("").contains("JSON"));
        let by_position = format!(r#"["{}", true, "sha256"]"#, base64::encode(&[7; 32]));
        assert!(refused(&by_position).contains("JSON object"));
        assert!(
            refused(&format!(
                r#"{{"artifactHash":"{hash}","hashAlgorithm":"md5"}}"#
            ))
            .contains("md5")
        );
        assert!(refused(&format!(r#"{{"artifactHash":"{hash}"}}"#)).contains("hashAlgorithm"));
        assert!(
            refused(r#"{"artifactHash":"$","hashAlgorithm":"sha256"}"#).contains("artifactHash")
        );
        assert!(refused(r#"{"hashAlgorithm":"sha256"}"#).contains("0 octets"));
        let with = |member: &str| {
            format!(r#"{{"artifactHash":"{hash}","hashAlgorithm":"sha256",{member}}}"#)
        };
        assert!(refused(&with(r#""nonce":"7""#)).contains("nonce"));
        assert!(refused(&with(r#""nonce":1.5"#)).contains("nonce"));
        assert!(
            refused(&with(&format!(r#""nonce":1{}"#, "0".repeat(49))))
                .contains("nonce has 21 octets")
        );
        assert!(refused(&with(r#""tsaPolicyOID":"x""#)).contains("tsaPolicyOID"));
    }
}
