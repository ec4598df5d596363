//! Writes the page of every state in every language to `.local/page-gallery/`, to view them without a stack:
//! `cargo run -p page --example gallery`. The files have no policy: their server sets it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::{fs, path::Path, time::Duration};

use jiff::Timestamp;
use page::{
    render::{self, Card, Look},
    words::Language,
};
use shared::{
    config::{Config, Shop},
    order::{
        Amount, Facts, JsonText, Order, OrderKey, Outcome, ParkedAs, Phase, Product, Schedule, SealedCard,
        TrackedBy, VendorStatus,
    },
    time::later,
};

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/page-gallery");
    fs::create_dir_all(&directory).unwrap();
    let look = Look::new(shop());
    let mut index = String::from("<!doctype html><meta charset=utf-8><title>Gallery</title><ul>");
    let mut write = |name: String, html: &str| {
        fs::write(directory.join(&name), html).unwrap();
        index.push_str(&format!("<li><a href=\"{name}\">{name}</a> {} bytes", html.len()));
    };
    for language in Language::ALL {
        let tag = language.words().tag;
        for (name, order, card) in orders() {
            let html = render::order(&look, &order, language, card, "capability.mac", now()).unwrap();
            write(format!("{name}-{tag}.html"), &html);
        }
        write(format!("no-such-link-{tag}.html"), &render::opens_nothing(&look, language).unwrap());
    }
    fs::write(directory.join("index.html"), index).unwrap();
    fs::write(directory.join("policy.txt"), look.policy()).unwrap();
    println!("written to {}", directory.display());
}

fn now() -> Timestamp {
    "2026-11-28T13:05:00Z".parse().unwrap()
}

/// A shop with a name, a colour and help.
fn shop() -> Shop {
    let settings = [
        ("ORDERS_TABLE", "t"),
        ("EVENT_BUS", "b"),
        ("CARD_KEY_ID", "k"),
        ("SECRET_ID", "s"),
        ("AWS_REGION", "r"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("SHOP_NAME", "Flexy Express"),
        ("SHOP_COLOUR", "#0b6e4f"),
        ("SHOP_HELP_URL", "tel:+213550123456"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::read(settings).unwrap().tracking_page.shop
}

fn order(product: Product, status: Option<VendorStatus>, phase: Phase) -> Order {
    let key = OrderKey { product, id: "6901616fe9e88196b4eb64b2".parse().unwrap() };
    let (mut order, _) =
        Order::track(key, None, TrackedBy::Put, later(now(), Duration::ZERO), &Schedule::default());
    order.tracked_at = before(Duration::from_secs(300));
    order.checked_at = Some(now());
    order.phase = phase;
    order.facts = Facts {
        status,
        number: Some(if product == Product::Mobile { "0778123456" } else { "021123456" }.to_owned()),
        plan_code: (product == Product::Mobile).then(|| "PREPAID_DJEZZY".to_owned()),
        kind: (product == Product::Internet).then(|| "ADSL".to_owned()),
        topup_amount: Amount::parse("500"),
        ..Facts::default()
    };
    order
}

fn before(time: Duration) -> Timestamp {
    now() - jiff::SignedDuration::try_from(time).unwrap()
}

/// Every state, by name.
fn orders() -> Vec<(&'static str, Order, Card<'static>)> {
    let since = before(Duration::from_secs(3600));
    let parked = |parked_as| Phase::Parked { parked_as, since };
    let flying = Phase::InFlight { since };
    let ended = |outcome| Phase::Final { outcome };
    let mobile = |status, phase| order(Product::Mobile, status, phase);
    let mut refunded = mobile(Some(VendorStatus::Refunded), ended(Outcome::Refunded));
    refunded.facts.refund_message =
        Some("عذرا، هذا الرقم لا يقبل هذا العرض. يرجى اختيار أحد العروض المقترحة.".to_owned());
    let offers = r#"[{"typename":"📋 FACTURE | فاتورة","plan_code":"FACTURE_DJEZZY","amount":500},{"typename":"Pix 1000","plan_code":"PIX_1000","amount":1000},{"plan_code":"HAYLA_BEZZEF"}]"#;
    refunded.facts.suggested_offers = Some(JsonText::parse(offers.to_owned()).unwrap());
    let mut long = mobile(Some(VendorStatus::Queued), parked(ParkedAs::Queued));
    long.phase = Phase::Parked { parked_as: ParkedAs::Queued, since: before(Duration::from_secs(50 * 3600)) };
    let mut card = order(Product::Internet, Some(VendorStatus::Fulfilled), ended(Outcome::Fulfilled));
    let awaits_card = card.clone();
    card.card = Some(SealedCard { ciphertext: vec![1], masked: "**************56".to_owned() });
    let redacted = |order: &Order| Order { redacted_at: Some(now()), card: None, ..order.clone() };
    let fulfilled = mobile(Some(VendorStatus::Fulfilled), ended(Outcome::Fulfilled));
    vec![
        ("received", mobile(None, flying), Card::Never),
        ("processing", mobile(Some(VendorStatus::Handling), flying), Card::Never),
        ("queued", mobile(Some(VendorStatus::Queued), parked(ParkedAs::Queued)), Card::Never),
        ("queued-long", long, Card::Never),
        ("uncertain", mobile(Some(VendorStatus::UnknownError), parked(ParkedAs::Uncertain)), Card::Never),
        ("delayed", mobile(Some(VendorStatus::Handling), parked(ParkedAs::Delayed)), Card::Never),
        ("not-found", mobile(None, parked(ParkedAs::NotFound)), Card::Never),
        ("fulfilled", fulfilled.clone(), Card::Never),
        ("fulfilled-card-at-the-shop", card.clone(), Card::Never),
        ("fulfilled-card-button", card.clone(), Card::Button),
        ("fulfilled-card-code", card.clone(), Card::Code("1234 5678 9012 3456")),
        ("fulfilled-awaits-card", awaits_card, Card::Button),
        ("refunded-redacted", redacted(&refunded), Card::Never),
        ("fulfilled-redacted", redacted(&fulfilled), Card::Never),
        ("refunded", refunded, Card::Never),
    ]
}
