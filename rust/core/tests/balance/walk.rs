//! Random histories of small hosts, everything interleaved, with an audit after each call and a twin that gets the same
//! calls cut differently.

use esxcore_core::config::{
    AllocationConfig, BalanceConfig, BeforeSwap, DriverConfig, HostConfig, LedgerConfig, Salt,
    SamplingConfig, SharedCharge, Shares, SharingConfig, VmConfig,
};
use esxcore_core::error::Error;
use esxcore_core::host::{Host, VmChanges};
use esxcore_core::pmap::State;
use esxcore_core::rng::{Seed, Stream};
use esxcore_core::types::{Access, ContentKind};

use crate::common::{KINDS, digest};
use crate::world::{Answer, Call, Cut, Model, WHOLE, call};

const SECOND: u64 = 1_000_000_000;

fn pick<T: Clone>(of: &[T], random: &mut Stream) -> T {
    of[random.below(of.len() as u32) as usize].clone()
}

pub fn odd_seed(number: u32) -> Seed {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Seed(bytes)
}

/// A small host with odd settings.
pub fn odd_host(random: &mut Stream, kind: ContentKind, seed: u32) -> Host {
    let machine_pages = 20 + random.below(150);
    let balance = BalanceConfig {
        balance_period_s: 1 + random.below(15),
        shared_charge: pick(&[SharedCharge::Full, SharedCharge::Fraction], random),
        before_swap: pick(&[BeforeSwap::Share, BeforeSwap::Write], random),
        swap_out_rate: pick(&[1, 7, 4096], random),
        ledger: LedgerConfig { records: pick(&[0, 20, 1 << 14], random) },
        ..BalanceConfig::default()
    };
    let config = HostConfig {
        swap_pages: machine_pages + random.below(2 * machine_pages),
        sampling: SamplingConfig {
            pages: random.below(10),
            period_s: 1 + random.below(5),
            ..Default::default()
        },
        sharing: SharingConfig {
            vm_rate: random.below(20),
            host_rate: random.below(40),
            ..Default::default()
        },
        balance: Some(balance),
        ..HostConfig::new(machine_pages, kind, odd_seed(seed))
    };
    Host::new(config).unwrap()
}

fn odd_driver(random: &mut Stream) -> DriverConfig {
    let plain = DriverConfig::default();
    match random.below(8) {
        0 => DriverConfig { start_s: None, ..plain },
        1 => DriverConfig { start_s: Some(random.below(9)), ..plain },
        2 => DriverConfig { max_rate: random.below(4), ..plain },
        3 => DriverConfig { stuck_at_s: Some(random.below(20)), ..plain },
        4 => DriverConfig { limit_pages: random.below(10), ..plain },
        _ => plain,
    }
}

fn odd_vm(number: u32, machine_pages: u32, random: &mut Stream) -> VmConfig {
    let max_pages = random.below(machine_pages * 5 / 4);
    let min_pages = pick(&[None, Some(0), Some(0), Some(max_pages / 5), Some(max_pages)], random);
    let overhead_pages = Some(random.below(4));
    let shares = pick(&[Shares::Low, Shares::Normal, Shares::Number(0), Shares::Number(100)], random);
    VmConfig {
        allocation: AllocationConfig { min_pages, shares, overhead_pages },
        balloon_limit: pick(&[None, Some(random.below(20)), Some(u32::MAX)], random),
        driver: odd_driver(random),
        salt: pick(&[None, None, Some(Salt::PerVm), Some(Salt::Named("one".into()))], random),
        ..VmConfig::new(format!("vm {number}"), max_pages)
    }
}

fn odd_changes(random: &mut Stream, pages: u32) -> VmChanges {
    let maybe = |random: &mut Stream| (random.below(2) == 0).then(|| random.below(pages + 2));
    VmChanges {
        max_pages: maybe(random),
        min_pages: maybe(random),
        shares: pick(&[None, Some(Shares::Number(random.below(50))), Some(Shares::High)], random),
        balloon_limit: maybe(random),
    }
}

/// Contents for pages that are empty, or for some that are not there.
fn odd_load(place: usize, host: &Host, random: &mut Stream) -> Call {
    let (id, pages) = (host.vms()[place].id, host.vms()[place].pages);
    let first = random.below(pages + 1);
    let entries = &host.memory().vm(id).pmap().entries()[first as usize..];
    let empty = entries.iter().take_while(|entry| entry.state() == State::Empty).count() as u32;
    let beyond = if first + empty == pages { random.below(2) } else { 0 };
    Call::Load(place, first, (0..empty + beyond).map(|_| random.below(3).into()).collect())
}

pub fn odd_call(random: &mut Stream, host: &Host, number: u32) -> Call {
    let machine_pages = host.memory().machine().pages();
    if host.vms().len() < 2 || random.below(16) == 0 {
        let config = odd_vm(number - random.below(2), machine_pages, random);
        return if random.below(8) == 0 { Call::Cancelled(config) } else { Call::PowerOn(config) };
    }
    let place = random.below(host.vms().len() as u32) as usize;
    let pages = host.vms()[place].pages;
    // Now and then a page that is not there.
    let ppns = |random: &mut Stream| {
        let (len, beyond) = (random.below(2 * pages + 1), u32::from(random.below(30) == 0));
        (0..len).map(|_| random.below(pages + beyond)).collect::<Vec<u32>>()
    };
    match random.below(24) {
        0 if random.below(3) == 0 => Call::PowerOff(place),
        0 => Call::Touch(place, (0..pages).collect(), Access::Write),
        1 => odd_load(place, host, random),
        2..6 => Call::Touch(place, ppns(random), pick(&[Access::Read, Access::Write], random)),
        6..10 => {
            let ppns = ppns(random);
            let numbers = ppns.iter().map(|_| u64::from(random.below(4))).collect();
            Call::Write(place, ppns, numbers)
        }
        10..12 => Call::Read(place, ppns(random)),
        12 => Call::Scan(random.below(200).into()),
        13..19 => Call::Advance(u64::from(random.below(3000)) * (SECOND / 1000)),
        19 => Call::Advance(u64::from(random.below(40)) * SECOND),
        20..23 => Call::Configure(place, odd_changes(random, pages)),
        _ => Call::SetPolicy(random.below(12)),
    }
}

fn odd_cut(random: &mut Stream) -> Cut {
    let ns = u64::from(1 + random.below(2500)) * (SECOND / 1000);
    Cut { batch: 1 + random.below(20) as usize, picks: 1 + random.below(30), ns }
}

/// What holds after each call.
fn check(host: &Host, model: &Model) {
    host.audit(&mut || Ok(())).unwrap();
    model.check(host);
    let stats: std::collections::HashMap<_, _> = host.stats().into_iter().collect();
    let accounted =
        stats["allocated_pages"] - stats["reclaimed_pages"] + stats["overhead_pages"] + stats["free_pages"];
    assert_eq!(accounted, stats["machine_pages"]);
    let view = host.view().unwrap();
    let mins: u64 = view.min_pages.iter().map(|pages| u64::from(*pages)).sum();
    assert!(mins <= view.available_pages, "{mins} {view:?}");
    assert!(view.stall_fraction.iter().all(|part| (0.0..=1.0).contains(part)), "{view:?}");
}

/// On a host that divides memory every guest has a place for its pages.
fn check_answer(answer: &Answer, made: &Call) {
    for error in &answer.errors {
        let is_starved = matches!(error, Error::OutOfMachineMemory { .. } | Error::SwapFull { .. });
        assert!(!is_starved, "{error} from {made:?}");
        let is_blocked = matches!(error, Error::Blocked { .. });
        let is_guest = matches!(made, Call::Touch(..) | Call::Write(..) | Call::Read(..));
        assert!(is_guest || !is_blocked, "{error} from {made:?}");
    }
}

fn walk(kind: ContentKind, seed: u32, calls: u32) {
    let mut random = odd_seed(seed).stream("walk", kind as u64);
    let mut host = odd_host(&mut random, kind, seed);
    let mut twin = host.fork(&mut || Ok(())).unwrap();
    let mut model = Model::default();
    for number in 1..=calls {
        let made = odd_call(&mut random, &host, number);
        let before = digest(&host);
        let answer = call(&mut host, &made, WHOLE, &mut |host| model.lose_ballooned(host));
        model.follow(&host, &made, &answer);
        model.lose_ballooned(&host);
        check_answer(&answer, &made);
        check(&host, &model);
        let after = digest(&host);
        if answer.refused {
            assert_eq!(before, after, "{answer:?} to {made:?}");
        }
        // What is refused is refused as a whole.
        let cut = if answer.refused { WHOLE } else { odd_cut(&mut random) };
        assert_eq!(call(&mut twin, &made, cut, &mut |_| {}), answer, "{made:?}");
        assert_eq!(digest(&twin), after, "seed {seed}, call {number}: {made:?}");
        if random.below(20) == 0 {
            twin = fork_goes_its_own_way(&mut random, &host, &model, number);
        }
    }
}

/// A fork is the same; what is done to it is not done to the other. Returns another fork.
fn fork_goes_its_own_way(random: &mut Stream, host: &Host, model: &Model, number: u32) -> Host {
    let before = digest(host);
    let mut other = host.fork(&mut || Ok(())).unwrap();
    assert_eq!(digest(&other), before);
    let mut theirs = model.clone();
    for _ in 0..4 {
        let made = odd_call(random, &other, number + 1000);
        let answer = call(&mut other, &made, odd_cut(random), &mut |other| theirs.lose_ballooned(other));
        theirs.follow(&other, &made, &answer);
        theirs.lose_ballooned(&other);
        check(&other, &theirs);
    }
    drop(other);
    assert_eq!(digest(host), before);
    model.check(host);
    host.fork(&mut || Ok(())).unwrap()
}

#[test]
fn random_histories_keep_every_promise() {
    for kind in KINDS {
        for seed in 0..40 {
            walk(kind, seed, 150);
        }
    }
}
