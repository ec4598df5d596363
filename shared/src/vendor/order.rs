//! Reads an order as the vendor shows it: alone (`check-id`, `check-ref`) or as a row of a list.

use secrecy::SecretString;
use serde_json::value::RawValue;

use super::{
    VendorError,
    json::{Kind, Object, Oddities, elements, kind},
};
use crate::order::{Amount, Facts, JsonText, OrderId, Product, VendorStatus};

/// Limits of texts, in bytes as JSON. A documented text takes a few dozen bytes, `refund_message` a sentence or two.
/// The stored item stays far below DynamoDB's 400 KB, an event far below EventBridge's 256 KiB.
const MAX_TEXT: usize = 1024;
const MAX_MESSAGE: usize = 16 * 1024;
const MAX_OFFERS: usize = 64 * 1024;
/// Limit of a status. The longest documented status has 13 characters. An event contains the status up to three
/// times, and an order keeps each status that it was reviewed for.
const MAX_STATUS: usize = 200;

/// An order as the vendor showed it, with its card code in clear text.
#[derive(Debug)]
pub struct VendorOrder {
    /// `_id`.
    pub id: OrderId,
    /// All fields except the card code. `status` is always set.
    pub facts: Facts,
    /// `card_code`: a secret, worth money.
    pub card_code: Option<SecretString>,
}

/// Reads an order: its id and status strictly, every other field leniently.
///
/// # Errors
/// [`VendorError::Unreadable`] if it has no valid id or no status.
pub(super) fn read(
    product: Product,
    order: &Object<'_>,
    odd: &mut Oddities,
) -> Result<VendorOrder, VendorError> {
    let id = order.strict_text("_id")?;
    let id = id.parse().map_err(|_| VendorError::unreadable(&order.path_of("_id"), "not an order id"))?;
    let status = order.strict_text("status")?;
    let mut facts = Facts {
        // A status that was cut is not a documented one, so it is no outcome.
        status: Some(VendorStatus::from(order.text("status", MAX_STATUS, odd).unwrap_or(status))),
        vendor_ref: order.text("ref", MAX_TEXT, odd),
        topup_amount: amount(order, "topup_amount", odd),
        refund_message: order.text("refund_message", MAX_MESSAGE, odd),
        created_at: order.text("created_at", MAX_TEXT, odd),
        ..Facts::default()
    };
    let mut card_code = None;
    match product {
        Product::Mobile => {
            facts.number = order.text("MSSIDN", MAX_TEXT, odd);
            facts.plan_code = order.text("plan_code", MAX_TEXT, odd);
            facts.balance_amount = amount(order, "balance_amount", odd);
            facts.suggested_offers = offers(order, odd);
            facts.follow_order_id = link(order, "follow_orderid", odd);
            facts.retry_order_id = link(order, "retry_orderid", odd);
        }
        Product::Internet => {
            facts.number = order.text("number", MAX_TEXT, odd);
            facts.kind = order.text("type", MAX_TEXT, odd);
            facts.num_trans = order.text("num_trans", MAX_TEXT, odd);
            facts.date_traitement = order.text("date_traitement", MAX_TEXT, odd);
            card_code = card(order, odd);
        }
    }
    Ok(VendorOrder { id, facts, card_code })
}

/// A number, or a text of a number, with the vendor's digits.
fn amount(order: &Object<'_>, name: &str, odd: &mut Oddities) -> Option<Amount> {
    let value = order.get(name)?;
    let amount = match Kind::of(value) {
        Kind::Number => Amount::parse(value.get()),
        Kind::Text => {
            serde_json::from_str::<String>(value.get()).ok().and_then(|text| Amount::parse(text.trim()))
        }
        Kind::Object | Kind::Array | Kind::Boolean => None,
    };
    if amount.is_none() {
        odd.note(&order.path_of(name), kind(value));
    }
    amount
}

/// The array of offers, unchanged. If it is above the limit, the first offers that fit.
fn offers(order: &Object<'_>, odd: &mut Oddities) -> Option<JsonText> {
    const NAME: &str = "suggested_offers";
    let value = order.get(NAME)?;
    if Kind::of(value) != Kind::Array {
        odd.note(&order.path_of(NAME), kind(value));
        return None;
    }
    // Any parser must be able to read an event with them: no number beyond a double, no nesting deeper than 128
    // levels.
    if serde_json::from_str::<serde_json::Value>(value.get()).is_err() {
        odd.note(&order.path_of(NAME), "array beyond the limits of parsers");
        return None;
    }
    if value.get().len() <= MAX_OFFERS {
        return Some(value.to_owned().into());
    }
    odd.note(&order.path_of(NAME), "too long, cut");
    first_of(&elements(value)?)
}

fn first_of(offers: &[&RawValue]) -> Option<JsonText> {
    let mut room = MAX_OFFERS.saturating_sub(2);
    let fits = |offer: &&&RawValue| {
        let left = room.checked_sub(offer.get().len() + 1);
        room = left.unwrap_or(0);
        left.is_some()
    };
    let kept: Vec<&str> = offers.iter().take_while(fits).map(|offer| offer.get()).collect();
    JsonText::parse(format!("[{}]", kept.join(","))).ok()
}

/// The id of the linked order. An invalid id, or a text that stands for "none", is noted and left out.
fn link(order: &Object<'_>, name: &str, odd: &mut Oddities) -> Option<String> {
    let text = order.text(name, MAX_TEXT, odd)?;
    if text.parse::<OrderId>().is_ok() && !means_none(&text) {
        return Some(text);
    }
    odd.note(&order.path_of(name), "not an order id");
    None
}

/// A non-empty text, or a whole number with its own digits. Anything else is not a card; the order is then reviewed
/// as `card_missing`.
fn card(order: &Object<'_>, odd: &mut Oddities) -> Option<SecretString> {
    const NAME: &str = "card_code";
    let value = order.get(NAME)?;
    let found = match Kind::of(value) {
        Kind::Text => match serde_json::from_str::<String>(value.get()) {
            Ok(code) if code.len() > MAX_TEXT => "too long",
            Ok(code) if means_none(&code) => "text that means none",
            Ok(code) => return Some(code.into()),
            Err(_) => "text",
        },
        Kind::Number
            if value.get().len() <= MAX_TEXT && value.get().bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            if means_none(value.get()) {
                "zero"
            } else {
                return Some(value.get().to_owned().into());
            }
        }
        Kind::Number => "not a whole number",
        Kind::Object | Kind::Array | Kind::Boolean => kind(value),
    };
    odd.note(&order.path_of(NAME), found);
    None
}

/// Whether a text stands for "none".
fn means_none(text: &str) -> bool {
    let text =
        text.trim_matches(|char: char| char.is_whitespace() || char.is_control() || is_invisible(char));
    ["", "0", "-", "null", "nil", "none", "undefined", "nan", "false", "n/a"]
        .iter()
        .any(|none| text.eq_ignore_ascii_case(none))
}

/// Zero-width characters, which a copied text may contain.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
