//! Guests that manage their own memory, with balloons over real memory: what comes of each character of the zoo.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod zoo;

use std::sync::{Arc, Mutex};

use common::config;
use esxcore_core::audit::audit;
use esxcore_core::balloon::{Balloon, Ballooned, Dealt, GuestOs};
use esxcore_core::config::{BalloonConfig, DriverConfig, GuestConfig, GuestKind};
use esxcore_core::guest::build;
use esxcore_core::memory::Memory;
use esxcore_core::pmap::State;
use esxcore_core::reference::{GuestMemory, Ref, Step};
use esxcore_core::rng::{Seed, Stream};
use esxcore_core::types::{Access, ContentKind, DriverHealth, Ppn, VmId};
use zoo::{Habit, Ideal, Kept};

const PAGES: u32 = 2000;

/// One virtual machine, its guest and its balloon.
struct World {
    memory: Memory,
    balloon: Balloon,
    vm: VmId,
    os: Arc<Mutex<Box<dyn GuestOs>>>,
    second: u32,
    random: Stream,
    /// Pages that came in from the server's swap file only to be written to the guest's disk.
    double_paged: u32,
}

fn linux() -> GuestConfig {
    GuestConfig { kernel_pages: 50, boot_pages: 100, boot_s: 2, ..GuestConfig::of(GuestKind::Linux) }
}

fn kernel(config: &GuestConfig) -> Box<dyn GuestOs> {
    build(config, PAGES, 0, &Seed([1; 32])).unwrap()
}

impl World {
    fn new(os: Kept, driver: DriverConfig) -> Self {
        let mut config = config(ContentKind::Tokens, PAGES + 100, 1, u64::MAX);
        config.swap_pages = 1000;
        let mut memory = Memory::new(&config).unwrap();
        let vm = memory.add_vm(PAGES, 0, &mut || Ok(())).unwrap();
        let whole = BalloonConfig { host_cap_fraction: 1.0, ..BalloonConfig::default() };
        let mut balloon = Balloon::new(whole, config.seed);
        let handle = os.handle();
        balloon.add_vm(vm, &Ballooned { serial: 0, pages: PAGES, cap: Some(PAGES), driver }, Box::new(os));
        let random = Seed([2; 32]).stream("processes", 0);
        Self { memory, balloon, vm, os: handle, second: 0, random, double_paged: 0 }
    }

    /// A Linux-like guest that has booted and uses so many pages of memory.
    fn in_use(habit: Habit, pages: u32) -> Self {
        let mut world = Self::new(Kept::new(kernel(&linux()), habit), DriverConfig::default());
        world.pass(3);
        world.write(pages);
        world
    }

    /// An access of the guest, as a host serves it.
    fn touch(&mut self, ppn: Ppn, access: Access) {
        while self.memory.entry(self.vm, ppn).faults(access) {
            match self.memory.entry(self.vm, ppn).state() {
                State::Ballooned => _ = self.balloon.pop(&mut self.memory, self.vm),
                State::Empty => self.memory.zero_fill(self.vm, ppn).unwrap(),
                State::Swapped(_) => self.memory.page_in(self.vm, ppn).unwrap(),
                State::Shared(_) | State::Private(_) => unreachable!("nobody shares, and nothing is traced"),
            }
        }
    }

    fn perform(&mut self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Touch(touch) => self.touch(touch.ppn(), touch.access()),
                Step::Fill(ppn, _) => self.touch(ppn, Access::Write),
                Step::DiskRead { .. } => {}
                Step::DiskWrite { ppn, .. } => {
                    let state = self.memory.entry(self.vm, ppn).state();
                    self.double_paged += u32::from(matches!(state, State::Swapped(_)));
                    self.touch(ppn, Access::Read);
                }
            }
        }
    }

    fn refer(&mut self, one: Ref) -> Dealt {
        let (os, mut touches, mut steps) = (Arc::clone(&self.os), vec![], vec![]);
        if os.lock().unwrap().translate(&[one], &mut touches) == 0 {
            let dealt = os.lock().unwrap().fault(one, &mut self.random, &mut steps);
            self.perform(&steps);
            os.lock().unwrap().settle();
            if dealt != Dealt::Served {
                return dealt;
            }
            os.lock().unwrap().translate(&[one], &mut touches);
        }
        touches.iter().for_each(|touch| self.touch(touch.ppn(), touch.access()));
        Dealt::Served
    }

    fn write(&mut self, pages: u32) {
        (0..pages).for_each(|page| assert_eq!(self.refer(Ref::memory(page, Access::Write)), Dealt::Served));
    }

    /// Seconds in which no process runs; returns the balloon's size after each.
    fn pass(&mut self, seconds: u32) -> Vec<u32> {
        let mut sizes = vec![];
        for _ in 0..seconds {
            let mut steps = vec![];
            let os = Arc::clone(&self.os);
            os.lock().unwrap().background(self.second, 1_000_000_000, &mut self.random, &mut steps);
            self.perform(&steps);
            os.lock().unwrap().settle();
            self.balloon.poll(&mut self.memory, self.vm);
            self.second += 1;
            audit(&self.memory, &mut || Ok(())).unwrap();
            sizes.push(self.balloon.size(self.vm));
        }
        sizes
    }

    fn target(&mut self, pages: u32) {
        self.balloon.set_target(self.vm, pages);
    }

    fn size(&self) -> u32 {
        self.balloon.size(self.vm)
    }

    fn health(&self) -> DriverHealth {
        self.balloon.health(self.vm)
    }

    fn says(&self) -> GuestMemory {
        self.os.lock().unwrap().memory().unwrap()
    }

    fn resident(&self) -> u32 {
        self.memory.vm(self.vm).resident()
    }
}

/// Succeeds: what the host asks for is there at the next poll.
#[test]
fn an_ideal_guest_does_what_it_is_told() {
    let mut world = World::new(Kept::new(Box::new(Ideal), Habit::None), DriverConfig::default());
    (0..PAGES).for_each(|ppn| world.touch(Ppn(ppn), Access::Write));
    world.target(1500);
    assert_eq!((world.pass(1), world.resident()), (vec![1500], PAGES - 1500));
    world.target(10);
    assert_eq!(world.pass(1), [10]);
}

/// Succeeds: a guest with memory to spare gives it, and one without writes to its own disk, in seconds.
#[test]
fn a_kernel_reaches_its_target_and_its_processes_live_on() {
    let mut world = World::in_use(Habit::None, 1200);
    world.target(1500);
    let sizes = world.pass(6);
    assert!(sizes[0] > 400 && sizes[0] < 1500 && sizes[5] == 1500, "{sizes:?}");
    assert!(world.resident() <= PAGES - 1500 && world.health() != DriverHealth::Stalled);
    let says = world.says();
    assert!(says.swapped > 800 && says.swapped + says.anonymous == 1200, "{says:?}");
    // With so little memory they page, and the balloon stays whole.
    world.write(1200);
    assert_eq!((world.size(), world.double_paged), (1500, 0));
    world.target(0);
    world.pass(2);
    world.write(1200);
    assert_eq!((world.size(), world.says().swapped), (0, 0));
}

/// Succeeds, but badly: the guest writes out what the server has paged out already.
#[test]
fn pages_are_paged_twice_when_the_server_pages_first() {
    let mut world = World::in_use(Habit::None, 1600);
    for ppn in 500..900 {
        if world.memory.entry(world.vm, Ppn(ppn)).state().mpn().is_some() {
            assert!(world.memory.page_out(world.vm, Ppn(ppn)).is_ok());
        }
    }
    assert_eq!(world.double_paged, 0);
    world.target(1400);
    world.pass(6);
    assert!(world.size() == 1400 && world.double_paged > 300, "{} {}", world.size(), world.double_paged);
}

/// Succeeds late: so many pages a poll.
#[test]
fn a_slow_guest_comes_to_its_target() {
    let mut world = World::in_use(Habit::Slow(30), 200);
    world.target(300);
    let sizes = world.pass(12);
    assert!(
        sizes[0] <= 60 && sizes.windows(2).all(|two| two[0] <= two[1] && two[1] <= two[0] + 60),
        "{sizes:?}"
    );
    assert_eq!(sizes[11], 300);
}

/// Fails, and the host is told: nothing comes, the driver counts as stalled; what it has can be had back.
#[test]
fn a_stuck_guest_is_seen_to_be() {
    let mut world = World::in_use(Habit::Stuck(1), 1200);
    world.target(1500);
    let sizes = world.pass(8);
    assert_eq!(sizes, [sizes[0]; 8]);
    assert!(sizes[0] < 1500 && world.health() == DriverHealth::Stalled);
    world.target(0);
    assert_eq!(world.pass(1), [0]);
    world.write(1200);
}

/// Fails, and harms only itself: what it names that is not its own is refused, and what it goes on using pops the balloon.
#[test]
fn a_lying_guest_gains_nothing() {
    let mut world = World::in_use(Habit::Lying, 1200);
    world.target(1000);
    let mut pops = 0;
    for _ in 0..30 {
        let size = world.pass(1)[0];
        assert!(world.resident() <= PAGES - size, "a page is given up once");
        world.write(100);
        pops += u32::from(world.size() < size);
    }
    assert!(pops > 3, "{pops}");
    audit(&world.memory, &mut || Ok(())).unwrap();
}

/// Fails, and the host is told: the balloon stays as it was.
#[test]
fn a_crashed_guest_keeps_its_balloon() {
    let mut world = World::in_use(Habit::Crashed(2), 200);
    world.target(500);
    world.pass(1);
    world.target(1000);
    let sizes = world.pass(2);
    world.target(1200);
    let dead = world.pass(6);
    assert!(dead == [sizes[1]; 6] && world.health() == DriverHealth::Stalled, "{sizes:?} {dead:?}");
    assert!(world.resident() <= PAGES - world.size());
}

/// Succeeds again: booting touches ballooned pages, the balloon pops, the driver is reset, and then it inflates anew.
#[test]
fn a_rebooting_guest_loses_its_balloon_and_gets_another() {
    let windows = GuestConfig { kind: GuestKind::Windows, ..linux() };
    for config in [linux(), windows] {
        let mut world = World::new(Kept::new(kernel(&config), Habit::None), DriverConfig::default());
        world.pass(3);
        world.write(300);
        world.target(1000);
        assert_eq!(world.pass(1), [1000]);
        *world.os.lock().unwrap() = kernel(&config);
        world.pass(3);
        world.write(800);
        let pops = world.balloon.counts(world.vm).pops;
        assert!(pops > 0, "it knows of no balloon");
        assert_eq!(world.pass(6)[5], 1000);
        world.write(800);
        assert_eq!((world.size(), world.balloon.counts(world.vm).pops), (1000, pops), "now it does");
    }
}

/// Succeeds: Windows touches all its memory at boot, and its late driver inflates afterwards.
#[test]
fn windows_boots_on_all_its_memory_before_its_driver_comes() {
    let config = GuestConfig { kind: GuestKind::Windows, ..linux() };
    let driver = DriverConfig { start_s: Some(4), ..DriverConfig::default() };
    let mut world = World::new(Kept::new(kernel(&config), Habit::None), driver);
    world.target(1000);
    assert_eq!(world.pass(3), [0; 3]);
    assert_eq!(world.resident(), PAGES);
    world.pass(2);
    assert_eq!((world.size(), world.resident()), (1000, PAGES - 1000));
}
