//! What a guest does on the way to serving a reference, or of itself: its steps, done over the host and paid for.

use std::ops::ControlFlow;

use super::disk::Disk;
use super::guest::Guest;
use super::pressure::Off;
use super::process::{Fate, Process};
use super::{SECOND_NS, World};
use crate::config::CostConfig;
use crate::host::Host;
use crate::reference::{Errand, Patience, Step, Touch, Writes};
use crate::touch::{Fault, FaultKind};
use crate::types::Access;

/// Who pays for steps: a process, or the guest's kernel, for whom nobody waits.
struct Payer<'a> {
    process: Option<&'a mut Process>,
    kernel_ns: &'a mut u64,
    now_ns: u64,
}

impl Payer<'_> {
    fn now_ns(&self) -> u64 {
        self.process.as_ref().map_or(self.now_ns, |process| process.clock_ns)
    }

    fn compute(&mut self, ns: u64) {
        match &mut self.process {
            Some(process) => process.compute(ns),
            None => *self.kernel_ns += ns,
        }
    }

    fn wait(&mut self, until_ns: u64, off: Off) {
        if let Some(process) = &mut self.process {
            process.wait(until_ns, off);
        }
    }

    fn meet(&mut self, fault: Fault, disk: &mut Disk, costs: &CostConfig) {
        match &mut self.process {
            Some(process) => process.meet(fault, disk, costs),
            None => {
                if fault.written > 0 {
                    disk.transfer_runs(self.now_ns, fault.writes, fault.written);
                }
                if fault.kind == FaultKind::PageIn {
                    disk.page_in(self.now_ns);
                }
                *self.kernel_ns += costs.fault_ns;
            }
        }
    }
}

impl Guest {
    /// Does what is still to be done before anything else is asked of the guest; returns whether it goes on.
    pub(super) fn do_pending(&mut self, world: &mut World<'_>) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        self.do_steps(world, 0);
        !self.is_held
    }

    /// Does pending steps until they are done or the virtual machine is held up.
    fn do_steps(&mut self, world: &mut World<'_>, now_ns: u64) {
        let World { host, disk, costs } = world;
        let steps = std::mem::take(&mut self.pending);
        let process = self.pending_for.map(|number| &mut self.processes[number]);
        let mut payer = Payer { process, kernel_ns: &mut self.kernel_ns, now_ns };
        let (mut done, mut stopped) = (0, None);
        for step in &steps {
            let mut paged_in = false;
            let mut watch = |_, fault: Fault| {
                payer.meet(fault, disk, costs);
                paged_in |= fault.kind == FaultKind::PageIn;
                ControlFlow::Continue(())
            };
            let played = match *step {
                Step::Touch(touch) => host.play(self.vm, &[touch], Writes::Unique, &mut watch),
                Step::Fill(ppn, filling) => host.fill(self.vm, ppn, filling, &mut watch),
                Step::DiskWrite { ppn, .. } => {
                    host.play(self.vm, &[Touch::new(ppn, Access::Read)], Writes::Unique, &mut watch)
                }
                Step::DiskRead { .. } => Ok(Default::default()),
            };
            // A guest that names a page which it does not have has it refused, and goes on.
            stopped = played.ok().and_then(|played| played.stopped);
            if stopped.is_some() {
                break;
            }
            match *step {
                Step::Touch(_) => payer.compute(costs.access_ns),
                Step::Fill(..) => payer.compute(costs.zero_fill_ns),
                Step::DiskRead { position, pages, errand } => {
                    let until_ns = disk.transfer(payer.now_ns(), self.serial, position, pages);
                    payer.wait(until_ns, if errand == Errand::File { Off::Idle } else { Off::Stalled });
                }
                Step::DiskWrite { position, patience, errand, .. } => {
                    let until_ns = disk.transfer(payer.now_ns(), self.serial, position, 1);
                    if patience == Patience::Waits {
                        payer.wait(until_ns, if errand == Errand::File { Off::Idle } else { Off::Stalled });
                    }
                    self.report.double_paged += u64::from(paged_in);
                }
            }
            done += 1;
        }
        self.hold(stopped.as_ref());
        self.pending = steps;
        self.pending.drain(..done);
        if self.pending.is_empty() {
            self.settle(world);
        }
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
            os.background(second, SECOND_NS.saturating_sub(busy_ns), random, &mut self.pending);
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
