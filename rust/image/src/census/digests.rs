//! 128-bit hashes of pages, for a census that does not compare bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use esxcore_core::hash::content_key;
use esxcore_core::types::{Page, PageView};

use super::identify::room;
use crate::error::Error;

/// A hash for each page, kept by the thread that read it and seen by all who find the page in the index.
pub struct Digests(Vec<[AtomicU64; 2]>);

impl Digests {
    /// Room for `pages` hashes.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`].
    pub fn new(pages: usize) -> Result<Self, Error> {
        Ok(Self(room(pages)?))
    }

    /// Keeps the hash of a page; returns 64 bits of it.
    pub fn keep(&self, page: u32, bytes: &Page) -> u64 {
        let digest = content_key(PageView::Bytes(bytes), 0);
        let [low, high] = [digest as u64, (digest >> 64) as u64];
        let kept = &self.0[page as usize];
        // The slot of the index through which others come here is filled later, and with release.
        kept[0].store(low, Ordering::Relaxed);
        kept[1].store(high, Ordering::Relaxed);
        low
    }

    /// Whether two pages that were kept have the same hash.
    #[must_use]
    pub fn agree(&self, one: u32, other: u32) -> bool {
        let digest = |page: u32| self.0[page as usize].each_ref().map(|half| half.load(Ordering::Relaxed));
        digest(one) == digest(other)
    }
}
