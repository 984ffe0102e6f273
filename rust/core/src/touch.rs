//! What guests do to their pages: the hot path of a simulation.
//!
//! A batch runs along the pmap until an entry says that the access faults; everything rare leaves there through `fault`,
//! which changes the page's state once, and the reference is tried again. A batch that meets no free machine page stops
//! *before* the reference it cannot serve; where a batch is cut changes nothing.

use crate::error::Error;
use crate::host::{Host, Vm};
use crate::memory::Counts;
use crate::pmap::State;
use crate::sample::Clock;
use crate::types::{Access, PageBatch, PageView, Ppn, VmId};

/// References of a batch that are looked at together.
const STRETCH: usize = 1024;

/// What a batch of accesses did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TouchReport {
    /// References served, from the first.
    pub done: usize,
    /// Why the next one was not served, if there is one.
    pub stopped: Option<Error>,
    /// What the served ones met.
    pub counts: Counts,
}

impl Host {
    /// The virtual machine in a slot.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn vm(&self, vm: VmId) -> &Vm {
        self.vms.iter().find(|other| other.id == vm).expect("the caller holds a VM that is powered on")
    }

    pub(crate) fn vm_entry(&mut self, vm: VmId) -> &mut Vm {
        self.vms.iter_mut().find(|other| other.id == vm).expect("the caller holds a VM that is powered on")
    }

    /// Refuses a batch that names a page which the virtual machine does not have.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`].
    pub fn check_ppns(&self, vm: VmId, ppns: &[u32]) -> Result<(), Error> {
        let pages = self.memory.vm(vm).pmap().pages();
        match ppns.iter().max() {
            Some(ppn) if *ppn >= pages => {
                Err(Error::PageOutOfRange { vm: self.vm(vm).name.clone(), ppn: i64::from(*ppn), pages })
            }
            _ => Ok(()),
        }
    }

    /// Refuses pages from `first` on that the virtual machine does not have.
    pub(crate) fn check_range(&self, vm: VmId, first: Ppn, len: usize) -> Result<(), Error> {
        let pages = self.memory.vm(vm).pmap().pages();
        let end = u64::from(first.0) + len as u64;
        if end <= u64::from(pages) {
            return Ok(());
        }
        let ppn = i64::from(first.0.max(pages));
        Err(Error::PageOutOfRange { vm: self.vm(vm).name.clone(), ppn, pages })
    }

    /// The guest reads, or gives fresh content of its own to, each page in turn.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`]; no page was touched.
    pub fn touch(&mut self, vm: VmId, ppns: &[u32], access: Access) -> Result<TouchReport, Error> {
        self.check_ppns(vm, ppns)?;
        Ok(self.serve(vm, ppns.len(), access, |host, from| {
            let stretch = &ppns[from..ppns.len().min(from + STRETCH)];
            let run = match access {
                Access::Read => host.memory.vm(vm).pmap().run_length(stretch, access),
                Access::Write => host.memory.stamp_run(vm, stretch),
            };
            if run < stretch.len() { (run, Some(Ppn(stretch[run]))) } else { (run, None) }
        }))
    }

    /// The guest writes these contents to its pages in turn.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`], [`Error::BatchMismatch`], and those of [`Host::check_contents`]; no page was touched.
    pub fn write(&mut self, vm: VmId, ppns: &[u32], contents: PageBatch<'_>) -> Result<TouchReport, Error> {
        self.check_ppns(vm, ppns)?;
        self.check_contents(contents)?;
        if contents.len() != ppns.len() {
            return Err(Error::BatchMismatch { contents: contents.len(), pages: ppns.len() });
        }
        Ok(self.serve(vm, ppns.len(), Access::Write, |host, from| {
            let ppn = Ppn(ppns[from]);
            if host.memory.entry(vm, ppn).faults(Access::Write) {
                return (0, Some(ppn));
            }
            host.memory.store(vm, ppn, contents.page(from));
            (1, None)
        }))
    }

    /// The guest reads its pages in turn; `take` gets each content.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`]; no page was touched.
    pub fn read(
        &mut self,
        vm: VmId,
        ppns: &[u32],
        mut take: impl FnMut(PageView<'_>),
    ) -> Result<TouchReport, Error> {
        self.check_ppns(vm, ppns)?;
        Ok(self.serve(vm, ppns.len(), Access::Read, |host, from| {
            let ppn = Ppn(ppns[from]);
            if host.memory.entry(vm, ppn).faults(Access::Read) {
                return (0, Some(ppn));
            }
            take(host.memory.peek(vm, ppn));
            (1, None)
        }))
    }

    /// Serves `len` references with `run`, which serves some from a place on and names the page that faults, if any.
    fn serve(
        &mut self,
        vm: VmId,
        len: usize,
        access: Access,
        mut run: impl FnMut(&mut Self, usize) -> (usize, Option<Ppn>),
    ) -> TouchReport {
        let before = self.memory.vm(vm).counts;
        let (mut done, mut stopped) = (0, if len > 0 { self.refuse_blocked(vm) } else { None });
        while done < len && stopped.is_none() {
            let (served, faulted) = run(self, done);
            done += served;
            stopped = faulted.and_then(|ppn| self.fault(vm, ppn, access).err());
        }
        if len > 0 {
            self.set_waiting(vm, stopped.is_some());
        }
        let counts = &mut self.memory.vm_mut(vm).counts;
        counts.references += done as u64;
        TouchReport { done, stopped, counts: counts.since(&before) }
    }

    /// Brings a page one state nearer to where the access does not fault. The mark of a traced page goes last, so only
    /// what is served is counted.
    #[cold]
    fn fault(&mut self, vm: VmId, ppn: Ppn, access: Access) -> Result<(), Error> {
        let entry = self.memory.entry(vm, ppn);
        if !entry.with_traced(false).faults(access) {
            self.sampler.count(&mut self.memory, vm, ppn);
            return Ok(());
        }
        match entry.state() {
            State::Empty => self.with_room_within_limit(vm, |memory| memory.zero_fill(vm, ppn)),
            State::Shared(_) => self.with_room(vm, |memory| match memory.entry(vm, ppn).state() {
                State::Shared(_) => memory.unshare(vm, ppn),
                // Room was made by paging out this very page.
                _ => Ok(()),
            }),
            State::Swapped(_) => self.bring_back(vm, ppn),
            State::Ballooned => {
                self.balloon.pop(&mut self.memory, vm);
                Ok(())
            }
            // The guest needs the page: its page-out is off.
            State::Private(_) if entry.is_leaving() => self.memory.set_leaving(vm, ppn, false),
            State::Private(_) => unreachable!("accesses to an untraced private page that stays do not fault"),
        }
    }

    /// Why a virtual machine that is held up is served nothing.
    fn refuse_blocked(&self, vm: VmId) -> Option<Error> {
        let vm = self.vm(vm);
        vm.blocked.then(|| Error::Blocked { vm: vm.name.clone(), target_pages: vm.target_pages })
    }

    /// A guest waits at the reference that was not served until one is; its own time stands still meanwhile.
    fn set_waiting(&mut self, vm: VmId, waits: bool) {
        self.vm_entry(vm).waits = waits;
        self.sampler.set_clock(vm, if waits { Clock::Stands } else { Clock::Runs });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostConfig, VmConfig};
    use crate::rng::Seed;
    use crate::types::ContentKind;

    #[test]
    fn a_sampled_page_is_counted_wherever_it_was() {
        let mut host = Host::new(HostConfig::bare(8, ContentKind::Tokens, Seed([1; 32]))).expect("small");
        let config = VmConfig::new("one", 4);
        let vm = host.power_on(config, &mut || Ok(())).expect("small");
        host.load(vm, Ppn(0), PageBatch::Tokens(&[1, 2])).expect("four pages");
        assert_eq!(host.memory.page_out(vm, Ppn(0)).expect("private").freed, 1);
        host.balloon.set_target(vm, 1);
        assert_eq!(host.balloon.poll(&mut host.memory, vm).inflated, 1, "the first empty page, which is 2");
        let touched = |host: &Host| host.samples(vm).map(|samples| samples.touched);
        assert_eq!(touched(&host), Some(0));
        let report = host.touch(vm, &[0, 1, 2, 0, 1, 2], Access::Read).expect("four pages");
        assert_eq!((report.counts.page_ins, touched(&host)), (1, Some(3)));
        assert!(host.memory.entry(vm, Ppn(3)).is_traced());
    }

    #[test]
    fn an_access_to_a_leaving_page_keeps_it() {
        let mut host = Host::new(HostConfig::bare(8, ContentKind::Tokens, Seed([1; 32]))).expect("small");
        let config = VmConfig::new("one", 4);
        let vm = host.power_on(config, &mut || Ok(())).expect("small");
        host.load(vm, Ppn(0), PageBatch::Tokens(&[1, 2, 3])).expect("four pages");
        (0..3).for_each(|ppn| host.memory.set_leaving(vm, Ppn(ppn), true).expect("private"));
        let read = host.touch(vm, &[0, 0], Access::Read).expect("four pages");
        let written = host.write(vm, &[1], PageBatch::Tokens(&[7])).expect("four pages");
        assert_eq!((read.done, written.done, host.memory.vm(vm).leaving()), (2, 1, 1));
        assert_eq!(host.peek(vm, Ppn(1)), PageView::Token(7));
        // Every page is sampled: an access that keeps a page is counted like any other.
        assert_eq!(host.samples(vm).map(|samples| samples.touched), Some(2));
    }
}
