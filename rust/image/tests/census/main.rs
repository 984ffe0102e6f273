//! The census: against an oracle, laws of its figures, and what happens when reading or the caller ends it.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod laws;
mod oracle;
mod worlds;
