//! The tracking page over HTTP: from the link in an answer of the API to the page of the outcome.

use std::time::Duration;

use e2e::{Stack, loopback, wait_until};
use serde_json::Value;

/// A page: status, headers that matter, body.
async fn get(url: &str) -> (u16, Vec<Option<String>>, String) {
    let answer = loopback::client().get(url).header("accept-language", "en").send().await.unwrap();
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let headers =
        ["content-type", "cache-control", "content-security-policy", "content-language", "x-robots-tag"];
    let found = (answer.status().as_u16(), headers.map(header).to_vec());
    (found.0, found.1, answer.text().await.unwrap())
}

fn link(order: &Value) -> String {
    order["tracking_url"].as_str().unwrap_or_else(|| panic!("no link: {order}")).to_owned()
}

#[tokio::test]
async fn the_link_in_an_answer_opens_the_page_until_the_outcome() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0770000001").await;
    let order = stack.order("mobile", &id);
    let put = order.track().await;
    let url = link(&put);
    assert!(url.starts_with(&format!("{}/t/", stack.env("API_URL"))), "{url}");
    assert_eq!(link(&order.get().await), url, "the same day");
    let (status, headers, html) = get(&url).await;
    assert_eq!((status, headers[1].as_deref(), headers[3].as_deref()), (200, Some("no-store"), Some("en")));
    assert!(html.contains("http-equiv=\"refresh\"") && html.len() < 30_000);
    assert!(!html.contains("0770000001") && html.contains("</html>"));
    let html = wait_until("the page of the outcome", Duration::from_secs(60), || async {
        let (_, _, html) = get(&url).await;
        html.contains("<h1>Your top-up is delivered</h1>").then_some(html)
    })
    .await;
    assert!(!html.contains("<script>") && !html.contains("http-equiv=\"refresh\""));
    let (_, _, arabic) = get(&format!("{url}?lang=ar")).await;
    assert!(arabic.contains("<html lang=\"ar\" dir=\"rtl\">"));
}

#[tokio::test]
async fn what_opens_nothing_gets_one_page() {
    let stack = Stack::express();
    let id = stack.sandbox.send_mobile("0770000001").await;
    let url = link(&stack.order("mobile", &id).track().await);
    let base = format!("{}/t/", stack.env("API_URL"));
    let expected = get(&format!("{base}nothing")).await;
    assert_eq!(expected.0, 404);
    let last = if url.ends_with('A') { "B" } else { "A" };
    let changed = format!("{}{last}", &url[..url.len() - 1]);
    let card = format!("{changed}/card");
    for url in [changed, card, format!("{base}a.b"), format!("{base}a/b/c")] {
        assert_eq!(get(&url).await, expected, "{url}");
    }
}
