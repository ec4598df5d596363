//! The deployed template, end to end. Run by `make test`, which deploys the stacks; see tests/README.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod api;
mod bad_weather;
mod crash;
mod documented;
mod races;
mod seldom;
mod sweep;
