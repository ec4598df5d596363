//! Calls and delay of ways to look at orders, as JSON: one object per run. `make simulate` makes tables, dollars and pictures of it.

mod engine;
mod parked;

use std::io::{Write, stderr, stdout};

use clap::Parser;
use engine::{Assumptions, Outcome, Policy, Shape, run};
use serde::Serialize;
use serde_json::json;
use shared::{
    order::{InvalidLadder, Ladder, Schedule},
    rate_limiter::Budget,
};

/// Runs every scenario and writes JSON to stdout. Everything that is assumed is a parameter.
#[derive(Parser, Debug)]
struct Arguments {
    /// Where chance begins: the same seed, the same figures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How times lie within the documented ranges
    #[arg(long, value_enum, default_value_t = Shape::LogUniform)]
    shape: Shape,
    /// The part of orders that are mobile
    #[arg(long, default_value_t = 0.6)]
    mobile_share: f64,
    /// From a send to its order being tracked, at most, in milliseconds
    #[arg(long, default_value_t = 400)]
    tracked_within_ms: u64,
    /// From the end of a wait to a tick's first question, in milliseconds
    #[arg(long, default_value_t = 60)]
    hop_ms: i64,
    /// From a question to the vendor to the commit of its answer, in milliseconds
    #[arg(long, default_value_t = 150)]
    answer_ms: i64,
    /// Orders a minute of each product on the same account that nobody tracks
    #[arg(long, default_value_t = 0.0)]
    others_per_minute: f64,
    /// Only list checks on one production key
    #[arg(long)]
    gates: bool,
}

#[derive(Serialize)]
struct Figures<'a> {
    table: &'a str,
    name: String,
    orders_per_minute: f64,
    /// Calls a minute for looks; nothing: as many as it takes.
    left: Option<u32>,
    bulk: bool,
    calls: f64,
    checks: f64,
    lists: f64,
    mean: f64,
    p95: f64,
    unnoticed: usize,
    fullest_minute: usize,
    /// What was done for each order, on average.
    per_order: engine::Counts,
}

impl Arguments {
    fn assumed(&self) -> Assumptions {
        Assumptions {
            seed: self.seed,
            shape: self.shape,
            mobile_share: self.mobile_share,
            tracked_within_ms: self.tracked_within_ms,
            hop_ms: self.hop_ms,
            answer_ms: self.answer_ms,
            others_per_minute: self.others_per_minute,
            ..Assumptions::default()
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut all = Vec::new();
    let mut keep =
        |table: &'static str, name: String, rate: f64, left: Option<u32>, bulk: bool, out: Outcome| {
            // Nobody reads it: nothing is lost.
            let _ = writeln!(
                stderr(),
                "{table}: {name}, {rate} orders a minute: {:.2} calls, {:.2} s",
                out.calls(),
                out.mean()
            );
            all.push(Figures {
                table,
                name,
                orders_per_minute: rate,
                left,
                bulk,
                calls: out.calls(),
                checks: out.counts.checks / out.counts.orders,
                lists: out.counts.lists / out.counts.orders,
                mean: out.mean(),
                p95: out.p95(),
                unnoticed: out.unnoticed,
                fullest_minute: out.fullest_minute,
                per_order: out.counts.per_order(),
            });
        };

    // The ladders by themselves: nothing takes time but waiting, and there are calls enough.
    let alone =
        Assumptions { minutes: 400.0, tracked_within_ms: 0, hop_ms: 0, answer_ms: 0, ..arguments.assumed() };
    for (name, schedule, at_once) in ladders()?.into_iter().filter(|_| !arguments.gates) {
        let policy = Policy { schedule, bulk: false, at_once };
        let out = run(&policy, None, &alone);
        keep("ladders", name.to_owned(), alone.orders_per_minute, None, false, out);
    }

    // One production key, 120 calls a minute, sends and looks together.
    for (rate, left) in
        [(24.0, 96), (29.0, 91), (60.0, 60), (95.0, 25), (100.0, 20), (105.0, 15), (108.0, 12), (1000.0, 120)]
    {
        for bulk in [false, true] {
            // Single looks have long broken down by then, and only cost time.
            if bulk || rate <= 60.0 && !arguments.gates {
                let minutes = if rate < 500.0 { 30.0 } else { 10.0 };
                let assumed = Assumptions { orders_per_minute: rate, minutes, ..arguments.assumed() };
                let policy = Policy { schedule: Schedule::default(), bulk, at_once: false };
                let name = if bulk { "bulk looks" } else { "single looks" };
                keep(
                    "key",
                    name.to_owned(),
                    rate,
                    Some(left),
                    bulk,
                    run(&policy, Some(budget(left)?), &assumed),
                );
            }
        }
    }

    // The vendor at another speed than documented.
    let speeds = [(100.0, 20, 30.0), (1000.0, 120, 5.0)].into_iter().filter(|_| !arguments.gates);
    for (rate, left, minutes) in speeds {
        for times in [0.4, 1.0, 2.0] {
            let assumed = Assumptions { orders_per_minute: rate, minutes, times, ..arguments.assumed() };
            let policy = Policy { schedule: Schedule::default(), bulk: true, at_once: false };
            let out = run(&policy, Some(budget(left)?), &assumed);
            keep("speed", format!("times x {times}"), rate, Some(left), true, out);
        }
    }

    // Growth: a fifth of a call for each order.
    let growth = [(10.0, 120.0), (100.0, 30.0), (1000.0, 10.0), (10_000.0, 3.0)];
    for (rate, minutes) in growth.into_iter().filter(|_| !arguments.gates) {
        let left = (rate / 5.0) as u32;
        let assumed = Assumptions { orders_per_minute: rate, minutes, ..arguments.assumed() };
        let policy = Policy { schedule: Schedule::default(), bulk: true, at_once: false };
        keep(
            "growth",
            "bulk looks".to_owned(),
            rate,
            Some(left),
            true,
            run(&policy, Some(budget(left)?), &assumed),
        );
    }

    let parked = parked::compare(arguments.seed);
    let report = json!({"assumptions": format!("{arguments:?}"), "runs": all, "parked": parked});
    writeln!(stdout(), "{report:#}")?;
    Ok(())
}

/// Few calls come one by one, each as soon as it may; of many, a burst is worth its price.
fn budget(left: u32) -> Result<Budget, shared::rate_limiter::InvalidBudget> {
    Budget::new(left, if left < 60 { 1 } else { 5 })
}

/// The vendor's samples, which ask at once, and ours.
fn ladders() -> Result<[(&'static str, Schedule, bool); 4], InvalidLadder> {
    let with = |text: &str| -> Result<Schedule, InvalidLadder> {
        let ladder: Ladder = text.parse()?;
        Ok(Schedule { poll_mobile: ladder.clone(), poll_internet: ladder, ..Schedule::default() })
    };
    let adaptive = "3s,3s,3s,3s,3s,3s,3s,3s,3s,3s,5s,5s,5s,5s,5s,5s,10s";
    Ok([
        ("documented, every 5 s", with("5s")?, true),
        ("documented, adaptive", with(adaptive)?, true),
        ("ours", Schedule::default(), false),
        ("ours, strictly within 5–10 s", with("8s,5s,5s,5s,5s,5s,10s")?, false),
    ])
}
