//! The latest place of each page of a block, for streams that may send a page more than once.
//!
//! Pages mostly come in order, so a run grows at its end for as long as the next page follows it in the block and in the
//! file; only finished runs go into the ordered map, where they replace what they cover.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::map::{Builder, PAGE_BYTES, Segment};

/// Pages that follow each other in a block and, `stride` bytes apart, in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    pages: u64,
    /// Where the first stands; none if they read zero.
    offset: Option<u64>,
    /// From one page to the next; 0 while there is only one.
    stride: u64,
}

impl Run {
    fn end(&self) -> u64 {
        self.first + self.pages
    }

    /// The part from page `from` up to `to`, which it covers.
    fn part(&self, from: u64, to: u64) -> Self {
        let offset = self.offset.map(|offset| offset + (from - self.first) * self.stride);
        Self { first: from, pages: to - from, offset, stride: self.stride }
    }

    /// Takes one more page in, if it follows.
    fn grow(&mut self, page: u64, offset: Option<u64>) -> bool {
        if page != self.end() {
            return false;
        }
        match (self.offset, offset) {
            (None, None) => {}
            (Some(first), Some(offset)) => {
                let last = first + (self.pages - 1) * self.stride;
                let Some(stride) = offset.checked_sub(last).filter(|stride| *stride >= PAGE_BYTES) else {
                    return false;
                };
                if self.pages > 1 && stride != self.stride {
                    return false;
                }
                self.stride = stride;
            }
            _ => return false,
        }
        self.pages += 1;
        true
    }
}

/// The latest place of each page of a block.
#[derive(Debug, Default)]
pub struct Overlay {
    /// By first page, apart; pages of no run read zero.
    runs: BTreeMap<u64, Run>,
    latest: Option<Run>,
}

impl Overlay {
    /// Notes where a page stands from now on; `None` if it reads zero.
    ///
    /// Cost: constant in order, logarithmic in the number of runs otherwise.
    pub fn put(&mut self, page: u64, offset: Option<u64>) {
        if self.latest.as_mut().is_some_and(|run| run.grow(page, offset)) {
            return;
        }
        let begun = Run { first: page, pages: 1, offset, stride: 0 };
        if let Some(run) = self.latest.replace(begun) {
            self.settle(run);
        }
    }

    /// Replaces what a finished run covers.
    fn settle(&mut self, run: Run) {
        let before = self.runs.range(..run.first).next_back().map(|(_, run)| *run);
        if let Some(before) = before.filter(|before| before.end() > run.first) {
            self.runs.insert(before.first, before.part(before.first, run.first));
            if before.end() > run.end() {
                self.runs.insert(run.end(), before.part(run.end(), before.end()));
            }
        }
        while let Some((first, covered)) = self.runs.range(run.first..run.end()).next() {
            let (first, covered) = (*first, *covered);
            self.runs.remove(&first);
            if covered.end() > run.end() {
                self.runs.insert(run.end(), covered.part(run.end(), covered.end()));
            }
        }
        if run.offset.is_some() {
            self.runs.insert(run.first, run);
        }
    }

    /// Adds a segment a run to a region whose bytes begin at `place`.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::segment`].
    pub fn build(mut self, builder: &mut Builder, place: u64) -> Result<(), Error> {
        if let Some(run) = self.latest.take() {
            self.settle(run);
        }
        for Run { first, pages, offset, stride } in self.runs.into_values() {
            let Some(offset) = offset else { continue };
            let (start, len) = (place + first * PAGE_BYTES, pages * PAGE_BYTES);
            let gap = if pages > 1 { stride - PAGE_BYTES } else { 0 };
            builder.segment(Segment { start, len, offset, gap })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use esxcore_core::types::PAGE_SIZE;
    use proptest::prelude::*;

    use super::*;
    use crate::map::{Devices, Region, RegionKind};
    use crate::source::Source;

    proptest! {
        /// Against a table of the latest place of each page.
        #[test]
        fn the_latest_place_wins(steps in prop::collection::vec((0_u64..24, 1_u64..9, any::<bool>(), 0_u64..3), 0..40)) {
            let mut overlay = Overlay::default();
            let mut latest = HashMap::new();
            let mut at = 0;
            for (first, pages, zero, gap) in steps {
                for page in first..(first + pages).min(24) {
                    let offset = (!zero).then_some(at);
                    overlay.put(page, offset);
                    latest.insert(page, offset);
                    at += 4096 + gap;
                }
            }
            let source = Source::Bytes(vec![0; at as usize + PAGE_SIZE]);
            let mut builder = Builder::new(&source, Devices::Keep);
            let region = Region { name: String::new(), kind: RegionKind::Ram, first_frame: 0, pages: 24 };
            builder.region(region).unwrap();
            overlay.build(&mut builder, 0).unwrap();
            let map = builder.finish("a test").unwrap();
            let mut found = HashMap::new();
            for segment in map.segments() {
                for inner in 0..segment.len / PAGE_BYTES {
                    let place = segment.offset + inner * (PAGE_BYTES + segment.gap);
                    found.insert(segment.start / PAGE_BYTES + inner, Some(place));
                }
            }
            latest.retain(|_, offset| offset.is_some());
            prop_assert_eq!(found, latest);
        }
    }
}
