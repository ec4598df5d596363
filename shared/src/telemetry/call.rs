//! What belongs to one invocation: its log lines carry the request id, its events and webhooks the trace.

use std::{fmt, sync::Arc};

use serde_json::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

tokio::task_local! {
    static CALL: Arc<Call>;
}

#[derive(Debug)]
struct Call {
    request_id: String,
    trace: Option<String>,
}

/// Runs the work of one invocation. `request_id`: Lambda's. `trace`: the X-Ray trace header (`X-Amzn-Trace-Id`), if there is one.
///
/// The work is boxed at once: its state is large, and each wrapper would move all of it.
pub fn in_call<T>(
    request_id: &str,
    trace: Option<&str>,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    // EventBridge refuses events with a trace header that is empty or longer than 500 characters.
    let is_sound = |trace: &&str| trace.len() <= 500 && traceparent(trace).is_some();
    let trace = trace.filter(is_sound).map(str::to_owned);
    let call = Call { request_id: request_id.to_owned(), trace };
    CALL.scope(Arc::new(call), Box::pin(work))
}

/// Adds `requestId` to lines of JSON. A span would do it too, and cost a quarter of a call that is answered from the table.
pub(super) struct Identified<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Identified<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match (request_id(), line.trim_end().strip_suffix('}')) {
            (Some(id), Some(fields)) => writeln!(writer, "{fields},\"requestId\":{}}}", Value::from(id)),
            _ => writer.write_str(&line),
        }
    }
}

/// Lambda's id of the invocation; `None` outside of one.
pub(super) fn request_id() -> Option<String> {
    CALL.try_with(|call| call.request_id.clone()).ok()
}

/// The X-Ray trace header of the invocation, for what it causes.
pub(crate) fn trace_header() -> Option<String> {
    CALL.try_with(|call| call.trace.clone()).ok().flatten()
}

/// The W3C `traceparent` of an X-Ray trace header: `Root=1-{8 digits}-{24 digits};Parent={16 digits};Sampled=1`, all hexadecimal. `None` if it has
/// another form or no parent.
pub fn traceparent(header: &str) -> Option<String> {
    let field =
        |name: &str| header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let (time, id) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
    let parent = field("Parent")?;
    let sampled = u8::from(field("Sampled") == Some("1"));
    (is_hex(time, 8) && is_hex(id, 24) && is_hex(parent, 16))
        .then(|| format!("00-{time}{id}-{parent}-0{sampled}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_invocation_is_known_within_its_work_only() {
        assert_eq!((request_id(), trace_header()), (None, None));
        let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
        let known = in_call("a-request", Some(trace), async { (request_id(), trace_header()) }).await;
        assert_eq!(known, (Some("a-request".to_owned()), Some(trace.to_owned())));
        let long = format!("{trace};Lineage={}", "a".repeat(500));
        for other in [None, Some(""), Some("Root=1"), Some(long.as_str())] {
            assert_eq!(in_call("b", other, async { trace_header() }).await, None, "{other:?}");
        }
        assert_eq!(request_id(), None);
    }

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_line_of_an_invocation_has_its_request_id() {
        let written = Lines::default();
        let lines = written.clone();
        let writer = move || lines.clone();
        let layer = tracing_subscriber::fmt::layer().json().map_event_format(Identified).with_writer(writer);
        let subscriber =
            tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), layer);
        let _guard = tracing::subscriber::set_default(subscriber);
        in_call("a-\"request\"", None, async { tracing::warn!(order = "mobile/1", "inside") }).await;
        tracing::warn!("outside");
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let read: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), 2, "{text}");
        assert_eq!(
            (&read[0]["requestId"], &read[0]["fields"]["order"]),
            (&"a-\"request\"".into(), &"mobile/1".into())
        );
        assert_eq!(read[1].get("requestId"), None);
    }

    #[test]
    fn a_trace_header_becomes_a_traceparent() {
        let (root, parent) = ("Root=1-5759e988-bd862e3fe1be46a994272793", "Parent=53995c3f42cd8ad8");
        let is = |header: String, sampled: &str| {
            let expected = format!("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-{sampled}");
            assert_eq!(traceparent(&header), Some(expected), "{header}");
        };
        is(format!("{root};{parent};Sampled=1"), "01");
        is(format!("Self=1-2-3; {parent}; {root}; Sampled=0; Lineage=a:0"), "00");
        is(format!("{root};{parent}"), "00");
        for bad in ["", root, parent, "Root=1-1-2;Parent=53995c3f42cd8ad8", &root.replace('e', "E")] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }
}
