//! Figure 2: a file server's work in a virtual machine of some size, in a bigger one that a balloon has brought down to
//! that size, and in one that the server pages down to it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use esxcore_core::config::{
    AllocationConfig, CostConfig, DriverConfig, GuestConfig, GuestKind, HostConfig, VmConfig,
};
use esxcore_core::host::{Host, VmChanges};
use esxcore_core::reference::Writes;
use esxcore_core::rng::Seed;
use esxcore_core::simulate::{Simulation, SimulationConfig};
use esxcore_core::types::ContentKind;
use esxcore_core::workload::dbench::{self, Dbench, DbenchConfig, Load};
use esxcore_core::workload::{Files, FilesConfig, Toucher, ToucherConfig, Workload};

const SECOND: u64 = 1_000_000_000;
const MIB: u32 = 256;
/// The size of the machine that is made smaller, in MiB.
const WHOLE: u32 = 256;
/// The sizes that it comes down to.
const SIZES: [u32; 4] = [128, 160, 192, 224];
/// When the clients begin, balloons having grown.
const BEGIN_S: u64 = 60;

/// How a virtual machine comes to its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Native,
    Ballooned,
    Paged,
}

/// What the clients do.
#[derive(Clone)]
enum Server {
    Dbench(Arc<Load>, u32),
    Files(u32),
}

/// Clients of the paper's benchmark, if this system has its load file.
fn dbench(clients: u32) -> Option<Server> {
    let reader = BufReader::new(File::open(dbench::find()?).unwrap());
    Some(Server::Dbench(Arc::new(Load::parse("client.txt", reader).unwrap()), clients))
}

impl Server {
    fn clients(&self) -> Vec<Box<dyn Workload>> {
        match self {
            Self::Dbench(load, clients) => {
                let client = |number| DbenchConfig::new(load.clone(), number);
                (0..*clients).map(|number| Box::new(Dbench::new(client(number)).unwrap()) as _).collect()
            }
            Self::Files(clients) => (0..*clients)
                .map(|number| {
                    let stream = Seed([9; 32]).stream("workload", u64::from(number));
                    Box::new(Files::new(FilesConfig::new(600), stream).unwrap()) as _
                })
                .collect(),
        }
    }
}

/// A host of 1 GiB that does not scan.
fn world(costs: CostConfig) -> (Host, Simulation) {
    let mut config = HostConfig::new(1024 * MIB, ContentKind::Tokens, Seed([5; 32]));
    (config.sharing.vm_rate, config.sharing.host_rate) = (0, 0);
    config.swap_pages = 1024 * MIB;
    (Host::new(config).unwrap(), Simulation::new(SimulationConfig { processors: 2, costs }).unwrap())
}

/// A Linux guest that thinks it has so much memory; one that is to be paged has no balloon driver.
fn machine(way: Way, mib: u32) -> VmConfig {
    let allocation =
        AllocationConfig { min_pages: Some(1), overhead_pages: Some(0), ..AllocationConfig::default() };
    let start_s = if way == Way::Paged { None } else { Some(0) };
    let driver = DriverConfig { start_s, ..DriverConfig::default() };
    VmConfig {
        allocation,
        driver,
        guest: GuestConfig::of(GuestKind::Linux),
        ..VmConfig::new("one", mib * MIB)
    }
}

/// Operations a second of the last two thirds of so many: at first the cache fills, whatever its size.
fn throughput(server: &Server, costs: CostConfig, way: Way, mib: u32, work: u64) -> f64 {
    let (mut host, mut simulation) = world(costs);
    let vm =
        host.power_on(machine(way, if way == Way::Native { mib } else { WHOLE }), &mut || Ok(())).unwrap();
    host.configure(vm, VmChanges { max_pages: Some(mib * MIB), ..VmChanges::default() }).unwrap();
    for client in server.clients() {
        simulation.start(&host, vm, client, Writes::Unique, BEGIN_S * SECOND);
    }
    simulation.advance(&mut host, BEGIN_S * SECOND).unwrap();
    let mut until = |least: u64| loop {
        let operations = simulation.report(&host, vm).map_or(0, |report| report.operations);
        if operations >= least {
            return (operations, host.now_ns());
        }
        simulation.advance(&mut host, SECOND).unwrap();
    };
    let (before, begin_ns) = until(work / 3);
    let (after, end_ns) = until(work);
    (after - before) as f64 * SECOND as f64 / (end_ns - begin_ns) as f64
}

/// Operations a second in a virtual machine of that size, in one ballooned down to it, and in one paged down to it until
/// `paged` are through.
fn row(server: &Server, costs: CostConfig, mib: u32, [work, paged]: [u64; 2]) -> [f64; 3] {
    [(Way::Native, work), (Way::Ballooned, work), (Way::Paged, paged)]
        .map(|(way, work)| throughput(server, costs, way, mib, work))
}

/// What a balloon costs is what the kernel's tables of the pages in it take, and levels of its free list: some 4 MiB of the
/// 128 at most. It shrinks with the balloon; a file of random sizes more or less in the cache moves it by less than 0.3 %.
#[test]
fn a_balloon_costs_what_the_tables_of_its_pages_take() {
    let server = Server::Files(4);
    let rows = SIZES.map(|mib| row(&server, CostConfig::NVME, mib, [900_000, 150_000]));
    let gaps = rows.map(|[native, ballooned, _]| 1.0 - ballooned / native);
    assert!(rows.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] < pair[1][1]), "{rows:?}");
    assert!(gaps.iter().all(|gap| (0.0..0.05).contains(gap)), "{gaps:?}");
    assert!(gaps.windows(2).all(|pair| pair[1] < pair[0] + 0.003) && gaps[3] < gaps[0] / 2.0, "{gaps:?}");
    assert!(rows.iter().all(|[_, ballooned, paged]| *paged < 0.5 * ballooned), "{rows:?}");
    let [native, ballooned, paged] = row(&server, CostConfig::NVME, WHOLE, [150_000, 150_000]);
    assert!(native == ballooned && native == paged, "nothing was taken: {native} {ballooned} {paged}");
}

/// The paper's load, if this system has it. Its clients are in step at first and chance moves a point by a percent.
#[test]
fn dbench_likes_memory_and_balloons_better_than_paging() {
    let Some(server) = dbench(40) else { return };
    let rows = [128, 224].map(|mib| row(&server, CostConfig::NVME, mib, [400_000, 40_000]));
    for [native, ballooned, paged] in rows {
        assert!(
            ballooned < native * 1.01 && ballooned > native * 0.94 && paged < 0.5 * ballooned,
            "{rows:?}"
        );
    }
    assert!(rows[0][0] < rows[1][0] && rows[0][1] < rows[1][1], "{rows:?}");
}

/// A kernel that has lost its pages to the server needs those again that it works with, and everybody waits for them.
#[test]
fn a_kernel_needs_its_own_pages() {
    let (mut host, mut simulation) = world(CostConfig::NVME);
    let vm = host.power_on(machine(Way::Paged, 64), &mut || Ok(())).unwrap();
    let toucher = ToucherConfig { refs_per_s: Some(100_000), ..ToucherConfig::new(16) };
    let toucher = Toucher::new(toucher, Seed([9; 32]).stream("workload", 0)).unwrap();
    simulation.start(&host, vm, Box::new(toucher), Writes::Unique, 0);
    simulation.advance(&mut host, 30 * SECOND).unwrap();
    let before_ns = simulation.report(&host, vm).unwrap().pressure.full_ns;
    for max_pages in [8, 64 * MIB] {
        host.configure(vm, VmChanges { max_pages: Some(max_pages), ..VmChanges::default() }).unwrap();
    }
    simulation.advance(&mut host, 10 * SECOND).unwrap();
    // A quarter of its 2048 pages of code and data, the process's 16 pages, and a table or two.
    let stats = host.vm_stats(host.vm(vm), &mut || Ok(())).unwrap();
    assert!((512..512 + 30).contains(&stats.counts.page_ins), "{:?}", stats.counts);
    let stood_ns = simulation.report(&host, vm).unwrap().pressure.full_ns - before_ns;
    assert!(stood_ns > 512 * 82_000, "{stood_ns}");
}
