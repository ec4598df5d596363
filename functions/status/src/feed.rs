//! `GET /events`: the feed.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use shared::{
    order::DETAIL_TYPES,
    refresh::Tracker,
    store::{FeedCursor, FeedEvent},
    time::later,
};

use crate::{
    answer::Answer,
    orders::unavailable,
    route::{MAX_LIMIT, bad, limit, parameters, whole_number},
};

/// The wait before a page without events is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// The longest `wait`. The function's timeout is 28 s; a page takes less than a second.
const MAX_WAIT_SECONDS: u32 = 15;

/// Where and what to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedQuery {
    /// The page begins after this place; `None`: at the latest.
    pub(crate) after: Option<FeedCursor>,
    /// Maximum number of events, 1 to 100.
    pub(crate) limit: u32,
    /// Only events of these types; empty: of all, also of types that this version does not know.
    pub(crate) types: Vec<&'static str>,
    /// How long to wait for an event, up to 15 s.
    pub(crate) wait: Duration,
}

impl FeedQuery {
    /// Parses a query. Other parameters are ignored; of a repeated one, the last counts.
    pub(crate) fn parse(query: &str) -> Result<Self, Answer> {
        let mut parsed = Self {
            after: Some(FeedCursor::start()),
            limit: MAX_LIMIT,
            types: Vec::new(),
            wait: Duration::ZERO,
        };
        for (name, value) in parameters(query) {
            match name {
                "after" if value == "latest" => parsed.after = None,
                "after" => {
                    let cursor = FeedCursor::read(&value);
                    parsed.after =
                        Some(cursor.ok_or_else(|| bad(name, "`next` of an earlier answer, or latest"))?);
                }
                "limit" => parsed.limit = limit(&value)?,
                "types" => {
                    parsed.types =
                        types(&value).ok_or_else(|| bad(name, "types of events, separated by commas"))?;
                }
                "wait" => {
                    let seconds = whole_number(&value).filter(|seconds| *seconds <= MAX_WAIT_SECONDS);
                    let seconds =
                        seconds.ok_or_else(|| bad(name, "a whole number of seconds from 0 to 15"))?;
                    parsed.wait = Duration::from_secs(seconds.into());
                }
                _ => {}
            }
        }
        Ok(parsed)
    }
}

fn types(text: &str) -> Option<Vec<&'static str>> {
    text.split(',').map(|wanted| DETAIL_TYPES.into_iter().find(|known| *known == wanted)).collect()
}

/// A page of event details as published, in the feed's order. `next` is the `after` of the next page.
#[derive(Serialize)]
struct Feed {
    events: Vec<Box<RawValue>>,
    next: String,
}

/// Reads the feed, once a second until there is an event of the wanted types or the wait is over.
pub(crate) async fn feed(tracker: &Tracker, query: FeedQuery) -> Answer {
    let FeedQuery { after, limit, types, wait } = query;
    let end = later(tracker.clock.now(), wait);
    let Some(mut after) = after else {
        let next = FeedCursor::reached(tracker.clock.now()).write();
        return Answer::ok(&Feed { events: Vec::new(), next });
    };
    loop {
        let now = tracker.clock.now();
        let page = match tracker.store.feed_page(&after, limit, &FeedCursor::reached(now)).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "the feed could not be read");
                return unavailable(&error, || "an event cannot be read".to_owned());
            }
        };
        let is_wanted = |event: &FeedEvent| types.is_empty() || types.contains(&event.detail_type.as_str());
        let events: Vec<_> = page.events.into_iter().filter(is_wanted).map(|event| event.detail).collect();
        if !events.is_empty() || now >= end {
            return Answer::ok(&Feed { events, next: page.next.write() });
        }
        // Events of other types were passed: more may follow at once.
        if page.next == after {
            tracker.clock.wait_until(later(now, READ_AGAIN).min(end)).await;
        }
        after = page.next;
    }
}
