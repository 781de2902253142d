//! The words of the pages, one table a language.

mod appeals;
mod centre;
mod explain;
mod factors;
mod recover;

use std::time::Duration;

use doorward_plugins::Problem;
use doorward_plugins::account::rules::Weakness;

use super::language::Language;

pub(crate) use appeals::AppealTexts;
pub(crate) use centre::CentreTexts;
pub(crate) use explain::explain;
pub(crate) use factors::FactorTexts;
pub(crate) use recover::RecoverTexts;

/// Every text of the pages that does not depend on a problem.
pub(crate) struct Texts {
    pub(crate) language: Language,
    /// The other language: its tag and its own name.
    pub(crate) other: (&'static str, &'static str),
    pub(crate) sign_in: &'static str,
    pub(crate) sign_in_sub_user: &'static str,
    pub(crate) sign_in_passkey: &'static str,
    /// After a key that did not answer, or not rightly.
    pub(crate) passkey_failed: &'static str,
    pub(crate) to_main_form: &'static str,
    pub(crate) to_sub_user_form: &'static str,
    pub(crate) account: &'static str,
    pub(crate) sub_user: &'static str,
    pub(crate) password: &'static str,
    pub(crate) signed_out: &'static str,
    pub(crate) rejected: &'static str,
    pub(crate) form_expired: &'static str,
    pub(crate) busy: &'static str,
    pub(crate) too_often: &'static str,
    pub(crate) unavailable: &'static str,
    /// Next to the box of the captcha.
    pub(crate) captcha_label: &'static str,
    pub(crate) captcha_verifying: &'static str,
    pub(crate) captcha_verified: &'static str,
    pub(crate) captcha_error: &'static str,
    /// After a try without it, or with one that is not right.
    pub(crate) captcha_required: &'static str,
    /// Where waiting is not offered.
    pub(crate) scripts_needed: &'static str,
    pub(crate) sign_out: &'static str,
    pub(crate) sign_out_question: &'static str,
    pub(crate) your_account: &'static str,
    pub(crate) signed_in_as: &'static str,
    pub(crate) expires: &'static str,
    pub(crate) sessions: &'static str,
    pub(crate) this_session: &'static str,
    pub(crate) unknown_device: &'static str,
    pub(crate) end_session: &'static str,
    pub(crate) change_password: &'static str,
    pub(crate) current_password: &'static str,
    pub(crate) new_password: &'static str,
    /// Beside the box that ends other sessions.
    pub(crate) end_others: &'static str,
    pub(crate) password_changed: &'static str,
    pub(crate) wrong_password: &'static str,
    pub(crate) back: &'static str,
    pub(crate) request: &'static str,
}

const ENGLISH: Texts = Texts {
    language: Language::English,
    other: ("zh-CN", "中文"),
    sign_in: "Sign in",
    sign_in_sub_user: "Sign in as a sub-user",
    sign_in_passkey: "Sign in with a passkey",
    passkey_failed: "That did not work. Try again, or sign in another way.",
    to_main_form: "Sign in with a main account",
    to_sub_user_form: "Sign in as a sub-user",
    account: "Account",
    sub_user: "Sub-user",
    password: "Password",
    signed_out: "You are signed out.",
    rejected: "Name or password is wrong. Check both and try again.",
    form_expired: "This form was too old, so nothing was sent. Please try again.",
    busy: "Many people are signing in right now. Please try again in a moment.",
    too_often: "There were too many tries from your network. Please wait and try again later.",
    unavailable: "Sign-in is not available right now. Please try again in a moment.",
    captcha_label: "I am a person",
    captcha_verifying: "Your browser is computing. Please wait a moment …",
    captcha_verified: "Checked.",
    captcha_error: "The check did not work. Tick the box to try again.",
    captcha_required: "One more check is needed. Enter your password again and sign in; the check below may take a moment.",
    scripts_needed: "This page needs scripts for the check that you are a person. Please allow them and open it again.",
    sign_out: "Sign out",
    sign_out_question: "Do you want to sign out on this device?",
    your_account: "Your account",
    signed_in_as: "Signed in as",
    expires: "Ends without activity after",
    sessions: "Where you are signed in",
    this_session: "this device",
    unknown_device: "Unknown device",
    end_session: "End session",
    change_password: "Change password",
    current_password: "Current password",
    new_password: "New password",
    end_others: "Sign out everywhere else",
    password_changed: "Your password is changed.",
    wrong_password: "The current password is wrong. Your password was not changed.",
    back: "Back",
    request: "Request",
};

const CHINESE: Texts = Texts {
    language: Language::Chinese,
    other: ("en", "English"),
    sign_in: "登录",
    sign_in_sub_user: "子用户登录",
    sign_in_passkey: "使用通行密钥登录",
    passkey_failed: "未能完成验证。请重试，或使用其他方式登录。",
    to_main_form: "使用主账号登录",
    to_sub_user_form: "使用子用户登录",
    account: "账号",
    sub_user: "子用户名",
    password: "密码",
    signed_out: "您已退出登录。",
    rejected: "用户名或密码错误，请检查后重试。",
    form_expired: "页面已过期，内容未提交，请重试。",
    busy: "当前登录人数较多，请稍后重试。",
    too_often: "您所在的网络尝试次数过多，请稍后再试。",
    unavailable: "暂时无法登录，请稍后重试。",
    captcha_label: "我不是机器人",
    captcha_verifying: "浏览器正在计算，请稍候……",
    captcha_verified: "验证通过。",
    captcha_error: "验证未完成，请勾选此框重试。",
    captcha_required: "需要进行安全验证。请重新输入密码后登录，下方的验证可能需要片刻。",
    scripts_needed: "安全验证需要运行脚本，请允许脚本后重新打开此页面。",
    sign_out: "退出登录",
    sign_out_question: "确定要在此设备上退出登录吗？",
    your_account: "我的账号",
    signed_in_as: "当前用户",
    expires: "无操作自动退出时间",
    sessions: "已登录的设备",
    this_session: "当前设备",
    unknown_device: "未知设备",
    end_session: "下线",
    change_password: "修改密码",
    current_password: "当前密码",
    new_password: "新密码",
    end_others: "同时退出其他所有设备",
    password_changed: "密码已修改。",
    wrong_password: "当前密码错误，密码未修改。",
    back: "返回",
    request: "请求编号",
};

impl Texts {
    /// The words of this language.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::Chinese => &CHINESE,
            Language::English => &ENGLISH,
        }
    }

    /// Why a password was not looked at.
    pub(crate) fn not_looked_at(&self, problem: Problem) -> &'static str {
        match problem {
            Problem::CaptchaRequired => self.captcha_required,
            Problem::Busy => self.busy,
            Problem::TooManyRequests => self.too_often,
            _ => self.unavailable,
        }
    }

    /// How long a password has to be.
    pub(crate) fn length_hint(&self, least: &usize) -> String {
        match self.language {
            Language::Chinese => format!("至少 {least} 个字符，可以是一句容易记住的话。"),
            Language::English => {
                format!("At least {least} characters. A few words that you can remember will do.")
            }
        }
    }

    /// Why a password cannot be had.
    pub(crate) fn weakness(&self, weakness: &Weakness) -> String {
        match (self.language, weakness) {
            (Language::English, weakness) => {
                let text = weakness.to_string();
                let mut letters = text.chars();
                let first = letters.next().map(|letter| letter.to_ascii_uppercase());
                first.into_iter().chain(letters).chain(['.']).collect()
            }
            (Language::Chinese, Weakness::Breached) => {
                "该密码曾在其他服务的泄露事件中出现，攻击者会尝试它，请换一个。".into()
            }
            (Language::Chinese, Weakness::Common) => {
                "该密码是攻击者最先尝试的常见密码，请换一个与众不同的密码。".into()
            }
            (Language::Chinese, Weakness::Context(word)) => {
                format!("该密码与“{word}”过于相近，请加入与账号和服务无关的词语。")
            }
            (Language::Chinese, Weakness::Repeated) => "该密码由重复内容组成，请换一个。".into(),
            (Language::Chinese, Weakness::TooLong { most }) => {
                format!("密码过长，最多 {most} 字节。")
            }
            (Language::Chinese, Weakness::TooShort { least }) => {
                format!("密码过短，至少 {least} 个字符。")
            }
        }
    }

    /// A time span in hours and minutes; less than a minute is none.
    pub(crate) fn span(&self, span: Duration) -> String {
        let (hours, minutes) = (span.as_secs() / 3600, span.as_secs() / 60 % 60);
        let (hour, minute) = match self.language {
            Language::Chinese => ("小时", "分钟"),
            Language::English => ("h", "min"),
        };
        match (hours, minutes) {
            (0, minutes) => format!("{minutes} {minute}"),
            (hours, 0) => format!("{hours} {hour}"),
            (hours, minutes) => format!("{hours} {hour} {minutes} {minute}"),
        }
    }

    /// For whom no script runs: after how long the form may be sent.
    pub(crate) fn without_scripts(&self, left: &Duration) -> String {
        let seconds = seconds(*left);
        match self.language {
            Language::Chinese => format!(
                "您的浏览器未运行脚本，仍可登录：请在打开此页面至少 {seconds} 秒后再点击下方按钮。"
            ),
            Language::English => format!(
                "Your browser runs no scripts. You can sign in all the same: press the button no sooner than {seconds} seconds after this page has opened."
            ),
        }
    }

    /// For whom waits, and came too soon.
    pub(crate) fn too_soon(&self, left: Duration) -> String {
        let seconds = seconds(left);
        match self.language {
            Language::Chinese => {
                format!("还需等待 {seconds} 秒。请重新输入密码，等待后再点击按钮。")
            }
            Language::English => format!(
                "Please wait another {seconds} seconds: enter your password again meanwhile, and then press the button."
            ),
        }
    }

    /// When something was last active, told by how long ago that was.
    pub(crate) fn activity(&self, ago: Duration) -> String {
        match (self.language, ago.as_secs() < 60) {
            (Language::Chinese, true) => "刚刚活动".into(),
            (Language::English, true) => "active just now".into(),
            (Language::Chinese, false) => format!("{}前活动", self.span(ago)),
            (Language::English, false) => format!("active {} ago", self.span(ago)),
        }
    }
}

/// Whole seconds, none of which is too few.
fn seconds(span: Duration) -> u128 {
    span.as_millis().div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_words() {
        let (english, chinese) = (Texts::of(Language::English), Texts::of(Language::Chinese));
        let minutes = |count: u64| Duration::from_secs(count * 60);
        assert_eq!(english.span(minutes(60)), "1 h");
        assert_eq!(english.span(minutes(23 * 60 + 59)), "23 h 59 min");
        assert_eq!(chinese.span(minutes(15)), "15 分钟");
        assert_eq!(english.activity(minutes(1) - Duration::from_secs(1)), "active just now");
        assert_eq!(chinese.activity(minutes(61)), "1 小时 1 分钟前活动");
    }
}
