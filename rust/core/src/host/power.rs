//! Virtual machines come, change and go (§6.1, §6.2).

use super::Host;
use crate::admission::{self, Allocation, Reservation};
use crate::balloon::{Ballooned, GuestOs};
use crate::config::{AllocationConfig, DeviceConfig, Salt, Shares, VmConfig};
use crate::error::Error;
use crate::guest;
use crate::ledger::Cause;
use crate::pmap::Entry;
use crate::types::{PageBatch, Ppn, Pulse, VmId};

/// A virtual machine that is powered on.
#[derive(Clone, Debug, PartialEq)]
pub struct Vm {
    /// Its slot, which another may have after it.
    pub id: VmId,
    /// Its number among all that were ever powered on here.
    pub serial: u64,
    /// Its name.
    pub name: String,
    /// Its "physical" memory, as the guest saw it at power-on.
    pub pages: u32,
    /// What it is promised and may claim.
    pub allocation: Allocation,
    /// With whom it shares.
    pub salt: Salt,
    /// Its devices, for those who drive them.
    pub devices: DeviceConfig,
    /// What it should have, by the last answer of the policy; its max before there is one.
    pub target_pages: u32,
    /// Whether it is held up until it has come down to its target (§6.3).
    pub blocked: bool,
    /// Whether its last access waits for memory.
    pub waits: bool,
    /// Seconds in which it stood still for want of memory.
    pub stalled_s: u64,
    /// What had happened to it when the policy was asked last.
    pub(crate) seen: Seen,
}

/// Counts of a virtual machine at the last view that a policy was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub page_ins: u64,
    pub stalled_s: u64,
}

/// What is to change about a virtual machine; what is none stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmChanges {
    /// Most that it gets, at most the size that it was powered on with.
    pub max_pages: Option<u32>,
    /// What it gets in any case.
    pub min_pages: Option<u32>,
    /// Its entitlement; low, normal and high are so many for each MiB of its max.
    pub shares: Option<Shares>,
    /// Most pages that its balloon may take.
    pub balloon_limit: Option<u32>,
}

impl Host {
    /// Makes a part of the memory that a further virtual machine of `pages` pages could use real; returns whether it all
    /// is. Power-on does what is left, so calling this first only lets the caller look up in between.
    pub fn commit_some(&mut self, pages: u32) -> bool {
        self.memory.commit_some(self.promised(pages))
    }

    /// Bytes of real memory that powering on a virtual machine of `pages` pages would take.
    #[must_use]
    pub fn real_bytes_wanted(&self, pages: u32) -> u64 {
        let pmap = pages as usize * size_of::<Entry>();
        (self.memory.bytes_to_commit(self.promised(pages)) + pmap) as u64
    }

    /// Refuses a power-on that cannot succeed, with `contents` pages to be loaded.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateVm`], [`Error::Setting`], [`Error::ContentsTooLong`]; [`Error::MemoryReserved`] or
    /// [`Error::SwapReserved`] if what it is to be promised does not fit beside what others are (§6.2); where memory is
    /// not divided [`Error::OutOfMachineMemory`] instead.
    pub fn check_power_on(&self, vm: &VmConfig, contents: usize) -> Result<(), Error> {
        if self.vms.iter().any(|other| other.name == vm.name) {
            return Err(Error::DuplicateVm { name: vm.name.clone() });
        }
        vm.guest.check(vm.max_pages)?;
        vm.devices.check(vm.max_pages, &vm.guest)?;
        let allocation = self.allocation(vm);
        allocation.check(vm.max_pages)?;
        if contents > vm.max_pages as usize {
            return Err(Error::ContentsTooLong { vm: vm.name.clone(), given: contents, pages: vm.max_pages });
        }
        if self.balance.is_some() {
            return self.admit(&vm.name, &allocation.reservation(vm.max_pages), None);
        }
        let (wanted, free) = (contents as u64 + u64::from(allocation.overhead_pages), self.free_pages());
        if wanted > u64::from(free) {
            return Err(Error::OutOfMachineMemory {
                wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
                free,
            });
        }
        Ok(())
    }

    /// Powers on a virtual machine of empty pages.
    ///
    /// # Errors
    ///
    /// As [`Host::check_power_on`], [`Error::TooManyVms`], [`Error::NoMemory`], or what `pulse` returns.
    pub fn power_on(&mut self, vm: VmConfig, pulse: Pulse<'_>) -> Result<VmId, Error> {
        let guest = guest::build(&vm.guest, vm.max_pages, self.powered_on, &self.config.seed)?;
        self.power_on_with(vm, guest, pulse)
    }

    /// The same with a guest of any kind in the place of the one that the settings name.
    ///
    /// # Errors
    ///
    /// As [`Host::power_on`].
    pub fn power_on_with(
        &mut self,
        vm: VmConfig,
        guest: Box<dyn GuestOs>,
        pulse: Pulse<'_>,
    ) -> Result<VmId, Error> {
        self.check_power_on(&vm, 0)?;
        while !self.commit_some(vm.max_pages) {
            pulse()?;
        }
        let allocation = self.allocation(&vm);
        let salt = vm.salt.clone().unwrap_or_else(|| self.config.sharing.salt.clone());
        let domain = self.domain(&salt);
        let id = self.memory.add_vm(vm.max_pages, domain, pulse)?;
        if let Err(error) = self.pin_overhead(id, allocation.overhead_pages) {
            self.memory.remove_vm(id);
            return Err(error);
        }
        self.adopt_domain(&salt, domain);
        self.adopt(id, vm, guest, allocation, salt);
        Ok(id)
    }

    /// Gives pages that are still empty, from `first` on, their contents at power-on. Where memory is divided, others are
    /// paged out to make room, as for a guest that touches its pages.
    ///
    /// # Errors
    ///
    /// [`Error::WrongContentKind`], [`Error::TokenOutOfRange`], [`Error::PageOutOfRange`]: nothing is loaded.
    /// [`Error::WrongState`], [`Error::OutOfMachineMemory`], [`Error::SwapFull`] of one above its max;
    /// pages before the one that failed are loaded.
    pub fn load(&mut self, vm: VmId, first: Ppn, contents: PageBatch<'_>) -> Result<(), Error> {
        self.check_contents(contents)?;
        self.check_range(vm, first, contents.len())?;
        for (index, ppn) in (0..contents.len()).zip(first.0..) {
            let page = contents.page(index);
            self.with_room_within_limit(vm, |memory| memory.load(vm, Ppn(ppn), page))?;
        }
        Ok(())
    }

    /// Powers off a virtual machine; all its pages are freed. Cost: one visit of each page.
    pub fn power_off(&mut self, vm: VmId) {
        self.begin_power_off(vm);
        self.finish_power_offs();
    }

    /// Powers off a virtual machine: it is gone, but its pages are still to be freed.
    pub fn begin_power_off(&mut self, vm: VmId) {
        self.forget(vm);
        self.leaving.push((vm, Ppn(0)));
    }

    /// Frees up to `pages` pages of virtual machines that are gone; returns whether none is left.
    pub fn power_off_some(&mut self, pages: u32) -> bool {
        let Some((vm, from)) = self.leaving.pop() else { return true };
        match self.memory.release_some(vm, from, pages) {
            Some(next) => self.leaving.push((vm, next)),
            None => self.departed.add(&self.memory.remove_vm(vm)),
        }
        self.leaving.is_empty()
    }

    /// Frees what virtual machines that are gone have left.
    pub(crate) fn finish_power_offs(&mut self) {
        while !self.power_off_some(u32::MAX) {}
    }

    /// Takes the last power-on back, as if it had not been. But what others gave for its overhead they have given, and
    /// where memory is divided the policy is asked at the next tick.
    pub fn cancel_power_on(&mut self, vm: VmId) {
        self.forget(vm);
        self.next_domain = self.next_domain.min(self.memory.vm(vm).domain().max(1));
        self.domains.retain(|_, domain| *domain < self.next_domain);
        self.memory.remove_vm(vm);
        self.powered_on -= 1;
    }

    /// Changes what a virtual machine is entitled to. A lower max takes effect at once: what is above it is paged out.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for numbers that contradict each other, [`Error::MemoryReserved`] or [`Error::SwapReserved`] if
    /// what it is to be promised does not fit: nothing has changed. Where memory is not divided, no swap space is
    /// reserved either, so [`Error::SwapFull`] may end the paging out, after which all else is done.
    pub fn configure(&mut self, id: VmId, changes: VmChanges) -> Result<(), Error> {
        let vm = self.vm(id);
        let max_pages = changes.max_pages.unwrap_or(vm.allocation.max_pages);
        let allocation = Allocation {
            min_pages: changes.min_pages.unwrap_or(vm.allocation.min_pages),
            max_pages,
            shares: changes
                .shares
                .map_or(vm.allocation.shares, |shares| admission::shares(shares, max_pages)),
            ..vm.allocation
        };
        allocation.check(vm.pages)?;
        if self.balance.is_some() {
            self.admit(&vm.name, &self.reservation(id, &allocation, vm.pages), Some(id))?;
        }
        if changes.balloon_limit.is_some() {
            self.balloon.set_cap(id, changes.balloon_limit);
        }
        self.memory.set_limit(id, max_pages);
        let vm = self.vm_entry(id);
        vm.allocation = allocation;
        vm.target_pages = vm.target_pages.clamp(allocation.min_pages, allocation.max_pages);
        self.record_changes(id);
        self.call_for(Cause::Reconfigured);
        self.keep_within_limit(id)
    }

    fn adopt(&mut self, id: VmId, vm: VmConfig, guest: Box<dyn GuestOs>, allocation: Allocation, salt: Salt) {
        let serial = self.powered_on;
        self.scanner.add_vm(id, serial, vm.max_pages);
        self.sampler.add_vm(&mut self.memory, id, serial);
        self.swapper.add_vm(id, serial);
        self.remapper.add_vm(id);
        let about = Ballooned { serial, pages: vm.max_pages, cap: vm.balloon_limit, driver: vm.driver };
        self.balloon.add_vm(id, &about, guest);
        self.vms.push(Vm {
            id,
            serial,
            name: vm.name,
            pages: vm.max_pages,
            allocation,
            salt,
            devices: vm.devices,
            target_pages: vm.max_pages,
            blocked: false,
            waits: false,
            stalled_s: 0,
            seen: Seen::default(),
        });
        self.powered_on += 1;
        self.record_power_on(id);
        self.note_free();
        self.call_for(Cause::PowerOn);
    }

    fn forget(&mut self, vm: VmId) {
        self.record_power_off(vm);
        self.vms.retain(|other| other.id != vm);
        self.time.due.retain(|due| due.vm() != Some(vm));
        self.scanner.remove_vm(vm);
        self.sampler.remove_vm(vm);
        self.swapper.remove_vm(vm);
        self.remapper.remove_vm(vm);
        self.balloon.remove_vm(vm);
        self.call_for(Cause::PowerOff);
    }

    /// What a virtual machine is promised. Where memory is not divided the server needs none for itself unless told so.
    fn allocation(&self, vm: &VmConfig) -> Allocation {
        let overhead_pages = match self.balance {
            Some(_) => vm.allocation.overhead_pages,
            None => vm.allocation.overhead_pages.or(Some(0)),
        };
        Allocation::new(vm.max_pages, &AllocationConfig { overhead_pages, ..vm.allocation.clone() })
    }

    /// What has to be reserved for a virtual machine that runs. One whose min was raised since may have more in the swap
    /// file than a new one would need room for there, or be about to.
    pub(super) fn reservation(&self, id: VmId, allocation: &Allocation, pages: u32) -> Reservation {
        let memory = self.memory.vm(id);
        let swapped_pages = memory.swapped() + memory.leaving();
        Reservation { swapped_pages, ..allocation.reservation(pages) }
    }

    /// Refuses what does not fit beside what all others, but the one it is in place of, are guaranteed.
    fn admit(&self, name: &str, new: &Reservation, instead_of: Option<VmId>) -> Result<(), Error> {
        let others = self.vms.iter().filter(|vm| Some(vm.id) != instead_of);
        let others: Vec<Reservation> =
            others.map(|vm| self.reservation(vm.id, &vm.allocation, vm.pages)).collect();
        admission::check(name, new, &others, &self.capacity())
    }

    /// Takes machine pages for the server's own needs; where memory is divided, others make room for them.
    fn pin_overhead(&mut self, id: VmId, pages: u32) -> Result<(), Error> {
        if self.free_pages() < pages {
            self.make_room(id, pages);
        }
        self.memory.pin_overhead(id, pages)
    }

    /// Machine pages that the virtual machines could use, with a further one of `pages` pages.
    fn promised(&self, pages: u32) -> u32 {
        let promised: u64 = self.vms.iter().map(|vm| u64::from(vm.pages)).sum();
        u32::try_from(promised + u64::from(pages)).unwrap_or(u32::MAX)
    }

    /// The number of a sharing domain; 0 is everybody's.
    fn domain(&self, salt: &Salt) -> u32 {
        match salt {
            Salt::None => 0,
            Salt::PerVm => self.next_domain,
            Salt::Named(name) => self.domains.get(name).copied().unwrap_or(self.next_domain),
        }
    }

    fn adopt_domain(&mut self, salt: &Salt, domain: u32) {
        if domain == self.next_domain {
            self.next_domain += 1;
            if let Salt::Named(name) = salt {
                self.domains.insert(name.clone(), domain);
            }
        }
    }
}
