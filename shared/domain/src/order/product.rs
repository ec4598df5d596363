//! The vendor's products and all differences between them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{RetrySchedule, Schedule};

/// The product that was bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Product {
    /// Mobile credit.
    Mobile,
    /// Internet cards: ADSL and 4G.
    Internet,
}

/// The properties that differ by product. (Fields of the vendor's answers: `shared::vendor`, `order.rs`.)
#[derive(Clone, Copy, Debug)]
pub struct ProductRules {
    /// The name in paths, keys, events and the vendor's endpoints: `/{name}/check-id`, `/{name}/check-ref`, `/{name}/list`.
    pub name: &'static str,
    /// Whether a fulfilled order brings a card code.
    pub has_card: bool,
    /// The field of a list page that holds the rows, according to the vendor's documentation.
    pub list_rows: &'static str,
    /// The poll schedule of orders in flight.
    pub poll: fn(&Schedule) -> &RetrySchedule,
}

impl Product {
    /// All products.
    pub const ALL: [Self; 2] = [Self::Mobile, Self::Internet];

    /// The properties of the product. To add a product: docs/how-to.md.
    pub fn rules(self) -> ProductRules {
        match self {
            Self::Mobile => ProductRules {
                name: "mobile",
                has_card: false,
                list_rows: "items",
                poll: |schedule| &schedule.poll_mobile,
            },
            Self::Internet => ProductRules {
                name: "internet",
                has_card: true,
                list_rows: "topups",
                poll: |schedule| &schedule.poll_internet,
            },
        }
    }

    /// `mobile` or `internet`, as in paths, keys and events.
    pub fn as_str(self) -> &'static str {
        self.rules().name
    }

    /// The index in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that names no product.
#[derive(Debug, thiserror::Error)]
#[error("product must be {}", Product::ALL.map(Product::as_str).join(" or "))]
pub struct UnknownProduct;

impl FromStr for Product {
    type Err = UnknownProduct;

    fn from_str(text: &str) -> Result<Self, UnknownProduct> {
        Self::ALL.into_iter().find(|product| product.as_str() == text).ok_or(UnknownProduct)
    }
}
