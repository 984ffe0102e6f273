//! A guest's own swap device: which of its slots are in use.
//!
//! Slots are handed out in ascending order from where the last one was, so what is paged out together stands together;
//! at the end it begins anew with what has become free.

use super::marks::Marks;

/// The slots of a swap device.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    len: u32,
    used: u32,
    next: u32,
    taken: Marks,
}

impl Slots {
    /// So many, all free.
    pub fn new(len: u32) -> Self {
        Self { len, used: 0, next: 0, taken: Marks::clear(len) }
    }

    /// Slots in use.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Slots not in use.
    pub fn free(&self) -> u32 {
        self.len - self.used
    }

    /// Takes the next one.
    pub fn take(&mut self) -> Option<u32> {
        if self.used == self.len {
            return None;
        }
        let ahead = self.taken.first_clear(self.next, self.len);
        let slot = ahead.or_else(|| self.taken.first_clear(0, self.next))?;
        self.taken.set(slot);
        self.used += 1;
        self.next = slot + 1;
        Some(slot)
    }

    /// Gives one back.
    pub fn put(&mut self, slot: u32) {
        self.used -= u32::from(self.taken.take(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_ascend_and_begin_anew() {
        let mut slots = Slots::new(5);
        assert_eq!([slots.take(), slots.take(), slots.take()], [Some(0), Some(1), Some(2)]);
        slots.put(1);
        slots.put(1);
        assert_eq!((slots.used(), slots.free()), (2, 3));
        assert_eq!([slots.take(), slots.take(), slots.take()], [Some(3), Some(4), Some(1)]);
        assert_eq!((slots.take(), slots.free()), (None, 0));
        slots.put(4);
        assert_eq!(slots.take(), Some(4));
        assert_eq!(Slots::new(0).take(), None);
    }
}
