//! The async runtime of a function: one thread, since it answers one event at a time.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// One thread, and one more for checking names up, which blocks: otherwise a start makes three of them, each with memory of its
/// own.
///
/// # Errors
/// If the system has no more handles.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(1).build()
}
