//! Delay until a queued order's outcome is noticed: by the retry schedule of status checks, and by hourly list checks.

use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;
use shared::order::Schedule;

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
