//! A process of a guest: where it is in its batch, and what time it is for it.

use std::ops::Range;

use super::disk::Disk;
use super::latency::Latencies;
use super::pressure::{Off, TimeLine};
use crate::config::CostConfig;
use crate::reference::{Ref, Writes};
use crate::touch::{Fault, FaultKind};
use crate::workload::{Batch, Ops, Workload};

/// Fixed point of processor shares.
pub(super) const WHOLE: u64 = 1 << 20;

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It lives.
    Lives,
    /// Its workload ended.
    Ended,
    /// Its guest had neither memory nor swap space for it.
    Killed,
}

/// A process: a workload and its clock.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub workload: Box<dyn Workload>,
    pub writes: Writes,
    pub fate: Fate,
    pub batch: Batch,
    /// References of the batch that are served.
    pub at: usize,
    /// Pages of memory that it has named: all of them are from here to there.
    memory: Range<u32>,
    /// Operations of a batch with `Ops::Ends` that are through.
    ended: usize,
    /// References of an unfinished operation that are served.
    begun: u64,
    /// Virtual time up to which it has lived; what it waits for may end later than now.
    pub clock_ns: u64,
    pub started_ns: u64,
    /// It has waited since it was let run.
    pub has_waited: bool,
    /// Time in which it stood still because its virtual machine was held up.
    pub lost_ns: u64,
    op_began_ns: u64,
    /// How much longer processor time takes, in parts of [`WHOLE`].
    pub dilation: u64,
    /// Until when it has the processor, as far as is known.
    pub computes_until_ns: u64,
    pub line: TimeLine,
    /// Processor time it was given in this second.
    pub busy_ns: u64,
    pub operations: u64,
    pub latencies: Latencies,
}

impl Process {
    /// A process that begins at a time not before now.
    pub fn new(workload: Box<dyn Workload>, writes: Writes, now_ns: u64, start_ns: u64) -> Self {
        let start_ns = start_ns.max(now_ns);
        let mut line = TimeLine::default();
        line.add(now_ns, start_ns, Off::Idle);
        Self {
            workload,
            writes,
            fate: Fate::Lives,
            batch: Batch::default(),
            at: 0,
            memory: 0..0,
            ended: 0,
            begun: 0,
            clock_ns: start_ns,
            started_ns: start_ns,
            has_waited: false,
            lost_ns: 0,
            op_began_ns: start_ns,
            dilation: WHOLE,
            computes_until_ns: 0,
            line,
            busy_ns: 0,
            operations: 0,
            latencies: Latencies::default(),
        }
    }

    /// References that are to be served next.
    pub fn waiting(&self) -> &[Ref] {
        &self.batch.refs[self.at..]
    }

    /// How many of the references that wait to be served next: about as many as there is time for if nothing faults, within
    /// an operation.
    pub fn fitting(&self, until_ns: u64, costs: &CostConfig) -> usize {
        let left_ns = until_ns.saturating_sub(self.clock_ns).saturating_mul(WHOLE) / self.dilation;
        let most = left_ns / costs.access_ns.max(1) + 1;
        let fit = match &self.batch.ops {
            Ops::Each(each) => {
                let each = u64::from(*each).max(1);
                let operations = left_ns / (each * costs.access_ns + self.batch.op_ns).max(1);
                most.min(operations * each + each - self.begun)
            }
            Ops::Ends(ends) => {
                let operations = (left_ns / self.batch.op_ns.max(1)).min(ends.len() as u64) as usize;
                let end = ends.get(self.ended + operations).map_or(usize::MAX, |end| *end as usize);
                most.min((end.max(self.at + 1) - self.at) as u64)
            }
        };
        self.waiting().len().min(usize::try_from(fit).unwrap_or(usize::MAX))
    }

    /// Its own time, which stands while its virtual machine is held up.
    pub fn own_ns(&self) -> u64 {
        self.clock_ns - self.started_ns - self.lost_ns
    }

    /// Forgets the batch that is through, to take another.
    pub fn take_batch(&mut self) -> &mut Batch {
        (self.at, self.ended) = (0, 0);
        self.batch.clear();
        &mut self.batch
    }

    /// Takes note of the memory that its batch names.
    pub fn note_memory(&mut self) {
        if Ref::are_within(&self.batch.refs, &self.memory) {
            return;
        }
        let Some(named) = Ref::memory_range(&self.batch.refs) else { return };
        self.memory = match self.memory.is_empty() {
            true => named,
            false => self.memory.start.min(named.start)..self.memory.end.max(named.end),
        };
    }

    /// The memory that it has named so far.
    pub fn memory(&self) -> Range<u32> {
        self.memory.clone()
    }

    /// Goes without its part of what others of its virtual processor take in a slice.
    pub fn give_way(&mut self, used_ns: u64, (from_ns, until_ns): (u64, u64)) {
        if used_ns == 0 || self.clock_ns >= until_ns {
            return;
        }
        let left_ns = until_ns - self.clock_ns.max(from_ns);
        let lost_ns = u128::from(used_ns) * u128::from(left_ns) / u128::from(until_ns - from_ns);
        self.clock_ns = self.clock_ns.saturating_add(u64::try_from(lost_ns).unwrap_or(u64::MAX));
    }

    /// Uses the processor.
    pub fn compute(&mut self, ns: u64) {
        let ns = dilated(ns, self.dilation);
        self.clock_ns = self.clock_ns.saturating_add(ns);
        self.computes_until_ns = self.clock_ns;
        self.busy_ns += ns;
    }

    /// Waits until then.
    pub fn wait(&mut self, until_ns: u64, off: Off) {
        self.has_waited |= until_ns > self.clock_ns;
        self.line.add(self.clock_ns, until_ns, off);
        self.clock_ns = self.clock_ns.max(until_ns);
    }

    /// Stands still until then: this time is lost to it.
    pub fn lose(&mut self, until_ns: u64) {
        self.lost_ns += until_ns.saturating_sub(self.clock_ns);
        self.wait(until_ns, Off::Stalled);
    }

    /// Ends for good.
    pub fn end(&mut self, fate: Fate) {
        self.fate = fate;
        self.line.add(self.clock_ns, u64::MAX, Off::Idle);
    }

    /// Sleeps until its own time has come there. What is asked of it next begins then.
    pub fn sleep_until(&mut self, own_ns: u64) {
        let wake_ns = (self.started_ns + self.lost_ns).saturating_add(own_ns);
        self.wait(wake_ns, Off::Idle);
        if self.begun == 0 {
            self.op_began_ns = self.clock_ns;
        }
    }

    /// Counts references that were served without a fault, up to that place in the batch.
    pub fn serve_to(&mut self, place: usize, costs: &CostConfig) {
        let count = (place - self.at) as u64;
        match &self.batch.ops {
            Ops::Each(each) => self.serve_each(count, u64::from(*each).max(1), costs),
            Ops::Ends(_) => self.serve_ends(place, costs),
        }
        self.at = place;
    }

    fn serve_each(&mut self, count: u64, each: u64, costs: &CostConfig) {
        let through = (self.begun + count) / each;
        if through == 0 {
            self.compute(count * costs.access_ns);
            self.begun += count;
            return;
        }
        self.compute((each - self.begun) * costs.access_ns + self.batch.op_ns);
        self.finish_operation();
        let each_ns = dilated(each * costs.access_ns + self.batch.op_ns, self.dilation);
        self.finish_alike(each_ns, through - 1);
        self.begun = (self.begun + count) - through * each;
        self.compute(self.begun * costs.access_ns);
    }

    fn serve_ends(&mut self, place: usize, costs: &CostConfig) {
        let mut at = self.at;
        while let Ops::Ends(ends) = &self.batch.ops {
            let Some(end) = ends.get(self.ended).map(|end| *end as usize).filter(|end| *end <= place) else {
                break;
            };
            self.compute((end.max(at) - at) as u64 * costs.access_ns + self.batch.op_ns);
            at = end.max(at);
            self.ended += 1;
            self.begun = 0;
            self.finish_operation();
        }
        self.begun += (place - at) as u64;
        self.compute((place - at) as u64 * costs.access_ns);
    }

    /// Ends an operation that a batch leaves short.
    pub fn finish_batch(&mut self) {
        if self.begun > 0 && matches!(self.batch.ops, Ops::Each(_)) {
            self.compute(self.batch.op_ns);
            self.begun = 0;
            self.finish_operation();
        }
    }

    fn finish_operation(&mut self) {
        self.latencies.add(self.clock_ns - self.op_began_ns, 1);
        self.operations += 1;
        self.op_began_ns = self.clock_ns;
    }

    fn finish_alike(&mut self, each_ns: u64, operations: u64) {
        self.latencies.add(each_ns, operations);
        self.operations += operations;
        self.clock_ns += each_ns * operations;
        self.computes_until_ns = self.clock_ns;
        self.busy_ns += each_ns * operations;
        self.op_began_ns = self.clock_ns;
    }

    /// Pays for a fault.
    pub fn meet(&mut self, fault: Fault, disk: &mut Disk, costs: &CostConfig) {
        if fault.written > 0 {
            self.wait(disk.transfer_runs(self.clock_ns, fault.writes, fault.written), Off::Stalled);
        }
        match fault.kind {
            FaultKind::ZeroFill => self.compute(costs.zero_fill_ns),
            FaultKind::CowBreak => self.compute(costs.cow_break_ns),
            FaultKind::PageIn => self.wait(disk.page_in(self.clock_ns), Off::Stalled),
            FaultKind::Sampled => self.compute(costs.sample_fault_ns),
            FaultKind::Pop | FaultKind::Kept => self.compute(costs.fault_ns),
        }
    }
}

/// Processor time as it takes with that dilation.
pub(super) fn dilated(ns: u64, dilation: u64) -> u64 {
    u64::try_from(u128::from(ns) * u128::from(dilation) / u128::from(WHOLE)).unwrap_or(u64::MAX)
}
