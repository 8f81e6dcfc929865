//! Identity tokens that the machine offers: CI systems, clouds, workload APIs, files and programs.
//!
//! Each provider is a row of one table, in a fixed order: the first row that recognises the machine is used, and the answer
//! to "which was it" is [`Ambient::name`]. Recognising looks at variables and files alone. A provider that is recognised and
//! gives no token is an error that says what to set: going on to another way would sign as somebody else, or hang a pipeline
//! at a login page.
//!
//! Tokens are read again at each use, since machines replace them, and are checked here for their form and life; whom they
//! are for is checked before they are sent to a certificate authority.

mod command;
mod fetch;
mod spiffe;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::error::{AmbientProblem, Error};
use crate::identity::{IdentityToken, TOKEN_VARIABLE, TokenRequest};

/// Where a projected token is mounted by convention.
const SIGSTORE_TOKEN_FILE: &str = "/var/run/sigstore/cosign/oidc-token";
/// Where the firmware of a virtual machine names its maker.
const PRODUCT_NAME_FILE: &str = "/sys/class/dmi/id/product_name";

/// Environment variables and files of the machine, as values: this crate reads no environment of its own.
#[derive(Clone)]
pub struct Surroundings {
    variables: BTreeMap<String, String>,
    root: PathBuf,
}

impl fmt::Debug for Surroundings {
    /// Variables hold tokens, so their values stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("root", &self.root)
            .field("variables", &self.variables.len())
            .finish()
    }
}

impl Surroundings {
    /// These variables, and the files of this machine.
    #[must_use]
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            variables: variables.into_iter().collect(),
            root: PathBuf::from("/"),
        }
    }

    /// Looks for files that have a fixed place below `root` instead.
    #[must_use]
    pub fn with_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// A variable; an empty one counts as not set.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    fn is_true(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The variables a program of a provider's own needs: those with its prefixes, and what every program needs.
    fn for_program<'a>(
        &'a self,
        prefixes: &'a [String],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.variables
            .iter()
            .filter(move |(name, _)| {
                ["PATH", "HOME", "LANG", "TMPDIR"].contains(&name.as_str())
                    || prefixes
                        .iter()
                        .any(|prefix| match prefix.strip_suffix('*') {
                            Some(prefix) => name.starts_with(prefix),
                            None => *name == prefix,
                        })
            })
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Whether the machine is asked for a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmbientChoice {
    /// If it is recognised.
    #[default]
    Detect,
    /// Never.
    Off,
    /// This provider and no other, recognised or not.
    Only(String),
}

/// A provider that a profile adds, for machines that no table knows. In TOML:
///
/// ```
/// # let text = r#"
/// ambient = [
///   { env = "CORP_ID_TOKEN" },
///   { file = "/run/secrets/id-token" },
///   { command = ["vault-token", "--audience", "{audience}"], pass = ["VAULT_ADDR"] },
/// ]
/// # "#;
/// # let settings = sealwright_sdk::ProfileSettings::parse("example", text)?;
/// # assert_eq!(settings.ambient.len(), 3);
/// # Ok::<(), sealwright_sdk::Error>(())
/// ```
///
/// The first that is there is used: a variable that is set, a file that exists, and a program always.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "one of { env = NAME }, { file = PATH }, { command = [PROGRAM, ARGUMENT...], pass = [NAME...] }"
)]
#[non_exhaustive]
pub enum Configured {
    /// A variable that holds the token.
    #[non_exhaustive]
    Variable(VariableSetting),
    /// A file that holds it, read at each use.
    #[non_exhaustive]
    File(FileSetting),
    /// A program that prints it. No shell is involved; it runs with `PATH`, `HOME`, `LANG` and `TMPDIR` and what `pass` names,
    /// and has 30 seconds and 64 KiB.
    #[non_exhaustive]
    Command(CommandSetting),
}

/// `{ env = NAME }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableSetting {
    /// The variable's name.
    pub env: String,
}

/// `{ file = PATH }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSetting {
    /// The file.
    pub file: PathBuf,
}

/// `{ command = [PROGRAM, ARGUMENT...], pass = [NAME...] }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSetting {
    /// Program and arguments; `{audience}` in an argument stands for whom the token shall be for.
    pub command: Vec<String>,
    /// Variables the program gets besides the usual four; a name that ends with `*` stands for all that begin so.
    #[serde(default)]
    pub pass: Vec<String>,
}

/// One row of the table.
#[derive(Debug)]
struct Provider {
    /// For flags and programs.
    name: &'static str,
    /// For people.
    title: &'static str,
    /// How the machine is recognised.
    recognise: fn(&Surroundings) -> bool,
    way: Way,
    /// What to set when there is no token.
    help: &'static str,
}

/// How a token is got.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// `GET URL&audience=A` with a bearer token (GitHub, and Gitea and Forgejo after it).
    Actions,
    /// A variable named for the audience.
    NamedForAudience,
    /// The agent's API, or else the agent.
    Buildkite,
    /// The `circleci` program, or else the variables of old.
    CircleCi,
    /// `POST URL?api-version=7.1` with a bearer token.
    AzurePipelines,
    /// A variable.
    Variable(&'static str),
    /// The workload API: gRPC on a socket.
    Spiffe,
    /// A file at a fixed place.
    FixedFile(&'static str),
    /// A file that a variable names.
    NamedFile(&'static str),
    /// Impersonation of a service account, or the metadata server's own identity.
    Google,
}

/// The order in which machines are recognised. What a build system says of its own comes before what the cloud below it says:
/// a runner of one's own may stand anywhere.
static PROVIDERS: [Provider; 14] = [
    Provider {
        name: "forgejo-actions",
        title: "Forgejo or Gitea Actions",
        recognise: |at| at.is_true("FORGEJO_ACTIONS") || at.is_true("GITEA_ACTIONS"),
        way: Way::Actions,
        help: "let the job ask for tokens: `enable-openid-connect: true` in the job (Forgejo) or `permissions: id-token: write` (Gitea)",
    },
    Provider {
        name: "github-actions",
        title: "GitHub Actions",
        recognise: |at| {
            at.is_true("GITHUB_ACTIONS") || at.variable("ACTIONS_ID_TOKEN_REQUEST_URL").is_some()
        },
        way: Way::Actions,
        help: "give the job `permissions: id-token: write`; workflows of forks do not get it",
    },
    Provider {
        name: "gitlab",
        title: "GitLab CI",
        recognise: |at| at.is_true("GITLAB_CI"),
        way: Way::NamedForAudience,
        help: "give the job `id_tokens: SIGSTORE_ID_TOKEN: aud: sigstore`",
    },
    Provider {
        name: "buildkite-agent",
        title: "Buildkite",
        recognise: |at| {
            at.is_true("BUILDKITE") || at.variable("BUILDKITE_AGENT_ACCESS_TOKEN").is_some()
        },
        way: Way::Buildkite,
        help: "run within the job, with BUILDKITE_AGENT_ACCESS_TOKEN and BUILDKITE_JOB_ID or the buildkite-agent program in reach",
    },
    Provider {
        name: "circleci",
        title: "CircleCI",
        recognise: |at| at.is_true("CIRCLECI"),
        way: Way::CircleCi,
        help: "run within a job that has a context, with the circleci program in reach",
    },
    Provider {
        name: "azure-pipelines",
        title: "Azure Pipelines",
        recognise: |at| at.is_true("TF_BUILD") || at.variable("SYSTEM_OIDCREQUESTURI").is_some(),
        way: Way::AzurePipelines,
        help: "map the job's token in the step: `env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)`",
    },
    Provider {
        name: "bitbucket",
        title: "Bitbucket Pipelines",
        recognise: |at| at.variable("BITBUCKET_BUILD_NUMBER").is_some(),
        way: Way::Variable("BITBUCKET_STEP_OIDC_TOKEN"),
        help: "give the step `oidc: true`",
    },
    Provider {
        name: "cirrus",
        title: "Cirrus CI",
        recognise: |at| at.is_true("CIRRUS_CI"),
        way: Way::Variable("CIRRUS_OIDC_TOKEN"),
        help: "give the task `aud`s of its own for CIRRUS_OIDC_TOKEN and write access to the repository",
    },
    Provider {
        name: "spiffe",
        title: "the SPIFFE Workload API",
        recognise: |at| at.variable("SPIFFE_ENDPOINT_SOCKET").is_some(),
        way: Way::Spiffe,
        help: "name the agent's socket in SPIFFE_ENDPOINT_SOCKET and register the workload with it",
    },
    Provider {
        name: "filesystem",
        title: "a projected token",
        recognise: |at| at.place(SIGSTORE_TOKEN_FILE).exists(),
        way: Way::FixedFile(SIGSTORE_TOKEN_FILE),
        help: "project a service account token there, readable for this user",
    },
    Provider {
        name: "azure-workload-identity",
        title: "Azure workload identity",
        recognise: |at| at.variable("AZURE_FEDERATED_TOKEN_FILE").is_some(),
        way: Way::NamedFile("AZURE_FEDERATED_TOKEN_FILE"),
        help: "label the pod for workload identity, so that AZURE_FEDERATED_TOKEN_FILE names its token",
    },
    Provider {
        name: "aws-web-identity",
        title: "AWS web identity",
        recognise: |at| at.variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_some(),
        way: Way::NamedFile("AWS_WEB_IDENTITY_TOKEN_FILE"),
        help: "give the pod a service account for which AWS_WEB_IDENTITY_TOKEN_FILE is set",
    },
    Provider {
        name: "google",
        title: "Google Cloud",
        recognise: fetch::on_google,
        way: Way::Google,
        help: "give the machine a service account, or name one it may impersonate in GOOGLE_SERVICE_ACCOUNT_NAME",
    },
    Provider {
        name: "envvar",
        title: "the environment",
        // SIGSTORE_ID_TOKEN is looked at before any of these; the row is for whoever names it.
        recognise: |_| false,
        way: Way::Variable(TOKEN_VARIABLE),
        help: "set SIGSTORE_ID_TOKEN",
    },
];

/// A provider of this machine, ready to be asked.
#[derive(Clone)]
pub struct Ambient {
    choice: Choice,
    surroundings: Arc<Surroundings>,
}

#[derive(Clone)]
enum Choice {
    Known(&'static Provider),
    Configured(Configured),
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ambient({})", self.name())
    }
}

impl Ambient {
    /// The first provider that recognises the machine, of those configured and then of the table; `None` when none does.
    ///
    /// # Errors
    /// [`Error::Ambient`] when the one it is lacks a variable it always needs.
    pub fn detect(
        configured: &[Configured],
        surroundings: &Surroundings,
    ) -> Result<Option<Self>, Error> {
        let configured = configured
            .iter()
            .find(|provider| provider.is_there(surroundings))
            .map(|provider| Choice::Configured(provider.clone()));
        let known = || {
            let found = PROVIDERS.iter().find(|row| (row.recognise)(surroundings));
            found.map(Choice::Known)
        };
        let Some(choice) = configured.or_else(known) else {
            return Ok(None);
        };
        Self::new(choice, surroundings).map(Some)
    }

    /// The provider of this name, recognised or not; `profile` is the first configured one.
    ///
    /// # Errors
    /// [`Error::Ambient`] when there is none, or it lacks a variable it always needs.
    pub fn named(
        name: &str,
        configured: &[Configured],
        surroundings: &Surroundings,
    ) -> Result<Self, Error> {
        if name == "profile"
            && let Some(provider) = configured
                .iter()
                .find(|provider| provider.is_there(surroundings))
        {
            return Self::new(Choice::Configured(provider.clone()), surroundings);
        }
        let row = PROVIDERS.iter().find(|row| row.name == name);
        let row = row.ok_or_else(|| Error::Ambient {
            provider: format!("{name:?}"),
            problem: AmbientProblem::Unknown(Self::names().collect::<Vec<_>>().join(", ")),
            help: "use one of these names".into(),
        })?;
        Self::new(Choice::Known(row), surroundings)
    }

    /// The names that [`Self::named`] knows, in the order in which machines are recognised.
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::once("profile").chain(PROVIDERS.iter().map(|row| row.name))
    }

    /// Its name, for programs.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.choice {
            Choice::Known(row) => row.name,
            Choice::Configured(_) => "profile",
        }
    }

    /// Its name, for people.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.choice {
            Choice::Known(row) => row.title.into(),
            Choice::Configured(Configured::Variable(setting)) => {
                format!("the profile's variable {}", setting.env)
            }
            Choice::Configured(Configured::File(setting)) => {
                format!("the profile's file {}", setting.file.display())
            }
            Choice::Configured(Configured::Command(setting)) => format!(
                "the profile's command {:?}",
                setting.command.first().map_or("", String::as_str)
            ),
        }
    }

    fn new(choice: Choice, surroundings: &Surroundings) -> Result<Self, Error> {
        let ambient = Self {
            choice,
            surroundings: Arc::new(surroundings.clone()),
        };
        let missing = match &ambient.choice {
            Choice::Known(row) => fetch::missing(row.way, surroundings),
            Choice::Configured(_) => None,
        };
        match missing {
            Some(what) => Err(ambient.failed(AmbientProblem::Missing(what))),
            None => Ok(ambient),
        }
    }

    /// Asks for a token.
    pub(crate) async fn obtain(&self, request: &TokenRequest<'_>) -> Result<IdentityToken, Error> {
        tracing::info!(
            provider = self.name(),
            audience = request.audience,
            "the machine is asked for an identity token"
        );
        let text = match &self.choice {
            Choice::Known(row) => fetch::token(row.way, &self.surroundings, request).await,
            Choice::Configured(provider) => {
                provider.token(&self.surroundings, request.audience).await
            }
        };
        let text = text.map_err(|problem| self.failed(problem))?;
        let token = IdentityToken::parse(&text)
            .and_then(|token| token.check_life(request.now).map(|()| token));
        token.map_err(|problem| self.failed(problem.into()))
    }

    fn failed(&self, problem: AmbientProblem) -> Error {
        let help = match &self.choice {
            Choice::Known(row) => row.help,
            Choice::Configured(_) => "look at the entry in the profile's settings",
        };
        Error::Ambient {
            provider: self.title(),
            problem,
            help: help.to_owned(),
        }
    }
}

impl Configured {
    fn is_there(&self, surroundings: &Surroundings) -> bool {
        match self {
            Self::Variable(setting) => surroundings.variable(&setting.env).is_some(),
            Self::File(setting) => setting.file.exists(),
            Self::Command(_) => true,
        }
    }

    async fn token(
        &self,
        surroundings: &Surroundings,
        audience: &str,
    ) -> Result<zeroize::Zeroizing<String>, AmbientProblem> {
        match self {
            Self::Variable(setting) => fetch::variable(surroundings, &setting.env),
            Self::File(setting) => fetch::file(&setting.file),
            Self::Command(setting) => {
                let filled = setting
                    .command
                    .iter()
                    .map(|argument| argument.replace("{audience}", audience));
                command::run(
                    &filled.collect::<Vec<_>>(),
                    surroundings.for_program(&setting.pass),
                )
                .await
            }
        }
    }
}

/// What a profile says beside its trust material: `PROFILE.toml` next to the profile's directory, written by hand.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProfileSettings {
    /// Providers of identity tokens that no table knows.
    pub ambient: Vec<Configured>,
}

/// A page of settings is long.
const MAX_SETTINGS_BYTES: usize = 64 * 1024;

impl ProfileSettings {
    /// Reads a settings file; one that is not there says nothing.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Input`] when it is not understood.
    pub fn read(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = crate::file::read_capped("profile settings", path, MAX_SETTINGS_BYTES)?;
        Self::parse(
            &path.display().to_string(),
            &String::from_utf8_lossy(&bytes),
        )
    }

    /// Reads settings in TOML. `origin` says in errors where they came from.
    ///
    /// # Errors
    /// [`Error::Input`].
    pub fn parse(origin: &str, text: &str) -> Result<Self, Error> {
        let input = |problem: String| Error::input(format!("profile settings {origin}"), problem);
        let settings: Self =
            toml::from_str(text).map_err(|error| input(error.to_string().trim_end().to_owned()))?;
        let empty = |provider: &Configured| matches!(provider, Configured::Command(setting) if setting.command.is_empty());
        if settings.ambient.iter().any(empty) {
            return Err(input(
                "an ambient command names no program; expected command = [PROGRAM, ARGUMENT...]"
                    .into(),
            ));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Surroundings::new(variables).with_root("/nonexistent")
    }

    /// The row that recognises a machine, or the error of one that lacks something.
    fn recognised(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let found = Ambient::detect(&[], &surroundings(variables));
        found
            .map(|found| found.map(|ambient| ambient.name().to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn machines_are_recognised_in_a_fixed_order() {
        let actions = [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://ci.test/?a=b"),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
        ];
        let with = |more: &[(&'static str, &'static str)]| [&actions[..], more].concat();
        for (variables, expected) in [
            (vec![], None),
            (vec![("GITLAB_CI", "")], None),
            (with(&[]), Some("github-actions")),
            (
                with(&[("FORGEJO_ACTIONS", "true"), ("GITHUB_ACTIONS", "true")]),
                Some("forgejo-actions"),
            ),
            // A runner of one's own may stand in a cloud and beside an agent.
            (
                with(&[
                    ("GOOGLE_SERVICE_ACCOUNT_NAME", "a@b"),
                    ("SPIFFE_ENDPOINT_SOCKET", "unix:///s"),
                ]),
                Some("github-actions"),
            ),
            (
                vec![("GITLAB_CI", "true"), ("SIGSTORE_ID_TOKEN", "t")],
                Some("gitlab"),
            ),
            (
                vec![
                    ("BUILDKITE_AGENT_ACCESS_TOKEN", "t"),
                    ("BUILDKITE_JOB_ID", "j"),
                ],
                Some("buildkite-agent"),
            ),
            (vec![("CIRCLECI", "true")], Some("circleci")),
            (
                vec![
                    ("SYSTEM_OIDCREQUESTURI", "https://a"),
                    ("SYSTEM_ACCESSTOKEN", "t"),
                ],
                Some("azure-pipelines"),
            ),
            (
                vec![
                    ("BITBUCKET_BUILD_NUMBER", "1"),
                    ("BITBUCKET_STEP_OIDC_TOKEN", "t"),
                ],
                Some("bitbucket"),
            ),
            (
                vec![("CIRRUS_CI", "true"), ("CIRRUS_OIDC_TOKEN", "t")],
                Some("cirrus"),
            ),
            (
                vec![
                    ("SPIFFE_ENDPOINT_SOCKET", "unix:///s"),
                    ("AWS_WEB_IDENTITY_TOKEN_FILE", "/f"),
                ],
                Some("spiffe"),
            ),
            (
                vec![("AZURE_FEDERATED_TOKEN_FILE", "/f")],
                Some("azure-workload-identity"),
            ),
            (
                vec![("AWS_WEB_IDENTITY_TOKEN_FILE", "/f")],
                Some("aws-web-identity"),
            ),
            (vec![("GOOGLE_SERVICE_ACCOUNT_NAME", "a@b")], Some("google")),
        ] {
            assert_eq!(
                recognised(&variables),
                Ok(expected.map(str::to_owned)),
                "{variables:?}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        for (variables, missing, remedy) in [
            (
                vec![("GITHUB_ACTIONS", "true")],
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                "permissions: id-token: write",
            ),
            (
                vec![("ACTIONS_ID_TOKEN_REQUEST_URL", "https://a")],
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
                "permissions: id-token: write",
            ),
            (
                vec![("TF_BUILD", "True")],
                "SYSTEM_OIDCREQUESTURI",
                "SYSTEM_ACCESSTOKEN",
            ),
            (
                vec![("BITBUCKET_BUILD_NUMBER", "7")],
                "BITBUCKET_STEP_OIDC_TOKEN",
                "oidc: true",
            ),
            (vec![("CIRRUS_CI", "true")], "CIRRUS_OIDC_TOKEN", "task"),
        ] {
            let said = recognised(&variables).expect_err("something is missing");
            assert!(said.contains(missing) && said.contains(remedy), "{said}");
            assert!(said.contains("--oidc-disable-ambient-providers"), "{said}");
        }
    }

    #[test]
    fn files_at_fixed_places_recognise_a_machine() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str, text: &str| {
            let place = dir.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(place.parent().expect("a parent")).expect("made");
            std::fs::write(place, text).expect("written");
        };
        let machine = Surroundings::new([]).with_root(dir.path());
        let name = || {
            let found = Ambient::detect(&[], &machine).expect("nothing is missing");
            found.map(|ambient| ambient.name().to_owned())
        };
        assert_eq!(name(), None);
        at(PRODUCT_NAME_FILE, "Some Laptop\n");
        assert_eq!(name(), None);
        at(PRODUCT_NAME_FILE, "Google Compute Engine\n");
        assert_eq!(name().as_deref(), Some("google"));
        at(SIGSTORE_TOKEN_FILE, "token");
        assert_eq!(name().as_deref(), Some("filesystem"));
    }

    #[test]
    fn what_the_profile_configures_comes_first_if_it_is_there() {
        let text = r#"ambient = [{ env = "CORP_TOKEN" }, { file = "/nonexistent/token" }]"#;
        let settings = ProfileSettings::parse("test", text).expect("it parses");
        let name = |variables: &[(&str, &str)]| {
            let found = Ambient::detect(&settings.ambient, &surroundings(variables));
            found
                .expect("nothing is missing")
                .map(|ambient| ambient.name().to_owned())
        };
        let ci = ("CIRCLECI", "true");
        assert_eq!(name(&[ci, ("CORP_TOKEN", "t")]).as_deref(), Some("profile"));
        assert_eq!(name(&[ci]).as_deref(), Some("circleci"));
        for bad in [
            r#"ambient = [{ env = "A", file = "b" }]"#,
            r#"ambient = [{ shell = "rm" }]"#,
            "ambient = [{ command = [] }]",
            r#"ambient = [{ command = "one string" }]"#,
            "other = 1",
        ] {
            let error = ProfileSettings::parse("test", bad)
                .expect_err(bad)
                .to_string();
            assert!(error.contains("profile settings test"), "{error}");
        }
    }

    #[test]
    fn a_provider_can_be_named() {
        let machine = surroundings(&[("CIRCLECI", "true"), ("SIGSTORE_ID_TOKEN", "t")]);
        let named = |name| Ambient::named(name, &[], &machine);
        assert_eq!(named("envvar").expect("set").name(), "envvar");
        assert!(
            named("github-actions").is_err(),
            "its variables are missing"
        );
        let error = named("nobody").expect_err("unknown").to_string();
        assert!(
            error.contains("github-actions") && error.contains("spiffe"),
            "{error}"
        );
        let distinct: std::collections::BTreeSet<_> = Ambient::names().collect();
        assert_eq!(distinct.len(), PROVIDERS.len() + 1);
    }
}
