//! The contents that save most.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::contents::Contents;

/// A content with more than one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// Its number; 0 is the zero page.
    pub id: u32,
    /// Pages that have it.
    pub pages: u64,
    /// Those that need not be kept.
    pub reclaimed_pages: u64,
    /// The first page that has it.
    pub first: u32,
    /// Images that have it.
    pub images: u32,
}

/// The `most` contents that save most; of those that save as much the lower number first, so zero first.
///
/// Cost: two passes and four bytes a content, and a pass for each content returned.
#[must_use]
pub fn top(contents: &Contents, most: usize) -> Vec<Top> {
    let mut counts = vec![0_u32; contents.numbers() as usize];
    contents.ids().iter().for_each(|id| counts[*id as usize] += 1);
    let mut best = BinaryHeap::new();
    for (id, count) in (0..).zip(&counts) {
        let kept = if id == 0 { domains_with_zero(contents) } else { 1 };
        let saved = count.saturating_sub(kept);
        if saved > 0 {
            best.push((Reverse(saved), id));
        }
        if best.len() > most {
            best.pop();
        }
    }
    let row = |(Reverse(saved), id): (Reverse<u32>, u32)| found(contents, id, counts[id as usize], saved);
    best.into_sorted_vec().into_iter().map(row).collect()
}

fn domains_with_zero(contents: &Contents) -> u32 {
    let mut domains: Vec<u32> =
        contents.images().filter(|(_, ids)| ids.contains(&0)).map(|(part, _)| part.domain).collect();
    domains.sort_unstable();
    domains.dedup();
    domains.len() as u32
}

fn found(contents: &Contents, id: u32, pages: u32, saved: u32) -> Top {
    let first = contents.ids().iter().position(|other| *other == id);
    let images = contents.images().filter(|(_, ids)| ids.contains(&id)).count();
    Top {
        id,
        pages: u64::from(pages),
        reclaimed_pages: u64::from(saved),
        first: first.map_or(0, |page| page as u32),
        images: images as u32,
    }
}
