//! Proxmox VE's auto-balloon, from a description of how it behaves: a policy to compare with, and not the paper's.
//!
//! It steers the use of the whole machine to a fraction, 0.8 unless told otherwise. What a guest has is here what its
//! balloon leaves it, max less balloon. A round goes like this:
//!
//! 1. *Goal* = fraction × machine − used. Less than 10 MiB of it either way: nothing moves.
//! 2. With a goal above zero guests grow, the *needy* first: those that say at most a quarter of their floor is free.
//!    With one below zero guests shrink, the *comfortable* first: those that say more is free. Only if that moves
//!    nothing, all guests take part.
//! 3. Those who take part have a *pool*, all they hold above their floors and the goal. It is dealt out in proportion to
//!    shares, within floor and max, and what one cannot take is dealt out to the others: what each should have.
//! 4. Everyone moves there by at most 100 MiB a round.
//!
//! A guest's floor is its min. The policy is a step, so rounds are as often as it is asked. It looks at what is used
//! and not at what is promised, so its targets may add up to more than is available.
//!
//! Where the description leaves a choice: the pool is that of *those who take part*, as only this ends where the
//! published example does (600 to hand out, see the tests), where it moves memory against the shares. Our own choices,
//! which no example decides: a round only grows or only shrinks, and all its moves together are no more than the goal;
//! a guest that says nothing about free memory is neither needy nor comfortable; one whose driver does not answer keeps
//! what it has; one without shares should have its floor.

use super::AllocationPolicy;
use super::claims::{Claims, Columns};
use super::min_funding::min_funding;
use super::price::TaxRate;
use super::targets::Overcommit;
use super::view::HostView;
use crate::error::Error;

/// The part of the machine that should be in use.
pub(super) const TARGET_FRACTION: f64 = 0.8;
/// Pages that a guest moves in a round at most: 100 MiB.
pub(super) const ROUND_PAGES: u32 = 100 << 8;
/// Pages below which a goal is none: 10 MiB.
const LEAST_GOAL: u32 = 10 << 8;
/// A guest is needy while it has no more free than its floor over this.
const NEEDY_PART: u64 = 4;

/// The policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proxmox {
    target_fraction: f64,
    round_pages: u32,
}

impl Default for Proxmox {
    /// Four fifths of the machine in use, 100 MiB a round.
    fn default() -> Self {
        Self { target_fraction: TARGET_FRACTION, round_pages: ROUND_PAGES }
    }
}

impl Proxmox {
    /// Steers to that fraction of the machine in use; each guest moves by so many pages a round at most.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] unless the fraction is from 0 to 1, and the pages are at least one.
    pub fn new(target_fraction: f64, round_pages: u32) -> Result<Self, Error> {
        let refuse =
            |what, value, expected: &str| Err(Error::Setting { what, value, expected: expected.into() });
        if !(0.0..=1.0).contains(&target_fraction) {
            return refuse("target_fraction", target_fraction.to_string(), "a number from 0 to 1");
        }
        if round_pages == 0 {
            return refuse("round_pages", "0".into(), "at least one page");
        }
        Ok(Self { target_fraction, round_pages })
    }

    /// Pages to hand out, below zero to take back.
    fn goal(&self, view: &HostView) -> Result<i64, Error> {
        let HostView { machine_pages, free_pages, .. } = *view;
        if free_pages > machine_pages {
            let expected = format!("at least free_pages, {free_pages}");
            return Err(Error::Setting { what: "machine_pages", value: machine_pages.to_string(), expected });
        }
        let in_use = (self.target_fraction * f64::from(machine_pages)) as i64;
        Ok(in_use - i64::from(machine_pages - free_pages))
    }
}

impl AllocationPolicy for Proxmox {
    fn name(&self) -> &str {
        "proxmox"
    }

    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error> {
        let (guests, goal) = (guests(view)?, self.goal(view)?);
        let limits = Limits { least_goal: LEAST_GOAL, most_moved: self.round_pages };
        Ok(round(&guests, goal, limits).into_iter().map(i64::from).collect())
    }

    fn overcommit(&self) -> Overcommit {
        Overcommit::Allowed
    }
}

/// A guest, in pages or any other unit.
#[derive(Clone, Copy, Debug)]
struct Guest {
    shares: u64,
    floor: u32,
    max: u32,
    /// What it has.
    has: u32,
    /// What it says is free.
    free: Option<u32>,
    driver_ok: bool,
}

impl Guest {
    /// Whether it takes part before others do; none if it does not say.
    fn is_needy(&self) -> Option<bool> {
        self.free.map(|free| NEEDY_PART * u64::from(free) <= u64::from(self.floor))
    }
}

fn guests(view: &HostView) -> Result<Vec<Guest>, Error> {
    view.claims()?; // columns of one length, min at most max
    let vms = view.len();
    let lengths = [
        ("shares", view.shares.len()),
        ("balloon_pages", view.balloon_pages.len()),
        ("guest_free_pages", view.guest_free_pages.len()),
        ("driver_ok", view.driver_ok.len()),
    ];
    if let Some((column, rows)) = lengths.into_iter().find(|(_, rows)| *rows != vms) {
        return Err(Error::ColumnLength { column, rows, vms });
    }
    let guest = |vm: usize| {
        let (floor, max) = (view.min_pages[vm], view.max_pages[vm]);
        // A balloon from before a reconfiguration may be larger than bounds allow now.
        let has = max.saturating_sub(view.balloon_pages[vm]).max(floor);
        let (free, driver_ok) = (view.guest_free_pages[vm], view.driver_ok[vm]);
        Guest { shares: view.shares[vm], floor, max, has, free, driver_ok }
    };
    Ok((0..vms).map(guest).collect())
}

/// What bounds a round.
#[derive(Clone, Copy, Debug)]
struct Limits {
    least_goal: u32,
    most_moved: u32,
}

/// What each guest should have after a round.
fn round(guests: &[Guest], goal: i64, limits: Limits) -> Vec<u32> {
    let mut sizes: Vec<u32> = guests.iter().map(|guest| guest.has).collect();
    if goal.unsigned_abs() < u64::from(limits.least_goal) {
        return sizes;
    }
    let all: Vec<usize> = (0..guests.len()).filter(|vm| guests[*vm].driver_ok).collect();
    let is_first = |vm: &usize| guests[*vm].is_needy() == Some(goal > 0);
    let first: Vec<usize> = all.iter().copied().filter(is_first).collect();
    for members in [first, all] {
        let moves = moves(&members.iter().map(|vm| guests[*vm]).collect::<Vec<_>>(), goal, limits);
        if moves.iter().any(|pages| *pages > 0) {
            for (vm, pages) in members.into_iter().zip(moves) {
                sizes[vm] = if goal > 0 { sizes[vm] + pages } else { sizes[vm] - pages };
            }
            break;
        }
    }
    sizes
}

/// By how much each of those who take part grows, or shrinks if the goal is below zero.
fn moves(members: &[Guest], goal: i64, limits: Limits) -> Vec<u32> {
    let held: i64 = members.iter().map(|guest| i64::from(guest.has - guest.floor)).sum();
    let pool = (held + goal).max(0).cast_unsigned();
    let shares: Vec<u64> = members.iter().map(|guest| guest.shares).collect();
    let rooms = members.iter().map(|guest| if guest.shares > 0 { guest.max - guest.floor } else { 0 });
    let above_floor = dealt_out(pool, &shares, &rooms.collect::<Vec<_>>());
    let wishes: Vec<u32> = members
        .iter()
        .zip(above_floor)
        .map(|(guest, above_floor)| {
            let should_have = guest.floor + above_floor;
            let (from, to) = if goal > 0 { (guest.has, should_have) } else { (should_have, guest.has) };
            to.saturating_sub(from).min(limits.most_moved)
        })
        .collect();
    let weights: Vec<u64> = wishes.iter().map(|pages| u64::from(*pages)).collect();
    dealt_out(goal.unsigned_abs(), &weights, &wishes)
}

/// Pages in proportion to shares, none above its room, what one cannot take for the others.
fn dealt_out(pages: u64, shares: &[u64], rooms: &[u32]) -> Vec<u32> {
    let columns = Columns { shares, min_pages: &vec![0; rooms.len()], max_pages: rooms, active_pages: rooms };
    let claims = Claims::new(columns, pages).expect("no min, so nothing is promised");
    min_funding(&claims, TaxRate::NONE).into_iter().map(|pages| pages as u32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Targets;

    /// The published examples count in decimal megabytes, the limits too.
    const MEGABYTES: Limits = Limits { least_goal: 10, most_moved: 100 };

    /// Two guests at their floors of 1 GB, max 2 GB, shares 2000 : 1000, nothing free. The last decides: a guest becomes
    /// comfortable as it passes a quarter of its floor, which is between 1200 and 1300 where the examples need it.
    fn pair() -> [Guest; 2] {
        let guest = Guest { shares: 2000, floor: 1000, max: 2000, has: 1000, free: Some(0), driver_ok: true };
        [guest, Guest { shares: 1000, ..guest }]
    }

    /// Rounds until nothing moves, with guests that use what they used before. What they got is off the goal.
    fn rest(mut guests: Vec<Guest>, goal: i64) -> Vec<u32> {
        let total = |guests: &[Guest]| guests.iter().map(|guest| i64::from(guest.has)).sum::<i64>();
        let before = total(&guests);
        for _ in 0..1000 {
            let sizes = round(&guests, goal - (total(&guests) - before), MEGABYTES);
            if guests.iter().map(|guest| guest.has).eq(sizes.iter().copied()) {
                return sizes;
            }
            for (guest, size) in guests.iter_mut().zip(sizes) {
                guest.free = guest.free.map(|free| (free + size).saturating_sub(guest.has));
                guest.has = size;
            }
        }
        panic!("no rest")
    }

    #[test]
    fn one_round_of_the_published_examples() {
        for (goal, sizes) in [(90, [1060, 1030]), (150, [1100, 1050]), (270, [1100, 1090])] {
            assert_eq!(round(&pair(), goal, MEGABYTES), sizes, "{goal}");
        }
    }

    #[test]
    fn the_published_examples_come_to_rest() {
        // 600 is not 2 : 1. The first guest is comfortable at 1300, the second still needy at 1200, so the last hundred
        // is the second's alone. A pool of all guests would leave it at 1200 and end at 1400 and 1200.
        let examples = [(180, [1120, 1060]), (270, [1180, 1090]), (600, [1300, 1300]), (900, [1600, 1300])];
        for (goal, sizes) in examples {
            assert_eq!(rest(pair().into(), goal), sizes, "{goal}");
        }
    }

    #[test]
    fn a_small_goal_moves_nothing() {
        for goal in [-9, 0, 9] {
            assert_eq!(round(&pair(), goal, MEGABYTES), [1000, 1000]);
        }
        assert_eq!(round(&pair(), 10, MEGABYTES), [1007, 1003], "2 / 7 is more than 1 / 4");
    }

    #[test]
    fn the_comfortable_shrink_first_and_then_all() {
        let [first, second] = pair();
        let comfortable = Guest { has: 1500, free: Some(251), ..first };
        let needy = Guest { has: 1500, free: Some(250), ..second };
        assert_eq!(round(&[comfortable, needy], -60, MEGABYTES), [1440, 1500]);
        assert_eq!(round(&[comfortable, needy], -600, MEGABYTES), [1400, 1500], "by 100 at most");
        // At its floor the first has nothing to give. Pool 500 - 60: 293 and 147 above the floors.
        let at_floor = Guest { has: 1000, ..comfortable };
        assert_eq!(round(&[at_floor, needy], -60, MEGABYTES), [1000, 1440]);
        assert_eq!(round(&[at_floor, needy], -6000, MEGABYTES), [1000, 1400]);
        // Nobody says anything: shares decide. Pool 940: 627 and 313 above the floors.
        let silent = [Guest { free: None, ..comfortable }, Guest { free: None, ..needy }];
        assert_eq!(round(&silent, -60, MEGABYTES), [1500, 1440]);
    }

    #[test]
    fn what_one_cannot_take_is_for_the_others() {
        let [first, second] = pair();
        let full = Guest { max: 1030, ..first };
        assert_eq!(round(&[full, second], 120, MEGABYTES), [1030, 1090]);
        assert_eq!(round(&[full, Guest { shares: 0, ..second }], 120, MEGABYTES), [1030, 1000]);
        let mute = Guest { driver_ok: false, ..first };
        assert_eq!(round(&[mute, second], 80, MEGABYTES), [1000, 1080]);
        assert!(round(&[], 80, MEGABYTES).is_empty());
    }

    /// Two guests of 2 GiB on 4 GiB, of which so much is free.
    fn view(free_mib: u32) -> HostView {
        HostView {
            names: vec!["web".into(), "db".into()],
            shares: vec![2000, 1000],
            min_pages: vec![1 << 18; 2],
            max_pages: vec![1 << 19; 2],
            active_pages: vec![0; 2],
            balloon_pages: vec![1 << 17; 2],
            guest_free_pages: vec![Some(1 << 10), None],
            driver_ok: vec![true; 2],
            available_pages: 1 << 20,
            machine_pages: 1 << 20,
            free_pages: free_mib << 8,
            ..HostView::default()
        }
    }

    #[test]
    fn the_use_of_the_machine_is_steered() {
        let mib = |free_mib| {
            let targets = Targets::ask(&Proxmox::default(), &view(free_mib)).expect("valid");
            targets.pages().iter().map(|pages| f64::from(*pages) / 256.0).collect::<Vec<_>>()
        };
        // A fifth of 4 GiB is 819.2 MiB.
        assert_eq!(mib(819), [1536.0, 1536.0]);
        assert_eq!(mib(829), [1536.0, 1536.0], "less than 10 MiB to hand out");
        assert_eq!(mib(869), [1536.0 + 12748.0 / 256.0, 1536.0], "the needy grows");
        assert_eq!(mib(2000), [1636.0, 1536.0]);
        assert_eq!(
            mib(719),
            [1536.0, 1436.0],
            "nobody is comfortable, and the second has more than its part"
        );
        let half = Proxmox::new(0.5, 2560).expect("valid");
        assert_eq!(
            half.targets(&view(819)),
            Ok(vec![1526 << 8; 2]),
            "both to their floors, 10 MiB at a time"
        );
    }

    #[test]
    fn targets_may_add_up_to_more_than_is_available() {
        let overcommitted = HostView { available_pages: 600_000, ..view(819) };
        let targets = Targets::ask(&Proxmox::default(), &overcommitted).expect("valid");
        assert_eq!(targets.pages(), [1536 << 8; 2]);
    }

    #[test]
    fn settings_and_views_that_cannot_be_are_refused() {
        for (fraction, pages) in [(-0.1, 1), (1.1, 1), (f64::NAN, 1), (f64::INFINITY, 1), (0.5, 0)] {
            assert!(
                matches!(Proxmox::new(fraction, pages), Err(Error::Setting { .. })),
                "{fraction} {pages}"
            );
        }
        let ask = |view: &HostView| Proxmox::default().targets(view);
        let short = HostView { balloon_pages: vec![0], ..view(0) };
        assert_eq!(ask(&short), Err(Error::ColumnLength { column: "balloon_pages", rows: 1, vms: 2 }));
        let short = HostView { driver_ok: vec![], ..view(0) };
        assert_eq!(ask(&short), Err(Error::ColumnLength { column: "driver_ok", rows: 0, vms: 2 }));
        let small = HostView { machine_pages: 255, ..view(1) };
        let refused = ask(&small).map_err(|error| error.to_string());
        assert_eq!(refused, Err("machine_pages is 255; expected at least free_pages, 256".into()));
    }

    fn guest(most: u32) -> impl Strategy<Value = Guest> {
        let sizes = prop::array::uniform3(0..=most);
        (sizes, prop_oneof![Just(0), 1..5000u64], prop::option::of(0..=most), prop::bool::weighted(0.9))
            .prop_map(|(mut sizes, shares, free, driver_ok)| {
                sizes.sort_unstable();
                Guest { shares, floor: sizes[0], has: sizes[1], max: sizes[2], free, driver_ok }
            })
    }

    proptest! {
        #[test]
        fn a_round_stays_within_all_bounds(
            guests in prop::collection::vec(guest(u32::MAX), 0..6), goal in -(1i64 << 33)..1 << 33, most_moved in 1..=u32::MAX,
        ) {
            let sizes = round(&guests, goal, Limits { least_goal: 10, most_moved });
            let moved: Vec<i64> =
                guests.iter().zip(&sizes).map(|(guest, size)| i64::from(*size) - i64::from(guest.has)).collect();
            for ((guest, size), moved) in guests.iter().zip(&sizes).zip(&moved) {
                prop_assert!((guest.floor..=guest.max).contains(size));
                prop_assert!(moved.unsigned_abs() <= u64::from(most_moved) && moved * goal.signum() >= 0);
                prop_assert!(guest.driver_ok || *moved == 0);
            }
            prop_assert!(moved.iter().sum::<i64>().abs() <= goal.abs());
        }

        #[test]
        fn rounds_come_to_rest(guests in prop::collection::vec(guest(3000), 0..6), goal in -5000i64..5000) {
            let sizes = rest(guests.clone(), goal);
            let moved: i64 = guests.iter().zip(&sizes).map(|(guest, size)| i64::from(*size) - i64::from(guest.has)).sum();
            prop_assert!(moved.abs() <= goal.abs());
        }
    }
}
