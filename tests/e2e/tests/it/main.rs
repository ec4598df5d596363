//! End-to-end tests of the deployed template. `make test` deploys the stacks; see tests/README.md.
#![allow(clippy::too_many_lines, reason = "tests are long scenarios")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod api;
mod call_rate;
mod cli;
mod crash;
mod feed;
mod links;
mod list_checks;
mod odd_answers;
mod page;
mod permits;
mod privileges;
mod races;
mod readme;
mod recheck;
mod redaction;
mod redrive;
mod refs;
mod resync;
mod reviews;
mod rotation;
mod set_up;
mod settings;
mod vendor_faults;
mod vendor_scenarios;
mod webhooks;
