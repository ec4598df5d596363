//! Errors of the table, and how DynamoDB's errors map to them.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::Item;
use crate::{aws::describe, order::OrderKey};

/// A failed request to the table.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB failed or refused; a retry may succeed.
    #[error("DynamoDB could not {what}: {why}")]
    Unavailable {
        /// The operation.
        what: &'static str,
        /// Code and message.
        why: String,
    },
    /// DynamoDB never accepts this write: an item above 400 KB, for example.
    #[error("DynamoDB refuses to {what}: {why}")]
    Refused {
        /// The operation.
        what: &'static str,
        /// Code and message.
        why: String,
    },
    /// The stored record cannot be read.
    #[error("the record of {key} cannot be read: {why}")]
    Corrupt {
        /// The order.
        key: OrderKey,
        /// The attribute, never its value.
        why: String,
    },
}

impl StoreError {
    pub(super) fn unavailable<E, R>(what: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata,
    {
        let why = describe(error);
        let code = error.as_service_error().and_then(|error| error.meta().code());
        let refused =
            matches!(code, Some("ValidationException" | "ItemCollectionSizeLimitExceededException"));
        if refused { Self::Refused { what, why } } else { Self::Unavailable { what, why } }
    }
}

/// The error of a failed transaction, with the reason of each of its parts.
pub(super) fn failed_transaction(
    what: &'static str,
    error: &SdkError<TransactWriteItemsError>,
) -> StoreError {
    let reasons = match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons()
        }
        _ => return StoreError::unavailable(what, error),
    };
    let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason.code()).collect();
    let why = format!("{}: {}", describe(error), codes.join(", "));
    if codes.iter().any(|code| matches!(*code, "ValidationError" | "ItemCollectionSizeLimitExceeded")) {
        StoreError::Refused { what, why }
    } else {
        StoreError::Unavailable { what, why }
    }
}

/// Whether an update lost against another process.
pub(super) fn lost_update(error: &SdkError<UpdateItemError>) -> bool {
    // `TransactionConflict`: a transaction held the item. A retry with the same condition would compare outdated
    // state.
    error.as_service_error().is_some_and(|error| {
        error.is_conditional_check_failed_exception()
            || error.meta().code() == Some("TransactionConflictException")
    })
}

/// The stored items, as far as DynamoDB returned them, if a transaction lost against another process; `None` for
/// other errors.
pub(super) fn lost_transaction(error: &SdkError<TransactWriteItemsError>) -> Option<Vec<Item>> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
    else {
        return None;
    };
    let reasons = cancelled.cancellation_reasons();
    let lost = |code: Option<&str>| matches!(code, Some("ConditionalCheckFailed" | "TransactionConflict"));
    let other = |code: Option<&str>| !matches!(code, None | Some("None")) && !lost(code);
    let any_lost = reasons.iter().any(|reason| lost(reason.code()));
    if !any_lost || reasons.iter().any(|reason| other(reason.code())) {
        return None;
    }
    Some(reasons.iter().filter_map(|reason| reason.item().cloned()).collect())
}
