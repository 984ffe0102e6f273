//! Resident pages of one class, cache or anonymous memory, and which of them goes next.
//!
//! LRU and CLOCK are told of every reference. Two lists are not: as with the accessed bits of a real processor, a
//! reference only marks the page, and the mark is looked at when the page's turn comes. A page that was referenced since
//! the last look goes once more around the inactive list, and at the second such look it is activated; so what is
//! read once and never again is never activated.

use super::marks::Marks;
use super::order::Order;
use super::owners::Owners;
use crate::config::Replacement;

/// Pages of one class.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    order: Order,
    looks: Looks,
    referenced: Marks,
    spared: Marks,
}

/// When a reference counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    AtEachReference,
    WhenItsTurnComes,
}

impl Pool {
    /// No pages, of up to `pages`.
    pub fn new(kind: Replacement, pages: u32) -> Self {
        let looks =
            if kind == Replacement::TwoList { Looks::WhenItsTurnComes } else { Looks::AtEachReference };
        let marks = || Marks::clear(if looks == Looks::AtEachReference { 0 } else { pages });
        Self { order: Order::new(kind, pages), looks, referenced: marks(), spared: marks() }
    }

    /// Pages.
    pub fn len(&self) -> u32 {
        self.order.len()
    }

    /// Pages that are not active.
    pub fn inactive(&self) -> u32 {
        self.order.len() - self.order.active()
    }

    /// Whether a page is in it.
    pub fn contains(&self, ppn: u32) -> bool {
        self.order.contains(ppn)
    }

    /// A page comes in.
    pub fn insert(&mut self, ppn: u32) {
        self.order.insert(ppn);
    }

    /// Pages that are in the pool are referenced, one after the other.
    #[inline]
    pub fn hit_all(&mut self, ppns: &[u32]) {
        debug_assert!(ppns.iter().all(|ppn| self.contains(*ppn)), "what is no page of the pool has no mark");
        match self.looks {
            // As long as nothing was replaced, all pages have been referenced, and there is nothing to say.
            Looks::WhenItsTurnComes if self.referenced.count() == self.order.len() => {}
            Looks::WhenItsTurnComes => self.referenced.set_all(ppns),
            Looks::AtEachReference => {
                ppns.iter().for_each(|ppn| self.order.prefetch(*ppn));
                ppns.iter().for_each(|ppn| self.order.hit(*ppn));
            }
        }
    }

    /// A page goes, if it is in.
    pub fn remove(&mut self, ppn: u32) {
        self.order.remove(ppn);
        self.forget(ppn);
    }

    /// Takes the page that goes next, and looks at it and those passed over. Cost: what it passes over was referenced since
    /// it last came to it.
    pub fn evict(&mut self, owners: &mut Owners) -> Option<u32> {
        loop {
            let ppn = self.order.evict()?;
            owners.look_at(ppn);
            if !self.referenced.take(ppn) {
                self.forget(ppn);
                return Some(ppn);
            }
            self.spare(ppn);
        }
    }

    fn spare(&mut self, ppn: u32) {
        self.order.insert(ppn);
        if self.spared.take(ppn) {
            self.order.hit(ppn);
        } else {
            self.spared.set(ppn);
        }
    }

    fn forget(&mut self, ppn: u32) {
        self.referenced.take(ppn);
        self.spared.take(ppn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_noted_whatever_came_before() {
        let mut pool = pool(Replacement::TwoList);
        let noted = |pool: &Pool| (0..10).filter(|ppn| pool.referenced.get(*ppn)).collect::<Vec<u32>>();
        for all in [[3, 1, 4, 0, 2]; 2] {
            pool.hit_all(&all);
            assert_eq!(noted(&pool), [0, 1, 2, 3, 4]);
        }
        pool.insert(7);
        assert_eq!(noted(&pool), [0, 1, 2, 3, 4]);
        pool.hit_all(&[7, 7]);
        assert_eq!(noted(&pool), [0, 1, 2, 3, 4, 7]);
        pool.remove(2);
        pool.insert(2);
        pool.insert(9);
        pool.hit_all(&[2]);
        assert_eq!(noted(&pool), [0, 1, 2, 3, 4, 7]);
        pool.hit_all(&[1, 9]);
        assert_eq!(noted(&pool), [0, 1, 2, 3, 4, 7, 9]);
    }

    fn pool(kind: Replacement) -> Pool {
        let mut pool = Pool::new(kind, 10);
        (0..5).for_each(|ppn| pool.insert(ppn));
        pool
    }

    fn evict(pool: &mut Pool) -> Option<u32> {
        pool.evict(&mut Owners::new(10, (0, 0)))
    }

    #[test]
    fn referenced_pages_are_spared_and_then_activated() {
        let mut pool = pool(Replacement::TwoList);
        pool.hit_all(&[0]);
        pool.hit_all(&[0]);
        assert_eq!((evict(&mut pool), pool.inactive()), (Some(1), 4), "two references before a look are one");
        pool.hit_all(&[0]);
        let victims = [evict(&mut pool), evict(&mut pool), evict(&mut pool)];
        assert_eq!((victims, pool.inactive()), ([Some(2), Some(3), Some(4)], 1));
        assert_eq!((evict(&mut pool), pool.inactive(), pool.len()), (Some(0), 0, 0));
    }

    #[test]
    fn asking_again_changes_nothing() {
        for kind in [Replacement::Lru, Replacement::Clock, Replacement::TwoList] {
            let (mut once, mut twice) = (pool(kind), pool(kind));
            [3, 1, 2].iter().for_each(|ppn| once.hit_all(&[*ppn]));
            [3, 1, 2, 1, 2].iter().for_each(|ppn| twice.hit_all(&[*ppn]));
            assert_eq!(format!("{once:?}"), format!("{twice:?}"));
            assert_eq!(evict(&mut once), Some(0));
            // Not in the pool: of no account.
            once.remove(0);
            once.remove(3);
            assert_eq!((once.len(), once.contains(3)), (3, false));
        }
    }
}
