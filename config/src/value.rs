//! Times and sizes as people write them: `"1h"`, `"23h59m"`, `"64KiB"`.

use std::time::Duration;

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a time such as `90s`, `1h` or `23h59m`: whole numbers with the units d, h, m, s, ms, the
/// larger unit first, each at most once. `None` if it is anything else, or too large for u64
/// milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms = 0_u64;
    let mut units = TIME_UNITS.iter();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after_number) = split_number(rest)?;
        let unit_len =
            after_number.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after_number.len());
        let (unit, after_unit) = after_number.split_at(unit_len);
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(number.checked_mul(*unit_ms)?)?;
        rest = after_unit;
    }
    Some(Duration::from_millis(total_ms))
}

/// Writes a time as [`parse_duration`] reads it, in the fewest parts.
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    // No days: a person reads "24h" beside "23h59m" without converting.
    for (unit, unit_ms) in TIME_UNITS.iter().skip(1) {
        if rest_ms >= *unit_ms {
            text.push_str(&format!("{}{unit}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Reads a size such as `64KiB`: a whole number with B, KiB, MiB or GiB. `None` if it is anything
/// else.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let (_, unit_bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*unit_bytes)
}

/// Writes a size as [`parse_size`] reads it.
pub(crate) fn format_size(bytes: u64) -> String {
    let (unit, unit_bytes) = SIZE_UNITS
        .iter()
        .find(|(_, unit_bytes)| bytes >= *unit_bytes && bytes.is_multiple_of(*unit_bytes))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / unit_bytes)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        let parsed = parse_duration(text);
        assert_eq!(parsed, expected.map(Duration::from_millis), "{text:?}");
        if let Some(duration) = parsed {
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration), "round trip");
        }
    }

    #[test]
    fn times_are_whole_numbers_with_units_in_falling_order() {
        check("15m", Some(900_000));
        check("23h59m", Some(86_340_000));
        check("14m59s", Some(899_000));
        check("1d", Some(86_400_000));
        check("250ms", Some(250));
        for wrong in
            ["", "15", "m", "1.5h", "-1h", "59m23h", "1h1h", "1 h", "1H", "99999999999999999999s"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("10"), None);
        assert_eq!(parse_size("1GB"), None);
        assert_eq!(format_size(65_536), "64KiB");
        assert_eq!(format_size(100), "100B");
    }
}
