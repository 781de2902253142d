//! What a person is told about a problem.

use doorward_plugins::Problem;

use crate::portal::language::Language;

/// What a person is told about a problem: a heading, and what to do.
pub(crate) fn explain(problem: Problem, language: Language) -> (&'static str, &'static str) {
    match language {
        Language::Chinese => explain_in_chinese(problem),
        Language::English => explain_in_english(problem),
    }
}

fn explain_in_english(problem: Problem) -> (&'static str, &'static str) {
    use Problem as P;
    let again = "Please try again in a moment.";
    let still_signed_in = "You are still signed in. Please try again in a moment.";
    match problem {
        P::BadRequest
        | P::VersionUnknown
        | P::UnsupportedType
        | P::HeadersTooLarge
        | P::TargetTooLong => (
            "This request cannot be read",
            "The address or the form was not valid. Go back and try again; if you followed a link, ask whoever gave it to you.",
        ),
        P::SessionRequired => {
            ("Please sign in", "Your session has ended, or you have not signed in yet.")
        }
        P::Forbidden => (
            "You may not open this page",
            "Your account lacks the rights for it. Ask an administrator.",
        ),
        P::CrossSite => (
            "This request came from another site",
            "For your safety nothing was done. Open the page here and try again.",
        ),
        P::StepUpRequired => (
            "Confirm this with a second factor",
            "Go back and try again: you are asked for it then.",
        ),
        P::SecondFactorRequired => ("A second factor is needed", "Please sign in again."),
        P::FreshnessRequired => ("Confirm first that it is you", "Go back and try again."),
        P::ChallengeOver => (
            "This is no longer valid",
            "It took too long, or there were too many wrong codes. Nothing was done. Please begin again.",
        ),
        P::NotHeld => (
            "Nothing is kept here any more",
            "What you sent has gone on already, or it took too long. Look whether it was done before you send it again.",
        ),
        P::WrongCode => ("The code is not right", "It is wrong, or was used before."),
        P::NoFactor => (
            "You cannot confirm this yet",
            "It needs a second factor that your account does not have. Bind one in your account first.",
        ),
        P::SignInFailed => ("Sign-in failed", "Name or password is wrong."),
        P::CaptchaRequired => ("One more check is needed", "Go back and try again."),
        P::NotFound => {
            ("There is nothing here", "The address may be misspelt, or the page has moved.")
        }
        P::MethodNotAllowed | P::MethodUnknown => {
            ("This cannot be done here", "The page does not take this kind of request.")
        }
        P::Timeout => {
            ("That took too long", "The request did not arrive completely. Please try again.")
        }
        P::TooLarge => ("That is too large", "Send a smaller file or less text."),
        P::Misdirected => ("This host is not served here", "Check the address."),
        P::Internal | P::Loop => ("Something went wrong", again),
        P::BadGateway | P::NoUpstream => ("The console cannot be reached", still_signed_in),
        P::GatewayTimeout => ("The console took too long to answer", still_signed_in),
        P::Undecided | P::Busy | P::ShuttingDown => ("Not available right now", again),
        P::TooManyRequests => ("Too many requests", again),
        P::WeakPassword => ("This password cannot be used", "Please choose another one."),
    }
}

fn explain_in_chinese(problem: Problem) -> (&'static str, &'static str) {
    use Problem as P;
    let again = "请稍后重试。";
    let still_signed_in = "您的登录仍然有效，请稍后重试。";
    match problem {
        P::BadRequest
        | P::VersionUnknown
        | P::UnsupportedType
        | P::HeadersTooLarge
        | P::TargetTooLong => (
            "无法识别该请求",
            "地址或表单内容无效。请返回重试；如果是从链接进入，请联系链接的提供者。",
        ),
        P::SessionRequired => ("请先登录", "会话已结束，或您尚未登录。"),
        P::Forbidden => ("无权访问", "您的账号没有访问该页面的权限，请联系管理员。"),
        P::CrossSite => {
            ("请求来自其他网站", "为了您的安全，该操作未执行。请在本站打开页面后重试。")
        }
        P::StepUpRequired => ("需要二次验证", "请返回后重试，届时会要求您验证。"),
        P::SecondFactorRequired => ("需要二次验证", "请重新登录。"),
        P::FreshnessRequired => ("请先确认是您本人", "请返回后重试。"),
        P::ChallengeOver => ("已失效", "操作超时，或错误次数过多。操作未执行，请重新开始。"),
        P::NotHeld => (
            "暂存内容已不存在",
            "您提交的内容已继续处理，或已超时。重新提交之前，请先确认操作是否已执行。",
        ),
        P::WrongCode => ("验证码不正确", "验证码错误，或已被使用。"),
        P::NoFactor => ("暂时无法确认", "该操作需要您的账号尚未绑定的验证方式，请先在账号中绑定。"),
        P::SignInFailed => ("登录失败", "用户名或密码错误。"),
        P::CaptchaRequired => ("需要进行安全验证", "请返回重试。"),
        P::NotFound => ("页面不存在", "地址可能有误，或页面已移动。"),
        P::MethodNotAllowed | P::MethodUnknown => ("不支持该操作", "该页面不接受此类请求。"),
        P::Timeout => ("请求超时", "请求未完整送达，请重试。"),
        P::TooLarge => ("内容过大", "请减小文件或文本的大小后重试。"),
        P::Misdirected => ("不提供该站点的服务", "请检查访问的地址。"),
        P::Internal | P::Loop => ("出现错误", again),
        P::BadGateway | P::NoUpstream => ("控制台暂时无法访问", still_signed_in),
        P::GatewayTimeout => ("控制台响应超时", still_signed_in),
        P::Undecided | P::Busy | P::ShuttingDown => ("服务暂不可用", again),
        P::TooManyRequests => ("请求过于频繁", again),
        P::WeakPassword => ("该密码不可用", "请换一个密码。"),
    }
}
