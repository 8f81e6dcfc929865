//! OpenSSL as a stranger: it reads, verifies and prints what we make, and we read what it makes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_pki::authority::{self, Parent};
use sealwright_pki::{Certificate, Purpose, pem_chain, verify_chain};

use crate::forge::{NOW, YEAR, code_signing_authority, envelope, key, name};
use crate::issuance::{email_identity, issue, username_identity, workflow_identity};

/// A directory for the files that OpenSSL reads and writes.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.directory.path())
            .output();
        output.expect("openssl is a prerequisite of these tests")
    }

    /// Runs OpenSSL, which must succeed, and answers what it printed.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {shown}{errors}"
        );
        shown
    }

    pub(crate) fn read(&self, path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }
}

fn contains(text: &str, expected: &[&str]) {
    for line in expected {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn openssl_prints_a_leaf_as_the_profile_has_it() {
    let authority = code_signing_authority(KeyType::EcP256);
    let bench = Bench::new();
    bench.write(
        "leaf.pem",
        &issue(&authority, &workflow_identity(), &key(), &key()).to_pem(),
    );
    let shown = bench.openssl(&["x509", "-in", "leaf.pem", "-noout", "-text"]);
    contains(
        &shown,
        &[
            "Version: 3",
            "Signature Algorithm: ecdsa-with-SHA256",
            "Issuer: O = Example, CN = issuing",
            "Not Before: Nov 24 00:00:00 2026 GMT",
            "Not After : Nov 24 00:10:00 2026 GMT",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "X509v3 Extended Key Usage: \n                Code Signing\n",
            "X509v3 Subject Key Identifier",
            "X509v3 Authority Key Identifier",
            "X509v3 Subject Alternative Name: critical\n                URI:https://git.example.com/o/r/.ci/release.yml@refs/tags/v1",
            "1.3.6.1.4.1.57264.1.8",
            "1.3.6.1.4.1.57264.1.24",
            "CT Precertificate SCTs",
            "Version   : v1 (0x0)",
            "Timestamp : Nov 24 00:00:00.000 2026 GMT",
            "Extensions: 00:00:05:00:00:00:00:07",
            "Signature : ecdsa-with-SHA256",
        ],
    );
}

#[test]
fn openssl_verifies_chains_of_every_key_type() {
    let types = [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 3072 },
    ];
    for key_type in types {
        let authority = code_signing_authority(key_type);
        let subject = PrivateKey::generate(key_type).unwrap();
        let bench = Bench::new();
        bench.write("root.pem", &authority.root.to_pem());
        bench.write(
            "chain.pem",
            &pem_chain([&authority.intermediate, &authority.root]),
        );
        for (number, identity) in [email_identity(), username_identity()]
            .into_iter()
            .enumerate()
        {
            let leaf = format!("leaf{number}.pem");
            bench.write(
                &leaf,
                &issue(&authority, &identity, &subject, &key()).to_pem(),
            );
            let at = NOW.to_string();
            let arguments = [
                "verify",
                "-x509_strict",
                "-attime",
                &at,
                "-CAfile",
                "root.pem",
                "-untrusted",
                "chain.pem",
                &leaf,
            ];
            contains(&bench.openssl(&arguments), &[": OK"]);
        }
    }
}

#[test]
fn openssl_accepts_our_timestamp_authority_for_time_stamping_only() {
    let (root_key, leaf_key) = (key(), key());
    let root = authority::root(
        &root_key,
        &name("tsa root"),
        0,
        &envelope(NOW - YEAR, NOW + 10 * YEAR),
    )
    .unwrap();
    let parent = Parent {
        certificate: &root,
        key: &root_key,
    };
    let validity = envelope(NOW - YEAR, NOW + 11 * YEAR);
    let leaf =
        authority::time_stamping_leaf(leaf_key.public_key(), &name("tsa"), &validity, parent)
            .unwrap();
    assert_eq!(
        leaf.not_after(),
        root.not_after(),
        "never later than the issuer's"
    );
    assert!(leaf.extended_key_usage().unwrap().critical);
    assert_eq!(leaf.subject(), "CN=tsa,O=Example");
    assert!(leaf.subject_key_identifier().is_some());
    verify_chain(
        &leaf,
        &[],
        std::slice::from_ref(&root),
        NOW,
        Purpose::TimeStamping,
    )
    .unwrap();
    assert!(
        verify_chain(
            &leaf,
            &[],
            std::slice::from_ref(&root),
            NOW,
            Purpose::CodeSigning
        )
        .is_err()
    );
    let bench = Bench::new();
    bench.write("root.pem", &root.to_pem());
    bench.write("leaf.pem", &leaf.to_pem());
    let at = NOW.to_string();
    let arguments = |purpose| {
        [
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-attime",
            &at,
            "-CAfile",
            "root.pem",
            "leaf.pem",
        ]
    };
    contains(&bench.openssl(&arguments("timestampsign")), &[": OK"]);
    assert!(!bench.run(&arguments("sslserver")).status.success());
}

#[test]
fn openssl_accepts_our_tls_server_by_address_and_by_name() {
    let (root_key, leaf_key) = (key(), key());
    let root = authority::root(
        &root_key,
        &name("tls root"),
        1,
        &envelope(NOW - YEAR, NOW + YEAR),
    )
    .unwrap();
    let middle_key = key();
    let parent = Parent {
        certificate: &root,
        key: &root_key,
    };
    let validity = envelope(NOW - YEAR, NOW + YEAR);
    let middle = authority::intermediate(
        middle_key.public_key(),
        &name("tls"),
        Purpose::ServerAuth,
        &validity,
        parent,
    );
    let middle = middle.unwrap();
    let parent = Parent {
        certificate: &middle,
        key: &middle_key,
    };
    let addresses = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let leaf = authority::tls_server(
        leaf_key.public_key(),
        &["localhost"],
        &addresses,
        &validity,
        parent,
    )
    .unwrap();
    verify_chain(
        &leaf,
        std::slice::from_ref(&middle),
        std::slice::from_ref(&root),
        NOW,
        Purpose::ServerAuth,
    )
    .unwrap();
    let bench = Bench::new();
    bench.write("root.pem", &root.to_pem());
    bench.write("middle.pem", &middle.to_pem());
    bench.write("leaf.pem", &leaf.to_pem());
    let at = NOW.to_string();
    for (kind, host) in [
        ("-verify_ip", "127.0.0.1"),
        ("-verify_ip", "::1"),
        ("-verify_hostname", "localhost"),
    ] {
        let arguments = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-attime",
            &at,
            kind,
            host,
            "-CAfile",
            "root.pem",
            "-untrusted",
            "middle.pem",
            "leaf.pem",
        ];
        contains(&bench.openssl(&arguments), &[": OK"]);
    }
}

#[test]
fn we_read_certificates_that_openssl_makes() {
    let bench = Bench::new();
    for (algorithm, scheme) in [
        (
            &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
            "1.2.840.10045.4.3.2",
        ),
        (&["-newkey", "ed25519"], "1.3.101.112"),
        (
            &[
                "-newkey",
                "rsa:2048",
                "-sigopt",
                "rsa_padding_mode:pss",
                "-sigopt",
                "rsa_pss_saltlen:digest",
            ],
            "1.2.840.113549.1.1.10",
        ),
        (&["-newkey", "rsa:2048", "-sha512"], "1.2.840.113549.1.1.13"),
    ] {
        let subject = ["-subj", "/DC=com/DC=example/OU=a, b/CN=\u{e4} #1", "-utf8"];
        let fixed = [
            "req", "-x509", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "10",
        ];
        bench.openssl(
            &[
                &fixed[..],
                algorithm,
                &subject,
                &["-addext", "subjectAltName=email:a@example.com,IP:::1"],
            ]
            .concat(),
        );
        let certificate = Certificate::from_pem(&bench.read(&bench.path("cert.pem"))).unwrap();
        assert_eq!(
            certificate.subject(),
            "CN=\u{e4} #1,OU=a\\, b,DC=example,DC=com"
        );
        assert_eq!(certificate.signature_scheme().oid().to_string(), scheme);
        certificate
            .verify_signature(certificate.public_key().unwrap())
            .unwrap();
        assert_eq!(certificate.subject_alt_names().len(), 2);
        assert_eq!(
            certificate.not_after() - certificate.not_before(),
            10 * 24 * 3600
        );
    }
}
