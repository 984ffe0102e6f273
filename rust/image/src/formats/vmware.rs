//! VMware: memory in a vmem file, and the suspend (vmss) or snapshot (vmsn) file that says where in it guest memory is.
//!
//! A vmss or vmsn file is a list of groups, each a list of tags with up to three indices. Group `memory` counts the
//! regions of guest memory, and gives for each its first guest page, its first page in the file and its size in pages:
//! so memory above the hole below 4 GiB stands behind the memory below it. Without regions the file is memory from
//! address 0 on. Some files have no vmem beside them and hold the memory in a tag `Memory` instead.
//!
//! # Source
//!
//! The "VMware Snapshot and Saved State Analysis" notes on the layout of vmss and vmsn files (header, groups of 80 bytes,
//! tags with packed lengths).

use std::collections::BTreeMap;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::Error;
use crate::map::{Builder, Described, PAGE_BYTES, RegionKind, SegmentMap};
use crate::source::{Cursor, Source};

const FORMAT_VMEM: &str = "a vmem file";
const FORMAT_VMSS: &str = "a vmss or vmsn file without its vmem";
const MAGICS: [u32; 4] = [0xbed2_bed0, 0xbad1_bad1, 0xbed2_bed2, 0xbed3_bed3];
const HEADER_BYTES: u64 = 12;
/// Data lengths that say: the length follows.
const LONG: [u8; 2] = [62, 63];

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: U32,
    unused: U32,
    groups: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Group {
    name: [u8; 64],
    offset: U64,
    size: U64,
}

/// What a tag says of one region, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    guest: Option<u64>,
    file: Option<u64>,
    pages: Option<u64>,
}

/// What group `memory` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    count: Option<u64>,
    rows: BTreeMap<u32, Row>,
    /// Where the memory is, in bytes of the vmss file: place and length.
    inside: Option<(u64, u64)>,
}

/// A tag.
struct Tag {
    name: String,
    indices: [u32; 3],
    offset: u64,
    len: u64,
}

/// The map of a vmem file; `table` comes from the file beside it.
///
/// # Errors
///
/// [`Error::NotWholePages`], [`Error::Header`] and those of [`Builder::described`].
pub fn parse(source: &Source, table: &Table, builder: Builder) -> Result<SegmentMap, Error> {
    let size = source.len();
    if !size.is_multiple_of(PAGE_BYTES) {
        return Err(Error::NotWholePages { size });
    }
    table.build(0, size, builder)?.finish(FORMAT_VMEM)
}

/// The map of a vmss or vmsn file that has the memory inside.
///
/// # Errors
///
/// [`Error::NoMemory`] if it has not, else as [`Table::read`] and [`parse`].
pub fn parse_inside(source: &Source, builder: Builder) -> Result<SegmentMap, Error> {
    let table = Table::read(source)?;
    let (offset, size) = table.inside.ok_or(Error::NoMemory { format: FORMAT_VMSS })?;
    if !size.is_multiple_of(PAGE_BYTES) {
        return Err(Error::Header {
            what: "the size of the memory in a vmss file",
            offset,
            value: size.to_string(),
            expected: "a multiple of 4096",
        });
    }
    table.build(offset, size, builder)?.finish(FORMAT_VMSS)
}

impl Table {
    /// Reads group `memory` of a vmss or vmsn file.
    ///
    /// # Errors
    ///
    /// [`Error::Header`] or [`Error::Truncated`].
    pub fn read(source: &Source) -> Result<Self, Error> {
        let header: Header = source.read("a vmss header", 0)?;
        let magic = header.magic.get();
        if !MAGICS.contains(&magic) {
            let expected = "0xbed2bed0, 0xbad1bad1, 0xbed2bed2 or 0xbed3bed3";
            return Err(refuse("the magic of a vmss file", 0, format!("{magic:#x}"), expected));
        }
        let bytes = u64::from(header.groups.get()) * size_of::<Group>() as u64;
        let end = source.check("the groups of a vmss file", HEADER_BYTES, bytes)?;
        // The low digit of the magic is a version; in version 0 lengths are 32 bits wide.
        let wide = magic & 0xf != 0;
        for at in (HEADER_BYTES..end).step_by(size_of::<Group>()) {
            let group: Group = source.read("a group of a vmss file", at)?;
            // Only the first of that name: groups may share their bytes.
            if group.name.starts_with(b"memory\0") {
                return Self::read_group(source, &group, wide);
            }
        }
        Ok(Self::default())
    }

    fn read_group(source: &Source, group: &Group, wide: bool) -> Result<Self, Error> {
        let mut table = Self::default();
        let mut cursor = Cursor::new(source, group.offset.get());
        // A size of zero means: up to the tag that ends the group.
        let size = group.size.get();
        let end = if size == 0 { u64::MAX } else { group.offset.get().saturating_add(size) };
        while cursor.at() < end {
            let Some(tag) = Tag::read(&mut cursor, wide)? else { break };
            table.take(source, &tag)?;
        }
        Ok(table)
    }

    /// Keeps what a tag says, if it is about regions.
    fn take(&mut self, source: &Source, tag: &Tag) -> Result<(), Error> {
        if tag.name == "Memory" && tag.len > 0 {
            self.inside = Some((tag.offset, tag.len));
            return Ok(());
        }
        let field = match tag.name.as_str() {
            "regionsCount" => &mut self.count,
            "regionPPN" => &mut self.row(tag).guest,
            "regionPageNum" => &mut self.row(tag).file,
            "regionSize" => &mut self.row(tag).pages,
            _ => return Ok(()),
        };
        *field = Some(tag.number(source)?);
        Ok(())
    }

    fn row(&mut self, tag: &Tag) -> &mut Row {
        self.rows.entry(tag.indices[0]).or_default()
    }

    /// Adds the regions; memory is `size` bytes at `offset` of the file.
    fn build(&self, offset: u64, size: u64, mut builder: Builder) -> Result<Builder, Error> {
        let count = self.count.unwrap_or(0);
        if count == 0 {
            let whole = Described { start: 0, size, data: size, offset };
            builder.described(vec![whole], |_| RegionKind::Ram)?;
            return Ok(builder);
        }
        if count > self.rows.len() as u64 {
            let expected = "at most the regions that are described";
            return Err(refuse("regionsCount", HEADER_BYTES, count.to_string(), expected));
        }
        let rows = self.rows.range(..u32::try_from(count).unwrap_or(u32::MAX));
        let ranges =
            rows.map(|(index, row)| row.described(*index, offset, size)).collect::<Result<_, _>>()?;
        builder.described(ranges, |_| RegionKind::Ram)?;
        Ok(builder)
    }
}

impl Row {
    /// The region; memory is `size` bytes at `offset` of the file.
    fn described(&self, index: u32, offset: u64, size: u64) -> Result<Described, Error> {
        let (Some(guest), Some(file), Some(pages)) = (self.guest, self.file, self.pages) else {
            let expected = "regionPPN, regionPageNum and regionSize for each";
            return Err(refuse(
                "the table of regions",
                HEADER_BYTES,
                format!("incomplete at {index}"),
                expected,
            ));
        };
        let bytes = |pages: u64| pages.checked_mul(PAGE_BYTES);
        let end = file.checked_add(pages).and_then(bytes).filter(|end| *end <= size);
        let (Some(start), Some(_)) = (bytes(guest), end) else {
            let value = format!("pages {file} and {pages} more");
            return Err(refuse(
                "a region of the table",
                HEADER_BYTES,
                value,
                "pages that the memory file has",
            ));
        };
        let len = pages * PAGE_BYTES;
        Ok(Described { start, size: len, data: len, offset: offset + file * PAGE_BYTES })
    }
}

impl Tag {
    /// The next tag, or none at the end of a group.
    fn read(cursor: &mut Cursor<'_>, wide: bool) -> Result<Option<Self>, Error> {
        const WHAT: &str = "a tag of a vmss file";
        let flags = cursor.take::<u8>(WHAT)?;
        if flags == 0 {
            return Ok(None);
        }
        let name = cursor.name(WHAT)?;
        let mut indices = [0; 3];
        for index in indices.iter_mut().take(usize::from(flags >> 6)) {
            *index = cursor.take::<U32>(WHAT)?.get();
        }
        let short = flags & 0x3f;
        let len = if LONG.contains(&short) { long_len(cursor, wide)? } else { short.into() };
        let offset = cursor.skip("the data of a vmss tag", len)?;
        Ok(Some(Self { name, indices, offset, len }))
    }

    /// Its data as a number.
    fn number(&self, source: &Source) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        let Some(used) = usize::try_from(self.len).ok().and_then(|len| bytes.get_mut(..len)) else {
            let value = self.len.to_string();
            return Err(refuse("the length of a region's number", self.offset, value, "at most 8 bytes"));
        };
        source.read_into("the data of a vmss tag", self.offset, used)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Length of data that follows with padding before it.
fn long_len(cursor: &mut Cursor<'_>, wide: bool) -> Result<u64, Error> {
    const WHAT: &str = "the length of a vmss tag";
    let [in_file, _in_memory] = if wide {
        cursor.take::<[U64; 2]>(WHAT)?.map(U64::get)
    } else {
        cursor.take::<[U32; 2]>(WHAT)?.map(|len| u64::from(len.get()))
    };
    let padding = cursor.take::<U16>(WHAT)?;
    cursor.skip(WHAT, padding.get().into())?;
    Ok(in_file)
}

fn refuse(what: &'static str, offset: u64, value: String, expected: &'static str) -> Error {
    Error::Header { what, offset, value, expected }
}
