//! One list check: requests a page of a creation-time window, and processes the orders it shows.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::{BatchOutcome, Check, Checked, Counters, Lists, Permitted, Refreshed, Tracker};
use crate::{
    order::{Observation, Order, OrderKey, Phase, Place, Product, Trigger},
    page::Page,
    permits::Permit,
    rate_limiter::{ListTrouble, Verdict},
    vendor::{Listing, VendorError, VendorOrder},
};

/// Rows of a page that are processed concurrently.
const CONCURRENCY: usize = 8;

/// A list check and its plan.
pub(super) struct PageCheck<'a> {
    pub(super) lists: &'a Lists,
    pub(super) page: &'a Page,
    /// The orders that the page should show.
    pub(super) about: HashSet<&'a OrderKey>,
    /// All orders that await a check.
    pub(super) orders: &'a [Order],
    pub(super) trigger: Trigger,
    /// The plan's score, for the log line.
    pub(super) worth: f64,
}

/// An order and its row on the page; `None`: the page should show it and does not.
type Row = (Order, Option<VendorOrder>);

impl Tracker {
    pub(super) async fn check_page(
        &self,
        check: &PageCheck<'_>,
        Permitted { key, permit }: Permitted<'_>,
    ) -> BatchOutcome {
        let asked_at = self.clock.now();
        let product = check.page.product;
        let listing = match self.vendor.list(key, check.page).await {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(%product, trigger = ?check.trigger, kind = error.name(), %error, "a list check failed");
                self.list_failed(permit, product, &error).await;
                return BatchOutcome::Failed(error.into());
            }
        };
        self.learn(permit, None).await;
        self.note_health(check, permit, &listing, asked_at).await;
        let (odd_fields, complete) = (listing.odd.count(), listing.complete);
        let rows = self.rows(check, listing).await;
        let orders: Vec<Refreshed> = stream::iter(rows)
            .map(|row| self.process_row(check.lists, row, asked_at))
            .buffer_unordered(CONCURRENCY)
            .filter_map(async |refreshed| refreshed)
            .collect()
            .await;
        if !complete {
            self.forget_page(permit).await;
        }
        let call = Counters { vendor_calls: 1, odd_fields, ..Counters::default() };
        BatchOutcome::Made { orders, call }
    }

    /// Records what a response says about the list: its density, and whether the list is usable.
    async fn note_health(
        &self,
        check: &PageCheck<'_>,
        permit: &Permit,
        listing: &Listing,
        asked_at: Timestamp,
    ) {
        let page = check.page;
        let product = page.product;
        let Listing { rows, complete, total, outside, odd, .. } = listing;
        if odd.count() > 0 {
            tracing::warn!(%product, odd_fields = odd.count(), fields = %odd, "the vendor's list has odd fields");
        }
        check.lists.answered(page, rows.len(), *total, *complete, asked_at);
        if check.trigger == Trigger::Recheck && *complete {
            check.lists.note_rechecked(*page);
        }
        self.note_filter(permit, product, *outside).await;
    }

    /// Records whether the list keeps to its window; `outside`: rows that were created outside of it.
    async fn note_filter(&self, permit: &Permit, product: Product, outside: usize) {
        if outside > 0 {
            let noted = self.permits.distrust_list(permit.key(), product, ListTrouble::FilterIgnored).await;
            self.publish_noted(permit.key(), noted).await;
        } else if let Err(error) = self.permits.trust_list(permit.key(), product).await {
            tracing::warn!(%product, %error, "the recovery of a list could not be stored");
        }
    }

    /// The orders that the page shows, and those that it should show and does not. Orders whose status changed come
    /// first, since customers wait for them.
    async fn rows(&self, check: &PageCheck<'_>, listing: Listing) -> Vec<Row> {
        let Listing { rows, complete, total, outside, request_id, .. } = listing;
        let product = check.page.product;
        let shown = rows.len();
        let mut by_key: HashMap<OrderKey, VendorOrder> =
            rows.into_iter().map(|row| (OrderKey { product, id: row.id.clone() }, row)).collect();
        let mut found: Vec<Row> = Vec::new();
        for order in check.orders.iter().filter(|order| order.key.product == product) {
            match by_key.remove(&order.key) {
                Some(row) => found.push((order.clone(), Some(row))),
                None if complete && outside == 0 && check.about.contains(&order.key) => {
                    found.push((order.clone(), None));
                }
                None => {}
            }
        }
        if check.trigger == Trigger::Recheck {
            found.extend(self.others_on_page(product, by_key).await);
        }
        found.sort_by_key(|(order, row)| {
            row.as_ref().is_none_or(|row| row.facts.status == order.facts.status)
        });
        tracing::info!(
            %product, trigger = ?check.trigger, from = %check.page.from, to = %check.page.to, worth = check.worth,
            about = check.about.len(), shown, total, ours = found.len(), request_id, "checked a page"
        );
        found
    }

    /// Other parked orders that the page shows. Final orders are left out: they cannot change.
    async fn others_on_page(&self, product: Product, mut by_key: HashMap<OrderKey, VendorOrder>) -> Vec<Row> {
        let keys: Vec<OrderKey> = by_key.keys().cloned().collect();
        let others = self.store.load_many(&keys).await.unwrap_or_else(|error| {
            tracing::warn!(%product, %error, "other orders of a page could not be read and are skipped");
            Vec::new()
        });
        let parked = others.into_iter().filter(|order| matches!(order.phase, Phase::Parked { .. }));
        parked.filter_map(|order| by_key.remove(&order.key).map(|row| (order, Some(row)))).collect()
    }

    /// Takes one order of a page down the rest of the path. A failure does not affect the other orders.
    async fn process_row(&self, lists: &Lists, (order, row): Row, asked_at: Timestamp) -> Option<Refreshed> {
        let (observation, check) = match row {
            None => (Observation::NotListed, Check::Answered),
            Some(row) => match self.observe(&order, row, Place::List).await {
                Ok(observation) => (observation, Check::Answered),
                Err(error) => {
                    tracing::warn!(order = %order.key, kind = error.name(), %error, "a row of a list could not be processed");
                    (error.observation(), Check::Failed(error))
                }
            },
        };
        let key = order.key.clone();
        let (status, unlisted) = (order.facts.status.clone(), order.unlisted);
        match self.finish(Checked::made(order, asked_at, observation, check)).await {
            Ok(after) => {
                if after.order.facts.status != status || after.order.unlisted != unlisted {
                    let status = after.order.facts.status.as_ref().map(|status| status.as_str());
                    tracing::info!(order = %key, status, unlisted = after.order.unlisted, "checked");
                }
                Some(after)
            }
            Err(error) => {
                tracing::error!(order = %key, %error, "a row of a list could not be stored");
                lists.note_stuck(&key, self.clock.now());
                None
            }
        }
    }

    /// Records a failed list check. The error counts for the list only, not for the key, so single checks go on.
    pub(in crate::refresh) async fn list_failed(
        &self,
        permit: &Permit,
        product: Product,
        error: &VendorError,
    ) {
        let verdict = error.verdict();
        if matches!(verdict, Verdict::Refused(_)) {
            // The key itself may be refused, and may have been replaced.
            self.vault.read_again(self.clock.now()).await;
        }
        let noted = self.permits.list_failed(permit, product, &verdict).await;
        self.publish_noted(permit.key(), noted).await;
        self.forget_page(permit).await;
    }

    /// Removes the page from the record, so that orders it did not show are planned again at once.
    async fn forget_page(&self, permit: &Permit) {
        if let Err(error) = self.permits.forget_page(permit).await {
            tracing::warn!(%error, "a page could not be removed from the record; its missing orders are planned some seconds later");
        }
    }
}
