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
        self.fill(vm, ppn, zero)?;
        self.vm_mut(vm).counts.zero_fills += 1;
        Ok(())
    }

    /// Empty → private, holding `page`: a virtual machine that is powered on with contents.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::OutOfMachineMemory`].
    pub fn load(&mut self, vm: VmId, ppn: Ppn, page: PageView<'_>) -> Result<(), Error> {
        self.fill(vm, ppn, page)?;
        self.vm_mut(vm).counts.loads += 1;
        Ok(())
    }

    fn fill(&mut self, vm: VmId, ppn: Ppn, page: PageView<'_>) -> Result<(), Error> {
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

    /// Frees the machine page of a page, or drops its reference to a shared one; returns whether a machine page came
    /// free.
    pub(super) fn give_up(&mut self, vm: VmId, ppn: Ppn) -> bool {
        let freed = match self.entry(vm, ppn).state() {
            State::Private(mpn) => {
                self.frames.remove_hint(mpn);
                Some(mpn)
            }
            State::Shared(mpn) => (self.frames.drop_reference(mpn) == 0).then_some(mpn),
            State::Swapped(slot) => {
                self.swapfile.free(slot);
                None
            }
            State::Empty | State::Ballooned => None,
        };
        freed.into_iter().for_each(|mpn| self.machine.free(mpn));
        freed.is_some()
    }
}
