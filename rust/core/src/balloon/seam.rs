//! What is asked of a guest's operating system, by the balloon and by the processes that run in it: the seam `GuestOs`.

use std::fmt::Debug;
use std::ops::Range;

use crate::pmap::{Entry, State};
use crate::reference::{GuestCounts, GuestMemory, MAX_TOUCHED_PAGES, Ref, Step, Touch};
use crate::rng::Stream;
use crate::types::Ppn;

/// Whether an allocation may wait for the guest to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It takes what is free, or fails.
    Never,
    /// It sleeps while the guest reclaims pages, perhaps writing them to its own disk.
    MaySleep,
}

/// What a guest knows of one of its pages. On which machine page it is, if on any, is hidden from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestPage {
    /// Never used, or given back by the balloon: on its free list.
    Empty,
    /// It may hold something.
    InUse,
    /// In the balloon.
    Ballooned,
}

/// A guest's own pages as it sees them, read-only.
#[derive(Clone, Copy, Debug)]
pub struct GuestPages<'a> {
    entries: &'a [Entry],
    empty_at_most: u32,
}

impl<'a> GuestPages<'a> {
    /// The pages of a pmap, of which no more than `empty_at_most` are empty.
    #[must_use]
    pub fn new(entries: &'a [Entry], empty_at_most: u32) -> Self {
        Self { entries, empty_at_most }
    }

    /// Pages.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.entries.len() as u32
    }

    /// One page.
    ///
    /// # Panics
    ///
    /// If the guest has no such page.
    #[must_use]
    pub fn page(&self, ppn: Ppn) -> GuestPage {
        match self.entries[ppn.index()].state() {
            State::Empty => GuestPage::Empty,
            State::Ballooned => GuestPage::Ballooned,
            State::Private(_) | State::Shared(_) | State::Swapped(_) => GuestPage::InUse,
        }
    }

    /// No more pages than these are empty; 0 saves a search for them.
    #[must_use]
    pub fn empty_at_most(&self) -> u32 {
        self.empty_at_most
    }
}

/// Pages that a guest gave its balloon driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Which.
    pub pages: Vec<Ppn>,
    /// Whether the guest is still making room for the rest, writing to its disk: the driver sleeps on, and gets more at its
    /// next poll. Otherwise the rest has failed.
    pub sleeps: bool,
}

/// What came of a reference that a guest had to deal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dealt {
    /// Once the steps are done, it translates, or has been served if it names no page.
    Served,
    /// There is neither memory nor swap space for it: the process is killed.
    Killed,
    /// The guest has nothing that it could refer to: the process is killed, and whoever wrote it has made a mistake.
    Unknown,
}

/// A guest's operating system: how it manages its own memory. The balloon driver allocates in it (§3.2), and which page
/// it gives up is its own choice; the processes that run in it have their references translated into touches of its pages.
///
/// Its random choices come from the stream that it is handed, and its `Debug` output shows all of its state, because the
/// digest of a host is made from it. What it names is checked by the host: a guest that lies is refused.
///
/// By default a guest manages nothing: a process's page of memory is the "physical" page of the same number.
pub trait GuestOs: Send + Sync + Debug {
    /// The guest's type, by which a host may cap balloons.
    fn name(&self) -> &str;

    /// Up to `most` pages for the driver, which the guest does without until they are freed. Fewer is a failure that
    /// slows the driver down, unless the guest says that it sleeps. Further ones are not taken.
    fn allocate(&mut self, most: u32, wait: Wait, own: GuestPages<'_>, random: &mut Stream) -> Given;

    /// The driver has freed these pages. Those that were in the balloon are empty.
    fn free(&mut self, pages: &[Ppn]);

    /// The balloon is gone: the driver has freed all its pages at once, and they are empty.
    fn reset(&mut self);

    /// Translates references of a process, from the first, into touches of the guest's pages, one each, up to the first
    /// that it has to deal with; returns how many. Asking again about those that were not touched then changes nothing.
    fn translate(&mut self, refs: &[Ref], touches: &mut Vec<Touch>) -> usize {
        let page = |one: &Ref| one.memory_page().filter(|page| *page < MAX_TOUCHED_PAGES);
        let found = refs.iter().map_while(|one| Some(Touch::new(Ppn(page(one)?), one.access())));
        let before = touches.len();
        touches.extend(found);
        touches.len() - before
    }

    /// Deals with a reference that does not translate. The steps are to be done in order, then `settle` is called; until
    /// then no page that they name is given to anybody else.
    fn fault(&mut self, reference: Ref, random: &mut Stream, steps: &mut Vec<Step>) -> Dealt {
        let _ = (random, steps);
        // Without files there is nothing to read or write, and nothing to wait for.
        if reference.is_access() { Dealt::Unknown } else { Dealt::Served }
    }

    /// A process is through with these pages of memory, or has been killed: what they held is lost. Neither takes time.
    ///
    /// A guest that manages nothing keeps what is in its pages, as it does not know whose they were.
    fn take_memory_back(&mut self, pages: Range<u32>) {
        let _ = pages;
    }

    /// All steps are done.
    fn settle(&mut self) {}

    /// What it does of itself in a second, `second` seconds after power-on, of which it has been idle for `idle_ns`: boot,
    /// write back, clear freed pages, make room for a driver that sleeps. Steps as of `fault`, to be settled too.
    fn background(&mut self, second: u32, idle_ns: u64, random: &mut Stream, steps: &mut Vec<Step>) {
        let _ = (second, idle_ns, random, steps);
    }

    /// A device's driver allocates up to `most` further pages for buffers that stay its own from then on, of a guest of
    /// `pages` pages: none before it is loaded, and fewer where there is no room. Steps, as of `fault`, make room for when it
    /// asks again.
    ///
    /// A guest that manages nothing keeps its highest pages for them.
    fn take_buffers(&mut self, most: u32, pages: u32, steps: &mut Vec<Step>) -> Vec<Ppn> {
        let _ = steps;
        (pages - most.min(pages)..pages).map(Ppn).collect()
    }

    /// What it says of its memory; none if it says nothing.
    fn memory(&self) -> Option<GuestMemory> {
        None
    }

    /// What it did for want of memory.
    fn counts(&self) -> GuestCounts {
        GuestCounts::default()
    }

    /// A copy that goes its own way.
    fn boxed_clone(&self) -> Box<dyn GuestOs>;
}

impl Clone for Box<dyn GuestOs> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}
