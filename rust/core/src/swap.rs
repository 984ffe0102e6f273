//! Paging by the server (§3.3): which pages of a virtual machine go to the swap file, and when they are written.
//!
//! Victims are chosen at random, so that no policy of the guest can work against the choice: of the private pages that
//! are not leaving yet, every set of so many is as likely as any other. Two ways lead to such a set. While it is a small
//! part of them, pages are drawn and those that will not do are drawn again; otherwise the pmap is walked once, and of
//! `l` candidates still to come each is taken with probability `n / l` while `n` are wanted.
//!
//! A page-out is asynchronous. `begin` marks pages as leaving and remembers them, in order of their PPNs; the guest goes
//! on, and its next access to one takes the mark off. `finish` writes those that are still marked, and forgets the
//! others: the guest touched them, or they were merged, ballooned, relocated or freed. What was begun together is a
//! *batch* and written together: neighbours in the guest become neighbours in the swap file, and each stretch of
//! neighbouring slots within a batch counts as one write, however many calls of `finish` it took.
//!
//! Shared pages are the last resort: any of them where one page is wanted at once, those with the fewest sharers where
//! a virtual machine stands until memory comes free.
//!
//! The mark is this room's alone. Trying to share a page before it is paged out (§4.3) is for the host to compose: a page
//! that is merged is not written. The transitions themselves are `memory`'s, the order of slots is `swapfile`'s.

use std::collections::{HashSet, VecDeque};

use crate::counts::counts;
use crate::error::Error;
use crate::memory::Memory;
use crate::pmap::{Entry, State};
use crate::rng::{Seed, Stream};
use crate::types::{Ppn, Slot, VmId};
use crate::vm_table::VmTable;

/// Candidates to each page wanted below which the pmap is walked: a draw costs about as much as so many steps.
const DRAWN_PART: u32 = 64;

counts! {
    /// What became of pages that were to be paged out: each is written, cancelled or unwritten.
    pub struct SwapReport {
        /// Pages written to the swap file.
        pub written: u64,
        /// Stretches of neighbouring slots they were written to.
        pub writes: u64,
        /// Machine pages that came free.
        pub freed: u64,
        /// Pages not written because they no longer left: touched, merged, ballooned, moved, freed or written before.
        pub cancelled: u64,
        /// Pages not written because the swap file was full. They leave no more.
        pub unwritten: u64,
    }
}

impl SwapReport {
    /// Mean pages a write; none without writes.
    #[must_use]
    pub fn mean_run(&self) -> Option<f64> {
        (self.writes > 0).then(|| self.written as f64 / self.writes as f64)
    }
}

/// The swapper of one host.
#[derive(Clone, Debug)]
pub struct Swapper {
    seed: Seed,
    vms: VmTable<Progress>,
    totals: SwapReport,
}

/// What is under way for one virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    stream: Stream,
    /// Oldest first.
    batches: VecDeque<Batch>,
    under_way: u32,
}

/// Pages that are paged out together, in order of their PPNs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Batch {
    pages: VecDeque<Ppn>,
    /// The slot after the last one written.
    next: Option<Slot>,
}

impl Swapper {
    /// A swapper of no virtual machine.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self { seed, vms: VmTable::new(), totals: SwapReport::default() }
    }

    /// Takes on a virtual machine, the `serial`-th of this host. Nothing else enters into its random choices.
    pub fn add_vm(&mut self, vm: VmId, serial: u64) {
        let stream = self.seed.stream("swap", serial);
        self.vms.add(vm, Progress { stream, batches: VecDeque::new(), under_way: 0 });
    }

    /// Forgets a virtual machine whose pages are to be released, and what is under way for it.
    pub fn remove_vm(&mut self, vm: VmId) {
        self.vms.remove(vm);
    }

    /// What became of all pages so far.
    #[must_use]
    pub fn totals(&self) -> &SwapReport {
        &self.totals
    }

    /// Pages of a virtual machine that were begun and not finished. Some may leave no more: `VmMemory::leaving` says how
    /// many do.
    #[must_use]
    pub fn under_way(&self, vm: VmId) -> u32 {
        self.progress(vm).under_way
    }

    /// What is under way for a virtual machine, and where its random stream is.
    ///
    /// # Panics
    ///
    /// If it was not added.
    #[must_use]
    pub fn progress(&self, vm: VmId) -> &Progress {
        &self.vms[vm]
    }

    /// Up to `pages` different random pages that are private, not leaving and not pinned: as many as there are, if fewer
    /// (§3.3).
    ///
    /// They come in no order. Cost: about one draw a page while candidates are many; at most two visits of each entry of
    /// the pmap.
    pub fn victims(&mut self, memory: &Memory, vm: VmId, pages: u32) -> Vec<Ppn> {
        let tally = memory.vm(vm).tally();
        let stays = |entry: Entry| matches!(entry.state(), State::Private(_)) && !entry.is_leaving();
        let candidates = tally.resident - tally.on_shared_frames - tally.leaving - pinned(memory, vm, stays);
        let stream = &mut self.progress_mut(vm).stream;
        let entries = memory.vm(vm).pmap().entries();
        choose(stream, entries, pages, candidates, |ppn, entry| stays(entry) && !memory.is_pinned(vm, ppn))
    }

    /// The same of shared pages, for a host that has no private page left: each frees a machine page only if nobody else
    /// shares it.
    pub fn last_resort(&mut self, memory: &Memory, vm: VmId, pages: u32) -> Vec<Ppn> {
        let shared = |entry: Entry| matches!(entry.state(), State::Shared(_));
        let candidates = memory.vm(vm).on_shared_frames() - pinned(memory, vm, shared);
        let stream = &mut self.progress_mut(vm).stream;
        let entries = memory.vm(vm).pmap().entries();
        choose(stream, entries, pages, candidates, |ppn, entry| shared(entry) && !memory.is_pinned(vm, ppn))
    }

    /// The same, pages with the fewest sharers first, so that those of one content go one after the other and their machine
    /// page comes free: for a virtual machine that stands until some do. Cost: a visit of each entry of the pmap, and of
    /// each of its shared frames.
    pub fn fewest_sharers(&mut self, memory: &Memory, vm: VmId, pages: u32) -> Vec<Ppn> {
        let stream = &mut self.progress_mut(vm).stream;
        let entries = (0..).map(Ppn).zip(memory.vm(vm).pmap().entries());
        let mut shared: Vec<(u32, u32, Ppn)> = entries
            .filter_map(|(ppn, entry)| match entry.state() {
                State::Shared(_) if memory.is_pinned(vm, ppn) => None,
                State::Shared(mpn) => Some((memory.frames().count(mpn), stream.below(u32::MAX), ppn)),
                _ => None,
            })
            .collect();
        let wanted = shared.len().min(pages as usize);
        if wanted < shared.len() {
            shared.select_nth_unstable(wanted);
        }
        shared.into_iter().take(wanted).map(|(_, _, ppn)| ppn).collect()
    }

    /// Begins to page out those of these pages that are private and not leaving yet; returns how many these are.
    ///
    /// A page that stopped leaving and is begun again while its first batch waits is written with that one.
    pub fn begin(&mut self, memory: &mut Memory, vm: VmId, ppns: &[Ppn]) -> u32 {
        let mut pages = ppns.to_vec();
        pages.sort_unstable();
        // A page that comes twice is leaving the second time.
        pages
            .retain(|ppn| !memory.entry(vm, *ppn).is_leaving() && memory.set_leaving(vm, *ppn, true).is_ok());
        let begun = pages.len() as u32;
        if begun > 0 {
            let progress = self.progress_mut(vm);
            progress.batches.push_back(Batch { pages: pages.into(), next: None });
            progress.under_way += begun;
        }
        begun
    }

    /// Finishes up to `most` of the page-outs under way, oldest batch first: writes the pages that are still leaving.
    ///
    /// In several calls the same comes out as in one. If the swap file is full, pages that cannot be written stay where
    /// they are and leave no more.
    pub fn finish(&mut self, memory: &mut Memory, vm: VmId, most: u32) -> SwapReport {
        let mut report = SwapReport::default();
        let progress = self.progress_mut(vm);
        let mut left = most;
        while let (Some(batch), 1..) = (progress.batches.front_mut(), left) {
            let done = left.min(batch.pages.len() as u32);
            report.add(&batch.finish(memory, vm, done));
            left -= done;
            progress.under_way -= done;
            if batch.pages.is_empty() {
                progress.batches.pop_front();
            }
        }
        self.totals.add(&report);
        report
    }

    /// Pages out these pages at once, for emergencies; those that are not resident, are pinned, or come
    /// twice, count as cancelled.
    pub fn write_now(&mut self, memory: &mut Memory, vm: VmId, ppns: &[Ppn]) -> SwapReport {
        let mut pages = ppns.to_vec();
        pages.sort_unstable();
        pages.dedup();
        pages.retain(|ppn| memory.entry(vm, *ppn).state().mpn().is_some() && !memory.is_pinned(vm, *ppn));
        let mut report = Batch::default().write(memory, vm, &pages);
        report.cancelled = (ppns.len() - pages.len()) as u64;
        self.totals.add(&report);
        report
    }

    fn progress_mut(&mut self, vm: VmId) -> &mut Progress {
        &mut self.vms[vm]
    }
}

impl Batch {
    /// Takes the next `pages` pages off the batch and writes those that are still leaving.
    fn finish(&mut self, memory: &mut Memory, vm: VmId, pages: u32) -> SwapReport {
        let taken = self.pages.drain(..pages as usize);
        let leaving: Vec<Ppn> = taken.filter(|ppn| memory.entry(vm, *ppn).is_leaving()).collect();
        let mut report = self.write(memory, vm, &leaving);
        report.cancelled = u64::from(pages) - leaving.len() as u64;
        report
    }

    /// Writes resident pages, whose PPNs ascend, in as few runs of slots as there are.
    fn write(&mut self, memory: &mut Memory, vm: VmId, pages: &[Ppn]) -> SwapReport {
        let mut report = SwapReport::default();
        let mut rest = pages;
        while !rest.is_empty() {
            match memory.page_out_run(vm, rest) {
                Ok(paged) => {
                    report.written += u64::from(paged.slots.len);
                    report.freed += u64::from(paged.freed);
                    report.writes += u64::from(self.next != Some(paged.slots.first));
                    self.next = Some(paged.slots.end());
                    rest = &rest[paged.slots.len as usize..];
                }
                Err(Error::SwapFull { .. }) => {
                    report.unwritten = rest.len() as u64;
                    keep(memory, vm, rest);
                    break;
                }
                Err(error) => unreachable!("the pages are resident and ascend: {error}"),
            }
        }
        report
    }
}

/// How many of a virtual machine's pages that pass are pinned.
fn pinned(memory: &Memory, vm: VmId, passes: impl Fn(Entry) -> bool) -> u32 {
    let own = memory.pinned().iter().filter(|(owner, _)| *owner == vm);
    own.filter(|(_, ppn)| passes(memory.entry(vm, *ppn))).count() as u32
}

/// Lets pages stay.
fn keep(memory: &mut Memory, vm: VmId, ppns: &[Ppn]) {
    for ppn in ppns {
        memory.set_leaving(vm, *ppn, false).expect("the mark comes off in any state");
    }
}

/// `wanted` different entries of the `candidates` that pass, or all of these; every set as likely as any other.
fn choose(
    stream: &mut Stream,
    entries: &[Entry],
    wanted: u32,
    candidates: u32,
    passes: impl Fn(Ppn, Entry) -> bool,
) -> Vec<Ppn> {
    let wanted = wanted.min(candidates);
    let mut chosen =
        if wanted <= candidates / DRAWN_PART { draw(stream, entries, wanted, &passes) } else { vec![] };
    let found = chosen.len() as u32;
    if found < wanted {
        // There was no draw, or luck was bad.
        walk(stream, entries, (wanted - found, candidates - found), &passes, &mut chosen);
    }
    chosen
}

/// Adds `missing` different entries of the `left` that pass and are not chosen yet; every set as likely as any other.
fn walk(
    stream: &mut Stream,
    entries: &[Entry],
    (mut missing, mut left): (u32, u32),
    passes: &impl Fn(Ppn, Entry) -> bool,
    chosen: &mut Vec<Ppn>,
) {
    let drawn: HashSet<Ppn> = chosen.iter().copied().collect();
    let all = (0..).map(Ppn).zip(entries);
    let mut others = all.filter(|(ppn, entry)| passes(*ppn, **entry) && !drawn.contains(ppn));
    while missing > 0 {
        let (ppn, _) = others.next().expect("I2: as many entries pass as are counted");
        if stream.below(left) < missing {
            chosen.push(ppn);
            missing -= 1;
        }
        left -= 1;
    }
}

/// Up to `wanted` different entries that pass. Draws do not promise to end, so there are at most as many as entries.
fn draw(
    stream: &mut Stream,
    entries: &[Entry],
    wanted: u32,
    passes: &impl Fn(Ppn, Entry) -> bool,
) -> Vec<Ppn> {
    let mut seen = HashSet::new();
    let mut drawn = vec![];
    for _ in 0..entries.len() {
        if drawn.len() == wanted as usize {
            break;
        }
        let ppn = Ppn(stream.below(entries.len() as u32));
        if passes(ppn, entries[ppn.index()]) && seen.insert(ppn) {
            drawn.push(ppn);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::audit;
    use crate::config::HostConfig;
    use crate::types::{ContentKind, PageView};

    const VM: VmId = VmId(0);

    /// A virtual machine whose page `n` holds token `n + 1`.
    fn loaded(pages: u32, slots: u32) -> (Memory, Swapper) {
        let seed = Seed([4; 32]);
        let config =
            HostConfig { swap_pages: slots, ..HostConfig::new(pages, ContentKind::Tokens, seed.clone()) };
        let mut memory = Memory::new(&config).expect("small");
        let mut swapper = Swapper::new(seed);
        memory.add_vm(pages, 0, &mut || Ok(())).expect("small");
        swapper.add_vm(VM, 0);
        (0..pages).for_each(|ppn| {
            memory.load(VM, Ppn(ppn), PageView::Token(u64::from(ppn) + 1)).expect("as many machine pages");
        });
        (memory, swapper)
    }

    fn page_out(memory: &mut Memory, ppns: impl Iterator<Item = u32>) {
        ppns.for_each(|ppn| assert_eq!(memory.page_out(VM, Ppn(ppn)).expect("resident").freed, 1));
    }

    /// Makes a page shared by itself.
    fn publish(memory: &mut Memory, ppn: u32) {
        let mpn = memory.entry(VM, Ppn(ppn)).state().mpn().expect("resident");
        memory.publish(VM, Ppn(ppn), memory.hash(VM, mpn)).expect("private");
    }

    fn leaving(memory: &Memory) -> Vec<u32> {
        let entries = memory.vm(VM).pmap().entries().iter().zip(0..);
        entries.filter(|(entry, _)| entry.is_leaving()).map(|(_, ppn)| ppn).collect()
    }

    fn slots(memory: &Memory) -> Vec<Option<u32>> {
        let slot = |entry: &Entry| match entry.state() {
            State::Swapped(slot) => Some(slot.0),
            _ => None,
        };
        memory.vm(VM).pmap().entries().iter().map(slot).collect()
    }

    fn sound(memory: &Memory) {
        audit(memory, &mut || Ok(())).expect("every invariant holds");
        let pages = 0..memory.vm(VM).pmap().pages();
        pages
            .for_each(|ppn| assert_eq!(memory.peek(VM, Ppn(ppn)), PageView::Token(u64::from(ppn) + 1), "I9"));
    }

    /// Chooses `wanted` of 320 candidates among 1280 pages again and again: each must come as often as any other.
    fn uniform(wanted: u32, choose: impl Fn(&mut Swapper, &Memory, u32) -> Vec<Ppn>, memory: &Memory) {
        let mut swapper = Swapper::new(Seed([9; 32]));
        swapper.add_vm(VM, 0);
        let (mut hits, rounds) = ([0u32; 1280], 8000);
        for _ in 0..rounds {
            let victims = choose(&mut swapper, memory, wanted);
            assert_eq!(victims.iter().collect::<HashSet<_>>().len(), wanted as usize, "different pages");
            victims.iter().for_each(|ppn| hits[ppn.index()] += 1);
        }
        let candidates = hits.iter().skip(1).step_by(4);
        assert_eq!(candidates.clone().sum::<u32>(), rounds * wanted, "candidates only");
        // Each page comes with this probability in each round, so this is its variance.
        let (expected, part) = (f64::from(rounds * wanted) / 320.0, f64::from(wanted) / 320.0);
        let chi2: f64 = candidates.map(|hit| (f64::from(*hit) - expected).powi(2) / expected).sum();
        // About 319 degrees of freedom, fewer hits to spread as more are taken: five standard deviations of 25.
        let spread = chi2 / (1.0 - part).max(f64::EPSILON);
        assert!(wanted == 320 || (194.0..444.0).contains(&spread), "{wanted} of 320: {spread} {hits:?}");
    }

    #[test]
    fn victims_are_uniform_different_private_and_stay_until_begun() {
        let (mut memory, mut swapper) = loaded(1280, 1280);
        page_out(&mut memory, (0..1280).step_by(4));
        (2..1280).step_by(4).for_each(|ppn| publish(&mut memory, ppn));
        let begun: Vec<Ppn> = (3..1280).step_by(4).map(Ppn).collect();
        assert_eq!(swapper.begin(&mut memory, VM, &begun), 320);
        for wanted in [1, 5, 6, 100, 319, 320] {
            uniform(wanted, |swapper, memory, wanted| swapper.victims(memory, VM, wanted), &memory);
        }
        assert_eq!(swapper.victims(&memory, VM, u32::MAX).len(), 320);
        assert_eq!(swapper.victims(&memory, VM, 0), []);
    }

    #[test]
    fn the_last_resort_is_shared_pages() {
        let (mut memory, mut swapper) = loaded(1280, 1280);
        (1..1280).step_by(4).for_each(|ppn| publish(&mut memory, ppn));
        for wanted in [1, 5, 100] {
            uniform(wanted, |swapper, memory, wanted| swapper.last_resort(memory, VM, wanted), &memory);
        }
        let shared = swapper.last_resort(&memory, VM, u32::MAX);
        assert_eq!(shared.len(), 320);
        assert_eq!(swapper.begin(&mut memory, VM, &shared), 0, "only private pages leave step by step");
        let report = swapper.write_now(&mut memory, VM, &shared);
        assert_eq!((report.written, report.freed, report.writes), (320, 320, 1));
        assert_eq!((memory.vm(VM).on_shared_frames(), swapper.last_resort(&memory, VM, 1)), (0, vec![]));
        sound(&memory);
    }

    #[test]
    fn rare_victims_are_found() {
        let (mut memory, mut swapper) = loaded(1 << 14, 1 << 14);
        page_out(&mut memory, (0..1 << 14).filter(|ppn| ppn % 256 != 77));
        for wanted in [1, 1, 1, 1, 2, 3, 64] {
            let victims = swapper.victims(&memory, VM, wanted);
            assert_eq!(victims.iter().collect::<HashSet<_>>().len(), wanted as usize);
            assert!(victims.iter().all(|ppn| ppn.0 % 256 == 77));
        }
    }

    #[test]
    fn what_draws_do_not_find_the_walk_finds() {
        let (memory, mut swapper) = loaded(200, 1);
        let (stream, entries) = (&mut swapper.progress_mut(VM).stream, memory.vm(VM).pmap().entries());
        assert_eq!(draw(stream, entries, 5, &|_, _| false), []);
        assert_eq!(draw(stream, &entries[..1], 2, &|_, _| true).len(), 1);
        for missing in [1, 50, 190] {
            let mut chosen: Vec<Ppn> = (0..100).step_by(10).map(Ppn).collect();
            walk(stream, entries, (missing, 190), &|_, _| true, &mut chosen);
            assert_eq!(chosen.iter().collect::<HashSet<_>>().len() as u32, 10 + missing);
        }
    }

    #[test]
    fn a_sharer_that_leaves_frees_nothing_unless_it_is_the_last() {
        let (mut memory, mut swapper) = loaded(4, 8);
        (1..4).for_each(|ppn| memory.store(VM, Ppn(ppn), PageView::Token(1)));
        publish(&mut memory, 0);
        let into = memory.entry(VM, Ppn(0)).state().mpn().expect("resident");
        (1..4).for_each(|ppn| memory.merge(VM, Ppn(ppn), into).expect("equal"));
        let free = memory.machine().free_pages();
        let first = swapper.write_now(&mut memory, VM, &[Ppn(3), Ppn(0)]);
        assert_eq!((first.written, first.freed, memory.machine().free_pages()), (2, 0, free));
        let last = swapper.write_now(&mut memory, VM, &[Ppn(1), Ppn(2), Ppn(0), Ppn(2)]);
        assert_eq!((last.written, last.freed, last.cancelled), (2, 1, 2));
        assert_eq!((memory.machine().free_pages(), memory.frames().totals().shared_frames), (free + 1, 0));
        assert!((0..4).all(|ppn| memory.peek(VM, Ppn(ppn)) == PageView::Token(1)));
        audit(&memory, &mut || Ok(())).expect("every invariant holds");
    }

    #[test]
    fn pages_with_the_fewest_sharers_come_first() {
        let (mut memory, mut swapper) = loaded(12, 12);
        for (first, sharers) in [(0, 5), (5, 2), (7, 2)] {
            (first..first + sharers)
                .for_each(|ppn| memory.store(VM, Ppn(ppn), PageView::Token(1 + u64::from(first))));
            publish(&mut memory, first);
            let into = memory.entry(VM, Ppn(first)).state().mpn().expect("resident");
            (first + 1..first + sharers).for_each(|ppn| memory.merge(VM, Ppn(ppn), into).expect("equal"));
        }
        let mut seen = HashSet::new();
        for wanted in (0..=12).chain([7; 50]) {
            let mut ppns: Vec<u32> =
                swapper.fewest_sharers(&memory, VM, wanted).iter().map(|ppn| ppn.0).collect();
            ppns.sort_unstable();
            ppns.dedup();
            assert_eq!(ppns.len() as u32, wanted.min(9), "as many different ones as there are");
            let of_few = ppns.iter().filter(|ppn| (5..9).contains(*ppn)).count() as u32;
            assert_eq!((of_few, ppns.iter().all(|ppn| *ppn < 9)), (wanted.min(4), true));
            seen.extend(ppns.into_iter().filter(|ppn| *ppn < 5));
        }
        assert_eq!(seen.len(), 5, "among equals all come");
    }

    #[test]
    fn what_no_longer_leaves_is_not_written() {
        let (mut memory, mut swapper) = loaded(8, 8);
        let all: Vec<Ppn> = (0..8).rev().chain([3]).map(Ppn).collect();
        assert_eq!(swapper.begin(&mut memory, VM, &all), 8);
        assert_eq!(swapper.begin(&mut memory, VM, &all), 0, "they are leaving already");
        assert_eq!((swapper.under_way(VM), memory.vm(VM).leaving()), (8, 8));
        assert_eq!(swapper.victims(&memory, VM, 8), []);
        memory.set_leaving(VM, Ppn(0), false).expect("touched");
        publish(&mut memory, 1);
        memory.page_in(VM, Ppn(2)).expect_err("it is still here");
        let early = swapper.write_now(&mut memory, VM, &[Ppn(6)]);
        assert_eq!((early.written, early.writes), (1, 1));
        memory.page_in(VM, Ppn(6)).expect("a machine page is free");
        assert_eq!((swapper.under_way(VM), leaving(&memory)), (8, vec![2, 3, 4, 5, 7]));
        let report = swapper.finish(&mut memory, VM, u32::MAX);
        assert_eq!((report.written, report.cancelled, report.freed), (5, 3, 5));
        assert_eq!((swapper.under_way(VM), memory.vm(VM).swapped(), memory.vm(VM).leaving()), (0, 5, 0));
        assert_eq!(memory.vm(VM).counts.page_outs, 6);
        let file: Vec<u32> = slots(&memory).into_iter().flatten().collect();
        assert!(
            file.is_sorted() && file.len() == 5,
            "neighbours stay neighbours, in whatever order they were begun"
        );
        sound(&memory);
        assert_eq!(swapper.finish(&mut memory, VM, 5), SwapReport::default());
        memory.park(VM, Ppn(0)).expect("private");
        assert!(memory.set_leaving(VM, Ppn(0), true).is_err());
        assert!(memory.set_leaving(VM, Ppn(0), false).is_ok());
    }

    #[test]
    fn a_full_swap_file_loses_nothing() {
        let (mut memory, mut swapper) = loaded(20, 12);
        page_out(&mut memory, 0..5);
        let all: Vec<Ppn> = (5..20).map(Ppn).collect();
        assert_eq!(swapper.begin(&mut memory, VM, &all), 15);
        let first = swapper.finish(&mut memory, VM, 10);
        assert_eq!((first.written, first.unwritten, first.cancelled), (7, 3, 0));
        assert_eq!(leaving(&memory), [15, 16, 17, 18, 19], "the others wait for the next call");
        let second = swapper.finish(&mut memory, VM, 10);
        assert_eq!((second.written, second.writes, second.unwritten), (0, 0, 5));
        assert_eq!((leaving(&memory), swapper.under_way(VM)), (vec![], 0));
        assert_eq!(memory.page_out(VM, Ppn(19)), Err(Error::SwapFull { slots: 12 }));
        assert_eq!(swapper.write_now(&mut memory, VM, &[Ppn(18), Ppn(19)]).unwritten, 2);
        sound(&memory);
        memory.page_in(VM, Ppn(8)).expect("a machine page is free");
        assert_eq!(swapper.write_now(&mut memory, VM, &[Ppn(18), Ppn(19)]).written, 1);
        sound(&memory);
        assert_eq!(swapper.totals().written, 8);
    }

    #[test]
    fn a_run_ends_where_pages_do_not_ascend_or_are_gone() {
        let (mut memory, _) = loaded(10, 10);
        page_out(&mut memory, 4..5);
        let wrong = |found| Error::WrongState { ppn: 4, found, expected: "private or shared" };
        let length = |memory: &mut Memory, ppns: &[u32]| {
            let ppns: Vec<Ppn> = ppns.iter().copied().map(Ppn).collect();
            memory.page_out_run(VM, &ppns).map(|paged| (paged.slots.len, paged.freed))
        };
        assert_eq!(length(&mut memory, &[4, 5]), Err(wrong("swapped")));
        assert_eq!(length(&mut memory, &[2, 3, 4, 5]), Ok((2, 2)));
        assert_eq!(length(&mut memory, &[7, 6]), Ok((1, 1)));
        assert_eq!(length(&mut memory, &[6, 6]), Ok((1, 1)));
        assert_eq!(length(&mut memory, &[]), Ok((0, 0)));
        memory.release(VM, Ppn(4));
        assert_eq!(length(&mut memory, &[4]), Err(wrong("empty")));
        memory.load(VM, Ppn(4), PageView::Token(5)).expect("a machine page is free");
        sound(&memory);
    }

    #[test]
    fn runs_are_as_long_as_batches_while_the_file_is_empty_and_short_when_it_is_not() {
        let (mut memory, mut swapper) = loaded(4096, 2048);
        let batch = |memory: &mut Memory, swapper: &mut Swapper| {
            let victims = swapper.victims(memory, VM, 100);
            swapper.begin(memory, VM, &victims);
            swapper.finish(memory, VM, u32::MAX)
        };
        (0..20).for_each(|_| assert_eq!(batch(&mut memory, &mut swapper).writes, 1));
        assert_eq!(swapper.totals().mean_run(), Some(100.0));
        // Every other slot comes free: no two neighbours, and 48 slots at the end were never used.
        let (file, used) = (slots(&memory), 2000);
        let in_odd = (0..4096).zip(&file).filter(|(_, slot)| slot.is_some_and(|slot| slot % 2 == 1));
        let ppns: Vec<u32> = in_odd.map(|(ppn, _)| ppn).collect();
        ppns.iter().for_each(|ppn| memory.page_in(VM, Ppn(*ppn)).expect("machine pages are free"));
        let (first, second) = (batch(&mut memory, &mut swapper), batch(&mut memory, &mut swapper));
        assert_eq!((ppns.len(), first.writes), (used / 2, 1 + 52), "48 neighbours and 52 single slots");
        assert_eq!(second.mean_run(), Some(1.0));
        sound(&memory);
    }

    proptest! {
        #[test]
        fn where_finish_is_cut_changes_nothing(
            batches in prop::collection::vec(prop::collection::vec(0u32..200, 0..60), 1..5),
            holes in prop::collection::vec(200u32..300, 0..60),
            touched in prop::collection::vec(0u32..200, 0..30),
            cuts in prop::collection::vec(1u32..20, 1..40),
            slots in 100u32..400,
        ) {
            let world = || {
                let (mut memory, mut swapper) = loaded(300, slots);
                page_out(&mut memory, 200..300);
                holes.iter().for_each(|ppn| drop(memory.page_in(VM, Ppn(*ppn))));
                for batch in &batches {
                    let ppns: Vec<Ppn> = batch.iter().copied().map(Ppn).collect();
                    swapper.begin(&mut memory, VM, &ppns);
                }
                touched.iter().for_each(|ppn| memory.set_leaving(VM, Ppn(*ppn), false).expect("any state"));
                (memory, swapper)
            };
            let ((mut memory, mut whole), (mut pieces, mut cut)) = (world(), world());
            let begun = u64::from(whole.under_way(VM));
            let report = whole.finish(&mut memory, VM, u32::MAX);
            for most in cuts {
                cut.finish(&mut pieces, VM, most);
            }
            cut.finish(&mut pieces, VM, u32::MAX);
            prop_assert_eq!(report.written + report.cancelled + report.unwritten, begun);
            prop_assert_eq!(&report, cut.totals());
            prop_assert_eq!(whole.progress(VM), cut.progress(VM));
            prop_assert_eq!(self::slots(&memory), self::slots(&pieces));
            sound(&memory);
            sound(&pieces);
        }
    }

    #[test]
    fn a_machine_has_a_stream_of_its_own_and_is_forgotten_whole() {
        let (mut memory, mut swapper) = loaded(100, 100);
        let mut other = Swapper::new(Seed([4; 32]));
        other.add_vm(VmId(3), 7);
        other.add_vm(VM, 0);
        let mut copy = swapper.clone();
        let victims = swapper.victims(&memory, VM, 7);
        assert_eq!(other.victims(&memory, VM, 7), victims);
        assert_eq!(copy.victims(&memory, VM, 7), victims);
        swapper.begin(&mut memory, VM, &victims);
        swapper.remove_vm(VM);
        swapper.add_vm(VM, 1);
        assert_eq!(swapper.under_way(VM), 0);
        assert_eq!(swapper.finish(&mut memory, VM, 100), SwapReport::default());
    }
}
