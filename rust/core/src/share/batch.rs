//! What the look-ups of a batch need, found out together before any of them changes something.
//!
//! Each kind of load is made for all pages in a row: these do not depend on each other, so the processor has many of them
//! in flight. A scan changes no content, so hashes and comparisons hold for the whole batch; chains change, so what they
//! held is only good while nothing was put into them (`Touched`).

use super::Run;
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
    fn new((vm, ppn): (VmId, Ppn), entry: Entry) -> Option<Self> {
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

/// The candidates of one batch after the other.
#[derive(Default)]
pub struct Batch {
    candidates: Vec<Candidate>,
    hashes: Vec<PageHash>,
}

impl Batch {
    /// Finds the candidates among the picked pages and what they need.
    pub fn prepare(&mut self, memory: &Memory, runs: &[Run]) {
        self.candidates.clear();
        runs.iter().for_each(|run| self.add_run(memory, *run));
        // Their own frames are on their way while they are hashed.
        self.candidates.iter().for_each(|page| memory.frames().prefetch(page.mpn));
        self.hash_all(memory);
        memory.frames().fetch_chains(self.candidates.iter().map(|page| page.hash));
        for page in &mut self.candidates {
            page.before = before(memory, page);
        }
        compare_all(memory, &mut self.candidates);
    }

    /// The candidates, ready to be looked up.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    fn add_run(&mut self, memory: &Memory, run: Run) {
        let entries = &memory.vm(run.vm).pmap().entries()[run.first.index()..][..run.pages as usize];
        let pages = (run.first.0..).map(|ppn| (run.vm, Ppn(ppn))).zip(entries);
        let free = pages.filter(|((vm, ppn), _)| !memory.is_pinned(*vm, *ppn));
        self.candidates.extend(free.filter_map(|(page, entry)| Candidate::new(page, *entry)));
    }

    fn hash_all(&mut self, memory: &Memory) {
        memory.hash_all(self.candidates.iter().map(|page| page.mpn), &mut self.hashes);
        for (page, bare) in self.candidates.iter_mut().zip(&self.hashes) {
            page.bare = *bare;
            page.hash = bare.salted(memory.salt(page.vm));
        }
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
