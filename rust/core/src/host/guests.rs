//! What those who live on a host may ask of it: its guests, and what it did that costs time.

use super::Host;
use crate::balloon::GuestOs;
use crate::reference::{GuestCounts, GuestMemory};
use crate::rng::Stream;
use crate::types::VmId;

impl Host {
    /// The operating system in a virtual machine, and the stream of its random choices.
    pub fn guest_os(&mut self, vm: VmId) -> (&mut dyn GuestOs, &mut Stream) {
        self.balloon.guest_os(vm)
    }

    /// What a guest says of its memory, if it says anything, and what it did for want of it.
    #[must_use]
    pub fn guest_memory(&self, vm: VmId) -> (Option<GuestMemory>, GuestCounts) {
        let os = self.balloon.os(vm);
        (os.memory(), os.counts())
    }

    /// Runs of slots and pages written to the swap file so far.
    #[must_use]
    pub fn swap_writes(&self) -> (u64, u64) {
        let totals = self.swapper.totals();
        (totals.writes, totals.written)
    }

    /// Pages that went into or out of the balloon of a virtual machine so far.
    #[must_use]
    pub fn balloon_moves(&self, vm: VmId) -> u64 {
        let counts = self.balloon.counts(vm);
        counts.inflated + counts.deflated
    }
}
