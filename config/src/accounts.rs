//! `[accounts]`: passwords and their hashing.

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::secret::{Secret, read_secret};
use crate::service_url::{ServiceUrl, verify_service_url};
use crate::spec::{Kind, TableSpec, default, optional};
use crate::text::some_text;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Passwords and their hashing.",
    keys: &[
        default(
            "accounts_per_phone",
            Kind::Integer { least: 1, most: 100 },
            "10",
            "How many accounts may have one phone.",
        ),
        optional(
            "breach_api",
            Kind::Text(verify_service_url),
            "URL of a range service of breached passwords, such as \"https://api.pwnedpasswords.com/range/\". It learns the first 20 bits of the SHA-1 of each new password.",
        ),
        optional(
            "breach_api_ca_file",
            Kind::Text(some_text),
            "Certificates in PEM that the service is verified with, instead of the system's.",
        ),
        default(
            "breach_api_timeout",
            Kind::Duration { least: Duration::from_millis(100), most: Duration::from_secs(30) },
            "\"3s\"",
            "How long the service may take.",
        ),
        default(
            "breach_api_when_down",
            Kind::Choice(&["refuse", "accept"]),
            "\"refuse\"",
            "When the service does not answer: \"refuse\" new passwords, or \"accept\" and log it.",
        ),
        optional(
            "breach_list",
            Kind::Text(some_text),
            "File with passwords that were found in breaches, which nobody may choose; made by `doorward breach-list make`. Another one is used after a restart.",
        ),
        default(
            "password_length_min",
            Kind::Integer { least: 8, most: 128 },
            "15",
            "Fewest characters of a new password (NIST SP 800-63B-4 §3.1.1.2: 15 where it is the only factor).",
        ),
        default(
            "hash_memory",
            Kind::Size { least: 19 << 20, most: 1 << 30 },
            "\"19MiB\"",
            "Argon2id memory for each hash. Older hashes are made anew at the next sign-in.",
        ),
        default("hash_iterations", Kind::Integer { least: 2, most: 100 }, "2", "Argon2id passes."),
        default("hash_parallelism", Kind::Integer { least: 1, most: 64 }, "1", "Argon2id lanes."),
        default(
            "hash_threads",
            Kind::Integer { least: 1, most: 64 },
            "1",
            "How many passwords are hashed at once, on half of the cores at most, and when nothing else is to do there; one more where something always is.",
        ),
        default(
            "hash_queue",
            Kind::Integer { least: 1, most: 100_000 },
            "64",
            "How many sign-ins may wait for a hash; further ones get 503 with Retry-After.",
        ),
        optional(
            "pepper_file",
            Kind::Text(some_text),
            "File with a secret that goes into every password hash and is kept apart from the store. It cannot be changed later without setting every password anew.",
        ),
        optional(
            "pepper_env",
            Kind::Text(some_text),
            "The same from an environment variable of this name.",
        ),
    ],
};

/// Passwords and their hashing.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// How many accounts may have one phone.
    pub accounts_per_phone: usize,
    /// Fewest characters of a new password.
    pub password_length_min: usize,
    /// Service that knows breached passwords.
    pub breach_api: Option<BreachApi>,
    /// List of breached passwords.
    pub breach_list: Option<PathBuf>,
    /// Argon2id and its queue.
    pub hashing: PasswordHashing,
}

/// A range service of breached passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreachApi {
    /// What stands before the beginning of a hash.
    pub url: ServiceUrl,
    /// Whom it is verified with, if not with the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// How long it may take.
    pub timeout: Duration,
    /// Is a password accepted when it does not answer?
    pub accept_when_down: bool,
}

/// Argon2id parameters (RFC 9106 §3.1) and the bounds of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordHashing {
    /// Memory for each hash, in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes at once.
    pub threads: usize,
    /// Sign-ins that may wait.
    pub queue: usize,
    /// Goes into every hash; at least 16 bytes.
    pub pepper: Option<Secret>,
}

impl Accounts {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let number = |key| u32::try_from(reader.integer(key)).unwrap_or(u32::MAX);
        let memory_kib = u32::try_from(reader.size("hash_memory") >> 10).unwrap_or(u32::MAX);
        let hashing = PasswordHashing {
            memory_kib,
            iterations: number("hash_iterations"),
            parallelism: number("hash_parallelism"),
            threads: number("hash_threads") as usize,
            queue: number("hash_queue") as usize,
            pepper: read_secret(reader, "pepper_file", "pepper_env", 16),
        };
        Self {
            accounts_per_phone: number("accounts_per_phone") as usize,
            password_length_min: number("password_length_min") as usize,
            breach_api: read_breach_api(reader),
            breach_list: reader.readable_file("breach_list"),
            hashing,
        }
    }
}

fn read_breach_api(reader: &Reader<'_>) -> Option<BreachApi> {
    let ca_file = reader.readable_file("breach_api_ca_file");
    let Some(url) = reader.optional_text("breach_api") else {
        if ca_file.is_some() {
            let fault = Fault::new("is for breach_api.", "Add it, or remove this.");
            reader.problem("breach_api_ca_file", fault);
        }
        return None;
    };
    Some(BreachApi {
        // A URL that could not be read is noted, and the configuration never used.
        url: ServiceUrl::parse(&url).ok()?,
        ca_file,
        timeout: reader.duration("breach_api_timeout"),
        accept_when_down: reader.text("breach_api_when_down") == "accept",
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::GatewayConfig;

    fn parse(keys: &str) -> Result<GatewayConfig, String> {
        let text = format!(
            "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.console]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x.db\"\n\
             [accounts]\n{keys}"
        );
        GatewayConfig::parse(&text, Path::new("/")).map_err(|problems| {
            let told = problems.iter().map(|problem| format!("{} {}", problem.key, problem.reason));
            told.collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn p02_breached_passwords_are_asked_for_where_that_can_be_done_safely() {
        for (keys, expected) in [
            ("breach_api = \"http://api.example/range/\"", "is not the URL of a service."),
            ("breach_api_ca_file = \"/dev/null\"", "breach_api_ca_file is for breach_api."),
            ("breach_api_timeout = \"10m\"", "accounts.breach_api_timeout"),
            ("breach_api_when_down = \"ignore\"", "accounts.breach_api_when_down"),
            ("breach_list = \"/nowhere/list\"", "accounts.breach_list /nowhere/list: "),
        ] {
            let told = parse(keys).unwrap_err();
            assert!(told.contains(expected), "{keys}: {told}");
        }
        let api = parse("breach_api = \"https://api.example/range/\"").unwrap();
        let api = api.accounts.breach_api.unwrap();
        assert!(!api.accept_when_down, "who does not answer does not say yes");
        assert_eq!(parse("").unwrap().accounts.breach_api, None);
    }
}
