//! Ends a run in which a story hangs, and says which one: where nobody looks on, such a run would be
//! ended from outside, and nobody would know why.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread::Thread;
use std::time::Duration;

/// How long a story may take: the longest takes a minute on a machine with other things to do.
const STORY_MAX: Duration = Duration::from_secs(600);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is watched, and for how many looks.
static STORIES: Mutex<Vec<(Thread, u32)>> = Mutex::new(Vec::new());

/// Looks as long as the process lives.
static LOOKING: LazyLock<Sender<()>> = LazyLock::new(|| {
    let (held, nothing) = channel::<()>();
    std::thread::spawn(move || {
        while nothing.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            look();
        }
    });
    held
});

/// A story is watched as long as this lives.
#[derive(Debug)]
pub(crate) struct Watched(Option<Thread>);

/// Watches over the story that this thread tells; threads of no story are not watched.
pub(crate) fn watch() -> Watched {
    let thread = std::thread::current();
    // The chaos run takes as long as it is told to.
    #[expect(clippy::disallowed_methods, reason = "it is read where the run is")]
    let is_long = std::env::var("DOORWARD_TEST_CHAOS").is_ok();
    let is_story = thread.name().is_some_and(|name| name.contains("::"));
    if !is_story || is_long {
        return Watched(None);
    }
    LazyLock::force(&LOOKING);
    STORIES.lock().unwrap().push((thread.clone(), 0));
    Watched(Some(thread))
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(thread) = &self.0 {
            let mut stories = STORIES.lock().unwrap();
            let own = stories.iter().position(|(other, _)| other.id() == thread.id());
            own.map(|place| stories.swap_remove(place));
        }
    }
}

fn look() {
    let mut stories = STORIES.lock().unwrap();
    for (_, looks) in stories.iter_mut() {
        *looks += 1;
    }
    let Some((hung, _)) = stories.iter().find(|(_, looks)| LOOK_EVERY * *looks > STORY_MAX) else {
        return;
    };
    let name = hung.name().unwrap_or_default();
    #[expect(clippy::print_stderr, reason = "there is no test to print it for")]
    {
        eprintln!("{name} does not end: the run is given up");
    }
    #[expect(clippy::exit, reason = "the thread that hangs cannot be told")]
    std::process::exit(101);
}
