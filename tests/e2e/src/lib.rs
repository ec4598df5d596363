//! Helpers of the end-to-end tests: clients of a deployed stack, of the vendor sandbox beside it and of its event bus.
//!
//! `make test` deploys the stacks and sets `E2E_EXPRESS`, `E2E_FAST` and `E2E_STANDARD` to the paths of their
//! `stack.env` files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests only"
)]

mod bus;
mod fault_gate;
mod isolated_tracker;
pub mod loopback;
mod order;
mod process;
mod sandbox;
mod stack;
mod test_bed;

pub use bus::{Bus, BusEvent};
pub use fault_gate::{Answer, Gate, Passage, Published, Request};
pub use isolated_tracker::IsolatedTracker;
pub use order::TestOrder;
pub use process::{HoldingProxy, RuntimeApi};
pub use sandbox::Sandbox;
pub use stack::{Stack, setting, wait_until};
pub use test_bed::{ASKED_ID, IsolatedTable, TestBed};
