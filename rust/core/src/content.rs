//! What numbered pages hold: real bytes, or one token a page. Only this room and `hash` know which.
//!
//! The machine's memory and the swap file are one such container each.

use crate::arena::Arena;
use crate::compare::{STEP, are_equal};
use crate::error::Error;
use crate::types::{ContentKind, ENGINE_TOKENS, Page, PageView, Pulse, ZERO_PAGE};

/// The contents of pages `0..len`, zero until written.
#[derive(Debug)]
pub struct Content {
    pages: Pages,
    stamp: Stamp,
}

#[derive(Debug)]
enum Pages {
    Bytes(Arena<Page>),
    Tokens(Arena<u64>),
}

/// Makes fresh contents: each differs from every other page of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Contents made so far.
    made: u64,
    /// Sets the engine's own bytes apart from whatever guests write.
    mark: u64,
}

impl Stamp {
    /// The number of the next fresh content, whose top bit is set.
    fn next(&mut self) -> u64 {
        self.made += 1;
        ENGINE_TOKENS | self.made
    }
}

impl Content {
    /// `len` zero pages; `mark` begins every stamp of real bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if the system has no such address space.
    pub fn new(kind: ContentKind, len: u32, mark: u64) -> Result<Self, Error> {
        let pages = match kind {
            ContentKind::Bytes => Pages::Bytes(Arena::zeroed(len as usize)?),
            ContentKind::Tokens => Pages::Tokens(Arena::zeroed(len as usize)?),
        };
        Ok(Self { pages, stamp: Stamp { made: 0, mark } })
    }

    /// Bytes or tokens.
    #[must_use]
    pub fn kind(&self) -> ContentKind {
        match self.pages {
            Pages::Bytes(_) => ContentKind::Bytes,
            Pages::Tokens(_) => ContentKind::Tokens,
        }
    }

    /// The zero page of this kind.
    #[must_use]
    pub fn zero_page(&self) -> PageView<'static> {
        match self.pages {
            Pages::Bytes(_) => PageView::Bytes(&ZERO_PAGE),
            Pages::Tokens(_) => PageView::Token(0),
        }
    }

    /// What a page holds.
    #[must_use]
    pub fn page(&self, index: usize) -> PageView<'_> {
        match &self.pages {
            Pages::Bytes(pages) => PageView::Bytes(&pages.as_slice()[index]),
            Pages::Tokens(tokens) => PageView::Token(tokens.as_slice()[index]),
        }
    }

    /// Whether two pages hold the same.
    #[must_use]
    pub fn equal(&self, one: usize, other: usize) -> bool {
        self.page(one) == self.page(other)
    }

    /// Which of these pairs of pages hold the same: pages of real bytes are compared in full, several pairs in step.
    /// The first of a pair should have been read just before.
    #[must_use]
    pub fn are_equal(&self, pairs: &[(usize, usize)]) -> Vec<bool> {
        match &self.pages {
            Pages::Bytes(pages) => equal_in_step(pages.as_slice(), pairs),
            Pages::Tokens(_) => pairs.iter().map(|(one, other)| self.equal(*one, *other)).collect(),
        }
    }

    /// Makes a page read zero.
    pub fn zero(&mut self, index: usize) {
        match &mut self.pages {
            Pages::Bytes(pages) => pages.as_mut_slice()[index].fill(0),
            Pages::Tokens(tokens) => tokens.as_mut_slice()[index] = 0,
        }
    }

    /// Makes a page hold `page`, which is of this kind.
    pub fn store(&mut self, index: usize, page: PageView<'_>) {
        match (&mut self.pages, page) {
            (Pages::Bytes(pages), PageView::Bytes(bytes)) => pages.as_mut_slice()[index] = *bytes,
            (Pages::Tokens(tokens), PageView::Token(token)) => tokens.as_mut_slice()[index] = token,
            _ => unreachable!("the host refuses contents of the other kind"),
        }
    }

    /// Copies a page to another.
    pub fn copy(&mut self, from: usize, to: usize) {
        match &mut self.pages {
            Pages::Bytes(pages) => pages.as_mut_slice().copy_within(from..=from, to),
            Pages::Tokens(tokens) => tokens.as_mut_slice().copy_within(from..=from, to),
        }
    }

    /// Gives each page in turn fresh content of its own; returns how many there were.
    pub fn stamp_all(&mut self, places: impl Iterator<Item = usize>) -> usize {
        let stamp = &mut self.stamp;
        match &mut self.pages {
            Pages::Bytes(pages) => {
                let pages = pages.as_mut_slice();
                places.map(|place| stamp_bytes(&mut pages[place], stamp)).count()
            }
            Pages::Tokens(tokens) => {
                let tokens = tokens.as_mut_slice();
                places.map(|place| tokens[place] = stamp.next()).count()
            }
        }
    }

    /// Fresh contents made so far.
    #[must_use]
    pub fn stamps_made(&self) -> u64 {
        self.stamp.made
    }

    /// Makes the next part of the first `len` pages real; returns whether all of them are.
    pub fn commit_some(&mut self, len: usize) -> bool {
        match &mut self.pages {
            Pages::Bytes(pages) => pages.commit_some(len),
            Pages::Tokens(tokens) => tokens.commit_some(len),
        }
    }

    /// Bytes that committing the first `len` pages would make real.
    #[must_use]
    pub fn bytes_to_commit(&self, len: usize) -> usize {
        match &self.pages {
            Pages::Bytes(pages) => pages.bytes_to_commit(len),
            Pages::Tokens(tokens) => tokens.bytes_to_commit(len),
        }
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.pages {
            Pages::Bytes(pages) => pages.committed_bytes(),
            Pages::Tokens(tokens) => tokens.committed_bytes(),
        }
    }

    /// A copy.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], or what `pulse` returns.
    pub fn fork(&self, pulse: Pulse<'_>) -> Result<Self, Error> {
        let pages = match &self.pages {
            Pages::Bytes(pages) => Pages::Bytes(pages.fork(pulse)?),
            Pages::Tokens(tokens) => Pages::Tokens(tokens.fork(pulse)?),
        };
        Ok(Self { pages, stamp: self.stamp })
    }
}

/// Several pairs at a time: of each the second comes from far away, the first was mostly read just before.
fn equal_in_step(pages: &[Page], pairs: &[(usize, usize)]) -> Vec<bool> {
    let mut equal = Vec::with_capacity(pairs.len());
    for group in pairs.chunks(STEP) {
        // A last, smaller group is filled up by repeating a pair.
        let in_step = std::array::from_fn(|at| {
            let (one, other) = group[at.min(group.len() - 1)];
            (&pages[one], &pages[other])
        });
        equal.extend_from_slice(&are_equal(in_step)[..group.len()]);
    }
    equal
}

/// Replaces the first 16 bytes, which nobody else's page begins with.
fn stamp_bytes(page: &mut Page, stamp: &mut Stamp) {
    let number = stamp.next().to_le_bytes();
    page[..8].copy_from_slice(&stamp.mark.to_le_bytes());
    page[8..16].copy_from_slice(&number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PAGE_SIZE;

    #[test]
    fn pairs_compared_in_step_or_alone_are_the_same() {
        let mut content = Content::new(ContentKind::Bytes, 64, 7).expect("256 KiB");
        while !content.commit_some(64) {}
        // Page n differs from the zero page in one byte, which is in another line each time.
        for page in 1..64 {
            let mut bytes = ZERO_PAGE;
            bytes[page * 65 % PAGE_SIZE] = 1;
            content.store(page, PageView::Bytes(&bytes));
            content.copy(page, 63);
            let pairs: Vec<(usize, usize)> = (0..64).map(|other| (page, other)).collect();
            for count in [0, 1, 11, 12, 13, 64] {
                let equal: Vec<bool> = pairs[..count].iter().map(|(_, other)| *other == page).collect();
                let found = content.are_equal(&pairs[..count]);
                assert_eq!(found[..count.min(63)], equal[..count.min(63)]);
                assert!(count < 64 || found[63]);
            }
        }
    }
}
