//! Whatever processes, the driver and time do, in any order.

use super::*;

/// When the steps of a long reference are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Before,
    After,
}

#[derive(Clone, Debug)]
enum Act {
    Refer(Wish),
    Allocate(u32, Wait),
    Free(u32),
    FreeOthers(u32),
    Reset,
    Pass(u64),
    /// A reference during which others come, before its steps are done or before they are settled.
    Long(Wish, Vec<Act>, Done),
    /// Others of the same page or file: giving it back, or writing to it.
    Same(Access),
    /// A driver of a device wants so many buffers.
    TakeBuffers(u32),
    /// A process is through with so many pages of memory from there on.
    End(u32, u32),
}

fn wish() -> impl Strategy<Value = Wish> {
    let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
    let page = prop_oneof![20 => 0u32..90, 1 => Just(u32::MAX), 1 => 100_000u32..100_020];
    let file = prop_oneof![10 => 0u32..4, 1 => Just(MAX_FILES - 1)];
    let block = prop_oneof![20 => 0u32..60, 1 => u32::MAX - 3..=u32::MAX];
    prop_oneof![
        20 => (page.clone(), access.clone()).prop_map(|(page, access)| Wish::Memory { page, access }),
        20 => (file.clone(), block, access).prop_map(|(file, block, access)| Wish::Block { file, block, access }),
        3 => page.prop_map(|page| Wish::Free { page }),
        1 => file.clone().prop_map(|file| Wish::Delete { file }),
        1 => file.clone().prop_map(|file| Wish::Flush { file }),
        1 => file.prop_map(|file| Wish::Look { file }),
    ]
}

fn driver_act() -> impl Strategy<Value = Act> {
    let wait = prop_oneof![Just(Wait::Never), Just(Wait::MaySleep)];
    prop_oneof![
        6 => (prop_oneof![0u32..40, Just(u32::MAX)], wait).prop_map(|(most, wait)| Act::Allocate(most, wait)),
        4 => (0u32..40).prop_map(Act::Free),
        1 => any::<u32>().prop_map(Act::FreeOthers),
        1 => Just(Act::Reset),
    ]
}

fn end() -> impl Strategy<Value = Act> {
    let from = prop_oneof![4 => 0u32..90, 1 => 99_990u32..100_020];
    let pages = prop_oneof![4 => 0u32..40, 1 => Just(u32::MAX)];
    (from, pages).prop_map(|(from, pages)| Act::End(from, pages))
}

fn act() -> impl Strategy<Value = Act> {
    let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
    let meanwhile = prop_oneof![
        4 => driver_act(),
        2 => wish().prop_map(Act::Refer),
        2 => access.prop_map(Act::Same),
        1 => end(),
    ];
    let done = prop_oneof![Just(Done::Before), Just(Done::After)];
    let long = (wish(), prop::collection::vec(meanwhile, 1..4), done);
    prop_oneof![
        60 => wish().prop_map(Act::Refer),
        3 => (0u32..6).prop_map(Act::TakeBuffers),
        3 => end(),
        12 => driver_act(),
        5 => prop_oneof![Just(0), Just(SECOND_NS / 2), Just(u64::MAX)].prop_map(Act::Pass),
        15 => long.prop_map(|(wish, acts, done)| Act::Long(wish, acts, done)),
    ]
}

fn config() -> impl Strategy<Value = GuestConfig> {
    let kind = prop_oneof![Just(GuestKind::Linux), Just(GuestKind::Windows)];
    let swap = prop_oneof![Just(None), (0u32..100).prop_map(Some)];
    (kind, prop::sample::select(&Replacement::ALL), swap, 0u32..4).prop_map(
        |(kind, replacement, swap, boot_s)| GuestConfig {
            swap_pages: swap,
            boot_s,
            ..small(kind, replacement)
        },
    )
}

impl World {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Refer(wish) => _ = self.refer(Ref::new(wish)),
            Act::Allocate(most, wait) => _ = self.allocate(most, wait),
            Act::Free(most) => {
                let mut pages: Vec<u32> = self.ballooned.iter().copied().collect();
                pages.sort_unstable();
                let pages: Vec<Ppn> = pages.into_iter().take(most as usize).map(Ppn).collect();
                self.free(&pages);
            }
            Act::FreeOthers(ppn) => {
                let others = [ppn, 0, ppn % 100, 50].map(Ppn);
                let others = others.into_iter().filter(|ppn| !self.ballooned.contains(&ppn.0));
                let others: Vec<Ppn> = others.collect();
                self.free(&others);
            }
            Act::Reset => self.reset(),
            Act::Pass(idle_ns) => _ = self.pass(idle_ns),
            Act::Long(wish, ref acts, done) => self.long(wish, acts, done),
            Act::End(from, pages) => self.end(from..from.saturating_add(pages)),
            Act::TakeBuffers(most) => self.take_buffers(most.min(10 - self.kernel.buffers)),
            Act::Same(_) => unreachable!("only while a long one lasts"),
        }
    }

    /// A reference that takes so long that others come meanwhile.
    fn long(&mut self, wish: Wish, meanwhile: &[Act], done: Done) {
        let (one, mut steps) = (Ref::new(wish), vec![]);
        if self.kernel.translate(&[one], &mut vec![]) == 1 {
            return;
        }
        let dealt = self.kernel.fault(one, &mut self.random, &mut steps);
        if dealt == Dealt::Served && one.memory_page().is_none() {
            self.see_given_back(wish);
        }
        self.audit();
        if done == Done::Before {
            self.perform(&steps);
        }
        for act in meanwhile {
            match (act, wish) {
                (Act::Refer(other), _) => self.short(*other),
                (Act::Same(Access::Read), Wish::Memory { page, .. }) => self.short(Wish::Free { page }),
                (Act::Same(Access::Read), Wish::Block { file, .. } | Wish::Flush { file }) => {
                    self.short(Wish::Delete { file });
                }
                (Act::Same(access), Wish::Flush { file }) => {
                    (0..60).for_each(|block| self.short(Wish::Block { file, block, access: *access }));
                }
                (Act::Same(_), _) => {}
                (act, _) => self.act(act),
            }
            self.audit();
        }
        if done == Done::After {
            self.perform(&steps);
        }
        self.kernel.settle();
        if let Wish::Memory { .. } | Wish::Block { .. } = wish {
            self.refer(one);
        }
    }

    /// A reference that takes no steps; others, and those of pages that are still to be filled, have to wait.
    fn short(&mut self, wish: Wish) {
        let (one, mut touches) = (Ref::new(wish), vec![]);
        match wish {
            Wish::Free { .. } | Wish::Delete { .. } | Wish::Look { .. } => {
                self.kernel.fault(one, &mut self.random, &mut vec![]);
                self.see_given_back(wish);
            }
            Wish::Flush { .. } => {}
            Wish::Memory { .. } | Wish::Block { .. } => {
                let kernel = &mut self.kernel;
                let ppn = match wish {
                    Wish::Block { file, block, .. } => kernel.cache.find(&kernel.owners, file, block),
                    _ => kernel.memory.find(one.memory_page().unwrap_or(0)),
                };
                if kernel.memory.pool.contains(ppn) || kernel.cache.pool.contains(ppn) {
                    assert_eq!(kernel.translate(&[one], &mut touches), 1);
                    self.see(one, Some(touches[0].ppn()));
                }
            }
        }
    }

    fn see_given_back(&mut self, wish: Wish) {
        if let Wish::Free { .. } | Wish::Delete { .. } = wish {
            self.see(Ref::new(wish), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn processes_read_what_they_wrote_and_every_page_is_in_one_place(
        config in config(),
        pages in 12u32..160,
        acts in prop::collection::vec(act(), 1..300),
    ) {
        let mut world = World::new(&config, pages);
        for act in &acts {
            world.act(act);
            world.audit();
        }
    }
}
