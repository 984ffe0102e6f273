//! The census: what sharing, compression and ballooning would be worth on memory that is there.
//!
//! First every page is given the number of its content (`identify`: threads, each a `worker`; `table` and `digests`
//! are what they work with). All figures are then pure functions of these numbers, [`contents::Contents`]:
//! [`tally`](mod@tally), [`matrix`](mod@matrix), [`top`](mod@top), [`kinds`] and [`large`](mod@large). Only [`compress`] reads
//! pages again.
//!
//! ```
//! use esxcore_core::types::ZERO_PAGE;
//! use esxcore_image::census::{Image, Settings, Source, tally::tally, take};
//! use esxcore_image::pages::Memory;
//!
//! let (one, two) = ([ZERO_PAGE, [1; 4096], [1; 4096]], [[1; 4096], ZERO_PAGE]);
//! let (one, two) = (Memory(&one), Memory(&two));
//! let images = [&one, &two].map(|pages| Image { source: Source::Pages(pages), domain: 0 });
//! let contents = take(&images, &Settings::default(), &mut |_| Ok(()))?;
//! assert_eq!(contents.ids(), [0, 1, 1, 1, 0]);
//! let tally = tally(&contents, &mut || Ok(()))?;
//! assert_eq!(tally.all.reclaimed_pages(), 3);
//! assert_eq!((tally.zero_reclaimed_pages, tally.intra_reclaimed_pages, tally.inter_reclaimed_pages), (1, 1, 1));
//! # Ok::<(), esxcore_image::error::Error>(())
//! ```

pub mod compress;
pub mod contents;
pub mod kinds;
pub mod large;
pub mod matrix;
pub mod tally;
pub mod top;

mod digests;
mod identify;
mod table;
mod worker;

pub use identify::{Progress, Settings, Verify, identify, room};
pub use table::Table;

use std::num::NonZeroU32;

use contents::{Contents, Part};

use crate::error::Error;
use crate::pages::Pages;

/// An image of a census.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// What is known of its pages.
    pub source: Source<'a>,
    /// Images of the same domain share.
    pub domain: u32,
}

/// What is known of the pages of an image.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// Its pages.
    Pages(&'a dyn Pages),
    /// The number of each page's content, as a page-content trace has them.
    Ids {
        /// A number a page; 0 is the zero page.
        ids: &'a [u32],
        /// Numbers are comparable within a space. Images with pages have one of their own.
        space: NonZeroU32,
    },
}

impl Source<'_> {
    fn pages(&self) -> usize {
        match self {
            Self::Pages(pages) => pages.pages() as usize,
            Self::Ids { ids, .. } => ids.len(),
        }
    }
}

/// Finds the contents of all images.
///
/// # Errors
///
/// As [`identify`]; [`Error::TooManyInAll`] counts pages whose numbers are given too, and comes before any is read.
pub fn take(images: &[Image<'_>], settings: &Settings, progress: Progress<'_>) -> Result<Contents, Error> {
    identify::check_pages(images.iter().map(|image| image.source.pages() as u64).sum())?;
    let with_pages: Vec<&dyn Pages> = images
        .iter()
        .filter_map(|image| match image.source {
            Source::Pages(pages) => Some(pages),
            Source::Ids { .. } => None,
        })
        .collect();
    let found = identify(&with_pages, settings, progress)?;
    let parts = images.iter().map(|Image { source, domain }| Part {
        pages: source.pages() as u32,
        domain: *domain,
        space: if let Source::Ids { space, .. } = source { space.get() } else { 0 },
    });
    let ids = if with_pages.len() == images.len() { found } else { woven(images, &found) };
    Contents::new(ids, parts.collect())
}

/// The numbers that were found and those that were given, in the order of the images.
fn woven(images: &[Image<'_>], mut found: &[u32]) -> Vec<u32> {
    let mut ids = Vec::with_capacity(images.iter().map(|image| image.source.pages()).sum());
    for image in images {
        match image.source {
            Source::Ids { ids: given, .. } => ids.extend_from_slice(given),
            Source::Pages(pages) => {
                let (own, others) = found.split_at(pages.pages() as usize);
                ids.extend_from_slice(own);
                found = others;
            }
        }
    }
    ids
}
