//! Every order against an oracle of vectors, slow and obvious.

use proptest::prelude::*;

use super::{Order, Replacement};

const FRAMES: u32 = 40;

/// Pages with their bits, the next victim's end first.
type Line = Vec<(u32, bool)>;

/// What the module documentation says, word for word.
struct Oracle {
    kind: Replacement,
    /// All pages; of two lists the inactive ones.
    line: Line,
    active: Line,
}

impl Oracle {
    fn new(kind: Replacement) -> Self {
        Self { kind, line: vec![], active: vec![] }
    }

    fn insert(&mut self, frame: u32) {
        self.line.push((frame, self.kind == Replacement::TwoList));
    }

    fn hit(&mut self, frame: u32) {
        let in_line = self.line.iter().position(|page| page.0 == frame);
        match (self.kind, in_line) {
            (Replacement::Lru, Some(place)) => {
                let page = self.line.remove(place);
                self.line.push(page);
            }
            (Replacement::TwoList, Some(place)) if self.line[place].1 => {
                self.line.remove(place);
                self.active.push((frame, false));
            }
            (_, Some(place)) => self.line[place].1 = true,
            (_, None) => {
                let place = self.active.iter().position(|page| page.0 == frame);
                self.active[place.expect("somewhere")].1 = true;
            }
        }
    }

    fn remove(&mut self, frame: u32) {
        self.line.retain(|page| page.0 != frame);
        self.active.retain(|page| page.0 != frame);
    }

    fn evict(&mut self) -> Option<u32> {
        match self.kind {
            Replacement::Lru => {}
            Replacement::Clock => {
                while self.line.first().is_some_and(|page| page.1) {
                    let (frame, _) = self.line.remove(0);
                    self.line.push((frame, false));
                }
            }
            Replacement::TwoList => {
                while self.active.len() * 3 > (self.active.len() + self.line.len()) * 2 {
                    let (frame, bit) = self.active.remove(0);
                    if bit { self.active.push((frame, false)) } else { self.line.push((frame, false)) }
                }
            }
        }
        if self.line.is_empty() { None } else { Some(self.line.remove(0).0) }
    }

    fn all(&self) -> Line {
        [&self.line[..], &self.active].concat()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A reference: a hit, or else an insertion.
    Refer(u32),
    Remove(u32),
    Evict,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Small numbers are drawn more often, as hot pages are.
    let frame = (0..FRAMES, 0..FRAMES).prop_map(|(a, b)| a.min(b));
    let step = prop_oneof![
        8 => frame.clone().prop_map(Step::Refer),
        1 => frame.prop_map(Step::Remove),
        2 => Just(Step::Evict),
    ];
    prop::collection::vec(step, 0..400)
}

fn kind() -> impl Strategy<Value = Replacement> {
    prop::sample::select(&Replacement::ALL)
}

fn take_step(step: &Step, order: &mut Order, oracle: &mut Oracle) -> Result<(), TestCaseError> {
    let has = |oracle: &Oracle, frame: u32| oracle.all().iter().any(|page| page.0 == frame);
    match *step {
        Step::Refer(frame) if has(oracle, frame) => {
            order.hit(frame);
            oracle.hit(frame);
        }
        Step::Refer(frame) => {
            order.insert(frame);
            oracle.insert(frame);
        }
        Step::Remove(frame) => {
            order.remove(frame);
            oracle.remove(frame);
        }
        Step::Evict => prop_assert_eq!(order.evict(), oracle.evict()),
    }
    prop_assert_eq!(order.frames().collect::<Line>(), oracle.all());
    prop_assert_eq!((order.len() as usize, order.is_empty()), (oracle.all().len(), oracle.all().is_empty()));
    prop_assert_eq!(order.active() as usize, oracle.active.len());
    prop_assert!((0..FRAMES + 5).all(|frame| order.contains(frame) == has(oracle, frame)));
    Ok(())
}

proptest! {
    #[test]
    fn agrees_with_vectors(kind in kind(), steps in steps()) {
        let (mut order, mut oracle) = (Order::new(kind, FRAMES / 2), Oracle::new(kind));
        let mut frames = FRAMES / 2;
        for step in &steps {
            if let Step::Refer(frame) = step && *frame >= frames {
                frames = frame + 1;
                order.grow(frames).expect("memory");
            }
            take_step(step, &mut order, &mut oracle)?;
        }
        let mut copy = order.clone();
        prop_assert_eq!(format!("{copy:?}"), format!("{order:?}"));
        while let Some(victim) = oracle.evict() {
            prop_assert_eq!(copy.evict(), Some(victim));
        }
        prop_assert_eq!((copy.evict(), copy.len(), copy.active()), (None, 0, 0));
        prop_assert_eq!(order.len() as usize, order.frames().count(), "a copy shares nothing");
    }

    /// Misses of demand paging: more memory never hurts LRU (it is a stack algorithm).
    #[test]
    fn lru_has_the_inclusion_property(pages in prop::collection::vec(0u32..30, 0..300), memory in 1u32..30) {
        let resident = |memory: u32| {
            let mut order = Order::new(Replacement::Lru, 30);
            for page in &pages {
                if order.contains(*page) {
                    order.hit(*page);
                    continue;
                }
                if order.len() == memory {
                    order.evict();
                }
                order.insert(*page);
            }
            order
        };
        let (small, large) = (resident(memory), resident(memory + 1));
        prop_assert!(small.frames().all(|(page, _)| large.contains(page)));
    }
}

/// Inserts 0 to 4, then refers to pages.
fn five(kind: Replacement, references: &[u32]) -> Order {
    let mut order = Order::new(kind, 8);
    (0..5).for_each(|frame| order.insert(frame));
    references.iter().for_each(|frame| order.hit(*frame));
    order
}

fn victims(order: &mut Order) -> Vec<u32> {
    std::iter::from_fn(|| order.evict()).collect()
}

#[test]
fn lru_evicts_by_the_latest_reference() {
    assert_eq!(victims(&mut five(Replacement::Lru, &[0, 3, 3, 4])), [1, 2, 0, 3, 4]);
}

#[test]
fn clock_gives_one_more_chance_however_often_a_page_was_referenced() {
    assert_eq!(victims(&mut five(Replacement::Clock, &[3, 0, 0])), [1, 2, 4, 0, 3]);
    let mut order = five(Replacement::Clock, &[0, 1]);
    assert_eq!(order.evict(), Some(2));
    order.insert(5);
    // 0 and 1 were put back before 5 came.
    assert_eq!(victims(&mut order), [3, 4, 0, 1, 5]);
}

#[test]
fn all_bits_set_is_first_in_first_out() {
    assert_eq!(victims(&mut five(Replacement::Clock, &[4, 3, 2, 1, 0])), [0, 1, 2, 3, 4]);
}

#[test]
fn the_second_reference_activates() {
    let mut order = five(Replacement::TwoList, &[0, 1]);
    assert_eq!((order.len(), order.active()), (5, 2));
    // 2, then 3; of three pages two may be active; of two one, of one none.
    assert_eq!(victims(&mut order), [2, 3, 4, 0, 1]);
}

#[test]
fn two_thirds_stay_active_and_a_bit_keeps_a_place_once_more() {
    let mut order = five(Replacement::TwoList, &[0, 1, 2, 3, 4, 0]);
    assert_eq!(order.active(), 5);
    // 0 is at the tail but its bit is set: it goes to the head, and 1 and 2 leave.
    assert_eq!(order.evict(), Some(1));
    assert_eq!(order.active(), 3);
    assert_eq!(order.frames().collect::<Vec<_>>(), [(2, false), (3, false), (4, false), (0, false)]);
    // A page that lost its place needs two references.
    order.hit(2);
    assert_eq!(order.active(), 3);
    order.hit(2);
    assert_eq!(order.active(), 4);
}

#[test]
fn a_scan_does_not_drive_active_pages_out() {
    let mut order = Order::new(Replacement::TwoList, 100);
    for frame in 0..10 {
        order.insert(frame);
        order.hit(frame);
    }
    (10..15).for_each(|frame| order.insert(frame));
    for _ in 0..1000 {
        let victim = order.evict().expect("a page");
        assert!(victim >= 10, "the scan replaces its own pages");
        order.insert(victim);
    }
}

#[test]
fn what_is_not_there_is_not_removed() {
    for kind in Replacement::ALL {
        let mut order = Order::new(kind, 4);
        order.remove(2);
        order.remove(99);
        assert_eq!((order.evict(), order.len()), (None, 0));
        order.insert(1);
        order.remove(2);
        assert_eq!((order.len(), order.contains(1), order.contains(u32::MAX)), (1, true, false));
        order.remove(1);
        order.insert(1);
        assert_eq!(order.evict(), Some(1));
    }
}

#[test]
fn names_are_those_of_settings() {
    for kind in Replacement::ALL {
        assert_eq!(Replacement::named(kind.name()), Some(kind));
        assert_eq!(Order::new(kind, 0).kind(), kind);
    }
    assert_eq!(Replacement::named("fifo"), None);
}

#[test]
fn debug_is_short_and_tells_orders_apart() {
    let text = format!("{:?}", five(Replacement::Clock, &[2]));
    assert!(text.starts_with("clock: 5 pages, 0 active, 0x") && text.len() < 60, "{text}");
    assert_ne!(text, format!("{:?}", five(Replacement::Clock, &[3])));
    assert_ne!(format!("{:?}", five(Replacement::Lru, &[0])), format!("{:?}", five(Replacement::Lru, &[])));
}
