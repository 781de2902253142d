//! Codes by text message: asking for one, and what a person is told of it.

use std::time::Duration;

use doorward_plugins::code::IssueError;
use doorward_plugins::second_factor::SendError;
use doorward_plugins::{Problem, Refusal};
use http::StatusCode;

use super::text::FactorTexts;

/// What a page tells, besides its form.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Something that went well.
    pub(super) notice: String,
    /// Something that did not.
    pub(super) error: String,
    pub(super) status: StatusCode,
}

impl Told {
    /// Something that did not go well.
    pub(super) fn error(error: &str, problem: Problem) -> Self {
        Self { error: error.to_owned(), status: problem.status(), ..Self::default() }
    }
}

/// What a person is told who asked for a code.
pub(super) fn told(sent: &Result<Duration, SendError>, f: &FactorTexts) -> Told {
    match sent {
        Ok(life) => Told { notice: f.code_sent(*life), ..Told::default() },
        Err(error) => {
            let refusal = refusal(error);
            let text = match refusal.retry_after {
                Some(after) if refusal.problem == Problem::TooManyRequests => f.code_later(after),
                _ => f.unavailable.to_owned(),
            };
            Told { error: text, status: refusal.problem.status(), ..Told::default() }
        }
    }
}

/// The same for a program.
pub(super) fn refusal(error: &SendError) -> Refusal {
    match error {
        SendError::Over | SendError::Issue(IssueError::Spent) => {
            Refusal::new(Problem::ChallengeOver)
        }
        SendError::Issue(IssueError::TooOften(after)) => {
            Refusal::after(Problem::TooManyRequests, *after)
        }
        SendError::Issue(IssueError::Unfit) => Refusal::new(Problem::NoFactor),
        SendError::Issue(IssueError::Unavailable(error)) => {
            tracing::error!(event = "code_not_sent", %error);
            Refusal::new(Problem::Undecided)
        }
    }
}
