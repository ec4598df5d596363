//! Settings of the tests' own processes: on the stack's table those of the deployed functions, on an isolated table
//! production's defaults.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use e2e::{IsolatedTable, Sandbox, Stack};
use shared::{clock::Clock, config::Config, order::Schedule, rate_limiter::Budget};

/// The names under the functions' `Variables` in the template.
fn names_in_template() -> BTreeSet<&'static str> {
    let template = include_str!("../../../../infra/template.yaml");
    let (_, after) = template.split_once("\n      Variables:\n").unwrap();
    let lines = after.lines().take_while(|line| line.starts_with("        "));
    // A value that goes on in the next lines is indented further.
    let lines = lines
        .filter(|line| !line.starts_with("         "))
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(':').unwrap().0).collect()
}

#[tokio::test]
async fn a_process_on_the_stacks_table_has_the_deployed_settings() {
    let names = names_in_template();
    for name in ["RECHECK_DELAYED", "POLL_DEADLINE", "VENDOR_CALLS_BURST", "LIST_CHECKS", "OVERDUE_QUEUED"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    for stack in [Stack::express(), Stack::fast(), Stack::standard()] {
        let environment: BTreeMap<_, _> = stack.function_environment().into_iter().collect();
        for name in &names {
            assert!(environment.contains_key(*name), "{name}");
        }
        for function in ["STATUS_FUNCTION", "POLLER_FUNCTION", "RECHECK_FUNCTION"] {
            for (name, value) in stack.deployed_environment(function).await {
                assert_eq!(environment.get(&name), Some(&value), "{function}: {name}");
            }
        }
        let config = Config::read(environment).unwrap();
        assert!(!config.list_checks, "the tests' stacks make no list checks");
        assert_ne!(config.schedule, Schedule::default());
        assert_ne!(config.budget, Budget::default());
    }
}

#[tokio::test]
async fn a_tracker_on_an_isolated_table_has_the_default_schedule() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "settings").await;
    let vendor = Sandbox::own(Clock::System).await;
    let tracker = place.tracker(&stack, &vendor, Clock::System, &[]).await;
    let hourly = Some(Duration::from_secs(3600));
    assert_eq!(tracker.schedule, Schedule { list_recheck_interval: hourly, ..Schedule::default() });
    assert!(tracker.lists.is_some());
    place.delete(&stack).await;
}
