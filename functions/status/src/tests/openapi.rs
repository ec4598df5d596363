//! Compares `infra/openapi.yaml` with the router, with its own examples, and with every answer that the tests of this crate get.

use std::{collections::BTreeSet, sync::LazyLock};

use super::*;

pub(super) const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/openapi.yaml");

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| yaml_serde::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap());

/// The document's schemas, closed: an answer with an undocumented field fails here, although a client must ignore such a field.
static SCHEMAS: LazyLock<Value> = LazyLock::new(|| {
    let mut schemas = DOCUMENT["components"]["schemas"].clone();
    close(&mut schemas);
    schemas
});

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.contains_key("properties") {
                fields.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        _ => {}
    }
}

fn assert_valid(schema: &Value, value: &Value, what: &str) {
    let mut schema = schema.clone();
    schema["components"] = json!({"schemas": *SCHEMAS});
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    let error = |error: jsonschema::ValidationError| format!("{}: {error}", error.instance_path());
    let errors: Vec<String> = validator.iter_errors(value).map(error).collect();
    assert!(errors.is_empty(), "{what}: {value}\n{}", errors.join("\n"));
}

/// The value itself, or what its `$ref` names.
fn resolved(value: &'static Value) -> &'static Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    let found = reference.strip_prefix('#').and_then(|pointer| DOCUMENT.pointer(pointer));
    found.unwrap_or_else(|| panic!("{reference} is missing"))
}

/// The documented operation of a request.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    // The id of an event contains a slash, which API Gateway has decoded.
    let event = path.strip_prefix("/deliveries/").and_then(|rest| rest.strip_suffix("/resend"));
    let encoded = event.map(|event| format!("/deliveries/{}/resend", event.replace('/', "%2F")));
    let path = encoded.as_deref().unwrap_or(path);
    let fits = |template: &str| {
        let (template, path) = (template.split('/'), path.trim_end_matches('/').split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(name, part)| name.starts_with('{') || name == part)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap().iter().filter(|(template, _)| fits(template));
    paths.filter_map(|(_, item)| item.get(method.to_ascii_lowercase())).next()
}

/// Asserts that an answer is as documented: status, content type, body and headers. Answers the response's examples.
pub(super) fn assert_documented(
    request: &ApiGatewayV2httpRequest,
    response: &ApiGatewayV2httpResponse,
) -> &'static Value {
    let (method, path) = (request.request_context.http.method.as_str(), request.raw_path.as_deref().unwrap());
    let what = format!("{method} {path}: {}", response.status_code);
    let kind = response.headers["content-type"].to_str().unwrap();
    let Some(Body::Text(body)) = &response.body else { panic!("{what}: no text") };
    let body = serde_json::from_str(body).unwrap();
    let Some(operation) = operation(method, path) else {
        assert_eq!(kind, "application/problem+json", "{what}");
        assert_valid(&json!({"$ref": "#/components/schemas/Problem"}), &body, &what);
        return &Value::Null;
    };
    let documented = resolved(&operation["responses"][response.status_code.to_string()]);
    let content = &documented["content"][kind];
    assert!(content.is_object(), "{what}: {kind} is not documented");
    assert_valid(&content["schema"], &body, &what);
    assert_headers(documented, response, &what);
    &content["examples"]
}

fn assert_headers(documented: &'static Value, response: &ApiGatewayV2httpResponse, what: &str) {
    let documented = documented["headers"].as_object().unwrap();
    for (name, header) in documented {
        let header = resolved(header);
        let what = format!("{what}, {name}");
        match response.headers.get(name) {
            Some(value) => {
                let text = value.to_str().unwrap();
                let value = text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
                assert_valid(&header["schema"], &value, &what);
            }
            None => assert_ne!(header["required"], true, "{what}"),
        }
    }
    for name in response.headers.keys().filter(|name| *name != "content-type") {
        let known = documented.keys().any(|known| known.eq_ignore_ascii_case(name.as_str()));
        assert!(known, "{what}: {name} is not documented");
    }
}

/// All paths of one to four of these words.
fn paths() -> Vec<String> {
    const WORDS: [&str; 17] = [
        "health",
        "events",
        "orders",
        "mobile",
        "lookup",
        "history",
        "card",
        "refs",
        "1",
        "deliveries",
        "1#2",
        "resend",
        "review",
        "resync",
        "mobile-1-2",
        "unregistered",
        "stop",
    ];
    let longer = |paths: &[String]| -> Vec<String> {
        paths.iter().flat_map(|path| WORDS.map(|word| format!("{path}/{word}"))).collect()
    };
    let lengths = std::iter::successors(Some(vec![String::new()]), |paths| Some(longer(paths)));
    lengths.take(5).flatten().collect()
}

#[test]
fn the_document_has_exactly_the_routes_of_the_router() {
    let mut seen = BTreeSet::new();
    // Without a list, `GET /orders` is wrong; other calls ignore the parameter.
    let mut request = request(GET, |event| event["rawQueryString"] = "phase=parked".into());
    for path in paths() {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
            request.request_context.http.method = method.parse().unwrap();
            request.raw_path = Some(path.clone());
            let routed = route::parse(&request).ok().map(|call| call.name());
            // The schemas of `product`, `id` and `event_id` exclude the other words.
            let in_document = [
                "/health",
                "/events",
                "/orders",
                "/deliveries",
                "/deliveries/mobile/1#2/resend",
                "/resync",
                "/resync/mobile-1-2",
                "/resync/mobile-1-2/unregistered",
                "/resync/mobile-1-2/stop",
            ]
            .contains(&path.as_str())
                || (path.starts_with("/orders/mobile/") && !path.starts_with("/orders/mobile/1#2"));
            let documented = operation(method, &path).filter(|_| in_document);
            assert_eq!(
                routed,
                documented.map(|found| found["operationId"].as_str().unwrap()),
                "{method} {path}"
            );
            seen.extend(routed);
        }
    }
    let items = DOCUMENT["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap());
    let all = items.filter_map(|(_, operation)| operation.get("operationId")?.as_str());
    assert_eq!(seen, all.collect());
}

#[test]
fn every_example_of_the_document_fits_its_schema() {
    fn check(value: &'static Value, at: &str, count: &mut usize) {
        let examples = value.get("examples");
        if let (Some(schema), Some(examples)) = (value.get("schema"), examples.and_then(Value::as_object)) {
            for (name, example) in examples {
                assert_valid(schema, &resolved(example)["value"], &format!("{at}: {name}"));
            }
        }
        if let (Some(schema), Some(example)) = (value.get("schema"), value.get("example")) {
            assert_valid(schema, example, at);
        }
        for example in examples.and_then(Value::as_array).into_iter().flatten() {
            assert_valid(value, example, at);
            *count += 1;
        }
        *count += examples.and_then(Value::as_object).map_or(0, serde_json::Map::len);
        match value {
            Value::Object(fields) => {
                let inner = fields.iter().filter(|(name, _)| *name != "examples");
                inner.for_each(|(name, value)| check(value, &format!("{at}/{name}"), count));
            }
            Value::Array(values) => values.iter().for_each(|value| check(value, at, count)),
            _ => {}
        }
    }
    let mut count = 0;
    check(&DOCUMENT, "#", &mut count);
    assert!(count > 80, "only {count} examples were found");
}

#[test]
fn the_document_names_all_types_of_events() {
    assert_eq!(DOCUMENT["components"]["schemas"]["DetailType"]["enum"], json!(shared::order::DETAIL_TYPES));
}

#[test]
fn the_document_has_the_version_of_the_crate() {
    assert_eq!(DOCUMENT["info"]["version"], env!("CARGO_PKG_VERSION"));
}
