//! Requests and answers on one connection that cross each other, break off or come late: each stays
//! what it is.

use std::sync::Arc;

use doorward_tests::{DEADLINE, PUBLIC_HOST, TestGate, eventually, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::faults::gate;

/// A console that has each connection to itself, and a gate in front of it.
async fn in_front_of<T>(talk: impl Fn(TcpStream) -> T + Send + 'static) -> TestGate
where
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    gate(&format!("http://{address}"), "").await
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn b18_nothing_is_asked_for_within_an_answer() {
    let go_on = Arc::new(Notify::new());
    let its = Arc::clone(&go_on);
    // It answers before it was asked, and has more to say when the client has read the beginning.
    let gate = in_front_of(move |mut stream| {
        let go_on = Arc::clone(&its);
        async move {
            let early = b"HTTP/1.1 503 Busy\r\ncontent-length: 8\r\nconnection: close\r\n\r\nbusy";
            stream.write_all(early).await.unwrap();
            go_on.notified().await;
            let _ = stream.write_all(b"BUSY").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    for round in 0..30 {
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        let fields = "content-length: 3\r\nexpect: 100-continue\r\n";
        let request = format!("POST /a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = head(&mut stream).await;
        if answer.starts_with("HTTP/1.1 100") {
            stream.write_all(b"abc").await.unwrap();
            answer = head(&mut stream).await;
        }
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"busy");
        go_on.notify_one();
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"BUSY", "round {round}");
    }
}

#[tokio::test]
async fn b14_of_an_answer_that_breaks_off_the_client_sees_what_there_was_and_the_log_says_so() {
    for (fields, body) in
        [("content-length: 100", "some of it"), ("transfer-encoding: chunked", "4\r\nsome\r\nZ")]
    {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}");
        let gate = in_front_of_one_that_says(answer).await;
        let request = format!("POST /a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
        let found = raw::send(gate.address(), request).await;
        // Not nothing: that looks like a connection that was never asked, and is asked again.
        assert!(found.starts_with("HTTP/1.1 200") && found.contains("some"), "{found}");
        assert!(!found.contains("Z") && !found.ends_with("0\r\n\r\n"), "{found}");
        eventually("the log", async || !gate.access_log().await.is_empty()).await;
        assert_eq!(gate.access_log().await[0]["broken_off"], true);
    }
}

/// A gate in front of a console that answers this and is gone.
async fn in_front_of_one_that_says(answer: String) -> TestGate {
    let answer: Arc<str> = answer.into();
    in_front_of(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// Nothing but the end of the connection tells such a client that it has the whole answer.
#[tokio::test]
async fn b14_a_client_of_http10_sees_that_an_answer_broke_off() {
    for (body, is_whole) in [("4\r\nsome\r\nZ", false), ("4\r\nsome\r\n0\r\n\r\n", true)] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let gate = in_front_of_one_that_says(answer).await;
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        let request = format!("GET /a HTTP/1.0\r\nhost: {PUBLIC_HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.0 200"));
        let mut found = Vec::new();
        let read = stream.read_to_end(&mut found).await;
        assert_eq!((read.is_ok(), &*found), (is_whole, &b"some"[..]), "{read:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_whatever_it_sent_behind_its_request() {
    let left = Arc::new(Notify::new());
    let its = Arc::clone(&left);
    let gate = in_front_of(move |mut stream| {
        let left = Arc::clone(&its);
        async move {
            head(&mut stream).await;
            // It never answers, and is let go of.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            left.notify_one();
        }
    })
    .await;
    let request = format!("GET /slow HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    for behind in ["", "\r\n", &*request] {
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        stream.write_all(format!("{request}{behind}").as_bytes()).await.unwrap();
        // A reset, as of a program that was killed.
        stream.set_zero_linger().unwrap();
        drop(stream);
        tokio::time::timeout(DEADLINE, left.notified()).await.expect("an end of the request");
    }
    eventually("the log", async || gate.access_log().await.len() == 3).await;
    assert!(gate.access_log().await.iter().all(|line| line["status"] == 499));
}

#[tokio::test]
async fn a_refused_head_is_answered_as_what_it_says_it_is() {
    let gate = in_front_of(async |_| ()).await;
    for end in ["HTTP/1.1 \r\n", "HTTP/1.1\n", "HTTP/1.7\r\n"] {
        let request = format!("HEAD /x {end}host: {PUBLIC_HOST}\r\n\r\n");
        let found = raw::send(gate.address(), request).await;
        assert!(found.starts_with("HTTP/1.1 4") || found.starts_with("HTTP/1.1 505"), "{found}");
        assert!(found.ends_with("\r\n\r\n"), "an answer to HEAD has no body: {found}");
    }
    let log = gate.access_log().await;
    assert!(log.iter().all(|line| line["method"] == "HEAD"), "{log:?}");
}

#[tokio::test]
async fn empty_lines_behind_a_body_are_no_request() {
    let gate = in_front_of(async |mut stream: TcpStream| {
        loop {
            let _ = head(&mut stream).await;
            let mut body = [0; 3];
            stream.read_exact(&mut body).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    for _ in 0..20 {
        let head = format!("POST /a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ncontent-length: 3\r\n\r\n");
        stream.write_all(format!("{head}abc\r\n").as_bytes()).await.unwrap();
        let (answer, body) = raw::message(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && body == b"ok", "{answer}");
    }
}
