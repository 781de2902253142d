//! Who is at the other end, and how the upstream is told.
//!
//! `Forwarded`, `X-Forwarded-For` and `X-Forwarded-Proto` are believed from trusted proxies only,
//! and then only the last address that such a proxy did not vouch for. Whatever a client sent of
//! these fields is removed, and ours is written.
//!
//! Sources: RFC 7239 (`Forwarded`), RFC 9110 §7.6.3 (`Via`); `X-Forwarded-*` is a convention.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use doorward_plugins::{Client, FieldBlock};
use http::header::{FORWARDED, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Hops that are looked at; a longer chain is nobody's real path.
const HOPS_MAX: usize = 32;

/// Who is at the other end of a request from `peer` with these fields.
pub(crate) fn client(
    headers: &HeaderMap,
    peer: SocketAddr,
    tls: bool,
    trusted: &[IpNet],
) -> Client {
    let peer_ip = peer.ip().to_canonical();
    let trusted_peer = is_trusted(peer_ip, trusted);
    let mut client = Client { address: peer_ip, peer, trusted_peer, secure: tls };
    if !client.trusted_peer {
        return client;
    }
    for hop in hops(headers).iter().rev().take(HOPS_MAX) {
        // What cannot be read ends the chain: the proxy that wrote it is the client then.
        let Some(address) = hop else { break };
        client.address = *address;
        if !is_trusted(*address, trusted) {
            break;
        }
    }
    client.secure = tls || proto(headers).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    client
}

/// Is this the address of a proxy that is believed?
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// The addresses of the chain, first hop first; `None` for what cannot be read.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    if headers.contains_key(FOR) {
        return items(headers, &FOR).map(parse_node).collect();
    }
    items(headers, &FORWARDED).map(|element| parse_node(parameter(element, "for")?)).collect()
}

fn proto(headers: &HeaderMap) -> Option<&str> {
    let plain = items(headers, &PROTO).last();
    plain.or_else(|| {
        items(headers, &FORWARDED).last().and_then(|element| parameter(element, "proto"))
    })
}

/// The items of a list field, over all its lines.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
}

/// The value of a `name=value` pair of a `Forwarded` element, without quotes.
fn parameter<'e>(element: &'e str, name: &str) -> Option<&'e str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches('"'))
    })
}

/// An address with or without port, an IPv6 address with or without brackets (RFC 7239 §6).
fn parse_node(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    let plain =
        node.parse::<IpAddr>().or_else(|_| node.parse::<SocketAddr>().map(|address| address.ip()));
    let bracketed = || node.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.ok().or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

/// The fields with which the upstream is told who asked. Made once for a connection and host.
pub(crate) fn block(
    client: &Client,
    authority: &HeaderValue,
    headers: &HeaderMap,
    pseudonym: &Pseudonym,
) -> FieldBlock {
    let fields = fields(client, authority, headers);
    // Whoever cannot be told of, the gate itself is: it must recognise what it has sent.
    FieldBlock::new(fields.into_iter().flatten().chain([pseudonym.field()]).collect())
}

/// For a request by `client` to `authority`; `headers` has what trusted proxies said.
pub(crate) fn fields(
    client: &Client,
    authority: &HeaderValue,
    headers: &HeaderMap,
) -> Option<[(HeaderName, HeaderValue); 4]> {
    let peer = client.peer.ip().to_canonical();
    let proto = if client.secure { "https" } else { "http" };
    let mut chain = String::new();
    if client.trusted_peer {
        // What cannot be read ends the chain here as it does for `client`: who reads the rest must
        // not take for the client whoever stands before it.
        for hop in hops(headers).into_iter().rev().take(HOPS_MAX).map_while(|hop| hop) {
            chain.insert_str(0, &format!("{hop}, "));
        }
    }
    chain.push_str(&peer.to_string());
    let node = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let elements: Vec<_> = chain
        .split(", ")
        .filter_map(|hop| hop.parse().ok())
        .map(|hop| format!("for={}", node(hop)))
        .collect();
    let element =
        format!("{};host=\"{}\";proto={proto}", elements.join(", "), authority.to_str().ok()?);
    Some([
        (FOR, chain.try_into().ok()?),
        (PROTO, HeaderValue::from_static(proto)),
        (HOST, authority.clone()),
        (FORWARDED, element.try_into().ok()?),
    ])
}

/// Names this gate in `Via`, and recognises itself there.
#[derive(Clone, Debug)]
pub(crate) struct Pseudonym {
    name: String,
    alone: HeaderValue,
}

impl Pseudonym {
    /// A pseudonym that another gate does not have.
    pub(crate) fn new(unique: &str) -> Option<Self> {
        let name = format!("doorward-{unique}");
        let alone = HeaderValue::try_from(format!("1.1 {name}")).ok()?;
        Some(Self { name, alone })
    }

    /// Has the request been here before? (RFC 9110 §7.6.3)
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(VIA)
            && items(headers, &VIA).any(|entry| entry.split_whitespace().nth(1) == Some(&self.name))
    }

    /// The field that adds this gate to the chain.
    fn field(&self) -> (HeaderName, HeaderValue) {
        (VIA, self.alone.clone())
    }
}

/// The authority that a request was sent to, in the forms that are needed of it.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    /// As it was sent.
    pub(crate) raw: HeaderValue,
    /// Lower case, without port.
    pub(crate) host: Arc<str>,
    /// Index of the upstream that serves it; `None`: none does.
    pub(crate) upstream: Option<usize>,
}

/// A host as it was asked for: lower case, without port and without a dot at the end. `None` if
/// it is not one.
pub(crate) fn parse_host(authority: &str) -> Option<Arc<str>> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
        return None;
    }
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(address) = inner {
        return address
            .parse::<std::net::Ipv6Addr>()
            .ok()
            .map(|address| format!("[{address}]").into());
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let label = |label: &str| !label.is_empty() && label.len() <= 63;
    let fits = host.len() <= 253 && host.bytes().all(plain) && host.split('.').all(label);
    fits.then(|| host.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client address and scheme for these fields from this peer, with 10.0.0.0/8 trusted.
    #[track_caller]
    fn check(peer: &str, fields: &[(&str, &str)], address: &str, secure: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let client =
            client(&headers, peer.parse().unwrap(), false, &["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(
            (client.address.to_string().as_str(), client.secure),
            (address, secure),
            "{fields:?}"
        );
    }

    #[test]
    fn a14_only_a_trusted_hop_states_the_client_address() {
        let spoof = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.2.3.4;proto=https"),
        ];
        check("192.0.2.9:1", &spoof, "192.0.2.9", false);
        check("10.0.0.1:1", &spoof, "1.2.3.4", true);
        check(
            "10.0.0.1:1",
            &[("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2")],
            "192.0.2.7",
            false,
        );
        check(
            "10.0.0.1:1",
            &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.7")],
            "192.0.2.7",
            false,
        );
        check("10.0.0.1:1", &[("x-forwarded-for", "a")], "10.0.0.1", false);
        check("10.0.0.1:1", &[("x-forwarded-for", "1.2.3.4, a, 10.0.0.2")], "10.0.0.2", false);
        check(
            "10.0.0.1:1",
            &[("forwarded", "for=\"[2001:db8::1]:4711\";proto=HTTPS")],
            "2001:db8::1",
            true,
        );
        check("[::ffff:10.0.0.1]:1", &[("x-forwarded-for", "192.0.2.7:80")], "192.0.2.7", false);
    }

    #[test]
    fn d08_the_upstream_is_told_the_chain() {
        let mut headers = HeaderMap::new();
        headers.insert(FOR, "192.0.2.7, 2001:db8::1".parse().unwrap());
        let client =
            client(&headers, "10.0.0.1:1".parse().unwrap(), true, &["10.0.0.0/8".parse().unwrap()]);
        let fields = fields(&client, &"a.example:8443".parse().unwrap(), &headers).unwrap();
        let written: HeaderMap = fields.iter().cloned().collect();
        assert_eq!(written[FOR], "192.0.2.7, 2001:db8::1, 10.0.0.1");
        assert_eq!(
            written[FORWARDED],
            "for=192.0.2.7, for=\"[2001:db8::1]\", for=10.0.0.1;host=\"a.example:8443\";proto=https"
        );
        assert_eq!(
            (&written[PROTO], &written[HOST]),
            (&"https".parse().unwrap(), &"a.example:8443".parse().unwrap())
        );
    }

    #[test]
    fn d08_nobody_before_an_unreadable_hop_is_told_of() {
        for (name, value) in [
            ("x-forwarded-for", "6.6.6.6, unknown"),
            ("x-forwarded-for", "6.6.6.6, a, 10.0.0.2"),
            ("forwarded", "for=6.6.6.6, for=_hidden, for=10.0.0.2"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let judged = client(&headers, "10.0.0.1:1".parse().unwrap(), false, &trusted);
            let fields = fields(&judged, &"a.example".parse().unwrap(), &headers).unwrap();
            let told: HeaderMap = fields.iter().cloned().collect();
            let again = client(&told, "10.0.0.9:1".parse().unwrap(), false, &trusted);
            assert_eq!(again.address, judged.address, "{value}: {told:?}");
        }
    }

    #[test]
    fn b08_hosts_have_one_form() {
        for (text, expected) in [
            ("A.Example.com", Some("a.example.com")),
            ("a.example.com.", Some("a.example.com")),
            ("a.example.com:8443", Some("a.example.com")),
            ("[::0001]:80", Some("[::1]")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("a b", None),
            ("a,b", None),
            ("a@b", None),
            ("a:b", None),
            ("", None),
            ("a..b", None),
            ("a/b", None),
            ("a:99999", None),
            ("[::1", None),
        ] {
            assert_eq!(parse_host(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn d06_a_gate_recognises_itself() {
        let pseudonym = Pseudonym::new("1f").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(VIA, "1.1 other, 2 doorward-2a".parse().unwrap());
        assert!(!pseudonym.is_in(&headers));
        let (name, value) = pseudonym.field();
        headers.append(name, value);
        assert!(pseudonym.is_in(&headers));
    }
}
