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
//! A hint is a rumour: it is followed only to read the page again, and following it changes no page.

use std::hint::black_box;

use super::{Candidate, ScanReport};
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

/// Looks up each candidate in turn.
pub fn scan_batch(memory: &mut Memory, candidates: &mut Vec<Candidate>, report: &mut ScanReport) {
    candidates.retain_mut(Candidate::find);
    // Each of these loops is a row of independent loads, which the processor has in flight together.
    black_box(candidates.iter().fold(0, |seen, page| seen ^ memory.content().first_word(page.mpn.index())));
    for page in &mut *candidates {
        page.hash = memory.hash(page.vm, page.mpn);
    }
    let frames = memory.frames();
    black_box(
        candidates
            .iter()
            .filter_map(|page| frames.first(page.hash))
            .fold(0, |seen, mpn| seen ^ frames.next(mpn).map_or(0, |next| next.0)),
    );
    for page in candidates {
        // An earlier candidate may have published this very page, or it came twice.
        if memory.entry(page.vm, page.ppn) == page.entry {
            report.hashed += 1;
            scan_page(memory, page, report)
                .unwrap_or_else(|error| unreachable!("the page is private: {error}"));
        }
    }
}

fn scan_page(memory: &mut Memory, page: &Candidate, report: &mut ScanReport) -> Result<(), Error> {
    match search(memory, page, &mut report.stale_hints) {
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
            FrameView::Shared { hash } if hash == page.hash => {
                return if same(memory, page, mpn) { Match::Shared(mpn) } else { Match::False };
            }
            FrameView::Hint { hash, .. } if hash != truncated(page.hash) => {}
            FrameView::Hint { .. } if mpn == page.mpn => answer = Match::Own,
            FrameView::Hint { hash, vm, ppn } => match verify(memory, (vm, ppn, mpn), hash) {
                None => {
                    memory.drop_hint(mpn);
                    *stale_hints += 1;
                }
                Some(found) if found == page.hash => {
                    return if same(memory, page, mpn) { Match::Hint(vm, ppn, mpn) } else { Match::False };
                }
                Some(_) => {}
            },
            FrameView::Shared { .. } | FrameView::None => {}
        }
    }
    answer
}

/// The hash that a hinted page has now, if it is still there and begins as the hint says.
fn verify(memory: &Memory, (vm, ppn, mpn): (VmId, Ppn, Mpn), hinted: u64) -> Option<u64> {
    let entry = memory.entry(vm, ppn);
    let found = (entry.state() == State::Private(mpn)).then(|| memory.hash(vm, mpn));
    found.filter(|found| truncated(*found) == hinted)
}

fn same(memory: &Memory, page: &Candidate, mpn: Mpn) -> bool {
    memory.content().equal(page.mpn.index(), mpn.index())
}
