//! One disk: first come, first served. It holds the server's swap file and the disks of all guests.
//!
//! A transfer that begins where the last one ended goes on without positioning. A process may have computed for a while
//! before it asks for the disk, and another that is simulated after it may ask for an earlier time: then it gets the disk
//! where it is free at that time, so nobody waits for what had not been asked for yet.

use std::collections::VecDeque;

use crate::config::DiskCosts;

/// A disk and its queue.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    costs: DiskCosts,
    /// When it is at work, from then until then, ascending; neighbours are one.
    busy: VecDeque<(u64, u64)>,
    /// Where the last transfer ended: on which guest's disk, by the serial of its virtual machine, and where there.
    head: Option<(u64, u64)>,
}

impl Disk {
    pub fn new(costs: DiskCosts) -> Self {
        Self { costs, busy: VecDeque::new(), head: None }
    }

    /// Nothing will be asked of it before that time any more.
    pub fn forget(&mut self, until_ns: u64) {
        while self.busy.front().is_some_and(|(_, end)| *end <= until_ns) {
            self.busy.pop_front();
        }
    }

    /// Transfers pages of a guest's disk in sequence; returns when that is done.
    pub fn transfer(&mut self, now_ns: u64, guest: u64, position: u64, pages: u32) -> u64 {
        let moves = self.head != Some((guest, position));
        self.head = Some((guest, position + u64::from(pages)));
        self.work(now_ns, u64::from(moves), u64::from(pages))
    }

    /// Transfers pages of the swap file in so many runs, each somewhere else; returns when that is done.
    pub fn transfer_runs(&mut self, now_ns: u64, runs: u64, pages: u64) -> u64 {
        if pages > 0 {
            self.head = None;
        }
        self.work(now_ns, runs, pages)
    }

    /// Reads one page of the swap file, wherever it is.
    pub fn page_in(&mut self, now_ns: u64) -> u64 {
        self.transfer_runs(now_ns, 1, 1)
    }

    fn work(&mut self, now_ns: u64, moves: u64, pages: u64) -> u64 {
        let service = moves * self.costs.position_ns + pages * self.costs.page_ns;
        if service == 0 {
            return now_ns;
        }
        // Where it is free for long enough, from then on.
        let (mut begin, mut place) = (now_ns, 0);
        for (from, to) in &self.busy {
            if begin.saturating_add(service) <= *from {
                break;
            }
            begin = begin.max(*to);
            place += 1;
        }
        let end = begin.saturating_add(service);
        self.reserve(place, begin, end);
        end
    }

    /// Puts a stretch before the one at that place, as one with neighbours that it touches.
    fn reserve(&mut self, place: usize, begin: u64, end: u64) {
        let follows = place.checked_sub(1).filter(|before| self.busy[*before].1 == begin);
        let leads = self.busy.get(place).is_some_and(|(from, _)| *from == end);
        match (follows, leads) {
            (Some(before), true) => {
                self.busy[before].1 = self.busy[place].1;
                self.busy.remove(place);
            }
            (Some(before), false) => self.busy[before].1 = end,
            (None, true) => self.busy[place].0 = begin,
            (None, false) => self.busy.insert(place, (begin, end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: DiskCosts = DiskCosts { position_ns: 1000, page_ns: 10 };

    #[test]
    fn what_goes_on_where_the_last_ended_needs_no_positioning() {
        let mut disk = Disk::new(COSTS);
        assert_eq!(disk.transfer(0, 1, 5, 4), 1040);
        assert_eq!(disk.transfer(5000, 1, 9, 2), 5020);
        assert_eq!(disk.transfer(9000, 2, 11, 1), 10_010);
        assert_eq!(disk.transfer(20_000, 2, 13, 1), 21_010);
    }

    #[test]
    fn requests_wait_for_those_before_them() {
        let mut disk = Disk::new(COSTS);
        assert_eq!([disk.page_in(0), disk.page_in(0), disk.page_in(500)], [1010, 2020, 3030]);
        assert_eq!(disk.transfer_runs(3000, 2, 64), 3030 + 2640);
        assert_eq!(disk.transfer_runs(3000, 0, 0), 3000, "no request does not wait");
        assert_eq!(disk.page_in(10_000), 11_010);
    }

    #[test]
    fn an_earlier_request_is_served_where_the_disk_is_free() {
        let mut disk = Disk::new(COSTS);
        assert_eq!([disk.page_in(5000), disk.page_in(9000)], [6010, 10_010]);
        assert_eq!(disk.page_in(100), 1110, "before both");
        assert_eq!(disk.page_in(4500), 7020, "not long enough before the first");
        assert_eq!(disk.page_in(200), 2120);
        assert_eq!(disk.busy, [(100, 2120), (5000, 7020), (9000, 10_010)]);
        assert_eq!(disk.page_in(7990), 9000, "exactly between");
        disk.forget(7100);
        assert_eq!(disk.busy, [(7990, 10_010)]);
    }
}
