//! The schema that `doorward config schema` prints, and the examples, agree, also for a validator
//! that is not ours.

use std::path::Path;

use doorward_tests::process::{python, run};
use doorward_tests::{PUBLIC_HOST, Scratch};

/// Validates the TOML files that it is given against the schema on its standard input.
const VALIDATOR: &str = "
import json, sys, tomllib
from jsonschema import Draft202012Validator
schema = json.load(sys.stdin)
Draft202012Validator.check_schema(schema)
for name in sys.argv[1:]:
    with open(name, 'rb') as file:
        for error in Draft202012Validator(schema).iter_errors(tomllib.load(file)):
            print(name, error.json_path, error.message)
";

/// What the validator says against these files; empty if nothing.
fn validate(files: &[&Path]) -> String {
    let schema = run(&["config", "schema"], "");
    assert!(schema.status.success());
    let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    python(VALIDATOR, &files, &schema.stdout)
}

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("config/examples");
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    let files: Vec<_> = files.iter().map(|file| file.as_path()).collect();
    assert_eq!(validate(&files), "");
}

#[test]
fn p02_the_schema_refuses_what_the_gate_refuses() {
    let scratch = Scratch::new();
    let good = format!(
        "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x.db\"\n"
    );
    let file = scratch.path().join("config.toml");
    std::fs::write(&file, &good).unwrap();
    assert_eq!(validate(&[&file]), "");
    for (text, part) in [
        (format!("{good}[session]\nidel = \"1h\"\n"), "idel"),
        (format!("colour = \"red\"\n{good}"), "colour"),
        (format!("{good}[limits]\nmethods = 7\n"), "methods"),
        (format!("{good}[[route]]\naccess = \"perhaps\"\n"), "access"),
        (good.replace("public_url", "# public_url"), "public_url"),
    ] {
        std::fs::write(&file, &text).unwrap();
        assert!(validate(&[&file]).contains(part), "the schema takes\n{text}");
        let checked = run(&["config", "check", file.to_str().unwrap()], "");
        assert_eq!(checked.status.code(), Some(64), "the gate takes\n{text}");
    }
}
