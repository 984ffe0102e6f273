//! I/O of guests (§7): a device transfers pages, and the guest's memory is made accessible to it as to the guest itself.

use super::Host;
use crate::error::Error;
use crate::memory::Counts;
use crate::remap::{IoCounts, Transfer};
use crate::touch::go_on;
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
        self.check_ppns(vm, ppns)?;
        let before = *self.remapper.counts(vm);
        let served = self.serve(vm, ppns.len(), &mut go_on, |host, from, to| {
            let stretch = &ppns[from..to];
            let run = stretch.iter().take_while(|ppn| host.transfer(vm, Ppn(**ppn), direction));
            let run = run.count();
            (run, stretch.get(run).map(|ppn| (Ppn(*ppn), direction.access())))
        });
        let io = self.remapper.counts(vm).since(&before);
        Ok(IoReport { done: served.done, stopped: served.stopped, counts: served.counts, io })
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
    fn transfer(&mut self, vm: VmId, ppn: Ppn, direction: Direction) -> bool {
        let free = self.free_pages();
        let Self { remapper, memory, vms, .. } = self;
        let shares = |id: VmId| vms.iter().find(|vm| vm.id == id).map_or(0, |vm| vm.allocation.shares);
        let done = remapper.transfer(memory, (vm, ppn), direction, &shares);
        if self.free_pages() < free {
            // A copy of a shared page.
            self.note_free();
        }
        done == Transfer::Done
    }
}
