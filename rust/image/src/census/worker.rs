//! One thread of a census: from pages in order to the page that first had the content of each.
//!
//! A page goes through three stages. It is hashed while it is read in order, as fast as memory gives it, and its bucket is
//! asked for. Some pages later the bucket is there and the page is looked up: without a candidate it is the first of its
//! content. With one it waits until there are enough for their candidates to be brought near in step, and compared. Pages
//! whose candidate differs are settled one by one. What is looked up sees all that was settled before, so equal pages that
//! are on their way together meet too.

use esxcore_core::compare::{STEP, are_equal};
use esxcore_core::config::SharingConfig;
use esxcore_core::hash::{DomainSalt, PageHasher};
use esxcore_core::types::{Page, PageView, ZERO_PAGE};

use super::digests::Digests;
use super::identify::{Piece, Shared};
use super::table::{Index, Place};
use crate::error::Error;
use crate::map::{RunKind, zero_pages};
use crate::pages::Pages;

/// How many pages are hashed before the first of them is looked up.
const BEHIND: usize = 12;
/// Pages read at a time where they do not stand in memory.
const BUFFER_PAGES: u32 = 64;

/// All pages by number, and the index of those seen.
pub struct Everything<'a> {
    sources: &'a [&'a dyn Pages],
    /// Number of the first page of each source.
    firsts: Vec<u32>,
    index: Index<'a>,
    digests: Option<&'a Digests>,
    hash_mask: u64,
}

impl<'a> Everything<'a> {
    /// The pages of all sources, one source after the other.
    #[must_use]
    pub fn of(
        sources: &'a [&'a dyn Pages],
        index: Index<'a>,
        digests: Option<&'a Digests>,
        hash_mask: u64,
    ) -> Self {
        let firsts = sources.iter().scan(0, |next, source| {
            let first = *next;
            *next += source.pages();
            Some(first)
        });
        Self { sources, firsts: firsts.collect(), index, digests, hash_mask }
    }

    /// The source of a page and its number there.
    fn place(&self, page: u32) -> (&'a dyn Pages, u32) {
        // Of sources that begin with the same number only the last has pages.
        let source = self.firsts.partition_point(|first| *first <= page) - 1;
        (self.sources[source], page - self.firsts[source])
    }

    /// A page where it stands in memory, if it does.
    fn near(&self, page: u32) -> Option<&'a Page> {
        let (source, page) = self.place(page);
        source.in_memory().map(|pages| &pages[page as usize])
    }

    /// A page where it stands, or read into `buffer`.
    fn page<'b>(&self, page: u32, buffer: &'b mut Page) -> Result<&'b Page, Error>
    where
        'a: 'b,
    {
        if let Some(page) = self.near(page) {
            return Ok(page);
        }
        let (source, page) = self.place(page);
        source.read_pages(page, std::slice::from_mut(buffer))?;
        Ok(buffer)
    }
}

/// A thread and what it works with.
pub struct Worker<'a> {
    all: &'a Everything<'a>,
    hasher: PageHasher,
    buffer: Vec<Page>,
    candidates: Vec<Page>,
    lookups: Vec<Lookup>,
    /// Lookups that found a candidate, fewer than are compared in step.
    waiting: Vec<Lookup>,
}

/// A page that is not zero, on its way.
#[derive(Clone, Copy, Default)]
struct Lookup {
    /// Its place in the run.
    at: usize,
    hash: u64,
    place: Place,
}

/// Neighbouring pages, the first of which has number `first`.
#[derive(Clone, Copy)]
struct Neighbours<'p> {
    first: u32,
    pages: &'p [Page],
}

impl Neighbours<'_> {
    fn number(&self, at: usize) -> u32 {
        self.first + at as u32
    }
}

impl<'a> Worker<'a> {
    /// A thread's start.
    #[must_use]
    pub fn new(all: &'a Everything<'a>) -> Self {
        let hasher = PageHasher::new(&SharingConfig::default(), 0);
        let (buffer, candidates) = (zero_pages(BUFFER_PAGES as usize), zero_pages(STEP));
        Self { all, hasher, buffer, candidates, lookups: vec![], waiting: vec![] }
    }

    /// Takes pieces until there are none.
    ///
    /// # Errors
    ///
    /// What reading a source meets; all threads then stop.
    pub fn run(&mut self, shared: &Shared<'_>) -> Result<(), Error> {
        while let Some(piece) = shared.take() {
            let pages = piece.ids.len();
            self.piece(piece).map_err(|error| shared.stopped(error))?;
            shared.count(pages);
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece<'_>) -> Result<(), Error> {
        let Piece { source, mut page, mut first, ids: mut rest } = piece;
        let memory = source.in_memory();
        let most = memory.map_or(BUFFER_PAGES, |_| u32::MAX);
        while !rest.is_empty() {
            let run = source.run(page, most.min(rest.len() as u32))?;
            let (ids, others) = rest.split_at_mut(run.pages as usize);
            match (run.kind, memory) {
                (RunKind::Hole, _) => ids.fill(0),
                (RunKind::Data, Some(memory)) => {
                    let pages = &memory[page as usize..][..ids.len()];
                    self.identify(Neighbours { first, pages }, ids)?;
                }
                (RunKind::Data, None) => self.read(source, page, first, ids)?,
            }
            (page, first, rest) = (page + run.pages, first + run.pages, others);
        }
        Ok(())
    }

    fn read(&mut self, source: &dyn Pages, page: u32, first: u32, ids: &mut [u32]) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let pages = &mut buffer[..ids.len()];
        let read = source.read_pages(page, pages);
        let done = read.and_then(|()| self.identify(Neighbours { first, pages }, ids));
        self.buffer = buffer;
        done
    }

    /// Has the pages go through the stages, each some pages behind the one before.
    fn identify(&mut self, run: Neighbours<'_>, ids: &mut [u32]) -> Result<(), Error> {
        ids.fill(0);
        self.lookups.clear();
        let mut looked = 0;
        for at in 0..run.pages.len() {
            self.hash(run, at);
            if self.lookups.len() > looked + BEHIND {
                self.look(run, looked, ids)?;
                looked += 1;
            }
        }
        for lookup in looked..self.lookups.len() {
            self.look(run, lookup, ids)?;
        }
        self.confirm(run, ids)
    }

    /// The first stage: hashes a page and asks for its bucket; zero pages are done.
    fn hash(&mut self, run: Neighbours<'_>, at: usize) {
        let view = PageView::Bytes(&run.pages[at]);
        let (hash, is_zero) = match self.all.digests {
            Some(_) if view.is_zero() => (0, true),
            Some(digests) => (digests.keep(run.number(at), &run.pages[at]), false),
            None => {
                let hash = self.hasher.hash(view);
                (hash.salted(DomainSalt::of(0)), hash.is_zero)
            }
        };
        if !is_zero {
            let hash = hash & self.all.hash_mask;
            self.all.index.touch(hash);
            self.lookups.push(Lookup { at, hash, place: Place::default() });
        }
    }

    /// The second stage: looks up. A page without candidate is the first of its content, the others wait.
    fn look(&mut self, run: Neighbours<'_>, number: usize, ids: &mut [u32]) -> Result<(), Error> {
        let mut lookup = self.lookups[number];
        lookup.place = self.all.index.look(lookup.hash);
        if lookup.place.candidate.is_none() {
            ids[lookup.at] = self.settle(run, lookup)? + 1;
            return Ok(());
        }
        self.waiting.push(lookup);
        if self.waiting.len() == STEP { self.confirm(run, ids) } else { Ok(()) }
    }

    /// The third stage: compares pages with their candidates in step, and numbers them.
    fn confirm(&mut self, run: Neighbours<'_>, ids: &mut [u32]) -> Result<(), Error> {
        let equal = self.are_equal(run)?;
        for (number, is_equal) in (0..self.waiting.len()).zip(equal) {
            let lookup = self.waiting[number];
            ids[lookup.at] = 1 + match lookup.place.candidate {
                Some(candidate) if is_equal => candidate,
                _ => self.settle(run, lookup)?,
            };
        }
        self.waiting.clear();
        Ok(())
    }

    /// Which of the waiting pages equal their candidates.
    fn are_equal(&mut self, run: Neighbours<'_>) -> Result<[bool; STEP], Error> {
        let mut equal = [false; STEP];
        let candidate = |lookup: &Lookup| lookup.place.candidate.unwrap_or(run.number(lookup.at));
        if let Some(digests) = self.all.digests {
            for (equal, lookup) in equal.iter_mut().zip(&self.waiting) {
                *equal = digests.agree(run.number(lookup.at), candidate(lookup));
            }
            return Ok(equal);
        }
        let mut pairs = [(&ZERO_PAGE, &ZERO_PAGE); STEP];
        for ((pair, lookup), buffer) in pairs.iter_mut().zip(&self.waiting).zip(&mut self.candidates) {
            *pair = (&run.pages[lookup.at], self.all.page(candidate(lookup), buffer)?);
        }
        Ok(are_equal(pairs))
    }

    /// The page that first had a page's content, itself if none did.
    fn settle(&mut self, run: Neighbours<'_>, lookup: Lookup) -> Result<u32, Error> {
        let Lookup { at, hash, mut place } = lookup;
        loop {
            match place.candidate {
                Some(other) if self.is_equal(run, at, other)? => return Ok(other),
                Some(_) => place = self.all.index.look_on(place, hash),
                None => match self.all.index.fill(place, hash, run.number(at)) {
                    Ok(()) => return Ok(run.number(at)),
                    Err(now) => place = now,
                },
            }
        }
    }

    fn is_equal(&mut self, run: Neighbours<'_>, at: usize, other: u32) -> Result<bool, Error> {
        match self.all.digests {
            Some(digests) => Ok(digests.agree(run.number(at), other)),
            None => Ok(*self.all.page(other, &mut self.candidates[0])? == run.pages[at]),
        }
    }
}
