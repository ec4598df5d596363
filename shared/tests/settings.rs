//! Settings are written down in three places: the README, the template and the code. They must agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;

use shared::{config::Config, order::Schedule};

fn file(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Rows of the README's table: setting and default.
fn of_readme() -> BTreeMap<String, String> {
    let text = file("README.md");
    let section = text.split("\n## Settings\n").nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
    let row = |line: &str| {
        let mut cells =
            line.strip_prefix("| `")?.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        Some((cells.next()?, cells.next()?))
    };
    section.lines().filter_map(row).collect()
}

/// Parameters of the template: name and default, as CloudFormation names them.
fn of_template() -> BTreeMap<String, String> {
    let text = file("infra/template.yaml");
    let section =
        text.split("\nParameters:\n").nth(1).unwrap().split("\nGlobals:\n").next().unwrap().to_owned();
    let mut found = BTreeMap::new();
    let mut name = String::new();
    for line in section.lines() {
        if let Some(parameter) = line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#'])) {
            name = parameter.trim_end_matches(':').to_owned();
        } else if let Some(default) = line.trim().strip_prefix("Default: ") {
            found.insert(name.clone(), default.trim_matches('"').to_owned());
        }
    }
    found
}

/// Variables that the template gives to the functions, each with the parameter or resource it comes from.
fn variables() -> BTreeMap<String, String> {
    let text = file("infra/template.yaml");
    let section = text.split("\n      Variables:\n").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
    let entry =
        |line: &str| line.trim().split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    section.lines().filter_map(entry).collect()
}

/// `POLL_DEADLINE` as a parameter: `PollDeadline`.
fn parameter(setting: &str) -> String {
    let word =
        |word: &str| word.chars().take(1).chain(word.to_lowercase().chars().skip(1)).collect::<String>();
    setting.split('_').map(word).collect()
}

#[test]
fn readme_and_template_name_the_same_settings_with_the_same_defaults() {
    let template = of_template();
    let readme = of_readme();
    assert!(readme.len() >= 13, "{readme:?}");
    for (setting, default) in &readme {
        assert_eq!(template.get(&parameter(setting)), Some(default), "{setting}");
        assert_eq!(variables().get(setting), Some(&format!("!Ref {}", parameter(setting))), "{setting}");
    }
    let not_settings = ["AlarmTopicArn", "Architecture", "LogLevel", "LogRetentionDays", "StateMachineType"];
    for name in template.keys().filter(|name| !not_settings.contains(&name.as_str())) {
        assert!(readme.keys().any(|setting| parameter(setting) == *name), "{name} is not in the README");
    }
}

#[test]
fn the_defaults_of_the_code_are_those_of_the_readme() {
    let needed = [
        ("ORDERS_TABLE", "t"),
        ("EVENT_BUS", "b"),
        ("CARD_KEY_ID", "k"),
        ("SECRET_ID", "s"),
        ("AWS_REGION", "r"),
        ("AWS_ACCESS_KEY_ID", "i"),
        ("AWS_SECRET_ACCESS_KEY", "a"),
    ];
    let needed = needed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let with_defaults = Config::read(needed.clone()).unwrap();
    let with_readme = Config::read(needed.into_iter().chain(of_readme())).unwrap();
    assert_eq!(with_readme.schedule, with_defaults.schedule);
    let hourly = Some(std::time::Duration::from_secs(3600));
    assert_eq!(with_readme.schedule, Schedule { list_recheck_interval: hourly, ..Schedule::default() });
    assert_eq!(
        (with_readme.list_checks, with_readme.budget),
        (with_defaults.list_checks, with_defaults.budget)
    );
    assert_eq!(with_readme.base_url, with_defaults.base_url);
}
