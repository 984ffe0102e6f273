//! One disk with a queue: first come, first served. It holds the server's swap file and the disks of all guests.
//!
//! A transfer that begins where the last one ended goes on without positioning. Requests are served in the order in which
//! the simulation makes them; within a slice of it that may be another than that of their times, by a slice at most.

use crate::config::DiskCosts;

/// A disk and its queue.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    costs: DiskCosts,
    /// When all that was asked of it is done.
    free_at_ns: u64,
    /// Where the last transfer ended: on which guest's disk, by the serial of its virtual machine, and where there.
    head: Option<(u64, u64)>,
}

impl Disk {
    pub fn new(costs: DiskCosts) -> Self {
        Self { costs, free_at_ns: 0, head: None }
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
        self.free_at_ns = self.free_at_ns.max(now_ns).saturating_add(service);
        self.free_at_ns
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
}
