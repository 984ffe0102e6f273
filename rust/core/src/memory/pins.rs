//! Pages that a device is using (§7): as long as a transfer lasts its page stays where it is.
//!
//! There are few at a time and mostly none, so they are a list. Every arrow that would take the page away from its
//! machine page refuses it: page-outs, sharing, ballooning and relocation. A page of which a virtual machine that is gone
//! has no more use is released all the same.

use super::Memory;
use crate::error::Error;
use crate::types::{Access, Ppn, VmId};

impl Memory {
    /// Keeps a page on its machine page until [`Memory::unpin`]. The caller found that reads of it do not fault.
    pub fn pin(&mut self, vm: VmId, ppn: Ppn) {
        debug_assert!(
            !self.entry(vm, ppn).faults(Access::Read),
            "page {} is nowhere a device could be",
            ppn.0
        );
        self.pinned.push((vm, ppn));
    }

    /// Lets a page go again, if it was pinned.
    pub fn unpin(&mut self, vm: VmId, ppn: Ppn) {
        self.pinned.retain(|pinned| *pinned != (vm, ppn));
    }

    /// Whether a device is using a page.
    #[must_use]
    #[inline]
    pub fn is_pinned(&self, vm: VmId, ppn: Ppn) -> bool {
        self.pinned.contains(&(vm, ppn))
    }

    /// The pages that devices are using.
    #[must_use]
    pub fn pinned(&self) -> &[(VmId, Ppn)] {
        &self.pinned
    }

    /// # Errors
    ///
    /// [`Error::Pinned`].
    pub(super) fn refuse_pinned(&self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        if self.is_pinned(vm, ppn) { Err(Error::Pinned { ppn: ppn.0 }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostConfig;
    use crate::pmap::State;
    use crate::rng::Seed;
    use crate::share::Scanner;
    use crate::swap::Swapper;
    use crate::types::{ContentKind, Mpn, PageView};

    const VM: VmId = VmId(0);

    /// Four equal pages; the second is pinned.
    fn pinned() -> Memory {
        let config = HostConfig::bare(16, ContentKind::Tokens, Seed([1; 32]));
        let mut memory = Memory::new(&config).expect("small");
        memory.add_vm(8, 0, &mut || Ok(())).expect("small");
        (0..4).for_each(|ppn| memory.load(VM, Ppn(ppn), PageView::Token(5)).expect("empty"));
        memory.pin(VM, Ppn(1));
        memory
    }

    #[test]
    fn every_arrow_that_would_take_a_pinned_page_away_refuses() {
        let mut memory = pinned();
        let (before, refused) = (memory.entry(VM, Ppn(1)), Err(Error::Pinned { ppn: 1 }));
        let hash = memory.hash(VM, Mpn(1));
        memory.publish(VM, Ppn(0), hash).expect("private and not pinned");
        assert_eq!(memory.page_out(VM, Ppn(1)).map(drop), refused);
        assert_eq!(memory.park(VM, Ppn(1)).map(drop), refused);
        assert_eq!(memory.relocate(VM, Ppn(1), Mpn(9)), refused);
        assert_eq!(memory.set_leaving(VM, Ppn(1), true), refused);
        assert_eq!(memory.publish(VM, Ppn(1), hash), refused);
        assert_eq!(memory.merge(VM, Ppn(1), Mpn(0)), refused);
        assert_eq!((memory.entry(VM, Ppn(1)), memory.machine().is_free(Mpn(9))), (before, true));
        let paged = memory.page_out_run(VM, &[Ppn(0), Ppn(1), Ppn(2)]).expect("the first may go");
        assert_eq!((paged.slots.len, memory.entry(VM, Ppn(1))), (1, before));
        memory.unpin(VM, Ppn(1));
        assert_eq!(memory.relocate(VM, Ppn(1), Mpn(9)), Ok(()));
    }

    #[test]
    fn mechanisms_leave_pinned_pages_alone() {
        let mut memory = pinned();
        let mut scanner = Scanner::new(Default::default(), Seed([1; 32]));
        scanner.add_vm(VM, 0, 8);
        let scan = scanner.scan_host(&mut memory, 8);
        assert_eq!((scan.hashed, scan.merged), (3, 2));
        let mut swapper = Swapper::new(Seed([1; 32]));
        swapper.add_vm(VM, 0);
        assert_eq!(swapper.begin(&mut memory, VM, &[Ppn(1)]), 0);
        let report = swapper.write_now(&mut memory, VM, &[Ppn(1), Ppn(2)]);
        assert_eq!((report.written, report.cancelled), (1, 1));
        assert_eq!(memory.entry(VM, Ppn(1)).state(), State::Private(Mpn(1)));
    }

    #[test]
    fn a_hint_of_a_pinned_page_is_kept_and_not_followed() {
        let mut memory = pinned();
        let hash = memory.hash(VM, Mpn(1));
        memory.leave_hint(VM, Ppn(1), hash).expect("private");
        let mut scanner = Scanner::new(Default::default(), Seed([1; 32]));
        let scan = scanner.share_now(&mut memory, VM, Ppn(0));
        assert_eq!((scan.hints, scan.merged, scan.stale_hints), (1, 0, 0));
        memory.unpin(VM, Ppn(1));
        assert_eq!(scanner.share_now(&mut memory, VM, Ppn(2)).merged, 1);
        crate::audit::audit(&memory, &mut || Ok(())).expect("consistent");
    }
}
