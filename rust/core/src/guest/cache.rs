//! The page cache: which blocks of files are in the guest's pages, which of them are dirty, and what is remembered of
//! those that had to go.
//!
//! Blocks are found by a hash table sized from memory, as kernels have it (`index`). All else that grows is
//! bounded by the guest's size too: files that have pages, and marks of dropped blocks, by which a *refault* is told from a first read. A mark stands in one of as many
//! sets as the guest has pages, and a set keeps its last four: of as many blocks dropped last as the guest has pages,
//! 99 % are known.

use std::fmt;

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;
use zerocopy::IntoBytes;

use super::index::Index;
use super::marks::Marks;
use super::owners::{Owner, Owners, block_word};
use super::pool::Pool;
use super::ring::Ring;
use crate::config::Replacement;
use crate::rng::mix;

/// First window of read-ahead in pages, at the second read in sequence. Linux 2.4 began with 4 or fewer.
pub(super) const AHEAD_FIRST: u32 = 4;
/// Widest window of read-ahead in pages: 128 KiB, Linux's default for disks.
pub(super) const AHEAD_MOST: u32 = 32;

/// In place of the second since which a block is dirty: it is being written.
const WRITING: u32 = u32::MAX;

/// A file that has pages.
#[derive(Clone, Copy, Debug, Default)]
struct File {
    /// The page that came in last, 0 if there is none.
    first: u32,
    pages: u32,
    dirty: u32,
    /// The block after the last read, from which the next one is in sequence.
    next: u32,
    /// Pages of the last read-ahead.
    window: u32,
}

impl File {
    fn words(&self) -> [u32; 5] {
        [self.first, self.pages, self.dirty, self.next, self.window]
    }
}

/// Blocks of files in the guest's pages.
#[derive(Clone)]
pub(super) struct Cache {
    /// Those that may be replaced.
    pub pool: Pool,
    index: Index,
    /// The page before and after of the same file.
    links: Vec<[u32; 2]>,
    /// 0: clean. Otherwise the second in which it became dirty, and one.
    since: Vec<u32>,
    files: HashMap<u32, File>,
    /// The pages that are dirty and not being written, since longest first.
    ages: Ring,
    dropped: Vec<[u32; 4]>,
    changed: Marks,
    pages: u32,
    dirty: u32,
}

impl Cache {
    /// Nothing yet, in a guest of so many pages.
    pub fn new(kind: Replacement, pages: u32) -> Self {
        Self {
            pool: Pool::new(kind, pages),
            index: Index::new(pages),
            links: vec![[0; 2]; pages as usize],
            since: vec![0; pages as usize],
            files: HashMap::new(),
            ages: Ring::new(pages),
            dropped: vec![[0; 4]; (pages as usize).next_power_of_two()],
            changed: Marks::default(),
            pages: 0,
            dirty: 0,
        }
    }

    /// Blocks in pages.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Blocks changed and not yet on the disk.
    pub fn dirty(&self) -> u32 {
        self.dirty
    }

    /// The page that a block is in; 0 if it is in none.
    #[inline]
    pub fn find(&self, owners: &Owners, file: u32, block: u32) -> u32 {
        self.index.find(owners, block_word(file, block))
    }

    /// The index by which blocks are found.
    #[inline]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// A block that was in none comes into a page, clean; the pool is told once its content is there.
    pub fn insert(&mut self, owners: &mut Owners, ppn: u32, file: u32, block: u32) {
        owners.set(ppn, Owner::Block { file, block });
        self.index.insert(owners.word(ppn), ppn);
        let of_file = self.files.entry(file).or_default();
        let after = std::mem::replace(&mut of_file.first, ppn);
        of_file.pages += 1;
        self.links[ppn as usize] = [0, after];
        if after != 0 {
            self.links[after as usize][0] = ppn;
        }
        self.pages += 1;
    }

    /// A page's block goes; its owner is set by the caller afterwards.
    pub fn remove(&mut self, owners: &Owners, ppn: u32, file: u32) {
        self.set_clean(ppn, file);
        self.pool.remove(ppn);
        self.index.remove(owners, ppn);
        let [before, after] = std::mem::take(&mut self.links[ppn as usize]);
        if after != 0 {
            self.links[after as usize][0] = before;
        }
        if before != 0 {
            self.links[before as usize][1] = after;
        }
        let of_file = self.files.get_mut(&file).expect("it has pages");
        of_file.pages -= 1;
        if before == 0 {
            of_file.first = after;
        }
        if of_file.pages == 0 {
            self.files.remove(&file);
        }
        self.pages -= 1;
    }

    /// Whether a page's block is not, or not yet, on the disk as it is.
    pub fn is_dirty(&self, ppn: u32) -> bool {
        self.since[ppn as usize] != 0
    }

    /// Whether a page's block is being written, and unchanged since that began.
    pub fn is_writing(&self, ppn: u32) -> bool {
        self.since[ppn as usize] == WRITING
    }

    /// A page's block is written to, in second `now`.
    #[inline]
    pub fn write(&mut self, owners: &Owners, ppn: u32, now: u32) {
        let since = self.since[ppn as usize];
        if since == 0 || since == WRITING {
            self.become_dirty(owners, ppn, now);
        }
    }

    fn become_dirty(&mut self, owners: &Owners, ppn: u32, now: u32) {
        let Some(Owner::Block { file, .. }) = owners.get(ppn) else { return };
        if std::mem::replace(&mut self.since[ppn as usize], now.saturating_add(1).min(WRITING - 1)) == 0 {
            self.dirty += 1;
            self.files.get_mut(&file).expect("it has pages").dirty += 1;
        }
        self.changed.set_far(file);
        self.ages.push(ppn);
    }

    /// A dirty page's block is being written: it is clean once that is done, unless it is written to meanwhile.
    pub fn begin_write(&mut self, ppn: u32) {
        self.ages.remove(ppn);
        self.since[ppn as usize] = WRITING;
    }

    /// What was begun is done.
    pub fn end_write(&mut self, ppn: u32, file: u32) {
        if self.is_writing(ppn) {
            self.set_clean(ppn, file);
        }
    }

    fn set_clean(&mut self, ppn: u32, file: u32) {
        if self.is_dirty(ppn) && !self.is_writing(ppn) {
            self.ages.remove(ppn);
        }
        if std::mem::take(&mut self.since[ppn as usize]) != 0 {
            self.dirty -= 1;
            self.files.get_mut(&file).expect("it has pages").dirty -= 1;
        }
    }

    /// Begins to write up to `most` blocks that became dirty before second `end`, the oldest first; returns their pages.
    pub fn begin_oldest(&mut self, end: u32, most: u32) -> Vec<u32> {
        let mut found = vec![];
        while found.len() < most as usize {
            let ppn = self.ages.first();
            if ppn == 0 || self.since[ppn as usize] > end {
                break;
            }
            self.begin_write(ppn);
            found.push(ppn);
        }
        found
    }

    /// The pages of a file's dirty blocks that are not being written, in no particular order. Cost: the file's pages,
    /// from the one that came in last to the dirty one that came in first.
    pub fn dirty_of(&self, file: u32) -> Vec<u32> {
        let dirty = self.files.get(&file).map_or(0, |of_file| of_file.dirty as usize);
        let all = self.pages_of(file).filter(|ppn| self.is_dirty(*ppn)).take(dirty);
        all.filter(|ppn| !self.is_writing(*ppn)).collect()
    }

    /// The pages of a file, the one that came in last first.
    pub fn pages_of(&self, file: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.files.get(&file).map_or(0, |of_file| of_file.first);
        std::iter::successors(Some(first), |ppn| Some(self.links[*ppn as usize][1]))
            .take_while(|ppn| *ppn != 0)
    }

    /// How many blocks from this one on, itself included, a read of it should bring in.
    pub fn window(&self, file: u32, block: u32) -> u32 {
        match self.files.get(&file) {
            Some(of_file) if of_file.next == block => (of_file.window * 2).clamp(AHEAD_FIRST, AHEAD_MOST),
            _ => 1,
        }
    }

    /// The blocks before `next` have been read, of which [`Cache::window`] said `window`.
    pub fn note_read(&mut self, file: u32, window: u32, next: u32) {
        if let Some(of_file) = self.files.get_mut(&file) {
            of_file.window = if window < AHEAD_FIRST { 0 } else { window };
            of_file.next = next;
        }
    }

    /// The set in which a block's mark stands, and the mark, which is not 0.
    fn mark(&self, word: u64) -> (usize, u32) {
        let hash = mix(word);
        (hash as usize & (self.dropped.len() - 1), (hash >> 32) as u32 | 1)
    }

    /// Leaves a mark for a block that is dropped.
    pub fn remember(&mut self, word: u64) {
        let (place, mark) = self.mark(word);
        let [first, second, third, _] = self.dropped[place];
        self.dropped[place] = [mark, first, second, third];
    }

    /// Whether there is a mark for a block; it is gone then.
    pub fn recall(&mut self, file: u32, block: u32) -> bool {
        let (place, mark) = self.mark(block_word(file, block));
        let found = self.dropped[place].iter_mut().find(|known| **known == mark);
        found.map(|known| *known = 0).is_some()
    }

    /// Whether a file was ever written to: what is on the disk is no longer what the image has.
    pub fn is_changed(&self, file: u32) -> bool {
        self.changed.get(file)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hash = Xxh3::new();
        let mut files: Vec<(&u32, &File)> = self.files.iter().collect();
        files.sort_unstable_by_key(|(number, _)| **number);
        for (number, file) in files {
            hash.update(&number.to_le_bytes());
            hash.update(file.words().as_bytes());
        }
        hash.update(self.links.as_bytes());
        hash.update(self.since.as_bytes());
        hash.update(self.dropped.as_bytes());
        self.ages.iter().for_each(|ppn| hash.update(&ppn.to_le_bytes()));
        let (pages, dirty, files) = (self.pages, self.dirty, self.files.len());
        write!(f, "{pages} pages of {files} files, {dirty} dirty, {:#018x}, ", hash.digest())?;
        write!(f, "changed {:?}, {:?}", self.changed, self.pool)
    }
}
