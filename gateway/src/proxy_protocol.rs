//! The PROXY protocol: who the client is, in front of what the client says.
//!
//! Read from trusted peers of listeners that expect it, and written to upstreams that do. Both
//! versions; addresses of TCP over IPv4 and IPv6. What is malformed ends the connection, because
//! nothing after it can be believed.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (HAProxy, 2020-03-05).
//! Bounds: a line of [`LINE_MAX`] octets, a header of [`HEADER_MAX`].

use std::net::{IpAddr, SocketAddr};

use doorward_config::ProxyProtocol;

use crate::upstream::Announced;

/// The longest line of version 1, its end included (§2.1).
const LINE_MAX: usize = 107;

/// The longest header of version 2 that is read; real ones with all extensions stay far below.
const HEADER_MAX: usize = 4096;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The extension about TLS, and the flag in it that the client's connection has it (§2.2.6).
const TLS_EXTENSION: u8 = 0x20;
const CAME_BY_TLS: u8 = 0x01;

/// What stands at the beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// Too little has come to tell.
    Incomplete,
    /// No header of this protocol.
    Malformed,
    /// A header of this length; the client, unless the proxy speaks for itself.
    Header(usize, Option<SocketAddr>),
}

/// Reads the header that a connection has to begin with.
pub fn read(octets: &[u8]) -> Preamble {
    if octets.starts_with(SIGNATURE) {
        return read_binary(octets);
    }
    if SIGNATURE.starts_with(octets) || b"PROXY ".starts_with(octets) {
        return Preamble::Incomplete;
    }
    if octets.starts_with(b"PROXY ") { read_line(octets) } else { Preamble::Malformed }
}

fn read_line(octets: &[u8]) -> Preamble {
    let window = octets.get(..LINE_MAX).unwrap_or(octets);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if octets.len() < LINE_MAX { Preamble::Incomplete } else { Preamble::Malformed };
    };
    let line = octets.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let words: Vec<_> = line.unwrap_or_default().split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let end = |address: &str, port: &str| {
                let address: IpAddr = address.parse().ok()?;
                let plain = port == "0" || !port.starts_with(['0', '+']);
                (plain && address.is_ipv4() == (family == "TCP4"))
                    .then_some(SocketAddr::new(address, port.parse().ok()?))
            };
            end(source, from).filter(|_| end(destination, to).is_some()).map(Some)
        }
        _ => None,
    };
    client.map_or(Preamble::Malformed, |client| Preamble::Header(end + 2, client))
}

fn read_binary(octets: &[u8]) -> Preamble {
    let Some([command, family, high, low]) = octets.get(12..16) else {
        return Preamble::Incomplete;
    };
    let length = 16 + usize::from(u16::from_be_bytes([*high, *low]));
    if length > HEADER_MAX || !matches!(command, 0x20 | 0x21) {
        return Preamble::Malformed;
    }
    let Some(body) = octets.get(16..length) else { return Preamble::Incomplete };
    let Some(size) = addresses_size(*family) else { return Preamble::Malformed };
    let local = *command == 0x20;
    match body.split_at_checked(size) {
        Some((addresses, extensions)) if are_extensions(extensions) => {
            let client = read_source(addresses).filter(|_| !local);
            Preamble::Header(length, client)
        }
        // Whoever speaks for itself need not say more (§2.2).
        None if local => Preamble::Header(length, None),
        _ => Preamble::Malformed,
    }
}

/// How many octets the addresses of a family take.
fn addresses_size(family: u8) -> Option<usize> {
    match family {
        // The proxy does not know, or the client came by a local socket.
        0x00 => Some(0),
        0x11 => Some(12),
        0x21 => Some(36),
        0x31 => Some(216),
        _ => None,
    }
}

/// Does a header of version 2 say that the client has come to the proxy by TLS (§2.2.6)?
pub(crate) fn says_tls(header: &[u8]) -> bool {
    let Some([0x21, family]) = header.strip_prefix(SIGNATURE).and_then(|rest| rest.get(..2)) else {
        return false;
    };
    let size = addresses_size(*family).unwrap_or_default();
    let mut extensions = header.get(16 + size..).unwrap_or_default();
    while let [kind, high, low, rest @ ..] = extensions {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, after)) = rest.split_at_checked(length) else { return false };
        if *kind == TLS_EXTENSION && value.first().is_some_and(|flags| flags & CAME_BY_TLS != 0) {
            return true;
        }
        extensions = after;
    }
    false
}

fn read_source(addresses: &[u8]) -> Option<SocketAddr> {
    let port = |from: usize| {
        let octets = addresses.get(from..from + 2)?;
        Some(u16::from_be_bytes(octets.try_into().ok()?))
    };
    match addresses.len() {
        12 => {
            let source: [u8; 4] = addresses.get(..4)?.try_into().ok()?;
            Some(SocketAddr::new(source.into(), port(8)?))
        }
        36 => {
            let source: [u8; 16] = addresses.get(..16)?.try_into().ok()?;
            Some(SocketAddr::new(source.into(), port(32)?))
        }
        _ => None,
    }
}

/// Are these type, length and value, again and again, to the very end (§2.2.7)?
fn are_extensions(mut octets: &[u8]) -> bool {
    while let [_, high, low, rest @ ..] = octets {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match rest.get(length..) {
            Some(after) => octets = after,
            None => return false,
        }
    }
    octets.is_empty()
}

/// The header for a connection on behalf of `announced`, or of the gate itself.
pub(crate) fn announcement(version: ProxyProtocol, announced: Option<Announced>) -> Vec<u8> {
    let ends = announced.map(|(client, local)| alike(client, local));
    match version {
        ProxyProtocol::V1 => match ends {
            None => b"PROXY UNKNOWN\r\n".to_vec(),
            Some((from, to)) => {
                let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                let (source, destination) = (from.ip(), to.ip());
                let (from, to) = (from.port(), to.port());
                format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
            }
        },
        ProxyProtocol::V2 => {
            let mut header = SIGNATURE.to_vec();
            match ends {
                None => header.extend([0x20, 0x00, 0, 0]),
                Some((from, to)) => {
                    header.extend(if from.is_ipv4() {
                        [0x21, 0x11, 0, 12]
                    } else {
                        [0x21, 0x21, 0, 36]
                    });
                    for address in [from.ip(), to.ip()] {
                        match address {
                            IpAddr::V4(address) => header.extend(address.octets()),
                            IpAddr::V6(address) => header.extend(address.octets()),
                        }
                    }
                    header.extend(from.port().to_be_bytes());
                    header.extend(to.port().to_be_bytes());
                }
            }
            header
        }
    }
}

/// Both ends in one family: IPv4 where both are, else IPv6.
fn alike(client: SocketAddr, local: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (client, local) = (canonical(client), canonical(local));
    let widen = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => SocketAddr::new(address.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    if client.is_ipv4() == local.is_ipv4() {
        (client, local)
    } else {
        (widen(client), widen(local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(octets: &[u8], expected: Preamble) {
        assert_eq!(read(octets), expected, "{}", String::from_utf8_lossy(octets));
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn d23_what_is_written_is_read_again() {
        for (client, local) in [
            ("192.0.2.1:4711", "198.51.100.2:443"),
            ("[2001:db8::1]:4711", "[2001:db8::2]:443"),
            ("[2001:db8::1]:4711", "198.51.100.2:443"),
        ] {
            let ends = (client.parse().unwrap(), local.parse().unwrap());
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let mut octets = announcement(version, Some(ends));
                let length = octets.len();
                for cut in 0..length {
                    check(&octets[..cut], Preamble::Incomplete);
                }
                octets.extend_from_slice(b"GET / HTTP/1.1\r\n");
                check(&octets, Preamble::Header(length, Some(ends.0)));
            }
        }
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            let octets = announcement(version, None);
            check(&octets, Preamble::Header(octets.len(), None));
        }
    }

    #[test]
    fn d23_lines_that_are_none_are_malformed() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.300 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        ] {
            check(line.as_bytes(), Preamble::Malformed);
        }
        check(b"PROXY UNKNOWN whatever it is\r\n", Preamble::Header(30, None));
        check(&[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(), Preamble::Malformed);
        assert_eq!(
            read(b"PROXY TCP4 192.0.2.1 198.51.100.2 0 2\r\n"),
            Preamble::Header(39, address("192.0.2.1:0"))
        );
    }

    #[test]
    fn d23_headers_whose_parts_do_not_fit_are_malformed() {
        let header = |command: u8, family: u8, body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            [&SIGNATURE[..], &[command, family], &length, body].concat()
        };
        let ends = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 1, 0xbb];
        let with = |extensions: &[u8]| header(0x21, 0x11, &[&ends[..], extensions].concat());
        check(&with(&[]), Preamble::Header(28, address("192.0.2.1:4711")));
        check(&with(&[4, 0, 2, 9, 9]), Preamble::Header(33, address("192.0.2.1:4711")));
        check(&with(&[4, 0, 3, 9, 9]), Preamble::Malformed);
        check(&with(&[4, 0]), Preamble::Malformed);
        check(&with(&[0; 5000]), Preamble::Malformed);
        check(&header(0x20, 0x11, &ends), Preamble::Header(28, None));
        let tls = |flags: u8| [&[4, 0, 1, 9, 0x20, 0, 5, flags][..], &[0; 4]].concat();
        assert!(says_tls(&with(&tls(5))));
        let local = header(0x20, 0x11, &[&ends[..], &tls(1)].concat());
        let v1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 0 2\r\n".to_vec();
        for plain in [with(&tls(2)), with(&[0x20, 0, 0]), with(&[]), local, v1] {
            assert!(!says_tls(&plain), "{}", plain.escape_ascii());
        }
        check(&header(0x20, 0x00, &[]), Preamble::Header(16, None));
        check(&header(0x21, 0x00, &[]), Preamble::Header(16, None));
        check(&header(0x21, 0x31, &[0; 216]), Preamble::Header(232, None));
        check(&header(0x21, 0x12, &ends), Preamble::Malformed);
        check(&header(0x21, 0x21, &ends), Preamble::Malformed);
        check(&header(0x11, 0x11, &ends), Preamble::Malformed);
        check(&header(0x22, 0x11, &ends), Preamble::Malformed);
    }
}
