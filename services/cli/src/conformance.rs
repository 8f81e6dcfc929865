//! `sealwright-conformance`: the protocol by which the published conformance suite drives a client.
//!
//! The suite knows one public instance and names it by leaving trust material out. Nobody's instance is built in here: who
//! runs the suite says what stands for it, in `SEALWRIGHT_CONFORMANCE_TRUST` (and for `--staging` in
//! `SEALWRIGHT_CONFORMANCE_STAGING_TRUST`). Either names a file with a trusted root, or with a client trust configuration,
//! which also says where to sign.
//!
//! Nothing is decided here. A bundle may hold a bare signature or a statement of any type, since the suite has both and does
//! not say which; otherwise the policy is the one that every verifier starts from. Exit codes are those of `sealwright`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sealwright_sdk::bundle::policy::{PredicateTypes, SignerChosen};
use sealwright_sdk::bundle::{IdentityRule, Policy, TrustedRoot};
use sealwright_sdk::{
    Artifact, CLIENT_TRUST_CONFIG_MEDIA_TYPE, Error, SigningContext, TokenSource, TrustConfig,
    read_bundle, read_capped, verify, write_atomically,
};
use serde::Deserialize;

use crate::args::Output;
use crate::commands::expectation::public_key;
use crate::commands::sign::{MAX_STATEMENT_BYTES, check_places};
use crate::commands::verify::describe;
use crate::environment::Environment;
use crate::output::Report;

/// What stands for the instance that the suite means when it names no trust material.
const TRUST_VARIABLE: &str = "SEALWRIGHT_CONFORMANCE_TRUST";
/// The same for the instance that it calls staging.
const STAGING_VARIABLE: &str = "SEALWRIGHT_CONFORMANCE_STAGING_TRUST";
/// As much as the SDK reads of such a file.
const MAX_TRUST_BYTES: usize = 16 * 1024 * 1024;
/// The suite sets no limit; nothing it asks for takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// The client under test, as the published conformance suite calls it.
#[derive(Debug, Parser)]
#[command(
    name = "sealwright-conformance",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign a file, or a statement, with an identity token.
    SignBundle(SignBundle),
    /// Verify a bundle against a file or a digest.
    VerifyBundle(VerifyBundle),
}

/// Which instance is meant.
#[derive(Debug, Args)]
struct Instance {
    /// The instance that SEALWRIGHT_CONFORMANCE_STAGING_TRUST describes instead of the one of SEALWRIGHT_CONFORMANCE_TRUST.
    #[arg(long)]
    staging: bool,

    /// Trusted root file to use instead of the instance's.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct SignBundle {
    #[command(flatten)]
    instance: Instance,

    /// Signing configuration file to use instead of the instance's.
    #[arg(long, value_name = "FILE")]
    signing_config: Option<PathBuf>,

    /// FILE is an in-toto statement, to be signed byte for byte.
    #[arg(long)]
    in_toto: bool,

    /// Identity token.
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    identity_token: String,

    /// Where the bundle goes.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,

    /// What is signed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct VerifyBundle {
    #[command(flatten)]
    instance: Instance,

    /// Bundle to verify.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,

    /// The identity that must have signed; compared exactly.
    #[arg(
        long,
        value_name = "IDENTITY",
        required_unless_present = "key",
        conflicts_with = "key"
    )]
    certificate_identity: Option<String>,

    /// The issuer that must have vouched for it; compared exactly.
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "key",
        conflicts_with = "key"
    )]
    certificate_oidc_issuer: Option<String>,

    /// Public key file in PEM that must have signed, instead of an identity.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// What was signed: a file, or its digest as sha256:HEX. For a statement, one of its subjects.
    #[arg(value_name = "FILE|DIGEST")]
    file: String,
}

/// Runs the program with the process's own arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return crate::usage(&error),
    };
    let name = match &cli.command {
        Command::SignBundle(_) => "sign-bundle",
        Command::VerifyBundle(_) => "verify-bundle",
    };
    crate::start_log(false);
    crate::drive(Output::Text, name, LIMIT, async |environment| {
        match &cli.command {
            Command::SignBundle(args) => sign_bundle(args, environment).await,
            Command::VerifyBundle(args) => verify_bundle(args, environment).await,
        }
    })
}

async fn sign_bundle(args: &SignBundle, environment: &Environment) -> Result<Report, Error> {
    check_places(std::slice::from_ref(&args.bundle), [&args.file])?;
    let token = TokenSource::from_argument(&args.identity_token).read()?;
    let mut trust = args.instance.trust()?;
    if let Some(path) = &args.signing_config {
        trust = trust.with_signing_config_file(path)?;
    }
    let (http, clock) = (&environment.http, &environment.clock);
    let context = SigningContext::new(Arc::new(trust), Arc::clone(http), Arc::clone(clock))?;
    // What cannot be read is found before a certificate is asked for.
    let statement = args
        .in_toto
        .then(|| read_capped("statement", &args.file, MAX_STATEMENT_BYTES))
        .transpose()?;
    let session = context.keyless(token).await?;
    let signed = match statement {
        Some(statement) => session.attest(statement).await?,
        None => session.sign(&Artifact::Path(args.file.clone())).await?,
    };
    write_atomically("bundle", &args.bundle, signed.to_json().as_bytes())?;
    let mut text = format!("Signed {}\n", args.file.display());
    describe(&mut text, signed.verified(), &["ARTIFACT_UNBOUND"]);
    Ok(Report {
        text,
        ..Report::default()
    })
}

async fn verify_bundle(args: &VerifyBundle, environment: &Environment) -> Result<Report, Error> {
    let policy = args.signer()?.blob_or_attestation(PredicateTypes::Any);
    let trust = args.instance.trust()?;
    let bundle = read_bundle(&args.bundle)?;
    let artifact = Artifact::from_argument(&args.file);
    let now = environment.now();
    let verified = verify(&bundle, &artifact, trust.trusted_root(), &policy, now).await?;
    let mut text = "Verified OK\n".to_owned();
    describe(&mut text, &verified, &[]);
    Ok(Report {
        text,
        ..Report::default()
    })
}

impl VerifyBundle {
    fn signer(&self) -> Result<SignerChosen, Error> {
        if let Some(path) = &self.key {
            return Ok(Policy::signed_by_key(public_key(path)?));
        }
        // The parser has made sure that both are there; an empty one is refused below.
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (subject, issuer) = (
            text(&self.certificate_identity),
            text(&self.certificate_oidc_issuer),
        );
        Ok(Policy::signed_by_identity(IdentityRule::exact(
            subject, issuer,
        )?))
    }
}

impl Instance {
    /// The trust material of the flags, or else of the variable. A trusted root that is given outweighs the variable's, whose
    /// signing configuration stays.
    fn trust(&self) -> Result<TrustConfig, Error> {
        let variable = if self.staging {
            STAGING_VARIABLE
        } else {
            TRUST_VARIABLE
        };
        let set = std::env::var_os(variable).filter(|value| !value.is_empty());
        match (&self.trusted_root, set) {
            (Some(path), None) => TrustConfig::from_files(path, None),
            (None, Some(file)) => read_trust(Path::new(&file)),
            (Some(path), Some(file)) => {
                let given = TrustConfig::from_files(path, None)?;
                let config = read_trust(Path::new(&file))?.signing_config().cloned();
                let root = given.trusted_root().clone();
                Ok(TrustConfig::from_parts(given.origin(), root, config))
            }
            (None, None) => Err(Error::TrustMissing {
                problem: format!(
                    "{variable} is not set; name a file there with the trusted root (or the client trust configuration) of the \
                     instance that is meant, or give --trusted-root FILE"
                ),
            }),
        }
    }
}

/// Reads a trusted root or a client trust configuration, whichever the file says it is.
fn read_trust(path: &Path) -> Result<TrustConfig, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        media_type: Option<String>,
    }
    let json = read_capped("trust material", path, MAX_TRUST_BYTES).map_err(|error| {
        Error::TrustMissing {
            problem: error.to_string(),
        }
    })?;
    let origin = path.display().to_string();
    let head: Option<Head> = serde_json::from_slice(&json).ok();
    if head.and_then(|head| head.media_type).as_deref() == Some(CLIENT_TRUST_CONFIG_MEDIA_TYPE) {
        return TrustConfig::from_client_trust_config(&origin, &json);
    }
    let root = TrustedRoot::parse(&json).map_err(|error| Error::TrustInvalid {
        origin: origin.clone(),
        problem: error.to_string(),
    })?;
    Ok(TrustConfig::from_parts(origin, root, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use sealwright_testkit::bundle_factory::World;
    use serde_json::{Value, json};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = line.split_whitespace();
        Cli::try_parse_from(std::iter::once("sealwright-conformance").chain(words))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_lines_of_the_protocol_are_understood() {
        for line in [
            "sign-bundle --identity-token t --bundle b f",
            "sign-bundle --staging --in-toto --identity-token t --bundle b --trusted-root r --signing-config s f",
            "verify-bundle --bundle b --certificate-identity i --certificate-oidc-issuer u f",
            "verify-bundle --staging --bundle b --certificate-identity i --certificate-oidc-issuer u --trusted-root r f",
            "verify-bundle --bundle b --key k sha256:00",
            "verify-bundle --bundle b --key k --trusted-root r f",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_verifier_has_to_be_told_whom_it_expects() {
        for line in [
            "verify-bundle --bundle b f",
            "verify-bundle --bundle b --certificate-identity i f",
            "verify-bundle --bundle b --certificate-oidc-issuer u f",
            "verify-bundle --bundle b --key k --certificate-identity i --certificate-oidc-issuer u f",
            "verify-bundle --key k f",
            "sign-bundle --bundle b f",
            "sign",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn trust_material_is_a_root_or_a_configuration() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("trust.json");
        let root = World::new().trusted_root_json();
        std::fs::write(&file, &root).expect("it is written");
        let trust = read_trust(&file).expect("a trusted root");
        assert!(trust.signing_config().is_none());
        assert_eq!(trust.trusted_root().certificate_authorities().len(), 1);

        let root: Value = serde_json::from_str(&root).expect("JSON");
        let services = json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "rekorTlogConfig": { "selector": "ANY" }, "tsaConfig": { "selector": "ANY" },
        });
        let both = json!({
            "mediaType": CLIENT_TRUST_CONFIG_MEDIA_TYPE, "trustedRoot": root, "signingConfig": services,
        });
        std::fs::write(&file, both.to_string()).expect("it is written");
        let trust = read_trust(&file).expect("a client trust configuration");
        assert!(trust.signing_config().is_some());
    }

    #[test]
    fn what_is_no_trust_material_is_not_taken_for_some() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("trust.json");
        for text in [
            "",
            "{}",
            "[]",
            "{\"mediaType\":7}",
            "{\"mediaType\":\"text/plain\"}",
        ] {
            std::fs::write(&file, text).expect("it is written");
            let error = read_trust(&file).expect_err(text);
            assert!(
                matches!(error, Error::TrustInvalid { .. }),
                "{text}: {error}"
            );
        }
        let error = read_trust(&dir.path().join("absent")).expect_err("there is no file");
        assert!(matches!(error, Error::TrustMissing { .. }), "{error}");
    }
}
