//! Small hosts on which nothing happens but what a test does.

use esxcore_core::config::{AllocationConfig, HostConfig, SamplingConfig, Shares, SharingConfig, VmConfig};
use esxcore_core::host::Host;
use esxcore_core::rng::Seed;
use esxcore_core::types::{Access, ContentKind, PageBatch, Ppn, VmId};

pub const SECOND: u64 = 1_000_000_000;

/// Tokens, no scans and no samples at ticks, more swap space than needed.
pub fn quiet(machine_pages: u32) -> HostConfig {
    HostConfig {
        swap_pages: 4 * machine_pages,
        sharing: SharingConfig { vm_rate: 0, host_rate: 0, ..SharingConfig::default() },
        sampling: SamplingConfig { pages: 0, ..SamplingConfig::default() },
        ..HostConfig::new(machine_pages, ContentKind::Tokens, Seed([1; 32]))
    }
}

/// With that min, 100 shares and no overhead.
pub fn config(name: &str, max_pages: u32, min_pages: u32) -> VmConfig {
    let (min_pages, shares) = (Some(min_pages), Shares::Number(100));
    let allocation = AllocationConfig { min_pages, shares, overhead_pages: Some(0) };
    VmConfig { allocation, ..VmConfig::new(name, max_pages) }
}

pub fn power_on(host: &mut Host, config: VmConfig) -> VmId {
    host.power_on(config, &mut || Ok(())).unwrap()
}

/// Touches pages one after the other; all are served.
pub fn touch(host: &mut Host, vm: VmId, ppns: std::ops::Range<u32>, access: Access) {
    let ppns: Vec<u32> = ppns.collect();
    let report = host.touch(vm, &ppns, access).unwrap();
    assert_eq!((report.done, report.stopped), (ppns.len(), None));
}

/// Writes to pages the token of their number.
pub fn number(host: &mut Host, vm: VmId, ppns: std::ops::Range<u32>) {
    let tokens: Vec<u64> = ppns.clone().map(|ppn| u64::from(ppn) + 1).collect();
    let ppns: Vec<u32> = ppns.collect();
    let report = host.write(vm, &ppns, PageBatch::Tokens(&tokens)).unwrap();
    assert_eq!((report.done, report.stopped), (ppns.len(), None));
}

pub fn reads(host: &Host, vm: VmId, ppn: u32) -> u64 {
    match host.peek(vm, Ppn(ppn)) {
        esxcore_core::types::PageView::Token(token) => token,
        esxcore_core::types::PageView::Bytes(_) => unreachable!("the host holds tokens"),
    }
}

pub fn seconds(host: &mut Host, seconds: u64) {
    host.advance(seconds * SECOND).unwrap();
    host.audit(&mut || Ok(())).unwrap();
}

pub fn swapped(host: &Host) -> u32 {
    host.memory().swapfile().used_slots()
}
