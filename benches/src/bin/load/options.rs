//! The command line.

use std::path::PathBuf;

use crate::{peers::Peer, scenarios::Scenario};

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Usage: load [OPTIONS]

  --scenarios A,B    get,h2,handshake,large,idle,sessions,routes,shared,gates,signin,
                     instructions, or all (get)
  --rounds N         rounds, each measuring every peer once (5)
  --seconds N        seconds per peer and round (3)
  --connections N    keep-alive connections (64)
  --retakes N        how often to measure again when other processes used more than
                     a tenth of a core meanwhile (3)
  --peers A,B        of the scenario get: nginx,nginx-buffered,nginx-auth,haproxy,haproxy-tcp,envoy,doorward
                     (all but nginx-buffered)
  --sessions N       the many sessions of the scenario sessions (1000000)
  --json             print JSON, every round included
  --markdown         print a Markdown table
  --no-pin           let the kernel place the processes, instead of giving the
                     measured proxy the first core and all else the others
  --doorward PATH    the doorward binary (target/release/doorward)
  --envoy PATH       the envoy binary (envoy)
  --scratch DIR      where the temporary directory goes (target)";

/// What to measure, and how.
pub(crate) struct Options {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) sessions: u32,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    pub(crate) retakes: u32,
    pub(crate) connections: u32,
    pub(crate) peers: Vec<Peer>,
    pub(crate) json: bool,
    pub(crate) markdown: bool,
    pub(crate) pin: bool,
    pub(crate) doorward: PathBuf,
    pub(crate) envoy: PathBuf,
    pub(crate) scratch: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenarios: vec![Scenario::Get],
            sessions: 1_000_000,
            rounds: 5,
            seconds: 3,
            retakes: 3,
            connections: 64,
            peers: Peer::usual(),
            json: false,
            markdown: false,
            pin: true,
            doorward: "target/release/doorward".into(),
            envoy: "envoy".into(),
            scratch: "target".into(),
        }
    }
}

impl Options {
    /// Reads the arguments; `None` when they ask for help.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--scenarios" => options.scenarios = scenarios(&value()?)?,
                "--sessions" => options.sessions = positive(&value()?)?,
                "--rounds" => options.rounds = positive(&value()?)? as usize,
                "--seconds" => options.seconds = positive(&value()?)?,
                "--retakes" => {
                    let text = value()?;
                    options.retakes = text.parse().map_err(|_| format!("{text} is no number"))?;
                }
                "--connections" => options.connections = positive(&value()?)?,
                "--peers" => options.peers = peers(&value()?)?,
                "--json" => options.json = true,
                "--markdown" => options.markdown = true,
                "--no-pin" => options.pin = false,
                "--doorward" => options.doorward = value()?.into(),
                "--envoy" => options.envoy = value()?.into(),
                "--scratch" => options.scratch = value()?.into(),
                "-h" | "--help" => return Ok(None),
                _ => return Err(format!("unknown option {argument}")),
            }
        }
        if !(10_000..=5_000_000).contains(&options.sessions) {
            return Err("--sessions is a number from 10000 to 5000000".into());
        }
        if options.connections > 1000 {
            return Err("the peers are set up for up to 1000 connections".into());
        }
        Ok(Some(options))
    }
}

fn positive(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{text} is not a number above zero")),
    }
}

fn scenarios(list: &str) -> Result<Vec<Scenario>, String> {
    if list == "all" {
        return Ok(Scenario::ALL.to_vec());
    }
    let named = |name| Scenario::named(name).ok_or(format!("no scenario is called {name}"));
    list.split(',').map(named).collect()
}

fn peers(list: &str) -> Result<Vec<Peer>, String> {
    let mut peers = Vec::new();
    for name in list.split(',') {
        let peer = Peer::named(name).ok_or(format!("no peer is called {name}"))?;
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_every_kind_of_option() {
        let options = parse("--rounds 2 --peers envoy,nginx,envoy --json").unwrap().unwrap();
        assert_eq!(options.rounds, 2);
        assert_eq!(options.peers, [Peer::Envoy, Peer::Nginx]);
        assert!(options.json && options.pin);
        assert_eq!(options.scenarios, [Scenario::Get]);
        let options = parse("--scenarios idle,h2").unwrap().unwrap();
        assert_eq!(options.scenarios, [Scenario::Idle, Scenario::H2]);
        assert_eq!(parse("--scenarios all").unwrap().unwrap().scenarios, Scenario::ALL);
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for wrong in [
            "--rounds",
            "--rounds 0",
            "--connections 1001",
            "--peers apache",
            "--fast",
            "--scenarios x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
