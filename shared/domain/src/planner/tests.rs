use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::order::{OrderKey, ParkedAs, Product};

const START: i64 = 1_760_000_000_000;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(START + (seconds * 1000.0) as i64).unwrap()
}

fn age(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// An order in flight: created then, last looked at then, and due.
fn waiting(name: &str, created: f64, last_look: f64) -> Waiting {
    Waiting {
        key: OrderKey { product: Product::Mobile, id: name.parse().unwrap() },
        created_at: Some(at(created)),
        tracked_at: at(created + 0.3),
        last_look: at(last_look),
        due: at(last_look + 3.0),
        chance: 0.1,
        listed: true,
        in_flight: true,
    }
}

fn known(rows_per_second: f64) -> impl Fn(Product) -> List {
    move |_| List { usable: true, rows_per_second }
}

fn covered(planned: &Planned, waiting: &[Waiting]) -> Vec<String> {
    planned.covers.iter().map(|index| waiting[*index].key.id.to_string()).collect()
}

#[test]
fn one_order_is_looked_at_by_its_id_and_many_by_a_page() {
    let one = [waiting("a", 0.0, 0.0)];
    let planned = plan(&one, &[], known(0.0), at(10.0)).unwrap();
    assert_eq!(planned.call, Call::Single(one[0].key.clone()));
    assert!((planned.worth - (1.0 - (-1.0f64).exp() + 0.25)).abs() < 1e-9);

    let many = [waiting("a", 0.0, 0.0), waiting("b", 2.0, 2.0), waiting("c", 4.0, 4.0)];
    let planned = plan(&many, &[], known(0.5), at(10.0)).unwrap();
    let Call::Page(page) = &planned.call else { panic!("{planned:?}") };
    assert_eq!(
        (page.product, covered(&planned, &many)),
        (Product::Mobile, vec!["a".into(), "b".into(), "c".into()])
    );
    assert!(page.from < at(0.0) && at(4.0) < page.to && page.seconds() < 5.0, "{page:?}");
    let worth = |expected: f64| 1.0 - (-expected).exp() + 0.25 * expected;
    assert!((planned.worth - (worth(1.0) + worth(0.8) + worth(0.6))).abs() < 1e-9);
}

#[test]
fn products_have_lists_of_their_own() {
    let mut both =
        vec![waiting("a", 0.0, 0.0), waiting("b", 1.0, 0.0), waiting("c", 2.0, 0.0), waiting("d", 3.0, 0.0)];
    both[1].key.product = Product::Internet;
    let planned = plan(&both, &[], known(0.0), at(10.0)).unwrap();
    assert_eq!(covered(&planned, &both), ["a", "c", "d"]);
    let off = |product| List { usable: product == Product::Internet, rows_per_second: 0.0 };
    assert!(
        matches!(plan(&both, &[], off, at(10.0)).unwrap().call, Call::Single(_)),
        "a list that is not to be asked is not"
    );
}

#[test]
fn a_page_holds_no_more_than_it_can_show_and_keeps_what_is_worth_most() {
    // 300 orders in 30 s; the old ones were looked at just now.
    let all: Vec<Waiting> = (0..300)
        .map(|index| {
            waiting(&index.to_string(), f64::from(index) / 10.0, if index < 150 { 39.0 } else { 30.0 })
        })
        .collect();
    let planned = plan(&all, &[], known(10.0), at(40.0)).unwrap();
    let Call::Page(page) = &planned.call else { panic!("{planned:?}") };
    assert!(page.seconds() * 10.0 <= f64::from(MOST_ROWS), "{page:?}");
    assert!(planned.covers.len() > 80 && planned.covers.iter().all(|index| *index >= 150), "{planned:?}");
    // Others' orders lie between: less of ours fits.
    let planned = plan(&all, &[], known(100.0), at(40.0)).unwrap();
    let Call::Page(page) = &planned.call else { panic!("{planned:?}") };
    assert!(page.seconds() * 100.0 <= f64::from(MOST_ROWS), "{page:?}");
}

#[test]
fn what_others_are_asking_for_is_not_asked_again() {
    let all = [waiting("a", 0.0, 0.0), waiting("b", 2.0, 2.0), waiting("c", 30.0, 30.0)];
    let page = Page { product: Product::Mobile, from: at(-1.0), to: at(3.0) };
    let asked = [UnderWay { page, at: at(40.0) }];
    let planned = plan(&all, &asked, known(0.0), at(40.0)).unwrap();
    assert_eq!(planned.call, Call::Single(all[2].key.clone()));
    assert_eq!(plan(&all[..2], &asked, known(0.0), at(40.0)), None, "nothing is left to ask");
    let internet = [UnderWay { page: Page { product: Product::Internet, ..page }, at: at(40.0) }];
    assert!(
        plan(&all[..2], &internet, known(0.0), at(40.0)).is_some(),
        "another product's page shows nothing of it"
    );
}

#[test]
fn an_order_that_the_list_does_not_show_is_looked_at_by_its_id() {
    let mut all = vec![waiting("a", 0.0, 9.0), waiting("b", 2.0, 9.0), waiting("c", 3.0, 0.0)];
    all[2].listed = false;
    assert_eq!(plan(&all, &[], known(0.0), at(10.0)).unwrap().call, Call::Single(all[2].key.clone()));
    let page = Page { product: Product::Mobile, from: at(-1.0), to: at(5.0) };
    let planned = plan(&all, &[UnderWay { page, at: at(10.0) }], known(0.0), at(10.0)).unwrap();
    assert_eq!(planned.call, Call::Single(all[2].key.clone()), "nor does a page under way show it");
}

#[test]
fn an_order_that_was_never_seen_is_looked_for_around_the_time_it_was_tracked() {
    let mut all = vec![waiting("a", 0.0, 0.0), waiting("b", 2.0, 0.0)];
    all[1].created_at = None;
    let planned = plan(&all, &[], known(0.0), at(10.0)).unwrap();
    let Call::Page(page) = &planned.call else { panic!("{planned:?}") };
    assert!(page.from <= at(-2.7) && at(7.3) <= page.to, "5 s to either side: {page:?}");

    // Where many were seen, it is known how soon they are tracked.
    let mut all: Vec<Waiting> =
        (0..20).map(|index| waiting(&index.to_string(), f64::from(index) / 10.0, 0.0)).collect();
    all[19].created_at = None;
    let planned = plan(&all, &[], known(0.0), at(10.0)).unwrap();
    let Call::Page(page) = &planned.call else { panic!("{planned:?}") };
    assert!(page.seconds() < 3.0, "{page:?}");
}

#[test]
fn nobody_waits_for_ever_behind_what_is_worth_more() {
    let mut all: Vec<Waiting> =
        (0..20).map(|index| waiting(&index.to_string(), f64::from(index), 30.0)).collect();
    all[0] = Waiting {
        listed: false,
        last_look: at(20.0),
        due: at(28.0),
        chance: 0.002,
        ..waiting("alone", 0.0, 0.0)
    };
    let best = |now| plan(&all, &[], known(0.5), at(now)).unwrap();
    assert!(matches!(best(40.0).call, Call::Page(_)));
    assert_eq!(best(43.1).call, Call::Single(all[0].key.clone()), "15 s beyond its time it is its turn");
}

#[test]
fn a_page_that_did_not_show_all_makes_windows_narrower_whatever_a_page_is() {
    let page = Page { product: Product::Mobile, from: at(0.0), to: at(10.0) };
    assert_eq!(page.rows_per_second(80, 80, true), 8.0);
    assert_eq!(page.rows_per_second(100, 150, false), 15.0);
    assert_eq!(page.rows_per_second(20, 90, false), 45.0, "a vendor whose page is 20 rows");
    assert_eq!(page.rows_per_second(0, 0, true), 0.0);
}

#[test]
fn parked_orders_are_looked_at_along_with_others_only_where_a_page_shows_many() {
    let parked = |count: i32| -> Vec<Waiting> {
        let one = |index: i32| Waiting {
            due: at(80_000.0),
            chance: parked_chance(ParkedAs::Queued, age(20.0 * 3600.0)),
            in_flight: false,
            ..waiting(&index.to_string(), f64::from(index), 0.0)
        };
        (0..count).map(one).collect()
    };
    assert_eq!(plan(&parked(9), &[], known(0.1), at(3600.0)), None, "too few, and nobody's turn");
    let planned = plan(&parked(40), &[], known(0.1), at(3600.0)).unwrap();
    assert!(matches!(planned.call, Call::Page(_)) && planned.covers.len() == 40, "{planned:?}");
    let mut one_due = parked(9);
    one_due[4].due = at(3000.0);
    let planned = plan(&one_due, &[], known(0.1), at(3600.0)).unwrap();
    assert_eq!(planned.covers.len(), 9, "one call is made anyway: it may show all");
    assert!(
        plan(&one_due[4..5], &[], known(0.1), at(3600.0)).is_some(),
        "whose turn it is, is looked at, however unlikely"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever waits, a plan is about orders that wait, a page covers what it says, and whoever is due gets a call.
    #[test]
    fn a_plan_is_sound(
        all in proptest::collection::vec((0.0f64..60.0, 0.0f64..60.0, any::<bool>(), any::<bool>(), any::<bool>(), 0.0f64..1.0), 0..80),
        density in 0.0f64..200.0,
        now in 60.0f64..120.0,
    ) {
        let all: Vec<Waiting> = all.into_iter().enumerate().map(|(index, (created, last, mobile, seen, listed, chance))| Waiting {
            key: OrderKey { product: if mobile { Product::Mobile } else { Product::Internet }, id: index.to_string().parse().unwrap() },
            created_at: seen.then(|| at(created)),
            listed,
            chance,
            ..waiting("x", created, last)
        }).collect();
        let planned = plan(&all, &[], known(density), at(now));
        prop_assert_eq!(planned.is_some(), all.iter().any(|one| one.due <= at(now)));
        let Some(planned) = planned else { return Ok(()) };
        match &planned.call {
            Call::Single(key) => prop_assert_eq!(&all[planned.covers[0]].key, key),
            Call::Page(page) => {
                prop_assert!(planned.covers.len() >= 2 && page.from < page.to);
                for index in &planned.covers {
                    let one = &all[*index];
                    prop_assert!(one.listed && one.key.product == page.product);
                    prop_assert!(one.created_at.is_none_or(|created| page.from <= created && created <= page.to));
                }
            }
        }
    }

    /// Whatever is learnt, a chance is a chance, and text keeps it to a few thousandths.
    #[test]
    fn chances_stay_chances(ends in proptest::collection::vec((0.0f64..400.0, 0.0f64..60.0), 0..600)) {
        let mut chances = Chances::documented(Product::Mobile);
        for (from, width) in ends {
            chances.learn(age(from), age(from + width));
        }
        let again = Chances::from_text(Product::Mobile, &chances.to_text());
        for second in 0..400 {
            let (one, other) = (chances.per_second(age(f64::from(second))), again.per_second(age(f64::from(second))));
            prop_assert!((0.002..=1.0).contains(&one), "{one} at {second}");
            prop_assert!((one - other).abs() < 0.02, "{one} {other}");
        }
        prop_assert!(chances.to_text().len() < 2000);
    }
}

#[test]
fn the_chances_begin_with_the_documented_times() {
    let mobile = Chances::documented(Product::Mobile);
    let internet = Chances::documented(Product::Internet);
    let chance = |chances: &Chances, seconds: f64| chances.per_second(age(seconds));
    assert!(chance(&mobile, 2.0) < 0.01, "nothing ends before 5 s");
    assert!(chance(&mobile, 12.0) > 0.1, "{}", chance(&mobile, 12.0));
    assert!(chance(&internet, 4.5) > 0.05 && chance(&internet, 42.0) > 0.2);
    for late in [60.0, 200.0, 100_000.0] {
        assert!(
            (0.01..0.03).contains(&chance(&mobile, late)),
            "late ones end now and then: {}",
            chance(&mobile, late)
        );
    }
}

/// The vendor becomes 2.5 times as fast, or half as fast: after some hundred orders the chances know.
#[test]
fn what_is_learnt_overcomes_what_is_documented() {
    let mut fast = Chances::documented(Product::Mobile);
    let mut slow = fast.clone();
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        let took = 5.0 + 18.0 * rng.f64();
        // Looked at every three seconds.
        let looks = |took: f64| ((took / 3.0).floor() * 3.0, (took / 3.0).floor() * 3.0 + 3.0);
        let (before, after) = looks(took / 2.5);
        fast.learn(age(before), age(after));
        let (before, after) = looks(took * 2.0);
        slow.learn(age(before), age(after));
    }
    assert!(fast.per_second(age(4.0)) > 0.1, "{}", fast.per_second(age(4.0)));
    assert!(slow.per_second(age(7.0)) < 0.02, "{}", slow.per_second(age(7.0)));
    assert!(slow.per_second(age(38.0)) > 0.08, "{}", slow.per_second(age(38.0)));
}

#[test]
fn text_that_is_no_chances_counts_as_nothing_learnt() {
    let documented = Chances::documented(Product::Internet);
    for text in ["", ";;", "1;2;3", "x;1 2;3 4", "100;;", "-1;1;1"] {
        assert_eq!(Chances::from_text(Product::Internet, text), documented, "{text:?}");
    }
}

#[test]
fn a_page_of_a_sweep_is_filled_up_to_what_it_can_show_and_begins_where_the_last_one_ended() {
    let planned = Page { product: Product::Internet, from: at(100.0), to: at(110.0) };
    let filled = |rows_per_second: f64, last: Option<(f64, f64)>, now: f64| {
        let call = Planned { call: Call::Page(planned), worth: 1.0, covers: Vec::new() };
        let last = last.map(|(from, to)| Page { product: Product::Internet, from: at(from), to: at(to) });
        let Call::Page(page) = call.filled(rows_per_second, last, &[], at(now)).call else { panic!() };
        (page.from.duration_since(at(0.0)).as_secs_f64(), page.to.duration_since(at(0.0)).as_secs_f64())
    };
    assert_eq!(filled(0.0, None, 1000.0), (100.0, 110.0), "how many there are is not known");
    assert_eq!(filled(1.0, None, 1000.0), (100.0, 190.0));
    assert_eq!(filled(1.0, None, 150.0), (100.0, 150.0), "nothing is created later than now");
    assert_eq!(filled(100.0, None, 1000.0), (100.0, 110.0), "never less than was planned");
    assert_eq!(filled(1e-9, None, 1e9).1, 100.0 + 24.0 * 3600.0);
    assert_eq!(filled(1.0, Some((0.0, 80.0)), 1000.0), (80.0, 170.0), "side by side");
    assert_eq!(filled(1.0, Some((0.0, 5.0)), 1000.0), (100.0, 190.0), "too far away");
    assert_eq!(filled(1.0, Some((60.0, 150.0)), 1000.0), (100.0, 190.0), "it showed this already");

    let polled = [waiting("a", 100.0, 100.0), waiting("b", 175.0, 175.0)];
    let page = Page { product: Product::Mobile, from: at(100.0), to: at(175.0) };
    let chosen = Planned { call: Call::Page(page), worth: 1.0, covers: vec![0, 1] };
    let last = Page { product: Product::Mobile, from: at(0.0), to: at(80.0) };
    assert_eq!(
        chosen.filled(1.0, Some(last), &polled, at(1000.0)).covers,
        [0, 1],
        "nobody in flight is left out"
    );
}

/// How many calls a sweep takes for so many parked orders of both products, listed some at a time in this order: each is created `apart`
/// seconds after the one before.
fn calls_of_a_sweep(order: impl Fn(usize) -> usize, count: usize, apart: f64, listed: usize) -> usize {
    let now = at(count as f64 * apart + 24.0 * 3600.0);
    let parked = |index: usize| {
        let created = index as f64 * apart;
        Waiting {
            key: OrderKey {
                product: if index.is_multiple_of(2) { Product::Mobile } else { Product::Internet },
                id: index.to_string().parse().unwrap(),
            },
            due: now,
            chance: parked_chance(ParkedAs::Queued, age(20.0 * 3600.0)),
            in_flight: false,
            ..waiting("x", created, count as f64 * apart + (index * 7 % 300) as f64)
        }
    };
    let mut left: Vec<Waiting> = (0..count).map(|index| parked(order(index))).collect();
    let (mut calls, mut swept) = (0, HashMap::<Product, Page>::new());
    while !left.is_empty() {
        let mut pool: Vec<Waiting> = left.iter().take(listed).cloned().collect();
        while let Some(planned) = plan(&pool, &[], known(0.5 / apart), now) {
            calls += 1;
            assert!(calls <= count, "it comes to an end");
            let last = match &planned.call {
                Call::Page(page) => swept.get(&page.product).copied(),
                Call::Single(_) => None,
            };
            let planned = planned.filled(0.5 / apart, last, &pool, now);
            assert!(!planned.covers.is_empty());
            let is_shown = |one: &Waiting| match &planned.call {
                Call::Single(key) => one.key == *key,
                Call::Page(page) => {
                    let created = one.created_at.unwrap();
                    one.key.product == page.product && page.from <= created && created <= page.to
                }
            };
            assert!(left.iter().filter(|one| is_shown(one)).count() <= MOST_ROWS as usize);
            left.retain(|one| !is_shown(one));
            pool.retain(|one| !is_shown(one));
            if let Call::Page(page) = planned.call {
                swept.insert(page.product, page);
            }
        }
    }
    calls
}

#[test]
fn the_pages_of_a_sweep_lie_side_by_side() {
    let count = 20_000;
    // 223 pages of 90, or 200 of 100.
    let in_order = calls_of_a_sweep(|index| index, count, 0.43, 2664);
    let anyhow = calls_of_a_sweep(|index| index * 7919 % count, count, 0.43, 2664);
    assert!(in_order <= 230 && anyhow <= 260, "{in_order}, {anyhow}");
}

/// What a sweep is due to look at gets no call of a poller's, and no window is chosen for it; where there is room it comes along.
#[test]
fn a_pollers_page_shows_parked_orders_only_where_there_is_room() {
    let parked = |index: i32, created: f64| {
        Waiting {
            chance: parked_chance(ParkedAs::Queued, age(20.0 * 3600.0)),
            in_flight: false,
            ..waiting(&format!("p{index}"), created, 0.0)
        }
        .along_with_others()
    };
    let backlog: Vec<Waiting> = (0..50).map(|index| parked(index, f64::from(index))).collect();
    assert_eq!(plan(&backlog, &[], known(0.5), at(90_000.0)), None, "however many");
    let mut all = backlog.clone();
    all.extend([waiting("a", 89_980.0, 89_980.0), waiting("b", 89_985.0, 89_985.0)]);
    all.push(parked(99, 89_950.0));
    let planned = plan(&all, &[], known(0.5), at(90_000.0)).unwrap();
    assert_eq!(covered(&planned, &all), ["p99", "a", "b"]);
}
