//! Any bytes are an image that can be read whole, or a clean error: `cargo +nightly fuzz run image fuzz/corpus/image`.
//!
//! The same check runs over the corpus in the ordinary tests (rust/image/tests/corpus.rs).
#![no_main]

#[path = "../../rust/image/tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::check_case(data));
