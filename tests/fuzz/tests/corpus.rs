//! Runs the fuzz targets on the inputs in `corpus/`: samples of `events/`, and inputs that the fuzzer found.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]
#![allow(clippy::explicit_write, reason = "the test harness hides the `println!` output of tests that pass")]

use std::{fs, io::Write, path::Path};

/// Runs the target on each input in its directory and prints their number.
fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 5, "only {} inputs in {}", inputs.len(), directory.display());
    for input in &inputs {
        let bytes = fs::read(input).unwrap();
        std::panic::catch_unwind(|| run(&bytes))
            .unwrap_or_else(|_| panic!("{target} fails on {}", input.display()));
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
