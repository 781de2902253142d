//! Identity: what the console is told about who is asking.
//!
//! Two ends of the pipeline. [`StripIdentity`], first of all, removes every identity field that a
//! client sent, on every branch. [`AssertIdentity`], last of all, adds ours: plain fields by
//! preset, and the signed assertion.
//!
//! A field name with `_` is removed whatever it says: many backends read `X_User` and `X-User` as
//! the same variable (CVE-2025-64484).
//!
//! Not here: which keys sign (`doorward-certs`).

mod assertion;

use std::sync::Arc;

use doorward_config::{GatewayConfig, IdentityHeaders, is_of_identity_family};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::account::{PlainFields, Principal};
use crate::{Decision, Plugin, RequestContext};

pub use assertion::{Assertions, CachedAssertion};

/// The field that carries the signed form.
pub static ASSERTION_FIELD: HeaderName = HeaderName::from_static("x-doorward-assertion");

/// Removes every identity field that a client sent.
pub struct StripIdentity {
    /// By length, so that most fields are compared with nothing.
    reserved: Vec<Vec<HeaderName>>,
    /// Of our family, and the client's to send.
    background: Option<HeaderName>,
}

impl StripIdentity {
    /// Removes the names of every preset, and those of the configuration.
    pub fn new(config: &GatewayConfig) -> Self {
        let mut reserved = Vec::new();
        let names = IdentityHeaders::reserved(&config.identity.headers);
        for name in names.iter().filter_map(|name| HeaderName::try_from(name).ok()) {
            let length = name.as_str().len();
            if reserved.len() <= length {
                reserved.resize(length + 1, Vec::new());
            }
            if let Some(names) = reserved.get_mut(length) {
                names.push(name);
            }
        }
        let background = HeaderName::try_from(&config.session.background_header).ok();
        Self { reserved, background }
    }

    fn is_forbidden(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        // Without an early end, so that it is done for many bytes at once.
        let underscore = text.bytes().fold(false, |found, byte| found | (byte == b'_'));
        underscore
            || self.reserved.get(text.len()).is_some_and(|names| names.contains(name))
            || (is_of_identity_family(text) && self.background.as_ref() != Some(name))
    }
}

impl Plugin for StripIdentity {
    fn name(&self) -> &'static str {
        "strip_identity"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        let headers = &mut cx.head.headers;
        if headers.keys().any(|name| self.is_forbidden(name)) {
            let forbidden: Vec<_> =
                headers.keys().filter(|name| self.is_forbidden(name)).cloned().collect();
            tracing::debug!(
                request_id = cx.request_id.as_str(),
                count = forbidden.len(),
                "identity fields of a client removed"
            );
            for name in forbidden {
                headers.remove(name);
            }
        }
        Decision::CONTINUE
    }

    fn on_trailers(&self, trailers: &mut HeaderMap) {
        while let Some(name) = trailers.keys().find(|name| self.is_forbidden(name)).cloned() {
            trailers.remove(name);
        }
    }
}

/// Names of the plain fields, each with the value of a principal that it carries.
#[derive(Debug)]
pub struct PlainNames(Vec<(HeaderName, PlainField)>);

/// Which value of a principal a plain field carries.
type PlainField = fn(&PlainFields) -> &Option<HeaderValue>;

impl PlainNames {
    /// The fields that the configuration names.
    pub fn new(names: &IdentityHeaders) -> Self {
        let fields: [(&Option<String>, PlainField); 5] = [
            (&names.user, |fields| &fields.user),
            (&names.groups, |fields| &fields.groups),
            (&names.name, |fields| &fields.name),
            (&names.email, |fields| &fields.email),
            (&names.roles, |fields| &fields.roles),
        ];
        let named = fields.into_iter().filter_map(|(name, field)| {
            Some((HeaderName::try_from(name.as_deref()?).ok()?, field))
        });
        Self(named.collect())
    }

    /// The fields that a principal's requests carry.
    pub fn of<'a>(
        &'a self,
        principal: &'a Principal,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        self.0.iter().filter_map(|(name, field)| Some((name, field(&principal.fields).as_ref()?)))
    }
}

/// Tells the upstream who the principal is and how strongly that was proven.
pub struct AssertIdentity {
    plain: Arc<PlainNames>,
    assertions: Option<Arc<Assertions>>,
}

impl AssertIdentity {
    /// Adds what the configuration names; `assertions` signs.
    pub fn new(config: &GatewayConfig, assertions: Arc<Assertions>) -> Self {
        Self {
            plain: Arc::new(PlainNames::new(&config.identity.headers)),
            assertions: config.identity.assertion.then_some(assertions),
        }
    }
}

impl Plugin for AssertIdentity {
    fn name(&self) -> &'static str {
        "assert_identity"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        let (Some(session), Some(principal), Some(upstream)) =
            (&cx.session, &cx.principal, cx.upstream)
        else {
            return Decision::CONTINUE;
        };
        if let Some(assertions) = &self.assertions {
            match assertions.of(session, principal, upstream) {
                Ok(assertion) => cx.assertion = Some(assertion),
                Err(error) => return Decision::Now(Err(error)),
            }
        }
        cx.plain = Some(Arc::clone(&self.plain));
        Decision::CONTINUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::{config, context};

    #[tokio::test]
    async fn a02_identity_fields_of_a_client_are_removed_in_every_spelling() {
        let strip = StripIdentity::new(&config("[identity.headers]\nuser = \"Web-User\"\n"));
        let mut cx = context("/");
        for name in [
            "remote-user",
            "Remote-Groups",
            "REMOTE-NAME",
            "remote-email",
            "x-forwarded-user",
            "X-Auth-Request-User",
            "x-doorward-assertion",
            "web-user",
            "Remote_User",
            "x_forwarded_user",
            "X-Doorward_Assertion",
            "x_y",
            "remote-roles",
            "x-auth-request-access-token",
            "x-authentik-username",
        ] {
            cx.head.headers.append(HeaderName::try_from(name).unwrap(), "root".parse().unwrap());
            cx.head.headers.append(HeaderName::try_from(name).unwrap(), "".parse().unwrap());
        }
        cx.head.headers.insert("x-request-id", "kept".parse().unwrap());
        cx.head.headers.insert("x-doorward-background", "kept".parse().unwrap());
        strip.on_request(&mut cx).made().await.unwrap();
        let mut left: Vec<_> = cx.head.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-doorward-background", "x-request-id"]);
    }

    #[test]
    fn plain_fields_follow_the_preset_and_leave_out_what_is_not_known() {
        let config =
            config("[identity]\npreset = \"forwarded\"\n[identity.headers]\nroles = \"X-Roles\"\n");
        let names = PlainNames::new(&config.identity.headers);
        let record = crate::account::PrincipalRecord {
            email: None,
            ..crate::account::tests::record("alice")
        };
        let principal = Principal::from(&record);
        let fields: Vec<_> = names
            .of(&principal)
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(
            fields,
            [
                "x-forwarded-user: alice",
                "x-forwarded-groups: staff,a%2Cb",
                "x-forwarded-preferred-username: Alice %C3%84.",
                "x-roles: owner"
            ]
        );
    }
}
