//! The words of the pages for who has forgotten a password, or a name.

use std::time::Duration;

use doorward_plugins::account::address::AddressKind;

use crate::portal::language::Language;

/// Every text of these pages.
pub(crate) struct RecoverTexts {
    language: Language,
    pub(crate) forgotten: &'static str,
    pub(crate) title: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) sub_user: &'static str,
    pub(crate) forgotten_name: &'static str,
    pub(crate) name_title: &'static str,
    pub(crate) name_hint: &'static str,
    pub(crate) address: &'static str,
    pub(crate) go_on: &'static str,
    pub(crate) choose: &'static str,
    pub(crate) choose_hint: &'static str,
    pub(crate) send: &'static str,
    pub(crate) send_again: &'static str,
    pub(crate) sent: &'static str,
    pub(crate) code: &'static str,
    pub(crate) second: &'static str,
    pub(crate) second_hint: &'static str,
    pub(crate) no_factor: &'static str,
    pub(crate) new_password: &'static str,
    pub(crate) new_password_hint: &'static str,
    pub(crate) done: &'static str,
    pub(crate) names: &'static str,
    pub(crate) captcha: &'static str,
    pub(crate) wrong: &'static str,
    pub(crate) over: &'static str,
    pub(crate) malformed: &'static str,
    pub(crate) not_offered: &'static str,
    pub(crate) back: &'static str,
}

const ENGLISH: RecoverTexts = RecoverTexts {
    language: Language::English,
    forgotten: "Forgot your password?",
    title: "Set a new password",
    hint: "Enter the name that you sign in with. You get a code at an address of the account.",
    sub_user: "Sub-user (leave empty for a main account)",
    forgotten_name: "Forgot the name as well?",
    name_title: "Find your account",
    name_hint: "Enter the phone or e-mail address of the account. You get a code there, and then see the names.",
    address: "Phone or e-mail address",
    go_on: "Continue",
    choose: "Where should the code go?",
    choose_hint: "If there is such an account, these are its addresses.",
    send: "Send a code",
    send_again: "Send another code",
    sent: "If there is such an account, a code is on its way.",
    code: "Six-digit code",
    second: "One more proof",
    second_hint: "This account is guarded by a second factor, so the code is not enough.",
    no_factor: "This account needs a second proof, and the code took the only way that there is. Begin again and choose another address, or ask your administrator.",
    new_password: "New password",
    new_password_hint: "All sessions of the account end. Then sign in with the new password.",
    done: "Your password is changed. Please sign in with it.",
    names: "With this address you can sign in as",
    captcha: "One more check is needed; the one below may take a moment.",
    wrong: "That is not the code that was sent last, or it was used before.",
    over: "This took too long. Please begin again.",
    malformed: "Write an e-mail address, or a phone number with its country, such as +8613800000000.",
    not_offered: "No codes are sent here. Ask your administrator for a new password.",
    back: "Back to sign-in",
};

const CHINESE: RecoverTexts = RecoverTexts {
    language: Language::Chinese,
    forgotten: "忘记密码？",
    title: "重置密码",
    hint: "请输入登录时使用的账号名，验证码将发送到该账号绑定的手机或邮箱。",
    sub_user: "子用户名（主账号请留空）",
    forgotten_name: "账号名也忘记了？",
    name_title: "找回账号",
    name_hint: "请输入账号绑定的手机号或邮箱，验证后即可查看账号名。",
    address: "手机号或邮箱",
    go_on: "继续",
    choose: "验证码发送到哪里？",
    choose_hint: "如果账号存在，以下是它绑定的手机或邮箱。",
    send: "发送验证码",
    send_again: "重新发送验证码",
    sent: "如果账号存在，验证码已发送。",
    code: "6 位验证码",
    second: "还需一项验证",
    second_hint: "该账号已启用二次验证，仅凭验证码不足以重置密码。",
    no_factor: "该账号还需另一种验证，而验证码已使用了唯一的途径。请重新开始并选择其他地址，或联系管理员。",
    new_password: "新密码",
    new_password_hint: "该账号的所有会话将结束，之后请使用新密码登录。",
    done: "密码已修改，请使用新密码登录。",
    names: "该手机号或邮箱可登录的账号",
    captcha: "需要进行安全验证，下方的验证可能需要片刻。",
    wrong: "验证码不是最近一次发送的，或已被使用。",
    over: "操作超时，请重新开始。",
    malformed: "请填写邮箱，或带国家或地区代码的手机号，例如 +8613800000000。",
    not_offered: "此处不发送验证码，请联系管理员重置密码。",
    back: "返回登录",
};

impl RecoverTexts {
    /// The words of this language.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::Chinese => &CHINESE,
            Language::English => &ENGLISH,
        }
    }

    /// A way to choose.
    pub(crate) fn channel(&self, kind: &AddressKind) -> &'static str {
        match (self.language, kind) {
            (Language::Chinese, AddressKind::Phone) => "短信",
            (Language::Chinese, AddressKind::Email) => "邮箱",
            (Language::Chinese, AddressKind::SecurityEmail) => "安全邮箱",
            (Language::English, AddressKind::Phone) => "By text message to",
            (Language::English, AddressKind::Email) => "By e-mail to",
            (Language::English, AddressKind::SecurityEmail) => "By e-mail, for safety, to",
        }
    }

    /// Who waits with a captcha, and came too soon.
    pub(crate) fn too_soon(&self, left: Duration) -> String {
        let seconds = left.as_secs().max(1);
        match self.language {
            Language::Chinese => format!("还需等待 {seconds} 秒，然后再点击按钮。"),
            Language::English => {
                format!("Please wait another {seconds} seconds, and then press the button.")
            }
        }
    }
}
