//! Laws of whole hosts: determinism, independence of forks, exact passes, bounded metadata.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KINDS, Palette, audited, config, digest, keep, power_on};
use esxcore_core::config::{HashPath, HostConfig, Salt, SharingConfig, VmConfig};
use esxcore_core::error::Error;
use esxcore_core::frame_table::FrameView;
use esxcore_core::host::Host;
use esxcore_core::rng::{Seed, Stream, mix};
use esxcore_core::types::{Access, ContentKind, PageBatch, Ppn, VmId};

/// A host of two virtual machines that has lived: shared, written, scanned, waited. Every call is cut into parts of at
/// most `part`.
fn lived(kind: ContentKind, hash_mask: u64, part: usize) -> Host {
    lived_on(config(kind, 300, 5, hash_mask), part)
}

fn lived_on(config: HostConfig, part: usize) -> Host {
    let mut host = Host::new(config).unwrap();
    let palette = Palette::new(40);
    let mut random = Seed([9; 32]).stream("life", 0);
    let vms = [power_on(&mut host, "one", 120), power_on(&mut host, "two", 100)];
    for round in 0..60 {
        let vm = vms[random.below(2) as usize];
        let ppns: Vec<u32> = (0..random.below(70)).map(|_| random.below(100)).collect();
        let numbers: Vec<usize> = ppns.iter().map(|_| random.below(40) as usize).collect();
        live(&mut host, (vm, round), &ppns, part, &(&palette, numbers));
    }
    host
}

fn live(
    host: &mut Host,
    (vm, round): (VmId, u32),
    ppns: &[u32],
    part: usize,
    contents: &(&Palette, Vec<usize>),
) {
    let kind = host.memory().content().kind();
    match round % 4 {
        0 | 1 => {
            let access = if round % 4 == 0 { Access::Read } else { Access::Write };
            for ppns in ppns.chunks(part) {
                assert_eq!(host.touch(vm, ppns, access).unwrap().stopped, None);
            }
        }
        2 => {
            for (ppn, number) in ppns.iter().zip(&contents.1) {
                let page = contents.0.batch(kind).range(*number, *number + 1);
                host.write(vm, &[*ppn], page).unwrap();
            }
        }
        _ => {
            for from in (0..150).step_by(part) {
                host.scan((150 - from).min(part) as u64);
            }
            (0..part as u64).for_each(|_| {
                host.advance(3_600_000_000 / part as u64).unwrap();
            });
            host.advance(3_600_000_000 % part as u64).unwrap();
        }
    }
}

#[test]
fn one_seed_gives_one_state_however_batches_are_cut() {
    // With four bits left, chains are long and most candidates of a batch meet what earlier ones put there.
    for (kind, mask) in KINDS.into_iter().flat_map(|kind| [(kind, u64::MAX), (kind, 0xF << 60)]) {
        let whole = lived(kind, mask, 1000);
        audited(&whole);
        for part in [1, 7, 64] {
            assert_eq!(digest(&lived(kind, mask, part)), digest(&whole), "parts of {part}");
        }
    }
}

#[test]
fn a_pass_is_exact_where_neighbours_are_scanned_together() {
    // So large that clusters have several pages, no whole number of them, and copies within a cluster and far apart.
    let sizes = [5003, 700];
    let tokens: Vec<u64> = (0..5003).map(|page| mix(page % 2000) % 1500).collect();
    let scanned = |parts: &[u64]| {
        let mut host = Host::new(config(ContentKind::Tokens, 6000, 5, u64::MAX)).unwrap();
        for (name, pages) in ["one", "two"].into_iter().zip(sizes) {
            let vm = power_on(&mut host, name, pages);
            host.load(vm, Ppn(0), PageBatch::Tokens(&tokens[..pages as usize])).unwrap();
        }
        for part in parts {
            host.scan(*part);
        }
        host
    };
    let whole = scanned(&[5703]);
    audited(&whole);
    let census = whole.census(&mut || Ok(())).unwrap();
    assert_eq!(whole.memory().frames().totals().reclaimed_pages, census.reclaimed_pages);
    for parts in [&[1, 5702][..], &[5, 64, 3000, 9, 2625], &[5702, 1]] {
        assert_eq!(digest(&scanned(parts)), digest(&whole), "{parts:?}");
    }
}

#[test]
fn the_state_does_not_depend_on_hash_values() {
    // Dropping bits changes every hash and the chains, but with 40 bits left no two contents collide.
    for kind in KINDS {
        for mask in [u64::MAX << 24, u64::MAX >> 20] {
            assert_eq!(digest(&lived(kind, mask, 1000)), digest(&lived(kind, u64::MAX, 1000)));
        }
    }
}

#[test]
fn the_state_does_not_depend_on_the_hash_path() {
    let live = |hash_path| {
        let plain = config(ContentKind::Bytes, 300, 5, u64::MAX);
        let sharing = SharingConfig { hash_path, ..plain.sharing.clone() };
        lived_on(HostConfig { sharing, ..plain }, 1000)
    };
    assert_eq!(digest(&live(HashPath::Portable)), digest(&live(HashPath::Fastest)));
}

#[test]
fn a_fork_is_identical_and_independent() {
    for kind in KINDS {
        let mut host = lived(kind, u64::MAX, 1000);
        let mut fork = host.fork(&mut || Ok(())).unwrap();
        assert_eq!(digest(&fork), digest(&host));
        let before = digest(&fork);
        host.touch(host.vms()[0].id, &[1, 2, 3], Access::Write).unwrap();
        host.advance(5_000_000_000).unwrap();
        assert_ne!(digest(&host), before);
        assert_eq!(digest(&fork), before);
        fork.touch(fork.vms()[0].id, &[1, 2, 3], Access::Write).unwrap();
        fork.advance(5_000_000_000).unwrap();
        assert_eq!(digest(&fork), digest(&host));
        audited(&fork);
    }
}

#[test]
fn a_pass_over_quiet_guests_finds_exactly_what_there_is() {
    for kind in KINDS {
        let mut host = lived(kind, u64::MAX, 1000);
        host.scan(220);
        let census = host.census(&mut || Ok(())).unwrap();
        let found = host.memory().frames().totals();
        assert_eq!(
            (found.reclaimed_pages, found.shared_pages),
            (census.reclaimed_pages, census.shared_pages)
        );
        assert!(census.reclaimed_pages > 50, "{census:?}");
    }
}

#[test]
fn salts_keep_domains_apart() {
    let mut host = Host::new(config(ContentKind::Tokens, 100, 1, 0)).unwrap();
    let salts = [None, Some(Salt::PerVm), Some(Salt::Named("a".into())), Some(Salt::Named("a".into())), None];
    for (number, salt) in salts.into_iter().enumerate() {
        let vm = VmConfig { salt, ..VmConfig::new(format!("vm{number}"), 10) };
        let id = host.power_on(vm, &mut || Ok(())).unwrap();
        host.load(id, Ppn(0), PageBatch::Tokens(&[7; 10])).unwrap();
    }
    host.scan(50);
    audited(&host);
    // Three domains hold the content once each, for 20, 10 and 20 pages, even though all hashes but the salt are 0.
    assert_eq!(host.memory().frames().totals().reclaimed_pages, 50 - 3);
    assert_eq!(host.census(&mut || Ok(())).unwrap().distinct_pages, 3);
}

#[test]
fn a_batch_stops_before_the_reference_it_cannot_serve() {
    let mut host = Host::new(config(ContentKind::Bytes, 10, 1, u64::MAX)).unwrap();
    let vm = power_on(&mut host, "big", 20);
    let ppns: Vec<u32> = (0..20).collect();
    let report = host.touch(vm, &ppns, Access::Write).unwrap();
    assert_eq!((report.done, report.counts.zero_fills, report.counts.references), (10, 10, 10));
    assert_eq!(report.stopped, Some(Error::OutOfMachineMemory { wanted: 1, free: 0 }));
    let report = host.touch(vm, &ppns[..10], Access::Read).unwrap();
    assert_eq!((report.done, report.stopped), (10, None));
    assert!(matches!(
        host.touch(vm, &[3, 20], Access::Read),
        Err(Error::PageOutOfRange { ppn: 20, pages: 20, .. })
    ));
    audited(&host);
}

#[test]
fn sharing_metadata_stays_below_half_a_percent_whatever_happens() {
    let pages = 1 << 15;
    let mut host = Host::new(HostConfig::bare(pages, ContentKind::Tokens, Seed([1; 32]))).unwrap();
    let vm = power_on(&mut host, "all", pages);
    let ppns: Vec<u32> = (0..pages).collect();
    for _ in 0..4 {
        host.touch(vm, &ppns, Access::Write).unwrap();
        let scan = host.scan(u64::from(pages));
        assert_eq!((scan.hints, scan.merged), (u64::from(pages), 0));
        let fraction = host.sharing_metadata_bytes() as f64 / (f64::from(pages) * 4096.0);
        assert!(fraction <= 0.005, "{fraction}");
        assert_eq!(host.memory().frames().totals().hint_frames, pages);
    }
    audited(&host);
}

#[test]
fn an_interrupted_advance_goes_on_where_it_stopped() {
    let mut whole = lived(ContentKind::Tokens, u64::MAX, 1000);
    let mut parts = whole.fork(&mut || Ok(())).unwrap();
    whole.advance(10_000_000_000).unwrap();
    let mut report = Default::default();
    let start = parts.now_ns();
    parts.begin_advance(10_000_000_000);
    assert!(!parts.advance_some(130, &mut report).unwrap(), "ten seconds are 1000 picks");
    assert!(parts.now_ns() > start && parts.now_ns() < whole.now_ns());
    audited(&parts);
    parts.advance(whole.now_ns() - parts.now_ns()).unwrap();
    assert_eq!(digest(&parts), digest(&whole));
}

#[test]
fn a_power_off_in_parts_ends_where_a_whole_one_does() {
    for kind in KINDS {
        let mut whole = lived(kind, u64::MAX, 1000);
        let mut parts = whole.fork(&mut || Ok(())).unwrap();
        let vm = whole.vms()[0].id;
        whole.power_off(vm);
        parts.begin_power_off(vm);
        assert!(parts.find("one").is_err());
        let mut steps = 1;
        while !parts.power_off_some(7) {
            audited(&parts);
            parts.scan(3);
            steps += 1;
        }
        assert_eq!(steps, 120_u32.div_ceil(7));
        audited(&parts);
        whole.scan(3 * u64::from(steps - 1));
        assert_eq!(whole.memory().machine().free_pages(), parts.memory().machine().free_pages());
        assert_eq!(whole.stats(), parts.stats());
    }
}

#[test]
fn a_power_on_that_is_taken_back_leaves_no_trace() {
    let mut host = lived(ContentKind::Bytes, u64::MAX, 1000);
    let before = digest(&host);
    let palette = Palette::new(40);
    let vm = power_on(&mut host, "three", 50);
    host.load(vm, Ppn(0), palette.batch(ContentKind::Bytes)).unwrap();
    host.cancel_power_on(vm);
    assert_eq!(digest(&host), before);
    audited(&host);
}

#[test]
fn a_guest_reads_what_it_wrote_while_others_share_its_page() {
    let mut random: Stream = Seed([2; 32]).stream("test", 0);
    for kind in KINDS {
        let (mut host, palette) = (Host::new(config(kind, 60, 1, u64::MAX)).unwrap(), Palette::new(5));
        let vms = [power_on(&mut host, "one", 20), power_on(&mut host, "two", 20)];
        let mut wrote = vec![[0usize; 20]; 2];
        for _ in 0..2000 {
            let (vm, ppn) = (random.below(2) as usize, random.below(20));
            let number = random.below(5) as usize;
            host.write(vms[vm], &[ppn], palette.batch(kind).range(number, number + 1)).unwrap();
            wrote[vm][ppn as usize] = number;
            host.scan(5);
            let (vm, ppn) = (random.below(2) as usize, random.below(20));
            let mut read = vec![];
            host.read(vms[vm], &[ppn], |page| read = keep(page)).unwrap();
            assert_eq!(read, keep(palette.page(kind, wrote[vm][ppn as usize])));
        }
        audited(&host);
    }
}

#[test]
fn figure_3_a_hint_becomes_a_shared_frame() {
    let mut host = Host::new(config(ContentKind::Tokens, 8, 1, u64::MAX)).unwrap();
    let (two, three) = (power_on(&mut host, "vm 2", 1), power_on(&mut host, "vm 3", 1));
    host.write(three, &[0], PageBatch::Tokens(&[0x06af])).unwrap();
    host.scan(2);
    let hinted = host.memory().entry(three, Ppn(0)).state().mpn().unwrap();
    assert!(
        matches!(host.memory().frames().get(hinted), FrameView::Hint { vm, ppn: Ppn(0), .. } if vm == three)
    );
    host.write(two, &[0], PageBatch::Tokens(&[0x06af])).unwrap();
    let freed = host.memory().entry(two, Ppn(0)).state().mpn().unwrap();
    host.scan(2);
    assert_eq!(host.memory().entry(two, Ppn(0)).state().mpn(), Some(hinted));
    assert!(host.memory().machine().is_free(freed));
    assert!(matches!(host.memory().frames().get(hinted), FrameView::Shared { .. }));
    assert_eq!(host.memory().frames().count(hinted), 2);
}
