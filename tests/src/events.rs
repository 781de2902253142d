//! What the gates of this process write to the log besides the access log.

use std::sync::OnceLock;

use doorward::log::{LogSink, MemoryLog};

/// Events of every gate in this process, down to debug, as JSON lines.
pub struct Events {
    log: MemoryLog,
    sink: LogSink,
}

/// The events from the first call on. Tests run side by side, so a test picks its own by request,
/// account or session.
///
/// # Panics
/// When the thread that gathers them cannot be started.
pub fn events() -> &'static Events {
    static EVENTS: OnceLock<Events> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let log = MemoryLog::default();
        let sink = LogSink::new(log.clone()).unwrap();
        sink.install("debug");
        Events { log, sink }
    })
}

impl Events {
    /// All lines so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.sink.flush();
        self.log.text()
    }

    /// All events so far of which `member` is `value`.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn with(&self, member: &str, value: &str) -> Vec<serde_json::Value> {
        let text = self.text();
        let events = text.lines().map(|line| {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap_or_else(|_| panic!("{line:?} is not JSON"))
        });
        events.filter(|event| event[member] == value).collect()
    }
}
