//! I/O of guests: what is copied and what is moved, against a model that keeps the counts of each page in a map; the
//! arithmetic of the paper; contents, whatever happens to pages in between.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};

use common::{KINDS, Palette, config, digest, keep, power_on};
use esxcore_core::config::{
    BalanceConfig, HostConfig, IoMode, RemapConfig, Shares, VmConfig, WhenScarce, competitive_threshold,
};
use esxcore_core::error::Error;
use esxcore_core::host::{Host, VmChanges};
use esxcore_core::pmap::State;
use esxcore_core::rng::{Seed, Stream};
use esxcore_core::types::{Access, ContentKind, Direction, Mpn, PageBatch, Ppn, VmId};
use proptest::prelude::*;

const DIRECTIONS: [Direction; 2] = [Direction::Transmit, Direction::Receive];

fn audited(host: &Host) {
    host.audit(&mut || Ok(())).unwrap();
}

fn remapping(low_pages: u32, threshold: u32) -> RemapConfig {
    RemapConfig { low_pages: Some(low_pages), threshold, half_life_s: None, ..RemapConfig::default() }
}

/// A host whose virtual machine of `pages` touched pages lies in high memory, with `low` free pages below.
fn high(low: u32, pages: u32, remap: RemapConfig) -> (Host, VmId) {
    let plain = config(ContentKind::Tokens, low + pages, 5, u64::MAX);
    let mut host = Host::new(HostConfig { remap, ..plain }).unwrap();
    let filler = power_on(&mut host, "filler", low);
    host.touch(filler, &(0..low).collect::<Vec<u32>>(), Access::Write).unwrap();
    let vm = power_on(&mut host, "vm", pages);
    host.touch(vm, &(0..pages).collect::<Vec<u32>>(), Access::Write).unwrap();
    host.power_off(filler);
    (host, vm)
}

#[test]
fn copies_stop_at_buffers_times_threshold() {
    for (buffers, threshold) in [(1, 1), (16, 16), (100, 4), (256, 16)] {
        let (mut host, vm) = high(buffers, 300, remapping(buffers, threshold));
        let mut random = Seed([3; 32]).stream("buffers", 0);
        for number in 0..u64::from(buffers * threshold) * 20 {
            let ppn = random.below(buffers);
            host.io(vm, &[ppn], DIRECTIONS[number as usize % 2]).unwrap();
        }
        let io = host.io_counts(vm);
        assert_eq!((io.copies, io.remaps), (u64::from(buffers * threshold), u64::from(buffers)));
        assert_eq!((io.refused, io.evictions, host.low_free_pages()), (0, 0, 0));
        audited(&host);
    }
}

#[test]
fn the_arithmetic_of_the_paper() {
    // N transmissions of B buffers at threshold T: copies fall by N / (B T).
    let (buffers, threshold, rounds) = (256, 16, 400);
    let ring: Vec<u32> = (0..buffers).collect();
    let copies = |mode| {
        let (mut host, vm) = high(512, 600, RemapConfig { mode, ..remapping(512, threshold) });
        (0..rounds).for_each(|_| assert_eq!(host.io(vm, &ring, Direction::Transmit).unwrap().stopped, None));
        host.io_counts(vm).copies
    };
    let all = u64::from(buffers * rounds);
    assert_eq!(
        [IoMode::AlwaysCopy, IoMode::FirstUse, IoMode::Remap, IoMode::IoMmu].map(copies),
        [all, 0, u64::from(buffers * threshold), 0]
    );
}

#[test]
fn where_all_memory_is_low_nothing_is_copied() {
    let mut host = Host::new(config(ContentKind::Tokens, 50, 5, u64::MAX)).unwrap();
    let vm = power_on(&mut host, "vm", 40);
    for direction in DIRECTIONS {
        let report = host.io(vm, &[1, 2, 1, 39], direction).unwrap();
        assert_eq!((report.done, report.io.pages, report.io.copies, report.io.remaps), (4, 4, 0, 0));
    }
    assert_eq!((host.low_free_pages(), host.free_pages()), (47, 47));
}

#[test]
fn a_batch_that_names_a_page_too_many_transfers_nothing() {
    let (mut host, vm) = high(4, 10, remapping(4, 1));
    let before = digest(&host);
    let refused = host.io(vm, &[0, 10], Direction::Transmit).unwrap_err();
    assert!(matches!(refused, Error::PageOutOfRange { ppn: 10, pages: 10, .. }));
    assert_eq!(digest(&host), before);
    assert_eq!(host.io(vm, &[], Direction::Receive).unwrap().done, 0);
}

#[test]
fn a_batch_stops_before_the_transfer_it_cannot_do() {
    let mut host = Host::new(config(ContentKind::Tokens, 4, 5, u64::MAX)).unwrap();
    let vm = power_on(&mut host, "vm", 8);
    let report = host.io(vm, &[0, 1, 2, 3, 4, 0], Direction::Receive).unwrap();
    assert_eq!((report.done, report.io.pages, report.counts.zero_fills), (4, 4, 4));
    assert_eq!(report.stopped, Some(Error::OutOfMachineMemory { wanted: 1, free: 0 }));
    audited(&host);
}

#[test]
fn a_transfer_is_a_guest_access() {
    let (mut host, vm) = high(8, 20, remapping(8, 100));
    let marked: Vec<u32> = (0..20).filter(|ppn| host.memory().entry(vm, Ppn(*ppn)).is_traced()).collect();
    let touched = |host: &Host| host.samples(vm).unwrap().touched;
    assert_eq!((marked.len(), touched(&host)), (0, 20), "smaller than a sample, and all touched");
    host.advance(30_000_000_000).unwrap();
    let references = host.memory().vm(vm).counts.references;
    host.io(vm, &[3, 3, 4], Direction::Transmit).unwrap();
    host.io(vm, &[3], Direction::Receive).unwrap();
    assert_eq!((touched(&host), host.memory().vm(vm).counts.references - references), (2, 4));
}

#[test]
fn a_hot_shared_page_gets_a_copy_and_the_others_keep_theirs() {
    let (mut host, vm) = high(8, 20, remapping(8, 2));
    host.write(vm, &[1, 2, 3], PageBatch::Tokens(&[7; 3])).unwrap();
    host.scan(20);
    let shared = host.memory().entry(vm, Ppn(2)).state();
    assert!(matches!(shared, State::Shared(_)));
    let report = host.io(vm, &[1; 10], Direction::Transmit).unwrap();
    assert_eq!((report.io.copies, report.io.private_copies, report.io.remaps), (2, 1, 0));
    assert_eq!(host.memory().entry(vm, Ppn(1)).state(), State::Private(Mpn(0)));
    assert_eq!(host.memory().entry(vm, Ppn(2)).state(), shared);
    assert_eq!(keep(host.peek(vm, Ppn(1))), 7_u64.to_le_bytes());
    // Merged again, it is still hot: the next transfer gives it a copy of its own at once.
    host.scan(20);
    assert_eq!(host.memory().entry(vm, Ppn(1)).state(), shared);
    let again = host.io(vm, &[1], Direction::Transmit).unwrap();
    assert_eq!((again.io.copies, again.io.private_copies), (0, 1));
    // Pages that are received are private first, and then moved.
    let received = host.io(vm, &[2; 4], Direction::Receive).unwrap();
    assert_eq!((received.counts.cow_breaks, received.io.copies, received.io.remaps), (1, 0, 0));
    audited(&host);
}

#[test]
fn the_last_sharer_of_a_page_is_moved() {
    let (mut host, vm) = high(8, 20, remapping(8, 2));
    host.write(vm, &[1, 2], PageBatch::Tokens(&[7; 2])).unwrap();
    host.scan(20);
    host.touch(vm, &[2], Access::Write).unwrap();
    let used = host.free_pages();
    let report = host.io(vm, &[1; 3], Direction::Transmit).unwrap();
    assert_eq!((report.io.remaps, report.io.private_copies, host.free_pages()), (1, 0, used));
    audited(&host);
}

#[test]
fn hot_means_recently_hot() {
    let remap = RemapConfig { half_life_s: Some(10), ..remapping(8, 8) };
    let (mut host, vm) = high(8, 20, remap);
    let copies =
        |host: &mut Host, times| host.io(vm, &vec![5; times], Direction::Transmit).unwrap().io.copies;
    assert_eq!(copies(&mut host, 7), 7);
    host.advance(10_000_000_000).unwrap();
    assert_eq!(copies(&mut host, 7), 5, "three of seven are remembered");
    host.advance(1_000_000_000_000).unwrap();
    let hot = |host: &Host| host.vm_stats(host.vm(vm), &mut || Ok(())).unwrap().hot_pages;
    assert_eq!(hot(&host), 0);
    let (mut slow, vm) = high(8, 20, RemapConfig { half_life_s: Some(10), ..remapping(8, 8) });
    for _ in 0..100 {
        slow.io(vm, &[5, 5, 5], Direction::Transmit).unwrap();
        slow.advance(10_000_000_000).unwrap();
    }
    assert_eq!((slow.io_counts(vm).copies, slow.io_counts(vm).remaps), (300, 0), "never hot");
}

#[test]
fn power_off_forgets_pages_and_keeps_totals() {
    let (mut host, vm) = high(8, 20, remapping(8, 2));
    host.io(vm, &[1, 1, 1, 1], Direction::Transmit).unwrap();
    host.power_off(vm);
    let number = |host: &Host, name| host.stats().into_iter().find(|(other, _)| *other == name).unwrap().1;
    assert_eq!(
        (number(&host, "io_pages"), number(&host, "io_copies"), number(&host, "io_remaps")),
        (4, 2, 1)
    );
    assert_eq!(number(&host, "low_free_pages"), 8);
    let vm = power_on(&mut host, "vm", 20);
    host.touch(vm, &(0..20).collect::<Vec<u32>>(), Access::Write).unwrap();
    assert_eq!(host.io(vm, &[15, 15, 15], Direction::Transmit).unwrap().io.copies, 2, "counted anew");
    audited(&host);
}

// -- the competitive rule ----------------------------------------------------------------------------------------------

/// The cheapest course of one page in hindsight: some copies, then a move or none.
fn best_course(transfers: u64, copy: u64, price: u64) -> u64 {
    let moved = (0..transfers).map(|copies| copies * copy + price);
    moved.chain([transfers * copy]).min().unwrap_or(0)
}

proptest! {
    #[test]
    fn the_competitive_rule_costs_at_most_twice_the_best_course(
        copy in 1u64..50,
        more in 0u64..2000,
        trace in prop::collection::vec(0u32..24, 0..600),
    ) {
        let price = copy + more;
        let (mut host, vm) = high(24, 24, remapping(24, competitive_threshold(copy, price)));
        let mut costs: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for ppn in trace {
            let io = host.io(vm, &[ppn], Direction::Transmit).unwrap().io;
            prop_assert_eq!((io.refused, io.evictions), (0, 0));
            let (cost, transfers) = costs.entry(ppn).or_default();
            *cost += io.copies * copy + io.remaps * price;
            *transfers += 1;
            prop_assert!(*cost <= 2 * best_course(*transfers, copy, price), "{cost} of page {ppn}");
        }
    }
}

// -- the model ---------------------------------------------------------------------------------------------------------

/// What the model remembers of a page: recent transfers and copies, and copies until it is tried again to move it.
#[derive(Clone, Copy, Debug, Default)]
struct Page {
    transfers: u32,
    copies: u32,
    wait: u32,
}

#[derive(Default)]
struct Model {
    pages: HashMap<(VmId, u32), Page>,
}

/// What a transfer is to do.
#[derive(Debug, PartialEq)]
enum Outcome {
    Direct,
    Copied,
    Refused,
    Moved,
    /// It pushes up one of these.
    Evicts(Vec<(VmId, u32)>),
}

impl Model {
    fn transfers(&self, page: (VmId, u32)) -> u32 {
        self.pages.get(&page).map_or(0, |page| page.transfers)
    }

    fn transfer(&mut self, host: &Host, vm: VmId, ppn: u32) -> Outcome {
        let remap = &host.config().remap;
        let low = remap.low_pages.unwrap();
        let is_high = host.memory().entry(vm, Ppn(ppn)).state().mpn().unwrap().0 >= low;
        let page = self.pages.entry((vm, ppn)).or_default();
        page.transfers += 1;
        if !is_high {
            return Outcome::Direct;
        }
        let is_hot = page.copies >= remap.threshold || remap.mode == IoMode::FirstUse;
        if remap.mode != IoMode::AlwaysCopy && is_hot && page.wait == 0 {
            let found = self.room(host, vm, ppn);
            if let Some(outcome) = found {
                return outcome;
            }
            let page = self.pages.get_mut(&(vm, ppn)).unwrap();
            (page.copies, page.wait) = (page.copies + 1, remap.threshold - 1);
            return Outcome::Refused;
        }
        (page.copies, page.wait) = (page.copies + 1, page.wait.saturating_sub(1));
        Outcome::Copied
    }

    fn room(&self, host: &Host, vm: VmId, ppn: u32) -> Option<Outcome> {
        let (remap, machine) = (&host.config().remap, host.memory().machine());
        let low = remap.low_pages.unwrap();
        if (0..low).any(|mpn| machine.is_free(Mpn(mpn))) {
            return Some(Outcome::Moved);
        }
        if !(low..machine.pages()).any(|mpn| machine.is_free(Mpn(mpn))) {
            return None;
        }
        let mine = self.transfers((vm, ppn));
        let may_move: Vec<(VmId, u32)> = host
            .vms()
            .iter()
            .flat_map(|vm| (0..vm.pages).map(|ppn| (vm.id, ppn)))
            .filter(|(vm, ppn)| {
                let state = host.memory().entry(*vm, Ppn(*ppn)).state();
                matches!(state, State::Private(mpn) if mpn.0 < low)
            })
            .collect();
        let coldest = |of: &dyn Fn(VmId) -> bool| -> Vec<(VmId, u32)> {
            let pages = || may_move.iter().filter(|(vm, _)| of(*vm));
            let least = pages().map(|page| self.transfers(*page)).min();
            pages().filter(|page| Some(self.transfers(**page)) == least).copied().collect()
        };
        let all = coldest(&|_| true);
        let least = all.first().map(|page| self.transfers(*page))?;
        match remap.when_scarce {
            WhenScarce::Refuse => None,
            _ if least == 0 => Some(Outcome::Evicts(all)),
            WhenScarce::EvictColdest => (least < mine).then_some(Outcome::Evicts(all)),
            WhenScarce::FairShare => {
                let for_shares = |id: VmId, more: usize| {
                    let pages = may_move.iter().filter(|(vm, _)| *vm == id).count() + more;
                    pages as f64 / f64::from(host.vm(id).allocation.shares)
                };
                let most = host.vms().iter().map(|vm| for_shares(vm.id, 0)).fold(0.0, f64::max);
                if for_shares(vm, 1) > most {
                    let own = coldest(&|id| id == vm);
                    let own = own.first().filter(|page| self.transfers(**page) < mine).map(|_| own.clone());
                    return own.map(Outcome::Evicts);
                }
                let rich: HashSet<VmId> =
                    host.vms().iter().map(|vm| vm.id).filter(|vm| for_shares(*vm, 0) >= most).collect();
                let victims = rich.iter().flat_map(|rich| coldest(&|id| id == *rich)).collect();
                Some(Outcome::Evicts(victims))
            }
        }
    }

    fn cool(&mut self) {
        for page in self.pages.values_mut() {
            (page.transfers, page.copies) = (page.transfers / 2, page.copies / 2);
        }
        // Of pages that are forgotten nothing is remembered.
        self.pages.retain(|_, page| page.transfers > 0);
    }
}

fn places(host: &Host) -> Vec<((VmId, u32), State)> {
    let pages = host.vms().iter().flat_map(|vm| (0..vm.pages).map(|ppn| (vm.id, ppn)));
    pages.map(|(vm, ppn)| ((vm, ppn), host.memory().entry(vm, Ppn(ppn)).state())).collect()
}

/// Does a transfer and compares what happened with what the model says.
fn check_transfer(host: &mut Host, model: &mut Model, (vm, ppn): (VmId, u32), direction: Direction) {
    // Faults come first, so that the model sees where the page is.
    host.touch(vm, &[ppn], direction.access()).unwrap();
    let before = places(host);
    let others = match host.memory().entry(vm, Ppn(ppn)).state() {
        State::Shared(mpn) => host.memory().frames().count(mpn) - 1,
        _ => 0,
    };
    let expected = model.transfer(host, vm, ppn);
    let io = host.io(vm, &[ppn], direction).unwrap().io;
    let changed: Vec<(VmId, u32)> = before
        .iter()
        .zip(places(host))
        .filter(|(before, after)| before.1 != after.1)
        .map(|(before, _)| before.0)
        .collect();
    let moved = [io.copies, io.remaps + io.private_copies, io.evictions, io.refused];
    let (numbers, victims) = match &expected {
        Outcome::Direct => ([0, 0, 0, 0], vec![]),
        Outcome::Copied => ([1, 0, 0, 0], vec![]),
        Outcome::Refused => ([1, 0, 0, 1], vec![]),
        Outcome::Moved => ([0, 1, 0, 0], vec![(vm, ppn)]),
        Outcome::Evicts(victims) => ([0, 1, 1, 0], victims.clone()),
    };
    assert_eq!(moved, numbers, "{expected:?}");
    assert_eq!(io.private_copies > 0, others > 0 && moved[1] > 0);
    match expected {
        Outcome::Evicts(_) => {
            let other: Vec<_> = changed.iter().filter(|page| **page != (vm, ppn)).collect();
            assert!(changed.len() == 2 && victims.contains(other[0]), "{changed:?} of {victims:?}");
        }
        _ => assert_eq!(changed, victims),
    }
}

#[derive(Clone, Debug)]
enum Op {
    Transfer(usize, u32, bool),
    Write(usize, u32, u64),
    Scan(u64),
    Wait,
    PowerOff,
}

fn op() -> impl Strategy<Value = Op> {
    let page = || (0usize..3, prop_oneof![3 => 0u32..4, 1 => 0u32..14]);
    prop_oneof![
        12 => (page(), any::<bool>()).prop_map(|((vm, ppn), sends)| Op::Transfer(vm, ppn, sends)),
        3 => (page(), 0u64..4).prop_map(|((vm, ppn), token)| Op::Write(vm, ppn, token)),
        1 => (0u64..60).prop_map(Op::Scan),
        1 => Just(Op::Wait),
        1 => Just(Op::PowerOff),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn agrees_with_a_model_that_counts_in_a_map(
        low in 1u32..16,
        threshold in 1u32..5,
        rule in prop::sample::select(vec![WhenScarce::Refuse, WhenScarce::EvictColdest, WhenScarce::FairShare]),
        mode in prop::sample::select(vec![IoMode::Remap, IoMode::Remap, IoMode::FirstUse, IoMode::AlwaysCopy]),
        ops in prop::collection::vec(op(), 0..250),
    ) {
        let remap = RemapConfig { low_pages: Some(low), threshold, half_life_s: Some(7), when_scarce: rule, mode };
        let mut host = Host::new(HostConfig { remap, ..config(ContentKind::Tokens, 46, 5, u64::MAX) }).unwrap();
        let mut model = Model::default();
        // A filler, so that not all that comes free is low.
        let power_on = |host: &mut Host, name: &str, shares| {
            let mut config = VmConfig::new(name, 14);
            config.allocation.shares = Shares::Number(shares);
            host.power_on(config, &mut || Ok(())).unwrap()
        };
        let mut vms: Vec<VmId> =
            [("a", 1000), ("b", 2000), ("c", 500)].map(|(name, shares)| power_on(&mut host, name, shares)).to_vec();
        for op in ops {
            match op {
                Op::Transfer(vm, ppn, sends) => {
                    check_transfer(&mut host, &mut model, (vms[vm], ppn), DIRECTIONS[usize::from(sends)]);
                }
                Op::Write(vm, ppn, token) => {
                    host.write(vms[vm], &[ppn], PageBatch::Tokens(&[token])).unwrap();
                }
                Op::Scan(pages) => drop(host.scan(pages)),
                Op::Wait => {
                    host.advance(7_000_000_000).unwrap();
                    model.cool();
                }
                Op::PowerOff => {
                    host.power_off(vms[0]);
                    model.pages.retain(|(vm, _), _| *vm != vms[0]);
                    vms[0] = power_on(&mut host, "a", 1000);
                }
            }
            audited(&host);
        }
    }
}

// -- whole hosts -------------------------------------------------------------------------------------------------------

/// A host short of memory on which everything happens at once.
fn crowded(kind: ContentKind, seed: u8, remap: RemapConfig) -> (Host, Vec<VmId>) {
    let balance = BalanceConfig { balance_period_s: 3, ..BalanceConfig::default() };
    let plain = config(kind, 96, seed, u64::MAX);
    let mut host = Host::new(HostConfig { remap, balance: Some(balance), swap_pages: 200, ..plain }).unwrap();
    let vms = ["one", "two", "three"].map(|name| {
        let mut config = VmConfig::new(name, 48);
        config.allocation.min_pages = Some(8);
        config.allocation.overhead_pages = Some(1);
        host.power_on(config, &mut || Ok(())).unwrap()
    });
    (host, vms.to_vec())
}

struct Life {
    host: Host,
    vms: Vec<VmId>,
    random: Stream,
    palette: Palette,
    wrote: HashMap<(VmId, u32), Vec<u8>>,
    faults: [u64; 4],
}

impl Life {
    fn new(kind: ContentKind, seed: u8, remap: RemapConfig) -> Self {
        let (host, vms) = crowded(kind, seed, remap);
        let random = Seed([seed; 32]).stream("life", 0);
        Self { host, vms, random, palette: Palette::new(5), wrote: HashMap::new(), faults: [0; 4] }
    }

    fn step(&mut self) {
        let vm = self.vms[self.random.below(3) as usize];
        let ppn = self.random.below(48);
        match self.random.below(16) {
            0..6 => self.transfer(vm, self.random.clone().below(2) as usize),
            6..9 => self.write(vm, ppn),
            9 => drop(self.host.touch(vm, &[ppn], Access::Read).unwrap()),
            10 => drop(self.host.scan(40)),
            11 => {
                // Pages that go into the balloon lose what they hold.
                let pages = 10 + self.random.below(39);
                let changes = VmChanges { max_pages: Some(pages), ..VmChanges::default() };
                drop(self.host.configure(vm, changes));
            }
            _ => drop(self.host.advance(1_000_000_000).unwrap()),
        }
        self.forget_ballooned();
    }

    fn transfer(&mut self, vm: VmId, way: usize) {
        let ppns: Vec<u32> = (0..1 + self.random.below(6))
            .map(|_| self.random.below(8) * (1 + self.random.below(6)))
            .collect();
        self.random.word();
        let report = self.host.io(vm, &ppns, DIRECTIONS[way]).unwrap();
        let counts = &report.counts;
        self.faults[0] += counts.page_ins;
        self.faults[1] += counts.cow_breaks;
        self.faults[2] += report.io.remaps + report.io.private_copies;
        self.faults[3] += report.io.evictions;
        // A transfer may have popped the balloon: what was in it reads zero.
        self.forget_ballooned();
        for ppn in ppns[..report.done].iter().filter(|_| DIRECTIONS[way] == Direction::Receive) {
            let page = keep(self.host.peek(vm, Ppn(*ppn)));
            assert!(self.wrote.iter().all(|(at, other)| *at == (vm, *ppn) || *other != page));
            self.wrote.insert((vm, *ppn), page);
        }
    }

    fn write(&mut self, vm: VmId, ppn: u32) {
        let kind = self.host.memory().content().kind();
        let number = self.random.below(5) as usize;
        match self.host.write(vm, &[ppn], self.palette.batch(kind).range(number, number + 1)).unwrap().done {
            0 => {}
            _ => drop(self.wrote.insert((vm, ppn), keep(self.palette.page(kind, number)))),
        }
    }

    fn forget_ballooned(&mut self) {
        let host = &self.host;
        self.wrote.retain(|(vm, ppn), _| {
            !matches!(host.memory().entry(*vm, Ppn(*ppn)).state(), State::Ballooned | State::Empty)
        });
    }

    fn check(&self) {
        audited(&self.host);
        let zero = keep(self.palette.page(self.host.memory().content().kind(), 0));
        for vm in &self.vms {
            for ppn in 0..48 {
                let wrote = self.wrote.get(&(*vm, ppn)).unwrap_or(&zero);
                assert!(keep(self.host.peek(*vm, Ppn(ppn))) == *wrote, "I9: page {ppn} of VM {}", vm.0);
            }
        }
    }
}

#[test]
fn contents_survive_whatever_happens_to_pages_in_io() {
    let rules = [WhenScarce::Refuse, WhenScarce::EvictColdest, WhenScarce::FairShare];
    let mut seen = [0; 4];
    for kind in KINDS {
        for (seed, when_scarce) in (1..).zip(rules) {
            let remap = RemapConfig { when_scarce, half_life_s: Some(20), ..remapping(24, 2) };
            let mut life = Life::new(kind, seed, remap);
            for _ in 0..1500 {
                life.step();
                life.check();
            }
            seen.iter_mut().zip(life.faults).for_each(|(all, times)| *all += times);
            let number = |name| life.host.stats().into_iter().find(|(other, _)| *other == name).unwrap().1;
            assert!(number("page_outs") > 50 && number("merged_pages") > 50);
        }
    }
    assert!(seen.iter().all(|times| *times > 20), "the walk must reach its states: {seen:?}");
}

#[test]
fn where_a_batch_of_transfers_is_cut_changes_nothing() {
    let lived = |kind, rule, part: usize| {
        let remap = RemapConfig { when_scarce: rule, half_life_s: Some(3), ..remapping(20, 3) };
        let (mut host, vms) = crowded(kind, 7, remap);
        let mut random = Seed([9; 32]).stream("cuts", 0);
        for round in 0..120 {
            let vm = vms[random.below(3) as usize];
            let span = 1 + random.below(48);
            let ppns: Vec<u32> = (0..random.below(60)).map(|_| random.below(span)).collect();
            for ppns in ppns.chunks(part) {
                let report = host.io(vm, ppns, DIRECTIONS[round % 2]).unwrap();
                if report.done < ppns.len() {
                    break;
                }
            }
            host.scan(11);
            host.advance(700_000_000).unwrap();
        }
        audited(&host);
        host
    };
    for kind in KINDS {
        for rule in [WhenScarce::EvictColdest, WhenScarce::FairShare] {
            let whole = lived(kind, rule, 1000);
            let io = whole.stats();
            for part in [1, 7] {
                let parts = lived(kind, rule, part);
                assert_eq!((digest(&parts), parts.stats()), (digest(&whole), io.clone()), "parts of {part}");
            }
            let moves = ["io_remaps", "io_evictions", "io_copies", "page_outs", "io_cache_hits"];
            let all = moves.map(|name| io.iter().find(|(other, _)| *other == name).unwrap().1);
            assert!(all.iter().all(|times| *times > 10), "{all:?}");
        }
    }
}

#[test]
fn the_digest_tells_which_page_was_copied() {
    let after = |ppns: &[u32]| {
        let (mut host, vm) = high(8, 20, remapping(8, 30));
        host.io(vm, ppns, Direction::Transmit).unwrap();
        digest(&host)
    };
    assert_ne!(after(&[1, 2, 1]), after(&[1, 2, 2]));
    assert_eq!(after(&[1, 2, 1]), after(&[1, 2, 1]));
}

#[test]
fn a_fork_goes_on_as_its_host_does() {
    let (mut host, vm) = high(8, 20, remapping(8, 3));
    host.io(vm, &[1, 2, 1, 2], Direction::Transmit).unwrap();
    let mut fork = host.fork(&mut || Ok(())).unwrap();
    for host in [&mut host, &mut fork] {
        host.io(vm, &[1, 2, 1, 2, 3], Direction::Receive).unwrap();
        audited(host);
    }
    assert_eq!((digest(&host), host.stats()), (digest(&fork), fork.stats()));
}
