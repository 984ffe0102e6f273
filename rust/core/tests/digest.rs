//! The digest sees every fact: two hosts that differ in one have two digests. And time that is cut short while a virtual
//! machine goes.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{audited, config, digest, power_on};
use esxcore_core::config::{HostConfig, Salt, SamplingConfig, SharingConfig, VmConfig};
use esxcore_core::frame_table::FrameView;
use esxcore_core::host::Host;
use esxcore_core::memory::Counts;
use esxcore_core::pmap::Entry;
use esxcore_core::sample::SampleReport;
use esxcore_core::share::{ScanReport, Walk};
use esxcore_core::types::{Access, ContentKind, PAGE_SIZE, Page, PageBatch, Ppn, VmId};

const SECOND: u64 = 1_000_000_000;

/// What can be asked of a host, without its digest: equal for two hosts that are meant to differ in something else.
#[derive(Debug, PartialEq)]
struct Facts {
    now: u64,
    totals: ScanReport,
    vms: Vec<(String, u32, Salt)>,
    walks: Vec<u64>,
    samples: Vec<Option<SampleReport>>,
    counts: Vec<Counts>,
    entries: Vec<Entry>,
    hinted: Vec<bool>,
    contents: Vec<Vec<u8>>,
    stats: Vec<(&'static str, u64)>,
}

fn facts(host: &Host) -> Facts {
    let memory = host.memory();
    let ids: Vec<VmId> = host.vms().iter().map(|vm| vm.id).collect();
    let entries: Vec<Entry> = ids.iter().flat_map(|id| memory.vm(*id).pmap().entries().to_vec()).collect();
    let is_hinted = |entry: &Entry| {
        entry.state().mpn().is_some_and(|mpn| matches!(memory.frames().get(mpn), FrameView::Hint { .. }))
    };
    let stats = host.stats();
    let stat = |name| stats.iter().find(|(other, _)| *other == name).unwrap().1;
    let scanned = host.vms().iter().map(|vm| host.vm_stats(vm, &mut || Ok(())).unwrap().scanned_pages);
    let pages = |vm| (0..memory.vm(vm).pmap().pages()).map(move |ppn| (vm, Ppn(ppn)));
    Facts {
        now: host.now_ns(),
        totals: ScanReport {
            picked: stat("scanned_pages"),
            hashed: stat("hashed_pages"),
            merged: stat("merged_pages"),
            false_matches: stat("false_matches"),
            stale_hints: stat("stale_hints"),
            ..ScanReport::default()
        },
        vms: host.vms().iter().map(|vm| (vm.name.clone(), vm.pages, vm.salt.clone())).collect(),
        walks: scanned.collect(),
        samples: ids.iter().map(|id| host.samples(*id)).collect(),
        counts: ids.iter().map(|id| memory.vm(*id).counts).collect(),
        hinted: entries.iter().map(is_hinted).collect(),
        entries,
        contents: ids
            .iter()
            .flat_map(|id| pages(*id))
            .map(|(vm, ppn)| common::keep(host.peek(vm, ppn)))
            .collect(),
        stats: stats.into_iter().filter(|(name, _)| *name != "real_bytes").collect(),
    }
}

/// Without sampling: whatever touches a page would leave its mark.
fn tokens() -> Host {
    sampled(SamplingConfig { pages: 0, ..SamplingConfig::default() })
}

fn sampled(sampling: SamplingConfig) -> Host {
    Host::new(HostConfig { sampling, ..config(ContentKind::Tokens, 300, 5, u64::MAX) }).unwrap()
}

fn write(host: &mut Host, vm: VmId, ppn: u32, token: u64) {
    assert_eq!(host.write(vm, &[ppn], PageBatch::Tokens(&[token])).unwrap().stopped, None);
}

fn load(host: &mut Host, vm: VmId, ppn: u32, token: u64) {
    host.load(vm, Ppn(ppn), PageBatch::Tokens(&[token])).unwrap();
}

/// Both are sound, differ, and differ in nothing that `level` does not level out.
fn differ_in_one(one: &Host, other: &Host, level: impl Fn(&mut Facts)) {
    audited(one);
    audited(other);
    let (mut ones, mut others) = (facts(one), facts(other));
    level(&mut ones);
    level(&mut others);
    assert_eq!(ones, others, "the test is about one fact");
    assert_ne!(digest(one), digest(other));
    assert_eq!(digest(&one.fork(&mut || Ok(())).unwrap()), digest(one));
}

fn level_stat(facts: &mut Facts, name: &str) {
    facts.stats.retain(|(other, _)| *other != name);
}

/// The first `N` pages in the scan order of a virtual machine of 10 pages that is the first of its host.
fn first_picks<const N: usize>() -> [u32; N] {
    let mut walk = Walk::new(SharingConfig::default().order, &tokens().config().seed, 0, 10);
    std::array::from_fn(|_| walk.step(1).start)
}

#[test]
fn time() {
    let (mut one, other) = (tokens(), tokens());
    one.advance(SECOND / 2).unwrap();
    differ_in_one(&one, &other, |facts| {
        facts.now = 0;
        level_stat(facts, "now_ns");
    });
}

#[test]
fn scans_that_are_due() {
    let (mut one, mut other) = (tokens(), tokens());
    power_on(&mut one, "one", 70);
    one.begin_advance(SECOND);
    assert!(!one.advance_some(1, &mut ScanReport::default()).unwrap());
    other.advance(SECOND).unwrap();
    power_on(&mut other, "one", 70);
    differ_in_one(&one, &other, |_| ());
}

#[test]
fn how_far_each_walk_is() {
    // Seven picks of empty pages each: six and one, or seven and none.
    let walked = |before: u64, after: u64| {
        let mut host = tokens();
        power_on(&mut host, "one", 20);
        host.scan(before);
        power_on(&mut host, "two", 20);
        host.scan(after);
        host
    };
    differ_in_one(&walked(5, 2), &walked(6, 1), |facts| facts.walks.clear());
}

#[test]
fn whether_hand_scans_made_a_walk() {
    // The first walk picked one page in both. A machine that comes later is as far; one that was there is behind.
    let (mut one, mut other) = (tokens(), tokens());
    power_on(&mut one, "one", 20);
    one.scan(1);
    power_on(&mut one, "two", 20);
    power_on(&mut other, "one", 20);
    power_on(&mut other, "two", 20);
    other.scan(1);
    differ_in_one(&one, &other, |_| ());
}

#[test]
fn what_the_scanner_did_for_machines_that_are_gone() {
    let scanned = |pages| {
        let mut host = tokens();
        let vm = power_on(&mut host, "gone", 20);
        host.scan(pages);
        host.power_off(vm);
        power_on(&mut host, "one", 20);
        host
    };
    differ_in_one(&scanned(3), &scanned(4), |facts| {
        facts.totals.picked = 0;
        level_stat(facts, "scanned_pages");
    });
}

#[test]
fn the_events_of_machines_that_are_gone() {
    let touched = |times| {
        let mut host = tokens();
        let vm = power_on(&mut host, "gone", 20);
        (0..times).for_each(|_| drop(host.touch(vm, &[0], Access::Read).unwrap()));
        host.power_off(vm);
        host
    };
    differ_in_one(&touched(1), &touched(2), |facts| level_stat(facts, "references"));
}

#[test]
fn copies_on_write_by_machines_that_are_gone() {
    let ended = |is_write: bool| {
        let mut host = tokens();
        let vms = [power_on(&mut host, "one", 1), power_on(&mut host, "gone", 1)];
        vms.iter().for_each(|vm| load(&mut host, *vm, 0, 7));
        assert_eq!(host.scan(2).merged, 1);
        if is_write {
            write(&mut host, vms[1], 0, 8);
        } else {
            host.touch(vms[1], &[0], Access::Read).unwrap();
        }
        host.power_off(vms[1]);
        host
    };
    differ_in_one(&ended(true), &ended(false), |facts| level_stat(facts, "cow_breaks"));
}

#[test]
fn the_events_of_a_machine() {
    let touched = |times| {
        let mut host = tokens();
        let vm = power_on(&mut host, "one", 20);
        (0..times).for_each(|_| drop(host.touch(vm, &[0], Access::Read).unwrap()));
        host
    };
    differ_in_one(&touched(1), &touched(2), |facts| {
        facts.counts.clear();
        level_stat(facts, "references");
    });
}

#[test]
fn whose_events_they_were() {
    let touched = |last: usize| {
        let mut host = tokens();
        let vms = [power_on(&mut host, "one", 2), power_on(&mut host, "two", 2)];
        vms.iter().for_each(|vm| load(&mut host, *vm, 0, 7));
        host.touch(vms[last], &[0], Access::Read).unwrap();
        host
    };
    differ_in_one(&touched(0), &touched(1), |facts| facts.counts.clear());
}

#[test]
fn a_machine_s_number_name_and_salt() {
    let powered_on = |earlier: u32, name: &str, salt: Option<Salt>| {
        let mut host = tokens();
        for _ in 0..earlier {
            let vm = power_on(&mut host, "gone", 20);
            host.power_off(vm);
        }
        host.power_on(VmConfig { salt, ..VmConfig::new(name, 20) }, &mut || Ok(())).unwrap();
        host
    };
    let plain = powered_on(0, "one", None);
    differ_in_one(&powered_on(1, "one", None), &plain, |_| ());
    differ_in_one(&powered_on(0, "two", None), &plain, |facts| facts.vms.clear());
    differ_in_one(&powered_on(0, "one", Some(Salt::Named("a".into()))), &plain, |facts| facts.vms.clear());
}

#[test]
fn which_page_has_a_hint() {
    let [first, second] = first_picks::<2>();
    // One page is hashed, the other was still empty when it was picked.
    let mut hosts = [tokens(), tokens()];
    for (host, is_first) in hosts.iter_mut().zip([true, false]) {
        let vm = power_on(host, "one", 10);
        if !is_first {
            host.scan(1);
        }
        load(host, vm, first, 5);
        if is_first {
            host.scan(2);
        }
        load(host, vm, second, 6);
        if !is_first {
            host.scan(1);
        }
        assert_eq!(host.memory().frames().totals().hint_frames, 1);
    }
    assert_ne!(facts(&hosts[0]).hinted, facts(&hosts[1]).hinted);
    differ_in_one(&hosts[0], &hosts[1], |facts| facts.hinted.clear());
}

#[test]
fn which_page_is_ineligible() {
    let [first, second, third] = first_picks::<3>();
    let mut hosts = [0, 0].map(|mask| Host::new(config(ContentKind::Tokens, 300, 5, mask)).unwrap());
    for (host, is_second) in hosts.iter_mut().zip([true, false]) {
        let vm = power_on(host, "one", 10);
        load(host, vm, first, 5);
        host.scan(1);
        if !is_second {
            host.scan(1);
        }
        load(host, vm, second, 6);
        if is_second {
            host.scan(2);
        }
        load(host, vm, third, 7);
        if !is_second {
            host.scan(1);
        }
        assert_eq!(facts(host).totals.false_matches, 1);
        let marked = if is_second { second } else { third };
        assert!(host.memory().entry(vm, Ppn(marked)).is_ineligible());
    }
    let unmarked = |entry: &mut Entry| *entry = entry.with_state(entry.state());
    differ_in_one(&hosts[0], &hosts[1], |facts| facts.entries.iter_mut().for_each(unmarked));
}

#[test]
fn how_many_fresh_contents_were_made() {
    let (mut one, mut other) = (tokens(), tokens());
    let vm = power_on(&mut one, "one", 1);
    one.touch(vm, &[0], Access::Write).unwrap();
    write(&mut one, vm, 0, 5);
    power_on(&mut other, "one", 1);
    (0..2).for_each(|_| write(&mut other, vm, 0, 5));
    differ_in_one(&one, &other, |_| ());
}

#[test]
fn where_pages_are() {
    let touched = |ppns: [u32; 2]| {
        let mut host = tokens();
        let vm = power_on(&mut host, "one", 2);
        host.touch(vm, &ppns, Access::Read).unwrap();
        host
    };
    differ_in_one(&touched([0, 1]), &touched([1, 0]), |facts| facts.entries.clear());
}

#[test]
fn what_a_private_page_holds() {
    let written = |token| {
        let mut host = tokens();
        let vm = power_on(&mut host, "one", 2);
        write(&mut host, vm, 1, token);
        host
    };
    differ_in_one(&written(5), &written(6), |facts| facts.contents.clear());
}

#[test]
fn what_a_shared_page_holds() {
    let shared = |token| {
        let mut host = tokens();
        let vm = power_on(&mut host, "one", 2);
        (0..2).for_each(|ppn| load(&mut host, vm, ppn, token));
        assert_eq!(host.scan(2).merged, 1);
        host
    };
    differ_in_one(&shared(5), &shared(6), |facts| facts.contents.clear());
}

#[test]
fn each_byte_of_a_page() {
    let written = |place: Option<usize>| {
        let mut page: Page = [0x5A; PAGE_SIZE];
        place.into_iter().for_each(|place| page[place] ^= 1);
        let mut host = Host::new(config(ContentKind::Bytes, 4, 5, u64::MAX)).unwrap();
        let vm = power_on(&mut host, "one", 1);
        host.write(vm, &[0], PageBatch::Bytes(&[page])).unwrap();
        host
    };
    for place in [0, 7, 8, 2048, PAGE_SIZE - 1] {
        differ_in_one(&written(Some(place)), &written(None), |facts| facts.contents.clear());
    }
}

#[test]
fn what_sampling_found_and_when() {
    let found = |periods: [&[u32]; 2]| {
        let mut host = sampled(SamplingConfig { pages: 100, period_s: 1, ..SamplingConfig::default() });
        let vm = power_on(&mut host, "one", 10);
        (0..10).for_each(|ppn| load(&mut host, vm, ppn, u64::from(ppn)));
        for ppns in periods {
            host.touch(vm, ppns, Access::Read).unwrap();
            host.advance(SECOND).unwrap();
        }
        host
    };
    let (one, other) = (found([&[0, 1], &[0, 0, 1]]), found([&[0, 0, 1], &[0, 1]]));
    assert_eq!(digest(&one), digest(&other), "the second touch of a page is no news");
    differ_in_one(&found([&[0, 0], &[0, 1]]), &found([&[0, 1], &[0, 0]]), |facts| facts.samples.clear());
}

#[test]
fn how_much_of_a_period_is_over() {
    let starved = |before: u64| {
        let mut host = Host::new(config(ContentKind::Tokens, 1, 5, u64::MAX)).unwrap();
        let vm = power_on(&mut host, "one", 2);
        host.touch(vm, &[0], Access::Read).unwrap();
        host.advance(before * SECOND).unwrap();
        assert!(host.touch(vm, &[1], Access::Read).unwrap().stopped.is_some());
        host.advance((3 - before) * SECOND).unwrap();
        host
    };
    differ_in_one(&starved(1), &starved(2), |facts| facts.samples.clear());
}

#[test]
fn whether_a_machine_s_clock_stands() {
    let touched = |ppn| {
        let mut host = Host::new(config(ContentKind::Tokens, 1, 5, u64::MAX)).unwrap();
        let vm = power_on(&mut host, "one", 2);
        host.touch(vm, &[0, 1], Access::Read).unwrap();
        host.touch(vm, &[ppn], Access::Read).unwrap();
        host
    };
    differ_in_one(&touched(0), &touched(1), |facts| {
        facts.counts.clear();
        level_stat(facts, "references");
    });
}

#[test]
fn a_machine_powered_off_with_scans_due_is_scanned_no_more() {
    let plain = config(ContentKind::Tokens, 300, 5, u64::MAX);
    let sharing = SharingConfig { vm_rate: 50, host_rate: 200, ..plain.sharing.clone() };
    let mut host = Host::new(HostConfig { sharing, ..plain }).unwrap();
    let vms = ["one", "two", "three"].map(|name| power_on(&mut host, name, 60));
    for vm in vms {
        (0..60).for_each(|ppn| load(&mut host, vm, ppn, u64::from(ppn % 20)));
    }
    let (mut report, scanned) = (ScanReport::default(), |host: &Host| facts(host).walks);
    host.begin_advance(5 * SECOND);
    assert!(!host.advance_some(66, &mut report).unwrap()); // the tick and 65 of its 150 picks
    assert_eq!((host.now_ns(), scanned(&host)), (SECOND, vec![50, 15, 0]));
    host.power_off(vms[1]);
    audited(&host);
    // The others go on: what was due for them, and no more, in the second that was begun.
    assert!(!host.advance_some(50, &mut report).unwrap());
    assert_eq!((host.now_ns(), scanned(&host)), (SECOND, vec![50, 50]));
    // Who comes into the slot takes over nothing that was due.
    assert_eq!(power_on(&mut host, "four", 60), vms[1]);
    while !host.advance_some(7, &mut report).unwrap() {}
    assert_eq!((host.now_ns(), scanned(&host)), (5 * SECOND, vec![250, 250, 200]));
    assert_eq!(report.picked, 65 + 50 + 4 * 150);
    audited(&host);
}
