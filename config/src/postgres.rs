//! Where PostgreSQL is: a URL, read once into what a connection is made of.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::secret::{Secret, read_secret};

/// A PostgreSQL server and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// Where it listens.
    pub host: PostgresHost,
    /// Who connects.
    pub user: String,
    /// Their password; empty: none.
    pub password: Secret,
    /// The database.
    pub database: String,
    /// How the connection is protected.
    pub tls: PostgresTls,
    /// So many connections at once.
    pub connections: u32,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresHost {
    /// Host name or IP address, and port.
    Tcp(String, u16),
    /// The folder of its socket, and the port in the socket's name.
    Unix(PathBuf, u16),
}

/// How a connection is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// It is not.
    Off,
    /// By TLS: the server has a certificate for its host name.
    Verified {
        /// Of these authorities too; those that are publicly trusted are trusted anyway.
        root_file: Option<PathBuf>,
    },
}

impl fmt::Display for Postgres {
    /// The server, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = &self.database;
        match &self.host {
            PostgresHost::Tcp(host, port) if host.contains(':') => {
                write!(f, "postgres://[{host}]:{port}/{database}")
            }
            PostgresHost::Tcp(host, port) => write!(f, "postgres://{host}:{port}/{database}"),
            PostgresHost::Unix(folder, _) => {
                write!(f, "postgres:///{database}?host={}", folder.display())
            }
        }
    }
}

/// What the keys of `[store]` say of it; `None` when they do not name one, or one that cannot be
/// used, which is noted.
pub(crate) fn read_postgres(reader: &Reader<'_>) -> Option<Postgres> {
    let inline = reader.optional_text("postgres").map(Secret::new);
    let apart = read_secret(reader, "postgres_file", "postgres_env", 1);
    let key =
        ["postgres", "postgres_file", "postgres_env"].into_iter().find(|key| reader.has(key))?;
    if inline.is_some() && (reader.has("postgres_file") || reader.has("postgres_env")) {
        let reason = "and postgres_file or postgres_env are both given.";
        reader.problem(key, Fault::new(reason, "Keep one of them."));
        return None;
    }
    let mut postgres =
        parse(inline.or(apart)?.expose()).map_err(|fault| reader.problem(key, fault)).ok()?;
    postgres.connections =
        u32::try_from(reader.integer("postgres_connections")).unwrap_or_default();
    if let PostgresTls::Verified { root_file: Some(file) } = &mut postgres.tls {
        *file = reader.beside(file);
        if let Err(error) = std::fs::File::open(&file) {
            let reason = format!("sslrootcert: {}: {error}.", file.display());
            reader.problem(key, Fault::new(reason, "Name a file that this user can read."));
        }
    }
    Some(postgres)
}

/// Never says what is in the text: there is a password in it.
fn parse(text: &str) -> Result<Postgres, Fault> {
    let fault = |what: &str| {
        let advice = "Write \"postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full\", \
                      with % and two digits for what has a meaning in a URL.";
        Fault::new(format!("is not the URL of a PostgreSQL server: {what}."), advice)
    };
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| fault("it does not begin with \"postgres://\""))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let plain = |text: &str, what| decode(text).ok_or_else(|| fault(what));
    let user = plain(user, "its user cannot be read")?;
    let password = Secret::new(plain(password, "its password cannot be read")?);
    let database = plain(database, "its database cannot be read")?;
    if user.is_empty() || database.is_empty() {
        return Err(fault("it has to name a user and a database"));
    }
    let (host, port) = host_and_port(place).ok_or_else(|| fault("its host or port is none"))?;
    let (mut folder, mut mode, mut root_file) = (None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = plain(value, "a value behind \"?\" cannot be read")?;
        match key {
            "host" => folder = Some(PathBuf::from(value)),
            "sslmode" => mode = Some(value),
            "sslrootcert" => root_file = Some(PathBuf::from(value)),
            _ => return Err(fault("behind \"?\" there can be sslmode, sslrootcert and host")),
        }
    }
    let host = match folder {
        None if host.is_empty() => return Err(fault("it has to name a host")),
        None => PostgresHost::Tcp(host, port),
        Some(folder) if host.is_empty() && folder.is_absolute() => PostgresHost::Unix(folder, port),
        Some(_) => return Err(fault("host= names the folder of a socket, in place of a host")),
    };
    let tls = tls(&host, mode.as_deref(), root_file)?;
    Ok(Postgres { host, user, password, database, tls, connections: 0 })
}

fn tls(
    host: &PostgresHost,
    mode: Option<&str>,
    root_file: Option<PathBuf>,
) -> Result<PostgresTls, Fault> {
    let is_here = match host {
        PostgresHost::Unix(..) => true,
        PostgresHost::Tcp(host, _) => {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
        }
    };
    let advice = "Add sslmode=verify-full, with sslrootcert=FILE for an authority of your own; or \
                  sslmode=disable, if nobody else can read that network.";
    match mode {
        Some("verify-full") if matches!(host, PostgresHost::Tcp(..)) => {
            Ok(PostgresTls::Verified { root_file })
        }
        Some("verify-full") => {
            Err(Fault::new("asks for TLS on a socket of this machine.", "Remove sslmode."))
        }
        _ if root_file.is_some() => {
            Err(Fault::new("has sslrootcert without sslmode=verify-full.", "Add that."))
        }
        Some("disable") => Ok(PostgresTls::Off),
        None if is_here => Ok(PostgresTls::Off),
        None => Err(Fault::new("would send passwords over a network as they are.", advice)),
        Some(_) => {
            Err(Fault::new("has an sslmode that does not verify who the server is.", advice))
        }
    }
}

/// An empty host where none is written.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("5432"))?)
        }
        None => text.split_once(':').unwrap_or((text, "5432")),
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    host.bytes().all(known).then(|| (host.to_owned(), port))
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            octet => octet,
        });
    }
    String::from_utf8(octets).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l04_a_url_says_where_the_server_is_and_how_it_is_verified() {
        let read = parse("postgres://gate:p%40ss@db.example:6543/doorward?sslmode=verify-full&sslrootcert=ca.pem").unwrap();
        assert_eq!(read.host, PostgresHost::Tcp("db.example".into(), 6543));
        assert_eq!(
            (&*read.user, read.password.expose(), &*read.database),
            ("gate", "p@ss", "doorward")
        );
        assert_eq!(read.tls, PostgresTls::Verified { root_file: Some("ca.pem".into()) });
        assert_eq!(read.to_string(), "postgres://db.example:6543/doorward");
        for (here, is) in [
            ("postgresql://gate@127.0.0.1/d", "postgres://127.0.0.1:5432/d"),
            ("postgres://gate@[::1]:1/d", "postgres://[::1]:1/d"),
            ("postgres://gate@/d?host=/run/postgresql", "postgres:///d?host=/run/postgresql"),
            ("postgres://gate@db.example/d?sslmode=disable", "postgres://db.example:5432/d"),
        ] {
            let read = parse(here).unwrap();
            assert_eq!((read.tls.clone(), read.to_string()), (PostgresTls::Off, is.to_owned()));
        }
    }

    #[test]
    fn p02_every_problem_of_the_server_is_told_with_its_place() {
        let check = |keys: &str, key: &str, why: &str| {
            let text = format!(
                "public_url = \"https://a.example\"\nworkers = 0\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                 [upstream.a]\naddress = \"http://127.0.0.1:1\"\n[store]\npath = \"a.db\"\n{keys}\n"
            );
            let parsed = crate::GatewayConfig::parse(&text, std::path::Path::new("/nowhere"));
            let problems: Vec<_> = parsed.unwrap_err().iter().map(ToString::to_string).collect();
            assert_eq!(problems.len(), 2, "{problems:?}");
            assert!(problems[1].contains(&format!(": {key}: ")), "{problems:?}");
            assert!(problems[1].contains(why) && !problems[1].contains("hush"), "{problems:?}");
        };
        check("postgres = \"postgres://gate:hush@b/d\"", "store.postgres", "as they are");
        check("postgres_file = \"b\"", "store.postgres_file", "cannot be read");
        check("postgres_env = \"DOORWARD_NO_SUCH\"", "store.postgres_env", "cannot be read");
        check("postgres_connections = 0", "store.postgres_connections", "1");
        let both = "postgres = \"postgres://gate:hush@127.0.0.1/d\"\npostgres_env = \"PATH\"";
        check(both, "store.postgres", "both given");
        let authority = "postgres://gate:hush@b/d?sslmode=verify-full&sslrootcert=no.pem";
        check(&format!("postgres = {authority:?}"), "store.postgres", "/nowhere/no.pem");
    }

    #[test]
    fn l04_what_nobody_verifies_is_refused_and_no_password_is_told() {
        for (bad, why) in [
            ("postgres://gate:hush@db.example/d", "as they are"),
            ("postgres://gate:hush@localhost.example/d", "as they are"),
            ("postgres://gate:hush@db.example/d?sslmode=require", "does not verify"),
            ("postgres://gate:hush@127.0.0.1/d?sslmode=prefer", "does not verify"),
            ("postgres://gate:hush@127.0.0.1/d?sslrootcert=a", "without sslmode"),
            ("postgres://gate:hush@/d?host=/run&sslmode=verify-full", "socket"),
            ("postgres://gate:hush@a/d?host=/run", "in place of a host"),
            ("postgres://gate:hush@a/d?sslmod=disable", "there can be"),
            ("postgres://gate:hush@/d", "name a host"),
            ("postgres://gate:hush@a", "name a user and a database"),
            ("postgres://a/d", "name a user and a database"),
            ("postgres://gate:hush%@a/d", "its password"),
            ("postgres://gate:hush@a:0/d", "its host or port"),
            ("postgres://gate:hush@[::1/d", "its host or port"),
            ("mysql://gate:hush@a/d", "does not begin"),
        ] {
            let said = format!("{:?}", parse(bad).unwrap_err());
            assert!(said.contains(why) && !said.contains("hush"), "{bad}: {said}");
        }
    }
}
