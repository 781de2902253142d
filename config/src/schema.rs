//! The JSON Schema of the configuration (draft 2020-12), for editors and for checking elsewhere.

use serde_json::{Map, Value, json};
use toml::de::DeValue;

use crate::gateway;
use crate::spec::{Key, Kind, Presence, TableSpec};

/// The schema of a whole file.
pub fn json_schema() -> Value {
    let mut schema = table(&gateway::SPEC);
    if let Some(members) = schema.as_object_mut() {
        members.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        members.insert("title".into(), json!("Doorward configuration"));
    }
    schema
}

fn table(spec: &TableSpec) -> Value {
    let properties: Map<_, _> =
        spec.keys.iter().map(|key| (key.name.into(), property(key))).collect();
    let required: Vec<_> = spec
        .keys
        .iter()
        .filter(|key| matches!(key.presence, Presence::Required))
        .map(|key| key.name)
        .collect();
    json!({
        "type": "object",
        "description": spec.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Value {
    let mut schema = kind(&key.kind);
    if let Some(members) = schema.as_object_mut() {
        members.insert("description".into(), json!(key.doc));
        if let Presence::Default(toml) = key.presence {
            let value =
                DeValue::parse(toml).map(|value| as_json(value.get_ref())).unwrap_or_default();
            members.insert("default".into(), value);
        }
    }
    schema
}

fn kind(kind_of_key: &Kind) -> Value {
    match kind_of_key {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Integer { least, most } => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Kind::Duration { .. } => json!({"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"}),
        Kind::Size { .. } => json!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$"}),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::Text(_) => json!({"type": "string", "minLength": 1}),
        Kind::List(item) => one_or_many(&kind(item)),
        Kind::Table(spec) => table(spec),
        Kind::Tables(spec) => one_or_many(&table(spec)),
        Kind::Named(spec) => {
            json!({"type": "object", "minProperties": 1, "additionalProperties": table(spec)})
        }
        Kind::Map(value) => json!({"type": "object", "additionalProperties": kind(value)}),
    }
}

fn one_or_many(item: &Value) -> Value {
    json!({"oneOf": [{"type": "array", "items": item}, item]})
}

fn as_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Boolean(flag) => json!(flag),
        DeValue::Integer(number) => {
            number.as_str().parse::<u64>().map_or(Value::Null, |number| json!(number))
        }
        DeValue::Array(list) => list.iter().map(|item| as_json(item.get_ref())).collect(),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Value::Null,
    }
}
