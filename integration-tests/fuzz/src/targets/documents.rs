//! Trust material and statements.

use sealwright_bundle::statement::Statement;
use sealwright_bundle::{Artifact, Bundle, SigningConfig, TrustedRoot, verify};
use sealwright_proto::trustroot::v1 as proto;
use sealwright_sdk::TrustConfig;
use sealwright_testkit::bundle_factory::NOW;
use sealwright_tuf::{self as tuf, Envelope, Metadata};
use std::sync::LazyLock;

use super::{Target, outcome, verdict};
use crate::corpus;
use crate::mutate::Format;
use crate::seeds::ARTIFACT;

pub(super) const TRUSTED_ROOT: Target = Target {
    name: "trusted_root",
    format: Format::Json,
    dictionary: &[
        "mediaType",
        "tlogs",
        "ctlogs",
        "certificateAuthorities",
        "timestampAuthorities",
        "validFor",
        "start",
        "end",
        "logId",
        "checkpointKeyId",
        "rawBytes",
        "keyDetails",
        "PKIX_ED25519",
        "SHA2_256",
        "certChain",
    ],
    cases: 1500,
    peak_factor: 256,
    check: trusted_root,
};
pub(super) const SIGNING_CONFIG: Target = Target {
    name: "signing_config",
    format: Format::Json,
    dictionary: &[
        "mediaType",
        "caUrls",
        "oidcUrls",
        "rekorTlogUrls",
        "tsaUrls",
        "selector",
        "ANY",
        "ALL",
        "EXACT",
        "count",
        "majorApiVersion",
        "validFor",
        "operator",
    ],
    cases: 3000,
    peak_factor: 256,
    check: signing_config,
};
pub(super) const STATEMENT: Target = Target {
    name: "statement",
    format: Format::Json,
    dictionary: &[
        "_type",
        "subject",
        "predicateType",
        "predicate",
        "digest",
        "sha256",
        "sha512",
        "annotations",
        "https://in-toto.io/Statement/v0.1",
    ],
    cases: 4000,
    peak_factor: 128,
    check: statement,
};
pub(super) const TUF: Target = Target {
    name: "tuf",
    format: Format::Json,
    dictionary: &[
        "signatures",
        "signed",
        "_type",
        "root",
        "targets",
        "snapshot",
        "timestamp",
        "version",
        "expires",
        "keys",
        "roles",
        "threshold",
        "keyids",
        "keyid",
        "sig",
        "spec_version",
        "consistent_snapshot",
        "meta",
        "hashes",
        "length",
        "delegations",
        "succinct_roles",
        "bit_length",
        "name_prefix",
        "path_hash_prefixes",
        "terminating",
    ],
    cases: 2000,
    peak_factor: 512,
    check: metadata,
};

fn trusted_root(input: &[u8]) -> String {
    static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
        Bundle::parse(&corpus::seed("bundle", "blob.json")).expect("the corpus is coherent")
    });
    outcome(TrustedRoot::parse(input), |root| {
        let message: proto::TrustedRoot = lenient(input);
        let written = serde_json::to_vec(&message).expect("a message is JSON");
        let again = TrustedRoot::parse(&written).expect("what was written is read");
        let shape = |root: &TrustedRoot| {
            let authorities =
                root.certificate_authorities().len() + root.timestamp_authorities().len();
            (
                authorities,
                root.transparency_logs().len(),
                root.certificate_logs().len(),
                root.warnings().len(),
            )
        };
        assert_eq!(shape(&root), shape(&again), "another root is written");
        // A hostile root may make a verifier believe anything, but not fall over.
        let artifact = Artifact::from_bytes(ARTIFACT);
        let verified = verify(&BUNDLE, &artifact, &root, verdict::blob_by_jane(), NOW);
        crate::behaviour::of(&verified.map(|_| ()))
    })
}

/// The message of a document in which null stands for absent members, as the reader takes it.
fn lenient<T: serde::de::DeserializeOwned>(input: &[u8]) -> T {
    fn without_nulls(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(members) => {
                members.retain(|_, member| !member.is_null());
                members.values_mut().for_each(without_nulls);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(without_nulls),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(input).expect("what was read is JSON");
    without_nulls(&mut value);
    serde_json::from_value(value).expect("what was read is the message")
}

fn signing_config(input: &[u8]) -> String {
    outcome(SigningConfig::parse(input), |config| {
        let logs = config.transparency_logs(&[1, 2], NOW, input);
        let stamps = config.timestamp_authorities(&[1], NOW, input);
        let authority = config.certificate_authority(&[1], NOW);
        let provider = config.identity_provider(&[1], NOW);
        let said = [
            outcome(logs, |selected| {
                selected.candidates.len().min(3).to_string()
            }),
            outcome(stamps, |selected| {
                selected.candidates.len().min(3).to_string()
            }),
            outcome(authority, |_| String::new()),
            outcome(provider, |_| String::new()),
        ];
        said.join(" ")
    })
}

fn statement(input: &[u8]) -> String {
    outcome(Statement::parse(input), |statement| {
        let written = serde_json::to_vec(&statement).expect("a statement is JSON");
        let again = Statement::parse(&written).expect("what was written is read");
        assert_eq!(
            again.subjects, statement.subjects,
            "other subjects are written"
        );
        assert_eq!(
            again.predicate_type, statement.predicate_type,
            "another type is written"
        );
        let algorithms = statement.digest_algorithms();
        format!(
            "{} {algorithms:?} {}",
            statement.subjects.len().min(3),
            statement.predicate.is_some()
        )
    })
}

fn metadata(input: &[u8]) -> String {
    let root = envelope::<tuf::Root>(input);
    if let Ok(root) = Envelope::<tuf::Root>::parse_self_signed(input) {
        let _ = root.successor(input);
    }
    [
        root,
        envelope::<tuf::Timestamp>(input),
        envelope::<tuf::Snapshot>(input),
        envelope::<tuf::Targets>(input),
    ]
    .join(" ")
}

fn envelope<T: Metadata>(input: &[u8]) -> String {
    outcome(Envelope::<T>::parse(input), |read| {
        let again = Envelope::<T>::parse(&read.to_bytes()).expect("what was written is read");
        assert_eq!(
            again.canonical(),
            read.canonical(),
            "signatures would cover other bytes"
        );
        assert_eq!(
            again.signatures(),
            read.signatures(),
            "other signatures are written"
        );
        let verified = SIGNED_ROOT.signed().verify(&read);
        if verified.is_ok() {
            assert!(
                SIGNED.iter().any(|signed| signed == read.canonical()),
                "metadata that nobody signed"
            );
        }
        crate::behaviour::of(&verified.is_ok())
    })
}

static SIGNED_ROOT: LazyLock<Envelope<tuf::Root>> = LazyLock::new(|| {
    Envelope::parse_self_signed(&corpus::seed("tuf", "root.json")).expect("the corpus is coherent")
});

/// Canonical bytes of what the keys of the corpus have signed.
static SIGNED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let files = corpus::read(&corpus::seeds_of("tuf")).expect("the corpus is readable");
    let canonical = files.iter().map(|file| {
        let document = tuf::canonical::parse(&file.bytes).expect("the corpus is coherent");
        let signed = document.get("signed").expect("metadata is signed");
        tuf::canonical::encode(signed).expect("the corpus is coherent")
    });
    canonical.collect()
});

pub(super) const CLIENT_TRUST: Target = Target {
    name: "client_trust",
    format: Format::Json,
    dictionary: &[
        "mediaType",
        "trustedRoot",
        "signingConfig",
        "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
    ],
    cases: 1000,
    peak_factor: 256,
    check: client_trust,
};

/// Both halves are what each would be as a file of its own.
fn client_trust(input: &[u8]) -> String {
    outcome(
        TrustConfig::from_client_trust_config("corpus", input),
        |config| {
            let document: serde_json::Value =
                serde_json::from_slice(input).expect("what was read is JSON");
            let half = |names: [&str; 2]| {
                let found = names.into_iter().find_map(|name| document.get(name));
                found.expect("what was read is there").to_string()
            };
            let root = TrustedRoot::parse(half(["trustedRoot", "trusted_root"]).as_bytes())
                .expect("a root by itself");
            assert_eq!(
                root.transparency_logs().len(),
                config.trusted_root().transparency_logs().len(),
                "other logs"
            );
            let signing =
                SigningConfig::parse(half(["signingConfig", "signing_config"]).as_bytes())
                    .expect("a configuration by itself");
            assert_eq!(config.signing_config(), Some(&signing), "other services");
            String::new()
        },
    )
}
