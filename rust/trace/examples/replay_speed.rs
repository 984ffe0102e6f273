//! Replays a trace file and says how fast, by CPU time: `replay_speed FILE PAGES [ROUNDS]`.

use std::path::PathBuf;

use esxcore_core::guest::Replacement;
use esxcore_trace::load::load;
use esxcore_trace::replay::{misses, stream};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: replay_speed FILE PAGES [ROUNDS]";
    let path = PathBuf::from(words.next().ok_or(usage)?);
    let memory = words.next().ok_or(usage)?.parse()?;
    let rounds: u32 = words.next().map_or(Ok(1), |rounds| rounds.parse())?;
    for _ in 0..rounds {
        let begin = cpu_seconds()?;
        let trace = load(&path, None, &mut || Ok(()))?;
        let taken = cpu_seconds()? - begin;
        println!("load: {trace:?}, {:.1} M/s", trace.references() as f64 / taken / 1e6);
        for kind in Replacement::ALL {
            let begin = cpu_seconds()?;
            let found = stream(&path, None, kind, &[memory], &mut || Ok(()))?;
            let streamed = cpu_seconds()? - begin;
            let begin = cpu_seconds()?;
            let again = misses(&trace, kind, &[memory], &mut || Ok(()))?;
            let loaded = cpu_seconds()? - begin;
            assert_eq!(found.misses, again);
            let references = found.references as f64;
            println!(
                "{}: {:.6}, file {:.1} M/s, loaded {:.1} M/s",
                kind.name(),
                found.misses[0] as f64 / references,
                references / streamed / 1e6,
                references / loaded / 1e6
            );
        }
    }
    Ok(())
}

/// Seconds that this process was on a processor.
fn cpu_seconds() -> Result<f64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
}
