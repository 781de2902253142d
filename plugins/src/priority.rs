//! Who waits where there are more threads to run than cores.
//!
//! Carrying requests comes first: it takes microseconds, and whoever is signed in waits for it.
//! The office gives way to it, because what it does is seldom and takes longer. Hashing gives way
//! to both, because strangers can ask for any amount of it.
//!
//! A matter of Linux, where each thread has a priority of its own; elsewhere nothing is changed.

/// How far the office gives way, in steps of `nice`.
pub const OFFICE: i32 = 5;

/// How far hashing gives way. With this a thread gets about a thirtieth of a core that a worker
/// wants too, and is interrupted at once when the worker has something to do.
pub const HASHING: i32 = 15;

/// The lowest priority there is (setpriority(2)).
const STEPS_MAX: i32 = 19;

/// Makes the calling thread give way to those of the priority that the process was started with.
/// Whether it works changes nothing but who waits, so a failure is none.
pub fn give_way(steps: i32) {
    if cfg!(target_os = "linux") {
        // A thread begins with the priority of the one that starts it; the first keeps its own.
        let first = rustix::process::getpid();
        let own = rustix::process::getpriority_process(Some(first)).unwrap_or(0);
        let _ = rustix::process::setpriority_process(None, (own + steps).min(STEPS_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_way_alone_and_as_far_as_it_says() {
        let now = || rustix::process::getpriority_process(None).unwrap();
        let before = now();
        let given = std::thread::spawn(move || {
            // Not one on top of the other.
            give_way(OFFICE);
            give_way(HASHING);
            now()
        });
        if cfg!(target_os = "linux") {
            assert_eq!(given.join().unwrap(), (before + HASHING).min(STEPS_MAX));
        }
        assert_eq!(now(), before);
    }
}
