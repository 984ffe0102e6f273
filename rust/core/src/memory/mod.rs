//! The transitions: the only code that changes two containers at once.
//!
//! Every page of every virtual machine is in one state (see `pmap`), and each function here that changes a state is one
//! arrow of that diagram: it keeps every invariant of docs/design.md section 8, and it succeeds or changes nothing.
//! Which page to change is other rooms' business.
//!
//! | file | arrows |
//! |---|---|
//! | `allocation` | `zero_fill`, `load`, `release` |
//! | `sharing` | `leave_hint`, `drop_hint`, `exclude`, `publish`, `merge`, `unshare` |
//! | `pins` | none: pages that a device is using, which other arrows then refuse |
//! | `paging` | `page_out`, `page_out_run`, `page_in`, `park`, `unpark`, `relocate` |
//!
//! `vm` keeps what one virtual machine has and the totals that follow.

mod allocation;
mod paging;
mod pins;
mod sharing;
mod vm;

pub use paging::PagedOut;
pub use vm::{Counts, Tally, VERSIONS, VmMemory};

use crate::arena::prefetch;
use crate::config::HostConfig;
use crate::content::Content;
use crate::error::Error;
use crate::frame_table::FrameTable;
use crate::hash::{DomainSalt, PageHash, PageHasher};
use crate::machine::Machine;
use crate::pmap::{Entry, Pmap, State};
use crate::reference::Touch;
use crate::swapfile::SwapFile;
use crate::types::{Mpn, PageView, Ppn, Pulse, VmId};

/// pmap entries that come from memory together.
const ENTRIES_PER_LINE: usize = 8;

/// All memory of a host: the machine's pages, what they hold, and who has them.
#[derive(Debug)]
pub struct Memory {
    machine: Machine,
    content: Content,
    frames: FrameTable,
    hasher: PageHasher,
    swapfile: SwapFile,
    swapped: Content,
    vms: Vec<Option<VmMemory>>,
    /// Pages that a device is using.
    pinned: Vec<(VmId, Ppn)>,
    /// Machine pages whose memory is real.
    committed: u32,
}

impl Memory {
    /// The memory of a host without virtual machines.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if the system has no such address space.
    pub fn new(config: &HostConfig) -> Result<Self, Error> {
        let mark = config.seed.number("fresh content", 0);
        Ok(Self {
            machine: Machine::new(config.machine_pages),
            content: Content::new(config.content, config.machine_pages, mark)?,
            frames: FrameTable::new(config.machine_pages)?,
            hasher: PageHasher::new(&config.sharing, config.seed.number("page hash", 0)),
            swapfile: SwapFile::new(config.swap_pages),
            swapped: Content::new(config.content, config.swap_pages, mark)?,
            vms: vec![],
            pinned: vec![],
            committed: 0,
        })
    }

    /// Adds a virtual machine of empty pages in sharing domain `domain`.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyVms`], [`Error::NoMemory`], or what `pulse` returns.
    pub fn add_vm(&mut self, pages: u32, domain: u32, pulse: Pulse<'_>) -> Result<VmId, Error> {
        let place = self.vms.iter().position(Option::is_none).unwrap_or(self.vms.len());
        let limit = u32::from(u16::MAX) + 1;
        let vm = u16::try_from(place).map_err(|_| Error::TooManyVms { limit })?;
        let pmap = Pmap::new(pages, pulse)?;
        if place == self.vms.len() {
            self.vms.push(None);
        }
        self.vms[place] = Some(VmMemory::new(pmap, domain));
        Ok(VmId(vm))
    }

    /// Takes machine pages for what the server itself needs for a virtual machine (§6.2), until it is removed.
    ///
    /// They are the highest that are free: nobody reads them, so no real memory stands behind them.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMachineMemory`].
    pub fn pin_overhead(&mut self, vm: VmId, pages: u32) -> Result<(), Error> {
        let runs = self.machine.allocate_highest(pages)?;
        self.vm_mut(vm).add_overhead(runs);
        Ok(())
    }

    /// Limits how many pages of a virtual machine may be resident.
    pub fn set_limit(&mut self, vm: VmId, pages: u32) {
        self.vm_mut(vm).set_limit(pages);
    }

    /// Releases up to `most` pages of a virtual machine, from `from` on; returns where to go on, if any are left.
    pub fn release_some(&mut self, vm: VmId, from: Ppn, most: u32) -> Option<Ppn> {
        let pages = self.vm(vm).pmap().pages();
        let to = from.0.saturating_add(most).min(pages);
        for ppn in (from.0..to).map(Ppn) {
            if self.entry(vm, ppn).state() != State::Empty {
                self.release(vm, ppn);
            }
        }
        (to < pages).then_some(Ppn(to))
    }

    /// Releases all pages of a virtual machine and forgets it; returns what happened to it in its life.
    pub fn remove_vm(&mut self, vm: VmId) -> Counts {
        if self.vm(vm).resident() > 0 || self.swapfile.used_slots() > 0 {
            self.release_some(vm, Ppn(0), u32::MAX);
        }
        self.pinned.retain(|(owner, _)| *owner != vm);
        let Some(vm) = self.vms[vm.index()].take() else { return Counts::default() };
        vm.overhead().iter().cloned().flatten().for_each(|mpn| self.machine.free(Mpn(mpn)));
        vm.counts
    }

    /// A virtual machine that was added.
    ///
    /// # Panics
    ///
    /// If there is none; the host asks for those it has.
    #[must_use]
    pub fn vm(&self, vm: VmId) -> &VmMemory {
        self.vms[vm.index()].as_ref().expect("the host names only VMs that are powered on")
    }

    /// A virtual machine that was added, to count events of.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn vm_mut(&mut self, vm: VmId) -> &mut VmMemory {
        self.vms[vm.index()].as_mut().expect("the host names only VMs that are powered on")
    }

    /// The virtual machines, by slot.
    pub fn vms(&self) -> impl Iterator<Item = (VmId, &VmMemory)> {
        let slots = (0..=u16::MAX).map(VmId).zip(&self.vms);
        slots.filter_map(|(id, vm)| vm.as_ref().map(|vm| (id, vm)))
    }

    /// The machine's pages.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What the machine's pages hold.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Hint frames and shared frames.
    #[must_use]
    pub fn frames(&self) -> &FrameTable {
        &self.frames
    }

    /// The swap file.
    #[must_use]
    pub fn swapfile(&self) -> &SwapFile {
        &self.swapfile
    }

    /// One pmap entry.
    #[must_use]
    #[inline]
    pub fn entry(&self, vm: VmId, ppn: Ppn) -> Entry {
        self.vm(vm).pmap().get(ppn)
    }

    /// Asks for the pmap entries of neighbouring pages and does not wait for them.
    pub fn prefetch_entries(&self, vm: VmId, first: Ppn, pages: u32) {
        let entries = &self.vm(vm).pmap().entries()[first.index()..][..pages as usize];
        entries.iter().step_by(ENTRIES_PER_LINE).chain(entries.last()).for_each(prefetch);
    }

    /// What a guest would read from its page.
    #[must_use]
    pub fn peek(&self, vm: VmId, ppn: Ppn) -> PageView<'_> {
        match self.entry(vm, ppn).state() {
            State::Private(mpn) | State::Shared(mpn) => self.content.page(mpn.index()),
            State::Swapped(slot) => self.swapped.page(slot.index()),
            State::Empty | State::Ballooned => self.content.zero_page(),
        }
    }

    /// The hash of a machine page in a virtual machine's sharing domain.
    #[must_use]
    pub fn hash(&self, vm: VmId, mpn: Mpn) -> u64 {
        self.hasher.hash(self.content.page(mpn.index())).salted(self.salt(vm))
    }

    /// The hashes of machine pages, without salt.
    pub fn hash_all(&self, mpns: impl Iterator<Item = Mpn>, hashes: &mut Vec<PageHash>) {
        let pages: Vec<PageView<'_>> = mpns.map(|mpn| self.content.page(mpn.index())).collect();
        self.hasher.hash_all(&pages, hashes);
    }

    /// The salt of a virtual machine's sharing domain.
    #[must_use]
    pub fn salt(&self, vm: VmId) -> DomainSalt {
        self.vm(vm).salt()
    }

    /// Gives fresh content to the pages of the first references that do not fault on a write; returns how many.
    pub fn stamp_run(&mut self, vm: VmId, ppns: &[u32]) -> usize {
        let pmap = self.vms[vm.index()].as_ref().expect("the host names only VMs that are powered on").pmap();
        self.content.stamp_all(pmap.writable(ppns))
    }

    /// Gives those pages that are written, and on which writes do not fault, content of their own in turn.
    pub fn stamp_written(&mut self, vm: VmId, touches: &[Touch]) {
        let pmap = self.vms[vm.index()].as_ref().expect("the host names only VMs that are powered on").pmap();
        self.content.stamp_all(pmap.written(touches));
    }

    /// Stores content into a page on which writes do not fault.
    pub fn store(&mut self, vm: VmId, ppn: Ppn, page: PageView<'_>) {
        match self.entry(vm, ppn).state() {
            State::Private(mpn) => self.content.store(mpn.index(), page),
            state => unreachable!("a write to a page that is {} faults", state.name()),
        }
    }

    /// Makes memory for the next of the first `pages` machine pages real; returns whether all of it is.
    ///
    /// The lowest free page is allocated first, so a host whose virtual machines have `pages` pages never needs more.
    pub fn commit_some(&mut self, pages: u32) -> bool {
        let pages = pages.min(self.machine.pages());
        let done = self.frames.commit_some(pages as usize) && self.content.commit_some(pages as usize);
        if done {
            self.committed = self.committed.max(pages);
        }
        done
    }

    /// Bytes that making memory for the first `pages` machine pages real would take.
    #[must_use]
    pub fn bytes_to_commit(&self, pages: u32) -> usize {
        self.frames.bytes_to_commit(pages as usize) + self.content.bytes_to_commit(pages as usize)
    }

    /// Marks a page so that its next access faults once; changes nothing else.
    pub fn set_traced(&mut self, vm: VmId, ppn: Ppn, traced: bool) {
        let entry = self.entry(vm, ppn).with_traced(traced);
        self.set(vm, ppn, entry);
    }

    /// Marks a private page as leaving, so that its next access faults and cancels that; or takes the mark off any page.
    /// Changes nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`] if a page that is not private should leave, [`Error::Pinned`].
    pub fn set_leaving(&mut self, vm: VmId, ppn: Ppn, leaving: bool) -> Result<(), Error> {
        if leaving {
            self.private(vm, ppn)?;
            self.refuse_pinned(vm, ppn)?;
        }
        let entry = self.entry(vm, ppn).with_leaving(leaving);
        self.set(vm, ppn, entry);
        Ok(())
    }

    /// Bytes of real memory in use for machine pages, swap file, frames and pmaps.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pmaps: usize = self.vms().map(|(_, vm)| vm.pmap().bytes()).sum();
        let swap = self.swapfile.bytes() + self.swapped.bytes();
        self.machine.bytes() + self.content.bytes() + self.frames.bytes() + swap + pmaps
    }

    /// An independent copy.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], or what `pulse` returns.
    pub fn fork(&self, pulse: Pulse<'_>) -> Result<Self, Error> {
        let mut vms = Vec::with_capacity(self.vms.len());
        for vm in &self.vms {
            vms.push(match vm {
                Some(vm) => Some(vm.fork(pulse)?),
                None => None,
            });
        }
        Ok(Self {
            machine: self.machine.clone(),
            content: self.content.fork(pulse)?,
            frames: self.frames.fork(pulse)?,
            hasher: self.hasher.clone(),
            swapfile: self.swapfile.clone(),
            swapped: self.swapped.fork(pulse)?,
            vms,
            pinned: self.pinned.clone(),
            committed: self.committed,
        })
    }

    /// Changes one entry and the totals that follow from it.
    fn set(&mut self, vm: VmId, ppn: Ppn, entry: Entry) {
        self.vm_mut(vm).set(ppn, entry);
    }

    /// Moves one page to another state.
    fn move_to(&mut self, vm: VmId, ppn: Ppn, state: State) {
        let entry = self.entry(vm, ppn).with_state(state);
        self.set(vm, ppn, entry);
    }

    /// A free machine page whose memory is real.
    fn allocate(&mut self) -> Result<Mpn, Error> {
        let mpn = self.machine.allocate()?;
        self.commit_through(mpn);
        Ok(mpn)
    }

    /// Normally memory was made real at power-on; this holds for every caller of the core.
    fn commit_through(&mut self, mpn: Mpn) {
        if mpn.0 >= self.committed {
            while !self.commit_some(mpn.0 + 1) {}
        }
    }

    /// The machine page of a private page.
    fn private(&self, vm: VmId, ppn: Ppn) -> Result<Mpn, Error> {
        match self.entry(vm, ppn).state() {
            State::Private(mpn) => Ok(mpn),
            state => Err(wrong(ppn, state, "private")),
        }
    }
}

fn wrong(ppn: Ppn, found: State, expected: &'static str) -> Error {
    Error::WrongState { ppn: ppn.0, found: found.name(), expected }
}
