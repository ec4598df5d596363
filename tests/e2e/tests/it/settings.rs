//! What a process of a test's own is told: on the stack's table all that the deployed functions are told, elsewhere none of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use e2e::{IsolatedTable, Sandbox, Stack};
use shared::{clock::Clock, config::Config, order::Schedule, rate_limiter::Budget};

/// Names in the template under the functions' `Variables`.
fn names_in_template() -> BTreeSet<&'static str> {
    let template = include_str!("../../../../infra/template.yaml");
    let (_, after) = template.split_once("\n      Variables:\n").unwrap();
    let lines = after.lines().take_while(|line| line.starts_with("        "));
    let lines = lines.map(str::trim).filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(':').unwrap().0).collect()
}

#[tokio::test]
async fn a_process_on_the_stacks_table_has_every_setting_of_the_deployed_functions() {
    let names = names_in_template();
    for name in ["RECHECK_DELAYED", "POLL_DEADLINE", "VENDOR_CALLS_BURST", "LIST_CHECKS", "OVERDUE_QUEUED"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    for stack in [Stack::express(), Stack::fast(), Stack::standard()] {
        let handed_on: BTreeMap<_, _> = stack.function_environment().into_iter().collect();
        for name in &names {
            assert!(handed_on.contains_key(*name), "{name}");
        }
        for function in ["STATUS_FUNCTION", "POLLER_FUNCTION", "RECHECK_FUNCTION"] {
            for (name, value) in stack.deployed_environment(function).await {
                assert_eq!(handed_on.get(&name), Some(&value), "{function}: {name}");
            }
        }
        let config = Config::read(handed_on).unwrap();
        assert!(!config.list_checks, "the tests' stacks check orders one by one");
        assert_ne!(config.schedule, Schedule::default());
        assert_ne!(config.budget, Budget::default());
    }
}

#[tokio::test]
async fn a_tracker_in_a_place_of_its_own_waits_as_production_does() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "settings").await;
    let vendor = Sandbox::own().await;
    let tracker = place.tracker(&stack, &vendor, Clock::System, &[]).await;
    let hourly = Some(Duration::from_secs(3600));
    assert_eq!(tracker.schedule, Schedule { list_recheck_interval: hourly, ..Schedule::default() });
    assert!(tracker.lists.is_some());
    place.delete(&stack).await;
}
