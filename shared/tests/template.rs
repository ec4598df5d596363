//! What the template must say whatever else it says: who may do what, and what rings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "tests with tables"
)]

use shared::refresh::{Counters, NoCall};

fn template() -> String {
    std::fs::read_to_string(format!("{}/../infra/template.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Resources of a type: name and lines.
fn resources(kind: &str) -> Vec<(String, Vec<String>)> {
    let text = template();
    let section = text.split("\nResources:\n").nth(1).unwrap().split("\nOutputs:\n").next().unwrap();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in section.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#'])) {
            found.push((name.trim_end_matches(':').to_owned(), Vec::new()));
        } else if let Some((_, lines)) = found.last_mut() {
            lines.push(line.trim().to_owned());
        }
    }
    let of_kind = format!("Type: {kind}");
    found.retain(|(_, lines)| lines.contains(&of_kind));
    found
}

#[test]
fn no_role_has_a_wildcard_but_for_log_delivery_which_knows_no_narrower_resource() {
    let roles = resources("AWS::IAM::Role");
    assert_eq!(roles.len(), 8, "{roles:?}");
    let mut wildcards = Vec::new();
    for (role, lines) in &roles {
        assert!(lines.iter().any(|line| line.contains("Action: ")), "{role} allows nothing");
        let network = "ManagedPolicyArns: !If [HasNetworkRights, [!Ref NetworkPolicy], !Ref AWS::NoValue]";
        let others = lines.iter().filter(|line| *line != network);
        for managed in ["ManagedPolicyArns", "NotAction", "NotResource"] {
            assert!(!others.clone().any(|line| line.contains(managed)), "{role}: {managed}");
        }
        let rules = lines.iter().filter(|line| !line.starts_with('#'));
        wildcards.extend(rules.filter(|line| line.contains('*')).map(|line| (role.as_str(), line.as_str())));
    }
    assert_eq!(wildcards, [("PollMachineRole", r#"Resource: "*""#)]);

    // That one statement is about log delivery and says why.
    let machine = &roles.iter().find(|(role, _)| role == "PollMachineRole").unwrap().1;
    let wildcard = machine.iter().position(|line| line == r#"Resource: "*""#).unwrap();
    let comment =
        machine.iter().position(|line| line.starts_with("# Log delivery knows no narrower")).unwrap();
    let statement = machine.get(comment + 3..wildcard).unwrap();
    assert!(
        !statement.is_empty() && statement.iter().all(|action| action.starts_with("- logs:")),
        "{statement:?}"
    );
}

#[test]
fn optional_rights_without_a_narrower_resource_exist_only_when_they_are_used() {
    let mut policies = resources("AWS::IAM::ManagedPolicy");
    policies.extend(resources("AWS::IAM::Policy"));
    let conditions: Vec<_> =
        policies.iter().map(|(name, lines)| (name.as_str(), property(lines, "Condition"))).collect();
    assert_eq!(conditions, [("NetworkPolicy", "HasNetworkRights"), ("TracingPolicy", "IsTraced")]);
}

#[test]
fn only_services_of_this_account_may_use_a_role() {
    for (role, lines) in resources("AWS::IAM::Role") {
        let condition = r#"Condition: { StringEquals: { "aws:SourceAccount": !Ref AWS::AccountId } }"#;
        let assumed = lines.iter().position(|line| line == r#"Action: "sts:AssumeRole""#).unwrap();
        assert_eq!(lines.get(assumed + 1).map(String::as_str), Some(condition), "{role}");
    }
}

#[test]
fn only_the_roles_that_publish_may_use_the_trackers_source() {
    let buses = resources("AWS::Events::EventBus");
    let [(_, bus)] = buses.as_slice() else { panic!("{buses:?}") };
    assert_eq!(property(bus, "Effect"), "Deny");
    let sources = r#""ForAnyValue:StringLike": { "events:source": [topup-tracker, "topup-tracker.*"] }"#;
    assert!(bus.iter().any(|line| line == sources), "{bus:?}");
    let publishes =
        |(_, lines): &&(String, Vec<String>)| lines.iter().any(|line| line.contains("events:PutEvents"));
    let roles = resources("AWS::IAM::Role");
    let named = roles.iter().filter(publishes).map(|(role, _)| format!("!GetAtt {role}.Arn"));
    let named = named.collect::<Vec<_>>().join(", ");
    let others = format!(r#"ArnNotEquals: {{ "aws:PrincipalArn": [{named}] }}"#);
    assert!(bus.contains(&others), "{others}: {bus:?}");
}

#[test]
fn callers_use_the_aliases_and_a_changed_setting_is_a_new_version() {
    for function in ["StatusFunction", "PollerFunction", "RecheckFunction", "NotifyFunction", "PageFunction"]
    {
        assert!(!template().contains(&format!("!GetAtt {function}.Arn")), "use !Ref {function}.Alias");
    }
    let functions = resources("AWS::Serverless::Function");
    assert_eq!(functions.len(), 5);
    for (function, lines) in functions {
        assert_eq!(property(&lines, "AutoPublishAliasAllProperties"), "true", "{function}");
        // The transform does not see that the value of a parameter has changed.
        assert_eq!(property(&lines, "VersionDescription"), "!Ref Release", "{function}");
    }
}

#[test]
fn no_arn_names_a_partition() {
    // Parameters have patterns and examples of ARNs.
    let resources = template().split("\nResources:\n").nth(1).unwrap().to_owned();
    for text in [resources.as_str(), include_str!("../../infra/poll.asl.json")] {
        assert!(!text.contains("arn:aws"), "use the partition of the stack");
    }
}

#[test]
fn only_status_and_a_page_that_shows_cards_may_decrypt_and_each_index_has_its_readers() {
    for (right, expected) in [
        ("kms:Decrypt", vec!["StatusRole", "PageRole"]),
        // `status` lists deliveries that failed.
        ("/index/due", vec!["StatusRole", "PollerRole", "RecheckRole"]),
        // The recheck finds orders to redact by their events.
        ("/index/feed", vec!["StatusRole", "RecheckRole"]),
        ("/index/phases", vec!["StatusRole"]),
        ("states:StartExecution", vec!["StartPollRole"]),
    ] {
        let holds = |(_, lines): &(String, Vec<String>)| lines.iter().any(|line| line.contains(right));
        let holders = resources("AWS::IAM::Role").into_iter().filter(holds).map(|(role, _)| role);
        assert_eq!(holders.collect::<Vec<_>>(), expected, "{right}");
    }
    assert_eq!(template().matches("kms:Decrypt").count(), 2);
    let roles = resources("AWS::IAM::Role");
    let (_, page) = roles.iter().find(|(role, _)| role == "PageRole").unwrap();
    let rights = page.iter().position(|line| line.starts_with("Statement:")).unwrap();
    for (at, line) in page.iter().enumerate().skip(rights) {
        let is_for_cards =
            ["kms:", "dynamodb:PutItem", "dynamodb:UpdateItem"].iter().any(|right| line.contains(right));
        assert!(
            !is_for_cards || page.get(at - 1).is_some_and(|before| before == "- PageShowsCard"),
            "{line}"
        );
    }
}

fn property<'a>(lines: &'a [String], name: &str) -> &'a str {
    let value = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {name} in {lines:?}"))
}

#[test]
fn table_and_key_outlive_their_stack_and_all_that_use_them_use_adopted_ones_too() {
    for (kind, condition) in [("AWS::DynamoDB::Table", "OwnTable"), ("AWS::KMS::Key", "OwnCardKey")] {
        let [(_, lines)] = resources(kind).try_into().unwrap();
        assert_eq!(property(&lines, "Condition"), condition);
        assert_eq!(property(&lines, "DeletionPolicy"), "RetainExceptOnCreate", "{kind}");
        assert_eq!(property(&lines, "UpdateReplacePolicy"), "Retain", "{kind}");
    }
    let text = template();
    let table = text.matches("!If [OwnTable, !Ref OrdersTable, !Ref AdoptTable]").count();
    let key = text.matches("!If [OwnCardKey, !GetAtt CardKey.Arn, !Ref AdoptCardKey]").count();
    assert!(table > 0 && key > 0);
    let uses = |name: &str| {
        ["!Ref ", "!GetAtt ", "${", "!Sub "]
            .map(|how| text.matches(&format!("{how}{name}")).count())
            .iter()
            .sum::<usize>()
    };
    assert_eq!((uses("OrdersTable"), uses("CardKey")), (table, key));
}

#[test]
fn each_alarm_has_its_metric_and_its_treatment_of_missing_data() {
    let dead_letters = "AWS/SQS ApproximateNumberOfMessagesVisible notBreaching";
    let expected = [
        ("PollerDeadLetterAlarm", dead_letters),
        ("RuleDeadLetterAlarm", dead_letters),
        ("RecheckFailureAlarm", dead_letters),
        ("WebhookDeadLetterAlarm", dead_letters),
        // A recheck that does not run emits nothing: missing data raises the alarm.
        ("RecheckAlarm", "TopupTracker rechecks breaching"),
        // Emitted by each recheck. Without data the alarm keeps its state.
        ("OldestDueAlarm", "TopupTracker oldest_due_seconds ignore"),
        ("OldestUnpublishedAlarm", "TopupTracker oldest_unpublished_seconds ignore"),
        ("SuspendedAlarm", "TopupTracker suspended ignore"),
        // Emitted only when it happens.
        ("OverdueAlarm", "TopupTracker overdue_reviews notBreaching"),
        ("UnrecognisedStatusAlarm", "TopupTracker unrecognised_statuses notBreaching"),
        ("FailingOrderAlarm", "TopupTracker failing_reviews notBreaching"),
        ("RedactionAlarm", "TopupTracker failed_redactions notBreaching"),
        ("ResyncAlarm", "TopupTracker failed_resyncs notBreaching"),
        ("UnreadableAnswersAlarm", "TopupTracker failed_unreadable notBreaching"),
        ("FailedChecksAlarm", "TopupTracker failed_checks notBreaching"),
        // AWS's own metrics.
        ("ApiErrorAlarm", "AWS/ApiGateway 5xx notBreaching"),
        ("StatusErrorAlarm", "AWS/Lambda Errors notBreaching"),
        ("StatusThrottleAlarm", "AWS/Lambda Throttles notBreaching"),
        ("PollerErrorAlarm", "AWS/Lambda Errors notBreaching"),
        ("PollerThrottleAlarm", "AWS/Lambda Throttles notBreaching"),
        ("NotifyErrorAlarm", "AWS/Lambda Errors notBreaching"),
        ("NotifyThrottleAlarm", "AWS/Lambda Throttles notBreaching"),
        ("PageErrorAlarm", "AWS/Lambda Errors notBreaching"),
        ("PageThrottleAlarm", "AWS/Lambda Throttles notBreaching"),
        ("TrackingLinkAlarm", "TopupTracker failed_links notBreaching"),
        ("ExecutionFailedAlarm", "AWS/States ExecutionsFailed notBreaching"),
        ("ExecutionTimedOutAlarm", "AWS/States ExecutionsTimedOut notBreaching"),
        ("ExecutionThrottledAlarm", "AWS/States ExecutionThrottled notBreaching"),
    ];
    let of = |(name, lines): (String, Vec<String>)| {
        let words = ["Namespace", "MetricName", "TreatMissingData"].map(|part| property(&lines, part));
        for actions in ["AlarmActions", "OKActions"] {
            let topic = "!If [HasAlarmTopic, [!Ref AlarmTopicArn], !Ref AWS::NoValue]";
            assert_eq!(property(&lines, actions), topic, "{name}");
        }
        assert_eq!(property(&lines, "ActionsEnabled"), "!If [IsEnabled, true, false]", "{name}");
        if words[0] == "TopupTracker" {
            assert_eq!(
                property(&lines, "Dimensions"),
                "[{ Name: stack, Value: !Ref AWS::StackName }]",
                "{name}"
            );
        }
        (name, words.join(" "))
    };
    let found: Vec<_> = resources("AWS::CloudWatch::Alarm").into_iter().map(of).collect();
    assert_eq!(found, expected.map(|(name, words)| (name.to_owned(), words.to_owned())));
}

#[test]
fn each_alarm_has_its_section_in_the_runbook_and_each_section_its_alarm() {
    let page = include_str!("../../docs/runbook.md");
    let alarms: Vec<_> = resources("AWS::CloudWatch::Alarm").into_iter().map(|(name, _)| name).collect();
    let sections: Vec<_> = page.split("\n### ").skip(1).map(|part| part.split_once('\n').unwrap()).collect();
    assert_eq!(sections.iter().map(|(name, _)| *name).collect::<Vec<_>>(), alarms);
    for (alarm, text) in sections {
        for question in [
            "**Rings when**",
            "**Means**",
            "**The customer sees**",
            "**Why this threshold**",
            "**How often**",
            "**May it be silenced?**",
            "**Do**",
            "**Over when**",
            "**Raised locally**",
        ] {
            assert!(text.contains(&format!("- {question}")), "{alarm} does not say: {question}");
        }
        assert!(
            page.contains(&format!("| [{alarm}](#{}) |", alarm.to_lowercase())),
            "{alarm} is not in the table"
        );
    }
}

#[test]
fn nothing_is_scheduled_and_no_alarm_notifies_before_the_stack_is_enabled() {
    let scheduled = resources("AWS::Scheduler::Schedule");
    assert_eq!(scheduled.len(), 1);
    for (name, lines) in scheduled {
        assert_eq!(property(&lines, "State"), "!If [IsEnabled, ENABLED, DISABLED]", "{name}");
    }
    for (name, lines) in resources("AWS::CloudWatch::Alarm") {
        assert_eq!(property(&lines, "ActionsEnabled"), "!If [IsEnabled, true, false]", "{name}");
    }
    let parameter = template().split("\n  Enabled:\n").nth(1).unwrap().to_owned();
    assert!(
        parameter
            .starts_with("    Type: String\n    AllowedValues: [\"on\", \"off\"]\n    Default: \"off\"\n")
    );
}

#[test]
fn every_queue_of_dead_letters_has_an_alarm() {
    let alarms = resources("AWS::CloudWatch::Alarm");
    let queues = resources("AWS::SQS::Queue");
    assert_eq!(queues.len(), 5);
    // `WebhookQueue` holds events on their way.
    for (queue, _) in queues.into_iter().filter(|(queue, _)| queue != "WebhookQueue") {
        let value = format!("[{{ Name: QueueName, Value: !GetAtt {queue}.QueueName }}]");
        assert!(alarms.iter().any(|(_, lines)| lines.contains(&format!("Dimensions: {value}"))), "{queue}");
    }
}

/// The metrics that are measured and not counted, in the source of the recheck.
fn gauges() -> Vec<String> {
    let code = include_str!("../../functions/recheck/src/lib.rs");
    let calls = code.split(".gauge(\"").skip(1);
    calls.map(|call| call.split('"').next().unwrap().to_owned()).collect()
}

/// The counts of the webhooks, in the source of `notify`.
fn webhook_counts() -> Vec<String> {
    let code = include_str!("../../functions/notify/src/lib.rs");
    let calls = code.split(".count(\"").skip(1);
    calls.map(|call| call.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn every_alarm_watches_a_metric_that_the_functions_emit() {
    let gauges = gauges();
    let alarms = resources("AWS::CloudWatch::Alarm");
    let own = alarms.iter().filter(|(_, lines)| property(lines, "Namespace") == "TopupTracker");
    for (alarm, lines) in own {
        let metric = property(lines, "MetricName");
        let is_emitted = Counters::METRICS.contains(&metric) || gauges.iter().any(|gauge| gauge == metric);
        assert!(is_emitted, "{alarm} watches {metric}, which no function emits");
    }
}

#[test]
fn every_widget_of_the_dashboard_draws_metrics_that_the_functions_emit() {
    let (template, gauges, webhooks) = (template(), gauges(), webhook_counts());
    let drawn: Vec<_> =
        template.split(r#"["TopupTracker", ""#).skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(drawn.len() > 15, "{drawn:?}");
    for metric in drawn {
        let is_emitted =
            Counters::METRICS.contains(&metric) || gauges.iter().chain(&webhooks).any(|name| name == metric);
        assert!(is_emitted, "the dashboard draws {metric}, which no function emits");
    }
}

#[test]
fn the_page_on_logging_tells_of_everything_that_is_counted() {
    let page = include_str!("../../docs/logging.md");
    let counted = Counters::METRICS.iter().chain(Counters::FIELDS).map(|name| (*name).to_owned());
    let reasons = NoCall::REASONS.map(str::to_owned);
    for name in counted.chain(gauges()).chain(webhook_counts()).chain(reasons) {
        assert!(page.contains(&format!("`{name}`")), "docs/logging.md does not tell of {name}");
    }
}
