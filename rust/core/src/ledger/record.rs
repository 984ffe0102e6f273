//! The words of the ledger: what can be recorded.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::types::{FreeState, VmId};

/// Why targets were computed (§6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A balance period was over.
    Period,
    /// A virtual machine was powered on.
    PowerOn,
    /// A virtual machine was powered off.
    PowerOff,
    /// A virtual machine's min, max or shares were changed.
    Reconfigured,
    /// Free memory had crossed a threshold.
    StateChanged,
    /// Memory was short, and would have been with everybody at their target.
    StillShort,
    /// The host was given another policy, or one with other parameters.
    PolicySet,
}

/// Which bound a target was clamped to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// To none.
    #[default]
    None,
    /// It would be less but for the min.
    Min,
    /// It would be more but for the max.
    Max,
}

/// How pages are moved. Each page counts once, with [`Mechanism::BalloonFreed`] as a part of what inflates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Contents given at once, at power-on or later.
    Load,
    /// A first touch.
    ZeroFill,
    /// A write to a shared page.
    CowBreak,
    /// Merged into a shared page by a scan.
    Merge,
    /// Given to the balloon.
    BalloonInflate,
    /// Of these, pages that freed a machine page.
    BalloonFreed,
    /// Given back by the balloon.
    BalloonDeflate,
    /// Given back at once, since the guest touched a page of its balloon.
    Pop,
    /// Written to the swap file.
    PageOut,
    /// The same for a reference that could not wait.
    EmergencyPageOut,
    /// Merged when it was about to be paged out (§4.3).
    SharedBeforeSwap,
    /// Brought back from the swap file.
    PageIn,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Load,
        Self::ZeroFill,
        Self::CowBreak,
        Self::Merge,
        Self::BalloonInflate,
        Self::BalloonFreed,
        Self::BalloonDeflate,
        Self::Pop,
        Self::PageOut,
        Self::EmergencyPageOut,
        Self::SharedBeforeSwap,
        Self::PageIn,
    ];
}

/// Pages by the mechanism that moved them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves([u64; Mechanism::ALL.len()]);

impl Moves {
    /// Adds another's pages.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(pages, more)| *pages += more);
    }

    /// The pages moved since `before`.
    ///
    /// # Panics
    ///
    /// If a count is lower than before.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let moved = |mechanism: usize| self.0[mechanism].checked_sub(before.0[mechanism]);
        Self(std::array::from_fn(|mechanism| moved(mechanism).expect("counts of moved pages only grow")))
    }

    /// The mechanisms that moved pages, and how many.
    pub fn iter(&self) -> impl Iterator<Item = (Mechanism, u64)> {
        Mechanism::ALL.into_iter().zip(self.0).filter(|(_, pages)| *pages > 0)
    }
}

impl Index<Mechanism> for Moves {
    type Output = u64;

    fn index(&self, mechanism: Mechanism) -> &u64 {
        &self.0[mechanism as usize]
    }
}

impl IndexMut<Mechanism> for Moves {
    fn index_mut(&mut self, mechanism: Mechanism) -> &mut u64 {
        &mut self.0[mechanism as usize]
    }
}

/// What a virtual machine is entitled to (§6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlement {
    /// What it gets while there is enough, in pages.
    pub max_pages: u32,
    /// What it gets in any case, in pages.
    pub min_pages: u32,
    /// Its part relative to others (§5.1).
    pub shares: u64,
}

/// A virtual machine that is powered on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Its number among all that were ever powered on here.
    pub serial: u64,
    /// Its slot.
    pub vm: VmId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is entitled to.
    pub entitlement: Entitlement,
}

/// What a host knew when it took a policy's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasion<'a> {
    /// Why the policy was asked.
    pub cause: Cause,
    /// Name of the policy.
    pub policy: &'a str,
    /// How short of memory the host was.
    pub state: FreeState,
    /// Pages there were for all virtual machines together.
    pub available_pages: u64,
    /// Free machine pages.
    pub free_pages: u32,
    /// Serial of the virtual machine that would lose the next page, if the policy can tell.
    pub cheapest: Option<u64>,
}

/// The virtual machine that would lose the next page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cheapest {
    /// Its serial.
    pub serial: u64,
    /// Its adjusted shares-per-page ρ, if the policy has prices.
    pub price: Option<f64>,
}

/// An answer of a policy that was taken, as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When.
    pub time_ns: u64,
    /// Why the policy was asked.
    pub cause: Cause,
    /// Name of the policy, its beginning if that is very long.
    pub policy: Arc<str>,
    /// How short of memory the host was.
    pub state: FreeState,
    /// Pages there were for all virtual machines together.
    pub available_pages: u64,
    /// Free machine pages.
    pub free_pages: u32,
    /// All targets together. More than available means that the policy overcommits, and paging follows.
    pub target_pages: u64,
    /// Who would lose the next page, if the policy can tell.
    pub cheapest: Option<Cheapest>,
}

/// The part of a policy's answer that is about one virtual machine, and what explains it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Serial of the virtual machine.
    pub serial: u64,
    /// Pages it should have.
    pub target_pages: u32,
    /// Pages it had, as the policy charges them.
    pub allocated_pages: u32,
    /// Pages in use, by sampling; none if that is off.
    pub active_pages: Option<u32>,
    /// Its adjusted shares-per-page ρ at the target (§5.2); none if the policy has no prices.
    pub price: Option<f64>,
    /// Pages the target would be higher by without the tax on idle memory; negative if it would be lower.
    pub taxed_pages: i64,
    /// The bound that clamped the target.
    pub bound: Bound,
}

impl Row {
    /// The same without a price that is no number.
    pub(super) fn clean(mut self) -> Self {
        self.price = self.price.filter(|price| !price.is_nan());
        self
    }

    /// Whether it says the same as another; how many pages the machine has is not said by the policy.
    pub(super) fn says(&self, other: &Self) -> bool {
        let words = |row: &Self| (row.target_pages, row.active_pages, row.taxed_pages, row.bound);
        words(self) == words(other) && self.price.map(f64::to_bits) == other.price.map(f64::to_bits)
    }
}

/// What is done to a virtual machine so that it comes to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// Pages its balloon should have.
    pub balloon_pages: u32,
    /// Pages to page out, beyond those under way.
    pub page_out_pages: u32,
    /// Whether it stands still until it is at its target.
    pub blocked: bool,
}

/// A policy's answer that was not taken: the old targets stay in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub time_ns: u64,
    /// Name of the policy, its beginning if that is very long.
    pub policy: Arc<str>,
    /// Why, or the beginning of it.
    pub reason: Arc<str>,
}

/// What happened. Virtual machines are named by their serials.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A virtual machine was powered on.
    Came(Newcomer),
    /// A virtual machine was powered off.
    Went {
        /// Its serial.
        serial: u64,
    },
    /// A virtual machine's entitlement was changed.
    Configured {
        /// Its serial.
        serial: u64,
        /// What it has now.
        entitlement: Entitlement,
    },
    /// The free state changed (§6.3).
    State {
        /// What it was.
        from: FreeState,
        /// What it is.
        to: FreeState,
        /// Free machine pages.
        free_pages: u32,
    },
    /// A policy's answer was taken. The rows of it that say something new follow.
    Decided(Decision),
    /// A row of the decision before it.
    Target {
        /// The target until then; none if there was none.
        before_pages: Option<u32>,
        /// What was decided.
        row: Row,
    },
    /// What is done to a virtual machine changed.
    Planned {
        /// Its serial.
        serial: u64,
        /// What is done from now on.
        action: Action,
    },
    /// Pages were moved.
    Moved {
        /// Serial of the virtual machine whose pages they are.
        serial: u64,
        /// What moved them.
        mechanism: Mechanism,
        /// How many, up to and including this moment.
        pages: u64,
    },
    /// A policy's answer was not taken.
    PolicyFailed(Failure),
}

impl Event {
    /// Bytes of text it carries.
    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Self::Came(newcomer) => newcomer.name.len(),
            Self::Decided(decision) => decision.policy.len(),
            Self::PolicyFailed(failure) => failure.policy.len() + failure.reason.len(),
            _ => 0,
        }
    }

    /// What it counts for: one record, and one more for each further record's worth of text.
    pub(super) fn weight(&self) -> u64 {
        1 + (self.text_bytes() / size_of::<Record>()) as u64
    }
}

/// What happened, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Virtual time.
    pub time_ns: u64,
    /// What happened.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_numbered_in_their_order() {
        assert!(Mechanism::ALL.iter().enumerate().all(|(at, mechanism)| *mechanism as usize == at));
    }

    #[test]
    fn moves_are_told_apart_and_subtracted() {
        let mut before = Moves::default();
        before[Mechanism::PageOut] = 3;
        let mut after = before;
        after[Mechanism::PageOut] += 4;
        after[Mechanism::Pop] = 1;
        let moved = after.since(&before);
        assert_eq!(moved.iter().collect::<Vec<_>>(), [(Mechanism::Pop, 1), (Mechanism::PageOut, 4)]);
        before.add(&moved);
        assert_eq!(before, after);
    }

    #[test]
    #[should_panic(expected = "counts of moved pages only grow")]
    fn counts_never_fall() {
        let mut before = Moves::default();
        before[Mechanism::Merge] = 1;
        let _ = Moves::default().since(&before);
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 88, "{}", size_of::<Record>());
    }
}
