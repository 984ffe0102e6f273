//! Virtual machines at work: processes of guests live through virtual time on a number of processors, and pay for what
//! their references meet.
//!
//! Time goes in slices of 10 ms. Whoever is not waiting at the beginning of a slice runs in it: always the one that has lived
//! least, until it waits; if there are more of them than processors, all of them are slower alike. A virtual machine has one virtual
//! processor, as in 2002. What waits for the disk has its clock set to when that is done, and runs again in the slice of
//! that time. A reference that costs more than is left of a slice is served whole. At each whole second the host does what
//! it does ([`Host::advance_some`]), then each guest what it does of itself.
//!
//! Packets of network cards are transferred at the beginning of each slice, and take their time from it before processes do
//! (`nic`); while there are any, all slices are lived. A disk that transfers by itself takes the processor's place in steps.
//!
//! A process that ends, or is killed, gives its guest back all memory that it has named, on the guest's swap device too; what is
//! cached of files stays. A guest that manages nothing keeps what is in its pages.
//!
//! A virtual machine that is held up, or finds no memory, stands with all its processes until the next second: that time is
//! lost to it. A page that one process waits for is there for the others of its guest at once.
//!
//! | file | what |
//! |---|---|
//! | `guest` | the processes of one virtual machine, and what its guest does of itself |
//! | `process` | a workload and its clock |
//! | `steps` | what guests do on the way to serving a reference |
//! | `nic` | network cards: packets, their buffers, and what they take of the processor |
//! | `disk` | one disk and its queue |
//! | `latency`, `pressure` | how long operations took; how long processes stood for want of memory |

mod disk;
mod guest;
mod latency;
mod nic;
mod pressure;
mod process;
mod steps;

pub use latency::Latencies;
pub use pressure::Pressure;
pub use process::Fate;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use disk::Disk;
use guest::Guest;
use pressure::Off;
use process::{Process, WHOLE, dilated};

use crate::config::CostConfig;
use crate::error::Error;
use crate::host::Host;
use crate::reference::Writes;
use crate::rng::Stream;
use crate::share::ScanReport;
use crate::types::VmId;
use crate::workload::Workload;

/// Nanoseconds of a slice.
const SLICE_NS: u64 = 10_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Bits of the number of a process among those of its virtual machine, as far as randomness goes.
const PROCESS_BITS: u32 = 32;
/// References that are translated together.
const STRETCH: usize = 4096;

/// What a simulation takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulationConfig {
    /// Processors of the machine.
    pub processors: u32,
    /// What things cost.
    pub costs: CostConfig,
}

impl Default for SimulationConfig {
    /// Two processors, as the paper's machine had, and the default costs.
    fn default() -> Self {
        Self { processors: 2, costs: CostConfig::default() }
    }
}

/// Processes of guests, and the processors and the disk they share.
#[derive(Clone, Debug)]
pub struct Simulation {
    config: SimulationConfig,
    disk: Disk,
    /// In power-on order, like the host's.
    guests: Vec<Guest>,
    /// Up to when processes have lived.
    lived_ns: u64,
    goal_ns: u64,
    /// The host has yet to come to where processes are.
    host_is_behind: bool,
    tick: ScanReport,
    /// Runs and pages written to the swap file, as of the last look.
    swapped: (u64, u64),
    /// Processors that the host itself takes, in parts of [`WHOLE`].
    overhead: u64,
    /// Whose turn it is in a slice; between slices only its room is kept.
    turns: BinaryHeap<Turn>,
}

/// When a process goes on, the place of its guest, and its number; the earliest first.
type Turn = Reverse<(u64, usize, usize)>;

/// What processes meet.
struct World<'a> {
    host: &'a mut Host,
    disk: &'a mut Disk,
    costs: &'a CostConfig,
}

/// What became of the processes of a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestReport {
    /// Operations that are through.
    pub operations: u64,
    /// How long they took.
    pub latencies: Latencies,
    /// How long processes stood for want of memory.
    pub pressure: Pressure,
    /// Pages that the server had to page in only because the guest was paging them out (§3.1).
    pub double_paged: u64,
    /// Seconds in which it was held up at a reference that could not be served.
    pub held_s: u64,
    /// Of these, seconds in which it was blocked until it had come down to its target (§6.3).
    pub blocked_s: u64,
    /// Processes that were killed for want of memory.
    pub killed: u64,
    /// Processes that live.
    pub living: u64,
    /// Packets that its network card transferred, a page each.
    pub packets: u64,
    /// Packets for which its processor had no time, or memory no page.
    pub dropped: u64,
    /// Processor time that transfers of its devices took.
    pub device_ns: u64,
}

impl Simulation {
    /// A simulation without processes.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] without processors.
    pub fn new(config: SimulationConfig) -> Result<Self, Error> {
        if config.processors == 0 {
            return Err(Error::Setting {
                what: "processors",
                value: "0".into(),
                expected: "at least one".into(),
            });
        }
        Ok(Self {
            disk: Disk::new(config.costs.disk),
            config,
            guests: vec![],
            lived_ns: 0,
            goal_ns: 0,
            host_is_behind: false,
            tick: ScanReport::default(),
            swapped: (0, 0),
            overhead: 0,
            turns: BinaryHeap::new(),
        })
    }

    /// Starts a process in a virtual machine, `delay_ns` from now.
    pub fn start(
        &mut self,
        host: &Host,
        vm: VmId,
        workload: Box<dyn Workload>,
        writes: Writes,
        delay_ns: u64,
    ) {
        self.meet_guests(host);
        let now_ns = self.lived_ns.max(host.now_ns());
        let process = Process::new(workload, writes, now_ns, now_ns.saturating_add(delay_ns));
        if let Some(guest) = self.guests.iter_mut().find(|guest| guest.vm == vm) {
            guest.processes.push(process);
        }
    }

    /// The random stream of the process that is started next in a virtual machine: another one for each process of each
    /// virtual machine of a host.
    pub fn next_stream(&mut self, host: &Host, vm: VmId) -> Stream {
        self.meet_guests(host);
        let guest = self.guests.iter().find(|guest| guest.vm == vm);
        let serial = guest.map_or(0, |guest| guest.serial << PROCESS_BITS | guest.processes.len() as u64);
        host.config().seed.stream("workload", serial)
    }

    /// What became of the processes of a virtual machine since it was powered on; none if it is not known yet.
    #[must_use]
    pub fn report(&self, host: &Host, vm: VmId) -> Option<GuestReport> {
        let guest = self.guests.iter().find(|guest| guest.serial == host.vm(vm).serial)?;
        let mut report = guest.report.clone();
        for process in &guest.processes {
            report.operations += process.operations;
            report.latencies.merge(&process.latencies);
            report.living += u64::from(process.fate == Fate::Lives);
            report.killed += u64::from(process.fate == Fate::Killed);
        }
        Some(report)
    }

    /// Sets out to let `ns` nanoseconds pass. Time that has passed for the host alone since the last call is slept through.
    pub fn begin_advance(&mut self, host: &Host, ns: u64) {
        let now_ns = host.now_ns() / SLICE_NS * SLICE_NS;
        if now_ns > self.lived_ns {
            // Time passed for the host alone: processes have slept through it.
            let processes = self.guests.iter_mut().flat_map(|guest| &mut guest.processes);
            processes.filter(|one| one.fate == Fate::Lives).for_each(|one| one.wait(now_ns, Off::Idle));
            self.lived_ns = now_ns;
        }
        self.goal_ns = host.now_ns().saturating_add(ns);
    }

    /// Lets time pass by a slice, or the host up to `picks` pages or so; returns whether the goal is reached.
    ///
    /// # Errors
    ///
    /// As [`Host::advance_some`], and what a workload returned: time goes on from there when asked to.
    pub fn advance_some(
        &mut self,
        host: &mut Host,
        picks: u32,
        report: &mut ScanReport,
    ) -> Result<bool, Error> {
        if self.host_is_behind {
            if host.advance_some(picks, &mut self.tick)? {
                self.host_is_behind = false;
                let tick = std::mem::take(&mut self.tick);
                report.add(&tick);
                if host.now_ns().is_multiple_of(SECOND_NS) {
                    self.overhead = overhead(&tick, &self.config.costs);
                    self.end_second(host);
                }
            }
            return Ok(false);
        }
        if host.now_ns() >= self.goal_ns {
            return Ok(true);
        }
        self.meet_guests(host);
        // Slices begin and end at the same times whoever asks: what is left of one is lived in the next call.
        let tick_ns = (host.now_ns() / SECOND_NS + 1).saturating_mul(SECOND_NS).min(self.goal_ns);
        let end_ns = tick_ns / SLICE_NS * SLICE_NS;
        if self.lived_ns < end_ns {
            let slice_end_ns = self.next_slice(end_ns);
            self.live_slice(host, slice_end_ns)?;
            self.lived_ns = slice_end_ns;
        } else {
            host.begin_advance(tick_ns - host.now_ns());
            self.host_is_behind = true;
        }
        Ok(false)
    }

    /// Lets `ns` nanoseconds pass.
    ///
    /// # Errors
    ///
    /// As [`Simulation::advance_some`].
    pub fn advance(&mut self, host: &mut Host, ns: u64) -> Result<ScanReport, Error> {
        let mut report = ScanReport::default();
        self.begin_advance(host, ns);
        while !self.advance_some(host, u32::MAX, &mut report)? {}
        Ok(report)
    }

    /// Learns which virtual machines have come and gone.
    fn meet_guests(&mut self, host: &Host) {
        let is_known = |(guest, vm): (&Guest, &crate::host::Vm)| guest.serial == vm.serial;
        if self.guests.len() == host.vms().len() && self.guests.iter().zip(host.vms()).all(is_known) {
            return;
        }
        let mut known = std::mem::take(&mut self.guests);
        for vm in host.vms() {
            let place = known.iter().position(|guest| guest.serial == vm.serial);
            let guest = place.map_or_else(|| Guest::new(vm, host), |at| known.swap_remove(at));
            self.guests.push(guest);
        }
    }

    /// The end of the next slice: nobody has anything to do before its beginning.
    fn next_slice(&self, end_ns: u64) -> u64 {
        if self.guests.iter().any(Guest::has_traffic) {
            return (self.lived_ns + SLICE_NS).min(end_ns);
        }
        let clocks = self.guests.iter().flat_map(Guest::runnable).map(|process| process.clock_ns);
        let first_ns = clocks.min().unwrap_or(u64::MAX).max(self.lived_ns);
        (first_ns / SLICE_NS + 1).saturating_mul(SLICE_NS).min(end_ns)
    }

    /// Lets processes live until then: always the one that has lived least, until it waits.
    fn live_slice(&mut self, host: &mut Host, until_ns: u64) -> Result<(), Error> {
        self.disk.forget(self.lived_ns);
        let costs = self.config.costs;
        let used_ns = self.transfer_packets(host, until_ns);
        let mut turns = self.share_processors(until_ns, &used_ns);
        while let Some(Reverse((_, place, number))) = turns.pop() {
            let guest = &mut self.guests[place];
            let world = &mut World { host, disk: &mut self.disk, costs: &costs };
            if let Err(error) = guest.live(number, world, until_ns) {
                let at_ns = guest.processes[number].clock_ns;
                self.stop(host, at_ns, until_ns);
                return Err(error);
            }
            if guest.runs(&guest.processes[number], until_ns) {
                turns.push(Reverse((guest.processes[number].clock_ns, place, number)));
            }
        }
        self.turns = turns;
        Ok(())
    }

    /// Time has come to where a process made an error in a slice that ends then, as if it had been cut there: what is left of
    /// the slice is lived when time goes on.
    fn stop(&mut self, host: &mut Host, at_ns: u64, until_ns: u64) {
        self.lived_ns = self.lived_ns.max(until_ns - SLICE_NS);
        // Its operation may have passed the end of the slice.
        host.come_to(at_ns.clamp(self.lived_ns.max(host.now_ns()), until_ns - 1));
    }

    /// Brings the host to the time up to which processes have lived, after an advance that is not to go on.
    pub fn interrupt(&self, host: &mut Host) {
        // What is due at a whole second is left to the next advance.
        let tick_ns = (host.now_ns() / SECOND_NS + 1).saturating_mul(SECOND_NS);
        let lived_ns = self.lived_ns.min(tick_ns.saturating_sub(SLICE_NS));
        if !self.host_is_behind && lived_ns > host.now_ns() {
            host.come_to(lived_ns);
        }
    }

    /// The workloads of processes that live, each with its virtual machine: for a copy of a simulation of which something
    /// must not be shared with the original.
    pub fn workloads_mut(&mut self, host: &Host) -> impl Iterator<Item = (VmId, &mut dyn Workload)> {
        self.meet_guests(host);
        self.guests.iter_mut().flat_map(|guest| {
            let living = guest.processes.iter_mut().filter(|process| process.fate == Fate::Lives);
            living.map(|process| (guest.vm, &mut *process.workload))
        })
    }

    /// Network cards transfer the packets of a slice; returns how long each virtual machine is busy with them.
    fn transfer_packets(&mut self, host: &mut Host, until_ns: u64) -> Vec<u64> {
        let Self { guests, disk, config, lived_ns, .. } = self;
        let world = &mut World { host, disk, costs: &config.costs };
        guests.iter_mut().map(|guest| guest.transfer_packets(world, *lived_ns, until_ns)).collect()
    }

    /// Who runs in a slice, by clock, place of the guest and number; tells each how much slower it is than alone. What
    /// devices took of a virtual processor, in nanoseconds by place, its processes do without.
    fn share_processors(&mut self, until_ns: u64, used_ns: &[u64]) -> BinaryHeap<Turn> {
        let slice_ns = until_ns - self.lived_ns;
        let mut demand = self.overhead;
        for (guest, used_ns) in self.guests.iter().zip(used_ns) {
            let is_idle = guest.sharing(self.lived_ns, until_ns) == 0;
            demand += if is_idle { (*used_ns).min(slice_ns) * WHOLE / slice_ns } else { WHOLE };
        }
        let dilation = (demand / u64::from(self.config.processors)).max(WHOLE);
        let mut turns = std::mem::take(&mut self.turns);
        turns.clear();
        for ((place, guest), used_ns) in self.guests.iter_mut().enumerate().zip(used_ns) {
            let sharing = guest.sharing(self.lived_ns, until_ns) as u64;
            let used_ns = dilated(*used_ns, dilation);
            for number in 0..guest.processes.len() {
                let runs = guest.runs(&guest.processes[number], until_ns);
                let process = &mut guest.processes[number];
                process.give_way(used_ns, (self.lived_ns, until_ns));
                if runs {
                    process.dilation = dilation * sharing;
                    turns.push(Reverse((process.clock_ns, place, number)));
                }
            }
        }
        turns
    }

    /// After the host has done what it does at a whole second: guests do what they do of themselves.
    fn end_second(&mut self, host: &mut Host) {
        let now_ns = host.now_ns();
        let swapped = host.swap_writes();
        let (runs, pages) = (swapped.0 - self.swapped.0, swapped.1 - self.swapped.1);
        self.swapped = swapped;
        self.disk.transfer_runs(now_ns, runs, pages);
        for guest in &mut self.guests {
            let world = &mut World { host, disk: &mut self.disk, costs: &self.config.costs };
            guest.end_second(world, now_ns);
        }
    }
}

/// Processors that scanning took in a second, in parts of [`WHOLE`].
fn overhead(tick: &ScanReport, costs: &CostConfig) -> u64 {
    let compared = tick.merged + tick.false_matches;
    let ns = tick.hashed * costs.scan_page_ns + compared * costs.compare_ns;
    ns * WHOLE / SECOND_NS
}
