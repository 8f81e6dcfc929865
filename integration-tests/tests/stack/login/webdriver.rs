//! A real browser: Chromium, driven through chromedriver by the W3C WebDriver protocol.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use sealwright_integration_tests::{http, skipped};
use serde_json::{Value, json};

/// How WebDriver names an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const PATIENCE: Duration = Duration::from_secs(30);
/// The key Tab, as WebDriver writes it.
pub(super) const TAB: &str = "\u{e004}";
/// The key Enter.
pub(super) const ENTER: &str = "\u{e007}";

/// A browser with one empty profile, closed when dropped.
pub(super) struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// A new browser; `None`, reported as skipped, where Chromium is not installed.
    pub(super) fn start(test: &str) -> anyhow::Result<Option<Self>> {
        let spawned = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = spawned else {
            skipped(test, "chromium-driver is not installed: run `make setup`");
            return Ok(None);
        };
        let stdout = driver.stdout.take().context("stdout is piped")?;
        let mut browser = Self {
            driver,
            session: String::new(),
            _profile: tempfile::tempdir()?,
        };
        let base = format!("http://127.0.0.1:{}", port(stdout)?);
        let profile = browser._profile.path().display();
        let options = json!({
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", format!("--user-data-dir={profile}"),
            ],
        });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let made = call(http().post(format!("{base}/session")), &wanted)?;
        let id = made["sessionId"].as_str().context("a session has an id")?;
        browser.session = format!("{base}/session/{id}");
        Ok(Some(browser))
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        call(http().post(format!("{}/{path}", self.session)), body)
    }

    fn read(&self, path: &str) -> anyhow::Result<String> {
        let answer = http().get(format!("{}/{path}", self.session)).send()?;
        let answer: Value = answer.json()?;
        let text = answer["value"].as_str();
        text.map(str::to_owned)
            .with_context(|| format!("{path}: {answer}"))
    }

    /// Opens an address.
    pub(super) fn open(&self, url: &str) -> anyhow::Result<()> {
        self.post("url", &json!({ "url": url })).map(drop)
    }

    /// Where it is.
    pub(super) fn url(&self) -> anyhow::Result<String> {
        self.read("url")
    }

    /// The title of the page.
    pub(super) fn title(&self) -> anyhow::Result<String> {
        self.read("title")
    }

    /// The value of a script.
    pub(super) fn evaluate(&self, script: &str) -> anyhow::Result<Value> {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// A command of Chromium's own protocol.
    pub(super) fn devtools(&self, command: &str, parameters: Value) -> anyhow::Result<()> {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("goog/cdp/execute", &body).map(drop)
    }

    /// The path of an element, once it is there.
    fn element(&self, selector: &str) -> anyhow::Result<String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let began = Instant::now();
        loop {
            match self.post("element", &wanted) {
                Ok(found) => {
                    let id = found[ELEMENT].as_str().context("an element has an id")?;
                    return Ok(format!("element/{id}"));
                }
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(error.context(format!("no {selector} at {}", self.url()?)));
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Clicks once it is there.
    pub(super) fn click(&self, selector: &str) -> anyhow::Result<()> {
        let element = self.element(selector)?;
        self.post(&format!("{element}/click"), &json!({})).map(drop)
    }

    /// Replaces what stands in a field.
    pub(super) fn fill(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let element = self.element(selector)?;
        self.post(&format!("{element}/clear"), &json!({}))?;
        self.post(&format!("{element}/value"), &json!({ "text": text }))
            .map(drop)
    }

    /// Presses keys, wherever the focus is.
    pub(super) fn press(&self, keys: &str) -> anyhow::Result<()> {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|act| json!({ "type": act, "value": key })))
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.post("actions", &body).map(drop)
    }

    /// Waits until something holds.
    pub(super) fn until(
        &self,
        what: &str,
        holds: impl Fn(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while !holds(self).unwrap_or(false) {
            if began.elapsed() > PATIENCE {
                bail!("never {what}: {:?} at {}", self.title(), self.url()?);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits for a page whose title begins so.
    pub(super) fn until_title(&self, beginning: &str) -> anyhow::Result<()> {
        self.until(&format!("titled {beginning:?}"), |browser| {
            Ok(browser.title()?.starts_with(beginning))
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium; without a session there is none.
        let _unimportant = http().delete(&self.session).send();
        let _unimportant = self.driver.kill();
        let _unimportant = self.driver.wait();
    }
}

fn port(stdout: std::process::ChildStdout) -> anyhow::Result<u16> {
    let mut lines = BufReader::new(stdout).lines();
    let line = lines
        .find_map(|line| {
            line.ok()
                .filter(|line| line.contains("started successfully"))
        })
        .context("chromedriver did not start")?;
    // Reading on keeps the pipe from filling.
    thread::spawn(move || lines.for_each(drop));
    let digits = line.trim_end_matches('.').rsplit(' ').next();
    Ok(digits.unwrap_or_default().parse()?)
}

fn call(request: reqwest::blocking::RequestBuilder, body: &Value) -> anyhow::Result<Value> {
    let answer: Value = request
        .timeout(Duration::from_secs(60))
        .json(body)
        .send()?
        .json()?;
    let error = &answer["value"]["error"];
    ensure!(!error.is_string(), "WebDriver: {}", answer["value"]);
    Ok(answer["value"].clone())
}
