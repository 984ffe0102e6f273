//! What the processes of a guest refer to, and what its operating system makes of it: references of guest virtual memory
//! and files, touches of guest "physical" pages, and the steps that serving a reference may take.
//!
//! A reference knows nothing of pages: it names a page of anonymous memory, or a block (4 KiB) of a file. A guest's
//! operating system turns it into a [`Touch`] of one of its pages; where it has to make room, read its disk or write to
//! it first, it says so as [`Step`]s.

use std::fmt;
use std::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::types::{Access, Ppn};

/// Most files of a guest.
pub const MAX_FILES: u32 = 1 << 28;

/// One reference of a guest's process, packed into 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ref(u64);

/// What a reference is, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Reads or writes a page of anonymous memory.
    Memory {
        /// Its number in the process's memory.
        page: u32,
        /// How.
        access: Access,
    },
    /// Reads or writes a block of a file.
    Block {
        /// Which file.
        file: u32,
        /// Its block, from 0.
        block: u32,
        /// How.
        access: Access,
    },
    /// Gives a page of anonymous memory back: what it held is lost.
    Free {
        /// Its number in the process's memory.
        page: u32,
    },
    /// Deletes a file, with what is cached of it.
    Delete {
        /// Which file.
        file: u32,
    },
    /// Waits until what is dirty of a file is on the disk.
    Flush {
        /// Which file.
        file: u32,
    },
    /// Looks something up in the file system that takes no page: open, stat, close.
    Look {
        /// Of which file.
        file: u32,
    },
}

const KIND_SHIFT: u32 = 60;
const FILE_SHIFT: u32 = 32;
const FREE: u64 = 4;
const DELETE: u64 = 5;
const FLUSH: u64 = 6;
const LOOK: u64 = 7;

impl Ref {
    /// What [`Ref::bits`] gave; every 64 bits are a reference.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & ((8 << KIND_SHIFT) - 1))
    }

    /// The reference as a number: kind in bits 60 to 62 (0 and 1 read and write memory, 2 and 3 a block of a file, 4 frees,
    /// 5 deletes, 6 flushes, 7 looks), file in bits 32 to 59, page or block in bits 0 to 31.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// A read or write of a page of anonymous memory.
    #[must_use]
    pub fn memory(page: u32, access: Access) -> Self {
        Self(write_bit(access) << KIND_SHIFT | u64::from(page))
    }

    /// A read or write of a block of a file below [`MAX_FILES`].
    #[must_use]
    pub fn block(file: u32, block: u32, access: Access) -> Self {
        Self((2 | write_bit(access)) << KIND_SHIFT | of_file(file) | u64::from(block))
    }

    /// Packs a wish.
    #[must_use]
    pub fn new(wish: Wish) -> Self {
        match wish {
            Wish::Memory { page, access } => Self::memory(page, access),
            Wish::Block { file, block, access } => Self::block(file, block, access),
            Wish::Free { page } => Self(FREE << KIND_SHIFT | u64::from(page)),
            Wish::Delete { file } => Self(DELETE << KIND_SHIFT | of_file(file)),
            Wish::Flush { file } => Self(FLUSH << KIND_SHIFT | of_file(file)),
            Wish::Look { file } => Self(LOOK << KIND_SHIFT | of_file(file)),
        }
    }

    /// What it is.
    #[must_use]
    pub fn wish(self) -> Wish {
        let (file, low) = ((self.0 >> FILE_SHIFT) as u32 & (MAX_FILES - 1), self.0 as u32);
        match self.0 >> KIND_SHIFT {
            0 | 1 => Wish::Memory { page: low, access: self.access() },
            2 | 3 => Wish::Block { file, block: low, access: self.access() },
            FREE => Wish::Free { page: low },
            DELETE => Wish::Delete { file },
            FLUSH => Wish::Flush { file },
            _ => Wish::Look { file },
        }
    }

    /// The page of anonymous memory that is read or written, if that is what it is.
    #[must_use]
    pub fn memory_page(self) -> Option<u32> {
        (self.0 >> KIND_SHIFT < 2).then_some(self.0 as u32)
    }

    /// Whether all of them read or write pages of anonymous memory.
    #[inline]
    #[must_use]
    pub fn are_memory(refs: &[Self]) -> bool {
        refs.iter().fold(0, |seen, one| seen | one.0) >> KIND_SHIFT < 2
    }

    /// Pages of anonymous memory from the first to the last that are read or written, the last number of all excepted; none
    /// if there are none.
    #[must_use]
    pub fn memory_range(refs: &[Self]) -> Option<Range<u32>> {
        let pages = || refs.iter().filter_map(|one| one.memory_page());
        Some(pages().min()?..pages().max()?.saturating_add(1))
    }

    /// Whether all of them read or write pages of anonymous memory in that range.
    #[must_use]
    pub fn are_within(refs: &[Self], range: &Range<u32>) -> bool {
        let Some(last) = range.end.checked_sub(1) else { return false };
        let (first, last) = (signed(range.start), signed(last));
        let (mut seen, mut is_out) = (0, false);
        for one in refs {
            let page = signed(one.0 as u32);
            seen |= one.0;
            is_out |= (page < first) | (page > last);
        }
        !is_out && seen >> KIND_SHIFT < 2
    }

    /// What it is, of the guest's page that holds the page or block which it reads or writes.
    #[inline]
    #[must_use]
    pub fn touching(self, ppn: Ppn) -> Touch {
        debug_assert!(self.is_access() && ppn.0 < MAX_TOUCHED_PAGES);
        // The lowest bit of the kind says "write" in both.
        const { assert!(MAX_TOUCHED_PAGES == 1 << 31) };
        Touch(ppn.0 | (self.0 >> KIND_SHIFT << 31) as u32)
    }

    /// Whether it reads or writes a page or block.
    #[must_use]
    pub fn is_access(self) -> bool {
        self.0 >> KIND_SHIFT < FREE
    }

    /// Whether a page or block is read or written; of others, read.
    #[inline]
    #[must_use]
    pub fn access(self) -> Access {
        // The lowest bit of the kind, unless the highest is set.
        const { assert!(FREE == 4) };
        let kind = self.0 >> KIND_SHIFT;
        if kind & !(kind >> 2) & 1 == 1 { Access::Write } else { Access::Read }
    }
}

/// In the same order: processors compare several signed numbers at a time.
fn signed(page: u32) -> i32 {
    (page ^ 1 << 31) as i32
}

fn write_bit(access: Access) -> u64 {
    u64::from(access == Access::Write)
}

fn of_file(file: u32) -> u64 {
    u64::from(file & (MAX_FILES - 1)) << FILE_SHIFT
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wish().fmt(f)
    }
}

/// Most pages of a guest that its touches can name.
pub const MAX_TOUCHED_PAGES: u32 = 1 << 31;

/// A read or write of one of a guest's "physical" pages, packed into 32 bits: the page is below [`MAX_TOUCHED_PAGES`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Touch(u32);

impl Touch {
    /// A touch of a page below [`MAX_TOUCHED_PAGES`].
    #[must_use]
    pub fn new(ppn: Ppn, access: Access) -> Self {
        debug_assert!(ppn.0 < MAX_TOUCHED_PAGES);
        Self(ppn.0 | if access == Access::Write { MAX_TOUCHED_PAGES } else { 0 })
    }

    /// Whether there are writes among them.
    #[inline]
    #[must_use]
    pub fn any_writes(touches: &[Self]) -> bool {
        touches.iter().fold(0, |seen, touch| seen | touch.0) >= MAX_TOUCHED_PAGES
    }

    /// The pages, if all of them are reads.
    #[inline]
    #[must_use]
    pub fn reads(touches: &[Self]) -> Option<&[u32]> {
        (!Self::any_writes(touches)).then(|| zerocopy::transmute_ref!(touches))
    }

    /// Which page.
    #[inline]
    #[must_use]
    pub fn ppn(self) -> Ppn {
        Ppn(self.0 & (MAX_TOUCHED_PAGES - 1))
    }

    /// How.
    #[must_use]
    pub fn access(self) -> Access {
        if self.0 & MAX_TOUCHED_PAGES == 0 { Access::Read } else { Access::Write }
    }
}

impl fmt::Debug for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.access(), self.ppn().0)
    }
}

/// What the writes of a process store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// Content of its own each time, different from every other page's.
    #[default]
    Unique,
    /// What the page holds already: sharing is broken, but may be found again.
    Same,
    /// One of so many contents, the same for all virtual machines.
    Pool(u32),
}

/// Why a guest goes to its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A file's blocks, for the first time.
    File,
    /// A file's blocks that were cached before and had to go: memory was too small.
    Refault,
    /// Anonymous memory to or from its own swap device.
    Swap,
}

/// Whether the process that caused it waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It stands until it is done.
    Waits,
    /// It goes on.
    GoesOn,
}

/// What a page is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// Zeroes.
    Zero,
    /// The content that this number below 2^63 stands for: equal numbers, equal pages. Not 0.
    Content(u64),
    /// Content of its own, different from every other page's.
    Own,
}

/// One thing a guest does on the way to serving a reference, or of itself. Positions on its disk are in pages: what begins
/// where the last transfer ended is sequential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reads or writes one of its pages.
    Touch(Touch),
    /// Fills one of its pages.
    Fill(Ppn, Filling),
    /// Reads pages from its disk; a `Fill` for each follows.
    DiskRead {
        /// Where on its disk.
        position: u64,
        /// How many, in sequence.
        pages: u32,
        /// Why.
        errand: Errand,
    },
    /// Reads one of its pages to write it to its disk. If the server has paged it out, it is paged in for this alone:
    /// double paging.
    DiskWrite {
        /// The page that is written.
        ppn: Ppn,
        /// Where on its disk.
        position: u64,
        /// Why.
        errand: Errand,
        /// Whether anybody waits for it.
        patience: Patience,
    },
}

/// What a guest says of its own memory, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestMemory {
    /// On its free list.
    pub free: u32,
    /// Free, or to be had without harm: clean and inactive cache besides.
    pub available: u32,
    /// Of its kernel: code, the tables sized at boot, and buffers of its devices.
    pub kernel: u32,
    /// Anonymous memory in its pages.
    pub anonymous: u32,
    /// Blocks of files in its pages.
    pub cache: u32,
    /// Of the cache, changed and not yet on the disk.
    pub dirty: u32,
    /// Anonymous memory on its own swap device.
    pub swapped: u32,
}

/// What a guest did for want of memory since it was powered on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestCounts {
    /// Pages read back from its own swap device.
    pub swap_ins: u64,
    /// Pages written to its own swap device.
    pub swap_outs: u64,
    /// Blocks of files read from the disk.
    pub file_reads: u64,
    /// Of these, blocks that had been cached before.
    pub refaults: u64,
    /// Dirty blocks written to the disk.
    pub write_backs: u64,
    /// Clean blocks dropped to make room.
    pub drops: u64,
    /// Freed pages that the zero-page thread cleared.
    pub zeroed: u64,
    /// References that it could not serve: neither memory nor swap space was left.
    pub kills: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_what_it_was_made_of() {
        for access in [Access::Read, Access::Write] {
            for page in [0, 1, 77, u32::MAX] {
                for file in [0, 5, MAX_FILES - 1] {
                    let wishes = [
                        Wish::Memory { page, access },
                        Wish::Block { file, block: page, access },
                        Wish::Free { page },
                        Wish::Delete { file },
                        Wish::Flush { file },
                        Wish::Look { file },
                    ];
                    for wish in wishes {
                        assert_eq!(Ref::from_bits(Ref::new(wish).bits()).wish(), wish);
                        let (one, is_memory) = (Ref::new(wish), matches!(wish, Wish::Memory { .. }));
                        assert_eq!(one.memory_page(), is_memory.then_some(page));
                        assert_eq!(Ref::are_memory(&[Ref::memory(1, access), one]), is_memory);
                        let writes = one.is_access() && access == Access::Write;
                        assert_eq!(one.access() == Access::Write, writes);
                        if one.is_access() {
                            assert_eq!(one.touching(Ppn(9)), Touch::new(Ppn(9), access));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_range_of_memory_is_that_of_all_its_pages() {
        const PAGES: [u32; 7] = [0, 1, 5, (1 << 31) - 1, 1 << 31, u32::MAX - 1, u32::MAX];
        let others = [Ref::new(Wish::Free { page: 2 }), Ref::block(3, 4, Access::Write)];
        assert_eq!((Ref::memory_range(&[]), Ref::memory_range(&others)), (None, None));
        for (one, other) in PAGES.iter().flat_map(|one| PAGES.map(|other| (*one, other))) {
            let mut refs = vec![Ref::memory(one, Access::Write), Ref::memory(other, Access::Read)];
            let (first, last) = (one.min(other), one.max(other));
            assert_eq!(Ref::memory_range(&refs), Some(first..last.saturating_add(1)));
            for (from, to) in PAGES.iter().flat_map(|from| PAGES.map(|to| (*from, to))) {
                let is_within = from <= first && last < to;
                assert_eq!(Ref::are_within(&refs, &(from..to)), is_within, "{refs:?} {from} {to}");
            }
            refs.extend(others);
            assert_eq!(Ref::memory_range(&refs), Some(first..last.saturating_add(1)));
            assert!(!Ref::are_within(&refs, &(0..u32::MAX)), "what else there is has to be looked at");
        }
    }

    #[test]
    fn touches_are_reads_or_have_a_write_among_them() {
        let [read, write] = [Access::Read, Access::Write].map(|access| Touch::new(Ppn(7), access));
        for (touches, reads) in [
            (vec![], Some(vec![])),
            (vec![read; 3], Some(vec![7; 3])),
            (vec![read, write], None),
            (vec![write; 9], None),
        ] {
            assert_eq!(Touch::reads(&touches).map(<[u32]>::to_vec), reads);
            assert_eq!(Touch::any_writes(&touches), reads.is_none());
        }
    }

    #[test]
    fn a_touch_is_what_it_was_made_of() {
        for access in [Access::Read, Access::Write] {
            for ppn in [0, 1, MAX_TOUCHED_PAGES - 1] {
                let touch = Touch::new(Ppn(ppn), access);
                assert_eq!((touch.ppn(), touch.access()), (Ppn(ppn), access));
            }
        }
    }
}
