//! Asking a running gate over its administration socket.

use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use doorward_config::Store;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Failure;
use crate::operations::STORE;

/// Sends one request to the gate that has this store, and gives status and body of its answer. A
/// connection is for one request.
pub(super) async fn post(
    stream: UnixStream,
    store: &Store,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), Failure> {
    let request = http::Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header(STORE, store.canonical().as_os_str().as_bytes())
        .body(Full::new(Bytes::from(body)))
        .map_err(unanswered)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unanswered)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(unanswered)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(unanswered)?.to_bytes();
    Ok((status, body))
}

/// The gate is there and gave no answer that could be read.
pub(super) fn unanswered(error: impl Display) -> Failure {
    Failure::Io(format!("the running gate did not answer: {error}"))
}
