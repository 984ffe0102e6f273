//! From a scanned page to its match (§4.3, figure 3).
//!
//! | the chain holds | then |
//! |---|---|
//! | a shared frame of the same hash, equal bytes | merge into it |
//! | a shared frame of the same hash, other bytes | a false match: the candidate becomes ineligible |
//! | a hint whose truncated hash matches, on the same page | nothing: it is the candidate's own |
//! | ..., whose page has another truncated hash by now | stale: remove it, go on |
//! | ..., whose page has the same hash and equal bytes | publish that page, merge into it |
//! | ..., whose page has the same hash and other bytes | a false match |
//! | ..., whose page has another hash that begins alike | a true hint of other content: keep it, go on |
//! | nothing of these | leave a hint, in place of an older one of the candidate |
//!
//! The whole chain is walked before a hint is believed: a shared frame of the same hash goes first, so no two shared
//! frames ever have the same hash.
//!
//! A hint is a rumour: it is followed only to read the page again, and following it changes no page.

use super::ScanReport;
use super::batch::{Before, Candidate, Touched};
use crate::error::Error;
use crate::frame_table::{FrameView, truncated};
use crate::memory::Memory;
use crate::pmap::State;
use crate::types::{Mpn, Ppn, VmId};

/// How an answer was found.
enum Match {
    /// A shared page with equal content.
    Shared(Mpn),
    /// A hint that told the truth.
    Hint(VmId, Ppn, Mpn),
    /// The same hash and other content.
    False,
    /// A hint on this page says the same already.
    Own,
    /// Nothing.
    Nothing,
}

impl Match {
    /// Whether another hint could still decide.
    fn is_open(&self) -> bool {
        matches!(self, Self::Nothing | Self::Own)
    }
}

/// Scans each page in turn.
pub fn scan_batch(memory: &mut Memory, mut pages: &[Candidate], report: &mut ScanReport) {
    let mut touched = Touched::none();
    while let Some((page, rest)) = pages.split_first() {
        pages = rest;
        if !is_as_before(memory, page) {
            continue;
        }
        report.hashed += 1;
        let found = look_up(memory, page, &touched, &mut report.stale_hints);
        if let Match::Hint(..) | Match::Nothing = found {
            touched.add(memory.frames().chain(page.hash));
        }
        let into = if let Match::Shared(into) = found { Some(into) } else { None };
        conclude(memory, page, found, report)
            .unwrap_or_else(|error| unreachable!("the page is private: {error}"));
        if let Some(into) = into {
            pages = &pages[merge_zeros(memory, page, pages, into, report)..];
        }
    }
}

/// An earlier candidate may have published this very page, or it came twice.
fn is_as_before(memory: &Memory, page: &Candidate) -> bool {
    memory.entry(page.vm, page.ppn) == page.entry
}

/// Merges the zero pages that come right after a zero page that was merged: they meet the same shared frame, and what was in
/// the chain before it was looked at for the first of them. Returns how many.
fn merge_zeros(
    memory: &mut Memory,
    first: &Candidate,
    others: &[Candidate],
    into: Mpn,
    report: &mut ScanReport,
) -> usize {
    if !first.bare.is_zero {
        return 0;
    }
    let mut last = first.ppn;
    let alike = others.iter().take_while(|page| {
        // Ascending, so none comes twice.
        let goes_on =
            page.bare.is_zero && page.vm == first.vm && page.ppn > last && is_as_before(memory, page);
        last = page.ppn;
        goes_on
    });
    let alike = alike.count();
    memory
        .merge_all(first.vm, others[..alike].iter().map(|page| page.ppn), into)
        .unwrap_or_else(|error| unreachable!("the pages are private: {error}"));
    report.hashed += alike as u64;
    report.merged += alike as u64;
    alike
}

/// What the search would find; without it where the chain is known to hold nothing else.
fn look_up(memory: &mut Memory, page: &Candidate, touched: &Touched, stale_hints: &mut u64) -> Match {
    match page.before {
        Before::Nothing if !touched.has(memory.frames().chain(page.hash)) => Match::Nothing,
        Before::Own if !touched.has(memory.frames().chain(page.hash)) => Match::Own,
        _ => search(memory, page, stale_hints),
    }
}

/// Does what the answer is.
fn conclude(
    memory: &mut Memory,
    page: &Candidate,
    found: Match,
    report: &mut ScanReport,
) -> Result<(), Error> {
    match found {
        Match::Shared(into) => {
            memory.merge(page.vm, page.ppn, into)?;
            report.merged += 1;
        }
        Match::Hint(vm, ppn, into) => {
            memory.publish(vm, ppn, page.hash)?;
            memory.merge(page.vm, page.ppn, into)?;
            report.published += 1;
            report.merged += 1;
        }
        Match::False => {
            memory.exclude(page.vm, page.ppn)?;
            report.false_matches += 1;
        }
        Match::Own => {}
        Match::Nothing => {
            memory.leave_hint(page.vm, page.ppn, page.hash)?;
            report.hints += 1;
        }
    }
    Ok(())
}

fn search(memory: &mut Memory, page: &Candidate, stale_hints: &mut u64) -> Match {
    let mut answer = Match::Nothing;
    let mut at = memory.frames().first(page.hash);
    while let Some(mpn) = at {
        at = memory.frames().next(mpn);
        match memory.frames().get(mpn) {
            FrameView::Shared { hash, is_zero } if hash == page.hash => {
                // Both are known to read zero, or they are compared.
                let equal = (is_zero && page.bare.is_zero) || same(memory, page, mpn);
                return if equal { Match::Shared(mpn) } else { Match::False };
            }
            FrameView::Hint { hash, vm, ppn } if hash == truncated(page.hash) && answer.is_open() => {
                answer = follow(memory, page, (vm, ppn, mpn), stale_hints).unwrap_or(answer);
            }
            FrameView::Shared { .. } | FrameView::Hint { .. } | FrameView::None => {}
        }
    }
    answer
}

/// What a hint of the right truncated hash comes to; nothing if it is removed, or true and about other content.
fn follow(
    memory: &mut Memory,
    page: &Candidate,
    (vm, ppn, mpn): (VmId, Ppn, Mpn),
    stale_hints: &mut u64,
) -> Option<Match> {
    if mpn == page.mpn {
        return Some(Match::Own);
    }
    match verify(memory, page, (vm, ppn, mpn)) {
        Some(found) if found != page.hash => None,
        // A device is using it: it stays private for now, and its hint is as good as before.
        Some(_) if memory.is_pinned(vm, ppn) => None,
        Some(_) if same(memory, page, mpn) => Some(Match::Hint(vm, ppn, mpn)),
        Some(_) => Some(Match::False),
        None => {
            memory.drop_hint(mpn);
            *stale_hints += 1;
            None
        }
    }
}

/// The hash that a hinted page has now, if it is still there and begins as the hint says.
fn verify(memory: &Memory, page: &Candidate, (vm, ppn, mpn): (VmId, Ppn, Mpn)) -> Option<u64> {
    let entry = memory.entry(vm, ppn);
    let is_there = entry.state() == State::Private(mpn);
    let found = is_there.then(|| match page.compared(mpn) {
        Some(true) => page.bare.salted(memory.salt(vm)),
        Some(false) | None => memory.hash(vm, mpn),
    });
    found.filter(|found| truncated(*found) == truncated(page.hash))
}

fn same(memory: &Memory, page: &Candidate, mpn: Mpn) -> bool {
    page.compared(mpn).unwrap_or_else(|| memory.content().equal(page.mpn.index(), mpn.index()))
}
