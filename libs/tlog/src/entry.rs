//! The leaf of a signature log: Rekor's `hashedrekord` 0.0.2, and `dsse` 0.0.2 of older logs.
//!
//! A leaf is JSON in the canonical form of RFC 8785. Its values are base64, fixed names and nothing else, so the canonical
//! form is a fixed text with gaps; it is written and read as that, and a test compares it with a general canonicalizer.
//! Reading accepts exactly what writing makes: one entry, one body.

use sealwright_crypto::{Algorithm, Digest, HashAlgorithm, base64};

use crate::error::Error;
use crate::hash::{Hash, leaf_hash};

/// The `kind` of a hashedrekord leaf.
pub const HASHEDREKORD_KIND: &str = "hashedrekord";
/// The `kind` of a legacy DSSE leaf.
pub const DSSE_KIND: &str = "dsse";
/// The `apiVersion` of both.
pub const API_VERSION: &str = "0.0.2";

/// What a signature can be verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifierMaterial {
    /// SubjectPublicKeyInfo, DER.
    PublicKey(Vec<u8>),
    /// X.509 certificate, DER.
    X509Certificate(Vec<u8>),
}

impl VerifierMaterial {
    /// The DER bytes.
    pub fn raw_bytes(&self) -> &[u8] {
        match self {
            Self::PublicKey(der) | Self::X509Certificate(der) => der,
        }
    }

    fn json_name(&self) -> &'static str {
        match self {
            Self::PublicKey(_) => "publicKey",
            Self::X509Certificate(_) => "x509Certificate",
        }
    }
}

/// A signature together with what verifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrySignature {
    /// Signature bytes as the client made them.
    pub content: Vec<u8>,
    /// Key or certificate.
    pub verifier: VerifierMaterial,
    /// Algorithm of the signature; it must have a `PublicKeyDetails` name.
    pub key_details: Algorithm,
}

/// `hashedrekord` 0.0.2: a signature over a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedRekord {
    /// Digest of the artifact, or of the PAE of a DSSE envelope.
    pub data: Digest,
    /// Its signature.
    pub signature: EntrySignature,
}

/// `dsse` 0.0.2, which new entries no longer use: a payload hash and the envelope's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsse {
    /// SHA-256 of the envelope's payload.
    pub payload_hash: Digest,
    /// The signatures, ascending by their bytes.
    pub signatures: Vec<EntrySignature>,
}

/// A leaf of a signature log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `hashedrekord` 0.0.2.
    HashedRekord(HashedRekord),
    /// `dsse` 0.0.2.
    Dsse(Dsse),
}

impl HashedRekord {
    /// The canonical body, which is the leaf. Fails when the algorithm has no name in the registry.
    pub fn canonical_body(&self) -> Result<Vec<u8>, Error> {
        let mut body = String::with_capacity(512 + 2 * self.signature.verifier.raw_bytes().len());
        put_head(&mut body, HASHEDREKORD_KIND);
        body.push_str(r#""hashedRekordV002":{"data":"#);
        put_digest(&mut body, &self.data);
        body.push_str(r#","signature":"#);
        put_signature(&mut body, &self.signature)?;
        body.push_str("}}}");
        Ok(body.into_bytes())
    }

    /// RFC 6962 hash of the canonical body.
    pub fn leaf_hash(&self) -> Result<Hash, Error> {
        Ok(leaf_hash(&self.canonical_body()?))
    }
}

impl Dsse {
    /// The canonical body, which is the leaf.
    pub fn canonical_body(&self) -> Result<Vec<u8>, Error> {
        let mut body = String::new();
        put_head(&mut body, DSSE_KIND);
        body.push_str(r#""dsseV002":{"payloadHash":"#);
        put_digest(&mut body, &self.payload_hash);
        body.push_str(r#","signatures":["#);
        for (position, signature) in self.signatures.iter().enumerate() {
            if position > 0 {
                body.push(',');
            }
            put_signature(&mut body, signature)?;
        }
        body.push_str("]}}}");
        Ok(body.into_bytes())
    }
}

impl Entry {
    /// Reads a canonical body. Anything that is not byte for byte what an entry of these kinds is written as is refused.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
        let mut scanner = Scanner { rest: text };
        scanner.expect(r#"{"apiVersion":"0.0.2","kind":""#)?;
        let entry = if scanner.accept(r#"hashedrekord","spec":{"hashedRekordV002":{"data":"#) {
            Self::HashedRekord(scanner.hashed_rekord()?)
        } else if scanner.accept(r#"dsse","spec":{"dsseV002":{"payloadHash":"#) {
            Self::Dsse(scanner.dsse()?)
        } else {
            return Err(malformed("its kind is not hashedrekord or dsse"));
        };
        scanner.end()?;
        Ok(entry)
    }

    /// The `kind` and `apiVersion` of the entry.
    pub fn kind_version(&self) -> (&'static str, &'static str) {
        match self {
            Self::HashedRekord(_) => (HASHEDREKORD_KIND, API_VERSION),
            Self::Dsse(_) => (DSSE_KIND, API_VERSION),
        }
    }

    /// The canonical body.
    pub fn canonical_body(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::HashedRekord(entry) => entry.canonical_body(),
            Self::Dsse(entry) => entry.canonical_body(),
        }
    }
}

fn put_head(body: &mut String, kind: &str) {
    body.push_str(r#"{"apiVersion":""#);
    body.push_str(API_VERSION);
    body.push_str(r#"","kind":""#);
    body.push_str(kind);
    body.push_str(r#"","spec":{"#);
}

fn put_digest(body: &mut String, digest: &Digest) {
    body.push_str(r#"{"algorithm":""#);
    body.push_str(digest.algorithm().name());
    body.push_str(r#"","digest":""#);
    body.push_str(&base64::encode(digest.as_bytes()));
    body.push_str(r#""}"#);
}

fn put_signature(body: &mut String, signature: &EntrySignature) -> Result<(), Error> {
    let details = signature.key_details.key_details_name();
    let details = details.ok_or(malformed("its algorithm has no name in the registry"))?;
    body.push_str(r#"{"content":""#);
    body.push_str(&base64::encode(&signature.content));
    body.push_str(r#"","verifier":{"keyDetails":""#);
    body.push_str(details);
    body.push_str(r#"",""#);
    body.push_str(signature.verifier.json_name());
    body.push_str(r#"":{"rawBytes":""#);
    body.push_str(&base64::encode(signature.verifier.raw_bytes()));
    body.push_str(r#""}}}"#);
    Ok(())
}

fn malformed(problem: &'static str) -> Error {
    Error::Malformed {
        what: "canonical entry body",
        problem,
    }
}

/// Walks along the fixed text and reads what stands in the gaps.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn accept(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), Error> {
        if self.accept(text) {
            Ok(())
        } else {
            Err(malformed("it does not have the canonical form"))
        }
    }

    fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(malformed("bytes follow its end"))
        }
    }

    /// The rest of a string, up to and with its closing quote. No value has an escaped quote.
    fn string(&mut self) -> Result<&'a str, Error> {
        let (value, rest) = self
            .rest
            .split_once('"')
            .ok_or(malformed("a string has no end"))?;
        self.rest = rest;
        Ok(value)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let bytes = base64::decode(self.string()?)
            .map_err(|_| malformed("a value is not padded base64"))?;
        if bytes.is_empty() {
            Err(malformed("a value is empty"))
        } else {
            Ok(bytes)
        }
    }

    fn hashed_rekord(&mut self) -> Result<HashedRekord, Error> {
        let data = self.digest()?;
        self.expect(r#","signature":"#)?;
        let signature = self.signature()?;
        self.expect("}}}")?;
        Ok(HashedRekord { data, signature })
    }

    fn dsse(&mut self) -> Result<Dsse, Error> {
        let payload_hash = self.digest()?;
        self.expect(r#","signatures":["#)?;
        let mut signatures = vec![self.signature()?];
        while self.accept(",") {
            signatures.push(self.signature()?);
        }
        self.expect("]}}}")?;
        Ok(Dsse {
            payload_hash,
            signatures,
        })
    }

    fn digest(&mut self) -> Result<Digest, Error> {
        self.expect(r#"{"algorithm":""#)?;
        let name = self.string()?;
        let algorithm = HashAlgorithm::ALL
            .into_iter()
            .find(|hash| hash.name() == name);
        let algorithm = algorithm.ok_or(malformed("its hash algorithm is not known"))?;
        self.expect(r#","digest":""#)?;
        let digest = Digest::new(algorithm, self.bytes()?);
        self.expect("}")?;
        digest.map_err(|_| malformed("a digest has the wrong length"))
    }

    fn signature(&mut self) -> Result<EntrySignature, Error> {
        self.expect(r#"{"content":""#)?;
        let content = self.bytes()?;
        self.expect(r#","verifier":{"keyDetails":""#)?;
        let key_details = Algorithm::from_key_details_name(self.string()?);
        let key_details = key_details.ok_or(malformed("its key details are not known"))?;
        let is_key = self.accept(r#","publicKey":{"rawBytes":""#);
        if !is_key {
            self.expect(r#","x509Certificate":{"rawBytes":""#)?;
        }
        let raw = self.bytes()?;
        self.expect("}}}")?;
        let verifier = if is_key {
            VerifierMaterial::PublicKey(raw)
        } else {
            VerifierMaterial::X509Certificate(raw)
        };
        Ok(EntrySignature {
            content,
            verifier,
            key_details,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The published vector: 489 bytes, with its leaf hash.
    const VECTOR: &str = concat!(
        r#"{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"#,
        r#""WzUT9YDIOXIS/yyPRZwZnvwMkOQ1Sl81M63wo//zpTA="},"signature":{"content":"#,
        r#""MEYCIQC59oLS3MsCqm0xCxPOy+8FdQK4RYCZE036s3q1ECfcagIhAJ4ATXlCSdFrklKAS8No0PsAE9uLi37TCbIfRXASJTTb","#,
        r#""verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{"rawBytes":"#,
        r#""MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeLw7gX40qy1z7JUhGMAaaDITbV7p2D+C5G9xPEsy/PVAo9H0mgS4NYzpGirkXxBht+IvvL19WR1X9ANXha5ldQ=="}}}}}}"#,
    );
    const VECTOR_LEAF_HASH: &str =
        "9f7de180887c06919d4a3e1487998bb04246d40db05589f4287e7a3ec794d250";

    #[test]
    fn the_published_vector_is_written_byte_for_byte() {
        let entry = HashedRekord {
            data: Digest::new(
                HashAlgorithm::Sha256,
                base64::decode("WzUT9YDIOXIS/yyPRZwZnvwMkOQ1Sl81M63wo//zpTA=").unwrap(),
            )
            .unwrap(),
            signature: EntrySignature {
                content: base64::decode(
                    "MEYCIQC59oLS3MsCqm0xCxPOy+8FdQK4RYCZE036s3q1ECfcagIhAJ4ATXlCSdFrklKAS8No0PsAE9uLi37TCbIfRXASJTTb",
                )
                .unwrap(),
                verifier: VerifierMaterial::PublicKey(
                    base64::decode(concat!(
                        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeLw7gX40qy1z7JUhGMAaaDITbV7p2D+C5G9xPEsy",
                        "/PVAo9H0mgS4NYzpGirkXxBht+IvvL19WR1X9ANXha5ldQ=="
                    ))
                    .unwrap(),
                ),
                key_details: Algorithm::EcdsaP256Sha256,
            },
        };
        let body = entry.canonical_body().unwrap();
        assert_eq!(std::str::from_utf8(&body).unwrap(), VECTOR);
        assert_eq!(body.len(), 489);
        assert_eq!(hex::encode(entry.leaf_hash().unwrap()), VECTOR_LEAF_HASH);
        assert_eq!(Entry::parse(&body).unwrap(), Entry::HashedRekord(entry));
    }

    #[test]
    fn a_body_that_is_not_canonical_is_refused() {
        let refused = [
            VECTOR.replace(r#""kind":"#, r#" "kind":"#),
            VECTOR.replace("hashedRekordV002", "hashedRekordV0_0_2"),
            VECTOR.replace("SHA2_256", "SHA2_384"),
            VECTOR.replace("SHA2_256", "MD5"),
            VECTOR.replace("PKIX_ECDSA_P256_SHA_256", "PKIX_NOTHING"),
            VECTOR.replace("zpTA=", "zpTA"),
            VECTOR.replace("zpTA=", "zpTB="),
            VECTOR.replace("0.0.2", "0.0.1"),
            format!("{VECTOR}\n"),
            VECTOR[..VECTOR.len() - 1].to_owned(),
            String::new(),
        ];
        for body in refused {
            assert!(Entry::parse(body.as_bytes()).is_err(), "{body} was read");
        }
        assert!(Entry::parse(&[0xff]).is_err());
    }

    fn signature() -> impl Strategy<Value = EntrySignature> {
        let algorithm = prop::sample::select(vec![
            Algorithm::EcdsaP256Sha256,
            Algorithm::EcdsaP384Sha384,
            Algorithm::Ed25519Ph,
            Algorithm::RsaPkcs1 {
                bits: 4096,
                hash: HashAlgorithm::Sha256,
            },
        ]);
        let bytes = || prop::collection::vec(any::<u8>(), 1..200);
        (bytes(), bytes(), any::<bool>(), algorithm).prop_map(
            |(content, raw, is_key, key_details)| {
                let verifier = if is_key {
                    VerifierMaterial::PublicKey(raw)
                } else {
                    VerifierMaterial::X509Certificate(raw)
                };
                EntrySignature {
                    content,
                    verifier,
                    key_details,
                }
            },
        )
    }

    fn digest() -> impl Strategy<Value = Digest> {
        (
            prop::sample::select(HashAlgorithm::ALL.to_vec()),
            any::<[u8; 64]>(),
        )
            .prop_map(|(hash, bytes)| Digest::new(hash, &bytes[..hash.output_len()]).unwrap())
    }

    fn entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (digest(), signature()).prop_map(|(data, signature)| Entry::HashedRekord(
                HashedRekord { data, signature }
            )),
            (digest(), prop::collection::vec(signature(), 1..4)).prop_map(
                |(payload_hash, signatures)| Entry::Dsse(Dsse {
                    payload_hash,
                    signatures
                })
            ),
        ]
    }

    proptest! {
        #[test]
        fn the_template_is_what_a_general_canonicalizer_makes(entry in entry()) {
            let body = entry.canonical_body().unwrap();
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let canonical = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(&body, &canonical);
            prop_assert_eq!(Entry::parse(&body).unwrap(), entry);
        }

        #[test]
        fn a_changed_byte_is_refused_or_is_another_entry(entry in entry(), at in any::<usize>(), byte in any::<u8>()) {
            let mut body = entry.canonical_body().unwrap();
            let at = at % body.len();
            body[at] = byte;
            if let Ok(read) = Entry::parse(&body) {
                prop_assert_eq!(read.canonical_body().unwrap(), body);
            }
        }
    }
}
