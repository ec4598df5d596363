#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "tests"
)]
//! The handler, with stand-ins for AWS, and the rules of what is shown.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lambda_events::encodings::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    config::Config,
    order::{
        Amount, Facts, JsonText, Outcome, ParkedAs, Phase, Product, Schedule, SealedCard, TrackedBy,
        VendorStatus,
    },
    secret::SigningKeys,
    store::write_order,
    time::later,
};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use super::*;
use crate::{render::Look, view::State};

const CODE: &str = "1234-5678-9012";

fn now() -> Timestamp {
    "2026-11-28T13:05:00Z".parse().unwrap()
}

fn secret(byte: u8) -> String {
    json!({"current": STANDARD.encode([byte; 32])}).to_string()
}

fn keys(byte: u8) -> SigningKeys {
    serde_json::from_str(&secret(byte)).unwrap()
}

/// AWS: one order, the secret, and what it was asked for.
#[derive(Clone, Default)]
struct Aws {
    order: Option<Order>,
    calls: Arc<Mutex<Vec<String>>>,
    fails: &'static str,
}

impl Respond for Aws {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let target = request.headers.get("x-amz-target").map_or("", |target| target.to_str().unwrap());
        let operation = target.rsplit('.').next().unwrap_or_default();
        self.calls.lock().unwrap().push(operation.to_owned());
        if operation == self.fails {
            return ResponseTemplate::new(400).set_body_json(json!({"__type": "AccessDeniedException"}));
        }
        let answer = match operation {
            "GetSecretValue" => json!({"SecretString": secret(1)}),
            "GetItem" => {
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                let asked = body["Key"]["pk"]["S"].as_str().unwrap().to_owned();
                let order = self
                    .order
                    .as_ref()
                    .filter(|order| asked == format!("{}#{}", order.key.product, order.key.id));
                order.map_or_else(|| json!({}), |order| json!({"Item": item(order)}))
            }
            "Decrypt" => json!({"Plaintext": STANDARD.encode(CODE)}),
            "TransactWriteItems" => json!({}),
            other => panic!("{other} is not called"),
        };
        ResponseTemplate::new(200).set_body_json(answer)
    }
}

/// The item of an order as DynamoDB's JSON.
fn item(order: &Order) -> Value {
    use aws_sdk_dynamodb::types::AttributeValue::{self, Bool, L, M, N, S, Ss};
    fn json(value: &AttributeValue) -> Value {
        match value {
            S(text) => json!({"S": text}),
            N(number) => json!({"N": number}),
            Bool(value) => json!({"BOOL": value}),
            L(list) => json!({"L": list.iter().map(json).collect::<Vec<_>>()}),
            M(map) => {
                json!({"M": map.iter().map(|(name, value)| (name.clone(), json(value))).collect::<serde_json::Map<_, _>>()})
            }
            Ss(set) => json!({"SS": set}),
            other => panic!("{other:?}"),
        }
    }
    json(&M(write_order(order).unwrap()))["M"].clone()
}

fn order(product: Product, status: Option<VendorStatus>, phase: Phase) -> Order {
    let key = OrderKey { product, id: "6901616fe9e88196b4eb64b2".parse().unwrap() };
    let (mut order, _) = Order::track(
        key,
        Some("shop-ref-77".to_owned().try_into().unwrap()),
        TrackedBy::Put,
        now(),
        &Schedule::default(),
    );
    order.phase = phase;
    order.checked_at = Some(now());
    order.facts = Facts {
        status,
        vendor_ref: Some("vendor-ref-77".to_owned()),
        number: Some("0778123456".to_owned()),
        plan_code: (product == Product::Mobile).then(|| "PREPAID_DJEZZY".to_owned()),
        topup_amount: Amount::parse("500.00"),
        num_trans: Some("trans-77".to_owned()),
        ..Facts::default()
    };
    order
}

const SINCE: &str = "2026-11-28T12:00:00Z";

fn flying(status: Option<VendorStatus>) -> Order {
    order(Product::Mobile, status, Phase::InFlight { since: SINCE.parse().unwrap() })
}

fn parked(parked_as: ParkedAs) -> Order {
    order(Product::Mobile, None, Phase::Parked { parked_as, since: SINCE.parse().unwrap() })
}

fn ended(product: Product, outcome: Outcome) -> Order {
    let status = if outcome == Outcome::Fulfilled { VendorStatus::Fulfilled } else { VendorStatus::Refunded };
    order(product, Some(status), Phase::Final { outcome })
}

fn with_card() -> Order {
    let card = SealedCard { ciphertext: vec![1], masked: "************12".to_owned() };
    Order { card: Some(card), ..ended(Product::Internet, Outcome::Fulfilled) }
}

/// Every state, with an order in it.
fn states() -> Vec<(State, Order)> {
    let known = Order { first_seen_at: Some(now()), ..parked(ParkedAs::NotFound) };
    vec![
        (State::Received, flying(None)),
        (State::Received, flying(Some(VendorStatus::Pending))),
        (State::Received, flying(Some(VendorStatus::Unrecognised("NEW".to_owned())))),
        (State::Processing, flying(Some(VendorStatus::Handling))),
        (State::Queued, parked(ParkedAs::Queued)),
        (State::Uncertain, parked(ParkedAs::Uncertain)),
        (State::Delayed, parked(ParkedAs::Delayed)),
        (State::Delayed, known),
        (State::NotFound, parked(ParkedAs::NotFound)),
        (State::Fulfilled, ended(Product::Mobile, Outcome::Fulfilled)),
        (State::Fulfilled, ended(Product::Internet, Outcome::Fulfilled)),
        (State::Fulfilled, with_card()),
        (State::Refunded, ended(Product::Mobile, Outcome::Refunded)),
    ]
}

fn config(endpoint: &str, more: &[(&str, &str)]) -> Config {
    let settings = [
        ("ORDERS_TABLE", "orders"),
        ("EVENT_BUS", "bus"),
        ("CARD_KEY_ID", "key"),
        ("SECRET_ID", "not-read"),
        ("PAGE_SECRET_ID", "page"),
        ("AWS_REGION", "eu-west-3"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("TRACKING_PAGE", "on"),
        ("SHOP_NAME", "<b>Flexy & Co</b>"),
        ("SHOP_HELP_URL", "tel:+213550123456"),
    ];
    let all = settings.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::read(all).unwrap()
}

struct Bed {
    aws: Aws,
    page: Page,
    _server: MockServer,
}

impl Bed {
    async fn new(aws: Aws, more: &[(&str, &str)]) -> Self {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(aws.clone()).mount(&server).await;
        let page = Page::with_clock(&config(&server.uri(), more), Clock::fixed(now())).unwrap();
        Self { aws, page, _server: server }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> ApiGatewayV2httpResponse {
        let mut event: Value =
            serde_json::from_str(include_str!("../../../events/http/open-page.json")).unwrap();
        event["requestContext"]["http"]["method"] = method.into();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        event["rawPath"] = path.into();
        event["rawQueryString"] = query.into();
        event["headers"] = json!({});
        for (name, value) in headers {
            event["headers"][name] = (*value).into();
        }
        handle(&self.page, serde_json::from_value(event).unwrap()).await
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.aws.calls.lock().unwrap())
    }
}

fn link(order: &Order) -> String {
    let days = Duration::from_secs(90 * 24 * 3600);
    format!("/t/{}", capability::issue(&keys(1), &order.key, days, now()))
}

fn text(response: &ApiGatewayV2httpResponse) -> &str {
    let Some(Body::Text(text)) = &response.body else { panic!("no text") };
    text
}

#[tokio::test]
async fn every_state_has_its_page_in_three_languages() {
    for (state, order) in states() {
        assert_eq!(State::of(&order), state);
        let link = link(&order);
        let bed = Bed::new(Aws { order: Some(order.clone()), ..Aws::default() }, &[]).await;
        for language in Language::ALL {
            let words = language.words();
            let answer = bed.call("GET", &format!("{link}?lang={}", words.tag), &[]).await;
            let html = text(&answer);
            assert_eq!(answer.status_code, 200, "{state:?}");
            assert_eq!(answer.headers["content-language"], words.tag);
            assert!(html.contains(&format!("<html lang=\"{}\" dir=\"{}\">", words.tag, words.direction)));
            let (title, said, _) = view::said(&order, words, false, now());
            assert!(html.contains(&format!("<h1>{title}</h1>")) && html.contains(&said), "{state:?}");
            let awaits_card =
                state == State::Fulfilled && order.key.product == Product::Internet && order.card.is_none();
            let is_live = awaits_card || !matches!(state, State::Fulfilled | State::Refunded);
            assert_eq!(html.contains("http-equiv=\"refresh\" content=\"10\""), is_live, "{state:?}");
            assert_eq!(html.contains("<script>"), is_live, "{state:?}");
            assert_eq!(html.contains(words.ended), !is_live, "{state:?}");
            let has_step = state != State::Fulfilled || awaits_card;
            assert_eq!(html.matches("aria-current=\"step\"").count(), usize::from(has_step));
            assert!(html.len() < 30_000, "{} bytes", html.len());
            for private in [
                "0778123456",
                "shop-ref-77",
                "vendor-ref-77",
                "trans-77",
                "6901616fe9e88196b4eb64b2",
                "{since}",
            ] {
                assert!(!html.contains(private), "{state:?}: {private}");
            }
            assert!(html.contains("07••••••56") && html.contains("500.00"));
            assert!(html.contains("&#60;b&#62;Flexy &#38; Co&#60;/b&#62;") && !html.contains("<b>Flexy"));
            assert_self_contained(html, &answer);
        }
        assert!(bed.calls().iter().all(|call| matches!(call.as_str(), "GetItem" | "GetSecretValue")));
    }
}

/// The policy has the hashes of the page's style and script, and the page names nothing outside itself.
fn assert_self_contained(html: &str, answer: &ApiGatewayV2httpResponse) {
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    for tag in ["style", "script"] {
        for part in html.split(&format!("<{tag}>")).skip(1) {
            let inline = part.split(&format!("</{tag}>")).next().unwrap();
            assert!(policy.contains(&format!("{tag}-src '{}'", render::source(inline))), "{tag}");
        }
    }
    assert!(!html.contains("style=\"") && !html.contains(" onclick") && !html.contains("url("));
    let addresses = html.split("http").skip(1).filter(|rest| !rest.starts_with("-equiv"));
    assert!(addresses.clone().all(|rest| rest.starts_with("://www.w3.org/2000/svg")), "an address");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex, nofollow"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(answer.headers[name], value);
    }
}

#[tokio::test]
async fn whatever_opens_nothing_gets_the_same_page_byte_for_byte() {
    let known = flying(None);
    let bed = Bed::new(Aws { order: Some(known.clone()), ..Aws::default() }, &[]).await;
    let other = OrderKey { id: "unknown".parse().unwrap(), ..known.key.clone() };
    let days = Duration::from_secs(24 * 3600);
    let good = link(&known);
    let expired = capability::issue(&keys(1), &known.key, days, "2026-01-01T00:00:00Z".parse().unwrap());
    let rotated = capability::issue(&keys(2), &known.key, days, now());
    let unknown = capability::issue(&keys(1), &other, days, now());
    let expected = bed.call("GET", &format!("/t/{expired}"), &[]).await;
    assert_eq!(expected.status_code, 404);
    bed.calls();
    let mut paths = vec![
        ("GET", format!("/t/{rotated}")),
        ("GET", format!("/t/{unknown}")),
        ("GET", "/t/".to_owned()),
        ("GET", "/t".to_owned()),
        ("GET", format!("{good}/")),
        ("GET", format!("{good}/card")),
        ("POST", format!("{good}/card")),
        ("POST", good.clone()),
        ("DELETE", good.clone()),
        ("GET", format!("/x{good}")),
    ];
    let mut random = Random(1);
    for _ in 0..1000 {
        paths.push(("GET", format!("/t/{}", made_up(&good, &mut random))));
    }
    for (method, path) in &paths {
        let answer = bed.call(method, path, &[]).await;
        assert_eq!((answer.status_code, text(&answer)), (404, text(&expected)), "{method} {path}");
        assert_eq!(answer.headers, expected.headers, "{method} {path}");
    }
    let reads = bed.calls().into_iter().filter(|call| call == "GetItem").count();
    assert_eq!(
        reads, 3,
        "only what was signed is read: the unknown order, and the address of the card twice"
    );
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        // The constants are of Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % end as u64).unwrap()
    }
}

/// A capability with one other character, or random ones.
fn made_up(good: &str, random: &mut Random) -> String {
    let length = random.below(80);
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    let mut letters: Vec<char> = good.trim_start_matches("/t/").chars().collect();
    if length.is_multiple_of(2) {
        let at = random.below(letters.len());
        letters[at] = if letters[at] == 'A' { 'B' } else { 'A' };
        return letters.into_iter().collect();
    }
    (0..length).map(|_| char::from(LETTERS[random.below(LETTERS.len())])).collect()
}

#[tokio::test]
async fn a_card_is_shown_only_with_the_setting_behind_a_button_and_is_an_event() {
    let order = with_card();
    let link = link(&order);
    let aws = Aws { order: Some(order), ..Aws::default() };
    let closed = Bed::new(aws.clone(), &[]).await;
    let html = text(&closed.call("GET", &link, &[]).await).to_owned();
    assert!(!html.contains("<form") && !html.contains(CODE));
    assert_eq!(closed.call("POST", &format!("{link}/card"), &[]).await.status_code, 404);
    closed.calls();

    let bed = Bed::new(aws, &[("TRACKING_PAGE_SHOWS_CARD", "on")]).await;
    let answer = bed.call("GET", &format!("{link}?lang=en"), &[]).await;
    let capability = link.trim_start_matches("/t/");
    assert!(text(&answer).contains(&format!("<form method=\"post\" action=\"{capability}/card?lang=en\">")));
    assert!(!text(&answer).contains(CODE));
    assert!(!bed.calls().contains(&"Decrypt".to_owned()));
    let answer = bed.call("POST", &format!("{link}/card?lang=en"), &[]).await;
    assert_eq!(answer.status_code, 200);
    assert!(
        text(&answer).contains(CODE) && text(&answer).contains(&format!("href=\"../{capability}?lang=fr\""))
    );
    assert!(!text(&answer).contains("<form"));
    assert_self_contained(text(&answer), &answer);
    assert_eq!(bed.calls(), ["GetItem", "Decrypt", "TransactWriteItems"], "no event is put by this function");
}

#[tokio::test]
async fn the_button_leads_to_the_page_while_there_is_no_card() {
    let on = [("TRACKING_PAGE_SHOWS_CARD", "on")];
    let redacted = Order { redacted_at: Some(now()), ..with_card() };
    for order in [ended(Product::Internet, Outcome::Fulfilled), flying(None), redacted] {
        let link = link(&order);
        let bed = Bed::new(Aws { order: Some(order), ..Aws::default() }, &on).await;
        let answer = bed.call("POST", &format!("{link}/card?lang=fr"), &[]).await;
        let place = format!("..{}?lang=fr", link.trim_start_matches("/t"));
        assert_eq!((answer.status_code, answer.headers["location"].to_str().unwrap()), (303, place.as_str()));
    }
}

#[tokio::test]
async fn an_outage_is_no_missing_order() {
    for fails in ["GetSecretValue", "GetItem"] {
        let order = flying(None);
        let link = link(&order);
        let bed = Bed::new(Aws { order: Some(order), fails, ..Aws::default() }, &[]).await;
        let answer = bed.call("GET", &link, &[]).await;
        assert_eq!(
            (answer.status_code, answer.headers["retry-after"].to_str().unwrap()),
            (503, "60"),
            "{fails}"
        );
        assert!(text(&answer).contains(Language::Arabic.words().unavailable.title));
    }
}

#[test]
fn the_language_is_asked_for_accepted_or_arabic() {
    for (query, accept, expected) in [
        ("", "", Language::Arabic),
        ("lang=fr", "en", Language::French),
        ("a=b&lang=en", "fr", Language::English),
        ("lang=de", "fr", Language::French),
        ("lang=", "de, *", Language::Arabic),
        ("", "fr-DZ,fr;q=0.9,en;q=0.8", Language::French),
        ("", "en;q=0.5, fr;q=0.7, ar;q=0.6", Language::French),
        ("", "en;q=0, de", Language::Arabic),
        ("", "EN-us", Language::English),
        ("", "ar-DZ, en", Language::Arabic),
        ("", ";;,=q=1,en;q=x", Language::Arabic),
    ] {
        assert_eq!(Language::choose(query, accept), expected, "{query:?} {accept:?}");
    }
}

#[test]
fn a_number_shows_four_characters_and_a_short_one_none() {
    for (number, shown, spoken) in [
        ("0778123456", "07••••••56", "07 … 56"),
        ("021123456", "02•••••56", "02 … 56"),
        ("123456", "12••56", "12 … 56"),
        ("12345", "•••••", "…"),
        ("", "", "…"),
    ] {
        assert_eq!(view::masked(number), (shown.to_owned(), spoken.to_owned()));
    }
}

#[test]
fn a_refund_shows_its_message_and_the_offers_that_can_be_read() {
    let mut order = ended(Product::Mobile, Outcome::Refunded);
    order.facts.refund_message = Some("عذرا <script>".to_owned());
    let offers = r#"[{"typename":"A","plan_code":"a","amount":500},{"plan_code":"B","amount":"1000.50"},{"amount":5},7,
        {"typename":" ","plan_code":"C","amount":"many"},{"plan_code":"D","amount":"NaN"},{"plan_code":"E","amount":"inf"},
        {"plan_code":"F","amount":-5},{"plan_code":"G","amount":1e400},{"plan_code":"H","amount":"1e5"}]"#;
    order.facts.suggested_offers = Some(JsonText::parse(offers.to_owned()).unwrap());
    let found: Vec<_> = view::offers(&order).into_iter().map(|offer| (offer.name, offer.amount)).collect();
    let none = ["C", "D", "E", "F", "H"].map(|name| (name, None));
    let expected: Vec<_> = [("A", Some("500")), ("B", Some("1000.50"))].into_iter().chain(none).collect();
    let found: Vec<_> = found.iter().map(|(name, amount)| (name.as_str(), amount.as_deref())).collect();
    assert_eq!(found, expected);
    let look = Look::new(config("http://127.0.0.1:9", &[]).tracking_page.shop);
    let html = render::order(&look, &order, Language::French, Card::Never, "c", now()).unwrap();
    assert!(html.contains("<blockquote lang=\"ar\" dir=\"rtl\">عذرا &#60;script&#62;</blockquote>"));
    let uncertain = Order { facts: order.facts.clone(), ..parked(ParkedAs::Uncertain) };
    assert!(view::refund_message(&uncertain).is_some() && view::offers(&uncertain).is_empty());
    let queued = Order { facts: order.facts.clone(), ..parked(ParkedAs::Queued) };
    assert_eq!(view::refund_message(&queued), None);
    // Redaction removes both; what it has not removed is not shown either.
    let redacted = Order { redacted_at: Some(now()), ..order.clone() };
    let html = render::order(&look, &redacted, Language::French, Card::Never, "c", now()).unwrap();
    assert!(!html.contains("blockquote lang") && !html.contains("<dl>") && !html.contains("07•"));
    assert!(html.contains(Language::French.words().redacted));
    for text in ["{}", "null", r#""x""#] {
        order.facts.suggested_offers = Some(JsonText::parse(text.to_owned()).unwrap());
        assert_eq!(view::offers(&order), []);
    }
    let many = format!("[{}]", vec![r#"{"plan_code":"x"}"#; 500].join(","));
    order.facts.suggested_offers = Some(JsonText::parse(many).unwrap());
    order.facts.refund_message = Some("م".repeat(100_000));
    let html = render::order(&look, &order, Language::Arabic, Card::Never, "c", now()).unwrap();
    assert!(html.len() < 30_000, "{} bytes", html.len());
}

/// What the page says in English, and no more than the vendor stated: of an order that it does not know or has not answered for, not even that
/// the money is safe.
#[test]
fn each_state_says_what_the_vendor_stated() {
    let words = Language::English.words();
    let day = |days: u64| later(now(), Duration::from_secs(days * 24 * 3600));
    let late_card = ended(Product::Internet, Outcome::Fulfilled);
    let retried = {
        let refunded = ended(Product::Mobile, Outcome::Refunded);
        let facts =
            Facts { retry_order_id: Some("6901616fe9e88196b4eb64b9".to_owned()), ..refunded.facts.clone() };
        Order { facts, ..refunded }
    };
    let known = Order { first_seen_at: Some(now()), ..parked(ParkedAs::NotFound) };
    let claims = [
        "amount is returned",
        "amount has been returned",
        "Contact the shop",
        "48 hours",
        "24 hours",
        "Another order",
        "reached the number",
    ];
    for (order, at, title, expected) in [
        (flying(None), now(), "We have received your order", &[][..]),
        (flying(Some(VendorStatus::Handling)), now(), "Your order is being processed", &[]),
        (parked(ParkedAs::Queued), now(), "Your order is queued", &["48 hours"]),
        (parked(ParkedAs::Queued), day(3), "Your order is queued", &["48 hours"]),
        (
            parked(ParkedAs::Uncertain),
            now(),
            "We are waiting for your order to be confirmed",
            &["amount is returned", "24 hours"],
        ),
        (parked(ParkedAs::Uncertain), day(2), "We are waiting for your order to be confirmed", &["24 hours"]),
        (parked(ParkedAs::Delayed), now(), "Your order is taking longer than usual", &[]),
        (known, now(), "Your order is taking longer than usual", &[]),
        (parked(ParkedAs::NotFound), now(), "Your order does not show up in the system yet", &[]),
        (
            ended(Product::Mobile, Outcome::Fulfilled),
            now(),
            "Your top-up is delivered",
            &["reached the number"],
        ),
        (late_card, now(), "Your order has succeeded", &[]),
        (with_card(), now(), "Your card is ready", &[]),
        (
            ended(Product::Mobile, Outcome::Refunded),
            now(),
            "Your order was not delivered",
            &["amount has been returned", "Contact the shop"],
        ),
        (retried, now(), "Your order was not delivered", &["Another order"]),
    ] {
        let (said, text, more) = view::said(&order, words, false, at);
        let all = format!("{text} {}", more.unwrap_or_default());
        let found: Vec<&str> = claims.into_iter().filter(|claim| all.contains(claim)).collect();
        assert_eq!((said, found.as_slice()), (title, expected), "{:?}: {all}", order.phase);
    }
    let steps = view::steps(&parked(ParkedAs::NotFound), words);
    assert!(steps.iter().all(|step| !step.done), "the vendor has not said that it has the order");
}

#[test]
fn times_are_the_vendors() {
    let words = Language::English.words();
    let created = |order: Order, text: &str| {
        let facts = Facts { created_at: Some(text.to_owned()), ..order.facts.clone() };
        Order { facts, ..order }
    };
    let ordered = |order: &Order| {
        view::facts(order, words).into_iter().find(|fact| fact.name == words.ordered).map(|fact| fact.value)
    };
    assert_eq!(ordered(&flying(None)), None, "not yet known");
    assert_eq!(ordered(&created(flying(None), "soon")), None);
    let early = created(flying(None), "2026-11-26T20:30:00.000Z");
    assert_eq!(ordered(&early).as_deref(), Some("26/11/2026 21:30"));

    // Queued since noon, tracked at 13:05, created two days before.
    let queued = created(parked(ParkedAs::Queued), "2026-11-26T20:30:00.000Z");
    let seen = |at: &str| Order { first_seen_at: Some(at.parse().unwrap()), ..queued.clone() };
    for (order, since) in [
        (seen("2026-11-28T11:00:00Z"), "28/11/2026 13:00"),
        (seen("2026-11-28T11:59:58Z"), "26/11/2026 21:30"),
    ] {
        let (_, text, _) = view::said(&order, words, false, now());
        assert!(text.contains(since), "{text}");
    }
}

/// The address bar of a page with a code names the button's address: opened again, it leads back to the page.
#[tokio::test]
async fn the_address_of_a_shown_card_leads_to_the_page() {
    let order = with_card();
    let card = format!("{}/card", link(&order));
    let aws = Aws { order: Some(order), ..Aws::default() };
    let bed = Bed::new(aws.clone(), &[("TRACKING_PAGE_SHOWS_CARD", "on")]).await;
    for method in ["GET", "HEAD"] {
        let answer = bed.call(method, &format!("{card}?lang=fr"), &[]).await;
        assert_eq!(answer.status_code, 303, "{method}");
        let place = answer.headers["location"].to_str().unwrap().to_owned();
        assert!(
            place.starts_with("../") && place.ends_with("?lang=fr") && !place.contains("card"),
            "{place}"
        );
    }
    assert!(bed.calls().iter().all(|call| matches!(call.as_str(), "GetItem" | "GetSecretValue")));
    let made_up = bed.call("GET", "/t/made-up/card", &[]).await;
    assert_eq!((made_up.status_code, text(&made_up)), (404, text(&bed.call("GET", "/t/made-up", &[]).await)));
}

#[tokio::test]
async fn a_button_that_was_pressed_very_often_is_gone() {
    let order = Order { seq: MAX_EVENTS, ..with_card() };
    let link = link(&order);
    let bed =
        Bed::new(Aws { order: Some(order), ..Aws::default() }, &[("TRACKING_PAGE_SHOWS_CARD", "on")]).await;
    let answer = bed.call("GET", &format!("{link}?lang=en"), &[]).await;
    assert!(!text(&answer).contains("<form") && text(&answer).contains("Ask the shop for its code"));
    assert_eq!(bed.call("POST", &format!("{link}/card"), &[]).await.status_code, 303);
    assert!(bed.calls().iter().all(|call| matches!(call.as_str(), "GetItem" | "GetSecretValue")));
}

#[test]
fn a_queued_order_names_the_vendors_time_and_when_it_has_passed() {
    let (order, words) = (parked(ParkedAs::Queued), Language::English.words());
    let (_, text, more) = view::said(&order, words, false, now());
    assert!(text.contains("12 to 48 hours, counted from \u{2066}28/11/2026 13:00\u{2069}"), "{text}");
    assert_eq!(more, None);
    let (_, _, more) = view::said(&order, words, false, later(now(), Duration::from_secs(48 * 3600)));
    assert_eq!(more, Some(words.queued_long));
}
