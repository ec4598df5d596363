//! The rules, one row each.

use std::time::Duration;

use serde_json::Value;

use super::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Each row: name, product, checks, events, phase, seconds from the last check to the next (`None`: no check).
#[test]
fn decide_follows_every_rule_of_the_table() {
    use Product::{Internet, Mobile};
    type Row = (&'static str, Product, Vec<(i64, Observation)>, Vec<&'static str>, &'static str, Option<i64>);
    let rows: Vec<Row> = vec![
        ("fulfilled", Mobile, vec![(8, shows("FULFILLED"))], vec!["Order Fulfilled"], "final", None),
        ("refunded", Mobile, vec![(8, shows("REFUNDED"))], vec!["Order Refunded"], "final", Some(HOUR)),
        (
            "refunded: two late checks, then none",
            Mobile,
            vec![(8, shows("REFUNDED")), (8 + HOUR, shows("REFUNDED")), (8 + HOUR + DAY, shows("REFUNDED"))],
            vec!["Order Refunded"],
            "final",
            None,
        ),
        (
            "refunded, later redirected to another id",
            Mobile,
            vec![(8, shows("REFUNDED")), (8 + HOUR, followed("REFUNDED"))],
            vec!["Order Refunded", "Order Needs Review (followed)"],
            "final",
            Some(DAY),
        ),
        (
            "fulfilled with a card",
            Internet,
            vec![(8, shows_card("FULFILLED"))],
            vec!["Order Fulfilled"],
            "final",
            None,
        ),
        (
            "fulfilled without a card",
            Internet,
            vec![(8, shows("FULFILLED"))],
            vec!["Order Fulfilled"],
            "final",
            Some(60),
        ),
        (
            "the card arrives later",
            Internet,
            vec![(8, shows("FULFILLED")), (68, shows_card("FULFILLED"))],
            vec!["Order Fulfilled", "Card Available"],
            "final",
            None,
        ),
        (
            "no card after the first daily check",
            Internet,
            vec![
                (8, shows("FULFILLED")),
                (68, shows("FULFILLED")),
                (400, shows("FULFILLED")),
                (2 * HOUR, shows("FULFILLED")),
                (2 * DAY, shows("FULFILLED")),
                (4 * DAY, shows("FULFILLED")),
            ],
            vec!["Order Fulfilled", "Order Needs Review (card_missing)"],
            "final",
            Some(DAY),
        ),
        (
            "no card, and checks fail for more than a day",
            Internet,
            vec![
                (8, shows("FULFILLED")),
                (HOUR, Observation::Nothing),
                (8 + DAY, Observation::Nothing),
                (2 * DAY, Observation::Nothing),
            ],
            vec!["Order Fulfilled", "Order Needs Review (card_missing)"],
            "final",
            Some(1200),
        ),
        ("queued", Internet, vec![(8, shows("QUEUED"))], vec!["Order Queued"], "parked as queued", Some(DAY)),
        (
            "queued, checked early: the retry schedule does not advance",
            Internet,
            vec![(8, shows("QUEUED")), (8 + HOUR, shows("QUEUED"))],
            vec!["Order Queued"],
            "parked as queued",
            Some(23 * HOUR),
        ),
        (
            "queued until overdue: a check at that time, and one review",
            Internet,
            vec![
                (8, shows("QUEUED")),
                (8 + DAY, shows("QUEUED")),
                (8 + DAY + 12 * HOUR, shows("QUEUED")),
                (8 + 2 * DAY, shows("QUEUED")),
                (8 + 2 * DAY + 12 * HOUR, shows("QUEUED")),
            ],
            vec!["Order Queued", "Order Needs Review (overdue)"],
            "parked as queued",
            Some(12 * HOUR),
        ),
        (
            "uncertain",
            Mobile,
            vec![(17, shows("UNKNOWN_ERROR"))],
            vec!["Order Uncertain"],
            "parked as uncertain",
            Some(HOUR),
        ),
        (
            "uncertain, then an outcome",
            Mobile,
            vec![(17, shows("UNKNOWN_ERROR")), (2 * HOUR, shows("REFUNDED"))],
            vec!["Order Uncertain", "Order Refunded"],
            "final",
            Some(HOUR),
        ),
        (
            "uncertain and overdue while checks fail",
            Mobile,
            vec![
                (17, shows("UNKNOWN_ERROR")),
                (17 + DAY, Observation::Nothing),
                (18 + DAY + HOUR, Observation::Nothing),
            ],
            vec!["Order Uncertain", "Order Needs Review (overdue)"],
            "parked as uncertain",
            Some(600),
        ),
        (
            "pending, then handling",
            Mobile,
            vec![(8, shows("PENDING")), (11, shows("HANDLING"))],
            vec![],
            "in_flight",
            Some(3),
        ),
        (
            "handling at the poll deadline",
            Mobile,
            vec![(8, shows("PENDING")), (280, shows("HANDLING"))],
            vec!["Order Delayed"],
            "parked as delayed",
            Some(300),
        ),
        (
            "delayed, then handling: stays delayed",
            Mobile,
            vec![(280, shows("PENDING")), (580, shows("HANDLING"))],
            vec!["Order Delayed"],
            "parked as delayed",
            Some(600),
        ),
        (
            "queued, then handling: in flight again",
            Internet,
            vec![(8, shows("QUEUED")), (8 + DAY, shows("HANDLING"))],
            vec!["Order Queued", "Order Resumed"],
            "in_flight",
            Some(8),
        ),
        (
            "uncertain, then handling: stays uncertain, no second event",
            Mobile,
            vec![
                (17, shows("UNKNOWN_ERROR")),
                (17 + HOUR, shows("HANDLING")),
                (17 + 2 * HOUR, shows("UNKNOWN_ERROR")),
            ],
            vec!["Order Uncertain"],
            "parked as uncertain",
            Some(2 * HOUR),
        ),
        (
            "an unrecognised status is never an outcome",
            Mobile,
            vec![(8, shows("SUCCESS")), (11, shows("FAILED")), (14, shows("SUCCESS"))],
            vec!["Order Needs Review (unrecognised_status)", "Order Needs Review (unrecognised_status)"],
            "in_flight",
            Some(3),
        ),
        (
            "no status",
            Mobile,
            vec![(8, shows("")), (11, shows(""))],
            vec!["Order Needs Review (unrecognised_status)"],
            "in_flight",
            Some(3),
        ),
        (
            "final stays final: one contradiction review per text",
            Mobile,
            vec![
                (8, shows("FULFILLED")),
                (20, shows("REFUNDED")),
                (30, shows("REFUNDED")),
                (40, shows("HANDLING")),
                (50, shows("")),
            ],
            vec![
                "Order Fulfilled",
                "Order Needs Review (contradiction)",
                "Order Needs Review (contradiction)",
                "Order Needs Review (contradiction)",
            ],
            "final",
            None,
        ),
        (
            "no permit to check: the poll deadline applies",
            Mobile,
            vec![(8, shows("PENDING")), (280, Observation::NotAsked)],
            vec!["Order Delayed"],
            "parked as delayed",
            Some(300),
        ),
        (
            "no permit to check: overdue applies, and the check stays due",
            Mobile,
            vec![(17, shows("UNKNOWN_ERROR")), (17 + 2 * DAY, Observation::NotAsked)],
            vec!["Order Uncertain", "Order Needs Review (overdue)"],
            "parked as uncertain",
            Some(HOUR - 2 * DAY),
        ),
        (
            "no permit to check an order in flight: no change",
            Mobile,
            vec![(8, shows("PENDING")), (12, Observation::NotAsked)],
            vec![],
            "in_flight",
            Some(-1),
        ),
        (
            "refunded, and retried under another id",
            Mobile,
            vec![(8, retried("REFUNDED"))],
            vec!["Order Refunded", "Order Needs Review (retried)"],
            "final",
            Some(HOUR),
        ),
        (
            "retried under another id, and fulfilled",
            Mobile,
            vec![(8, retried("HANDLING")), (11, retried("FULFILLED"))],
            vec!["Order Fulfilled"],
            "final",
            None,
        ),
        (
            "not found within the grace period",
            Mobile,
            vec![(8, Observation::NotFound)],
            vec![],
            "in_flight",
            Some(3),
        ),
        (
            "not found after the grace period",
            Mobile,
            vec![
                (8, Observation::NotFound),
                (125, Observation::NotFound),
                (125 + DAY, Observation::NotFound),
            ],
            vec!["Order Needs Review (not_found)"],
            "parked as not_found",
            Some(DAY),
        ),
        (
            "not found for a month",
            Mobile,
            vec![(125, Observation::NotFound), (125 + 31 * DAY, Observation::NotFound)],
            vec!["Order Needs Review (not_found)", "Order Needs Review (overdue)"],
            "parked as not_found",
            Some(30 * DAY),
        ),
        (
            "not found, then found",
            Mobile,
            vec![(125, Observation::NotFound), (125 + DAY, shows("FULFILLED"))],
            vec!["Order Needs Review (not_found)", "Order Fulfilled"],
            "final",
            None,
        ),
        (
            "not found for days, then handling: on the delayed schedule",
            Mobile,
            vec![
                (125, Observation::NotFound),
                (125 + DAY, Observation::NotFound),
                (125 + 2 * DAY, Observation::NotFound),
                (125 + 3 * DAY, shows("HANDLING")),
            ],
            vec!["Order Needs Review (not_found)", "Order Needs Review (overdue)"],
            "parked as not_found",
            Some(300),
        ),
        (
            "not found, then found early: on the delayed schedule",
            Mobile,
            vec![(125, Observation::NotFound), (725, shows("HANDLING"))],
            vec!["Order Needs Review (not_found)"],
            "parked as not_found",
            Some(300),
        ),
        (
            "found before, then not found: a failed check",
            Mobile,
            vec![(8, shows("HANDLING")), (11, Observation::NotFound), (200, Observation::NotFound)],
            vec![],
            "in_flight",
            Some(5),
        ),
        ("a failed check in flight", Mobile, vec![(8, Observation::Nothing)], vec![], "in_flight", Some(3)),
        (
            "failed checks until the deadline",
            Mobile,
            vec![(8, Observation::Nothing), (281, Observation::Nothing)],
            vec!["Order Delayed"],
            "parked as delayed",
            Some(300),
        ),
        (
            "failed rechecks back off",
            Mobile,
            vec![
                (17, shows("UNKNOWN_ERROR")),
                (4000, Observation::Nothing),
                (4300, Observation::Nothing),
                (4900, Observation::Nothing),
            ],
            vec!["Order Uncertain"],
            "parked as uncertain",
            Some(1200),
        ),
        (
            "queued and handling in turns: one start time, published once, overdue",
            Internet,
            vec![
                (8, shows("QUEUED")),
                (8 + DAY, shows("HANDLING")),
                (20 + DAY, shows("QUEUED")),
                (8 + 2 * DAY, shows("QUEUED")),
                (9 + 2 * DAY, shows("HANDLING")),
                (30 + 2 * DAY, shows("QUEUED")),
            ],
            vec!["Order Queued", "Order Resumed", "Order Needs Review (overdue)", "Order Resumed"],
            "parked as queued",
            Some(DAY),
        ),
        (
            "queued and uncertain in turns: each published once, each with its start time",
            Internet,
            vec![
                (8, shows("QUEUED")),
                (9, shows("UNKNOWN_ERROR")),
                (10, shows("QUEUED")),
                (9 + DAY, shows("UNKNOWN_ERROR")),
                (8 + 2 * DAY, shows("QUEUED")),
            ],
            vec![
                "Order Queued",
                "Order Uncertain",
                "Order Needs Review (overdue)",
                "Order Needs Review (overdue)",
            ],
            "parked as queued",
            Some(DAY),
        ),
        (
            "delayed for a day",
            Mobile,
            vec![(280, shows("HANDLING")), (280 + DAY, shows("HANDLING"))],
            vec!["Order Delayed", "Order Needs Review (overdue)"],
            "parked as delayed",
            Some(600),
        ),
        (
            "not found for three days",
            Mobile,
            vec![(125, Observation::NotFound), (125 + 3 * DAY, Observation::NotFound)],
            vec!["Order Needs Review (not_found)", "Order Needs Review (overdue)"],
            "parked as not_found",
            Some(DAY),
        ),
        (
            "many unreadable answers in a short time: no review",
            Mobile,
            troubles(Trouble::Unreadable, &[300, 360, 420, 480, 540, 600, 660]),
            vec!["Order Delayed"],
            "parked as delayed",
            Some(3540),
        ),
        (
            "few unreadable answers over hours: no review",
            Mobile,
            troubles(Trouble::Unreadable, &[300, HOUR, 2 * HOUR, 3 * HOUR]),
            vec!["Order Delayed"],
            "parked as delayed",
            Some(1200),
        ),
        (
            "many unreadable answers over hours: one review, then daily checks",
            Mobile,
            troubles(Trouble::Unreadable, &[300, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 5 * HOUR]),
            vec!["Order Delayed", "Order Needs Review (unreadable)"],
            "parked as delayed",
            // Overdue comes before the daily check.
            Some(300 + DAY - 5 * HOUR),
        ),
        (
            "rejected for more than a day",
            Mobile,
            troubles(Trouble::Rejected, &[300, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 26 * HOUR]),
            vec!["Order Delayed", "Order Needs Review (rejected)", "Order Needs Review (overdue)"],
            "parked as delayed",
            Some(DAY),
        ),
        (
            "found before, then not found for hours",
            Mobile,
            [
                vec![(17, shows("UNKNOWN_ERROR"))],
                [1, 2, 3, 4, 5].map(|hour| (hour * HOUR, Observation::NotFound)).to_vec(),
            ]
            .concat(),
            vec!["Order Uncertain", "Order Needs Review (vanished)"],
            "parked as uncertain",
            Some(17 + DAY - 5 * HOUR),
        ),
        (
            "temporary failures neither count nor end the run of permanent ones",
            Mobile,
            vec![
                (300, Observation::Trouble(Trouble::Unreadable)),
                (HOUR, Observation::Nothing),
                (2 * HOUR, Observation::Trouble(Trouble::Rejected)),
                (3 * HOUR, Observation::Nothing),
                (4 * HOUR, Observation::Trouble(Trouble::Unreadable)),
                (5 * HOUR, Observation::Trouble(Trouble::Unreadable)),
                (6 * HOUR, Observation::NotAsked),
                (7 * HOUR, Observation::Trouble(Trouble::StoreRefuses)),
            ],
            vec!["Order Delayed", "Order Needs Review (store_refuses)"],
            "parked as delayed",
            Some(300 + DAY - 7 * HOUR),
        ),
        (
            "an answer ends the run of failures",
            Mobile,
            [
                troubles(Trouble::Unreadable, &[300, HOUR, 2 * HOUR, 3 * HOUR]),
                vec![(4 * HOUR, shows("HANDLING"))],
                vec![(9 * HOUR, Observation::Trouble(Trouble::Unreadable))],
            ]
            .concat(),
            vec!["Order Delayed"],
            "parked as delayed",
            Some(300),
        ),
        (
            "the wait after failures is at most twelvefold",
            Mobile,
            vec![
                (17, shows("UNKNOWN_ERROR")),
                (4000, Observation::Nothing),
                (8000, Observation::Nothing),
                (16000, Observation::Nothing),
                (32000, Observation::Nothing),
                (48000, Observation::Nothing),
                (64000, Observation::Nothing),
            ],
            vec!["Order Uncertain"],
            "parked as uncertain",
            Some(HOUR),
        ),
    ];
    for (name, product, checks, events, phase, next) in rows {
        let last = checks.last().map(|(second, _)| *second).unwrap();
        let (order, published) = run_checks(product, &checks);
        assert_eq!(published, events, "{name}: events");
        let parked =
            order.phase.parked_as().map(|parked| format!(" as {}", parked.as_str())).unwrap_or_default();
        assert_eq!(format!("{}{parked}", order.phase.as_str()), phase, "{name}: phase");
        let wait = order.next_check_at.map(|next| next.duration_since(at(last)).as_secs());
        assert_eq!(wait, next, "{name}: seconds to the next check");
    }
}

fn troubles(trouble: Trouble, seconds: &[i64]) -> Vec<(i64, Observation)> {
    seconds.iter().map(|second| (*second, Observation::Trouble(trouble))).collect()
}

#[test]
fn a_poller_makes_no_call_after_the_deadline_call() {
    let schedule = Schedule::default();
    let asked = |second: i64| Order { asked_at: Some(at(second)), ..tracked(Product::Mobile) };
    for (second, ended) in [(0, false), (279, false), (280, true), (9999, true)] {
        let order = asked(second);
        let later = at(second + 60);
        assert_eq!(order.polling_has_ended(later, &schedule), ended, "asked at {second} s");
        assert_eq!(order.wants_check(Trigger::Poller, later, &schedule), !ended, "asked at {second} s");
        assert!(order.wants_check(Trigger::Recheck, later, &schedule), "the recheck takes over");
    }
    let by_a_clock_ahead = asked(9999);
    assert!(!by_a_clock_ahead.polling_has_ended(at(20), &schedule), "a claim far ahead is ignored");
    assert!(by_a_clock_ahead.wants_check(Trigger::Poller, at(20), &schedule));
}

#[test]
fn unrecognised_statuses_do_not_suppress_other_reviews() {
    let texts = (0..100).map(|n| (8 + n, shows(&format!("PROCESSING {n} %"))));
    let (order, events) = run_checks(Product::Mobile, &texts.collect::<Vec<_>>());
    assert_eq!(events.len(), 32);
    let order = check(&order, 200, shows("UNKNOWN_ERROR")).order;
    let order = check(&order, 200 + DAY, Observation::Nothing);
    assert_eq!(types(&order.events), ["Order Needs Review (overdue)"]);
    let order = check(&order.order, 300 + DAY, shows("FULFILLED")).order;
    assert_eq!(
        types(&check(&order, 400 + DAY, shows("REFUNDED")).events),
        ["Order Needs Review (contradiction)"]
    );
}

#[test]
fn an_older_observation_is_dropped() {
    let order = check(&tracked(Product::Mobile), 14, shows("FULFILLED")).order;
    let older = CheckResult { asked_at: at(11), observation: shows("HANDLING") };
    assert_eq!(decide(&order, &older, at(15), Jitter::NONE, &Schedule::default()), None);
}

#[test]
fn a_check_by_a_clock_far_ahead_does_not_block_later_ones() {
    let order = check(&tracked(Product::Mobile), DAY, shows("HANDLING")).order;
    assert_eq!(types(&check(&order, 60, shows("FULFILLED")).events), ["Order Fulfilled"]);
}

#[test]
fn a_new_status_clears_message_and_offers_and_keeps_other_fields() {
    let offers = JsonText::parse(r#"[{"typename":"📋","plan_code":"F","amount":1}]"#.into()).unwrap();
    let seen = Facts {
        refund_message: Some("رسالة".into()),
        suggested_offers: Some(offers),
        plan_code: Some("PREPAID_DJEZZY".into()),
        ..facts(Some("UNKNOWN_ERROR"))
    };
    let order = check(
        &tracked(Product::Mobile),
        17,
        Observation::Order(Box::new(Snapshot { facts: seen, card: None, place: Place::Check })),
    )
    .order;
    assert!(order.facts.suggested_offers.is_some());
    let order = check(&order, HOUR * 2, shows("FULFILLED")).order;
    assert_eq!((&order.facts.refund_message, &order.facts.suggested_offers), (&None, &None));
    assert_eq!(order.facts.plan_code.as_deref(), Some("PREPAID_DJEZZY"));
}

#[test]
fn fields_missing_at_the_outcome_are_added_later_and_none_replaced() {
    let order = check(&tracked(Product::Mobile), 17, shows("REFUNDED")).order;
    let late = |message: &str| Facts { refund_message: Some(message.into()), ..facts(Some("REFUNDED")) };
    let order = check(
        &order,
        30,
        Observation::Order(Box::new(Snapshot { facts: late("first"), card: None, place: Place::Check })),
    )
    .order;
    let order = check(
        &order,
        40,
        Observation::Order(Box::new(Snapshot { facts: late("second"), card: None, place: Place::Check })),
    )
    .order;
    assert_eq!(order.facts.refund_message.as_deref(), Some("first"));
    let order = check(&order, 50, shows("REFUNDED")).order;
    assert_eq!(order.facts.refund_message.as_deref(), Some("first"));
}

#[test]
fn the_detail_of_an_event_is_the_contract() {
    let order = check(&tracked(Product::Internet), 8, shows_card("FULFILLED"));
    let detail: Value = serde_json::from_str(&order.events.first().unwrap().detail).unwrap();
    insta::assert_json_snapshot!(detail);
}

#[test]
fn recheck_waits_have_ten_percent_jitter() {
    for (jitter, hours) in [(-1.0, 21.6), (0.0, 24.0), (1.0, 26.4), (7.0, 26.4), (f64::NAN, 24.0)] {
        let check_result = CheckResult { asked_at: at(8), observation: shows("QUEUED") };
        let schedule = Schedule::default();
        let order = decide(&tracked(Product::Internet), &check_result, at(8), Jitter::new(jitter), &schedule)
            .unwrap()
            .order;
        let waited = order.next_check_at.unwrap().duration_since(at(8)).as_secs_f64() / 3600.0;
        assert!((waited - hours).abs() < 1e-6, "{jitter}: {waited}");
    }
}

#[test]
fn the_default_poll_schedule_makes_at_most_four_checks_in_15_s() {
    // The vendor's documented times: PENDING until 5 s, HANDLING until 15 s. A tick is up to 1 s late, never early.
    for lateness in [0, 50, 200, 400, 700, 999] {
        let schedule = Schedule::default();
        let (mut asked, mut checks) = (None, 0);
        loop {
            let next = schedule.next_poll(Product::Mobile, at(0), asked);
            let late = next.checked_add(Duration::from_millis(lateness)).unwrap();
            asked = Some(late);
            checks += 1;
            if late >= at(15) {
                break;
            }
        }
        assert!(checks <= 4, "{checks} checks when ticks are {lateness} ms late");
    }
}

#[test]
fn the_last_wait_of_a_retry_schedule_repeats() {
    let retry_schedule: RetrySchedule = "8s, 3s,10s".parse().unwrap();
    let seconds = |s: u64| Duration::from_secs(s);
    assert_eq!(
        (0..5).map(|attempt| retry_schedule.wait(attempt).as_secs()).collect::<Vec<_>>(),
        [8, 3, 10, 10, 10]
    );
    for (elapsed, moment) in
        [(0, 8), (7, 8), (8, 11), (10, 11), (11, 21), (20, 21), (21, 31), (1000, 1001), (1001, 1011)]
    {
        assert_eq!(retry_schedule.moment_after(seconds(elapsed)), seconds(moment), "after {elapsed}");
    }
    let one: RetrySchedule = "5s".parse().unwrap();
    assert_eq!(one.moment_after(seconds(12)), seconds(15));
    for bad in ["", " ", "24h,", "soon", "0s", "-1s", "24h,,12h", "400days", "8"] {
        assert!(bad.parse::<RetrySchedule>().is_err(), "{bad:?}");
    }
}

#[test]
fn each_trigger_checks_only_when_due() {
    let schedule = Schedule::default();
    let in_flight = |asked: i64| Order { asked_at: Some(at(asked)), ..tracked(Product::Mobile) };
    let parked = check(&tracked(Product::Internet), 8, shows("QUEUED")).order;
    let parked = |asked: i64| Order { asked_at: Some(at(asked)), ..parked.clone() };
    let done = check(&tracked(Product::Internet), 8, shows("FULFILLED")).order;
    let rows = [
        ("status, in flight, never checked", tracked(Product::Mobile), Trigger::Status, 0, true),
        ("status, in flight, claimed 4 s ago", in_flight(8), Trigger::Status, 12, false),
        ("status, in flight, claimed 5 s ago", in_flight(8), Trigger::Status, 13, true),
        ("status, parked, claimed 599 s ago", parked(8), Trigger::Status, 607, false),
        ("status, parked, claimed 600 s ago", parked(8), Trigger::Status, 608, true),
        ("status, final", done.clone(), Trigger::Status, 9999, false),
        ("poller, before the first poll", tracked(Product::Mobile), Trigger::Poller, 7, false),
        ("poller, at the first poll", tracked(Product::Mobile), Trigger::Poller, 8, true),
        ("poller, 2 s after a status request", in_flight(7), Trigger::Poller, 9, false),
        ("poller, 3 s after a status request", in_flight(7), Trigger::Poller, 10, true),
        ("poller, parked", parked(8), Trigger::Poller, 2 * DAY, false),
        ("recheck, parked, before it is due", parked(8), Trigger::Recheck, DAY, false),
        ("recheck, parked, due", parked(8), Trigger::Recheck, DAY + 8, true),
        ("recheck, parked, claimed 9 s ago", parked(DAY), Trigger::Recheck, DAY + 9, false),
        ("recheck, parked, claimed 10 s ago", parked(DAY), Trigger::Recheck, DAY + 10, true),
        ("recheck, in flight past the deadline", in_flight(11), Trigger::Recheck, 340, true),
        ("recheck, fulfilled without a card", done, Trigger::Recheck, 68, true),
        ("status, claimed by a clock far ahead", in_flight(9999), Trigger::Status, 20, true),
    ];
    for (name, order, trigger, second, may) in rows {
        assert_eq!(order.wants_check(trigger, at(second), &schedule), may, "{name}");
    }
}

#[test]
fn an_order_is_due_until_its_linked_orders_are_tracked() {
    let schedule = Schedule::default();
    let mut order = check(&tracked(Product::Mobile), 8, retried("REFUNDED")).order;
    order.published = order.seq;
    let links: Vec<_> = order.links_to_track().iter().map(ToString::to_string).collect();
    assert_eq!(links, ["retry-of-it"], "without the link to itself");
    assert_eq!(schedule.due_at(&order, at(10)), Some(at(40)));
    order.links.extend(order.links_to_track());
    assert_eq!(schedule.due_at(&order, at(10)), Some(at(8 + HOUR)), "only the late check is left");
}

#[test]
fn ids_and_refs_are_validated_when_parsed() {
    for good in ["a", "6901616fe9e88196b4eb64b0", "A_b-9", &"x".repeat(64)] {
        assert!(good.parse::<OrderId>().is_ok(), "{good}");
    }
    for bad in ["", "a b", "a/b", "a#b", "é", "a.b", &"x".repeat(65)] {
        assert!(bad.parse::<OrderId>().is_err(), "{bad}");
    }
    assert!(Ref::try_from("ط".repeat(200)).is_ok());
    for bad in [String::new(), "x".repeat(201), "a\nb".to_owned()] {
        assert!(Ref::try_from(bad).is_err());
    }
}

#[test]
fn a_mask_shows_two_characters_of_long_codes_and_none_of_short_ones() {
    for (code, masked) in
        [("123456789012", "**********12"), ("1234567", "*******"), ("", ""), ("١٢٣٤٥٦٧٨", "******٧٨")]
    {
        assert_eq!(SealedCard::mask(code), masked);
    }
}

fn listed(status: &str) -> Observation {
    Observation::Order(Box::new(Snapshot { facts: facts(Some(status)), card: None, place: Place::List }))
}

/// A list row comes without a claim and still sets `asked_at` and `checked_at`.
#[test]
fn a_list_row_has_the_same_effect_as_a_single_check() {
    for status in ["PENDING", "HANDLING", "QUEUED", "UNKNOWN_ERROR", "FULFILLED", "REFUNDED", "TELEPORTED"] {
        let order = tracked(Product::Mobile);
        let (by_list, by_id) = (check(&order, 17, listed(status)), check(&order, 17, shows(status)));
        assert_eq!(by_list, by_id, "{status}");
        assert_eq!(
            (by_list.order.asked_at, by_list.order.checked_at),
            (Some(at(17)), Some(at(17))),
            "{status}"
        );
    }
    let asked_since = Order { asked_at: Some(at(20)), ..tracked(Product::Mobile) };
    assert_eq!(
        check(&asked_since, 17, listed("PENDING")).order.asked_at,
        Some(at(20)),
        "a later claim is kept"
    );
}

#[test]
fn an_unlisted_order_is_checked_by_id_until_a_list_shows_it() {
    let order = check(&tracked(Product::Mobile), 9, Observation::NotListed);
    assert!(order.order.unlisted && order.events.is_empty());
    assert_eq!(
        (order.order.checked_at, &order.order.facts.status),
        (None, &None),
        "a missed list row is no answer"
    );
    // The check that first returns the creation time clears `unlisted`; later checks do not.
    let order = check(&order.order, 12, shows("PENDING")).order;
    assert!(!order.unlisted);
    let order = check(&check(&order, 15, Observation::NotListed).order, 18, shows("PENDING")).order;
    assert!(order.unlisted);
    assert!(!check(&order, 21, listed("PENDING")).order.unlisted);
}

/// List checks do not advance the order's own retry schedule.
#[test]
fn with_list_checks_queued_orders_are_due_every_hour() {
    let schedule = Schedule { list_recheck_interval: Some(Duration::from_secs(3600)), ..Schedule::default() };
    let due = |order: &Order| {
        let order = Order { published: order.seq, ..order.clone() };
        schedule.due_at(&order, at(20 + HOUR)).unwrap().as_second() - at(0).as_second()
    };
    let queued = check(&tracked(Product::Internet), 10, shows("QUEUED")).order;
    assert_eq!(due(&queued), 10 + HOUR);
    assert_eq!(due(&Order { unlisted: true, ..queued.clone() }), 10 + DAY, "unlisted");
    let delayed = check(&tracked(Product::Internet), 280, shows("HANDLING")).order;
    assert_eq!(due(&delayed), 580, "delayed orders have no early list checks");
    let listed = check(&queued, 10 + HOUR, listed("QUEUED")).order;
    assert_eq!(
        (due(&listed), listed.next_check_at, listed.attempt),
        (10 + 2 * HOUR, queued.next_check_at, 0)
    );
}
