//! Streaming: bodies of any size pass as they come, and nobody's slowness fills the gate's memory.

use std::time::Duration;

use doorward_tests::{DEADLINE, PUBLIC_HOST, Setup, TestGate, Upstream, raw};
use http::{Method, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const MIB: usize = 1 << 20;

/// What a large body consists of: a length that no buffer's length divides.
fn block() -> Vec<u8> {
    (0..=250_u8).cycle().take(65_521).collect()
}

/// A public gate in front of a listener that the test serves itself.
async fn gate(listener: &TcpListener) -> TestGate {
    TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[[route]]\naccess = \"public\"\n",
        listener.local_addr().unwrap()
    ))
    .await
}

fn head(method: &str, fields: &str) -> String {
    format!("{method} / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n")
}

/// Writes a body of `count` blocks.
async fn write_body(stream: &mut (impl AsyncWriteExt + Unpin), count: usize, chunked: bool) {
    let block = block();
    for _ in 0..count {
        if chunked {
            stream.write_all(format!("{:x}\r\n", block.len()).as_bytes()).await.unwrap();
        }
        stream.write_all(&block).await.unwrap();
        if chunked {
            stream.write_all(b"\r\n").await.unwrap();
        }
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    }
    stream.flush().await.unwrap();
}

/// Reads a head and such a body, and expects the octets that were written.
async fn read_body(stream: impl AsyncReadExt + Unpin, count: usize) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "broke off after {head}");
    }
    let total = count * block().len();
    let mut octets = Vec::with_capacity(total);
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await.unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let start = octets.len();
            octets.resize(start + size, 0);
            stream.read_exact(&mut octets[start..]).await.unwrap();
            stream.read_exact(&mut [0; 2]).await.unwrap();
            if size == 0 {
                break;
            }
        }
    } else {
        octets.resize(total, 0);
        stream.read_exact(&mut octets).await.unwrap();
    }
    assert_eq!(octets.len(), total);
    assert!(octets.chunks(block().len()).all(|found| found == block()), "octets differ");
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions_chunked_and_with_a_length() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = gate(&listener).await;
    let count = 64 * MIB / block().len() + 1;
    let length = count * block().len();
    for chunked in [false, true] {
        let framing = if chunked {
            "transfer-encoding: chunked\r\n".to_owned()
        } else {
            format!("content-length: {length}\r\n")
        };
        let client = async {
            let mut stream = TcpStream::connect(gate.address()).await.unwrap();
            let head = head("POST", &format!("{framing}connection: close\r\n"));
            stream.write_all(head.as_bytes()).await.unwrap();
            let (reader, mut writer) = stream.split();
            tokio::join!(read_body(reader, count), write_body(&mut writer, count, chunked));
        };
        let console = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.split();
            read_body(reader, count).await;
            writer.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n").as_bytes()).await.unwrap();
            write_body(&mut writer, count, chunked).await;
        };
        let both = async { tokio::join!(client, console) };
        tokio::time::timeout(3 * DEADLINE, both).await.expect("the bodies in time");
    }
}

/// Writes to `stream` until nobody takes anything any more, and says how much was taken.
async fn fill(stream: &mut TcpStream) -> usize {
    let block = vec![b'x'; 64 << 10];
    let mut taken = 0;
    while taken < 512 * MIB {
        let writing = stream.write(&block);
        match tokio::time::timeout(Duration::from_millis(500), writing).await {
            Ok(written) => taken += written.unwrap(),
            Err(_) => break,
        }
    }
    taken
}

#[tokio::test]
async fn d22_who_does_not_read_holds_the_sender_up_instead_of_filling_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = gate(&listener).await;
    let length = format!("content-length: {}\r\n", 512 * MIB);

    let mut client = TcpStream::connect(gate.address()).await.unwrap();
    client.write_all(head("POST", &length).as_bytes()).await.unwrap();
    let (console, _) = listener.accept().await.unwrap();
    let taken = fill(&mut client).await;
    // What is in flight lies in the kernel's buffers of two connections.
    assert!(taken < 64 * MIB, "{taken} octets were taken for a console that reads none");
    drop((client, console));

    let mut client = TcpStream::connect(gate.address()).await.unwrap();
    client.write_all(head("GET", "").as_bytes()).await.unwrap();
    let (mut console, _) = listener.accept().await.unwrap();
    raw::message(&mut console).await;
    console.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n").as_bytes()).await.unwrap();
    let taken = fill(&mut console).await;
    assert!(taken < 64 * MIB, "{taken} octets were taken for a client that reads none");
    drop((client, console));
}

/// Reads until these octets have come.
async fn expect(stream: &mut TcpStream, octets: &str) {
    let mut found = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&found).contains(octets) {
            assert_ne!(stream.read_buf(&mut found).await.unwrap(), 0, "closed before {octets:?}");
        }
    };
    assert!(tokio::time::timeout(DEADLINE, reading).await.is_ok(), "{octets:?} did not come");
}

#[tokio::test]
async fn octets_pass_as_they_come_in_both_directions_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = gate(&listener).await;
    let mut client = TcpStream::connect(gate.address()).await.unwrap();
    let chunked = "transfer-encoding: chunked\r\n";
    client.write_all(head("POST", chunked).as_bytes()).await.unwrap();
    let (mut console, _) = listener.accept().await.unwrap();
    expect(&mut console, "\r\n\r\n").await;
    console.write_all(format!("HTTP/1.1 200 OK\r\n{chunked}\r\n").as_bytes()).await.unwrap();
    expect(&mut client, "\r\n\r\n").await;
    for round in 10..20 {
        client.write_all(format!("5\r\nask{round}\r\n").as_bytes()).await.unwrap();
        expect(&mut console, &format!("ask{round}")).await;
        console.write_all(format!("5\r\ntel{round}\r\n").as_bytes()).await.unwrap();
        expect(&mut client, &format!("tel{round}")).await;
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    expect(&mut console, "0\r\n\r\n").await;
    console.write_all(b"0\r\n\r\n").await.unwrap();
    expect(&mut client, "0\r\n\r\n").await;
}

#[tokio::test]
async fn b14_an_upload_that_breaks_off_is_never_whole_for_the_console() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = gate(&listener).await;
    for (fields, part) in [
        ("content-length: 10\r\n", "hello"),
        ("transfer-encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
    ] {
        let mut client = TcpStream::connect(gate.address()).await.unwrap();
        client.write_all(format!("{}{part}", head("POST", fields)).as_bytes()).await.unwrap();
        let (mut console, _) = listener.accept().await.unwrap();
        expect(&mut console, "hello").await;
        drop(client);
        let rest = raw::rest(&mut console).await;
        assert!(!rest.contains("0\r\n"), "the console got the end of what had none: {rest:?}");
    }
}

#[tokio::test]
async fn connections_to_the_console_are_used_again() {
    let upstream = Upstream::replying(|request| {
        let body = if request.line().starts_with("HEAD") { "" } else { "hello" };
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{body}").into_bytes())
    })
    .await;
    let tables = "[[route]]\naccess = \"public\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    for round in 0..20 {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let request = head(method, "content-length: 0\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            expect(&mut stream, if method == "HEAD" { "\r\n\r\n" } else { "hello" }).await;
            assert_eq!(upstream.last().connection, 0, "{method} in round {round}");
        }
    }
    assert_eq!(upstream.count(), 80);
}

#[tokio::test]
async fn bodies_pass_over_http2() {
    let body: Vec<u8> = block().into_iter().cycle().take(8 * MIB).collect();
    let echo = body.clone();
    let upstream = Upstream::replying(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", echo.len());
        Some([head.as_bytes(), &echo].concat())
    })
    .await;
    let tables = "[[route]]\naccess = \"public\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, tls: true, ..Setup::default() }).await;
    let mut browser = gate.browser().over_http2();
    let answer = browser.send(Method::POST, "/", &[], body.clone().into()).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, body.len()));
    assert!(answer.body == body && upstream.last().body == body, "octets differ");
}
