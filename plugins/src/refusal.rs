//! Why a request is not carried out, in terms that every client may know.
//!
//! A refusal has no wording of its own for a page: the gateway dresses it as HTML in the person's
//! language, or as `application/problem+json` (RFC 9457) for a program.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

/// One answer instead of the upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub problem: Problem,
    /// When asking again may help.
    pub retry_after: Option<Duration>,
    /// Members of the problem document besides those that every one has (RFC 9457 §3.2), such as
    /// `detail`.
    pub members: Vec<(&'static str, String)>,
    /// Fields that say more about it.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// A refusal for this reason.
    pub fn new(problem: Problem) -> Self {
        let retry_after =
            (problem.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1));
        Self { problem, retry_after, members: Vec::new(), fields: Vec::new() }
    }

    /// The same, to be tried again after this time.
    pub fn after(problem: Problem, retry_after: Duration) -> Self {
        Self { problem, retry_after: Some(retry_after), members: Vec::new(), fields: Vec::new() }
    }
}

macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:ident $slug:literal $title:literal;)+) => {
        /// What can be wrong with a request. The slug ends the `type` of problem documents and is
        /// stable; the title is for people who read logs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Problem { $($(#[doc = $doc])+ $name,)+ }

        impl Problem {
            /// Every kind of problem.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The status of the answer.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// Stable name, in kebab case.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)+ }
            }

            /// One short sentence in English.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

problems! {
    /// The request can be read in two ways, or not at all.
    BadRequest = BAD_REQUEST "bad-request" "The request is malformed or ambiguous.";
    /// A session is needed and there is none.
    SessionRequired = UNAUTHORIZED "session-required" "Sign in first.";
    /// A second factor is needed for this.
    StepUpRequired = UNAUTHORIZED "step-up-required" "Confirm this with a second factor.";
    /// The right password is not enough: a second factor is needed.
    SecondFactorRequired = UNAUTHORIZED "second-factor-required" "Give a second factor as well.";
    /// What was asked for is over: too many wrong answers, or too late.
    ChallengeOver = GONE "challenge-over" "This took too long, or there were too many wrong codes. Begin again.";
    /// The request that was kept has gone on already, or is forgotten.
    NotHeld = GONE "not-held" "Nothing is kept here: it was sent already, or it took too long.";
    /// A code is wrong, was used before, or is not accepted here.
    WrongCode = FORBIDDEN "wrong-code" "The code is wrong, or was used before.";
    /// None of the factors that are accepted here is bound.
    NoFactor = FORBIDDEN "no-factor" "Nothing that would be accepted for this is bound to the account.";
    /// Who asks must have proven who they are more lately.
    FreshnessRequired = UNAUTHORIZED "freshness-required" "Confirm first that it is you.";
    /// The principal may not do this.
    Forbidden = FORBIDDEN "forbidden" "You may not do this.";
    /// The request did not come from a page of this host.
    CrossSite = FORBIDDEN "cross-site" "The request did not come from this site.";
    /// Name or password is wrong, or there is no such account: the two look alike.
    SignInFailed = FORBIDDEN "sign-in-failed" "Name or password is wrong.";
    /// A captcha has to be solved as well, or the solution that came is not right.
    CaptchaRequired = FORBIDDEN "captcha-required" "Solve a captcha as well.";
    /// There is nothing of the gate's at this path.
    NotFound = NOT_FOUND "not-found" "There is nothing here.";
    /// The resource has no such method.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method-not-allowed" "This method is not allowed.";
    /// The gate knows no such method.
    MethodUnknown = NOT_IMPLEMENTED "method-unknown" "This method is not known.";
    /// The client paused for too long.
    Timeout = REQUEST_TIMEOUT "request-timeout" "The request took too long.";
    /// The body is larger than allowed.
    TooLarge = PAYLOAD_TOO_LARGE "too-large" "The request is too large.";
    /// Path and query are longer than allowed.
    TargetTooLong = URI_TOO_LONG "target-too-long" "The address is too long.";
    /// The body is of a type that is not read here.
    UnsupportedType = UNSUPPORTED_MEDIA_TYPE "unsupported-type" "Send JSON.";
    /// The host is not one that this gate serves.
    Misdirected = MISDIRECTED_REQUEST "misdirected" "This host is not served here.";
    /// A new password does not keep the rules.
    WeakPassword = UNPROCESSABLE_ENTITY "weak-password" "This password cannot be used.";
    /// Somebody asks too often.
    TooManyRequests = TOO_MANY_REQUESTS "too-many-requests" "You ask too often.";
    /// The request's fields are too large or too many.
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE "headers-too-large" "The request's fields are too large.";
    /// A fault of the gate itself.
    Internal = INTERNAL_SERVER_ERROR "internal" "Something went wrong.";
    /// The upstream could not be reached or answered with something malformed.
    BadGateway = BAD_GATEWAY "bad-gateway" "The console cannot be reached.";
    /// No address of the upstream is well.
    NoUpstream = SERVICE_UNAVAILABLE "no-upstream" "The console is down.";
    /// A plugin could not decide, because something that it needs does not answer.
    Undecided = SERVICE_UNAVAILABLE "unavailable" "The gate cannot decide right now.";
    /// Too many people are signing in.
    Busy = SERVICE_UNAVAILABLE "busy" "Too many people are signing in right now.";
    /// The gate is going down.
    ShuttingDown = SERVICE_UNAVAILABLE "shutting-down" "The gate is being restarted.";
    /// The upstream took too long.
    GatewayTimeout = GATEWAY_TIMEOUT "gateway-timeout" "The console took too long to answer.";
    /// The request is in a version of HTTP that is not spoken here.
    VersionUnknown = HTTP_VERSION_NOT_SUPPORTED "version-unknown" "This version of HTTP is not spoken here.";
    /// The gate was asked to forward to itself.
    Loop = LOOP_DETECTED "loop" "The request goes round in a circle.";
}
