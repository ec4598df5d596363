//! The schemas beside the committed ones, the samples and the rules.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::LazyLock};

use jiff::Timestamp;
use jsonschema::Validator;

use super::{compatible::breaks, *};
use crate::rate_limiter::{VendorEvent, VendorEventKind};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events").join(name)
}

fn names(folder: &PathBuf) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn read(path: PathBuf) -> Option<Value> {
    fs::read_to_string(path).ok().map(|text| serde_json::from_str(&text).unwrap())
}

fn version(schema: &Value) -> Option<u64> {
    schema["properties"]["detail"]["properties"]["version"]["const"].as_u64()
}

#[test]
fn the_committed_schemas_are_those_of_the_types_and_no_change_breaks_a_consumer() {
    let folder = folder("schemas");
    for (name, made) in SCHEMAS.iter() {
        let committed = read(folder.join(name)).unwrap_or_default();
        // A consumer must take what we publish; we must take what a sender of an old `Top-up Sent` puts on the bus.
        let (old, new) =
            if *name == file_name(TOP_UP_SENT) { (made, &committed) } else { (&committed, made) };
        if !committed.is_null() && version(made) <= version(&committed) {
            let found = breaks(old, new);
            assert!(
                found.is_empty(),
                "{name}: not compatible with the committed schema: {}",
                found.join("; ")
            );
        }
        #[allow(clippy::disallowed_methods, reason = "a switch of the test, no setting")]
        if std::env::var("UPDATE_EVENTS").is_ok() {
            fs::write(folder.join(name), format!("{made:#}\n")).unwrap();
        } else {
            assert_eq!(&committed, made, "{name}: `UPDATE_EVENTS=1 cargo test -p domain schemas` writes it");
        }
    }
    assert_eq!(names(&folder), SCHEMAS.keys().cloned().collect(), "a published event is never removed");
}

#[test]
fn every_published_event_has_its_schema() {
    let published: BTreeSet<_> = order::DETAIL_TYPES.into_iter().map(file_name).collect();
    let all = SCHEMAS.keys().filter(|name| **name != file_name(TOP_UP_SENT)).cloned();
    assert_eq!(published, all.collect());
}

/// Each event type's validator. `with_formats`: times are checked too; the properties have times beyond RFC 3339's years.
fn validators(with_formats: bool) -> BTreeMap<String, Validator> {
    let build = |schema| {
        jsonschema::draft202012::options().should_validate_formats(with_formats).build(schema).unwrap()
    };
    SCHEMAS.iter().map(|(name, schema)| (name.clone(), build(schema))).collect()
}

/// What is wrong with an event in its envelope.
fn errors(validator: &Validator, event: &Value) -> Vec<String> {
    validator.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_sample_fits_its_schema_and_every_schema_has_a_sample() {
    let validators = validators(true);
    let mut samples = BTreeSet::new();
    for folder in [folder("in"), folder("out")] {
        for name in names(&folder) {
            let sample = read(folder.join(&name)).unwrap();
            assert_eq!(errors(&validators[&name], &sample), [""; 0], "{name}");
            samples.insert(name);
        }
    }
    assert_eq!(samples, SCHEMAS.keys().cloned().collect());
}

/// What is wrong with an event of the rules: for the properties.
pub(crate) fn errors_of(detail_type: &str, detail: &str) -> Vec<String> {
    static VALIDATORS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| validators(false));
    let event = json!({
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": SOURCE,
        "account": "123456789012",
        "time": "2025-10-29T00:36:00Z",
        "region": "eu-west-3",
        "resources": [],
        "detail": serde_json::from_str::<Value>(detail).unwrap(),
    });
    errors(&VALIDATORS[&file_name(detail_type)], &event)
}

#[test]
fn every_event_about_a_key_fits_its_schema() {
    let suspended_until = Timestamp::UNIX_EPOCH;
    for kind in [
        VendorEventKind::Suspended { reason: "ERR_AUTH", suspended_until },
        VendorEventKind::Resumed,
        VendorEventKind::Replaced,
        VendorEventKind::ListDegraded { reason: "list_filter_ignored", product: "internet" },
    ] {
        let event = VendorEvent::new(&"1f2e3d4c5b6a7988", 1, kind, Timestamp::UNIX_EPOCH);
        assert_eq!(errors_of(&event.detail_type, &event.detail), [""; 0], "{kind:?}");
    }
}
