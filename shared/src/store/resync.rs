//! Resync jobs, and the orders that they found and nobody had registered.
//!
//! All jobs are in one partition of the index `feed`, by their start; running ones are in one of the index `due` too. Both are sparse, and no
//! reader of events or of due orders reads these partitions.

use std::collections::{BTreeSet, HashSet};

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValue},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Item, Store, StoreError,
    due::read_key,
    error::lost_update,
    item::{millis, number, order_key, set_due, text},
    update::{Change, is},
};
use crate::{
    order::{OrderId, OrderKey, Product},
    resync::{JobState, Walk, job_id},
};

/// The partition key of jobs, and their partition in the index `feed`.
const JOBS: &str = "RESYNC";
/// The partition of running jobs in the index `due`.
const RUNNING: &str = "resync/running";
/// Running jobs that one recheck reads.
const MAX_RUNNING: i32 = 20;

/// A resync of a window of one product's list. Stored times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResyncJob {
    /// See [`job_id`].
    pub id: String,
    /// The product.
    pub product: Product,
    /// The first creation time, inclusive.
    #[serde(with = "millisecond::required")]
    pub from: Timestamp,
    /// The last creation time, inclusive.
    #[serde(with = "millisecond::required")]
    pub to: Timestamp,
    /// Whether orders that nobody registered are tracked.
    pub track: bool,
    /// Whether it goes on.
    pub state: JobState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The first creation time that is not covered yet.
    #[serde(with = "millisecond::required")]
    pub position: Timestamp,
    /// Milliseconds of the next window.
    pub width: i64,
    /// List checks so far.
    pub calls: u64,
    /// Rows of registered orders that were compared.
    pub checked: u64,
    /// Rows that could not be read, not be stored, or were of another window: what they are about was not checked.
    #[serde(default)]
    pub skipped: u64,
    /// Registered orders that changed, and those that were tracked.
    pub changed: u64,
    /// Orders that nobody had registered.
    pub unregistered: u64,
    /// When this run started.
    #[serde(with = "millisecond::required")]
    pub started_at: Timestamp,
    /// When it last made progress.
    #[serde(with = "millisecond::required")]
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Since when the list cannot be read.
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// How often it could not be read since.
    #[serde(default)]
    pub failures: u32,
    /// The last failure of a call since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Since when the rate limiter permits no call.
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
}

impl ResyncJob {
    /// A job that begins now.
    pub fn new(product: Product, from: Timestamp, to: Timestamp, track: bool, now: Timestamp) -> Self {
        Self {
            id: job_id(product, from, to),
            product,
            from,
            to,
            track,
            state: JobState::Running,
            why: None,
            position: from,
            width: Walk::start(from, to).width,
            calls: 0,
            checked: 0,
            skipped: 0,
            changed: 0,
            unregistered: 0,
            started_at: now,
            updated_at: now,
            ended_at: None,
            failing_since: None,
            failures: 0,
            last_failure: None,
            waiting_since: None,
        }
    }

    /// Goes on from where its walk is now.
    pub(crate) fn move_to(&mut self, walk: Walk) {
        self.width = walk.width;
        self.position = Timestamp::from_millisecond(walk.position).unwrap_or(self.to);
    }

    /// Where its walk is.
    pub fn walk(&self) -> Walk {
        Walk {
            from: self.from.as_millisecond(),
            to: self.to.as_millisecond(),
            position: self.position.as_millisecond(),
            width: self.width,
        }
    }

    fn feed_at(&self) -> String {
        format!("{:013}#{}", self.started_at.as_millisecond(), self.id)
    }
}

/// An order that a job found and nobody had registered. It holds no personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnregisteredOrder {
    /// The vendor's id.
    pub id: OrderId,
    /// The vendor's status.
    pub status: Option<String>,
    /// The amount in DZD, as the vendor wrote it.
    pub amount: Option<String>,
    /// The vendor's creation time, as it came.
    pub created_at: Option<String>,
}

/// A place in the list of jobs, newest first. Opaque to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCursor(String);

impl JobCursor {
    /// The cursor as text: base64 that is safe in a URL.
    pub fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reads what [`Self::write`] wrote; `None` for any other text.
    pub fn read(text: &str) -> Option<Self> {
        let place = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (at, id) = place.split_once('#')?;
        let is_time = at.len() == 13 && at.bytes().all(|byte| byte.is_ascii_digit());
        (is_time && crate::resync::is_job_id(id)).then_some(Self(place))
    }

    fn start_key(&self) -> Option<Item> {
        let (_, id) = self.0.split_once('#')?;
        let mut key = job_key(id);
        key.extend([("feed".to_owned(), text(JOBS)), ("feed_at".to_owned(), text(&self.0))]);
        Some(key)
    }
}

impl Store {
    /// Starts a job. If one of the same window is running, answers that one, and false.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn start_resync(&self, job: ResyncJob) -> Result<(ResyncJob, bool), StoreError> {
        const WHAT: &str = "start a resync";
        let mut new: Item = serde_dynamo::to_item(&job).map_err(|error| refused(WHAT, error.to_string()))?;
        new.extend(job_key(&job.id));
        new.extend([
            ("feed".to_owned(), text(JOBS)),
            ("feed_at".to_owned(), text(job.feed_at())),
            ("due_shard".to_owned(), text(RUNNING)),
            ("due_at".to_owned(), millis(job.started_at)),
        ]);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(new));
        let put = put.condition_expression("attribute_not_exists(pk) OR #state <> :running");
        let put = put.expression_attribute_names("#state", "state");
        match put.expression_attribute_values(":running", text(JobState::Running.as_str())).send().await {
            Ok(_) => Ok((job, true)),
            Err(error) if is_refused(error.as_service_error()) => match self.resync(&job.id).await? {
                Some(running) => Ok((running, false)),
                None => Err(StoreError::Unavailable { what: WHAT, why: "the job is gone".to_owned() }),
            },
            Err(error) => Err(StoreError::unavailable(WHAT, &error)),
        }
    }

    /// A job, read consistently.
    ///
    /// # Errors
    /// If DynamoDB fails, or the job cannot be read.
    pub async fn resync(&self, id: &str) -> Result<Option<ResyncJob>, StoreError> {
        const WHAT: &str = "read a resync";
        let get = self.client.get_item().table_name(&self.table).set_key(Some(job_key(id)));
        let found = get.consistent_read(true).send().await;
        let found = found.map_err(|error| StoreError::unavailable(WHAT, &error))?;
        found.item.map(|item| read(item, WHAT)).transpose()
    }

    /// A page of all jobs, newest start first, at most `limit` (1 to 100). The index lags behind by about a second.
    ///
    /// # Errors
    /// If DynamoDB fails. A job that cannot be read is logged and left out.
    pub async fn resyncs(
        &self,
        after: Option<&JobCursor>,
        limit: u32,
    ) -> Result<(Vec<ResyncJob>, Option<JobCursor>), StoreError> {
        const WHAT: &str = "list resyncs";
        let query = self.client.query().table_name(&self.table).index_name("feed");
        let query = query.key_condition_expression("feed = :jobs").scan_index_forward(false);
        let query = query.expression_attribute_values(":jobs", text(JOBS));
        let query = query.limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let query = query.set_exclusive_start_key(after.and_then(JobCursor::start_key));
        let page = query.send().await.map_err(|error| StoreError::unavailable(WHAT, &error))?;
        let next = page.last_evaluated_key().and_then(|last| last.get("feed_at")?.as_s().ok().cloned());
        let mut jobs = self.jobs(page.items(), WHAT).await?;
        jobs.sort_by_key(|job: &ResyncJob| std::cmp::Reverse(job.feed_at()));
        Ok((jobs, next.map(JobCursor)))
    }

    /// The jobs that run, at most 20, oldest start first.
    ///
    /// # Errors
    /// If DynamoDB fails. A job that cannot be read is logged and left out.
    pub async fn running_resyncs(&self) -> Result<Vec<ResyncJob>, StoreError> {
        const WHAT: &str = "list running resyncs";
        let query = self.client.query().table_name(&self.table).index_name("due");
        let query = query.key_condition_expression("due_shard = :running").limit(MAX_RUNNING);
        let query = query.expression_attribute_values(":running", text(RUNNING));
        let page = query.send().await.map_err(|error| StoreError::unavailable(WHAT, &error))?;
        let mut jobs = self.jobs(page.items(), WHAT).await?;
        jobs.retain(|job: &ResyncJob| job.state == JobState::Running);
        jobs.sort_by_key(ResyncJob::feed_at);
        Ok(jobs)
    }

    /// The jobs of these entries of an index.
    async fn jobs(&self, entries: &[Item], what: &'static str) -> Result<Vec<ResyncJob>, StoreError> {
        // The index can show a job twice while it is started again.
        let ids: BTreeSet<_> = entries.iter().filter_map(|entry| entry.get("sk")?.as_s().ok()).collect();
        let batch = self.batch_get(ids.into_iter().map(|id| job_key(id)).collect(), what).await?;
        if batch.is_partial {
            return Err(unprocessed(what));
        }
        // A job that cannot be read must not hold the others up.
        let jobs = batch.found.into_iter().filter_map(|item| match read(item, what) {
            Ok(job) => Some(job),
            Err(error) => {
                tracing::error!(%error, "a resync cannot be read and is passed");
                None
            }
        });
        Ok(jobs.collect())
    }

    /// Stores the progress of a job, if it still runs and is where `before` was. False: it was stopped, or another process went on with it.
    /// The SDK repeats a write whose answer is late. So if the job has this end already, the answer is true.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn keep_resync(&self, before: &ResyncJob, after: &ResyncJob) -> Result<bool, StoreError> {
        const WHAT: &str = "store the progress of a resync";
        let item = |job: &ResyncJob| -> Result<Item, StoreError> {
            serde_dynamo::to_item(job).map_err(|error| refused(WHAT, error.to_string()))
        };
        let (old, new) = (item(before)?, item(after)?);
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        let change = gone.fold(Change::default(), Change::remove);
        let differs = |(name, value): &(String, AttributeValue)| old.get(name) != Some(value);
        let change =
            new.into_iter().filter(differs).fold(change, |change, (name, value)| change.set(name, value));
        let change = match after.state {
            JobState::Running => change,
            JobState::Done | JobState::Stopped | JobState::Failed => set_due(change, RUNNING, None),
        };
        let change = change
            .only_if(is("state", "=", text(JobState::Running.as_str())))
            .only_if(is("started_at", "=", millis(before.started_at)))
            .only_if(is("position", "=", millis(before.position)))
            .only_if(is("calls", "=", number(before.calls)));
        match self.update_item(job_key(&before.id), change).send().await {
            Ok(_) => Ok(true),
            Err(error) if lost_update(&error) => {
                let has_ended = after.state != JobState::Running;
                Ok(has_ended && self.resync(&before.id).await?.as_ref() == Some(after))
            }
            Err(error) => Err(StoreError::unavailable(WHAT, &error)),
        }
    }

    /// Stops a job if it runs. Answers the job, and whether it was running; `None`: there is no such job.
    ///
    /// # Errors
    /// If DynamoDB fails, or the job cannot be read.
    pub async fn stop_resync(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<(ResyncJob, bool)>, StoreError> {
        const WHAT: &str = "stop a resync";
        let change = Change::default()
            .set("state", text(JobState::Stopped.as_str()))
            .set("updated_at", millis(now))
            .set("ended_at", millis(now))
            .only_if(is("state", "=", text(JobState::Running.as_str())));
        let stop = self.update_item(job_key(id), set_due(change, RUNNING, None));
        match stop.return_values(ReturnValue::AllNew).send().await {
            Ok(done) => Ok(Some((read(done.attributes.unwrap_or_default(), WHAT)?, true))),
            Err(error) if lost_update(&error) => Ok(self.resync(id).await?.map(|job| (job, false))),
            Err(error) => Err(StoreError::unavailable(WHAT, &error)),
        }
    }

    /// Stores an order that a job found and nobody had registered. True: it counts, because no earlier page of this run had it. A page that is
    /// processed again after a crash has the same position, and its orders count then.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn keep_unregistered(
        &self,
        job: &ResyncJob,
        order: &UnregisteredOrder,
    ) -> Result<bool, StoreError> {
        const WHAT: &str = "store an order that nobody registered";
        let mut new: Item = serde_dynamo::to_item(order).map_err(|error| refused(WHAT, error.to_string()))?;
        new.extend(unregistered_key(&job.id, order.id.as_str()));
        new.insert("started_at".to_owned(), millis(job.started_at));
        new.insert(POSITION.to_owned(), millis(job.position));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(new));
        let put = put.condition_expression(
            "attribute_not_exists(pk) OR started_at < :started OR (started_at = :started AND #position = :position)",
        );
        let put = put.expression_attribute_names("#position", POSITION);
        let put = put.expression_attribute_values(":position", millis(job.position));
        match put.expression_attribute_values(":started", millis(job.started_at)).send().await {
            Ok(_) => Ok(true),
            Err(error) if is_refused(error.as_service_error()) => Ok(false),
            Err(error) => Err(StoreError::unavailable(WHAT, &error)),
        }
    }

    /// Whether the page at the job's position found this order before, when its count was not stored: a process died after it had tracked it.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn was_unregistered(&self, job: &ResyncJob, order: &OrderId) -> Result<bool, StoreError> {
        const WHAT: &str = "read an order that nobody registered";
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        let get = get.set_key(Some(unregistered_key(&job.id, order.as_str())));
        let found = get.send().await.map_err(|error| StoreError::unavailable(WHAT, &error))?.item;
        let found = found.unwrap_or_default();
        let is = |name: &str, at: Timestamp| found.get(name).is_some_and(|value| *value == millis(at));
        Ok(is("started_at", job.started_at) && is(POSITION, job.position))
    }

    /// A page of the orders that the latest run of a job found and nobody had registered, by id, each with whether it is tracked now. It can
    /// have fewer than `limit`, even none, while there is a next page: those of earlier runs are passed.
    ///
    /// # Errors
    /// If DynamoDB fails, or an entry cannot be read.
    pub async fn unregistered(
        &self,
        job: &ResyncJob,
        after: Option<&OrderId>,
        limit: u32,
    ) -> Result<(Vec<(UnregisteredOrder, bool)>, Option<OrderId>), StoreError> {
        const WHAT: &str = "list orders that nobody registered";
        let query = self.client.query().table_name(&self.table);
        let query = query.key_condition_expression("pk = :job").filter_expression("started_at = :started");
        let query = query.expression_attribute_values(":job", text(format!("{JOBS}#{}", job.id)));
        let query = query.expression_attribute_values(":started", millis(job.started_at));
        let query = query.limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let query = query.set_exclusive_start_key(after.map(|id| unregistered_key(&job.id, id.as_str())));
        let page = query.send().await.map_err(|error| StoreError::unavailable(WHAT, &error))?;
        let last = page.last_evaluated_key().and_then(|last| last.get("sk")?.as_s().ok());
        let next = last.and_then(|sk| sk.strip_prefix(FOUND)?.parse().ok());
        let orders = page.items.unwrap_or_default().into_iter().map(|item| read(item, WHAT));
        let orders: Vec<UnregisteredOrder> = orders.collect::<Result<_, _>>()?;
        let key = |order: &UnregisteredOrder| OrderKey { product: job.product, id: order.id.clone() };
        let batch = self.batch_get(orders.iter().map(|order| order_key(&key(order))).collect(), WHAT).await?;
        if batch.is_partial {
            return Err(unprocessed(WHAT));
        }
        let tracked: HashSet<OrderKey> = batch.found.iter().filter_map(read_key).collect();
        let with_tracked = |order: UnregisteredOrder| {
            let is_tracked = tracked.contains(&key(&order));
            (order, is_tracked)
        };
        Ok((orders.into_iter().map(with_tracked).collect(), next))
    }
}

/// The job's position when it found an order.
const POSITION: &str = "found_at_position";
/// The prefix of the sort key of an order that was found.
const FOUND: &str = "ORDER#";

fn job_key(id: &str) -> Item {
    Item::from([("pk".to_owned(), text(JOBS)), ("sk".to_owned(), text(id))])
}

fn unregistered_key(job: &str, order: &str) -> Item {
    Item::from([
        ("pk".to_owned(), text(format!("{JOBS}#{job}"))),
        ("sk".to_owned(), text(format!("{FOUND}{order}"))),
    ])
}

fn is_refused(error: Option<&PutItemError>) -> bool {
    use PutItemError::{ConditionalCheckFailedException, TransactionConflictException};
    matches!(error, Some(ConditionalCheckFailedException(_) | TransactionConflictException(_)))
}

fn unprocessed(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, why: "DynamoDB left keys unprocessed".to_owned() }
}

fn refused(what: &'static str, why: String) -> StoreError {
    StoreError::Refused { what, why }
}

/// An item as this type. The error names the attribute, never its value.
fn read<T: DeserializeOwned>(item: Item, what: &'static str) -> Result<T, StoreError> {
    let stored = serde_dynamo::Deserializer::from_attribute_value(AttributeValue::M(item).into());
    serde_path_to_error::deserialize(stored).map_err(|error| refused(what, format!("at {}", error.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_stored_and_read_back() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let new = ResyncJob::new(Product::Mobile, at(1_000), at(9_000), true, at(1_760_000_000_000));
        for job in [
            new.clone(),
            ResyncJob { state: JobState::Failed, why: Some("x".to_owned()), ended_at: Some(at(5)), ..new },
        ] {
            let mut item: Item = serde_dynamo::to_item(&job).unwrap();
            item.extend(job_key(&job.id));
            assert_eq!(item["from"], AttributeValue::N("1000".to_owned()));
            assert_eq!(read::<ResyncJob>(item, "read").unwrap(), job);
        }
    }

    #[test]
    fn only_written_cursors_are_read() {
        let cursor = JobCursor("1760000000000#mobile-1000-9000".to_owned());
        assert_eq!(JobCursor::read(&cursor.write()), Some(cursor));
        for text in [
            "",
            "*",
            "7",
            &URL_SAFE_NO_PAD.encode("1#mobile-1000-9000"),
            &URL_SAFE_NO_PAD.encode("1760000000000#RESYNC"),
        ] {
            assert_eq!(JobCursor::read(text), None, "{text}");
        }
    }
}
