//! Crash points: for every request of every transition, the refresh is dropped before the request is sent or after its
//! answer arrived. The order must end in the same state as without the crash.

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

use crate::{START, not_found, order_answer, print_progress, rejected, server_error, unreadable};

/// A row of the table: `before` brings the order to a state; the crash happens in the step `then`.
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
    /// The vendor's answers during this step.
    answer: VendorAnswer,
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Seconds after `START`.
    Second(i64),
    /// When the order's item answer that it is due.
    Due,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Track,
    Check(Trigger),
}

#[derive(Clone, Copy, Debug)]
enum VendorAnswer {
    Stated(&'static str),
    WithCard,
    /// This status, and the id of the linked order in this field.
    Linked(&'static str, &'static str),
    NoStatus,
    NotFound,
    Unreadable,
    Rejects,
    Fails,
}
use VendorAnswer::{Fails, Linked, NoStatus, NotFound, Rejects, Stated, Unreadable, WithCard};

/// Shorter limits, so that few steps reach an overdue order, the last card check and the review of a server_error order.
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

fn check(second: i64, trigger: Trigger, answer: VendorAnswer) -> Step {
    Step { at: Moment::Second(second), act: Act::Check(trigger), answer }
}

fn recheck(answer: VendorAnswer) -> Step {
    Step { at: Moment::Due, act: Act::Check(Recheck), answer }
}

/// One transition per rule of `decide`.
fn transitions() -> Vec<Transition> {
    let track = Step { at: Moment::Second(0), act: Act::Track, answer: WithCard };
    let new = || vec![track];
    let after_first_check = |answer| vec![track, check(8, Poller, answer)];
    let in_flight = || after_first_check(Stated("HANDLING"));
    let queued = || after_first_check(Stated("QUEUED"));
    let uncertain = || after_first_check(Stated("UNKNOWN_ERROR"));
    let long_uncertain = || [uncertain(), vec![recheck(Stated("UNKNOWN_ERROR"))]].concat();
    let delayed = || [in_flight(), vec![check(280, Poller, Stated("HANDLING"))]].concat();
    let not_found_order = || vec![track, check(120, Poller, NotFound)];
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
        row("new: not found within the grace period", Mobile, new(), check(8, Poller, NotFound)),
        row("new: not found after the grace period", Mobile, new(), check(120, Poller, NotFound)),
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
            check(11, Poller, Linked("HANDLING", "follow_orderid")),
        ),
        row(
            "in flight: REFUNDED, retried",
            Mobile,
            in_flight(),
            check(14, Status, Linked("REFUNDED", "retry_orderid")),
        ),
        row(
            "uncertain: REFUNDED, retried",
            Mobile,
            uncertain(),
            recheck(Linked("REFUNDED", "retry_orderid")),
        ),
        row("in flight: unrecognised", Mobile, in_flight(), check(11, Poller, Stated("EN_COURS"))),
        row("in flight: no status", Mobile, in_flight(), check(11, Poller, NoStatus)),
        row("in flight: not found", Mobile, in_flight(), check(11, Poller, NotFound)),
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
        row("not found: still not found", Mobile, not_found_order(), recheck(NotFound)),
        row("not found: known now", Mobile, not_found_order(), recheck(Stated("HANDLING"))),
        row("not found: FULFILLED", Mobile, not_found_order(), recheck(Stated("FULFILLED"))),
        row("fulfilled: card available", Internet, without_card(), recheck(WithCard)),
        row("fulfilled: no card at first recheck", Internet, without_card(), recheck(Stated("FULFILLED"))),
        row("fulfilled: no card at last recheck", Internet, daily_card(), recheck(Stated("FULFILLED"))),
        row("fulfilled: contradiction", Internet, without_card(), recheck(Stated("REFUNDED"))),
        row("fulfilled: failed check", Internet, without_card(), recheck(Fails)),
        row(
            "in flight: unreadable again",
            Mobile,
            then(in_flight(), check(11, Poller, Unreadable)),
            check(14, Poller, Unreadable),
        ),
        row("in flight: unreadable at the deadline", Mobile, in_flight(), check(280, Poller, Unreadable)),
        row("delayed: rejected again", Mobile, then(delayed(), recheck(Rejects)), recheck(Rejects)),
        row("uncertain: vanished", Mobile, then(uncertain(), recheck(NotFound)), recheck(NotFound)),
        row(
            "fulfilled: unreadable",
            Internet,
            then(without_card(), recheck(Unreadable)),
            recheck(Unreadable),
        ),
        row("refunded: late check", Mobile, refunded(), recheck(Stated("REFUNDED"))),
        row("refunded: last late check", Mobile, checked_late(), recheck(Stated("REFUNDED"))),
        row("refunded: retried later", Mobile, refunded(), recheck(Linked("REFUNDED", "retry_orderid"))),
        row(
            "refunded: redirected later",
            Mobile,
            checked_late(),
            recheck(Linked("REFUNDED", "follow_orderid")),
        ),
        row("refunded: late check fails", Mobile, refunded(), recheck(Fails)),
        row("refunded: late check unreadable", Mobile, refunded(), recheck(Unreadable)),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    BeforeRequest,
    AfterAnswer,
}

#[derive(Clone, Copy, Debug)]
struct CrashPoint {
    /// Number of the request, from 1.
    request: usize,
    side: Side,
}

/// Counts requests, answers for the vendor, and never completes at the crash point.
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
            self.pass(Side::BeforeRequest).await;
            match request.operation.as_str() {
                "check-id" => Passage::Answered(self.vendor.lock().unwrap().clone()),
                _ => Passage::Forward,
            }
        })
    }

    fn after<'a>(&'a self, _: &'a Request, _: &'a Answer) -> BoxFuture<'a, ()> {
        Box::pin(self.pass(Side::AfterAnswer))
    }
}

/// The final state of an order and its events. Times, the order's id and the ciphertext are masked.
#[derive(Debug, PartialEq)]
struct FinalState {
    order: BTreeMap<String, String>,
    events: BTreeMap<String, Value>,
}

/// One order in one transition.
struct Run<'a> {
    bed: &'a TestBed,
    key: OrderKey,
    clock: Clock,
    vendor: Arc<Mutex<Answer>>,
}

impl Run<'_> {
    async fn tracker(&self, gate: &Arc<CrashGate>) -> Tracker {
        let gate: Arc<dyn Gate> = gate.clone();
        self.bed.tracker(&gate, self.clock.clone(), &format!("key-of-{}", self.key.id), &SETTINGS).await
    }

    fn set_vendor_answer(&self, answer: VendorAnswer) {
        let answer = match answer {
            Stated(status) => order_answer(self.key.product, Some(status), false),
            WithCard => order_answer(self.key.product, Some("FULFILLED"), self.key.product == Internet),
            Linked(status, field) => {
                let mut answer = order_answer(self.key.product, Some(status), false);
                let mut body: Value = serde_json::from_str(&answer.text).unwrap();
                body["data"][field] = self.linked().id.as_str().into();
                answer.text = body.to_string();
                answer
            }
            NoStatus => order_answer(self.key.product, None, false),
            NotFound => not_found(),
            Unreadable => unreadable(),
            Rejects => rejected(),
            Fails => server_error(),
        };
        *self.vendor.lock().unwrap() = answer;
    }

    /// The key of the linked order; there is an item only if the transition links one.
    fn linked(&self) -> OrderKey {
        OrderKey { product: self.key.product, id: format!("{}-next", self.key.id).parse().unwrap() }
    }

    async fn item(&self) -> Option<BTreeMap<String, AttributeValue>> {
        self.item_of(&self.key).await
    }

    async fn item_of(&self, key: &OrderKey) -> Option<BTreeMap<String, AttributeValue>> {
        Some(self.bed.item(key).await?.into_iter().collect())
    }

    /// Sets the clock and the vendor's answer for the step.
    async fn prepare(&self, step: Step) {
        self.set_vendor_answer(step.answer);
        self.clock.set(match step.at {
            Moment::Second(second) => START.checked_add(Duration::from_secs(second.unsigned_abs())).unwrap(),
            Moment::Due => due_at(&self.item().await.unwrap()).unwrap(),
        });
    }

    /// Runs the step up to the crash point, if any. Returns the number of requests made.
    async fn take(&self, step: Step, crash: Option<CrashPoint>) -> usize {
        self.prepare(step).await;
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

    /// Runs the order to its end: the wait loop if one is running, and rechecks until nothing is due. The vendor
    /// repeats the step's answer until a commit changes `version`, then answers FULFILLED.
    async fn run_to_end(&self, version: Option<AttributeValue>, loop_running: bool) {
        let tracker = self.tracker(&CrashGate::new(&self.vendor, None)).await;
        for _ in 0..40 {
            let Some(item) = self.item().await else {
                // The crash came before the order was tracked: the caller got no answer and retries.
                act(&tracker, &self.key, Act::Track).await;
                continue;
            };
            if item.get("version") != version.as_ref() {
                self.set_vendor_answer(WithCard);
            }
            if loop_running && is_in_flight(&item) {
                self.clock.set(self.clock.now().checked_add(Duration::from_secs(10)).unwrap());
                act(&tracker, &self.key, Act::Check(Poller)).await;
                continue;
            }
            let Some(due_at) = due_at(&item) else { return self.run_linked_to_end(&tracker).await };
            self.clock.set(self.clock.now().max(due_at));
            act(&tracker, &self.key, Act::Check(Recheck)).await;
        }
        panic!("{} is still due: {:?}", self.key, self.item().await);
    }

    /// Rechecks the linked order until it is not due.
    async fn run_linked_to_end(&self, tracker: &Tracker) {
        let linked = self.linked();
        for _ in 0..40 {
            let due = self.item_of(&linked).await.and_then(|item| due_at(&item));
            let Some(due_at) = due else { return };
            self.clock.set(self.clock.now().max(due_at));
            act(tracker, &linked, Act::Check(Recheck)).await;
        }
        panic!("{linked} is still due: {:?}", self.item_of(&linked).await);
    }

    async fn final_state(&self) -> Vec<FinalState> {
        let mut states = vec![self.final_state_of(&self.key).await];
        if self.item_of(&self.linked()).await.is_some() {
            states.push(self.final_state_of(&self.linked()).await);
        }
        states
    }

    async fn final_state_of(&self, key: &OrderKey) -> FinalState {
        let history = self.bed.history(key).await;
        let published = self.bed.published(key);
        let mut events = BTreeMap::new();
        for event in &history {
            let mut copies = published.iter().filter(|copy| copy.id() == event.id()).peekable();
            assert!(copies.peek().is_some(), "{} was never published", event.id());
            assert!(copies.all(|copy| copy.detail == event.detail && copy.detail_type == event.detail_type));
            let detail = event.detail.replace(self.key.id.as_str(), "ID");
            events.insert(
                event.id().replace(self.key.id.as_str(), "ID"),
                mask_times(serde_json::from_str(&detail).unwrap()),
            );
        }
        for copy in published {
            assert!(history.iter().any(|event| event.id() == copy.id()), "{} was not committed", copy.id());
        }
        let mut order = BTreeMap::new();
        for (name, value) in self.item_of(key).await.unwrap() {
            let value = shown(&value).replace(self.key.id.as_str(), "ID");
            let kept = !is_time(&name) && name != "card_ciphertext";
            order.insert(name, if kept { value } else { "there".to_owned() });
        }
        FinalState { order, events }
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

/// The value as text, always the same: a map of the SDK has no order.
fn shown(value: &AttributeValue) -> String {
    match value {
        AttributeValue::M(fields) => format!("{:?}", fields.iter().collect::<BTreeMap<_, _>>()),
        other => format!("{other:?}"),
    }
}

fn is_time(name: &str) -> bool {
    name.ends_with("_at") || name.ends_with("_since") || name == "first_parked"
}

/// Replaces times by a marker: a crash may delay an order but change nothing else. `stale` is an age.
fn mask_times(detail: Value) -> Value {
    match detail {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let is_time = is_time(&name) || name == "stale";
                let value = if is_time && !value.is_null() { "there".into() } else { mask_times(value) };
                (name, value)
            })
            .collect(),
        other => other,
    }
}

/// The result of a run; without a crash it is the baseline.
struct Outcome {
    requests: usize,
    loop_running: bool,
    final_state: Vec<FinalState>,
}

/// Runs a transition. `crash`: the crash point and the baseline; `None` makes the baseline.
async fn play(bed: &TestBed, id: &str, row: &Transition, crash: Option<(CrashPoint, &Outcome)>) -> Outcome {
    let run = Run {
        bed,
        key: OrderKey { product: row.product, id: id.parse().unwrap() },
        clock: Clock::fixed(START),
        vendor: Arc::new(Mutex::new(server_error())),
    };
    let tracker = run.tracker(&CrashGate::new(&run.vendor, None)).await;
    for step in &row.before {
        run.prepare(*step).await;
        act(&tracker, &run.key, step.act).await;
    }
    let before = run.item().await;
    let requests = run.take(row.then, crash.map(|(point, _)| point)).await;
    let loop_running = match crash {
        Some((_, baseline)) => baseline.loop_running,
        None => {
            before.as_ref().is_none_or(is_in_flight) && run.item().await.as_ref().is_some_and(is_in_flight)
        }
    };
    run.run_to_end(before.and_then(|mut item| item.remove("version")), loop_running).await;
    Outcome { requests, loop_running, final_state: run.final_state().await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_request_changes_only_times() {
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
    print_progress(&format!("crash points: {cases} cases of {} transitions in {seconds:.0} s", table.len()));
    place.delete(&stack).await;
}

async fn crash_everywhere(bed: &TestBed, number: usize, row: &Transition) -> usize {
    let baseline = play(bed, &format!("crash-{number}-none"), row, None).await;
    let sides = [Side::BeforeRequest, Side::AfterAnswer];
    for request in 1..=baseline.requests {
        for side in sides {
            let point = CrashPoint { request, side };
            let id = format!("crash-{number}-{request}-{}", u8::from(side == Side::AfterAnswer));
            let crashed = play(bed, &id, row, Some((point, &baseline))).await;
            assert_eq!(
                crashed.final_state, baseline.final_state,
                "{}, {point:?} of {} requests",
                row.name, baseline.requests
            );
        }
    }
    print_progress(&format!("crash points: {:36} {} requests", row.name, baseline.requests));
    baseline.requests * sides.len()
}
