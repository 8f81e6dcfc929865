//! Whole bundles: what is right verifies and shows what was checked, and what is wrong is refused for the right reason.
//!
//! | chapter | claim |
//! |---|---|
//! | `cases` | every case of the generator is answered as it should be |
//! | `published` | every category of the published conformance suite has a case of ours |
//! | `verdicts` | what a verdict shows, and what a policy can ask for |
//! | `rules` | times and thresholds, against oracles that count everything |
//! | `counted` | what counts and what is shown, where one detail decides |
//! | `edges` | limits at their edges, and which of several refusals is told |
//! | `changed` | nothing that is changed verifies as something else |

mod asking;
mod cases;
mod changed;
mod counted;
mod edges;
mod published;
mod rules;
mod verdicts;
