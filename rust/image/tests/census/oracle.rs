//! A census in hash maps: slow and obvious.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use esxcore_image::census::contents::Contents;
use esxcore_image::census::kinds::{KINDS, Kind, by_kind, without};
use esxcore_image::census::matrix::{Matrix, matrix};
use esxcore_image::census::tally::{Count, Tally, tally};
use esxcore_image::census::top::{Top, top};
use esxcore_image::error::Error;

/// What tells a page's content from others: the space that it is known in, and bytes.
pub type Key = (u32, Vec<u8>);

/// A page, and the number of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub image: usize,
    pub domain: u32,
    pub id: u32,
}

/// All pages in order.
#[derive(Clone, Debug)]
pub struct Oracle {
    pub images: usize,
    pub pages: Vec<Seen>,
}

impl Oracle {
    /// Numbers contents in the order in which they come; `images` has the domain and the pages of each.
    pub fn new(images: &[(u32, Vec<Key>)]) -> Self {
        let mut numbers: HashMap<(u32, &Key), u32> = HashMap::new();
        let mut pages = vec![];
        for (image, (domain, keys)) in images.iter().enumerate() {
            for key in keys {
                let is_zero = key.1.iter().all(|byte| *byte == 0);
                let next = numbers.len() as u32 + 1;
                let id = if is_zero { 0 } else { *numbers.entry((*domain, key)).or_insert(next) };
                pages.push(Seen { image, domain: *domain, id });
            }
        }
        Self { images: images.len(), pages }
    }

    pub fn ids(&self) -> Vec<u32> {
        self.pages.iter().map(|page| page.id).collect()
    }

    fn of_image(&self, image: usize) -> Vec<Seen> {
        self.pages.iter().filter(|page| page.image == image).copied().collect()
    }

    /// The images of the pages of each content.
    fn by_content(&self) -> HashMap<(u32, u32), Vec<usize>> {
        let mut found: HashMap<(u32, u32), Vec<usize>> = HashMap::new();
        self.pages.iter().for_each(|page| found.entry((page.domain, page.id)).or_default().push(page.image));
        found
    }

    pub fn tally(&self) -> Tally {
        let mut tally = Tally { all: count(&self.pages), ..Tally::default() };
        tally.images = (0..self.images).map(|image| count(&self.of_image(image))).collect();
        for ((_, id), mut images) in self.by_content() {
            let pages = images.len() as u64;
            images.sort_unstable();
            images.dedup();
            let images = images.len() as u64;
            if id == 0 {
                tally.zero_reclaimed_pages += pages - 1;
            } else {
                tally.intra_reclaimed_pages += pages - images;
                tally.inter_reclaimed_pages += images - 1;
            }
        }
        tally
    }

    pub fn matrix(&self) -> Matrix {
        let others = self.pages.iter().filter(|page| page.id != 0);
        let ids = |image| others.clone().filter(move |page| page.image == image).map(|page| page.id);
        let sets: Vec<HashSet<u32>> = (0..self.images).map(|image| ids(image).collect()).collect();
        let mut found = Matrix { contents: vec![], common_pages: vec![0; self.images] };
        for one in &sets {
            found.contents.extend(sets.iter().map(|other| one.intersection(other).count() as u64));
        }
        for page in others {
            let is_common =
                (0..sets.len()).any(|image| image != page.image && sets[image].contains(&page.id));
            found.common_pages[page.image] += u64::from(is_common);
        }
        found
    }

    pub fn top(&self, most: usize) -> Vec<Top> {
        let mut ids = self.ids();
        ids.sort_unstable();
        ids.dedup();
        let row = |id: u32| {
            let pages: Vec<(usize, &Seen)> =
                self.pages.iter().enumerate().filter(|(_, page)| page.id == id).collect();
            let distinct =
                |of: fn(&Seen) -> usize| pages.iter().map(|(_, page)| of(page)).collect::<HashSet<_>>().len();
            Top {
                id,
                pages: pages.len() as u64,
                reclaimed_pages: (pages.len() - distinct(|page| page.domain as usize)) as u64,
                first: pages[0].0 as u32,
                images: distinct(|page| page.image) as u32,
            }
        };
        let mut rows: Vec<Top> = ids.into_iter().map(row).filter(|row| row.reclaimed_pages > 0).collect();
        rows.sort_by_key(|row| (Reverse(row.reclaimed_pages), row.id));
        rows.truncate(most);
        rows
    }

    pub fn by_kind(&self, kinds: &[u8]) -> Vec<Kind> {
        let mut rows = vec![Kind::default(); KINDS];
        let mut kept = HashSet::new();
        for (page, kind) in self.pages.iter().zip(kinds) {
            let row = &mut rows[usize::from(*kind)];
            row.pages += 1;
            row.zero_pages += u64::from(page.id == 0);
            row.reclaimed_pages += u64::from(!kept.insert((page.domain, page.id)));
        }
        rows
    }

    pub fn without(&self, kinds: &[u8], without: u8) -> Count {
        let rest = self.pages.iter().zip(kinds).filter(|(_, kind)| **kind != without);
        count(&rest.map(|(page, _)| *page).collect::<Vec<_>>())
    }

    /// The first page of each content but zero.
    fn firsts(&self) -> Vec<u32> {
        let mut seen = HashSet::from([0]);
        (0..).zip(&self.pages).filter(|(_, page)| seen.insert(page.id)).map(|(place, _)| place).collect()
    }

    /// Compares all figures with those of `contents`.
    pub fn check(&self, contents: &Contents, kinds: &[u8]) {
        let quiet = &mut || Ok::<(), Error>(());
        assert_eq!(contents.ids(), self.ids());
        assert_eq!(contents.firsts().collect::<Vec<_>>(), self.firsts());
        assert_eq!(contents.numbers() as usize, self.firsts().len() + 1);
        let begins = (0..self.images).map(|image| self.pages.partition_point(|page| page.image < image));
        let begins: Vec<u32> = begins.map(|begin| begin as u32).collect();
        for (place, page) in (0..).zip(&self.pages) {
            assert_eq!(contents.place(place), (page.image, place - begins[page.image]));
        }
        let found = tally(contents, quiet).unwrap();
        assert_eq!(found, self.tally());
        check_sum(&found);
        assert_eq!(matrix(contents, quiet).unwrap(), self.matrix());
        for most in [0, 1, 3, usize::MAX] {
            assert_eq!(top(contents, most), self.top(most));
        }
        assert_eq!(by_kind(contents, kinds, quiet).unwrap(), self.by_kind(kinds));
        for kind in [0, 1, 255] {
            assert_eq!(without(contents, kinds, kind, quiet).unwrap(), self.without(kinds, kind));
        }
        let rows = by_kind(contents, kinds, quiet).unwrap();
        let sum = |of: fn(&Kind) -> u64| rows.iter().map(of).sum::<u64>();
        assert_eq!(sum(|row| row.reclaimed_pages), found.all.reclaimed_pages());
        assert_eq!(
            (sum(|row| row.pages), sum(|row| row.zero_pages)),
            (found.all.pages, found.all.zero_pages)
        );
    }
}

/// The three parts of what is saved make the whole.
pub fn check_sum(tally: &Tally) {
    let parts = tally.zero_reclaimed_pages + tally.intra_reclaimed_pages + tally.inter_reclaimed_pages;
    assert_eq!(parts, tally.all.reclaimed_pages());
}

fn count(pages: &[Seen]) -> Count {
    let mut counts: HashMap<(u32, u32), u64> = HashMap::new();
    pages.iter().for_each(|page| *counts.entry((page.domain, page.id)).or_default() += 1);
    Count {
        pages: pages.len() as u64,
        zero_pages: pages.iter().filter(|page| page.id == 0).count() as u64,
        distinct_pages: counts.len() as u64,
        shared_pages: counts.values().filter(|count| **count > 1).sum(),
    }
}
