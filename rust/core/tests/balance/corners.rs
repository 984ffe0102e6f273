//! Corners of a host that divides memory: what can happen only where there is hardly any left.

use std::sync::Arc;

use esxcore_core::config::{
    AllocationConfig, BalanceConfig, BeforeSwap, DriverConfig, HostConfig, SharedCharge, VmConfig,
};
use esxcore_core::error::Error;
use esxcore_core::host::{Host, VmChanges};
use esxcore_core::ledger::{Cause, Event, Record};
use esxcore_core::types::{Access, FreeState, PageBatch, Ppn, VmId};

use crate::common::digest;
use crate::policies::Extreme;
use crate::small::{config, number, power_on, quiet, reads, seconds, swapped, touch};

fn changes(max_pages: u32, min_pages: u32) -> VmChanges {
    VmChanges { max_pages: Some(max_pages), min_pages: Some(min_pages), ..VmChanges::default() }
}

fn resident(host: &Host, vm: VmId) -> u32 {
    host.memory().vm(vm).resident()
}

/// Virtual machines with the same contents on so many machine pages, all of them shared.
fn all_shared<const VMS: usize>(host: &mut Host, pages: u32) -> [VmId; VMS] {
    let vms = std::array::from_fn(|place| power_on(host, config(&place.to_string(), pages, 0)));
    let mut from = 0;
    while from < pages {
        let to = pages.min(from + (host.free_pages() / VMS as u32).max(1));
        for vm in vms {
            number(host, vm, from..to);
            host.scan(VMS as u64 * u64::from(pages));
        }
        from = to;
    }
    vms.iter().for_each(|vm| assert_eq!(host.memory().vm(*vm).on_shared_frames(), pages));
    vms
}

#[test]
fn others_make_room_for_the_overhead_of_a_newcomer() {
    let mut host = Host::new(quiet(100)).unwrap();
    let first = power_on(&mut host, config("first", 90, 0));
    touch(&mut host, first, 0..90, Access::Write);
    let allocation = AllocationConfig { overhead_pages: Some(20), min_pages: Some(0), ..Default::default() };
    power_on(&mut host, VmConfig { allocation, ..VmConfig::new("second", 10) });
    // Whole emergencies of up to 32 pages.
    assert_eq!((resident(&host, first), host.free_pages()), (58, 22));
    assert!(host.free_state() < Some(FreeState::Hard), "22 of 100 pages are free, 10 were before");
    host.audit(&mut || Ok(())).unwrap();
}

#[test]
fn pages_of_those_who_are_gone_are_taken_first() {
    let mut host = Host::new(quiet(100)).unwrap();
    let [first, second] = ["first", "second"].map(|name| power_on(&mut host, config(name, 60, 10)));
    touch(&mut host, first, 0..60, Access::Write);
    touch(&mut host, second, 0..40, Access::Write);
    host.begin_power_off(first);
    touch(&mut host, second, 40..60, Access::Write);
    assert_eq!((swapped(&host), host.free_pages()), (0, 40));
    host.audit(&mut || Ok(())).unwrap();
}

#[test]
fn a_write_is_served_where_all_pages_are_shared() {
    let mut host = Host::new(quiet(20)).unwrap();
    let [one, two] = all_shared::<2>(&mut host, 19);
    for round in 0..5 {
        for vm in [two, one] {
            touch(&mut host, vm, 0..19, Access::Write);
            host.audit(&mut || Ok(())).unwrap();
            number(&mut host, vm, 0..19);
        }
        host.scan(100 * round);
        (0..19).for_each(|ppn| {
            assert_eq!(
                (reads(&host, one, ppn), reads(&host, two, ppn)),
                (1 + u64::from(ppn), 1 + u64::from(ppn))
            )
        });
    }
    assert!(swapped(&host) > 0);
}

/// Room is made by paging out whole virtual machines of shared pages, with the page that is written to among them.
#[test]
fn a_write_is_served_though_its_page_had_to_go_first() {
    let mut host = Host::new(quiet(20)).unwrap();
    let [one, two] = all_shared::<2>(&mut host, 19);
    let three = power_on(&mut host, config("three", 1, 0));
    touch(&mut host, three, 0..1, Access::Write);
    assert_eq!(host.free_pages(), 0);
    touch(&mut host, one, 5..6, Access::Write);
    assert_eq!(host.memory().vm(one).counts.page_ins, 1);
    assert_eq!((reads(&host, one, 4), reads(&host, two, 5)), (5, 6));
    host.audit(&mut || Ok(())).unwrap();
}

/// Pages whose page-out is off again stand before those whose is not.
#[test]
fn pages_under_way_go_before_shared_ones() {
    let balance = BalanceConfig { before_swap: BeforeSwap::Write, ..BalanceConfig::default() };
    let mut host = Host::new(HostConfig { balance: Some(balance), ..quiet(100) }).unwrap();
    host.set_policy(Arc::new(Extreme::Min)).unwrap();
    let driver = DriverConfig { start_s: None, ..DriverConfig::default() };
    let vm = power_on(&mut host, VmConfig { driver, ..config("one", 97, 0) });
    let contents: Vec<u64> = (0..97).map(|ppn| if ppn < 40 { 7 } else { ppn }).collect();
    host.load(vm, Ppn(0), PageBatch::Tokens(&contents)).unwrap();
    seconds(&mut host, 1);
    assert_eq!((host.free_state(), host.memory().vm(vm).leaving()), (Some(FreeState::Soft), 97));
    touch(&mut host, vm, 0..40, Access::Read);
    host.scan(97);
    assert_eq!((host.memory().vm(vm).on_shared_frames(), host.memory().vm(vm).leaving()), (40, 57));
    host.configure(vm, changes(96, 0)).unwrap();
    assert_eq!((host.memory().vm(vm).on_shared_frames(), host.memory().vm(vm).leaving()), (40, 56));
}

/// A balloon does not grow while its virtual machine stands, and no private page is left that could be paged out. A shared
/// page frees a machine page only when the last of its sharers has paged it out.
#[test]
fn who_is_held_up_with_shared_pages_only_is_let_go() {
    held_up_with_shared_pages_only::<2>(2);
    held_up_with_shared_pages_only::<10>(5);
}

fn held_up_with_shared_pages_only<const VMS: usize>(leaves_low_at_s: u64) {
    let mut host = Host::new(HostConfig { swap_pages: 20_000, ..quiet(1000) }).unwrap();
    let vms = all_shared::<VMS>(&mut host, 995);
    assert_eq!(host.free_state(), Some(FreeState::Low));
    seconds(&mut host, 1);
    assert!(host.vms().iter().all(|vm| vm.blocked));
    let refused = host.touch(vms[0], &[0], Access::Read).unwrap();
    let target_pages = host.vm(vms[0]).target_pages;
    assert_eq!((refused.done, refused.stopped), (0, Some(Error::Blocked { vm: "0".into(), target_pages })));
    seconds(&mut host, leaves_low_at_s - 2);
    assert!(host.vms().iter().all(|vm| vm.blocked));
    let why = host.explain(vms[0], host.now_ns()).unwrap();
    let cause = if leaves_low_at_s == 2 { Cause::PowerOn } else { Cause::StillShort };
    assert_eq!(why.target.map(|target| target.set_by.cause), Some(cause));
    seconds(&mut host, 1);
    assert_eq!(host.free_state(), Some(FreeState::Hard));
    assert!(host.vms().iter().all(|vm| !vm.blocked), "{:?}", host.vms());
    // Hardly more than has to be written: what is free rose from 5 pages to 22 at least, each with all its sharers.
    assert!(u64::from(swapped(&host)) <= 30 * VMS as u64, "{} pages", swapped(&host));
    touch(&mut host, vms[0], 0..1, Access::Read);
}

/// Why the policy was asked, in order.
fn causes(host: &Host) -> Vec<Cause> {
    let decided = |record: &Record| match &record.event {
        Event::Decided(decision) => Some(decision.cause),
        _ => None,
    };
    host.ledger().unwrap().records().filter_map(decided).collect()
}

/// Writing to shared pages takes free ones while nobody gets more than its target. The policy is asked again as soon as what is
/// above targets does not do any more, not at the end of the period, by which memory would be low.
#[test]
fn shared_pages_that_are_written_do_not_make_memory_hard() {
    let mut host = Host::new(quiet(12_000)).unwrap();
    // Without drivers pages that nobody writes to go: private ones.
    let driver = DriverConfig { start_s: None, ..DriverConfig::default() };
    let vms = ["one", "two"].map(|name| power_on(&mut host, VmConfig { driver, ..config(name, 8000, 0) }));
    for (place, vm) in vms.iter().enumerate() {
        let token = |ppn: u64| if ppn < 3000 { 0 } else { ppn + 1 + 10_000 * place as u64 };
        let tokens: Vec<u64> = (0..8000).map(token).collect();
        for part in 0..8 {
            let tokens = PageBatch::Tokens(&tokens[1000 * part..1000 * (part + 1)]);
            host.load(*vm, Ppn(1000 * part as u32), tokens).unwrap();
            host.scan(20_000);
        }
    }
    assert_eq!((host.free_state(), host.free_pages()), (Some(FreeState::High), 1999));
    for second in 0..60 {
        touch(&mut host, vms[0], 50 * second..50 * (second + 1), Access::Write);
        touch(&mut host, vms[1], 50 * second..50 * (second + 1), Access::Write);
        seconds(&mut host, 1);
        assert!(host.free_state() < Some(FreeState::Hard), "{second} s: {} free", host.free_pages());
    }
    let causes = causes(&host);
    let asked = |cause| causes.iter().filter(|one| **one == cause).count();
    // 60 x 100 pages; each answer frees up to 1.5 % of the machine, 180 pages, beyond what calls for the next.
    assert!((3..35).contains(&asked(Cause::StillShort)), "{causes:?}");
    assert!(swapped(&host) > 4000, "what was written is there, and everybody at their target");
}

/// Who rests at its target rests: as much is free as targets are to bring about, however long the state stays soft.
#[test]
fn a_host_that_stays_soft_asks_once_a_period() {
    let mut host = Host::new(quiet(10_000)).unwrap();
    let vm = power_on(&mut host, config("one", 9990, 0));
    touch(&mut host, vm, 0..9700, Access::Write);
    seconds(&mut host, 60);
    assert_eq!((host.free_state(), host.free_pages()), (Some(FreeState::Soft), 600));
    let before = causes(&host).len();
    seconds(&mut host, 150);
    assert_eq!(
        (host.free_state(), &causes(&host)[before..]),
        (Some(FreeState::Soft), &[Cause::Period; 10][..])
    );
}

/// Nobody is ever above a target that is its max: to ask for others each second would help nobody.
#[test]
fn targets_that_promise_nothing_are_asked_for_once_a_period() {
    let mut host = Host::new(quiet(10_000)).unwrap();
    host.set_policy(Arc::new(Extreme::Max)).unwrap();
    let vm = power_on(&mut host, config("one", 9990, 0));
    touch(&mut host, vm, 0..9700, Access::Write);
    seconds(&mut host, 20);
    let before = causes(&host).len();
    seconds(&mut host, 150);
    assert_eq!((host.free_state(), host.free_pages()), (Some(FreeState::Soft), 300));
    assert_eq!(causes(&host)[before..], [Cause::Period; 10]);
}

#[test]
fn at_its_max_and_with_the_swap_file_full_a_guest_goes_on() {
    for (max, min) in [(5, 5), (1, 1), (1, 0), (9, 9)] {
        let mut host = Host::new(HostConfig { swap_pages: 10 - min, ..quiet(40) }).unwrap();
        let vm = power_on(&mut host, config("one", 10, min));
        host.configure(vm, changes(max, min)).unwrap();
        for _ in 0..3 {
            number(&mut host, vm, 0..10);
            touch(&mut host, vm, 0..10, Access::Read);
            assert_eq!((resident(&host, vm), swapped(&host)), (max, 10 - max));
            host.audit(&mut || Ok(())).unwrap();
        }
        (0..10).for_each(|ppn| assert_eq!(reads(&host, vm, ppn), u64::from(ppn) + 1));
    }
}

#[test]
fn a_machine_of_a_page() {
    let mut host = Host::new(HostConfig { swap_pages: 1, ..quiet(1) }).unwrap();
    let vm = power_on(&mut host, config("one", 1, 0));
    for _ in 0..5 {
        touch(&mut host, vm, 0..1, Access::Write);
        seconds(&mut host, 3);
    }
    let refused = host.power_on(config("two", 1, 0), &mut || Ok(()));
    let error = Error::SwapReserved { vm: "two".into(), pages: 1, min_pages: 0, unreserved_pages: 0 };
    assert_eq!(refused, Err(error));
}

#[test]
fn a_raised_min_gives_no_swap_space_away_that_is_in_use() {
    let mut host = Host::new(HostConfig { swap_pages: 10, ..quiet(40) }).unwrap();
    let first = power_on(&mut host, config("first", 10, 0));
    number(&mut host, first, 0..10);
    host.configure(first, changes(1, 0)).unwrap();
    assert_eq!((resident(&host, first), swapped(&host)), (1, 9));
    host.configure(first, changes(10, 10)).unwrap();
    let before = digest(&host);
    let refused = host.power_on(config("second", 10, 0), &mut || Ok(()));
    let error = Error::SwapReserved { vm: "second".into(), pages: 10, min_pages: 0, unreserved_pages: 1 };
    assert_eq!((refused, digest(&host)), (Err(error), before));
    touch(&mut host, first, 0..10, Access::Read);
    power_on(&mut host, config("second", 10, 0));
}

#[test]
fn what_is_lost_in_rounding_is_there_all_the_same() {
    let balance = BalanceConfig { shared_charge: SharedCharge::Fraction, ..BalanceConfig::default() };
    let mut host = Host::new(HostConfig { balance: Some(balance), ..quiet(5) }).unwrap();
    for name in ["a", "b", "c", "d"] {
        let vm = power_on(&mut host, config(name, 1, 1));
        host.load(vm, Ppn(0), PageBatch::Tokens(&[7])).unwrap();
        host.scan(4);
    }
    assert_eq!((host.free_pages(), host.view().unwrap().available_pages), (4, 4));
    seconds(&mut host, 15);
}

#[test]
fn contents_above_a_lowered_max_are_paged_out() {
    let mut host = Host::new(quiet(40)).unwrap();
    let vm = power_on(&mut host, config("one", 10, 0));
    host.configure(vm, changes(3, 0)).unwrap();
    host.load(vm, Ppn(0), PageBatch::Tokens(&[1; 10])).unwrap();
    assert_eq!((resident(&host, vm), swapped(&host)), (3, 7));
    let before = digest(&host);
    let refused = host.load(vm, Ppn(8), PageBatch::Tokens(&[1; 3]));
    assert_eq!(refused, Err(Error::PageOutOfRange { vm: "one".into(), ppn: 10, pages: 10 }));
    assert_eq!(digest(&host), before);
}

#[test]
fn what_a_balloon_delivers_is_not_paged_out_as_well() {
    let mut host = Host::new(quiet(1000)).unwrap();
    let [first, second] = ["first", "second"].map(|name| power_on(&mut host, config(name, 900, 0)));
    touch(&mut host, first, 0..900, Access::Write);
    touch(&mut host, second, 0..85, Access::Write);
    assert_eq!(host.free_state(), Some(FreeState::Hard));
    seconds(&mut host, 1);
    assert!(host.memory().vm(first).ballooned() >= 45);
    seconds(&mut host, 9);
    assert_eq!((swapped(&host), host.free_state()), (0, Some(FreeState::High)));
}

/// The state falls over several at once, at the very reference, and rises a step a tick.
#[test]
fn states_fall_at_once_and_rise_by_ticks() {
    let mut host = Host::new(quiet(1000)).unwrap();
    let [first, second] = ["first", "second"].map(|name| power_on(&mut host, config(name, 600, 0)));
    touch(&mut host, first, 0..600, Access::Write);
    touch(&mut host, second, 0..360, Access::Write);
    assert_eq!((host.free_pages(), host.free_state()), (40, Some(FreeState::High)));
    touch(&mut host, second, 360..391, Access::Write);
    assert_eq!((host.free_pages(), host.free_state()), (9, Some(FreeState::Low)));
    host.power_off(first);
    assert_eq!(host.free_state(), Some(FreeState::Low));
    for state in [FreeState::Hard, FreeState::Soft, FreeState::High, FreeState::High] {
        seconds(&mut host, 1);
        assert_eq!(host.free_state(), Some(state));
    }
}

#[test]
fn a_lowered_max_pages_out_at_once() {
    let mut host = Host::new(quiet(100)).unwrap();
    let vm = power_on(&mut host, config("one", 50, 10));
    number(&mut host, vm, 0..50);
    host.configure(vm, changes(10, 10)).unwrap();
    assert_eq!((resident(&host, vm), swapped(&host), host.vm(vm).target_pages), (10, 40, 10));
    (0..50).for_each(|ppn| assert_eq!(reads(&host, vm, ppn), u64::from(ppn) + 1));
}

#[test]
fn refusals_say_what_is_missing_and_change_nothing() {
    // 6 of 100 pages are kept free.
    let mut host = Host::new(HostConfig { swap_pages: 60, ..quiet(100) }).unwrap();
    let with_overhead = |name: &str, pages, min, overhead| {
        let allocation =
            AllocationConfig { min_pages: Some(min), overhead_pages: Some(overhead), ..Default::default() };
        VmConfig { allocation, ..VmConfig::new(name, pages) }
    };
    let first = power_on(&mut host, with_overhead("first", 80, 40, 14));
    power_on(&mut host, with_overhead("second", 40, 30, 10));
    let before = digest(&host);
    let reserved = |vm: &str, min_pages, overhead_pages, unreserved_pages| {
        Err(Error::MemoryReserved { vm: vm.into(), min_pages, overhead_pages, unreserved_pages })
    };
    assert_eq!(
        host.power_on(with_overhead("third", 1, 0, 1), &mut || Ok(())).map(|_| ()),
        reserved("third", 0, 1, 0)
    );
    assert_eq!(host.configure(first, changes(80, 41)), reserved("first", 41, 14, 54));
    let dry = Error::SwapReserved { vm: "first".into(), pages: 80, min_pages: 29, unreserved_pages: 50 };
    assert_eq!(host.configure(first, changes(80, 29)), Err(dry));
    assert!(matches!(host.configure(first, changes(81, 40)), Err(Error::Setting { what: "max", .. })));
    assert!(matches!(host.configure(first, changes(39, 40)), Err(Error::Setting { what: "min", .. })));
    assert_eq!(digest(&host), before);
    host.configure(first, changes(80, 30)).unwrap();
    let rules = BalanceConfig { swap_out_rate: 0, ..BalanceConfig::default() };
    let refused = Host::new(HostConfig { balance: Some(rules), ..quiet(9) });
    assert!(matches!(refused, Err(Error::Setting { what: "swap_out_rate", .. })));
}

/// What is given back in a second never takes free memory below the soft threshold by itself.
#[test]
fn grants_leave_the_soft_threshold() {
    let mut host = Host::new(quiet(1000)).unwrap();
    let [first, second] = ["first", "second"].map(|name| power_on(&mut host, config(name, 800, 0)));
    touch(&mut host, first, 0..800, Access::Write);
    touch(&mut host, second, 0..150, Access::Write);
    for from in [150, 190, 230, 270, 310, 350] {
        seconds(&mut host, 20);
        touch(&mut host, second, from..from + 40, Access::Write);
    }
    seconds(&mut host, 20);
    let ballooned = |host: &Host| host.memory().vm(first).ballooned();
    let held = ballooned(&host);
    assert!(held > 200);
    // Its target is its max again; the balloon shrinks by what is free above the soft threshold, and its guest takes it.
    host.power_off(second);
    for _ in 0..20 {
        let (before, free) = (ballooned(&host), host.free_pages());
        seconds(&mut host, 1);
        assert!(before - ballooned(&host) <= free.saturating_sub(40));
        touch(&mut host, first, 0..400, Access::Read);
    }
    assert_eq!(ballooned(&host), 0);
}

/// What each driver fails to deliver is paged out.
#[test]
fn whatever_the_driver_memory_comes_free_in_seconds() {
    let plain = DriverConfig::default();
    let drivers = [
        plain,
        DriverConfig { start_s: None, ..plain },
        DriverConfig { start_s: Some(40), ..plain },
        DriverConfig { max_rate: 5, ..plain },
        DriverConfig { max_rate: 0, ..plain },
        DriverConfig { stuck_at_s: Some(1), ..plain },
        DriverConfig { limit_pages: 20, ..plain },
    ];
    for driver in drivers {
        let mut host = Host::new(quiet(10_000)).unwrap();
        let vms = ["one", "two", "three"]
            .map(|name| power_on(&mut host, VmConfig { driver, ..config(name, 4000, 1000) }));
        seconds(&mut host, 5);
        vms.iter()
            .zip([3900, 3900, 1850])
            .for_each(|(vm, pages)| touch(&mut host, *vm, 0..pages, Access::Write));
        assert_eq!((host.free_pages(), host.free_state()), (350, Some(FreeState::Soft)));
        // A second for the question to the policy, three polls, and one for what is then under way.
        seconds(&mut host, 5);
        assert!(host.free_pages() >= 600, "{} pages free with {driver:?}", host.free_pages());
        let by_paging = host.stats().iter().find(|(name, _)| *name == "page_outs").unwrap().1;
        assert_eq!(by_paging == 0, driver == plain, "{by_paging} pages paged out with {driver:?}");
    }
}
