//! How long a guest's processes stood for want of memory, as Linux's pressure stall information counts it: *some* while at
//! least one stands, *full* while one stands and none of the others runs.

/// What a process did in a stretch of time in which it did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Off {
    /// It stood for want of memory.
    Stalled,
    /// It waited for something else, slept or had ended.
    Idle,
}

/// Stretches in which a process did not run, ascending; in all others it ran.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeLine {
    stretches: Vec<(u64, u64, Off)>,
}

impl TimeLine {
    /// Adds a stretch that begins where the last ended, or later.
    pub fn add(&mut self, from_ns: u64, to_ns: u64, off: Off) {
        if to_ns <= from_ns {
            return;
        }
        match self.stretches.last_mut() {
            Some((_, end, last)) if *end == from_ns && *last == off => *end = to_ns,
            _ => self.stretches.push((from_ns, to_ns, off)),
        }
    }

    /// Forgets what ended by then.
    fn forget(&mut self, until_ns: u64) {
        self.stretches.retain(|(_, end, _)| *end > until_ns);
    }
}

/// Nanoseconds in which some, and in which all processes that were not idle, stood for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// At least one stood.
    pub some_ns: u64,
    /// One stood and none ran.
    pub full_ns: u64,
}

impl Pressure {
    /// Adds what the time lines say of an interval, and has them forget it.
    pub(super) fn add<'a>(
        &mut self,
        from_ns: u64,
        to_ns: u64,
        lines: impl Iterator<Item = &'a mut TimeLine>,
    ) {
        let (mut turns, mut running) = (vec![], 0i64);
        for line in lines {
            running += 1;
            for (begin, end, off) in &line.stretches {
                let (begin, end) = (*begin.max(&from_ns), *end.min(&to_ns));
                if begin < end {
                    let stalls = i64::from(*off == Off::Stalled);
                    turns.extend([(begin, stalls, -1), (end, -stalls, 1)]);
                }
            }
            line.forget(to_ns);
        }
        turns.sort_unstable();
        let (mut stalled, mut last) = (0, from_ns);
        for (at, stalls, runs) in turns {
            self.some_ns += if stalled > 0 { at - last } else { 0 };
            self.full_ns += if stalled > 0 && running == 0 { at - last } else { 0 };
            (stalled, running, last) = (stalled + stalls, running + runs, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_and_full_of_a_hand_made_case() {
        // One stands 10-30; the other runs to 20, stands to 25, sleeps to 50; the third is idle throughout.
        let mut lines = [TimeLine::default(), TimeLine::default(), TimeLine::default()];
        lines[0].add(10, 20, Off::Stalled);
        lines[0].add(20, 30, Off::Stalled);
        lines[1].add(20, 25, Off::Stalled);
        lines[1].add(25, 50, Off::Idle);
        lines[2].add(0, 100, Off::Idle);
        let mut pressure = Pressure::default();
        pressure.add(0, 40, lines.iter_mut());
        assert_eq!(pressure, Pressure { some_ns: 20, full_ns: 10 });
        pressure.add(40, 100, lines.iter_mut());
        assert_eq!(pressure, Pressure { some_ns: 20, full_ns: 10 });
    }

    #[test]
    fn a_stretch_over_the_end_counts_in_both_intervals() {
        let mut line = TimeLine::default();
        line.add(5, 5, Off::Stalled);
        line.add(8, 17, Off::Stalled);
        let mut pressure = Pressure::default();
        pressure.add(0, 10, [&mut line].into_iter());
        assert_eq!((pressure.some_ns, pressure.full_ns), (2, 2));
        pressure.add(10, 20, [&mut line].into_iter());
        assert_eq!((pressure.some_ns, pressure.full_ns), (9, 9));
        assert!(line.stretches.is_empty());
    }
}
