//! What the balloon asks of a guest's operating system: the seam `GuestOs`.

use std::fmt::Debug;

use crate::pmap::{Entry, State};
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

/// A guest's operating system, as far as its balloon driver deals with it (§3.2): which page it gives up is its own
/// choice.
///
/// Its random choices come from the stream that it is handed, and its `Debug` output shows all of its state, because the
/// digest of a host is made from it. What it names is checked by the host: a guest that lies is refused.
pub trait GuestOs: Send + Sync + Debug {
    /// The guest's type, by which a host may cap balloons.
    fn name(&self) -> &str;

    /// Up to `most` pages for the driver, which the guest does without until they are freed. Fewer is a failure that
    /// slows the driver down. Further ones are not taken.
    fn allocate(&mut self, most: u32, wait: Wait, own: GuestPages<'_>, random: &mut Stream) -> Vec<Ppn>;

    /// The driver has freed these pages. Those that were in the balloon are empty.
    fn free(&mut self, pages: &[Ppn]);

    /// The balloon is gone: the driver has freed all its pages at once, and they are empty.
    fn reset(&mut self);

    /// A copy that goes its own way.
    fn boxed_clone(&self) -> Box<dyn GuestOs>;
}

impl Clone for Box<dyn GuestOs> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}
