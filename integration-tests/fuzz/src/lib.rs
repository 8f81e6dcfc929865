//! Hostile bytes for every parser of the workspace.
//!
//! A [`Target`] is a function from bytes to a short name of what the parser did. It panics when the parser breaks a
//! promise: it must not panic itself, what it reads must be written back equal, an independent reader must agree, and no
//! changed input may pass a signature. The [`driver`] makes the bytes: it changes inputs from the corpus
//! with their format in mind ([`sealwright_testkit::mutate`]), keeps those that make a parser do something new, and watches time and memory.
//!
//! It runs on stable Rust. The same targets serve a coverage-guided fuzzer: each is a plain function, see
//! CONTRIBUTING.md.
//!
//! | module | what it holds |
//! |---|---|
//! | [`targets`] | the parsers and their promises |
//! | [`driver`] | cases, budgets, findings |
//! | [`behaviour`] | the short names of what happened |
//! | [`corpus`] | inputs on disk: seeds, regressions |
//! | [`seeds`] | makes the seeds |

pub mod behaviour;
pub mod corpus;
pub mod driver;
pub mod seeds;
pub mod targets;

pub use sealwright_testkit::mutate;
pub use targets::Target;
