//! `sealwrightd demo`: the five-minute story, told by doing it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use sealwright_host::SharedClock;
use sealwright_sdk::bundle::{IdentityRule, Policy, Verified};
use sealwright_sdk::{
    Artifact, Error as SdkError, Http, HttpOptions, IdentityToken, MintRequest, Signed,
    SigningContext, TrustConfig, mint, verify,
};

use crate::{Stack, StackConfig};

/// Whom the demo signs as.
const EMAIL: &str = "dev@example.com";
const SAMPLE: &[u8] = b"Signed by an identity, with no key to keep.\n";

/// Tells what happens, numbering the steps and timing them.
struct Story<W> {
    out: W,
    steps: usize,
}

impl<W: Write> Story<W> {
    fn step(&mut self, took: Duration, sentence: &str) -> std::io::Result<()> {
        self.steps += 1;
        let took = format!("{:.1} ms", took.as_secs_f64() * 1000.0);
        writeln!(self.out, "{}. {sentence}  [{took}]", self.steps)
    }

    fn detail(&mut self, name: &str, value: &str) -> std::io::Result<()> {
        writeln!(self.out, "     {name:<12} {value}")
    }
}

/// Runs the story on `file`, or on a sample, telling it on `out`. The file is only read.
///
/// # Errors
/// Any step that does not end as it should, also when the changed file is not refused.
pub async fn demo(file: Option<&Path>, clock: SharedClock, out: impl Write) -> anyhow::Result<()> {
    let mut story = Story { out, steps: 0 };
    let scratch = tempfile::tempdir().context("a temporary directory")?;
    let artifact = artifact(file, scratch.path())?;

    let began = Instant::now();
    let mut config = StackConfig::dev(scratch.path().join("dev"));
    config.listen = Some(([127, 0, 0, 1], 0).into());
    config.clock = clock.clone();
    let stack = Stack::start(config).await?;
    story.step(
        began.elapsed(),
        "Started a whole stack: certificate authority, logs, timestamp authority, trust root",
    )?;
    story.detail("address", &stack.endpoints().console)?;

    let outcome = sign_and_verify(&mut story, &stack, &artifact, scratch.path(), &clock).await;
    stack.shutdown().await;
    outcome?;
    writeln!(
        story.out,
        "\nTry it yourself: sealwrightd dev --dir ./sealwright-dev, then sealwright sign-blob --help"
    )?;
    Ok(())
}

fn artifact(file: Option<&Path>, scratch: &Path) -> anyhow::Result<PathBuf> {
    if let Some(file) = file {
        ensure!(file.is_file(), "{} is not a file", file.display());
        return Ok(file.to_owned());
    }
    let sample = scratch.join("sample.txt");
    std::fs::write(&sample, SAMPLE)
        .with_context(|| format!("cannot write {}", sample.display()))?;
    Ok(sample)
}

async fn sign_and_verify<W: Write>(
    story: &mut Story<W>,
    stack: &Stack,
    artifact: &Path,
    scratch: &Path,
    clock: &SharedClock,
) -> anyhow::Result<()> {
    let http = Arc::new(Http::new(HttpOptions::default()));
    let issuer = stack
        .endpoints()
        .oidc
        .clone()
        .context("a development stack has an identity provider")?;

    let began = Instant::now();
    let request = MintRequest {
        email: Some(EMAIL.to_owned()),
        ..MintRequest::default()
    };
    let token = IdentityToken::parse(&mint(&http, &issuer, &request).await?)?;
    story.step(
        began.elapsed(),
        &format!("Logged in as {EMAIL}: an identity token, good for minutes"),
    )?;

    let began = Instant::now();
    let trust = Arc::new(TrustConfig::from_file(
        &stack.client_file("trust_config.json"),
    )?);
    let signed = sign(&trust, &http, clock, token, artifact).await?;
    story.step(
        began.elapsed(),
        &format!(
            "Signed {} with a key that existed only for this signature",
            artifact.display()
        ),
    )?;
    tell_about(story, &signed)?;
    let bundle = scratch.join("signed.sigstore.json");
    std::fs::write(&bundle, signed.to_json())?;

    let began = Instant::now();
    judge(&trust, clock, &bundle, artifact, &issuer).await?;
    story.step(began.elapsed(), &format!("Verified, without asking any server: signed by {EMAIL}, who was vouched for by {issuer}"))?;

    let changed = scratch.join("changed");
    let mut bytes = std::fs::read(artifact)?;
    bytes.push(b'!');
    std::fs::write(&changed, bytes)?;
    let began = Instant::now();
    match judge(&trust, clock, &bundle, &changed, &issuer).await {
        Err(SdkError::Refused(why)) => {
            story.step(began.elapsed(), "Refused the same file with one byte added")?;
            story.detail("because", &why.to_string())?;
            Ok(())
        }
        Err(other) => Err(other).context("the changed file was not judged"),
        Ok(_) => bail!("the changed file was accepted"),
    }
}

async fn sign(
    trust: &Arc<TrustConfig>,
    http: &Arc<Http>,
    clock: &SharedClock,
    token: IdentityToken,
    artifact: &Path,
) -> Result<Signed, SdkError> {
    let clock = clock.clone();
    let context = SigningContext::new(trust.clone(), http.clone(), Arc::new(move || clock.unix()))?;
    let session = context.keyless(token).await?;
    session.sign(&Artifact::Path(artifact.to_owned())).await
}

async fn judge(
    trust: &TrustConfig,
    clock: &SharedClock,
    bundle: &Path,
    artifact: &Path,
    issuer: &str,
) -> Result<Verified, SdkError> {
    let bundle = sealwright_sdk::read_bundle(bundle)?;
    let policy = Policy::signed_by_identity(IdentityRule::exact(EMAIL, issuer)?).blob();
    verify(
        &bundle,
        &Artifact::Path(artifact.to_owned()),
        trust.trusted_root(),
        &policy,
        clock.unix(),
    )
    .await
}

fn tell_about<W: Write>(story: &mut Story<W>, signed: &Signed) -> anyhow::Result<()> {
    if let Some(certificate) = signed.certificate() {
        let minutes = (certificate.not_after() - certificate.not_before()) / 60;
        story.detail(
            "certificate",
            &format!(
                "serial {}, valid for {minutes} minutes, promised by the CT log",
                certificate.serial_hex()
            ),
        )?;
    }
    let logs: Vec<_> = signed
        .verified()
        .logs()
        .iter()
        .map(|log| format!("{log:?}"))
        .collect();
    story.detail(
        "log",
        &format!(
            "{} inclusion proof checked against a signed checkpoint",
            logs.len()
        ),
    )?;
    Ok(())
}
