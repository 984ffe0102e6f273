//! Where machine memory comes from when none is free (§6.3), and how pages go to the swap file.
//!
//! "Try to share a page before paging it out" (§4.3) is two peers in sequence, so it is written here: the swapper chooses,
//! the scanner is asked, and only what has no equal is written.

use super::{Host, Vm};
use crate::config::BeforeSwap;
use crate::error::Error;
use crate::memory::Memory;
use crate::pmap::State;
use crate::reclaim::{self, Candidate};
use crate::types::{Ppn, VmId};

impl Host {
    /// Does something that may need a machine page. Where memory is divided and none is free, some are paged out by the
    /// targets in force, and it is tried once more.
    ///
    /// # Errors
    ///
    /// What `change` returns.
    pub(crate) fn with_room(
        &mut self,
        vm: VmId,
        change: impl Fn(&mut Memory) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let done = match change(&mut self.memory) {
            Err(Error::OutOfMachineMemory { .. }) if self.make_room(vm) => change(&mut self.memory),
            done => done,
        };
        self.note_free();
        done
    }

    /// The same for a change that makes one more page of the virtual machine resident: at its limit, one of its own goes
    /// first.
    pub(crate) fn with_room_within_limit(
        &mut self,
        vm: VmId,
        change: impl Fn(&mut Memory) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.keep_below(vm, self.memory.vm(vm).limit())?;
        self.with_room(vm, change)
    }

    /// Who loses pages if a reference of this virtual machine finds none free, and how many.
    fn victim(&self, faulting: VmId) -> Option<(VmId, u32)> {
        let swapfile = self.memory.swapfile();
        let free_slots = swapfile.slots() - swapfile.used_slots();
        let candidate = |vm: &Vm| {
            let allocated = self.memory.vm(vm.id).resident();
            Candidate {
                allocated,
                target: vm.target_pages,
                min: vm.allocation.min_pages,
                pageable: allocated.min(free_slots),
            }
        };
        let candidates: Vec<Candidate> = self.vms.iter().map(candidate).collect();
        let place = self.vms.iter().position(|vm| vm.id == faulting);
        let victim = reclaim::victim(&candidates, place.unwrap_or(usize::MAX))?;
        Some((self.vms[victim.vm].id, victim.pages))
    }

    /// Frees a machine page by paging out, of the virtual machine that is to lose some by the targets in force; returns
    /// whether there is one now.
    pub(crate) fn make_room(&mut self, faulting: VmId) -> bool {
        while self.balance.is_some() && self.free_pages() == 0 {
            let Some((victim, pages)) = self.victim(faulting) else { break };
            let before = self.memory.vm(victim).counts.page_outs;
            let moved = self.page_out_now(victim, pages).unwrap_or(0);
            let counts = &mut self.memory.vm_mut(victim).counts;
            counts.emergency_page_outs += counts.page_outs - before;
            if moved == 0 {
                break;
            }
        }
        self.free_pages() > 0
    }

    /// Pages out what a virtual machine has above its limit.
    ///
    /// # Errors
    ///
    /// [`Error::SwapFull`].
    pub(crate) fn keep_within_limit(&mut self, vm: VmId) -> Result<(), Error> {
        self.keep_below(vm, self.memory.vm(vm).limit().saturating_add(1))
    }

    /// Pages out until fewer than that many pages are resident.
    fn keep_below(&mut self, vm: VmId, bound: u32) -> Result<(), Error> {
        while self.memory.vm(vm).resident() >= bound {
            let above = self.memory.vm(vm).resident() - bound + 1;
            if self.page_out_now(vm, above)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Begins to page out that many pages of a virtual machine; they are written at the next tick if nothing touches them
    /// until then.
    pub(crate) fn begin_page_out(&mut self, vm: VmId, pages: u32) {
        let victims = self.swapper.victims(&self.memory, vm, pages);
        let rest = self.without_equals(vm, victims);
        self.swapper.begin(&mut self.memory, vm, &rest);
    }

    /// Gives up pages of a virtual machine at once, up to so many: those under way first, then private ones, and shared
    /// ones only if there are no others. Returns how many were written or shared.
    fn page_out_now(&mut self, vm: VmId, pages: u32) -> Result<u64, Error> {
        let under_way = self.swapper.finish(&mut self.memory, vm, pages);
        if under_way.written > 0 {
            return Ok(under_way.written);
        }
        let victims = self.swapper.victims(&self.memory, vm, pages);
        let (found, rest) = match victims.len() {
            0 => (0, self.swapper.last_resort(&self.memory, vm, pages)),
            found => (found, self.without_equals(vm, victims)),
        };
        let shared = found.saturating_sub(rest.len()) as u64;
        let report = self.swapper.write_now(&mut self.memory, vm, &rest);
        match shared + report.written {
            0 if report.unwritten > 0 => Err(Error::SwapFull { slots: self.memory.swapfile().slots() }),
            given_up => Ok(given_up),
        }
    }

    /// Offers pages for sharing; returns those that are still private.
    fn without_equals(&mut self, vm: VmId, mut ppns: Vec<Ppn>) -> Vec<Ppn> {
        let rule = self.config.balance.as_ref().map_or(BeforeSwap::Share, |rules| rules.before_swap);
        if rule == BeforeSwap::Share {
            let merged: u64 =
                ppns.iter().map(|ppn| self.scanner.share_now(&mut self.memory, vm, *ppn).merged).sum();
            self.memory.vm_mut(vm).counts.shared_before_swap += merged;
            // One may also have been published for another of them.
            ppns.retain(|ppn| matches!(self.memory.entry(vm, *ppn).state(), State::Private(_)));
        }
        ppns
    }
}
