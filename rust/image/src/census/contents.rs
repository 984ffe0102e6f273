//! Which content each page of some images has: the value that all figures of a census are made from.
//!
//! Contents are numbered: 0 is the zero page, the others count from 1 in the order in which pages first have them, so the
//! first page of the next content is the first with a number not seen before, and nothing depends on how pages were
//! identified. Images of different *domains* never share, so equal contents of two domains have two numbers; only the
//! zero page has one, and is counted by domain.

use crate::error::Error;

/// An image's part of a census.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its pages.
    pub pages: u32,
    /// Images of the same domain share.
    pub domain: u32,
    /// Images of the same space were given equal numbers where contents are equal; of other spaces nothing is known.
    pub space: u32,
}

/// The contents of all pages of some images, one image after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    ids: Vec<u32>,
    parts: Vec<Part>,
    /// Number of the first page of each image.
    starts: Vec<u32>,
    numbers: u32,
}

impl Contents {
    /// Numbers contents anew: `ids` has a number for each page, 0 for zero pages, and equal numbers of one domain and
    /// space mean equal contents.
    ///
    /// Cost: two passes, and four bytes for each number up to the highest.
    ///
    /// # Errors
    ///
    /// [`Error::Uncounted`] if the parts do not have as many pages as there are numbers.
    pub fn new(mut ids: Vec<u32>, parts: Vec<Part>) -> Result<Self, Error> {
        let pages = parts.iter().map(|part| u64::from(part.pages)).sum();
        if pages != ids.len() as u64 {
            return Err(Error::Uncounted { pages, numbers: ids.len() as u64 });
        }
        let mut groups: Vec<(u32, u32)> = parts.iter().map(|part| (part.domain, part.space)).collect();
        groups.sort_unstable();
        groups.dedup();
        if groups.len() > 1 {
            let mut given = 0;
            for group in groups {
                let mut rest = &mut ids[..];
                let mut members = vec![];
                for part in &parts {
                    let (ids, others) = rest.split_at_mut(part.pages as usize);
                    members.extend(((part.domain, part.space) == group).then_some(ids));
                    rest = others;
                }
                given = renumber(&mut members, given);
            }
        }
        let numbers = renumber(&mut [&mut ids], 0) + 1;
        let starts = parts.iter().scan(0, |next, part| {
            let start = *next;
            *next += part.pages;
            Some(start)
        });
        Ok(Self { ids, starts: starts.collect(), parts, numbers })
    }

    /// The number of each page's content.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The images, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// One more than the last number; those from 1 on are all in use.
    #[must_use]
    pub fn numbers(&self) -> u32 {
        self.numbers
    }

    /// The images with the numbers of their pages.
    pub fn images(&self) -> impl Iterator<Item = (Part, &[u32])> {
        let mut rest = &self.ids[..];
        self.parts.iter().map(move |part| {
            let (ids, others) = rest.split_at(part.pages as usize);
            rest = others;
            (*part, ids)
        })
    }

    /// The domains, each once, in order.
    #[must_use]
    pub fn domains(&self) -> Vec<u32> {
        let mut domains: Vec<u32> = self.parts.iter().map(|part| part.domain).collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }

    /// The first page of each content but zero, in the order of the numbers.
    pub fn firsts(&self) -> impl Iterator<Item = u32> {
        let mut seen = 0;
        (0..).zip(&self.ids).filter_map(move |(page, id)| {
            let is_new = *id > seen;
            seen = seen.max(*id);
            is_new.then_some(page)
        })
    }

    /// The image of a page and its number there. Cost: a binary search.
    ///
    /// # Panics
    ///
    /// If there is no such page.
    #[must_use]
    pub fn place(&self, page: u32) -> (usize, u32) {
        assert!((page as usize) < self.ids.len(), "page {page} of {}", self.ids.len());
        // Of images that begin with the same number only the last has pages.
        let image = self.starts.partition_point(|start| *start <= page) - 1;
        (image, page - self.starts[image])
    }
}

/// Numbers contents in the order in which they come, from `given` + 1 on; returns the last number given.
fn renumber(images: &mut [&mut [u32]], given: u32) -> u32 {
    let most = images.iter().flat_map(|ids| ids.iter()).max();
    let mut new = vec![0; most.map_or(0, |most| *most as usize) + 1];
    let mut given = given;
    for id in images.iter_mut().flat_map(|ids| ids.iter_mut()).filter(|id| **id != 0) {
        let number = &mut new[*id as usize];
        if *number == 0 {
            given += 1;
            *number = given;
        }
        *id = *number;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(pages: u32, domain: u32, space: u32) -> Part {
        Part { pages, domain, space }
    }

    #[test]
    fn numbers_count_in_the_order_in_which_contents_come() {
        let contents =
            Contents::new(vec![0, 9, 7, 9, 0, 7, 3], vec![part(4, 0, 0), part(3, 0, 0)]).expect("fits");
        assert_eq!(contents.ids(), [0, 1, 2, 1, 0, 2, 3]);
        assert_eq!(contents.numbers(), 4);
        assert_eq!(contents.firsts().collect::<Vec<_>>(), [1, 2, 6]);
        assert_eq!((contents.place(3), contents.place(4)), ((0, 3), (1, 0)));
    }

    #[test]
    fn neither_domains_nor_spaces_meet_but_in_zero() {
        for (domain, space) in [(1, 0), (0, 1)] {
            let parts = vec![part(3, 0, 0), part(3, domain, space), part(2, 0, 0)];
            let contents = Contents::new(vec![5, 0, 6, 5, 0, 5, 6, 6], parts).expect("fits");
            assert_eq!(contents.ids(), [1, 0, 2, 3, 0, 3, 2, 2]);
            assert_eq!(contents.numbers(), 4);
        }
    }

    #[test]
    fn a_page_is_in_the_image_that_has_it() {
        let parts = [0, 2, 0, 0, 1, 3, 0].map(|pages| part(pages, 0, 0)).to_vec();
        let contents = Contents::new(vec![0; 6], parts).expect("fits");
        let places: Vec<_> = (0..6).map(|page| contents.place(page)).collect();
        assert_eq!(places, [(1, 0), (1, 1), (4, 0), (5, 0), (5, 1), (5, 2)]);
    }

    #[test]
    fn parts_must_have_the_pages() {
        let error = Contents::new(vec![1], vec![part(2, 0, 0)]).expect_err("one page too many");
        assert_eq!(error.to_string(), "the images have 2 pages, but rows for 1 were given");
    }
}
