//! CLOCK: a ring of pages, a bit each, and a hand at the oldest.
//!
//! A reference sets the bit and moves nothing. To find a victim the hand goes on from page to page: one whose bit is set
//! loses it and stays, as if it had come in anew; the first whose bit is clear goes. New pages come in just behind the
//! hand, the last place it gets to, with the bit clear. That is first in first out with reinsertion.

use super::bits::Bits;
use super::links::{Links, Node};
use crate::error::Error;

#[derive(Clone)]
pub(super) struct Clock {
    /// A ring without an anchor: the hand is the only fixed point. Nodes before a node came in later.
    links: Links,
    /// The page that is looked at next; means nothing without pages.
    hand: u32,
    referenced: Bits,
    len: u32,
}

impl Clock {
    pub fn new(frames: u32) -> Self {
        Self { links: Links::new(frames), hand: 0, referenced: Bits::clear(frames), len: 0 }
    }

    pub fn grow(&mut self, frames: u32) -> Result<(), Error> {
        self.referenced.grow(frames)?;
        self.links.grow(frames)
    }

    #[inline]
    pub fn insert(&mut self, frame: u32) {
        if self.len == 0 {
            self.links.alone(Node::of(frame));
            self.hand = frame;
        } else {
            self.links.put_after(Node::of(self.hand), Node::of(frame));
        }
        self.len += 1;
    }

    #[inline]
    pub fn hit(&mut self, frame: u32) {
        self.referenced.set(frame);
    }

    #[inline]
    pub fn remove(&mut self, frame: u32) {
        if self.hand == frame {
            self.hand = self.next(frame);
        }
        self.referenced.unset(frame);
        if self.len == 1 {
            self.links.clear(Node::of(frame));
        } else {
            self.links.take(Node::of(frame));
        }
        self.len -= 1;
    }

    #[inline]
    pub fn evict(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        while self.referenced.take(self.hand) {
            self.hand = self.next(self.hand);
        }
        let victim = self.hand;
        self.remove(victim);
        Some(victim)
    }

    #[inline]
    pub fn links(&self) -> &Links {
        &self.links
    }

    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Frames from the hand on.
    pub fn frames(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        let mut frame = self.hand;
        (0..self.len).map(move |_| {
            let next = self.next(frame);
            let this = std::mem::replace(&mut frame, next);
            (this, self.referenced.get(this))
        })
    }

    #[inline]
    fn next(&self, frame: u32) -> u32 {
        self.links
            .before(Node::of(frame))
            .frame()
            .unwrap_or_else(|| unreachable!("no anchor is in this ring"))
    }
}
