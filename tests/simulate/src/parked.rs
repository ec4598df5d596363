//! Parked orders: the delay until a queued card is noticed, by the retry schedule of single checks and by hourly list checks; and the calls that
//! rechecks make for very many orders that are due at once.

use std::{collections::HashMap, time::Duration};

use fastrand::Rng;
use jiff::Timestamp;
use serde::Serialize;
use shared::{
    order::{OrderKey, Product, Schedule},
    page::Page,
    planner::{Call, Candidate, List, plan},
};

/// Delay from delivery to the check that notices it, in hours.
#[derive(Serialize)]
pub(crate) struct Delay {
    name: &'static str,
    mean_hours: f64,
    p95_hours: f64,
    checks: f64,
}

const ORDERS: usize = 100_000;
const HOUR: f64 = 3600.0;

/// Queued orders are delivered 12 to 48 h after they were queued (vendor page "Status Tracking & Polling"). A uniform
/// distribution is our assumption. The duration of a check is not counted.
pub(crate) fn compare(seed: u64) -> [Delay; 2] {
    let retry_schedule = Schedule::default().recheck_queued;
    let by_schedule = |rng: &mut Rng, attempt: u32| jittered(rng, retry_schedule.wait(attempt));
    // A list check covers all orders of its window, so each is checked hourly.
    let hourly = |_: &mut Rng, _: u32| HOUR;
    [delay("24 h, then every 12 h", seed, by_schedule), delay("hourly, where a page shows ten", seed, hourly)]
}

fn jittered(rng: &mut Rng, wait: Duration) -> f64 {
    wait.as_secs_f64() * (0.9 + 0.2 * rng.f64())
}

fn delay(name: &'static str, seed: u64, wait: impl Fn(&mut Rng, u32) -> f64) -> Delay {
    let mut rng = Rng::with_seed(seed);
    let mut checks = 0.0;
    let mut delays: Vec<f64> = (0..ORDERS)
        .map(|_| {
            let delivered = (12.0 + 36.0 * rng.f64()) * HOUR;
            let (mut now, mut attempt) = (0.0, 0);
            while now < delivered {
                now += wait(&mut rng, attempt);
                attempt += 1;
            }
            checks += f64::from(attempt);
            (now - delivered) / HOUR
        })
        .collect();
    delays.sort_by(f64::total_cmp);
    Delay {
        name,
        mean_hours: delays.iter().sum::<f64>() / delays.len() as f64,
        p95_hours: delays.get(delays.len() * 95 / 100).copied().unwrap_or_default(),
        checks: checks / ORDERS as f64,
    }
}

/// Rechecks of parked orders that are all due at once.
#[derive(Serialize)]
pub(crate) struct Backlog {
    orders: usize,
    listed: &'static str,
    calls_per_minute: usize,
    calls: usize,
    minutes: usize,
}

/// The recheck lists so many due orders at a time: 4,000 in six parts of the index, of which parked orders have four.
const LISTED: usize = 2664;
/// The recheck of a minute makes calls for so many seconds: its timeout less its reserve.
const RECHECK_SECONDS: usize = 40;
/// Seconds between two orders: 139 were created in a minute, mobile and internet in turn, the last of them a day ago.
const APART: f64 = 60.0 / 139.0;

/// The calls that the production planner makes for so many orders, and the minutes that they take where nothing but the key's calls limits the
/// recheck. The due index lists the orders by creation time; with a seed, in an order of chance.
pub(crate) fn backlog(seed: Option<u64>, orders: usize, calls_per_minute: usize) -> Backlog {
    let now = at(orders as f64 * APART + 24.0 * HOUR);
    let mut left = due_orders(seed, orders, now);
    let mut calls = 0_usize;
    let mut rechecked = HashMap::<Product, Page>::new();
    let list = |known: &HashMap<_, _>, product| {
        Some(List { rows_per_second: 0.5 / APART, rechecked: known.get(&product).copied() })
    };
    while !left.is_empty() {
        let mut pool: Vec<Candidate> = left.iter().take(LISTED).cloned().collect();
        while let Some(planned) = plan(&pool, &[], |product| list(&rechecked, product), now) {
            calls += 1;
            left.retain(|one| !is_shown(one, &planned.call));
            pool.retain(|one| !is_shown(one, &planned.call));
            if let Call::Page(page) = planned.call {
                rechecked.insert(page.product, page);
            }
        }
    }
    let minutes = calls.div_ceil(calls_per_minute * RECHECK_SECONDS / 60);
    let listed = if seed.is_some() { "in any order" } else { "by creation time" };
    Backlog { orders, listed, calls_per_minute, calls, minutes }
}

fn due_orders(seed: Option<u64>, orders: usize, now: Timestamp) -> Vec<Candidate> {
    let one = |index: usize| {
        Some(Candidate {
            key: OrderKey {
                product: if index.is_multiple_of(2) { Product::Mobile } else { Product::Internet },
                id: format!("{index:024x}").parse().ok()?,
            },
            created_at: Some(at(index as f64 * APART)),
            tracked_at: at(index as f64 * APART),
            last_check: at(orders as f64 * APART + HOUR),
            due: now,
            listed: true,
            in_flight: false,
        })
    };
    let mut found: Vec<Candidate> = (0..orders).filter_map(one).collect();
    if let Some(seed) = seed {
        Rng::with_seed(seed).shuffle(&mut found);
    }
    found
}

fn is_shown(one: &Candidate, call: &Call) -> bool {
    match call {
        Call::Single(key) => one.key == *key,
        Call::Page(page) => {
            one.key.product == page.product
                && one.created_at.is_some_and(|created| page.from <= created && created <= page.to)
        }
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond((seconds * 1000.0) as i64).unwrap_or(Timestamp::MAX)
}
