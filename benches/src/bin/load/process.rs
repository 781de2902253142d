//! Servers as child processes: started, watched, charged for their CPU time, stopped.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

/// How to start a server.
pub(crate) struct Spec<'a> {
    pub(crate) name: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [&'a str],
    /// Its working directory, and where its output goes.
    pub(crate) directory: &'a Path,
    /// The cores it may use, as `taskset` reads them.
    pub(crate) cores: Option<&'a str>,
}

/// A running server, stopped when dropped.
pub(crate) struct Server {
    name: String,
    child: Child,
    errors: PathBuf,
}

impl Server {
    /// Starts the server. It dies with this process, however this process ends.
    pub(crate) fn start(spec: &Spec<'_>) -> Self {
        let output = |name: &str| {
            fs::File::create(spec.directory.join(name)).expect("a file for the server's output")
        };
        let child = pinned(spec.cores, &["setpriv", "--pdeathsig", "TERM", "--"])
            .arg(spec.program)
            .args(spec.arguments)
            .current_dir(spec.directory)
            .stdin(Stdio::null())
            .stdout(output("stdout.log"))
            .stderr(output("stderr.log"))
            .spawn()
            .expect("the server starts");
        Self { name: spec.name.to_owned(), child, errors: spec.directory.join("stderr.log") }
    }

    /// Waits for `ready`; a server that dies or never gets there ends the bench.
    pub(crate) fn wait_until(&self, what: &str, ready: impl Fn() -> bool) {
        // As long as loading a million sessions may take on a busy machine.
        let outcome = within(Duration::from_secs(120), || {
            if ready() {
                return Some(true);
            }
            (!self.runs()).then_some(false)
        });
        if outcome != Some(true) {
            let errors = fs::read_to_string(&self.errors).unwrap_or_default();
            panic!("{} did not get to where {what}; its standard error:\n{errors}", self.name);
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time of the process and all below it since they started.
    pub(crate) fn cpu(&self) -> Cpu {
        assert!(self.runs(), "{} died", self.name);
        let mut total = Cpu::default();
        for (_, stat) in family(self.child.id()) {
            total.user += stat.user;
            total.system += stat.system;
        }
        total
    }

    /// The memory of the process and all below it in bytes: what is theirs alone, and their share
    /// of what is shared. The kernel's buffers are not part of it.
    pub(crate) fn memory(&self) -> u64 {
        assert!(self.runs(), "{} died", self.name);
        let share = |pid: u32| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            proportional_share(&rollup)
        };
        family(self.child.id()).into_iter().filter_map(|(pid, _)| share(pid)).sum()
    }

    /// Its memory once it has come to rest: five readings in a row within half a percent.
    pub(crate) fn memory_at_rest(&self) -> u64 {
        let mut readings = Vec::new();
        let rest = within(Duration::from_secs(20), || {
            pause(Duration::from_millis(190));
            readings.push(self.memory());
            let last = readings.last_chunk::<5>()?;
            let (least, most) = (last.iter().min()?, last.iter().max()?);
            (most - least <= most / 200).then_some(last[4])
        });
        rest.unwrap_or_else(|| panic!("the memory of {} does not come to rest", self.name))
    }

    /// How many sockets the process and all below it have open.
    pub(crate) fn sockets(&self) -> usize {
        let of = |pid: u32| {
            let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
            let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
            Some(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
        };
        family(self.child.id()).into_iter().filter_map(|(pid, _)| of(pid)).sum()
    }

    fn runs(&self) -> bool {
        Stat::of(self.child.id()).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let family = family(self.child.id());
        signal("-TERM", self.child.id());
        let gone = within(Duration::from_secs(10), || self.child.try_wait().ok().flatten());
        if gone.is_none() {
            eprintln!("{} did not stop in time and is killed", self.name);
            for (pid, _) in family {
                signal("-KILL", pid);
            }
            drop(self.child.wait());
        }
    }
}

fn signal(signal: &str, pid: u32) {
    drop(Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status());
}

/// A command that runs on the given cores only.
pub(crate) fn pinned(cores: Option<&str>, command: &[&str]) -> Command {
    let taskset = cores.map(|cores| ["taskset", "--cpu-list", cores]);
    let mut words = taskset.iter().flatten().chain(command);
    let mut pinned = Command::new(words.next().expect("a command"));
    pinned.args(words);
    pinned
}

/// Which cores the measured proxy gets, and which everything else.
#[derive(Clone, Default)]
pub(crate) struct Cores {
    pub(crate) proxy: Option<String>,
    pub(crate) others: Option<String>,
}

impl Cores {
    /// The first core we may use for the proxy, the rest for the others.
    pub(crate) fn split() -> Self {
        // As they were at first: this process pins itself, and runs several scenarios.
        static FIRST: LazyLock<Cores> = LazyLock::new(Cores::found);
        FIRST.clone()
    }

    fn found() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("this process's status");
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let mut cores = expand(list.expect("the cores this process may use").trim()).into_iter();
        let proxy = cores.next();
        let others: Vec<String> = cores.collect();
        if others.is_empty() {
            return Self::default();
        }
        Self { proxy, others: Some(others.join(",")) }
    }
}

/// Keeps this process and what it starts on these cores, unless it is told otherwise.
pub(crate) fn pin_self(cores: &str) {
    let own = std::process::id().to_string();
    let arguments = ["--all-tasks", "--cpu-list", "--pid", cores, &own];
    let output = Command::new("taskset").args(arguments).output().expect("taskset runs");
    assert!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
}

/// How many files this process may open, and so may those that it starts.
pub(crate) fn files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("this process's limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).expect("a limit of files");
    soft.parse().unwrap_or(usize::MAX)
}

/// The line `Pss:` of a `smaps_rollup`, in bytes.
fn proportional_share(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// `0-2,5` as its members.
fn expand(list: &str) -> Vec<String> {
    let mut cores = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let [first, last] = [first, last].map(|core| core.parse::<u32>().expect("a core"));
        cores.extend((first..=last).map(|core| core.to_string()));
    }
    cores
}

/// The CPU time of this process and of the children it has waited for.
pub(crate) fn own_cpu() -> u64 {
    let stat = Stat::of(std::process::id()).expect("this process");
    stat.user + stat.system + stat.ended
}

/// CPU time in clock ticks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: u64,
    pub(crate) system: u64,
}

impl Cpu {
    /// User and system time together.
    pub(crate) fn total(self) -> u64 {
        self.user + self.system
    }

    /// What was spent since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        let spent = |now: u64, then: u64| {
            now.checked_sub(then).expect("CPU time only grows, unless a worker was replaced")
        };
        Self { user: spent(self.user, before.user), system: spent(self.system, before.system) }
    }
}

/// Clock ticks per second, the unit of `/proc/PID/stat`.
pub(crate) fn ticks_per_second() -> f64 {
    let output = Command::new("getconf").arg("CLK_TCK").output().expect("getconf runs");
    let text = String::from_utf8(output.stdout).expect("a number");
    text.trim().parse().expect("a number")
}

/// What `/proc/PID/stat` says that matters here.
struct Stat {
    parent: u32,
    state: char,
    user: u64,
    system: u64,
    /// What children that ended had spent.
    ended: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command may hold spaces and parentheses, so count from the last one.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            user: ticks(11)?,
            system: ticks(12)?,
            ended: ticks(13)? + ticks(14)?,
        })
    }
}

/// A process and everything below it.
fn family(root: u32) -> Vec<(u32, Stat)> {
    let mut others: Vec<(u32, Stat)> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::of(pid)?)))
        .collect();
    let mut family: Vec<(u32, Stat)> = others.extract_if(.., |(pid, _)| *pid == root).collect();
    let mut at = 0;
    while let Some(parent) = family.get(at).map(|(pid, _)| *pid) {
        family.extend(others.extract_if(.., |(_, stat)| stat.parent == parent));
        at += 1;
    }
    family
}

/// Free loopback ports, all different.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    held.each_ref().map(|listener| listener.local_addr().expect("its address").port())
}

/// Asks every few milliseconds until there is an answer or the time is up.
fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if now() >= deadline {
            return None;
        }
        pause(Duration::from_millis(10));
    }
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "a bench lives in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "other processes give no sign to wait for")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_with_a_nasty_name() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 101 0 0 0 15 9 3 4 20 0 1 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.state), (7, 'S'));
        assert_eq!((stat.user, stat.system, stat.ended), (15, 9, 7));
    }

    #[test]
    fn finds_itself_in_its_family() {
        let own = std::process::id();
        assert!(family(own).iter().any(|(pid, _)| *pid == own));
    }

    #[test]
    fn reads_the_share_of_memory() {
        let rollup = "5500-7fff ---p 00000000 00:00 0 [rollup]\nRss:  9 kB\nPss:       12 kB\n";
        assert_eq!(proportional_share(rollup), Some(12 << 10));
        assert!(files_max() > 0);
    }

    #[test]
    fn expands_core_lists() {
        assert_eq!(expand("0-2,5"), ["0", "1", "2", "5"]);
        assert_eq!(expand("3"), ["3"]);
    }
}
