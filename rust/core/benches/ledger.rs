//! What it costs a host to keep its ledger: on, off, and reading it.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use esxcore_core::config::LedgerConfig;
use esxcore_core::ledger::{
    Action, Bound, Cause, Entitlement, Ledger, Mechanism, Moves, Newcomer, Occasion, Row,
};
use esxcore_core::types::{FreeState, VmId};

const VMS: [u64; 3] = [10, 1000, 10_000];
const OCCASION: Occasion<'static> = Occasion {
    cause: Cause::Period,
    policy: "esx2002",
    state: FreeState::Soft,
    available_pages: 1 << 30,
    free_pages: 1 << 20,
    cheapest: Some(0),
};

/// A full ledger of that many machines, so that each record drives an old one out.
fn full(records: u32, vms: u64) -> Ledger {
    let mut ledger = Ledger::new(&LedgerConfig { records });
    for serial in 0..vms {
        let entitlement = Entitlement { max_pages: 65_536, min_pages: 32_768, shares: 2560 };
        let name = format!("vm{serial}").into();
        ledger.came(0, Newcomer { serial, vm: VmId(serial as u16), name, entitlement });
    }
    for time_ns in 0..u64::from(records) {
        ledger.moved(time_ns, time_ns % vms, Mechanism::ZeroFill, 1);
    }
    ledger
}

fn rows(vms: u64, target_pages: u32) -> Vec<Row> {
    let row = |serial| Row {
        serial,
        target_pages,
        allocated_pages: 40_000,
        active_pages: Some(1000),
        price: Some(0.05),
        taxed_pages: 300,
        bound: Bound::None,
    };
    (0..vms).map(row).collect()
}

/// A tick in which three mechanisms moved pages of every machine and every plan changed.
fn tick(ledger: &mut Ledger, totals: &mut [Moves], second: u64) {
    for (serial, totals) in (0..).zip(totals) {
        for mechanism in [Mechanism::BalloonInflate, Mechanism::BalloonFreed, Mechanism::ZeroFill] {
            totals[mechanism] += 1;
        }
        ledger.counted(second, serial, totals);
        ledger.action(second, serial, Action { balloon_pages: second as u32, ..Action::default() });
    }
}

fn writing(c: &mut Criterion) {
    for vms in VMS {
        for (name, records) in [("on", 1 << 14), ("off", 0)] {
            let mut ledger = full(records, vms);
            let mut totals: Vec<_> = ledger.now().vms.iter().map(|vm| vm.moves).collect();
            totals.resize(vms as usize, Moves::default());
            let mut second = 1 << 20;
            c.bench_function(&format!("tick of {vms} VMs, {name}"), |b| {
                b.iter(|| {
                    second += 1;
                    tick(&mut ledger, &mut totals, second);
                });
            });
            let answers = [rows(vms, 100), rows(vms, 200)];
            c.bench_function(&format!("decision of {vms} VMs, all new, {name}"), |b| {
                b.iter(|| {
                    second += 1;
                    ledger.targets(second, &OCCASION, &answers[(second % 2) as usize]);
                });
            });
            c.bench_function(&format!("decision of {vms} VMs, nothing new, {name}"), |b| {
                b.iter(|| {
                    second += 1;
                    ledger.targets(second, &OCCASION, &answers[0]);
                });
            });
        }
    }
}

fn reading(c: &mut Criterion) {
    for vms in VMS {
        let ledger = full(1 << 14, vms);
        println!("{vms} VMs: {} bytes", ledger.bytes());
        let middle = (ledger.oldest_ns() + ledger.now().changed_ns) / 2;
        c.bench_function(&format!("why among {vms} VMs"), |b| {
            b.iter(|| black_box(ledger.why(0, middle)));
        });
    }
}

criterion_group!(benches, writing, reading);
criterion_main!(benches);
