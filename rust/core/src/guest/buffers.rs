//! What the kernel does for the drivers of its devices: pages for their buffers, for good.

use super::free_list::Want;
use super::kernel::Kernel;
use super::owners::Owner;
use super::reclaim::{Fate, Job};
use crate::reference::{Patience, Step};
use crate::types::Ppn;

impl Kernel {
    /// Up to `most` pages for buffers, once boot is over: what is free above the least level, which for a driver that wants
    /// more is raised for its next call.
    pub(super) fn give_buffers(&mut self, most: u32, steps: &mut Vec<Step>) -> Vec<Ppn> {
        if self.boot_left() > 0 {
            return vec![];
        }
        let want = most.saturating_add(self.levels.low).saturating_sub(self.free.len());
        if want > 0 {
            self.reclaim(&Job { want, patience: Patience::GoesOn, fate: Fate::Free }, steps);
        }
        let spare = self.free.len().saturating_sub(self.levels.min);
        let taken = (0..most.min(spare)).map_while(|_| self.free.take(Want::Any));
        let pages: Vec<Ppn> = taken.map(|(ppn, _)| Ppn(ppn)).collect();
        pages.iter().for_each(|ppn| self.owners.set(ppn.0, Owner::Buffer));
        self.buffers += pages.len() as u32;
        pages
    }
}
