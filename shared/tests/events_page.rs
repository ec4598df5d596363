//! `docs/events.md` beside `events/schemas/`. `make docs` writes its tables of fields anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod pages;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

/// The schemas by file name.
fn schemas() -> BTreeMap<String, Value> {
    let files = fs::read_dir(pages::path("events/schemas")).unwrap().map(|entry| entry.unwrap());
    let name = |file: &fs::DirEntry| file.file_name().into_string().unwrap();
    files
        .map(|file| (name(&file), serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap()))
        .collect()
}

/// One field of some events: its type and meaning, and the events that have it so.
struct Row {
    field: String,
    kind: String,
    meaning: String,
    events: Vec<String>,
}

/// The fields of `detail` in these events as a table: first those of all, then those of some.
fn table(schemas: &[&Value]) -> String {
    let mut rows: Vec<Row> = Vec::new();
    for schema in schemas {
        let title = format!("`{}`", schema["title"].as_str().unwrap());
        let detail = &schema["properties"]["detail"];
        let required = detail["required"].as_array().unwrap();
        let fields = detail["properties"].as_object().unwrap();
        let is_optional = |name: &&String| !required.contains(&Value::from(name.as_str()));
        let names = required.iter().map(|name| name.as_str().unwrap().to_owned());
        for field in names.chain(fields.keys().filter(is_optional).cloned()) {
            let kind = kinds(&fields[&field], &schema["$defs"]).join(" or ");
            let meaning = meaning(&fields[&field], &schema["$defs"]);
            let kind = if is_optional(&&field) { format!("{kind}, optional") } else { kind };
            match rows
                .iter_mut()
                .find(|row| (&row.field, &row.kind, &row.meaning) == (&field, &kind, &meaning))
            {
                Some(row) => row.events.push(title.clone()),
                None => rows.push(Row { field, kind, meaning, events: vec![title.clone()] }),
            }
        }
    }
    let order: Vec<_> = rows.iter().map(|row| row.field.clone()).collect();
    let place = |row: &Row| order.iter().position(|field| *field == row.field);
    rows.sort_by_key(|row| (row.events.len() < schemas.len(), place(row)));
    let line = |Row { field, kind, meaning, events }: &Row| {
        let events =
            if events.len() < schemas.len() { format!("{}: ", events.join(", ")) } else { String::new() };
        format!("| `{field}` | {kind} | {events}{meaning} |\n")
    };
    format!("| field | type | meaning |\n|---|---|---|\n{}", rows.iter().map(line).collect::<String>())
}

/// The types of a field in words.
fn kinds(schema: &Value, types: &Value) -> Vec<&'static str> {
    let mut kinds: Vec<_> = alternatives(schema, types).into_iter().flat_map(words).collect();
    let mut seen = BTreeSet::new();
    kinds.retain(|kind| seen.insert(*kind));
    kinds
}

fn words(schema: &Value) -> Vec<&'static str> {
    let types = schema["type"].as_array().map_or(vec![&schema["type"]], |types| types.iter().collect());
    let word = |name: &Value| match name.as_str() {
        Some("string") if schema["format"] == "date-time" => "time",
        Some("integer" | "number") => "number",
        Some("boolean") => "boolean",
        Some("object") => "object",
        Some("array") => "list",
        Some("null") => "`null`",
        _ => "text",
    };
    types.into_iter().map(word).collect()
}

/// What the field means, and the values that it is documented to have.
fn meaning(schema: &Value, types: &Value) -> String {
    let all = alternatives(schema, types);
    let words: Vec<_> =
        all.iter().filter_map(|one| one["const"].as_str()).map(|word| format!("`{word}`")).collect();
    let is_open = all.iter().any(|one| one["type"] == "string" && one["const"].is_null());
    let values = match (words.as_slice(), is_open) {
        ([] | [_], false) => String::new(),
        (_, false) => format!(" Values: {}.", words.join(", ")),
        ([], true) => String::new(),
        (_, true) => format!(" Values: {}; others can be added.", words.join(", ")),
    };
    format!("{}{values}", schema["description"].as_str().unwrap_or_default())
}

/// The schemas of which a value fits one.
fn alternatives<'a>(schema: &'a Value, types: &'a Value) -> Vec<&'a Value> {
    if let Some(name) = schema["$ref"].as_str() {
        return alternatives(&types[name.trim_start_matches("#/$defs/")], types);
    }
    match ["anyOf", "oneOf"].iter().find_map(|keyword| schema[*keyword].as_array()) {
        Some(list) => list.iter().flat_map(|one| alternatives(one, types)).collect(),
        None => vec![schema],
    }
}

#[test]
fn the_page_on_events_is_written_from_the_schemas_and_names_every_event_and_value() {
    let schemas = schemas();
    let of = |prefix: &str| {
        let group = schemas.iter().filter(|(name, _)| name.split('-').next() == Some(prefix));
        group.map(|(_, schema)| schema).collect::<Vec<_>>()
    };
    let orders = [of("order"), of("card")].concat();
    let parts =
        [("order", table(&orders)), ("vendor", table(&of("vendor"))), ("top-up-sent", table(&of("top")))];
    let page = pages::check("docs/events.md", &parts);
    let reasons = &schemas["order-needs-review.json"]["$defs"]["ReviewReason"]["oneOf"];
    let reasons = reasons.as_array().unwrap().iter().map(|reason| &reason["const"]);
    for word in
        schemas.values().map(|schema| &schema["title"]).chain(reasons).map(|word| word.as_str().unwrap())
    {
        assert!(
            page.contains(&format!("| `{word}` |")) || word == "Top-up Sent",
            "docs/events.md has no row for {word}"
        );
    }
}
