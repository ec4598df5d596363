//! Simulates polling policies and writes vendor calls and delays as JSON, one object per run. `make simulate` makes
//! tables, costs and plots of it.

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

/// Runs all scenarios and writes JSON to stdout. All assumptions are parameters.
#[derive(Parser, Debug)]
struct Arguments {
    /// Seed of the random generator; a seed reproduces its figures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Distribution of durations within the documented ranges
    #[arg(long, value_enum, default_value_t = Shape::LogUniform)]
    shape: Shape,
    /// Share of mobile orders, 0 to 1
    #[arg(long, default_value_t = 0.6)]
    mobile_share: f64,
    /// Maximum time from a send to tracking, in milliseconds
    #[arg(long, default_value_t = 400)]
    tracked_within_ms: u64,
    /// Time from the end of a wait to a tick's first call, in milliseconds
    #[arg(long, default_value_t = 60)]
    hop_ms: i64,
    /// Time from a vendor call to the commit of its answer, in milliseconds
    #[arg(long, default_value_t = 150)]
    answer_ms: i64,
    /// Untracked orders per minute and product on the same account
    #[arg(long, default_value_t = 0.0)]
    others_per_minute: f64,
    /// Run only list checks on one production key
    #[arg(long)]
    gates: bool,
}

#[derive(Serialize)]
struct Figures<'a> {
    table: &'a str,
    name: String,
    orders_per_minute: f64,
    /// Calls per minute left for checks; `None`: unlimited.
    left: Option<u32>,
    list_checks: bool,
    calls: f64,
    checks: f64,
    lists: f64,
    mean: f64,
    p95: f64,
    unnoticed: usize,
    fullest_minute: usize,
    /// Mean operations per order.
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

/// The figures of all runs so far.
#[derive(Default)]
struct Runs<'a>(Vec<Figures<'a>>);

impl<'a> Runs<'a> {
    fn push(&mut self, table: &'a str, name: &str, scenario: &Scenario, out: &Outcome) {
        let rate = scenario.assumed.orders_per_minute;
        // A closed standard error is ignored.
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
            left: scenario.left,
            list_checks: scenario.list_checks,
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

/// The parameters of a run.
struct Scenario {
    assumed: Assumptions,
    /// Calls per minute left for checks.
    left: Option<u32>,
    list_checks: bool,
}

impl Scenario {
    /// Runs the scenario with the default schedule.
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
        simulate_schedules(&arguments, &mut runs)?;
    }
    simulate_key(&arguments, &mut runs)?;
    if !arguments.gates {
        simulate_speeds(&arguments, &mut runs)?;
        simulate_growth(&arguments, &mut runs)?;
    }
    let parked = parked::compare(arguments.seed);
    let backlogs: Vec<_> = [10_000, 100_000]
        .into_iter()
        .flat_map(|orders| [None, Some(arguments.seed)].map(|seed| parked::backlog(seed, orders, 120)))
        .collect();
    let report = json!({"assumptions": format!("{arguments:?}"), "runs": runs.0, "parked": parked, "backlogs": backlogs});
    writeln!(stdout(), "{report:#}")?;
    Ok(())
}

/// The retry schedules alone: no latencies and unlimited calls.
fn simulate_schedules(arguments: &Arguments, runs: &mut Runs<'_>) -> Done {
    for (name, schedule, at_once) in retry_schedules()? {
        let assumed = Assumptions {
            minutes: 400.0,
            tracked_within_ms: 0,
            hop_ms: 0,
            answer_ms: 0,
            ..arguments.assumed()
        };
        let out = run(&Policy { schedule, list_checks: false, at_once }, None, &assumed);
        runs.push("retry_schedules", name, &Scenario { assumed, left: None, list_checks: false }, &out);
    }
    Ok(())
}

/// One production key with 120 calls a minute for sends and checks.
fn simulate_key(arguments: &Arguments, runs: &mut Runs<'_>) -> Done {
    for (rate, left) in
        [(24.0, 96), (29.0, 91), (60.0, 60), (95.0, 25), (100.0, 20), (105.0, 15), (108.0, 12), (1000.0, 120)]
    {
        for list_checks in [false, true] {
            // Above 60 orders a minute, status checks alone cannot push up; these runs would only take time.
            if list_checks || rate <= 60.0 && !arguments.gates {
                let minutes = if rate < 500.0 { 30.0 } else { 10.0 };
                let assumed = Assumptions { orders_per_minute: rate, minutes, ..arguments.assumed() };
                let scenario = Scenario { assumed, left: Some(left), list_checks };
                runs.push(
                    "key",
                    if list_checks { "list checks" } else { "single checks" },
                    &scenario,
                    &scenario.run()?,
                );
            }
        }
    }
    Ok(())
}

/// A vendor faster or slower than documented.
fn simulate_speeds(arguments: &Arguments, runs: &mut Runs<'_>) -> Done {
    for (rate, left, minutes) in [(100.0, 20, 30.0), (1000.0, 120, 5.0)] {
        for times in [0.4, 1.0, 2.0] {
            let assumed = Assumptions { orders_per_minute: rate, minutes, times, ..arguments.assumed() };
            let scenario = Scenario { assumed, left: Some(left), list_checks: true };
            runs.push("speed", &format!("times x {times}"), &scenario, &scenario.run()?);
        }
    }
    Ok(())
}

/// Growing load with 0.2 calls per order.
fn simulate_growth(arguments: &Arguments, runs: &mut Runs<'_>) -> Done {
    for (rate, minutes) in [(10.0, 120.0), (100.0, 30.0), (1000.0, 10.0), (10_000.0, 3.0)] {
        let assumed = Assumptions { orders_per_minute: rate, minutes, ..arguments.assumed() };
        let scenario = Scenario { assumed, left: Some((rate / 5.0) as u32), list_checks: true };
        runs.push("growth", "list checks", &scenario, &scenario.run()?);
    }
    Ok(())
}

/// Below 60 calls a minute a burst would delay later calls, so it is 1.
fn budget(left: u32) -> Result<Budget, shared::rate_limiter::InvalidBudget> {
    Budget::new(left, if left < 60 { 1 } else { 5 })
}

/// The vendor's two samples, which check at once, and two schedules of ours.
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
