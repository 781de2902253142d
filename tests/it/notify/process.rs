//! Messages outlive the process.

use doorward_certs::development::DevelopmentCertificate;
use doorward_tests::mail::{MailServer, Manners};
use doorward_tests::process::{Served, configure, run};
use doorward_tests::{Browser, PASSWORD, PUBLIC_HOST, Scratch, eventually};

use super::*;

#[tokio::test]
async fn what_was_in_the_outbox_when_the_gate_was_killed_is_sent_once_by_the_next() {
    let upstream = Upstream::start().await;
    let scratch = Scratch::new();
    let made = DevelopmentCertificate::ensure(scratch.path(), &["localhost"]).unwrap();
    let silent = Manners { silent: true, ..Manners::default() };
    let server = MailServer::start(made.tls.clone(), silent).await;
    let tables = format!(
        "[captcha]\nmode = \"off\"\n[lockout]\ncaptcha_after = 0\nlock_after = 2\n[notify]\nretry_first = \"1s\"\nretry_max = \"1s\"\n\
         [notify.smtp]\nhost = \"localhost\"\nport = {}\nfrom = \"gate@example.com\"\nca_file = {:?}\ntimeout = \"500ms\"\n",
        server.address.port(),
        made.ca_file
    );
    let config = configure(scratch.path(), &upstream.address, &tables);
    let file = config.to_str().unwrap();
    let add = ["account", "add", "alice", "--email", ADDRESS, "--password-stdin", "--config", file];
    let added = run(&add, &format!("{PASSWORD}\n"));
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));

    let mut served = Served::start(&config);
    let mut browser = Browser::new(served.address, PUBLIC_HOST, None);
    for _ in 0..2 {
        browser.try_sign_in("alice", "wrong").await;
    }
    // The server was asked, and has said nothing; the mail waits for another try.
    let delayed = |line: &String| line.contains("message_delayed");
    eventually("a try to send", async || served.log().iter().any(delayed)).await;
    served.kill();
    assert!(server.mails().is_empty());
    server.behave(Manners::default());
    let tried = server.connections();
    let served = Served::start(&config);
    eventually("the mail", async || !server.mails().is_empty()).await;
    assert!(server.mails()[0].contains("Subject: console.example.com: account locked\r\n"));
    // Whatever else were to come would come within the next looks.
    let mut browser = Browser::new(served.address, PUBLIC_HOST, None);
    for _ in 0..50 {
        browser.get("/").await;
    }
    assert_eq!((server.mails().len(), server.connections() > tried), (1, true));
}
