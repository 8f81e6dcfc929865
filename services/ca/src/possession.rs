//! The key of a request, and the proof that whoever asks holds it.

use sealwright_crypto::{Algorithm, KeyType, PublicKey};
use sealwright_pki::CertificateRequest;

use crate::error::Refusal;

/// The key as the client sent it.
#[derive(Debug)]
pub(crate) enum KeyRequest {
    /// A public key, PEM or DER, and a signature over a challenge.
    PublicKey {
        /// `PUBLIC KEY` or `RSA PUBLIC KEY` in PEM, or a SubjectPublicKeyInfo in DER.
        content: Vec<u8>,
        /// ECDSA in DER, PKCS #1 v1.5 or Ed25519.
        proof: Vec<u8>,
    },
    /// A certificate request in PEM; its own signature is the proof.
    Csr(Vec<u8>),
    /// Neither.
    Missing,
}

/// A key that has been read and whose possession is not proven yet.
#[derive(Debug)]
pub(crate) enum Candidate {
    PublicKey { key: PublicKey, proof: Vec<u8> },
    Csr(Box<CertificateRequest>),
}

impl KeyRequest {
    /// Reads the key. Cheap: no signature is checked.
    pub(crate) fn read(self) -> Result<Candidate, Refusal> {
        match self {
            Self::Missing => Err(Refusal::NoKey),
            Self::PublicKey { content, proof } => {
                let key = read_key(&content).map_err(Refusal::Key)?;
                Ok(Candidate::PublicKey { key, proof })
            }
            Self::Csr(pem) => {
                let text = String::from_utf8_lossy(&pem);
                let request = CertificateRequest::from_pem(&text).map_err(Refusal::Request)?;
                Ok(Candidate::Csr(Box::new(request)))
            }
        }
    }
}

/// DER begins with a SEQUENCE; everything else is taken for PEM.
fn read_key(content: &[u8]) -> Result<PublicKey, sealwright_crypto::KeyError> {
    if content.first() == Some(&0x30) {
        return PublicKey::from_spki_der(content);
    }
    PublicKey::from_pem(&String::from_utf8_lossy(content))
}

impl Candidate {
    pub(crate) fn key(&self) -> &PublicKey {
        match self {
            Self::PublicKey { key, .. } => key,
            Self::Csr(request) => request.public_key(),
        }
    }

    /// Whether judging the key takes milliseconds: the search for bad RSA moduli does, curves take microseconds.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(self.key().key_type(), KeyType::Rsa { .. })
    }

    /// Checks the proof. A signature over any of the challenges will do: published clients sign the e-mail address when
    /// there is one and the subject otherwise, whatever the issuer's type, and all of them come from the verified token.
    pub(crate) fn prove(
        self,
        challenges: &[String],
        permitted: &[Algorithm],
    ) -> Result<PublicKey, Refusal> {
        match self {
            Self::PublicKey { key, proof } => {
                let algorithm = key.default_algorithm();
                // Sizes of RSA that no name permits are the key policy's to refuse, with a better sentence.
                if !permitted.contains(&algorithm) && algorithm.cli_name().is_some() {
                    return Err(Refusal::AlgorithmNotPermitted(algorithm));
                }
                let signs = |challenge: &String| {
                    key.verify(algorithm, challenge.as_bytes(), &proof).is_ok()
                };
                if challenges.iter().any(signs) {
                    Ok(key)
                } else {
                    Err(Refusal::Possession { algorithm })
                }
            }
            Self::Csr(request) => {
                request.verify(permitted).map_err(Refusal::Request)?;
                Ok(request.public_key().clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwright_crypto::{HashAlgorithm, PrivateKey};
    use sealwright_host::Reason;
    use sealwright_pki::request::{DEFAULT_PERMITTED_ALGORITHMS, build_request, build_request_pem};

    const CHALLENGES: [&str; 2] = ["ann@example.com", "17"];

    fn prove(request: KeyRequest) -> Result<PublicKey, Reason> {
        let challenges = CHALLENGES.map(str::to_owned);
        let proven = request
            .read()
            .and_then(|candidate| candidate.prove(&challenges, &DEFAULT_PERMITTED_ALGORITHMS));
        proven.map_err(|refusal| refusal.reason())
    }

    fn request(key: &PrivateKey, algorithm: Algorithm, message: &str) -> KeyRequest {
        KeyRequest::PublicKey {
            content: key.public_key().to_pem().into_bytes(),
            proof: key.sign(algorithm, message.as_bytes()).unwrap(),
        }
    }

    #[test]
    fn every_accepted_key_proves_itself_over_any_challenge_and_no_other_text() {
        for key_type in [
            KeyType::EcP256,
            KeyType::EcP384,
            KeyType::EcP521,
            KeyType::Ed25519,
            KeyType::Rsa { bits: 3072 },
        ] {
            let key = PrivateKey::generate(key_type).unwrap();
            let algorithm = key_type.default_algorithm();
            for challenge in CHALLENGES {
                assert_eq!(
                    prove(request(&key, algorithm, challenge)).as_ref(),
                    Ok(key.public_key()),
                    "{key_type}"
                );
            }
            let other = prove(request(&key, algorithm, "bob@example.com"));
            assert_eq!(other, Err(Reason::ProofOfPossessionInvalid), "{key_type}");
            let pem = build_request_pem(&key).unwrap();
            assert_eq!(
                prove(KeyRequest::Csr(pem.into_bytes())).as_ref(),
                Ok(key.public_key()),
                "{key_type}"
            );
        }
    }

    #[test]
    fn a_proof_by_another_key_or_none_is_refused() {
        let (key, other) = (
            PrivateKey::generate(KeyType::EcP256).unwrap(),
            PrivateKey::generate(KeyType::EcP256).unwrap(),
        );
        let proof = other
            .sign(Algorithm::EcdsaP256Sha256, CHALLENGES[0].as_bytes())
            .unwrap();
        for proof in [proof, Vec::new(), vec![0; 70]] {
            let content = key.public_key().spki_der().to_vec();
            assert_eq!(
                prove(KeyRequest::PublicKey { content, proof }),
                Err(Reason::ProofOfPossessionInvalid)
            );
        }
    }

    #[test]
    fn rsa_pss_does_not_prove() {
        let key = PrivateKey::generate(KeyType::Rsa { bits: 3072 }).unwrap();
        let pss = Algorithm::RsaPss {
            bits: 3072,
            hash: HashAlgorithm::Sha256,
        };
        assert_eq!(
            prove(request(&key, pss, CHALLENGES[0])),
            Err(Reason::ProofOfPossessionInvalid)
        );
    }

    #[test]
    fn keys_that_cannot_be_read_and_keys_that_are_not_certified_are_told_apart() {
        let read = |content: &[u8]| {
            prove(KeyRequest::PublicKey {
                content: content.to_vec(),
                proof: vec![1],
            })
        };
        for content in [
            &b""[..],
            b"\0",
            b"MFkwEwYHKoZIzj0CAQYI",
            b"-----BEGIN PUBLIC KEY-----\n",
            &[0x30, 0x03, 1, 2, 3],
            &[0xff; 9],
        ] {
            assert_eq!(read(content), Err(Reason::KeyUnreadable), "{content:?}");
        }
        assert_eq!(prove(KeyRequest::Missing), Err(Reason::MalformedRequest));
    }

    #[test]
    fn certificate_requests_are_pem_with_a_permitted_signature() {
        let key = PrivateKey::generate(KeyType::Rsa { bits: 3072 }).unwrap();
        let der = build_request(&key, key.key_type().default_algorithm()).unwrap();
        assert_eq!(prove(KeyRequest::Csr(der)), Err(Reason::CsrMalformed));
        let sha512 = build_request(
            &key,
            Algorithm::RsaPkcs1 {
                bits: 3072,
                hash: HashAlgorithm::Sha512,
            },
        )
        .unwrap();
        let pem = |label: &str, der: &[u8]| {
            KeyRequest::Csr(sealwright_pki::pem::encode(label, der).into_bytes())
        };
        assert_eq!(
            prove(pem("CERTIFICATE REQUEST", &sha512)),
            Err(Reason::AlgorithmNotPermitted)
        );

        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let mut der = build_request(&key, Algorithm::EcdsaP256Sha256).unwrap();
        assert!(prove(pem("NEW CERTIFICATE REQUEST", &der)).is_ok());
        assert_eq!(prove(pem("CERTIFICATE", &der)), Err(Reason::CsrMalformed));
        let last = der.len() - 1;
        der[last] ^= 1;
        assert_eq!(
            prove(pem("CERTIFICATE REQUEST", &der)),
            Err(Reason::ProofOfPossessionInvalid)
        );
    }
}
