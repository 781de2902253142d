//! The PROXY protocol: what is read does not depend on how it comes in, and is what a naive reader
//! comes to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use doorward::proxy_protocol::{Preamble, read};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Takes the octets for the beginning of a connection.
pub fn check(octets: &[u8]) {
    let whole = read(octets);
    assert_eq!(whole, model(octets), "{}", octets.escape_ascii());
    let length = match whole {
        Preamble::Header(length, _) => {
            assert!(length <= octets.len(), "longer than what came");
            Some(length)
        }
        Preamble::Incomplete | Preamble::Malformed => None,
    };
    let mut malformed = false;
    for cut in 0..octets.len() {
        let found = read(&octets[..cut]);
        malformed |= found == Preamble::Malformed;
        let expected = match length {
            Some(length) if cut >= length => whole,
            Some(_) => Preamble::Incomplete,
            None if malformed => Preamble::Malformed,
            None => Preamble::Incomplete,
        };
        assert_eq!(found, expected, "after {cut} of {}", octets.escape_ascii());
    }
    assert!(!malformed || whole == Preamble::Malformed, "malformed, and then not");
}

/// What a naive reader comes to.
pub fn model(octets: &[u8]) -> Preamble {
    let begins = |start: &[u8]| octets.iter().zip(start).all(|(one, other)| one == other);
    match (begins(SIGNATURE), begins(b"PROXY ")) {
        (true, _) if octets.len() < 16 => Preamble::Incomplete,
        (true, _) => binary(octets[12], octets[13], &octets[14..]),
        (_, true) if octets.len() < 6 => Preamble::Incomplete,
        (_, true) => line(octets),
        _ => Preamble::Malformed,
    }
}

fn line(octets: &[u8]) -> Preamble {
    let window = &octets[..octets.len().min(107)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == 107 { Preamble::Malformed } else { Preamble::Incomplete };
    };
    let Ok(text) = std::str::from_utf8(&window[..end]) else { return Preamble::Malformed };
    if text == "PROXY UNKNOWN" || text.starts_with("PROXY UNKNOWN ") {
        return Preamble::Header(end + 2, None);
    }
    match source(text) {
        Some(client) => Preamble::Header(end + 2, Some(client)),
        None => Preamble::Malformed,
    }
}

fn source(text: &str) -> Option<SocketAddr> {
    let rest = text.strip_prefix("PROXY TCP")?;
    let (family, rest) = rest.split_once(' ')?;
    let (source, rest) = rest.split_once(' ')?;
    let (destination, rest) = rest.split_once(' ')?;
    let (from, to) = rest.split_once(' ')?;
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "4" => text.parse().map(Ipv4Addr::into).ok(),
            "6" => text.parse().map(Ipv6Addr::into).ok(),
            _ => None,
        }
    };
    let port = |text: &str| {
        let number: u16 = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    };
    address(destination)?;
    port(to)?;
    Some(SocketAddr::new(address(source)?, port(from)?))
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Preamble {
    let length = usize::from(rest[0]) * 256 + usize::from(rest[1]);
    if 16 + length > 4096 || command >> 4 != 2 || command & 15 > 1 {
        return Preamble::Malformed;
    }
    let Some(body) = rest.get(2..2 + length) else { return Preamble::Incomplete };
    let size = match (family >> 4, family & 15) {
        (0, 0) => 0,
        (1, 1) => 12,
        (2, 1) => 36,
        (3, 1) => 216,
        _ => return Preamble::Malformed,
    };
    let local = command & 15 == 0;
    if length < size {
        return if local { Preamble::Header(16 + length, None) } else { Preamble::Malformed };
    }
    let mut extensions = &body[size..];
    while !extensions.is_empty() {
        let Some(head) = extensions.get(..3) else { return Preamble::Malformed };
        let end = 3 + usize::from(head[1]) * 256 + usize::from(head[2]);
        let Some(after) = extensions.get(end..) else { return Preamble::Malformed };
        extensions = after;
    }
    let number = |at: usize| u16::from(body[at]) << 8 | u16::from(body[at + 1]);
    let client = match size {
        _ if local => None,
        12 => Some(SocketAddr::from(([body[0], body[1], body[2], body[3]], number(8)))),
        36 => {
            let address = u128::from_be_bytes(body[..16].try_into().unwrap());
            Some(SocketAddr::new(Ipv6Addr::from(address).into(), number(32)))
        }
        _ => None,
    };
    Preamble::Header(16 + length, client)
}
