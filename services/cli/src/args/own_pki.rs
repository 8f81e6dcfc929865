//! The flags for keys of an organisation's own PKI, under cosign's names where cosign has or had them.

use std::path::PathBuf;

use clap::Args;
use sealwright_sdk::pki::{ObjectIdentifier, Purpose};

/// Which certificates of an own PKI count.
#[derive(Debug, Args)]
pub(crate) struct OwnPkiArgs {
    /// Certificate that must have signed, in PEM or DER; the bundle may carry it or nothing but its key's hint. With
    /// --certificate-chain or --ca-roots.
    #[arg(
        long,
        value_name = "FILE",
        requires = "anchors",
        conflicts_with = "key"
    )]
    pub(crate) certificate: Option<PathBuf>,

    /// Certificates of an own PKI in PEM: the issuer of the signing certificate first, the root last. Identities are then names
    /// in its certificates, and need no --certificate-oidc-issuer.
    #[arg(long, value_name = "FILE", group = "anchors", conflicts_with = "key")]
    pub(crate) certificate_chain: Option<PathBuf>,

    /// Root certificates of an own PKI in PEM, in any order.
    #[arg(long, value_name = "FILE", group = "anchors", conflicts_with = "key")]
    pub(crate) ca_roots: Option<PathBuf>,

    /// Intermediate certificates below --ca-roots in PEM, in any order.
    #[arg(long, value_name = "FILE", requires = "ca_roots", conflicts_with_all = ["key", "certificate_chain"])]
    pub(crate) ca_intermediates: Option<PathBuf>,

    /// Revocation lists of the own PKI in PEM, or one in DER. With any, every certificate below the root needs a current list of
    /// its issuer. Several: all of them.
    #[arg(
        long,
        value_name = "FILE",
        requires = "anchors",
        conflicts_with = "key"
    )]
    pub(crate) crl: Vec<PathBuf>,

    /// What the own certificate must be for: codeSigning, emailProtection, clientAuth, serverAuth, an object identifier, or any.
    #[arg(long, value_name = "PURPOSE", requires = "anchors", conflicts_with = "key", value_parser = purpose, default_value = "codeSigning")]
    pub(crate) certificate_purpose: Purpose,

    /// Where nothing vouches for the time, judge the own certificate at the present: only one that lives for more than 24 hours
    /// and has not expired.
    #[arg(long, requires = "anchors", conflicts_with = "key")]
    pub(crate) allow_current_time: bool,
}

/// What excludes a key excludes its certificate: the parser waives a requirement that cannot be met, so that has to be said.
const KEYLESS: [&str; 4] = ["identity_token", "audience", "oidc_provider", "login_flow"];

/// The certificate that goes with a signing key.
#[derive(Debug, Args)]
pub(crate) struct SigningCertificateArgs {
    /// Certificate of --key by an own PKI, in PEM or DER; the bundle carries it.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = KEYLESS)]
    pub(crate) certificate: Option<PathBuf>,

    /// Issuers of --certificate in PEM: its own first, the root last. They are checked before anything is signed.
    #[arg(long, value_name = "FILE", requires = "certificate", conflicts_with_all = KEYLESS)]
    pub(crate) certificate_chain: Option<PathBuf>,

    /// Put the intermediates of --certificate-chain into the bundle, for verifiers that have the root alone. They have to allow
    /// it.
    #[arg(long, requires = "certificate_chain", conflicts_with_all = KEYLESS)]
    pub(crate) include_certificate_chain: bool,
}

const PURPOSES: [(&str, Purpose); 5] = [
    ("codeSigning", Purpose::CodeSigning),
    ("emailProtection", other("1.3.6.1.5.5.7.3.4")),
    ("clientAuth", other("1.3.6.1.5.5.7.3.2")),
    ("serverAuth", Purpose::ServerAuth),
    ("any", Purpose::Any),
];

const fn other(dotted: &str) -> Purpose {
    Purpose::Other(ObjectIdentifier::new_unwrap(dotted))
}

fn purpose(text: &str) -> Result<Purpose, String> {
    if let Some((_, purpose)) = PURPOSES.iter().find(|(name, _)| *name == text) {
        return Ok(*purpose);
    }
    ObjectIdentifier::new(text).map(Purpose::Other).map_err(|_| {
        let names = PURPOSES.map(|(name, _)| name).join(", ");
        format!("{text:?} is no purpose; use {names}, or an object identifier such as 1.3.6.1.4.1.55555.7")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser as _;

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split_whitespace()).is_ok()
    }

    #[test]
    fn an_own_pki_has_anchors_and_somebody_to_expect() {
        for (rest, good) in [
            ("--certificate-identity i --ca-roots r", true),
            ("--certificate-identity i --certificate-chain c", true),
            (
                "--certificate-identity i --certificate-oidc-issuer u --ca-roots r",
                true,
            ),
            (
                "--certificate l --ca-roots r --ca-intermediates i --crl a --crl b",
                true,
            ),
            (
                "--certificate l --certificate-chain c --allow-current-time --certificate-purpose any",
                true,
            ),
            (
                "--certificate l --certificate-identity i --certificate-chain c",
                true,
            ),
            // Nobody to expect.
            ("--ca-roots r", false),
            ("--certificate-chain c", false),
            // Nothing to lead to.
            ("--certificate l", false),
            (
                "--certificate-identity i --certificate-oidc-issuer u --crl l",
                false,
            ),
            (
                "--certificate-identity i --certificate-oidc-issuer u --allow-current-time",
                false,
            ),
            (
                "--certificate-identity i --certificate-oidc-issuer u --certificate-purpose any",
                false,
            ),
            (
                "--certificate-identity i --certificate-chain c --ca-intermediates i",
                false,
            ),
            // Two answers to one question.
            (
                "--certificate-identity i --certificate-chain c --ca-roots r",
                false,
            ),
            ("--key k --certificate l --ca-roots r", false),
            ("--key k --ca-roots r", false),
            ("--key k --crl l", false),
            ("--key k --allow-current-time", false),
            ("--key k --ca-intermediates i", false),
            ("--key k --certificate-purpose any", false),
            (
                "--certificate l --ca-roots r --certificate-purpose nothing",
                false,
            ),
        ] {
            for verb in ["verify-blob", "verify-blob-attestation"] {
                let line = format!("sealwright {verb} f --bundle b --trusted-root t {rest}");
                assert_eq!(parses(&line), good, "{line}");
            }
        }
    }

    #[test]
    fn a_certificate_to_sign_with_comes_with_its_key() {
        for (rest, good) in [
            ("--key k --certificate l", true),
            (
                "--key k --certificate l --certificate-chain c --include-certificate-chain",
                true,
            ),
            ("--certificate l", false),
            ("--identity-token t --certificate l", false),
            ("--key k --certificate-chain c", false),
            ("--key k --certificate l --include-certificate-chain", false),
        ] {
            let line = format!("sealwright sign-blob f --trust-config t {rest}");
            assert_eq!(parses(&line), good, "{line}");
        }
    }

    #[test]
    fn purposes_are_names_or_numbers() {
        assert_eq!(purpose("codeSigning"), Ok(Purpose::CodeSigning));
        assert_eq!(purpose("any"), Ok(Purpose::Any));
        assert_eq!(purpose("1.3.6.1.5.5.7.3.4"), purpose("emailProtection"));
        for text in ["", "codesigning", "1", "x.y"] {
            assert!(purpose(text).is_err(), "{text:?}");
        }
    }
}
