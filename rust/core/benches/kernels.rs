//! Kernels under the hot paths: hashing scattered pages, the set of free pages, runs along a pmap.
//!
//! `cargo bench -p esxcore-core --bench kernels` runs all; with a word after `--`, those whose name has it. A run of
//! all ends with ratios that are measured in turn, round after round, because times taken one after the other tell
//! more about what else the machine did:
//!
//! - *read, in order* sums the words of all pages front to back, which is as fast as memory gives them;
//! - *read, scattered* does so page by page in random order, and *read, 8 in step* takes line by line of eight such
//!   pages, which is the bound for a scan of scattered pages;
//! - *read, 4 runs in step* takes line by line of four pages in step along clusters of sixteen neighbours, themselves in
//!   random order: the bound for a scan of memory that lies as guests have it;
//! - *hash, runs* is what a scan does with a batch of four such clusters, *hash, together* what it does with a batch of
//!   scattered pages, *hash, one page* what it does with a page alone; *portable* is the same for a host that hashes as
//!   processors without AES rounds do.
//!
//! The one call of the hash kernels that the compiler cannot prove safe buys the distance between *hash* and *portable*.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use esxcore_core::arena::Arena;
use esxcore_core::config::{HashPath, SharingConfig};
use esxcore_core::hash::PageHasher;
use esxcore_core::page_set::PageSet;
use esxcore_core::pmap::{Entry, Pmap, State};
use esxcore_core::rng::{Permutation, mix};
use esxcore_core::types::{Access, Mpn, PAGE_SIZE, Page, PageView, Ppn};

/// Pages of memory that is read: 256 MiB, more than caches hold.
const PAGES: u32 = 1 << 16;
/// Pages that a scan takes together.
const BATCH: usize = 64;
/// Scattered pages read line by line together.
const STEP: usize = 8;
/// Runs of neighbouring pages read line by line together.
const RUNS: usize = 4;
/// References, allocations or releases in one measurement.
const CALL: usize = 4096;
/// Rounds of the ratios.
const ROUNDS: usize = 15;

/// Random pages on huge pages, as a host has them, and a random order to take them in.
struct Scattered {
    memory: Arena<Page>,
    order: Vec<usize>,
    /// Clusters of a fourth of a batch in random order, their pages from first to last.
    clusters: Vec<usize>,
}

impl Scattered {
    fn new() -> Self {
        let mut memory = Arena::<Page>::zeroed(PAGES as usize).expect("256 MiB of address space");
        while !memory.commit_some(PAGES as usize) {}
        for (number, word) in (0..).zip(memory.as_mut_slice().as_flattened_mut().as_chunks_mut::<8>().0) {
            *word = mix(number).to_ne_bytes();
        }
        let cluster = BATCH / RUNS;
        let clusters = shuffled(PAGES / cluster as u32).into_iter();
        let clusters = clusters.flat_map(|place| place * cluster..(place + 1) * cluster).collect();
        Self { memory, order: shuffled(PAGES), clusters }
    }

    /// The next pages of the order, beginning again after the last.
    fn batch(&self, number: usize) -> impl Iterator<Item = &Page> {
        self.pages(&self.order, number)
    }

    /// The next clusters.
    fn runs(&self, number: usize) -> impl Iterator<Item = &Page> {
        self.pages(&self.clusters, number)
    }

    fn pages<'a>(&'a self, order: &'a [usize], number: usize) -> impl Iterator<Item = &'a Page> {
        let from = number % (order.len() / BATCH) * BATCH;
        order[from..from + BATCH].iter().map(|place| &self.memory.as_slice()[*place])
    }
}

fn shuffled(len: u32) -> Vec<usize> {
    let permutation = Permutation::new(len, 7);
    (0..len).map(|index| permutation.at(index) as usize).collect()
}

/// Looks at every byte of a batch of pages; the number keeps the compiler from leaving it out.
type Read = Box<dyn FnMut(&Scattered, usize) -> u64>;

struct Reader {
    name: &'static str,
    read: Read,
}

fn reader(name: &'static str, read: impl FnMut(&Scattered, usize) -> u64 + 'static) -> Reader {
    Reader { name, read: Box::new(read) }
}

fn readers() -> Vec<Reader> {
    vec![
        reader("read, in order", |pages, number| {
            let from = number * BATCH % PAGES as usize;
            pages.memory.as_slice()[from..from + BATCH].iter().map(sum).fold(0, u64::wrapping_add)
        }),
        reader("read, scattered", |pages, number| pages.batch(number).map(sum).fold(0, u64::wrapping_add)),
        reader("read, 8 in step", |pages, number| sum_in_step::<STEP>(pages.batch(number).collect())),
        reader("read, 4 runs in step", |pages, number| {
            let pages: Vec<&Page> = pages.runs(number).collect();
            let run = BATCH / RUNS;
            sum_in_step::<RUNS>((0..BATCH).map(|at| pages[at % RUNS * run + at / RUNS]).collect())
        }),
        hash_runs("hash, runs", HashPath::Fastest),
        hash_together("hash, together", HashPath::Fastest),
        hash_one_page("hash, one page", HashPath::Fastest),
        hash_runs("portable, runs", HashPath::Portable),
        hash_together("portable, together", HashPath::Portable),
        hash_one_page("portable, one page", HashPath::Portable),
    ]
}

fn hasher(hash_path: HashPath) -> PageHasher {
    PageHasher::new(&SharingConfig { hash_path, ..SharingConfig::default() }, 1)
}

fn hash_together(name: &'static str, path: HashPath) -> Reader {
    let (hasher, mut hashes) = (hasher(path), vec![]);
    reader(name, move |pages, number| {
        let batch: Vec<PageView<'_>> = pages.batch(number).map(PageView::Bytes).collect();
        hasher.hash_all(&batch, &mut hashes);
        hashes.len() as u64
    })
}

fn hash_runs(name: &'static str, path: HashPath) -> Reader {
    let (hasher, mut hashes) = (hasher(path), vec![]);
    reader(name, move |pages, number| {
        let batch: Vec<PageView<'_>> = pages.runs(number).map(PageView::Bytes).collect();
        hasher.hash_all(&batch, &mut hashes);
        hashes.len() as u64
    })
}

fn hash_one_page(name: &'static str, path: HashPath) -> Reader {
    let hasher = hasher(path);
    reader(name, move |pages, number| {
        let hashes = pages.batch(number).map(|page| black_box(hasher.hash(PageView::Bytes(page))));
        hashes.count() as u64
    })
}

fn sum(bytes: &Page) -> u64 {
    words(bytes).iter().fold(0, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)))
}

/// The sum of a batch, line by line of `N` pages at a time.
fn sum_in_step<const N: usize>(pages: Vec<&Page>) -> u64 {
    let mut sums = [0u64; 8];
    for group in pages.as_chunks::<N>().0 {
        for line in 0..PAGE_SIZE / 64 {
            for page in group {
                for (sum, word) in sums.iter_mut().zip(&words(page)[line * 8..][..8]) {
                    *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
                }
            }
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

fn words(page: &Page) -> &[[u8; 8]] {
    page.as_chunks::<8>().0
}

/// Hashing and reading scattered pages.
fn hashes(criterion: &mut Criterion) {
    let pages = Scattered::new();
    let mut group = criterion.benchmark_group("pages");
    group.throughput(Throughput::Bytes((BATCH * PAGE_SIZE) as u64));
    for Reader { name, mut read } in readers() {
        let mut number = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                read(&pages, number)
            });
        });
    }
    group.finish();
}

/// Taking the lowest free page, and giving pages back, on a machine of 64 GiB half of which is in use at random.
fn free_pages(criterion: &mut Criterion) {
    let machine = 1u32 << 24;
    let mut free = PageSet::full(machine);
    shuffled(machine).iter().step_by(2).for_each(|page| assert!(free.remove(*page as u32)));
    let order = shuffled(CALL as u32);
    let mut taken = Vec::with_capacity(CALL);
    let mut cycle = |timed: fn(Duration, Duration) -> Duration| {
        let begin = Instant::now();
        for page in (0..CALL).filter_map(|_| free.lowest().filter(|page| free.remove(*page))) {
            taken.push(page);
        }
        let between = Instant::now();
        order.iter().for_each(|place| assert!(free.insert(taken[*place])));
        taken.clear();
        timed(between - begin, between.elapsed())
    };
    let mut group = criterion.benchmark_group("page set");
    group.throughput(Throughput::Elements(CALL as u64));
    group.bench_function("allocate", |bencher| {
        bencher.iter_custom(|cycles| (0..cycles).map(|_| cycle(|allocating, _| allocating)).sum());
    });
    group.bench_function("free", |bencher| {
        bencher.iter_custom(|cycles| (0..cycles).map(|_| cycle(|_, freeing| freeing)).sum());
    });
    group.finish();
}

/// References that do not fault, by size of the guest and order.
fn runs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pmap run_length");
    group.throughput(Throughput::Elements(CALL as u64));
    for gib in [1u32, 4, 16] {
        let pages = gib << 18;
        let pmap = resident(pages);
        let in_order: Vec<u32> = (0..pages).collect();
        let at_random: Vec<u32> = shuffled(pages).into_iter().map(|page| page as u32).collect();
        for (order, ppns) in [("in order", in_order), ("at random", at_random)] {
            let mut calls = ppns.as_chunks::<CALL>().0.iter().cycle();
            group.bench_function(BenchmarkId::new(order, format!("{gib} GiB")), |bencher| {
                bencher.iter(|| calls.next().map(|ppns| pmap.run_length(ppns, Access::Write)));
            });
        }
    }
    group.finish();
}

fn resident(pages: u32) -> Pmap {
    let mut pmap = Pmap::new(pages, &mut || Ok(())).expect("a few MiB");
    (0..pages).for_each(|page| pmap.set(Ppn(page), Entry::new(State::Private(Mpn(page)))));
    pmap
}

/// Everybody in turn over all pages, round after round; the median over the rounds of the ratio inside one.
fn print_ratios() {
    let pages = Scattered::new();
    let mut readers = readers();
    let batches = PAGES as usize / BATCH;
    let rounds: Vec<Vec<f64>> = (0..ROUNDS)
        .map(|_| {
            let seconds = readers.iter_mut().map(|Reader { read, .. }| {
                let begin = Instant::now();
                black_box((0..batches).fold(0, |seen, number| seen ^ read(&pages, number)));
                begin.elapsed().as_secs_f64()
            });
            seconds.collect()
        })
        .collect();
    println!("\nspeed as a fraction of {}, median of {ROUNDS} rounds (lowest, highest):", readers[0].name);
    for (place, Reader { name, .. }) in readers.iter().enumerate() {
        let mut ratios: Vec<f64> = rounds.iter().map(|round| round[0] / round[place]).collect();
        ratios.sort_by(f64::total_cmp);
        let (low, median, high) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
        println!("{name:26} {median:.2} ({low:.2}, {high:.2})");
    }
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = hashes, free_pages, runs
}

fn main() {
    kernels();
    Criterion::default().configure_from_args().final_summary();
    if std::env::args().skip(1).eq(["--bench"]) {
        print_ratios();
    }
}
