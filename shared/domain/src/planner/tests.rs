use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::page::MAX_ROWS;

const START: i64 = 1_760_000_000_000;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(START + (seconds * 1000.0) as i64).unwrap()
}

/// An order in flight: created then, last checked then, and due 3 s after that.
fn candidate(name: &str, created: f64, last_check: f64) -> Candidate {
    Candidate {
        key: OrderKey { product: Product::Mobile, id: name.parse().unwrap() },
        created_at: Some(at(created)),
        tracked_at: at(created + 0.3),
        last_check: at(last_check),
        due: at(last_check + 3.0),
        listed: true,
        in_flight: true,
    }
}

/// A parked order, due 24 h after its last check.
fn parked(name: &str, created: f64, last_check: f64) -> Candidate {
    Candidate {
        due: at(last_check + 24.0 * 3600.0),
        in_flight: false,
        ..candidate(name, created, last_check)
    }
}

fn known(rows_per_second: f64) -> impl Fn(Product) -> Option<List> {
    move |_| Some(List { rows_per_second, rechecked: None })
}

fn covered(planned: &Planned) -> Vec<String> {
    planned.covers.iter().map(|key| key.id.to_string()).collect()
}

fn page_of(planned: &Planned) -> Page {
    let Call::Page(page) = planned.call else { panic!("{planned:?}") };
    page
}

#[test]
fn one_order_is_checked_by_its_id_and_many_by_a_page() {
    let one = [candidate("a", 0.0, 0.0)];
    let planned = plan(&one, &[], known(0.0), at(10.0)).unwrap();
    assert_eq!((&planned.call, planned.worth), (&Call::Single(one[0].key.clone()), 10.0));

    let many = [candidate("a", 0.0, 0.0), candidate("b", 2.0, 2.0), candidate("c", 4.0, 4.0)];
    let planned = plan(&many, &[], known(0.5), at(10.0)).unwrap();
    let page = page_of(&planned);
    assert_eq!((page.product, covered(&planned).join("")), (Product::Mobile, "abc".into()));
    assert!(page.from < at(0.0) && page.to == at(10.0), "what else was created until now: {page:?}");
    assert_eq!(planned.worth, 10.0 + 8.0 + 6.0, "seconds since the last check, added up");
    let page = page_of(&plan(&many, &[], known(0.0), at(10.0)).unwrap());
    assert!(
        at(4.0) < page.to && page.seconds() < 5.0,
        "as narrow as can be while a list's rows are not known"
    );
}

#[test]
fn products_have_lists_of_their_own() {
    let mut both: Vec<Candidate> = ["a", "b", "c", "d"]
        .iter()
        .zip([0.0, 1.0, 2.0, 3.0])
        .map(|(name, at)| candidate(name, at, 0.0))
        .collect();
    both[1].key.product = Product::Internet;
    assert_eq!(covered(&plan(&both, &[], known(0.0), at(10.0)).unwrap()), ["a", "c", "d"]);
    let off = |product| known(0.0)(product).filter(|_| product == Product::Internet);
    let planned = plan(&both, &[], off, at(10.0)).unwrap();
    assert!(matches!(planned.call, Call::Single(_)), "a list that is not to be asked is not");
}

#[test]
fn a_page_holds_no_more_than_it_can_show_and_keeps_what_is_worth_most() {
    // 300 orders in 30 s; the old ones were checked just now.
    let last_check = |index| if index < 150 { 39.0 } else { 30.0 };
    let all: Vec<Candidate> = (0..300)
        .map(|index| candidate(&index.to_string(), f64::from(index) / 10.0, last_check(index)))
        .collect();
    let planned = plan(&all, &[], known(10.0), at(40.0)).unwrap();
    assert!(page_of(&planned).seconds() * 10.0 <= PLANNED_ROWS as f64, "{planned:?}");
    let old = planned.covers.iter().filter(|key| all[..150].iter().any(|one| one.key == **key)).count();
    assert!(planned.covers.len() > 80 && old <= 10, "{old}, {planned:?}");
    // Others' orders lie between: less of ours fits.
    let planned = plan(&all, &[], known(100.0), at(40.0)).unwrap();
    assert!(page_of(&planned).seconds() * 100.0 <= PLANNED_ROWS as f64, "{planned:?}");
    // The list has more rows than its density tells: what is known to lie there counts.
    for rows_per_second in [0.0, 0.1] {
        assert_eq!(plan(&all, &[], known(rows_per_second), at(40.0)).unwrap().covers.len(), PLANNED_ROWS);
    }
}

#[test]
fn what_others_are_asking_for_is_not_asked_again_until_it_was_answered() {
    let mut all = [candidate("a", 0.0, 0.0), candidate("b", 2.0, 2.0), candidate("c", 30.0, 30.0)];
    let page = Page { product: Product::Mobile, from: at(-1.0), to: at(3.0) };
    let asked = [UnderWay { page, at: at(40.0) }];
    let planned = plan(&all, &asked, known(0.0), at(40.0)).unwrap();
    assert_eq!(planned.call, Call::Single(all[2].key.clone()));
    assert_eq!(plan(&all[..2], &asked, known(0.0), at(40.0)), None, "nothing is left to ask");
    let internet = [UnderWay { page: Page { product: Product::Internet, ..page }, at: at(40.0) }];
    assert!(
        plan(&all[..2], &internet, known(0.0), at(40.0)).is_some(),
        "another product's page shows none of it"
    );
    for one in &mut all {
        (one.last_check, one.due) = (at(40.0), at(43.0));
    }
    assert!(plan(&all, &asked, known(0.0), at(44.0)).is_some(), "the page was answered, and time has passed");
}

#[test]
fn an_order_that_the_list_does_not_show_is_checked_by_its_id() {
    let mut all = vec![candidate("a", 0.0, 9.0), candidate("b", 2.0, 9.0), candidate("c", 3.0, 0.0)];
    all[2].listed = false;
    assert_eq!(plan(&all, &[], known(0.0), at(10.0)).unwrap().call, Call::Single(all[2].key.clone()));
    let page = Page { product: Product::Mobile, from: at(-1.0), to: at(5.0) };
    let planned = plan(&all, &[UnderWay { page, at: at(10.0) }], known(0.0), at(10.0)).unwrap();
    assert_eq!(planned.call, Call::Single(all[2].key.clone()), "nor does a page under way show it");
}

#[test]
fn an_order_without_creation_time_is_sought_around_its_tracking_time() {
    let mut all = vec![candidate("a", 0.0, 0.0), candidate("b", 2.0, 0.0)];
    all[1].created_at = None;
    let page = page_of(&plan(&all, &[], known(0.0), at(10.0)).unwrap());
    assert!(page.from <= at(-2.7) && at(7.3) <= page.to, "5 s to either side: {page:?}");

    // Where many were seen, it is known how soon they are tracked.
    let mut all: Vec<Candidate> =
        (0..20).map(|index| candidate(&index.to_string(), f64::from(index) / 10.0, 0.0)).collect();
    all[19].created_at = None;
    let planned = plan(&all, &[], known(0.0), at(10.0)).unwrap();
    assert!(page_of(&planned).seconds() < 3.0 && planned.covers.len() == 20, "{planned:?}");
}

/// Others are checked every 10 s, and are worth more together each time.
#[test]
fn no_order_waits_for_ever_behind_what_is_worth_more() {
    let plan_at = |now: f64, last_check: f64, alone: Candidate| {
        let others = (1..60).map(|index| candidate(&index.to_string(), f64::from(index), last_check));
        let all: Vec<Candidate> = others.chain([alone]).collect();
        plan(&all, &[], known(0.5), at(now)).unwrap()
    };
    let unlisted = Candidate { listed: false, ..candidate("alone", 0.0, 60.0) };
    assert!(matches!(plan_at(75.0, 70.0, unlisted.clone()).call, Call::Page(_)));
    assert_eq!(
        plan_at(85.0, 80.0, unlisted.clone()).call,
        Call::Single(unlisted.key),
        "15 s beyond the others"
    );
    let parked = Candidate { listed: false, ..parked("alone", 0.0, 60.0 - 24.0 * 3600.0) };
    assert!(matches!(plan_at(950.0, 940.0, parked.clone()).call, Call::Page(_)));
    assert_eq!(
        plan_at(970.0, 965.0, parked.clone()).call,
        Call::Single(parked.key),
        "15 min beyond the others"
    );
    // A page is as good as a single check, if it shows the order.
    let far = candidate("alone", -1000.0, 60.0);
    assert_eq!(plan_at(85.0, 80.0, far.clone()).call, Call::Single(far.key));
    assert!(covered(&plan_at(85.0, 80.0, candidate("alone", 0.0, 60.0))).contains(&"alone".to_owned()));
}

/// Its page is worth more than a check of it each time, shows its neighbours, and may never show it.
#[test]
fn an_order_that_stays_overdue_is_checked_by_itself_now_and_then() {
    let late = candidate("late", 0.0, 0.0);
    let others = (1..20).map(|index| candidate(&index.to_string(), 0.5, 50.0 + f64::from(index) / 10.0));
    let all: Vec<Candidate> = others.chain([late.clone()]).collect();
    let single =
        |now: f64| plan(&all, &[], known(0.5), at(now)).unwrap().call == Call::Single(late.key.clone());
    assert_eq!([60.0, 61.0, 62.0, 63.0, 64.0].map(single), [true, false, false, false, true]);
}

#[test]
fn a_vendor_whose_clock_is_ahead_costs_no_page() {
    let all = ["a", "b", "c"].map(|name| Candidate { tracked_at: at(0.0), ..candidate(name, 300.0, 0.0) });
    let planned = plan(&all, &[], known(0.5), at(20.0)).unwrap();
    assert!(matches!(planned.call, Call::Page(_)) && planned.covers.len() == 3, "{planned:?}");
}

/// How long after its creation an order is tracked differs by product.
#[test]
fn orders_of_one_product_do_not_move_the_windows_of_another() {
    let of = |product, lag: f64, index: u32| Candidate {
        key: OrderKey { product, id: format!("{product}{index}").parse().unwrap() },
        tracked_at: at(f64::from(index) + lag),
        created_at: (index > 0).then(|| at(f64::from(index))),
        ..candidate("x", f64::from(index), 60.0)
    };
    let internet: Vec<Candidate> = (0..20).map(|index| of(Product::Internet, 30.0, index)).collect();
    let both = (0..180).map(|index| of(Product::Mobile, 0.3, index)).chain(internet.clone());
    let lists =
        |product| (product == Product::Internet).then_some(List { rows_per_second: 1.0, rechecked: None });
    let page = |all: &[Candidate]| page_of(&plan(all, &[], lists, at(90.0)).unwrap());
    assert_eq!(page(&both.collect::<Vec<_>>()), page(&internet));
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
fn parked_orders_are_checked_along_with_others_only_where_a_page_shows_many() {
    let all = |count: i32| -> Vec<Candidate> {
        (0..count).map(|index| parked(&index.to_string(), f64::from(index), 0.0)).collect()
    };
    assert_eq!(plan(&all(9), &[], known(0.1), at(3600.0)), None, "too few, and none is due");
    let planned = plan(&all(40), &[], known(0.1), at(3600.0)).unwrap();
    assert!(matches!(planned.call, Call::Page(_)) && planned.covers.len() == 40, "{planned:?}");
    let mut one_due = all(9);
    one_due[4].due = at(3000.0);
    let planned = plan(&one_due, &[], known(0.1), at(3600.0)).unwrap();
    assert_eq!(planned.covers.len(), 9, "one call is made anyway: it may show all");
    assert!(plan(&one_due[4..5], &[], known(0.1), at(3600.0)).is_some(), "what is due is checked");
}

#[test]
fn an_order_in_flight_counts_for_more_than_parked_ones() {
    let mut all: Vec<Candidate> =
        (0..50).map(|index| parked(&index.to_string(), f64::from(index), 89_990.0 - 3600.0)).collect();
    all.extend((0..10).map(|index| candidate(&format!("f{index}"), 89_980.0 + f64::from(index), 89_990.0)));
    let planned = plan(&all, &[], known(0.5), at(90_000.0)).unwrap();
    assert!(covered(&planned).iter().all(|name| name.starts_with('f')), "{planned:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever waits, a plan is about candidates, a page covers what it says and is planned for no more rows than it can show, and what is
    /// due gets a call.
    #[test]
    fn a_plan_is_sound(
        all in proptest::collection::vec((0.0f64..60.0, 0.0f64..60.0, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 0..200),
        density in 0.0f64..200.0,
        last in proptest::option::of(0.0f64..60.0),
        now in 60.0f64..120.0,
    ) {
        let all: Vec<Candidate> = all.into_iter().enumerate().map(|(index, (created, last, mobile, seen, listed, in_flight))| Candidate {
            key: OrderKey { product: if mobile { Product::Mobile } else { Product::Internet }, id: index.to_string().parse().unwrap() },
            created_at: seen.then(|| at(created)),
            listed,
            in_flight,
            ..candidate("x", created, last)
        }).collect();
        let rechecked = |product| last.map(|last| Page { product, from: at(last - 5.0), to: at(last) });
        let lists = |product| Some(List { rows_per_second: density, rechecked: rechecked(product) });
        let planned = plan(&all, &[], lists, at(now));
        prop_assert_eq!(planned.is_some(), all.iter().any(|one| one.due <= at(now)));
        let Some(planned) = planned else { return Ok(()) };
        match &planned.call {
            Call::Single(key) => prop_assert_eq!(&planned.covers, std::slice::from_ref(key)),
            Call::Page(page) => {
                // One that was moved beside the last one shows at least its first.
                prop_assert!(planned.covers.len() >= 2 - usize::from(last.is_some()));
                // An order whose creation time is not known may have been created up to 5 s after it was tracked.
                let ahead = if all.iter().all(|one| one.created_at.is_some()) { 0.1 } else { 5.4 };
                prop_assert!(page.from < page.to && page.to <= at(now + ahead));
                // An order on the edge may be as much as twice 50 ms away.
                prop_assert!(page.seconds() * density <= PLANNED_ROWS as f64 + 0.1 * density, "{page:?}");
                for key in &planned.covers {
                    let one = all.iter().find(|one| one.key == *key).unwrap();
                    prop_assert!(one.listed && one.key.product == page.product);
                    prop_assert!(one.created_at.is_none_or(|created| page.from <= created && created <= page.to));
                }
            }
        }
    }

    /// Each call's orders are checked a moment later: after a while everything that is due was covered.
    #[test]
    fn everything_due_is_covered_in_the_end(
        all in proptest::collection::vec((0.0f64..600.0, any::<bool>(), any::<bool>()), 1..200),
        density in 0.0f64..2.0,
    ) {
        let mut left: Vec<Candidate> = all.into_iter().enumerate().map(|(index, (created, listed, in_flight))| {
            let name = index.to_string();
            let one = if in_flight { candidate(&name, created, 600.0) } else { parked(&name, created, -90_000.0) };
            Candidate { listed, ..one }
        }).collect();
        let mut calls = 0;
        let count = left.len();
        while let Some(planned) = plan(&left, &[], known(density), at(700.0)) {
            calls += 1;
            left.retain(|one| !planned.covers.contains(&one.key));
            prop_assert!(calls <= count);
        }
        prop_assert!(left.is_empty());
    }
}

/// A window begins 50 ms before its first order: the last page may end so that the moved one stops in between.
#[test]
fn a_page_is_not_moved_beside_the_last_one_if_it_would_show_nothing() {
    let all = [parked("a", 100.0, -90_000.0), parked("b", 100.1, -90_000.0)];
    let rechecked = Some(Page { product: Product::Mobile, from: at(90.0), to: at(99.07) });
    let planned = plan(&all, &[], |_| Some(List { rows_per_second: 100.0, rechecked }), at(700.0)).unwrap();
    assert_eq!(covered(&planned), ["a", "b"], "{planned:?}");
}

#[test]
fn the_page_of_a_recheck_is_filled_up_and_begins_where_the_last_one_ended() {
    let all = [parked("a", 100.0, -90_000.0), parked("b", 110.0, -90_000.0)];
    let planned = |rows_per_second: f64, last: Option<(f64, f64)>, now: f64| {
        let rechecked = last.map(|(from, to)| Page { product: Product::Mobile, from: at(from), to: at(to) });
        let page = page_of(&plan(&all, &[], |_| Some(List { rows_per_second, rechecked }), at(now)).unwrap());
        (page.from.duration_since(at(0.0)).as_secs_f64(), page.to.duration_since(at(0.0)).as_secs_f64())
    };
    assert_eq!(planned(0.0, None, 1000.0), (99.95, 110.05), "how many there are is not known");
    assert_eq!(planned(1.0, None, 1000.0), (99.95, 189.95));
    assert_eq!(planned(1.0, None, 150.0), (99.95, 150.0), "none is created later than now");
    assert_eq!(planned(1e-9, None, 1e9).1, 99.95 + 7.0 * 24.0 * 3600.0);
    assert_eq!(planned(1.0, Some((0.0, 80.0)), 1000.0), (80.0, 170.0), "side by side");
    assert_eq!(planned(1.0, Some((0.0, 5.0)), 1000.0), (99.95, 189.95), "too far away");
    assert_eq!(planned(1.0, Some((60.0, 150.0)), 1000.0), (99.95, 189.95), "it showed this already");
}

/// How many calls rechecks take for so many parked orders of both products, of which so many are listed as due at a time, in this order.
/// Each was created `apart` seconds after the one before.
fn calls_of_rechecks(order: impl Fn(usize) -> usize, count: usize, apart: f64, listed: usize) -> usize {
    let now = at(count as f64 * apart + 24.0 * 3600.0);
    let one = |index: usize| Candidate {
        key: OrderKey {
            product: if index.is_multiple_of(2) { Product::Mobile } else { Product::Internet },
            id: index.to_string().parse().unwrap(),
        },
        due: now,
        ..parked("x", index as f64 * apart, count as f64 * apart + (index * 7 % 300) as f64)
    };
    let mut left: Vec<Candidate> = (0..count).map(|index| one(order(index))).collect();
    let (mut calls, mut last) = (0, HashMap::<Product, Page>::new());
    while !left.is_empty() {
        let mut pool: Vec<Candidate> = left.iter().take(listed).cloned().collect();
        let list = |last: &HashMap<_, _>, product| {
            Some(List { rows_per_second: 0.5 / apart, rechecked: last.get(&product).copied() })
        };
        while let Some(planned) = plan(&pool, &[], |product| list(&last, product), now) {
            calls += 1;
            assert!(calls <= count, "it comes to an end");
            assert!(!planned.covers.is_empty());
            let is_shown = |one: &Candidate| match &planned.call {
                Call::Single(key) => one.key == *key,
                Call::Page(page) => {
                    let created = one.created_at.unwrap();
                    one.key.product == page.product && page.from <= created && created <= page.to
                }
            };
            assert!(left.iter().filter(|one| is_shown(one)).count() <= MAX_ROWS as usize);
            left.retain(|one| !is_shown(one));
            pool.retain(|one| !is_shown(one));
            if let Call::Page(page) = planned.call {
                last.insert(page.product, page);
            }
        }
    }
    calls
}

#[test]
fn the_pages_of_rechecks_lie_side_by_side() {
    // 112 pages of 90, or 100 of 100.
    let in_order = calls_of_rechecks(|index| index, 10_000, 0.43, 2664);
    let anyhow = calls_of_rechecks(|index| index * 7919 % 10_000, 10_000, 0.43, 2664);
    assert!(in_order <= 116 && anyhow <= 120, "{in_order}, {anyhow}");
}

/// What a recheck is due to check gets no call of a poller's, and no window is chosen for it; where there is room it comes along.
#[test]
fn a_pollers_page_shows_parked_orders_only_where_there_is_room() {
    let along = |name: &str, created: f64| parked(name, created, 0.0).along_with_others();
    let backlog: Vec<Candidate> =
        (0..50).map(|index| along(&format!("p{index}"), f64::from(index))).collect();
    assert_eq!(plan(&backlog, &[], known(0.5), at(90_000.0)), None, "however many");
    let mut all = backlog.clone();
    all.extend([candidate("a", 89_980.0, 89_980.0), candidate("b", 89_985.0, 89_985.0)]);
    all.push(along("p99", 89_950.0));
    let planned = plan(&all, &[], known(0.5), at(90_000.0)).unwrap();
    assert_eq!(covered(&planned), ["p99", "a", "b"]);
}
