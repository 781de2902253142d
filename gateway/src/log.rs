//! Where log lines go: a thread of its own, behind a bounded queue.
//!
//! A sink that is slow or full must not stop serving: what does not fit the queue is dropped and
//! counted, and the count is a metric.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Batches that may wait for the sink.
const QUEUE: usize = 512;

/// Octets that may wait for it.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Takes lines from anywhere without waiting. Clones write to the same sink.
#[derive(Clone)]
pub struct LogSink {
    queue: SyncSender<Message>,
    /// Octets that wait.
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    /// Sets the level of events; empty before [`Self::install`].
    level: Arc<OnceLock<SetLevel>>,
}

/// Has events written from this level up.
type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

enum Message {
    Lines(String),
    /// Answer when everything before this is written.
    Flush(SyncSender<()>),
}

impl LogSink {
    /// Writes to `output`, on a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let waiting = Arc::<AtomicUsize>::default();
        let written = Arc::clone(&waiting);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&messages, output, &written))?;
        Ok(Self { queue, waiting, dropped: Arc::default(), level: Arc::default() })
    }

    /// Hands over whole lines, or counts them as dropped.
    pub(crate) fn send(&self, lines: String) {
        if lines.is_empty() {
            return;
        }
        if self.waiting.fetch_add(lines.len(), Ordering::Relaxed) > QUEUE_BYTES {
            self.drop_lines(&lines);
        } else if let Err(
            TrySendError::Full(Message::Lines(lines))
            | TrySendError::Disconnected(Message::Lines(lines)),
        ) = self.queue.try_send(Message::Lines(lines))
        {
            self.drop_lines(&lines);
        }
    }

    /// Counts lines that do not come to wait.
    fn drop_lines(&self, lines: &str) {
        self.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
        self.dropped.fetch_add(lines.matches('\n').count() as u64, Ordering::Relaxed);
    }

    /// How many lines did not fit.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until what was handed over is written, but no longer than a second.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }

    /// Sends events to this sink as JSON lines, from `level` up. Called once, by `main`.
    pub fn install(&self, level: &str) {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_current_span(false)
            .with_env_filter(filter(level))
            .with_writer(self.clone())
            .with_filter_reloading();
        let handle = subscriber.reload_handle();
        // A second call finds a subscriber already there, which then stays.
        if tracing::subscriber::set_global_default(subscriber.finish()).is_ok() {
            // It fails when the subscriber is gone, and then there are no events.
            let _ = self.level.set(Box::new(move |level| drop(handle.reload(filter(level)))));
        }
    }

    /// Writes events from this level up from now on.
    pub(crate) fn set_level(&self, level: &str) {
        if let Some(set) = self.level.get() {
            set(level);
        }
    }
}

/// Of HTTP/2 the errors only: a client can have a warning written for each of its frames. Of the
/// library that reads answers of keys nothing: anybody can send one that it calls an error.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!(
        "{level},sqlx=warn,hyper=warn,h2=error,rustls=warn,webauthn_rs_core=off"
    ))
}

fn write_all(messages: &Receiver<Message>, mut output: impl Write, waiting: &AtomicUsize) {
    while let Ok(message) = messages.recv() {
        match message {
            // Nobody is left to tell of a closed output; later lines may find it open again.
            Message::Lines(lines) => {
                drop(output.write_all(lines.as_bytes()).and_then(|()| output.flush()));
                waiting.fetch_sub(lines.len(), Ordering::Relaxed);
            }
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = EventWriter;

    fn make_writer(&'a self) -> EventWriter {
        EventWriter { sink: self.clone(), line: String::new() }
    }
}

/// Gathers one event, which is handed over when it is complete.
pub struct EventWriter {
    sink: LogSink,
    line: String,
}

impl Write for EventWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        self.sink.send(std::mem::take(&mut self.line));
    }
}

/// Keeps what is written, for tests that read a log.
#[derive(Clone, Default)]
pub struct MemoryLog(Arc<Mutex<Vec<u8>>>);

impl MemoryLog {
    /// Everything so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for MemoryLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that nobody reads.
    struct Blocked(Receiver<()>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn n09_a_blocked_output_drops_and_counts() {
        let (_keep, never) = sync_channel(0);
        let sink = LogSink::new(Blocked(never)).unwrap();
        for _ in 0..QUEUE + 100 {
            sink.send("a\nb\n".into());
        }
        // One batch is in the hands of the writer, or still counts against the queue.
        assert!((198..=200).contains(&sink.dropped()), "{}", sink.dropped());
    }

    #[test]
    fn n09_a_blocked_output_holds_so_many_octets_and_no_more() {
        let (_keep, never) = sync_channel(0);
        let sink = LogSink::new(Blocked(never)).unwrap();
        let batch = format!("{}\n", "a".repeat(QUEUE_BYTES / 16));
        for _ in 0..20 {
            sink.send(batch.clone());
        }
        assert_eq!(sink.dropped(), 4, "sixteen wait, the first that is too much among them");
        assert!(sink.waiting.load(Ordering::Relaxed) <= QUEUE_BYTES + batch.len());
    }

    #[test]
    fn what_is_flushed_is_written() {
        let memory = MemoryLog::default();
        let sink = LogSink::new(memory.clone()).unwrap();
        sink.send("a\n".into());
        sink.flush();
        assert_eq!(memory.text(), "a\n");
    }
}
