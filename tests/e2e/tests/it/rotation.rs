//! Rotation of the secret without a deployment.

use std::time::Duration;

use e2e::{IsolatedTable, Stack, wait_until};
use serde_json::json;
use shared::{
    clock::Clock,
    order::{OrderKey, Product, TrackedBy, Trigger},
    refresh::Check,
    secret::{ApiTokens, SecretSource, TokensUnknown, Vault},
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, header},
};

#[tokio::test]
async fn a_refused_key_triggers_one_secret_read_a_minute() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let name = format!("rotation-{}", start.as_microsecond());
    let (old, new) = (format!("{name}-old"), format!("{name}-new"));
    let secret = |key: &str| json!({"oneclickdz_api_key": key}).to_string();
    stack.create_secret(&name, &secret(&old)).await;

    let vendor = MockServer::start().await;
    let shown = json!({"success": true, "data": {"_id": name, "status": "HANDLING"}});
    let refused = json!({"success": false, "error": {"code": "INVALID_ACCESS_TOKEN", "message": "no"}});
    Mock::given(header("X-Access-Token", new.as_str()))
        .respond_with(ResponseTemplate::new(200).set_body_json(shown))
        .with_priority(1)
        .mount(&vendor)
        .await;
    Mock::given(any()).respond_with(ResponseTemplate::new(401).set_body_json(refused)).mount(&vendor).await;

    let place = IsolatedTable::create(&stack, "rotation-table").await;
    let clock = Clock::fixed(start);
    let settings = [("ONECLICKDZ_BASE_URL", vendor.uri()), ("SECRET_ID", name.clone())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let tracker = place.tracker_with(&stack, clock.clone(), &settings).await;
    let order = OrderKey { product: Product::Mobile, id: name.parse().unwrap() };
    tracker.track(&order, None, TrackedBy::Poller).await.unwrap();
    let check_after = async |seconds: u64| {
        clock.set(start.checked_add(Duration::from_secs(seconds)).unwrap());
        tracker.refresh(&order, Trigger::Status).await.unwrap().unwrap().check
    };

    stack.put_secret(&name, &secret(&new)).await;
    assert!(
        matches!(check_after(10).await, Check::Failed(_)),
        "refused; the secret was read less than a minute ago"
    );
    assert!(matches!(check_after(20).await, Check::Failed(_)), "old key");
    assert!(matches!(check_after(70).await, Check::Failed(_)), "refused; then the secret is read again");
    assert!(matches!(check_after(80).await, Check::Answered));
    place.delete(&stack).await;
    stack.delete_secret(&name).await;
}

#[tokio::test]
async fn a_new_token_is_accepted_without_a_deployment() {
    let stack = Stack::standard();
    let manager = stack.secrets_manager();
    let known = manager.get_secret_value().secret_id(stack.env("TOKENS_SECRET_ID")).send().await.unwrap();
    let mut secret: serde_json::Value = serde_json::from_str(known.secret_string().unwrap()).unwrap();
    let token = format!("new-token-{}", Clock::System.now().as_microsecond());
    secret["api_tokens"].as_array_mut().unwrap().push(json!({"token": token, "scopes": ["orders"]}));
    let put = manager.put_secret_value().secret_id(stack.env("TOKENS_SECRET_ID"));
    put.secret_string(secret.to_string()).send().await.unwrap();
    wait_until("the new token to be accepted", Duration::from_secs(100), || async {
        let (status, _, _) =
            stack.request_as(Some(&token), "GET", "/orders/mobile/never-tracked", None).await;
        (status == 404).then_some(())
    })
    .await;
    // The old token is still valid.
    assert_eq!(stack.request("GET", "/orders/mobile/never-tracked", None).await.0, 404);
}

#[tokio::test]
async fn a_removed_token_is_rejected_after_four_minutes() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let name = format!("taken-out-{}", start.as_microsecond());
    let token = "a-token-that-leaked-0123456789";
    let secret = |tokens: serde_json::Value| json!({"api_tokens": tokens}).to_string();
    let manager = stack.secrets_manager();
    let known = secret(json!([{"token": token, "scopes": ["cards"]}]));
    stack.create_secret(&name, &known).await;
    let source: SecretSource<ApiTokens> = SecretSource::Manager { id: name.clone() };
    let vault = Vault::open(source, manager.clone(), start).await.unwrap();
    stack.put_secret(&name, &secret(json!([]))).await;
    let is_known = async |seconds: u64| {
        let now = start.checked_add(Duration::from_secs(seconds)).unwrap();
        vault.tokens(now).await.unwrap().scopes_of(token).is_some()
    };
    assert!(is_known(239).await, "the secret is cached");
    assert!(!is_known(240).await);
    stack.delete_secret(&name).await;
}

#[tokio::test]
async fn tokens_expire_when_the_secret_is_unreadable_for_five_minutes() {
    let stack = Stack::fast();
    let start = Clock::System.now();
    let name = format!("away-{}", start.as_microsecond());
    let token = "a-token-for-a-while-0123456789";
    let secret = |tokens: serde_json::Value| json!({"api_tokens": tokens}).to_string();
    let known = json!([{"token": token, "scopes": ["orders"]}, {"token": "short", "scopes": []}, 7]);
    let manager = stack.secrets_manager();
    stack.create_secret(&name, &secret(known.clone())).await;
    let source: SecretSource<ApiTokens> = SecretSource::Manager { id: name.clone() };
    let vault = Vault::open(source, manager.clone(), start).await.unwrap();
    stack.delete_secret(&name).await;
    let is_known = async |seconds: u64| {
        let now = start.checked_add(Duration::from_secs(seconds)).unwrap();
        vault.tokens(now).await.map(|secrets| secrets.scopes_of(token).is_some())
    };
    for (seconds, expected) in [
        (239, Ok(true)),
        (240, Ok(true)),
        (299, Ok(true)),
        (300, Err(TokensUnknown)),
        (36_000, Err(TokensUnknown)),
    ] {
        assert_eq!(is_known(seconds).await, expected, "after {seconds} s");
    }
    // The secret is readable again, without the token.
    stack.create_secret(&name, &secret(json!([]))).await;
    assert_eq!(is_known(36_009).await, Err(TokensUnknown), "the failed read is cached");
    assert_eq!(is_known(36_010).await, Ok(false));
    stack.delete_secret(&name).await;
}
