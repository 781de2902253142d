//! Tests of making a list and of asking it.

use std::path::PathBuf;

use proptest::prelude::*;

use super::make::make_by;
use super::*;

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = crate::account::fresh_id().unwrap();
        let folder = std::env::temp_dir().join(format!("doorward-breach-{name}"));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn list(&self) -> PathBuf {
        self.0.join("breached.list")
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn made(folder: &Folder, input: &str, lines: Lines) -> Result<Made, MakeError> {
    make(input.as_bytes(), lines, &folder.list())
}

#[test]
fn f15_a_list_is_made_of_a_download_and_asked() {
    let folder = Folder::new();
    // SHA-1 of "password" and of "P@ssw0rd", as the Pwned Passwords download has them.
    let input = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:10434004\r\n\
                 21bd12dc183f740ee76f27b78eb39c8ad972a757\n\
                 5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:3\n\
                 0000000000000000000000000000000000000000:0";
    assert_eq!(made(&folder, input, Lines::Hashes).unwrap(), Made { count: 2, lines: 4 });
    let list = BreachList::open(&folder.list()).unwrap();
    assert!(list.contains("password").unwrap() && list.contains("P@ssw0rd").unwrap());
    assert!(!list.contains("Password").unwrap() && !list.contains("").unwrap());
    assert!(list.is_whole().unwrap());
    assert_eq!((list.count(), folder.files()), (2, 1));
}

#[test]
fn f15_a_list_is_made_of_passwords_in_one_unicode_form() {
    let folder = Folder::new();
    let long = "x".repeat(5000);
    let input = format!("zoe\u{308} likes trains\r\n\n{long}\nlast one");
    assert_eq!(made(&folder, &input, Lines::Passwords).unwrap().count, 2);
    let list = BreachList::open(&folder.list()).unwrap();
    assert!(list.contains("zo\u{eb} likes trains").unwrap() && list.contains("last one").unwrap());
    assert!(!list.contains("").unwrap() && !list.contains(&long).unwrap());
}

#[test]
fn f15_a_line_that_is_no_hash_is_named_and_the_old_list_stays() {
    let folder = Folder::new();
    made(&folder, "stays\n", Lines::Passwords).unwrap();
    let good = "21BD12DC183F740EE76F27B78EB39C8AD972A757:1";
    for bad in ["password", "", "21BD12DC183F740EE76F27B78EB39C8AD972A75", &format!("{good}:x")] {
        let result = made(&folder, &format!("{good}\n{bad}\n"), Lines::Hashes);
        assert!(matches!(result, Err(MakeError::Line(2))), "{bad}: {result:?}");
    }
    assert!(BreachList::open(&folder.list()).unwrap().contains("stays").unwrap());
    assert_eq!(folder.files(), 1, "something half made stays");
}

#[test]
fn f16_a_damaged_list_is_refused() {
    let folder = Folder::new();
    let passwords: String = (0..3000).map(|number| format!("password {number}\n")).collect();
    made(&folder, &passwords, Lines::Passwords).unwrap();
    let whole = std::fs::read(folder.list()).unwrap();
    let swapped = [&whole[..56], &whole[whole.len() - 8..], &whole[64..]].concat();
    let version = [&whole[..11], &[9], &whole[12..]].concat();
    for (bytes, why) in [
        (&whole[..20], "too short"),
        (b"", "too short"),
        (&whole[..whole.len() - 1], "size"),
        (&whole[8..], "begin"),
        (&version, "version"),
        (&swapped, "sorted"),
    ] {
        std::fs::write(folder.list(), bytes).unwrap();
        let error = BreachList::open(&folder.list()).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("breached.list"), "{error}");
    }
    // A bit that no sample meets: only reading all of it shows that.
    let mut flipped = whole.clone();
    flipped[56 + 8 * 1501 + 7] ^= 1;
    std::fs::write(folder.list(), flipped).unwrap();
    assert!(!BreachList::open(&folder.list()).unwrap().is_whole().unwrap());
    std::fs::remove_file(folder.list()).unwrap();
    assert!(matches!(BreachList::open(&folder.list()), Err(BreachListError::Io(..))));
}

#[test]
fn f16_a_list_that_shrinks_while_it_is_used_is_an_error_and_no_answer() {
    let folder = Folder::new();
    made(&folder, "one\ntwo\n", Lines::Passwords).unwrap();
    let list = BreachList::open(&folder.list()).unwrap();
    File::options().write(true).open(folder.list()).unwrap().set_len(HEADER).unwrap();
    assert!(list.contains("one").is_err());
}

#[test]
fn an_empty_list_has_nothing() {
    let folder = Folder::new();
    assert_eq!(made(&folder, "", Lines::Hashes).unwrap().count, 0);
    let list = BreachList::open(&folder.list()).unwrap();
    assert!(!list.contains("password").unwrap() && list.is_whole().unwrap());
}

fn hex(hash: u64) -> String {
    format!("{hash:016x}{}", "0".repeat(24))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Even lists and uneven ones, in any order, over many runs: the list has what went in, and
    /// nothing else.
    #[test]
    fn f15_a_list_has_what_went_in(
        shift in 0_u32..56,
        ends in any::<bool>(),
        hashes in prop::collection::vec(any::<u64>(), 0..3000),
        others in prop::collection::vec(any::<u64>(), 50),
        run in 50_usize..2000,
    ) {
        let mut all: Vec<_> = hashes.iter().map(|hash| hash >> shift).collect();
        if ends {
            all.extend([u64::MAX, 0, u64::MAX - 1]);
        }
        let folder = Folder::new();
        let input: String = all.iter().map(|hash| format!("{}\n", hex(*hash))).collect();
        let made = make_by(input.as_bytes(), Lines::Hashes, &folder.list(), run).unwrap();
        let list = BreachList::open(&folder.list()).unwrap();
        let known: std::collections::BTreeSet<_> = all.iter().copied().collect();
        prop_assert_eq!(made.count, known.len() as u64);
        prop_assert!(list.is_whole().unwrap());
        for hash in &known {
            prop_assert!(list.has(*hash).unwrap(), "{} is lost", hash);
        }
        let near = known.iter().map(|hash| hash.wrapping_add(1));
        for other in others.into_iter().chain(near).filter(|other| !known.contains(other)) {
            prop_assert!(!list.has(other).unwrap(), "{} was never there", other);
        }
    }
}

#[test]
fn input_that_has_no_order_at_all_is_refused_beyond_a_bound() {
    let folder = Folder::new();
    let falling: String = (0..501_u64).rev().map(|hash| format!("{}\n", hex(hash))).collect();
    let result = make_by(falling.as_bytes(), Lines::Hashes, &folder.list(), 1);
    assert!(matches!(result, Err(MakeError::TooLarge)), "{result:?}");
    assert_eq!(folder.files(), 0);
    let rising: String = (0..5000_u64).map(|hash| format!("{}\n", hex(hash))).collect();
    assert_eq!(make_by(rising.as_bytes(), Lines::Hashes, &folder.list(), 1).unwrap().count, 5000);
}
