//! The API for programs, held against its own description: every documented operation, every
//! status and member; and problem documents wherever something is wrong.

use doorward_plugins::administration::AccountChange;
use doorward_tests::{Answer, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const ROOT: &str = "/.doorward/api/v1";

async fn plain_gate() -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add_alice().await;
    gate.add("alice/dev", AccountChange::default()).await;
    (upstream, gate)
}

/// The description that the gate itself gives.
pub(crate) struct Description(Value);

impl Description {
    pub(crate) async fn of(gate: &TestGate) -> Self {
        let answer = gate.browser().get("/.doorward/api/openapi.json").await;
        assert_eq!(answer.status, StatusCode::OK);
        Self(answer.json())
    }

    fn resolve<'d>(&'d self, part: &'d Value) -> &'d Value {
        match part["$ref"].as_str() {
            None => part,
            Some(place) => self.0.pointer(place.strip_prefix('#').unwrap()).unwrap(),
        }
    }

    /// Compares an answer with what is written about this operation.
    #[track_caller]
    pub(crate) fn holds(&self, method: &str, path: &str, answer: &Answer) {
        let operation = &self.0["paths"][path][method.to_ascii_lowercase()];
        let status = answer.status.as_u16().to_string();
        let written = operation["responses"].get(&status);
        let written = written.unwrap_or_else(|| {
            panic!("{method} {path}: {status} is not written: {}", answer.text())
        });
        let Some(content) = self.resolve(written).get("content") else {
            assert!(answer.body.is_empty(), "{method} {path} {status}: {}", answer.text());
            return;
        };
        let (kind, described) = content.as_object().unwrap().iter().next().unwrap();
        assert_eq!(answer.field("content-type"), kind, "{method} {path} {status}");
        self.fits(&described["schema"], &answer.json(), &format!("{method} {path} {status}"));
    }

    /// A validator for the few words of JSON Schema that the description uses.
    #[track_caller]
    fn fits(&self, schema: &Value, value: &Value, place: &str) {
        let schema = self.resolve(schema);
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        match &schema["type"] {
            Value::String(wanted) => assert_eq!(wanted, kind, "{place}: {value}"),
            Value::Array(wanted) => assert!(wanted.contains(&kind.into()), "{place}: {value}"),
            _ => assert!(schema["enum"].as_array().unwrap().contains(value), "{place}: {value}"),
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(value.get(name.as_str().unwrap()).is_some(), "{place}: no {name} in {value}");
        }
        // What others have specified is only named here.
        let elsewhere = schema["description"].as_str().is_some_and(|text| text.contains('§'));
        for (name, member) in value.as_object().into_iter().flatten().filter(|_| !elsewhere) {
            let known = schema["properties"].get(name);
            let known = known.unwrap_or_else(|| panic!("{place}: {name} is not written"));
            self.fits(known, member, &format!("{place}.{name}"));
        }
        for item in value.as_array().into_iter().flatten() {
            self.fits(&schema["items"], item, place);
        }
    }

    /// Method and path of every operation.
    fn operations(&self) -> Vec<(String, String)> {
        let paths = self.0["paths"].as_object().unwrap();
        let each = paths.iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        });
        each.collect()
    }
}

async fn ask(browser: &mut Browser, method: &str, path: &str, body: &Value) -> Answer {
    let kind = [("content-type", "application/json")];
    let method = Method::try_from(method).unwrap();
    browser.send(method, &format!("{ROOT}{path}"), &kind, body.to_string().into()).await
}

/// Calls what people do about their own account, and who has forgotten a password.
async fn call_centre(
    browser: &mut Browser,
    written: &Description,
    called: &mut std::collections::BTreeSet<(String, String)>,
) {
    let address = json!({"what": "phone", "address": "nonsense"});
    let recover = json!({"account": "alice"});
    let (send, verify) =
        (json!({"ticket": "x", "channel": "email"}), json!({"ticket": "x", "code": "1"}));
    let factor = json!({"recovery": "x", "way": "totp", "code": "1"});
    let reset = json!({"recovery": "x", "new_password": PASSWORD});
    let script: [(&str, &str, &str, &Value, u16); 15] = [
        ("GET", "/profile", "/profile", &Value::Null, 200),
        ("POST", "/profile", "/profile", &json!({"language": "en"}), 200),
        ("GET", "/sign-ins", "/sign-ins", &Value::Null, 200),
        ("GET", "/addresses", "/addresses", &Value::Null, 200),
        ("POST", "/addresses", "/addresses", &address, 400),
        ("POST", "/addresses/changes/{id}", "/addresses/changes/x", &json!({"code": "1"}), 410),
        ("POST", "/addresses/changes/{id}/send", "/addresses/changes/x/send", &json!({}), 410),
        ("POST", "/recover", "/recover", &recover, 403),
        ("POST", "/recover/send", "/recover/send", &send, 410),
        ("POST", "/recover/verify", "/recover/verify", &verify, 410),
        ("POST", "/recover/second-factor", "/recover/second-factor", &factor, 410),
        ("POST", "/recover/password", "/recover/password", &reset, 410),
        ("POST", "/recover/name", "/recover/name", &json!({"address": "x"}), 403),
        ("POST", "/recover/names", "/recover/names", &verify, 410),
        ("POST", "/recover/names", "/recover/names", &json!({}), 400),
    ];
    for (method, path, target, body, status) in script {
        let answer = ask(browser, method, target, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {target}: {}", answer.text());
        written.holds(method, path, &answer);
        called.insert((method.to_owned(), path.to_owned()));
    }
}

/// Whatever changes something refuses what the page of another site sends.
async fn refuses_other_sites(
    written: &Description,
    browser: &mut Browser,
    method: &str,
    path: &str,
) {
    if method == "GET" {
        return;
    }
    let evil = [("origin", "https://evil.example"), ("content-type", "application/json")];
    let target = format!("{ROOT}{path}").replace("{id}", "x");
    let method_of = Method::try_from(method).unwrap();
    let refused = browser.send(method_of, &target, &evil, "{}".into()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    written.holds(method, path, &refused);
}

/// What has to do with second factors, by somebody who is not signed in.
async fn call_factors(
    browser: &mut Browser,
    written: &Description,
    called: &mut std::collections::BTreeSet<(String, String)>,
) {
    let key = json!({"challenge": "nothing", "credential": {}});
    let code = json!({"way": "totp", "code": "000000"});
    for (method, path, target, body, status) in [
        ("POST", "/sign-in/second-factor/send", "/sign-in/second-factor/send", &code, 410),
        ("POST", "/step-up/{id}/send", "/step-up/nothing/send", &code, 401),
        ("GET", "/authenticators", "/authenticators", &Value::Null, 401),
        ("POST", "/authenticators/apps", "/authenticators/apps", &code, 401),
        ("PUT", "/authenticators/apps", "/authenticators/apps", &code, 401),
        ("DELETE", "/authenticators/{id}", "/authenticators/nothing", &json!({}), 401),
        ("POST", "/authenticators/recovery-codes", "/authenticators/recovery-codes", &code, 401),
        ("POST", "/sign-in/second-factor", "/sign-in/second-factor", &code, 410),
        ("GET", "/step-up/{id}", "/step-up/nothing", &Value::Null, 401),
        ("POST", "/step-up/{id}", "/step-up/nothing", &code, 401),
        ("POST", "/webauthn/sign-in/options", "/webauthn/sign-in/options", &json!({}), 200),
        ("POST", "/webauthn/sign-in", "/webauthn/sign-in", &key, 403),
        ("POST", "/webauthn/options", "/webauthn/options", &json!({}), 410),
        ("POST", "/webauthn/keys/options", "/webauthn/keys/options", &json!({}), 401),
        ("POST", "/webauthn/keys", "/webauthn/keys", &key, 401),
    ] {
        let answer = ask(browser, method, target, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {target}: {}", answer.text());
        written.holds(method, path, &answer);
        called.insert((method.to_owned(), path.to_owned()));
    }
}

#[tokio::test]
async fn every_documented_operation_answers_as_it_is_written() {
    let (_upstream, gate) = plain_gate().await;
    let written = Description::of(&gate).await;
    let good = json!({"account": "alice", "password": PASSWORD});
    let change = |new: &str| json!({"current_password": PASSWORD, "new_password": new});
    // The usual password again: nobody says that it has to be another one.
    let (weak, strong) = (change("tiny"), change(PASSWORD));
    let mut called = std::collections::BTreeSet::new();
    let mut browser = gate.browser();
    let other = gate.signed_in().await.get("/.doorward/session").await.json()["session"].clone();
    let third = gate.signed_in().await;
    call_centre(&mut third.clone(), &written, &mut called).await;
    call_factors(&mut gate.browser(), &written, &mut called).await;
    let one = format!("/sessions/{}", other.as_str().unwrap());
    let key = json!({"challenge": "nothing", "credential": {}});
    let code = json!({"way": "totp", "code": "000000"});
    let script: [(&str, &str, &str, &Value, u16); 36] = [
        ("GET", "/session", "/session", &Value::Null, 401),
        ("GET", "/sessions", "/sessions", &Value::Null, 401),
        ("DELETE", "/sessions/{id}", &one, &Value::Null, 401),
        ("POST", "/sessions/end-others", "/sessions/end-others", &json!({}), 401),
        ("POST", "/password", "/password", &weak, 401),
        ("POST", "/sign-out", "/sign-out", &json!({}), 204),
        ("POST", "/sign-in", "/sign-in", &json!({"account": "alice", "password": "wrong"}), 403),
        ("POST", "/sign-in", "/sign-in", &json!({"account": "alice"}), 400),
        ("POST", "/sign-in", "/sign-in", &json!({"account": 7, "password": []}), 400),
        ("POST", "/sign-in", "/sign-in", &json!([]), 400),
        (
            "POST",
            "/sign-in",
            "/sign-in",
            &json!({"account": "a", "password": "x".repeat(70_000)}),
            413,
        ),
        ("GET", "/captcha", "/captcha?purpose=sign-in", &Value::Null, 200),
        ("GET", "/captcha", "/captcha?purpose=nothing", &Value::Null, 404),
        ("POST", "/sign-in", "/sign-in", &good, 200),
        ("GET", "/session", "/session", &Value::Null, 200),
        ("POST", "/webauthn/keys/options", "/webauthn/keys/options", &json!({}), 200),
        ("POST", "/webauthn/keys", "/webauthn/keys", &key, 410),
        ("GET", "/step-up/{id}", "/step-up/nothing", &Value::Null, 410),
        ("POST", "/step-up/{id}/send", "/step-up/nothing/send", &code, 410),
        ("GET", "/authenticators", "/authenticators", &Value::Null, 200),
        ("POST", "/authenticators/apps", "/authenticators/apps", &code, 200),
        ("PUT", "/authenticators/apps", "/authenticators/apps", &code, 400),
        ("PUT", "/authenticators/apps", "/authenticators/apps", &json!({"codes": ["1", "2"]}), 403),
        ("DELETE", "/authenticators/{id}", "/authenticators/nothing", &json!({}), 404),
        ("POST", "/authenticators/recovery-codes", "/authenticators/recovery-codes", &code, 200),
        ("POST", "/step-up/{id}", "/step-up/nothing", &code, 410),
        ("GET", "/sessions", "/sessions", &Value::Null, 200),
        ("DELETE", "/sessions/{id}", "/sessions/nothing", &Value::Null, 404),
        ("DELETE", "/sessions/{id}", &one, &Value::Null, 204),
        ("DELETE", "/sessions/{id}", &one, &Value::Null, 404),
        ("POST", "/sessions/end-others", "/sessions/end-others", &json!({}), 200),
        ("POST", "/password", "/password", &weak, 422),
        ("POST", "/password", "/password", &strong, 204),
        ("POST", "/sign-in", "/sign-in", &good, 200),
        ("POST", "/sign-out", "/sign-out", &json!({}), 204),
        ("GET", "/session", "/session", &Value::Null, 401),
    ];
    for (method, path, target, body, status) in script {
        let answer = ask(&mut browser, method, target, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {target}: {}", answer.text());
        written.holds(method, path, &answer);
        called.insert((method.to_owned(), path.to_owned()));
    }
    for (method, path) in written.operations() {
        assert!(called.contains(&(method.clone(), path.clone())), "{method} {path} was not called");
        refuses_other_sites(&written, &mut browser, &method, &path).await;
    }
    assert_eq!(third.clone().get("/").await.status, StatusCode::UNAUTHORIZED, "the others ended");
}

#[tokio::test]
async fn what_is_not_documented_is_not_there() {
    let (_upstream, gate) = plain_gate().await;
    let written = Description::of(&gate).await;
    let mut browser = gate.signed_in().await;
    for path in [
        "",
        "/",
        "/accounts",
        "/admin",
        "/sign-in/",
        "/sessions/a/b",
        "/session/x",
        "/../v1/session",
        "/openapi.json",
        "/keys",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = ask(&mut browser, method, path, &json!({})).await;
            let expected =
                if path.contains("..") { StatusCode::BAD_REQUEST } else { StatusCode::NOT_FOUND };
            assert_eq!(answer.status, expected, "{method} {path}");
        }
    }
    // Other methods of documented paths: refused, and the answer names those that there are.
    for (_, path) in written.operations() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if written.0["paths"][&path].get(method.to_ascii_lowercase()).is_some() {
                continue;
            }
            let target = path.replace("{id}", "x");
            let answer = ask(&mut browser, method, &target, &json!({})).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            let allowed = answer.field("allow");
            assert!(!allowed.is_empty() && !allowed.contains(method), "{method} {path}: {allowed}");
        }
    }
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "nothing happened to the session");
}

#[tokio::test]
async fn n05_n06_whatever_is_wrong_is_a_problem_document() {
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.browser();
    let sign_in = format!("{ROOT}/sign-in");
    let typed = |kind| [("content-type", kind)];
    let post = Method::POST;
    let mut answers = vec![
        (browser.get("/").await, 401, "session-required"),
        (browser.get("/.doorward/session").await, 401, "session-required"),
        (browser.get("/.doorward/nothing").await, 404, "not-found"),
        (browser.get("/a//b").await, 400, "bad-request"),
        (browser.get(&format!("/{}", "a".repeat(9000))).await, 414, "target-too-long"),
        (browser.send(Method::TRACE, "/", &[], "".into()).await, 405, "method-not-allowed"),
        (
            browser.send(Method::try_from("BREW").unwrap(), "/", &[], "".into()).await,
            501,
            "method-unknown",
        ),
        (browser.send(Method::PUT, &sign_in, &[], "".into()).await, 405, "method-not-allowed"),
        (
            browser.send(post.clone(), &sign_in, &typed("text/plain"), "{}".into()).await,
            415,
            "unsupported-type",
        ),
        (browser.send(post.clone(), &sign_in, &[], "{}".into()).await, 415, "unsupported-type"),
        (
            browser.send(post.clone(), &sign_in, &typed("application/json"), "{".into()).await,
            400,
            "bad-request",
        ),
        (
            browser.send(post.clone(), &sign_in, &typed("application/json"), "".into()).await,
            400,
            "bad-request",
        ),
        (
            browser
                .send(post.clone(), &sign_in, &typed("application/json"), vec![b' '; 70_000].into())
                .await,
            413,
            "too-large",
        ),
        (browser.send(post, &sign_in, &[("origin", "null")], "".into()).await, 403, "cross-site"),
        (browser.try_sign_in("alice", "wrong").await, 403, "sign-in-failed"),
    ];
    let mut elsewhere = gate.browser();
    elsewhere.host = "other.example".into();
    answers.push((elsewhere.get("/").await, 421, "misdirected"));
    let mut instances = std::collections::BTreeSet::new();
    for (answer, status, slug) in &answers {
        assert_eq!(answer.status.as_u16(), *status, "{slug}: {}", answer.text());
        assert_eq!(answer.field("content-type"), "application/problem+json", "{slug}");
        let document = answer.json();
        assert_eq!(document["type"], format!("urn:doorward:problem:{slug}"));
        assert_eq!(document["status"], *status);
        assert!(document["title"].as_str().is_some_and(|title| title.ends_with('.')), "{document}");
        let instance = document["instance"].as_str().unwrap().to_owned();
        assert!(instance.starts_with("urn:doorward:request:"), "{instance}");
        assert!(instances.insert(instance), "two requests of one name");
        for inside in ["panicked", "src/", ".rs", "sqlx", "SELECT", "hyper", "127.0.0.1"] {
            assert!(
                !answer.text().contains(inside),
                "{slug} tells of the inside: {}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn a_sub_user_signs_in_by_the_api_in_any_spelling_of_the_name() {
    let (upstream, gate) = plain_gate().await;
    for (account, sub_user) in
        [("alice", "dev"), (" ALICE ", "Dev"), ("\u{ff41}lice", "dev"), ("alice/dev", "")]
    {
        let mut browser = gate.browser();
        let body = json!({"account": account, "sub_user": sub_user, "password": PASSWORD});
        let answer = browser.post_json(&format!("{ROOT}/sign-in"), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{account}/{sub_user}: {}", answer.text());
        let session = answer.json();
        assert_eq!((&session["account"], &session["sub_user"]), (&"alice".into(), &"dev".into()));
        assert_eq!((&session["acr"], &session["amr"]), (&"aal1".into(), &json!(["pwd"])));
        browser.get("/").await;
        assert_eq!(upstream.last().field("remote-user"), Some("alice/dev"));
    }
    for (account, sub_user) in [("alice", "nobody"), ("dev", "alice"), ("alice", "dev/x")] {
        let body = json!({"account": account, "sub_user": sub_user, "password": PASSWORD});
        let answer = gate.browser().post_json(&format!("{ROOT}/sign-in"), &body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{account}/{sub_user}");
    }
}

#[tokio::test]
async fn e16_session_tells_when_it_ends_and_asking_does_not_move_it() {
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.signed_in().await;
    let first = browser.get("/.doorward/session").await.json();
    let start = first["auth_time"].as_u64().unwrap();
    assert_eq!(start, doorward_tests::START.secs());
    assert_eq!(first["idle_seconds"], 3600);
    assert_eq!(
        (&first["expires_at"], &first["absolute_expires_at"]),
        (&json!(start + 3600), &json!(start + 12 * 3600))
    );
    gate.clock.advance(std::time::Duration::from_secs(600));
    for path in ["/.doorward/session", "/.doorward/api/v1/session"] {
        assert_eq!(browser.get(path).await.json(), first, "asking {path} moved it");
    }
    browser.get("/").await;
    assert_eq!(browser.get("/.doorward/session").await.json()["expires_at"], start + 600 + 3600);
}

#[tokio::test]
async fn the_public_keys_are_there_for_every_host() {
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.browser();
    browser.host = gate.address().to_string();
    let answer = browser.get("/.doorward/jwks.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.field("content-type"), "application/jwk-set+json");
    assert_eq!(answer.field("cache-control"), "public, max-age=60");
    for key in answer.json()["keys"].as_array().unwrap() {
        assert!(key.get("d").is_none(), "a private key is given away: {key}");
        assert_eq!((&key["use"], &key["alg"]), (&"sig".into(), &"ES256".into()));
    }
    assert_eq!(browser.get("/.doorward/session").await.status, StatusCode::MISDIRECTED_REQUEST);
}
