//! LiME version 1: headers of 32 bytes, each followed by its memory.
//!
//! # Source
//!
//! LiME's README, "lime" format: magic, version, first and last address (inclusive), eight reserved bytes; all little
//! endian. Version 2 with the magic of AVML is compressed.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::Error;
use crate::map::{Builder, Described, RegionKind, SegmentMap};
use crate::source::{Cursor, Source};

const MAGIC: u32 = u32::from_le_bytes(*b"EMiL");
const MAGIC_AVML: u32 = u32::from_le_bytes(*b"AVML");

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: U32,
    version: U32,
    first: U64,
    last: U64,
    reserved: [u8; 8],
}

/// The map of a LiME image.
///
/// # Errors
///
/// [`Error::Header`], [`Error::Truncated`], [`Error::NotRead`], and those of [`Builder::described`].
pub fn parse(source: &Source, mut builder: Builder) -> Result<SegmentMap, Error> {
    let mut cursor = Cursor::new(source, 0);
    let mut ranges = vec![];
    while !cursor.is_at_end() {
        let at = cursor.at();
        let header: Header = cursor.take("a LiME header")?;
        let size = size(&header, at)?;
        let offset = cursor.skip("the memory of a LiME header", size)?;
        ranges.push(Described { start: header.first.get(), size, data: size, offset });
    }
    builder.described(ranges, |_| RegionKind::Ram)?;
    builder.finish("a LiME image")
}

/// Bytes that follow a header at byte `at`.
fn size(header: &Header, at: u64) -> Result<u64, Error> {
    if header.magic.get() == MAGIC_AVML {
        let hint = "convert it with avml-convert to LiME or raw";
        return Err(Error::NotRead { format: "a compressed AVML image", hint });
    }
    let refuse = |what, offset, value: String, expected| Err(Error::Header { what, offset, value, expected });
    if header.magic.get() != MAGIC {
        return refuse("the magic of a LiME header", at, format!("{:#x}", header.magic), "0x4c694d45");
    }
    if header.version.get() != 1 {
        return refuse("the version of a LiME header", at + 4, header.version.to_string(), "1");
    }
    let (first, last) = (header.first.get(), header.last.get());
    match last.checked_sub(first).and_then(|less| less.checked_add(1)) {
        Some(size) => Ok(size),
        None => refuse("the last address of a LiME header", at + 16, format!("{last:#x}"), {
            "an address not before the first, and fewer than 2**64 bytes"
        }),
    }
}
