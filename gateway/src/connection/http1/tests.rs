//! What a connection notes of a client that takes its answer slowly.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use doorward_config::GatewayConfig;
use tokio::io::ReadBuf;

use super::*;

/// A client that takes so much at once, and then nothing until it is asked again.
struct Slow {
    takes: usize,
    taken: bool,
}

impl AsyncRead for Slow {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.taken = !self.taken && self.takes > 0;
        if self.taken { Poll::Ready(Ok(self.takes.min(octets.len()))) } else { Poll::Pending }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn o11_who_takes_something_may_take_long_and_who_takes_nothing_may_not() {
    let text = "public_url = \"https://a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
        [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x\"\n\
        [limits]\nwrite_idle = \"10s\"\n";
    let limits = GatewayConfig::parse(text, Path::new("/")).unwrap().limits;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let ticks = Rc::new(Cell::new(0));
    let peer = Rc::new(Peer::new(nowhere, nowhere, false, 0, Rc::clone(&ticks)));
    peer.watch.begin();
    let mut client = Slow { takes: 10, taken: false };
    let mut line = Line {
        wire: Wire::new(&mut client, BytesMut::new()),
        reader: Reader::default(),
        peer: &peer,
        limits: &limits,
        inbound: None,
        expects_continue: false,
        ended: false,
        flushed: true,
    };
    line.wire.write.put_slice(&[0; 10_000]);
    let mut cx = Context::from_waker(Waker::noop());
    let mut after = |seconds: u32, line: &mut Line<'_, Slow>| {
        ticks.set(ticks.get() + 4 * seconds);
        peer.watch.sweep(&limits);
        let goes_on = peer.watch.order(&cx) != Order::Close;
        assert!(!goes_on || line.write(&mut cx) == Ok(false));
        goes_on
    };
    for _ in 0..20 {
        assert!(after(8, &mut line), "it takes something");
    }
    line.wire.stream.takes = 0;
    assert!(after(8, &mut line));
    assert!(!after(8, &mut line), "nothing for longer than it may");
}
