//! `fwctl help rules`: the rules file, from the schema that its types make.

use fw_userspace::document;
use serde_json::{Map, Value};

use super::Block;

pub(super) fn blocks() -> Vec<Block> {
    let schema = document::schema().to_value();
    let mut blocks = vec![
        Block::Text(format!(
            "{} It is JSON, one object. A key that is not listed here is refused, and the nearest that is listed is \
             named. fwctl check FILE finds all mistakes of a file at once, with line and column.",
            text_of(&schema)
        )),
        Block::Example(EXAMPLE),
        Block::Heading("The file".to_owned()),
    ];
    blocks.extend(keys(&schema));
    for (name, definition) in object(&schema, "$defs") {
        blocks.push(Block::Heading(places(&schema, name).join(", ")));
        blocks.push(Block::Text(text_of(definition)));
        blocks.extend(keys(definition));
    }
    blocks
}

/// An item for each key of an object; remarks, which every object may have, only of the file.
fn keys(object_schema: &Value) -> impl Iterator<Item = Block> {
    let required = object_schema["required"].as_array();
    let whole_file = object_schema.get("$schema").is_some();
    object(object_schema, "properties").filter(move |(key, _)| whole_file || *key != "description").map(
        move |(key, value)| {
            let mut term = format!("{key}: {}", shape(value));
            if required.is_some_and(|required| required.iter().any(|name| name == key)) {
                term.push_str(", required");
            }
            if let Some(default) = value.get("default") {
                term.push_str(&format!(", default {default}"));
            }
            let mut text = text_of(value);
            if whole_file && key == "description" {
                text.push_str(" Every object of the file may have one.");
            }
            Block::Item { term, text }
        },
    )
}

/// What a value looks like, in words.
fn shape(value: &Value) -> String {
    if let Some(constant) = value.get("const") {
        return constant.to_string();
    }
    if let Some(words) = value["enum"].as_array() {
        return words.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    for any in ["anyOf", "oneOf"] {
        if let Some(shapes) = value[any].as_array() {
            return shapes.iter().map(shape).collect::<Vec<_>>().join(" | ");
        }
    }
    match value["type"].as_str() {
        Some("integer") => match (value["minimum"].as_i64(), value["maximum"].as_i64()) {
            (Some(low), Some(high)) => format!("{low} to {high}"),
            (Some(low), None) => format!("{low} or more"),
            _ => "number".to_owned(),
        },
        Some("array") => format!("[{}, ...]", shape(&value["items"])),
        Some("object") if value["additionalProperties"].is_object() => "objects by name".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "object".to_owned(),
    }
}

/// Where in a file the objects of a definition stand, such as `security_groups.NAME.ingress[]`.
fn places(schema: &Value, definition: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, schema, String::new(), &format!("#/$defs/{definition}"), &mut found);
    found
}

fn walk(schema: &Value, value: &Value, place: String, wanted: &str, found: &mut Vec<String>) {
    if let Some(reference) = value["$ref"].as_str() {
        if reference == wanted {
            found.push(place);
        } else if let Some(definition) = reference.strip_prefix('#').and_then(|at| schema.pointer(at)) {
            walk(schema, definition, place, wanted, found);
        }
        return;
    }
    for (key, value) in object(value, "properties") {
        let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        walk(schema, value, place, wanted, found);
    }
    walk_into(schema, value.get("additionalProperties"), format!("{place}.NAME"), wanted, found);
    walk_into(schema, value.get("items"), format!("{place}[]"), wanted, found);
    for any in ["anyOf", "oneOf"] {
        for value in value[any].as_array().into_iter().flatten() {
            walk(schema, value, place.clone(), wanted, found);
        }
    }
}

fn walk_into(schema: &Value, value: Option<&Value>, place: String, wanted: &str, found: &mut Vec<String>) {
    if let Some(value) = value.filter(|value| value.is_object()) {
        walk(schema, value, place, wanted, found);
    }
}

fn object<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value[key].as_object().into_iter().flat_map(Map::iter)
}

/// The description, without the ends of its lines and the marks of its words.
fn text_of(value: &Value) -> String {
    value["description"].as_str().unwrap_or_default().replace('\n', " ").replace('`', "")
}

const EXAMPLE: &str = include_str!("../../../../../examples/host.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_its_place_and_every_key_its_text() {
        let schema = document::schema().to_value();
        for (name, definition) in object(&schema, "$defs") {
            assert!(!places(&schema, name).is_empty(), "{name} stands nowhere");
            for (key, value) in object(definition, "properties") {
                assert!(!text_of(value).is_empty(), "{name}.{key} says nothing");
            }
        }
        assert_eq!(places(&schema, "DocumentVpc"), ["vpcs.NAME"]);
        assert_eq!(
            places(&schema, "DocumentRule"),
            ["security_groups.NAME.ingress[]", "security_groups.NAME.egress[]"]
        );
    }
}
