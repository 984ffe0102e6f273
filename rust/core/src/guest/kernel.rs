//! A guest's kernel: what it keeps, how references are translated, and the seam.

use std::ops::Range;

use super::anonymous::Anonymous;
use super::boot::Boot;
use super::cache::Cache;
use super::driver::Driver;
use super::free_list::{FreeList, Holds};
use super::marks::Marks;
use super::owners::{Owner, Owners, block_word};
use crate::balloon::{Dealt, Given, GuestOs, GuestPages, Wait};
use crate::config::GuestConfig;
use crate::reference::{GuestCounts, GuestMemory, Ref, Step, Touch, Wish};
use crate::rng::{Seed, Stream, mix};
use crate::types::{Access, Ppn};

/// Look-ups in flight at a time: their cache misses overlap.
const IN_FLIGHT: usize = 16;
/// References of memory that are translated together, after the first.
const TOGETHER: usize = 64;
/// How far ahead references are whose pages of memory are asked for.
const AHEAD: usize = 64;

/// Levels of the free list, in pages. Linux 2.4's rule: the least is a 128th of memory, 20 to 255 pages; a guest too small
/// for that keeps a 16th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermarks {
    /// What the balloon driver leaves.
    pub min: u32,
    /// At or below it, whoever takes a page makes room first. Twice the least.
    pub low: u32,
    /// Up to it the kernel makes room of itself, once the list is below the low one. Three times the least.
    pub high: u32,
}

impl Watermarks {
    fn of(pages: u32) -> Self {
        let min = (pages / 128).clamp(20, 255).min(pages / 16);
        Self { min, low: 2 * min, high: 3 * min }
    }
}

/// A guest that manages its memory, of the manner of Linux or Windows.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(super) config: GuestConfig,
    pub(super) kernel: u32,
    /// Pages that drivers of devices have for buffers.
    pub(super) buffers: u32,
    /// Whose files it has.
    pub(super) image: u64,
    pub(super) levels: Watermarks,
    pub(super) owners: Owners,
    pub(super) free: FreeList,
    pub(super) memory: Anonymous,
    pub(super) cache: Cache,
    /// Pages of which more is to be said once the steps that name them are done.
    pub(super) pending: Vec<u32>,
    /// Which these are.
    pub(super) named: Marks,
    pub(super) driver: Driver,
    pub(super) boot: Boot,
    /// The second that it is in.
    pub(super) now: u32,
    pub(super) counts: GuestCounts,
}

impl Kernel {
    /// A guest of so many pages that [`GuestConfig::check`] has found to be enough, as after power-on. `serial` tells
    /// guests apart that have no image in common with others.
    pub(super) fn new(config: &GuestConfig, pages: u32, serial: u64, seed: &Seed) -> Self {
        // Page 0 is the kernel's in any case: tables say "none" with its number.
        let kernel = config.boot_kernel_pages(pages).max(1);
        let mut owners = Owners::new(pages, (config.kernel_pages, config.metadata_bytes));
        (0..kernel).for_each(|ppn| owners.set(ppn, Owner::Kernel));
        Self {
            kernel,
            buffers: 0,
            image: image(config.image.as_deref(), serial, seed),
            levels: Watermarks::of(pages),
            owners,
            free: FreeList::new(kernel, pages),
            memory: Anonymous::new(config.replacement, pages, config.swap_pages.unwrap_or(pages)),
            cache: Cache::new(config.replacement, pages),
            pending: vec![],
            named: Marks::clear(pages),
            driver: Driver::default(),
            boot: Boot::default(),
            now: 0,
            counts: GuestCounts::default(),
            config: config.clone(),
        }
    }

    /// The number that stands for the content of a block of the image's files.
    pub(super) fn content(&self, file: u32, block: u32) -> u64 {
        (mix(self.image ^ mix(u64::from(file) << 32 | u64::from(block))) >> 1).max(1)
    }

    /// Translates the first of up to [`TOGETHER`] references that are in pages if all are of memory, as mostly they are, and
    /// no steps are pending; returns how many. Those of `ahead` are to be found soon.
    #[inline]
    fn translate_memory(&mut self, refs: &[Ref], ahead: &[Ref], touches: &mut Vec<Touch>) -> Option<usize> {
        if !Ref::are_memory(refs) || !self.pending.is_empty() {
            return None;
        }
        // Of a page of memory, its number; asking for anything else ahead does no harm.
        self.memory.expect(ahead.iter().map(|one| one.bits() as u32));
        let mut ppns = [0; TOGETHER];
        let here = self.memory.find_all(refs.iter().map(|one| one.bits() as u32), &mut ppns[..refs.len()]);
        self.memory.pool.hit_all(&ppns[..here]);
        touches.extend(ppns[..here].iter().zip(refs).map(|(ppn, one)| one.touching(Ppn(*ppn))));
        Some(here)
    }

    /// Translates the first of any references that are in pages; returns how many.
    fn translate_mixed(&mut self, refs: &[Ref], touches: &mut Vec<Touch>) -> usize {
        let before = touches.len();
        for some in refs.chunks(IN_FLIGHT) {
            let found = self.find_some(some);
            let here = found[..some.len()].iter().position(|ppn| *ppn == 0).unwrap_or(some.len());
            let (refs, ppns) = (&some[..here], &found[..here]);
            self.note_some(refs, ppns);
            touches.extend(ppns.iter().zip(refs).map(|(ppn, one)| one.touching(Ppn(*ppn))));
            if here < some.len() {
                break;
            }
        }
        touches.len() - before
    }

    /// The pages of up to [`IN_FLIGHT`] references; 0 for what is in none. Each of the three tables on the way is gone
    /// through for all before the next one is, because a guess gone wrong in one would hold up all that follow.
    fn find_some(&self, refs: &[Ref]) -> [u32; IN_FLIGHT] {
        let mut found = [0; IN_FLIGHT];
        let word = |one: Ref| match one.wish() {
            Wish::Block { file, block, .. } => block_word(file, block),
            _ => 0,
        };
        let index = self.cache.index();
        refs.iter().for_each(|one| index.prefetch(word(*one)));
        for (ppn, one) in found.iter_mut().zip(refs) {
            *ppn = match one.wish() {
                Wish::Memory { page, .. } => self.memory.find(page),
                Wish::Block { file, block, .. } => index.guess(block_word(file, block)),
                _ => 0,
            };
        }
        for (ppn, one) in found.iter_mut().zip(refs) {
            let word = word(*one);
            if word != 0 && *ppn != 0 && self.owners.word(*ppn) != word {
                *ppn = index.find(&self.owners, word);
            }
        }
        found
    }

    /// Notes references of pages.
    #[inline]
    fn note_some(&mut self, refs: &[Ref], ppns: &[u32]) {
        let are_memory = refs.iter().filter(|one| one.memory_page().is_some()).count();
        if self.pending.is_empty() && are_memory == refs.len() {
            self.memory.pool.hit_all(ppns);
        } else if self.pending.is_empty() && are_memory == 0 {
            self.cache.pool.hit_all(ppns);
            ppns.iter().for_each(|ppn| self.owners.look_at(*ppn));
            self.note_writes(refs, ppns);
        } else {
            refs.iter().zip(ppns).for_each(|(one, ppn)| self.note(*one, *ppn));
        }
    }

    /// Notes a reference of a page. What is about to be filled is in no pool yet.
    fn note(&mut self, one: Ref, ppn: u32) {
        let is_memory = one.memory_page().is_some();
        let pool = if is_memory { &mut self.memory.pool } else { &mut self.cache.pool };
        if self.pending.is_empty() || pool.contains(ppn) {
            pool.hit_all(&[ppn]);
        }
        if !is_memory {
            self.owners.look_at(ppn);
            self.note_writes(&[one], &[ppn]);
        }
    }

    /// Notes those references of blocks that are writes.
    #[inline]
    fn note_writes(&mut self, refs: &[Ref], ppns: &[u32]) {
        for (one, ppn) in refs.iter().zip(ppns) {
            if one.access() == Access::Write {
                self.cache.write(&self.owners, *ppn, self.now);
            }
        }
    }

    /// Says of a page of which steps are done what is to be said.
    fn settle_page(&mut self, ppn: u32) {
        match self.owners.get(ppn) {
            Some(Owner::Anonymous(_)) if !self.memory.pool.contains(ppn) => self.memory.pool.insert(ppn),
            Some(Owner::Block { file, .. }) => {
                self.cache.end_write(ppn, file);
                if !self.cache.pool.contains(ppn) {
                    self.cache.pool.insert(ppn);
                }
            }
            Some(Owner::Leaving) => self.put_free(ppn, Holds::Unknown),
            Some(Owner::Clearing) => self.put_free(ppn, Holds::Zeroes),
            Some(Owner::Promised) => self.keep(ppn),
            _ => {}
        }
    }

    /// A step names a page: until that is settled nobody else has it.
    pub(super) fn name_page(&mut self, ppn: u32) {
        self.pending.push(ppn);
        self.named.set(ppn);
    }

    /// A page is free at once.
    pub(super) fn put_free(&mut self, ppn: u32, holds: Holds) {
        self.owners.set(ppn, Owner::Free);
        self.free.put(ppn, holds);
    }
}

/// A number for whose files a guest has.
fn image(name: Option<&str>, serial: u64, seed: &Seed) -> u64 {
    match name {
        Some(name) => xxhash_rust::xxh3::xxh3_64(name.as_bytes()),
        None => seed.number("guest image", serial),
    }
}

impl GuestOs for Kernel {
    fn name(&self) -> &str {
        self.config.kind.name()
    }

    fn allocate(&mut self, most: u32, wait: Wait, _: GuestPages<'_>, _: &mut Stream) -> Given {
        self.give(most, wait)
    }

    fn free(&mut self, pages: &[Ppn]) {
        for ppn in pages {
            self.take_back(ppn.0);
        }
    }

    fn reset(&mut self) {
        self.take_all_back();
    }

    fn translate(&mut self, refs: &[Ref], touches: &mut Vec<Touch>) -> usize {
        let before = touches.len();
        let (mut rest, mut size) = (refs, IN_FLIGHT);
        while let Some(some) = rest.get(..rest.len().min(size)).filter(|some| !some.is_empty()) {
            let ahead = &rest[rest.len().min(AHEAD)..rest.len().min(AHEAD + size)];
            let here = self.translate_memory(some, ahead, touches);
            if here.unwrap_or_else(|| self.translate_mixed(some, touches)) < some.len() {
                break;
            }
            (rest, size) = (&rest[some.len()..], TOGETHER);
        }
        touches.len() - before
    }

    fn fault(&mut self, reference: Ref, _: &mut Stream, steps: &mut Vec<Step>) -> Dealt {
        let dealt = match reference.wish() {
            Wish::Memory { page, .. } => self.fault_memory(page, steps),
            Wish::Block { file, block, access: Access::Read } => self.read_block(file, block, steps),
            Wish::Block { file, block, access: Access::Write } => self.write_block(file, block, steps),
            // Processes give pages back by the thousand: what that refers to is left to the next one.
            Wish::Free { page } => return self.free_memory(page),
            Wish::Delete { file } => self.delete(file),
            Wish::Flush { file } => self.flush(file, steps),
            Wish::Look { .. } => Dealt::Served,
        };
        self.refer_to_tables(steps);
        dealt
    }

    fn take_memory_back(&mut self, pages: Range<u32>) {
        for page in self.memory.within(pages) {
            self.free_memory(page);
        }
    }

    fn settle(&mut self) {
        for ppn in std::mem::take(&mut self.pending) {
            self.named.take(ppn);
            self.settle_page(ppn);
        }
    }

    fn background(&mut self, second: u32, idle_ns: u64, _: &mut Stream, steps: &mut Vec<Step>) {
        self.now = second;
        self.go_on_booting(steps);
        self.write_expired(steps);
        self.keep_free_pages(steps);
        self.make_room_for_driver(steps);
        // Last: what is being cleared is not on the free list meanwhile.
        self.clear_pages(idle_ns, steps);
        self.refer_to_code(idle_ns, steps);
        self.refer_to_tables(steps);
    }

    fn take_buffers(&mut self, most: u32, _: u32, steps: &mut Vec<Step>) -> Vec<Ppn> {
        self.give_buffers(most, steps)
    }

    fn memory(&self) -> Option<GuestMemory> {
        let free = self.free.len();
        Some(GuestMemory {
            free,
            available: free + self.cache.pool.inactive().saturating_sub(self.cache.dirty()),
            kernel: self.kernel + self.buffers,
            anonymous: self.memory.resident(),
            cache: self.cache.pages(),
            dirty: self.cache.dirty(),
            swapped: self.memory.slots.used(),
        })
    }

    fn counts(&self) -> GuestCounts {
        self.counts
    }

    fn boxed_clone(&self) -> Box<dyn GuestOs> {
        Box::new(self.clone())
    }
}
