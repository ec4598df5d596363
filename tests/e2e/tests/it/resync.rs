//! Resyncs: a window of the vendor's list is checked again, also for orders that nobody registered.

use std::time::Duration;

use e2e::IsolatedTracker;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{
    cards::CardSafe,
    order::{OrderKey, Product, TrackedBy, Trigger},
    rate_limiter::{Class, ListTrouble, Verdict},
    refresh::Counters,
    resync::JobState,
    store::{ResyncJob, UnregisteredOrder},
    time::later,
};

/// Calls that a test never runs out of, also with half of the rate.
const PLENTY: [(&str, &str); 2] = [("VENDOR_CALLS_PER_MINUTE", "6000"), ("VENDOR_CALLS_BURST", "100")];

fn earlier(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(now.as_second() - seconds).unwrap()
}

/// An order at the vendor that was sent `seconds_ago` and has this status since.
async fn sent(own: &IsolatedTracker, seconds_ago: i64, status: &str) -> OrderKey {
    let timeline = json!([{"after_seconds": 0, "status": status}]);
    let order = json!({
        "product": "mobile", "sent_at": earlier(own.tracker.clock.now(), seconds_ago).to_string(),
        "timeline": timeline, "number": "0665983439", "amount": 500,
    });
    let answer = own.vendor.control("POST", "/orders", Some(order)).await;
    OrderKey { product: Product::Mobile, id: answer["id"].as_str().unwrap().parse().unwrap() }
}

/// Starts a job over the last hour, less a second.
async fn start(own: &IsolatedTracker, track: bool) -> ResyncJob {
    let now = own.tracker.clock.now();
    let job = ResyncJob::new(Product::Mobile, earlier(now, 3600), earlier(now, 1), track, now);
    own.tracker.store.start_resync(job).await.unwrap().0
}

async fn job(own: &IsolatedTracker, id: &str) -> ResyncJob {
    own.tracker.store.resync(id).await.unwrap().unwrap()
}

async fn events(own: &IsolatedTracker, key: &OrderKey) -> Vec<String> {
    let events = own.tracker.store.events_after(key, 0).await.unwrap();
    events.into_iter().map(|event| event.detail_type).collect()
}

async fn list_calls(own: &IsolatedTracker) -> u64 {
    let calls = own.vendor.control("GET", "/calls?endpoint_kind=list", None).await;
    calls["total"].as_u64().unwrap()
}

#[tokio::test]
async fn a_window_with_three_orders_that_nobody_registered() {
    let own = IsolatedTracker::open("resync-window", &PLENTY).await;
    let known = sent(&own, 1800, "FULFILLED").await;
    own.tracker.track(&known, None, TrackedBy::Put).await.unwrap();
    let ended = sent(&own, 1700, "REFUNDED").await;
    own.tracker.track(&ended, None, TrackedBy::Put).await.unwrap();
    own.tracker.refresh(&ended, Trigger::Status).await.unwrap();
    let mut lost = Vec::new();
    for (seconds_ago, status) in [(3000, "FULFILLED"), (2000, "QUEUED"), (10, "REFUNDED")] {
        lost.push(sent(&own, seconds_ago, status).await);
    }
    sent(&own, 7200, "FULFILLED").await;

    let started = start(&own, false).await;
    assert_eq!(start(&own, true).await, started, "the running job");
    own.recheck(60).await;
    let done = job(&own, &started.id).await;
    assert_eq!((done.state, done.unregistered), (JobState::Done, 3), "{done:?}");
    assert!(done.checked >= 2 && done.calls >= 1 && done.ended_at.is_some(), "{done:?}");
    assert_eq!(events(&own, &known).await, ["Order Tracked", "Order Fulfilled"]);
    assert_eq!(events(&own, &ended).await, ["Order Tracked", "Order Refunded"]);
    let (listed, next) = own.tracker.store.unregistered(&done, None, 100).await.unwrap();
    let mut ids: Vec<_> = lost.iter().map(|key| key.id.clone()).collect();
    ids.sort();
    assert_eq!((listed.iter().map(|(order, _)| order.id.clone()).collect::<Vec<_>>(), next), (ids, None));
    assert!(!format!("{listed:?}").contains("0665983439"), "no personal data: {listed:?}");
    assert!(listed.iter().all(|(_, is_tracked)| !is_tracked), "{listed:?}");
    for key in &lost {
        assert!(own.tracker.store.load(key).await.unwrap().is_none(), "{key} is only listed");
    }
    let calls = list_calls(&own).await;
    own.recheck(60).await;
    assert_eq!(list_calls(&own).await, calls, "an ended job makes no calls");

    // The same window anew, and now they are tracked.
    own.tracker.clock.set(later(own.tracker.clock.now(), Duration::from_secs(5)));
    let anew = ResyncJob::new(Product::Mobile, done.from, done.to, true, own.tracker.clock.now());
    let (anew, is_new) = own.tracker.store.start_resync(anew).await.unwrap();
    assert!(is_new && anew.id == started.id);
    assert_eq!((anew.state, anew.unregistered), (JobState::Running, 0));
    own.recheck(60).await;
    let done = job(&own, &anew.id).await;
    assert_eq!((done.state, done.unregistered), (JobState::Done, 3), "{done:?}");
    for (key, outcome) in lost.iter().zip(["Order Fulfilled", "Order Queued", "Order Refunded"]) {
        assert_eq!(events(&own, key).await, ["Order Tracked", outcome]);
        let tracked = own.tracker.store.events_after(key, 0).await.unwrap().remove(0);
        let detail: Value = serde_json::from_str(&tracked.detail).unwrap();
        assert_eq!(detail["by"], "put");
        let stored = own.stored(key).await;
        assert_eq!(stored.published, stored.seq, "all published");
    }
    let (listed, _) = own.tracker.store.unregistered(&done, None, 100).await.unwrap();
    assert!(listed.len() == 3 && listed.iter().all(|(_, is_tracked)| *is_tracked), "{listed:?}");
    let (jobs, next) = own.tracker.store.resyncs(None, 100).await.unwrap();
    assert_eq!((jobs, next), (vec![done], None));
    own.delete().await;
}

#[tokio::test]
async fn a_stopped_job_makes_no_calls() {
    let own = IsolatedTracker::open("resync-stop", &PLENTY).await;
    let started = start(&own, false).await;
    let now = own.tracker.clock.now();
    let (stopped, was_running) = own.tracker.store.stop_resync(&started.id, now).await.unwrap().unwrap();
    assert!(was_running && stopped.state == JobState::Stopped);
    // Progress of a run that had read the job before is dropped.
    let late = ResyncJob { calls: 1, ..started.clone() };
    assert!(!own.tracker.store.keep_resync(&started, &late).await.unwrap());
    own.recheck(60).await;
    assert_eq!((job(&own, &started.id).await, list_calls(&own).await), (stopped, 0));
    own.delete().await;
}

/// Answers the next calls of the mobile list with pages of these rows; the last page goes on for ever.
async fn scripted(own: &IsolatedTracker, pages: &[(Value, u64)]) {
    let page = |(items, total): &(Value, u64)| {
        let pagination = json!({"page": 1, "pageSize": 100, "totalResults": total});
        json!({"kind": "data", "data": {"items": items, "pagination": pagination}})
    };
    let mut answers: Vec<Value> = pages.iter().map(page).collect();
    answers.last_mut().unwrap()["repeat"] = "forever".into();
    let script = json!({"product": "mobile", "answers": answers});
    own.vendor.control("POST", "/lists/script", Some(script)).await;
}

/// A row that was created within the window of [`start`].
fn row(own: &IsolatedTracker, id: &str, status: Value) -> Value {
    let created = earlier(own.tracker.clock.now(), 1800).to_string();
    json!({"_id": id, "status": status, "created_at": created, "topup_amount": 500})
}

async fn ids(own: &IsolatedTracker, job: &ResyncJob) -> Vec<String> {
    let (listed, _) = own.tracker.store.unregistered(job, None, 100).await.unwrap();
    listed.into_iter().map(|(order, _)| order.id.to_string()).collect()
}

/// What a job says after one recheck; a job that has failed is counted once.
async fn ended(own: &IsolatedTracker, started: &ResyncJob) -> ResyncJob {
    let failures = own.recheck(60).await.failed_resyncs;
    let job = job(own, &started.id).await;
    assert_eq!(failures, usize::from(job.state == JobState::Failed), "{job:?}");
    assert_eq!(own.recheck(60).await.failed_resyncs, 0, "it is counted once");
    job
}

#[tokio::test]
async fn a_list_that_ignores_the_window_fails_the_job() {
    let own = IsolatedTracker::open("resync-filter", &PLENTY).await;
    own.vendor.control("POST", "/lists", Some(json!({"compares": "nothing"}))).await;
    for seconds_ago in [7200, 7300] {
        sent(&own, seconds_ago, "FULFILLED").await;
    }
    let failed = ended(&own, &start(&own, true).await).await;
    assert_eq!((failed.state, failed.skipped), (JobState::Failed, 0));
    assert!(failed.why.is_some_and(|why| why.contains("window")));
    own.delete().await;
}

#[tokio::test]
async fn a_job_tells_of_each_row_that_it_could_not_use_and_processes_the_others() {
    let own = IsolatedTracker::open("resync-rows", &PLENTY).await;
    let mut elsewhere = row(&own, "a1", "FULFILLED".into());
    elsewhere["created_at"] = "0001-01-01T00:00:00Z".into();
    let odd = [
        ("a status that is null", vec![row(&own, "a1", Value::Null)]),
        ("a status that is a number", vec![row(&own, "a1", 7.into())]),
        ("an id with a space", vec![row(&own, "a 1", "FULFILLED".into())]),
        ("no object", vec![json!("FULFILLED")]),
        (
            "two rows that differ",
            ["HANDLING", "REFUNDED"].map(|status| row(&own, "a1", status.into())).into(),
        ),
        ("created outside of the window", vec![elsewhere]),
    ];
    for (index, (name, rows)) in odd.into_iter().enumerate() {
        let good = format!("good{index}");
        let mut rows = rows;
        rows.push(row(&own, &good, "FULFILLED".into()));
        let total = rows.len() as u64;
        scripted(&own, &[(rows.into(), total), (json!([]), 0)]).await;
        own.tracker.clock.set(later(own.tracker.clock.now(), Duration::from_secs(1)));
        let failed = ended(&own, &start(&own, false).await).await;
        assert_eq!((failed.state, failed.skipped, failed.unregistered), (JobState::Failed, 1, 1), "{name}");
        assert!(failed.why.as_deref().is_some_and(|why| why.contains("skipped")), "{name}");
        assert_eq!(ids(&own, &failed).await, [good.as_str()], "{name}");
        assert!(failed.position > failed.to, "{name}: the rest of the window was walked");
    }
    let usage = own.tracker.usage().await.unwrap();
    assert!(usage.may_ask_list(Product::Mobile, own.tracker.clock.now()), "ordinary list checks go on");
    own.delete().await;
}

#[tokio::test]
async fn a_page_that_tells_of_more_orders_than_it_shows_is_not_passed() {
    let own = IsolatedTracker::open("resync-totals", &PLENTY).await;
    for (index, rows) in [0, 20].into_iter().enumerate() {
        let rows: Vec<Value> =
            (0..rows).map(|number| row(&own, &format!("{index}x{number}"), "FULFILLED".into())).collect();
        scripted(&own, &[(rows.into(), 500)]).await;
        own.tracker.clock.set(later(own.tracker.clock.now(), Duration::from_secs(1)));
        let failed = ended(&own, &start(&own, false).await).await;
        assert_eq!((failed.state, failed.position), (JobState::Failed, failed.from), "{failed:?}");
        // As the window narrows, the same twenty rows are outside of it.
        let why = ["more orders than it shows", "ignores the time window"][index];
        assert!(failed.why.as_ref().is_some_and(|text| text.contains(why)), "{failed:?}");
    }
    own.delete().await;
}

#[tokio::test]
async fn a_crash_between_the_rows_of_a_page_and_its_job_changes_no_count() {
    let own = IsolatedTracker::open("resync-crash", &PLENTY).await;
    let mut lost = Vec::new();
    for seconds_ago in [3000, 2000, 1500] {
        lost.push(sent(&own, seconds_ago, "REFUNDED").await);
    }
    for track in [false, true] {
        own.tracker.clock.set(later(own.tracker.clock.now(), Duration::from_secs(1)));
        let started = start(&own, track).await;
        for key in &lost {
            let found =
                UnregisteredOrder { id: key.id.clone(), status: None, amount: None, created_at: None };
            assert!(own.tracker.store.keep_unregistered(&started, &found).await.unwrap());
            if track {
                own.tracker.track(key, None, TrackedBy::Put).await.unwrap();
            }
        }
        let done = ended(&own, &started).await;
        assert_eq!((done.state, done.unregistered), (JobState::Done, 3), "{done:?}");
        assert_eq!(ids(&own, &done).await.len(), 3);
    }
    own.delete().await;
}

#[tokio::test]
async fn a_list_that_cannot_be_read_for_an_hour_fails_the_job() {
    let own = IsolatedTracker::open("resync-outage", &PLENTY).await;
    let outage = json!({"answers": [{"kind": "status", "http": 503, "repeat": "forever"}]});
    own.vendor.control("POST", "/lists/script", Some(outage)).await;
    let started = start(&own, false).await;
    let pass = async |minutes: u64| {
        let failures = own.recheck(60).await.failed_resyncs;
        own.tracker.clock.set(later(own.tracker.clock.now(), Duration::from_secs(60 * minutes)));
        failures
    };
    // Two failures with an hour between them, in which it was not its turn, are not an hour of failures.
    assert_eq!((pass(61).await, pass(1).await), (0, 0));
    for _ in 2..9 {
        assert_eq!(pass(1).await, 0);
    }
    assert_eq!(pass(1).await, 1);
    let failed = job(&own, &started.id).await;
    assert_eq!((failed.state, failed.calls), (JobState::Failed, 10));
    assert!(failed.why.is_some_and(|why| why.contains("an hour")));
    let usage = own.tracker.usage().await.unwrap();
    assert!(usage.may_ask_list(Product::Mobile, own.tracker.clock.now()), "ordinary list checks go on");
    own.delete().await;
}

/// The vendor locks out an address after some refusals in a row. So all jobs end with the first in a run.
#[tokio::test]
async fn a_refused_key_ends_the_run_of_all_jobs() {
    let own = IsolatedTracker::open("resync-refused", &PLENTY).await;
    let refused = json!({"kind": "status", "http": 401, "code": "ERR_AUTH", "repeat": "forever"});
    own.vendor.control("POST", "/lists/script", Some(json!({"answers": [refused]}))).await;
    let now = own.tracker.clock.now();
    let mut jobs = Vec::new();
    for day in 1..=6 {
        let (from, to) = (earlier(now, day * 86_400), earlier(now, day * 86_400 - 3600));
        let product = if day % 2 == 0 { Product::Mobile } else { Product::Internet };
        jobs.push(
            own.tracker.store.start_resync(ResyncJob::new(product, from, to, false, now)).await.unwrap().0,
        );
    }
    own.recheck(60).await;
    assert_eq!(list_calls(&own).await, 1);
    let mut failures = 0;
    for _ in 0..120 {
        own.tracker.clock.set(later(own.tracker.clock.now(), Duration::from_secs(60)));
        failures += own.recheck(60).await.failed_resyncs;
    }
    // Each list is off for 5 minutes after three refusals, and then after each.
    let calls = list_calls(&own).await;
    assert!((6..=50).contains(&calls), "{calls} calls in two hours");
    assert_eq!(failures, jobs.len());
    let whys =
        futures_util::future::join_all(jobs.iter().map(async |started| job(&own, &started.id).await.why))
            .await;
    // A job that made a call tells of its refusal.
    assert!(whys.iter().flatten().any(|why| why.contains("ERR_AUTH")), "{whys:?}");
    own.delete().await;
}

/// An ordinary list check turns the list off for a day if a row is of another window. A resync looks at each row itself.
#[tokio::test]
async fn a_list_that_is_off_for_its_filter_is_resynced() {
    let own = IsolatedTracker::open("resync-off", &PLENTY).await;
    let key = own.tracker.vault.secrets().vendor_key.fingerprint().clone();
    // A failure before counts on: the list stays off, and nothing resets it.
    let permit = own.tracker.permits.acquire(&key, Class::Status, None).await.unwrap().unwrap();
    own.tracker.permits.list_failed(&permit, Product::Mobile, &Verdict::Silent).await.unwrap();
    own.tracker.permits.distrust_list(&key, Product::Mobile, ListTrouble::FilterIgnored).await.unwrap();
    assert!(!own.tracker.usage().await.unwrap().may_ask_list(Product::Mobile, own.tracker.clock.now()));
    sent(&own, 1800, "REFUNDED").await;
    let done = ended(&own, &start(&own, false).await).await;
    assert_eq!((done.state, done.unregistered), (JobState::Done, 1), "{done:?}");
    own.delete().await;
}

/// The card of a row cannot be encrypted: its order stays as it is, and the resync says so.
#[tokio::test]
async fn an_order_whose_row_is_not_applied_is_skipped() {
    let mut own = IsolatedTracker::open("resync-cards", &PLENTY).await;
    let sent_at = earlier(own.tracker.clock.now(), 1800).to_string();
    let order = json!({
        "product": "internet", "sent_at": sent_at,
        "timeline": [{"after_seconds": 0, "status": "FULFILLED", "fields": {"card_code": "12345678901234"}}],
    });
    let answer = own.vendor.control("POST", "/orders", Some(order)).await;
    let key = OrderKey { product: Product::Internet, id: answer["id"].as_str().unwrap().parse().unwrap() };
    own.tracker.track(&key, None, TrackedBy::Put).await.unwrap();
    own.tracker.cards = CardSafe::new(own.stack.kms(), "no-such-key".to_owned());
    let now = own.tracker.clock.now();
    let job = ResyncJob::new(Product::Internet, earlier(now, 3600), earlier(now, 1), false, now);
    let failed = ended(&own, &own.tracker.store.start_resync(job).await.unwrap().0).await;
    assert_eq!((failed.state, failed.skipped, failed.checked), (JobState::Failed, 1, 0), "{failed:?}");
    assert_eq!(events(&own, &key).await, ["Order Tracked"]);
    own.delete().await;
}

/// The SDK repeats a write whose answer is late. The failure must be counted all the same.
#[tokio::test]
async fn a_repeated_write_of_an_end_is_kept() {
    let own = IsolatedTracker::open("resync-repeat", &PLENTY).await;
    let started = start(&own, false).await;
    let store = &own.tracker.store;
    let failed = ResyncJob { state: JobState::Failed, why: Some("x".to_owned()), ..started.clone() };
    for _ in 0..2 {
        assert!(store.keep_resync(&started, &failed).await.unwrap());
    }
    let done = ResyncJob { state: JobState::Done, ..started.clone() };
    assert!(!store.keep_resync(&started, &done).await.unwrap());
    own.delete().await;
}

/// Few calls: the next one comes after more than 5 s, once [`use_up`] has taken those of this moment.
const FEW: [(&str, &str); 2] = [("VENDOR_CALLS_PER_MINUTE", "20"), ("VENDOR_CALLS_BURST", "5")];

/// Pollers take all calls that there are now.
async fn use_up(own: &IsolatedTracker) {
    let key = own.tracker.vault.secrets().vendor_key.fingerprint().clone();
    while own.tracker.permits.acquire(&key, Class::Poller, None).await.unwrap().is_ok() {}
}

#[tokio::test]
async fn a_resync_waits_while_other_classes_use_the_rate() {
    let own = IsolatedTracker::open("resync-yields", &FEW).await;
    use_up(&own).await;
    let started = start(&own, false).await;
    let now = own.tracker.clock.now();
    own.tracker.run_resyncs(later(now, Duration::from_secs(5)), &mut Counters::default()).await.unwrap();
    let waiting = job(&own, &started.id).await;
    assert_eq!((waiting.state, waiting.waiting_since), (JobState::Running, Some(now)));
    assert_eq!(list_calls(&own).await, 0);
    // With nobody else calling, its turn comes.
    own.recheck(120).await;
    let done = job(&own, &started.id).await;
    assert_eq!((done.state, done.waiting_since), (JobState::Done, None));
    own.delete().await;
}

/// A job that waits without end would be noticed by nobody. One that waits for its turn only is not at fault.
#[tokio::test]
async fn a_resync_that_gets_no_call_for_a_day_fails() {
    let own = IsolatedTracker::open("resync-waits", &FEW).await;
    let started = start(&own, false).await;
    own.tracker.clock.set(later(own.tracker.clock.now(), Duration::from_secs(1)));
    let next = start(&own, false).await;
    let pass_without_permits = async || {
        use_up(&own).await;
        let mut counters = Counters::default();
        let stop_at = later(own.tracker.clock.now(), Duration::from_secs(5));
        own.tracker.run_resyncs(stop_at, &mut counters).await.unwrap();
        (counters.failed_resyncs, job(&own, &started.id).await)
    };
    let began = own.tracker.clock.now();
    for hours in [0, 12, 23] {
        own.tracker.clock.set(later(began, Duration::from_secs(hours * 3600)));
        let (failed, job) = pass_without_permits().await;
        assert_eq!((failed, job.state, job.waiting_since), (0, JobState::Running, Some(began)), "{hours} h");
    }
    assert_eq!(job(&own, &next.id).await, next, "the next job has not been tried");
    own.tracker.clock.set(later(began, Duration::from_secs(24 * 3600)));
    let (failed, job) = pass_without_permits().await;
    assert_eq!((failed, job.state, list_calls(&own).await), (1, JobState::Failed, 0));
    assert!(job.why.is_some_and(|why| why.contains("no call for a day")));
    own.delete().await;
}
