//! A kernel on a machine that keeps contents: what processes wrote is what they read, whatever was reclaimed, and every
//! page is in one place.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::anonymous::Place;
use super::cache::AHEAD_MOST;
use super::kernel::Kernel;
use super::owners::Owner;
use super::{BOOT_FILE, build};
use crate::balloon::{Dealt, Given, GuestOs, GuestPages, Wait};
use crate::config::{GuestConfig, GuestKind, Replacement};
use crate::pmap::{Entry, State};
use crate::reference::{Errand, Filling, GuestMemory, MAX_FILES, Patience, Ref, Step, Touch, Wish};
use crate::rng::{Seed, Stream};
use crate::types::{Access, Ppn};

const SECOND_NS: u64 = 1_000_000_000;

/// Contents of pages and disk are numbers; 0 is the zero page.
#[derive(Clone)]
struct World {
    kernel: Kernel,
    pages: Vec<u64>,
    disk: HashMap<u64, u64>,
    /// What processes should read.
    memory: HashMap<u32, u64>,
    files: HashMap<(u32, u32), u64>,
    ballooned: HashSet<u32>,
    written: u64,
    second: u32,
    random: Stream,
}

fn small(kind: GuestKind, replacement: Replacement) -> GuestConfig {
    let sizes =
        GuestConfig { kernel_pages: 4, boot_pages: 40, boot_s: 3, zero_rate: 50, ..GuestConfig::of(kind) };
    GuestConfig { replacement, dirty_expire_s: 5, ..sizes }
}

fn linux() -> GuestConfig {
    small(GuestKind::Linux, Replacement::TwoList)
}

impl World {
    fn new(config: &GuestConfig, pages: u32) -> Self {
        config.check(pages).expect("large enough");
        Self {
            kernel: Kernel::new(config, pages, 0, &Seed([1; 32])),
            pages: vec![7; pages as usize],
            disk: HashMap::new(),
            memory: HashMap::new(),
            files: HashMap::new(),
            ballooned: HashSet::new(),
            written: 1 << 63,
            second: 0,
            random: Seed([1; 32]).stream("guest", 0),
        }
    }

    fn booted(config: &GuestConfig, pages: u32) -> Self {
        let mut world = Self::new(config, pages);
        (0..=config.boot_s).for_each(|_| _ = world.pass(0));
        world
    }

    fn fresh(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// A page may be touched, filled and written out.
    fn own(&mut self, ppn: Ppn) -> &mut u64 {
        assert!(!self.ballooned.contains(&ppn.0), "page {} is ballooned", ppn.0);
        &mut self.pages[ppn.index()]
    }

    fn perform(&mut self, steps: &[Step]) {
        let mut read: Vec<u64> = vec![];
        for step in steps {
            match *step {
                Step::Touch(touch) => _ = self.own(touch.ppn()),
                Step::DiskRead { position, pages, .. } => {
                    assert!(read.is_empty() && pages > 0, "a fill for each page read");
                    read = (0..u64::from(pages)).rev().map(|page| position + page).collect();
                }
                Step::DiskWrite { ppn, position, .. } => {
                    let content = *self.own(ppn);
                    self.disk.insert(position, content);
                }
                Step::Fill(ppn, filling) => {
                    let position = read.pop();
                    let on_disk = position.and_then(|position| self.disk.get(&position).copied());
                    let content = match (filling, on_disk) {
                        (Filling::Zero, None) => 0,
                        // The number stands for what the image has, unless it was written over.
                        (Filling::Content(number), None) => number,
                        (Filling::Content(number), Some(was)) if was == number => was,
                        (Filling::Own, Some(was)) => was,
                        (Filling::Own, None) => self.fresh(),
                        odd => panic!("{odd:?}"),
                    };
                    position.map(|position| self.disk.insert(position, content));
                    *self.own(ppn) = content;
                }
            }
        }
        assert!(read.is_empty(), "a fill for each page read");
    }

    /// One reference, whatever it takes.
    fn refer(&mut self, one: Ref) -> (Dealt, Vec<Step>) {
        let (mut touches, mut steps) = (vec![], vec![]);
        let mut dealt = Dealt::Served;
        if self.kernel.translate(&[one], &mut touches) == 0 {
            dealt = self.kernel.fault(one, &mut self.random, &mut steps);
            self.perform(&steps);
            self.kernel.settle();
            if dealt == Dealt::Served {
                self.kernel.translate(&[one], &mut touches);
            }
        }
        if dealt == Dealt::Served {
            self.see(one, touches.first().map(|touch| touch.ppn()));
        }
        (dealt, steps)
    }

    /// The process reads or writes the page, and gets what was last written.
    fn see(&mut self, one: Ref, touched: Option<Ppn>) {
        let at = touched.map(|ppn| *self.own(ppn));
        match one.wish() {
            Wish::Memory { page, .. } => {
                assert_eq!(at, Some(self.memory.get(&page).copied().unwrap_or(0)), "memory page {page}");
            }
            Wish::Block { file, block, access: Access::Read } => {
                let expected = *self.files.entry((file, block)).or_insert(at.expect("touched"));
                assert_eq!(at, Some(expected), "block {block} of file {file}");
            }
            Wish::Free { page } => _ = self.memory.remove(&page),
            Wish::Delete { file } => self.files.retain(|(of, _), _| *of != file),
            Wish::Block { .. } | Wish::Flush { .. } | Wish::Look { .. } => {}
        }
        if let (Some(ppn), Access::Write) = (touched, one.access()) {
            let content = self.fresh();
            *self.own(ppn) = content;
            match one.wish() {
                Wish::Memory { page, .. } => _ = self.memory.insert(page, content),
                Wish::Block { file, block, .. } => _ = self.files.insert((file, block), content),
                _ => unreachable!("no other is written"),
            }
        }
    }

    /// A second passes, of which it was idle so long.
    fn pass(&mut self, idle_ns: u64) -> Vec<Step> {
        let mut steps = vec![];
        self.kernel.background(self.second, idle_ns, &mut self.random, &mut steps);
        self.second += 1;
        self.perform(&steps);
        self.kernel.settle();
        steps
    }

    fn allocate(&mut self, most: u32, wait: Wait) -> Given {
        let entries = [Entry::new(State::Empty)];
        let given = self.kernel.allocate(most, wait, GuestPages::new(&entries, 0), &mut self.random);
        assert!(given.pages.len() <= most as usize);
        for ppn in &given.pages {
            assert!(self.ballooned.insert(ppn.0), "given twice");
            self.pages[ppn.index()] = 9;
        }
        given
    }

    fn free(&mut self, pages: &[Ppn]) {
        for ppn in pages {
            if self.ballooned.remove(&ppn.0) {
                self.pages[ppn.index()] = 0;
            }
        }
        self.kernel.free(pages);
    }

    fn reset(&mut self) {
        for ppn in std::mem::take(&mut self.ballooned) {
            self.pages[ppn as usize] = 0;
        }
        self.kernel.reset();
    }

    fn says(&self) -> GuestMemory {
        self.kernel.memory().expect("it says")
    }

    fn read(&mut self, file: u32, blocks: std::ops::Range<u32>) {
        blocks
            .for_each(|block| assert_eq!(self.refer(Ref::block(file, block, Access::Read)).0, Dealt::Served));
    }

    fn write_memory(&mut self, pages: std::ops::Range<u32>) {
        pages.for_each(|page| assert_eq!(self.refer(Ref::memory(page, Access::Write)).0, Dealt::Served));
    }

    /// Every page in one place, and all tables say the same.
    fn audit(&self) {
        let kernel = &self.kernel;
        let pending: HashSet<u32> = kernel.pending.iter().copied().collect();
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for ppn in 0..kernel.owners.pages() {
            let owner = kernel.owners.get(ppn).expect("a page");
            *counts.entry(audit_page(kernel, ppn, owner, &pending)).or_default() += 1;
        }
        let count = |name| counts.get(name).copied().unwrap_or(0);
        let free: HashSet<u32> = kernel.free.all().into_iter().collect();
        assert!(free.iter().all(|ppn| kernel.owners.get(*ppn) == Some(Owner::Free)));
        assert_eq!((free.len() as u32, count("free")), (kernel.free.len(), kernel.free.len()));
        assert_eq!((count("kernel"), count("balloon")), (kernel.kernel, kernel.driver.given));
        assert_eq!(count("balloon") as usize, self.ballooned.len());
        let kept: HashSet<u32> = kernel.driver.kept.iter().copied().collect();
        assert_eq!(
            (kept.len(), count("kept") as usize),
            (kernel.driver.kept.len(), kernel.driver.kept.len())
        );
        assert_eq!(count("block"), kernel.cache.pages());
        let dirty = (0..kernel.owners.pages()).filter(|ppn| kernel.cache.is_dirty(*ppn)).count();
        assert_eq!(dirty as u32, kernel.cache.dirty());
        self.audit_memory(count("anonymous"));
    }

    fn audit_memory(&self, here: u32) {
        let memory = &self.kernel.memory;
        let mut slots = HashSet::new();
        for (page, place) in memory.all() {
            match place {
                Place::Here(ppn) => assert_eq!(self.kernel.owners.get(ppn), Some(Owner::Anonymous(page))),
                Place::OnSwap(slot) => assert!(slots.insert(slot), "slot {slot} has two pages"),
                Place::Nowhere => unreachable!("it is somewhere"),
            }
        }
        assert_eq!((here, slots.len() as u32), (memory.resident(), memory.slots.used()));
        assert_eq!(memory.all().len() as u32, memory.resident() + memory.slots.used());
    }
}

fn audit_page(kernel: &Kernel, ppn: u32, owner: Owner, pending: &HashSet<u32>) -> &'static str {
    let is_pending = pending.contains(&ppn);
    let in_pool = (kernel.memory.pool.contains(ppn), kernel.cache.pool.contains(ppn));
    let expected = match owner {
        Owner::Anonymous(page) => {
            assert_eq!(kernel.memory.find(page), ppn);
            (!is_pending || in_pool.0, false)
        }
        Owner::Block { file, block } => {
            assert_eq!(kernel.cache.find(&kernel.owners, file, block), ppn);
            assert_eq!(kernel.cache.pages_of(file).filter(|other| *other == ppn).count(), 1);
            assert!(!kernel.cache.is_writing(ppn) || is_pending);
            (false, !is_pending || in_pool.1)
        }
        _ => (false, false),
    };
    assert_eq!(in_pool, expected, "page {ppn} of {owner:?} in the pools");
    let is_idle = matches!(owner, Owner::Free | Owner::Balloon | Owner::Kept);
    assert!(!(is_idle && is_pending), "page {ppn} of {owner:?} is named by a step");
    match owner {
        Owner::Free => "free",
        Owner::Kernel => "kernel",
        Owner::Balloon => "balloon",
        Owner::Kept => "kept",
        Owner::Anonymous(_) => "anonymous",
        Owner::Block { .. } => "block",
        Owner::Leaving | Owner::Promised | Owner::Clearing => {
            assert!(is_pending, "page {ppn} of {owner:?} is waited for");
            "pending"
        }
    }
}

/// When the steps of a long reference are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Before,
    After,
}

#[derive(Clone, Debug)]
enum Act {
    Refer(Wish),
    Allocate(u32, Wait),
    Free(u32),
    FreeOthers(u32),
    Reset,
    Pass(u64),
    /// A reference during which others come, before its steps are done or before they are settled.
    Long(Wish, Vec<Act>, Done),
    /// Others of the same page or file: giving it back, or writing to it.
    Same(Access),
}

fn wish() -> impl Strategy<Value = Wish> {
    let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
    let page = prop_oneof![20 => 0u32..90, 1 => Just(u32::MAX), 1 => 100_000u32..100_020];
    let file = prop_oneof![10 => 0u32..4, 1 => Just(MAX_FILES - 1)];
    let block = prop_oneof![20 => 0u32..60, 1 => u32::MAX - 3..=u32::MAX];
    prop_oneof![
        20 => (page.clone(), access.clone()).prop_map(|(page, access)| Wish::Memory { page, access }),
        20 => (file.clone(), block, access).prop_map(|(file, block, access)| Wish::Block { file, block, access }),
        3 => page.prop_map(|page| Wish::Free { page }),
        1 => file.clone().prop_map(|file| Wish::Delete { file }),
        1 => file.clone().prop_map(|file| Wish::Flush { file }),
        1 => file.prop_map(|file| Wish::Look { file }),
    ]
}

fn driver_act() -> impl Strategy<Value = Act> {
    let wait = prop_oneof![Just(Wait::Never), Just(Wait::MaySleep)];
    prop_oneof![
        6 => (prop_oneof![0u32..40, Just(u32::MAX)], wait).prop_map(|(most, wait)| Act::Allocate(most, wait)),
        4 => (0u32..40).prop_map(Act::Free),
        1 => any::<u32>().prop_map(Act::FreeOthers),
        1 => Just(Act::Reset),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
    let meanwhile = prop_oneof![
        4 => driver_act(),
        2 => wish().prop_map(Act::Refer),
        2 => access.prop_map(Act::Same),
    ];
    let done = prop_oneof![Just(Done::Before), Just(Done::After)];
    let long = (wish(), prop::collection::vec(meanwhile, 1..4), done);
    prop_oneof![
        60 => wish().prop_map(Act::Refer),
        12 => driver_act(),
        5 => prop_oneof![Just(0), Just(SECOND_NS / 2), Just(u64::MAX)].prop_map(Act::Pass),
        15 => long.prop_map(|(wish, acts, done)| Act::Long(wish, acts, done)),
    ]
}

fn config() -> impl Strategy<Value = GuestConfig> {
    let kind = prop_oneof![Just(GuestKind::Linux), Just(GuestKind::Windows)];
    let swap = prop_oneof![Just(None), (0u32..100).prop_map(Some)];
    (kind, prop::sample::select(&Replacement::ALL), swap, 0u32..4).prop_map(
        |(kind, replacement, swap, boot_s)| GuestConfig {
            swap_pages: swap,
            boot_s,
            ..small(kind, replacement)
        },
    )
}

impl World {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Refer(wish) => _ = self.refer(Ref::new(wish)),
            Act::Allocate(most, wait) => _ = self.allocate(most, wait),
            Act::Free(most) => {
                let mut pages: Vec<u32> = self.ballooned.iter().copied().collect();
                pages.sort_unstable();
                let pages: Vec<Ppn> = pages.into_iter().take(most as usize).map(Ppn).collect();
                self.free(&pages);
            }
            Act::FreeOthers(ppn) => {
                let others = [ppn, 0, ppn % 100, 50].map(Ppn);
                let others = others.into_iter().filter(|ppn| !self.ballooned.contains(&ppn.0));
                let others: Vec<Ppn> = others.collect();
                self.free(&others);
            }
            Act::Reset => self.reset(),
            Act::Pass(idle_ns) => _ = self.pass(idle_ns),
            Act::Long(wish, ref acts, done) => self.long(wish, acts, done),
            Act::Same(_) => unreachable!("only while a long one lasts"),
        }
    }

    /// A reference that takes so long that others come meanwhile.
    fn long(&mut self, wish: Wish, meanwhile: &[Act], done: Done) {
        let (one, mut steps) = (Ref::new(wish), vec![]);
        if self.kernel.translate(&[one], &mut vec![]) == 1 {
            return;
        }
        let dealt = self.kernel.fault(one, &mut self.random, &mut steps);
        if dealt == Dealt::Served && one.memory_page().is_none() {
            self.see_given_back(wish);
        }
        self.audit();
        if done == Done::Before {
            self.perform(&steps);
        }
        for act in meanwhile {
            match (act, wish) {
                (Act::Refer(other), _) => self.short(*other),
                (Act::Same(Access::Read), Wish::Memory { page, .. }) => self.short(Wish::Free { page }),
                (Act::Same(Access::Read), Wish::Block { file, .. } | Wish::Flush { file }) => {
                    self.short(Wish::Delete { file });
                }
                (Act::Same(access), Wish::Flush { file }) => {
                    (0..60).for_each(|block| self.short(Wish::Block { file, block, access: *access }));
                }
                (Act::Same(_), _) => {}
                (act, _) => self.act(act),
            }
            self.audit();
        }
        if done == Done::After {
            self.perform(&steps);
        }
        self.kernel.settle();
        if let Wish::Memory { .. } | Wish::Block { .. } = wish {
            self.refer(one);
        }
    }

    /// A reference that takes no steps; others, and those of pages that are still to be filled, have to wait.
    fn short(&mut self, wish: Wish) {
        let (one, mut touches) = (Ref::new(wish), vec![]);
        match wish {
            Wish::Free { .. } | Wish::Delete { .. } | Wish::Look { .. } => {
                self.kernel.fault(one, &mut self.random, &mut vec![]);
                self.see_given_back(wish);
            }
            Wish::Flush { .. } => {}
            Wish::Memory { .. } | Wish::Block { .. } => {
                let kernel = &mut self.kernel;
                let ppn = match wish {
                    Wish::Block { file, block, .. } => kernel.cache.find(&kernel.owners, file, block),
                    _ => kernel.memory.find(one.memory_page().unwrap_or(0)),
                };
                if kernel.memory.pool.contains(ppn) || kernel.cache.pool.contains(ppn) {
                    assert_eq!(kernel.translate(&[one], &mut touches), 1);
                    self.see(one, Some(touches[0].ppn()));
                }
            }
        }
    }

    fn see_given_back(&mut self, wish: Wish) {
        if let Wish::Free { .. } | Wish::Delete { .. } = wish {
            self.see(Ref::new(wish), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn processes_read_what_they_wrote_and_every_page_is_in_one_place(
        config in config(),
        pages in 12u32..160,
        acts in prop::collection::vec(act(), 1..300),
    ) {
        let mut world = World::new(&config, pages);
        for act in &acts {
            world.act(act);
            world.audit();
        }
    }
}

#[test]
fn the_kinds_are_built_as_configured() {
    let seed = Seed([3; 32]);
    for (name, kind) in GuestKind::NAMES {
        let guest = build(&GuestConfig::of(kind), 65_536, 0, &seed).expect("large enough");
        assert_eq!((guest.name(), guest.memory().is_some()), (name, kind != GuestKind::Default));
    }
    let text = |config: &GuestConfig, pages| {
        build(config, pages, 0, &seed).map(|_| ()).expect_err("bad").to_string()
    };
    assert!(text(&GuestConfig::of(GuestKind::Linux), 1000).contains("1000 pages"));
    let much = GuestConfig { swap_pages: Some(1 << 31), ..linux() };
    assert!(text(&much, 1000).contains("at most 2147483647"));
}

/// Figure 1: inflating takes free pages, then clean cache, then what has to be written back, then what goes to the
/// guest's own swap device; deflating goes the other way.
#[test]
fn inflating_and_deflating_follow_figure_1() {
    let config = GuestConfig { dirty_expire_s: 1000, ..linux() };
    let mut world = World::booted(&config, 4096);
    world.write_memory(0..1000);
    world.read(1, 0..1500);
    (0..600).for_each(|block| _ = world.refer(Ref::block(2, block, Access::Write)));
    let before = world.says();
    assert!(
        before.free > 500 && before.dirty == 600 && before.cache >= 2140 && before.swapped == 0,
        "{before:?}"
    );
    let mut trace = vec![];
    let mut given = vec![];
    for _ in 0..40 {
        let mut now = world.allocate(100, Wait::Never).pages;
        let left = 100 - now.len() as u32;
        now.extend(world.allocate(left, Wait::MaySleep).pages);
        given.extend(now);
        world.pass(0);
        world.audit();
        let (says, counts) = (world.says(), world.kernel.counts());
        trace.push((says, [counts.drops, counts.write_backs, counts.swap_outs]));
    }
    // Each phase begins when the one before it is over.
    let begins = |what: usize| trace.iter().position(|at| at.1[what] > 0).expect("it happens");
    let (drops, writes, swaps) = (begins(0), begins(1), begins(2));
    assert!(0 < drops && drops < writes && writes <= swaps, "{drops} {writes} {swaps}");
    assert!(trace[drops - 1].0.free <= world.kernel.levels.high + 100, "free pages went first");
    assert!(trace[writes].1[0] + 200 > 1500 + 40, "clean cache went before anything was written");
    let (says, [.., swap_outs]) = *trace.last().expect("many");
    assert!(swap_outs > 500 && says.cache < 100 && says.anonymous < 500, "{says:?}");
    assert_eq!(says.anonymous + says.swapped, 1000);
    // And back.
    let half = given.split_off(given.len() / 2);
    world.free(&half);
    assert!(world.says().free >= half.len() as u32, "the free list grows");
    let in_before = world.kernel.counts();
    world.read(1, 0..1200);
    world.write_memory(0..1000);
    let (after, counts) = (world.says(), world.kernel.counts());
    assert!(after.cache >= 1000 && after.anonymous == 1000, "the cache fills again: {after:?}");
    assert!(counts.refaults - in_before.refaults >= 1150, "{counts:?}");
    assert_eq!(counts.swap_ins, counts.swap_outs);
}

#[test]
fn a_driver_that_sleeps_gets_what_was_written_at_its_next_poll() {
    let mut world = World::booted(&linux(), 1000);
    world.write_memory(0..940 - world.kernel.kernel);
    let free = world.allocate(1000, Wait::Never);
    assert!(free.pages.len() < 100 && !free.sleeps);
    let asleep = world.allocate(200, Wait::MaySleep);
    assert_eq!((asleep.pages.len(), asleep.sleeps), (0, true));
    let steps = world.pass(0);
    let writes = steps.iter().filter(|step| {
        matches!(step, Step::DiskWrite { errand: Errand::Swap, patience: Patience::GoesOn, .. })
    });
    assert!(writes.count() >= 200);
    assert_eq!(world.says().swapped as u64, world.kernel.counts().swap_outs);
    assert_eq!(world.allocate(200, Wait::Never).pages.len(), 200);
    // All of it in time, but for what a guest needs to run in; then no more, and it does not sleep on.
    for _ in 0..10 {
        world.allocate(1000, Wait::MaySleep);
        world.pass(0);
        world.audit();
    }
    let last = world.allocate(1000, Wait::MaySleep);
    assert_eq!((last.pages.len(), last.sleeps), (0, false));
    let says = world.says();
    let rest = says.anonymous + says.cache + says.free;
    assert_eq!(rest, world.kernel.levels.high + world.kernel.levels.min);
    assert_eq!(world.refer(Ref::memory(5, Access::Read)).0, Dealt::Served);
}

#[test]
fn a_driver_that_does_not_come_back_is_not_waited_for() {
    let mut world = World::booted(&linux(), 1000);
    world.write_memory(0..940 - world.kernel.kernel);
    assert!(world.allocate(150, Wait::MaySleep).sleeps);
    world.pass(0);
    assert_eq!(world.kernel.driver.kept.len() + world.ballooned.len(), 150);
    let (free, kept) = (world.says().free, world.kernel.driver.kept.len() as u32);
    (0..4).for_each(|_| _ = world.pass(0));
    assert_eq!((world.says().free, world.kernel.driver.kept.len()), (free + kept, 0));
    assert_eq!(world.kernel.counts().swap_outs, u64::from(world.says().swapped));
}

#[test]
fn without_memory_and_swap_space_a_process_is_killed() {
    let config = GuestConfig { swap_pages: Some(100), ..linux() };
    let mut world = World::booted(&config, 500);
    let mut served = 0;
    while world.refer(Ref::memory(served, Access::Write)).0 == Dealt::Served {
        served += 1;
    }
    world.audit();
    assert_eq!(served, 500 - world.kernel.kernel + 100, "all memory and all swap space");
    assert_eq!((world.says().cache, world.says().free, world.kernel.counts().kills), (0, 0, 1));
    (0..served).for_each(|page| _ = world.refer(Ref::new(Wish::Free { page })));
    world.audit();
    assert_eq!((world.says().anonymous, world.says().swapped), (0, 0));
    world.write_memory(0..50);
}

#[test]
fn reading_in_sequence_reads_ahead() {
    let mut world = World::booted(&linux(), 2000);
    let mut sizes = vec![];
    for block in 0..200 {
        let (_, steps) = world.refer(Ref::block(1, block, Access::Read));
        for step in steps {
            if let Step::DiskRead { pages, errand, position } = step {
                assert_eq!((errand, position), (Errand::File, (1 << 32) + u64::from(block)));
                sizes.push(pages);
            }
        }
    }
    assert_eq!(sizes, [1, 4, 8, 16, 32, 32, 32, 32, 32, 32]);
    assert_eq!(world.refer(Ref::block(1, 900, Access::Read)).1.len(), 2, "one read, one fill");
    let end = (u32::MAX - 1..=u32::MAX).map(|block| world.refer(Ref::block(1, block, Access::Read)).1.len());
    assert_eq!(end.collect::<Vec<_>>(), [2, 2], "nothing is after the last block");
    assert_eq!(AHEAD_MOST, 32);
}

#[test]
fn what_is_read_again_is_a_refault_once() {
    let mut world = World::booted(&small(GuestKind::Linux, Replacement::Lru), 500);
    world.read(1, 0..1000);
    assert_eq!(world.kernel.counts().refaults, 0);
    world.read(1, 0..100);
    let counts = world.kernel.counts();
    assert!((100..132).contains(&counts.refaults) && counts.file_reads >= 1100 + 40, "{counts:?}");
}

#[test]
fn a_scan_does_not_drive_out_what_is_used() {
    let mut world = World::booted(&linux(), 1000);
    let hot =
        |world: &mut World| (0..100).for_each(|block| _ = world.refer(Ref::block(1, block, Access::Read)));
    for round in 0..40 {
        hot(&mut world);
        world.read(2, round * 100..round * 100 + 100);
    }
    let before = world.kernel.counts().refaults;
    hot(&mut world);
    world.read(2, 4000..5500);
    hot(&mut world);
    assert_eq!(world.kernel.counts().refaults, before);
}

#[test]
fn dirty_blocks_are_written_when_they_are_old_or_flushed_in_order() {
    let mut world = World::booted(&linux(), 1000);
    for block in [9, 3, 7] {
        world.refer(Ref::block(1, block, Access::Write));
    }
    let places = |steps: Vec<Step>, wanted: Patience| -> Vec<u64> {
        let place = |step| match step {
            Step::DiskWrite { position, patience, .. } if patience == wanted => Some(position & 0xffff_ffff),
            _ => None,
        };
        steps.into_iter().filter_map(place).collect()
    };
    let seconds: Vec<_> = (0..8).map(|_| places(world.pass(0), Patience::GoesOn)).collect();
    let written: Vec<usize> =
        seconds.iter().enumerate().filter(|(_, all)| !all.is_empty()).map(|(s, _)| s).collect();
    assert_eq!((seconds.concat(), written), (vec![3, 7, 9], vec![4]));
    assert_eq!(world.says().dirty, 0);
    for block in [9, 3] {
        world.refer(Ref::block(1, block, Access::Write));
    }
    let flush = |world: &mut World| places(world.refer(Ref::new(Wish::Flush { file: 1 })).1, Patience::Waits);
    assert_eq!((flush(&mut world), flush(&mut world)), (vec![3, 9], vec![]));
}

#[test]
fn guests_of_one_image_have_contents_in_common() {
    let fills = |image: Option<&str>, serial| {
        let config = GuestConfig { image: image.map(String::from), ..linux() };
        let mut kernel = Kernel::new(&config, 500, serial, &Seed([1; 32]));
        let (mut steps, mut random) = (vec![], Seed([1; 32]).stream("guest", 0));
        (0..4).for_each(|second| kernel.background(second, 0, &mut random, &mut steps));
        kernel.settle();
        kernel.fault(Ref::block(3, 9, Access::Read), &mut random, &mut steps);
        let content = |step: &Step| match step {
            Step::Fill(_, Filling::Content(number)) => Some(*number),
            _ => None,
        };
        steps.iter().filter_map(content).collect::<HashSet<u64>>()
    };
    let one = fills(Some("debian"), 0);
    assert_eq!(one.len(), 4 + 40 + 1, "code, boot file, and a block");
    assert!(one.iter().all(|number| *number != 0 && *number < 1 << 63));
    assert_eq!(one, fills(Some("debian"), 1));
    let others = [fills(Some("fedora"), 0), fills(None, 0), fills(None, 1)];
    assert!(others.iter().all(|other| one.is_disjoint(other)) && others[1].is_disjoint(&others[2]));
}

#[test]
fn windows_zeroes_all_memory_at_boot_and_freed_pages_when_idle() {
    let config = small(GuestKind::Windows, Replacement::TwoList);
    let mut world = World::new(&config, 1000);
    let zeroed =
        |steps: Vec<Step>| steps.iter().filter(|step| matches!(step, Step::Fill(_, Filling::Zero))).count();
    let seconds: Vec<usize> = (0..5).map(|_| zeroed(world.pass(0))).collect();
    assert_eq!(seconds.iter().sum::<usize>() as u32, 1000 - world.kernel.kernel - 40, "{seconds:?}");
    assert!(seconds[..3].iter().all(|zeroed| *zeroed > 250) && seconds[3..] == [0, 0], "{seconds:?}");
    assert_eq!(world.kernel.counts().zeroed, 0, "boot is not the thread");
    // What is zero needs no fill.
    assert_eq!(world.refer(Ref::memory(1, Access::Write)).1, []);
    world.write_memory(0..200);
    (0..200).for_each(|page| _ = world.refer(Ref::new(Wish::Free { page })));
    assert_eq!(zeroed(world.pass(0)), 0, "it only runs when nothing else does");
    assert_eq!([zeroed(world.pass(SECOND_NS / 2)), zeroed(world.pass(u64::MAX))], [25, 50]);
    (0..10).for_each(|_| _ = world.pass(SECOND_NS));
    assert_eq!(world.kernel.counts().zeroed, 200);
    // Linux has no such thread.
    let mut world = World::booted(&linux(), 1000);
    world.write_memory(0..200);
    (0..200).for_each(|page| _ = world.refer(Ref::new(Wish::Free { page })));
    assert_eq!(zeroed(world.pass(SECOND_NS)), 0);
    assert_eq!(world.refer(Ref::memory(1, Access::Write)).1.len(), 1);
}

#[test]
fn tables_grow_with_what_is_used_not_with_numbers() {
    let mut world = World::booted(&linux(), 500);
    for far in 0..100 {
        world.refer(Ref::memory(u32::MAX - far * 1_000_000, Access::Write));
        world.refer(Ref::block(MAX_FILES - 1 - far, u32::MAX - far, Access::Write));
        world.refer(Ref::block(BOOT_FILE, far * 40_000_000, Access::Read));
    }
    world.audit();
    assert_eq!(world.allocate(u32::MAX, Wait::MaySleep).pages.len() as u32, world.kernel.driver.given);
    world.free(&[Ppn(0), Ppn(u32::MAX), Ppn(499)]);
    world.audit();
}

/// What comes of references in batches of so many. After each the last of them are asked about again, as if the host had
/// stopped before them.
fn in_batches(kind: Replacement, batch: usize, again: usize) -> (Kernel, Vec<Touch>) {
    let mut world = World::booted(&small(GuestKind::Linux, kind), 300);
    let mut random = Seed([6; 32]).stream("references", 0);
    let one = |random: &mut Stream| {
        let (page, access) = (random.below(260), [Access::Read, Access::Write][random.below(2) as usize]);
        if random.below(2) == 0 { Ref::memory(page, access) } else { Ref::block(1, page, access) }
    };
    let refs: Vec<Ref> = (0..3000).map(|_| one(&mut random)).collect();
    let (mut at, mut touches) = (0, vec![]);
    while at < refs.len() {
        let end = (at + batch).min(refs.len());
        let served = world.kernel.translate(&refs[at..end], &mut touches);
        let repeated = again.min(served);
        let mut same = vec![];
        world.kernel.translate(&refs[at + served - repeated..at + served], &mut same);
        assert_eq!(same, touches[touches.len() - repeated..]);
        at += served;
        if at < end {
            assert_eq!(world.kernel.fault(refs[at], &mut random, &mut vec![]), Dealt::Served);
            world.kernel.settle();
        }
    }
    (world.kernel, touches)
}

#[test]
fn where_a_batch_is_cut_changes_nothing() {
    for kind in Replacement::ALL {
        let (one, touches) = in_batches(kind, 1, 0);
        assert!(one.counts().swap_outs > 20 && one.counts().refaults > 100, "{:?}", one.counts());
        for (batch, again) in [(1, 1), (7, 3), (16, 16), (100, 50), (3000, 0), (3000, 3000)] {
            let (other, same) = in_batches(kind, batch, again);
            assert_eq!((touches.len(), &touches), (same.len(), &same), "{kind:?} {batch} {again}");
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{kind:?} {batch} {again}");
        }
    }
}

#[test]
fn the_smallest_guests_live_within_their_means() {
    let tiny = GuestConfig { kernel_pages: 0, metadata_bytes: 0, swap_pages: Some(1), ..linux() };
    for pages in 2..20 {
        let mut world = World::booted(&tiny, pages);
        let served = (0..30).filter(|page| world.refer(Ref::memory(*page, Access::Write)).0 == Dealt::Served);
        assert_eq!(served.count() as u32, pages - 1 + 1, "all pages but the kernel's, and a slot");
        world.allocate(u32::MAX, Wait::MaySleep);
        world.pass(SECOND_NS);
        world.reset();
        world.audit();
    }
}

#[test]
fn debug_is_short_and_shows_every_difference() {
    let config = linux();
    let text = |world: &World| format!("{:?}", world.kernel);
    let first = World::booted(&config, 500);
    let mut seen: HashSet<String> = [text(&first)].into();
    assert!(text(&first).len() < 2500);
    let acts: [&dyn Fn(&mut World); 6] = [
        &|world| world.write_memory(0..1),
        &|world| world.read(1, 5..6),
        &|world| _ = world.refer(Ref::block(1, 5, Access::Write)),
        &|world| _ = world.refer(Ref::block(1, 5, Access::Read)),
        &|world| _ = world.allocate(1, Wait::Never),
        &|world| _ = world.refer(Ref::new(Wish::Free { page: 0 })),
    ];
    let mut world = first.clone();
    for act in acts {
        act(&mut world);
        seen.insert(text(&world));
    }
    assert_eq!(seen.len(), 6, "all but reading what has just been read");
    assert!(seen.contains(&text(&first)), "a copy goes its own way");
}
