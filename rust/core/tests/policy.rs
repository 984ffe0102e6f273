//! Whole-page targets against the slow loop that defines them, on random virtual machines, and the laws they follow.

use esxcore_core::error::Error;
use esxcore_core::policy::{Claims, Columns, TaxRate, apportion, min_funding};
use proptest::prelude::*;

/// One virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vm {
    shares: u64,
    min: u32,
    max: u32,
    active: u32,
}

/// Virtual machines, what there is for them, and the tax.
#[derive(Clone, Debug)]
struct World {
    vms: Vec<Vm>,
    available: u64,
    tax: TaxRate,
}

impl World {
    fn targets(&self) -> Vec<u32> {
        let column = |part: fn(&Vm) -> u32| self.vms.iter().map(part).collect::<Vec<u32>>();
        let shares: Vec<u64> = self.vms.iter().map(|vm| vm.shares).collect();
        let (min, max, active) = (column(|vm| vm.min), column(|vm| vm.max), column(|vm| vm.active));
        let columns = Columns { shares: &shares, min_pages: &min, max_pages: &max, active_pages: &active };
        let claims = Claims::new(columns, self.available).expect("min fits");
        let targets = min_funding(&claims, self.tax);
        targets.into_iter().map(|target| u32::try_from(target).expect("a number of pages")).collect()
    }

    fn sum(&self, part: fn(&Vm) -> u32) -> u64 {
        self.vms.iter().map(|vm| u64::from(part(vm))).sum()
    }

    /// D of design.md section 4.
    fn cost(&self, vm: &Vm, pages: u32) -> u128 {
        let t = u128::from(self.tax.millionths());
        let (pages, active) = (u128::from(pages), u128::from(vm.active));
        if pages >= active { 1_000_000 * pages - t * active } else { (1_000_000 - t) * pages }
    }

    /// Whether `one` pays less for its last page than `other`, each with the pages given; the lower index in a tie.
    fn pays_less(&self, one: (usize, u32), other: (usize, u32)) -> bool {
        let (a, b) = (&self.vms[one.0], &self.vms[other.0]);
        let left = u128::from(a.shares) * self.cost(b, other.1);
        let right = u128::from(b.shares) * self.cost(a, one.1);
        left < right || left == right && one.0 < other.0
    }

    /// The definition: page by page from everyone's max.
    fn slow_loop(&self) -> Vec<u32> {
        let mut pages: Vec<u32> = self.vms.iter().map(|vm| vm.max).collect();
        while pages.iter().map(|pages| u64::from(*pages)).sum::<u64>() > self.available {
            let mut victim = None;
            for vm in (0..pages.len()).filter(|vm| pages[*vm] > self.vms[*vm].min) {
                if victim.is_none_or(|victim| self.pays_less((vm, pages[vm]), (victim, pages[victim]))) {
                    victim = Some(vm);
                }
            }
            pages[victim.expect("min fits")] -= 1;
        }
        pages
    }

    /// That the loop could have ended there: nobody holds a page that pays less than one that somebody lacks.
    fn certify(&self, targets: &[u32]) -> Result<(), TestCaseError> {
        let total: u64 = targets.iter().map(|target| u64::from(*target)).sum();
        prop_assert_eq!(total, self.available.min(self.sum(|vm| vm.max)));
        for (vm, target) in self.vms.iter().zip(targets) {
            prop_assert!((vm.min..=vm.max).contains(target), "{:?}: {}", vm, target);
        }
        let rows = || targets.iter().copied().enumerate();
        let holders: Vec<(usize, u32)> = rows().filter(|(vm, held)| *held > self.vms[*vm].min).collect();
        for (poor, held) in rows().filter(|(vm, held)| *held < self.vms[*vm].max) {
            for holder in holders.iter().filter(|holder| holder.0 != poor) {
                prop_assert!(!self.pays_less(*holder, (poor, held + 1)), "{holder:?} {poor}");
            }
        }
        Ok(())
    }
}

/// Sizes up to `most`, with equal, round and extreme ones often enough to meet.
fn pages(most: u32) -> BoxedStrategy<u32> {
    prop_oneof![4 => 0..=most, 1 => Just(0), 1 => Just(most), 1 => (0..=most / 8).prop_map(|n| 8 * n)].boxed()
}

fn shares(most: u64) -> BoxedStrategy<u64> {
    prop_oneof![4 => 0..=most, 1 => Just(0), 2 => Just(most), 2 => 1..=4u64, 1 => (0..=most).prop_map(|n| n / 7 * 7)]
        .boxed()
}

fn vm(most_pages: u32, most_shares: u64) -> impl Strategy<Value = Vm> {
    let sizes = (pages(most_pages), pages(most_pages), pages(most_pages.saturating_mul(2)));
    (sizes, shares(most_shares)).prop_map(|((one, other, active), shares)| Vm {
        shares,
        min: one.min(other),
        max: one.max(other),
        active,
    })
}

fn tax() -> impl Strategy<Value = TaxRate> {
    let rates = prop_oneof![Just(0.0), Just(0.75), Just(0.99), Just(0.999_999), 0.0..1.0];
    rates.prop_map(|rate| TaxRate::new(rate).expect("a tax"))
}

fn world(most_vms: usize, most_pages: u32, most_shares: u64) -> impl Strategy<Value = World> {
    let vms = prop::collection::vec(vm(most_pages, most_shares), 0..=most_vms);
    (vms, tax(), 0.0..=1.1).prop_map(|(vms, tax, part)| {
        let mut world = World { vms, available: 0, tax };
        let (min, max) = (world.sum(|vm| vm.min), world.sum(|vm| vm.max));
        world.available = min + ((max - min) as f64 * part) as u64;
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn targets_are_those_of_the_slow_loop(world in world(8, 40, 50)) {
        prop_assert_eq!(world.targets(), world.slow_loop());
    }

    #[test]
    fn ties_by_construction_are_those_of_the_slow_loop(
        world in world(6, 30, 3), copies in 2..4usize, of in any::<prop::sample::Index>(),
    ) {
        let mut world = world;
        if !world.vms.is_empty() {
            let twin = world.vms[of.index(world.vms.len())];
            world.vms.extend(vec![twin; copies]);
            world.available += copies as u64 * u64::from(twin.min.midpoint(twin.max));
        }
        prop_assert_eq!(world.targets(), world.slow_loop());
    }

    #[test]
    fn huge_numbers_end_where_the_loop_would(world in world(12, u32::MAX, 1_000_000_000)) {
        world.certify(&world.targets())?;
    }

    #[test]
    fn shares_may_have_64_bits(world in world(12, u32::MAX, u64::MAX)) {
        world.certify(&world.targets())?;
    }

    #[test]
    fn more_available_takes_nothing_from_anybody(world in world(8, 1000, 50), more in 1..2000u64) {
        let less = world.targets();
        let richer = World { available: world.available + more, ..world };
        prop_assert!(less.iter().zip(richer.targets()).all(|(less, more)| *less <= more));
    }

    #[test]
    fn more_shares_take_nothing_from_their_owner(
        world in world(8, 1000, 50), more in 1..50u64, of in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!world.vms.is_empty());
        let vm = of.index(world.vms.len());
        let mut richer = world.clone();
        richer.vms[vm].shares += more;
        prop_assert!(world.targets()[vm] <= richer.targets()[vm]);
    }

    #[test]
    fn all_shares_times_a_number_change_nothing(world in world(8, u32::MAX, 1_000_000_000), by in 2..1000u64) {
        let mut scaled = world.clone();
        scaled.vms.iter_mut().for_each(|vm| vm.shares *= by);
        prop_assert_eq!(world.targets(), scaled.targets());
    }

    #[test]
    fn the_order_of_vms_decides_ties_only(world in world(8, 1000, 50), seed: u64) {
        let mut order: Vec<usize> = (0..world.vms.len()).collect();
        order.sort_by_key(|vm| (*vm as u64 + 1).wrapping_mul(seed | 1));
        let shuffled =
            World { vms: order.iter().map(|vm| world.vms[*vm]).collect(), ..world.clone() };
        let (plain, mixed) = (world.targets(), shuffled.targets());
        for (place, vm) in order.iter().enumerate() {
            let (one, other) = (world.vms[*vm], plain[*vm].abs_diff(mixed[place]));
            prop_assert!(other <= 1 || one.shares == 0, "{one:?} differs by {other}");
        }
    }

    #[test]
    fn without_a_tax_it_does_not_matter_what_is_active(world in world(8, 1000, 50)) {
        let untaxed = World { tax: TaxRate::NONE, ..world };
        let mut idle = untaxed.clone();
        idle.vms.iter_mut().for_each(|vm| vm.active = 0);
        prop_assert_eq!(untaxed.targets(), idle.targets());
    }

    #[test]
    fn where_all_are_idle_or_all_active_the_tax_does_not_matter(world in world(8, 1000, 50), active: bool) {
        let mut taxed = world;
        taxed.vms.iter_mut().for_each(|vm| vm.active = if active { vm.max } else { 0 });
        let untaxed = World { tax: TaxRate::NONE, ..taxed.clone() };
        prop_assert_eq!(taxed.targets(), untaxed.targets());
    }

    #[test]
    fn apportionment_is_min_funding_without_a_tax(world in world(8, 1000, 50), unit in -40i32..40) {
        let mut untaxed = World { tax: TaxRate::NONE, ..world };
        let weights: Vec<f64> = untaxed.vms.iter().map(|vm| vm.shares as f64 * 2f64.powi(unit)).collect();
        let column = |part: fn(&Vm) -> u32| untaxed.vms.iter().map(part).collect::<Vec<u32>>();
        let targets = apportion(&weights, &column(|vm| vm.min), &column(|vm| vm.max), untaxed.available);
        let targets: Vec<u32> = targets.expect("valid").into_iter().map(|target| target as u32).collect();
        if weights.iter().all(|weight| *weight == 0.0) {
            untaxed.vms.iter_mut().for_each(|vm| vm.shares = 1);
        }
        prop_assert_eq!(targets, untaxed.slow_loop());
    }

    #[test]
    fn no_weights_at_all_are_equal_ones(world in world(8, 1000, 50)) {
        let column = |part: fn(&Vm) -> u32| world.vms.iter().map(part).collect::<Vec<u32>>();
        let (min_pages, max_pages) = (column(|vm| vm.min), column(|vm| vm.max));
        let weighed = |weight| apportion(&vec![weight; world.vms.len()], &min_pages, &max_pages, world.available);
        prop_assert_eq!(weighed(0.0), weighed(1.0));
    }
}

/// Numbers that look random and are always the same.
fn stream(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(state) * u128::from(below)) >> 64) as u64
    }
}

/// A certificate in one pass for many virtual machines: the least that anybody pays for a page it holds above its min,
/// and the most that anybody would for the next one.
fn certify_many(world: &World) {
    let targets = world.targets();
    let total: u64 = targets.iter().map(|target| u64::from(*target)).sum();
    assert_eq!(total, world.available.min(world.sum(|vm| vm.max)));
    let mut poorest: Option<(usize, u32)> = None;
    let mut keenest: Option<(usize, u32)> = None;
    for (vm, target) in targets.iter().copied().enumerate() {
        let bounds = &world.vms[vm];
        assert!((bounds.min..=bounds.max).contains(&target));
        if target > bounds.min && poorest.is_none_or(|poorest| world.pays_less((vm, target), poorest)) {
            poorest = Some((vm, target));
        }
        if target < bounds.max && keenest.is_none_or(|keenest| world.pays_less(keenest, (vm, target + 1))) {
            keenest = Some((vm, target + 1));
        }
    }
    if let (Some(poorest), Some(keenest)) = (poorest, keenest) {
        assert!(poorest.0 == keenest.0 || world.pays_less(keenest, poorest), "{keenest:?} {poorest:?}");
    }
}

#[test]
fn many_vms_end_where_the_loop_would() {
    for (seed, most_pages, most_shares) in
        [(1, 1 << 20, 100_000), (2, 3, 5), (3, u64::from(u32::MAX), 1 << 30)]
    {
        let mut random = stream(seed);
        let mut draw = || {
            let max = random(most_pages) as u32 + 1;
            let (min, active) = (random(u64::from(max)) as u32, random(2 * u64::from(max)));
            Vm { shares: random(most_shares), min, max, active: u32::try_from(active).unwrap_or(u32::MAX) }
        };
        let vms: Vec<Vm> = (0..100_000).map(|_| draw()).collect();
        let mut world = World { vms, available: 0, tax: TaxRate::default() };
        for part in [0, 1, 50, 99, 100] {
            let (min, max) = (world.sum(|vm| vm.min), world.sum(|vm| vm.max));
            world.available = min + (max - min) / 100 * part;
            certify_many(&world);
        }
    }
}

#[test]
fn many_equal_vms_lose_ties_in_order() {
    let twin = Vm { shares: 1000, min: 0, max: 1 << 18, active: 1 << 16 };
    let world =
        World { vms: vec![twin; 100_000], available: (70_000 * 100_000) + 12_345, tax: TaxRate::default() };
    let targets = world.targets();
    let (lost, kept) = targets.split_at(100_000 - 12_345);
    assert!(lost.iter().all(|target| *target == 70_000) && kept.iter().all(|target| *target == 70_001));
}

#[test]
fn nobody_and_one() {
    let nobody = World { vms: vec![], available: 5, tax: TaxRate::default() };
    assert_eq!(nobody.targets(), []);
    for (available, target) in [(3, 3), (5, 5), (10, 10), (11, 10)] {
        let alone = Vm { shares: 0, min: 3, max: 10, active: 4 };
        for shares in [0, 1, u64::MAX] {
            let world = World { vms: vec![Vm { shares, ..alone }], available, tax: TaxRate::default() };
            assert_eq!(world.targets(), [target]);
        }
    }
}

#[test]
fn those_without_shares_lose_first_and_one_after_the_other() {
    let idle = Vm { shares: 0, min: 10, max: 100, active: 100 };
    let vms = vec![Vm { shares: 1, min: 0, max: 100, active: 0 }, idle, idle];
    let targets = |available| World { vms: vms.clone(), available, tax: TaxRate::default() }.targets();
    assert_eq!(targets(300), [100, 100, 100], "max while memory is free, unlike the product's manual");
    assert_eq!(targets(250), [100, 50, 100]);
    assert_eq!(targets(200), [100, 10, 90]);
    assert_eq!(targets(120), [100, 10, 10]);
    assert_eq!(targets(119), [99, 10, 10]);
}

#[test]
fn claims_that_contradict_themselves_are_refused_with_their_numbers() {
    let claims = |min: &[u32], available| {
        let columns = Columns { shares: &[1, 1], min_pages: min, max_pages: &[5, 9], active_pages: &[0, 0] };
        Claims::new(columns, available).map(|claims| claims.len())
    };
    assert_eq!(claims(&[5, 9], 14), Ok(2));
    assert_eq!(claims(&[5], 14), Err(Error::ColumnLength { column: "min_pages", rows: 1, vms: 2 }));
    assert_eq!(claims(&[5, 9], 13), Err(Error::MinOvercommitted { min_pages: 14, available_pages: 13 }));
    let above = claims(&[5, 10], 99).map_err(|error| error.to_string());
    assert_eq!(above, Err("min_pages of VM 1 is 10; expected at most its max_pages, 9".into()));
}
