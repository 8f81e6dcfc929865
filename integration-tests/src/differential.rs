//! The same bundles before our verifier and before a published one, thousands of times.
//!
//! Valid bundles of every format are changed: every member of the JSON, every tag, length and value of what is packed
//! inside, every line of the checkpoint, every part of the trusted root. Many changes are signed again by whoever signed
//! the part, so that they reach the check behind the signature. Both verifiers judge each case:
//!
//! - Both accept or both refuse: fine.
//! - Only we refuse: fine, and counted by our code.
//! - Only the published verifier refuses: a fault of ours, unless [`reasons`] has a written reason for it.
//! - A bundle that was not changed has to be accepted by both, else the comparison is worth nothing.
//!
//! | module | what it holds |
//! |---|---|
//! | [`specimen`] | the valid bundles |
//! | [`json`], [`der`] | every change to a document of that format |
//! | [`sealed`] | changes that are signed again |
//! | [`roots`] | changes to what is trusted |
//! | [`judges`] | the two verifiers |
//! | [`reasons`] | what we accept and they do not, and why |

pub mod change;
pub mod der;
pub mod json;
pub mod judges;
pub mod reasons;
pub mod roots;
pub mod sealed;
pub mod specimen;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, anyhow};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sealwright_crypto::base64;
use sealwright_testkit::mutate::{self, Format};
use serde_json::Value;

use change::{Change, sample};
use judges::{Judge, Ours, Python, question};
use reasons::{REASONS, Reason};
use specimen::{ARTIFACT, Specimen};

use crate::workspace_root;

/// The seed of the larger part of every run.
pub const FIXED_SEED: u64 = 20_261_124;
/// From this many cases on every reason has to have been needed.
const ENOUGH_FOR_EVERY_REASON: usize = 30_000;
/// Where cases are kept that must not be as they are.
const KEPT: &str = "target/differential";
/// How many of them are shown; they come in crowds.
const SHOWN: usize = 400;
/// The class of a case that was not changed.
pub const UNCHANGED: &str = "unchanged";

/// One question put to both verifiers.
#[derive(Debug, Clone)]
pub struct Case {
    /// The valid bundle that it was made from.
    pub specimen: String,
    /// The class of the change.
    pub class: String,
    /// Where it was made.
    pub place: String,
    /// What is trusted: bytes of the JSON.
    pub trusted_root: Arc<[u8]>,
    /// Bytes of the bundle's JSON.
    pub bundle: Arc<[u8]>,
    /// What was signed.
    pub artifact: Arc<[u8]>,
    /// Who should have signed.
    pub identity: String,
    /// The identity provider that should have vouched for them.
    pub issuer: String,
}

/// What a verifier says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Verified.
    Accepted,
    /// Not verified.
    Refused {
        /// A code, or the class of an exception.
        kind: String,
        /// In words.
        message: String,
    },
    /// The verifier broke, and accepted nothing.
    Crashed {
        /// The class of an exception.
        kind: String,
        /// In words.
        message: String,
    },
}

impl Verdict {
    fn accepted(&self) -> bool {
        *self == Self::Accepted
    }

    fn kind(&self) -> &str {
        match self {
            Self::Accepted => "",
            Self::Refused { kind, .. } | Self::Crashed { kind, .. } => kind,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused { kind, message } => write!(f, "refused, {kind}: {message}"),
            Self::Crashed { kind, message } => write!(f, "broke, {kind}: {message}"),
        }
    }
}

impl Case {
    /// Reads a case that [`Finding::keep`] has written.
    ///
    /// # Errors
    /// When the file is not there or is no case.
    pub fn kept(file: &Path) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_slice(&fs::read(file)?)?;
        let text = |name: &str| -> anyhow::Result<String> {
            let text = value[name].as_str();
            Ok(text.with_context(|| name.to_owned())?.to_owned())
        };
        let bytes = |name: &str| -> anyhow::Result<Arc<[u8]>> {
            let bytes = base64::decode(&text(name)?).map_err(|_| anyhow!("{name} is no base64"))?;
            Ok(bytes.into())
        };
        Ok(Self {
            specimen: text("specimen")?,
            class: text("class")?,
            place: text("place")?,
            trusted_root: bytes("trusted_root")?,
            bundle: bytes("bundle")?,
            artifact: bytes("artifact")?,
            identity: text("identity")?,
            issuer: text("issuer")?,
        })
    }
}

/// Every valid bundle as it is, then `count` changed ones for the seed; the same seed makes the same changes, to bundles
/// that are signed anew in each run.
pub fn cases(count: usize, seed: u64) -> Vec<Case> {
    let specimens = specimen::all();
    let mut cases: Vec<Case> = specimens
        .iter()
        .map(|specimen| unchanged(specimen))
        .collect();
    // One in eight is changed blindly, the others as listed.
    let blind = count / 8;
    let listed = count - blind;
    let share = |position: usize, whole: usize| {
        let all = specimens.len();
        whole * (position + 1) / all - whole * position / all
    };
    for (position, specimen) in specimens.iter().enumerate() {
        let donor = specimens
            .iter()
            .cycle()
            .nth(position + 1)
            .unwrap_or(specimen);
        let seed = seed.wrapping_add(position as u64);
        cases.extend(listed_cases(specimen, donor, share(position, listed), seed));
        cases.extend(blind_cases(specimen, donor, share(position, blind), seed));
    }
    cases
}

fn unchanged(specimen: &Specimen) -> Case {
    Case {
        specimen: specimen.name.to_owned(),
        class: UNCHANGED.to_owned(),
        place: String::new(),
        trusted_root: specimen.trusted_root.as_bytes().into(),
        bundle: specimen.document.as_slice().into(),
        artifact: ARTIFACT.into(),
        identity: specimen.identity.clone(),
        issuer: specimen.issuer.clone(),
    }
}

/// Every change that is on a list: to the bundle, signed again, and to the trusted root.
pub fn listed(specimen: &Arc<Specimen>, donor: &Specimen) -> [Vec<Change>; 3] {
    let bundle = json::changes(&specimen.document, Some(&donor.document))
        .into_iter()
        .map(|change| change.within("bundle", "", Some))
        .collect();
    let roots = roots::changes(specimen, &donor.trusted_root);
    [bundle, sealed::changes(specimen), roots]
}

fn listed_cases(specimen: &Arc<Specimen>, donor: &Specimen, count: usize, seed: u64) -> Vec<Case> {
    let [bundle, sealed, roots] = listed(specimen, donor);
    // What is signed again says most: half of the cases.
    let (of_bundle, of_sealed) = (count * 3 / 10, count / 2);
    let original = unchanged(specimen);
    let mut cases = Vec::with_capacity(count);
    for change in sample(bundle, of_bundle, seed)
        .into_iter()
        .chain(sample(sealed, of_sealed, seed))
    {
        cases.extend(changed(&original, &change, |case, made| case.bundle = made));
    }
    for change in sample(roots, count - of_bundle - of_sealed, seed) {
        cases.extend(changed(&original, &change, |case, made| {
            case.trusted_root = made;
        }));
    }
    cases
}

/// The case after a change; `None` when the change does not apply, or leaves everything as it was.
fn changed(original: &Case, change: &Change, set: impl Fn(&mut Case, Arc<[u8]>)) -> Option<Case> {
    let mut case = original.clone();
    set(&mut case, change.make()?.into());
    case.class = change.class();
    case.place.clone_from(&change.place);
    let same = case.bundle == original.bundle && case.trusted_root == original.trusted_root;
    (!same).then_some(case)
}

/// Changes somewhere, as the fuzzer makes them: several at a time, also to what no list thought of.
fn blind_cases(specimen: &Specimen, donor: &Specimen, count: usize, seed: u64) -> Vec<Case> {
    let mut rng = StdRng::seed_from_u64(seed);
    let original = unchanged(specimen);
    let names = [
        "logIndex",
        "tlogEntries",
        "certificate",
        "hashedrekord",
        "0.0.1",
    ];
    let mut cases = Vec::with_capacity(count);
    while cases.len() < count {
        let mut case = original.clone();
        let root = rng.random_ratio(1, 4);
        let (input, other) = if root {
            (&original.trusted_root, donor.trusted_root.as_bytes())
        } else {
            (&original.bundle, donor.document.as_slice())
        };
        let made: Arc<[u8]> = mutate::mutate(&mut rng, Format::Json, input, other, &names).into();
        case.class = if root {
            "trusted root: blind".to_owned()
        } else {
            "bundle: blind".to_owned()
        };
        if root {
            case.trusted_root = made;
        } else {
            case.bundle = made;
        }
        if case.bundle != original.bundle || case.trusted_root != original.trusted_root {
            cases.push(case);
        }
    }
    cases
}

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases that both accept.
    pub both_accept: usize,
    /// Of these, cases that were changed.
    pub both_accept_changed: usize,
    /// Cases that both refuse.
    pub both_refuse: usize,
    /// Of these, cases in which the published verifier broke.
    pub both_refuse_broke: usize,
    /// Cases that only we refuse, by our code.
    pub only_we_refuse: BTreeMap<String, usize>,
    /// Cases that only they refuse, by the written reason.
    pub excused: BTreeMap<&'static str, usize>,
    /// Faults.
    pub findings: Vec<Finding>,
}

/// A case that must not be as it is.
#[derive(Debug)]
pub struct Finding {
    /// What was asked.
    pub case: Case,
    /// What we said.
    pub ours: Verdict,
    /// What they said.
    pub theirs: Verdict,
}

impl Finding {
    /// Writes the case where it can be judged again, by [`Case::kept`] or by the Python program alone.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, folder: &Path, number: usize) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("{number}.json"));
        // The program reads one line a question.
        fs::write(&file, format!("{}\n", question(&self.case)))?;
        Ok(file)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            specimen,
            class,
            place,
            ..
        } = &self.case;
        writeln!(f, "{specimen}; {class}; {place}")?;
        writeln!(f, "    ours:   {}", self.ours)?;
        write!(f, "    theirs: {}", self.theirs)
    }
}

impl Report {
    /// How many cases there were.
    pub fn total(&self) -> usize {
        self.both_accept
            + self.both_refuse
            + self.only_we_refuse.values().sum::<usize>()
            + self.excused.values().sum::<usize>()
            + self.findings.len()
    }

    /// Whether the changes were neither too harmless nor too coarse to compare anything by.
    fn compares(&self) -> bool {
        let compares =
            self.both_accept_changed > self.total() / 100 && self.both_refuse > self.total() / 4;
        if !compares {
            println!("hardly any change makes a difference, or every change does");
        }
        compares
    }

    /// Whether a long run has needed every reason; one that nothing needs is no reason any more.
    fn needs_every_reason(&self) -> bool {
        let stale = REASONS
            .iter()
            .filter(|reason| !self.excused.contains_key(reason.because))
            .inspect(|reason| println!("no case needs the reason: {}", reason.because))
            .count();
        stale == 0 || self.total() < ENOUGH_FOR_EVERY_REASON
    }

    fn count(&mut self, case: &Case, ours: Verdict, theirs: Verdict) {
        let unchanged = case.class == UNCHANGED;
        match (ours.accepted(), theirs.accepted()) {
            (true, true) => {
                self.both_accept += 1;
                self.both_accept_changed += usize::from(!unchanged);
            }
            _ if unchanged => self.found(case, ours, theirs),
            (false, false) => {
                self.both_refuse += 1;
                self.both_refuse_broke += usize::from(matches!(theirs, Verdict::Crashed { .. }));
            }
            (false, true) => {
                *self
                    .only_we_refuse
                    .entry(ours.kind().to_owned())
                    .or_default() += 1;
            }
            (true, false) => match reasons::reason(case, &theirs.to_string()) {
                Some(Reason { because, .. }) => *self.excused.entry(because).or_default() += 1,
                None => self.found(case, ours, theirs),
            },
        }
    }

    fn found(&mut self, case: &Case, ours: Verdict, theirs: Verdict) {
        self.findings.push(Finding {
            case: case.clone(),
            ours,
            theirs,
        });
    }

    fn add(&mut self, other: Self) {
        self.both_accept += other.both_accept;
        self.both_accept_changed += other.both_accept_changed;
        self.both_refuse += other.both_refuse;
        self.both_refuse_broke += other.both_refuse_broke;
        for (code, count) in other.only_we_refuse {
            *self.only_we_refuse.entry(code).or_default() += count;
        }
        for (because, count) in other.excused {
            *self.excused.entry(because).or_default() += count;
        }
        self.findings.extend(other.findings);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only_we: usize = self.only_we_refuse.values().sum();
        let only_they: usize = self.excused.values().sum();
        writeln!(
            f,
            "{} cases: both accept {} ({} of them changed), both refuse {} ({} by breaking), only we refuse {only_we}, only they \
             refuse {only_they}, faults {}",
            self.total(),
            self.both_accept,
            self.both_accept_changed,
            self.both_refuse,
            self.both_refuse_broke,
            self.findings.len()
        )?;
        for (code, count) in &self.only_we_refuse {
            writeln!(f, "  only we refuse {count:5}  {code}")?;
        }
        for (because, count) in &self.excused {
            writeln!(f, "  only they refuse {count:3}  {because}")?;
        }
        Ok(())
    }
}

/// Puts every case before both judges, on as many threads as there are pairs of judges.
///
/// # Errors
/// A judge that cannot judge.
pub fn compare<O, T>(cases: &[Case], pairs: Vec<(O, T)>) -> anyhow::Result<Report>
where
    O: Judge + Send,
    T: Judge + Send,
{
    let part = cases.len().div_ceil(pairs.len().max(1)).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = pairs
            .into_iter()
            .zip(cases.chunks(part))
            .map(|(pair, cases)| scope.spawn(move || compare_with(cases, pair)))
            .collect();
        let mut report = Report::default();
        for worker in workers {
            let part = worker
                .join()
                .map_err(|_| anyhow!("a verifier panicked on a case"))?;
            report.add(part?);
        }
        Ok(report)
    })
}

fn compare_with(
    cases: &[Case],
    (mut ours, mut theirs): (impl Judge, impl Judge),
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for case in cases {
        let (our_verdict, their_verdict) = (ours.judge(case)?, theirs.judge(case)?);
        report.count(case, our_verdict, their_verdict);
    }
    Ok(report)
}

/// As many pairs of verifiers as there are processors, with the published one on the right.
pub fn pairs<O>(ours: impl Fn() -> O) -> Vec<(O, Python)> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    (0..processors).map(|_| (ours(), Python::new())).collect()
}

/// The whole comparison: three quarters of the cases by [`FIXED_SEED`], the others by a random seed, which is printed. The
/// answer is whether everything is as it may be; what is not has been shown and kept.
///
/// # Errors
/// A verifier that gives no verdicts, or a seed that is no number.
pub fn run(count: usize) -> anyhow::Result<bool> {
    let seed = match std::env::var("SEALWRIGHT_SEED") {
        Ok(seed) => seed.parse().context("SEALWRIGHT_SEED is a number")?,
        Err(_) => rand::random(),
    };
    println!("seed {seed} (repeat with SEALWRIGHT_SEED={seed})");
    let mut all = cases(count - count / 4, FIXED_SEED);
    all.extend(cases(count / 4, seed));
    let report = compare(&all, pairs(|| Ours))?;
    print!("{report}");
    for (number, finding) in report.findings.iter().enumerate().take(SHOWN) {
        let file = finding.keep(&workspace_root().join(KEPT), number)?;
        println!(
            "FOUND {finding}\n    judge again: differential judge {}",
            file.display()
        );
    }
    Ok(report.findings.is_empty() && report.compares() && report.needs_every_reason())
}

/// Shows what both verifiers say about a case that was kept; the answer is whether we are not alone in accepting it.
///
/// # Errors
/// When the file holds no case, or a verifier gives no verdict.
pub fn judge_again(file: &Path) -> anyhow::Result<bool> {
    let case = Case::kept(file)?;
    println!("{}; {}; {}", case.specimen, case.class, case.place);
    println!("{}", String::from_utf8_lossy(&case.bundle));
    let (ours, theirs) = (Ours.judge(&case)?, Python::new().judge(&case)?);
    println!("ours:   {ours}\ntheirs: {theirs}");
    Ok(!ours.accepted() || theirs.accepted())
}
