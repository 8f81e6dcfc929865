//! `init --layout apart`: a deployment whose roles run as processes, or on hosts, of their own.
//!
//! ```text
//! DIR/ca/ DIR/log/ DIR/tsa/ DIR/trust/   one directory a role: its configuration, its keys, its state, nobody else's
//! DIR/offline/                           keys that no server needs: roots, TUF's root and targets, the internal authority
//! ```
//!
//! Each folder is complete in itself and may be moved to the host where its role runs; none lies in a directory that a
//! role needs beside its own. Trust documents are not published here but by the operator, once the roles run and prove that
//! they hold their keys: `sealwrightd trust stage`, `sign`, `publish`.

use std::net::SocketAddr;
use std::path::Path;

use sealwright_crypto::{KeyType, Signer as _};
use sealwright_host::SharedClock;
use sealwright_host::config::ConfigError;
use sealwright_host::metrics::Registry;
use sealwright_trust::ceremony::{self, OfflineKeys, Roles};

use crate::assemble::{self, TRUST_STATE};
use crate::config::{self, CONFIG_FILE, DESCRIBE, Role, SUBMIT};
use crate::endpoints::{Endpoints, base_url};
use crate::error::Error;
use crate::files::{self, Readers};
use crate::init::{
    CT_LOG, DRAFT, OPTIONS_OF_HOST, SIGNATURE_LOG, issuer_section, issuer_url, quoted, tsa_section,
};
use crate::internal::{self, AUTHORITY_FILE, IDENTITY_FILE, name_of};
use crate::keys::KeyRing;
use crate::place::{Kind, Place};

/// Roles listen to clients this far above the port of the plan, in the order of [`Role::IN_PORT_ORDER`], ...
const PUBLIC_PORTS: u16 = 1;
/// ... and to each other this far above.
const INTERNAL_PORTS: u16 = 11;

/// What `init --layout apart` needs to know.
#[derive(Clone, Debug)]
pub struct ApartPlan {
    /// Base URL of the certificate authority, as clients will see it.
    pub ca_url: String,
    /// Base URL of the logs.
    pub log_url: String,
    /// Base URL of the timestamp authority.
    pub tsa_url: String,
    /// Base URL of the trust root's repository, before `/tuf`.
    pub trust_url: String,
    /// Ports are counted from this one: roles listen to clients at +1 to +4 (ca, log, tsa, trust), to each other at +11 to
    /// +13. An unspecified address (0.0.0.0) is for roles on hosts of their own, which find each other by name.
    pub listen: SocketAddr,
    /// Who runs it: in certificates and trust files.
    pub organization: String,
    /// The identity provider whose e-mail identities are certified.
    pub oidc_issuer: String,
    /// The audience of its tokens.
    pub oidc_client_id: String,
}

/// Makes the directories of all roles below `dir`, with their keys, certificates, logs and configurations, and the offline
/// keys.
///
/// # Errors
/// See [`Error`]; folders that hold a role are never touched, and one that was cut short is completed.
pub async fn init_apart(dir: &Path, plan: &ApartPlan, clock: &SharedClock) -> Result<(), Error> {
    let layout = Layout::of(plan)?;
    files::make_folder(dir)?;
    let claim = |name: &str| internal::claim(&dir.join(name));
    let (ca, log) = (claim(Role::Ca.name())?, claim(Role::Log.name())?);
    let (tsa, trust) = (claim(Role::Tsa.name())?, claim(Role::Trust.name())?);
    let offline = claim("offline")?;
    let places = [
        (Role::Ca, &ca),
        (Role::Log, &log),
        (Role::Tsa, &tsa),
        (Role::Trust, &trust),
    ];
    if let Some((_, made)) = places
        .iter()
        .find(|(_, place)| place.path(CONFIG_FILE).exists())
    {
        return Err(Error::AlreadyThere {
            dir: made.dir().to_owned(),
        });
    }

    let now = clock.unix();
    let ring = |place| {
        KeyRing::new(place, Kind::Production, &plan.organization, now)
            .with_offline(offline.dir().to_owned())
    };
    let authority = ring(&ca).certificate_authority()?;
    ring(&tsa).timestamp_authority()?;
    ring(&log).online("log", KeyType::Ed25519)?;
    let ct_key = ring(&log).online("ct_log", KeyType::EcP256)?;
    let online = ring(&trust).online("tuf_online", KeyType::EcP256)?;
    KeyRing::exchange_public(&authority, ct_key.as_ref(), &ca, &log)?;
    let authority = ring(&ca).internal_authority()?;
    for (role, place) in places {
        internal::equip(place.dir(), role, &authority, now)?;
    }
    start_repository(&trust, &offline, online.public_key(), now).await?;
    hand_out(&trust, &layout)?;

    // A configuration gets its name when everything it needs is there: what is cut short before is completed by another
    // `init`.
    for (role, place) in places {
        let draft = place.path(DRAFT);
        files::write_atomically(&draft, layout.config(role).as_bytes(), Readers::All)?;
        let mut validated = config::load(&draft, Some(role))?;
        if let Some(part) = &mut validated.parts.log {
            part.create = true;
            let registry = Registry::new();
            let services = assemble::open(validated.parts, place.dir(), &registry, clock, None);
            services.await?.shutdown().await;
        }
    }
    for (_, place) in places {
        let path = place.path(CONFIG_FILE);
        std::fs::rename(place.path(DRAFT), &path).map_err(Error::io(path))?;
    }
    Ok(())
}

/// The first root of the trust repository, signed by the root key; nothing is published yet.
async fn start_repository(
    trust: &Place,
    offline: &Place,
    online: &sealwright_crypto::PublicKey,
    now: i64,
) -> Result<(), Error> {
    let keys = OfflineKeys::open_or_create(offline.dir()).map_err(Error::service("trust"))?;
    let roles = Roles {
        root: &[&keys.root],
        root_threshold: 1,
        targets: &[keys.targets.public_key()],
        targets_threshold: 1,
        online,
    };
    let lifetime = sealwright_trust::Config::default().root_lifetime.as_secs();
    let expires = now.saturating_add(i64::try_from(lifetime).unwrap_or(i64::MAX));
    let root = ceremony::first_root(&roles, expires)
        .await
        .map_err(Error::service("trust"))?;
    let state = trust.private_folder(TRUST_STATE)?;
    match ceremony::create_repository(&state, &root) {
        Ok(()) | Err(sealwright_trust::Error::RepositoryExists { .. }) => Ok(()),
        Err(error) => Err(Error::service("trust")(error)),
    }
}

/// What clients are given: the first root, and the addresses.
fn hand_out(trust: &Place, layout: &Layout<'_>) -> Result<(), Error> {
    let first = ceremony::repository_dir(&trust.path(TRUST_STATE)).join("1.root.json");
    let root = std::fs::read(&first).map_err(Error::io(&first))?;
    let client = trust.path("client");
    files::make_folder(&client)?;
    files::write_if_different(&client.join("root.json"), &root, Readers::All)?;
    let endpoints = layout.endpoints().to_json();
    files::write_if_different(&client.join("endpoints.json"), &endpoints, Readers::All).map(|_| ())
}

/// A plan whose addresses have been judged.
#[derive(Debug)]
struct Layout<'a> {
    plan: &'a ApartPlan,
    ca: String,
    log: String,
    tsa: String,
    trust: String,
    issuer: String,
}

impl<'a> Layout<'a> {
    fn of(plan: &'a ApartPlan) -> Result<Self, Error> {
        let highest = INTERNAL_PORTS + 4;
        if plan.listen.port() == 0 || plan.listen.port() > u16::MAX - highest {
            let what = format!(
                "{}: ports are counted from this one up, so it is 1 to {}",
                plan.listen,
                u16::MAX - highest
            );
            return Err(ConfigError::unusable("listen", what).into());
        }
        Ok(Self {
            plan,
            ca: base_url(&plan.ca_url)?,
            log: base_url(&plan.log_url)?,
            tsa: base_url(&plan.tsa_url)?,
            trust: base_url(&plan.trust_url)?,
            issuer: issuer_url(&plan.oidc_issuer)?,
        })
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            ca: self.ca.clone(),
            log: self.log.clone(),
            ct: format!("{}/ct/{CT_LOG}", self.log),
            tsa: format!("{}/api/v1/timestamp", self.tsa),
            tuf: format!("{}/tuf", self.trust),
            oidc: None,
            console: self.trust.clone(),
            ca_tls: None,
        }
    }

    fn address(&self, role: Role, above: u16) -> SocketAddr {
        let place = Role::IN_PORT_ORDER.iter().position(|one| *one == role);
        let offset = u16::try_from(place.unwrap_or_default()).unwrap_or_default();
        SocketAddr::new(
            self.plan.listen.ip(),
            self.plan.listen.port() + above + offset,
        )
    }

    /// How others call `role`.
    fn internal_url(&self, role: Role) -> String {
        let port = self.address(role, INTERNAL_PORTS).port();
        format!("https://{}:{port}", name_of(role))
    }

    fn config(&self, role: Role) -> String {
        let base = match role {
            Role::Ca => &self.ca,
            Role::Log => &self.log,
            Role::Tsa => &self.tsa,
            // A witness is no part of a deployment.
            Role::Trust | Role::Witness => &self.trust,
        };
        format!(
            r#"# {what} of a Sealwright deployment whose roles run apart: `sealwrightd run {role} --dir .` Unknown keys are
# refused; `sealwrightd check-config --role {role}` reads this file and all it names.

[host]
listen = ["{listen}"]
public_url = "{base}"

{OPTIONS_OF_HOST}
{internal}
{section}"#,
            what = title(role),
            role = role.name(),
            listen = self.address(role, PUBLIC_PORTS),
            internal = self.internal(role),
            section = self.section(role),
        )
    }

    /// The process among the others: who it is, who may call it, whom it calls.
    fn internal(&self, role: Role) -> String {
        let trust = name_of(Role::Trust);
        let describe = format!("\"{trust}\" = [\"{DESCRIBE}\"]\n");
        let (allow, calls) = match role {
            Role::Ca => (describe, vec![Role::Log]),
            Role::Tsa => (describe, vec![]),
            Role::Log => {
                let submit = SUBMIT.map(|method| format!("    \"{method}\",\n")).concat();
                let ca = name_of(Role::Ca);
                (format!("\"{ca}\" = [\n{submit}]\n{describe}"), vec![])
            }
            Role::Trust => (String::new(), vec![Role::Ca, Role::Log, Role::Tsa]),
            Role::Witness => (String::new(), vec![]),
        };
        let mut text = "# How roles call each other: mutual TLS with certificates of an authority of their own. \
             `sealwrightd internal-cert`\n# renews them; files that change are read again.\n[internal]\n"
            .to_owned();
        if !allow.is_empty() {
            let listen = self.address(role, INTERNAL_PORTS);
            text.push_str(&format!("listen = \"{listen}\"\n"));
        }
        text.push_str(&format!(
            "certificate = \"{IDENTITY_FILE}\"\nkey = \"{IDENTITY_FILE}\"\nauthority = \"{AUTHORITY_FILE}\"\n"
        ));
        if !allow.is_empty() {
            text.push_str("\n# Who may call what here, by the name in the caller's certificate. Nobody else may call anything.\n[internal.allow]\n");
            text.push_str(&allow);
        }
        if !calls.is_empty() {
            text.push_str(&self.addresses(&calls));
        }
        text
    }

    /// Where the called roles are. On one machine that is known; elsewhere their names are looked up.
    fn addresses(&self, calls: &[Role]) -> String {
        let elsewhere = self.plan.listen.ip().is_unspecified();
        let mut text = if elsewhere {
            "\n# Roles are looked up by their names, unless this says where they are.\n# [internal.addresses]\n"
        } else {
            "\n# Where roles are found; without this they are looked up by their names.\n[internal.addresses]\n"
        }
        .to_owned();
        for role in calls {
            let address = self.address(*role, INTERNAL_PORTS);
            let (mark, address) = if elsewhere {
                (
                    "# ",
                    format!("{}.example.com:{}", role.name(), address.port()),
                )
            } else {
                ("", address.to_string())
            };
            text.push_str(&format!("{mark}\"{}\" = \"{address}\"\n", name_of(*role)));
        }
        text
    }

    fn section(&self, role: Role) -> String {
        let operator = quoted(&self.plan.organization);
        let endpoints = self.endpoints();
        match role {
            Role::Ca => format!(
                r#"[ca]
url = "{url}"
operator = {operator}
key = "file:keys/ca.key"
chain = "keys/ca_chain.pem"

[ca.ct]
log = "{CT_LOG}"
url = "{log}"
public_key = "keys/ct_log.pub"

{issuers}
"#,
                url = endpoints.ca,
                log = self.internal_url(Role::Log),
                issuers = issuer_section(&self.issuer, &self.plan.oidc_client_id),
            ),
            Role::Tsa => tsa_section(&endpoints.tsa, &operator),
            Role::Log => format!(
                r#"[[log]]
name = "{SIGNATURE_LOG}"
kind = "rekor"
url = "{log}"
operator = {operator}
key = "file:keys/log.key"
# Somebody outside should remember how large the log is: docs/log-operations.md and docs/witnesses.md.
# mirrors = ["https://mirror.example.com/log-2026a"]
# witness_policy = "witnesses.policy"
# witness_mode = "required"
# guard = "required"

# Only the certificate authority submits; everybody may read. `public_submission = true` opens it.
[[log]]
name = "{CT_LOG}"
kind = "ct"
url = "{ct}"
operator = {operator}
key = "file:keys/ct_log.key"
roots = ["keys/ca_root.pem"]
"#,
                log = endpoints.log,
                ct = endpoints.ct,
            ),
            Role::Witness => String::new(),
            Role::Trust => format!(
                r#"# The online key of the trust root is {key}; root and targets keys belong on a medium apart.
[trust]
operator = {operator}
oidc_urls = ["{issuer}"]
# Asked for their keys, and for proof that they hold them, when a change is staged.
services = [
    "{ca}",
    "{log}",
    "{tsa}",
]
"#,
                key = config::ONLINE_KEY,
                issuer = self.issuer,
                ca = self.internal_url(Role::Ca),
                log = self.internal_url(Role::Log),
                tsa = self.internal_url(Role::Tsa),
            ),
        }
    }
}

const fn title(role: Role) -> &'static str {
    match role {
        Role::Ca => "The certificate authority",
        Role::Log => "The transparency logs",
        Role::Tsa => "The timestamp authority",
        Role::Trust => "The trust root",
        Role::Witness => "A witness",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use sealwright_host::clock::SystemClock;

    use super::*;

    fn plan(listen: &str) -> ApartPlan {
        ApartPlan {
            ca_url: "https://ca.example.com".to_owned(),
            log_url: "https://log.example.com".to_owned(),
            tsa_url: "https://tsa.example.com".to_owned(),
            trust_url: "https://trust.example.com".to_owned(),
            listen: listen.parse().unwrap(),
            organization: "Example".to_owned(),
            oidc_issuer: "https://accounts.example.com".to_owned(),
            oidc_client_id: "sigstore".to_owned(),
        }
    }

    /// Files below `dir`, relative.
    fn files_below(dir: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(dir).unwrap().to_owned());
                }
            }
        }
        found
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_role_gets_its_own_keys_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        init_apart(folder.path(), &plan("127.0.0.1:7700"), &clock)
            .await
            .unwrap();
        let expected: [(&str, &[&str]); 5] = [
            ("ca", &["keys/ca.key", "keys/internal.pem"]),
            (
                "log",
                &["keys/ct_log.key", "keys/internal.pem", "keys/log.key"],
            ),
            ("tsa", &["keys/internal.pem", "keys/tsa.key"]),
            ("trust", &["keys/internal.pem", "keys/tuf_online.key"]),
            (
                "offline",
                &[
                    "ca_root.key",
                    "internal_ca.key",
                    "root.pem",
                    "targets.pem",
                    "tsa_root.key",
                ],
            ),
        ];
        for (name, keys) in expected {
            let dir = folder.path().join(name);
            let secret: Vec<String> = files_below(&dir)
                .into_iter()
                .filter(|file| {
                    let bytes = std::fs::read(dir.join(file)).unwrap();
                    String::from_utf8_lossy(&bytes).contains("PRIVATE KEY")
                })
                .map(|file| file.display().to_string())
                .collect();
            assert_eq!(secret, keys, "{name}");
        }
        for role in Role::ALL {
            config::load(
                &folder.path().join(role.name()).join(CONFIG_FILE),
                Some(role),
            )
            .unwrap();
        }
        let again = init_apart(folder.path(), &plan("127.0.0.1:7700"), &clock).await;
        assert!(matches!(again, Err(Error::AlreadyThere { .. })));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_cut_short_is_completed_and_foreign_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        init_apart(folder.path(), &plan("127.0.0.1:7700"), &clock)
            .await
            .unwrap();
        let key = std::fs::read(folder.path().join("ca/keys/ca.key")).unwrap();
        let root = std::fs::read(folder.path().join("trust/client/root.json")).unwrap();
        for role in Role::ALL {
            std::fs::remove_file(folder.path().join(role.name()).join(CONFIG_FILE)).unwrap();
        }
        std::fs::remove_file(folder.path().join("tsa/keys/tsa_chain.pem")).unwrap();
        init_apart(folder.path(), &plan("127.0.0.1:7700"), &clock)
            .await
            .unwrap();
        assert_eq!(
            std::fs::read(folder.path().join("ca/keys/ca.key")).unwrap(),
            key
        );
        assert_eq!(
            std::fs::read(folder.path().join("trust/client/root.json")).unwrap(),
            root
        );

        let foreign = tempfile::tempdir().unwrap();
        std::fs::create_dir(foreign.path().join("log")).unwrap();
        std::fs::write(foreign.path().join("log/syslog"), "theirs").unwrap();
        let refused = init_apart(foreign.path(), &plan("127.0.0.1:7700"), &clock).await;
        assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
    }

    #[test]
    fn ports_are_counted_and_must_fit() {
        let plan_ = plan("127.0.0.1:7700");
        let layout = Layout::of(&plan_).unwrap();
        assert_eq!(layout.address(Role::Trust, PUBLIC_PORTS).port(), 7704);
        assert_eq!(layout.internal_url(Role::Log), "https://log.internal:7712");
        for bad in ["127.0.0.1:0", "127.0.0.1:65530"] {
            assert!(Layout::of(&plan(bad)).is_err(), "{bad}");
        }
    }
}
