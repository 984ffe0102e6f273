//! A kernel on a machine that keeps contents: what processes wrote is what they read, whatever was reclaimed, and every
//! page is in one place.
//!
//! Here is that machine, and what is true of a kernel at any time; `anything` goes through whatever can happen, `cases` through
//! what is known to, `ends` through ends of processes.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::anonymous::Place;
use super::cache::AHEAD_MOST;
use super::kernel::Kernel;
use super::owners::Owner;
use super::{BOOT_FILE, build};
use crate::balloon::{Dealt, Given, GuestOs, GuestPages, Wait};
use crate::config::{GuestConfig, GuestKind, Replacement};
use crate::pmap::{Entry, State};
use crate::reference::{Errand, Filling, GuestMemory, MAX_FILES, Patience, Ref, Step, Touch, Wish};
use crate::rng::{Seed, Stream};
use crate::types::{Access, Ppn};

mod anything;
mod cases;
mod ends;

const SECOND_NS: u64 = 1_000_000_000;

/// Contents of pages and disk are numbers; 0 is the zero page.
#[derive(Clone)]
struct World {
    kernel: Kernel,
    pages: Vec<u64>,
    disk: HashMap<u64, u64>,
    /// What processes should read.
    memory: HashMap<u32, u64>,
    files: HashMap<(u32, u32), u64>,
    ballooned: HashSet<u32>,
    written: u64,
    second: u32,
    random: Stream,
}

fn small(kind: GuestKind, replacement: Replacement) -> GuestConfig {
    let sizes =
        GuestConfig { kernel_pages: 4, boot_pages: 40, boot_s: 3, zero_rate: 50, ..GuestConfig::of(kind) };
    GuestConfig { replacement, dirty_expire_s: 5, ..sizes }
}

fn linux() -> GuestConfig {
    small(GuestKind::Linux, Replacement::TwoList)
}

impl World {
    fn new(config: &GuestConfig, pages: u32) -> Self {
        config.check(pages).expect("large enough");
        Self {
            kernel: Kernel::new(config, pages, 0, &Seed([1; 32])),
            pages: vec![7; pages as usize],
            disk: HashMap::new(),
            memory: HashMap::new(),
            files: HashMap::new(),
            ballooned: HashSet::new(),
            written: 1 << 63,
            second: 0,
            random: Seed([1; 32]).stream("guest", 0),
        }
    }

    fn booted(config: &GuestConfig, pages: u32) -> Self {
        let mut world = Self::new(config, pages);
        (0..=config.boot_s).for_each(|_| _ = world.pass(0));
        world
    }

    fn fresh(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// A page may be touched, filled and written out.
    fn own(&mut self, ppn: Ppn) -> &mut u64 {
        assert!(!self.ballooned.contains(&ppn.0), "page {} is ballooned", ppn.0);
        &mut self.pages[ppn.index()]
    }

    fn perform(&mut self, steps: &[Step]) {
        let mut read: Vec<u64> = vec![];
        for step in steps {
            match *step {
                Step::Touch(touch) => _ = self.own(touch.ppn()),
                Step::DiskRead { position, pages, .. } => {
                    assert!(read.is_empty() && pages > 0, "a fill for each page read");
                    read = (0..u64::from(pages)).rev().map(|page| position + page).collect();
                }
                Step::DiskWrite { ppn, position, .. } => {
                    let content = *self.own(ppn);
                    self.disk.insert(position, content);
                }
                Step::Fill(ppn, filling) => {
                    let position = read.pop();
                    let on_disk = position.and_then(|position| self.disk.get(&position).copied());
                    let content = match (filling, on_disk) {
                        (Filling::Zero, None) => 0,
                        // The number stands for what the image has, unless it was written over.
                        (Filling::Content(number), None) => number,
                        (Filling::Content(number), Some(was)) if was == number => was,
                        (Filling::Own, Some(was)) => was,
                        (Filling::Own, None) => self.fresh(),
                        odd => panic!("{odd:?}"),
                    };
                    position.map(|position| self.disk.insert(position, content));
                    *self.own(ppn) = content;
                }
            }
        }
        assert!(read.is_empty(), "a fill for each page read");
    }

    /// One reference, whatever it takes; tells what but the kernel's references to its own pages.
    fn refer(&mut self, one: Ref) -> (Dealt, Vec<Step>) {
        let (mut touches, mut steps) = (vec![], vec![]);
        let mut dealt = Dealt::Served;
        if self.kernel.translate(&[one], &mut touches) == 0 {
            dealt = self.kernel.fault(one, &mut self.random, &mut steps);
            self.perform(&steps);
            self.kernel.settle();
            if dealt == Dealt::Served {
                self.kernel.translate(&[one], &mut touches);
            }
        }
        if dealt == Dealt::Served {
            self.see(one, touches.first().map(|touch| touch.ppn()));
        }
        steps.retain(|step| !matches!(step, Step::Touch(_)));
        (dealt, steps)
    }

    /// The process reads or writes the page, and gets what was last written.
    fn see(&mut self, one: Ref, touched: Option<Ppn>) {
        let at = touched.map(|ppn| *self.own(ppn));
        match one.wish() {
            Wish::Memory { page, .. } => {
                assert_eq!(at, Some(self.memory.get(&page).copied().unwrap_or(0)), "memory page {page}");
            }
            Wish::Block { file, block, access: Access::Read } => {
                let expected = *self.files.entry((file, block)).or_insert(at.expect("touched"));
                assert_eq!(at, Some(expected), "block {block} of file {file}");
            }
            Wish::Free { page } => _ = self.memory.remove(&page),
            Wish::Delete { file } => self.files.retain(|(of, _), _| *of != file),
            Wish::Block { .. } | Wish::Flush { .. } | Wish::Look { .. } => {}
        }
        if let (Some(ppn), Access::Write) = (touched, one.access()) {
            let content = self.fresh();
            *self.own(ppn) = content;
            match one.wish() {
                Wish::Memory { page, .. } => _ = self.memory.insert(page, content),
                Wish::Block { file, block, .. } => _ = self.files.insert((file, block), content),
                _ => unreachable!("no other is written"),
            }
        }
    }

    /// A second passes, of which it was idle so long.
    fn pass(&mut self, idle_ns: u64) -> Vec<Step> {
        let mut steps = vec![];
        self.kernel.background(self.second, idle_ns, &mut self.random, &mut steps);
        self.second += 1;
        self.perform(&steps);
        self.kernel.settle();
        steps
    }

    fn allocate(&mut self, most: u32, wait: Wait) -> Given {
        let entries = [Entry::new(State::Empty)];
        let given = self.kernel.allocate(most, wait, GuestPages::new(&entries, 0), &mut self.random);
        assert!(given.pages.len() <= most as usize);
        for ppn in &given.pages {
            assert!(self.ballooned.insert(ppn.0), "given twice");
            self.pages[ppn.index()] = 9;
        }
        given
    }

    fn free(&mut self, pages: &[Ppn]) {
        for ppn in pages {
            if self.ballooned.remove(&ppn.0) {
                self.pages[ppn.index()] = 0;
            }
        }
        self.kernel.free(pages);
    }

    fn reset(&mut self) {
        for ppn in std::mem::take(&mut self.ballooned) {
            self.pages[ppn as usize] = 0;
        }
        self.kernel.reset();
    }

    /// A device writes to its buffers at once: nobody else may have anything in them.
    fn take_buffers(&mut self, most: u32) {
        let mut steps = vec![];
        let given = self.kernel.take_buffers(most, 0, &mut steps);
        assert!(given.len() <= most as usize);
        for ppn in given {
            assert!(!self.ballooned.contains(&ppn.0));
            self.pages[ppn.index()] = 11;
        }
        self.perform(&steps);
        self.kernel.settle();
    }

    /// A process is through with these pages of memory: they read zero from then on.
    fn end(&mut self, pages: std::ops::Range<u32>) {
        self.kernel.take_memory_back(pages.clone());
        self.memory.retain(|page, _| !pages.contains(page));
        assert!(self.kernel.memory.within(pages).is_empty());
    }

    fn says(&self) -> GuestMemory {
        self.kernel.memory().expect("it says")
    }

    fn read(&mut self, file: u32, blocks: std::ops::Range<u32>) {
        blocks
            .for_each(|block| assert_eq!(self.refer(Ref::block(file, block, Access::Read)).0, Dealt::Served));
    }

    fn write_memory(&mut self, pages: std::ops::Range<u32>) {
        pages.for_each(|page| assert_eq!(self.refer(Ref::memory(page, Access::Write)).0, Dealt::Served));
    }

    /// Every page in one place, and all tables say the same.
    fn audit(&self) {
        let kernel = &self.kernel;
        let pending: HashSet<u32> = kernel.pending.iter().copied().collect();
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for ppn in 0..kernel.owners.pages() {
            let owner = kernel.owners.get(ppn).expect("a page");
            *counts.entry(audit_page(kernel, ppn, owner, &pending)).or_default() += 1;
        }
        let count = |name| counts.get(name).copied().unwrap_or(0);
        let free: HashSet<u32> = kernel.free.all().into_iter().collect();
        assert!(free.iter().all(|ppn| kernel.owners.get(*ppn) == Some(Owner::Free)));
        assert_eq!((free.len() as u32, count("free")), (kernel.free.len(), kernel.free.len()));
        assert_eq!((count("kernel"), count("balloon")), (kernel.kernel, kernel.driver.given));
        assert_eq!(count("buffer"), kernel.buffers);
        assert_eq!(count("balloon") as usize, self.ballooned.len());
        let kept: HashSet<u32> = kernel.driver.kept.iter().copied().collect();
        assert_eq!(
            (kept.len(), count("kept") as usize),
            (kernel.driver.kept.len(), kernel.driver.kept.len())
        );
        assert_eq!(count("block"), kernel.cache.pages());
        let dirty = (0..kernel.owners.pages()).filter(|ppn| kernel.cache.is_dirty(*ppn)).count();
        assert_eq!(dirty as u32, kernel.cache.dirty());
        self.audit_memory(count("anonymous"));
    }

    fn audit_memory(&self, here: u32) {
        let memory = &self.kernel.memory;
        let mut slots = HashSet::new();
        for (page, place) in memory.all() {
            match place {
                Place::Here(ppn) => assert_eq!(self.kernel.owners.get(ppn), Some(Owner::Anonymous(page))),
                Place::OnSwap(slot) => assert!(slots.insert(slot), "slot {slot} has two pages"),
                Place::Nowhere => unreachable!("it is somewhere"),
            }
        }
        assert_eq!((here, slots.len() as u32), (memory.resident(), memory.slots.used()));
        assert_eq!(memory.all().len() as u32, memory.resident() + memory.slots.used());
    }
}

fn audit_page(kernel: &Kernel, ppn: u32, owner: Owner, pending: &HashSet<u32>) -> &'static str {
    let is_pending = pending.contains(&ppn);
    let in_pool = (kernel.memory.pool.contains(ppn), kernel.cache.pool.contains(ppn));
    let expected = match owner {
        Owner::Anonymous(page) => {
            assert_eq!(kernel.memory.find(page), ppn);
            (!is_pending || in_pool.0, false)
        }
        Owner::Block { file, block } => {
            assert_eq!(kernel.cache.find(&kernel.owners, file, block), ppn);
            assert_eq!(kernel.cache.pages_of(file).filter(|other| *other == ppn).count(), 1);
            assert!(!kernel.cache.is_writing(ppn) || is_pending);
            (false, !is_pending || in_pool.1)
        }
        _ => (false, false),
    };
    assert_eq!(in_pool, expected, "page {ppn} of {owner:?} in the pools");
    let is_idle = matches!(owner, Owner::Free | Owner::Balloon | Owner::Kept | Owner::Buffer);
    assert!(!(is_idle && is_pending), "page {ppn} of {owner:?} is named by a step");
    match owner {
        Owner::Free => "free",
        Owner::Kernel => "kernel",
        Owner::Balloon => "balloon",
        Owner::Kept => "kept",
        Owner::Buffer => "buffer",
        Owner::Anonymous(_) => "anonymous",
        Owner::Block { .. } => "block",
        Owner::Leaving | Owner::Promised | Owner::Clearing => {
            assert!(is_pending, "page {ppn} of {owner:?} is waited for");
            "pending"
        }
    }
}
