//! Authorities, certificates and certificate logs that are not the trusted ones; signers that are not the expected ones.

use sealwright_crypto::{KeyType, PublicKey};

use super::draft::{Draft, Form, new_key, x509};
use super::{Asked, Category, Recipe, Refusals, SIGNED_AT, good};
use crate::bundle_factory::{
    CertificateAuthority, CtLog, DAY, EMAIL, ISSUER, SctKind, SignatureLog, TimestampAuthority,
    World, window,
};

pub(super) fn recipes() -> Vec<Recipe> {
    [
        instances(),
        certificates(),
        windows(),
        certificate_logs(),
        roots(),
        identities(),
        keys(),
    ]
    .concat()
}

fn trust(step: &'static str, code: &'static str) -> Refusals {
    Refusals::of(Category::Trust, step, code)
}

/// Everything, or one part, is of another instance under the same names.
fn instances() -> Vec<Recipe> {
    vec![
        trust("time", "TIMESTAMP_UNTRUSTED").case("from-another-instance", "v03-blob", |d| {
            d.world = World::new();
            d.sign();
        }),
        trust("time", "TIMESTAMP_UNTRUSTED").case(
            "timestamp-authority-of-another-instance",
            "v03-blob",
            |d| {
                d.world.timestamp_authority =
                    TimestampAuthority::new("https://tsa.example.com/api/v1/timestamp");
                d.sign();
            },
        ),
        trust("certificate", "CERTIFICATE_UNTRUSTED").case(
            "certificate-authority-of-another-instance",
            "v03-blob",
            |d| {
                d.world.certificate_authority = CertificateAuthority::new("https://ca.example.com");
                d.sign();
            },
        ),
        trust("certificate-transparency", "SCT_UNKNOWN_LOG").case(
            "certificate-log-of-another-instance",
            "v03-blob",
            |d| {
                d.world.ct_log = CtLog::new("https://ct.example.com/2026");
                d.sign();
            },
        ),
        trust("log", "LOG_UNKNOWN").case("log-of-another-instance", "v03-blob", |d| {
            d.world.log = SignatureLog::new("https://log2026.example.com");
            d.sign();
        }),
        trust("log", "LOG_UNKNOWN").case(
            "old-log-of-another-instance",
            "old-log-and-timestamp",
            |d| {
                d.world.log = super::draft::old_log();
                d.sign();
            },
        ),
    ]
}

fn certificates() -> Vec<Recipe> {
    let r = trust("certificate", "CERTIFICATE_UNTRUSTED");
    vec![
        r.case("no-certificate-authority", "v03-blob", |d| {
            d.root.certificate_authorities.clear();
        }),
        r.case("issuing-authority-missing", "v03-blob", |d| {
            let chain = d.root.certificate_authorities[0].cert_chain.as_mut();
            chain.expect("a chain").certificates.remove(0);
        }),
        r.case("chain-leads-to-no-anchor", "v02-blob-in-a-new-log", |d| {
            d.root.certificate_authorities =
                vec![CertificateAuthority::new("https://ca.example.com").trusted()];
        }),
        r.case("certificate-for-time-stamping", "v03-blob", |d| {
            let chain = d.world.timestamp_authority.trusted();
            d.root.certificate_authorities.push(chain);
            let leaf = x509(&d.world.timestamp_authority.chain[0]);
            d.put_certificate(leaf);
        }),
        r.case("changed-name-in-the-certificate", "v03-blob", |d| {
            let mut leaf = d.leaf();
            let at = find(&leaf.raw_bytes, EMAIL.as_bytes());
            leaf.raw_bytes[at] = b'k';
            d.put_certificate(leaf);
        }),
        r.case("changed-signature-on-the-certificate", "v03-blob", |d| {
            let mut leaf = d.leaf();
            *leaf.raw_bytes.last_mut().expect("bytes") ^= 1;
            d.put_certificate(leaf);
        }),
        good(
            Category::Trust,
            "issuing-certificate-made-anew",
            "v03-blob",
            |d| {
                put_issuing_certificate(d, SIGNED_AT + 2);
            },
        ),
        r.case(
            "issuing-certificate-expired-when-signed",
            "issuing-certificate-made-anew",
            |d| {
                put_issuing_certificate(d, SIGNED_AT + 1);
            },
        ),
    ]
}

/// The trusted root gets another certificate for the same issuing key, which ends then.
fn put_issuing_certificate(draft: &mut Draft, not_after: i64) {
    let chain = draft
        .world
        .certificate_authority
        .reissued((SIGNED_AT - DAY, not_after));
    let trusted = draft.root.certificate_authorities[0].cert_chain.as_mut();
    trusted.expect("a chain").certificates = chain.iter().map(x509).collect();
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("the needle is there")
}

/// Both ends of each window are inside; a second further is not.
fn windows() -> Vec<Recipe> {
    let inside = |name, change| good(Category::Trust, name, "v03-blob", change);
    let authority = trust("certificate", "CA_NOT_TRUSTED_AT_TIME");
    let certificate_log = trust("certificate-transparency", "SCT_OUTSIDE_LOG_WINDOW");
    vec![
        inside("certificate-authority-until-then", |d| {
            d.root.certificate_authorities[0].valid_for =
                Some(window(SIGNED_AT - DAY, Some(SIGNED_AT + 2)));
        }),
        authority.case(
            "certificate-authority-retired-before",
            "certificate-authority-until-then",
            |d| {
                d.root.certificate_authorities[0].valid_for =
                    Some(window(SIGNED_AT - DAY, Some(SIGNED_AT + 1)));
            },
        ),
        inside("certificate-authority-from-then-on", |d| {
            d.root.certificate_authorities[0].valid_for = Some(window(SIGNED_AT + 2, None));
        }),
        authority.case(
            "certificate-authority-begins-later",
            "certificate-authority-from-then-on",
            |d| {
                d.root.certificate_authorities[0].valid_for = Some(window(SIGNED_AT + 3, None));
            },
        ),
        inside("certificate-log-from-then-on", |d| {
            set_ct_window(d, SIGNED_AT, None);
        }),
        certificate_log.case(
            "certificate-log-begins-later",
            "certificate-log-from-then-on",
            |d| {
                set_ct_window(d, SIGNED_AT + 1, None);
            },
        ),
        inside("certificate-log-until-then", |d| {
            set_ct_window(d, SIGNED_AT - DAY, Some(SIGNED_AT));
        }),
        certificate_log.case(
            "certificate-log-retired-before",
            "certificate-log-until-then",
            |d| {
                set_ct_window(d, SIGNED_AT - DAY, Some(SIGNED_AT - 1));
            },
        ),
    ]
}

fn set_ct_window(draft: &mut Draft, start: i64, end: Option<i64>) {
    draft.root.ctlogs[0]
        .public_key
        .as_mut()
        .expect("a key")
        .valid_for = Some(window(start, end));
}

fn certificate_logs() -> Vec<Recipe> {
    let invalid = trust("certificate-transparency", "SCT_INVALID");
    vec![
        invalid.case("certificate-log-with-another-key", "v03-blob", |d| {
            let other = new_key(KeyType::EcP256);
            let key = d.root.ctlogs[0].public_key.as_mut().expect("a key");
            key.raw_bytes = Some(other.public_key().spki_der().to_vec());
        }),
        invalid.case("certificate-timestamp-over-other-bytes", "v03-blob", |d| {
            d.signing.sct = SctKind::Tampered;
            d.sign();
        }),
        trust("certificate-transparency", "SCT_MISSING").case(
            "no-certificate-timestamp",
            "v03-blob",
            |d| {
                d.signing.sct = SctKind::Missing;
                d.sign();
            },
        ),
        trust("certificate-transparency", "SCT_UNKNOWN_LOG").case(
            "no-certificate-log",
            "v03-blob",
            |d| d.root.ctlogs.clear(),
        ),
        good(Category::Trust, "two-certificate-logs", "v03-blob", |d| {
            enroll_with_logs(d, &[0, 1]);
            d.demands.certificate_logs = Some(2);
        }),
        trust("certificate-transparency", "THRESHOLD_NOT_MET").case(
            "two-timestamps-of-one-certificate-log",
            "two-certificate-logs",
            |d| enroll_with_logs(d, &[0, 0]),
        ),
        trust("certificate-transparency", "SCT_UNKNOWN_LOG").case(
            "second-certificate-log-is-unknown",
            "two-certificate-logs",
            |d| {
                d.root.ctlogs.pop();
            },
        ),
        good(
            Category::Trust,
            "unknown-certificate-log-beside-a-known-one",
            "two-certificate-logs",
            |d| {
                d.root.ctlogs.pop();
                d.demands.certificate_logs = None;
            },
        ),
        trust("certificate-transparency", "THRESHOLD_NOT_MET").case(
            "one-certificate-log-of-two",
            "v03-blob",
            |d| d.demands.certificate_logs = Some(2),
        ),
    ]
}

/// The signer's certificate is logged in these of two trusted logs.
fn enroll_with_logs(draft: &mut Draft, order: &[usize]) {
    let mut logs = [
        draft.world.ct_log.clone(),
        CtLog::new("https://ct.example.org/2026"),
    ];
    draft.root.ctlogs = logs.iter().map(CtLog::trusted).collect();
    let signer = draft
        .world
        .enroll_with_logs(&mut logs, order, &draft.signing);
    draft.signer = Some(signer);
    draft.sign_again();
}

/// Trusted roots that nobody can use.
fn roots() -> Vec<Recipe> {
    let r = trust("input", "TRUSTED_ROOT_INVALID");
    vec![
        r.case("log-without-start-of-validity", "v03-blob", |d| {
            let key = d.root.tlogs[0].public_key.as_mut().expect("a key");
            key.valid_for = None;
        }),
        r.case("log-with-end-of-validity-alone", "v03-blob", |d| {
            let key = d.root.tlogs[0].public_key.as_mut().expect("a key");
            let window = key.valid_for.as_mut().expect("a window");
            (window.start, window.end) = (None, window.start);
        }),
        r.case("window-that-ends-before-it-starts", "v03-blob", |d| {
            d.set_log_window(window(SIGNED_AT, Some(SIGNED_AT - 1)));
        }),
        r.case("trusted-root-of-unknown-version", "v03-blob", |d| {
            d.root.media_type = "application/vnd.dev.sigstore.trustedroot.v0.9+json".into();
        }),
        r.case("trusted-root-with-repeated-member", "v03-blob", |d| {
            d.edit_root = |text| text.replacen('{', r#"{"tlogs":[],"#, 1);
        }),
        r.case("logs-that-cannot-be-told-apart", "v03-blob", |d| {
            let mut twin = d.root.tlogs[0].clone();
            twin.base_url += "/shard";
            d.root.tlogs.push(twin);
        }),
        r.case("authority-without-certificates", "v03-blob", |d| {
            d.root.certificate_authorities[0].cert_chain = None;
        }),
        r.case("log-without-key", "v03-blob", |d| {
            d.root.tlogs[0].public_key = None;
        }),
    ]
}

fn identities() -> Vec<Recipe> {
    let name = Refusals::of(Category::Identity, "identity", "IDENTITY_MISMATCH");
    let issuer = Refusals::of(Category::Identity, "identity", "ISSUER_MISMATCH");
    vec![
        name.case("another-name", "v03-blob", |d| {
            d.asked = Asked::identity("john@example.com", ISSUER);
        }),
        name.case("name-in-upper-case", "v03-blob", |d| {
            d.asked = Asked::identity("JANE@example.com", ISSUER);
        }),
        name.case("name-is-only-the-beginning", "v03-blob", |d| {
            d.asked = Asked::identity("jane@example.co", ISSUER);
        }),
        name.case("exact-name-is-no-pattern", "v03-blob", |d| {
            d.asked = Asked::identity("jane@example.co.", ISSUER);
        }),
        issuer.case("another-issuer", "v03-blob", |d| {
            d.asked = Asked::identity(EMAIL, "https://accounts.example.org");
        }),
        issuer.case("issuer-with-a-slash-more", "v03-blob", |d| {
            d.asked = Asked::identity(EMAIL, "https://accounts.example.com/");
        }),
        name.case("another-workload", "workload-by-uri", |d| {
            d.asked = Asked::identity(
                "https://ci.example.com/org/repo/.ci/build.yml@refs/heads/other",
                "https://token.ci.example.com",
            );
        }),
        name.case("another-username", "username-as-other-name", |d| {
            d.asked = Asked::identity("jane!example.org", ISSUER);
        }),
        name.case(
            "pattern-found-inside-the-name",
            "identity-by-anchored-pattern",
            |d| {
                d.asked = Asked::Pattern {
                    subject: "example".into(),
                    issuer: ".*".into(),
                };
            },
        ),
        name.case(
            "pattern-matches-the-end-alone",
            "identity-by-anchored-pattern",
            |d| {
                d.asked = Asked::Pattern {
                    subject: r"ane@example\.com".into(),
                    issuer: ".*".into(),
                };
            },
        ),
    ]
}

fn keys() -> Vec<Recipe> {
    let kind = Refusals::of(Category::Key, "structure", "SIGNER_KIND_MISMATCH");
    let other = Refusals::of(Category::Key, "identity", "KEY_MISMATCH");
    let late = Refusals::of(Category::Key, "identity", "KEY_NOT_VALID_AT_TIME");
    vec![
        kind.case("key-signed-and-no-key-given", "key-p256", |d| {
            d.asked = Asked::identity(EMAIL, ISSUER);
        }),
        kind.case("keyless-and-a-key-given", "v03-blob", |d| {
            d.ask_for_key(new_key(KeyType::EcP256).public_key());
        }),
        kind.case("keyless-and-the-certificate-s-key-given", "v03-blob", |d| {
            let key = PublicKey::from_spki_der(
                d.signer
                    .as_ref()
                    .expect("a certificate")
                    .certificate
                    .spki_der(),
            );
            d.ask_for_key(&key.expect("a key"));
        }),
        other.case("another-key", "key-p256", |d| {
            d.ask_for_key(new_key(KeyType::EcP256).public_key());
        }),
        other.case("another-key-for-an-old-log", "key-in-an-old-log", |d| {
            d.ask_for_key(new_key(KeyType::EcP256).public_key());
        }),
        other.case("another-key-for-a-statement", "key-statement", |d| {
            d.ask_for_key(new_key(KeyType::EcP256).public_key());
        }),
        other.case("another-kind-of-key", "key-p256", |d| {
            d.ask_for_key(new_key(KeyType::Rsa { bits: 2048 }).public_key());
        }),
        late.case(
            "key-retired-a-second-before",
            "key-until-the-last-second",
            |d| {
                d.demands.key_valid_until = Some(SIGNED_AT + 1);
            },
        ),
        // Whoever holds a retired key can sign for ever, and leaves out what would tell.
        Refusals::of(Category::Key, "time", "NO_TIME_SOURCE").case(
            "key-with-an-end-and-no-time",
            "key-until-the-last-second",
            |d| d.timestamps().clear(),
        ),
        Refusals::of(Category::Key, "signature", "SIGNATURE_INVALID").case(
            "key-signature-over-something-else",
            "key-p256",
            |d| {
                let Form::BlobByKey(key) = d.form.clone() else {
                    panic!("a key")
                };
                d.bundle = d
                    .world
                    .sign_blob_with_key(b"something else", &key, &d.signing);
            },
        ),
    ]
}
