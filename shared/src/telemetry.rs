//! Logs: JSON lines with an RFC 3339 `timestamp` (without one, Lambda files every line as INFO), and one summary line
//! per invocation that carries its metrics in CloudWatch's embedded metric format.
//!
//! Never logged: keys, tokens, card codes, bodies of the vendor's, phone numbers.

use std::{io::Write, sync::OnceLock};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::Level;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Installs the subscriber. Call once, at start. `level` is for our own lines; of libraries only warnings are heard, since
/// what they say below that can hold whole requests, and a request to KMS holds a card code.
pub fn init(level: Level) {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(std::io::stdout);
    tracing_subscriber::registry().with(lines).with(heard(level)).init();
}

fn heard(level: Level) -> Targets {
    let ours = ["shared", "status", "poller", "recheck"].map(|name| (name, level));
    Targets::new().with_default(level.min(Level::WARN)).with_targets(ours)
}

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Things.
    Count,
    /// Time.
    Seconds,
}

/// The line that ends an invocation.
///
/// Its metrics are in the namespace `TopupTracker` and have one dimension, `stack`, so that two stacks in one account do
/// not mix. The function is a field and no dimension: each more would be paid for again, and names tell them apart.
#[derive(Debug)]
pub struct Summary {
    function: &'static str,
    fields: Map<String, Value>,
    metrics: Vec<Metric>,
}

impl Summary {
    /// Of a function, by name.
    pub fn new(function: &'static str) -> Self {
        Self { function, fields: Map::new(), metrics: Vec::new() }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a count, also as a metric of that name. A count of 0 is left out: a sum loses nothing.
    #[must_use]
    pub fn count(self, name: &'static str, value: usize) -> Self {
        if value == 0 { self } else { self.gauge(name, value as u64, Unit::Count) }
    }

    /// Adds a count that is no metric. A count of 0 is left out.
    #[must_use]
    pub fn field(self, name: &'static str, value: usize) -> Self {
        if value == 0 { self } else { self.with(name, value) }
    }

    /// Adds what was measured, also as a metric of that name.
    #[must_use]
    pub fn gauge(mut self, name: &'static str, value: u64, unit: Unit) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self.metrics.push(Metric { name, unit });
        self
    }

    /// Writes it.
    pub fn log(self, now: Timestamp) {
        let mut line = self.line(now, stack_name());
        line.push(b'\n');
        // Nothing can be done about a standard output that is closed.
        let _ = std::io::stdout().write_all(&line);
    }

    fn line(&self, now: Timestamp, stack: &str) -> Vec<u8> {
        let line = Line {
            timestamp: now,
            level: "INFO",
            message: "done",
            function: self.function,
            stack,
            fields: &self.fields,
            aws: (!self.metrics.is_empty()).then(|| Embedded {
                timestamp: now.as_millisecond(),
                metrics: [Directive {
                    namespace: "TopupTracker",
                    dimensions: [["stack"]],
                    metrics: &self.metrics,
                }],
            }),
        };
        serde_json::to_vec(&line).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: Timestamp,
    level: &'a str,
    message: &'a str,
    function: &'a str,
    stack: &'a str,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
    #[serde(rename = "_aws", skip_serializing_if = "Option::is_none")]
    aws: Option<Embedded<'a>>,
}

/// CloudWatch's embedded metric format.
#[derive(Serialize)]
struct Embedded<'a> {
    #[serde(rename = "Timestamp")]
    timestamp: i64,
    #[serde(rename = "CloudWatchMetrics")]
    metrics: [Directive<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'a str,
    dimensions: [[&'a str; 1]; 1],
    metrics: &'a [Metric],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: Unit,
}

/// `STACK_NAME`, which the template sets.
fn stack_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    #[allow(
        clippy::disallowed_methods,
        reason = "a name for metrics and no setting: nothing else depends on it"
    )]
    NAME.get_or_init(|| std::env::var("STACK_NAME").unwrap_or_else(|_| "none".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn libraries_are_heard_when_they_warn_and_never_below() {
        let targets = heard(Level::TRACE);
        for (target, level, is_heard) in [
            ("shared::refresh", Level::TRACE, true),
            ("poller", Level::DEBUG, true),
            ("aws_smithy_runtime::client::orchestrator", Level::TRACE, false),
            ("aws_sdk_kms", Level::DEBUG, false),
            ("hyper_util", Level::INFO, false),
            ("lambda_runtime", Level::WARN, true),
        ] {
            assert_eq!(targets.would_enable(target, &level), is_heard, "{target} {level}");
        }
        assert!(!heard(Level::ERROR).would_enable("lambda_runtime", &Level::WARN));
    }

    #[test]
    fn a_summary_is_one_line_of_embedded_metrics() {
        let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let summary = Summary::new("poller").with("order", "mobile/1").count("checks", 2).count("failed", 0);
        let line = summary.gauge("oldest_due_seconds", 61, Unit::Seconds).line(now, "tracker");
        assert!(!line.contains(&b'\n'));
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!((&line["checks"], line.get("failed")), (&json!(2), None));
        assert_eq!((&line["function"], &line["stack"]), (&json!("poller"), &json!("tracker")));
        assert_eq!(line["oldest_due_seconds"], 61);
        assert_eq!(
            line["_aws"]["CloudWatchMetrics"],
            json!([{
                "Namespace": "TopupTracker",
                "Dimensions": [["stack"]],
                "Metrics": [{"Name": "checks", "Unit": "Count"}, {"Name": "oldest_due_seconds", "Unit": "Seconds"}],
            }])
        );
        let quiet = Summary::new("poller").count("checks", 0).field("due", 0).line(now, "tracker");
        assert!(!String::from_utf8(quiet).unwrap().contains("_aws"), "nothing to tell");
    }
}
