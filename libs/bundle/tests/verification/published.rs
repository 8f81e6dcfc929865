//! The published conformance suite (sigstore-conformance, 70 directories) by the names of its cases, and the case of ours
//! that is wrong, or right, in the same way. Nothing of the suite is here but the names; `make conformance` runs it.

use sealwright_testkit::vectors::Expected;

use crate::asking::case;

/// Its name, and ours.
const CASES: [(&str, &str); 70] = [
    // Structure.
    (
        "bundle-empty-certificate-chain_fail",
        "empty-certificate-chain",
    ),
    ("bundle-malformed-json_fail", "malformed-json"),
    (
        "bundle-invalid-base64-signature_fail",
        "invalid-base64-signature",
    ),
    (
        "bundle-negative-log-index_fail",
        "negative-log-index-in-an-old-log",
    ),
    ("bundle-unknown-version_fail", "unknown-version"),
    (
        "bundle-with-root-cert_fail",
        "root-in-the-chain-of-an-old-log",
    ),
    // Trust.
    ("bundle-from-wrong-instance_fail", "from-another-instance"),
    ("invalid-ct-key_fail", "certificate-log-with-another-key"),
    (
        "intoto-expired-certificate_fail",
        "certificate-authority-retired-before",
    ),
    (
        "trust-root-tlog-missing-validity-start_fail",
        "log-without-start-of-validity",
    ),
    // Signature and artifact.
    (
        "signature-mismatch_fail",
        "signature-by-another-key-in-an-old-log",
    ),
    (
        "dsse-invalid-sig_fail",
        "statement-signed-by-another-key-in-dsse-entry",
    ),
    (
        "rekor2-dsse-invalid-sig_fail",
        "statement-signed-by-another-key",
    ),
    ("wrong-material_fail", "another-artifact-and-an-old-log"),
    (
        "message-digest-mismatch_fail",
        "message-digest-of-another-file-and-an-old-log",
    ),
    (
        "wrong-hashedrekord-artifact_fail",
        "old-entry-of-another-artifact",
    ),
    // Entries against the bundle.
    (
        "dsse-mismatch-envelope_fail",
        "dsse-entry-of-another-envelope",
    ),
    (
        "dsse-mismatch-sig_fail",
        "dsse-entry-of-another-signature-by-the-same-key",
    ),
    (
        "rekor2-dsse-mismatch-envelope_fail",
        "statement-entry-of-another-payload",
    ),
    (
        "rekor2-dsse-mismatch-sig_fail",
        "statement-entry-of-another-signature-by-the-same-key",
    ),
    (
        "intoto-log-entry-mismatch_fail",
        "intoto-entry-of-another-envelope",
    ),
    (
        "incorrect-public-key_fail",
        "old-entry-with-another-certificate",
    ),
    (
        "wrong-hashedrekord-entry_fail",
        "old-entry-of-another-artifact-in-v01",
    ),
    (
        "wrong-hashedrekord-cert-and-sig_fail",
        "old-entry-with-another-certificate-and-signature",
    ),
    // Inclusion proofs.
    ("invalid-inclusion-proof_fail", "proof-of-an-earlier-tree"),
    (
        "inclusion-proof-corrupted-hash_fail",
        "changed-hash-in-an-old-proof",
    ),
    (
        "intoto-missing-inclusion-proof_fail",
        "no-proof-of-an-intoto-entry",
    ),
    ("rekor2-no-inclusion-proof_fail", "no-proof"),
    (
        "checkpoint-wrong-roothash_fail",
        "old-checkpoint-with-another-root",
    ),
    // Checkpoints.
    (
        "checkpoint-bad-keyhint_fail",
        "changed-key-id-on-an-old-checkpoint",
    ),
    (
        "invalid-checkpoint-signature_fail",
        "changed-signature-of-an-old-checkpoint",
    ),
    (
        "rekor2-checkpoint-missing-log-signature_fail",
        "cosignature-without-the-log-s-signature",
    ),
    (
        "rekor2-checkpoint-missing-origin_fail",
        "unsigned-checkpoint-without-origin",
    ),
    (
        "rekor2-checkpoint-missing-root-hash_fail",
        "checkpoint-without-root",
    ),
    (
        "rekor2-checkpoint-missing-size_fail",
        "checkpoint-without-size",
    ),
    (
        "rekor2-checkpoint-no-matching-signature_fail",
        "signature-under-another-name",
    ),
    // Times.
    ("set-invalid-signature_fail", "changed-promise"),
    (
        "integrated-time-in-future_fail",
        "promised-time-in-the-future",
    ),
    (
        "intoto-set-outside-signing-cert-validity_fail",
        "promise-after-the-certificate",
    ),
    (
        "intoto-tsa-timestamp-outside-cert-validity_fail",
        "token-after-the-certificate-beside-a-promise",
    ),
    ("rekor2-no-timestamp_fail", "no-timestamp"),
    (
        "rekor2-timestamp-payload-mismatch_fail",
        "token-over-another-signature",
    ),
    (
        "rekor2-timestamp-with-incorrect-time_fail",
        "token-after-the-certificate",
    ),
    (
        "rekor2-timestamp-outside-tsa-cert-validity_fail",
        "token-after-the-authority-s-certificate",
    ),
    (
        "rekor2-timestamp-outside-trust-root-tsa-validity_fail",
        "timestamp-authority-retired-before",
    ),
    (
        "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
        "token-of-a-stranger-with-its-certificate",
    ),
    (
        "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail",
        "token-of-a-stranger-without-certificate",
    ),
    // Keys.
    ("managed-key-no-key_fail", "key-signed-and-no-key-given"),
    ("managed-key-wrong-key_fail", "another-key-for-an-old-log"),
    // Right, each in a way that has tripped a client.
    ("happy-path-v0.1", "old-log-v01-blob"),
    ("happy-path-v0.2", "old-log-v02-blob"),
    ("happy-path-v0.3", "v03-blob-old-media-type"),
    ("happy-path-v0.3-new-mediaType", "old-log-v03-blob"),
    ("happy-path-intoto-in-dsse-v3", "old-log-dsse"),
    ("intoto-with-custom-trust-root", "old-log-intoto"),
    ("bundle-with-sct-with-extensions", "v03-blob"),
    ("rekor2-happy-path", "v03-blob"),
    ("rekor2-dsse-happy-path", "v03-statement"),
    ("rekor2-checkpoint-cosigned", "checkpoint-cosigned"),
    (
        "rekor2-checkpoint-multiple-cosigs",
        "checkpoint-with-several-cosignatures",
    ),
    (
        "rekor2-checkpoint-origin-not-first",
        "checkpoint-own-signature-not-first",
    ),
    (
        "rekor2-checkpoint-two-sigs-from-origin",
        "checkpoint-two-signatures-of-the-origin",
    ),
    (
        "rekor2-checkpoint-two-sigs-cosigned",
        "checkpoint-namesake-and-cosignature",
    ),
    ("rekor2-timestamp-with-embedded-cert", "v03-blob"),
    (
        "rekor2-timestamp-without-embedded-cert",
        "token-without-certificates",
    ),
    (
        "rekor2-timestamp-with-expired-cert-chain",
        "timestamp-authority-expired-since",
    ),
    ("trust-root-tlog-validity-end-inclusive", "log-until-then"),
    (
        "trust-root-tsa-validity-end-inclusive",
        "timestamp-authority-until-then",
    ),
    ("managed-key-happy-path", "key-in-an-old-log"),
    ("managed-key-and-trusted-root", "key-p256"),
];

#[test]
fn every_case_of_the_published_suite_has_one_of_ours_with_the_same_answer() {
    for (published, ours) in CASES {
        let refused = case(ours).expected != Expected::Verified;
        assert_eq!(refused, published.ends_with("_fail"), "{published}: {ours}");
    }
}
