//! A host: machine memory, virtual machines and the mechanisms over them. The only room that knows every other.
//!
//! Calls that may take long do a part and say whether they are done (`commit_some`, `advance_some`) or call a pulse, so
//! that a caller can look up between the parts. Time is virtual: mechanisms act at whole seconds of it.

mod audit;
mod balance;
mod guests;
mod io;
mod power;
mod record;
mod relief;
mod time;

pub use io::IoReport;
pub use power::{Vm, VmChanges};
pub(crate) use time::Time;

use std::collections::HashMap;

use balance::Balance;

use crate::balloon::Balloon;
use crate::config::HostConfig;
use crate::error::Error;
use crate::memory::{Counts, Memory};
use crate::remap::Remapper;
use crate::sample::{SampleReport, Sampler};
use crate::share::{ScanReport, Scanner};
use crate::swap::Swapper;
use crate::types::{PageBatch, PageView, Ppn, Pulse, VmId};

/// A host and everything on it.
#[derive(Debug)]
pub struct Host {
    pub(crate) config: HostConfig,
    pub(crate) memory: Memory,
    pub(crate) scanner: Scanner,
    pub(crate) sampler: Sampler,
    pub(crate) balloon: Balloon,
    pub(crate) swapper: Swapper,
    pub(crate) remapper: Remapper,
    /// In power-on order.
    pub(crate) vms: Vec<Vm>,
    pub(crate) time: Time,
    /// How memory is divided; none gives it to those who come first.
    pub(crate) balance: Option<Balance>,
    /// What happened to virtual machines that are gone.
    pub(crate) departed: Counts,
    /// Virtual machines that are gone, and how far their pages are freed.
    leaving: Vec<(VmId, Ppn)>,
    pub(crate) powered_on: u64,
    domains: HashMap<String, u32>,
    next_domain: u32,
}

impl Host {
    /// A host without virtual machines.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], [`Error::NoMemory`].
    pub fn new(config: HostConfig) -> Result<Self, Error> {
        config.check()?;
        let rules = config.balance.as_ref();
        Ok(Self {
            memory: Memory::new(&config)?,
            scanner: Scanner::new(config.sharing.clone(), config.seed.clone()),
            sampler: Sampler::new(config.sampling.clone(), config.seed.clone()),
            balloon: Balloon::new(
                rules.map_or_else(Default::default, |rules| rules.balloon.clone()),
                config.seed.clone(),
            ),
            swapper: Swapper::new(config.seed.clone()),
            remapper: Remapper::new(config.remap.clone(), config.machine_pages),
            balance: rules.map(|rules| Balance::new(rules, config.machine_pages)).transpose()?,
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

    /// Free machine pages.
    #[must_use]
    pub fn free_pages(&self) -> u32 {
        self.memory.machine().free_pages()
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

    /// What a guest would read from its page; not an access.
    #[must_use]
    pub fn peek(&self, vm: VmId, ppn: Ppn) -> PageView<'_> {
        self.memory.peek(vm, ppn)
    }

    /// Scans the next `pages` pages now, of all virtual machines in step.
    pub fn scan(&mut self, pages: u64) -> ScanReport {
        self.scanner.scan_host(&mut self.memory, pages)
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
            balloon: self.balloon.clone(),
            swapper: self.swapper.clone(),
            remapper: self.remapper.clone(),
            balance: self.balance.clone(),
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
}
