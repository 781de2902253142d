//! Paths: the console gets the very path that was judged, or nothing.

use doorward_tests::{PUBLIC_HOST, Setup, TestGate, Upstream, raw};

/// Everything needs a session, but for what lies below `/public`.
const CLOSED: &str = "[[route]]\npath = \"/public/**\"\naccess = \"public\"\n";

/// Everything is public, but for what lies below `/admin`.
const OPEN: &str =
    "[[route]]\npath = \"/admin/**\"\n[[route]]\npath = \"/**\"\naccess = \"public\"\n";

/// A request for exactly these octets.
fn request(target: &[u8], token: Option<&str>) -> Vec<u8> {
    let cookie = token.map(|token| format!("cookie: __Host-doorward={token}\r\n"));
    let fields = format!(
        " HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{}connection: close\r\n\r\n",
        cookie.unwrap_or_default()
    );
    [b"GET ", target, fields.as_bytes()].concat()
}

/// The status for exactly these octets.
async fn status(gate: &TestGate, target: &[u8], token: Option<&str>) -> u16 {
    let answer = raw::send(gate.address(), request(target, token)).await;
    let statuses = raw::statuses(&answer);
    assert_eq!(statuses.len(), 1, "{}: {answer}", String::from_utf8_lossy(target));
    statuses[0]
}

/// Ways to write, or nearly write, `/admin/keys`: those that decoders, normalisers and parsers of
/// many makes have read so.
const SPELLINGS: &str = r###"
    /admin/keys /admin/keys/ /admin/keys? /admin/keys?a=b /admin/keys?/public/x /admin/keys#
    /admin/keys#/public/x /public/x#/../../admin/keys /admin/keys%23 /admin/keys%3f
    /admin/keys%3F/public /admin/keys; /admin/keys;a=b /admin/keys;/public/x /admin;x/keys
    /admin;/keys /;/admin/keys /;x=y/admin/keys /%61dmin/keys /%41dmin/keys /admin/%6beys
    /admin/%6Beys /%61%64%6d%69%6e/keys /admin%2fkeys /admin%2Fkeys /admin%252fkeys
    /admin%25252fkeys /admin%5ckeys /admin%5Ckeys /admin\keys \admin\keys /\admin/keys
    /admin/\keys %2fadmin/keys %2Fadmin%2Fkeys /%2fadmin/keys /%2f%2fadmin/keys //admin/keys
    ///admin/keys /admin//keys /admin///keys /admin/keys// /.//admin/keys /./admin/keys
    /admin/./keys /admin/keys/. /admin/keys/./ /../admin/keys /../../admin/keys /x/../admin/keys
    /admin/x/../keys /admin/keys/.. /admin/keys/../keys /public/../admin/keys
    /public/x/../../admin/keys /public/./../admin/keys /public//../admin/keys
    /public/..//admin/keys /public/%2e%2e/admin/keys /public/%2E%2E/admin/keys
    /public/.%2e/admin/keys /public/%2e./admin/keys /public/%252e%252e/admin/keys
    /public/%25%32%65%25%32%65/admin/keys /public/..%2fadmin/keys /public/..%2Fadmin/keys
    /public/..%5cadmin/keys /public/..\admin/keys /public\..\admin\keys
    /public%2f..%2fadmin%2fkeys /public/%2e%2e%2fadmin/keys /public/%2e%2e%5cadmin/keys
    /public/..%252fadmin/keys /public/..;/admin/keys /public/..;x=y/admin/keys
    /public/.;/../admin/keys /public/;/../admin/keys /public;/../admin/keys
    /public/x;/../../admin/keys /public/%2e%2e;/admin/keys /public/..%3b/admin/keys
    /public/..%00/admin/keys /public/..%0d/admin/keys /public/..%0a/admin/keys
    /public/..%09/admin/keys /public/..%20/admin/keys /public/.../admin/keys/../../../admin/keys
    /public/..%c0%af/admin/keys /public/%c0%ae%c0%ae/admin/keys /public/%c0%2e/admin/keys
    /public/%e0%80%ae%e0%80%ae/admin/keys /public/%e0%80%af../admin/keys
    /public/%f0%80%80%ae%f0%80%80%ae/admin/keys /public/..%u2215admin/keys
    /public/%u002e%u002e/admin/keys /public/%uff0e%uff0e/admin/keys /public/..%c1%9c/admin/keys
    /admin%00/keys /admin/keys%00 /admin/keys%00.css /admin/keys%00/public /%00/admin/keys
    /admin/keys%0a /admin/keys%0d%0a /admin/keys%7f /admin/keys%1f /admin/%c0%6beys
    /%c1%a1dmin/keys /%e0%81%a1dmin/keys /admin/keys%ff /admin/keys%c3 /admin/keys%ed%a0%80
    /admin/keys%f8%88%80%80%80 /admin%c0%afkeys /admin%e0%80%afkeys /admin%ef%bc%8fkeys
    /admin%e2%88%95keys /admin%c2%a0/keys /admin/keys% /admin/keys%2 /admin/keys%zz /admin/keys%2g
    /admin/keys%% /%/admin/keys /admin/%6 /admin/keys%25 /ADMIN/KEYS /Admin/keys /admin/Keys
    /aDmIn/kEyS /%41DMIN/keys /admin/KEYS?x /admin./keys /admin/keys. /admin/keys.. /admin../keys
    /admin%2e/keys /admin/keys%2e /admin/keys%20 /admin%20/keys /%20admin/keys /admin/keys+
    /admin/keys~ /admin/keys.json /admin/keys.css /admin/keys/x.css /admin/keys:
    /admin/keys::$DATA /admin/keys* /admin/keys, admin/keys ./admin/keys ../admin/keys *
    ?/admin/keys #/admin/keys ;/admin/keys /?/../admin/keys /?/admin/keys /public?/../admin/keys;
    /admin/keys?x#y /admin/keys?%00 /admin/keys?a=../../public/x /.;/admin/keys /..;/admin/keys
    /%2e/admin/keys /%2e;/admin/keys /%ef%bc%8e%ef%bc%8e/admin/keys
    /public/%ef%bc%8e%ef%bc%8e/%61dmin /admin/%e2%80%8bkeys /admin/keys{} /admin/keys|
    /admin/keys^ /admin/keys` /admin/"keys" /admin/<keys>
"###;

/// Those, and more that have octets in them which no text should have.
fn spellings() -> Vec<Vec<u8>> {
    let odd = [
        "/admin%0d%0aX: y/keys",
        "/admin\t/keys",
        "/admin/keys\t",
        "/admin\x0b/keys",
        "/admin\x7f/keys",
        "/admin/keys\x01",
        "",
    ];
    let texts = SPELLINGS.split_whitespace().chain(odd);
    let mut all: Vec<_> = texts.map(|text| text.as_bytes().to_vec()).collect();
    for octets in
        [&b"\xff"[..], b"\xc0\xaf", b"\xc3\xa4", b"\xe2\x80\x8b", b"\x80", b"\xef\xbc\x8f"]
    {
        all.push([b"/admin/", octets, b"/keys"].concat());
        all.push([b"/public/..", octets, b"/admin/keys"].concat());
    }
    assert!(all.len() >= 150, "only {} spellings", all.len());
    all
}

#[tokio::test]
async fn a04_without_a_session_no_spelling_of_a_protected_path_arrives() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: CLOSED, ..Setup::default() }).await;
    for target in spellings() {
        let shown = String::from_utf8_lossy(&target).into_owned();
        let status = status(&gate, &target, None).await;
        // What truly lies below /public is public, however odd it looks.
        let below = matches!(shown.as_str(), "/public?/../admin/keys;")
            || shown.starts_with("/public/..%ef")
            || shown.starts_with("/public/%ef%bc%8e")
            || (shown.starts_with("/public/..") && !target.is_ascii())
            || shown == "/public/..%20/admin/keys";
        if below {
            assert!([200, 400].contains(&status), "{status} for {shown}");
            if status == 200 {
                assert_eq!(upstream.last().line(), format!("GET {}", latin(&target)));
            }
            continue;
        }
        assert!([400, 401].contains(&status), "{status} for {shown}");
    }
    let arrived: Vec<_> = upstream
        .requests()
        .iter()
        .map(|request| request.line().to_owned())
        .filter(|line| !line.starts_with("GET /public"))
        .collect();
    assert_eq!(arrived, [""; 0]);
}

/// Octets as the record of the upstream shows them.
fn latin(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

#[tokio::test]
async fn a04_with_a_session_every_spelling_arrives_octet_by_octet_or_not_at_all() {
    let upstream = Upstream::start().await;
    for tables in [CLOSED, OPEN] {
        let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
        let token = gate.signed_in().await.token().to_owned();
        for target in spellings() {
            let shown = String::from_utf8_lossy(&target).into_owned();
            let before = upstream.count();
            let status = status(&gate, &target, Some(&token)).await;
            if status == 200 {
                assert_eq!(upstream.count(), before + 1, "{shown}");
                assert_eq!(upstream.last().line(), format!("GET {}", latin(&target)));
            } else {
                assert_eq!((status, upstream.count()), (400, before), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn a04_where_all_else_is_public_every_reading_of_a_protected_path_is_refused() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: OPEN, ..Setup::default() }).await;
    for target in spellings() {
        let shown = String::from_utf8_lossy(&target).into_owned();
        let before = upstream.count();
        let status = status(&gate, &target, None).await;
        if status != 200 {
            assert!([400, 401].contains(&status), "{status} for {shown}");
            assert_eq!(upstream.count(), before, "{shown} arrived");
            continue;
        }
        // Another path: not one segment of it is `admin` to anybody who decodes once, drops
        // parameters and does not tell upper from lower case.
        let path = shown.split('?').next().unwrap();
        let first = path.split('/').nth(1).unwrap_or_default();
        let (name, _) = first.split_once(';').unwrap_or((first, ""));
        let name = name.to_ascii_lowercase().replace("%61", "a").replace("%41", "a");
        assert_ne!(name, "admin", "{shown} arrived");
        assert!(!path.split('/').any(|segment| segment == ".."), "{shown} arrived");
    }
    for (target, expected) in [
        ("/admin/keys", 401),
        ("/%61dmin", 401),
        ("/admin", 401),
        ("/admin/", 401),
        ("/Admin", 400),
        ("/ADMIN/keys", 400),
        ("/admin;x", 400),
        ("/admin;x/keys", 400),
        ("/ADMIN;x/keys", 400),
        ("/%41dmin", 400),
        ("/admin%3bx", 400),
        // Neither reading is protected.
        ("/Other;x", 200),
        ("/other/Admin", 200),
        ("/other;admin", 200),
        ("/administrator", 200),
    ] {
        assert_eq!(status(&gate, target.as_bytes(), None).await, expected, "{target}");
    }
}

#[tokio::test]
async fn a04_parameters_and_case_are_judged_where_routes_differ_by_group_or_upstream() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/staff/**\"\ngroups = [\"admins\"]\n\
        [[route]]\npath = \"/Mixed/**\"\ngroups = [\"admins\"]\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    for (target, expected) in [
        ("/staff", 403),
        ("/STAFF", 400),
        ("/staff;x", 400),
        ("/sTaff/a;b", 400),
        ("/a;b/C", 200),
        // A route that is written in capitals guards the other spellings too: a backend without
        // case would not tell them apart.
        ("/Mixed/a", 403),
        ("/mixed/a", 400),
        ("/MIXED", 400),
    ] {
        assert_eq!(status(&gate, target.as_bytes(), Some(&token)).await, expected, "{target}");
    }
    assert!(upstream.requests().iter().all(|request| request.line() == "GET /a;b/C"));
}

#[tokio::test]
async fn the_reserved_prefix_never_arrives_in_any_case_of_letters() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: OPEN, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    for target in [
        "/.doorward",
        "/.doorward/",
        "/.doorward/x",
        "/.DOORWARD/x",
        "/.Doorward/session",
        "/.doorWARD",
        "/.doorward;x",
        "/.doorward;x/session",
        "/.doorward/x;y",
        "/.%64oorward/x",
        "/%2edoorward/x",
        "/.doorward%2fx",
        "/.doorward/../x",
        "/x/../.doorward/session",
        "//.doorward/x",
        "/.doorward//x",
        "/./.doorward/x",
        "/.doorward/api/v1/none",
        "/.doorward/api/v2/session",
        "/.doorward?x",
        "/.doorward/?x",
        "/.doorward%00",
        "/.doorward\\x",
        "/.DOORWARD;x/JWKS.json",
    ] {
        for token in [None, Some(token.as_str())] {
            let status = status(&gate, target.as_bytes(), token).await;
            assert!(
                (400..500).contains(&status) || target == "/.Doorward/session",
                "{status} for {target}"
            );
            assert_eq!(upstream.count(), 0, "{target} arrived");
        }
    }
    for target in ["/.doorwardx", "/.doorwards/x", "/x/.doorward/x", "/.door", "/doorward/"] {
        assert_eq!(status(&gate, target.as_bytes(), None).await, 200, "{target}");
        assert_eq!(upstream.last().line(), format!("GET {target}"));
    }
}

/// Targets that can be read in one way only.
const ALLOWED: &str = r#"
    / /a /a/ /a/b/c /a? /a?b /a?b=c /a?b=c&d=e /a?? /a?b?c /? /?a /a?b=%2F /a?b=%2f..%2f
    /a?b=../../c /a?b=//c /a?b=%00%ff%zz% /a?b=c+d%20e /a?url=https://x.example/%3Fy
    /a?b[]=1&b[]=2 /a?{}|^` /a?b='c' /a?; /a;b /a;b=c/d;e /a;b?c;d /a+b /a%20b /a%20%20b/ /%61
    /%7Ea /~a /a%40b /a@b /a:b /a:80 /a,b /a=b /a&b /a$b /a!b /a*b /a'b /(a) /a%28b%29 /.a /a.
    /..a /a.. /a..b /... /.well-known/acme-challenge/x-y_z /a.b.c /a-b_c /%E4%BD%A0%E5%A5%BD
    /%e4%bd%a0 /%F0%9F%98%80 /a%3Fb /a%23b /a%3D /a%3Ab /A/b/C /a/%5Bb%5D /a%22b
    /index.php?r=site/index /0 /a?utm=1 /a%7Cb /a?= /a?&&
"#;

#[tokio::test]
async fn d04_allowed_targets_arrive_octet_by_octet() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let token = gate.signed_in().await.token().to_owned();
    let mut targets: Vec<_> = ALLOWED.split_whitespace().map(str::to_owned).collect();
    targets.push(format!("/{}", "a/".repeat(1000)));
    targets.push(format!("/a?{}", "b=c&".repeat(1500)));
    for target in &targets {
        assert_eq!(status(&gate, target.as_bytes(), Some(&token)).await, 200, "{target}");
        assert_eq!(upstream.last().line(), format!("GET {target}"));
    }
    assert!(targets.len() > 60 && upstream.count() == targets.len());
}

#[tokio::test]
async fn t3_a_fragment_in_a_target_is_refused_wherever_it_stands() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: CLOSED, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    for target in ["/#", "/a#b", "/a?b#c", "#", "/public/x#", "/public/x#/../../a", "/a%23#"] {
        for token in [None, Some(token.as_str())] {
            assert_eq!(status(&gate, target.as_bytes(), token).await, 400, "{target}");
        }
    }
    assert_eq!(upstream.count(), 0);
    // One that is refused leaves the others on its connection as they are.
    let cookie = format!("cookie: __Host-doorward={token}\r\n");
    let second =
        format!("GET /b HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{cookie}connection: close\r\n\r\n");
    let first = format!("GET /a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{cookie}x-colour: #fff\r\n\r\n");
    let answer = raw::send(gate.address(), first + &second).await;
    assert_eq!(raw::statuses(&answer), [200, 200], "# in a field is no fragment");
}
