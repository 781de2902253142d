use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::*;
use crate::context::tests::config;
use crate::language::Language;
use crate::store::SqliteStore;

const START: Timestamp = Timestamp(1_800_000_000_000);

/// What a sender of these tests does with the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Accepts,
    Delays,
    Refuses,
    /// Gives it away, and never hears what became of it.
    Loses,
    /// Gives it away, and then vanishes.
    Vanishes,
    /// Vanishes before it gives anything away.
    VanishesEarly,
}

struct Stub {
    does: Mutex<Does>,
    got: Mutex<Vec<(String, String)>>,
    tried: AtomicU32,
}

impl Stub {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does: Mutex::new(does), got: Mutex::default(), tried: AtomicU32::new(0) })
    }

    fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn got(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    fn tried(&self) -> u32 {
        self.tried.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Sender for Stub {
    async fn send(&self, parcel: &Parcel<'_>, handover: &Handover<'_>) -> Result<(), SendError> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        let does = *self.does.lock().unwrap();
        match does {
            Does::Delays => return Err(SendError::Later("busy".into())),
            Does::Refuses => return Err(SendError::Refused("no such user".into())),
            Does::VanishesEarly => std::future::pending().await,
            Does::Accepts | Does::Loses | Does::Vanishes => {}
        }
        handover.pass().await?;
        self.got.lock().unwrap().push((parcel.id.to_owned(), parcel.body.text.clone()));
        match does {
            Does::Loses => Err(SendError::Unclear("connection lost".into())),
            Does::Vanishes => std::future::pending().await,
            _ => Ok(()),
        }
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(10)
    }
}

struct Post {
    notify: Arc<Notify>,
    store: Arc<SqliteStore>,
    vault: Arc<Vault>,
    stub: Arc<Stub>,
    clock: Clock,
    folder: std::path::PathBuf,
}

impl Drop for Post {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn post(name: &str, more: &str, does: Does) -> Post {
    let folder = std::env::temp_dir().join(format!("doorward-post-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let store = Arc::new(SqliteStore::open(&folder.join("a.db")).await.unwrap());
    let vault = Arc::new(Vault::open(&folder.join("vault")).unwrap());
    let (clock, stub) = (Clock::manual(START), Stub::new(does));
    let notify = gate((&store, &vault), &stub, &clock, more);
    Post { notify, store, vault, stub, clock, folder }
}

/// One of several gates over a store.
fn gate(
    (store, vault): (&Arc<SqliteStore>, &Arc<Vault>),
    stub: &Arc<Stub>,
    clock: &Clock,
    more: &str,
) -> Arc<Notify> {
    let rules = &config(&format!("[notify]\noutbox_dir = \"x\"\n{more}")).notify;
    let notify = Notify::new(rules, store.clone(), vault.clone(), clock.clone());
    notify.connect(Senders { email: Some(stub.clone()), ..Senders::default() });
    notify
}

fn message(text: &str) -> Message {
    let to = "alice@example.com";
    let body = Body::new(to, Language::English, "s".into(), text.into());
    Message {
        channel: Channel::Email,
        kind: "alert_locked".into(),
        body,
        expires: None,
        once: None,
    }
}

impl Post {
    async fn enqueue(&self, text: &str) -> String {
        self.notify.enqueue(&message(text)).await.unwrap()
    }

    async fn waiting(&self) -> u64 {
        self.store.waiting(Channel::Email).await.unwrap()
    }

    /// The bodies that the store has of messages, as they are.
    async fn bodies(&self) -> Vec<Vec<u8>> {
        let url = format!("sqlite://{}", self.folder.join("a.db").display());
        let pool = sqlx::sqlite::SqlitePool::connect(&url).await.unwrap();
        sqlx::query_scalar("SELECT body FROM message").fetch_all(&pool).await.unwrap()
    }

    /// Has the store the text of any message, readable or not?
    async fn holds_text(&self) -> bool {
        self.bodies().await.iter().any(|body| !body.is_empty())
    }
}

#[tokio::test]
async fn g16_what_is_not_accepted_is_tried_again_with_growing_waits() {
    let post = post("waits", "retry_first = \"4s\"\nretry_max = \"30s\"", Does::Delays).await;
    post.enqueue("hello").await;
    for (tries, wait) in [(1, 4), (2, 8), (3, 16), (4, 30), (5, 30)] {
        post.notify.deliver().await;
        assert_eq!(post.stub.tried(), tries);
        post.clock.advance(Duration::from_millis(wait * 750 - 1));
        post.notify.deliver().await;
        assert_eq!(post.stub.tried(), tries, "not before {wait} s, less a quarter");
        post.clock.advance(Duration::from_millis(wait * 500 + 1));
    }
    post.stub.now(Does::Accepts);
    let bodies = post.bodies().await;
    assert!(!bodies[0].windows(5).any(|window| window == b"hello"), "encrypted");
    for _ in 0..3 {
        post.notify.deliver().await;
        post.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(post.stub.got(), 1, "exactly once");
    assert!(!post.holds_text().await, "its text is gone");
}

#[tokio::test]
async fn a_message_is_given_up_after_its_tries_its_age_or_a_refusal() {
    let tries = post("tries", "tries_max = 3", Does::Delays).await;
    tries.enqueue("hello").await;
    for _ in 0..10 {
        tries.notify.deliver().await;
        tries.clock.advance(Duration::from_secs(1200));
    }
    assert_eq!((tries.stub.tried(), tries.waiting().await), (3, 0));
    assert!(!tries.holds_text().await);

    let age = post("age", "age_max = \"1h\"", Does::Accepts).await;
    age.enqueue("hello").await;
    age.clock.advance(Duration::from_secs(3600));
    age.notify.deliver().await;
    assert_eq!((age.stub.tried(), age.waiting().await), (0, 0));
    assert!(!age.holds_text().await);

    let refused = post("refused", "", Does::Refuses).await;
    refused.enqueue("hello").await;
    refused.notify.deliver().await;
    refused.clock.advance(Duration::from_secs(1200));
    refused.notify.deliver().await;
    assert_eq!((refused.stub.tried(), refused.waiting().await), (1, 0));
}

#[tokio::test]
async fn what_may_have_been_accepted_is_not_sent_again() {
    let lost = post("lost", "", Does::Loses).await;
    lost.enqueue("hello").await;
    for _ in 0..3 {
        lost.notify.deliver().await;
        lost.clock.advance(Duration::from_secs(1200));
    }
    assert_eq!((lost.stub.tried(), lost.waiting().await), (1, 0));

    for (does, sent_again) in [(Does::Vanishes, false), (Does::VanishesEarly, true)] {
        let post = post("vanished", "", does).await;
        post.enqueue("hello").await;
        let delivery = post.notify.deliver();
        // This gate is gone in the middle of it.
        let waits = tokio::time::timeout(Duration::from_millis(200), delivery).await;
        assert!(waits.is_err());
        post.stub.now(Does::Accepts);
        let other = gate((&post.store, &post.vault), &post.stub, &post.clock, "");
        other.deliver().await;
        assert_eq!(post.stub.tried(), 1, "its lease holds");
        post.clock.advance(Duration::from_secs(40));
        other.deliver().await;
        assert_eq!(post.stub.tried(), if sent_again { 2 } else { 1 }, "{does:?}");
        assert_eq!((post.stub.got(), post.waiting().await), (1, 0), "once in any case");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_gates_send_each_message_once() {
    let post = post("gates", "", Does::Accepts).await;
    let others: Vec<_> =
        (0..3).map(|_| gate((&post.store, &post.vault), &post.stub, &post.clock, "")).collect();
    for number in 0..60 {
        post.enqueue(&format!("message {number}")).await;
    }
    let mut gates = JoinSet::new();
    for notify in others.into_iter().chain([Arc::clone(&post.notify)]) {
        gates.spawn(async move { notify.deliver().await });
    }
    gates.join_all().await;
    let mut texts: Vec<_> =
        post.stub.got.lock().unwrap().iter().map(|(_, text)| text.clone()).collect();
    texts.sort();
    texts.dedup();
    assert_eq!((texts.len(), post.stub.got(), post.waiting().await), (60, 60, 0));
}

#[tokio::test]
async fn a_gate_whose_lease_ran_out_sends_nothing() {
    let post = post("fence", "", Does::Accepts).await;
    let id = post.enqueue("hello").await;
    let claim = async |name: &str| {
        let (now, lease) = (post.clock.now(), post.clock.now() + Duration::from_secs(5));
        let due = post.store.claim_messages(Channel::Email, name, now, lease, 8).await.unwrap();
        due.claimed.len()
    };
    assert_eq!((claim("slow").await, claim("other").await), (1, 0));
    post.clock.advance(Duration::from_secs(5));
    assert_eq!(claim("other").await, 1);
    let lease = Duration::from_secs(5);
    let slow = Handover::new(&*post.store, &post.clock, &id, "slow", lease);
    assert!(matches!(slow.pass().await, Err(SendError::Taken)));
    let other = Handover::new(&*post.store, &post.clock, &id, "other", lease);
    assert!(other.pass().await.is_ok());
}

#[tokio::test]
async fn the_outbox_is_bounded_for_each_way_out_and_durable() {
    let post = post("bounded", "queue_max = 10", Does::Delays).await;
    for _ in 0..10 {
        post.enqueue("hello").await;
    }
    let eleventh = post.notify.enqueue(&message("hello")).await;
    assert!(matches!(eleventh, Err(EnqueueError::Full)), "{eleventh:?}");
    let to_phone = Message { channel: Channel::TextMessage, ..message("hello") };
    assert!(post.notify.enqueue(&to_phone).await.is_ok(), "another way out");
    // Another process finds them, as they are.
    let again = SqliteStore::open(&post.folder.join("a.db")).await.unwrap();
    assert_eq!(again.waiting(Channel::Email).await.unwrap(), 10);
    post.stub.now(Does::Accepts);
    post.notify.deliver().await;
    assert_eq!(post.waiting().await, 0);
    assert!(post.notify.enqueue(&message("hello")).await.is_ok());
}

#[tokio::test]
async fn nothing_is_taken_that_could_not_be_sent() {
    let post = post("no-way", "", Does::Accepts).await;
    let (store, vault) = (post.store.clone(), post.vault.clone());
    let notify = Notify::new(&config("").notify, store, vault, Clock::manual(START));
    assert!(matches!(notify.enqueue(&message("hello")).await, Err(EnqueueError::NoWay)));
}
