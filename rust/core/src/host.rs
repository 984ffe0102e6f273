//! A host: machine memory, virtual machines and the mechanisms over them. The only room that knows every other.
//!
//! Calls that may take long do a part and say whether they are done (`commit_some`, `advance_some`) or call a pulse, so
//! that a caller can look up between the parts. Time is virtual: mechanisms act at whole seconds of it.

use std::collections::{HashMap, VecDeque};

use crate::config::{HostConfig, Salt, VmConfig};
use crate::error::Error;
use crate::memory::{Counts, Memory};
use crate::pmap::Entry;
use crate::sample::{SampleReport, Sampler};
use crate::share::{ScanReport, Scanner};
use crate::types::{PageBatch, PageView, Ppn, Pulse, VmId};

/// Nanoseconds between two ticks.
const TICK_NS: u64 = 1_000_000_000;

/// A host and everything on it.
#[derive(Debug)]
pub struct Host {
    pub(crate) config: HostConfig,
    pub(crate) memory: Memory,
    pub(crate) scanner: Scanner,
    pub(crate) sampler: Sampler,
    /// In power-on order.
    pub(crate) vms: Vec<Vm>,
    pub(crate) time: Time,
    /// What happened to virtual machines that are gone.
    pub(crate) departed: Counts,
    /// Virtual machines that are gone, and how far their pages are freed.
    leaving: Vec<(VmId, Ppn)>,
    pub(crate) powered_on: u64,
    domains: HashMap<String, u32>,
    next_domain: u32,
}

/// A virtual machine that is powered on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its slot, which another may have after it.
    pub id: VmId,
    /// Its number among all that were ever powered on here.
    pub serial: u64,
    /// Its name.
    pub name: String,
    /// Its "physical" memory.
    pub max_pages: u32,
    /// With whom it shares.
    pub salt: Salt,
}

/// Virtual time, and what is left of the tick it has reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time {
    pub now_ns: u64,
    goal_ns: u64,
    pub due: VecDeque<Due>,
}

/// What is left to do at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A sampling period of the virtual machine is over; so many pages are to be sampled anew.
    Samples(VmId, u32),
    /// So many of its pages are to be scanned.
    Scan(VmId, u32),
}

impl Due {
    fn vm(self) -> VmId {
        let (Self::Samples(vm, _) | Self::Scan(vm, _)) = self;
        vm
    }
}

impl Host {
    /// A host without virtual machines.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], [`Error::NoMemory`].
    pub fn new(config: HostConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            memory: Memory::new(&config)?,
            scanner: Scanner::new(config.sharing.clone(), config.seed.clone()),
            sampler: Sampler::new(config.sampling.clone(), config.seed.clone()),
            vms: vec![],
            time: Time::default(),
            departed: Counts::default(),
            leaving: vec![],
            powered_on: 0,
            domains: HashMap::new(),
            next_domain: 1,
            config,
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &HostConfig {
        &self.config
    }

    /// All memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The virtual machines in power-on order.
    #[must_use]
    pub fn vms(&self) -> &[Vm] {
        &self.vms
    }

    /// Virtual time since the host was made.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.time.now_ns
    }

    /// The virtual machine of that name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownVm`].
    pub fn find(&self, name: &str) -> Result<&Vm, Error> {
        self.vms.iter().find(|vm| vm.name == name).ok_or_else(|| Error::UnknownVm { name: name.into() })
    }

    /// What sampling knows of a virtual machine; none if it is off.
    #[must_use]
    pub fn samples(&self, vm: VmId) -> Option<SampleReport> {
        self.sampler.report(vm)
    }

    /// Makes a part of the memory that a further virtual machine of `pages` pages could use real; returns whether it all
    /// is. Power-on does what is left, so calling this first only lets the caller look up in between.
    pub fn commit_some(&mut self, pages: u32) -> bool {
        self.memory.commit_some(self.promised(pages))
    }

    /// Bytes of real memory that powering on a virtual machine of `pages` pages would take.
    #[must_use]
    pub fn real_bytes_wanted(&self, pages: u32) -> u64 {
        let pmap = pages as usize * size_of::<Entry>();
        (self.memory.bytes_to_commit(self.promised(pages)) + pmap) as u64
    }

    /// Refuses a power-on that cannot succeed, with `contents` pages to be loaded.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateVm`], [`Error::Setting`], [`Error::ContentsTooLong`], [`Error::OutOfMachineMemory`].
    pub fn check_power_on(&self, vm: &VmConfig, contents: usize) -> Result<(), Error> {
        if self.vms.iter().any(|other| other.name == vm.name) {
            return Err(Error::DuplicateVm { name: vm.name.clone() });
        }
        if vm.max_pages == 0 {
            let expected = "at least one page".into();
            return Err(Error::Setting { what: "max", value: "0 pages".into(), expected });
        }
        if contents > vm.max_pages as usize {
            return Err(Error::ContentsTooLong { vm: vm.name.clone(), given: contents, pages: vm.max_pages });
        }
        let free = self.memory.machine().free_pages();
        if contents > free as usize {
            return Err(Error::OutOfMachineMemory { wanted: contents as u32, free });
        }
        Ok(())
    }

    /// Powers on a virtual machine of empty pages.
    ///
    /// # Errors
    ///
    /// As [`Host::check_power_on`], [`Error::TooManyVms`], [`Error::NoMemory`], or what `pulse` returns.
    pub fn power_on(&mut self, vm: VmConfig, pulse: Pulse<'_>) -> Result<VmId, Error> {
        self.check_power_on(&vm, 0)?;
        while !self.commit_some(vm.max_pages) {
            pulse()?;
        }
        let salt = vm.salt.unwrap_or_else(|| self.config.sharing.salt.clone());
        let domain = self.domain(&salt);
        let id = self.memory.add_vm(vm.max_pages, domain, pulse)?;
        self.adopt_domain(&salt, domain);
        self.scanner.add_vm(id, self.powered_on, vm.max_pages);
        self.sampler.add_vm(&mut self.memory, id, self.powered_on);
        self.vms.push(Vm { id, serial: self.powered_on, name: vm.name, max_pages: vm.max_pages, salt });
        self.powered_on += 1;
        Ok(id)
    }

    /// Gives pages that are still empty, from `first` on, their contents at power-on.
    ///
    /// # Errors
    ///
    /// [`Error::WrongContentKind`], [`Error::TokenOutOfRange`], [`Error::WrongState`], [`Error::OutOfMachineMemory`];
    /// pages before the one that failed are loaded.
    pub fn load(&mut self, vm: VmId, first: Ppn, contents: PageBatch<'_>) -> Result<(), Error> {
        self.check_contents(contents)?;
        for (index, ppn) in (0..contents.len()).zip(first.0..) {
            self.memory.load(vm, Ppn(ppn), contents.page(index))?;
        }
        Ok(())
    }

    /// Powers off a virtual machine; all its pages are freed. Cost: one visit of each page.
    pub fn power_off(&mut self, vm: VmId) {
        self.begin_power_off(vm);
        while !self.power_off_some(u32::MAX) {}
    }

    /// Powers off a virtual machine: it is gone, but its pages are still to be freed.
    pub fn begin_power_off(&mut self, vm: VmId) {
        self.forget(vm);
        self.leaving.push((vm, Ppn(0)));
    }

    /// Frees up to `pages` pages of virtual machines that are gone; returns whether none is left.
    pub fn power_off_some(&mut self, pages: u32) -> bool {
        let Some((vm, from)) = self.leaving.pop() else { return true };
        match self.memory.release_some(vm, from, pages) {
            Some(next) => self.leaving.push((vm, next)),
            None => self.departed.add(&self.memory.remove_vm(vm)),
        }
        self.leaving.is_empty()
    }

    /// Takes the last power-on back, as if it had not been.
    pub fn cancel_power_on(&mut self, vm: VmId) {
        self.forget(vm);
        self.next_domain = self.next_domain.min(self.memory.vm(vm).domain().max(1));
        self.domains.retain(|_, domain| *domain < self.next_domain);
        self.memory.remove_vm(vm);
        self.powered_on -= 1;
    }

    /// What a guest would read from its page; not an access.
    #[must_use]
    pub fn peek(&self, vm: VmId, ppn: Ppn) -> PageView<'_> {
        self.memory.peek(vm, ppn)
    }

    /// Scans the next `pages` pages now, of all virtual machines in step.
    pub fn scan(&mut self, pages: u64) -> ScanReport {
        self.scanner.scan_host(&mut self.memory, pages)
    }

    /// Sets out to let `ns` nanoseconds pass.
    pub fn begin_advance(&mut self, ns: u64) {
        self.time.goal_ns = self.time.now_ns.saturating_add(ns);
    }

    /// Lets time pass up to the next `picks` scanned or sampled pages or so; adds to `report` and returns whether the
    /// goal is reached.
    pub fn advance_some(&mut self, picks: u32, report: &mut ScanReport) -> bool {
        let mut left = picks;
        while left > 0 {
            left -= match self.time.due.pop_front() {
                Some(due) => self.work(due, left, report),
                None if self.next_tick() => 1,
                None => return true,
            };
        }
        false
    }

    /// Does what is due, within `most` pages where it can be divided; returns how many pages that were.
    fn work(&mut self, due: Due, most: u32, report: &mut ScanReport) -> u32 {
        match due {
            Due::Samples(vm, pages) => {
                self.sampler.turn(&mut self.memory, vm);
                pages.min(most)
            }
            Due::Scan(vm, pages) => {
                let now = pages.min(most);
                report.add(&self.scanner.scan_vm(&mut self.memory, vm, now));
                if pages > now {
                    self.time.due.push_front(Due::Scan(vm, pages - now));
                }
                now
            }
        }
    }

    /// Lets `ns` nanoseconds pass.
    pub fn advance(&mut self, ns: u64) -> ScanReport {
        let mut report = ScanReport::default();
        self.begin_advance(ns);
        while !self.advance_some(u32::MAX, &mut report) {}
        report
    }

    /// An independent copy.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], or what `pulse` returns.
    pub fn fork(&self, pulse: Pulse<'_>) -> Result<Self, Error> {
        Ok(Self {
            config: self.config.clone(),
            memory: self.memory.fork(pulse)?,
            scanner: self.scanner.clone(),
            sampler: self.sampler.clone(),
            vms: self.vms.clone(),
            time: self.time.clone(),
            departed: self.departed,
            leaving: self.leaving.clone(),
            powered_on: self.powered_on,
            domains: self.domains.clone(),
            next_domain: self.next_domain,
        })
    }

    /// Refuses contents of the other kind, and tokens that only the engine makes.
    ///
    /// # Errors
    ///
    /// [`Error::WrongContentKind`], [`Error::TokenOutOfRange`].
    pub fn check_contents(&self, contents: PageBatch<'_>) -> Result<(), Error> {
        let host = self.memory.content().kind();
        if contents.kind() != host {
            return Err(Error::WrongContentKind { host, given: contents.kind() });
        }
        let PageBatch::Tokens(tokens) = contents else { return Ok(()) };
        match tokens.iter().position(|token| *token >= crate::types::ENGINE_TOKENS) {
            Some(index) => Err(Error::TokenOutOfRange { index, token: tokens[index] }),
            None => Ok(()),
        }
    }

    fn forget(&mut self, vm: VmId) {
        self.vms.retain(|other| other.id != vm);
        self.time.due.retain(|due| due.vm() != vm);
        self.scanner.remove_vm(vm);
        self.sampler.remove_vm(vm);
    }

    /// Moves to the next whole second, if the goal is not before it, and notes what is due there.
    fn next_tick(&mut self) -> bool {
        let tick = self.time.now_ns / TICK_NS + 1;
        match tick.checked_mul(TICK_NS).filter(|ns| *ns <= self.time.goal_ns) {
            Some(ns) => self.time.now_ns = ns,
            None => {
                self.time.now_ns = self.time.goal_ns;
                return false;
            }
        }
        let vms = self.vms.iter().map(|vm| vm.id);
        let turns = vms.clone().filter_map(|vm| self.sampler.tick(vm).map(|pages| Due::Samples(vm, pages)));
        self.time.due.extend(turns);
        let sharing = &self.config.sharing;
        let quotas = scan_quotas(sharing.vm_rate, sharing.host_rate, self.vms.len(), tick);
        let scans = vms.zip(quotas).filter(|(_, pages)| *pages > 0);
        self.time.due.extend(scans.map(|(vm, pages)| Due::Scan(vm, pages)));
        true
    }

    /// Machine pages that the virtual machines could use, with a further one of `pages` pages.
    fn promised(&self, pages: u32) -> u32 {
        let promised: u64 = self.vms.iter().map(|vm| u64::from(vm.max_pages)).sum();
        u32::try_from(promised + u64::from(pages)).unwrap_or(u32::MAX)
    }

    /// The number of a sharing domain; 0 is everybody's.
    fn domain(&self, salt: &Salt) -> u32 {
        match salt {
            Salt::None => 0,
            Salt::PerVm => self.next_domain,
            Salt::Named(name) => self.domains.get(name).copied().unwrap_or(self.next_domain),
        }
    }

    fn adopt_domain(&mut self, salt: &Salt, domain: u32) {
        if domain == self.next_domain {
            self.next_domain += 1;
            if let Salt::Named(name) = salt {
                self.domains.insert(name.clone(), domain);
            }
        }
    }
}

/// How many pages of each of `vms` virtual machines are scanned in a tick: evenly, within both rates; what does not
/// divide goes to different ones each time.
fn scan_quotas(vm_rate: u32, host_rate: u32, vms: usize, tick: u64) -> impl Iterator<Item = u32> {
    let count = vms.max(1) as u64;
    let each = u64::from(host_rate) / count;
    let more = if each < u64::from(vm_rate) { u64::from(host_rate) % count } else { 0 };
    (0..vms as u64).map(move |vm| {
        let turn = (vm + tick) % count;
        (each + u64::from(turn < more)).min(u64::from(vm_rate)) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_ends_after_584_years() {
        let config = HostConfig::new(1, crate::types::ContentKind::Tokens, crate::rng::Seed([1; 32]));
        let mut host = Host::new(config).expect("small");
        host.time.now_ns = u64::MAX - 2_500_000_000;
        host.advance(u64::MAX);
        assert_eq!(host.now_ns(), u64::MAX);
        host.advance(1);
        assert_eq!(host.now_ns(), u64::MAX);
    }

    #[test]
    fn scan_quotas_keep_both_rates() {
        let quotas = |vms, tick| scan_quotas(50, 200, vms, tick).collect::<Vec<_>>();
        assert_eq!(quotas(1, 0), [50]);
        assert_eq!(quotas(4, 0), [50; 4]);
        assert_eq!(quotas(10, 3), [20; 10]);
        assert_eq!(quotas(3, 0), [50; 3]);
        for tick in 0..7 {
            assert_eq!(quotas(7, tick).iter().sum::<u32>(), 200);
        }
        let spread: Vec<u32> = (0..7).map(|vm| (0..7).map(|tick| quotas(7, tick)[vm]).sum()).collect();
        assert_eq!(spread, [200; 7]);
    }
}
