//! What the ledger replays is what was: states, targets, who was held up, and what each mechanism moved, tick by tick.

use esxcore_core::config::{BalanceConfig, HostConfig, LedgerConfig};
use esxcore_core::host::Host;
use esxcore_core::ledger::{Mechanism, Situation};
use esxcore_core::share::ScanReport;
use esxcore_core::types::{ContentKind, FreeState};

use crate::small::SECOND;
use crate::walk::{odd_call, odd_host, odd_seed};
use crate::world::{Call, WHOLE, call};

/// One virtual machine: serial, target, whether it stands, pages in its balloon, and pages moved by other mechanisms.
type Row = (u64, u32, bool, u64, Vec<(Mechanism, u64)>);

const ELSEWHERE: [Mechanism; 8] = [
    Mechanism::Load,
    Mechanism::ZeroFill,
    Mechanism::CowBreak,
    Mechanism::Merge,
    Mechanism::PageOut,
    Mechanism::EmergencyPageOut,
    Mechanism::SharedBeforeSwap,
    Mechanism::PageIn,
];

fn live(host: &Host) -> (FreeState, Vec<Row>) {
    let row = |vm: &esxcore_core::host::Vm| {
        let memory = host.memory().vm(vm.id);
        let counts = &memory.counts;
        let pages = [
            counts.loads,
            counts.zero_fills,
            counts.cow_breaks,
            counts.merges - counts.shared_before_swap,
            counts.page_outs - counts.emergency_page_outs,
            counts.emergency_page_outs,
            counts.shared_before_swap,
            counts.page_ins,
        ];
        let moves = ELSEWHERE.into_iter().zip(pages).collect();
        (vm.serial, vm.target_pages, vm.blocked, u64::from(memory.ballooned()), moves)
    };
    (host.free_state().unwrap(), host.vms().iter().map(row).collect())
}

/// Of virtual machines that no policy has decided about yet, the ledger knows no target.
fn replayed(situation: &Situation, was: &(FreeState, Vec<Row>)) -> (FreeState, Vec<Row>) {
    let rows = situation.vms.iter().zip(&was.1).map(|(vm, was)| {
        let target = vm.target_pages().unwrap_or(was.1);
        let balloon = vm.moves[Mechanism::BalloonInflate]
            - vm.moves[Mechanism::BalloonDeflate]
            - vm.moves[Mechanism::Pop];
        let moves = ELSEWHERE.into_iter().map(|mechanism| (mechanism, vm.moves[mechanism])).collect();
        (vm.serial, target, vm.action.blocked, balloon, moves)
    });
    (situation.state, rows.collect())
}

/// Half a second; what policies answer wrongly is in the ledger too.
fn half_a_second(host: &mut Host) {
    host.begin_advance(SECOND / 2);
    while host.advance_some(u32::MAX, &mut ScanReport::default()) != Ok(true) {}
}

/// Returns how many ticks could be compared.
fn history(seed: u32, records: u32) -> usize {
    let mut random = odd_seed(seed).stream("history", u64::from(records));
    let config = odd_host(&mut random, ContentKind::Tokens, seed).config().clone();
    let rules = BalanceConfig { ledger: LedgerConfig { records }, ..config.balance.clone().unwrap() };
    let mut host = Host::new(HostConfig { balance: Some(rules), ..config }).unwrap();
    let mut ticks = vec![];
    for number in 1..200 {
        half_a_second(&mut host);
        for part in 0..3 {
            let made = odd_call(&mut random, &host, 3 * number + part);
            if !matches!(made, Call::Advance(_)) {
                call(&mut host, &made, WHOLE, &mut |_| {});
            }
        }
        half_a_second(&mut host);
        ticks.push((host.now_ns(), live(&host)));
    }
    let ledger = host.ledger().unwrap();
    assert!(ledger.records().len() <= records as usize);
    ticks.retain(|(time_ns, _)| *time_ns >= ledger.oldest_ns());
    let mut replay = ledger.replay();
    for (time_ns, was) in &ticks {
        assert_eq!(ledger.at(*time_ns).unwrap().vms.len(), was.1.len());
        assert_eq!(
            &replayed(replay.until(*time_ns), was),
            was,
            "seed {seed}, {records} records, {time_ns} ns"
        );
        assert_eq!(&replayed(&ledger.at(*time_ns).unwrap(), was), was);
    }
    ticks.len()
}

#[test]
fn a_replay_is_what_was() {
    let (mut whole, mut cut) = (0, 0);
    for seed in 0..12 {
        whole += usize::from(history(seed, 1 << 14) == 199);
        for records in [1, 20, 300] {
            cut += usize::from((1..199).contains(&history(seed, records)));
        }
    }
    assert!(whole == 12 && cut > 24, "{whole} and {cut}");
}

#[test]
fn why_a_target_is_what_it_is_can_be_asked() {
    let mut host = Host::new(crate::small::quiet(1000)).unwrap();
    let vm = crate::small::power_on(&mut host, crate::small::config("one", 500, 100));
    crate::small::seconds(&mut host, 1);
    assert!(host.explain(vm, host.now_ns()).unwrap().to_string().contains("500"));
    let bare = Host::new(HostConfig { balance: None, ..crate::small::quiet(10) }).unwrap();
    assert!(bare.ledger().is_none() && bare.view().is_err());
}
