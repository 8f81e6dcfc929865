//! The flags. Names are cosign's where cosign has them.

mod own_pki;
mod verification;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use own_pki::{OwnPkiArgs, SigningCertificateArgs};
pub(crate) use verification::{
    ExpectedIdentity, VerificationArgs, VerifyBlob, VerifyBlobAttestation,
};

/// Sign and verify with short-lived certificates, a transparency log and timestamps.
#[derive(Debug, Parser)]
#[command(
    name = "sealwright",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// How results are printed: text for people on standard error, json for programs on standard output.
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,

    /// How long the whole command may take, such as 30s or 3m; waiting for a person to log in does not count.
    #[arg(short = 't', long, global = true, value_parser = duration, default_value = "60s")]
    pub(crate) timeout: Duration,

    /// Say on standard error what is being done.
    #[arg(short = 'd', long, global = true)]
    pub(crate) verbose: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign files; several files share one certificate.
    SignBlob(SignBlob),
    /// Verify a file's signature.
    VerifyBlob(VerifyBlob),
    /// Sign a statement about files.
    AttestBlob(AttestBlob),
    /// Verify a statement about a file.
    VerifyBlobAttestation(VerifyBlobAttestation),
    /// Get a short-lived certificate and sign nothing, for tools that sign by themselves.
    Certificate(Certificate),
    /// Print an ID token from a development identity provider, for scripts.
    Token(Token),
    /// Set up whom to trust.
    #[command(subcommand)]
    Trust(Trust),
    /// Look at bundles.
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Print the version.
    Version,
    /// Print a completion script.
    Completion {
        /// The shell it is for.
        shell: clap_complete::Shell,
    },
}

/// Where trust material comes from.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// ClientTrustConfig file: trusted root and signing configuration in one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trusted_root", "profile"])]
    pub(crate) trust_config: Option<PathBuf>,

    /// Trusted root file.
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    pub(crate) trusted_root: Option<PathBuf>,

    /// Profile set up by `trust init`. Without any of these flags: SEALWRIGHT_PROFILE, or "default".
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

/// Who signs, and with which services.
#[derive(Debug, Args)]
pub(crate) struct SigningArgs {
    #[command(flatten)]
    pub(crate) trust: TrustArgs,

    /// Signing configuration file; needed beside --trusted-root.
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) identity: IdentityArgs,

    /// Private key file in PEM (PKCS#8, SEC1 or PKCS#1), instead of an identity.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["identity_token", "audience", "oidc_provider", "login_flow"])]
    pub(crate) key: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) own_certificate: SigningCertificateArgs,

    /// Algorithm of the short-lived key, such as ecdsa-sha2-256-nistp256 or ed25519-ph.
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    pub(crate) signing_algorithm: Option<String>,

    #[command(flatten)]
    pub(crate) compatibility: Compatibility,
}

/// Who one is. The first that is there counts: --identity-token, --login-flow, --oidc-provider, SIGSTORE_ID_TOKEN, what the
/// machine offers, a login.
#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Identity token, a file that holds one, or - for standard input. SIGSTORE_ID_TOKEN, or what the machine offers, when
    /// left out.
    #[arg(long, value_name = "TOKEN|FILE", hide_env_values = true)]
    pub(crate) identity_token: Option<String>,

    /// Audience that the identity token must have; asked of the certificate authority when left out.
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,

    /// Ask this provider of the machine, such as github-actions, spiffe, filesystem or google, and no other.
    #[arg(long, value_name = "NAME", conflicts_with = "identity_token")]
    pub(crate) oidc_provider: Option<String>,

    /// Do not ask the machine for an identity token.
    #[arg(long, conflicts_with = "oidc_provider", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) oidc_disable_ambient_providers: bool,

    #[command(flatten)]
    pub(crate) login: LoginArgs,
}

/// How a person logs in.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Log in this way, whatever token the machine has. At a terminal, when nothing else is there: a browser on this machine,
    /// else a code to enter in any browser, else an address to paste.
    #[arg(
        long,
        value_enum,
        value_name = "FLOW",
        alias = "fulcio-auth-flow",
        conflicts_with = "oidc_provider"
    )]
    pub(crate) login_flow: Option<LoginFlow>,

    /// Identity provider to log in with; the signing configuration's when left out.
    #[arg(long, value_name = "URL")]
    pub(crate) oidc_issuer: Option<String>,

    /// What the provider knows this client by.
    #[arg(long, value_name = "ID", default_value = "sigstore")]
    pub(crate) oidc_client_id: String,

    /// File with the secret that the provider gave this client.
    #[arg(long, value_name = "FILE")]
    pub(crate) oidc_client_secret_file: Option<PathBuf>,

    /// Address that the browser is sent back to, where the provider knows only one, such as
    /// http://localhost:8080/auth/callback.
    #[arg(long, value_name = "URL")]
    pub(crate) oidc_redirect_url: Option<String>,

    /// Scopes to ask for; openid is always among them.
    #[arg(
        long,
        value_name = "SCOPE",
        value_delimiter = ',',
        default_value = "email"
    )]
    pub(crate) oidc_scope: Vec<String>,

    /// Which of its own providers a federating one (dex) shall ask.
    #[arg(long, value_name = "ID")]
    pub(crate) oidc_connector_id: Option<String>,
}

/// The ways of logging in, under our names and cosign's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LoginFlow {
    /// Whatever suits the machine.
    Auto,
    /// A browser on this machine.
    #[value(alias = "normal")]
    Browser,
    /// A code to enter in any browser.
    Device,
    /// Any browser, whose last address is pasted here.
    Paste,
    /// No person: the client is a service account with a secret.
    #[value(name = "client-credentials", alias = "client_credentials")]
    ClientCredentials,
    /// No login: a token is there.
    Token,
}

/// Flags of cosign that name what happens here anyway.
#[derive(Debug, Args)]
pub(crate) struct Compatibility {
    /// Accepted: nothing is asked.
    #[arg(short = 'y', long, hide = true)]
    yes: bool,

    /// Accepted: there is no other format.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = only_true)]
    new_bundle_format: Option<bool>,

    /// Accepted: services always come from the signing configuration.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = only_true)]
    use_signing_config: Option<bool>,

    /// Accepted: timestamps in a bundle are always verified, and no flag chooses what vouches for the time.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = only_true)]
    use_signed_timestamps: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct SignBlob {
    /// Files to sign; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Where the bundle goes: a file, or a directory when several files are signed. FILE.sigstore.json when left out.
    #[arg(long, value_name = "OUT")]
    pub(crate) bundle: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) signing: SigningArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AttestBlob {
    /// In-toto statement, signed byte for byte.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "predicate",
        conflicts_with = "predicate"
    )]
    pub(crate) statement: Option<PathBuf>,

    /// Predicate (JSON) from which a statement about FILE is made.
    #[arg(long, value_name = "PREDICATE", requires = "file")]
    pub(crate) predicate: Option<PathBuf>,

    /// Type of --predicate: a URI, or one of cosign's names such as slsaprovenance1.
    #[arg(long = "type", value_name = "TYPE", requires = "predicate")]
    pub(crate) predicate_type: Option<String>,

    /// Where the bundle goes.
    #[arg(long, value_name = "OUT")]
    pub(crate) bundle: PathBuf,

    #[command(flatten)]
    pub(crate) signing: SigningArgs,

    /// The file the statement is about; with --statement it is checked to be one of the subjects.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Certificate {
    /// Private key file in PEM that the certificate is for. One that does not exist is made: P-256 unless
    /// --signing-algorithm says otherwise, PKCS#8, for its owner alone.
    #[arg(long, value_name = "FILE", required_unless_present = "csr")]
    pub(crate) key: Option<PathBuf>,

    /// Certification request in PEM, signed by whoever holds the key.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) csr: Option<PathBuf>,

    /// Where certificate and chain go, in PEM; standard output when left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Where the chain alone goes, in PEM: the certificate's issuers without the certificate, as some tools want them.
    #[arg(long, value_name = "FILE")]
    pub(crate) chain_out: Option<PathBuf>,

    /// Algorithm of a key that is made, such as ecdsa-sha2-256-nistp256 or rsa-sign-pkcs1-3072-sha256.
    #[arg(long, value_name = "NAME", conflicts_with = "csr")]
    pub(crate) signing_algorithm: Option<String>,

    #[command(flatten)]
    pub(crate) trust: TrustArgs,

    /// Signing configuration file; needed beside --trusted-root.
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The development identity provider.
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: String,

    /// E-mail address, also the subject.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["subject", "claims"])]
    pub(crate) email: Option<String>,

    /// Subject.
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) subject: Option<String>,

    /// JSON object laid over the provider's claims, iss too; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) claims: Option<PathBuf>,

    /// Who the token is for.
    #[arg(long, value_name = "AUDIENCE", default_value = sealwright_sdk::DEFAULT_AUDIENCE)]
    pub(crate) audience: String,

    /// Seconds until it expires; negative for a token that has expired.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) ttl: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Set a profile up from a TUF repository and a root obtained by other means.
    Init(TrustInit),
}

#[derive(Debug, Args)]
pub(crate) struct TrustInit {
    /// Base URL of the TUF repository.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// The root to start from.
    #[arg(long, value_name = "FILE")]
    pub(crate) root: PathBuf,

    /// Name of the profile. SEALWRIGHT_PROFILE, or "default", when left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Show what a bundle says, without verifying anything.
    Inspect {
        /// The bundle.
        #[arg(value_name = "FILE")]
        bundle: PathBuf,
    },
}

/// `90`, `90s`, `3m`, `1h`, `250ms`, and Go's compounds of them such as `3m0s`.
fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let refuse = || {
        format!("{text:?} is no duration; use a number with ms, s, m or h, such as 30s or 1m30s")
    };
    if let Ok(seconds) = text.parse() {
        return if seconds == 0 {
            Err(refuse())
        } else {
            Ok(Duration::from_secs(seconds))
        };
    }
    let (mut total_ms, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit())
            .ok_or_else(refuse)?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, factor_ms) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(refuse)?;
        let number: u64 = number.parse().map_err(|_| refuse())?;
        total_ms = number
            .checked_mul(*factor_ms)
            .and_then(|ms| ms.checked_add(total_ms))
            .ok_or_else(refuse)?;
        rest = after;
    }
    if total_ms == 0 {
        Err(refuse())
    } else {
        Ok(Duration::from_millis(total_ms))
    }
}

fn only_true(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        _ => Err("only true is possible here; leave the flag out".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_those_of_cosign_and_of_people() {
        for (text, ms) in [
            ("3m0s", 180_000),
            ("90", 90_000),
            ("250ms", 250),
            ("1h2m", 3_720_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "0",
            "0s",
            "s",
            "3x",
            "-1s",
            "99999999999999999999h",
            "1.5s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cosigns_flags_are_accepted() {
        let line = "sealwright sign-blob a --bundle b --trust-config c --identity-token d -y --new-bundle-format=true --use-signing-config";
        assert!(parse(line).is_ok());
        let line = "sealwright verify-blob a --bundle b --trusted-root c --certificate-identity i --certificate-oidc-issuer u --new-bundle-format";
        assert!(parse(line).is_ok());
        assert!(parse("sealwright sign-blob a --use-signing-config=false").is_err());
    }

    #[test]
    fn a_verifier_has_to_say_whom_it_expects() {
        let verify = "sealwright verify-blob a --bundle b";
        for rest in [
            "",
            "--certificate-identity i",
            "--certificate-oidc-issuer u",
            "--key k --certificate-identity i",
            "--certificate-identity i --certificate-identity-regexp r --certificate-oidc-issuer u",
        ] {
            assert!(parse(&format!("{verify} {rest}")).is_err(), "{rest}");
        }
        for rest in [
            "--key k",
            "--certificate-identity i --certificate-oidc-issuer u",
            "--certificate-identity-regexp i --certificate-oidc-issuer-regexp u",
        ] {
            assert!(parse(&format!("{verify} {rest}")).is_ok(), "{rest}");
        }
    }

    #[test]
    fn a_verifier_may_expect_several_or_state_more() {
        let verify = "sealwright verify-blob a --bundle b";
        let jane = "--certificate-identity i --certificate-oidc-issuer u";
        for (rest, good) in [
            ("--key k --key l", true),
            ("--key k --cert-ext a=b", false),
            ("--key k --certificate-identity-type email", false),
            (
                "--certificate-identity i --certificate-identity j --certificate-oidc-issuer u",
                true,
            ),
            (
                "--certificate-identity-glob g --certificate-oidc-issuer u",
                true,
            ),
            (
                "--certificate-identity-glob g --certificate-identity i --certificate-oidc-issuer u",
                false,
            ),
            ("--certificate-identity-glob g", false),
            (
                &format!("{jane} --cert-ext runnerEnvironment=x --cert-ext 1.2.3=y"),
                true,
            ),
            (&format!("{jane} --cert-ext runnerEnvironment"), false),
            (&format!("{jane} --certificate-github-workflow-sha c"), true),
            (
                &format!(
                    "{jane} --log-threshold 2 --timestamp-threshold 1 --sct-threshold 2 --time-threshold 1"
                ),
                true,
            ),
            (&format!("{jane} --log-threshold -1"), false),
            (
                &format!(
                    "{jane} --insecure-ignore-tlog --insecure-ignore-sct=true --private-infrastructure"
                ),
                true,
            ),
            (
                &format!("{jane} --insecure-ignore-tlog --log-threshold 1"),
                false,
            ),
            (&format!("{jane} --use-signed-timestamps"), true),
            (&format!("{jane} --use-signed-timestamps=false"), false),
            (
                &format!(
                    "{jane} --max-bundle-size 64MiB --allow-certificate-chain --witness-policy w"
                ),
                true,
            ),
        ] {
            assert_eq!(parse(&format!("{verify} {rest}")).is_ok(), good, "{rest}");
        }
    }

    #[test]
    fn cosigns_waivers_are_thresholds_of_zero() {
        let line = "sealwright verify-blob a --bundle b --certificate-identity i --certificate-oidc-issuer u";
        let thresholds = |rest: &str| match parse(&format!("{line} {rest}")).expect(rest).command {
            Command::VerifyBlob(args) => args.verification.thresholds,
            other => panic!("{other:?}"),
        };
        for (rest, logs, certificate_logs) in [
            ("", None, None),
            ("--insecure-ignore-tlog", Some(0), None),
            ("--private-infrastructure", Some(0), None),
            ("--insecure-ignore-sct", None, Some(0)),
            (
                "--insecure-ignore-tlog=false --insecure-ignore-sct=false",
                None,
                None,
            ),
            ("--log-threshold 2 --sct-threshold 3", Some(2), Some(3)),
        ] {
            let thresholds = thresholds(rest);
            assert_eq!(thresholds.logs(), logs, "{rest}");
            assert_eq!(thresholds.certificate_logs(), certificate_logs, "{rest}");
        }
    }

    #[test]
    fn a_token_is_for_somebody() {
        assert!(parse("sealwright token --issuer u").is_err());
        assert!(parse("sealwright token --issuer u --email a@b --ttl -5").is_ok());
        assert!(parse("sealwright token --issuer u --claims f").is_ok());
        assert!(parse("sealwright token --email a@b").is_err());
    }

    #[test]
    fn an_identity_comes_from_one_place() {
        let sign = "sealwright sign-blob a --trust-config c";
        for rest in [
            "--key k --identity-token t",
            "--key k --oidc-provider spiffe",
            "--identity-token t --oidc-provider spiffe",
            "--key k --login-flow device",
            "--oidc-provider spiffe --login-flow device",
            "--login-flow nothing",
            "--oidc-provider spiffe --oidc-disable-ambient-providers",
        ] {
            assert!(parse(&format!("{sign} {rest}")).is_err(), "{rest}");
        }
        for rest in [
            "--oidc-disable-ambient-providers",
            "--oidc-disable-ambient-providers=false",
            "--login-flow auto --oidc-issuer u --oidc-client-id i --oidc-redirect-url r",
            "--fulcio-auth-flow normal --oidc-client-secret-file f",
            "--fulcio-auth-flow client_credentials",
            "--fulcio-auth-flow token --identity-token t",
        ] {
            assert!(parse(&format!("{sign} {rest}")).is_ok(), "{rest}");
        }
    }

    #[test]
    fn a_certificate_is_for_a_key_or_a_request() {
        let certificate = "sealwright certificate --trust-config c --identity-token t";
        for (rest, good) in [
            ("", false),
            ("--key k --csr r", false),
            ("--csr r --signing-algorithm ed25519-ph", false),
            ("--key k --out o", true),
            ("--csr r", true),
        ] {
            assert_eq!(
                parse(&format!("{certificate} {rest}")).is_ok(),
                good,
                "{rest}"
            );
        }
    }

    #[test]
    fn trust_material_comes_from_one_place() {
        assert!(parse("sealwright sign-blob a --trust-config c --trusted-root r").is_err());
        assert!(parse("sealwright sign-blob a --trust-config c --profile p").is_err());
        assert!(parse("sealwright sign-blob a --trusted-root r --signing-config s").is_ok());
    }
}
