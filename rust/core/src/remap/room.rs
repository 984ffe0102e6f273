//! Who makes room in low memory (§7: left open by the paper).
//!
//! Pages that may move up are private, low, not pinned and not on their way to the swap file; shared ones stay, as
//! nobody knows who shares them. There is no backmap either way, so they are looked for in the pmaps, by a hand that goes
//! round all virtual machines and stays where it found one: low pages without recent transfers are many, and the first
//! of them will do. Only if a whole round meets none is there anything to decide.

use super::heat::Heat;
use crate::config::WhenScarce;
use crate::memory::Memory;
use crate::pmap::State;
use crate::types::{Mpn, Ppn, VmId};
use crate::vm_table::VmTable;

/// A low page that may move up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whose page.
    pub vm: VmId,
    /// Which page.
    pub ppn: Ppn,
    /// Recent transfers.
    pub transfers: u32,
}

/// What a round found of one virtual machine: its low pages with recent transfers.
#[derive(Clone, Copy, Debug)]
struct Busy {
    pages: u32,
    coldest: Candidate,
}

/// Who asks for room, and the rules.
pub struct Asker<'a> {
    /// Whose page is hot.
    pub vm: VmId,
    /// Its recent transfers.
    pub transfers: u32,
    /// The first page that is not low.
    pub boundary: Mpn,
    /// Who makes room.
    pub rule: WhenScarce,
    /// Shares of the virtual machines.
    pub shares: &'a dyn Fn(VmId) -> u32,
}

/// Where the next round begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hand(pub VmId, pub Ppn);

/// The page that is to move up, if one is. Cost: pages looked at until one without recent transfers is found.
pub fn victim(
    memory: &Memory,
    heats: &VmTable<impl AsRef<Heat>>,
    hand: &mut Hand,
    asker: &Asker<'_>,
) -> Option<Candidate> {
    if asker.rule == WhenScarce::Refuse {
        return None;
    }
    let mut busy: Vec<Busy> = vec![];
    for (vm, from, to) in round(memory, heats, *hand) {
        let heat = heats[vm].as_ref();
        for ppn in (from..to).map(Ppn) {
            let Some(candidate) = candidate(memory, heat, (vm, ppn), asker.boundary) else { continue };
            if candidate.transfers == 0 {
                *hand = Hand(vm, ppn);
                return Some(candidate);
            }
            match busy.iter_mut().find(|busy| busy.coldest.vm == vm) {
                Some(busy) => busy.add(candidate),
                None => busy.push(Busy { pages: 1, coldest: candidate }),
            }
        }
    }
    busy.sort_unstable_by_key(|busy| busy.coldest.vm);
    decide(&busy, asker)
}

impl Busy {
    fn add(&mut self, candidate: Candidate) {
        self.pages += 1;
        // The lowest page of the coldest, wherever the round began.
        let order = |candidate: &Candidate| (candidate.transfers, candidate.ppn);
        self.coldest = std::cmp::min_by_key(self.coldest, candidate, order);
    }
}

/// Stretches of pages from the hand on, once around all virtual machines.
fn round<T>(memory: &Memory, heats: &VmTable<T>, hand: Hand) -> Vec<(VmId, u32, u32)> {
    let pages = |vm: VmId| memory.vm(vm).pmap().pages();
    let all: Vec<VmId> = heats.iter().map(|(vm, _)| vm).collect();
    let (before, after): (Vec<VmId>, Vec<VmId>) = all.iter().partition(|vm| **vm <= hand.0);
    let cut = |vm: VmId| if vm == hand.0 { hand.1.0.min(pages(vm)) } else { 0 };
    let first = before.last().filter(|vm| **vm == hand.0).map(|vm| (*vm, cut(*vm), pages(*vm)));
    let middle = after.into_iter().map(|vm| (vm, 0, pages(vm)));
    let last = before.iter().map(|vm| (*vm, 0, if *vm == hand.0 { cut(*vm) } else { pages(*vm) }));
    first.into_iter().chain(middle).chain(last).collect()
}

fn candidate(memory: &Memory, heat: &Heat, (vm, ppn): (VmId, Ppn), boundary: Mpn) -> Option<Candidate> {
    let entry = memory.entry(vm, ppn);
    let State::Private(mpn) = entry.state() else { return None };
    let may_move = mpn < boundary && !entry.is_leaving() && !memory.is_pinned(vm, ppn);
    may_move.then(|| Candidate { vm, ppn, transfers: heat.transfers(ppn) })
}

/// Who loses a busy page, if anybody does. The rows are in order of their virtual machines.
fn decide(busy: &[Busy], asker: &Asker<'_>) -> Option<Candidate> {
    let colder = |busy: &&Busy| busy.coldest.transfers < asker.transfers;
    match asker.rule {
        WhenScarce::Refuse => None,
        WhenScarce::EvictColdest => {
            busy.iter().filter(colder).min_by_key(|busy| busy.coldest.transfers).map(|busy| busy.coldest)
        }
        WhenScarce::FairShare => {
            let shares = asker.shares;
            let richest = busy.iter().reduce(|one, other| {
                let is_richer =
                    is_richer((other.pages, shares(other.coldest.vm)), (one.pages, shares(one.coldest.vm)));
                if is_richer { other } else { one }
            })?;
            let own = busy.iter().find(|busy| busy.coldest.vm == asker.vm);
            let mine = (own.map_or(0, |own| own.pages) + 1, shares(asker.vm));
            // With the page it would have more for its shares than anybody: then one of its own must go.
            if is_richer(mine, (richest.pages, shares(richest.coldest.vm))) {
                return own.filter(colder).map(|own| own.coldest);
            }
            Some(richest.coldest)
        }
    }
}

/// Whether `one`, (pages, shares), has more pages for its shares than `other`.
fn is_richer(one: (u32, u32), other: (u32, u32)) -> bool {
    u64::from(one.0) * u64::from(other.1) > u64::from(other.0) * u64::from(one.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(vm: u16, pages: u32, transfers: u32) -> Busy {
        Busy { pages, coldest: Candidate { vm: VmId(vm), ppn: Ppn(0), transfers } }
    }

    fn decided(rule: WhenScarce, rows: &[Busy], vm: u16, transfers: u32, shares: &[u32]) -> Option<u16> {
        let shares = |vm: VmId| shares[vm.index()];
        let asker = Asker { vm: VmId(vm), transfers, boundary: Mpn(9), rule, shares: &shares };
        decide(rows, &asker).map(|candidate| candidate.vm.0)
    }

    #[test]
    fn the_coldest_goes_if_it_is_colder() {
        let rows = [busy(0, 5, 7), busy(1, 1, 4), busy(2, 9, 4)];
        let coldest = |transfers| decided(WhenScarce::EvictColdest, &rows, 0, transfers, &[1, 1, 1]);
        assert_eq!([4, 5, 100].map(coldest), [None, Some(1), Some(1)]);
        assert_eq!(decided(WhenScarce::EvictColdest, &[], 0, 9, &[1]), None);
        assert_eq!(decided(WhenScarce::Refuse, &rows, 0, 9, &[1, 1, 1]), None);
    }

    #[test]
    fn fair_shares_take_from_who_has_most_for_its_shares() {
        let rows = [busy(0, 4, 9), busy(1, 8, 9)];
        let fair = |vm, transfers, shares| decided(WhenScarce::FairShare, &rows, vm, transfers, shares);
        assert_eq!(fair(0, 1, &[1000, 1000, 1]), Some(1), "one that has half as many");
        assert_eq!(fair(0, 1, &[1000, 4000, 1]), None, "4 for 1000 is more than 8 for 4000: no colder page");
        assert_eq!(fair(0, 10, &[1000, 4000, 1]), Some(0), "its own colder page");
        assert_eq!(fair(2, 1, &[1000, 1000, 1000]), Some(1), "one that has none yet");
        assert_eq!(fair(2, 100, &[1000, 1000, 0]), None, "one without shares takes nothing");
        assert_eq!(fair(0, 1, &[1000, 0, 0]), Some(1), "one without shares loses first");
    }
}
