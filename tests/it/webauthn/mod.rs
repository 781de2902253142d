//! Security keys and passkeys: in a real browser with a virtual authenticator, and by the API with
//! a key in software.

mod api;
mod pages;
#[path = "../../../plugins/src/authenticator/webauthn/tests/soft_key.rs"]
mod soft_key;

use doorward_plugins::administration::{AccountChange, Request};
use doorward_plugins::authenticator::AuthenticatorRecord;
use doorward_tests::{MANY_SIGN_INS, Setup, TestGate, Upstream};

/// A route that asks for a factor, and a group that needs one to sign in.
fn tables() -> String {
    format!(
        "{MANY_SIGN_INS}[second_factor]\nrequire = [\"guarded\"]\n\
         [[route]]\npath = \"/safe\"\n[route.step_up]\nmax_age = \"1m\"\n"
    )
}

/// A gate with alice.
async fn gate(upstream: &Upstream, tls: bool) -> TestGate {
    let tables = tables();
    let gate = TestGate::start(upstream, Setup { tls, tables: &tables, ..Setup::default() }).await;
    gate.add_alice().await;
    gate
}

/// From now on alice needs a second factor to sign in.
async fn guard_alice(gate: &TestGate) {
    let groups = Some(vec!["guarded".to_owned()]);
    let change = Box::new(AccountChange { groups, ..AccountChange::default() });
    gate.ask(Request::AccountSet { name: "alice".into(), change }).await.unwrap();
}

/// What alice has bound.
async fn held(gate: &TestGate) -> Vec<AuthenticatorRecord> {
    let found = gate.ask(Request::AccountShow { name: "alice".into() }).await.unwrap();
    let doorward_plugins::administration::Reply::Account(record) = found else { panic!() };
    gate.within(|services| async move { services.second.authenticators.list(&record.id).await })
        .await
        .unwrap()
}
