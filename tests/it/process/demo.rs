//! `doorward demo`: one command, and there is something to sign in to.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use doorward_tests::{Browser, Scratch, process};
use http::StatusCode;

/// How long a start may take. It is done in less than two seconds on a quiet machine.
const START_MAX: Duration = Duration::from_secs(10);

/// A running example; killed when dropped.
struct Demo {
    child: Child,
    address: SocketAddr,
    /// Account, sub-user and password, as printed.
    accounts: Vec<[String; 3]>,
}

impl Demo {
    fn start(data: &Path) -> Self {
        let mut command = Command::new(process::binary());
        command.args(["demo", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines): (_, Receiver<String>) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut said = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "a person waits for this")]
        let begun = std::time::Instant::now();
        while !said.last().is_some_and(|line: &String| line.contains("Ctrl-C")) {
            let left = START_MAX.saturating_sub(begun.elapsed());
            said.push(
                lines.recv_timeout(left).unwrap_or_else(|_| panic!("it said only {said:#?}")),
            );
        }
        let url = said.iter().find_map(|line| line.split_once("https://localhost:")).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], url.1.parse().unwrap()));
        let accounts = said.iter().skip_while(|line| !line.contains("password")).skip(1);
        let accounts = accounts
            .map_while(|line| {
                // The key of the app follows.
                let words: Vec<_> = line.split_whitespace().take(3).map(str::to_owned).collect();
                words.try_into().ok()
            })
            .collect();
        Self { child, address, accounts }
    }

    fn browser(&self, data: &Path) -> Browser {
        let mut browser = Browser::new(self.address, "localhost", Some(data.join("ca.pem")));
        browser.fields.push(("accept".into(), "application/json".into()));
        browser
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_example_runs_and_a_printed_password_signs_in() {
    let scratch = Scratch::new();
    let data = scratch.path().join("demo");
    let demo = Demo::start(&data);
    assert!(demo.accounts.len() >= 2, "{:?}", demo.accounts);
    assert!(demo.accounts.iter().any(|[_, sub_user, _]| sub_user != "-"), "{:?}", demo.accounts);
    let mut stranger = demo.browser(&data);
    let public = stranger.get("/public/hello").await;
    assert_eq!(
        (public.status, &public.json()["claims"]),
        (StatusCode::OK, &"nobody is signed in".into())
    );
    assert_eq!(stranger.get("/api/orders").await.status, StatusCode::UNAUTHORIZED);
    for [account, sub_user, password] in &demo.accounts {
        let name = if sub_user == "-" { account.clone() } else { format!("{account}/{sub_user}") };
        let mut person = demo.browser(&data);
        let answer = person.try_sign_in(&name, password).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text());
        let seen = person.get("/api/orders").await.json();
        assert_eq!(seen["claims"]["account"], **account, "{seen}");
        assert_eq!(seen["claims"]["aud"], "console");
    }
    let first = demo.accounts.clone();
    drop(demo);
    let again = Demo::start(&data);
    assert_eq!(again.accounts, first, "a second start keeps the accounts");
    let [account, _, password] = &first[0];
    assert_eq!(again.browser(&data).try_sign_in(account, password).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a17_p05_the_example_has_passwords_of_its_own_and_keeps_them_private() {
    use std::os::unix::fs::PermissionsExt;
    let (one, two) = (Scratch::new(), Scratch::new());
    let passwords = |demo: &Demo| {
        demo.accounts.iter().map(|[_, _, password]| password.clone()).collect::<Vec<_>>()
    };
    let (first, second) = (Demo::start(&one.path().join("d")), Demo::start(&two.path().join("d")));
    for password in passwords(&first) {
        assert!(password.len() >= 20 && !passwords(&second).contains(&password), "{password}");
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let data = one.path().join("d");
    assert_eq!(mode(&data), 0o700);
    let names = ["accounts.json", "key.pem", "doorward.db", "doorward.toml", "demo.log"];
    for name in names {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    drop(first);
    for name in ["doorward.toml", "demo.log"] {
        let (file, elsewhere) = (data.join(name), one.path().join("elsewhere"));
        std::fs::write(&elsewhere, "precious").unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        // The address is no loopback one, which is said before anything is done.
        let words = ["demo", "--listen", "0.0.0.0:0", "--data", data.to_str().unwrap()];
        let (_, stderr) = super::ended(&process::run(&words, ""), 74);
        assert!(stderr.contains("warning: others can reach 0.0.0.0:"), "{stderr}");
        assert!(stderr.contains(&format!("{name}: is a symbolic link")), "{stderr}");
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "precious");
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "").unwrap();
    }
}

#[tokio::test]
async fn a_second_example_over_the_same_folder_leaves_the_first_alone() {
    let scratch = Scratch::new();
    let data = scratch.path().join("demo");
    let demo = Demo::start(&data);
    let before = std::fs::read(data.join("doorward.toml")).unwrap();
    let words = ["demo", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let (_, stderr) = super::ended(&process::run(&words, ""), 74);
    assert!(stderr.contains("in use by another process"), "{stderr}");
    assert_eq!(std::fs::read(data.join("doorward.toml")).unwrap(), before);
    assert_eq!(demo.browser(&data).get("/public/hello").await.status, StatusCode::OK);
}
