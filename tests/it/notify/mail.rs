//! Mail: encrypted or not at all, and once.

use doorward_certs::development::DevelopmentCertificate;
use doorward_plugins::notify::{Body, Channel, Message};
use doorward_tests::Scratch;
use doorward_tests::mail::{MailServer, Manners};

use super::*;

/// A gate that sends mail to a server which shows a certificate for these names.
struct Post {
    gate: TestGate,
    server: MailServer,
    owner: PrincipalRecord,
    _scratch: Scratch,
}

async fn post_with(names: &[&str], manners: Manners, known: bool, more: &str) -> Post {
    let scratch = Scratch::new();
    let made = DevelopmentCertificate::ensure(scratch.path(), names).unwrap();
    let server = MailServer::start(made.tls.clone(), manners).await;
    let ca = if known { format!("ca_file = {:?}\n", made.ca_file) } else { String::new() };
    let gate = gate(&format!(
        "[notify]\nretry_first = \"5s\"\n[notify.smtp]\nhost = \"localhost\"\nport = {}\n\
         from = \"gate@example.com\"\nfrom_name = \"Tür, \\\"the\\\" Gate\"\ntimeout = \"400ms\"\n{ca}{more}\n",
        server.address.port()
    ))
    .await;
    let owner = alice(&gate).await;
    Post { gate, server, owner, _scratch: scratch }
}

async fn post(manners: Manners) -> Post {
    post_with(&["localhost"], manners, true, "").await
}

impl Post {
    async fn tell(&self) {
        tell(&self.gate, &self.owner).await;
        self.gate.deliver().await;
    }

    /// Time passes, and what is due is tried.
    async fn later(&self) {
        self.gate.clock.advance(A_WHILE);
        self.gate.deliver().await;
    }
}

#[tokio::test]
async fn l05_a_server_without_starttls_gets_no_mail() {
    let post = post(Manners { starttls: false, ..Manners::default() }).await;
    post.tell().await;
    assert!(post.server.mails().is_empty());
    // Neither whom it is for, nor a password: nothing but a greeting.
    assert_eq!(post.server.clear(), ["EHLO console.example.com"]);
    post.later().await;
    assert!(post.server.mails().is_empty(), "nor when it is asked again");
    post.server.behave(Manners::default());
    post.later().await;
    post.later().await;
    assert_eq!(post.server.mails().len(), 1, "once it is safe the mail goes, once");
}

#[tokio::test]
async fn l05_what_somebody_puts_behind_the_answer_to_starttls_ends_it() {
    let injected = "250-evil\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 queued\r\n";
    let post = post(Manners { injected, ..Manners::default() }).await;
    post.tell().await;
    assert!(post.server.mails().is_empty() && post.server.encrypted().is_empty());
    post.server.behave(Manners::default());
    post.later().await;
    assert_eq!(post.server.mails().len(), 1, "it was not taken for accepted");
}

#[tokio::test]
async fn l04_a_server_that_cannot_prove_who_it_is_gets_nothing() {
    for implicit in [false, true] {
        let tls = if implicit { "tls = \"implicit\"" } else { "" };
        for (names, known) in [(&["localhost"], false), (&["mail.example.com"], true)] {
            let manners = Manners { implicit, ..Manners::default() };
            let post = post_with(names, manners, known, tls).await;
            post.tell().await;
            post.later().await;
            assert!(post.server.connections() >= 2, "it was asked");
            assert!(post.server.mails().is_empty() && post.server.encrypted().is_empty());
        }
        let manners = Manners { implicit, ..Manners::default() };
        let post = post_with(&["localhost"], manners, true, tls).await;
        post.tell().await;
        assert_eq!(post.server.mails().len(), 1, "implicit: {implicit}");
    }
}

#[tokio::test]
async fn a_password_is_told_to_the_right_server_under_tls_alone() {
    let scratch = Scratch::new();
    let file = scratch.path().join("password");
    std::fs::write(&file, "s3cret-of-mail\n").unwrap();
    let more = format!("user = \"gate\"\npassword_file = {file:?}");
    let post = post_with(&["localhost"], Manners::default(), true, &more).await;
    post.tell().await;
    assert_eq!(post.server.mails().len(), 1);
    // "\0gate\0s3cret-of-mail" in base64 (RFC 4616).
    let said = "AUTH PLAIN AGdhdGUAczNjcmV0LW9mLW1haWw=";
    assert!(
        post.server.encrypted().iter().any(|line| line == said),
        "{:?}",
        post.server.encrypted()
    );
    assert_eq!(post.server.clear(), ["EHLO console.example.com", "STARTTLS"]);
}

#[tokio::test]
async fn g16_what_a_server_does_not_accept_is_sent_again_and_nothing_else() {
    let manners = Manners::default;
    for (does, given, again) in [
        (Manners { recipient: "451 later", ..manners() }, 0, 1),
        (Manners { message: "451 later", ..manners() }, 1, 2),
        (Manners { silent: true, ..manners() }, 0, 1),
        (Manners { recipient: "550 nobody", ..manners() }, 0, 0),
        (Manners { message: "554 spam", ..manners() }, 1, 1),
        // It has the whole message, and whether it accepted it nobody knows.
        (Manners { message: "", ..manners() }, 1, 1),
        (Manners { message: "what?", ..manners() }, 1, 1),
    ] {
        let post = post(does.clone()).await;
        post.tell().await;
        assert_eq!(post.server.mails().len(), given, "{does:?}");
        post.server.behave(Manners::default());
        post.later().await;
        post.later().await;
        assert_eq!(post.server.mails().len(), again, "{does:?}");
    }
}

#[tokio::test]
async fn g16_while_no_server_is_there_messages_wait() {
    let post = post(Manners::default()).await;
    let port = post.server.address.port();
    drop(post.server);
    tell(&post.gate, &post.owner).await;
    post.gate.deliver().await;
    let notify = std::sync::Arc::clone(&post.gate.services().notify);
    let waiting = post.gate.in_office(async move { notify.waiting(Channel::Email).await }).await;
    assert_eq!(waiting.unwrap(), 1, "nobody listens at {port}");
}

/// The head of a mail as lines, long ones put together again (RFC 5322 §2.2.3), and its body.
fn read(mail: &str) -> (Vec<String>, String) {
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    (head.split("\r\n").map(str::to_owned).collect(), body.to_owned())
}

#[tokio::test]
async fn g17_no_name_brings_a_line_into_a_mail() {
    let post = post(Manners::default()).await;
    let factor = "key\r\nBcc: eve@example.com\r\n.\r\nMAIL FROM:<x@y.z>\r\n\r\nhello";
    post.gate.services().alerts.tell(&post.owner, Alert::FactorAdded { factor }, SOMEWHERE).await;
    // What reaches the outbox by whatever mistake.
    let notify = &post.gate.services().notify;
    let subject = "a\r\nBcc: eve@example.com\r\n\r\nb";
    for (to, subject) in [
        ("bob@example.com", subject),
        ("bob@example.com\r\nBcc: eve@example.com", "x"),
        ("bob@example.com> SIZE=1\r\nRCPT TO:<eve@example.com", "x"),
        ("Bob <bob@example.com>, eve@example.com", "x"),
    ] {
        let body = Body::new(to, Language::English, subject.into(), ".\r\n.\r\nx".into());
        let kind = "alert_locked".into();
        let message = Message { channel: Channel::Email, kind, body, expires: None, once: None };
        notify.enqueue(&message).await.unwrap();
    }
    post.gate.deliver().await;
    let mails = post.server.mails();
    assert_eq!(mails.len(), 2, "what has no plain address is not sent: {mails:#?}");
    for mail in &mails {
        let (head, body) = read(mail);
        let mut names: Vec<_> =
            head.iter().map(|line| line.split(':').next().unwrap().to_lowercase()).collect();
        names.sort();
        let expected = [
            "auto-submitted",
            "content-transfer-encoding",
            "content-type",
            "date",
            "from",
            "message-id",
            "mime-version",
            "subject",
            "to",
        ];
        assert!(names.iter().all(|name| expected.contains(&name.as_str())), "{head:#?}");
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{head:#?}");
        assert!(!body.contains("\nBcc"), "{body}");
    }
    let commands = post.server.encrypted();
    assert!(!commands.iter().any(|line| line.contains("eve")), "{commands:?}");
    assert!(mails.iter().any(|mail| mail.contains("To: alice@example.com\r\n")));
    let date = "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n";
    assert!(mails.iter().all(|mail| mail.contains(date)), "by the gate's clock: {mails:#?}");
}
