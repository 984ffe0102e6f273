//! The decision ledger: what a host decided about memory, why, and what came of it.
//!
//! The host tells the ledger of each power-on, reconfiguration, change of the free state, answer of a policy, change
//! of what is done to a virtual machine, and once a tick how many pages each mechanism has moved (`record` has the
//! words). The ledger answers what was in force at a time ([`Ledger::at`]), why ([`Ledger::why`], in numbers and in
//! words), and how it came about ([`Ledger::replay`]). It decides nothing and changes nothing.
//!
//! **Memory is bounded.** The newest records are kept, so many of them; a row of a decision counts as one, and long
//! texts count for more. Before a record is added, as many of the oldest are taken into the *checkpoint*, which is
//! the situation just before the oldest kept record: states, targets, actions and counts of pages of all virtual
//! machines then. So the ledger forgets how it came to the checkpoint and nothing else. A decision and its rows go
//! together. One that is larger than the whole ledger goes into the checkpoint at once.
//!
//! **What says nothing new makes no record.** The ledger holds the situation now and compares: of a decision only
//! rows that differ from the last of the same virtual machine are kept, of a plan only changes, of counters only what
//! was added. `situation` alone says what a record does; the situation now, the checkpoint and a replay all go
//! through it, so they cannot differ.

mod explain;
mod record;
mod situation;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;

pub use explain::{Explanation, NextToLose};
pub use record::{
    Action, Bound, Cause, Cheapest, Decision, Entitlement, Event, Failure, Mechanism, Moves, Newcomer,
    Occasion, Record, Row,
};
pub use situation::{Reconfigured, Replay, Situation, Target, VmSituation};

use crate::config::LedgerConfig;
use crate::error::Error;
use crate::types::FreeState;

/// Longest text of a policy that is kept, in bytes.
const TEXT_BYTES: usize = 240;

/// Newest records among which one of the same kind is looked for, to add to it.
const LOOK_BACK: usize = 16;

/// Fewest records to make room for.
const FEWEST: usize = 64;

/// The decisions of one host. With no records to keep it is off: calls that write do nothing.
#[derive(Clone, Debug)]
pub struct Ledger {
    limit: u64,
    records: VecDeque<Record>,
    /// What the records count for.
    weight: u64,
    text_bytes: usize,
    /// Before the oldest record.
    checkpoint: Situation,
    now: Situation,
}

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Among the records.
    Kept,
    /// Into the checkpoint: it belongs to more than the ledger holds.
    Folded,
}

/// Writing. Times are virtual and never run back. All but decisions cost O(1) amortised; virtual machines are found
/// in O(1) as long as few have gone.
///
/// # Panics
///
/// If a virtual machine is named that is not powered on, or comes twice.
impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(config: &LedgerConfig) -> Self {
        Self {
            limit: u64::from(config.records),
            records: VecDeque::new(),
            weight: 0,
            text_bytes: 0,
            checkpoint: Situation::default(),
            now: Situation::default(),
        }
    }

    /// Whether nothing is recorded.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.limit == 0
    }

    /// A virtual machine was powered on.
    pub fn came(&mut self, time_ns: u64, newcomer: Newcomer) {
        self.write(time_ns, Event::Came(newcomer));
    }

    /// A virtual machine was powered off. What it moved last must have been told before.
    pub fn went(&mut self, time_ns: u64, serial: u64) {
        self.write(time_ns, Event::Went { serial });
    }

    /// A virtual machine has another entitlement.
    pub fn configured(&mut self, time_ns: u64, serial: u64, entitlement: Entitlement) {
        self.write(time_ns, Event::Configured { serial, entitlement });
    }

    /// The free state is now `to`, which may be what it was.
    pub fn state(&mut self, time_ns: u64, to: FreeState, free_pages: u32) {
        let from = self.now.state;
        if from != to {
            self.write(time_ns, Event::State { from, to, free_pages });
        }
    }

    /// A policy's answer was taken: `rows` has one for each virtual machine. Cost: O(rows); of what is kept, only the
    /// name of a policy other than the last is allocated.
    pub fn targets(&mut self, time_ns: u64, occasion: &Occasion<'_>, rows: &[Row]) {
        if self.is_off() {
            return;
        }
        let decision = Event::Decided(self.decision(time_ns, occasion, rows));
        let news = rows.iter().filter(|row| self.is_news(row)).count() as u64;
        let place = self.make_room(decision.weight() + news);
        self.put(place, Record { time_ns, event: decision });
        for row in rows {
            if self.is_news(row) {
                let before_pages = self.now.vm(row.serial).and_then(VmSituation::target_pages);
                self.put(place, Record { time_ns, event: Event::Target { before_pages, row: row.clean() } });
            }
        }
    }

    /// A policy's answer was not taken.
    pub fn policy_failed(&mut self, time_ns: u64, policy: &str, reason: &str) {
        if !self.is_off() {
            let failure = Failure { time_ns, policy: self.name(policy), reason: beginning(reason).into() };
            self.write(time_ns, Event::PolicyFailed(failure));
        }
    }

    /// What is done to a virtual machine from now on, which may be what was done before.
    pub fn action(&mut self, time_ns: u64, serial: u64, action: Action) {
        if !self.is_off() && self.now.vm(serial).is_none_or(|vm| vm.action != action) {
            self.write(time_ns, Event::Planned { serial, action });
        }
    }

    /// A mechanism moved so many more pages of a virtual machine. Called once a tick, not once a page; what comes at
    /// the same moment is added up.
    pub fn moved(&mut self, time_ns: u64, serial: u64, mechanism: Mechanism, pages: u64) {
        if self.is_off() || pages == 0 {
            return;
        }
        let event = Event::Moved { serial, mechanism, pages };
        match self.same_move(time_ns, serial, mechanism) {
            Some(told) => {
                *told += pages;
                self.now.apply(&Record { time_ns, event });
            }
            None => self.write(time_ns, event),
        }
    }

    /// As [`Ledger::moved`], of running totals since the power-on of the virtual machine.
    ///
    /// # Panics
    ///
    /// If a total is lower than before, or as all calls that write.
    pub fn counted(&mut self, time_ns: u64, serial: u64, totals: &Moves) {
        if self.is_off() {
            return;
        }
        let vm = self.now.vm(serial).expect("the ledger is told of VMs that are powered on");
        for (mechanism, pages) in totals.since(&vm.moves).iter() {
            self.moved(time_ns, serial, mechanism, pages);
        }
    }

    fn decision(&self, time_ns: u64, occasion: &Occasion<'_>, rows: &[Row]) -> Decision {
        let price = |serial| rows.iter().find(|row| row.serial == serial).and_then(|row| row.clean().price);
        Decision {
            time_ns,
            cause: occasion.cause,
            policy: self.name(occasion.policy),
            state: occasion.state,
            available_pages: occasion.available_pages,
            free_pages: occasion.free_pages,
            target_pages: rows.iter().map(|row| u64::from(row.target_pages)).sum(),
            cheapest: occasion.cheapest.map(|serial| Cheapest { serial, price: price(serial) }),
        }
    }

    /// The name of a policy, held once as long as it stays the same.
    fn name(&self, policy: &str) -> Arc<str> {
        let name = beginning(policy);
        let last = self.now.decision.as_ref().map(|decision| &decision.policy);
        last.filter(|last| ***last == *name).map_or_else(|| name.into(), Arc::clone)
    }

    fn is_news(&self, row: &Row) -> bool {
        let last = self.now.vm(row.serial).and_then(|vm| vm.target.as_ref());
        // A decision after a change of entitlement is about the new one, even if it says the same.
        last.is_none_or(|target| target.reconfigured.is_some() || !target.row.says(&row.clean()))
    }

    /// The pages of a record of this very moment to which more can be added, with nothing but other moves after it.
    fn same_move(&mut self, time_ns: u64, serial: u64, mechanism: Mechanism) -> Option<&mut u64> {
        let newest = self.records.iter_mut().rev().take(LOOK_BACK);
        let moves = newest.map_while(|record| match &mut record.event {
            Event::Moved { serial, mechanism, pages } if record.time_ns == time_ns => {
                Some((*serial, *mechanism, pages))
            }
            _ => None,
        });
        moves.filter(|(vm, by, _)| (*vm, *by) == (serial, mechanism)).map(|(_, _, pages)| pages).next()
    }

    fn write(&mut self, time_ns: u64, event: Event) {
        if !self.is_off() {
            let place = self.make_room(event.weight());
            self.put(place, Record { time_ns, event });
        }
    }

    fn put(&mut self, place: Place, record: Record) {
        debug_assert!(record.time_ns >= self.now.changed_ns, "virtual time never runs back");
        self.now.apply(&record);
        if place == Place::Folded {
            return self.checkpoint.apply(&record);
        }
        self.weight += record.event.weight();
        self.text_bytes += record.event.text_bytes();
        self.records.push_back(record);
    }

    /// Folds old records until so much fits, or all if it never will.
    fn make_room(&mut self, weight: u64) -> Place {
        while self.weight + weight > self.limit && !self.records.is_empty() {
            self.fold_oldest();
        }
        if weight > self.limit {
            return Place::Folded;
        }
        // Twice the room, but never more than the limit.
        let wanted = self.records.len() + weight as usize;
        if wanted > self.records.capacity() {
            let room = wanted.max(2 * self.records.len()).max(FEWEST).min(self.limit as usize);
            self.records.reserve_exact(room - self.records.len());
        }
        Place::Kept
    }

    /// Takes the oldest record into the checkpoint, a decision with its rows.
    fn fold_oldest(&mut self) {
        self.fold_one();
        while matches!(self.records.front(), Some(Record { event: Event::Target { .. }, .. })) {
            self.fold_one();
        }
    }

    fn fold_one(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.weight -= record.event.weight();
            self.text_bytes -= record.event.text_bytes();
            self.checkpoint.apply(&record);
        }
    }
}

/// Reading.
impl Ledger {
    /// What is in force now.
    #[must_use]
    pub fn now(&self) -> &Situation {
        &self.now
    }

    /// The kept records, the oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        self.records.iter()
    }

    /// The earliest time of which anything is known.
    #[must_use]
    pub fn oldest_ns(&self) -> u64 {
        self.checkpoint.changed_ns
    }

    /// All that was in force from the checkpoint on. If the ledger is off, that is an empty situation at time 0.
    #[must_use]
    pub fn replay(&self) -> Replay<'_> {
        Replay::new(&self.checkpoint, self.records.iter())
    }

    /// What was in force at a time, after all that happened at that moment; of the future what is in force now. Cost:
    /// as many steps as records are kept, unless nothing has happened since.
    ///
    /// # Errors
    ///
    /// [`Error::LedgerOff`]; [`Error::Forgotten`] of a time before the checkpoint.
    pub fn at(&self, time_ns: u64) -> Result<Situation, Error> {
        if self.is_off() {
            return Err(Error::LedgerOff);
        }
        if time_ns < self.oldest_ns() {
            return Err(Error::Forgotten { asked_ns: time_ns, oldest_ns: self.oldest_ns() });
        }
        if time_ns >= self.now.changed_ns {
            return Ok(self.now.clone());
        }
        let mut replay = self.replay();
        replay.until(time_ns);
        Ok(replay.into_situation())
    }

    /// Why a virtual machine had the target it had at a time, and what came of it until then. Cost: as
    /// [`Ledger::at`].
    ///
    /// # Errors
    ///
    /// As [`Ledger::at`]; [`Error::NotThen`] of a virtual machine that was not powered on then.
    pub fn why(&self, serial: u64, time_ns: u64) -> Result<Explanation, Error> {
        let situation = self.at(time_ns)?;
        Explanation::new(&situation, serial, time_ns).ok_or(Error::NotThen { serial, asked_ns: time_ns })
    }

    /// As [`Ledger::why`], of the virtual machine that had that name then; it may be gone by now, and the name another's.
    ///
    /// # Errors
    ///
    /// As [`Ledger::at`]; [`Error::NobodyThen`] if no virtual machine had that name then.
    pub fn why_named(&self, name: &str, time_ns: u64) -> Result<Explanation, Error> {
        let situation = self.at(time_ns)?;
        let vm = situation.named(name).map(|vm| vm.serial);
        let why = vm.and_then(|serial| Explanation::new(&situation, serial, time_ns));
        why.ok_or_else(|| Error::NobodyThen { vm: name.to_owned(), asked_ns: time_ns })
    }

    /// Real memory in use; at most so much, as texts that several places share count for each. Cost: O(virtual
    /// machines).
    #[must_use]
    pub fn bytes(&self) -> usize {
        let records = self.records.capacity() * size_of::<Record>() + self.text_bytes;
        records + self.checkpoint.bytes() + self.now.bytes()
    }
}

/// What is kept of a text.
fn beginning(text: &str) -> &str {
    let end = (0..=TEXT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.expect("0 is a boundary")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::VmId;

    fn ledger(records: u32) -> Ledger {
        Ledger::new(&LedgerConfig { records })
    }

    fn newcomer(serial: u64, name: &str) -> Newcomer {
        let entitlement = Entitlement { max_pages: 100, min_pages: 50, shares: 10 };
        Newcomer { serial, vm: VmId(serial as u16), name: name.into(), entitlement }
    }

    fn row(serial: u64, target_pages: u32) -> Row {
        Row {
            serial,
            target_pages,
            allocated_pages: 0,
            active_pages: None,
            price: Some(1.5),
            taxed_pages: 0,
            bound: Bound::None,
        }
    }

    const OCCASION: Occasion<'static> = Occasion {
        cause: Cause::Period,
        policy: "equal",
        state: FreeState::High,
        available_pages: 200,
        free_pages: 100,
        cheapest: None,
    };

    /// With two machines, powered on at time 0.
    fn two(records: u32) -> Ledger {
        let mut ledger = ledger(records);
        ledger.came(0, newcomer(3, "a"));
        ledger.came(0, newcomer(4, "b"));
        ledger
    }

    fn events(ledger: &Ledger) -> Vec<&Event> {
        ledger.records().map(|record| &record.event).collect()
    }

    #[test]
    fn off_it_takes_nothing_and_says_so() {
        let mut ledger = two(0);
        ledger.targets(1, &OCCASION, &[row(3, 10)]);
        ledger.state(1, FreeState::Low, 0);
        ledger.action(1, 3, Action { blocked: true, ..Action::default() });
        ledger.moved(1, 3, Mechanism::Merge, 5);
        ledger.counted(1, 3, &Moves::default());
        ledger.policy_failed(1, "equal", "no reason");
        ledger.configured(1, 3, Entitlement::default());
        ledger.went(1, 3);
        assert!(ledger.is_off());
        assert_eq!((ledger.bytes(), ledger.now()), (0, &Situation::default()));
        assert_eq!(ledger.at(1), Err(Error::LedgerOff));
        assert_eq!(ledger.why(3, 1), Err(Error::LedgerOff));
        assert_eq!(ledger.replay().collect::<Vec<_>>(), [(0, Situation::default())]);
    }

    #[test]
    fn what_says_nothing_new_makes_no_record() {
        let mut ledger = two(100);
        let action = Action { balloon_pages: 5, ..Action::default() };
        ledger.targets(1, &OCCASION, &[row(3, 60), row(4, 70)]);
        ledger.action(1, 3, action);
        ledger.state(1, FreeState::Soft, 9);
        let told = events(&ledger).len();
        ledger.state(2, FreeState::Soft, 8);
        ledger.action(2, 3, action);
        ledger.action(2, 4, Action::default());
        ledger.moved(2, 3, Mechanism::Merge, 0);
        ledger.counted(2, 4, &Moves::default());
        assert_eq!(events(&ledger).len(), told);
        let rows = [Row { allocated_pages: 9, ..row(3, 60) }, Row { bound: Bound::Max, ..row(4, 70) }];
        ledger.targets(2, &OCCASION, &rows);
        assert_eq!(events(&ledger)[told + 1..], [&Event::Target { before_pages: Some(70), row: rows[1] }]);
    }

    #[test]
    fn a_price_that_is_no_number_is_none() {
        let mut ledger = two(100);
        let rows = [Row { price: Some(f64::NAN), ..row(3, 60) }, row(4, 70)];
        for time_ns in [1, 2] {
            ledger.targets(time_ns, &Occasion { cheapest: Some(3), ..OCCASION }, &rows);
        }
        let now = ledger.now();
        assert_eq!(now.vm(3).and_then(|vm| vm.target.as_ref()).expect("set").row.price, None);
        assert_eq!(now.decision.as_ref().expect("made").cheapest, Some(Cheapest { serial: 3, price: None }));
        assert_eq!(ledger.records().filter(|record| matches!(record.event, Event::Target { .. })).count(), 2);
    }

    #[test]
    fn moves_of_one_moment_are_added_up_but_not_across_a_decision() {
        let mut ledger = two(100);
        for _ in 0..3 {
            ledger.moved(5, 3, Mechanism::PageIn, 2);
            ledger.moved(5, 4, Mechanism::EmergencyPageOut, 32);
        }
        ledger.targets(5, &OCCASION, &[row(3, 60), row(4, 70)]);
        ledger.moved(5, 3, Mechanism::PageIn, 1);
        ledger.moved(6, 3, Mechanism::PageIn, 1);
        let moved = |serial, mechanism, pages| Event::Moved { serial, mechanism, pages };
        let told: Vec<_> = events(&ledger).into_iter().filter(|e| matches!(e, Event::Moved { .. })).collect();
        assert_eq!(
            told,
            [
                &moved(3, Mechanism::PageIn, 6),
                &moved(4, Mechanism::EmergencyPageOut, 96),
                &moved(3, Mechanism::PageIn, 1),
                &moved(3, Mechanism::PageIn, 1),
            ]
        );
        let vm = ledger.why(3, 6).expect("recorded");
        assert_eq!(vm.moved.iter().collect::<Vec<_>>(), [(Mechanism::PageIn, 2)]);
        assert_eq!(ledger.now().vm(3).expect("on").moves[Mechanism::PageIn], 8);
    }

    #[test]
    fn running_totals_are_told_as_differences() {
        let mut ledger = two(100);
        let mut totals = Moves::default();
        for (time_ns, pages) in [(1, 4), (2, 0), (3, 5)] {
            totals[Mechanism::CowBreak] += pages;
            ledger.counted(time_ns, 4, &totals);
        }
        let told: Vec<_> = ledger.records().skip(2).map(|record| record.time_ns).collect();
        assert_eq!(told, [1, 3]);
        assert_eq!(ledger.now().vm(4).expect("on").moves, totals);
    }

    #[test]
    fn a_time_before_the_checkpoint_is_refused_with_the_oldest() {
        let mut ledger = two(3);
        for time_ns in 1..=9_u64 {
            ledger.moved(time_ns * 1_000_000_000, 3, Mechanism::Merge, 1);
        }
        let refused = ledger.at(5_999_999_999).expect_err("forgotten");
        assert_eq!(refused, Error::Forgotten { asked_ns: 5_999_999_999, oldest_ns: 6_000_000_000 });
        let line = "of 5.999999999 s nothing is recorded any more: the ledger begins at 6 s";
        assert_eq!(refused.to_string(), line);
        for (seconds, merged) in [(6, 6), (7, 7), (9, 9), (100, 9)] {
            let situation = ledger.at(seconds * 1_000_000_000).expect("kept");
            assert_eq!(situation.vm(3).expect("on").moves[Mechanism::Merge], merged);
        }
    }

    #[test]
    fn of_a_machine_that_is_not_there_nothing_is_explained() {
        let mut ledger = two(100);
        ledger.went(7, 3);
        assert!(ledger.why(3, 6).is_ok());
        let refused = ledger.why(3, 7).expect_err("gone");
        assert_eq!(refused, Error::NotThen { serial: 3, asked_ns: 7 });
        assert_eq!(refused.to_string(), "no VM with serial 3 was powered on at 0.000000007 s");
        assert_eq!(ledger.why_named("a", 6), ledger.why(3, 6));
        ledger.came(9, newcomer(5, "a"));
        assert_eq!(ledger.why_named("a", 6).expect("remembered").serial, 3);
        assert_eq!(ledger.why_named("a", 9).expect("there").serial, 5);
        let refused = ledger.why_named("a", 8).expect_err("nobody");
        assert_eq!(refused, Error::NobodyThen { vm: "a".into(), asked_ns: 8 });
        assert_eq!(refused.to_string(), "no VM \"a\" was powered on at 0.000000008 s");
        assert!([0, 5, u64::MAX].iter().all(|serial| ledger.why(*serial, 7).is_err()));
        assert!(ledger.why(4, 7).is_ok());
    }

    #[test]
    fn a_decision_larger_than_the_ledger_is_in_force_all_the_same() {
        let mut ledger = two(2);
        ledger.targets(5, &OCCASION, &[row(3, 60), row(4, 70)]);
        ledger.moved(5, 3, Mechanism::Merge, 1);
        assert_eq!((ledger.oldest_ns(), events(&ledger).len()), (5, 1));
        assert_eq!(ledger.at(5).as_ref(), Ok(ledger.now()));
        assert_eq!(ledger.now().vm(4).and_then(VmSituation::target_pages), Some(70));
        assert_eq!(ledger.replay().collect::<Vec<_>>(), [(5, ledger.now().clone())]);
    }

    #[test]
    fn long_texts_count_for_records_and_are_cut() {
        let mut ledger = two(100);
        let long = "é".repeat(100_000);
        for time_ns in 1..50 {
            ledger.policy_failed(time_ns, &long, &long);
        }
        let failure = ledger.now().failure.as_ref().expect("failed");
        assert_eq!((failure.policy.len(), failure.reason.len()), (TEXT_BYTES, TEXT_BYTES));
        let most = 100 * size_of::<Record>() + 100 * size_of::<Record>();
        assert!(ledger.bytes() - ledger.now.bytes() - ledger.checkpoint.bytes() <= most);
        assert!(ledger.text_bytes <= 100 * size_of::<Record>());
        ledger.came(50, newcomer(9, &long));
        assert_eq!(events(&ledger), Vec::<&Event>::new());
        assert_eq!(*ledger.now().vm(9).expect("on").name, *long);
    }

    #[test]
    fn the_name_of_a_policy_is_held_once() {
        let mut ledger = two(100);
        for (time_ns, policy) in [(1, "equal"), (2, "equal"), (3, "static")] {
            ledger.targets(time_ns, &Occasion { policy, ..OCCASION }, &[row(3, 60), row(4, 70)]);
        }
        let names: Vec<_> = events(&ledger)
            .into_iter()
            .filter_map(
                |event| if let Event::Decided(decision) = event { Some(&decision.policy) } else { None },
            )
            .collect();
        assert!(Arc::ptr_eq(names[0], names[1]));
        assert_eq!(names.iter().map(|name| &***name).collect::<Vec<_>>(), ["equal", "equal", "static"]);
    }

    #[test]
    #[should_panic(expected = "powered on")]
    fn a_machine_nobody_knows_is_a_mistake_of_the_host() {
        two(100).moved(1, 5, Mechanism::Merge, 1);
    }
}
