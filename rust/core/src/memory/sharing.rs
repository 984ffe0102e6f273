//! Pages become one and part again (§4.3).

use super::{Memory, wrong};
use crate::error::Error;
use crate::frame_table::FrameView;
use crate::pmap::State;
use crate::types::{Mpn, Ppn, VmId};

impl Memory {
    /// Private → private, with a hint frame of that hash in place of the one it may have.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`].
    pub fn leave_hint(&mut self, vm: VmId, ppn: Ppn, hash: u64) -> Result<(), Error> {
        let mpn = self.private(vm, ppn)?;
        self.frames.remove_hint(mpn);
        self.frames.insert_hint(mpn, hash, vm, ppn);
        Ok(())
    }

    /// Removes the hint frame of a machine page, if it has one.
    pub fn drop_hint(&mut self, mpn: Mpn) {
        self.frames.remove_hint(mpn);
    }

    /// Private → private, not offered for sharing until its page is released.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`].
    pub fn exclude(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        let mpn = self.private(vm, ppn)?;
        self.frames.remove_hint(mpn);
        let entry = self.entry(vm, ppn).as_ineligible();
        self.set(vm, ppn, entry);
        Ok(())
    }

    /// Private → shared with a count of one, under `hash`, the hash of its content (I4).
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::Pinned`].
    pub fn publish(&mut self, vm: VmId, ppn: Ppn, hash: u64) -> Result<(), Error> {
        let mpn = self.private(vm, ppn)?;
        self.refuse_pinned(vm, ppn)?;
        debug_assert_eq!(hash, self.hash(vm, mpn), "I4: the hash of the page");
        self.frames.remove_hint(mpn);
        self.frames.insert_shared(mpn, hash, self.content.page(mpn.index()).is_zero());
        self.move_to(vm, ppn, State::Shared(mpn));
        Ok(())
    }

    /// Private → shared on `into`, a shared machine page with equal content; the page's own is freed.
    ///
    /// The caller has compared the two.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::Pinned`].
    pub fn merge(&mut self, vm: VmId, ppn: Ppn, into: Mpn) -> Result<(), Error> {
        self.merge_all(vm, std::iter::once(ppn), into)
    }

    /// As [`Memory::merge`] for several pages of one virtual machine, no page twice; all of them or none.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::Pinned`].
    pub fn merge_all(
        &mut self,
        vm: VmId,
        ppns: impl Iterator<Item = Ppn> + Clone,
        into: Mpn,
    ) -> Result<(), Error> {
        for ppn in ppns.clone() {
            let mpn = self.private(vm, ppn)?;
            self.refuse_pinned(vm, ppn)?;
            let FrameView::Shared { .. } = self.frames.get(into) else {
                return Err(wrong(ppn, State::Private(into), "to be merged into a shared page"));
            };
            debug_assert!(self.content.equal(mpn.index(), into.index()), "I9: merged pages are equal");
        }
        let Self { frames, machine, .. } = self;
        let vm = self.vms[vm.index()].as_mut().expect("its pages were looked at above");
        let mut merged = 0;
        machine.free_all(ppns.map(|ppn| {
            merged += 1;
            let entry = vm.pmap().get(ppn);
            let mpn = entry.state().mpn().expect("private as above, and no page comes twice");
            frames.remove_hint(mpn);
            vm.set(ppn, entry.with_state(State::Shared(into)));
            mpn
        }));
        frames.add_references(into, merged);
        vm.counts.merges += u64::from(merged);
        Ok(())
    }

    /// Shared → private: a copy of the page, or the page itself for its last sharer.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`], [`Error::OutOfMachineMemory`].
    pub fn unshare(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        let State::Shared(shared) = self.entry(vm, ppn).state() else {
            return Err(wrong(ppn, self.entry(vm, ppn).state(), "shared"));
        };
        let mpn = if self.frames.count(shared) == 1 { shared } else { self.allocate()? };
        self.frames.drop_reference(shared);
        if mpn != shared {
            self.content.copy(shared.index(), mpn.index());
        }
        self.move_to(vm, ppn, State::Private(mpn));
        self.vm_mut(vm).counts.cow_breaks += 1;
        Ok(())
    }
}
