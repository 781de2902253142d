//! `doorward config`: a mistake shows before it serves, and what would happen can be asked.

use doorward_certs::development::DevelopmentCertificate;
use doorward_tests::Scratch;
use doorward_tests::certificates::Authority;
use doorward_tests::process::{add_account, configure, run};
use serde_json::Value;

use super::{ended, nobody};

const ROUTES: &str = "[[route]]\npath = \"/public/**\"\naccess = \"public\"\n[[route]]\npath = \"/admin/**\"\nroles = [\"owner\"]\n";

#[test]
fn check_finds_nothing_wrong_with_a_good_file_and_touches_nothing() {
    let scratch = Scratch::new();
    let config = configure(scratch.path(), &nobody(), ROUTES);
    let file = config.to_str().unwrap();
    let (text, _) = ended(&run(&["config", "check", file], ""), 0);
    assert!(text.contains("no problems found"), "{text}");
    let (text, _) = ended(&run(&["config", "check", file, "--json"], ""), 0);
    assert_eq!(text, "{\"problems\":[]}\n");
    let entries = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(entries, 1, "checking made files");
}

#[test]
fn check_tells_programs_every_problem_with_its_place() {
    let scratch = Scratch::new();
    let config = configure(scratch.path(), &nobody(), "[session]\nidle = \"5m\"\nidel = \"1h\"\n");
    let (text, stderr) =
        ended(&run(&["config", "check", config.to_str().unwrap(), "--json"], ""), 64);
    let problems: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = problems["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["session.idle", "session.idel"]);
    for problem in problems["problems"].as_array().unwrap() {
        assert!(
            problem["line"].as_u64() > Some(1) && problem["column"].as_u64() > Some(0),
            "{problem}"
        );
        assert!(!problem["reason"].as_str().unwrap().is_empty(), "{problem}");
    }
    assert!(stderr.contains("2 problems found"), "{stderr}");
}

#[test]
fn check_finds_what_only_shows_when_it_is_used() {
    let scratch = Scratch::new();
    let config = configure(scratch.path(), &nobody(), "");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replacen(
        "address = \"127.0.0.1:0\"",
        "address = \"127.0.0.1:0\"\ntls = { chain_file = \"c.pem\", key_file = \"k.pem\" }",
        1,
    );
    std::fs::write(&config, text).unwrap();
    let (_, stderr) = ended(&run(&["config", "check", config.to_str().unwrap()], ""), 64);
    assert!(stderr.contains("c.pem"), "{stderr}");

    // Whom client certificates are verified with.
    DevelopmentCertificate::ensure(scratch.path(), &["localhost"]).unwrap();
    let files = [("ca.pem", "clients.pem"), ("chain.pem", "c.pem"), ("key.pem", "k.pem")];
    for (made, name) in files {
        std::fs::copy(scratch.path().join(made), scratch.path().join(name)).unwrap();
    }
    let text = std::fs::read_to_string(&config).unwrap();
    let keys = "client_ca_file = \"clients.pem\"\nclient_crl_file = \"crl.pem\"\n[upstream.";
    std::fs::write(&config, text.replacen("[upstream.", keys, 1)).unwrap();
    let authority = Authority::new("clients");
    let list = authority.revocations(&[], (2030, 1, 1));
    for (clients, lists, wrong) in [
        (&authority.pem, &list, None),
        (&list, &list, Some("clients.pem")),
        (&authority.pem, &authority.pem, Some("crl.pem")),
        (&authority.pem, &String::new(), Some("crl.pem")),
    ] {
        std::fs::write(scratch.path().join("clients.pem"), clients).unwrap();
        std::fs::write(scratch.path().join("crl.pem"), lists).unwrap();
        let checked = run(&["config", "check", config.to_str().unwrap()], "");
        let (_, stderr) = ended(&checked, if wrong.is_some() { 64 } else { 0 });
        assert!(stderr.contains(wrong.unwrap_or_default()), "{wrong:?}: {stderr}");
    }
}

#[test]
fn schema_is_a_json_schema() {
    let (text, stderr) = ended(&run(&["config", "schema"], ""), 0);
    let schema: Value = serde_json::from_str(&text).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{schema}");
    assert!(schema["properties"]["public_url"]["description"].is_string() && stderr.is_empty());
}

/// Explains a request and compares decision, status, route and upstream.
#[track_caller]
fn check(file: &str, words: &[&str], expected: [&str; 4]) -> Value {
    let mut arguments = vec!["config", "explain", file, "--json"];
    arguments.extend(words);
    let (text, _) = ended(&run(&arguments, ""), 0);
    let explained: Value = serde_json::from_str(&text).unwrap();
    let member = |name: &str| explained[name].to_string().trim_matches('"').to_owned();
    let found = ["decision", "status", "path", "upstream"].map(member);
    assert_eq!(found, expected, "{words:?}: {explained}");
    explained
}

#[test]
fn explain_shows_the_edits_and_no_password() {
    let scratch = Scratch::new();
    let edits = "[[route]]\npath = \"/app/**\"\naccess = \"public\"\nreplace_prefix = \"/v2\"\n\
        request_headers = { set = { Authorization = \"Basic c2VjcmV0\", X-Env = \"prod\" }, remove = [\"Cookie\"] }\n\
        response_headers = { add = { Vary = \"Cookie\" } }\nsecurity_headers = \"all\"\n";
    let config = configure(scratch.path(), &nobody(), edits);
    let file = config.to_str().unwrap();
    let forward = ["forward", "null", "/app/**", "console"];
    let explained = check(file, &["--url", "/%61pp/x?y"], forward);
    assert_eq!(explained["upstream_path"], "/v2/x");
    assert_eq!(explained["fields"][0]["value"], "/app");
    assert_eq!(explained["request_edits"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&explained["security_headers"], &explained["hide_server"]),
        (&"all".into(), &true.into())
    );
    let (text, _) = ended(&run(&["config", "explain", file, "--url", "/app"], ""), 0);
    for line in [
        "upstream_path: /v2",
        "  x-forwarded-prefix: /app",
        "request_edits: \n  remove cookie\n  set authorization: (not shown)\n  set x-env: prod",
        "response_edits: \n  add vary: Cookie",
        "security_headers: all",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("c2VjcmV0") && !explained.to_string().contains("c2VjcmV0"));
    let refused = ["Sign in first.", "401", "/**", "console"];
    let refused = check(file, &["--url", "/x"], refused);
    assert_eq!(
        (&refused["request_edits"], &refused["upstream_path"]),
        (&Value::Array(vec![]), &Value::Null)
    );
    check(file, &["--url", "/app/.doorward/x"], forward);
    check(file, &["--url", "/APP/x"], ["refuse", "400", "null", "null"]);
}

#[test]
fn explain_says_where_a_client_certificate_signs_in_and_how_often() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("any.pem"), "").unwrap();
    let extra = "[[listener]]\naddress = \"127.0.0.1:0\"\nclient_ca_file = \"any.pem\"\n\
        tls = { chain_file = \"any.pem\", key_file = \"any.pem\" }\n\
        [[route]]\npath = \"/api/**\"\ncertificate_sign_in = true\nroles = [\"owner\"]\n\
        rate_limit = [{ by = [\"account\", \"address\"], rate = \"5/1m\" }, { by = [], rate = \"9/1s\" }]\n";
    let config = configure(scratch.path(), &nobody(), extra);
    let file = config.to_str().unwrap();
    for (url, path, demands) in [
        (
            "/api/x",
            "/api/**",
            "a session or a client certificate, role owner, \
             at most 5/1m burst 5 of one account and address, at most 9/1s burst 9 of all",
        ),
        ("/x", "/**", "a session"),
    ] {
        let explained = check(file, &["--url", url], ["Sign in first.", "401", path, "console"]);
        assert_eq!(explained["demands"], demands);
    }
}

#[test]
fn explain_says_what_would_happen_to_a_request() {
    let scratch = Scratch::new();
    let config = configure(scratch.path(), &nobody(), ROUTES);
    add_account(&config, "alice");
    let file = config.to_str().unwrap();
    check(file, &["--url", "/public/a?b"], ["forward", "null", "/public/**", "console"]);
    check(file, &["--url", "/x"], ["Sign in first.", "401", "/**", "console"]);
    let forwarded =
        check(file, &["--url", "/x", "--as", "alice"], ["forward", "null", "/**", "console"]);
    let fields = forwarded["fields"].as_array().unwrap();
    let names: Vec<_> = fields.iter().map(|field| field["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"remote-user") && names.contains(&"x-doorward-assertion"), "{names:?}");
    let refused = check(
        file,
        &["--url", "https://console.example.com/admin/x", "--as", "alice", "--method", "DELETE"],
        ["You may not do this.", "403", "/admin/**", "console"],
    );
    assert_eq!(refused["fields"], serde_json::json!([]));
    check(
        file,
        &["--url", "/.doorward/account"],
        ["answered by the gate itself", "null", "/**", "null"],
    );
    check(file, &["--url", "https://other.example/"], ["refuse", "421", "null", "null"]);
    check(file, &["--url", "/a//b"], ["refuse", "400", "null", "null"]);
    check(file, &["--url", "/x", "--method", "TRACE"], ["refuse", "405", "null", "null"]);
    let (text, _) =
        ended(&run(&["config", "explain", file, "--url", "/x", "--as", "alice"], ""), 0);
    assert!(text.contains("decision: forward") && text.contains("remote-user: alice"), "{text}");
    let (_, stderr) = ended(&run(&["config", "explain", file, "--url", "nonsense"], ""), 1);
    assert!(stderr.contains("is not a URL"), "{stderr}");
    ended(&run(&["config", "explain", file, "--url", "/x", "--as", "nobody"], ""), 1);
}
