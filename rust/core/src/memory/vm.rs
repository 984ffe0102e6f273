//! What one virtual machine has of a host's memory: its pmap, the totals that follow from it, and its events.
//!
//! Only `Memory` changes a pmap, entry by entry, and the totals change along: none of them needs a walk.

use std::ops::Range;

use crate::counts::counts;
use crate::error::Error;
use crate::hash::DomainSalt;
use crate::pmap::{Entry, Pmap, State};
use crate::types::{Ppn, Pulse};

/// Groups of pages whose changes are counted apart: page `n` is in group `n % VERSIONS`.
pub const VERSIONS: usize = 1024;

/// What one virtual machine has of a host's memory.
#[derive(Debug)]
pub struct VmMemory {
    pmap: Pmap,
    domain: u32,
    salt: DomainSalt,
    tally: Tally,
    limit: u32,
    overhead: Vec<Range<u32>>,
    /// Changes of entries by group, if somebody watches them.
    versions: Option<Box<[u64]>>,
    /// What happened to its pages since power-on.
    pub counts: Counts,
}

/// How many of a virtual machine's pages are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// On machine pages, shared ones in full.
    pub resident: u32,
    /// Of these, on machine pages that a shared frame names, whatever its count.
    pub on_shared_frames: u32,
    /// Of the resident pages, those not offered for sharing.
    pub ineligible: u32,
    /// Of the resident pages, private ones whose page-out is under way.
    pub leaving: u32,
    /// In the swap file.
    pub swapped: u32,
    /// Given up by the guest.
    pub ballooned: u32,
}

impl Tally {
    /// Counts a page in that has this entry.
    pub fn count(&mut self, entry: Entry) {
        self.change(entry, |total| total.wrapping_add(1));
    }

    /// Counts it out.
    fn uncount(&mut self, entry: Entry) {
        self.change(entry, |total| total.wrapping_sub(1));
    }

    fn change(&mut self, entry: Entry, by_one: fn(u32) -> u32) {
        match entry.state() {
            State::Empty => return,
            State::Private(_) => self.resident = by_one(self.resident),
            State::Shared(_) => {
                self.resident = by_one(self.resident);
                self.on_shared_frames = by_one(self.on_shared_frames);
            }
            State::Swapped(_) => self.swapped = by_one(self.swapped),
            State::Ballooned => self.ballooned = by_one(self.ballooned),
        }
        if entry.is_ineligible() {
            self.ineligible = by_one(self.ineligible);
        }
        if entry.is_leaving() {
            self.leaving = by_one(self.leaving);
        }
    }
}

counts! {
    /// Events of one virtual machine, or of several.
    pub struct Counts {
        /// Guest accesses, reads and writes.
        pub references: u64,
        /// Pages that were given contents at power-on.
        pub loads: u64,
        /// First touches, each given a zeroed page.
        pub zero_fills: u64,
        /// Writes to shared pages.
        pub cow_breaks: u64,
        /// Pages written to the swap file.
        pub page_outs: u64,
        /// Of these, pages that a reference waited for.
        pub emergency_page_outs: u64,
        /// Pages brought back from the swap file.
        pub page_ins: u64,
        /// Pages merged into a shared page.
        pub merges: u64,
        /// Of these, pages that would have been paged out.
        pub shared_before_swap: u64,
    }
}

impl VmMemory {
    /// Empty pages of a virtual machine in sharing domain `domain`.
    pub(super) fn new(pmap: Pmap, domain: u32) -> Self {
        let (salt, limit) = (DomainSalt::of(domain), pmap.pages());
        let (tally, counts) = (Tally::default(), Counts::default());
        Self { pmap, domain, salt, tally, limit, overhead: vec![], versions: None, counts }
    }

    /// Its pmap.
    #[must_use]
    pub fn pmap(&self) -> &Pmap {
        &self.pmap
    }

    /// The number of its sharing domain.
    #[must_use]
    pub fn domain(&self) -> u32 {
        self.domain
    }

    /// All totals of its pages.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Pages that are on machine pages, shared ones in full.
    #[must_use]
    pub fn resident(&self) -> u32 {
        self.tally.resident
    }

    /// Pages that are in state shared, whatever the count of their frame.
    #[must_use]
    pub fn on_shared_frames(&self) -> u32 {
        self.tally.on_shared_frames
    }

    /// Resident pages that are not offered for sharing.
    #[must_use]
    pub fn ineligible(&self) -> u32 {
        self.tally.ineligible
    }

    /// Private pages whose page-out is under way.
    #[must_use]
    pub fn leaving(&self) -> u32 {
        self.tally.leaving
    }

    /// Pages that are in the swap file.
    #[must_use]
    pub fn swapped(&self) -> u32 {
        self.tally.swapped
    }

    /// Pages that the guest gave up.
    #[must_use]
    pub fn ballooned(&self) -> u32 {
        self.tally.ballooned
    }

    /// Most pages that may be resident.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Machine pages that the server needs for it, in runs; what they hold is not modelled.
    #[must_use]
    pub fn overhead(&self) -> &[Range<u32>] {
        &self.overhead
    }

    /// How many these are.
    #[must_use]
    pub fn overhead_pages(&self) -> u32 {
        self.overhead.iter().map(|run| run.end - run.start).sum()
    }

    /// From now on counts changes of entries, so that copies of them can tell whether they still hold.
    pub fn watch(&mut self) {
        self.versions.get_or_insert_with(|| vec![1; VERSIONS].into());
    }

    /// Changes of entries in a page's group: as long as it is the same, so is the page's entry. It is never 0; none if
    /// nobody watches.
    #[must_use]
    #[inline]
    pub fn version(&self, ppn: Ppn) -> Option<u64> {
        self.versions.as_ref().map(|versions| versions[ppn.index() % VERSIONS])
    }

    pub(super) fn set_limit(&mut self, pages: u32) {
        self.limit = pages;
    }

    pub(super) fn add_overhead(&mut self, runs: Vec<Range<u32>>) {
        self.overhead.extend(runs);
    }

    /// The salt of its sharing domain.
    pub(super) fn salt(&self) -> DomainSalt {
        self.salt
    }

    /// Changes one entry and the totals that follow from it.
    pub(super) fn set(&mut self, ppn: Ppn, entry: Entry) {
        self.tally.uncount(self.pmap.get(ppn));
        self.tally.count(entry);
        self.pmap.set(ppn, entry);
        if let Some(versions) = &mut self.versions {
            versions[ppn.index() % VERSIONS] += 1;
        }
    }

    /// An independent copy.
    pub(super) fn fork(&self, pulse: Pulse<'_>) -> Result<Self, Error> {
        let (overhead, versions) = (self.overhead.clone(), self.versions.clone());
        Ok(Self { pmap: self.pmap.fork(pulse)?, overhead, versions, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_take_away() {
        let one = Counts {
            references: 1,
            loads: 2,
            zero_fills: 3,
            cow_breaks: 4,
            page_outs: 5,
            emergency_page_outs: 6,
            page_ins: 7,
            merges: 8,
            shared_before_swap: 9,
        };
        let mut all = one;
        (0..9).for_each(|_| all.add(&one));
        let before = all;
        assert_eq!((all.references, all.loads, all.zero_fills, all.cow_breaks), (10, 20, 30, 40));
        assert_eq!((all.page_outs, all.emergency_page_outs, all.page_ins), (50, 60, 70));
        assert_eq!((all.merges, all.shared_before_swap), (80, 90));
        all.add(&one);
        assert_eq!(all.since(&before), one);
    }
}
