//! The sandbox over real connections, on a clock that the tests move.
#![allow(clippy::too_many_lines, reason = "stories of tests")]
// `cfg(test)` is always true here; it tells clippy that helpers are tests too.

#[cfg(test)]
mod by_ref;
#[cfg(test)]
mod chance;
#[cfg(test)]
mod client;
#[cfg(test)]
mod control;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod list_ways;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod making;
#[cfg(test)]
mod sends;
#[cfg(test)]
mod vendor;
