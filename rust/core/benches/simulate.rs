//! Processes of guests at work, against the same host without them.
//!
//! `cargo bench -p esxcore-core --bench simulate` prints how many times as long as the plain loop over a pmap
//! ([`Host::touch`] of the same pages) it takes processes of a Linux guest to make references through its memory, and how
//! many times as long as [`Host::advance`] a day takes of a hundred Linux guests that do next to nothing. `touch` or `day`
//! after `--` prints a part; numbers are sizes in GiB instead of 1 and 16. Both sides run in turn in each round; time is CPU time, a figure the median over the rounds of
//! the ratio inside a round, with the lowest and the highest.

use std::fs;
use std::sync::Arc;

use esxcore_core::config::{GuestConfig, GuestKind, HostConfig, VmConfig};
use esxcore_core::error::Error;
use esxcore_core::host::Host;
use esxcore_core::reference::{Ref, Writes};
use esxcore_core::rng::{Permutation, Seed, Stream};
use esxcore_core::simulate::{Simulation, SimulationConfig};
use esxcore_core::types::{Access, ContentKind, VmId};
use esxcore_core::workload::{Batch, Idle, IdleConfig, Ops, Then, Workload};

const SECOND: u64 = 1_000_000_000;
const ROUNDS: usize = 7;
const REFS: usize = 1 << 22;
/// How often all references are made in a round: CPU time is counted in ticks of some milliseconds.
const PASSES: usize = 16;
/// References that a process gives at a time.
const BATCH: usize = 1024;
const DAY_S: u64 = 86_400;
const GUESTS: u32 = 100;
const GUEST_PAGES: u32 = 1 << 16;

fn seed() -> Seed {
    Seed([1; 32])
}

/// CPU time of this thread so far, in seconds.
fn cpu_s() -> f64 {
    let read = fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux with scheduler statistics");
    let ns = read.split(' ').next().and_then(|word| word.parse::<u64>().ok());
    ns.expect("it begins with a number") as f64 / 1e9
}

fn seconds(run: impl FnOnce()) -> f64 {
    let begin = cpu_s();
    run();
    cpu_s() - begin
}

/// Runs a warm-up and the rounds; prints the ratio, and what a unit costs both.
fn race(case: &str, units: f64, mut ours: impl FnMut(), mut peer: impl FnMut()) {
    let mut round = || {
        let theirs = seconds(&mut peer);
        (seconds(&mut ours), theirs)
    };
    round();
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(|(ours, theirs), (own, other)| (ours / theirs).total_cmp(&(own / other)));
    let ratio = |place: usize| rounds[place].0 / rounds[place].1;
    let (ours, theirs) = rounds[ROUNDS / 2];
    let [ours, theirs] = [ours, theirs].map(|seconds| seconds * 1e9 / units);
    let [half, low, high] = [ROUNDS / 2, 0, ROUNDS - 1].map(ratio);
    println!("{case:<28} {half:.2} ({low:.2}-{high:.2}), {ours:.1} ns against {theirs:.1} ns");
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

/// Makes its references so many times, and ends.
#[derive(Clone, Debug)]
struct Prepared {
    refs: Arc<[Ref]>,
    passes: usize,
    at: usize,
}

impl Prepared {
    fn new(pages: &[u32], access: Access, passes: usize) -> Box<Self> {
        Box::new(Self { refs: pages.iter().map(|page| Ref::memory(*page, access)).collect(), passes, at: 0 })
    }
}

impl Workload for Prepared {
    fn name(&self) -> &str {
        "prepared"
    }

    fn next(&mut self, _: u64, batch: &mut Batch) -> Result<(), Error> {
        let end = (self.at + BATCH).min(self.refs.len());
        batch.refs.extend_from_slice(&self.refs[self.at..end]);
        batch.ops = Ops::Each(16);
        self.at = end % self.refs.len();
        self.passes -= usize::from(self.at == 0);
        batch.then = if self.passes == 0 { Then::Ends } else { Then::Next };
        Ok(())
    }

    fn boxed_clone(&self) -> Box<dyn Workload> {
        Box::new(self.clone())
    }
}

fn power_on(host: &mut Host, name: String, pages: u32, kind: GuestKind) -> VmId {
    let guest = GuestConfig { boot_pages: 0, boot_s: 1, ..GuestConfig::of(kind) };
    host.power_on(VmConfig { guest, ..VmConfig::new(&name, pages) }, &mut || Ok(())).expect("there is room")
}

/// A host that neither scans nor samples, with a Linux guest and one without a kernel.
struct Bench {
    host: Host,
    simulation: Simulation,
    linux: VmId,
    plain: VmId,
}

impl Bench {
    fn new(pages: u32, used: u32) -> Self {
        let mut config = HostConfig::bare(2 * pages, ContentKind::Tokens, seed());
        config.sampling.pages = 0;
        (config.sharing.vm_rate, config.sharing.host_rate) = (0, 0);
        let mut host = Host::new(config).expect("there is memory");
        let linux = power_on(&mut host, "linux".into(), pages, GuestKind::Linux);
        let plain = power_on(&mut host, "plain".into(), pages, GuestKind::Default);
        let simulation = Simulation::new(SimulationConfig::default()).expect("it has processors");
        let mut bench = Self { host, simulation, linux, plain };
        bench.simulation.advance(&mut bench.host, 2 * SECOND).expect("nothing fails");
        let all: Vec<u32> = (0..used).collect();
        bench.live(Prepared::new(&all, Access::Write, 1));
        bench.host.touch(plain, &all, Access::Write).expect("it has them");
        bench
    }

    /// Lets a process live until it ends.
    fn live(&mut self, workload: Box<Prepared>) {
        self.simulation.start(&self.host, self.linux, workload, Writes::Unique, 0);
        while self.simulation.report(&self.host, self.linux).expect("it is on").living > 0 {
            self.simulation.advance(&mut self.host, SECOND).expect("nothing fails");
        }
    }
}

fn touch(gib: u32) {
    let pages_of_guest = gib << 18;
    let used = pages_of_guest / 4 * 3;
    let mut bench = Bench::new(pages_of_guest, used);
    for by_zipf in [false, true] {
        let pages = pages(used, by_zipf, &mut seed().stream("references", 0));
        for access in [Access::Read, Access::Write] {
            let workload = Prepared::new(&pages, access, PASSES);
            let plain = bench.plain;
            let bench = std::cell::RefCell::new(&mut bench);
            race(
                &format!("{gib} GiB, {}, {access:?}", if by_zipf { "zipf" } else { "even" }),
                (REFS * PASSES) as f64,
                || bench.borrow_mut().live(workload.clone()),
                || {
                    for _ in 0..PASSES {
                        let report =
                            bench.borrow_mut().host.touch(plain, &pages, access).expect("it has them");
                        assert_eq!(report.done, REFS);
                    }
                },
            );
        }
    }
}

/// A host as it is by default, and a hundred Linux guests that have booted.
fn idle_guests() -> (Host, Simulation) {
    let config = HostConfig::new(GUESTS * GUEST_PAGES * 2, ContentKind::Tokens, seed());
    let mut host = Host::new(config).expect("there is memory");
    let mut simulation = Simulation::new(SimulationConfig::default()).expect("it has processors");
    for number in 0..GUESTS {
        let vm = power_on(&mut host, format!("vm{number}"), GUEST_PAGES, GuestKind::Linux);
        let stream = seed().stream("workload", u64::from(number));
        let idle = Idle::new(IdleConfig::default(), stream).expect("its settings are right");
        simulation.start(&host, vm, Box::new(idle), Writes::Unique, 0);
    }
    simulation.advance(&mut host, 60 * SECOND).expect("nothing fails");
    (host, simulation)
}

fn day() {
    let (mut host, mut simulation) = idle_guests();
    let mut bare = host.fork(&mut || Ok(())).expect("there is memory");
    race(
        "a day of 100 idle guests",
        (DAY_S * u64::from(GUESTS)) as f64,
        || {
            simulation.advance(&mut host, DAY_S * SECOND).expect("nothing fails");
        },
        || {
            bare.advance(DAY_S * SECOND).expect("nothing fails");
        },
    );
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let sizes: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let parts = words.iter().filter(|word| word.parse::<u32>().is_err()).collect::<Vec<_>>();
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|word| *word == part);
    if is_wanted("touch") {
        let sizes = if sizes.is_empty() { vec![1, 16] } else { sizes };
        sizes.into_iter().for_each(touch);
    }
    if is_wanted("day") {
        day();
    }
}
