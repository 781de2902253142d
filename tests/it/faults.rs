//! Faults of the console: it breaks off, lies about lengths, or answers what nobody asked. The
//! client hears 502 or sees the body break off, and no other request ever meets the remains.

use doorward_tests::{PUBLIC_HOST, TestGate, Upstream, raw};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

/// A public gate with one worker, so that all clients share its connections, in front of `address`.
pub(crate) async fn gate(address: &str, keys: &str) -> TestGate {
    TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"{address}\"\n{keys}\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[[route]]\naccess = \"public\"\n"
    ))
    .await
}

async fn ask(gate: &TestGate, target: &str) -> String {
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: close\r\n\r\n");
    raw::send(gate.address(), request).await
}

/// An upstream that answers `/fine` well and everything else with these octets, and then waits
/// for another request, or closes if it was asked for `/close`.
async fn faulty(octets: &[u8]) -> Upstream {
    let octets = octets.to_vec();
    Upstream::replying(move |request| {
        Some(if request.line() == "GET /fine" { FINE.to_vec() } else { octets.clone() })
    })
    .await
}

#[tokio::test]
async fn b14_a_head_that_cannot_be_read_is_502_and_its_connection_is_not_used_again() {
    for octets in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx y: z\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n: y\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"hello\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        check_never_reused(octets, |answer| raw::statuses(answer) == [502]).await;
    }
}

/// Asks an upstream that answers with `octets`, expects `holds` of what the client gets, and that
/// the connection is not used again.
async fn check_never_reused(octets: &[u8], holds: impl Fn(&str) -> bool) {
    let shown = String::from_utf8_lossy(octets).into_owned();
    let upstream = faulty(octets).await;
    let gate = gate(
        &format!("http://{}", upstream.address),
        "idle_timeout = \"1s\"\nresponse_timeout = \"2s\"",
    )
    .await;
    let answer = ask(&gate, "/").await;
    assert!(holds(&answer), "{shown:?} came out as {answer:?}");
    let connection = upstream.last().connection;
    let next = ask(&gate, "/fine").await;
    assert!(next.ends_with("\r\n\r\nfine"), "after {shown:?}: {next:?}");
    assert_ne!(upstream.last().connection, connection, "{shown:?} and then another request on it");
}

#[tokio::test]
async fn b05_b06_lines_of_a_head_that_can_be_read_in_two_ways_do_not_come_through() {
    for octets in [
        &b"HTTP/1.1 200 OK\r\nx-a : b\r\ncontent-length: 2\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nx-a: b\r\n folded: c\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx-a: b\r\n\tfolded\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nset-cookie: a\ncontent-length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nx: a\nset-cookie: b\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let upstream = faulty(octets).await;
        let gate = gate(&format!("http://{}", upstream.address), "").await;
        let answer = ask(&gate, "/").await;
        let statuses = raw::statuses(&answer);
        assert!(statuses == [502] || statuses == [200], "{answer}");
        let head = answer.split("\r\n\r\n").next().unwrap();
        assert!(
            !head.contains(" :") && !head.replace("\r\n", "").contains(['\r', '\n', '\0']),
            "{head:?}"
        );
        assert!(!head.contains("\r\n ") && !head.contains("\r\n\t"), "{head:?}");
    }
}

#[tokio::test]
async fn b14_a_body_that_breaks_off_breaks_off_for_the_client_too() {
    // A body that breaks off at once may take the head with it.
    let broken = |answer: &str| match raw::statuses(answer)[..] {
        [] | [502] => true,
        [200] => !is_whole(answer),
        _ => false,
    };
    for octets in [
        // The rest never comes.
        &b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        // It is no chunk.
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF1\r\nhello\r\n0\r\n\r\n",
    ] {
        check_never_reused(octets, broken).await;
    }
}

/// Did the one response in `answer` come to its end, as its framing tells it?
fn is_whole(answer: &str) -> bool {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => body.len() == length.parse::<usize>().unwrap(),
        None => body.ends_with("0\r\n\r\n"),
    }
}

#[tokio::test]
async fn b14_both_lengths_never_leave_a_remainder_for_another_request() {
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    ] {
        let octets = format!("HTTP/1.1 200 OK\r\n{fields}\r\n0\r\n\r\n{smuggled}");
        check_never_reused(octets.as_bytes(), |answer| !answer.contains("poison")).await;
    }
}

#[tokio::test]
async fn b14_a_connection_that_closes_early_is_502_or_a_broken_body() {
    for (octets, whole) in [
        (&b""[..], false),
        (b"HTTP/1.1 200", false),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n", false),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", false),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
        // Without any length the end of the connection is the end of the body.
        (b"HTTP/1.1 200 OK\r\n\r\nhello", true),
    ] {
        let upstream = faulty(octets).await;
        let gate = gate(&format!("http://{}", upstream.address), "").await;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nx-test-close: 1\r\nconnection: close\r\n\r\n"
        );
        let answer = raw::send(gate.address(), request).await;
        let shown = String::from_utf8_lossy(octets);
        match raw::statuses(&answer)[..] {
            [] => assert!(!whole && octets.starts_with(b"HTTP/1.1 200 OK\r\n"), "{shown:?}"),
            [502] => assert!(!whole && !octets.starts_with(b"HTTP/1.1 200 OK\r\nc"), "{shown:?}"),
            [200] => assert_eq!(is_whole(&answer), whole, "{shown:?} came out as {answer:?}"),
            _ => panic!("{shown:?} came out as {answer:?}"),
        }
        assert_eq!(upstream.count(), 1, "asked twice after {shown:?}");
    }
}

#[tokio::test]
async fn b15_an_answer_that_nobody_asked_for_is_never_the_next_clients() {
    // In the same octets as the answer that was asked for.
    let twice = [FINE, b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"].concat();
    let upstream = Upstream::replying(move |_| Some(twice.clone())).await;
    let its_gate = gate(&format!("http://{}", upstream.address), "").await;
    for _ in 0..5 {
        let answer = ask(&its_gate, "/").await;
        assert!(answer.ends_with("\r\n\r\nfine") && raw::statuses(&answer) == [200], "{answer}");
    }
    let connections: Vec<_> =
        upstream.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3, 4], "a connection with remains was used again");

    // Later, on a connection that is at rest.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let its_gate = gate(&format!("http://{}", listener.local_addr().unwrap()), "").await;
    for extra in [&b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"[..], b"x", b"\r\n", b""] {
        let first = async {
            let mut stream = serve_fine(&listener).await;
            stream.write_all(extra).await.unwrap();
            if extra.is_empty() {
                stream.shutdown().await.unwrap();
            }
            stream
        };
        let (_kept, answer) = tokio::join!(first, ask(&its_gate, "/"));
        assert!(answer.ends_with("\r\n\r\nfine"), "{answer}");
        let (_kept, answer) = tokio::join!(serve_fine(&listener), ask(&its_gate, "/"));
        assert!(answer.ends_with("\r\n\r\nfine") && raw::statuses(&answer) == [200], "{answer}");
        // The good connection of this round must not serve the first request of the next one.
        drop(_kept);
    }
}

/// Accepts a connection, and answers the first request on it.
async fn serve_fine(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    raw::message(&mut stream).await;
    stream.write_all(FINE).await.unwrap();
    stream
}

#[tokio::test]
async fn d16_what_was_sent_is_never_sent_again_and_what_was_not_is() {
    let upstream =
        Upstream::replying(|request| (!request.line().ends_with("/kill")).then(|| FINE.to_vec()))
            .await;
    let its_gate = gate(&format!("http://{}", upstream.address), "").await;
    let mut browser = its_gate.browser();
    for method in [Method::POST, Method::GET, Method::PUT, Method::DELETE] {
        for warm in [false, true] {
            if warm {
                assert_eq!(browser.get("/fine").await.status, StatusCode::OK);
            }
            let before = upstream.count();
            let answer = browser.send(method.clone(), "/kill", &[], "body".into()).await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
            assert_eq!(upstream.count(), before + 1, "{method}, pooled connection: {warm}");
        }
    }

    // A pooled connection that the console closed while it was at rest costs nobody an error.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let its_gate = gate(&format!("http://{}", listener.local_addr().unwrap()), "").await;
    for _ in 0..5 {
        let closing = async { drop(serve_fine(&listener).await) };
        let ((), answer) = tokio::join!(closing, ask(&its_gate, "/"));
        assert!(answer.ends_with("\r\n\r\nfine"), "{answer}");
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody"
        );
        let (stream, answer) =
            tokio::join!(serve_fine(&listener), raw::send(its_gate.address(), request));
        assert!(answer.ends_with("\r\n\r\nfine"), "{answer}");
        drop(stream);
    }
}

#[tokio::test]
async fn d17_an_unreachable_console_is_502_and_a_slow_one_504() {
    let folder = doorward_tests::Scratch::new();
    let nowhere = gate(&format!("unix:{}", folder.path().join("none").display()), "").await;
    let answer = nowhere.browser().get("/").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.field("content-type"), "application/problem+json");
    assert!(!answer.text().contains(&*folder.path().to_string_lossy()), "{}", answer.text());

    // The kernel accepts, nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let slow = gate(&address, "response_timeout = \"1s\"").await;
    let mut browser = slow.browser();
    assert_eq!(browser.get("/").await.status, StatusCode::GATEWAY_TIMEOUT);
    let answer = browser.send(Method::POST, "/", &[], "body".into()).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);

    // A head that never ends.
    let endless = Upstream::answering(b"HTTP/1.1 200 OK\r\nx: y\r\n").await;
    let its_gate = gate(&format!("http://{}", endless.address), "response_timeout = \"1s\"").await;
    assert_eq!(its_gate.browser().get("/").await.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(endless.count(), 1);

    // TLS that never begins.
    let tls =
        gate(&format!("https://{}", silent.local_addr().unwrap()), "connect_timeout = \"1s\"")
            .await;
    assert_eq!(tls.browser().get("/").await.status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn d17_a_body_that_pauses_too_long_breaks_off() {
    let upstream = faulty(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    let its_gate = gate(&format!("http://{}", upstream.address), "idle_timeout = \"1s\"").await;
    let request = format!("GET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    let mut stream = TcpStream::connect(its_gate.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = raw::rest(&mut stream).await;
    assert!(answer.ends_with("\r\n\r\nhello") && !is_whole(&answer), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_request_at_the_console() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let its_gate = gate(&format!("http://{}", listener.local_addr().unwrap()), "").await;
    let mut client = TcpStream::connect(its_gate.address()).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut console, _) = listener.accept().await.unwrap();
    raw::message(&mut console).await;
    drop(client);
    let closed = tokio::time::timeout(doorward_tests::DEADLINE, console.read(&mut [0; 16])).await;
    assert!(!matches!(closed.expect("the connection closes"), Ok(1..)), "there was nothing to say");
}
