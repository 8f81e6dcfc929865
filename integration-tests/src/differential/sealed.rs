//! Changes that are signed again.
//!
//! A changed byte under a signature is found by the signature, whatever else a verifier looks at. Here the authority or
//! log whose signature it was signs the changed part as well, and what depends on it is made anew. So the bundle stands
//! or falls by the one check that the change is meant for.

use std::sync::Arc;

use sealwright_crypto::{HashAlgorithm, MemorySigner, Signer as _, base64};
use sealwright_pki::sct::{self, SctEntry, SignedCertificateTimestamp};
use sealwright_proto::bundle::v1 as bundle;
use sealwright_proto::common::v1 as common;
use sealwright_testkit::bundle_factory::{NOW, Signing};
use sealwright_testkit::mutate::der::{self, Content, Length, Node};

use super::change::Change;
use super::der::{siblings, tree_changes};
use super::json;
use super::specimen::{LOGGED_AT, Specimen, document, material};

/// All of them.
pub fn changes(specimen: &Arc<Specimen>) -> Vec<Change> {
    let mut changes = certificates(specimen);
    changes.extend(tokens(specimen));
    changes.extend(checkpoints(specimen));
    changes.extend(bodies(specimen));
    changes.extend(statements(specimen));
    changes.extend(signatures(specimen));
    changes.extend(times(specimen));
    changes
}

/// The to-be-signed certificate: logged, timestamped and signed with the change.
fn certificates(specimen: &Arc<Specimen>) -> Vec<Change> {
    let leaf = &specimen.signer.certificate;
    let Some(nodes) = sct::precertificate_tbs(leaf.tbs_der())
        .ok()
        .and_then(|tbs| der::parse(&tbs))
    else {
        return Vec::new();
    };
    let owner = specimen.clone();
    let finish = Arc::new(move |nodes: Vec<Node>| certified(&owner, nodes));
    within("certificate, signed again", tree_changes(&nodes, finish))
}

fn certified(specimen: &Specimen, mut nodes: Vec<Node>) -> Option<Vec<u8>> {
    let authority = &specimen.world.certificate_authority;
    let list = scts_for(specimen, &der::encode(&nodes))?;
    let extension = Node {
        tag: 0x30,
        length: Length::Shortest,
        content: Content::Bytes(list),
    };
    if let Some(extensions) = extensions_of(&mut nodes) {
        extensions.push(extension);
    }
    let certificate = authority.sign_tbs(&der::encode(&nodes));
    let (entry, _) = specimen.logged_again(&certificate, &specimen.signature(), LOGGED_AT);
    let mut changed = specimen.with_entry(entry);
    specimen.set_certificate(&mut changed, certificate);
    Some(document(&changed))
}

/// OID and value of the extension with the log's promise for this to-be-signed certificate.
fn scts_for(specimen: &Specimen, tbs: &[u8]) -> Option<Vec<u8>> {
    let log = &specimen.world.ct_log;
    let entry = SctEntry::Precertificate {
        issuer_key_hash: specimen.issuing().spki_sha256(),
        tbs: tbs.into(),
    };
    let timestamp_ms = u64::try_from(NOW).ok()? * 1000;
    let message = sct::signing_input(timestamp_ms, &entry, &[]).ok()?;
    let promise = SignedCertificateTimestamp {
        log_id: sct::log_id(log.key.public_key()),
        timestamp_ms,
        extensions: Vec::new(),
        signature_algorithm: sct::signature_algorithm_octets(log.key.algorithm())?,
        signature: log.key.sign_now(&message)?.ok()?,
    };
    let value = sct::encode_list_extension(std::slice::from_ref(&promise)).ok()?;
    let oid = [
        0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02,
    ];
    let value = Node {
        tag: 4,
        length: Length::Shortest,
        content: Content::Bytes(value),
    };
    Some([oid.as_slice(), &der::encode(&[value])].concat())
}

/// The list of extensions at the end of a to-be-signed certificate, if it still stands there.
fn extensions_of(nodes: &mut Vec<Node>) -> Option<&mut Vec<Node>> {
    let fields = siblings(nodes, &[0])?;
    let last = fields.len().checked_sub(1)?;
    (fields.get(last)?.tag == 0xa3).then_some(())?;
    siblings(nodes, &[0, last, 0])
}

/// Where TSTInfo is in a TimeStampResp.
const TST_INFO: [usize; 7] = [0, 1, 1, 0, 2, 1, 0];
/// Where SignedData is.
const SIGNED_DATA: [usize; 4] = [0, 1, 1, 0];
/// Positions in SignerInfo.
const SIGNED_ATTRIBUTES: usize = 3;
const SIGNATURE: usize = 5;
/// The content of the OID of the attribute messageDigest.
const MESSAGE_DIGEST: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];

/// TSTInfo and the signed attributes of the first token.
fn tokens(specimen: &Arc<Specimen>) -> Vec<Change> {
    let mut bundle = specimen.bundle.clone();
    let Some(response) = first_token(&mut bundle).and_then(|token| der::parse(token)) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    let mut tree = response.clone();
    if let Some(info) = siblings(&mut tree, &TST_INFO).cloned() {
        let (owner, whole) = (specimen.clone(), response.clone());
        let finish = Arc::new(move |info: Vec<Node>| {
            let mut tree = whole.clone();
            let digest = HashAlgorithm::Sha256.digest(&der::encode(&info));
            *siblings(&mut tree, &TST_INFO)? = info;
            set_message_digest(attributes(&mut tree)?, digest.as_bytes())?;
            stamped(&owner, tree)
        });
        changes.extend(within("token, signed again", tree_changes(&info, finish)));
    }
    if let Some(signed) = attributes(&mut tree).cloned() {
        let (owner, whole) = (specimen.clone(), response);
        let finish = Arc::new(move |signed: Vec<Node>| {
            let mut tree = whole.clone();
            *attributes(&mut tree)? = signed;
            stamped(&owner, tree)
        });
        let inside = tree_changes(&signed, finish);
        changes.extend(within("attributes of the token, signed again", inside));
    }
    changes
}

/// Signs the attributes as they are, and puts the token back into the bundle.
fn stamped(specimen: &Specimen, mut tree: Vec<Node>) -> Option<Vec<u8>> {
    let signed = Node {
        tag: 0x31,
        length: Length::Shortest,
        content: Content::Nodes(Vec::new(), attributes(&mut tree)?.clone()),
    };
    let authority = &specimen.world.timestamp_authority;
    let signature = authority.sign(&der::encode(&[signed]));
    signer_info(&mut tree)?.get_mut(SIGNATURE)?.content = Content::Bytes(signature);
    let mut changed = specimen.bundle.clone();
    *first_token(&mut changed)? = der::encode(&tree);
    Some(document(&changed))
}

fn first_token(bundle: &mut bundle::Bundle) -> Option<&mut Vec<u8>> {
    let data = material(bundle).timestamp_verification_data.as_mut()?;
    let token = data.rfc3161_timestamps.first_mut()?;
    Some(&mut token.signed_timestamp)
}

fn signer_info(tree: &mut Vec<Node>) -> Option<&mut Vec<Node>> {
    let last = siblings(tree, &SIGNED_DATA)?.len().checked_sub(1)?;
    let path = [SIGNED_DATA.as_slice(), &[last, 0]].concat();
    siblings(tree, &path)
}

fn attributes(tree: &mut Vec<Node>) -> Option<&mut Vec<Node>> {
    match &mut signer_info(tree)?.get_mut(SIGNED_ATTRIBUTES)?.content {
        Content::Nodes(_, attributes) => Some(attributes),
        Content::Bytes(_) => None,
    }
}

fn set_message_digest(attributes: &mut [Node], digest: &[u8]) -> Option<()> {
    let values = attributes.iter_mut().find_map(|attribute| {
        let Content::Nodes(_, parts) = &mut attribute.content else {
            return None;
        };
        let named = parts
            .first()
            .is_some_and(|oid| oid.content == Content::Bytes(MESSAGE_DIGEST.to_vec()));
        named.then(|| parts.get_mut(1))?
    })?;
    let Content::Nodes(_, values) = &mut values.content else {
        return None;
    };
    values.first_mut()?.content = Content::Bytes(digest.to_vec());
    Some(())
}

/// A note: the text that is signed, and how the signatures stand below it.
type Rewrite = fn(&Checkpoint) -> String;

/// What a checkpoint is made of.
struct Checkpoint {
    origin: String,
    /// The log's name in its signature lines: the origin, without the tree that old logs add.
    name: String,
    size: u64,
    root: String,
    key_id: [u8; 4],
    key: MemorySigner,
}

impl Checkpoint {
    fn sign(&self, text: &str) -> Vec<u8> {
        self.key
            .sign_now(text.as_bytes())
            .and_then(Result::ok)
            .expect("keys in memory sign at once")
    }

    /// The note of this text, signed under the log's own name.
    fn note(&self, text: &str) -> String {
        format!("{text}\n{}", self.line(text))
    }

    fn line(&self, text: &str) -> String {
        self.line_by(&self.name, self.key_id, &self.sign(text))
    }

    fn line_by(&self, name: &str, key_id: [u8; 4], signature: &[u8]) -> String {
        let blob = [key_id.as_slice(), signature].concat();
        format!("\u{2014} {name} {}\n", base64::encode(&blob))
    }

    fn text(&self) -> String {
        self.text_of(&self.origin, &self.size.to_string(), &self.root)
    }

    fn text_of(&self, origin: &str, size: &str, root: &str) -> String {
        format!("{origin}\n{size}\n{root}\n")
    }

    fn with_origin(&self, origin: &str) -> String {
        self.note(&self.text_of(origin, &self.size.to_string(), &self.root))
    }

    fn with_size(&self, size: &str) -> String {
        self.note(&self.text_of(&self.origin, size, &self.root))
    }

    fn with_root(&self, root: &str) -> String {
        self.note(&self.text_of(&self.origin, &self.size.to_string(), root))
    }

    /// A line that looks like a witness's.
    fn witness(&self) -> String {
        self.line_by("witness.example.com", [1, 2, 3, 4], &[7; 72])
    }
}

/// The text of the checkpoint, signed by the log with the change, and the lines below it.
fn checkpoints(specimen: &Arc<Specimen>) -> Vec<Change> {
    REWRITES
        .iter()
        .map(|(kind, rewrite)| {
            let owner = specimen.clone();
            Change::new(kind, "checkpoint", move || {
                let note = rewrite(&checkpoint_of(&owner)?);
                let mut entry = owner.entry().clone();
                entry
                    .inclusion_proof
                    .as_mut()?
                    .checkpoint
                    .as_mut()?
                    .envelope = note;
                Some(document(&owner.with_entry(entry)))
            })
            .within("checkpoint, signed again", "", Some)
        })
        .collect()
}

fn checkpoint_of(specimen: &Specimen) -> Option<Checkpoint> {
    let entry = specimen.entry();
    let proof = entry.inclusion_proof.as_ref()?;
    let log_id = &entry.log_id.as_ref()?.key_id;
    Some(Checkpoint {
        origin: specimen.world.log.origin_line(),
        name: specimen.world.log.origin.clone(),
        size: proof.tree_size.unsigned_abs(),
        root: base64::encode(&proof.root_hash),
        key_id: log_id.get(..4)?.try_into().ok()?,
        key: specimen.world.log.key.clone(),
    })
}

const REWRITES: [(&str, Rewrite); 56] = [
    ("as it was", |c| c.note(&c.text())),
    ("origin in capitals", |c| {
        c.with_origin(&c.origin.to_uppercase())
    }),
    ("origin with a dot behind", |c| {
        c.with_origin(&format!("{}.", c.origin))
    }),
    ("origin with a port", |c| {
        c.with_origin(&format!("{}:443", c.origin))
    }),
    ("origin with a path", |c| {
        c.with_origin(&format!("{}/log", c.origin))
    }),
    ("origin with a scheme", |c| {
        c.with_origin(&format!("https://{}", c.origin))
    }),
    ("origin with a tree", |c| {
        c.with_origin(&format!("{} - 17", c.origin))
    }),
    ("origin of another log", |c| {
        c.with_origin("log.example.net")
    }),
    ("origin that begins alike", |c| {
        c.with_origin(&format!("{}.evil.example", c.origin))
    }),
    ("origin empty", |c| c.with_origin("")),
    ("origin with a space", |c| {
        c.with_origin(&format!("{} ", c.origin))
    }),
    ("origin that looks alike", |c| {
        c.with_origin(&c.origin.replace('o', "\u{43e}"))
    }),
    ("size with a zero in front", |c| {
        c.with_size(&format!("0{}", c.size))
    }),
    ("size with a plus", |c| c.with_size(&format!("+{}", c.size))),
    ("size with a space in front", |c| {
        c.with_size(&format!(" {}", c.size))
    }),
    ("size with a space behind", |c| {
        c.with_size(&format!("{} ", c.size))
    }),
    ("size with a carriage return", |c| {
        c.with_size(&format!("{}\r", c.size))
    }),
    ("size in hexadecimal", |c| {
        c.with_size(&format!("0x{:x}", c.size))
    }),
    ("size with an underscore", |c| {
        c.with_size(&format!("0_{}", c.size))
    }),
    ("size in other digits", |c| {
        let digits = c.size.to_string();
        let other = digits.chars().filter_map(|digit| {
            let value = digit.to_digit(10)?;
            char::from_u32(0x660 + value)
        });
        c.with_size(&other.collect::<String>())
    }),
    ("size one more", |c| c.with_size(&(c.size + 1).to_string())),
    ("size one less", |c| c.with_size(&(c.size - 1).to_string())),
    ("size zero", |c| c.with_size("0")),
    ("size negative", |c| c.with_size(&format!("-{}", c.size))),
    ("size above 64 bits", |c| {
        c.with_size("18446744073709551616")
    }),
    ("size wrapped around 64 bits", |c| {
        c.with_size(&((1_u128 << 64) + u128::from(c.size)).to_string())
    }),
    ("size missing", |c| {
        c.note(&format!("{}\n{}\n", c.origin, c.root))
    }),
    ("root without padding", |c| {
        c.with_root(c.root.trim_end_matches('='))
    }),
    ("root in base64 for URLs", |c| {
        c.with_root(&c.root.replace('+', "-").replace('/', "_"))
    }),
    ("root with another bit behind", |c| {
        let letters = c.root.trim_end_matches('=');
        let (front, last) = letters.split_at(letters.len() - 1);
        let next = last
            .chars()
            .next()
            .and_then(|last| char::from_u32(u32::from(last) + 1));
        c.with_root(&format!("{front}{}=", next.unwrap_or('B')))
    }),
    ("root with a space inside", |c| {
        c.with_root(&c.root.replacen('=', " =", 1))
    }),
    ("root with a foreign letter inside", |c| {
        c.with_root(&format!("!{}", c.root))
    }),
    ("root in hexadecimal", |c| {
        c.with_root(&base64::decode(&c.root).map(hex::encode).unwrap_or_default())
    }),
    ("root of 31 bytes", |c| {
        let root = base64::decode(&c.root).unwrap_or_default();
        c.with_root(&base64::encode(root.get(..31).unwrap_or_default()))
    }),
    ("root of 33 bytes", |c| {
        let root = base64::decode(&c.root).unwrap_or_default();
        c.with_root(&base64::encode(&[root, vec![0]].concat()))
    }),
    ("root missing", |c| {
        c.note(&format!("{}\n{}\n", c.origin, c.size))
    }),
    ("a line of extension", |c| {
        c.note(&format!("{}Timestamp: 17\n", c.text()))
    }),
    ("an empty line of extension", |c| {
        c.note(&format!("{}\n", c.text()))
    }),
    ("an empty line in front", |c| {
        c.note(&format!("\n{}", c.text()))
    }),
    ("a blank in front", |c| c.note(&format!(" {}", c.text()))),
    ("carriage returns", |c| {
        c.note(&c.text().replace('\n', "\r\n"))
    }),
    ("a control character in the extension", |c| {
        c.note(&format!("{}a\u{1}\n", c.text()))
    }),
    ("no line feed at the end", |c| {
        let note = c.note(&c.text());
        note.trim_end().to_owned()
    }),
    ("line feed behind the signatures", |c| {
        format!("{}\n", c.note(&c.text()))
    }),
    ("text behind the signatures", |c| {
        format!("{}more\n", c.note(&c.text()))
    }),
    ("no signatures", |c| format!("{}\n", c.text())),
    ("no blank line", |c| {
        format!("{}{}", c.text(), c.line(&c.text()))
    }),
    ("a witness in front", |c| {
        let text = c.text();
        format!("{text}\n{}{}", c.witness(), c.line(&text))
    }),
    ("a witness behind", |c| {
        format!("{}{}", c.note(&c.text()), c.witness())
    }),
    ("the signature twice", |c| {
        format!("{}{}", c.note(&c.text()), c.line(&c.text()))
    }),
    ("a wrong signature of the log in front", |c| {
        let text = c.text();
        let wrong = c.line_by(&c.name, c.key_id, &[7; 64]);
        format!("{text}\n{wrong}{}", c.line(&text))
    }),
    ("a wrong signature of the log behind", |c| {
        format!(
            "{}{}",
            c.note(&c.text()),
            c.line_by(&c.name, c.key_id, &[7; 64])
        )
    }),
    ("signed under another name", |c| {
        let text = c.text();
        format!(
            "{text}\n{}",
            c.line_by("log.example.net", c.key_id, &c.sign(&text))
        )
    }),
    ("signed under a name in capitals", |c| {
        let text = c.text();
        format!(
            "{text}\n{}",
            c.line_by(&c.name.to_uppercase(), c.key_id, &c.sign(&text))
        )
    }),
    ("signed under another key id", |c| {
        let text = c.text();
        format!("{text}\n{}", c.line_by(&c.name, [9; 4], &c.sign(&text)))
    }),
    ("signed after a hyphen", |c| {
        c.note(&c.text()).replace('\u{2014}', "-")
    }),
];

/// The body of the entry: taken by the log as it is, proven, and promised where the log promises.
fn bodies(specimen: &Arc<Specimen>) -> Vec<Change> {
    let body = &specimen.entry().canonicalized_body;
    let owner = specimen.clone();
    let wrap = move |body: Vec<u8>| Some(document(&owner.with_entry(owner.logged_body(body)?)));
    json::changes(body, None)
        .into_iter()
        .map(|change| change.within("", "", wrap.clone()))
        .map(|change| renamed(change, "body, logged again"))
        .collect()
}

/// The statement, signed by the signer.
fn statements(specimen: &Arc<Specimen>) -> Vec<Change> {
    let Some(statement) = &specimen.statement else {
        return Vec::new();
    };
    let owner = specimen.clone();
    let wrap = move |changed: Vec<u8>| signed_statement(&owner, String::from_utf8(changed).ok()?);
    json::changes(statement.as_bytes(), None)
        .into_iter()
        .chain(statement_forms(statement))
        .map(|change| change.within("", "", wrap.clone()))
        .map(|change| renamed(change, "statement, signed again"))
        .collect()
}

fn signed_statement(specimen: &Arc<Specimen>, statement: String) -> Option<Vec<u8>> {
    let mut world = specimen.world.clone();
    let mut signed = Specimen {
        name: specimen.name,
        bundle: world.sign_statement_as(&specimen.signer, &statement, &specimen.signing),
        statement: Some(statement),
        world,
        signer: specimen.signer.clone(),
        signing: specimen.signing.clone(),
        old_kind: specimen.old_kind,
        document: Vec::new(),
        trusted_root: specimen.trusted_root.clone(),
        identity: specimen.identity.clone(),
        issuer: specimen.issuer.clone(),
    };
    signed
        .bundle
        .media_type
        .clone_from(&specimen.bundle.media_type);
    let certificate = signed.signer.certificate.der().to_vec();
    if signed.old_kind.is_some() {
        let (entry, _) = signed.logged_again(&certificate, &signed.signature(), LOGGED_AT);
        signed.bundle = signed.with_entry(entry);
    }
    let content = specimen
        .bundle
        .verification_material
        .as_ref()?
        .content
        .clone();
    material(&mut signed.bundle).content = content;
    Some(document(&signed.bundle))
}

/// Statements that say the same otherwise, or something else.
fn statement_forms(statement: &str) -> Vec<Change> {
    let form = |kind, from: &'static str, to: &'static str| {
        let statement = statement.to_owned();
        Change::new(kind, "", move || {
            let changed = statement.replace(from, to);
            (changed != statement).then(|| changed.into_bytes())
        })
    };
    vec![
        form("statement of version 0.1", "Statement/v1", "Statement/v0.1"),
        form("statement of version 2", "Statement/v1", "Statement/v2"),
        form("digest named in capitals", "\"sha256\":", "\"SHA256\":"),
        form("digest named with a hyphen", "\"sha256\":", "\"sha-256\":"),
        form("digest of 512 bits by name", "\"sha256\":", "\"sha512\":"),
        form(
            "another digest beside",
            "\"sha256\":",
            "\"gitCommit\":\"00\",\"sha256\":",
        ),
        form(
            "another subject in front",
            "\"subject\":[",
            "\"subject\":[{\"name\":\"other\",\"digest\":{\"sha256\":\"00\"}},",
        ),
        form(
            "another subject without a name in front",
            "\"subject\":[",
            "\"subject\":[{\"digest\":{\"sha256\":\"00\"}},",
        ),
        form("no predicate", ",\"predicate\":{\"claim\":true}", ""),
        form(
            "an unknown member",
            "\"predicateType\"",
            "\"extra\":1,\"predicateType\"",
        ),
    ]
}

/// The signature in other encodings: timestamped and logged as it is.
fn signatures(specimen: &Arc<Specimen>) -> Vec<Change> {
    let signature = specimen.signature();
    let owner = specimen.clone();
    let wrap = move |signature: Vec<u8>| resigned(&owner, &signature);
    let other_half = {
        let signature = signature.clone();
        Change::new("value of s from the other half", "", move || {
            other_half(&signature)
        })
    };
    super::der::changes(&signature)
        .into_iter()
        .chain([other_half])
        .map(|change| change.within("signature, stamped and logged again", "", wrap.clone()))
        .collect()
}

fn resigned(specimen: &Specimen, signature: &[u8]) -> Option<Vec<u8>> {
    let certificate = specimen.signer.certificate.der();
    let (entry, world) = specimen.logged_again(certificate, signature, LOGGED_AT);
    let mut changed = specimen.with_entry(entry);
    match changed.content.as_mut()? {
        bundle::bundle::Content::MessageSignature(message) => message.signature = signature.into(),
        bundle::bundle::Content::DsseEnvelope(envelope) => {
            envelope.signatures.first_mut()?.sig = signature.into();
        }
    }
    let tokens = stamps(&world, signature, &specimen.signing);
    if let Some(data) = material(&mut changed).timestamp_verification_data.as_mut() {
        data.rfc3161_timestamps = tokens;
    }
    Some(document(&changed))
}

fn stamps(
    world: &sealwright_testkit::bundle_factory::World,
    signature: &[u8],
    signing: &Signing,
) -> Vec<common::Rfc3161SignedTimestamp> {
    let stamp = |at: &i64| common::Rfc3161SignedTimestamp {
        signed_timestamp: world.timestamp_authority.stamp(
            signature,
            *at,
            signing.tokens_with_certificates,
        ),
    };
    signing.stamped_at.iter().map(stamp).collect()
}

/// Order of the group of P-256.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The other signature with the same r that every verifier of ECDSA takes for as good: `n - s` for `s`.
fn other_half(signature: &[u8]) -> Option<Vec<u8>> {
    let mut nodes = der::parse(signature)?;
    let s = siblings(&mut nodes, &[0])?.get_mut(1)?;
    let Content::Bytes(content) = &s.content else {
        return None;
    };
    let digits: Vec<u8> = content
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    let mut padded = vec![0; 32_usize.checked_sub(digits.len())?];
    padded.extend(digits);
    let mut difference = [0; 33];
    let mut borrow = 0;
    for position in (0..32).rev() {
        let minuend = i16::from(*P256_ORDER.get(position)?) - borrow;
        let digit = minuend - i16::from(*padded.get(position)?);
        borrow = i16::from(digit < 0);
        *difference.get_mut(position + 1)? = u8::try_from(digit.rem_euclid(256)).ok()?;
    }
    let keep = difference.iter().skip_while(|byte| **byte == 0).copied();
    let mut value: Vec<u8> = keep.collect();
    if value.first().is_some_and(|byte| byte & 0x80 != 0) {
        value.insert(0, 0);
    }
    s.content = Content::Bytes(value);
    Some(der::encode(&nodes))
}

/// Times at the ends of the certificate: by the timestamp authority, or by the old log's promise.
fn times(specimen: &Arc<Specimen>) -> Vec<Change> {
    let leaf = &specimen.signer.certificate;
    let (first, last) = (leaf.not_before(), leaf.not_after());
    let moments = [
        ("a second before the certificate", first - 1),
        ("the first second of the certificate", first),
        ("the last second of the certificate", last),
        ("a second after the certificate", last + 1),
        ("a year before", first - 365 * 24 * 3600),
        ("at the beginning of the calendar", 1),
    ];
    let mut changes = Vec::new();
    for (kind, at) in moments {
        let owner = specimen.clone();
        changes.push(Change::new(kind, "token", move || {
            owner.signing.stamped_at.first()?;
            Some(document(&stamped_at(&owner, &[at])))
        }));
        let owner = specimen.clone();
        changes.push(Change::new(kind, "one of two tokens", move || {
            owner.signing.stamped_at.first()?;
            Some(document(&stamped_at(&owner, &[NOW + 2, at])))
        }));
        let owner = specimen.clone();
        changes.push(Change::new(kind, "promise", move || {
            owner.old_kind?;
            let certificate = owner.signer.certificate.der();
            let (entry, _) = owner.logged_again(certificate, &owner.signature(), at);
            Some(document(&owner.with_entry(entry)))
        }));
    }
    within("time, signed again", changes)
}

fn stamped_at(specimen: &Specimen, times: &[i64]) -> bundle::Bundle {
    let signing = Signing {
        stamped_at: times.to_vec(),
        ..specimen.signing.clone()
    };
    let mut changed = specimen.bundle.clone();
    material(&mut changed).timestamp_verification_data = Some(bundle::TimestampVerificationData {
        rfc3161_timestamps: stamps(&specimen.world, &specimen.signature(), &signing),
    });
    changed
}

fn within(layer: &'static str, changes: Vec<Change>) -> Vec<Change> {
    changes
        .into_iter()
        .map(|change| change.within(layer, "", Some))
        .collect()
}

/// The layer is the one that was signed, also for changes to what is packed inside it.
fn renamed(mut change: Change, layer: &'static str) -> Change {
    change.layer = layer;
    change
}
