//! What the paper measured of hosts that divide their memory, and how steady they are.

use std::sync::Arc;

use esxcore_core::config::{BalanceConfig, BeforeSwap, DriverConfig, HostConfig, SamplingConfig, VmConfig};
use esxcore_core::error::Error;
use esxcore_core::host::{Host, Vm};
use esxcore_core::ledger::Event;
use esxcore_core::pmap::State;
use esxcore_core::policy::{AllocationPolicy, HostView, MinFunding, TaxRate};
use esxcore_core::rng::Seed;
use esxcore_core::types::{Access, FreeState, PageBatch, VmId};

use crate::small::{config, power_on, quiet, seconds, touch};

const MIB: u32 = 256;

/// Free memory may be anywhere between two thresholds before anything is reclaimed: 2 % of 381 MiB.
const BETWEEN_HIGH_AND_SOFT_MIB: f64 = 7.7;

/// Min-funding revocation that is told something else about the host than it would see.
#[derive(Debug)]
struct Told {
    policy: MinFunding,
    available_pages: Option<u64>,
    active_pages: Vec<u32>,
}

impl AllocationPolicy for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error> {
        let available_pages = self.available_pages.unwrap_or(view.available_pages);
        let active_pages = if self.active_pages.is_empty() { &view.active_pages } else { &self.active_pages };
        self.policy.targets(&HostView { available_pages, active_pages: active_pages.clone(), ..view.clone() })
    }
}

fn tax(rate: f64) -> MinFunding {
    MinFunding { tax: TaxRate::new(rate).unwrap() }
}

/// Two virtual machines of 256 MiB on a machine that leaves them about 358 MiB, and a policy that is told exactly that and
/// how much they use.
fn two(min_mib: u32, active_mib: [u32; 2], policy: MinFunding) -> (Host, [VmId; 2]) {
    // 358 MiB and 6 %.
    let config_ = HostConfig { sampling: SamplingConfig::default(), ..quiet(381 * MIB) };
    let mut host = Host::new(config_).unwrap();
    let told = Told {
        policy,
        available_pages: Some(u64::from(358 * MIB)),
        active_pages: active_mib.map(|mib| mib * MIB).to_vec(),
    };
    host.set_policy(Arc::new(told)).unwrap();
    let vms = ["idle", "busy"].map(|name| power_on(&mut host, config(name, 256 * MIB, min_mib * MIB)));
    (host, vms)
}

/// The first pages of a guest that it did not give to its balloon; it keeps off those.
fn own(host: &Host, vm: VmId, pages: u32) -> Vec<u32> {
    let entries = (0..).zip(host.memory().vm(vm).pmap().entries());
    let own = entries.filter(|(_, entry)| entry.state() != State::Ballooned).map(|(ppn, _)| ppn);
    own.take(pages as usize).collect()
}

/// Lets guests write each second to as much as they need, growing to it by 4 MiB a second.
fn run(host: &mut Host, vms: [VmId; 2], active_mib: [u32; 2], for_s: u32) {
    for _ in 0..for_s {
        for (vm, active) in vms.into_iter().zip(active_mib) {
            let memory = host.memory().vm(vm);
            let most = (active * MIB).min(memory.resident() + memory.swapped() + 4 * MIB);
            let report = host.touch(vm, &own(host, vm, most), Access::Write).unwrap();
            // Blocked guests wait; nothing else stops one.
            assert!(matches!(report.stopped, None | Some(Error::Blocked { .. })), "{report:?}");
        }
        seconds(host, 1);
    }
}

fn allocated_mib(host: &Host) -> [f64; 2] {
    [0, 1].map(|place| f64::from(host.memory().vm(host.vms()[place].id).resident()) / f64::from(MIB))
}

/// Figure 7 in its closed form: P = tau A + S / sum S (M - tau sum A), within min and max.
#[test]
fn the_tax_moves_idle_memory_to_where_it_is_used() {
    for (min, active, expected) in
        [(128, [20, 150], [130.25, 227.75]), (128, [20, 200], [128.0, 230.0]), (0, [20, 200], [111.5, 246.5])]
    {
        let (mut host, vms) = two(min, active, tax(0.0));
        for vm in vms {
            touch(&mut host, vm, 0..170 * MIB, Access::Write);
        }
        // Both ask for all there is.
        let everything = [256, 256];
        run(&mut host, vms, everything, 60);
        let targets =
            |host: &Host| [0, 1].map(|place| f64::from(host.vms()[place].target_pages) / f64::from(MIB));
        assert_eq!(targets(&host), [179.0, 179.0]);
        for allocated in allocated_mib(&host) {
            assert!((allocated - 179.0).abs() < BETWEEN_HIGH_AND_SOFT_MIB, "{:?}", allocated_mib(&host));
        }
        let told = Told {
            policy: tax(0.75),
            available_pages: Some(u64::from(358 * MIB)),
            active_pages: active.map(|mib| mib * MIB).to_vec(),
        };
        host.set_policy(Arc::new(told)).unwrap();
        // The idle one goes on with what it needs, the busy one takes what it gets.
        run(&mut host, vms, [active[0], 256], 8 * 15);
        for (target, expected) in targets(&host).into_iter().zip(expected) {
            assert!((target - expected).abs() < 0.01, "{:?}", targets(&host));
        }
        for (allocated, expected) in allocated_mib(&host).into_iter().zip(expected) {
            assert!(
                (allocated - expected).abs() < BETWEEN_HIGH_AND_SOFT_MIB,
                "{:?} for {expected}",
                allocated_mib(&host)
            );
        }
    }
}

/// A small host that is overcommitted by a seventh: three guests that have written all they have; two go on
/// with a part of it, one with all.
fn steady(seed: u8, policy: Arc<dyn AllocationPolicy>) -> (Host, Vec<(VmId, u32)>) {
    let plain = HostConfig { sampling: SamplingConfig::default(), seed: Seed([seed; 32]), ..quiet(10_000) };
    let mut host = Host::new(plain).unwrap();
    host.set_policy(policy).unwrap();
    let mut guests = vec![];
    for (name, active) in [("one", 400), ("two", 1000), ("three", 4000)] {
        let vm = power_on(&mut host, config(name, 4000, 1000));
        guests.push((vm, active));
        for pages in (0..=3800).step_by(100) {
            let report = host.touch(vm, &own(&host, vm, pages), Access::Write).unwrap();
            assert!(matches!(report.stopped, None | Some(Error::Blocked { .. })), "{report:?}");
            run_steady(&mut host, &guests, 1);
        }
    }
    (host, guests)
}

fn run_steady(host: &mut Host, guests: &[(VmId, u32)], for_s: u32) {
    for _ in 0..for_s {
        for (vm, active) in guests {
            host.touch(*vm, &own(host, *vm, *active), Access::Read).unwrap();
        }
        seconds(host, 1);
    }
}

#[test]
fn with_exact_activity_targets_come_to_rest() {
    let told = Told { policy: MinFunding::default(), available_pages: None, active_pages: vec![] };
    let (mut host, guests) = steady(1, Arc::new(told));
    let active_pages = guests.iter().map(|(_, active)| *active).collect();
    host.set_policy(Arc::new(Told { policy: MinFunding::default(), available_pages: None, active_pages }))
        .unwrap();
    run_steady(&mut host, &guests, 600);
    let targets = |host: &Host| host.vms().iter().map(|vm| vm.target_pages).collect::<Vec<u32>>();
    let before = targets(&host);
    for _ in 0..60 {
        run_steady(&mut host, &guests, 10);
        assert_eq!(targets(&host), before);
    }
}

#[test]
fn with_sampling_states_seldom_change() {
    for seed in 0..6 {
        let (mut host, guests) = steady(seed, Arc::new(MinFunding::default()));
        run_steady(&mut host, &guests, 600);
        let given_up = |vm: &Vm| host.memory().vm(vm.id).ballooned() + host.memory().vm(vm.id).swapped();
        assert!(host.vms().iter().map(given_up).sum::<u32>() > 1000);
        let from_ns = host.now_ns();
        run_steady(&mut host, &guests, 3600);
        let records = host.ledger().unwrap().records();
        assert!(host.ledger().unwrap().oldest_ns() < from_ns, "nothing of the hour is forgotten");
        let changes = records
            .filter(|record| record.time_ns > from_ns && matches!(record.event, Event::State { .. }))
            .count();
        assert!(changes <= 4, "{changes} with seed {seed}");
        assert!(host.free_state() <= Some(FreeState::Soft));
    }
}

/// Five guests zero all their memory while they boot, before their balloon drivers start; then most write data.
fn zero_heavy_boot(before_swap: BeforeSwap) -> u64 {
    let balance = BalanceConfig { before_swap, ..BalanceConfig::default() };
    let mut host = Host::new(HostConfig { balance: Some(balance), ..quiet(16_384) }).unwrap();
    let late = DriverConfig { start_s: Some(60), ..DriverConfig::default() };
    let vms = ["a", "b", "c", "d", "e"]
        .map(|name| power_on(&mut host, VmConfig { driver: late, ..config(name, 5000, 2000) }));
    for from in (0..5000).step_by(500) {
        for vm in vms {
            let (mut ppns, zeros): (Vec<u32>, _) = ((from..from + 500).collect(), [0; 500]);
            while !ppns.is_empty() {
                let report = host.write(vm, &ppns, PageBatch::Tokens(&zeros[..ppns.len()])).unwrap();
                assert!(matches!(report.stopped, None | Some(Error::Blocked { .. })), "{report:?}");
                ppns.drain(..report.done);
                if !ppns.is_empty() {
                    seconds(&mut host, 1);
                }
            }
        }
        // A part of it is data.
        for vm in vms {
            host.touch(vm, &(from..from + 50).collect::<Vec<u32>>(), Access::Write).unwrap();
        }
        seconds(&mut host, 1);
    }
    seconds(&mut host, 20);
    host.stats().into_iter().find(|(name, _)| *name == "page_outs").unwrap().1
}

#[test]
fn sharing_before_swapping_saves_a_zero_heavy_boot() {
    let [sharing, writing] = [BeforeSwap::Share, BeforeSwap::Write].map(zero_heavy_boot);
    assert!(writing >= 5 * sharing.max(1), "{sharing} and {writing} pages were written");
}
