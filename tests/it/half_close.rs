//! Clients that send their requests and their end at once, as `nc -N` does: they get their answers,
//! and the connection ends with them.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use doorward_tests::{PUBLIC_HOST, Setup, TestGate, Upstream, raw};

/// The end may only be waited for longer than a test waits for anything.
const TABLES: &str = "[[route]]\npath = \"/public/**\"\naccess = \"public\"\n\
    [limits]\nhalf_closed = \"1h\"\n";

/// Sends octets and end without a pause between, so that the gate finds both when it looks.
async fn exchange(address: SocketAddr, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(octets).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.set_nonblocking(true).unwrap();
    raw::rest(&mut tokio::net::TcpStream::from_std(stream).unwrap()).await
}

#[tokio::test]
async fn octets_and_end_at_once_are_answered_at_once() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: TABLES, ..Setup::default() }).await;
    let host = format!("host: {PUBLIC_HOST}\r\n");
    let body = format!("{host}content-length: 5\r\n");
    let get = format!("GET /public/a HTTP/1.1\r\n{host}\r\n");
    for (octets, expected) in [
        (get.clone(), vec![200]),
        (format!("GET /private HTTP/1.1\r\n{host}\r\n"), vec![401]),
        (format!("POST /public/a HTTP/1.1\r\n{body}\r\nhello"), vec![200]),
        (
            format!("POST /public/a HTTP/1.1\r\n{body}expect: 100-continue\r\n\r\nhello"),
            // Who has sent the body need not be told to (RFC 9110 section 10.1.1).
            vec![200],
        ),
        (get.repeat(3), vec![200, 200, 200]),
    ] {
        // More than once: what comes first is the kernel's to say.
        for _ in 0..5 {
            let answer = exchange(gate.address(), octets.as_bytes()).await;
            let mut found = raw::statuses(&answer);
            found.retain(|status| *status >= 200);
            assert_eq!(found, expected, "{octets:?}");
        }
    }
}
