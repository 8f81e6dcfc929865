//! Cases for a verifier: bundles that are right in an unusual way, and bundles that are wrong in one way each.
//!
//! Every wrong case starts from a right one, its *twin*, and has one fault added ([`Case::twin`]); so a verifier that
//! accepts the twin and refuses the case refuses the fault and nothing else. Right cases build on each other the same way.
//! All of a case is text and bytes, so that any verifier can be asked, in process or as a program
//! ([`directories`]); what it should say is the code and the step of our own verifier's refusals.
//!
//! ```
//! use sealwright_testkit::vectors::{Expected, cases};
//!
//! let cases = cases();
//! let refused = cases.iter().filter(|case| case.expected != Expected::Verified).count();
//! assert!(refused > 100 && cases.len() - refused > 40);
//! ```
//!
//! | module | cases |
//! |---|---|
//! | `edges` | right ones that trip implementations |
//! | `structure` | documents and formats |
//! | `limits` | sizes: at each limit, and one above |
//! | `trust` | authorities, certificates, certificate logs, identities, keys |
//! | `entries` | signatures, statements, log entries, inclusion proofs |
//! | `checkpoints` | signed notes |
//! | `times` | timestamps, promises, windows, thresholds, repetitions |

use std::collections::HashMap;

use crate::bundle_factory::{DAY, EMAIL, ISSUER, NOW};

mod checkpoints;
pub mod directories;
mod draft;
mod edges;
mod entries;
mod limits;
mod structure;
mod times;
mod trust;

use draft::Draft;

/// When everything is signed, Unix seconds: 2026-01-28T12:00:00Z, so that the clock of a program under test is later.
pub const SIGNED_AT: i64 = NOW - 300 * DAY;
/// The file that is signed, unless a case says otherwise.
pub const ARTIFACT: &[u8] = b"what was signed";

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Category {
    /// Right, and easily taken for wrong.
    Edge,
    /// The document and the rules of its format.
    Structure,
    /// Sizes and counts.
    Limit,
    /// Authorities, certificates and certificate logs.
    Trust,
    /// Who signed.
    Identity,
    /// Keys that the verifier was given.
    Key,
    /// The signature and the artifact.
    Signature,
    /// What log entries say, against the bundle.
    Entry,
    /// Inclusion proofs.
    Proof,
    /// Signed checkpoints.
    Checkpoint,
    /// Times and who vouches for them.
    Time,
    /// What is counted, and what must not be counted twice.
    Threshold,
}

/// Whom the verifier is told to expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A keyless signer: subject alternative name and issuer, both exact.
    Identity {
        /// The subject alternative name.
        subject: String,
        /// The identity provider.
        issuer: String,
    },
    /// The same by regular expressions.
    Pattern {
        /// For the subject alternative name.
        subject: String,
        /// For the identity provider.
        issuer: String,
    },
    /// The holder of this key, in PEM.
    Key(String),
}

impl Asked {
    fn identity(subject: &str, issuer: &str) -> Self {
        Self::Identity {
            subject: subject.into(),
            issuer: issuer.into(),
        }
    }
}

/// What the verifier is told beside the signer. The default is what every client does by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demands {
    /// How many operators of signature logs; 1 when not said.
    pub logs: Option<usize>,
    /// How many operators of timestamp authorities.
    pub timestamp_authorities: Option<usize>,
    /// How many verified times.
    pub times: Option<usize>,
    /// How many certificate logs; 1 when not said.
    pub certificate_logs: Option<usize>,
    /// The one predicate type that is accepted; any when not said.
    pub predicate_type: Option<String>,
    /// Until when the key counts, Unix seconds.
    pub key_valid_until: Option<i64>,
    /// Whether a v0.3 bundle may carry a certificate chain.
    pub chain_allowed: bool,
}

/// What the verifier should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// All is well.
    Verified,
    /// It is refused by this check.
    Refused {
        /// The stable code.
        code: &'static str,
        /// The step of verification, in the words of our verdicts.
        step: &'static str,
    },
}

/// One question to a verifier, with the answer.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is special, or wrong: unique, lower case, words joined by hyphens.
    pub name: &'static str,
    /// What it is about.
    pub category: Category,
    /// The right case from which this one differs in one thing; `None` for those that others start from.
    pub twin: Option<&'static str>,
    /// The bundle's document.
    pub bundle: String,
    /// The signed file.
    pub artifact: Vec<u8>,
    /// The trusted root's document.
    pub trusted_root: String,
    /// Whom to expect.
    pub asked: Asked,
    /// What else to ask for.
    pub demands: Demands,
    /// The answer, given the artifact's bytes.
    pub expected: Expected,
    /// The answer, given the artifact's SHA-256 and no more.
    pub expected_by_sha256: Expected,
}

impl Case {
    /// Whether a program that knows no more than signer, bundle, artifact and trusted root can be asked.
    #[must_use]
    pub fn is_portable(&self) -> bool {
        self.demands == Demands::default() && !matches!(self.asked, Asked::Pattern { .. })
    }
}

/// All cases. Keys, certificates and signatures are new each time.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut right: HashMap<&'static str, Draft> = HashMap::new();
    let mut cases = Vec::new();
    for recipe in recipes() {
        let mut draft = match recipe.start {
            Start::New(start) => start(),
            Start::From(twin) => right
                .get(twin)
                .unwrap_or_else(|| panic!("{}: no right case {twin} before it", recipe.name))
                .clone(),
        };
        (recipe.change)(&mut draft);
        cases.push(recipe.case(&draft));
        if recipe.expected == Expected::Verified {
            let known = right.insert(recipe.name, draft);
            assert!(known.is_none(), "two cases are called {}", recipe.name);
        }
    }
    cases
}

fn recipes() -> Vec<Recipe> {
    [
        edges::recipes(),
        structure::recipes(),
        limits::recipes(),
        trust::recipes(),
        entries::recipes(),
        checkpoints::recipes(),
        times::recipes(),
    ]
    .concat()
}

/// How a case is made.
#[derive(Clone)]
struct Recipe {
    name: &'static str,
    category: Category,
    start: Start,
    change: fn(&mut Draft),
    expected: Expected,
}

#[derive(Clone, Copy)]
enum Start {
    New(fn() -> Draft),
    From(&'static str),
}

/// A right case that starts from nothing.
fn new(name: &'static str, start: fn() -> Draft) -> Recipe {
    Recipe {
        name,
        category: Category::Edge,
        start: Start::New(start),
        change: |_| {},
        expected: Expected::Verified,
    }
}

/// A right case that differs from another one.
fn good(
    category: Category,
    name: &'static str,
    from: &'static str,
    change: fn(&mut Draft),
) -> Recipe {
    Recipe {
        name,
        category,
        start: Start::From(from),
        change,
        expected: Expected::Verified,
    }
}

/// Cases of one category that are refused by one check.
struct Refusals {
    category: Category,
    code: &'static str,
    step: &'static str,
}

impl Refusals {
    fn of(category: Category, step: &'static str, code: &'static str) -> Self {
        Self {
            category,
            code,
            step,
        }
    }

    fn case(&self, name: &'static str, twin: &'static str, change: fn(&mut Draft)) -> Recipe {
        Recipe {
            name,
            category: self.category,
            start: Start::From(twin),
            change,
            expected: Expected::Refused {
                code: self.code,
                step: self.step,
            },
        }
    }
}

impl Recipe {
    fn case(&self, draft: &Draft) -> Case {
        let unavailable = Expected::Refused {
            code: "DIGEST_UNAVAILABLE",
            step: "input",
        };
        Case {
            name: self.name,
            category: self.category,
            twin: match self.start {
                Start::New(_) => None,
                Start::From(twin) => Some(twin),
            },
            bundle: draft.document(),
            artifact: draft.artifact.clone(),
            trusted_root: draft.root_document(),
            asked: draft.asked.clone(),
            demands: draft.demands.clone(),
            expected: self.expected,
            expected_by_sha256: if draft.needs_more_than_sha256 {
                unavailable
            } else {
                self.expected
            },
        }
    }
}

fn jane() -> Asked {
    Asked::identity(EMAIL, ISSUER)
}
