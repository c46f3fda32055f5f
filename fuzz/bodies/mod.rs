//! What the fuzz targets check, apart from the fuzzer, so that `cargo test` on a stable toolchain
//! runs the same code (`tests/differential.rs`).

pub mod frame_parser;
pub mod reference;
