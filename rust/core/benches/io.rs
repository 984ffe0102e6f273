//! I/O below Python: translations through the cache against the pmap directly, without and with the look-up of the page's
//! record of copies, which every transfer needs and which an entry of the cache has at hand; transfers against touches, and a relocation
//! against a copy of the page.
//!
//! `cargo bench -p esxcore-core --bench io`. Each pair is measured in turn, round after round, and the ratio is the median
//! over the rounds, with its range. Buffers are *ring*, 256 neighbours; *few*, 256 pages that lie scattered over the guest;
//! *many*, uniformly drawn from all its pages.

use std::hint::black_box;
use std::time::{Duration, Instant};

use esxcore_core::config::HostConfig;
use esxcore_core::host::Host;
use esxcore_core::memory::Memory;
use esxcore_core::remap::cache::{Cache, Translation, walk};
use esxcore_core::remap::heat::Heat;
use esxcore_core::rng::{Seed, Stream};
use esxcore_core::types::{Access, ContentKind, Direction, Mpn, PAGE_SIZE, Page, Ppn, VmId};

/// Pages of the guest: 16 GiB, so that its pmap is larger than caches.
const PAGES: u32 = 1 << 22;
const BUFFERS: u32 = 256;
/// Transfers in one measurement.
const CALL: usize = 1 << 16;
const ROUNDS: usize = 31;
/// Pages that are moved in one measurement.
const MOVED: u32 = 1 << 12;

fn main() {
    // Cargo's own arguments mean nothing here; tests only build it.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (host, vm) = guest();
    let watched = watched(host.fork(&mut || Ok(())).expect("memory"));
    let mut random = Seed([2; 32]).stream("bench", 0);
    for (name, ppns) in patterns(&mut random) {
        translations(name, &watched, vm, &ppns);
    }
    let mut host = host;
    for (name, ppns) in patterns(&mut random) {
        transfers(name, &mut host, vm, &ppns);
    }
    relocations();
}

fn guest() -> (Host, VmId) {
    let mut host = Host::new(HostConfig::bare(PAGES, ContentKind::Tokens, Seed([1; 32]))).expect("memory");
    let vm = esxcore_core::config::VmConfig::new("guest", PAGES);
    let vm = host.power_on(vm, &mut || Ok(())).expect("memory");
    let all: Vec<u32> = (0..PAGES).collect();
    assert_eq!(host.touch(vm, &all, Access::Write).expect("in range").done, all.len());
    (host, vm)
}

/// A host whose changes of entries are counted, as after its first transfer.
fn watched(mut host: Host) -> Host {
    let vm = host.vms()[0].id;
    assert_eq!(host.io(vm, &[0], Direction::Transmit).expect("in range").done, 1);
    host
}

fn patterns(random: &mut Stream) -> [(&'static str, Vec<u32>); 3] {
    let scattered: Vec<u32> = (0..BUFFERS).map(|_| random.below(PAGES)).collect();
    [
        ("ring", (0..CALL as u32).map(|number| number % BUFFERS).collect()),
        ("few", (0..CALL).map(|_| scattered[random.below(BUFFERS) as usize]).collect()),
        ("many", (0..CALL).map(|_| random.below(PAGES)).collect()),
    ]
}

fn translations(name: &str, host: &Host, vm: VmId, ppns: &[u32]) {
    let memory: &Memory = host.memory();
    let (mut cache, mut heat) = (Cache::new(), Heat::default());
    let mut through_cache = || {
        let mut sum = 0_u64;
        for ppn in ppns.iter().copied().map(Ppn) {
            let found = cache.look(memory, vm, ppn, Access::Read).or_else(|| {
                let found = walk(memory, vm, ppn, Access::Read)?;
                let found = Translation { record: heat.place(ppn), ..found };
                cache.keep(memory, vm, ppn, found);
                Some(found)
            });
            let found = found.expect("resident");
            sum += u64::from(found.mpn.0) + u64::from(found.record);
        }
        sum
    };
    let mpn = |ppn: u32| walk(memory, vm, Ppn(ppn), Access::Read).expect("resident").mpn.0;
    let directly = || ppns.iter().map(|ppn| u64::from(mpn(*ppn))).sum::<u64>();
    race(&format!("translations, {name}: pmap / cache"), ppns.len(), directly, &mut through_cache);
    let mut other = Heat::default();
    let recorded = || ppns.iter().map(|ppn| u64::from(mpn(*ppn)) + u64::from(other.place(Ppn(*ppn)))).sum();
    race(&format!("with record, {name}: pmap / cache"), ppns.len(), recorded, &mut through_cache);
}

fn transfers(name: &str, host: &mut Host, vm: VmId, ppns: &[u32]) {
    let mut other = host.fork(&mut || Ok(())).expect("memory");
    let touch = || other.touch(vm, ppns, Access::Read).expect("in range").done as u64;
    let transfer = || host.io(vm, ppns, Direction::Transmit).expect("in range").done as u64;
    race(&format!("a page, {name}: touch / transfer"), ppns.len(), touch, transfer);
}

fn relocations() {
    let pages = 2 * MOVED;
    let mut memory =
        Memory::new(&HostConfig::bare(pages, ContentKind::Bytes, Seed([1; 32]))).expect("memory");
    let vm = memory.add_vm(MOVED, 0, &mut || Ok(())).expect("memory");
    (0..MOVED).for_each(|ppn| memory.zero_fill(vm, Ppn(ppn)).expect("free"));
    while !memory.commit_some(pages) {}
    let mut up = true;
    let relocate = || {
        let base = if up { MOVED } else { 0 };
        (0..MOVED).for_each(|ppn| memory.relocate(vm, Ppn(ppn), Mpn(base + ppn)).expect("free"));
        up = !up;
        u64::from(base)
    };
    let mut store: Vec<Page> = vec![[1; PAGE_SIZE]; pages as usize];
    let copy = || {
        let (from, to) = store.split_at_mut(MOVED as usize);
        from.iter().zip(to).for_each(|(from, to)| black_box(to).copy_from_slice(black_box(from)));
        0
    };
    race("relocation: a page copy / a relocation", MOVED as usize, copy, relocate);
}

/// Measures `one` and `other` in turn; prints how fast `other` is in units of `one`'s speed.
fn race(name: &str, units: usize, mut one: impl FnMut() -> u64, mut other: impl FnMut() -> u64) {
    let mut rounds: Vec<(Duration, Duration)> =
        (0..ROUNDS).map(|_| (timed(&mut one), timed(&mut other))).collect();
    let ratio = |(one, other): &(Duration, Duration)| one.as_secs_f64() / other.as_secs_f64();
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let middle = rounds[ROUNDS / 2];
    let speed = |time: Duration| units as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{name:45} {:6.2}  ({:.2} to {:.2}; {:.1} and {:.1} million a second)",
        ratio(&middle),
        ratio(&rounds[0]),
        ratio(&rounds[ROUNDS - 1]),
        speed(middle.0),
        speed(middle.1),
    );
}

fn timed(run: &mut impl FnMut() -> u64) -> Duration {
    let start = Instant::now();
    black_box(run());
    start.elapsed()
}
