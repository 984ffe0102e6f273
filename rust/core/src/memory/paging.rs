//! Pages leave machine memory and come back, or change their place in it (§3.2, §3.3, §7).

use super::{Memory, wrong};
use crate::error::Error;
use crate::pmap::State;
use crate::types::{Mpn, Ppn, VmId};

impl Memory {
    /// Private → swapped: the content goes to the swap file, the machine page is freed.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::SwapFull`].
    pub fn page_out(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        let mpn = self.private(vm, ppn)?;
        let slot = self.swapfile.allocate()?;
        while !self.swapped.commit_some(slot.index() + 1) {}
        self.swapped.store(slot.index(), self.content.page(mpn.index()));
        self.give_up(vm, ppn);
        self.move_to(vm, ppn, State::Swapped(slot));
        Ok(())
    }

    /// Swapped → private: the content comes back, the slot is freed.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::OutOfMachineMemory`].
    pub fn page_in(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        let State::Swapped(slot) = self.entry(vm, ppn).state() else {
            return Err(wrong(ppn, self.entry(vm, ppn).state(), "swapped"));
        };
        let mpn = self.allocate()?;
        self.content.store(mpn.index(), self.swapped.page(slot.index()));
        self.give_up(vm, ppn);
        self.move_to(vm, ppn, State::Private(mpn));
        self.vm_mut(vm).counts.page_ins += 1;
        Ok(())
    }

    /// Any state but ballooned → ballooned: the guest gave the page up, its content is gone (I9).
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`].
    pub fn park(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        if self.entry(vm, ppn).state() == State::Ballooned {
            return Err(wrong(ppn, State::Ballooned, "not yet ballooned"));
        }
        self.give_up(vm, ppn);
        self.move_to(vm, ppn, State::Ballooned);
        Ok(())
    }

    /// Ballooned → empty: the guest has the page again, and it reads zero.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`].
    pub fn unpark(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        match self.entry(vm, ppn).state() {
            State::Ballooned => self.move_to(vm, ppn, State::Empty),
            state => return Err(wrong(ppn, state, "ballooned")),
        }
        Ok(())
    }

    /// Private or shared → private on this very machine page, invisibly to the guest (§7).
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::PageNotFree`].
    pub fn relocate(&mut self, vm: VmId, ppn: Ppn, to: Mpn) -> Result<(), Error> {
        let entry = self.entry(vm, ppn);
        let from = entry.state().mpn().ok_or_else(|| wrong(ppn, entry.state(), "private or shared"))?;
        self.machine.allocate_at(to)?;
        self.commit_through(to);
        self.content.copy(from.index(), to.index());
        self.give_up(vm, ppn);
        self.move_to(vm, ppn, State::Private(to));
        Ok(())
    }
}
