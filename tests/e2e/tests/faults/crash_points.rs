//! Crash points: for every request of every transition, the refresh is dropped before it leaves or after its
//! answer came. What the next ones make of it must be what would have come without a crash.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{Answer, Gate, IsolatedTable, Passage, Request, Stack, TestBed};
use futures_util::{StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;
use serde_json::Value;
use shared::{
    clock::Clock,
    order::{
        OrderKey,
        Product::{self, Internet, Mobile},
        TrackedBy,
        Trigger::{self, Poller, Recheck, Status},
    },
    refresh::Tracker,
};
use tokio::sync::Notify;

use crate::{START, failing, not_found, odd, rejected, say, shown};

/// A row of the table: an order is brought where it stands, and then one more step is taken, in which it crashes.
struct Transition {
    name: &'static str,
    product: Product,
    before: Vec<Step>,
    then: Step,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    at: Moment,
    act: Act,
    /// What the vendor says meanwhile.
    says: Says,
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So many seconds after the start.
    Second(i64),
    /// When the item says that it is due.
    Due,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Track,
    Check(Trigger),
}

#[derive(Clone, Copy, Debug)]
enum Says {
    Stated(&'static str),
    WithCard,
    /// This status, and in this field the id of the order that it lives on under.
    Names(&'static str, &'static str),
    NoStatus,
    NotFound,
    Odd,
    Rejects,
    Fails,
}
use Says::{Fails, Names, NoStatus, NotFound, Odd, Rejects, Stated, WithCard};

/// Overdue, the last card and the review of an order whose checks fail are one wait away: fewer steps to get there.
const SETTINGS: [(&str, &str); 8] = [
    ("OVERDUE_DELAYED", "4m"),
    ("REVIEW_FAILURES", "2"),
    ("REVIEW_FAILING_FOR", "1s"),
    ("RECHECK_QUEUED", "60h,12h"),
    ("RECHECK_UNCERTAIN", "1h,30h"),
    ("RECHECK_CARD", "1m,4m"),
    ("VENDOR_CALLS_PER_MINUTE", "6000"),
    ("VENDOR_CALLS_BURST", "1000"),
];

fn check(second: i64, trigger: Trigger, says: Says) -> Step {
    Step { at: Moment::Second(second), act: Act::Check(trigger), says }
}

fn recheck(says: Says) -> Step {
    Step { at: Moment::Due, act: Act::Check(Recheck), says }
}

/// A transition for each rule.
fn transitions() -> Vec<Transition> {
    let track = Step { at: Moment::Second(0), act: Act::Track, says: WithCard };
    let new = || vec![track];
    let after_first_check = |says| vec![track, check(8, Poller, says)];
    let in_flight = || after_first_check(Stated("HANDLING"));
    let queued = || after_first_check(Stated("QUEUED"));
    let uncertain = || after_first_check(Stated("UNKNOWN_ERROR"));
    let long_uncertain = || [uncertain(), vec![recheck(Stated("UNKNOWN_ERROR"))]].concat();
    let delayed = || [in_flight(), vec![check(280, Poller, Stated("HANDLING"))]].concat();
    let not_known = || vec![track, check(120, Poller, NotFound)];
    let without_card = || after_first_check(Stated("FULFILLED"));
    let daily_card = || [without_card(), vec![recheck(Stated("FULFILLED"))]].concat();
    let refunded = || after_first_check(Stated("REFUNDED"));
    let checked_late = || [refunded(), vec![recheck(Stated("REFUNDED"))]].concat();
    let then = |before: Vec<Step>, step| [before, vec![step]].concat();
    let row = |name, product, before, then| Transition { name, product, before, then };
    vec![
        row("nothing: tracked", Mobile, vec![], track),
        row("new: HANDLING", Mobile, new(), check(8, Poller, Stated("HANDLING"))),
        row("new: FULFILLED", Mobile, new(), check(8, Poller, Stated("FULFILLED"))),
        row("new: REFUNDED", Mobile, new(), check(6, Status, Stated("REFUNDED"))),
        row("new: not found within the grace", Mobile, new(), check(8, Poller, NotFound)),
        row("new: not found after it", Mobile, new(), check(120, Poller, NotFound)),
        row("in flight: HANDLING", Mobile, in_flight(), check(11, Poller, Stated("HANDLING"))),
        row("in flight: PENDING", Mobile, in_flight(), check(14, Status, Stated("PENDING"))),
        row("in flight: FULFILLED", Mobile, in_flight(), check(11, Poller, Stated("FULFILLED"))),
        row("in flight: REFUNDED", Mobile, in_flight(), check(14, Status, Stated("REFUNDED"))),
        row("in flight: FULFILLED with card", Internet, in_flight(), check(11, Poller, WithCard)),
        row(
            "in flight: FULFILLED without card",
            Internet,
            in_flight(),
            check(11, Poller, Stated("FULFILLED")),
        ),
        row("in flight: QUEUED", Mobile, in_flight(), check(11, Poller, Stated("QUEUED"))),
        row("in flight: UNKNOWN_ERROR", Mobile, in_flight(), check(14, Status, Stated("UNKNOWN_ERROR"))),
        row(
            "in flight: HANDLING, redirected",
            Mobile,
            in_flight(),
            check(11, Poller, Names("HANDLING", "follow_orderid")),
        ),
        row(
            "in flight: REFUNDED, tried again",
            Mobile,
            in_flight(),
            check(14, Status, Names("REFUNDED", "retry_orderid")),
        ),
        row(
            "uncertain: REFUNDED, tried again",
            Mobile,
            uncertain(),
            recheck(Names("REFUNDED", "retry_orderid")),
        ),
        row("in flight: unrecognised", Mobile, in_flight(), check(11, Poller, Stated("EN_COURS"))),
        row("in flight: no status", Mobile, in_flight(), check(11, Poller, NoStatus)),
        row("in flight: not found after all", Mobile, in_flight(), check(11, Poller, NotFound)),
        row("in flight: failed check", Mobile, in_flight(), check(11, Poller, Fails)),
        row("in flight: deadline, HANDLING", Mobile, in_flight(), check(280, Poller, Stated("HANDLING"))),
        row("in flight: deadline, unrecognised", Mobile, in_flight(), check(280, Poller, Stated("EN_COURS"))),
        row("in flight: deadline, failed check", Mobile, in_flight(), check(281, Status, Fails)),
        row("in flight: safety net", Mobile, in_flight(), recheck(Stated("HANDLING"))),
        row("queued: HANDLING", Mobile, queued(), recheck(Stated("HANDLING"))),
        row("queued: FULFILLED with card", Internet, queued(), recheck(WithCard)),
        row("queued: REFUNDED", Mobile, queued(), check(700, Status, Stated("REFUNDED"))),
        row("queued: UNKNOWN_ERROR", Mobile, queued(), check(700, Status, Stated("UNKNOWN_ERROR"))),
        row("queued: overdue", Mobile, queued(), recheck(Stated("QUEUED"))),
        row("uncertain: REFUNDED", Mobile, uncertain(), check(700, Status, Stated("REFUNDED"))),
        row("uncertain: FULFILLED", Internet, uncertain(), recheck(WithCard)),
        row("uncertain: HANDLING", Mobile, uncertain(), recheck(Stated("HANDLING"))),
        row("uncertain: overdue", Mobile, long_uncertain(), recheck(Stated("UNKNOWN_ERROR"))),
        row("uncertain: overdue, failed check", Mobile, long_uncertain(), recheck(Fails)),
        row("delayed: FULFILLED", Mobile, delayed(), recheck(Stated("FULFILLED"))),
        row("delayed: QUEUED", Mobile, delayed(), recheck(Stated("QUEUED"))),
        row("delayed: unrecognised", Mobile, delayed(), recheck(Stated("EN_COURS"))),
        row("delayed: failed check", Mobile, delayed(), recheck(Fails)),
        row("not found: still not", Mobile, not_known(), recheck(NotFound)),
        row("not found: known now", Mobile, not_known(), recheck(Stated("HANDLING"))),
        row("not found: FULFILLED", Mobile, not_known(), recheck(Stated("FULFILLED"))),
        row("fulfilled: the card comes", Internet, without_card(), recheck(WithCard)),
        row("fulfilled: no card yet", Internet, without_card(), recheck(Stated("FULFILLED"))),
        row("fulfilled: no card for long", Internet, daily_card(), recheck(Stated("FULFILLED"))),
        row("fulfilled: contradiction", Internet, without_card(), recheck(Stated("REFUNDED"))),
        row("fulfilled: failed check", Internet, without_card(), recheck(Fails)),
        row(
            "in flight: unreadable again",
            Mobile,
            then(in_flight(), check(11, Poller, Odd)),
            check(14, Poller, Odd),
        ),
        row("in flight: unreadable at the deadline", Mobile, in_flight(), check(280, Poller, Odd)),
        row("delayed: rejected again", Mobile, then(delayed(), recheck(Rejects)), recheck(Rejects)),
        row("uncertain: vanished", Mobile, then(uncertain(), recheck(NotFound)), recheck(NotFound)),
        row("fulfilled: its card cannot be read", Internet, then(without_card(), recheck(Odd)), recheck(Odd)),
        row("refunded: checked late", Mobile, refunded(), recheck(Stated("REFUNDED"))),
        row("refunded: checked late, for the last time", Mobile, checked_late(), recheck(Stated("REFUNDED"))),
        row("refunded: tried again later", Mobile, refunded(), recheck(Names("REFUNDED", "retry_orderid"))),
        row(
            "refunded: redirected later",
            Mobile,
            checked_late(),
            recheck(Names("REFUNDED", "follow_orderid")),
        ),
        row("refunded: the late check fails", Mobile, refunded(), recheck(Fails)),
        row("refunded: the late check cannot be read", Mobile, refunded(), recheck(Odd)),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    BeforeItLeaves,
    AfterItsAnswer,
}

#[derive(Clone, Copy, Debug)]
struct CrashPoint {
    /// Which request, from 1.
    request: usize,
    side: Side,
}

/// Counts requests, answers for the vendor, and holds for ever at the crash point.
#[derive(Debug)]
struct CrashGate {
    vendor: Arc<Mutex<Answer>>,
    crash: Option<CrashPoint>,
    requests: AtomicUsize,
    reached: Notify,
}

impl CrashGate {
    fn new(vendor: &Arc<Mutex<Answer>>, crash: Option<CrashPoint>) -> Arc<Self> {
        let vendor = vendor.clone();
        Arc::new(Self { vendor, crash, requests: AtomicUsize::new(0), reached: Notify::new() })
    }

    async fn pass(&self, side: Side) {
        let request = self.requests.load(Ordering::SeqCst);
        if self.crash.is_some_and(|crash| crash.request == request && crash.side == side) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl Gate for CrashGate {
    fn before<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Passage> {
        Box::pin(async {
            self.requests.fetch_add(1, Ordering::SeqCst);
            self.pass(Side::BeforeItLeaves).await;
            match request.operation.as_str() {
                "check-id" => Passage::Answered(self.vendor.lock().unwrap().clone()),
                _ => Passage::Forward,
            }
        })
    }

    fn after<'a>(&'a self, _: &'a Request, _: &'a Answer) -> BoxFuture<'a, ()> {
        Box::pin(self.pass(Side::AfterItsAnswer))
    }
}

/// How a story ended; times, the id and the ciphertext do not count.
#[derive(Debug, PartialEq)]
struct Ending {
    order: BTreeMap<String, String>,
    events: BTreeMap<String, Value>,
}

/// One order's way through a transition.
struct Story<'a> {
    bed: &'a TestBed,
    key: OrderKey,
    clock: Clock,
    vendor: Arc<Mutex<Answer>>,
}

impl Story<'_> {
    async fn tracker(&self, gate: &Arc<CrashGate>) -> Tracker {
        let gate: Arc<dyn Gate> = gate.clone();
        self.bed.tracker(&gate, self.clock.clone(), &format!("key-of-{}", self.key.id), &SETTINGS).await
    }

    fn say(&self, says: Says) {
        let answer = match says {
            Stated(status) => shown(self.key.product, Some(status), false),
            WithCard => shown(self.key.product, Some("FULFILLED"), self.key.product == Internet),
            Names(status, field) => {
                let mut answer = shown(self.key.product, Some(status), false);
                let mut body: Value = serde_json::from_str(&answer.text).unwrap();
                body["data"][field] = self.linked().id.as_str().into();
                answer.text = body.to_string();
                answer
            }
            NoStatus => shown(self.key.product, None, false),
            NotFound => not_found(),
            Odd => odd(),
            Rejects => rejected(),
            Fails => failing(),
        };
        *self.vendor.lock().unwrap() = answer;
    }

    /// The order that it lives on under, where it does.
    fn linked(&self) -> OrderKey {
        OrderKey { product: self.key.product, id: format!("{}-next", self.key.id).parse().unwrap() }
    }

    async fn item(&self) -> Option<BTreeMap<String, AttributeValue>> {
        self.item_of(&self.key).await
    }

    async fn item_of(&self, key: &OrderKey) -> Option<BTreeMap<String, AttributeValue>> {
        Some(self.bed.item(key).await?.into_iter().collect())
    }

    /// Puts the clock to the step's moment, and lets the vendor say what it says.
    async fn get_ready(&self, step: Step) {
        self.say(step.says);
        self.clock.set(match step.at {
            Moment::Second(second) => START.checked_add(Duration::from_secs(second.unsigned_abs())).unwrap(),
            Moment::Due => due_at(&self.item().await.unwrap()).unwrap(),
        });
    }

    /// Takes the step with a crash; the gate says how far it came.
    async fn take(&self, step: Step, crash: Option<CrashPoint>) -> usize {
        self.get_ready(step).await;
        let gate = CrashGate::new(&self.vendor, crash);
        let tracker = self.tracker(&gate).await;
        let key = self.key.clone();
        let mut task = tokio::spawn(async move { act(&tracker, &key, step.act).await });
        tokio::select! {
            ended = &mut task => {
                ended.unwrap();
                assert!(crash.is_none(), "{}: ended before {crash:?}", self.key);
            }
            () = gate.reached.notified() => {
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
            }
        }
        gate.requests.load(Ordering::SeqCst)
    }

    /// Whatever comes later: its wait loop if it has one, and rechecks until nothing is due. The vendor says what it said
    /// until that was committed, and then that the order is fulfilled.
    async fn go_on(&self, version: Option<AttributeValue>, loop_lives: bool) {
        let tracker = self.tracker(&CrashGate::new(&self.vendor, None)).await;
        for _ in 0..40 {
            let Some(item) = self.item().await else {
                // Nobody knows of it yet: whoever told us got no answer, and tells us again.
                act(&tracker, &self.key, Act::Track).await;
                continue;
            };
            if item.get("version") != version.as_ref() {
                self.say(WithCard);
            }
            if loop_lives && is_in_flight(&item) {
                self.clock.set(self.clock.now().checked_add(Duration::from_secs(10)).unwrap());
                act(&tracker, &self.key, Act::Check(Poller)).await;
                continue;
            }
            let Some(due_at) = due_at(&item) else { return self.go_on_with_linked(&tracker).await };
            self.clock.set(self.clock.now().max(due_at));
            act(&tracker, &self.key, Act::Check(Recheck)).await;
        }
        panic!("{} is still due: {:?}", self.key, self.item().await);
    }

    /// The same for the order that it lives on under.
    async fn go_on_with_linked(&self, tracker: &Tracker) {
        let linked = self.linked();
        for _ in 0..40 {
            let due = self.item_of(&linked).await.and_then(|item| due_at(&item));
            let Some(due_at) = due else { return };
            self.clock.set(self.clock.now().max(due_at));
            act(tracker, &linked, Act::Check(Recheck)).await;
        }
        panic!("{linked} is still due: {:?}", self.item_of(&linked).await);
    }

    async fn ending(&self) -> Vec<Ending> {
        let mut endings = vec![self.ending_of(&self.key).await];
        if self.item_of(&self.linked()).await.is_some() {
            endings.push(self.ending_of(&self.linked()).await);
        }
        endings
    }

    async fn ending_of(&self, key: &OrderKey) -> Ending {
        let history = self.bed.history(key).await;
        let published = self.bed.published(key);
        let mut events = BTreeMap::new();
        for event in &history {
            let mut heard = published.iter().filter(|heard| heard.id() == event.id()).peekable();
            assert!(heard.peek().is_some(), "{} was never published", event.id());
            assert!(
                heard.all(|heard| heard.detail == event.detail && heard.detail_type == event.detail_type)
            );
            let detail = event.detail.replace(self.key.id.as_str(), "ID");
            events.insert(
                event.id().replace(self.key.id.as_str(), "ID"),
                timeless(serde_json::from_str(&detail).unwrap()),
            );
        }
        for heard in published {
            assert!(history.iter().any(|event| event.id() == heard.id()), "{} was not committed", heard.id());
        }
        let mut order = BTreeMap::new();
        for (name, value) in self.item_of(key).await.unwrap() {
            let value = format!("{value:?}").replace(self.key.id.as_str(), "ID");
            let kept = !is_time(&name) && name != "card_ciphertext";
            order.insert(name, if kept { value } else { "there".to_owned() });
        }
        Ending { order, events }
    }
}

async fn act(tracker: &Tracker, key: &OrderKey, act: Act) {
    match act {
        Act::Track => drop(tracker.track(key, None, TrackedBy::Poller).await.unwrap()),
        Act::Check(trigger) => drop(tracker.refresh(key, trigger).await.unwrap().unwrap()),
    }
}

fn due_at(item: &BTreeMap<String, AttributeValue>) -> Option<Timestamp> {
    let ms = item.get("due_at")?.as_n().unwrap().parse().unwrap();
    Some(Timestamp::from_millisecond(ms).unwrap())
}

fn is_in_flight(item: &BTreeMap<String, AttributeValue>) -> bool {
    item["phase"] == AttributeValue::S("in_flight".to_owned())
}

fn is_time(name: &str) -> bool {
    name.ends_with("_at") || name.ends_with("_since") || name == "first_parked"
}

/// A crash delays, and nothing else: of times only whether they are there. `stale` says how old one of them is.
fn timeless(detail: Value) -> Value {
    match detail {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let is_time = is_time(&name) || name == "stale";
                let value = if is_time && !value.is_null() { "there".into() } else { timeless(value) };
                (name, value)
            })
            .collect(),
        other => other,
    }
}

/// What the run without a crash shows.
struct Dry {
    requests: usize,
    loop_lives: bool,
    ending: Vec<Ending>,
}

/// Plays a transition. With `crash`, `dry` is what happened without.
async fn play(bed: &TestBed, id: &str, row: &Transition, crash: Option<(CrashPoint, &Dry)>) -> Dry {
    let story = Story {
        bed,
        key: OrderKey { product: row.product, id: id.parse().unwrap() },
        clock: Clock::fixed(START),
        vendor: Arc::new(Mutex::new(failing())),
    };
    let calm = story.tracker(&CrashGate::new(&story.vendor, None)).await;
    for step in &row.before {
        story.get_ready(*step).await;
        act(&calm, &story.key, step.act).await;
    }
    let before = story.item().await;
    let requests = story.take(row.then, crash.map(|(point, _)| point)).await;
    let loop_lives = match crash {
        Some((_, dry)) => dry.loop_lives,
        None => {
            before.as_ref().is_none_or(is_in_flight) && story.item().await.as_ref().is_some_and(is_in_flight)
        }
    };
    story.go_on(before.and_then(|mut item| item.remove("version")), loop_lives).await;
    Dry { requests, loop_lives, ending: story.ending().await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_or_after_any_request_changes_nothing_but_the_time() {
    let started = Instant::now();
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "crash-points").await;
    let bed = TestBed::open(&stack, &place).await;
    let table = transitions();
    let cases: usize = stream::iter(table.iter().enumerate())
        .map(|(number, row)| crash_everywhere(&bed, number, row))
        .buffer_unordered(8)
        .fold(0, |all, cases| async move { all + cases })
        .await;
    let seconds = started.elapsed().as_secs_f32();
    say(&format!("crash points: {cases} cases of {} transitions in {seconds:.0} s", table.len()));
    place.delete(&stack).await;
}

async fn crash_everywhere(bed: &TestBed, number: usize, row: &Transition) -> usize {
    let dry = play(bed, &format!("crash-{number}-none"), row, None).await;
    let sides = [Side::BeforeItLeaves, Side::AfterItsAnswer];
    for request in 1..=dry.requests {
        for side in sides {
            let point = CrashPoint { request, side };
            let id = format!("crash-{number}-{request}-{}", u8::from(side == Side::AfterItsAnswer));
            let crashed = play(bed, &id, row, Some((point, &dry))).await;
            assert_eq!(crashed.ending, dry.ending, "{}, {point:?} of {} requests", row.name, dry.requests);
        }
    }
    say(&format!("crash points: {:36} {} requests", row.name, dry.requests));
    dry.requests * sides.len()
}
