//! One simulation run. Events (send, tick, answer) are processed in order of time. Retry schedules, `decide`, rate
//! limiter and planner are the production code; Lambda, Step Functions, DynamoDB and the vendor are modelled.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    time::Duration,
};

use fastrand::Rng;
use jiff::Timestamp;
use poller::next_tick;
use shared::{
    order::{
        CheckResult, Facts, Jitter, Observation, Order, OrderKey, Phase, Place, Product, Schedule, Snapshot,
        TrackedBy, Trigger, VendorStatus, decide,
    },
    page::{MAX_ROWS, Page, UnderWay},
    planner::{Call, Candidate, List, plan},
    rate_limiter::{Budget, Class, Denied, Move, Step, Take, Usage, next_step, still_under_way},
};

/// A polling policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The retry schedules.
    pub(crate) schedule: Schedule,
    /// Whether list checks are used.
    pub(crate) list_checks: bool,
    /// Whether the first check is made at once, as in the vendor's samples.
    pub(crate) at_once: bool,
}

/// Distribution of durations within a documented range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// Log-uniform: most orders are fast.
    LogUniform,
    /// Uniform.
    Uniform,
}

impl Shape {
    fn draw(self, rng: &mut Rng, from: f64, to: f64) -> f64 {
        match self {
            Self::LogUniform => from * (to / from).powf(rng.f64()),
            Self::Uniform => from + (to - from) * rng.f64(),
        }
    }
}

/// The parameters of the model.
#[derive(Clone, Debug)]
pub(crate) struct Assumptions {
    /// Orders sent per minute, evenly spaced with a jitter of half the gap.
    pub(crate) orders_per_minute: f64,
    /// Minutes measured, after a warm-up of one minute.
    pub(crate) minutes: f64,
    /// Share of mobile orders, 0 to 1; the rest is internet.
    pub(crate) mobile_share: f64,
    /// Distribution of durations within the documented ranges.
    pub(crate) shape: Shape,
    /// Factor for the documented durations.
    pub(crate) times: f64,
    /// Maximum time from a send to tracking, in ms.
    pub(crate) tracked_within_ms: u64,
    /// Time from the end of a wait to the tick's first call, in ms.
    pub(crate) hop_ms: i64,
    /// Time from a vendor call to the commit of its answer, in ms.
    pub(crate) answer_ms: i64,
    /// Untracked orders per minute on the same account, for each product.
    pub(crate) others_per_minute: f64,
    /// Seed of the random generator.
    pub(crate) seed: u64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            orders_per_minute: 10.0,
            minutes: 30.0,
            mobile_share: 0.6,
            shape: Shape::LogUniform,
            times: 1.0,
            tracked_within_ms: 400,
            hop_ms: 60,
            answer_ms: 150,
            others_per_minute: 0.0,
            seed: 1,
        }
    }
}

/// Number of operations with a cost, within the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Counts {
    /// Orders sent.
    pub(crate) orders: f64,
    /// Status checks.
    pub(crate) checks: f64,
    /// List checks.
    pub(crate) lists: f64,
    /// Invocations of the poller.
    pub(crate) ticks: f64,
    /// Total duration of the executions, in seconds.
    pub(crate) flight_seconds: f64,
    /// Reads of the permits item before a call is planned.
    pub(crate) admission_reads: f64,
    /// Queries of the due index for orders in flight.
    pub(crate) index_queries: f64,
    /// Orders loaded for planning.
    pub(crate) planned_over: f64,
    /// Claims, including reverted ones.
    pub(crate) claims: f64,
    /// Permits acquired.
    pub(crate) admissions: f64,
    /// Commits without an event.
    pub(crate) commits: f64,
    /// Commits with an event.
    pub(crate) outcomes: f64,
}

impl Counts {
    /// The mean per order.
    pub(crate) fn per_order(self) -> Self {
        let each = |count: f64| count / self.orders.max(1.0);
        Self {
            orders: 1.0,
            checks: each(self.checks),
            lists: each(self.lists),
            ticks: each(self.ticks),
            flight_seconds: each(self.flight_seconds),
            admission_reads: each(self.admission_reads),
            index_queries: each(self.index_queries),
            planned_over: each(self.planned_over),
            claims: each(self.claims),
            admissions: each(self.admissions),
            commits: each(self.commits),
            outcomes: each(self.outcomes),
        }
    }
}

/// Result of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Seconds from the vendor's outcome to its commit, ascending.
    pub(crate) delays: Vec<f64>,
    /// Orders whose outcome was never noticed.
    pub(crate) unnoticed: usize,
    /// Operations.
    pub(crate) counts: Counts,
    /// The maximum number of calls in any 60 s.
    pub(crate) fullest_minute: usize,
}

impl Outcome {
    /// Vendor calls per order.
    pub(crate) fn calls(&self) -> f64 {
        (self.counts.checks + self.counts.lists) / self.counts.orders
    }

    /// Mean delay in seconds.
    pub(crate) fn mean(&self) -> f64 {
        self.delays.iter().sum::<f64>() / self.delays.len().max(1) as f64
    }

    /// 95th percentile of the delay in seconds.
    pub(crate) fn p95(&self) -> f64 {
        self.delays.get(self.delays.len() * 95 / 100).copied().unwrap_or_default()
    }
}

const START: i64 = 1_780_000_000_000;
/// Warm-up time, not measured.
const WARM_UP_MS: i64 = 60_000;

struct Sim {
    order: Order,
    created: i64,
    ends: i64,
    handling: i64,
    noticed: Option<i64>,
    counts: bool,
}

enum Event {
    Send(usize),
    Tick(usize),
    Answer(Call, i64),
}

struct Engine<'a> {
    policy: &'a Policy,
    assumed: &'a Assumptions,
    budget: Option<Budget>,
    rng: Rng,
    queue: BinaryHeap<Reverse<(i64, usize)>>,
    events: HashMap<usize, (Event, Option<usize>)>,
    next_event: usize,
    orders: Vec<Sim>,
    by_key: HashMap<OrderKey, usize>,
    in_flight: BTreeSet<usize>,
    usage: Usage,
    rows_per_second: [f64; 2],
    counts: Counts,
    calls: Vec<i64>,
    end: i64,
}

/// Runs `policy` with a call budget. `None`: each order is polled by status checks without a rate limit.
pub(crate) fn run(policy: &Policy, budget: Option<Budget>, assumed: &Assumptions) -> Outcome {
    let mut engine = Engine {
        policy,
        assumed,
        budget,
        rng: Rng::with_seed(assumed.seed),
        queue: BinaryHeap::new(),
        events: HashMap::new(),
        next_event: 0,
        orders: Vec::new(),
        by_key: HashMap::new(),
        in_flight: BTreeSet::new(),
        usage: Usage::default(),
        rows_per_second: [0.0; 2],
        counts: Counts::default(),
        calls: Vec::new(),
        end: START + WARM_UP_MS + (assumed.minutes * 60_000.0) as i64,
    };
    engine.send_all();
    engine.run_events();
    engine.outcome()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

fn place(product: Product) -> usize {
    usize::from(product == Product::Internet)
}

impl Engine<'_> {
    fn send_all(&mut self) {
        let gap = 60_000.0 / self.assumed.orders_per_minute;
        let all = ((self.end - START) as f64 / gap) as usize;
        for number in 0..all {
            let created = START + (gap * (number as f64 + self.rng.f64() / 2.0)) as i64;
            let product =
                if self.rng.f64() < self.assumed.mobile_share { Product::Mobile } else { Product::Internet };
            // Mobile: PENDING 2–15 s, then HANDLING 3–8 s. Internet: HANDLING 3–45 s.
            let mut taken = |from: f64, to: f64| {
                (self.assumed.shape.draw(&mut self.rng, from, to) * 1000.0 * self.assumed.times) as i64
            };
            let (handling, ends) = match product {
                Product::Mobile => {
                    let pending = taken(2.0, 15.0);
                    (created + pending, created + pending + taken(3.0, 8.0))
                }
                Product::Internet => (created, created + taken(3.0, 45.0)),
            };
            let Ok(id) = format!("{number:024x}").parse() else { continue };
            let key = OrderKey { product, id };
            let tracked = created + self.rng.u64(..=self.assumed.tracked_within_ms) as i64;
            let (order, _) =
                Order::track(key.clone(), None, TrackedBy::Put, at(tracked), &self.policy.schedule);
            let order = Order { published: 1, ..order };
            self.by_key.insert(key, self.orders.len());
            let counts = created >= START + WARM_UP_MS;
            self.counts.orders += f64::from(u8::from(counts));
            self.orders.push(Sim { order, created, ends, handling, noticed: None, counts });
            self.push(tracked, Event::Send(number), None);
        }
    }

    fn push(&mut self, ms: i64, event: Event, ticking: Option<usize>) {
        self.next_event += 1;
        self.events.insert(self.next_event, (event, ticking));
        self.queue.push(Reverse((ms, self.next_event)));
    }

    fn run_events(&mut self) {
        // Upper bound of the run, for orders that are never noticed.
        let last = self.end + 3 * 24 * 3_600_000;
        while let Some(Reverse((now, number))) = self.queue.pop() {
            if now > last {
                return;
            }
            match self.events.remove(&number) {
                Some((Event::Send(index), _)) => {
                    self.in_flight.insert(index);
                    self.push(now + self.assumed.hop_ms, Event::Tick(index), None);
                }
                Some((Event::Tick(index), _)) => self.tick(index, now),
                Some((Event::Answer(call, asked), ticking)) => {
                    self.answer(&call, asked, now);
                    if let Some(index) = ticking {
                        self.wait(index, None, now);
                    }
                }
                None => {}
            }
        }
    }

    /// One invocation of the poller, or one check of a parked order by the recheck.
    fn tick(&mut self, index: usize, now: i64) {
        let Some(sim) = self.orders.get(index) else { return };
        let trigger = match sim.order.phase {
            Phase::InFlight { .. } => Trigger::Poller,
            Phase::Parked { .. } => Trigger::Recheck,
            Phase::Final { .. } => return self.done(index, now),
        };
        let counting = self.is_counting(now);
        self.counts.ticks += counting;
        let at_once = self.policy.at_once && sim.order.asked_at.is_none();
        if !at_once && !sim.order.wants_check(trigger, at(now), &self.policy.schedule) {
            return self.wait(index, None, now);
        }
        let Some(budget) = self.budget else {
            return self.call_vendor(Call::Single(sim.order.key.clone()), Some(index), now);
        };
        self.counts.admission_reads += counting;
        let class = Class::from(trigger);
        let take = match next_step(&self.usage, class, at(now), budget) {
            Step::Take(take) => take,
            Step::Deny(Denied { retry_at: until, .. }) => return self.wait(index, Some(until), now),
            Step::Probe { .. } | Step::Suspend => return,
        };
        let own = Call::Single(sim.order.key.clone());
        let busy =
            self.policy.list_checks && trigger == Trigger::Poller && budget.is_busy(&self.usage, at(now));
        let call = if busy { self.plan_call(now) } else { Some(own) };
        let Some(call) = call else { return self.wait_after_covered(index, now) };
        self.take(class, &take);
        self.counts.admissions += counting;
        if let Call::Page(page) = &call {
            let mut pages = still_under_way(&self.usage.pages, at(now));
            pages.push(UnderWay { page: *page, at: at(now) });
            self.usage.pages = pages;
        }
        self.call_vendor(call, Some(index), now);
    }

    /// List checks in progress cover all orders: the poller waits for its next scheduled check.
    fn wait_after_covered(&mut self, index: usize, now: i64) {
        let waiting =
            self.orders.get(index).map(|sim| Order { asked_at: Some(at(now)), ..sim.order.clone() });
        if let Some(order) = waiting {
            self.wait_as(index, &order, None, now);
        }
    }

    /// The production planner's choice among all orders in flight.
    fn plan_call(&mut self, now: i64) -> Option<Call> {
        let counting = self.is_counting(now);
        self.counts.index_queries += counting;
        self.counts.planned_over += counting * self.in_flight.len() as f64;
        let orders = self.in_flight.iter().filter_map(|index| Some(&self.orders.get(*index)?.order));
        let candidates: Vec<Candidate> =
            orders.filter_map(|order| Candidate::of(order, at(now), &self.policy.schedule)).collect();
        let [mobile, internet] = self.rows_per_second;
        let list = |product| {
            let rows_per_second = if product == Product::Mobile { mobile } else { internet };
            Some(List { rows_per_second, rechecked: None })
        };
        let under_way = still_under_way(&self.usage.pages, at(now));
        plan(&candidates, &under_way, list, at(now)).map(|planned| planned.call)
    }

    fn take(&mut self, class: Class, take: &Take) {
        let moved = |tat: Option<i64>, how: Move| match how {
            Move::Busy { emission_interval, .. } => tat.map(|tat| tat + emission_interval),
            Move::Idle { tat, .. } => Some(tat),
        };
        self.usage.tat = moved(self.usage.tat, take.all);
        let index = Class::ALL.iter().position(|other| *other == class);
        if let (Some(how), Some(tat)) =
            (take.reservation, index.and_then(|index| self.usage.reservation_tats.get_mut(index)))
        {
            *tat = moved(*tat, how);
        }
    }

    fn call_vendor(&mut self, call: Call, ticking: Option<usize>, now: i64) {
        let counting = self.is_counting(now);
        match &call {
            Call::Single(key) => {
                self.counts.checks += counting;
                self.counts.claims += counting;
                if let Some(sim) = self.by_key.get(key).and_then(|index| self.orders.get_mut(*index)) {
                    sim.order.asked_at = Some(at(now));
                }
            }
            Call::Page(_) => self.counts.lists += counting,
        }
        self.calls.push(now);
        self.push(now + self.assumed.answer_ms, Event::Answer(call, now), ticking);
    }

    fn answer(&mut self, call: &Call, asked: i64, now: i64) {
        match call {
            Call::Single(key) => {
                if let Some(index) = self.by_key.get(key).copied() {
                    self.commit_check(index, Place::Check, asked, now);
                }
            }
            Call::Page(page) => self.commit_page(page, asked, now),
        }
    }

    fn commit_page(&mut self, page: &Page, asked: i64, now: i64) {
        let window = page.from.as_millisecond()..=page.to.as_millisecond();
        let first = self.orders.partition_point(|sim| sim.created < *window.start());
        let rows: Vec<usize> = (first..self.orders.len())
            .take_while(|index| self.orders.get(*index).is_some_and(|sim| sim.created <= *window.end()))
            .filter(|index| {
                self.orders
                    .get(*index)
                    .is_some_and(|sim| sim.order.key.product == page.product && sim.created <= asked)
            })
            .collect();
        let others = (self.assumed.others_per_minute / 60.0 * page.seconds()) as usize;
        let total = rows.len() + others;
        if let Some(known) = self.rows_per_second.get_mut(place(page.product)) {
            *known = (total as f64 / page.seconds()).max(*known * 0.7);
        }
        // The page has the newest rows first, mixed with untracked orders.
        let share = (MAX_ROWS as usize).min(total) as f64 / total.max(1) as f64;
        let shown = (rows.len() as f64 * share) as usize;
        for index in rows.into_iter().rev().take(shown) {
            if self.in_flight.contains(&index) {
                self.commit_check(index, Place::List, asked, now);
            }
        }
    }

    /// Commits the order's state at the time of the vendor call.
    fn commit_check(&mut self, index: usize, place: Place, asked: i64, now: i64) {
        let counting = self.is_counting(now);
        let Some(sim) = self.orders.get_mut(index) else { return };
        let status = match asked {
            asked if asked >= sim.ends => VendorStatus::Fulfilled,
            asked if asked >= sim.handling => VendorStatus::Handling,
            _ => VendorStatus::Pending,
        };
        let facts =
            Facts { status: Some(status), created_at: Some(at(sim.created).to_string()), ..Facts::default() };
        let seen = Snapshot { facts, card: None, place };
        let check_result =
            CheckResult { asked_at: at(asked), observation: Observation::Order(Box::new(seen)) };
        let Some(decision) = decide(&sim.order, &check_result, at(now), Jitter::NONE, &self.policy.schedule)
        else {
            return;
        };
        if decision.events.is_empty() {
            self.counts.commits += counting;
        } else {
            self.counts.outcomes += counting;
        }
        sim.order = Order { published: decision.order.seq, ..decision.order };
        if sim.order.phase.is_final() && sim.noticed.is_none() {
            sim.noticed = Some(now);
            self.in_flight.remove(&index);
        }
    }

    fn wait(&mut self, index: usize, not_before: Option<Timestamp>, now: i64) {
        if let Some(order) = self.orders.get(index).map(|sim| sim.order.clone()) {
            self.wait_as(index, &order, not_before, now);
        }
    }

    /// Schedules the next tick of the poller or the recheck.
    fn wait_as(&mut self, index: usize, order: &Order, not_before: Option<Timestamp>, now: i64) {
        let jitter = Duration::from_millis(self.rng.u64(..=1000));
        let schedule = &self.policy.schedule;
        if order.phase.is_final() {
            return self.done(index, now);
        }
        let next = match order.next_check(at(now), schedule) {
            // The recheck runs once a minute.
            Some(next) => next.as_millisecond().max(now) / 60_000 * 60_000 + 60_000,
            None => {
                let tick = next_tick(schedule, order, not_before.map(|until| (until, jitter)), at(now));
                if tick.done {
                    return self.done(index, now);
                }
                now + tick.wait_seconds as i64 * 1000
            }
        };
        // An order past its poll deadline is parked without a call.
        let passed = CheckResult { asked_at: at(now), observation: Observation::NotAsked };
        let parked = decide(order, &passed, at(now), Jitter::NONE, schedule).map(|decision| decision.order);
        if let (Some(parked), Some(sim)) = (parked, self.orders.get_mut(index))
            && parked.phase != sim.order.phase
        {
            sim.order = Order { published: parked.seq, asked_at: sim.order.asked_at, ..parked };
            self.in_flight.remove(&index);
        }
        self.push(next + self.assumed.hop_ms, Event::Tick(index), None);
    }

    fn done(&mut self, index: usize, now: i64) {
        if let Some(sim) = self.orders.get(index).filter(|sim| sim.counts) {
            self.counts.flight_seconds += (now - sim.created) as f64 / 1000.0;
        }
    }

    fn is_counting(&self, now: i64) -> f64 {
        f64::from(u8::from((START + WARM_UP_MS..self.end).contains(&now)))
    }

    fn outcome(mut self) -> Outcome {
        let counted = || self.orders.iter().filter(|sim| sim.counts);
        let mut delays: Vec<f64> =
            counted().filter_map(|sim| Some((sim.noticed? - sim.ends) as f64 / 1000.0)).collect();
        delays.sort_by(f64::total_cmp);
        let unnoticed = counted().filter(|sim| sim.noticed.is_none()).count();
        self.calls.sort_unstable();
        let mut first = 0;
        let mut fullest_minute = 0;
        for (last, call) in self.calls.iter().enumerate() {
            while self.calls.get(first).is_some_and(|begin| call - begin >= 60_000) {
                first += 1;
            }
            fullest_minute = fullest_minute.max(last - first + 1);
        }
        Outcome { delays, unnoticed, counts: self.counts, fullest_minute }
    }
}
