//! Two lists, in the manner of Linux: a page has to prove itself before it is kept for long.
//!
//! A page comes in at the head of the *inactive* list, its bit set, because the reference that brought it in counts.
//! What a reference does depends on where the page is:
//!
//! | page | becomes |
//! |---|---|
//! | inactive, bit clear | inactive, bit set |
//! | inactive, bit set | active, bit clear, at the head |
//! | active | active, bit set |
//!
//! So the second reference activates a page, and a scan that touches everything once replaces only inactive pages. The
//! victim is the page at the tail of the inactive list, whatever its bit. Before one is taken, and only then, the lists
//! are balanced: while more than two thirds of all pages are active, the one at the tail of the active list loses its
//! place. If its bit is set it keeps it once more, at the head and with the bit clear; otherwise it goes to the head of
//! the inactive list, bit clear, where it takes two references to come back.

use super::bits::Bits;
use super::links::{Links, Node};
use crate::error::Error;

/// At most this share of the pages is active after balancing.
const ACTIVE_SHARE: (u64, u64) = (2, 3);

const INACTIVE: Node = Node::ANCHOR;
const ACTIVE: Node = Node::OTHER_ANCHOR;

#[derive(Clone)]
pub(super) struct TwoList {
    links: Links,
    referenced: Bits,
    is_active: Bits,
    len: u32,
    active: u32,
}

impl TwoList {
    pub fn new(frames: u32) -> Self {
        let (referenced, is_active) = (Bits::clear(frames), Bits::clear(frames));
        Self { links: Links::new(frames), referenced, is_active, len: 0, active: 0 }
    }

    pub fn grow(&mut self, frames: u32) -> Result<(), Error> {
        self.referenced.grow(frames)?;
        self.is_active.grow(frames)?;
        self.links.grow(frames)
    }

    #[inline]
    pub fn insert(&mut self, frame: u32) {
        self.links.put_after(INACTIVE, Node::of(frame));
        self.referenced.set(frame);
        self.len += 1;
    }

    #[inline]
    pub fn hit(&mut self, frame: u32) {
        if self.is_active.get(frame) || !self.referenced.get(frame) {
            self.referenced.set(frame);
        } else {
            self.activate(frame);
        }
    }

    #[inline]
    pub fn remove(&mut self, frame: u32) {
        self.links.take(Node::of(frame));
        self.referenced.unset(frame);
        self.active -= u32::from(self.is_active.take(frame));
        self.len -= 1;
    }

    #[inline]
    pub fn evict(&mut self) -> Option<u32> {
        while u64::from(self.active) * ACTIVE_SHARE.1 > u64::from(self.len) * ACTIVE_SHARE.0 {
            self.age_one();
        }
        // Not all pages are active now, so without inactive ones there are none.
        let frame = self.links.before(INACTIVE).frame()?;
        self.remove(frame);
        Some(frame)
    }

    #[inline]
    pub fn links(&self) -> &Links {
        &self.links
    }

    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    pub fn active(&self) -> u32 {
        self.active
    }

    /// Frames from the tail of the inactive list on, then from the tail of the active one.
    pub fn frames(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        let all = self.links.backwards(INACTIVE).chain(self.links.backwards(ACTIVE));
        all.map(|frame| (frame, self.referenced.get(frame)))
    }

    fn activate(&mut self, frame: u32) {
        self.referenced.unset(frame);
        self.is_active.set(frame);
        self.active += 1;
        self.move_to(ACTIVE, frame);
    }

    /// Looks at the tail of the active list.
    fn age_one(&mut self) {
        let Some(frame) = self.links.before(ACTIVE).frame() else { return };
        if self.referenced.take(frame) {
            self.move_to(ACTIVE, frame);
        } else {
            self.is_active.unset(frame);
            self.active -= 1;
            self.move_to(INACTIVE, frame);
        }
    }

    #[inline]
    fn move_to(&mut self, list: Node, frame: u32) {
        self.links.take(Node::of(frame));
        self.links.put_after(list, Node::of(frame));
    }
}
