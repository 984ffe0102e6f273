//! Traces of page references: read from files, numbered, and replayed against a memory of a given size.
//!
//! A file is a stream of records, each naming a page by any 64-bit number. It is decoded block by block and never held as
//! a whole: [`load`] keeps four bytes of each record, [`replay`] none.
//!
//! Rooms by floor; a room names lower floors only (docs/design.md section 2):
//!
//! | floor | rooms |
//! |---|---|
//! | 4 | [`load`]: a whole trace with dense page numbers; [`replay`]: how often pages miss |
//! | 3 | [`reader`] opens a file and gives its records in blocks |
//! | 2 | [`formats`]: one decoder a format, from bytes to records |
//! | 1 | [`bytes`] the bytes of a file, unpacked if need be; [`index`](mod@index) from any number to a dense one |
//! | 0 | [`error`] |
//!
//! Decoders are total: whatever the bytes, they give records or an error of one line that names the record. What is no
//! regular file is refused, so no file is endless.
//!
//! ```
//! use esxcore_core::guest::Replacement;
//! use esxcore_core::page_trace::{PageTrace, Records};
//! use esxcore_trace::replay::misses;
//!
//! let mut trace = PageTrace::new();
//! trace.append(Records { pages: &[0, 1, 2, 0, 1, 2], runs: None, writes: None })?;
//! let found = misses(&trace, Replacement::Lru, &[2, 3], &mut || Ok(()))?;
//! assert_eq!(found, [6, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bytes;
pub mod error;
pub mod formats;
pub mod index;
pub mod load;
pub mod reader;
pub mod replay;
