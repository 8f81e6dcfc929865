//! Checkpoints that are not the log's, or that say too little.

use sealwright_crypto::base64;

use super::draft::Draft;
use super::edges::{namesake, note_text, with_lines, witness};
use super::{Category, Recipe, Refusals};
use crate::bundle_factory::SignatureLog;

pub(super) fn recipes() -> Vec<Recipe> {
    [signatures(), texts(), origins()].concat()
}

fn checkpoint(code: &'static str) -> Refusals {
    Refusals::of(Category::Checkpoint, "log", code)
}

fn signatures() -> Vec<Recipe> {
    let r = checkpoint("CHECKPOINT_SIGNATURE_INVALID");
    vec![
        r.case("changed-checkpoint-signature", "v03-blob", |d| {
            edit_signature(d, |bytes| *bytes.last_mut().expect("bytes") ^= 1);
        }),
        r.case(
            "changed-signature-of-an-old-checkpoint",
            "old-log-v03-blob",
            |d| {
                edit_signature(d, |bytes| *bytes.last_mut().expect("bytes") ^= 1);
            },
        ),
        r.case("changed-key-id-on-the-checkpoint", "v03-blob", |d| {
            edit_signature(d, |bytes| bytes[0] ^= 1);
        }),
        r.case(
            "changed-key-id-on-an-old-checkpoint",
            "old-log-v03-blob",
            |d| {
                edit_signature(d, |bytes| bytes[3] ^= 0x80);
            },
        ),
        r.case(
            "cosignature-without-the-log-s-signature",
            "checkpoint-cosigned",
            |d| {
                with_lines(d, |_, text| vec![witness("witness.example.org/w1", text)]);
            },
        ),
        r.case(
            "namesake-without-the-log-s-signature",
            "checkpoint-two-signatures-of-the-origin",
            |d| {
                with_lines(d, |_, text| vec![namesake(text)]);
            },
        ),
        r.case("signature-under-another-name", "v03-blob", |d| {
            edit(d, |note| {
                note.replace("\u{2014} log2026", "\u{2014} log2027")
            });
        }),
        r.case("another-tree-size", "v03-blob", |d| {
            edit(d, |note| note.replacen("\n6\n", "\n7\n", 1));
        }),
        r.case(
            "extension-line-that-the-log-did-not-sign",
            "v03-blob",
            |d| {
                edit(d, |note| note.replacen("\n\n", "\nextension\n\n", 1));
            },
        ),
        r.case(
            "extension-line-taken-away",
            "checkpoint-with-extension-lines",
            |d| {
                edit(d, |note| note.replacen("one line\n", "", 1));
            },
        ),
        r.case("right-name-wrong-key", "v03-blob", |d| {
            let mut impostor = SignatureLog::new("https://log2026.example.com");
            put_entry_of(d, &mut impostor);
        }),
        // A good signature of the log, and a broken one beside it.
        r.case(
            "broken-signature-beside-the-good-one",
            "checkpoint-signed-twice-by-the-log",
            |d| {
                edit_signature(d, |bytes| *bytes.last_mut().expect("bytes") ^= 1);
            },
        ),
    ]
}

fn texts() -> Vec<Recipe> {
    let r = checkpoint("CHECKPOINT_MALFORMED");
    vec![
        r.case("checkpoint-without-signature", "v03-blob", |d| {
            let text = note_text(d);
            *d.checkpoint() = format!("{text}\n");
        }),
        r.case("checkpoint-without-origin", "v03-blob", |d| drop_line(d, 0)),
        r.case("checkpoint-without-size", "v03-blob", |d| drop_line(d, 1)),
        r.case("checkpoint-without-root", "v03-blob", |d| drop_line(d, 2)),
        r.case("unsigned-checkpoint-without-origin", "v03-blob", |d| {
            edit(d, |note| note.split_inclusive('\n').skip(1).collect());
        }),
        r.case("checkpoint-with-empty-origin", "v03-blob", |d| {
            edit(d, |note| {
                let lines: String = note.split_inclusive('\n').skip(1).collect();
                format!("\n{lines}")
            });
        }),
        r.case("checkpoint-with-short-root", "v03-blob", |d| {
            let text = format!("log2026.example.com\n6\n{}\n", base64::encode(&[7; 31]));
            *d.checkpoint() = d.world.log.sign_text(&text);
        }),
        r.case("checkpoint-with-leading-zero", "v03-blob", |d| {
            resign(d, |text| text.replacen("\n6\n", "\n06\n", 1));
        }),
        r.case("checkpoint-with-signed-size", "v03-blob", |d| {
            resign(d, |text| text.replacen("\n6\n", "\n+6\n", 1));
        }),
        r.case("checkpoint-with-carriage-returns", "v03-blob", |d| {
            edit(d, |note| note.replace('\n', "\r\n"));
        }),
        r.case("checkpoint-without-the-empty-line", "v03-blob", |d| {
            edit(d, |note| note.replacen("\n\n", "\n", 1));
        }),
        r.case("checkpoint-without-the-last-line-end", "v03-blob", |d| {
            edit(d, |note| note.trim_end().to_owned());
        }),
        r.case("checkpoint-with-a-line-behind", "v03-blob", |d| {
            edit(d, |note| format!("{note}a line\n"));
        }),
        r.case("checkpoint-is-no-note", "v03-blob", |d| {
            edit(d, |_| "a checkpoint".into())
        }),
    ]
}

fn origins() -> Vec<Recipe> {
    let r = checkpoint("CHECKPOINT_ORIGIN_MISMATCH");
    vec![
        r.case("checkpoint-of-another-origin", "v03-blob", |d| {
            edit(d, |note| note.replacen("log2026", "log2027", 1));
        }),
        // The other log is trusted, holds the entry and proves it; the entry names the first.
        r.case("checkpoint-of-another-trusted-log", "v03-blob", |d| {
            let mut other = SignatureLog::new("https://other.example.com");
            d.root.tlogs.push(other.trusted());
            put_entry_of(d, &mut other);
        }),
        r.case("origin-of-another-path", "origin-with-port-and-path", |d| {
            rename_log(d, "log.example.com:3003/2026b");
        }),
        r.case("origin-of-another-port", "origin-with-port", |d| {
            rename_log(d, "127.0.0.1:3004");
        }),
        r.case("origin-of-a-longer-host", "v03-blob", |d| {
            rename_log(d, "log2026.example.com.example.org");
        }),
        r.case("old-origin-of-another-host", "old-log-v03-blob", |d| {
            edit(d, |note| {
                note.replacen("rekor.example.com", "rekor.example.org", 1)
            });
        }),
    ]
}

/// The log signs under another origin, and the entry still names it by its identifier.
fn rename_log(draft: &mut Draft, origin: &str) {
    let own_id = draft.entry().log_id.clone();
    draft.world.log.origin = origin.into();
    draft.sign();
    draft.entry().log_id = own_id;
}

fn edit(draft: &mut Draft, edit: fn(&str) -> String) {
    let note = draft.checkpoint().clone();
    let edited = edit(&note);
    assert_ne!(edited, note, "the edit changes something");
    *draft.checkpoint() = edited;
}

/// Changes the text, and has the log sign the result.
fn resign(draft: &mut Draft, edit: fn(&str) -> String) {
    let text = note_text(draft);
    let edited = edit(&text);
    assert_ne!(edited, text, "the edit changes something");
    *draft.checkpoint() = draft.world.log.sign_text(&edited);
}

/// Leaves out a line of the text, and has the log sign the rest.
fn drop_line(draft: &mut Draft, position: usize) {
    let text = note_text(draft);
    let rest: String = text
        .split_inclusive('\n')
        .enumerate()
        .filter(|(n, _)| *n != position)
        .map(|(_, line)| line)
        .collect();
    *draft.checkpoint() = draft.world.log.sign_text(&rest);
}

/// Changes the bytes of the first signature line: four of key id, then the signature.
fn edit_signature(draft: &mut Draft, edit: fn(&mut Vec<u8>)) {
    let note = draft.checkpoint().clone();
    let line = note
        .lines()
        .find(|line| line.starts_with('\u{2014}'))
        .expect("a signature line");
    let (head, encoded) = line.rsplit_once(' ').expect("three parts");
    let mut bytes = base64::decode(encoded).expect("base64");
    edit(&mut bytes);
    let changed = format!("{head} {}", base64::encode(&bytes));
    *draft.checkpoint() = note.replacen(line, &changed, 1);
}

/// An entry with the first log's identifier and everything else from another log.
fn put_entry_of(draft: &mut Draft, other: &mut SignatureLog) {
    let body = draft.entry().canonicalized_body.clone();
    let foreign = other.add_body_among_others(body, (1, 1));
    let own_id = draft.entry().log_id.clone();
    *draft.entry() = foreign;
    draft.entry().log_id = own_id;
}
