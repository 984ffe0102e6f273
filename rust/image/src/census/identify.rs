//! Which pages are equal: every page is read once, hashed, looked up, and compared with the page that first had its hash.
//!
//! Threads take the pages piece by piece, in no fixed order, and fill one index (`table`) together. What comes out is a
//! number for each page, equal exactly where pages are: 0 for zero pages, else one plus the number of some page of that
//! content. Which one may depend on the threads; [`super::contents`] numbers contents anew, so nothing else does.
//!
//! This room divides the work among threads and reports how far they are; what one of them does is in `worker`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::digests::Digests;
use super::table::Table;
use super::worker::{Everything, Worker};
use crate::error::Error;
use crate::map::RunKind;
use crate::pages::Pages;

/// Pages taken by a thread at a time.
const PIECE_PAGES: u32 = 512;
/// How often the caller hears of the progress.
const PULSE: Duration = Duration::from_millis(40);
/// Most pages in one census: their numbers plus one have 32 bits.
const MOST_PAGES: u64 = u32::MAX as u64 - 1;

/// How a match of hashes becomes a match of contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Both pages are compared byte by byte.
    #[default]
    Bytes,
    /// Their 128-bit hashes are compared; 16 more bytes a page, and no page is read twice.
    Hash128,
}

/// How to identify.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How matches are verified.
    pub verify: Verify,
    /// Threads; at least one works.
    pub threads: usize,
    /// Bits of hashes that are used, the seam through which tests make different pages collide.
    pub hash_mask: u64,
}

impl Default for Settings {
    /// Compares bytes, on all cores.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { verify: Verify::default(), threads, hash_mask: u64::MAX }
    }
}

/// Told how many pages are done; an error ends the work.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> Result<(), Error>;

/// Numbers the contents of all pages of `sources`, one source after the other.
///
/// # Errors
///
/// What reading a source meets, what `progress` returns, [`Error::TooManyInAll`], [`Error::NoRoom`] or
/// [`Error::NoThread`].
pub fn identify(
    sources: &[&dyn Pages],
    settings: &Settings,
    progress: Progress<'_>,
) -> Result<Vec<u32>, Error> {
    let pages = sources.iter().map(|source| u64::from(source.pages())).sum::<u64>();
    check_pages(pages)?;
    let mut ids = room(pages as usize)?;
    let mut table = Table::new(pages as u32, data_pages(sources)?)?;
    let digests = match settings.verify {
        Verify::Bytes => None,
        Verify::Hash128 => Some(Digests::new(pages as usize)?),
    };
    let memory = Everything::of(sources, table.index(), digests.as_ref(), settings.hash_mask);
    let queue = Mutex::new(Queue { sources, source: 0, page: 0, first: 0, rest: &mut ids });
    let shared = Shared { queue, done: AtomicU64::new(0), stop: AtomicBool::new(false) };
    work(&memory, &shared, settings.threads.max(1), progress)?;
    Ok(ids)
}

/// Refuses more pages than there are numbers.
///
/// # Errors
///
/// [`Error::TooManyInAll`].
pub fn check_pages(pages: u64) -> Result<(), Error> {
    if pages > MOST_PAGES {
        return Err(Error::TooManyInAll { pages, most: MOST_PAGES });
    }
    Ok(())
}

/// `len` values, all of them the default.
///
/// # Errors
///
/// [`Error::NoRoom`] if the system has no such memory.
pub fn room<T: Default>(len: usize) -> Result<Vec<T>, Error> {
    let mut values = vec![];
    values.try_reserve_exact(len).map_err(|error| Error::NoRoom { reason: error.to_string() })?;
    values.resize_with(len, T::default);
    Ok(values)
}

/// Pages that have to be looked up at most.
fn data_pages(sources: &[&dyn Pages]) -> Result<u32, Error> {
    let mut data = 0;
    for source in sources {
        let mut page = 0;
        while page < source.pages() {
            let run = source.run(page, u32::MAX)?;
            data += if run.kind == RunKind::Data { run.pages } else { 0 };
            page += run.pages;
        }
    }
    Ok(data)
}

/// Has threads take pieces until there are none, and reports meanwhile.
fn work(
    memory: &Everything<'_>,
    shared: &Shared<'_>,
    threads: usize,
    progress: Progress<'_>,
) -> Result<(), Error> {
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let thread = thread::Builder::new().spawn_scoped(scope, move || {
                // The receiver lives as long as the scope.
                let _ = sender.send(Worker::new(memory).run(shared));
            });
            thread.map_err(|error| shared.stopped(Error::NoThread { reason: error.to_string() }))?;
        }
        drop(sender);
        let mut first = Ok(());
        loop {
            match results.recv_timeout(PULSE) {
                Ok(result) => first = first.and(result),
                Err(RecvTimeoutError::Disconnected) => return first,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if first.is_ok() {
                first = progress(shared.done.load(Ordering::Relaxed)).map_err(|error| shared.stopped(error));
            }
        }
    })
}

/// What threads share besides the index.
pub struct Shared<'a> {
    queue: Mutex<Queue<'a>>,
    done: AtomicU64,
    stop: AtomicBool,
}

impl<'a> Shared<'a> {
    /// The next piece, unless there is none or the work has been stopped.
    pub fn take(&self) -> Option<Piece<'a>> {
        // A thread that panicked ends the whole census when it is joined.
        let mut queue = self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if self.stop.load(Ordering::Relaxed) { None } else { queue.next() }
    }

    /// Counts pages that are done.
    pub fn count(&self, pages: usize) {
        self.done.fetch_add(pages as u64, Ordering::Relaxed);
    }

    /// Stops all threads because of `error`.
    pub fn stopped(&self, error: Error) -> Error {
        self.stop.store(true, Ordering::Relaxed);
        error
    }
}

/// The pages that no thread has taken yet.
struct Queue<'a> {
    sources: &'a [&'a dyn Pages],
    source: usize,
    /// The next page of the source, and of all pages.
    page: u32,
    first: u32,
    rest: &'a mut [u32],
}

/// Pages of one source and room for their numbers.
pub struct Piece<'a> {
    /// The source.
    pub source: &'a dyn Pages,
    /// The first page's number in the source.
    pub page: u32,
    /// The first page's number among all pages.
    pub first: u32,
    /// Room for the number of each page's content.
    pub ids: &'a mut [u32],
}

impl<'a> Queue<'a> {
    fn next(&mut self) -> Option<Piece<'a>> {
        let mut source = *self.sources.get(self.source)?;
        while self.page == source.pages() {
            (self.source, self.page) = (self.source + 1, 0);
            source = *self.sources.get(self.source)?;
        }
        let pages = (source.pages() - self.page).min(PIECE_PAGES);
        let (ids, rest) = std::mem::take(&mut self.rest).split_at_mut(pages as usize);
        let piece = Piece { source, page: self.page, first: self.first, ids };
        (self.page, self.first, self.rest) = (self.page + pages, self.first + pages, rest);
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Run;
    use esxcore_core::types::{MAX_PAGES, Page};

    /// Holes but for seven pages in the middle.
    struct Sparse;

    impl Pages for Sparse {
        fn pages(&self) -> u32 {
            MAX_PAGES / 2
        }

        fn run(&self, first: u32, most: u32) -> Result<Run, Error> {
            let (end, kind) = match first {
                0..1000 => (1000, RunKind::Hole),
                1000..1007 => (1007, RunKind::Data),
                _ => (self.pages(), RunKind::Hole),
            };
            Ok(Run { first, pages: most.min(end - first), kind })
        }

        fn read_pages(&self, _: u32, _: &mut [Page]) -> Result<(), Error> {
            unreachable!("nothing has to be read to count")
        }
    }

    #[test]
    fn holes_need_no_index() {
        let data = data_pages(&[&Sparse, &Sparse]).expect("no errors");
        assert_eq!(data, 14);
        assert!(Table::new(MAX_PAGES - 1, data).expect("small").bytes() <= 256);
    }

    #[test]
    fn numbers_plus_one_fit() {
        assert_eq!(check_pages(u64::from(u32::MAX) - 1), Ok(()));
        let error = Error::TooManyInAll { pages: u32::MAX.into(), most: (u32::MAX - 1).into() };
        assert_eq!(check_pages(u32::MAX.into()), Err(error));
    }
}
