//! A headless Chromium, by the W3C's `WebDriver`: what a person does and sees, and nothing that a person could not.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A window of a browser of its own. It ends with the test, however that ends.
pub(crate) struct Browser {
    driver: Child,
    profile: PathBuf,
    client: reqwest::Client,
    session: String,
}

impl Browser {
    /// Opens a window of that size on the address. The browser finds the name `ops.internal` at this machine, and treats the
    /// name as one of another machine.
    pub(crate) async fn open(url: &str, width: u32, height: u32) -> Self {
        Self::open_with(url, (width, height), json!({})).await
    }

    /// Opens the window with these preferences of the profile.
    pub(crate) async fn open_with(url: &str, (width, height): (u32, u32), preferences: Value) -> Self {
        // Each test has a thread of its own.
        let test = std::thread::current().id();
        let profile = std::env::temp_dir().join(format!("circuit-page-{}-{test:?}", std::process::id()));
        std::fs::create_dir_all(&profile).unwrap();
        // The driver chooses a port of IPv4, and ends if another process has this port of IPv6.
        let started = (0..5).find_map(|_| Self::drive(&profile));
        let (driver, port) = started.expect("chromedriver is there: run scripts/test, which installs it");
        let mut browser = Self {
            driver,
            profile,
            client: reqwest::Client::new(),
            session: format!("http://127.0.0.1:{port}/session"),
        };
        let data = format!("--user-data-dir={}", browser.profile.join("data").display());
        // `new`: also a window narrower than 500, which a phone's is.
        let names = "--host-resolver-rules=MAP ops.internal 127.0.0.1";
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            names,
            &data,
        ];
        let options = json!({ "args": args, "prefs": preferences, "mobileEmulation": { "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1.0, "touch": false } } });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let started = browser.post("", wanted).await;
        let id = started["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {started}"));
        browser.session = format!("{}/{id}", browser.session);
        browser.post("/timeouts", json!({ "script": 70_000 })).await;
        browser.go(url).await;
        browser
    }

    /// Starts a driver, and returns it with its port. Returns `None` if the driver has ended without a port.
    fn drive(profile: &Path) -> Option<(Child, u16)> {
        // In a process group of its own, which takes the browser's processes along.
        let mut command = Command::new("setpriv");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut driver = command
            .args(["--pdeathsig", "KILL", "chromedriver", "--port=0"])
            // What the browser leaves behind goes with the profile.
            .env("TMPDIR", profile)
            .env("HOME", profile)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv is there: run scripts/test, which installs it");
        let said = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = said
            .into_iter()
            .find_map(|line| line.rsplit_once("successfully on port ")?.1.strip_suffix('.')?.parse::<u16>().ok());
        let Some(port) = port else {
            driver.wait().unwrap();
            return None;
        };
        Some((driver, port))
    }

    pub(crate) async fn go(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Opens a tab on the address and turns to the tab. Returns its handle.
    pub(crate) async fn open_tab(&self, url: &str) -> String {
        let opened = self.post("/window/new", json!({ "type": "tab" })).await;
        let tab = opened["handle"].as_str().unwrap().to_owned();
        self.turn_to(&tab).await;
        self.go(url).await;
        tab
    }

    /// Turns to the tab, as a click on its title does.
    pub(crate) async fn turn_to(&self, tab: &str) {
        self.post("/window", json!({ "handle": tab })).await;
    }

    /// Returns the handle of the tab.
    pub(crate) async fn tab(&self) -> String {
        let response = self.client.get(format!("{}/window", self.session)).send().await.unwrap();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        answer["value"].as_str().unwrap().to_owned()
    }

    /// Closes the tab. The caller turns to another tab.
    pub(crate) async fn close_tab(&self) {
        let closed = self.client.delete(format!("{}/window", self.session)).send().await.unwrap();
        assert!(closed.status().is_success());
    }

    /// Runs a script before those of each page that is opened later.
    pub(crate) async fn before_each_page(&self, script: &str) {
        let parameters = json!({ "source": script });
        let command = json!({ "cmd": "Page.addScriptToEvaluateOnNewDocument", "params": parameters });
        self.post("/goog/cdp/execute", command).await;
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.session)).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        let succeeded = response.status().is_success();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert!(succeeded, "{path} {body}: {}", answer["value"]["message"]);
        answer["value"].clone()
    }

    /// Waits until the expression is true in the page, and returns what it is.
    pub(crate) async fn wait(&self, expression: &str) -> Value {
        // Not by `eval`, which the page's policy forbids here too.
        let script = format!(
            "const done = arguments[0], end = Date.now() + 60000; const look = () => {{ const found = {expression}; \
             if (found || Date.now() > end) done(found || {{ never: document.body.innerText }}); \
             else setTimeout(look, 20); }}; look();"
        );
        let found = self.post("/execute/async", json!({ "script": script, "args": [] })).await;
        assert!(
            found.get("never").is_none(),
            "never: {expression}; the page says:\n{}",
            found["never"].as_str().unwrap()
        );
        found
    }

    /// Waits until the page shows the text.
    pub(crate) async fn sees(&self, text: &str) {
        self.wait(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Returns the expression's value now.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        self.post("/execute/sync", json!({ "script": format!("return {expression}"), "args": [] })).await
    }

    async fn element(&self, selector: &str) -> String {
        self.wait(&format!("!!document.querySelector({})", json!(selector))).await;
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into an element, as with a keyboard.
    pub(crate) async fn write(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Presses keys where the focus is.
    pub(crate) async fn press(&self, keys: &[char]) {
        let actions: Vec<_> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        self.post("/actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    pub(crate) async fn reload(&self) {
        self.post("/refresh", json!({})).await;
    }

    /// Returns a picture of what is seen, as Base64 of a PNG.
    pub(crate) async fn picture(&self) -> String {
        let response = self.client.get(format!("{}/screenshot", self.session)).send().await.unwrap();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        answer["value"].as_str().unwrap().to_owned()
    }

    /// Closes the window, so that nothing is written to the profile any more.
    pub(crate) async fn close(self) {
        let broken = self.value("document.getElementById('broken')?.textContent").await;
        assert!(broken.as_str().is_none_or(str::is_empty), "an exception of the page: {broken}");
        let _closed = self.client.delete(&self.session).send().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The whole group, by its number: the driver, and the browser if it was not closed.
        let group = format!("-{}", self.driver.id());
        let _killed = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ended = self.driver.wait();
        let _removed = std::fs::remove_dir_all(&self.profile);
    }
}
