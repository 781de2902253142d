//! A handshake that is long past: resumed, kept open, under other authorities and lists than then.

use std::sync::Arc;

use doorward_plugins::administration::{Reply, Request};
use doorward_plugins::audit::AuditQuestion;
use doorward_tests::certificates::{Authority, Day, tls_config};
use doorward_tests::{PUBLIC_HOST, events, eventually, raw};
use rcgen::{SerialNumber, date_time_ymd};
use rustls::{ClientConfig, HandshakeKind};

use super::{Door, LATER, REVOKED, TLS, nothing, request};

/// Does a resumed handshake with this TLS get through, and what does it ask for then?
async fn resume(door: &Door, listener: usize, config: &ClientConfig) -> Option<u16> {
    let address = door.gate.addresses()[listener];
    let mut stream = raw::tls(address, PUBLIC_HOST, config.clone()).await.ok()?;
    let kind = stream.get_ref().1.handshake_kind();
    let status = request(&mut stream, "/api/x").await;
    assert_eq!(kind, Some(HandshakeKind::Resumed), "{status:?}");
    status
}

#[tokio::test]
async fn l03_a_resumed_connection_is_its_certificates_as_long_as_that_is_good() {
    let door = Door::new().await;
    for version in TLS {
        let ca_file = door.folder.path().join("ca.pem");
        let fresh = |serial: u64, until: Day| {
            let identity = door.authority.vouch("alice", |made| {
                made.serial_number = Some(SerialNumber::from(serial));
                made.not_after = date_time_ymd(until.0, until.1, until.2);
            });
            tls_config(&ca_file, &[version], Some(&identity))
        };
        for listener in [0, 1] {
            let config = fresh(100, LATER);
            assert_eq!(door.ask(listener, &config, "/api/x").await, Some(200), "{version:?}");
            assert_eq!(resume(&door, listener, &config).await, Some(200), "{version:?}");
            assert_eq!(door.upstream.last().all("remote-user"), ["alice"]);
            door.revoke(&[REVOKED, 100], LATER);
            assert_eq!(door.ask(listener, &config, "/api/x").await, None, "revoked, {version:?}");
            door.revoke(&[REVOKED], LATER);
        }
    }
    // Nobody's connection, resumed, is nobody's.
    let nobody = door.tls(None);
    assert_eq!(door.ask(0, &nobody, "/api/x").await, Some(401));
    assert_eq!(resume(&door, 0, &nobody).await, Some(401));
}

#[tokio::test]
async fn l03_a_connection_that_lasts_is_closed_when_its_certificate_is_good_no_more() {
    let door = Door::new().await;
    for (what, serial) in [("revoked", 100), ("expired", 101), ("the list is out of date", 102)] {
        door.revoke(&[REVOKED], (2027, 2, 1));
        let identity = door.authority.vouch("alice", |made| {
            made.serial_number = Some(SerialNumber::from(serial));
            made.not_after = date_time_ymd(2027, 1, 16);
            if serial == 102 {
                made.not_after = date_time_ymd(2030, 1, 1);
            }
        });
        let config = door.tls(Some(&identity));
        let mut kept = raw::tls(door.gate.address(), PUBLIC_HOST, config.clone()).await.unwrap();
        assert_eq!(request(&mut kept, "/api/x").await, Some(200), "{what}");
        let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
        match serial {
            100 => door.revoke(&[REVOKED, 100], (2027, 2, 1)),
            101 => {
                door.gate.clock.advance(hours(16));
                assert_eq!(request(&mut kept, "/api/x").await, Some(200), "its last second");
                door.gate.clock.advance(std::time::Duration::from_secs(1));
            }
            _ => door.gate.clock.advance(hours(24 * 17)),
        }
        let seen = door.upstream.count();
        let status = request(&mut kept, "/api/x").await;
        assert!(matches!(status, None | Some(401)), "{what}: {status:?}");
        assert_eq!(door.upstream.count(), seen, "{what}");
        // Whoever asks nothing is sent away too.
        assert_eq!(raw::rest(&mut kept).await, "", "{what}");
        assert_eq!(door.ask(0, &config, "/api/x").await, None, "{what}");
    }
}

#[tokio::test]
async fn l06_authorities_and_revocation_lists_are_swapped_and_broken_ones_are_not() {
    let door = Door::new().await;
    let config = door.tls(Some(&door.alice()));
    let write = |name: &str, text: &str| {
        std::fs::write(door.folder.path().join(name), text).unwrap();
        door.gate.reload_certificates();
    };
    let list = door.authority.revocations(&[REVOKED], LATER);
    for garbage in ["", "nonsense", "-----BEGIN X509 CRL-----\nnonsense\n", &door.authority.pem] {
        write("crl.pem", garbage);
        assert_eq!(door.ask(0, &config, "/api/x").await, Some(200), "{garbage:?}");
        write("crl.pem", &list);
        write("clients.pem", &garbage.replace("CERTIFICATE", "NOTHING"));
        assert_eq!(door.ask(0, &config, "/api/x").await, Some(200), "{garbage:?}");
        write("clients.pem", &door.authority.pem);
    }
    std::fs::remove_file(door.folder.path().join("crl.pem")).unwrap();
    door.gate.reload_certificates();
    assert_eq!(door.ask(0, &config, "/api/x").await, Some(200), "the old list stays");

    // An authority without a list, or with one that is out of date, proves nothing.
    let other = Authority::new("other");
    write("crl.pem", &other.revocations(&[], LATER));
    assert_eq!(door.ask(0, &config, "/api/x").await, None, "no list of its own");
    write("crl.pem", &door.authority.revocations(&[], (2027, 1, 15)));
    assert_eq!(door.ask(0, &config, "/api/x").await, None, "a list that is out of date");
    assert_eq!(door.ask(0, &door.tls(None), "/public").await, Some(200), "others go on");
    write("crl.pem", &format!("{}{list}", other.revocations(&[], LATER)));
    assert_eq!(door.ask(0, &config, "/api/x").await, Some(200));

    write("clients.pem", &other.pem);
    assert_eq!(door.ask(0, &config, "/api/x").await, None, "an authority that was taken out");
    let theirs = door.tls(Some(&other.vouch("alice", nothing)));
    assert_eq!(door.ask(0, &theirs, "/api/x").await, Some(200));
}

#[tokio::test]
async fn n02_n07_why_a_certificate_was_refused_is_in_the_log() {
    let (door, events) = (Door::new().await, events());
    let revoked = door.authority.vouch("alice", |made| made.serial_number = Some(REVOKED.into()));
    let (good, resumed) = (door.alice(), door.tls(Some(&door.alice())));
    assert_eq!(door.ask(1, &resumed, "/api/x").await, Some(200));
    std::fs::write(door.folder.path().join("clients.pem"), Authority::new("other").pem).unwrap();
    for (config, reason) in [
        (door.tls(Some(&revoked)), "Revoked"),
        (door.tls(None), "no certificates"),
        (resumed, "not good any more"),
        (door.tls(Some(&good)), "UnknownIssuer"),
    ] {
        let told = || {
            let refused = events.with("event", "client_certificate_refused");
            let of =
                |event: &serde_json::Value| event["details"].as_str().unwrap().contains(reason);
            refused.iter().filter(|event| of(event)).count()
        };
        let before = told();
        assert_eq!(door.ask(1, &config, "/api/x").await, None, "{reason}");
        eventually(reason, async || told() > before).await;
        if reason == "no certificates" {
            door.gate.reload_certificates();
        }
    }
    let event = Some("client_certificate_refused".to_owned());
    let question = AuditQuestion { event, limit: 100, ..AuditQuestion::default() };
    let reply = door.gate.ask(Request::AuditList(question)).await.unwrap();
    let Reply::AuditRecords { records, .. } = reply else { panic!("{reply:?}") };
    assert!(records.len() >= 4 && records.iter().all(|record| record.address.is_some()));
}

#[tokio::test]
async fn early_data_is_not_offered() {
    let door = Door::new().await;
    let mut config = door.tls(Some(&door.alice()));
    config.enable_early_data = true;
    assert_eq!(door.ask(0, &config, "/api/x").await, Some(200));
    // What the ticket allows shows before anything is sent.
    let name = PUBLIC_HOST.try_into().unwrap();
    let mut again = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    assert!(again.early_data().is_none());
}
