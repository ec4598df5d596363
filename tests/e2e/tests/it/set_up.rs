//! The tests' own set-up: what it creates and deletes may be asked for twice.

use e2e::{IsolatedTable, Stack};

/// The client repeats a request whose answer comes late. The local AWS may have done it by then.
#[tokio::test]
async fn creating_and_deleting_twice_is_harmless() {
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
