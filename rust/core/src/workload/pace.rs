//! How fast references are made: as fast as the process can, or at most so many a second.
//!
//! A paced process makes them in bursts, at most a hundredth of a second's worth, and sleeps until the next burst is due.
//! When it comes late, because it was held up, the time is lost: it does not hurry to make up for it.

use super::Then;
use super::checks::MAX_OP_REFS;

/// References of a batch that no rate limits.
const BATCH: u32 = 1024;
/// Bursts of a paced process in a second, where a second has enough references.
const BURSTS_PER_S: u32 = 100;
const NS_PER_S: u128 = 1_000_000_000;

/// The pace of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    refs_per_s: Option<u32>,
    burst: u32,
    since_ns: u64,
    made: u64,
}

impl Pace {
    /// A pace of at most so many references a second, in operations of `op_refs` references, 1 to [`MAX_OP_REFS`].
    pub fn new(refs_per_s: Option<u32>, op_refs: u32) -> Self {
        debug_assert!((1..=MAX_OP_REFS).contains(&op_refs));
        let most = refs_per_s.map_or(BATCH, |rate| (rate / BURSTS_PER_S).clamp(1, BATCH));
        Self { refs_per_s, burst: op_refs * (most / op_refs).max(1), since_ns: 0, made: 0 }
    }

    /// References of a batch: whole operations.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Counts the references of a batch that begins now, and says what comes after it.
    pub fn made(&mut self, now_ns: u64, refs: u32) -> Then {
        let Some(rate) = self.refs_per_s else { return Then::Next };
        if now_ns > self.due(rate) {
            (self.since_ns, self.made) = (now_ns, 0);
        }
        self.made += u64::from(refs);
        Then::SleepUntil { ns: self.due(rate) }
    }

    /// When the references made so far have had their time: exact, however many they are.
    fn due(&self, rate: u32) -> u64 {
        let passed = (u128::from(self.made) * NS_PER_S).div_ceil(u128::from(rate));
        self.since_ns.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wakes when it said it would, `late_ns` later the first time; references made until a time.
    fn made_until(end_ns: u64, late_ns: u64, mut pace: Pace) -> u64 {
        let (mut now, mut late, mut made) = (0, late_ns, 0);
        while now < end_ns {
            let Then::SleepUntil { ns } = pace.made(now, pace.burst()) else { panic!("it has a rate") };
            made += u64::from(pace.burst());
            now = ns + std::mem::take(&mut late);
        }
        made
    }

    #[test]
    fn a_rate_is_kept_exactly() {
        for rate in [1, 3, 7, 99, 1000, 12_345, 1_000_000, 4_000_000_000] {
            let burst = u64::from(Pace::new(Some(rate), 1).burst());
            let made = made_until(10_000_000_000, 0, Pace::new(Some(rate), 1));
            let exact = u64::from(rate) * 10;
            assert!((exact..exact + burst).contains(&made), "{made} at {rate}");
        }
    }

    #[test]
    fn lost_time_stays_lost() {
        let late = made_until(10_000_000_000, 5_000_000_000, Pace::new(Some(1000), 1));
        assert!((5_000..=5_020).contains(&late), "{late}");
    }

    #[test]
    fn bursts_are_whole_operations() {
        assert_eq!(Pace::new(None, 1).burst(), 1024);
        assert_eq!(Pace::new(None, 100).burst(), 1000);
        assert_eq!(Pace::new(None, 5000).burst(), 5000);
        assert_eq!(Pace::new(Some(1000), 3).burst(), 9);
        assert_eq!(Pace::new(Some(1), 3).burst(), 3);
        assert_eq!(Pace::new(None, 1).made(5, 1024), Then::Next);
    }
}
