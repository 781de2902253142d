//! How many streams there are at once, and how they end with the connection.

use doorward_tests::frames::{
    self, DATA, END_HEADERS, END_STREAM, Frames, GO_AWAY, HEADERS, frame,
};
use doorward_tests::raw;
use tokio::io::AsyncWriteExt;

use super::{GET, STREAMS, attack, connect, silent};

#[tokio::test]
async fn c07_so_many_streams_at_once_and_no_more() {
    let (gate, _console) = silent().await;
    let mut octets = Vec::new();
    let block = frames::block(&GET);
    let more = 50;
    for number in 0..STREAMS + more {
        frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block);
    }
    let told = attack(&gate, &octets).await;
    assert!(told.settings.contains(&(3, STREAMS)), "advertised: {told:?}");
    // Refused as untouched (7), or the connection is over.
    let refused: Vec<_> = (STREAMS..STREAMS + more).map(|number| (2 * number + 1, 7)).collect();
    assert!(told.go_away.is_some() || told.resets == refused, "{told:?}");
}

#[tokio::test]
async fn c08_at_the_end_streams_finish_and_none_begin() {
    let (mut gate, console) = silent().await;
    let mut frames = Frames::open(connect(&gate).await).await;
    let mut octets = Vec::new();
    frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 1, &frames::block(&GET));
    frames.write(&octets).await;
    let (mut server, _) = console.accept().await.unwrap();
    raw::message(&mut server).await;
    let stopping = tokio::task::spawn_blocking(move || gate.stop());
    let first = frames.next_of(GO_AWAY).await;
    assert_eq!((first.number(0), first.number(4)), (0x7fff_ffff, 0), "it is about to end");
    let second = frames.next_of(GO_AWAY).await;
    assert_eq!((second.number(0), second.number(4)), (1, 0), "nothing after the first stream");
    octets.clear();
    frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 3, &frames::block(&GET));
    frames.write(&octets).await;
    server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
    let answer = frames.next_of(HEADERS).await;
    assert_eq!((answer.stream, answer.payload[0]), (1, 0x88), "200");
    let mut data = frames.next_of(DATA).await;
    let mut body = data.payload.clone();
    while data.flags & END_STREAM == 0 {
        data = frames.next_of(DATA).await;
        body.extend(data.payload);
    }
    assert_eq!(body, b"hello");
    while let Some(frame) = frames.next().await {
        assert!(frame.kind != HEADERS, "a stream began: {frame:?}");
    }
    assert!(stopping.await.unwrap(), "it did not finish");
}
