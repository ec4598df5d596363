//! Looking at many orders with one call: what a call is worth, and which is worth most now. Pure: no I/O, no clock, no chance.
//!
//! The vendor's lists show up to a hundred orders at once, and the key's calls are scarce: whoever has leave for one makes the call that
//! is worth most to everybody (docs/decisions/2026-11-22-bulk-looks.md).

mod chance;
mod plan;

pub use chance::{Chances, parked_chance};
pub use plan::{Call, List, MOST_ROWS, Page, Planned, UnderWay, Waiting, plan};

#[cfg(test)]
mod tests;
