//! Logs: JSON lines with an RFC 3339 `timestamp` (without one, Lambda files every line as INFO), and one summary line
//! per invocation that carries its metrics in CloudWatch's embedded metric format.
//!
//! Never logged: keys, tokens, card codes, bodies of the vendor's, phone numbers.

use std::io::Write;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Installs the subscriber. Call once, at start.
pub fn init(level: tracing::Level) {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_max_level(level)
        .with_writer(std::io::stdout)
        .init();
}

/// The line that ends an invocation.
#[derive(Debug)]
pub struct Summary {
    function: &'static str,
    fields: Map<String, Value>,
    metrics: Vec<&'static str>,
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

    /// Adds a count, also as a metric of that name.
    #[must_use]
    pub fn count(mut self, name: &'static str, value: usize) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self.metrics.push(name);
        self
    }

    /// Writes it.
    pub fn log(self, now: Timestamp) {
        let line = self.line(now);
        // Nothing can be done about a standard output that is closed.
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    fn line(self, now: Timestamp) -> Value {
        let metrics: Vec<Value> =
            self.metrics.iter().map(|name| json!({"Name": name, "Unit": "Count"})).collect();
        let mut line = self.fields;
        line.insert("timestamp".into(), now.to_string().into());
        line.insert("level".into(), "INFO".into());
        line.insert("message".into(), "done".into());
        line.insert("function".into(), self.function.into());
        line.insert(
            "_aws".into(),
            json!({
                "Timestamp": now.as_millisecond(),
                "CloudWatchMetrics": [{"Namespace": "TopupTracker", "Dimensions": [["function"]], "Metrics": metrics}],
            }),
        );
        Value::Object(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_line_of_embedded_metrics() {
        let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let line = Summary::new("poller").with("order", "mobile/1").count("looks", 2).line(now);
        assert_eq!(line["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(line["looks"], 2);
        assert_eq!(
            line["_aws"]["CloudWatchMetrics"][0]["Metrics"],
            json!([{"Name": "looks", "Unit": "Count"}])
        );
        assert!(!line.to_string().contains('\n'));
    }
}
