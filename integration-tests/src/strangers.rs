//! Published clients, unchanged, behind one trait, so that one matrix can ask all of them the same questions.
//!
//! Each client is a file below; [`all`] lists them, our own first. A client that has a command line is driven through
//! it; the others by a small program of ours in `integration-tests/clients/`, which does nothing but call the
//! published interface and follows one protocol (see [`driver`]).
//!
//! Two rules keep a green cell honest. A verdict is what the client said about a bundle: a tool that breaks is an
//! error and never counts as a refusal. A client's limits are data ([`Limit`]), and the matrix asserts each of them:
//! one that a new release lifts turns red, so that the table is corrected.

pub mod browser;
pub mod cosign;
pub mod driver;
pub mod java;
pub mod js;
pub mod matrix;
pub mod ours;
pub mod python;
pub mod rust;
pub mod table;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::ClientView;

/// Predicate type of the statements that the matrix attests.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// Every client of the matrix, in the order of the table; our own comes first.
pub fn all() -> Vec<Box<dyn Client>> {
    vec![
        Box::new(ours::Ours),
        Box::new(python::Python),
        Box::new(js::Packages),
        Box::new(js::Cli),
        Box::new(cosign::Cosign),
        Box::new(java::Java),
        Box::new(rust::Crates),
    ]
}

/// What a stranger is given to work with an instance: the files and addresses that an operator hands out.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Trusted root and signing config in one file.
    pub trust_config: PathBuf,
    /// Sigstore trusted root.
    pub trusted_root: PathBuf,
    /// Sigstore signing config.
    pub signing_config: PathBuf,
    /// Base of the TUF repository, without a slash at its end.
    pub tuf: String,
    /// First TUF root, handed out apart from the repository.
    pub tuf_root: PathBuf,
    /// Issuer of the development identity provider.
    pub issuer: String,
    /// Certificate authority over TLS, where a TLS listener is on.
    pub ca_tls: Option<String>,
    /// Certificate of the local authority that issued the TLS listener's certificate.
    pub tls_ca: PathBuf,
}

impl Instance {
    /// The same, spelt out from what an instance hands to its clients.
    pub fn of(view: &ClientView) -> Self {
        let endpoints = view.endpoints();
        Self {
            trust_config: view.client_file("trust_config.json"),
            trusted_root: view.client_file("trusted_root.json"),
            signing_config: view.client_file("signing_config.json"),
            tuf: endpoints.tuf.trim_end_matches('/').to_owned(),
            tuf_root: view.client_file("root.json"),
            issuer: endpoints.oidc.clone(),
            ca_tls: endpoints.ca_tls.clone(),
            tls_ca: view.client_file("tls_ca.pem"),
        }
    }
}

/// Where a client takes its trust from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The files of the instance.
    Files,
    /// What [`Client::bootstrap`] has left in the client's home before.
    Bootstrapped,
}

/// One call to a client: which instance, how trusted, and the home that the call may keep its state in.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// Where trust comes from.
    pub trust: Trust,
    /// An existing folder that this client has to itself; never the person's own home.
    pub home: &'a Path,
}

/// Who is signing.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// An identity token, obtained before.
    Token(&'a str),
    /// The client logs in through the page of the instance's provider, which approves at once (`dev --login`).
    Browser,
    /// The client logs in by the device flow, which the provider approves at once.
    Device,
}

/// A statement about an artifact, in the three forms that clients ask for.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The artifact, which the statement's only subject names by SHA-256.
    pub artifact: PathBuf,
    /// The whole in-toto statement; its type is [`PREDICATE_TYPE`].
    pub statement: PathBuf,
    /// The predicate alone, for clients that make the statement.
    pub predicate: PathBuf,
}

/// What a verifier is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The bundle.
    pub bundle: &'a Path,
    /// The artifact that it should be about.
    pub artifact: &'a Path,
    /// The identity that should have signed.
    pub identity: &'a str,
    /// Its issuer.
    pub issuer: &'a str,
}

/// What a verifier says of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Verified.
    Accepted,
    /// Refused, with the client's own words.
    Refused(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
        }
    }
}

/// What a client may be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// [`Client::sign`] with a token.
    Sign,
    /// [`Client::attest`] with a token.
    Attest,
    /// [`Client::bootstrap`].
    Bootstrap,
    /// [`Client::sign`] through the browser.
    LoginBrowser,
    /// [`Client::sign`] through the device flow.
    LoginDevice,
    /// [`Client::verify`].
    Verify,
    /// [`Client::verify_attestation`].
    VerifyAttestation,
    /// Compares the artifact with the subject of a statement, within [`Client::verify_attestation`].
    Subject,
    /// Compares the whole identity, not a part of it.
    WholeIdentity,
}

/// Something that a published client cannot do, and how that shows.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// What it cannot do.
    pub act: Act,
    /// The part of its answer (refusal or error) by which the matrix recognises this very limit. Empty where there is
    /// no answer: the client offers no such call at all, or ([`Act::Subject`], [`Act::WholeIdentity`]) it accepts what
    /// it does not look at.
    pub shows: &'static str,
    /// Why, in a sentence for the table's footnote.
    pub because: &'static str,
}

/// A published client (or our own).
///
/// Calls are independent: each may be made from a thread of its own, with a home of its own. None uses state outside
/// `Call::home` and its outputs.
pub trait Client: fmt::Debug + Send + Sync {
    /// Name and version for the table, such as `sigstore-python 4.5.1`.
    fn name(&self) -> &'static str;

    /// Why the client cannot be run on this machine, or `None` where it can.
    fn absent(&self) -> Option<String>;

    /// What it cannot do; a call that is not listed must work.
    fn limits(&self) -> &'static [Limit] {
        &[]
    }

    /// Makes the client trust the instance from its TUF repository alone; state goes to `call.home`.
    fn bootstrap(&self, call: Call<'_>) -> anyhow::Result<()>;

    /// Signs `artifact` and writes the bundle.
    fn sign(
        &self,
        call: Call<'_>,
        signer: Signer<'_>,
        artifact: &Path,
        bundle: &Path,
    ) -> anyhow::Result<()>;

    /// Attests to a statement with a token and writes the bundle.
    fn attest(
        &self,
        call: Call<'_>,
        token: &str,
        statement: &Statement,
        bundle: &Path,
    ) -> anyhow::Result<()>;

    /// Verifies a message signature.
    fn verify(&self, call: Call<'_>, question: Question<'_>) -> anyhow::Result<Verdict>;

    /// Verifies an attestation of [`PREDICATE_TYPE`].
    fn verify_attestation(&self, call: Call<'_>, question: Question<'_>)
    -> anyhow::Result<Verdict>;
}

/// The limit of a client for an act, if it has one.
pub fn limit(client: &dyn Client, act: Act) -> Option<Limit> {
    client
        .limits()
        .iter()
        .copied()
        .find(|limit| limit.act == act)
}
