//! The server's swap file: which of its slots are free. What the slots hold is the transitions' business.

use crate::error::Error;
use crate::page_set::PageSet;
use crate::types::Slot;

/// All slots of a swap file, each free or owned by one page (I6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapFile {
    free: PageSet,
}

impl SwapFile {
    /// A swap file with all its slots free.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self { free: PageSet::full(slots) }
    }

    /// Slots.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.free.capacity()
    }

    /// Slots in use.
    #[must_use]
    pub fn used_slots(&self) -> u32 {
        self.free.capacity() - self.free.count()
    }

    /// Whether a slot is free.
    #[must_use]
    pub fn is_free(&self, slot: Slot) -> bool {
        self.free.contains(slot.0)
    }

    /// Takes the lowest free slot.
    ///
    /// # Errors
    ///
    /// [`Error::SwapFull`] if none is free.
    pub fn allocate(&mut self) -> Result<Slot, Error> {
        let lowest = self.free.lowest().ok_or(Error::SwapFull { slots: self.free.capacity() })?;
        self.free.remove(lowest);
        Ok(Slot(lowest))
    }

    /// Gives a slot back.
    pub fn free(&mut self, slot: Slot) {
        let was_used = self.free.insert(slot.0);
        debug_assert!(was_used, "I6: slot {} was free already", slot.0);
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.free.bytes()
    }
}
