//! Reads many items with `BatchGetItem`.

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::{Item, Store, StoreError, commit::unbuilt};

/// `BatchGetItem` takes at most 100 keys (DynamoDB).
const MAX_KEYS: usize = 100;
/// Requests for keys that DynamoDB left unprocessed.
const MAX_TRIES: usize = 4;

/// The items of some keys.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Those that exist, in any order.
    pub(super) found: Vec<Item>,
    /// Whether DynamoDB left keys unprocessed in every try, so that items may be missing in `found`.
    pub(super) is_partial: bool,
}

impl Store {
    /// Reads the items of `keys`, each named once, with eventually consistent reads.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub(super) async fn batch_get(&self, keys: Vec<Item>, what: &'static str) -> Result<Batch, StoreError> {
        let mut batch = Batch::default();
        for some in keys.chunks(MAX_KEYS) {
            let mut wanted = some.to_vec();
            for _ in 0..MAX_TRIES {
                if wanted.is_empty() {
                    break;
                }
                let asked = KeysAndAttributes::builder().set_keys(Some(wanted)).build();
                let asked = asked.map_err(|error| unbuilt(&error))?;
                let answer = self.client.batch_get_item().request_items(&self.table, asked).send().await;
                let answer = answer.map_err(|error| StoreError::unavailable(what, &error))?;
                let found = answer.responses.and_then(|mut by_table| by_table.remove(&self.table));
                batch.found.extend(found.unwrap_or_default());
                let left = answer.unprocessed_keys.and_then(|mut by_table| by_table.remove(&self.table));
                wanted = left.map(|left| left.keys).unwrap_or_default();
            }
            batch.is_partial |= !wanted.is_empty();
        }
        Ok(batch)
    }
}
