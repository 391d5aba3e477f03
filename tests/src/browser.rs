//! A real Chromium, by its driver's HTTP interface (WebDriver, and Chromium's own commands).

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::http;
use crate::network::free_port;
use crate::wait::until_else;
use base64::Engine as _;
use serde_json::{Value, json};

/// As a page may wait for Jobs on a cluster.
const SOON: Duration = Duration::from_secs(180);

/// A browser with one window. It ends with this.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

/// How a browser is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// Each of them.
    pub const BOTH: [Self; 2] = [Self::Light, Self::Dark];

    /// Its name, as CSS has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Browser {
    /// Starts one, without a window on the screen.
    ///
    /// # Errors
    /// There is no Chromium, or no chromedriver.
    pub async fn start() -> io::Result<Self> {
        let port = free_port(None, [127, 0, 0, 1].into())?;
        let driver = Command::new("chromedriver")
            .args([&format!("--port={port}"), "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut browser = Self { driver, port, session: String::new() };
        until_else("the browser's driver", SOON, async || {
            http::get(port, "/status", &[]).map(drop).map_err(|error| error.to_string())
        })
        .await;
        // As root it has no sandbox; it looks at nothing but our own pages.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1280,900",
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}}});
        let made = browser.command("POST", "", &wanted)?;
        browser.session = format!("/{}", made["sessionId"].as_str().unwrap_or_default());
        Ok(browser)
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let path = format!("/session{}{path}", self.session);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = http::request(self.port, method, &path, &["Content-Type: application/json"], &body)?;
        let mut answered: Value = serde_json::from_str(&answer.body)?;
        match answer.status {
            200 => Ok(answered["value"].take()),
            _ => Err(io::Error::other(format!("{path}: {}", answered["value"]["message"]))),
        }
    }

    /// One of Chromium's own commands.
    fn chromium(&self, command: &str, parameters: &Value) -> io::Result<Value> {
        self.command("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Opens a page, and waits until it is loaded.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn open(&self, url: &str) -> io::Result<()> {
        self.command("POST", "/url", &json!({"url": url})).map(drop)
    }

    /// What a script in the page returns.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn ask(&self, script: &str) -> io::Result<Value> {
        self.command("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// What a script in the page hands to its callback, `done`.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn ask_later(&self, script: &str) -> io::Result<Value> {
        let script = format!("const done = arguments[0]; {script}");
        self.command("POST", "/execute/async", &json!({"script": script, "args": []}))
    }

    /// What people see of a part of the page, its words with one space between them; nothing where there is none.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn text(&self, selector: &str) -> io::Result<String> {
        let text =
            self.ask(&format!("return document.querySelector({})?.innerText ?? ''", json!(selector)))?;
        Ok(text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Waits until people see this in a part of the page.
    pub async fn until_text(&self, selector: &str, wanted: &str) {
        until_else(&format!("{wanted:?} in {selector}"), SOON, async || {
            let text = self.text(selector).map_err(|error| error.to_string())?;
            if text.contains(wanted) { Ok(()) } else { Err(text) }
        })
        .await;
    }

    /// Presses keys, one after the other, where the focus is.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn press(&self, keys: &[&str]) -> io::Result<()> {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})))
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.command("POST", "/actions", &actions).map(drop)
    }

    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn click(&self, selector: &str) -> io::Result<()> {
        let found = self.command("POST", "/element", &json!({"using": "css selector", "value": selector}))?;
        let element = found.as_object().and_then(|found| found.values().next()?.as_str()).unwrap_or_default();
        self.command("POST", &format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Opens another tab, which is not shown yet: the handles of this one and of that.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn new_tab(&self) -> io::Result<(Value, Value)> {
        let this = self.command("GET", "/window", &Value::Null)?;
        let mut other = self.command("POST", "/window/new", &json!({"type": "tab"}))?;
        Ok((this, other["handle"].take()))
    }

    /// Brings a tab to the front.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn show(&self, tab: &Value) -> io::Result<()> {
        self.command("POST", "/window", &json!({"handle": tab}))?;
        self.chromium("Page.bringToFront", &json!({})).map(drop)
    }

    /// Where it is.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn url(&self) -> io::Result<String> {
        Ok(self.command("GET", "/url", &Value::Null)?.as_str().unwrap_or_default().to_owned())
    }

    /// What it complained of since the last time: refused scripts and styles, errors, failed requests.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn complaints(&self) -> io::Result<Vec<String>> {
        let log = self.command("POST", "/se/log", &json!({"type": "browser"}))?;
        Ok(log.as_array().into_iter().flatten().map(|line| line["message"].to_string()).collect())
    }

    /// From now on it is a phone, a small one.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn be_a_phone(&self) -> io::Result<()> {
        let metrics = json!({"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": true});
        self.chromium("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    /// By how much the page has to be moved sideways to be seen whole.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn too_wide(&self) -> io::Result<Value> {
        self.ask("const page = document.documentElement; return page.scrollWidth - page.clientWidth")
    }

    /// What the browser's owner prefers.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn prefer(&self, theme: Theme) -> io::Result<()> {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme.name()}]});
        self.chromium("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// From now on no page has scripts.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn without_scripts(&self) -> io::Result<()> {
        self.chromium("Emulation.setScriptExecutionDisabled", &json!({"value": true})).map(drop)
    }

    /// The page as a PNG, all of it or what is seen of it at first.
    ///
    /// # Errors
    /// The browser's driver says no.
    pub fn picture(&self, file: &Path, whole: bool) -> io::Result<()> {
        let taken = self.chromium("Page.captureScreenshot", &json!({"captureBeyondViewport": whole}))?;
        let data = taken["data"].as_str().unwrap_or_default();
        std::fs::write(
            file,
            base64::engine::general_purpose::STANDARD.decode(data).map_err(io::Error::other)?,
        )
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser that it started. Else a dozen processes stay for each test, and take what the next ones need.
        if let Err(error) = self.command("DELETE", "", &Value::Null) {
            eprintln!("a browser stays behind: {error}");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
