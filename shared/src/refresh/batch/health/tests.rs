use super::*;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(1_760_000_000_000 + (seconds * 1000.0) as i64).unwrap()
}

fn window(seconds: f64) -> Page {
    Page { product: Product::Mobile, from: at(0.0), to: at(seconds) }
}

/// A list with `per_second` orders, pages of at most `page` rows, and a stated total.
struct Vendor {
    per_second: f64,
    page: usize,
    total: fn(usize) -> u64,
}

/// The lengths of successive windows, in seconds, each planned for 90 rows, 5 s apart.
fn windows(vendor: &Vendor, first: f64, count: usize) -> Vec<f64> {
    let (mut density, mut length, mut lengths) = (Density::default(), first, Vec::new());
    for round in 0..count {
        let now = at(round as f64 * 5.0);
        let held = (vendor.per_second * length).round() as usize;
        let shown = held.min(vendor.page);
        let total = (vendor.total)(held);
        density.learn(&window(length), shown, total, total <= shown as u64, now);
        let believed = density.at(now);
        length = if believed > 0.0 { (90.0 / believed).min(first) } else { first };
        lengths.push(length);
    }
    lengths
}

/// Seen in practice: `totalResults` 50,000 for 12 rows.
#[test]
fn a_total_that_ignores_the_window_keeps_windows_wide() {
    for (per_second, page) in [(0.6, 100), (3.0, 100), (10.0, 100), (100.0, 100), (0.6, 20), (10.0, 20)] {
        for total in [50_000, 1_000_000_000, u64::MAX] {
            let totals: [fn(usize) -> u64; 3] = [|_| 50_000, |_| 1_000_000_000, |_| u64::MAX];
            let total = totals.into_iter().find(|one| one(0) == total).unwrap();
            let lengths = windows(&Vendor { per_second, page, total }, 20.0, 200);
            // Each window must hold at least two orders.
            let fewest = lengths.iter().map(|length| length * per_second).fold(f64::MAX, f64::min);
            assert!(fewest >= 2.0, "{per_second} a second, pages of {page}: {fewest} rows in a window");
        }
    }
}

#[test]
fn a_true_total_narrows_windows_until_a_page_shows_all_rows() {
    for (per_second, page) in [(0.6, 100), (10.0, 100), (16.0, 100), (9.0, 20), (20.0, 50)] {
        let lengths = windows(&Vendor { per_second, page, total: |held| held as u64 }, 60.0, 12);
        let held = |length: &f64| (length * per_second).round() as usize;
        let first = lengths.iter().position(|length| held(length) <= page).unwrap();
        assert!(first <= 6, "{per_second} a second, pages of {page}: {lengths:?}");
    }
}

#[test]
fn a_page_that_shows_its_whole_window_sets_the_exact_density() {
    let mut density = Density::default();
    assert!(density.learn(&window(10.0), 80, 80, true, at(0.0)));
    assert_eq!(density.at(at(0.0)), 8.0);
    assert_eq!(density.at(at(3600.0)), 8.0, "a confirmed density does not decay");
    // A full page may be one of several: its total is an estimate.
    assert!(density.learn(&window(10.0), 100, 150, false, at(0.0)));
    assert_eq!(density.at(at(0.0)), 15.0);
    assert_eq!(density.at(at(60.0)), 7.5, "an unconfirmed density halves in 60 s");
    // A page with fewer rows than earlier pages had room for all.
    assert!(!density.learn(&window(10.0), 12, 50_000, false, at(60.0)));
    assert_eq!(density.at(at(60.0)), 1.2);
    assert!(!density.learn(&window(10.0), 0, 50_000, false, at(60.0)));
    assert_eq!(density.at(at(60.0)), 0.0, "an empty window sets the density to 0");
}

#[test]
fn no_list_check_while_the_list_is_off_or_the_key_suspended() {
    let lists = Lists::default();
    let mut usage = Usage::default();
    let usable = |usage: &Usage| lists.list(Product::Mobile, Trigger::Poller, usage, at(0.0)).is_some();
    assert!(usable(&usage));
    usage.lists[0].off_until = Some(at(1.0));
    assert!(!usable(&usage) && lists.list(Product::Internet, Trigger::Poller, &usage, at(0.0)).is_some());
    usage.lists[0].off_until = Some(at(0.0));
    assert!(usable(&usage));
    // The probe of a suspended key is due: that is a single check, not a list check.
    usage.suspended_until = Some(at(-1.0));
    assert!(!usable(&usage));
}
