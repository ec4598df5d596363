//! The crate that all functions of the top-up tracker share. Start at [`refresh`]: the path of an order, which every
//! trigger uses.
#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tests hold long tables"))]

pub mod aws;
pub mod capability;
pub mod cards;
pub mod clock;
pub mod config;
pub mod http;
pub mod permits;
pub mod publish;
pub mod refresh;
pub mod runtime;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod vendor;

pub use domain::{order, page, planner, rate_limiter, resync, time, webhook};
