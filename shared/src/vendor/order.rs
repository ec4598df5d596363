//! An order as the vendor shows it: by itself (`check-id`, `check-ref`) or as a row of a list.

use secrecy::SecretString;
use serde_json::value::RawValue;

use super::{
    VendorError,
    json::{Kind, Object, Oddities, elements, kind},
};
use crate::order::{Amount, Facts, JsonText, OrderId, Product, VendorStatus};

/// A documented text takes a few dozen bytes; `refund_message` is a sentence or two. All limits are bytes as JSON, so what is stored (the
/// item's limit is 400 KB) and sent (an event's is 256 KiB) stays far below what DynamoDB and EventBridge take.
const MAX_TEXT: usize = 1024;
const MAX_MESSAGE: usize = 16 * 1024;
const MAX_OFFERS: usize = 64 * 1024;
/// The longest documented status has 13 characters. An event says it up to three times, and an order keeps those that it was reviewed for.
const MAX_STATUS: usize = 200;

/// An order as the vendor showed it, its card code still in clear.
#[derive(Debug)]
pub struct VendorOrder {
    /// `_id`.
    pub id: OrderId,
    /// All but the card code; its status is there.
    pub facts: Facts,
    /// `card_code`: worth money.
    pub card_code: Option<SecretString>,
}

/// Reads an order. Its id and status are read strictly, every other field by itself.
///
/// # Errors
/// [`VendorError::Unreadable`]: it has no id or no status.
pub(super) fn read(
    product: Product,
    order: &Object<'_>,
    odd: &mut Oddities,
) -> Result<VendorOrder, VendorError> {
    let id = order.strict_text("_id")?;
    let id = id.parse().map_err(|_| VendorError::unreadable(&order.path_of("_id"), "no order's id"))?;
    let status = order.strict_text("status")?;
    let mut facts = Facts {
        // A text that is cut is not a documented word, and so no outcome.
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

/// A number, or a text that is one, with the vendor's digits.
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

/// The array of offers as it came; the first of them, where there are too many to be kept.
fn offers(order: &Object<'_>, odd: &mut Oddities) -> Option<JsonText> {
    const NAME: &str = "suggested_offers";
    let value = order.get(NAME)?;
    if Kind::of(value) != Kind::Array {
        odd.note(&order.path_of(NAME), kind(value));
        return None;
    }
    // An event that holds them must be read by any parser: no number beyond a double, nothing nested deeper than 128 levels.
    if serde_json::from_str::<serde_json::Value>(value.get()).is_err() {
        odd.note(&order.path_of(NAME), "array that parsers refuse");
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

/// The id of the order that this one lives on under; what cannot be an id, or is how programs write "none", is noted and none.
fn link(order: &Object<'_>, name: &str, odd: &mut Oddities) -> Option<String> {
    let text = order.text(name, MAX_TEXT, odd)?;
    if text.parse::<OrderId>().is_ok() && !says_none(&text) {
        return Some(text);
    }
    odd.note(&order.path_of(name), "no order's id");
    None
}

/// A text with something in it, or a whole number with its own digits. Anything else is no card: `card_missing` is reviewed then.
fn card(order: &Object<'_>, odd: &mut Oddities) -> Option<SecretString> {
    const NAME: &str = "card_code";
    let value = order.get(NAME)?;
    let found = match Kind::of(value) {
        Kind::Text => match serde_json::from_str::<String>(value.get()) {
            Ok(code) if code.len() > MAX_TEXT => "too long",
            Ok(code) if says_none(&code) => "text with nothing in it",
            Ok(code) => return Some(code.into()),
            Err(_) => "text",
        },
        Kind::Number
            if value.get().len() <= MAX_TEXT && value.get().bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            if says_none(value.get()) {
                "zero"
            } else {
                return Some(value.get().to_owned().into());
            }
        }
        Kind::Number => "number that is not whole",
        Kind::Object | Kind::Array | Kind::Boolean => kind(value),
    };
    odd.note(&order.path_of(NAME), found);
    None
}

/// Whether a text is how a program writes that there is nothing.
fn says_none(text: &str) -> bool {
    let text =
        text.trim_matches(|char: char| char.is_whitespace() || char.is_control() || is_invisible(char));
    ["", "0", "-", "null", "nil", "none", "undefined", "nan", "false", "n/a"]
        .iter()
        .any(|none| text.eq_ignore_ascii_case(none))
}

/// Marks that take no room on a screen, and that a copied text may hold.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
