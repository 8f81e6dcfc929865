//! The table: every case of the generator, three ways.

use std::collections::{BTreeMap, BTreeSet};

use sealwright_testkit::vectors::{Case, Category, Expected};

use crate::asking::{Given, ask, case, cases};

/// What the verifier says, in the words of a case.
fn answer(case: &Case, given: Given) -> String {
    match ask(case, given) {
        Ok(_) => "verified".into(),
        Err(error) => {
            let step = serde_json::to_value(error.step()).expect("a step has a name");
            format!("{} in {}", error.code(), step.as_str().unwrap_or_default())
        }
    }
}

fn wanted(expected: Expected) -> String {
    match expected {
        Expected::Verified => "verified".into(),
        Expected::Refused { code, step } => format!("{code} in {step}"),
    }
}

/// All wrong answers at once: one alone seldom shows the pattern.
#[track_caller]
fn all_are_answered(given: Given, expected: impl Fn(&Case) -> Expected) {
    let wrong: Vec<String> = cases()
        .iter()
        .filter_map(|case| {
            let (found, wanted) = (answer(case, given), wanted(expected(case)));
            (found != wanted).then(|| format!("{}: {found}; should be {wanted}", case.name))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases, given {given:?}:\n{}",
        wrong.len(),
        cases().len(),
        wrong.join("\n")
    );
}

#[test]
fn every_case_is_answered_given_the_file() {
    all_are_answered(Given::Bytes, |case| case.expected);
}

#[test]
fn every_case_is_answered_given_the_digests_that_verification_asks_for() {
    all_are_answered(Given::Digests, |case| case.expected);
}

#[test]
fn every_case_is_answered_given_sha_256_alone() {
    all_are_answered(Given::Sha256, |case| case.expected_by_sha256);
}

#[test]
fn every_wrong_case_has_a_right_twin_that_differs_in_the_fault_alone() {
    for wrong in cases()
        .iter()
        .filter(|case| case.expected != Expected::Verified)
    {
        let twin = case(wrong.twin.expect("a wrong case starts from a right one"));
        assert_eq!(twin.expected, Expected::Verified, "{}", wrong.name);
        let same = twin.bundle == wrong.bundle
            && twin.artifact == wrong.artifact
            && twin.trusted_root == wrong.trusted_root
            && twin.asked == wrong.asked
            && twin.demands == wrong.demands;
        assert!(!same, "{} has no fault", wrong.name);
    }
}

#[test]
fn every_refusal_says_what_was_found_what_was_expected_and_what_to_do() {
    for case in cases() {
        let Err(error) = ask(case, Given::Bytes) else {
            continue;
        };
        let told = error.explain();
        assert!(
            !told.found.is_empty() && !told.expected.is_empty() && !told.help.is_empty(),
            "{}: {told:?}",
            case.name
        );
        assert!(
            error.to_string().starts_with(told.code),
            "{}: {error}",
            case.name
        );
    }
}

#[test]
fn every_category_is_there_and_no_two_cases_share_a_name() {
    let mut counts: BTreeMap<Category, usize> = BTreeMap::new();
    for case in cases() {
        *counts.entry(case.category).or_default() += 1;
    }
    println!("{} cases: {counts:?}", cases().len());
    assert_eq!(counts.len(), 12, "{counts:?}");
    assert!(counts.values().all(|count| *count >= 7), "{counts:?}");
    let names: BTreeSet<&str> = cases().iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().len());
}
