//! Who waits where there are more threads to run than cores.
//!
//! Carrying requests comes first: it takes microseconds, and whoever is signed in waits for it.
//! The office gives way to it, because what it does is seldom and takes longer. Hashing stands back
//! behind both, because strangers can ask for any amount of it.
//!
//! A matter of Linux, where each thread has a priority of its own; elsewhere nothing is changed.

/// How far the office gives way, in steps of `nice`.
pub const OFFICE: i32 = 5;

/// How far hashing gives way where it must not stand back altogether. With this a thread gets about
/// a thirtieth of a core that a worker wants too.
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

/// Has the calling thread run only when nothing else does on its core, and be interrupted at once
/// by what else there is (`SCHED_IDLE`, sched(7)). Priorities alone do not do that: since Linux 6.6
/// whoever runs goes on for a millisecond or so, however low. Where a sandbox forbids it, the thread
/// gives way as far as [`HASHING`] says.
pub fn stand_back() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::ThreadPriority::Min;
        use thread_priority::unix::{
            NormalThreadSchedulePolicy::Idle, ThreadSchedulePolicy::Normal,
            set_thread_priority_and_policy, thread_native_id,
        };
        let _ = set_thread_priority_and_policy(thread_native_id(), Min, Normal(Idle));
    }
    give_way(HASHING);
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_stands_back_alone() {
        use thread_priority::unix::{
            NormalThreadSchedulePolicy::Idle, ThreadSchedulePolicy::Normal, thread_schedule_policy,
        };

        let now = || thread_schedule_policy().unwrap();
        let before = now();
        let stood_back = std::thread::spawn(move || {
            stand_back();
            now()
        });
        // A sandbox may forbid it to everybody.
        let may = std::process::Command::new("chrt").args(["--idle", "0", "true"]).output();
        let may = may.unwrap().status.success();
        assert_eq!(stood_back.join().unwrap(), if may { Normal(Idle) } else { before });
        assert_eq!(now(), before);
    }
}
