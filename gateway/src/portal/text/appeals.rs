//! The words of the pages about appeals.

use std::time::Duration;

use doorward_plugins::appeal::AppealState;

use super::Texts;
use crate::portal::language::Language;

/// Every text of these pages.
pub(crate) struct AppealTexts {
    language: Language,
    pub(crate) title: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) contact: &'static str,
    pub(crate) send: &'static str,
    pub(crate) back: &'static str,
    pub(crate) progress: &'static str,
    pub(crate) lodged: &'static str,
    pub(crate) effective: &'static str,
    pub(crate) keep_link: &'static str,
    pub(crate) invalid: &'static str,
    pub(crate) full: &'static str,
    pub(crate) link: &'static str,
    pub(crate) under_way: &'static str,
    pub(crate) stop: &'static str,
    pub(crate) stopped: &'static str,
}

const ENGLISH: AppealTexts = AppealTexts {
    language: Language::English,
    title: "I have lost my second factors",
    hint: "If you still have one recovery code, use that: it is faster. Otherwise tell an administrator what happened. You are told on every channel of your account, and so is whoever else can read them.",
    reason: "What happened?",
    contact: "How can we reach you?",
    send: "Send the appeal",
    back: "Back to the sign-in",
    progress: "Your appeal",
    lodged: "Sent",
    effective: "Takes effect",
    keep_link: "Keep the address of this page: it shows how far your appeal is.",
    invalid: "Something is missing or too long, or a document is too large or of another kind. Choose the documents again.",
    full: "There is an appeal for this account already, or too many of others wait. Please ask an administrator.",
    link: "I have lost all of these",
    under_way: "Somebody who knew your password has asked to remove your second factors. If that was not you, stop it and change your password.",
    stop: "Stop it",
    stopped: "It is stopped.",
};

const CHINESE: AppealTexts = AppealTexts {
    language: Language::Chinese,
    title: "二次验证方式已全部丢失",
    hint: "如果还有恢复码，请优先使用，速度更快。否则请向管理员说明情况。我们会通过账号的所有联系方式发出通知。",
    reason: "发生了什么？",
    contact: "如何联系您？",
    send: "提交申诉",
    back: "返回登录",
    progress: "申诉进度",
    lodged: "提交时间",
    effective: "生效时间",
    keep_link: "请保存此页面的地址，可随时查看申诉进度。",
    invalid: "内容缺失或过长，或文件过大、格式不支持。请重新选择文件。",
    full: "该账号已有申诉，或待处理的申诉过多，请联系管理员。",
    link: "以上方式已全部丢失",
    under_way: "有人在通过密码验证后申请移除您的二次验证方式。如果不是您本人，请停止该申诉并修改密码。",
    stop: "停止申诉",
    stopped: "申诉已停止。",
};

impl AppealTexts {
    /// The words of this language.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::Chinese => &CHINESE,
            Language::English => &ENGLISH,
        }
    }

    /// How long a granted appeal waits.
    pub(crate) fn wait(&self, wait: &Duration) -> String {
        let span = Texts::of(self.language).span(*wait);
        match self.language {
            Language::Chinese => format!("申诉通过后 {span}生效，在此期间可以停止。"),
            Language::English => {
                format!(
                    "An appeal that is granted takes effect after {span}; until then it can be stopped."
                )
            }
        }
    }

    /// Which documents may come with it.
    pub(crate) fn documents(&self, most: &usize, bytes: &usize) -> String {
        let kib = bytes / 1024;
        match self.language {
            Language::Chinese => {
                format!("证明文件（PNG、JPEG 或 PDF，最多 {most} 个，每个不超过 {kib} KiB）")
            }
            Language::English => {
                format!("Documents (PNG, JPEG or PDF, at most {most} of {kib} KiB each)")
            }
        }
    }

    /// How far it is.
    pub(crate) fn state(&self, state: &AppealState) -> &'static str {
        match (self.language, state) {
            (Language::Chinese, AppealState::Done) => "申诉已生效，请使用密码登录并重新绑定。",
            (Language::Chinese, AppealState::Granted) => "申诉已通过，等待生效。",
            (Language::Chinese, AppealState::Open) => "等待管理员处理。",
            (Language::Chinese, AppealState::Refused) => "申诉未通过。",
            (Language::Chinese, AppealState::Stopped) => "申诉已停止。",
            (Language::English, AppealState::Done) => {
                "It has taken effect. Sign in with your password and bind a second factor anew."
            }
            (Language::English, AppealState::Granted) => "It is granted, and waits to take effect.",
            (Language::English, AppealState::Open) => "An administrator will decide.",
            (Language::English, AppealState::Refused) => "It was refused.",
            (Language::English, AppealState::Stopped) => "It was stopped.",
        }
    }
}
