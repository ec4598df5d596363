//! The feed of events: `tracker events`.

use std::{collections::VecDeque, fs, io, path::Path, time::Duration};

use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    api::{Api, Failure, Page},
    args::Events,
    output::{EVENTS, Output, remark, text},
};

/// How long the API may wait for a new event, in seconds: its upper bound.
const WAIT: &str = "15";
/// A page without news that came sooner is not asked for again sooner.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// A place in the feed.
pub(crate) struct Feed<'a> {
    api: &'a Api,
    types: Option<String>,
    /// The place after the last page that was returned.
    pub(crate) cursor: Option<String>,
    /// The API has answered before: a failure that can pass is waited for.
    answered: bool,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(api: &'a Api, types: Option<String>, cursor: Option<String>) -> Self {
        Self { api, types, cursor, answered: false }
    }

    /// The next page, which can be empty. Without `follow`, `None` is the end. With it, the call waits for events, and
    /// it repeats calls that fail once one has succeeded.
    ///
    /// # Errors
    /// If the API refuses the call or does not answer.
    pub(crate) async fn next(&mut self, follow: bool) -> Result<Option<Vec<Box<RawValue>>>, Failure> {
        loop {
            let not_before = Instant::now() + LEAST_WAIT;
            let failure = match self.page(if follow { WAIT } else { "0" }).await {
                Ok((events, moved)) => {
                    let news = moved || !events.is_empty();
                    if follow && !news {
                        sleep_until(not_before).await;
                    }
                    return Ok(Some(events).filter(|_| follow || news));
                }
                Err(failure) => failure,
            };
            match failure.passes_in() {
                Some(seconds) if follow && self.answered => {
                    remark(&format!("{failure}; trying again"));
                    sleep(Duration::from_secs(seconds)).await;
                }
                _ => return Err(failure),
            }
        }
    }

    /// All events up to now, of which the last `most` are returned.
    pub(crate) async fn last(&mut self, most: usize) -> Result<VecDeque<Box<RawValue>>, Failure> {
        let mut last = VecDeque::new();
        while let Some(events) = self.next(false).await? {
            last.extend(events);
            last.drain(..last.len().saturating_sub(most));
        }
        Ok(last)
    }

    /// One page, and whether the cursor moved.
    async fn page(&mut self, wait: &str) -> Result<(Vec<Box<RawValue>>, bool), Failure> {
        let given =
            [("after", self.cursor.as_deref()), ("types", self.types.as_deref()), ("wait", Some(wait))];
        let query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let page: Page = self.api.get(&["events"], &query).await?;
        let next = page.next.as_deref().and_then(text);
        let moved = next.is_some() && next != self.cursor;
        self.cursor = next.or(self.cursor.take());
        self.answered = true;
        Ok((page.events, moved))
    }
}

/// Prints the feed. The cursor is kept only after a page was printed.
pub(crate) async fn events(api: &Api, options: Events, out: &mut Output) -> Result<(), Failure> {
    let file = options.cursor_file.as_deref();
    let kept = file.map(read_cursor).transpose()?.flatten();
    let mut feed = Feed::new(api, options.types, kept.or(options.after));
    if let Some(most) = options.last {
        feed.last(most).await?.iter().try_for_each(|event| out.row(EVENTS, event))?;
    }
    while let Some(events) = feed.next(options.follow).await? {
        events.iter().try_for_each(|event| out.row(EVENTS, event))?;
        if let (Some(file), Some(cursor)) = (file, &feed.cursor) {
            write_cursor(file, cursor)?;
        }
    }
    if let (None, Some(cursor)) = (file, &feed.cursor) {
        remark(&format!("to go on from here: --after '{cursor}'"));
    }
    Ok(())
}

/// The kept cursor, or `None` if there is no such file yet.
fn read_cursor(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Failure::Failed(format!("the cursor file {} cannot be read: {error}", file.display())))
        }
    }
}

/// Replaces the file at once: a crash leaves the old cursor or the new one.
fn write_cursor(file: &Path, cursor: &str) -> Result<(), Failure> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, format!("{cursor}\n")).and_then(|()| fs::rename(&new, file)).map_err(|error| {
        Failure::Failed(format!("the cursor file {} cannot be written: {error}", file.display()))
    })
}
