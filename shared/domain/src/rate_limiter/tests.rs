use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_microsecond(1_760_000_000_000_000 + (seconds * 1e6) as i64).unwrap()
}

/// Applies a permit as the table's conditional update does.
fn apply(usage: &mut Usage, class: Class, take: &Take) {
    let moved = |tat: &mut Option<i64>, how: Move| {
        *tat = match how {
            Move::Busy { emission_interval, .. } => tat.map(|tat| tat + emission_interval),
            Move::Idle { tat, .. } => Some(tat),
        };
    };
    moved(&mut usage.tat, take.all);
    if let Some(own) = take.reservation {
        let index = Class::ALL.iter().position(|other| *other == class).unwrap();
        moved(&mut usage.reservation_tats[index], own);
    }
    usage.permits += 1;
}

/// The same for giving a permit back; returns whether the condition held.
fn give_back(usage: &mut Usage, class: Class, back: &GiveBack) -> bool {
    let index = Class::ALL.iter().position(|other| *other == class).unwrap_or(usize::MAX);
    let is_unchanged = back.reservation.is_none_or(|own| usage.reservation_tats[index] == Some(own.after));
    if usage.permits != back.permits || usage.tat != Some(back.all.after) || !is_unchanged {
        return false;
    }
    usage.tat = Some(back.all.before);
    if let Some(own) = back.reservation {
        usage.reservation_tats[index] = Some(own.before);
    }
    usage.permits += 1;
    true
}

fn permitted(usage: &mut Usage, class: Class, now: Timestamp, budget: Budget) -> bool {
    match next_step(usage, class, now, budget) {
        Step::Take(take) => {
            apply(usage, class, &take);
            true
        }
        _ => false,
    }
}

fn max_calls_in_any(window: i64, times: &[i64]) -> usize {
    times
        .iter()
        .map(|first| times.iter().filter(|t| (*first..=*first + window).contains(*t)).count())
        .max()
        .unwrap_or(0)
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Poller), Just(Class::Status), Just(Class::Recheck), Just(Class::Resync)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 8, with one clock: the limit holds in any 61 s, and so also if a call is up to 1 s later than its permit.
    #[test]
    fn no_window_has_more_calls_than_the_limit(
        (per_minute, burst) in (5u32..400).prop_flat_map(|limit| (Just(limit), 1..limit)),
        requests in proptest::collection::vec((0.0f64..2.0, class(), 1usize..30), 1..200),
    ) {
        let budget = Budget::new(per_minute, burst).unwrap();
        let (mut usage, mut now, mut calls) = (Usage::default(), 0.0, Vec::new());
        for (pause, class, times) in requests {
            now += pause;
            for _ in 0..times {
                if permitted(&mut usage, class, at(now), budget) {
                    calls.push(at(now).as_microsecond());
                }
            }
        }
        prop_assert!(max_calls_in_any(61_000_000, &calls) <= per_minute as usize);
    }

    /// Invariant 8 with permits given back. A permit is used within 1 s or given back later: in any order, twice, and while others are given.
    /// Giving one back frees no more rate than it took.
    #[test]
    fn calls_that_are_given_back_free_no_more_than_they_took(
        (per_minute, burst) in (5u32..400).prop_flat_map(|limit| (Just(limit), 1..limit)),
        requests in proptest::collection::vec((0.0f64..2.0, class(), 1usize..8, 0.0f64..4.0), 1..300),
    ) {
        let budget = Budget::new(per_minute, burst).unwrap();
        let (mut usage, mut now, mut calls) = (Usage::default(), 0.0, Vec::new());
        // Permits with time and whether they were kept; permits to give back with the time to do so.
        let (mut permitted, mut late, mut returned) = (Vec::new(), Vec::<(f64, usize, Class, GiveBack)>::new(), 0);
        for (pause, class, times, delay) in requests.into_iter().chain([(10.0, Class::Status, 0, 0.0)]) {
            now += pause;
            late.sort_by(|one, other| one.0.total_cmp(&other.0));
            while late.first().is_some_and(|one| one.0 <= now) {
                let (_, index, class, back) = late.remove(0);
                if give_back(&mut usage, class, &back) {
                    returned += 1;
                    let (_, is_kept) = &mut permitted[index];
                    *is_kept = false;
                }
                // A repeated request, as after a lost answer.
                prop_assert!(!give_back(&mut usage, class, &back));
            }
            for _ in 0..times {
                let Step::Take(take) = next_step(&usage, class, at(now), budget) else { break };
                apply(&mut usage, class, &take);
                if delay <= 1.0 {
                    calls.push(at(now + delay).as_microsecond());
                } else {
                    let back = GiveBack::of(&take, class, &usage, at(now)).unwrap();
                    late.push((now + delay, permitted.len(), class, back));
                }
                permitted.push((at(now).as_microsecond(), true));
            }
        }
        // The `tat` is never earlier than in a history without the permits given back.
        let kept = permitted.iter().filter(|(_, is_kept)| *is_kept);
        let alone = kept.fold(i64::MIN, |tat, (moment, _)| tat.max(*moment) + budget.all().emission_interval);
        prop_assert!(usage.tat.unwrap_or(i64::MIN) >= alone, "{returned} given back");
        prop_assert!(max_calls_in_any(60_000_000, &calls) <= per_minute as usize, "{returned} given back");
    }

    /// After a permit is given back at once, all decisions are those without it.
    #[test]
    fn a_permit_given_back_at_once_affects_no_later_decision(
        burst in 1u32..20,
        requests in proptest::collection::vec((0.0f64..1.0, class()), 0..60),
        mine in class(),
        after in proptest::collection::vec((0.0f64..1.0, class()), 1..20),
    ) {
        let budget = Budget::new(60, burst).unwrap();
        let (mut usage, mut now) = (Usage::default(), 0.0);
        for (pause, class) in requests {
            now += pause;
            permitted(&mut usage, class, at(now), budget);
        }
        let mut without = usage.clone();
        if let Step::Take(take) = next_step(&usage, mine, at(now), budget) {
            apply(&mut usage, mine, &take);
            let back = GiveBack::of(&take, mine, &usage, at(now)).unwrap();
            prop_assert!(give_back(&mut usage, mine, &back));
        }
        let yields = |class: &Class| [Class::Recheck, Class::Resync].contains(class);
        for (pause, class) in after.into_iter().filter(|(_, class)| !yields(class)) {
            now += pause;
            // Rechecks and resyncs are left out: they yield to calls with a recent permit, even if it was given back.
            prop_assert_eq!(
                permitted(&mut usage, class, at(now), budget),
                permitted(&mut without, class, at(now), budget)
            );
            prop_assert_eq!(usage.tat, without.tat);
        }
    }

    /// A resync gets a call only if no other class has used the bucket for an emission interval. Right after it, the other classes get the
    /// burst less one call, and each of them gets its reservation.
    #[test]
    fn a_resync_takes_leftovers_only(
        (per_minute, burst) in (5u32..400).prop_flat_map(|limit| (Just(limit), 1..limit.min(30))),
        requests in proptest::collection::vec((0.0f64..2.0, class(), 1usize..30), 0..100),
        next in prop_oneof![Just(Class::Poller), Just(Class::Status), Just(Class::Recheck)],
    ) {
        let budget = Budget::new(per_minute, burst).unwrap();
        let (mut usage, mut now) = (Usage::default(), 0.0);
        for (pause, class, times) in requests {
            now += pause;
            for _ in 0..times {
                let before = usage.clone();
                if !permitted(&mut usage, class, at(now), budget) || class != Class::Resync {
                    continue;
                }
                let interval = budget.all().emission_interval;
                prop_assert!(before.tat.is_none_or(|tat| tat + interval <= at(now).as_microsecond()));
                prop_assert_eq!(usage.reservation_tats, before.reservation_tats);
                let (mut with, mut without) = (usage.clone(), before);
                let count = |usage: &mut Usage| {
                    (0..burst + 1).filter(|_| permitted(usage, next, at(now), budget)).count()
                };
                let (with, without) = (count(&mut with), count(&mut without));
                prop_assert!(with + 1 >= without, "{} of {}", with, without);
            }
        }
    }

    /// While a class asks for all that it can get, a resync changes no decision about it.
    #[test]
    fn a_resync_changes_nothing_for_classes_under_load(
        (per_minute, burst) in (5u32..400).prop_flat_map(|limit| (Just(limit), 1..limit.min(30))),
        busy in prop_oneof![Just(Class::Poller), Just(Class::Status), Just(Class::Recheck)],
        others in proptest::collection::vec(class(), 400),
    ) {
        let budget = Budget::new(per_minute, burst).unwrap();
        let (mut with, mut without) = (Usage::default(), Usage::default());
        let step = budget.all().emission_interval as f64 / 4e6;
        for (tick, other) in others.into_iter().enumerate() {
            let now = at(tick as f64 * step);
            for class in [busy, other].into_iter().filter(|class| *class != Class::Resync) {
                let (one, two) = (permitted(&mut with, class, now, budget), permitted(&mut without, class, now, budget));
                prop_assert_eq!(one, two);
            }
            prop_assert!(!permitted(&mut with, Class::Resync, now, budget), "a resync got a call");
        }
    }

    /// A denied call is permitted at `retry_at` and not earlier, if no other call comes first.
    #[test]
    fn a_denied_call_is_permitted_at_retry_at(
        burst in 1u32..20,
        requests in proptest::collection::vec((0.0f64..1.0, class()), 1..60),
        last in class(),
    ) {
        let budget = Budget::new(60, burst).unwrap();
        let (mut usage, mut now) = (Usage::default(), 0.0);
        for (pause, class) in requests {
            now += pause;
            permitted(&mut usage, class, at(now), budget);
        }
        if let Step::Deny(Denied { retry_at: until, .. }) = next_step(&usage, last, at(now), budget) {
            prop_assert!(until > at(now));
            let still = |moment| matches!(next_step(&usage, last, moment, budget), Step::Deny(_));
            prop_assert!(!still(until));
            // A recheck yields to pollers, which may stop meanwhile, so it may be permitted earlier.
            prop_assert!(last == Class::Recheck || still(until.checked_sub(Duration::from_micros(1)).unwrap()));
        }
    }
}

/// All classes request permits continuously: each gets its reservation, and the whole rate is used.
#[test]
fn each_class_gets_its_reservation_under_full_load() {
    for (limit, burst) in [(20, 1), (60, 2), (60, 5), (120, 4), (120, 20), (3000, 100)] {
        let budget = Budget::new(limit, burst).unwrap();
        let mut usage = Usage::default();
        let mut got = [0u32; 3];
        for tick in 0..60 * 10 * 20 {
            // Each class takes all it can, in rotating order.
            for turn in 0..3 {
                let index = (turn + tick) % 3;
                while permitted(&mut usage, Class::ALL[index], at(tick as f64 / 20.0), budget) {
                    got[index] += 1;
                }
            }
        }
        let sustained = f64::from(limit - burst) / 62.0 * 600.0;
        for (class, got) in Class::ALL.into_iter().zip(got) {
            let share = sustained * class.percent() as f64 / 100.0;
            assert!(f64::from(got) >= share * 0.98 - 1.0, "{limit}/{burst} {class:?}: {got} of {share}");
        }
        let all = f64::from(got.iter().sum::<u32>());
        assert!(all >= sustained * 0.95, "{limit}/{burst}: {all} of {sustained}");
    }
}

/// Single calls, each 0.3 s late, still use more than 19 of 20 calls a minute.
#[test]
fn calls_slightly_late_still_use_the_whole_rate() {
    let budget = Budget::new(20, 1).unwrap();
    let (mut usage, mut now, mut calls) = (Usage::default(), 0.0, 0);
    while now < 6000.0 {
        now = match next_step(&usage, Class::Poller, at(now), budget) {
            Step::Deny(Denied { retry_at: until, .. }) => until.duration_since(at(0.0)).as_secs_f64() + 0.3,
            _ => now,
        };
        assert!(permitted(&mut usage, Class::Poller, at(now), budget));
        calls += 1;
    }
    assert!(f64::from(calls) / 100.0 > 19.0, "{} a minute", f64::from(calls) / 100.0);
}

/// A recheck beyond its reservation waits while pollers make calls.
#[test]
fn a_recheck_beyond_its_reservation_yields_to_pollers() {
    let budget = Budget::new(20, 1).unwrap();
    let mut usage = Usage::default();
    let mut got = [0; 2];
    for tick in 0..60 * 60 * 20 {
        let now = at(tick as f64 / 20.0);
        // The recheck requests 20 permits a second, a poller 4.
        got[1] += u32::from(permitted(&mut usage, Class::Recheck, now, budget));
        if tick % 5 == 0 {
            got[0] += u32::from(permitted(&mut usage, Class::Poller, now, budget));
        }
    }
    let [polled, rechecked] = got.map(|calls| f64::from(calls) / 60.0);
    assert!((1.7..2.3).contains(&rechecked), "10 % reserved, {rechecked} a minute");
    assert!(polled > 16.5, "{polled} a minute");
}

/// Alone, a resync gets half of the rate.
#[test]
fn a_resync_alone_gets_half_of_the_rate() {
    for (limit, burst) in [(20, 1), (60, 5), (120, 20)] {
        let budget = Budget::new(limit, burst).unwrap();
        let mut usage = Usage::default();
        let ticks = 0..6000;
        let got =
            ticks.filter(|tick| permitted(&mut usage, Class::Resync, at(f64::from(*tick) / 10.0), budget));
        let (got, half) = (got.count() as f64, f64::from(limit - burst) / 62.0 * 300.0);
        assert!((half * 0.9..half * 1.1).contains(&got), "{limit}/{burst}: {got} of {half}");
    }
}

/// A suspended key is probed by single checks, never by a resync.
#[test]
fn a_resync_makes_no_probe() {
    let usage = Usage { suspended_until: Some(at(0.0)), refusals: 3, ..Usage::default() };
    let step = next_step(&usage, Class::Resync, at(5.0), Budget::default());
    assert!(
        matches!(step, Step::Deny(Denied { reason: DenyReason::Suspended, retry_at }) if retry_at > at(5.0))
    );
}

#[test]
fn a_single_active_class_gets_nearly_the_whole_rate() {
    let budget = Budget::new(120, 20).unwrap();
    for class in Class::ALL {
        let mut usage = Usage::default();
        let asked = (0..6000)
            .filter(|tick| permitted(&mut usage, class, at(f64::from(*tick) / 10.0), budget))
            .count();
        assert!(asked as f64 >= 100.0 / 62.0 * 600.0 * 0.95, "{class:?}: {asked}");
    }
}

#[test]
fn many_pollers_leave_room_for_a_request_and_a_recheck() {
    let budget = Budget::default();
    let mut usage = Usage::default();
    for second in 0..120 {
        let now = at(f64::from(second));
        while permitted(&mut usage, Class::Poller, now, budget) {}
        if second % 20 == 19 {
            assert!(permitted(&mut usage, Class::Status, now, budget), "status after {second} s");
            assert!(permitted(&mut usage, Class::Recheck, now, budget), "recheck after {second} s");
        }
    }
}

#[test]
fn pause_and_suspension_are_checked_before_the_rate() {
    let wait = |usage: &Usage, now| match next_step(usage, Class::Poller, at(now), Budget::default()) {
        Step::Deny(Denied { retry_at: until, reason }) => {
            format!("{reason:?} until {}", until.duration_since(at(0.0)).as_secs())
        }
        Step::Probe { next, .. } => format!("probe, next {}", next.duration_since(at(0.0)).as_secs()),
        Step::Suspend => "suspend".to_owned(),
        Step::Take(_) => "take".to_owned(),
    };
    let paused = Usage { paused_until: Some(at(7.0)), ..Usage::default() };
    let refused = Usage { refusals: 3, ..Usage::default() };
    let suspended = Usage {
        suspended_until: Some(at(960.0)),
        probe_wait: Some(FIRST_PROBE),
        refusals: 3,
        ..paused.clone()
    };
    for (usage, now, expected) in [
        (&paused, 0.0, "Paused until 7"),
        (&paused, 7.0, "take"),
        (&Usage { refusals: 2, ..Usage::default() }, 0.0, "take"),
        (&refused, 0.0, "suspend"),
        (&suspended, 0.0, "Suspended until 960"),
        (&suspended, 959.0, "Suspended until 960"),
        (&suspended, 960.0, "probe, next 1920"),
        // Written by a clock far ahead.
        (&Usage { paused_until: Some(at(100_000.0)), ..Usage::default() }, 0.0, "take"),
        (&Usage { tat: Some(at(100_000.0).as_microsecond()), ..Usage::default() }, 0.0, "take"),
        (&Usage { suspended_until: Some(at(1e6)), ..Usage::default() }, 0.0, "probe, next 960"),
    ] {
        assert_eq!(wait(usage, now), expected, "{usage:?} at {now}");
    }
}

#[test]
fn pauses_and_probe_waits_are_bounded() {
    let until = |seconds: Option<u64>| {
        pause_until(seconds.map(Duration::from_secs), at(0.0)).duration_since(at(0.0)).as_secs()
    };
    assert_eq!([until(Some(5)), until(Some(86_400)), until(None)], [5, 600, 20]);
    let minutes: Vec<_> = std::iter::successors(Some(FIRST_PROBE), |wait| Some(doubled(Some(*wait))))
        .take(7)
        .map(|wait| wait.as_secs() / 60)
        .collect();
    assert_eq!(minutes, [16, 32, 64, 128, 256, 256, 256]);
}

#[test]
fn invalid_budgets_are_rejected() {
    for (per_minute, burst, good) in [
        (60, 5, true),
        (60, 4, true),
        (60, 1, true),
        (60, 0, false),
        (60, 60, false),
        (5, 4, true),
        (4, 4, false),
        (0, 0, false),
    ] {
        assert_eq!(Budget::new(per_minute, burst).is_ok(), good, "{per_minute} {burst}");
    }
}
