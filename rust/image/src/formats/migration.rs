//! QEMU's migration stream, version 3: what `migrate exec:cat` and `savevm` write.
//!
//! A stream is a row of sections. Sections of the device `ram` hold records of 8 bytes, an address within a block of
//! memory with flags in its low bits, and behind them the page, a byte for a page of zeros, or the table of blocks.
//! Sections of devices say nothing of their length; they come after the memory, so reading ends where `ram` ends.
//! A guest that runs while it is written sends pages again: the last one counts.
//!
//! The stream knows blocks, not guest addresses: main memory is one block without the hole below 4 GiB. Blocks of
//! firmware and of devices are told apart by their names.
//!
//! # Source
//!
//! QEMU documentation, "Migration", "Stream structure"; record flags and section types by their published numbers,
//! checked against streams of QEMU 7.2.

use std::collections::HashMap;

use esxcore_core::types::PULSE_PAGES;
use zerocopy::big_endian::{U16, U32, U64};

use crate::error::Error;
use crate::formats::overlay::Overlay;
use crate::map::{Builder, PAGE_BYTES, Region, RegionKind, SegmentMap};
use crate::source::{Cursor, Pulse, Source};

const MAGIC: u32 = u32::from_be_bytes(*b"QEVM");
const VERSION: u32 = 3;
const FORMAT: &str = "a migration stream";

/// Types of sections.
mod section {
    pub const END_OF_FILE: u8 = 0;
    pub const START: u8 = 1;
    pub const PART: u8 = 2;
    pub const END: u8 = 3;
    pub const FULL: u8 = 4;
    pub const SUBSECTION: u8 = 5;
    pub const CONFIGURATION: u8 = 7;
    pub const COMMAND: u8 = 8;
    pub const FOOTER: u8 = 0x7e;
}

/// Flags of a record.
mod flag {
    pub const ZERO: u64 = 0x02;
    pub const MEM_SIZE: u64 = 0x04;
    pub const PAGE: u64 = 0x08;
    pub const EOS: u64 = 0x10;
    pub const CONTINUE: u64 = 0x20;
}

/// Flags of records that are not read.
const NOT_READ: [(u64, &str); 5] = [
    (0x01, "the obsolete flag FULL"),
    (0x40, "XBZRLE pages"),
    (0x80, "RDMA pages"),
    (0x100, "compressed pages"),
    (0x200, "multifd pages"),
];
const PLAIN: &str = "migrate again with no capability but events";

/// Commands that belong to postcopy.
const POSTCOPY: std::ops::RangeInclusive<u16> = 3..=8;

/// A block of memory.
struct Block {
    name: String,
    pages: u64,
    places: Overlay,
}

/// The walk over a stream.
struct Walk<'a> {
    cursor: Cursor<'a>,
    blocks: Vec<Block>,
    numbers: HashMap<String, usize>,
    /// The block of the last record.
    current: Option<usize>,
    /// Number of the section `ram`, once it began.
    ram: Option<u32>,
    /// Records read.
    read: usize,
    pulse: Pulse<'a>,
}

/// The map of a migration stream that begins at byte `start`.
///
/// # Errors
///
/// [`Error::Header`], [`Error::Truncated`], [`Error::NotReadFeature`], [`Error::NoMemory`], and those of
/// [`Builder::region`] and [`Builder::segment`]; what `pulse` returns.
pub fn parse(
    source: &Source,
    start: u64,
    mut builder: Builder,
    pulse: Pulse<'_>,
) -> Result<SegmentMap, Error> {
    let cursor = Cursor::new(source, start);
    let mut walk =
        Walk { cursor, blocks: vec![], numbers: HashMap::new(), current: None, ram: None, read: 0, pulse };
    walk.header()?;
    while walk.section()? {}
    for Block { name, pages, places } in walk.blocks {
        let region = Region { kind: kind(&name), name, first_frame: 0, pages };
        if let Some(place) = builder.region(region)? {
            places.build(&mut builder, place)?;
        }
    }
    builder.finish(FORMAT)
}

/// What a block is, by its name: firmware and display memory have names of their kind or of a slot on a bus.
fn kind(name: &str) -> RegionKind {
    let is_device = name.starts_with("/rom@")
        || name.contains(".flash")
        || name.contains("vram")
        || [".rom", ".bios", ".bios-ram"].iter().any(|end| name.ends_with(end))
        || (name.contains('/') && name.contains(':'));
    if is_device { RegionKind::Device } else { RegionKind::Ram }
}

impl Walk<'_> {
    fn header(&mut self) -> Result<(), Error> {
        let at = self.cursor.at();
        let magic = self.cursor.take::<U32>(FORMAT)?.get();
        if magic != MAGIC {
            return Err(refuse("the magic of a migration stream", at, magic.into(), "0x5145564d (QEVM)"));
        }
        let version = self.cursor.take::<U32>(FORMAT)?.get();
        if version != VERSION {
            return Err(refuse("the version of a migration stream", at + 4, version.into(), "0x3"));
        }
        Ok(())
    }

    /// Reads a section; returns whether more are wanted.
    fn section(&mut self) -> Result<bool, Error> {
        let at = self.cursor.at();
        match self.cursor.take::<u8>("a section of the stream")? {
            section::CONFIGURATION => self.configuration()?,
            section::COMMAND => self.command()?,
            section::START | section::FULL if self.begins_ram(at)? => self.records()?,
            section::PART if self.goes_on_with_ram(at)? => self.records()?,
            section::END if self.goes_on_with_ram(at)? => {
                self.records()?;
                return Ok(false);
            }
            section::END_OF_FILE => return Err(Error::NoMemory { format: FORMAT }),
            other => {
                let expected = "a section of ram before any other";
                return Err(refuse("the type of a section", at, other.into(), expected));
            }
        }
        Ok(true)
    }

    /// The machine's name, and subsections of known length.
    fn configuration(&mut self) -> Result<(), Error> {
        const WHAT: &str = "the configuration of the stream";
        let len = self.cursor.take::<U32>(WHAT)?;
        self.cursor.skip(WHAT, len.get().into())?;
        while self.cursor.peek(WHAT)? == section::SUBSECTION {
            let at = self.cursor.skip(WHAT, 1)?;
            let name = self.cursor.name(WHAT)?;
            self.cursor.take::<U32>(WHAT)?;
            match name.as_str() {
                "configuration/target-page-bits" => {
                    let bits = self.cursor.take::<U32>(WHAT)?.get();
                    if bits != PAGE_BYTES.ilog2() {
                        let feature = format!("pages of 2**{bits} bytes");
                        return Err(not_read(feature, at, "only pages of 4096 bytes are read"));
                    }
                }
                "configuration/capabilities" => self.capabilities()?,
                "configuration/uuid" => {
                    self.cursor.skip(WHAT, 16)?;
                }
                _ => return Err(not_read(format!("subsection {name:?}"), at, PLAIN)),
            }
        }
        Ok(())
    }

    /// The capabilities that a reader has to share: each changes the stream.
    fn capabilities(&mut self) -> Result<(), Error> {
        const WHAT: &str = "the capabilities of the stream";
        let at = self.cursor.at();
        let count = self.cursor.take::<U32>(WHAT)?;
        if count == 0 {
            return Ok(());
        }
        let name = self.cursor.name(WHAT)?;
        Err(not_read(format!("capability {name:?}"), at, PLAIN))
    }

    fn command(&mut self) -> Result<(), Error> {
        const WHAT: &str = "a command of the stream";
        let at = self.cursor.at();
        let [number, len] = self.cursor.take::<[U16; 2]>(WHAT)?.map(U16::get);
        if POSTCOPY.contains(&number) {
            return Err(not_read(format!("postcopy command {number}"), at, PLAIN));
        }
        self.cursor.skip(WHAT, len.into())?;
        Ok(())
    }

    /// Reads the head of a section that names its device; that must be `ram` until all of `ram` is read.
    fn begins_ram(&mut self, at: u64) -> Result<bool, Error> {
        const WHAT: &str = "the head of a section";
        let number = self.cursor.take::<U32>(WHAT)?.get();
        let name = self.cursor.name(WHAT)?;
        let [_, version] = self.cursor.take::<[U32; 2]>(WHAT)?.map(U32::get);
        if name != "ram" {
            return Err(not_read(format!("section {name:?} before the end of ram"), at, PLAIN));
        }
        if version != 4 {
            return Err(refuse("the version of section ram", at, version.into(), "0x4"));
        }
        self.ram = Some(number);
        Ok(true)
    }

    /// Reads the head of a section that goes on with a device, which must be `ram`.
    fn goes_on_with_ram(&mut self, at: u64) -> Result<bool, Error> {
        let number = self.cursor.take::<U32>("the head of a section")?.get();
        match self.ram {
            Some(ram) if ram == number => Ok(true),
            _ => Err(refuse("the number of a section", at + 1, number.into(), "that of section ram")),
        }
    }

    /// Reads records up to the one that ends a section, and the footer if there is one.
    fn records(&mut self) -> Result<(), Error> {
        while self.record()? {
            self.read += 1;
            if self.read.is_multiple_of(PULSE_PAGES) {
                (self.pulse)()?;
            }
        }
        if !self.cursor.is_at_end() && self.cursor.peek("a footer")? == section::FOOTER {
            self.cursor.skip("a footer", 1)?;
            let at = self.cursor.at();
            let number = self.cursor.take::<U32>("a footer")?.get();
            if Some(number) != self.ram {
                return Err(refuse("the number in a footer", at, number.into(), "that of section ram"));
            }
        }
        Ok(())
    }

    /// Reads a record; returns whether another follows.
    fn record(&mut self) -> Result<bool, Error> {
        const WHAT: &str = "a page record";
        let at = self.cursor.at();
        let word = self.cursor.take::<U64>(WHAT)?.get();
        let (address, flags) = (word & !(PAGE_BYTES - 1), word & (PAGE_BYTES - 1));
        match flags & !flag::CONTINUE {
            flag::EOS => return Ok(false),
            flag::MEM_SIZE => self.table(address)?,
            flag::ZERO => {
                let (block, page) = self.named_page(address, flags, at)?;
                let fill = self.cursor.take::<u8>(WHAT)?;
                if fill != 0 {
                    return Err(refuse("the byte of a zero page", self.cursor.at() - 1, fill.into(), "0x0"));
                }
                self.blocks[block].places.put(page, None);
            }
            flag::PAGE => {
                let (block, page) = self.named_page(address, flags, at)?;
                let offset = self.cursor.skip("a page", PAGE_BYTES)?;
                self.blocks[block].places.put(page, Some(offset));
            }
            flags => {
                if let Some((_, feature)) = NOT_READ.iter().find(|(flag, _)| flags & flag != 0) {
                    return Err(not_read((*feature).to_string(), at, PLAIN));
                }
                let expected = "one of zero page, table, page and end";
                return Err(refuse("the flags of a page record", at, flags, expected));
            }
        }
        Ok(true)
    }

    /// Reads the table of blocks, `bytes` long all together.
    fn table(&mut self, mut bytes: u64) -> Result<(), Error> {
        const WHAT: &str = "the table of memory blocks";
        while bytes > 0 {
            let name = self.cursor.name(WHAT)?;
            let at = self.cursor.at();
            let len = self.cursor.take::<U64>(WHAT)?.get();
            if len == 0 || !len.is_multiple_of(PAGE_BYTES) || len > bytes {
                return Err(refuse("the length of a memory block", at, len, "whole pages within the total"));
            }
            bytes -= len;
            if self.numbers.insert(name.clone(), self.blocks.len()).is_some() {
                let feature = format!("two memory blocks named {name:?}");
                return Err(not_read(feature, at, PLAIN));
            }
            self.blocks.push(Block { name, pages: len / PAGE_BYTES, places: Overlay::default() });
        }
        Ok(())
    }

    /// The block and page that a record is about; reads the name of the block if it follows.
    fn named_page(&mut self, address: u64, flags: u64, at: u64) -> Result<(usize, u64), Error> {
        if flags & flag::CONTINUE == 0 {
            let name = self.cursor.name("the name of a memory block")?;
            let Some(number) = self.numbers.get(&name) else {
                return Err(not_read(format!("a page of unknown memory block {name:?}"), at, PLAIN));
            };
            self.current = Some(*number);
        }
        let Some(number) = self.current else {
            return Err(refuse(
                "the flags of a page record",
                at,
                flags,
                "the name of a block with the first",
            ));
        };
        let page = address / PAGE_BYTES;
        if page >= self.blocks[number].pages {
            return Err(refuse("the address of a page record", at, address, "an address within its block"));
        }
        Ok((number, page))
    }
}

/// An error about one field.
fn refuse(what: &'static str, offset: u64, value: u64, expected: &'static str) -> Error {
    Error::Header { what, offset, value: format!("{value:#x}"), expected }
}

/// An error about something that is known but not read.
fn not_read(feature: String, offset: u64, hint: &'static str) -> Error {
    Error::NotReadFeature { format: FORMAT, feature, offset, hint }
}
