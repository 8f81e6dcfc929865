//! Certificates of any kind, right or wrong, written without the code under test beyond its DER writer.

use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, PublicKey, random_bytes};
use sealwright_pki::asn1::{self, Writer, tag};
use sealwright_pki::authority::{self, AuthorityName, Envelope, Parent};
use sealwright_pki::issue::Issuer;
use sealwright_pki::{Certificate, ObjectIdentifier, Purpose, SerialNumber, SignatureScheme, oid};

/// 2026-11-24T00:00:00Z
pub(crate) const NOW: i64 = 1_795_478_400;
pub(crate) const YEAR: i64 = 365 * 24 * 3600;

/// Runs a future that never waits, as those over signers in memory.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a signer in memory answers at once"),
    }
}

pub(crate) fn serial() -> SerialNumber {
    SerialNumber::from_random(random_bytes())
}

pub(crate) fn envelope(not_before: i64, not_after: i64) -> Envelope {
    Envelope {
        serial: serial(),
        not_before,
        not_after,
    }
}

pub(crate) fn name(common_name: &str) -> AuthorityName {
    AuthorityName {
        common_name: common_name.to_owned(),
        organization: "Example".to_owned(),
        development: false,
    }
}

/// A root, an issuing authority below it, and the signer that holds the latter's key.
pub(crate) struct Authority {
    pub(crate) root: Certificate,
    pub(crate) intermediate: Certificate,
    pub(crate) signer: MemorySigner,
    pub(crate) issuer: Issuer,
}

pub(crate) fn code_signing_authority(key_type: KeyType) -> Authority {
    let root_key = PrivateKey::generate(key_type).unwrap();
    let key = PrivateKey::generate(key_type).unwrap();
    let root = authority::root(
        &root_key,
        &name("root"),
        1,
        &envelope(NOW - YEAR, NOW + 10 * YEAR),
    )
    .unwrap();
    let intermediate = authority::intermediate(
        key.public_key(),
        &name("issuing"),
        Purpose::CodeSigning,
        &envelope(NOW - YEAR, NOW + 5 * YEAR),
        Parent {
            certificate: &root,
            key: &root_key,
        },
    )
    .unwrap();
    let signer = MemorySigner::new(key);
    let issuer = Issuer::new(intermediate.clone(), &signer).unwrap();
    Authority {
        root,
        intermediate,
        signer,
        issuer,
    }
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).unwrap()
}

pub(crate) fn extension(oid: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.oid(oid);
        if critical {
            w.boolean(true);
        }
        w.octet_string(value);
    });
    writer.finish()
}

pub(crate) fn key_usage(octet: u8, unused: u8) -> Vec<u8> {
    extension(&oid::KEY_USAGE, true, &[tag::BIT_STRING, 2, unused, octet])
}

/// keyCertSign and cRLSign
pub(crate) fn ca_usage() -> Vec<u8> {
    key_usage(0x06, 1)
}

/// digitalSignature
pub(crate) fn leaf_usage() -> Vec<u8> {
    key_usage(0x80, 7)
}

pub(crate) fn purposes(critical: bool, purposes: &[ObjectIdentifier]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| purposes.iter().for_each(|purpose| w.oid(purpose)));
    extension(&oid::EXTENDED_KEY_USAGE, critical, &writer.finish())
}

pub(crate) fn basic_constraints(ca: bool, path_len: Option<u64>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| {
        if ca {
            w.boolean(true);
        }
        if let Some(path_len) = path_len {
            w.integer(path_len);
        }
    });
    extension(&oid::BASIC_CONSTRAINTS, true, &writer.finish())
}

/// subjectAltName with one URI.
pub(crate) fn uri(text: &str) -> Vec<u8> {
    let names = asn1::encode_sequence(&[&asn1::encode(tag::context(6), text.as_bytes())]);
    extension(&oid::SUBJECT_ALT_NAME, true, &names)
}

/// `SEQUENCE { SET { SEQUENCE { commonName, UTF8String } } }`, or an empty name for an empty text.
pub(crate) fn name_der(common_name: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| {
        if !common_name.is_empty() {
            w.nested(tag::SET, |w| {
                w.sequence(|w| {
                    w.oid(&oid::COMMON_NAME);
                    w.utf8_string(common_name);
                });
            });
        }
    });
    writer.finish()
}

/// Everything a certificate says, to be changed at will before it is signed.
#[derive(Clone)]
pub(crate) struct Forge {
    pub(crate) version: Option<u64>,
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) subject: Vec<u8>,
    pub(crate) public_key: PublicKey,
    pub(crate) extensions: Vec<Vec<u8>>,
    /// DER of both AlgorithmIdentifiers, where it is not the signer's own.
    pub(crate) algorithm: Option<Vec<u8>>,
}

impl Forge {
    pub(crate) fn new(issuer: &str, subject: &str, public_key: &PublicKey) -> Self {
        Self {
            version: Some(2),
            serial: vec![0x2a; 16],
            issuer: name_der(issuer),
            not_before: NOW - 60,
            not_after: NOW + 600,
            subject: name_der(subject),
            public_key: public_key.clone(),
            extensions: Vec::new(),
            algorithm: None,
        }
    }

    pub(crate) fn authority(issuer: &str, subject: &str, public_key: &PublicKey) -> Self {
        let extensions = vec![ca_usage(), basic_constraints(true, None)];
        Self::new(issuer, subject, public_key).with(extensions)
    }

    pub(crate) fn leaf(issuer: &str, public_key: &PublicKey) -> Self {
        let extensions = vec![
            leaf_usage(),
            purposes(false, &[oid::CODE_SIGNING]),
            uri("https://example.com/workflow"),
        ];
        Self::new(issuer, "", public_key).with(extensions)
    }

    pub(crate) fn with(mut self, extensions: Vec<Vec<u8>>) -> Self {
        self.extensions = extensions;
        self
    }

    pub(crate) fn plus(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(crate) fn tbs(&self, scheme_der: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.sequence(|w| {
            if let Some(version) = self.version {
                w.nested(tag::context_constructed(0), |w| w.integer(version));
            }
            w.tlv(tag::INTEGER, &self.serial);
            w.raw(scheme_der);
            w.raw(&self.issuer);
            w.sequence(|w| {
                for time in [self.not_before, self.not_after] {
                    let (tag, text) = asn1::certificate_time(time).unwrap();
                    w.tlv(tag, text.as_bytes());
                }
            });
            w.raw(&self.subject);
            w.raw(self.public_key.spki_der());
            if !self.extensions.is_empty() {
                w.nested(tag::context_constructed(3), |w| {
                    w.sequence(|w| self.extensions.iter().for_each(|e| w.raw(e)));
                });
            }
        });
        writer.finish()
    }

    pub(crate) fn sign_der(&self, key: &PrivateKey) -> Vec<u8> {
        let algorithm = key.key_type().default_algorithm();
        let own = SignatureScheme::of(algorithm).unwrap().identifier_der();
        let identifier = self.algorithm.clone().unwrap_or(own);
        let tbs = self.tbs(&identifier);
        let signature = key.sign(algorithm, &tbs).unwrap();
        let mut writer = Writer::new();
        writer.sequence(|w| {
            w.raw(&tbs);
            w.raw(&identifier);
            w.bit_string(&signature);
        });
        writer.finish()
    }

    pub(crate) fn sign(&self, key: &PrivateKey) -> Certificate {
        Certificate::from_der(self.sign_der(key)).unwrap()
    }
}
