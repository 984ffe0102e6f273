//! Sampling on whole hosts (§5.3): what is counted, in whose time, and that nobody else's life enters.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KINDS, Palette, audited, config, digest, power_on};
use esxcore_core::config::{HostConfig, SamplingConfig};
use esxcore_core::host::Host;
use esxcore_core::rng::Seed;
use esxcore_core::share::ScanReport;
use esxcore_core::types::{Access, ContentKind, PageBatch, Ppn, VmId};

const SECOND: u64 = 1_000_000_000;

fn host(machine_pages: u32, pages: u32, period_s: u32) -> Host {
    let sampling = SamplingConfig { pages, period_s, ..SamplingConfig::default() };
    Host::new(HostConfig { sampling, ..config(ContentKind::Tokens, machine_pages, 5, u64::MAX) }).unwrap()
}

fn traced(host: &Host, vm: VmId) -> Vec<u32> {
    let entries = host.memory().vm(vm).pmap().entries().iter().zip(0..);
    entries.filter(|(entry, _)| entry.is_traced()).map(|(_, ppn)| ppn).collect()
}

fn touched(host: &Host, vm: VmId) -> u32 {
    host.samples(vm).unwrap().touched
}

#[test]
fn the_samples_of_a_machine_do_not_depend_on_others() {
    let mut alone = host(1000, 20, 3);
    let mut many = host(1000, 20, 3);
    let vm = power_on(&mut alone, "one", 200);
    let same = power_on(&mut many, "one", 200);
    let other = power_on(&mut many, "two", 100);
    for second in 0..20 {
        assert_eq!(traced(&alone, vm), traced(&many, same), "second {second}");
        alone.touch(vm, &(0..90).collect::<Vec<_>>(), Access::Write).unwrap();
        many.touch(same, &(0..90).collect::<Vec<_>>(), Access::Write).unwrap();
        many.touch(other, &[second], Access::Write).unwrap();
        alone.advance(SECOND).unwrap();
        many.advance(SECOND).unwrap();
        if second == 11 {
            many.power_off(other);
            power_on(&mut many, "three", 50);
        }
        assert_eq!(alone.samples(vm), many.samples(same));
    }
    assert_eq!(alone.samples(vm).unwrap().periods, 6);
}

#[test]
fn only_guest_accesses_are_counted_and_each_page_once() {
    for kind in KINDS {
        let sampling = SamplingConfig { pages: 40, ..SamplingConfig::default() };
        let mut host = Host::new(HostConfig { sampling, ..config(kind, 100, 5, u64::MAX) }).unwrap();
        let (vm, palette) = (power_on(&mut host, "one", 40), Palette::new(20));
        for first in [0, 20] {
            host.load(vm, Ppn(first), palette.batch(kind).range(0, 15)).unwrap();
        }
        assert_eq!(host.scan(40).merged, 15);
        host.advance(5 * SECOND).unwrap();
        let _ = host.peek(vm, Ppn(0));
        assert_eq!((touched(&host, vm), traced(&host, vm).len()), (0, 40));
        host.touch(vm, &[0, 0, 17, 17], Access::Read).unwrap(); // shared, and empty
        host.read(vm, &[0, 1], |_| ()).unwrap();
        assert_eq!(touched(&host, vm), 3);
        let report = host.touch(vm, &[20, 0, 18, 18], Access::Write).unwrap(); // shared twice, and empty
        assert_eq!((report.counts.cow_breaks, report.counts.zero_fills), (2, 1));
        assert_eq!(touched(&host, vm), 5);
        host.write(vm, &[21, 21], palette.batch(kind).range(0, 2)).unwrap();
        assert_eq!((touched(&host, vm), traced(&host, vm).len()), (6, 34));
        audited(&host);
    }
}

#[test]
fn a_reference_that_is_not_served_is_not_counted_and_time_stands_still() {
    let mut host = host(10, 20, 2);
    let (vm, other) = (power_on(&mut host, "one", 20), power_on(&mut host, "two", 5));
    host.touch(other, &[0, 1], Access::Read).unwrap();
    let ppns: Vec<u32> = (0..20).collect();
    assert_eq!(host.touch(vm, &ppns, Access::Write).unwrap().done, 8);
    assert_eq!((touched(&host, vm), traced(&host, vm).len()), (8, 12));
    host.advance(50 * SECOND).unwrap();
    assert_eq!(host.samples(vm).unwrap().periods, 0);
    assert_eq!(host.samples(other).unwrap().periods, 25);
    host.touch(vm, &[], Access::Write).unwrap();
    host.power_off(other);
    host.advance(SECOND).unwrap();
    assert_eq!(host.samples(vm).unwrap().elapsed_s, 0, "still nobody served the reference");
    assert_eq!(host.touch(vm, &ppns[8..10], Access::Write).unwrap().done, 2);
    host.advance(SECOND).unwrap();
    assert_eq!((host.samples(vm).unwrap().elapsed_s, touched(&host, vm)), (1, 10));
}

#[test]
fn periods_due_are_kept_when_time_is_interrupted() {
    let mut whole = host(1000, 100, 2);
    for name in ["one", "two", "three"] {
        power_on(&mut whole, name, 200);
    }
    let mut parts = whole.fork(&mut || Ok(())).unwrap();
    whole.advance(5 * SECOND).unwrap();
    parts.begin_advance(5 * SECOND);
    let (mut calls, mut report) = (0, ScanReport::default());
    while !parts.advance_some(60, &mut report).unwrap() {
        calls += 1;
        audited(&parts);
        if calls == 1 {
            let end = 5 * SECOND - parts.now_ns();
            parts.begin_advance(end); // what was due comes first
        }
    }
    assert!(calls > 9, "2 x 3 x 100 sampled pages and 750 picks, 60 at a time: {calls}");
    assert_eq!(digest(&parts), digest(&whole));
}

#[test]
fn a_machine_powered_off_with_a_period_due_leaves_nothing() {
    let mut host = host(1000, 100, 1);
    let vms = ["one", "two", "three"].map(|name| power_on(&mut host, name, 200));
    host.begin_advance(SECOND);
    assert!(!host.advance_some(50, &mut ScanReport::default()).unwrap());
    host.power_off(vms[1]);
    let next = power_on(&mut host, "four", 200);
    assert_eq!(next, vms[1]);
    host.advance(0).unwrap();
    let periods = vms.map(|vm| host.samples(vm).unwrap().periods);
    assert_eq!(periods, [1, 0, 1]);
    audited(&host);
}

#[test]
fn the_mean_of_many_periods_is_the_fraction_touched() {
    let (periods, sampled) = (400, 100);
    for percent in [1, 10, 50, 97] {
        let mut host = host(2000, sampled, 1);
        let vm = power_on(&mut host, "one", 2000);
        let share = f64::from(percent) / 100.0;
        let ppns: Vec<u32> = (0..2000).filter(|ppn| ppn % 100 < percent).collect();
        let mut found = 0;
        for _ in 0..periods {
            host.touch(vm, &ppns, Access::Read).unwrap();
            found += touched(&host, vm);
            host.advance(SECOND).unwrap();
        }
        let mean = f64::from(found) / f64::from(periods * sampled);
        // Five standard deviations of as many independent draws; draws without replacement spread less.
        let bound = 5.0 * (share * (1.0 - share) / f64::from(periods * sampled)).sqrt();
        assert!((mean - share).abs() < bound, "{mean} of {share} ± {bound}");
    }
}

#[test]
fn estimates_rise_within_two_periods_and_fall_slower() {
    let mut host = host(2000, 200, 10);
    let vm = power_on(&mut host, "one", 2000);
    let live = |host: &mut Host, pages: u32, periods: usize| -> Vec<f64> {
        let ppns: Vec<u32> = (0..pages).collect();
        let mut one = || {
            host.touch(vm, &ppns, Access::Write).unwrap();
            host.advance(10 * SECOND).unwrap();
            host.samples(vm).unwrap().estimate
        };
        (0..periods).map(|_| one()).collect()
    };
    live(&mut host, 0, 20);
    let rise = live(&mut host, 1600, 10);
    let fall = live(&mut host, 0, 40);
    assert!(rise[1] > 0.9 * 0.8 - 0.1, "{rise:?}");
    let periods_to_fall = fall.iter().position(|estimate| *estimate < 0.1 * 0.8).unwrap();
    assert!(periods_to_fall > 10, "{fall:?}");
    assert!(fall.is_sorted_by(|before, after| before >= after));
}

#[test]
fn a_seed_decides_and_two_machines_differ() {
    let chosen = |seed: u8| {
        let plain = config(ContentKind::Tokens, 100, 5, u64::MAX);
        let mut host = Host::new(HostConfig { seed: Seed([seed; 32]), ..plain }).unwrap();
        let vms = [power_on(&mut host, "one", 1000), power_on(&mut host, "two", 1000)];
        host.load(vms[0], Ppn(0), PageBatch::Tokens(&[1, 2, 3])).unwrap();
        vms.map(|vm| traced(&host, vm))
    };
    assert_eq!(chosen(1), chosen(1));
    assert_ne!(chosen(1)[0], chosen(2)[0]);
    assert_ne!(chosen(1)[0], chosen(1)[1]);
}
