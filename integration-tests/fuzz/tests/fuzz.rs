//! A few seconds of hostile bytes for every parser.

use std::process::Command;

use sealwright_bundle::signing_config::SigningConfig;
use sealwright_bundle::trusted_root::MAX_TRUSTED_ROOT_BYTES;
use sealwright_bundle::{Bundle, TrustedRoot, statement::Statement};

#[test]
fn no_parser_breaks_a_promise() {
    let output = Command::new(env!("CARGO_BIN_EXE_sealwright-fuzz"))
        .arg("run")
        .output()
        .expect("the fuzzer starts");
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{said}{complained}");
    assert!(output.status.success(), "{said}{complained}");
    let cases = said.lines().filter(|line| line.contains(" behaviours"));
    assert_eq!(
        cases.count(),
        sealwright_fuzz::targets::ALL.len(),
        "every target ran:\n{said}"
    );
}

/// Whether a parser took a document.
type Parser = fn(&[u8]) -> bool;

/// The fuzzer's inputs are short. A long document may be made of whatever takes the most memory for the fewest bytes; 4 MiB
/// are enough to tell what grows with it, and the most that a trusted root may have.
#[test]
fn long_documents_take_memory_in_proportion_to_their_length() {
    let bundle: Parser = |document| Bundle::parse(document).is_ok();
    let root: Parser = |document| TrustedRoot::parse(document).is_ok();
    let config: Parser = |document| SigningConfig::parse(document).is_ok();
    let statement: Parser = |document| Statement::parse(document).is_ok();
    let entries = [r#"{"verificationMaterial":{"tlogEntries":["#, "{}", "]}}"];
    let hashes = [
        r#"{"verificationMaterial":{"tlogEntries":[{"inclusionProof":{"hashes":["#,
        "\"\"",
        "]}}]}}",
    ];
    let certificates = [
        r#"{"verificationMaterial":{"x509CertificateChain":{"certificates":["#,
        "{}",
        "]}}}",
    ];
    let subjects = [
        r#"{"_type":"https://in-toto.io/Statement/v1","predicateType":"t","subject":["#,
        "{}",
        "]}",
    ];
    let digests = [
        r#"{"_type":"https://in-toto.io/Statement/v1","predicateType":"t","subject":["#,
        r#"{"digest":{"a":""}}"#,
        "]}",
    ];
    let cases: [(&str, Parser, usize, [&str; 3]); 9] = [
        ("entries", bundle, MAX_TRUSTED_ROOT_BYTES, entries),
        ("hashes", bundle, MAX_TRUSTED_ROOT_BYTES, hashes),
        ("certificates", bundle, MAX_TRUSTED_ROOT_BYTES, certificates),
        ("nulls", bundle, MAX_TRUSTED_ROOT_BYTES, ["[", "null", "]"]),
        (
            "logs",
            root,
            MAX_TRUSTED_ROOT_BYTES,
            [r#"{"tlogs":["#, "{}", "]}"],
        ),
        (
            "authorities",
            root,
            MAX_TRUSTED_ROOT_BYTES,
            [
                r#"{"certificateAuthorities":["#,
                r#"{"certChain":{}}"#,
                "]}",
            ],
        ),
        ("services", config, 1 << 20, [r#"{"caUrls":["#, "{}", "]}"]),
        ("subjects", statement, MAX_TRUSTED_ROOT_BYTES, subjects),
        ("digests", statement, MAX_TRUSTED_ROOT_BYTES, digests),
    ];
    for (what, parser, length, [start, item, end]) in cases {
        let room = length - start.len() - end.len();
        let fitting = (room + 1) / (item.len() + 1);
        // As many as fit, and about as many as are read before the number of values is too great.
        for items in [fitting, fitting.min(65_000)] {
            let document = [start, &vec![item; items].join(","), end].concat();
            let mut taken = true;
            let memory = allocation_counter::measure(|| taken = parser(document.as_bytes()));
            let allowed = 2 * document.len() as u64 + FIXED_BYTES;
            let peak = memory.bytes_max;
            println!("{what}: {} bytes, at most {peak} more", document.len());
            assert!(!taken && peak <= allowed, "{what}: {peak} of {allowed}");
        }
    }
}

/// What the values that a document may hold take when each is the largest that there is: 32 MiB.
const FIXED_BYTES: u64 = 32 << 20;
