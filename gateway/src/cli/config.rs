//! `doorward config`: look at a configuration before it serves.

use std::path::Path;
use std::sync::Arc;

use doorward_config::{
    Access, FieldEdits, FieldLine, GatewayConfig, LoadError, Route, RouteLimit, SecurityHeaders,
    format_duration, json_schema,
};
use doorward_plugins::Clock;
use doorward_plugins::access::decide;
use doorward_plugins::account::rules::PasswordRules;
use doorward_plugins::account::{Principal, PrincipalRecord};
use doorward_plugins::administration::{Reply, Request};
use doorward_plugins::identity::PlainNames;
use serde_json::{Value, json};

use super::arguments::Config;
use super::{Failure, admin, load, say};
use crate::forwarded::parse_host;
use crate::router::{Explained, Router};

pub(super) fn run(command: &Config) -> Result<(), Failure> {
    match command {
        Config::Check { file, json } => check(file, *json),
        Config::Schema => {
            say(&format!("{:#}", json_schema()));
            Ok(())
        }
        Config::Explain { file, method, url, account, json } => {
            let explained = explain(load(file)?, method, url, account.as_deref())?;
            say(&if *json { explained.to_string() } else { readable(&explained) });
            Ok(())
        }
    }
}

fn check(file: &Path, json: bool) -> Result<(), Failure> {
    let loaded = GatewayConfig::load(file);
    if json && let Err(LoadError::Invalid { problems, .. }) = &loaded {
        let list: Vec<_> = problems
            .iter()
            .map(|problem| json!({"line": problem.line, "column": problem.column, "key": problem.key, "reason": problem.reason, "advice": problem.advice}))
            .collect();
        say(&json!({"problems": list}).to_string());
    }
    let config = loaded.map_err(|error| Failure::Config(error.to_string()))?;
    verify_use(&config, file)?;
    if json {
        say("{\"problems\":[]}");
    } else {
        say(&format!("{}: no problems found", file.display()));
    }
    Ok(())
}

/// Verifies what only shows when it is used: certificates, keys, authorities, lists.
pub(super) fn verify_use(config: &GatewayConfig, file: &Path) -> Result<(), Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::Config(format!("{}: {error}", file.display()));
    crate::tls::open(config, &Clock::machine(), &[]).map_err(|error| wrong(&error))?;
    for rules in &config.upstreams {
        crate::upstream::Upstream::new(rules).map_err(|error| wrong(&error))?;
    }
    PasswordRules::open(config).map_err(|error| {
        Failure::Config(format!("{}: accounts.breach_list: {error}", file.display()))
    })?;
    Ok(())
}

fn explain(
    config: GatewayConfig,
    method: &str,
    url: &str,
    account: Option<&str>,
) -> Result<Value, Failure> {
    let config = Arc::new(config);
    let (host, path) = split_url(&config, url)?;
    let router = Router::new(&config, "explain")
        .ok_or_else(|| Failure::Internal("there is no route".into()))?;
    let Explained { route, upstream, path, prefix } = match router.explain(&host, &path, method) {
        Ok(found) => found,
        Err(problem) => {
            return Ok(
                json!({"decision": "refuse", "status": problem.status().as_u16(), "reason": problem.title()}),
            );
        }
    };
    let principal = match account {
        None => None,
        Some(name) => Some(Principal::from(&find(&config, name)?)),
    };
    let upstream = upstream.and_then(|index| config.upstreams.get(index));
    let (decision, status) = match decide(&route.access, principal.as_ref()) {
        None if upstream.is_none() => ("answered by the gate itself", None),
        None => ("forward", None),
        Some(problem) => (problem.title(), Some(problem.status().as_u16())),
    };
    let names = PlainNames::new(&config.identity.headers);
    let mut fields: Vec<_> = principal.iter().flat_map(|principal| names.of(principal)).map(|(name, value)| json!({"name": name.as_str(), "value": String::from_utf8_lossy(value.as_bytes())})).collect();
    if principal.is_some() && config.identity.assertion {
        fields.push(
            json!({"name": "x-doorward-assertion", "value": "a JWT, signed when it is needed"}),
        );
    }
    if let Some(prefix) = prefix {
        fields.push(json!({"name": "x-forwarded-prefix", "value": String::from_utf8_lossy(prefix.as_bytes())}));
    }
    let forwarded = status.is_none() && upstream.is_some();
    let edits = |edits: &FieldEdits| if forwarded { lines(edits) } else { Vec::new() };
    Ok(json!({
        "decision": decision,
        "status": status,
        "route": route.name,
        "path": route.path.as_str(),
        "demands": demands(&route),
        "activity": route.activity,
        "upstream": upstream.map(|upstream| upstream.name.clone()),
        "upstream_path": forwarded.then_some(path),
        "request_edits": edits(&route.edits.request),
        "response_edits": edits(&route.edits.response),
        "security_headers": forwarded.then_some(match route.edits.security_headers {
            SecurityHeaders::All => "all",
            SecurityHeaders::None => "none",
            SecurityHeaders::Transport => "transport",
        }),
        "hide_server": forwarded.then_some(!route.edits.show_server),
        "fields": if status.is_none() { fields } else { Vec::new() },
    }))
}

/// Edits, each as what it does to which field. A password in a value stays where it is.
fn lines(edits: &FieldEdits) -> Vec<Value> {
    let FieldEdits { remove, set, add } = edits;
    let line = |what: &str, line: &FieldLine| {
        let secret = matches!(line.name.as_str(), "authorization" | "set-cookie");
        let value = if secret { "(not shown)" } else { line.value.as_str() };
        json!({"edit": what, "name": line.name, "value": value})
    };
    let removed = remove.iter().map(|name| json!({"edit": "remove", "name": name}));
    let set = set.iter().map(|edit| line("set", edit));
    removed.chain(set).chain(add.iter().map(|edit| line("add", edit))).collect()
}

fn split_url(config: &GatewayConfig, url: &str) -> Result<(String, String), Failure> {
    let unusable =
        || Failure::Refuse(format!("{url:?} is not a URL; write https://HOST/PATH or /PATH"));
    let (authority, target) = match url.split_once("://") {
        _ if url.starts_with('/') => (config.public_url.authority.as_str(), url),
        Some((_, rest)) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => return Err(unusable()),
    };
    let host = parse_host(authority).ok_or_else(unusable)?;
    let path = target.split('?').next().unwrap_or_default();
    Ok((host.to_string(), if path.is_empty() { "/".into() } else { path.to_owned() }))
}

fn find(config: &GatewayConfig, name: &str) -> Result<PrincipalRecord, Failure> {
    match admin::ask(config.clone(), Request::AccountShow { name: name.to_owned() })? {
        Reply::Account(record) => Ok(*record),
        _ => Err(Failure::Internal("the gate answered something else".into())),
    }
}

fn demands(route: &Route) -> String {
    let mut text = match &route.access {
        Access::Public => "nothing".to_owned(),
        Access::Session { groups, roles } => {
            let mut text = "a session".to_owned();
            if route.certificate_sign_in {
                text.push_str(" or a client certificate");
            }
            for (what, names) in [("group", groups), ("role", roles)] {
                if !names.is_empty() {
                    text.push_str(&format!(", {what} {}", names.join(" or ")));
                }
            }
            text
        }
    };
    if let Some(step_up) = &route.step_up {
        let factors: Vec<_> = step_up.factors.iter().map(|factor| factor.as_str()).collect();
        let for_what = match step_up.for_one_request {
            true => "for this request alone".to_owned(),
            false => format!("given within {}", format_duration(step_up.max_age)),
        };
        text.push_str(&format!(", a second factor ({}) {for_what}", factors.join(" or ")));
    }
    for RouteLimit { rate, by } in &route.rate_limits {
        let by: Vec<_> = by.iter().map(|by| by.as_str()).collect();
        let whose =
            if by.is_empty() { "all".to_owned() } else { format!("one {}", by.join(" and ")) };
        text.push_str(&format!(", at most {rate} of {whose}"));
    }
    text
}

fn readable(explained: &Value) -> String {
    let mut lines = Vec::new();
    let order = [
        "decision",
        "reason",
        "status",
        "route",
        "path",
        "demands",
        "activity",
        "upstream",
        "upstream_path",
        "fields",
        "request_edits",
        "response_edits",
        "security_headers",
        "hide_server",
    ];
    for name in order {
        let text = match &explained[name] {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Array(fields) => {
                let written: Vec<_> = fields
                    .iter()
                    .map(|field| {
                        let part = |name: &str| field[name].as_str().unwrap_or_default();
                        let edit = part("edit");
                        let gap = if edit.is_empty() { "" } else { " " };
                        let name = format!("\n  {edit}{gap}{}", part("name"));
                        if edit == "remove" { name } else { format!("{name}: {}", part("value")) }
                    })
                    .collect();
                if written.is_empty() { "none".into() } else { written.concat() }
            }
            other => other.to_string(),
        };
        lines.push(format!("{name}: {text}"));
    }
    lines.join("\n")
}
