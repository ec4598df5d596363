//! Properties of `decide` under random checks and clocks.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::schemas::tests::errors_of;

fn any_status() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        8 => proptest::sample::select(vec!["PENDING", "HANDLING", "QUEUED", "UNKNOWN_ERROR", "FULFILLED", "REFUNDED"])
            .prop_map(|text| Some(text.to_owned())),
        1 => proptest::sample::select(vec!["SUCCESS", "FAILED", "refunded", "REFUNDED ", ""]).prop_map(|text| Some(text.to_owned())),
        1 => any::<String>().prop_map(Some),
        1 => Just(None),
    ]
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let shown = (any_status(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(status, has_card, has_fields, listed)| {
            let mut facts = if has_fields { facts(None) } else { Facts::default() };
            facts.status = status.map(VendorStatus::from);
            facts.retry_order_id = (has_fields && has_card).then(|| "another".to_owned());
            Observation::Order(Box::new(Snapshot {
                facts,
                card: has_card.then(card),
                place: if listed { Place::List } else { Place::Check },
            }))
        },
    );
    prop_oneof![6 => shown, 1 => Just(Observation::NotFound), 2 => Just(Observation::Nothing), 2 => any_trouble().prop_map(Observation::Trouble), 1 => Just(Observation::NotAsked), 1 => Just(Observation::NotListed)]
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    proptest::sample::select(vec![
        Trouble::Unreadable,
        Trouble::Rejected,
        Trouble::Vanished,
        Trouble::StoreRefuses,
    ])
}

/// Clock steps in milliseconds: mostly forward, sometimes back, up to the ends of the calendar.
fn any_step() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0i64..20_000, 3 => 0i64..200_000_000, 2 => -400_000i64..0, 1 => any::<i64>()]
}

pub(super) fn moved(now: i64, by: i64) -> i64 {
    now.saturating_add(by).clamp(Timestamp::MIN.as_second() * 1000, Timestamp::MAX.as_second() * 1000)
}

/// A history: checks, each with the clock step before it, the milliseconds since it was requested, and the jitter.
pub(super) fn any_history() -> impl Strategy<Value = (Product, Vec<(i64, i64, Observation, f64)>)> {
    let product = proptest::sample::select(Product::ALL.to_vec());
    let checks = proptest::collection::vec((any_step(), 0i64..30_000, any_observation(), -1.0..1.0), 1..20);
    (product, checks)
}

/// Runs a history. Calls `each` with (order before, observation, now, decision) for each decision.
fn run(
    product: Product,
    checks: &[(i64, i64, Observation, f64)],
    mut each: impl FnMut(&Order, &Observation, Timestamp, &Decision) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let schedule = Schedule::default();
    let mut order = tracked(product);
    let mut now = START;
    for (step, ago, observation, jitter) in checks {
        now = moved(now, *step);
        let time = |ms| Timestamp::from_millisecond(ms).unwrap();
        let check_result = CheckResult { asked_at: time(moved(now, -ago)), observation: observation.clone() };
        if let Some(decision) = decide(&order, &check_result, time(now), Jitter::new(*jitter), &schedule) {
            each(&order, observation, time(now), &decision)?;
            order = decision.order;
        }
    }
    Ok(())
}

fn stated(observation: &Observation) -> Option<&VendorStatus> {
    match observation {
        Observation::Order(snapshot) => snapshot.facts.status.as_ref(),
        Observation::NotFound
        | Observation::Nothing
        | Observation::Trouble(_)
        | Observation::NotAsked
        | Observation::NotListed => None,
    }
}

fn has(decision: &Decision, detail_type: &str) -> bool {
    decision.events.iter().any(|event| event.detail_type == detail_type)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 1.
    #[test]
    fn a_final_status_never_changes((product, checks) in any_history()) {
        run(product, &checks, |before, _, _, decision| {
            if before.phase.is_final() {
                prop_assert_eq!(&decision.order.facts.status, &before.facts.status);
                prop_assert_eq!(decision.order.phase, before.phase);
            }
            Ok(())
        })?;
    }

    /// Invariant 2.
    #[test]
    fn an_outcome_is_published_once_and_only_if_the_vendor_stated_it((product, checks) in any_history()) {
        let mut outcomes = 0;
        run(product, &checks, |_, observation, _, decision| {
            if has(decision, "Order Refunded") {
                prop_assert_eq!(stated(observation), Some(&VendorStatus::Refunded));
                outcomes += 1;
            }
            if has(decision, "Order Fulfilled") {
                prop_assert_eq!(stated(observation), Some(&VendorStatus::Fulfilled));
                outcomes += 1;
            }
            prop_assert!(outcomes <= 1);
            Ok(())
        })?;
    }

    #[test]
    fn redaction_removes_personal_data_for_good_and_nothing_else((product, checks) in any_history()) {
        const PERSONAL: &str = "0778037340";
        let personal = Some(PERSONAL.to_owned());
        run(product, &checks, |_, observation, now, decision| {
            let mut order = Order { published: decision.order.seq, ..decision.order.clone() };
            order.reference = Ref::try_from(PERSONAL.to_owned()).ok();
            order.facts.number.clone_from(&personal);
            order.facts.vendor_ref.clone_from(&personal);
            order.facts.refund_message.clone_from(&personal);
            order.facts.num_trans.clone_from(&personal);
            let Ok(redacted) = order.redacted(now) else {
                prop_assert!(!order.phase.is_final() || order.awaits_late_check());
                return Ok(());
            };
            let event = order.clone().add_event(EventKind::OrderFulfilled, None, false, now);
            let event = event.redacted(now).unwrap();
            prop_assert_eq!(errors_of(&event.detail_type, &event.detail), Vec::<String>::new());
            for text in [&event.detail, &format!("{redacted:?}")] {
                prop_assert!(!text.contains(PERSONAL), "{}", text);
            }
            prop_assert_eq!(redacted.phase, order.phase);
            prop_assert_eq!(&redacted.facts.status, &order.facts.status);
            prop_assert_eq!(redacted.redacted(now), Err(NotRedactable::Redacted));
            // A version that knows no redaction has filled it again.
            let filled = Order { reference: order.reference.clone(), facts: order.facts.clone(), ..redacted.clone() };
            prop_assert_eq!(filled.redacted(now), Ok(redacted.clone()));
            prop_assert!(!redacted.wants_check(Trigger::Recheck, now, &Schedule::default()));
            let again = CheckResult { asked_at: now, observation: observation.clone() };
            prop_assert!(decide(&redacted, &again, now, Jitter::NONE, &Schedule::default()).is_none());
            Ok(())
        })?;
    }

    /// Invariant 4.
    #[test]
    fn every_unfinished_order_is_due((product, checks) in any_history()) {
        run(product, &checks, |_, _, now, decision| {
            let order = &decision.order;
            let published = Order { published: order.seq, ..order.clone() };
            let no_links = order.links_to_track().is_empty();
            let waits = !order.phase.is_final() || order.awaits_card() || order.awaits_late_check() || !no_links;
            prop_assert_eq!(Schedule::default().due_at(&published, now).is_some(), waits);
            prop_assert!(order.published >= order.seq || Schedule::default().due_at(order, now).is_some());
            // An order that a recheck did not check stays due.
            let with_lists =
                Schedule { list_recheck_interval: Some(std::time::Duration::from_secs(3600)), ..Schedule::default() };
            for worth_it in [false, true] {
                let due = with_lists.due_if_unchecked(&published, now, worth_it);
                prop_assert_eq!(due.is_some(), waits);
                prop_assert!(due <= Schedule::default().due_at(&published, now));
            }
            Ok(())
        })?;
    }

    /// Invariant 5.
    #[test]
    fn a_failed_check_changes_no_status((product, checks) in any_history()) {
        run(product, &checks, |before, observation, _, decision| {
            if !matches!(observation, Observation::Order(_)) {
                prop_assert_eq!(&decision.order.facts, &before.facts);
                prop_assert_eq!(&decision.order.card, &before.card);
                prop_assert_eq!(decision.order.phase.is_final(), before.phase.is_final());
            }
            Ok(())
        })?;
    }

    /// Invariant 6. Also: event numbers have no gaps, details fit `events/schemas/`,
    /// and the next check of a parked order is not in the past.
    #[test]
    fn decide_is_total((product, checks) in any_history()) {
        run(product, &checks, |before, _, now, decision| {
            for (index, event) in decision.events.iter().enumerate() {
                prop_assert_eq!(event.seq, before.seq + 1 + index as u32);
                let detail: Value = serde_json::from_str(&event.detail).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(&detail["event_id"], &Value::from(event.id()));
                prop_assert_eq!(errors_of(&event.detail_type, &event.detail), [""; 0]);
            }
            prop_assert_eq!(decision.order.seq, before.seq + decision.events.len() as u32);
            if let Some(next) = decision.order.next_check_at.filter(|_| decision.order.phase.parked_as().is_some()) {
                prop_assert!(next > now || now == Timestamp::MAX || next >= before.next_check_at.unwrap_or(next));
            }
            Ok(())
        })?;
    }
}
