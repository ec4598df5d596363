//! What the end-to-end tests share: a deployed stack, the vendor sandbox beside it, and an ear on its bus.
//!
//! `make test` deploys the stacks and names their `stack.env` files in `E2E_EXPRESS`, `E2E_FAST` and `E2E_STANDARD`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests only"
)]

mod bus;
mod fault_gate;
pub mod loopback;
mod order;
mod process;
mod sandbox;
mod stack;
mod test_bed;

pub use bus::{Bus, Heard};
pub use fault_gate::{Answer, Gate, Passage, Published, Request};
pub use order::TestOrder;
pub use process::{HoldingProxy, RuntimeApi};
pub use sandbox::Sandbox;
pub use stack::{Stack, setting, wait_until};
pub use test_bed::{ASKED_ID, IsolatedTable, TestBed};
