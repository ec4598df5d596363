//! Resyncs: a window of the vendor's list is checked again, also for orders that nobody registered.

use std::time::Duration;

use e2e::IsolatedTracker;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{
    order::{OrderKey, Product, TrackedBy, Trigger},
    rate_limiter::Class,
    resync::JobState,
    store::ResyncJob,
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
    assert_eq!((listed.iter().map(|order| order.id.clone()).collect::<Vec<_>>(), next), (ids, None));
    assert!(!format!("{listed:?}").contains("0665983439"), "no personal data: {listed:?}");
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

#[tokio::test]
async fn a_list_that_ignores_the_window_fails_the_job() {
    let own = IsolatedTracker::open("resync-filter", &PLENTY).await;
    own.vendor.control("POST", "/lists", Some(json!({"compares": "nothing"}))).await;
    sent(&own, 7200, "FULFILLED").await;
    let started = start(&own, true).await;
    assert_eq!(own.recheck(60).await.failed_resyncs, 1);
    let failed = job(&own, &started.id).await;
    assert_eq!(failed.state, JobState::Failed);
    assert!(failed.why.is_some_and(|why| why.contains("window")));
    assert_eq!(own.recheck(60).await.failed_resyncs, 0, "it is counted once");
    own.delete().await;
}

#[tokio::test]
async fn a_resync_waits_while_other_classes_use_the_rate() {
    let settings = [("VENDOR_CALLS_PER_MINUTE", "20"), ("VENDOR_CALLS_BURST", "5")];
    let own = IsolatedTracker::open("resync-yields", &settings).await;
    let key = own.tracker.vault.secrets().vendor_key.fingerprint().clone();
    while own.tracker.permits.acquire(&key, Class::Poller, None).await.unwrap().is_ok() {}
    let started = start(&own, false).await;
    let now = own.tracker.clock.now();
    own.tracker.run_resyncs(later(now, Duration::from_secs(5))).await.unwrap();
    assert_eq!((job(&own, &started.id).await, list_calls(&own).await), (started.clone(), 0));
    // With nobody else calling, its turn comes.
    own.recheck(120).await;
    assert_eq!(job(&own, &started.id).await.state, JobState::Done);
    own.delete().await;
}
