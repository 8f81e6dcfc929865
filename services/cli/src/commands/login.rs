//! A person at a terminal: what the login flags mean, and how somebody is asked.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use sealwright_sdk::ambient::Surroundings;
use sealwright_sdk::login::{Circumstances, Flow, Login, Pending, Person, RedirectUrl, Secret};
use sealwright_sdk::{Error, TokenSource, read_capped};

use crate::args::{LoginArgs, LoginFlow};
use crate::environment::Environment;

/// Secrets of clients have tens of characters.
const MAX_SECRET_BYTES: usize = 4096;
/// An address with a code in it; those of some providers have several kilobytes.
const MAX_PASTED_BYTES: u64 = 16 * 1024;

/// What the flags make of a login.
pub(crate) struct Offered {
    /// A login that was asked for by name.
    pub(crate) named: Option<TokenSource>,
    /// A login for when there is nothing else: only at a terminal, so that a pipeline never waits for anybody.
    pub(crate) last_resort: Option<TokenSource>,
}

/// Reads the flags.
pub(crate) fn of(args: &LoginArgs, environment: &Environment) -> Result<Offered, Error> {
    let flow = match args.login_flow {
        Some(LoginFlow::Token) => {
            return Ok(Offered {
                named: None,
                last_resort: None,
            });
        }
        None | Some(LoginFlow::Auto) => Flow::Auto,
        Some(LoginFlow::Browser) => Flow::Browser,
        Some(LoginFlow::Device) => Flow::Device,
        Some(LoginFlow::Paste) => Flow::Paste,
        Some(LoginFlow::ClientCredentials) => Flow::ClientCredentials,
    };
    let source = TokenSource::Login(login(args, flow, environment)?);
    Ok(if flow != Flow::Auto {
        Offered {
            named: Some(source),
            last_resort: None,
        }
    } else {
        Offered {
            named: None,
            last_resort: std::io::stderr().is_terminal().then_some(source),
        }
    })
}

fn login(args: &LoginArgs, flow: Flow, environment: &Environment) -> Result<Login, Error> {
    let person = Terminal {
        openers: openers(environment.surroundings.variable("BROWSER")),
    };
    let mut login = Login::new(Arc::new(person), circumstances(&environment.surroundings));
    let options = &mut login.options;
    options.flow = flow;
    options.issuer = args.oidc_issuer.clone().unwrap_or_default();
    options.client_id.clone_from(&args.oidc_client_id);
    options.scopes.clone_from(&args.oidc_scope);
    options.connector_id.clone_from(&args.oidc_connector_id);
    options.redirect_url = args
        .oidc_redirect_url
        .as_deref()
        .map(redirect)
        .transpose()?;
    if let Some(path) = &args.oidc_client_secret_file {
        let secret = read_capped("client secret file", path, MAX_SECRET_BYTES)?;
        let secret = String::from_utf8(secret.to_vec()).map_err(|_| Error::Input {
            what: "--oidc-client-secret-file".into(),
            problem: "the file is not text".into(),
        })?;
        options.client_secret = Some(Secret::new(secret.trim()));
    }
    Ok(login)
}

fn redirect(text: &str) -> Result<RedirectUrl, Error> {
    RedirectUrl::parse(text).map_err(|error| Error::Input {
        what: "--oidc-redirect-url".into(),
        problem: format!("{error}; expected a URL such as http://localhost:8080/auth/callback"),
    })
}

/// Over SSH a browser would open where nobody sits.
fn circumstances(surroundings: &Surroundings) -> Circumstances {
    let set = |names: &[&str]| {
        names
            .iter()
            .any(|name| surroundings.variable(name).is_some())
    };
    let desktop = cfg!(any(target_os = "macos", windows))
        || set(&["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"]);
    Circumstances {
        browser: desktop && !set(&["SSH_CONNECTION", "SSH_TTY"]),
        keyboard: std::io::stdin().is_terminal(),
    }
}

/// Somebody who reads standard error, types on standard input, and may have a browser.
struct Terminal {
    /// Programs with their arguments, in the order in which to try them.
    openers: Vec<Vec<String>>,
}

impl Person for Terminal {
    fn open(&self, url: &str) {
        eprintln!("Log in with your browser. If none opens, go to:\n\n    {url}\n");
        if !self.openers.iter().any(|opener| start(opener, url)) {
            eprintln!("No program to open a browser with was found; set BROWSER to one.");
        }
    }

    fn enter_code(&self, url: &str, complete: Option<&str>, code: &str) {
        eprintln!(
            "Open this address in any browser, and enter the code there:\n\n    {url}\n    {code}\n"
        );
        if let Some(complete) = complete {
            eprintln!("Or open {complete} and compare the code.\n");
        }
    }

    fn paste(&self, url: &str) -> Pending<'_, std::io::Result<String>> {
        eprintln!(
            "Open this address in any browser, and log in there:\n\n    {url}\n\n\
             In the end the browser fails to show a page of localhost. Paste that page's address here, and press Enter:"
        );
        Box::pin(async {
            tokio::task::spawn_blocking(read_line)
                .await
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        })
    }
}

fn read_line() -> std::io::Result<String> {
    let mut line = String::new();
    let stdin = std::io::stdin().lock();
    stdin.take(MAX_PASTED_BYTES).read_line(&mut line)?;
    Ok(line)
}

/// `BROWSER` is a list of commands separated by colons, in which `%s` stands for the address; the platform's own follow.
fn openers(variable: Option<&str>) -> Vec<Vec<String>> {
    let platform: &[&str] = if cfg!(target_os = "macos") {
        &["open"]
    } else if cfg!(windows) {
        &["rundll32 url.dll,FileProtocolHandler"]
    } else {
        &["xdg-open", "wslview", "x-www-browser", "www-browser"]
    };
    let words = |command: &str| command.split_whitespace().map(str::to_owned).collect();
    let named = variable.unwrap_or_default().split(':').map(words);
    let all = named.chain(platform.iter().copied().map(words));
    all.filter(|command: &Vec<String>| !command.is_empty())
        .collect()
}

/// Starts a program without a shell, and does not wait: a browser may run for as long as it likes. Nothing that it prints gets
/// into our output.
fn start(opener: &[String], url: &str) -> bool {
    let [program, arguments @ ..] = opener else {
        return false;
    };
    let mut command = Command::new(program);
    let mut placed = false;
    for argument in arguments {
        placed |= argument.contains("%s");
        command.arg(argument.replace("%s", url));
    }
    if !placed {
        command.arg(url);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(variables: &[(&str, &str)]) -> bool {
        let owned = variables.iter();
        let owned = owned.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        circumstances(&Surroundings::new(owned)).browser
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_browser_opens_where_the_person_is() {
        assert!(here(&[("DISPLAY", ":0")]) && here(&[("WAYLAND_DISPLAY", "wayland-0")]));
        assert!(here(&[("BROWSER", "links")]) && here(&[("WSL_DISTRO_NAME", "Debian")]));
        assert!(!here(&[]));
        assert!(!here(&[("DISPLAY", ":0"), ("SSH_CONNECTION", "a b c d")]));
    }

    #[test]
    fn the_persons_browser_comes_first() {
        let all = openers(Some("firefox --new-tab %s::links"));
        assert_eq!(
            all.first(),
            Some(&vec!["firefox".to_owned(), "--new-tab".into(), "%s".into()])
        );
        assert_eq!(all.get(1), Some(&vec!["links".to_owned()]));
        assert!(openers(None).iter().all(|command| !command.is_empty()));
    }

    #[test]
    fn a_program_that_is_not_there_is_no_browser() {
        assert!(!start(
            &["/nonexistent/browser".to_owned()],
            "https://issuer.test"
        ));
        assert!(!start(&[], "https://issuer.test"));
        assert!(start(&["true".to_owned()], "https://issuer.test"));
    }
}
