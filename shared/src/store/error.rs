//! What DynamoDB answers when it did not do what it was asked.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::Item;
use crate::{aws::describe, order::OrderKey};

/// The table did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB failed or refused; it may pass.
    #[error("DynamoDB could not {what}: {why}")]
    Unavailable {
        /// What was asked.
        what: &'static str,
        /// Code and message.
        why: String,
    },
    /// DynamoDB does not take what is to be written, now or later: an item is too large, say.
    #[error("DynamoDB refuses to {what}: {why}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Code and message.
        why: String,
    },
    /// What is stored cannot be read.
    #[error("the record of {key} cannot be read: {why}")]
    Corrupt {
        /// Which.
        key: OrderKey,
        /// Where it breaks.
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

/// Why a transaction failed, which names a reason for each of its parts.
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

/// Whether an update did not happen because another process was faster.
pub(super) fn lost_update(error: &SdkError<UpdateItemError>) -> bool {
    // `TransactionConflict`: a transaction held the item. The condition may hold later, but not for what we knew.
    error.as_service_error().is_some_and(|error| {
        error.is_conditional_check_failed_exception()
            || error.meta().code() == Some("TransactionConflictException")
    })
}

/// The same for a transaction: the items as they were, where DynamoDB gave them.
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
