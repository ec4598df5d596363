//! What this process knows of the vendor's lists.

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

/// Of the orders that a list says are in a window, beyond those that a full page showed: no more than so many times these are believed …
const MAX_BELIEVED_FULL: u64 = 10;
/// … and so many times where the page was not full, unless the vendor's pages are smaller than what is asked for.
const MAX_BELIEVED: u64 = 2;
/// A density that was never confirmed by a page that showed its whole window is believed half after so long.
const HALF_BELIEVED_AFTER: Duration = Duration::from_secs(60);
/// An order whose record could not be read or written is left out of plans for so long by this process: it would come first each time,
/// since it is never checked, and others would wait behind it.
const STUCK_FOR: Duration = Duration::from_secs(60);

/// What this process knows of the lists; shared by clones.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    health: Arc<Mutex<HashMap<Product, ListHealth>>>,
    /// Orders whose records could not be read or written, and until when they are left out of plans.
    stuck: Arc<Mutex<HashMap<OrderKey, Timestamp>>>,
}

#[derive(Debug, Default)]
struct ListHealth {
    density: Density,
    /// The last page of a recheck that showed all there is in its window.
    rechecked: Option<Page>,
}

impl Lists {
    fn health(&self) -> MutexGuard<'_, HashMap<Product, ListHealth>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stuck(&self) -> MutexGuard<'_, HashMap<OrderKey, Timestamp>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an order's record could not be read or written.
    pub(super) fn note_stuck(&self, key: &OrderKey, now: Timestamp) {
        let mut stuck = self.stuck();
        stuck.retain(|_, until| *until > now);
        stuck.insert(key.clone(), later(now, STUCK_FOR));
    }

    pub(super) fn is_stuck(&self, key: &OrderKey, now: Timestamp) -> bool {
        self.stuck().get(key).is_some_and(|until| *until > now)
    }

    /// What the planner needs to know of a product's list; `None`: it is not to be asked.
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
            // A poller's orders stay in the window that was chosen for them.
            rechecked: health.and_then(|health| health.rechecked).filter(|_| trigger == Trigger::Recheck),
        })
    }

    pub(super) fn note_rechecked(&self, page: Page) {
        self.health().entry(page.product).or_default().rechecked = Some(page);
    }

    /// Takes in what a page says about how many orders its list holds.
    pub(super) fn answered(&self, page: &Page, shown: usize, total: u64, complete: bool, now: Timestamp) {
        let mut health = self.health();
        let density = &mut health.entry(page.product).or_default().density;
        if !density.learn(page, shown, total, complete, now) {
            tracing::warn!(product = %page.product, shown, total, "a list's total is not about its window");
        }
    }
}

/// How many orders a list holds in a second of creation time. The vendor's totals are believed within bounds only: one that does not
/// depend on the window would make windows narrower and narrower, until no page is worth a call.
#[derive(Clone, Copy, Debug, Default)]
struct Density {
    rows_per_second: f64,
    /// When it was learnt, if no page has confirmed it by showing its whole window.
    guessed_at: Option<Timestamp>,
    /// The most rows that a page of this list has shown.
    fullest: u64,
}

impl Density {
    /// Rows in a second, as believed at `now`.
    fn at(&self, now: Timestamp) -> f64 {
        let Some(guessed_at) = self.guessed_at else { return self.rows_per_second };
        let age = now.duration_since(guessed_at).unsigned_abs().as_secs_f64();
        self.rows_per_second * 0.5_f64.powf(age / HALF_BELIEVED_AFTER.as_secs_f64())
    }

    /// Learns from a page that showed so many rows of `total`; false if the total cannot be about the page's window.
    fn learn(&mut self, page: &Page, shown: usize, total: u64, complete: bool, now: Timestamp) -> bool {
        let rows = shown as u64;
        // A page that is a quarter emptier than others have been had room for all that there is.
        let had_room = !complete && (rows == 0 || rows * 4 < self.fullest * 3);
        let most = if rows >= u64::from(MAX_ROWS) { MAX_BELIEVED_FULL } else { MAX_BELIEVED };
        let (total, is_whole) = match (complete, had_room) {
            (true, _) => (total.min(MAX_ROWS.into()).max(rows), true),
            (false, true) => (rows, true),
            (false, false) => (total.min(rows.saturating_mul(most)), false),
        };
        // A crowded window is believed at once, an empty one slowly: a page that overflows shows too little.
        let before = if had_room { 0.0 } else { self.at(now) * 0.7 };
        self.rows_per_second = page.rows_per_second(shown, total, is_whole).max(before);
        self.guessed_at = (!is_whole).then_some(now);
        // Forgotten little by little: the vendor may make its pages smaller.
        self.fullest = rows.max(self.fullest * 9 / 10);
        !had_room
    }
}

#[cfg(test)]
mod tests;
