//! The async runtime of a function. It has one thread, since a function handles one event at a time.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime with one worker thread and at most one blocking thread, for DNS lookups. Without that limit a start
/// makes three blocking threads, each with its own stack.
///
/// # Errors
/// If the system has no file handles left.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(1).build()
}
