//! Drives the published crates `sigstore-sign`, `sigstore-verify` and `sigstore-trust-root` by the protocol that
//! `integration-tests/src/strangers/driver.rs` describes. It calls what they publish and decides nothing itself.
//!
//! Exit code 0: done, accepted. 10: the crates refused the bundle. 2: anything else, which is never a verdict.

use std::{collections::HashMap, error::Error, fs, path::PathBuf, process::ExitCode};

use sigstore_sign::{SigningContext, SigningServices, oidc::IdentityToken, types::Bundle};
use sigstore_trust_root::{SigningConfig, TrustedRoot, TufBootstrap, TufConfig};
use sigstore_verify::{Error as Refusal, VerificationPolicy, Verifier};

/// What went wrong in a way that says nothing about a bundle.
type Broken = Box<dyn Error>;

/// The command line, with each flag's value by its name.
struct Request {
    verb: String,
    flags: HashMap<String, String>,
    artifact: Option<String>,
}

impl Request {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Broken> {
        let verb = words.next().ok_or("the verb is missing")?;
        let (mut flags, mut artifact) = (HashMap::new(), None);
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => {
                    let value = words
                        .next()
                        .ok_or_else(|| format!("{word} lacks its value"))?;
                    flags.insert(name.to_owned(), value);
                }
                None if artifact.is_none() => artifact = Some(word),
                None => return Err(format!("one artifact at a time; {word:?} is a second").into()),
            }
        }
        Ok(Self {
            verb,
            flags,
            artifact,
        })
    }

    fn optional(&self, flag: &str) -> Option<&str> {
        self.flags.get(flag).map(String::as_str)
    }

    fn flag(&self, flag: &str) -> Result<&str, Broken> {
        self.optional(flag)
            .ok_or_else(|| format!("--{flag} is missing").into())
    }

    fn artifact(&self) -> Result<Vec<u8>, Broken> {
        let path = self.artifact.as_ref().ok_or("the artifact is missing")?;
        Ok(fs::read(path)?)
    }

    /// The TUF repository, where the request names one.
    fn tuf(&self) -> Result<Option<TufConfig>, Broken> {
        let Some(url) = self.optional("tuf") else {
            return Ok(None);
        };
        let root = fs::read(self.flag("root")?)?;
        let cache = PathBuf::from(self.flag("cache")?);
        Ok(Some(
            TufConfig::custom(url, TufBootstrap::trusted(root)).with_cache_dir(cache),
        ))
    }

    async fn trusted_root(&self) -> Result<TrustedRoot, Broken> {
        match self.tuf()? {
            Some(tuf) => Ok(TrustedRoot::from_tuf(tuf).await?),
            None => Ok(TrustedRoot::from_file(self.flag("trusted-root")?)?),
        }
    }

    async fn signing_context(&self) -> Result<SigningContext, Broken> {
        let config = match self.tuf()? {
            Some(tuf) => SigningConfig::from_tuf(tuf).await?,
            None => SigningConfig::from_file(self.flag("signing-config")?)?,
        };
        let services = SigningServices::from_signing_config(&config)?;
        // The crates log in at the issuer that the signing config names; the request says which one that has to be.
        match (self.optional("login"), services.oidc_url()) {
            (Some(issuer), given) if given != Some(issuer) => {
                Err(format!("the signing config names {given:?}, not {issuer}").into())
            }
            _ => Ok(SigningContext::new(services)),
        }
    }
}

async fn bootstrap(request: &Request) -> Result<(), Broken> {
    let tuf = request.tuf()?.ok_or("--tuf is missing")?;
    sigstore_trust_root::fetch_trust_material(tuf).await?;
    Ok(())
}

async fn sign(request: &Request) -> Result<(), Broken> {
    let context = request.signing_context().await?;
    let signer = match request.optional("login") {
        Some(_) => context.authenticate().await?,
        None => {
            let token = fs::read_to_string(request.flag("token-file")?)?;
            context.signer(IdentityToken::from_jwt(token.trim())?)
        }
    };
    let bundle = match request.optional("statement") {
        Some(statement) => signer.sign_raw_statement(&fs::read(statement)?).await?,
        None => signer.sign(&request.artifact()?).await?,
    };
    Ok(fs::write(request.flag("bundle")?, bundle.to_json()?)?)
}

/// The outer result says whether there is a verdict, the inner one which.
async fn verify(request: &Request) -> Result<Result<(), String>, Broken> {
    let root = request.trusted_root().await?;
    let verifier = Verifier::new(&root)?;
    let policy = VerificationPolicy::new(request.flag("identity")?, request.flag("issuer")?);
    let artifact = request.artifact()?;
    let bundle = match Bundle::from_json(&fs::read_to_string(request.flag("bundle")?)?) {
        Ok(bundle) => bundle,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match verifier.verify(&artifact, &bundle, &policy) {
        Ok(_) => Ok(Ok(())),
        Err(
            broken @ (Refusal::TrustRoot(_)
            | Refusal::InvalidTrustRoot(_)
            | Refusal::TrustedCertificate(_)
            | Refusal::ArtifactRead(_)
            | Refusal::UnsupportedArtifact(_)),
        ) => Err(broken.into()),
        Err(refusal) => Ok(Err(refusal.to_string())),
    }
}

async fn run() -> Result<Result<(), String>, Broken> {
    let request = Request::parse(std::env::args().skip(1))?;
    match request.verb.as_str() {
        "bootstrap" => bootstrap(&request).await.map(Ok),
        "sign" | "attest" => sign(&request).await.map(Ok),
        "verify" | "verify-attestation" => verify(&request).await,
        other => Err(format!("{other:?} is no verb of the protocol").into()),
    }
}

/// An error with all its causes, outermost first.
fn told(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(refusal)) => {
            eprintln!("{refusal}");
            ExitCode::from(10)
        }
        Err(error) => {
            eprintln!("{}", told(error.as_ref()));
            ExitCode::from(2)
        }
    }
}
