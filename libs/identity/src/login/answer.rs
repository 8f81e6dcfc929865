//! What comes back from the authorization endpoint, through a browser or through a person.

use sealwright_crypto::constant_time_eq;
use url::{Url, form_urlencoded};

use super::LoginError;
use crate::error::echo;

/// The longest code that is redeemed; honest ones have tens of characters, some providers' a kilobyte or two.
const MAX_CODE_BYTES: usize = 8 * 1024;

/// The provider's answer (RFC 6749 sections 4.1.2 and 4.1.2.1).
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The code to redeem.
    Code(String),
    /// The provider, or the person at it, refused.
    Refused { code: String, description: String },
}

/// What an answer has to match.
#[derive(Clone)]
pub(super) struct Expected {
    state: String,
    issuer: String,
}

impl Expected {
    pub(super) fn new(state: &str, issuer: &str) -> Self {
        Self {
            state: state.to_owned(),
            issuer: issuer.to_owned(),
        }
    }

    /// Reads the query of a redirect. What is not an answer to our request is told with what is wrong about it.
    pub(super) fn answer(&self, query: &str) -> Result<Answer, &'static str> {
        let mut parameters = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(place) = parameters.place(&name) else {
                continue;
            };
            if place.replace(value.into_owned()).is_some() {
                return Err("a parameter is there twice");
            }
        }
        let state = parameters.state.unwrap_or_default();
        if !constant_time_eq(state.as_bytes(), self.state.as_bytes()) {
            return Err("its state is not that of this login");
        }
        // RFC 9207: a provider that names itself must be the one that was asked.
        if parameters.iss.is_some_and(|issuer| issuer != self.issuer) {
            return Err("it comes from another issuer");
        }
        match (parameters.code, parameters.error) {
            (None, Some(code)) => Ok(Answer::Refused {
                code: echo(&code),
                description: echo(&parameters.error_description.unwrap_or_default()),
            }),
            (Some(code), None) if (1..=MAX_CODE_BYTES).contains(&code.len()) => {
                Ok(Answer::Code(code))
            }
            _ => Err("it holds no code"),
        }
    }

    /// Reads what a person pasted: the address at which the browser ended, its query, or the code alone. A code alone comes
    /// without the state; that it answers this very request is then shown by the verifier and the nonce.
    pub(super) fn pasted(&self, text: &str) -> Result<Answer, LoginError> {
        let text = text.trim();
        let problem = |problem| LoginError::Pasted { problem };
        if text.is_empty() {
            return Err(problem("nothing was pasted"));
        }
        if let Ok(url) = Url::parse(text)
            && matches!(url.scheme(), "http" | "https")
        {
            let query = url.query().ok_or(problem("it has no query"))?;
            return self.answer(query).map_err(problem);
        }
        if text.contains("code=") || text.contains("error=") {
            let query = text.trim_start_matches(['?', '&']);
            return self.answer(query).map_err(problem);
        }
        if text.len() > MAX_CODE_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(problem("it is neither an address nor a code"));
        }
        Ok(Answer::Code(text.to_owned()))
    }
}

#[derive(Default)]
struct Parameters {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Parameters {
    fn place(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "code" => Some(&mut self.code),
            "state" => Some(&mut self.state),
            "iss" => Some(&mut self.iss),
            "error" => Some(&mut self.error),
            "error_description" => Some(&mut self.error_description),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        Expected::new("s-1", "https://issuer.test")
    }

    fn code(answer: Answer) -> String {
        match answer {
            Answer::Code(code) => code,
            Answer::Refused { code, .. } => format!("refused: {code}"),
        }
    }

    #[test]
    fn an_answer_needs_the_state_of_the_request() {
        for (query, wanted) in [
            ("code=c&state=s-1", Ok("c")),
            ("code=a%2Fb&state=s-1&scope=openid", Ok("a/b")),
            ("code=c&state=s-1&iss=https%3A%2F%2Fissuer.test", Ok("c")),
            (
                "error=access_denied&state=s-1",
                Ok("refused: access_denied"),
            ),
            ("code=c", Err("its state is not that of this login")),
            (
                "code=c&state=s-2",
                Err("its state is not that of this login"),
            ),
            (
                "error=access_denied",
                Err("its state is not that of this login"),
            ),
            ("code=c&code=d&state=s-1", Err("a parameter is there twice")),
            (
                "code=c&state=s-1&iss=https://evil.test",
                Err("it comes from another issuer"),
            ),
            ("state=s-1", Err("it holds no code")),
            ("code=&state=s-1", Err("it holds no code")),
            ("code=c&error=e&state=s-1", Err("it holds no code")),
        ] {
            let found = expected().answer(query).map(code);
            assert_eq!(found, wanted.map(str::to_owned), "{query}");
        }
    }

    #[test]
    fn a_refusal_is_repeated_without_control_characters() {
        let answer = expected().answer("error=a%1B[2J&error_description=%0Ab&state=s-1");
        assert!(matches!(
            answer,
            Ok(Answer::Refused { code, description })
                if code == "a\\u{1b}[2J" && description == "\\nb"
        ));
    }

    #[test]
    fn people_paste_addresses_queries_and_codes() {
        for (text, wanted) in [
            (
                " http://localhost:5/auth/callback?code=c&state=s-1\n",
                Some("c"),
            ),
            ("?code=c&state=s-1", Some("c")),
            ("code=c&state=s-1", Some("c")),
            ("4/0AbC-d_e", Some("4/0AbC-d_e")),
            ("http://localhost:5/auth/callback?code=c&state=s-2", None),
            ("http://localhost:5/auth/callback?code=c", None),
            ("http://localhost:5/auth/callback", None),
            ("code=c", None),
            ("", None),
            ("two words", None),
        ] {
            let found = expected().pasted(text).ok().map(code);
            assert_eq!(found.as_deref(), wanted, "{text}");
        }
    }
}
