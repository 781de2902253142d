//! The pages, rendered. Their words are in `text`, their shape in `gateway/templates/`.

use askama::Template;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use doorward_plugins::account::Protection;
use doorward_plugins::account::address::AddressKind;
use doorward_plugins::address_change::Awaited;
use doorward_plugins::appeal::AppealState;
use doorward_plugins::second_factor::Way;
use doorward_plugins::{Problem, Timestamp};
use fast_qr::ECL;
use fast_qr::convert::Builder as _;
use fast_qr::convert::svg::SvgBuilder;
use fast_qr::qr::QRBuilder;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::captcha::CaptchaPart;
use super::language::Language;
use super::text::{AppealTexts, CentreTexts, FactorTexts, Texts, explain};
use super::webauthn::KeyPart;

/// The sign-in form, main or sub-user's.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage<'a> {
    pub(super) t: &'static Texts,
    /// Leads to a new password.
    pub(super) forgotten: &'static str,
    pub(super) sub_user_form: bool,
    pub(super) account: &'a str,
    pub(super) sub_user: &'a str,
    pub(super) return_to: &'a str,
    /// `return_to` as a query, for links to other forms of the page.
    pub(super) query: &'a str,
    pub(super) code: &'a str,
    /// Something that went well.
    pub(super) notice: &'a str,
    /// Something that did not.
    pub(super) error: &'a str,
    /// What else is asked.
    pub(super) captcha: Option<&'a CaptchaPart>,
    /// May a passkey be shown instead?
    pub(super) passkeys: bool,
}

/// A question with one button.
#[derive(Template)]
#[template(path = "sign_out.html")]
pub(super) struct SignOutPage {
    pub(super) t: &'static Texts,
}

/// Who is signed in, and where.
#[derive(Template)]
#[template(path = "account.html")]
pub(super) struct AccountPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) c: &'static CentreTexts,
    pub(super) name: &'a str,
    /// Something that went well.
    pub(super) notice: &'a str,
    /// The account's settings are this person's.
    pub(super) owns_account: bool,
    pub(super) idle: &'a str,
    pub(super) sessions: &'a [SessionRow],
    pub(super) end_code: &'a str,
}

/// The form for another password.
#[derive(Template)]
#[template(path = "password.html")]
pub(super) struct PasswordPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) name: &'a str,
    pub(super) end_others: bool,
    /// Fewest characters of a password.
    pub(super) length_min: usize,
    pub(super) code: &'a str,
    pub(super) error: &'a str,
    /// What is asked besides.
    pub(super) captcha: Option<&'a CaptchaPart>,
}

/// The second step of a sign-in.
#[derive(Template)]
#[template(path = "second_step.html")]
pub(super) struct SecondStepPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) name: &'a str,
    pub(super) notice: &'a str,
    pub(super) a: &'static AppealTexts,
    /// May somebody appeal who has lost them all?
    pub(super) appeals: bool,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) way: Option<Way>,
    /// How a key is asked for, if that is the way.
    pub(super) key: Option<&'a KeyPart>,
    pub(super) others: &'a [&'a Way],
    /// What links of the page carry on.
    pub(super) query: &'a str,
    /// For so many days the browser can be trusted; zero: it cannot.
    pub(super) trust_days: u64,
    pub(super) return_to: &'a str,
}

/// What is to be approved, and how; without a method: that it is the person themselves.
#[derive(Template)]
#[template(path = "step_up.html")]
pub(super) struct StepUpPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) notice: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) challenge: &'a str,
    pub(super) way: Option<Way>,
    /// How a key is asked for, if that is the way.
    pub(super) key: Option<&'a KeyPart>,
    pub(super) others: &'a [&'a Way],
    /// What links of the page carry on.
    pub(super) query: &'a str,
    pub(super) label: Option<&'a str>,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) fields: &'a [(String, String)],
    /// The approval is for this request alone.
    pub(super) once: bool,
    /// The request is kept, and under which id.
    pub(super) kept: bool,
    pub(super) hold: &'a str,
    /// Nothing is bound, and an app that is bound now would be accepted.
    pub(super) can_bind: bool,
    /// The request is one that may have a body.
    pub(super) sends: bool,
    pub(super) return_to: &'a str,
}

/// What was kept over the end of a session.
#[derive(Template)]
#[template(path = "continue.html")]
pub(super) struct ContinuePage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) address: &'a str,
    pub(super) hold: &'a str,
    pub(super) code: &'a str,
}

/// How an app is bound.
#[derive(Template)]
#[template(path = "bind.html")]
pub(super) struct BindPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) hint: &'a str,
    /// Where the form goes.
    pub(super) action: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) challenge: &'a str,
    /// A picture as SVG.
    pub(super) qr: &'a str,
    pub(super) key: &'a str,
    pub(super) name: &'a str,
    pub(super) return_to: &'a str,
}

/// What somebody has bound, and what their account asks for.
#[derive(Template)]
#[template(path = "authenticators.html")]
pub(super) struct AuthenticatorsPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) notice: &'a str,
    pub(super) a: &'static AppealTexts,
    /// Somebody has asked to have these removed.
    pub(super) appeal: Option<&'a str>,
    /// May somebody appeal who has lost them all?
    pub(super) appeals: bool,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) bound: &'a [BoundRow],
    /// Keys can be bound here.
    pub(super) keys: bool,
    /// Browsers that are not asked at sign-in, in words.
    pub(super) trusted: &'a [String],
    /// How many recovery codes are left.
    pub(super) recovery_codes: Option<usize>,
    /// There is a factor that recovery codes could stand in for.
    pub(super) has_factors: bool,
    /// What the account asks for; `None`: this is a sub-user, who cannot change it.
    pub(super) protection: Option<Protection>,
    /// A second factor is asked for at sign-in whatever the account says.
    pub(super) is_required: bool,
}

/// How a hardware token is bound, or its clock followed.
#[derive(Template)]
#[template(path = "bind_token.html")]
pub(super) struct BindTokenPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) title: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    /// The token whose clock is followed; empty: one is bound.
    pub(super) id: &'a str,
    pub(super) serial: &'a str,
}

/// One authenticator in a list.
pub(super) struct BoundRow {
    pub(super) id: String,
    pub(super) name: String,
    /// An app or token, which is removed by a code of its own.
    pub(super) is_app: bool,
    /// When it was last used, in words.
    pub(super) used: String,
}

/// Recovery codes, this once.
#[derive(Template)]
#[template(path = "recovery_codes.html")]
pub(super) struct RecoveryCodesPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) codes: &'a [zeroize::Zeroizing<String>],
}

/// The form of an appeal.
#[derive(Template)]
#[template(path = "appeal.html")]
pub(super) struct AppealPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) a: &'static AppealTexts,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) reason: &'a str,
    pub(super) contact: &'a str,
    /// How many documents may come with it, and how large they may be.
    pub(super) documents: usize,
    pub(super) document_bytes: usize,
    pub(super) wait: std::time::Duration,
}

/// How far an appeal is.
#[derive(Template)]
#[template(path = "appeal_progress.html")]
pub(super) struct AppealProgressPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) a: &'static AppealTexts,
    pub(super) id: &'a str,
    pub(super) state: AppealState,
    pub(super) created: &'a str,
    pub(super) effective: Option<&'a str>,
}

/// The addresses that reach somebody.
#[derive(Template)]
#[template(path = "addresses.html")]
pub(super) struct AddressesPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) c: &'static CentreTexts,
    pub(super) notice: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) rows: &'a [AddressRow<'a>],
}

/// One of them.
pub(super) struct AddressRow<'a> {
    pub(super) kind: &'a AddressKind,
    pub(super) address: Option<&'a str>,
}

/// The form for another address.
#[derive(Template)]
#[template(path = "address_change.html")]
pub(super) struct AddressChangePage<'a> {
    pub(super) t: &'static Texts,
    pub(super) c: &'static CentreTexts,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) kind: &'a AddressKind,
    pub(super) address: &'a str,
}

/// The form for the code that an address is proved by.
#[derive(Template)]
#[template(path = "address_confirm.html")]
pub(super) struct AddressConfirmPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) c: &'static CentreTexts,
    pub(super) notice: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    /// Names the change that is under way.
    pub(super) change: &'a str,
    pub(super) awaited: &'a Awaited,
}

/// What somebody is called, and their language.
#[derive(Template)]
#[template(path = "profile.html")]
pub(super) struct ProfilePage<'a> {
    pub(super) t: &'static Texts,
    pub(super) c: &'static CentreTexts,
    pub(super) notice: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) display_name: &'a str,
    pub(super) language: &'a str,
}

/// Sign-ins that were.
#[derive(Template)]
#[template(path = "sign_ins.html")]
pub(super) struct SignInsPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) c: &'static CentreTexts,
    pub(super) rows: &'a [SignInRow],
}

/// One of them, in words.
pub(super) struct SignInRow {
    pub(super) machine: String,
    pub(super) time: String,
    pub(super) place: String,
    pub(super) result: String,
}

/// What the main principal decides about an account.
#[derive(Template)]
#[template(path = "sub_users.html")]
pub(super) struct SubUsersPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) c: &'static CentreTexts,
    pub(super) notice: &'a str,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) hours: &'a str,
    pub(super) minutes: &'a str,
    pub(super) rows: &'a [SubUserRow],
}

/// One sub-user.
pub(super) struct SubUserRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) factors: usize,
}

/// A QR code as SVG; nothing if the text does not fit one.
pub(super) fn qr_code(text: &str) -> String {
    let Ok(code) = QRBuilder::new(text).ecl(ECL::M).build() else { return String::new() };
    SvgBuilder::default().margin(4).to_str(&code)
}

/// The form for a new key.
#[derive(Template)]
#[template(path = "bind_key.html")]
pub(super) struct BindKeyPage<'a> {
    pub(super) t: &'static Texts,
    pub(super) f: &'static FactorTexts,
    pub(super) error: &'a str,
    pub(super) code: &'a str,
    pub(super) name: &'a str,
    pub(super) action: &'a str,
    pub(super) key: &'a KeyPart,
    pub(super) back: &'a str,
}

/// One session in a list.
pub(super) struct SessionRow {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) address: String,
    /// When it was last active, in words.
    pub(super) activity: String,
    pub(super) current: bool,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    t: &'static Texts,
    heading: &'a str,
    advice: &'a str,
    request_id: &'a str,
}

/// The page that tells a person of a problem. The caller sets status and fence.
pub(crate) fn problem(
    problem: Problem,
    request_id: &str,
    language: Language,
) -> http::Response<Bytes> {
    let (heading, advice) = explain(problem, language);
    let page = ProblemPage { t: Texts::of(language), heading, advice, request_id };
    // A template that was compiled renders; if not, the status still says what there is to say.
    let mut response = http::Response::new(Bytes::from(page.render().unwrap_or_default()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// What fences in every answer of the gate's own: it is of the type it says it is, loads nothing
/// but our style sheet, stands in no frame, and tells no other site where it was.
pub(crate) fn fence(headers: &mut HeaderMap) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A time as people read it: to the minute, in UTC.
pub(super) fn minute(at: Timestamp) -> String {
    let text = at.rfc3339();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// A page with a status.
pub(super) fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The style sheet of all pages. It changes with the binary only, so a browser may keep it.
pub(super) async fn style() -> Response {
    let headers =
        [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "public, max-age=3600")];
    (headers, Body::from(include_str!("../../templates/style.css"))).into_response()
}
