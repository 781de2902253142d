//! What the gate has at the moment of a scrape, and what its parts have counted.

use doorward_certs::tls::TlsIdentities;
use doorward_plugins::histogram::Durations;
use doorward_plugins::notify::Channel;
use doorward_plugins::store::Operation;

use super::text::Text;
use crate::shared::Shared;

pub(super) async fn write(text: &mut Text, gate: &Shared) {
    let services = &gate.services;
    let version = env!("CARGO_PKG_VERSION");
    text.family("doorward_build_info", "gauge", "Always 1; the version is in the label.");
    text.sample("doorward_build_info", &[("version", version)], 1);
    let sessions = services.sessions.count();
    text.single("doorward_sessions", "gauge", "Sessions in memory.", sessions);
    let (asked, age) = services.sessions.copy();
    text.single(
        "doorward_session_copy_age_seconds",
        "gauge",
        "Since it was last known that the gate has heard of all that the others have done.",
        age.as_secs_f64(),
    );
    text.single(
        "doorward_session_copy_misses_total",
        "counter",
        "Requests for which the shared store had to be asked for a session.",
        asked,
    );
    write_counters(text, gate);
    write_events(text, gate);
    write_queues(text, gate).await;
    write_stores(text, gate);
    write_upstreams(text, gate);
    write_keys(text, gate);
    text.0.push_str(&services.rate_limits.metrics());
}

fn write_counters(text: &mut Text, gate: &Shared) {
    let services = &gate.services;
    for (name, help, count) in [
        (
            "doorward_password_checks_total",
            "Passwords compared with somebody's hash.",
            services.sign_in.passwords_checked(),
        ),
        (
            "doorward_hasty_forms_total",
            "Sign-in forms that were filled in faster than a person would, and wrongly.",
            services.captcha.hasty(),
        ),
        (
            "doorward_assertions_signed_total",
            "Assertions that were signed; all other requests that were sent on had one already.",
            services.assertions.signed(),
        ),
        (
            "doorward_log_lines_dropped_total",
            "Log lines that did not fit the queue.",
            gate.log.dropped(),
        ),
        (
            "doorward_audit_events_dropped_total",
            "Events that are not in the audit log, because too many waited.",
            services.audit.dropped(),
        ),
        (
            "doorward_audit_broken_total",
            "How often the audit log was found changed by somebody else.",
            services.audit.broken(),
        ),
    ] {
        text.single(name, "counter", help, count);
    }
    let name = "doorward_captcha_total";
    text.family(name, "counter", "Captchas that came, by what came of them.");
    for (result, count) in services.captcha.counts() {
        text.sample(name, &[("result", result)], count);
    }
}

/// Sign-ins, locks, approvals, changes: everything that the audit log has a name for.
fn write_events(text: &mut Text, gate: &Shared) {
    let name = "doorward_events_total";
    text.family(name, "counter", "What happened, by the name that it has in the audit log.");
    for (kind, count) in gate.services.audit.counts() {
        text.sample(name, &[("event", kind.name())], count);
    }
    let name = "doorward_challenges_total";
    text.family(name, "counter", "What people were asked for at this gate, by what came of it.");
    for ((purpose, outcome), count) in gate.services.second.challenges.counts() {
        text.sample(name, &[("purpose", purpose), ("outcome", outcome)], count);
    }
}

async fn write_queues(text: &mut Text, gate: &Shared) {
    let services = &gate.services;
    let name = "doorward_queue_length";
    text.family(name, "gauge", "What waits; a store that does not answer does not say.");
    text.sample(name, &[("queue", "audit")], services.audit.waiting());
    text.sample(name, &[("queue", "hashing")], services.sign_in.passwords_waiting());
    for (channel, queue) in [
        (Channel::Email, "email"),
        (Channel::TextMessage, "text-message"),
        (Channel::Webhook, "webhook"),
    ] {
        if services.notify.can(channel)
            && let Ok(waiting) = services.notify.waiting(channel).await
        {
            text.sample(name, &[("queue", queue)], waiting);
        }
    }
}

fn write_stores(text: &mut Text, gate: &Shared) {
    let name = "doorward_store_duration_seconds";
    text.family(
        name,
        "histogram",
        "How long calls to the stores took, those that failed included.",
    );
    for (backend, timings) in gate.services.store_timings() {
        for operation in Operation::ALL {
            let labels = [("backend", backend), ("operation", operation.name())];
            text.histogram(name, &labels, &Durations::of([&timings.counted(operation).took]));
        }
    }
    let name = "doorward_store_errors_total";
    text.family(name, "counter", "Calls to the stores that failed.");
    for (backend, timings) in gate.services.store_timings() {
        for operation in Operation::ALL {
            for (error, count) in timings.counted(operation).failures() {
                let of = [("backend", backend), ("operation", operation.name()), ("error", error)];
                text.sample(name, &of, count);
            }
        }
    }
}

fn write_upstreams(text: &mut Text, gate: &Shared) {
    let now = gate.services.clock.now();
    let name = "doorward_upstream_addresses";
    text.family(name, "gauge", "Addresses of consoles, by whether they are asked or left alone.");
    for upstream in &gate.upstreams {
        let (well, all) = upstream.count_well(now);
        for (state, count) in [("well", well), ("ejected", all - well)] {
            let labels = [("upstream", upstream.rules.name.as_str()), ("state", state)];
            text.sample(name, &labels, count);
        }
    }
}

fn write_keys(text: &mut Text, gate: &Shared) {
    let now = gate.services.clock.wall().secs();
    let name = "doorward_certificate_expires_in_seconds";
    text.family(
        name,
        "gauge",
        "Until the first certificate of a listener, or of the gate at an upstream, runs out; below zero: since.",
    );
    let expiry = |text: &mut Text, of: &str, whose: &str, identities: &TlsIdentities| {
        if let Some(expires) = identities.expires() {
            let left = i128::from(expires) - i128::from(now);
            text.sample(name, &[("of", of), ("name", whose)], left);
        }
    };
    for (listener, tls) in gate.services.config.listeners.iter().zip(&gate.tls) {
        if let Some(tls) = tls {
            expiry(text, "listener", &listener.address.to_string(), &tls.identities);
        }
    }
    for upstream in &gate.upstreams {
        if let Some(own) = &upstream.own {
            expiry(text, "upstream", &upstream.rules.name, own);
        }
    }
    let signing = gate.services.assertions.keys().last().map_or(0, |key| key.created);
    let age = now.saturating_sub(signing);
    let help = "Since the key was made that assertions are signed with.";
    text.single("doorward_signing_key_age_seconds", "gauge", help, age);
}
