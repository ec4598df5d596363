//! OneClickDz v3: its wire types, a client, its errors. Nobody else knows HTTP or the vendor's names.

mod client;
mod error;
mod wire;

pub use client::{Answer, ShownOrder, Vendor, classify, read_order};
pub use error::VendorError;
