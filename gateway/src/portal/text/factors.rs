//! The words of the pages about second factors.

use std::time::Duration;

use doorward_plugins::second_factor::Way;

use crate::portal::language::Language;

/// Every text of these pages.
pub(crate) struct FactorTexts {
    language: Language,
    pub(crate) second_step: &'static str,
    pub(crate) signing_in: &'static str,
    pub(crate) step_up: &'static str,
    pub(crate) step_up_hint: &'static str,
    pub(crate) confirm_you: &'static str,
    pub(crate) confirm_you_hint: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) request: &'static str,
    pub(crate) once: &'static str,
    pub(crate) not_kept: &'static str,
    pub(crate) kept: &'static str,
    pub(crate) code: &'static str,
    pub(crate) recovery_code: &'static str,
    pub(crate) password: &'static str,
    pub(crate) verify: &'static str,
    pub(crate) approve: &'static str,
    pub(crate) cancel: &'static str,
    pub(crate) begin_again: &'static str,
    pub(crate) wrong: &'static str,
    pub(crate) busy: &'static str,
    pub(crate) unavailable: &'static str,
    pub(crate) form_expired: &'static str,
    pub(crate) bind_title: &'static str,
    pub(crate) bind_first_hint: &'static str,
    pub(crate) bind_scan: &'static str,
    pub(crate) bind_key: &'static str,
    pub(crate) bind_codes: &'static str,
    pub(crate) first_code: &'static str,
    pub(crate) second_code: &'static str,
    pub(crate) device_name: &'static str,
    /// What an app is called whose owner gave no name.
    pub(crate) app: &'static str,
    pub(crate) bind: &'static str,
    pub(crate) bind_wrong: &'static str,
    pub(crate) full: &'static str,
    pub(crate) key_hint: &'static str,
    pub(crate) key_needs_scripts: &'static str,
    /// After a key that did not answer, or not rightly.
    pub(crate) key_failed: &'static str,
    pub(crate) key_bind: &'static str,
    pub(crate) key_bind_hint: &'static str,
    pub(crate) key_name: &'static str,
    /// What a key is called whose owner gave no name.
    pub(crate) key: &'static str,
    pub(crate) key_bound_already: &'static str,
    pub(crate) authenticators: &'static str,
    pub(crate) none_bound: &'static str,
    pub(crate) bind_app: &'static str,
    pub(crate) unbind: &'static str,
    pub(crate) unbind_hint: &'static str,
    pub(crate) bound: &'static str,
    pub(crate) unbound: &'static str,
    pub(crate) never_used: &'static str,
    pub(crate) recovery_codes: &'static str,
    pub(crate) recovery_hint: &'static str,
    pub(crate) make_codes: &'static str,
    pub(crate) codes_shown: &'static str,
    pub(crate) codes_done: &'static str,
    pub(crate) none_accepted: &'static str,
    pub(crate) go_on_title: &'static str,
    pub(crate) go_on_hint: &'static str,
    /// On the sign-in page that comes before.
    pub(crate) go_on_later: &'static str,
    pub(crate) go_on: &'static str,
    pub(crate) discard: &'static str,
    pub(crate) send_code: &'static str,
    pub(crate) text_hint: &'static str,
    pub(crate) protections: &'static str,
    pub(crate) login_protection: &'static str,
    pub(crate) operation_protection: &'static str,
    pub(crate) protection_required: &'static str,
    pub(crate) save: &'static str,
    pub(crate) saved: &'static str,
    pub(crate) last_one: &'static str,
    pub(crate) bind_a_key: &'static str,
    pub(crate) trusted: &'static str,
    pub(crate) bind_token: &'static str,
    pub(crate) token_hint: &'static str,
    pub(crate) serial: &'static str,
    pub(crate) token_wrong: &'static str,
    pub(crate) resync: &'static str,
    pub(crate) resync_hint: &'static str,
    pub(crate) resynced: &'static str,
    pub(crate) distrust: &'static str,
}

const ENGLISH: FactorTexts = FactorTexts {
    language: Language::English,
    second_step: "One more step",
    signing_in: "Signing in as",
    step_up: "Approve this operation",
    step_up_hint: "You are signed in. This operation needs a second factor; nothing is done until you approve it.",
    confirm_you: "Confirm that it is you",
    confirm_you_hint: "You are signed in. A change of what guards your account needs another proof.",
    operation: "Operation",
    request: "Request",
    once: "Your approval holds for exactly this request, once.",
    not_kept: "What you sent is too large to be kept meanwhile. Approve first, and then send it again.",
    kept: "What you sent is kept, and goes on as soon as you approve.",
    code: "Six-digit code from your app",
    recovery_code: "Recovery code",
    password: "Password",
    verify: "Continue",
    approve: "Approve",
    cancel: "Cancel",
    begin_again: "This took too long, or there were too many wrong codes. Please begin again.",
    wrong: "That is not right, or the code was used before. An app shows a new one every 30 seconds.",
    busy: "That is too much at once. Please try again in a moment.",
    unavailable: "This is not available right now. Please try again in a moment.",
    form_expired: "This form was too old, so nothing was sent. Please try again.",
    bind_title: "Bind an authenticator app",
    bind_first_hint: "Your sign-in needs a second factor. Bind an app once; from then on it shows you a code.",
    bind_scan: "Scan this picture with an authenticator app on your phone.",
    bind_key: "Or enter this key in the app (type: time-based)",
    bind_codes: "Then enter two codes that follow each other: the one that the app shows now, and the next one.",
    first_code: "First code",
    second_code: "Second code, 30 seconds later",
    device_name: "Name of the device",
    app: "Authenticator app",
    bind: "Bind",
    bind_wrong: "These are not two codes in a row from this app. Wait for a new code and enter it and the next one. Is the clock of your phone right?",
    full: "You have bound as many as there may be. Remove one first.",
    key_hint: "Have your security key, phone or fingerprint ready. Your browser asks for it when you continue.",
    key_needs_scripts: "A key needs a browser that runs scripts. Choose another way, if you have one.",
    key_failed: "That did not work. Try again, or choose another way.",
    key_bind: "Bind a security key or passkey",
    key_bind_hint: "A key cannot be copied from you by a false page. Your browser asks for it when you continue.",
    key_name: "Name of the key",
    key: "Security key or passkey",
    key_bound_already: "This key is bound already.",
    authenticators: "Second factors",
    none_bound: "Nothing is bound yet.",
    bind_app: "Bind an authenticator app",
    unbind: "Remove",
    unbind_hint: "A code of this app, to remove it",
    bound: "It is bound, and asked for from now on where a second factor is needed.",
    unbound: "It is removed.",
    never_used: "not used yet",
    recovery_codes: "Recovery codes",
    recovery_hint: "Each is good once, when you have lost everything else. Keep them where you keep papers.",
    make_codes: "Make new recovery codes",
    codes_shown: "These are shown this once. Earlier ones are worth nothing from now on.",
    codes_done: "I have put them in a safe place",
    none_accepted: "Your account has nothing that is accepted for this. Bind a second factor first; nothing was done.",
    go_on_title: "Send what you had begun?",
    go_on_hint: "Your session had ended when you sent this, so it was kept. Nothing was done yet.",
    go_on_later: "Your session had ended. What you sent is kept: sign in, and you can send it on.",
    go_on: "Send it now",
    discard: "Do not send it",
    send_code: "Send me a code",
    text_hint: "A text message can be read or redirected by others. Bind an app or a key if you can.",
    protections: "Protection",
    login_protection: "Ask for a second factor at every sign-in",
    operation_protection: "Ask for a second factor before sensitive operations",
    protection_required: "Your organisation asks for a second factor at every sign-in.",
    save: "Save",
    saved: "Your changes are saved.",
    last_one: "This is your last second factor, and your sign-in needs one. Bind another one first.",
    bind_a_key: "Bind a security key or passkey",
    bind_token: "Bind a hardware token",
    token_hint: "Your organisation has handed you a token with a display. Its serial number is printed on it.",
    serial: "Serial number",
    token_wrong: "There is no such token that is free, or these are not two of its codes in a row.",
    resync: "Set its clock",
    resync_hint: "If the codes of an app or token are refused, its clock may be wrong. Enter two codes that follow each other.",
    resynced: "Its clock is followed from now on.",
    trusted: "Browsers that are not asked at sign-in",
    distrust: "Ask in all of them again",
};

const CHINESE: FactorTexts = FactorTexts {
    language: Language::Chinese,
    second_step: "还差一步",
    signing_in: "登录账号",
    step_up: "确认此操作",
    step_up_hint: "您已登录。此操作需要二次验证，确认之前不会执行。",
    confirm_you: "确认是您本人",
    confirm_you_hint: "您已登录。修改账号的安全设置需要再次验证。",
    operation: "操作",
    request: "请求",
    once: "此次确认仅对该请求有效，且仅一次。",
    not_kept: "您提交的内容过大，无法暂存。请先确认，然后重新提交。",
    kept: "您提交的内容已暂存，确认后立即继续。",
    code: "验证器应用中的 6 位验证码",
    recovery_code: "恢复码",
    password: "密码",
    verify: "继续",
    approve: "确认",
    cancel: "取消",
    begin_again: "操作超时，或错误次数过多，请重新开始。",
    wrong: "验证码不正确，或已被使用。应用每 30 秒显示一个新的验证码。",
    busy: "请求过于频繁，请稍后重试。",
    unavailable: "暂时不可用，请稍后重试。",
    form_expired: "页面已过期，内容未提交，请重试。",
    bind_title: "绑定验证器应用",
    bind_first_hint: "登录需要二次验证。请先绑定一个验证器应用，之后由它显示验证码。",
    bind_scan: "请使用手机上的验证器应用扫描此图。",
    bind_key: "或在应用中输入此密钥（类型：基于时间）",
    bind_codes: "然后输入两个连续的验证码：当前显示的，以及下一个。",
    first_code: "第一个验证码",
    second_code: "第二个验证码（30 秒之后）",
    device_name: "设备名称",
    app: "验证器应用",
    bind: "绑定",
    bind_wrong: "这不是该应用的两个连续验证码。请等待新的验证码，依次输入它和下一个。手机的时间是否准确？",
    full: "绑定数量已达上限，请先移除一个。",
    key_hint: "请准备好安全密钥、手机或指纹。继续后浏览器会请求验证。",
    key_needs_scripts: "使用密钥需要启用脚本的浏览器。如有其他方式，请选择其他方式。",
    key_failed: "未能完成验证。请重试，或选择其他方式。",
    key_bind: "绑定安全密钥或通行密钥",
    key_bind_hint: "假冒的页面无法骗取密钥。继续后浏览器会请求验证。",
    key_name: "密钥名称",
    key: "安全密钥或通行密钥",
    key_bound_already: "此密钥已被绑定。",
    authenticators: "二次验证方式",
    none_bound: "尚未绑定。",
    bind_app: "绑定验证器应用",
    unbind: "移除",
    unbind_hint: "移除时需输入该应用的验证码",
    bound: "绑定成功，此后需要二次验证时将使用它。",
    unbound: "已移除。",
    never_used: "尚未使用",
    recovery_codes: "恢复码",
    recovery_hint: "在其他方式全部丢失时使用，每个仅能使用一次。请像重要文件一样妥善保管。",
    make_codes: "生成新的恢复码",
    codes_shown: "恢复码仅显示这一次，之前的恢复码即刻失效。",
    codes_done: "我已妥善保存",
    none_accepted: "您的账号没有可用于此操作的验证方式，请先绑定。操作未执行。",
    go_on_title: "是否发送之前提交的内容？",
    go_on_hint: "您提交时会话已结束，内容已暂存，尚未执行。",
    go_on_later: "会话已结束。您提交的内容已暂存，登录后即可继续发送。",
    go_on: "立即发送",
    discard: "不发送",
    send_code: "发送验证码",
    text_hint: "短信可能被他人读取或转移，建议绑定验证器应用或安全密钥。",
    protections: "安全保护",
    login_protection: "每次登录都需要二次验证",
    operation_protection: "敏感操作前需要二次验证",
    protection_required: "您所在的组织要求每次登录都进行二次验证。",
    save: "保存",
    saved: "修改已保存。",
    last_one: "这是您最后一个二次验证方式，而登录需要它。请先绑定另一个。",
    bind_a_key: "绑定安全密钥或通行密钥",
    bind_token: "绑定硬件令牌",
    token_hint: "请使用您所在组织发放的带显示屏的令牌，序列号印在令牌上。",
    serial: "序列号",
    token_wrong: "没有该序列号的可用令牌，或这不是它的两个连续验证码。",
    resync: "校准时间",
    resync_hint: "如果应用或令牌的验证码不被接受，可能是其时间不准。请输入两个连续的验证码。",
    resynced: "已按其时间校准。",
    trusted: "登录时免二次验证的浏览器",
    distrust: "全部恢复二次验证",
};

impl FactorTexts {
    /// The words of this language.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::Chinese => &CHINESE,
            Language::English => &ENGLISH,
        }
    }

    /// The name that somebody has typed, or else this one.
    pub(crate) fn named<'a>(typed: &'a str, otherwise: &'a str) -> &'a str {
        if typed.trim().is_empty() { otherwise } else { typed }
    }

    /// What a way is called in a link.
    pub(crate) fn way(&self, way: &Way) -> &'static str {
        match (self.language, way) {
            (Language::Chinese, Way::Webauthn) => "使用安全密钥或通行密钥",
            (Language::Chinese, Way::Totp) => "使用验证器应用",
            (Language::Chinese, Way::TextMessage) => "使用短信验证码",
            (Language::Chinese, Way::RecoveryCode) => "使用恢复码",
            (Language::Chinese, Way::Password) => "使用密码",
            (Language::English, Way::Webauthn) => "Use a security key or passkey",
            (Language::English, Way::Totp) => "Use an authenticator app",
            (Language::English, Way::TextMessage) => "Use a code by text message",
            (Language::English, Way::RecoveryCode) => "Use a recovery code",
            (Language::English, Way::Password) => "Use your password",
        }
    }

    /// What is typed.
    pub(crate) fn answer(&self, way: &Way) -> &'static str {
        match (way, self.language) {
            (Way::RecoveryCode, _) => self.recovery_code,
            (Way::Password, _) => self.password,
            (Way::TextMessage, Language::Chinese) => "短信中的 6 位验证码",
            (Way::TextMessage, Language::English) => "Six-digit code from the text message",
            (Way::Totp | Way::Webauthn, _) => self.code,
        }
    }

    /// Beside the box that trusts a browser.
    pub(crate) fn trust(&self, days: &u64) -> String {
        match self.language {
            Language::Chinese => format!("{days} 天内在此浏览器登录时不再要求二次验证"),
            Language::English => format!("Do not ask in this browser for {days} days"),
        }
    }

    /// A code is on its way.
    pub(crate) fn code_sent(&self, life: Duration) -> String {
        let minutes = life.as_secs().div_ceil(60);
        match self.language {
            Language::Chinese => format!("验证码已发送，{minutes} 分钟内有效。"),
            Language::English => format!("A code is on its way. It is good for {minutes} minutes."),
        }
    }

    /// There was a code a moment ago.
    pub(crate) fn code_later(&self, after: Duration) -> String {
        let seconds = after.as_secs().max(1);
        match self.language {
            Language::Chinese => format!("发送过于频繁，请在 {seconds} 秒后重试。"),
            Language::English => {
                format!(
                    "There was a code a moment ago. You can have another one in {seconds} seconds."
                )
            }
        }
    }

    /// How many recovery codes are left.
    pub(crate) fn codes_left(&self, left: &usize) -> String {
        match (self.language, left) {
            (Language::Chinese, left) => format!("剩余 {left} 个恢复码。"),
            (Language::English, 1) => "One is left.".into(),
            (Language::English, left) => format!("{left} are left."),
        }
    }
}
