//! Our own cases before programs: ours answers each as written, and where a published verifier answers otherwise, there is a
//! reason, in writing, that is still needed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use anyhow::{Context as _, bail, ensure};
use sealwright_integration_tests::{
    Outcome, Tool, binary,
    differential::{
        self,
        judges::{Judge as _, Python},
    },
    python, skipped, workspace_root,
};
use sealwright_testkit::rekor_v1::sha256_hex;
use sealwright_testkit::vectors::{self, Asked, Case, Expected, directories};

/// What a verifier says of a case, and its words.
type Answer = (bool, String);

/// Runs `judge` on each case, on all processors.
fn on_all_processors<J, A>(cases: &[Case], judge: J) -> anyhow::Result<BTreeMap<&'static str, A>>
where
    A: Send,
    J: Fn(&Case) -> anyhow::Result<A> + Sync,
{
    let left = Mutex::new(cases.iter());
    let answers = Mutex::new(BTreeMap::new());
    let work = || -> anyhow::Result<()> {
        loop {
            let next = left.lock().expect("no judge panics with it").next();
            let Some(case) = next else { return Ok(()) };
            let answer = judge(case).with_context(|| case.name)?;
            answers
                .lock()
                .expect("no judge panics with it")
                .insert(case.name, answer);
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| bail!("a thread that judges panicked"))
        })
    })?;
    Ok(answers.into_inner().expect("no judge panicked with it"))
}

fn portable() -> Vec<Case> {
    let mut cases = vectors::cases();
    cases.retain(Case::is_portable);
    cases
}

/// The files of each case, and where they are.
fn written(cases: &[Case]) -> anyhow::Result<(tempfile::TempDir, BTreeMap<&'static str, PathBuf>)> {
    let scratch = tempfile::tempdir()?;
    let places = cases
        .iter()
        .map(|case| Ok((case.name, directories::write(case, scratch.path())?)))
        .collect::<anyhow::Result<_>>()?;
    Ok((scratch, places))
}

// Our program, by the protocol of the published suite.

fn conformance(directory: &Path, what: &str) -> anyhow::Result<Outcome> {
    let tool = Tool::new(binary("sealwright-conformance"))
        .dir(directory)
        .args(["verify-bundle", "--bundle", "bundle.sigstore.json"])
        .args(["--trusted-root", "trusted_root.json"]);
    with_signer(tool, directory)?.arg(what).run()
}

fn with_signer(tool: Tool, directory: &Path) -> anyhow::Result<Tool> {
    if directory.join("key.pub").exists() {
        return Ok(tool.args(["--key", "key.pub"]));
    }
    let text = |name| fs::read_to_string(directory.join(name));
    Ok(tool
        .arg("--certificate-identity")
        .arg(text("identity")?)
        .arg("--certificate-oidc-issuer")
        .arg(text("issuer")?))
}

/// What is wrong with the answer, if anything.
fn fault(outcome: &Outcome, expected: Expected) -> Option<String> {
    let right = match expected {
        Expected::Verified => outcome.code == Some(0),
        // Trust material and digests that do not serve leave the question open; everything else is a refusal.
        Expected::Refused { code, .. } => {
            outcome.stderr.contains(code) && matches!(outcome.code, Some(1 | 3))
        }
    };
    (!right).then(|| format!("{expected:?} of {outcome}"))
}

#[test]
fn our_program_answers_every_case_given_the_file_or_its_digest() -> anyhow::Result<()> {
    let cases = portable();
    let (_scratch, places) = written(&cases)?;
    let answers = on_all_processors(&cases, |case| {
        let directory = &places[case.name];
        ensure!(
            directory.to_string_lossy().ends_with("_fail") == (case.expected != Expected::Verified)
        );
        let digest = format!("sha256:{}", sha256_hex(&case.artifact));
        let by_file = fault(&conformance(directory, "artifact")?, case.expected);
        let by_digest = fault(&conformance(directory, &digest)?, case.expected_by_sha256);
        Ok(by_file.into_iter().chain(by_digest).collect::<Vec<_>>())
    })?;
    let faults: Vec<_> = answers.values().flatten().map(String::as_str).collect();
    ensure!(
        faults.is_empty(),
        "{} wrong answers:\n{}",
        faults.len(),
        faults.join("\n")
    );
    println!("{} cases, each by its file and by its digest", cases.len());
    ensure!(cases.len() > 300, "{} cases", cases.len());
    Ok(())
}

// Others.

/// Cases that a published verifier answers otherwise, and why.
struct Difference {
    cases: &'static [&'static str],
    /// Whether it accepts them.
    accepts: bool,
    because: &'static str,
}

const fn accepts(cases: &'static [&'static str], because: &'static str) -> Difference {
    Difference {
        cases,
        accepts: true,
        because,
    }
}

const fn refuses(cases: &'static [&'static str], because: &'static str) -> Difference {
    Difference {
        cases,
        accepts: false,
        because,
    }
}

/// Every difference is in the table, and everything in the table is a difference.
fn differ_as_written(
    cases: &[Case],
    answers: &BTreeMap<&'static str, Answer>,
    table: &[Difference],
) -> anyhow::Result<()> {
    let listed: BTreeMap<&str, bool> = table
        .iter()
        .flat_map(|difference| {
            difference
                .cases
                .iter()
                .map(|name| (*name, difference.accepts))
        })
        .collect();
    let mut wrong = Vec::new();
    for case in cases {
        let (accepts, words) = &answers[case.name];
        let differs = *accepts != (case.expected == Expected::Verified);
        let known = listed.get(case.name);
        if differs != known.is_some() || known.is_some_and(|known| known != accepts) {
            let verb = if *accepts { "accepts" } else { "refuses" };
            let words: String = words.chars().take(240).collect();
            wrong.push(format!("{verb} {}: {words}", case.name));
        }
    }
    let names: Vec<_> = cases.iter().map(|case| case.name).collect();
    let stale = listed.keys().filter(|name| !names.contains(name));
    wrong.extend(stale.map(|name| format!("is not asked about {name}")));
    println!("{} cases, {} answered otherwise", cases.len(), listed.len());
    for difference in table {
        let verb = if difference.accepts {
            "accepts"
        } else {
            "refuses"
        };
        println!("{verb} {}: {}", difference.cases.len(), difference.because);
    }
    ensure!(
        wrong.is_empty(),
        "{} answers are not as the table says; it\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// What PyPI `sigstore` 4.5.1 answers otherwise. "V" and a number are the checks of `libs/bundle`.
const PYTHON: &[Difference] = &[
    refuses(
        &[
            "certificate-p384",
            "certificate-p521",
            "certificate-ed25519",
            "certificate-rsa-3072",
            "certificate-p384-sha256",
            "certificate-p521-sha256",
            "statement-p384",
        ],
        "it verifies signatures of P-256 keys with SHA-256 and no others; it breaks on RSA",
    ),
    refuses(
        &[
            "two-logs-one-asked-for",
            "entry-of-an-unknown-log-beside",
            "entries-32",
        ],
        "it takes bundles with one log entry",
    ),
    refuses(
        &["unknown-certificate-log-beside-a-known-one"],
        "it takes certificates with one certificate timestamp",
    ),
    refuses(
        &["old-log-v01-blob"],
        "it asks for an inclusion proof where version 0.1 of the format rests on the promise",
    ),
    refuses(
        &["body-left-to-be-rebuilt"],
        "it asks for the copy of the body, which the verifier of a new entry can rebuild",
    ),
    refuses(
        &["old-log-intoto", "statement-logged-as-envelope"],
        "it knows fewer kinds of entry: neither intoto 0.0.2 nor dsse 0.0.2",
    ),
    refuses(
        &["statement-of-version-01"],
        "it takes in-toto statements of version 1 alone; cosign writes 0.1",
    ),
    refuses(
        &["statement-with-upper-case-digest"],
        "it compares hexadecimal digests as text",
    ),
    refuses(
        &["digests-32"],
        "it knows six names of digest algorithms and refuses statements with others beside",
    ),
    refuses(
        &["username-as-other-name"],
        "it compares a username with its DER header still on",
    ),
    refuses(
        &["token-brings-the-certificate-that-the-root-lacks"],
        "it asks for the timestamp authority's leaf in the trusted root; RFC 3161 lets the token carry it",
    ),
    refuses(
        &["timestamp-authority-until-then"],
        "it takes the end of a timestamp authority's window as outside; the published suite has it inside",
    ),
    refuses(
        &["trusted-root-of-version-02"],
        "it reads trusted roots of version 0.1",
    ),
    accepts(
        &[
            "repeated-member",
            "repeated-member-inside",
            "trusted-root-with-repeated-member",
            "statement-with-repeated-member",
            "subject-with-two-digests-of-one-algorithm",
            "old-entry-with-repeated-member",
        ],
        "its JSON reader takes the last of repeated members, so that a document means two things to two readers (V1)",
    ),
    accepts(
        &["root-in-the-chain", "root-in-the-chain-of-an-old-log"],
        "it warns of a root in a chain, where we refuse (V1)",
    ),
    accepts(
        &[
            "chain-of-9",
            "subjects-1025",
            "checkpoint-above-64-kibibytes",
            "signature-lines-33",
        ],
        "it sets no such limits",
    ),
    accepts(
        &[
            "certificate-authority-retired-before",
            "certificate-authority-begins-later",
            "certificate-log-retired-before",
            "certificate-log-begins-later",
            "log-retired-before",
            "log-begins-later",
            "old-log-retired-before",
            "log-without-start-of-validity",
            "window-that-ends-before-it-starts",
        ],
        "it compares windows of trust with its own clock, and not at their ends, instead of with the time of signing (V4, V5, V7)",
    ),
    accepts(
        &["logs-that-cannot-be-told-apart"],
        "it looks logs up by identifier alone, and does not bind them to an origin (V7)",
    ),
    accepts(
        &[
            "tree-size-beside-the-checkpoint-differs",
            "index-beside-the-proof-differs",
        ],
        "it does not compare what stands twice (V7)",
    ),
    accepts(
        &[
            "signature-under-another-name",
            "checkpoint-with-leading-zero",
            "checkpoint-with-signed-size",
            "checkpoint-with-a-line-behind",
        ],
        "its reader of signed notes ignores names, takes numbers of any form and passes over lines that it does not know (V7)",
    ),
];

/// What cosign 3.1.3 answers otherwise.
const COSIGN: &[Difference] = &[
    refuses(
        &["statement-logged-as-envelope", "body-left-to-be-rebuilt"],
        "its reader of bundles refuses dsse 0.0.2 and entries without a copy of the body",
    ),
    refuses(
        &["old-log-timestamp-instead-of-promise"],
        "it takes the time of an old entry from the promise unless --use-signed-timestamps says otherwise",
    ),
    refuses(
        &["no-message-digest"],
        "it asks for the message digest, which signs nothing",
    ),
    refuses(
        &[
            "certificate-p384-sha256",
            "certificate-p521-sha256",
            "key-rsa-with-pss",
        ],
        "it rebuilds new entries with the one algorithm that it knows for the kind of key",
    ),
    refuses(
        &[
            "key-p384",
            "key-p521",
            "key-ed25519",
            "key-p384-sha256",
            "key-p521-sha256",
        ],
        "with --key it hashes with SHA-256 and rebuilds the entry with the registry's hash, which larger curves cannot satisfy both",
    ),
    refuses(
        &["key-id-repeats-the-hint"],
        "it has a name of its own for a key and passes over envelope signatures with another, the bundle's hint included",
    ),
    refuses(
        &["origin-with-port-and-path", "origin-with-port"],
        "it takes the host of a log's address, without port and path, for its origin",
    ),
    refuses(
        &["trusted-root-of-version-02"],
        "it reads trusted roots of version 0.1",
    ),
    accepts(
        &[
            "root-in-the-chain",
            "root-in-the-chain-of-an-old-log",
            "rubbish-behind-the-leaf",
        ],
        "it reads the first certificate of a chain and passes over the rest (V1)",
    ),
    accepts(
        &["bare-certificate-in-v02"],
        "it takes a certificate outside a chain from bundles of every version (V1)",
    ),
    accepts(
        &["negative-index-in-the-proof", "negative-tree-size"],
        "it reads the numbers of the proof as unsigned without a check, and does not use them for new entries (V1)",
    ),
    accepts(
        &[
            "chain-of-9",
            "checkpoint-above-64-kibibytes",
            "signature-lines-33",
        ],
        "it sets no such limits",
    ),
    accepts(
        &[
            "window-that-ends-before-it-starts",
            "logs-that-cannot-be-told-apart",
        ],
        "it reads trusted roots less strictly",
    ),
    accepts(
        &["log-retired-before", "log-begins-later"],
        "it does not compare the window of a new log's key with the timestamp (V7)",
    ),
    accepts(
        &["statement-of-unknown-type"],
        "it does not look at the version of a statement (V10)",
    ),
    accepts(
        &[
            "body-changed-beside-a-right-bundle",
            "body-with-white-space",
        ],
        "it rebuilds a new entry and ignores the copy of the body, which may then say anything (V7)",
    ),
    accepts(
        &[
            "unknown-kind",
            "unknown-version-of-a-kind",
            "no-kind",
            "new-entry-that-calls-itself-old",
            "blob-entry-that-calls-itself-envelope",
            "old-dsse-entry-that-calls-itself-intoto",
        ],
        "it takes the kind of an entry from the body and ignores what stands beside it (V7)",
    ),
    accepts(
        &[
            "old-entry-with-repeated-member",
            "dsse-entry-with-two-signatures",
            "intoto-entry-of-another-payload-type",
        ],
        "it compares less of an old body with the bundle (V8)",
    ),
    accepts(
        &[
            "tree-size-beside-the-checkpoint-differs",
            "root-beside-the-checkpoint-differs",
        ],
        "it does not compare what stands twice (V7)",
    ),
    accepts(
        &["checkpoint-with-leading-zero"],
        "its reader of signed notes takes numbers of more than one form (V7)",
    ),
    accepts(
        &["token-after-the-certificate-beside-a-promise"],
        "beside a promise it never looks at the timestamp; every verified time must fit (V4)",
    ),
    accepts(
        &["the-same-token-twice"],
        "it counts a repeated token once, where we refuse (V2)",
    ),
];

/// Megabytes are read by our own program; as questions to others they cost more than they tell.
fn of_usual_size(mut cases: Vec<Case>) -> Vec<Case> {
    cases.retain(|case| case.bundle.len() < 1 << 20);
    cases
}

fn for_python(case: &Case) -> anyhow::Result<differential::Case> {
    let Asked::Identity { subject, issuer } = &case.asked else {
        bail!("{}: the package verifies no keys", case.name)
    };
    Ok(differential::Case {
        specimen: case.name.into(),
        class: String::new(),
        place: String::new(),
        trusted_root: case.trusted_root.as_bytes().into(),
        bundle: case.bundle.as_bytes().into(),
        artifact: case.artifact.as_slice().into(),
        identity: subject.clone(),
        issuer: issuer.clone(),
    })
}

#[test]
fn the_published_python_verifier_differs_as_written() -> anyhow::Result<()> {
    if python("the_published_python_verifier_differs_as_written").is_none() {
        return Ok(());
    }
    let mut cases = of_usual_size(portable());
    cases.retain(|case| matches!(case.asked, Asked::Identity { .. }));
    thread_local! {
        static PYTHON_VERIFIER: std::cell::RefCell<Python> = std::cell::RefCell::default();
    }
    let answers = on_all_processors(&cases, |case| {
        let question = for_python(case)?;
        let verdict = PYTHON_VERIFIER.with_borrow_mut(|judge| judge.judge(&question))?;
        let accepts = verdict == differential::Verdict::Accepted;
        Ok((accepts, verdict.to_string()))
    })?;
    differ_as_written(&cases, &answers, PYTHON)
}

fn cosign(directory: &Path, case: &Case, home: &Path) -> anyhow::Result<Answer> {
    let tool = Tool::new(workspace_root().join(".clients/bin/cosign"))
        .dir(directory)
        .env("HOME", home)
        .env("TUF_ROOT", home.join("tuf"));
    let tool = if case.bundle.contains(r#""payloadType""#) {
        tool.args(["verify-blob-attestation", "--type", "slsaprovenance1"])
    } else {
        tool.arg("verify-blob")
    };
    let tool = tool
        .args(["--bundle", "bundle.sigstore.json"])
        .args(["--trusted-root", "trusted_root.json"]);
    let outcome = with_signer(tool, directory)?.arg("artifact").run()?;
    ensure!(
        outcome.code.is_some() && !outcome.stderr.contains("unknown flag"),
        "no verdict from {outcome}"
    );
    Ok((outcome.code == Some(0), outcome.stderr.trim().into()))
}

#[test]
fn cosign_differs_as_written() -> anyhow::Result<()> {
    if !workspace_root().join(".clients/bin/cosign").exists() {
        skipped(
            "cosign_differs_as_written",
            "cosign is not installed: run `make setup`",
        );
        return Ok(());
    }
    let cases = of_usual_size(portable());
    let (scratch, places) = written(&cases)?;
    let answers = on_all_processors(&cases, |case| {
        cosign(&places[case.name], case, scratch.path())
    })?;
    differ_as_written(&cases, &answers, COSIGN)
}
