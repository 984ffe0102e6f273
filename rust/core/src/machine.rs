//! The machine's pages: which are free. The lowest free page is given first, which keeps memory in use dense.

use std::ops::Range;

use crate::error::Error;
use crate::page_set::PageSet;
use crate::types::Mpn;

/// All machine pages of a host, each free once or allocated (I1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    free: PageSet,
}

impl Machine {
    /// A machine with all its pages free.
    #[must_use]
    pub fn new(pages: u32) -> Self {
        Self { free: PageSet::full(pages) }
    }

    /// Machine pages.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.free.capacity()
    }

    /// Free machine pages.
    #[must_use]
    pub fn free_pages(&self) -> u32 {
        self.free.count()
    }

    /// Whether a page is free.
    #[must_use]
    pub fn is_free(&self, mpn: Mpn) -> bool {
        self.free.contains(mpn.0)
    }

    /// The lowest free page that is not below `from`.
    #[must_use]
    pub fn lowest_free_from(&self, from: Mpn) -> Option<Mpn> {
        self.free.lowest_from(from.0).map(Mpn)
    }

    /// Free pages below `end`. Cost: a bit for each of these pages.
    #[must_use]
    pub fn free_below(&self, end: Mpn) -> u32 {
        self.free.count_below(end.0)
    }

    /// Takes the lowest free page. Its old content is still there.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMachineMemory`] if none is free.
    pub fn allocate(&mut self) -> Result<Mpn, Error> {
        let lowest = self.free.lowest().ok_or(Error::OutOfMachineMemory { wanted: 1, free: 0 })?;
        self.free.remove(lowest);
        Ok(Mpn(lowest))
    }

    /// Takes the highest free pages, in runs of neighbours.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMachineMemory`] if fewer are free; none is taken.
    pub fn allocate_highest(&mut self, pages: u32) -> Result<Vec<Range<u32>>, Error> {
        if pages > self.free_pages() {
            return Err(Error::OutOfMachineMemory { wanted: pages, free: self.free_pages() });
        }
        let mut runs: Vec<Range<u32>> = vec![];
        for _ in 0..pages {
            let Some(highest) = self.free.highest() else { break };
            self.free.remove(highest);
            match runs.last_mut() {
                Some(run) if run.start == highest + 1 => run.start = highest,
                _ => runs.push(highest..highest + 1),
            }
        }
        Ok(runs)
    }

    /// Takes this very page.
    ///
    /// # Errors
    ///
    /// [`Error::PageNotFree`] if it is not free.
    pub fn allocate_at(&mut self, mpn: Mpn) -> Result<(), Error> {
        if self.free.remove(mpn.0) { Ok(()) } else { Err(Error::PageNotFree { mpn: mpn.0 }) }
    }

    /// Gives a page back.
    pub fn free(&mut self, mpn: Mpn) {
        let was_allocated = self.free.insert(mpn.0);
        debug_assert!(was_allocated, "I1: machine page {} was free already", mpn.0);
    }

    /// Gives pages back, no page twice.
    pub fn free_all(&mut self, mpns: impl Iterator<Item = Mpn>) {
        let mut given = 0;
        let free = self.free.insert_all(mpns.map(|mpn| mpn.0).inspect(|_| given += 1));
        debug_assert_eq!(given, free, "I1: some machine pages were free already");
    }

    /// Whether the set of free pages contradicts itself nowhere.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.free.is_consistent()
    }

    /// The set of free pages, 64 a word.
    #[must_use]
    pub fn free_words(&self) -> &[u64] {
        self.free.words()
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.free.bytes()
    }
}
