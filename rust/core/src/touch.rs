//! What guests do to their pages: the hot path of a simulation.
//!
//! A batch runs along the pmap until an entry says that the access faults; everything rare leaves there through `fault`,
//! which changes the page's state once, and the reference is tried again. A batch that meets no free machine page stops
//! *before* the reference it cannot serve; where a batch is cut changes nothing.

use std::ops::ControlFlow;

use crate::error::Error;
use crate::host::{Host, Vm};
use crate::memory::Counts;
use crate::pmap::State;
use crate::reference::{Filling, Touch, Writes};
use crate::rng::mix;
use crate::sample::Clock;
use crate::types::{Access, ContentKind, PAGE_SIZE, Page, PageBatch, PageView, Ppn, VmId};

/// References of a batch that are looked at together.
const STRETCH: usize = 1024;

/// What a fault was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An empty page got a zeroed machine page.
    ZeroFill,
    /// A shared page was copied for its writer (§4.1).
    CowBreak,
    /// A page came back from the server's swap file (§3.3).
    PageIn,
    /// A ballooned page was touched: its balloon popped (§3.2).
    Pop,
    /// A page whose page-out was under way stays.
    Kept,
    /// A sampled page was counted (§5.3).
    Sampled,
}

/// A fault that was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it was about.
    pub kind: FaultKind,
    /// Pages that had to be written to the swap file first, to make room for it.
    pub written: u64,
    /// Runs of neighbouring slots in which they were written.
    pub writes: u64,
}

/// Told of each fault, with the place in its batch of the reference that met it; once it says `Break`, that reference is
/// the last that is served.
pub type Watch<'a> = &'a mut dyn FnMut(usize, Fault) -> ControlFlow<()>;

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
        Ok(self.serve(vm, ppns.len(), &mut go_on, |host, from, to| {
            let stretch = &ppns[from..to];
            let run = match access {
                Access::Read => host.memory.vm(vm).pmap().run_length(stretch, access),
                Access::Write => host.memory.stamp_run(vm, stretch),
            };
            (run, stretch.get(run).map(|ppn| (Ppn(*ppn), access)))
        }))
    }

    /// The guest touches its pages in turn, reads and writes mixed; `watch` is told of each fault. A page that the virtual
    /// machine does not have ends the batch: what comes before it is served.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`] if the first is such a page; nothing happened.
    pub fn play(
        &mut self,
        vm: VmId,
        touches: &[Touch],
        writes: Writes,
        watch: Watch<'_>,
    ) -> Result<TouchReport, Error> {
        if let Some(first) = touches.first() {
            self.check_ppns(vm, &[first.ppn().0])?;
        }
        Ok(self.serve(vm, touches.len(), watch, |host, from, to| {
            let stretch = &touches[from..to];
            let (run, has_writes) = host.memory.vm(vm).pmap().mixed_run(stretch);
            if has_writes {
                host.store_written(vm, &stretch[..run], writes);
            }
            (run, stretch.get(run).map(|touch| (touch.ppn(), touch.access())))
        }))
    }

    /// The guest fills one of its pages; `watch` is told of each fault.
    ///
    /// # Errors
    ///
    /// [`Error::PageOutOfRange`]; the page was not touched.
    pub fn fill(
        &mut self,
        vm: VmId,
        ppn: Ppn,
        filling: Filling,
        watch: Watch<'_>,
    ) -> Result<TouchReport, Error> {
        let number = match filling {
            Filling::Own => return self.play(vm, &[Touch::new(ppn, Access::Write)], Writes::Unique, watch),
            Filling::Zero => 0,
            Filling::Content(number) => number,
        };
        self.check_ppns(vm, &[ppn.0])?;
        Ok(self.serve(vm, 1, watch, |host, _, _| {
            if host.memory.entry(vm, ppn).faults(Access::Write) {
                return (0, Some((ppn, Access::Write)));
            }
            host.store_numbered(vm, ppn, number);
            (1, None)
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
        Ok(self.serve(vm, ppns.len(), &mut go_on, |host, from, _| {
            let ppn = Ppn(ppns[from]);
            if host.memory.entry(vm, ppn).faults(Access::Write) {
                return (0, Some((ppn, Access::Write)));
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
        Ok(self.serve(vm, ppns.len(), &mut go_on, |host, from, _| {
            let ppn = Ppn(ppns[from]);
            if host.memory.entry(vm, ppn).faults(Access::Read) {
                return (0, Some((ppn, Access::Read)));
            }
            take(host.memory.peek(vm, ppn));
            (1, None)
        }))
    }

    /// Serves `len` references with `run`, which serves some of those from a place up to another and names the one that
    /// faults, if any. A page that the virtual machine does not have is the end.
    pub(crate) fn serve(
        &mut self,
        vm: VmId,
        len: usize,
        watch: Watch<'_>,
        mut run: impl FnMut(&mut Self, usize, usize) -> (usize, Option<(Ppn, Access)>),
    ) -> TouchReport {
        let (before, pages) = (self.memory.vm(vm).counts, self.memory.vm(vm).pmap().pages());
        let (mut done, mut end) = (0, len);
        let mut stopped = if len > 0 { self.refuse_blocked(vm) } else { None };
        while done < end && stopped.is_none() {
            let (served, faulted) = run(self, done, end.min(done + STRETCH));
            done += served;
            let Some((ppn, access)) = faulted else { continue };
            if ppn.0 >= pages {
                break;
            }
            match self.fault(vm, ppn, access) {
                Ok(fault) if watch(done, fault).is_break() => end = done + 1,
                Ok(_) => {}
                Err(error) => stopped = Some(error),
            }
        }
        if len > 0 {
            self.set_waiting(vm, stopped.is_some());
        }
        let counts = &mut self.memory.vm_mut(vm).counts;
        counts.references += done as u64;
        TouchReport { done, stopped, counts: counts.since(&before) }
    }

    /// Brings a page one state nearer to where the access does not fault, and tells what it took.
    #[cold]
    fn fault(&mut self, vm: VmId, ppn: Ppn, access: Access) -> Result<Fault, Error> {
        let before = *self.swapper.totals();
        let kind = self.fault_of(vm, ppn, access)?;
        let after = self.swapper.totals();
        Ok(Fault { kind, written: after.written - before.written, writes: after.writes - before.writes })
    }

    /// The mark of a traced page goes last, so only what is served is counted.
    fn fault_of(&mut self, vm: VmId, ppn: Ppn, access: Access) -> Result<FaultKind, Error> {
        let entry = self.memory.entry(vm, ppn);
        if !entry.with_traced(false).faults(access) {
            self.sampler.count(&mut self.memory, vm, ppn);
            return Ok(FaultKind::Sampled);
        }
        match entry.state() {
            State::Empty => {
                self.with_room_within_limit(vm, |memory| memory.zero_fill(vm, ppn))?;
                Ok(FaultKind::ZeroFill)
            }
            State::Shared(_) => {
                self.with_room(vm, |memory| match memory.entry(vm, ppn).state() {
                    State::Shared(_) => memory.unshare(vm, ppn),
                    // Room was made by paging out this very page.
                    _ => Ok(()),
                })?;
                Ok(FaultKind::CowBreak)
            }
            State::Swapped(_) => {
                self.bring_back(vm, ppn)?;
                Ok(FaultKind::PageIn)
            }
            State::Ballooned => {
                self.balloon.pop(&mut self.memory, vm);
                Ok(FaultKind::Pop)
            }
            // The guest needs the page: its page-out is off.
            State::Private(_) if entry.is_leaving() => {
                self.memory.set_leaving(vm, ppn, false)?;
                Ok(FaultKind::Kept)
            }
            State::Private(_) => unreachable!("accesses to an untraced private page that stays do not fault"),
        }
    }

    /// Gives pages on which writes do not fault what was written to them.
    fn store_written(&mut self, vm: VmId, touches: &[Touch], writes: Writes) {
        match writes {
            Writes::Unique => self.memory.stamp_written(vm, touches),
            Writes::Same => {}
            Writes::Pool(contents) => {
                let at = self.memory.vm(vm).counts.references;
                let written = touches.iter().zip(at..).filter(|(touch, _)| touch.access() == Access::Write);
                for (touch, time) in written {
                    let choice = mix(u64::from(touch.ppn().0) << 32 ^ mix(time)) % u64::from(contents.max(1));
                    self.store_numbered(vm, touch.ppn(), pool_content(choice));
                }
            }
        }
    }

    /// Stores the content that a number stands for into a page on which writes do not fault.
    pub(crate) fn store_numbered(&mut self, vm: VmId, ppn: Ppn, number: u64) {
        match self.memory.content().kind() {
            ContentKind::Tokens => self.memory.store(vm, ppn, PageView::Token(number)),
            ContentKind::Bytes => self.memory.store(vm, ppn, PageView::Bytes(&numbered_page(number))),
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

/// Watches nothing.
pub(crate) fn go_on(_: usize, _: Fault) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The number of a content of the pool.
fn pool_content(choice: u64) -> u64 {
    // Below 2^63 and not 0; files' contents are made otherwise.
    mix(choice ^ 0x706f_6f6c) >> 1 | 1
}

/// The bytes that a number stands for: equal numbers, equal pages; 0 is the zero page.
fn numbered_page(number: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    if number != 0 {
        for (place, word) in page.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = (number ^ mix(place as u64)).to_le_bytes();
        }
    }
    page
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
    fn touches_end_at_a_page_that_there_is_not() {
        let mut host = Host::new(HostConfig::bare(8, ContentKind::Tokens, Seed([1; 32]))).expect("small");
        let vm = host.power_on(VmConfig::new("one", 4), &mut || Ok(())).expect("small");
        let touches = [0, 1, 4, 2].map(|ppn| Touch::new(Ppn(ppn), Access::Write));
        let played = host.play(vm, &touches, Writes::Unique, &mut go_on).expect("the first is a page");
        assert_eq!((played.done, played.stopped, played.counts.references), (2, None, 2));
        let waits = |host: &Host| host.vm(vm).waits;
        let refused = host.play(vm, &touches[2..], Writes::Unique, &mut go_on);
        assert_eq!(refused, Err(Error::PageOutOfRange { vm: "one".into(), ppn: 4, pages: 4 }));
        assert!(!waits(&host) && host.memory.entry(vm, Ppn(2)).state() == State::Empty);
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
