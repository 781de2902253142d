//! The words of the pages on which people look after their account.

use std::time::Duration;

use doorward_plugins::account::address::AddressKind;
use doorward_plugins::address_change::Awaited;

use crate::portal::language::Language;

/// Every text of these pages.
pub(crate) struct CentreTexts {
    language: Language,
    pub(crate) profile: &'static str,
    pub(crate) display_name: &'static str,
    pub(crate) language_label: &'static str,
    pub(crate) language_hint: &'static str,
    pub(crate) save: &'static str,
    pub(crate) saved: &'static str,
    pub(crate) not_a_name: &'static str,
    pub(crate) addresses: &'static str,
    pub(crate) none: &'static str,
    pub(crate) add: &'static str,
    pub(crate) change: &'static str,
    pub(crate) remove: &'static str,
    pub(crate) removed: &'static str,
    pub(crate) changed: &'static str,
    pub(crate) send: &'static str,
    pub(crate) send_again: &'static str,
    pub(crate) confirm: &'static str,
    pub(crate) code: &'static str,
    pub(crate) cancel: &'static str,
    pub(crate) phone_lost: &'static str,
    pub(crate) malformed_phone: &'static str,
    pub(crate) malformed_email: &'static str,
    pub(crate) same: &'static str,
    pub(crate) held: &'static str,
    pub(crate) last_factor: &'static str,
    pub(crate) wrong: &'static str,
    pub(crate) over: &'static str,
    pub(crate) sign_ins: &'static str,
    pub(crate) sign_ins_hint: &'static str,
    pub(crate) no_sign_ins: &'static str,
    pub(crate) end_others: &'static str,
    pub(crate) sub_users: &'static str,
    pub(crate) no_sub_users: &'static str,
    pub(crate) idle_title: &'static str,
    pub(crate) idle_hint: &'static str,
    pub(crate) hours: &'static str,
    pub(crate) minutes: &'static str,
    pub(crate) reset_factors: &'static str,
    pub(crate) reset_hint: &'static str,
    pub(crate) reset_done: &'static str,
}

const ENGLISH: CentreTexts = CentreTexts {
    language: Language::English,
    profile: "Profile and language",
    display_name: "Name to show",
    language_label: "Language",
    language_hint: "Of these pages, and of messages to you.",
    save: "Save",
    saved: "Your changes are saved.",
    not_a_name: "This name is too long, or has characters that cannot be shown.",
    addresses: "Phone and e-mail",
    none: "none",
    add: "Add",
    change: "Change",
    remove: "Remove",
    removed: "It is removed.",
    changed: "It is confirmed and yours from now on.",
    send: "Send a code",
    send_again: "Send another code",
    confirm: "Confirm",
    code: "Six-digit code",
    cancel: "Cancel",
    phone_lost: "Without your present phone you cannot do this here: ask your administrator.",
    malformed_phone: "Write the number with its country, such as +8613800000000.",
    malformed_email: "This is not an e-mail address.",
    same: "This is what you have already.",
    held: "This phone has as many accounts as it may have. Use another one.",
    last_factor: "This is your last second factor, and your sign-in needs one. Bind another one first.",
    wrong: "That is not the code that was sent last, or it was used before.",
    over: "This took too long. Please begin again.",
    sign_ins: "Recent sign-ins",
    sign_ins_hint: "Times are in UTC. If one is not yours, change your password and end all other sessions.",
    no_sign_ins: "There are none yet.",
    end_others: "End all other sessions",
    sub_users: "Account and sub-users",
    no_sub_users: "The account has no sub-users.",
    idle_title: "Sessions end without activity after",
    idle_hint: "It holds at once, for all sessions of the account and of its sub-users.",
    hours: "Hours",
    minutes: "Minutes",
    reset_factors: "Remove all second factors",
    reset_hint: "For a sub-user who has lost theirs. It ends their sessions, and they are told.",
    reset_done: "The second factors are removed, and the sub-user's sessions are ended.",
};

const CHINESE: CentreTexts = CentreTexts {
    language: Language::Chinese,
    profile: "个人资料与语言",
    display_name: "显示名称",
    language_label: "语言",
    language_hint: "用于页面以及发送给您的消息。",
    save: "保存",
    saved: "修改已保存。",
    not_a_name: "名称过长，或包含无法显示的字符。",
    addresses: "手机与邮箱",
    none: "未绑定",
    add: "绑定",
    change: "更换",
    remove: "解绑",
    removed: "已解绑。",
    changed: "验证成功，即刻生效。",
    send: "发送验证码",
    send_again: "重新发送验证码",
    confirm: "确认",
    code: "6 位验证码",
    cancel: "取消",
    phone_lost: "如果原手机已无法使用，不能在此更换，请联系管理员。",
    malformed_phone: "请填写带国家或地区代码的号码，例如 +8613800000000。",
    malformed_email: "邮箱地址格式不正确。",
    same: "与当前内容相同。",
    held: "该手机号绑定的账号数量已达上限，请使用其他手机号。",
    last_factor: "这是您最后一个二次验证方式，而登录需要它。请先绑定另一个。",
    wrong: "验证码不是最近一次发送的，或已被使用。",
    over: "操作超时，请重新开始。",
    sign_ins: "最近登录记录",
    sign_ins_hint: "时间为 UTC。如有非本人的登录，请修改密码并退出其他所有会话。",
    no_sign_ins: "暂无记录。",
    end_others: "退出其他所有会话",
    sub_users: "账号与子用户",
    no_sub_users: "该账号没有子用户。",
    idle_title: "无操作自动退出时间",
    idle_hint: "对该账号及其子用户的所有会话立即生效。",
    hours: "小时",
    minutes: "分钟",
    reset_factors: "移除全部二次验证方式",
    reset_hint: "用于子用户丢失验证方式的情况。其会话将全部结束，并会收到通知。",
    reset_done: "已移除该子用户的二次验证方式，并结束其会话。",
};

impl CentreTexts {
    /// The words of this language.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::Chinese => &CHINESE,
            Language::English => &ENGLISH,
        }
    }

    /// What an address is called.
    pub(crate) fn address(&self, kind: &AddressKind) -> &'static str {
        match (self.language, kind) {
            (Language::Chinese, AddressKind::Phone) => "手机号",
            (Language::Chinese, AddressKind::Email) => "邮箱",
            (Language::Chinese, AddressKind::SecurityEmail) => "安全邮箱",
            (Language::English, AddressKind::Phone) => "Phone",
            (Language::English, AddressKind::Email) => "E-mail address",
            (Language::English, AddressKind::SecurityEmail) => "E-mail address for safety",
        }
    }

    /// Where the code that is waited for goes.
    pub(crate) fn awaited(&self, awaited: &Awaited) -> String {
        let to = awaited.to.as_str();
        match (self.language, awaited.is_old) {
            (Language::Chinese, true) => format!("请先输入发送到当前手机 {to} 的验证码。"),
            (Language::Chinese, false) => format!("请输入发送到 {to} 的验证码。"),
            (Language::English, true) => {
                format!("First enter the code that goes to your present phone, {to}.")
            }
            (Language::English, false) => format!("Enter the code that goes to {to}."),
        }
    }

    /// What came of a sign-in.
    pub(crate) fn result(&self, result: &str) -> String {
        let (chinese, english) = match result {
            "signed-in" => ("登录成功", "signed in"),
            "second-factor-failed" => ("二次验证失败", "second factor failed"),
            other => return other.replace('-', " "),
        };
        match self.language {
            Language::Chinese => chinese.to_owned(),
            Language::English => english.to_owned(),
        }
    }

    /// How many factors somebody has.
    pub(crate) fn factors(&self, count: &usize) -> String {
        match (self.language, count) {
            (Language::Chinese, count) => format!("{count} 个二次验证方式"),
            (Language::English, 1) => "1 second factor".into(),
            (Language::English, count) => format!("{count} second factors"),
        }
    }

    /// An idle time that is not allowed.
    pub(crate) fn idle_refused(&self, least: Duration, most: Duration) -> String {
        let span = |time: Duration| {
            let (hours, minutes) = (time.as_secs() / 3600, time.as_secs() / 60 % 60);
            match self.language {
                Language::Chinese => format!("{hours} 小时 {minutes} 分钟"),
                Language::English => format!("{hours} h {minutes} min"),
            }
        };
        let (least, most) = (span(least), span(most));
        match self.language {
            Language::Chinese => format!("请设置为 {least} 到 {most} 之间（含）。"),
            Language::English => format!("Choose a time from {least} to {most}, both included."),
        }
    }
}
