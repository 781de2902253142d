//! A way from a gate to a server on which things go wrong: it can be cut, slow, or lose an answer.

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward_tests::{Answer, Scratch};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What an answer may take while the server hangs: a few calls of half a second, and a machine that
/// has other things to do.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

pub(super) fn in_time<'a>(
    answer: impl Future<Output = Answer> + 'a,
) -> Pin<Box<dyn Future<Output = Answer> + 'a>> {
    let answer = tokio::time::timeout(ANSWERED_WITHIN, Box::pin(answer));
    Box::pin(async { answer.await.expect("within its time") })
}

/// By this key one knows the question that a gate asks a few times a second, whatever it does.
const HEARING: &[u8] = b":epoch";

/// A way to a server's socket, by another socket.
pub(super) struct Way {
    folder: Scratch,
    state: Arc<State>,
}

struct State {
    /// How long everything takes on it; `None`: it is cut.
    takes: watch::Sender<Option<Duration>>,
    /// How many more requests are answered before an answer is lost.
    answered: Mutex<Option<u32>>,
}

impl Way {
    pub(super) fn to(socket: &Path) -> Self {
        let folder = Scratch::new();
        let listener = UnixListener::bind(folder.path().join(socket.file_name().unwrap())).unwrap();
        let takes = watch::Sender::new(Some(Duration::ZERO));
        let state = Arc::new(State { takes, answered: Mutex::default() });
        let (socket, shared) = (socket.to_owned(), Arc::clone(&state));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (socket, state) = (socket.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    if state.takes.borrow().is_some() {
                        let server = UnixStream::connect(socket).await.unwrap();
                        state.connect(client, server).await;
                    }
                });
            }
        });
        Self { folder, state }
    }

    /// To the server of the database that is at this URL.
    pub(super) fn to_postgres(url: &str) -> Self {
        let (_, folder) = url.split_once("?host=").unwrap();
        Self::to(&Path::new(folder).join(".s.PGSQL.5432"))
    }

    /// Where a gate finds Redis by it.
    pub(super) fn redis(&self) -> String {
        format!("redis+unix://{}/redis.sock", self.folder.path().display())
    }

    /// Where a gate finds by it the database that is at this URL.
    pub(super) fn postgres(&self, url: &str) -> String {
        let (database, _) = url.split_once("?host=").unwrap();
        format!("{database}?host={}", self.folder.path().display())
    }

    pub(super) fn cut(&self) {
        self.state.takes.send_replace(None);
    }

    pub(super) fn slow(&self, ms: u64) {
        self.state.takes.send_replace(Some(Duration::from_millis(ms)));
    }

    pub(super) fn mend(&self) {
        self.slow(0);
    }

    /// Does this while of all requests that it makes one gets to the server, after so many that are
    /// answered, and its answer nowhere: the connection is gone. Gives whether there was one.
    pub(super) async fn lose_after<T>(
        &self,
        answered: u32,
        act: impl Future<Output = T>,
    ) -> (T, bool) {
        *self.state.answered.lock().unwrap() = Some(answered);
        let done = act.await;
        (done, self.state.answered.lock().unwrap().take().is_none())
    }
}

impl State {
    async fn connect(&self, client: UnixStream, server: UnixStream) {
        let (mut up, mut down) = (client.into_split(), server.into_split());
        let (mut cut, loses) = (self.takes.subscribe(), AtomicBool::new(false));
        // When the server has the request, whatever comes back is not for anybody.
        let asked = |request: &[u8]| {
            loses.fetch_or(self.is_last(request), Ordering::SeqCst);
        };
        let passes = || !loses.load(Ordering::SeqCst);
        tokio::select! {
            () = self.carry(&mut up.0, &mut down.1, || true, asked) => {}
            () = self.carry(&mut down.0, &mut up.1, passes, |_| ()) => {}
            _ = cut.wait_for(Option::is_none) => {}
        }
    }

    /// Is the answer to this request to be lost?
    fn is_last(&self, request: &[u8]) -> bool {
        if request.windows(HEARING.len()).any(|window| window == HEARING) {
            return false;
        }
        let mut answered = self.answered.lock().unwrap();
        let before = *answered;
        *answered = before.and_then(|more| more.checked_sub(1));
        before == Some(0)
    }

    /// Carries octets in one direction, as slowly as it is told, until some may not pass.
    async fn carry(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        passes: impl Fn() -> bool,
        passed: impl Fn(&[u8]),
    ) {
        let mut octets = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut octets).await {
            let takes = self.takes.borrow().unwrap_or_default();
            let _ = tokio::time::timeout(takes, std::future::pending::<()>()).await;
            if !passes() || to.write_all(&octets[..count]).await.is_err() {
                return;
            }
            passed(&octets[..count]);
        }
    }
}
