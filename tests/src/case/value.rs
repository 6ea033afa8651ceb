//! TOML values as JSON, and the merge that lays a case's rules over its base.

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

/// TOML has no null: this string takes a key away.
const NONE: &str = "(none)";

/// Merges a patch into rules as RFC 7396 does: objects merge, anything else replaces, `"(none)"` removes.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return };
    for (key, value) in patch {
        if value == NONE {
            // The others keep their places, so that a change does not shuffle the file.
            object.shift_remove(key);
        } else {
            merge(object.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// A table as JSON object. Dates and numbers beyond JSON have no place in a rules file.
pub(super) fn table(table: &DeTable<'_>) -> Result<Value, String> {
    let object: Result<Map<_, _>, _> = table
        .iter()
        .map(|(key, value)| Ok::<_, String>((key.get_ref().to_string(), json(value.get_ref())?)))
        .collect();
    Ok(Value::Object(object?))
}

fn json(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => {
            let (digits, radix) = (integer.as_str(), integer.radix());
            let number = i64::from_str_radix(digits, radix);
            number.map_err(|_| format!("\"{digits}\" does not fit 64 bits"))?.into()
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(number.ok_or_else(|| format!("\"{}\" is no JSON number", float.as_str()))?)
        }
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(date) => return Err(format!("\"{date}\" is a date: put it in quotes")),
        DeValue::Array(array) => {
            Value::Array(array.iter().map(|item| json(item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(inner) => table(inner)?,
    })
}
