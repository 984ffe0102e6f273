//! Orders of replacement: which of its resident pages a guest gives up next.
//!
//! An [`Order`] holds frames, numbered from 0, and knows which of them goes next. It is told what comes, what is
//! referenced again and what goes for another reason; whose pages stand in the frames and what becomes of a victim is
//! its owner's affair. All calls take constant time, those of [`Order::evict`] on average: what it passes over a
//! reference or an insertion has paid for.
//!
//! | kind | a reference | the victim | memory |
//! |---|---|---|---|
//! | [`Replacement::Lru`] | moves the page to the front | the last page | 8 bytes a frame |
//! | [`Replacement::Clock`] | sets the page's bit | the first page from the hand on whose bit is clear | and 1 bit |
//! | [`Replacement::TwoList`] | sets the bit of a page, or moves it to the active list | the last page of the inactive list | and 2 bits |
//!
//! Memory is made real as frames are used. Inside, `links` has the rings that all three are made of, `bits` the
//! reference bits.

mod bits;
mod clock;
mod links;
mod lru;
mod two_list;

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use clock::Clock;
use lru::Lru;
use two_list::TwoList;

use crate::error::Error;

pub use crate::config::Replacement;

/// The resident pages of one class, by the frames `0..frames` they stand in, in the order in which they would be
/// replaced.
#[derive(Clone)]
pub struct Order(Kind);

#[derive(Clone)]
enum Kind {
    Lru(Lru),
    Clock(Clock),
    TwoList(TwoList),
}

/// Calls the method of the algorithm that it is.
macro_rules! each {
    ($order:expr, $one:ident => $call:expr) => {
        match $order {
            Kind::Lru($one) => $call,
            Kind::Clock($one) => $call,
            Kind::TwoList($one) => $call,
        }
    };
}

impl Order {
    /// Most frames of an order.
    pub const MAX_FRAMES: u32 = links::MAX_FRAMES;

    /// An order without pages, of up to `frames` frames.
    ///
    /// # Panics
    ///
    /// With more than [`Order::MAX_FRAMES`].
    #[must_use]
    pub fn new(kind: Replacement, frames: u32) -> Self {
        Self(match kind {
            Replacement::Lru => Kind::Lru(Lru::new(frames)),
            Replacement::Clock => Kind::Clock(Clock::new(frames)),
            Replacement::TwoList => Kind::TwoList(TwoList::new(frames)),
        })
    }

    /// Makes room for up to `frames` frames; what there is stays as it is, and fewer than before change nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if the system does not give the memory; then nothing has changed.
    ///
    /// # Panics
    ///
    /// With more than [`Order::MAX_FRAMES`].
    pub fn grow(&mut self, frames: u32) -> Result<(), Error> {
        each!(&mut self.0, order => order.grow(frames))
    }

    /// How it chooses.
    #[must_use]
    pub fn kind(&self) -> Replacement {
        match self.0 {
            Kind::Lru(_) => Replacement::Lru,
            Kind::Clock(_) => Replacement::Clock,
            Kind::TwoList(_) => Replacement::TwoList,
        }
    }

    /// A page has come into `frame`, which held none.
    #[inline]
    pub fn insert(&mut self, frame: u32) {
        debug_assert!(!self.contains(frame), "frame {frame} holds a page already");
        each!(&mut self.0, order => order.insert(frame));
    }

    /// The page in `frame`, which must hold one, is referenced again.
    #[inline]
    pub fn hit(&mut self, frame: u32) {
        debug_assert!(self.contains(frame), "frame {frame} holds no page");
        each!(&mut self.0, order => order.hit(frame));
    }

    /// The page in `frame` has gone for another reason; a frame that holds none is left as it is.
    #[inline]
    pub fn remove(&mut self, frame: u32) {
        if self.contains(frame) {
            each!(&mut self.0, order => order.remove(frame));
        }
    }

    /// Takes the page that goes next out and returns its frame; none if there are no pages.
    #[inline]
    pub fn evict(&mut self) -> Option<u32> {
        each!(&mut self.0, order => order.evict())
    }

    /// Whether `frame` holds a page; frames beyond the end hold none.
    #[inline]
    #[must_use]
    pub fn contains(&self, frame: u32) -> bool {
        each!(&self.0, order => order.links().contains(frame))
    }

    /// Asks for the memory where `frame` stands, for a call that comes soon.
    #[inline]
    pub fn prefetch(&self, frame: u32) {
        each!(&self.0, order => order.links().prefetch(frame));
    }

    /// Pages.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        each!(&self.0, order => order.len())
    }

    /// Whether there are no pages.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pages on the active list; always 0 with LRU and CLOCK, which have no such list.
    #[must_use]
    pub fn active(&self) -> u32 {
        match &self.0 {
            Kind::TwoList(order) => order.active(),
            Kind::Lru(_) | Kind::Clock(_) => 0,
        }
    }

    /// Frames from the next victim's end on, each with its reference bit: the inactive list, then the active one.
    /// Second chances are not looked ahead for.
    pub fn frames(&self) -> Box<dyn Iterator<Item = (u32, bool)> + '_> {
        each!(&self.0, order => Box::new(order.frames()))
    }
}

/// Lengths, and a hash instead of the pages, since there are many.
impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hash = Xxh3::new();
        for (frame, bit) in self.frames() {
            hash.update(&(u64::from(frame) << 1 | u64::from(bit)).to_le_bytes());
        }
        let (name, pages, active) = (self.kind().name(), self.len(), self.active());
        write!(f, "{name}: {pages} pages, {active} active, {:#018x}", hash.digest())
    }
}

#[cfg(test)]
mod tests;
