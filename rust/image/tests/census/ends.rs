//! What ends a census early: a source that fails, the caller, or too many pages.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use esxcore_core::types::Page;
use std::num::NonZeroU32;

use esxcore_image::census::{Image, Settings, Source, Verify, take};
use esxcore_image::error::Error;
use esxcore_image::format::Format;
use esxcore_image::image;
use esxcore_image::map::{Run, RunKind};
use esxcore_image::pages::{Memory, Pages};

use crate::common::{forced, page};

/// Pages of a census that is ended long before it is through.
const MANY: u32 = 1 << 20;
/// Pages that may be done after the end was called: pieces of 512 that threads are at, and a great many more, in case a
/// thread rests between what ends the work and the mark of it. A census that goes on does sixteen times as many.
const LATE: u64 = 1 << 16;

/// A source made up of functions.
pub struct Made<R, F> {
    pub pages: u32,
    pub run: R,
    pub read: F,
}

impl<R, F> Pages for Made<R, F>
where
    R: Fn(u32, u32) -> Result<Run, Error> + Sync,
    F: Fn(u32, &mut [Page]) -> Result<(), Error> + Sync,
{
    fn pages(&self) -> u32 {
        self.pages
    }

    fn run(&self, first: u32, most: u32) -> Result<Run, Error> {
        Error::check_range(first, 1, self.pages)?;
        (self.run)(first, most)
    }

    fn read_pages(&self, first: u32, buffer: &mut [Page]) -> Result<(), Error> {
        Error::check_range(first, buffer.len() as u64, self.pages)?;
        (self.read)(first, buffer)
    }
}

/// A source of `pages` pages of data.
fn made(pages: u32, read: impl Fn(u32, &mut [Page]) -> Result<(), Error> + Sync) -> impl Pages {
    let run = move |first, most: u32| Ok(Run { first, pages: most.min(pages - first), kind: RunKind::Data });
    Made { pages, run, read }
}

/// Pages that all differ; only their first and last bytes are written.
fn differ(first: u32, buffer: &mut [Page]) {
    for (number, page) in (first..).zip(buffer) {
        page[..4].copy_from_slice(&number.to_le_bytes());
        page[4095] = 1;
    }
}

fn census(source: &dyn Pages, settings: &Settings) -> Result<Vec<u32>, Error> {
    let images = [Image { source: Source::Pages(source), domain: 0 }];
    take(&images, settings, &mut |_| Ok(())).map(|contents| contents.ids().to_vec())
}

fn all_settings() -> impl Iterator<Item = Settings> {
    let verifies = [Verify::Bytes, Verify::Hash128];
    verifies
        .into_iter()
        .flat_map(|verify| (1..=4).map(move |threads| Settings { verify, threads, ..Settings::default() }))
}

#[test]
fn a_source_that_fails_ends_the_work_of_all_threads() {
    let shrunk = Error::Shrunk { opened: 7, end: 9 }.in_file(Path::new("/a/guest"));
    for (settings, fails_at) in all_settings().zip([0, 1, 64, 511, 512, 3000, 9999, 20_000]) {
        let (before, after) = (AtomicU64::new(0), AtomicU64::new(0));
        let source = made(MANY, |first, buffer| {
            differ(first, buffer);
            let count = buffer.len() as u64;
            if before.fetch_add(count, Ordering::Relaxed) + count > fails_at {
                after.fetch_add(count, Ordering::Relaxed);
                return Err(shrunk.clone());
            }
            Ok(())
        });
        assert_eq!(census(&source, &settings), Err(shrunk.clone()));
        let after = after.load(Ordering::Relaxed);
        assert!(after <= settings.threads as u64 * 64, "each thread that fails has ended");
    }
}

#[test]
fn threads_that_could_go_on_stop_with_the_one_that_failed() {
    for settings in all_settings() {
        let (failed, after) = (AtomicBool::new(false), AtomicU64::new(0));
        let source = made(MANY, |first, buffer| {
            differ(first, buffer);
            if first == 10_240 {
                failed.store(true, Ordering::Relaxed);
                return Err(Error::Unreadable { offset: 5, reason: "of the disk".into() });
            }
            after.fetch_add(
                if failed.load(Ordering::Relaxed) { buffer.len() as u64 } else { 0 },
                Ordering::Relaxed,
            );
            Ok(())
        });
        let error = census(&source, &settings).unwrap_err();
        assert_eq!(error.to_string(), "reading at byte 5 failed: of the disk");
        assert!(after.load(Ordering::Relaxed) <= LATE);
    }
}

#[test]
fn a_candidate_that_cannot_be_read_again_is_an_error() {
    let source = made(2000, |first, buffer| {
        let again = buffer.len() == 1;
        (first..)
            .zip(&mut *buffer)
            .for_each(|(number, page)| differ(number % 1000, std::slice::from_mut(page)));
        if again && first % 1000 == 321 { Err(Error::Shrunk { opened: 2, end: 3 }) } else { Ok(()) }
    });
    for threads in 1..=4 {
        let with = |verify| Settings { verify, threads, ..Settings::default() };
        let expected: Vec<u32> = (1..=1000).chain(1..=1000).collect();
        assert_eq!(census(&source, &with(Verify::Hash128)), Ok(expected), "no page is read twice");
        assert_eq!(census(&source, &with(Verify::Bytes)), Err(Error::Shrunk { opened: 2, end: 3 }));
    }
}

#[test]
fn a_file_truncated_after_it_was_opened_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str, seed: u8| {
        let path = directory.path().join(name);
        let pages: Vec<Page> = (0..2000_u32).map(|number| page(seed + (number % 50) as u8)).collect();
        std::fs::write(&path, pages.as_flattened()).unwrap();
        image::Image::open(&path, &forced(Format::Raw)).unwrap()
    };
    let opened = [open("one", 1), open("two", 20), open("three", 60)];
    let images = opened.each_ref().map(|image| Image { source: Source::Pages(image), domain: 0 });
    let path = directory.path().join("two");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1200 * 4096 + 5).unwrap();
    for settings in all_settings() {
        let error = take(&images, &settings, &mut |_| Ok(())).unwrap_err().to_string();
        let expected =
            format!("{}: truncated while it was read: it had 8192000 bytes when opened", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn progress_is_told_while_threads_work_and_of_the_whole() {
    for threads in 1..=4 {
        let told = AtomicU32::new(0);
        // The page in the middle is not there before progress was told three times.
        let source = made(10_000, |first, buffer| {
            differ(first, buffer);
            let waits = (first..first + buffer.len() as u32).contains(&5000);
            while waits && told.load(Ordering::Relaxed) < 3 {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let mut all = vec![];
        let images = [Image { source: Source::Pages(&source), domain: 0 }];
        let contents = take(&images, &Settings { threads, ..Settings::default() }, &mut |done| {
            all.push(done);
            told.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!(contents.unwrap().numbers(), 10_001);
        assert!(all.is_sorted() && all[2] < 10_000, "{all:?}");
        assert_eq!(all.last(), Some(&10_000));
    }
}

#[test]
fn a_caller_ends_the_work() {
    for settings in all_settings() {
        let (ended, after) = (AtomicBool::new(false), AtomicU64::new(0));
        let source = made(MANY, |first, buffer| {
            differ(first, buffer);
            // Slow, so that the work cannot be done before the caller is heard.
            thread::sleep(Duration::from_micros(300));
            after.fetch_add(
                if ended.load(Ordering::Relaxed) { buffer.len() as u64 } else { 0 },
                Ordering::Relaxed,
            );
            Ok(())
        });
        let images = [Image { source: Source::Pages(&source), domain: 0 }];
        let mut calls = 0;
        let found = take(&images, &settings, &mut |_| {
            calls += 1;
            if calls < 2 {
                return Ok(());
            }
            ended.store(true, Ordering::Relaxed);
            Err(Error::Interrupted)
        });
        assert_eq!(found, Err(Error::Interrupted));
        assert_eq!(calls, 2, "nobody asks again after the end");
        assert!(after.load(Ordering::Relaxed) <= LATE);
    }
}

#[test]
fn too_many_pages_in_all_are_refused_before_anything_is_read() {
    let source = |pages| Made {
        pages,
        run: |_, _| unreachable!("looked at"),
        read: |_, _: &mut [Page]| unreachable!("read"),
    };
    let refused = |sources: &[Source<'_>]| {
        let images: Vec<_> = sources.iter().map(|source| Image { source: *source, domain: 0 }).collect();
        let error = take(&images, &Settings::default(), &mut |_| unreachable!("begun")).unwrap_err();
        error.to_string()
    };
    let (all, most) = (source(u32::MAX), source(u32::MAX - 1));
    let text = |pages: u64| format!("{pages} pages in all; expected at most 4294967294 in one census");
    assert_eq!(refused(&[Source::Pages(&all), Source::Pages(&all)]), text(8_589_934_590));
    assert_eq!(refused(&[Source::Pages(&all)]), text(4_294_967_295));
    assert_eq!(refused(&[Source::Pages(&most), Source::Pages(&Memory(&[[1; 4096]]))]), text(4_294_967_295));
    let given = Source::Ids { ids: &[3], space: NonZeroU32::MIN };
    assert_eq!(refused(&[Source::Pages(&most), given]), text(4_294_967_295), "given numbers count too");
}
