//! Hot I/O pages (§7): which pages a device had better find in low memory.
//!
//! Devices of 32 bits reach low memory only. A transfer to or from a page above it goes through a bounce buffer, one copy
//! a transfer. Where a page is, a transfer asks the virtual machine's translation cache (`cache`), and copies are counted
//! page by page (`heat`). A page that was copied as often as the threshold says is *hot*: its next transfer first moves
//! it to low memory, and the guest sees nothing of that. So a page that is not hot yet costs its copies, one that is
//! costs a move more; B buffer pages cost B · threshold copies, however many transfers follow.
//!
//! A shared page is not moved: there is no backmap that would tell who else to point to the new place. This one PPN gets
//! a low copy of its own, as a write would give it. The scanner may merge it again; its count stays, so it comes back at
//! the next transfer.
//!
//! Where no low page is free somebody makes room, or not (`room`). A page that is refused goes on being copied and is
//! tried again after as many copies as the threshold says, which bounds what looking for room costs. Counts halve after
//! each half-life, so hot means *recently* hot.
//!
//! A transfer keeps its page pinned: until it is over nobody moves it or takes it away. Transfers are served one after
//! the other, so where a batch of them is cut changes nothing. Making the page accessible is the caller's business: a
//! transfer whose access would fault is not begun.

pub mod cache;
pub mod heat;
mod room;

use std::fmt::Debug;

use cache::{Cache, Translation, walk};
use heat::{Heat, Record};
use room::{Asker, Hand};

use crate::config::{IoMode, Reach, RemapConfig};
use crate::counts::counts;
use crate::error::Error;
use crate::memory::Memory;
use crate::pmap::State;
use crate::types::{Access, Direction, Mpn, Ppn, VmId};
use crate::vm_table::VmTable;

counts! {
    /// What I/O did.
    pub struct IoCounts {
        /// Transfers, one page each.
        pub pages: u64,
        /// Of these, transfers that went through a bounce buffer.
        pub copies: u64,
        /// Hot pages moved to low memory.
        pub remaps: u64,
        /// Hot shared pages of which this virtual machine got a low copy of its own.
        pub private_copies: u64,
        /// Pages of any virtual machine that moved up to make room for its hot ones.
        pub evictions: u64,
        /// Hot pages for which there was no room.
        pub refused: u64,
        /// Transfers whose page the translation cache knew.
        pub hits: u64,
        /// Transfers for which the pmap was asked.
        pub misses: u64,
    }
}

/// What became of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a transfer that faults was not begun"]
pub enum Transfer {
    /// It is done.
    Done,
    /// The access faults; nothing was counted or changed.
    Faults,
}

/// The remapper of one host.
#[derive(Clone, Debug)]
pub struct Remapper {
    config: RemapConfig,
    boundary: Mpn,
    /// Whether there is memory that devices do not reach, so that it matters which pages they use.
    counts_pages: bool,
    vms: VmTable<Vm>,
    hand: Hand,
    /// Of virtual machines that are gone.
    departed: IoCounts,
}

/// What is kept of one virtual machine.
#[derive(Clone, Debug, Default)]
struct Vm {
    /// Made at the first transfer.
    cache: Option<Cache>,
    heat: Heat,
    counts: IoCounts,
}

impl AsRef<Heat> for Vm {
    fn as_ref(&self) -> &Heat {
        &self.heat
    }
}

impl Remapper {
    /// A remapper of no virtual machine, on a machine of that size.
    #[must_use]
    pub fn new(config: RemapConfig, machine_pages: u32) -> Self {
        let boundary = config.boundary(machine_pages);
        Self {
            boundary,
            counts_pages: boundary.0 < machine_pages && config.mode != IoMode::IoMmu,
            config,
            vms: VmTable::new(),
            hand: Hand(VmId(0), Ppn(0)),
            departed: IoCounts::default(),
        }
    }

    /// Takes on a virtual machine.
    pub fn add_vm(&mut self, vm: VmId) {
        self.vms.add(vm, Vm::default());
    }

    /// Forgets a virtual machine whose pages are to be released.
    pub fn remove_vm(&mut self, vm: VmId) {
        if let Some(gone) = self.vms.get(vm) {
            self.departed.add(&gone.counts);
        }
        self.vms.remove(vm);
    }

    /// The first machine page that is not low.
    #[must_use]
    pub fn boundary(&self) -> Mpn {
        self.boundary
    }

    /// Seconds after which counts halve.
    #[must_use]
    pub fn half_life_s(&self) -> Option<u32> {
        self.config.half_life_s
    }

    /// What I/O of one virtual machine did.
    ///
    /// # Panics
    ///
    /// If it was not added.
    #[must_use]
    pub fn counts(&self, vm: VmId) -> &IoCounts {
        &self.vms[vm].counts
    }

    /// What all I/O did.
    #[must_use]
    pub fn totals(&self) -> IoCounts {
        let mut totals = self.departed;
        self.vms.iter().for_each(|(_, vm)| totals.add(&vm.counts));
        totals
    }

    /// Pages of a virtual machine that were copied as often as the threshold says, recently, wherever they are now. Cost:
    /// one visit of each page that had transfers recently.
    #[must_use]
    pub fn hot_pages(&self, vm: VmId) -> u32 {
        let records = self.vms[vm].heat.records();
        records.iter().filter(|record| record.copies >= self.config.threshold).count() as u32
    }

    /// What is remembered of a virtual machine, in an order that does not depend on the past.
    #[must_use]
    pub fn progress(&self, vm: VmId) -> impl Debug + use<> {
        let mut records = self.vms[vm].heat.records().to_vec();
        records.sort_unstable_by_key(|record| record.ppn);
        (self.vms[vm].counts, records)
    }

    /// What is remembered of the host.
    #[must_use]
    pub fn host_progress(&self) -> impl Debug + use<> {
        (self.hand, self.departed)
    }

    /// Halves the counts of a virtual machine; returns how many pages were looked at.
    pub fn cool(&mut self, vm: VmId) -> u32 {
        let Some(vm) = self.vms.get_mut(vm) else { return 0 };
        let pages = vm.heat.records().len() as u32;
        vm.heat.cool();
        // Its entries say where records were.
        vm.cache.iter_mut().for_each(Cache::clear);
        pages
    }

    /// A device of that reach transfers a page of a virtual machine; what it writes is content of its own. `shares` are those
    /// of the virtual machines.
    pub fn transfer(
        &mut self,
        memory: &mut Memory,
        (vm, ppn): (VmId, Ppn),
        (direction, reach): (Direction, Reach),
        shares: &dyn Fn(VmId) -> u32,
    ) -> Transfer {
        let Some(found) = self.translate(memory, vm, ppn, direction.access()) else {
            return Transfer::Faults;
        };
        if self.counts_pages && reach == Reach::Low {
            self.reach(memory, (vm, ppn), found, shares);
        }
        memory.pin(vm, ppn);
        if direction == Direction::Receive {
            let written = memory.stamp_run(vm, &[ppn.0]);
            debug_assert_eq!(written, 1, "writes to page {} do not fault", ppn.0);
        }
        memory.unpin(vm, ppn);
        Transfer::Done
    }

    /// Where a page is; none if the access faults.
    fn translate(&mut self, memory: &mut Memory, vm: VmId, ppn: Ppn, access: Access) -> Option<Translation> {
        let counts_pages = self.counts_pages;
        let Vm { cache, heat, counts } = &mut self.vms[vm];
        let cache = cache.get_or_insert_with(|| {
            memory.vm_mut(vm).watch();
            Cache::new()
        });
        let found = match cache.look(memory, vm, ppn, access) {
            Some(found) => {
                counts.hits += 1;
                found
            }
            None => {
                let found = walk(memory, vm, ppn, access)?;
                let record = if counts_pages { heat.place(ppn) } else { 0 };
                let found = Translation { record, ..found };
                cache.keep(memory, vm, ppn, found);
                counts.misses += 1;
                found
            }
        };
        counts.pages += 1;
        Some(found)
    }

    /// Sees to it that the device gets at the page: where it is, after a move, or by a copy.
    fn reach(
        &mut self,
        memory: &mut Memory,
        (vm, ppn): (VmId, Ppn),
        found: Translation,
        shares: &dyn Fn(VmId) -> u32,
    ) {
        let record = self.vms[vm].heat.at(found.record);
        record.transfers = record.transfers.saturating_add(1);
        if found.mpn < self.boundary {
            return;
        }
        let record = *record;
        if self.is_to_move(&record) {
            if self.move_down(memory, (vm, ppn), record.transfers, shares) {
                return;
            }
            self.vms[vm].counts.refused += 1;
            self.vms[vm].heat.at(found.record).wait = self.config.threshold;
        }
        let Vm { heat, counts, .. } = &mut self.vms[vm];
        let record = heat.at(found.record);
        record.copies = record.copies.saturating_add(1);
        record.wait = record.wait.saturating_sub(1);
        counts.copies += 1;
    }

    fn is_to_move(&self, record: &Record) -> bool {
        let is_hot = match self.config.mode {
            IoMode::AlwaysCopy | IoMode::IoMmu => false,
            IoMode::FirstUse => true,
            IoMode::Remap => record.copies >= self.config.threshold,
        };
        is_hot && record.wait == 0
    }

    /// Moves a page to low memory, if there is room or somebody makes some.
    fn move_down(
        &mut self,
        memory: &mut Memory,
        (vm, ppn): (VmId, Ppn),
        transfers: u32,
        shares: &dyn Fn(VmId) -> u32,
    ) -> bool {
        let others = match memory.entry(vm, ppn).state() {
            State::Shared(mpn) => memory.frames().count(mpn) - 1,
            _ => 0,
        };
        let lowest = memory.machine().lowest_free_from(Mpn(0)).filter(|mpn| *mpn < self.boundary);
        let Some(to) = lowest.or_else(|| self.make_room(memory, (vm, transfers), shares)) else {
            return false;
        };
        memory.relocate(vm, ppn, to).expect("the page is resident and not pinned, the other one free");
        let counts = &mut self.vms[vm].counts;
        *(if others > 0 { &mut counts.private_copies } else { &mut counts.remaps }) += 1;
        true
    }

    /// Moves a low page up for a hotter one; returns the page that came free.
    fn make_room(
        &mut self,
        memory: &mut Memory,
        (vm, transfers): (VmId, u32),
        shares: &dyn Fn(VmId) -> u32,
    ) -> Option<Mpn> {
        let up = memory.machine().lowest_free_from(self.boundary)?;
        let asker = Asker { vm, transfers, boundary: self.boundary, rule: self.config.when_scarce, shares };
        let victim = room::victim(memory, &self.vms, &mut self.hand, &asker)?;
        let low = memory.entry(victim.vm, victim.ppn).state().mpn()?;
        memory
            .relocate(victim.vm, victim.ppn, up)
            .expect("a private page that is not pinned, and a free one");
        self.vms[vm].counts.evictions += 1;
        Some(low)
    }

    /// Checks that no cache contradicts its pmap, and that no transfer is under way (I11).
    ///
    /// # Errors
    ///
    /// [`Error::Invariant`].
    pub fn audit(&self, memory: &Memory) -> Result<(), Error> {
        let wrong = |fact: String| Err(Error::Invariant { invariant: "I11", fact });
        if let Some((vm, ppn)) = memory.pinned().first() {
            return wrong(format!("page {} of VM {} is pinned between transfers", ppn.0, vm.0));
        }
        for (vm, kept) in self.vms.iter() {
            for (ppn, found) in kept.cache.iter().flat_map(|cache| cache.known(memory, vm)) {
                let now = walk(memory, vm, ppn, Access::Read).map(|now| (now.mpn, now.is_writable));
                if now != Some((found.mpn, found.is_writable)) {
                    return wrong(format!(
                        "page {} of VM {} is kept as {found:?} and is {now:?}",
                        ppn.0, vm.0
                    ));
                }
            }
        }
        Ok(())
    }
}
