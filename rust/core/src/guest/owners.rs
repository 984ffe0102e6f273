//! Whose each of a guest's pages is: one word a page, and every page has one owner.
//!
//! The word stands for what the kernel's tables say of the page: to change it is to refer to them.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;

use super::tables::Tables;

/// What a page is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// On the free list.
    Free,
    /// A page of a process's anonymous memory.
    Anonymous(u32),
    /// A block of a file.
    Block {
        /// Which file.
        file: u32,
        /// Its block.
        block: u32,
    },
    /// The kernel's from boot on.
    Kernel,
    /// Given to the balloon driver.
    Balloon,
    /// Kept for the balloon driver until it polls.
    Kept,
    /// Free once the steps that name it are done.
    Leaving,
    /// The balloon driver's once the steps that name it are done.
    Promised,
    /// Free, and being filled with zeroes.
    Clearing,
    /// A device driver's, for its device to transfer.
    Buffer,
}

const KIND_SHIFT: u32 = 60;
const FILE_SHIFT: u32 = 32;
const PLAIN: [Owner; 7] = [
    Owner::Kernel,
    Owner::Balloon,
    Owner::Kept,
    Owner::Leaving,
    Owner::Promised,
    Owner::Clearing,
    Owner::Buffer,
];

/// The word of a block, by which blocks are in the order of their places on the disk too.
#[inline]
pub(super) fn block_word(file: u32, block: u32) -> u64 {
    2 << KIND_SHIFT | u64::from(file) << FILE_SHIFT | u64::from(block)
}

/// The owners of all pages. Memory becomes real as pages are used.
#[derive(Clone)]
pub(super) struct Owners {
    words: Vec<u64>,
    tables: Tables,
}

impl Owners {
    /// All pages free; the kernel's tables begin at a page and have so many bytes for each.
    pub fn new(pages: u32, (first, bytes): (u32, u32)) -> Self {
        Self { words: vec![0; pages as usize], tables: Tables::new(first, bytes, pages) }
    }

    /// What the tables say of a page is looked at.
    #[inline]
    pub fn look_at(&mut self, ppn: u32) {
        self.tables.note(ppn);
    }

    /// Pages of the tables that were referred to since they were last asked for.
    pub fn take_referred(&mut self) -> impl Iterator<Item = u32> {
        self.tables.take()
    }

    /// Pages.
    #[cfg(test)]
    pub fn pages(&self) -> u32 {
        self.words.len() as u32
    }

    /// The page's word: equal words, equal owners.
    #[inline]
    pub fn word(&self, ppn: u32) -> u64 {
        self.words[ppn as usize]
    }

    /// The page's owner; none if there is no such page.
    pub fn get(&self, ppn: u32) -> Option<Owner> {
        let word = *self.words.get(ppn as usize)?;
        Some(match word >> KIND_SHIFT {
            0 => Owner::Free,
            1 => Owner::Anonymous(word as u32),
            2 => Owner::Block { file: (word >> FILE_SHIFT) as u32 & (u32::MAX >> 4), block: word as u32 },
            kind => PLAIN[kind as usize - 3],
        })
    }

    /// Gives a page to another owner.
    pub fn set(&mut self, ppn: u32, owner: Owner) {
        self.tables.note(ppn);
        self.words[ppn as usize] = match owner {
            Owner::Free => 0,
            Owner::Anonymous(page) => 1 << KIND_SHIFT | u64::from(page),
            Owner::Block { file, block } => block_word(file, block),
            Owner::Kernel => 3 << KIND_SHIFT,
            Owner::Balloon => 4 << KIND_SHIFT,
            Owner::Kept => 5 << KIND_SHIFT,
            Owner::Leaving => 6 << KIND_SHIFT,
            Owner::Promised => 7 << KIND_SHIFT,
            Owner::Clearing => 8 << KIND_SHIFT,
            Owner::Buffer => 9 << KIND_SHIFT,
        };
    }

    /// All pages of an owner, ascending. Cost: all pages.
    pub fn all(&self, owner: Owner) -> Vec<u32> {
        (0..self.words.len() as u32).filter(|ppn| self.get(*ppn) == Some(owner)).collect()
    }
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages {:#018x}, {:?}", self.words.len(), xxh3_64(self.words.as_bytes()), self.tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::MAX_FILES;

    #[test]
    fn a_page_has_the_owner_it_was_given() {
        let mut owners = Owners::new(3, (0, 0));
        let mut all = vec![Owner::Free, Owner::Anonymous(0), Owner::Anonymous(u32::MAX)];
        for (file, block) in [(0, 0), (MAX_FILES - 1, u32::MAX), (7, 9)] {
            all.push(Owner::Block { file, block });
        }
        all.extend(PLAIN);
        for owner in all {
            owners.set(1, owner);
            let free = (owners.get(0), owners.get(2), owners.get(3));
            assert_eq!((owners.get(1), free), (Some(owner), (Some(Owner::Free), Some(Owner::Free), None)));
            assert!(owners.all(owner).contains(&1));
        }
        owners.set(1, Owner::Block { file: 7, block: 9 });
        assert_eq!(owners.word(1), block_word(7, 9));
    }
}
