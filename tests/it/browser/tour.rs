//! Every page of the gate's, in both languages, before other people's checkers. A new page stops
//! here as well.

use std::time::Duration;

use doorward_plugins::administration::AccountChange;
use doorward_tests::App;

use super::House;
use super::examiner::Examiner;

/// A person who goes from page to page.
struct Tour {
    house: House,
    examiner: Examiner,
    language: &'static str,
}

const FACTORS: &str = "/.doorward/account/authenticators";

impl Tour {
    async fn begin(language: &'static str) -> Self {
        let mut house = House::open().await;
        let examiner = Examiner::new(&mut house.browser, language).await;
        // The choice is kept for the pages that follow.
        house.go(&format!("/.doorward/sign-in?lang={language}")).await;
        Self { house, examiner, language }
    }

    async fn look(&mut self, name: &str) {
        self.examiner.look(&mut self.house.browser, name).await;
    }

    async fn visit(&mut self, target: &str, name: &str) {
        self.house.go(target).await;
        self.look(name).await;
    }

    async fn press(&mut self, selector: &str) {
        self.house.browser.click(selector).await;
    }

    /// Waits for something on the page, and looks at it.
    async fn see(&mut self, selector: &str, name: &str) {
        self.house.is_told(selector, "").await;
        self.look(name).await;
    }

    /// The same, in the dialog that a script has opened.
    async fn see_dialog(&mut self, selector: &str, name: &str) {
        self.house.is_told(&format!("doorward-step-up >>> {selector}"), "").await;
        self.examiner.look_again(&mut self.house.browser, name).await;
    }

    async fn sign_in_pages(&mut self) {
        self.look("sign-in").await;
        self.visit("/.doorward/sign-in?form=sub-user", "sub-user").await;
        self.visit("/.doorward/sign-in?notice=signed-out", "signed-out").await;
        self.house.go("/.doorward/sign-in").await;
        self.house.browser.type_into("#account", "alice").await;
        self.house.browser.type_into("#password", "wrong").await;
        self.press("form button[type=submit]").await;
        self.see("[role=alert]", "sign-in-wrong").await;
    }

    async fn account_pages(&mut self) {
        self.house.sign_in("/.doorward/account").await;
        self.look("account").await;
        self.visit("/.doorward/sign-out", "sign-out").await;
        self.visit("/.doorward/nothing", "problem").await;
        self.visit(FACTORS, "factors-none").await;
    }

    /// Binds an app and a key.
    async fn binding_pages(&mut self) -> App {
        self.press("a[href$='/authenticators/bind']").await;
        self.see("button[name=send]", "confirm").await;
        self.press("button[name=send]").await;
        self.see("p[role=status]", "confirm-sent").await;
        self.house.gate.deliver().await;
        let sent = crate::factors::recovery::texts(&self.house.gate, "code_approve");
        self.house.give_code(&sent[0]).await;
        self.see(".qr", "bind").await;
        let app = App::new(&self.house.browser.text(".key").await, &self.house.gate.clock);
        for (second, name) in [("000000".into(), "bind-wrong"), (app.code_after(1), "factors")] {
            self.house.browser.type_into("#first", &app.code()).await;
            self.house.browser.type_into("#second", &second).await;
            self.press("form button[type=submit]").await;
            let told = if name == "factors" { "p[role=status]" } else { "[role=alert]" };
            self.see(told, name).await;
        }
        self.press("form[action$=recovery-codes] button").await;
        self.see(".codes", "recovery-codes").await;
        self.house.browser.plug_in_key().await;
        self.visit("/.doorward/account/keys/bind", "bind-key").await;
        self.press("form button[type=submit]").await;
        self.house.arrive(&format!("{FACTORS}?notice=bound")).await;
        app.wait();
        app.wait();
        app
    }

    /// The user centre, right after the proof that its changes ask for.
    async fn centre_pages(&mut self) {
        self.visit("/.doorward/account/sub-users", "sub-users-none").await;
        self.house.gate.add("alice/dev", AccountChange::default()).await;
        self.house.gate.app_of("alice/dev").await;
        for page in ["sub-users", "profile", "sign-ins", "addresses"] {
            self.visit(&format!("/.doorward/account/{page}"), page).await;
        }
        self.visit("/.doorward/account/password", "password").await;
        self.house.browser.type_into("#current_password", doorward_tests::PASSWORD).await;
        self.house.browser.type_into("#new_password", "console-alice-console").await;
        self.press("form button").await;
        self.see("[role=alert]", "password-weak").await;
        self.visit(&format!("{FACTORS}/token"), "token").await;
        self.visit("/.doorward/account/addresses/change?what=email", "address").await;
        self.house.browser.type_into("#address", "nobody@nowhere").await;
        self.press("form button[type=submit]").await;
        self.see("[role=alert]", "address-wrong").await;
        self.house.browser.evaluate("document.getElementById('address').value = ''").await;
        self.house.browser.type_into("#address", "alice@example.com").await;
        self.press("form button[type=submit]").await;
        self.see("#answer", "address-confirm").await;
    }

    /// Nobody is signed in: the password is forgotten, and then the name.
    async fn recovery_pages(&mut self, app: &App) {
        self.visit("/.doorward/recover", "recover").await;
        self.house.browser.type_into("#account", "alice").await;
        self.press("form button[type=submit]").await;
        self.see("[name=channel]", "recover-channel").await;
        self.press("form button[type=submit]").await;
        self.see("#answer", "recover-code").await;
        self.house.give_code("000000").await;
        self.see("[role=alert]", "recover-code-wrong").await;
        self.house.gate.deliver().await;
        let sent = crate::factors::recovery::texts(&self.house.gate, "code_reset_password");
        self.house.give_code(sent.last().unwrap()).await;
        self.see("button[name=other]", "recover-key").await;
        self.press("button[value=totp]").await;
        self.see("#answer", "recover-app").await;
        app.wait();
        self.house.give_code(&app.code()).await;
        self.see("#new_password", "recover-password").await;
        self.house.browser.type_into("#new_password", "console-alice-console").await;
        self.press("form button[type=submit]").await;
        self.see("[role=alert]", "recover-password-weak").await;
        self.visit("/.doorward/recover/name", "recover-name").await;
    }

    /// Half signed in: nothing that is bound is at hand.
    async fn appeal_pages(&mut self) {
        self.visit("/.doorward/appeal", "appeal").await;
        self.house.browser.type_into("#reason", "My phone was stolen.").await;
        self.house.browser.type_into("#contact", "+86 138 0000 0000").await;
        self.press("form button[type=submit]").await;
        self.see("[role=status]", "appeal-progress").await;
    }

    async fn approval_pages(&mut self, app: &App) {
        self.house.go("/app").await;
        self.house.send_form().await;
        self.look("approve-key").await;
        self.press(".ways a[href*=totp]").await;
        self.see("#answer", "approve").await;
        self.house.give_code("000000").await;
        self.see("[role=alert]", "approve-wrong").await;
        self.house.give_code(&app.code()).await;
        self.house.is_told("#got", "POST").await;
        self.house.browser.reload().await;
        self.see("[role=alert]", "gone-on-already").await;
        self.house.gate.clock.advance(Duration::from_secs(300));
        self.house.go("/app").await;
        let file = self.house.gate.scratch.path().join("key.bin");
        std::fs::write(&file, vec![b'x'; 80_000]).unwrap();
        self.house.browser.type_into("#upload [type=file]", file.to_str().unwrap()).await;
        self.press("#upload button").await;
        self.see(".operation", "approve-too-large").await;
        self.house.go("/app").await;
        self.house.let_session_expire();
        self.press("#by-form button").await;
        self.see("#password", "session-over").await;
        self.house.give_password().await;
        self.see(".operation", "continue").await;
    }

    async fn dialogs(&mut self) {
        self.visit("/app", "console").await;
        // The console's page is in English; the dialog speaks the language of the page.
        let lang = format!("document.documentElement.lang = '{}'", self.language);
        self.house.browser.evaluate(&lang).await;
        self.press("#transfer button").await;
        self.see_dialog("button.main", "dialog-key").await;
        self.press("doorward-step-up >>> form button:nth-of-type(2)").await;
        self.see_dialog("#code", "dialog").await;
        self.house.browser.press(&format!("000000{}", doorward_tests::webdriver::ENTER)).await;
        self.see_dialog("#code[aria-invalid]", "dialog-wrong").await;
        self.press("doorward-step-up >>> dialog > button:last-child").await;
        self.house.let_session_expire();
        self.press("#key").await;
        self.see_dialog("button.main", "dialog-session-over").await;
    }

    async fn second_step_pages(&mut self) {
        self.house.protect_sign_in().await;
        self.house.go("/.doorward/sign-in").await;
        self.house.give_password().await;
        self.see("input[name=way]", "second-step-key").await;
        for way in ["totp", "text-message", "recovery-code"] {
            self.press(&format!(".ways a[href*={way}]")).await;
            self.see("#answer", &format!("second-step-{way}")).await;
        }
        self.appeal_pages().await;
        let groups = Some(vec!["guarded".to_owned()]);
        self.house.gate.add("bob", AccountChange { groups, ..AccountChange::default() }).await;
        self.house.go("/.doorward/sign-in").await;
        self.house.browser.type_into("#account", "bob").await;
        self.house.browser.type_into("#password", doorward_tests::PASSWORD).await;
        self.press("form button[type=submit]").await;
        self.see(".qr", "bind-first").await;
    }

    async fn whole(language: &'static str) {
        let mut tour = Self::begin(language).await;
        tour.sign_in_pages().await;
        tour.account_pages().await;
        let app = tour.binding_pages().await;
        tour.centre_pages().await;
        tour.approval_pages(&app).await;
        tour.dialogs().await;
        tour.second_step_pages().await;
        tour.recovery_pages(&app).await;
        tour.examiner.conclude();
    }
}

#[tokio::test]
async fn k12_k14_every_page_in_english_is_accessible_and_valid() {
    Tour::whole("en").await;
}

#[tokio::test]
async fn k12_k14_every_page_in_chinese_is_accessible_and_valid() {
    Tour::whole("zh-CN").await;
}
