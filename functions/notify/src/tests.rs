//! The handler, with stand-ins for AWS and the shop. The stand-in of the queue hides a message as long as it is asked to, by a
//! clock that the tests move.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{clock::Clock, config::Config, time::later};
use standardwebhooks::Webhook;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use super::*;

const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLPSw";
const START: i64 = 1_761_698_160;

/// What AWS was asked to do.
#[derive(Clone, Default)]
struct Aws {
    /// The time for which messages were hidden, in seconds.
    hidden: Arc<Mutex<Vec<u64>>>,
    /// Dead letters: body and reason.
    letters: Arc<Mutex<Vec<(String, String)>>>,
    /// Recorded attempts: state, number of attributes that put the item in the due index.
    recorded: Arc<Mutex<Vec<(String, bool)>>>,
    /// The secret before the current one, during a rotation.
    previous: Arc<Mutex<Option<&'static str>>>,
    /// Whether the table and the queue fail.
    down: bool,
}

impl Respond for Aws {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let target = request.headers.get("x-amz-target").map_or("", |target| target.to_str().unwrap());
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        if self.down && operation != "GetSecretValue" {
            return ResponseTemplate::new(500).set_body_json(json!({"__type": "InternalError"}));
        }
        let answer = match operation {
            "GetSecretValue" => {
                let previous = *self.previous.lock().unwrap();
                json!({"SecretString": json!({"current": SECRET, "previous": previous}).to_string()})
            }
            "ChangeMessageVisibility" => {
                self.hidden.lock().unwrap().push(body["VisibilityTimeout"].as_u64().unwrap());
                json!({})
            }
            "SendMessage" => {
                let reason = body["MessageAttributes"]["reason"]["StringValue"].as_str().unwrap().to_owned();
                self.letters.lock().unwrap().push((body["MessageBody"].as_str().unwrap().to_owned(), reason));
                json!({"MessageId": "1", "MD5OfMessageBody": "0"})
            }
            "UpdateItem" => {
                let values = body["ExpressionAttributeValues"].as_object().unwrap().values();
                let text = |value: &Value| value["S"].as_str().map(str::to_owned);
                let texts: Vec<String> = values.filter_map(text).collect();
                let state =
                    texts.iter().find(|text| ["delivered", "retrying", "failed"].contains(&text.as_str()));
                let is_listed = texts.iter().any(|text| text.starts_with("deliveries/"));
                self.recorded.lock().unwrap().push((state.unwrap().clone(), is_listed));
                json!({})
            }
            other => panic!("{other} is not expected"),
        };
        ResponseTemplate::new(200).set_body_json(answer)
    }
}

struct Room {
    aws: Aws,
    shop: MockServer,
    clock: Clock,
    notifier: Notifier,
    _aws_server: MockServer,
}

impl Room {
    async fn new(aws: Aws, url: Option<&str>) -> Self {
        let (server, shop) = (MockServer::start().await, MockServer::start().await);
        Mock::given(any()).respond_with(aws.clone()).mount(&server).await;
        let hook = format!("{}/hook", shop.uri());
        let settings = [
            ("AWS_REGION", "eu-west-3"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
            ("AWS_ENDPOINT_URL", &server.uri()),
            ("ORDERS_TABLE", "orders"),
            ("EVENT_BUS", "bus"),
            ("CARD_KEY_ID", "key"),
            ("SECRET_ID", "secret"),
            ("WEBHOOK_URL", url.unwrap_or(&hook)),
            ("WEBHOOK_SECRET_ID", "webhooks"),
            ("WEBHOOK_QUEUE_URL", "http://queue/events"),
            ("WEBHOOK_DEAD_LETTERS_URL", "http://queue/letters"),
        ];
        let config = Config::read(settings.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
        let clock = Clock::fixed(Timestamp::from_second(START).unwrap());
        let notifier = Notifier::with_clock(&config, clock.clone()).await.unwrap();
        Self { aws, shop, clock, notifier, _aws_server: server }
    }

    async fn answers(&self, answer: ResponseTemplate) {
        self.shop.reset().await;
        Mock::given(any()).respond_with(answer).mount(&self.shop).await;
    }

    /// Hands one message out for the `attempt`th time; returns whether it stays in the queue.
    async fn hand_out(&self, body: &str, attempt: u32) -> bool {
        let record = json!({"messageId": "m1", "receiptHandle": "r1", "body": body,
            "attributes": {"ApproximateReceiveCount": attempt.to_string(), "AWSTraceHeader": TRACE}});
        let event = serde_json::from_value(json!({"Records": [record]})).unwrap();
        let response = handle(&self.notifier, event).await;
        let stays: Vec<_> =
            response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
        assert!(stays.is_empty() || stays == ["m1"], "{stays:?}");
        !stays.is_empty()
    }

    /// The queue with one message: hands it out until it leaves, or until `until`. The clock moves with the waits. Returns the
    /// seconds since the start at which it was handed out.
    async fn queue(&self, body: &str, until: Duration) -> Vec<i64> {
        let mut times = Vec::new();
        for attempt in 1.. {
            times.push(self.clock.now().as_second() - START);
            if !self.hand_out(body, attempt).await {
                break;
            }
            let wait = *self.aws.hidden.lock().unwrap().last().unwrap();
            self.clock.set(later(self.clock.now(), Duration::from_secs(wait)));
            if self.clock.now() >= later(Timestamp::from_second(START).unwrap(), until) {
                break;
            }
        }
        times
    }

    fn letters(&self) -> Vec<(String, String)> {
        self.aws.letters.lock().unwrap().clone()
    }

    fn states(&self) -> Vec<String> {
        self.aws.recorded.lock().unwrap().iter().map(|(state, _)| state.clone()).collect()
    }
}

/// The event as EventBridge puts it in the queue.
fn event() -> String {
    let sample: Value =
        serde_json::from_str(include_str!("../../../events/out/order-fulfilled.json")).unwrap();
    sample.to_string()
}

#[tokio::test]
async fn an_event_is_posted_as_it_is_on_the_bus_and_signed() {
    let room = Room::new(Aws::default(), None).await;
    room.answers(ResponseTemplate::new(204)).await;
    assert!(!room.hand_out(&event(), 1).await);
    let requests = room.shop.received_requests().await.unwrap();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((request.method.as_str(), request.url.path()), ("POST", "/hook"));
    assert_eq!(String::from_utf8(request.body.clone()).unwrap(), event());
    let header = |name: &str| request.headers[name].to_str().unwrap();
    assert_eq!(header("webhook-id"), "internet/6901616fe9e88196b4eb64b2#2");
    assert_eq!(header("traceparent"), "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
    assert_eq!(header("webhook-timestamp"), START.to_string());
    assert_eq!(header("content-type"), "application/json");
    // `verify` compares with the real time, so the signature is made again here.
    let signature = Webhook::new(SECRET).unwrap().sign(header("webhook-id"), START, &request.body).unwrap();
    assert_eq!(header("webhook-signature"), signature);
    assert_eq!(*room.aws.recorded.lock().unwrap(), [("delivered".to_owned(), false)]);
    assert!(room.letters().is_empty() && room.aws.hidden.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_sample_of_the_queue_is_delivered() {
    let room = Room::new(Aws::default(), None).await;
    room.answers(ResponseTemplate::new(200)).await;
    let sample = serde_json::from_str(include_str!("../../../events/notify-queue.json")).unwrap();
    assert!(handle(&room.notifier, sample).await.batch_item_failures.is_empty());
    let requests = room.shop.received_requests().await.unwrap();
    assert_eq!(requests[0].body_json::<Value>().unwrap(), serde_json::from_str::<Value>(&event()).unwrap());
}

#[tokio::test]
async fn a_second_secret_signs_too_a_minute_after_it_was_set() {
    let room = Room::new(Aws::default(), None).await;
    room.answers(ResponseTemplate::new(200)).await;
    *room.aws.previous.lock().unwrap() = Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for seconds in [0, 59, 60] {
        room.clock.set(Timestamp::from_second(START + seconds).unwrap());
        room.hand_out(&event(), 1).await;
    }
    let requests = room.shop.received_requests().await.unwrap();
    let signatures = requests
        .iter()
        .map(|request| request.headers["webhook-signature"].to_str().unwrap().split(' ').count());
    assert_eq!(signatures.collect::<Vec<_>>(), [1, 1, 2]);
}

#[tokio::test]
async fn an_event_that_is_sent_again_has_the_body_that_it_had() {
    let room = Room::new(Aws::default(), None).await;
    room.answers(ResponseTemplate::new(200)).await;
    let mut again: Value = serde_json::from_str(&event()).unwrap();
    again["source"] = json!("topup-tracker.resend");
    assert!(!room.hand_out(&again.to_string(), 1).await);
    let requests = room.shop.received_requests().await.unwrap();
    let sent: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(sent, serde_json::from_str::<Value>(&event()).unwrap());
    assert_eq!(requests[0].headers["webhook-id"], "internet/6901616fe9e88196b4eb64b2#2");
}

#[tokio::test]
async fn a_receiver_that_is_away_for_an_hour_gets_the_event_when_it_is_back() {
    let room = Room::new(Aws::default(), None).await;
    room.answers(ResponseTemplate::new(503)).await;
    let before = room.queue(&event(), Duration::from_secs(3600)).await;
    assert_eq!(before.len(), 4, "at 0 s, 5 s, 5 min and 35 min: {before:?}");
    assert_eq!(room.states(), ["retrying"; 4]);
    room.answers(ResponseTemplate::new(200)).await;
    assert!(!room.hand_out(&event(), 5).await);
    assert_eq!(room.states().last().unwrap(), "delivered");
    assert!(room.letters().is_empty());
}

#[tokio::test]
async fn a_receiver_that_never_takes_an_event_makes_it_a_dead_letter_after_eight_attempts() {
    for answer in [ResponseTemplate::new(500), ResponseTemplate::new(404), ResponseTemplate::new(302)] {
        let room = Room::new(Aws::default(), None).await;
        room.answers(answer.insert_header("location", "http://127.0.0.1:1/elsewhere")).await;
        let times = room.queue(&event(), Duration::from_secs(48 * 3600)).await;
        assert_eq!(times.len(), 8);
        let planned = [5, 300, 1800, 7200, 18_000, 36_000, 36_000];
        for (wait, planned) in room.aws.hidden.lock().unwrap().iter().zip(planned) {
            assert!((planned * 8 / 10..=planned * 12 / 10 + 1).contains(wait), "{wait} for {planned}");
            assert!(*wait <= 12 * 3600, "SQS hides a message for 12 hours at most: {wait}");
        }
        assert_eq!(room.letters(), [(event(), "exhausted".to_owned())]);
        assert_eq!(*room.aws.recorded.lock().unwrap().last().unwrap(), ("failed".to_owned(), true));
        let requests = room.shop.received_requests().await.unwrap();
        assert!(requests.iter().all(|request| request.url.path() == "/hook"), "no redirect is followed");
    }
}

#[tokio::test]
async fn a_receiver_chooses_a_longer_wait_or_the_end() {
    let room = Room::new(Aws::default(), None).await;
    room.answers(ResponseTemplate::new(429).insert_header("retry-after", "77")).await;
    assert!(room.hand_out(&event(), 1).await);
    assert_eq!(*room.aws.hidden.lock().unwrap(), [77]);
    room.answers(ResponseTemplate::new(410)).await;
    assert!(!room.hand_out(&event(), 2).await);
    assert_eq!(room.letters(), [(event(), "gone".to_owned())]);
    assert_eq!(room.states(), ["retrying", "failed"]);
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_tried_again() {
    let mut room = Room::new(Aws::default(), None).await;
    room.notifier.timeout = Duration::from_millis(50);
    room.answers(ResponseTemplate::new(200).set_delay(Duration::from_secs(3600))).await;
    assert!(room.hand_out(&event(), 1).await);
    assert_eq!(room.states(), ["retrying"]);
}

#[tokio::test]
async fn a_host_with_a_private_address_is_not_called() {
    // `localhost` is a name that is resolved to loopback, which only a local stack may call.
    let room = Room::new(Aws::default(), Some("https://localhost:1/hook")).await;
    let public = shared::http::Http::to_public(&[], shared::http::Allowed::Public).unwrap();
    let notifier = Notifier { http: public, ..room.notifier.clone() };
    let sent = http::Request::post(notifier.url.as_str()).body(hyper::body::Bytes::new()).unwrap();
    let refused = notifier.http.post(sent, Duration::from_secs(5), 200).await.unwrap_err();
    assert!(refused.to_string().ends_with("is not a public address"), "{refused}");
}

#[tokio::test]
async fn a_message_that_is_no_event_becomes_a_dead_letter() {
    let room = Room::new(Aws::default(), None).await;
    room.answers(ResponseTemplate::new(200)).await;
    let foreign = json!({"source": "elsewhere", "detail-type": "Order Fulfilled", "detail": {"event_id": "mobile/1#1"}}).to_string();
    for body in ["", "no JSON", "{}", &foreign] {
        assert!(!room.hand_out(body, 1).await, "{body}");
    }
    let reasons: Vec<_> = room.letters().into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["unreadable"; 4]);
    assert!(room.shop.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_lost_while_the_table_and_the_queue_fail() {
    let room = Room::new(Aws { down: true, ..Aws::default() }, None).await;
    room.answers(ResponseTemplate::new(500)).await;
    // The queue hands the message out again after its own timeout.
    assert!(room.hand_out(&event(), 1).await);
    // It cannot become a dead letter, so it stays.
    assert!(room.hand_out(&event(), 8).await);
    // A delivered event leaves the queue, although the attempt cannot be recorded.
    room.answers(ResponseTemplate::new(200)).await;
    assert!(!room.hand_out(&event(), 9).await);
}

#[tokio::test]
async fn a_message_that_is_no_event_does_not_keep_the_others_of_its_batch() {
    let room = Room::new(Aws::default(), None).await;
    room.answers(ResponseTemplate::new(200)).await;
    let record = |id: &str, body: &str| json!({"messageId": id, "receiptHandle": id, "body": body, "attributes": {"ApproximateReceiveCount": "1"}});
    let event = json!({"Records": [record("a", &event()), record("b", "no JSON"), record("c", &event())]});
    let response = handle(&room.notifier, serde_json::from_value(event).unwrap()).await;
    assert!(response.batch_item_failures.is_empty());
    assert_eq!((room.states(), room.letters().len()), (vec!["delivered".to_owned(); 2], 1));
}

#[tokio::test]
async fn the_function_does_not_start_without_what_it_needs() {
    let settings = [
        ("AWS_REGION", "eu-west-3"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("ORDERS_TABLE", "orders"),
        ("EVENT_BUS", "bus"),
        ("CARD_KEY_ID", "key"),
        ("SECRET_ID", "secret"),
    ];
    let config = Config::read(settings.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    let error = Notifier::start(&config).await.unwrap_err().to_string();
    for name in ["WEBHOOK_URL", "WEBHOOK_SECRET_ID", "WEBHOOK_QUEUE_URL", "WEBHOOK_DEAD_LETTERS_URL"] {
        assert!(error.contains(&format!("{name} is missing")), "{error}");
    }
}
