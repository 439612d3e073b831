//! `weir schema`: JSON Schemas of all kinds, for editors. Made of the same table that `weir check` reads documents by.

use crate::args::Schema;
use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use weir_config::meta::{Body, KINDS};
use weir_config::schema::{Fields, Kind, Need, Origin, Shape, Unknown, kinds};

/// What YAML editors understand.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";
const DURATION: &str =
    r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|m|s|ms|us|µs|ns)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|m|s|ms|us|µs|ns))*$|^0$";

pub(crate) fn schema(args: &Schema) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.out {
        write(folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = match &args.kind {
        None => all(),
        Some(name) => match kinds().iter().find(|kind| kind.name.eq_ignore_ascii_case(name)) {
            Some(kind) => document(kind),
            None => {
                let names: Vec<&str> = kinds().iter().map(|kind| kind.name).collect();
                bail!("there is no schema of `{name}`; there are {}", names.join(", "))
            }
        },
    };
    // A reader that went away has seen what it wanted.
    let _ = writeln!(std::io::stdout(), "{shown:#}");
    Ok(ExitCode::SUCCESS)
}

/// One file a kind, and `all.json`.
fn write(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let files = kinds().iter().map(|kind| (format!("{}.json", kind.name), document(kind)));
    let mut count = 0;
    for (name, schema) in files.chain([("all.json".to_owned(), all())]) {
        let path = folder.join(name);
        std::fs::write(&path, format!("{schema:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
        count += 1;
    }
    eprintln!("weir: {count} schemas in {}", folder.display());
    Ok(())
}

/// A document of any kind: `kind` says by which definition it is judged.
fn all() -> Value {
    let names: Vec<&str> = kinds().iter().map(|kind| kind.name).collect();
    let judged: Vec<Value> = kinds()
        .iter()
        .map(|kind| {
            let group = format!("^{}", if kind.group.is_empty() { "v" } else { kind.group }.replace('.', "\\."));
            json!({
                "if": {
                    "properties": { "kind": { "const": kind.name }, "apiVersion": { "pattern": group } },
                    "required": ["kind", "apiVersion"],
                },
                "then": { "$ref": format!("#/definitions/{}", id(kind)) },
            })
        })
        .collect();
    let definitions: Map<String, Value> = kinds().iter().map(|kind| (id(kind), body(kind))).collect();
    json!({
        "$schema": DRAFT,
        "title": "weir",
        "type": "object",
        "properties": { "kind": { "examples": names } },
        "allOf": judged,
        "definitions": definitions,
    })
}

fn document(kind: &Kind) -> Value {
    let mut schema = body(kind);
    schema["$schema"] = DRAFT.into();
    schema
}

fn id(kind: &Kind) -> String {
    if kind.group.is_empty() { kind.name.to_owned() } else { format!("{}.{}", kind.group, kind.name) }
}

fn body(kind: &Kind) -> Value {
    let prefix = if kind.group.is_empty() { String::new() } else { format!("{}/", kind.group) };
    let versions: Vec<String> = kind.versions.iter().map(|version| format!("{prefix}{version}")).collect();
    let fields = object(&kind.fields);
    let flat = KINDS.iter().any(|one| one.name == kind.name && one.group == kind.group && one.body == Body::Flat);
    let mut properties = json!({
        "apiVersion": { "enum": versions },
        "kind": { "const": kind.name },
        "metadata": {
            "type": "object",
            "properties": {
                "name": { "type": "string", "maxLength": 253 },
                "namespace": { "type": "string", "maxLength": 253 },
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                "annotations": { "type": "object", "additionalProperties": { "type": "string" } },
            },
        },
    });
    if flat {
        for (name, schema) in fields["properties"].as_object().into_iter().flatten() {
            if properties.get(name).is_none() {
                properties[name] = schema.clone();
            }
        }
    } else {
        properties["spec"] = fields;
        properties["status"] = json!({});
    }
    json!({
        "title": kind.name,
        "type": "object",
        "properties": properties,
        "required": ["apiVersion", "kind"],
        "additionalProperties": false,
    })
}

fn object(fields: &Fields) -> Value {
    let properties: Map<String, Value> = fields
        .fields
        .iter()
        .map(|field| {
            let mut schema = shape(&field.shape);
            if field.origin == Origin::Added {
                schema["description"] = "weir's; Istio has no such field".into();
            }
            (field.name.to_owned(), schema)
        })
        .collect();
    let needed = fields.fields.iter().filter(|field| field.need == Need::Required).map(|field| field.name);
    let needed: Vec<&str> = needed.collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !needed.is_empty() {
        schema["required"] = json!(needed);
    }
    if fields.unknown == Unknown::Refused {
        schema["additionalProperties"] = false.into();
    }
    let pairs: Vec<Value> = fields
        .exclusive
        .iter()
        .flat_map(|names| {
            let pairs = names
                .iter()
                .enumerate()
                .flat_map(|(at, first)| names[at + 1..].iter().map(move |second| [first, second]));
            pairs.map(|pair| json!({ "not": { "required": pair } })).collect::<Vec<_>>()
        })
        .collect();
    if !pairs.is_empty() {
        schema["allOf"] = pairs.into();
    }
    schema
}

fn shape(of: &Shape) -> Value {
    match of {
        Shape::Any => json!({}),
        Shape::Truth => json!({ "type": "boolean" }),
        Shape::WholeOrText => json!({ "type": ["integer", "string"] }),
        Shape::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Shape::Duration => json!({ "type": "string", "pattern": DURATION }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Object(fields) => object(fields),
        Shape::Text { least, most, pattern } => {
            let mut schema = sized(json!({ "type": "string" }), ["minLength", "maxLength"], *least, *most);
            if let Some(pattern) = pattern {
                schema["pattern"] = (*pattern).into();
            }
            schema
        }
        Shape::Whole { low, high } => {
            let mut schema = json!({ "type": "integer", "minimum": low });
            if *high < i64::MAX {
                schema["maximum"] = (*high).into();
            }
            schema
        }
        Shape::Number { low, high } => {
            let mut schema = json!({ "type": "number" });
            for (name, bound) in [("minimum", low), ("maximum", high)] {
                if bound.is_finite() && bound.abs() < f64::MAX {
                    schema[name] = json!(bound);
                }
            }
            schema
        }
        Shape::List { least, most, item } => {
            sized(json!({ "type": "array", "items": shape(item) }), ["minItems", "maxItems"], *least, *most)
        }
        Shape::Map { least, most, item } => {
            let schema = json!({ "type": "object", "additionalProperties": shape(item) });
            sized(schema, ["minProperties", "maxProperties"], *least, *most)
        }
    }
}

fn sized(mut schema: Value, names: [&str; 2], least: usize, most: usize) -> Value {
    if least > 0 {
        schema[names[0]] = least.into();
    }
    if most < usize::MAX {
        schema[names[1]] = most.into();
    }
    schema
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "these are tests")]

    use super::*;

    #[test]
    fn every_kind_has_one_and_all_refer_to_it() {
        let all = all();
        for (kind, judged) in kinds().iter().zip(all["allOf"].as_array().expect("a list")) {
            let target = judged["then"]["$ref"].as_str().expect("a reference").trim_start_matches("#/definitions/");
            assert_eq!(all["definitions"][target], body(kind), "{}", kind.name);
        }
        assert!(kinds().len() >= 25);
    }

    #[test]
    fn fields_bounds_and_exclusions_are_there() {
        let find = |name| document(kinds().iter().find(|kind| kind.name == name).expect("the kind"));
        let service = find("VirtualService");
        let rule = &service["properties"]["spec"]["properties"]["http"]["items"]["properties"];
        assert_eq!(rule["timeout"]["type"], "string");
        assert_eq!(rule["retries"]["properties"]["perTryTimeout"]["pattern"], DURATION);
        assert_eq!(rule["retries"]["properties"]["attempts"]["type"], "integer");
        let destination = find("DestinationRule");
        assert_eq!(destination["properties"]["spec"]["additionalProperties"], false);
        assert!(destination.to_string().contains("\"not\":{\"required\":"));
    }
}
