//! The load of the dbench file server benchmark: a recorded file of operations ([`Load`]), and a client that goes through
//! it ([`Dbench`]).
//!
//! `words` takes lines apart, `files` keeps track of names and handles, `load` makes a list of actions of it, `client`
//! performs them.

mod client;
mod files;
mod load;
mod words;

use std::path::{Path, PathBuf};

pub use client::{Dbench, DbenchConfig};
pub use load::{Load, Moved};

/// Where packages of dbench put its load file, Debian's first.
pub const PLACES: [&str; 4] = [
    "/usr/share/dbench/client.txt",
    "/usr/local/share/dbench/client.txt",
    "/usr/share/client.txt",
    "/usr/local/share/client.txt",
];

/// The load file of this system's dbench, if it has one.
#[must_use]
pub fn find() -> Option<PathBuf> {
    PLACES.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_path_buf)
}
