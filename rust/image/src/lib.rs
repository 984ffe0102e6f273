//! Memory images of guests, read as segment maps, and the census of what they have in common.
//!
//! An image file is a header that says which pages of guest-"physical" memory stand where in the file. This crate reads
//! the headers of all formats it knows into one shape, a [`map::SegmentMap`]; from then on an image is a list of 4 KiB
//! pages, and pages that stand nowhere read zero without being read. Memory of a running process is a list of pages too.
//!
//! Rooms by floor; a room names lower floors only (docs/design.md section 2):
//!
//! | floor | rooms |
//! |---|---|
//! | 4 | [`census`]: which pages are equal, and what that is worth |
//! | 3 | [`image`] opens a file, [`process`] a running process; both give pages |
//! | 2 | [`formats`]: one parser a format, from bytes to a map |
//! | 1 | [`map`] where pages stand, [`pages`] what has them, [`source`] the bytes of a file, [`format`](mod@format) which format it is |
//! | 0 | [`error`] |
//!
//! All formats are written from their published layouts. Parsers are total: whatever the bytes, they return a map that
//! can be read whole or an error of one line, in time and memory bounded by the size of the file.
//!
//! ```
//! use esxcore_core::types::ZERO_PAGE;
//! use esxcore_image::image::{Image, Options};
//! use esxcore_image::pages::Pages;
//!
//! let mut bytes = vec![0; 2 * 4096];
//! bytes[4096] = 1;
//! let image = Image::from_bytes(bytes, &Options::default())?;
//! let mut pages = [ZERO_PAGE; 2];
//! image.read_pages(0, &mut pages)?;
//! assert_eq!(image.pages(), 2);
//! assert!(pages[0] == ZERO_PAGE && pages[1][0] == 1);
//! # Ok::<(), esxcore_image::error::Error>(())
//! ```

pub mod census;
pub mod error;
pub mod format;
pub mod formats;
pub mod image;
pub mod map;
pub mod pages;
pub mod process;
pub mod source;
