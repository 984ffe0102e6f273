//! From numbers of any size to small ones, and back: which number an id has, for page numbers that come as 64 bits.
//!
//! A table of 8-byte slots, a power of two of them and at most half full, probed one after the other from where the id's
//! hash points. A slot has 32 bits of the hash and the number of the id; the id itself stands in a column by number, so
//! a look-up reads one slot and one id, both of which can be asked for ahead.
//!
//! A number may be given to another id at any time. The slot of the old one stays and says nothing any more, because the
//! column does not confirm it: to find and clear it would mean to wait for memory that nobody has asked for in a long
//! time, which took half of a whole replay. When half of the slots are in use, the table is made anew from the column.
//!
//! Key type: [`Index`].

use esxcore_core::arena::{Arena, prefetch};
use esxcore_core::rng::mix;

use crate::error::Error;

/// Slots at first, as a power of two.
const FIRST_BITS: u32 = 12;
/// The hash in a slot is all that tells where its chain begins.
const MAX_BITS: u32 = 32;

/// The part of an id's hash that the table uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u32);

impl Tag {
    /// That of an id.
    #[inline]
    #[must_use]
    pub fn of(id: u64) -> Self {
        Self((mix(id) >> 32) as u32)
    }
}

/// Ids by number and numbers by id.
#[derive(Debug)]
pub struct Index {
    /// Tag in the upper half, number + 1 in the lower; 0 is empty.
    slots: Arena<u64>,
    bits: u32,
    /// Slots that are not empty.
    used: u64,
    ids: Vec<u64>,
}

impl Index {
    /// An index without ids.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`].
    pub fn new() -> Result<Self, Error> {
        Ok(Self { slots: Arena::zeroed(1 << FIRST_BITS)?, bits: FIRST_BITS, used: 0, ids: vec![] })
    }

    /// How many ids it has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Asks for the slot where the look-up of an id begins.
    #[inline]
    pub fn prefetch(&self, tag: Tag) {
        prefetch(&self.slots.as_slice()[self.home(tag)]);
    }

    /// The number that the first slot of a look-up has, most often the one looked for; asks for its id.
    #[inline]
    pub fn glance(&self, tag: Tag) -> Option<u32> {
        let number = (self.slots.as_slice()[self.home(tag)] as u32).checked_sub(1)?;
        prefetch(self.ids.get(number as usize)?);
        Some(number)
    }

    /// The number of an id.
    #[inline]
    #[must_use]
    pub fn find(&self, id: u64, tag: Tag) -> Option<u32> {
        let slots = self.slots.as_slice();
        let mut place = self.home(tag);
        loop {
            let slot = slots[place];
            if slot == 0 {
                return None;
            }
            let number = slot as u32 - 1;
            if (slot >> 32) as u32 == tag.0 && self.ids[number as usize] == id {
                return Some(number);
            }
            place = (place + 1) & (slots.len() - 1);
        }
    }

    /// Gives a number to an id that has none: the next one, or one that another id has so far.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`]; then nothing has changed.
    ///
    /// # Panics
    ///
    /// If the number is above the next one.
    pub fn insert(&mut self, id: u64, tag: Tag, number: u32) -> Result<(), Error> {
        if self.used * 2 >= 1 << self.bits {
            self.renew()?;
        }
        if number as usize == self.ids.len() {
            self.ids.try_reserve(1).map_err(|error| Error::NoRoom { reason: error.to_string() })?;
            self.ids.push(id);
        } else {
            self.ids[number as usize] = id;
        }
        let home = self.home(tag);
        put(self.slots.as_mut_slice(), home, slot(tag, number));
        self.used += 1;
        Ok(())
    }

    #[inline]
    fn home(&self, tag: Tag) -> usize {
        (u64::from(tag.0) >> (32 - self.bits)) as usize
    }

    /// Makes the table anew, a quarter full at most: so many insertions pay for it.
    fn renew(&mut self) -> Result<(), Error> {
        let mut bits = self.bits;
        while self.ids.len() as u64 * 4 > 1 << bits && bits < MAX_BITS {
            bits += 1;
        }
        if bits == self.bits {
            self.slots.as_mut_slice().fill(0);
        } else {
            self.slots = Arena::zeroed(1 << bits)?;
            self.bits = bits;
        }
        let slots = self.slots.as_mut_slice();
        for (number, id) in (0..).zip(&self.ids) {
            let tag = Tag::of(*id);
            put(slots, (u64::from(tag.0) >> (32 - bits)) as usize, slot(tag, number));
        }
        self.used = self.ids.len() as u64;
        Ok(())
    }
}

fn slot(tag: Tag, number: u32) -> u64 {
    u64::from(tag.0) << 32 | (u64::from(number) + 1)
}

/// Puts a slot into the first empty place from `place` on; there is one.
fn put(slots: &mut [u64], mut place: usize, slot: u64) {
    while slots[place] != 0 {
        place = (place + 1) & (slots.len() - 1);
    }
    slots[place] = slot;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u64..300, 0u32..150), 0..4000), narrow: bool) {
            // Of narrow ids many begin at the same slots, the last ones: chains are long and wrap around.
            let ids = if narrow { late_ids(300) } else { (0..300).map(|id| id << 40).collect() };
            let mut index = Index::new().expect("room");
            let mut model: HashMap<u64, u32> = HashMap::new();
            for (draw, number) in steps {
                let (id, number) = (ids[draw as usize], number.min(index.len()));
                prop_assert_eq!(index.find(id, Tag::of(id)), model.get(&id).copied());
                if !model.contains_key(&id) {
                    model.retain(|_, other| *other != number);
                    model.insert(id, number);
                    index.insert(id, Tag::of(id), number).expect("room");
                }
                prop_assert_eq!(index.len() as usize, model.len());
            }
            for id in ids {
                prop_assert_eq!(index.find(id, Tag::of(id)), model.get(&id).copied());
            }
        }
    }

    /// Ids whose look-ups begin at the last few slots of a table as it is at first.
    fn late_ids(count: usize) -> Vec<u64> {
        let late = |id: &u64| Tag::of(*id).0 >> (32 - FIRST_BITS) >= (1 << FIRST_BITS) - 9;
        (0..).filter(late).take(count).collect()
    }

    #[test]
    fn what_says_nothing_any_more_is_cleaned_up() {
        let mut index = Index::new().expect("room");
        for id in 0..1_000_000u64 {
            let number = (id % 1000) as u32;
            index.insert(id, Tag::of(id), number).expect("room");
            assert_eq!(index.find(id, Tag::of(id)), Some(number));
            assert!(id < 1000 || index.find(id - 1000, Tag::of(id - 1000)).is_none());
        }
        assert_eq!((index.len(), index.bits), (1000, FIRST_BITS));
        assert!(index.used <= 2048);
    }

    #[test]
    fn it_grows() {
        let mut index = Index::new().expect("room");
        for number in 0..100_000u32 {
            let id = u64::from(number) << 40;
            index.insert(id, Tag::of(id), number).expect("room");
        }
        assert_eq!((index.len(), index.bits), (100_000, 18));
        assert!((0..100_000u32).all(|number| {
            let id = u64::from(number) << 40;
            index.find(id, Tag::of(id)) == Some(number)
        }));
    }
}
