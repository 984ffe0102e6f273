//! What chance decides in workloads, the same on every machine: plain arithmetic, and logarithms and powers from `libm`,
//! never the platform's.
//!
//! [`ZipfLaw`] draws ranks whose probability falls with a power of the rank, in constant memory. Ranks are put into
//! buckets, each at most a 64th wider than what lies before it. A bucket is drawn by its number of ranks times the weight of
//! its first one (by Walker's alias method), a rank in it evenly, and the rank is kept with probability its own weight over
//! the first one's; otherwise all is drawn again. What is kept follows the law exactly. The power that this
//! comparison needs is taken only where the weight of the bucket's last rank does not decide it already: one time in 64.

use std::hint::select_unpredictable;

use crate::rng::Stream;
use crate::types::Access;

/// 2^64.
const WORDS: f64 = 18_446_744_073_709_551_616.0;
/// A bucket is so much narrower than the ranks before it.
const RANKS_PER_BUCKET: u32 = 64;

/// The whole of a product in two words: a number below `bound` and how far it was from the next, evenly spread.
fn split(word: u64, bound: u32) -> (u32, u64) {
    let product = u128::from(word) * u128::from(bound);
    ((product >> 64) as u32, product as u64)
}

/// How often something is a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Never.
    Never,
    /// Where a random word is below this.
    Below(u64),
    /// Always.
    Always,
}

impl Writes {
    /// That fraction of the time; both ends are exact.
    pub fn fraction(fraction: f64) -> Self {
        match fraction {
            ..=0.0 => Self::Never,
            1.0.. => Self::Always,
            _ => Self::Below((fraction * WORDS) as u64),
        }
    }

    /// Draws one; certainty draws nothing.
    pub fn draw(self, stream: &mut Stream) -> Access {
        let write = match self {
            Self::Never => false,
            Self::Always => true,
            Self::Below(limit) => stream.word() < limit,
        };
        if write { Access::Write } else { Access::Read }
    }
}

/// Draws from an exponential distribution.
pub fn exponential(stream: &mut Stream, mean: f64) -> f64 {
    // What the logarithm is taken of is above 0.
    -mean * libm::log(1.0 - stream.unit())
}

/// A bucket, and the one that stands in for it where it is too light.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    /// First rank, from 1.
    first: u32,
    ranks: u32,
    /// A fraction of 2^64 up to which every rank of it is kept.
    sure: u64,
    /// A fraction of 2^64 below which the bucket stands for itself.
    own: u64,
    other: u32,
}

/// Ranks with Zipf's law: rank k of 1 to n has a probability proportional to k^-s.
#[derive(Clone, Debug, PartialEq)]
pub struct ZipfLaw {
    exponent: f64,
    buckets: Vec<Bucket>,
}

impl ZipfLaw {
    /// The law of `len` ranks, at least one, with an exponent of at least 0.
    pub fn new(len: u32, exponent: f64) -> Self {
        let mut buckets = vec![];
        let (mut first, mut left) = (1_u32, len);
        while left > 0 {
            let ranks = (first / RANKS_PER_BUCKET).clamp(1, left);
            let last = f64::from(first) + f64::from(ranks - 1);
            let sure = (libm::pow(f64::from(first) / last, exponent) * WORDS) as u64;
            buckets.push(Bucket { first, ranks, sure, own: u64::MAX, other: 0 });
            left -= ranks;
            first = first.saturating_add(ranks);
        }
        let weigh = |bucket: &Bucket| f64::from(bucket.ranks) * libm::pow(f64::from(bucket.first), -exponent);
        let weights: Vec<f64> = buckets.iter().map(weigh).collect();
        stand_in(&mut buckets, weights);
        Self { exponent, buckets }
    }

    /// Draws a rank, from 0.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "in the loops that draw, the stream's state stays in registers")]
    pub fn rank(&self, stream: &mut Stream) -> u32 {
        loop {
            let (slot, fraction) = split(stream.word(), self.buckets.len() as u32);
            let bucket = &self.buckets[slot as usize];
            // No branches but the one that is nearly always taken: neither the bucket nor its width can be guessed.
            let taken = select_unpredictable(fraction < bucket.own, slot, bucket.other);
            let bucket = &self.buckets[taken as usize];
            let (offset, fraction) = split(stream.word(), bucket.ranks);
            if fraction <= bucket.sure || self.keeps(bucket, offset, fraction) {
                return bucket.first - 1 + offset;
            }
        }
    }

    #[cold]
    fn keeps(&self, bucket: &Bucket, offset: u32, fraction: u64) -> bool {
        let first = f64::from(bucket.first);
        (fraction as f64) < WORDS * libm::pow(first / (first + f64::from(offset)), self.exponent)
    }
}

/// Gives every bucket lighter than the mean one that stands in for what it lacks.
fn stand_in(buckets: &mut [Bucket], mut weights: Vec<f64>) {
    let total: f64 = weights.iter().sum();
    let count = weights.len() as f64;
    weights.iter_mut().for_each(|weight| *weight *= count / total);
    let places = 0..weights.len();
    let (mut light, mut heavy): (Vec<usize>, Vec<usize>) = places.partition(|&place| weights[place] < 1.0);
    while let (Some(&small), Some(&large)) = (light.last(), heavy.last()) {
        light.pop();
        (buckets[small].own, buckets[small].other) = ((weights[small] * WORDS) as u64, large as u32);
        weights[large] -= 1.0 - weights[small];
        if weights[large] < 1.0 {
            heavy.pop();
            light.push(large);
        }
    }
    // What is left lacks nothing but what rounding took: `own` says always, but for one word in 2^64.
    for place in light.into_iter().chain(heavy) {
        buckets[place].other = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Seed;

    fn stream(index: u64) -> Stream {
        Seed([3; 32]).stream("law", index)
    }

    /// Chi-square over its degrees of freedom, of draws in cells of at least `least` expected ones.
    fn chi_square(len: u32, exponent: f64, draws: u32, least: f64) -> (f64, f64) {
        let law = ZipfLaw::new(len, exponent);
        let mut hits = vec![0_u32; len as usize];
        let mut stream = stream(u64::from(len));
        (0..draws).for_each(|_| hits[law.rank(&mut stream) as usize] += 1);
        let weights: Vec<f64> = (1..=len).map(|k| libm::pow(f64::from(k), -exponent)).collect();
        let total: f64 = weights.iter().sum();
        let (mut sum, mut cells, mut expected, mut seen) = (0.0, 0, 0.0, 0.0);
        for (weight, hits) in weights.iter().zip(hits) {
            expected += weight / total * f64::from(draws);
            seen += f64::from(hits);
            if expected >= least {
                sum += (seen - expected) * (seen - expected) / expected;
                (cells, expected, seen) = (cells + 1, 0.0, 0.0);
            }
        }
        let freedom = f64::from(cells - 1);
        ((sum - freedom) / (2.0 * freedom).sqrt(), freedom)
    }

    #[test]
    fn ranks_follow_the_law() {
        // Chi-square less its degrees of freedom, in standard deviations: near 0.
        for (len, exponent) in [(10, 1.0), (1000, 0.0), (1000, 0.8), (5000, 1.0), (5000, 1.2), (20_000, 2.5)]
        {
            let (off, freedom) = chi_square(len, exponent, 2_000_000, 20.0);
            assert!(off.abs() < 4.0, "{len} {exponent}: {off} with {freedom}");
        }
    }

    #[test]
    fn the_test_of_the_law_can_fail() {
        let law = ZipfLaw::new(1000, 1.0);
        let other = ZipfLaw::new(1000, 1.01);
        let popular = |law: &ZipfLaw| {
            let mut stream = stream(0);
            (0..2_000_000).filter(|_| law.rank(&mut stream) == 0).count()
        };
        // 1 / H(1000) = 0.13359, and a standard deviation of 481 draws.
        let (right, wrong) = (popular(&law), popular(&other));
        assert!(right.abs_diff(267_180) < 2000, "{right}");
        assert!(wrong.abs_diff(267_180) > 2000, "{wrong}");
    }

    proptest! {
        #[test]
        fn every_rank_is_in_one_bucket(len in 1_u32..=u32::MAX, exponent in 0.0..10.0) {
            let law = ZipfLaw::new(len, exponent);
            let mut next = 1_u64;
            for bucket in &law.buckets {
                prop_assert_eq!(u64::from(bucket.first), next);
                next += u64::from(bucket.ranks);
                prop_assert!((bucket.other as usize) < law.buckets.len());
            }
            prop_assert_eq!(next, u64::from(len) + 1);
            let mut stream = stream(1);
            for _ in 0..100 {
                prop_assert!(law.rank(&mut stream) < len);
            }
        }
    }

    #[test]
    fn draws_are_the_same_everywhere() {
        let law = ZipfLaw::new(1 << 22, 0.9);
        let mut stream = stream(7);
        let drawn: Vec<u32> = (0..5).map(|_| law.rank(&mut stream)).collect();
        assert_eq!(drawn, [591_592, 600_496, 592_835, 115, 205_314]);
    }

    #[test]
    fn writes_come_as_often_as_said() {
        let mut stream = stream(9);
        let mut count =
            |writes: Writes| (0..100_000).filter(|_| writes.draw(&mut stream) == Access::Write).count();
        assert_eq!(count(Writes::fraction(0.0)), 0);
        assert_eq!(count(Writes::fraction(1.0)), 100_000);
        let quarter = count(Writes::fraction(0.25));
        assert!(quarter.abs_diff(25_000) < 600, "{quarter}");
    }
}
