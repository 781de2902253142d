//! Real Redis servers, each in a folder of its own, which goes with it: one on a Unix socket, a set
//! with Sentinels, and a Cluster, which speak to each other by ports.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A server that is stopped when this is dropped.
pub struct RedisServer {
    child: Child,
    folder: PathBuf,
    more: Vec<String>,
}

impl RedisServer {
    /// Starts one that forgets everything when it ends.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with these arguments besides.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(more: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "doorward-redis-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let more: Vec<_> = more.iter().map(|&text| text.to_owned()).collect();
        let child = spawn(&folder, &more);
        Self { child, folder, more }
    }

    /// Where a gate reaches it.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    /// Sends it a signal, by name.
    ///
    /// # Panics
    /// When there is no such signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill").success(), "kill -{name}");
    }

    /// Ends it at once, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, in the same folder.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(self.socket());
        self.child = spawn(&self.folder, &self.more);
    }

    /// What it answers to a command, in words.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(command)
            .output()
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &Path, more: &[String]) -> Child {
    let socket = folder.join("redis.sock");
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--daemonize", "no", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(folder)
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    wait_for("PONG", &["-s", &socket.display().to_string(), "ping"]);
    child
}

/// Asks by redis-cli until the answer, on one line, has this in it.
fn wait_for(wanted: &str, arguments: &[&str]) {
    let asking = "wanted=$1; shift; until redis-cli \"$@\" 2>/dev/null | tr -d '\\r' | tr '\\n' ' ' | \
                  grep -qF -- \"$wanted\"; do sleep 0.02; done";
    let mut command = Command::new("timeout");
    let asked = command.args(["60", "sh", "-c", asking, "sh", wanted]).args(arguments).status();
    assert!(asked.expect("a shell").success(), "{arguments:?} never said {wanted}");
}

/// A server that listens at a port of 127.0.0.1.
pub struct RedisNode {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub port: u16,
}

impl RedisNode {
    fn start(folder: &Path, program: &str, arguments: &[&str], port: u16) -> Self {
        let folder = folder.join(port.to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        let config = folder.join("redis.conf");
        let text = format!("port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\n", folder.display());
        std::fs::write(&config, text + &arguments.join("\n") + "\n").expect("its configuration");
        let mut command = Command::new("redis-server");
        command.arg(&config);
        if program == "sentinel" {
            command.arg("--sentinel");
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let node = Self { child: child.expect("redis-server is installed"), folder, port };
        node.wait_for("PONG", &["ping"]);
        node
    }

    /// Where a gate reaches it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to a command, in words.
    ///
    /// # Panics
    /// When there is no redis-cli.
    pub fn ask(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command).output();
        String::from_utf8_lossy(&output.expect("redis-cli").stdout).trim().to_owned()
    }

    /// Returns when its replica has all that it has so far. It must be the one for this key.
    ///
    /// # Panics
    /// When the replica does not get it.
    pub fn replicate(&self, key: &str) {
        self.wait_for("state=online", &["info", "replication"]);
        // `wait` speaks of what was written on the same connection, and all before it.
        let port = self.port.to_string();
        let mut command = Command::new("sh");
        let both = "printf 'set %s 1\\nwait 1 20000\\n' \"$2\" | redis-cli -p \"$1\"";
        let output = command.args(["-c", both, "sh", &port, key]).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["OK", "1"]);
    }

    /// Asks until the answer has this in it.
    ///
    /// # Panics
    /// When it has not for long.
    pub fn wait_for(&self, wanted: &str, command: &[&str]) {
        let port = self.port.to_string();
        wait_for(wanted, &[&["-p", &port], command].concat());
    }

    /// Ends it at once, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisNode {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that nobody has right now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Ports that nobody has right now. The servers' own, of a Cluster's bus, are 10,000 above.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port));
    let mut held = Vec::new();
    while held.len() < COUNT {
        let listener = free(0).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        if let Some(bus) = port.checked_add(10_000).and_then(|bus| free(bus).ok()) {
            held.push((port, listener, bus));
        }
    }
    std::array::from_fn(|index| held.get(index).map_or(0, |(port, ..)| *port))
}

fn fresh_folder(kind: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("doorward-{kind}-{}-{number}", std::process::id()))
}

/// A primary, a replica, and three Sentinels that watch them.
pub struct RedisSet {
    /// The primary and the replica, as they begin.
    pub servers: [RedisNode; 2],
    sentinels: [RedisNode; 3],
    _folder: Folder,
}

impl RedisSet {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let folder = fresh_folder("sentinel");
        let [one, two, a, b, c] = free_ports();
        let primary = RedisNode::start(&folder, "server", &[], one);
        let of = format!("replicaof 127.0.0.1 {one}");
        let replica = RedisNode::start(&folder, "server", &[&of], two);
        replica.wait_for("master_link_status:up", &["info", "replication"]);
        let watch = format!("sentinel monitor gates 127.0.0.1 {one} 2");
        let keys = [
            watch.as_str(),
            "sentinel down-after-milliseconds gates 500",
            "sentinel failover-timeout gates 2000",
        ];
        let sentinels = [a, b, c].map(|port| RedisNode::start(&folder, "sentinel", &keys, port));
        for sentinel in &sentinels {
            sentinel.wait_for("num-slaves 1", &["sentinel", "master", "gates"]);
            sentinel.wait_for("num-other-sentinels 2", &["sentinel", "master", "gates"]);
        }
        Self { servers: [primary, replica], sentinels, _folder: Folder(folder) }
    }

    /// Where the Sentinels are, as TOML writes a list.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisNode::url).collect()
    }
}

/// Three primaries with a replica each.
pub struct RedisCluster {
    /// Its nodes.
    pub nodes: Vec<RedisNode>,
    _folder: Folder,
}

impl RedisCluster {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let folder = fresh_folder("cluster");
        let keys = [
            "cluster-enabled yes",
            "cluster-node-timeout 1000",
            "cluster-replica-validity-factor 0",
            "cluster-require-full-coverage no",
        ];
        let nodes: Vec<_> = free_ports::<6>()
            .into_iter()
            .map(|port| RedisNode::start(&folder, "server", &keys, port))
            .collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let created = create.output().expect("redis-cli");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        for node in &nodes {
            node.wait_for("cluster_state:ok", &["cluster", "info"]);
            node.wait_for("cluster_known_nodes:6", &["cluster", "info"]);
        }
        Self { nodes, _folder: Folder(folder) }
    }

    /// Moves the slot of this key, with all that is in it, to another primary.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn move_to_another(&mut self, key: &str) {
        let port = self.owner(key).port;
        let slots = self.nodes[0].ask(&["cluster", "keyslot", key]);
        let primary = |node: &&RedisNode| node.ask(&["role"]).starts_with("master");
        let (from, to): (Vec<_>, Vec<_>) =
            self.nodes.iter().filter(primary).partition(|node| node.port == port);
        let (Some(from), Some(to)) = (from.first(), to.first()) else { panic!("two primaries") };
        let ids = [from, to].map(|node| node.ask(&["cluster", "myid"]));
        let slot = |node: &RedisNode, what: &[&str]| {
            let said = node.ask(&[&["cluster", "setslot", &slots], what].concat());
            assert_eq!(said, "OK", "{what:?}");
        };
        slot(to, &["importing", &ids[0]]);
        slot(from, &["migrating", &ids[1]]);
        loop {
            let keys = from.ask(&["cluster", "getkeysinslot", &slots, "100"]);
            let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let target = to.port.to_string();
            let head = ["migrate", "127.0.0.1", &target, "", "0", "5000", "keys"];
            assert_eq!(from.ask(&[&head[..], &keys].concat()), "OK");
        }
        for node in [to, from] {
            slot(node, &["node", &ids[1]]);
        }
    }

    /// The node that has this key.
    ///
    /// # Panics
    /// When none has.
    pub fn owner(&mut self, key: &str) -> &mut RedisNode {
        let slot = self
            .nodes
            .iter()
            .find_map(|node| node.ask(&["cluster", "keyslot", key]).parse::<u32>().ok());
        let slot = slot.expect("a slot");
        let asked = self.nodes.iter().map(|node| node.ask(&["cluster", "slots"]));
        let slots = asked.into_iter().find(|slots| !slots.is_empty()).expect("slots");
        let lines: Vec<_> = slots.lines().map(str::trim).collect();
        // From, to, address and port of the primary: what else there is stands behind.
        let port = lines.windows(4).find_map(|four| match four {
            [from, to, "127.0.0.1", port] => {
                let (from, to) = (from.parse::<u32>().ok()?, to.parse::<u32>().ok()?);
                (from..=to).contains(&slot).then(|| port.parse::<u16>().ok())?
            }
            _ => None,
        });
        let port = port.expect("an owner");
        self.nodes.iter_mut().find(|node| node.port == port).expect("that node")
    }
}

/// A folder that goes with what was started in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
