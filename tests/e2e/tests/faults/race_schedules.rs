//! Races: two to five concurrent refreshes of one order. A seeded scheduler picks which held request runs next. The
//! vendor's answers may release backwards, transactions conflict, clocks differ and actors crash. Invariants 1–5
//! (ARCHITECTURE.md) are checked after every write. Replay a schedule with `RACE_SEED=… cargo test -p e2e --test faults
//! race_schedules`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::AddAssign,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{Answer, Gate, IsolatedTable, Passage, Request, Stack, TestBed, setting};
use fastrand::Rng;
use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use serde_json::json;
use shared::{
    clock::Clock,
    order::{OrderKey, Product, TrackedBy, Trigger},
    refresh::Tracker,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{START, not_found, order_answer, print_progress, rejected, server_error, unreadable};

/// Concurrent schedules; they mostly wait for the local AWS.
const THREADS: usize = 8;
/// Orders per table. Tables stay small: the local AWS reads a whole table to answer an index query.
const SCHEDULES_PER_TABLE: usize = 100;
/// High limits: the rate limiter is not under test.
const SETTINGS: [(&str, &str); 4] = [
    ("VENDOR_CALLS_PER_MINUTE", "6000"),
    ("VENDOR_CALLS_BURST", "1000"),
    // A server_error order is put up for review within a schedule.
    ("REVIEW_FAILURES", "2"),
    ("REVIEW_FAILING_FOR", "5s"),
];
/// Upper bound for the rechecks that bring an order to rest.
const MAX_RECHECKS: usize = 60;

/// A message from an actor to the scheduler.
#[derive(Debug)]
enum Arrival {
    /// A request is held until the scheduler sends on `release`.
    Held { actor: usize, request: Request, release: oneshot::Sender<Release> },
    /// A forwarded request was answered with this HTTP status.
    Answered { actor: usize, status: u16 },
    /// The actor has ended.
    Ended { actor: usize, panicked: bool },
}

/// The scheduler's decision about a held request.
#[derive(Debug)]
struct Release {
    passage: Passage,
    /// False: the actor crashes before it receives the answer.
    answer_arrives: bool,
}

/// Holds each request of one actor until the scheduler releases it.
#[derive(Debug)]
struct Turnstile {
    actor: usize,
    scheduler: mpsc::UnboundedSender<Arrival>,
    answer_arrives: AtomicBool,
}

impl Turnstile {
    fn new(actor: usize, scheduler: &mpsc::UnboundedSender<Arrival>) -> Arc<Self> {
        Arc::new(Self { actor, scheduler: scheduler.clone(), answer_arrives: AtomicBool::new(true) })
    }

    /// Makes the hold_begin of an operation a point of the schedule.
    async fn hold_begin(&self, what: &str) {
        self.before(&Request { operation: what.to_owned(), text: String::new() }).await;
    }
}

impl Gate for Turnstile {
    fn before<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Passage> {
        Box::pin(async {
            let (release, held) = oneshot::channel();
            let arrival = Arrival::Held { actor: self.actor, request: request.clone(), release };
            let Ok(release) = self.scheduler.send(arrival).map(|()| held) else {
                return std::future::pending().await;
            };
            let Ok(release) = release.await else { return std::future::pending().await };
            self.answer_arrives.store(release.answer_arrives, Ordering::SeqCst);
            release.passage
        })
    }

    fn after<'a>(&'a self, _: &'a Request, answer: &'a Answer) -> BoxFuture<'a, ()> {
        Box::pin(async {
            let _ = self.scheduler.send(Arrival::Answered { actor: self.actor, status: answer.status });
            if !self.answer_arrives.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
        })
    }
}

/// Tracks the order if the plan says so, then refreshes it `plan.checks` times.
async fn run_plan(turnstile: &Turnstile, tracker: &Tracker, key: &OrderKey, plan: Plan) {
    if plan.tracks {
        turnstile.hold_begin("track").await;
        // An error after too many lost races is expected; its caller would retry.
        let _ = tracker.track(key, None, TrackedBy::Poller).await;
    }
    for _ in 0..plan.checks {
        turnstile.hold_begin("check").await;
        let _ = tracker.refresh(key, plan.trigger).await;
    }
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    trigger: Trigger,
    tracks: bool,
    checks: u32,
}

/// The order's item after a request.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    status: Option<String>,
    phase: String,
    outcome: Option<String>,
    has_card: bool,
    version: u64,
    seq: u32,
    published: u32,
    due_at: Option<i64>,
}

impl State {
    fn read(item: &HashMap<String, AttributeValue>) -> Self {
        let text = |name: &str| item.get(name).map(|value| value.as_s().unwrap().clone());
        let number = |name: &str| item.get(name).map(|value| value.as_n().unwrap().parse::<i64>().unwrap());
        Self {
            status: text("status"),
            phase: text("phase").unwrap(),
            outcome: text("outcome"),
            has_card: item.contains_key("card_ciphertext"),
            version: number("version").unwrap().unsigned_abs(),
            seq: number("seq").unwrap().try_into().unwrap(),
            published: number("announced").unwrap().try_into().unwrap(),
            due_at: number("due_at"),
        }
    }

    fn is_final(&self) -> bool {
        self.phase == "final"
    }

    fn awaits_card(&self, product: Product) -> bool {
        product == Product::Internet && self.outcome.as_deref() == Some("fulfilled") && !self.has_card
    }
}

/// Totals over schedules.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    schedules: usize,
    actors: usize,
    requests: usize,
    vendor_calls: usize,
    conflicts: usize,
    /// Answers 400: a failed condition or a conflict.
    refused_writes: usize,
    crashes: usize,
    outcomes: usize,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, more: Self) {
        self.schedules += more.schedules;
        self.actors += more.actors;
        self.requests += more.requests;
        self.vendor_calls += more.vendor_calls;
        self.conflicts += more.conflicts;
        self.refused_writes += more.refused_writes;
        self.crashes += more.crashes;
        self.outcomes += more.outcomes;
    }
}

/// Log of a schedule; printed if the test panics.
struct Journal {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines.join("\n");
            print_progress(&format!("{lines}\nschedule of RACE_SEED={}", self.seed));
        }
    }
}

/// One order, its actors and the random generator that picks the next request.
struct Schedule<'a> {
    bed: &'a TestBed,
    key: OrderKey,
    rng: Rng,
    journal: Journal,
    figures: Figures,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    scheduler: mpsc::UnboundedSender<Arrival>,
    now: Timestamp,
    /// Each actor's clock, with its offset in milliseconds.
    clocks: Vec<(Clock, i64)>,
    actors: Vec<JoinHandle<()>>,
    live: BTreeSet<usize>,
    /// The vendor's last answer to each actor (`None`: a failed check), and all statuses that it stated.
    last_answers: HashMap<usize, Option<String>>,
    stated: BTreeSet<String>,
    state: Option<State>,
}

impl<'a> Schedule<'a> {
    fn new(bed: &'a TestBed, id: &str, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let product = if rng.bool() { Product::Mobile } else { Product::Internet };
        let (scheduler, arrivals) = mpsc::unbounded_channel();
        Self {
            bed,
            key: OrderKey { product, id: id.parse().unwrap() },
            rng,
            journal: Journal { seed, lines: Vec::new() },
            figures: Figures { schedules: 1, ..Figures::default() },
            arrivals,
            scheduler,
            now: START,
            clocks: Vec::new(),
            actors: Vec::new(),
            live: BTreeSet::new(),
            last_answers: HashMap::new(),
            stated: BTreeSet::new(),
            state: None,
        }
    }

    /// True with probability 1/`many`.
    fn one_in(&mut self, many: u32) -> bool {
        self.rng.u32(..many) == 0
    }

    fn note(&mut self, line: String) {
        let ms = self.now.as_millisecond() - START.as_millisecond();
        self.journal.lines.push(format!("{:>10.3} s  {line}", ms as f64 / 1000.0));
    }

    fn pass_time(&mut self, ms: i64) {
        self.now = self.now.checked_add(Duration::from_millis(ms.unsigned_abs())).unwrap();
        for (clock, offset) in &self.clocks {
            clock.set(Timestamp::from_millisecond(self.now.as_millisecond() + offset).unwrap());
        }
    }

    async fn start(&mut self, plan: Plan, clock_off: i64) {
        let actor = self.actors.len();
        self.live.insert(actor);
        self.figures.actors += 1;
        let clock = Clock::fixed(Timestamp::from_millisecond(self.now.as_millisecond() + clock_off).unwrap());
        self.clocks.push((clock.clone(), clock_off));
        self.note(format!("actor {actor}: {plan:?}, its clock offset by {clock_off} ms"));
        let turnstile = Turnstile::new(actor, &self.scheduler);
        let gate: Arc<dyn Gate> = turnstile.clone();
        let tracker = self.bed.tracker(&gate, clock, &format!("key-of-{}", self.key.id), &SETTINGS).await;
        let (key, scheduler) = (self.key.clone(), self.scheduler.clone());
        self.actors.push(tokio::spawn(async move {
            let panicked =
                AssertUnwindSafe(run_plan(&turnstile, &tracker, &key, plan)).catch_unwind().await.is_err();
            let _ = scheduler.send(Arrival::Ended { actor, panicked });
        }));
    }

    /// Starts two to five independent actors.
    async fn start_actors(&mut self) {
        let actors = [2, 2, 2, 2, 2, 2, 3, 3, 4, 5][self.rng.usize(..10)];
        let untracked = self.one_in(5);
        if !untracked {
            self.start(Plan { trigger: Trigger::Poller, tracks: true, checks: 0 }, 0).await;
            self.run().await;
        }
        for _ in 0..actors {
            let triggers = [Trigger::Status, Trigger::Poller, Trigger::Poller, Trigger::Recheck];
            let plan = Plan {
                trigger: triggers[self.rng.usize(..triggers.len())],
                tracks: untracked,
                checks: self.rng.u32(1..=3),
            };
            let clock_off = match self.rng.u32(..20) {
                0 => self.rng.i64(-2 * 86_400_000..2 * 86_400_000),
                1..=8 => self.rng.i64(-4000..4000),
                _ => 0,
            };
            self.start(plan, clock_off).await;
        }
    }

    /// Releases one held request after the other until all actors have ended. Before each pick all live actors are
    /// held, so that every earlier answer has taken effect.
    async fn run(&mut self) {
        let mut held = BTreeMap::new();
        let mut last_writer = None;
        loop {
            while held.len() < self.live.len() {
                match self.arrivals.recv().await.unwrap() {
                    Arrival::Held { actor, request, release } => drop(held.insert(actor, (request, release))),
                    Arrival::Answered { actor, status } => self.answered(actor, status),
                    Arrival::Ended { actor, panicked } => {
                        assert!(!panicked, "actor {actor} panicked");
                        self.live.remove(&actor);
                    }
                }
            }
            if let Some(actor) = last_writer.take() {
                self.observe(Some(actor)).await;
            }
            if held.is_empty() {
                return;
            }
            let actor = *held.keys().nth(self.rng.usize(..held.len())).unwrap();
            let (request, release) = held.remove(&actor).unwrap();
            self.release_request(actor, &request, release).await;
            last_writer = is_write(&request).then_some(actor);
        }
    }

    fn answered(&mut self, actor: usize, status: u16) {
        self.note(format!("  actor {actor} is answered {status}"));
        self.figures.refused_writes += usize::from(status == 400);
    }

    /// Forwards, answers or drops a request.
    async fn release_request(&mut self, actor: usize, request: &Request, release: oneshot::Sender<Release>) {
        let is_begin = matches!(request.operation.as_str(), "check" | "track");
        // The code under test draws jitter from the thread's random generator, and so does the SDK: reseed it for each
        // request.
        fastrand::seed(self.rng.u64(..));
        let ms = self.delay_ms(is_begin);
        self.pass_time(ms);
        self.note(format!("actor {actor}: {}", request.operation));
        if is_begin {
            return release.send(Release { passage: Passage::Forward, answer_arrives: true }).unwrap();
        }
        self.figures.requests += 1;
        let crashes = self.one_in(60);
        if crashes && self.rng.bool() {
            return self.crash(actor, "before its request is sent").await;
        }
        let passage = self.passage(actor, request);
        // The send fails if the vendor client timed out meanwhile, on a very busy machine.
        let was_released = release.send(Release { passage, answer_arrives: !crashes }).is_ok();
        if crashes && was_released {
            match self.arrivals.recv().await.unwrap() {
                Arrival::Answered { actor, status } => self.answered(actor, status),
                other => panic!("expected the answer to actor {actor}, got {other:?}"),
            }
            self.crash(actor, "after its answer arrived").await;
        }
    }

    /// Milliseconds until the next request, sometimes seconds; before an operation is_begin, long enough to make a check
    /// due.
    fn delay_ms(&mut self, is_begin: bool) -> i64 {
        match (is_begin, self.rng.u32(..20)) {
            (true, 0) => self.rng.i64(3_600_000..200_000_000),
            (true, 1..=3) => self.rng.i64(60_000..700_000),
            (true, 4..=15) => self.rng.i64(5_000..15_000),
            (false, 0) => self.rng.i64(1_000..9_000),
            _ => self.rng.i64(0..80),
        }
    }

    async fn crash(&mut self, actor: usize, when: &str) {
        self.note(format!("  actor {actor} crashes {when}"));
        self.figures.crashes += 1;
        self.live.remove(&actor);
        self.actors[actor].abort();
        let _ = (&mut self.actors[actor]).await;
    }

    fn passage(&mut self, actor: usize, request: &Request) -> Passage {
        match request.operation.as_str() {
            "check-id" => {
                self.figures.vendor_calls += 1;
                Passage::Answered(self.vendor_answer(actor))
            }
            "TransactWriteItems" if self.one_in(10) => {
                let writes = request.text.matches("\"TableName\"").count();
                let mut reasons = vec![json!({"Code": "None"}); writes];
                reasons[0] =
                    json!({"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"});
                self.conflict(json!({
                    "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                    "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
                    "CancellationReasons": reasons,
                }))
            }
            "UpdateItem" if request.text.contains("\"ORDER\"") && self.one_in(20) => self.conflict(json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
                "message": "Transaction is ongoing for the item",
            })),
            _ => Passage::Forward,
        }
    }

    fn conflict(&mut self, body: serde_json::Value) -> Passage {
        self.note("  conflict".to_owned());
        self.figures.conflicts += 1;
        Passage::Answered(Answer { status: 400, text: body.to_string() })
    }

    fn vendor_answer(&mut self, actor: usize) -> Answer {
        let status = match self.rng.u32(..20) {
            0..=4 => Some("HANDLING"),
            5..=6 => Some("PENDING"),
            7..=8 => Some("QUEUED"),
            9..=10 => Some("UNKNOWN_ERROR"),
            11..=13 => Some("FULFILLED"),
            14..=15 => Some("REFUNDED"),
            16 => Some(["EN_COURS", "FAILED", "SUCCESS"][self.rng.usize(..3)]),
            other => return self.answer_without_status(actor, other),
        };
        let card = self.key.product == Product::Internet && status == Some("FULFILLED") && !self.one_in(3);
        self.note(format!("  the vendor says {status:?}, card: {card}"));
        self.last_answers.insert(actor, status.map(str::to_owned));
        self.stated.extend(status.map(str::to_owned));
        order_answer(self.key.product, status, card)
    }

    /// An answer without a status.
    fn answer_without_status(&mut self, actor: usize, which: u32) -> Answer {
        self.last_answers.insert(actor, None);
        let (what, answer) = match (which, self.rng.u32(..3)) {
            (17, 0) => ("answers without a status", order_answer(self.key.product, None, false)),
            (17, 1) => ("gives an unreadable answer", unreadable()),
            (17, _) => ("rejects the call", rejected()),
            (18, _) => ("answers not found", not_found()),
            _ => ("fails", server_error()),
        };
        self.note(format!("  the vendor {what}"));
        answer
    }

    /// Reads the order and checks the invariants that hold after every write.
    async fn observe(&mut self, writer: Option<usize>) {
        let Some(item) = self.bed.item(&self.key).await else { return };
        let after = State::read(&item);
        let before = self.state.replace(after.clone());
        if before.as_ref() == Some(&after) {
            return;
        }
        self.note(format!("  now {after:?}"));
        self.check_state(&after);
        self.check_change(&before.unwrap_or_default(), &after, writer);
    }

    fn check_state(&self, state: &State) {
        if state.is_final() {
            let status = state.status.as_deref().unwrap();
            assert_eq!(state.outcome, Some(status.to_lowercase()), "invariant 2");
            assert!(self.stated.contains(status), "invariant 2: {status} was never stated");
        }
        let wanted = !state.is_final() || state.awaits_card(self.key.product) || state.published < state.seq;
        assert!(!wanted || state.due_at.is_some(), "invariant 4: the order has no due time");
        let out: BTreeSet<_> = self.bed.published(&self.key).iter().map(e2e::Published::id).collect();
        for seq in 1..=state.published {
            let id = format!("{}#{seq}", self.key);
            assert!(
                out.contains(&id),
                "invariant 3: {id} is marked as published, but was not accepted by EventBridge"
            );
        }
    }

    fn check_change(&self, before: &State, after: &State, writer: Option<usize>) {
        if before.is_final() {
            assert_eq!(
                (&before.phase, &before.outcome, &before.status),
                (&after.phase, &after.outcome, &after.status),
                "invariant 1: a final status never changes"
            );
        }
        if before.status != after.status {
            let last_answer = writer.and_then(|actor| self.last_answers.get(&actor).cloned()).flatten();
            let stated = after.status.clone().unwrap_or_default();
            assert_eq!(
                last_answer,
                Some(stated),
                "invariant 5: a status that the writer's check did not get"
            );
        }
        assert!(before.version <= after.version && before.seq <= after.seq, "version or seq decreased");
        assert!(before.published <= after.published, "`published` decreased");
    }

    /// Rechecks at the item's due times until all events are published and the order is parked or final.
    async fn recheck(&mut self) {
        for _ in 0..MAX_RECHECKS {
            self.observe(None).await;
            let Some(state) = self.state.clone() else { return };
            let in_flight = state.phase == "in_flight";
            if state.published == state.seq && !in_flight {
                return;
            }
            let due_at = Timestamp::from_millisecond(state.due_at.unwrap()).unwrap();
            let wait = (due_at.as_millisecond() - self.now.as_millisecond()).max(0);
            self.pass_time(wait);
            self.start(Plan { trigger: Trigger::Recheck, tracks: false, checks: 1 }, 0).await;
            self.run().await;
        }
        panic!("not at rest after {MAX_RECHECKS} rechecks: {:?}", self.state);
    }

    /// Checks the invariants about history, bus and due index: 2, 3 and 4.
    async fn check_end(&mut self) {
        let Some(state) = self.state.clone() else { return };
        let item = self.bed.item(&self.key).await.unwrap();
        let listed = self.bed.is_in_due_index(&self.key, &item).await;
        assert_eq!(listed, state.due_at.is_some(), "invariant 4: due index and due_at differ");
        let history = self.bed.history(&self.key).await;
        let numbers: Vec<_> = history.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=state.seq).collect::<Vec<_>>(), "invariant 3: gap in the history");
        let published = self.bed.published(&self.key);
        for event in &history {
            let mut copy = published.iter().filter(|copy| copy.id() == event.id()).peekable();
            assert!(copy.peek().is_some(), "invariant 3: {} was never published", event.id());
            let same = copy.all(|copy| copy.detail == event.detail && copy.detail_type == event.detail_type);
            assert!(same, "invariant 3: {} was published with a different detail", event.id());
        }
        for copy in &published {
            let known = history.iter().any(|event| event.id() == copy.id());
            assert!(known, "invariant 3: {} was published, but not committed", copy.id());
        }
        let outcomes: Vec<_> = history
            .iter()
            .filter(|event| matches!(event.detail_type.as_str(), "Order Fulfilled" | "Order Refunded"))
            .map(|event| event.detail_type.to_uppercase())
            .collect();
        let expected = state.is_final().then(|| format!("ORDER {}", state.status.clone().unwrap()));
        assert_eq!(
            outcomes,
            expected.into_iter().collect::<Vec<_>>(),
            "invariant 2: exactly the stated outcome"
        );
        self.figures.outcomes += outcomes.len();
    }
}

/// Whether the request can change an order.
fn is_write(request: &Request) -> bool {
    matches!(request.operation.as_str(), "UpdateItem" | "TransactWriteItems" | "PutItem" | "DeleteItem")
}

/// Runs the schedule of a seed. Returns its totals and its log.
async fn run_schedule(bed: &TestBed, id: &str, seed: u64) -> (Figures, Vec<String>) {
    let mut schedule = Schedule::new(bed, id, seed);
    schedule.start_actors().await;
    schedule.run().await;
    schedule.recheck().await;
    schedule.check_end().await;
    (schedule.figures, std::mem::take(&mut schedule.journal.lines))
}

fn in_a_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn invariants_hold_in_every_race_schedule() {
    let started = Instant::now();
    let number = |name: &str| setting(name).map(|text| text.parse::<u64>().unwrap());
    let (first, schedules) = match number("RACE_SEED") {
        Some(seed) => (seed, 1),
        None => (fastrand::u64(..u64::MAX / 2), number("RACE_SCHEDULES").unwrap_or(2000)),
    };
    print_progress(&format!("races: {schedules} schedules, RACE_SEED={first} and on"));
    let stack = Stack::fast();
    let (next, all) = (AtomicU64::new(0), Mutex::new(Figures::default()));
    // One schedule at a time per thread: production code draws from the thread's random generator.
    let work = async |thread: usize| {
        while next.load(Ordering::SeqCst) < schedules {
            let place = IsolatedTable::create(&stack, &format!("races-{thread}")).await;
            let bed = TestBed::open(&stack, &place).await;
            for _ in 0..SCHEDULES_PER_TABLE {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number < schedules {
                    let (figures, _) = run_schedule(&bed, &format!("race-{number}"), first + number).await;
                    report(figures, &mut all.lock().unwrap(), schedules, started);
                }
            }
            place.delete(&stack).await;
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || in_a_runtime(work(thread)));
        }
    });
}

/// Prints the totals ten times per run.
fn report(figures: Figures, all: &mut Figures, schedules: u64, started: Instant) {
    *all += figures;
    if (all.schedules as u64).is_multiple_of((schedules / 10).max(1)) {
        print_progress(&format!("races: {all:?} after {:.0} s", started.elapsed().as_secs_f32()));
    }
}

#[test]
fn a_seed_replays_its_schedule_exactly() {
    in_a_runtime(async {
        let stack = Stack::fast();
        let place = IsolatedTable::create(&stack, "replays").await;
        let bed = TestBed::open(&stack, &place).await;
        for seed in 1..=10 {
            let (_, first) = run_schedule(&bed, &format!("first-{seed}"), seed).await;
            let (_, second) = run_schedule(&bed, &format!("again-{seed}"), seed).await;
            let first_difference = first.iter().zip(&second).find(|(one, other)| one != other);
            assert_eq!(first_difference, None, "RACE_SEED={seed}");
            assert_eq!(first.len(), second.len(), "RACE_SEED={seed}");
        }
        place.delete(&stack).await;
    });
}
