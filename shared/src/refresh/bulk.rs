//! One call for everybody: whoever has leave plans over all orders that await a look, makes the call that is worth most, and takes every
//! order that it shows down the rest of the path.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, future::try_join, stream};
use jiff::Timestamp;

use super::{Look, LookError, News, Refreshed, Tracker};
use crate::{
    admission::{Admitted, Chosen, Class, Closed, ListTrouble, Usage, Verdict, still_under_way},
    order::{Order, OrderKey, Phase, Product, Saw, Trigger},
    planner::{Call, Chances, List, MOST_ROWS, Page, Planned, Waiting, plan},
    secret::VendorKey,
    store::{Learnt, StoreError},
    time::{between, later},
    vendor::{Listing, ShownOrder, VendorError},
};

/// What was learnt is read again after so long.
const LEARNT_FOR: Duration = Duration::from_secs(60);
/// Of the orders that a list says are in a window, beyond those that a full page showed: no more than so many times these are believed …
const MAX_BELIEVED_FULL: u64 = 10;
/// … and so many times where the page was not full, unless the vendor's pages are smaller than what is asked for.
const MAX_BELIEVED: u64 = 2;
/// A density that was never confirmed by a page that showed its whole window is believed half after so long.
const HALF_BELIEVED_AFTER: Duration = Duration::from_secs(60);
/// A poller's page shows so many orders along with its own that are the sweep's to look at: what it shows, the sweep need not ask for.
const MOST_DUE: usize = 150;
/// An order whose record could not be read or written is left out of plans for so long by this process: it would come first each time,
/// since it is never looked at, and others would wait behind it.
const STUCK_FOR: Duration = Duration::from_secs(60);
/// After so many such orders, one after the other, a tick leaves planning to the next.
const MAX_STUCK: usize = 3;
/// Rows of a page that are seen to at once.
const AT_ONCE: usize = 8;

/// What this process knows of the lists; shared by clones.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    known: Arc<Mutex<HashMap<Product, Known>>>,
    /// Orders whose records could not be read or written, and until when they are left out of plans.
    stuck: Arc<Mutex<HashMap<OrderKey, Timestamp>>>,
}

#[derive(Debug, Default)]
struct Known {
    learnt: Option<(Learnt, Timestamp)>,
    density: Density,
    /// The last page of a sweep that showed all there is in its window.
    swept: Option<Page>,
}

/// What came of one call for everybody.
#[derive(Debug)]
pub enum Round {
    /// The call was made, and these orders were seen to.
    Made(Vec<Refreshed>),
    /// A page was asked for, and nothing came.
    Failed(LookError),
    /// No leave to call before then.
    NotAdmitted {
        /// The first moment at which trying again is of use.
        until: Timestamp,
        /// Why.
        why: Closed,
    },
    /// The call was to be about this order alone, and its record could not be read or written. That is its own trouble, not that of the
    /// others who wait.
    Stuck(OrderKey, StoreError),
    /// Everything was just looked at.
    NotWorthIt,
}

impl Lists {
    fn known(&self) -> MutexGuard<'_, HashMap<Product, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stuck(&self) -> MutexGuard<'_, HashMap<OrderKey, Timestamp>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an order's record could not be read or written.
    fn note_stuck(&self, key: &OrderKey, now: Timestamp) {
        let mut stuck = self.stuck();
        stuck.retain(|_, until| *until > now);
        stuck.insert(key.clone(), later(now, STUCK_FOR));
    }

    fn is_stuck(&self, key: &OrderKey, now: Timestamp) -> bool {
        self.stuck().get(key).is_some_and(|until| *until > now)
    }

    fn list(&self, product: Product, usage: &Usage, now: Timestamp) -> List {
        let rows_per_second = self.known().get(&product).map_or(0.0, |known| known.density.at(now));
        List { usable: usage.may_ask_list(product, now), rows_per_second }
    }

    fn swept(&self, product: Product) -> Option<Page> {
        self.known().get(&product).and_then(|known| known.swept)
    }

    /// Takes in what a page says about how many orders its list holds.
    fn answered(&self, page: &Page, shown: usize, total: u64, complete: bool, now: Timestamp) {
        let mut known = self.known();
        let density = &mut known.entry(page.product).or_default().density;
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
        let most = if rows >= u64::from(MOST_ROWS) { MAX_BELIEVED_FULL } else { MAX_BELIEVED };
        let (total, is_whole) = match (complete, had_room) {
            (true, _) => (total.min(MOST_ROWS.into()).max(rows), true),
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

impl Tracker {
    /// A tick of the wait loop: walks the path for one order, and where calls are scarce, makes the call that is worth most to everybody
    /// in flight. `None` if the order is not tracked. (Apart from [`Tracker::refresh`], so that the function that answers status requests
    /// carries none of it.)
    ///
    /// # Errors
    /// If the table fails. A vendor that fails is no error.
    pub async fn poll(&self, key: &OrderKey) -> Result<Option<Refreshed>, StoreError> {
        let Some(order) = self.store.load(key).await? else { return Ok(None) };
        let now = self.clock.now();
        if let Some(lists) = &self.lists
            && order.wants_look(Trigger::Poller, now, &self.schedule)
        {
            let key = self.vault.secrets().vendor_key.fingerprint().clone();
            let closed = || self.admission.closed(&key, Class::Poller).is_some();
            // Others may have used the key since this process last heard of it.
            if !closed() && self.admission.is_busy(&self.admission.fresh_usage(&key).await?) && !closed() {
                return self.look_for_everybody(lists, order, now).await.map(Some);
            }
        }
        self.walk(order, Trigger::Poller).await.map(Some)
    }

    /// A poller's look, when calls are scarce: the best call over all orders in flight. Answers what became of `order`.
    pub(super) async fn look_for_everybody(
        &self,
        lists: &Lists,
        order: Order,
        now: Timestamp,
    ) -> Result<Refreshed, StoreError> {
        let key = order.key.clone();
        if lists.is_stuck(&key, now) {
            // Its own trouble: it is looked at by itself.
            return self.walk(order, Trigger::Poller).await;
        }
        let mut orders = match self.others(&key, now).await {
            Ok(orders) => orders,
            Err(error) => {
                tracing::warn!(order = %key, %error, "who else waits is not known: one order is looked at by itself");
                return self.walk(order, Trigger::Poller).await;
            }
        };
        orders.push(order);
        let vendor_key = self.vault.secrets().vendor_key.fingerprint().clone();
        let mut round = self.look_at_best(lists, &orders, Trigger::Poller).await?;
        for _ in 0..MAX_STUCK {
            let Round::Stuck(stuck, error) = &round else { break };
            if *stuck == key {
                break;
            }
            tracing::error!(order = %stuck, %error, "another order could not be seen to");
            round = self.look_at_best(lists, &orders, Trigger::Poller).await?;
        }
        let Some(order) = orders.pop() else { return Err(super::vanished(&key)) };
        match round {
            Round::Stuck(stuck, error) if stuck == key => Err(error),
            Round::Stuck(stuck, error) => {
                tracing::error!(order = %stuck, %error, "another order could not be seen to");
                self.time_passed(order, now).await
            }
            Round::Made(all) => {
                let (announced, news) = all.iter().fold((0, News::default()), |(announced, news), one| {
                    (announced + one.announced, news.and(one.news))
                });
                let own = all.into_iter().find(|one| one.order.key == key);
                match own {
                    Some(own) => Ok(Refreshed { announced, news, ..own }),
                    None => {
                        let own = self.time_passed(order, now).await?;
                        Ok(Refreshed {
                            announced: own.announced + announced,
                            news: news.and(own.news),
                            ..own
                        })
                    }
                }
            }
            Round::NotAdmitted { until, why } => {
                let look = self.not_admitted(&vendor_key, until, why).await;
                self.settled(order, now, Saw::NotAsked, look, 0).await
            }
            Round::Failed(error) => {
                let mut own = self.time_passed(order, now).await?;
                own.news.failed(&error);
                Ok(own)
            }
            // Somebody is just asking for it: it comes back when the ladder says so, and not at once.
            Round::NotWorthIt => {
                let look = Look::NotMade;
                Ok(Refreshed {
                    order: Order { asked_at: Some(now), ..order },
                    look,
                    announced: 0,
                    news: News::default(),
                    unpublished_since: None,
                })
            }
        }
    }

    /// All orders in flight, and some that are due, but this one.
    async fn others(&self, key: &OrderKey, now: Timestamp) -> Result<Vec<Order>, StoreError> {
        let (mut keys, due) = try_join(self.store.in_flight(now), self.store.due(now, MOST_DUE)).await?;
        keys.extend(due.keys);
        keys.retain(|other| other != key);
        self.store.load_many(&keys).await
    }

    /// The call was another order's: this one waits for the next.
    async fn time_passed(&self, order: Order, now: Timestamp) -> Result<Refreshed, StoreError> {
        let key = self.vault.secrets().vendor_key.fingerprint().clone();
        let next = self.admission.closed(&key, Class::Poller);
        let (until, why) = next.unwrap_or((self.clock.now(), Closed::Rate));
        self.settled(order, now, Saw::NotAsked, Look::NotAdmitted { until, why }, 0).await
    }

    /// There was no call for this order: deadline and overdue count all the same.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn pass_time(&self, order: Order, now: Timestamp) -> Result<Refreshed, StoreError> {
        self.settled(order, now, Saw::NotAsked, Look::NotMade, 0).await
    }

    /// Nobody looks at an order that was only to be looked at along with others: it is due again later if a page might have been
    /// `worth_it`, and else when it is its own turn, since windows are over creation times and those do not change.
    ///
    /// # Errors
    /// If the table fails.
    pub async fn put_off_free_look(
        &self,
        order: &Order,
        now: Timestamp,
        worth_it: bool,
    ) -> Result<(), StoreError> {
        self.store.put_off(order, self.schedule.due_without_free_look(order, now, worth_it)).await
    }

    /// Makes the one call that is worth most to `orders`, if there is leave for it.
    ///
    /// # Errors
    /// If there is no telling whether there is leave. Neither a vendor that fails nor an order whose record cannot be read or written is
    /// one: see [`Round::Stuck`].
    pub async fn look_at_best(
        &self,
        lists: &Lists,
        orders: &[Order],
        trigger: Trigger,
    ) -> Result<Round, StoreError> {
        let now = self.clock.now();
        let mobile = self.learnt_or_documented(lists, Product::Mobile).await;
        let internet = self.learnt_or_documented(lists, Product::Internet).await;
        let waiting: Vec<Waiting> = orders
            .iter()
            .filter(|order| !lists.is_stuck(&order.key, now))
            .filter_map(|order| {
                let chances = if order.key.product == Product::Mobile { &mobile } else { &internet };
                let waiting = Waiting::of(order, chances, now, &self.schedule)?;
                let along = trigger == Trigger::Poller && !waiting.in_flight;
                Some(if along { waiting.along_with_others() } else { waiting })
            })
            .collect();
        let vendor_key = self.vault.secrets().vendor_key.clone();
        let choose = |usage: &Usage, now: Timestamp| {
            let under_way = still_under_way(&usage.pages, now);
            let list = |product| lists.list(product, usage, now);
            let mut planned = plan(&waiting, &under_way, list, now)?;
            if let (Call::Page(page), Trigger::Recheck) = (&planned.call, trigger) {
                let product = page.product;
                let rows_per_second = list(product).rows_per_second;
                planned = planned.filled(rows_per_second, lists.swept(product), &waiting, now);
            }
            let page = match &planned.call {
                Call::Page(page) => Some(*page),
                Call::Single(_) => None,
            };
            Some((planned, page))
        };
        let chosen = self.admission.admit_for(vendor_key.fingerprint(), trigger.into(), choose).await?;
        let (admitted, planned) = match chosen {
            Chosen::Given(admitted, planned) => (admitted, planned),
            Chosen::Refused { until, why } => return Ok(Round::NotAdmitted { until, why }),
            Chosen::NotWorthIt => return Ok(Round::NotWorthIt),
        };
        match &planned.call {
            Call::Single(key) => {
                let Some(order) = orders.iter().find(|order| order.key == *key).cloned() else {
                    return Ok(Round::NotWorthIt);
                };
                Ok(match self.look_at_one(order, trigger, &vendor_key, &admitted).await {
                    Ok(Refreshed { look: Look::NotAdmitted { until, why }, .. }) => {
                        Round::NotAdmitted { until, why }
                    }
                    Ok(one) => Round::Made(vec![one]),
                    Err(error) => {
                        lists.note_stuck(key, self.clock.now());
                        Round::Stuck(key.clone(), error)
                    }
                })
            }
            Call::Page(page) => {
                let about: HashSet<&OrderKey> =
                    planned.covers.iter().filter_map(|index| Some(&waiting.get(*index)?.key)).collect();
                Ok(self.page(lists, page, &about, orders, trigger, (&vendor_key, &admitted), &planned).await)
            }
        }
    }

    /// Claims one order and looks at it. An admission that no call is made for is given back.
    async fn look_at_one(
        &self,
        order: Order,
        trigger: Trigger,
        vendor_key: &VendorKey,
        admitted: &Admitted,
    ) -> Result<Refreshed, StoreError> {
        let now = self.clock.now();
        let due_at = (trigger == Trigger::Recheck).then(|| order.due_after_claim(now, &self.schedule));
        let claimed = self.store.claim(&order, now, due_at).await;
        if let Ok(true) = claimed {
            return self.ask(order, trigger, (vendor_key, admitted), now, 0).await;
        }
        if let Err(error) = self.admission.give_back(admitted).await {
            tracing::warn!(%error, "an admission could not be given back");
        }
        claimed?;
        // Somebody else is just asking for it.
        let order = Order { asked_at: Some(now), ..order };
        Ok(Refreshed {
            order,
            look: Look::NotMade,
            announced: 0,
            news: News::default(),
            unpublished_since: None,
        })
    }

    #[allow(clippy::too_many_arguments, reason = "one call, with what it was planned from")]
    async fn page(
        &self,
        lists: &Lists,
        page: &Page,
        about: &HashSet<&OrderKey>,
        orders: &[Order],
        trigger: Trigger,
        (vendor_key, admitted): (&VendorKey, &Admitted),
        planned: &Planned,
    ) -> Round {
        let asked_at = self.clock.now();
        let answer = self.vendor.list(vendor_key, page).await;
        let product = page.product;
        let Listing { rows, complete, total, outside, request_id, odd } = match answer {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(%product, ?trigger, kind = error.name(), %error, "a page failed");
                self.list_failed(admitted, product, &error).await;
                return Round::Failed(error.into());
            }
        };
        if odd.count() > 0 {
            tracing::warn!(%product, odd_fields = odd.count(), fields = %odd, "the vendor's list has odd fields");
        }
        self.learn(admitted, Verdict::Accepted).await;
        lists.answered(page, rows.len(), total, complete, asked_at);
        if trigger == Trigger::Recheck && complete {
            lists.known().entry(product).or_default().swept = Some(*page);
        }
        if outside > 0 {
            self.distrust(admitted, product, ListTrouble::OtherTimes).await;
        } else if let Err(error) = self.admission.trust_list(admitted.key(), product).await {
            tracing::warn!(%product, %error, "that the list is well could not be noted");
        }
        let shown = rows.len();
        let mut by_key: HashMap<OrderKey, ShownOrder> =
            rows.into_iter().map(|row| (OrderKey { product, id: row.id.clone() }, row)).collect();
        let mut found: Vec<(Order, Option<ShownOrder>)> = Vec::new();
        for order in orders.iter().filter(|order| order.key.product == product) {
            match by_key.remove(&order.key) {
                Some(row) => found.push((order.clone(), Some(row))),
                None if complete && outside == 0 && about.contains(&order.key) => {
                    found.push((order.clone(), None))
                }
                None => {}
            }
        }
        if trigger == Trigger::Recheck {
            // Others that are parked may be shown too; those that are final have nothing to learn from it.
            let keys: Vec<OrderKey> = by_key.keys().cloned().collect();
            let others = self.store.load_many(&keys).await.unwrap_or_else(|error| {
                tracing::warn!(%product, %error, "what else a page shows is left out");
                Vec::new()
            });
            let others = others.into_iter().filter(|order| matches!(order.phase, Phase::Parked { .. }));
            found.extend(others.filter_map(|order| by_key.remove(&order.key).map(|row| (order, Some(row)))));
        }
        // What has changed comes first: somebody waits for it.
        found.sort_by_key(|(order, row)| {
            row.as_ref().is_none_or(|row| row.facts.status == order.facts.status)
        });
        let ours = found.len();
        tracing::info!(
            %product, ?trigger, from = %page.from, to = %page.to, worth = planned.worth, about = about.len(), shown, total, ours,
            request_id, "looked at a page"
        );
        let seen_to: Vec<_> = stream::iter(found)
            .map(|(order, row)| self.see_row(lists, order, row, asked_at))
            .buffer_unordered(AT_ONCE)
            .filter_map(async |seen| seen)
            .collect()
            .await;
        let ended = seen_to.iter().filter_map(|(before, after)| ended_between(before, after, asked_at));
        self.learn_ends(lists, product, ended.collect()).await;
        let mut seen_to: Vec<Refreshed> = seen_to.into_iter().map(|(_, after)| after).collect();
        if let Some(first) = seen_to.first_mut() {
            first.news.odd_fields += odd.count();
        }
        Round::Made(seen_to)
    }

    /// Takes one order of a page down the rest of the path; answers it as it was and as it is. What fails costs the others nothing.
    async fn see_row(
        &self,
        lists: &Lists,
        order: Order,
        row: Option<ShownOrder>,
        asked_at: Timestamp,
    ) -> Option<(Order, Refreshed)> {
        let (saw, look) = match row {
            None => (Saw::NotListed, Look::Answered),
            Some(row) => match self.seen(&order, row, crate::order::Place::List).await {
                Ok(saw) => (saw, Look::Answered),
                Err(error) => {
                    tracing::warn!(order = %order.key, kind = error.name(), %error, "a row of a list came to nothing");
                    (error.saw(), Look::Failed(error))
                }
            },
        };
        let before = order.clone();
        match self.settled(order, asked_at, saw, look, 0).await {
            Ok(after) => {
                let status =
                    |order: &Order| order.facts.status.as_ref().map(|status| status.as_str().to_owned());
                if status(&after.order) != status(&before) || after.order.unlisted != before.unlisted {
                    tracing::info!(order = %before.key, status = status(&after.order), unlisted = after.order.unlisted, "looked");
                }
                Some((before, after))
            }
            Err(error) => {
                tracing::error!(order = %before.key, %error, "a row of a list could not be kept");
                lists.note_stuck(&before.key, self.clock.now());
                None
            }
        }
    }

    /// Whatever a list's answer would say about the key, it says it of the list: where only that is refused or limited, single checks go on.
    async fn list_failed(&self, admitted: &Admitted, product: Product, error: &VendorError) {
        let verdict = error.verdict();
        if matches!(verdict, Verdict::Refused(_)) {
            // It may be the key all the same, and another may be in use by now.
            self.vault.read_again(self.clock.now()).await;
        }
        let told = match self.admission.list_failed(admitted, product, &verdict).await {
            Ok(true) => self.announce_key(admitted.key()).await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::error!(%product, %error, "that a list has failed could not be kept");
        }
    }

    async fn distrust(&self, admitted: &Admitted, product: Product, trouble: ListTrouble) {
        let told = match self.admission.distrust_list(admitted.key(), product, trouble).await {
            Ok(true) => self.announce_key(admitted.key()).await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::error!(%product, %error, "what is wrong with a list could not be kept");
        }
    }

    /// The chances to plan with: where what was learnt cannot be read, the documented ones will do.
    async fn learnt_or_documented(&self, lists: &Lists, product: Product) -> Chances {
        match self.learnt(lists, product).await {
            Ok(learnt) => learnt.chances,
            Err(error) => {
                tracing::warn!(%product, %error, "what was learnt of when orders end is left out");
                Chances::documented(product)
            }
        }
    }

    /// What is known of when a product's orders end.
    async fn learnt(&self, lists: &Lists, product: Product) -> Result<Learnt, StoreError> {
        let now = self.clock.now();
        let known = lists.known().get(&product).and_then(|known| known.learnt.clone());
        if let Some((learnt, at)) = known
            && now.duration_since(at).unsigned_abs() < LEARNT_FOR
        {
            return Ok(learnt);
        }
        let learnt = self.store.learnt(product).await?;
        lists.known().entry(product).or_default().learnt = Some((learnt.clone(), now));
        Ok(learnt)
    }

    /// Learns from orders that ended; what goes wrong here costs a sample and nothing else.
    async fn learn_ends(&self, lists: &Lists, product: Product, ends: Vec<(Duration, Duration)>) {
        if ends.is_empty() {
            return;
        }
        let Ok(mut learnt) = self.learnt(lists, product).await else { return };
        for (before, after) in ends {
            learnt.chances.learn(before, after);
        }
        let kept = self.store.keep_learnt(product, &learnt).await;
        let again = match kept {
            Ok(true) => {
                Some((Learnt { version: learnt.version.saturating_add(1), ..learnt }, self.clock.now()))
            }
            // Somebody else has learnt meanwhile: what he knows is read next time.
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(%product, %error, "what was learnt could not be kept");
                None
            }
        };
        lists.known().entry(product).or_default().learnt = again;
    }
}

/// Between which ages an order left the flight, if it did with this look.
fn ended_between(before: &Order, after: &Refreshed, asked_at: Timestamp) -> Option<(Duration, Duration)> {
    let Phase::InFlight { since } = before.phase else { return None };
    let ended =
        !matches!(after.order.phase, Phase::InFlight { .. }) && after.order.checked_at == Some(asked_at);
    let age = |moment: Timestamp| between(since, moment);
    ended.then(|| (before.checked_at.map(age).unwrap_or_default(), age(asked_at)))
}

#[cfg(test)]
mod tests;
