//! What images have in common: for each pair, how many contents other than zero occur in both.
//!
//! A set of bits for each image, and an *and* for each pair. Contents are taken in blocks, so that the sets of all images
//! together need about one byte a content, however many images there are; each block is one pass over the pages.

use super::contents::Contents;
use crate::error::Error;
use crate::source::Pulse;

/// Contents in a block, at least.
const LEAST: usize = 1 << 16;
/// Images whose sets for all contents may be there at once.
const IMAGES: usize = 8;

/// Contents that images have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Row by row: contents other than zero that two images both have; on the diagonal, that one image has.
    pub contents: Vec<u64>,
    /// By image: its pages whose content another image has too, zero pages not counted.
    pub common_pages: Vec<u64>,
}

/// The matrix of `contents`. Cost: a pass for every eight images, and the pairs.
///
/// # Errors
///
/// What `pulse` returns.
pub fn matrix(contents: &Contents, pulse: Pulse<'_>) -> Result<Matrix, Error> {
    let images = contents.parts().len();
    let mut matrix = Matrix { contents: vec![0; images * images], common_pages: vec![0; images] };
    let numbers = contents.numbers() as usize;
    let block = (numbers * IMAGES / images.max(1)).max(LEAST);
    for first in (1..numbers).step_by(block) {
        let sets = Sets::of(contents, first, block.min(numbers - first), pulse)?;
        for one in 0..images {
            for other in one..images {
                let common = sets.common(one, other);
                matrix.contents[one * images + other] += common;
                matrix.contents[other * images + one] += if one == other { 0 } else { common };
            }
            pulse()?;
        }
        let several = sets.in_several();
        for ((_, ids), pages) in contents.images().zip(&mut matrix.common_pages) {
            *pages +=
                ids.iter().filter(|id| sets.place(**id).is_some_and(|bit| has(&several, bit))).count() as u64;
            pulse()?;
        }
    }
    Ok(matrix)
}

/// Which images have which contents of a block.
struct Sets {
    first: usize,
    block: usize,
    images: Vec<Vec<u64>>,
}

impl Sets {
    fn of(contents: &Contents, first: usize, block: usize, pulse: Pulse<'_>) -> Result<Self, Error> {
        let mut sets = Self { first, block, images: vec![] };
        for (_, ids) in contents.images() {
            let mut set = vec![0_u64; block.div_ceil(64)];
            for bit in ids.iter().filter_map(|id| sets.place(*id)) {
                set[bit / 64] |= 1 << (bit % 64);
            }
            sets.images.push(set);
            pulse()?;
        }
        Ok(sets)
    }

    /// The place of a content in the block.
    fn place(&self, id: u32) -> Option<usize> {
        (id as usize).checked_sub(self.first).filter(|place| *place < self.block)
    }

    fn common(&self, one: usize, other: usize) -> u64 {
        let words = self.images[one].iter().zip(&self.images[other]);
        words.map(|(one, other)| u64::from((one & other).count_ones())).sum()
    }

    /// The contents that more than one image has.
    fn in_several(&self) -> Vec<u64> {
        let words = self.block.div_ceil(64);
        let (mut once, mut several) = (vec![0; words], vec![0; words]);
        for set in &self.images {
            for ((once, several), set) in once.iter_mut().zip(&mut several).zip(set) {
                *several |= *once & set;
                *once |= set;
            }
        }
        several
    }
}

fn has(set: &[u64], bit: usize) -> bool {
    set[bit / 64] >> (bit % 64) & 1 == 1
}
