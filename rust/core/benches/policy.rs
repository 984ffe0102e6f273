//! Min-funding targets against one pass over the virtual machines, and against taking page by page.
//!
//! `cargo bench -p esxcore-core --bench policy` prints, for several numbers of virtual machines or those given after `--`, how many times as long as
//! *one pass* everybody takes: the median over rounds in which all run in turn, with the lowest and the highest round.
//!
//! - *one pass* reads the same columns once and adds up what everybody could pay for at a given level, within min and
//!   max, in floating point: whoever does not know the level needs several of them;
//! - *pass after pass* is the same, but each waits for what the one before has found, as those of a search do: with few
//!   virtual machines the processor does several passes at once if it may;
//! - *level* is the equilibrium without whole pages, *targets* are the exact whole pages;
//! - *policy* is a whole step, from a host's view to checked targets; *reasons* are prices, what the tax took and who is
//!   next, for whoever keeps a record;
//! - *heap* takes page by page from whoever pays least, with a binary heap and the same exact comparison; without
//!   making the heap, and extrapolated from the first pages, because all of them would take minutes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::hint::black_box;
use std::time::{Duration, Instant};

use esxcore_core::policy::{
    AllocationPolicy, Claims, Columns, HostView, MinFunding, Targets, TaxRate, level, min_funding,
};

/// Rounds of the ratios.
const ROUNDS: usize = 31;
/// Shortest time that a runner is measured for in one round.
const LEAST: Duration = Duration::from_micros(300);
/// Pages that the heap takes in a run; the time for all is extrapolated.
const HEAP_PAGES: u64 = 5000;
/// Most pages that it takes to the end, once, to see that its answer is the same.
const WHOLE_HEAP: u64 = 10_000_000;
/// The paper's tax in millionths.
const TAX: u64 = 750_000;

/// Virtual machines of 256 MiB to 4 GiB with default shares up to a factor of four, overcommitted by half.
struct World {
    shares: Vec<u64>,
    min: Vec<u32>,
    max: Vec<u32>,
    active: Vec<u32>,
    available: u64,
}

impl World {
    fn new(vms: usize) -> Self {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((u128::from(state) * u128::from(below)) >> 64) as u64
        };
        let mut world = Self { shares: vec![], min: vec![], max: vec![], active: vec![], available: 0 };
        for _ in 0..vms {
            let max = 65_536 + random(983_040) as u32;
            world.max.push(max);
            world.min.push(max / 4 + random(u64::from(max / 4)) as u32);
            world.active.push(random(u64::from(max)) as u32);
            world.shares.push(u64::from(max / 256) * 10 * [1, 2, 4][random(3) as usize] / 2);
        }
        world.available = world.max.iter().map(|max| u64::from(*max)).sum::<u64>() * 2 / 3;
        world
    }

    fn claims(&self) -> Claims<'_> {
        let columns = Columns {
            shares: &self.shares,
            min_pages: &self.min,
            max_pages: &self.max,
            active_pages: &self.active,
        };
        Claims::new(columns, self.available).expect("half of max is at most min")
    }

    fn view(&self) -> HostView {
        HostView {
            names: (0..self.max.len()).map(|vm| format!("vm{vm}")).collect(),
            shares: self.shares.clone(),
            min_pages: self.min.clone(),
            max_pages: self.max.clone(),
            active_pages: self.active.clone(),
            available_pages: self.available,
            ..HostView::default()
        }
    }

    /// Pages that everybody could pay for at that level.
    fn one_pass(&self, level: f64) -> f64 {
        let mut sums = [0.0; 4];
        let (shares, min) = (self.shares.as_chunks::<4>().0, self.min.as_chunks::<4>().0);
        let (max, active) = (self.max.as_chunks::<4>().0, self.active.as_chunks::<4>().0);
        for (((shares, min), max), active) in shares.iter().zip(min).zip(max).zip(active) {
            for lane in 0..4 {
                sums[lane] += affordable(level, shares[lane], active[lane], min[lane], max[lane]);
            }
        }
        let done = self.shares.len() / 4 * 4;
        sums.iter().sum::<f64>()
            + (done..self.shares.len())
                .map(|vm| affordable(level, self.shares[vm], self.active[vm], self.min[vm], self.max[vm]))
                .sum::<f64>()
    }

    fn heap(&self) -> Heap<'_> {
        let holders = (0..self.max.len()).filter(|vm| self.min[*vm] < self.max[*vm]);
        let holders = holders.map(|vm| Reverse(self.holder(vm, self.max[vm]))).collect();
        Heap { world: self, pages: self.max.clone(), holders }
    }

    fn pages_to_take(&self) -> u64 {
        self.max.iter().map(|max| u64::from(*max)).sum::<u64>() - self.available
    }

    fn holder(&self, vm: usize, pages: u32) -> Holder {
        let (pages, active) = (u64::from(pages), u64::from(self.active[vm]));
        let all_active = (1_000_000 - TAX) * pages;
        let cost = all_active.max((1_000_000 * pages).saturating_sub(TAX * active));
        Holder { shares: self.shares[vm], cost, vm }
    }
}

/// Pages that so many shares pay for at that level.
#[inline(always)]
fn affordable(level: f64, shares: u64, active: u32, min: u32, max: u32) -> f64 {
    let budget = shares as f64 * level;
    let all_active = budget * (1.0 / (1_000_000 - TAX) as f64);
    let some_idle = (budget + TAX as f64 * f64::from(active)) * 1e-6;
    let pages = if all_active < some_idle { all_active } else { some_idle };
    let (min, max) = (f64::from(min), f64::from(max));
    let pages = if pages < min { min } else { pages };
    if pages > max { max } else { pages }
}

/// Taking page by page.
struct Heap<'a> {
    world: &'a World,
    pages: Vec<u32>,
    holders: BinaryHeap<Reverse<Holder>>,
}

impl Heap<'_> {
    fn take(&mut self, pages: u64) {
        for _ in 0..pages {
            let Some(mut poorest) = self.holders.peek_mut() else { break };
            let vm = poorest.0.vm;
            self.pages[vm] -= 1;
            if self.pages[vm] > self.world.min[vm] {
                poorest.0 = self.world.holder(vm, self.pages[vm]);
            } else {
                PeekMut::pop(poorest);
            }
        }
    }
}

/// A virtual machine by what it pays for its last page.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Holder {
    shares: u64,
    cost: u64,
    vm: usize,
}

impl Ord for Holder {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let left = u128::from(self.shares) * u128::from(other.cost);
        let right = u128::from(other.shares) * u128::from(self.cost);
        left.cmp(&right).then(self.vm.cmp(&other.vm))
    }
}

impl PartialOrd for Holder {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Somebody who is measured.
struct Runner<'a> {
    name: &'static str,
    /// How many such runs the whole work takes.
    times: f64,
    run: Box<dyn FnMut() + 'a>,
}

fn runner<'a, T>(name: &'static str, mut run: impl FnMut() -> T + 'a) -> Runner<'a> {
    let run = move || {
        black_box(run());
    };
    Runner { name, times: 1.0, run: Box::new(run) }
}

/// Seconds that one run takes, by as many as fill [`LEAST`].
fn seconds(run: &mut dyn FnMut()) -> f64 {
    let (begin, mut runs) = (Instant::now(), 0);
    while begin.elapsed() < LEAST {
        (0..1 + runs / 8).for_each(|_| run());
        runs += 1 + runs / 8;
    }
    begin.elapsed().as_secs_f64() / f64::from(runs)
}

fn print_ratios(vms: usize) {
    let world = World::new(vms);
    let (claims, tax) = (world.claims(), TaxRate::default());
    let at = level(&claims, tax);
    let taken = world.pages_to_take();
    if taken <= WHOLE_HEAP {
        let mut heap = world.heap();
        heap.take(taken);
        let targets: Vec<i64> = heap.pages.into_iter().map(i64::from).collect();
        assert_eq!(min_funding(&claims, tax), targets);
    }
    let mut heap = world.heap();
    let whole_heap = taken as f64 / HEAP_PAGES as f64;
    let (policy, view) = (MinFunding { tax }, world.view());
    let answer = Targets::ask(&policy, &view).expect("valid");
    let mut last = 0.0;
    let mut runners = [
        runner("one pass", || world.one_pass(black_box(at))),
        runner("pass after pass", || {
            last = world.one_pass(black_box(at) + last * 0.0);
            last
        }),
        runner("level", || level(&claims, tax)),
        runner("targets", || min_funding(&claims, tax)),
        runner("check and targets", || min_funding(&world.claims(), tax)),
        runner("policy", || Targets::ask(&policy, &view)),
        runner("reasons", || policy.reasons(&view, answer.pages())),
        Runner { times: whole_heap, ..runner("heap", || heap.take(HEAP_PAGES)) },
    ];
    let rounds: Vec<Vec<f64>> = (0..ROUNDS)
        .map(|_| runners.iter_mut().map(|runner| seconds(&mut runner.run) * runner.times).collect())
        .collect();
    let quickest_pass = rounds.iter().map(|round| round[0] * 1e6).fold(f64::INFINITY, f64::min);
    println!("\n{vms} VMs, {taken} of {} pages to take:", world.available + taken);
    for (place, Runner { name, .. }) in runners.iter().enumerate() {
        let mut ratios: Vec<f64> = rounds.iter().map(|round| round[place] / round[0]).collect();
        let mut times: Vec<f64> = rounds.iter().map(|round| round[place] * 1e6).collect();
        ratios.sort_by(f64::total_cmp);
        times.sort_by(f64::total_cmp);
        let (low, median, high) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
        let best = times[0] / quickest_pass;
        println!("{name:18} {median:10.2} ({low:.2}–{high:.2}; {best:.2})  {:.3} µs", times[ROUNDS / 2]);
    }
}

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let vms = if asked.is_empty() { vec![10, 1000, 10_000, 100_000, 1_000_000] } else { asked };
    vms.into_iter().for_each(print_ratios);
}
