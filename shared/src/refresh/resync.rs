//! Resync jobs: walks through a window of a product's list with list checks of the lowest priority, and takes its orders down the path.

use std::collections::HashMap;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::{Check, CheckError, Checked, Counters, Tracker};
use crate::{
    order::{Facts, Order, OrderKey, Phase, Place, TrackedBy, VendorStatus},
    page::{MAX_ROWS, Page},
    permits::Permit,
    rate_limiter::{Class, Verdict},
    resync::{JobState, MAX_FAILING, MAX_WAITING, MIN_FAILURES, Next},
    store::{ResyncJob, StoreError, UnregisteredOrder},
    time::between,
    vendor::{Listing, VendorOrder, is_within},
};

/// Rows of a page that are processed concurrently.
const CONCURRENCY: usize = 8;

/// What a row led to.
#[derive(Default)]
struct RowResult {
    counters: Counters,
    checked: bool,
    skipped: bool,
    changed: bool,
    unregistered: bool,
}

/// What follows a page.
enum Step {
    /// With this state of the job.
    On(Box<ResyncJob>),
    /// The job does not go on in this run: it waits, is done, or was stopped.
    Pause,
    /// No job makes another call in this run.
    NoCalls,
    /// The job has failed.
    Failed,
}

impl Tracker {
    /// Goes on with running jobs, the oldest first, until `stop_at`. A job whose list cannot be read is left to the next run. All jobs are left to
    /// the next run once the vendor refuses or limits the key, once the rate limiter permits no call until `stop_at`, and once a job has failed.
    /// Then the caller counts the failure at once. Adds to `counters`. Two runs at once do no harm: the progress of one of them is dropped.
    ///
    /// # Errors
    /// If the table fails. The next run goes on from the stored position.
    pub async fn run_resyncs(&self, stop_at: Timestamp, counters: &mut Counters) -> Result<(), StoreError> {
        if self.clock.now() >= stop_at {
            return Ok(());
        }
        for job in self.store.running_resyncs().await? {
            let mut step = Step::On(Box::new(job));
            while let Step::On(job) = step {
                if self.clock.now() >= stop_at {
                    return Ok(());
                }
                step = self.resync_page(*job, stop_at, counters).await?;
            }
            counters.failed_resyncs += usize::from(matches!(step, Step::Failed));
            if matches!(step, Step::NoCalls | Step::Failed) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Requests and processes the next page of a job.
    async fn resync_page(
        &self,
        job: ResyncJob,
        stop_at: Timestamp,
        counters: &mut Counters,
    ) -> Result<Step, StoreError> {
        let key = self.vault.secrets().vendor_key.clone();
        let usage = self.permits.fresh_usage(key.fingerprint()).await?;
        // While the key is suspended, nothing is known of the list.
        if usage.suspended_until.is_none() && !usage.may_resync(job.product, self.clock.now()) {
            return self.list_unreadable(job, None).await;
        }
        let permit = match self.permits.acquire(key.fingerprint(), Class::Resync, None).await? {
            Ok(permit) => permit,
            Err(denied) if denied.retry_at >= stop_at => return self.no_call_permitted(job).await,
            Err(denied) => {
                self.clock.wait_until(denied.retry_at).await;
                return Ok(Step::On(Box::new(job)));
            }
        };
        let (page, asked_at) = (job.walk().page(job.product), self.clock.now());
        let answer = self.vendor.list(&key, &page).await;
        *counters += Counters { vendor_calls: 1, ..Counters::default() };
        let before = ResyncJob { calls: job.calls.saturating_add(1), waiting_since: None, ..job.clone() };
        if !self.keep(&job, &before).await? {
            return Ok(Step::Pause);
        }
        match answer {
            Ok(listing) => self.process_listing(before, (&page, asked_at), &permit, listing, counters).await,
            Err(error) => {
                tracing::warn!(job = %job.id, kind = error.name(), %error, "a list check of a resync failed");
                // Otherwise only this window may be at fault: ordinary list checks go on.
                let is_about_key = matches!(error.verdict(), Verdict::Refused(_) | Verdict::Throttled(_));
                if is_about_key {
                    self.list_failed(&permit, job.product, &error).await;
                }
                let step = self.list_unreadable(before, Some(error.to_string())).await?;
                // The next job's call would end so too, and the vendor locks out an address after some refusals.
                Ok(if is_about_key && matches!(step, Step::Pause) { Step::NoCalls } else { step })
            }
        }
    }

    async fn process_listing(
        &self,
        job: ResyncJob,
        (page, asked_at): (&Page, Timestamp),
        permit: &Permit,
        listing: Listing,
        counters: &mut Counters,
    ) -> Result<Step, StoreError> {
        self.learn(permit, None).await;
        let Listing { rows, whole, total, outside, odd, left_out, .. } = listing;
        if odd.count() > 0 {
            tracing::warn!(job = %job.id, odd_fields = odd.count(), fields = %odd, "the vendor's list has odd fields");
        }
        counters.odd_fields += odd.count();
        // A single order can have an odd creation time.
        if outside > 1 && outside * 2 > rows.len() {
            return self.fail(job, "the vendor's list ignores the time window").await;
        }
        let shown = rows.len().saturating_add(left_out);
        tracing::info!(job = %job.id, from = %page.from, to = %page.to, shown, total, whole, "checked a page of a resync");
        let mut after = ResyncJob { failing_since: None, failures: 0, last_failure: None, ..job.clone() };
        if whole {
            after.skipped += u64::try_from(left_out).unwrap_or(u64::MAX);
            self.process_rows((&job, page), rows, asked_at, &mut after, counters).await?;
        }
        let shown = u64::try_from(shown).unwrap_or(u64::MAX);
        match job.walk().after(page, shown, total, whole) {
            Next::Walk(walk) => {
                after.move_to(walk);
                after.updated_at = self.clock.now();
                let is_kept = self.keep(&job, &after).await?;
                Ok(if is_kept { Step::On(Box::new(after)) } else { Step::Pause })
            }
            Next::Done(walk) => {
                after.move_to(walk);
                self.walked(job, after).await
            }
            Next::Stuck if shown < u64::from(MAX_ROWS) => {
                self.fail(job, "the vendor's list says that there are more orders than it shows").await
            }
            Next::Stuck => {
                self.fail(job, "more orders than a page holds were created within a second or two").await
            }
        }
    }

    /// Ends a job that has walked its whole window: done, or failed if rows were skipped.
    async fn walked(&self, before: ResyncJob, after: ResyncJob) -> Result<Step, StoreError> {
        let now = self.clock.now();
        let is_done = after.skipped == 0;
        let why = "some orders of the list could not be used: `skipped` counts them";
        let after = ResyncJob {
            state: if is_done { JobState::Done } else { JobState::Failed },
            why: (!is_done).then(|| why.to_owned()),
            updated_at: now,
            ended_at: Some(now),
            ..after
        };
        let is_kept = self.keep(&before, &after).await?;
        Ok(if is_kept && !is_done { Step::Failed } else { Step::Pause })
    }

    /// Processes the rows of a whole page. A row whose result cannot be stored is logged and counted as skipped.
    async fn process_rows(
        &self,
        (job, page): (&ResyncJob, &Page),
        rows: Vec<VendorOrder>,
        asked_at: Timestamp,
        after: &mut ResyncJob,
        counters: &mut Counters,
    ) -> Result<(), StoreError> {
        let key = |row: &VendorOrder| OrderKey { product: job.product, id: row.id.clone() };
        let keys: Vec<OrderKey> = rows.iter().map(key).collect();
        let known = self.store.load_many(&keys).await?;
        let mut known: HashMap<OrderKey, Order> =
            known.into_iter().map(|order| (order.key.clone(), order)).collect();
        let rows: Vec<_> =
            keys.into_iter().zip(rows).map(|(key, row)| (known.remove(&key), key, row)).collect();
        let mut results = stream::iter(rows)
            .map(|(order, key, row)| self.resync_row((job, page), order, key, row, asked_at))
            .buffer_unordered(CONCURRENCY);
        while let Some(result) = results.next().await {
            let result = match result {
                Ok(result) => result,
                Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(job = %job.id, %error, "a row of a resync could not be processed");
                    RowResult { skipped: true, ..RowResult::default() }
                }
            };
            *counters += result.counters;
            after.checked += u64::from(result.checked);
            after.skipped += u64::from(result.skipped);
            after.changed += u64::from(result.changed);
            after.unregistered += u64::from(result.unregistered);
        }
        Ok(())
    }

    /// Takes one row down the path, if its order is registered; else lists it or registers it.
    async fn resync_row(
        &self,
        (job, page): (&ResyncJob, &Page),
        order: Option<Order>,
        key: OrderKey,
        row: VendorOrder,
        asked_at: Timestamp,
    ) -> Result<RowResult, StoreError> {
        // The batch may lag behind the table.
        let known = match order {
            Some(order) => Some(order),
            None => self.store.load(&key).await?,
        };
        let (order, is_new) = match known {
            Some(order) if job.track && order.tracked_at >= job.started_at => {
                let is_new = self.store.was_unregistered(job, &order.key.id).await?;
                (order, is_new)
            }
            Some(order) => (order, false),
            None if !is_within(page, &row) => {
                tracing::warn!(job = %job.id, order = %key, "a row of a resync was created outside of its window");
                return Ok(RowResult { skipped: true, ..RowResult::default() });
            }
            None => {
                let is_new = self.store.keep_unregistered(job, &unregistered(&row)).await?;
                if !job.track {
                    return Ok(RowResult { unregistered: is_new, ..RowResult::default() });
                }
                (self.track(&key, None, TrackedBy::Put).await?.1, is_new)
            }
        };
        if !is_new && !can_change(&order, &row) {
            return Ok(RowResult { checked: true, ..RowResult::default() });
        }
        let seq = if is_new { 0 } else { order.seq };
        let (observation, check) = match self.observe(&order, row, Place::List).await {
            Ok(observation) => (observation, Check::Answered),
            Err(error) => failed(&key, error),
        };
        let refreshed = self.finish(Checked::made(order, asked_at, observation, check)).await?;
        let skipped = matches!(refreshed.check, Check::Failed(_));
        let changed = refreshed.order.seq != seq;
        let counters = refreshed.counters;
        Ok(RowResult { counters, checked: !skipped, skipped, changed, unregistered: is_new })
    }

    /// Notes that the list of a job cannot be read now: a call failed, or (`None`) the list is turned off. After [`MAX_FAILING`] and
    /// [`MIN_FAILURES`] the job fails.
    async fn list_unreadable(&self, job: ResyncJob, failure: Option<String>) -> Result<Step, StoreError> {
        let now = self.clock.now();
        let since = job.failing_since.unwrap_or(now);
        let failures = job.failures.saturating_add(1);
        let last_failure = failure.or(job.last_failure.clone());
        if failures >= MIN_FAILURES && between(since, now) >= MAX_FAILING {
            let last = last_failure.as_deref().unwrap_or("it is turned off after failures of other calls");
            let why = format!("the vendor's list could not be read for an hour; at last: {last}");
            return self.fail(job, &why).await;
        }
        let after = ResyncJob { failing_since: Some(since), failures, last_failure, ..job.clone() };
        self.keep(&job, &after).await?;
        Ok(Step::Pause)
    }

    /// Notes that the rate limiter permits a job no call in this run. After [`MAX_WAITING`] the job fails.
    async fn no_call_permitted(&self, job: ResyncJob) -> Result<Step, StoreError> {
        let now = self.clock.now();
        match job.waiting_since {
            Some(since) if between(since, now) >= MAX_WAITING => {
                self.fail(job, "the rate limiter permitted no call for a day").await
            }
            Some(_) => Ok(Step::NoCalls),
            None => {
                let after = ResyncJob { waiting_since: Some(now), ..job.clone() };
                self.keep(&job, &after).await?;
                Ok(Step::NoCalls)
            }
        }
    }

    async fn fail(&self, job: ResyncJob, why: &str) -> Result<Step, StoreError> {
        let now = self.clock.now();
        let after = ResyncJob {
            state: JobState::Failed,
            why: Some(why.to_owned()),
            updated_at: now,
            ended_at: Some(now),
            ..job.clone()
        };
        Ok(if self.keep(&job, &after).await? { Step::Failed } else { Step::Pause })
    }

    /// Stores progress; false: a person stopped the job, or another run has gone on with it.
    async fn keep(&self, before: &ResyncJob, after: &ResyncJob) -> Result<bool, StoreError> {
        let is_kept = self.store.keep_resync(before, after).await?;
        match after.state {
            _ if !is_kept => {
                tracing::info!(job = %before.id, "a resync was stopped, or another run has gone on with it")
            }
            JobState::Running | JobState::Stopped => {}
            JobState::Done => tracing::info!(job = %before.id, "a resync is done"),
            JobState::Failed => tracing::error!(job = %before.id, why = after.why, "a resync failed"),
        }
        Ok(is_kept)
    }
}

/// Whether a row can change a registered order: always unless it is final. A row that states another status than a final order counts only if
/// that is the other outcome: the row can be older than the outcome. With the same status, it can bring a missing card or another order's id.
fn can_change(order: &Order, row: &VendorOrder) -> bool {
    if order.redacted_at.is_some() {
        return false;
    }
    let Phase::Final { .. } = order.phase else { return true };
    let (ours, theirs) = (&order.facts, &row.facts);
    if theirs.status != ours.status {
        return matches!(theirs.status, Some(VendorStatus::Fulfilled | VendorStatus::Refunded));
    }
    let links = |facts: &Facts| (facts.retry_order_id.clone(), facts.follow_order_id.clone());
    let names_link = theirs.retry_order_id.is_some() || theirs.follow_order_id.is_some();
    order.awaits_card() || (names_link && links(theirs) != links(ours))
}

fn failed(key: &OrderKey, error: CheckError) -> (crate::order::Observation, Check) {
    tracing::warn!(order = %key, kind = error.name(), %error, "a row of a resync could not be processed");
    (error.observation(), Check::Failed(error))
}

/// What is stored of an order that nobody registered: no number, no ref.
fn unregistered(row: &VendorOrder) -> UnregisteredOrder {
    UnregisteredOrder {
        id: row.id.clone(),
        status: row.facts.status.as_ref().map(|status| status.as_str().to_owned()),
        amount: row.facts.topup_amount.as_ref().map(|amount| amount.as_str().to_owned()),
        created_at: row.facts.created_at.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Outcome, Product, Schedule};

    fn facts(status: VendorStatus) -> Facts {
        Facts { status: Some(status), ..Facts::default() }
    }

    #[test]
    fn a_row_can_change_a_final_order_only_by_what_is_acted_upon() {
        let key = OrderKey { product: Product::Mobile, id: "a1".parse().unwrap() };
        let now = Timestamp::UNIX_EPOCH;
        let (tracked, _) = Order::track(key, None, TrackedBy::Put, now, &Schedule::default());
        let phase = Phase::Final { outcome: Outcome::Fulfilled };
        let ended = Order { phase, facts: facts(VendorStatus::Fulfilled), ..tracked.clone() };
        let redacted = Order { redacted_at: Some(now), ..ended.clone() };
        for (order, status, expected) in [
            (&tracked, VendorStatus::Pending, true),
            (&ended, VendorStatus::Fulfilled, false),
            (&ended, VendorStatus::Refunded, true),
            (&redacted, VendorStatus::Refunded, false),
        ] {
            let row = VendorOrder { id: order.key.id.clone(), facts: facts(status.clone()), card_code: None };
            assert_eq!(can_change(order, &row), expected, "{:?} {status:?}", order.phase);
        }
        let phase = Phase::Final { outcome: Outcome::Refunded };
        let refunded = Order { phase, facts: facts(VendorStatus::Refunded), ..tracked };
        let linked = |status, retry: Option<&str>, follow: Option<&str>| {
            let [retry_order_id, follow_order_id] = [retry, follow].map(|id| id.map(str::to_owned));
            let facts = Facts { retry_order_id, follow_order_id, ..facts(status) };
            VendorOrder { id: refunded.key.id.clone(), facts, card_code: None }
        };
        let row = linked(VendorStatus::Refunded, Some("a2"), None);
        let known = Order { facts: row.facts.clone(), ..refunded.clone() };
        assert!(can_change(&refunded, &row) && !can_change(&known, &row));
        assert!(can_change(&refunded, &linked(VendorStatus::Refunded, None, Some("a3"))));
        assert!(!can_change(&known, &linked(VendorStatus::Refunded, None, None)), "an older row");
        // Texts that the vendor's pages name for lists, and a row from before the outcome.
        for status in ["SUCCESS", "FAILED", "HANDLING", "UNKNOWN_ERROR"] {
            assert!(!can_change(&refunded, &linked(status.to_owned().into(), None, None)), "{status}");
            assert!(!can_change(&refunded, &linked(status.to_owned().into(), Some("a2"), None)), "{status}");
        }
        let key = OrderKey { product: Product::Internet, ..refunded.key.clone() };
        let phase = Phase::Final { outcome: Outcome::Fulfilled };
        let facts = facts(VendorStatus::Fulfilled);
        let no_card = Order { key, phase, facts, ..refunded.clone() };
        assert!(can_change(&no_card, &linked(VendorStatus::Fulfilled, None, None)));
        assert!(!can_change(&no_card, &linked(VendorStatus::Handling, None, None)), "an older row");
    }
}
