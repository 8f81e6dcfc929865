//! A world of authorities and logs in memory, and bundles signed in it.
//!
//! ```
//! use sealwright_testkit::bundle_factory::{Signing, World};
//!
//! let mut world = World::new();
//! let root = world.trusted_root_json();
//! let bundle = world.sign_blob(b"artifact", &Signing::default());
//! assert_eq!(bundle.verification_material.expect("material").tlog_entries.len(), 1);
//! assert!(root.contains("certificateAuthorities"));
//! ```
//!
//! A test that wants something wrong takes the trusted root first and then replaces a part of the
//! world ([`World::ct_log`], [`World::timestamp_authority`], ...), or changes fields of the bundle.

use std::sync::Arc;

use futures::executor::block_on;
use sealwright_crypto::{
    Algorithm, Digest, HashAlgorithm, KeyType, MemorySigner, PrivateKey, PublicKey, Signer as _,
    base64, random_bytes,
};
use sealwright_pki::authority::{self, AuthorityName, Envelope, Parent};
use sealwright_pki::issue::{IssuanceProfile, Issuer, Order, Precertificate, prepare};
use sealwright_pki::key_policy::KeyPolicy;
use sealwright_pki::profile::{FulcioExtensions, Identity, SubjectAlternativeName};
use sealwright_pki::sct::{self, SctEntry, SignedCertificateTimestamp};
use sealwright_pki::serial::SerialNumber;
use sealwright_pki::timestamp::{MessageImprint, Stamp, TokenTemplate};
use sealwright_pki::{Certificate, ObjectIdentifier, Purpose, SignatureScheme, asn1};
use sealwright_proto::Timestamp;
use sealwright_proto::bundle::v1 as bundle;
use sealwright_proto::common::v1 as common;
use sealwright_proto::dsse as dsse_proto;
use sealwright_proto::rekor::v1 as rekor;
use sealwright_proto::trustroot::v1 as trust;
use sealwright_tlog::entry::{EntrySignature, HashedRekord, VerifierMaterial};
use sealwright_tlog::hash::{leaf_hash, merkle_tree_hash};
use sealwright_tlog::proof::inclusion_proof;
use sealwright_tlog::{
    Checkpoint, Error as TlogError, Hash, HashReader, Node, Note, NoteKey, NoteSignature, dsse,
};

/// When things happen unless a test says otherwise: 2026-11-24T12:00:00Z.
pub const NOW: i64 = 1_795_521_600;
/// Length of a day in seconds.
pub const DAY: i64 = 24 * 60 * 60;
/// The signer of [`Signing::default`].
pub const EMAIL: &str = "jane@example.com";
/// The identity provider of [`Signing::default`].
pub const ISSUER: &str = "https://accounts.example.com";
/// Media type of a v0.3 bundle.
pub const BUNDLE_V0_3: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// All services of an instance, each replaceable.
#[derive(Debug, Clone)]
pub struct World {
    /// Issues the signing certificates.
    pub certificate_authority: CertificateAuthority,
    /// Logs the certificates.
    pub ct_log: CtLog,
    /// Signs the times.
    pub timestamp_authority: TimestampAuthority,
    /// Logs the signatures.
    pub log: SignatureLog,
}

/// A certificate authority: a root and an issuing intermediate.
#[derive(Debug, Clone)]
pub struct CertificateAuthority {
    /// Issuing certificate first, root last.
    pub chain: Vec<Certificate>,
    /// Its address.
    pub uri: String,
    issuer: Issuer,
    signer: MemorySigner,
    root: MemorySigner,
}

/// A certificate transparency log.
#[derive(Debug, Clone)]
pub struct CtLog {
    /// Its key.
    pub key: MemorySigner,
    /// Its address.
    pub base_url: String,
    next_index: u64,
}

/// A timestamp authority: a signing leaf below a root.
#[derive(Debug, Clone)]
pub struct TimestampAuthority {
    /// Signer's certificate first, root last.
    pub chain: Vec<Certificate>,
    /// The full endpoint.
    pub uri: String,
    signer: MemorySigner,
}

/// A signature log with its leaves.
#[derive(Debug, Clone)]
pub struct SignatureLog {
    /// Its key.
    pub key: MemorySigner,
    /// The name in its checkpoints.
    pub origin: String,
    /// Its address.
    pub base_url: String,
    /// The tree's number in the origin line, as logs of the first version write it (`origin - number`).
    pub tree_id: Option<u64>,
    /// Its leaves in order.
    pub leaves: Vec<Vec<u8>>,
}

/// A signer with a certificate: may sign more than once, unlike those that [`World::sign_blob`] makes and forgets.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The key that signs.
    pub key: Arc<PrivateKey>,
    /// The certificate, for this key unless [`Signing::forged`] was asked for.
    pub certificate: Certificate,
}

/// How a bundle is signed.
#[derive(Debug, Clone)]
pub struct Signing {
    /// Who signs, keyless.
    pub identity: Identity,
    /// The kind of the signer's key.
    pub key_type: KeyType,
    /// How the key signs; `None` for the way that belongs to its kind in a bundle.
    pub algorithm: Option<Algorithm>,
    /// When the certificate is issued, Unix seconds.
    pub issued_at: i64,
    /// How long it is valid, seconds.
    pub validity_s: u32,
    /// Whether the signature is made with another key than the certificate's.
    pub forged: bool,
    /// Whether the certificate carries the log's timestamp, or one that the log did not sign.
    pub sct: SctKind,
    /// When the signature is timestamped; one token each.
    pub stamped_at: Vec<i64>,
    /// Whether the tokens carry the authority's certificates.
    pub tokens_with_certificates: bool,
    /// How many entries the log takes besides, before and after.
    pub other_entries: (usize, usize),
}

/// The certificate timestamp inside a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SctKind {
    /// Signed by the log over this certificate.
    Good,
    /// The same, without the leaf index that logs of today put into the extensions.
    WithoutExtensions,
    /// Signed by the log over other bytes.
    Tampered,
    /// Not there at all.
    Missing,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            identity: email(EMAIL, ISSUER),
            key_type: KeyType::EcP256,
            algorithm: None,
            issued_at: NOW,
            validity_s: 600,
            forged: false,
            sct: SctKind::Good,
            stamped_at: vec![NOW + 2],
            tokens_with_certificates: true,
            other_entries: (3, 2),
        }
    }
}

/// An e-mail address vouched for by an identity provider.
#[must_use]
pub fn email(address: &str, issuer: &str) -> Identity {
    Identity {
        subject_alternative_name: SubjectAlternativeName::Email(address.into()),
        issuer: issuer.into(),
        extensions: FulcioExtensions::default(),
    }
}

/// A workload named by a URI, with attributes of the certificate profile by name.
#[must_use]
pub fn workload(uri: &str, issuer: &str, attributes: &[(&str, &str)]) -> Identity {
    let mut extensions = FulcioExtensions::default();
    for (name, value) in attributes {
        assert!(
            extensions.set(name, *value),
            "the profile has no attribute {name}"
        );
    }
    Identity {
        subject_alternative_name: SubjectAlternativeName::Uri(uri.into()),
        issuer: issuer.into(),
        extensions,
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An instance whose authorities are valid from a year before [`NOW`] to ten years after.
    #[must_use]
    pub fn new() -> Self {
        Self {
            certificate_authority: CertificateAuthority::new("https://ca.example.com"),
            ct_log: CtLog::new("https://ct.example.com/2026"),
            timestamp_authority: TimestampAuthority::new(
                "https://tsa.example.com/api/v1/timestamp",
            ),
            log: SignatureLog::new("https://log2026.example.com"),
        }
    }

    /// The trusted root of the world as it is now.
    #[must_use]
    pub fn trusted_root(&self) -> trust::TrustedRoot {
        trust::TrustedRoot {
            // The older one is read by every published client, the newer one by few.
            media_type: "application/vnd.dev.sigstore.trustedroot+json;version=0.1".into(),
            tlogs: vec![self.log.trusted()],
            certificate_authorities: vec![self.certificate_authority.trusted()],
            ctlogs: vec![self.ct_log.trusted()],
            timestamp_authorities: vec![self.timestamp_authority.trusted()],
        }
    }

    /// The same as a document.
    #[must_use]
    pub fn trusted_root_json(&self) -> String {
        serde_json::to_string(&self.trusted_root()).expect("a message is JSON")
    }

    /// Signs a file keylessly.
    pub fn sign_blob(&mut self, artifact: &[u8], signing: &Signing) -> bundle::Bundle {
        let signer = self.enroll(signing);
        self.sign_blob_as(&signer, artifact, signing)
    }

    /// The same by a signer that is there already.
    pub fn sign_blob_as(
        &mut self,
        signer: &Enrolled,
        artifact: &[u8],
        signing: &Signing,
    ) -> bundle::Bundle {
        let algorithm = signing.algorithm();
        let (digest, signature) = sign_message(&signer.key, algorithm, artifact);
        self.bundle_with_certificate(digest, signature, &signer.certificate, algorithm, signing)
    }

    /// A bundle around a signature that was made elsewhere over a file of this digest, by a certificate's key.
    pub fn bundle_with_certificate(
        &mut self,
        digest: Digest,
        signature: Vec<u8>,
        certificate: &Certificate,
        algorithm: Algorithm,
        signing: &Signing,
    ) -> bundle::Bundle {
        let material = certificate_material(certificate);
        let verifier = VerifierMaterial::X509Certificate(certificate.der().to_vec());
        let content = message_content(&digest, &signature);
        self.finish(
            material, content, digest, signature, verifier, algorithm, signing,
        )
    }

    /// Signs a statement keylessly, in a DSSE envelope.
    pub fn sign_statement(&mut self, statement: &str, signing: &Signing) -> bundle::Bundle {
        let signer = self.enroll(signing);
        self.sign_statement_as(&signer, statement, signing)
    }

    /// The same by a signer that is there already.
    pub fn sign_statement_as(
        &mut self,
        signer: &Enrolled,
        statement: &str,
        signing: &Signing,
    ) -> bundle::Bundle {
        let leaf = &signer.certificate;
        let algorithm = signing.algorithm();
        let payload_type = "application/vnd.in-toto+json";
        let (digest, signature) = sign_message(
            &signer.key,
            algorithm,
            &dsse::pae(payload_type, statement.as_bytes()),
        );
        let material = certificate_material(leaf);
        let verifier = VerifierMaterial::X509Certificate(leaf.der().to_vec());
        let content =
            bundle::bundle::Content::DsseEnvelope(envelope(payload_type, statement, &signature));
        self.finish(
            material, content, digest, signature, verifier, algorithm, signing,
        )
    }

    /// Signs a file with a key that the verifier has to know.
    pub fn sign_blob_with_key(
        &mut self,
        artifact: &[u8],
        key: &PrivateKey,
        signing: &Signing,
    ) -> bundle::Bundle {
        let algorithm = signing
            .algorithm
            .unwrap_or_else(|| log_algorithm(key.key_type()));
        let (digest, signature) = sign_message(key, algorithm, artifact);
        self.bundle_of(digest, signature, key.public_key(), algorithm, signing)
    }

    /// Signs a statement with such a key.
    pub fn sign_statement_with_key(
        &mut self,
        statement: &str,
        key: &PrivateKey,
        signing: &Signing,
    ) -> bundle::Bundle {
        let algorithm = signing
            .algorithm
            .unwrap_or_else(|| log_algorithm(key.key_type()));
        let payload_type = "application/vnd.in-toto+json";
        let message = dsse::pae(payload_type, statement.as_bytes());
        let (digest, signature) = sign_message(key, algorithm, &message);
        let verifier = VerifierMaterial::PublicKey(key.public_key().spki_der().to_vec());
        self.finish(
            key_material(key.public_key()),
            bundle::bundle::Content::DsseEnvelope(envelope(payload_type, statement, &signature)),
            digest,
            signature,
            verifier,
            algorithm,
            signing,
        )
    }

    /// A bundle around a signature that was made elsewhere over a file of this digest.
    pub fn bundle_of(
        &mut self,
        digest: Digest,
        signature: Vec<u8>,
        key: &PublicKey,
        algorithm: Algorithm,
        signing: &Signing,
    ) -> bundle::Bundle {
        let material = key_material(key);
        let verifier = VerifierMaterial::PublicKey(key.spki_der().to_vec());
        let content = message_content(&digest, &signature);
        self.finish(
            material, content, digest, signature, verifier, algorithm, signing,
        )
    }

    /// A new key and its certificate.
    pub fn enroll(&mut self, signing: &Signing) -> Enrolled {
        let key = PrivateKey::generate(signing.key_type).expect("a key");
        let certificate = self.certify(key.public_key(), signing);
        let key = if signing.forged {
            PrivateKey::generate(signing.key_type).expect("a key")
        } else {
            key
        };
        Enrolled {
            key: Arc::new(key),
            certificate,
        }
    }

    /// A new key and a certificate that each of these logs has taken, in their order. A log may be named twice.
    pub fn enroll_with_logs(
        &mut self,
        logs: &mut [CtLog],
        order: &[usize],
        signing: &Signing,
    ) -> Enrolled {
        let key = PrivateKey::generate(signing.key_type).expect("a key");
        let authority = &self.certificate_authority;
        let precertificate = authority.precertificate(key.public_key(), signing);
        let timestamps: Vec<_> = order
            .iter()
            .map(|log| logs[*log].add_precertificate(&precertificate, &authority.issuer, signing))
            .collect();
        Enrolled {
            certificate: authority.certificate(&precertificate, &timestamps),
            key: Arc::new(key),
        }
    }

    /// A certificate with its timestamp from the certificate log.
    pub fn certify(&mut self, key: &PublicKey, signing: &Signing) -> Certificate {
        let authority = &self.certificate_authority;
        let precertificate = authority.precertificate(key, signing);
        let sct = self
            .ct_log
            .add_precertificate(&precertificate, &authority.issuer, signing);
        let certificate = authority.certificate(&precertificate, std::slice::from_ref(&sct));
        match signing.sct {
            SctKind::Good | SctKind::WithoutExtensions | SctKind::Tampered => certificate,
            SctKind::Missing => authority.without_timestamps(&certificate),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a bundle, each made by its caller"
    )]
    fn finish(
        &mut self,
        material: bundle::verification_material::Content,
        content: bundle::bundle::Content,
        data: Digest,
        signature: Vec<u8>,
        verifier: VerifierMaterial,
        key_details: Algorithm,
        signing: &Signing,
    ) -> bundle::Bundle {
        let tokens = signing
            .stamped_at
            .iter()
            .map(|at| {
                self.timestamp_authority
                    .stamp(&signature, *at, signing.tokens_with_certificates)
            })
            .map(|signed_timestamp| common::Rfc3161SignedTimestamp { signed_timestamp })
            .collect();
        let entry = HashedRekord {
            data,
            signature: EntrySignature {
                content: signature,
                verifier,
                key_details,
            },
        };
        let entry = self.log.add_among_others(&entry, signing.other_entries);
        bundle::Bundle {
            media_type: BUNDLE_V0_3.into(),
            verification_material: Some(bundle::VerificationMaterial {
                content: Some(material),
                tlog_entries: vec![entry],
                timestamp_verification_data: Some(bundle::TimestampVerificationData {
                    rfc3161_timestamps: tokens,
                }),
            }),
            content: Some(content),
        }
    }
}

impl Signing {
    /// The algorithm of the signature.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
            .unwrap_or_else(|| log_algorithm(self.key_type))
    }
}

/// How keys of this kind sign what goes into a log: the prehashed form where there are two.
fn log_algorithm(key_type: KeyType) -> Algorithm {
    match key_type {
        KeyType::Ed25519 => Algorithm::Ed25519Ph,
        other => other.default_algorithm(),
    }
}

/// The digest that goes into the log, and the signature.
fn sign_message(key: &PrivateKey, algorithm: Algorithm, message: &[u8]) -> (Digest, Vec<u8>) {
    match algorithm.hash() {
        Some(hash) => {
            let digest = hash.digest(message);
            let signature = key
                .sign_digest(algorithm, &digest)
                .expect("the key signs digests");
            (digest, signature)
        }
        None => {
            let signature = key
                .sign(algorithm, message)
                .expect("the key signs messages");
            (HashAlgorithm::Sha512.digest(message), signature)
        }
    }
}

fn certificate_material(leaf: &Certificate) -> bundle::verification_material::Content {
    bundle::verification_material::Content::Certificate(x509(leaf))
}

fn key_material(key: &PublicKey) -> bundle::verification_material::Content {
    let hint = base64::encode(&key.fingerprint());
    bundle::verification_material::Content::PublicKey(common::PublicKeyIdentifier { hint })
}

fn message_content(digest: &Digest, signature: &[u8]) -> bundle::bundle::Content {
    let message_digest = common::HashOutput {
        algorithm: digest.algorithm().number(),
        digest: digest.as_bytes().to_vec(),
    };
    bundle::bundle::Content::MessageSignature(common::MessageSignature {
        message_digest: Some(message_digest),
        signature: signature.to_vec(),
    })
}

fn envelope(payload_type: &str, payload: &str, signature: &[u8]) -> dsse_proto::Envelope {
    dsse_proto::Envelope {
        payload: payload.into(),
        payload_type: payload_type.into(),
        signatures: vec![dsse_proto::Signature {
            sig: signature.to_vec(),
            keyid: String::new(),
        }],
    }
}

/// An in-toto statement v1 about one artifact.
#[must_use]
pub fn statement(artifact: &[u8], predicate_type: &str) -> String {
    let digest: String = HashAlgorithm::Sha256
        .digest(artifact)
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"artifact","digest":{{"sha256":"{digest}"}}}}],"predicateType":"{predicate_type}","predicate":{{"claim":true}}}}"#
    )
}

impl CertificateAuthority {
    /// A root and an issuing certificate.
    #[must_use]
    pub fn new(uri: &str) -> Self {
        Self::valid(uri, LONG)
    }

    /// The same with certificates for this time alone: Unix seconds, both ends included.
    #[must_use]
    pub fn valid(uri: &str, validity: (i64, i64)) -> Self {
        let (root_key, root) = new_root("certificate root", 1, validity);
        let root_key = MemorySigner::new(root_key);
        let signer = new_signer(KeyType::EcP256);
        let issuing = issuing_certificate(signer.public_key(), &root, &root_key, validity);
        let issuer = Issuer::new(issuing.clone(), &signer).expect("an issuer");
        Self {
            chain: vec![issuing, root],
            uri: uri.into(),
            issuer,
            signer,
            root: root_key,
        }
    }

    /// A chain with another issuing certificate for the same key: what was issued leads to both.
    #[must_use]
    pub fn reissued(&self, validity: (i64, i64)) -> Vec<Certificate> {
        let root = self.chain.last().expect("a root").clone();
        let issuing = issuing_certificate(self.signer.public_key(), &root, &self.root, validity);
        vec![issuing, root]
    }

    fn precertificate(&self, key: &PublicKey, signing: &Signing) -> Precertificate {
        let keys = KeyPolicy {
            accept_rsa_2048: true,
            ..KeyPolicy::default()
        };
        let profile = IssuanceProfile::new(signing.validity_s, 0, keys).expect("a profile");
        let order = Order {
            identity: &signing.identity,
            public_key: key,
            serial: serial(),
            now: signing.issued_at,
        };
        let permit = prepare(&self.issuer, &profile, order)
            .and_then(|prepared| prepared.lint())
            .expect("a permit");
        block_on(permit.sign(&self.signer)).expect("a precertificate")
    }

    fn certificate(
        &self,
        precertificate: &Precertificate,
        timestamps: &[SignedCertificateTimestamp],
    ) -> Certificate {
        let permit = precertificate
            .with_timestamps(timestamps)
            .expect("a permit");
        block_on(permit.sign(&self.signer)).expect("a certificate")
    }

    /// Signs what a certificate says once more, but for the timestamps: no authority of ours does so.
    fn without_timestamps(&self, certificate: &Certificate) -> Certificate {
        let tbs =
            sct::precertificate_tbs(certificate.tbs_der()).expect("a to-be-signed certificate");
        Certificate::from_der(self.sign_tbs(&tbs)).expect("a certificate")
    }

    /// The DER of a certificate with this to-be-signed part, whatever that says: no authority of ours signs unseen.
    #[must_use]
    pub fn sign_tbs(&self, tbs: &[u8]) -> Vec<u8> {
        let scheme = SignatureScheme::of(self.signer.algorithm()).expect("a scheme");
        let signature = [&[0], sign(&self.signer, tbs).as_slice()].concat();
        let signature = asn1::encode(asn1::tag::BIT_STRING, &signature);
        asn1::encode_sequence(&[tbs, &scheme.identifier_der(), &signature])
    }

    /// Its entry in a trusted root.
    #[must_use]
    pub fn trusted(&self) -> trust::CertificateAuthority {
        trusted_authority(&self.uri, &self.chain)
    }
}

impl CtLog {
    /// A log with a new key.
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        Self {
            key: new_signer(KeyType::EcP256),
            base_url: base_url.into(),
            next_index: 0,
        }
    }

    fn add_precertificate(
        &mut self,
        precertificate: &Precertificate,
        issuer: &Issuer,
        signing: &Signing,
    ) -> SignedCertificateTimestamp {
        let issuer_key_hash = match signing.sct {
            SctKind::Good | SctKind::WithoutExtensions | SctKind::Missing => {
                issuer.issuer_key_hash()
            }
            SctKind::Tampered => [0; 32],
        };
        let entry = SctEntry::precertificate_of(precertificate.certificate(), issuer_key_hash)
            .expect("an entry");
        let timestamp_ms = u64::try_from(signing.issued_at).expect("a time after 1970") * 1000;
        let extensions = match signing.sct {
            SctKind::WithoutExtensions => Vec::new(),
            _ => sct::leaf_index_extensions(self.next_index)
                .expect("a small index")
                .to_vec(),
        };
        self.next_index += 1;
        let message = sct::signing_input(timestamp_ms, &entry, &extensions).expect("a message");
        SignedCertificateTimestamp {
            log_id: sct::log_id(self.key.public_key()),
            timestamp_ms,
            extensions,
            signature_algorithm: sct::signature_algorithm_octets(self.key.algorithm())
                .expect("an algorithm of TLS"),
            signature: sign(&self.key, &message),
        }
    }

    /// Its entry in a trusted root.
    #[must_use]
    pub fn trusted(&self) -> trust::TransparencyLogInstance {
        let key = self.key.public_key();
        trusted_log(&self.base_url, key, &sct::log_id(key))
    }
}

impl TimestampAuthority {
    /// A signing leaf below a root.
    #[must_use]
    pub fn new(uri: &str) -> Self {
        Self::valid(uri, LONG)
    }

    /// The same with certificates for this time alone: Unix seconds, both ends included.
    #[must_use]
    pub fn valid(uri: &str, validity: (i64, i64)) -> Self {
        let (root_key, root) = new_root("timestamp root", 0, validity);
        let signer = new_signer(KeyType::EcP256);
        let parent = Parent {
            certificate: &root,
            key: &root_key,
        };
        let leaf = authority::time_stamping_leaf(
            signer.public_key(),
            &name("timestamp authority"),
            &envelope_of(validity),
            parent,
        )
        .expect("a leaf");
        Self {
            chain: vec![leaf, root],
            uri: uri.into(),
            signer,
        }
    }

    /// A signature of the authority over these signed attributes, whatever they say.
    #[must_use]
    pub fn sign(&self, signed_attributes: &[u8]) -> Vec<u8> {
        sign(&self.signer, signed_attributes)
    }

    /// A TimeStampResp over `data`.
    #[must_use]
    pub fn stamp(&self, data: &[u8], gen_time: i64, with_certificates: bool) -> Vec<u8> {
        let template =
            TokenTemplate::new(&self.chain, self.signer.algorithm(), None).expect("a template");
        let digest = HashAlgorithm::Sha256.digest(data);
        let message_imprint =
            MessageImprint::new(HashAlgorithm::Sha256, digest.as_bytes()).expect("an imprint");
        let policy = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.2");
        let serial = random_bytes();
        let stamp = Stamp {
            policy,
            message_imprint,
            serial,
            gen_time,
            nonce: None,
            with_certificates,
        };
        let prepared = template.prepare(&stamp).expect("a time of the calendar");
        prepared.finish(&sign(&self.signer, prepared.message()))
    }

    /// Its entry in a trusted root.
    #[must_use]
    pub fn trusted(&self) -> trust::CertificateAuthority {
        trusted_authority(&self.uri, &self.chain)
    }
}

impl SignatureLog {
    /// An empty log with an Ed25519 key, whose origin is the host of its address.
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        let origin = base_url
            .trim_start_matches("https://")
            .split([':', '/'])
            .next()
            .unwrap_or_default();
        let key = new_signer(KeyType::Ed25519);
        Self {
            key,
            origin: origin.into(),
            base_url: base_url.into(),
            tree_id: None,
            leaves: Vec::new(),
        }
    }

    /// Adds an entry between others and proves it in the tree of them all.
    pub fn add_among_others(
        &mut self,
        entry: &HashedRekord,
        others: (usize, usize),
    ) -> rekor::TransparencyLogEntry {
        let body = entry
            .canonical_body()
            .expect("an algorithm of the registry");
        self.add_body_among_others(body, others)
    }

    /// The same for a body of any kind.
    pub fn add_body_among_others(
        &mut self,
        body: Vec<u8>,
        others: (usize, usize),
    ) -> rekor::TransparencyLogEntry {
        self.add_others(others.0);
        let index = self.leaves.len();
        self.leaves.push(body);
        self.add_others(others.1);
        self.entry(index)
    }

    fn add_others(&mut self, count: usize) {
        let first = self.leaves.len();
        self.leaves.extend(
            (first..first + count).map(|index| format!("another entry, {index}").into_bytes()),
        );
    }

    /// The answer for the leaf at `index`, proven in the tree as it is now.
    #[must_use]
    pub fn entry(&self, index: usize) -> rekor::TransparencyLogEntry {
        let hashes: Vec<Hash> = self.leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let (index64, size) = (number(index), number(hashes.len()));
        let root = merkle_tree_hash(&hashes);
        let proof = inclusion_proof(
            index64.unsigned_abs(),
            size.unsigned_abs(),
            &Leaves(&hashes),
        )
        .expect("a proof");
        rekor::TransparencyLogEntry {
            log_index: index64,
            log_id: Some(common::LogId {
                key_id: self.note_key().log_id().to_vec(),
            }),
            kind_version: Some(rekor::KindVersion {
                kind: "hashedrekord".into(),
                version: "0.0.2".into(),
            }),
            integrated_time: 0,
            inclusion_promise: None,
            inclusion_proof: Some(rekor::InclusionProof {
                log_index: index64,
                root_hash: root.to_vec(),
                tree_size: size,
                hashes: proof.iter().map(|hash| hash.to_vec()).collect(),
                checkpoint: Some(rekor::Checkpoint {
                    envelope: self.checkpoint(size.unsigned_abs(), root),
                }),
            }),
            canonicalized_body: self.leaves[index].clone(),
        }
    }

    /// A checkpoint signed by the log, whatever it says.
    #[must_use]
    pub fn checkpoint(&self, size: u64, root: Hash) -> String {
        self.sign_text(&Checkpoint::new(&self.origin_line(), size, root).to_text())
    }

    /// A note of this text, signed by the log, be it a checkpoint or not.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> String {
        let mut note = Note::new(text).expect("a text");
        note.push(self.signature_line(text));
        note.to_string()
    }

    /// The log's signature line for a note of this text.
    #[must_use]
    pub fn signature_line(&self, text: &str) -> NoteSignature {
        self.note_key()
            .signature(&sign(&self.key, text.as_bytes()), 0)
            .expect("a signature line")
    }

    /// The first line of its checkpoints.
    #[must_use]
    pub fn origin_line(&self) -> String {
        match self.tree_id {
            Some(tree_id) => format!("{} - {tree_id}", self.origin),
            None => self.origin.clone(),
        }
    }

    fn note_key(&self) -> NoteKey {
        NoteKey::for_log(&self.origin, self.key.public_key().clone()).expect("a key for notes")
    }

    /// Its entry in a trusted root.
    #[must_use]
    pub fn trusted(&self) -> trust::TransparencyLogInstance {
        trusted_log(
            &self.base_url,
            self.key.public_key(),
            &self.note_key().log_id(),
        )
    }
}

/// Node hashes out of the leaf hashes of a small tree.
struct Leaves<'a>(&'a [Hash]);

impl HashReader for Leaves<'_> {
    type Error = TlogError;

    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, TlogError> {
        Ok(nodes.iter().map(|node| self.node(*node)).collect())
    }
}

impl Leaves<'_> {
    fn node(&self, node: Node) -> Hash {
        let width = 1_usize << node.level;
        let start = usize::try_from(node.index).expect("a small tree") * width;
        merkle_tree_hash(&self.0[start..start + width])
    }
}

fn issuing_certificate(
    key: &PublicKey,
    root: &Certificate,
    root_key: &MemorySigner,
    validity: (i64, i64),
) -> Certificate {
    let parent = Parent {
        certificate: root,
        key: root_key.private_key(),
    };
    authority::intermediate(
        key,
        &name("issuing authority"),
        Purpose::CodeSigning,
        &envelope_of(validity),
        parent,
    )
    .expect("an intermediate")
}

/// From a year before [`NOW`] to ten years after.
const LONG: (i64, i64) = (NOW - 365 * DAY, NOW + 3650 * DAY);

fn new_root(common_name: &str, path_len: u8, validity: (i64, i64)) -> (PrivateKey, Certificate) {
    let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
    let certificate = authority::root(&key, &name(common_name), path_len, &envelope_of(validity))
        .expect("a root");
    (key, certificate)
}

fn new_signer(key_type: KeyType) -> MemorySigner {
    MemorySigner::new(PrivateKey::generate(key_type).expect("a key"))
}

fn sign(signer: &MemorySigner, message: &[u8]) -> Vec<u8> {
    signer
        .sign_now(message)
        .expect("keys in memory sign at once")
        .expect("a signature")
}

fn name(common_name: &str) -> AuthorityName {
    AuthorityName {
        common_name: common_name.into(),
        organization: "example.com".into(),
        development: true,
    }
}

fn serial() -> SerialNumber {
    SerialNumber::from_random(random_bytes())
}

fn envelope_of((not_before, not_after): (i64, i64)) -> Envelope {
    Envelope {
        serial: serial(),
        not_before,
        not_after,
    }
}

fn trusted_authority(uri: &str, chain: &[Certificate]) -> trust::CertificateAuthority {
    trust::CertificateAuthority {
        subject: Some(common::DistinguishedName {
            organization: "example.com".into(),
            common_name: uri.into(),
        }),
        uri: uri.into(),
        cert_chain: Some(common::X509CertificateChain {
            certificates: chain.iter().map(x509).collect(),
        }),
        valid_for: Some(window(NOW - 365 * DAY, None)),
        operator: "example.com".into(),
    }
}

fn trusted_log(base_url: &str, key: &PublicKey, log_id: &[u8]) -> trust::TransparencyLogInstance {
    trust::TransparencyLogInstance {
        base_url: base_url.into(),
        hash_algorithm: common::HashAlgorithm::Sha2256.into(),
        public_key: Some(common::PublicKey {
            raw_bytes: Some(key.spki_der().to_vec()),
            key_details: key.default_algorithm().key_details().unwrap_or_default(),
            valid_for: Some(window(NOW - 365 * DAY, None)),
        }),
        log_id: Some(common::LogId {
            key_id: log_id.to_vec(),
        }),
        checkpoint_key_id: None,
        operator: "example.com".into(),
    }
}

/// A window of trust, Unix seconds, both ends included.
#[must_use]
pub fn window(start: i64, end: Option<i64>) -> common::TimeRange {
    let time = |seconds| Timestamp { seconds, nanos: 0 };
    common::TimeRange {
        start: Some(time(start)),
        end: end.map(time),
    }
}

fn x509(certificate: &Certificate) -> common::X509Certificate {
    common::X509Certificate {
        raw_bytes: certificate.der().to_vec(),
    }
}

fn number(index: usize) -> i64 {
    i64::try_from(index).expect("a small number")
}
