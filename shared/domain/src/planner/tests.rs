use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::page::MAX_ROWS;

const START: i64 = 1_760_000_000_000;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(START + (seconds * 1000.0) as i64).unwrap()
}

/// An order in flight, due 3 s after its last check.
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
fn checks_one_order_by_id_and_many_by_page() {
    let one = [candidate("a", 0.0, 0.0)];
    let planned = plan(&one, &[], known(0.0), at(10.0)).unwrap();
    assert_eq!((&planned.call, planned.worth), (&Call::Single(one[0].key.clone()), 10.0));

    let many = [candidate("a", 0.0, 0.0), candidate("b", 2.0, 2.0), candidate("c", 4.0, 4.0)];
    let planned = plan(&many, &[], known(0.5), at(10.0)).unwrap();
    let page = page_of(&planned);
    assert_eq!((page.product, covered(&planned).join("")), (Product::Mobile, "abc".into()));
    assert!(page.from < at(0.0) && page.to == at(10.0), "the window reaches until now: {page:?}");
    assert_eq!(planned.worth, 10.0 + 8.0 + 6.0, "sum of the seconds since the last check");
    let page = page_of(&plan(&many, &[], known(0.0), at(10.0)).unwrap());
    assert!(
        at(4.0) < page.to && page.seconds() < 5.0,
        "the narrowest window while the row density is unknown"
    );
}

#[test]
fn each_product_has_its_own_list() {
    let mut both: Vec<Candidate> = ["a", "b", "c", "d"]
        .iter()
        .zip([0.0, 1.0, 2.0, 3.0])
        .map(|(name, at)| candidate(name, at, 0.0))
        .collect();
    both[1].key.product = Product::Internet;
    assert_eq!(covered(&plan(&both, &[], known(0.0), at(10.0)).unwrap()), ["a", "c", "d"]);
    let off = |product| known(0.0)(product).filter(|_| product == Product::Internet);
    let planned = plan(&both, &[], off, at(10.0)).unwrap();
    assert!(matches!(planned.call, Call::Single(_)), "a list that is turned off is not requested");
}

#[test]
fn a_page_covers_at_most_the_planned_rows_of_highest_worth() {
    // 300 orders in 30 s; the older half was checked 1 s ago.
    let last_check = |index| if index < 150 { 39.0 } else { 30.0 };
    let all: Vec<Candidate> = (0..300)
        .map(|index| candidate(&index.to_string(), f64::from(index) / 10.0, last_check(index)))
        .collect();
    let planned = plan(&all, &[], known(10.0), at(40.0)).unwrap();
    assert!(page_of(&planned).seconds() * 10.0 <= PLANNED_ROWS as f64, "{planned:?}");
    let old = planned.covers.iter().filter(|key| all[..150].iter().any(|one| one.key == **key)).count();
    assert!(planned.covers.len() > 80 && old <= 10, "{old}, {planned:?}");
    // With untracked orders in between, fewer tracked ones fit.
    let planned = plan(&all, &[], known(100.0), at(40.0)).unwrap();
    assert!(page_of(&planned).seconds() * 100.0 <= PLANNED_ROWS as f64, "{planned:?}");
    // The density is too low: known candidates limit the page.
    for rows_per_second in [0.0, 0.1] {
        assert_eq!(plan(&all, &[], known(rows_per_second), at(40.0)).unwrap().covers.len(), PLANNED_ROWS);
    }
}

#[test]
fn orders_on_a_page_under_way_are_not_requested_again() {
    let mut all = [candidate("a", 0.0, 0.0), candidate("b", 2.0, 2.0), candidate("c", 30.0, 30.0)];
    let page = Page { product: Product::Mobile, from: at(-1.0), to: at(3.0) };
    let asked = [UnderWay { page, at: at(40.0) }];
    let planned = plan(&all, &asked, known(0.0), at(40.0)).unwrap();
    assert_eq!(planned.call, Call::Single(all[2].key.clone()));
    assert_eq!(plan(&all[..2], &asked, known(0.0), at(40.0)), None, "nothing is left to check");
    let internet = [UnderWay { page: Page { product: Product::Internet, ..page }, at: at(40.0) }];
    assert!(
        plan(&all[..2], &internet, known(0.0), at(40.0)).is_some(),
        "a page of the other product covers none of them"
    );
    for one in &mut all {
        (one.last_check, one.due) = (at(40.0), at(43.0));
    }
    assert!(plan(&all, &asked, known(0.0), at(44.0)).is_some(), "due again after the page was answered");
}

#[test]
fn an_unlisted_order_is_checked_by_id() {
    let mut all = vec![candidate("a", 0.0, 9.0), candidate("b", 2.0, 9.0), candidate("c", 3.0, 0.0)];
    all[2].listed = false;
    assert_eq!(plan(&all, &[], known(0.0), at(10.0)).unwrap().call, Call::Single(all[2].key.clone()));
    let page = Page { product: Product::Mobile, from: at(-1.0), to: at(5.0) };
    let planned = plan(&all, &[UnderWay { page, at: at(10.0) }], known(0.0), at(10.0)).unwrap();
    assert_eq!(planned.call, Call::Single(all[2].key.clone()), "a page under way does not cover it");
}

#[test]
fn an_unknown_creation_time_is_estimated_from_the_tracking_time() {
    let mut all = vec![candidate("a", 0.0, 0.0), candidate("b", 2.0, 0.0)];
    all[1].created_at = None;
    let page = page_of(&plan(&all, &[], known(0.0), at(10.0)).unwrap());
    assert!(page.from <= at(-2.7) && at(7.3) <= page.to, "5 s to either side: {page:?}");

    // Ten or more known creation times give a closer estimate.
    let mut all: Vec<Candidate> =
        (0..20).map(|index| candidate(&index.to_string(), f64::from(index) / 10.0, 0.0)).collect();
    all[19].created_at = None;
    let planned = plan(&all, &[], known(0.0), at(10.0)).unwrap();
    assert!(page_of(&planned).seconds() < 3.0 && planned.covers.len() == 20, "{planned:?}");
}

/// The other orders were checked 5 to 10 s ago; their sum is worth more each time.
#[test]
fn an_overdue_order_comes_before_orders_of_higher_worth() {
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
        "due 15 s longer than the others"
    );
    let parked = Candidate { listed: false, ..parked("alone", 0.0, 60.0 - 24.0 * 3600.0) };
    assert!(matches!(plan_at(950.0, 940.0, parked.clone()).call, Call::Page(_)));
    assert_eq!(
        plan_at(970.0, 965.0, parked.clone()).call,
        Call::Single(parked.key),
        "due 15 min longer than the others"
    );
    // A page that shows the order replaces the single check.
    let far = candidate("alone", -1000.0, 60.0);
    assert_eq!(plan_at(85.0, 80.0, far.clone()).call, Call::Single(far.key));
    assert!(covered(&plan_at(85.0, 80.0, candidate("alone", 0.0, 60.0))).contains(&"alone".to_owned()));
}

/// Its page always has the higher worth, but may show only the orders around it.
#[test]
fn an_order_that_stays_overdue_is_checked_by_id_every_fourth_second() {
    let late = candidate("late", 0.0, 0.0);
    let others = (1..20).map(|index| candidate(&index.to_string(), 0.5, 50.0 + f64::from(index) / 10.0));
    let all: Vec<Candidate> = others.chain([late.clone()]).collect();
    let single =
        |now: f64| plan(&all, &[], known(0.5), at(now)).unwrap().call == Call::Single(late.key.clone());
    assert_eq!([60.0, 61.0, 62.0, 63.0, 64.0].map(single), [true, false, false, false, true]);
}

#[test]
fn a_vendor_clock_ahead_of_ours_does_not_prevent_pages() {
    let all = ["a", "b", "c"].map(|name| Candidate { tracked_at: at(0.0), ..candidate(name, 300.0, 0.0) });
    let planned = plan(&all, &[], known(0.5), at(20.0)).unwrap();
    assert!(matches!(planned.call, Call::Page(_)) && planned.covers.len() == 3, "{planned:?}");
}

/// The delay between creation and tracking differs by product.
#[test]
fn orders_of_one_product_do_not_affect_windows_of_the_other() {
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
fn an_incomplete_page_narrows_windows_for_any_page_size() {
    let page = Page { product: Product::Mobile, from: at(0.0), to: at(10.0) };
    assert_eq!(page.rows_per_second(80, 80, true), 8.0);
    assert_eq!(page.rows_per_second(100, 150, false), 15.0);
    assert_eq!(page.rows_per_second(20, 90, false), 45.0, "a page size of 20 rows");
    assert_eq!(page.rows_per_second(0, 0, true), 0.0);
}

#[test]
fn early_rechecks_need_a_page_of_ten_or_a_due_order() {
    let all = |count: i32| -> Vec<Candidate> {
        (0..count).map(|index| parked(&index.to_string(), f64::from(index), 0.0)).collect()
    };
    assert_eq!(plan(&all(9), &[], known(0.1), at(3600.0)), None, "too few, and none is due");
    let planned = plan(&all(40), &[], known(0.1), at(3600.0)).unwrap();
    assert!(matches!(planned.call, Call::Page(_)) && planned.covers.len() == 40, "{planned:?}");
    let mut one_due = all(9);
    one_due[4].due = at(3000.0);
    let planned = plan(&one_due, &[], known(0.1), at(3600.0)).unwrap();
    assert_eq!(planned.covers.len(), 9, "the call for the due order shows all of them");
    assert!(plan(&one_due[4..5], &[], known(0.1), at(3600.0)).is_some(), "a due order is checked");
}

#[test]
fn in_flight_orders_outweigh_parked_orders() {
    let mut all: Vec<Candidate> =
        (0..50).map(|index| parked(&index.to_string(), f64::from(index), 89_990.0 - 3600.0)).collect();
    all.extend((0..10).map(|index| candidate(&format!("f{index}"), 89_980.0 + f64::from(index), 89_990.0)));
    let planned = plan(&all, &[], known(0.5), at(90_000.0)).unwrap();
    assert!(covered(&planned).iter().all(|name| name.starts_with('f')), "{planned:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A plan exists if and only if an order is due. A page covers the candidates that it names and no more rows than it can show.
    #[test]
    fn plans_cover_due_orders_and_pages_cover_what_they_name(
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
                // A page moved next to the last one shows at least one order.
                prop_assert!(planned.covers.len() >= 2 - usize::from(last.is_some()));
                // An unknown creation time may be up to 5 s after the tracking time.
                let ahead = if all.iter().all(|one| one.created_at.is_some()) { 0.1 } else { 5.4 };
                prop_assert!(page.from < page.to && page.to <= at(now + ahead));
                // The margins add up to twice 50 ms.
                prop_assert!(page.seconds() * density <= PLANNED_ROWS as f64 + 0.1 * density, "{page:?}");
                for key in &planned.covers {
                    let one = all.iter().find(|one| one.key == *key).unwrap();
                    prop_assert!(one.listed && one.key.product == page.product);
                    prop_assert!(one.created_at.is_none_or(|created| page.from <= created && created <= page.to));
                }
            }
        }
    }

    /// Orders covered by a call leave the candidates: repeated plans reach every due order.
    #[test]
    fn repeated_plans_cover_every_due_order(
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

/// A window begins 50 ms before its first order. A moved page may end within those 50 ms.
#[test]
fn a_page_is_not_moved_if_it_would_then_show_no_order() {
    let all = [parked("a", 100.0, -90_000.0), parked("b", 100.1, -90_000.0)];
    let rechecked = Some(Page { product: Product::Mobile, from: at(90.0), to: at(99.07) });
    let planned = plan(&all, &[], |_| Some(List { rows_per_second: 100.0, rechecked }), at(700.0)).unwrap();
    assert_eq!(covered(&planned), ["a", "b"], "{planned:?}");
}

#[test]
fn a_recheck_page_is_full_and_starts_where_the_last_one_ended() {
    let all = [parked("a", 100.0, -90_000.0), parked("b", 110.0, -90_000.0)];
    let planned = |rows_per_second: f64, last: Option<(f64, f64)>, now: f64| {
        let rechecked = last.map(|(from, to)| Page { product: Product::Mobile, from: at(from), to: at(to) });
        let page = page_of(&plan(&all, &[], |_| Some(List { rows_per_second, rechecked }), at(now)).unwrap());
        (page.from.duration_since(at(0.0)).as_secs_f64(), page.to.duration_since(at(0.0)).as_secs_f64())
    };
    assert_eq!(planned(0.0, None, 1000.0), (99.95, 110.05), "row density unknown");
    assert_eq!(planned(1.0, None, 1000.0), (99.95, 189.95));
    assert_eq!(planned(1.0, None, 150.0), (99.95, 150.0), "no order is created after now");
    assert_eq!(planned(1e-9, None, 1e9).1, 99.95 + 7.0 * 24.0 * 3600.0);
    assert_eq!(planned(1.0, Some((0.0, 80.0)), 1000.0), (80.0, 170.0), "adjacent to the last page");
    assert_eq!(planned(1.0, Some((0.0, 5.0)), 1000.0), (99.95, 189.95), "too far away");
    assert_eq!(
        planned(1.0, Some((60.0, 150.0)), 1000.0),
        (99.95, 189.95),
        "the last page covers the first order"
    );
}

/// Calls that rechecks need for `count` parked orders of both products, created `apart` seconds after each other, if the due index lists
/// `listed` at a time in this `order`.
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
            assert!(calls <= count, "more calls than orders");
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
fn recheck_pages_are_adjacent() {
    // 10,000 orders: 112 pages of 90 rows, or 100 pages of 100.
    let in_order = calls_of_rechecks(|index| index, 10_000, 0.43, 2664);
    let shuffled = calls_of_rechecks(|index| index * 7919 % 10_000, 10_000, 0.43, 2664);
    assert!(in_order <= 116 && shuffled <= 120, "{in_order}, {shuffled}");
}

/// A poller makes no call for parked orders, and picks no window for them. Its page includes them if there is room.
#[test]
fn a_poller_page_includes_parked_orders_only_if_there_is_room() {
    let along = |name: &str, created: f64| parked(name, created, 0.0).along_with_others();
    let backlog: Vec<Candidate> =
        (0..50).map(|index| along(&format!("p{index}"), f64::from(index))).collect();
    assert_eq!(plan(&backlog, &[], known(0.5), at(90_000.0)), None, "no call for parked orders alone");
    let mut all = backlog.clone();
    all.extend([candidate("a", 89_980.0, 89_980.0), candidate("b", 89_985.0, 89_985.0)]);
    all.push(along("p99", 89_950.0));
    let planned = plan(&all, &[], known(0.5), at(90_000.0)).unwrap();
    assert_eq!(covered(&planned), ["p99", "a", "b"]);
}
