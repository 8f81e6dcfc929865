//! One module a verb.

mod bundle;
mod certificate;
pub(crate) mod expectation;
mod identity;
mod login;
mod own_pki;
pub(crate) mod sign;
mod token;
mod trust;
pub(crate) mod verify;

use clap::CommandFactory as _;
use sealwright_sdk::Error;
use serde_json::json;

use crate::args::{BundleCommand, Cli, Command, Trust};
use crate::environment::Environment;
use crate::output::Report;

pub(crate) async fn run(command: &Command, environment: &Environment) -> Result<Report, Error> {
    match command {
        Command::SignBlob(args) => sign::sign_blob(args, environment).await,
        Command::AttestBlob(args) => sign::attest_blob(args, environment).await,
        Command::VerifyBlob(args) => verify::verify_blob(args, environment).await,
        Command::VerifyBlobAttestation(args) => {
            verify::verify_blob_attestation(args, environment).await
        }
        Command::Certificate(args) => certificate::certificate(args, environment).await,
        Command::Token(args) => token::token(args, environment).await,
        Command::Trust(Trust::Init(args)) => trust::init(args, environment).await,
        Command::Bundle(BundleCommand::Inspect { bundle }) => bundle::inspect(bundle),
        Command::Version => Ok(version()),
        Command::Completion { shell } => Ok(completion(*shell)),
    }
}

fn version() -> Report {
    let version = env!("CARGO_PKG_VERSION");
    let json = json!({ "name": "sealwright", "version": version }).to_string();
    Report {
        product: format!("sealwright {version}"),
        json,
        ..Report::default()
    }
}

fn completion(shell: clap_complete::Shell) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sealwright", &mut script);
    let product = String::from_utf8_lossy(&script).into_owned();
    let json = json!({ "shell": shell.to_string(), "script": product }).to_string();
    Report {
        product,
        json,
        ..Report::default()
    }
}
