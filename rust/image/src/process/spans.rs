//! Which pages are present: runs of neighbours, numbered without gaps.

use esxcore_core::types::MAX_PAGES;

use crate::error::Error;

/// Present pages with addresses next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    /// Address of the first page, in pages.
    frame: u64,
    /// Number of the first page.
    first: u32,
    /// Pages.
    pages: u32,
}

/// Spans in the order of their addresses. Cost: 16 bytes a span.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    spans: Vec<Span>,
    pages: u32,
}

impl Spans {
    /// Pages.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Adds pages after those there are.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPages`].
    pub fn push(&mut self, frame: u64, pages: u64) -> Result<(), Error> {
        let all = u64::from(self.pages) + pages;
        if all > u64::from(MAX_PAGES) {
            return Err(Error::TooManyPages { pages: all });
        }
        let (first, pages) = (self.pages, pages as u32);
        match self.spans.last_mut() {
            Some(last) if last.frame + u64::from(last.pages) == frame => last.pages += pages,
            _ => self.spans.push(Span { frame, first, pages }),
        }
        self.pages += pages;
        Ok(())
    }

    /// Gives back memory reserved for more.
    pub fn shrink(&mut self) {
        self.spans.shrink_to_fit();
    }

    /// The pages from `first` on, which exists, as runs of neighbours: address of the first in pages, and how many.
    ///
    /// Cost: a binary search, then one step a run.
    pub fn runs(&self, first: u32) -> impl Iterator<Item = (u64, u32)> {
        let at = self.spans.partition_point(|span| span.first + span.pages <= first);
        self.spans[at..].iter().map(move |span| {
            let skipped = first.saturating_sub(span.first);
            (span.frame + u64::from(skipped), span.pages - skipped)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_many_pages_are_refused() {
        let mut spans = Spans::default();
        spans.push(0, u64::from(MAX_PAGES)).unwrap();
        let pages = u64::from(MAX_PAGES) + 1;
        assert_eq!(spans.push(1 << 40, 1), Err(Error::TooManyPages { pages }));
        assert_eq!(spans.pages(), MAX_PAGES);
    }

    proptest! {
        #[test]
        fn pages_stand_where_they_were_put(runs in proptest::collection::vec((0_u64..3, 1_u64..5), 1..20)) {
            let mut spans = Spans::default();
            let mut frames = vec![];
            let mut at = 0;
            for (gap, pages) in runs {
                at += gap;
                spans.push(at, pages).unwrap();
                frames.extend(at..at + pages);
                at += pages;
            }
            prop_assert_eq!(spans.pages() as usize, frames.len());
            for first in 0..frames.len() {
                let runs = spans.runs(first as u32);
                let seen: Vec<u64> = runs.flat_map(|(frame, pages)| frame..frame + u64::from(pages)).collect();
                prop_assert_eq!(&seen, &frames[first..]);
            }
        }
    }
}
