use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use doorward_certs::vault::Vault;

use super::*;
use crate::context::tests::config;
use crate::notify::{Handover, Parcel, SendError, Sender, Senders};
use crate::store::SqliteStore;

/// Keeps the codes that were sent: to whom, and which.
#[derive(Default)]
struct Phone(Mutex<Vec<(String, String)>>);

#[async_trait]
impl Sender for Phone {
    async fn send(&self, parcel: &Parcel<'_>, _: &Handover<'_>) -> Result<(), SendError> {
        let code = parcel.body.code.clone().unwrap();
        assert!(parcel.body.text.contains(&code));
        self.0.lock().unwrap().push((parcel.body.to.clone(), code));
        Ok(())
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// A desk that issues codes, with a phone that gets them.
pub(super) struct Desk {
    pub(super) codes: Codes,
    pub(super) clock: Clock,
    pub(super) store: Arc<SqliteStore>,
    notify: Arc<Notify>,
    phone: Arc<Phone>,
    folder: PathBuf,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(super) const NUMBER: &str = "+8613800000000";

pub(super) async fn desk(name: &str, more: &str) -> Desk {
    let folder = std::env::temp_dir().join(format!("doorward-codes-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let store = Arc::new(SqliteStore::open(&folder.join("a.db")).await.unwrap());
    let vault = Arc::new(Vault::open(&folder.join("vault")).unwrap());
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let config = config(&format!("[notify]\noutbox_dir = \"x\"\n[codes]\n{more}"));
    let notify = Notify::new(&config.notify, store.clone(), vault, clock.clone());
    let phone = Arc::<Phone>::default();
    notify.connect(Senders {
        email: Some(phone.clone()),
        text_message: Some(phone.clone()),
        webhook: None,
    });
    let limits = Arc::new(RateLimits::new(&config, &clock, Arc::default()));
    let store_of_codes = store.clone();
    let codes =
        Codes::new(&config, store_of_codes, notify.clone(), clock.clone(), (limits, b"key"));
    Desk { codes, clock, store, notify, phone, folder }
}

impl Desk {
    pub(super) async fn issue(
        &self,
        purpose: Purpose,
        bound_to: &str,
        to: &str,
    ) -> Result<String, IssueError> {
        let to = Destination::phone(to).or_else(|| Destination::email(to)).unwrap();
        let request = Request {
            purpose,
            bound_to,
            language: Language::Chinese,
            address: IpAddr::from([192, 0, 2, 1]),
            request_id: "1",
        };
        self.codes.issue(&to, request).await?;
        self.notify.deliver().await;
        let (_, code) = self.phone.0.lock().unwrap().last().unwrap().clone();
        Ok(code)
    }

    pub(super) async fn verify(&self, purpose: Purpose, bound_to: &str, code: &str) -> bool {
        let code = Secret::new(code.into());
        self.codes.verify(purpose, bound_to, &code).await.unwrap().is_some()
    }

    fn sent(&self) -> usize {
        self.phone.0.lock().unwrap().len()
    }
}

/// A code that is not this one.
pub(super) fn other(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % CODES)
}

#[test]
fn g10_codes_have_six_digits_and_each_is_as_likely_as_any_other() {
    const DRAWN: u32 = 100_000;
    // Each digit, and the code as a whole, cut into 100 classes.
    let mut digits = [[0_u32; 10]; 6];
    let mut classes = [0_u32; 100];
    for _ in 0..DRAWN {
        let code = fresh().unwrap();
        let code = code.expose();
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()));
        for (place, digit) in code.bytes().enumerate() {
            digits[place][usize::from(digit - b'0')] += 1;
        }
        classes[code.parse::<usize>().unwrap() / 10_000] += 1;
    }
    let chi_square = |counts: &[u32]| {
        let expected = f64::from(DRAWN) / counts.len() as f64;
        counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum::<f64>()
    };
    // What chance exceeds once in a million runs: 9 and 99 degrees of freedom.
    for counts in &digits {
        assert!(chi_square(counts) < 46.0, "{counts:?}");
    }
    assert!(chi_square(&classes) < 176.0, "{classes:?}");
}

#[tokio::test]
async fn g11_a_code_is_good_once_and_for_its_time() {
    let desk = desk("once", "").await;
    let code = desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
    let spaced = format!(" {} {} ", &code[..3], &code[3..]);
    let proved = desk.codes.verify(Purpose::SignIn, "c1", &Secret::new(spaced)).await.unwrap();
    assert_eq!(proved, Destination::phone(NUMBER));
    assert!(!desk.verify(Purpose::SignIn, "c1", &code).await, "used");

    for (late, good) in [(299_999, true), (300_000, false)] {
        desk.clock.advance(DAY);
        let code = desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
        desk.clock.advance(Duration::from_millis(late));
        assert_eq!(desk.verify(Purpose::SignIn, "c1", &code).await, good, "{late} ms");
    }
    desk.clock.advance(DAY);
    let code = desk.issue(Purpose::ConfirmEmail, "c2", "alice@example.com").await.unwrap();
    desk.clock.advance(Duration::from_secs(599));
    assert!(desk.verify(Purpose::ConfirmEmail, "c2", &code).await, "e-mail has more time");
}

#[tokio::test]
async fn g11_no_factor_lives_longer_than_ten_minutes_whatever_is_configured() {
    let desk = desk("long", "life = \"10m\"\nemail_life = \"30m\"").await;
    let life = |purpose, channel| desk.codes.life(purpose, channel).as_secs();
    assert_eq!(life(Purpose::ConfirmEmail, Channel::Email), 1800);
    assert_eq!(life(Purpose::Approve, Channel::Email), 600);
    assert_eq!(life(Purpose::SignIn, Channel::TextMessage), 600);
}

#[tokio::test]
async fn g12_a_code_is_good_for_what_asked_for_it_and_nothing_else() {
    let desk = desk("bound", "interval = \"1s\"").await;
    let first = desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
    assert!(!desk.verify(Purpose::SignIn, "c2", &first).await, "another session's");
    assert!(!desk.verify(Purpose::Approve, "c1", &first).await, "for something else");
    desk.clock.advance(Duration::from_secs(1));
    let second = desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
    if first != second {
        assert!(!desk.verify(Purpose::SignIn, "c1", &first).await, "not the newest");
    }
    assert!(desk.verify(Purpose::SignIn, "c1", &second).await);
}

#[tokio::test]
async fn g12_tries_are_counted_and_resending_gives_none_back() {
    let desk = desk("tries", "interval = \"1s\"").await;
    let code = desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
    for _ in 0..3 {
        assert!(!desk.verify(Purpose::SignIn, "c1", &other(&code)).await);
    }
    for nothing in ["", "12345", "1234567", "abcdef", "12345x"] {
        assert!(!desk.verify(Purpose::SignIn, "c1", nothing).await, "costs no try");
    }
    desk.clock.advance(Duration::from_secs(1));
    let code = desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
    for _ in 0..2 {
        assert!(!desk.verify(Purpose::SignIn, "c1", &other(&code)).await);
    }
    assert!(!desk.verify(Purpose::SignIn, "c1", &code).await, "five tries, whichever code");
    desk.clock.advance(Duration::from_secs(1));
    let again = desk.issue(Purpose::SignIn, "c1", NUMBER).await;
    assert!(matches!(again, Err(IssueError::Spent)), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g11_of_a_crowd_with_the_right_code_one_gets_in() {
    let desk = desk("crowd", "tries = 10").await;
    let code = desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
    let verify = || desk.verify(Purpose::SignIn, "c1", &code);
    let (a, b, c, d) = tokio::join!(verify(), verify(), verify(), verify());
    assert_eq!([a, b, c, d].iter().filter(|passed| **passed).count(), 1);
}

#[tokio::test]
async fn g13_a_hundred_requests_send_no_more_than_the_limits_say() {
    let desk = desk("bombing", "address = \"100000/1s\"").await;
    for (minutes, most) in [(0, 1), (1, 2), (58, 5), (24 * 60 - 60, 10)] {
        for number in 0..100 {
            desk.clock.advance(Duration::from_secs(minutes * 60) / 100);
            // Whatever account or challenge asks, and however the number is written.
            let bound_to = format!("c{minutes}-{number}");
            let sent = desk.issue(Purpose::SignIn, &bound_to, NUMBER).await;
            assert!(matches!(sent, Ok(_) | Err(IssueError::TooOften(_))), "{sent:?}");
        }
        assert!(desk.sent() <= most, "{} after {minutes} more minutes", desk.sent());
    }
    assert_eq!(desk.sent(), 10);
}

#[tokio::test]
async fn g13_an_address_has_an_allowance_of_its_own() {
    let desk = desk("address", "address = \"3/1h\"").await;
    for number in 0..5 {
        let to = format!("+861380000000{number}");
        let sent = desk.issue(Purpose::BindPhone, "s1", &to).await;
        assert_eq!(sent.is_ok(), number < 3, "{sent:?}");
    }
    assert_eq!(desk.sent(), 3);
}

#[tokio::test]
async fn g14_no_code_by_mail_is_a_factor() {
    let desk = desk("mail", "").await;
    for purpose in [Purpose::SignIn, Purpose::Approve] {
        let sent = desk.issue(purpose, "c1", "alice@example.com").await;
        assert!(matches!(sent, Err(IssueError::Unfit)), "{sent:?}");
    }
}

#[test]
fn numbers_are_written_as_e164() {
    for good in [NUMBER, "+4915112345678", "+1234567"] {
        assert!(Destination::phone(good).is_some(), "{good}");
    }
    for bad in ["13800000000", "+0138", "+86 138", "+861380000000x", "+1234567890123456", "", "+"] {
        assert!(Destination::phone(bad).is_none(), "{bad}");
    }
    let full_width = Secret::new("１２３ ４５６".into());
    assert_eq!(normal(&full_width).unwrap().expose(), "123456");
}

#[tokio::test]
async fn what_is_over_is_forgotten() {
    let desk = desk("sweep", "").await;
    desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
    desk.clock.advance(DAY + Duration::from_secs(1));
    desk.codes.sweep().await.unwrap();
    assert_eq!(desk.store.code_tries("c1", desk.clock.now()).await.unwrap(), 0);
    desk.issue(Purpose::SignIn, "c1", NUMBER).await.unwrap();
}
