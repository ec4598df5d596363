//! DynamoDB: orders, their history, claims and commits, and the state of the vendor's keys. No other module knows the
//! table.
//!
//! Every write is conditional and names the attributes it changes, so that an older deployed version does not drop
//! attributes it does not know.

mod batch_get;
mod commit;
mod deliveries;
mod due;
mod error;
mod feed;
mod history;
mod item;
mod lists;
mod orders;
mod permits;
mod planning;
mod redaction;
mod resync;
mod update;

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client, operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue,
};

pub use commit::Commit;
pub use deliveries::{DeliveryCursor, DeliveryPage};
pub use due::Due;
pub use error::StoreError;
pub use feed::{FEED_LAG, FeedCursor, FeedEvent, FeedPage, MAX_STAMP_AGE};
pub use item::{read_order, write_order};
pub use lists::{InPhase, OrderCursor, OrderList, OrderPage};
pub use permits::{KeyUpdate, VendorOutbox};
pub use resync::{JobCursor, ResyncJob, UnregisteredOrder};

use error::lost_update;

/// An item of the table: attributes by name.
pub type Item = HashMap<String, AttributeValue>;

/// The orders table.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: String,
}

/// The result of registering an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The order was new and is tracked now.
    Tracked,
    /// The order was tracked already.
    AlreadyTracked,
}

impl Store {
    /// `table`: name of the table.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Builds an update of one item.
    fn update_item(&self, key: Item, change: update::Change) -> UpdateItemFluentBuilder {
        let update::Expression { update, condition, names, values } = change.into_expression();
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(update)
            .set_condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(values)
    }
}
