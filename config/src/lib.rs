//! What an operator can say.
//!
//! One TOML file becomes one [`GatewayConfig`]; a value that leaves this crate is in range. The
//! way is: [`spec`] says which keys exist, with kind, default and meaning; [`reader`] holds a file
//! against it and notes *every* problem with its place; one file per table turns what was read
//! into a type. The same specification gives the JSON Schema, so the three cannot disagree.
//!
//! Not here: sockets, async, and what the values are used for. This is the only crate that reads
//! the environment or a file for a setting.

mod accounts;
mod alerts;
mod appeal;
mod audit;
mod captcha;
mod client_certificates;
mod codes;
mod edits;
mod field;
mod gateway;
mod identity;
mod limits;
mod listener;
mod lockout;
mod notify;
mod operations;
mod pattern;
mod postgres;
mod problem;
mod public_url;
mod rate_limit;
mod reader;
mod redis;
mod reload;
mod risk;
mod route;
mod schema;
mod second_factor;
mod secret;
mod service_url;
mod session;
mod spec;
mod step_up;
mod store;
mod stuffing;
mod text;
mod tracing;
mod upstream;
mod upstream_address;
mod value;
mod webauthn;

pub use accounts::{Accounts, BreachApi, PasswordHashing};
pub use alerts::{ALERTS, Alerts};
pub use appeal::Appeal;
pub use audit::Audit;
pub use captcha::{Captcha, CaptchaMode, CaptchaProvider, ProviderKind, WhenDown};
pub use client_certificates::{AccountPart, ClientCertificates};
pub use codes::Codes;
pub use edits::{Edits, FieldEdits, FieldLine, ReplacePrefix, SecurityHeaders};
pub use field::{is_forwarding_field, is_gate_cookie, is_of_identity_family};
pub use gateway::GatewayConfig;
pub use identity::{Identity, IdentityHeaders, SigningAlgorithm};
pub use limits::Limits;
pub use listener::{Listener, TlsFiles};
pub use lockout::Lockout;
pub use notify::{MessageService, Notify, Smtp, SmtpTls};
pub use operations::Operations;
pub use pattern::{HostPattern, PathPattern, Segment};
pub use postgres::{Postgres, PostgresHost, PostgresTls};
pub use problem::{LoadError, Problem};
pub use public_url::PublicUrl;
pub use rate_limit::{By, Rate, RateLimits, RouteLimit};
pub use redis::{Redis, RedisTopology};
pub use risk::Risk;
pub use route::{Access, Route};
pub use schema::json_schema;
pub use second_factor::SecondFactor;
pub use secret::Secret;
pub use service_url::ServiceUrl;
pub use session::{IDLE_MAX, IDLE_MIN, Session, verify_idle};
pub use step_up::{Factor, StepUp};
pub use store::Store;
pub use stuffing::Stuffing;
pub use tracing::Tracing;
pub use upstream::{Health, HostHeader, Protocol, ProxyProtocol, Upstream};
pub use upstream_address::UpstreamAddress;
pub use value::{format_duration, parse_duration};
pub use webauthn::WebAuthn;
