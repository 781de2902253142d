//! A client that sends exactly the octets it is given.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::DEADLINE;

/// Sends `octets`, says that nothing more comes, and gives all that comes back.
///
/// # Panics
/// When the gate does not close the connection within [`DEADLINE`].
pub async fn exchange(address: SocketAddr, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gate may have refused, and closed, before everything is sent.
    let _ = stream.write_all(octets).await;
    let _ = stream.shutdown().await;
    rest(&mut stream).await
}

/// Everything until the other end closes.
///
/// # Panics
/// When it does not within [`DEADLINE`].
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset ends what there is to read as well as a close does.
    let reading = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    assert!(
        reading.is_ok(),
        "the connection stays open after {:?}",
        String::from_utf8_lossy(&answer)
    );
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of the responses in `answer`, in order.
#[must_use]
pub fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)?.parse().ok()).collect()
}
