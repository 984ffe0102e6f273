//! Virtual time: what a host does at each whole second of it.
//!
//! | in this order | what |
//! |---|---|
//! | sampling | periods that are over end (§5.3) |
//! | I/O | after each half-life transfers and copies of I/O pages count half (§7) |
//! | paging | pages whose page-out began a second ago are written, unless touched since (§3.3) |
//! | balance | the free state is looked at; where it or anything else calls for it, the policy is asked (§6.3) |
//! | plan | what each virtual machine should give and may get, from state and targets |
//! | balloons | drivers poll their targets (§3.2) |
//! | paging | page-outs begin |
//! | scanning | pages are looked at for sharing (§4) |
//! | ledger | what moved is written down |
//!
//! What is due is kept across an interruption and done first when time goes on.

use std::collections::VecDeque;

use super::Host;
use crate::error::Error;
use crate::share::ScanReport;
use crate::types::VmId;

/// Page-outs that begin together.
const PAGE_OUT_PART: u32 = 1024;
/// Nanoseconds between two ticks.
pub(crate) const TICK_NS: u64 = 1_000_000_000;

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
    /// Its I/O pages are to count half.
    Cool(VmId),
    /// Its page-outs that are under way are to be written.
    Write(VmId),
    /// The free state is to be looked at, and the policy to be asked if there is cause.
    Balance,
    /// What each virtual machine gives and gets is to be worked out.
    Plan,
    /// Its balloon driver polls.
    Poll(VmId),
    /// So many of its pages are to be paged out.
    PageOut(VmId, u32),
    /// So many of its pages are to be scanned.
    Scan(VmId, u32),
    /// What moved is to be told to the ledger.
    Record,
}

impl Due {
    /// The virtual machine it is about.
    pub(crate) fn vm(self) -> Option<VmId> {
        match self {
            Self::Balance | Self::Plan | Self::Record => None,
            Self::Samples(vm, _)
            | Self::Cool(vm)
            | Self::Write(vm)
            | Self::Poll(vm)
            | Self::PageOut(vm, _)
            | Self::Scan(vm, _) => Some(vm),
        }
    }
}

impl Host {
    /// Sets out to let `ns` nanoseconds pass.
    pub fn begin_advance(&mut self, ns: u64) {
        self.time.goal_ns = self.time.now_ns.saturating_add(ns);
    }

    /// It is that time, not before now and in the second that it is in, with nothing due.
    pub(crate) fn come_to(&mut self, ns: u64) {
        debug_assert!(self.time.now_ns <= ns && self.time.now_ns / TICK_NS == ns / TICK_NS);
        debug_assert!(self.time.due.is_empty());
        self.time.now_ns = ns;
    }

    /// Lets time pass up to the next `picks` pages or so that are scanned, sampled, ballooned or paged out; adds to
    /// `report` and returns whether the goal is reached.
    ///
    /// # Errors
    ///
    /// What the policy returned, or what was wrong with its answer: the targets before stay in force, no page moved for
    /// it, and time goes on from there when asked to.
    pub fn advance_some(&mut self, picks: u32, report: &mut ScanReport) -> Result<bool, Error> {
        let mut left = picks;
        while left > 0 {
            let done = match self.time.due.pop_front() {
                Some(due) => self.work(due, left, report)?,
                None if self.next_tick() => 1,
                None => return Ok(true),
            };
            left = left.saturating_sub(done.max(1));
        }
        Ok(false)
    }

    /// Lets `ns` nanoseconds pass.
    ///
    /// # Errors
    ///
    /// As [`Host::advance_some`].
    pub fn advance(&mut self, ns: u64) -> Result<ScanReport, Error> {
        let mut report = ScanReport::default();
        self.begin_advance(ns);
        while !self.advance_some(u32::MAX, &mut report)? {}
        Ok(report)
    }

    /// Does what is due, within `most` pages where it can be divided; returns how many pages that were.
    fn work(&mut self, due: Due, most: u32, report: &mut ScanReport) -> Result<u32, Error> {
        match due {
            Due::Samples(vm, pages) => {
                self.sampler.turn(&mut self.memory, vm);
                Ok(pages)
            }
            Due::Cool(vm) => Ok(self.remapper.cool(vm)),
            Due::Write(vm) => Ok(self.swapper.finish(&mut self.memory, vm, u32::MAX).written as u32),
            Due::Balance => self.look_at_memory().map(|()| 1),
            Due::Plan => {
                let work = self.plan();
                work.into_iter().rev().for_each(|due| self.time.due.push_front(due));
                Ok(1)
            }
            Due::Poll(vm) => Ok(self.poll(vm)),
            Due::PageOut(vm, pages) => {
                // What its balloon has delivered in this second need not be paged out as well.
                let pages = pages.min(self.left_to_page_out(vm));
                // Parts of one size, whoever asks: what is chosen must not depend on it.
                let now = pages.min(PAGE_OUT_PART);
                self.begin_page_out(vm, now);
                self.go_on_with(Due::PageOut(vm, pages - now), pages > now);
                Ok(now)
            }
            Due::Record => {
                self.record_moves();
                Ok(1)
            }
            Due::Scan(vm, pages) => {
                let now = pages.min(most);
                report.add(&self.scanner.scan_vm(&mut self.memory, vm, now));
                self.go_on_with(Due::Scan(vm, pages - now), pages > now);
                Ok(now)
            }
        }
    }

    /// Lets a balloon driver poll, if its virtual machine runs.
    fn poll(&mut self, vm: VmId) -> u32 {
        let report = self.balloon.poll(&mut self.memory, vm);
        report.inflated + report.deflated + report.refused
    }

    fn go_on_with(&mut self, due: Due, is_more: bool) {
        if is_more {
            self.time.due.push_front(due);
        }
    }

    /// Moves to the next whole second, if the goal is not before it, and notes what is due there.
    fn next_tick(&mut self) -> bool {
        let tick = self.time.now_ns / TICK_NS + 1;
        let Some(ns) = tick.checked_mul(TICK_NS).filter(|ns| *ns <= self.time.goal_ns) else {
            self.time.now_ns = self.time.goal_ns;
            return false;
        };
        self.time.now_ns = ns;
        self.finish_power_offs();
        self.vms.iter_mut().for_each(|vm| vm.stalled_s += u64::from(vm.blocked || vm.waits));
        let vms: Vec<VmId> = self.vms.iter().map(|vm| vm.id).collect();
        let turns = vms.iter().filter_map(|vm| self.sampler.tick(*vm).map(|pages| Due::Samples(*vm, pages)));
        self.time.due.extend(turns);
        if self.remapper.half_life_s().is_some_and(|period| tick.is_multiple_of(period.into())) {
            self.time.due.extend(vms.iter().map(|vm| Due::Cool(*vm)));
        }
        if self.balance.is_some() {
            self.time.due.extend(vms.iter().map(|vm| Due::Write(*vm)));
            self.time.due.extend([Due::Balance, Due::Plan]);
        }
        let sharing = &self.config.sharing;
        let quotas = scan_quotas(sharing.vm_rate, sharing.host_rate, vms.len(), tick);
        let scans = vms.into_iter().zip(quotas).filter(|(_, pages)| *pages > 0);
        self.time.due.extend(scans.map(|(vm, pages)| Due::Scan(vm, pages)));
        self.time.due.extend(self.balance.as_ref().map(|_| Due::Record));
        true
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
        let config =
            crate::config::HostConfig::bare(1, crate::types::ContentKind::Tokens, crate::rng::Seed([1; 32]));
        let mut host = Host::new(config).expect("small");
        host.time.now_ns = u64::MAX - 2_500_000_000;
        host.advance(u64::MAX).expect("nothing is divided");
        assert_eq!(host.now_ns(), u64::MAX);
        host.advance(1).expect("nothing is divided");
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
