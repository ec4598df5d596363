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
            let is_final = matches!(state, State::Fulfilled | State::Refunded);
            assert_eq!(html.contains("http-equiv=\"refresh\" content=\"10\""), !is_final, "{state:?}");
            assert_eq!(html.contains("<script>"), !is_final, "{state:?}");
            assert_eq!(html.matches("aria-current=\"step\"").count(), usize::from(state != State::Fulfilled));
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
    for _ in 0..1000 {
        let length = fastrand(80);
        paths.push(("GET", format!("/t/{}", made_up(&good, length))));
    }
    for (method, path) in &paths {
        let answer = bed.call(method, path, &[]).await;
        assert_eq!((answer.status_code, text(&answer)), (404, text(&expected)), "{method} {path}");
        assert_eq!(answer.headers, expected.headers, "{method} {path}");
    }
    let reads = bed.calls().into_iter().filter(|call| call == "GetItem").count();
    assert!(reads <= 8, "{reads}: only what was signed is read");
}

/// A number below `end` from the clock of the test's own process: which one does not matter.
fn fastrand(end: usize) -> usize {
    use std::hash::{BuildHasher, Hasher, RandomState};
    usize::try_from(RandomState::new().build_hasher().finish() % end as u64).unwrap()
}

/// A capability with one other character, or random ones.
fn made_up(good: &str, length: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    let mut letters: Vec<char> = good.trim_start_matches("/t/").chars().collect();
    if length.is_multiple_of(2) {
        let at = fastrand(letters.len());
        letters[at] = if letters[at] == 'A' { 'B' } else { 'A' };
        return letters.into_iter().collect();
    }
    (0..length).map(|_| char::from(LETTERS[fastrand(LETTERS.len())])).collect()
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
            (503, "10"),
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
        {"typename":" ","plan_code":"C","amount":"many"}]"#;
    order.facts.suggested_offers = Some(JsonText::parse(offers.to_owned()).unwrap());
    let found: Vec<_> = view::offers(&order).into_iter().map(|offer| (offer.name, offer.amount)).collect();
    let expected = [("A", Some("500")), ("B", Some("1000.50")), ("C", None)];
    assert_eq!(found, expected.map(|(name, amount)| (name.to_owned(), amount.map(str::to_owned))));
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

#[test]
fn a_queued_order_names_the_vendors_time_and_when_it_has_passed() {
    let (order, words) = (parked(ParkedAs::Queued), Language::English.words());
    let (_, text, more) = view::said(&order, words, false, now());
    assert!(text.contains("within 12 to 48 hours, counted from \u{2066}28/11/2026 13:00\u{2069}"), "{text}");
    assert_eq!(more, None);
    let (_, _, more) = view::said(&order, words, false, later(now(), Duration::from_secs(48 * 3600)));
    assert_eq!(more, Some(words.queued_long));
    for parked_as in [ParkedAs::Uncertain, ParkedAs::Delayed, ParkedAs::NotFound] {
        let (_, text, more) = view::said(&parked(parked_as), words, false, now());
        assert_eq!(more, Some(words.nothing_lost));
        assert_eq!(text.contains("24 hours"), parked_as == ParkedAs::Uncertain, "{text}");
    }
}
