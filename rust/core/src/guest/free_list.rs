//! The free list: last in, first out, so that a page that may still be in the processor's caches is used again first.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// What a page is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// It has to read zero: a page known to is best.
    Zeroes,
    /// It is filled with something else: pages known to be zero are taken last.
    Any,
}

/// What is known of a page that was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// It reads zero.
    Zeroes,
    /// Anything.
    Unknown,
}

/// Free pages. Those from `fresh` on have never been used, and a page on another list is below.
#[derive(Clone)]
pub(super) struct FreeList {
    fresh: u32,
    pages: u32,
    used: Vec<u32>,
    zeroed: Vec<u32>,
}

impl FreeList {
    /// The pages `from..pages`, none known to be zero.
    pub fn new(from: u32, pages: u32) -> Self {
        Self { fresh: from, pages, used: vec![], zeroed: vec![] }
    }

    /// Pages.
    #[inline]
    pub fn len(&self) -> u32 {
        self.uncleared() + self.zeroed.len() as u32
    }

    /// Pages not known to be zero.
    pub fn uncleared(&self) -> u32 {
        self.pages - self.fresh + self.used.len() as u32
    }

    /// Takes a page.
    pub fn take(&mut self, want: Want) -> Option<(u32, Holds)> {
        if want == Want::Zeroes && !self.zeroed.is_empty() {
            return self.take_zeroed();
        }
        match self.take_uncleared() {
            Some(ppn) => Some((ppn, Holds::Unknown)),
            None => self.take_zeroed(),
        }
    }

    fn take_zeroed(&mut self) -> Option<(u32, Holds)> {
        Some((self.zeroed.pop()?, Holds::Zeroes))
    }

    /// Takes a page not known to be zero: the one freed last, or the lowest that was never used.
    pub fn take_uncleared(&mut self) -> Option<u32> {
        self.used.pop().or_else(|| {
            let ppn = self.fresh;
            self.fresh = (ppn + 1).min(self.pages);
            (ppn < self.pages).then_some(ppn)
        })
    }

    /// Puts a page back.
    pub fn put(&mut self, ppn: u32, holds: Holds) {
        match holds {
            Holds::Zeroes => self.zeroed.push(ppn),
            Holds::Unknown => self.used.push(ppn),
        }
    }

    /// All pages, in no particular order.
    #[cfg(test)]
    pub fn all(&self) -> Vec<u32> {
        (self.fresh..self.pages).chain(self.used.iter().copied()).chain(self.zeroed.iter().copied()).collect()
    }
}

impl fmt::Debug for FreeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hash = Xxh3::new();
        for ppn in self.used.iter().chain(&self.zeroed) {
            hash.update(&ppn.to_le_bytes());
        }
        let (used, zeroed) = (self.used.len(), self.zeroed.len());
        write!(f, "{used} used, {zeroed} zeroed, from {} fresh, {:#018x}", self.fresh, hash.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_freed_last_goes_first() {
        let mut free = FreeList::new(2, 5);
        assert_eq!(free.take(Want::Any), Some((2, Holds::Unknown)));
        free.put(2, Holds::Zeroes);
        assert_eq!((free.len(), free.uncleared()), (3, 2));
        assert_eq!(free.take(Want::Any), Some((3, Holds::Unknown)));
        free.put(3, Holds::Unknown);
        assert_eq!(free.take(Want::Zeroes), Some((2, Holds::Zeroes)));
        free.put(2, Holds::Zeroes);
        let rest: Vec<_> = std::iter::from_fn(|| free.take(Want::Any)).collect();
        assert_eq!(rest, [(3, Holds::Unknown), (4, Holds::Unknown), (2, Holds::Zeroes)]);
        assert_eq!((free.len(), free.take_uncleared(), free.take(Want::Zeroes)), (0, None, None));
    }
}
