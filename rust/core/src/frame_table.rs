//! The hash table of hint frames and shared frames (§4.3).
//!
//! A page that was scanned and matched nothing leaves a *hint frame*: a truncated hash and the guest page it was found
//! on. A page that is shared has a *shared frame*: its hash and the number of pmap entries that name it. There is at most
//! one frame a machine page, so frames stand in an array indexed by MPN, are 16 bytes each and chain by MPN:
//!
//! | frame | word 0 | word 1 |
//! |---|---|---|
//! | none | 0 | 0 |
//! | hint | PPN 0-31, bits 24-55 of the hash 32-63 | link 0-31, VM 32-47, bits 56-63 of the hash 48-55, kind 62-63 |
//! | shared | hash | link 0-31, count 32-47, zero page 61, kind 62-63 |
//!
//! The truncated hash is the 40 highest bits, and these alone choose the chain, so a hint can be unlinked after its page
//! has changed. A link is an MPN plus one, 0 ends a chain. A count of 65 535 says "look in the overflow table". With one
//! 32-bit chain head for two machine pages, all of it is 18 bytes a machine page: 0.44 %.

use std::hint::black_box;

use hashbrown::HashMap;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arena::{Arena, prefetch};
use crate::error::Error;
use crate::types::{Mpn, Ppn, Pulse, VmId};

const PAGES_PER_HEAD: u32 = 2;
const HASH_DROPPED: u32 = 24;
const HASH_KEPT: u32 = 40;
const FIELD_SHIFT: u32 = 32;
const HINT_HASH_SHIFT: u32 = 48;
const ZERO_PAGE: u64 = 1 << 61;
const KIND_SHIFT: u32 = 62;
const HINT: u64 = 1 << KIND_SHIFT;
const SHARED: u64 = 2 << KIND_SHIFT;
const OVERFLOWED: u32 = 0xFFFF;
/// Frames of a chain that are fetched ahead; chains have two on average when every page has a frame.
const STEPS_AHEAD: usize = 4;

/// One frame, packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Frame([u64; 2]);

impl Frame {
    /// Whether it is a frame of a hash that begins so, in the part that hints keep.
    fn begins_like(self, hash: u64) -> bool {
        let Self([low, high]) = self;
        let hint = high >> HINT_HASH_SHIFT << FIELD_SHIFT & 0xFF << FIELD_SHIFT | low >> FIELD_SHIFT;
        let kept = if high & SHARED == 0 { hint } else { low >> HASH_DROPPED };
        kept == hash >> HASH_DROPPED
    }
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameView {
    /// The machine page has no frame.
    None,
    /// The page of that guest once had a hash beginning like this.
    Hint {
        /// The hash as far as it is kept, the rest zero.
        hash: u64,
        /// Whose page.
        vm: VmId,
        /// Which page.
        ppn: Ppn,
    },
    /// The machine page is shared.
    Shared {
        /// Its hash.
        hash: u64,
        /// Whether it reads zero.
        is_zero: bool,
    },
}

/// The part of a hash that a hint keeps.
#[must_use]
pub fn truncated(hash: u64) -> u64 {
    hash >> HASH_DROPPED << HASH_DROPPED
}

/// Frames, chains and counts of one host, with the totals that follow from the counts.
#[derive(Debug)]
pub struct FrameTable {
    frames: Arena<Frame>,
    heads: Arena<u32>,
    overflow: HashMap<Mpn, u32>,
    totals: Totals,
}

/// What the frames add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Hint frames.
    pub hint_frames: u32,
    /// Shared frames.
    pub shared_frames: u32,
    /// pmap entries whose machine page has a count of two or more.
    pub shared_pages: u64,
    /// Machine pages saved: the sum of count - 1.
    pub reclaimed_pages: u64,
    /// Shared pages that read zero.
    pub zero_pages: u64,
}

impl FrameTable {
    /// An empty table for that many machine pages.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if the system has no such address space.
    pub fn new(machine_pages: u32) -> Result<Self, Error> {
        Ok(Self {
            frames: Arena::zeroed(machine_pages as usize)?,
            heads: Arena::zeroed(machine_pages.div_ceil(PAGES_PER_HEAD) as usize)?,
            overflow: HashMap::new(),
            totals: Totals::default(),
        })
    }

    /// What the frames add up to.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The first machine page of the chain that a hash belongs to.
    #[must_use]
    pub fn first(&self, hash: u64) -> Option<Mpn> {
        linked(self.heads.as_slice()[self.chain(hash)])
    }

    /// The machine page after `mpn` in its chain.
    #[must_use]
    pub fn next(&self, mpn: Mpn) -> Option<Mpn> {
        linked(self.frame(mpn).0[1] as u32)
    }

    /// Asks for the frame of a machine page and does not wait for it.
    pub fn prefetch(&self, mpn: Mpn) {
        prefetch(&self.frames.as_slice()[mpn.index()]);
    }

    /// Brings the first frames of the chains that hashes belong to near.
    ///
    /// One step of all chains at a time, in loops as short as can be and without a branch on what is loaded: so the
    /// processor has as many loads in flight as it can.
    pub fn fetch_chains(&self, hashes: impl Iterator<Item = u64>) {
        let (frames, heads) = (self.frames.as_slice(), self.heads.as_slice());
        let chains: Vec<usize> = hashes.map(|hash| self.chain(hash)).collect();
        chains.iter().for_each(|chain| prefetch(&heads[*chain]));
        let mut links: Vec<u32> = chains.into_iter().map(|chain| heads[chain]).collect();
        for _ in 0..STEPS_AHEAD {
            for link in &mut links {
                // After its end a chain goes on with the frame of page 0: what is read there is not used.
                *link = frames[link.saturating_sub(1) as usize].0[1] as u32;
            }
        }
        black_box(links);
    }

    /// The pages in a hash's chain whose frames have the same truncated hash.
    pub fn alike(&self, hash: u64) -> impl Iterator<Item = Mpn> + '_ {
        let chain = std::iter::successors(self.first(hash), |mpn| self.next(*mpn));
        chain.filter(move |mpn| self.frame(*mpn).begins_like(hash))
    }

    /// The frame of a machine page.
    #[must_use]
    pub fn get(&self, mpn: Mpn) -> FrameView {
        let Frame([low, high]) = self.frame(mpn);
        match high >> KIND_SHIFT {
            0 => FrameView::None,
            1 => FrameView::Hint {
                hash: (high >> HINT_HASH_SHIFT & 0xFF) << 56 | low >> FIELD_SHIFT << HASH_DROPPED,
                vm: VmId((high >> FIELD_SHIFT) as u16),
                ppn: Ppn(low as u32),
            },
            _ => FrameView::Shared { hash: low, is_zero: high & ZERO_PAGE != 0 },
        }
    }

    /// pmap entries that name a shared machine page; 0 without a shared frame.
    #[must_use]
    pub fn count(&self, mpn: Mpn) -> u32 {
        match self.count_field(mpn) {
            OVERFLOWED => self.overflow[&mpn],
            count => count,
        }
    }

    /// Leaves a hint on a machine page without a frame.
    pub fn insert_hint(&mut self, mpn: Mpn, hash: u64, vm: VmId, ppn: Ppn) {
        let low = u64::from(ppn.0) | hash >> HASH_DROPPED << FIELD_SHIFT;
        let high = HINT | u64::from(vm.0) << FIELD_SHIFT | hash >> 56 << HINT_HASH_SHIFT;
        self.link(mpn, hash, [low, high]);
        self.totals.hint_frames += 1;
    }

    /// Gives a machine page without a frame a shared frame of count one.
    pub fn insert_shared(&mut self, mpn: Mpn, hash: u64, is_zero: bool) {
        let high = SHARED | 1 << FIELD_SHIFT | if is_zero { ZERO_PAGE } else { 0 };
        self.link(mpn, hash, [hash, high]);
        self.totals.shared_frames += 1;
    }

    /// Removes the hint of a machine page; returns whether there was one.
    pub fn remove_hint(&mut self, mpn: Mpn) -> bool {
        let FrameView::Hint { hash, .. } = self.get(mpn) else { return false };
        self.unlink(mpn, hash);
        self.totals.hint_frames -= 1;
        true
    }

    /// So many more pmap entries name a shared machine page.
    pub fn add_references(&mut self, mpn: Mpn, more: u32) {
        if more == 0 {
            return;
        }
        // Most references go to pages that have very many: those cost one look-up in the overflow table.
        let count = self.count_field(mpn);
        if count == OVERFLOWED {
            *self.overflow.entry(mpn).or_insert(OVERFLOWED) += more;
        } else {
            self.set_count(mpn, count + more);
        }
        self.totals.reclaimed_pages += u64::from(more);
        self.add_shared(mpn, i64::from(more) + i64::from(count == 1));
    }

    /// One pmap entry less names a shared machine page; the last one takes the frame along. Returns how many are left.
    pub fn drop_reference(&mut self, mpn: Mpn) -> u32 {
        let FrameView::Shared { hash, .. } = self.get(mpn) else {
            unreachable!("I3: a shared frame names each shared page, none names {}", mpn.0)
        };
        let count = self.count(mpn);
        if count == 1 {
            self.unlink(mpn, hash);
            self.totals.shared_frames -= 1;
            return 0;
        }
        self.add_shared(mpn, if count == 2 { -2 } else { -1 });
        self.totals.reclaimed_pages -= 1;
        self.set_count(mpn, count - 1);
        count - 1
    }

    /// Counts in the overflow table.
    #[must_use]
    pub fn overflowed(&self) -> usize {
        self.overflow.len()
    }

    /// Chains.
    #[must_use]
    pub fn chains(&self) -> usize {
        self.heads.as_slice().len()
    }

    /// The chain of a hash: its kept bits, scaled to the number of chains.
    #[must_use]
    pub fn chain(&self, hash: u64) -> usize {
        let kept = u128::from(hash >> HASH_DROPPED);
        ((kept * self.heads.as_slice().len() as u128) >> HASH_KEPT) as usize
    }

    /// The first machine page of a chain.
    #[must_use]
    pub fn head(&self, chain: usize) -> Option<Mpn> {
        linked(self.heads.as_slice()[chain])
    }

    /// Makes the next part of the table for the first `len` machine pages real; returns whether all of it is.
    pub fn commit_some(&mut self, len: usize) -> bool {
        self.heads.commit_some(self.heads.as_slice().len()) && self.frames.commit_some(len)
    }

    /// Bytes that committing the table for the first `len` machine pages would make real.
    #[must_use]
    pub fn bytes_to_commit(&self, len: usize) -> usize {
        self.heads.bytes_to_commit(self.heads.as_slice().len()) + self.frames.bytes_to_commit(len)
    }

    /// Bytes that the whole table takes when every machine page is in use.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of_val(self.frames.as_slice())
            + size_of_val(self.heads.as_slice())
            + self.overflow.allocation_size()
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frames.committed_bytes() + self.heads.committed_bytes() + self.overflow.allocation_size()
    }

    /// A copy.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], or what `pulse` returns.
    pub fn fork(&self, pulse: Pulse<'_>) -> Result<Self, Error> {
        Ok(Self {
            frames: self.frames.fork(pulse)?,
            heads: self.heads.fork(pulse)?,
            overflow: self.overflow.clone(),
            totals: self.totals,
        })
    }

    fn frame(&self, mpn: Mpn) -> Frame {
        self.frames.as_slice()[mpn.index()]
    }

    /// The count of a shared page as far as the frame holds it; 0 without a shared frame.
    fn count_field(&self, mpn: Mpn) -> u32 {
        let Frame([_, high]) = self.frame(mpn);
        if high >> KIND_SHIFT == SHARED >> KIND_SHIFT { (high >> FIELD_SHIFT) as u32 & 0xFFFF } else { 0 }
    }

    fn link(&mut self, mpn: Mpn, hash: u64, [low, high]: [u64; 2]) {
        debug_assert_eq!(self.get(mpn), FrameView::None, "at most one frame a machine page");
        let chain = self.chain(hash);
        let head = &mut self.heads.as_mut_slice()[chain];
        self.frames.as_mut_slice()[mpn.index()] = Frame([low, high | u64::from(*head)]);
        *head = mpn.0 + 1;
    }

    fn unlink(&mut self, mpn: Mpn, hash: u64) {
        let chain = self.chain(hash);
        let after = self.frame(mpn).0[1] as u32;
        let mut at = self.heads.as_slice()[chain];
        if at == mpn.0 + 1 {
            self.heads.as_mut_slice()[chain] = after;
        } else {
            let frames = self.frames.as_mut_slice();
            while frames[at as usize - 1].0[1] as u32 != mpn.0 + 1 {
                at = frames[at as usize - 1].0[1] as u32;
            }
            let before = &mut frames[at as usize - 1].0[1];
            *before = *before >> FIELD_SHIFT << FIELD_SHIFT | u64::from(after);
        }
        self.frames.as_mut_slice()[mpn.index()] = Frame::default();
    }

    fn set_count(&mut self, mpn: Mpn, count: u32) {
        if count >= OVERFLOWED {
            self.overflow.insert(mpn, count);
        } else if count == OVERFLOWED - 1 {
            self.overflow.remove(&mpn);
        }
        let high = &mut self.frames.as_mut_slice()[mpn.index()].0[1];
        *high = *high & !(0xFFFF << FIELD_SHIFT) | u64::from(count.min(OVERFLOWED)) << FIELD_SHIFT;
    }

    fn add_shared(&mut self, mpn: Mpn, pages: i64) {
        self.totals.shared_pages = self.totals.shared_pages.wrapping_add_signed(pages);
        if self.frame(mpn).0[1] & ZERO_PAGE != 0 {
            self.totals.zero_pages = self.totals.zero_pages.wrapping_add_signed(pages);
        }
    }
}

fn linked(link: u32) -> Option<Mpn> {
    link.checked_sub(1).map(Mpn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pages: u32) -> FrameTable {
        FrameTable::new(pages).expect("small")
    }

    fn chain(table: &FrameTable, hash: u64) -> Vec<u32> {
        std::iter::successors(table.first(hash), |mpn| table.next(*mpn)).map(|mpn| mpn.0).collect()
    }

    #[test]
    fn frames_say_what_they_were_given() {
        let mut table = table(16);
        let hash = 0xFEDC_BA98_7654_3210;
        table.insert_hint(Mpn(3), hash, VmId(u16::MAX), Ppn(u32::MAX - 1));
        table.insert_shared(Mpn(4), hash, false);
        let hint =
            FrameView::Hint { hash: 0xFEDC_BA98_7600_0000, vm: VmId(u16::MAX), ppn: Ppn(u32::MAX - 1) };
        assert_eq!(table.get(Mpn(3)), hint);
        assert_eq!(truncated(hash), 0xFEDC_BA98_7600_0000);
        assert_eq!(table.get(Mpn(4)), FrameView::Shared { hash, is_zero: false });
        assert_eq!((table.count(Mpn(3)), table.count(Mpn(4))), (0, 1));
        assert_eq!(chain(&table, hash), [4, 3]);
    }

    #[test]
    fn frames_leave_any_place_of_a_chain() {
        for leaves in 0..5 {
            let mut table = table(8);
            (0..5).for_each(|mpn| table.insert_hint(Mpn(mpn), 9, VmId(1), Ppn(mpn)));
            assert!(table.remove_hint(Mpn(leaves)));
            assert!(!table.remove_hint(Mpn(leaves)));
            let rest: Vec<u32> = (0..5).rev().filter(|mpn| *mpn != leaves).collect();
            assert_eq!(chain(&table, 9), rest);
            assert_eq!(table.totals().hint_frames, 4);
        }
    }

    #[test]
    fn frames_of_the_same_truncated_hash_are_alike() {
        let mut table = table(8);
        let hash = 0xFEDC_BA98_7654_3210;
        let one_chain = [hash, hash ^ 1, truncated(hash) ^ 1 << HASH_DROPPED, hash];
        for (mpn, hash) in (0..).zip(one_chain) {
            table.insert_hint(Mpn(mpn), hash, VmId(u16::MAX), Ppn(u32::MAX - 1));
            table.insert_shared(Mpn(mpn + 4), hash, mpn == 0);
        }
        assert_eq!(chain(&table, hash).len(), 8);
        table.fetch_chains([hash; 8].into_iter()); // only reads
        assert!(table.alike(hash).eq([7, 3, 5, 1, 4, 0].map(Mpn)));
        assert!(table.alike(one_chain[2]).eq([6, 2].map(Mpn)));
    }

    #[test]
    fn counts_overflow_and_come_back() {
        let mut table = table(2);
        table.insert_shared(Mpn(1), 5, true);
        table.add_references(Mpn(1), 0);
        assert_eq!((table.count(Mpn(1)), table.totals().shared_pages), (1, 0));
        for count in 2..70_000 {
            table.add_references(Mpn(1), 1);
            assert_eq!(table.count(Mpn(1)), count);
        }
        assert_eq!(table.overflow.len(), 1);
        assert_eq!((table.totals().shared_pages, table.totals().reclaimed_pages), (69_999, 69_998));
        for count in (1..69_999).rev() {
            assert_eq!(table.drop_reference(Mpn(1)), count);
        }
        assert!(table.overflow.is_empty());
        assert_eq!((table.totals().shared_pages, table.totals().zero_pages), (0, 0));
        assert_eq!(table.drop_reference(Mpn(1)), 0);
        assert_eq!(table.totals(), Totals::default());
    }

    #[test]
    fn references_added_together_or_one_by_one_are_the_same() {
        for (first, then) in [(1, 1), (5, 65_528), (65_534, 1), (65_533, 65_000), (1, 200_000), (70_000, 3)] {
            let [mut together, mut alone] = [table(2), table(2)];
            for (table, steps) in [(&mut together, 1), (&mut alone, first)] {
                table.insert_shared(Mpn(0), 5, true);
                (0..steps).for_each(|_| table.add_references(Mpn(0), first / steps));
            }
            together.add_references(Mpn(0), then);
            (0..then).for_each(|_| alone.add_references(Mpn(0), 1));
            assert_eq!(together.count(Mpn(0)), 1 + first + then);
            assert_eq!(together.count(Mpn(0)), alone.count(Mpn(0)));
            assert_eq!(together.totals(), alone.totals());
            assert_eq!(together.overflow, alone.overflow);
        }
    }

    #[test]
    fn the_whole_table_is_below_half_a_percent() {
        let pages = 1 << 20;
        assert!(table(pages).size_bytes() as f64 <= 0.005 * f64::from(pages) * 4096.0);
    }
}
