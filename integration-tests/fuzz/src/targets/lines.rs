//! Formats made of lines and words.

use std::sync::LazyLock;

use sealwright_host::config;
use sealwright_host::telemetry::TraceContext;
use sealwright_tlog::tile::{TileId, parse_level, parse_position};
use sealwright_tlog::witness::{self, AddCheckpoint};
use sealwright_tlog::{Checkpoint, Note, NoteKey, TlogProof, WitnessPolicy, cosignature};

use super::{Target, outcome, text};
use crate::corpus;
use crate::mutate::Format;

pub(super) const NOTE: Target = Target {
    name: "note",
    format: Format::Text,
    dictionary: &["\u{2014} ", "\n\n", "+", " ", "\r", "log.example.com"],
    cases: 8000,
    peak_factor: 48,
    check: note,
};
pub(super) const CHECKPOINT: Target = Target {
    name: "checkpoint",
    format: Format::Text,
    dictionary: &["\u{2014} ", "\n\n", "0", "log.example.com"],
    cases: 8000,
    peak_factor: 48,
    check: checkpoint,
};
pub(super) const WITNESS_POLICY: Target = Target {
    name: "witness_policy",
    format: Format::Text,
    dictionary: &[
        "log ", "witness ", "group ", "quorum ", "none", "all", "any", "#", "\t", "\n", "2",
    ],
    cases: 8000,
    peak_factor: 64,
    check: witness_policy,
};
pub(super) const ADD_CHECKPOINT: Target = Target {
    name: "add_checkpoint",
    format: Format::Text,
    dictionary: &[
        "old ",
        "0\n",
        "\n\n",
        "\u{2014} ",
        "log.example.com",
        "\r",
        "=",
    ],
    cases: 8000,
    peak_factor: 64,
    check: add_checkpoint,
};
pub(super) const TILE_PATH: Target = Target {
    name: "tile_path",
    format: Format::Text,
    dictionary: &[
        "tile/",
        "entries",
        "data",
        "x000/",
        ".p/",
        "63",
        "64",
        "x018/x446/x744/x073/x709/x551/615",
    ],
    cases: 10_000,
    peak_factor: 16,
    check: tile_path,
};
pub(super) const TLOG_PROOF: Target = Target {
    name: "tlog_proof",
    format: Format::Text,
    dictionary: &[
        "c2sp.org/tlog-proof@v1\n",
        "extra ",
        "index ",
        "\n\n",
        "\u{2014} ",
        "18446744073709551615",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    ],
    cases: 8000,
    peak_factor: 48,
    check: offline_proof,
};
pub(super) const TRACE_CONTEXT: Target = Target {
    name: "trace_context",
    format: Format::Text,
    dictionary: &[
        "00",
        "ff",
        "-",
        "00000000000000000000000000000000",
        "0000000000000000",
    ],
    cases: 8000,
    peak_factor: 16,
    check: trace_context,
};
pub(super) const CONFIG: Target = Target {
    name: "config",
    format: Format::Text,
    dictionary: &[
        "[ct]\n",
        "[[log]]\n",
        "= ",
        "\"\"\"",
        "'''",
        "\"10s\"",
        "\"4MiB\"",
        "\"18446744073709551615h\"",
        "true",
        "nan",
        "a.b.c = 1\n",
        "{",
        "[",
        "key = \"file:\"\n",
    ],
    cases: 2500,
    peak_factor: 512,
    check: configuration,
};

/// The log and the witness of the corpus.
static KEYS: LazyLock<(Vec<NoteKey>, Vec<NoteKey>)> = LazyLock::new(|| {
    let files = corpus::read(&corpus::seeds_of("note")).expect("the corpus is readable");
    let keys = files.iter().filter(|file| file.name.ends_with(".vkey"));
    let keys =
        keys.map(|file| NoteKey::from_vkey(&text(&file.bytes)).expect("a key of the corpus"));
    keys.partition(|key| key.kind() != sealwright_tlog::SignatureKind::CosignatureV1)
});

/// Texts that the log of the corpus has signed.
static SIGNED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = corpus::read(&corpus::seeds_of("checkpoint")).expect("the corpus is readable");
    let notes = files
        .iter()
        .filter_map(|file| Note::parse(&file.bytes).ok());
    notes.map(|note| note.text().to_owned()).collect()
});

/// The checkpoint that the witness of the corpus has cosigned.
static SIGNED_NOTE: LazyLock<String> = LazyLock::new(|| {
    let files = corpus::read(&corpus::seeds_of("note")).expect("the corpus is readable");
    let cosigned = files.iter().find(|file| file.name == "cosigned.txt");
    text(&cosigned.expect("a cosigned note").bytes).into_owned()
});

fn note(input: &[u8]) -> String {
    if let Ok(key) = NoteKey::from_vkey(&text(input)) {
        let written = key.to_vkey().expect("what was read can be written");
        let again = NoteKey::from_vkey(&written).expect("what was written is read");
        assert_eq!(
            (again.name(), again.key_id()),
            (key.name(), key.key_id()),
            "another key is written"
        );
        return format!("ok key {:?}", key.kind());
    }
    outcome(Note::parse(input), |note| {
        assert_eq!(note.to_string().as_bytes(), input, "one note, one encoding");
        let (logs, witnesses) = &*KEYS;
        let verified = note.verify(logs);
        if verified.is_ok() {
            assert!(
                SIGNED.iter().any(|text| text == note.text()),
                "a text that nobody signed"
            );
        }
        let seen = cosignature::verify(&note, witnesses);
        if seen.as_ref().is_ok_and(|seen| !seen.is_empty()) {
            assert!(
                SIGNED.iter().any(|text| text == note.text()),
                "a text that nobody saw"
            );
        }
        format!(
            "{} {}",
            crate::behaviour::of(&verified),
            crate::behaviour::of(&seen)
        )
    })
}

/// A policy cut short is refused, a comment changes nothing, and nobody's cosignature is anybody else's.
fn witness_policy(input: &[u8]) -> String {
    outcome(WitnessPolicy::parse(input), |policy| {
        let commented = [input, b"# a comment\n"].concat();
        let commented = WitnessPolicy::parse(&commented).expect("a comment may stand anywhere");
        assert_eq!(commented, policy, "a comment that means something");
        let cut = input
            .strip_suffix(b"\n")
            .expect("the last line has its end");
        assert!(
            cut.is_empty() || cut.ends_with(b"\n") || WitnessPolicy::parse(cut).is_err(),
            "a policy cut short"
        );
        let (_, witnesses) = &*KEYS;
        let note = Note::parse(SIGNED_NOTE.as_bytes()).expect("a note of the corpus");
        let judged = policy.judge(&note);
        if let Ok(judged) = &judged {
            for cosignature in &judged.cosignatures {
                let key = policy.witnesses().get(cosignature.witness);
                assert!(key.is_some_and(|key| witnesses.contains(key)), "a stranger");
            }
            assert!(
                judged.quorum_met || policy.quorum() != "no witness",
                "no witness is needed, and one is missing"
            );
        }
        format!(
            "logs {} witnesses {} met {:?}",
            policy.logs().len().min(3),
            policy.witnesses().len().min(3),
            judged.map(|judged| judged.quorum_met)
        )
    })
}

/// One request, one encoding; nothing is cosigned that the log did not sign, and nothing smaller than what was seen.
fn add_checkpoint(input: &[u8]) -> String {
    let (logs, witnesses) = &*KEYS;
    if let Some(witness) = witnesses.first() {
        let note = Note::parse(SIGNED_NOTE.as_bytes()).expect("a note of the corpus");
        let lines = witness::parse_cosignatures(input, &note, witness);
        if let Ok(lines) = &lines {
            assert!(
                lines.iter().all(|line| note.signatures().contains(line)),
                "a cosignature that nobody made"
            );
        }
    }
    if let Ok(size) = witness::parse_size_body(input) {
        assert_eq!(
            witness::size_body(size).as_bytes(),
            input,
            "one size, one text"
        );
    }
    outcome(AddCheckpoint::parse(input), |request| {
        assert_eq!(
            request.to_string().as_bytes(),
            input,
            "one request, one encoding"
        );
        let known = logs.iter().any(|key| key.name() == request.origin());
        let signed = request.authenticate(known.then_some(logs.as_slice()));
        if let Ok(signed) = &signed {
            assert!(
                SIGNED.iter().any(|text| text == signed.note().text()),
                "a text that nobody signed"
            );
            let seen = witness::Seen {
                size: 7,
                root: [7; 32],
            };
            if signed.extends(&seen).is_ok() {
                assert!(signed.seen().size >= 7, "a smaller tree");
            }
            let first = signed.extends(&witness::Seen::nothing());
            return format!("signed {}", crate::behaviour::of(&first));
        }
        crate::behaviour::of(&signed.map(drop))
    })
}

fn checkpoint(input: &[u8]) -> String {
    let (logs, _) = &*KEYS;
    let origin = logs.first().map_or("", NoteKey::name);
    let opened = Checkpoint::open(input, origin, logs);
    if let Ok(opened) = &opened {
        assert!(
            SIGNED.contains(&opened.checkpoint().to_text()),
            "a checkpoint that nobody signed"
        );
    }
    let parsed = Checkpoint::parse(&text(input));
    if let Ok(checkpoint) = &parsed {
        assert_eq!(
            checkpoint.to_text(),
            text(input),
            "one checkpoint, one text"
        );
    }
    let opened = outcome(opened, |_| String::new());
    format!(
        "{opened} | {}",
        outcome(parsed, |checkpoint| checkpoint
            .extensions
            .len()
            .min(3)
            .to_string())
    )
}

fn tile_path(input: &[u8]) -> String {
    let path = text(input);
    if let Ok(level) = parse_level(&path) {
        assert_eq!(level.to_string(), path, "one level, one text");
    }
    if let Ok((index, width)) = parse_position(&path) {
        assert_eq!(
            sealwright_tlog::tile::format_position(index, width),
            path,
            "one position, one text"
        );
    }
    outcome(TileId::parse(&path), |tile| {
        assert_eq!(tile.to_string(), path, "one tile, one path");
        format!("{:?} {}", tile.kind, tile.is_full())
    })
}

/// What is read is written the same, and what is believed was signed. No leaf is known to be in the trees of the corpus, so
/// that nothing may be proven.
fn offline_proof(input: &[u8]) -> String {
    let (logs, _) = &*KEYS;
    let origin = logs.first().map_or("", NoteKey::name);
    outcome(TlogProof::parse(input), |proof| {
        assert_eq!(proof.to_string(), text(input), "one proof, one text");
        assert!(proof.index() < proof.checkpoint().size, "a leaf of no tree");
        let opened = proof.open(&[7; 32], origin, logs);
        assert!(opened.is_err(), "a leaf that nobody logged is proven");
        format!(
            "extra {} hashes {} {}",
            proof.extra().is_some(),
            proof.hashes().len().min(3),
            outcome(opened, |_| String::new())
        )
    })
}

fn trace_context(input: &[u8]) -> String {
    let header = text(input);
    match TraceContext::parse(&header) {
        None => "refused".to_owned(),
        Some(context) => {
            assert!(
                header.contains(&context.trace_id_hex()),
                "another trace is followed"
            );
            "ok ".to_owned()
        }
    }
}

fn configuration(input: &[u8]) -> String {
    let source = text(input);
    for word in source.split('"') {
        if let Ok(duration) = config::parse_duration(word) {
            assert_eq!(
                config::parse_duration(&config::format_duration(duration)),
                Ok(duration),
                "{word}"
            );
        }
        if let Ok(size) = config::parse_size(word) {
            assert_eq!(
                config::parse_size(&config::format_size(size)),
                Ok(size),
                "{word}"
            );
        }
    }
    let mut said = outcome(
        config::parse::<sealwright_host::run::HostConfig>(&source, "host.toml"),
        |_| String::new(),
    );
    said += &outcome(
        config::parse::<sealwright_ca::Config>(&source, "ca.toml"),
        |_| String::new(),
    );
    said += &outcome(
        config::parse::<sealwright_tsa::Config>(&source, "tsa.toml"),
        |_| String::new(),
    );
    said += &outcome(
        config::parse::<sealwright_log::LogConfig>(&source, "log.toml"),
        |_| String::new(),
    );
    said
}
