//! What this process has learnt about the vendor's lists.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    order::{OrderKey, Product, Trigger},
    page::{MAX_ROWS, Page},
    planner::List,
    rate_limiter::Usage,
    time::later,
};

/// Upper bound of a believed total, as a multiple of the rows shown: for a full page …
const MAX_BELIEVED_FULL: u64 = 10;
/// … and for a page that is not full, unless the vendor's pages are smaller than requested.
const MAX_BELIEVED: u64 = 2;
/// Half-life of a density that no page has confirmed by showing its whole window.
const HALF_BELIEVED_AFTER: Duration = Duration::from_secs(60);
/// How long this process leaves an order out of plans after its record could not be read or written. It is never
/// checked successfully, so it would come first in every plan and block the others.
const STUCK_FOR: Duration = Duration::from_secs(60);

/// What this process has learnt about the lists. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    health: Arc<Mutex<HashMap<Product, ListHealth>>>,
    /// Orders whose records could not be read or written, with the time until which plans leave them out.
    stuck: Arc<Mutex<HashMap<OrderKey, Timestamp>>>,
}

#[derive(Debug, Default)]
struct ListHealth {
    density: Density,
    /// The last page of a recheck that showed its whole window.
    rechecked: Option<Page>,
}

impl Lists {
    fn health(&self) -> MutexGuard<'_, HashMap<Product, ListHealth>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stuck(&self) -> MutexGuard<'_, HashMap<OrderKey, Timestamp>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that an order's record could not be read or written.
    pub(super) fn note_stuck(&self, key: &OrderKey, now: Timestamp) {
        let mut stuck = self.stuck();
        stuck.retain(|_, until| *until > now);
        stuck.insert(key.clone(), later(now, STUCK_FOR));
    }

    pub(super) fn is_stuck(&self, key: &OrderKey, now: Timestamp) -> bool {
        self.stuck().get(key).is_some_and(|until| *until > now)
    }

    /// The planner's input for a product's list; `None`: the list must not be requested.
    pub(super) fn list(
        &self,
        product: Product,
        trigger: Trigger,
        usage: &Usage,
        now: Timestamp,
    ) -> Option<List> {
        let health = self.health();
        let health = health.get(&product);
        usage.may_ask_list(product, now).then(|| List {
            rows_per_second: health.map_or(0.0, |health| health.density.at(now)),
            // A poller's plan does not continue from the recheck's last page.
            rechecked: health.and_then(|health| health.rechecked).filter(|_| trigger == Trigger::Recheck),
        })
    }

    pub(super) fn note_rechecked(&self, page: Page) {
        self.health().entry(page.product).or_default().rechecked = Some(page);
    }

    /// Updates a list's density from a page.
    pub(super) fn answered(&self, page: &Page, shown: usize, total: u64, complete: bool, now: Timestamp) {
        let mut health = self.health();
        let density = &mut health.entry(page.product).or_default().density;
        if !density.learn(page, shown, total, complete, now) {
            tracing::warn!(product = %page.product, shown, total, "a list's total does not match its window");
        }
    }
}

/// Orders per second of creation time in a list. The vendor's totals are believed within bounds only: a total that
/// ignores the window would make windows ever narrower, until no page is worth a call.
#[derive(Clone, Copy, Debug, Default)]
struct Density {
    rows_per_second: f64,
    /// When it was estimated; `None`: a page that showed its whole window confirmed it.
    guessed_at: Option<Timestamp>,
    /// The most rows that a page of this list has shown; decays slowly.
    fullest: u64,
}

impl Density {
    /// Estimated rows per second at `now`.
    fn at(&self, now: Timestamp) -> f64 {
        let Some(guessed_at) = self.guessed_at else { return self.rows_per_second };
        let age = now.duration_since(guessed_at).unsigned_abs().as_secs_f64();
        self.rows_per_second * 0.5_f64.powf(age / HALF_BELIEVED_AFTER.as_secs_f64())
    }

    /// Learns from a page with `shown` rows of `total`. False if the total cannot belong to the page's window.
    fn learn(&mut self, page: &Page, shown: usize, total: u64, complete: bool, now: Timestamp) -> bool {
        let rows = shown as u64;
        // A page with less than three quarters of the rows of the fullest page had room for more.
        let had_room = !complete && (rows == 0 || rows * 4 < self.fullest * 3);
        let max_factor = if rows >= u64::from(MAX_ROWS) { MAX_BELIEVED_FULL } else { MAX_BELIEVED };
        let (total, is_whole) = match (complete, had_room) {
            (true, _) => (total.min(MAX_ROWS.into()).max(rows), true),
            (false, true) => (rows, true),
            (false, false) => (total.min(rows.saturating_mul(max_factor)), false),
        };
        // A higher density is taken over at once, a lower one slowly: a page that overflows shows too little.
        let before = if had_room { 0.0 } else { self.at(now) * 0.7 };
        self.rows_per_second = page.rows_per_second(shown, total, is_whole).max(before);
        self.guessed_at = (!is_whole).then_some(now);
        // Decays: the vendor may make its pages smaller.
        self.fullest = rows.max(self.fullest * 9 / 10);
        !had_room
    }
}

#[cfg(test)]
mod tests;
