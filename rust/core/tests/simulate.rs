//! Processes in virtual time: what hand-made cases cost, who waits for whom, and that time is cut anywhere with one result.
#![allow(clippy::unwrap_used, missing_docs)]

use esxcore_core::config::{
    AllocationConfig, CostConfig, DiskCosts, GuestConfig, GuestKind, HostConfig, VmConfig,
};
use esxcore_core::error::Error;
use esxcore_core::host::Host;
use esxcore_core::reference::{Ref, Writes};
use esxcore_core::rng::Seed;
use esxcore_core::simulate::{GuestReport, Simulation, SimulationConfig};
use esxcore_core::types::{Access, ContentKind, VmId};
use esxcore_core::workload::{Batch, Ops, Then, Workload};

const SECOND: u64 = 1_000_000_000;

/// Costs that are easily summed up.
const COSTS: CostConfig = CostConfig {
    access_ns: 100,
    zero_fill_ns: 1000,
    cow_break_ns: 3000,
    scan_page_ns: 0,
    compare_ns: 0,
    balloon_page_ns: 0,
    sample_fault_ns: 0,
    io_copy_ns: 0,
    io_remap_ns: 0,
    dma_setup_ns: 0,
    interrupt_ns: 0,
    fault_ns: 500,
    disk: DiskCosts { position_ns: 900_000, page_ns: 100_000 },
};

/// Goes round `pages` pages, `batch` references at a time; an operation is ten references and 1000 ns.
#[derive(Clone, Debug)]
struct Rounds {
    pages: u32,
    batch: u32,
    at: u32,
    access: Access,
    sleeps: bool,
}

impl Rounds {
    fn new(pages: u32, batch: u32, access: Access) -> Box<Self> {
        Box::new(Self { pages, batch, at: 0, access, sleeps: false })
    }
}

impl Workload for Rounds {
    fn name(&self) -> &str {
        "rounds"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        (0..self.batch).for_each(|_| {
            batch.refs.push(Ref::memory(self.at, self.access));
            self.at = (self.at + 1) % self.pages;
        });
        (batch.ops, batch.op_ns) = (Ops::Each(10), 1000);
        if self.sleeps {
            batch.then = Then::SleepUntil { ns: (now_ns / SECOND + 1) * SECOND };
        }
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

/// A host that divides nothing and neither scans nor samples.
fn quiet_host(pages: u32) -> Host {
    let mut config = HostConfig::bare(pages, ContentKind::Tokens, Seed([1; 32]));
    config.sampling.pages = 0;
    (config.sharing.vm_rate, config.sharing.host_rate) = (0, 0);
    Host::new(config).unwrap()
}

fn power_on(host: &mut Host, name: &str, pages: u32) -> VmId {
    host.power_on(VmConfig::new(name, pages), &mut || Ok(())).unwrap()
}

fn simulation(processors: u32) -> Simulation {
    Simulation::new(SimulationConfig { processors, costs: COSTS }).unwrap()
}

fn operations(simulation: &Simulation, host: &Host, vm: VmId) -> u64 {
    simulation.report(host, vm).unwrap().operations
}

#[test]
fn operations_a_second_are_what_they_cost() {
    let (mut host, mut simulation) = (quiet_host(100), simulation(1));
    let vm = power_on(&mut host, "one", 50);
    simulation.start(&host, vm, Rounds::new(50, 1000, Access::Write), Writes::Unique, 0);
    simulation.advance(&mut host, SECOND).unwrap();
    // 50 zero-fills, then 2000 ns each.
    let due = (SECOND - 50_000) / 2000;
    assert!(
        (due..due + 2).contains(&operations(&simulation, &host, vm)),
        "one that is begun is served whole"
    );
    let report = simulation.report(&host, vm).unwrap();
    assert!((2000..=2125).contains(&report.latencies.permille(500).unwrap()));
    assert!((12_000..=12_750).contains(&report.latencies.permille(1000).unwrap()), "ten zero-fills");
    assert_eq!((report.pressure.some_ns, report.living), (0, 1));
}

#[test]
fn processors_are_shared_alike() {
    for (vms, processors, part) in [(1, 1, 1.0), (2, 1, 0.5), (3, 2, 2.0 / 3.0), (2, 4, 1.0)] {
        let (mut host, mut simulation) = (quiet_host(100), simulation(processors));
        let ids: Vec<VmId> = (0..vms).map(|number| power_on(&mut host, &format!("vm{number}"), 20)).collect();
        for vm in &ids {
            simulation.start(&host, *vm, Rounds::new(20, 70, Access::Read), Writes::Unique, 0);
        }
        simulation.advance(&mut host, 2 * SECOND).unwrap();
        for vm in ids {
            let share = operations(&simulation, &host, vm) as f64 / (2.0 * SECOND as f64 / 2000.0);
            assert!((share - part).abs() < 0.002, "{vms} on {processors}: {share}");
        }
    }
}

#[test]
fn processes_of_a_guest_share_its_one_processor() {
    let (mut host, mut simulation) = (quiet_host(100), simulation(4));
    let vm = power_on(&mut host, "one", 50);
    for _ in 0..4 {
        simulation.start(&host, vm, Rounds::new(50, 100, Access::Read), Writes::Unique, 0);
    }
    simulation.advance(&mut host, SECOND).unwrap();
    let share = operations(&simulation, &host, vm) as f64 * 2000.0 / SECOND as f64;
    assert!((share - 1.0).abs() < 0.002, "{share}");
}

#[test]
fn a_delayed_process_begins_then() {
    let (mut host, mut simulation) = (quiet_host(100), simulation(1));
    let vm = power_on(&mut host, "one", 10);
    simulation.start(&host, vm, Rounds::new(10, 10, Access::Read), Writes::Unique, 3 * SECOND);
    simulation.advance(&mut host, 3 * SECOND).unwrap();
    assert_eq!(operations(&simulation, &host, vm), 0);
    simulation.advance(&mut host, SECOND).unwrap();
    let due = (SECOND - 10_000) / 2000;
    assert!((due..due + 2).contains(&operations(&simulation, &host, vm)));
}

/// Two guests whose memory does not fit the machine: they page.
fn crowded() -> (Host, Simulation, Vec<VmId>) {
    let mut config = HostConfig::new(700, ContentKind::Tokens, Seed([3; 32]));
    config.swap_pages = 900;
    config.sharing.vm_rate = 5;
    let mut host = Host::new(config).unwrap();
    let mut simulation = simulation(1);
    let ids = ["one", "two"].map(|name| {
        let allocation =
            AllocationConfig { min_pages: Some(100), overhead_pages: Some(0), ..AllocationConfig::default() };
        let vm = VmConfig { allocation, ..VmConfig::new(name, 500) };
        host.power_on(vm, &mut || Ok(())).unwrap()
    });
    for (number, vm) in ids.into_iter().enumerate() {
        let mut rounds = Rounds::new(450, 97 + number as u32, Access::Write);
        rounds.sleeps = number == 1;
        simulation.start(&host, vm, rounds, Writes::Unique, 0);
    }
    (host, simulation, ids.to_vec())
}

fn outcome(host: &mut Host, simulation: &Simulation, ids: &[VmId]) -> (u128, Vec<GuestReport>) {
    let reports = ids.iter().map(|vm| simulation.report(host, *vm).unwrap()).collect();
    (host.digest(&mut || Ok(())).unwrap(), reports)
}

#[test]
fn time_may_be_cut_anywhere() {
    let whole = {
        let (mut host, mut simulation, ids) = crowded();
        simulation.advance(&mut host, 30 * SECOND).unwrap();
        host.audit(&mut || Ok(())).unwrap();
        outcome(&mut host, &simulation, &ids)
    };
    assert!(whole.1[0].pressure.some_ns > SECOND, "{:?}", whole.1[0].pressure);
    for cut in [SECOND, 300_000_000, 7_000_001, 1_234_567_891] {
        let (mut host, mut simulation, ids) = crowded();
        while host.now_ns() < 30 * SECOND {
            let ns = cut.min(30 * SECOND - host.now_ns());
            let mut report = Default::default();
            simulation.begin_advance(&host, ns);
            while !simulation.advance_some(&mut host, 3, &mut report).unwrap() {}
        }
        assert_eq!(outcome(&mut host, &simulation, &ids), whole, "cut every {cut} ns");
    }
}

#[test]
fn a_fork_lives_the_same_life() {
    let (mut host, mut simulation, ids) = crowded();
    simulation.advance(&mut host, 7 * SECOND).unwrap();
    let (mut other_host, mut other) = (host.fork(&mut || Ok(())).unwrap(), simulation.clone());
    simulation.advance(&mut host, 20 * SECOND).unwrap();
    other.advance(&mut other_host, 20 * SECOND).unwrap();
    assert_eq!(outcome(&mut host, &simulation, &ids), outcome(&mut other_host, &other, &ids));
}

#[test]
fn who_finds_no_memory_stands_and_loses_time() {
    let (mut host, mut simulation) = (quiet_host(30), simulation(1));
    let vm = power_on(&mut host, "one", 50);
    simulation.start(&host, vm, Rounds::new(50, 100, Access::Write), Writes::Unique, 0);
    simulation.advance(&mut host, 4 * SECOND).unwrap();
    let report = simulation.report(&host, vm).unwrap();
    assert_eq!(report.operations, 3);
    let stood = report.pressure;
    assert!(stood.some_ns > 3 * SECOND + SECOND / 2 && stood.some_ns == stood.full_ns, "{stood:?}");
}

/// Yields nothing from its second batch on.
#[derive(Clone, Debug)]
struct Lazy(u32);

impl Workload for Lazy {
    fn name(&self) -> &str {
        "lazy"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        self.0 += 1;
        match self.0 {
            1 => batch.refs.push(Ref::memory(0, Access::Read)),
            2 => {}
            3 => batch.then = Then::SleepUntil { ns: now_ns },
            4 => return Err(Error::PolicyFailed { policy: "lazy".into(), reason: "fails".into() }),
            _ => batch.then = Then::Ends,
        }
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

#[test]
fn a_workload_that_yields_nothing_is_refused_and_time_goes_on() {
    let (mut host, mut simulation) = (quiet_host(30), simulation(1));
    let vm = power_on(&mut host, "web", 10);
    simulation.start(&host, vm, Box::new(Lazy(0)), Writes::Unique, 0);
    for _ in 0..2 {
        let error = simulation.advance(&mut host, SECOND).unwrap_err();
        assert!(
            matches!(&error, Error::WorkloadStands { vm, workload, .. } if vm == "web" && workload == "lazy")
        );
    }
    assert!(matches!(simulation.advance(&mut host, SECOND), Err(Error::PolicyFailed { .. })));
    // Each time at the moment of the error: after a zero-fill, a reference and nothing else.
    assert_eq!(host.now_ns(), 1100);
    simulation.advance(&mut host, SECOND).unwrap();
    assert_eq!((simulation.report(&host, vm).unwrap().living, host.now_ns()), (0, SECOND + 1100));
}

#[test]
fn a_reference_beyond_the_guest_is_an_error() {
    let (mut host, mut simulation) = (quiet_host(30), simulation(1));
    let vm = power_on(&mut host, "web", 10);
    simulation.start(&host, vm, Rounds::new(11, 30, Access::Read), Writes::Unique, 0);
    let error = simulation.advance(&mut host, SECOND).unwrap_err();
    let beyond = Error::WorkloadBeyond { vm: "web".into(), workload: "rounds".into(), page: 10, pages: 10 };
    assert_eq!(error, beyond);
    // Ten zero-fills, of which one operation is made.
    assert_eq!(host.now_ns(), 10 * 1100 + 1000);
    // Everybody else goes on.
    simulation.advance(&mut host, SECOND).unwrap();
    let report = simulation.report(&host, vm).unwrap();
    assert_eq!((report.killed, report.living, host.now_ns()), (1, 0, SECOND + 12_000));
}

#[test]
fn what_comes_before_a_page_beyond_is_served_wherever_batches_end() {
    let outcome = |batch| {
        let (mut host, mut simulation) = (quiet_host(30), simulation(1));
        let vm = power_on(&mut host, "web", 10);
        simulation.start(&host, vm, Rounds::new(13, batch, Access::Write), Writes::Unique, 0);
        let error = simulation.advance(&mut host, SECOND).unwrap_err();
        // Short batches are more operations, which take longer.
        let ns = SECOND - host.now_ns();
        simulation.advance(&mut host, ns).unwrap();
        let counts = host.vm_stats(host.vm(vm), &mut || Ok(())).unwrap().counts;
        assert_eq!(counts.references, 10);
        (error, host.digest(&mut || Ok(())).unwrap())
    };
    let whole = outcome(39);
    [1, 3, 10, 11, 12].iter().for_each(|batch| assert_eq!(outcome(*batch), whole));
}

/// An access every millisecond, each of a block that is not cached.
#[derive(Clone, Debug)]
struct Cold(u32);

impl Workload for Cold {
    fn name(&self) -> &str {
        "cold"
    }

    fn next(&mut self, _: u64, batch: &mut Batch) -> Result<(), Error> {
        self.0 += 1;
        batch.refs.push(Ref::block(7, self.0.wrapping_mul(0x9e37_79b1), Access::Read));
        batch.op_ns = 9_000_000;
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

#[test]
fn nobody_waits_for_what_was_not_asked_for_yet() {
    // Nine milliseconds of processor time, then one of the disk: eight guests use it to eight tenths.
    let operations = |guests: u32| {
        let (mut host, mut simulation) = (quiet_host(100_000), simulation(100));
        let ids: Vec<VmId> = (0..guests)
            .map(|number| {
                let guest = GuestConfig::of(GuestKind::Linux);
                let vm = VmConfig { guest, ..VmConfig::new(format!("vm{number}"), 10_000) };
                host.power_on(vm, &mut || Ok(())).unwrap()
            })
            .collect();
        for (number, vm) in ids.iter().enumerate() {
            // Boot is over by then.
            let delay_ns = 15 * SECOND + 1_234_567 * number as u64;
            simulation.start(&host, *vm, Box::new(Cold(0)), Writes::Unique, delay_ns);
        }
        simulation.advance(&mut host, 25 * SECOND).unwrap();
        ids.into_iter().map(|vm| operations(&simulation, &host, vm)).min().unwrap()
    };
    let alone = operations(1);
    assert!((985..=1000).contains(&alone), "{alone}");
    assert!(operations(2) > alone * 97 / 100 && operations(6) > alone * 90 / 100);
}

/// Fails at a time of its own.
#[derive(Clone, Debug)]
struct Fails {
    at_ns: u64,
    failed: bool,
}

impl Workload for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        if now_ns >= self.at_ns && !std::mem::replace(&mut self.failed, true) {
            return Err(Error::WorkloadFailed { workload: "fails".into(), reason: "it does".into() });
        }
        batch.then = Then::SleepUntil { ns: if self.failed { u64::MAX } else { self.at_ns } };
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

/// The host's clock says when, not which second was over before.
#[test]
fn an_error_is_made_at_its_moment() {
    let (mut host, mut simulation) = (quiet_host(100), simulation(1));
    let vm = power_on(&mut host, "one", 50);
    simulation.start(&host, vm, Rounds::new(50, 10, Access::Read), Writes::Unique, 0);
    let moments = [123_456_789, 1_009_999_999, 2_000_000_000, 3_999_999_999];
    for at_ns in moments {
        simulation.start(&host, vm, Box::new(Fails { at_ns, failed: false }), Writes::Unique, 0);
    }
    let mut stopped = vec![];
    while host.now_ns() < 5 * SECOND {
        let ns = 5 * SECOND - host.now_ns();
        if simulation.advance(&mut host, ns).is_err() {
            stopped.push(host.now_ns());
        }
    }
    assert_eq!((stopped, host.now_ns()), (moments.to_vec(), 5 * SECOND));
    // Everybody else has lost nothing by it but the turns that those had who failed.
    let share = operations(&simulation, &host, vm) as f64 * 2000.0 / (5.0 * SECOND as f64);
    assert!((0.99..=1.0).contains(&share), "{share}");
}

#[test]
fn an_advance_that_is_given_up_leaves_the_host_where_processes_are() {
    let (mut host, mut simulation) = (quiet_host(100), simulation(1));
    let vm = power_on(&mut host, "one", 50);
    simulation.start(&host, vm, Rounds::new(50, 1000, Access::Read), Writes::Unique, 0);
    simulation.begin_advance(&host, 3 * SECOND);
    let mut now = vec![];
    for slices in [3, 30, 67, 1] {
        (0..slices).for_each(|_| _ = simulation.advance_some(&mut host, 1, &mut Default::default()));
        simulation.interrupt(&mut host);
        now.push(host.now_ns());
    }
    let slice = SECOND / 100;
    assert_eq!(now, [3 * slice, 33 * slice, 99 * slice, 99 * slice]);
    while !simulation.advance_some(&mut host, 1, &mut Default::default()).unwrap() {}
    assert_eq!(host.now_ns(), 3 * SECOND);
}

#[test]
fn time_that_passes_for_the_host_alone_is_slept_through() {
    let (mut host, mut simulation) = (quiet_host(100), simulation(1));
    let vm = power_on(&mut host, "one", 50);
    simulation.start(&host, vm, Rounds::new(50, 1000, Access::Read), Writes::Unique, 0);
    simulation.advance(&mut host, SECOND).unwrap();
    let before = operations(&simulation, &host, vm);
    host.advance(5 * SECOND).unwrap();
    simulation.advance(&mut host, SECOND / 10).unwrap();
    let due = SECOND / 10 / 2000;
    let done = operations(&simulation, &host, vm) - before;
    assert!((due - 1..due + 2).contains(&done), "{done}");
}
