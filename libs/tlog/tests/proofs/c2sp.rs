//! The values that the C2SP specifications publish: signed-note, tlog-checkpoint, tlog-tiles, tlog-cosignature, tlog-proof.
//!
//! Where a specification shows a signature and its key, it is verified; where it shows bytes alone, they are read and written
//! back.

use sealwright_crypto::{PublicKey, base64};
use sealwright_tlog::tile::{TileId, TileKind, width_in_tree};
use sealwright_tlog::{
    Checkpoint, Error, Note, NoteKey, SignatureKind, TlogProof, cosignature, tlog_proof,
};

/// signed-note: the key, and the note that it verifies.
const EXAMPLE_VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE_TEXT: &str = "This is an example message.\n";
const EXAMPLE_LINE: &str = "\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";

/// tlog-checkpoint and tlog-cosignature: one checkpoint with the log's line and a witness's.
const SOFA: &str =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
const SOFA_LINE: &str = "\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=";
const WITNESS_LINE: &str = "\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";

fn signed(text: &str, lines: &[&str]) -> String {
    format!("{text}\n{}\n", lines.join("\n"))
}

#[test]
fn signed_note_the_example_verifies_with_the_example_key() {
    let key = NoteKey::from_vkey(EXAMPLE_VKEY).expect("the example key");
    assert_eq!(key.name(), "example.com/foo");
    assert_eq!(hex::encode(key.key_id()), "530d903a");
    assert_eq!(key.to_vkey().as_deref(), Some(EXAMPLE_VKEY));
    let note = signed(EXAMPLE_TEXT, &[EXAMPLE_LINE]);
    let note = Note::parse(note.as_bytes()).expect("the example note");
    assert_eq!(note.text(), EXAMPLE_TEXT);
    note.verify(std::slice::from_ref(&key))
        .expect("it verifies");
    let other = signed("This is an example message!\n", &[EXAMPLE_LINE]);
    let refused = Note::parse(other.as_bytes())
        .expect("a note")
        .verify(&[key]);
    assert!(matches!(refused, Err(Error::BadSignature { .. })));
}

#[test]
fn signed_note_a_text_may_have_empty_lines() {
    let line = "\u{2014} quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=";
    let whole = signed("one\n\ntwo\n", &[line]);
    let note = Note::parse(whole.as_bytes()).expect("a note");
    assert_eq!(note.text(), "one\n\ntwo\n");
    let [signature] = note.signatures() else {
        panic!("one signature");
    };
    assert_eq!(signature.name(), "quasimodo.example/salvatore");
    assert_eq!(hex::encode(signature.key_id()), "367ba04b");
    assert_eq!(signature.signature().len(), 64);
    assert_eq!(note.to_string(), whole);
}

#[test]
fn tlog_checkpoint_the_example_is_read_and_written_back() {
    let whole = signed(SOFA, &[SOFA_LINE]);
    let note = Note::parse(whole.as_bytes()).expect("the example");
    let checkpoint = Checkpoint::parse(note.text()).expect("a checkpoint");
    assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size, 20_852_163);
    assert_eq!(
        base64::encode(&checkpoint.root),
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    );
    assert!(checkpoint.extensions.is_empty());
    assert_eq!(checkpoint.to_text(), SOFA);
    assert_eq!(note.to_string(), whole);
}

#[test]
fn tlog_cosignature_the_example_names_its_time_and_message() {
    let whole = signed(SOFA, &[SOFA_LINE, WITNESS_LINE]);
    let note = Note::parse(whole.as_bytes()).expect("the example");
    let [_, witness] = note.signatures() else {
        panic!("two signatures");
    };
    let (time, raw) = witness.signature().split_at(8);
    let time = u64::from_be_bytes(time.try_into().expect("eight bytes"));
    assert_eq!((time, raw.len()), (1_679_315_147, 64));
    let message = cosignature::message(time, note.text());
    assert_eq!(
        String::from_utf8(message).expect("text"),
        format!("cosignature/v1\ntime 1679315147\n{SOFA}")
    );
}

/// The key id commits to name, type and key: one key under two types has two ids.
#[test]
fn tlog_cosignature_key_ids_differ_by_type() {
    let log = NoteKey::from_vkey(EXAMPLE_VKEY).expect("a key");
    let key: PublicKey = log.public_key().clone();
    let witness = NoteKey::new(log.name(), SignatureKind::CosignatureV1, key.clone());
    let witness = witness.expect("the same key as a witness");
    assert_ne!(witness.key_id(), log.key_id());
    let spki = key.spki_der();
    let raw = spki.get(spki.len() - 32..).expect("an Ed25519 key");
    let digest = sealwright_crypto::sha256_concat(&[log.name().as_bytes(), b"\n\x04", raw]);
    assert_eq!(witness.key_id(), digest[..4]);
}

#[test]
fn tlog_tiles_paths_widths_and_the_tree_of_seventy_thousand() {
    let id = TileId::full(TileKind::Hashes(0), 1_234_067);
    assert_eq!(id.to_string(), "tile/0/x001/x234/067");
    assert_eq!(TileId::parse("tile/0/x001/x234/067"), Ok(id));
    // 273 full tiles and one of 112, one full and one of 17, one of 1.
    let widths = |level, count| (0..count).map(move |index| width_in_tree(level, index, 70_000));
    assert!(widths(0, 273).all(|width| width == 256));
    assert_eq!(width_in_tree(0, 273, 70_000), 112);
    assert_eq!(widths(1, 3).collect::<Vec<_>>(), [256, 17, 0]);
    assert_eq!(widths(2, 2).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(width_in_tree(1, 0, 256), 1);
    for level in ["00", "64", "-1", "a"] {
        assert!(TileId::parse(&format!("tile/{level}/000")).is_err());
    }
    for width in ["0", "256", "01"] {
        assert!(TileId::parse(&format!("tile/0/000.p/{width}")).is_err());
    }
}

/// The hashes and the extra line of tlog-proof's example, over the checkpoint above: its own signatures are abridged.
#[test]
fn tlog_proof_the_example_is_read_and_written_back() {
    let hashes = [
        "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=",
        "B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=",
        "EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=",
        "RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=",
        "AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=",
    ];
    let head = format!(
        "c2sp.org/tlog-proof@v1\nextra {}\nindex 73894\n{}\n",
        base64::encode(b"any data"),
        hashes.join("\n")
    );
    let text = format!("{head}\n{}", signed(SOFA, &[SOFA_LINE, WITNESS_LINE]));
    let proof = TlogProof::parse(text.as_bytes()).expect("the example's form");
    assert_eq!(tlog_proof::HEADER, "c2sp.org/tlog-proof@v1");
    assert_eq!(tlog_proof::FILE_EXTENSION, "tlog-proof");
    assert_eq!((proof.index(), proof.hashes().len()), (73_894, 5));
    assert_eq!(proof.extra(), Some(b"any data".as_slice()));
    assert_eq!(proof.checkpoint().size, 20_852_163);
    assert_eq!(proof.to_string(), text);
    // Five hashes lead nowhere in a tree of twenty million.
    let key = NoteKey::from_vkey(EXAMPLE_VKEY).expect("a key");
    assert!(
        proof
            .open(&[0; 32], "example.com/behind-the-sofa", &[key])
            .is_err()
    );
}
