//! The `redis` keys of `[store]`: where several gates keep what is live.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::secret::{Secret, read_secret};

/// The servers that gates share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// `redis://`, `rediss://` or `redis+unix://` URLs; they hold the password, if there is one.
    pub urls: Vec<Secret>,
    /// What the URLs name.
    pub topology: RedisTopology,
    /// Whose certificates are trusted; `None`: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The first part of every key.
    pub prefix: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// So many replicas have to have what must not be lost.
    pub replicas_acknowledge: u32,
}

impl fmt::Display for Redis {
    /// The servers, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, url) in self.urls.iter().enumerate() {
            let Ok(url) = url::Url::parse(url.expose()) else { continue };
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
            if let Some(port) = url.port() {
                write!(f, ":{port}")?;
            }
            f.write_str(url.path())?;
        }
        Ok(())
    }
}

/// What the URLs of [`Redis`] name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisTopology {
    /// One server.
    Alone,
    /// Sentinels, which know the primary of this name.
    Sentinel(String),
    /// Some nodes of a Cluster.
    Cluster,
}

impl Redis {
    /// `None`: this gate keeps everything itself.
    pub(crate) fn read(reader: &Reader<'_>) -> Option<Self> {
        let urls = reader.texts("redis");
        let topology = topology(reader, urls.len());
        let password = read_secret(reader, "redis_password_file", "redis_password_env", 1);
        if urls.is_empty() {
            for key in
                ["redis_sentinel", "redis_password_file", "redis_password_env", "redis_ca_file"]
            {
                if reader.has(key) {
                    let reason = "is of no use without redis.";
                    reader.problem(key, Fault::new(reason, "Write redis, or leave this out."));
                }
            }
            return None;
        }
        let plaintext = reader.flag("redis_plaintext");
        if !plaintext && urls.iter().any(|url| is_readable_on_the_way(url)) {
            let reason = "names a server on another machine without TLS: sessions would cross the \
                          network in clear.";
            let advice = "Write \"rediss://…\", or redis_plaintext = true where the network is \
                          encrypted by other means.";
            reader.problem("redis", Fault::new(reason, advice));
        }
        let replicas_acknowledge =
            u32::try_from(reader.integer("redis_replicas_acknowledge")).unwrap_or_default();
        if replicas_acknowledge > 0 && topology == RedisTopology::Cluster {
            let reason = "cannot be had of a Cluster.";
            let advice = "Leave it out, or use Sentinels: all keys stand at one node anyway.";
            reader.problem("redis_replicas_acknowledge", Fault::new(reason, advice));
        }
        let urls = urls.iter().filter_map(|url| match (&password, url::Url::parse(url)) {
            (Some(password), Ok(mut parsed)) if !url.contains("unix://") => {
                parsed.set_password(Some(password.expose())).ok()?;
                Some(Secret::new(parsed.into()))
            }
            _ => Some(Secret::new(url.clone())),
        });
        Some(Self {
            urls: urls.collect(),
            topology,
            ca_file: reader.readable_file("redis_ca_file"),
            prefix: reader.text("redis_prefix"),
            timeout: reader.duration("redis_timeout"),
            replicas_acknowledge,
        })
    }
}

fn topology(reader: &Reader<'_>, urls: usize) -> RedisTopology {
    let sentinel = reader.optional_text("redis_sentinel");
    match (sentinel, reader.flag("redis_cluster")) {
        (Some(_), true) => {
            let reason = "and redis_cluster are both given.";
            reader.problem("redis_sentinel", Fault::new(reason, "Keep one of them."));
            RedisTopology::Cluster
        }
        (Some(name), false) => RedisTopology::Sentinel(name),
        (None, true) => RedisTopology::Cluster,
        (None, false) => {
            if urls > 1 {
                let reason = "names several servers, and nothing says how they belong together.";
                let advice =
                    "Write redis_sentinel = \"NAME\" or redis_cluster = true, or one server.";
                reader.problem("redis", Fault::new(reason, advice));
            }
            RedisTopology::Alone
        }
    }
}

/// Would others on the network see what is said?
fn is_readable_on_the_way(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    let own = |host: &str| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
    };
    url.scheme() == "redis" && !url.host_str().is_some_and(own)
}

/// A password may stand in it, so that it is not shown.
pub(crate) fn verify_redis_url(text: &str) -> Result<(), Fault> {
    let known = url::Url::parse(text).is_ok_and(|url| match url.scheme() {
        "redis" | "rediss" => url.host_str().is_some_and(|host| !host.is_empty()),
        "redis+unix" | "unix" => url.path().len() > 1,
        _ => false,
    });
    if known {
        return Ok(());
    }
    Err(Fault::new(
        "is not the URL of a Redis server.",
        "Write \"rediss://USER:PASSWORD@HOST:6379/0\", or \"redis+unix:///run/redis.sock\".",
    ))
}

/// What can stand in a hash tag (Redis Cluster specification, "Hash tags").
pub(crate) fn verify_prefix(text: &str) -> Result<(), Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    Err(Fault::new(
        format!("{text:?} is no prefix."),
        "Use up to 64 letters, digits, \"-\", \"_\" and \".\".",
    ))
}

#[cfg(test)]
mod tests {
    use crate::GatewayConfig;

    fn problems(keys: &str) -> Vec<String> {
        let text = format!(
            "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.a]\naddress = \"http://127.0.0.1:1\"\n[store]\npath = \"a.db\"\n{keys}\n"
        );
        match GatewayConfig::parse(&text, std::path::Path::new("/tmp")) {
            Ok(_) => Vec::new(),
            Err(problems) => problems
                .iter()
                .map(|problem| format!("{} {}", problem.key, problem.reason))
                .collect(),
        }
    }

    #[test]
    fn p02_what_would_expose_or_lose_sessions_is_refused() {
        for fine in [
            "redis = \"rediss://gate:secret@redis.example.com:6379/1\"",
            "redis = \"redis://[::1]:6379\"",
            "redis = \"redis://localhost\"",
            "redis = \"redis+unix:///run/redis.sock\"",
            "redis = \"redis://redis.example.com\"\nredis_plaintext = true",
            "redis = [\"rediss://a\", \"rediss://b\"]\nredis_cluster = true",
            "redis = [\"rediss://a\", \"rediss://b\"]\nredis_sentinel = \"gates\"",
        ] {
            assert_eq!(problems(fine), [""; 0], "{fine}");
        }
        for (keys, problem) in [
            ("redis = \"redis://redis.example.com\"", "without TLS"),
            ("redis = \"redis://10.0.0.1:6379\"", "without TLS"),
            ("redis = \"redis.example.com:6379\"", "is not the URL"),
            ("redis = \"https://redis.example.com\"", "is not the URL"),
            ("redis = [\"rediss://a\", \"rediss://b\"]", "how they belong together"),
            ("redis = \"rediss://a\"\nredis_cluster = true\nredis_sentinel = \"g\"", "both given"),
            ("redis_sentinel = \"g\"", "of no use without redis"),
            (
                "redis = \"rediss://a\"\nredis_cluster = true\nredis_replicas_acknowledge = 1",
                "of a Cluster",
            ),
            ("redis = \"rediss://a\"\nredis_prefix = \"a{b}\"", "is no prefix"),
            ("redis = \"rediss://a\"\nredis_timeout = \"1m\"", "redis_timeout"),
        ] {
            let found = problems(keys);
            assert!(
                found.len() == 1 && found[0].contains(problem),
                "{keys} gave {found:?}, not {problem}"
            );
        }
    }

    #[test]
    fn p01_servers_are_named_without_their_password() {
        for (url, named) in [
            ("rediss://gate:hunter2@a.example:7000/1", "rediss://a.example:7000/1"),
            ("redis://:hunter2@[::1]", "redis://[::1]"),
            ("redis+unix:///run/r.sock?user=gate&pass=hunter2", "redis+unix:///run/r.sock"),
        ] {
            let redis = super::Redis {
                urls: vec![super::Secret::new(url.to_owned()); 2],
                topology: super::RedisTopology::Cluster,
                ca_file: None,
                prefix: String::new(),
                timeout: std::time::Duration::ZERO,
                replicas_acknowledge: 0,
            };
            assert_eq!(redis.to_string(), format!("{named}, {named}"));
        }
    }

    #[test]
    fn p01_no_problem_shows_the_password() {
        for keys in [
            "redis = \"redis://gate:hunter2@redis.example.com\"",
            "redis = \"rediss//gate:hunter2@redis.example.com\"",
            "redis = [\"rediss://gate:hunter2@a\", \"rediss://gate:hunter2@b\"]",
        ] {
            let found = problems(keys);
            assert!(!found.is_empty() && !found.concat().contains("hunter2"), "{found:?}");
        }
    }
}
