use std::path::Path;

use super::*;
use crate::GatewayConfig;

fn parse(tables: &str) -> Result<Notify, String> {
    let text = format!(
        "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x.db\"\n{tables}"
    );
    let config = GatewayConfig::parse(&text, Path::new("/"));
    config.map(|config| config.notify).map_err(|problems| {
        let told = problems.iter().map(|problem| format!("{} {}", problem.key, problem.reason));
        told.collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn l05_there_is_no_way_to_send_in_clear() {
    let smtp = "[notify.smtp]\nhost = \"mail.example.com\"\nfrom = \"gate@example.com\"\n";
    for (tables, expected) in [
        (format!("{smtp}tls = \"none\""), "notify.smtp.tls \"none\" is not a choice"),
        (format!("{smtp}tls = \"opportunistic\""), "notify.smtp.tls"),
        (
            "[notify.webhook]\nurl = \"http://hooks.example.com/\"".into(),
            "notify.webhook.url \"http://hooks.example.com/\" is not the URL of a service.",
        ),
        (
            "[notify.text_message]\nurl = \"https://sms.example.com/\"".into(),
            "notify.text_message.secret_file is missing.",
        ),
        (format!("{smtp}user = \"gate\""), "notify.smtp.password_file is missing."),
        (format!("{smtp}password_env = \"PATH\""), "notify.smtp.user is missing."),
        (format!("[notify]\noutbox_dir = \"x\"\n{smtp}"), "notify.outbox_dir is given, and smtp"),
        ("[notify]\nretry_first = \"1h\"".into(), "notify.retry_first is more than retry_max."),
        (
            "[notify.smtp]\nhost = \"a b\"\nfrom = \"A <gate@example.com>\"".into(),
            "notify.smtp.from \"A <gate@example.com>\" is not an address.",
        ),
        (format!("{smtp}from_name = \"a\\r\\nBcc: x\""), "notify.smtp.from_name has control"),
    ] {
        let told = parse(&tables).unwrap_err();
        assert!(told.contains(expected), "{tables}: {told}");
    }
}

#[test]
fn p01_a_server_has_the_port_of_its_kind_and_a_password_that_is_not_printed() {
    let smtp = "[notify.smtp]\nhost = \"mail.example.com\"\nfrom = \"gate@example.com\"\n";
    assert_eq!(parse(smtp).unwrap().smtp.unwrap().port, 587);
    let implicit =
        parse(&format!("{smtp}tls = \"implicit\"\nuser = \"gate\"\npassword_env = \"PATH\""));
    let smtp = implicit.unwrap().smtp.unwrap();
    assert_eq!((smtp.port, smtp.tls), (465, SmtpTls::Implicit));
    assert!(!format!("{smtp:?}").contains(smtp.credentials.as_ref().unwrap().1.expose()));
    let nothing = parse("").unwrap();
    assert!(nothing.smtp.is_none() && nothing.outbox_dir.is_none());
}
