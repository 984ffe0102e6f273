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

use std::hint::black_box;

use super::ScanReport;
use crate::error::Error;
use crate::frame_table::{FrameView, truncated};
use crate::memory::Memory;
use crate::pmap::{Entry, State};
use crate::types::{Mpn, Ppn, VmId};

/// Frames of a chain that are fetched ahead; chains have two on average when every page has a frame.
const CHAIN_STEPS: usize = 4;

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

/// A page that is to be looked up.
struct Candidate {
    vm: VmId,
    ppn: Ppn,
    entry: Entry,
    mpn: Mpn,
    hash: u64,
    is_zero: bool,
}

impl Candidate {
    /// A page to be scanned: private, resident and eligible.
    fn new(memory: &Memory, (vm, ppn): (VmId, Ppn)) -> Option<Self> {
        let entry = memory.entry(vm, ppn);
        match entry.state() {
            State::Private(mpn) if !entry.is_ineligible() => {
                Some(Self { vm, ppn, entry, mpn, hash: 0, is_zero: false })
            }
            _ => None,
        }
    }
}

/// Scans each page in turn.
///
/// What the look-ups will need is read first, each kind for all pages in a row: these loads do not depend on each other,
/// so the processor has many of them in flight.
pub fn scan_batch(memory: &mut Memory, picks: &[(VmId, Ppn)], report: &mut ScanReport) {
    black_box(picks.iter().filter(|(vm, ppn)| memory.entry(*vm, *ppn).is_ineligible()).count());
    let mut candidates: Vec<Candidate> =
        picks.iter().filter_map(|pick| Candidate::new(memory, *pick)).collect();
    hash_all(memory, &mut candidates);
    memory.frames().fetch(candidates.iter().map(|page| (page.mpn, page.hash)), CHAIN_STEPS);
    for page in &candidates {
        // An earlier candidate may have published this very page, or it came twice.
        if memory.entry(page.vm, page.ppn) == page.entry {
            report.hashed += 1;
            scan_page(memory, page, report)
                .unwrap_or_else(|error| unreachable!("the page is private: {error}"));
        }
    }
}

fn hash_all(memory: &Memory, candidates: &mut [Candidate]) {
    let mut hashes = Vec::with_capacity(candidates.len());
    memory.hash_all(candidates.iter().map(|page| page.mpn), &mut hashes);
    for (page, hash) in candidates.iter_mut().zip(hashes) {
        page.hash = hash.salted(memory.salt(page.vm));
        page.is_zero = hash.is_zero;
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
            FrameView::Shared { hash, is_zero } if hash == page.hash => {
                // Both are known to read zero, or they are compared.
                let equal = (is_zero && page.is_zero) || same(memory, page, mpn);
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
    match verify(memory, (vm, ppn, mpn), truncated(page.hash)) {
        Some(found) if found != page.hash => None,
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
fn verify(memory: &Memory, (vm, ppn, mpn): (VmId, Ppn, Mpn), hinted: u64) -> Option<u64> {
    let entry = memory.entry(vm, ppn);
    let found = (entry.state() == State::Private(mpn)).then(|| memory.hash(vm, mpn));
    found.filter(|found| truncated(*found) == hinted)
}

fn same(memory: &Memory, page: &Candidate, mpn: Mpn) -> bool {
    memory.content().equal(page.mpn.index(), mpn.index())
}
