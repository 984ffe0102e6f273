//! Savings by what guests use their pages for.
//!
//! Of each content the first page is kept, so the other pages, and with them the savings, belong to kinds exactly. Pages
//! that a guest has free are special: a balloon would return them without anything being shared, so a second count says
//! what sharing saves on the rest.

use std::collections::HashSet;

use super::contents::Contents;
use super::tally::{Count, Counter};
use crate::error::Error;
use crate::source::Pulse;

/// Kinds of pages: their numbers are bytes.
pub const KINDS: usize = 256;

/// The pages of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// All of them.
    pub pages: u64,
    /// Those that read zero.
    pub zero_pages: u64,
    /// Those that need not be kept.
    pub reclaimed_pages: u64,
}

/// Pages by kind; `kinds` has one for each page.
///
/// # Errors
///
/// [`Error::Uncounted`] if it has not, or what `pulse` returns.
pub fn by_kind(contents: &Contents, kinds: &[u8], pulse: Pulse<'_>) -> Result<Vec<Kind>, Error> {
    check(contents, kinds)?;
    let mut rows = vec![Kind::default(); KINDS];
    let mut seen = 0;
    let mut with_zero = HashSet::new();
    let mut rest = kinds;
    for (part, ids) in contents.images() {
        let (own, others) = rest.split_at(ids.len());
        rest = others;
        for (id, kind) in ids.iter().zip(own) {
            let is_first = match id {
                0 => with_zero.insert(part.domain),
                id => *id > seen,
            };
            seen = seen.max(*id);
            let row = &mut rows[usize::from(*kind)];
            row.pages += 1;
            row.zero_pages += u64::from(*id == 0);
            row.reclaimed_pages += u64::from(!is_first);
        }
        pulse()?;
    }
    Ok(rows)
}

/// The count of all pages that are not of the kind `without`, all domains together.
///
/// # Errors
///
/// [`Error::Uncounted`] if `kinds` has not one for each page, or what `pulse` returns.
pub fn without(contents: &Contents, kinds: &[u8], without: u8, pulse: Pulse<'_>) -> Result<Count, Error> {
    check(contents, kinds)?;
    let mut counter = Counter::new(contents);
    let mut rest = kinds;
    let mut images = vec![];
    for (part, ids) in contents.images() {
        let (own, others) = rest.split_at(ids.len());
        rest = others;
        images.push((part.domain, ids, own));
    }
    let mut sum = Count::default();
    for domain in contents.domains() {
        let members = images.iter().filter(|(of, ..)| *of == domain);
        let kept = members.map(|(_, ids, kinds)| {
            let pages = ids.iter().zip(*kinds);
            pages.filter(|(_, kind)| **kind != without).map(|(id, _)| id)
        });
        sum.add(&counter.count(kept, pulse)?);
    }
    Ok(sum)
}

fn check(contents: &Contents, kinds: &[u8]) -> Result<(), Error> {
    let (pages, numbers) = (contents.ids().len() as u64, kinds.len() as u64);
    if pages == numbers { Ok(()) } else { Err(Error::Uncounted { pages, numbers }) }
}
