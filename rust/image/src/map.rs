//! Where the pages of an image stand in its file.
//!
//! An image numbers its pages without gaps, in the order of guest addresses: page 0 is the first page of the first
//! [`Region`]. A [`Segment`] says where a run of these bytes stands in the file; bytes in no segment read zero. Segments
//! count bytes, not pages, because nothing in the formats is bound to page borders: data may begin anywhere in the file,
//! and one page may be made of the end of one segment and the beginning of the next.
//!
//! Parsers fill a [`Builder`], either range by range of guest-physical memory or block by block. It refuses what overlaps,
//! overflows, names more data than the file has or more pages than an image can have.

use std::ops::Range;

use esxcore_core::types::{MAX_PAGES, PAGE_SIZE, Page, ZERO_PAGE};

use crate::error::Error;
use crate::source::Source;

/// Bytes in a page, as wide as the numbers of a file.
pub const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// What a region of guest memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Main memory, which a host allocates page by page.
    Ram,
    /// Firmware, or the memory of a device.
    Device,
}

/// Whether firmware and memory of devices count as pages of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// They are left out, so that all formats give the same pages of one guest.
    #[default]
    LeaveOut,
    /// They are pages like all others.
    Keep,
}

/// Guest memory without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Name of the block in formats that name them, else empty.
    pub name: String,
    /// Main memory or not.
    pub kind: RegionKind,
    /// Number of its first page: guest-physical, or within the block in formats that name blocks.
    pub first_frame: u64,
    /// Pages.
    pub pages: u64,
}

/// Bytes of an image and where they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first byte, counted over all pages of the image.
    pub start: u64,
    /// Bytes, not counting gaps.
    pub len: u64,
    /// Where the first byte stands in the file.
    pub offset: u64,
    /// Bytes of the file between one page and the next; if not zero, `start` and `len` are whole pages.
    pub gap: u64,
}

impl Segment {
    /// The byte after the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Where byte `inner` of the segment stands in the file.
    fn place(&self, inner: u64) -> u64 {
        self.offset + inner + inner / PAGE_BYTES * self.gap
    }

    /// Fills `buffer` with bytes from `inner` on.
    fn read(&self, source: &Source, inner: u64, buffer: &mut [u8]) -> Result<(), Error> {
        const WHAT: &str = "page data";
        if self.gap == 0 {
            return source.read_into(WHAT, self.offset + inner, buffer);
        }
        for (page, at) in buffer.chunks_mut(PAGE_SIZE).zip((inner..).step_by(PAGE_SIZE)) {
            source.read_into(WHAT, self.place(at), page)?;
        }
        Ok(())
    }

    /// The part that file bytes `extent` hold.
    fn within(&self, extent: &Range<u64>) -> Option<Self> {
        let from = extent.start.max(self.offset);
        let to = extent.end.min(self.offset + self.len);
        let start = self.start + from.saturating_sub(self.offset);
        (from < to).then(|| Self { start, len: to - from, offset: from, gap: 0 })
    }
}

/// Whether pages have data in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// They read zero, and nothing has to be read to know.
    Hole,
    /// They stand in the file.
    Data,
}

/// Pages next to each other that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first page.
    pub first: u32,
    /// Pages.
    pub pages: u32,
    /// Alike in this.
    pub kind: RunKind,
}

/// Where each page of an image stands.
///
/// # Invariants
///
/// Segments are in order, apart, not empty, within the pages and within the file. Cost: 32 bytes a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMap {
    segments: Vec<Segment>,
    regions: Vec<Region>,
    left_out: Vec<Region>,
    pages: u32,
}

impl SegmentMap {
    /// Pages of the image.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// The regions whose pages these are, in order.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The regions that are in the file but not in the image.
    #[must_use]
    pub fn left_out(&self) -> &[Region] {
        &self.left_out
    }

    /// The segments, in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The longest run that begins at page `first`, which exists, of `most` pages at most.
    ///
    /// Cost: a binary search, and the segments of the run.
    #[must_use]
    pub fn run(&self, first: u32, most: u32) -> Run {
        let limit = u64::from(first) + u64::from(most.min(self.pages - first));
        let mut rest = self.segments_from(u64::from(first) * PAGE_BYTES).iter().peekable();
        let next = rest.peek().map_or(limit, |segment| segment.start / PAGE_BYTES);
        let mut end = next.clamp(u64::from(first), limit);
        let hole = end > u64::from(first);
        while !hole && end < limit {
            match rest.next_if(|segment| segment.start / PAGE_BYTES <= end) {
                Some(segment) => end = segment.end().div_ceil(PAGE_BYTES).min(limit),
                None => break,
            }
        }
        let kind = if hole { RunKind::Hole } else { RunKind::Data };
        Run { first, pages: (end - u64::from(first)) as u32, kind }
    }

    /// Fills `buffer` with the pages from `first` on, which exist.
    ///
    /// # Errors
    ///
    /// What reading the source returns; the buffer is then undefined.
    pub fn read(&self, source: &Source, first: u32, buffer: &mut [Page]) -> Result<(), Error> {
        let mut at = u64::from(first) * PAGE_BYTES;
        let mut rest = buffer.as_flattened_mut();
        for segment in self.segments_from(at) {
            let hole = segment.start.saturating_sub(at).min(rest.len() as u64);
            let (zeros, tail) = rest.split_at_mut(hole as usize);
            zeros.fill(0);
            at += hole;
            let take = (segment.end() - at).min(tail.len() as u64);
            if take == 0 {
                rest = tail;
                break;
            }
            let (data, tail) = tail.split_at_mut(take as usize);
            segment.read(source, at - segment.start, data)?;
            at += take;
            rest = tail;
        }
        rest.fill(0);
        Ok(())
    }

    /// Turns what stands in no extent of the file into holes; segments with gaps stay as they are.
    #[must_use]
    pub fn within(mut self, extents: &[Range<u64>]) -> Self {
        let mut kept = Vec::with_capacity(self.segments.len());
        for segment in self.segments {
            if segment.gap > 0 {
                kept.push(segment);
                continue;
            }
            let first = extents.partition_point(|extent| extent.end <= segment.offset);
            let parts = extents[first..].iter().map_while(|extent| segment.within(extent));
            kept.extend(parts);
        }
        self.segments = kept;
        self
    }

    /// The segments that do not end at or before byte `at`.
    fn segments_from(&self, at: u64) -> &[Segment] {
        &self.segments[self.segments.partition_point(|segment| segment.end() <= at)..]
    }
}

/// Guest-physical memory that a header describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Guest-physical address.
    pub start: u64,
    /// Bytes of guest memory.
    pub size: u64,
    /// Bytes of it that are in the file; the rest read zero.
    pub data: u64,
    /// Where they are in the file.
    pub offset: u64,
}

impl Described {
    /// The address after the last.
    fn end(&self) -> Result<u64, Error> {
        let Self { start, size, .. } = *self;
        start.checked_add(size).ok_or(Error::Endless { start, size })
    }
}

/// Makes a segment map.
#[derive(Debug)]
pub struct Builder {
    devices: Devices,
    file_bytes: u64,
    data_bytes: u64,
    pages: u64,
    map: SegmentMap,
}

impl Builder {
    /// An empty map over `source`.
    #[must_use]
    pub fn new(source: &Source, devices: Devices) -> Self {
        let map = SegmentMap { segments: vec![], regions: vec![], left_out: vec![], pages: 0 };
        Self { devices, file_bytes: source.len(), data_bytes: 0, pages: 0, map }
    }

    /// Adds a region after those there are; returns where its bytes begin, or none if it is left out.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPages`].
    pub fn region(&mut self, region: Region) -> Result<Option<u64>, Error> {
        if region.kind == RegionKind::Device && self.devices == Devices::LeaveOut {
            self.map.left_out.push(region);
            return Ok(None);
        }
        let place = self.pages * PAGE_BYTES;
        let pages = self.pages.saturating_add(region.pages);
        if pages > u64::from(MAX_PAGES) {
            return Err(Error::TooManyPages { pages });
        }
        self.pages = pages;
        self.map.regions.push(region);
        Ok(Some(place))
    }

    /// Adds a segment after those there are, within the last region added.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if the file ends before it, [`Error::Lies`] if all segments together have more bytes than
    /// the file.
    pub fn segment(&mut self, segment: Segment) -> Result<(), Error> {
        let Segment { len, offset, gap, .. } = segment;
        let gaps = len.div_ceil(PAGE_BYTES).saturating_sub(1).saturating_mul(gap);
        let wanted = len.saturating_add(gaps);
        let size = self.file_bytes;
        if offset.checked_add(wanted).is_none_or(|end| end > size) {
            return Err(Error::Truncated { what: "a segment", offset, wanted, size });
        }
        self.data_bytes = self.data_bytes.saturating_add(len);
        if self.data_bytes > size {
            return Err(Error::Lies { data: self.data_bytes, size });
        }
        debug_assert!(self.map.segments.last().is_none_or(|last| last.end() <= segment.start));
        if len > 0 {
            self.map.segments.push(segment);
        }
        Ok(())
    }

    /// Adds guest-physical memory in any order; `kind` says what a region is by the number of its first page.
    ///
    /// Neighbours become one region, even if they meet within a page.
    ///
    /// # Errors
    ///
    /// [`Error::Overlap`], [`Error::Endless`], [`Error::TooManyPages`], [`Error::Truncated`] or [`Error::Lies`].
    pub fn described(
        &mut self,
        mut ranges: Vec<Described>,
        kind: impl Fn(u64) -> RegionKind,
    ) -> Result<(), Error> {
        ranges.retain(|range| range.size > 0);
        ranges.sort_unstable_by_key(|range| range.start);
        for pair in ranges.windows(2) {
            let (end, start) = (pair[0].end()?, pair[1].start);
            if end > start {
                return Err(Error::Overlap { end, start });
            }
        }
        // Those of all others are checked now.
        ranges.last().map_or(Ok(0), Described::end)?;
        let meet = |one: &Described, next: &Described| {
            next.start / PAGE_BYTES <= (one.start + one.size).div_ceil(PAGE_BYTES)
        };
        ranges.chunk_by(meet).try_for_each(|together| self.together(together, &kind))
    }

    /// Adds neighbours as one region.
    fn together(&mut self, ranges: &[Described], kind: impl Fn(u64) -> RegionKind) -> Result<(), Error> {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
            return Ok(());
        };
        let first_frame = first.start / PAGE_BYTES;
        let pages = last.end()?.div_ceil(PAGE_BYTES) - first_frame;
        let region = Region { name: String::new(), kind: kind(first_frame), first_frame, pages };
        let Some(place) = self.region(region)? else {
            return Ok(());
        };
        for Described { start, data, offset, .. } in ranges {
            let start = place + (start - first_frame * PAGE_BYTES);
            self.segment(Segment { start, len: *data, offset: *offset, gap: 0 })?;
        }
        Ok(())
    }

    /// The map.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if it has no page; `format` names the file in it.
    pub fn finish(mut self, format: &'static str) -> Result<SegmentMap, Error> {
        if self.pages == 0 {
            return Err(Error::NoMemory { format });
        }
        self.map.pages = self.pages as u32;
        self.map.segments.shrink_to_fit();
        Ok(self.map)
    }
}

/// A buffer of `pages` zero pages.
#[must_use]
pub fn zero_pages(pages: usize) -> Vec<Page> {
    vec![ZERO_PAGE; pages]
}
