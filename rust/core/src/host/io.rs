//! I/O of guests (§7): a device transfers pages, and the guest's memory is made accessible to it as to the guest itself.

use super::Host;
use crate::config::Reach;
use crate::error::Error;
use crate::memory::Counts;
use crate::reference::Filling;
use crate::remap::{IoCounts, Transfer};
use crate::touch::{Watch, go_on};
use crate::types::{Direction, Ppn, VmId};

/// What a batch of transfers did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoReport {
    /// Transfers done, from the first.
    pub done: usize,
    /// Why the next one was not, if there is one.
    pub stopped: Option<Error>,
    /// What their accesses met.
    pub counts: Counts,
    /// What it took to let the device at the pages.
    pub io: IoCounts,
}

impl Host {
    /// A device transfers pages of a virtual machine in turn. Each transfer is a guest access: it faults where a touch
    /// would, and is counted and sampled; a device that writes gives the page content of its own.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`]; nothing was transferred.
    pub fn io(&mut self, vm: VmId, ppns: &[u32], direction: Direction) -> Result<IoReport, Error> {
        self.transfer(vm, ppns, (direction, Reach::Low), &mut go_on)
    }

    /// The same by a device of any reach; `watch` is told of each fault.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`]; nothing was transferred.
    pub fn transfer(
        &mut self,
        vm: VmId,
        ppns: &[u32],
        (direction, reach): (Direction, Reach),
        watch: Watch<'_>,
    ) -> Result<IoReport, Error> {
        self.check_ppns(vm, ppns)?;
        let before = *self.remapper.counts(vm);
        let served = self.serve(vm, ppns.len(), watch, |host, from, to| {
            let stretch = &ppns[from..to];
            let run = stretch.iter().take_while(|ppn| host.transfer_page(vm, Ppn(**ppn), (direction, reach)));
            let run = run.count();
            (run, stretch.get(run).map(|ppn| (Ppn(*ppn), direction.access())))
        });
        let io = self.remapper.counts(vm).since(&before);
        Ok(IoReport { done: served.done, stopped: served.stopped, counts: served.counts, io })
    }

    /// A device of that reach fills one of the guest's pages; `watch` is told of each fault.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`]; nothing was transferred.
    pub fn receive(
        &mut self,
        vm: VmId,
        ppn: Ppn,
        (filling, reach): (Filling, Reach),
        watch: Watch<'_>,
    ) -> Result<IoReport, Error> {
        let report = self.transfer(vm, &[ppn.0], (Direction::Receive, reach), watch)?;
        match filling {
            Filling::Zero if report.done > 0 => self.store_numbered(vm, ppn, 0),
            Filling::Content(number) if report.done > 0 => self.store_numbered(vm, ppn, number),
            _ => {}
        }
        Ok(report)
    }

    /// What I/O of a virtual machine did since power-on.
    #[must_use]
    pub fn io_counts(&self, vm: VmId) -> &IoCounts {
        self.remapper.counts(vm)
    }

    /// Free pages that every device reaches. Cost: a bit for each page of low memory.
    #[must_use]
    pub fn low_free_pages(&self) -> u32 {
        self.memory.machine().free_below(self.remapper.boundary())
    }

    /// Transfers one page; returns whether its access did not fault.
    fn transfer_page(&mut self, vm: VmId, ppn: Ppn, how: (Direction, Reach)) -> bool {
        let free = self.free_pages();
        let Self { remapper, memory, vms, .. } = self;
        let shares = |id: VmId| vms.iter().find(|vm| vm.id == id).map_or(0, |vm| vm.allocation.shares);
        let done = remapper.transfer(memory, (vm, ppn), how, &shares);
        if self.free_pages() < free {
            // A copy of a shared page.
            self.note_free();
        }
        done == Transfer::Done
    }
}
