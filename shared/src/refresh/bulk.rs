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
    looks::{Call, List, Page, Planned, Waiting, plan},
    order::{Order, OrderKey, Phase, Product, Saw, Trigger},
    store::{Learnt, StoreError},
    vendor::{Listing, ShownOrder, VendorError},
};

/// What was learnt is read again after so long.
const LEARNT_FOR: Duration = Duration::from_secs(60);
/// A list that fails so often in a row is not asked for a while.
const MOST_FAILURES: u32 = 3;
/// A poller's page shows so many orders along with its own that are the sweep's to look at: what it shows, the sweep need not ask for.
const MOST_DUE: usize = 150;
/// Rows of a page that are seen to at once.
const AT_ONCE: usize = 8;

/// What this process knows of the lists; shared by clones.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    known: Arc<Mutex<HashMap<Product, Known>>>,
}

#[derive(Debug, Default)]
struct Known {
    learnt: Option<(Learnt, Timestamp)>,
    rows_per_second: f64,
    failures: u32,
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
    /// Everything was just looked at.
    NotWorthIt,
}

impl Lists {
    fn known(&self) -> MutexGuard<'_, HashMap<Product, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, product: Product, usage: &Usage, now: Timestamp) -> List {
        let rows_per_second = self.known().get(&product).map_or(0.0, |known| known.rows_per_second);
        List { usable: usage.list(product).off_until.is_none_or(|until| until <= now), rows_per_second }
    }

    fn swept(&self, product: Product) -> Option<Page> {
        self.known().get(&product).and_then(|known| known.swept)
    }

    fn answered(&self, page: &Page, rows_per_second: f64) {
        let mut known = self.known();
        let known = known.entry(page.product).or_default();
        known.failures = 0;
        // A crowded window is believed at once, an empty one slowly: a page that overflows shows too little.
        known.rows_per_second = rows_per_second.max(known.rows_per_second * 0.7);
    }

    /// Notes that a list failed; whether it has done so too often.
    fn failed(&self, product: Product) -> bool {
        let mut known = self.known();
        let known = known.entry(product).or_default();
        known.failures += 1;
        known.failures.is_multiple_of(MOST_FAILURES)
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
        let (mut keys, due) = try_join(self.store.in_flight(now), self.store.due(now, MOST_DUE)).await?;
        keys.extend(due.keys);
        keys.retain(|other| *other != key);
        let mut orders = self.store.load_many(&keys).await?;
        orders.push(order);
        let round = self.look_at_best(lists, &orders, Trigger::Poller).await?;
        let Some(order) = orders.pop() else { return Err(super::vanished(&key)) };
        match round {
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
                let look = self.not_admitted(until, why).await;
                self.settled(order, now, Saw::NotAsked, look, 0).await
            }
            Round::Failed(_) => self.time_passed(order, now).await,
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
    /// If the table fails. A vendor that fails is no error.
    pub async fn look_at_best(
        &self,
        lists: &Lists,
        orders: &[Order],
        trigger: Trigger,
    ) -> Result<Round, StoreError> {
        let now = self.clock.now();
        let chances =
            [self.learnt(lists, Product::Mobile).await?, self.learnt(lists, Product::Internet).await?];
        let [mobile, internet] = &chances;
        let waiting: Vec<Waiting> = orders
            .iter()
            .filter_map(|order| {
                let learnt = if order.key.product == Product::Mobile { mobile } else { internet };
                let waiting = Waiting::of(order, &learnt.chances, now, &self.schedule)?;
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
                let now = self.clock.now();
                let due_at =
                    (trigger == Trigger::Recheck).then(|| order.due_after_claim(now, &self.schedule));
                let claimed = self.store.claim(&order, now, due_at).await?;
                let order = Order { asked_at: Some(now), ..order };
                let one = if claimed {
                    self.ask(order, trigger, &admitted, now, 0).await?
                } else {
                    // Somebody else is just asking for it.
                    Refreshed {
                        order,
                        look: Look::NotMade,
                        announced: 0,
                        news: News::default(),
                        unpublished_since: None,
                    }
                };
                Ok(Round::Made(vec![one]))
            }
            Call::Page(page) => {
                let about: HashSet<&OrderKey> =
                    planned.covers.iter().filter_map(|index| Some(&waiting.get(*index)?.key)).collect();
                self.page(lists, page, &about, orders, trigger, &admitted, &planned).await
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call, with what it was planned from")]
    async fn page(
        &self,
        lists: &Lists,
        page: &Page,
        about: &HashSet<&OrderKey>,
        orders: &[Order],
        trigger: Trigger,
        admitted: &Admitted,
        planned: &Planned,
    ) -> Result<Round, StoreError> {
        let asked_at = self.clock.now();
        let vendor_key = self.vault.secrets().vendor_key.clone();
        let answer = self.vendor.list(&vendor_key, page).await;
        self.learn(admitted, answer.as_ref().map_or_else(VendorError::verdict, |_| Verdict::Accepted)).await;
        let product = page.product;
        let Listing { rows, complete, total, outside, request_id, odd } = match answer {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(%product, ?trigger, kind = error.name(), %error, "a page failed");
                // Whatever it says: where only the list is refused or limited, single looks go on.
                if lists.failed(product) {
                    self.distrust(admitted, product, ListTrouble::Fails).await;
                }
                return Ok(Round::Failed(error.into()));
            }
        };
        if odd.count() > 0 {
            tracing::warn!(%product, odd_fields = odd.count(), fields = %odd, "the vendor's list has odd fields");
        }
        lists.answered(page, page.rows_per_second(rows.len(), total, complete));
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
            let others = self.store.load_many(&keys).await?.into_iter();
            let others = others.filter(|order| matches!(order.phase, Phase::Parked { .. }));
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
            .map(|(order, row)| self.see_row(order, row, asked_at))
            .buffer_unordered(AT_ONCE)
            .filter_map(async |seen| seen)
            .collect()
            .await;
        let ended = seen_to.iter().filter_map(|(before, after)| ended_between(before, after, asked_at));
        self.learn_ends(lists, product, ended.collect()).await;
        Ok(Round::Made(seen_to.into_iter().map(|(_, after)| after).collect()))
    }

    /// Takes one order of a page down the rest of the path; answers it as it was and as it is. What fails costs the others nothing.
    async fn see_row(
        &self,
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
                None
            }
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
    let age = |moment: Timestamp| Duration::try_from(moment.duration_since(since)).unwrap_or_default();
    ended.then(|| (before.checked_at.map(age).unwrap_or_default(), age(asked_at)))
}
