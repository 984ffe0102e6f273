//! What a kernel does of itself: boot, write back, make room, clear freed pages; and what of its own it refers to.

use super::cache::AHEAD_MOST;
use super::free_list::Want;
use super::kernel::Kernel;
use super::owners::Owner;
use super::reclaim::{Fate, Job};
use crate::config::GuestKind;
use crate::reference::{Errand, Filling, MAX_FILES, Patience, Step, Touch};
use crate::types::{Access, Ppn};

/// The file that boot reads: the image's programs and libraries in one.
pub const BOOT_FILE: u32 = MAX_FILES - 1;
/// The number by which the contents of kernel code are told from those of files.
const KERNEL_FILE: u32 = MAX_FILES;

const SECOND_NS: u64 = 1_000_000_000;

/// One in so many pages of the kernel's code and data is in use as it works. Chosen: 2 of 8 MiB, the size of Linux 2.4's text.
const IN_USE: u32 = 4;
/// Pages of them that the timer's interrupt alone refers to. Chosen.
const TICK_PAGES: u32 = 4;
/// Processor time of processes in a second from which on they need all of the kernel that is in use. Chosen: a hundredth.
const ALL_IN_USE_NS: u64 = 10_000_000;

/// How far boot has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Boot {
    /// The second in which it began.
    begun: Option<u32>,
    /// Kernel pages filled.
    filled: u32,
    /// Blocks of the boot file dealt with.
    read: u32,
}

impl Kernel {
    /// A second's part of boot.
    pub(super) fn go_on_booting(&mut self, steps: &mut Vec<Step>) {
        let all = self.config.boot_s.max(1);
        let left = self.boot_left();
        if left > 0 || !self.is_booted() {
            let passed = all - left.saturating_sub(1);
            let due = |total: u32| (u64::from(total) * u64::from(passed) / u64::from(all)) as u32;
            self.fill_kernel(due(self.kernel), steps);
            self.read_boot_file(due(self.config.boot_pages), steps);
        }
    }

    /// Seconds that boot still takes, this one among them.
    pub(super) fn boot_left(&mut self) -> u32 {
        let begun = *self.boot.begun.get_or_insert(self.now);
        self.config.boot_s.max(1).saturating_sub(self.now.saturating_sub(begun))
    }

    /// Whether all of boot is done that takes pages.
    fn is_booted(&self) -> bool {
        self.boot.filled == self.kernel && self.boot.read >= self.config.boot_pages
    }

    /// Code first, which guests of one image have in common, then the tables.
    fn fill_kernel(&mut self, end: u32, steps: &mut Vec<Step>) {
        for ppn in self.boot.filled..end {
            let is_code = ppn < self.config.kernel_pages;
            let filling =
                if is_code { Filling::Content(self.content(KERNEL_FILE, ppn)) } else { Filling::Own };
            steps.push(Step::Fill(Ppn(ppn), filling));
        }
        self.boot.filled = self.boot.filled.max(end);
    }

    /// Reads the boot file up to a block, as far as there is memory without making room; what is cached is passed over.
    fn read_boot_file(&mut self, end: u32, steps: &mut Vec<Step>) {
        while self.boot.read < end {
            let first = self.boot.read;
            let ppns = self.pages_for_boot(first, end.min(first + AHEAD_MOST));
            self.boot.read += (ppns.len() as u32).max(1);
            self.read_blocks((BOOT_FILE, first), ppns, Errand::File, steps);
        }
    }

    fn pages_for_boot(&mut self, first: u32, end: u32) -> Vec<u32> {
        let mut ppns = vec![];
        for block in first..end {
            if self.free.len() <= self.levels.high || self.cache.find(&self.owners, BOOT_FILE, block) != 0 {
                break;
            }
            ppns.extend(self.free.take(Want::Any).map(|(ppn, _)| ppn));
        }
        ppns
    }

    /// Writes blocks that have been dirty for long.
    pub(super) fn write_expired(&mut self, steps: &mut Vec<Step>) {
        let Some(end) = self.now.checked_sub(self.config.dirty_expire_s) else { return };
        let expired = self.cache.begin_oldest(end.saturating_add(1), u32::MAX);
        self.write_begun(expired, Patience::GoesOn, steps);
    }

    /// Brings a low free list up to the high level.
    pub(super) fn keep_free_pages(&mut self, steps: &mut Vec<Step>) {
        if self.free.len() < self.levels.low {
            let want = self.levels.high - self.free.len();
            self.reclaim(&Job { want, patience: Patience::GoesOn, fate: Fate::Free }, steps);
        }
    }

    /// Windows: a second's part of zeroing all memory at boot; later the zero-page thread, which runs when nothing else does.
    pub(super) fn clear_pages(&mut self, idle_ns: u64, steps: &mut Vec<Step>) {
        if self.config.kind != GuestKind::Windows {
            return;
        }
        let left = self.boot_left();
        if left > 0 {
            self.clear(self.free.uncleared().div_ceil(left), steps);
            return;
        }
        let idle_ns = u128::from(idle_ns.min(SECOND_NS));
        let most = u128::from(self.config.zero_rate) * idle_ns / u128::from(SECOND_NS);
        let cleared = self.clear(most as u32, steps);
        self.counts.zeroed += u64::from(cleared);
    }

    /// A second's references of the kernel to its code: for the timer's interrupt, and the more the longer processes ran.
    pub(super) fn refer_to_code(&mut self, idle_ns: u64, steps: &mut Vec<Step>) {
        let in_use = self.config.kernel_pages / IN_USE;
        let busy_ns = SECOND_NS.saturating_sub(idle_ns).min(ALL_IN_USE_NS);
        let for_processes = (u64::from(in_use) * busy_ns).div_ceil(ALL_IN_USE_NS) as u32;
        let end = for_processes.max(in_use.min(TICK_PAGES));
        steps.extend(
            (0..end.min(self.boot.filled)).map(|ppn| Step::Touch(Touch::new(Ppn(ppn), Access::Read))),
        );
    }

    /// What was done with pages since the last time refers to the kernel's tables, as far as boot has made them.
    pub(super) fn refer_to_tables(&mut self, steps: &mut Vec<Step>) {
        let made = self.boot.filled;
        let pages = self.owners.take_referred().filter(|ppn| *ppn < made);
        steps.extend(pages.map(|ppn| Step::Touch(Touch::new(Ppn(ppn), Access::Write))));
    }

    /// Fills up to so many free pages with zeroes; returns how many.
    fn clear(&mut self, most: u32, steps: &mut Vec<Step>) -> u32 {
        for done in 0..most {
            let Some(ppn) = self.free.take_uncleared() else { return done };
            self.owners.set(ppn, Owner::Clearing);
            self.name_page(ppn);
            steps.push(Step::Fill(Ppn(ppn), Filling::Zero));
        }
        most
    }
}
