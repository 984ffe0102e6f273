//! Every transition in random order against a model that only remembers what each guest last wrote (I9, I10) and which
//! of its pages are sampled, leaving or pinned, with an audit after each (I1 to I7). An operation that is refused must leave
//! everything as it was.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::{HashMap, HashSet};

use common::{KINDS, Palette, config, keep};
use esxcore_core::audit::audit;
use esxcore_core::config::{SamplingConfig, SharingConfig};
use esxcore_core::error::Error;
use esxcore_core::frame_table::Totals;
use esxcore_core::memory::Memory;
use esxcore_core::pmap::{Entry, State};
use esxcore_core::rng::{Seed, Stream};
use esxcore_core::sample::Sampler;
use esxcore_core::share::Scanner;
use esxcore_core::swap::Swapper;
use esxcore_core::swapfile::SwapFile;
use esxcore_core::types::{Access, ContentKind, Mpn, Ppn, VmId};

const MACHINE_PAGES: u32 = 60;
const VM_PAGES: u32 = 24;
const SWAP_SLOTS: u32 = 16;
const PALETTE: usize = 9;
const SAMPLE_PAGES: u32 = 8;

struct World {
    kind: ContentKind,
    memory: Memory,
    scanner: Scanner,
    sampler: Sampler,
    swapper: Swapper,
    palette: Palette,
    random: Stream,
    vms: Vec<VmId>,
    serial: u64,
    /// What each page reads; pages that are not here read zero.
    wrote: HashMap<(VmId, Ppn), Vec<u8>>,
    /// Sampled pages that were not touched yet.
    traced: HashSet<(VmId, Ppn)>,
    /// Pages whose page-out is under way, and where each was when it began.
    leaving: HashMap<(VmId, Ppn), State>,
    /// Pages that a device uses, and where each has to stay.
    pinned: HashMap<(VmId, Ppn), State>,
    /// Pages written to the swap file.
    page_outs: HashMap<VmId, u64>,
    refused: u64,
    /// Shared pages that were paged out.
    left_shared: u32,
}

impl World {
    fn new(kind: ContentKind, seed: u8, hash_mask: u64) -> Self {
        let config = config(kind, MACHINE_PAGES, seed, hash_mask);
        let sharing: SharingConfig = config.sharing.clone();
        Self {
            kind,
            memory: Memory::new(&config).unwrap(),
            scanner: Scanner::new(sharing, Seed([seed; 32])),
            sampler: Sampler::new(
                SamplingConfig { pages: SAMPLE_PAGES, ..config.sampling },
                Seed([seed; 32]),
            ),
            swapper: Swapper::new(Seed([seed; 32])),
            palette: Palette::new(PALETTE),
            random: Seed([seed; 32]).stream("test", 0),
            vms: vec![],
            serial: 0,
            wrote: HashMap::new(),
            traced: HashSet::new(),
            leaving: HashMap::new(),
            pinned: HashMap::new(),
            page_outs: HashMap::new(),
            refused: 0,
            left_shared: 0,
        }
    }

    fn step(&mut self) {
        let power = self.random.below(400);
        if self.vms.is_empty() || (power == 0 && self.vms.len() < 5) {
            return self.add_vm();
        }
        if power == 1 {
            return self.remove_vm();
        }
        if power == 2 {
            self.memory = self.memory.fork(&mut || Ok(())).unwrap();
            return;
        }
        let vm = self.vms[self.random.below(self.vms.len() as u32) as usize];
        let ppn = Ppn(self.random.below(VM_PAGES));
        let before = self.outline(vm, ppn);
        if self.operate(vm, ppn).is_err() {
            assert_eq!(before, self.outline(vm, ppn), "a refused operation changed something");
            self.refused += 1;
        }
        let memory = &self.memory;
        self.leaving.retain(|(vm, ppn), state| memory.entry(*vm, *ppn).state() == *state);
    }

    /// What a refused operation on a page would most likely change.
    fn outline(&self, vm: VmId, ppn: Ppn) -> (Entry, u32, Totals, SwapFile, u64) {
        let memory = &self.memory;
        let free = memory.machine().free_pages();
        let page_outs = memory.vm(vm).counts.page_outs;
        (memory.entry(vm, ppn), free, memory.frames().totals(), memory.swapfile().clone(), page_outs)
    }

    fn add_vm(&mut self) {
        // Two domains: equal pages of different domains must stay apart, which the audit of hashes would tell (I4).
        let vm = self.memory.add_vm(VM_PAGES, self.random.below(2), &mut || Ok(())).unwrap();
        self.scanner.add_vm(vm, self.serial, VM_PAGES);
        self.sampler.add_vm(&mut self.memory, vm, self.serial);
        self.swapper.add_vm(vm, self.serial);
        self.learn_samples(vm);
        self.page_outs.insert(vm, 0);
        self.serial += 1;
        self.vms.push(vm);
    }

    fn remove_vm(&mut self) {
        let vm = self.vms.swap_remove(self.random.below(self.vms.len() as u32) as usize);
        self.scanner.remove_vm(vm);
        self.sampler.remove_vm(vm);
        self.swapper.remove_vm(vm);
        let counts = self.memory.remove_vm(vm);
        assert_eq!(self.page_outs.remove(&vm), Some(counts.page_outs));
        self.leaving.retain(|(owner, _), _| *owner != vm);
        self.pinned.retain(|(owner, _), _| *owner != vm);
        self.traced.retain(|(owner, _)| *owner != vm);
        self.wrote.retain(|(owner, _), _| *owner != vm);
    }

    fn operate(&mut self, vm: VmId, ppn: Ppn) -> Result<(), Error> {
        let number = self.random.below(PALETTE as u32) as usize;
        let is_pinned = self.pinned.contains_key(&(vm, ppn));
        match self.random.below(23) {
            // No device and no access of a guest takes part in these.
            2 | 3 | 20 if is_pinned => {}
            21 if is_pinned || self.random.below(3) > 0 => {
                self.memory.unpin(vm, ppn);
                self.pinned.remove(&(vm, ppn));
            }
            21 | 22 => {
                if !self.memory.entry(vm, ppn).faults(Access::Read) && !is_pinned {
                    self.memory.pin(vm, ppn);
                    self.pinned.insert((vm, ppn), self.memory.entry(vm, ppn).state());
                }
            }
            0 => self.memory.zero_fill(vm, ppn)?,
            1 => {
                let page = self.palette.page(self.kind, number);
                self.memory.load(vm, ppn, page)?;
                self.wrote.insert((vm, ppn), keep(page));
            }
            2 if self.random.below(4) == 0 => {
                self.memory.release(vm, ppn);
                self.wrote.remove(&(vm, ppn));
            }
            3 | 20 => self.memory.unshare(vm, ppn)?,
            4 | 5 | 18 => self.store(vm, ppn, number),
            6 | 19 => self.stamp(vm, ppn),
            7 => self.page_out_run(vm, &[ppn])?,
            14 if self.random.below(4) == 0 => {
                self.page_out_run(vm, &[ppn, Ppn(ppn.0 / 2), Ppn(VM_PAGES - 1)])?
            }
            15 => {
                self.memory.set_leaving(vm, ppn, true)?;
                self.leaving.insert((vm, ppn), self.memory.entry(vm, ppn).state());
            }
            16 if self.random.below(3) == 0 => self.begin(vm),
            17 if self.random.below(3) == 0 => self.finish(vm),
            14 | 16 | 17 => {}
            8 => self.memory.page_in(vm, ppn)?,
            9 if self.random.below(4) == 0 => {
                self.memory.park(vm, ppn)?;
                self.wrote.remove(&(vm, ppn));
            }
            10 => self.memory.unpark(vm, ppn)?,
            11 => {
                let to = Mpn(self.random.below(MACHINE_PAGES));
                self.memory.relocate(vm, ppn, to)?;
            }
            12 => {
                if self.traced.remove(&(vm, ppn)) {
                    self.sampler.count(&mut self.memory, vm, ppn);
                } else if self.random.below(8) == 0 {
                    self.end_period(vm);
                }
            }
            _ => {
                if self.random.below(3) == 0 {
                    self.scanner.share_now(&mut self.memory, vm, ppn);
                } else {
                    let picks = self.random.below(40);
                    self.scanner.scan_host(&mut self.memory, u64::from(picks));
                }
            }
        }
        Ok(())
    }

    /// Direct page-outs, in runs of whatever states the pages are in.
    fn page_out_run(&mut self, vm: VmId, ppns: &[Ppn]) -> Result<(), Error> {
        let free = self.memory.machine().free_pages();
        let state = self.memory.entry(vm, ppns[0]).state();
        let paged = self.memory.page_out_run(vm, ppns)?;
        assert!(state.mpn().is_some(), "{state:?}");
        assert_eq!(self.memory.machine().free_pages(), free + paged.freed);
        for (ppn, slot) in ppns.iter().zip(paged.slots.slots()) {
            assert_eq!(self.memory.entry(vm, *ppn).state(), State::Swapped(slot));
        }
        *self.page_outs.get_mut(&vm).unwrap() += u64::from(paged.slots.len);
        self.left_shared += u32::from(matches!(state, State::Shared(_)));
        Ok(())
    }

    fn begin(&mut self, vm: VmId) {
        let wanted = self.random.below(6);
        let victims = self.swapper.victims(&self.memory, vm, wanted);
        let entries = self.memory.vm(vm).pmap().entries().iter().zip(0..);
        let stay = |(entry, ppn): &(&Entry, u32)| {
            matches!(entry.state(), State::Private(_))
                && !self.leaving.contains_key(&(vm, Ppn(*ppn)))
                && !self.pinned.contains_key(&(vm, Ppn(*ppn)))
        };
        assert_eq!(victims.len() as u32, wanted.min(entries.filter(stay).count() as u32));
        assert_eq!(self.swapper.begin(&mut self.memory, vm, &victims), victims.len() as u32);
        for ppn in victims {
            assert!(self.leaving.insert((vm, ppn), self.memory.entry(vm, ppn).state()).is_none());
        }
    }

    fn finish(&mut self, vm: VmId) {
        let (under_way, used) = (self.swapper.under_way(vm), self.memory.swapfile().used_slots());
        let report = if self.random.below(3) == 0 {
            let pages = self.swapper.last_resort(&self.memory, vm, 2);
            self.left_shared += pages.len() as u32;
            self.swapper.write_now(&mut self.memory, vm, &pages)
        } else {
            let most = self.random.below(12);
            let report = self.swapper.finish(&mut self.memory, vm, most);
            assert_eq!(under_way - self.swapper.under_way(vm), under_way.min(most));
            assert_eq!(report.written + report.cancelled + report.unwritten, u64::from(under_way.min(most)));
            report
        };
        assert_eq!(u64::from(self.memory.swapfile().used_slots() - used), report.written);
        assert!(report.unwritten == 0 || self.memory.swapfile().used_slots() == SWAP_SLOTS);
        *self.page_outs.get_mut(&vm).unwrap() += report.written;
        if report.unwritten > 0 {
            // Which pages these are the random walk does not know; that the mark came off, `swap`'s own tests do.
            let memory = &self.memory;
            self.leaving.retain(|(vm, ppn), _| memory.entry(*vm, *ppn).is_leaving());
        }
    }

    /// What a guest's access does to a page that is leaving.
    fn cancel(&mut self, vm: VmId, ppn: Ppn) {
        if self.leaving.remove(&(vm, ppn)).is_some() {
            self.memory.set_leaving(vm, ppn, false).unwrap();
        }
    }

    fn store(&mut self, vm: VmId, ppn: Ppn, number: usize) {
        self.cancel(vm, ppn);
        if let State::Private(_) = self.memory.entry(vm, ppn).state() {
            let page = self.palette.page(self.kind, number);
            self.memory.store(vm, ppn, page);
            self.wrote.insert((vm, ppn), keep(page));
        }
    }

    fn stamp(&mut self, vm: VmId, ppn: Ppn) {
        let is_leaving = self.leaving.contains_key(&(vm, ppn));
        if self.memory.stamp_run(vm, &[ppn.0]) == 1 {
            assert!(!is_leaving, "an access to a leaving page faults");
            let fresh = keep(self.memory.peek(vm, ppn));
            assert!(self.wrote.values().all(|page| *page != fresh), "fresh content is nobody else's");
            self.wrote.insert((vm, ppn), fresh);
        }
    }

    fn end_period(&mut self, vm: VmId) {
        let touched = SAMPLE_PAGES - self.traced.iter().filter(|(owner, _)| *owner == vm).count() as u32;
        let before = self.sampler.report(vm).unwrap();
        assert_eq!((before.touched, before.sampled), (touched, SAMPLE_PAGES));
        self.sampler.turn(&mut self.memory, vm);
        let after = self.sampler.report(vm).unwrap();
        assert_eq!((after.last_touched, after.touched, after.fast), (touched, 0, before.current));
        self.learn_samples(vm);
    }

    fn learn_samples(&mut self, vm: VmId) {
        self.traced.retain(|(owner, _)| *owner != vm);
        let traced = (0..VM_PAGES).map(Ppn).filter(|ppn| self.memory.entry(vm, *ppn).is_traced());
        let traced: Vec<_> = traced.map(|ppn| (vm, ppn)).collect();
        assert_eq!(traced.len(), SAMPLE_PAGES as usize);
        self.traced.extend(traced);
    }

    fn check(&self) {
        audit(&self.memory, &mut || Ok(())).unwrap();
        assert_eq!(self.memory.pinned().len(), self.pinned.len());
        for ((vm, ppn), state) in &self.pinned {
            assert_eq!(
                self.memory.entry(*vm, *ppn).state(),
                *state,
                "page {} of VM {} is pinned",
                ppn.0,
                vm.0
            );
        }
        for vm in &self.vms {
            for ppn in (0..VM_PAGES).map(Ppn) {
                let traced = self.traced.contains(&(*vm, ppn));
                assert_eq!(self.memory.entry(*vm, ppn).is_traced(), traced, "page {} of VM {}", ppn.0, vm.0);
                let leaving = self.leaving.contains_key(&(*vm, ppn));
                assert_eq!(
                    self.memory.entry(*vm, ppn).is_leaving(),
                    leaving,
                    "page {} of VM {}",
                    ppn.0,
                    vm.0
                );
            }
            self.check_totals(*vm);
        }
    }

    fn check_totals(&self, vm: VmId) {
        let memory = self.memory.vm(vm);
        let count =
            |code| memory.pmap().entries().iter().filter(|entry| entry.state().code() == code).count();
        let [_, private, shared, swapped, ballooned] = [0, 1, 2, 3, 4].map(|code| count(code) as u32);
        assert_eq!((memory.resident(), memory.on_shared_frames()), (private + shared, shared));
        assert_eq!((memory.swapped(), memory.ballooned()), (swapped, ballooned));
        assert_eq!(memory.leaving() as usize, self.leaving.keys().filter(|(owner, _)| *owner == vm).count());
        assert_eq!(memory.counts.page_outs, self.page_outs[&vm]);
    }

    fn check_reads(&self) {
        let zero = keep(self.palette.page(self.kind, 0));
        for vm in &self.vms {
            for ppn in (0..VM_PAGES).map(Ppn) {
                let wrote = self.wrote.get(&(*vm, ppn)).unwrap_or(&zero);
                assert!(keep(self.memory.peek(*vm, ppn)) == *wrote, "I9: page {} of VM {}", ppn.0, vm.0);
            }
        }
    }
}

fn run(kind: ContentKind, seed: u8, hash_mask: u64, steps: u32) -> World {
    let mut world = World::new(kind, seed, hash_mask);
    for step in 0..steps {
        world.step();
        world.check();
        if step % 16 == 0 {
            world.check_reads();
        }
    }
    world
}

/// Masks that leave a whole hash, one chain with full hashes, short hashes in many chains, and nothing.
const MASKS: [u64; 4] = [u64::MAX, 0xF, 0x3 << 62, 0];

#[test]
fn a_hundred_thousand_random_operations_keep_every_invariant() {
    for kind in KINDS {
        for (seed, mask) in (1..).zip(MASKS) {
            let world = run(kind, seed, mask, 12_500);
            let totals = world.scanner.totals();
            assert!(
                world.refused > 1000 && totals.merged > 100,
                "the walk must reach its states: {totals:?}"
            );
            let swaps = world.swapper.totals();
            let rare = [swaps.written, swaps.cancelled, swaps.unwritten, u64::from(world.left_shared)];
            assert!(
                rare.iter().all(|times| *times > 10),
                "the walk must reach its states: {swaps:?} {rare:?}"
            );
            assert_eq!(mask == u64::MAX, totals.false_matches == 0, "{mask:#x}: {totals:?}");
            assert!(mask != u64::MAX || totals.stale_hints > 3, "{totals:?}");
        }
    }
}

#[test]
fn the_traced_bit_survives_everything_that_moves_a_page() {
    let mut world = World::new(ContentKind::Tokens, 1, u64::MAX);
    world.add_vm();
    let (vm, memory) = (world.vms[0], &mut world.memory);
    let page = |number| world.palette.page(ContentKind::Tokens, number);
    (0..3).for_each(|ppn| memory.load(vm, Ppn(ppn), page(5)).unwrap());
    (0..3).for_each(|ppn| memory.set_traced(vm, Ppn(ppn), true));
    let traced = |memory: &Memory| (0..3).all(|ppn| memory.entry(vm, Ppn(ppn)).is_traced());
    let scan = world.scanner.scan_host(memory, u64::from(VM_PAGES));
    assert!(scan.merged == 2 && traced(memory));
    memory.unshare(vm, Ppn(0)).unwrap();
    assert_eq!(memory.page_out(vm, Ppn(0)).unwrap().freed, 1);
    assert!(traced(memory));
    memory.page_in(vm, Ppn(0)).unwrap();
    memory.relocate(vm, Ppn(1), Mpn(50)).unwrap();
    assert!(traced(memory));
    assert_eq!(memory.entry(vm, Ppn(1)).state(), State::Private(Mpn(50)));
}

/// Zero pages of one virtual machine, the first of them shared, every fifth with a hint and one ineligible.
fn zero_pages(kind: ContentKind) -> (Memory, VmId) {
    let mut memory = Memory::new(&config(kind, 200, 1, u64::MAX)).unwrap();
    let vm = memory.add_vm(180, 0, &mut || Ok(())).unwrap();
    (0..180).for_each(|ppn| memory.zero_fill(vm, Ppn(ppn)).unwrap());
    let hash = memory.hash(vm, Mpn(0));
    memory.publish(vm, Ppn(0), hash).unwrap();
    (5..180).step_by(5).for_each(|ppn| memory.leave_hint(vm, Ppn(ppn), hash).unwrap());
    memory.exclude(vm, Ppn(7)).unwrap();
    (memory, vm)
}

/// What merging changes.
fn merged(memory: &Memory, vm: VmId) -> impl PartialEq + std::fmt::Debug + use<> {
    audit(memory, &mut || Ok(())).unwrap();
    let entries = memory.vm(vm).pmap().entries().to_vec();
    let kept = (memory.vm(vm).resident(), memory.vm(vm).ineligible(), memory.frames().totals());
    (entries, kept, memory.frames().count(Mpn(0)), memory.machine().clone())
}

#[test]
fn pages_merged_together_or_one_by_one_are_the_same() {
    for kind in KINDS {
        for ppns in [vec![], vec![9], (1..180).collect(), vec![3, 2, 150, 7, 64, 63, 10, 127, 128]] {
            let [(mut together, vm), (mut alone, _)] = [zero_pages(kind), zero_pages(kind)];
            together.merge_all(vm, ppns.iter().copied().map(Ppn), Mpn(0)).unwrap();
            ppns.iter().for_each(|ppn| alone.merge(vm, Ppn(*ppn), Mpn(0)).unwrap());
            assert_eq!(merged(&together, vm), merged(&alone, vm));
            assert_eq!(together.frames().count(Mpn(0)) as usize, 1 + ppns.len());
        }
    }
}

#[test]
fn of_pages_merged_together_all_are_or_none() {
    for kind in KINDS {
        let (mut memory, vm) = zero_pages(kind);
        let before = merged(&memory, vm);
        let refused = memory.merge_all(vm, [1, 2, 0, 3].map(Ppn).into_iter(), Mpn(0));
        assert_eq!(refused, Err(Error::WrongState { ppn: 0, found: "shared", expected: "private" }));
        let refused = memory.merge_all(vm, [1, 2].map(Ppn).into_iter(), Mpn(5)).unwrap_err();
        assert!(matches!(refused, Error::WrongState { ppn: 1, .. }), "{refused}");
        assert_eq!(merged(&memory, vm), before);
    }
}
