//! `events/schemas/`: a JSON Schema of every event, made from the types. `UPDATE_EVENTS=1 cargo test -p domain schemas` writes them anew.
//!
//! A committed schema is the contract with the consumers. A change that breaks a consumer fails the test, also with `UPDATE_EVENTS=1`, unless
//! it raises `version` in the event's `Detail`.

mod compatible;
pub(crate) mod tests;

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

use crate::{
    order::{self, OrderId, Product, Ref, SOURCE},
    rate_limiter,
};

/// The one event that the tracker receives.
const TOP_UP_SENT: &str = "Top-up Sent";

/// The detail of a `Top-up Sent`. The poller reads it field by field; a test of the poller compares.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct TopUpSent {
    /// What was bought.
    product: Product,
    /// The vendor's id of the order: `topupId` in its answer to the send.
    id: OrderId,
    /// Your reference. If it is not valid, the order is tracked without it.
    #[serde(default, rename = "ref")]
    reference: Option<Reference>,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum Reference {
    /// A text of 1 to 200 characters without control characters.
    Text(Ref),
    /// A whole number. The tracker keeps it as text.
    Number(i64),
}

/// For a field with words of our own: any other word is valid too, so that a new one breaks no consumer.
pub(crate) fn open(schema: &mut Schema) {
    let object = schema.ensure_object();
    if let Some(words) = object.remove("$ref") {
        object.insert("anyOf".to_owned(), json!([{ "$ref": words }]));
    }
    object["anyOf"].as_array_mut().expect("a type with a name").push(added_later());
}

fn added_later() -> Value {
    json!({ "type": "string", "description": "A value that was added later." })
}

/// The schemas of all events, by file name.
pub(crate) static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let mut all = BTreeMap::new();
    let mut add = |detail_type: &str, schema: Value| all.insert(file_name(detail_type), schema);
    let (base, types) = generated::<order::Detail<'_>>(SchemaSettings::draft2020_12().for_serialize());
    for kind in base["oneOf"].as_array().expect("the kinds of events") {
        let detail_type = kind["properties"]["detail_type"]["const"].as_str().expect("a name");
        let when = kind["description"].as_str().expect("a description");
        let mut detail = base.clone();
        add_fields(&mut detail, kind);
        add(detail_type, published(detail_type, when, detail, &types));
    }
    let (base, types) = generated::<rate_limiter::Detail<'_>>(SchemaSettings::draft2020_12().for_serialize());
    for (detail_type, when, fields) in about_a_key() {
        let mut detail = base.clone();
        add_fields(&mut detail, &fields);
        add(detail_type, published(detail_type, when, detail, &types));
    }
    let (detail, types) = generated::<TopUpSent>(SchemaSettings::draft2020_12().for_deserialize());
    add(TOP_UP_SENT, received(detail, &types));
    all
});

/// `order-refunded.json`.
pub(crate) fn file_name(detail_type: &str) -> String {
    detail_type.to_lowercase().replace(' ', "-") + ".json"
}

/// The schema of a type, and those of the types that it names.
fn generated<T: JsonSchema>(settings: SchemaSettings) -> (Value, Value) {
    let settings = settings.with_transform(RecursiveTransform(tidy));
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    let types = schema.remove("$defs").unwrap_or_default();
    for of_the_file in ["$schema", "title", "description"] {
        schema.remove(of_the_file);
    }
    (schema.to_value(), types)
}

/// Joins the lines of a description, and removes formats that JSON Schema does not define (`uint32`).
fn tidy(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    if schema.get("format").is_some_and(|format| format != "date-time") {
        schema.remove("format");
    }
}

/// Adds the fields of one kind of event to the fields of all. `null`: not a field of this kind.
fn add_fields(detail: &mut Value, kind: &Value) {
    let detail = detail.as_object_mut().expect("an object");
    detail.remove("oneOf");
    for (name, field) in kind["properties"].as_object().into_iter().flatten() {
        let fields = detail["properties"].as_object_mut().expect("an object");
        if field.is_null() {
            fields.remove(name)
        } else {
            fields.insert(name.clone(), field.clone())
        };
    }
    let required = kind["required"].as_array().into_iter().flatten().cloned();
    detail["required"].as_array_mut().expect("a list").extend(required);
}

/// What differs between the events about a key: when each is published, and its fields.
fn about_a_key() -> [(&'static str, &'static str, Value); 3] {
    let never = json!({ "type": "null", "description": "Always `null`." });
    [
        (
            "Vendor Suspended",
            "Published when the vendor refused the key three times in a row. The tracker makes no calls with the key until the first probe.",
            json!({ "properties": {
                "reason": { "type": "string", "description": "The vendor's code.", "examples": ["IP_BLOCKED"] },
                "suspended_until": { "type": "string", "format": "date-time", "description": "When the first probe is made." },
                "product": null,
            } }),
        ),
        (
            "Vendor Resumed",
            "Published when the suspension of a key ended.",
            json!({ "properties": {
                "reason": {
                    "description": "`null`: a probe was answered, and all calls go on.",
                    "anyOf": [
                        { "const": "key_replaced", "description": "The suspended key is no longer the one in the secret." },
                        added_later(),
                        { "type": "null" },
                    ],
                },
                "suspended_until": never,
                "product": null,
            } }),
        ),
        (
            "Vendor List Degraded",
            "Published when a list of the vendor does not work. The tracker checks its orders one by one until the list works again.",
            json!({ "required": ["product"], "properties": {
                "reason": {
                    "description": "What is wrong with the list.",
                    "anyOf": [
                        { "const": "list_unavailable", "description": "It failed three times in a row." },
                        { "const": "list_filter_ignored", "description": "It ignores the time window." },
                        added_later(),
                    ],
                },
                "suspended_until": never,
            } }),
        ),
    ]
}

/// The schema of a published event, in EventBridge's envelope.
fn published(detail_type: &str, when: &str, mut detail: Value, types: &Value) -> Value {
    detail["properties"]["detail_type"] =
        json!({ "const": detail_type, "description": "The same as `detail-type` of the envelope." });
    let mut schema = json!({
        "description": when,
        "required": ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"],
        "properties": {
            "version": { "const": "0", "description": "The version of the envelope." },
            "id": {
                "type": "string",
                "description": "EventBridge's id. It differs when the event is published again: use `detail.event_id`.",
            },
            "source": { "const": SOURCE },
            "account": { "type": "string" },
            "time": { "type": "string", "format": "date-time", "description": "`detail.occurred_at`, in whole seconds." },
            "region": { "type": "string" },
            "resources": { "type": "array", "items": { "type": "string" } },
            "detail": detail,
        },
    });
    complete(&mut schema, detail_type, types);
    schema
}

/// The schema of a `Top-up Sent`, with the fields of the envelope that its sender sets.
fn received(detail: Value, types: &Value) -> Value {
    let mut schema = json!({
        "description": "Put on the bus by your shop after it sent an order to the vendor: the tracker then tracks the order.",
        "required": ["detail-type", "source", "detail"],
        "properties": {
            "source": { "type": "string", "description": "Any source, such as your shop." },
            "detail": detail,
        },
    });
    complete(&mut schema, TOP_UP_SENT, types);
    schema
}

/// Adds what the schemas of all events have in common, and the types that this one names.
fn complete(schema: &mut Value, detail_type: &str, types: &Value) {
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(detail_type);
    schema["type"] = json!("object");
    schema["properties"]["detail-type"] = json!({ "const": detail_type });
    let texts = [schema.to_string(), types.to_string()].concat();
    let mut named = types.as_object().cloned().unwrap_or_default();
    named.retain(|name, _| texts.contains(&format!("\"#/$defs/{name}\"")));
    schema["$defs"] = Value::Object(Map::from_iter(named));
}
