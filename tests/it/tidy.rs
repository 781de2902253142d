//! Holds the house to its word: headers, the line in which the crates stand, lints, examples,
//! tests beside every plugin, short files.
//!
//! A failure names the file and what to do about it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// The crates, each of which uses only what stands before it.
const LINE: [&str; 6] = ["config", "certs", "plugins", "gateway", "tests", "benches"];

/// The crates of which the product is made.
const PRODUCT: [&str; 4] = ["config", "certs", "plugins", "gateway"];

/// The most lines of a source file, its own tests not counted.
const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "node_modules" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found.sort();
    found
}

/// Is the file compiled for tests only?
fn is_tests(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    stem == "tests" || stem.ends_with("_tests") || stem == "conformance"
}

/// A TOML file, as JSON.
fn read_toml(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap();
    table(DeTable::parse(&text).unwrap().get_ref())
}

fn table(table: &DeTable<'_>) -> Value {
    let members =
        table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
    Value::Object(members.collect())
}

fn json(toml: &DeValue<'_>) -> Value {
    match toml {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(inner) => table(inner),
        other => format!("{other:?}").into(),
    }
}

fn manifest(member: &str) -> Value {
    read_toml(&root().join(member).join("Cargo.toml"))
}

#[test]
fn every_file_of_the_product_says_what_it_is_about() {
    for member in PRODUCT {
        for (path, text) in sources(&root().join(member).join("src")) {
            let header = text.lines().take_while(|line| line.starts_with("//!")).count();
            assert!(header > 0 || is_tests(&path), "{}: begin with a `//!` header", path.display());
        }
    }
    for (path, text) in sources(&root().join("tests/it")) {
        assert!(text.starts_with("//!"), "{}: begin with a `//!` header", path.display());
    }
}

#[test]
fn no_file_is_too_long() {
    let folders = LINE.map(|member| root().join(member).join("src"));
    let stories = root().join("tests/it");
    let files = folders.iter().chain([&stories]).flat_map(|folder| sources(folder));
    for (path, text) in files {
        if is_tests(&path) {
            continue;
        }
        let own = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = own.lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines; split it", path.display());
    }
}

#[test]
fn crates_use_only_what_stands_before_them() {
    let name = |member: &str| match member {
        "gateway" => "doorward".to_owned(),
        member => format!("doorward-{member}"),
    };
    for (place, member) in LINE.iter().enumerate() {
        let manifest = manifest(member);
        assert_eq!(manifest["package"]["name"].as_str(), Some(&*name(member)));
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for other in &LINE[place..] {
                let wrong = manifest[kind].get(name(other)).is_some();
                assert!(!wrong, "{member} must not use {other}: it stands to its right");
            }
        }
    }
    let plugins = manifest("plugins");
    for foreign in ["hyper", "hyper-util", "axum", "tower", "askama", "reqwest"] {
        let used = plugins["dependencies"].get(foreign).is_some();
        assert!(!used, "plugins decide; {foreign} belongs to the gateway");
    }
}

#[test]
fn every_member_obeys_the_lints_of_the_workspace() {
    let workspace = read_toml(&root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap();
    assert_eq!(members.len(), LINE.len(), "tidy does not know every member");
    for member in members {
        let member = member.as_str().unwrap();
        let obeys = manifest(member)["lints"]["workspace"] == true;
        assert!(obeys, "{member}/Cargo.toml: add `[lints]` with `workspace = true`");
    }
}

#[test]
fn every_table_and_key_of_the_configuration_has_an_example() {
    let example = std::fs::read_to_string(root().join("config/examples/full.toml")).unwrap();
    let mut missing = Vec::new();
    walk(&doorward_config::json_schema(), &example, "", &mut missing);
    assert_eq!(missing, Vec::<String>::new(), "write them into config/examples/full.toml");
}

/// Follows the properties of a schema down and notes those that the example does not have.
fn walk(schema: &Value, example: &str, path: &str, missing: &mut Vec<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let is_table = has_properties(inner);
        let written = example.lines().map(|line| line.trim_start_matches("# ")).any(|line| {
            if is_table {
                let header = line.trim_matches(['[', ']']);
                // Where the operator chooses a name, it stands in the middle.
                let (outer, own) = place.split_once('.').unwrap_or((&place, ""));
                let named = header.starts_with(&format!("{outer}."))
                    && header.ends_with(&format!(".{own}"));
                line.starts_with('[')
                    && (header == place || header.starts_with(&format!("{place}.")) || named)
            } else {
                line.starts_with(&format!("{key} = "))
            }
        });
        if !written {
            missing.push(place.clone());
        }
        for deeper in inners(inner) {
            walk(deeper, example, &place, missing);
        }
    }
}

/// The schema itself and those of its items and values.
fn inners(schema: &Value) -> Vec<&Value> {
    let own = ["items", "additionalProperties"].iter().filter_map(|name| schema.get(name));
    let several =
        ["anyOf", "oneOf"].iter().filter_map(|name| schema.get(name)?.as_array()).flatten();
    let deeper = own.chain(several).filter(|inner| inner.is_object()).flat_map(inners);
    std::iter::once(schema).chain(deeper).collect()
}

fn has_properties(schema: &Value) -> bool {
    inners(schema).iter().any(|inner| inner.get("properties").is_some())
}

#[test]
fn every_plugin_is_tested_where_it_stands() {
    let files = sources(&root().join("plugins/src"));
    let (_, lib) = files.iter().find(|(path, _)| path.ends_with("src/lib.rs")).unwrap();
    let list = lib.split("pub fn pipeline(").nth(1).unwrap().split("\n}").next().unwrap();
    let plugins: Vec<_> = list
        .split("Box::new(")
        .skip(1)
        .map(|rest| rest.split([')', '(', ',']).next().unwrap().trim_end_matches("::new"))
        .map(|path| path.rsplit("::").next().unwrap())
        .collect();
    assert!(plugins.len() >= 4, "the list of plugins was not understood: {plugins:?}");
    for plugin in plugins {
        let implementation = format!("impl Plugin for {plugin}");
        let (path, text) = files
            .iter()
            .find(|(_, text)| text.contains(&implementation))
            .unwrap_or_else(|| panic!("nobody implements {plugin}"));
        assert!(text.contains("#[cfg(test)]"), "{}: add a test module", path.display());
    }
}

#[test]
fn no_test_sleeps_or_is_set_aside() {
    // In pieces, or this file would hold them itself.
    let forbidden = [
        ["to", "do!"].concat(),
        ["unimple", "mented!"].concat(),
        ["#[ig", "nore"].concat(),
        ["::sl", "eep("].concat(),
    ];
    for (path, text) in sources(&root().join("tests/it")) {
        for word in &forbidden {
            assert!(!text.contains(word.as_str()), "{} has {word}", path.display());
        }
    }
}
