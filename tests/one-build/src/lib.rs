//! No code: this package only has dependencies, see its `Cargo.toml`.
