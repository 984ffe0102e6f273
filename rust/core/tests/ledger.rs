//! The ledger against a recorder that keeps everything: what is replayed is what was live, whatever was forgotten.

use std::collections::{BTreeMap, HashMap};

use esxcore_core::config::LedgerConfig;
use esxcore_core::error::Error;
use esxcore_core::ledger::{
    Action, Bound, Cause, Entitlement, Event, Ledger, Mechanism, Moves, Newcomer, Occasion, Record, Row,
    Situation, VmSituation,
};
use esxcore_core::types::{FreeState, VmId};
use proptest::collection::vec;
use proptest::prelude::*;

const STATES: [FreeState; 4] = [FreeState::High, FreeState::Soft, FreeState::Hard, FreeState::Low];
const POLICIES: [&str; 2] = ["esx2002", "equal"];

/// What a host may do; machines are named by numbers that are taken modulo those powered on.
#[derive(Clone, Debug)]
enum Op {
    Tick(u64),
    Come,
    Go(usize),
    Configure(usize, u32),
    State(usize, u32),
    /// Targets by machine: (target, active, whether the min holds it), policy, who is cheapest.
    Decide(Vec<(u32, u32, bool)>, usize, usize),
    Plan(usize, u32, bool),
    Move(usize, usize, u64),
    Count(usize, Vec<u64>),
    Fail(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_u64).prop_map(Op::Tick),
        2 => Just(Op::Come),
        1 => (0..9_usize).prop_map(Op::Go),
        1 => (0..9_usize, 0..9_u32).prop_map(|(vm, min)| Op::Configure(vm, min)),
        2 => (0..4_usize, 0..9_u32).prop_map(|(state, free)| Op::State(state, free)),
        2 => (vec((0..4_u32, 0..2_u32, any::<bool>()), 9), 0..2_usize, 0..12_usize)
            .prop_map(|(rows, policy, cheapest)| Op::Decide(rows, policy, cheapest)),
        2 => (0..9_usize, 0..3_u32, any::<bool>()).prop_map(|(vm, balloon, blocked)| Op::Plan(vm, balloon, blocked)),
        3 => (0..9_usize, 0..12_usize, 0..5_u64).prop_map(|(vm, by, pages)| Op::Move(vm, by, pages)),
        2 => (0..9_usize, vec(0..3_u64, 12)).prop_map(|(vm, more)| Op::Count(vm, more)),
        1 => (0..2_usize).prop_map(Op::Fail),
    ]
}

/// One machine as the recorder has it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Machine {
    name: String,
    min_pages: u32,
    target: Option<u32>,
    /// What was decided before it was clamped, and when that was.
    reconfigured: Option<(u32, u64)>,
    before: Option<u32>,
    set: Option<(u64, String, u64)>,
    row: Option<(u32, bool)>,
    action: (u32, bool),
    pages: [u64; 12],
    pages_at_set: [u64; 12],
}

impl Machine {
    /// The target that was decided, whatever it was clamped to since.
    fn decided(&self) -> Option<u32> {
        self.reconfigured.map(|(decided, _)| decided).or(self.target)
    }
}

/// Everything that is in force, in the recorder's own words.
#[derive(Clone, Debug, Default, PartialEq)]
struct World {
    state: usize,
    state_since: u64,
    machines: BTreeMap<u64, Machine>,
    decision: Option<(u64, String, u64, Option<u64>)>,
    failed: Option<(u64, String)>,
    departed: [u64; 12],
}

/// Does everything twice: in the ledger, and in a world that is copied after each moment.
struct Both {
    ledger: Ledger,
    world: World,
    now: u64,
    next: u64,
    /// The world after each moment at which anything was done.
    history: BTreeMap<u64, World>,
    /// The situation the ledger had then.
    live: HashMap<u64, Situation>,
}

impl Both {
    fn new(records: u32) -> Self {
        let world = World::default();
        Self {
            ledger: Ledger::new(&LedgerConfig { records }),
            history: BTreeMap::from([(0, world.clone())]),
            live: HashMap::new(),
            world,
            now: 0,
            next: 0,
        }
    }

    fn pick(&self, number: usize) -> Option<u64> {
        let serials: Vec<_> = self.world.machines.keys().copied().collect();
        (!serials.is_empty()).then(|| serials[number % serials.len()])
    }

    fn machine(&mut self, serial: u64) -> &mut Machine {
        self.world.machines.get_mut(&serial).expect("picked")
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Tick(seconds) => self.now += seconds,
            Op::Come => self.come(),
            Op::State(state, free) => self.state(*state, *free),
            Op::Decide(rows, policy, cheapest) => self.decide(rows, POLICIES[*policy], *cheapest),
            Op::Fail(policy) => {
                self.ledger.policy_failed(self.now, POLICIES[*policy], "it would not");
                self.world.failed = Some((self.now, POLICIES[*policy].into()));
            }
            Op::Go(vm) | Op::Configure(vm, _) | Op::Plan(vm, ..) | Op::Move(vm, ..) | Op::Count(vm, _) => {
                if let Some(serial) = self.pick(*vm) {
                    self.run_on(op, serial);
                }
            }
        }
        self.history.insert(self.now, self.world.clone());
        self.live.insert(self.now, self.ledger.now().clone());
    }

    fn run_on(&mut self, op: &Op, serial: u64) {
        match op {
            Op::Go(_) => {
                self.ledger.went(self.now, serial);
                let gone = self.world.machines.remove(&serial).expect("picked");
                self.world.departed.iter_mut().zip(gone.pages).for_each(|(sum, pages)| *sum += pages);
            }
            Op::Configure(_, min_pages) => {
                let entitlement = Entitlement { max_pages: 9, min_pages: *min_pages, shares: 1 };
                self.ledger.configured(self.now, serial, entitlement);
                let now = self.now;
                let machine = self.machine(serial);
                machine.min_pages = *min_pages;
                if let Some(target) = machine.target {
                    // What is in force keeps within the new bounds.
                    let held = target.max(*min_pages).min(9);
                    machine.reconfigured = Some((machine.decided().expect("set"), now));
                    machine.target = Some(held);
                    machine.row = machine.row.map(|(active, _)| (active, held <= *min_pages));
                }
            }
            Op::Plan(_, balloon, blocked) => {
                let action = Action { balloon_pages: *balloon, page_out_pages: 0, blocked: *blocked };
                self.ledger.action(self.now, serial, action);
                self.machine(serial).action = (*balloon, *blocked);
            }
            Op::Move(_, by, pages) => {
                self.ledger.moved(self.now, serial, Mechanism::ALL[*by], *pages);
                self.machine(serial).pages[*by] += pages;
            }
            Op::Count(_, more) => {
                self.machine(serial).pages.iter_mut().zip(more).for_each(|(sum, pages)| *sum += pages);
                let mut totals = Moves::default();
                for (by, pages) in self.machine(serial).pages.into_iter().enumerate() {
                    totals[Mechanism::ALL[by]] = pages;
                }
                self.ledger.counted(self.now, serial, &totals);
            }
            _ => unreachable!("{op:?} is not about one machine"),
        }
    }

    fn come(&mut self) {
        let (serial, name) = (self.next, format!("vm{}", self.next));
        self.next += 1 + self.next % 3;
        let entitlement = Entitlement { max_pages: 9, min_pages: 5, shares: 1 };
        self.ledger.came(self.now, Newcomer { serial, vm: VmId(7), name: name.as_str().into(), entitlement });
        self.world.machines.insert(serial, Machine { name, min_pages: 5, ..Machine::default() });
    }

    fn state(&mut self, state: usize, free: u32) {
        self.ledger.state(self.now, STATES[state], free);
        if self.world.state != state {
            (self.world.state, self.world.state_since) = (state, self.now);
        }
    }

    fn decide(&mut self, choices: &[(u32, u32, bool)], policy: &str, cheapest: usize) {
        let bound = |held| if held { Bound::Min } else { Bound::None };
        let rows = self.world.machines.keys().zip(choices).map(|(serial, (target, active, held))| Row {
            serial: *serial,
            target_pages: *target,
            allocated_pages: 8,
            active_pages: Some(*active),
            price: Some(f64::from(*active)),
            taxed_pages: i64::from(*target) - 2,
            bound: bound(*held),
        });
        let rows: Vec<_> = rows.collect();
        let cheapest = rows.get(cheapest).map(|row| row.serial);
        let occasion = Occasion {
            cause: Cause::Period,
            policy,
            state: STATES[self.world.state],
            available_pages: 20 + self.now,
            free_pages: 3,
            cheapest,
        };
        self.ledger.targets(self.now, &occasion, &rows);
        let now = self.now;
        self.world.decision = Some((now, policy.into(), 20 + now, cheapest));
        self.world.failed = None;
        for (machine, (target, active, held)) in self.world.machines.values_mut().zip(choices) {
            if machine.decided() != Some(*target) {
                machine.before = machine.decided();
                machine.set = Some((now, policy.into(), 20 + now));
                machine.pages_at_set = machine.pages;
            }
            (machine.target, machine.row) = (Some(*target), Some((*active, *held)));
            machine.reconfigured = None;
        }
    }

    /// That the ledger says of each moment it knows what was true then, and refuses all others.
    fn check(&self) {
        let oldest = self.ledger.oldest_ns();
        for (time_ns, world) in &self.history {
            match self.ledger.at(*time_ns) {
                Ok(situation) => {
                    assert!(*time_ns >= oldest);
                    assert_eq!(&seen(&situation), world, "at {time_ns}");
                    self.check_reasons(*time_ns, world);
                }
                Err(error) => {
                    assert!(*time_ns < oldest);
                    assert_eq!(error, Error::Forgotten { asked_ns: *time_ns, oldest_ns: oldest });
                }
            }
        }
        self.check_replay(oldest);
    }

    fn check_reasons(&self, time_ns: u64, world: &World) {
        for (serial, machine) in &world.machines {
            let why = self.ledger.why(*serial, time_ns).expect("kept and on");
            let moved: [u64; 12] = std::array::from_fn(|by| machine.pages[by] - machine.pages_at_set[by]);
            assert_eq!(pages(&why.moved), moved);
            assert_eq!(
                why.target.as_ref().map(|target| target.set_by.time_ns),
                machine.set.as_ref().map(|set| set.0)
            );
            assert!(why.to_string().starts_with(&format!("{} at ", machine.name)));
        }
        assert!(self.ledger.why(self.next, time_ns).is_err());
    }

    /// That a replay is what was live, moment by moment, with nothing changed in between and nothing left out.
    fn check_replay(&self, oldest: u64) {
        let replayed: BTreeMap<_, _> = self.ledger.replay().collect();
        assert_eq!(replayed.len(), self.ledger.replay().count(), "each moment once");
        for (time_ns, situation) in &replayed {
            if *time_ns > 0 || self.live.contains_key(time_ns) {
                assert_eq!(Some(situation), self.live.get(time_ns), "at {time_ns}");
            }
        }
        let mut lent = self.ledger.replay();
        for (time_ns, world) in self.history.range(oldest..) {
            let (_, latest) = replayed.range(..=time_ns).next_back().expect("the checkpoint at least");
            assert_eq!(&seen(latest), world, "at {time_ns}");
            assert_eq!(lent.until(*time_ns), latest);
        }
    }
}

fn pages(moves: &Moves) -> [u64; 12] {
    Mechanism::ALL.map(|mechanism| moves[mechanism])
}

/// A situation in the recorder's words.
fn seen(situation: &Situation) -> World {
    World {
        state: STATES.iter().position(|state| *state == situation.state).expect("one of four"),
        state_since: situation.state_since_ns,
        machines: situation.vms.iter().map(|vm| (vm.serial, seen_machine(vm))).collect(),
        decision: situation.decision.as_ref().map(|decision| {
            let cheapest = decision.cheapest.map(|cheapest| cheapest.serial);
            (decision.time_ns, decision.policy.to_string(), decision.available_pages, cheapest)
        }),
        failed: situation.failure.as_ref().map(|failure| (failure.time_ns, failure.policy.to_string())),
        departed: pages(&situation.departed),
    }
}

fn seen_machine(vm: &VmSituation) -> Machine {
    let target = vm.target.as_ref();
    Machine {
        name: vm.name.to_string(),
        min_pages: vm.entitlement.min_pages,
        target: vm.target_pages(),
        reconfigured: target
            .and_then(|target| target.reconfigured)
            .map(|since| (since.decided_pages, since.time_ns)),
        before: target.and_then(|target| target.before_pages),
        set: target.map(|target| {
            (target.set_by.time_ns, target.set_by.policy.to_string(), target.set_by.available_pages)
        }),
        row: target
            .map(|target| (target.row.active_pages.expect("always given"), target.row.bound == Bound::Min)),
        action: (vm.action.balloon_pages, vm.action.blocked),
        pages: pages(&vm.moves),
        pages_at_set: target.map_or([0; 12], |target| pages(&target.moves_before)),
    }
}

/// At most nine machines, so that each has a choice in a decision.
fn run(both: &mut Both, ops: &[Op]) {
    for op in ops {
        if !matches!(op, Op::Come) || both.world.machines.len() < 9 {
            both.run(op);
        }
    }
}

proptest! {
    #[test]
    fn what_is_replayed_is_what_was_live(ops in vec(op(), 1..160), records in 1..60_u32) {
        let mut both = Both::new(records);
        for part in ops.chunks(40) {
            run(&mut both, part);
            both.check();
        }
    }

    #[test]
    fn a_large_ledger_forgets_nothing(ops in vec(op(), 1..80)) {
        let mut both = Both::new(1 << 14);
        run(&mut both, &ops);
        both.check();
        prop_assert_eq!(both.ledger.oldest_ns(), 0);
    }

    #[test]
    fn records_never_are_more_than_asked_for(ops in vec(op(), 1..200), records in 1..60_u32) {
        let mut both = Both::new(records);
        let mut most = 0;
        for op in &ops {
            run(&mut both, std::slice::from_ref(op));
            most = most.max(both.ledger.records().len());
            let oldest = both.ledger.records().next();
            prop_assert!(!oldest.is_some_and(|record| matches!(record.event, Event::Target { .. })), "a row alone");
            // Two situations of at most sixteen places each, and texts of a few bytes.
            let situations = 2 * 16 * (size_of::<VmSituation>() + 16) + 100;
            let bound = records as usize * (size_of::<Record>() + 30) + situations;
            prop_assert!(both.ledger.bytes() <= bound, "{} > {bound}", both.ledger.bytes());
        }
        prop_assert!(most <= records as usize);
    }

    #[test]
    fn a_copy_goes_its_own_way(ops in vec(op(), 1..80), more in vec(op(), 1..40)) {
        let mut both = Both::new(30);
        run(&mut both, &ops);
        let copy = both.ledger.clone();
        let (told, now) = (copy.records().cloned().collect::<Vec<_>>(), copy.now().clone());
        run(&mut both, &more);
        prop_assert_eq!(copy.records().cloned().collect::<Vec<_>>(), told);
        prop_assert_eq!(copy.now(), &now);
    }
}
