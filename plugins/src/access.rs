//! Access: may this principal do this, by what the route demands?
//!
//! Room 3 of the request path. Runs after `session`, whose `cx.principal` it compares with
//! `cx.route`. A stranger is sent to sign in; somebody without the group or role is refused.
//!
//! Not here: the choice of the route (the router), and proof stronger than a password.

use doorward_config::Access as Demand;

use crate::account::Principal;
use crate::{Decision, Plugin, Problem, Refusal, RequestContext};

/// Compares who is asking with what the route demands.
#[derive(Debug)]
pub struct Access;

impl Plugin for Access {
    fn name(&self) -> &'static str {
        "access"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        match decide(&cx.route.access, cx.principal.as_deref()) {
            None => Decision::CONTINUE,
            Some(problem) => Decision::refuse(Refusal::new(problem)),
        }
    }
}

/// Why `principal` does not meet `demand`; `None` if it does.
pub fn decide(demand: &Demand, principal: Option<&Principal>) -> Option<Problem> {
    let Demand::Session { groups, roles } = demand else { return None };
    let Some(principal) = principal else { return Some(Problem::SessionRequired) };
    let one_of = |wanted: &[String], held: &[String]| {
        wanted.is_empty() || wanted.iter().any(|name| held.contains(name))
    };
    let allowed = one_of(groups, &principal.groups) && one_of(roles, &principal.roles);
    (!allowed).then_some(Problem::Forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::tests::principal;

    #[track_caller]
    fn check(groups: &[&str], roles: &[&str], expected: Option<Problem>) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let demand = Demand::Session { groups: owned(groups), roles: owned(roles) };
        // alice is in the group "staff" and has the role "owner".
        assert_eq!(decide(&demand, Some(&principal("alice"))), expected, "{demand:?}");
        assert_eq!(decide(&demand, None), Some(Problem::SessionRequired));
    }

    #[test]
    fn groups_and_roles_are_demanded_together() {
        check(&[], &[], None);
        check(&["staff"], &[], None);
        check(&["other", "staff"], &["owner"], None);
        check(&["staff"], &["auditor"], Some(Problem::Forbidden));
        check(&["Staff"], &[], Some(Problem::Forbidden));
        assert_eq!(decide(&Demand::Public, None), None);
    }
}
