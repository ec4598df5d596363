//! OneClickDz v3: its wire types, a client, its errors. Nobody else knows HTTP or the vendor's names.

mod client;
mod error;
mod list;
mod wire;

pub use client::{Answer, ShownOrder, Vendor, classify, read_order};
pub use error::VendorError;
pub use list::{Listing, read_list};
