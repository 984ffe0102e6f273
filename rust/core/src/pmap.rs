//! The pmap of one virtual machine: for each PPN its MPN, or the reason why there is none (§2).
//!
//! An entry is 64 bits:
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | reads fault |
//! | 1 | writes fault |
//! | 2-4 | state: empty, private, shared, swapped, ballooned |
//! | 5 | traced: the next access is to be counted (§5.3) |
//! | 6 | ineligible: its page once gave a false match and is not offered for sharing again (§4.3) |
//! | 7 | leaving: a private page whose page-out is under way; the next access cancels it (§3.3) |
//! | 32-63 | MPN, or swap slot |
//!
//! Every reason to leave the fast path of an access is in the two lowest bits, which follow from the others.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arena::{Arena, prefetch};
use crate::error::Error;
use crate::reference::Touch;
use crate::types::{Access, Mpn, Ppn, Pulse, Slot};

/// Where a page of a virtual machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nowhere yet: it reads zero.
    Empty,
    /// On a machine page of its own.
    Private(Mpn),
    /// On a machine page that a shared frame names; writes break away from it.
    Shared(Mpn),
    /// In the swap file.
    Swapped(Slot),
    /// Given up by the guest.
    Ballooned,
}

impl State {
    /// Names of the states, by code.
    pub const NAMES: [&'static str; 5] = ["empty", "private", "shared", "swapped", "ballooned"];

    /// The state's number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Private(_) => 1,
            Self::Shared(_) => 2,
            Self::Swapped(_) => 3,
            Self::Ballooned => 4,
        }
    }

    /// The state's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.code())]
    }

    /// The machine page, if there is one.
    #[must_use]
    pub fn mpn(self) -> Option<Mpn> {
        match self {
            Self::Private(mpn) | Self::Shared(mpn) => Some(mpn),
            Self::Empty | Self::Swapped(_) | Self::Ballooned => None,
        }
    }

    fn payload(self) -> u32 {
        match self {
            Self::Private(Mpn(number)) | Self::Shared(Mpn(number)) | Self::Swapped(Slot(number)) => number,
            Self::Empty | Self::Ballooned => 0,
        }
    }

    fn faults(self) -> u64 {
        match self {
            Self::Private(_) => 0,
            Self::Shared(_) => WRITES_FAULT,
            Self::Empty | Self::Swapped(_) | Self::Ballooned => READS_FAULT | WRITES_FAULT,
        }
    }
}

const READS_FAULT: u64 = 1;
const WRITES_FAULT: u64 = 1 << 1;
const STATE_SHIFT: u32 = 2;
const STATE_MASK: u64 = 7;
const TRACED: u64 = 1 << 5;
const INELIGIBLE: u64 = 1 << 6;
const LEAVING: u64 = 1 << 7;
const PAYLOAD_SHIFT: u32 = 32;

/// Touches whose entries are looked at together, and those at the beginning: after a fault the next is often near.
const BLOCK: usize = 32;
const FIRST: usize = 16;
/// How far ahead touches are whose entries are asked for.
const AHEAD: usize = 64;

/// One packed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Entry(u64);

impl Entry {
    /// An untraced, eligible entry in that state.
    #[must_use]
    pub fn new(state: State) -> Self {
        let code = u64::from(state.code()) << STATE_SHIFT;
        Self(u64::from(state.payload()) << PAYLOAD_SHIFT | code | state.faults())
    }

    /// The entry in another state: the traced bit stays; ineligibility and leaving end with the page they were about.
    #[must_use]
    pub fn with_state(self, state: State) -> Self {
        Self::new(state).with_traced(self.is_traced())
    }

    /// The entry, traced or not.
    #[must_use]
    pub fn with_traced(self, traced: bool) -> Self {
        self.with_mark(TRACED, traced)
    }

    /// The entry, leaving or not. Only private pages leave: any other entry stays as it is.
    #[must_use]
    pub fn with_leaving(self, leaving: bool) -> Self {
        self.with_mark(LEAVING, leaving && matches!(self.state(), State::Private(_)))
    }

    /// The entry with a mark set or not, and the access bits that follow.
    fn with_mark(self, mark: u64, set: bool) -> Self {
        let marks = self.0 & (TRACED | INELIGIBLE | LEAVING) & !mark | if set { mark } else { 0 };
        let faults = if marks & (TRACED | LEAVING) == 0 { 0 } else { READS_FAULT | WRITES_FAULT };
        Self(Self::new(self.state()).0 | marks | faults)
    }

    /// The entry, never to be offered for sharing while it keeps its page.
    #[must_use]
    pub fn as_ineligible(self) -> Self {
        Self(self.0 | INELIGIBLE)
    }

    /// Where the page is.
    #[must_use]
    pub fn state(self) -> State {
        let number = (self.0 >> PAYLOAD_SHIFT) as u32;
        match self.0 >> STATE_SHIFT & STATE_MASK {
            0 => State::Empty,
            1 => State::Private(Mpn(number)),
            2 => State::Shared(Mpn(number)),
            3 => State::Swapped(Slot(number)),
            4 => State::Ballooned,
            code => unreachable!("entries are made by Entry::new, which knows no state {code}"),
        }
    }

    /// The machine page of a shared page: [`Entry::state`] for walks that are after nothing else.
    #[inline]
    pub fn shared(self) -> Option<Mpn> {
        let is_shared = self.0 >> STATE_SHIFT & STATE_MASK == u64::from(State::Shared(Mpn(0)).code());
        is_shared.then_some(Mpn((self.0 >> PAYLOAD_SHIFT) as u32))
    }

    /// Whether the access leaves the fast path.
    #[must_use]
    pub fn faults(self, access: Access) -> bool {
        self.0 & fault_mask(access) != 0
    }

    /// Whether the next access is to be counted.
    #[must_use]
    pub fn is_traced(self) -> bool {
        self.0 & TRACED != 0
    }

    /// Whether the page is not offered for sharing.
    #[must_use]
    pub fn is_ineligible(self) -> bool {
        self.0 & INELIGIBLE != 0
    }

    /// Whether the page's page-out is under way.
    #[must_use]
    pub fn is_leaving(self) -> bool {
        self.0 & LEAVING != 0
    }

    /// The machine page of an entry on which reads do not fault.
    fn mapped_index(self) -> usize {
        (self.0 >> PAYLOAD_SHIFT) as usize
    }
}

fn fault_mask(access: Access) -> u64 {
    match access {
        Access::Read => READS_FAULT,
        Access::Write => WRITES_FAULT,
    }
}

/// The entries of one virtual machine.
#[derive(Debug)]
pub struct Pmap {
    entries: Arena<Entry>,
}

impl Pmap {
    /// `pages` entries, all empty.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if the system does not give the memory, or what `pulse` returns.
    pub fn new(pages: u32, pulse: Pulse<'_>) -> Result<Self, Error> {
        let mut entries = Arena::zeroed(pages as usize)?;
        while !entries.commit_some(pages as usize) {
            pulse()?;
        }
        entries.as_mut_slice().fill(Entry::new(State::Empty));
        Ok(Self { entries })
    }

    /// Pages.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.entries.as_slice().len() as u32
    }

    /// All entries, by PPN.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        self.entries.as_slice()
    }

    /// One entry.
    #[must_use]
    pub fn get(&self, ppn: Ppn) -> Entry {
        self.entries.as_slice()[ppn.index()]
    }

    /// Changes one entry.
    pub fn set(&mut self, ppn: Ppn, entry: Entry) {
        self.entries.as_mut_slice()[ppn.index()] = entry;
    }

    /// How many of the references, from the first, do not fault.
    ///
    /// Sixteen look-ups are in flight at a time: a far entry costs its share of a cache miss, not a whole one.
    #[must_use]
    pub fn run_length(&self, ppns: &[u32], access: Access) -> usize {
        let (entries, mask) = (self.entries.as_slice(), fault_mask(access));
        let word = |ppn: &u32| entries[*ppn as usize].0;
        let clean = ppns
            .chunks_exact(16)
            .take_while(|block| block.iter().fold(0, |seen, ppn| seen | word(ppn)) & mask == 0)
            .count()
            * 16;
        clean + ppns[clean..].iter().take_while(|ppn| word(ppn) & mask == 0).count()
    }

    /// How many of the touches, from the first, do not fault, and whether there are writes among these:
    /// [`Pmap::run_length`] of reads and writes mixed. A page that there is not ends a run. Those who touch have other
    /// tables to go through as well, so that entries are not in the caches: they are asked for ahead.
    #[must_use]
    pub fn mixed_run(&self, touches: &[Touch]) -> (usize, bool) {
        let entries = self.entries.as_slice();
        // The bit for writes is next to the one for reads, and shifted into its place for a write.
        const { assert!(READS_FAULT << 1 == WRITES_FAULT) };
        let word = |ppn: u32| entries.get(ppn as usize).map_or(READS_FAULT | WRITES_FAULT, |one| one.0);
        let fault =
            |touch: &Touch| word(touch.ppn().0) >> u32::from(touch.access() == Access::Write) & READS_FAULT;
        let (mut clean, mut writes, mut size) = (0, false, FIRST);
        while clean < touches.len() {
            let block = &touches[clean..touches.len().min(clean + size)];
            let ahead = touches[touches.len().min(clean + AHEAD)..].iter().take(size);
            ahead.filter_map(|touch| entries.get(touch.ppn().index())).for_each(prefetch);
            let reads = Touch::reads(block);
            let faults = match reads {
                Some(ppns) => ppns.iter().fold(0, |seen, ppn| seen | word(*ppn)) & READS_FAULT,
                None => block.iter().fold(0, |seen, touch| seen | fault(touch)),
            };
            if faults != 0 {
                let rest = block.iter().take_while(|touch| fault(touch) == 0).count();
                return (clean + rest, writes || Touch::any_writes(&block[..rest]));
            }
            (clean, writes, size) = (clean + block.len(), writes || reads.is_none(), BLOCK);
        }
        (clean, writes)
    }

    /// The machine pages of writes among touches that do not fault.
    pub fn written<'a>(&'a self, touches: &'a [Touch]) -> impl Iterator<Item = usize> + 'a {
        let entries = self.entries.as_slice();
        let writes = touches.iter().filter(|touch| touch.access() == Access::Write);
        writes.map(|touch| entries[touch.ppn().index()].mapped_index())
    }

    /// The machine pages of the references up to the first that faults on a write.
    pub fn writable<'a>(&'a self, ppns: &'a [u32]) -> impl Iterator<Item = usize> + 'a {
        let entries = self.entries.as_slice();
        let found = ppns.iter().map(|ppn| entries[*ppn as usize]);
        found.take_while(|entry| !entry.faults(Access::Write)).map(Entry::mapped_index)
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.committed_bytes()
    }

    /// A copy.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], or what `pulse` returns.
    pub fn fork(&self, pulse: Pulse<'_>) -> Result<Self, Error> {
        Ok(Self { entries: self.entries.fork(pulse)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 5] = [
        State::Empty,
        State::Private(Mpn(7)),
        State::Shared(Mpn(u32::MAX - 1)),
        State::Swapped(Slot(9)),
        State::Ballooned,
    ];

    #[test]
    fn an_entry_says_what_it_was_given() {
        for state in STATES {
            for traced in [false, true] {
                let entry = Entry::new(state).as_ineligible().with_traced(traced);
                assert_eq!((entry.state(), entry.is_traced(), entry.is_ineligible()), (state, traced, true));
                let moved = entry.with_state(State::Private(Mpn(1)));
                assert_eq!((moved.is_traced(), moved.is_ineligible()), (traced, false));
            }
        }
    }

    #[test]
    fn access_bits_follow_from_state_and_trace() {
        let reads = STATES.map(|state| Entry::new(state).faults(Access::Read));
        let writes = STATES.map(|state| Entry::new(state).faults(Access::Write));
        assert_eq!(reads, [true, false, false, true, true]);
        assert_eq!(writes, [true, false, true, true, true]);
        for state in STATES {
            let traced = Entry::new(state).with_traced(true);
            assert!(traced.faults(Access::Read) && traced.faults(Access::Write));
            assert_eq!(traced.with_traced(false), Entry::new(state));
        }
    }

    #[test]
    fn a_private_page_can_leave_and_then_every_access_faults() {
        for state in STATES {
            let leaving = Entry::new(state).as_ineligible().with_leaving(true);
            let is_private = matches!(state, State::Private(_));
            assert_eq!((leaving.is_leaving(), leaving.is_ineligible()), (is_private, true));
            assert_eq!(leaving.with_leaving(false), Entry::new(state).as_ineligible());
            for traced in [true, false] {
                let both = leaving.with_traced(traced);
                assert_eq!((both.is_leaving(), both.is_traced()), (is_private, traced));
                assert!(!is_private || both.faults(Access::Read) && both.faults(Access::Write));
                let moved = both.with_state(State::Private(Mpn(1)));
                assert_eq!(moved, Entry::new(State::Private(Mpn(1))).with_traced(traced));
            }
        }
    }

    #[test]
    fn a_run_ends_at_the_first_fault() {
        let mut pmap = Pmap::new(64, &mut || Ok(())).expect("small");
        (0..64).for_each(|ppn| pmap.set(Ppn(ppn), Entry::new(State::Private(Mpn(ppn)))));
        let ppns: Vec<u32> = (0..64).rev().collect();
        assert_eq!(pmap.run_length(&ppns, Access::Write), 64);
        for at in [0, 1, 15, 16, 17, 40, 63] {
            let before = pmap.get(Ppn(63 - at));
            pmap.set(Ppn(63 - at), Entry::new(State::Shared(Mpn(1))));
            assert_eq!(pmap.run_length(&ppns, Access::Write), at as usize);
            assert_eq!(pmap.run_length(&ppns, Access::Read), 64);
            pmap.set(Ppn(63 - at), before);
        }
    }

    /// What there is at a page of 200 others, all private and at rest; none: no page.
    fn check_mixed_run(at: u32, entry: Option<Entry>, touches: &[Touch]) {
        let mut pmap = Pmap::new(200, &mut || Ok(())).expect("small");
        (0..200).for_each(|ppn| pmap.set(Ppn(ppn), Entry::new(State::Private(Mpn(ppn)))));
        entry.iter().for_each(|entry| pmap.set(Ppn(at), *entry));
        let faults = entry.is_none_or(|entry| entry.faults(touches[at as usize].access()));
        let run = if faults { at as usize } else { touches.len() };
        let writes = touches[..run].iter().any(|touch| touch.access() == Access::Write);
        assert_eq!(pmap.mixed_run(touches), (run, writes), "{at} {entry:?} {touches:?}");
    }

    #[test]
    fn a_run_of_reads_and_writes_ends_at_the_first_that_faults_or_is_of_no_page() {
        let traced = Entry::new(STATES[1]).with_traced(true);
        let entries: Vec<Option<Entry>> =
            STATES.iter().map(|state| Some(Entry::new(*state))).chain([Some(traced), None]).collect();
        for (len, at) in [(5, 4), (32, 31), (33, 32), (200, 0), (200, 31), (200, 32), (200, 101), (200, 199)]
        {
            for (entry, writes_from) in
                entries.iter().flat_map(|entry| [0, 3, 150, 999].map(|from| (entry, from)))
            {
                let access = |place| if place >= writes_from { Access::Write } else { Access::Read };
                let mut touches: Vec<Touch> =
                    (0..len).map(|place| Touch::new(Ppn(place), access(place))).collect();
                for access in [Access::Read, Access::Write] {
                    let page = if entry.is_some() { at } else { 200 };
                    touches[at as usize] = Touch::new(Ppn(page), access);
                    check_mixed_run(at, *entry, &touches);
                }
            }
        }
    }
}
