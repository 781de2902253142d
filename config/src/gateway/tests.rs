use std::collections::BTreeSet;

use super::*;
use crate::spec::Presence;

const MINIMAL: &str = r#"
public_url = "https://console.example.com"
[[listener]]
address = "127.0.0.1:0"
[upstream.console]
address = "http://127.0.0.1:9000"
[store]
path = "doorward.db"
"#;

/// Reads the minimal file with `extra` behind it and compares the problems, each as
/// `line:column: key: …` up to the length of what is expected.
#[track_caller]
fn check(extra: &str, expected: &[&str]) {
    let text = format!("{}{extra}", MINIMAL.trim_start());
    let found = match GatewayConfig::parse(&text, Path::new("/base")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found:?} does not begin with {expected:?}");
    }
}

fn session(key: &str, value: &str) -> Result<Session, Vec<crate::Problem>> {
    let text = format!("{MINIMAL}[session]\nabsolute = \"24h\"\n{key} = \"{value}\"\n");
    GatewayConfig::parse(&text, Path::new("/base")).map(|config| config.session)
}

#[test]
fn the_minimal_file_is_enough() {
    let config = GatewayConfig::parse(MINIMAL, Path::new("/base")).unwrap();
    assert_eq!(config.session.idle, Duration::from_secs(3600));
    assert_eq!(config.session.absolute, Duration::from_secs(12 * 3600));
    assert_eq!(config.store.path, Path::new("/base/doorward.db"));
    assert_eq!(config.operations.socket, Path::new("/base/doorward.sock"));
    assert_eq!(config.identity.issuer, "https://console.example.com");
    assert_eq!(config.routes.len(), 1, "only the rule for what no route names");
    assert_eq!(config.upstream_for("console.example.com"), Some(0));
    assert_eq!(config.upstream_for("evil.example.com"), None);
}

#[test]
fn requests_are_told_of_only_where_a_collector_is_named() {
    check("[tracing]\n", &[]);
    check("[tracing]\nca_file = \"/dev/null\"\n", &["9:11: tracing.ca_file: is for endpoint."]);
    let endpoint = "[tracing]\nendpoint = \"http://collector.example.com/v1/traces\"\n";
    check(endpoint, &["9:12: tracing.endpoint: \"http://collector"]);
    let text = format!("{MINIMAL}[tracing]\nendpoint = \"http://127.0.0.1:4318/v1/traces\"\n");
    let told = GatewayConfig::parse(&text, Path::new("/base")).unwrap().tracing.unwrap();
    assert_eq!((told.one_in, told.accept_everybody, &*told.service), (100, false, "doorward"));
}

#[test]
fn idle_of_15m_and_23h59m_is_accepted_and_beyond_is_refused() {
    assert_eq!(session("idle", "15m").unwrap().idle, crate::IDLE_MIN);
    assert_eq!(session("idle", "23h59m").unwrap().idle, crate::IDLE_MAX);
    for (value, reason) in
        [("14m59s", "less than 15m"), ("24h", "more than 23h59m"), ("23h59m1s", "more than")]
    {
        let problems = session("idle", value).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].reason.contains(reason), "{}", problems[0]);
        assert!(problems[0].advice.contains("15m to 23h59m"), "{}", problems[0]);
    }
    assert!(verify_account_idle(899).is_err() && verify_account_idle(86_400).is_err());
    assert!(verify_account_idle(900).is_ok() && verify_account_idle(86_340).is_ok());
}

fn verify_account_idle(secs: u64) -> Result<(), String> {
    let config = GatewayConfig::parse(MINIMAL, Path::new("/base")).unwrap();
    crate::verify_idle(Duration::from_secs(secs), &config.session)
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    check(
        "[sesion]\nidle = \"1h\"\n[session]\nidel = \"1h\"\nidle = \"14m59s\"\nparallel_max = \"many\"\n[[route]]\npath = \"static\"\naccess = \"pubic\"\n",
        &[
            "8:2: sesion: is not a known key. Did you mean \"session\"?",
            "11:1: session.idel: is not a known key. Did you mean \"idle\"?",
            "12:8: session.idle: \"14m59s\" is less than 15m. Write a time from 15m to 23h59m",
            "13:16: session.parallel_max: is string and should be a whole number.",
            "15:8: route[1].path: \"static\" does not begin with a slash.",
            "16:10: route[1].access: \"pubic\" is not a choice here. Did you mean \"public\"?",
        ],
    );
    check("[session]\nidle = \n", &["9:8: "]);
}

#[test]
fn what_is_missing_is_named() {
    let problems = GatewayConfig::parse("", Path::new("/")).unwrap_err();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["public_url", "listener", "upstream", "store"]);
}

#[test]
fn p02_dangerous_combinations_are_refused() {
    check(
        "[[route]]\naccess = \"public\"\ngroups = [\"a\"]\n",
        &["10:10: route[1].groups: cannot be demanded of a stranger."],
    );
    check(
        "[[route]]\nroles = []\n",
        &["9:9: route[1].roles: is empty, so that nobody could pass."],
    );
    check(
        "[[route]]\npath = \"/.doorward/**\"\n",
        &["9:8: route[1].path: is the gate's own path."],
    );
    check(
        "[identity.headers]\nuser = \"Host\"\n",
        &["9:8: identity.headers.user: \"host\" has a meaning in HTTP."],
    );
    check(
        "[session]\nidle = \"2h\"\nabsolute = \"1h\"\n",
        &["10:12: session.absolute: is less than idle, 2h."],
    );
    check(
        "[session]\ncookie_domain = \"com\"\n",
        &["9:17: session.cookie_domain: \"com\" is not a domain."],
    );
    check(
        "[session]\ncookie_domain = \"other.org\"\n",
        &["9:17: session.cookie_domain: does not contain"],
    );
    check(
        "[upstream.b]\naddress = \"http://b\"\n",
        &["4:2: upstream: b and console all serve every host."],
    );
    for network in ["0.0.0.0/0", "::/0"] {
        let text = MINIMAL.replace(
            "\"127.0.0.1:0\"",
            &format!("\"127.0.0.1:0\"\ntrusted_proxies = [\"{network}\"]"),
        );
        let problems = GatewayConfig::parse(&text, Path::new("/")).unwrap_err();
        assert!(problems[0].reason.contains("believe everybody"), "{problems:?}");
    }
    let open = MINIMAL.replace("127.0.0.1:0", "0.0.0.0:80");
    let problems = GatewayConfig::parse(&open, Path::new("/")).unwrap_err();
    assert!(problems[0].reason.contains("in the clear"), "{problems:?}");
    let plain = MINIMAL.replace("https://console", "http://console");
    assert!(
        GatewayConfig::parse(&plain, Path::new("/")).unwrap_err()[0]
            .reason
            .contains("must be https")
    );
}

/// Reads the minimal file with `from` replaced by `to`; its only problem has this key and reason.
#[track_caller]
fn check_changed(from: &str, to: &str, key: &str, reason: &str) {
    let problems =
        GatewayConfig::parse(&MINIMAL.replacen(from, to, 1), Path::new("/base")).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].key, key);
    assert!(problems[0].reason.contains(reason), "{}", problems[0]);
}

#[test]
fn p02_the_socket_is_apart_from_the_store_and_its_companions() {
    for ending in ["sock", "sock-new", "keys", "lock", "audit-head", "LOCK"] {
        let path = format!("doorward.{ending}");
        check_changed("doorward.db", &path, "store.path", "beside the store");
    }
    for name in ["doorward.db", "./x/../doorward.keys", "doorward.lock", "/base/doorward.keys.new"]
    {
        check(
            &format!("[operations]\nsocket = \"{name}\"\n"),
            &["9:10: operations.socket: is the store or a file that it needs."],
        );
    }
    for suffix in ["-wal", "-shm", "-journal"] {
        check(
            &format!("[operations]\nsocket = \"doorward.db{suffix}\"\n"),
            &["9:10: operations.socket: is the store or a file that it needs."],
        );
    }
    check("[operations]\nsocket = \"admin.sock\"\n", &[]);
}

#[test]
fn p02_fields_with_a_meaning_are_refused() {
    for name in [
        "Range",
        "Date",
        "Origin",
        "Content-Encoding",
        "Content-Range",
        "Keep-Alive",
        "Referer",
        "User-Agent",
        "If-None-Match",
        "X-Doorward-Assertion",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Request-Id",
        "Authorization",
        "Set-Cookie",
        "Cookie",
        "Host",
        "Accept",
    ] {
        let lower = name.to_ascii_lowercase();
        check(
            &format!("[identity.headers]\nemail = \"{name}\"\n"),
            &[&format!("9:9: identity.headers.email: \"{lower}\" has a meaning in HTTP.")],
        );
        check(
            &format!("[session]\nbackground_header = \"{name}\"\n"),
            &[&format!("9:21: session.background_header: \"{lower}\" has a meaning of its own.")],
        );
    }
    check(
        "[session]\nbackground_header = \"X-Me\"\n[identity.headers]\nuser = \"x-me\"\n",
        &["9:21: session.background_header: \"x-me\" has a meaning of its own."],
    );
    check(
        "[identity.headers]\nuser = \"X-Me\"\ngroups = \"x-me\"\n",
        &["10:10: identity.headers.groups: is the same as that of user."],
    );
    check(
        "[identity.headers]\nuser = \"Remote-Groups\"\n",
        &["9:8: identity.headers.user: is the same as that of groups."],
    );
    check("[identity.headers]\nuser = \"X-Forwarded-User\"\nroles = \"X-Doorward-Roles\"\n", &[]);
}

#[test]
fn p02_methods_and_routes_that_mean_nothing_are_refused() {
    check("[limits]\nmethods = [\"GET\", \"TRACE\"]\n", &["9:19: limits.methods: TRACE tells"]);
    check("[limits]\nmethods = [\"CONNECT\"]\n", &["9:12: limits.methods: CONNECT is"]);
    check(
        "[[route]]\nmethods = [\"GET\", \"PURGE\"]\n",
        &["9:11: route[1].methods: PURGE can never match: limits.methods"],
    );
    check("[[route]]\nmethods = [\"PURGE\"]\n[limits]\nmethods = [\"GET\", \"PURGE\"]\n", &[]);
    check(
        "[[route]]\naccess = \"public\"\n[[route]]\npath = \"/admin/**\"\nroles = [\"owner\"]\n",
        &["11:8: route[2].path: can never match: route[1] matches everything"],
    );
    check("[[route]]\nmethods = [\"GET\"]\n[[route]]\npath = \"/admin/**\"\n", &[]);
    check("[[route]]\nroles = [\"owner \"]\n", &["9:10: route[1].roles: \"owner \" has a space"]);
    check("[[route]]\ngroups = \" a\"\n", &["9:10: route[1].groups: \" a\" has a space"]);
}

/// A route whose edits of this table set this field; its only problem has this reason.
#[track_caller]
fn check_field(table: &str, field: &str, value: &str, reason: &str) {
    let place = format!("10:{}: route[1].{table}.set.{field}: ", field.len() + 4);
    let text = format!("[[route]]\n[route.{table}.set]\n{field} = {value:?}\n");
    if reason.is_empty() {
        check(&text, &[]);
    } else {
        check(&text, &[&format!("{place}{reason}")]);
    }
}

#[test]
fn p02_edits_that_would_say_who_is_asking_or_what_the_gate_says_are_refused() {
    let names = "[identity.headers]\nuser = \"Web-User\"\n";
    check(
        &format!("{names}[[route]]\nrequest_headers = {{ set = {{ WEB-USER = \"root\" }} }}\n"),
        &["11:40: route[1].request_headers.set.WEB-USER: \"web-user\" tells who is asking. Only"],
    );
    for (name, reason) in [
        ("Remote-User", "\"remote-user\" tells who is asking."),
        ("remote-anything", "\"remote-anything\" tells who is asking."),
        ("X-Forwarded-User", "\"x-forwarded-user\" tells who is asking."),
        ("X-Auth-Request-Email", "\"x-auth-request-email\" tells who is asking."),
        ("X-Authentik-Uid", "\"x-authentik-uid\" tells who is asking."),
        ("X-Doorward-Assertion", "\"x-doorward-assertion\" tells who is asking."),
        ("X-Doorward-Background", "\"x-doorward-background\" tells who is asking."),
        ("X-Forwarded-For", "\"x-forwarded-for\" is the gate's own to write."),
        ("X-Forwarded-Prefix", "\"x-forwarded-prefix\" is the gate's own to write."),
        ("Forwarded", "\"forwarded\" is the gate's own to write."),
        ("X-Request-ID", "\"x-request-id\" is the gate's own to write."),
        ("X-HTTP-Method-Override", "\"x-http-method-override\" is the gate's own"),
        ("Via", "\"via\" is the gate's own to write."),
        ("Connection", "\"connection\" belongs to the connection"),
        ("Content-Length", "\"content-length\" belongs to the connection"),
        ("Transfer-Encoding", "\"transfer-encoding\" belongs to the connection"),
        ("TE", "\"te\" belongs to the connection"),
        ("Trailer", "\"trailer\" belongs to the connection"),
        ("Upgrade", "\"upgrade\" belongs to the connection"),
        ("Keep-Alive", "\"keep-alive\" belongs to the connection"),
        ("Proxy-Anything", "\"proxy-anything\" belongs to the connection"),
        ("X_User", "\"X_User\" has a _, which many programs read as -. Write - instead."),
    ] {
        check_field("request_headers", name, "x", reason);
        check_field("response_headers", name, "x", reason);
    }
    for (name, reason) in [
        ("Host", "\"host\" says which site is meant. Use host_header"),
        ("Cookie", "\"cookie\" is the client's own to write."),
    ] {
        check_field("request_headers", name, "x", reason);
    }
    for name in ["Authorization", "X-Env", "Accept-Encoding", "Set-Cookie"] {
        check_field("request_headers", name, "x", "");
    }
    for value in ["__Host-doorward=x", "__host-DOORWARD-form=x", "=__Secure-doorward=x"] {
        check_field("response_headers", "Set-Cookie", value, "is a cookie of the gate itself.");
    }
    check_field("response_headers", "Set-Cookie", "lang=en; Path=/", "");
    check("[[route]]\nrequest_headers = { remove = [\"Cookie\", \"Origin\"] }\n", &[]);
    check("[[route]]\nresponse_headers = { remove = [\"Via\", \"Remote-User\"] }\n", &[]);
    for (table, name) in [("request_headers", "Remote-User"), ("response_headers", "Connection")] {
        let text = format!("[[route]]\n{table} = {{ remove = [\"{name}\"] }}\n");
        check(&text, &[&format!("9:{}: route[1].{table}.remove: ", table.len() + 15)]);
    }
}

#[test]
fn p02_edits_that_cannot_be_made_are_refused() {
    for value in ["", " x", "x ", "a\r\nb", "\u{e4}"] {
        check_field("request_headers", "X-A", value, &format!("{value:?} is not the value of a"));
    }
    check_field("request_headers", "X-A", "a\tb, \"c\"", "");
    check(
        "[[route]]\nrequest_headers = { set = { X-A = 1, \"X A\" = \"1\", X-B = [\"1\", true] } }\n",
        &[
            "9:35: route[1].request_headers.set.X-A: is integer and should be text in quotes.",
            "9:46: route[1].request_headers.set.X A: \"X A\" is not a field name.",
            "9:63: route[1].request_headers.set.X-B: is boolean and should be text in quotes.",
        ],
    );
    check(
        "[[route]]\nresponse_headers = { set = { X-A = \"1\" }, add = { x-a = \"2\" }, remove = [\"X-a\"] }\n",
        &[
            "9:57: route[1].response_headers.add.x-a: \"x-a\" is edited twice. `set` replaces",
            "9:73: route[1].response_headers.remove: \"x-a\" is edited twice. `set` replaces",
        ],
    );
    check(
        "[[route]]\nrequest_headers = { put = {} }\n",
        &["9:21: route[1].request_headers.put: is"],
    );
    check("[[route]]\nresponse_headers = \"X\"\n", &["9:20: route[1].response_headers: is string"]);
    check("[[route]]\nsecurity_headers = true\n", &["9:20: route[1].security_headers: is boolean"]);
}

#[test]
fn p02_a_prefix_is_replaced_only_where_it_is_literal() {
    let route =
        |path: &str, to: &str| format!("[[route]]\npath = \"{path}\"\nreplace_prefix = \"{to}\"\n");
    for (path, to, from) in [
        ("/app/**", "/", "/app"),
        ("/app/", "/v2", "/app"),
        ("/**", "/v2", ""),
        ("/a/b/**", "/a", "/a/b"),
    ] {
        let text = format!("{MINIMAL}{}", route(path, to));
        let config = GatewayConfig::parse(&text, Path::new("/base")).unwrap();
        let rule = config.routes[0].edits.replace_prefix.clone().unwrap();
        assert_eq!((rule.from.as_str(), rule.to.as_str()), (from, to.trim_end_matches('/')));
    }
    for path in ["/app/*", "/app/*/x", "/*/**", "/a*/**"] {
        check(
            &route(path, "/"),
            &["10:18: route[1].replace_prefix: cannot tell what to replace in"],
        );
    }
    for (path, to) in [("/app/**", "/app"), ("/**", "/")] {
        check(&route(path, to), &["10:18: route[1].replace_prefix: is what the path begins with"]);
    }
    check(
        &route("/app/**", "v2"),
        &["10:18: route[1].replace_prefix: \"v2\" is not the beginning"],
    );
    check(&route("/app/**", "/.doorward"), &["10:18: route[1].replace_prefix: is the gate's own"]);
}

#[test]
fn two_routes_that_edit_otherwise_do_not_demand_the_same() {
    for keys in [
        "replace_prefix = \"/\"",
        "request_headers = { set = { X-A = \"1\" } }",
        "request_headers = { remove = [\"X-A\"] }",
        "response_headers = { add = { X-A = \"1\" } }",
        "security_headers = \"all\"",
        "hide_server = false",
    ] {
        let text = format!("{MINIMAL}[[route]]\npath = \"/app/**\"\n{keys}\n");
        let config = GatewayConfig::parse(&text, Path::new("/base")).unwrap();
        let (first, last) = (&config.routes[0], &config.routes[1]);
        assert!(!first.demands_same(last) && first.demands_same(first), "{keys}");
        assert!(!format!("{config:?}").contains("\"1\""), "{keys}: a value is printed");
    }
}

#[test]
fn p02_upstreams_that_could_not_be_served_are_refused() {
    let keys = |keys: &str| format!("\"http://127.0.0.1:9000\"\n{keys}");
    let address = "\"http://127.0.0.1:9000\"";
    for wrong in ["Keep", "UPSTREAM", "a b", "a\\r\\nX: y", "*.a", "a:", "a:0", "a:+1", "http://a"]
    {
        let given = keys(&format!("host_header = \"{wrong}\""));
        check_changed(address, &given, "upstream.console.host_header", "is not a ");
    }
    for right in ["keep", "upstream", "my_app:9000", "Console.Example.com", "[::1]:80", "10.0.0.1"]
    {
        let text = MINIMAL.replacen(address, &keys(&format!("host_header = \"{right}\"")), 1);
        assert!(GatewayConfig::parse(&text, Path::new("/base")).is_ok(), "{right}");
    }
    for key in ["connect_timeout", "response_timeout", "idle_timeout"] {
        let given = keys(&format!("{key} = \"999ms\""));
        check_changed(address, &given, &format!("upstream.console.{key}"), "is less than 1s");
    }
}

#[test]
fn p02_listeners_have_places_of_their_own_and_believe_few() {
    let at = |address: &str| format!("[[listener]]\naddress = \"{address}\"\n");
    let reason = "is the same as that of";
    let text = format!("{}{}", at("127.0.0.1:80"), at("127.0.0.1:80"));
    check_changed(&at("127.0.0.1:0"), &text, "listener[2].address", reason);
    check_changed("127.0.0.1:0", "127.0.0.1:9464", "listener[1].address", reason);
    let given = format!("[operations]\naddress = \"127.0.0.1:80\"\n{}", at("127.0.0.1:80"));
    check_changed(&at("127.0.0.1:0"), &given, "operations.address", reason);
    check(
        "[operations]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n",
        &[],
    );
    for (network, reason) in [
        ("::ffff:10.0.0.1", "compared as IPv4"),
        ("::ffff:10.0.0.0/104", "compared as IPv4"),
        ("10.0.0.0/7", "nearly everybody"),
        ("2000::/15", "nearly everybody"),
    ] {
        let given = format!("\"127.0.0.1:0\"\ntrusted_proxies = [\"{network}\"]");
        check_changed("\"127.0.0.1:0\"", &given, "listener[1].trusted_proxies", reason);
    }
    let given = "\"127.0.0.1:0\"\ntrusted_proxies = [\"10.0.0.0/8\", \"fd00::/16\"]";
    let text = MINIMAL.replacen("\"127.0.0.1:0\"", given, 1);
    assert!(GatewayConfig::parse(&text, Path::new("/base")).is_ok());
}

#[test]
fn p02_client_certificates_that_nobody_would_ask_for_are_refused() {
    let check_listener = |keys: &str, key: &str, reason: &str| {
        let given = format!("\"127.0.0.1:0\"\n{keys}");
        check_changed("\"127.0.0.1:0\"", &given, &format!("listener[1].{key}"), reason);
    };
    // Any file that can be read.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let nothing = "has no effect here";
    check_listener(&format!("client_ca_file = \"{file}\""), "client_ca_file", nothing);
    check_listener(&format!("client_crl_file = \"{file}\""), "client_crl_file", nothing);
    check_listener("client_certificate = \"required\"", "client_certificate", nothing);
    let account = "client_certificate_account";
    check_listener(&format!("{account} = \"CN\""), account, "is no part of a certificate");
    let tls = format!("tls = {{ chain_file = \"{file}\", key_file = \"{file}\" }}");
    for key in ["client_ca_file", "client_crl_file"] {
        let others = format!("{tls}\nclient_ca_file = \"{file}\"");
        let given = match key {
            "client_ca_file" => format!("{tls}\n{key} = \"/nowhere.pem\""),
            _ => format!("{others}\n{key} = \"/nowhere.pem\""),
        };
        check_listener(&given, key, "/nowhere.pem: ");
    }
    let route = "[[route]]\ncertificate_sign_in = true\n";
    check(route, &["9:23: route[1].certificate_sign_in: has no effect: no listener asks"]);
    let given = format!("\"127.0.0.1:0\"\n{tls}\nclient_ca_file = \"{file}\"");
    let text = MINIMAL.replacen("\"127.0.0.1:0\"", &given, 1);
    let parse = |tables: &str| GatewayConfig::parse(&format!("{text}{tables}"), Path::new("/base"));
    let config = parse(&format!("{route}path = \"/api/**\"\n")).unwrap();
    let [signs_in, default] = &config.routes[..] else { panic!("two routes") };
    assert!(signs_in.certificate_sign_in && !default.certificate_sign_in);
    assert!(!signs_in.demands_same(default), "another spelling of a path would sign in");
    let problems = parse(&format!("{route}access = \"public\"\n")).unwrap_err();
    assert!(problems[0].reason.contains("where everybody may pass"), "{problems:?}");
}

#[test]
fn p01_a_secret_is_read_from_a_file_and_never_printed() {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("doorward-pepper-{}", std::process::id()));
    std::fs::write(&file, "correct horse battery staple\n").unwrap();
    let text = format!("{MINIMAL}[accounts]\npepper_file = {:?}\n", file.display().to_string());
    let config = GatewayConfig::parse(&text, &folder).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        config.accounts.hashing.pepper.as_ref().unwrap().expose(),
        "correct horse battery staple"
    );
    assert!(!format!("{config:?}").contains("battery"));
    assert!(GatewayConfig::parse(&text, &folder).unwrap_err()[0].reason.contains("cannot be read"));
}

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        // The certificates of an example are the operator's; any readable file stands for them.
        let text = text.replace("\"tls/", "\"");
        let scratch =
            std::env::temp_dir().join(format!("doorward-examples-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).unwrap();
        for name in
            ["chain.pem", "key.pem", "billing-chain.pem", "billing-key.pem", "upstream-ca.pem"]
        {
            std::fs::write(scratch.join(name), "").unwrap();
        }
        let parsed = GatewayConfig::parse(&text, &scratch);
        std::fs::remove_dir_all(&scratch).unwrap();
        assert!(parsed.is_ok(), "{}: {:#?}", file.display(), parsed.err());
        names.insert(file.file_name().unwrap().to_string_lossy().into_owned());
    }
    assert!(names.is_superset(
        &["minimal.toml", "sidecar.toml", "ingress.toml", "full.toml"].map(String::from).into()
    ));
}

/// Every key of `spec` stands in `table`; a default with its value, an optional one as a comment.
#[track_caller]
fn check_complete(spec: &TableSpec, table: &DeTable<'_>, text: &str, path: &str) {
    for key in spec.keys {
        let place = format!("{path}{}", key.name);
        let value = table.get(key.name).map(|value| value.get_ref());
        if let Kind::Table(inner) | Kind::Tables(inner) | Kind::Named(inner) = &key.kind {
            if value.is_none() && text.contains(&format!(".{}]\n# ", key.name)) {
                continue;
            }
            let value = value.unwrap_or_else(|| panic!("{place} has no table"));
            let inner_table = match (&key.kind, value) {
                (Kind::Named(_), toml::de::DeValue::Table(named)) => {
                    named.iter().next().unwrap().1.get_ref()
                }
                (_, toml::de::DeValue::Array(list)) => list[0].get_ref(),
                (_, single) => single,
            };
            check_complete(inner, inner_table.as_table().unwrap(), text, &format!("{place}."));
            continue;
        }
        match key.presence {
            Presence::Default(toml) => {
                let wanted = toml::de::DeValue::parse(toml).unwrap();
                let value = value.unwrap_or_else(|| panic!("{place} is missing"));
                let strip = |value: &toml::de::DeValue<'_>| format!("{:?}", as_plain(value));
                assert_eq!(strip(value), strip(wanted.get_ref()), "{place} is not its default");
            }
            Presence::Optional => assert!(
                value.is_some() || text.contains(&format!("# {} =", key.name)),
                "{place} is missing"
            ),
            Presence::Required => assert!(value.is_some(), "{place} is missing"),
        }
        assert!(key.doc.len() > 10, "{place} has no doc");
    }
}

fn as_plain(value: &toml::de::DeValue<'_>) -> Vec<String> {
    match value {
        toml::de::DeValue::Array(list) => {
            list.iter().flat_map(|item| as_plain(item.get_ref())).collect()
        }
        toml::de::DeValue::String(text) => vec![text.to_string()],
        toml::de::DeValue::Boolean(flag) => vec![flag.to_string()],
        toml::de::DeValue::Integer(number) => vec![number.as_str().to_owned()],
        other => panic!("{other:?}"),
    }
}

#[test]
fn p07_the_full_example_has_every_key_with_its_default() {
    let text = include_str!("../../examples/full.toml");
    let document = DeTable::parse(text).unwrap();
    check_complete(&SPEC, document.get_ref(), text, "");
}
