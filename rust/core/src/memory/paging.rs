//! Pages leave machine memory and come back, or change their place in it (§3.2, §3.3, §7).

use super::{Memory, wrong};
use crate::error::Error;
use crate::pmap::State;
use crate::swapfile::Run;
use crate::types::{Mpn, Ppn, Slot, VmId};

/// What a page-out did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a page that others share leaves without freeing a machine page"]
pub struct PagedOut {
    /// Where the pages are: one slot a page, in their order.
    pub slots: Run,
    /// Machine pages that came free: one for each private page and for each last sharer.
    pub freed: u32,
}

impl Memory {
    /// Private or shared → swapped: the content goes to the swap file, and the machine page is freed unless others share
    /// it.
    ///
    /// A sharer that leaves drops its reference: while others stay, nothing comes free, so shared pages are for hosts
    /// that have no others left.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::SwapFull`].
    pub fn page_out(&mut self, vm: VmId, ppn: Ppn) -> Result<PagedOut, Error> {
        self.page_out_run(vm, &[ppn])
    }

    /// Pages out the first of these pages, as many as lie in neighbouring slots: one write.
    ///
    /// The pages are resident, not pinned, and their PPNs ascend. The first that breaks this ends the run, which is then short; it is
    /// refused when it comes first itself. So each page leaves whole or not at all, and calling again with the rest gets
    /// through.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if the first page is not resident, [`Error::Pinned`] if a device is using it,
    /// [`Error::SwapFull`]; nothing was paged out.
    pub fn page_out_run(&mut self, vm: VmId, ppns: &[Ppn]) -> Result<PagedOut, Error> {
        let is_resident = |ppn: Ppn| self.entry(vm, ppn).state().mpn().is_some();
        if let Some(ppn) = ppns.first().filter(|ppn| !is_resident(**ppn)) {
            return Err(wrong(*ppn, self.entry(vm, *ppn).state(), "private or shared"));
        }
        ppns.first().map_or(Ok(()), |ppn| self.refuse_pinned(vm, *ppn))?;
        let may_go = |ppn: Ppn| is_resident(ppn) && !self.is_pinned(vm, ppn);
        let followed = ppns.windows(2).take_while(|pair| pair[0] < pair[1] && may_go(pair[1]));
        let fit = ppns.len().min(1 + followed.count());
        let slots = self.swapfile.allocate_run(fit as u32)?;
        while !self.swapped.commit_some(slots.end().index()) {}
        let free = self.machine.free_pages();
        for (ppn, slot) in ppns.iter().zip(slots.slots()) {
            self.move_out(vm, *ppn, slot);
        }
        self.vm_mut(vm).counts.page_outs += u64::from(slots.len);
        Ok(PagedOut { slots, freed: self.machine.free_pages() - free })
    }

    /// Moves a resident page to a slot that is its own.
    fn move_out(&mut self, vm: VmId, ppn: Ppn, slot: Slot) {
        let mpn = self.entry(vm, ppn).state().mpn().expect("the caller found the page resident");
        self.swapped.store(slot.index(), self.content.page(mpn.index()));
        self.give_up(vm, ppn);
        self.move_to(vm, ppn, State::Swapped(slot));
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

    /// Any state but ballooned → ballooned: the guest gave the page up, its content is gone (I9). Returns whether a
    /// machine page came free: an empty or swapped page has none, a shared one may have other sharers.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::Pinned`].
    pub fn park(&mut self, vm: VmId, ppn: Ppn) -> Result<bool, Error> {
        if self.entry(vm, ppn).state() == State::Ballooned {
            return Err(wrong(ppn, State::Ballooned, "not yet ballooned"));
        }
        self.refuse_pinned(vm, ppn)?;
        let came_free = self.give_up(vm, ppn);
        self.move_to(vm, ppn, State::Ballooned);
        Ok(came_free)
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
    /// [`Error::WrongState`], [`Error::Pinned`], [`Error::PageNotFree`].
    pub fn relocate(&mut self, vm: VmId, ppn: Ppn, to: Mpn) -> Result<(), Error> {
        let entry = self.entry(vm, ppn);
        let from = entry.state().mpn().ok_or_else(|| wrong(ppn, entry.state(), "private or shared"))?;
        self.refuse_pinned(vm, ppn)?;
        self.machine.allocate_at(to)?;
        self.commit_through(to);
        self.content.copy(from.index(), to.index());
        self.give_up(vm, ppn);
        self.move_to(vm, ppn, State::Private(to));
        Ok(())
    }
}
