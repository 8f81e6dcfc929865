//! Logins at a provider that is not ours, npm's `oidc-provider`, and an instance whose authority trusts it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::Context as _;
use sealwright_integration_tests::{Process, Tool, artifact, binary, skipped, workspace_root};

use super::terminal::Terminal;
use super::webdriver::Browser;

const PERSON: &str = "jane@example.com";

/// The foreign provider's process, killed when dropped.
struct Foreign {
    child: Child,
    issuer: String,
}

impl Foreign {
    /// Starts it; `None`, reported as skipped, where it is not installed.
    fn start(test: &str) -> anyhow::Result<Option<Self>> {
        let folder = workspace_root().join("integration-tests/clients/provider");
        let node = workspace_root().join("integration-tests/clients/js/node_modules/node/bin/node");
        let node = if node.exists() { node } else { "node".into() };
        let installed = folder.join("node_modules/oidc-provider").exists();
        if !installed {
            skipped(
                test,
                "the foreign provider is not installed: run `make setup`",
            );
            return Ok(None);
        }
        let mut child = Command::new(node)
            .arg(folder.join("provider.mjs"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let issuer = lines.find_map(|line| line.ok().filter(|line| line.starts_with("http://")));
        // Reading on keeps the pipe from filling.
        thread::spawn(move || lines.for_each(drop));
        let mut foreign = Self {
            child,
            issuer: String::new(),
        };
        foreign.issuer = issuer.context("the provider did not start")?;
        Ok(Some(foreign))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _unimportant = self.child.kill();
        let _unimportant = self.child.wait();
    }
}

/// A production instance whose people come from the foreign provider.
struct Instance {
    _process: Process,
    dir: tempfile::TempDir,
    issuer: String,
    _files: tempfile::TempDir,
    file: PathBuf,
}

impl Instance {
    fn trusting(issuer: &str, client_id: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let place = dir.path().join("instance");
        let port = free_port()?;
        Tool::sealwrightd()
            .args(["init", "--organization", "Example", "--oidc-issuer", issuer])
            .args(["--oidc-client-id", client_id])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--public-url", &format!("http://127.0.0.1:{port}"), "--dir"])
            .arg(&place)
            .run()?
            .success()?;
        let mut command = Command::new(binary("sealwrightd"));
        command.args(["up", "--dir"]).arg(&place);
        let mut process = Process::start(command, &dir.path().join("log"))?;
        process.ready()?;
        let (files, file) = artifact(b"signed at a stranger's")?;
        Ok(Self {
            _process: process,
            dir,
            issuer: issuer.to_owned(),
            _files: files,
            file,
        })
    }

    fn trust(&self) -> [String; 2] {
        let file = self.dir.path().join("instance/client/trust_config.json");
        ["--trust-config".to_owned(), file.display().to_string()]
    }

    fn bundle(&self) -> PathBuf {
        self.file.with_extension("sigstore.json")
    }

    fn signing(&self, flags: &[&str]) -> anyhow::Result<Terminal> {
        let mut all = vec!["sign-blob".to_owned()];
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        all.extend(self.trust());
        all.extend(["--bundle".into(), self.bundle().display().to_string()]);
        all.push(self.file.display().to_string());
        Terminal::start(all)
    }

    /// Verifies, and takes the bundle away, so that the next one is another.
    fn verify(&self) -> anyhow::Result<()> {
        Tool::sealwright()
            .args(["verify-blob", "--certificate-identity", PERSON])
            .args(["--certificate-oidc-issuer", &self.issuer])
            .args(self.trust())
            .arg("--bundle")
            .arg(self.bundle())
            .arg(&self.file)
            .run()?
            .success()?;
        fs::remove_file(self.bundle())?;
        Ok(())
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}

/// The provider's own pages: a name and any password, then a consent. Who is logged in already is asked for consent alone.
fn approve(
    browser: &Browser,
    done: &dyn Fn(&Browser) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    browser.until("approved", |browser| {
        if done(browser)? {
            return Ok(true);
        }
        let there = |selector: &str| -> anyhow::Result<bool> {
            let script = format!("return document.querySelector('{selector}') !== null");
            Ok(browser.evaluate(&script)? == true)
        };
        if there("input[name=login]")? {
            browser.fill("input[name=login]", PERSON)?;
            browser.fill("input[name=password]", "anything")?;
            browser.click("[type=submit]")?;
        } else if there("[type=submit]")? {
            browser.click("[type=submit]")?;
        }
        Ok(false)
    })
}

fn secret_file(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("secret");
    fs::write(&path, "a secret of a client that has one\n")?;
    Ok(path.display().to_string())
}

#[test]
fn our_client_logs_in_at_a_foreign_provider() -> anyhow::Result<()> {
    let test = "our_client_logs_in_at_a_foreign_provider";
    let Some(foreign) = Foreign::start(test)? else {
        return Ok(());
    };
    let Some(browser) = Browser::start(test)? else {
        return Ok(());
    };
    let instance = Instance::trusting(&foreign.issuer, "sigstore")?;

    let mut client = instance.signing(&["--login-flow=browser"])?;
    browser.open(&client.told()?)?;
    approve(
        &browser,
        &|browser| Ok(browser.title()? == "Login received"),
    )?;
    client.outcome()?.success()?;
    instance.verify()?;

    let mut client = instance.signing(&["--login-flow=paste"])?;
    browser.open(&client.told()?)?;
    approve(&browser, &|browser| Ok(browser.url()?.contains("code=")))?;
    client.types(&browser.url()?)?;
    client.outcome()?.success()?;
    instance.verify()?;

    let mut client = instance.signing(&["--login-flow=device"])?;
    browser.open(&client.told()?)?;
    browser.fill("input[name=user_code]", &client.told()?)?;
    let done = |browser: &Browser| {
        let text = browser.evaluate("return document.body.innerText")?;
        Ok(text.as_str().is_some_and(|text| text.contains("Success")))
    };
    approve(&browser, &done)?;
    client.outcome()?.success()?;
    instance.verify()
}

#[test]
fn a_registered_client_uses_its_redirect_and_its_secret() -> anyhow::Result<()> {
    let test = "a_registered_client_uses_its_redirect_and_its_secret";
    let Some(foreign) = Foreign::start(test)? else {
        return Ok(());
    };
    let Some(browser) = Browser::start(test)? else {
        return Ok(());
    };
    let instance = Instance::trusting(&foreign.issuer, "confidential")?;
    let secret = secret_file(instance.dir.path())?;
    let redirect = format!("http://127.0.0.1:{}/back/here", free_port()?);
    let flags = [
        "--login-flow=browser",
        "--oidc-client-id=confidential",
        "--oidc-client-secret-file",
        &secret,
        "--oidc-redirect-url",
        &redirect,
    ];
    let mut client = instance.signing(&flags)?;
    browser.open(&client.told()?)?;
    approve(
        &browser,
        &|browser| Ok(browser.title()? == "Login received"),
    )?;
    assert!(browser.url()?.starts_with(&redirect));
    client.outcome()?.success()?;
    instance.verify()
}
