//! Content-based page sharing (§4): the scanner that finds equal pages.
//!
//! A scan takes pages in the order of `order`, hashes those that are private and eligible, and looks each up in the table
//! of hint and shared frames (`lookup`). Nothing found leaves a hint; the page is *not* write-protected for it. A match
//! is concluded only from comparing the pages themselves.
//!
//! Work comes in batches: entries, pages, chains and likely matches of a batch are each read together (`batch`), so that
//! a cache miss is shared by many; then the look-ups are made one after the other, as if each page had come alone. The
//! result is the same for any batch size.

mod batch;
mod lookup;
mod order;

pub use order::Walk;

use std::ops::Range;

use batch::Batch;

use crate::config::SharingConfig;
use crate::counts::counts;
use crate::memory::Memory;
use crate::rng::Seed;
use crate::types::{Ppn, VmId};
use crate::vm_table::VmTable;

/// Picks whose cache misses overlap.
const BATCH: u32 = 64;

/// Neighbouring pages of one virtual machine, to be scanned.
#[derive(Clone, Copy, Debug)]
struct Run {
    vm: VmId,
    first: Ppn,
    pages: u32,
}

impl Run {
    fn new(vm: VmId, ppns: &Range<u32>) -> Self {
        Self { vm, first: Ppn(ppns.start), pages: ppns.end - ppns.start }
    }
}

counts! {
    /// What a scan did. `picked = skipped + hashed`.
    pub struct ScanReport {
        /// Pages taken from the scan order.
        pub picked: u64,
        /// Of these, pages not private, not resident or not eligible.
        pub skipped: u64,
        /// Of these, pages hashed and looked up.
        pub hashed: u64,
        /// Hints left.
        pub hints: u64,
        /// Hints that proved true: the page they name got a shared frame.
        pub published: u64,
        /// Pages that were merged into a shared page.
        pub merged: u64,
        /// Pages with the hash of another and other content: ineligible from then on.
        pub false_matches: u64,
        /// Hints removed because their page had changed.
        pub stale_hints: u64,
    }
}

/// The scanner of one host.
#[derive(Clone, Debug)]
pub struct Scanner {
    config: SharingConfig,
    seed: Seed,
    walks: VmTable<Walk>,
    totals: ScanReport,
}

impl Scanner {
    /// A scanner of no virtual machine.
    #[must_use]
    pub fn new(config: SharingConfig, seed: Seed) -> Self {
        Self { config, seed, walks: VmTable::new(), totals: ScanReport::default() }
    }

    /// How the host shares pages.
    #[must_use]
    pub fn config(&self) -> &SharingConfig {
        &self.config
    }

    /// What all scans did together.
    #[must_use]
    pub fn totals(&self) -> &ScanReport {
        &self.totals
    }

    /// Starts to walk over a virtual machine, the `serial`-th of this host.
    pub fn add_vm(&mut self, vm: VmId, serial: u64, pages: u32) {
        let mut walk = Walk::new(self.config.order, &self.seed, serial, pages);
        if let Some(hindmost) = self.walks.iter().map(|(_, walk)| walk.progress()).min() {
            walk.join(hindmost);
        }
        self.walks.add(vm, walk);
    }

    /// Ends the walk over a virtual machine.
    pub fn remove_vm(&mut self, vm: VmId) {
        self.walks.remove(vm);
    }

    /// How far the walk over a virtual machine is.
    ///
    /// # Panics
    ///
    /// If it was not added.
    #[must_use]
    pub fn walk(&self, vm: VmId) -> &Walk {
        &self.walks[vm]
    }

    /// Scans the next `picks` pages of one virtual machine.
    pub fn scan_vm(&mut self, memory: &mut Memory, vm: VmId, picks: u32) -> ScanReport {
        self.scan_in_batches(memory, u64::from(picks), |walks, most| Run::new(vm, &walks[vm].step(most)))
    }

    /// Scans the next `picks` pages of the host: each cluster of the virtual machine whose pass has got least far, so that
    /// passes over all of them end together.
    pub fn scan_host(&mut self, memory: &mut Memory, picks: u64) -> ScanReport {
        let walks = self.walks.iter().map(|(vm, walk)| (walk.progress(), vm));
        let Some(mut field) = order::Field::new(walks) else { return ScanReport::default() };
        self.scan_in_batches(memory, picks, |walks, most| {
            let vm = field.hindmost();
            let walk = &mut walks[vm];
            let run = Run::new(vm, &walk.step(most.min(walk.turn())));
            walk.count_by_hand(run.pages);
            field.advance(walk.progress());
            run
        })
    }

    /// Tries to share one page now, whatever the scan order (§4.3: before it would be paged out).
    pub fn share_now(&mut self, memory: &mut Memory, vm: VmId, ppn: Ppn) -> ScanReport {
        self.scan_in_batches(memory, 1, |_, _| Run { vm, first: ppn, pages: 1 })
    }

    fn scan_in_batches(
        &mut self,
        memory: &mut Memory,
        picks: u64,
        mut next: impl FnMut(&mut VmTable<Walk>, u32) -> Run,
    ) -> ScanReport {
        let mut report = ScanReport::default();
        // One batch ahead: the entries of its pages are on their way while the batch before is scanned.
        let (mut runs, mut ahead) = (vec![], vec![]);
        let mut batch = Batch::default();
        loop {
            let mut room = BATCH.min(u32::try_from(picks - report.picked).unwrap_or(BATCH));
            while room > 0 {
                let run = next(&mut self.walks, room);
                memory.prefetch_entries(run.vm, run.first, run.pages);
                room -= run.pages;
                report.picked += u64::from(run.pages);
                ahead.push(run);
            }
            batch.prepare(memory, &runs);
            lookup::scan_batch(memory, batch.candidates(), &mut report);
            std::mem::swap(&mut runs, &mut ahead);
            ahead.clear();
            if runs.is_empty() {
                break;
            }
        }
        report.skipped = report.picked - report.hashed;
        self.totals.add(&report);
        report
    }
}
