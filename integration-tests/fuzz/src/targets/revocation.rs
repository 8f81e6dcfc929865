//! Certificate revocation lists.

use std::sync::LazyLock;

use sealwright_pki::crl::PEM_LABEL;
use sealwright_pki::{Certificate, CertificateRevocationList, pem};
use sealwright_testkit::bundle_factory::NOW;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode as _, Encode as _};

use super::{Target, outcome};
use crate::corpus;
use crate::mutate::Format;

pub(super) const CRL: Target = Target {
    name: "crl",
    format: Format::Der,
    dictionary: &["-----BEGIN X509 CRL-----\n", "-----END X509 CRL-----\n"],
    cases: 6000,
    peak_factor: 32,
    check: crl,
};

/// Who made the lists of the corpus.
static ISSUER: LazyLock<Certificate> = LazyLock::new(|| {
    Certificate::from_der(corpus::seed("crl", "issuer.der")).expect("the corpus is coherent")
});

/// The lists of the corpus, all made by [`ISSUER`].
static MADE: LazyLock<Vec<CertificateRevocationList>> = LazyLock::new(|| {
    let seeds = corpus::read(&corpus::seeds_of("crl")).expect("the corpus is readable");
    let lists = seeds
        .into_iter()
        .filter_map(|seed| CertificateRevocationList::parse_file(&seed.bytes).ok());
    lists.flatten().collect()
});

fn crl(input: &[u8]) -> String {
    outcome(CertificateRevocationList::parse_file(input), |lists| {
        let blocks = lists.iter().map(|list| pem::encode(PEM_LABEL, list.der()));
        let again = CertificateRevocationList::parse_file(blocks.collect::<String>().as_bytes());
        assert_eq!(again.as_ref(), Ok(&lists), "PEM changes lists");
        let said: Vec<String> = lists.iter().take(2).map(judge).collect();
        format!("{} {}", lists.len().min(3), said.join(" "))
    })
}

fn judge(list: &CertificateRevocationList) -> String {
    let shown = list.issuer();
    assert!(
        !shown.chars().any(char::is_control),
        "a name is shown with control characters: {shown:?}"
    );
    assert!(
        !list.is_current_at(list.this_update() - 1),
        "current before it was made"
    );
    if let Some(next_update) = list.next_update() {
        assert!(!list.is_current_at(next_update + 1), "current for ever");
    }
    // What verifies is, but for the unsigned wrapping, what the issuer made.
    let made = list.verify_issuer(&ISSUER);
    if made.is_ok() {
        let same = |known: &CertificateRevocationList| {
            known.this_update() == list.this_update() && known.entry_count() == list.entry_count()
        };
        assert!(MADE.iter().any(same), "a list that nobody made");
    }
    let stranger = agree_with_stranger(list);
    format!(
        "{} {} {} {stranger}",
        crate::behaviour::of(&made),
        list.is_current_at(NOW),
        list.covers(&ISSUER),
    )
}

/// The fields that decide on revocation, as another parser reads them.
fn agree_with_stranger(list: &CertificateRevocationList) -> String {
    let read = match CertificateList::<Rfc5280>::from_der(list.der()) {
        Ok(read) => read,
        Err(error) => return format!("stranger refuses: {}", crate::behaviour::of(&error.kind())),
    };
    let tbs = &read.tbs_cert_list;
    let issuer = tbs.issuer.to_der().expect("what was read can be written");
    assert_eq!(issuer, list.issuer_der(), "issuer");
    let seconds = |time: &x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_secs()).expect("a date")
    };
    assert_eq!(seconds(&tbs.this_update), list.this_update(), "thisUpdate");
    let next_update = tbs.next_update.as_ref().map(seconds);
    assert_eq!(next_update, list.next_update(), "nextUpdate");
    let entries = tbs.revoked_certificates.as_deref().unwrap_or_default();
    assert_eq!(entries.len(), list.entry_count(), "number of entries");
    // A lookup walks the whole list; a few tell as much as all.
    for entry in entries.iter().take(4) {
        let revocation = list.revocation(entry.serial_number.as_bytes());
        let revocation = revocation.expect("what is listed is found");
        let same = entries
            .iter()
            .filter(|other| other.serial_number == entry.serial_number)
            .any(|other| seconds(&other.revocation_date) == revocation.date);
        assert!(same, "revocationDate");
        assert!(revocation.since() <= revocation.date, "an excuse");
    }
    "stranger agrees".to_owned()
}
