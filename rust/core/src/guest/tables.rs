//! Which of its own pages a kernel refers to as it works: the tables that it has of the guest's pages.
//!
//! Tables stand after the code, so many bytes for each page of the guest, in the order of the pages. Whoever hands a page on,
//! or looks whether it may, refers to what the tables say of it; so does a file operation that finds its block in the cache.
//! All that is noted, each page of the tables once, and referred to when the kernel is next at work: by a process that
//! comes into it, at the latest at the end of the second.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;

use super::marks::Marks;

const PAGE_BITS: u32 = 12;

/// The tables of a guest's pages, and what of them is to be referred to.
#[derive(Clone)]
pub(super) struct Tables {
    /// The first page of them.
    first: u32,
    /// Bytes for each page of the guest; fewer than a page.
    bytes: u32,
    noted: Marks,
    /// Those noted, counted from the first, in the order in which they were.
    queue: Vec<u32>,
}

impl Tables {
    /// Tables that begin at a page, in a guest of so many pages.
    pub fn new(first: u32, bytes: u32, pages: u32) -> Self {
        let len = Self::place(bytes, pages) + 1;
        Self { first, bytes, noted: Marks::clear(len), queue: vec![] }
    }

    #[inline]
    fn place(bytes: u32, ppn: u32) -> u32 {
        ((u64::from(ppn) * u64::from(bytes)) >> PAGE_BITS) as u32
    }

    /// Something is done with a page.
    #[inline]
    pub fn note(&mut self, ppn: u32) {
        let place = Self::place(self.bytes, ppn);
        if !self.noted.get(place) {
            self.noted.set(place);
            self.queue.push(place);
        }
    }

    /// Takes what was noted: pages of the tables, those noted first first.
    pub fn take(&mut self) -> impl Iterator<Item = u32> {
        let queue = std::mem::take(&mut self.queue);
        queue.iter().for_each(|place| _ = self.noted.take(*place));
        let (first, none) = (self.first, self.bytes == 0);
        queue.into_iter().filter(move |_| !none).map(move |place| first + place)
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} noted {:#018x}", self.queue.len(), xxh3_64(self.queue.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_taken_once() {
        let mut tables = Tables::new(100, 96, 1000);
        // 42 pages and two thirds of one are in a page of the tables.
        [0, 42, 43, 999, 1, 0, 85].iter().for_each(|ppn| tables.note(*ppn));
        assert_eq!(tables.take().collect::<Vec<_>>(), [100, 101, 123]);
        assert_eq!(tables.take().count(), 0);
        tables.note(44);
        assert_eq!(tables.take().collect::<Vec<_>>(), [101]);
    }

    #[test]
    fn a_guest_without_tables_refers_to_none() {
        let mut tables = Tables::new(100, 0, 1000);
        tables.note(5);
        assert_eq!(tables.take().count(), 0);
    }
}
