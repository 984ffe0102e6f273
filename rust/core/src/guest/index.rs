//! Which page a block of a file is in: a hash table sized from memory.
//!
//! Open addressing, at most half full. An entry is the page and 32 bits of the hash of its block, so that what stands in
//! the way of another block is passed over without a look at whose it is. Whoever goes is followed up by those that stand
//! after it only because it was there.

use super::owners::Owners;
use crate::arena::prefetch;
use crate::rng::mix;

/// The pages of blocks, by the words of the blocks. Page 0 holds none.
#[derive(Clone)]
pub(super) struct Index {
    entries: Vec<u64>,
}

/// Where a block would stand, and the part of its hash that stands there.
#[derive(Clone, Copy)]
struct Spot {
    home: usize,
    tag: u64,
}

impl Index {
    /// Of no blocks, for up to so many pages.
    pub fn new(pages: u32) -> Self {
        Self { entries: vec![0; (pages as usize * 2).next_power_of_two()] }
    }

    #[inline]
    fn spot(&self, word: u64) -> Spot {
        let hash = mix(word);
        Spot { home: hash as usize & (self.entries.len() - 1), tag: hash >> 32 }
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.entries.len() - 1)
    }

    /// Asks for the memory where a block would stand, for a look-up that comes soon.
    #[inline]
    pub fn prefetch(&self, word: u64) {
        prefetch(&self.entries[self.spot(word).home]);
    }

    /// The page that a block is in if it is in any and no other has the same 32 bits; whose page it is decides.
    #[inline]
    pub fn guess(&self, word: u64) -> u32 {
        let Spot { home, tag } = self.spot(word);
        let mut place = home;
        loop {
            let entry = self.entries[place];
            if entry == 0 || entry >> 32 == tag {
                return entry as u32;
            }
            place = self.after(place);
        }
    }

    /// The page that a block is in; 0 if it is in none.
    #[inline]
    pub fn find(&self, owners: &Owners, word: u64) -> u32 {
        let Spot { home, tag } = self.spot(word);
        let mut place = home;
        loop {
            let entry = self.entries[place];
            let ppn = entry as u32;
            if entry == 0 || entry >> 32 == tag && owners.word(ppn) == word {
                return ppn;
            }
            place = self.after(place);
        }
    }

    /// A block that is in none comes into a page.
    pub fn insert(&mut self, word: u64, ppn: u32) {
        let Spot { home, tag } = self.spot(word);
        let mut place = home;
        while self.entries[place] != 0 {
            place = self.after(place);
        }
        self.entries[place] = tag << 32 | u64::from(ppn);
    }

    /// The block in a page, whose owner it still is, goes.
    pub fn remove(&mut self, owners: &Owners, ppn: u32) {
        let mut gap = self.spot(owners.word(ppn)).home;
        while self.entries[gap] as u32 != ppn {
            gap = self.after(gap);
        }
        let mut place = self.after(gap);
        while self.entries[place] != 0 {
            let home = self.spot(owners.word(self.entries[place] as u32)).home;
            // It may not stand before its home: it fills the gap if that is between the two.
            let mask = self.entries.len() - 1;
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(gap) & mask {
                self.entries[gap] = self.entries[place];
                gap = place;
            }
            place = self.after(place);
        }
        self.entries[gap] = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::owners::{Owner, block_word};
    use super::*;

    proptest! {
        /// Eight entries for four pages: every way that blocks can stand in each other's way.
        #[test]
        fn blocks_are_found_as_long_as_they_are_there(moves in prop::collection::vec((1u32..4, 0u32..30), 0..60)) {
            let (mut index, mut owners) = (Index::new(4), Owners::new(4, (0, 0)));
            for (ppn, block) in moves {
                if owners.get(ppn) != Some(Owner::Free) {
                    index.remove(&owners, ppn);
                    owners.set(ppn, Owner::Free);
                }
                let word = block_word(7, block);
                if index.find(&owners, word) == 0 {
                    owners.set(ppn, Owner::Block { file: 7, block });
                    index.insert(word, ppn);
                }
                for block in 0..30 {
                    let owner = Owner::Block { file: 7, block };
                    let at = owners.all(owner).first().copied().unwrap_or(0);
                    prop_assert_eq!(index.find(&owners, block_word(7, block)), at);
                }
            }
        }
    }
}
