//! What stands in `config/deploy/` is what Kubernetes, Helm, Docker and Prometheus take, and its
//! configurations are what the gate takes.

mod kubernetes;
mod seeing;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use doorward_tests::Scratch;
use doorward_tests::process::{prepared, run};

/// As the manifests say that the secret holds it.
const POSTGRES: &str = "postgres://doorward:secret@postgresql/doorward?sslmode=verify-full\n";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("config/deploy")
}

fn read(place: &str) -> String {
    std::fs::read_to_string(deploy().join(place)).unwrap()
}

/// What a program of somebody else says, run in `config/deploy`.
fn ask(program: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(deploy());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    // One that does not read has ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Its answer, which has to be a good one.
fn answer(program: &Path, arguments: &[&str], input: &str) -> String {
    let output = ask(program, arguments, input);
    let said = String::from_utf8_lossy(&output.stderr);
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} {arguments:?}: {said}{answer}", program.display());
    answer.into_owned()
}

/// A program that `tests/run` has put beside the Python of the tests.
fn beside_python(name: &str) -> PathBuf {
    prepared("DOORWARD_TEST_PYTHON").parent().unwrap().join(name)
}

/// Has the gate check a configuration, with files where the examples say that secrets are mounted.
#[track_caller]
fn check(configuration: &str) {
    let scratch = Scratch::new();
    let place = scratch.path().display();
    let mut text = configuration.replace("\"/etc/", &format!("\"{place}/etc/"));
    text = text.replace("/var/lib/doorward", &format!("{place}/state"));
    let names = ["console.example.com".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    for (file, content) in [
        ("doorward-tls/tls.crt", made.cert.pem()),
        ("doorward-tls/tls.key", made.signing_key.serialize_pem()),
        ("doorward-stores/redis-password", "secret\n".into()),
        ("doorward-stores/ca.pem", made.cert.pem()),
        ("doorward-stores/postgres", POSTGRES.into()),
    ] {
        let file = scratch.path().join("etc").join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    let file = scratch.path().join("doorward.toml");
    std::fs::write(&file, &text).unwrap();
    let checked = run(&["config", "check", file.to_str().unwrap()], "");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}\n{text}");
}

#[test]
fn the_container_file_is_what_hadolint_takes() {
    answer(&beside_python("hadolint"), &["container/Dockerfile"], "");
    let text = read("container/Dockerfile");
    let last = text.rsplit("\nFROM ").next().unwrap();
    assert!(last.starts_with("scratch\n"), "there is something beside the gate in the image");
    for needed in
        ["\nUSER 65532:65532\n", "\nHEALTHCHECK ", "\"health\"", "\nENTRYPOINT [\"/doorward\"]\n"]
    {
        assert!(last.contains(needed), "{needed} is missing");
    }
}
