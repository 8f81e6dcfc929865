//! Where trust material comes from, and setting it up.

use sealwright_sdk::{Error, Freshness, Profile, TrustConfig, read_capped};
use serde_json::json;

use crate::args::{TrustArgs, TrustInit};
use crate::environment::Environment;
use crate::output::Report;

/// More than any profile accepts as a root.
const MAX_ROOT_BYTES: usize = 1024 * 1024;

const DEFAULT_PROFILE: &str = "default";

/// Trust material and, when it comes from a profile, the profile: it may be asked again.
pub(crate) struct Loaded {
    pub(crate) trust: TrustConfig,
    pub(crate) profile: Option<Profile>,
}

/// Loads what the flags name, or else the environment's or the default profile.
pub(crate) async fn load(args: &TrustArgs, environment: &Environment) -> Result<Loaded, Error> {
    if let Some(path) = &args.trust_config {
        return Ok(Loaded {
            trust: TrustConfig::from_file(path)?,
            profile: None,
        });
    }
    if let Some(path) = &args.trusted_root {
        return Ok(Loaded {
            trust: TrustConfig::from_files(path, None)?,
            profile: None,
        });
    }
    let profile = profile(args.profile.as_deref(), environment)?;
    if args.profile.is_none() && environment.profile.is_none() && !profile.exists() {
        return Err(Error::TrustMissing {
            problem: "give --trust-config FILE, --trusted-root FILE or --profile NAME, or set up a default profile once with: \
                      sealwright trust init URL --root FILE"
                .into(),
        });
    }
    let trust = profile
        .load(&environment.http, Freshness::Usual, environment.now())
        .await?;
    Ok(Loaded {
        trust,
        profile: Some(profile),
    })
}

/// `trust init`.
pub(crate) async fn init(args: &TrustInit, environment: &Environment) -> Result<Report, Error> {
    let profile = profile(args.profile.as_deref(), environment)?;
    let root = read_capped("root", &args.root, MAX_ROOT_BYTES)?;
    let trust = profile
        .init(&environment.http, &args.url, &root, environment.now())
        .await?;
    let name = profile
        .dir()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let can_sign = trust.signing_config().is_some();
    let text = format!(
        "Profile {name:?} follows {}\n  kept in: {}\n  signing: {}\n",
        args.url,
        profile.dir().display(),
        if can_sign {
            "configured"
        } else {
            "not configured, verification only"
        }
    );
    let json =
        json!({ "profile": name, "url": args.url, "dir": profile.dir(), "signing": can_sign })
            .to_string();
    Ok(Report {
        text,
        json,
        ..Report::default()
    })
}

pub(crate) fn profile(name: Option<&str>, environment: &Environment) -> Result<Profile, Error> {
    let home = environment.home.as_deref().ok_or_else(|| Error::TrustMissing {
        problem: "no directory for profiles: neither SEALWRIGHT_HOME, XDG_CONFIG_HOME nor HOME is set".into(),
    })?;
    Profile::named(
        home,
        name.or(environment.profile.as_deref())
            .unwrap_or(DEFAULT_PROFILE),
    )
}
