//! ELF core: program headers say which guest-physical memory stands where.
//!
//! QEMU writes the segments right behind the headers, so they are not page aligned in the file. Of a header only what
//! describes memory is used. VirtualBox leaves the version byte zero, which is why no general ELF reader stands here.
//!
//! QEMU's dumps (known by their notes) of x86 guests contain flash and the memory of display adapters, at addresses
//! between main memory and 4 GiB. Main memory begins at address 0 and has no hole there but the one for legacy video
//! below 1 MiB, so a region that begins between 1 MiB and 4 GiB is a device's.
//!
//! # Source
//!
//! System V ABI, chapters 4 and 5 (64-bit: ELF-64 Object File Format 1.5); QEMU's note name from its documentation of
//! `dump-guest-memory`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::Error;
use crate::map::{Builder, Described, RegionKind, SegmentMap};
use crate::source::{Cursor, Source};

const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const CORE: u16 = 4;
const I386: u16 = 3;
const X86_64: u16 = 62;
/// A number of program headers that says: look into the first section header.
const MANY_SEGMENTS: u16 = 0xffff;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// Notes to look at: one a virtual CPU, and a few.
const MOST_NOTES: u32 = 1 << 16;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ident {
    magic: [u8; 4],
    class: u8,
    data: u8,
    /// 1, or 0 from VirtualBox.
    version: u8,
    padding: [u8; 9],
    kind: U16,
    machine: U16,
}

/// The file header from byte 20 on; `W` is an address.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Rest<W> {
    version: U32,
    entry: W,
    program_headers: W,
    section_headers: W,
    flags: U32,
    header_size: U16,
    program_header_size: U16,
    program_header_count: U16,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Program64 {
    kind: U32,
    flags: U32,
    offset: U64,
    virtual_address: U64,
    address: U64,
    file_size: U64,
    memory_size: U64,
    align: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Program32 {
    kind: U32,
    offset: U32,
    virtual_address: U32,
    address: U32,
    file_size: U32,
    memory_size: U32,
    flags: U32,
    align: U32,
}

/// What both classes say of a segment.
struct Program {
    kind: u32,
    at: u64,
    memory: Described,
}

/// Where the program headers are.
struct Table {
    wide: bool,
    machine: u16,
    offset: u64,
    entry_size: u16,
    count: u64,
}

/// The map of an ELF core.
///
/// # Errors
///
/// [`Error::Header`], [`Error::Truncated`], and those of [`Builder::described`].
pub fn parse(source: &Source, mut builder: Builder) -> Result<SegmentMap, Error> {
    let table = table(source)?;
    let mut ranges = vec![];
    let mut notes = None;
    for index in 0..table.count {
        let program = table.program(source, index)?;
        match program.kind {
            LOAD => ranges.push(loaded(&program)?),
            NOTE => notes = notes.or(Some(program.memory)),
            _ => {}
        }
    }
    if ranges.len() > 1 && ranges.iter().all(|range| range.start == 0) {
        return Err(header("the physical address of all segments", table.offset, 0, "addresses of a guest"));
    }
    let from_qemu = notes.map_or(Ok(false), |notes| is_from_qemu(source, &notes))?;
    let is_pc = from_qemu && [I386, X86_64].contains(&table.machine);
    builder.described(ranges, |frame| match frame {
        0x101..0x10_0000 if is_pc => RegionKind::Device,
        _ => RegionKind::Ram,
    })?;
    builder.finish("an ELF core")
}

/// An error about one field.
fn header(what: &'static str, offset: u64, value: u64, expected: &'static str) -> Error {
    Error::Header { what, offset, value: value.to_string(), expected }
}

/// Reads the file header.
fn table(source: &Source) -> Result<Table, Error> {
    let ident: Ident = source.read("an ELF header", 0)?;
    if ident.data != LITTLE_ENDIAN {
        return Err(header("the ELF byte order", 5, ident.data.into(), "1 (little endian)"));
    }
    if ident.version > 1 {
        return Err(header("the ELF version", 6, ident.version.into(), "1"));
    }
    if ident.kind.get() != CORE {
        return Err(header("the ELF type", 16, ident.kind.get().into(), "4 (core)"));
    }
    let machine = ident.machine.get();
    match ident.class {
        CLASS_32 => {
            let rest: Rest<U32> = source.read("an ELF header", 20)?;
            let (offset, sections) = (rest.program_headers.get(), rest.section_headers.get());
            let count = count(source, rest.program_header_count, sections.into(), 28)?;
            let entry_size = entry_size(rest.program_header_size, 42, size_of::<Program32>())?;
            Table { wide: false, machine, offset: offset.into(), entry_size, count }.checked(source)
        }
        CLASS_64 => {
            let rest: Rest<U64> = source.read("an ELF header", 20)?;
            let count = count(source, rest.program_header_count, rest.section_headers.get(), 44)?;
            let entry_size = entry_size(rest.program_header_size, 54, size_of::<Program64>())?;
            Table { wide: true, machine, offset: rest.program_headers.get(), entry_size, count }
                .checked(source)
        }
        class => Err(header("the ELF class", 4, class.into(), "1 (32 bits) or 2 (64 bits)")),
    }
}

/// Number of program headers; a large one stands at byte `info` of the first section header.
fn count(source: &Source, count: U16, sections: u64, info: u64) -> Result<u64, Error> {
    if count != MANY_SEGMENTS {
        return Ok(count.get().into());
    }
    let large: U32 = source.read("the first ELF section header", sections.saturating_add(info))?;
    Ok(large.get().into())
}

/// The size of a program header, if its fields fit.
fn entry_size(size: U16, offset: u64, least: usize) -> Result<u16, Error> {
    if usize::from(size.get()) < least {
        let expected = "at least 32 (32 bits) or 56 (64 bits)";
        return Err(header("the size of an ELF program header", offset, size.get().into(), expected));
    }
    Ok(size.get())
}

impl Table {
    /// Itself, if the file has all of it.
    fn checked(self, source: &Source) -> Result<Self, Error> {
        let bytes = self.count * u64::from(self.entry_size);
        source.check("the ELF program headers", self.offset, bytes)?;
        Ok(self)
    }

    /// Reads a program header.
    fn program(&self, source: &Source, index: u64) -> Result<Program, Error> {
        let at = self.offset + index * u64::from(self.entry_size);
        let what = "an ELF program header";
        let (kind, start, size, data, offset) = if self.wide {
            let read: Program64 = source.read(what, at)?;
            (read.kind, read.address, read.memory_size, read.file_size, read.offset)
        } else {
            let read: Program32 = source.read(what, at)?;
            let [start, size, data, offset] =
                [read.address, read.memory_size, read.file_size, read.offset].map(U64::from);
            (read.kind, start, size, data, offset)
        };
        let memory =
            Described { start: start.get(), size: size.get(), data: data.get(), offset: offset.get() };
        Ok(Program { kind: kind.get(), at, memory })
    }
}

/// The memory of a segment that is to be loaded.
fn loaded(program: &Program) -> Result<Described, Error> {
    let Described { size, data, .. } = program.memory;
    if data > size {
        let what = "the file size of an ELF segment";
        return Err(header(what, program.at, data, "at most its memory size"));
    }
    Ok(program.memory)
}

/// Whether a note of QEMU is among those of a segment.
fn is_from_qemu(source: &Source, notes: &Described) -> Result<bool, Error> {
    let end = source.check("the ELF notes", notes.offset, notes.data)?;
    let mut cursor = Cursor::new(source, notes.offset);
    for _ in 0..MOST_NOTES {
        if cursor.at() + 12 > end {
            break;
        }
        let [name, description, _] =
            cursor.take::<[U32; 3]>("an ELF note")?.map(|word| u64::from(word.get()));
        if name == 5 && cursor.bytes("an ELF note", 5)? == b"QEMU\0" {
            return Ok(true);
        }
        let read = if name == 5 { 5 } else { 0 };
        let whole = name.next_multiple_of(4) + description.next_multiple_of(4) - read;
        if cursor.skip("an ELF note", whole).is_err() {
            break;
        }
    }
    Ok(false)
}
