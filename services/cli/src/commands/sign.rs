//! `sign-blob` and `attest-blob`.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwright_sdk::bundle::statement::{COSIGN_CUSTOM, STATEMENT_V1, Statement};
use sealwright_sdk::crypto::{Algorithm, HashAlgorithm, KeyType, MemorySigner, PrivateKey};
use sealwright_sdk::{
    Artifact, Error, OwnCertificate, Signed, SigningContext, SigningSession, Verdict, open_input,
    read_capped, rfc3339, signing_algorithm, write_atomically,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::args::{AttestBlob, SignBlob, SigningArgs, TrustArgs};
use crate::commands::identity::Source;
use crate::commands::own_pki;
use crate::commands::trust;
use crate::commands::verify::describe;
use crate::environment::Environment;
use crate::output::{Report, failure_text, failure_value};

/// Artifacts signed at the same time.
const PARALLEL: usize = 8;
const BUNDLE_SUFFIX: &str = ".sigstore.json";
/// A statement becomes base64 in a bundle, which verifiers read up to 32 MiB of.
pub(crate) const MAX_STATEMENT_BYTES: usize = 16 * 1024 * 1024;
/// The largest RSA key in PEM is a fraction of this.
pub(crate) const MAX_KEY_BYTES: usize = 64 * 1024;

/// The names cosign gives to predicate types.
const PREDICATE_TYPES: [(&str, &str); 11] = [
    ("custom", COSIGN_CUSTOM),
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("link", "https://in-toto.io/Link/v1"),
    ("spdx", "https://spdx.dev/Document"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("sign", "https://sigstore.dev/cosign/sign/v1"),
];

/// The URI for one of cosign's names, or the URI itself.
pub(crate) fn predicate_type(name: &str) -> Result<String, Error> {
    if let Some((_, uri)) = PREDICATE_TYPES.iter().find(|(known, _)| *known == name) {
        return Ok((*uri).to_owned());
    }
    if name.contains(':') {
        return Ok(name.to_owned());
    }
    let names = PREDICATE_TYPES.map(|(known, _)| known).join(", ");
    Err(Error::Input {
        what: format!("--type {name:?}"),
        problem: format!("expected a URI or one of {names}"),
    })
}

/// `sign-blob`: every file gets a bundle, all by one key and certificate. A file that fails does not stop the others.
pub(crate) async fn sign_blob(args: &SignBlob, environment: &Environment) -> Result<Report, Error> {
    let places = bundle_places(&args.files, args.bundle.as_deref())?;
    check_places(&places, &args.files)?;
    let artifacts = args
        .files
        .iter()
        .map(|file| open_artifact(file))
        .collect::<Result<Vec<_>, _>>()?;
    let (session, source) = session(&args.signing, environment).await?;
    let outcomes = session.sign_all(artifacts, PARALLEL).await;
    let mut report = Report::default();
    let mut entries = Vec::new();
    for ((file, place), outcome) in args.files.iter().zip(&places).zip(outcomes) {
        let written = outcome.and_then(|signed| write_bundle(place, &signed).map(|()| signed));
        match written {
            Ok(signed) => entries.push(describe_signed(&mut report.text, file, place, &signed)),
            // One file, one answer: the error is the command's.
            Err(error) if args.files.len() == 1 => return Err(error),
            Err(error) => {
                let _ = write!(report.text, "{}: {}", file.display(), failure_text(&error));
                report.worst = Some(worse(report.worst, error.verdict()));
                entries.push(json!({ "file": file, "error": failure_value(&error) }));
            }
        }
    }
    report.json =
        json!({ "signed": report.worst.is_none(), "tokenSource": source, "files": entries })
            .to_string();
    Ok(report)
}

/// Refusal outranks doubt, and doubt a question put wrongly.
fn worse(so_far: Option<Verdict>, next: Verdict) -> Verdict {
    match (so_far, next) {
        (Some(Verdict::Refused), _) | (_, Verdict::Refused) => Verdict::Refused,
        (Some(Verdict::Undecided), _) | (_, Verdict::Undecided) => Verdict::Undecided,
        _ => Verdict::Usage,
    }
}

/// Where each bundle goes.
fn bundle_places(files: &[PathBuf], bundle: Option<&Path>) -> Result<Vec<PathBuf>, Error> {
    let beside = |file: &PathBuf| {
        let mut name = file.as_os_str().to_owned();
        name.push(BUNDLE_SUFFIX);
        PathBuf::from(name)
    };
    let usage = |what: String, problem: &str| Error::Input {
        what,
        problem: problem.to_owned(),
    };
    match (bundle, files) {
        (None, files) if files.iter().any(|file| is_standard_input(file)) => Err(usage(
            "--bundle".into(),
            "it is needed to name the bundle of standard input",
        )),
        (None, files) => Ok(files.iter().map(beside).collect()),
        (Some(place), [_]) if !place.is_dir() => Ok(vec![place.to_owned()]),
        (Some(place), files) if place.is_dir() => {
            let named = |file: &PathBuf| file.file_name().map(|name| beside(&place.join(name)));
            let places: Option<Vec<_>> = files.iter().map(named).collect();
            places.ok_or_else(|| {
                usage(
                    format!("--bundle {}", place.display()),
                    "a file without a name cannot be placed in it",
                )
            })
        }
        (Some(place), _) => Err(usage(
            format!("--bundle {}", place.display()),
            "one file cannot hold the bundles of several; name a directory, or leave it out",
        )),
    }
}

/// Refuses a bundle that would replace what was signed, or another bundle of the same run, before anything is sent.
pub(crate) fn check_places<'a>(
    places: &[PathBuf],
    inputs: impl IntoIterator<Item = &'a PathBuf> + Clone,
) -> Result<(), Error> {
    let refuse = |place: &Path, problem: String| {
        let what = format!("--bundle {}", place.display());
        Err(Error::Input { what, problem })
    };
    for (index, place) in places.iter().enumerate() {
        if let Some(input) = inputs
            .clone()
            .into_iter()
            .find(|input| is_same_file(place, input))
        {
            let problem = format!(
                "it would replace {}, which is being signed",
                input.display()
            );
            return refuse(place, problem);
        }
        // Pipes and devices take one bundle after the other.
        let regular = !std::fs::metadata(place).is_ok_and(|found| !found.is_file());
        if regular && places.iter().take(index).any(|earlier| earlier == place) {
            let problem =
                "two of the files have the same name and would share it; sign them one by one";
            return refuse(place, problem.to_owned());
        }
    }
    Ok(())
}

/// Whether two names lead to one regular file, also by way of links.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let (Ok(a), Ok(b)) = (std::fs::metadata(a), std::fs::metadata(b)) else {
        return false;
    };
    a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn open_artifact(file: &Path) -> Result<Artifact, Error> {
    if !is_standard_input(file) {
        if file.to_str().is_some_and(crate::is_token) {
            let problem =
                "an identity token was given where a file belongs; put it after --identity-token";
            return Err(Error::Input {
                what: "FILE".into(),
                problem: problem.into(),
            });
        }
        // What is missing, or cannot be signed, is found before anything is sent.
        open_input("artifact", file)?;
        return Ok(Artifact::Path(file.to_owned()));
    }
    // Streamed like any other file.
    Ok(Artifact::Path("/dev/stdin".into()))
}

/// `attest-blob`.
pub(crate) async fn attest_blob(
    args: &AttestBlob,
    environment: &Environment,
) -> Result<Report, Error> {
    let inputs = [&args.file, &args.statement, &args.predicate];
    check_places(
        std::slice::from_ref(&args.bundle),
        inputs.into_iter().flatten(),
    )?;
    let statement = statement(args).await?;
    let (session, token_source) = session(&args.signing, environment).await?;
    let signed = session.attest(statement).await?;
    write_bundle(&args.bundle, &signed)?;
    let source = args.statement.as_ref().or(args.file.as_ref());
    let mut report = Report::default();
    let entry = describe_signed(
        &mut report.text,
        source.map_or(Path::new(""), PathBuf::as_path),
        &args.bundle,
        &signed,
    );
    report.json =
        json!({ "signed": true, "tokenSource": token_source, "files": [entry] }).to_string();
    Ok(report)
}

/// The statement to sign: the caller's bytes, or one made from a predicate.
async fn statement(args: &AttestBlob) -> Result<Vec<u8>, Error> {
    let read = |what, path: &Path| read_capped(what, path, MAX_STATEMENT_BYTES);
    let (Some(predicate), Some(file)) = (&args.predicate, &args.file) else {
        let path = args.statement.as_deref().unwrap_or(Path::new(""));
        let bytes = read("statement", path)?;
        if let Some(file) = &args.file {
            names(&bytes, path, file).await?;
        }
        return Ok(bytes);
    };
    let predicate_type = args
        .predicate_type
        .as_deref()
        .map_or(Ok(COSIGN_CUSTOM.to_owned()), predicate_type)?;
    let text = String::from_utf8(read("predicate", predicate)?)
        .map_err(|_| not_json(predicate, "it is not UTF-8"))?;
    let predicate =
        RawValue::from_string(text).map_err(|error| not_json(predicate, &error.to_string()))?;
    let digest = Artifact::Path(file.clone())
        .digest(HashAlgorithm::Sha256)
        .await?;
    let subject = Subject {
        name: file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        digest: Sha256 {
            sha256: hex(digest.as_bytes()),
        },
    };
    let statement = Written {
        statement_type: STATEMENT_V1,
        subject: [subject],
        predicate_type: &predicate_type,
        predicate: &predicate,
    };
    serde_json::to_vec(&statement).map_err(|error| Error::Internal(format!("statement: {error}")))
}

#[derive(serde::Serialize)]
struct Written<'a> {
    #[serde(rename = "_type")]
    statement_type: &'static str,
    subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    predicate: &'a RawValue,
}

#[derive(serde::Serialize)]
struct Subject {
    name: String,
    digest: Sha256,
}

#[derive(serde::Serialize)]
struct Sha256 {
    sha256: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn not_json(path: &Path, problem: &str) -> Error {
    Error::Input {
        what: format!("predicate {}", path.display()),
        problem: format!("{problem}; expected JSON"),
    }
}

/// Refuses a statement that is about another file than the one it was given with.
async fn names(statement: &[u8], path: &Path, file: &Path) -> Result<(), Error> {
    let parsed = Statement::parse(statement)?;
    for algorithm in parsed.digest_algorithms() {
        let digest = Artifact::Path(file.to_owned()).digest(algorithm).await?;
        if parsed.subject_with(&digest).is_some() {
            return Ok(());
        }
    }
    Err(Error::Input {
        what: format!("statement {}", path.display()),
        problem: format!(
            "{} is not among its subjects; leave the file out to sign the statement as it is",
            file.display()
        ),
    })
}

/// The session that the flags ask for, and where the identity comes from if it is one.
async fn session(
    args: &SigningArgs,
    environment: &Environment,
) -> Result<(SigningSession, Option<String>), Error> {
    // Whatever can be wrong with key or token is found before the network is needed.
    let signer = match &args.key {
        Some(path) => Signer::Key(
            read_key(path)?,
            own_pki::signing_certificate(&args.own_certificate)?,
        ),
        None => Signer::Identity(Box::new(Source::choose(
            &args.identity,
            &args.trust,
            environment,
        )?)),
    };
    let mut context = context(&args.trust, args.signing_config.as_deref(), environment).await?;
    if let Some(name) = &args.signing_algorithm {
        context = context.with_key_type(key_type(name)?);
    }
    match signer {
        Signer::Key(key, certificate) => {
            let algorithm = signing_algorithm(key.key_type());
            let signer = Arc::new(MemorySigner::with_algorithm(key, algorithm)?);
            let session = match certificate {
                Some(certificate) => context.with_certificate(signer, certificate)?,
                None => context.with_key(signer)?,
            };
            Ok((session, None))
        }
        Signer::Identity(source) => {
            let name = source.name();
            let (context, token) = source.obtain(context, environment).await?;
            Ok((context.keyless(token).await?, Some(name)))
        }
    }
}

/// Who signs.
enum Signer {
    /// A key, and its certificate of an own PKI if it has one.
    Key(PrivateKey, Option<OwnCertificate>),
    Identity(Box<Source>),
}

/// Trust material and services.
pub(crate) async fn context(
    trust: &TrustArgs,
    signing_config: Option<&Path>,
    environment: &Environment,
) -> Result<SigningContext, Error> {
    let mut trust = trust::load(trust, environment).await?.trust;
    if let Some(path) = signing_config {
        trust = trust.with_signing_config_file(path)?;
    }
    SigningContext::new(
        Arc::new(trust),
        Arc::clone(&environment.http),
        Arc::clone(&environment.clock),
    )
}

pub(crate) fn read_key(path: &Path) -> Result<PrivateKey, Error> {
    let pem = read_capped("key", path, MAX_KEY_BYTES)?;
    let refuse = |error: &dyn std::fmt::Display| Error::Input {
        what: format!("--key {}", path.display()),
        problem: format!(
            "{error}; expected an unencrypted private key in PEM: PKCS#8, SEC1 or PKCS#1"
        ),
    };
    let pem = std::str::from_utf8(&pem).map_err(|error| refuse(&error))?;
    PrivateKey::from_pem(pem).map_err(|error| refuse(&error))
}

/// The key type for the name of a signing algorithm.
pub(crate) fn key_type(name: &str) -> Result<KeyType, Error> {
    let algorithm = Algorithm::from_cli_name(name);
    let usable =
        algorithm.filter(|algorithm| signing_algorithm(algorithm.key_type()) == *algorithm);
    usable.map(Algorithm::key_type).ok_or_else(|| Error::Input {
        what: format!("--signing-algorithm {name:?}"),
        problem: "expected ecdsa-sha2-256-nistp256, ecdsa-sha2-384-nistp384, ecdsa-sha2-512-nistp521, ed25519-ph, \
                  rsa-sign-pkcs1-3072-sha256 or rsa-sign-pkcs1-4096-sha256"
            .into(),
    })
}

fn write_bundle(place: &Path, signed: &Signed) -> Result<(), Error> {
    let mut json = signed.to_json();
    json.push('\n');
    write_atomically("bundle", place, json.as_bytes())
}

fn describe_signed(text: &mut String, file: &Path, place: &Path, signed: &Signed) -> Value {
    let verified = signed.verified();
    let _ = writeln!(
        text,
        "Signed {}\n  bundle:    {}",
        file.display(),
        place.display()
    );
    // A statement was signed, and no artifact was at hand to compare it with.
    describe(text, verified, &["ARTIFACT_UNBOUND"]);
    if let Some(certificate) = signed.certificate() {
        let _ = writeln!(
            text,
            "  expiry:    {} (of the certificate)",
            rfc3339(certificate.not_after())
        );
    }
    let verified: Value = serde_json::from_str(&verified.to_json()).unwrap_or_default();
    json!({ "file": file, "bundle": place, "verified": verified })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_go_beside_their_files_or_where_told() {
        let files = [PathBuf::from("dir/a.tar"), PathBuf::from("b")];
        let places = bundle_places(&files, None).expect("beside");
        assert_eq!(
            places,
            [
                PathBuf::from("dir/a.tar.sigstore.json"),
                PathBuf::from("b.sigstore.json")
            ]
        );
        let one = bundle_places(&files[..1], Some(Path::new("out.json"))).expect("one");
        assert_eq!(one, [PathBuf::from("out.json")]);
        assert!(bundle_places(&files, Some(Path::new("out.json"))).is_err());
        assert!(bundle_places(&[PathBuf::from("-")], None).is_err());
        let dir = tempfile::tempdir().expect("a directory");
        let inside = bundle_places(&files, Some(dir.path())).expect("a directory takes several");
        assert_eq!(inside[0], dir.path().join("a.tar.sigstore.json"));
    }

    #[test]
    fn predicate_types_are_names_or_uris() {
        assert_eq!(
            predicate_type("slsaprovenance1").expect("a name"),
            "https://slsa.dev/provenance/v1"
        );
        assert_eq!(
            predicate_type("https://example.com/p").expect("a URI"),
            "https://example.com/p"
        );
        assert!(
            predicate_type("slsa")
                .expect_err("neither")
                .to_string()
                .contains("slsaprovenance1")
        );
    }

    #[test]
    fn signing_algorithms_have_the_registrys_names() {
        assert_eq!(
            key_type("ecdsa-sha2-384-nistp384").expect("known"),
            KeyType::EcP384
        );
        assert_eq!(key_type("ed25519-ph").expect("known"), KeyType::Ed25519);
        for name in ["", "ed25519", "rsa-sign-pss-3072-sha256", "md5"] {
            assert!(key_type(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_worst_part_decides() {
        assert_eq!(worse(None, Verdict::Undecided), Verdict::Undecided);
        assert_eq!(
            worse(Some(Verdict::Undecided), Verdict::Refused),
            Verdict::Refused
        );
        assert_eq!(
            worse(Some(Verdict::Usage), Verdict::Undecided),
            Verdict::Undecided
        );
    }
}
