//! Pages come and go (§2, footnote 2).

use super::{Memory, wrong};
use crate::error::Error;
use crate::pmap::State;
use crate::types::{PageView, Ppn, VmId};

impl Memory {
    /// Empty → private, reading zero whoever owned the machine page before (I10).
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::OutOfMachineMemory`].
    pub fn zero_fill(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        let zero = self.content.zero_page();
        self.load(vm, ppn, zero)?;
        self.vm_mut(vm).counts.zero_fills += 1;
        Ok(())
    }

    /// Empty → private, holding `page`: a virtual machine that is powered on with contents.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::OutOfMachineMemory`].
    pub fn load(&mut self, vm: VmId, ppn: Ppn, page: PageView<'_>) -> Result<(), Error> {
        match self.entry(vm, ppn).state() {
            State::Empty => {}
            state => return Err(wrong(ppn, state, "empty")),
        }
        let mpn = self.allocate()?;
        self.content.store(mpn.index(), page);
        self.move_to(vm, ppn, State::Private(mpn));
        Ok(())
    }

    /// Any state → empty.
    pub fn release(&mut self, vm: VmId, ppn: Ppn) {
        self.give_up(vm, ppn);
        self.move_to(vm, ppn, State::Empty);
    }

    /// Frees the machine page of a page, or drops its reference to a shared one.
    pub(super) fn give_up(&mut self, vm: VmId, ppn: Ppn) {
        match self.entry(vm, ppn).state() {
            State::Private(mpn) => {
                self.frames.remove_hint(mpn);
                self.machine.free(mpn);
            }
            State::Shared(mpn) => {
                if self.frames.drop_reference(mpn) == 0 {
                    self.machine.free(mpn);
                }
            }
            State::Swapped(slot) => self.swapfile.free(slot),
            State::Empty | State::Ballooned => {}
        }
    }
}
