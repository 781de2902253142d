//! Floods: what costs the gate more than the client has a number, and the connection ends there.

use doorward_tests::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, PING,
    PRIORITY, RESET, SETTINGS, WINDOW_UPDATE, frame,
};
use doorward_tests::{Browser, DEADLINE, PUBLIC_HOST, Scratch, Setup, TestGate, Upstream, process};
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{GET, POST, PUBLIC, attack, connect, gate, silent};

/// What a client does who wants to do harm.
const MANY: u32 = 5000;

#[tokio::test]
async fn c10_streams_that_are_reset_at_once_end_the_connection() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let block = frames::block(&GET);
    let mut octets = Vec::new();
    for number in 0..MANY {
        frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block);
        frame(&mut octets, RESET, 0, 2 * number + 1, &8_u32.to_be_bytes());
    }
    let told = attack(&gate, &octets).await;
    assert!(!told.survived, "{told:?}");
    assert!(upstream.count() < 200, "{} requests arrived", upstream.count());
}

#[tokio::test]
async fn c10_streams_that_are_reset_when_they_have_been_accepted_end_it_too() {
    let (gate, _console) = silent().await;
    let mut frames = Frames::open(connect(&gate).await).await;
    let block = frames::block(&GET);
    let mut stream = 1;
    for _ in 0..50 {
        let (mut opening, mut resetting) = (Vec::new(), Vec::new());
        for _ in 0..super::STREAMS {
            frame(&mut opening, HEADERS, END_HEADERS | END_STREAM, stream, &block);
            frame(&mut resetting, RESET, 0, stream, &8_u32.to_be_bytes());
            stream += 2;
        }
        // Its echo says that all of them have been read.
        frame(&mut opening, PING, 0, 0, b"are read");
        frames.write(&opening).await;
        loop {
            match frames.next().await {
                None => {
                    assert!(stream > 2 * 200, "so few requests may be reset");
                    return;
                }
                Some(found) if found.kind == PING => break,
                Some(_) => {}
            }
        }
        frames.write(&resetting).await;
    }
    panic!("a thousand requests were opened and reset");
}

#[tokio::test]
async fn c11_header_blocks_without_end_end_the_connection() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let field = frames::block(&[("x-any", &"a".repeat(1000))]);
    for piece in [&field[..], &field[..1], b""] {
        let mut octets = Vec::new();
        frame(&mut octets, HEADERS, END_STREAM, 1, &frames::block(&GET));
        for _ in 0..MANY {
            frame(&mut octets, CONTINUATION, 0, 1, piece);
        }
        let told = attack(&gate, &octets).await;
        assert!(!told.survived, "{told:?} for pieces of {}", piece.len());
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn c12_data_without_octets_ends_the_connection() {
    let (gate, _console) = silent().await;
    let mut octets = Vec::new();
    frame(&mut octets, HEADERS, END_HEADERS, 1, &frames::block(&POST));
    for _ in 0..MANY {
        frame(&mut octets, DATA, 0, 1, b"");
    }
    let told = attack(&gate, &octets).await;
    assert!(!told.survived, "{told:?}");
    // Padding does not make it more.
    octets.clear();
    frame(&mut octets, HEADERS, END_HEADERS, 1, &frames::block(&POST));
    for _ in 0..MANY {
        frame(&mut octets, DATA, 8, 1, &[1, 0]);
    }
    let told = attack(&gate, &octets).await;
    assert!(!told.survived, "{told:?}");
}

#[tokio::test]
async fn c13_frames_about_the_connection_keep_nobody_else_waiting() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let window = [&[0, 4][..], &65_535_u32.to_be_bytes()].concat();
    for (kind, stream, payload) in [
        (SETTINGS, 0, &window[..]),
        (SETTINGS, 0, b""),
        (PING, 0, b"12345678"),
        (PRIORITY, 1, &[0, 0, 0, 0, 1]),
        (WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
        (0xb7, 0, b"of no known type"),
    ] {
        let mut octets = Vec::new();
        for _ in 0..4 * MANY {
            frame(&mut octets, kind, 0, stream, payload);
        }
        attack(&gate, &octets).await;
    }
}

#[tokio::test]
async fn c13_whoever_takes_no_answers_is_not_listened_to() {
    let upstream = Upstream::start().await;
    let tables = format!("[limits]\nwrite_idle = \"1s\"\nkeep_alive = \"1h\"\n{PUBLIC}");
    let setup = Setup { listener: "h2c = true", tables: &tables, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    for (kind, payload) in [(PING, &b"12345678"[..]), (SETTINGS, b"")] {
        let mut octets = Vec::new();
        for _ in 0..MANY {
            frame(&mut octets, kind, 0, 0, payload);
        }
        let mut stream = connect(&gate).await;
        let mut greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut greeting, SETTINGS, 0, 0, b"");
        stream.write_all(&greeting).await.unwrap();
        let sending = async {
            let mut sent = 0;
            while stream.write_all(&octets).await.is_ok() {
                sent += octets.len();
            }
            sent
        };
        let sent = tokio::time::timeout(DEADLINE, sending).await.expect("an end in time");
        // What the sockets hold in both directions, and not much more.
        assert!(sent < 64 << 20, "{sent} octets were taken");
    }
}

#[tokio::test]
async fn c13_pings_alone_keep_no_connection_open() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let mut frames = Frames::open(connect(&gate).await).await;
    let mut ping = Vec::new();
    frame(&mut ping, PING, 0, 0, b"12345678");
    let pinging = async {
        loop {
            frames.write(&ping).await;
            if frames.next().await.is_none() {
                break;
            }
        }
    };
    assert!(tokio::time::timeout(DEADLINE, pinging).await.is_ok(), "held for ever");
}

#[tokio::test]
async fn c13_no_frame_fills_the_log() {
    let upstream = Upstream::start().await;
    let folder = Scratch::new();
    let config = process::configure(folder.path(), &upstream.address, PUBLIC);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[upstream", "h2c = true\n[upstream")).unwrap();
    let gate = process::Served::start(&config);
    // Echoes of nothing, of which the library complains one by one.
    let mut octets = Vec::new();
    for _ in 0..MANY {
        frame(&mut octets, PING, ACK, 0, b"12345678");
    }
    frames::exchange(TcpStream::connect(gate.address).await.unwrap(), &octets).await;
    let answer = Browser::new(gate.address, PUBLIC_HOST, None).get("/a").await;
    assert_eq!(answer.status, StatusCode::OK);
    let log = gate.log();
    assert!(log.len() < 20, "{} lines, such as {:?}", log.len(), log[0]);
}

#[tokio::test]
async fn c14_whoever_makes_the_gate_reset_streams_is_cut_off() {
    let (gate, _console) = silent().await;
    let open = frames::block(&POST);
    let get = frames::block(&GET);
    let short = frames::block(&[&POST[..], &[("content-length", "5")]].concat());
    let malformed = frames::block(&[&GET[..], &[("connection", "x")]].concat());
    let overflow = 0x7fff_ffff_u32.to_be_bytes();
    let (no_end, end) = (END_HEADERS, END_HEADERS | END_STREAM);
    for (what, flags, block, then) in [
        ("a window too large", no_end, &open, Some((WINDOW_UPDATE, 0, &overflow[..]))),
        ("a window of nothing more", no_end, &open, Some((WINDOW_UPDATE, 0, &[0; 4]))),
        ("data after the end", end, &get, Some((DATA, END_STREAM, b"hello"))),
        ("more than the length", no_end, &short, Some((DATA, END_STREAM, b"hello!"))),
        ("no body", end, &short, None),
        ("a malformed head", end, &malformed, None),
    ] {
        let mut octets = Vec::new();
        for number in 0..MANY {
            frame(&mut octets, HEADERS, flags, 2 * number + 1, block);
            if let Some((kind, flags, payload)) = then {
                frame(&mut octets, kind, flags, 2 * number + 1, payload);
            }
        }
        let told = attack(&gate, &octets).await;
        assert!(!told.survived, "{what}: {} resets", told.resets.len());
        assert!(told.resets.len() < 2000, "{what}: {} resets", told.resets.len());
    }
}

#[tokio::test]
async fn c16_small_blocks_that_unfold_to_large_heads_are_refused() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    // Into the table once (0x40), from which it is taken again and again (62: the newest entry).
    let large = frames::block(&[("x-bomb", &"a".repeat(3900))]);
    let taken = [&[0x40][..], &large[1..], &[0x80 | 62; 8000]].concat();
    // From the table that everybody has: `accept-encoding: gzip, deflate`.
    let common = [0x80 | 16; 16_000];
    for (what, bomb) in [("a table's entry", &taken[..]), ("everybody's entry", &common)] {
        let mut octets = Vec::new();
        let (head, pieces) = ([&frames::block(&GET), bomb].concat(), 16_000);
        let mut pieces = head.chunks(pieces).peekable();
        frame(&mut octets, HEADERS, END_STREAM, 1, pieces.next().unwrap());
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            frame(&mut octets, CONTINUATION, flags, 1, piece);
        }
        if head.len() <= 16_000 {
            octets[4] |= END_HEADERS;
        }
        let outcome = frames::outcome(connect(&gate).await, &octets).await;
        assert!(matches!(outcome, Outcome::Status(431) | Outcome::Closed), "{what}: {outcome:?}");
        attack(&gate, &octets).await;
    }
    // Many that are small, and together not too large.
    let many = [&frames::block(&GET)[..], &[0x80 | 16; 200]].concat();
    let mut octets = Vec::new();
    frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 1, &many);
    let outcome = frames::outcome(connect(&gate).await, &octets).await;
    assert_eq!(outcome, Outcome::Status(431), "too many fields");
    assert_eq!(upstream.count(), 0);
}
