//! Replays: how many references of a trace miss in a memory of so many pages, by an order of replacement.
//!
//! Memory is empty at first, every page is as large as any other, and each reference to a page that is not resident is a
//! miss and brings it in. A trace in memory is replayed by its dense page numbers ([`misses`]). A file is replayed while
//! it is decoded ([`stream`]), for all sizes at once; only the resident pages are known then, so what it takes does not
//! depend on how long the trace is or how many pages it names.
//!
//! A reference reads a few scattered words: where its page is, and the links of the frame. They are asked for some
//! references ahead, the second once the first has come, so that these reads overlap.

use std::path::Path;

use esxcore_core::arena::prefetch;
use esxcore_core::guest::{Order, Replacement};
use esxcore_core::page_trace::PageTrace;

use crate::error::{Error, MAX_DISTINCT, Pulse};
use crate::formats::{BLOCK_RECORDS, Block, Format};
use crate::index::{Index, Tag};
use crate::reader::Reader;

/// How many references ahead the place of a page is asked for, and half of it ahead the links of its frame.
const AHEAD: usize = 32;
/// Frames at first.
const FIRST_FRAMES: u32 = 1 << 12;
/// References to a page in a row after which more of them change nothing in any order: a page that two lists hold
/// becomes referenced, active, and referenced again.
const RUN_COUNTS: u32 = 4;

/// What a replay of a whole file found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// References in the file.
    pub references: u64,
    /// Misses with each size.
    pub misses: Vec<u64>,
}

/// Misses of a trace with each size of memory, in pages.
///
/// # Errors
///
/// [`Error::NoMemory`] for a size of 0, [`Error::NoRoom`], or what `pulse` returns.
pub fn misses(
    trace: &PageTrace,
    kind: Replacement,
    sizes: &[u32],
    pulse: Pulse<'_>,
) -> Result<Vec<u64>, Error> {
    sizes.iter().map(|size| misses_with(trace, kind, *size, pulse)).collect()
}

fn misses_with(trace: &PageTrace, kind: Replacement, memory: u32, pulse: Pulse<'_>) -> Result<u64, Error> {
    let mut replay = Replay::new(kind, memory, Dense::new(trace.distinct())?)?;
    let mut runs = trace.runs().map(|runs| runs.chunks(BLOCK_RECORDS));
    for pages in trace.pages().chunks(BLOCK_RECORDS) {
        pulse()?;
        match runs.as_mut().and_then(Iterator::next) {
            Some(runs) => replay.refer_all(pages, |place| runs[place])?,
            None => replay.refer_all(pages, |_| 1)?,
        }
    }
    Ok(replay.misses)
}

/// Misses of a file with each size of memory, in pages, decoded on the way and not kept.
///
/// # Errors
///
/// [`Error::NoMemory`] for a size of 0; what is wrong with the file, and at which record; [`Error::NoRoom`]; or what
/// `pulse` returns.
pub fn stream(
    path: &Path,
    format: Option<Format>,
    kind: Replacement,
    sizes: &[u32],
    pulse: Pulse<'_>,
) -> Result<Found, Error> {
    let sparse = |memory: &u32| Replay::new(kind, *memory, Sparse(Index::new()?));
    let mut replays = sizes.iter().map(sparse).collect::<Result<Vec<_>, Error>>()?;
    let mut reader = Reader::open(path, format)?;
    let (mut block, mut keys) = (Block::default(), vec![]);
    while reader.next(&mut block)? {
        pulse()?;
        keys.clear();
        keys.extend(block.ids.iter().map(|id| (*id, Tag::of(*id))));
        for replay in &mut replays {
            replay.refer_all(&keys, |_| 1)?;
        }
    }
    let misses = replays.iter().map(|replay| replay.misses).collect();
    Ok(Found { references: reader.records(), misses })
}

/// Which pages are resident, and in which frames.
trait Resident {
    /// A page.
    type Page: Copy;
    /// Asks for the memory where the frame of a page is told.
    fn prefetch(&self, page: Self::Page);
    /// The frame that a page is likely in.
    fn glance(&self, page: Self::Page) -> Option<u32>;
    /// The frame that a page is in.
    fn find(&self, page: Self::Page) -> Option<u32>;
    /// A page that is in no frame comes into one, and what was there goes.
    fn insert(&mut self, page: Self::Page, frame: u32) -> Result<(), Error>;
}

/// Of pages with dense numbers: a column by page, and one by frame.
struct Dense {
    /// Frame + 1, or 0.
    frames: Vec<u32>,
    pages: Vec<u32>,
}

impl Dense {
    fn new(distinct: u32) -> Result<Self, Error> {
        let mut frames = vec![];
        let room = frames.try_reserve_exact(distinct as usize);
        room.map_err(|error| Error::NoRoom { reason: error.to_string() })?;
        frames.resize(distinct as usize, 0);
        Ok(Self { frames, pages: vec![] })
    }
}

impl Resident for Dense {
    type Page = u32;

    #[inline]
    fn prefetch(&self, page: u32) {
        prefetch(&self.frames[page as usize]);
    }

    #[inline]
    fn glance(&self, page: u32) -> Option<u32> {
        self.find(page)
    }

    #[inline]
    fn find(&self, page: u32) -> Option<u32> {
        self.frames[page as usize].checked_sub(1)
    }

    fn insert(&mut self, page: u32, frame: u32) -> Result<(), Error> {
        if frame as usize == self.pages.len() {
            self.pages.try_reserve(1).map_err(|error| Error::NoRoom { reason: error.to_string() })?;
            self.pages.push(page);
        } else {
            let gone = std::mem::replace(&mut self.pages[frame as usize], page);
            self.frames[gone as usize] = 0;
        }
        self.frames[page as usize] = frame + 1;
        Ok(())
    }
}

/// Of pages with any numbers: only those that are resident.
struct Sparse(Index);

impl Resident for Sparse {
    type Page = (u64, Tag);

    #[inline]
    fn prefetch(&self, page: (u64, Tag)) {
        self.0.prefetch(page.1);
    }

    #[inline]
    fn glance(&self, page: (u64, Tag)) -> Option<u32> {
        self.0.glance(page.1)
    }

    #[inline]
    fn find(&self, page: (u64, Tag)) -> Option<u32> {
        self.0.find(page.0, page.1)
    }

    fn insert(&mut self, page: (u64, Tag), frame: u32) -> Result<(), Error> {
        self.0.insert(page.0, page.1, frame)
    }
}

/// A memory, what is in it, and how often a page was not.
struct Replay<R> {
    memory: u32,
    /// Frames that the order has; it grows with the pages that there turn out to be.
    frames: u32,
    order: Order,
    resident: R,
    misses: u64,
}

impl<R: Resident> Replay<R> {
    fn new(kind: Replacement, memory: u32, resident: R) -> Result<Self, Error> {
        if memory == 0 {
            return Err(Error::NoMemory { pages: memory });
        }
        // No trace has more pages, so more frames would not be used.
        let memory = memory.min(MAX_DISTINCT);
        let frames = memory.min(FIRST_FRAMES);
        Ok(Self { memory, frames, order: Order::new(kind, frames), resident, misses: 0 })
    }

    fn refer_all(&mut self, pages: &[R::Page], run: impl Fn(usize) -> u32) -> Result<(), Error> {
        for (place, page) in pages.iter().enumerate() {
            if let Some(far) = pages.get(place + AHEAD) {
                self.resident.prefetch(*far);
            }
            if let Some(near) = pages.get(place + AHEAD / 2)
                && let Some(frame) = self.resident.glance(*near)
            {
                self.order.prefetch(frame);
            }
            let frame = match self.resident.find(*page) {
                Some(frame) => {
                    self.order.hit(frame);
                    frame
                }
                None => self.miss(*page)?,
            };
            for _ in 1..run(place).min(RUN_COUNTS) {
                self.order.hit(frame);
            }
        }
        Ok(())
    }

    /// Brings a page in; returns its frame.
    fn miss(&mut self, page: R::Page) -> Result<u32, Error> {
        self.misses += 1;
        let frame = match self.order.len() {
            pages if pages < self.memory => self.next_frame()?,
            _ => self.order.evict().expect("a full memory has pages"),
        };
        self.resident.insert(page, frame)?;
        self.order.insert(frame);
        Ok(frame)
    }

    /// A frame that has never been used.
    fn next_frame(&mut self) -> Result<u32, Error> {
        let frame = self.order.len();
        if frame == self.frames {
            self.frames = self.frames.saturating_mul(2).min(self.memory);
            self.order.grow(self.frames)?;
        }
        Ok(frame)
    }
}
