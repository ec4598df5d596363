//! Calls and delay of ways to check orders, as JSON: one object per run. `make simulate` makes tables, dollars and pictures of it.

mod engine;
mod parked;

use std::io::{Write, stderr, stdout};

use clap::Parser;
use engine::{Assumptions, Outcome, Policy, Shape, run};
use serde::Serialize;
use serde_json::json;
use shared::{
    order::{InvalidRetrySchedule, RetrySchedule, Schedule},
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
    /// Calls a minute for checks; nothing: as many as it takes.
    left: Option<u32>,
    list_checks: bool,
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

/// The runs so far.
#[derive(Default)]
struct Runs<'a>(Vec<Figures<'a>>);

impl<'a> Runs<'a> {
    fn keep(&mut self, table: &'a str, name: &str, way: &Way, out: &Outcome) {
        let rate = way.assumed.orders_per_minute;
        // If standard error is closed, nothing is lost.
        let _ = writeln!(
            stderr(),
            "{table}: {name}, {rate} orders a minute: {:.2} calls, {:.2} s",
            out.calls(),
            out.mean()
        );
        self.0.push(Figures {
            table,
            name: name.to_owned(),
            orders_per_minute: rate,
            left: way.left,
            list_checks: way.list_checks,
            calls: out.calls(),
            checks: out.counts.checks / out.counts.orders,
            lists: out.counts.lists / out.counts.orders,
            mean: out.mean(),
            p95: out.p95(),
            unnoticed: out.unnoticed,
            fullest_minute: out.fullest_minute,
            per_order: out.counts.per_order(),
        });
    }
}

/// What a run is about.
struct Way {
    assumed: Assumptions,
    /// Calls a minute for checks.
    left: Option<u32>,
    list_checks: bool,
}

impl Way {
    /// Runs it with the default schedule.
    fn run(&self) -> Result<Outcome, shared::rate_limiter::InvalidBudget> {
        let policy = Policy { schedule: Schedule::default(), list_checks: self.list_checks, at_once: false };
        Ok(run(&policy, self.left.map(budget).transpose()?, &self.assumed))
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn main() -> Done {
    let arguments = Arguments::parse();
    let mut runs = Runs::default();
    if !arguments.gates {
        of_ladders(&arguments, &mut runs)?;
    }
    of_one_key(&arguments, &mut runs)?;
    if !arguments.gates {
        of_speeds(&arguments, &mut runs)?;
        of_growth(&arguments, &mut runs)?;
    }
    let parked = parked::compare(arguments.seed);
    let report = json!({"assumptions": format!("{arguments:?}"), "runs": runs.0, "parked": parked});
    writeln!(stdout(), "{report:#}")?;
    Ok(())
}

/// The retry schedules by themselves: nothing takes time but waiting, and there are calls enough.
fn of_ladders(arguments: &Arguments, runs: &mut Runs<'_>) -> Done {
    for (name, schedule, at_once) in retry_schedules()? {
        let assumed = Assumptions {
            minutes: 400.0,
            tracked_within_ms: 0,
            hop_ms: 0,
            answer_ms: 0,
            ..arguments.assumed()
        };
        let out = run(&Policy { schedule, list_checks: false, at_once }, None, &assumed);
        runs.keep("retry_schedules", name, &Way { assumed, left: None, list_checks: false }, &out);
    }
    Ok(())
}

/// One production key, 120 calls a minute, sends and checks together.
fn of_one_key(arguments: &Arguments, runs: &mut Runs<'_>) -> Done {
    for (rate, left) in
        [(24.0, 96), (29.0, 91), (60.0, 60), (95.0, 25), (100.0, 20), (105.0, 15), (108.0, 12), (1000.0, 120)]
    {
        for list_checks in [false, true] {
            // Single checks have long broken down by then, and only cost time.
            if list_checks || rate <= 60.0 && !arguments.gates {
                let minutes = if rate < 500.0 { 30.0 } else { 10.0 };
                let assumed = Assumptions { orders_per_minute: rate, minutes, ..arguments.assumed() };
                let way = Way { assumed, left: Some(left), list_checks };
                runs.keep(
                    "key",
                    if list_checks { "list checks" } else { "single checks" },
                    &way,
                    &way.run()?,
                );
            }
        }
    }
    Ok(())
}

/// The vendor at another speed than documented.
fn of_speeds(arguments: &Arguments, runs: &mut Runs<'_>) -> Done {
    for (rate, left, minutes) in [(100.0, 20, 30.0), (1000.0, 120, 5.0)] {
        for times in [0.4, 1.0, 2.0] {
            let assumed = Assumptions { orders_per_minute: rate, minutes, times, ..arguments.assumed() };
            let way = Way { assumed, left: Some(left), list_checks: true };
            runs.keep("speed", &format!("times x {times}"), &way, &way.run()?);
        }
    }
    Ok(())
}

/// Growth: a fifth of a call for each order.
fn of_growth(arguments: &Arguments, runs: &mut Runs<'_>) -> Done {
    for (rate, minutes) in [(10.0, 120.0), (100.0, 30.0), (1000.0, 10.0), (10_000.0, 3.0)] {
        let assumed = Assumptions { orders_per_minute: rate, minutes, ..arguments.assumed() };
        let way = Way { assumed, left: Some((rate / 5.0) as u32), list_checks: true };
        runs.keep("growth", "list checks", &way, &way.run()?);
    }
    Ok(())
}

/// Few calls come one by one, each as soon as it may; of many, a burst is worth its price.
fn budget(left: u32) -> Result<Budget, shared::rate_limiter::InvalidBudget> {
    Budget::new(left, if left < 60 { 1 } else { 5 })
}

/// The vendor's samples, which ask at once, and ours.
fn retry_schedules() -> Result<[(&'static str, Schedule, bool); 4], InvalidRetrySchedule> {
    let with = |text: &str| -> Result<Schedule, InvalidRetrySchedule> {
        let retry_schedule: RetrySchedule = text.parse()?;
        Ok(Schedule {
            poll_mobile: retry_schedule.clone(),
            poll_internet: retry_schedule,
            ..Schedule::default()
        })
    };
    let adaptive = "3s,3s,3s,3s,3s,3s,3s,3s,3s,3s,5s,5s,5s,5s,5s,5s,10s";
    Ok([
        ("documented, every 5 s", with("5s")?, true),
        ("documented, adaptive", with(adaptive)?, true),
        ("ours", Schedule::default(), false),
        ("ours, strictly within 5–10 s", with("8s,5s,5s,5s,5s,5s,10s")?, false),
    ])
}
