//! The audit of a host: that of its memory, and what is promised to virtual machines (I8).

use super::{Host, Vm};
use crate::audit::audit;
use crate::error::Error;
use crate::reclaim;
use crate::types::{FreeState, Pulse};

impl Host {
    /// Checks invariants I1 to I8 and I11.
    ///
    /// # Errors
    ///
    /// [`Error::Invariant`] with its number, or what `pulse` returns.
    pub fn audit(&self, pulse: Pulse<'_>) -> Result<(), Error> {
        audit(&self.memory, pulse)?;
        self.remapper.audit(&self.memory)?;
        self.vms.iter().try_for_each(|vm| self.audit_bounds(vm))?;
        self.audit_reservations()?;
        self.audit_state()
    }

    /// No virtual machine has more than its max, nor a target beyond its bounds.
    fn audit_bounds(&self, vm: &Vm) -> Result<(), Error> {
        let (memory, allocation) = (self.memory.vm(vm.id), &vm.allocation);
        let (resident, target, max) = (memory.resident(), vm.target_pages, allocation.max_pages);
        check(resident <= max && memory.limit() == max, || {
            format!(
                "VM {:?} has {resident} pages, its limit is {} and its max {max}",
                vm.name,
                memory.limit()
            )
        })?;
        check((allocation.min_pages..=max).contains(&target), || {
            format!("the target of VM {:?} is {target}, outside {} to {max}", vm.name, allocation.min_pages)
        })
    }

    /// What is promised fits the machine and the swap file.
    fn audit_reservations(&self) -> Result<(), Error> {
        if self.balance.is_none() {
            return Ok(());
        }
        let capacity = self.capacity();
        let reserved = self.vms.iter().map(|vm| self.reservation(vm.id, &vm.allocation, vm.pages));
        let (memory, swap) =
            reserved.fold((0, 0), |(memory, swap), vm| (memory + vm.memory(), swap + vm.swap()));
        let may = (capacity.memory(), u64::from(capacity.swap_slots));
        check(memory <= may.0 && swap <= may.1, || {
            format!("{memory} of {} pages and {swap} of {} swap slots are reserved", may.0, may.1)
        })
    }

    /// The free state is no better than free memory says.
    fn audit_state(&self) -> Result<(), Error> {
        let Some(balance) = &self.balance else { return Ok(()) };
        let free = self.free_pages();
        let worst = reclaim::fallen_state(FreeState::High, free, &balance.thresholds);
        check(worst <= balance.state, || format!("the state is {:?} with {free} pages free", balance.state))
    }
}

fn check(holds: bool, fact: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Invariant { invariant: "I8", fact: fact() }) }
}
