//! Identifiers of orders.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Product;

/// Text that is not an order id or a ref; the message states the valid form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidId {
    /// Not the form of an order id.
    #[error("id must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -")]
    Id,
    /// Not the form of a reference.
    #[error("ref must be 1 to 200 characters without control characters")]
    Ref,
}

/// The vendor's id of an order. An id of 24 hex digits (MongoDB's ObjectId) names the same order in upper and lower case: the tracker keeps
/// it in lower case. All of the vendor's examples have this form, but the vendor does not promise it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("pattern" = "^[A-Za-z0-9_-]{1,64}$")))]
pub struct OrderId(String);

impl OrderId {
    /// The id as text, safe in a URL path and in a DynamoDB key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OrderId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
            let is_object_id = text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            Ok(Self(if is_object_id { text.to_ascii_lowercase() } else { text }))
        } else {
            Err(InvalidId::Id)
        }
    }
}

impl FromStr for OrderId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> Self {
        id.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The merchant's reference: 1 to 200 characters, no control characters. The vendor may return another form of it (`vendor_ref`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("pattern" = r"^[^\u0000-\u001f\u007f-\u009f]{1,200}$")))]
pub struct Ref(String);

impl Ref {
    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Ref {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let long = text.chars().take(201).count();
        if (1..=200).contains(&long) && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(InvalidId::Ref)
        }
    }
}

impl From<Ref> for String {
    fn from(reference: Ref) -> Self {
        reference.0
    }
}

/// The key of an order: `{product}/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey {
    /// The product that was bought.
    pub product: Product,
    /// The vendor's id.
    pub id: OrderId,
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.product, self.id)
    }
}
