//! Ballooning (§3.2): the guest itself chooses which pages it does without.
//!
//! A driver in the guest allocates pages there and tells the host their numbers. The host annotates each in the pmap and
//! frees its machine page; when the driver frees a page in the guest, that page is empty again. The host only sets a
//! target. Both ends of the protocol are here, one deterministic machine: this file is the host's, `driver` the guest's.
//! What a guest's operating system does is another's business, behind the seam [`GuestOs`].
//!
//! | message | host's answer |
//! |---|---|
//! | START | takes the driver to be there, with no balloon |
//! | GET TARGET | the target, or RESET if the balloon was popped since the last START |
//! | LOCK a page | the page is ballooned; refused if the guest has no such page or it is ballooned already |
//! | UNLOCK a page | the page is empty; refused if it was not ballooned |
//!
//! The host does not rely on a guest to keep off ballooned pages. Touching one, as a guest that crashed or restarted
//! does, *pops* the balloon: all its pages are empty at once, the next poll of the driver does nothing but reset it, and
//! it starts anew at the one after.
//!
//! A poll takes one second of the virtual machine's life, so the caller leaves those out that are not running.

mod account;
mod driver;
mod seam;

pub use seam::{Dealt, Given, GuestOs, GuestPage, GuestPages, Wait};

use std::fmt::Debug;

use account::Account;
use driver::{Answer, Channel, Driver, Guest, Refused};

use crate::config::{BalloonConfig, DriverConfig};
use crate::memory::Memory;
use crate::pmap::State;
use crate::rng::{Seed, Stream};
use crate::types::{DriverHealth, Ppn, VmId};
use crate::vm_table::VmTable;

/// What a poll did, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollReport {
    /// Pages that the guest gave up.
    pub inflated: u32,
    /// Of these, pages that gave the host a machine page.
    pub freed: u32,
    /// Pages that the guest has again.
    pub deflated: u32,
    /// Pages that the guest named and the host did not take.
    pub refused: u32,
}

/// What happened to balloons, in pages unless it says otherwise. `inflated - deflated - popped` is their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalloonCounts {
    /// Pages that guests gave up.
    pub inflated: u64,
    /// Of these, pages that gave the host a machine page.
    pub freed: u64,
    /// Pages that guests got back from their drivers.
    pub deflated: u64,
    /// Pages that guests named and the host did not take.
    pub refused: u64,
    /// Pages that were in balloons when these popped.
    pub popped: u64,
    /// Balloons that popped.
    pub pops: u64,
}

impl BalloonCounts {
    /// Adds what a poll did.
    pub fn add(&mut self, report: &PollReport) {
        self.inflated += u64::from(report.inflated);
        self.freed += u64::from(report.freed);
        self.deflated += u64::from(report.deflated);
        self.refused += u64::from(report.refused);
    }

    fn add_pop(&mut self, pages: u32) {
        self.popped += u64::from(pages);
        self.pops += 1;
    }
}

/// What is to be known of a virtual machine to balloon it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ballooned {
    /// Its number among all that were ever powered on here; no other's life enters into its guest's random choices.
    pub serial: u64,
    /// Its "physical" pages.
    pub pages: u32,
    /// Its own cap in pages; none takes the host's default fraction.
    pub cap: Option<u32>,
    /// Its driver.
    pub driver: DriverConfig,
}

/// The balloons of one host.
#[derive(Clone, Debug)]
pub struct Balloon {
    config: BalloonConfig,
    seed: Seed,
    vms: VmTable<Vm>,
    totals: BalloonCounts,
}

/// One balloon and the guest around it.
#[derive(Clone, Debug)]
struct Vm {
    pages: u32,
    account: Account,
    driver: Driver,
    os: Box<dyn GuestOs>,
    random: Stream,
}

impl Balloon {
    /// No balloons yet.
    #[must_use]
    pub fn new(config: BalloonConfig, seed: Seed) -> Self {
        Self { config, seed, vms: VmTable::new(), totals: BalloonCounts::default() }
    }

    /// Adds a virtual machine with an empty balloon and target 0.
    pub fn add_vm(&mut self, vm: VmId, about: &Ballooned, os: Box<dyn GuestOs>) {
        let balloon = Vm {
            pages: about.pages,
            account: Account::new(about.pages),
            driver: Driver::new(about.driver),
            os,
            random: self.seed.stream("guest", about.serial),
        };
        self.vms.add(vm, balloon);
        self.set_cap(vm, about.cap);
    }

    /// Forgets a virtual machine whose pages are to be released.
    pub fn remove_vm(&mut self, vm: VmId) {
        self.vms.remove(vm);
    }

    /// Sets a virtual machine's own cap in pages, none for the default fraction. The host's and the guest type's caps
    /// hold besides; a target above the least of them is lowered to it.
    pub fn set_cap(&mut self, vm: VmId, own: Option<u32>) {
        let Self { config, vms, .. } = self;
        let vm = &mut vms[vm];
        vm.account.set_cap(config.cap_pages(vm.pages, own, vm.os.name()));
    }

    /// Sets the size that a balloon should have, the cap at most.
    pub fn set_target(&mut self, vm: VmId, pages: u32) {
        let account = &mut self.vm_mut(vm).account;
        account.target = pages.min(account.cap);
    }

    /// Lets a second pass for a virtual machine that runs: its driver, if there is one, polls.
    ///
    /// Cost: the pages that move, and what the guest takes to choose them.
    pub fn poll(&mut self, memory: &mut Memory, vm: VmId) -> PollReport {
        let Vm { pages, account, driver, os, random } = self.vm_mut(vm);
        let before = account.size;
        let mut line = Line { memory, vm, pages: *pages, account, report: PollReport::default() };
        driver.poll(&mut line, &mut Guest { os: &mut **os, random });
        let report = line.report;
        account.judge(before, &report);
        self.totals.add(&report);
        report
    }

    /// Empties the balloon of a virtual machine whose guest touched a page in it; returns how many pages were in it.
    ///
    /// Cost: one visit of each pmap entry, up to the last that is ballooned.
    pub fn pop(&mut self, memory: &mut Memory, vm: VmId) -> u32 {
        let account = &mut self.vm_mut(vm).account;
        let size = account.size;
        if size == 0 {
            return 0;
        }
        let entries = memory.vm(vm).pmap().entries().iter().zip(0..);
        let ballooned =
            entries.filter(|(entry, _)| entry.state() == State::Ballooned).map(|(_, ppn)| Ppn(ppn));
        let ballooned: Vec<Ppn> = ballooned.take(size as usize).collect();
        for ppn in ballooned {
            memory.unpark(vm, ppn).expect("the page was found ballooned");
            account.leave(ppn);
        }
        account.needs_reset = true;
        account.counts.add_pop(size);
        self.totals.add_pop(size);
        size
    }

    /// The guest's operating system, and the stream of its random choices.
    pub fn guest_os(&mut self, vm: VmId) -> (&mut dyn GuestOs, &mut Stream) {
        let vm = self.vm_mut(vm);
        (&mut *vm.os, &mut vm.random)
    }

    /// The guest's operating system.
    #[must_use]
    pub fn os(&self, vm: VmId) -> &dyn GuestOs {
        &*self.vm(vm).os
    }

    /// Ballooned pages.
    #[must_use]
    pub fn size(&self, vm: VmId) -> u32 {
        self.vm(vm).account.size
    }

    /// Of the pages in the balloon now, those that gave the host a machine page.
    #[must_use]
    pub fn freed(&self, vm: VmId) -> u32 {
        self.vm(vm).account.freed
    }

    /// Pages that the balloon should have.
    #[must_use]
    pub fn target(&self, vm: VmId) -> u32 {
        self.vm(vm).account.target
    }

    /// Most pages that the host lets the balloon have.
    #[must_use]
    pub fn cap(&self, vm: VmId) -> u32 {
        self.vm(vm).account.cap
    }

    /// Whether the driver does what it is told.
    #[must_use]
    pub fn health(&self, vm: VmId) -> DriverHealth {
        self.vm(vm).account.health()
    }

    /// How often the balloon popped.
    #[must_use]
    pub fn pops(&self, vm: VmId) -> u64 {
        self.vm(vm).account.counts.pops
    }

    /// What happened to one balloon since power-on.
    #[must_use]
    pub fn counts(&self, vm: VmId) -> &BalloonCounts {
        &self.vm(vm).account.counts
    }

    /// What happened to all balloons, those of virtual machines that are gone included.
    #[must_use]
    pub fn totals(&self) -> &BalloonCounts {
        &self.totals
    }

    /// All that decides what a balloon does next, for the digest. Cost: the pages of the balloon, and a bit for each
    /// page of the virtual machine.
    #[must_use]
    pub fn progress(&self, vm: VmId) -> impl Debug {
        // A generator does not show its state; its next number does.
        (self.vm(vm), self.vm(vm).random.clone().below(u32::MAX))
    }

    fn vm(&self, vm: VmId) -> &Vm {
        &self.vms[vm]
    }

    fn vm_mut(&mut self, vm: VmId) -> &mut Vm {
        &mut self.vms[vm]
    }
}

/// The host's end of the channel during a poll.
struct Line<'a> {
    memory: &'a mut Memory,
    vm: VmId,
    pages: u32,
    account: &'a mut Account,
    report: PollReport,
}

impl Channel for Line<'_> {
    fn start(&mut self) {
        self.account.has_started = true;
        self.account.needs_reset = false;
    }

    fn get_target(&mut self) -> Answer {
        if self.account.needs_reset { Answer::Reset } else { Answer::Target(self.account.target) }
    }

    fn lock(&mut self, ppn: Ppn) -> Result<(), Refused> {
        let parked = if ppn.0 < self.pages { self.memory.park(self.vm, ppn).ok() } else { None };
        let Some(came_free) = parked else {
            self.report.refused += 1;
            return Err(Refused);
        };
        self.account.enter(ppn, came_free);
        self.report.inflated += 1;
        self.report.freed += u32::from(came_free);
        Ok(())
    }

    fn unlock(&mut self, ppn: Ppn) -> Result<(), Refused> {
        self.account.leave(ppn);
        self.report.deflated += 1;
        self.memory.unpark(self.vm, ppn).map_err(|_| Refused)
    }

    fn own_pages(&self) -> GuestPages<'_> {
        let vm = self.memory.vm(self.vm);
        let empty_at_most = self.pages - vm.resident() - self.account.size;
        GuestPages::new(vm.pmap().entries(), empty_at_most)
    }
}
