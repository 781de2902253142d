//! The units for systemd: valid, and no wider than the gate needs, as systemd's own tool sees it.

use std::path::Path;
use std::process::Command;

use doorward_tests::Scratch;

/// How exposed a service may be, in tenths, of a hundred.
const EXPOSURE_MAX: &str = "20";

#[test]
fn the_units_are_valid_and_give_the_gate_no_more_than_it_needs() {
    let (scratch, folder) = (Scratch::new(), Path::new("../config/deploy/systemd"));
    for name in ["doorward.service", "doorward.socket"] {
        let unit = std::fs::read_to_string(folder.join(name)).unwrap();
        // The gate is not installed where tests run.
        let unit = unit.replace("/usr/bin/doorward", "/bin/true");
        std::fs::write(scratch.path().join(name), unit).unwrap();
    }
    let exposure = format!("--threshold={EXPOSURE_MAX}");
    for words in [
        ["verify", "./doorward.service", "./doorward.socket"],
        ["security", "--offline=yes", &exposure],
    ] {
        let mut command = Command::new("systemd-analyze");
        command.current_dir(scratch.path()).args(words);
        if words[0] == "security" {
            command.args(["--no-pager", "./doorward.service"]);
        }
        let output = command.output().expect("systemd-analyze, which tests/run installs");
        let text = [output.stdout, output.stderr].map(|out| String::from_utf8(out).unwrap());
        assert!(output.status.success(), "{words:?}\n{}", text.concat());
        // It warns of words that it does not know, and succeeds.
        assert!(words[0] == "security" || text.concat().is_empty(), "{}", text.concat());
    }
}
