//! A headless Chromium, driven over its `DevTools` protocol through a pipe: no port, and it ends with the test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep, timeout};

/// How long the browser may take for one step.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a page is watched for: how much of it moved without anybody's doing (CLS).
const WATCH: &str = "window.moved = 0; new PerformanceObserver((list) => { \
    for (const it of list.getEntries()) if (!it.hadRecentInput) window.moved += it.value; \
    }).observe({ type: 'layout-shift', buffered: true });";

/// The browser, where one is installed.
#[must_use]
pub fn find_chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places =
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// What colours the user prefers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// A browser with one page. It is killed when this is dropped.
#[derive(Debug)]
pub struct Chromium {
    child: Child,
    orders: ChildStdin,
    messages: UnboundedReceiver<Value>,
    session: Option<String>,
    last: u64,
    /// What the page was wrong in: exceptions, and what its policy refused.
    complaints: Vec<String>,
    /// What was asked for.
    requests: Vec<String>,
    _profile: TempDir,
}

impl Chromium {
    /// Starts the browser.
    pub async fn start(program: &Path) -> Self {
        let profile = TempDir::new().expect("a temporary folder");
        let folder = format!("--user-data-dir={}", profile.path().display());
        // The protocol is spoken on the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
            ])
            .arg(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--mute-audio",
            ])
            .args(["--remote-debugging-pipe", &folder, "about:blank"])
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let orders = child.stdin.take().expect("a pipe");
        let told = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, messages) = unbounded_channel();
        thread::spawn(move || {
            for message in told.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            orders,
            messages,
            session: None,
            last: 0,
            complaints: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        let blank = json!({ "url": "about:blank" });
        let target = browser.call("Target.createTarget", blank).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        let watch = json!({ "source": WATCH });
        browser
            .call("Page.addScriptToEvaluateOnNewDocument", watch)
            .await;
        browser
    }

    /// Opens a page in a window of this size.
    pub async fn open(&mut self, url: &str, width: u32, height: u32, scheme: Scheme) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme).await;
        self.call("Page.navigate", json!({ "url": url })).await;
        let there = "document.readyState === 'complete' && location.protocol !== 'about:'";
        self.until(there).await;
    }

    /// The value of an expression on the page.
    pub async fn value(&mut self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let answer = self.call("Runtime.evaluate", asked).await;
        let wrong = &answer["exceptionDetails"];
        assert!(wrong.is_null(), "{expression}: {wrong}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(expression).await != Value::Bool(true) {
            if Instant::now() >= end {
                let text = self.value("document.body.innerText").await;
                panic!(
                    "still not so: {expression}\n{}",
                    text.as_str().unwrap_or_default()
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Types a text where the focus is.
    pub async fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Presses a key: `Tab`, `Enter` or `ArrowLeft`.
    pub async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "ArrowLeft" => (37, ""),
            other => panic!("{other} is no key of this harness"),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// A picture of the whole page, as PNG. Where `LARDER_PICTURES` names a folder, it is kept there under `name`.
    pub async fn picture(&mut self, name: &str) -> Vec<u8> {
        let height = self.value("document.documentElement.scrollHeight").await;
        let width = self.value("innerWidth").await;
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let asked = json!({ "captureBeyondViewport": true, "clip": clip });
        let answer = self.call("Page.captureScreenshot", asked).await;
        let picture = STANDARD.decode(answer["data"].as_str().expect("a picture"));
        let picture = picture.expect("base64");
        if let Some(folder) = std::env::var_os("LARDER_PICTURES") {
            let file = Path::new(&folder).join(name).with_extension("png");
            std::fs::write(file, &picture).expect("a writable folder");
        }
        picture
    }

    /// What the page was wrong in, so far.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// The URLs that were asked for, so far.
    #[must_use]
    pub fn requests(&self) -> &[String] {
        &self.requests
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let mut order = order.to_string().into_bytes();
        order.push(0);
        self.orders.write_all(&order).expect("the browser listens");
        loop {
            let message = timeout(PATIENCE, self.messages.recv()).await;
            let message = message.unwrap_or_else(|_| panic!("no answer to {method}"));
            let mut message = message.expect("the browser lives");
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str();
                self.requests.extend(url.map(str::to_owned));
            }
            Some("Runtime.exceptionThrown") => self.complaints.push(parameters.to_string()),
            // Answers of the node that are no 200 are the network's.
            Some("Log.entryAdded") if parameters["entry"]["source"] != "network" => {
                self.complaints.push(parameters.to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Both fail only when the process has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
