//! `certificate` in the pipeline: at which requests a certificate counts, and for whom.
//!
//! A request that has a live cookie too is the cookie's: somebody has said who they are, and the
//! two are never joined. From a trusted proxy a certificate is the proxy's own and says nothing of
//! who is behind it.
//!
//! A browser shows its certificate to every page's requests, whoever wrote the page, and no
//! `SameSite` holds it back. So a request that says that it comes from another site's page, or
//! from another host's, is a stranger's (Fetch Metadata §2.1; `Origin` where a browser is older).

use std::sync::Arc;

use doorward_config::GatewayConfig;
use http::HeaderName;

use super::{Asking, CertificateSessions, ClientCertificate, Key};
use crate::clock::Clock;
use crate::origin::{Claim, OwnOrigin};
use crate::session::Usage;
use crate::sign_in::SignInError;
use crate::{Decided, Decision, Flow, Plugin, PluginError, Problem, Refusal, RequestContext};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Fills `cx.session` and `cx.principal` where a certificate signs in.
pub struct SignInByCertificate {
    usage: Usage,
    own: OwnOrigin,
    clock: Clock,
    certificates: Arc<CertificateSessions>,
}

impl SignInByCertificate {
    /// Finds and begins the sessions of certificates by the rules of the configuration.
    pub fn new(config: &GatewayConfig, certificates: Arc<CertificateSessions>) -> Self {
        let clock = certificates.clock.clone();
        Self { usage: Usage::new(config), own: OwnOrigin::new(config), clock, certificates }
    }

    /// Is it no request of another origin's page?
    fn is_from_here(&self, cx: &RequestContext) -> bool {
        let own = |site: &http::HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
        cx.head.headers.get_all(FETCH_SITE).iter().all(own)
            && match Claim::of(cx) {
                Claim::None => true,
                Claim::One(origin) => self.own.is(origin, cx),
                Claim::Unclear => false,
            }
    }
}

/// Is there a certificate that may count here? Fields of the client are not looked at.
fn counts(cx: &RequestContext) -> Option<&Arc<ClientCertificate>> {
    let certificate = cx.certificate.as_ref()?;
    let allowed = cx.route.certificate_sign_in && cx.upstream.is_some();
    let alone = cx.session.is_none() && !cx.client.trusted_peer;
    (allowed && alone).then_some(certificate)
}

impl Plugin for SignInByCertificate {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        if counts(cx).is_none() {
            return Decision::CONTINUE;
        }
        Decision::later(self.sign_in(cx))
    }
}

impl SignInByCertificate {
    async fn sign_in(&self, cx: &mut RequestContext) -> Decided {
        let Some(certificate) = counts(cx) else { return Ok(Flow::Continue) };
        let Some(account) = &certificate.account else { return Ok(Flow::Continue) };
        // The handshake may be long past.
        if !self.is_from_here(cx) || !certificate.is_good(self.clock.wall().secs()) {
            return Ok(Flow::Continue);
        }
        let key = Key {
            fingerprint: certificate.fingerprint,
            account: Arc::clone(account),
            scope: Arc::clone(self.usage.scope(cx)),
        };
        let found = self.certificates.find(&key, cx.received, self.usage.is_persons_act(cx));
        let session = match found.await.map_err(|error| PluginError(Box::new(error)))? {
            Some(session) => session,
            None => {
                let asking = Asking {
                    key,
                    address: cx.client.address.to_string(),
                    request_id: cx.request_id.as_str().to_owned(),
                };
                let certificates = Arc::clone(&self.certificates);
                // Workers only carry.
                let work = self
                    .certificates
                    .office
                    .spawn(async move { certificates.begin(&asking).await });
                match work.await.map_err(|error| PluginError(Box::new(error)))? {
                    Ok(session) => session,
                    // A stranger, to whom the route says what it says to strangers.
                    Err(SignInError::Reject) => return Ok(Flow::Continue),
                    Err(SignInError::Busy) => {
                        return Ok(Flow::Refuse(Refusal::new(Problem::Busy)));
                    }
                    Err(
                        error @ (SignInError::Captcha
                        | SignInError::Suspect(_)
                        | SignInError::Unavailable(_)),
                    ) => {
                        return Err(PluginError(Box::new(error)));
                    }
                }
            }
        };
        cx.principal = Some(session.principal());
        cx.session = Some(session);
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::certificates;
    use super::*;
    use crate::context::tests::{config, context};

    #[tokio::test]
    async fn a_request_without_a_certificate_costs_and_gets_nothing() {
        let (certificates, _scratch) = certificates().await;
        let plugin = SignInByCertificate::new(&config(""), certificates);
        let mut cx = context("/");
        cx.route =
            Arc::new(doorward_config::Route { certificate_sign_in: true, ..(*cx.route).clone() });
        assert!(plugin.on_request(&mut cx).is_to_go_on());
        assert!(cx.session.is_none() && cx.principal.is_none());
    }

    #[tokio::test]
    async fn d10_only_what_no_other_page_can_send_is_from_here() {
        let (certificates, _scratch) = certificates().await;
        let plugin = SignInByCertificate::new(&config(""), certificates);
        let check = |fields: &[(&'static str, &'static str)], expected| {
            let mut cx = context("/");
            cx.head.headers.insert("host", "console.example.com".parse().unwrap());
            for (name, value) in fields {
                cx.head.headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(plugin.is_from_here(&cx), expected, "{fields:?}");
        };
        check(&[], true);
        check(&[("sec-fetch-site", "none")], true);
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("origin", "https://console.example.com")], true);
        for wrong in ["cross-site", "same-site", "", "Same-Origin", "none, cross-site"] {
            check(&[("sec-fetch-site", wrong)], false);
        }
        for wrong in ["https://evil.example", "null", "http://console.example.com", ""] {
            check(&[("sec-fetch-site", "same-origin"), ("origin", wrong)], false);
        }
    }
}
