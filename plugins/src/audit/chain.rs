//! Verification: what was done to a log, and where.
//!
//! What is found: a record that was edited, replaced, removed, put in or moved; records missing at
//! the front beyond what the log itself says was pruned, as far as a signature covers that; records
//! put in before what was kept; records missing at the end, or added there, against what is signed
//! about the end.
//!
//! Pruning takes records away from the front only, and not while the log is read: between two records
//! nothing may be missing. What stands before the first kept record is of the log if it is chained to
//! it, and was put in otherwise.
//!
//! What is not found: a log and its signed end that were both put back to an earlier state together
//! (an export kept elsewhere shows it), and what was done by somebody who has the key.

use serde::{Deserialize, Serialize};

use super::EventKind;
use super::record::{Hash, Head, Record};
use super::seal::{End, SEAL, SealReader};

/// How many findings are kept; the others are counted.
const FINDINGS_MAX: usize = 100;

/// The detail of a record about pruning that holds the first record that was kept.
pub(super) const FIRST_KEPT: &str = "first_kept";
/// The detail of a record about a broken log that says what was found.
pub(super) const FOUND: &str = "found";

/// Something that was done to a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The number of the record that it was done to, or of the first of several.
    pub sequence: u64,
    /// What.
    pub what: String,
}

/// What a verification has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many records were looked at.
    pub records: u64,
    /// The first of them; zero if there were none.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// The last one that a signature covers, in a checkpoint or the signed end.
    pub signed: u64,
    /// What was done to the log, in its order. Some of it, if it is much.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: u64,
}

/// Takes the records of a log, one after the other.
pub struct Verifier {
    seals: SealReader,
    at: Option<Head>,
    /// No record before this one has to be there: a signature covers the record that says so.
    first_kept: u64,
    /// The same as far as only a record says so that no signature covers yet.
    says_kept: u64,
    /// Only a piece of a log, which may begin and end anywhere.
    piece: bool,
    /// Missing records between others, from and to.
    gaps: Vec<(u64, u64)>,
    report: Report,
}

impl Verifier {
    /// For a whole log, or for a `piece` of one.
    pub(crate) fn new(seals: SealReader, piece: bool) -> Self {
        let (gaps, report) = (Vec::new(), Report::default());
        Self { seals, at: None, first_kept: 1, says_kept: 1, piece, gaps, report }
    }

    /// For a log in a file that was sealed with this key.
    ///
    /// # Errors
    /// [`doorward_certs::KeyFileError`] when the key cannot be read.
    pub fn of_file(
        key_file: &std::path::Path,
        piece: bool,
    ) -> Result<Self, doorward_certs::KeyFileError> {
        SealReader::open(key_file).map(|seals| Self::new(seals, piece))
    }

    /// Looks at the next record.
    pub fn take(&mut self, record: &Record) {
        let sequence = record.sequence;
        if sequence == 0 {
            self.found(0, "has a number that no gate gives");
        }
        if record.hash != record.computed_hash() {
            self.found(sequence, "was edited");
        }
        match self.at {
            None => self.begin(record),
            Some(at) if sequence == at.sequence.saturating_add(1) => {
                if record.prev != at.hash {
                    let what = format!("was replaced: record {sequence} follows from another");
                    self.found(at.sequence, what);
                }
            }
            Some(at) if sequence > at.sequence && self.gaps.len() < FINDINGS_MAX => {
                self.gaps.push((at.sequence + 1, sequence - 1));
            }
            Some(at) if sequence > at.sequence => self.missing(at.sequence + 1, sequence - 1),
            Some(_) => self.found(sequence, "stands here out of order, or again"),
        }
        self.look_into(record);
        self.at = Some(record.head());
        self.report.records += 1;
        self.report.last = sequence;
    }

    fn begin(&mut self, record: &Record) {
        self.report.first = record.sequence;
        if record.sequence == 1 && record.prev != Hash::default() {
            self.found(1, "was replaced: it does not begin a log");
        }
    }

    /// What a record says of the log.
    fn look_into(&mut self, record: &Record) {
        let detail = |name: &str| record.details.get(name).map_or("", String::as_str);
        let is = |kind: EventKind| record.event == kind.name();
        if is(EventKind::AuditCheckpoint) {
            let stated = self.seals.checkpoint(detail(SEAL));
            let before = Head { sequence: record.sequence.saturating_sub(1), hash: record.prev };
            if stated == Some(before) {
                self.report.signed = before.sequence;
                self.first_kept = self.says_kept;
            } else {
                let what = format!(
                    "is a checkpoint that the log's key has not signed: something after record {} was changed",
                    self.report.signed
                );
                self.found(record.sequence, what);
            }
        } else if is(EventKind::AuditPruned) {
            self.says_kept = self.says_kept.max(first_kept(record));
        } else if is(EventKind::AuditBroken) {
            let what = format!("says that the gate found the log changed: {}", detail(FOUND));
            self.found(record.sequence, what);
        }
    }

    /// So many rows have numbers before one, where no record can be.
    pub(crate) fn take_unnumbered(&mut self, count: u64) {
        if count > 0 {
            let what = format!("and before it are {count} rows that no gate has written");
            self.found(0, what);
        }
    }

    /// Something stands where the next record should.
    pub fn take_unreadable(&mut self, line: u64) {
        let sequence = self.at.map_or(1, |at| at.sequence.saturating_add(1));
        self.found(sequence, format!("is no record as it was exported (line {line})"));
    }

    /// All records were there. `end` is what is signed about the end, as it was found.
    pub fn finish(mut self, end: Option<&str>) -> Report {
        let end = end.map(|token| self.seals.end(token));
        let signed_end = end.flatten();
        if signed_end.is_some_and(|end| verify_end(self.at.unwrap_or_default(), end).is_none()) {
            self.first_kept = self.says_kept;
        }
        let (first, last) = (self.report.first, signed_end.map_or(u64::MAX, End::furthest));
        for (from, to) in std::mem::take(&mut self.gaps) {
            if to < self.first_kept {
                let kept = self.first_kept;
                let what = format!("and what is before it was put in: the log begins at {kept}");
                self.found(from - 1, what);
            } else if from <= last {
                // Behind the end nothing is missing, whatever number somebody wrote there.
                self.missing(from, to.min(last));
            }
        }
        if first > self.first_kept && !self.piece {
            self.missing(self.first_kept, first - 1);
        }
        match end {
            None if self.piece => {}
            None => {
                let what = "and what followed is missing, or the log's signed end is";
                self.found(self.report.last.saturating_add(1), what);
            }
            Some(None) => {
                let what =
                    "and the records before it have an end that the log's key has not signed";
                self.found(self.report.last, what);
            }
            Some(Some(end)) => match verify_end(self.at.unwrap_or_default(), end) {
                None => self.report.signed = self.report.last,
                Some(finding) => self.found(finding.sequence, finding.what),
            },
        }
        self.report.findings.sort_by_key(|finding| finding.sequence);
        self.report
    }

    fn missing(&mut self, from: u64, to: u64) {
        self.found(from, missing(from, to));
    }

    fn found(&mut self, sequence: u64, what: impl Into<String>) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(Finding { sequence, what: what.into() });
        } else {
            self.report.more_findings += 1;
        }
    }
}

/// The first record that was kept, as a record about pruning says.
pub(super) fn first_kept(record: &Record) -> u64 {
    record.details.get(FIRST_KEPT).and_then(|first| first.parse().ok()).unwrap_or_default()
}

fn missing(from: u64, to: u64) -> String {
    if from == to { "is missing".into() } else { format!("is missing, with all up to record {to}") }
}

/// What is wrong about a log that ends at `last`, if `end` is what is signed about its end.
pub(crate) fn verify_end(last: Head, end: End) -> Option<Finding> {
    if last == end.now || last == end.next {
        return None;
    }
    let (sequence, what) = if last.sequence < end.now.sequence {
        (last.sequence + 1, missing(last.sequence + 1, end.now.sequence))
    } else if last.sequence > end.furthest() {
        let first = end.furthest() + 1;
        (first, format!("was added behind the signed end, up to {}", last.sequence))
    } else {
        (last.sequence, "is not the one of the signed end: it was replaced".into())
    };
    Some(Finding { sequence, what })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::Event;
    use crate::audit::seal::Seals;
    use crate::clock::Timestamp;

    /// A key that is made once: making one takes its time.
    fn seals() -> &'static Seals {
        static SEALS: std::sync::OnceLock<Seals> = std::sync::OnceLock::new();
        SEALS.get_or_init(|| sealed_in("chain"))
    }

    fn sealed_in(name: &str) -> Seals {
        let name = format!("doorward-audit-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let opened = Seals::open(&folder.join("keys"), folder.join("head"), Timestamp(0));
        opened.unwrap().0
    }

    /// A log with a checkpoint behind every few records, and what is signed about its end.
    fn log(count: u64, every: u64) -> (Vec<Record>, String) {
        let mut head = Head::default();
        let mut records = Vec::new();
        for number in 1..=count {
            let event = if number % every == 0 {
                seals().checkpoint(head, Timestamp(number)).unwrap()
            } else {
                Event::new(EventKind::LoginFail).account("alice").with("number", number)
            };
            records.push(Record::chain(&event, Timestamp(number), head));
            head = records.last().unwrap().head();
        }
        let end = seals().end_statement(End { now: head, next: head }, Timestamp(0));
        (records, end.unwrap())
    }

    fn verify(records: &[Record], end: &str) -> Report {
        let mut verifier = Verifier::new(seals().reader(), false);
        records.iter().for_each(|record| verifier.take(record));
        verifier.finish(Some(end))
    }

    /// The numbers of the records that something was done to.
    fn places(records: &[Record], end: &str) -> Vec<u64> {
        verify(records, end).findings.into_iter().map(|finding| finding.sequence).collect()
    }

    /// Chains everything from `from` on anew, as somebody without the key can.
    fn rechain(records: &mut [Record], from: usize) {
        for index in from..records.len() {
            let before = index.checked_sub(1).map_or(Head::default(), |at| records[at].head());
            records[index] = records[index].clone().rechained(before);
        }
    }

    fn edit(record: &mut Record, field: usize) {
        match field {
            0 => record.time.0 += 1,
            1 => record.event.push('x'),
            2 => record.severity = "warning".into(),
            3 => record.outcome = None,
            4 => record.principal = Some(String::new()),
            5 => record.account = Some("bob".into()),
            6 => record.session = Some("x".into()),
            7 => record.address = Some("x".into()),
            8 => record.request_id = Some("x".into()),
            9 => drop(record.details.insert("number".into(), "x".into())),
            10 => record.prev.0[31] ^= 1,
            _ => record.hash.0[0] ^= 1,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn n10_whatever_is_done_to_one_record_is_found_where_it_was_done(
            count in 2_u64..20, every in 3_u64..6, at in 0_usize..20, field in 0_usize..12,
        ) {
            let (log, end) = log(count, every);
            let at = at % log.len();
            let number = at as u64 + 1;
            prop_assert_eq!(places(&log, &end), Vec::<u64>::new());
            prop_assert_eq!(verify(&log, &end).signed, count);

            let mut edited = log.clone();
            edit(&mut edited[at], field);
            prop_assume!(edited != log);
            prop_assert!(places(&edited, &end).contains(&number), "edited");

            let mut replaced = log.clone();
            replaced[at].account = Some("mallory".into());
            replaced[at].hash = replaced[at].computed_hash();
            prop_assert_eq!(places(&replaced, &end), [number], "replaced, with its hash");

            let mut removed = log.clone();
            removed.remove(at);
            prop_assert!(places(&removed, &end).contains(&number), "removed");

            let mut doubled = log.clone();
            doubled.insert(at, log[at].clone());
            prop_assert!(places(&doubled, &end).contains(&number), "put in again");

            let mut swapped = log.clone();
            let lower = at.min(log.len() - 2);
            swapped.swap(lower, lower + 1);
            prop_assert!(places(&swapped, &end).contains(&(lower as u64 + 1)), "swapped");

            let cut = &log[..at];
            prop_assert_eq!(places(cut, &end), [number], "cut off at the end");
            if at > 0 {
                prop_assert_eq!(places(&log[at..], &end), [1], "cut off at the front");
            }
        }

        #[test]
        fn n10_a_chain_that_was_made_anew_without_the_key_is_found(
            count in 2_u64..20, every in 3_u64..6, at in 0_usize..20,
        ) {
            let (log, end) = log(count, every);
            let at = at % log.len();
            let mut edited = log.clone();
            edited[at].account = Some("mallory".into());
            rechain(&mut edited, at);
            let mut removed = log.clone();
            removed.remove(at);
            rechain(&mut removed, at);
            let mut added = log.clone();
            added.push(log[0].clone());
            rechain(&mut added, log.len());
            for forged in [edited, removed, added] {
                prop_assert!(!places(&forged, &end).is_empty());
            }
        }
    }

    #[test]
    fn n10_a_checkpoint_of_another_key_or_about_another_record_is_none() {
        let (log, end) = log(9, 3);
        let mut forged = log.clone();
        let event = sealed_in("other").checkpoint(log[1].head(), Timestamp(3)).unwrap();
        forged[2] = Record::chain(&event, Timestamp(3), log[1].head());
        rechain(&mut forged, 3);
        let found = verify(&forged, &end);
        assert_eq!(found.findings[0].sequence, 3, "{found:#?}");
        assert!(found.findings[0].what.contains("has not signed"), "{found:#?}");
        let statement = log[2].details[SEAL].clone();
        assert_eq!(places(&log, &statement), [9], "a checkpoint is no signed end");
        assert_eq!(places(&log, "x"), [9]);
    }

    #[test]
    fn n10_what_the_log_says_was_pruned_is_not_missing_and_nothing_more() {
        let mut head = Head::default();
        let mut records = Vec::new();
        for number in 1..=9 {
            let event = match number {
                4 => seals().checkpoint(head, Timestamp(0)).unwrap(),
                8 => Event::new(EventKind::AuditPruned).with(FIRST_KEPT, 4),
                _ => Event::new(EventKind::LoginFail),
            };
            records.push(Record::chain(&event, Timestamp(number), head));
            head = records.last().unwrap().head();
        }
        let end = seals().end_statement(End { now: head, next: head }, Timestamp(0)).unwrap();
        for first in 0..=3 {
            assert_eq!(places(&records[first..], &end), Vec::<u64>::new(), "from {}", first + 1);
        }
        assert_eq!(places(&records[4..], &end), [4]);
        let apart = [&records[..1], &records[3..]].concat();
        assert_eq!(places(&apart, &end), [1], "not chained to what was kept");
        let mut invented = records[..3].to_vec();
        invented[0].account = Some("mallory".into());
        rechain(&mut invented, 0);
        assert_eq!(places(&[&invented[..], &records[3..]].concat(), &end), [3]);
        assert_eq!(places(&[&invented[..2], &records[3..]].concat(), &end), [2]);
        let mut piece = Verifier::new(seals().reader(), true);
        records[6..].iter().for_each(|record| piece.take(record));
        assert_eq!(piece.finish(None).findings, []);
    }

    /// Whoever writes into a file can say that the log was pruned, and sign nothing.
    #[test]
    fn n10_what_only_an_unsigned_record_says_was_pruned_is_missing() {
        let (log, end) = log(20, 5);
        let behind = |records: &[Record], first: u64| {
            let event = Event::new(EventKind::AuditPruned).with(FIRST_KEPT, first);
            let last = records.last().unwrap().head();
            [records, &[Record::chain(&event, Timestamp(0), last)]].concat()
        };
        let mut edited = log.clone();
        edited[6].account = Some("mallory".into());
        edited[6].hash = edited[6].computed_hash();
        edited.drain(7..14);
        let mut piece = Verifier::new(seals().reader(), true);
        behind(&edited, 20).iter().for_each(|record| piece.take(record));
        let report = piece.finish(None);
        assert_eq!((report.findings[0].sequence, report.findings.len()), (8, 1), "{report:#?}");

        let cut = behind(&log[3..], 4);
        let found = places(&cut, &end);
        assert!(found.contains(&1) && found.contains(&21), "{found:?}");
    }

    #[test]
    fn n10_a_row_with_a_number_that_no_record_can_have_is_found() {
        let (mut log, end) = log(9, 3);
        log.push(Record { sequence: i64::MAX as u64, ..log[0].clone().rechained(log[8].head()) });
        let found = verify(&log, &end).findings;
        let texts: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert!(texts.iter().any(|text| text.contains("added behind the signed end")), "{texts:?}");
        assert!(!texts.iter().any(|text| text.contains("missing")), "{texts:?}");
        log.pop();
        let mut verifier = Verifier::new(seals().reader(), false);
        log.iter().for_each(|record| verifier.take(record));
        verifier.take_unnumbered(2);
        assert_eq!(verifier.finish(Some(&end)).findings[0].sequence, 0);
    }

    #[test]
    fn after_a_crash_the_log_ends_at_one_of_two_places() {
        let at = |sequence| Head { sequence, hash: Hash([1; 32]) };
        let end = End { now: at(5), next: at(8) };
        for (sequence, found) in [(4, Some(5)), (5, None), (6, Some(6)), (8, None), (9, Some(9))] {
            let finding = verify_end(at(sequence), end);
            assert_eq!(finding.map(|finding| finding.sequence), found, "{sequence}");
        }
    }
}
