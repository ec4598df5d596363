//! Whether a changed schema keeps the contract: every event that is valid under the changed schema must be valid under the old one.
//! Compares what our schemas use, no more.

use serde_json::{Map, Value};

/// Why an event that is valid under `new` may not be valid under `old`; empty if each is.
pub(super) fn breaks(old: &Value, new: &Value) -> Vec<String> {
    compare(old, new, &Roots { old, new }, "event")
}

struct Roots<'a> {
    old: &'a Value,
    new: &'a Value,
}

/// Each alternative of `new` must fit one of `old`: an alternative may go, none may come.
fn compare(old: &Value, new: &Value, roots: &Roots<'_>, at: &str) -> Vec<String> {
    let allowed = alternatives(old, roots.old);
    let closest = |new: &Map<String, Value>| {
        let compared = allowed.iter().map(|old| compare_one(old, new, roots, at));
        compared.min_by_key(Vec::len).unwrap_or_default()
    };
    alternatives(new, roots.new).iter().flat_map(closest).collect()
}

fn compare_one(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    roots: &Roots<'_>,
    at: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, value) in old {
        match keyword.as_str() {
            "$defs" | "$schema" | "title" | "description" | "examples" | "properties" => {}
            "type" if new.get("const").is_some_and(|constant| value == type_of(constant)) => {}
            "required" => {
                let still = new.get("required").and_then(Value::as_array);
                let gone = |name: &&Value| !still.is_some_and(|still| still.contains(name));
                found.extend(
                    list(value).iter().filter(gone).map(|name| format!("{at}: {name} is no longer required")),
                );
            }
            "items" => found.extend(compare(value, &new["items"], roots, &format!("{at}[]"))),
            _ if new.get(keyword) == Some(value) => {}
            _ => found.push(format!(
                "{at}: {keyword} was {value}, is {}",
                new.get(keyword).unwrap_or(&Value::Null)
            )),
        }
    }
    let (before, now) = (old.get("properties"), new.get("properties"));
    for (name, old) in before.and_then(Value::as_object).into_iter().flatten() {
        if let Some(new) = now.and_then(|now| now.get(name)) {
            found.extend(compare(old, new, roots, &format!("{at}.{name}")));
        }
    }
    found
}

/// A schema as the alternatives that it allows, each without a reference, with one type and at most one constant.
fn alternatives(schema: &Value, root: &Value) -> Vec<Map<String, Value>> {
    let Some(object) = schema.as_object() else { return vec![Map::new()] };
    let with = |keyword: &str, value: &Value| {
        let mut object = object.clone();
        object.remove("enum");
        object.insert(keyword.to_owned(), value.clone());
        object
    };
    if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a type of this file");
        return alternatives(target, root);
    }
    match ["anyOf", "oneOf", "enum", "type"]
        .into_iter()
        .find(|keyword| object.get(*keyword).is_some_and(Value::is_array))
    {
        Some("enum") => list(&object["enum"]).iter().map(|value| with("const", value)).collect(),
        Some("type") => list(&object["type"]).iter().map(|value| with("type", value)).collect(),
        Some(keyword) => {
            list(&object[keyword]).iter().flat_map(|schema| alternatives(schema, root)).collect()
        }
        None => vec![object.clone()],
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The word of JSON Schema for a constant's type.
fn type_of(constant: &Value) -> &'static str {
    match constant {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A schema whose `detail` has these properties, of which `id` and `reason` are required.
    fn schema(properties: &Value) -> Value {
        let types =
            json!({ "Reason": { "oneOf": [{ "const": "a" }, { "const": "b", "description": "B." }] } });
        json!({ "$defs": types, "type": "object", "required": ["id", "reason"], "properties": properties })
    }

    #[test]
    fn a_change_that_breaks_a_consumer_is_named_and_no_other() {
        let id = json!({ "type": "string" });
        let closed = json!({ "$ref": "#/$defs/Reason" });
        let open = json!({ "anyOf": [closed, { "type": "string" }] });
        let extended = json!({ "enum": ["a", "b", "c"] });
        let base = |reason: &Value| {
            schema(
                &json!({ "id": id, "reason": reason, "note": { "type": "string", "format": "date-time" } }),
            )
        };
        let also = |name: &str, field: Value| {
            let mut schema = base(&closed);
            schema["properties"][name] = field;
            schema
        };
        let without = |list: Value| {
            let mut schema = base(&closed);
            schema["required"] = list;
            schema
        };
        for (old, new, expected) in [
            (base(&closed), base(&closed), ""),
            (base(&closed), also("new", json!({ "type": "integer" })), ""),
            (base(&closed), base(&json!({ "const": "a" })), ""),
            (base(&open), base(&extended), ""),
            (base(&open), base(&closed), ""),
            (base(&closed), base(&extended), r#"event.reason: const was "a", is "c""#),
            (base(&closed), base(&open), r#"event.reason: const was "a", is null"#),
            (base(&closed), without(json!(["reason"])), r#"event: "id" is no longer required"#),
            (
                base(&closed),
                also("id", json!({ "type": "integer" })),
                r#"event.id: type was "string", is "integer""#,
            ),
            (
                base(&closed),
                also("id", json!({ "type": ["string", "null"] })),
                r#"event.id: type was "string", is "null""#,
            ),
            (base(&closed), also("id", json!(true)), r#"event.id: type was "string", is null"#),
            (base(&closed), also("note", id.clone()), r#"event.note: format was "date-time", is null"#),
        ] {
            assert_eq!(breaks(&old, &new).join("; "), expected, "{old} {new}");
        }
    }
}
