//! PostgreSQL servers, each in a folder of its own, on a socket in it.
//!
//! A shell stands between a test and its server and does what it is told, line by line. When the
//! test's process ends, however that is, its input ends: it stops the server and removes the folder.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// PostgreSQL refuses to run as root. Its programs stand where Debian puts them, or on the path.
const KEEPER: &str = r#"
PATH=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1):$PATH
export PGUSER=gate PGHOST="$0" PGPASSWORD="$1"
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi; }
all() { pkill "-$1" -P "$pid"; kill "-$1" "$pid"; }
start() {
    as postgres -D "$0/data" -k "$0" -c listen_addresses="$address" -c port="$port" -c fsync=off $tls >>"$0/log" 2>&1 &
    until pg_isready --quiet --port="$port"; do kill -0 $! 2>/dev/null || { cat "$0/log" >&2; exit 1; }; sleep 0.05; done
    pid=$(head -1 "$0/data/postmaster.pid")
}
address='' port=5432 tls=''
[ "$(id -u)" != 0 ] || chown -R postgres "$0"
printf %s "$1" >"$0/password"
as initdb --pgdata="$0/data" --username=gate --pwfile="$0/password" --auth=scram-sha-256 --no-sync --encoding=UTF8 --locale=C.UTF-8 >>"$0/log" 2>&1 || cat "$0/log" >&2
start
echo ready
while read -r command what; do
    case $command in
        start) start ;;
        stop) kill -INT "$pid"; wait ;;
        signal) all "$what" ;;
        tls) kill -INT "$pid"; wait; 
            chown postgres "$0/server.key" 2>/dev/null; chmod 600 "$0/server.key"
            address=127.0.0.1 port=$what tls="-c ssl=on -c ssl_cert_file=$0/server.pem -c ssl_key_file=$0/server.key"; start ;;
        sql) psql --quiet --no-align --tuples-only --port="$port" --set=ON_ERROR_STOP=1 "${what%% *}" --command="${what#* }" >/dev/null || exit 1 ;;
    esac
    echo done
done
{ all CONT; kill -QUIT "$pid"; } 2>/dev/null
wait
rm -rf "$0"
"#;

const PASSWORD: &str = "p@ss/word";

/// A running server.
#[derive(Debug)]
pub struct PostgresServer {
    keeper: Child,
    /// What is said to the keeper, and what it answers; nothing when it is to end.
    talk: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    folder: PathBuf,
}

impl PostgresServer {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let name = doorward_plugins::account::fresh_id().expect("randomness");
        let folder = std::env::temp_dir().join(format!("doorward-postgres-{name}"));
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER]).arg(&folder).arg(PASSWORD);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(keeper.stdout.take().unwrap());
        answered(&mut lines, "ready");
        let talk = Mutex::new(Some((keeper.stdin.take().unwrap(), lines)));
        Self { keeper, talk, folder }
    }

    /// The one that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Makes a database; gives the URL at which a gate finds it.
    pub fn database(&self) -> String {
        let name = doorward_plugins::account::fresh_id().expect("randomness").to_lowercase();
        let name = name.replace(['-', '_'], "x");
        self.sql("postgres", &format!("CREATE DATABASE d{name}"));
        format!("postgres://gate:p%40ss%2Fword@/d{name}?host={}", self.folder.display())
    }

    /// Does something in a database as its owner.
    pub fn sql(&self, database: &str, statement: &str) {
        self.tell(&format!("sql {database} {statement}"));
    }

    /// Sends a signal by name to every process of the server, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.tell(&format!("signal {name}"));
    }

    /// Stops it, cutting off who is connected.
    pub fn stop(&self) {
        self.tell("stop");
    }

    /// Starts it again, with all that it had.
    pub fn start_again(&self) {
        self.tell("start");
    }

    /// Lets it listen at this port of 127.0.0.1 too, by TLS as well, with a certificate and its key.
    pub fn listen_with_tls(&self, port: u16, (chain, key): (&str, &str)) {
        std::fs::write(self.folder.join("server.pem"), chain).unwrap();
        std::fs::write(self.folder.join("server.key"), key).unwrap();
        self.tell(&format!("tls {port}"));
    }

    fn tell(&self, command: &str) {
        let mut talk = self.talk.lock().unwrap();
        let (keeper, lines) = talk.as_mut().unwrap();
        writeln!(keeper, "{command}").unwrap();
        answered(lines, "done");
    }
}

fn answered(lines: &mut impl BufRead, with: &str) {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), with, "the server's keeper has said why");
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // A test that failed has perhaps poisoned it.
        drop(self.talk.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        let _ = self.keeper.wait();
    }
}
