//! OneClickDz: the client, its errors, and reading its answers. No other module knows the vendor's field names.

mod client;
mod envelope;
mod error;
mod json;
mod list;
mod meaning;
mod order;
mod reference;

#[cfg(test)]
mod tests;

pub use client::{Answer, Vendor, read_answer};
pub use error::VendorError;
pub use json::Oddities;
pub(crate) use list::is_within;
pub use list::{Listing, read_list};
pub use order::VendorOrder;
pub use reference::{names, without_prefix};
