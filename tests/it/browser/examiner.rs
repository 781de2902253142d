//! Looks at a page as other people's checkers do: axe-core at WCAG 2.2 AA, in the light and in the
//! dark; html-validate, on what the gate sent. And sees that nothing scrolls sideways on a phone.
//! With `DOORWARD_SCREENSHOTS=FOLDER`, it leaves pictures there.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use doorward_tests::Scratch;
use doorward_tests::process::prepared;
use doorward_tests::webdriver::Chromium;
use serde_json::{Value, json};

/// What is found on a page that is shown: rule, what is wrong, and where.
const AXE: &str = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})\
    .then(({violations}) => violations.flatMap(({id, nodes}) => nodes.map((node) => `${id}: ${node.failureSummary} ${node.html}`)))";

/// Is there anything that one cannot see without scrolling sideways?
const WIDE: &str = "document.documentElement.scrollWidth > innerWidth\
    || (document.querySelector('doorward-step-up')?.shadowRoot.querySelector('dialog').getBoundingClientRect().right ?? 0) > innerWidth";

const DEVICES: [(&str, u32, u32); 2] = [("desktop", 1280, 900), ("phone", 390, 844)];

/// What has been looked at, and what was wrong with it.
pub(crate) struct Examiner {
    /// Ends the names of pictures.
    language: &'static str,
    checkers: PathBuf,
    /// Every page as it was sent.
    sent: Scratch,
    pictures: Option<String>,
    faults: Vec<String>,
}

impl Examiner {
    /// One that looks at pages of this browser, from the next one on.
    pub(crate) async fn new(browser: &mut Chromium, language: &'static str) -> Self {
        let checkers = prepared("DOORWARD_TEST_CHECKERS");
        let axe = std::fs::read_to_string(checkers.join("axe-core/axe.min.js")).unwrap();
        let source = json!({"source": axe});
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", source).await;
        #[expect(clippy::disallowed_methods, reason = "a person asks for pictures so")]
        let pictures = std::env::var("DOORWARD_SCREENSHOTS").ok();
        Self { language, checkers, sent: Scratch::new(), pictures, faults: Vec::new() }
    }

    /// Looks at the page that is shown, and has just come.
    pub(crate) async fn look(&mut self, browser: &mut Chromium, name: &str) {
        let html = browser.sent().await;
        std::fs::write(self.sent.path().join(format!("{name}.html")), html).unwrap();
        self.look_again(browser, name).await;
    }

    /// Looks at what has become of a page.
    pub(crate) async fn look_again(&mut self, browser: &mut Chromium, name: &str) {
        for scheme in ["light", "dark"] {
            let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            browser.devtools("Emulation.setEmulatedMedia", media).await;
            let found = browser.evaluate(AXE).await;
            let found = found.as_array().unwrap().iter().filter_map(Value::as_str);
            self.faults.extend(found.map(|fault| format!("{name}, {scheme}: {fault}")));
            for (device, width, height) in DEVICES {
                let mobile = device == "phone";
                let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
                browser.devtools("Emulation.setDeviceMetricsOverride", size).await;
                if browser.evaluate(WIDE).await == true {
                    self.faults.push(format!("{name} scrolls sideways on a {device}"));
                }
                self.photograph(browser, &format!("{name}-{scheme}-{device}")).await;
            }
            browser.devtools("Emulation.clearDeviceMetricsOverride", json!({})).await;
        }
    }

    async fn photograph(&self, browser: &mut Chromium, name: &str) {
        let Some(folder) = &self.pictures else { return };
        let whole = json!({"captureBeyondViewport": true});
        let picture = browser.devtools("Page.captureScreenshot", whole).await;
        let octets = base64::engine::general_purpose::STANDARD
            .decode(picture["data"].as_str().unwrap())
            .unwrap();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(format!("{folder}/{}-{name}.png", self.language), octets).unwrap();
    }

    /// That nothing was wrong with anything.
    pub(crate) fn conclude(mut self) {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages/htmlvalidate.json");
        let checked = Command::new(self.checkers.join(".bin/html-validate"))
            .arg("--config")
            .args([&rules, self.sent.path()])
            .output()
            .unwrap();
        if !checked.status.success() {
            self.faults.extend(
                [checked.stdout, checked.stderr]
                    .map(|said| String::from_utf8_lossy(&said).into_owned()),
            );
        }
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
    }
}
