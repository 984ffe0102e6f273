//! What the kernel does for its balloon driver: pages without waiting, pages that it has to make room for, and pages back.
//!
//! What is free above the least level, and clean cache if the driver may sleep, is given at once. The rest has to be
//! written out first: the kernel notes how many pages the driver waits for, writes so many in the seconds that follow,
//! and keeps them until it polls. A driver that does not come back for them has changed its mind.

use super::free_list::{Holds, Want};
use super::kernel::Kernel;
use super::owners::Owner;
use super::reclaim::{Fate, Job};
use crate::balloon::{Given, Wait};
use crate::reference::{Patience, Step};
use crate::types::Ppn;

/// Most pages written out in a second for a driver that waits. Chosen: 8 MiB, as fast as it asks for them asleep.
const ROOM_RATE: u32 = 2048;
/// Seconds after which a driver that has not polled again is not waited for.
const PATIENCE_S: u32 = 3;

/// What the driver has and wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Driver {
    /// Pages given.
    pub given: u32,
    /// Pages kept for its next poll.
    pub kept: Vec<u32>,
    /// Pages that it waits for, kept ones not among them.
    wanted: u32,
    /// Seconds since it asked.
    waited_s: u32,
}

impl Kernel {
    /// Pages for the driver.
    pub(super) fn give(&mut self, most: u32, wait: Wait) -> Given {
        self.driver.waited_s = 0;
        let mut pages = vec![];
        self.give_kept(most, &mut pages);
        self.give_free(left(most, &pages).min(self.spare()), &mut pages);
        if wait == Wait::MaySleep {
            let clean = left(most, &pages).min(self.spare());
            self.drop_clean(clean, self.cache_floor(), Fate::Driver);
            self.give_kept(most, &mut pages);
        }
        self.driver.given += pages.len() as u32;
        if wait == Wait::MaySleep || left(most, &pages) == 0 {
            self.driver.wanted = left(most, &pages).min(self.spare());
        }
        Given { pages, sleeps: wait == Wait::MaySleep && self.driver.wanted > 0 }
    }

    /// What the driver may have of what is free or can be: without any such page a guest could not live.
    fn spare(&self) -> u32 {
        (self.free.len() + self.reclaimable()).saturating_sub(self.levels.min + self.levels.high)
    }

    fn give_kept(&mut self, most: u32, pages: &mut Vec<Ppn>) {
        let rest = self.driver.kept.len().saturating_sub(left(most, pages) as usize);
        for ppn in self.driver.kept.split_off(rest) {
            self.owners.set(ppn, Owner::Balloon);
            pages.push(Ppn(ppn));
        }
    }

    /// Gives up to `more` pages.
    fn give_free(&mut self, more: u32, pages: &mut Vec<Ppn>) {
        for _ in 0..more.min(self.free.len().saturating_sub(self.levels.min)) {
            let Some((ppn, _)) = self.free.take(Want::Any) else { return };
            self.owners.set(ppn, Owner::Balloon);
            pages.push(Ppn(ppn));
        }
    }

    /// A page is the driver's at its next poll.
    pub(super) fn keep(&mut self, ppn: u32) {
        self.owners.set(ppn, Owner::Kept);
        self.driver.kept.push(ppn);
    }

    /// The driver has freed a page; one that it does not have stays whose it is.
    pub(super) fn take_back(&mut self, ppn: u32) {
        if self.owners.get(ppn) == Some(Owner::Balloon) {
            self.driver.given -= 1;
            self.put_free(ppn, Holds::Unknown);
        }
    }

    /// The driver has nothing any more and waits for nothing.
    pub(super) fn take_all_back(&mut self) {
        if self.driver.given > 0 {
            for ppn in self.owners.all(Owner::Balloon) {
                self.put_free(ppn, Holds::Unknown);
            }
        }
        self.free_kept();
        self.driver = Driver::default();
    }

    fn free_kept(&mut self) {
        for ppn in std::mem::take(&mut self.driver.kept) {
            self.put_free(ppn, Holds::Unknown);
        }
    }

    /// A second's part of what the driver waits for.
    pub(super) fn make_room_for_driver(&mut self, steps: &mut Vec<Step>) {
        self.driver.waited_s = self.driver.waited_s.saturating_add(1);
        if self.driver.waited_s > PATIENCE_S {
            self.driver.wanted = 0;
            self.free_kept();
        }
        let want = self.driver.wanted.min(ROOM_RATE).min(self.spare());
        let job = Job { want, patience: Patience::GoesOn, fate: Fate::Driver };
        self.driver.wanted -= self.reclaim(&job, steps);
    }
}

/// How many of `most` pages are still to be given.
fn left(most: u32, pages: &[Ppn]) -> u32 {
    most.saturating_sub(pages.len() as u32)
}
