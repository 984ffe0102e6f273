//! What a census reads: something that has pages.
//!
//! Images and processes supply it, and so does plain memory. Several threads read one source at once.

use esxcore_core::types::Page;

use crate::error::Error;
use crate::map::{Run, RunKind};

/// Pages by number.
pub trait Pages: Sync {
    /// How many.
    fn pages(&self) -> u32;

    /// The pages from `first` on that all are holes or all have data, `most` at most and at least one. Which are holes
    /// stays as it is, even of memory that somebody else changes.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if `first` is no page.
    fn run(&self, first: u32, most: u32) -> Result<Run, Error>;

    /// Fills `buffer` with the pages from `first` on.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`], or what reading them meets; the buffer is then undefined.
    fn read_pages(&self, first: u32, buffer: &mut [Page]) -> Result<(), Error>;

    /// All pages, if they stand in memory and need no reading.
    fn in_memory(&self) -> Option<&[Page]> {
        None
    }

    /// The number of a page within the guest, by which large pages are aligned, and how many pages follow it without a
    /// gap, itself included.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    fn frame_run(&self, page: u32) -> Result<(u64, u32), Error> {
        Error::check_range(page, 1, self.pages())?;
        Ok((u64::from(page), self.pages() - page))
    }
}

/// Pages that stand in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a>(pub &'a [Page]);

impl Pages for Memory<'_> {
    fn pages(&self) -> u32 {
        self.0.len() as u32
    }

    fn run(&self, first: u32, most: u32) -> Result<Run, Error> {
        Error::check_range(first, 1, self.pages())?;
        Ok(Run { first, pages: most.min(self.pages() - first), kind: RunKind::Data })
    }

    fn read_pages(&self, first: u32, buffer: &mut [Page]) -> Result<(), Error> {
        Error::check_range(first, buffer.len() as u64, self.pages())?;
        buffer.copy_from_slice(&self.0[first as usize..][..buffer.len()]);
        Ok(())
    }

    fn in_memory(&self) -> Option<&[Page]> {
        Some(self.0)
    }
}
