//! Least recently used, exactly: one ring, the latest reference after the anchor, the victim before it.

use super::links::{Links, Node};
use crate::error::Error;

#[derive(Clone)]
pub(super) struct Lru {
    links: Links,
    len: u32,
}

impl Lru {
    pub fn new(frames: u32) -> Self {
        Self { links: Links::new(frames), len: 0 }
    }

    pub fn grow(&mut self, frames: u32) -> Result<(), Error> {
        self.links.grow(frames)
    }

    #[inline]
    pub fn insert(&mut self, frame: u32) {
        self.links.put_after(Node::ANCHOR, Node::of(frame));
        self.len += 1;
    }

    #[inline]
    pub fn hit(&mut self, frame: u32) {
        let node = Node::of(frame);
        if self.links.before(node) != Node::ANCHOR {
            self.links.take(node);
            self.links.put_after(Node::ANCHOR, node);
        }
    }

    #[inline]
    pub fn remove(&mut self, frame: u32) {
        self.links.take(Node::of(frame));
        self.len -= 1;
    }

    #[inline]
    pub fn evict(&mut self) -> Option<u32> {
        let frame = self.links.before(Node::ANCHOR).frame()?;
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

    /// Frames from the next victim on; there are no bits.
    pub fn frames(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        self.links.backwards(Node::ANCHOR).map(|frame| (frame, false))
    }
}
