//! Why our verifier accepts what the published one refuses: every such case is one of these.

use super::Case;

/// What is known of a case that we accept and the published verifier does not.
#[derive(Debug)]
pub struct Disagreement<'a> {
    /// The valid bundle that was changed.
    pub specimen: &'a str,
    /// The layer and the kind of the change.
    pub class: &'a str,
    /// Where it was made.
    pub place: &'a str,
    /// What the published verifier says.
    pub words: &'a str,
}

impl Disagreement<'_> {
    fn says(&self, any: &[&str]) -> bool {
        any.iter().any(|part| self.words.contains(part))
    }

    fn is(&self, any: &[&str]) -> bool {
        any.iter().any(|class| self.class.ends_with(class))
    }

    fn at(&self, any: &[&str]) -> bool {
        any.iter().any(|part| self.place.contains(part))
    }

    /// The specimen has a verified time beside the one of any single token.
    fn has_another_time(&self) -> bool {
        self.specimen.contains("two tokens") || self.specimen.contains("old file with a token")
    }

    fn layer(&self, layer: &str) -> bool {
        self.class.starts_with(layer)
    }
}

/// Why we accept a kind of case.
#[derive(Debug, Clone, Copy)]
pub struct Reason {
    /// In a sentence, with the rule that says so.
    pub because: &'static str,
    when: fn(&Disagreement<'_>) -> bool,
}

/// All of them. `V` and a number is the step of verification, as in docs/verification.md.
pub const REASONS: &[Reason] = &[
    Reason {
        because: "proto3 JSON: bytes are base64 of either alphabet, with padding or without",
        when: |d| {
            d.is(&["base64 for URLs"])
                || d.is(&["base64 without padding", "last letter cut"])
                    && d.says(&[
                        "Incorrect padding",
                        "Invalid base64",
                        "validation error for",
                    ])
        },
    },
    Reason {
        because: "proto3 JSON: integers of 64 bits are read as numbers too, and enumerations by their number",
        when: |d| {
            d.says(&["Expected protobuf uint64 as string"])
                || d.is(&["a number", "blind"])
                    && d.says(&["Input should be 'SHA2_256'", "Input should be 'PKCS1_RSA"])
        },
    },
    Reason {
        because: "V3: a token that does not count is passed over, with a warning, while another time holds",
        when: |d| {
            d.has_another_time()
                && (d.says(&[
                    "Invalid Timestamp Response",
                    "Malformed TimestampToken",
                    "signedTimestamp",
                    "no Timestamp Authorities have been provided",
                ]) || d.at(&["timestampAuthorities"])
                    && d.says(&["PanicException", "ParseError"]))
        },
    },
    Reason {
        because: "V3: windows of trust include both of their ends",
        when: |d| {
            d.is(&["window ends"])
                && d.at(&["timestampAuthorities"])
                && d.says(&["not enough sources of verified time"])
        },
    },
    Reason {
        because: "V4: the rules for paths decide (RFC 5280 section 6.1); what is asked of issuers besides is not: key \
                  identifiers, the sign of the serial number, that a subjectAltName beside no subject is critical",
        when: |d| {
            d.says(&[
                "2.5.29.35: Certificate is missing required extension",
                "certificate serial number cannot be negative",
                "EE subjectAltName MUST be critical when subject is empty",
            ])
        },
    },
    Reason {
        because: "V4: a trust anchor is a name and a key (RFC 5280 section 6.1.1); what else its certificate says is not asked",
        when: |d| {
            d.layer("packed DER") && d.at(&["timestampAuthorities[0].certChain.certificates[1]"])
        },
    },
    Reason {
        because: "V6: the issuer is extension .1.8; the older .1.1 need not be there, but may not contradict it",
        when: |d| {
            d.layer("certificate, signed again")
                && d.says(&["does not contain OIDCIssuer (1.3.6.1.4.1.57264.1.1)"])
        },
    },
    Reason {
        because: "V7: the leaf of a new log is rebuilt from the bundle, so that a body that is absent is not missed",
        when: |d| {
            !d.specimen.contains("old")
                && d.at(&["canonicalizedBody"])
                && d.is(&["removed", "null", "an empty text", "no document"])
        },
    },
    Reason {
        because: "V8: the verifier of an old entry is the same certificate, however its PEM ends",
        when: |d| {
            d.layer("body, logged again")
                && d.at(&["publicKey.content", "verifier"])
                && d.says(&["inconsistent with other materials", "do not match bundle"])
        },
    },
    Reason {
        because: "V8, V10: hexadecimal digests are compared as the bytes they stand for",
        when: |d| {
            d.is(&["signed again: capitals", "logged again: capitals"])
                && d.at(&["ash.value", "digest.sha256"])
        },
    },
    Reason {
        because: "V8: the hash of the envelope cannot be computed from a bundle, so nothing it says is used",
        when: |d| d.layer("body, logged again") && d.at(&["envelopeHash"]),
    },
    Reason {
        because: "V1: a bundle of version 0.1 rests on the log's promise and needs no proof",
        when: |d| {
            d.specimen.contains("bundle 0.1")
                && d.says(&[
                    "entry must contain inclusion proof, with checkpoint",
                    "inclusionProof.checkpoint.envelope",
                    "inclusionProof\n",
                ])
        },
    },
    Reason {
        because: "V10: subjects may have digests of any name (in-toto DigestSet)",
        when: |d| d.layer("statement") && d.says(&["subject.0.digest"]),
    },
    Reason {
        because: "V10: a subject needs no name (in-toto ResourceDescriptor)",
        when: |d| d.layer("statement") && d.says(&["name\n  Field required"]),
    },
    Reason {
        because: "V10: statements of version 0.1 are read; cosign writes them",
        when: |d| d.is(&["statement of version 0.1"]),
    },
    Reason {
        because: "trusted root: members that this version does not know are passed over",
        when: |d| d.layer("trusted root") && d.says(&["Extra inputs are not permitted"]),
    },
    Reason {
        because: "trusted root: what judges nothing may be missing, and windows may be open; only signature logs need a start",
        when: |d| {
            d.layer("trusted root")
                && d.is(&[
                    "removed",
                    "null",
                    "an empty object",
                    "zero",
                    "named otherwise",
                    "blind",
                ])
                && d.says(&[
                    "Field required",
                    "Input should be an object",
                    "Input should be a valid",
                    "Input should be 'PKCS1_RSA",
                    "Input should be 'SHA2_256'",
                ])
        },
    },
];

/// The reason for a case, if it has one.
pub fn reason(case: &Case, words: &str) -> Option<&'static Reason> {
    let disagreement = Disagreement {
        specimen: &case.specimen,
        class: &case.class,
        place: &case.place,
        words,
    };
    REASONS.iter().find(|reason| (reason.when)(&disagreement))
}
