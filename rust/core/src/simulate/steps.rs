//! What a guest does on the way to serving a reference, or of itself: its steps, done over the host and paid for.

use std::ops::ControlFlow;

use super::disk::Disk;
use super::guest::Guest;
use super::nic::transfer_ns;
use super::pressure::Off;
use super::process::{Fate, Process};
use super::{SECOND_NS, World};
use crate::config::{CostConfig, Reach};
use crate::error::Error;
use crate::host::Host;
use crate::reference::{Errand, Patience, Step, Touch, Writes};
use crate::remap::IoCounts;
use crate::touch::{Fault, FaultKind, TouchReport, Watch};
use crate::types::{Access, Direction, VmId};

/// Who pays for steps: a process, or the guest's kernel.
pub(super) struct Payer<'a> {
    pub process: Option<&'a mut Process>,
    pub kernel_ns: &'a mut u64,
    /// What time it is for the kernel.
    pub now_ns: u64,
    /// Whether the kernel waits for pages that the server has to bring in; processes always do.
    pub patience: Patience,
}

impl Payer<'_> {
    fn now_ns(&self) -> u64 {
        self.process.as_ref().map_or(self.now_ns, |process| process.clock_ns)
    }

    pub fn compute(&mut self, ns: u64) {
        match &mut self.process {
            Some(process) => process.compute(ns),
            None => *self.kernel_ns += ns,
        }
    }

    /// As `compute`, so many times: a process that is slowed down loses the fraction of a nanosecond each time.
    fn compute_each(&mut self, ns: u64, times: u64) {
        match &mut self.process {
            Some(process) => (0..times).for_each(|_| process.compute(ns)),
            None => *self.kernel_ns += ns * times,
        }
    }

    fn wait(&mut self, until_ns: u64, off: Off) {
        if let Some(process) = &mut self.process {
            process.wait(until_ns, off);
        }
    }

    pub fn meet(&mut self, fault: Fault, disk: &mut Disk, costs: &CostConfig) {
        match &mut self.process {
            Some(process) => process.meet(fault, disk, costs),
            None => {
                let mut until_ns = self.now_ns;
                if fault.written > 0 {
                    until_ns = disk.transfer_runs(until_ns, fault.writes, fault.written);
                }
                if fault.kind == FaultKind::PageIn {
                    until_ns = disk.page_in(self.now_ns);
                }
                if self.patience == Patience::Waits {
                    self.now_ns = self.now_ns.max(until_ns);
                }
                *self.kernel_ns += costs.fault_ns;
            }
        }
    }
}

/// What a process does that waits for the disk: what it reads for the first time it would wait for in any case.
fn waits_for(errand: Errand) -> Off {
    if errand == Errand::File { Off::Idle } else { Off::Stalled }
}

/// What came of accesses: how many steps are done, why the next one is not, and what a transfer took.
struct Accessed {
    done: usize,
    stopped: Option<Error>,
    io: IoCounts,
}

impl Accessed {
    fn one(stopped: Option<Error>, io: IoCounts) -> Self {
        Self { done: usize::from(stopped.is_none()), stopped, io }
    }

    fn by_itself(played: TouchReport) -> Self {
        Self { done: played.done, stopped: played.stopped, io: IoCounts::default() }
    }
}

/// Accesses the page that the first step names, by itself or by a device of that reach; of touches all that come first.
fn access(host: &mut Host, vm: VmId, steps: &[Step], device: Option<Reach>, watch: Watch<'_>) -> Accessed {
    let accessed = match (steps[0], device) {
        (Step::DiskRead { .. }, _) => Ok(Accessed::one(None, IoCounts::default())),
        (Step::Touch(_), _) => {
            host.play(vm, &first_touches(steps), Writes::Unique, watch).map(Accessed::by_itself)
        }
        (Step::Fill(ppn, filling), None) => host.fill(vm, ppn, filling, watch).map(Accessed::by_itself),
        (Step::DiskWrite { ppn, .. }, None) => {
            host.play(vm, &[Touch::new(ppn, Access::Read)], Writes::Unique, watch).map(Accessed::by_itself)
        }
        (Step::Fill(ppn, filling), Some(reach)) => {
            host.receive(vm, ppn, (filling, reach), watch).map(|moved| Accessed::one(moved.stopped, moved.io))
        }
        (Step::DiskWrite { ppn, .. }, Some(reach)) => host
            .transfer(vm, &[ppn.0], (Direction::Transmit, reach), watch)
            .map(|moved| Accessed::one(moved.stopped, moved.io)),
    };
    // A guest that names a page which it does not have has it refused, and goes on.
    accessed.unwrap_or_else(|_| Accessed::one(None, IoCounts::default()))
}

fn first_touches(steps: &[Step]) -> Vec<Touch> {
    let touch = |step: &Step| if let Step::Touch(touch) = step { Some(*touch) } else { None };
    let mut touches = Vec::with_capacity(steps.len());
    touches.extend(steps.iter().map_while(touch));
    touches
}

impl Guest {
    /// Does what is still to be done before anything else is asked of the guest, now that it is this process's turn; returns
    /// whether it goes on.
    pub(super) fn do_pending(&mut self, number: usize, world: &mut World<'_>) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        self.do_steps(world, self.processes[number].clock_ns);
        !self.is_held
    }

    /// Does pending steps until they are done or the virtual machine is held up.
    fn do_steps(&mut self, world: &mut World<'_>, mut now_ns: u64) {
        let mut steps = std::mem::take(&mut self.pending);
        let (mut done, mut stopped) = (0, None);
        while done < steps.len() && stopped.is_none() {
            let some;
            (some, stopped) = self.do_some(&steps[done..], world, &mut now_ns);
            done += some;
        }
        self.hold(stopped.as_ref());
        steps.drain(..done);
        self.pending = steps;
        if self.pending.is_empty() {
            self.settle(world);
        }
    }

    /// What memory the disk reaches, if it is the disk that accesses the page which a step names.
    fn transferring(&self, step: &Step) -> Option<Reach> {
        self.disk_reach.filter(|_| match step {
            Step::Touch(_) => false,
            Step::Fill(..) => self.arriving > 0,
            Step::DiskRead { .. } | Step::DiskWrite { .. } => true,
        })
    }

    /// Does the first step, or as many touches as come first, and pays; tells how many, and why the next cannot be done.
    fn do_some(&mut self, steps: &[Step], world: &mut World<'_>, now_ns: &mut u64) -> (usize, Option<Error>) {
        let World { host, disk, costs } = world;
        let (device, is_touch) = (self.transferring(&steps[0]), matches!(steps[0], Step::Touch(_)));
        let process = self.pending_for.map(|number| &mut self.processes[number]);
        let patience = if is_touch { Patience::Waits } else { Patience::GoesOn };
        let mut payer = Payer { process, kernel_ns: &mut self.kernel_ns, now_ns: *now_ns, patience };
        let mut paged_in = false;
        let mut watch = |_, fault: Fault| {
            payer.meet(fault, disk, costs);
            paged_in |= fault.kind == FaultKind::PageIn;
            ControlFlow::Continue(())
        };
        let Accessed { done, stopped, io } = access(host, self.vm, steps, device, &mut watch);
        if device.is_some() && done > 0 {
            let transfers = u64::from(!matches!(steps[0], Step::DiskRead { .. }));
            let interrupts = u64::from(!matches!(steps[0], Step::Fill(..)));
            let ns = transfer_ns(costs, transfers, interrupts, &io);
            payer.compute(ns);
            self.report.device_ns += ns;
        }
        // Of touches as many as come first are done, of anything else one.
        if let Some(first) = steps[..done].first() {
            match *first {
                Step::Touch(_) => payer.compute_each(costs.access_ns, done as u64),
                Step::Fill(..) if device.is_some() => self.arriving -= 1,
                Step::Fill(..) => payer.compute(costs.zero_fill_ns),
                Step::DiskRead { position, pages, errand } => {
                    self.arriving = device.map_or(0, |_| pages);
                    let until_ns = disk.transfer(payer.now_ns(), self.serial, position, pages);
                    payer.wait(until_ns, waits_for(errand));
                }
                Step::DiskWrite { position, patience, errand, .. } => {
                    let until_ns = disk.transfer(payer.now_ns(), self.serial, position, 1);
                    if patience == Patience::Waits {
                        payer.wait(until_ns, waits_for(errand));
                    }
                    self.report.double_paged += u64::from(paged_in);
                }
            }
        }
        *now_ns = payer.now_ns;
        let stands_ns = payer.now_ns();
        if is_touch && paged_in {
            self.stand(stands_ns);
        }
        (done, stopped)
    }

    /// A kernel that waits for its own memory runs nobody else.
    fn stand(&mut self, until_ns: u64) {
        let living = self.processes.iter_mut().filter(|one| one.fate == Fate::Lives);
        living.filter(|one| one.clock_ns < until_ns).for_each(|one| one.wait(until_ns, Off::Stalled));
    }

    /// All steps are done: the guest hears of it, and what took no page is served.
    pub(super) fn settle(&mut self, world: &mut World<'_>) {
        world.host.guest_os(self.vm).0.settle();
        let serves = std::mem::take(&mut self.pending_serves);
        if let Some(number) = self.pending_for.take().filter(|_| serves) {
            let process = &mut self.processes[number];
            process.serve_to(process.at + 1, world.costs);
        }
    }

    /// Ends a second: who was held up has lost time, pressure is counted, and the guest does what it does of itself.
    pub(super) fn end_second(&mut self, world: &mut World<'_>, now_ns: u64) {
        if self.is_held {
            self.report.held_s += 1;
            self.report.blocked_s += u64::from(self.is_blocked);
            let standing = self.processes.iter_mut().filter(|one| one.fate == Fate::Lives);
            standing.for_each(|process| process.lose(now_ns));
            self.is_held = false;
        }
        let before_ns = now_ns - SECOND_NS;
        let lines = self.processes.iter_mut().map(|process| &mut process.line);
        self.report.pressure.add(before_ns, now_ns, lines);
        let busy_ns: u64 =
            self.processes.iter_mut().map(|process| std::mem::take(&mut process.busy_ns)).sum();
        if self.pending.is_empty() {
            let second = ((now_ns - self.powered_on_ns) / SECOND_NS).saturating_sub(1) as u32;
            let (os, random) = world.host.guest_os(self.vm);
            let idle_ns = SECOND_NS.saturating_sub(busy_ns + std::mem::take(&mut self.device_ns));
            os.background(second, idle_ns, random, &mut self.pending);
            self.load_driver(world);
            self.pending_for = None;
        }
        if self.pending_for.is_none() && !self.pending.is_empty() {
            self.do_steps(world, now_ns);
        }
        self.charge_kernel(world.host, world.costs, now_ns);
    }

    /// What the kernel did, its balloon driver included, its processes have to wait for.
    fn charge_kernel(&mut self, host: &Host, costs: &CostConfig, now_ns: u64) {
        let moves = host.balloon_moves(self.vm);
        self.kernel_ns += (moves - self.balloon_moves) * costs.balloon_page_ns;
        self.balloon_moves = moves;
        let until_ns = now_ns + std::mem::take(&mut self.kernel_ns);
        for process in self.processes.iter_mut().filter(|one| one.fate == Fate::Lives) {
            process.clock_ns = process.clock_ns.max(until_ns.min(now_ns + SECOND_NS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DiskCosts, HostConfig, VmConfig};
    use crate::rng::Seed;
    use crate::types::{ContentKind, Ppn};
    use crate::workload::{Scan, ScanConfig};

    #[test]
    fn what_a_kernel_does_late_it_does_now() {
        let costs =
            CostConfig { disk: DiskCosts { position_ns: 1000, page_ns: 10 }, ..CostConfig::default() };
        let mut host = Host::new(HostConfig::bare(8, ContentKind::Tokens, Seed([1; 32]))).expect("small");
        host.power_on(VmConfig::new("one", 4), &mut || Ok(())).expect("small");
        let mut guest = Guest::new(&host.vms()[0], &host);
        let (scan, now_ns) = (Scan::new(ScanConfig::new(4)).expect("it has pages"), 5 * SECOND_NS);
        guest.processes.push(Process::new(Box::new(scan), Writes::Unique, now_ns, now_ns));
        let (errand, patience) = (Errand::File, Patience::GoesOn);
        guest.pending.push(Step::DiskWrite { ppn: Ppn(0), position: 7, errand, patience });
        let mut disk = Disk::new(costs.disk);
        disk.forget(now_ns);
        assert!(guest.do_pending(0, &mut World { host: &mut host, disk: &mut disk, costs: &costs }));
        assert_eq!(disk.page_in(now_ns), now_ns + 2 * 1010, "it waits for the write");
    }
}
