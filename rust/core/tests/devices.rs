//! Devices in virtual time: what packets and transfers of disks cost, what becomes of their pages, and that time is cut
//! anywhere with one result.
#![allow(clippy::unwrap_used, missing_docs)]

use esxcore_core::config::{
    AllocationConfig, CostConfig, DeviceConfig, DiskCosts, DmaConfig, GuestConfig, GuestKind, HostConfig,
    IoMode, NicConfig, Reach, RemapConfig, Reuse, VmConfig,
};
use esxcore_core::error::Error;
use esxcore_core::host::Host;
use esxcore_core::memory::Counts;
use esxcore_core::reference::{Ref, Writes};
use esxcore_core::remap::IoCounts;
use esxcore_core::rng::Seed;
use esxcore_core::simulate::{GuestReport, Simulation, SimulationConfig};
use esxcore_core::types::{Access, ContentKind, PageBatch, Ppn, VmId};
use esxcore_core::workload::{Batch, Files, FilesConfig, Ops, Workload};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

/// Costs that are easily summed up: a packet takes 10 µs, a copy 100, a move 400.
const COSTS: CostConfig = CostConfig {
    access_ns: 100,
    zero_fill_ns: 0,
    cow_break_ns: 0,
    scan_page_ns: 0,
    compare_ns: 0,
    balloon_page_ns: 0,
    sample_fault_ns: 0,
    io_copy_ns: 100_000,
    io_remap_ns: 400_000,
    dma_setup_ns: 2_000,
    interrupt_ns: 8_000,
    fault_ns: 0,
    disk: DiskCosts { position_ns: 0, page_ns: 0 },
};

/// An operation each 1000 ns, for ever.
#[derive(Clone, Debug)]
struct Busy;

impl Workload for Busy {
    fn name(&self) -> &str {
        "busy"
    }

    fn next(&mut self, _: u64, batch: &mut Batch) -> Result<(), Error> {
        batch.refs = vec![Ref::memory(0, Access::Read); 1000];
        (batch.ops, batch.op_ns) = (Ops::Each(1), 900);
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

/// A host of 1000 pages of which the first 100 are low.
fn host(mode: IoMode, threshold: u32) -> Host {
    let mut config = HostConfig::bare(1000, ContentKind::Tokens, Seed([1; 32]));
    (config.sampling.pages, config.sharing.vm_rate, config.sharing.host_rate) = (0, 0, 0);
    config.remap = RemapConfig { low_pages: Some(100), threshold, half_life_s: None, mode, ..config.remap };
    Host::new(config).unwrap()
}

/// Takes the lowest pages, so that who comes after it lies high.
fn fill_low(host: &mut Host, pages: u32) {
    let vm = host.power_on(VmConfig::new("low", pages), &mut || Ok(())).unwrap();
    host.touch(vm, &(0..pages).collect::<Vec<_>>(), Access::Write).unwrap();
}

fn nic(tx: u32, rx: u32) -> NicConfig {
    let rate = |packets| vec![(0, packets)];
    NicConfig { tx: rate(tx), rx: rate(rx), tx_ring: 10, rx_ring: 10, ..NicConfig::default() }
}

fn power_on(host: &mut Host, name: &str, pages: u32, nic: NicConfig) -> VmId {
    let devices = DeviceConfig { nic: Some(nic), disk: None };
    host.power_on(VmConfig { devices, ..VmConfig::new(name, pages) }, &mut || Ok(())).unwrap()
}

fn simulation() -> Simulation {
    Simulation::new(SimulationConfig { processors: 1, costs: COSTS }).unwrap()
}

/// What became of a virtual machine in so many seconds after the first, in which its driver is loaded.
fn live(host: &mut Host, vm: VmId, seconds: u64) -> GuestReport {
    let mut simulation = simulation();
    simulation.start(host, vm, Box::new(Busy), Writes::Same, 0);
    simulation.advance(host, SECOND).unwrap();
    let before = simulation.report(host, vm).unwrap();
    assert_eq!((before.packets, before.dropped), (0, 0));
    simulation.advance(host, seconds * SECOND).unwrap();
    host.audit(&mut || Ok(())).unwrap();
    let mut report = simulation.report(host, vm).unwrap();
    report.operations -= before.operations;
    report
}

#[test]
fn copies_end_when_all_buffers_have_had_theirs() {
    let mut host = host(IoMode::Remap, 4);
    fill_low(&mut host, 50);
    let vm = power_on(&mut host, "web", 200, nic(300, 500));
    let report = live(&mut host, vm, 3);
    assert_eq!((report.packets, report.dropped), (3 * 800, 0));
    let io = *host.io_counts(vm);
    // Low memory is filled first: the guest's page 0 is low, and its 20 buffers are.
    assert_eq!((io.pages, io.copies), (2400, 0));
    assert!((180..200).all(|ppn| host.memory().entry(vm, Ppn(ppn)).state().mpn().unwrap().0 < 100));
}

/// A host whose guest has its buffers in high memory, and room in low memory.
fn with_high_buffers(mode: IoMode, threshold: u32, nic: NicConfig) -> (Host, VmId) {
    let mut host = host(mode, threshold);
    fill_low(&mut host, 100);
    let vm = power_on(&mut host, "web", 200, nic);
    host.touch(vm, &(0..200).collect::<Vec<_>>(), Access::Write).unwrap();
    let low = host.find("low").unwrap().id;
    host.power_off(low);
    (host, vm)
}

#[test]
fn buffers_times_threshold_is_what_is_copied() {
    for threshold in [1, 4, 16] {
        let (mut host, vm) = with_high_buffers(IoMode::Remap, threshold, nic(1000, 1000));
        let report = live(&mut host, vm, 10);
        assert_eq!((report.packets, report.dropped), (20_000, 0));
        let io = *host.io_counts(vm);
        assert_eq!((io.copies, io.remaps), (20 * u64::from(threshold), 20));
        let due = 20_000 * 10_000 + io.copies * 100_000 + io.remaps * 400_000;
        assert_eq!(report.device_ns, due);
    }
    let few = NicConfig { reuse: Reuse::Few(2), ..nic(1000, 1000) };
    let (mut host, vm) = with_high_buffers(IoMode::Remap, 16, few);
    live(&mut host, vm, 10);
    assert_eq!(host.io_counts(vm).copies, 4 * 16, "two of each ring");
}

#[test]
fn copies_slow_processes_down_and_moves_end_that() {
    let lived = |mode, reach| {
        let (mut host, vm) = with_high_buffers(mode, 4, NicConfig { reach, ..nic(1000, 1000) });
        live(&mut host, vm, 10)
    };
    // 2000 packets a second take 20 ms of each, or 220 with their copies.
    let alone = 10.0 * SECOND as f64 / 1000.0;
    let part = |report: &GuestReport| report.operations as f64 / alone;
    let (copied, moved) = (lived(IoMode::AlwaysCopy, Reach::Low), lived(IoMode::Remap, Reach::Low));
    let (reached, mapped) = (lived(IoMode::AlwaysCopy, Reach::All), lived(IoMode::IoMmu, Reach::Low));
    assert!((part(&copied) - 0.78).abs() < 0.001, "{}", part(&copied));
    assert!((part(&reached) - 0.98).abs() < 0.001, "{}", part(&reached));
    // Once: 80 copies and 20 moves are 16 ms.
    assert!((part(&moved) - (0.98 - 0.0016)).abs() < 0.001, "{}", part(&moved));
    assert_eq!(mapped.operations, reached.operations);
}

#[test]
fn packets_beyond_what_the_processor_can_do_are_dropped() {
    let (mut host, vm) = with_high_buffers(IoMode::AlwaysCopy, 16, nic(20_000, 20_000));
    let report = live(&mut host, vm, 2);
    // 110 µs each are 9091 a second, and nothing is left for processes.
    assert_eq!(report.packets + report.dropped, 80_000);
    assert!((18_180..18_200).contains(&report.packets), "{}", report.packets);
    assert!(report.operations < 3, "{}", report.operations);
}

#[test]
fn rates_change_when_they_are_said_to() {
    let (mut host, vm) =
        with_high_buffers(IoMode::Remap, 16, NicConfig { tx: vec![(2, 70), (4, 5), (5, 0)], ..nic(0, 0) });
    let report = live(&mut host, vm, 9);
    assert_eq!(report.packets, 70 + 70 + 5);
}

#[test]
fn buffers_that_are_gone_come_back() {
    let (mut host, vm) = with_high_buffers(IoMode::Remap, 16, nic(100, 0));
    let mut simulation = simulation();
    simulation.advance(&mut host, SECOND).unwrap();
    let before = host.memory().vm(vm).counts;
    host.touch(vm, &[0], Access::Read).unwrap();
    simulation.advance(&mut host, SECOND).unwrap();
    assert_eq!(host.memory().vm(vm).counts.references - before.references, 101, "transfers are accesses");
    // A guest that has never used its buffers has them filled with zeroes first.
    let fresh = power_on(&mut host, "fresh", 50, nic(100, 100));
    simulation.advance(&mut host, 2 * SECOND).unwrap();
    assert_eq!(host.memory().vm(fresh).counts.zero_fills, 20);
    assert_eq!(simulation.report(&host, fresh).unwrap().packets, 200);
    host.power_off(fresh);
    simulation.advance(&mut host, SECOND).unwrap();
    host.audit(&mut || Ok(())).unwrap();
}

#[test]
fn without_memory_packets_are_dropped_and_the_guest_stands() {
    let mut host = host(IoMode::Remap, 4);
    let vm = power_on(&mut host, "web", 50, nic(1000, 0));
    fill_low(&mut host, 1000);
    let mut simulation = simulation();
    simulation.advance(&mut host, 3 * SECOND).unwrap();
    let report = simulation.report(&host, vm).unwrap();
    assert_eq!((report.packets, report.dropped, report.held_s), (0, 2000, 2));
    let low = host.find("low").unwrap().id;
    host.power_off(low);
    simulation.advance(&mut host, SECOND).unwrap();
    assert_eq!(simulation.report(&host, vm).unwrap().packets, 1000);
}

/// A Linux guest that reads and writes files more than its memory holds.
fn at_files(disk: Option<DmaConfig>, mode: IoMode, seconds: u64) -> (Host, VmId, GuestReport) {
    let mut config = HostConfig::bare(40_000, ContentKind::Tokens, Seed([1; 32]));
    config.remap = RemapConfig { low_pages: Some(1000), half_life_s: None, mode, ..config.remap };
    let mut host = Host::new(config).unwrap();
    fill_low(&mut host, 1000);
    let guest = GuestConfig { image: Some("one".into()), ..GuestConfig::of(GuestKind::Linux) };
    let devices = DeviceConfig { nic: None, disk };
    let vm = VmConfig { guest, devices, ..VmConfig::new("files", 20_000) };
    let vm = host.power_on(vm, &mut || Ok(())).unwrap();
    let mut simulation = Simulation::new(SimulationConfig::default()).unwrap();
    let files = FilesConfig { max_blocks: 4000, run_blocks: 16, ..FilesConfig::new(60) };
    let files = Files::new(files, simulation.next_stream(&host, vm)).unwrap();
    simulation.start(&host, vm, Box::new(files), Writes::Unique, 11 * SECOND);
    simulation.advance(&mut host, seconds * SECOND).unwrap();
    host.audit(&mut || Ok(())).unwrap();
    let report = simulation.report(&host, vm).unwrap();
    (host, vm, report)
}

#[test]
fn a_disk_transfers_what_the_guest_reads_and_writes() {
    let (host, vm, copied) = at_files(Some(DmaConfig::default()), IoMode::AlwaysCopy, 20);
    let (io, guest) = (*host.io_counts(vm), host.guest_memory(vm).1);
    let written = guest.write_backs + guest.swap_outs;
    assert!(guest.file_reads > 6144 && written > 100, "{guest:?}");
    assert_eq!(io.pages, guest.file_reads + guest.swap_ins + written);
    assert_eq!(io.copies, io.pages, "all of its memory is high");
    let (reaching, near, reached) = at_files(Some(DmaConfig { reach: Reach::All }), IoMode::AlwaysCopy, 20);
    assert!(reaching.io_counts(near).pages > io.pages / 2);
    assert_eq!(reaching.io_counts(near).copies, 0);
    assert!(reached.device_ns / reached.operations < copied.device_ns / copied.operations);
}

#[test]
fn what_a_disk_brings_is_what_the_file_holds() {
    let (with, vm, _) = at_files(Some(DmaConfig::default()), IoMode::Remap, 11);
    let (without, same, report) = at_files(None, IoMode::Remap, 11);
    assert_eq!((without.io_counts(same).pages, report.device_ns), (0, 0));
    // Kernel code and the files that boot reads: the same pages in both.
    let kernel = GuestConfig::of(GuestKind::Linux).boot_kernel_pages(20_000);
    let contents = |host: &Host, vm| {
        let pages = (0..kernel + 6144).map(|ppn| format!("{:?}", host.peek(vm, Ppn(ppn))));
        pages.collect::<Vec<_>>()
    };
    let (with, without) = (contents(&with, vm), contents(&without, same));
    let equal = with.iter().zip(&without).filter(|(left, right)| left == right).count();
    assert!(equal >= 2048 + 6144, "{equal} of {}", with.len());
}

#[test]
fn a_linux_guest_gives_buffers_after_boot_and_keeps_them() {
    let mut host = Host::new(HostConfig::bare(60_000, ContentKind::Tokens, Seed([1; 32]))).unwrap();
    let devices = DeviceConfig { nic: Some(nic(100, 100)), disk: None };
    let guest = GuestConfig { boot_s: 3, ..GuestConfig::of(GuestKind::Linux) };
    let config = VmConfig { guest, devices, ..VmConfig::new("web", 20_000) };
    let vm = host.power_on(config, &mut || Ok(())).unwrap();
    let mut simulation = simulation();
    simulation.advance(&mut host, 3 * SECOND).unwrap();
    let booting = host.guest_memory(vm).0.unwrap();
    assert_eq!(simulation.report(&host, vm).unwrap().packets, 0);
    simulation.advance(&mut host, 3 * SECOND).unwrap();
    let booted = host.guest_memory(vm).0.unwrap();
    assert_eq!(booted.kernel - booting.kernel, 20);
    assert_eq!(simulation.report(&host, vm).unwrap().packets, 400, "a second is over before they are given");
    assert_eq!(host.memory().vm(vm).counts.zero_fills as u32, booted.kernel + booted.cache);
}

#[test]
fn a_shared_buffer_is_written_in_a_copy_of_its_own() {
    let (mut host, vm) = with_high_buffers(IoMode::Remap, 2, nic(0, 100));
    let twin = host.power_on(VmConfig::new("twin", 20), &mut || Ok(())).unwrap();
    host.load(twin, Ppn(0), PageBatch::Tokens(&[7; 20])).unwrap();
    host.write(vm, &(180..200).collect::<Vec<_>>(), PageBatch::Tokens(&[7; 20])).unwrap();
    host.scan(1000);
    let mut simulation = simulation();
    simulation.advance(&mut host, 2 * SECOND).unwrap();
    assert_eq!(host.memory().vm(vm).counts.cow_breaks, 10);
    let held = |host: &Host, vm, ppn| format!("{:?}", host.peek(vm, Ppn(ppn)));
    let seven = held(&host, twin, 0);
    assert!((0..20).all(|ppn| held(&host, twin, ppn) == seven), "the other has what it had");
    let kept = (180..200).filter(|ppn| held(&host, vm, *ppn) == seven).count();
    assert_eq!(kept, 10, "what was received is of its own, and the transmit ring is as it was");
    host.audit(&mut || Ok(())).unwrap();
}

/// Hosts under pressure with traffic, files and processes on them, after these stretches of 100 ms.
fn end(stretches: &[u64]) -> (u128, Vec<GuestReport>, Vec<IoCounts>, Vec<Counts>) {
    let mut config = HostConfig::new(9_000, ContentKind::Tokens, Seed([3; 32]));
    config.swap_pages = 20_000;
    config.remap = RemapConfig { low_pages: Some(700), ..config.remap };
    let mut host = Host::new(config).unwrap();
    let mut simulation = simulation();
    let allocation = AllocationConfig { min_pages: Some(500), overhead_pages: Some(0), ..Default::default() };
    let reuses = [Reuse::Ring, Reuse::Few(3), Reuse::Zipf(1.1)];
    let vms: Vec<VmId> = reuses
        .into_iter()
        .zip(0..)
        .map(|(reuse, number)| {
            let kind = if number == 0 { GuestKind::Default } else { GuestKind::Linux };
            let guest =
                GuestConfig { boot_s: 2, kernel_pages: 200, boot_pages: 500, ..GuestConfig::of(kind) };
            let card = NicConfig { tx: vec![(0, 300), (3, 4000)], reuse, ..nic(0, 333) };
            let disk = (number > 0).then(DmaConfig::default);
            let devices = DeviceConfig { nic: Some(card), disk };
            let vm = VmConfig {
                guest,
                devices,
                allocation: allocation.clone(),
                ..VmConfig::new(format!("vm{number}"), 5000)
            };
            host.power_on(vm, &mut || Ok(())).unwrap()
        })
        .collect();
    for vm in &vms[1..] {
        let config = FilesConfig { max_blocks: 3000, ..FilesConfig::new(30) };
        let files = Files::new(config, simulation.next_stream(&host, *vm)).unwrap();
        simulation.start(&host, *vm, Box::new(files), Writes::Unique, 0);
    }
    host.touch(vms[0], &(0..5000).collect::<Vec<_>>(), Access::Write).unwrap();
    simulation.start(&host, vms[0], Box::new(Busy), Writes::Same, 0);
    for stretch in stretches {
        simulation.advance(&mut host, stretch * (SECOND / 10)).unwrap();
    }
    host.audit(&mut || Ok(())).unwrap();
    let reports = vms.iter().map(|vm| simulation.report(&host, *vm).unwrap()).collect();
    let io = vms.iter().map(|vm| *host.io_counts(*vm)).collect();
    let counts = vms.iter().map(|vm| host.memory().vm(*vm).counts).collect();
    (host.digest(&mut || Ok(())).unwrap(), reports, io, counts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn time_is_cut_anywhere(stretches in prop::collection::vec(1_u64..17, 1..9)) {
        let whole = end(&[stretches.iter().sum()]);
        prop_assert_eq!(end(&stretches), whole);
    }
}

#[test]
fn there_is_pressure_in_what_is_cut() {
    let (_, reports, io, counts) = end(&[80]);
    assert!(counts.iter().any(|counts| counts.page_ins > 100), "{counts:?}");
    assert!(reports.iter().all(|report| report.packets > 1000), "{reports:?}");
    assert!(io.iter().all(|io| io.copies > 100 && io.remaps > 0), "{io:?}");
}

#[test]
fn rings_larger_than_the_virtual_machine_are_refused() {
    let mut host = host(IoMode::Remap, 4);
    let devices = DeviceConfig { nic: Some(NicConfig { tx_ring: 95, ..nic(1, 1) }), disk: None };
    let refused = host.power_on(VmConfig { devices, ..VmConfig::new("web", 100) }, &mut || Ok(()));
    assert!(matches!(refused, Err(Error::Setting { what: "nic rings", .. })), "{refused:?}");
    assert!(host.vms().is_empty());
    host.audit(&mut || Ok(())).unwrap();
}
