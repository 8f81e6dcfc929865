//! Certification requests: ours read by OpenSSL, OpenSSL's read by us, and proofs that do not hold.

use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PrivateKey};
use sealwright_pki::error::PemFault;
use sealwright_pki::request::{
    self, DEFAULT_PERMITTED_ALGORITHMS, build_request, build_request_pem,
};
use sealwright_pki::{CertificateRequest, Error, pem};

use crate::openssl::Bench;

const TYPES: [KeyType; 5] = [
    KeyType::EcP256,
    KeyType::EcP384,
    KeyType::EcP521,
    KeyType::Ed25519,
    KeyType::Rsa { bits: 3072 },
];

#[test]
fn our_requests_prove_possession_to_us_and_to_openssl() {
    let bench = Bench::new();
    for key_type in TYPES {
        let key = PrivateKey::generate(key_type).unwrap();
        let text = build_request_pem(&key).unwrap();
        let request = CertificateRequest::from_pem(&text).unwrap();
        request.verify(&DEFAULT_PERMITTED_ALGORITHMS).unwrap();
        assert_eq!(request.public_key(), key.public_key());
        bench.write("request.pem", &text);
        bench.openssl(&["req", "-in", "request.pem", "-verify", "-noout"]);
        let shown = bench.openssl(&["req", "-in", "request.pem", "-noout", "-subject"]);
        assert_eq!(shown.trim(), "subject=", "the subject is empty");
    }
}

#[test]
fn requests_of_openssl_are_read_under_both_labels() {
    let bench = Bench::new();
    let subject = [
        "-subj",
        "/CN=ignored",
        "-addext",
        "subjectAltName=DNS:ignored.example.com",
    ];
    let newkey = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-sha384",
    ];
    let fixed = [
        "req",
        "-new",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "request.pem",
    ];
    bench.openssl(&[&fixed[..], &newkey, &subject].concat());
    let text = bench.read(&bench.path("request.pem"));
    let key = PrivateKey::from_pem(&bench.read(&bench.path("key.pem"))).unwrap();
    for text in [
        text.clone(),
        text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
    ] {
        let request = CertificateRequest::from_pem(&text).unwrap();
        assert_eq!(request.algorithm().unwrap(), Algorithm::EcdsaP384Sha384);
        request.verify(&DEFAULT_PERMITTED_ALGORITHMS).unwrap();
        assert_eq!(request.public_key(), key.public_key());
    }
    let other = CertificateRequest::from_pem(&text.replace("CERTIFICATE REQUEST", "CERTIFICATE"));
    assert!(matches!(other, Err(Error::Pem(PemFault::Label { .. }))));
}

#[test]
fn combinations_outside_the_list_are_refused() {
    let key = PrivateKey::generate(KeyType::Rsa { bits: 3072 }).unwrap();
    let sha512 = Algorithm::RsaPkcs1 {
        bits: 3072,
        hash: HashAlgorithm::Sha512,
    };
    let request = CertificateRequest::from_der(&build_request(&key, sha512).unwrap()).unwrap();
    let result = request.verify(&DEFAULT_PERMITTED_ALGORITHMS);
    assert_eq!(result, Err(Error::AlgorithmNotPermitted { found: sha512 }));
    request.verify(&[sha512]).unwrap();
    // P-256 with SHA-384 is verified on certificates of others and certified for nobody.
    let bench = Bench::new();
    let fixed = [
        "req",
        "-new",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "request.pem",
        "-subj",
        "/CN=a",
    ];
    bench.openssl(
        &[
            &fixed[..],
            &[
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-sha384",
            ],
        ]
        .concat(),
    );
    let request = CertificateRequest::from_pem(&bench.read(&bench.path("request.pem"))).unwrap();
    let result = request.verify(&DEFAULT_PERMITTED_ALGORITHMS);
    let found = Algorithm::EcdsaP256Sha384;
    assert_eq!(result, Err(Error::AlgorithmNotPermitted { found }));
}

#[test]
fn a_request_signed_by_another_key_proves_nothing() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let other = PrivateKey::generate(KeyType::EcP256).unwrap();
    let der = build_request(&key, Algorithm::EcdsaP256Sha256).unwrap();
    let own = key.public_key().ec_point().unwrap();
    let position = der
        .windows(own.len())
        .position(|window| window == own)
        .unwrap();
    let mut stolen = der.clone();
    stolen[position..position + own.len()].copy_from_slice(other.public_key().ec_point().unwrap());
    let request = CertificateRequest::from_der(&stolen).unwrap();
    assert_eq!(request.public_key(), other.public_key());
    let result = request.verify(&DEFAULT_PERMITTED_ALGORITHMS);
    assert_eq!(
        result,
        Err(Error::Signature {
            what: "certification request"
        })
    );
}

#[test]
fn malformed_requests_are_refused() {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let der = build_request(&key, Algorithm::EcdsaP256Sha256).unwrap();
    let trailing = [der.as_slice(), &[0]].concat();
    assert!(matches!(
        CertificateRequest::from_der(&trailing),
        Err(Error::Malformed { .. })
    ));
    let truncated = &der[..der.len() - 1];
    assert!(matches!(
        CertificateRequest::from_der(truncated),
        Err(Error::Malformed { .. })
    ));
    let oversized = vec![0; request::MAX_REQUEST_BYTES + 1];
    assert!(matches!(
        CertificateRequest::from_der(&oversized),
        Err(Error::TooLarge { .. })
    ));
    let twice = pem::encode("CERTIFICATE REQUEST", &der).repeat(2);
    assert!(matches!(
        CertificateRequest::from_pem(&twice),
        Err(Error::Pem(PemFault::TooMany { limit: 1 }))
    ));
    assert!(matches!(
        CertificateRequest::from_pem("not PEM"),
        Err(Error::Pem(PemFault::NoBlock))
    ));
    let open = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n";
    assert!(matches!(
        CertificateRequest::from_pem(open),
        Err(Error::Pem(PemFault::Unterminated))
    ));
    let broken = "-----BEGIN CERTIFICATE REQUEST-----\nA*AA\n-----END CERTIFICATE REQUEST-----\n";
    assert!(matches!(
        CertificateRequest::from_pem(broken),
        Err(Error::Pem(PemFault::Base64))
    ));
}
