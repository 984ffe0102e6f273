//! An image: a file and the map of its pages.
//!
//! Pages are read by number into buffers of the caller; a census goes through [`Image::run`], passes over holes, and
//! reads data in pieces of some hundred pages. [`crate::source`] says why by `pread` and not through a memory map.
//!
//! An image is what the file held when it was opened, as far as nobody changes it: of a running guest's RAM file pages
//! read late are newer, and a page that was a hole reads zero. A file that becomes shorter ends the reading with
//! [`Error::Shrunk`].

use std::path::{Path, PathBuf};

use esxcore_core::types::{Page, ZERO_PAGE};

use crate::error::Error;
use crate::format::{self, Format, HEAD_BYTES};
use crate::formats::{elf, libvirt, lime, migration, raw, vmware};
use crate::map::{Builder, Devices, Region, Run, SegmentMap};
use crate::pages::Pages;
use crate::source::{Pulse, Source};

/// How to open an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The format, if it is not to be found out.
    pub format: Option<Format>,
    /// Whether firmware and device memory are pages of the image.
    pub devices: Devices,
}

/// Guest memory in a file.
#[derive(Debug)]
pub struct Image {
    path: Option<PathBuf>,
    format: Format,
    source: Source,
    map: SegmentMap,
}

impl Image {
    /// Opens a file; of a vmem file also the vmss or vmsn file of the same name beside it, if there is one.
    ///
    /// Holes of a sparse file are found here and not read later. Cost: the headers, for a migration stream one for each
    /// page.
    ///
    /// # Errors
    ///
    /// [`Error::InFile`] with the path and what is wrong with the file.
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_with(path, options, &mut || Ok(()))
    }

    /// As [`Image::open`], with `pulse` called every 2^15 pages of a stream.
    ///
    /// # Errors
    ///
    /// As [`Image::open`], and what `pulse` returns.
    pub fn open_with(path: &Path, options: &Options, pulse: Pulse<'_>) -> Result<Self, Error> {
        let named = |error: Error| error.in_file(path);
        let source = Source::open(path).map_err(named)?;
        let format = format_of(&source, Some(path), options).map_err(named)?;
        let table = if format == Format::Vmem { table_beside(path)? } else { vmware::Table::default() };
        let map = parse(&source, format, &table, options.devices, pulse).map_err(named)?;
        let map = map.within(&source.extents().map_err(named)?);
        Ok(Self { path: Some(path.to_path_buf()), format, source, map })
    }

    /// An image of bytes in memory.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub fn from_bytes(bytes: Vec<u8>, options: &Options) -> Result<Self, Error> {
        Self::from_bytes_and_table(bytes, None, options)
    }

    /// An image of bytes in memory, and those of the vmss file beside it.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes of either.
    pub fn from_bytes_and_table(
        bytes: Vec<u8>,
        beside: Option<Vec<u8>>,
        options: &Options,
    ) -> Result<Self, Error> {
        let source = Source::Bytes(bytes);
        if source.is_empty() {
            return Err(Error::Empty);
        }
        let format = format_of(&source, None, options)?;
        let table = beside.map(|beside| vmware::Table::read(&Source::Bytes(beside))).transpose()?;
        let map = parse(&source, format, &table.unwrap_or_default(), options.devices, &mut || Ok(()))?;
        Ok(Self { path: None, format, source, map })
    }

    /// The file, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The format it was read as.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where its pages stand.
    #[must_use]
    pub fn map(&self) -> &SegmentMap {
        &self.map
    }

    /// The region of a page, and the page's number within the guest (see [`Region::first_frame`]).
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]. Cost: the regions before it.
    pub fn frame(&self, page: u32) -> Result<(&Region, u64), Error> {
        Error::check_range(page, 1, self.pages())?;
        let mut rest = u64::from(page);
        for region in self.map.regions() {
            if rest < region.pages {
                return Ok((region, region.first_frame + rest));
            }
            rest -= region.pages;
        }
        unreachable!("the regions have as many pages as the image")
    }

    /// One page.
    ///
    /// # Errors
    ///
    /// As [`Image::read_pages`].
    pub fn page(&self, page: u32) -> Result<Page, Error> {
        let mut buffer = [ZERO_PAGE];
        self.read_pages(page, &mut buffer)?;
        Ok(buffer[0])
    }
}

impl Pages for Image {
    fn pages(&self) -> u32 {
        self.map.pages()
    }

    fn run(&self, first: u32, most: u32) -> Result<Run, Error> {
        Error::check_range(first, 1, self.pages())?;
        Ok(self.map.run(first, most))
    }

    /// A failure is an [`Error::InFile`] with [`Error::Shrunk`] or [`Error::Unreadable`].
    fn read_pages(&self, first: u32, buffer: &mut [Page]) -> Result<(), Error> {
        Error::check_range(first, buffer.len() as u64, self.pages())?;
        let read = self.map.read(&self.source, first, buffer);
        read.map_err(|error| match &self.path {
            Some(path) => error.in_file(path),
            None => error,
        })
    }

    fn frame_run(&self, page: u32) -> Result<(u64, u32), Error> {
        let (region, frame) = self.frame(page)?;
        let left = region.first_frame + region.pages - frame;
        Ok((frame, left as u32))
    }
}

/// The format asked for, or that of the first bytes.
fn format_of(source: &Source, path: Option<&Path>, options: &Options) -> Result<Format, Error> {
    if let Some(format) = options.format {
        return Ok(format);
    }
    let mut head = [0; HEAD_BYTES];
    let head = &mut head[..source.len().min(HEAD_BYTES as u64) as usize];
    source.read_into("the first bytes", 0, head)?;
    format::detect(head, path)
}

/// Lets the parser of the format read the source.
fn parse(
    source: &Source,
    format: Format,
    table: &vmware::Table,
    devices: Devices,
    pulse: Pulse<'_>,
) -> Result<SegmentMap, Error> {
    let builder = Builder::new(source, devices);
    match format {
        Format::Raw => raw::parse(source, builder),
        Format::Elf => elf::parse(source, builder),
        Format::Lime => lime::parse(source, builder),
        Format::Vmem => vmware::parse(source, table, builder),
        Format::Vmss => vmware::parse_inside(source, builder),
        Format::Migration => migration::parse(source, 0, builder, pulse),
        Format::LibvirtSave => libvirt::parse(source, builder, pulse),
    }
}

/// The regions that the vmss or vmsn file beside a vmem file describes; none if there is no such file.
fn table_beside(vmem: &Path) -> Result<vmware::Table, Error> {
    for extension in ["vmss", "vmsn"] {
        let path = vmem.with_extension(extension);
        match Source::open(&path).and_then(|source| vmware::Table::read(&source)) {
            Err(Error::Missing) => {}
            table => return table.map_err(|error| error.in_file(&path)),
        }
    }
    Ok(vmware::Table::default())
}
