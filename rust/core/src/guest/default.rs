//! The guest that is assumed when nothing is known of it.
//!
//! Pages that are empty are its free list, taken from the lowest on without sleeping. When there are none it has to
//! reclaim some of the others, and it chooses at random: no knowledge of a replacement policy is pretended.

use std::collections::HashSet;

use crate::balloon::{Given, GuestOs, GuestPage, GuestPages, Wait};
use crate::reference::Step;
use crate::rng::Stream;
use crate::types::Ppn;

/// Draws for each page wanted, after which pages in use are taken to be few.
const DRAWS: u64 = 16;

/// A guest that gives empty pages first, then random ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultGuest {
    name: String,
    /// No page below this one is empty.
    lowest: u32,
    /// Its highest pages are buffers of devices: so many.
    buffers: u32,
}

impl DefaultGuest {
    /// A guest whose type has that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), lowest: 0, buffers: 0 }
    }

    /// Takes up to `most` empty pages. A page that is passed is not looked at again until it may be empty again.
    fn take_empty(&mut self, most: u32, own: GuestPages<'_>) -> Vec<Ppn> {
        let mut given = vec![];
        let most = most.min(own.empty_at_most()) as usize;
        while given.len() < most && self.lowest < own.pages() - self.buffers {
            if own.page(Ppn(self.lowest)) == GuestPage::Empty {
                given.push(Ppn(self.lowest));
            }
            self.lowest += 1;
        }
        given
    }
}

impl GuestOs for DefaultGuest {
    fn name(&self) -> &str {
        &self.name
    }

    fn allocate(&mut self, most: u32, wait: Wait, own: GuestPages<'_>, random: &mut Stream) -> Given {
        let mut pages = self.take_empty(most, own);
        if wait == Wait::MaySleep {
            let more = reclaim(most - pages.len() as u32, own, own.pages() - self.buffers, random);
            pages.extend(more);
        }
        Given { pages, sleeps: false }
    }

    fn free(&mut self, pages: &[Ppn]) {
        let lowest = pages.iter().map(|ppn| ppn.0).min();
        self.lowest = self.lowest.min(lowest.unwrap_or(u32::MAX));
    }

    fn reset(&mut self) {
        self.lowest = 0;
    }

    fn take_buffers(&mut self, most: u32, pages: u32, _: &mut Vec<Step>) -> Vec<Ppn> {
        let buffers = most.min(pages - self.buffers);
        let end = pages - self.buffers;
        self.buffers += buffers;
        (end - buffers..end).map(Ppn).collect()
    }

    fn boxed_clone(&self) -> Box<dyn GuestOs> {
        Box::new(self.clone())
    }
}

/// Up to `most` different random pages in use below `end`, or all: independent draws, and where these mostly miss, a walk from a
/// random page on. Cost: a few draws for each page, or one visit of each page of the guest.
fn reclaim(most: u32, own: GuestPages<'_>, end: u32, random: &mut Stream) -> Vec<Ppn> {
    let (mut given, mut taken) = (vec![], HashSet::new());
    let mut take = |ppn: Ppn| {
        if given.len() < most as usize && own.page(ppn) == GuestPage::InUse && taken.insert(ppn) {
            given.push(ppn);
        }
        given.len() < most as usize
    };
    let mut left = if end > 0 { u64::from(most) * DRAWS } else { 0 };
    while left > 0 && take(Ppn(random.below(end))) {
        left -= 1;
    }
    if most > 0 && end > 0 && left == 0 {
        let from = random.below(end);
        let _ = (from..end).chain(0..from).all(|ppn| take(Ppn(ppn)));
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pmap::{Entry, State};
    use crate::rng::Seed;
    use crate::types::{Mpn, Slot};

    /// A page for each letter: empty, private, shared, swapped, ballooned.
    fn entries(letters: &str) -> Vec<Entry> {
        let state = |letter| match letter {
            'e' => State::Empty,
            'p' => State::Private(Mpn(1)),
            's' => State::Shared(Mpn(2)),
            'w' => State::Swapped(Slot(3)),
            _ => State::Ballooned,
        };
        letters.chars().map(|letter| Entry::new(state(letter))).collect()
    }

    fn ask(guest: &mut DefaultGuest, letters: &str, most: u32, wait: Wait) -> Vec<u32> {
        let (entries, mut random) = (entries(letters), Seed([1; 32]).stream("guest", 0));
        let empty = letters.matches(['e', 'w']).count() as u32;
        let given = guest.allocate(most, wait, GuestPages::new(&entries, empty), &mut random);
        given.pages.into_iter().map(|ppn| ppn.0).collect()
    }

    #[test]
    fn empty_pages_are_given_from_the_lowest_on() {
        let mut guest = DefaultGuest::new("linux");
        assert_eq!(ask(&mut guest, "pesewebe", 2, Wait::Never), [1, 3]);
        assert_eq!(ask(&mut guest, "pbsbwebe", 9, Wait::Never), [5, 7]);
        assert!(ask(&mut guest, "pbsbwbbb", 9, Wait::Never).is_empty());
        guest.free(&[Ppn(7), Ppn(3)]);
        assert_eq!(ask(&mut guest, "pbsewbbe", 9, Wait::Never), [3, 7]);
        guest.reset();
        assert_eq!(ask(&mut guest, "pesewpep", 9, Wait::Never), [1, 3, 6]);
    }

    #[test]
    fn asleep_it_gives_empty_pages_then_different_ones_in_use() {
        let given = ask(&mut DefaultGuest::new("linux"), "ppbsewp", 4, Wait::MaySleep);
        assert_eq!((given.len(), given[0]), (4, 4));
        let mut others = given[1..].to_vec();
        others.sort_unstable();
        others.dedup();
        assert!(others.len() == 3 && others.iter().all(|ppn| [0, 1, 3, 5, 6].contains(ppn)), "{given:?}");
    }

    #[test]
    fn the_last_page_in_use_is_found() {
        for at in [0, 777, 1999] {
            let mut letters = vec![b'b'; 2000];
            letters[at] = b'p';
            let letters = String::from_utf8_lossy(&letters);
            assert_eq!(ask(&mut DefaultGuest::new("linux"), &letters, 1, Wait::MaySleep), [at as u32]);
            assert_eq!(ask(&mut DefaultGuest::new("linux"), &letters, 50, Wait::MaySleep), [at as u32]);
        }
        assert!(ask(&mut DefaultGuest::new("linux"), "bbb", 2, Wait::MaySleep).is_empty());
        assert!(ask(&mut DefaultGuest::new("linux"), "pep", 0, Wait::MaySleep).is_empty());
        let mut all = ask(&mut DefaultGuest::new("linux"), "pepsw", 9, Wait::MaySleep);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn all_pages_in_use_are_as_likely() {
        let entries = entries(&"ppbew".repeat(4));
        let mut random = Seed([4; 32]).stream("guest", 0);
        let mut times = [0u32; 20];
        for _ in 0..4000 {
            // The empty pages are passed over: nothing of them is known to be empty.
            let own = GuestPages::new(&entries, 0);
            let given = DefaultGuest::new("linux").allocate(3, Wait::MaySleep, own, &mut random);
            given.pages.iter().for_each(|ppn| times[ppn.index()] += 1);
        }
        // Twelve pages, each 1000 times, give or take five standard deviations of 27.
        for (ppn, times) in times.iter().enumerate() {
            let in_use = ppn % 5 != 2 && ppn % 5 != 3;
            assert!(times.abs_diff(if in_use { 1000 } else { 0 }) < 137, "page {ppn}: {times}");
            assert!(in_use || *times == 0);
        }
    }

    #[test]
    fn buffers_of_devices_are_left_alone() {
        let (mut guest, mut random) = (DefaultGuest::new("default"), Seed([1; 32]).stream("balloon", 0));
        assert_eq!(guest.take_buffers(2, 8, &mut vec![]), [Ppn(6), Ppn(7)]);
        assert_eq!(guest.take_buffers(1, 8, &mut vec![]), [Ppn(5)]);
        let entries = entries("ppeppppe");
        let given = guest.allocate(8, Wait::MaySleep, GuestPages::new(&entries, 2), &mut random);
        let mut pages: Vec<u32> = given.pages.iter().map(|ppn| ppn.0).collect();
        pages.sort_unstable();
        assert_eq!(pages, [0, 1, 2, 3, 4]);
        let mut full = DefaultGuest::new("default");
        assert_eq!(full.take_buffers(99, 8, &mut vec![]).len(), 8, "no more than there are");
        let given = full.allocate(8, Wait::MaySleep, GuestPages::new(&entries, 2), &mut random);
        assert!(given.pages.is_empty());
    }
}
