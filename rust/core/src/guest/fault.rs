//! Serving what does not translate: first touches, reads of the disk, and what processes give back.

use super::anonymous::Place;
use super::free_list::{Holds, Want};
use super::kernel::Kernel;
use super::owners::Owner;
use super::reclaim::{CLUSTER, Fate, Job};
use crate::balloon::Dealt;
use crate::reference::{Errand, Filling, Patience, Step};
use crate::types::Ppn;

/// Where the swap device begins on the disk; a block of a file is at its file's number times 2^32 plus its own.
const SWAP_BEGINS: u64 = 1 << 62;

/// A process that writes makes room among dirty blocks itself while they are more than so many hundredths of what is free,
/// cached or anonymous: what the balloon has does not count. Linux 2.4: bdflush's 60 %, Linux 2.6: 40 %.
const DIRTY_PERCENT: u64 = 40;

/// Where a block of a file is on the disk.
pub(super) fn file_position(file: u32, block: u32) -> u64 {
    u64::from(file) << 32 | u64::from(block)
}

/// Where a slot of the swap device is on the disk.
pub(super) fn swap_position(slot: u32) -> u64 {
    SWAP_BEGINS + u64::from(slot)
}

impl Kernel {
    /// A page of memory that is not here.
    pub(super) fn fault_memory(&mut self, page: u32, steps: &mut Vec<Step>) -> Dealt {
        let want = match self.memory.place(page) {
            Place::Here(_) => return Dealt::Served,
            Place::OnSwap(_) => Want::Any,
            Place::Nowhere => Want::Zeroes,
        };
        let Some((ppn, holds)) = self.obtain(want, steps) else { return self.kill() };
        if let Place::OnSwap(slot) = self.memory.place(page) {
            self.memory.slots.put(slot);
            self.counts.swap_ins += 1;
            steps.push(Step::DiskRead { position: swap_position(slot), pages: 1, errand: Errand::Swap });
            steps.push(Step::Fill(Ppn(ppn), Filling::Own));
        } else if holds == Holds::Unknown {
            steps.push(Step::Fill(Ppn(ppn), Filling::Zero));
        }
        self.owners.set(ppn, Owner::Anonymous(page));
        self.memory.put(page, Place::Here(ppn));
        self.name_page(ppn);
        Dealt::Served
    }

    /// A block is read that is not cached, and more after it if it is read in sequence: as far as there is memory without
    /// making room, and up to the next block that is cached.
    pub(super) fn read_block(&mut self, file: u32, block: u32, steps: &mut Vec<Step>) -> Dealt {
        if self.cache.find(&self.owners, file, block) != 0 {
            return Dealt::Served;
        }
        let Some((first, _)) = self.obtain(Want::Any, steps) else { return self.kill() };
        let errand = if self.cache.recall(file, block) { Errand::Refault } else { Errand::File };
        self.counts.refaults += u64::from(errand == Errand::Refault);
        let window = self.cache.window(file, block);
        let mut ppns = vec![first];
        while (ppns.len() as u32) < window {
            let Some(ppn) = self.page_ahead(file, block, ppns.len() as u32) else { break };
            ppns.push(ppn);
        }
        self.read_blocks((file, block), ppns, errand, steps);
        Dealt::Served
    }

    /// A page for the block that is so many after this one, if it is to be read ahead.
    fn page_ahead(&mut self, file: u32, block: u32, ahead: u32) -> Option<u32> {
        let block = block.checked_add(ahead)?;
        if self.free.len() <= self.levels.low || self.cache.find(&self.owners, file, block) != 0 {
            return None;
        }
        self.counts.refaults += u64::from(self.cache.recall(file, block));
        self.free.take(Want::Any).map(|(ppn, _)| ppn)
    }

    /// Reads the blocks of a file from the second number on into these pages, if there are any.
    pub(super) fn read_blocks(
        &mut self,
        (file, first): (u32, u32),
        ppns: Vec<u32>,
        errand: Errand,
        steps: &mut Vec<Step>,
    ) {
        let pages = ppns.len() as u32;
        if pages == 0 {
            return;
        }
        self.counts.file_reads += u64::from(pages);
        steps.push(Step::DiskRead { position: file_position(file, first), pages, errand });
        let (window, is_changed) = (self.cache.window(file, first), self.cache.is_changed(file));
        for (ppn, block) in ppns.into_iter().zip(first..=u32::MAX) {
            let content = Filling::Content(self.content(file, block));
            steps.push(Step::Fill(Ppn(ppn), if is_changed { Filling::Own } else { content }));
            self.cache.insert(&mut self.owners, ppn, file, block);
            self.name_page(ppn);
        }
        self.cache.note_read(file, window, first.saturating_add(pages));
    }

    /// A block is written that is not cached: all of it, so what was in it is not read first.
    pub(super) fn write_block(&mut self, file: u32, block: u32, steps: &mut Vec<Step>) -> Dealt {
        if self.cache.find(&self.owners, file, block) != 0 {
            return Dealt::Served;
        }
        self.wait_for_writes(steps);
        let Some((ppn, _)) = self.obtain(Want::Any, steps) else { return self.kill() };
        self.cache.recall(file, block);
        steps.push(Step::Fill(Ppn(ppn), Filling::Own));
        self.cache.insert(&mut self.owners, ppn, file, block);
        self.cache.write(&self.owners, ppn, self.now);
        self.name_page(ppn);
        Dealt::Served
    }

    fn wait_for_writes(&mut self, steps: &mut Vec<Step>) {
        let pages = self.free.len() + self.cache.pages() + self.memory.resident();
        if u64::from(self.cache.dirty()) * 100 > u64::from(pages) * DIRTY_PERCENT {
            let oldest = self.cache.begin_oldest(u32::MAX, CLUSTER);
            self.write_begun(oldest, Patience::Waits, steps);
        }
    }

    /// Writes blocks that stay cached and whose writing has begun, in the order of their places on the disk.
    pub(super) fn write_begun(&mut self, mut ppns: Vec<u32>, patience: Patience, steps: &mut Vec<Step>) {
        ppns.sort_unstable_by_key(|ppn| self.owners.word(*ppn));
        for ppn in &ppns {
            self.push_write(*ppn, patience, steps);
        }
        ppns.into_iter().for_each(|ppn| self.name_page(ppn));
    }

    /// The step that writes a page's block.
    pub(super) fn push_write(&mut self, ppn: u32, patience: Patience, steps: &mut Vec<Step>) {
        let Some(Owner::Block { file, block }) = self.owners.get(ppn) else { return };
        self.counts.write_backs += 1;
        let position = file_position(file, block);
        steps.push(Step::DiskWrite { ppn: Ppn(ppn), position, errand: Errand::File, patience });
    }

    /// A page of memory is given back.
    pub(super) fn free_memory(&mut self, page: u32) -> Dealt {
        match self.memory.place(page) {
            Place::Nowhere => return Dealt::Served,
            Place::OnSwap(slot) => self.memory.slots.put(slot),
            Place::Here(ppn) => {
                self.memory.pool.remove(ppn);
                self.let_go(ppn);
            }
        }
        self.memory.put(page, Place::Nowhere);
        Dealt::Served
    }

    /// A file goes with all that is cached of it, dirty or not.
    pub(super) fn delete(&mut self, file: u32) -> Dealt {
        let ppns: Vec<u32> = self.cache.pages_of(file).collect();
        for ppn in ppns {
            self.cache.remove(&self.owners, ppn, file);
            self.let_go(ppn);
        }
        Dealt::Served
    }

    /// A page that belongs to nobody any more is free at once, or when the steps that name it are done.
    fn let_go(&mut self, ppn: u32) {
        if self.named.get(ppn) {
            self.owners.set(ppn, Owner::Leaving);
        } else {
            self.put_free(ppn, Holds::Unknown);
        }
    }

    /// Writes what is dirty of a file.
    pub(super) fn flush(&mut self, file: u32, steps: &mut Vec<Step>) -> Dealt {
        let dirty = self.cache.dirty_of(file);
        dirty.iter().for_each(|ppn| self.cache.begin_write(*ppn));
        self.write_begun(dirty, Patience::Waits, steps);
        Dealt::Served
    }

    /// A page for a process, which makes room first if the free list is low. When there is no free page, one that this
    /// very making of room has written out serves: the steps are done in order.
    fn obtain(&mut self, want: Want, steps: &mut Vec<Step>) -> Option<(u32, Holds)> {
        let ours = self.pending.len();
        if self.free.len() <= self.levels.low {
            self.reclaim(&Job { want: CLUSTER, patience: Patience::Waits, fate: Fate::Free }, steps);
        }
        self.free.take(want).or_else(|| {
            let is_leaving = |ppn: &u32| self.owners.get(*ppn) == Some(Owner::Leaving);
            let place = self.pending[ours..].iter().position(is_leaving)?;
            Some((self.pending.remove(ours + place), Holds::Unknown))
        })
    }

    fn kill(&mut self) -> Dealt {
        self.counts.kills += 1;
        Dealt::Killed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::owners::block_word;
    use crate::reference::MAX_FILES;

    /// Sorting by the words of blocks is sorting by their places on the disk.
    #[test]
    fn a_block_stands_where_its_word_says() {
        for (file, block) in [(0, 0), (3, u32::MAX), (MAX_FILES - 1, 5)] {
            assert_eq!(block_word(file, block) & (u64::MAX >> 4), file_position(file, block));
            assert!(file_position(file, block) < swap_position(0));
        }
    }
}
