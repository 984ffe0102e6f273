//! The balloon driver: the end of the protocol that runs in the guest.
//!
//! Once a second it asks for its target and allocates or frees pages toward it. How many follows from how the guest
//! takes it:
//!
//! - It allocates without sleeping as long as that works, up to 16 384 pages. When it fails, this cycle may go on
//!   sleeping up to the allocation rate, and until four polls later all is done at that rate.
//! - A failure to allocate asleep halves the allocation rate, 512 at least. A cycle without such a failure that reached
//!   the rate adds 16 for each whole rate obtained, up to 2048, where it starts.
//! - It frees at the free rate, last in first out. A failure halves that rate, a clean cycle adds 16; it starts at the
//!   most, 16 384, and is 512 at least.
//!
//! Pages that the host refuses are set aside and freed at the end of the cycle, so that the guest does not name them
//! again in it. Told to reset, the driver frees all it has, without asking, and starts anew at its next poll.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use super::seam::{Given, GuestOs, GuestPages, Wait};
use crate::config::{
    BALLOON_FREE_MAX_RATE, BALLOON_FREE_MIN_RATE, BALLOON_NOSLEEP_RATE, BALLOON_RATE_STEP,
    BALLOON_SLEEP_MAX_RATE, BALLOON_SLEEP_MIN_RATE, BALLOON_SLOW_POLLS, DriverConfig,
};
use crate::rng::Stream;
use crate::types::Ppn;

/// What the host answers to the question for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The balloon should have so many pages.
    Target(u32),
    /// The host has no balloon any more.
    Reset,
}

/// The host did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// The private channel to the host: the messages of the protocol.
pub(super) trait Channel {
    /// START: a driver without a balloon is there.
    fn start(&mut self);
    /// GET TARGET.
    fn get_target(&mut self) -> Answer;
    /// LOCK: the guest has given the page up.
    fn lock(&mut self, ppn: Ppn) -> Result<(), Refused>;
    /// UNLOCK: the guest is about to use the page again.
    fn unlock(&mut self, ppn: Ppn) -> Result<(), Refused>;
    /// The guest's own pages.
    fn own_pages(&self) -> GuestPages<'_>;
}

/// The guest that a driver runs in.
pub(super) struct Guest<'a> {
    pub os: &'a mut dyn GuestOs,
    pub random: &'a mut Stream,
}

/// A driver, or the place where one may be loaded.
#[derive(Clone, Debug)]
pub(super) struct Driver {
    config: DriverConfig,
    /// Seconds since power-on.
    seconds: u32,
    has_started: bool,
    rates: Rates,
    balloon: Stack,
}

impl Driver {
    pub fn new(config: DriverConfig) -> Self {
        Self { config, seconds: 0, has_started: false, rates: Rates::FIRST, balloon: Stack(vec![]) }
    }

    /// Lets a second pass, and does what the driver does in it.
    pub fn poll(&mut self, host: &mut impl Channel, guest: &mut Guest<'_>) {
        let second = self.seconds;
        self.seconds = second.saturating_add(1);
        let is_loaded = self.config.start_s.is_some_and(|start| second >= start);
        if is_loaded && self.config.stuck_at_s.is_none_or(|stuck| second < stuck) {
            self.cycle(host, guest);
        }
    }

    fn cycle(&mut self, host: &mut impl Channel, guest: &mut Guest<'_>) {
        if !self.has_started {
            host.start();
            self.has_started = true;
        }
        self.rates.slow_polls = self.rates.slow_polls.saturating_sub(1);
        let size = self.balloon.0.len() as u32;
        match host.get_target() {
            Answer::Reset => self.reset(guest),
            Answer::Target(target) if target < size => self.deflate(size - target, host, guest),
            Answer::Target(target) => {
                let target = target.min(self.config.limit_pages);
                self.inflate(target.saturating_sub(size), host, guest);
            }
        }
    }

    fn reset(&mut self, guest: &mut Guest<'_>) {
        self.balloon.0.clear();
        self.rates = Rates::FIRST;
        self.has_started = false;
        guest.os.reset();
    }

    fn inflate(&mut self, pages: u32, host: &mut impl Channel, guest: &mut Guest<'_>) {
        let goal = pages.min(self.config.max_rate);
        let mut set_aside = vec![];
        let at_once = goal.min(self.rates.without_sleep());
        let mut obtained = self.allocate(at_once, Wait::Never, host, guest, &mut set_aside).obtained;
        let mut asleep = 0;
        if obtained < at_once {
            self.rates.slow_polls = BALLOON_SLOW_POLLS;
            asleep = goal.min(self.rates.allocate).saturating_sub(obtained);
            let more = self.allocate(asleep, Wait::MaySleep, host, guest, &mut set_aside);
            obtained += more.obtained;
            asleep = if more.sleeps { 0 } else { asleep - more.obtained };
        }
        self.rates.after_inflating(obtained, asleep);
        if !set_aside.is_empty() {
            guest.os.free(&set_aside);
        }
    }

    /// Tells how many pages the guest gave, whatever the host did with them.
    fn allocate(
        &mut self,
        most: u32,
        wait: Wait,
        host: &mut impl Channel,
        guest: &mut Guest<'_>,
        set_aside: &mut Vec<Ppn>,
    ) -> Allocated {
        if most == 0 {
            return Allocated::default();
        }
        let Given { pages: mut given, sleeps } =
            guest.os.allocate(most, wait, host.own_pages(), guest.random);
        let beyond = given.split_off(given.len().min(most as usize));
        for ppn in &given {
            match host.lock(*ppn) {
                Ok(()) => self.balloon.0.push(*ppn),
                Err(Refused) => set_aside.push(*ppn),
            }
        }
        set_aside.extend(beyond);
        Allocated { obtained: given.len() as u32, sleeps }
    }

    fn deflate(&mut self, pages: u32, host: &mut impl Channel, guest: &mut Guest<'_>) {
        let now = pages.min(self.rates.free).min(self.config.max_rate);
        if now == 0 {
            return;
        }
        let mut freed = self.balloon.0.split_off(self.balloon.0.len() - now as usize);
        freed.reverse();
        // A page that the host does not hold is the guest's anyway.
        let refused = freed.iter().filter(|ppn| host.unlock(**ppn).is_err()).count();
        self.rates.after_deflating(refused);
        guest.os.free(&freed);
    }
}

/// What came of an allocation in the guest.
#[derive(Clone, Copy, Debug, Default)]
struct Allocated {
    obtained: u32,
    sleeps: bool,
}

/// How much a driver does in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rates {
    allocate: u32,
    free: u32,
    slow_polls: u32,
}

impl Rates {
    const FIRST: Self = Self { allocate: BALLOON_SLEEP_MAX_RATE, free: BALLOON_FREE_MAX_RATE, slow_polls: 0 };

    fn without_sleep(&self) -> u32 {
        if self.slow_polls > 0 { self.allocate } else { BALLOON_NOSLEEP_RATE }
    }

    /// After a cycle that obtained so many pages and failed to obtain `failed` more asleep.
    fn after_inflating(&mut self, obtained: u32, failed: u32) {
        self.allocate = if failed > 0 {
            (self.allocate / 2).max(BALLOON_SLEEP_MIN_RATE)
        } else {
            let whole = obtained / self.allocate;
            (self.allocate + BALLOON_RATE_STEP * whole).min(BALLOON_SLEEP_MAX_RATE)
        };
    }

    fn after_deflating(&mut self, failed: usize) {
        self.free = if failed > 0 {
            (self.free / 2).max(BALLOON_FREE_MIN_RATE)
        } else {
            (self.free + BALLOON_RATE_STEP).min(BALLOON_FREE_MAX_RATE)
        };
    }
}

/// The pages of a balloon, the last one on top; shown as a hash, since there are many.
#[derive(Clone)]
struct Stack(Vec<Ppn>);

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hash = Xxh3::new();
        self.0.iter().for_each(|ppn| hash.update(&ppn.0.to_le_bytes()));
        write!(f, "{} pages {:#018x}", self.0.len(), hash.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pmap::{Entry, State};
    use crate::rng::Seed;

    /// A guest that has so many pages free, and so many more to reclaim in each cycle.
    #[derive(Clone, Debug, Default)]
    struct Plain {
        free: u32,
        reclaimable: u32,
        next: u32,
        gives_too_many: u32,
        sleeps: bool,
        freed: Vec<u32>,
        resets: u32,
    }

    impl GuestOs for Plain {
        fn name(&self) -> &str {
            "plain"
        }

        fn allocate(&mut self, most: u32, wait: Wait, _: GuestPages<'_>, _: &mut Stream) -> Given {
            let has = if wait == Wait::Never { self.free } else { self.reclaimable };
            let given = most.min(has) + self.gives_too_many;
            if wait == Wait::Never {
                self.free -= given;
            }
            self.next += given;
            let pages = (self.next - given..self.next).map(Ppn).collect();
            Given { pages, sleeps: wait == Wait::MaySleep && self.sleeps }
        }

        fn free(&mut self, pages: &[Ppn]) {
            self.freed.extend(pages.iter().map(|ppn| ppn.0));
        }

        fn reset(&mut self) {
            self.resets += 1;
        }

        fn boxed_clone(&self) -> Box<dyn GuestOs> {
            Box::new(self.clone())
        }
    }

    /// A host that only keeps what it was told.
    #[derive(Default)]
    struct Plainer {
        target: u32,
        resets: bool,
        refuses_odd: bool,
        refuses_unlock: bool,
        starts: u32,
        locked: Vec<u32>,
        unlocked: Vec<u32>,
        entries: Vec<Entry>,
    }

    impl Channel for Plainer {
        fn start(&mut self) {
            self.starts += 1;
            self.resets = false;
        }

        fn get_target(&mut self) -> Answer {
            if self.resets { Answer::Reset } else { Answer::Target(self.target) }
        }

        fn lock(&mut self, ppn: Ppn) -> Result<(), Refused> {
            if self.refuses_odd && ppn.0 % 2 == 1 {
                return Err(Refused);
            }
            self.locked.push(ppn.0);
            Ok(())
        }

        fn unlock(&mut self, ppn: Ppn) -> Result<(), Refused> {
            self.unlocked.push(ppn.0);
            if self.refuses_unlock { Err(Refused) } else { Ok(()) }
        }

        fn own_pages(&self) -> GuestPages<'_> {
            GuestPages::new(&self.entries, 1)
        }
    }

    struct World {
        driver: Driver,
        host: Plainer,
        guest: Plain,
        random: Stream,
    }

    impl World {
        fn new(config: DriverConfig, target: u32, free: u32, reclaimable: u32) -> Self {
            let host = Plainer { target, entries: vec![Entry::new(State::Empty)], ..Plainer::default() };
            let guest = Plain { free, reclaimable, ..Plain::default() };
            Self { driver: Driver::new(config), host, guest, random: Seed([1; 32]).stream("guest", 0) }
        }

        fn healthy(target: u32, free: u32, reclaimable: u32) -> Self {
            Self::new(DriverConfig::default(), target, free, reclaimable)
        }

        /// Polls so often; returns the size after each.
        fn poll(&mut self, times: u32) -> Vec<usize> {
            let mut sizes = vec![];
            for _ in 0..times {
                let guest = &mut Guest { os: &mut self.guest, random: &mut self.random };
                self.driver.poll(&mut self.host, guest);
                sizes.push(self.driver.balloon.0.len());
            }
            sizes
        }
    }

    #[test]
    fn what_is_free_is_allocated_fast() {
        let mut world = World::healthy(40_000, 100_000, 0);
        assert_eq!(world.poll(4), [16_384, 32_768, 40_000, 40_000]);
        assert_eq!((world.host.starts, world.driver.rates), (1, Rates::FIRST));
    }

    #[test]
    fn without_free_pages_it_goes_on_asleep() {
        let mut world = World::healthy(100_000, 20_000, 1_000_000);
        // The second cycle fails after 3616 pages, more than the rate: it does not sleep.
        assert_eq!(world.poll(4), [16_384, 20_000, 22_048, 24_096]);
        assert_eq!(world.driver.rates, Rates { slow_polls: 4, ..Rates::FIRST });
        // A cycle that fails before the rate goes on up to it.
        let mut world = World::healthy(100_000, 1000, 1_000_000);
        assert_eq!(world.poll(2), [2048, 4096]);
    }

    #[test]
    fn slow_cycles_end_at_the_fourth_poll_after() {
        let mut world = World::healthy(100_000, 2100, 0);
        assert_eq!(world.poll(1), [2100]);
        world.guest.free = 90_000;
        assert_eq!(world.poll(5), [4148, 6196, 8244, 24_628, 41_012]);
    }

    #[test]
    fn slow_cycles_pass_while_nothing_is_to_do() {
        let mut world = World::healthy(100_000, 2100, 0);
        world.poll(1);
        (world.guest.free, world.host.target) = (90_000, 2100);
        assert_eq!(world.poll(3), [2100; 3]);
        world.host.target = 100_000;
        assert_eq!(world.poll(1), [18_484]);
    }

    #[test]
    fn the_sleeping_rate_halves_and_recovers() {
        let mut world = World::healthy(100_000, 0, 1080);
        let sizes = world.poll(8);
        // 2048 wanted and 1080 got; then 1024, 1040, 1056, 1072 got whole; 1088 wanted; then 544, 560.
        assert_eq!(sizes, [1080, 2104, 3144, 4200, 5272, 6352, 6896, 7456]);
        assert_eq!(world.driver.rates.allocate, 576);
        world.guest.reclaimable = 0;
        world.poll(9);
        assert_eq!(world.driver.rates.allocate, BALLOON_SLEEP_MIN_RATE);
        world.guest.reclaimable = u32::MAX / 2;
        world.host.target = 1_000_000;
        world.poll(200);
        assert_eq!(world.driver.rates.allocate, BALLOON_SLEEP_MAX_RATE, "96 cycles are enough");
    }

    #[test]
    fn a_fast_cycle_adds_for_each_whole_rate() {
        let mut world = World::healthy(100_000, 0, 0);
        world.poll(2);
        assert_eq!(world.driver.rates.allocate, 512);
        world.host.target = 0;
        world.poll(4);
        (world.host.target, world.guest.free) = (100_000, 100_000);
        // 16 384 pages are 32 rates of 512, then 16 of 1024; 5000 pages are 3 of 1280.
        assert_eq!(world.poll(1), [16_384]);
        assert_eq!(world.driver.rates.allocate, 1024);
        world.poll(1);
        world.host.target = 37_768;
        assert_eq!(world.poll(1), [37_768]);
        assert_eq!(world.driver.rates.allocate, 1328);
        // A goal that is short of the rate leaves it.
        world.host.target = 37_769;
        world.poll(1);
        assert_eq!(world.driver.rates.allocate, 1328);
    }

    #[test]
    fn pages_are_freed_last_in_first_out() {
        let mut world = World::healthy(40_000, 100_000, 0);
        world.poll(3);
        world.host.target = 10;
        assert_eq!(world.poll(4), [23_616, 7232, 10, 10]);
        assert!(world.host.unlocked.iter().copied().eq((10..40_000).rev()));
        assert_eq!(world.guest.freed, world.host.unlocked);
    }

    #[test]
    fn the_free_rate_halves_and_recovers() {
        let mut world = World::healthy(80_000, 100_000, 0);
        world.poll(5);
        (world.host.target, world.host.refuses_unlock) = (0, true);
        // 16 384, 8192, 4096, 2048, 1024, then 512 each time.
        assert_eq!(world.poll(7), [63_616, 55_424, 51_328, 49_280, 48_256, 47_744, 47_232]);
        world.host.refuses_unlock = false;
        assert_eq!(world.poll(3), [46_720, 46_192, 45_648]);
        world.host.refuses_unlock = true;
        assert_eq!(world.poll(2), [45_088, 44_576]);
    }

    #[test]
    fn refused_pages_are_freed_at_the_end_of_the_cycle() {
        let mut world = World::healthy(10, 4, 100);
        world.host.refuses_odd = true;
        assert_eq!(world.poll(1), [5]);
        assert_eq!(
            (&world.host.locked[..], &world.guest.freed[..]),
            (&[0, 2, 4, 6, 8][..], &[1, 3, 5, 7, 9][..])
        );
        // They count as obtained, so that a cycle ends.
        let mut world = World::healthy(100_000, 100_000, 0);
        world.host.refuses_odd = true;
        assert_eq!(world.poll(2), [8192, 16_384]);
    }

    #[test]
    fn more_pages_than_asked_are_not_taken() {
        let mut world = World::healthy(10, 100, 0);
        world.guest.gives_too_many = 3;
        assert_eq!(world.poll(2), [10, 10]);
        assert_eq!((world.host.locked.len(), &world.guest.freed[..]), (10, &[10, 11, 12][..]));
    }

    #[test]
    fn a_reset_takes_a_poll_of_its_own() {
        let mut world = World::healthy(40_000, 3000, 0);
        world.poll(3);
        world.host.resets = true;
        world.guest.free = 50_000;
        assert_eq!(world.poll(1), [0]);
        assert_eq!((world.guest.resets, world.host.starts, world.driver.rates), (1, 1, Rates::FIRST));
        assert!(world.host.unlocked.is_empty() && world.guest.freed.is_empty());
        assert_eq!(world.poll(2), [16_384, 32_768]);
        assert_eq!((world.guest.resets, world.host.starts), (1, 2));
    }

    #[test]
    fn numbers_make_all_kinds_of_drivers() {
        let plain = DriverConfig::default();
        let table: [(DriverConfig, [usize; 5]); 8] = [
            (plain, [100, 100, 100, 100, 100]),
            (DriverConfig { start_s: None, ..plain }, [0; 5]),
            (DriverConfig { start_s: Some(2), ..plain }, [0, 0, 100, 100, 100]),
            (DriverConfig { max_rate: 30, ..plain }, [30, 60, 90, 100, 100]),
            (DriverConfig { max_rate: 0, ..plain }, [0; 5]),
            (DriverConfig { limit_pages: 70, ..plain }, [70; 5]),
            (DriverConfig { max_rate: 30, stuck_at_s: Some(2), ..plain }, [30, 60, 60, 60, 60]),
            (DriverConfig { start_s: Some(3), stuck_at_s: Some(3), ..plain }, [0; 5]),
        ];
        for (config, sizes) in table {
            let mut world = World::new(config, 100, 1000, 0);
            assert_eq!(world.poll(5), sizes, "{config:?}");
        }
        let mut slow = World::new(DriverConfig { max_rate: 30, limit_pages: 50, ..plain }, 100, 1000, 0);
        assert_eq!(slow.poll(3), [30, 50, 50]);
        slow.host.target = 1;
        assert_eq!(slow.poll(3), [20, 1, 1]);
    }

    #[test]
    fn pages_of_a_balloon_are_shown_in_their_order() {
        let shown = |ppns: &[u32]| format!("{:?}", Stack(ppns.iter().copied().map(Ppn).collect()));
        assert_eq!(shown(&[1, 2]), shown(&[1, 2]));
        assert_ne!(shown(&[1, 2]), shown(&[2, 1]));
        assert!(shown(&[1, 2]).starts_with("2 pages "));
    }
}
