//! Times that nobody trusted vouches for, times at which something was not valid, and what is counted twice.

use sealwright_proto::common::v1 as common;

use super::draft::{Draft, Logging};
use super::{Category, Recipe, Refusals, SIGNED_AT, good};
use crate::bundle_factory::{DAY, NOW, TimestampAuthority, window};
use crate::rekor_v1::HASHEDREKORD;

/// How long a certificate lives here.
const LIFE: i64 = 600;

pub(super) fn recipes() -> Vec<Recipe> {
    [
        absent(),
        tokens(),
        promises(),
        certificates(),
        windows(),
        repetitions(),
        thresholds(),
    ]
    .concat()
}

fn time(step: &'static str, code: &'static str) -> Refusals {
    Refusals::of(Category::Time, step, code)
}

fn absent() -> Vec<Recipe> {
    let r = time("time", "NO_TIME_SOURCE");
    vec![
        r.case("no-timestamp", "v03-blob", |d| d.timestamps().clear()),
        r.case("no-timestamp-for-a-statement", "v03-statement", |d| {
            d.timestamps().clear();
        }),
        r.case("no-timestamp-and-no-time-asked-for", "v03-blob", |d| {
            d.timestamps().clear();
            d.demands.times = Some(0);
        }),
        // Logs of the second generation are no clocks, whatever the entry says.
        r.case("time-beside-a-new-entry-is-none", "v03-blob", |d| {
            d.timestamps().clear();
            d.entry().integrated_time = SIGNED_AT + 2;
        }),
        r.case("promise-beside-a-new-entry-is-none", "v03-blob", |d| {
            d.timestamps().clear();
            d.entry().integrated_time = SIGNED_AT + 2;
            let mut entry = d.entry().clone();
            d.world.log.promise(&mut entry);
            *d.entry() = entry;
        }),
        r.case("time-without-promise-is-none", "old-log-v03-blob", |d| {
            d.entry().inclusion_promise = None;
        }),
    ]
}

fn tokens() -> Vec<Recipe> {
    let invalid = time("time", "TIMESTAMP_INVALID");
    let untrusted = time("time", "TIMESTAMP_UNTRUSTED");
    vec![
        invalid.case("token-over-another-signature", "v03-blob", |d| {
            let token =
                d.world
                    .timestamp_authority
                    .stamp(b"another signature", SIGNED_AT + 2, true);
            d.timestamps()[0].signed_timestamp = token;
        }),
        invalid.case("token-over-the-artifact", "v03-blob", |d| {
            let token = d
                .world
                .timestamp_authority
                .stamp(&d.artifact, SIGNED_AT + 2, true);
            d.timestamps()[0].signed_timestamp = token;
        }),
        invalid.case("changed-signature-under-a-right-token", "v03-blob", |d| {
            *d.signature_mut().last_mut().expect("bytes") ^= 1;
        }),
        invalid.case("changed-token", "v03-blob", |d| {
            *d.timestamps()[0]
                .signed_timestamp
                .last_mut()
                .expect("bytes") ^= 1;
        }),
        invalid.case("token-cut-short", "v03-blob", |d| {
            d.timestamps()[0].signed_timestamp.truncate(40);
        }),
        invalid.case("empty-token", "v03-blob", |d| {
            d.timestamps()[0].signed_timestamp.clear();
        }),
        invalid.case("bytes-behind-the-token", "v03-blob", |d| {
            d.timestamps()[0].signed_timestamp.push(0);
        }),
        invalid.case("rejection-instead-of-a-token", "v03-blob", |d| {
            // PKIStatusInfo with status rejection (2), and no token.
            d.timestamps()[0].signed_timestamp = vec![0x30, 5, 0x30, 3, 2, 1, 2];
        }),
        untrusted.case(
            "token-of-a-stranger-with-its-certificate",
            "v03-blob",
            |d| {
                put_token_of(d, &TimestampAuthority::new("https://tsa.example.com"), true);
            },
        ),
        untrusted.case(
            "token-of-a-stranger-without-certificate",
            "token-without-certificates",
            |d| {
                put_token_of(
                    d,
                    &TimestampAuthority::new("https://tsa.example.com"),
                    false,
                );
            },
        ),
        untrusted.case(
            "no-certificate-of-the-authority-anywhere",
            "token-brings-the-certificate-that-the-root-lacks",
            |d| {
                let authority = d.world.timestamp_authority.clone();
                put_token_of(d, &authority, false);
            },
        ),
        untrusted.case("no-timestamp-authority", "v03-blob", |d| {
            d.root.timestamp_authorities.clear();
        }),
        untrusted.case(
            "token-after-the-authority-s-certificate",
            "timestamp-authority-expired-since",
            |d| {
                d.signing.stamped_at = vec![SIGNED_AT + 291];
                d.sign();
            },
        ),
        untrusted.case(
            "token-before-the-authority-s-certificate",
            "v03-blob",
            |d| {
                d.world.timestamp_authority = TimestampAuthority::valid(
                    "https://tsa.example.com/api/v1/timestamp",
                    (SIGNED_AT + 3, SIGNED_AT + DAY),
                );
                d.root = d.world.trusted_root();
                d.sign();
            },
        ),
    ]
}

fn put_token_of(draft: &mut Draft, authority: &TimestampAuthority, with_certificates: bool) {
    let token = authority.stamp(&draft.signature(), SIGNED_AT + 2, with_certificates);
    draft.timestamps()[0].signed_timestamp = token;
}

fn promises() -> Vec<Recipe> {
    let r = time("time", "INCLUSION_PROMISE_INVALID");
    vec![
        r.case("changed-promise", "old-log-v03-blob", flip_promise),
        r.case("changed-promise-in-v01", "old-log-v01-blob", flip_promise),
        // The promise counts where it stands, although a token vouches for the time too.
        r.case(
            "changed-promise-beside-a-token",
            "old-log-and-timestamp",
            flip_promise,
        ),
        r.case(
            "time-that-the-log-did-not-promise",
            "old-log-v03-blob",
            |d| {
                d.entry().integrated_time += 1;
            },
        ),
        r.case(
            "index-that-the-log-did-not-promise",
            "old-log-v03-blob",
            |d| {
                d.entry().log_index += 1;
            },
        ),
        r.case("promise-about-another-entry", "old-log-v03-blob", |d| {
            let before = d.entry().inclusion_promise.clone();
            d.sign();
            d.entry().inclusion_promise = before;
        }),
        r.case("empty-promise", "old-log-v03-blob", |d| {
            promise(d).clear();
        }),
        time("time", "TIME_IN_FUTURE").case(
            "promised-time-in-the-future",
            "old-log-v03-blob",
            |d| {
                promise_at(d, NOW + 20 * 365 * DAY);
            },
        ),
    ]
}

fn promise(draft: &mut Draft) -> &mut Vec<u8> {
    let promise = draft.entry().inclusion_promise.as_mut();
    &mut promise.expect("a promise").signed_entry_timestamp
}

fn flip_promise(draft: &mut Draft) {
    *promise(draft).last_mut().expect("bytes") ^= 1;
}

/// The log promises to have taken the entry then.
fn promise_at(draft: &mut Draft, at: i64) {
    draft.logging = Logging::V1(HASHEDREKORD, at);
    draft.sign();
}

/// Every verified time must be within the certificate, both of whose ends are inside.
fn certificates() -> Vec<Recipe> {
    let r = time("certificate", "CERTIFICATE_NOT_VALID_AT_TIME");
    let inside = |name, from, change| good(Category::Time, name, from, change);
    vec![
        inside("token-at-the-certificate-s-first-second", "v03-blob", |d| {
            stamp_at(d, &[SIGNED_AT]);
        }),
        r.case(
            "token-before-the-certificate",
            "token-at-the-certificate-s-first-second",
            |d| {
                stamp_at(d, &[SIGNED_AT - 1]);
            },
        ),
        inside("token-at-the-certificate-s-last-second", "v03-blob", |d| {
            stamp_at(d, &[SIGNED_AT + LIFE]);
        }),
        r.case(
            "token-after-the-certificate",
            "token-at-the-certificate-s-last-second",
            |d| {
                stamp_at(d, &[SIGNED_AT + LIFE + 1]);
            },
        ),
        r.case(
            "one-token-of-two-after-the-certificate",
            "two-timestamp-authorities-of-two-operators",
            |d| {
                d.timestamps().pop();
                d.add_authority(
                    "https://tsa.example.net",
                    "example.net",
                    SIGNED_AT + LIFE + 1,
                );
            },
        ),
        inside(
            "promise-at-the-certificate-s-last-second",
            "old-log-v03-blob",
            |d| {
                promise_at(d, SIGNED_AT + LIFE);
            },
        ),
        r.case(
            "promise-after-the-certificate",
            "promise-at-the-certificate-s-last-second",
            |d| {
                promise_at(d, SIGNED_AT + LIFE + 1);
            },
        ),
        r.case("promise-before-the-certificate", "old-log-v02-blob", |d| {
            promise_at(d, SIGNED_AT - 1);
        }),
        r.case(
            "promise-after-the-certificate-in-v01",
            "old-log-v01-blob",
            |d| {
                promise_at(d, SIGNED_AT + LIFE + 1);
            },
        ),
        // The promise is within the certificate, and the token is not: both count.
        r.case(
            "token-after-the-certificate-beside-a-promise",
            "old-log-and-timestamp",
            |d| {
                stamp_at(d, &[SIGNED_AT + LIFE + 1]);
            },
        ),
        r.case(
            "promise-after-the-certificate-beside-a-token",
            "old-log-and-timestamp",
            |d| {
                promise_at(d, SIGNED_AT + LIFE + 1);
            },
        ),
    ]
}

fn stamp_at(draft: &mut Draft, times: &[i64]) {
    draft.signing.stamped_at = times.to_vec();
    draft.sign();
}

/// Windows of the trusted root include both ends.
fn windows() -> Vec<Recipe> {
    let inside = |name, from, change| good(Category::Time, name, from, change);
    let authority = time("time", "TIMESTAMP_OUTSIDE_TSA_WINDOW");
    let log = time("log", "LOG_KEY_NOT_VALID_AT_TIME");
    vec![
        inside("timestamp-authority-until-then", "v03-blob", |d| {
            set_authority_window(d, SIGNED_AT - DAY, Some(SIGNED_AT + 2));
        }),
        authority.case(
            "timestamp-authority-retired-before",
            "timestamp-authority-until-then",
            |d| {
                set_authority_window(d, SIGNED_AT - DAY, Some(SIGNED_AT + 1));
            },
        ),
        inside("timestamp-authority-from-then-on", "v03-blob", |d| {
            set_authority_window(d, SIGNED_AT + 2, None);
        }),
        authority.case(
            "timestamp-authority-begins-later",
            "timestamp-authority-from-then-on",
            |d| {
                set_authority_window(d, SIGNED_AT + 3, None);
            },
        ),
        inside("log-until-then", "v03-blob", |d| {
            d.set_log_window(window(SIGNED_AT - DAY, Some(SIGNED_AT + 2)));
        }),
        log.case("log-retired-before", "log-until-then", |d| {
            d.set_log_window(window(SIGNED_AT - DAY, Some(SIGNED_AT + 1)));
        }),
        inside("log-from-then-on", "v03-blob", |d| {
            d.set_log_window(window(SIGNED_AT + 2, None));
        }),
        log.case("log-begins-later", "log-from-then-on", |d| {
            d.set_log_window(window(SIGNED_AT + 3, None));
        }),
        inside("old-log-until-then", "old-log-v03-blob", |d| {
            d.set_log_window(window(SIGNED_AT - DAY, Some(SIGNED_AT + 3)));
        }),
        log.case("old-log-retired-before", "old-log-until-then", |d| {
            d.set_log_window(window(SIGNED_AT - DAY, Some(SIGNED_AT + 2)));
        }),
        log.case("old-log-retired-before-in-v01", "old-log-v01-blob", |d| {
            d.set_log_window(window(SIGNED_AT - DAY, Some(SIGNED_AT + 2)));
        }),
    ]
}

fn set_authority_window(draft: &mut Draft, start: i64, end: Option<i64>) {
    draft.root.timestamp_authorities[0].valid_for = Some(window(start, end));
}

fn repetitions() -> Vec<Recipe> {
    let entry = Refusals::of(Category::Threshold, "duplicates", "DUPLICATE_ENTRY");
    let token = Refusals::of(Category::Threshold, "duplicates", "DUPLICATE_TIMESTAMP");
    vec![
        entry.case("the-same-entry-twice", "v03-blob", |d| {
            let only = d.entry().clone();
            d.entries().push(only);
        }),
        entry.case("the-same-entry-twice-with-another-proof", "v03-blob", |d| {
            let index = usize::try_from(d.entry().log_index).expect("an index");
            d.world.log.add_body_among_others(b"more".to_vec(), (1, 1));
            let again = d.world.log.entry(index);
            d.entries().push(again);
        }),
        entry.case("the-same-old-entry-twice", "old-log-v03-blob", |d| {
            let only = d.entry().clone();
            d.entries().push(only);
        }),
        token.case("the-same-token-twice", "v03-blob", |d| {
            let only: common::Rfc3161SignedTimestamp = d.timestamps()[0].clone();
            d.timestamps().push(only);
        }),
    ]
}

fn thresholds() -> Vec<Recipe> {
    let logs = Refusals::of(Category::Threshold, "log", "THRESHOLD_NOT_MET");
    let times = Refusals::of(Category::Threshold, "time", "THRESHOLD_NOT_MET");
    vec![
        logs.case("no-entry", "v03-blob", |d| d.entries().clear()),
        logs.case("one-log-of-two", "two-logs-of-two-operators", |d| {
            d.entries().pop();
        }),
        logs.case(
            "two-logs-of-one-operator",
            "two-logs-of-two-operators",
            |d| {
                d.root.tlogs[1].operator = "example.com".into();
            },
        ),
        logs.case("two-entries-of-one-log", "two-logs-of-two-operators", |d| {
            d.entries().pop();
            let body = d.entry().canonicalized_body.clone();
            let again = d.world.log.add_body_among_others(body, (0, 0));
            d.entries().push(again);
        }),
        Refusals::of(Category::Threshold, "log", "LOG_UNKNOWN").case(
            "second-log-is-unknown",
            "two-logs-of-two-operators",
            |d| {
                d.root.tlogs.pop();
            },
        ),
        times.case(
            "two-timestamp-authorities-of-one-operator",
            "two-timestamp-authorities-of-two-operators",
            |d| d.root.timestamp_authorities[1].operator = "example.com".into(),
        ),
        times.case(
            "two-tokens-of-one-authority",
            "two-timestamp-authorities-of-two-operators",
            |d| {
                d.timestamps().pop();
                let authority = d.world.timestamp_authority.clone();
                d.add_token(&authority, SIGNED_AT + 5);
            },
        ),
        // The promise is a time, but no timestamp authority.
        times.case(
            "promise-is-no-timestamp-authority",
            "old-log-v03-blob",
            |d| {
                d.demands.timestamp_authorities = Some(1);
            },
        ),
    ]
}
