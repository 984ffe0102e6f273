//! Who should have how much, and what follows (§6.3): the view, the question to the policy, the plan for a second.

use std::sync::Arc;

use super::Host;
use super::power::{Seen, Vm};
use super::time::{Due, TICK_NS};
use crate::admission::Capacity;
use crate::config::{BalanceConfig, SharedCharge};
use crate::error::Error;
use crate::ledger::{Cause, Ledger};
use crate::policy::{AllocationPolicy, HostView, MinFunding, Overcommit, Targets};
use crate::reclaim::{self, Action, Thresholds, Usage};
use crate::reference::GuestMemory;
use crate::sample::Clock;
use crate::types::{DriverHealth, FreeState, VmId};

/// How a host divides its memory.
#[derive(Clone, Debug)]
pub(crate) struct Balance {
    pub policy: Arc<dyn AllocationPolicy>,
    pub thresholds: Thresholds,
    pub state: FreeState,
    /// Why the policy is to be asked at the next tick, if there is a reason.
    pub cause: Option<Cause>,
    /// When it was asked last.
    pub asked_ns: u64,
    pub ledger: Ledger,
}

impl Host {
    /// How short of memory the host is; none if it does not divide it.
    #[must_use]
    pub fn free_state(&self) -> Option<FreeState> {
        self.balance.as_ref().map(|balance| balance.state)
    }

    /// The policy that is asked; none if memory is not divided.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<dyn AllocationPolicy>> {
        self.balance.as_ref().map(|balance| &balance.policy)
    }

    /// Lets another policy decide from the next tick on.
    ///
    /// # Errors
    ///
    /// [`Error::NothingDivided`].
    pub fn set_policy(&mut self, policy: Arc<dyn AllocationPolicy>) -> Result<(), Error> {
        let balance = self.balance.as_mut().ok_or(Error::NothingDivided)?;
        balance.policy = policy;
        // Of a host without virtual machines nothing is divided: the first of them is what the policy is asked for.
        balance.cause = (!self.vms.is_empty()).then_some(Cause::PolicySet);
        Ok(())
    }

    /// Puts another policy of the same state in the place of the policy, as a fork does that must not share it: nothing
    /// is asked for it.
    ///
    /// # Errors
    ///
    /// [`Error::NothingDivided`].
    pub fn exchange_policy(&mut self, policy: Arc<dyn AllocationPolicy>) -> Result<(), Error> {
        self.balance.as_mut().ok_or(Error::NothingDivided)?.policy = policy;
        Ok(())
    }

    /// What a policy would see now.
    ///
    /// # Errors
    ///
    /// [`Error::NothingDivided`], or what `pulse` returns.
    pub fn view(&self) -> Result<HostView, Error> {
        let balance = self.balance.as_ref().ok_or(Error::NothingDivided)?;
        let column =
            |number: fn(&Self, &Vm) -> u32| self.vms.iter().map(|vm| number(self, vm)).collect::<Vec<u32>>();
        let elapsed_s = (self.now_ns() - balance.asked_ns) / TICK_NS;
        let allocated_pages = column(Self::charged_pages);
        let free_pages = self.free_pages();
        let high = u64::from(balance.thresholds.of(FreeState::High));
        let in_use = self.in_use(&allocated_pages);
        Ok(HostView {
            names: self.vms.iter().map(|vm| vm.name.clone()).collect(),
            shares: self.vms.iter().map(|vm| u64::from(vm.allocation.shares)).collect(),
            min_pages: column(|_, vm| vm.allocation.min_pages),
            max_pages: column(|_, vm| vm.allocation.max_pages),
            allocated_pages,
            active_pages: column(Self::active_pages),
            balloon_pages: column(|host, vm| host.balloon.size(vm.id)),
            swapped_pages: column(|host, vm| host.memory.vm(vm.id).swapped()),
            shared_pages: column(|host, vm| host.memory.vm(vm.id).on_shared_frames()),
            guest_free_pages: self.guest_says(|memory| memory.free),
            guest_available_pages: self.guest_says(|memory| memory.available),
            swap_in_pages: self
                .vms
                .iter()
                .map(|vm| self.memory.vm(vm.id).counts.page_ins - vm.seen.page_ins)
                .collect(),
            stall_fraction: self.vms.iter().map(|vm| stall_fraction(vm, elapsed_s)).collect(),
            driver_ok: self
                .vms
                .iter()
                .map(|vm| self.balloon.health(vm.id) == DriverHealth::Working)
                .collect(),
            machine_pages: self.memory.machine().pages(),
            available_pages: (in_use + u64::from(free_pages)).saturating_sub(high),
            free_pages,
            free_state: balance.state,
            now_s: self.now_ns() as f64 / TICK_NS as f64,
        })
    }

    /// Calls for the policy to be asked at the next tick; the first cause is kept.
    pub(crate) fn call_for(&mut self, cause: Cause) {
        if let Some(balance) = &mut self.balance {
            balance.cause.get_or_insert(cause);
        }
    }

    /// Looks at how much is free after an allocation: the state may only get worse here.
    pub(crate) fn note_free(&mut self) {
        let free = self.free_pages();
        if let Some(balance) = &mut self.balance {
            let next = reclaim::fallen_state(balance.state, free, &balance.thresholds);
            balance.enter(next, self.time.now_ns, free);
        }
    }

    /// Looks at the free state at a tick, and asks the policy if there is cause.
    ///
    /// # Errors
    ///
    /// What the policy returned or was refused for.
    pub(crate) fn look_at_memory(&mut self) -> Result<(), Error> {
        let (now_ns, free) = (self.time.now_ns, self.free_pages());
        let (Some(balance), Some(rules)) = (&mut self.balance, &self.config.balance) else { return Ok(()) };
        let next = reclaim::next_state(balance.state, free, &balance.thresholds);
        balance.enter(next, now_ns, free);
        let periodic =
            (now_ns / TICK_NS).is_multiple_of(rules.balance_period_s.into()).then_some(Cause::Period);
        match balance.cause.take().or(periodic).or_else(|| self.still_short()) {
            Some(cause) if !self.vms.is_empty() => self.rebalance(cause),
            _ => Ok(()),
        }
    }

    /// A cause if the targets in force free too little: shared pages that were written since have taken what was free, or what
    /// was paged out is shared and came free only in part. Nobody has to wait for the end of a period then.
    fn still_short(&self) -> Option<Cause> {
        let balance = self.balance.as_ref()?;
        // Targets that may add up to more than there is promise nothing: asking for others each second would not help.
        if balance.policy.overcommit() == Overcommit::Allowed && balance.state != FreeState::Low {
            return None;
        }
        let needs = self.vms.iter().map(|vm| self.usage(vm).need());
        reclaim::falls_short(balance.state, self.free_pages(), needs, &balance.thresholds)
            .then_some(Cause::StillShort)
    }

    /// Asks the policy, and takes its targets over if they pass.
    fn rebalance(&mut self, cause: Cause) -> Result<(), Error> {
        let view = self.view()?;
        let Some(balance) = &mut self.balance else { return Ok(()) };
        let policy = Arc::clone(&balance.policy);
        let asked = Targets::ask(&*policy, &view);
        balance.asked_ns = self.time.now_ns;
        self.vms.iter_mut().for_each(|vm| {
            vm.seen = Seen { page_ins: self.memory.vm(vm.id).counts.page_ins, stalled_s: vm.stalled_s };
        });
        self.record_answer(cause, &view, &*policy, &asked);
        for (vm, target) in self.vms.iter_mut().zip(asked?.pages()) {
            vm.target_pages = *target;
        }
        Ok(())
    }

    /// What each virtual machine should give and may get in this second, as work to be done.
    pub(crate) fn plan(&mut self) -> Vec<Due> {
        let (Some(balance), Some(rules)) = (&self.balance, &self.config.balance) else { return vec![] };
        let usage: Vec<Usage> = self.vms.iter().map(|vm| self.usage(vm)).collect();
        let actions = reclaim::plan(balance.state, &usage, self.free_pages(), &balance.thresholds);
        let wanted: Vec<u32> = actions.iter().map(|action| action.page_out).collect();
        let paged = reclaim::deal(rules.swap_out_rate, &wanted);
        let mut work = vec![];
        for place in 0..self.vms.len() {
            self.direct(place, &actions[place]);
            let vm = &self.vms[place];
            if !vm.blocked {
                work.push(Due::Poll(vm.id));
            }
            if paged[place] > 0 {
                work.push(Due::PageOut(vm.id, paged[place]));
            }
        }
        self.record_plan(&actions, &paged);
        work
    }

    /// Tells a virtual machine and its balloon what the plan says.
    fn direct(&mut self, place: usize, action: &Action) {
        let vm = &mut self.vms[place];
        vm.blocked = action.blocked;
        self.balloon.set_target(vm.id, action.balloon_target);
        let clock = if vm.blocked || vm.waits { Clock::Stands } else { Clock::Runs };
        self.sampler.set_clock(vm.id, clock);
    }

    fn usage(&self, vm: &Vm) -> Usage {
        Usage {
            target: vm.target_pages,
            allocated: self.charged_pages(vm),
            pages: vm.pages,
            max: vm.allocation.max_pages,
            balloon: self.balloon.size(vm.id),
            balloon_cap: self.balloon.cap(vm.id),
            driver: self.balloon.health(vm.id),
            swapped: self.memory.vm(vm.id).swapped(),
            leaving: self.memory.vm(vm.id).leaving(),
        }
    }

    /// What a virtual machine is charged for: its resident pages, shared ones in full or in part.
    fn charged_pages(&self, vm: &Vm) -> u32 {
        let memory = self.memory.vm(vm.id);
        match self.config.balance.as_ref().map(|rules| rules.shared_charge) {
            Some(SharedCharge::Fraction) => self.consumed(vm.id).round() as u32,
            Some(SharedCharge::Full) | None => memory.resident(),
        }
    }

    /// What virtual machines are charged for together. Where shared pages count in part that is the machine pages they
    /// have, whatever was lost in rounding each.
    fn in_use(&self, charged: &[u32]) -> u64 {
        match self.config.balance.as_ref().map(|rules| rules.shared_charge) {
            Some(SharedCharge::Fraction) => {
                let overhead: u32 = self.vms.iter().map(|vm| self.memory.vm(vm.id).overhead_pages()).sum();
                u64::from(self.memory.machine().pages() - self.free_pages() - overhead)
            }
            Some(SharedCharge::Full) | None => charged.iter().map(|pages| u64::from(*pages)).sum(),
        }
    }

    /// Pages that are still to be paged out of a virtual machine, after what its balloon has just delivered.
    pub(crate) fn left_to_page_out(&self, id: VmId) -> u32 {
        self.usage(self.vm(id)).left_to_page_out()
    }

    /// Pages in use by the estimate of sampling; without sampling, all that are resident.
    fn active_pages(&self, vm: &Vm) -> u32 {
        let resident = || self.memory.vm(vm.id).resident();
        self.sampler.report(vm.id).map_or_else(resident, |report| report.active_pages(vm.pages))
    }

    /// What guests say of their own memory; of one that says nothing, its empty pages.
    fn guest_says(&self, number: fn(&GuestMemory) -> u32) -> Vec<Option<u32>> {
        let of = |vm: &Vm| {
            self.guest_memory(vm.id).0.map_or_else(|| self.empty_pages(vm), |memory| number(&memory))
        };
        self.vms.iter().map(|vm| Some(of(vm))).collect()
    }

    /// Pages that the guest has never touched, or that its balloon gave back.
    fn empty_pages(&self, vm: &Vm) -> u32 {
        let memory = self.memory.vm(vm.id);
        vm.pages - memory.resident() - memory.swapped() - memory.ballooned()
    }

    /// What a host of this size can promise.
    pub(crate) fn capacity(&self) -> Capacity {
        let kept = self.balance.as_ref().map(|balance| balance.thresholds.of(FreeState::High));
        Capacity {
            machine_pages: self.memory.machine().pages(),
            kept_free_pages: kept.unwrap_or(0),
            swap_slots: self.memory.swapfile().slots(),
        }
    }
}

impl Balance {
    /// Balance of a new host.
    pub(crate) fn new(config: &BalanceConfig, machine_pages: u32) -> Result<Self, Error> {
        Ok(Self {
            policy: Arc::new(MinFunding::default()),
            thresholds: Thresholds::new(&config.thresholds, machine_pages)?,
            state: FreeState::High,
            cause: None,
            asked_ns: 0,
            ledger: Ledger::new(&config.ledger),
        })
    }

    /// Moves to a state, if it is another; then the policy is to be asked.
    fn enter(&mut self, state: FreeState, now_ns: u64, free_pages: u32) {
        if state != self.state {
            self.ledger.state(now_ns, state, free_pages);
            self.state = state;
            self.cause.get_or_insert(Cause::StateChanged);
        }
    }
}

/// Part of the time since the policy was asked that a virtual machine stood still.
fn stall_fraction(vm: &Vm, elapsed_s: u64) -> f64 {
    let stalled = vm.stalled_s - vm.seen.stalled_s;
    if elapsed_s == 0 { 0.0 } else { stalled as f64 / elapsed_s as f64 }
}
