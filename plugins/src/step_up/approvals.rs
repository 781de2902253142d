//! What is asked for before a sensitive operation, given, and used.

use std::sync::Arc;
use std::time::Duration;

use doorward_config::{Secret, StepUp as Demand};
use serde::{Deserialize, Serialize};

use super::RequestDigest;
use crate::account::PrincipalRecord;
use crate::audit::{Audit, Event, EventKind};
use crate::authenticator::webauthn;
use crate::challenge::{Challenge, Purpose};
use crate::clock::Clock;
use crate::code::{self, IssueError};
use crate::language::Language;
use crate::password_check::{Guesser, PasswordCheck};
use crate::second_factor::{ProveError, SecondFactors, SendError, Way, is_fresh};
use crate::session::{BeginError, Evidence, LiveSession, Method, Sessions};
use crate::sign_in::SignInError;
use crate::store::{AccountStore, StoreError};
use crate::{RequestContext, Timestamp};

/// What is to be approved, as the person is told it and as it is compared later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Demanded {
    /// Method of the request; empty: it is about the person's own account.
    pub method: String,
    /// Its host.
    pub host: String,
    /// Its path and query.
    pub target: String,
    /// What the operator calls the operation.
    pub label: Option<String>,
    /// Fields of its body, with their values.
    pub fields: Vec<(String, String)>,
    /// Ways that are accepted.
    pub factors: Vec<String>,
    /// How long the approval is good for, in seconds.
    pub max_age: u64,
    /// It is for this request alone.
    pub digest: Option<String>,
    /// The request that is kept meanwhile.
    pub held: Option<String>,
    /// Where a person goes afterwards: the page that they wanted, or the one that they came from.
    pub return_to: String,
}

impl Purpose for Demanded {
    const NAME: &'static str = "step-up";
    const CODE: Option<code::Purpose> = Some(code::Purpose::Approve);
}

/// An approval for one request.
#[derive(Serialize, Deserialize)]
struct Approval {
    factor: String,
}

impl Purpose for Approval {
    const NAME: &'static str = "approval";
}

/// What somebody was asked for, and how they can give it.
pub struct Asked {
    /// What is to be approved.
    pub challenge: Challenge<Demanded>,
    /// Who was asked.
    pub record: PrincipalRecord,
    /// In which ways they can give it, strongest first; empty: they have bound nothing that is
    /// accepted.
    pub ways: Vec<Way>,
    /// Have they bound anything at all?
    pub has_factors: bool,
}

/// What came of it.
pub struct SteppedUp {
    /// The session's new token.
    pub token: Secret,
    /// The session.
    pub session: Arc<LiveSession>,
    /// What was approved.
    pub demanded: Demanded,
}

/// Why nothing was approved.
#[derive(Debug, thiserror::Error)]
pub enum StepUpError {
    /// Too many answers wait already.
    #[error("too many answers at once")]
    Busy,
    /// There is no such challenge in this session, or it is over.
    #[error("there is nothing to approve")]
    Over,
    /// The session is over.
    #[error("the session is over")]
    SessionOver,
    /// Nothing is known about it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer is wrong, or not one that is accepted here.
    #[error("wrong")]
    Wrong,
}

impl From<ProveError> for StepUpError {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Busy => Self::Busy,
            ProveError::Over => Self::Over,
            ProveError::Wrong => Self::Wrong,
            ProveError::Store(error) => Self::Store(error),
        }
    }
}

impl From<BeginError> for StepUpError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Store(error) => Self::Store(error),
            BeginError::Over => Self::SessionOver,
            error => Self::Store(StoreError::Failed(Box::new(error))),
        }
    }
}

/// Asks for approvals.
pub struct Approvals {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) second: Arc<SecondFactors>,
    pub(crate) check: Arc<PasswordCheck>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) clock: Clock,
    /// See `SignIn`.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Demanded {
    /// What `demand` asks of this request.
    pub fn of(demand: &Demand, cx: &RequestContext) -> Self {
        Self {
            method: cx.head.method.as_str().to_owned(),
            host: cx.host.as_ref().to_owned(),
            target: cx.target.as_str().to_owned(),
            label: demand.label.clone(),
            fields: Vec::new(),
            factors: demand.factors.iter().map(|factor| factor.as_str().to_owned()).collect(),
            max_age: demand.max_age.as_secs(),
            digest: cx.digest.as_ref().map(|digest| digest.as_str().to_owned()),
            held: None,
            return_to: "/".to_owned(),
        }
    }

    /// Is this way one that is accepted?
    fn accepts(&self, way: Way) -> bool {
        self.factors.iter().any(|factor| factor == way.as_str())
    }

    /// What a change of what guards an account asks for: any second factor, or the password where
    /// there is none.
    pub fn for_account(host: &str, return_to: &str) -> Self {
        Self {
            method: String::new(),
            host: host.to_owned(),
            target: return_to.to_owned(),
            label: None,
            fields: Vec::new(),
            factors: Way::ALL.iter().map(|way| way.as_str().to_owned()).collect(),
            max_age: 0,
            digest: None,
            held: None,
            return_to: return_to.to_owned(),
        }
    }
}

impl Approvals {
    /// Asks the person of this session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask(
        &self,
        session: &LiveSession,
        demanded: Demanded,
    ) -> Result<Challenge<Demanded>, StoreError> {
        let life = self.second.rules().lifetime;
        self.second.challenges.begin(&session.principal().id, &session.id, demanded, life).await
    }

    /// What this session was asked for by this challenge.
    ///
    /// # Errors
    /// [`StepUpError::Over`] when there is none.
    pub async fn asked(&self, session: &LiveSession, id: &str) -> Result<Asked, StepUpError> {
        let found = self.second.challenges.find::<Demanded>(id, &session.id).await?;
        let challenge = found.ok_or(StepUpError::Over)?;
        let record = self.accounts.find_id(&challenge.principal_id).await?;
        let record = record.filter(PrincipalRecord::is_active).ok_or(StepUpError::SessionOver)?;
        let mut ways = self.second.ways(&record).await?;
        let has_factors = !ways.is_empty();
        ways.retain(|way| challenge.state.accepts(*way));
        if !has_factors && challenge.state.accepts(Way::Password) {
            ways.push(Way::Password);
        }
        Ok(Asked { challenge, record, ways, has_factors })
    }

    /// Sends a code by text message, if that is one of the ways.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub async fn send_code(
        &self,
        session: &LiveSession,
        id: &str,
        (language, guesser): (Language, Guesser<'_>),
    ) -> Result<Duration, SendError> {
        let asked = self.asked(session, id).await.map_err(|error| match error {
            StepUpError::Store(error) => SendError::Issue(error.into()),
            _ => SendError::Over,
        })?;
        if !asked.ways.contains(&Way::TextMessage) {
            return Err(SendError::Issue(IssueError::Unfit));
        }
        let Asked { challenge, record, .. } = &asked;
        Ok(self.second.send_code(challenge, record, (language, guesser)).await?)
    }

    /// Approves by a code.
    ///
    /// # Errors
    /// [`StepUpError`]; nothing is approved then.
    pub async fn approve_by_code(
        &self,
        session: &Arc<LiveSession>,
        id: &str,
        (way, code): (Way, &Secret),
        guesser: Guesser<'_>,
    ) -> Result<SteppedUp, StepUpError> {
        let asked = self.asked(session, id).await?;
        // The client does not choose a weaker factor than the route accepts.
        if !asked.ways.contains(&way) {
            return Err(StepUpError::Wrong);
        }
        let (challenge, record) = (&asked.challenge, &asked.record);
        if way == Way::Password {
            let evidence = self.prove_password(record, code, guesser).await?;
            return self.approve(session, challenge, evidence, guesser).await;
        }
        let proven =
            self.second.prove(challenge, record, (way, code), (guesser, &session.device)).await?;
        let stepped = self.approve(session, challenge, proven.evidence, guesser).await?;
        self.second.settle_in_session(proven).await;
        Ok(stepped)
    }

    /// Asks for one of the person's keys, where the route accepts keys.
    ///
    /// # Errors
    /// [`StepUpError`].
    pub async fn ask_for_key(
        &self,
        session: &LiveSession,
        id: &str,
    ) -> Result<webauthn::Asked, StepUpError> {
        let asked = self.asked(session, id).await?;
        if !asked.ways.contains(&Way::Webauthn) {
            return Err(StepUpError::Wrong);
        }
        Ok(self.second.ask_for_key(&asked.challenge).await?)
    }

    /// A password once more, counted as every other guess at it.
    async fn prove_password(
        &self,
        record: &PrincipalRecord,
        password: &Secret,
        guesser: Guesser<'_>,
    ) -> Result<Evidence, StepUpError> {
        let checked = self.check.check(&record.name.key(), Some(record), password, guesser).await;
        let right = checked.map_err(|error| {
            self.check.note_refused(&error, Some(record), guesser);
            match error {
                SignInError::Busy => StepUpError::Busy,
                SignInError::Unavailable(error) => StepUpError::Store(StoreError::Failed(error)),
                SignInError::Captcha | SignInError::Suspect(_) | SignInError::Reject => {
                    StepUpError::Wrong
                }
            }
        })?;
        self.check.settle_half(right, guesser).await;
        Ok(Evidence { method: Method::Password, at: self.clock.now() })
    }

    /// Has this session proven lately enough who it is to change what guards its account?
    ///
    /// # Errors
    /// [`StoreError`]; nothing may be changed then.
    pub async fn may_change_account(
        &self,
        session: &LiveSession,
        record: &PrincipalRecord,
    ) -> Result<bool, StoreError> {
        let has_factors = !self.second.ways(record).await?.is_empty();
        let accepts =
            |method: Method| method.is_second() || (!has_factors && method == Method::Password);
        Ok(is_fresh(&session.evidence, accepts, self.second.rules().fresh, self.clock.now()))
    }

    /// The person of this session, if it may change what guards their account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fresh(
        &self,
        session: &LiveSession,
    ) -> Result<Option<PrincipalRecord>, StoreError> {
        let found = self.accounts.find_id(&session.principal().id).await?;
        let Some(record) = found.filter(PrincipalRecord::is_active) else { return Ok(None) };
        let may = self.may_change_account(session, &record).await?;
        Ok(may.then_some(record))
    }

    /// Approves by what was proven. Of several that try, one does.
    ///
    /// # Errors
    /// [`StepUpError`]; nothing is approved then.
    pub async fn approve(
        &self,
        session: &Arc<LiveSession>,
        challenge: &Challenge<Demanded>,
        proven: Evidence,
        guesser: Guesser<'_>,
    ) -> Result<SteppedUp, StepUpError> {
        let _turn = self.turn.lock().await;
        if !self.second.challenges.take(challenge).await? {
            return Err(StepUpError::Over);
        }
        let demanded = challenge.state.clone();
        let factor = proven.method.as_str();
        // Before the session's token: whoever is told of a failure still has the one they have.
        if let Some(digest) = &demanded.digest {
            let (approval, place) =
                (Approval { factor: factor.to_owned() }, place(session, digest));
            let life = Duration::from_secs(demanded.max_age);
            let principal = &challenge.principal_id;
            self.second.challenges.begin(principal, &place, approval, life).await?;
        }
        let (token, stepped) = self.sessions.step_up(session, &[proven]).await?;
        let kind = match demanded.digest {
            Some(_) => EventKind::OperationApproved,
            None => EventKind::StepUpSuccess,
        };
        let event = describe(Event::new(kind), session, &demanded.method, &demanded.target);
        let event = event.with("factor", factor);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        Ok(SteppedUp { token, session: stepped, demanded })
    }

    /// Steps up without anything to approve, by what was proven.
    ///
    /// # Errors
    /// [`StepUpError`].
    pub async fn refresh(
        &self,
        session: &Arc<LiveSession>,
        proven: &[Evidence],
    ) -> Result<(Secret, Arc<LiveSession>), StepUpError> {
        let _turn = self.turn.lock().await;
        Ok(self.sessions.step_up(session, proven).await?)
    }

    /// Uses an approval for exactly this request. Of several requests that try, one gets it.
    ///
    /// # Errors
    /// [`StoreError`]; the request must not go on then.
    pub(super) async fn use_up(
        &self,
        session: &LiveSession,
        digest: &RequestDigest,
        cx: &RequestContext,
    ) -> Result<bool, StoreError> {
        let challenges = &self.second.challenges;
        let place = place(session, digest.as_str());
        let Some(found) = challenges.latest::<Approval>(&place).await? else { return Ok(false) };
        if !challenges.take(&found).await? {
            return Ok(false);
        }
        let event = Event::new(EventKind::ApprovalUsed);
        let event = describe(event, session, cx.head.method.as_str(), cx.target.as_str());
        let event = event.with("factor", &found.state.factor);
        self.audit.record(&event.from_request(cx.client.address, cx.request_id.as_str()));
        Ok(true)
    }

    /// The time by which evidence is dated.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// An approval is looked for by session and request.
fn place(session: &LiveSession, digest: &str) -> String {
    format!("{} {digest}", &*session.id)
}

/// What was approved, without the query: it may hold secrets.
fn describe(event: Event, session: &LiveSession, method: &str, target: &str) -> Event {
    let principal = session.principal();
    let event = event.session(session.id).principal(&principal.id).account(&principal.name);
    let path = target.split('?').next().unwrap_or_default();
    event.with("method", method).with("path", path)
}
