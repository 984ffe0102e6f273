//! The processes of one virtual machine: whose turn it is, and what its guest has to deal with for them.

use std::ops::{ControlFlow, Range};

use super::nic::Nic;
use super::process::{Fate, Process};
use super::{GuestReport, STRETCH, World};
use crate::balloon::Dealt;
use crate::config::Reach;
use crate::error::Error;
use crate::host::{Host, Vm};
use crate::reference::{Ref, Step, Touch, Wish};
use crate::types::VmId;
use crate::workload::Then;

/// The processes of one virtual machine.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub vm: VmId,
    pub serial: u64,
    pub powered_on_ns: u64,
    pub processes: Vec<Process>,
    /// Steps that are still to be done, for a process or, if none, for the guest's kernel.
    pub pending: Vec<Step>,
    pub pending_for: Option<usize>,
    /// The next reference of that process is served when they are done.
    pub pending_serves: bool,
    /// It stands until the next second.
    pub is_held: bool,
    /// It does so because the server says so.
    pub is_blocked: bool,
    /// Processor time of its kernel since the last second.
    pub kernel_ns: u64,
    pub nic: Option<Nic>,
    /// What memory its disk reaches, if it moves data itself.
    pub disk_reach: Option<Reach>,
    /// Pages that its disk has read and not written to memory yet.
    pub arriving: u32,
    /// Processor time that its devices took since the last second.
    pub device_ns: u64,
    pub balloon_moves: u64,
    pub report: GuestReport,
    /// What references were translated to: of use only while a process lives, kept to be filled again.
    touches: Vec<Touch>,
}

impl Guest {
    pub fn new(vm: &Vm, host: &Host) -> Self {
        let nic = vm.devices.nic.as_ref();
        let stream = || host.config().seed.stream("nic", vm.serial);
        Self {
            vm: vm.id,
            serial: vm.serial,
            powered_on_ns: host.now_ns(),
            processes: vec![],
            pending: vec![],
            pending_for: None,
            pending_serves: false,
            is_held: false,
            is_blocked: false,
            kernel_ns: 0,
            nic: nic.map(|config| Nic::new(config, stream())),
            disk_reach: vm.devices.disk.map(|disk| disk.reach),
            arriving: 0,
            device_ns: 0,
            balloon_moves: 0,
            report: GuestReport::default(),
            touches: vec![],
        }
    }

    pub fn runnable(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|one| !self.is_held && one.fate == Fate::Lives)
    }

    /// How many processes share the processor in a slice: those that run in it, and those that have it beyond the slice,
    /// which take longer over what they do.
    pub fn sharing(&self, from_ns: u64, until_ns: u64) -> usize {
        let has_it = |one: &&Process| one.clock_ns < until_ns || one.computes_until_ns > from_ns;
        self.runnable().filter(has_it).count()
    }

    pub fn runs(&self, process: &Process, until_ns: u64) -> bool {
        !self.is_held && process.fate == Fate::Lives && process.clock_ns < until_ns
    }

    /// Lets a process live until then, or until it waits or the virtual machine is held up.
    pub fn live(&mut self, number: usize, world: &mut World<'_>, until_ns: u64) -> Result<(), Error> {
        let mut touches = std::mem::take(&mut self.touches);
        let lived = self.live_with(&mut touches, number, world, until_ns);
        touches.clear();
        self.touches = touches;
        lived
    }

    fn live_with(
        &mut self,
        touches: &mut Vec<Touch>,
        number: usize,
        world: &mut World<'_>,
        until_ns: u64,
    ) -> Result<(), Error> {
        self.processes[number].has_waited = false;
        while self.runs(&self.processes[number], until_ns) {
            if !self.do_pending(number, world) || self.processes[number].has_waited {
                return Ok(());
            }
            let process = &mut self.processes[number];
            if process.waiting().is_empty() {
                process.finish_batch();
                self.next_batch(number, world.host)?;
                continue;
            }
            if process.clock_ns >= until_ns {
                return Ok(());
            }
            let most = process.fitting(until_ns, world.costs).min(STRETCH);
            touches.clear();
            let translated = world.host.guest_os(self.vm).0.translate(&process.waiting()[..most], touches);
            if translated == 0 {
                self.ask_guest(number, world)?;
            } else if !self.play(number, touches, world, until_ns)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the next batch of a process whose last is through.
    fn next_batch(&mut self, number: usize, host: &mut Host) -> Result<(), Error> {
        let process = &mut self.processes[number];
        match process.batch.then {
            // It is asked when it has woken up.
            Then::SleepUntil { ns } if ns > process.own_ns() => {
                process.sleep_until(ns);
                process.batch.then = Then::Next;
                return Ok(());
            }
            Then::Ends => {
                process.end(Fate::Ended);
                self.free_memory(number, host);
                return Ok(());
            }
            Then::Next | Then::SleepUntil { .. } => {}
        }
        let own_ns = process.own_ns();
        process.take_batch();
        process.workload.next(own_ns, &mut process.batch)?;
        // What was begun in a batch of another form ends with it.
        process.finish_batch();
        process.note_memory();
        let goes_on = match process.batch.then {
            Then::Next => !process.batch.refs.is_empty(),
            Then::SleepUntil { ns } => !process.batch.refs.is_empty() || ns > own_ns,
            Then::Ends => true,
        };
        if goes_on {
            return Ok(());
        }
        let vm = host.vm(self.vm).name.clone();
        let workload = process.workload.name().to_string();
        process.batch.then = Then::Next;
        Err(Error::WorkloadStands { vm, workload, at_ns: own_ns })
    }

    /// Plays touches of a process; returns whether the virtual machine goes on.
    fn play(
        &mut self,
        number: usize,
        touches: &[Touch],
        world: &mut World<'_>,
        until_ns: u64,
    ) -> Result<bool, Error> {
        let (process, World { host, disk, costs }) = (&mut self.processes[number], &mut *world);
        let from = process.at;
        let played = host.play(self.vm, touches, process.writes, &mut |place, fault| {
            process.serve_to(from + place, costs);
            process.meet(fault, disk, costs);
            let goes_on = process.clock_ns < until_ns && !process.has_waited;
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let played = match played {
            Ok(played) => played,
            // Of those that come before such a page all are served by now, wherever batches end.
            Err(Error::PageOutOfRange { vm, ppn, pages }) => {
                // It cannot go on; everybody else can.
                process.end(Fate::Killed);
                let workload = process.workload.name().to_string();
                return Err(Error::WorkloadBeyond { vm, workload, page: ppn, pages });
            }
            Err(error) => return Err(error),
        };
        process.serve_to(from + played.done, costs);
        self.hold(played.stopped.as_ref());
        Ok(!self.is_held)
    }

    /// Has the virtual machine stand until the next second if a reference was not served.
    pub fn hold(&mut self, stopped: Option<&Error>) {
        self.is_held = stopped.is_some();
        self.is_blocked = matches!(stopped, Some(Error::Blocked { .. }));
    }

    /// Lets the guest deal with a reference that does not translate.
    fn ask_guest(&mut self, number: usize, world: &mut World<'_>) -> Result<(), Error> {
        let process = &mut self.processes[number];
        let Some(reference) = process.waiting().first().copied() else { return Ok(()) };
        let (os, random) = world.host.guest_os(self.vm);
        match os.fault(reference, random, &mut self.pending) {
            // One that names no page is through when the steps are.
            Dealt::Served => self.pending_serves = !reference.is_access(),
            Dealt::Killed => {
                process.end(Fate::Killed);
                self.free_memory(number, world.host);
            }
            Dealt::Unknown => {
                process.end(Fate::Killed);
                let workload = process.workload.name().to_string();
                return Err(unknown(world.host.vm(self.vm), workload, reference));
            }
        }
        let process = &mut self.processes[number];
        process.compute(world.costs.fault_ns);
        self.pending_for = Some(number);
        if self.pending.is_empty() {
            self.settle(world);
        }
        Ok(())
    }

    /// Gives the guest back the memory of a process that is through. Of one that ended, what lies within the memory of those
    /// that live stays: its threads go on with it. If it was killed they lose it too.
    fn free_memory(&mut self, number: usize, host: &mut Host) {
        let process = &self.processes[number];
        let living = self.processes.iter().filter(|one| one.fate == Fate::Lives).map(Process::memory);
        let kept: Vec<Range<u32>> = if process.fate == Fate::Ended { living.collect() } else { vec![] };
        let os = host.guest_os(self.vm).0;
        for pages in without(process.memory(), kept) {
            os.take_memory_back(pages);
        }
    }
}

/// What a process referred to that its guest knows nothing of.
fn unknown(vm: &Vm, workload: String, reference: Ref) -> Error {
    let (vm, pages) = (vm.name.clone(), vm.pages);
    match reference.wish() {
        Wish::Memory { page, .. } | Wish::Free { page } => {
            Error::WorkloadBeyond { vm, workload, page: page.into(), pages }
        }
        Wish::Block { file, .. } | Wish::Delete { file } | Wish::Flush { file } | Wish::Look { file } => {
            Error::WorkloadFile { vm, workload, file }
        }
    }
}

/// What is left of a range without others, ascending.
fn without(range: Range<u32>, others: Vec<Range<u32>>) -> Vec<Range<u32>> {
    let cut = |left: Vec<Range<u32>>, other: Range<u32>| {
        let parts =
            |one: Range<u32>| [one.start..one.end.min(other.start), one.start.max(other.end)..one.end];
        left.into_iter().flat_map(parts).filter(|part| !part.is_empty()).collect()
    };
    others.into_iter().filter(|other| !other.is_empty()).fold(vec![range], cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_without_others_has_each_page_of_none_of_them_once(
            range in (0u32..40, 0u32..40),
            others in prop::collection::vec((0u32..40, 0u32..40), 0..5),
        ) {
            let others: Vec<Range<u32>> = others.into_iter().map(|(from, to)| from..to).collect();
            let expected: Vec<u32> =
                (range.0..range.1).filter(|page| !others.iter().any(|other| other.contains(page))).collect();
            let left: Vec<u32> = without(range.0..range.1, others).into_iter().flatten().collect();
            prop_assert_eq!(left, expected);
        }
    }
}
