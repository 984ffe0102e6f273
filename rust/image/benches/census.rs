//! What a census costs, by what the pages are and by threads; and what asking for memory ahead gains.
//!
//! `cargo bench -p esxcore-image --bench census` runs all; with a word after `--`, those whose name has it. A run of all
//! ends with ratios that are measured in turn, round after round, because times taken one after the other tell more about
//! what else the machine did:
//!
//! - *read, in order* sums the words of all pages front to back with one thread, which is as fast as memory gives them, and
//!   the bound for a census with one thread that compares nothing;
//! - *distinct*: all pages differ; *67 % shared*: each content occurs three times, far apart; *zero*: all pages are; *mixed*:
//!   a quarter is zero, a quarter occurs once, and half occurs eight times;
//! - *plain* loads words at random out of a table larger than caches; *prefetched* does the same, and asks for each twelve
//!   loads ahead, which is what a census does with the buckets of its index.
//!
//! The call of `prefetch` that the compiler cannot prove safe buys the distance between *plain* and *prefetched*.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use esxcore_core::arena::{Arena, prefetch};
use esxcore_core::rng::{Permutation, mix};
use esxcore_core::types::{PAGE_SIZE, Page};
use esxcore_image::census::{Image, Settings, Source, take};
use esxcore_image::pages::Memory;

/// Pages of a census: 256 MiB, more than caches hold.
const PAGES: u32 = 1 << 16;
/// Words of the table: 64 MiB, the index of 56 GiB.
const WORDS: u32 = 1 << 24;
/// Random loads in one measurement.
const LOADS: usize = 1 << 20;
/// Loads between asking for a word and using it, as many as in a census.
const AHEAD: usize = 12;
/// Work between two loads, as rounds of a hash that the next load does not wait for; without, a processor finds the loads
/// ahead by itself.
const WORK: [u32; 2] = [0, 64];
/// Rounds of the ratios.
const ROUNDS: usize = 15;

/// Which content a page has; 0 is zero.
type Content = fn(u32) -> u64;

const CONTENTS: [(&str, Content); 4] = [
    ("distinct", |page| u64::from(page) + 1),
    ("67 % shared", |page| u64::from(page % (PAGES / 3)) + 1),
    ("zero", |_| 0),
    ("mixed", |page| match page % 4 {
        0 => 0,
        1 => u64::from(page) + 1,
        _ => u64::from(page % (PAGES / 8)) + u64::from(PAGES) + 1,
    }),
];

/// Pages of a content each, on huge pages.
fn filled(content: Content) -> Arena<Page> {
    let mut memory = Arena::<Page>::zeroed(PAGES as usize).expect("256 MiB of address space");
    while !memory.commit_some(PAGES as usize) {}
    for (number, page) in (0..).zip(memory.as_mut_slice()) {
        let content = content(number);
        if content > 0 {
            for (place, word) in (0..).zip(page.as_chunks_mut::<8>().0) {
                *word = mix(content * 512 + place).to_ne_bytes();
            }
        }
    }
    memory
}

/// A census of memory, as far as numbers of contents.
fn census(pages: &[Page], threads: usize) -> u32 {
    let images = [Image { source: Source::Pages(&Memory(pages)), domain: 0 }];
    let settings = Settings { threads, ..Settings::default() };
    take(&images, &settings, &mut |_| Ok(())).expect("memory can be read").numbers()
}

/// The sum of all words, front to back.
fn read(pages: &[Page]) -> u32 {
    let words = pages.as_flattened().as_chunks::<8>().0;
    words.iter().fold(0, |sum, word| sum ^ u64::from_ne_bytes(*word)) as u32
}

fn censuses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("census");
    group.throughput(Throughput::Bytes(u64::from(PAGES) * PAGE_SIZE as u64));
    for (name, content) in CONTENTS {
        let memory = filled(content);
        for threads in [1, 2] {
            group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                bencher.iter(|| census(memory.as_slice(), threads));
            });
        }
    }
    group.finish();
}

/// A table and the places to load from.
struct Table {
    words: Arena<u32>,
    places: Vec<u32>,
}

impl Table {
    fn new() -> Self {
        let mut words = Arena::<u32>::zeroed(WORDS as usize).expect("64 MiB of address space");
        while !words.commit_some(WORDS as usize) {}
        let order = Permutation::new(WORDS, 7);
        Self { words, places: (0..(LOADS + AHEAD) as u32).map(|number| order.at(number)).collect() }
    }

    fn plain(&self, work: u32) -> u64 {
        let words = self.words.as_slice();
        let places = self.places[..LOADS].iter();
        places.fold(0, |sum, place| sum ^ worked(*place, work) ^ u64::from(words[*place as usize]))
    }

    fn prefetched(&self, work: u32) -> u64 {
        let words = self.words.as_slice();
        let places = self.places.iter().zip(&self.places[AHEAD..]);
        places.fold(0, |sum, (place, ahead)| {
            prefetch(&words[*ahead as usize]);
            sum ^ worked(*place, work) ^ u64::from(words[*place as usize])
        })
    }
}

/// A number that takes as long as `work` hashes one after the other.
fn worked(place: u32, work: u32) -> u64 {
    (0..work).fold(u64::from(place), |value, _| mix(value))
}

fn loads(criterion: &mut Criterion) {
    let table = Table::new();
    let mut group = criterion.benchmark_group("loads");
    group.throughput(Throughput::Elements(LOADS as u64));
    for work in WORK {
        group.bench_function(BenchmarkId::new("plain", work), |bencher| bencher.iter(|| table.plain(work)));
        group.bench_function(BenchmarkId::new("prefetched", work), |bencher| {
            bencher.iter(|| table.prefetched(work));
        });
    }
    group.finish();
}

/// What is measured in turn.
type Call<'a> = (String, Box<dyn Fn() -> u64 + 'a>);

/// Everybody in turn, round after round; the median over the rounds of the ratio to the first inside one.
fn print_ratios(calls: &[Call<'_>]) {
    let seconds = |(_, call): &Call<'_>| {
        let begin = Instant::now();
        black_box(call());
        begin.elapsed().as_secs_f64()
    };
    let rounds: Vec<Vec<f64>> = (0..ROUNDS).map(|_| calls.iter().map(seconds).collect()).collect();
    println!("\nspeed as a fraction of {}, median of {ROUNDS} rounds (lowest, highest):", calls[0].0);
    for (place, (name, _)) in calls.iter().enumerate() {
        let mut ratios: Vec<f64> = rounds.iter().map(|round| round[0] / round[place]).collect();
        ratios.sort_by(f64::total_cmp);
        let (low, median, high) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
        println!("{name:26} {median:.2} ({low:.2}, {high:.2})");
    }
}

fn print_all_ratios() {
    let memories = CONTENTS.map(|(name, content)| (name, filled(content)));
    let mut calls: Vec<Call<'_>> =
        vec![("read, in order".into(), Box::new(|| u64::from(read(memories[0].1.as_slice()))))];
    for (name, memory) in &memories {
        for threads in [1, 2] {
            let call = move || u64::from(census(memory.as_slice(), threads));
            calls.push((format!("{name}, threads: {threads}"), Box::new(call)));
        }
    }
    print_ratios(&calls);
    let table = Table::new();
    for work in WORK {
        print_ratios(&[
            (format!("plain, work {work}"), Box::new(|| table.plain(work))),
            (format!("prefetched, work {work}"), Box::new(|| table.prefetched(work))),
        ]);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = censuses, loads
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if std::env::args().skip(1).eq(["--bench"]) {
        print_all_ratios();
    }
}
