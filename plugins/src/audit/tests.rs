//! The log as a whole, over a store that fails when it is told to.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;

use super::*;
use crate::clock::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// What a [`Memory`] does when records are to be added.
const WORKS: u8 = 0;
const FAILS: u8 = 1;
/// It adds them and says that it could not, as a commit that was waited for too long.
const LIES: u8 = 2;

#[derive(Default)]
struct Memory {
    records: Mutex<Vec<Record>>,
    does: AtomicU8,
}

impl Memory {
    fn sequences(&self) -> Vec<u64> {
        self.records.lock().unwrap().iter().map(|record| record.sequence).collect()
    }

    fn events(&self) -> Vec<String> {
        self.records.lock().unwrap().iter().map(|record| record.event.clone()).collect()
    }
}

#[async_trait]
impl AuditStore for Memory {
    async fn append(&self, records: &[Record]) -> Result<(), StoreError> {
        let does = self.does.load(Ordering::SeqCst);
        let mut held = self.records.lock().unwrap();
        if held.iter().any(|held| records.iter().any(|new| new.sequence == held.sequence)) {
            return Err(StoreError::Taken);
        }
        if does == FAILS {
            return Err(StoreError::Timeout);
        }
        held.extend_from_slice(records);
        held.sort_by_key(|record| record.sequence);
        if does == LIES { Err(StoreError::Timeout) } else { Ok(()) }
    }

    async fn last(&self, up_to: u64) -> Result<Option<Record>, StoreError> {
        let held = self.records.lock().unwrap();
        Ok(held.iter().rfind(|record| record.sequence <= up_to).cloned())
    }

    async fn unnumbered(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn page(&self, after: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        let held = self.records.lock().unwrap();
        let behind = held.iter().filter(|record| record.sequence > after);
        Ok(behind.take(limit as usize).cloned().collect())
    }

    async fn latest(
        &self,
        filter: &AuditFilter,
        up_to: u64,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let mut found = self.records.lock().unwrap().clone();
        found.retain(|record| record.sequence <= up_to);
        found.retain(|record| filter.event.as_ref().is_none_or(|event| record.event == *event));
        Ok(found.split_off(found.len().saturating_sub(limit as usize)))
    }

    async fn last_older(&self, event: &str, than: Timestamp) -> Result<Option<Record>, StoreError> {
        let held = self.records.lock().unwrap();
        let older = held.iter().take_while(|record| record.time < than);
        Ok(older.filter(|record| record.event == event).last().cloned())
    }

    async fn forget_before(&self, sequence: u64, _: u32) -> Result<u64, StoreError> {
        let mut held = self.records.lock().unwrap();
        let before = held.len();
        held.retain(|record| record.sequence >= sequence);
        Ok((before - held.len()) as u64)
    }
}

/// A log in a folder of its own.
struct Place {
    folder: PathBuf,
    store: Arc<Memory>,
    clock: Clock,
    config: GatewayConfig,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    fn new(name: &str, rules: &str) -> Self {
        let name = format!("doorward-log-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"a.db\"\n[audit]\n{rules}\n"
        );
        let config = GatewayConfig::parse(&text, &folder).unwrap();
        let clock = Clock::manual(Timestamp(1_800_000_000_000));
        Self { folder, store: Arc::default(), clock, config }
    }

    async fn open(&self) -> Audit {
        Audit::open(&self.config, self.store.clone(), self.clock.clone()).await.unwrap()
    }

    fn lines(&self, file: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap();
        let parse = |line: &str| serde_json::from_str::<Record>(line).unwrap().sequence;
        text.lines().map(parse).collect()
    }
}

fn record_many(audit: &Audit, count: usize) {
    (0..count).for_each(|_| audit.record(&Event::new(EventKind::LoginFail).with("factor", "x")));
}

async fn findings(audit: &Audit) -> Vec<(u64, String)> {
    let findings = audit.verify().await.unwrap().findings;
    findings.into_iter().map(|finding| (finding.sequence, finding.what)).collect()
}

#[tokio::test]
async fn n09_what_does_not_fit_while_the_store_fails_is_counted_in_the_log() {
    let place = Place::new("gap", "queue = 5");
    let audit = place.open().await;
    place.store.does.store(FAILS, Ordering::SeqCst);
    record_many(&audit, 3);
    assert!(audit.flush().await.is_err());
    record_many(&audit, 7);
    assert!(audit.flush().await.is_err());
    assert_eq!(audit.dropped(), 2, "three are being written, five wait");
    assert!(place.store.sequences().is_empty());

    place.store.does.store(WORKS, Ordering::SeqCst);
    audit.flush().await.unwrap();
    let mut expected = vec!["authn_login_fail"; 8];
    expected.push("audit_gap");
    assert_eq!(place.store.events(), expected);
    assert_eq!(place.store.records.lock().unwrap()[8].details["count"], "2");
    assert_eq!(findings(&audit).await, []);
}

#[tokio::test]
async fn what_was_written_although_nobody_said_so_is_not_written_twice() {
    let place = Place::new("lies", "");
    let audit = place.open().await;
    place.store.does.store(LIES, Ordering::SeqCst);
    record_many(&audit, 2);
    assert!(audit.flush().await.is_err());
    place.store.does.store(WORKS, Ordering::SeqCst);
    record_many(&audit, 1);
    audit.flush().await.unwrap();
    assert_eq!(place.store.sequences(), [1, 2, 3]);
    assert_eq!(findings(&audit).await, []);
}

#[tokio::test]
async fn n10_who_writes_into_the_log_of_a_running_gate_is_told_of_in_it() {
    let place = Place::new("foreign", "");
    let audit = place.open().await;
    record_many(&audit, 2);
    audit.flush().await.unwrap();
    let last = place.store.last(u64::MAX).await.unwrap().unwrap();
    let forged = Record::chain(&Event::new(EventKind::LoginSuccess), Timestamp(0), last.head());
    place.store.records.lock().unwrap().push(forged);
    record_many(&audit, 1);
    audit.flush().await.unwrap();
    assert_eq!(place.store.sequences(), [1, 2, 3, 4, 5], "and it goes on");
    let found = findings(&audit).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].0 == 4 && found[0].1.contains("record 3 and all up to record 3 were added"),
        "{found:#?}"
    );
}

#[tokio::test]
async fn n10_what_was_done_while_no_gate_ran_is_told_of_by_the_next() {
    for (done, expected) in [
        ("nothing", None),
        ("cut", Some("record 3 is missing, with all up to record 4")),
        ("replaced", Some("record 4 is not the one of the signed end")),
        ("added", Some("record 5 was added behind the signed end")),
        ("emptied", Some("record 1 is missing, with all up to record 4")),
        ("head removed", Some("no signed end")),
    ] {
        let place = Place::new(&format!("stopped-{}", done.replace(' ', "-")), "");
        let audit = place.open().await;
        record_many(&audit, 3);
        audit.close().await;
        assert_eq!(place.store.sequences(), [1, 2, 3, 4], "the last one is a checkpoint");
        {
            let mut held = place.store.records.lock().unwrap();
            let last = held[3].clone();
            match done {
                "cut" => held.truncate(2),
                "replaced" => held[3] = Record { account: None, hash: Hash([7; 32]), ..last },
                "added" => {
                    let event = Event::new(EventKind::LoginSuccess);
                    held.push(Record::chain(&event, Timestamp(0), last.head()));
                }
                "emptied" => held.clear(),
                "head removed" => std::fs::remove_file(place.folder.join("a.audit-head")).unwrap(),
                _ => {}
            }
        }
        let audit = place.open().await;
        let found = findings(&audit).await;
        match expected {
            None => assert_eq!(found, [], "{done}"),
            Some(text) => {
                assert!(found.iter().any(|(_, what)| what.contains(text)), "{done}: {found:#?}");
            }
        }
    }
}

/// A log of somebody without the key.
fn invented(count: usize) -> Vec<Record> {
    let mut head = Head::default();
    let event = Event::new(EventKind::LoginSuccess).account("mallory");
    let chained = (0..count).map(|_| {
        let record = Record::chain(&event, Timestamp(0), head);
        head = record.head();
        record
    });
    chained.collect()
}

/// Somebody changes the log and keeps what the gate says about it from being written.
#[tokio::test]
async fn n10_a_changed_log_is_not_signed_while_the_record_that_says_so_cannot_be_written() {
    for done in ["cut", "replaced", "added", "emptied", "emptied, no head", "replaced, no head"] {
        let place = Place::new(&format!("unsigned-{}", done.replace([' ', ','], "-")), "");
        let audit = place.open().await;
        record_many(&audit, 3);
        audit.close().await;
        {
            let mut held = place.store.records.lock().unwrap();
            match done.split(',').next().unwrap() {
                "cut" => held.truncate(2),
                "emptied" => held.clear(),
                "replaced" => *held = invented(4),
                _ => {
                    let event = Event::new(EventKind::LoginSuccess);
                    let added = Record::chain(&event, Timestamp(0), held[3].head());
                    held.push(added);
                }
            }
        }
        if done.ends_with("no head") {
            std::fs::remove_file(place.folder.join("a.audit-head")).unwrap();
        }
        let left = place.store.sequences();
        place.store.does.store(FAILS, Ordering::SeqCst);
        for _ in 0..2 {
            let audit = place.open().await;
            record_many(&audit, 1);
            assert!(audit.flush().await.is_err());
            assert!(audit.prune().await.is_ok(), "it waits for that record too");
            assert_ne!(findings(&audit).await, [], "{done}");
        }
        assert_eq!(place.store.sequences(), left);
        place.store.does.store(WORKS, Ordering::SeqCst);
        let audit = place.open().await;
        audit.flush().await.unwrap();
        assert_eq!(place.store.events().last().unwrap(), "audit_broken", "{done}");
        assert_ne!(findings(&audit).await, [], "{done}");
        drop(audit);
        assert_ne!(findings(&place.open().await).await, [], "{done}: for good");
    }
}

#[tokio::test]
async fn n10_who_writes_into_a_running_log_and_then_keeps_it_from_going_on_is_found() {
    let place = Place::new("foreign-fails", "");
    let audit = place.open().await;
    record_many(&audit, 2);
    audit.flush().await.unwrap();
    let last = place.store.last(u64::MAX).await.unwrap().unwrap();
    let forged = Record::chain(&Event::new(EventKind::LoginSuccess), Timestamp(0), last.head());
    place.store.records.lock().unwrap().push(forged);
    place.store.does.store(FAILS, Ordering::SeqCst);
    record_many(&audit, 1);
    assert!(audit.flush().await.is_err());
    assert_eq!(findings(&audit).await.len(), 1, "at once");
    drop(audit);
    place.store.does.store(WORKS, Ordering::SeqCst);
    let found = findings(&place.open().await).await;
    assert!(found.iter().any(|(_, what)| what.contains("the signed end")), "{found:?}");
}

#[tokio::test]
async fn n10_a_row_with_the_last_number_there_is_stops_neither_the_log_nor_its_copy() {
    let place = Place::new("far", "file = \"audit.jsonl\"");
    let audit = place.open().await;
    record_many(&audit, 2);
    audit.close().await;
    let far = Record { sequence: i64::MAX as u64, ..invented(1).remove(0) };
    place.store.records.lock().unwrap().push(far);
    for _ in 0..2 {
        let audit = place.open().await;
        record_many(&audit, 1);
        audit.flush().await.unwrap();
        let found = findings(&audit).await;
        assert!(found.iter().any(|(_, what)| what.contains("behind the signed end")), "{found:?}");
        let listed = audit.latest(&AuditFilter::default(), 100).await.unwrap();
        assert!(listed.last().unwrap().sequence < 8, "it is not listed");
    }
    assert_eq!(place.store.sequences()[..7], [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(place.lines("audit.jsonl"), [1, 2, 3, 4, 5, 6, 7]);
    place.store.records.lock().unwrap().pop();
    let found = findings(&place.open().await).await;
    assert!(found.iter().all(|(_, what)| what.contains("says that the gate found")), "{found:?}");
    assert_eq!(found.len(), 2, "each start has told of it: {found:?}");

    place.store.records.lock().unwrap().truncate(3);
    place.open().await.flush().await.unwrap();
    assert_eq!(place.lines("audit.jsonl")[7..], [4], "nor does a log that was cut stop the copy");
}

#[tokio::test]
async fn n10_a_crash_at_any_time_leaves_a_log_that_verifies() {
    for does in [WORKS, FAILS, LIES] {
        let place = Place::new(&format!("crash-{does}"), "");
        let audit = place.open().await;
        record_many(&audit, 2);
        audit.flush().await.unwrap();
        place.store.does.store(does, Ordering::SeqCst);
        record_many(&audit, 2);
        let _ = audit.flush().await;
        drop(audit);
        place.store.does.store(WORKS, Ordering::SeqCst);
        let audit = place.open().await;
        assert_eq!(findings(&audit).await, [], "{does}");
        record_many(&audit, 1);
        assert_eq!(findings(&audit).await, [], "{does}");
    }
}

#[tokio::test]
async fn checkpoints_come_by_number_and_by_time_and_at_the_end() {
    let place = Place::new("checkpoints", "checkpoint_records = 3\ncheckpoint_interval = \"1m\"");
    let audit = place.open().await;
    record_many(&audit, 4);
    audit.flush().await.unwrap();
    let checkpoints = || {
        let records = place.store.records.lock().unwrap();
        let is_one = |record: &&Record| record.event == "audit_checkpoint";
        records.iter().filter(is_one).map(|record| record.sequence).collect::<Vec<_>>()
    };
    assert_eq!(checkpoints(), [4]);
    place.clock.advance(Duration::from_secs(61));
    audit.flush().await.unwrap();
    assert_eq!(checkpoints(), [4, 6]);
    place.clock.advance(Duration::from_secs(61));
    audit.flush().await.unwrap();
    assert_eq!(checkpoints(), [4, 6], "nothing happened since");
    record_many(&audit, 1);
    audit.close().await;
    assert_eq!(checkpoints(), [4, 6, 8]);
    assert_eq!(audit.verify().await.unwrap().findings, []);
}

#[tokio::test]
async fn n10_what_is_left_by_pruning_verifies_and_what_is_taken_beyond_it_is_missed() {
    let place = Place::new("prune", "keep = \"2d\"\ncheckpoint_records = 4");
    let audit = place.open().await;
    for _ in 0..5 {
        record_many(&audit, 4);
        audit.flush().await.unwrap();
        audit.prune().await.unwrap();
        place.clock.advance(DAY);
    }
    let kept = place.store.sequences();
    // The third day's checkpoint is the last that is older than two days.
    assert_eq!(kept[0], 10, "{kept:?}");
    assert_eq!(place.store.records.lock().unwrap()[0].event, "audit_checkpoint");
    assert_eq!(findings(&audit).await, []);

    // What is put in where the log was pruned is neither listed nor taken for a part of it.
    for count in [5, 9] {
        place.store.records.lock().unwrap().splice(0..0, invented(count));
        assert_eq!(findings(&audit).await.len(), 1);
        let listed = audit.latest(&AuditFilter::default(), 100).await.unwrap();
        assert_eq!(listed[0].sequence, 10);
        place.store.records.lock().unwrap().drain(..count);
    }
    // Nor can anybody make the gate prune by making records older than they are.
    place.clock.advance(Duration::from_secs(3600));
    place.store.records.lock().unwrap().iter_mut().for_each(|record| record.time = Timestamp(0));
    audit.prune().await.unwrap();
    assert_eq!(place.store.sequences()[0], 10);
    place.store.records.lock().unwrap().remove(0);
    assert_eq!(findings(&audit).await[0], (10, "is missing".to_owned()));
}

#[tokio::test]
async fn nothing_is_pruned_while_somebody_reads_the_log_part_by_part() {
    let place = Place::new("read", "keep = \"2d\"");
    let audit = place.open().await;
    record_many(&audit, PAGE as usize + 100);
    audit.close().await;
    place.clock.advance(2 * DAY - Duration::from_secs(10));
    assert_eq!(audit.page(0).await.unwrap().0.len(), PAGE as usize);
    place.clock.advance(Duration::from_secs(20));
    audit.prune().await.unwrap();
    assert_eq!(place.store.sequences()[0], 1);
    place.clock.advance(Duration::from_secs(3600));
    audit.prune().await.unwrap();
    assert!(place.store.sequences()[0] > 1);
}

#[tokio::test]
async fn the_file_follows_the_log_through_rotation_crash_and_restart() {
    let place = Place::new("file", "file = \"audit.jsonl\"");
    let file = place.folder.join("audit.jsonl");
    let audit = place.open().await;
    record_many(&audit, 2);
    audit.flush().await.unwrap();
    assert_eq!(place.lines("audit.jsonl"), [1, 2]);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    std::fs::rename(&file, place.folder.join("old.jsonl")).unwrap();
    record_many(&audit, 1);
    audit.flush().await.unwrap();
    assert_eq!((place.lines("old.jsonl"), place.lines("audit.jsonl")), (vec![1, 2], vec![3]));

    // A crash: the store has more than the file, and of that a piece of a line is there.
    drop(audit);
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("{\"sequence\":4,\"ti");
    std::fs::write(&file, text).unwrap();
    let unseen = place.open().await;
    record_many(&unseen, 2);
    unseen.flush().await.unwrap();
    assert_eq!(place.lines("audit.jsonl"), [3, 4, 5]);

    // No place for it: the store goes on, and it catches up.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    record_many(&unseen, 2);
    unseen.flush().await.unwrap();
    std::fs::remove_dir(&file).unwrap();
    unseen.close().await;
    assert_eq!(place.lines("audit.jsonl"), [6, 7, 8]);
    assert_eq!(unseen.dropped(), 0);
}

#[tokio::test]
async fn n04_no_text_can_leave_its_line_or_steer_a_screen() {
    const EVIL: &str = "\u{1b}[31m\u{202e}\r\n{\"sequence\":9}\u{2028}\0\"\\";
    let place = Place::new("evil", "file = \"audit.jsonl\"");
    let audit = place.open().await;
    let event = Event::new(EventKind::LoginFail).account(EVIL).session(EVIL).principal(EVIL);
    let long = "\u{e9}".repeat(100_000);
    audit.record(&event.from_request(EVIL, EVIL).with("name", EVIL).with("long", long));
    audit.flush().await.unwrap();
    let text = std::fs::read_to_string(place.folder.join("audit.jsonl")).unwrap();
    assert_eq!(place.lines("audit.jsonl"), [1]);
    assert!(!text.trim_end().contains(|c: char| c.is_control() || "\u{202e}\u{2028}".contains(c)));
    assert!(text.len() < 10_000, "bounded");
    let shown = place.store.records.lock().unwrap()[0].for_people();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert_eq!(findings(&audit).await, []);
}

/// A log that is not opened is one all the same, for who only needs somewhere to tell.
#[tokio::test]
async fn a_log_without_a_store_takes_events_and_holds_none() {
    let audit = Audit::default();
    record_many(&audit, 3);
    audit.flush().await.unwrap();
    assert_eq!((audit.dropped(), audit.verify().await.unwrap()), (0, Report::default()));
}
