//! The provider's pages in a real browser: whoever has no mouse, no script, a narrow screen or a screen reader can log in.

use sealwright_integration_tests::{Daemon, EMAIL};
use serde_json::{Value, json};

use super::webdriver::{Browser, ENTER, TAB};

/// What is wrong with a page, as far as a program can tell. Contrast by WCAG 2.2 section 1.4.3, the size of targets by
/// section 2.5.5.
const AUDIT: &str = r#"
const faults = [];
const need = (holds, fault) => { if (!holds) faults.push(fault); };
need(document.documentElement.lang === "en", "no language");
need(document.title.length > 10, "no title");
need(document.querySelectorAll("main").length === 1, "not one main landmark");
need(document.querySelectorAll("h1").length === 1, "not one heading");
need(document.scripts.length === 0, "it has scripts");
need(document.documentElement.scrollWidth <= document.documentElement.clientWidth, "it scrolls sideways");
for (const entry of performance.getEntriesByType("resource")) {
  need(new URL(entry.name).origin === location.origin || entry.name.startsWith("data:"), `foreign: ${entry.name}`);
}
for (const field of document.querySelectorAll("input:not([type=hidden])")) {
  need(field.labels.length === 1 && field.labels[0].textContent.trim(), `${field.id} has no label`);
  const tied = field.getAttribute("aria-describedby");
  need(!tied || document.getElementById(tied)?.textContent, `${field.id} is described by nothing`);
}
for (const target of document.querySelectorAll("button, input:not([type=hidden])")) {
  need(target.tabIndex === 0, `${target.id || target.value} is not reached in order`);
  if (target.tagName === "BUTTON") {
    need(target.textContent.trim(), "a button without a name");
    need(target.getBoundingClientRect().height >= 44, `${target.value} is too small`);
  }
}
const channels = (color) => (color.match(/[\d.]+/g) || []).map(Number);
const luminance = (color) => {
  const [r, g, b] = channels(color).map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (channels(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
let looked = 0;
for (const element of document.querySelectorAll("h1, p, label, input:not([type=hidden]), button, code")) {
  const pair = [luminance(getComputedStyle(element).color), luminance(background(element))].sort((a, b) => b - a);
  const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
  need(ratio >= 4.5, `${element.tagName} ${element.textContent}: contrast ${ratio.toFixed(2)}`);
  looked += 1;
}
need(looked > 1, "nothing was looked at");
return faults;
"#;

fn auth_url(daemon: &Daemon) -> String {
    format!(
        "{}/auth?response_type=code&client_id=sigstore&scope=openid+email&redirect_uri=http://localhost:1/cb&state=s&nonce=n\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
        daemon.endpoints().oidc
    )
}

fn audit(browser: &Browser, what: &str) -> anyhow::Result<()> {
    for scheme in ["light", "dark"] {
        let wanted = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.devtools("Emulation.setEmulatedMedia", wanted)?;
        assert_eq!(browser.evaluate(AUDIT)?, json!([]), "{what}, {scheme}");
    }
    Ok(())
}

#[test]
fn pages_are_for_everybody() -> anyhow::Result<()> {
    let Some(browser) = Browser::start("pages_are_for_everybody")? else {
        return Ok(());
    };
    let daemon = Daemon::fresh()?;
    let narrow = json!({ "width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": false });
    browser.devtools("Emulation.setDeviceMetricsOverride", narrow)?;
    assert_eq!(browser.evaluate("return innerWidth")?, json!(320));
    let device = format!("{}/device", daemon.endpoints().oidc);
    for (url, what) in [(auth_url(&daemon), "login"), (device, "device")] {
        browser.open(&url)?;
        audit(&browser, what)?;
        browser.evaluate("document.querySelector('form').noValidate = true")?;
        browser.fill("#email", &"long".repeat(40))?;
        browser.click("button[value=approve]")?;
        browser.until_title("Not yet: ")?;
        audit(&browser, &format!("{what} with a problem"))?;
        let focused =
            browser.evaluate("return document.activeElement.getAttribute('aria-describedby')")?;
        assert_eq!(
            focused,
            json!("email-problem"),
            "{what}: the field is at hand"
        );
    }
    browser.open(&format!("{}/auth", daemon.endpoints().oidc))?;
    audit(&browser, "refusal")
}

#[test]
fn the_keyboard_is_enough() -> anyhow::Result<()> {
    let Some(browser) = Browser::start("the_keyboard_is_enough")? else {
        return Ok(());
    };
    let daemon = Daemon::fresh()?;
    browser.open(&auth_url(&daemon))?;
    let mut order = Vec::new();
    for _ in 0..3 {
        browser.press(TAB)?;
        order.push(browser.evaluate(
            "const at = document.activeElement; return [at.id || at.value, parseFloat(getComputedStyle(at).outlineWidth) >= 2]",
        )?);
    }
    let wanted = [
        json!(["email", true]),
        json!(["approve", true]),
        json!(["refuse", true]),
    ];
    assert_eq!(
        order, wanted,
        "each in turn, and each is seen to have the focus"
    );

    browser.open(&auth_url(&daemon))?;
    browser.press(TAB)?;
    browser.press(EMAIL)?;
    browser.press(ENTER)?;
    browser.until("sent back", |browser| {
        Ok(browser.url()?.starts_with("http://localhost:1/cb?code="))
    })
}

#[test]
fn no_script_of_a_page_could_run() -> anyhow::Result<()> {
    let Some(browser) = Browser::start("no_script_of_a_page_could_run")? else {
        return Ok(());
    };
    let daemon = Daemon::fresh()?;
    let code = "%22%3E%3Cscript%3Ewindow.ran=1%3C/script%3E";
    browser.open(&format!(
        "{}/device?user_code={code}",
        daemon.endpoints().oidc
    ))?;
    assert_eq!(browser.evaluate("return window.ran ?? null")?, Value::Null);
    let shown = browser.evaluate("return document.querySelector('#user_code').value")?;
    assert_eq!(shown, json!("\"><script>window.ran=1</script>"));
    // Put there by whoever found a hole, it still would not run: the policy has no source for scripts.
    browser.evaluate(
        "const hole = document.createElement('img'); hole.setAttribute('onerror', 'window.ran = 1'); hole.src = 'data:,'; document.body.append(hole)",
    )?;
    browser.until("decided about the image", |browser| {
        Ok(browser.evaluate("return document.querySelector('img').complete")? == json!(true))
    })?;
    assert_eq!(browser.evaluate("return window.ran ?? null")?, Value::Null);
    Ok(())
}
