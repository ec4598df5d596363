//! The sandbox over real connections, on a clock that the tests advance.
#![allow(clippy::too_many_lines, reason = "tests are long scenarios")]
// `cfg(test)` is always true here. It makes clippy treat helpers as tests.

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
