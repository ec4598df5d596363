//! Logs: JSON lines with an RFC 3339 `timestamp` (Lambda files lines without one as INFO), and one summary line per
//! invocation with metrics in CloudWatch's embedded metric format.
//!
//! Never logged: keys, tokens, card codes, bodies of the vendor's answers, phone numbers.

mod call;

use std::{io::Write, sync::OnceLock};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::Level;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use call::Identified;
pub(crate) use call::trace_header;
pub use call::{in_call, traceparent};

/// Installs the subscriber. Call once, at start. `level` applies to the tracker's own lines. Libraries log warnings
/// and errors only: their lower levels can contain whole requests, and a request to KMS contains a card code.
pub fn init(level: Level) {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .map_event_format(Identified)
        .with_writer(std::io::stdout);
    tracing_subscriber::registry().with(lines).with(log_targets(level)).init();
}

fn log_targets(level: Level) -> Targets {
    let ours = ["shared", "status", "poller", "recheck", "notify", "page"].map(|name| (name, level));
    Targets::new().with_default(level.min(Level::WARN)).with_targets(ours)
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// A number without a unit.
    Count,
    /// Seconds.
    Seconds,
}

/// The summary line at the end of an invocation.
///
/// Its metrics are in the namespace `TopupTracker` with one dimension, `stack`, so that two stacks in one account do
/// not mix. The function is a field, not a dimension: CloudWatch bills each combination of name and dimensions.
#[derive(Debug)]
pub struct Summary {
    function: &'static str,
    fields: Map<String, Value>,
    metrics: Vec<Metric>,
}

impl Summary {
    /// An empty summary of the function named `function`.
    pub fn new(function: &'static str) -> Self {
        Self { function, fields: Map::new(), metrics: Vec::new() }
    }

    /// Adds a field to the line.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a count, as a field and as a metric. A count of 0 is left out: it changes no sum.
    #[must_use]
    pub fn count(self, name: &'static str, value: usize) -> Self {
        if value == 0 { self } else { self.gauge(name, value as u64, Unit::Count) }
    }

    /// Adds a count as a field only. A count of 0 is left out.
    #[must_use]
    pub fn field(self, name: &'static str, value: usize) -> Self {
        if value == 0 { self } else { self.with(name, value) }
    }

    /// Adds a measured value, as a field and as a metric. 0 is kept.
    #[must_use]
    pub fn gauge(mut self, name: &'static str, value: u64, unit: Unit) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self.metrics.push(Metric { name, unit });
        self
    }

    /// Writes the line to standard output.
    pub fn log(self, now: Timestamp) {
        let mut line = self.line(now, stack_name());
        line.push(b'\n');
        // An error is ignored: without a standard output there is nowhere to report it.
        let _ = std::io::stdout().write_all(&line);
    }

    fn line(&self, now: Timestamp, stack: &str) -> Vec<u8> {
        let line = Line {
            timestamp: now,
            level: "INFO",
            message: "done",
            function: self.function,
            stack,
            request_id: call::request_id(),
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
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
    #[serde(rename = "_aws", skip_serializing_if = "Option::is_none")]
    aws: Option<Embedded<'a>>,
}

/// The `_aws` object of CloudWatch's embedded metric format.
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

/// `STACK_NAME`, which the template sets; `none` without it.
fn stack_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    #[allow(clippy::disallowed_methods, reason = "names the metrics' dimension; no behaviour depends on it")]
    NAME.get_or_init(|| std::env::var("STACK_NAME").unwrap_or_else(|_| "none".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn libraries_log_warnings_and_errors_only() {
        let targets = log_targets(Level::TRACE);
        for (target, level, is_logged) in [
            ("shared::refresh", Level::TRACE, true),
            ("poller", Level::DEBUG, true),
            ("aws_smithy_runtime::client::orchestrator", Level::TRACE, false),
            ("aws_sdk_kms", Level::DEBUG, false),
            ("hyper_util", Level::INFO, false),
            ("lambda_runtime", Level::WARN, true),
        ] {
            assert_eq!(targets.would_enable(target, &level), is_logged, "{target} {level}");
        }
        assert!(!log_targets(Level::ERROR).would_enable("lambda_runtime", &Level::WARN));
    }

    #[test]
    fn a_summary_is_one_line_with_embedded_metrics() {
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
        assert!(!String::from_utf8(quiet).unwrap().contains("_aws"), "without metrics there is no _aws");
    }
}
