//! A backend which believes the gateway's signed assertion and nothing else.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it stands by itself")]

use std::{env, error::Error, time::Duration, time::Instant};

use axum::{Json, Router, extract::State, http::HeaderMap, http::StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex};

static KEYS: Mutex<(JwkSet, Option<Instant>)> = Mutex::const_new((JwkSet { keys: vec![] }, None));

async fn verify(headers: &HeaderMap, mut rules: Validation) -> Result<Value, Box<dyn Error>> {
    let mut sent = headers.get_all("x-doorward-assertion").iter();
    let (Some(assertion), None) = (sent.next(), sent.next()) else { return Err("not one".into()) };
    let kid = decode_header(assertion)?.kid.ok_or("no kid")?;
    let mut keys = KEYS.lock().await;
    // A new key is looked for at once, but a stream of made-up ones costs one fetch a second.
    let max_age = Duration::from_secs(if keys.0.find(&kid).is_some() { 300 } else { 1 });
    if keys.1.is_none_or(|fetched| fetched.elapsed() >= max_age) {
        keys.1 = Some(Instant::now());
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        keys.0 = http.get(env::var("JWKS_URL")?).send().await?.error_for_status()?.json().await?;
    }
    let key = keys.0.find(&kid).ok_or("unknown key")?;
    rules.algorithms.retain(|allowed| key.common.key_algorithm == Some((*allowed).into()));
    let jwt = decode::<Value>(assertion, &DecodingKey::from_jwk(key)?, &rules)?;
    let ours = jwt.header.typ.as_deref() == Some("doorward-assertion+jwt");
    if ours && jwt.claims.get("iat").is_some() { Ok(jwt.claims) } else { Err("not ours".into()) }
}

async fn whoami(State(rules): State<Validation>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let refusal = (StatusCode::UNAUTHORIZED, Json(json!({"error": "no valid assertion"})));
    verify(&headers, rules).await.map_or(refusal, |claims| (StatusCode::OK, Json(claims)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut rules = Validation { leeway: 5, validate_nbf: true, ..Validation::default() };
    rules.algorithms = vec![Algorithm::ES256, Algorithm::EdDSA];
    rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    rules.set_issuer(&[env::var("ISSUER")?]);
    rules.set_audience(&[env::var("AUDIENCE")?]);
    let listener = TcpListener::bind(env::var("LISTEN")?).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, Router::new().fallback(whoami).with_state(rules)).await?)
}
