//! Hosts that divide their memory (§6): policy, admission, balloons, paging, sharing and the ledger together.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod corners;
mod figures;
mod policies;
mod replays;
mod small;
mod walk;
mod world;
