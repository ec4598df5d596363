//! Simulates one order for a year with a virtual clock: it always stays in the due index, and is not checked too often.
//!
//! [`Simulation`] follows the steps of `refresh` with the same pure functions; the table, the vendor and the bus are its fields. The
//! triggers are those of production: pollers that may crash, status requests, and a recheck every minute that processes the order if it
//! is due.

use std::{collections::BTreeMap, ops::Range};

use fastrand::Rng;

use super::*;

// Times are milliseconds since tracking began, by a correct clock.
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The vendor's answer about the order.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(&'static str),
    WithCard(&'static str),
    NotFound,
    Failing(Trouble),
}
use Answer::{Failing, NotFound, Status, WithCard};

/// The time range of an outage.
type Outage = Range<i64>;

/// Milliseconds by which the clock of each trigger's machine is ahead (negative: behind).
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

/// The conditions of one simulated order.
#[derive(Clone, Debug)]
struct Scenario {
    product: Product,
    /// The vendor's answers, each with its start time.
    vendor: Vec<(i64, Answer)>,
    vendor_outages: Vec<Outage>,
    bus_outages: Vec<Outage>,
    clocks: Vec<(i64, Clocks)>,
    /// Probability that a process crashes during a refresh.
    crash_rate: f64,
    /// Mean time between status requests. One in ten is followed by a burst of one per second.
    requests: Option<i64>,
    until: i64,
}

impl Scenario {
    fn new(product: Product, vendor: &[(i64, Answer)]) -> Self {
        Self {
            product,
            vendor: vendor.to_vec(),
            vendor_outages: Vec::new(),
            bus_outages: Vec::new(),
            clocks: vec![(0, Clocks::default())],
            crash_rate: 0.0,
            requests: None,
            until: YEAR + 60 * DAY,
        }
    }

    fn clocks_at(&self, now: i64) -> Clocks {
        self.clocks.iter().rev().find(|(from, _)| *from <= now).map(|(_, clocks)| *clocks).unwrap_or_default()
    }

    /// The time of the last change: end of an outage, new answer or clock change.
    fn last_change(&self) -> i64 {
        let ends = self.vendor_outages.iter().chain(&self.bus_outages).map(|outage| outage.end);
        let changed = self.vendor.iter().map(|(from, _)| *from);
        ends.chain(changed).chain(self.clocks.iter().map(|(from, _)| *from)).max().unwrap_or(0)
    }

    fn furthest_ahead(&self) -> i64 {
        let all = self.clocks.iter().flat_map(|(_, clocks)| [clocks.status, clocks.poller, clocks.recheck]);
        all.max().unwrap_or(0).max(0)
    }

    fn clocks_are_right(&self) -> bool {
        self.clocks.iter().all(|(_, clocks)| (clocks.status, clocks.poller, clocks.recheck) == (0, 0, 0))
    }
}

fn within(outages: &[Outage], now: i64) -> bool {
    outages.iter().any(|outage| outage.contains(&now))
}

/// The step after which a process crashes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crash {
    Claimed,
    Committed,
    Published,
}

/// A running execution of the state machine.
struct Execution {
    tick_at: i64,
    ends_at: i64,
}

/// A check, with the phase of the order before it.
struct Made {
    at: i64,
    trigger: Trigger,
    phase: &'static str,
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    schedule: Schedule,
    rng: Rng,
    now: i64,
    order: Order,
    due_at: Option<Timestamp>,
    history: Vec<Event>,
    /// By event id: when it was first published, and the event.
    published: BTreeMap<String, (i64, Event)>,
    executions: Vec<Execution>,
    rechecked_at: i64,
    /// Pending answers of a slow vendor: applied later, possibly after newer ones.
    answers: Vec<(i64, Trigger, CheckResult)>,
    checks: Vec<Made>,
    crashes: usize,
    requests: usize,
    /// By phase: time spent in it, and how often it was entered.
    phases: BTreeMap<&'static str, (i64, usize)>,
}

fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(START + millis).unwrap()
}

fn phase_name(order: &Order) -> &'static str {
    match order.phase {
        Phase::Parked { parked_as, .. } => parked_as.as_str(),
        other => other.as_str(),
    }
}

/// The longest wait in the order's phase: the longest of its retry schedule with 10 % jitter, or the longest after a failure if that is
/// longer; in flight, the poll deadline plus 1 min. Plus 1 min for clock differences.
fn longest_wait(order: &Order) -> i64 {
    let wait = match phase_name(order) {
        "in_flight" => 280 * SECOND + MINUTE,
        "not_found" => 33 * DAY,
        _ => 24 * HOUR + 144 * MINUTE,
    };
    wait + MINUTE
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let schedule = Schedule::default();
        let by_poller = scenario.clocks_at(0).poller;
        let (order, event) =
            Order::track(key(scenario.product), None, TrackedBy::Put, instant(by_poller), &schedule);
        let due_at = schedule.due_at(&order, instant(by_poller));
        let mut simulation = Self {
            scenario,
            schedule,
            rng: Rng::with_seed(seed),
            now: 0,
            phases: BTreeMap::from([(phase_name(&order), (0, 1))]),
            order,
            due_at,
            history: vec![event],
            published: BTreeMap::new(),
            executions: Vec::new(),
            rechecked_at: 0,
            answers: Vec::new(),
            checks: Vec::new(),
            crashes: 0,
            requests: 0,
        };
        simulation.assert_due_index(instant(by_poller));
        simulation.publish(Trigger::Poller, None);
        simulation
    }

    fn clock(&self, trigger: Trigger) -> Timestamp {
        instant(self.now + self.scenario.clocks_at(self.now).ahead(trigger))
    }

    fn run(&mut self) {
        let mut next_request = self.scenario.requests.map(|mean| self.rng.i64(0..2 * mean));
        let mut burst = 0;
        loop {
            let tick = self.executions.iter().map(|execution| execution.tick_at).min();
            let answer = self.answers.iter().map(|(at, ..)| *at).min();
            let clocks = self.scenario.clocks.iter().map(|(from, _)| *from).find(|from| *from > self.now);
            let next = [self.next_recheck(), tick, answer, next_request, clocks, Some(self.scenario.until)];
            let next = next.into_iter().flatten().min().unwrap().max(self.now);
            self.advance_to(next);
            if next >= self.scenario.until {
                return;
            }
            if answer == Some(next) {
                let index = self.answers.iter().position(|(at, ..)| *at == next).unwrap();
                let (_, trigger, check_result) = self.answers.swap_remove(index);
                self.apply(trigger, &check_result, None);
            } else if tick == Some(next) {
                self.tick();
            } else if next_request == Some(next) {
                self.requests += 1;
                self.refresh(Trigger::Status);
                burst = if burst > 0 { burst - 1 } else { 30 * usize::from(self.rng.u8(0..10) == 0) };
                let mean = self.scenario.requests.unwrap();
                next_request = Some(next + if burst > 0 { SECOND } else { self.rng.i64(SECOND..2 * mean) });
            } else if self.next_recheck() == Some(next) {
                self.rechecked_at = next;
                self.refresh(Trigger::Recheck);
            }
        }
    }

    fn advance_to(&mut self, next: i64) {
        self.phases.entry(phase_name(&self.order)).or_default().0 += next - self.now;
        self.now = next;
    }

    /// The first full minute at which the due index lists the order.
    fn next_recheck(&self) -> Option<i64> {
        let ahead = self.scenario.clocks_at(self.now).recheck;
        let due = self.due_at?.as_millisecond() - START - ahead;
        Some((due.max(self.now).max(self.rechecked_at + 1) + MINUTE - 1).div_euclid(MINUTE) * MINUTE)
    }

    fn tick(&mut self) {
        let index = self.executions.iter().position(|execution| execution.tick_at == self.now).unwrap();
        let crashed = self.refresh(Trigger::Poller);
        let now = self.clock(Trigger::Poller);
        let execution = self.executions.get_mut(index).unwrap();
        let ended = self.order.polling_has_ended(now, &self.schedule);
        match self.order.next_poll(now, &self.schedule) {
            Some(next) if !crashed && !ended => {
                let wait = next.duration_since(now).as_millis() as i64;
                execution.tick_at += ((wait + 999) / SECOND).clamp(1, 300) * SECOND;
            }
            _ => execution.tick_at = i64::MAX,
        }
        self.executions.retain(|execution| execution.tick_at < execution.ends_at);
    }

    fn crash(&mut self) -> Option<Crash> {
        if self.rng.f64() >= self.scenario.crash_rate {
            return None;
        }
        self.crashes += 1;
        self.rng.choice([Crash::Claimed, Crash::Committed, Crash::Published])
    }

    /// One refresh by `trigger`; returns whether the process crashed.
    fn refresh(&mut self, trigger: Trigger) -> bool {
        let crash = self.crash();
        if trigger == Trigger::Recheck {
            self.publish(trigger, crash);
        }
        let now = self.clock(trigger);
        if !self.order.wants_check(trigger, now, &self.schedule) {
            if trigger == Trigger::Recheck {
                self.write_due(self.schedule.due_at(&self.order, now), now);
            }
            return crash.is_some();
        }
        if trigger == Trigger::Recheck {
            self.write_due(Some(self.order.due_after_claim(now, &self.schedule)), now);
        }
        self.order.asked_at = Some(now);
        self.checks.push(Made { at: self.now, trigger, phase: phase_name(&self.order) });
        if crash == Some(Crash::Claimed) {
            return true;
        }
        let check_result = CheckResult { asked_at: now, observation: self.vendor_answer() };
        if self.rng.u8(0..8) == 0 {
            self.answers.push((self.now + self.rng.i64(1..9 * SECOND), trigger, check_result));
        } else {
            self.apply(trigger, &check_result, crash);
        }
        crash.is_some()
    }

    fn vendor_answer(&self) -> Observation {
        if within(&self.scenario.vendor_outages, self.now) {
            return Observation::Nothing;
        }
        let current = self.scenario.vendor.iter().rev().find(|(from, _)| *from <= self.now);
        match current.map(|(_, answer)| *answer) {
            Some(Status(text)) => shows(text),
            Some(WithCard(text)) => shows_card(text),
            Some(Failing(trouble)) => Observation::Trouble(trouble),
            Some(NotFound) | None => Observation::NotFound,
        }
    }

    fn apply(&mut self, trigger: Trigger, check_result: &CheckResult, crash: Option<Crash>) {
        let now = self.clock(trigger);
        let jitter = Jitter::new(self.rng.f64() * 2.0 - 1.0);
        let Some(decision) = decide(&self.order, check_result, now, jitter, &self.schedule) else { return };
        let before = self.order.phase;
        self.order = Order { version: self.order.version + 1, ..decision.order };
        self.history.extend(decision.events);
        if std::mem::discriminant(&before) != std::mem::discriminant(&self.order.phase)
            || before.parked_as() != self.order.phase.parked_as()
        {
            self.phases.entry(phase_name(&self.order)).or_default().1 += 1;
        }
        self.write_due(self.schedule.due_at(&self.order, now), now);
        if crash != Some(Crash::Committed) {
            self.publish(trigger, crash);
        }
    }

    fn publish(&mut self, trigger: Trigger, crash: Option<Crash>) {
        if self.order.published >= self.order.seq || within(&self.scenario.bus_outages, self.now) {
            return;
        }
        for event in self.history.iter().filter(|event| event.seq > self.order.published) {
            let (_, first) = self.published.entry(event.id()).or_insert((self.now, event.clone()));
            assert_eq!(first, event, "a repeated event has the same detail");
            if matches!(event.detail_type.as_str(), "Order Tracked" | "Order Resumed") {
                self.executions.push(Execution { tick_at: self.now, ends_at: self.now + 300 * SECOND });
            }
        }
        if crash != Some(Crash::Published) {
            self.order.published = self.order.seq;
            let now = self.clock(trigger);
            self.write_due(self.schedule.due_at(&self.order, now), now);
        }
    }

    fn write_due(&mut self, due_at: Option<Timestamp>, now: Timestamp) {
        self.due_at = due_at;
        self.assert_due_index(now);
    }

    /// Asserts that an unfinished order is in the due index, at most its longest wait ahead of the clock that wrote the entry.
    fn assert_due_index(&self, now: Timestamp) {
        let order = &self.order;
        let waits = !order.phase.is_final()
            || order.awaits_card()
            || order.awaits_late_check()
            || order.published < order.seq;
        assert_eq!(self.due_at.is_some(), waits, "{} at {}: {order:?}", self.now, phase_name(order));
        if let Some(due_at) = self.due_at {
            let wait = due_at.duration_since(now).as_millis() as i64;
            assert!(wait <= longest_wait(order), "due in {} min: {order:?}", wait / MINUTE);
        }
    }
}

/// Runs a scenario and asserts what holds for all scenarios; returns the published events in order, each with its first time.
fn simulate(name: &str, scenario: &Scenario, seed: u64) -> Vec<(i64, String)> {
    let mut simulation = Simulation::new(scenario, seed);
    simulation.run();
    let published: Vec<&Event> = simulation.published.values().map(|(_, event)| event).collect();
    let mut committed: Vec<&Event> = simulation.history.iter().collect();
    committed.sort_by_key(|event| event.id());
    assert_eq!(published, committed, "{name}: every event is published");
    assert_raised_once(name, &simulation);
    assert_few_checks(name, scenario, &simulation);
    let mut published: Vec<(i64, Event)> = simulation.published.into_values().collect();
    published.sort_by_key(|(_, event)| event.seq);
    published.into_iter().map(|(at, event)| (at, types(&[event]).remove(0))).collect()
}

/// Asserts that each outcome, review and card event is raised once.
fn assert_raised_once(name: &str, simulation: &Simulation) {
    let mut raised: BTreeMap<String, usize> = BTreeMap::new();
    for event in &simulation.history {
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
        *raised.entry(what).or_default() += 1;
    }
    for (what, times) in raised {
        assert_eq!(times, 1, "{name}: {what}");
    }
}

/// Asserts that there are no more checks than the default settings allow, computed independently of what the rules stored.
fn assert_few_checks(name: &str, scenario: &Scenario, simulation: &Simulation) {
    let count = |phase: &str| {
        simulation
            .checks
            .iter()
            .filter(|check| check.trigger != Trigger::Status && check.phase == phase)
            .count() as i64
    };
    let outage: i64 = scenario.vendor_outages.iter().map(|outage| outage.end - outage.start).sum();
    // A failed check is repeated after 5, 10, 20, 40 and 60 min, less 10 % jitter, then each hour. For an order that the vendor has
    // returned before, "not found" is a failure too.
    let failing: i64 = scenario
        .vendor
        .windows(2)
        .filter(|w| matches!(w[0].1, NotFound | Failing(_)))
        .map(|w| w[1].0 - w[0].0)
        .sum();
    let periods = scenario.vendor_outages.len() as i64 + scenario.vendor.len() as i64;
    let failures = 6 * periods + (outage + failing) / (54 * MINUTE);
    // A crashed process has its check repeated. A clock change may bring a check forward, restart a poll schedule, or make a check due by
    // another clock.
    let changes = scenario.clocks.len() as i64 - 1;
    let mut more = simulation.crashes as i64 + failures;
    if !scenario.clocks_are_right() {
        more += 40 * (changes + 1) + 2 * simulation.requests as i64;
    }
    // Waits before the last one, and the last wait.
    let retry_schedules = [
        ("queued", 1, 12 * HOUR),
        ("uncertain", 6, 24 * HOUR),
        ("delayed", 4, 24 * HOUR),
        ("not_found", 5, 24 * HOUR),
        ("final", 3, 24 * HOUR),
    ];
    for (phase, attempts, last) in retry_schedules {
        let (time, times) = simulation.phases.get(phase).copied().unwrap_or_default();
        let most = times as i64 * (attempts + 2) + time / (last * 9 / 10) + more;
        assert!(count(phase) <= most, "{name}: {} checks {phase}, at most {most}", count(phase));
    }
    // The default poll schedule has 34 polls up to the deadline; a slow answer allows one more check after it.
    let (_, times) = simulation.phases.get("in_flight").copied().unwrap_or_default();
    let most = 36 * times as i64 + more;
    assert!(count("in_flight") <= most, "{name}: {} checks in flight, at most {most}", count("in_flight"));
    if scenario.clocks_are_right() {
        for pair in simulation.checks.windows(2) {
            let gap = pair[1].at - pair[0].at;
            let least = match (pair[1].trigger, pair[1].phase) {
                (Trigger::Status, "in_flight") => 5 * SECOND,
                (Trigger::Status, _) => 10 * MINUTE,
                (_, "in_flight") => 3 * SECOND,
                // A due recheck follows an early status check at any distance.
                _ => 0,
            };
            assert!(gap >= least, "{name}: {gap} ms between checks, {} {:?}", pair[1].phase, pair[1].trigger);
        }
        let rechecks: Vec<&Made> =
            simulation.checks.iter().filter(|check| check.trigger == Trigger::Recheck).collect();
        for pair in rechecks.windows(2) {
            assert!(pair[1].at - pair[0].at >= 54 * SECOND, "{name}: two rechecks within 54 s");
        }
    }
}

fn outage(start: i64, length: i64) -> Vec<Outage> {
    std::iter::once(start..start + length).collect()
}

/// When an event of this kind was first published.
fn published_at(events: &[(i64, String)], kind: &str) -> Option<i64> {
    events.iter().find(|(_, name)| name == kind).map(|(at, _)| *at)
}

fn names(events: &[(i64, String)]) -> Vec<&str> {
    events.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn an_order_unchanged_for_a_year_gets_its_outcome_published() {
    use Product::{Internet, Mobile};
    let hour = 11 * HOUR / 10 + 2 * MINUTE; // 10 % jitter and a late recheck
    /// Name, product, vendor's answers, published events, longest delay of the last one, most checks.
    type Row = (&'static str, Product, Vec<(i64, Answer)>, Vec<&'static str>, i64, usize);
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
        ("found once, then not found", Mobile, vec![(0, Status("PENDING")), (9 * SECOND, NotFound), (YEAR, Status("FULFILLED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (vanished)", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 460),
        ("unreadable answers", Mobile, vec![(0, Failing(Trouble::Unreadable)), (YEAR, Status("REFUNDED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (unreadable)", "Order Needs Review (overdue)", "Order Refunded"], 24 * hour, 460),
        ("rejected calls", Internet, vec![(0, Failing(Trouble::Rejected)), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (rejected)", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 460),
        ("the table rejects the result", Mobile, vec![(0, Failing(Trouble::StoreRefuses)), (YEAR, Status("FULFILLED"))],
         vec!["Order Tracked", "Order Delayed", "Order Needs Review (store_refuses)", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 460),
        ("queued, then unreadable", Internet, vec![(0, Status("QUEUED")), (DAY / 2, Failing(Trouble::Unreadable)), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Queued", "Order Needs Review (unreadable)", "Order Needs Review (overdue)", "Order Fulfilled"], 24 * hour, 430),
        ("fulfilled, then unreadable", Internet, vec![(0, Status("FULFILLED")), (MINUTE / 2, Failing(Trouble::Unreadable)), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Fulfilled", "Order Needs Review (unreadable)", "Order Needs Review (card_missing)", "Card Available"], 24 * hour, 420),
        ("fulfilled without a card", Internet, vec![(0, Status("FULFILLED")), (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Fulfilled", "Order Needs Review (card_missing)", "Card Available"], 24 * hour, 410),
        ("final", Mobile, vec![(0, Status("REFUNDED"))], vec!["Order Tracked", "Order Refunded"], 0, 3),
        ("queued and handling in turns", Internet, vec![(0, Status("QUEUED")), (30 * DAY, Status("HANDLING")), (32 * DAY, Status("QUEUED")),
         (YEAR, WithCard("FULFILLED"))],
         vec!["Order Tracked", "Order Queued", "Order Needs Review (overdue)", "Order Resumed", "Order Delayed",
              "Order Needs Review (overdue)", "Order Fulfilled"], 12 * hour, 860),
    ];
    for (name, product, vendor, events, late, most) in rows {
        let scenario = Scenario::new(product, &vendor);
        let changed = scenario.last_change();
        for seed in 0..3 {
            let mut simulation = Simulation::new(&scenario, seed);
            simulation.run();
            assert!(simulation.checks.len() <= most, "{name}: {} checks", simulation.checks.len());
            let published = simulate(name, &scenario, seed);
            assert_eq!(names(&published), events, "{name}");
            let last = published.last().unwrap().0;
            assert!(
                last <= changed + late.max(MINUTE),
                "{name}: published {} min after the vendor stated it",
                (last - changed) / MINUTE
            );
        }
    }
}

/// The vendor may retry an order after its refund: the order is checked twice more, and the link is tracked.
#[test]
fn a_retry_after_the_refund_is_reviewed() {
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

    // A permanent failure counts as a check; a temporary one is repeated for 7 days.
    let failed = check(&refunded, first, Observation::NotFound);
    assert!(failed.events.is_empty(), "no review: the outcome is known");
    assert_eq!(failed.order.next_check_at, Some(at(second)));
    let failed = check(&failed.order, second, Observation::Trouble(Trouble::Unreadable)).order;
    assert_eq!(failed.next_check_at, None);
    let mut order = refunded;
    let (mut now, mut checks) = (first, 0);
    while let Some(next) = order.next_check_at {
        now = next.as_second() - at(0).as_second();
        order = check(&order, now, Observation::Nothing).order;
        checks += 1;
    }
    assert!(
        (7 * DAY / SECOND..8 * DAY / SECOND).contains(&now) && checks < 180,
        "{checks} checks until {now}"
    );
}

#[test]
fn an_outcome_is_published_after_a_vendor_outage_of_up_to_a_year() {
    let outcome = [(0, Status("HANDLING")), (15 * SECOND, Status("FULFILLED"))];
    let uncertain = [(0, Status("UNKNOWN_ERROR")), (2 * HOUR, Status("REFUNDED"))];
    let starts = [0, 9 * SECOND, 14 * SECOND, 20 * SECOND, 280 * SECOND, HOUR, 110 * MINUTE, DAY];
    for vendor in [outcome, uncertain] {
        for start in starts {
            for length in [3 * DAY, YEAR] {
                let scenario = Scenario {
                    vendor_outages: outage(start, length),
                    ..Scenario::new(Product::Mobile, &vendor)
                };
                let published = simulate(
                    &format!("outage from {} s for {} d", start / SECOND, length / DAY),
                    &scenario,
                    1,
                );
                let outcome =
                    published.iter().find(|(_, name)| name == "Order Fulfilled" || name == "Order Refunded");
                let (at, _) = outcome.expect("an outcome");
                assert!(
                    *at <= start + length + 70 * MINUTE,
                    "published {} min after the outage",
                    (at - start - length) / MINUTE
                );
            }
        }
    }
}

#[test]
fn all_events_are_published_after_an_event_bus_outage() {
    for (start, length) in
        [(0, 6 * HOUR), (10 * SECOND, 3 * HOUR), (16 * SECOND, 40 * HOUR), (25 * HOUR, 30 * HOUR)]
    {
        for crash_rate in [0.0, 0.3] {
            let vendor = [(0, Status("QUEUED")), (26 * HOUR, WithCard("FULFILLED"))];
            let scenario = Scenario {
                bus_outages: outage(start, length),
                crash_rate,
                ..Scenario::new(Product::Internet, &vendor)
            };
            for seed in 0..5 {
                let published = simulate("event bus outage", &scenario, seed);
                let at = published_at(&published, "Order Fulfilled").expect("an outcome");
                let latest = (start + length).max(26 * HOUR) + 27 * HOUR;
                assert!(at <= latest, "published {} min late", (at - latest) / MINUTE);
            }
        }
    }
}

/// A machine whose clock is far ahead schedules the next check in the far future. A correct clock finds the order due, and its check puts
/// the order back on its retry schedule.
#[test]
fn the_next_check_repairs_an_order_written_by_a_clock_far_ahead() {
    let ahead = 400 * DAY;
    for (text, product) in
        [("QUEUED", Product::Internet), ("UNKNOWN_ERROR", Product::Mobile), ("HANDLING", Product::Mobile)]
    {
        for broken in [0..2 * SECOND, 5 * SECOND..15 * SECOND, 10 * SECOND..2 * DAY] {
            let scenario = Scenario {
                clocks: vec![
                    (0, Clocks::default()),
                    (broken.start, Clocks::all(ahead)),
                    (broken.end, Clocks::default()),
                ],
                requests: Some(DAY),
                ..Scenario::new(product, &[(0, Status(text)), (30 * DAY, Status("REFUNDED"))])
            };
            for seed in 0..5 {
                let published = simulate(&format!("{text}, a clock ahead {broken:?}"), &scenario, seed);
                let at = published_at(&published, "Order Refunded").expect("an outcome");
                assert!(
                    at <= 33 * DAY,
                    "{text}: published {} h after the vendor stated it",
                    (at - 30 * DAY) / HOUR
                );
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

fn any_scenario(rng: &mut Rng) -> Scenario {
    let product = if rng.bool() { Product::Mobile } else { Product::Internet };
    // Log-uniform from 1 s to 60 days.
    let span = |rng: &mut Rng| (SECOND as f64 * 5_184_000f64.powf(rng.f64())) as i64;
    let mut vendor = Vec::new();
    let mut at = 0;
    for _ in 0..rng.usize(0..6) {
        let answers = [
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
        vendor.push((at, *rng.choice(&answers).unwrap()));
        at += span(rng);
    }
    vendor.push((at, Status(if rng.bool() { "FULFILLED" } else { "REFUNDED" })));
    if rng.bool() && matches!(vendor.last(), Some((_, Status("FULFILLED")))) {
        at += span(rng);
        vendor.push((at, WithCard("FULFILLED")));
    }
    let outages = |rng: &mut Rng, most: usize, longest: i64| {
        let outage = |rng: &mut Rng| {
            let start = span(rng);
            start..start + rng.i64(SECOND..longest)
        };
        (0..rng.usize(0..=most)).map(|_| outage(rng)).collect::<Vec<_>>()
    };
    let mut clocks = vec![(0, Clocks::default())];
    if rng.bool() {
        clocks.push((0, any_clocks(rng)));
        clocks.extend((0..rng.usize(0..6)).map(|_| (span(rng), any_clocks(rng))));
        clocks.sort_by_key(|(from, _)| *from);
    }
    Scenario {
        vendor,
        vendor_outages: outages(rng, 3, 3 * DAY),
        bus_outages: outages(rng, 2, 12 * HOUR),
        clocks,
        crash_rate: *rng.choice(&[0.0, 0.02, 0.3]).unwrap(),
        requests: *rng.choice(&[None, None, Some(HOUR), Some(DAY), Some(10 * DAY)]).unwrap(),
        ..Scenario::new(product, &[])
    }
}

#[test]
fn every_random_scenario_ends_with_its_outcome_published_once() {
    let scenarios = 300;
    for seed in 0..scenarios {
        let mut scenario = any_scenario(&mut Rng::with_seed(seed));
        // Longer than the monthly check of an unknown order plus the furthest clock.
        scenario.until = scenario.last_change() + 34 * DAY + scenario.furthest_ahead();
        let name = format!("scenario {seed}");
        let result = std::panic::catch_unwind(|| simulate(&name, &scenario, seed));
        let published = result.unwrap_or_else(|_| panic!("scenario {seed} fails: {scenario:?}"));
        let (_, last) = scenario.vendor.last().unwrap();
        let outcome = match last {
            Status("REFUNDED") => "Order Refunded",
            _ => "Order Fulfilled",
        };
        assert!(
            published_at(&published, outcome).is_some(),
            "scenario {seed} has no outcome: {published:?}\n{scenario:?}"
        );
    }
}

/// An order with a time written by a clock far ahead is due now, and the next write replaces that time.
#[test]
fn a_timestamp_too_far_ahead_is_ignored() {
    let schedule = Schedule::default();
    let (now, later) = (at(0), instant(400 * DAY));
    let parked = check(&tracked(Product::Internet), 0, shows("QUEUED")).order;
    let awaits_card = check(&tracked(Product::Internet), 0, shows("FULFILLED")).order;
    let in_flight = Order { phase: Phase::InFlight { since: later }, ..tracked(Product::Mobile) };
    let asked_by_it = Order { asked_at: Some(later), ..in_flight.clone() };
    let asked_since = Order { asked_at: Some(now), ..in_flight.clone() };
    let rows = [
        ("parked, next check far ahead", Order { next_check_at: Some(later), ..parked.clone() }, true),
        ("parked, no next check", Order { next_check_at: None, ..parked.clone() }, true),
        ("parked, on its retry schedule", parked, false),
        ("awaits its card, next check far ahead", Order { next_check_at: Some(later), ..awaits_card }, true),
        ("in flight, start far ahead", in_flight, true),
        ("in flight, start and claim far ahead", asked_by_it, true),
        ("in flight, start far ahead, claimed now", asked_since, false),
    ];
    for (name, order, wants) in rows {
        assert_eq!(order.wants_check(Trigger::Recheck, now, &schedule), wants, "{name}");
        let published = Order { published: order.seq, ..order };
        let due_at = schedule.due_at(&published, now).expect(name);
        assert!(due_at <= instant(longest_wait(&published)), "{name}: due at {due_at}");
    }
}
