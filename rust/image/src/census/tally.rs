//! How many pages sharing would save, and in which way.
//!
//! Of each content one page has to be kept. What the others come to is split into three parts that add up: zero pages;
//! pages that equal another of their own image (*intra*); and what is saved only because images meet (*inter*). One
//! blended number misleads: zero pages are mostly memory that nobody uses, and what an image saves alone needs no second
//! virtual machine.

use super::contents::Contents;
use crate::error::Error;
use crate::source::Pulse;

/// Pages between two pulses.
const PULSE_PAGES: usize = 1 << 20;

/// Some pages by content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub pages: u64,
    /// Those that read zero.
    pub zero_pages: u64,
    /// Different contents, zero among them.
    pub distinct_pages: u64,
    /// Pages whose content occurs at least twice.
    pub shared_pages: u64,
}

impl Count {
    /// Pages that need not be kept.
    #[must_use]
    pub fn reclaimed_pages(&self) -> u64 {
        self.pages - self.distinct_pages
    }

    /// Of these, zero pages.
    #[must_use]
    pub fn zero_reclaimed_pages(&self) -> u64 {
        self.zero_pages.saturating_sub(1)
    }

    /// Adds the pages of another domain.
    pub fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.zero_pages += other.zero_pages;
        self.distinct_pages += other.distinct_pages;
        self.shared_pages += other.shared_pages;
    }
}

/// The figures of a census.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All images together; a content that two domains have is two.
    pub all: Count,
    /// Zero pages saved.
    pub zero_reclaimed_pages: u64,
    /// Other pages saved within images.
    pub intra_reclaimed_pages: u64,
    /// Other pages saved across images.
    pub inter_reclaimed_pages: u64,
    /// Each image as if it were alone.
    pub images: Vec<Count>,
}

/// Counts pages by content; reused, because it is as large as there are contents.
pub struct Counter(Vec<u32>);

impl Counter {
    /// For the pages of `contents`.
    #[must_use]
    pub fn new(contents: &Contents) -> Self {
        Self(vec![0; contents.numbers() as usize])
    }

    /// Counts pages of one domain; `images` has the contents of some pages of each image.
    ///
    /// # Errors
    ///
    /// What `pulse` returns; the counter is then useless.
    pub fn count<'a, I>(
        &mut self,
        images: impl Iterator<Item = I> + Clone,
        pulse: Pulse<'_>,
    ) -> Result<Count, Error>
    where
        I: Iterator<Item = &'a u32>,
    {
        let mut sum = Count::default();
        for id in images.clone().flatten() {
            self.0[*id as usize] += 1;
            sum.pages += 1;
            if sum.pages.is_multiple_of(PULSE_PAGES as u64) {
                pulse()?;
            }
        }
        sum.zero_pages = u64::from(self.0[0]);
        for (walked, id) in images.flatten().enumerate() {
            // Each content once, where it is met first; so the counter is clean for the next.
            let count = u64::from(std::mem::take(&mut self.0[*id as usize]));
            sum.distinct_pages += u64::from(count > 0);
            sum.shared_pages += if count > 1 { count } else { 0 };
            if walked.is_multiple_of(PULSE_PAGES) {
                pulse()?;
            }
        }
        Ok(sum)
    }
}

/// The figures of `contents`. Cost: four passes.
///
/// # Errors
///
/// What `pulse` returns.
pub fn tally(contents: &Contents, pulse: Pulse<'_>) -> Result<Tally, Error> {
    let mut counter = Counter::new(contents);
    let mut tally = Tally::default();
    for (_, ids) in contents.images() {
        let count = counter.count([ids.iter()].into_iter(), pulse)?;
        tally.intra_reclaimed_pages += count.reclaimed_pages() - count.zero_reclaimed_pages();
        tally.images.push(count);
    }
    let images: Vec<_> = contents.images().collect();
    for domain in contents.domains() {
        let members = images.iter().filter(|(part, _)| part.domain == domain);
        let count = counter.count(members.map(|(_, ids)| ids.iter()), pulse)?;
        tally.zero_reclaimed_pages += count.zero_reclaimed_pages();
        tally.all.add(&count);
    }
    let within = tally.zero_reclaimed_pages + tally.intra_reclaimed_pages;
    tally.inter_reclaimed_pages = tally.all.reclaimed_pages() - within;
    Ok(tally)
}
