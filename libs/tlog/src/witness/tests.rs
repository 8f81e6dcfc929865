use proptest::prelude::*;
use sealwright_crypto::{Algorithm, KeyType, PrivateKey};

use super::*;
use crate::hash::{leaf_hash, merkle_tree_hash};
use crate::note::SignatureKind;
use crate::proof::{HashReader, Node, consistency_proof};

const ORIGIN: &str = "log.example";

/// A tree whose leaf `i` is the number `i`.
struct Tree(Vec<Hash>);

impl Tree {
    fn new(size: u64) -> Self {
        Self(
            (0..size)
                .map(|leaf| leaf_hash(&leaf.to_be_bytes()))
                .collect(),
        )
    }

    fn root(&self, size: u64) -> Hash {
        merkle_tree_hash(&self.0[..size as usize])
    }

    fn proof(&self, from: u64, to: u64) -> Vec<Hash> {
        consistency_proof(from, to, self).unwrap()
    }
}

impl HashReader for Tree {
    type Error = Error;

    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, Error> {
        let hash = |node: &Node| {
            let width = 1 << node.level;
            let start = node.index as usize * width;
            merkle_tree_hash(&self.0[start..start + width])
        };
        Ok(nodes.iter().map(hash).collect())
    }
}

struct Holder {
    key: NoteKey,
    private: PrivateKey,
}

impl Holder {
    fn new(name: &str, kind: SignatureKind) -> Self {
        let key_type = match kind {
            SignatureKind::Ecdsa | SignatureKind::Rfc6962TreeHead => KeyType::EcP256,
            _ => KeyType::Ed25519,
        };
        let private = PrivateKey::generate(key_type).unwrap();
        let key = NoteKey::new(name, kind, private.public_key().clone()).unwrap();
        Self { key, private }
    }

    fn line(&self, text: &str, time_ms: u64) -> NoteSignature {
        let message = self.key.message(text, time_ms).unwrap();
        let raw = self.private.sign(self.key.algorithm(), &message).unwrap();
        self.key.signature(&raw, time_ms).unwrap()
    }

    fn sign(&self, size: u64, root: Hash) -> Note {
        let text = Checkpoint::new(ORIGIN, size, root).to_text();
        let mut note = Note::new(text.clone()).unwrap();
        note.push(self.line(&text, 1_700_000_000_000));
        note
    }
}

fn log() -> Holder {
    Holder::new(ORIGIN, SignatureKind::Ed25519)
}

fn request(note: Note, old_size: u64, proof: Vec<Hash>) -> AddCheckpoint {
    AddCheckpoint {
        old_size,
        proof,
        note,
    }
}

/// What a witness that knows `seen` of the log with these keys answers.
fn judge(request: &AddCheckpoint, keys: &[NoteKey], seen: &Seen) -> Result<Seen, u16> {
    let read = AddCheckpoint::parse(request.to_string().as_bytes());
    let signed = read.and_then(|read| read.authenticate(Some(keys)));
    let signed = signed.map_err(|refusal| refusal.status())?;
    let outcome = signed.extends(seen).map(|()| signed.seen());
    outcome.map_err(|refusal| refusal.status())
}

#[test]
fn a_request_survives_its_text_and_an_extension_is_cosigned() {
    let (log, tree) = (log(), Tree::new(20));
    let keys = [log.key.clone()];
    let mut seen = Seen::nothing();
    for size in [0, 0, 3, 3, 8, 9, 20] {
        let proof = tree.proof(seen.size, size);
        let request = request(log.sign(size, tree.root(size)), seen.size, proof);
        assert_eq!(
            AddCheckpoint::parse(request.to_string().as_bytes()),
            Ok(request.clone())
        );
        seen = judge(&request, &keys, &seen).unwrap();
        assert_eq!((seen.size, seen.root), (size, tree.root(size)));
    }
}

#[test]
fn each_refusal_has_its_status_and_the_first_reason_counts() {
    let (log, stranger, tree) = (log(), log(), Tree::new(20));
    let keys = [log.key.clone()];
    let seen = Seen {
        size: 7,
        root: tree.root(7),
    };
    let fork = Tree(
        (0..20)
            .map(|leaf: u64| leaf_hash(&leaf.to_le_bytes()))
            .collect(),
    );
    let good = log.sign(20, tree.root(20));
    let proof = tree.proof(7, 20);
    let check = |note: &Note, old, proof: &[Hash], status| {
        let request = request(note.clone(), old, proof.to_vec());
        assert_eq!(judge(&request, &keys, &seen), Err(status), "{request}");
    };
    assert!(judge(&request(good.clone(), 7, proof.clone()), &keys, &seen).is_ok());
    // A signature comes before the sizes, those before the state, the state before the proof.
    check(&stranger.sign(5, tree.root(5)), 9, &[], 403);
    check(&log.sign(5, tree.root(5)), 9, &[], 400);
    check(&good, 8, &[], 409);
    check(&good, 0, &[], 409);
    check(&good, 7, &[], 422);
    check(&good, 7, &tree.proof(6, 20), 422);
    check(&log.sign(20, fork.root(20)), 7, &fork.proof(7, 20), 422);
    check(&log.sign(7, fork.root(7)), 7, &[], 422);
    check(&log.sign(7, tree.root(7)), 7, &tree.proof(6, 7), 422);
    let unknown = request(good, 7, proof);
    let refusal = unknown.authenticate(None).unwrap_err();
    assert_eq!(refusal.status(), 404);
}

#[test]
fn an_empty_tree_has_one_root_and_needs_no_proof() {
    let (log, tree) = (log(), Tree::new(5));
    let keys = [log.key.clone()];
    let judge = |note, proof| judge(&request(note, 0, proof), &keys, &Seen::nothing());
    assert!(judge(log.sign(0, empty_root()), vec![]).is_ok());
    assert_eq!(judge(log.sign(0, [7; 32]), vec![]), Err(422));
    assert_eq!(judge(log.sign(5, tree.root(5)), vec![[1; 32]]), Err(422));
    assert!(judge(log.sign(5, tree.root(5)), vec![]).is_ok());
}

#[test]
fn the_keys_of_every_kind_of_log_are_taken_and_other_signatures_are_dropped() {
    let tree = Tree::new(5);
    for kind in [
        SignatureKind::Ed25519,
        SignatureKind::Ecdsa,
        SignatureKind::Rfc6962TreeHead,
    ] {
        let (log, other) = (
            Holder::new(ORIGIN, kind),
            Holder::new("other", SignatureKind::Ed25519),
        );
        let vkey = log.key.to_vkey().unwrap();
        let key = NoteKey::from_vkey(&vkey).unwrap();
        assert_eq!(key, log.key, "{vkey}");
        let alone = log.sign(5, tree.root(5));
        let mut note = alone.clone();
        note.push(other.line(alone.text(), 0));
        let signed = request(note, 0, vec![]).authenticate(Some(&[key])).unwrap();
        assert_eq!(signed.note(), &alone, "what nobody vouches for is not kept");
    }
}

#[test]
fn a_signature_of_a_known_key_that_is_wrong_refuses_the_checkpoint() {
    let (log, second) = (log(), Holder::new(ORIGIN, SignatureKind::Ed25519));
    let mut note = log.sign(0, empty_root());
    note.push(second.key.signature(&[7; 64], 0).unwrap());
    let keys = [log.key.clone(), second.key.clone()];
    let refusal = request(note.clone(), 0, vec![]).authenticate(Some(&keys));
    assert!(matches!(
        refusal,
        Err(Refusal::NotSigned(Error::BadSignature { .. }))
    ));
    assert!(
        request(note, 0, vec![])
            .authenticate(Some(&keys[..1]))
            .is_ok()
    );
}

#[test]
fn what_is_not_to_the_letter_is_no_request() {
    let note = log().sign(0, empty_root());
    let hash = base64::encode(&[7; 32]);
    let read = |text: String| AddCheckpoint::parse(text.as_bytes()).map_err(|one| one.status());
    let full = format!("{hash}\n").repeat(MAX_PROOF_LINES);
    assert_eq!(
        read(format!("old 9\n{full}\n{note}")).unwrap().proof.len(),
        63
    );
    for text in [
        String::new(),
        "old 0".into(),
        "old 0\n".into(),
        format!("old 0\n{note}"),
        format!("old 00\n\n{note}"),
        format!("old +1\n\n{note}"),
        format!("old -1\n\n{note}"),
        format!("old \n\n{note}"),
        format!("old  1\n\n{note}"),
        format!("Old 1\n\n{note}"),
        format!("old 1 \n\n{note}"),
        format!("old 1\r\n\n{note}"),
        format!("old 18446744073709551616\n\n{note}"),
        format!("old 9\n{hash}{hash}\n\n{note}"),
        format!("old 9\n {hash}\n\n{note}"),
        format!("old 9\n{}\n\n{note}", hash.trim_end_matches('=')),
        format!("old 9\n{full}{hash}\n\n{note}"),
        format!("old 9\n\n{}", note.text()),
    ] {
        assert_eq!(read(text.clone()), Err(400), "{text:?}");
    }
    let mut long = format!("old 9\n\n{note}").into_bytes();
    long.resize(MAX_REQUEST_BYTES + 1, b'a');
    assert!(matches!(
        AddCheckpoint::parse(&long),
        Err(Refusal::Malformed(Error::TooLong { .. }))
    ));
}

#[test]
fn a_checkpoint_that_is_none_is_malformed_even_for_an_unknown_log() {
    let log = log();
    for text in [
        "log.example\n07\nAAAA\n".to_owned(),
        format!("\n{}", log.sign(0, empty_root()).text()),
    ] {
        let mut note = Note::new(text).unwrap();
        note.push(log.key.signature(&[7; 64], 0).unwrap());
        let refusal = request(note, 0, vec![]).authenticate(None).unwrap_err();
        assert_eq!(refusal.status(), 400);
    }
}

#[test]
fn an_answer_is_taken_when_it_is_the_witness_s_cosignature_of_this_checkpoint() {
    let (log, tree) = (log(), Tree::new(5));
    let witness = Holder::new("w.example", SignatureKind::CosignatureV1);
    let other = Holder::new("x.example", SignatureKind::CosignatureV1);
    let note = log.sign(5, tree.root(5));
    let line = witness.line(note.text(), 1_700_000_000_000);
    let stranger = other.line(note.text(), 1_700_000_000_000);
    let body = cosignature_body(&[stranger.clone(), line.clone()]);
    let read = |body: &str| parse_cosignatures(body.as_bytes(), &note, &witness.key);
    assert_eq!(read(&body), Ok(vec![line.clone()]));
    let elsewhere = log.sign(4, tree.root(4));
    for (body, what) in [
        (String::new(), "nothing"),
        ("\n".into(), "an empty line"),
        ("OK\n".into(), "another text"),
        (line.to_string(), "no line end"),
        (format!("{line}\n\n"), "an empty line at the end"),
        (cosignature_body(&[stranger]), "somebody else's"),
        (
            cosignature_body(&[witness.line(elsewhere.text(), 1_700_000_000_000)]),
            "of another checkpoint",
        ),
        (
            cosignature_body(&[witness.line(note.text(), 0)]),
            "without a time",
        ),
        (format!("{line}\n").repeat(400), "too long or too many"),
    ] {
        assert!(read(&body).is_err(), "{what}: {body:?}");
    }
}

#[test]
fn sizes_and_paths() {
    assert_eq!(
        parse_size_body(size_body(u64::MAX).as_bytes()),
        Ok(u64::MAX)
    );
    for body in [
        "",
        "7",
        "07\n",
        "7\n\n",
        " 7\n",
        "-7\n",
        "18446744073709551616\n",
    ] {
        assert!(parse_size_body(body.as_bytes()).is_err(), "{body:?}");
    }
    // Published for this origin by a public witness's monitoring prefix: SHA-256 of the origin line without its end.
    assert_eq!(
        monitoring_path("abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad/checkpoint"
    );
}

/// The example of the published specification: its grammar is ours, and the tree head line of another key is passed over.
#[test]
fn the_request_of_the_specification_is_read() {
    let text = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        \u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
    let request = AddCheckpoint::parse(text.as_bytes()).unwrap();
    assert_eq!(request.to_string(), text);
    assert_eq!(
        (request.origin(), request.old_size, request.proof.len()),
        ("example.com/behind-the-sofa", 20_852_014, 4)
    );
    let refusal = request.authenticate(Some(&[log().key])).unwrap_err();
    assert_eq!(refusal.status(), 403);
}

/// A published key and the note it signed, by value.
#[test]
fn the_signed_note_of_the_specification_verifies() {
    let key =
        NoteKey::from_vkey("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
            .unwrap();
    let note = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let note = Note::parse(note.as_bytes()).unwrap();
    assert!(note.verify(std::slice::from_ref(&key)).is_ok());
    assert_eq!(key.algorithm(), Algorithm::Ed25519);
}

proptest! {
    /// Whatever order requests come in, a witness never forgets a leaf, and never cosigns two trees of one size.
    #[test]
    fn a_witness_only_grows_along_one_tree(steps in proptest::collection::vec((0_u64..12, 0_u64..12, any::<bool>()), 1..40)) {
        let (log, trees) = (log(), [Tree::new(12), Tree((0..12).map(|leaf: u64| leaf_hash(&leaf.to_le_bytes())).collect())]);
        let keys = [log.key.clone()];
        let (mut seen, mut cosigned) = (Seen::nothing(), Vec::<Seen>::new());
        for (old, new, honest) in steps {
            let tree = &trees[usize::from(!honest)];
            let proof = if old <= new { tree.proof(old, new) } else { Vec::new() };
            let request = request(log.sign(new, tree.root(new)), old, proof);
            if let Ok(next) = judge(&request, &keys, &seen) {
                prop_assert!(next.size >= seen.size);
                prop_assert!(cosigned.iter().all(|one| one.size != next.size || one.root == next.root));
                seen = next;
                cosigned.push(next);
            }
        }
    }

    #[test]
    fn reading_anything_does_not_panic(text in "(old [0-9]{0,3}\n)?([A-Za-z0-9+/]{43}=\n){0,3}\n?([a-z0-9 \n]{0,20}\n\n)?(\u{2014} [a-z]{0,4} [A-Za-z0-9+/=]{0,12}\n?){0,3}") {
        if let Ok(read) = AddCheckpoint::parse(text.as_bytes()) {
            prop_assert_eq!(read.to_string(), text);
        }
    }
}
