//! `doorward health`: is the gate of this configuration ready?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Failure, load, runtime, say, tame};

/// How long a gate may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long the reason may be.
const WHY_BYTES_MAX: usize = 4096;

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let mut address = load(file)?.operations.address;
    // One that listens everywhere is asked at home.
    if address.ip().is_unspecified() {
        let home = if address.is_ipv4() {
            IpAddr::from(Ipv4Addr::LOCALHOST)
        } else {
            IpAddr::from(Ipv6Addr::LOCALHOST)
        };
        address.set_ip(home);
    }
    let asked = runtime()?.block_on(async { tokio::time::timeout(DEADLINE, ask(address)).await });
    match asked {
        Ok(Ok(None)) => {
            say("ready");
            Ok(())
        }
        Ok(Ok(Some(why))) => Err(Failure::Refuse(format!(
            "the gate at {address} is not ready: {}",
            tame(why.trim())
        ))),
        Ok(Err(error)) => Err(Failure::Io(format!("no gate answers at {address}: {error}"))),
        Err(_) => Err(Failure::Io(format!("the gate at {address} did not answer in time"))),
    }
}

/// Why the gate is not ready; `None`: it is.
async fn ask(address: SocketAddr) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = http::Request::get("/readyz")
        .header("host", address.to_string())
        .body(Empty::<bytes::Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    if answer.status().is_success() {
        return Ok(None);
    }
    let why = Limited::new(answer.into_body(), WHY_BYTES_MAX).collect().await;
    let why = why.map_err(|error| error.to_string())?.to_bytes();
    Ok(Some(String::from_utf8_lossy(&why).into_owned()))
}
