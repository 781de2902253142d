//! Who asked: a stranger is nobody but the other end of the connection, and the upstream is told
//! of the same client as the gate judged.

use std::net::{IpAddr, SocketAddr};

use doorward::fuzzing::{client, forwarded_fields, parse_host};
use doorward_plugins::Client;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// Takes the first octet for the kind of peer, the first line for an authority and the others for
/// fields.
pub fn check(octets: &[u8]) {
    let Some((kind, rest)) = octets.split_first() else { return };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let authority = lines.next().unwrap_or_default();
    check_host(authority);
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        // One letter is enough for what matters.
        let name = match &line[..colon] {
            b"f" => b"forwarded",
            b"a" => &b"x-forwarded-for"[..],
            b"p" => b"x-forwarded-proto",
            other => other,
        };
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let peers = ["192.0.2.9:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1", "[2001:db8::9]:1"];
    let peer: SocketAddr = peers[usize::from(*kind) % peers.len()].parse().unwrap();
    let trusted: [IpNet; 2] = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let tls = kind & 64 != 0;
    let found = client(&headers, peer, tls, &trusted);
    check_client(&found, &headers, peer, tls);

    let authority = HeaderValue::from_bytes(authority);
    let authority = authority
        .unwrap_or_else(|_| HeaderValue::from_static("a.example"))
        .to_str()
        .map(String::from);
    let authority = authority.ok().filter(|authority| parse_host(authority).is_some());
    let authority = HeaderValue::try_from(authority.unwrap_or("a.example".into())).unwrap();
    let fields = forwarded_fields(&found, &authority, &headers);
    let fields = fields.expect("addresses and hosts can always be written");
    check_told(&found, &authority, &fields.iter().cloned().collect(), &trusted);
}

fn check_client(found: &Client, headers: &HeaderMap, peer: SocketAddr, tls: bool) {
    let own = peer.ip().to_canonical();
    assert_eq!(found.peer, peer);
    if !own.is_ipv4() || own.to_string().starts_with("192.") {
        assert_eq!((found.address, found.secure, found.trusted_peer), (own, tls, false));
        return;
    }
    assert!(found.trusted_peer && (found.secure || !tls));
    // Nobody is made up: the client is the peer, or stands in what the proxy said.
    let said = |address: IpAddr| {
        let values = ["x-forwarded-for", "forwarded"].map(|name| headers.get_all(name));
        values.iter().flatten().filter_map(|value| value.to_str().ok()).any(|value| {
            let nodes = value.split([',', ';', '"', '=', '[', ']', ' ', '\t']);
            nodes.filter_map(node).any(|node| node == address)
        })
    };
    assert!(found.address == own || said(found.address), "{found:?} of {headers:?}");
}

/// The address of a node, with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok();
    let address = address.or_else(|| Some(text.split_once(':')?.0.parse().ok()?));
    address.map(|address: IpAddr| address.to_canonical())
}

fn check_host(authority: &[u8]) {
    let Ok(text) = std::str::from_utf8(authority) else { return };
    let Some(host) = parse_host(text) else { return };
    assert_eq!(parse_host(&host), Some(host.clone()), "{text:?}");
    assert_eq!(parse_host(&format!("{host}:443")), Some(host.clone()), "{text:?}");
    assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase()), "{host:?}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    assert!(!host.is_empty() && host.bytes().all(plain), "{host:?}");
    assert!(host.starts_with('[') || !host.contains([':', '[', ']']), "{host:?}");
    assert!(!host.ends_with('.') && !host.contains(".."), "{host:?}");
    // It is the beginning of what was asked for, and what follows is a dot or a port.
    if !host.starts_with('[') {
        let rest = text.to_ascii_lowercase();
        let rest = rest.strip_prefix(&*host).expect("its beginning").to_owned();
        let rest = rest.strip_prefix('.').unwrap_or(&rest);
        let port = rest.strip_prefix(':');
        assert!(
            rest.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_ok()),
            "{text:?}"
        );
    }
}

/// The upstream, which trusts the gate and whom the gate trusts, comes to the same client.
fn check_told(found: &Client, authority: &HeaderValue, told: &HeaderMap, trusted: &[IpNet]) {
    let gate: SocketAddr = "10.9.9.9:1".parse().unwrap();
    let again = client(told, gate, false, trusted);
    assert_eq!((again.address, again.secure), (found.address, found.secure), "{told:?}");
    let mut only = told.clone();
    only.remove("x-forwarded-for");
    only.remove("x-forwarded-proto");
    let again = client(&only, gate, false, trusted);
    assert_eq!((again.address, again.secure), (found.address, found.secure), "{only:?}");

    let chain = told["x-forwarded-for"].to_str().unwrap();
    let hops: Vec<IpAddr> = chain.split(", ").map(|hop| hop.parse().unwrap()).collect();
    assert_eq!(hops.last(), Some(&found.peer.ip().to_canonical()));
    assert!(found.trusted_peer || hops.len() == 1, "{chain}");
    assert_eq!(told["x-forwarded-host"], authority);
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"] {
        assert_eq!(told.get_all(name).iter().count(), 1);
    }
}
