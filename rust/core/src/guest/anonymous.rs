//! Anonymous memory: where each page of the processes is, and the swap device.
//!
//! The table is an array up to page numbers of four times the guest's size, and beyond that, for processes whose pages are
//! far apart, a hash table.

use std::fmt;
use std::ops::Range;

use hashbrown::HashMap;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};
use zerocopy::IntoBytes;

use super::pool::Pool;
use super::slots::Slots;
use crate::arena::{Arena, prefetch};
use crate::config::Replacement;

/// Where a page of anonymous memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: never used, or given back.
    Nowhere,
    /// In one of the guest's pages.
    Here(u32),
    /// On the swap device.
    OnSwap(u32),
}

const ON_SWAP: u32 = 1 << 31;

impl Place {
    fn of(code: u32) -> Self {
        match code {
            0 => Self::Nowhere,
            code if code < ON_SWAP => Self::Here(code),
            code => Self::OnSwap(code & !ON_SWAP),
        }
    }

    /// Page 0 is the kernel's: its number says that a page is nowhere.
    fn code(self) -> u32 {
        match self {
            Self::Nowhere => 0,
            Self::Here(ppn) => ppn,
            Self::OnSwap(slot) => slot | ON_SWAP,
        }
    }
}

/// Where each page is.
struct Table {
    near: Arena<u32>,
    /// How many of them there are so far.
    len: usize,
    /// Numbers from here on are far.
    near_end: u32,
    far: HashMap<u32, u32>,
}

impl Table {
    fn new(near_end: u32) -> Self {
        let near = Arena::zeroed(near_end as usize).expect("address space is plenty");
        Self { near, len: 0, near_end, far: HashMap::new() }
    }

    #[inline]
    fn code(&self, page: u32) -> u32 {
        match self.near.as_slice().get(page as usize) {
            Some(code) => *code,
            None => self.far_code(page),
        }
    }

    #[cold]
    fn far_code(&self, page: u32) -> u32 {
        self.far.get(&page).copied().unwrap_or(0)
    }

    fn set(&mut self, page: u32, code: u32) {
        if page >= self.near_end {
            if code == 0 {
                self.far.remove(&page)
            } else {
                self.far.insert(page, code)
            };
            return;
        }
        self.len = self.len.max(page as usize + 1);
        while !self.near.commit_some(self.len) {}
        self.near.as_mut_slice()[page as usize] = code;
    }
}

impl Clone for Table {
    fn clone(&self) -> Self {
        let near = self.near.fork(&mut || Ok(())).expect("the system gives memory for a copy");
        Self { near, len: self.len, near_end: self.near_end, far: self.far.clone() }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // How long the array is says nothing: the rest is nowhere.
        let end =
            self.near.as_slice()[..self.len].iter().rposition(|code| *code != 0).map_or(0, |last| last + 1);
        let mut far: Vec<[u32; 2]> = self.far.iter().map(|(page, code)| [*page, *code]).collect();
        far.sort_unstable();
        let mut hash = Xxh3::new();
        far.iter().for_each(|pair| hash.update(pair.as_bytes()));
        write!(f, "{:#018x} {:#018x}", xxh3_64(self.near.as_slice()[..end].as_bytes()), hash.digest())
    }
}

/// Anonymous memory of a guest's processes.
#[derive(Clone, Debug)]
pub(super) struct Anonymous {
    table: Table,
    resident: u32,
    /// Those that may be replaced.
    pub pool: Pool,
    /// The swap device.
    pub slots: Slots,
}

impl Anonymous {
    /// None yet, of a guest of so many pages and slots of swap space.
    pub fn new(kind: Replacement, pages: u32, swap_pages: u32) -> Self {
        let table = Table::new(pages.saturating_mul(4));
        Self { table, resident: 0, pool: Pool::new(kind, pages), slots: Slots::new(swap_pages) }
    }

    /// These pages of memory are to be found soon.
    #[inline]
    pub fn expect(&self, pages: impl Iterator<Item = u32>) {
        let near = self.table.near.as_slice();
        pages.filter_map(|page| near.get(page as usize)).for_each(prefetch);
    }

    /// Finds the guest pages that these pages of memory are in; returns how many, from the first, are in one.
    #[inline]
    pub fn find_all(&self, pages: impl Iterator<Item = u32>, found: &mut [u32]) -> usize {
        let near = self.table.near.as_slice();
        // Nothing but look-ups, so that many of them are in flight.
        for (code, page) in found.iter_mut().zip(pages) {
            *code = near.get(page as usize).copied().unwrap_or_else(|| self.table.far_code(page));
        }
        // The mark of what is on the swap device shows as it is, that of what is nowhere when one is taken off.
        if found.iter().fold(0, |seen, code| seen | code | code.wrapping_sub(1)) < ON_SWAP {
            return found.len();
        }
        let is_here = |code: &&u32| (1..ON_SWAP).contains(*code);
        found.iter().take_while(is_here).count()
    }

    /// The guest page that a page of memory is in; 0 if it is in none.
    #[inline]
    pub fn find(&self, page: u32) -> u32 {
        let code = self.table.code(page);
        if code < ON_SWAP { code } else { 0 }
    }

    /// Where a page of memory is.
    pub fn place(&self, page: u32) -> Place {
        Place::of(self.table.code(page))
    }

    /// Puts a page of memory elsewhere; whoever had to do with its old place is told by the caller.
    pub fn put(&mut self, page: u32, place: Place) {
        let is_here = |place| u32::from(matches!(place, Place::Here(_)));
        self.resident += is_here(place);
        self.resident -= is_here(self.place(page));
        self.table.set(page, place.code());
    }

    /// Pages of memory in pages of the guest.
    pub fn resident(&self) -> u32 {
        self.resident
    }

    /// Those of these pages of memory that are somewhere, ascending. Cost: a visit of those near that were ever used, and of
    /// all that are far.
    pub fn within(&self, pages: Range<u32>) -> Vec<u32> {
        let Table { near, len, far, .. } = &self.table;
        let codes = near.as_slice().get(pages.start as usize..(*len).min(pages.end as usize));
        let numbered = (pages.start..).zip(codes.unwrap_or_default());
        let mut found: Vec<u32> = numbered.filter(|(_, code)| **code != 0).map(|(page, _)| page).collect();
        let beyond = found.len();
        found.extend(far.keys().filter(|page| pages.contains(page)));
        found[beyond..].sort_unstable();
        found
    }

    /// All pages of memory that are somewhere.
    #[cfg(test)]
    pub fn all(&self) -> Vec<(u32, Place)> {
        let mut all: Vec<u32> = self.within(0..u32::MAX);
        all.extend((self.place(u32::MAX) != Place::Nowhere).then_some(u32::MAX));
        all.into_iter().map(|page| (page, self.place(page))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_near_and_far_are_where_they_were_put() {
        let mut memory = Anonymous::new(Replacement::Lru, 10, 5);
        let numbers = [0, 3, 39, 40, 41, u32::MAX];
        let fresh = format!("{memory:?}");
        for page in numbers {
            assert_eq!((memory.place(page), memory.find(page)), (Place::Nowhere, 0));
            memory.put(page, Place::Here(7));
            assert_eq!((memory.place(page), memory.find(page)), (Place::Here(7), 7));
            memory.put(page, Place::OnSwap(0));
            assert_eq!((memory.place(page), memory.find(page)), (Place::OnSwap(0), 0));
            memory.put(page, Place::Here(2));
        }
        assert_eq!((memory.resident(), memory.all().len()), (6, 6));
        assert_eq!(memory.within(0..u32::MAX), numbers[..5]);
        assert_eq!((memory.within(3..41), memory.within(4..39)), (vec![3, 39, 40], vec![]));
        assert_eq!((memory.within(41..60), memory.within(50..50)), (vec![41], vec![]));
        assert!(memory.table.len <= 40, "u32::MAX takes no array");
        numbers.iter().for_each(|page| memory.put(*page, Place::Nowhere));
        assert_eq!((memory.resident(), format!("{memory:?}")), (0, fresh));
    }
}
