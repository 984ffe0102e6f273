//! Replays against a memory in vectors, and of a file against the same trace in memory.

use std::fs;

use esxcore_core::guest::Replacement;
use esxcore_core::page_trace::{PageTrace, Records};
use esxcore_trace::error::Error;
use esxcore_trace::load::from_columns;
use esxcore_trace::replay::{misses, stream};
use proptest::prelude::*;

/// Page and bit, the next victim first.
type Line = Vec<(u64, bool)>;

/// Demand paging, slow and obvious: references one by one. Of two lists `line` has the inactive pages.
fn slow_misses(references: &[u64], kind: Replacement, memory: usize) -> u64 {
    let (mut line, mut active): (Line, Line) = (vec![], vec![]);
    let mut misses = 0;
    for page in references {
        if let Some(place) = active.iter().position(|entry| entry.0 == *page) {
            active[place].1 = true;
        } else if let Some(place) = line.iter().position(|entry| entry.0 == *page) {
            match kind {
                Replacement::Lru => {
                    let entry = line.remove(place);
                    line.push(entry);
                }
                Replacement::TwoList if line[place].1 => active.push((line.remove(place).0, false)),
                Replacement::Clock | Replacement::TwoList => line[place].1 = true,
            }
        } else {
            misses += 1;
            if line.len() + active.len() == memory {
                replace(&mut line, &mut active, kind);
            }
            line.push((*page, kind == Replacement::TwoList));
        }
    }
    misses
}

fn replace(line: &mut Line, active: &mut Line, kind: Replacement) {
    while kind == Replacement::Clock && line[0].1 {
        let (page, _) = line.remove(0);
        line.push((page, false));
    }
    while active.len() * 3 > (line.len() + active.len()) * 2 {
        let (page, bit) = active.remove(0);
        if bit { active.push((page, false)) } else { line.push((page, false)) }
    }
    line.remove(0);
}

fn rows() -> impl Strategy<Value = Vec<(u64, u32)>> {
    // Low numbers are drawn more often.
    let page = (0u64..50, 0u64..50).prop_map(|(a, b)| a.min(b) * 0x1234_5678_9abc);
    prop::collection::vec((page, prop_oneof![6 => Just(1u32), 4 => 1u32..9]), 1..500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn replays_agree_with_vectors(
        rows in rows(),
        memory in 1u32..60,
        kind in prop::sample::select(&Replacement::ALL),
    ) {
        let ids: Vec<u64> = rows.iter().map(|row| row.0).collect();
        let runs: Vec<u32> = rows.iter().map(|row| row.1).collect();
        let references: Vec<u64> = rows.iter().flat_map(|(id, run)| vec![*id; *run as usize]).collect();
        let wanted = slow_misses(&references, kind, memory as usize);

        let short = from_columns(&ids, Some(&runs), None, &mut || Ok(())).expect("room");
        prop_assert_eq!(short.references(), references.len() as u64);
        let sizes = [memory, u32::MAX];
        let wanted = vec![wanted, u64::from(short.distinct())];
        prop_assert_eq!(misses(&short, kind, &sizes, &mut || Ok(())), Ok(wanted.clone()));

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.csv");
        fs::write(&path, references.iter().map(|id| format!("{id}\n")).collect::<String>()).expect("a file");
        let found = stream(&path, None, kind, &sizes, &mut || Ok(())).expect("whole");
        prop_assert_eq!((found.references, found.misses), (references.len() as u64, wanted));
    }
}

#[test]
fn a_memory_has_pages_and_a_replay_can_be_ended() {
    let mut trace = PageTrace::new();
    trace.append(Records { pages: &[0], runs: None, writes: None }).expect("memory");
    let of_none = misses(&trace, Replacement::Lru, &[1, 0], &mut || Ok(()));
    assert_eq!(of_none, Err(Error::NoMemory { pages: 0 }));
    let ended = misses(&trace, Replacement::Lru, &[1], &mut || Err(Error::Interrupted));
    assert_eq!(ended, Err(Error::Interrupted));
    assert_eq!(misses(&trace, Replacement::Lru, &[], &mut || Ok(())), Ok(vec![]));
    assert_eq!(misses(&PageTrace::new(), Replacement::Clock, &[3], &mut || Ok(())), Ok(vec![0]));
}

/// More pages than frames at first, so that orders grow while they are in use.
#[test]
fn a_large_memory_grows() {
    let ids: Vec<u64> = (0..40_000).chain(0..40_000).chain(20_000..60_000).collect();
    let trace = from_columns(&ids, None, None, &mut || Ok(())).expect("room");
    for kind in Replacement::ALL {
        assert_eq!(misses(&trace, kind, &[1 << 30], &mut || Ok(())), Ok(vec![60_000]));
    }
    // A scan in circles through less memory than it needs hits nothing with LRU, but for the pages 20 000 to 39 999,
    // which the last scan begins with.
    assert_eq!(misses(&trace, Replacement::Lru, &[20_000], &mut || Ok(())), Ok(vec![100_000]));
}
