//! What was in force at a moment, and how records change it.

use std::collections::vec_deque;
use std::sync::Arc;

use super::record::{Action, Bound, Decision, Entitlement, Event, Failure, Moves, Newcomer, Record, Row};
use crate::types::{FreeState, VmId};

/// A target that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The decision that set it to this number of pages.
    pub set_by: Decision,
    /// The target before; none if there was none.
    pub before_pages: Option<u32>,
    /// What explains it, now as then.
    pub row: Row,
    /// When that last became different. What the policy says has been the same since; what the machine has may
    /// differ.
    pub row_ns: u64,
    /// Pages moved when it was set.
    pub moves_before: Moves,
    /// What became of it when the virtual machine was reconfigured; none if that was not since the latest decision.
    pub reconfigured: Option<Reconfigured>,
}

/// Another entitlement under a target that was decided without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconfigured {
    /// When that was last.
    pub time_ns: u64,
    /// The target that was decided; another one is in force if the new bounds clamp it.
    pub decided_pages: u32,
}

impl Target {
    /// Holds it within other bounds until there is another decision.
    fn clamp(&mut self, time_ns: u64, entitlement: &Entitlement) {
        let decided_pages = self.decided_pages();
        let row = &mut self.row;
        let pages = row.target_pages.max(entitlement.min_pages).min(entitlement.max_pages);
        row.bound = match pages {
            _ if pages <= entitlement.min_pages => Bound::Min,
            _ if pages >= entitlement.max_pages => Bound::Max,
            _ => Bound::None,
        };
        row.target_pages = pages;
        self.reconfigured = Some(Reconfigured { time_ns, decided_pages });
    }

    /// The pages that were decided, whatever they were clamped to since.
    fn decided_pages(&self) -> u32 {
        self.reconfigured.map_or(self.row.target_pages, |since| since.decided_pages)
    }
}

/// One virtual machine at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct VmSituation {
    /// Its number among all that were ever powered on here.
    pub serial: u64,
    /// Its slot.
    pub vm: VmId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is entitled to.
    pub entitlement: Entitlement,
    /// Its target; none before the first decision.
    pub target: Option<Target>,
    /// What is done to it.
    pub action: Action,
    /// Pages moved since its power-on.
    pub moves: Moves,
}

impl VmSituation {
    fn new(newcomer: &Newcomer) -> Self {
        Self {
            serial: newcomer.serial,
            vm: newcomer.vm,
            name: newcomer.name.clone(),
            entitlement: newcomer.entitlement,
            target: None,
            action: Action::default(),
            moves: Moves::default(),
        }
    }

    /// Its target in pages; none before the first decision.
    #[must_use]
    pub fn target_pages(&self) -> Option<u32> {
        self.target.as_ref().map(|target| target.row.target_pages)
    }

    fn entitle(&mut self, time_ns: u64, entitlement: Entitlement) {
        self.entitlement = entitlement;
        if let Some(target) = &mut self.target {
            target.clamp(time_ns, &entitlement);
        }
    }

    fn decide(&mut self, decision: &Decision, row: Row) {
        match &mut self.target {
            Some(target) if target.decided_pages() == row.target_pages => {
                (target.row, target.row_ns, target.reconfigured) = (row, decision.time_ns, None);
            }
            target => {
                let before_pages = target.as_ref().map(Target::decided_pages);
                let (set_by, row_ns) = (decision.clone(), decision.time_ns);
                let (moves_before, reconfigured) = (self.moves, None);
                *target = Some(Target { set_by, before_pages, row, row_ns, moves_before, reconfigured });
            }
        }
    }
}

/// A host at a moment, as far as decisions go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Situation {
    /// When the last record was made that it takes in.
    pub changed_ns: u64,
    /// How short of memory the host is.
    pub state: FreeState,
    /// Since when; 0 if it has never been another.
    pub state_since_ns: u64,
    /// The latest decision.
    pub decision: Option<Decision>,
    /// Why a policy has failed since.
    pub failure: Option<Failure>,
    /// The virtual machines that are powered on, by serial.
    pub vms: Vec<VmSituation>,
    /// Pages moved of those that are gone.
    pub departed: Moves,
}

impl Situation {
    /// The virtual machine of that serial, if it is powered on. Cost: logarithmic at most.
    #[must_use]
    pub fn vm(&self, serial: u64) -> Option<&VmSituation> {
        self.index(serial).map(|index| &self.vms[index])
    }

    /// The virtual machine of that name, if one is powered on. Cost: one visit of each.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&VmSituation> {
        self.vms.iter().find(|vm| &*vm.name == name)
    }

    /// Where it is. Serials grow, so a virtual machine is no further from the first than its serial is, and exactly
    /// there as long as none between them has gone.
    fn index(&self, serial: u64) -> Option<usize> {
        let distance = serial.checked_sub(self.vms.first()?.serial)?;
        let furthest = usize::try_from(distance).unwrap_or(usize::MAX).min(self.vms.len() - 1);
        if self.vms[furthest].serial == serial {
            return Some(furthest);
        }
        self.vms[..furthest].binary_search_by_key(&serial, |vm| vm.serial).ok()
    }

    fn expect(&mut self, serial: u64) -> &mut VmSituation {
        let index = self.index(serial).expect("the ledger is told of VMs that are powered on");
        &mut self.vms[index]
    }

    /// Takes in what happened next.
    pub(super) fn apply(&mut self, record: &Record) {
        self.changed_ns = record.time_ns;
        match &record.event {
            Event::Came(newcomer) => self.come(newcomer),
            Event::Went { serial } => self.go(*serial),
            Event::Configured { serial, entitlement } => {
                self.expect(*serial).entitle(record.time_ns, *entitlement);
            }
            Event::State { to, .. } => (self.state, self.state_since_ns) = (*to, record.time_ns),
            Event::Decided(decision) => (self.decision, self.failure) = (Some(decision.clone()), None),
            Event::Target { row, .. } => self.decide(*row),
            Event::Planned { serial, action } => self.expect(*serial).action = *action,
            Event::Moved { serial, mechanism, pages } => self.expect(*serial).moves[*mechanism] += pages,
            Event::PolicyFailed(failure) => self.failure = Some(failure.clone()),
        }
    }

    fn come(&mut self, newcomer: &Newcomer) {
        let place = self.vms.binary_search_by_key(&newcomer.serial, |vm| vm.serial);
        self.vms.insert(place.expect_err("a serial is given once"), VmSituation::new(newcomer));
    }

    fn go(&mut self, serial: u64) {
        let index = self.index(serial).expect("the ledger is told of VMs that are powered on");
        self.departed.add(&self.vms.remove(index).moves);
    }

    fn decide(&mut self, row: Row) {
        let index = self.index(row.serial).expect("the ledger is told of VMs that are powered on");
        let decision = self.decision.as_ref().expect("rows follow the decision they belong to");
        self.vms[index].decide(decision, row);
    }

    /// Bytes of it, texts included.
    pub(super) fn bytes(&self) -> usize {
        let texts = |vm: &VmSituation| {
            vm.name.len() + vm.target.as_ref().map_or(0, |target| target.set_by.policy.len())
        };
        let failure = self.failure.as_ref().map_or(0, |failure| failure.policy.len() + failure.reason.len());
        let policy = self.decision.as_ref().map_or(0, |decision| decision.policy.len());
        let vms = self.vms.capacity() * size_of::<VmSituation>();
        vms + self.vms.iter().map(texts).sum::<usize>() + policy + failure
    }
}

/// Goes through kept records in their order, from the checkpoint on.
///
/// As an iterator it gives the situation at the checkpoint and after each moment at which something was recorded.
/// Between two of these moments nothing changed. Each item is a copy; [`Replay::until`] lends instead.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    situation: Situation,
    /// Whether the situation at the checkpoint, with all of its moment, has been given.
    begun: bool,
    rest: std::iter::Peekable<vec_deque::Iter<'a, Record>>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(checkpoint: &Situation, records: vec_deque::Iter<'a, Record>) -> Self {
        Self { situation: checkpoint.clone(), begun: false, rest: records.peekable() }
    }

    /// The situation at a time, which must not be before that of the call before.
    pub fn until(&mut self, time_ns: u64) -> &Situation {
        self.begun = true;
        while let Some(record) = self.rest.next_if(|record| record.time_ns <= time_ns) {
            self.situation.apply(record);
        }
        &self.situation
    }

    pub(super) fn into_situation(self) -> Situation {
        self.situation
    }
}

impl Iterator for Replay<'_> {
    type Item = (u64, Situation);

    fn next(&mut self) -> Option<Self::Item> {
        let time_ns = if self.begun { self.rest.peek()?.time_ns } else { self.situation.changed_ns };
        Some((time_ns, self.until(time_ns).clone()))
    }
}
