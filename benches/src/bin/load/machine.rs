//! What the figures were taken on, and what else it was doing meanwhile.

use std::{ffi::OsStr, fs, process::Command};

use crate::{peers::Peer, site::Site};

/// Clock ticks that all cores together have been at work since boot.
pub(crate) fn busy_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let total = stat.lines().next().expect("its first line");
    busy(total).expect("the time of all cores")
}

/// User, nice, system, irq and softirq, and what other guests stole; not idle, not waiting.
fn busy(total: &str) -> Option<u64> {
    let fields: Vec<u64> = total
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    [0, 1, 2, 5, 6, 7].into_iter().map(|field| fields.get(field)).sum()
}

/// The processor, its cores and the kernel.
pub(crate) fn describe() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor of unknown model", |(_, model)| model);
    // Not those that this process has left itself.
    let cores = processors.lines().filter(|line| line.starts_with("processor\t")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// The versions of the programs behind these peers.
pub(crate) fn versions(peers: &[Peer], site: &Site) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for peer in peers {
        let (name, program, flag) = match peer {
            Peer::Nginx | Peer::NginxBuffered | Peer::NginxAuth => {
                ("nginx", OsStr::new("nginx"), "-v")
            }
            Peer::Haproxy | Peer::HaproxyTcp => ("HAProxy", OsStr::new("haproxy"), "-v"),
            Peer::Envoy => ("Envoy", site.envoy.as_os_str(), "--version"),
            Peer::Doorward => ("Doorward", site.doorward.as_os_str(), "--version"),
        };
        let Ok(output) = Command::new(program).arg(flag).output() else { continue };
        let text = [output.stdout, output.stderr].concat();
        let number = number(&String::from_utf8_lossy(&text)).unwrap_or_default();
        let version = format!("{name} {number}");
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions
}

/// The first word that looks like a version, among hashes, dates and names.
fn number(text: &str) -> Option<String> {
    let mut words = text.split([' ', '/', '\n']);
    let number =
        |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
    words.find(number).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_time_at_work() {
        assert_eq!(busy("cpu  1 2 4 1000 1000 8 16 32 0 0"), Some(63));
        assert_eq!(busy("intr 5"), None);
    }

    #[test]
    fn finds_version_numbers() {
        for (text, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - link\n", "2.6.12-1+deb12u4"),
            ("\n/opt/python3.11/envoy  version: 9e5580/1.40.0/Clean/RELEASE\n", "1.40.0"),
            ("doorward 0.1.0\n", "0.1.0"),
        ] {
            assert_eq!(number(text).as_deref(), Some(version));
        }
    }
}
