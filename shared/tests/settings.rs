//! The table of settings beside the template and `docs/configuration.md`. `make docs` writes the page anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod pages;

use std::{collections::BTreeMap, fs};

use pages::path;
use shared::config::{Group, SETTINGS, Setting};
use yaml_serde::Value;

/// What the page says of the template's parameters that no function reads: what each does, when to change it.
const DEPLOYMENT: [(&str, &str, &str); 26] = [
    (
        "Enabled",
        "Whether the schedule of the recheck runs and the alarms notify. `make deploy` leaves it off until the secrets have \
         values, then sets it to `on`. `make up` sets it to `on`.",
        "To stop a stack without removing it: `off`. Parked orders are then not checked.",
    ),
    (
        "StateMachineType",
        "The type of the state machine that polls an order in flight. `STANDARD` keeps a visible history for each \
         order. A million orders then cost about 410 dollars in all instead of 41.",
        "To see each execution in the console.",
    ),
    (
        "Architecture",
        "The processor of the functions. `make deploy` builds for it.",
        "When the toolchain cannot build for arm64.",
    ),
    (
        "LogRetentionDays",
        "For how many days CloudWatch Logs keeps the log lines.",
        "To keep them for longer, or to pay less.",
    ),
    (
        "WebhookEvents",
        "The types of the events that are sent as webhooks, with commas between them: see [webhooks](events.md#webhooks).",
        "To send fewer, or `Order Tracked`, `Order Resumed`, `Order Reviewed` and `Card Revealed` too.",
    ),
    (
        "AlarmTopicArn",
        "The SNS topic that the alarms notify. Without one, alarms show in CloudWatch only.",
        "To be notified: set the ARN of your topic.",
    ),
    (
        "Release",
        "Names the versions of the functions. Their alias stays at the old setting until this changes too. `make deploy` and `make up` make it from all settings.",
        "When you change a setting without them, in the console or by `sam deploy`: any other value.",
    ),
    (
        "DeploymentPreference",
        "How an update moves calls to new code: see [gradual deployment](operations.md#gradual-deployment).",
        "When an update must show itself on a part of the calls first.",
    ),
    (
        "Tracing",
        "Whether X-Ray traces the functions and the wait loop.",
        "To see where the time of a request goes. X-Ray costs 5 dollars for a million traces.",
    ),
    (
        "StatusMemory",
        "Memory of `status` in MB; its share of a processor grows with it.",
        "When its log shows that it is slow or used all memory: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "StatusConcurrency",
        "How many of `status` can run at once. So many are reserved for it, and taken from the other functions of the account.",
        "To keep a flood at the API from the other functions: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "PollerMemory",
        "Memory of `poller` in MB; its share of a processor grows with it.",
        "When its log shows that it is slow or used all memory: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "PollerConcurrency",
        "How many of `poller` can run at once. So many are reserved for it, and taken from the other functions of the account.",
        "To keep a flood at the API from the other functions: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "RecheckMemory",
        "Memory of `recheck` in MB; its share of a processor grows with it.",
        "When its log shows that it is slow or used all memory: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "RecheckConcurrency",
        "How many of `recheck` can run at once. So many are reserved for it, and taken from the other functions of the account.",
        "To keep a flood at the API from the other functions: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "NotifyMemory",
        "Memory of `notify` in MB; its share of a processor grows with it.",
        "When its log shows that it is slow or used all memory: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "NotifyConcurrency",
        "How many of `notify` can run at once. So many are reserved for it, and taken from the other functions of the account.",
        "To keep a flood at the API from the other functions: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "PageMemory",
        "Memory of `page` in MB; its share of a processor grows with it.",
        "When its log shows that it is slow or used all memory: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "PageConcurrency",
        "How many of `page` can run at once. So many are reserved for it, and taken from the other functions of the account.",
        "To keep a flood at the page from the other functions: [memory and concurrency](operations.md#memory-and-concurrency).",
    ),
    (
        "Subnets",
        "Private subnets for the functions, with commas between them.",
        "When the vendor's key has an address list: [a fixed address](operations.md#a-fixed-address).",
    ),
    (
        "SecurityGroups",
        "Security groups for the functions, with commas between them.",
        "With `SUBNETS`. To go back, keep it until the functions have left the subnets: [a fixed address](operations.md#a-fixed-address).",
    ),
    (
        "DomainName",
        "A domain name of your own for the HTTP API.",
        "To call it `tracker.example.com`: [a domain name](operations.md#a-domain-name).",
    ),
    (
        "CertificateArn",
        "The certificate for `DOMAIN_NAME`, in ACM, in the stack's region.",
        "With `DOMAIN_NAME`, and only then.",
    ),
    (
        "DeletionProtection",
        "Whether DynamoDB refuses to delete the stack's own table. The table outlives its stack in any case.",
        "Before you delete the table: see [remove what stays](operations.md#remove-what-stays).",
    ),
    (
        "AdoptTable",
        "The name of a table that a deleted stack left behind. The stack uses it and has no table of its own.",
        "When you create the stack, and never afterwards: see [adopt](operations.md#adopt-a-table-and-its-key).",
    ),
    (
        "AdoptCardKey",
        "The ARN of the KMS key that the cards in the adopted table are encrypted with.",
        "Together with `ADOPT_TABLE` only.",
    ),
];

/// What the template gives the functions and `Config` does not read.
const NOT_SETTINGS: [&str; 3] = ["GLIBC_TUNABLES", "STACK_NAME", "RELEASE"];

fn template() -> Value {
    yaml_serde::from_str(&fs::read_to_string(path("infra/template.yaml")).unwrap()).unwrap()
}

/// A scalar as CloudFormation reads it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("no text: {other:?}"),
    }
}

/// The parameters of the template by name.
fn parameters() -> BTreeMap<String, Value> {
    yaml_serde::from_value(template()["Parameters"].clone()).unwrap()
}

/// The variables that the template gives to the functions, each with the parameter that it refers to.
fn variables() -> BTreeMap<String, Option<String>> {
    let variables = template()["Globals"]["Function"]["Environment"]["Variables"].clone();
    let variables: BTreeMap<String, Value> = yaml_serde::from_value(variables).unwrap();
    let parameters = parameters();
    // A default that the template makes, as of the links' base, stands after the parameter.
    let chosen = |value: &Value| match value {
        Value::Tagged(tagged) if tagged.tag == "If" => tagged.value[1].clone(),
        other => other.clone(),
    };
    let referred = |value: &Value| match &chosen(value) {
        Value::Tagged(tagged) if tagged.tag == "Ref" => {
            Some(text(&tagged.value)).filter(|name| parameters.contains_key(name))
        }
        _ => None,
    };
    variables.iter().map(|(name, value)| (name.clone(), referred(value))).collect()
}

fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().flat_map(|group| group.settings)
}

/// `PollDeadline` as a variable of `make up`: `POLL_DEADLINE`.
fn variable(parameter: &str) -> String {
    let spelt = |(at, letter): (usize, char)| {
        let separator = if at > 0 && letter.is_uppercase() { "_" } else { "" };
        format!("{separator}{}", letter.to_uppercase())
    };
    parameter.char_indices().map(spelt).collect()
}

#[test]
fn every_setting_with_a_parameter_has_it_in_the_template_with_the_same_default() {
    let (parameters, variables) = (parameters(), variables());
    for setting in settings() {
        let Some(parameter) = setting.parameter else { continue };
        let declared = parameters.get(parameter).unwrap_or_else(|| panic!("the template has no {parameter}"));
        let default = Some(text(&declared["Default"])).filter(|default| !default.is_empty());
        assert_eq!(default, setting.default(), "default of {parameter}");
        assert_eq!(variables.get(setting.name), Some(&Some(parameter.to_owned())), "{}", setting.name);
    }
}

#[test]
fn every_parameter_and_variable_of_the_template_is_a_setting_or_listed_here() {
    let of_settings = settings().filter_map(|setting| setting.parameter);
    let mut expected: Vec<_> = of_settings.chain(DEPLOYMENT.map(|(name, ..)| name)).collect();
    expected.sort_unstable();
    assert_eq!(parameters().into_keys().collect::<Vec<_>>(), expected);
    for name in variables().into_keys().filter(|name| !NOT_SETTINGS.contains(&name.as_str())) {
        assert!(settings().any(|setting| setting.name == name), "{name} is not in the table of settings");
    }
}

#[test]
fn each_parameter_is_constrained_and_says_so_in_the_words_of_the_functions() {
    let parameters = parameters();
    for (name, about) in &parameters {
        let is_constrained = !about["AllowedPattern"].is_null() || !about["AllowedValues"].is_null();
        assert!(is_constrained, "{name} takes any value");
        assert!(!about["ConstraintDescription"].is_null(), "{name} does not say what is allowed");
    }
    for setting in settings().filter(|setting| !setting.allowed().is_empty()) {
        let Some(parameter) = setting.parameter else { continue };
        let words = format!("{} must be {}", setting.name, setting.allowed());
        assert_eq!(text(&parameters[parameter]["ConstraintDescription"]), words);
    }
}

/// One setting of the page.
fn entry(name: &str, what: &str, facts: &[(&str, String)]) -> String {
    let facts = facts.iter().filter(|(_, text)| !text.is_empty());
    let facts: String = facts.map(|(fact, text)| format!("- {fact}: {text}\n")).collect();
    format!("### `{name}`\n\n{what}\n\n{facts}")
}

fn setting(setting: &Setting) -> String {
    let parameter = setting.parameter.map_or_else(
        || "none".to_owned(),
        |parameter| match variable(parameter) {
            name if name == setting.name => format!("`{parameter}`"),
            name => format!("`{parameter}`; `make up` takes it from `{name}`"),
        },
    );
    let default = match setting.default() {
        Some(default) => format!("`{default}`"),
        None if setting.is_required() => "none, it is required".to_owned(),
        None => "none".to_owned(),
    };
    let facts = [
        ("Default", default),
        ("Allowed", setting.allowed()),
        ("Parameter of the template", parameter),
        ("When to change it", setting.change.to_owned()),
    ];
    entry(setting.name, setting.what, &facts)
}

fn group(group: &Group) -> String {
    let settings: Vec<_> = group.settings.iter().map(setting).collect();
    format!("## {}\n\n{}\n\n{}", group.title, group.about, settings.join("\n"))
}

fn deployment() -> String {
    let parameters = parameters();
    let entries = DEPLOYMENT.map(|(parameter, what, change)| {
        let declared = &parameters[parameter];
        let default = Some(text(&declared["Default"])).filter(|default| !default.is_empty());
        let allowed = declared["AllowedValues"].as_sequence();
        let allowed = allowed.map(|values| values.iter().map(text).collect::<Vec<_>>().join(" or "));
        let facts = [
            ("Default", default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"))),
            ("Allowed", allowed.unwrap_or_default()),
            ("Parameter of the template", format!("`{parameter}`")),
            ("When to change it", change.to_owned()),
        ];
        entry(&variable(parameter), what, &facts)
    });
    entries.join("\n")
}

/// Values of the template that are no parameters.
fn fixed() -> String {
    let template = template();
    let resource = |name: &str, property: &str| &template["Resources"][name]["Properties"][property];
    let limits = resource("HttpStage", "DefaultRouteSettings");
    let Value::Tagged(of_page) = resource("HttpStage", "RouteSettings") else { panic!("no route settings") };
    let of_page = &of_page.value[1]["ANY /t/{proxy+}"];
    let rows = [
        ("timeout of `status`", text(resource("StatusFunction", "Timeout")) + " s"),
        ("timeout of `poller`", text(resource("PollerFunction", "Timeout")) + " s"),
        ("timeout of `recheck`", text(resource("RecheckFunction", "Timeout")) + " s"),
        ("timeout of `notify`", text(resource("NotifyFunction", "Timeout")) + " s"),
        ("timeout of `page`", text(resource("PageFunction", "Timeout")) + " s"),
        ("schedule of the recheck", text(resource("RecheckSchedule", "ScheduleExpression"))),
        ("requests of the HTTP API per second", text(&limits["ThrottlingRateLimit"])),
        ("requests of the HTTP API at once", text(&limits["ThrottlingBurstLimit"])),
        ("requests of the tracking page per second", text(&of_page["ThrottlingRateLimit"])),
        ("requests of the tracking page at once", text(&of_page["ThrottlingBurstLimit"])),
    ];
    let rows = rows.map(|(what, value)| format!("| {what} | {value} |\n")).concat();
    format!("| what | value |\n|---|---|\n{rows}")
}

#[test]
fn the_page_on_configuration_is_written_from_the_table_and_the_template() {
    let settings = SETTINGS.iter().map(group).collect::<Vec<_>>().join("\n");
    let parts = [("settings", settings), ("deployment", deployment()), ("fixed", fixed())];
    let page = pages::check("docs/configuration.md", &parts);
    for name in NOT_SETTINGS {
        assert!(page.contains(&format!("`{name}`")), "docs/configuration.md does not name {name}");
    }
}
