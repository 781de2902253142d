//! Files with the seeds of hardware tokens: lines of CSV, or PSKC (RFC 6030).
//!
//! All of a file is read, or nothing: every fault is told with its place.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::totp::{Algorithm, PERIOD, Seed};

/// The most tokens of a file.
pub const TOKENS_MAX: usize = 10_000;

/// The most characters of a serial number.
const SERIAL_MAX: usize = 64;

/// The seed of a token.
pub struct ImportedToken {
    /// The number that is printed on it.
    pub serial: String,
    /// Its seed.
    pub seed: Seed,
}

/// Reads a file of either form.
///
/// # Errors
/// What is wrong with it, in lines; never any of its seeds.
pub fn read(text: &str) -> Result<Vec<ImportedToken>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let tokens = if text.trim_start().starts_with('<') { pskc(text)? } else { csv(text)? };
    let mut serials: Vec<_> = tokens.iter().map(|token| token.serial.as_str()).collect();
    serials.sort_unstable();
    if let Some(twice) = serials.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(format!("the serial number {:?} is there twice", twice.first()));
    }
    match tokens.len() {
        0 => Err("there is no token in it".into()),
        count if count > TOKENS_MAX => Err(format!("more than {TOKENS_MAX} tokens; split it")),
        _ => Ok(tokens),
    }
}

/// Lines of `serial,seed[,algorithm[,digits]]`; the seed in hexadecimal or base 32. A first line
/// that begins with "serial" is a heading.
fn csv(text: &str) -> Result<Vec<ImportedToken>, String> {
    let (mut tokens, mut faults) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let heading = index == 0 && line.to_ascii_lowercase().starts_with("serial");
        if heading || line.trim().is_empty() {
            continue;
        }
        let mut cells = line.split(',').map(|cell| cell.trim().trim_matches('"'));
        let (serial, seed) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let (algorithm, digits) = (cells.next().unwrap_or_default(), cells.next().unwrap_or("6"));
        match token(serial, &|algorithm, digits| typed(seed, algorithm, digits), algorithm, digits)
        {
            Ok(token) => tokens.push(token),
            Err(fault) => faults.push(format!("line {}: {fault}", index + 1)),
        }
    }
    if faults.is_empty() { Ok(tokens) } else { Err(faults.join("\n")) }
}

/// A seed as it is typed.
fn typed(seed: &str, algorithm: Algorithm, digits: u8) -> Option<Seed> {
    let hexadecimal = seed.len().is_multiple_of(2)
        && (32..=256).contains(&seed.len())
        && seed.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hexadecimal {
        return Seed::from_text(seed, algorithm, digits);
    }
    let pairs = seed.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let bytes: Option<zeroize::Zeroizing<Vec<u8>>> =
        pairs.collect::<Option<Vec<_>>>().map(zeroize::Zeroizing::new);
    bytes.map(|bytes| Seed::new(&bytes, algorithm, digits))
}

fn token(
    serial: &str,
    seed: &dyn Fn(Algorithm, u8) -> Option<Seed>,
    algorithm: &str,
    digits: &str,
) -> Result<ImportedToken, String> {
    let plain = |c: char| c.is_ascii_graphic();
    if serial.is_empty() || serial.len() > SERIAL_MAX || !serial.chars().all(plain) {
        return Err("there is no serial number of printable characters".into());
    }
    let algorithm = match algorithm.to_ascii_uppercase().replace('-', "").as_str() {
        "" | "SHA1" | "HMACSHA1" => Algorithm::Sha1,
        "SHA256" | "HMACSHA256" => Algorithm::Sha256,
        "SHA512" | "HMACSHA512" => Algorithm::Sha512,
        _ => return Err("the algorithm is none of SHA1, SHA256 and SHA512".into()),
    };
    let digits = digits.parse::<u8>().ok().filter(|digits| (6..=8).contains(digits));
    let digits = digits.ok_or("codes have 6 to 8 digits")?;
    let seed = seed(algorithm, digits);
    let seed = seed.ok_or("the seed is not 128 bits or more in hexadecimal or base 32")?;
    Ok(ImportedToken { serial: serial.to_owned(), seed })
}

/// PSKC: one `KeyPackage` for each token, with its seed in clear, as it comes from a manufacturer
/// over a safe way. Encrypted seeds (RFC 6030 §6) are refused: decrypt the file first.
fn pskc(text: &str) -> Result<Vec<ImportedToken>, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| format!("no XML: {error}"))?;
    let packages = document.descendants().filter(|node| node.tag_name().name() == "KeyPackage");
    let (mut tokens, mut faults) = (Vec::new(), Vec::new());
    for (index, package) in packages.enumerate().take(TOKENS_MAX + 1) {
        match of_package(package) {
            Ok(token) => tokens.push(token),
            Err(fault) => faults.push(format!("KeyPackage {}: {fault}", index + 1)),
        }
    }
    if faults.is_empty() { Ok(tokens) } else { Err(faults.join("\n")) }
}

fn of_package(package: roxmltree::Node<'_, '_>) -> Result<ImportedToken, String> {
    let text = |name: &str| {
        let found = package.descendants().find(|node| node.tag_name().name() == name);
        found.and_then(|node| node.text()).map_or("", str::trim)
    };
    let of_data = |name: &str| {
        let data = package.descendants().find(|node| node.tag_name().name() == name);
        let plain = data.and_then(|node| {
            node.descendants().find(|inner| inner.tag_name().name() == "PlainValue")
        });
        plain.and_then(|node| node.text()).map_or("", str::trim)
    };
    let key = package.descendants().find(|node| node.tag_name().name() == "Key");
    let kind = key.and_then(|key| key.attribute("Algorithm")).unwrap_or_default();
    if !kind.ends_with(":totp") {
        return Err("it is no time-based token (Algorithm …:pskc:totp)".into());
    }
    if package.descendants().any(|node| node.tag_name().name() == "EncryptedValue") {
        return Err("its seed is encrypted; decrypt the file first".into());
    }
    if !matches!(of_data("TimeInterval"), "" | "30") {
        return Err(format!("its codes do not change every {PERIOD} seconds"));
    }
    let response = package.descendants().find(|node| node.tag_name().name() == "ResponseFormat");
    let digits = response.and_then(|node| node.attribute("Length")).unwrap_or("6");
    let id = key.and_then(|key| key.attribute("Id")).unwrap_or_default();
    let serial = Some(text("SerialNo")).filter(|serial| !serial.is_empty()).unwrap_or(id);
    let seed = STANDARD.decode(of_data("Secret")).map(zeroize::Zeroizing::new);
    let seed = seed.ok().filter(|seed| (16..=128).contains(&seed.len()));
    let make = |algorithm, digits| Some(Seed::new(seed.as_ref()?, algorithm, digits));
    token(serial, &make, text("Suite"), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: &str = r#"<?xml version="1.0"?>
<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc">
 <KeyPackage><DeviceInfo><Manufacturer>Maker</Manufacturer><SerialNo>987654321</SerialNo></DeviceInfo>
  <Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp">
   <AlgorithmParameters><ResponseFormat Length="8" Encoding="DECIMAL"/></AlgorithmParameters>
   <Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret>
    <Time><PlainValue>0</PlainValue></Time><TimeInterval><PlainValue>30</PlainValue></TimeInterval></Data>
  </Key></KeyPackage></KeyContainer>"#;

    #[test]
    fn g06_both_forms_give_the_seed_of_the_standard() {
        let seed = "3132333435363738393031323334353637383930";
        let base32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for text in [
            format!("Serial,Seed\n987654321,{seed},SHA1,8\n"),
            format!("\u{feff}987654321 , \"{base32}\" , sha-1 , 8"),
            PACKAGE.to_owned(),
        ] {
            let tokens = read(&text).unwrap();
            assert_eq!((tokens.len(), tokens[0].serial.as_str()), (1, "987654321"));
            assert_eq!(tokens[0].seed.code(1), "94287082", "RFC 6238, appendix B");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_place_and_no_seed() {
        let seed = "3132333435363738393031323334353637383930";
        let check = |text: &str, expected: &str| {
            let fault = read(text).err().unwrap();
            assert!(fault.contains(expected), "{fault}");
            assert!(!fault.contains(seed));
        };
        check("", "no token");
        check(&format!("1,{seed}\n1,{seed}\n"), "twice");
        check(
            &format!("1,{seed}\n,{seed}\n3,short\n4,{seed},MD5\n5,{seed},,9"),
            "line 2: there is no serial",
        );
        check(&format!("1,{seed}\n3,short"), "line 2: the seed is not");
        check(&format!("4,{seed},MD5"), "line 1: the algorithm");
        check(&format!("5,{seed},,9"), "line 1: codes have 6 to 8");
        check("<a", "no XML");
        check("<a/>", "no token");
        check(&PACKAGE.replace(":totp", ":hotp"), "KeyPackage 1: it is no time-based");
        check(&PACKAGE.replace("<Secret>", "<Secret><EncryptedValue/>"), "encrypted");
        check(&PACKAGE.replace(">30<", ">60<"), "every 30 seconds");
        check(&PACKAGE.replace("MTIz", "!"), "the seed is not");
        let entities = "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>";
        assert!(read(entities).is_err(), "no declarations are taken");
    }
}
