//! Frequent passwords, compared whole, but for digits and signs at the end: attackers add them first.
//!
//! `common-passwords.txt` has the passwords that were found most often in breaches: those with at
//! least five characters of the list that Django 5.2 ships (`django/contrib/auth`, BSD licence;
//! collected by Royce Williams), in lower case, NFC, sorted by their bytes.

static COMMON: &str = include_str!("common-passwords.txt");

/// A piece of at most so many characters that is said again and again is no password.
const UNIT_CHARS_MAX: usize = 4;

/// Is it a frequent password, with digits and signs behind it perhaps, or does it count up or down?
/// `folded` is in lower case and NFC.
pub(super) fn is_common(folded: &str) -> bool {
    let tail = |c: char| c.is_numeric() || c.is_ascii_punctuation();
    find(COMMON, folded) || find(COMMON, folded.trim_end_matches(tail)) || is_sequence(folded)
}

/// Is each character the next one, or the one before, as in `abcdef` and `67890123`?
fn is_sequence(text: &str) -> bool {
    let next = |a: char, b: char| match (a, b) {
        ('9', '0') | ('z', 'a') => true,
        _ => u32::from(b).checked_sub(u32::from(a)) == Some(1),
    };
    let chars: Vec<char> = text.chars().collect();
    let mut pairs = chars.iter().zip(chars.iter().skip(1));
    let up = pairs.clone().all(|(a, b)| next(*a, *b));
    chars.len() > 1 && (up || pairs.all(|(a, b)| next(*b, *a)))
}

/// Is it a short piece, or a frequent password, said again and again, the last time perhaps not to
/// its end?
pub(super) fn is_repeated(folded: &str) -> bool {
    let chars: Vec<char> = folded.chars().collect();
    let repeats = |unit: usize| chars.iter().zip(chars.iter().skip(unit)).all(|(a, b)| a == b);
    let shortest = (1..=chars.len() / 2).find(|unit| repeats(*unit));
    shortest.is_some_and(|unit| {
        unit <= UNIT_CHARS_MAX || is_common(&chars.iter().take(unit).collect::<String>())
    })
}

/// Does a line of the sorted text read so? Found by halving, without an index in memory.
fn find(mut lines: &str, wanted: &str) -> bool {
    while !lines.is_empty() {
        let middle = lines.len() / 2;
        let bytes = lines.as_bytes();
        let begin =
            bytes.iter().take(middle).rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (before, rest) = lines.split_at(begin);
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        match wanted.as_bytes().cmp(line.as_bytes()) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => lines = before,
            std::cmp::Ordering::Greater => lines = after,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use unicode_normalization::is_nfc;

    use super::*;

    #[test]
    fn f15_the_list_is_sorted_and_in_the_form_that_is_compared() {
        let lines: Vec<_> = COMMON.lines().collect();
        assert!(lines.len() > 15_000, "{}", lines.len());
        assert!(lines.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()), "sort it by its bytes");
        for line in &lines {
            assert_eq!(line.to_lowercase(), **line);
            assert!(is_nfc(line) && line.chars().count() >= 5, "{line}");
            assert!(is_common(line), "{line} is not found");
        }
    }

    #[test]
    fn f15_what_only_contains_a_frequent_password_is_none() {
        assert!(is_common("password") && is_common("1q2w3e4r5t6y7u8i9o0p"));
        for weak in ["password1234567", "qwerty!!2026", "1234567890123456", "zyxwvutsrqponmlkj"] {
            assert!(is_common(weak), "{weak}");
        }
        for other in ["", "\n", "passwor", "passwordz", "zzzzzzzzzzzz", "\u{10ffff}", "password\n"]
        {
            assert!(!is_common(other), "{other:?}");
        }
    }

    #[test]
    fn f15_repetition_is_no_length() {
        for repeated in [
            "aaaaaaaaaaaaaaa",
            "abcabcabcabcabc",
            "abcdabcdabcdab",
            "passwordpassword",
            "qwertyqwertyqwe",
        ] {
            assert!(is_repeated(repeated), "{repeated}");
        }
        for honest in ["", "a", "correct horse battery staple", "bluewhalebluewhale"] {
            assert!(!is_repeated(honest), "{honest}");
        }
    }
}
