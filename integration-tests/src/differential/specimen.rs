//! Valid bundles, each with the world that signed it, so that a changed part can be signed again.

use std::sync::Arc;

use sealwright_crypto::{Algorithm, Digest, HashAlgorithm, KeyType, MemorySigner, PrivateKey};
use sealwright_pki::Certificate;
use sealwright_proto::bundle::v1 as bundle;
use sealwright_proto::bundle::v1::verification_material::Content as Material;
use sealwright_proto::common::v1 as common;
use sealwright_proto::rekor::v1 as rekor;
use sealwright_testkit::bundle_factory::{
    BUNDLE_V0_3, Enrolled, NOW, SctKind, Signing, World, statement, workload,
};
use sealwright_testkit::rekor_v1::{self, KindVersion};
use sealwright_tlog::dsse;
use sealwright_tlog::entry::{EntrySignature, HashedRekord, VerifierMaterial};

/// What all specimens are signed over.
pub const ARTIFACT: &[u8] = b"what was signed";
/// When logs of the first generation say that they took an entry.
pub const LOGGED_AT: i64 = NOW + 3;
/// The only media type of trusted roots that the published client reads.
const TRUSTED_ROOT_V0_1: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
const BUNDLE_V0_1: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";
const BUNDLE_V0_2: &str = "application/vnd.dev.sigstore.bundle+json;version=0.2";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A bundle that verifies, and everything that made it.
#[derive(Debug)]
pub struct Specimen {
    /// A name for people.
    pub name: &'static str,
    /// Authorities and logs, with their keys.
    pub world: World,
    /// Key and certificate of the signer.
    pub signer: Enrolled,
    /// How it was signed.
    pub signing: Signing,
    /// The statement, in attestations.
    pub statement: Option<String>,
    /// The kind of entry in a log of the first generation; `None` in a log of today.
    pub old_kind: Option<KindVersion>,
    /// The bundle.
    pub bundle: bundle::Bundle,
    /// The bundle's JSON.
    pub document: Vec<u8>,
    /// The trusted root's JSON.
    pub trusted_root: Arc<str>,
    /// The subject of the certificate.
    pub identity: String,
    /// Its identity provider.
    pub issuer: String,
}

/// How a specimen differs from a keyless signature of today over a file.
struct Plan {
    name: &'static str,
    attestation: bool,
    old_kind: Option<KindVersion>,
    media_type: &'static str,
    log_key: KeyType,
    signing: Signing,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: "",
            attestation: false,
            old_kind: None,
            media_type: BUNDLE_V0_3,
            log_key: KeyType::Ed25519,
            signing: Signing::default(),
        }
    }
}

/// All specimens: one for each format that both verifiers read.
pub fn all() -> Vec<Arc<Specimen>> {
    plans()
        .into_iter()
        .map(|plan| Arc::new(made(plan)))
        .collect()
}

fn plans() -> Vec<Plan> {
    let timeless = || Signing {
        stamped_at: Vec::new(),
        ..Signing::default()
    };
    let old = |name, media_type, kind| Plan {
        name,
        attestation: kind != rekor_v1::HASHEDREKORD,
        old_kind: Some(kind),
        media_type,
        log_key: KeyType::EcP256,
        signing: timeless(),
    };
    let job = workload(
        "https://ci.example.com/org/repo/build.yml@refs/heads/main",
        "https://ci.example.com",
        &[("runnerEnvironment", "hosted"), ("buildTrigger", "push")],
    );
    vec![
        Plan {
            name: "file",
            ..Plan::default()
        },
        Plan {
            name: "file, tokens without certificates",
            signing: Signing {
                tokens_with_certificates: false,
                sct: SctKind::WithoutExtensions,
                ..Signing::default()
            },
            ..Plan::default()
        },
        Plan {
            name: "file by a workload, two tokens, log with a P-256 key",
            log_key: KeyType::EcP256,
            signing: Signing {
                identity: job,
                stamped_at: vec![NOW + 2, NOW + 3],
                ..Signing::default()
            },
            ..Plan::default()
        },
        Plan {
            name: "statement",
            attestation: true,
            ..Plan::default()
        },
        old("old file, bundle 0.1", BUNDLE_V0_1, rekor_v1::HASHEDREKORD),
        Plan {
            signing: Signing::default(),
            ..old(
                "old file with a token, bundle 0.3",
                BUNDLE_V0_3,
                rekor_v1::HASHEDREKORD,
            )
        },
        Plan {
            signing: Signing {
                key_type: KeyType::EcP384,
                algorithm: Some(Algorithm::EcdsaP384Sha256),
                ..timeless()
            },
            ..old(
                "old file by P-384 with SHA-256, bundle 0.2",
                BUNDLE_V0_2,
                rekor_v1::HASHEDREKORD,
            )
        },
        old("old statement, bundle 0.2", BUNDLE_V0_2, rekor_v1::DSSE),
    ]
}

fn made(plan: Plan) -> Specimen {
    let mut world = World::new();
    if plan.log_key != KeyType::Ed25519 {
        let key = PrivateKey::generate(plan.log_key).expect("a key");
        world.log.key = MemorySigner::new(key);
    }
    if plan.old_kind.is_some() {
        world.log.tree_id = Some(1_234_567_890_123);
    }
    let signer = world.enroll(&plan.signing);
    let statement = plan
        .attestation
        .then(|| statement(ARTIFACT, "https://slsa.dev/provenance/v1"));
    let bundle = match &statement {
        Some(statement) => world.sign_statement_as(&signer, statement, &plan.signing),
        None if plan.signing.algorithm() == Algorithm::EcdsaP384Sha256 => {
            as_old_clients_sign(&mut world, &signer, &plan.signing)
        }
        None => world.sign_blob_as(&signer, ARTIFACT, &plan.signing),
    };
    let identity = &plan.signing.identity;
    let mut specimen = Specimen {
        name: plan.name,
        trusted_root: "".into(),
        identity: identity.subject_alternative_name.value().to_owned(),
        issuer: identity.issuer.clone(),
        world,
        signer,
        signing: plan.signing,
        statement,
        old_kind: plan.old_kind,
        bundle,
        document: Vec::new(),
    };
    specimen.bundle.media_type = plan.media_type.into();
    if plan.old_kind.is_some() {
        let (entry, _) = specimen.logged_again(
            specimen.signer.certificate.der(),
            &specimen.signature(),
            LOGGED_AT,
        );
        specimen.bundle = specimen.with_entry(entry);
    }
    if plan.media_type != BUNDLE_V0_3 {
        let leaf = specimen.signer.certificate.der().to_vec();
        let chain = common::X509CertificateChain {
            certificates: vec![common::X509Certificate { raw_bytes: leaf }],
        };
        material(&mut specimen.bundle).content = Some(Material::X509CertificateChain(chain));
    }
    specimen.document = document(&specimen.bundle);
    specimen.trusted_root = root_document(&specimen.world).into();
    specimen
}

/// Signs with SHA-256 and P-384, which nothing of ours does any more.
fn as_old_clients_sign(world: &mut World, signer: &Enrolled, signing: &Signing) -> bundle::Bundle {
    let digest = HashAlgorithm::Sha256.digest(ARTIFACT);
    // ECDSA takes a digest as a number, so zeros in front make it as long as SHA-384 and change nothing.
    let number = [&[0; 16], digest.as_bytes()].concat();
    let long = Digest::new(HashAlgorithm::Sha384, number).expect("48 bytes");
    let signature = signer
        .key
        .sign_digest(Algorithm::EcdsaP384Sha384, &long)
        .expect("the key signs digests");
    world.bundle_with_certificate(
        digest,
        signature,
        &signer.certificate,
        Algorithm::EcdsaP384Sha256,
        signing,
    )
}

impl Specimen {
    /// The raw signature: of the message, or of the envelope.
    pub fn signature(&self) -> Vec<u8> {
        match &self.bundle.content {
            Some(bundle::bundle::Content::MessageSignature(message)) => message.signature.clone(),
            Some(bundle::bundle::Content::DsseEnvelope(envelope)) => envelope
                .signatures
                .first()
                .map(|signature| signature.sig.clone())
                .unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// The log's only entry.
    pub fn entry(&self) -> &rekor::TransparencyLogEntry {
        self.bundle
            .verification_material
            .as_ref()
            .and_then(|material| material.tlog_entries.first())
            .expect("a specimen has an entry")
    }

    /// The bundle with this entry instead.
    pub fn with_entry(&self, entry: rekor::TransparencyLogEntry) -> bundle::Bundle {
        let mut bundle = self.bundle.clone();
        material(&mut bundle).tlog_entries = vec![entry];
        bundle
    }

    /// An entry about this certificate and signature in a log that has taken it just now, and that log.
    pub fn logged_again(
        &self,
        certificate: &[u8],
        signature: &[u8],
        at: i64,
    ) -> (rekor::TransparencyLogEntry, World) {
        let mut world = self.world.clone();
        let entry = match self.old_kind {
            Some(kind) => {
                let pem = sealwright_pki::pem::encode("CERTIFICATE", certificate);
                let body = self.old_body(kind, signature, &pem);
                world.log.add_v1(kind, &body, at)
            }
            None => {
                let entry = self.hashed_rekord(certificate, signature);
                world
                    .log
                    .add_among_others(&entry, self.signing.other_entries)
            }
        };
        (entry, world)
    }

    /// The same for a body that is given; its promise is for [`LOGGED_AT`].
    pub fn logged_body(&self, body: Vec<u8>) -> Option<rekor::TransparencyLogEntry> {
        let mut log = self.world.log.clone();
        match self.old_kind {
            Some(kind) => Some(log.add_v1(kind, &String::from_utf8(body).ok()?, LOGGED_AT)),
            None => Some(log.add_body_among_others(body, self.signing.other_entries)),
        }
    }

    fn old_body(&self, kind: KindVersion, signature: &[u8], pem: &str) -> String {
        match &self.statement {
            Some(statement) if kind == rekor_v1::DSSE => {
                rekor_v1::dsse(statement.as_bytes(), signature, pem)
            }
            Some(statement) => rekor_v1::intoto(statement.as_bytes(), signature, pem),
            None => rekor_v1::hashedrekord(ARTIFACT, signature, pem),
        }
    }

    fn hashed_rekord(&self, certificate: &[u8], signature: &[u8]) -> HashedRekord {
        HashedRekord {
            data: self.signed_digest(),
            signature: EntrySignature {
                content: signature.to_vec(),
                verifier: VerifierMaterial::X509Certificate(certificate.to_vec()),
                key_details: self.signing.algorithm(),
            },
        }
    }

    /// The digest that the signature is over.
    pub fn signed_digest(&self) -> Digest {
        match &self.statement {
            Some(statement) => {
                HashAlgorithm::Sha256.digest(&dsse::pae(PAYLOAD_TYPE, statement.as_bytes()))
            }
            None => HashAlgorithm::Sha256.digest(ARTIFACT),
        }
    }

    /// Puts a certificate in the place of the signer's.
    pub fn set_certificate(&self, bundle: &mut bundle::Bundle, der: Vec<u8>) {
        let certificate = common::X509Certificate { raw_bytes: der };
        let content = match &material(bundle).content {
            Some(Material::X509CertificateChain(_)) => {
                Material::X509CertificateChain(common::X509CertificateChain {
                    certificates: vec![certificate],
                })
            }
            _ => Material::Certificate(certificate),
        };
        material(bundle).content = Some(content);
    }

    /// The issuing certificate.
    pub fn issuing(&self) -> &Certificate {
        self.world
            .certificate_authority
            .chain
            .first()
            .expect("an authority has a certificate")
    }
}

/// The verification material, which every specimen has.
pub fn material(bundle: &mut bundle::Bundle) -> &mut bundle::VerificationMaterial {
    bundle
        .verification_material
        .as_mut()
        .expect("a specimen has material")
}

/// The JSON of a bundle.
pub fn document(bundle: &bundle::Bundle) -> Vec<u8> {
    serde_json::to_vec(bundle).expect("a message is JSON")
}

/// The JSON of the world's trusted root, in the version that the published client reads.
pub fn root_document(world: &World) -> String {
    let mut root = world.trusted_root();
    root.media_type = TRUSTED_ROOT_V0_1.into();
    serde_json::to_string(&root).expect("a message is JSON")
}
