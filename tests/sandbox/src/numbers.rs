//! The special numbers and their courses. Times are unscaled.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fields::Fields;
use crate::settings::{Outcome, Settings};
use crate::timeline::Step;

/// The vendor's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Product {
    Mobile,
    Internet,
}

/// The course of an order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Course {
    Mobile,
    RefundedWithMessage,
    RefundedWithOffers,
    Uncertain,
    Internet,
    QueuedThenFulfilled,
    Refunded,
    Slow,
    CardLate,
    QueuedThenRefunded,
}

/// A row of the table of special numbers.
#[derive(Serialize)]
pub(crate) struct Special {
    pub(crate) product: Product,
    pub(crate) number: &'static str,
    pub(crate) does: &'static str,
    pub(crate) basis: &'static str,
    #[serde(skip)]
    course: Course,
}

const PAGE: &str = "[documented]";
const PAGE_AND_TIMES: &str = "[documented]; its times (5 s PENDING, 15 s in total) are [our assumption]";
const OURS: &str = "[our assumption]";

const fn row(
    product: Product,
    number: &'static str,
    course: Course,
    does: &'static str,
    basis: &'static str,
) -> Special {
    Special { product, number, does, basis, course }
}

/// The special numbers; the last row of each product is `any other`.
#[rustfmt::skip]
pub(crate) const NUMBERS: [Special; 10] = [
    row(Product::Mobile, "0600000001", Course::RefundedWithMessage, "REFUNDED with refund_message", PAGE_AND_TIMES),
    row(Product::Mobile, "0600000002", Course::RefundedWithOffers, "REFUNDED with refund_message and suggested_offers", PAGE_AND_TIMES),
    row(Product::Mobile, "0600000003", Course::Uncertain, "UNKNOWN_ERROR with refund_message; settles after --uncertain-settles-after as --uncertain-settles-as", PAGE_AND_TIMES),
    row(Product::Mobile, "any other", Course::Mobile, "PENDING 5 s, HANDLING until 15 s, then FULFILLED", PAGE),
    row(Product::Internet, "036000001", Course::QueuedThenFulfilled, "HANDLING 10 s, QUEUED for --queued-settles-after, then FULFILLED with a card", OURS),
    row(Product::Internet, "036000002", Course::Refunded, "HANDLING 10 s, then REFUNDED", OURS),
    row(Product::Internet, "036000003", Course::Slow, "HANDLING for --slow-after, then FULFILLED with a card", OURS),
    row(Product::Internet, "036000004", Course::CardLate, "HANDLING 10 s, FULFILLED without its card, which comes --card-late-after later", OURS),
    row(Product::Internet, "036000005", Course::QueuedThenRefunded, "HANDLING 10 s, QUEUED for --queued-settles-after, then REFUNDED", OURS),
    row(Product::Internet, "any other", Course::Internet, "HANDLING 10 s, then FULFILLED with a card (ADSL and 4G)", OURS),
];

const NOT_AVAILABLE: &str = "الرصيد المطلوب غير متوفر لهذا الرقم";
const MISMATCH: &str = "هذا العرض غير متوافق مع هذا الرقم جرب فاتورة";
const UNCERTAIN: &str = "هذه العملية حالتها غير معروفة، يرجى التأكد مع عميلك، ولن نتحمل أي مسؤولية عن أي خسائر. إذا فشلت العملية بالفعل، فلا تقلق، سيتم استرداد أموالك خلال 24 ساعة";
/// The vendor page's sample and two more, which detect a client that sorts fields or drops unknown ones.
const OFFERS: &str = r#"[{"typename":"📋 FACTURE | فاتورة","plan_code":"FACTURE_DJEZZY","amount":500},{"typename":"📱 GETMENU | قائمة العروض","plan_code":"GETMENU_DJEZZY","validity":{"unit":"day","count":30},"amount":1000},{"plan_code":"PREPAID_DJEZZY","typename":"💳 PREPAID | دفع مسبق","amount":250.5}]"#;

/// The course for a number.
pub(crate) fn course(product: Product, number: &str) -> Course {
    let ordinary = match product {
        Product::Mobile => Course::Mobile,
        Product::Internet => Course::Internet,
    };
    NUMBERS
        .iter()
        .find(|row| row.product == product && row.number == number)
        .map_or(ordinary, |row| row.course)
}

/// The steps of a course. `card` gives the fields of a card that becomes available at a time.
pub(crate) fn steps(course: Course, settings: &Settings, card: impl Fn(Duration) -> Fields) -> Vec<Step> {
    const START: Duration = Duration::ZERO;
    const TAKEN: Duration = Duration::from_secs(5);
    const DONE: Duration = Duration::from_secs(15);
    const HANDLED: Duration = Duration::from_secs(10);

    let message = |text: &str| Fields::default().with("refund_message", text);
    let mobile =
        |rest: Vec<Step>| [vec![Step::new(START, "PENDING"), Step::new(TAKEN, "HANDLING")], rest].concat();
    let internet = |rest: Vec<Step>| [vec![Step::new(START, "HANDLING")], rest].concat();
    let carded = |after| Step::new(after, "FULFILLED").with(card(after));
    let settled = HANDLED.saturating_add(settings.queued_settles_after);

    match course {
        Course::Mobile => mobile(vec![Step::new(DONE, "FULFILLED")]),
        Course::RefundedWithMessage => mobile(vec![Step::new(DONE, "REFUNDED").with(message(NOT_AVAILABLE))]),
        Course::RefundedWithOffers => {
            let fields = message(MISMATCH).with_json("suggested_offers", OFFERS);
            mobile(vec![Step::new(DONE, "REFUNDED").with(fields)])
        }
        Course::Uncertain => {
            let after = DONE.saturating_add(settings.uncertain_settles_after);
            let end = match settings.uncertain_settles_as {
                Outcome::Fulfilled => Step::new(after, "FULFILLED"),
                Outcome::Refunded => Step::new(after, "REFUNDED").with(message(NOT_AVAILABLE)),
            };
            mobile(vec![Step::new(DONE, "UNKNOWN_ERROR").with(message(UNCERTAIN)), end])
        }
        Course::Internet => internet(vec![carded(HANDLED)]),
        Course::QueuedThenFulfilled => internet(vec![Step::new(HANDLED, "QUEUED"), carded(settled)]),
        Course::Refunded => internet(vec![Step::new(HANDLED, "REFUNDED")]),
        Course::Slow => internet(vec![carded(settings.slow_after)]),
        Course::CardLate => {
            let come = HANDLED.saturating_add(settings.card_late_after);
            internet(vec![Step::new(HANDLED, "FULFILLED"), carded(come)])
        }
        Course::QueuedThenRefunded => {
            internet(vec![Step::new(HANDLED, "QUEUED"), Step::new(settled, "REFUNDED")])
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::timeline::Timeline;

    fn check(scale: f64, product: Product, number: &str, expected: &[(f64, &str)]) {
        let waits =
            ["--uncertain-settles-after", "100", "--queued-settles-after", "200", "--card-late-after", "300"];
        let settings = Settings::parse_from([&["sandbox"], &waits[..]].concat());
        let steps = steps(course(product, number), &settings, |_| Fields::default().with("card_code", "1"));
        let scaled = |step: Step| Step { after: step.after.mul_f64(scale), ..step };
        let timeline = Timeline::new(steps.into_iter().map(scaled).collect()).unwrap();
        for (elapsed, status) in expected {
            let step = timeline.at(Duration::from_secs_f64(*elapsed)).unwrap();
            let card = if step.fields.get("card_code").is_some() { "+card" } else { "" };
            assert_eq!(
                format!("{}{card}", step.status),
                *status,
                "{number} after {elapsed} s at scale {scale}"
            );
        }
    }

    #[test]
    fn mobile_statuses_change_at_their_exact_times() {
        let until = |end| {
            [(0.0, "PENDING"), (4.999, "PENDING"), (5.0, "HANDLING"), (14.999, "HANDLING"), (15.0, end)]
        };
        check(1.0, Product::Mobile, "0778037340", &until("FULFILLED"));
        check(1.0, Product::Mobile, "0600000001", &until("REFUNDED"));
        check(1.0, Product::Mobile, "0600000002", &until("REFUNDED"));
        check(1.0, Product::Mobile, "0600000003", &until("UNKNOWN_ERROR"));
        check(1.0, Product::Mobile, "0600000003", &[(114.999, "UNKNOWN_ERROR"), (115.0, "FULFILLED")]);
        let scaled = [
            (0.499, "PENDING"),
            (0.5, "HANDLING"),
            (1.499, "HANDLING"),
            (1.5, "FULFILLED"),
            (1e9, "FULFILLED"),
        ];
        check(0.1, Product::Mobile, "0778037340", &scaled);
    }

    #[test]
    fn internet_statuses_change_at_their_exact_times() {
        let until = |end| [(0.0, "HANDLING"), (9.999, "HANDLING"), (10.0, end)];
        check(1.0, Product::Internet, "036362608", &until("FULFILLED+card"));
        check(1.0, Product::Internet, "036000001", &until("QUEUED"));
        check(1.0, Product::Internet, "036000001", &[(209.999, "QUEUED"), (210.0, "FULFILLED+card")]);
        check(1.0, Product::Internet, "036000002", &until("REFUNDED"));
        check(1.0, Product::Internet, "036000003", &[(399.999, "HANDLING"), (400.0, "FULFILLED+card")]);
        check(1.0, Product::Internet, "036000004", &until("FULFILLED"));
        check(1.0, Product::Internet, "036000004", &[(309.999, "FULFILLED"), (310.0, "FULFILLED+card")]);
        check(1.0, Product::Internet, "036000005", &until("QUEUED"));
        check(1.0, Product::Internet, "036000005", &[(209.999, "QUEUED"), (210.0, "REFUNDED")]);
        check(0.1, Product::Internet, "036362608", &[(0.999, "HANDLING"), (1.0, "FULFILLED+card")]);
        check(1.0, Product::Internet, "0600000001", &until("FULFILLED+card"));
    }
}
