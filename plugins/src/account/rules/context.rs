//! Words that an attacker tries first: the service's, and those of the account.
//!
//! A password is refused when it has such a word in it and, all of them taken away, fewer than
//! [`OTHER_LETTERS_MIN`] letters remain: what else is there is digits and signs, which guessing
//! programs add by themselves. A passphrase in which a short name happens to occur has more letters
//! than that. Words of fewer than [`WORD_CHARS_MIN`] characters are not looked for.

use std::collections::BTreeSet;

use super::fold;
use crate::account::PrincipalRecord;

/// So many letters make a password more than the words in it.
const OTHER_LETTERS_MIN: usize = 6;

/// Shorter words are part of too many others.
const WORD_CHARS_MIN: usize = 3;

/// The words of the service: its own name, and the labels of the host where people reach it.
pub(super) fn service_words(host: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::from(["doorward".to_owned()]);
    collect(host, &mut words);
    words
}

/// The words of somebody's account: names, display name, e-mail address, and their parts.
fn account_words(about: &PrincipalRecord) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let texts = [
        Some(about.name.account()),
        about.name.sub_user(),
        about.display_name.as_deref(),
        about.email.as_deref(),
        about.email.as_deref().and_then(|email| email.split('@').next()),
    ];
    texts.into_iter().flatten().for_each(|text| collect(text, &mut words));
    words
}

/// Adds a text as a whole, without what stands between its parts, and each of its parts.
fn collect(text: &str, words: &mut BTreeSet<String>) {
    let folded = fold(text);
    let parts = folded.split(|c: char| !c.is_alphanumeric());
    let joined: String = parts.clone().collect();
    let all = [folded.as_str(), joined.as_str()].into_iter().chain(parts);
    // A part without letters (of an address, say) is no word.
    let is_word =
        |word: &&str| word.chars().count() >= WORD_CHARS_MIN && word.contains(char::is_alphabetic);
    words.extend(all.filter(is_word).map(str::to_owned));
}

/// The word of which the password is little more, if there is one. `folded` is in lower case and
/// NFC.
pub(super) fn find_word(
    folded: &str,
    service: &BTreeSet<String>,
    about: &PrincipalRecord,
) -> Option<String> {
    let own = account_words(about);
    let mut words: Vec<_> = service.union(&own).filter(|word| folded.contains(*word)).collect();
    // The longest first: "al" of "alice" leaves a rest that is none of the person's making.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let first = (*words.first()?).clone();
    // A space in their place, so that what stood around a word does not make another.
    let rest = words.iter().fold(folded.to_owned(), |rest, word| rest.replace(*word, " "));
    let letters = rest.chars().filter(|c| c.is_alphabetic()).count();
    (letters < OTHER_LETTERS_MIN).then_some(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::account::tests::record;

    /// As found in the password of alice, who is "Al Liddell" to others, at console.example.com.
    fn found(password: &str) -> Option<String> {
        let mut alice = record("alice/dev-ops");
        alice.display_name = Some("Al Liddell".into());
        alice.email = Some("a.pleasance@oxford.example".into());
        find_word(&fold(password), &service_words("console.example.com"), &alice)
    }

    #[test]
    fn f15_a_password_of_little_more_than_the_words_of_its_account_is_refused() {
        for (password, word) in [
            ("Alice-2026-2026!", "alice"),
            ("ALICE.Liddell.1865", "liddell"),
            ("alliddell alliddell", "alliddell"),
            ("devops0000000000", "devops"),
            ("1234Pleasance5678", "pleasance"),
            ("doorward Doorward 1", "doorward"),
            ("console.example.com", "console.example.com"),
            ("!!oxford!!123456abcde", "oxford"),
        ] {
            assert_eq!(found(password).as_deref(), Some(word), "{password}");
        }
    }

    #[test]
    fn f15_an_honest_passphrase_may_contain_a_name() {
        for honest in [
            "several royal signals",
            "alice fell down a hole",
            "correct horse battery staple",
            "the console is on fire",
            "爱丽丝梦游仙境是一本很好的书吧",
            "123456789012345",
            "al 4857 2039 4857 2222",
        ] {
            assert_eq!(found(honest), None, "{honest}");
        }
    }

    proptest! {
        #[test]
        fn f15_digits_and_signs_around_a_word_hide_it_not_and_six_letters_do(
            word in prop::sample::select(vec!["alice", "LIDDELL", "Pleasance", "Doorward", "eXample"]),
            before in "[0-9 !#$%&*+.:;=?_-]{0,12}",
            after in "[0-9 !#$%&*+.:;=?_-]{0,12}",
            letters in "[b-df-hj-km-np-tv-z]{6,20}",
        ) {
            let bare = format!("{before}{word}{after}");
            prop_assert!(found(&bare).is_some(), "{}", bare);
            // Letters that make none of the words, whatever stands beside them.
            let more = format!("{bare} {letters}");
            prop_assert_eq!(found(&more), None, "{}", more);
        }

        #[test]
        fn f15_no_text_is_too_strange(name in "\\PC{0,40}", password in "\\PC{0,60}") {
            let mut odd = record("alice");
            odd.display_name = Some(name);
            let word = find_word(&fold(&password), &service_words("[::1]"), &odd);
            prop_assert!(word.is_none_or(|word| fold(&password).contains(&word)));
        }
    }
}
