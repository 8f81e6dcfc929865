//! The configured issuers, and what identity each of them may vouch for.
//!
//! [`IssuerConfig`] and [`CiProviderConfig`] are what an operator writes; the keys have the names of Fulcio's
//! configuration where it has them. [`Issuers::new`] turns them into a value that cannot be wrong: URLs checked,
//! templates parsed, the hosts an identity may stand on known. [`Issuers::verify`] decides on a token and
//! [`VerifiedToken::principal`] maps its claims.
//!
//! Rules for identities, which the configuration can narrow and not lift: exactly one subject alternative name; an
//! e-mail address is verified, plain ASCII and syntactically simple; a URI is absolute, in its normal form, without
//! user information, fragment, dot segments or empty segments, and on the scheme and host the issuer may speak for;
//! only scalar claims reach a template, and a default is never overridden by a claim unless the configuration says so.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use crate::discovery::{self, Provider};
use crate::error::{ConfigError, FetchError, TokenError, echo};
use crate::json::Json;
use crate::jwks::{CacheState, KeyCache, KeySet};
use crate::template::{Data, RenderError, Template, Value};
use crate::token::{ClaimRules, Claims, SignedToken};

/// The longest identity or extension value, in bytes.
pub const MAX_VALUE_BYTES: usize = 2048;

/// The longest e-mail address, in bytes (RFC 5321 section 4.5.3.1.3, without the angle brackets).
const MAX_EMAIL_BYTES: usize = 254;

/// Which identity an issuer's tokens stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssuerType {
    /// A person: the verified claim `email`.
    #[default]
    Email,
    /// A workload: the claim `sub` is a URI under `subject-domain`.
    Uri,
    /// A build system: the identity is rendered from templates.
    CiProvider,
}

impl IssuerType {
    /// The name in the configuration and in `GetConfiguration`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Uri => "uri",
            Self::CiProvider => "ci-provider",
        }
    }
}

/// Which wins when a claim has the name of a default template value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimsPrecedence {
    /// The default, unless it is empty: an empty default only declares that the claim is optional.
    #[default]
    Defaults,
    /// The claim, as in Fulcio.
    Claims,
}

/// A number of seconds, written with a unit: "90s", "10m", "24h", "7d".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_seconds(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a duration; write for example \"90s\", \"10m\" or \"24h\""
            ))
        })
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn parse_seconds(text: &str) -> Option<Seconds> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let seconds = i64::from(number.parse::<u32>().ok()?) * unit;
    Some(Seconds(seconds))
}

/// All issuers.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct IssuersConfig {
    /// Issuer URL -> issuer. The URL is the token's `iss` to the letter.
    #[serde(alias = "oidc_issuers")]
    pub oidc_issuers: BTreeMap<String, IssuerConfig>,
    /// Name -> templates, for issuers of type `ci-provider`.
    #[serde(alias = "ci_issuer_metadata")]
    pub ci_issuer_metadata: BTreeMap<String, CiProviderConfig>,
}

/// One issuer.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct IssuerConfig {
    /// May repeat the URL under which the issuer is listed.
    #[serde(alias = "issuer_url")]
    pub issuer_url: Option<String>,
    /// The audience its tokens must have.
    #[serde(alias = "client_id")]
    pub client_id: String,
    /// Which identity its tokens stand for.
    pub r#type: IssuerType,
    /// For type `ci-provider`: the table of `ci-issuer-metadata`.
    #[serde(alias = "ci_provider")]
    pub ci_provider: Option<String>,
    /// For type `ci-provider`: whether claims may override non-empty default values.
    #[serde(alias = "claims_precedence")]
    pub claims_precedence: ClaimsPrecedence,
    /// For type `email`: where to find the issuer that authenticated the user, `$.member.member`; becomes the
    /// certificate's issuer.
    #[serde(alias = "issuer_claim")]
    pub issuer_claim: Option<String>,
    /// `scheme://host` that identities must stand on. Required for `uri`; for `ci-provider` it defaults to what the
    /// identity template begins with, or else to the issuer's own.
    #[serde(alias = "subject_domain")]
    pub subject_domain: Option<String>,
    /// A claim whose value is accepted as the message of the proof of possession, beside `sub` and the verified
    /// `email`; and what `GetConfiguration` reports.
    #[serde(alias = "challenge_claim")]
    pub challenge_claim: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// For people.
    pub contact: Option<String>,
    /// For people: "production", "staging".
    pub environment: Option<String>,
    /// PEM certificates to trust beside the system's when the provider is asked.
    #[serde(alias = "ca_cert")]
    pub ca_cert: Option<String>,
    /// For type `email`: accept addresses without `email_verified`, from providers that have only verified ones.
    #[serde(alias = "skip_email_verification")]
    pub skip_email_verification: bool,
    /// Ask the provider over plain HTTP. For development: whoever is on the way can forge identities.
    #[serde(alias = "insecure_http")]
    pub insecure_http: bool,
    /// Hosts (`host` or `host:port`) that may serve the issuer's keys, beside its own.
    #[serde(alias = "jwks_hosts")]
    pub jwks_hosts: Vec<String>,
    /// Read the keys from this file instead of asking the provider.
    #[serde(alias = "jwks_file")]
    pub jwks_file: Option<PathBuf>,
    /// The longest lifetime of a token.
    #[serde(alias = "max_token_lifetime")]
    pub max_token_lifetime: Seconds,
    /// How far ahead a token's `nbf` may be.
    #[serde(alias = "not_before_leeway")]
    pub not_before_leeway: Seconds,
    /// Keys that could not be renewed for this long are no longer used.
    #[serde(alias = "max_key_age")]
    pub max_key_age: Seconds,
}

impl Default for IssuerConfig {
    fn default() -> Self {
        Self {
            issuer_url: None,
            client_id: "sigstore".to_owned(),
            r#type: IssuerType::Email,
            ci_provider: None,
            claims_precedence: ClaimsPrecedence::Defaults,
            issuer_claim: None,
            subject_domain: None,
            challenge_claim: None,
            description: None,
            contact: None,
            environment: None,
            ca_cert: None,
            skip_email_verification: false,
            insecure_http: false,
            jwks_hosts: Vec::new(),
            jwks_file: None,
            max_token_lifetime: Seconds(24 * 60 * 60),
            not_before_leeway: Seconds(60),
            max_key_age: Seconds(24 * 60 * 60),
        }
    }
}

/// How a build system's claims become an identity.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CiProviderConfig {
    /// Values for templates beside the claims. An empty one declares that a claim is optional.
    #[serde(alias = "default_template_values")]
    pub default_template_values: BTreeMap<String, String>,
    /// Extension -> template. An empty result leaves the extension out.
    #[serde(alias = "extension_templates")]
    pub extension_templates: BTreeMap<Extension, String>,
    /// The template of the identity, a URI.
    #[serde(alias = "subject_alternative_name_template")]
    pub subject_alternative_name_template: String,
}

/// A certificate extension 1.3.6.1.4.1.57264.1.N that a claim can fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "the names are the documentation; the table of the profile lives in sealwright-pki"
)]
pub enum Extension {
    GithubWorkflowTrigger,
    GithubWorkflowSha,
    GithubWorkflowName,
    GithubWorkflowRepository,
    GithubWorkflowRef,
    BuildSignerUri,
    BuildSignerDigest,
    RunnerEnvironment,
    SourceRepositoryUri,
    SourceRepositoryDigest,
    SourceRepositoryRef,
    SourceRepositoryIdentifier,
    SourceRepositoryOwnerUri,
    SourceRepositoryOwnerIdentifier,
    BuildConfigUri,
    BuildConfigDigest,
    BuildTrigger,
    RunInvocationUri,
    SourceRepositoryVisibilityAtSigning,
    DeploymentEnvironment,
}

impl Extension {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::GithubWorkflowTrigger,
        Self::GithubWorkflowSha,
        Self::GithubWorkflowName,
        Self::GithubWorkflowRepository,
        Self::GithubWorkflowRef,
        Self::BuildSignerUri,
        Self::BuildSignerDigest,
        Self::RunnerEnvironment,
        Self::SourceRepositoryUri,
        Self::SourceRepositoryDigest,
        Self::SourceRepositoryRef,
        Self::SourceRepositoryIdentifier,
        Self::SourceRepositoryOwnerUri,
        Self::SourceRepositoryOwnerIdentifier,
        Self::BuildConfigUri,
        Self::BuildConfigDigest,
        Self::BuildTrigger,
        Self::RunInvocationUri,
        Self::SourceRepositoryVisibilityAtSigning,
        Self::DeploymentEnvironment,
    ];

    /// The last arc of the object identifier: 2 to 6, 9 to 23.
    pub fn number(self) -> u32 {
        match self {
            Self::GithubWorkflowTrigger => 2,
            Self::GithubWorkflowSha => 3,
            Self::GithubWorkflowName => 4,
            Self::GithubWorkflowRepository => 5,
            Self::GithubWorkflowRef => 6,
            Self::BuildSignerUri => 9,
            Self::BuildSignerDigest => 10,
            Self::RunnerEnvironment => 11,
            Self::SourceRepositoryUri => 12,
            Self::SourceRepositoryDigest => 13,
            Self::SourceRepositoryRef => 14,
            Self::SourceRepositoryIdentifier => 15,
            Self::SourceRepositoryOwnerUri => 16,
            Self::SourceRepositoryOwnerIdentifier => 17,
            Self::BuildConfigUri => 18,
            Self::BuildConfigDigest => 19,
            Self::BuildTrigger => 20,
            Self::RunInvocationUri => 21,
            Self::SourceRepositoryVisibilityAtSigning => 22,
            Self::DeploymentEnvironment => 23,
        }
    }

    /// The key under `extension-templates`.
    pub fn key(self) -> &'static str {
        match self {
            Self::GithubWorkflowTrigger => "github-workflow-trigger",
            Self::GithubWorkflowSha => "github-workflow-sha",
            Self::GithubWorkflowName => "github-workflow-name",
            Self::GithubWorkflowRepository => "github-workflow-repository",
            Self::GithubWorkflowRef => "github-workflow-ref",
            Self::BuildSignerUri => "build-signer-uri",
            Self::BuildSignerDigest => "build-signer-digest",
            Self::RunnerEnvironment => "runner-environment",
            Self::SourceRepositoryUri => "source-repository-uri",
            Self::SourceRepositoryDigest => "source-repository-digest",
            Self::SourceRepositoryRef => "source-repository-ref",
            Self::SourceRepositoryIdentifier => "source-repository-identifier",
            Self::SourceRepositoryOwnerUri => "source-repository-owner-uri",
            Self::SourceRepositoryOwnerIdentifier => "source-repository-owner-identifier",
            Self::BuildConfigUri => "build-config-uri",
            Self::BuildConfigDigest => "build-config-digest",
            Self::BuildTrigger => "build-trigger",
            Self::RunInvocationUri => "run-invocation-uri",
            Self::SourceRepositoryVisibilityAtSigning => "source-repository-visibility-at-signing",
            Self::DeploymentEnvironment => "deployment-environment",
        }
    }
}

/// The one subject alternative name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum San {
    /// rfc822Name.
    Email(String),
    /// uniformResourceIdentifier.
    Uri(String),
}

impl San {
    /// The identity as people write it.
    pub fn text(&self) -> &str {
        match self {
            Self::Email(text) | Self::Uri(text) => text,
        }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What a certificate may say about the bearer of a token, and how the bearer proves possession of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The subject alternative name: ASCII, at most [`MAX_VALUE_BYTES`].
    pub san: San,
    /// The value of the issuer extensions (.1 and .8): printable ASCII.
    pub issuer: String,
    /// `sub`, the value of extension .24.
    pub subject: String,
    /// Further extensions in the order of their numbers: UTF-8 without control characters, not empty, at most
    /// [`MAX_VALUE_BYTES`] each.
    pub extensions: Vec<(Extension, String)>,
    /// The messages over any of which a signature proves possession of a key; never empty, each non-empty.
    pub challenges: Vec<String>,
}

/// The set of configured issuers.
#[derive(Debug, Default)]
pub struct Issuers {
    by_url: BTreeMap<String, Arc<Issuer>>,
}

/// One configured issuer, ready to decide.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    config: IssuerConfig,
    audiences: Vec<String>,
    mapping: Mapping,
    keys: Arc<KeyCache>,
}

/// The condition of an issuer, for health checks and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerHealth {
    /// The issuer's URL.
    pub issuer: String,
    /// Its keys.
    pub keys: CacheState,
}

/// A token whose signature and claims have been accepted; only [`Issuers::verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    issuer: Arc<Issuer>,
    claims: Claims,
}

impl Issuers {
    /// Checks the configuration and prepares to ask the providers; asks none yet.
    ///
    /// # Errors
    /// [`ConfigError`], naming the issuer and the key.
    pub fn new(config: &IssuersConfig) -> Result<Self, ConfigError> {
        let mut by_url = BTreeMap::new();
        for (url, issuer) in &config.oidc_issuers {
            let issuer = Issuer::new(url, issuer, &config.ci_issuer_metadata)?;
            by_url.insert(url.clone(), Arc::new(issuer));
        }
        // Tables that no issuer uses yet are checked too, so that adding an issuer later brings no surprise.
        for (name, provider) in &config.ci_issuer_metadata {
            Templates::parse(name, provider)?;
        }
        Ok(Self { by_url })
    }

    /// The issuers, ordered by URL.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.by_url.values().map(Arc::as_ref)
    }

    /// Decides on a token at `now` (Unix seconds): form, issuer, claims, signature, in this order. May ask the issuer's
    /// provider for keys and then takes up to [`discovery::FETCH_TIMEOUT`].
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn verify(&self, token: &str, now: i64) -> Result<VerifiedToken, TokenError> {
        let token = SignedToken::parse(token)?;
        let claimed = token.claims().issuer();
        let claimed = claimed.ok_or_else(|| TokenError::MissingClaim {
            claim: "iss".to_owned(),
        })?;
        let issuer = self
            .by_url
            .get(claimed)
            .ok_or_else(|| TokenError::UnknownIssuer {
                issuer: echo(claimed),
            })?;
        issuer.rules().check(token.claims(), now)?;
        issuer.keys.verify(&token, &issuer.url, now).await?;
        Ok(VerifiedToken {
            issuer: Arc::clone(issuer),
            claims: token.into_claims(),
        })
    }

    /// Fetches the keys of every issuer that has none yet, all at once.
    pub async fn warm(&self, now: i64) {
        let mut tasks = tokio::task::JoinSet::new();
        for issuer in self.by_url.values() {
            let keys = Arc::clone(&issuer.keys);
            tasks.spawn(async move { keys.warm(now).await });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// The condition of every issuer at `now`.
    pub fn health(&self, now: i64) -> Vec<IssuerHealth> {
        let health = |issuer: &Issuer| IssuerHealth {
            issuer: issuer.url.clone(),
            keys: issuer.keys.state(now),
        };
        self.iter().map(health).collect()
    }
}

impl Issuer {
    fn new(
        url: &str,
        config: &IssuerConfig,
        providers: &BTreeMap<String, CiProviderConfig>,
    ) -> Result<Self, ConfigError> {
        check_keys(url, config)?;
        let mapping = Mapping::new(url, config, providers)?;
        let keys = match &config.jwks_file {
            Some(path) => KeyCache::fixed(read_key_file(url, path)?),
            None => {
                let provider = Provider::new(
                    url,
                    &config.jwks_hosts,
                    config.ca_cert.as_deref(),
                    config.insecure_http,
                )?;
                KeyCache::new(provider, config.max_key_age.0)
            }
        };
        Ok(Self {
            url: url.to_owned(),
            config: config.clone(),
            audiences: vec![config.client_id.clone()],
            mapping,
            keys: Arc::new(keys),
        })
    }

    /// The issuer's URL, the `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The audience its tokens must have.
    pub fn audience(&self) -> &str {
        &self.config.client_id
    }

    /// Its type.
    pub fn issuer_type(&self) -> IssuerType {
        self.config.r#type
    }

    /// The claim that clients should sign to prove possession of their key.
    pub fn challenge_claim(&self) -> &str {
        match (&self.config.challenge_claim, self.config.r#type) {
            (Some(claim), _) => claim,
            (None, IssuerType::Email) => "email",
            (None, _) => "sub",
        }
    }

    /// The configured `scheme://host` of identities, if any.
    pub fn subject_domain(&self) -> Option<&str> {
        self.config.subject_domain.as_deref()
    }

    /// Whether `email_verified` is not asked for.
    pub fn skips_email_verification(&self) -> bool {
        self.config.skip_email_verification
    }

    fn rules(&self) -> ClaimRules<'_> {
        ClaimRules {
            issuer: &self.url,
            audiences: &self.audiences,
            max_lifetime: self.config.max_token_lifetime.0,
            not_before_leeway: self.config.not_before_leeway.0,
        }
    }

    /// The accepted messages of a proof of possession: the configured claim, the verified e-mail address, the subject.
    fn challenges(&self, claims: &Claims, subject: &str) -> Vec<String> {
        let email = claims
            .email()
            .filter(|_| claims.email_verified() || self.config.skip_email_verification);
        let configured = self
            .config
            .challenge_claim
            .as_deref()
            .filter(|claim| *claim != "email");
        let configured = configured.and_then(|claim| claims.text(claim));
        let mut challenges: Vec<String> = Vec::new();
        for challenge in [configured, email, Some(subject)].into_iter().flatten() {
            if challenges.iter().all(|known| known != challenge) {
                challenges.push(challenge.to_owned());
            }
        }
        challenges
    }
}

impl VerifiedToken {
    /// Who vouches.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// What was vouched for.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The identity a certificate may carry.
    ///
    /// # Errors
    /// [`TokenError::MissingClaim`], [`TokenError::InvalidClaim`], [`TokenError::EmailNotVerified`],
    /// [`TokenError::InvalidEmail`] or [`TokenError::IdentityNotAllowed`].
    pub fn principal(&self) -> Result<Principal, TokenError> {
        let subject = self.claims.subject().ok_or_else(|| missing("sub"))?;
        check_text("sub", subject)?;
        let (san, issuer, extensions) = match &self.issuer.mapping {
            Mapping::Email {
                issuer_claim,
                skip_verification,
            } => {
                let san = email_identity(&self.claims, *skip_verification)?;
                let issuer = match issuer_claim {
                    Some(path) => path.find(&self.claims)?,
                    None => self.issuer.url.clone(),
                };
                (san, issuer, Vec::new())
            }
            Mapping::Uri { origin } => {
                check_uri(subject, std::slice::from_ref(origin))?;
                (
                    San::Uri(subject.to_owned()),
                    self.issuer.url.clone(),
                    Vec::new(),
                )
            }
            Mapping::Ci(mapping) => {
                let (san, extensions) = mapping.render(&self.claims)?;
                (san, self.issuer.url.clone(), extensions)
            }
        };
        let challenges = self.issuer.challenges(&self.claims, subject);
        Ok(Principal {
            san,
            issuer,
            subject: subject.to_owned(),
            extensions,
            challenges,
        })
    }
}

fn missing(claim: &str) -> TokenError {
    TokenError::MissingClaim {
        claim: claim.to_owned(),
    }
}

fn key_error(url: &str, key: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Key {
        issuer: url.to_owned(),
        key,
        why: why.into(),
    }
}

/// The rules that concern one issuer's keys alone.
fn check_keys(url: &str, config: &IssuerConfig) -> Result<(), ConfigError> {
    discovery::check_issuer_url(url, config.insecure_http || config.jwks_file.is_some())?;
    let only_for = |key: &'static str, set: bool, wanted: IssuerType| {
        let wrong = set && config.r#type != wanted;
        if wrong {
            Err(key_error(
                url,
                key,
                format!("is for type `{}` only", wanted.name()),
            ))
        } else {
            Ok(())
        }
    };
    only_for(
        "issuer-claim",
        config.issuer_claim.is_some(),
        IssuerType::Email,
    )?;
    only_for(
        "skip-email-verification",
        config.skip_email_verification,
        IssuerType::Email,
    )?;
    only_for(
        "ci-provider",
        config.ci_provider.is_some(),
        IssuerType::CiProvider,
    )?;
    let claims_win = config.claims_precedence == ClaimsPrecedence::Claims;
    only_for("claims-precedence", claims_win, IssuerType::CiProvider)?;
    if config.subject_domain.is_some() && config.r#type == IssuerType::Email {
        return Err(key_error(
            url,
            "subject-domain",
            "is for types `uri` and `ci-provider` only",
        ));
    }
    if config
        .issuer_url
        .as_ref()
        .is_some_and(|repeated| repeated != url)
    {
        return Err(key_error(
            url,
            "issuer-url",
            "differs from the URL under which the issuer is listed",
        ));
    }
    if config.client_id.is_empty() {
        return Err(key_error(
            url,
            "client-id",
            "is empty; it is the audience the tokens must have",
        ));
    }
    for (key, seconds) in [
        ("max-token-lifetime", config.max_token_lifetime),
        ("max-key-age", config.max_key_age),
    ] {
        if seconds.0 < 1 {
            return Err(key_error(url, key, "must be one second or more"));
        }
    }
    Ok(())
}

fn read_key_file(url: &str, path: &std::path::Path) -> Result<KeySet, ConfigError> {
    let wrong = |why| ConfigError::KeyFile {
        issuer: url.to_owned(),
        path: path.to_owned(),
        why,
    };
    let json = std::fs::read(path).map_err(|error| wrong(FetchError::File(error.to_string())))?;
    KeySet::from_json(&json).map_err(|error| match error {
        FetchError::NotUnderstood { wanted, .. } => wrong(FetchError::NotUnderstood {
            url: path.display().to_string(),
            wanted,
        }),
        other => wrong(other),
    })
}

/// How claims become an identity; one variant for each [`IssuerType`].
#[derive(Debug)]
enum Mapping {
    Email {
        issuer_claim: Option<ClaimPath>,
        skip_verification: bool,
    },
    Uri {
        origin: Origin,
    },
    Ci(Box<CiMapping>),
}

impl Mapping {
    fn new(
        url: &str,
        config: &IssuerConfig,
        providers: &BTreeMap<String, CiProviderConfig>,
    ) -> Result<Self, ConfigError> {
        match config.r#type {
            IssuerType::Email => {
                let parse = |path: &String| {
                    ClaimPath::parse(path).ok_or_else(|| {
                        key_error(
                            url,
                            "issuer-claim",
                            "is not a path of members; write `$.member.member`",
                        )
                    })
                };
                let issuer_claim = config.issuer_claim.as_ref().map(parse).transpose()?;
                Ok(Self::Email {
                    issuer_claim,
                    skip_verification: config.skip_email_verification,
                })
            }
            IssuerType::Uri => {
                let domain = config.subject_domain.as_deref();
                let domain = domain.ok_or_else(|| {
                    key_error(url, "subject-domain", "is required for type `uri`")
                })?;
                let origin = subject_domain(url, domain)?;
                check_related(url, &origin)?;
                Ok(Self::Uri { origin })
            }
            IssuerType::CiProvider => {
                CiMapping::new(url, config, providers).map(|ci| Self::Ci(Box::new(ci)))
            }
        }
    }
}

fn subject_domain(url: &str, domain: &str) -> Result<Origin, ConfigError> {
    let parsed = Url::parse(domain)
        .ok()
        .and_then(|parsed| Origin::of(&parsed));
    let rest_is_empty = domain.splitn(4, '/').nth(3).is_none_or(str::is_empty);
    parsed.filter(|_| rest_is_empty).ok_or_else(|| {
        key_error(
            url,
            "subject-domain",
            "is not `scheme://host` without a path",
        )
    })
}

/// An issuer speaks for its own domain: same scheme, and the same host or the same last two labels. Suffixes under
/// which strangers register (`co.uk`) defeat the second rule; operators name both hosts, so that is theirs to see.
fn check_related(url: &str, origin: &Origin) -> Result<(), ConfigError> {
    let issuer = Url::parse(url).ok().and_then(|parsed| Origin::of(&parsed));
    let related = issuer.is_some_and(|issuer| {
        issuer.scheme == origin.scheme
            && (issuer.host == origin.host || same_last_labels(&issuer.host, &origin.host))
    });
    if related {
        Ok(())
    } else {
        Err(key_error(
            url,
            "subject-domain",
            "must have the issuer's scheme, and its host or the last two labels of it",
        ))
    }
}

fn same_last_labels(a: &str, b: &str) -> bool {
    let is_address =
        |host: &str| host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    let last_two = |host: &str| {
        host.rsplitn(3, '.')
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    !is_address(a) && !is_address(b) && last_two(a).len() == 2 && last_two(a) == last_two(b)
}

/// Scheme, host and port of a URI.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn of(url: &Url) -> Option<Self> {
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        Some(Self {
            scheme: url.scheme().to_owned(),
            host,
            port: url.port_or_known_default(),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match port {
            Some(port) => write!(f, "{scheme}://{host}:{port}"),
            None => write!(f, "{scheme}://{host}"),
        }
    }
}

/// A path of members, `$.a.b`: the part of JSONPath that finds one value.
#[derive(Debug)]
struct ClaimPath(Vec<String>);

impl ClaimPath {
    fn parse(path: &str) -> Option<Self> {
        let members: Vec<String> = path
            .strip_prefix("$.")?
            .split('.')
            .map(str::to_owned)
            .collect();
        let plain = |member: &String| {
            !member.is_empty()
                && member
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        members.iter().all(plain).then_some(Self(members))
    }

    fn find(&self, claims: &Claims) -> Result<String, TokenError> {
        let name = self.0.join(".");
        let (first, rest) = self.0.split_first().ok_or_else(|| missing(&name))?;
        let mut value = claims.get(first);
        for member in rest {
            value = value.and_then(|value| value.member(member));
        }
        let text = value
            .and_then(Json::as_str)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| missing(&name))?;
        check_text(&name, text)?;
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(text.to_owned())
        } else {
            Err(TokenError::InvalidClaim {
                claim: name,
                why: "only printable ASCII can name an issuer".to_owned(),
            })
        }
    }
}

fn email_identity(claims: &Claims, skip_verification: bool) -> Result<San, TokenError> {
    let email = claims.email().ok_or_else(|| missing("email"))?;
    if !claims.email_verified() && !skip_verification {
        return Err(TokenError::EmailNotVerified);
    }
    match check_email(email) {
        Ok(()) => Ok(San::Email(email.to_owned())),
        Err(why) => Err(TokenError::InvalidEmail {
            email: echo(email),
            why,
        }),
    }
}

/// A dot-atom and a host name (RFC 5322 section 3.4.1, RFC 1035 section 2.3.1). Quoted local parts, comments,
/// address literals and UTF-8 are legal in mail and refused here: an rfc822Name is IA5, and every verifier must read it
/// the same way.
fn check_email(email: &str) -> Result<(), &'static str> {
    if !email.is_ascii() {
        return Err("only ASCII addresses can stand in a certificate");
    }
    if email.len() > MAX_EMAIL_BYTES {
        return Err("at most 254 bytes are accepted");
    }
    let (local, domain) = email.rsplit_once('@').ok_or("there is no `@`")?;
    let atom_char = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
    let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(atom_char);
    if local.len() > 64 || !local.split('.').all(is_atom) {
        return Err(
            "the part before the `@` must be letters, digits and !#$%&'*+-/=?^_`{|}~, with single dots between",
        );
    }
    let is_label = |label: &str| {
        let hyphens_inside = !label.starts_with('-') && !label.ends_with('-');
        (1..=63).contains(&label.len())
            && hyphens_inside
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    if !domain.split('.').all(is_label) {
        return Err("the part after the `@` must be a host name");
    }
    Ok(())
}

/// Extension values are text that people read: bounded, no control characters.
fn check_text(claim: &str, text: &str) -> Result<(), TokenError> {
    let why = if text.len() > MAX_VALUE_BYTES {
        format!(
            "it has {} bytes; at most {MAX_VALUE_BYTES} are accepted",
            text.len()
        )
    } else if text.chars().any(char::is_control) {
        "it contains control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(TokenError::InvalidClaim {
        claim: claim.to_owned(),
        why,
    })
}

/// Whether a URI can be an identity: absolute, in normal form, on one of the origins.
fn check_uri(uri: &str, allowed: &[Origin]) -> Result<(), TokenError> {
    let refuse = |why: String| {
        Err(TokenError::IdentityNotAllowed {
            identity: echo(uri),
            why,
        })
    };
    if uri.len() > MAX_VALUE_BYTES {
        return refuse(format!(
            "it has {} bytes; at most {MAX_VALUE_BYTES} are accepted",
            uri.len()
        ));
    }
    if !uri.bytes().all(is_uri_byte) {
        return refuse("it contains characters that a URI cannot have".to_owned());
    }
    let Ok(parsed) = Url::parse(uri) else {
        return refuse("it is not an absolute URI".to_owned());
    };
    let Some(origin) = Origin::of(&parsed) else {
        return refuse("it has no host".to_owned());
    };
    if !parsed.username().is_empty() || parsed.password().is_some() || parsed.fragment().is_some() {
        return refuse("user information and fragments are not accepted".to_owned());
    }
    // The parser resolves dot segments, lowers the host and drops default ports: whatever it changes was ambiguous.
    if parsed.as_str() != uri && parsed.as_str() != format!("{uri}/") {
        return refuse(format!(
            "it is not in its normal form, `{}`",
            echo(parsed.as_str())
        ));
    }
    if parsed.path().contains("//") {
        return refuse("empty path segments are not accepted".to_owned());
    }
    if !allowed.contains(&origin) {
        let allowed: Vec<String> = allowed.iter().map(Origin::to_string).collect();
        return refuse(format!("this issuer speaks for {}", allowed.join(", ")));
    }
    Ok(())
}

/// The characters of RFC 3986: unreserved, gen-delims, sub-delims and `%`.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// The parsed templates of a build system.
#[derive(Debug)]
struct Templates {
    san: Template,
    extensions: Vec<(Extension, Template)>,
}

impl Templates {
    fn parse(name: &str, config: &CiProviderConfig) -> Result<Self, ConfigError> {
        let parse = |key: &str, source: &str| {
            Template::parse(source).map_err(|why| ConfigError::Template {
                provider: name.to_owned(),
                key: key.to_owned(),
                why,
            })
        };
        let san = parse(
            "subject-alternative-name-template",
            &config.subject_alternative_name_template,
        )?;
        let mut extensions = Vec::new();
        for (extension, source) in &config.extension_templates {
            // Fulcio's files leave templates empty to say "not for this provider".
            if !source.is_empty() {
                extensions.push((*extension, parse(extension.key(), source)?));
            }
        }
        extensions.sort_by_key(|(extension, _)| extension.number());
        Ok(Self { san, extensions })
    }
}

/// How a build system's claims become an identity.
#[derive(Debug)]
struct CiMapping {
    templates: Templates,
    defaults: BTreeMap<String, String>,
    precedence: ClaimsPrecedence,
    origin: Origin,
}

impl CiMapping {
    fn new(
        url: &str,
        config: &IssuerConfig,
        providers: &BTreeMap<String, CiProviderConfig>,
    ) -> Result<Self, ConfigError> {
        let name = config.ci_provider.as_deref();
        let name = name
            .ok_or_else(|| key_error(url, "ci-provider", "is required for type `ci-provider`"))?;
        let provider = providers
            .get(name)
            .ok_or_else(|| ConfigError::UnknownCiProvider {
                issuer: url.to_owned(),
                provider: name.to_owned(),
                known: providers.keys().cloned().collect(),
            })?;
        if provider.subject_alternative_name_template.is_empty() {
            return Err(key_error(
                url,
                "ci-provider",
                format!("`{name}` has no subject-alternative-name-template"),
            ));
        }
        let templates = Templates::parse(name, provider)?;
        let defaults = provider.default_template_values.clone();
        let origin = match config.subject_domain.as_deref() {
            Some(domain) => subject_domain(url, domain)?,
            None => derived_origin(url, &templates.san, &defaults)?,
        };
        Ok(Self {
            templates,
            defaults,
            precedence: config.claims_precedence,
            origin,
        })
    }

    fn render(&self, claims: &Claims) -> Result<(San, Vec<(Extension, String)>), TokenError> {
        let data = CiData {
            mapping: self,
            claims,
        };
        let san = self.templates.san.render_uri(&data).map_err(render_error)?;
        check_uri(&san, std::slice::from_ref(&self.origin))?;
        let mut extensions = Vec::new();
        for (extension, template) in &self.templates.extensions {
            let value = template.render(&data).map_err(render_error)?;
            check_text(extension.key(), &value)?;
            if !value.is_empty() {
                extensions.push((*extension, value));
            }
        }
        Ok((San::Uri(san), extensions))
    }
}

fn render_error(error: RenderError) -> TokenError {
    match error {
        RenderError::Missing(claim) | RenderError::Empty(claim) => TokenError::MissingClaim {
            claim: echo(&claim),
        },
        RenderError::NotScalar(claim) => TokenError::InvalidClaim {
            claim: echo(&claim),
            why: "a string, a number or a boolean is wanted".to_owned(),
        },
    }
}

/// The scheme and host that the identity template fixes by its literals and default values, whatever a token says;
/// the issuer's own when it fixes none.
fn derived_origin(
    url: &str,
    san: &Template,
    defaults: &BTreeMap<String, String>,
) -> Result<Origin, ConfigError> {
    let prefix = san.fixed_prefix(&Defaults(defaults));
    // Only with a `/` after it is the host complete: `https://host{{ .x }}` fixes nothing.
    let fixed = prefix
        .splitn(4, '/')
        .nth(3)
        .is_some()
        .then(|| Url::parse(&prefix).ok())
        .flatten();
    let own = || Url::parse(url).ok().and_then(|parsed| Origin::of(&parsed));
    fixed
        .and_then(|parsed| Origin::of(&parsed))
        .or_else(own)
        .ok_or_else(|| {
            key_error(
                url,
                "subject-domain",
                "is required, since neither the template nor the issuer has a host",
            )
        })
}

struct Defaults<'a>(&'a BTreeMap<String, String>);

impl Data for Defaults<'_> {
    fn value(&self, name: &str) -> Value {
        self.0
            .get(name)
            .map_or(Value::Missing, |text| Value::Text(text.clone()))
    }
}

/// Default values and claims, one laid over the other.
struct CiData<'a> {
    mapping: &'a CiMapping,
    claims: &'a Claims,
}

impl Data for CiData<'_> {
    fn value(&self, name: &str) -> Value {
        let default = self.mapping.defaults.get(name);
        let claim = self.claims.get(name);
        let default_wins = self.mapping.precedence == ClaimsPrecedence::Defaults
            && default.is_some_and(|default| !default.is_empty());
        match (claim.filter(|_| !default_wins), default) {
            (Some(claim), _) => claim.scalar().map_or(Value::NotScalar, Value::Text),
            (None, Some(default)) => Value::Text(default.clone()),
            (None, None) => Value::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeProvider, Minter, NOW, claims_of};

    const GITHUB_TEMPLATES: [(Extension, &str); 20] = [
        (Extension::GithubWorkflowTrigger, "event_name"),
        (Extension::GithubWorkflowSha, "sha"),
        (Extension::GithubWorkflowName, "workflow"),
        (Extension::GithubWorkflowRepository, "repository"),
        (Extension::GithubWorkflowRef, "ref"),
        (
            Extension::BuildSignerUri,
            "{{ .url }}/{{ .job_workflow_ref }}",
        ),
        (Extension::BuildSignerDigest, "job_workflow_sha"),
        (Extension::RunnerEnvironment, "runner_environment"),
        (
            Extension::SourceRepositoryUri,
            "{{ .url }}/{{ .repository }}",
        ),
        (Extension::SourceRepositoryDigest, "sha"),
        (Extension::SourceRepositoryRef, "ref"),
        (Extension::SourceRepositoryIdentifier, "repository_id"),
        (
            Extension::SourceRepositoryOwnerUri,
            "{{ .url }}/{{ .repository_owner }}",
        ),
        (
            Extension::SourceRepositoryOwnerIdentifier,
            "repository_owner_id",
        ),
        (Extension::BuildConfigUri, "{{ .url }}/{{ .workflow_ref }}"),
        (Extension::BuildConfigDigest, "workflow_sha"),
        (Extension::BuildTrigger, "event_name"),
        (
            Extension::RunInvocationUri,
            "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}",
        ),
        (
            Extension::SourceRepositoryVisibilityAtSigning,
            "repository_visibility",
        ),
        (Extension::DeploymentEnvironment, "environment"),
    ];

    const GITHUB_CLAIMS: &str = r#"{
        "iss": "https://ci.example", "aud": "sigstore", "sub": "repo:o/r:ref:refs/heads/main", "iat": 1700000000, "exp": 1700000300,
        "event_name": "push", "sha": "0f00", "workflow": "Build é", "repository": "o/r", "ref": "refs/heads/main",
        "job_workflow_ref": "o/r/.github/workflows/b.yml@refs/heads/main", "job_workflow_sha": "0f01",
        "runner_environment": "github-hosted", "repository_id": "123456789012345678901234",
        "repository_owner": "o", "repository_owner_id": 42, "repository_visibility": "private",
        "workflow_ref": "o/r/.github/workflows/b.yml@refs/heads/main", "workflow_sha": "0f02",
        "run_id": 123456789012345678901234, "run_attempt": "1"
    }"#;

    fn github(url_default: &str) -> CiProviderConfig {
        CiProviderConfig {
            default_template_values: BTreeMap::from([
                ("url".to_owned(), url_default.to_owned()),
                ("environment".to_owned(), String::new()),
            ]),
            extension_templates: GITHUB_TEMPLATES
                .map(|(extension, source)| (extension, source.to_owned()))
                .into(),
            subject_alternative_name_template: "{{ .url }}/{{ .job_workflow_ref }}".to_owned(),
        }
    }

    fn ci_config(provider: CiProviderConfig, issuer: IssuerConfig) -> IssuersConfig {
        let issuer = IssuerConfig {
            r#type: IssuerType::CiProvider,
            ci_provider: Some("ci".into()),
            ..issuer
        };
        IssuersConfig {
            oidc_issuers: BTreeMap::from([("https://ci.example".to_owned(), issuer)]),
            ci_issuer_metadata: BTreeMap::from([("ci".to_owned(), provider)]),
        }
    }

    fn one(url: &str, issuer: IssuerConfig) -> IssuersConfig {
        IssuersConfig {
            oidc_issuers: BTreeMap::from([(url.to_owned(), issuer)]),
            ..IssuersConfig::default()
        }
    }

    /// The identity that claims stand for, the signature taken for granted.
    fn principal(config: &IssuersConfig, claims: &str) -> Result<Principal, TokenError> {
        let issuers = Issuers::new(config).unwrap();
        let issuer = Arc::clone(issuers.by_url.values().next().unwrap());
        VerifiedToken {
            issuer,
            claims: claims_of(claims),
        }
        .principal()
    }

    #[test]
    fn an_email_identity() {
        let config = one("https://idp.example", IssuerConfig::default());
        let claims = r#"{"iss":"https://idp.example","sub":"17","email":"ann+x@example.com","email_verified":true}"#;
        let expected = Principal {
            san: San::Email("ann+x@example.com".into()),
            issuer: "https://idp.example".into(),
            subject: "17".into(),
            extensions: vec![],
            challenges: vec!["ann+x@example.com".into(), "17".into()],
        };
        assert_eq!(principal(&config, claims), Ok(expected.clone()));
        for verified in ["\"true\"", "\"True\""] {
            assert_eq!(
                principal(&config, &claims.replace("true", verified)),
                Ok(expected.clone())
            );
        }
        for unverified in ["false", "\"yes\"", "1", "null"] {
            assert_eq!(
                principal(&config, &claims.replace("true", unverified)),
                Err(TokenError::EmailNotVerified)
            );
        }
        let trusting = one(
            "https://idp.example",
            IssuerConfig {
                skip_email_verification: true,
                ..Default::default()
            },
        );
        assert_eq!(
            principal(&trusting, &claims.replace("true", "false")),
            Ok(expected)
        );
        assert_eq!(principal(&config, r#"{"sub":"17"}"#), Err(missing("email")));
    }

    #[test]
    fn an_email_that_could_be_read_two_ways_is_refused() {
        for good in [
            "a@b",
            "first.last@sub.example.com",
            "o'brien@example.com",
            "x!y@example.com",
            "a@xn--bcher-kva.example",
        ] {
            assert_eq!(check_email(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b c",
            ".a@b",
            "a.@b",
            "a..b@c",
            "\"a b\"@c",
            "a@[127.0.0.1]",
            "a@-b",
            "a@b-",
            "a@b..c",
            "é@example.com",
            "a@exämple.com",
            "a@b\0",
            "a\n@b",
            "<a@b>",
            "a@b,c@d",
            "Ann <a@b>",
            "(x)a@b",
        ] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
        assert!(check_email(&format!("{}@b", "a".repeat(65))).is_err());
        assert!(check_email(&format!("a@{}", "b.".repeat(130))).is_err());
    }

    #[test]
    fn a_brokered_issuer_is_named_by_its_claim() {
        let issuer = IssuerConfig {
            issuer_claim: Some("$.federated_claims.connector_id".into()),
            ..Default::default()
        };
        let config = one("https://dex.example", issuer);
        let claims = |id: &str| {
            format!(
                r#"{{"sub":"1","email":"a@b.c","email_verified":true,"federated_claims":{{"connector_id":{id}}}}}"#
            )
        };
        assert_eq!(
            principal(&config, &claims("\"https://login.example\""))
                .unwrap()
                .issuer,
            "https://login.example"
        );
        for missing in ["null", "7", "\"\"", "{}"] {
            assert!(matches!(
                principal(&config, &claims(missing)),
                Err(TokenError::MissingClaim { .. })
            ));
        }
        assert!(matches!(
            principal(&config, &claims("\"a b\"")),
            Err(TokenError::InvalidClaim { .. })
        ));
    }

    #[test]
    fn a_uri_identity_stands_on_the_configured_domain() {
        let issuer = IssuerConfig {
            r#type: IssuerType::Uri,
            subject_domain: Some("https://work.example.com".into()),
            ..Default::default()
        };
        let config = one("https://idp.example.com", issuer);
        let with = |sub: &str| principal(&config, &format!("{{\"sub\":{sub:?}}}"));
        for good in [
            "https://work.example.com/a/b@c",
            "https://work.example.com",
            "https://work.example.com/x?y=1",
        ] {
            let principal = with(good).unwrap();
            assert_eq!(principal.san, San::Uri(good.into()));
            assert_eq!(principal.challenges, [good]);
        }
        for bad in [
            "https://evil.example.com/a",
            "http://work.example.com/a",
            "https://work.example.com:8443/a",
            "https://work.example.com.evil.example/a",
            "https://work.example.com@evil.example/a",
            "https://user@work.example.com/a",
            "https://work.example.com/a/../b",
            "https://work.example.com/a/%2e%2e/b",
            "https://work.example.com/./b",
            "https://work.example.com//b",
            "https://work.example.com/a#b",
            "https://work.example.com/a b",
            "https://work.example.com/é",
            "https://work.example.com/a\\b",
            "HTTPS://work.example.com/a",
            "https://Work.example.com/a",
            "https://work.example.com:443/a",
            "/a",
            "a@work.example.com",
            "mailto:a@work.example.com",
            "https:work.example.com/a",
        ] {
            assert!(
                matches!(with(bad), Err(TokenError::IdentityNotAllowed { .. })),
                "{bad}: {:?}",
                with(bad)
            );
        }
    }

    #[test]
    fn a_workflow_identity_with_all_its_extensions() {
        let principal = principal(
            &ci_config(github("https://forge.example"), IssuerConfig::default()),
            GITHUB_CLAIMS,
        )
        .unwrap();
        let workflow = "https://forge.example/o/r/.github/workflows/b.yml@refs/heads/main";
        assert_eq!(principal.san, San::Uri(workflow.into()));
        assert_eq!(principal.issuer, "https://ci.example");
        assert_eq!(principal.challenges, ["repo:o/r:ref:refs/heads/main"]);
        let numbered: Vec<(u32, &str)> = principal
            .extensions
            .iter()
            .map(|(extension, value)| (extension.number(), value.as_str()))
            .collect();
        let expected = [
            (2, "push"),
            (3, "0f00"),
            (4, "Build é"),
            (5, "o/r"),
            (6, "refs/heads/main"),
            (9, workflow),
            (10, "0f01"),
            (11, "github-hosted"),
            (12, "https://forge.example/o/r"),
            (13, "0f00"),
            (14, "refs/heads/main"),
            (15, "123456789012345678901234"),
            (16, "https://forge.example/o"),
            (17, "42"),
            (18, workflow),
            (19, "0f02"),
            (20, "push"),
            (
                21,
                "https://forge.example/o/r/actions/runs/123456789012345678901234/attempts/1",
            ),
            (22, "private"),
        ];
        assert_eq!(
            numbered, expected,
            "the environment is empty and left out; integers are exact"
        );
    }

    #[test]
    fn claims_do_not_override_defaults_unless_the_operator_says_so() {
        let claims = GITHUB_CLAIMS.replace(
            "\"event_name\"",
            "\"url\": \"https://evil.example\", \"event_name\"",
        );
        let config = |precedence| {
            ci_config(
                github("https://forge.example"),
                IssuerConfig {
                    claims_precedence: precedence,
                    ..Default::default()
                },
            )
        };
        let kept = principal(&config(ClaimsPrecedence::Defaults), &claims).unwrap();
        assert!(kept.san.text().starts_with("https://forge.example/"));
        // Even then the host is not the token's to choose.
        let refused = principal(&config(ClaimsPrecedence::Claims), &claims);
        assert!(
            matches!(refused, Err(TokenError::IdentityNotAllowed { .. })),
            "{refused:?}"
        );
        let same_host = claims.replace("https://evil.example", "https://forge.example/sub");
        let moved = principal(&config(ClaimsPrecedence::Claims), &same_host).unwrap();
        assert!(
            moved
                .san
                .text()
                .starts_with("https://forge.example/sub/o/r/")
        );
        // An empty default declares an optional claim, and the claim fills it.
        let deployed = GITHUB_CLAIMS.replace(
            "\"event_name\"",
            "\"environment\": \"prod\", \"event_name\"",
        );
        let deployed = principal(&config(ClaimsPrecedence::Defaults), &deployed).unwrap();
        assert_eq!(
            deployed.extensions.last(),
            Some(&(Extension::DeploymentEnvironment, "prod".into()))
        );
    }

    #[test]
    fn claims_that_bend_a_workflow_identity_are_refused() {
        let config = ci_config(github("https://forge.example"), IssuerConfig::default());
        let with = |value: &str| {
            principal(
                &config,
                &GITHUB_CLAIMS.replace("\"o/r/.github/workflows/b.yml@refs/heads/main\"", value),
            )
        };
        for bad in ["{\"a\":1}", "[\"x\"]"] {
            assert!(
                matches!(with(bad), Err(TokenError::InvalidClaim { .. })),
                "{bad}"
            );
        }
        for bad in ["\"\"", "null"] {
            assert!(
                matches!(with(bad), Err(TokenError::MissingClaim { .. })),
                "{bad}"
            );
        }
        for bad in [
            "\"a/../../b\"",
            "\"../b\"",
            "\"/a\"",
            "\"a//b\"",
            "\"a/./b\"",
        ] {
            assert!(
                matches!(with(bad), Err(TokenError::IdentityNotAllowed { .. })),
                "{bad}: {:?}",
                with(bad)
            );
        }
        let escaped = with("\"a/b?q#f g\"").unwrap();
        assert_eq!(escaped.san.text(), "https://forge.example/a/b%3Fq%23f%20g");
        assert!(with(&format!("\"{}\"", "a".repeat(MAX_VALUE_BYTES))).is_err());
        let control = GITHUB_CLAIMS.replace("Build é", "a\\u0000b");
        assert!(matches!(
            principal(&config, &control),
            Err(TokenError::InvalidClaim { .. })
        ));
    }

    #[test]
    fn the_host_of_a_template_without_one_is_the_issuers() {
        let provider = |template: &str| CiProviderConfig {
            subject_alternative_name_template: template.to_owned(),
            ..CiProviderConfig::default()
        };
        let gitlab = ci_config(
            provider("https://{{ .ci_config_ref_uri }}"),
            IssuerConfig::default(),
        );
        let claims = |uri: &str| format!(r#"{{"sub":"s","ci_config_ref_uri":"{uri}"}}"#);
        assert!(principal(&gitlab, &claims("ci.example/g/p//.ci.yml@refs/heads/main")).is_err());
        assert!(principal(&gitlab, &claims("ci.example/g/p/.ci.yml@refs/heads/main")).is_ok());
        assert!(principal(&gitlab, &claims("evil.example/g/p/.ci.yml")).is_err());
        assert!(principal(&gitlab, &claims("ci.example.evil.example/g")).is_err());
        let relative = ci_config(provider("path"), IssuerConfig::default());
        assert!(principal(&relative, r#"{"sub":"s","path":"/a"}"#).is_err());
        let glued = ci_config(
            provider("https://forge.example{{ .x }}/a"),
            IssuerConfig::default(),
        );
        assert!(principal(&glued, r#"{"sub":"s","x":".evil.example"}"#).is_err());
    }

    #[test]
    fn configurations_that_cannot_work_stop_the_start() {
        type Expectation = fn(&ConfigError) -> bool;
        let key = |wanted: &'static str| move |error: &ConfigError| matches!(error, ConfigError::Key { key, .. } if *key == wanted);
        let url: Expectation = |error| matches!(error, ConfigError::IssuerUrl { .. });
        let base = IssuerConfig::default;
        let refused = |issuer_url: &str, issuer: IssuerConfig| {
            Issuers::new(&one(issuer_url, issuer)).unwrap_err()
        };

        assert!(url(&refused("http://idp.example", base())));
        assert!(url(&refused("idp", base())));
        assert!(key("client-id")(&refused(
            "https://a.b",
            IssuerConfig {
                client_id: String::new(),
                ..base()
            }
        )));
        let repeated = IssuerConfig {
            issuer_url: Some("https://a.b/".into()),
            ..base()
        };
        assert!(key("issuer-url")(&refused("https://a.b", repeated)));
        let uri = |domain: Option<&str>| IssuerConfig {
            r#type: IssuerType::Uri,
            subject_domain: domain.map(str::to_owned),
            ..base()
        };
        for domain in [
            None,
            Some("b.c"),
            Some("https://b.c/path"),
            Some("http://x.b.c"),
            Some("https://c"),
            Some("https://x.d.c"),
        ] {
            assert!(
                key("subject-domain")(&refused("https://a.b.c", uri(domain))),
                "{domain:?}"
            );
        }
        assert!(Issuers::new(&one("https://a.b.c", uri(Some("https://x.b.c")))).is_ok());
        let zero = IssuerConfig {
            max_token_lifetime: Seconds(0),
            ..base()
        };
        assert!(key("max-token-lifetime")(&refused("https://a.b", zero)));
        for (wanted, issuer) in [
            (
                "issuer-claim",
                IssuerConfig {
                    issuer_claim: Some("$.a".into()),
                    ..uri(Some("https://a.b"))
                },
            ),
            (
                "issuer-claim",
                IssuerConfig {
                    issuer_claim: Some("$..a".into()),
                    ..base()
                },
            ),
            (
                "issuer-claim",
                IssuerConfig {
                    issuer_claim: Some("a".into()),
                    ..base()
                },
            ),
            (
                "ci-provider",
                IssuerConfig {
                    ci_provider: Some("x".into()),
                    ..base()
                },
            ),
            (
                "ci-provider",
                IssuerConfig {
                    r#type: IssuerType::CiProvider,
                    ..base()
                },
            ),
            (
                "subject-domain",
                IssuerConfig {
                    subject_domain: Some("https://a.b".into()),
                    ..base()
                },
            ),
            (
                "claims-precedence",
                IssuerConfig {
                    claims_precedence: ClaimsPrecedence::Claims,
                    ..base()
                },
            ),
        ] {
            assert!(key(wanted)(&refused("https://a.b", issuer)), "{wanted}");
        }
        let unknown = IssuerConfig {
            r#type: IssuerType::CiProvider,
            ci_provider: Some("none".into()),
            ..base()
        };
        assert!(matches!(
            refused("https://a.b", unknown),
            ConfigError::UnknownCiProvider { .. }
        ));
        let file = IssuerConfig {
            jwks_file: Some("/no/such/file".into()),
            ..base()
        };
        assert!(matches!(
            refused("https://a.b", file),
            ConfigError::KeyFile { .. }
        ));
        let pem = IssuerConfig {
            ca_cert: Some("nonsense".into()),
            ..base()
        };
        assert!(matches!(
            refused("https://a.b", pem),
            ConfigError::Client { .. }
        ));
        let mut provider = github("https://forge.example");
        provider
            .extension_templates
            .insert(Extension::BuildTrigger, "{{ .a | len }}".into());
        let template = Issuers::new(&ci_config(provider, base())).unwrap_err();
        assert!(
            matches!(template, ConfigError::Template { ref key, .. } if key == "build-trigger"),
            "{template}"
        );
    }

    #[test]
    fn the_configuration_reads_as_fulcios_does() {
        let config = r#"{
            "oidc-issuers": {
                "https://ci.example": {
                    "issuer-url": "https://ci.example", "client-id": "sigstore", "type": "ci-provider", "ci-provider": "ci",
                    "description": "d", "contact": "c", "environment": "production", "max-token-lifetime": "10m"
                },
                "https://idp.example": { "type": "email", "challenge-claim": "email", "ca-cert": null }
            },
            "ci-issuer-metadata": {
                "ci": {
                    "default-template-values": { "url": "https://forge.example" },
                    "extension-templates": { "build-trigger": "event_name", "runner-environment": "" },
                    "subject-alternative-name-template": "{{ .url }}/{{ .job_workflow_ref }}"
                }
            }
        }"#;
        let config: IssuersConfig = serde_json::from_str(config).unwrap();
        let issuers = Issuers::new(&config).unwrap();
        let kinds: Vec<_> = issuers
            .iter()
            .map(|issuer| (issuer.issuer_type(), issuer.challenge_claim()))
            .collect();
        assert_eq!(
            kinds,
            [
                (IssuerType::CiProvider, "sub"),
                (IssuerType::Email, "email")
            ]
        );
        assert_eq!(
            config.oidc_issuers["https://ci.example"].max_token_lifetime,
            Seconds(600)
        );
        for wrong in [
            r#"{"oidc-issuers":{"https://a.b":{"clientid":"x"}}}"#,
            r#"{"oidc-issuers":{"https://a.b":{"type":"spiffe"}}}"#,
            r#"{"oidc-issuers":{"https://a.b":{"max-token-lifetime":"10"}}}"#,
            r#"{"oidc-issuers":{"https://a.b":{"max-token-lifetime":"-1s"}}}"#,
            r#"{"ci-issuer-metadata":{"ci":{"extension-templates":{"unknown":"x"}}}}"#,
        ] {
            assert!(
                serde_json::from_str::<IssuersConfig>(wrong).is_err(),
                "{wrong}"
            );
        }
        let again: IssuersConfig =
            serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
        assert!(Issuers::new(&again).is_ok());
    }

    #[test]
    fn extension_keys_and_numbers_agree_with_their_serialised_names() {
        for extension in Extension::ALL {
            assert_eq!(serde_json::to_value(extension).unwrap(), extension.key());
        }
        let numbers: Vec<u32> = Extension::ALL.map(Extension::number).into();
        assert_eq!(numbers, (2..=6).chain(9..=23).collect::<Vec<u32>>());
    }

    #[test]
    fn challenges_are_the_configured_claim_the_verified_email_and_the_subject() {
        let config = one(
            "https://a.b",
            IssuerConfig {
                challenge_claim: Some("login".into()),
                ..Default::default()
            },
        );
        let claims = r#"{"sub":"7","login":"ann","email":"ann@b.c","email_verified":true}"#;
        assert_eq!(
            principal(&config, claims).unwrap().challenges,
            ["ann", "ann@b.c", "7"]
        );
        let provider = CiProviderConfig {
            subject_alternative_name_template: "https://forge.example/{{ .sub }}".into(),
            ..CiProviderConfig::default()
        };
        let ci = ci_config(
            provider,
            IssuerConfig {
                challenge_claim: Some("email".into()),
                ..Default::default()
            },
        );
        let unverified = claims.replace("true", "false");
        assert_eq!(
            principal(&ci, &unverified).unwrap().challenges,
            ["7"],
            "an unverified address proves nothing"
        );
    }

    #[tokio::test]
    async fn a_token_is_followed_from_the_provider_to_the_identity() {
        let minter = Minter::es256("k");
        let fake = FakeProvider::start(std::slice::from_ref(&minter)).await;
        let issuer = IssuerConfig {
            insecure_http: true,
            ..IssuerConfig::default()
        };
        let issuers = Issuers::new(&one(fake.issuer(), issuer)).unwrap();
        let claims = |exp: i64| {
            let iss = fake.issuer();
            format!(
                r#"{{"iss":"{iss}","aud":"sigstore","sub":"s","email":"a@b.c","email_verified":true,"iat":{NOW},"exp":{exp}}}"#
            )
        };
        let token = minter.sign(&claims(NOW + 60));
        let verified = issuers.verify(&token, NOW).await.unwrap();
        assert_eq!(
            verified.principal().unwrap().san,
            San::Email("a@b.c".into())
        );
        assert_eq!(verified.issuer().url(), fake.issuer());

        assert!(matches!(
            issuers.verify(&token, NOW + 60).await,
            Err(TokenError::Expired { .. })
        ));
        let stranger = Minter::es256("k").sign(&claims(NOW + 60));
        assert_eq!(
            issuers.verify(&stranger, NOW).await.unwrap_err(),
            TokenError::BadSignature
        );
        let elsewhere =
            minter.sign(&claims(NOW + 60).replace(fake.issuer(), "https://other.example"));
        assert!(matches!(
            issuers.verify(&elsewhere, NOW).await,
            Err(TokenError::UnknownIssuer { .. })
        ));
        assert_eq!(fake.key_fetches(), 1);
        let health = issuers.health(NOW + 5);
        assert_eq!((health[0].keys.keys, health[0].keys.age), (1, Some(5)));
    }

    #[tokio::test]
    async fn refused_claims_never_reach_the_provider() {
        let minter = Minter::es256("k");
        let fake = FakeProvider::start(std::slice::from_ref(&minter)).await;
        let issuer = IssuerConfig {
            insecure_http: true,
            ..IssuerConfig::default()
        };
        let issuers = Issuers::new(&one(fake.issuer(), issuer)).unwrap();
        let iss = fake.issuer();
        let expired = minter.sign(&format!(
            r#"{{"iss":"{iss}","aud":"sigstore","sub":"s","iat":1,"exp":2}}"#
        ));
        assert!(matches!(
            issuers.verify(&expired, NOW).await,
            Err(TokenError::Expired { .. })
        ));
        assert_eq!(fake.requests(), 0);
        issuers.warm(NOW).await;
        assert_eq!(fake.key_fetches(), 1);
    }

    proptest::proptest! {
        #[test]
        fn whatever_uri_is_accepted_is_on_the_origin_and_unambiguous(rest in "[-a-z0-9./@:?#%&\\\\ é]{0,24}") {
            let uri = format!("https://forge.example{rest}");
            let allowed = Origin { scheme: "https".into(), host: "forge.example".into(), port: Some(443) };
            if check_uri(&uri, std::slice::from_ref(&allowed)).is_ok() {
                assert!(rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'), "{uri}");
                assert!(!rest.split('/').any(|segment| segment == ".." || segment == "."), "{uri}");
                assert!(!rest.contains('#') && uri.is_ascii(), "{uri}");
            }
        }
    }
}
