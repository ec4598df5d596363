//! The helpers that create and delete resources are idempotent.

use e2e::{IsolatedTable, Stack};

/// The SDK repeats a request whose answer is late; the local AWS may have executed it.
#[tokio::test]
async fn creating_and_deleting_is_idempotent() {
    let stack = Stack::fast();
    let place = IsolatedTable::create(&stack, "twice").await;
    place.create_again(&stack).await;
    stack.create_secret(place.table(), "once").await;
    stack.create_secret(place.table(), "once more").await;
    for _ in 0..2 {
        stack.delete_secret(place.table()).await;
        place.delete(&stack).await;
    }
}
