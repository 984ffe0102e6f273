//! What a room keeps of each virtual machine, by its slot.
//!
//! Slots are few and used again, so it is a vector. Every room is told of each virtual machine that is powered on, and
//! asked about those only; `table[vm]` says so.

use std::ops::{Index, IndexMut};

use crate::types::VmId;

/// A value for each virtual machine that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmTable<T> {
    slots: Vec<Option<T>>,
}

impl<T> VmTable<T> {
    /// No virtual machine yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: vec![] }
    }

    /// Adds a virtual machine. What another had in its slot is gone.
    pub fn add(&mut self, vm: VmId, value: T) {
        if self.slots.len() <= vm.index() {
            self.slots.resize_with(vm.index() + 1, || None);
        }
        self.slots[vm.index()] = Some(value);
    }

    /// Forgets a virtual machine, if it was added.
    pub fn remove(&mut self, vm: VmId) {
        if let Some(slot) = self.slots.get_mut(vm.index()) {
            *slot = None;
        }
    }

    /// The value of a virtual machine; none if it was not added.
    #[must_use]
    pub fn get(&self, vm: VmId) -> Option<&T> {
        self.slots.get(vm.index())?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, vm: VmId) -> Option<&mut T> {
        self.slots.get_mut(vm.index())?.as_mut()
    }

    /// All of them, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (VmId, &T)> {
        let slots = (0..=u16::MAX).map(VmId).zip(&self.slots);
        slots.filter_map(|(vm, value)| value.as_ref().map(|value| (vm, value)))
    }
}

impl<T> Default for VmTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

const ADDED: &str = "every VM that is powered on was added";

impl<T> Index<VmId> for VmTable<T> {
    type Output = T;

    fn index(&self, vm: VmId) -> &T {
        self.get(vm).expect(ADDED)
    }
}

impl<T> IndexMut<VmId> for VmTable<T> {
    fn index_mut(&mut self, vm: VmId) -> &mut T {
        self.get_mut(vm).expect(ADDED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(table: &VmTable<u32>) -> Vec<(u16, u32)> {
        table.iter().map(|(vm, value)| (vm.0, *value)).collect()
    }

    #[test]
    fn slots_are_filled_emptied_and_used_again() {
        let mut table = VmTable::new();
        table.remove(VmId(9));
        table.add(VmId(3), 30);
        table.add(VmId(0), 0);
        table.add(VmId(u16::MAX), 7);
        assert_eq!((table.get(VmId(1)), table.get(VmId(4)), listed(&table).len()), (None, None, 3));
        table.remove(VmId(3));
        assert_eq!(table.get_mut(VmId(3)), None);
        assert_eq!(listed(&table), [(0, 0), (u16::MAX, 7)]);
        table.add(VmId(3), 31);
        table[VmId(0)] += 5;
        assert_eq!((table[VmId(3)], listed(&table)), (31, vec![(0, 5), (3, 31), (u16::MAX, 7)]));
    }

    #[test]
    #[should_panic(expected = "was added")]
    fn nobody_else_is_asked_about() {
        let mut table = VmTable::new();
        table.add(VmId(1), ());
        let () = table[VmId(0)];
    }
}
