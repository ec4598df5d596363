//! Lambda entry point of the tracking page.

fn main() {}
