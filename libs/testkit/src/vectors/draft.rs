//! A case while it is made: the world it comes from, and every part that decides on it, open to change.

use std::sync::Arc;

use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, MemorySigner, PrivateKey, PublicKey};
use sealwright_pki::Certificate;
use sealwright_proto::bundle::v1::{
    self as bundle, bundle::Content, verification_material::Content as Material,
};
use sealwright_proto::common::v1 as common;
use sealwright_proto::dsse as envelope;
use sealwright_proto::rekor::v1 as rekor;
use sealwright_proto::trustroot::v1 as trust;
use sealwright_tlog::entry::{Dsse, EntrySignature, VerifierMaterial};
use serde_json::{Value, json};

use super::{ARTIFACT, Asked, Demands, SIGNED_AT, jane};
use crate::bundle_factory::{
    Enrolled, SignatureLog, Signing, TimestampAuthority, World, statement,
};
use crate::rekor_v1::{self, KindVersion};

/// The predicate type of the statements here.
pub(super) const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// What is signed, and by whom.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Blob,
    /// A statement, as text.
    Statement(String),
    /// The artifact by a key without certificate.
    BlobByKey(Arc<PrivateKey>),
    /// A statement by a key without certificate.
    StatementByKey(Arc<PrivateKey>, String),
}

/// Which generation of log takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logging {
    V2,
    /// The kind for envelopes that logs of the second generation took at first.
    V2Dsse,
    /// With the time that the log promises.
    V1(KindVersion, i64),
}

/// The bundle's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    V0_1,
    V0_2,
    V0_3,
}

#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) world: World,
    pub(super) root: trust::TrustedRoot,
    pub(super) bundle: bundle::Bundle,
    pub(super) artifact: Vec<u8>,
    pub(super) asked: Asked,
    pub(super) demands: Demands,
    pub(super) signing: Signing,
    pub(super) form: Form,
    pub(super) logging: Logging,
    pub(super) format: Format,
    /// The certificate's holder, in keyless bundles.
    pub(super) signer: Option<Enrolled>,
    /// Changes of the documents that no message can express.
    pub(super) edit: fn(String) -> String,
    pub(super) edit_root: fn(String) -> String,
    pub(super) needs_more_than_sha256: bool,
}

impl Draft {
    /// A keyless signature of today over the artifact.
    pub(super) fn new() -> Self {
        let world = World::new();
        let mut draft = Self {
            root: world.trusted_root(),
            world,
            bundle: bundle::Bundle::default(),
            artifact: ARTIFACT.to_vec(),
            asked: jane(),
            demands: Demands::default(),
            signing: Signing {
                issued_at: SIGNED_AT,
                stamped_at: vec![SIGNED_AT + 2],
                ..Signing::default()
            },
            form: Form::Blob,
            logging: Logging::V2,
            format: Format::V0_3,
            signer: None,
            edit: |text| text,
            edit_root: |text| text,
            needs_more_than_sha256: false,
        };
        draft.sign();
        draft
    }

    /// The same in a log of the first generation, which vouches for the time as well.
    pub(super) fn old(form: Form, kind: KindVersion, format: Format) -> Self {
        let mut draft = Self::new();
        draft.world.log = old_log();
        draft.root = draft.world.trusted_root();
        draft.signing.stamped_at.clear();
        draft.logging = Logging::V1(kind, SIGNED_AT + 3);
        (draft.form, draft.format) = (form, format);
        draft.sign();
        draft
    }

    pub(super) fn of_form(form: Form) -> Self {
        let mut draft = Self::new();
        draft.form = form;
        draft.sign();
        draft
    }

    /// A signature by a key of this kind, which the verifier is given.
    pub(super) fn by_key(key_type: KeyType) -> Self {
        let key = Arc::new(new_key(key_type));
        let mut draft = Self::new();
        draft.ask_for_key(key.public_key());
        draft.needs_more_than_sha256 = needs_more_than_sha256(key_type);
        draft.form = Form::BlobByKey(key);
        draft.sign();
        draft
    }

    pub(super) fn ask_for_key(&mut self, key: &PublicKey) {
        self.asked = Asked::Key(key.to_pem());
    }

    /// Signs, stamps and logs once more, with a new certificate, as the parts of the draft now say.
    pub(super) fn sign(&mut self) {
        self.signer = match self.form {
            Form::Blob | Form::Statement(_) => Some(self.world.enroll(&self.signing)),
            Form::BlobByKey(_) | Form::StatementByKey(..) => None,
        };
        self.sign_again();
    }

    /// The same with the certificate that is there.
    pub(super) fn sign_again(&mut self) {
        self.bundle = self.signed();
        match self.logging {
            Logging::V2 => {}
            Logging::V2Dsse => self.log_envelope(),
            Logging::V1(kind, time) => {
                let body = self.old_body(kind);
                self.log_old(kind, &body, time);
            }
        }
        self.put_format();
    }

    fn signed(&mut self) -> bundle::Bundle {
        let (world, signing) = (&mut self.world, &self.signing);
        match (&self.form, &self.signer) {
            (Form::Blob, Some(signer)) => world.sign_blob_as(signer, &self.artifact, signing),
            (Form::Statement(text), Some(signer)) => world.sign_statement_as(signer, text, signing),
            (Form::BlobByKey(key), _) => world.sign_blob_with_key(&self.artifact, key, signing),
            (Form::StatementByKey(key, text), _) => {
                world.sign_statement_with_key(text, key, signing)
            }
            (Form::Blob | Form::Statement(_), None) => panic!("nobody is enrolled"),
        }
    }

    /// Bundles before 0.3 carry the issuing certificate too.
    fn put_format(&mut self) {
        let version = match self.format {
            Format::V0_1 => "0.1",
            Format::V0_2 => "0.2",
            Format::V0_3 => return,
        };
        self.bundle.media_type =
            format!("application/vnd.dev.sigstore.bundle+json;version={version}");
        if self.signer.is_some() {
            let chain = vec![self.leaf(), self.authority(0)];
            self.put_chain(chain);
        }
        if self.format == Format::V0_1 {
            self.entry().inclusion_proof = None;
        }
    }

    pub(super) fn put_chain(&mut self, certificates: Vec<common::X509Certificate>) {
        self.material().content = Some(Material::X509CertificateChain(
            common::X509CertificateChain { certificates },
        ));
    }

    pub(super) fn put_certificate(&mut self, certificate: common::X509Certificate) {
        self.material().content = Some(Material::Certificate(certificate));
    }

    /// Replaces the log entry by one of the first generation with this body.
    pub(super) fn log_old(&mut self, kind: KindVersion, body: &str, time: i64) {
        *self.entry() = self.world.log.add_v1(kind, body, time);
        self.put_format();
    }

    /// The body of the first generation that belongs to the bundle.
    pub(super) fn old_body(&mut self, kind: KindVersion) -> String {
        let verifier = self.verifier_pem();
        let signature = self.signature();
        match kind {
            rekor_v1::HASHEDREKORD => rekor_v1::hashedrekord(&self.artifact, &signature, &verifier),
            rekor_v1::DSSE => rekor_v1::dsse(&self.envelope().payload, &signature, &verifier),
            _ => rekor_v1::intoto(&self.envelope().payload, &signature, &verifier),
        }
    }

    /// Changes the body of the old entry, and has the log take, prove and promise the result.
    pub(super) fn relog_old(&mut self, change: impl FnOnce(&str) -> String) {
        let Logging::V1(kind, time) = self.logging else {
            panic!("an entry of the first generation is changed");
        };
        let body = self.old_body(kind);
        let changed = change(&body);
        assert_ne!(changed, body, "the change changes something");
        self.log_old(kind, &changed, time);
    }

    /// Replaces the log entry by the kind for envelopes.
    pub(super) fn log_envelope(&mut self) {
        let payload = self.envelope().payload.clone();
        self.log_envelope_of(&payload);
    }

    pub(super) fn log_envelope_of(&mut self, payload: &[u8]) {
        let signature = EntrySignature {
            content: self.signature(),
            verifier: VerifierMaterial::X509Certificate(self.leaf().raw_bytes),
            key_details: self.signing.algorithm(),
        };
        let entry = Dsse {
            payload_hash: HashAlgorithm::Sha256.digest(payload),
            signatures: vec![signature],
        };
        let body = entry.canonical_body().expect("a body");
        let mut logged = self.world.log.add_body_among_others(body, (1, 1));
        logged.kind_version = Some(rekor::KindVersion {
            kind: "dsse".into(),
            version: "0.0.2".into(),
        });
        *self.entry() = logged;
    }

    fn verifier_pem(&self) -> String {
        match (&self.signer, &self.form) {
            (Some(signer), _) => signer.certificate.to_pem(),
            (None, Form::BlobByKey(key) | Form::StatementByKey(key, _)) => {
                key.public_key().to_pem()
            }
            (None, _) => panic!("nobody is enrolled"),
        }
    }

    // Parts of the bundle.

    pub(super) fn material(&mut self) -> &mut bundle::VerificationMaterial {
        self.bundle
            .verification_material
            .as_mut()
            .expect("material")
    }

    pub(super) fn entries(&mut self) -> &mut Vec<rekor::TransparencyLogEntry> {
        &mut self.material().tlog_entries
    }

    pub(super) fn entry(&mut self) -> &mut rekor::TransparencyLogEntry {
        self.entries().first_mut().expect("an entry")
    }

    pub(super) fn proof(&mut self) -> &mut rekor::InclusionProof {
        self.entry().inclusion_proof.as_mut().expect("a proof")
    }

    pub(super) fn checkpoint(&mut self) -> &mut String {
        let checkpoint = self.proof().checkpoint.as_mut();
        &mut checkpoint.expect("a checkpoint").envelope
    }

    pub(super) fn timestamps(&mut self) -> &mut Vec<common::Rfc3161SignedTimestamp> {
        let data = self.material().timestamp_verification_data.as_mut();
        &mut data.expect("timestamps").rfc3161_timestamps
    }

    pub(super) fn message(&mut self) -> &mut common::MessageSignature {
        match &mut self.bundle.content {
            Some(Content::MessageSignature(message)) => message,
            other => panic!("no message signature: {other:?}"),
        }
    }

    pub(super) fn envelope(&mut self) -> &mut envelope::Envelope {
        match &mut self.bundle.content {
            Some(Content::DsseEnvelope(envelope)) => envelope,
            other => panic!("no envelope: {other:?}"),
        }
    }

    pub(super) fn signature(&mut self) -> Vec<u8> {
        self.signature_mut().clone()
    }

    pub(super) fn signature_mut(&mut self) -> &mut Vec<u8> {
        match &mut self.bundle.content {
            Some(Content::MessageSignature(message)) => &mut message.signature,
            Some(Content::DsseEnvelope(envelope)) => &mut envelope.signatures[0].sig,
            None => panic!("no content"),
        }
    }

    pub(super) fn leaf(&self) -> common::X509Certificate {
        let signer = self.signer.as_ref().expect("a certificate");
        x509(&signer.certificate)
    }

    /// A certificate of the world's authority: 0 is the issuing one, 1 the root.
    pub(super) fn authority(&self, position: usize) -> common::X509Certificate {
        x509(&self.world.certificate_authority.chain[position])
    }

    // Parts of the trusted root.

    /// Replaces a log's window of trust.
    pub(super) fn set_log_window(&mut self, window: common::TimeRange) {
        self.root.tlogs[0]
            .public_key
            .as_mut()
            .expect("a key")
            .valid_for = Some(window);
    }

    /// A further trusted log that holds what the first one holds.
    pub(super) fn add_log(&mut self, base_url: &str, operator: &str) {
        let body = self.entry().canonicalized_body.clone();
        let mut log = SignatureLog::new(base_url);
        let entry = log.add_body_among_others(body, (1, 4));
        let mut trusted = log.trusted();
        trusted.operator = operator.into();
        self.root.tlogs.push(trusted);
        self.entries().push(entry);
    }

    /// A further trusted timestamp authority with a token over the signature.
    pub(super) fn add_authority(&mut self, uri: &str, operator: &str, at: i64) {
        let authority = TimestampAuthority::new(uri);
        let mut trusted = authority.trusted();
        trusted.operator = operator.into();
        self.root.timestamp_authorities.push(trusted);
        self.add_token(&authority, at);
    }

    pub(super) fn add_token(&mut self, authority: &TimestampAuthority, at: i64) {
        let signed_timestamp = authority.stamp(&self.signature(), at, true);
        self.timestamps()
            .push(common::Rfc3161SignedTimestamp { signed_timestamp });
    }

    // The documents.

    /// The bundle as clients write it: with the members that some readers insist on even where they have protobuf's
    /// default.
    pub(super) fn document(&self) -> String {
        let mut document = serde_json::to_value(&self.bundle).expect("a message is JSON");
        let entries = document.pointer_mut("/verificationMaterial/tlogEntries");
        for entry in entries.and_then(Value::as_array_mut).into_iter().flatten() {
            put_default(entry, "logIndex", json!("0"));
            if let Some(proof) = entry.get_mut("inclusionProof") {
                put_default(proof, "logIndex", json!("0"));
                put_default(proof, "hashes", json!([]));
            }
        }
        (self.edit)(document.to_string())
    }

    pub(super) fn root_document(&self) -> String {
        let document = serde_json::to_string(&self.root).expect("a message is JSON");
        (self.edit_root)(document)
    }
}

fn put_default(object: &mut Value, member: &str, default: Value) {
    if let Some(members) = object.as_object_mut() {
        members.entry(member).or_insert(default);
    }
}

/// A log of the first generation: P-256, and a tree number in its origin line.
pub(super) fn old_log() -> SignatureLog {
    let mut log = SignatureLog::new("https://rekor.example.com");
    log.key = MemorySigner::new(new_key(KeyType::EcP256));
    log.tree_id = Some(1_193_050_959_916_656_506);
    log
}

pub(super) fn new_key(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).expect("a key")
}

pub(super) fn x509(certificate: &Certificate) -> common::X509Certificate {
    common::X509Certificate {
        raw_bytes: certificate.der().to_vec(),
    }
}

/// Whether signatures of such keys are over another digest.
pub(super) fn needs_more_than_sha256(key_type: KeyType) -> bool {
    !matches!(key_type, KeyType::EcP256 | KeyType::Rsa { .. })
}

/// The statement that is signed about the artifact.
pub(super) fn provenance() -> String {
    statement(ARTIFACT, PREDICATE)
}

/// Signatures over [`ARTIFACT`] with SHA-256 by larger curves, as old clients made them. Nothing here signs like that.
pub(super) const OLD_CLIENTS: [(Algorithm, &str, &str); 2] = [
    (
        Algorithm::EcdsaP384Sha256,
        "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEbUNCj1UJywoRthITVJTDVgdcVZ6N+E+8
ZVYZXEYcr8R4l2c1X3e/t52hzj0bfQc0xwDP9D8UXA4ViQXNrqUm3ZYwTfbHCSuR
GL+3qoLBjx/8elvDPS/Fl2z4iXWRzwgz
-----END PUBLIC KEY-----
",
        "MGUCMQDZm6xNO+UKl7LG4F2F7bNLpjzPb5C0PxVbeD8IztJeL2AOrihG5iAFdwZuvJmof6wCMDf5HJ6Jvh1TYUyxBHZLGsD6HhX/PttgmGPop0Nx\
         IglTbokMkR9+JU8gS4gytgoRhg==",
    ),
    (
        Algorithm::EcdsaP521Sha256,
        "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQA3jjA0YYqaRDSGc/1dveJBuwu5/mH
C7t3AksdSAJ5Mo1OQ6U3Bjh3UydQqNWO2ItPooHe/OZWhnRz4GKKvsIVag8BIwRI
TvZ4x2FnnQNftftLqX0vO7URLAl9gRKBiTwbOl8GwTBtduvi8vxW/gYJFDfjMUdB
E/yOn9zDH0zFwbrKpos=
-----END PUBLIC KEY-----
",
        "MIGIAkIB4hM1rWZLCq6GuKSkVlgiF5O1aPZCfOf+PugtdQsYUVL68EW+CE5PVk6ijYLkieCwvxVQksTqjaR2lInTlnBE5PsCQgDQzVuRATur8g02\
         n5RKraUJupvXEl1d0lDCV0Je0zQM0iDwDwbD80dGvGzg9cWawfaxPeTLEMRqOgsdBtHGe5QiDQ==",
    ),
];
