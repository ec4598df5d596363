//! Permits: one item per vendor key, changed by conditional updates only.

mod item;
mod lists;
mod state;

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::Timestamp;

use super::{
    Item, Store, StoreError,
    item::{millis, number, text},
    lost_update,
    update::{Change, absent, is},
};
use crate::{
    page::UnderWay,
    rate_limiter::{Class, GiveBack, MAX_REFUSALS, Move, Take, Usage, unbelievable_pause},
    secret::Fingerprint,
};

pub(super) use item::PREFIX;
pub use state::VendorOutbox;

/// The result of an update of a key's item.
#[derive(Clone, Debug)]
pub enum KeyUpdate {
    /// Applied; the new state.
    Applied(Usage),
    /// The condition did not hold; the stored state.
    Conflict(Usage),
}

impl Store {
    /// A key's state, read consistently; the default if there is none.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn usage(&self, key: &Fingerprint) -> Result<Usage, StoreError> {
        Ok(self.key_item(key).await?.map(|item| item::read_usage(&item)).unwrap_or_default())
    }

    /// Takes one call from the buckets, unless they are used up or the key is paused or suspended. `pages`: the pages
    /// under way with the new one, and the turn at which they were read, so that a list check is planned with all
    /// earlier pages known.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn take(
        &self,
        key: &Fingerprint,
        class: Class,
        take: &Take,
        pages: Option<(&[UnderWay], i64)>,
        now: Timestamp,
    ) -> Result<KeyUpdate, StoreError> {
        let not_paused = absent("paused_until").or(is("paused_until", "<=", millis(now))).or(is(
            "paused_until",
            ">",
            millis(unbelievable_pause(now)),
        ));
        let change = Change::default()
            .count("permits")
            .only_if(absent("suspended_until"))
            .only_if(absent("refusals").or(is("refusals", "<", number(MAX_REFUSALS))))
            .only_if(not_paused);
        let mut change = advance(change, item::TAT, take.all, now);
        if let Some(how) = take.reservation {
            change = advance(change, &item::reservation_tat(class), how, now);
        }
        self.change_key(key, "take a permit", with_pages(change, pages)).await
    }

    /// Restores the buckets that a permit of `class` moved, unless they have moved since. `pages`, if given: the
    /// remaining pages on record, and the turn at which they were read.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn give_back(
        &self,
        key: &Fingerprint,
        class: Class,
        give_back: &GiveBack,
        pages: Option<(&[UnderWay], i64)>,
    ) -> Result<KeyUpdate, StoreError> {
        let mut change = Change::default()
            .count("permits")
            .only_if(is("permits", "=", number(give_back.permits)))
            .set(item::TAT, number(give_back.all.before))
            .only_if(is(item::TAT, "=", number(give_back.all.after)));
        if let Some(own) = give_back.reservation {
            let name = item::reservation_tat(class);
            change = change.set(&name, number(own.before)).only_if(is(&name, "=", number(own.after)));
        }
        self.change_key(key, "give a permit back", with_pages(change, pages)).await
    }

    /// Keeps only these pages on record, if the stored turn is `turn`.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn forget_page(
        &self,
        key: &Fingerprint,
        pages: &[UnderWay],
        turn: i64,
    ) -> Result<KeyUpdate, StoreError> {
        let change = with_pages(Change::default(), Some((pages, turn)));
        self.change_key(key, "remove a page from the record", change).await
    }

    async fn key_item(&self, key: &Fingerprint) -> Result<Option<Item>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item::item_key(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::unavailable("read a key's state", &error))?;
        Ok(found.item)
    }

    async fn change_key(
        &self,
        key: &Fingerprint,
        what: &'static str,
        change: Change,
    ) -> Result<KeyUpdate, StoreError> {
        let result = self
            .update_item(item::item_key(key), change)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(done) => {
                Ok(KeyUpdate::Applied(done.attributes.as_ref().map(item::read_usage).unwrap_or_default()))
            }
            Err(error) if lost_update(&error) => Ok(KeyUpdate::Conflict(self.instead(key, &error).await?)),
            Err(error) => Err(StoreError::unavailable(what, &error)),
        }
    }

    /// The state that prevented an update. DynamoDB returns it with a failed condition, but not with a transaction
    /// conflict.
    async fn instead(
        &self,
        key: &Fingerprint,
        error: &SdkError<UpdateItemError>,
    ) -> Result<Usage, StoreError> {
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(failed.item().map(item::read_usage).unwrap_or_default())
            }
            _ => self.usage(key).await,
        }
    }
}

/// Moves a theoretical arrival time forward, under its condition.
fn advance(change: Change, name: &str, how: Move, now: Timestamp) -> Change {
    let now = number(now.as_microsecond());
    match how {
        Move::Busy { latest, emission_interval } => change
            .plus(name, emission_interval)
            .only_if(is(name, ">=", now))
            .only_if(is(name, "<=", number(latest))),
        Move::Idle { tat, too_far } => change
            .set(name, number(tat))
            .only_if(absent(name).or(is(name, "<", now)).or(is(name, ">", number(too_far)))),
    }
}

/// Sets the pages on record, if the stored turn is still this one.
fn with_pages(change: Change, pages: Option<(&[UnderWay], i64)>) -> Change {
    let Some((pages, turn)) = pages else { return change };
    change
        .set("pages", text(item::write_pages(pages)))
        .set("page_turn", number(turn.saturating_add(1)))
        .only_if(absent("page_turn").or(is("page_turn", "=", number(turn))))
}

fn seconds(duration: Duration) -> AttributeValue {
    AttributeValue::N(duration.as_secs().to_string())
}
