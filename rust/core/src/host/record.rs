//! What the host tells its ledger: who comes and goes, what the policy answered and why, and once a tick what moved.

use super::{Host, Vm};
use crate::error::Error;
use crate::ledger::{
    Bound, Cause, Entitlement, Explanation, Ledger, Mechanism, Moves, Newcomer, Occasion, Row,
};
use crate::policy::{AllocationPolicy, HostView, Targets};
use crate::reclaim::Action;
use crate::types::VmId;

impl Host {
    /// What was decided, and why; none where memory is not divided.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.balance.as_ref().map(|balance| &balance.ledger)
    }

    /// Why a virtual machine has the target that it had at a time.
    ///
    /// # Errors
    ///
    /// [`Error::NothingDivided`], [`Error::NotYet`], or as [`Ledger::at`].
    pub fn explain(&self, vm: VmId, time_ns: u64) -> Result<Explanation, Error> {
        let vm = self.vm(vm);
        let why = self.ledger().ok_or(Error::NothingDivided)?.why(vm.serial, time_ns);
        why.map_err(|error| match error {
            Error::NotThen { asked_ns, .. } => Error::NotYet { vm: vm.name.clone(), asked_ns },
            error => error,
        })
    }

    /// The same of the virtual machine that had that name then, even if it is gone by now.
    ///
    /// # Errors
    ///
    /// As [`Host::explain`]; [`Error::NobodyThen`] if nobody had that name, then or now.
    pub fn explain_named(&self, name: &str, time_ns: u64) -> Result<Explanation, Error> {
        let why = self.ledger().ok_or(Error::NothingDivided)?.why_named(name, time_ns);
        why.map_err(|error| match error {
            Error::NobodyThen { vm, asked_ns } if self.find(&vm).is_ok() => Error::NotYet { vm, asked_ns },
            error => error,
        })
    }

    pub(super) fn record_power_on(&mut self, id: VmId) {
        let vm = self.vm(id);
        let newcomer = Newcomer {
            serial: vm.serial,
            vm: id,
            name: vm.name.as_str().into(),
            entitlement: entitlement(vm),
        };
        self.note(|ledger, now_ns| ledger.came(now_ns, newcomer));
    }

    /// Tells what moved up to now, and that the virtual machine is gone.
    pub(super) fn record_power_off(&mut self, id: VmId) {
        self.record_moves();
        let serial = self.vm(id).serial;
        self.note(|ledger, now_ns| ledger.went(now_ns, serial));
    }

    pub(super) fn record_changes(&mut self, id: VmId) {
        let (serial, entitlement) = (self.vm(id).serial, entitlement(self.vm(id)));
        self.note(|ledger, now_ns| ledger.configured(now_ns, serial, entitlement));
    }

    /// Tells what a policy answered; asks it for its reasons only if somebody remembers them.
    pub(super) fn record_answer(
        &mut self,
        cause: Cause,
        view: &HostView,
        policy: &dyn AllocationPolicy,
        answer: &Result<Targets, Error>,
    ) {
        if self.ledger().is_none_or(Ledger::is_off) {
            return;
        }
        match answer {
            Ok(targets) => self.record_targets(cause, view, policy, targets.pages()),
            Err(error) => {
                let reason = error.to_string();
                self.note(|ledger, now_ns| ledger.policy_failed(now_ns, policy.name(), &reason));
            }
        }
    }

    fn record_targets(
        &mut self,
        cause: Cause,
        view: &HostView,
        policy: &dyn AllocationPolicy,
        targets: &[u32],
    ) {
        let reasons = policy.reasons(view, targets);
        let row = |place: usize| Row {
            serial: self.vms[place].serial,
            target_pages: targets[place],
            allocated_pages: view.allocated_pages[place],
            active_pages: self.sampler.report(self.vms[place].id).map(|_| view.active_pages[place]),
            price: reasons.as_ref().map(|reasons| reasons.prices[place]),
            taxed_pages: reasons.as_ref().map_or(0, |reasons| reasons.taxed_pages[place]),
            bound: bound(targets[place], &self.vms[place]),
        };
        let rows: Vec<Row> = (0..self.vms.len()).map(row).collect();
        let cheapest = reasons.as_ref().and_then(|reasons| reasons.cheapest);
        let occasion = Occasion {
            cause,
            policy: policy.name(),
            state: view.free_state,
            available_pages: view.available_pages,
            free_pages: view.free_pages,
            cheapest: cheapest.map(|place| self.vms[place].serial),
        };
        self.note(|ledger, now_ns| ledger.targets(now_ns, &occasion, &rows));
    }

    /// Tells what is asked of each virtual machine in this second.
    pub(super) fn record_plan(&mut self, actions: &[Action], paged: &[u32]) {
        let (vms, now_ns) = (&self.vms, self.time.now_ns);
        let Some(balance) = &mut self.balance else { return };
        for ((vm, action), page_out_pages) in vms.iter().zip(actions).zip(paged) {
            let action = crate::ledger::Action {
                balloon_pages: action.balloon_target,
                page_out_pages: *page_out_pages,
                blocked: action.blocked,
            };
            balance.ledger.action(now_ns, vm.serial, action);
        }
    }

    /// Tells what has moved since it was told last.
    pub(super) fn record_moves(&mut self) {
        if self.ledger().is_none_or(Ledger::is_off) {
            return;
        }
        let moves: Vec<(u64, Moves)> = self.vms.iter().map(|vm| (vm.serial, self.moves(vm.id))).collect();
        self.note(|ledger, now_ns| {
            moves.iter().for_each(|(serial, moves)| ledger.counted(now_ns, *serial, moves))
        });
    }

    /// What has moved since power-on, by mechanism.
    fn moves(&self, vm: VmId) -> Moves {
        let (counts, balloon) = (&self.memory.vm(vm).counts, self.balloon.counts(vm));
        let mut moves = Moves::default();
        let all = [
            (Mechanism::Load, counts.loads),
            (Mechanism::ZeroFill, counts.zero_fills),
            (Mechanism::CowBreak, counts.cow_breaks),
            (Mechanism::Merge, counts.merges - counts.shared_before_swap),
            (Mechanism::BalloonInflate, balloon.inflated),
            (Mechanism::BalloonFreed, balloon.freed),
            (Mechanism::BalloonDeflate, balloon.deflated),
            (Mechanism::Pop, balloon.popped),
            (Mechanism::PageOut, counts.page_outs - counts.emergency_page_outs),
            (Mechanism::EmergencyPageOut, counts.emergency_page_outs),
            (Mechanism::SharedBeforeSwap, counts.shared_before_swap),
            (Mechanism::PageIn, counts.page_ins),
        ];
        all.into_iter().for_each(|(mechanism, pages)| moves[mechanism] = pages);
        moves
    }

    fn note(&mut self, tell: impl FnOnce(&mut Ledger, u64)) {
        if let Some(balance) = &mut self.balance {
            tell(&mut balance.ledger, self.time.now_ns);
        }
    }
}

fn entitlement(vm: &Vm) -> Entitlement {
    let allocation = &vm.allocation;
    Entitlement {
        max_pages: allocation.max_pages,
        min_pages: allocation.min_pages,
        shares: allocation.shares.into(),
    }
}

/// Which bound holds a target, if one does.
fn bound(target: u32, vm: &Vm) -> Bound {
    match target {
        _ if target <= vm.allocation.min_pages => Bound::Min,
        _ if target >= vm.allocation.max_pages => Bound::Max,
        _ => Bound::None,
    }
}
