//! Acts of a person: what each does, and what none ever does.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    properties::{any_history, moved},
    *,
};
use crate::schemas::tests::errors_of;

fn act(action: ReviewAction) -> ReviewAct {
    ReviewAct::new("Amina".to_owned(), "the vendor was asked".to_owned(), action).unwrap()
}

/// What an act did: the seconds until the order is due, and the reviews that were closed; or why it was refused.
type Row = (
    &'static str,
    Product,
    Vec<(i64, Observation)>,
    ReviewAction,
    Result<(Option<i64>, Vec<u32>), NotReviewable>,
);

#[test]
fn an_act_follows_the_table() {
    use Product::{Internet, Mobile};
    use ReviewAction::{Close, Recheck};
    let rows: Vec<Row> = vec![
        ("in flight", Mobile, vec![(8, shows("HANDLING"))], Recheck, Err(NotReviewable::InFlight)),
        ("uncertain", Mobile, vec![(8, shows("UNKNOWN_ERROR"))], Recheck, Ok((Some(0), vec![]))),
        ("queued", Internet, vec![(8, shows("QUEUED"))], Recheck, Ok((Some(0), vec![]))),
        ("delivered", Mobile, vec![(8, shows("FULFILLED"))], Recheck, Err(NotReviewable::NoCheckLeft)),
        ("its card is late", Internet, vec![(8, shows("FULFILLED"))], Recheck, Ok((Some(0), vec![]))),
        (
            "has its card",
            Internet,
            vec![(8, shows_card("FULFILLED"))],
            Recheck,
            Err(NotReviewable::NoCheckLeft),
        ),
        ("refunded, checks left", Mobile, vec![(8, shows("REFUNDED"))], Recheck, Ok((Some(0), vec![]))),
        ("no review", Mobile, vec![(8, shows("UNKNOWN_ERROR"))], Close, Err(NotReviewable::NoOpenReview)),
        (
            "one review, in flight: due as before",
            Mobile,
            vec![(8, shows("NEW"))],
            Close,
            Ok((Some(280 + 60 - 8), vec![2])),
        ),
        (
            "two reviews, one of them after the outcome",
            Mobile,
            vec![(8, shows("NEW")), (16, shows("FULFILLED")), (24, shows("REFUNDED"))],
            Close,
            Ok((None, vec![2, 4])),
        ),
    ];
    for (name, product, checks, action, expected) in rows {
        let last = checks.last().map_or(0, |(second, _)| *second);
        let (order, _) = run_checks(product, &checks);
        let decided = order.after_review(&act(action), at(last));
        let found = decided.map(|Decision { order: after, events }| {
            let [event] = events.try_into().unwrap();
            let detail: Value = serde_json::from_str(&event.detail).unwrap();
            let closed = detail
                .get("closed")
                .map_or_else(Vec::new, |closed| serde_json::from_value(closed.clone()).unwrap());
            assert_eq!(errors_of(&event.detail_type, &event.detail), [""; 0], "{name}");
            assert_eq!((event.seq, after.seq), (order.seq + 1, order.seq + 1), "{name}");
            let due = Schedule::default().due_at(&Order { published: after.seq, ..after }, at(last));
            (due.map(|due| due.as_second() - at(last).as_second()), closed)
        });
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_recheck_is_made_by_the_next_run() {
    let (order, _) = run_checks(Product::Mobile, &[(8, shows("UNKNOWN_ERROR"))]);
    let schedule = Schedule::default();
    assert!(!order.wants_check(Trigger::Recheck, at(60), &schedule));
    let after = order.after_review(&act(ReviewAction::Recheck), at(60)).unwrap().order;
    assert!(after.wants_check(Trigger::Recheck, at(60), &schedule));
}

#[test]
fn a_recheck_is_asked_for_once_until_a_check_answers_it() {
    let (order, _) = run_checks(Product::Mobile, &[(8, shows("UNKNOWN_ERROR"))]);
    let schedule = Schedule::default();
    let recheck = act(ReviewAction::Recheck);
    let asked = order.after_review(&recheck, at(60)).unwrap().order;
    assert_eq!(asked.after_review(&recheck, at(61)), Err(NotReviewable::AlreadyAsked));
    let check = |order: &Order, second, observation| {
        let check_result = CheckResult { asked_at: at(second), observation };
        decide(order, &check_result, at(second), Jitter::NONE, &schedule).unwrap().order
    };
    let older = decide(
        &asked,
        &CheckResult { asked_at: at(59), observation: shows("UNKNOWN_ERROR") },
        at(62),
        Jitter::NONE,
        &schedule,
    );
    assert_eq!(older.unwrap().order.recheck_asked_at, Some(at(60)), "that check began before");
    let failed = check(&asked, 70, Observation::Nothing);
    assert_eq!(failed.recheck_asked_at, Some(at(70 + 300)), "it is tried again after RETRY_AFTER_FAILURE");
    assert!(check(&asked, 70, Observation::Trouble(Trouble::Rejected)).recheck_asked_at.is_none());
    let answered = check(&failed, 370, shows("UNKNOWN_ERROR"));
    assert!(answered.recheck_asked_at.is_none() && answered.after_review(&recheck, at(371)).is_ok());
}

#[test]
fn an_order_without_a_check_left_shows_none_although_one_was_asked_for() {
    let (order, _) = run_checks(Product::Mobile, &[(8, shows("UNKNOWN_ERROR"))]);
    let schedule = Schedule::default();
    let asked = order.after_review(&act(ReviewAction::Recheck), at(60)).unwrap().order;
    let shown =
        |order: &Order| serde_json::to_value(OrderView::of(order, at(62))).unwrap()["next_check_at"].clone();
    assert_eq!(shown(&asked), serde_json::to_value(at(60)).unwrap());
    // A check that began before the person asked.
    let check_result = CheckResult { asked_at: at(59), observation: shows("FULFILLED") };
    let ended = decide(&asked, &check_result, at(62), Jitter::NONE, &schedule).unwrap().order;
    assert!(ended.phase.is_final() && !ended.wants_check(Trigger::Recheck, at(62), &schedule));
    assert_eq!(shown(&ended), Value::Null);
}

#[test]
fn the_note_goes_with_the_personal_data_and_a_later_one_is_not_kept() {
    let checks = [(8, shows("NEW")), (16, shows("FULFILLED"))];
    let (order, _) = run_checks(Product::Mobile, &checks);
    let act = ReviewAct::new("Amina".into(), "call 0778037340".into(), ReviewAction::Close).unwrap();
    let Decision { order: after, events } = order.after_review(&act, at(20)).unwrap();
    assert!(events[0].detail.contains("0778037340"));
    let redacted = events[0].redacted(at(30)).unwrap();
    assert!(!redacted.detail.contains("0778037340") && redacted.detail.contains(r#""actor":"Amina""#));
    assert_eq!(errors_of(&redacted.detail_type, &redacted.detail), [""; 0]);
    assert!(after.open_reviews.is_empty());

    let redacted = Order { published: order.seq, ..order }.redacted(at(40)).unwrap();
    assert_eq!(redacted.open_reviews.keys().collect::<Vec<_>>(), [&2], "a person closes it");
    let later = redacted.after_review(&act, at(50)).unwrap();
    assert!(later.events[0].detail.contains(r#""note":null"#));
    assert_eq!(errors_of("Order Reviewed", &later.events[0].detail), [""; 0]);
}

#[test]
fn texts_of_an_act_have_their_bounds() {
    let new =
        |actor: &str, reason: &str| ReviewAct::new(actor.to_owned(), reason.to_owned(), ReviewAction::Close);
    let (long_actor, long_reason) = ("é".repeat(MAX_ACTOR), "é".repeat(MAX_NOTE));
    assert!(new(&long_actor, &long_reason).is_ok() && new("a", "b").is_ok());
    for (actor, reason, wrong) in [
        ("", "b", "actor"),
        ("a\n", "b", "actor"),
        (&format!("{long_actor}a"), "", "actor"),
        ("a", "", "reason"),
        ("a", "b\u{7f}", "reason"),
        (" ", "b", "actor"),
        ("\u{200b}", "b", "actor"),
        ("\u{202e}Amina", "b", "actor"),
        ("أمينة", " \u{200e} ", "reason"),
        ("أمينة", "b\u{2028}", "reason"),
        ("a", &format!("{long_reason}b"), "reason"),
    ] {
        assert_eq!(new(actor, reason), Err(wrong), "{actor:?} {reason:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a person asks for, and however often: the checks of the retry schedule are made as without it.
    #[test]
    fn a_recheck_leaves_the_retry_schedule_alone(
        (product, checks) in any_history(),
        seconds in proptest::collection::vec(1i64..3600, 1..12),
        status in prop_oneof![Just("UNKNOWN_ERROR"), Just("QUEUED"), Just("REFUNDED"), Just("FULFILLED"), Just("HANDLING")],
    ) {
        let schedule = Schedule::default();
        let time = |ms| Timestamp::from_millisecond(ms).unwrap();
        let (mut order, mut now) = (tracked(product), START);
        for (step, ago, observation, jitter) in checks {
            now = moved(now, step);
            let check_result = CheckResult { asked_at: time(moved(now, -ago)), observation };
            let decided = decide(&order, &check_result, time(now), Jitter::new(jitter), &schedule);
            order = decided.map_or(order, |decision| decision.order);
        }
        let check = |order: &Order, now| {
            let check_result = CheckResult { asked_at: time(now), observation: shows(status) };
            decide(order, &check_result, time(now), Jitter::NONE, &schedule).map(|decision| decision.order)
        };
        // One check, so that the phase is that of the status. It comes after every clock that was ahead.
        now = moved(now, 3600 * 1000);
        let Some(mut order) = check(&order, now) else { return Ok(()) };
        let before = order.scheduled_check(time(now), &schedule);
        for second in seconds {
            let later = moved(now, second * 1000);
            if before.is_none_or(|next| next <= time(later)) {
                continue;
            }
            let Ok(Decision { order: asked, .. }) = order.after_review(&act(ReviewAction::Recheck), time(later)) else { continue };
            prop_assert!(asked.wants_check(Trigger::Recheck, time(moved(later, 20_000)), &schedule));
            let Some(after) = check(&asked, later) else { continue };
            prop_assert_eq!(after.recheck_asked_at, None);
            prop_assert_eq!(after.scheduled_check(time(later), &schedule), before, "{:?}", order.phase);
            prop_assert_eq!(after.attempt, order.attempt);
            order = after;
        }
    }

    /// Acts of persons among checks. Invariants 1, 2 and 4 hold for acts too, and the open reviews are the events that asked for one and were
    /// not closed.
    #[test]
    fn an_act_changes_no_status_and_closes_what_was_open(
        (product, checks) in any_history(),
        acts in proptest::collection::vec(prop_oneof![2 => Just(None), 1 => Just(Some(ReviewAction::Recheck)), 1 => Just(Some(ReviewAction::Close))], 20),
    ) {
        let schedule = Schedule::default();
        let (mut order, mut open, mut now) = (tracked(product), BTreeSet::new(), START);
        for ((step, ago, observation, jitter), action) in checks.iter().zip(acts) {
            now = moved(now, *step);
            let time = |ms| Timestamp::from_millisecond(ms).unwrap();
            let check_result = CheckResult { asked_at: time(moved(now, -ago)), observation: observation.clone() };
            if let Some(decision) = decide(&order, &check_result, time(now), Jitter::new(*jitter), &schedule) {
                open.extend(decision.events.iter().filter(|event| event.asks_for_review()).map(|event| event.seq));
                order = decision.order;
            }
            prop_assert_eq!(&order.open_reviews.keys().copied().collect::<BTreeSet<_>>(), &open);
            prop_assert!(open.len() <= 64);
            let Some(action) = action else { continue };
            let Ok(Decision { order: after, events }) = order.after_review(&act(action), time(now)) else {
                prop_assert!(action == ReviewAction::Recheck || open.is_empty());
                continue;
            };
            let [event] = events.as_slice() else { panic!("{events:?}") };
            prop_assert_eq!(errors_of(&event.detail_type, &event.detail), [""; 0]);
            prop_assert_eq!((after.seq, event.seq), (order.seq + 1, order.seq + 1));
            let expected = Order {
                seq: after.seq,
                recheck_asked_at: after.recheck_asked_at,
                open_reviews: after.open_reviews.clone(),
                ..order.clone()
            };
            prop_assert_eq!(&after, &expected, "an act changes nothing else");
            let published = |order: &Order| Order { published: order.seq, ..order.clone() };
            let due = schedule.due_at(&published(&after), time(now));
            match action {
                ReviewAction::Recheck => prop_assert!(due.is_some_and(|due| due <= time(now))),
                ReviewAction::Close => {
                    prop_assert_eq!(due, schedule.due_at(&published(&order), time(now)));
                    open.clear();
                }
            }
            order = after;
        }
    }
}
