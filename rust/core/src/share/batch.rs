//! What the look-ups of a batch need, found out together before any of them changes something.
//!
//! Each kind of load is made for all pages in a row: these do not depend on each other, so the processor has many of them
//! in flight. A scan changes no content, so hashes and comparisons hold for the whole batch; chains change, so what they
//! held is only good while nothing was put into them (`Touched`).

use std::hint::black_box;

use crate::hash::PageHash;
use crate::memory::Memory;
use crate::pmap::{Entry, State};
use crate::types::{Mpn, Ppn, VmId};

/// A page that is to be looked up.
pub struct Candidate {
    /// Whose page.
    pub vm: VmId,
    /// Which page.
    pub ppn: Ppn,
    /// Its entry when the batch began.
    pub entry: Entry,
    /// Where it is.
    pub mpn: Mpn,
    /// Its hash without salt.
    pub bare: PageHash,
    /// Its hash.
    pub hash: u64,
    /// What its chain held when the batch began.
    pub before: Before,
}

/// What a chain held that may match.
#[derive(Clone, Copy)]
pub enum Before {
    /// No frame whose hash begins like the candidate's.
    Nothing,
    /// None but its own hint.
    Own,
    /// The frame of this page, and whether it equals the candidate, if they were compared.
    Alike(Mpn, Option<bool>),
}

impl Candidate {
    /// A page to be scanned: private, resident and eligible.
    fn new(memory: &Memory, (vm, ppn): (VmId, Ppn)) -> Option<Self> {
        let entry = memory.entry(vm, ppn);
        match entry.state() {
            State::Private(mpn) if !entry.is_ineligible() => {
                let (bare, before) = (PageHash::default(), Before::Nothing);
                Some(Self { vm, ppn, entry, mpn, bare, hash: 0, before })
            }
            _ => None,
        }
    }

    /// Whether the candidate was compared with that page, and how that came out.
    pub fn compared(&self, mpn: Mpn) -> Option<bool> {
        match self.before {
            Before::Alike(other, equal) if other == mpn => equal,
            _ => None,
        }
    }
}

/// The candidates among the picked pages, ready to be looked up.
pub fn prepare(memory: &Memory, picks: &[(VmId, Ppn)]) -> Vec<Candidate> {
    black_box(picks.iter().filter(|(vm, ppn)| memory.entry(*vm, *ppn).is_ineligible()).count());
    let mut candidates: Vec<Candidate> =
        picks.iter().filter_map(|pick| Candidate::new(memory, *pick)).collect();
    hash_all(memory, &mut candidates);
    memory.frames().fetch(candidates.iter().map(|page| (page.mpn, page.hash)));
    for page in &mut candidates {
        page.before = before(memory, page);
    }
    compare_all(memory, &mut candidates);
    candidates
}

fn hash_all(memory: &Memory, candidates: &mut [Candidate]) {
    let mut hashes = Vec::with_capacity(candidates.len());
    memory.hash_all(candidates.iter().map(|page| page.mpn), &mut hashes);
    for (page, bare) in candidates.iter_mut().zip(hashes) {
        page.bare = bare;
        page.hash = bare.salted(memory.salt(page.vm));
    }
}

fn before(memory: &Memory, page: &Candidate) -> Before {
    let mut before = Before::Nothing;
    for mpn in memory.frames().alike(page.hash) {
        if mpn != page.mpn {
            return Before::Alike(mpn, None);
        }
        before = Before::Own;
    }
    before
}

/// Compares candidates with what they will most likely match; a zero page needs no comparison.
fn compare_all(memory: &Memory, candidates: &mut [Candidate]) {
    let pair = |page: &Candidate| match page.before {
        Before::Alike(mpn, _) if !page.bare.is_zero => Some((page.mpn.index(), mpn.index())),
        _ => None,
    };
    let pairs: Vec<(usize, usize)> = candidates.iter().filter_map(pair).collect();
    let compared = candidates.iter_mut().filter(|page| pair(page).is_some());
    for (page, is_equal) in compared.zip(memory.content().are_equal(&pairs)) {
        if let Before::Alike(_, compared) = &mut page.before {
            *compared = Some(is_equal);
        }
    }
}

/// Chains into which something was put since the batch began, and some others.
pub struct Touched([u64; Self::WORDS]);

impl Touched {
    const WORDS: usize = 64;

    /// No chain.
    pub fn none() -> Self {
        Self([0; Self::WORDS])
    }

    /// Something is put into that chain.
    pub fn add(&mut self, chain: usize) {
        self.0[chain / 64 % Self::WORDS] |= 1 << (chain % 64);
    }

    /// Whether that chain may hold more than when the batch began.
    pub fn has(&self, chain: usize) -> bool {
        self.0[chain / 64 % Self::WORDS] >> (chain % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_chain_is_never_forgotten() {
        let chains = [0, 1, 63, 64, 4095, 4096, 1 << 20, (1 << 20) + 5];
        let mut touched = Touched::none();
        for (number, chain) in chains.iter().enumerate() {
            touched.add(*chain);
            assert!(chains[..=number].iter().all(|chain| touched.has(*chain)));
        }
        assert!(!touched.has(2) && !touched.has(65));
    }
}
