//! The README's commands, run as they stand there.

use std::{path::Path, time::Duration};

use e2e::{Stack, wait_until};

/// Runs lines of shell with the variables of a stack's `stack.env`; returns what they print.
async fn shell(stack: &Stack, lines: &str) -> String {
    let mut command = tokio::process::Command::new("sh");
    // With --fail, an error status of any call ends the commands.
    command.args(["-euc", &format!("curl() {{ command curl --fail \"$@\"; }}\n{lines}")]);
    for name in ["ONECLICKDZ_BASE_URL", "ONECLICKDZ_API_KEY", "API_URL", "API_TOKEN"] {
        command.env(name, stack.env(name));
    }
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_commands_of_the_readme_track_an_order_to_its_outcome() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, block) =
        readme.split_once("```sh\nmake up && . .local/stack.env\n").expect("the block begins so");
    let (block, _) = block.split_once("make down\n```").expect("and ends so");
    let (before, after) = block.split_once("sleep 20; ").expect("and waits once");

    let stack = Stack::express();
    let printed = shell(&stack, &format!("{before}\nprintf '\\nid: %s' \"$ID\"")).await;
    let (answers, id) = printed.rsplit_once("\nid: ").unwrap();
    assert_eq!(answers.matches(r#""phase":"in_flight""#).count(), 2, "PUT and GET: {answers}");
    let order = stack.order("mobile", id);
    wait_until("the outcome", Duration::from_secs(60), || async {
        (order.get().await["phase"] == "final").then_some(())
    })
    .await;
    let printed = shell(&stack, &format!("ID={id}\n{after}")).await;
    assert!(printed.starts_with('{') && printed.contains(r#""phase":"final""#), "{printed}");
    let (_, history) = printed.split_once(r#"{"events":"#).expect("GET prints the order, then the history");
    for event in ["Order Tracked", "Order Fulfilled"] {
        assert!(history.contains(event), "{event} is missing: {history}");
    }
}
