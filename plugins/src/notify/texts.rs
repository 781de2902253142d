//! What messages say, in the languages of the pages.
//!
//! No message has a link: whoever is used to links in them follows the next one as well. Names that
//! people chose are tamed and cut, and stand in the text alone, never in a subject.

use std::fmt::Write as _;

use super::alerts::Alert;
use crate::audit::tame;
use crate::clock::Timestamp;
use crate::code::Purpose;
use crate::language::Language;

/// The longest name that a message repeats, in characters.
const NAME_MAX: usize = 80;

/// Subject and text of a message with a code. The last line of a text message is bound to the host,
/// so that a browser fills the code in at this host only
/// (<https://wicg.github.io/sms-one-time-codes/>).
pub fn code(
    purpose: Purpose,
    code: &str,
    minutes: u64,
    host: &str,
    language: Language,
) -> (String, String) {
    let what = purpose_name(purpose, language);
    match language {
        Language::English => (
            format!("{host}: your code to {what}"),
            format!(
                "{code} is your code to {what} at {host}. It is good for {minutes} min. \
                 Give it to nobody; whoever asks you for it is not from us. \
                 If you did not ask for it, somebody may know your password.\n\n@{host} #{code}"
            ),
        ),
        Language::Chinese => (
            format!("{host}：{what}验证码"),
            format!(
                "您在 {host} 的{what}验证码是 {code}，{minutes} 分钟内有效。\
                 请勿告诉任何人，工作人员不会向您索要。\
                 如非本人操作，可能有人知道了您的密码。\n\n@{host} #{code}"
            ),
        ),
    }
}

fn purpose_name(purpose: Purpose, language: Language) -> &'static str {
    let (english, chinese) = match purpose {
        Purpose::SignIn => ("sign in", "登录"),
        Purpose::Approve => ("approve a sensitive operation", "敏感操作"),
        Purpose::BindPhone => ("bind this phone to your account", "绑定手机"),
        Purpose::ChangePhone => ("bind another phone in place of this one", "更换手机"),
        Purpose::ConfirmEmail => ("confirm this e-mail address", "邮箱确认"),
        Purpose::ResetPassword => ("reset your password", "重置密码"),
        Purpose::FindAccount => ("find your account", "找回账号"),
    };
    match language {
        Language::English => english,
        Language::Chinese => chinese,
    }
}

/// What a message about an account has to say besides what happened.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The host of the gate.
    pub host: &'a str,
    /// Name of the account.
    pub account: &'a str,
    /// When it happened, by the wall clock.
    pub at: Timestamp,
    /// From where; empty if from nowhere.
    pub address: &'a str,
    /// By which browser, in our words; empty if it is not known.
    pub device: &'a str,
}

/// Subject and text of an e-mail about an account.
pub fn alert_mail(alert: &Alert<'_>, scene: &Scene<'_>, language: Language) -> (String, String) {
    let (title, sentence) = happened(alert, language);
    let (host, account) = (scene.host, short(scene.account));
    let labels = match language {
        Language::English => ["Account", "When", "From", "Browser"],
        Language::Chinese => ["账号", "时间", "来源地址", "浏览器"],
    };
    let mut text = format!("{sentence}\n\n");
    let when = minute(scene.at);
    for (label, value) in labels.iter().zip([&*account, &*when, scene.address, scene.device]) {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{label}: {value}");
        }
    }
    let advice = match language {
        Language::English => {
            "If this was you, there is nothing to do. If it was not: sign in as you always do, \
             change your password, look through your second factors, and end the sessions that \
             are not yours; or tell your administrator."
        }
        Language::Chinese => {
            "如是本人操作，请忽略本消息。如非本人操作：请照常登录，修改密码，检查二次验证方式，\
             结束不属于您的会话，或联系管理员。"
        }
    };
    (format!("{host}: {title}"), format!("{text}\n{advice}\n"))
}

/// A text message about an account.
pub fn alert_text(alert: &Alert<'_>, scene: &Scene<'_>, language: Language) -> String {
    let (_, sentence) = happened(alert, language);
    let (host, account, when) = (scene.host, short(scene.account), minute(scene.at));
    match language {
        Language::English => {
            format!("{host}: {sentence} Account {account}, {when}. Not you? Act now.")
        }
        Language::Chinese => {
            format!("{host}：{sentence}账号 {account}，{when}。如非本人操作，请立即处理。")
        }
    }
}

/// What happened: in a few words, and in a sentence.
fn happened(alert: &Alert<'_>, language: Language) -> (&'static str, String) {
    match language {
        Language::English => english(alert),
        Language::Chinese => chinese(alert),
    }
}

fn english(alert: &Alert<'_>) -> (&'static str, String) {
    let (title, sentence) = match alert {
        Alert::NewDevice => {
            ("new device", "Somebody signed in on a device that is new for your account.")
        }
        Alert::NewRegion { region } => {
            let sentence = format!(
                "Somebody signed in from a region that is new for your account: {}.",
                short(region)
            );
            return ("new region", sentence);
        }
        Alert::UnusualHour => {
            ("unusual hour", "Somebody signed in at an hour that is unusual for your account.")
        }
        Alert::Locked => (
            "account locked",
            "Too many wrong passwords were tried, and your account is locked for a while.",
        ),
        Alert::SuccessAfterFailures => (
            "right password after many failures",
            "The right password was given after many wrong ones.",
        ),
        Alert::SecondFactorFailed => (
            "second factor failed",
            "Somebody gave the right password and could not pass the second factor.",
        ),
        Alert::FactorAdded { factor } => {
            return (
                "second factor added",
                format!("A second factor was added: {}.", short(factor)),
            );
        }
        Alert::FactorRemoved { factor } => {
            return (
                "second factor removed",
                format!("A second factor was removed: {}.", short(factor)),
            );
        }
        Alert::PasswordChanged => ("password changed", "Your password was changed."),
        Alert::RecoveryCodeUsed { left } => {
            return ("recovery code used", format!("A recovery code was used. {left} are left."));
        }
        Alert::FewRecoveryCodes { left } => {
            let sentence = format!("Only {left} recovery codes are left. Make new ones.");
            return ("few recovery codes", sentence);
        }
        Alert::ProtectionChanged => {
            ("protection changed", "It was changed when your account asks for a second factor.")
        }
        Alert::RecoveryCodesMade => {
            ("new recovery codes", "New recovery codes were made; the old ones are worth nothing.")
        }
        Alert::PhoneChanged { .. } => {
            ("phone changed", "The phone of your account was changed or removed.")
        }
        Alert::EmailChanged { .. } => {
            ("e-mail changed", "An e-mail address of your account was changed or removed.")
        }
        Alert::AppealReceived => (
            "appeal received",
            "Somebody lodged an appeal for your account because a second factor was lost.",
        ),
        Alert::AppealDecided { granted: true } => {
            ("appeal granted", "The appeal for your account was granted.")
        }
        Alert::AppealDecided { granted: false } => {
            ("appeal refused", "The appeal for your account was refused.")
        }
    };
    (title, sentence.to_owned())
}

fn chinese(alert: &Alert<'_>) -> (&'static str, String) {
    let (title, sentence) = match alert {
        Alert::NewDevice => ("新设备登录", "您的账号在新设备上登录。"),
        Alert::NewRegion { region } => {
            return ("异地登录", format!("您的账号在新地区登录：{}。", short(region)));
        }
        Alert::UnusualHour => ("异常时间登录", "您的账号在不常用的时间登录。"),
        Alert::Locked => ("账号已锁定", "密码错误次数过多，您的账号已被暂时锁定。"),
        Alert::SuccessAfterFailures => {
            ("多次失败后密码正确", "您的账号在多次输错密码后，有人输入了正确的密码。")
        }
        Alert::SecondFactorFailed => ("二次验证失败", "有人输入了正确的密码，但未通过二次验证。"),
        Alert::FactorAdded { factor } => {
            return (
                "已添加二次验证方式",
                format!("您的账号添加了二次验证方式：{}。", short(factor)),
            );
        }
        Alert::FactorRemoved { factor } => {
            return (
                "已移除二次验证方式",
                format!("您的账号移除了二次验证方式：{}。", short(factor)),
            );
        }
        Alert::PasswordChanged => ("密码已修改", "您的账号密码已修改。"),
        Alert::RecoveryCodeUsed { left } => {
            return ("恢复码已使用", format!("您的账号使用了一个恢复码，还剩 {left} 个。"));
        }
        Alert::FewRecoveryCodes { left } => {
            return ("恢复码不足", format!("您的账号只剩 {left} 个恢复码，请重新生成。"));
        }
        Alert::ProtectionChanged => ("安全保护已变更", "您的账号何时需要二次验证的设置已变更。"),
        Alert::RecoveryCodesMade => {
            ("已生成新恢复码", "您的账号生成了新的恢复码，旧恢复码已失效。")
        }
        Alert::PhoneChanged { .. } => ("手机号已变更", "您的账号绑定的手机号已变更或解绑。"),
        Alert::EmailChanged { .. } => ("邮箱已变更", "您的账号绑定的邮箱已变更或解绑。"),
        Alert::AppealReceived => ("收到申诉", "有人以二次验证方式丢失为由，为您的账号提交了申诉。"),
        Alert::AppealDecided { granted: true } => ("申诉已通过", "您的账号的申诉已通过。"),
        Alert::AppealDecided { granted: false } => ("申诉未通过", "您的账号的申诉未通过。"),
    };
    (title, sentence.to_owned())
}

/// A name that somebody chose, on one line and not too long.
pub(crate) fn short(name: &str) -> String {
    tame(&name.chars().take(NAME_MAX).collect::<String>())
}

/// A time to the minute, in UTC.
fn minute(at: Timestamp) -> String {
    let text = at.rfc3339();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {} UTC", time.get(..5).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g17_a_code_names_its_purpose_and_its_host_and_has_no_link() {
        for purpose in Purpose::ALL {
            for language in [Language::English, Language::Chinese] {
                let (subject, text) = code(*purpose, "012345", 5, "console.example.com", language);
                assert!(text.ends_with("\n@console.example.com #012345"), "{text}");
                assert!(text.contains(purpose_name(*purpose, language)), "{text}");
                assert!(!subject.contains("012345"), "a subject shows on a locked screen");
                assert!(!text.contains("://") && !text.contains("www."), "{text}");
            }
        }
    }

    #[test]
    fn g17_names_cannot_bring_lines_of_their_own() {
        let account = "alice\r\nBcc: eve@example.com\r\n\r\n\u{202e}text";
        let scene = Scene {
            host: "console.example.com",
            account,
            at: Timestamp(1_800_000_000_000),
            address: "192.0.2.1",
            device: "",
        };
        for language in [Language::English, Language::Chinese] {
            let alert = Alert::FactorAdded { factor: "a\nb" };
            let (subject, text) = alert_mail(&alert, &scene, language);
            assert!(!subject.contains(['\r', '\n']), "{subject:?}");
            assert!(!text.contains('\r') && !text.contains("\nBcc") && !text.contains("a\nb"));
            assert!(text.contains("2027-01-15 08:00 UTC"), "{text}");
            assert!(!alert_text(&alert, &scene, language).contains(['\r', '\n', '\u{202e}']));
        }
    }
}
