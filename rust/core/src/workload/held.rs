//! Anonymous memory that a process gives back when it needs less of it.

use super::{Batch, Ops};
use crate::reference::{Ref, Wish};

/// Pages given back in a batch.
const BATCH: u32 = 256;

/// The pages of a process that may hold something: those from its base up to some height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    base: u32,
    pages: u32,
}

impl Held {
    /// Nothing is held yet.
    pub fn new(base: u32) -> Self {
        Self { base, pages: 0 }
    }

    /// So many pages are in use, or more were.
    pub fn reach(&mut self, pages: u32) {
        self.pages = self.pages.max(pages);
    }

    /// Fills a batch with some of the pages above `pages`, the last first; whether there were any. Giving back is part of
    /// the operation that follows.
    pub fn give_back(&mut self, pages: u32, batch: &mut Batch) -> bool {
        if self.pages <= pages {
            return false;
        }
        let least = pages.max(self.pages.saturating_sub(BATCH));
        let above = (least..self.pages).rev().map(|page| Wish::Free { page: self.base + page });
        batch.refs.extend(above.map(Ref::new));
        batch.ops = Ops::Ends(vec![]);
        self.pages = least;
        true
    }
}
