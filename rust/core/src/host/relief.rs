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
            Err(Error::OutOfMachineMemory { .. }) if self.make_room(vm, 1) => change(&mut self.memory),
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

    /// Brings a page back from the swap file, within the limit.
    ///
    /// At the limit one of its own goes first; with the swap file full the slot of this very page has to come free for it,
    /// so it goes second.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMachineMemory`], [`Error::SwapFull`].
    pub(crate) fn bring_back(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        let memory = self.memory.vm(vm);
        if memory.resident() < memory.limit() || self.free_slots() > 0 {
            return self.with_room_within_limit(vm, |memory| memory.page_in(vm, ppn));
        }
        // Chosen before, so that the page that is needed is not among them.
        let mut others = self.swapper.victims(&self.memory, vm, 1);
        if others.is_empty() {
            others = self.swapper.last_resort(&self.memory, vm, 1);
        }
        self.with_room(vm, |memory| memory.page_in(vm, ppn))?;
        if self.finish_some(vm, 1) == 0 {
            self.swapper.write_now(&mut self.memory, vm, &others);
        }
        Ok(())
    }

    fn free_slots(&self) -> u32 {
        let swapfile = self.memory.swapfile();
        swapfile.slots() - swapfile.used_slots()
    }

    /// Who loses pages if a reference of this virtual machine finds none free, and how many.
    fn victim(&self, faulting: VmId) -> Option<(VmId, u32)> {
        let free_slots = self.free_slots();
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

    /// Frees machine pages until so many are free: first those of virtual machines that are gone, then by paging out, of
    /// the virtual machine that is to lose some by the targets in force. Returns whether there are so many now.
    pub(crate) fn make_room(&mut self, faulting: VmId, wanted: u32) -> bool {
        self.finish_power_offs();
        while self.balance.is_some() && self.free_pages() < wanted {
            let Some((victim, pages)) = self.victim(faulting) else { break };
            let before = self.memory.vm(victim).counts.page_outs;
            let moved = self.page_out_now(victim, pages).unwrap_or(0);
            let counts = &mut self.memory.vm_mut(victim).counts;
            counts.emergency_page_outs += counts.page_outs - before;
            if moved == 0 {
                break;
            }
        }
        self.free_pages() >= wanted
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
    /// until then. Of a virtual machine that is held up and has nothing else left, shared pages go at once: otherwise it
    /// would stand for ever.
    pub(crate) fn begin_page_out(&mut self, vm: VmId, pages: u32) {
        let victims = self.swapper.victims(&self.memory, vm, pages);
        if victims.is_empty() && self.is_at_its_last(vm) {
            let shared = self.swapper.fewest_sharers(&self.memory, vm, pages);
            self.swapper.write_now(&mut self.memory, vm, &shared);
            return;
        }
        let rest = self.without_equals(vm, victims);
        self.swapper.begin(&mut self.memory, vm, &rest);
    }

    /// Gives up pages of a virtual machine at once, up to so many: those under way first, then private ones, and shared
    /// ones only if there are no others. Returns how many were written or shared.
    fn page_out_now(&mut self, vm: VmId, pages: u32) -> Result<u64, Error> {
        let finished = self.finish_some(vm, pages);
        if finished > 0 {
            return Ok(finished);
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

    /// Finishes page-outs under way until some are written or none is left; returns how many were written. What was begun
    /// and is off again must not hide what is still to be written behind it.
    fn finish_some(&mut self, vm: VmId, pages: u32) -> u64 {
        let mut written = 0;
        while written == 0 && self.swapper.under_way(vm) > 0 {
            written = self.swapper.finish(&mut self.memory, vm, pages).written;
        }
        written
    }

    /// Whether a virtual machine stands, none of its pages leaves, and what is free does not let it go.
    fn is_at_its_last(&self, vm: VmId) -> bool {
        let mark = self.balance.as_ref().and_then(|balance| balance.thresholds.mark_above(balance.state));
        let is_short = mark.is_some_and(|mark| self.free_pages() <= mark);
        self.vm(vm).blocked && self.memory.vm(vm).leaving() == 0 && is_short
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
