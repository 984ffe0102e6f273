//! Making room, as a real guest does: what costs nothing first.
//!
//! 1. Clean blocks of the cache, as long as it has more than a sixteenth of what it and anonymous memory have together.
//! 2. Dirty blocks of it, written back, as far.
//! 3. Anonymous memory, written to the guest's own swap device.
//! 4. When that is full, or nothing anonymous is left: the last of the cache.
//!
//! Which page of its class goes is the order's choice (`pool`). A clean block is looked for among a few times as
//! many as are wanted; dirty ones that are passed over get another round.

use super::anonymous::Place;
use super::fault::swap_position;
use super::free_list::Holds;
use super::kernel::Kernel;
use super::owners::Owner;
use crate::reference::{Errand, Patience, Step};
use crate::types::Ppn;

/// Pages made room for at a time, written together: Linux's `SWAP_CLUSTER_MAX`.
pub(super) const CLUSTER: u32 = 32;
/// Cached pages looked at for each clean one that is wanted. Chosen.
const LOOKS: u32 = 8;
/// The cache keeps one in so many of the pages that it and anonymous memory have. Chosen.
const CACHE_KEEPS: u32 = 16;

/// Whom room is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The free list.
    Free,
    /// The balloon driver.
    Driver,
}

/// How much room is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Pages.
    pub want: u32,
    /// Whether a process waits for what is written.
    pub patience: Patience,
    /// For whom.
    pub fate: Fate,
}

impl Kernel {
    /// Makes room; returns how many pages that will be once the steps are done, at once if they are clean.
    pub(super) fn reclaim(&mut self, job: &Job, steps: &mut Vec<Step>) -> u32 {
        let floor = self.cache_floor();
        let mut left = job.want;
        left -= self.drop_clean(left, floor, job.fate);
        left -= self.write_back(&Job { want: left, ..*job }, floor, steps);
        left -= self.swap_out(&Job { want: left, ..*job }, steps);
        left -= self.drop_clean(left, 0, job.fate);
        left -= self.write_back(&Job { want: left, ..*job }, 0, steps);
        job.want - left
    }

    /// What the cache keeps while there is anything else.
    pub(super) fn cache_floor(&self) -> u32 {
        (self.cache.pool.len() + self.memory.pool.len()) / CACHE_KEEPS
    }

    /// Pages that can be had by making room.
    pub(super) fn reclaimable(&self) -> u32 {
        self.cache.pool.len() + self.memory.pool.len().min(self.memory.slots.free())
    }

    /// Drops up to `want` clean blocks, so that the cache keeps `floor` pages; returns how many.
    pub(super) fn drop_clean(&mut self, want: u32, floor: u32, fate: Fate) -> u32 {
        let (mut aside, mut dropped) = (vec![], 0);
        for _ in 0..want.saturating_mul(LOOKS) {
            let evictable = self.cache.pool.len() + aside.len() as u32;
            if dropped == want || evictable <= floor || self.cache.pages() == self.cache.dirty() {
                break;
            }
            let Some(ppn) = self.cache.pool.evict(&mut self.owners) else { break };
            if self.cache.is_dirty(ppn) || self.named.get(ppn) {
                aside.push(ppn);
                continue;
            }
            self.drop_block(ppn, fate);
            dropped += 1;
        }
        aside.into_iter().for_each(|ppn| self.cache.pool.insert(ppn));
        dropped
    }

    fn drop_block(&mut self, ppn: u32, fate: Fate) {
        self.uncache(ppn);
        self.counts.drops += 1;
        match fate {
            Fate::Free => self.put_free(ppn, Holds::Unknown),
            Fate::Driver => self.keep(ppn),
        }
    }

    fn uncache(&mut self, ppn: u32) {
        let Some(Owner::Block { file, .. }) = self.owners.get(ppn) else { return };
        self.cache.remember(self.owners.word(ppn));
        self.cache.remove(&self.owners, ppn, file);
    }

    /// Writes dirty blocks out, and drops clean ones that come first.
    fn write_back(&mut self, job: &Job, floor: u32, steps: &mut Vec<Step>) -> u32 {
        let (mut aside, mut victims, mut dropped) = (vec![], vec![], 0);
        while dropped + (victims.len() as u32) < job.want {
            if self.cache.pool.len() + aside.len() as u32 <= floor {
                break;
            }
            let Some(ppn) = self.cache.pool.evict(&mut self.owners) else { break };
            match self.condition(ppn) {
                Condition::Clean => {
                    self.drop_block(ppn, job.fate);
                    dropped += 1;
                }
                Condition::Dirty => victims.push(ppn),
                Condition::Named => aside.push(ppn),
            }
        }
        aside.into_iter().for_each(|ppn| self.cache.pool.insert(ppn));
        victims.sort_unstable_by_key(|ppn| self.owners.word(*ppn));
        for ppn in &victims {
            self.push_write(*ppn, job.patience, steps);
            self.uncache(*ppn);
            self.leave(*ppn, job.fate);
        }
        dropped + victims.len() as u32
    }

    /// Writes anonymous memory to the swap device.
    fn swap_out(&mut self, job: &Job, steps: &mut Vec<Step>) -> u32 {
        let most = job.want.min(self.memory.slots.free());
        for done in 0..most {
            let Some(ppn) = self.memory.pool.evict(&mut self.owners) else { return done };
            let Some(Owner::Anonymous(page)) = self.owners.get(ppn) else { return done };
            let slot = self.memory.slots.take().expect("so many are free");
            self.memory.put(page, Place::OnSwap(slot));
            self.counts.swap_outs += 1;
            let (position, patience) = (swap_position(slot), job.patience);
            steps.push(Step::DiskWrite { ppn: Ppn(ppn), position, errand: Errand::Swap, patience });
            self.leave(ppn, job.fate);
        }
        most
    }

    /// A page that a step writes out changes hands when that is done.
    fn leave(&mut self, ppn: u32, fate: Fate) {
        let owner = if fate == Fate::Free { Owner::Leaving } else { Owner::Promised };
        self.owners.set(ppn, owner);
        self.name_page(ppn);
    }

    fn condition(&self, ppn: u32) -> Condition {
        if self.named.get(ppn) {
            Condition::Named
        } else if self.cache.is_dirty(ppn) {
            Condition::Dirty
        } else {
            Condition::Clean
        }
    }
}

enum Condition {
    Clean,
    Dirty,
    /// By a step that is not settled.
    Named,
}
