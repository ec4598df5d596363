//! Runs the program against a stand-in of the API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{fs, path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdout, Command},
    time::timeout,
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_json, header, method, path, query_param},
};

const TOKEN: &str = "token-of-a-test";
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const ID: &str = "6901616fe9e88196b4eb64b0";
const NOT_TRACKED: &str = "mobile/690 is not tracked; PUT it first";

/// The detail of a sample in `events/out/`.
fn sample(name: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/out");
    let event: Value = serde_json::from_slice(&fs::read(root.join(name)).unwrap()).unwrap();
    event["detail"].clone()
}

/// The program with a token and the address of `api`, and no other setting.
fn tracker(api: &MockServer, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.env_clear().env("TRACKER_URL", format!("{}/$default", api.uri())).env("TRACKER_TOKEN", TOKEN);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs to the end; returns the exit code, standard output and standard error.
async fn run(mut command: Command) -> (i32, String, String) {
    let output = timeout(Duration::from_secs(60), command.output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    timeout(Duration::from_secs(60), lines.next_line()).await.expect("a line").unwrap().expect("a line")
}

/// Answers a call of the API that has the token.
async fn answer(api: &MockServer, verb: &str, at: &str, query: &[(&str, &str)], answer: ResponseTemplate) {
    let bearer = format!("Bearer {TOKEN}");
    let mut mock =
        Mock::given(method(verb)).and(path(format!("/$default{at}"))).and(header("authorization", &*bearer));
    for (name, value) in query {
        mock = mock.and(query_param(*name, *value));
    }
    mock.respond_with(answer).mount(api).await;
}

fn ok(body: impl Into<Value>) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body.into())
}

fn problem(status: u16, detail: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"title": "x", "status": status, "detail": detail}))
}

#[tokio::test]
async fn orders_are_tracked_found_and_shown() {
    let api = MockServer::start().await;
    let order = sample("order-fulfilled.json")["order"].clone();
    let at = format!("/orders/mobile/{ID}");
    let with_ref = |verb| Mock::given(method(verb)).and(body_json(json!({"ref": "order-12345"})));
    with_ref("PUT").and(path(format!("/$default{at}"))).respond_with(ok(order.clone())).mount(&api).await;
    with_ref("POST")
        .and(path("/$default/orders/mobile/lookup"))
        .respond_with(ok(order.clone()))
        .mount(&api)
        .await;
    answer(&api, "GET", &at, &[], ok(order.clone())).await;
    let card = json!({"card_code": "123456789012", "num_trans": null, "date_traitement": null});
    answer(&api, "GET", &format!("{at}/card"), &[], ok(card)).await;
    for words in [
        &["track", "mobile", ID, "--ref", "order-12345"][..],
        &["lookup", "mobile", "--ref", "order-12345"],
        &["show", "mobile", ID],
    ] {
        let (code, out, err) = run(tracker(&api, words)).await;
        assert_eq!((code, &*err), (0, ""), "{words:?}");
        assert!(out.contains("\nstatus           FULFILLED\n") && !out.contains('\u{1b}'), "{out}");
    }
    let (_, out, _) = run(tracker(&api, &["show", "mobile", ID, "--json"])).await;
    assert_eq!((serde_json::from_str::<Value>(&out).unwrap(), out.lines().count()), (order, 1));
    let (_, out, _) = run(tracker(&api, &["card", "mobile", ID])).await;
    assert_eq!(out, "card_code  123456789012\n");
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let api = MockServer::start().await;
    let at = format!("/orders/mobile/{ID}/history");
    let (first, second) = (sample("order-tracked.json"), sample("order-refunded.json"));
    answer(&api, "GET", &at, &[("after", "1")], ok(json!({"events": [second], "next": null}))).await;
    answer(&api, "GET", &at, &[], ok(json!({"events": [first], "next": 1}))).await;
    let (code, out, _) = run(tracker(&api, &["history", "mobile", ID])).await;
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((code, lines.len()), (0, 3), "{out}");
    assert!(lines[0].starts_with("TIME") && lines[1].contains("Order Tracked"));
    assert_eq!(lines[0].find("STATUS"), lines[2].find("REFUNDED"));
    let (_, out, _) = run(tracker(&api, &["history", "mobile", ID, "--json"])).await;
    assert_eq!(serde_json::from_str::<Value>(out.lines().last().unwrap()).unwrap(), second);

    let attempt = |status: Option<u16>, error: Option<&str>| json!({"at": "2025-10-29T00:36:00Z", "status": status, "milliseconds": 3, "error": error, "answer": null});
    let delivery = |state: &str, attempts: &[Value]| json!({"event_id": "mobile/690#2", "detail_type": "Order Refunded", "state": state, "attempt_count": 8, "next_attempt_at": null, "attempts": attempts});
    let failed = delivery("failed", &[attempt(Some(500), None), attempt(None, Some("no answer in time"))]);
    let (page, last) =
        (json!({"deliveries": [failed], "next": "c/1"}), json!({"deliveries": [], "next": null}));
    answer(&api, "GET", "/deliveries", &[("state", "failed"), ("cursor", "c/1")], ok(last)).await;
    answer(&api, "GET", "/deliveries", &[("state", "failed")], ok(page)).await;
    let (code, out, _) = run(tracker(&api, &["deliveries", "--failed"])).await;
    assert_eq!((code, out.lines().count()), (0, 2));
    assert!(out.ends_with("no answer in time\n"), "{out}");
    let one = json!({"deliveries": [delivery("delivered", &[attempt(Some(204), None)])], "next": null});
    answer(&api, "GET", "/orders/mobile/690/deliveries", &[], ok(one)).await;
    let (_, out, _) = run(tracker(&api, &["deliveries", "mobile", "690"])).await;
    assert!(out.ends_with("204\n"), "{out}");
}

#[tokio::test]
async fn orders_are_listed_and_reviewed() {
    let api = MockServer::start().await;
    let order = sample("order-needs-review.json")["order"].clone();
    let (first, last) =
        (json!({"orders": [order, order], "next": "p/1"}), json!({"orders": [order], "next": null}));
    answer(&api, "GET", "/orders", &[("review", "open"), ("cursor", "p/1")], ok(last)).await;
    answer(&api, "GET", "/orders", &[("review", "open")], ok(first)).await;
    let (code, out, _) = run(tracker(&api, &["orders", "--review"])).await;
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((code, lines.len()), (0, 4), "{out}");
    assert_eq!(lines[0].find("REVIEW"), lines[3].find("unrecognised_status"), "{out}");
    let parked = [("parked_as", "uncertain"), ("older_than", "24h"), ("product", "mobile")];
    answer(&api, "GET", "/orders", &parked, ok(json!({"orders": [], "next": null}))).await;
    let words =
        ["orders", "--parked-as", "uncertain", "--older-than", "24h", "--product", "mobile", "--json"];
    assert_eq!(run(tracker(&api, &words)).await, (0, String::new(), String::new()));

    let closes = json!({"actor": "Amina", "reason": "delivered: the customer says so", "action": "close"});
    let at = format!("/$default/orders/mobile/{ID}/review");
    let closed = Mock::given(method("POST")).and(path(at.as_str())).and(body_json(closes));
    closed.respond_with(ok(sample("order-fulfilled.json")["order"].clone())).mount(&api).await;
    let review = ["review", "mobile", ID, "--actor", "Amina", "--reason"];
    let close = [&review[..], &["delivered: the customer says so", "--close"]].concat();
    let (code, out, err) = run(tracker(&api, &close)).await;
    assert_eq!((code, &*err), (0, ""), "{out}");
    let conflict = problem(409, "the order has changed; read its history and decide again");
    Mock::given(method("POST")).and(path(at.as_str())).respond_with(conflict).mount(&api).await;
    let (code, _, err) = run(tracker(&api, &[&review[..], &["settled", "--recheck"]].concat())).await;
    assert_eq!(code, 1);
    assert_eq!(err, "error: the order has changed; read its history and decide again (HTTP 409)\n");
}

#[tokio::test]
async fn a_window_is_resynced() {
    let api = MockServer::start().await;
    let id = "mobile-1793491200000-1793577600000";
    let (from, to) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    let job = json!({"id": id, "state": "running", "position": from, "checked": 0, "changed": 0, "unregistered": 3, "why": null});
    Mock::given(method("POST"))
        .and(path("/$default/resync"))
        .and(body_json(json!({"product": "mobile", "from": from, "to": to, "track": true})))
        .respond_with(ResponseTemplate::new(202).set_body_json(job.clone()))
        .mount(&api)
        .await;
    answer(&api, "GET", &format!("/resync/{id}"), &[], ok(job.clone())).await;
    answer(&api, "POST", &format!("/resync/{id}/stop"), &[], ok(job.clone())).await;
    answer(&api, "GET", "/resync", &[], ok(json!({"resyncs": [job], "next": null}))).await;
    let order = |id: &str| json!({"product": "mobile", "id": id, "status": "FULFILLED", "topup_amount": 500, "created_at": null});
    let at = format!("/resync/{id}/unregistered");
    answer(&api, "GET", &at, &[("cursor", "a1")], ok(json!({"orders": [order("b2")], "next": null}))).await;
    answer(&api, "GET", &at, &[], ok(json!({"orders": [order("a1")], "next": "a1"}))).await;
    for words in [
        &["resync", "start", "mobile", "--from", from, "--to", to, "--track"][..],
        &["resync", "show", id],
        &["resync", "stop", id],
        &["resync", "list"],
    ] {
        let (code, out, err) = run(tracker(&api, words)).await;
        assert_eq!((code, &*err), (0, ""), "{words:?}");
        assert!(out.contains(id) && out.contains("running"), "{out}");
    }
    let (code, out, _) = run(tracker(&api, &["resync", "unregistered", id])).await;
    assert_eq!((code, out.lines().count()), (0, 3), "{out}");
    assert!(out.contains("a1") && out.contains("b2"), "{out}");
}

#[tokio::test]
async fn a_webhook_is_sent_again() {
    let api = MockServer::start().await;
    let resent = ResponseTemplate::new(202).set_body_json(json!({"event_id": "mobile/690#2"}));
    answer(&api, "POST", "/deliveries/mobile%2F690%232/resend", &[], resent).await;
    let (code, out, err) = run(tracker(&api, &["resend", "mobile/690#2"])).await;
    assert_eq!((code, &*out, &*err), (0, "event_id  mobile/690#2\n", ""));
}

#[tokio::test]
async fn failures_say_what_is_wrong() {
    let api = MockServer::start().await;
    answer(&api, "GET", "/orders/mobile/690", &[], problem(404, NOT_TRACKED)).await;
    answer(&api, "GET", "/orders/mobile/691", &[], problem(403, "this token lacks the scope orders")).await;
    let pause = problem(503, "no call to the vendor is permitted now").insert_header("retry-after", "7");
    answer(&api, "GET", "/orders/mobile/692", &[], pause).await;
    let gateway = ResponseTemplate::new(429).set_body_json(json!({"message": "Too Many Requests"}));
    answer(&api, "GET", "/orders/mobile/693", &[], gateway).await;
    answer(&api, "GET", "/orders/mobile/694", &[], ResponseTemplate::new(502).set_body_string("<html>"))
        .await;
    answer(&api, "GET", "/orders/mobile/695", &[], ResponseTemplate::new(200).set_body_string("<html>"))
        .await;
    for (id, said) in [
        ("690", "mobile/690 is not tracked; PUT it first (HTTP 404)"),
        ("691", "this token lacks the scope orders; the token is that of TRACKER_TOKEN (HTTP 403)"),
        ("692", "no call to the vendor is permitted now (HTTP 503; try again in 7 s)"),
        ("693", "Too Many Requests (HTTP 429)"),
        ("694", "Bad Gateway (HTTP 502)"),
        ("695", "the API's answer cannot be read: expected value at line 1 column 1"),
    ] {
        let (code, out, err) = run(tracker(&api, &["show", "mobile", id])).await;
        assert_eq!((code, &*out, err), (1, "", format!("error: {said}\n")));
    }
    let nobody = MockServer::builder().start().await.uri();
    let (code, _, err) = run(tracker(&api, &["show", "mobile", "690", "--url", &nobody])).await;
    assert!(code == 1 && err.starts_with(&format!("error: no answer from {nobody}/: ")), "{code} {err}");
}

#[tokio::test]
async fn missing_settings_are_named() {
    let api = MockServer::start().await;
    let show = ["show", "mobile", "690"];
    for (unset, set, named) in [
        ("TRACKER_URL", ("OTHER", ""), "set TRACKER_URL"),
        ("TRACKER_TOKEN", ("TRACKER_TOKEN", ""), "set TRACKER_TOKEN"),
        ("TRACKER_URL", ("API_URL", "tracker"), "API_URL is wrong"),
        ("TRACKER_URL", ("TRACKER_URL", "http://example.org"), "must begin with https://"),
        ("TRACKER_TOKEN", ("API_TOKEN", "two\nlines"), "API_TOKEN has characters"),
    ] {
        let mut command = tracker(&api, &show);
        command.env_remove(unset).env(set.0, set.1);
        let (code, _, err) = run(command).await;
        assert!(code == 2 && err.contains(named) && !err.contains("lines"), "{named}: {code} {err}");
    }
    let mut command = tracker(&api, &["completions", "fish"]);
    let (code, out, _) = run(std::mem::replace(command.env_clear(), Command::new("true"))).await;
    assert!(code == 0 && out.contains("listen"), "{out}");
    assert!(api.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_feed_goes_on_from_the_kept_cursor() {
    let api = MockServer::start().await;
    let file = std::env::temp_dir().join(format!("tracker-cursor-{}", std::process::id()));
    let words = [
        "events",
        "--json",
        "--types",
        "Order Tracked,Order Refunded",
        "--cursor-file",
        file.to_str().unwrap(),
    ];
    let (first, second) = (sample("order-tracked.json"), sample("order-refunded.json"));
    let types = ("types", "Order Tracked,Order Refunded");
    answer(&api, "GET", "/events", &[("after", "a#2"), types], ok(json!({"events": [], "next": "a#2"})))
        .await;
    answer(
        &api,
        "GET",
        "/events",
        &[("after", "a#1"), types],
        ok(json!({"events": [second], "next": "a#2"})),
    )
    .await;
    answer(&api, "GET", "/events", &[types], ok(json!({"events": [first], "next": "a#1"}))).await;
    let (code, out, err) = run(tracker(&api, &words)).await;
    assert_eq!((code, out.lines().count(), &*err), (0, 2, ""));
    assert_eq!(fs::read_to_string(&file).unwrap(), "a#2\n");
    let (code, out, _) = run(tracker(&api, &words)).await;
    assert_eq!((code, &*out), (0, ""));
    fs::remove_file(&file).unwrap();
    for sent in api.received_requests().await.unwrap() {
        assert!(
            sent.url.query().unwrap().contains("types=Order%20Tracked%2COrder%20Refunded"),
            "{}",
            sent.url
        );
    }
}

#[tokio::test]
async fn following_outlasts_a_failure() {
    let api = MockServer::start().await;
    let down = problem(503, "the tracker's store is not available").insert_header("retry-after", "0");
    let waits = |after| [("after", after), ("wait", "15")];
    Mock::given(query_param("after", "c1")).respond_with(down).up_to_n_times(2).mount(&api).await;
    answer(&api, "GET", "/events", &waits("latest"), ok(json!({"events": [], "next": "c1"}))).await;
    let page = json!({"events": [sample("order-needs-review.json")], "next": "c2"});
    answer(&api, "GET", "/events", &waits("c1"), ok(page)).await;
    answer(&api, "GET", "/events", &waits("c2"), problem(401, "missing or unknown token")).await;
    let (code, out, err) = run(tracker(&api, &["events", "--follow", "--after", "latest"])).await;
    assert_eq!((code, out.lines().count()), (1, 2), "{out}");
    assert_eq!(err.matches("trying again").count(), 2);
    assert!(
        err.ends_with("error: missing or unknown token; the token is that of TRACKER_TOKEN (HTTP 401)\n"),
        "{err}"
    );
}

#[tokio::test]
async fn the_last_events_come_first_on_demand() {
    let api = MockServer::start().await;
    let names = ["order-tracked.json", "order-refunded.json", "order-fulfilled.json"];
    let [first, second, third] = names.map(sample);
    let page = |events: &[&Value], next: &str| ok(json!({"events": events, "next": next}));
    answer(&api, "GET", "/events", &[("after", "c2"), ("wait", "15")], problem(401, "unknown token")).await;
    answer(&api, "GET", "/events", &[("after", "c2")], page(&[], "c2")).await;
    answer(&api, "GET", "/events", &[("after", "c1")], page(&[&third], "c2")).await;
    answer(&api, "GET", "/events", &[], page(&[&first, &second], "c1")).await;
    let words = ["events", "--json", "--last", "2"];
    let (code, out, err) = run(tracker(&api, &words)).await;
    let printed: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, printed), (0, vec![second, third]));
    assert_eq!(err, "to go on from here: --after 'c2'\n");
    // With --follow it goes on from there.
    let (code, out, _) = run(tracker(&api, &[&words[..], &["--follow"]].concat())).await;
    assert_eq!((code, out.lines().count()), (1, 2), "{out}");
    let (code, _, err) = run(tracker(&api, &[&words[..], &["--after", "c1"]].concat())).await;
    assert!(code == 2 && err.contains("--last") && err.contains("--after"), "{err}");
}

/// The request is a webhook: signed, and the event as on the bus.
fn assert_webhook(request: &Request, secret: &str, detail: &Value) {
    Webhook::new(secret).unwrap().verify(&request.body, &request.headers).unwrap();
    assert_eq!(request.headers["webhook-id"], detail["event_id"].as_str().unwrap());
    assert_eq!(request.headers["content-type"], "application/json");
    assert!(!request.headers.contains_key("authorization"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let name = detail["detail_type"].as_str().unwrap().to_lowercase().replace(' ', "-");
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/schemas");
    let schema = serde_json::from_slice(&fs::read(schemas.join(format!("{name}.json"))).unwrap()).unwrap();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    validator.validate(&body).unwrap();
    assert_eq!(&body["detail"], detail);
    assert_eq!(
        (&body["account"], &body["region"], body["id"].as_str().unwrap().len()),
        (&json!("000000000000"), &json!("local"), 36)
    );
}

#[tokio::test]
async fn events_are_forwarded_as_signed_webhooks() {
    let (api, shop) = (MockServer::start().await, MockServer::start().await);
    let hook = format!("{}/hook", shop.uri());
    let events =
        [sample("order-tracked.json"), sample("order-refunded.json"), sample("vendor-suspended.json")];
    answer(&api, "GET", "/events", &[("after", "latest")], ok(json!({"events": [], "next": "c1"}))).await;
    answer(&api, "GET", "/events", &[("after", "c1")], ok(json!({"events": events, "next": "c2"}))).await;
    answer(&api, "GET", "/events", &[("after", "c2")], ok(json!({"events": [], "next": "c2"}))).await;
    let hit = || Mock::given(method("POST")).and(path("/hook"));
    hit().respond_with(ResponseTemplate::new(500)).up_to_n_times(1).mount(&shop).await;
    hit().respond_with(ResponseTemplate::new(204)).mount(&shop).await;

    let mut child = tracker(&api, &["listen", "--forward", &hook])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    let shown = err.next_line().await.unwrap().unwrap();
    let (_, secret) = shown.split_once("WEBHOOK_SECRET=").expect("the secret is shown");
    assert!(next(&mut out).await.starts_with("TYPE"));
    let failed = next(&mut out).await;
    assert!(failed.ends_with(" 500") && failed.contains("mobile/"), "{failed}");
    for _ in 0..2 {
        assert!(next(&mut out).await.ends_with(" 204"));
    }
    child.kill().await.unwrap();
    let received = shop.received_requests().await.unwrap();
    assert_eq!(received.len(), 3);
    received.iter().zip(&events).for_each(|(request, detail)| assert_webhook(request, secret, detail));
}

#[tokio::test]
async fn events_are_forwarded_again() {
    let (api, shop) = (MockServer::start().await, MockServer::start().await);
    let hook = format!("{}/hook", shop.uri());
    let (tracked, refunded, suspended) =
        (sample("order-tracked.json"), sample("order-refunded.json"), sample("vendor-suspended.json"));
    let (id, vendor) = (refunded["event_id"].as_str().unwrap(), suspended["event_id"].as_str().unwrap());
    let (order, seq) = id.split_once('#').unwrap();
    let before = (seq.parse::<u32>().unwrap() - 1).to_string();
    let page = ok(json!({"events": [refunded], "next": null}));
    answer(&api, "GET", &format!("/orders/{order}/history"), &[("after", &before), ("limit", "1")], page)
        .await;
    answer(&api, "GET", "/events", &[("after", "c1")], ok(json!({"events": [], "next": "c1"}))).await;
    let all = json!({"events": [tracked, refunded, suspended], "next": "c1"});
    answer(&api, "GET", "/events", &[], ok(all)).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(307)).up_to_n_times(1).mount(&shop).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&shop).await;
    let listen = |words: &[&str]| {
        let mut command = tracker(&api, &[&["listen", "--json", "--forward", &hook], words].concat());
        command.env("WEBHOOK_SECRET", SECRET);
        command
    };

    let (code, out, err) = run(listen(&["--resend", id])).await;
    assert_eq!((code, err), (1, format!("error: {id} was not accepted\n")));
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&line["event_id"], &line["status"]), (&json!(id), &json!(307)));
    for event in [id, vendor] {
        let (code, _, err) = run(listen(&["--resend", event])).await;
        assert_eq!((code, &*err), (0, ""));
    }
    let (code, _, err) = run(listen(&["--resend", "vendor/0#9"])).await;
    assert_eq!((code, &*err), (1, "error: there is no event vendor/0#9\n"));

    let mut child = listen(&["--last", "2"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(next(&mut out).await.contains(id) && next(&mut out).await.contains(vendor));
    child.kill().await.unwrap();
    let received = shop.received_requests().await.unwrap();
    let sent = [&refunded, &refunded, &suspended, &refunded, &suspended];
    assert_eq!(received.len(), sent.len());
    received.iter().zip(sent).for_each(|(request, detail)| assert_webhook(request, SECRET, detail));
}
