//! References of a guest's processes translated into touches, against one loop over a page table of the same size.
//!
//! `cargo bench -p esxcore-core --bench guest` prints, for guests of 1 and 16 GiB or those given in GiB after `--`, and for
//! pages referenced evenly and by Zipf's law, what a reference costs the loop, and how many times as long as that it takes
//! the guest: the fastest of many short rounds in which all run in turn, because others that run on the machine make a round
//! slower and never faster. All pages are resident. Of the references a third are writes.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use esxcore_core::balloon::GuestOs;
use esxcore_core::config::{GuestConfig, GuestKind, Replacement};
use esxcore_core::guest::build;
use esxcore_core::reference::{Ref, Touch};
use esxcore_core::rng::{Permutation, Seed, Stream};
use esxcore_core::types::{Access, Ppn};

const ROUNDS: usize = 40;
/// References, in batches of a thousand as workloads give them.
const REFS: usize = 4_000_000;
/// Those of a round.
const ROUND: usize = REFS / ROUNDS;
const BATCH: usize = 1000;

/// What is referenced.
#[derive(Clone, Copy)]
enum Of {
    Memory,
    Cache,
}

fn reference(of: Of, page: u32, access: Access) -> Ref {
    match of {
        Of::Memory => Ref::memory(page, access),
        Of::Cache => Ref::block(page >> 16, page & 0xffff, access),
    }
}

/// A guest all of whose spare memory is in use: so many pages of it.
fn guest(pages: u32, of: Of, replacement: Replacement) -> (Box<dyn GuestOs>, u32) {
    let config = GuestConfig { replacement, boot_pages: 0, ..GuestConfig::of(GuestKind::Linux) };
    let mut guest = build(&config, pages, 0, &Seed([1; 32])).expect("large enough");
    let used = pages - config.boot_kernel_pages(pages) - 1000;
    let (mut random, mut steps) = (Seed([1; 32]).stream("guest", 0), vec![]);
    let order = Permutation::new(used, 3);
    for page in 0..used {
        guest.fault(reference(of, order.at(page), Access::Read), &mut random, &mut steps);
        guest.settle();
        steps.clear();
    }
    (guest, used)
}

/// Pages by an even or a Zipf distribution of exponent one, hot ones anywhere.
fn pages(used: u32, by_zipf: bool, random: &mut Stream) -> Vec<u32> {
    let place = Permutation::new(used, 7);
    let mut one = || {
        let even = random.below(used);
        if !by_zipf {
            return even;
        }
        let rank = f64::from(used).powf(f64::from(even) / f64::from(used)) as u32;
        place.at(rank.min(used) - 1)
    };
    (0..REFS).map(|_| one()).collect()
}

/// A page table and nothing else.
fn plain(table: &[u32], refs: &[Ref], touches: &mut Vec<Touch>) {
    for batch in refs.chunks(BATCH) {
        touches.clear();
        touches.extend(batch.iter().map_while(|one| {
            let ppn = *table.get(one.memory_page()? as usize)?;
            (ppn != 0).then(|| Touch::new(Ppn(ppn), one.access()))
        }));
        assert_eq!(black_box(touches.len()), batch.len());
    }
}

fn translated(guest: &mut dyn GuestOs, refs: &[Ref], touches: &mut Vec<Touch>) {
    for batch in refs.chunks(BATCH) {
        touches.clear();
        assert_eq!(guest.translate(batch, touches), batch.len());
        black_box(&touches);
    }
}

fn seconds(run: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    run();
    begin.elapsed().as_secs_f64()
}

fn compare(gib: u32, by_zipf: bool) {
    let mut random = Seed([5; 32]).stream("references", 0);
    let kinds = [
        (Of::Memory, Replacement::TwoList),
        (Of::Memory, Replacement::Clock),
        (Of::Memory, Replacement::Lru),
        (Of::Cache, Replacement::TwoList),
    ];
    let mut guests: Vec<_> = kinds.iter().map(|(of, kind)| guest(gib << 18, *of, *kind)).collect();
    let used = guests[0].1;
    let pages = pages(used, by_zipf, &mut random);
    let access = |place: usize| if place.is_multiple_of(3) { Access::Write } else { Access::Read };
    let refs =
        |of| pages.iter().enumerate().map(|(place, page)| reference(of, *page, access(place))).collect();
    let (memory, cache): (Vec<Ref>, Vec<Ref>) = (refs(Of::Memory), refs(Of::Cache));
    let order = Permutation::new(used, 11);
    let table: Vec<u32> = (0..used).map(|page| order.at(page) + 1).collect();
    let (mut touches, mut base, mut best) = (vec![], f64::MAX, vec![f64::MAX; kinds.len()]);
    for round in 0..ROUNDS {
        let here = round * ROUND..(round + 1) * ROUND;
        base = base.min(seconds(|| plain(&table, &memory[here.clone()], &mut touches)));
        for (((guest, _), (of, _)), best) in guests.iter_mut().zip(kinds).zip(&mut best) {
            let refs = if matches!(of, Of::Memory) { &memory } else { &cache };
            *best = best.min(seconds(|| translated(&mut **guest, &refs[here.clone()], &mut touches)));
        }
    }
    let each = base * 1e9 / ROUND as f64;
    let mut line = format!("{gib:>3} GiB {:<5} loop {each:5.1} ns", if by_zipf { "zipf" } else { "even" });
    for ((of, kind), best) in kinds.iter().zip(best) {
        let name = if matches!(of, Of::Memory) { "memory" } else { "cache" };
        write!(line, "  {name} {} {:.2}", kind.name(), best / base).expect("memory");
    }
    println!("{line}");
}

fn main() {
    let given: Vec<u32> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    for gib in if given.is_empty() { vec![1, 16] } else { given } {
        for by_zipf in [false, true] {
            compare(gib, by_zipf);
        }
    }
}
