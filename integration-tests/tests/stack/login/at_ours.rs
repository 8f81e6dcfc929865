//! Logins at the development provider.

use std::path::PathBuf;

use sealwright_integration_tests::{Daemon, EMAIL, Tool, artifact, binary};

use super::terminal::Terminal;
use super::webdriver::Browser;

/// A stack, and a file that somebody wants to sign.
struct Desk {
    daemon: Daemon,
    _dir: tempfile::TempDir,
    file: PathBuf,
}

impl Desk {
    fn new(args: &[&str]) -> anyhow::Result<Self> {
        let (dir, file) = artifact(b"signed by a person")?;
        Ok(Self {
            daemon: Daemon::fresh_with(args)?,
            _dir: dir,
            file,
        })
    }

    fn bundle(&self) -> PathBuf {
        self.file.with_extension("sigstore.json")
    }

    fn arguments(&self, flags: &[&str]) -> Vec<String> {
        let mut all = vec!["sign-blob".to_owned()];
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        all.extend(self.daemon.trust());
        all.extend(["--bundle".into(), self.bundle().display().to_string()]);
        all.push(self.file.display().to_string());
        all
    }

    fn signing(&self, flags: &[&str]) -> anyhow::Result<Terminal> {
        Terminal::start(self.arguments(flags))
    }

    fn verify(&self) -> anyhow::Result<()> {
        self.daemon
            .verify(&self.file, &self.bundle())?
            .success()
            .map(drop)
    }
}

#[test]
fn the_client_opens_the_browser_and_signs_what_the_person_approves() -> anyhow::Result<()> {
    let desk = Desk::new(&["--login", EMAIL])?;
    for flags in [
        &["--login-flow", "browser"],
        &["--fulcio-auth-flow", "normal"],
    ] {
        let signed = Tool::sealwright()
            .args(desk.arguments(flags))
            .arg("--output=json")
            .env("BROWSER", binary("browser"))
            .run()?;
        assert!(signed.success()?.contains(r#""tokenSource":"login""#));
        desk.verify()?;
    }
    Ok(())
}

#[test]
fn a_device_that_is_approved_signs() -> anyhow::Result<()> {
    let desk = Desk::new(&["--login", EMAIL])?;
    desk.signing(&["--login-flow=device"])?
        .outcome()?
        .success()?;
    desk.verify()
}

#[test]
fn a_person_clicks_through_the_login_page() -> anyhow::Result<()> {
    let Some(browser) = Browser::start("a_person_clicks_through_the_login_page")? else {
        return Ok(());
    };
    let desk = Desk::new(&[])?;
    let mut client = desk.signing(&["--login-flow=browser"])?;
    browser.open(&client.told()?)?;
    // Browsers refuse this themselves, unless they are told not to.
    browser.fill("#email", "nobody")?;
    browser.evaluate("document.querySelector('form').noValidate = true")?;
    browser.click("button[value=approve]")?;
    browser.until_title("Not yet: Log in")?;
    browser.fill("#email", EMAIL)?;
    browser.click("button[value=approve]")?;
    browser.until_title("Login received")?;
    client.outcome()?.success()?;
    desk.verify()
}

#[test]
fn a_person_who_refuses_signs_nothing() -> anyhow::Result<()> {
    let Some(browser) = Browser::start("a_person_who_refuses_signs_nothing")? else {
        return Ok(());
    };
    let desk = Desk::new(&[])?;
    let mut client = desk.signing(&["--login-flow=browser"])?;
    browser.open(&client.told()?)?;
    browser.click("button[value=refuse]")?;
    browser.until_title("Login refused")?;
    let said = client.outcome()?.code(1)?;
    assert!(said.contains("access_denied"), "{said}");
    assert!(!desk.bundle().exists());

    let mut client = desk.signing(&["--login-flow=device"])?;
    browser.open(&client.told()?)?;
    browser.fill("#user_code", &client.told()?)?;
    browser.click("button[value=refuse]")?;
    browser.until_title("Refused")?;
    let said = client.outcome()?.code(1)?;
    assert!(said.contains("access_denied"), "{said}");
    assert!(!desk.bundle().exists());
    Ok(())
}

#[test]
fn a_person_connects_a_device() -> anyhow::Result<()> {
    let Some(browser) = Browser::start("a_person_connects_a_device")? else {
        return Ok(());
    };
    let desk = Desk::new(&[])?;
    let mut client = desk.signing(&["--login-flow=device"])?;
    browser.open(&client.told()?)?;
    let code = client.told()?;
    browser.fill("#user_code", "ZZZZ-ZZZZ")?;
    browser.fill("#email", EMAIL)?;
    browser.click("button[value=approve]")?;
    browser.until_title("Not yet: Connect a device")?;
    browser.fill("#user_code", &code.to_lowercase())?;
    browser.click("button[value=approve]")?;
    browser.until_title("Done")?;
    client.outcome()?.success()?;
    desk.verify()
}

#[test]
fn a_person_pastes_where_the_browser_ended() -> anyhow::Result<()> {
    let Some(browser) = Browser::start("a_person_pastes_where_the_browser_ended")? else {
        return Ok(());
    };
    let desk = Desk::new(&[])?;
    let approved = |client: &mut Terminal| -> anyhow::Result<String> {
        browser.open(&client.told()?)?;
        browser.fill("#email", EMAIL)?;
        browser.click("button[value=approve]")?;
        browser.until("sent back", |browser| Ok(browser.url()?.contains("code=")))?;
        browser.url()
    };
    let mut first = desk.signing(&["--login-flow=paste"])?;
    let ended_at = approved(&mut first)?;
    assert!(ended_at.starts_with("http://localhost:"), "{ended_at}");

    let mut second = desk.signing(&["--login-flow=paste"])?;
    second.told()?;
    second.types(&ended_at)?;
    let said = second.outcome()?.code(1)?;
    assert!(
        said.contains("state"),
        "the answer to another login: {said}"
    );
    assert!(!desk.bundle().exists());

    first.types(&ended_at)?;
    first.outcome()?.success()?;
    desk.verify()?;

    let mut third = desk.signing(&["--login-flow=paste"])?;
    let ended_at = approved(&mut third)?;
    let (_, code) = ended_at.split_once("code=").expect("a code");
    third.types(code.split('&').next().expect("a code"))?;
    third.outcome()?.success()?;
    Ok(())
}

#[test]
fn a_pipeline_never_waits_for_anybody() -> anyhow::Result<()> {
    let desk = Desk::new(&[])?;
    let said = desk.signing(&["--oidc-disable-ambient-providers"])?;
    let said = said.outcome()?.code(2)?;
    assert!(said.contains("--login-flow"), "{said}");
    assert!(!desk.bundle().exists());
    Ok(())
}

#[test]
fn an_issuer_that_cannot_be_used_is_told_before_anybody_logs_in() -> anyhow::Result<()> {
    let desk = Desk::new(&[])?;
    for (flags, code, wanted) in [
        (&["--oidc-issuer=http://issuer.example"][..], 2, "https"),
        (&["--identity-token=token.jwt"], 2, "leave one of them out"),
        (&["--oidc-issuer=http://127.0.0.1:1"], 3, "unreachable"),
        (&["--oidc-redirect-url=nowhere"], 2, "--oidc-redirect-url"),
        (
            &["--oidc-redirect-url=http://example.com/"],
            2,
            "this machine",
        ),
        (
            &["--oidc-client-secret-file=/nonexistent"],
            2,
            "client secret file",
        ),
    ] {
        let mut all = vec!["--login-flow=browser"];
        all.extend(flags);
        let said = desk.signing(&all)?.outcome()?.code(code)?;
        assert!(said.contains(wanted), "{flags:?}: {said}");
    }
    Ok(())
}
