//! The translation cache of one virtual machine: PPN → MPN of pages in recent I/O (§7).
//!
//! It is direct-mapped: page `n` has place `n % PLACES`, so the neighbouring pages of a ring never drive each other out.
//! An entry is copied from the pmap together with the count of changes in its group (`VmMemory::version`), and holds as
//! long as that count is the same; so whoever changes a page, in whichever room, makes the copy worthless at that moment.
//! Groups and places are the same numbers: a look reads one entry and one count, and not the pmap.

use crate::memory::{Memory, VERSIONS};
use crate::types::{Access, Mpn, Ppn, VmId};

/// Entries of a cache.
pub const PLACES: usize = VERSIONS;

/// Where a page is, as far as an access finds it there without a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The page's machine page.
    pub mpn: Mpn,
    /// Whether writes do not fault.
    pub is_writable: bool,
    /// Place of the page's record.
    pub record: u32,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    /// 0 in a place that holds nothing.
    version: u64,
    ppn: Ppn,
    found: Translation,
}

/// The cache of one virtual machine.
#[derive(Clone, Debug)]
pub struct Cache(Box<[Kept]>);

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        let found = Translation { mpn: Mpn(0), is_writable: false, record: 0 };
        Self(vec![Kept { version: 0, ppn: Ppn(0), found }; PLACES].into())
    }

    /// Where the page is, if the cache knows and the access does not fault. Somebody must watch the virtual machine
    /// (`VmMemory::watch`).
    #[must_use]
    #[inline]
    pub fn look(&self, memory: &Memory, vm: VmId, ppn: Ppn, access: Access) -> Option<Translation> {
        let kept = &self.0[ppn.index() % PLACES];
        let holds = kept.ppn == ppn && memory.vm(vm).version(ppn) == Some(kept.version);
        (holds && (kept.found.is_writable || access == Access::Read)).then_some(kept.found)
    }

    /// Keeps what the pmap says of a page now.
    pub fn keep(&mut self, memory: &Memory, vm: VmId, ppn: Ppn, found: Translation) {
        let version = memory.vm(vm).version(ppn).unwrap_or(0);
        self.0[ppn.index() % PLACES] = Kept { version, ppn, found };
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(|kept| kept.version = 0);
    }

    /// What it would answer: pages that are not known by now are left out.
    pub fn known(&self, memory: &Memory, vm: VmId) -> impl Iterator<Item = (Ppn, Translation)> {
        let holds = move |kept: &&Kept| memory.vm(vm).version(kept.ppn) == Some(kept.version);
        self.0.iter().filter(holds).map(|kept| (kept.ppn, kept.found))
    }
}

/// What the pmap says of a page, if the access does not fault.
///
/// # Panics
///
/// If the page is not there.
#[must_use]
#[inline]
pub fn walk(memory: &Memory, vm: VmId, ppn: Ppn, access: Access) -> Option<Translation> {
    let entry = memory.entry(vm, ppn);
    if entry.faults(access) {
        return None;
    }
    let mpn = entry.state().mpn().expect("only resident pages do not fault");
    Some(Translation { mpn, is_writable: !entry.faults(Access::Write), record: 0 })
}
