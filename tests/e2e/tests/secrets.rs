//! No card code, key, token or secret of the webhooks is in anything that the other tests left behind: logs, DynamoDB items with their
//! history, webhooks, dead letters.
//! `tests/run.py` runs this test by name, after all others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use e2e::Stack;

#[tokio::test]
async fn no_card_code_key_or_token_is_left_behind() {
    for stack in [Stack::express(), Stack::fast(), Stack::standard()] {
        let mut secrets = stack.sandbox.card_codes().await;
        secrets.push(stack.env("ONECLICKDZ_API_KEY").to_owned());
        secrets.push(stack.env("API_TOKEN").to_owned());
        secrets.push(stack.env("WEBHOOK_SECRET").trim_start_matches("whsec_").to_owned());
        let mut searched = 0;
        for (place, text) in left_behind(&stack).await {
            searched += text.len();
            for secret in &secrets {
                assert!(
                    !text.contains(secret.as_str()),
                    "{place} contains a secret of {} characters",
                    secret.len()
                );
            }
        }
        assert!(searched > 10_000, "only {searched} bytes searched");
    }
    // This stack delivers cards: the search above was not vacuous.
    assert!(!Stack::express().sandbox.card_codes().await.is_empty());
}

async fn left_behind(stack: &Stack) -> Vec<(String, String)> {
    let mut found = files(Path::new(stack.env("LOG_DIR")));
    let dynamodb = stack.dynamodb();
    let mut items = dynamodb.scan().table_name(stack.env("ORDERS_TABLE")).into_paginator().items().send();
    while let Some(item) = items.next().await {
        let item = item.unwrap();
        found.push((format!("{:?} {:?}", item["pk"], item["sk"]), format!("{item:?}")));
    }
    let webhooks = stack.sandbox.every_webhook().await;
    assert!(!webhooks.is_empty(), "no webhook was searched");
    found.extend(webhooks.into_iter().map(|webhook| ("a webhook".to_owned(), webhook.to_string())));
    for queue in ["POLLER_DEAD_LETTERS", "RULE_DEAD_LETTERS", "RECHECK_FAILURES", "WEBHOOK_DEAD_LETTERS"] {
        found.extend(
            stack.all_messages(queue).await.into_iter().map(|letter| (queue.to_owned(), letter.to_string())),
        );
    }
    found
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| {
        (path.display().to_string(), String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned())
    };
    entries.filter(|path| path.is_file()).map(text).collect()
}
