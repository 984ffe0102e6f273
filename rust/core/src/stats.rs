//! Numbers about a host and its virtual machines, derived when asked for.

use crate::error::Error;
use crate::frame_table::{FrameTable, FrameView};
use crate::host::{Host, Vm};
use crate::memory::{Counts, VmMemory};
use crate::pmap::Entry;
use crate::reference::{GuestCounts, GuestMemory};
use crate::remap::IoCounts;
use crate::types::{PULSE_PAGES, Pulse, VmId};

/// Whole-host numbers by name.
pub type HostStats = Vec<(&'static str, u64)>;

/// One virtual machine's numbers, in pages unless named otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VmStats {
    /// Most that it gets: its "physical" memory, unless lowered.
    pub max_pages: u32,
    /// What it gets in any case.
    pub min_pages: u32,
    /// Its entitlement relative to others.
    pub shares: u32,
    /// What it should have; its max where memory is not divided.
    pub target_pages: u32,
    /// Machine pages that the server needs for it.
    pub overhead_pages: u32,
    /// Resident pages, shared ones in full.
    pub allocated_pages: u32,
    /// Pages whose machine page has two or more sharers.
    pub shared_pages: u32,
    /// Of these, pages that read zero.
    pub zero_pages: u32,
    /// Its part of machine memory: the sum over resident pages of 1 / sharers.
    pub consumed: f64,
    /// Resident minus consumed.
    pub reclaimed: f64,
    /// Size of its balloon.
    pub balloon_pages: u32,
    /// Of these, pages that gave the host a machine page.
    pub balloon_freed_pages: u32,
    /// Size that its balloon should have.
    pub balloon_target_pages: u32,
    /// Pages in the swap file.
    pub swapped_pages: u32,
    /// Page-outs that are under way.
    pub leaving_pages: u32,
    /// Whether it is held up.
    pub blocked: bool,
    /// Seconds in which it stood still for want of memory.
    pub stalled_s: u64,
    /// Pages in use by the estimate of sampling, the nearest whole number; none if sampling is off.
    pub active_pages: Option<u32>,
    /// The estimate as a fraction of all its pages.
    pub active_fraction: Option<f64>,
    /// Events since power-on.
    pub counts: Counts,
    /// What its I/O did.
    pub io: IoCounts,
    /// Its pages that are recently hot.
    pub hot_pages: u32,
    /// What the guest says of its own memory; none if it says nothing.
    pub guest: Option<GuestMemory>,
    /// What the guest did for want of memory.
    pub guest_counts: GuestCounts,
    /// Pages picked by the scanner.
    pub scanned_pages: u64,
    /// Passes of the scanner over all its pages.
    pub scan_passes: u64,
}

impl Host {
    /// Whole-host numbers. Cost: one visit of each virtual machine.
    #[must_use]
    pub fn stats(&self) -> HostStats {
        let (machine, frames) = (self.memory.machine(), self.memory.frames().totals());
        let sum = |number: fn(&VmMemory) -> u32| {
            self.memory.vms().map(|(_, vm)| u64::from(number(vm))).sum::<u64>()
        };
        let counts = self.total_counts();
        let (scans, io) = (self.scanner.totals(), self.remapper.totals());
        vec![
            ("now_ns", self.now_ns()),
            ("vms", self.vms.len() as u64),
            ("machine_pages", u64::from(machine.pages())),
            ("free_pages", u64::from(machine.free_pages())),
            ("used_pages", u64::from(machine.pages() - machine.free_pages())),
            ("allocated_pages", sum(VmMemory::resident)),
            ("overhead_pages", sum(VmMemory::overhead_pages)),
            ("balloon_pages", sum(VmMemory::ballooned)),
            ("swapped_pages", sum(VmMemory::swapped)),
            ("shared_pages", frames.shared_pages),
            ("reclaimed_pages", frames.reclaimed_pages),
            ("zero_pages", frames.zero_pages),
            ("references", counts.references),
            ("zero_fills", counts.zero_fills),
            ("cow_breaks", counts.cow_breaks),
            ("page_ins", counts.page_ins),
            ("page_outs", counts.page_outs),
            ("swap_writes", self.swapper.totals().writes),
            ("cancelled_page_outs", self.swapper.totals().cancelled),
            ("shared_before_swap_pages", counts.shared_before_swap),
            ("emergency_page_outs", counts.emergency_page_outs),
            ("balloon_pops", self.balloon.totals().pops),
            ("io_pages", io.pages),
            ("io_copies", io.copies),
            ("io_remaps", io.remaps),
            ("io_private_copies", io.private_copies),
            ("io_evictions", io.evictions),
            ("io_refused", io.refused),
            ("io_cache_hits", io.hits),
            ("io_cache_misses", io.misses),
            ("low_free_pages", u64::from(self.low_free_pages())),
            ("hint_frames", u64::from(frames.hint_frames)),
            ("shared_frames", u64::from(frames.shared_frames)),
            ("scanned_pages", scans.picked),
            ("hashed_pages", scans.hashed),
            ("merged_pages", scans.merged),
            ("false_matches", scans.false_matches),
            ("stale_hints", scans.stale_hints),
            ("ineligible_pages", sum(VmMemory::ineligible)),
            ("sharing_metadata_bytes", self.sharing_metadata_bytes()),
            ("real_bytes", self.memory.bytes() as u64),
        ]
    }

    /// Numbers of one virtual machine. Cost: a look at each of its pages if any are shared.
    ///
    /// # Errors
    ///
    /// What `pulse` returns.
    pub fn vm_stats(&self, vm: &Vm, pulse: Pulse<'_>) -> Result<VmStats, Error> {
        let memory = self.memory.vm(vm.id);
        let walk = self.scanner.walk(vm.id);
        let samples = self.sampler.report(vm.id);
        let (guest, guest_counts) = self.guest_memory(vm.id);
        let mut stats = VmStats {
            active_pages: samples.map(|report| report.active_pages(vm.pages)),
            active_fraction: samples.map(|report| report.estimate),
            max_pages: vm.allocation.max_pages,
            min_pages: vm.allocation.min_pages,
            shares: vm.allocation.shares,
            target_pages: vm.target_pages,
            overhead_pages: memory.overhead_pages(),
            balloon_pages: self.balloon.size(vm.id),
            balloon_freed_pages: self.balloon.freed(vm.id),
            balloon_target_pages: self.balloon.target(vm.id),
            swapped_pages: memory.swapped(),
            leaving_pages: memory.leaving(),
            blocked: vm.blocked,
            stalled_s: vm.stalled_s,
            allocated_pages: memory.resident(),
            counts: memory.counts,
            io: *self.remapper.counts(vm.id),
            hot_pages: self.remapper.hot_pages(vm.id),
            guest,
            guest_counts,
            scanned_pages: walk.picked(),
            scan_passes: walk.passes(),
            ..VmStats::default()
        };
        let sharing = self.sharing(memory, pulse)?;
        (stats.shared_pages, stats.zero_pages) = (sharing.pages, sharing.zero);
        stats.consumed = sharing.consumed(memory);
        stats.reclaimed = f64::from(stats.allocated_pages) - stats.consumed;
        Ok(stats)
    }

    /// Bytes of frames, chain heads, overflow table and eligibility bits, which §4.3 bounds by 0.5 % of memory.
    #[must_use]
    pub fn sharing_metadata_bytes(&self) -> u64 {
        let entries: u64 = self.vms.iter().map(|vm| u64::from(vm.pages)).sum();
        self.memory.frames().size_bytes() as u64 + entries.div_ceil(8)
    }

    fn total_counts(&self) -> Counts {
        let mut counts = self.departed;
        self.memory.vms().for_each(|(_, vm)| counts.add(&vm.counts));
        counts
    }

    /// A virtual machine's part of machine memory: the sum over its resident pages of 1 / sharers. Cost: a look at each
    /// of its pages if any are shared.
    #[must_use]
    pub fn consumed(&self, vm: VmId) -> f64 {
        let memory = self.memory.vm(vm);
        self.sharing(memory, &mut || Ok(())).expect("nobody ends the walk").consumed(memory)
    }

    /// Looks at all pages of a virtual machine with shared frames.
    fn sharing(&self, memory: &VmMemory, pulse: Pulse<'_>) -> Result<Sharing, Error> {
        let mut sharing = Sharing::default();
        if memory.on_shared_frames() > 0 {
            for entries in memory.pmap().entries().chunks(PULSE_PAGES) {
                pulse()?;
                sharing.add(self.memory.frames(), entries);
            }
        }
        Ok(sharing)
    }
}

/// What the shared pages of a virtual machine add up to.
#[derive(Default)]
struct Sharing {
    /// Pages whose machine page has two or more sharers.
    pages: u32,
    /// Of these, pages that read zero.
    zero: u32,
    /// Parts of machine memory: the sum of 1 / sharers.
    parts: f64,
}

impl Sharing {
    fn add(&mut self, frames: &FrameTable, entries: &[Entry]) {
        // All zero pages have one machine page: what it is is looked up once for neighbours.
        let (mut last, mut found) = (None, (0, false));
        for mpn in entries.iter().filter_map(|entry| entry.shared()) {
            if last != Some(mpn) {
                let is_zero = matches!(frames.get(mpn), FrameView::Shared { is_zero: true, .. });
                (last, found) = (Some(mpn), (frames.count(mpn), is_zero));
            }
            let (sharers, is_zero) = found;
            self.pages += u32::from(sharers > 1);
            self.zero += u32::from(sharers > 1 && is_zero);
            self.parts += 1.0 / f64::from(sharers);
        }
    }

    /// A virtual machine's part of machine memory: pages without a shared frame are its own.
    fn consumed(&self, memory: &VmMemory) -> f64 {
        f64::from(memory.resident() - memory.on_shared_frames()) + self.parts
    }
}
