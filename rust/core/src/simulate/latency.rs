//! How long operations took: a histogram in which every value is kept to a sixteenth of itself.
//!
//! Whole numbers only, so that percentiles are the same on every machine.

use std::fmt;

/// Buckets of each power of two.
const PARTS: u32 = 16;
/// The first values have a bucket each.
const EXACT: u64 = PARTS as u64;
const BUCKETS: usize = (PARTS as usize) * 61;

/// How long operations took, in nanoseconds.
#[derive(Clone, PartialEq, Eq)]
pub struct Latencies {
    buckets: Vec<u64>,
    number: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], number: 0 }
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most] = [500, 990].map(|permille| self.permille(permille).unwrap_or(0));
        write!(f, "{} operations, half within {half} ns, 99 % within {most} ns", self.number)
    }
}

impl Latencies {
    /// Adds operations that took so long each.
    pub fn add(&mut self, ns: u64, operations: u64) {
        self.buckets[bucket(ns)] += operations;
        self.number += operations;
    }

    /// Operations.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The time that so many of a thousand operations do not exceed, at most a sixteenth too long; none without operations.
    #[must_use]
    pub fn permille(&self, permille: u64) -> Option<u64> {
        let rank = (u128::from(self.number) * u128::from(permille)).div_ceil(1000).max(1) as u64;
        let mut seen = 0;
        let place = self.buckets.iter().position(|operations| {
            seen += operations;
            seen >= rank
        })?;
        Some(last_of(place))
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, more)| *sum += more);
        self.number += other.number;
    }

    /// What came after an earlier state of the same.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&before.buckets).map(|(now, then)| now - then).collect();
        Self { buckets, number: self.number - before.number }
    }
}

fn bucket(ns: u64) -> usize {
    if ns < EXACT {
        return ns as usize;
    }
    let exponent = ns.ilog2();
    let part = (ns >> (exponent - PARTS.ilog2())) - EXACT;
    ((exponent - PARTS.ilog2() + 1) * PARTS) as usize + part as usize
}

/// The longest time of a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let shift = bucket / EXACT - 1;
    let next = (u128::from(EXACT + bucket % EXACT) + 1) << shift;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_of_a_hand_made_case() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.permille(500), None);
        latencies.add(10, 98);
        latencies.add(1_000_000, 2);
        assert_eq!((latencies.permille(500), latencies.permille(980)), (Some(10), Some(10)));
        let far = latencies.permille(990).expect("there are some");
        assert!((1_000_000..=1_062_500).contains(&far));
        let before = latencies.clone();
        latencies.merge(&before);
        assert_eq!(latencies.since(&before), before);
    }

    proptest! {
        #[test]
        fn a_value_is_kept_to_a_sixteenth(ns: u64) {
            let kept = last_of(bucket(ns));
            prop_assert!(kept >= ns && kept - ns <= ns / 16);
            prop_assert!(bucket(ns) < BUCKETS);
        }
    }
}
