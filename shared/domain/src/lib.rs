//! The rules of the tracker: pure, no I/O, no clock, no randomness. `shared` re-exports each module.
//!
//! Every rule that affects money is in [`order::decide`].
#![cfg_attr(test, allow(clippy::too_many_lines, reason = "test tables and long scenarios"))]

pub mod order;
pub mod page;
pub mod planner;
pub mod rate_limiter;
pub mod resync;
pub mod time;
pub mod webhook;

#[cfg(test)]
mod schemas;
