//! The scenario `sessions`: what a million live sessions cost, in time per request and in memory.
//!
//! Three Doorwards: one with few sessions, one with many of which few are in use, and one with many
//! in use; and two more without assertions: where each of a million sessions is seldom met, its
//! assertion has to be signed anew nearly every time, which has a price of its own. Somebody signs in at each; the program
//! `sqlite3` then copies the account and the session that this left in the store, so that whatever
//! a session is made of is in the copies too. Each copy's token is its number, so that the load
//! can name any of them: `wrk` asks with a random one each time, and what a request needs of its
//! session is rarely in the processor's cache.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use doorward_plugins::session::token;

use crate::{
    configs::HOST,
    doorward::{ACCOUNT, COOKIE},
    figures::{self, Limit, Spread, Target, Unit},
    generators::Wrk,
    http::Client,
    options::Options,
    peers::{Peer, Running, Setup},
    report::{Section, Verdict},
    scenarios,
    site::Site,
    trial::{Contender, Trial},
};

const FEW: u32 = 1000;

/// Sessions of one account; half of what one may have by default.
const PER_ACCOUNT: u32 = 10;

/// Activity is written every 3 s, so a measurement has to span one of these.
const SECONDS_MIN: u32 = 3;

/// Bytes that a session may take.
const BYTES_MAX: f64 = 500.0;

/// A session's token: 32 octets in base64url, which decimal digits are part of.
fn token_text(number: u32) -> String {
    format!("{}{number:07}A", "A".repeat(35))
}

fn cookie(number: u32) -> String {
    format!("{COOKIE}={}", token_text(number))
}

/// Measures few sessions beside many.
pub(crate) fn measure(site: &Site, options: &Options) -> Section {
    let many = options.sessions;
    let contenders = [
        ("few", FEW, FEW, true),
        ("many", many, many, true),
        ("quiet", many, FEW, true),
        ("few-plain", FEW, FEW, false),
        ("many-plain", many, many, false),
    ]
    .map(|(name, count, used, asserts)| {
        let running = start(site, name, count, asserts);
        verify(&running, count);
        Contender {
            name: name.into(),
            title: format!(
                "{count} sessions, {used} in use{}",
                if asserts { "" } else { ", no assertion" }
            ),
            generator: Box::new(Wrk {
                script: Some(script(site, name, count, used)),
                ..scenarios::wrk(site, &running, "", "/")
            }),
            cookie: cookie(count / 2),
            path: "/".into(),
            asserts,
            running,
        }
    });
    // Before any load, so that it is the sessions that tell the two apart.
    let [few_bytes, many_bytes, ..] =
        contenders.each_ref().map(|contender| contender.running.server.memory_at_rest());
    let each = many_bytes.saturating_sub(few_bytes) as f64 / f64::from(many - FEW);
    let seconds = options.seconds.max(SECONDS_MIN);
    let rows = Trial { site, options, seconds, contenders: contenders.into() }.run();
    let method = format!(
        "GET, HTTP/1.1 keep-alive, {} connections, each request with a random one of the \
         sessions in use, {PER_ACCOUNT} of each account; {}",
        options.connections,
        scenarios::manner(site, options, seconds)
    );
    let limit = Limit::AtMost(1.1);
    let targets = [("quiet", "few"), ("many", "few"), ("many-plain", "few-plain")];
    let targets = targets.map(|(own, other)| Target { own, other, limit, aim: None });
    let mut section = figures::section("sessions", method, Unit::REQUEST, "few", &rows, &targets);
    section.verdicts.push(Verdict {
        what: "memory of a session".into(),
        figure: Spread::of(vec![each]),
        limit: Limit::AtMost(BYTES_MAX),
        aim: None,
        unit: "bytes",
    });
    section.notes.push(format!(
        "The process has {} MiB with {FEW} sessions and {} MiB with {many}, before any load.",
        few_bytes >> 20,
        many_bytes >> 20
    ));
    section
}

/// A Doorward that starts with so many sessions.
fn start(site: &Site, name: &str, count: u32, asserts: bool) -> Running {
    eprintln!("{name}: making {count} sessions");
    let extra =
        format!("[session]\ntotal_max = {}\n[identity]\nassertion = {asserts}\n", count + 1000);
    let running = Peer::Doorward
        .start(site, &Setup { name, tls: false, store: "", listener: "", extra: &extra });
    running.cookie();
    let installed = running.stop();
    copy_session(&installed.directory.join("doorward.db"), count);
    installed.launch(site)
}

/// Copies the one account, principal and session of the store.
fn copy_session(store: &Path, count: u32) {
    let accounts = count.div_ceil(PER_ACCOUNT);
    let mut child = Command::new("sqlite3")
        .arg("-bail")
        .arg(store)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sqlite3 runs");
    let mut input = std::io::BufWriter::new(child.stdin.take().expect("its standard input"));
    // The columns are not named: copies are of whatever there is, but for what must be unique.
    // Ids are as long as real ones.
    let statements = format!(
        "BEGIN;
CREATE TEMP TABLE number AS
    WITH RECURSIVE upto(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM upto WHERE n < {accounts})
    SELECT n FROM upto;
CREATE TEMP TABLE a AS SELECT account.* FROM account JOIN temp.number;
UPDATE a SET id = printf('a%021d', rowid), name = '{ACCOUNT}' || rowid, name_key = '{ACCOUNT}' || rowid;
CREATE TEMP TABLE p AS SELECT principal.* FROM principal JOIN temp.number;
UPDATE p SET id = printf('p%021d', rowid), account_id = printf('a%021d', rowid);
INSERT INTO account SELECT * FROM a;
INSERT INTO principal SELECT * FROM p;
CREATE TEMP TABLE h (hash BLOB, id TEXT);
"
    );
    input.write_all(statements.as_bytes()).expect("sqlite3 reads");
    let mut line = String::new();
    for number in 0..count {
        let hash = token::hash(token_text(number).as_bytes()).expect("a token");
        line.clear();
        line.push_str(if number % 500 == 0 { ";\nINSERT INTO h VALUES (x'" } else { ",(x'" });
        hash.iter().for_each(|octet| write!(line, "{octet:02x}").expect("memory"));
        write!(line, "','{}')", token::public_id(&hash)).expect("memory");
        input.write_all(line.as_bytes()).expect("sqlite3 reads");
    }
    let statements = format!(
        ";
CREATE TEMP TABLE s AS SELECT session.* FROM session JOIN temp.h;
UPDATE s SET token_hash = (SELECT hash FROM h WHERE h.rowid = s.rowid),
    id = (SELECT id FROM h WHERE h.rowid = s.rowid),
    principal_id = printf('p%021d', 1 + (rowid - 1) / {PER_ACCOUNT});
INSERT INTO session SELECT * FROM s;
COMMIT;
"
    );
    input.write_all(statements.as_bytes()).expect("sqlite3 reads");
    drop(input);
    let status = child.wait().expect("sqlite3 ends");
    assert!(status.success(), "sqlite3: {status}");
}

/// Some of the sessions, first and last included, are live and each its own account's.
fn verify(running: &Running, count: u32) {
    let mut client = Client::open(running.endpoint()).expect("Doorward accepts");
    for number in (0..count).step_by(count as usize / 50).chain([count - 1]) {
        let answer = client.get(crate::configs::ECHO, &cookie(number)).expect("Doorward answers");
        let user = format!("remote={ACCOUNT}{}&", 1 + number / PER_ACCOUNT);
        assert!(answer.body.contains(&user), "session {number}: {}", answer.body);
    }
}

/// Has `wrk` ask with the cookie of a random one of the used sessions each time.
fn script(site: &Site, name: &str, count: u32, used: u32) -> String {
    let path = site.scratch.join(format!("{name}.lua"));
    let head = format!("GET / HTTP/1.1\\r\\nHost: {HOST}\\r\\nCookie: {COOKIE}={}", "A".repeat(35));
    let text = format!(
        "math.randomseed(os.time())\n\
         function request()\n  \
         return string.format(\"{head}%07dA\\r\\n\\r\\n\", math.random(0, {}) * {})\n\
         end\n",
        used - 1,
        count / used
    );
    fs::write(&path, text).expect("the script");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_tokens_and_differ() {
        let hashes = [0, 1, 9_999_999].map(|number| token::hash(token_text(number).as_bytes()));
        assert!(hashes.iter().all(Option::is_some));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
    }
}
