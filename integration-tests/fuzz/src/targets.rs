//! The parsers under test, one target each, and what each promises about every input.

use crate::mutate::Format;

mod asn1;
mod documents;
mod doors;
mod identity;
mod lines;
mod revocation;
pub(crate) mod tuf;
mod verdict;
mod wire;

/// One parser, or a few that read the same thing.
#[derive(Debug)]
pub struct Target {
    /// Name of the folder of its corpus.
    pub name: &'static str,
    /// What its inputs are made of.
    pub format: Format,
    /// Words of the format.
    pub dictionary: &'static [&'static str],
    /// Cases in `make test`; elsewhere the sizes of targets keep this proportion.
    pub cases: u64,
    /// Most bytes allocated at one time for each byte of input, beside [`crate::driver::BASE_BYTES`].
    pub peak_factor: u64,
    /// Gives the input to the parser, checks its promises, and names what happened. Panics when a promise is broken.
    pub check: fn(&[u8]) -> String,
}

/// Every target, in the order in which they run.
pub const ALL: &[Target] = &[
    asn1::CERTIFICATE,
    revocation::CRL,
    asn1::SPKI,
    asn1::CSR,
    asn1::PRIVATE_KEY,
    asn1::TIMESTAMP_REQUEST,
    asn1::TIMESTAMP_TOKEN,
    doors::TIMESTAMP_JSON,
    wire::SCT_LIST,
    wire::CT_TILE,
    wire::PROOF,
    wire::ENTRY,
    wire::ENTRY_REQUEST,
    wire::ADD_CHAIN,
    lines::NOTE,
    lines::CHECKPOINT,
    lines::WITNESS_POLICY,
    lines::ADD_CHECKPOINT,
    lines::TILE_PATH,
    lines::TLOG_PROOF,
    lines::TRACE_CONTEXT,
    lines::CONFIG,
    identity::TOKEN,
    identity::CLAIMS,
    identity::JWKS,
    identity::DISCOVERY,
    documents::TRUSTED_ROOT,
    documents::SIGNING_CONFIG,
    documents::CLIENT_TRUST,
    documents::STATEMENT,
    documents::TUF,
    tuf::TUF_CLIENT,
    verdict::BUNDLE,
];

/// The target with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

/// Whether a parser answered, and with what.
fn outcome<T, E: std::fmt::Debug>(
    result: Result<T, E>,
    describe: impl FnOnce(T) -> String,
) -> String {
    match result {
        Ok(value) => format!("ok {}", describe(value)),
        Err(error) => crate::behaviour::of(&error),
    }
}

/// The text of an input that is UTF-8; others are shown with replacement characters, as a lossy reader would.
fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_target_has_seeds_that_its_parser_takes() {
        let names: BTreeSet<_> = ALL.iter().map(|target| target.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name twice");
        for target in ALL {
            let seeds =
                crate::corpus::read(&crate::corpus::seeds_of(target.name)).expect("readable");
            let taken = seeds
                .iter()
                .filter(|seed| (target.check)(&seed.bytes).contains("ok "))
                .count();
            assert!(
                taken > 0,
                "{}: no seed of {} is taken",
                target.name,
                seeds.len()
            );
        }
    }
}
