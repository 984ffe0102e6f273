//! Balloons over real memory (§3.2): what is given up and comes back, who is told, and which guests and drivers are not
//! to be believed.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::HashMap;

use common::{KINDS, Palette, config, keep};
use esxcore_core::audit::audit;
use esxcore_core::balloon::{Balloon, Ballooned, Given, GuestOs, GuestPage, GuestPages, PollReport, Wait};
use esxcore_core::config::{BalloonConfig, DriverConfig};
use esxcore_core::guest::DefaultGuest;
use esxcore_core::memory::Memory;
use esxcore_core::pmap::State;
use esxcore_core::rng::{Seed, Stream};
use esxcore_core::share::Scanner;
use esxcore_core::types::{Access, ContentKind, DriverHealth, Ppn, VmId};
use proptest::prelude::*;

const PALETTE: usize = 9;

/// A guest that names whatever comes to its mind: pages it has not, pages twice, ballooned ones, too many.
#[derive(Clone, Debug)]
struct Liar;

impl GuestOs for Liar {
    fn name(&self) -> &str {
        "liar"
    }

    fn allocate(&mut self, most: u32, _: Wait, own: GuestPages<'_>, random: &mut Stream) -> Given {
        let number = random.below(most.saturating_mul(2).clamp(2, 20));
        let mut ppns: Vec<Ppn> = (0..number).map(|_| Ppn(random.below(own.pages() + 4))).collect();
        ppns.extend([u32::MAX, own.pages()].map(Ppn));
        ppns.rotate_right(random.below(number + 2) as usize);
        Given { pages: ppns, sleeps: false }
    }

    fn free(&mut self, _: &[Ppn]) {}

    fn reset(&mut self) {}

    fn boxed_clone(&self) -> Box<dyn GuestOs> {
        Box::new(Self)
    }
}

/// A guest that gives one page and checks what it is told of its own pages.
#[derive(Clone, Debug)]
struct Witness;

impl GuestOs for Witness {
    fn name(&self) -> &str {
        "witness"
    }

    fn allocate(&mut self, _: u32, _: Wait, own: GuestPages<'_>, _: &mut Stream) -> Given {
        let pages: Vec<GuestPage> = (0..own.pages()).map(|ppn| own.page(Ppn(ppn))).collect();
        let number = |kind| pages.iter().filter(|page| **page == kind).count() as u32;
        // Of two pages in use one is paged out; the others are empty, or went into the balloon.
        let ballooned = number(GuestPage::Ballooned);
        assert_eq!((number(GuestPage::Empty), number(GuestPage::InUse)), (2 - ballooned, 2));
        assert_eq!(own.empty_at_most(), 3 - ballooned);
        Given { pages: vec![Ppn(2 + ballooned)], sleeps: false }
    }

    fn free(&mut self, _: &[Ppn]) {}

    fn reset(&mut self) {}

    fn boxed_clone(&self) -> Box<dyn GuestOs> {
        Box::new(Self)
    }
}

/// Memory and balloons, put together as a host would.
struct World {
    kind: ContentKind,
    palette: Palette,
    memory: Memory,
    scanner: Scanner,
    balloon: Balloon,
    vms: Vec<VmId>,
    serial: u64,
    /// What each page reads; pages that are not here read zero.
    wrote: HashMap<(VmId, Ppn), Vec<u8>>,
}

impl World {
    fn new(kind: ContentKind, machine_pages: u32, seed: u8) -> Self {
        let whole = BalloonConfig { host_cap_fraction: 1.0, ..BalloonConfig::default() };
        let config = config(kind, machine_pages, seed, u64::MAX);
        Self {
            kind,
            palette: Palette::new(PALETTE),
            memory: Memory::new(&config).unwrap(),
            scanner: Scanner::new(config.sharing, config.seed.clone()),
            balloon: Balloon::new(whole, config.seed),
            vms: vec![],
            serial: 0,
            wrote: HashMap::new(),
        }
    }

    fn add(&mut self, pages: u32, driver: DriverConfig, os: Box<dyn GuestOs>) -> VmId {
        let vm = self.memory.add_vm(pages, 0, &mut || Ok(())).unwrap();
        self.scanner.add_vm(vm, self.serial, pages);
        let about = Ballooned { serial: self.serial, pages, cap: Some(pages), driver };
        self.balloon.add_vm(vm, &about, os);
        self.vms.push(vm);
        self.serial += 1;
        vm
    }

    fn add_plain(&mut self, pages: u32) -> VmId {
        self.add(pages, DriverConfig::default(), Box::new(DefaultGuest::new("linux")))
    }

    fn remove(&mut self, vm: VmId) {
        self.vms.retain(|other| *other != vm);
        self.scanner.remove_vm(vm);
        self.balloon.remove_vm(vm);
        self.memory.remove_vm(vm);
        self.wrote.retain(|(owner, _), _| *owner != vm);
    }

    /// An access of the guest, as a host serves it; false if no machine page was free.
    fn touch(&mut self, vm: VmId, ppn: Ppn, access: Access) -> bool {
        while self.memory.entry(vm, ppn).faults(access) {
            let served = match self.memory.entry(vm, ppn).state() {
                State::Ballooned => {
                    self.balloon.pop(&mut self.memory, vm);
                    Ok(())
                }
                State::Empty => self.memory.zero_fill(vm, ppn),
                State::Shared(_) => self.memory.unshare(vm, ppn),
                State::Swapped(_) => self.memory.page_in(vm, ppn),
                State::Private(_) => unreachable!("nothing is traced"),
            };
            if served.is_err() {
                return false;
            }
        }
        true
    }

    fn write(&mut self, vm: VmId, ppn: Ppn, number: usize) -> bool {
        let served = self.touch(vm, ppn, Access::Write);
        if served {
            let page = self.palette.page(self.kind, number);
            self.memory.store(vm, ppn, page);
            self.wrote.insert((vm, ppn), keep(page));
        }
        served
    }

    /// The guest writes the same to all of these pages.
    fn fill(&mut self, vm: VmId, ppns: impl Iterator<Item = u32>, number: usize) {
        for ppn in ppns {
            assert!(self.write(vm, Ppn(ppn), number));
        }
    }

    fn poll(&mut self, vm: VmId) -> PollReport {
        let (size, free) = (self.balloon.size(vm), self.memory.machine().free_pages());
        let totals = *self.balloon.totals();
        let report = self.balloon.poll(&mut self.memory, vm);
        assert_eq!(self.memory.machine().free_pages(), free + report.freed);
        assert_eq!(self.balloon.size(vm), size + report.inflated - report.deflated);
        assert!(report.freed <= report.inflated && (report.inflated == 0 || report.deflated == 0));
        assert_eq!(self.balloon.totals().refused, totals.refused + u64::from(report.refused));
        let ballooned = self.ballooned(vm);
        self.wrote.retain(|(owner, ppn), _| *owner != vm || !ballooned.contains(&ppn.0));
        report
    }

    fn ballooned(&self, vm: VmId) -> Vec<u32> {
        let entries = self.memory.vm(vm).pmap().entries().iter().zip(0..);
        entries.filter(|(entry, _)| entry.state() == State::Ballooned).map(|(_, ppn)| ppn).collect()
    }

    fn progress(&self, vm: VmId) -> String {
        format!("{:?}", self.balloon.progress(vm))
    }

    fn fork(&self) -> Self {
        Self {
            palette: Palette::new(PALETTE),
            memory: self.memory.fork(&mut || Ok(())).unwrap(),
            scanner: self.scanner.clone(),
            balloon: self.balloon.clone(),
            vms: self.vms.clone(),
            wrote: self.wrote.clone(),
            ..*self
        }
    }

    /// Everything that could differ between two worlds.
    fn state(&self) -> Vec<String> {
        let of_vm = |vm: &VmId| {
            let entries = self.memory.vm(*vm).pmap().entries();
            let reads = (0..entries.len() as u32).map(|ppn| keep(self.memory.peek(*vm, Ppn(ppn))));
            format!("{} {:?} {:?}", self.progress(*vm), entries, reads.collect::<Vec<_>>())
        };
        self.vms.iter().map(of_vm).chain([format!("{:?}", self.balloon.totals())]).collect()
    }

    fn check(&self) {
        audit(&self.memory, &mut || Ok(())).unwrap();
        let zero = keep(self.palette.page(self.kind, 0));
        for vm in &self.vms {
            let (size, counts) = (self.balloon.size(*vm), self.balloon.counts(*vm));
            assert_eq!(self.ballooned(*vm).len(), size as usize);
            assert_eq!(counts.inflated - counts.deflated - counts.popped, u64::from(size));
            assert!(self.balloon.freed(*vm) <= size);
            assert!(self.balloon.target(*vm) <= self.balloon.cap(*vm));
            for ppn in (0..self.memory.vm(*vm).pmap().pages()).map(Ppn) {
                let wrote = self.wrote.get(&(*vm, ppn)).unwrap_or(&zero);
                assert!(keep(self.memory.peek(*vm, ppn)) == *wrote, "I9: page {} of VM {}", ppn.0, vm.0);
            }
        }
    }
}

/// One of the things that can happen to balloons.
fn step(world: &mut World, random: &mut Stream) {
    const PAGES: u32 = 24;
    if world.vms.len() < 2 || random.below(150) == 0 && world.vms.len() < 4 {
        let odd = |random: &mut Stream| (random.below(3) == 0).then(|| random.below(30));
        let driver = DriverConfig {
            start_s: Some(odd(random).unwrap_or(0)),
            max_rate: odd(random).unwrap_or(u32::MAX),
            limit_pages: odd(random).unwrap_or(u32::MAX),
            stuck_at_s: odd(random).map(|at| 20 * at),
        };
        let os: Box<dyn GuestOs> =
            if random.below(3) == 0 { Box::new(Liar) } else { Box::new(DefaultGuest::new("linux")) };
        world.add(PAGES, driver, os);
        return;
    }
    let vm = world.vms[random.below(world.vms.len() as u32) as usize];
    let ppn = Ppn(random.below(PAGES));
    match random.below(200) {
        0 => world.remove(vm),
        1 => *world = world.fork(),
        2..30 => {
            world.scanner.scan_host(&mut world.memory, 20);
        }
        30..40 => {
            // Refused if the page is not private.
            let _ = world.memory.page_out(vm, ppn);
        }
        40..50 => {
            let cap = random.below(2 * PAGES);
            world.balloon.set_cap(vm, (cap < PAGES).then_some(cap));
        }
        50..80 => world.balloon.set_target(vm, random.below(PAGES + 2)),
        80..130 => {
            world.poll(vm);
        }
        // Guests mostly keep off their ballooned pages.
        130..150 if world.memory.entry(vm, ppn).state() != State::Ballooned || random.below(4) == 0 => {
            world.touch(vm, ppn, if random.below(2) == 0 { Access::Read } else { Access::Write });
        }
        _ => {
            let number = random.below(PALETTE as u32) as usize;
            let near = (ppn.0..PAGES.min(ppn.0 + 4)).map(Ppn);
            for ppn in near {
                if world.memory.entry(vm, ppn).state() != State::Ballooned {
                    world.write(vm, ppn, number);
                }
            }
        }
    }
}

#[test]
fn random_histories_keep_every_invariant() {
    for kind in KINDS {
        for seed in 1..5 {
            let mut world = World::new(kind, 50, seed);
            let mut random = Seed([seed; 32]).stream("test", 0);
            for _ in 0..6000 {
                step(&mut world, &mut random);
                world.check();
            }
            let totals = world.balloon.totals();
            assert!(totals.inflated > 500 && totals.deflated > 300 && totals.refused > 300, "{totals:?}");
            assert!(totals.pops > 20 && totals.freed > 50, "{totals:?}");
        }
    }
}

#[test]
fn a_fork_goes_its_own_way_and_the_same_way_if_nothing_differs() {
    for seed in 1..9 {
        let mut world = World::new(ContentKind::Tokens, 50, seed);
        let mut random = Seed([seed; 32]).stream("test", 0);
        (0..300).for_each(|_| step(&mut world, &mut random));
        let (before, mut twin, mut again) = (world.state(), world.fork(), random.clone());
        (0..300).for_each(|_| step(&mut twin, &mut random));
        assert_eq!(world.state(), before);
        (0..300).for_each(|_| step(&mut world, &mut again));
        assert_eq!(world.state(), twin.state());
        assert_ne!(world.state(), before);
    }
}

#[test]
fn what_a_balloon_gives_is_counted_page_by_page() {
    for kind in KINDS {
        let mut world = World::new(kind, 50, 1);
        let (vm, other) = (world.add_plain(6), world.add_plain(2));
        // 0 and 1 are equal to each other, 2 to a page of the other; 3 is alone, 4 is paged out, 5 is empty.
        for (ppn, number) in [(0, 5), (1, 5), (2, 6), (3, 7), (4, 8)] {
            world.write(vm, Ppn(ppn), number);
        }
        world.write(other, Ppn(0), 6);
        world.scanner.scan_host(&mut world.memory, 8);
        let _ = world.memory.page_out(vm, Ppn(4)).unwrap();
        let free = world.memory.machine().free_pages();
        world.balloon.set_target(vm, 6);
        let report = world.poll(vm);
        assert_eq!(report, PollReport { inflated: 6, freed: 2, ..PollReport::default() });
        assert_eq!((world.balloon.size(vm), world.balloon.freed(vm)), (6, 2));
        assert_eq!(world.memory.machine().free_pages(), free + 2);
        assert_eq!(world.memory.swapfile().used_slots(), 0);
        assert_eq!(world.poll(vm), PollReport::default());
        // Last in, first out: the empty page was the first of all.
        world.balloon.set_target(vm, 1);
        assert_eq!(world.poll(vm), PollReport { deflated: 5, ..PollReport::default() });
        assert_eq!((world.ballooned(vm), world.balloon.freed(vm)), (vec![5], 0));
        assert!((0..5).all(|ppn| world.memory.entry(vm, Ppn(ppn)).state() == State::Empty));
        world.check();
        // What the guest has again it may use, and reads zero.
        assert!(world.touch(vm, Ppn(3), Access::Read));
        assert!(world.memory.peek(vm, Ppn(3)).is_zero());
        assert_eq!(world.balloon.pops(vm), 0);
    }
}

#[test]
fn touching_a_ballooned_page_pops_the_balloon() {
    let mut world = World::new(ContentKind::Tokens, 50, 1);
    let vm = world.add_plain(20);
    world.fill(vm, 0..20, 5);
    world.balloon.set_target(vm, 12);
    assert_eq!(world.poll(vm).freed, 12);
    let touched = Ppn(world.ballooned(vm)[7]);
    assert!(world.touch(vm, touched, Access::Read));
    assert_eq!((world.balloon.size(vm), world.balloon.freed(vm), world.balloon.pops(vm)), (0, 0, 1));
    assert_eq!(world.ballooned(vm), []);
    assert_eq!(world.memory.vm(vm).resident(), 9);
    assert!(world.memory.peek(vm, touched).is_zero());
    assert_eq!(world.balloon.pop(&mut world.memory, vm), 0);
    assert_eq!(world.balloon.pops(vm), 1, "an empty balloon does not pop");
    // The next poll only resets the driver; it starts anew at the one after, with pages that are empty now.
    assert_eq!(world.poll(vm), PollReport::default());
    assert_eq!(world.poll(vm), PollReport { inflated: 12, freed: 1, ..PollReport::default() });
    assert_eq!(world.balloon.health(vm), DriverHealth::Working);
    let counts = world.balloon.counts(vm);
    assert_eq!((counts.popped, counts.pops, counts.inflated), (12, 1, 24));
    world.check();
}

#[test]
fn a_lying_guest_changes_nothing_but_its_own_balloon() {
    let mut world = World::new(ContentKind::Tokens, 50, 1);
    let vm = world.add(20, DriverConfig::default(), Box::new(Liar));
    let other = world.add_plain(20);
    world.fill(other, 0..20, 5);
    world.balloon.set_target(vm, 15);
    let mut refused = 0;
    for _ in 0..200 {
        refused += world.poll(vm).refused;
        assert!(world.balloon.size(vm) <= 15);
        world.check();
    }
    assert_eq!(world.balloon.size(vm), 15);
    assert!(refused > 10, "{refused}");
    assert_eq!(u64::from(refused), world.balloon.counts(vm).refused);
    assert_eq!((world.ballooned(other), world.memory.vm(other).resident()), (vec![], 20));
}

#[test]
fn each_bad_driver_is_noticed_within_three_polls() {
    use DriverHealth::{Absent, Stalled, Working};
    let plain = DriverConfig::default();
    // Five polls with target 20 after five with target 5.
    let table = [
        (plain, [Working; 10], 20),
        (DriverConfig { start_s: None, ..plain }, [Absent; 10], 0),
        (
            DriverConfig { start_s: Some(3), ..plain },
            [Absent, Absent, Absent, Working, Working, Working, Working, Working, Working, Working],
            20,
        ),
        (
            DriverConfig { max_rate: 2, ..plain },
            [Working, Working, Working, Working, Working, Working, Working, Stalled, Stalled, Stalled],
            15,
        ),
        (
            DriverConfig { max_rate: 0, ..plain },
            [Working, Working, Stalled, Stalled, Stalled, Stalled, Stalled, Stalled, Stalled, Stalled],
            0,
        ),
        (
            DriverConfig { limit_pages: 9, ..plain },
            [Working, Working, Working, Working, Working, Working, Working, Stalled, Stalled, Stalled],
            9,
        ),
        (
            DriverConfig { stuck_at_s: Some(3), ..plain },
            [Working, Working, Working, Working, Working, Working, Working, Stalled, Stalled, Stalled],
            5,
        ),
    ];
    for (driver, expected, size) in table {
        let mut world = World::new(ContentKind::Tokens, 50, 1);
        let vm = world.add(40, driver, Box::new(DefaultGuest::new("linux")));
        let found: Vec<DriverHealth> = (0..10)
            .map(|second| {
                world.balloon.set_target(vm, if second < 5 { 5 } else { 20 });
                world.poll(vm);
                world.balloon.health(vm)
            })
            .collect();
        assert_eq!((&found[..], world.balloon.size(vm)), (&expected[..], size), "{driver:?}");
    }
}

#[test]
fn a_stalled_driver_that_moves_works_again() {
    let mut world = World::new(ContentKind::Tokens, 50, 1);
    let stingy = DriverConfig { limit_pages: 9, ..DriverConfig::default() };
    let vm = world.add(40, stingy, Box::new(DefaultGuest::new("linux")));
    world.balloon.set_target(vm, 20);
    for _ in 0..4 {
        world.poll(vm);
    }
    assert_eq!(world.balloon.health(vm), DriverHealth::Stalled);
    world.balloon.set_target(vm, 8);
    world.poll(vm);
    assert_eq!((world.balloon.size(vm), world.balloon.health(vm)), (8, DriverHealth::Working));
}

#[test]
fn a_driver_that_is_stuck_when_its_balloon_pops_never_starts_again() {
    let mut world = World::new(ContentKind::Tokens, 50, 1);
    let driver = DriverConfig { stuck_at_s: Some(2), ..DriverConfig::default() };
    let vm = world.add(40, driver, Box::new(DefaultGuest::new("linux")));
    world.balloon.set_target(vm, 20);
    world.poll(vm);
    world.touch(vm, Ppn(0), Access::Write);
    for _ in 0..5 {
        assert_eq!(world.poll(vm), PollReport::default());
        assert_eq!(world.balloon.size(vm), 0);
    }
    assert_eq!(world.balloon.health(vm), DriverHealth::Stalled);
    world.check();
}

#[test]
fn targets_keep_to_the_cap() {
    let caps = vec![("netware".into(), 0.25)];
    let config = BalloonConfig { guest_type_caps: caps, ..BalloonConfig::default() };
    let (mut world, mut balloon) =
        (World::new(ContentKind::Tokens, 400, 1), Balloon::new(config, Seed([1; 32])));
    let mut caps = vec![];
    for (serial, (os, cap)) in (0..).zip([("linux", None), ("linux", Some(90)), ("netware", None)]) {
        let vm = world.memory.add_vm(100, 0, &mut || Ok(())).unwrap();
        let about = Ballooned { serial, pages: 100, cap, driver: DriverConfig::default() };
        balloon.add_vm(vm, &about, Box::new(DefaultGuest::new(os)));
        balloon.set_target(vm, 1000);
        balloon.poll(&mut world.memory, vm);
        caps.push((balloon.cap(vm), balloon.target(vm), balloon.size(vm)));
    }
    assert_eq!(caps, [(50, 50, 50), (65, 65, 65), (25, 25, 25)]);
    // A lower cap lets pages go; a higher one leaves the target until it is set.
    let vm = VmId(1);
    balloon.set_cap(vm, Some(10));
    assert_eq!((balloon.target(vm), balloon.size(vm)), (10, 65));
    balloon.poll(&mut world.memory, vm);
    balloon.set_cap(vm, None);
    balloon.poll(&mut world.memory, vm);
    assert_eq!((balloon.cap(vm), balloon.target(vm), balloon.size(vm)), (50, 10, 10));
}

#[test]
fn a_guest_sees_its_own_pages_only() {
    let mut world = World::new(ContentKind::Tokens, 50, 1);
    let vm = world.add(4, DriverConfig::default(), Box::new(Witness));
    world.fill(vm, 0..2, 5);
    let _ = world.memory.page_out(vm, Ppn(1)).unwrap();
    for target in 1..3 {
        world.balloon.set_target(vm, target);
        assert_eq!(world.poll(vm).inflated, 1);
    }
}

#[test]
fn random_choices_follow_from_seed_and_serial_alone() {
    let chosen = |others: usize, serial: u64| {
        let mut world = World::new(ContentKind::Tokens, 300, 1);
        for _ in 0..others {
            world.add_plain(5);
        }
        world.serial = serial;
        let vm = world.add_plain(200);
        world.fill(vm, 0..200, 5);
        world.balloon.set_target(vm, 50);
        world.poll(vm);
        world.ballooned(vm)
    };
    assert_eq!(chosen(0, 7), chosen(3, 7));
    assert_ne!(chosen(3, 7), chosen(3, 8));
}

#[test]
fn pages_that_hold_nothing_go_first() {
    let mut world = World::new(ContentKind::Tokens, 5000, 1);
    let vm = world.add_plain(4000);
    world.fill(vm, (0..4000).filter(|ppn| ppn % 4 != 1), 5);
    world.balloon.set_target(vm, 900);
    assert_eq!(world.poll(vm).freed, 0);
    assert!(world.ballooned(vm).into_iter().eq((0..900).map(|index| 4 * index + 1)));
    world.balloon.set_target(vm, 1300);
    assert_eq!(world.poll(vm), PollReport { inflated: 400, freed: 300, ..PollReport::default() });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What happens to a balloon depends on its own targets, polls and pages, not on other machines or their order.
    #[test]
    fn a_balloon_does_not_depend_on_others(
        targets in prop::collection::vec(0u32..40, 1..30),
        polls in prop::collection::vec(0u32..3, 30),
        used in 1u32..40,
    ) {
        let mut alone = World::new(ContentKind::Tokens, 200, 7);
        let mut among = World::new(ContentKind::Tokens, 200, 7);
        let vm = alone.add_plain(40);
        let same = among.add_plain(40);
        let other = among.add_plain(40);
        for (target, polls) in targets.iter().zip(&polls) {
            for (world, vm) in [(&mut alone, vm), (&mut among, same)] {
                (0..used).for_each(|ppn| {
                    if world.memory.entry(vm, Ppn(ppn)).state() != State::Ballooned {
                        world.write(vm, Ppn(ppn), 4);
                    }
                });
                world.balloon.set_target(vm, *target);
            }
            for _ in 0..*polls {
                alone.poll(vm);
                among.balloon.set_target(other, 40 - *target);
                among.poll(other);
                among.poll(same);
            }
            among.touch(other, Ppn(*target), Access::Write);
        }
        prop_assert_eq!(alone.progress(vm), among.progress(same));
        prop_assert_eq!(alone.ballooned(vm), among.ballooned(same));
        among.check();
    }

    /// However far a target is, a healthy balloon reaches it and stays.
    #[test]
    fn a_healthy_balloon_reaches_its_target(targets in prop::collection::vec(0u32..=3000, 1..6), used in 0u32..3000) {
        let mut world = World::new(ContentKind::Tokens, 4000, 3);
        let vm = world.add_plain(3000);
        world.fill(vm, 0..used, 4);
        for target in targets {
            world.balloon.set_target(vm, target);
            // 3000 pages at 512 a poll, and a rate that may halve first.
            let polls = (0..8).find(|_| {
                world.poll(vm);
                world.balloon.size(vm) == target
            });
            prop_assert!(polls.is_some(), "{} of {target}", world.balloon.size(vm));
            prop_assert_eq!(world.poll(vm), PollReport::default());
            prop_assert_eq!(world.balloon.health(vm), DriverHealth::Working);
        }
        world.check();
    }
}
