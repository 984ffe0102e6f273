//! What is lost if the host keeps large pages whole.
//!
//! A large page is 512 pages that begin at a multiple of 512 in the guest's own numbering and have no gap in between. Kept
//! whole, it can be shared only with another that equals it in all 512. Pages outside of large pages stay small and share
//! among themselves.

use std::collections::HashSet;
use std::ops::Range;

use super::contents::Contents;
use super::tally::Counter;
use crate::error::Error;
use crate::source::Pulse;

/// Pages in a large page of 2 MiB.
pub const LARGE_PAGES: u32 = 512;

/// What keeping large pages whole leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Large {
    /// Pages that are in large pages.
    pub pages: u64,
    /// Pages that need not be kept, in large pages and outside.
    pub reclaimed_pages: u64,
}

/// Pages of an image without a gap: the first, its number in the guest, and how many.
pub type FrameRun = (u32, u64, u32);

/// Shares large pages as wholes; `frames` has the runs of each image.
///
/// # Errors
///
/// [`Error::Uncounted`] if the runs are not all pages, or what `pulse` returns.
pub fn large(contents: &Contents, frames: &[Vec<FrameRun>], pulse: Pulse<'_>) -> Result<Large, Error> {
    let (pages, numbers) = (contents.ids().len() as u64, covered(frames));
    if pages != numbers || frames.len() != contents.parts().len() {
        return Err(Error::Uncounted { pages, numbers });
    }
    let mut found = Large::default();
    let mut seen = HashSet::new();
    let mut small = vec![];
    for ((part, ids), runs) in contents.images().zip(frames) {
        for run in runs {
            let [head, body, tail] = split(*run);
            for block in ids[body].chunks_exact(LARGE_PAGES as usize) {
                found.pages += u64::from(LARGE_PAGES);
                let is_new = seen.insert((part.domain, block));
                found.reclaimed_pages += if is_new { 0 } else { u64::from(LARGE_PAGES) };
            }
            small.push((part.domain, ids[head].iter().chain(&ids[tail])));
            pulse()?;
        }
    }
    let mut counter = Counter::new(contents);
    for domain in contents.domains() {
        let members = small.iter().filter(|(of, _)| *of == domain).map(|(_, ids)| ids.clone());
        found.reclaimed_pages += counter.count(members, pulse)?.reclaimed_pages();
    }
    Ok(found)
}

/// Pages of all runs.
fn covered(frames: &[Vec<FrameRun>]) -> u64 {
    frames.iter().flatten().map(|(_, _, pages)| u64::from(*pages)).sum()
}

/// The pages of a run before, in and after its large pages.
fn split((first, frame, pages): FrameRun) -> [Range<usize>; 3] {
    let large = u64::from(LARGE_PAGES);
    let head = (frame.next_multiple_of(large) - frame).min(u64::from(pages)) as u32;
    let body = (pages - head) / LARGE_PAGES * LARGE_PAGES;
    let cuts = [first, first + head, first + head + body, first + pages].map(|page| page as usize);
    [cuts[0]..cuts[1], cuts[1]..cuts[2], cuts[2]..cuts[3]]
}
