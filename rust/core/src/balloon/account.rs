//! What the host keeps of one balloon: its bounds, its size, and whether it moves.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use super::{BalloonCounts, PollReport};
use crate::config::{BALLOON_SLEEP_MIN_RATE, BALLOON_STALLED_POLLS};
use crate::types::{DriverHealth, Ppn};

/// The host's account of one balloon.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub cap: u32,
    /// Never above the cap.
    pub target: u32,
    /// Ballooned pages.
    pub size: u32,
    /// Of these, pages that gave the host a machine page.
    pub freed: u32,
    pub counts: BalloonCounts,
    pub has_started: bool,
    /// The balloon was popped, and the driver does not know yet.
    pub needs_reset: bool,
    idle_polls: u32,
    gave: Marks,
}

impl Account {
    pub fn new(pages: u32) -> Self {
        Self {
            cap: 0,
            target: 0,
            size: 0,
            freed: 0,
            counts: BalloonCounts::default(),
            has_started: false,
            needs_reset: false,
            idle_polls: 0,
            gave: Marks(vec![0; pages.div_ceil(64) as usize]),
        }
    }

    /// Sets the cap, and lowers a target that is above it.
    pub fn set_cap(&mut self, cap: u32) {
        self.cap = cap;
        self.target = self.target.min(cap);
    }

    /// A page is in the balloon from now on.
    pub fn enter(&mut self, ppn: Ppn, came_free: bool) {
        self.size += 1;
        if came_free {
            self.freed += 1;
            self.gave.toggle(ppn);
        }
    }

    /// A page is in the balloon no more.
    pub fn leave(&mut self, ppn: Ppn) {
        self.size -= 1;
        if self.gave.contains(ppn) {
            self.freed -= 1;
            self.gave.toggle(ppn);
        }
    }

    /// Notes a poll that began with a balloon of `before` pages.
    ///
    /// A driver is stalled from the third poll in a row in which its balloon came nearer to the target by less than what
    /// was missing and less than the least rate of the protocol, [`BALLOON_SLEEP_MIN_RATE`]; until it keeps one of them.
    /// Reaching a target that was moved to where the balloon already is proves nothing.
    pub fn judge(&mut self, before: u32, report: &PollReport) {
        self.counts.add(report);
        if !self.has_started {
            return;
        }
        let (was, is) = (before.abs_diff(self.target), self.size.abs_diff(self.target));
        let moved = was.saturating_sub(is);
        if moved > 0 && moved >= was.min(BALLOON_SLEEP_MIN_RATE) {
            self.idle_polls = 0;
        } else if is > 0 {
            self.idle_polls = (self.idle_polls + 1).min(BALLOON_STALLED_POLLS);
        } else if self.idle_polls < BALLOON_STALLED_POLLS {
            self.idle_polls = 0;
        }
    }

    pub fn health(&self) -> DriverHealth {
        match (self.has_started, self.idle_polls) {
            (false, _) => DriverHealth::Absent,
            (true, idle) if idle < BALLOON_STALLED_POLLS => DriverHealth::Working,
            (true, _) => DriverHealth::Stalled,
        }
    }
}

/// A bit for each page of a virtual machine; shown as a hash, since there are many.
#[derive(Clone)]
struct Marks(Vec<u64>);

impl Marks {
    fn contains(&self, ppn: Ppn) -> bool {
        self.0[ppn.index() / 64] >> (ppn.0 % 64) & 1 == 1
    }

    fn toggle(&mut self, ppn: Ppn) {
        self.0[ppn.index() / 64] ^= 1 << (ppn.0 % 64);
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hash = Xxh3::new();
        self.0.iter().for_each(|word| hash.update(&word.to_le_bytes()));
        write!(f, "{:#018x}", hash.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The health after polls that each found a target and left a size.
    fn health(polls: &[(u32, u32)]) -> DriverHealth {
        let mut account = Account::new(0);
        account.set_cap(1000);
        account.has_started = true;
        for (target, size) in polls {
            let before = account.size;
            (account.target, account.size) = (*target, *size);
            account.judge(before, &PollReport::default());
        }
        account.health()
    }

    #[test]
    fn three_polls_in_a_row_that_are_too_slow_make_a_driver_stalled() {
        use DriverHealth::{Stalled, Working};
        let table: [(&[(u32, u32)], DriverHealth); 18] = [
            (&[], Working),
            (&[(9, 0), (9, 0)], Working),
            (&[(9, 0), (9, 0), (9, 0)], Stalled),
            (&[(9, 9), (12, 9), (12, 9)], Working),
            (&[(9, 9), (12, 9), (12, 9), (12, 9)], Stalled),
            // All that is missing is progress, either way; a part of it is too slow, and going away is none.
            (&[(9, 0), (9, 0), (9, 9)], Working),
            (&[(9, 0), (9, 0), (9, 8)], Stalled),
            (&[(9, 5), (9, 6), (9, 7)], Stalled),
            (&[(9, 9), (2, 9), (2, 9), (2, 2)], Working),
            (&[(9, 9), (2, 9), (2, 9), (2, 10)], Stalled),
            // Of more the least rate of the protocol will do, a page less will not.
            (&[(9000, 0), (9000, 0), (9000, 512), (9000, 1023), (9000, 1024)], Working),
            (&[(9000, 0), (9000, 0), (9000, 511)], Stalled),
            (&[(9000, 511), (9000, 1022), (9000, 1533), (9000, 2045)], Working),
            // A row is broken by being where one should be.
            (&[(9, 0), (9, 0), (0, 0), (9, 0), (9, 0)], Working),
            // Who was stalled moves before it is taken to work again.
            (&[(9, 0), (9, 0), (9, 0), (0, 0), (0, 0)], Stalled),
            (&[(9, 0), (9, 0), (9, 0), (9, 9)], Working),
            (&[(9, 5), (9, 5), (9, 5), (9, 5), (0, 0)], Working),
            // A target that runs away from a driver that does not keep up.
            (&[(9, 5), (20, 6), (40, 7)], Stalled),
        ];
        for (polls, expected) in table {
            assert_eq!(health(polls), expected, "{polls:?}");
        }
    }

    #[test]
    fn who_has_not_started_is_absent() {
        let mut account = Account::new(0);
        account.target = 9;
        (0..9).for_each(|_| account.judge(0, &PollReport::default()));
        assert_eq!(account.health(), DriverHealth::Absent);
        account.has_started = true;
        (0..2).for_each(|_| account.judge(0, &PollReport::default()));
        assert_eq!(account.health(), DriverHealth::Working);
    }

    #[test]
    fn pages_that_gave_something_are_remembered() {
        let mut account = Account::new(130);
        let shown = format!("{account:?}");
        for (ppn, came_free) in [(0, true), (63, false), (64, true), (129, true)] {
            account.enter(Ppn(ppn), came_free);
        }
        assert_eq!((account.size, account.freed), (4, 3));
        account.leave(Ppn(63));
        account.leave(Ppn(129));
        assert_eq!((account.size, account.freed), (2, 2));
        assert_ne!(format!("{account:?}"), shown);
        [0, 64].into_iter().for_each(|ppn| account.leave(Ppn(ppn)));
        assert_eq!(format!("{account:?}"), shown);
    }
}
