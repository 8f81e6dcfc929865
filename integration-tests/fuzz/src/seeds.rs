//! Makes the seeds: one small, coherent world of authorities, logs, keys, tokens and bundles, written into `corpus/`.
//!
//! The seeds are committed, so that a seed number names the same input on every machine. They are made again by
//! `sealwright-fuzz corpus` when a format changes. All keys were made for this and are used nowhere.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use futures::executor::block_on;
use sealwright_bundle::Bundle;
use sealwright_bundle::bundle::{Content, SignerMaterial};
use sealwright_bundle::statement::COSIGN_CUSTOM;
use sealwright_crypto::{
    Algorithm, HashAlgorithm, KeyType, MemorySigner, PrivateKey, PublicKey, Signer as _, base64,
};
use sealwright_pki::asn1::{self, tag};
use sealwright_pki::crl::PEM_LABEL;
use sealwright_pki::timestamp::{MessageImprint, TimeStampReq};
use sealwright_pki::{Certificate, pem, request, sct};
use sealwright_proto::bundle::v1 as proto;
use sealwright_proto::rekor::v1 as rekor;
use sealwright_testkit::bundle_factory::{
    self as factory, ISSUER, NOW, SctKind, Signing, World, statement, workload,
};
use sealwright_testkit::own_pki::{Leaf, Listed, Listing, OwnAuthority, URI_NAME};
use sealwright_tlog::ct::{CtEntry, TileLeaf, leaf_index_extensions, tree_head_signature};
use sealwright_tlog::entry::{Dsse, Entry, EntrySignature, HashedRekord, VerifierMaterial};
use sealwright_tlog::witness::{self, AddCheckpoint};
use sealwright_tlog::{Checkpoint, Note, NoteKey, NoteSignature, SignatureKind, TlogProof, tile};
use sealwright_tuf as tuf;
use serde_json::{Value, json};

use crate::corpus;
use crate::targets::tuf::Honest;

/// What the bundles of the corpus are signed over.
pub const ARTIFACT: &[u8] = b"what was signed";
/// A file of the corpus: `private_key` and `jwks` share these names.
pub const KEYS: [(&str, KeyType, &str); 5] = [
    ("p256", KeyType::EcP256, "ES256"),
    ("p384", KeyType::EcP384, "ES384"),
    ("p521", KeyType::EcP521, "ES512"),
    ("ed25519", KeyType::Ed25519, "EdDSA"),
    ("rsa2048", KeyType::Rsa { bits: 2048 }, "RS256"),
];

/// Writes every seed. What is there already under the same names is replaced.
///
/// # Errors
/// What the file system or a maker says.
pub fn write_all() -> Result<()> {
    let mut world = World::new();
    put("trusted_root", "world.json", world.trusted_root_json())?;
    keys()?;
    tokens()?;
    let bundles = bundles(&mut world)?;
    certificates(&mut world, &bundles)?;
    revocation_lists()?;
    timestamps(&world)?;
    logs(&world, &bundles)?;
    submissions(&world, &bundles)?;
    metadata()?;
    repository()?;
    documents(&world.trusted_root_json())?;
    texts()
}

fn put(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let folder = corpus::seeds_of(target);
    fs::create_dir_all(&folder)?;
    write(&folder.join(name), bytes.as_ref())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// The private key of the corpus with this name, one of [`KEYS`].
///
/// # Panics
/// When the corpus lacks it.
#[must_use]
pub fn key(name: &str) -> PrivateKey {
    let pem = corpus::seed("private_key", &format!("{name}.pem"));
    PrivateKey::from_pem(&String::from_utf8_lossy(&pem)).expect("a key of the corpus")
}

fn keys() -> Result<()> {
    let mut set = Vec::new();
    for (name, key_type, alg) in KEYS {
        let key = PrivateKey::generate(key_type)?;
        put(
            "private_key",
            &format!("{name}.pem"),
            key.to_pkcs8_pem().as_bytes(),
        )?;
        put(
            "private_key",
            &format!("{name}.der"),
            key.to_pkcs8_der().as_slice(),
        )?;
        put("spki", &format!("{name}.der"), key.public_key().spki_der())?;
        put("spki", &format!("{name}.pem"), key.public_key().to_pem())?;
        let algorithm = key_type.default_algorithm();
        put(
            "csr",
            &format!("{name}.der"),
            request::build_request(&key, algorithm)?,
        )?;
        put(
            "csr",
            &format!("{name}.pem"),
            request::build_request_pem(&key)?,
        )?;
        set.push(jwk(name, alg, key.public_key()));
        put(
            "jwks",
            &format!("{name}.json"),
            json!({ "keys": [jwk(name, alg, key.public_key())] }).to_string(),
        )?;
    }
    put("jwks", "all.json", json!({ "keys": set }).to_string())
}

fn jwk(kid: &str, alg: &str, key: &PublicKey) -> Value {
    let mut jwk = json!({ "kid": kid, "alg": alg, "use": "sig" });
    let mut set = |name: &str, value: String| jwk[name] = value.into();
    if let Some((modulus, exponent)) = key.rsa_components() {
        set("kty", "RSA".into());
        set("n", base64::encode_url(modulus));
        set("e", base64::encode_url(exponent));
    } else if let Some(raw) = key.ed25519_raw() {
        set("kty", "OKP".into());
        set("crv", "Ed25519".into());
        set("x", base64::encode_url(&raw));
    } else if let Some((_, coordinates)) = key.ec_point().and_then(<[u8]>::split_first) {
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        set("kty", "EC".into());
        set(
            "crv",
            format!("P-{}", if x.len() == 66 { 521 } else { x.len() * 8 }),
        );
        set("x", base64::encode_url(x));
        set("y", base64::encode_url(y));
    }
    jwk
}

/// Claims that a person's and two workloads' tokens make, by name.
#[must_use]
pub fn claims() -> Vec<(&'static str, Value)> {
    let person = json!({
        "iss": ISSUER, "sub": "1234567890", "aud": "sigstore", "iat": NOW, "exp": NOW + 600, "nbf": NOW,
        "email": "jane@example.com", "email_verified": true,
        "federated_claims": { "connector_id": "https://login.example.com" },
    });
    let workload = json!({
        "iss": "https://spiffe.example.com", "sub": "https://workloads.example.com/builder", "aud": ["sigstore"],
        "iat": NOW, "exp": NOW + 600,
    });
    let build = json!({
        "iss": "https://ci.example.com", "sub": "repo:example/app:ref:refs/heads/main", "aud": "sigstore", "iat": NOW,
        "exp": NOW + 600, "repository": "example/app", "ref": "refs/heads/main", "run_id": "17", "run_attempt": 1,
        "sha": "0123456789abcdef0123456789abcdef01234567", "event_name": "push", "repository_id": 42,
    });
    vec![("person", person), ("workload", workload), ("build", build)]
}

/// Signs claims with one of [`KEYS`].
///
/// # Panics
/// When the key does not sign.
#[must_use]
pub fn token(header: &str, claims: &[u8], key: &PrivateKey) -> String {
    let input = format!(
        "{}.{}",
        base64::encode_url(header.as_bytes()),
        base64::encode_url(claims)
    );
    let key_type = key.key_type();
    let der = key
        .sign(key_type.default_algorithm(), input.as_bytes())
        .expect("a signature");
    let signature = sealwright_crypto::key::ecdsa_fixed_from_der(key_type, &der).unwrap_or(der);
    format!("{input}.{}", base64::encode_url(&signature))
}

fn tokens() -> Result<()> {
    for (who, claims) in claims() {
        put("claims", &format!("{who}.json"), claims.to_string())?;
        for (name, _, alg) in KEYS {
            let header = json!({ "alg": alg, "typ": "JWT", "kid": name }).to_string();
            let token = token(&header, claims.to_string().as_bytes(), &key(name));
            put("token", &format!("{who}-{name}.jwt"), token)?;
        }
    }
    Ok(())
}

fn bundles(world: &mut World) -> Result<Vec<proto::Bundle>> {
    let two_times = Signing {
        stamped_at: vec![NOW + 2, NOW + 3],
        ..Signing::default()
    };
    let bare_tokens = Signing {
        tokens_with_certificates: false,
        other_entries: (0, 0),
        ..Signing::default()
    };
    let mut made = Vec::new();
    for (name, bundle) in [
        ("blob", world.sign_blob(ARTIFACT, &Signing::default())),
        ("blob-two-times", world.sign_blob(ARTIFACT, &two_times)),
        ("blob-alone-in-log", world.sign_blob(ARTIFACT, &bare_tokens)),
        (
            "attestation",
            world.sign_statement(&statement(ARTIFACT, COSIGN_CUSTOM), &Signing::default()),
        ),
        (
            "blob-by-key",
            world.sign_blob_with_key(ARTIFACT, &key("p256"), &Signing::default()),
        ),
    ] {
        let json = Bundle::from_proto(bundle.clone())?.to_json();
        put("bundle", &format!("{name}.json"), json)?;
        made.push(bundle);
    }
    for (name, kind) in [
        ("old-blob", "hashedrekord"),
        ("old-dsse", "dsse"),
        ("old-intoto", "intoto"),
    ] {
        let json = Bundle::from_proto(in_old_log(world, kind)?)?.to_json();
        put("bundle", &format!("{name}.json"), json)?;
    }
    put(
        "statement",
        "subject-and-predicate.json",
        statement(ARTIFACT, COSIGN_CUSTOM),
    )?;
    Ok(made)
}

/// A bundle whose entry is one of Rekor v1, with proof and promise.
fn in_old_log(world: &mut World, kind: &str) -> Result<proto::Bundle> {
    let mut bundle = if kind == "hashedrekord" {
        world.sign_blob(ARTIFACT, &Signing::default())
    } else {
        world.sign_statement(&statement(ARTIFACT, COSIGN_CUSTOM), &Signing::default())
    };
    let (spec, version) = old_spec(&bundle, kind)?;
    let body = json!({ "apiVersion": version, "kind": kind, "spec": spec }).to_string();
    world.log.leaves.push(body.clone().into_bytes());
    let mut entry = world.log.entry(world.log.leaves.len() - 1);
    entry.integrated_time = NOW + 3;
    entry.kind_version = Some(rekor::KindVersion {
        kind: kind.into(),
        version: version.into(),
    });
    let log_id = entry.log_id.as_ref().map(|id| hex::encode(&id.key_id));
    let promise = format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        base64::encode(body.as_bytes()),
        entry.integrated_time,
        log_id.unwrap_or_default(),
        entry.log_index,
    );
    entry.inclusion_promise = Some(rekor::InclusionPromise {
        signed_entry_timestamp: block_on(world.log.key.sign(promise.as_bytes()))?,
    });
    let material = bundle.verification_material.as_mut().context("material")?;
    material.tlog_entries = vec![entry];
    material.timestamp_verification_data = None;
    Ok(bundle)
}

/// What a v1 entry of this kind says, and its version.
fn old_spec(bundle: &proto::Bundle, kind: &str) -> Result<(Value, &'static str)> {
    let verifier = base64::encode(leaf_of(bundle)?.to_pem().as_bytes());
    let read = Bundle::from_proto(bundle.clone())?;
    let signature = base64::encode(read.signature());
    let content = match read.content() {
        Content::Dsse(envelope) => envelope.payload.as_slice(),
        _ => ARTIFACT,
    };
    let hash = json!({ "algorithm": "sha256", "value": hex::encode(HashAlgorithm::Sha256.digest(content).as_bytes()) });
    Ok(match kind {
        "hashedrekord" => (
            json!({
                "data": { "hash": hash },
                "signature": { "content": signature, "publicKey": { "content": verifier } },
            }),
            "0.0.1",
        ),
        "dsse" => (
            json!({ "payloadHash": hash, "signatures": [{ "signature": signature, "verifier": verifier }] }),
            "0.0.1",
        ),
        _ => (
            json!({ "content": {
                "envelope": {
                    "payloadType": "application/vnd.in-toto+json",
                    "signatures": [{ "publicKey": verifier, "sig": base64::encode(signature.as_bytes()) }],
                },
                "payloadHash": hash,
            }}),
            "0.0.2",
        ),
    })
}

fn leaf_of(bundle: &proto::Bundle) -> Result<Certificate> {
    let bundle = Bundle::from_proto(bundle.clone())?;
    match bundle.signer() {
        SignerMaterial::Certificate(certificate) => Ok(certificate.clone()),
        _ => Err(anyhow::anyhow!("the bundle has no certificate")),
    }
}

/// Lists of one issuer: empty, with every kind of entry, without an end, and of one distribution point.
fn revocation_lists() -> Result<()> {
    let issuer = OwnAuthority::root("own issuing");
    put("crl", "issuer.der", issuer.certificate.der())?;
    let list = |listing: Listing| issuer.revocation_list(&listing);
    let entries = |reasons: &[Option<u8>]| {
        let revoked = |reason: &Option<u8>| {
            let leaf = issuer.issue(&Leaf::default());
            let mut listed = Listed::new(&leaf.certificate, NOW - 600, *reason);
            listed.invalidity_date = reason.map(|code| NOW - 600 - i64::from(code));
            listed
        };
        reasons.iter().map(revoked).collect()
    };
    let every_reason = [
        None,
        Some(0),
        Some(1),
        Some(3),
        Some(4),
        Some(5),
        Some(6),
        Some(9),
    ];
    let full = list(Listing {
        entries: entries(&every_reason),
        keeps_expired_since: Some(NOW - 3600),
        ..Listing::default()
    });
    let empty = list(Listing::default());
    let endless = list(Listing {
        next_update: None,
        entries: entries(&[Some(4)]),
        ..Listing::default()
    });
    let part = list(Listing {
        scope: Some(distribution_point("http://crl.example.com/1")),
        ..Listing::default()
    });
    for (name, list) in [
        ("full", &full),
        ("empty", &empty),
        ("endless", &endless),
        ("part", &part),
    ] {
        put("crl", &format!("{name}.der"), list.der())?;
    }
    let blocks = [&empty, &full].map(|list| pem::encode(PEM_LABEL, list.der()));
    put("crl", "two.pem", blocks.concat())
}

/// IssuingDistributionPoint of lists for certificates of users with this name.
fn distribution_point(uri: &str) -> Vec<u8> {
    let full_name = asn1::encode(
        tag::context_constructed(0),
        &asn1::encode(URI_NAME, uri.as_bytes()),
    );
    let point = asn1::encode(tag::context_constructed(0), &full_name);
    let only_users = asn1::encode(tag::context(1), &[0xff]);
    asn1::encode_sequence(&[&point, &only_users])
}

fn certificates(world: &mut World, bundles: &[proto::Bundle]) -> Result<()> {
    let leaf = leaf_of(bundles.first().context("a bundle")?)?;
    put("certificate", "leaf-email.der", leaf.der())?;
    put("certificate", "leaf-email.pem", leaf.to_pem())?;
    let build = workload(
        "https://ci.example.com/example/app/build.yml@refs/heads/main",
        "https://ci.example.com",
        &[
            ("buildSignerURI", "https://ci.example.com/example/app"),
            ("runnerEnvironment", "hosted"),
        ],
    );
    for (name, key_type, sct) in [
        ("leaf-workload", "p384", SctKind::Good),
        ("leaf-without-timestamp", "ed25519", SctKind::Missing),
        ("leaf-rsa", "rsa2048", SctKind::Good),
    ] {
        let key = key(key_type);
        let signing = Signing {
            identity: build.clone(),
            key_type: key.key_type(),
            sct,
            ..Signing::default()
        };
        put(
            "certificate",
            &format!("{name}.der"),
            world.certify(key.public_key(), &signing).der(),
        )?;
    }
    let authorities = [
        &world.certificate_authority.chain,
        &world.timestamp_authority.chain,
    ];
    for (who, chain) in ["ca", "tsa"].into_iter().zip(authorities) {
        for (position, certificate) in chain.iter().enumerate() {
            put(
                "certificate",
                &format!("{who}-{position}.der"),
                certificate.der(),
            )?;
        }
    }
    let timestamps = sct::embedded_scts(&leaf)?;
    put("sct_list", "one.bin", sct::encode_list(&timestamps)?)?;
    let two = [timestamps.clone(), timestamps].concat();
    put("sct_list", "two.bin", sct::encode_list(&two)?)
}

fn timestamps(world: &World) -> Result<()> {
    for (name, hash) in [
        ("sha256", HashAlgorithm::Sha256),
        ("sha384", HashAlgorithm::Sha384),
        ("sha512", HashAlgorithm::Sha512),
    ] {
        let digest = hash.digest(ARTIFACT);
        let request = TimeStampReq {
            message_imprint: MessageImprint::new(hash, digest.as_bytes())?,
            req_policy: Some("1.3.6.1.4.1.57264.2".parse().context("a policy")?),
            nonce: Some(&[0x12, 0x34, 0x56, 0x78]),
            cert_req: true,
            extension: None,
            extensions: None,
        };
        put(
            "timestamp_request",
            &format!("{name}.der"),
            request.to_der(),
        )?;
        let bare = TimeStampReq {
            req_policy: None,
            nonce: None,
            cert_req: false,
            ..request
        };
        put(
            "timestamp_request",
            &format!("{name}-bare.der"),
            bare.to_der(),
        )?;
    }
    let digest = HashAlgorithm::Sha256.digest(ARTIFACT);
    let digest = base64::encode(digest.as_bytes());
    let full = json!({
        "artifactHash": digest, "certificates": true, "hashAlgorithm": "sha256", "nonce": 1_123_343_434,
        "tsaPolicyOID": "1.3.6.1.4.1.57264.2",
    });
    put("timestamp_json", "every-member.json", full.to_string())?;
    let bare = json!({ "artifactHash": digest, "hashAlgorithm": "sha256" });
    put("timestamp_json", "bare.json", bare.to_string())?;
    let tsa = &world.timestamp_authority;
    put(
        "timestamp_token",
        "with-certificates.der",
        tsa.stamp(ARTIFACT, NOW, true),
    )?;
    put(
        "timestamp_token",
        "without-certificates.der",
        tsa.stamp(ARTIFACT, NOW + 1, false),
    )?;
    let refusal = sealwright_pki::timestamp::rejection(
        sealwright_pki::timestamp::PkiFailureInfo::BadAlg,
        "no",
    );
    put("timestamp_token", "rejection.der", refusal)
}

fn logs(world: &World, bundles: &[proto::Bundle]) -> Result<()> {
    let signed = world.log.checkpoint(20_852_163, [7; 32]);
    put("checkpoint", "signed.txt", &signed)?;
    put("note", "signed.txt", &signed)?;
    let witness = PrivateKey::generate(KeyType::Ed25519)?;
    let witness_key = NoteKey::new(
        "witness.example.com",
        SignatureKind::CosignatureV1,
        witness.public_key().clone(),
    )?;
    let mut note = Note::parse(signed.as_bytes())?;
    let message = witness_key.message(note.text(), NOW.unsigned_abs() * 1000)?;
    let raw = witness.sign(Algorithm::Ed25519, &message)?;
    note.push(witness_key.signature(&raw, NOW.unsigned_abs() * 1000)?);
    add_checkpoints(&signed, note.signatures().last().context("a cosignature")?)?;
    put("checkpoint", "cosigned.txt", note.to_string())?;
    offline_proofs(Note::parse(signed.as_bytes())?, note.clone())?;
    put("note", "cosigned.txt", note.to_string())?;
    let mut extended = Checkpoint::new("log.example.com/shard", 3, [9; 32]);
    extended.extensions = vec!["an extension".into(), "another".into()];
    put("checkpoint", "extensions.txt", extended.to_text())?;
    let log_key = NoteKey::for_log(&world.log.origin, world.log.key.public_key().clone())?;
    witness_policies(&log_key, &witness_key)?;
    for key in [log_key, witness_key] {
        put(
            "note",
            &format!("{}.vkey", key.name()),
            key.to_vkey().context("a key of two parts")?,
        )?;
    }
    entries(bundles)?;
    tiles(bundles)
}

/// Offline proofs around the checkpoints. None holds: nobody knows leaves with such a root.
fn offline_proofs(signed: Note, cosigned: Note) -> Result<()> {
    let hashes = |count: u8| (0..count).map(|byte| [byte; 32]).collect();
    let plain = TlogProof::new(0, hashes(25), signed.clone())?;
    put("tlog_proof", "signed.txt", plain.to_string())?;
    let extra = TlogProof::new(20_852_162, hashes(9), cosigned)?;
    let extra = extra.with_extra(b"for the application".to_vec())?;
    put("tlog_proof", "cosigned-with-extra.txt", extra.to_string())?;
    let none = TlogProof::new(7, Vec::new(), signed)?.with_extra(Vec::new())?;
    put("tlog_proof", "no-hashes.txt", none.to_string())
}

/// Requests for the signed checkpoint, and what a witness answers.
fn add_checkpoints(signed: &str, cosignature: &NoteSignature) -> Result<()> {
    for (name, old_size, hashes) in [("first", 0, 0), ("later", 20_852_014, 4)] {
        let request = AddCheckpoint {
            old_size,
            proof: vec![[9; 32]; hashes],
            note: Note::parse(signed.as_bytes())?,
        };
        put(
            "add_checkpoint",
            &format!("{name}.txt"),
            request.to_string(),
        )?;
    }
    let answer = witness::cosignature_body(std::slice::from_ref(cosignature));
    put("add_checkpoint", "answer.txt", answer)?;
    put("add_checkpoint", "size.txt", witness::size_body(20_852_014))
}

/// Policies with the log and the witness of the notes, and one whose group needs strangers.
fn witness_policies(log: &NoteKey, witness: &NoteKey) -> Result<()> {
    let text = |key: &NoteKey| key.to_vkey().context("a key of two parts");
    let (log, witness) = (text(log)?, text(witness)?);
    put("witness_policy", "none.txt", "quorum none\n")?;
    let one = format!(
        "# known from elsewhere\nlog {log} https://log2026.example.com\nwitness w {witness}\nquorum w\n"
    );
    put("witness_policy", "one.txt", one)?;
    let mut groups = format!("log {log}\nwitness w {witness} https://witness.example.com/\n");
    for name in ["x", "y"] {
        let stranger = PrivateKey::generate(KeyType::Ed25519)?;
        let public = stranger.public_key().clone();
        let key = NoteKey::new(name, SignatureKind::CosignatureV1, public)?;
        groups.push_str(&format!("witness {name} {}\n", text(&key)?));
    }
    groups.push_str("group strangers 1 x y\n\tgroup both all strangers w\nquorum both\n");
    put("witness_policy", "groups.txt", groups)
}

fn entries(bundles: &[proto::Bundle]) -> Result<()> {
    for (bundle, name) in
        bundles
            .iter()
            .zip(["blob", "two-times", "alone", "attestation", "by-key"])
    {
        let entries = Bundle::from_proto(bundle.clone())?;
        let body = entries
            .log_entries()
            .first()
            .map(|entry| entry.body.clone());
        put(
            "entry",
            &format!("hashedrekord-{name}.json"),
            body.context("an entry")?,
        )?;
    }
    let signature = EntrySignature {
        content: vec![1, 2, 3],
        verifier: VerifierMaterial::PublicKey(key("p256").public_key().spki_der().to_vec()),
        key_details: Algorithm::EcdsaP256Sha256,
    };
    let dsse = Dsse {
        payload_hash: HashAlgorithm::Sha256.digest(ARTIFACT),
        signatures: vec![signature.clone(), signature],
    };
    put(
        "entry",
        "dsse-two-signatures.json",
        Entry::Dsse(dsse).canonical_body()?,
    )
}

fn tiles(bundles: &[proto::Bundle]) -> Result<()> {
    let leaf = leaf_of(bundles.first().context("a bundle")?)?;
    let tile_leaf = |index, entry| -> Result<Vec<u8>> {
        let leaf = TileLeaf {
            time_ms: NOW.unsigned_abs() * 1000,
            entry,
            extensions: leaf_index_extensions(index)?.to_vec(),
            chain_fingerprints: vec![[1; 32], [2; 32]],
        };
        Ok(leaf.encode()?)
    };
    let certificate = tile_leaf(
        3,
        CtEntry::X509 {
            certificate: leaf.der().to_vec(),
        },
    )?;
    let precertificate = tile_leaf(
        4,
        CtEntry::Precert {
            issuer_key_hash: [5; 32],
            tbs_certificate: leaf.tbs_der().to_vec(),
            pre_certificate: leaf.der().to_vec(),
        },
    )?;
    put(
        "ct_tile",
        "two-leaves.bin",
        [certificate.as_slice(), &precertificate].concat(),
    )?;
    put("ct_tile", "one-leaf.bin", &certificate)?;
    put(
        "ct_tile",
        "tree-head-signature.bin",
        tree_head_signature(NOW.unsigned_abs() * 1000, &[3; 70])?,
    )?;
    let mut bundle = Vec::new();
    for entry in [b"first".as_slice(), b"", b"third"] {
        tile::put_entry(&mut bundle, entry)?;
    }
    put("ct_tile", "entry-bundle.bin", bundle)
}

fn submissions(world: &World, bundles: &[proto::Bundle]) -> Result<()> {
    for (bundle, name) in
        bundles
            .iter()
            .zip(["blob", "two-times", "alone", "attestation", "by-key"])
    {
        let read = Bundle::from_proto(bundle.clone())?;
        let body = read
            .log_entries()
            .first()
            .map(|entry| entry.body.clone())
            .context("an entry")?;
        let Entry::HashedRekord(entry) = Entry::parse(&body)? else {
            anyhow::bail!("the entry is of another kind");
        };
        put(
            "entry_request",
            &format!("{name}.json"),
            request_json(&entry).to_string(),
        )?;
    }
    let key = key("p256");
    let payload = statement(ARTIFACT, COSIGN_CUSTOM);
    let pae = sealwright_tlog::dsse::pae("application/vnd.in-toto+json", payload.as_bytes());
    let dsse = json!({ "dsseRequestV002": {
        "envelope": {
            "payload": base64::encode(payload.as_bytes()),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": base64::encode(&key.sign(Algorithm::EcdsaP256Sha256, &pae)?), "keyid": "" }],
        },
        "verifiers": [{
            "publicKey": { "rawBytes": base64::encode(key.public_key().spki_der()) },
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        }],
    }});
    put("entry_request", "dsse.json", dsse.to_string())?;
    let leaf = leaf_of(bundles.first().context("a bundle")?)?;
    let chain: Vec<String> = std::iter::once(&leaf)
        .chain(&world.certificate_authority.chain)
        .map(|certificate| base64::encode(certificate.der()))
        .collect();
    put(
        "add_chain",
        "leaf-to-root.json",
        json!({ "chain": chain }).to_string(),
    )
}

fn request_json(entry: &HashedRekord) -> Value {
    let verifier = match &entry.signature.verifier {
        VerifierMaterial::PublicKey(der) => {
            json!({ "publicKey": { "rawBytes": base64::encode(der) } })
        }
        VerifierMaterial::X509Certificate(der) => {
            json!({ "x509Certificate": { "rawBytes": base64::encode(der) } })
        }
    };
    let mut verifier = verifier;
    verifier["keyDetails"] = entry.signature.key_details.key_details_name().into();
    json!({ "hashedRekordRequestV002": {
        "digest": base64::encode(entry.data.as_bytes()),
        "signature": { "content": base64::encode(&entry.signature.content), "verifier": verifier },
    }})
}

fn metadata() -> Result<()> {
    let expires = tuf::Expiry::from_unix(NOW + 365 * factory::DAY);
    let signers: Vec<MemorySigner> = ["p256", "ed25519"]
        .into_iter()
        .map(|name| MemorySigner::new(key(name)))
        .collect();
    let keys = signers
        .iter()
        .map(|signer| tuf::Key::from_public_key(signer.public_key()))
        .collect::<Result<Vec<_>, _>>()?;
    let both: Vec<&tuf::Key> = keys.iter().collect();
    let mut root = tuf::Root::new(expires);
    for role in tuf::Role::ALL {
        root.set_role(role, &both, 1);
    }
    put_signed("root.json", root, &signers)?;
    let mut targets = tuf::Targets::new(3, expires);
    targets.add("trusted_root.json", b"a target");
    targets.add("folder/signing_config.v0.2.json", b"another");
    put_signed("targets.json", targets.clone(), &signers)?;
    let delegations = json!({
        "keys": {}, "roles": [{
            "name": "team", "keyids": [keys.first().context("a key")?.id().as_str()], "threshold": 1, "terminating": false,
            "paths": ["folder/*", "*/b?c"],
        }],
    });
    targets.delegations = Some(serde_json::from_value(delegations)?);
    put_signed("targets-delegating.json", targets, &signers)?;
    put_signed(
        "snapshot.json",
        tuf::Snapshot::new(3, expires, tuf::MetaFile::of(3, b"bytes")),
        &signers,
    )?;
    put_signed(
        "timestamp.json",
        tuf::Timestamp::new(3, expires, tuf::MetaFile::of(3, b"bytes")),
        &signers,
    )
}

/// The files that `tuf_client` exchanges for others.
fn repository() -> Result<()> {
    let honest = Honest::make()?;
    put("tuf_client", "1.root.json", &honest.first_root)?;
    for ((place, name), bytes) in &honest.files {
        if *place == tuf::Place::Metadata {
            put("tuf_client", name, bytes)?;
        }
    }
    Ok(())
}

fn put_signed<T: tuf::Metadata>(name: &str, signed: T, signers: &[MemorySigner]) -> Result<()> {
    let mut envelope = tuf::Envelope::unsigned(signed)?;
    for signer in signers {
        block_on(envelope.sign(signer))?;
    }
    put("tuf", name, envelope.to_bytes())
}

fn documents(trusted_root: &str) -> Result<()> {
    let service = |url: &str, version: u32| json!({ "url": url, "majorApiVersion": version, "validFor": { "start": "2026-01-01T00:00:00Z" }, "operator": "example.com" });
    let config = json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [service("https://ca.example.com", 1)],
        "oidcUrls": [service("https://accounts.example.com", 1)],
        "rekorTlogUrls": [service("https://log2026.example.com", 2), service("https://old.example.com", 1)],
        "rekorTlogConfig": { "selector": "ANY" },
        "tsaUrls": [service("https://tsa.example.com/api/v1/timestamp", 1)],
        "tsaConfig": { "selector": "EXACT", "count": 1 },
    });
    put("signing_config", "all-services.json", config.to_string())?;
    let root: Value = serde_json::from_str(trusted_root)?;
    let both = json!({
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": root, "signingConfig": config,
    });
    put("client_trust", "world.json", both.to_string())?;
    let discovery = json!({
        "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys"), "id_token_signing_alg_values_supported": ["RS256"],
        "authorization_endpoint": format!("{ISSUER}/auth"), "token_endpoint": format!("{ISSUER}/token"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
    });
    put("discovery", "own-keys.json", discovery.to_string())?;
    let elsewhere = json!({ "issuer": ISSUER, "jwks_uri": "https://keys.example.com/set" });
    put("discovery", "listed-host.json", elsewhere.to_string())
}

fn texts() -> Result<()> {
    for (name, path) in [
        ("hashes", "tile/0/x001/x234/067"),
        ("partial", "tile/3/000.p/255"),
        ("entries", "tile/entries/x001/000.p/1"),
        ("data", "tile/data/999"),
    ] {
        put("tile_path", name, path)?;
    }
    put(
        "trace_context",
        "sampled",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )?;
    put(
        "proof",
        "in-a-tree-of-eleven",
        [
            [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 11].as_slice(),
            &[7; 4 * 32],
        ]
        .concat(),
    )?;
    put("config", "ca.toml", CA)?;
    put("config", "log.toml", LOG)?;
    put("config", "tsa.toml", TSA)?;
    put("config", "host.toml", HOST)
}

const CA: &str = r#"url = "https://ca.example.com"
operator = "example.com"
key = "file:ca.key"
chain = "ca.pem"
validity = "10m"
accept_rsa_2048 = true
[ct]
url = "https://ct.example.com/a"
transport = "http"
[oidc-issuers."https://accounts.example.com"]
type = "email"
client-id = "sigstore"
"#;

const LOG: &str = r#"name = "signatures"
kind = "rekor"
url = "https://log.example.com"
key = "file:log.key"
wal_segment = "64MiB"
publish_interval = "100ms"
algorithms = ["ecdsa-sha2-256-nistp256"]
"#;

const TSA: &str = r#"url = "https://tsa.example.com/api/v1/timestamp"
chain = "tsa.pem"
key = "env:TSA_KEY"
policy = "1.3.6.1.4.1.57264.2"
accuracy = "1s"
extensions = "ignore"
rejection_status = "4xx"
"#;

const HOST: &str = r#"listen = ["127.0.0.1:0", "[::1]:0"]
drain_timeout = "4s"
[limits]
max_body = "4MiB"
max_connections = 100
[telemetry]
log_format = "json"
"#;
