//! Client certificates: who shows a good one is signed in where the route says so, and nobody else
//! is, however the connection came about.

mod lasting;

use doorward_certs::development::DevelopmentCertificate;
use doorward_certs::signing::verify_assertion;
use doorward_plugins::administration::{AccountChange, Reply, Request, SessionSummary};
use doorward_tests::certificates::{Authority, ClientIdentity, Day, tls_config};
use doorward_tests::{Browser, PUBLIC_HOST, Scratch, TestGate, Upstream, raw};
use http::StatusCode;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::json;
use tokio::io::AsyncWriteExt;

const TLS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// The serial number of what [`Door::new`] has taken back.
const REVOKED: u64 = 13;

/// The same as `DnType::CommonName`, which a name can have once only as the maker of certificates
/// sees it.
const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];

/// Long after the clock of tests, which begins on 15 January 2027.
const LATER: Day = (2030, 1, 1);

const ROUTES: &str = "[[route]]\npath = \"/public\"\naccess = \"public\"\n\
    [[route]]\npath = \"/api/**\"\ncertificate_sign_in = true\n\
    [[route]]\npath = \"/auditors/**\"\ncertificate_sign_in = true\ngroups = [\"auditors\"]\n";

/// A gate with two listeners: the first asks for a certificate, the second demands one.
struct Door {
    gate: TestGate,
    upstream: Upstream,
    authority: Authority,
    folder: Scratch,
}

impl Door {
    async fn new() -> Self {
        Self::with("", ROUTES).await
    }

    /// With these keys of both listeners, and these tables.
    async fn with(keys: &str, tables: &str) -> Self {
        let (upstream, folder) = (Upstream::start().await, Scratch::new());
        DevelopmentCertificate::ensure(folder.path(), &[PUBLIC_HOST]).unwrap();
        let authority = Authority::new("clients");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("clients.pem", &authority.pem).unwrap();
        write("crl.pem", &authority.revocations(&[REVOKED], LATER)).unwrap();
        let place = folder.path().display();
        let listener = |demand: &str| {
            format!(
                "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ chain_file = \"{place}/chain.pem\", key_file = \"{place}/key.pem\" }}\n\
                 client_ca_file = \"{place}/clients.pem\"\nclient_crl_file = \"{place}/crl.pem\"\nclient_certificate = \"{demand}\"\n{keys}\n"
            )
        };
        let gate = TestGate::with_config(&format!(
            "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 2\n{}{}[upstream.console]\naddress = \"http://{}\"\n\
             [store]\npath = \"doorward.db\"\n[operations]\naddress = \"127.0.0.1:0\"\n{tables}",
            listener("optional"),
            listener("required"),
            upstream.address
        ))
        .await;
        gate.add_alice().await;
        Self { gate, upstream, authority, folder }
    }

    fn alice(&self) -> ClientIdentity {
        self.authority.vouch("alice", |_| ())
    }

    fn tls(&self, identity: Option<&ClientIdentity>) -> ClientConfig {
        tls_config(&self.folder.path().join("ca.pem"), &TLS, identity)
    }

    /// A client with this certificate at the first listener.
    fn client(&self, identity: &ClientIdentity) -> Browser {
        Browser::new(self.gate.address(), PUBLIC_HOST, None).with_tls(self.tls(Some(identity)))
    }

    /// What a connection with this TLS to a listener gets for `path`; `None`: it is sent away.
    async fn ask(&self, listener: usize, config: &ClientConfig, path: &str) -> Option<u16> {
        let address = self.gate.addresses()[listener];
        let mut stream = raw::tls(address, PUBLIC_HOST, config.clone()).await.ok()?;
        request(&mut stream, path).await
    }

    async fn sessions(&self) -> Vec<SessionSummary> {
        match self.gate.ask(Request::SessionList { name: None }).await.unwrap() {
            Reply::Sessions { sessions } => sessions,
            other => panic!("{other:?}"),
        }
    }

    /// Takes these back too, and tells the gate.
    fn revoke(&self, serials: &[u64], until: Day) {
        let list = self.authority.revocations(serials, until);
        std::fs::write(self.folder.path().join("crl.pem"), list).unwrap();
        self.gate.reload_certificates();
    }
}

/// The status of a request on this connection; `None`: the gate closes it instead.
async fn request(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    path: &str,
) -> Option<u16> {
    use tokio::io::AsyncReadExt;
    let asked = format!("GET {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.ok()?;
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.ok()?;
        raw::statuses(&head.replace("http/1.", "HTTP/1.")).first().copied()
    };
    tokio::time::timeout(doorward_tests::DEADLINE, reading).await.expect("an answer, or an end")
}

fn nothing(_: &mut CertificateParams) {}

#[tokio::test]
async fn l03_who_proves_nothing_is_a_stranger_or_sent_away() {
    let door = Door::new().await;
    door.gate.add("off", AccountChange::default()).await;
    door.gate.ask(Request::AccountDisable { name: "off".into() }).await.unwrap();
    let own =
        |name: &str, change: fn(&mut CertificateParams)| Some(door.authority.vouch(name, change));
    let same_name = Authority::new("clients");
    let (unproven, stranger, alice) = ([None, None], [Some(401); 2], [Some(200); 2]);
    for (what, identity, expected) in [
        ("none", None, [Some(401), None]),
        ("self-signed", Some(ClientIdentity::self_signed("alice")), unproven),
        ("another authority's", Some(Authority::new("other").vouch("alice", nothing)), unproven),
        ("another's of the same name", Some(same_name.vouch("alice", nothing)), unproven),
        ("expired", own("alice", |made| made.not_after = date_time_ymd(2027, 1, 15)), unproven),
        (
            "not yet valid",
            own("alice", |made| made.not_before = date_time_ymd(2027, 1, 16)),
            unproven,
        ),
        ("revoked", own("alice", |made| made.serial_number = Some(REVOKED.into())), unproven),
        (
            "a server's",
            own("alice", |made| {
                made.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
            unproven,
        ),
        ("nobody's", own("nobody", nothing), stranger),
        ("of no possible name", own("alice\0", nothing), stranger),
        ("nameless", own("", nothing), stranger),
        (
            "of two names",
            own("alice", |made| {
                made.distinguished_name.push(DnType::CustomDnType(COMMON_NAME.into()), "alice")
            }),
            stranger,
        ),
        ("disabled", own("off", nothing), stranger),
        ("good", own("alice", nothing), alice),
        ("good in capitals", own(" ALICE", nothing), alice),
    ] {
        for version in TLS {
            let ca_file = door.folder.path().join("ca.pem");
            let config = tls_config(&ca_file, &[version], identity.as_ref());
            for (listener, expected) in expected.into_iter().enumerate() {
                let before = door.upstream.count();
                let status = door.ask(listener, &config, "/api/x").await;
                assert_eq!(status, expected, "{what}, listener {listener}, {version:?}");
                let passed = usize::from(expected == Some(200));
                assert_eq!(door.upstream.count(), before + passed, "{what} arrived");
            }
        }
    }
}

#[tokio::test]
async fn l03_the_console_is_told_as_of_any_session_and_no_token_is_given_out() {
    let door = Door::new().await;
    door.gate.add("alice/ci", AccountChange::default()).await;
    let claims = [
        ("remote-user", "root"),
        ("x-doorward-assertion", "e30.e30.e30"),
        ("x-forwarded-user", "root"),
    ];
    for (name, sub_user) in [("alice", json!(null)), ("alice/ci", json!("ci"))] {
        let identity = door.authority.vouch(name, nothing);
        for mut client in [door.client(&identity), door.client(&identity).over_http2()] {
            let answer = client.get_with("/api/x", &claims).await;
            assert_eq!(answer.status, StatusCode::OK, "{name}");
            assert!(answer.headers.get("set-cookie").is_none() && client.jar.is_empty());
            let last = door.upstream.last();
            assert_eq!(
                (last.all("remote-user"), last.field("x-forwarded-user")),
                (vec![name], None)
            );
            let token = last.field("x-doorward-assertion").unwrap().to_owned();
            let jwks = client.get("/.doorward/jwks.json").await.json();
            let claims =
                verify_assertion(&jwks, &token, "https://console.example.com", "console").unwrap();
            assert_eq!((&claims["account"], &claims["sub_user"]), (&json!("alice"), &sub_user));
            assert_eq!((&claims["acr"], &claims["amr"]), (&json!("aal1"), &json!(["pop"])));
            assert_eq!(claims["auth_time"], json!(door.gate.clock.now().secs()));
        }
    }
    let sessions = door.sessions().await;
    assert_eq!(
        sessions.len(),
        2,
        "one for each certificate, however many connections: {sessions:?}"
    );
    assert!(sessions.iter().all(|session| session.device.starts_with("client certificate ")));
}

#[tokio::test]
async fn a_certificate_is_worth_nothing_where_the_route_does_not_say_so() {
    let door = Door::new().await;
    for mut client in [door.client(&door.alice()), door.client(&door.alice()).over_http2()] {
        for (path, status) in [
            ("/", 401),
            ("/API/x", 400),
            ("/.doorward/session", 401),
            ("/.doorward/api/v1/sessions", 401),
            ("/auditors/x", 403),
            ("/public", 200),
        ] {
            assert_eq!(client.get(path).await.status.as_u16(), status, "{path}");
        }
        assert_eq!(door.upstream.last().field("remote-user"), None, "a public route was told");
    }
    assert_eq!(door.sessions().await.len(), 2, "only /auditors, for each, has begun one");
}

#[tokio::test]
async fn who_is_signed_in_by_cookie_is_who_asks() {
    let door = Door::new().await;
    let auditors =
        AccountChange { groups: Some(vec!["auditors".into()]), ..AccountChange::default() };
    door.gate.add("bob", auditors).await;
    let mut both = door.client(&door.authority.vouch("bob", nothing));
    both.sign_in("alice").await;
    assert_eq!(both.get("/api/x").await.status, StatusCode::OK);
    assert_eq!(door.upstream.last().all("remote-user"), ["alice"]);
    assert_eq!(both.get("/auditors/x").await.status, StatusCode::FORBIDDEN, "the two are joined");
    assert_eq!(door.sessions().await.len(), 1, "the certificate has begun a session");
    both.jar.insert("__Host-doorward".into(), "A".repeat(43));
    assert_eq!(
        both.get("/auditors/x").await.status,
        StatusCode::OK,
        "a cookie that is worth nothing"
    );
    assert_eq!(door.upstream.last().all("remote-user"), ["bob"]);
}

#[tokio::test]
async fn d10_a_page_of_another_site_cannot_use_the_browsers_certificate() {
    let door = Door::new().await;
    let mut client = door.client(&door.alice());
    assert_eq!(client.get("/api/x").await.status, StatusCode::OK, "a program says nothing");
    let own = format!("https://{PUBLIC_HOST}");
    for fields in [
        &[("sec-fetch-site", "same-origin")][..],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin"), ("origin", &own)],
        &[("origin", &own)],
    ] {
        assert_eq!(client.get_with("/api/x", fields).await.status, StatusCode::OK, "{fields:?}");
    }
    let before = door.upstream.count();
    for fields in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "")],
        &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", &own)],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", &own), ("origin", &own)],
    ] {
        let answer = client.get_with("/api/x", fields).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{fields:?}");
    }
    assert_eq!(door.upstream.count(), before);
}

#[tokio::test]
async fn a_proxys_own_certificate_says_nothing_of_who_is_behind_it() {
    let door = Door::with("trusted_proxies = [\"127.0.0.0/8\"]", ROUTES).await;
    let mut proxy = door.client(&door.alice());
    for fields in [&[][..], &[("x-forwarded-for", "192.0.2.1")]] {
        assert_eq!(proxy.get_with("/api/x", fields).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(door.upstream.count(), 0);
}

#[tokio::test]
async fn the_session_of_a_certificate_ends_like_any_and_begins_again_while_the_account_may() {
    let tables = format!("[session]\nidle = \"15m\"\n{ROUTES}");
    let door = Door::with("", &tables).await;
    let mut client = door.client(&door.alice());
    let mut ids = Vec::new();
    for round in ["begins", "goes idle", "is ended", "survives no restart"] {
        assert_eq!(client.get("/api/x").await.status, StatusCode::OK, "{round}");
        assert_eq!(client.get("/api/y").await.status, StatusCode::OK, "{round}");
        let sessions = door.sessions().await;
        let [session] = &sessions[..] else { panic!("{round}: {sessions:?}") };
        assert!(!ids.contains(&session.id), "{round}: an ended session is back");
        ids.push(session.id.clone());
        match ids.len() {
            1 => door.gate.clock.advance(std::time::Duration::from_secs(15 * 60)),
            _ => drop(
                door.gate.ask(Request::SessionRevoke { id: session.id.clone() }).await.unwrap(),
            ),
        }
    }
    assert_eq!(client.get("/api/x").await.status, StatusCode::OK);
    door.gate.ask(Request::AccountDisable { name: "alice".into() }).await.unwrap();
    assert_eq!(client.get("/api/x").await.status, StatusCode::UNAUTHORIZED, "at the next request");
    door.gate.ask(Request::AccountEnable { name: "alice".into() }).await.unwrap();
    assert_eq!(client.get("/api/x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn many_requests_at_once_begin_one_session() {
    let door = Door::new().await;
    let identity = door.alice();
    let asking = (0..8).map(|_| {
        let mut client = door.client(&identity);
        tokio::spawn(async move { client.get("/api/x").await.status })
    });
    for status in asking.collect::<Vec<_>>() {
        assert_eq!(status.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(door.sessions().await.len(), 1);
}

#[tokio::test]
async fn a_session_of_a_certificate_is_not_kept_for_the_next_start() {
    let mut door = Door::new().await;
    let identity = door.alice();
    let mut person = door.client(&identity);
    person.sign_in("alice").await;
    assert_eq!(door.client(&identity).get("/api/x").await.status, StatusCode::OK);
    assert_eq!(door.sessions().await.len(), 2);
    door.gate = door.gate.restart().await;
    assert_eq!(door.sessions().await.len(), 1, "the person's");
    assert_eq!(door.client(&identity).get("/api/x").await.status, StatusCode::OK);
    assert_eq!(door.sessions().await.len(), 2);
}

#[tokio::test]
async fn a01_while_the_store_is_gone_nobody_new_comes_in_by_certificate() {
    let door = Door::new().await;
    let (known, new) = (door.alice(), door.alice());
    assert_eq!(door.client(&known).get("/api/x").await.status, StatusCode::OK);
    door.gate.services().close().await;
    assert_eq!(door.client(&known).get("/api/x").await.status, StatusCode::OK, "known in memory");
    let refused = door.client(&new).get("/api/x").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "unknown is not a stranger");
    assert_ne!(refused.field("retry-after"), "");
    assert_eq!(door.client(&new).get("/public").await.status, StatusCode::OK, "asks no store");
}
