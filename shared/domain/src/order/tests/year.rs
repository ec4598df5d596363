//! A year in the life of an order, by a clock that the test moves: nothing is forgotten, and nothing is asked too often.
//!
//! [`World`] walks the path as `refresh` does, with the same pure functions; the table, the vendor and the bus are its fields.
//! What moves an order is what moves it in the cloud: pollers that may die, status requests, and a recheck every minute, which
//! sees the order if and only if it is due by then.

use std::{collections::BTreeMap, ops::Range};

use fastrand::Rng;

use super::*;

// Times are milliseconds since the order was tracked, by a clock that is right.
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// What the vendor says of the order.
#[derive(Clone, Copy, Debug)]
enum Says {
    Status(&'static str),
    WithCard(&'static str),
    NotFound,
    Failing(Trouble),
}
use Says::{Failing, NotFound, Status, WithCard};

/// From when until when somebody is away.
type Window = Range<i64>;

/// How far the clock of each trigger's machine is ahead (behind, if negative).
#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    status: i64,
    poller: i64,
    recheck: i64,
}

impl Clocks {
    fn all(ahead: i64) -> Self {
        Self { status: ahead, poller: ahead, recheck: ahead }
    }

    fn ahead(self, trigger: Trigger) -> i64 {
        match trigger {
            Trigger::Status => self.status,
            Trigger::Poller => self.poller,
            Trigger::Recheck => self.recheck,
        }
    }
}

/// The weather that one order lives in.
#[derive(Clone, Debug)]
struct Life {
    product: Product,
    /// What the vendor says, each from a moment on.
    vendor: Vec<(i64, Says)>,
    vendor_away: Vec<Window>,
    bus_away: Vec<Window>,
    clocks: Vec<(i64, Clocks)>,
    /// How likely a walk of the path dies on the way.
    dies: f64,
    /// Mean time between status requests; every tenth is followed by a burst, one per second.
    requests: Option<i64>,
    until: i64,
}

impl Life {
    fn new(product: Product, vendor: &[(i64, Says)]) -> Self {
        Self {
            product,
            vendor: vendor.to_vec(),
            vendor_away: Vec::new(),
            bus_away: Vec::new(),
            clocks: vec![(0, Clocks::default())],
            dies: 0.0,
            requests: None,
            until: YEAR + 60 * DAY,
        }
    }

    fn clocks_at(&self, now: i64) -> Clocks {
        self.clocks.iter().rev().find(|(from, _)| *from <= now).map(|(_, clocks)| *clocks).unwrap_or_default()
    }

    /// Until when somebody's weather is bad.
    fn calm_from(&self) -> i64 {
        let ends = self.vendor_away.iter().chain(&self.bus_away).map(|window| window.end);
        let stated = self.vendor.iter().map(|(from, _)| *from);
        ends.chain(stated).chain(self.clocks.iter().map(|(from, _)| *from)).max().unwrap_or(0)
    }

    fn furthest_ahead(&self) -> i64 {
        let all = self.clocks.iter().flat_map(|(_, clocks)| [clocks.status, clocks.poller, clocks.recheck]);
        all.max().unwrap_or(0).max(0)
    }

    fn clocks_are_right(&self) -> bool {
        self.clocks.iter().all(|(_, clocks)| (clocks.status, clocks.poller, clocks.recheck) == (0, 0, 0))
    }
}

fn within(windows: &[Window], now: i64) -> bool {
    windows.iter().any(|window| window.contains(&now))
}

/// What a process has just done when it dies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Death {
    Claimed,
    Committed,
    Published,
}

/// A running execution of the state machine.
struct Execution {
    tick_at: i64,
    ends_at: i64,
}

/// A check, and where the order stood.
struct Made {
    at: i64,
    trigger: Trigger,
    stood: &'static str,
}

struct World<'a> {
    life: &'a Life,
    schedule: Schedule,
    rng: Rng,
    now: i64,
    order: Order,
    due_at: Option<Timestamp>,
    history: Vec<Event>,
    /// By event id: when it was first heard, and the event.
    heard: BTreeMap<String, (i64, Event)>,
    executions: Vec<Execution>,
    swept_at: i64,
    /// Answers on their way: a slow vendor's is settled after others were.
    answers: Vec<(i64, Trigger, CheckResult)>,
    checks: Vec<Made>,
    deaths: usize,
    requests: usize,
    /// How long the order stood somewhere, and how often it came there.
    stood: BTreeMap<&'static str, (i64, usize)>,
}

fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(START + millis).unwrap()
}

fn stands(order: &Order) -> &'static str {
    match order.phase {
        Phase::Parked { parked_as, .. } => parked_as.as_str(),
        other => other.as_str(),
    }
}

/// The longest wait that a rule gives an order that stands so: its retry schedule's longest with 10 % of jitter, or the longest after a
/// failure if that is longer; in flight, the deadline and the minute after it. A minute is for clocks that differ a little.
fn longest_wait(order: &Order) -> i64 {
    let wait = match stands(order) {
        "in_flight" => 280 * SECOND + MINUTE,
        "not_found" => 33 * DAY,
        _ => 24 * HOUR + 144 * MINUTE,
    };
    wait + MINUTE
}

impl<'a> World<'a> {
    fn new(life: &'a Life, seed: u64) -> Self {
        let schedule = Schedule::default();
        let by_poller = life.clocks_at(0).poller;
        let (order, event) =
            Order::track(key(life.product), None, TrackedBy::Put, instant(by_poller), &schedule);
        let due_at = schedule.due_at(&order, instant(by_poller));
        let mut world = Self {
            life,
            schedule,
            rng: Rng::with_seed(seed),
            now: 0,
            stood: BTreeMap::from([(stands(&order), (0, 1))]),
            order,
            due_at,
            history: vec![event],
            heard: BTreeMap::new(),
            executions: Vec::new(),
            swept_at: 0,
            answers: Vec::new(),
            checks: Vec::new(),
            deaths: 0,
            requests: 0,
        };
        world.nothing_is_forgotten(instant(by_poller));
        world.publish(Trigger::Poller, None);
        world
    }

    fn clock(&self, trigger: Trigger) -> Timestamp {
        instant(self.now + self.life.clocks_at(self.now).ahead(trigger))
    }

    fn live(&mut self) {
        let mut next_request = self.life.requests.map(|mean| self.rng.i64(0..2 * mean));
        let mut burst = 0;
        loop {
            let tick = self.executions.iter().map(|execution| execution.tick_at).min();
            let answer = self.answers.iter().map(|(at, ..)| *at).min();
            let clocks = self.life.clocks.iter().map(|(from, _)| *from).find(|from| *from > self.now);
            let next = [self.next_recheck(), tick, answer, next_request, clocks, Some(self.life.until)];
            let next = next.into_iter().flatten().min().unwrap().max(self.now);
            self.pass_time_until(next);
            if next >= self.life.until {
                return;
            }
            if answer == Some(next) {
                let index = self.answers.iter().position(|(at, ..)| *at == next).unwrap();
                let (_, trigger, check_result) = self.answers.swap_remove(index);
                self.settle(trigger, &check_result, None);
            } else if tick == Some(next) {
                self.tick();
            } else if next_request == Some(next) {
                self.requests += 1;
                self.refresh(Trigger::Status);
                burst = if burst > 0 { burst - 1 } else { 30 * usize::from(self.rng.u8(0..10) == 0) };
                let mean = self.life.requests.unwrap();
                next_request = Some(next + if burst > 0 { SECOND } else { self.rng.i64(SECOND..2 * mean) });
            } else if self.next_recheck() == Some(next) {
                self.swept_at = next;
                self.refresh(Trigger::Recheck);
            }
        }
    }

    fn pass_time_until(&mut self, next: i64) {
        self.stood.entry(stands(&self.order)).or_default().0 += next - self.now;
        self.now = next;
    }

    /// The first full minute at which the due index shows the order to the recheck.
    fn next_recheck(&self) -> Option<i64> {
        let ahead = self.life.clocks_at(self.now).recheck;
        let due = self.due_at?.as_millisecond() - START - ahead;
        Some((due.max(self.now).max(self.swept_at + 1) + MINUTE - 1).div_euclid(MINUTE) * MINUTE)
    }

    fn tick(&mut self) {
        let index = self.executions.iter().position(|execution| execution.tick_at == self.now).unwrap();
        let died = self.refresh(Trigger::Poller);
        let now = self.clock(Trigger::Poller);
        let execution = self.executions.get_mut(index).unwrap();
        let ended = self.order.polling_has_ended(now, &self.schedule);
        match self.order.next_poll(now, &self.schedule) {
            Some(next) if !died && !ended => {
                let wait = next.duration_since(now).as_millis() as i64;
                execution.tick_at += ((wait + 999) / SECOND).clamp(1, 300) * SECOND;
            }
            _ => execution.tick_at = i64::MAX,
        }
        self.executions.retain(|execution| execution.tick_at < execution.ends_at);
    }

    fn death(&mut self) -> Option<Death> {
        if self.rng.f64() >= self.life.dies {
            return None;
        }
        self.deaths += 1;
        self.rng.choice([Death::Claimed, Death::Committed, Death::Published])
    }

    /// The path; answers whether the process died.
    fn refresh(&mut self, trigger: Trigger) -> bool {
        let death = self.death();
        if trigger == Trigger::Recheck {
            self.publish(trigger, death);
        }
        let now = self.clock(trigger);
        if !self.order.wants_check(trigger, now, &self.schedule) {
            if trigger == Trigger::Recheck {
                self.write_due(self.schedule.due_at(&self.order, now), now);
            }
            return death.is_some();
        }
        if trigger == Trigger::Recheck {
            self.write_due(Some(self.order.due_after_claim(now, &self.schedule)), now);
        }
        self.order.asked_at = Some(now);
        self.checks.push(Made { at: self.now, trigger, stood: stands(&self.order) });
        if death == Some(Death::Claimed) {
            return true;
        }
        let check_result = CheckResult { asked_at: now, observation: self.ask() };
        if self.rng.u8(0..8) == 0 {
            self.answers.push((self.now + self.rng.i64(1..9 * SECOND), trigger, check_result));
        } else {
            self.settle(trigger, &check_result, death);
        }
        death.is_some()
    }

    fn ask(&self) -> Observation {
        if within(&self.life.vendor_away, self.now) {
            return Observation::Nothing;
        }
        let said = self.life.vendor.iter().rev().find(|(from, _)| *from <= self.now);
        match said.map(|(_, says)| *says) {
            Some(Status(text)) => shows(text),
            Some(WithCard(text)) => shows_card(text),
            Some(Failing(trouble)) => Observation::Trouble(trouble),
            Some(NotFound) | None => Observation::NotFound,
        }
    }

    fn settle(&mut self, trigger: Trigger, check_result: &CheckResult, death: Option<Death>) {
        let now = self.clock(trigger);
        let jitter = Jitter::new(self.rng.f64() * 2.0 - 1.0);
        let Some(decision) = decide(&self.order, check_result, now, jitter, &self.schedule) else { return };
        let before = self.order.phase;
        self.order = Order { version: self.order.version + 1, ..decision.order };
        self.history.extend(decision.events);
        if std::mem::discriminant(&before) != std::mem::discriminant(&self.order.phase)
            || before.parked_as() != self.order.phase.parked_as()
        {
            self.stood.entry(stands(&self.order)).or_default().1 += 1;
        }
        self.write_due(self.schedule.due_at(&self.order, now), now);
        if death != Some(Death::Committed) {
            self.publish(trigger, death);
        }
    }

    fn publish(&mut self, trigger: Trigger, death: Option<Death>) {
        if self.order.published >= self.order.seq || within(&self.life.bus_away, self.now) {
            return;
        }
        for event in self.history.iter().filter(|event| event.seq > self.order.published) {
            let (_, first) = self.heard.entry(event.id()).or_insert((self.now, event.clone()));
            assert_eq!(first, event, "a repeat says the same");
            if matches!(event.detail_type.as_str(), "Order Tracked" | "Order Resumed") {
                self.executions.push(Execution { tick_at: self.now, ends_at: self.now + 300 * SECOND });
            }
        }
        if death != Some(Death::Published) {
            self.order.published = self.order.seq;
            let now = self.clock(trigger);
            self.write_due(self.schedule.due_at(&self.order, now), now);
        }
    }

    fn write_due(&mut self, due_at: Option<Timestamp>, now: Timestamp) {
        self.due_at = due_at;
        self.nothing_is_forgotten(now);
    }

    /// Whatever waits for something is in the due index, and no further ahead of the clock that wrote it than its longest wait.
    fn nothing_is_forgotten(&self, now: Timestamp) {
        let order = &self.order;
        let waits = !order.phase.is_final()
            || order.awaits_card()
            || order.awaits_late_check()
            || order.published < order.seq;
        assert_eq!(self.due_at.is_some(), waits, "{} at {}: {order:?}", self.now, stands(order));
        if let Some(due_at) = self.due_at {
            let wait = due_at.duration_since(now).as_millis() as i64;
            assert!(wait <= longest_wait(order), "due in {} min: {order:?}", wait / MINUTE);
        }
    }
}

/// Lives the life, and checks what holds for every one; answers what was heard, in order, with the first time of each.
fn live(name: &str, life: &Life, seed: u64) -> Vec<(i64, String)> {
    let mut world = World::new(life, seed);
    world.live();
    let heard: Vec<&Event> = world.heard.values().map(|(_, event)| event).collect();
    let mut committed: Vec<&Event> = world.history.iter().collect();
    committed.sort_by_key(|event| event.id());
    assert_eq!(heard, committed, "{name}: every event is heard");
    once(name, &world);
    seldom(name, life, &world);
    let mut heard: Vec<(i64, Event)> = world.heard.into_values().collect();
    heard.sort_by_key(|(_, event)| event.seq);
    heard.into_iter().map(|(at, event)| (at, types(&[event]).remove(0))).collect()
}

/// Each outcome and each review is raised once, under one id.
fn once(name: &str, world: &World) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for event in &world.history {
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        let what = match event.detail_type.as_str() {
            "Order Fulfilled" | "Order Refunded" => "an outcome".to_owned(),
            "Order Needs Review" if detail["reason"] == "overdue" => {
                format!("overdue {}", detail["order"]["parked_as"])
            }
            "Order Needs Review" => format!("{} {}", detail["reason"], detail["stated_status"]),
            "Card Available" => "a card".to_owned(),
            _ => continue,
        };
        *seen.entry(what).or_default() += 1;
    }
    for (what, times) in seen {
        assert_eq!(times, 1, "{name}: {what}");
    }
}

/// No more checks than the retry schedules have: counted from the settings' text, not from what the rules stored.
fn seldom(name: &str, life: &Life, world: &World) {
    let count = |stood: &str| {
        world.checks.iter().filter(|check| check.trigger != Trigger::Status && check.stood == stood).count()
            as i64
    };
    let away: i64 = life.vendor_away.iter().map(|window| window.end - window.start).sum();
    // A failed check is followed by others after 5, 10, 20, 40 and 60 minutes, less 10 % of jitter, then each hour. To an order that
    // the vendor has shown before, "not found" is a failure too.
    let gone: i64 = life
        .vendor
        .windows(2)
        .filter(|w| matches!(w[0].1, NotFound | Failing(_)))
        .map(|w| w[1].0 - w[0].0)
        .sum();
    let windows = life.vendor_away.len() as i64 + life.vendor.len() as i64;
    let failures = 6 * windows + (away + gone) / (54 * MINUTE);
    // A process that dies has its check made again; a clock that jumps may bring one check forward, begin a poll retry schedule anew, or have a
    // check made that another clock finds due.
    let changes = life.clocks.len() as i64 - 1;
    let mut more = world.deaths as i64 + failures;
    if !life.clocks_are_right() {
        more += 40 * (changes + 1) + 2 * world.requests as i64;
    }
    // Rungs before the last, and the last wait.
    let retry_schedules = [
        ("queued", 1, 12 * HOUR),
        ("uncertain", 6, 24 * HOUR),
        ("delayed", 4, 24 * HOUR),
        ("not_found", 5, 24 * HOUR),
        ("final", 3, 24 * HOUR),
    ];
    for (stood, attempts, last) in retry_schedules {
        let (time, times) = world.stood.get(stood).copied().unwrap_or_default();
        let most = times as i64 * (attempts + 2) + time / (last * 9 / 10) + more;
        assert!(count(stood) <= most, "{name}: {} checks {stood}, at most {most}", count(stood));
    }
    // The default poll retry schedule has 34 moments up to its deadline; a slow answer leaves room for one check past it.
    let (_, times) = world.stood.get("in_flight").copied().unwrap_or_default();
    let most = 36 * times as i64 + more;
    assert!(count("in_flight") <= most, "{name}: {} checks in flight, at most {most}", count("in_flight"));
    if life.clocks_are_right() {
        for pair in world.checks.windows(2) {
            let gap = pair[1].at - pair[0].at;
            let least = match (pair[1].trigger, pair[1].stood) {
                (Trigger::Status, "in_flight") => 5 * SECOND,
                (Trigger::Status, _) => 10 * MINUTE,
                (_, "in_flight") => 3 * SECOND,
                // Its time has come, whoever checked early.
                _ => 0,
            };
            assert!(gap >= least, "{name}: {gap} ms between checks, {} {:?}", pair[1].stood, pair[1].trigger);
        }
        let swept: Vec<&Made> =
            world.checks.iter().filter(|check| check.trigger == Trigger::Recheck).collect();
        for pair in swept.windows(2) {
            assert!(pair[1].at - pair[0].at >= 54 * SECOND, "{name}: two rechecks check once");
        }
    }
}

fn away(start: i64, length: i64) -> Vec<Window> {
    std::iter::once(start..start + length).collect()
}

/// When an event of this kind was first heard.
fn heard_at(heard: &[(i64, String)], kind: &str) -> Option<i64> {
    heard.iter().find(|(_, heard)| heard == kind).map(|(at, _)| *at)
}

fn names(heard: &[(i64, String)]) -> Vec<&str> {
    heard.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn an_order_that_does_not_move_for_a_year_is_told_of_once_and_its_outcome_is_heard() {
    use Product::{Internet, Mobile};
    let hour = 11 * HOUR / 10 + 2 * MINUTE; // with jitter, and a recheck that comes late
    /// Name, product, what the vendor says, what is heard, the last of it so long after it was there, checks most.
    type Row = (&'static str, Product, Vec<(i64, Says)>, Vec<&'static str>, i64, usize);
    #[rustfmt::skip]
    let rows: [Row; 14] = [
        ("queued", Internet, vec![(0, Status("QUEUED")), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Queued", "Order Needs Review (overdue)", "Order Fulfilled"], 12 * hour, 820),
        ("uncertain", Mobile, vec![(0, Status("UNKNOWN_ERROR")), (YEAR, Status("REFUNDED"))],
         vec!["Order Tracked", "Order Uncertain", "Order Needs Review (overdue)", "Order Refunded"], 24 * hour, 420),
        ("delayed", Mobile, vec![(0, Status("HANDLING")), (YEAR, Status("FULFILLED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 450),
        ("an unrecognised status", Mobile, vec![(0, Status("SUCCESS")), (YEAR, Status("REFUNDED"))],
         vec!["Order Tracked", "Order Needs Review (unrecognised_status)", "Order Delayed", "Order Needs Review (overdue)", "Order Refunded"], 24 * hour, 450),
        ("not found", Mobile, vec![(0, NotFound), (YEAR, Status("FULFILLED"))],
         vec!["Order Tracked", "Order Needs Review (not_found)", "Order Needs Review (overdue)", "Order Fulfilled"], 30 * 24 * hour, 70),
        ("seen once, then not found", Mobile, vec![(0, Status("PENDING")), (9 * SECOND, NotFound), (YEAR, Status("FULFILLED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (vanished)", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 460),
        ("an answer that cannot be read", Mobile, vec![(0, Failing(Trouble::Unreadable)), (YEAR, Status("REFUNDED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (unreadable)", "Order Needs Review (overdue)", "Order Refunded"], 24 * hour, 460),
        ("a call that is rejected", Internet, vec![(0, Failing(Trouble::Rejected)), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (rejected)", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 460),
        ("a table that takes nothing of it", Mobile, vec![(0, Failing(Trouble::StoreRefuses)), (YEAR, Status("FULFILLED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (store_refuses)", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 460),
        ("queued, and then not to be read", Internet, vec![(0, Status("QUEUED")), (DAY / 2, Failing(Trouble::Unreadable)), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Queued", "Order Needs Review (unreadable)", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 430),
        ("fulfilled, and its card never to be read", Internet, vec![(0, Status("FULFILLED")), (MINUTE / 2, Failing(Trouble::Unreadable)), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Fulfilled", "Order Needs Review (unreadable)", "Order Needs Review (card_missing)", "Card Available"], 24 * hour, 420),
        ("fulfilled without its card", Internet, vec![(0, Status("FULFILLED")), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Fulfilled", "Order Needs Review (card_missing)", "Card Available"], 24 * hour, 410),
        ("final", Mobile, vec![(0, Status("REFUNDED"))], vec!["Order Tracked", "Order Refunded"], 0, 3),
        ("queued and moving in turns", Internet, vec![(0, Status("QUEUED")), (30 * DAY, Status("HANDLING")), (32 * DAY, Status("QUEUED")),
         (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Queued", "Order Needs Review (overdue)", "Order Resumed", "Order Delayed",
              "Order Needs Review (overdue)", "Order Fulfilled"], 12 * hour, 860),
    ];
    for (name, product, vendor, events, late, most) in rows {
        let life = Life::new(product, &vendor);
        let stated = life.calm_from();
        for seed in 0..3 {
            let mut world = World::new(&life, seed);
            world.live();
            assert!(world.checks.len() <= most, "{name}: {} checks", world.checks.len());
            let heard = live(name, &life, seed);
            assert_eq!(names(&heard), events, "{name}");
            let last = heard.last().unwrap().0;
            assert!(
                last <= stated + late.max(MINUTE),
                "{name}: heard {} min after it was stated",
                (last - stated) / MINUTE
            );
        }
    }
}

/// A refund may be followed by a retry: the order is checked twice more, and what it lives on under is told of.
#[test]
fn a_retry_that_comes_after_the_refund_is_heard() {
    let schedule = Schedule::default();
    let refunded = check(&tracked(Product::Mobile), 8, shows("REFUNDED")).order;
    let first = 8 + HOUR / SECOND;
    assert_eq!(
        schedule.due_at(&Order { published: refunded.seq, ..refunded.clone() }, at(8)),
        Some(at(first))
    );
    assert!(refunded.wants_check(Trigger::Recheck, at(first), &schedule));
    let nothing_new = check(&refunded, first, shows("REFUNDED"));
    assert!(nothing_new.events.is_empty());
    let second = first + DAY / SECOND;
    assert_eq!(nothing_new.order.next_check_at, Some(at(second)));
    let retry = check(&nothing_new.order, second, retried("REFUNDED"));
    assert_eq!(types(&retry.events), ["Order Needs Review (retried)"]);
    assert_eq!((retry.order.next_check_at, retry.order.links_to_track().len()), (None, 1));

    // A check that fails for good is as good as made; one whose vendor is away is made again, for a week.
    let failed = check(&refunded, first, Observation::NotFound);
    assert!(failed.events.is_empty(), "what a refunded order was checked for is no outcome");
    assert_eq!(failed.order.next_check_at, Some(at(second)));
    let failed = check(&failed.order, second, Observation::Trouble(Trouble::Unreadable)).order;
    assert_eq!(failed.next_check_at, None);
    let mut away = refunded;
    let (mut now, mut checks) = (first, 0);
    while let Some(next) = away.next_check_at {
        now = next.as_second() - at(0).as_second();
        away = check(&away, now, Observation::Nothing).order;
        checks += 1;
    }
    assert!(
        (7 * DAY / SECOND..8 * DAY / SECOND).contains(&now) && checks < 180,
        "{checks} checks until {now}"
    );
}

#[test]
fn a_vendor_that_is_away_for_three_days_or_a_year_ends_nothing() {
    let outcome = [(0, Status("HANDLING")), (15 * SECOND, Status("FULFILLED"))];
    let uncertain = [(0, Status("UNKNOWN_ERROR")), (2 * HOUR, Status("REFUNDED"))];
    let starts = [0, 9 * SECOND, 14 * SECOND, 20 * SECOND, 280 * SECOND, HOUR, 110 * MINUTE, DAY];
    for vendor in [outcome, uncertain] {
        for start in starts {
            for length in [3 * DAY, YEAR] {
                let life = Life { vendor_away: away(start, length), ..Life::new(Product::Mobile, &vendor) };
                let heard = live(&format!("away from {} s for {} d", start / SECOND, length / DAY), &life, 1);
                let outcome =
                    heard.iter().find(|(_, name)| name == "Order Fulfilled" || name == "Order Refunded");
                let (at, _) = outcome.expect("an outcome");
                assert!(
                    *at <= start + length + 70 * MINUTE,
                    "heard {} min after it was back",
                    (at - start - length) / MINUTE
                );
            }
        }
    }
}

#[test]
fn a_bus_that_takes_nothing_for_hours_gets_everything_later() {
    for (start, length) in
        [(0, 6 * HOUR), (10 * SECOND, 3 * HOUR), (16 * SECOND, 40 * HOUR), (25 * HOUR, 30 * HOUR)]
    {
        for dies in [0.0, 0.3] {
            let vendor = [(0, Status("QUEUED")), (26 * HOUR, WithCard("FULFILLED"))];
            let life = Life { bus_away: away(start, length), dies, ..Life::new(Product::Internet, &vendor) };
            for seed in 0..5 {
                let heard = live("the bus is away", &life, seed);
                let at = heard_at(&heard, "Order Fulfilled").expect("an outcome");
                let latest = (start + length).max(26 * HOUR) + 27 * HOUR;
                assert!(at <= latest, "heard {} min late", (at - latest) / MINUTE);
            }
        }
    }
}

/// A machine whose clock is ahead parks an order in its own future. The next check by a clock that is right finds it due, and
/// puts it on its retry schedule again.
#[test]
fn an_order_touched_by_a_clock_far_ahead_is_back_on_its_schedule_with_the_next_check() {
    let ahead = 400 * DAY;
    for (text, product) in
        [("QUEUED", Product::Internet), ("UNKNOWN_ERROR", Product::Mobile), ("HANDLING", Product::Mobile)]
    {
        for broken in [0..2 * SECOND, 5 * SECOND..15 * SECOND, 10 * SECOND..2 * DAY] {
            let life = Life {
                clocks: vec![
                    (0, Clocks::default()),
                    (broken.start, Clocks::all(ahead)),
                    (broken.end, Clocks::default()),
                ],
                requests: Some(DAY),
                ..Life::new(product, &[(0, Status(text)), (30 * DAY, Status("REFUNDED"))])
            };
            for seed in 0..5 {
                let heard = live(&format!("{text}, a clock ahead {broken:?}"), &life, seed);
                let at = heard_at(&heard, "Order Refunded").expect("an outcome");
                assert!(at <= 33 * DAY, "{text}: heard {} h after it was stated", (at - 30 * DAY) / HOUR);
            }
        }
    }
}

fn any_clocks(rng: &mut Rng) -> Clocks {
    let mut ahead = || {
        let size = *rng.choice(&[0, 0, 5 * SECOND, 50 * SECOND, 10 * MINUTE, 5 * HOUR, 3 * DAY]).unwrap();
        if size == 0 { 0 } else { rng.i64(-size..=size) }
    };
    match ahead() {
        together if together % 2 == 0 => Clocks::all(together),
        _ => Clocks { status: ahead(), poller: ahead(), recheck: ahead() },
    }
}

fn any_life(rng: &mut Rng) -> Life {
    let product = if rng.bool() { Product::Mobile } else { Product::Internet };
    // Spread evenly over the orders of magnitude, from a second to 60 days.
    let span = |rng: &mut Rng| (SECOND as f64 * 5_184_000f64.powf(rng.f64())) as i64;
    let mut vendor = Vec::new();
    let mut at = 0;
    for _ in 0..rng.usize(0..6) {
        let says = [
            Status("PENDING"),
            Status("HANDLING"),
            Status("QUEUED"),
            Status("UNKNOWN_ERROR"),
            Status("SUCCESS"),
            Status(""),
            NotFound,
            Failing(Trouble::Unreadable),
            Failing(Trouble::Rejected),
            Failing(Trouble::StoreRefuses),
        ];
        vendor.push((at, *rng.choice(&says).unwrap()));
        at += span(rng);
    }
    vendor.push((at, Status(if rng.bool() { "FULFILLED" } else { "REFUNDED" })));
    if rng.bool() && matches!(vendor.last(), Some((_, Status("FULFILLED")))) {
        at += span(rng);
        vendor.push((at, WithCard("FULFILLED")));
    }
    let windows = |rng: &mut Rng, most: usize, longest: i64| {
        let window = |rng: &mut Rng| {
            let start = span(rng);
            start..start + rng.i64(SECOND..longest)
        };
        (0..rng.usize(0..=most)).map(|_| window(rng)).collect::<Vec<_>>()
    };
    let mut clocks = vec![(0, Clocks::default())];
    if rng.bool() {
        clocks.push((0, any_clocks(rng)));
        clocks.extend((0..rng.usize(0..6)).map(|_| (span(rng), any_clocks(rng))));
        clocks.sort_by_key(|(from, _)| *from);
    }
    Life {
        vendor,
        vendor_away: windows(rng, 3, 3 * DAY),
        bus_away: windows(rng, 2, 12 * HOUR),
        clocks,
        dies: *rng.choice(&[0.0, 0.02, 0.3]).unwrap(),
        requests: *rng.choice(&[None, None, Some(HOUR), Some(DAY), Some(10 * DAY)]).unwrap(),
        ..Life::new(product, &[])
    }
}

#[test]
fn whatever_a_year_brings_its_outcome_is_heard_once() {
    let lives = 300;
    for seed in 0..lives {
        let mut life = any_life(&mut Rng::with_seed(seed));
        // Even an order that the vendor did not know for a month, or that a clock ahead has parked, gets its check by then.
        life.until = life.calm_from() + 34 * DAY + life.furthest_ahead();
        let name = format!("life {seed}");
        let result = std::panic::catch_unwind(|| live(&name, &life, seed));
        let heard = result.unwrap_or_else(|_| panic!("life {seed} breaks: {life:?}"));
        let (_, stated) = life.vendor.last().unwrap();
        let outcome = match stated {
            Status("REFUNDED") => "Order Refunded",
            _ => "Order Fulfilled",
        };
        assert!(heard_at(&heard, outcome).is_some(), "life {seed} has no outcome: {heard:?}\n{life:?}");
    }
}

/// What a clock far ahead wrote is due now for whoever comes by, and what it wrote is not written again.
#[test]
fn a_time_that_no_rule_can_have_written_is_not_believed() {
    let schedule = Schedule::default();
    let (now, later) = (at(0), instant(400 * DAY));
    let parked = check(&tracked(Product::Internet), 0, shows("QUEUED")).order;
    let awaits_card = check(&tracked(Product::Internet), 0, shows("FULFILLED")).order;
    let in_flight = Order { phase: Phase::InFlight { since: later }, ..tracked(Product::Mobile) };
    let asked_by_it = Order { asked_at: Some(later), ..in_flight.clone() };
    let asked_since = Order { asked_at: Some(now), ..in_flight.clone() };
    let rows = [
        ("parked until then", Order { next_check_at: Some(later), ..parked.clone() }, true),
        ("parked without a time", Order { next_check_at: None, ..parked.clone() }, true),
        ("parked, in its retry schedule", parked, false),
        ("awaits its card until then", Order { next_check_at: Some(later), ..awaits_card }, true),
        ("in flight from then", in_flight, true),
        ("in flight from then, asked then", asked_by_it, true),
        ("in flight from then, asked just now", asked_since, false),
    ];
    for (name, order, wants) in rows {
        assert_eq!(order.wants_check(Trigger::Recheck, now, &schedule), wants, "{name}");
        let published = Order { published: order.seq, ..order };
        let due_at = schedule.due_at(&published, now).expect(name);
        assert!(due_at <= instant(longest_wait(&published)), "{name}: due at {due_at}");
    }
}
