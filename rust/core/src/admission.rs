//! Admission control (§6.2): what a host may promise its virtual machines, and what one is promised that asks for
//! nothing in particular.
//!
//! A virtual machine is admitted if machine memory for its min and its overhead is unreserved, and swap space for
//! the rest of its "physical" size. So, together, the machine can always hold everyone's min, and the swap file
//! everything that is beyond; no guest can ever be left without a place for its pages. Reservations gate admission
//! only: memory that is reserved and not used is there for others. What is kept free for the host itself, the high
//! threshold, is never promised. The same check guards every change of a virtual machine that runs.
//!
//! Everything here is a function from values to values. The host keeps the reservations, and asks before it acts;
//! `reclaim` makes good what was promised.

use crate::config::{
    AllocationConfig, HIGH_SHARES_PER_MIB, LOW_SHARES_PER_MIB, OVERHEAD_GROWS_ABOVE_MIB, OVERHEAD_MIB,
    OVERHEAD_PER_GIB_MIB, SHARES_PER_MIB, Shares,
};
use crate::error::Error;
use crate::types::PAGE_SIZE;

/// Pages in a MiB.
const PAGES_PER_MIB: u32 = (1 << 20) / PAGE_SIZE as u32;

/// Pages in a GiB.
const PAGES_PER_GIB: u32 = 1024 * PAGES_PER_MIB;

/// What a virtual machine is promised and may claim, all defaults filled in (§6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// What it gets in any case.
    pub min_pages: u32,
    /// What it gets while there is enough.
    pub max_pages: u32,
    /// Its part relative to others.
    pub shares: u32,
    /// Memory it takes beyond its own.
    pub overhead_pages: u32,
}

impl Allocation {
    /// What a virtual machine of that max is promised.
    #[must_use]
    pub fn new(max_pages: u32, config: &AllocationConfig) -> Self {
        Self {
            min_pages: config.min_pages.unwrap_or(default_min(max_pages)),
            max_pages,
            shares: shares(config.shares, max_pages),
            overhead_pages: config.overhead_pages.unwrap_or(default_overhead(max_pages)),
        }
    }

    /// Refuses what a virtual machine of `pages` "physical" pages cannot be promised, whatever the host: it was
    /// powered on with that size, max may have been lowered since.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a max that is not from 1 to `pages`, or a min above max.
    pub fn check(&self, pages: u32) -> Result<(), Error> {
        let refuse = |what, value, expected| Err(Error::Setting { what, value: in_pages(value), expected });
        if self.max_pages == 0 {
            return refuse("max", self.max_pages, "at least one page".into());
        }
        if self.max_pages > pages {
            let expected = format!("at most {}, its size since power-on", in_pages(pages));
            return refuse("max", self.max_pages, expected);
        }
        if self.min_pages > self.max_pages {
            let expected = format!("at most {}, which is max", in_pages(self.max_pages));
            return refuse("min", self.min_pages, expected);
        }
        Ok(())
    }

    /// What has to be reserved for it if its "physical" size is `pages`.
    #[must_use]
    pub fn reservation(&self, pages: u32) -> Reservation {
        let Self { min_pages, overhead_pages, .. } = *self;
        Reservation { min_pages, pages, overhead_pages, swapped_pages: 0 }
    }
}

fn in_pages(pages: u32) -> String {
    format!("{pages} page{}", if pages == 1 { "" } else { "s" })
}

/// Half of max, rounded down.
#[must_use]
pub fn default_min(max_pages: u32) -> u32 {
    max_pages / 2
}

/// The shares of a virtual machine of that max: in proportion to it, the nearest whole number and at least one,
/// unless they are given as a number.
#[must_use]
pub fn shares(shares: Shares, max_pages: u32) -> u32 {
    match shares {
        Shares::Low => shares_for(LOW_SHARES_PER_MIB, max_pages),
        Shares::Normal => shares_for(SHARES_PER_MIB, max_pages),
        Shares::High => shares_for(HIGH_SHARES_PER_MIB, max_pages),
        Shares::Number(number) => number,
    }
}

fn shares_for(per_mib: u32, max_pages: u32) -> u32 {
    let (pages, mib) = (u64::from(max_pages), u64::from(PAGES_PER_MIB));
    let nearest = (pages * u64::from(per_mib) + mib / 2) / mib;
    u32::try_from(nearest).expect("16 TiB have fewer than 2^32 shares at 20 for each MiB").max(1)
}

/// Overhead of a virtual machine of that max: [`OVERHEAD_MIB`], and [`OVERHEAD_PER_GIB_MIB`] for each GiB beyond
/// [`OVERHEAD_GROWS_ABOVE_MIB`], a part of a GiB in proportion and a part of a page as a whole one.
#[must_use]
pub fn default_overhead(max_pages: u32) -> u32 {
    let beyond = max_pages.saturating_sub(OVERHEAD_GROWS_ABOVE_MIB * PAGES_PER_MIB);
    let grown = u64::from(beyond) * u64::from(OVERHEAD_PER_GIB_MIB * PAGES_PER_MIB);
    let grown = grown.div_ceil(u64::from(PAGES_PER_GIB));
    OVERHEAD_MIB * PAGES_PER_MIB + u32::try_from(grown).expect("a small part of max")
}

/// What one virtual machine has reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    /// What it gets in any case.
    pub min_pages: u32,
    /// Its "physical" size, with which it was powered on.
    pub pages: u32,
    /// Memory it takes beyond its own.
    pub overhead_pages: u32,
    /// Swap space that it has in use already, or is about to.
    pub swapped_pages: u32,
}

impl Reservation {
    /// Machine memory for it: min + overhead.
    #[must_use]
    pub fn memory(&self) -> u64 {
        u64::from(self.min_pages) + u64::from(self.overhead_pages)
    }

    /// Swap space for it: what it has beyond its min. A max below its size does not change that, since the size is
    /// what the guest may come to use. One whose min was raised keeps the space that it fills already, until it has its
    /// pages back.
    #[must_use]
    pub fn swap(&self) -> u64 {
        u64::from(self.pages.saturating_sub(self.min_pages).max(self.swapped_pages))
    }
}

/// What a host has to promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Machine memory.
    pub machine_pages: u32,
    /// What of it is kept free: the high threshold.
    pub kept_free_pages: u32,
    /// Slots of the swap file.
    pub swap_slots: u32,
}

impl Capacity {
    /// Machine memory that may be promised.
    #[must_use]
    pub fn memory(&self) -> u64 {
        u64::from(self.machine_pages.saturating_sub(self.kept_free_pages))
    }
}

/// Refuses a virtual machine, or a change of one, that the host cannot promise what it needs beside what `others`
/// have reserved. A change is checked against all others, without what the virtual machine itself has had so far.
/// Cost: one pass over `others`.
///
/// # Errors
///
/// [`Error::MemoryReserved`] if fewer pages than min + overhead are unreserved, [`Error::SwapReserved`] if fewer
/// swap slots than its size less min are.
pub fn check(
    vm: &str,
    wanted: &Reservation,
    others: &[Reservation],
    capacity: &Capacity,
) -> Result<(), Error> {
    let Reservation { min_pages, pages, overhead_pages, .. } = *wanted;
    let reserved: u64 = others.iter().map(Reservation::memory).sum();
    let unreserved_pages = capacity.memory().saturating_sub(reserved);
    if wanted.memory() > unreserved_pages {
        return Err(Error::MemoryReserved { vm: vm.into(), min_pages, overhead_pages, unreserved_pages });
    }
    let reserved: u64 = others.iter().map(Reservation::swap).sum();
    let unreserved_pages = u64::from(capacity.swap_slots).saturating_sub(reserved);
    if wanted.swap() > unreserved_pages {
        return Err(Error::SwapReserved { vm: vm.into(), pages, min_pages, unreserved_pages });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MIB: u32 = 256;
    const GIB: u32 = 1024 * MIB;

    #[test]
    fn defaults_follow_from_max() {
        // max, min, low, normal and high shares, overhead
        let table = [
            (1, 0, 1, 1, 1, 32 * MIB),
            (25, 12, 1, 1, 2, 32 * MIB), // 0.49, 0.98 and 1.95 shares
            (39, 19, 1, 2, 3, 32 * MIB), // 0.76, 1.52 and 3.05
            (MIB, 128, 5, 10, 20, 32 * MIB),
            (256 * MIB, 128 * MIB, 1280, 2560, 5120, 32 * MIB),
            (512 * MIB, 256 * MIB, 2560, 5120, 10_240, 32 * MIB),
            (512 * MIB + 1, 256 * MIB, 2560, 5120, 10_240, 32 * MIB + 1),
            (512 * MIB + 32, 256 * MIB + 16, 2561, 5121, 10_243, 32 * MIB + 1), // 0.625, 1.25, 2.5: up
            (512 * MIB + 33, 256 * MIB + 16, 2561, 5121, 10_243, 32 * MIB + 2),
            (GIB, 512 * MIB, 5120, 10_240, 20_480, 48 * MIB),
            (2 * GIB, GIB, 10_240, 20_480, 40_960, 80 * MIB),
            (64 * GIB, 32 * GIB, 327_680, 655_360, 1_310_720, (32 + 32 * 63 + 16) * MIB),
            (u32::MAX, u32::MAX / 2, 83_886_080, 167_772_160, 335_544_320, 134_221_824),
        ];
        for (max, min, low, normal, high, overhead) in table {
            assert_eq!(default_min(max), min, "min of {max}");
            assert_eq!(shares(Shares::Low, max), low, "low shares of {max}");
            assert_eq!(shares(Shares::Normal, max), normal, "normal shares of {max}");
            assert_eq!(shares(Shares::High, max), high, "high shares of {max}");
            assert_eq!(default_overhead(max), overhead, "overhead of {max}");
            let plain =
                Allocation { min_pages: min, max_pages: max, shares: normal, overhead_pages: overhead };
            assert_eq!(Allocation::new(max, &AllocationConfig::default()), plain);
            assert_eq!(plain.check(max), Ok(()), "the defaults of {max} are valid");
        }
    }

    #[test]
    fn what_is_given_is_taken() {
        let config =
            AllocationConfig { min_pages: Some(0), shares: Shares::Number(0), overhead_pages: Some(7) };
        let expected = Allocation { min_pages: 0, max_pages: 100, shares: 0, overhead_pages: 7 };
        assert_eq!(Allocation::new(100, &config), expected);
        let expected = Reservation { pages: 200, overhead_pages: 7, ..Reservation::default() };
        assert_eq!(Allocation::new(100, &config).reservation(200), expected);
    }

    #[test]
    fn one_vm_has_bounds() {
        let check = |min_pages, max_pages, pages| {
            let allocation = Allocation { min_pages, max_pages, shares: 1, overhead_pages: u32::MAX };
            allocation.check(pages).map_err(|error| error.to_string())
        };
        for (min, max, pages) in [(0, 1, 1), (1, 1, 1), (5, 9, 9), (5, 5, 9), (u32::MAX, u32::MAX, u32::MAX)]
        {
            assert_eq!(check(min, max, pages), Ok(()));
        }
        let refused = |text: &str| Err(text.to_string());
        assert_eq!(check(0, 0, 9), refused("max is 0 pages; expected at least one page"));
        assert_eq!(
            check(0, 10, 9),
            refused("max is 10 pages; expected at most 9 pages, its size since power-on")
        );
        assert_eq!(check(9, 8, 9), refused("min is 9 pages; expected at most 8 pages, which is max"));
        assert_eq!(check(2, 1, 9), refused("min is 2 pages; expected at most 1 page, which is max"));
    }

    const SMALL: Capacity = Capacity { machine_pages: 10_000, kept_free_pages: 600, swap_slots: 5000 };

    #[test]
    fn a_refusal_says_what_is_unreserved() {
        let others = [Reservation { min_pages: 1000, pages: 4000, overhead_pages: 400, swapped_pages: 0 }; 1];
        let check = |min_pages, pages, overhead_pages| {
            let wanted = Reservation { min_pages, pages, overhead_pages, swapped_pages: 0 };
            check("db", &wanted, &others, &SMALL).map_err(|error| error.to_string())
        };
        assert_eq!(check(7000, 9000, 1000), Ok(()), "exactly what is left of both");
        let expected = "VM \"db\" wants 8001 pages of memory reserved (min 7001 + overhead 1000) \
                        but 8000 are unreserved";
        assert_eq!(check(7001, 9000, 1000), Err(expected.into()));
        let expected = "VM \"db\" wants 2001 pages of swap space reserved (size 9001 - min 7000) \
                        but 2000 are unreserved";
        assert_eq!(check(7000, 9001, 1000), Err(expected.into()));
        assert!(check(u32::MAX, u32::MAX, u32::MAX).is_err(), "sums do not wrap");
    }

    #[test]
    fn without_swap_space_nothing_is_overcommitted() {
        let dry = Capacity { swap_slots: 0, ..SMALL };
        let all = Reservation { min_pages: 9000, pages: 9000, overhead_pages: 400, swapped_pages: 0 };
        assert_eq!(check("vm", &all, &[], &dry), Ok(()));
        assert!(check("vm", &Reservation { min_pages: 8999, ..all }, &[], &dry).is_err());
        let full = Capacity { kept_free_pages: 20_000, ..SMALL };
        assert_eq!(full.memory(), 0);
        assert!(
            check("vm", &Reservation { overhead_pages: 1, ..Reservation::default() }, &[], &full).is_err()
        );
    }

    #[test]
    fn sizes_of_figure_8_are_admitted_on_its_machine() {
        // 1 GiB for the virtual machines, two of 256 MiB and three of 320 MiB, half of each guaranteed.
        let capacity = Capacity { machine_pages: GIB, kept_free_pages: GIB / 100 * 6, swap_slots: GIB };
        let mut admitted = vec![];
        for max in [256, 256, 320, 320, 320].map(|mib| mib * MIB) {
            let vm = Allocation::new(max, &AllocationConfig::default()).reservation(max);
            assert_eq!(check("vm", &vm, &admitted, &capacity), Ok(()));
            admitted.push(vm);
        }
        assert_eq!(admitted.iter().map(Reservation::memory).sum::<u64>(), u64::from((736 + 160) * MIB));
    }

    /// What happens to a host: somebody comes, goes, or is promised something else.
    #[derive(Clone, Debug)]
    enum Event {
        On(Reservation),
        Off(usize),
        Change(usize, u32),
    }

    fn event() -> impl Strategy<Value = Event> {
        let size = (0u32..1500, 1u32..1500, 0u32..200);
        let size = size.prop_map(|(min, pages, overhead_pages)| Reservation {
            min_pages: min.min(pages),
            pages,
            overhead_pages,
            swapped_pages: 0,
        });
        prop_oneof![
            3 => size.prop_map(Event::On),
            1 => (0usize..20).prop_map(Event::Off),
            2 => (0usize..20, 0u32..1500).prop_map(|(vm, min)| Event::Change(vm, min)),
        ]
    }

    /// The rule of the paper, summed up anew.
    fn fits(all: &[Reservation]) -> bool {
        let memory: i64 = all.iter().map(|vm| i64::from(vm.min_pages) + i64::from(vm.overhead_pages)).sum();
        let swap: i64 = all.iter().map(|vm| i64::from(vm.pages) - i64::from(vm.min_pages)).sum();
        memory <= 10_000 - 600 && swap <= 5000
    }

    proptest! {
        #[test]
        fn whoever_is_admitted_everything_fits_and_nobody_is_refused_without_need(events in vec(event(), 1..80)) {
            let mut vms: Vec<Reservation> = vec![];
            for event in events {
                let mut after = vms.clone();
                let (wanted, others) = match event {
                    Event::On(wanted) => {
                        after.push(wanted);
                        (wanted, vms.clone())
                    }
                    Event::Change(vm, min) if vm < vms.len() => {
                        after[vm].min_pages = min.min(after[vm].pages);
                        let mut others = vms.clone();
                        others.remove(vm);
                        (after[vm], others)
                    }
                    Event::Off(vm) if vm < vms.len() => {
                        vms.remove(vm);
                        continue;
                    }
                    Event::Off(_) | Event::Change(..) => continue,
                };
                let admitted = check("vm", &wanted, &others, &SMALL).is_ok();
                prop_assert_eq!(admitted, fits(&after));
                if admitted {
                    vms = after;
                }
                prop_assert!(fits(&vms));
                // Whatever is allocated and free, without sharing, policies have at least all min to hand out.
                let overhead: u64 = vms.iter().map(|vm| u64::from(vm.overhead_pages)).sum();
                let min: u64 = vms.iter().map(|vm| u64::from(vm.min_pages)).sum();
                prop_assert!(min <= SMALL.memory() - overhead);
            }
        }
    }
}
