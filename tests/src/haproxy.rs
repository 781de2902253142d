//! HAProxy in front of gates, as operators have it: it ends TLS, sends each request to the next
//! gate, and says by the PROXY protocol whose it is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};

use doorward_certs::development::DevelopmentCertificate;

use crate::{Browser, PUBLIC_HOST, Scratch};

/// What the listeners of gates behind it need.
pub const BEHIND_HAPROXY: &str = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]";

/// The field of an answer by which it says which gate has answered, by number.
pub const ANSWERED_BY: &str = "x-answered-by";

/// One that is stopped when this is dropped.
pub struct Haproxy {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    ca_file: PathBuf,
    folder: Scratch,
    gates: usize,
}

impl Haproxy {
    /// Starts one in front of these gates.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(gates: &[SocketAddr]) -> Self {
        let folder = Scratch::new();
        let made = DevelopmentCertificate::ensure(folder.path(), &[PUBLIC_HOST]).unwrap();
        let pem =
            [&made.tls.chain_file, &made.tls.key_file].map(|file| std::fs::read(file).unwrap());
        std::fs::write(folder.path().join("haproxy.pem"), pem.concat()).unwrap();
        let servers = gates.iter().enumerate();
        let servers = servers.map(|(number, gate)| format!("    server {number} {gate}\n"));
        let text = format!(
            "global\n    stats socket {folder}/admin.sock level admin\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n\
             frontend public\n    bind fd@3 ssl crt {folder}/haproxy.pem alpn h2,http/1.1\n    default_backend gates\n\
             backend gates\n    balance roundrobin\n    default-server send-proxy-v2-ssl\n    \
             http-response set-header {ANSWERED_BY} %s\n{}",
            servers.collect::<String>(),
            folder = folder.path().display(),
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        // It gets a socket that listens: nobody else can take the port, and who connects before it
        // is ready waits.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let script = "PATH=$PATH:/usr/sbin; exec 3<&0 </dev/null; exec haproxy -q -db -f \"$0\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&file).stdin(OwnedFd::from(socket));
        let child = command.spawn().unwrap();
        Self { child, address, ca_file: made.ca_file, folder, gates: gates.len() }
    }

    /// From now on requests go to these gates only, by number, one after the other.
    ///
    /// # Panics
    /// When it does not take that.
    pub fn send_to(&self, chosen: &[usize]) {
        for gate in 0..self.gates {
            let state = if chosen.contains(&gate) { "ready" } else { "drain" };
            let mut admin = UnixStream::connect(self.folder.path().join("admin.sock")).unwrap();
            admin.write_all(format!("set server gates/{gate} state {state}\n").as_bytes()).unwrap();
            let mut said = String::new();
            admin.read_to_string(&mut said).unwrap();
            assert_eq!(said.trim(), "");
        }
    }

    /// A browser that goes to it.
    #[must_use]
    pub fn browser(&self) -> Browser {
        Browser::new(self.address, PUBLIC_HOST, Some(self.ca_file.clone()))
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
