//! What is printed: the API's JSON for programs, aligned text for people.

use std::{collections::BTreeMap, io::Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, value::RawValue};

use crate::api::Failure;

/// The fields that come first; all others follow by name.
const FIRST: [&str; 9] =
    ["product", "id", "ref", "status", "phase", "parked_as", "stale", "card_code", "card.available"];

/// A column: its heading, its least width, and where its value is. The first place that is not `null` counts.
type Column = (&'static str, usize, &'static [&'static str]);

/// The columns of events.
pub(crate) const EVENTS: &[Column] = &[
    ("TIME", 24, &["/occurred_at"]),
    ("TYPE", 20, &["/detail_type"]),
    ("EVENT ID", 36, &["/event_id"]),
    ("STATUS OR REASON", 19, &["/reason", "/action", "/order/status"]),
    ("REF", 20, &["/order/ref"]),
    ("PERSON", 12, &["/actor"]),
    ("NOTE", 0, &["/note"]),
];
/// The columns of orders.
pub(crate) const ORDERS: &[Column] = &[
    ("CHANGED", 24, &["/changed_at"]),
    ("PRODUCT", 8, &["/product"]),
    ("ID", 24, &["/id"]),
    ("STATUS", 13, &["/status"]),
    ("PHASE", 9, &["/parked_as", "/phase"]),
    ("REVIEW", 19, &["/open_reviews/0/reason"]),
    ("REF", 0, &["/ref"]),
];
/// The columns of deliveries of webhooks.
pub(crate) const DELIVERIES: &[Column] = &[
    ("EVENT ID", 36, &["/event_id"]),
    ("TYPE", 20, &["/detail_type"]),
    ("STATE", 9, &["/state"]),
    ("TRIES", 5, &["/attempt_count"]),
    ("NEXT ATTEMPT", 24, &["/next_attempt_at"]),
    ("LAST ATTEMPT", 0, &["/last/status", "/last/error"]),
];
/// The columns of resyncs.
pub(crate) const RESYNCS: &[Column] = &[
    ("ID", 42, &["/id"]),
    ("STATE", 9, &["/state"]),
    ("POSITION", 24, &["/position"]),
    ("CHECKED", 7, &["/checked"]),
    ("SKIPPED", 7, &["/skipped"]),
    ("CHANGED", 7, &["/changed"]),
    ("UNREGISTERED", 12, &["/unregistered"]),
    ("WHY", 0, &["/why"]),
];
/// The columns of orders that a resync found and nobody had registered.
pub(crate) const UNREGISTERED: &[Column] = &[
    ("PRODUCT", 8, &["/product"]),
    ("ID", 24, &["/id"]),
    ("STATUS", 13, &["/status"]),
    ("AMOUNT", 10, &["/topup_amount"]),
    ("CREATED", 24, &["/created_at"]),
    ("TRACKED", 0, &["/tracked"]),
];
/// The columns of events that were posted to the local URL.
pub(crate) const FORWARDED: &[Column] = &[
    ("TYPE", 20, &["/detail_type"]),
    ("EVENT ID", 36, &["/event_id"]),
    ("MS", 6, &["/milliseconds"]),
    ("ANSWER", 0, &["/status", "/error"]),
];

/// Standard output. Colours only on a terminal.
pub(crate) struct Output {
    json: bool,
    headed: bool,
    out: anstream::AutoStream<std::io::Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, headed: false, out: anstream::stdout() }
    }

    /// Prints a text as it is, and all of it at once.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    /// Prints an object: a field on each line.
    pub(crate) fn object(&mut self, json: &str) -> Result<(), Failure> {
        let raw: Box<RawValue> = serde_json::from_str(json)?;
        self.line(&if self.json { one_line(&raw) } else { fields(&raw) })
    }

    /// Prints an object as a row, the first under a line of headings.
    pub(crate) fn row(&mut self, columns: &[Column], raw: &RawValue) -> Result<(), Failure> {
        if self.json {
            return self.line(&one_line(raw));
        }
        let row = row(columns, serde_json::from_str(raw.get())?);
        if !std::mem::replace(&mut self.headed, true) {
            self.line(&aligned(columns, |(head, ..)| (Style::new().bold(), (*head).to_owned())))?;
        }
        self.line(&row)
    }
}

/// Prints a remark for people to standard error.
pub(crate) fn remark(remark: &str) {
    // Without standard error nothing can be told.
    let _ = writeln!(anstream::stderr(), "{remark}");
}

/// The value as text: a string without quotes, anything else as the API wrote it. `null` is `None`.
pub(crate) fn text(raw: &RawValue) -> Option<String> {
    match serde_json::from_str(raw.get()) {
        Ok(Value::Null) => None,
        Ok(Value::String(text)) => Some(text),
        _ => Some(raw.get().to_owned()),
    }
}

/// The text without control characters, which could change the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// The JSON on one line. A string in JSON holds no line break.
fn one_line(raw: &RawValue) -> String {
    raw.get().replace(['\n', '\r'], "")
}

fn fields(raw: &RawValue) -> String {
    fn flatten(name: &str, raw: &RawValue, into: &mut Vec<(String, String)>) {
        match serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) {
            Ok(object) => {
                let dot = if name.is_empty() { "" } else { "." };
                object.iter().for_each(|(key, raw)| flatten(&format!("{name}{dot}{key}"), raw, into));
            }
            Err(_) => into.extend(text(raw).filter(|text| text != "[]").map(|text| (name.to_owned(), text))),
        }
    }
    let mut fields = Vec::new();
    flatten("", raw, &mut fields);
    fields.sort_by_key(|(name, _)| FIRST.iter().position(|first| first == name).unwrap_or(usize::MAX));
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, value): &(String, String)| {
        let (bold, style, value) = (Style::new().bold(), colour(name, value), clean(value));
        format!("{bold}{name:width$}{bold:#}  {style}{value}{style:#}")
    };
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row(columns: &[Column], mut object: Value) -> String {
    let last = object.pointer("/attempts").and_then(|attempts| attempts.as_array()?.last()).cloned();
    if let (Some(last), Some(object)) = (last, object.as_object_mut()) {
        object.insert("last".to_owned(), last);
    }
    aligned(columns, |(head, _, places)| {
        let value = places.iter().filter_map(|place| object.pointer(place)).find(|value| !value.is_null());
        let text =
            value.map(|value| value.as_str().map_or_else(|| value.to_string(), clean)).unwrap_or_default();
        (colour(head, &text), text)
    })
}

fn aligned(columns: &[Column], cell: impl Fn(&Column) -> (Style, String)) -> String {
    let cell = |column: &Column| {
        let ((style, text), width) = (cell(column), column.1);
        format!("{style}{text:width$}{style:#}")
    };
    columns.iter().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// Only what tells how it went has a colour.
fn colour(column: &str, word: &str) -> Style {
    if !["status", "STATUS", "STATUS OR REASON", "STATE", "ANSWER", "LAST ATTEMPT"].contains(&column) {
        return Style::new();
    }
    let colour = match word {
        "FULFILLED" | "delivered" | "done" => AnsiColor::Green,
        "REFUNDED" | "failed" => AnsiColor::Red,
        "QUEUED" | "UNKNOWN_ERROR" | "retrying" | "running" | "stopped" => AnsiColor::Yellow,
        answer if answer.starts_with('2') => AnsiColor::Green,
        _ if column.to_lowercase().starts_with("status") => return Style::new(),
        _ => AnsiColor::Red,
    };
    colour.on_default()
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_object_is_shown_with_its_own_digits_and_without_empty_fields() {
        let object = raw(
            r#"{"new_field":[1],"topup_amount":490.00,"card":{"available":false,"masked":null},"linked_from":[],
                "id":"690","status":"FULFILLED","refund_message":"a\u001b[2Jb","parked_as":null}"#,
        );
        let shown = fields(&object);
        assert!(shown.contains("\u{1b}[32mFULFILLED\u{1b}[0m"), "{shown:?}");
        let expected = "\
id              690
status          FULFILLED
card.available  false
new_field       [1]
refund_message  a\u{fffd}[2Jb
topup_amount    490.00";
        assert_eq!(strip_str(&shown).to_string(), expected);
        assert!(!one_line(&object).contains('\n'));
    }

    #[test]
    fn columns_are_aligned() {
        let delivery =
            r#"{"event_id":"mobile/690#2","state":"failed","attempts":[{"status":200},{"error":"x\n"}]}"#;
        let line = row(DELIVERIES, serde_json::from_str(delivery).unwrap());
        assert!(line.contains("\u{1b}[31mfailed"), "{line:?}");
        let line = strip_str(&line).to_string();
        assert_eq!(
            (line.find("failed"), line.find("x\u{fffd}")),
            (Some(36 + 20 + 4), Some(36 + 20 + 9 + 5 + 24 + 10))
        );
    }
}
