//! Replays what is kept in `corpus/`: the samples of `events/`, and what the fuzzer has found worth keeping.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test outside of a function marked as one")]
#![allow(
    clippy::explicit_write,
    reason = "`println!` of a test that passes is not shown, and the count is to be seen"
)]

use std::{fs, io::Write, path::Path};

/// Runs the target on each input of its directory; says how many there were.
fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 5, "only {} inputs in {}", inputs.len(), directory.display());
    for input in &inputs {
        let bytes = fs::read(input).unwrap();
        std::panic::catch_unwind(|| run(&bytes))
            .unwrap_or_else(|_| panic!("{} breaks {target}", input.display()));
    }
    writeln!(std::io::stdout(), "{target}: {} inputs", inputs.len()).unwrap();
}

macro_rules! replay {
    ($($target:ident),+) => {$(
        #[test]
        fn $target() {
            replay(stringify!($target), fuzz::$target);
        }
    )+};
}

replay!(vendor_mobile, vendor_internet, vendor_list, vendor_refusal, api_event, poller_input, stored_item);
