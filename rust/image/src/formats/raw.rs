//! Raw memory: byte `n` of the file is guest address `n`.
//!
//! What `pmemsave`, `dd` and LiME's padded mode write, and the RAM files of running QEMU guests.

use crate::error::Error;
use crate::map::{Builder, Described, PAGE_BYTES, RegionKind, SegmentMap};
use crate::source::Source;

/// The map of a raw image.
///
/// # Errors
///
/// [`Error::NotWholePages`], [`Error::TooManyPages`], or [`Error::NoMemory`] if there is no byte.
pub fn parse(source: &Source, mut builder: Builder) -> Result<SegmentMap, Error> {
    let size = source.len();
    if !size.is_multiple_of(PAGE_BYTES) {
        return Err(Error::NotWholePages { size });
    }
    builder.described(vec![Described { start: 0, size, data: size, offset: 0 }], |_| RegionKind::Ram)?;
    builder.finish("a raw image")
}
