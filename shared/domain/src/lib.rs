//! The rules of the tracker: pure, no I/O, no clock, no randomness. `shared` re-exports each module.
//!
//! All rules about money are in [`order::decide`] and nowhere else.
#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables and stories of tests"))]

pub mod order;
pub mod page;
pub mod planner;
pub mod rate_limiter;
pub mod time;
