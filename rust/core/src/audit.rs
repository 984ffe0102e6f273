//! The audit: reads the whole of memory and fails on the first contradiction, by the number of the invariant.
//!
//! It trusts nothing: owners are counted from the pmaps, totals from the frames, chains from their heads. I9 and I10 are
//! about what guests wrote before and cannot be seen in a state; models in the tests check them.
//! Cost: one read of every pmap, frame and shared page, and four bytes a machine page.

use crate::error::Error;
use crate::frame_table::{FrameView, Totals, truncated};
use crate::memory::{Memory, Tally, VmMemory};
use crate::pmap::{Entry, State};
use crate::types::{Access, Mpn, PULSE_PAGES, Ppn, Pulse, VmId};

/// Checks invariants I1 to I7.
///
/// # Errors
///
/// [`Error::Invariant`] with its number, or what `pulse` returns.
pub fn audit(memory: &Memory, pulse: Pulse<'_>) -> Result<(), Error> {
    let mut owners = Owners::new(memory);
    for (id, vm) in memory.vms() {
        audit_vm(memory, &mut owners, (id, vm), pulse)?;
    }
    audit_machine(memory, &owners, pulse)?;
    audit_chains(memory, pulse)?;
    check("I1", memory.machine().is_consistent(), || "the set of free pages contradicts itself".into())?;
    check("I6", memory.swapfile().is_consistent(), || "the sets of free slots contradict each other".into())?;
    let used = memory.swapfile().used_slots() as usize;
    check("I6", owners.slots.iter().filter(|owners| **owners == 1).count() == used, || {
        format!("{used} swap slots are in use but pages own another number of them")
    })
}

/// How many pmap entries name each machine page and swap slot.
struct Owners {
    pages: Vec<u32>,
    /// The sharing domain of the first owner.
    domains: Vec<u32>,
    slots: Vec<u8>,
}

impl Owners {
    fn new(memory: &Memory) -> Self {
        let slots = if memory.swapfile().used_slots() == 0 { 0 } else { memory.swapfile().slots() };
        let pages = memory.machine().pages() as usize;
        Self { pages: vec![0; pages], domains: vec![0; pages], slots: vec![0; slots as usize] }
    }
}

fn audit_vm(
    memory: &Memory,
    owners: &mut Owners,
    (id, vm): (VmId, &VmMemory),
    pulse: Pulse<'_>,
) -> Result<(), Error> {
    let mut tally = Tally::default();
    for mpn in vm.overhead().iter().cloned().flatten() {
        owners.pages[mpn as usize] += 1;
    }
    for (ppn, entry) in (0..).map(Ppn).zip(vm.pmap().entries()) {
        if ppn.index() % PULSE_PAGES == 0 {
            pulse()?;
        }
        tally.count(*entry);
        audit_entry(memory, owners, (id, ppn, *entry))?;
    }
    check("I2", tally == *vm.tally(), || {
        format!("the pages of VM {} add up to {tally:?}, not {:?}", id.0, vm.tally())
    })
}

fn audit_entry(
    memory: &Memory,
    owners: &mut Owners,
    (vm, ppn, entry): (VmId, Ppn, Entry),
) -> Result<(), Error> {
    let page = || format!("page {} of VM {}", ppn.0, vm.0);
    let is_private = matches!(entry.state(), State::Private(_));
    check("I3", is_private || !entry.is_leaving(), || format!("{} is {entry:?} and leaving", page()))?;
    let marked = Entry::new(entry.state()).with_traced(entry.is_traced());
    let rebuilt = marked.with_leaving(entry.is_leaving());
    for access in [Access::Read, Access::Write] {
        check("I3", entry.faults(access) == rebuilt.faults(access), || {
            format!("{} is {entry:?} and its access bits say otherwise", page())
        })?;
    }
    match entry.state() {
        State::Private(mpn) => {
            owners.pages[mpn.index()] += 1;
            let is_shared = matches!(memory.frames().get(mpn), FrameView::Shared { .. });
            check("I3", !is_shared, || format!("{} is private on shared machine page {}", page(), mpn.0))
        }
        State::Shared(mpn) => {
            owners.pages[mpn.index()] += 1;
            let first = owners.pages[mpn.index()] == 1;
            let domain = memory.vm(vm).domain();
            if first {
                owners.domains[mpn.index()] = domain;
            }
            check("I4", owners.domains[mpn.index()] == domain, || {
                format!("{} is shared across domains", page())
            })?;
            audit_sharer(memory, vm, mpn, first, page)
        }
        State::Swapped(slot) => {
            let owners = owners.slots.get_mut(slot.index());
            let owners = owners.map(|owners| {
                *owners = owners.saturating_add(1);
                *owners
            });
            check("I6", owners == Some(1) && !memory.swapfile().is_free(slot), || {
                format!("{} is in swap slot {}, which is free or has another owner", page(), slot.0)
            })
        }
        State::Empty | State::Ballooned => {
            check("I7", entry.state().mpn().is_none(), || format!("{} has a machine page", page()))
        }
    }
}

fn audit_sharer(
    memory: &Memory,
    vm: VmId,
    mpn: Mpn,
    first: bool,
    page: impl Fn() -> String,
) -> Result<(), Error> {
    let FrameView::Shared { hash, .. } = memory.frames().get(mpn) else {
        return check("I3", false, || {
            format!("{} is shared but machine page {} has no frame", page(), mpn.0)
        });
    };
    let found = if first { memory.hash(vm, mpn) } else { hash };
    check("I4", found == hash, || {
        format!("{} hashes to {found:#018x}, its shared frame says {hash:#018x}", page())
    })
}

fn audit_machine(memory: &Memory, owners: &Owners, pulse: Pulse<'_>) -> Result<(), Error> {
    let frames = memory.frames();
    let (mut found, mut overflowed) = (Totals::default(), 0);
    for (mpn, owners) in (0..).map(Mpn).zip(&owners.pages) {
        if mpn.index() % PULSE_PAGES == 0 {
            pulse()?;
        }
        check("I1", memory.machine().is_free(mpn) == (*owners == 0), || {
            format!("machine page {} has {owners} owners and is on the wrong list", mpn.0)
        })?;
        match frames.get(mpn) {
            FrameView::None => check("I2", *owners <= 1, || {
                format!("machine page {} is private and has {owners} owners", mpn.0)
            })?,
            FrameView::Hint { vm, ppn, .. } => {
                found.hint_frames += 1;
                audit_hint(memory, mpn, vm, ppn)?;
            }
            FrameView::Shared { is_zero, .. } => {
                check("I4", is_zero == memory.content().page(mpn.index()).is_zero(), || {
                    format!("shared machine page {} is wrongly marked as zero or not", mpn.0)
                })?;
                let count = frames.count(mpn);
                check("I2", count == *owners && count > 0, || {
                    format!("shared machine page {} counts {count} and has {owners} owners", mpn.0)
                })?;
                overflowed += usize::from(count >= 0xFFFF);
                add_shared(&mut found, memory, mpn, count);
            }
        }
    }
    check("I2", found == frames.totals() && overflowed == frames.overflowed(), || {
        format!("the frames add up to {found:?}, {overflowed} overflowed, not {:?}", frames.totals())
    })
}

/// A hint may be wrong about the content, but a page that is gone takes its hint along.
fn audit_hint(memory: &Memory, mpn: Mpn, vm: VmId, ppn: Ppn) -> Result<(), Error> {
    let named = memory.vms().find(|(id, _)| *id == vm).map(|(_, vm)| vm.pmap().get(ppn));
    let stands = named.is_some_and(|entry| entry.state() == State::Private(mpn) && !entry.is_ineligible());
    check("I5", stands, || {
        format!("machine page {} has a hint of page {} of VM {}, which is not there", mpn.0, ppn.0, vm.0)
    })
}

fn add_shared(totals: &mut Totals, memory: &Memory, mpn: Mpn, count: u32) {
    totals.shared_frames += 1;
    totals.reclaimed_pages += u64::from(count - 1);
    if count > 1 {
        totals.shared_pages += u64::from(count);
        if memory.content().page(mpn.index()).is_zero() {
            totals.zero_pages += u64::from(count);
        }
    }
}

/// Every frame is in the one chain of its hash.
fn audit_chains(memory: &Memory, pulse: Pulse<'_>) -> Result<(), Error> {
    let frames = memory.frames();
    let mut shared = vec![];
    let (mut met, all) = (0, frames.totals().hint_frames + frames.totals().shared_frames);
    for chain in 0..frames.chains() {
        if chain % PULSE_PAGES == 0 {
            pulse()?;
        }
        let mut at = frames.head(chain);
        shared.clear();
        while let Some(mpn) = at {
            met += 1;
            if let FrameView::Shared { hash, .. } = frames.get(mpn) {
                shared.push(hash);
            }
            let hash = match frames.get(mpn) {
                FrameView::None => None,
                FrameView::Hint { hash, .. } | FrameView::Shared { hash, .. } => Some(truncated(hash)),
            };
            check("I5", met <= all && hash.map(|hash| frames.chain(hash)) == Some(chain), || {
                format!("machine page {} is in chain {chain}, where it does not belong", mpn.0)
            })?;
            at = frames.next(mpn);
        }
        shared.sort_unstable();
        check("I4", shared.windows(2).all(|pair| pair[0] != pair[1]), || {
            format!("two shared frames of chain {chain} have the same hash")
        })?;
    }
    check("I5", met == all, || format!("{all} frames are in use but {met} are in chains"))
}

fn check(invariant: &'static str, holds: bool, fact: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Invariant { invariant, fact: fact() }) }
}
