//! Rings of frames in one array of links, two words a frame, so that a frame leaves its ring wherever it stands.
//!
//! A node is a frame or one of two *anchors*, a fixed place in each of two rings. Places in the array are numbered so
//! that a link of 0 means "in no ring": an array of zeros is a set of frames that hold nothing, and the system makes its
//! memory real only as frames are used.

use super::bits::grow;
use crate::arena::prefetch;
use crate::error::Error;

/// Where the anchors stand; place 0 is nobody's.
const ANCHORS: u32 = 1;
/// Where frame 0 stands.
const FIRST: u32 = 3;

/// Most frames: every place has a number of 32 bits.
pub(super) const MAX_FRAMES: u32 = u32::MAX - FIRST;

/// A place in the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node(u32);

impl Node {
    /// A fixed place in the first ring.
    pub const ANCHOR: Self = Self(ANCHORS);
    /// A fixed place in the second ring.
    pub const OTHER_ANCHOR: Self = Self(ANCHORS + 1);

    #[inline]
    pub fn of(frame: u32) -> Self {
        Self(frame + FIRST)
    }

    /// The frame that it is; none of an anchor.
    #[inline]
    pub fn frame(self) -> Option<u32> {
        self.0.checked_sub(FIRST)
    }
}

/// The links of all frames.
#[derive(Clone)]
pub(super) struct Links {
    /// The place before and the place after.
    pairs: Vec<[u32; 2]>,
}

impl Links {
    /// Frames in no ring, and two anchors, each alone.
    pub fn new(frames: u32) -> Self {
        assert!(frames <= MAX_FRAMES, "{frames} frames; expected at most {MAX_FRAMES}");
        let mut links = Self { pairs: vec![[0; 2]; frames as usize + FIRST as usize] };
        links.alone(Node::ANCHOR);
        links.alone(Node::OTHER_ANCHOR);
        links
    }

    /// Makes room for more frames.
    pub fn grow(&mut self, frames: u32) -> Result<(), Error> {
        assert!(frames <= MAX_FRAMES, "{frames} frames; expected at most {MAX_FRAMES}");
        grow(&mut self.pairs, frames as usize + FIRST as usize, [0; 2])
    }

    /// Makes a node that is in no ring a ring of its own.
    #[inline]
    pub fn alone(&mut self, node: Node) {
        self.pairs[node.0 as usize] = [node.0; 2];
    }

    /// The node before this one in its ring.
    #[inline]
    pub fn before(&self, node: Node) -> Node {
        Node(self.pairs[node.0 as usize][0])
    }

    /// Puts a node that is in no ring between `place` and what was after it.
    #[inline]
    pub fn put_after(&mut self, place: Node, node: Node) {
        let after = self.pairs[place.0 as usize][1];
        self.pairs[node.0 as usize] = [place.0, after];
        self.pairs[place.0 as usize][1] = node.0;
        self.pairs[after as usize][0] = node.0;
    }

    /// Takes a node out of its ring, in which there is another one.
    #[inline]
    pub fn take(&mut self, node: Node) {
        let [before, after] = std::mem::take(&mut self.pairs[node.0 as usize]);
        self.pairs[before as usize][1] = after;
        self.pairs[after as usize][0] = before;
    }

    /// Forgets a node that is linked to itself only.
    #[inline]
    pub fn clear(&mut self, node: Node) {
        self.pairs[node.0 as usize] = [0; 2];
    }

    /// Whether the frame is in a ring.
    #[inline]
    pub fn contains(&self, frame: u32) -> bool {
        let place = u64::from(frame) + u64::from(FIRST);
        self.pairs.get(place as usize).is_some_and(|pair| pair[0] != 0)
    }

    #[inline]
    pub fn prefetch(&self, frame: u32) {
        if let Some(pair) = self.pairs.get(frame as usize + FIRST as usize) {
            prefetch(pair);
        }
    }

    /// The frames before an anchor, nearest first, all around its ring.
    pub fn backwards(&self, anchor: Node) -> impl Iterator<Item = u32> + '_ {
        let mut node = anchor;
        std::iter::from_fn(move || {
            node = self.before(node);
            node.frame()
        })
    }
}
