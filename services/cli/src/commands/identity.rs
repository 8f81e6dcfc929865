//! Who one is: the one place where a command obtains its identity token.

use std::time::Duration;

use sealwright_sdk::ambient::AmbientChoice;
use sealwright_sdk::{
    Error, IdentityToken, ProfileSettings, SigningContext, TokenOrder, TokenSource,
};

use crate::args::{IdentityArgs, TrustArgs};
use crate::commands::{login, trust};
use crate::environment::Environment;

/// What a person who logs in is given: more than the five minutes that the login itself waits.
const LOGIN_PATIENCE: Duration = Duration::from_secs(6 * 60);

/// Where the token will come from.
pub(crate) struct Source {
    source: TokenSource,
    /// What is at hand is read at once, so that it is found wanting before anybody is asked anything.
    at_hand: Option<IdentityToken>,
    audience: Option<String>,
}

impl Source {
    /// The one source that flags, variables, the profile's settings and the machine lead to.
    pub(crate) fn choose(
        args: &IdentityArgs,
        trust: &TrustArgs,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let given = args.identity_token.as_deref();
        let login = login::of(&args.login, environment)?;
        if given.is_some() && login.named.is_some() {
            return Err(Error::Input {
                what: "--login-flow".into(),
                problem: "--identity-token gives a token already; leave one of them out".into(),
            });
        }
        let explicit = given.map(TokenSource::from_argument).or(login.named);
        let ambient = match &args.oidc_provider {
            Some(name) => AmbientChoice::Only(name.clone()),
            None if args.oidc_disable_ambient_providers => AmbientChoice::Off,
            None => AmbientChoice::Detect,
        };
        let configured = if explicit.is_some() || ambient == AmbientChoice::Off {
            Vec::new()
        } else {
            settings(trust, environment)?.ambient
        };
        let order = TokenOrder {
            explicit,
            ambient,
            configured,
            interactive: login.last_resort,
        };
        let source = order.choose(&environment.surroundings)?;
        let at_hand = source.is_at_hand().then(|| source.read()).transpose()?;
        Ok(Self {
            source,
            at_hand,
            audience: args.audience.clone(),
        })
    }

    /// What it is called in reports.
    pub(crate) fn name(&self) -> String {
        self.source.name().to_owned()
    }

    /// Obtains the token, and makes the context insist on its audience if one was named.
    pub(crate) async fn obtain(
        self,
        mut context: SigningContext,
        environment: &Environment,
    ) -> Result<(SigningContext, IdentityToken), Error> {
        if let Some(audience) = self.audience {
            context = context.with_audience(audience);
        }
        if self.source.needs_a_person() {
            environment.patience.extend(LOGIN_PATIENCE);
        }
        let token = match self.at_hand {
            Some(token) => token,
            None => context.identity(&self.source).await?,
        };
        Ok((context, token))
    }
}

/// The settings of the profile that the flags or the environment name, or of the default one, also when trust material comes
/// from files.
fn settings(trust: &TrustArgs, environment: &Environment) -> Result<ProfileSettings, Error> {
    if environment.home.is_none() {
        return Ok(ProfileSettings::default());
    }
    trust::profile(trust.profile.as_deref(), environment)?.settings()
}
