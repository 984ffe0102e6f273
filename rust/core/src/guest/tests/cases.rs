//! What a kernel does in cases that are known.

use super::*;

#[test]
fn the_kinds_are_built_as_configured() {
    let seed = Seed([3; 32]);
    for (name, kind) in GuestKind::NAMES {
        let guest = build(&GuestConfig::of(kind), 65_536, 0, &seed).expect("large enough");
        assert_eq!((guest.name(), guest.memory().is_some()), (name, kind != GuestKind::Default));
    }
    let text = |config: &GuestConfig, pages| {
        build(config, pages, 0, &seed).map(|_| ()).expect_err("bad").to_string()
    };
    assert!(text(&GuestConfig::of(GuestKind::Linux), 1000).contains("1000 pages"));
    let much = GuestConfig { swap_pages: Some(1 << 31), ..linux() };
    assert!(text(&much, 1000).contains("at most 2147483647"));
}

/// Figure 1: inflating takes free pages, then clean cache, then what has to be written back, then what goes to the
/// guest's own swap device; deflating goes the other way.
#[test]
fn inflating_and_deflating_follow_figure_1() {
    let config = GuestConfig { dirty_expire_s: 1000, ..linux() };
    let mut world = World::booted(&config, 4096);
    world.write_memory(0..1000);
    world.read(1, 0..1500);
    (0..600).for_each(|block| _ = world.refer(Ref::block(2, block, Access::Write)));
    let before = world.says();
    assert!(
        before.free > 500 && before.dirty == 600 && before.cache >= 2140 && before.swapped == 0,
        "{before:?}"
    );
    let mut trace = vec![];
    let mut given = vec![];
    for _ in 0..40 {
        let mut now = world.allocate(100, Wait::Never).pages;
        let left = 100 - now.len() as u32;
        now.extend(world.allocate(left, Wait::MaySleep).pages);
        given.extend(now);
        world.pass(0);
        world.audit();
        let (says, counts) = (world.says(), world.kernel.counts());
        trace.push((says, [counts.drops, counts.write_backs, counts.swap_outs]));
    }
    // Each phase begins when the one before it is over.
    let begins = |what: usize| trace.iter().position(|at| at.1[what] > 0).expect("it happens");
    let (drops, writes, swaps) = (begins(0), begins(1), begins(2));
    assert!(0 < drops && drops < writes && writes <= swaps, "{drops} {writes} {swaps}");
    assert!(trace[drops - 1].0.free <= world.kernel.levels.high + 100, "free pages went first");
    assert!(trace[writes].1[0] + 200 > 1500 + 40, "clean cache went before anything was written");
    let (says, [.., swap_outs]) = *trace.last().expect("many");
    assert!(swap_outs > 500 && says.cache < 100 && says.anonymous < 500, "{says:?}");
    assert_eq!(says.anonymous + says.swapped, 1000);
    // And back.
    let half = given.split_off(given.len() / 2);
    world.free(&half);
    assert!(world.says().free >= half.len() as u32, "the free list grows");
    let in_before = world.kernel.counts();
    world.read(1, 0..1200);
    world.write_memory(0..1000);
    let (after, counts) = (world.says(), world.kernel.counts());
    assert!(after.cache >= 1000 && after.anonymous == 1000, "the cache fills again: {after:?}");
    assert!(counts.refaults - in_before.refaults >= 1150, "{counts:?}");
    assert_eq!(counts.swap_ins, counts.swap_outs);
}

#[test]
fn a_driver_that_sleeps_gets_what_was_written_at_its_next_poll() {
    let mut world = World::booted(&linux(), 1000);
    world.write_memory(0..940 - world.kernel.kernel);
    let free = world.allocate(1000, Wait::Never);
    assert!(free.pages.len() < 100 && !free.sleeps);
    let asleep = world.allocate(200, Wait::MaySleep);
    assert_eq!((asleep.pages.len(), asleep.sleeps), (0, true));
    let steps = world.pass(0);
    let writes = steps.iter().filter(|step| {
        matches!(step, Step::DiskWrite { errand: Errand::Swap, patience: Patience::GoesOn, .. })
    });
    assert!(writes.count() >= 200);
    assert_eq!(world.says().swapped as u64, world.kernel.counts().swap_outs);
    assert_eq!(world.allocate(200, Wait::Never).pages.len(), 200);
    // All of it in time, but for what a guest needs to run in; then no more, and it does not sleep on.
    for _ in 0..10 {
        world.allocate(1000, Wait::MaySleep);
        world.pass(0);
        world.audit();
    }
    let last = world.allocate(1000, Wait::MaySleep);
    assert_eq!((last.pages.len(), last.sleeps), (0, false));
    let says = world.says();
    let rest = says.anonymous + says.cache + says.free;
    assert_eq!(rest, world.kernel.levels.high + world.kernel.levels.min);
    assert_eq!(world.refer(Ref::memory(5, Access::Read)).0, Dealt::Served);
}

#[test]
fn a_driver_that_does_not_come_back_is_not_waited_for() {
    let mut world = World::booted(&linux(), 1000);
    world.write_memory(0..940 - world.kernel.kernel);
    assert!(world.allocate(150, Wait::MaySleep).sleeps);
    world.pass(0);
    assert_eq!(world.kernel.driver.kept.len() + world.ballooned.len(), 150);
    let (free, kept) = (world.says().free, world.kernel.driver.kept.len() as u32);
    (0..4).for_each(|_| _ = world.pass(0));
    assert_eq!((world.says().free, world.kernel.driver.kept.len()), (free + kept, 0));
    assert_eq!(world.kernel.counts().swap_outs, u64::from(world.says().swapped));
}

#[test]
fn without_memory_and_swap_space_a_process_is_killed() {
    let config = GuestConfig { swap_pages: Some(100), ..linux() };
    let mut world = World::booted(&config, 500);
    let mut served = 0;
    while world.refer(Ref::memory(served, Access::Write)).0 == Dealt::Served {
        served += 1;
    }
    world.audit();
    assert_eq!(served, 500 - world.kernel.kernel + 100, "all memory and all swap space");
    assert_eq!((world.says().cache, world.says().free, world.kernel.counts().kills), (0, 0, 1));
    (0..served).for_each(|page| _ = world.refer(Ref::new(Wish::Free { page })));
    world.audit();
    assert_eq!((world.says().anonymous, world.says().swapped), (0, 0));
    world.write_memory(0..50);
}

#[test]
fn reading_in_sequence_reads_ahead() {
    let mut world = World::booted(&linux(), 2000);
    let mut sizes = vec![];
    for block in 0..200 {
        let (_, steps) = world.refer(Ref::block(1, block, Access::Read));
        for step in steps {
            if let Step::DiskRead { pages, errand, position } = step {
                assert_eq!((errand, position), (Errand::File, (1 << 32) + u64::from(block)));
                sizes.push(pages);
            }
        }
    }
    assert_eq!(sizes, [1, 4, 8, 16, 32, 32, 32, 32, 32, 32]);
    assert_eq!(world.refer(Ref::block(1, 900, Access::Read)).1.len(), 2, "one read, one fill");
    let end = (u32::MAX - 1..=u32::MAX).map(|block| world.refer(Ref::block(1, block, Access::Read)).1.len());
    assert_eq!(end.collect::<Vec<_>>(), [2, 2], "nothing is after the last block");
    assert_eq!(AHEAD_MOST, 32);
}

#[test]
fn what_is_read_again_is_a_refault_once() {
    let mut world = World::booted(&small(GuestKind::Linux, Replacement::Lru), 500);
    world.read(1, 0..1000);
    assert_eq!(world.kernel.counts().refaults, 0);
    world.read(1, 0..100);
    let counts = world.kernel.counts();
    assert!((100..132).contains(&counts.refaults) && counts.file_reads >= 1100 + 40, "{counts:?}");
}

#[test]
fn a_scan_does_not_drive_out_what_is_used() {
    let mut world = World::booted(&linux(), 1000);
    let hot =
        |world: &mut World| (0..100).for_each(|block| _ = world.refer(Ref::block(1, block, Access::Read)));
    for round in 0..40 {
        hot(&mut world);
        world.read(2, round * 100..round * 100 + 100);
    }
    let before = world.kernel.counts().refaults;
    hot(&mut world);
    world.read(2, 4000..5500);
    hot(&mut world);
    assert_eq!(world.kernel.counts().refaults, before);
}

#[test]
fn dirty_blocks_are_written_when_they_are_old_or_flushed_in_order() {
    let mut world = World::booted(&linux(), 1000);
    for block in [9, 3, 7] {
        world.refer(Ref::block(1, block, Access::Write));
    }
    let places = |steps: Vec<Step>, wanted: Patience| -> Vec<u64> {
        let place = |step| match step {
            Step::DiskWrite { position, patience, .. } if patience == wanted => Some(position & 0xffff_ffff),
            _ => None,
        };
        steps.into_iter().filter_map(place).collect()
    };
    let seconds: Vec<_> = (0..8).map(|_| places(world.pass(0), Patience::GoesOn)).collect();
    let written: Vec<usize> =
        seconds.iter().enumerate().filter(|(_, all)| !all.is_empty()).map(|(s, _)| s).collect();
    assert_eq!((seconds.concat(), written), (vec![3, 7, 9], vec![4]));
    assert_eq!(world.says().dirty, 0);
    for block in [9, 3] {
        world.refer(Ref::block(1, block, Access::Write));
    }
    let flush = |world: &mut World| places(world.refer(Ref::new(Wish::Flush { file: 1 })).1, Patience::Waits);
    assert_eq!((flush(&mut world), flush(&mut world)), (vec![3, 9], vec![]));
}

#[test]
fn guests_of_one_image_have_contents_in_common() {
    let fills = |image: Option<&str>, serial| {
        let config = GuestConfig { image: image.map(String::from), ..linux() };
        let mut kernel = Kernel::new(&config, 500, serial, &Seed([1; 32]));
        let (mut steps, mut random) = (vec![], Seed([1; 32]).stream("guest", 0));
        (0..4).for_each(|second| kernel.background(second, 0, &mut random, &mut steps));
        kernel.settle();
        kernel.fault(Ref::block(3, 9, Access::Read), &mut random, &mut steps);
        let content = |step: &Step| match step {
            Step::Fill(_, Filling::Content(number)) => Some(*number),
            _ => None,
        };
        steps.iter().filter_map(content).collect::<HashSet<u64>>()
    };
    let one = fills(Some("debian"), 0);
    assert_eq!(one.len(), 4 + 40 + 1, "code, boot file, and a block");
    assert!(one.iter().all(|number| *number != 0 && *number < 1 << 63));
    assert_eq!(one, fills(Some("debian"), 1));
    let others = [fills(Some("fedora"), 0), fills(None, 0), fills(None, 1)];
    assert!(others.iter().all(|other| one.is_disjoint(other)) && others[1].is_disjoint(&others[2]));
}

#[test]
fn windows_zeroes_all_memory_at_boot_and_freed_pages_when_idle() {
    let config = small(GuestKind::Windows, Replacement::TwoList);
    let mut world = World::new(&config, 1000);
    let zeroed =
        |steps: Vec<Step>| steps.iter().filter(|step| matches!(step, Step::Fill(_, Filling::Zero))).count();
    let seconds: Vec<usize> = (0..5).map(|_| zeroed(world.pass(0))).collect();
    assert_eq!(seconds.iter().sum::<usize>() as u32, 1000 - world.kernel.kernel - 40, "{seconds:?}");
    assert!(seconds[..3].iter().all(|zeroed| *zeroed > 250) && seconds[3..] == [0, 0], "{seconds:?}");
    assert_eq!(world.kernel.counts().zeroed, 0, "boot is not the thread");
    // What is zero needs no fill.
    assert_eq!(world.refer(Ref::memory(1, Access::Write)).1, []);
    world.write_memory(0..200);
    (0..200).for_each(|page| _ = world.refer(Ref::new(Wish::Free { page })));
    assert_eq!(zeroed(world.pass(0)), 0, "it only runs when nothing else does");
    assert_eq!([zeroed(world.pass(SECOND_NS / 2)), zeroed(world.pass(u64::MAX))], [25, 50]);
    (0..10).for_each(|_| _ = world.pass(SECOND_NS));
    assert_eq!(world.kernel.counts().zeroed, 200);
    // Linux has no such thread.
    let mut world = World::booted(&linux(), 1000);
    world.write_memory(0..200);
    (0..200).for_each(|page| _ = world.refer(Ref::new(Wish::Free { page })));
    assert_eq!(zeroed(world.pass(SECOND_NS)), 0);
    assert_eq!(world.refer(Ref::memory(1, Access::Write)).1.len(), 1);
}

#[test]
fn tables_grow_with_what_is_used_not_with_numbers() {
    let mut world = World::booted(&linux(), 500);
    for far in 0..100 {
        world.refer(Ref::memory(u32::MAX - far * 1_000_000, Access::Write));
        world.refer(Ref::block(MAX_FILES - 1 - far, u32::MAX - far, Access::Write));
        world.refer(Ref::block(BOOT_FILE, far * 40_000_000, Access::Read));
    }
    world.audit();
    assert_eq!(world.allocate(u32::MAX, Wait::MaySleep).pages.len() as u32, world.kernel.driver.given);
    world.free(&[Ppn(0), Ppn(u32::MAX), Ppn(499)]);
    world.audit();
}

/// What comes of references in batches of so many. After each the last of them are asked about again, as if the host had
/// stopped before them.
fn in_batches(kind: Replacement, batch: usize, again: usize) -> (Kernel, Vec<Touch>) {
    let mut world = World::booted(&small(GuestKind::Linux, kind), 300);
    let mut random = Seed([6; 32]).stream("references", 0);
    let one = |random: &mut Stream| {
        let (page, access) = (random.below(260), [Access::Read, Access::Write][random.below(2) as usize]);
        if random.below(2) == 0 { Ref::memory(page, access) } else { Ref::block(1, page, access) }
    };
    let refs: Vec<Ref> = (0..3000).map(|_| one(&mut random)).collect();
    let (mut at, mut touches) = (0, vec![]);
    while at < refs.len() {
        let end = (at + batch).min(refs.len());
        let served = world.kernel.translate(&refs[at..end], &mut touches);
        let repeated = again.min(served);
        let mut same = vec![];
        world.kernel.translate(&refs[at + served - repeated..at + served], &mut same);
        assert_eq!(same, touches[touches.len() - repeated..]);
        at += served;
        if at < end {
            assert_eq!(world.kernel.fault(refs[at], &mut random, &mut vec![]), Dealt::Served);
            world.kernel.settle();
        }
    }
    (world.kernel, touches)
}

#[test]
fn where_a_batch_is_cut_changes_nothing() {
    for kind in Replacement::ALL {
        let (one, touches) = in_batches(kind, 1, 0);
        assert!(one.counts().swap_outs > 20 && one.counts().refaults > 100, "{:?}", one.counts());
        for (batch, again) in [(1, 1), (7, 3), (16, 16), (100, 50), (3000, 0), (3000, 3000)] {
            let (other, same) = in_batches(kind, batch, again);
            assert_eq!((touches.len(), &touches), (same.len(), &same), "{kind:?} {batch} {again}");
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{kind:?} {batch} {again}");
        }
    }
}

#[test]
fn the_smallest_guests_live_within_their_means() {
    let tiny = GuestConfig { kernel_pages: 0, metadata_bytes: 0, swap_pages: Some(1), ..linux() };
    for pages in 2..20 {
        let mut world = World::booted(&tiny, pages);
        let served = (0..30).filter(|page| world.refer(Ref::memory(*page, Access::Write)).0 == Dealt::Served);
        assert_eq!(served.count() as u32, pages - 1 + 1, "all pages but the kernel's, and a slot");
        world.allocate(u32::MAX, Wait::MaySleep);
        world.pass(SECOND_NS);
        world.reset();
        world.audit();
    }
}

#[test]
fn debug_is_short_and_shows_every_difference() {
    let config = linux();
    let text = |world: &World| format!("{:?}", world.kernel);
    let first = World::booted(&config, 500);
    let mut seen: HashSet<String> = [text(&first)].into();
    assert!(text(&first).len() < 2500);
    let acts: [&dyn Fn(&mut World); 6] = [
        &|world| world.write_memory(0..1),
        &|world| world.read(1, 5..6),
        &|world| _ = world.refer(Ref::block(1, 5, Access::Write)),
        &|world| _ = world.refer(Ref::block(1, 5, Access::Read)),
        &|world| _ = world.allocate(1, Wait::Never),
        &|world| _ = world.refer(Ref::new(Wish::Free { page: 0 })),
    ];
    let mut world = first.clone();
    for act in acts {
        act(&mut world);
        seen.insert(text(&world));
    }
    assert_eq!(seen.len(), 6, "all but reading what has just been read");
    assert!(seen.contains(&text(&first)), "a copy goes its own way");
}

/// The kernel's own pages that it refers to among steps.
fn own_pages(steps: &[Step]) -> Vec<u32> {
    let page = |step: &Step| match step {
        Step::Touch(touch) => Some(touch.ppn().0),
        _ => None,
    };
    steps.iter().filter_map(page).collect()
}

#[test]
fn the_kernel_refers_to_the_tables_of_pages_that_it_handles() {
    let config = GuestConfig { kernel_pages: 80, ..linux() };
    let mut world = World::booted(&config, 2000);
    let table = |ppn: Ppn| 80 + ppn.0 * 96 / 4096;
    world.pass(0);
    // Code in use, or what the timer needs; nothing was handled.
    assert_eq!(own_pages(&world.pass(0)), (0..20).collect::<Vec<_>>());
    assert_eq!(own_pages(&world.pass(SECOND_NS)), (0..4).collect::<Vec<_>>());
    assert_eq!(
        own_pages(&world.pass(SECOND_NS - 2_500_001)),
        (0..6).collect::<Vec<_>>(),
        "5 and a bit of 20"
    );
    let fault = |world: &mut World, one: Ref| {
        let mut steps = vec![];
        world.kernel.fault(one, &mut Seed([1; 32]).stream("guest", 0), &mut steps);
        world.kernel.settle();
        own_pages(&steps)
    };
    let one = Ref::block(3, 0, Access::Read);
    let referred = fault(&mut world, one);
    let mut touches = vec![];
    assert_eq!(world.kernel.translate(&[one; 3], &mut touches), 3);
    assert_eq!(referred, [table(touches[0].ppn())]);
    // A block that is found is a file operation too, which the next one to come into the kernel is told.
    let (look, memory) = (Ref::new(Wish::Look { file: 3 }), Ref::memory(5, Access::Write));
    assert_eq!((fault(&mut world, look), fault(&mut world, look)), (referred, vec![]));
    // A page of memory is found without the kernel.
    let of_memory = fault(&mut world, memory);
    world.kernel.translate(&[memory], &mut touches);
    assert_eq!((of_memory, fault(&mut world, look)), (vec![table(touches[3].ppn())], vec![]));
    // What is given back is looked after by the next one.
    assert_eq!(fault(&mut world, Ref::new(Wish::Free { page: 5 })), []);
    assert_eq!(fault(&mut world, look), [table(touches[3].ppn())]);
}
