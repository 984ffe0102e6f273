//! How a host gives and takes memory (§6.3). Who should have how much is policy, and comes in as targets; how the
//! difference is made up is decided here; which pages go is the business of the guest or of the swap selector.
//!
//! - [`Thresholds`] and [`next_state`]: how short of memory the host is. The state falls as soon as free memory is
//!   below a threshold, over several states at once if need be, and rises one state at a time, when free memory is
//!   clearly above the threshold of the next better one.
//! - [`falls_short`]: whether targets that are in force would not free enough, so that the policy is to be asked anew.
//! - [`plan`]: what each virtual machine is asked for, from the state, its target and what it has. High: nothing, unless
//!   others are to be given more than is free.
//!   Soft: balloons, and paging of what a driver cannot give. Hard: paging of all that balloons have not delivered.
//!   Low: the same, and virtual machines above their target stand still.
//! - [`deal`]: pages of which there are not enough, dealt out in proportion: what shrinking balloons give back in a
//!   tick, and what the server pages out in a second.
//! - [`victim`]: who loses pages if a reference finds no free machine page at all.
//!
//! All of it is functions from values to values, without a host, a memory or a past. So `plan` is asked anew at
//! each tick, and what it said before binds nobody. In particular the low state blocks a virtual machine *until it
//! reaches its target* by saying at each tick who is above: whoever has come down to the target in force at that
//! tick is let go, and stands again at the next if it has grown beyond it meanwhile; when the state is hard or
//! better everybody goes. Nobody who holds no more than its min ever stands, since no target is below min. While a
//! virtual machine stands, it touches nothing, so its page-outs under way all come to an end, and it stands for as
//! many seconds as they take.
//!
//! The host (`host`) counts, asks, and carries out; `admission` sees to it that what is promised can be kept.

use crate::config::{EMERGENCY_PAGES, ThresholdConfig};
use crate::error::Error;
use crate::types::{DriverHealth, FreeState};

/// One as so many millionths.
const MILLION: u64 = 1_000_000;

/// Free memory at which a machine changes its state, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// By state: below these of soft, hard and low the state is no better than that one.
    pages: [u32; 4],
    /// By state: with more than this the next better one is reached. Of high it means nothing.
    marks: [u32; 4],
}

impl Thresholds {
    /// The thresholds of a machine. Fractions count to the nearest millionth; part of a page is a whole one, so on
    /// the smallest machines several thresholds may be the same page.
    ///
    /// # Errors
    ///
    /// As [`ThresholdConfig::check`].
    pub fn new(config: &ThresholdConfig, machine_pages: u32) -> Result<Self, Error> {
        config.check()?;
        let pages =
            [config.high, config.soft, config.hard, config.low].map(|part| part_of(machine_pages, part));
        // However far the margin reaches: with all memory free the state improves.
        let most = machine_pages.saturating_sub(1);
        let mark = |state: usize| {
            let (better, worse) = (u64::from(pages[state - 1]), u64::from(pages[state]));
            let beyond =
                u128::from(better - worse) * u128::from(millionths(config.margin)) / u128::from(MILLION);
            u32::try_from(u128::from(better) + beyond).map_or(most, |mark| mark.min(most))
        };
        Ok(Self { pages, marks: [most, mark(1), mark(2), mark(3)] })
    }

    /// The threshold of a state.
    #[must_use]
    pub fn of(&self, state: FreeState) -> u32 {
        self.pages[state as usize]
    }

    /// With so much free targets do: it leads out of the hard state. Targets bring it up to the high threshold, so it is no more
    /// than that.
    #[must_use]
    pub fn enough(&self) -> u32 {
        self.marks[FreeState::Hard as usize].saturating_add(1).min(self.of(FreeState::High))
    }

    /// With more free pages than this the state improves; none for the best.
    #[must_use]
    pub fn mark_above(&self, state: FreeState) -> Option<u32> {
        (state != FreeState::High).then(|| self.marks[state as usize])
    }
}

fn millionths(number: f64) -> u64 {
    (number * MILLION as f64).round() as u64
}

/// That part of so many pages, rounded up.
fn part_of(pages: u32, part: f64) -> u32 {
    let pages = (u64::from(pages) * millionths(part)).div_ceil(MILLION);
    u32::try_from(pages).expect("a part is no more than the whole")
}

/// The state with so much free memory if it only gets worse. It is what an allocation asks for, at that exact page:
/// free memory shrinks there. Calling it twice is calling it once.
#[must_use]
pub fn fallen_state(state: FreeState, free_pages: u32, thresholds: &Thresholds) -> FreeState {
    let below = [FreeState::Low, FreeState::Hard, FreeState::Soft];
    let reached = below.into_iter().find(|state| free_pages < thresholds.of(*state));
    reached.unwrap_or(FreeState::High).max(state)
}

/// The state after `state` with so much free memory: as far down as it must, or one step up if enough is free. A
/// host asks at each tick, so it rises by no more than a step a tick.
#[must_use]
pub fn next_state(state: FreeState, free_pages: u32, thresholds: &Thresholds) -> FreeState {
    let better = match state {
        FreeState::High | FreeState::Soft => FreeState::High,
        FreeState::Hard => FreeState::Soft,
        FreeState::Low => FreeState::Hard,
    };
    match thresholds.mark_above(state) {
        Some(mark) if free_pages > mark => better,
        _ => fallen_state(state, free_pages, thresholds),
    }
}

/// What a virtual machine has, and what can be asked of it. In pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What it should have; the latest answer of the policy.
    pub target: u32,
    /// What it has: resident pages, as they are charged. Pages whose page-out is under way are still among them.
    pub allocated: u32,
    /// Its "physical" size since power-on.
    pub pages: u32,
    /// Its max, which may have been lowered below its size.
    pub max: u32,
    /// Size of its balloon.
    pub balloon: u32,
    /// Largest balloon it can be asked for.
    pub balloon_cap: u32,
    /// Whether its driver does what it is asked.
    pub driver: DriverHealth,
    /// Pages in the swap file.
    pub swapped: u32,
    /// Page-outs under way.
    pub leaving: u32,
}

impl Usage {
    /// The balloon it should have in the end: what is beyond its target, less what the server has paged out already, so
    /// that nothing is taken twice.
    fn balloon_wanted(&self) -> u32 {
        self.beyond(self.target.min(self.max))
    }

    fn beyond(&self, held: u32) -> u32 {
        self.pages.saturating_sub(held).saturating_sub(self.swapped).min(self.balloon_cap)
    }

    /// The balloon that keeps a max below its size, whatever the target.
    fn balloon_kept(&self) -> u32 {
        self.beyond(self.max)
    }

    /// What its balloon is too large by.
    fn given_back(&self) -> u32 {
        self.balloon.saturating_sub(self.balloon_wanted())
    }

    /// What it has above its target.
    #[must_use]
    pub fn need(&self) -> u32 {
        self.allocated.saturating_sub(self.target.min(self.max))
    }

    /// What is left to be paged out at most: what neither came down otherwise nor is under way.
    #[must_use]
    pub fn left_to_page_out(&self) -> u32 {
        self.need().saturating_sub(self.leaving)
    }

    /// The balloon to ask for, if `granted` pages may be given back.
    fn balloon_target(&self, state: FreeState, granted: u32) -> u32 {
        if self.given_back() > 0 {
            return self.balloon - granted;
        }
        match state {
            FreeState::High => self.balloon.max(self.balloon_kept()),
            FreeState::Soft | FreeState::Hard | FreeState::Low => self.balloon_wanted(),
        }
    }

    /// What is to be paged, pages under way included.
    fn paged(&self, state: FreeState) -> u32 {
        match (state, self.driver) {
            (FreeState::High, _) => 0,
            // What the balloon may still grow is its part. Without a cap in its way that is all of the need.
            (FreeState::Soft, DriverHealth::Working) => {
                self.need().saturating_sub(self.balloon_wanted().saturating_sub(self.balloon))
            }
            (FreeState::Soft, DriverHealth::Absent | DriverHealth::Stalled) => self.need(),
            (FreeState::Hard | FreeState::Low, _) => self.need(),
        }
    }

    fn action(&self, state: FreeState, balloons: FreeState, granted: u32) -> Action {
        Action {
            balloon_target: self.balloon_target(balloons, granted),
            page_out: self.paged(state).saturating_sub(self.leaving),
            blocked: state == FreeState::Low && self.need() > 0,
        }
    }
}

/// What a virtual machine is asked for until the next tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// Size its balloon should have. Above its cap only if the balloon is that large already, and shrinks.
    pub balloon_target: u32,
    /// Pages to page out beyond those under way.
    pub page_out: u32,
    /// Whether it stands still.
    pub blocked: bool,
}

/// Whether the targets in force free too little: memory is to be reclaimed, and with everybody at their target less than
/// [`Thresholds::enough`] would be free. `needs` is what each virtual machine has above its target.
///
/// Targets of now, if they add up to what is available, bring free memory up to the high threshold. So they fall short
/// only when something has changed: after an answer that passes not even the next one is called for by this. A host that
/// rests with everybody at their target has as much free as the high threshold says, soft as its state may be. Cost: one
/// look at each virtual machine, if less is free than is enough.
#[must_use]
pub fn falls_short(
    state: FreeState,
    free_pages: u32,
    needs: impl Iterator<Item = u32>,
    thresholds: &Thresholds,
) -> bool {
    let missing = u64::from(thresholds.enough().saturating_sub(free_pages));
    state != FreeState::High && missing > 0 && needs.map(u64::from).sum::<u64>() < missing
}

/// What each virtual machine is asked for, in the order of `usage`. A target above max counts as max.
///
/// | state | balloon | paging | blocked |
/// |---|---|---|---|
/// | high | does not grow, but to keep a lowered max | none | none |
/// | high, and free memory does not do for what is to be given | as in soft | none | none |
/// | soft | size − target − swapped, within the cap | what the driver cannot give | none |
/// | hard | the same | all of the need | none |
/// | low | the same | the same | who is above its target |
///
/// The need is what is allocated above the target: what the balloon has not delivered yet. An absent or stalled
/// driver can give nothing of it, another what its balloon may still grow, which only the cap makes less than the
/// need.
///
/// In every state a balloon that is too large, for the target or for its cap, shrinks by what it is granted. All of
/// them together are granted no more than is free above the soft threshold, in proportion to what they should
/// shrink by. So memory is freed before it is given, and what is given at one tick does not by itself lower the
/// state. Where more is to be given than is free, balloons make room even in the high state: free memory may
/// rest at the soft threshold for ever, as guests with a disk of their own need not press on. Cost: one pass.
#[must_use]
pub fn plan(state: FreeState, usage: &[Usage], free_pages: u32, thresholds: &Thresholds) -> Vec<Action> {
    let budget = free_pages.saturating_sub(thresholds.of(FreeState::Soft));
    let given_back: Vec<u32> = usage.iter().map(Usage::given_back).collect();
    let granted = deal(budget, &given_back);
    let wanted: u64 = given_back.iter().map(|pages| u64::from(*pages)).sum();
    let is_short = state == FreeState::High && wanted > u64::from(budget);
    let balloons = if is_short { FreeState::Soft } else { state };
    usage.iter().zip(granted).map(|(vm, granted)| vm.action(state, balloons, granted)).collect()
}

/// Deals out at most `budget` pages among those who want some, nobody more than it wants: everything wanted if it
/// is enough, otherwise all of the budget in proportion, parts of a page rounded down, and the pages left over by
/// that one each to the first who want any.
///
/// With [`SWAP_OUT_RATE`](crate::config::SWAP_OUT_RATE) as the budget of a second it says how fast each virtual
/// machine's page-outs get on.
#[must_use]
pub fn deal(budget: u32, wanted: &[u32]) -> Vec<u32> {
    let sum: u64 = wanted.iter().map(|pages| u64::from(*pages)).sum();
    if sum <= u64::from(budget) {
        return wanted.to_vec();
    }
    // Below what is wanted, since the budget is below the sum; so there is room for one more page.
    let part = |wanted: &u32| (u128::from(*wanted) * u128::from(budget) / u128::from(sum)) as u32;
    let mut dealt: Vec<u32> = wanted.iter().map(part).collect();
    let mut left = budget - dealt.iter().sum::<u32>();
    for (pages, _) in dealt.iter_mut().zip(wanted).filter(|(_, wanted)| **wanted > 0) {
        let one = left.min(1);
        *pages += one;
        left -= one;
    }
    dealt
}

/// What a virtual machine could lose at once. In pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it has.
    pub allocated: u32,
    /// What it should have.
    pub target: u32,
    /// What it gets in any case.
    pub min: u32,
    /// What could be paged out of it now: no more than its resident pages and than the free swap slots.
    pub pageable: u32,
}

/// Who loses pages at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Its place among the candidates.
    pub vm: usize,
    /// How many, at least one.
    pub pages: u32,
}

/// Chooses who loses pages if a reference of the virtual machine at `faulting` finds no free machine page, and how
/// many: at most [`EMERGENCY_PAGES`], so that the next references find some too, and not so many that the victim
/// falls below what made it one.
///
/// It is the one furthest above its target; if nobody is above, the one furthest above its min; then the faulting
/// one itself. Among equals the first. One of which nothing can be paged is passed over; if nobody is left there is
/// none, and the faulting one starves. Nobody falls below its min for another's sake. Cost: one pass.
#[must_use]
pub fn victim(candidates: &[Candidate], faulting: usize) -> Option<Victim> {
    let above_target = |vm: &Candidate| vm.allocated.saturating_sub(vm.target);
    let above_min = |vm: &Candidate| vm.allocated.saturating_sub(vm.min);
    furthest(candidates, above_target).or_else(|| furthest(candidates, above_min)).or_else(|| {
        let pages = candidates.get(faulting)?.pageable.min(EMERGENCY_PAGES);
        (pages > 0).then_some(Victim { vm: faulting, pages })
    })
}

/// The first of those that are furthest above something.
fn furthest(candidates: &[Candidate], above: impl Fn(&Candidate) -> u32) -> Option<Victim> {
    let pageable = candidates.iter().enumerate().filter(|(_, vm)| vm.pageable > 0 && above(vm) > 0);
    let (vm, candidate) = pageable.min_by_key(|(_, vm)| std::cmp::Reverse(above(vm)))?;
    Some(Victim { vm, pages: above(candidate).min(candidate.pageable).min(EMERGENCY_PAGES) })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::config::SWAP_OUT_RATE;

    const STATES: [FreeState; 4] = [FreeState::High, FreeState::Soft, FreeState::Hard, FreeState::Low];

    fn of_machine(machine_pages: u32) -> Thresholds {
        Thresholds::new(&ThresholdConfig::default(), machine_pages).expect("defaults")
    }

    /// 600, 400, 200 and 100 pages.
    fn thresholds() -> Thresholds {
        of_machine(10_000)
    }

    #[test]
    fn thresholds_are_whole_pages() {
        // machine; high, soft, hard, low; marks above soft, hard and low
        let table = [
            (10_000, [600, 400, 200, 100], [650, 450, 225]),
            (262_144, [15_729, 10_486, 5243, 2622], [17_039, 11_796, 5898]), // 1 GiB
            (100, [6, 4, 2, 1], [6, 4, 2]),
            (50, [3, 2, 1, 1], [3, 2, 1]),
            (10, [1, 1, 1, 1], [1, 1, 1]),
            (1, [1, 1, 1, 1], [0, 0, 0]),
            (
                u32::MAX,
                [257_698_038, 171_798_692, 85_899_346, 42_949_673],
                [279_172_874, 193_273_528, 96_636_764],
            ),
        ];
        for (machine, pages, marks) in table {
            let thresholds = of_machine(machine);
            assert_eq!(STATES.map(|state| thresholds.of(state)), pages, "{machine}");
            let above = STATES.map(|state| thresholds.mark_above(state));
            assert_eq!(above, [None, Some(marks[0]), Some(marks[1]), Some(marks[2])], "{machine}");
        }
        assert!(
            Thresholds::new(&ThresholdConfig { margin: -1.0, ..ThresholdConfig::default() }, 100).is_err()
        );
    }

    #[test]
    fn a_low_threshold_of_nothing_is_never_reached() {
        let config = ThresholdConfig { low: 0.0, ..ThresholdConfig::default() };
        let thresholds = Thresholds::new(&config, 10_000).expect("valid");
        assert_eq!(thresholds.of(FreeState::Low), 0);
        assert_eq!(next_state(FreeState::High, 0, &thresholds), FreeState::Hard);
    }

    #[test]
    fn states_follow_free_memory() {
        use FreeState::{Hard, High, Low, Soft};
        // free pages; the state after high, soft, hard and low
        let table = [
            (0, [Low, Low, Low, Low]),
            (99, [Low, Low, Low, Low]),
            (100, [Hard, Hard, Hard, Low]),
            (199, [Hard, Hard, Hard, Low]),
            (200, [Soft, Soft, Hard, Low]),
            (225, [Soft, Soft, Hard, Low]),
            (226, [Soft, Soft, Hard, Hard]),
            (399, [Soft, Soft, Hard, Hard]),
            (400, [High, Soft, Hard, Hard]),
            (450, [High, Soft, Hard, Hard]),
            (451, [High, Soft, Soft, Hard]),
            (650, [High, Soft, Soft, Hard]),
            (651, [High, High, Soft, Hard]),
            (10_000, [High, High, Soft, Hard]),
        ];
        for (free, after) in table {
            for (state, after) in STATES.into_iter().zip(after) {
                assert_eq!(next_state(state, free, &thresholds()), after, "{state:?} with {free} free");
            }
        }
    }

    #[test]
    fn targets_fall_short_where_they_do_not_lead_out_of_the_hard_state() {
        use FreeState::{Hard, High, Low, Soft};
        let short =
            |state, free, needs: &[u32]| falls_short(state, free, needs.iter().copied(), &thresholds());
        assert_eq!(thresholds().enough(), 451);
        for state in [Soft, Hard, Low] {
            assert!(short(state, 0, &[]) && short(state, 450, &[0, 0]) && short(state, 400, &[30, 20]));
            assert!(
                !short(state, 451, &[]) && !short(state, 400, &[30, 21]) && !short(state, 0, &[u32::MAX; 9])
            );
        }
        assert!(!short(High, 0, &[]), "nothing is to be reclaimed");
        // Whatever the margin: who rests at the high threshold, to which targets bring it, is not asked.
        let wide = ThresholdConfig { margin: 46.0, ..ThresholdConfig::default() };
        let wide = Thresholds::new(&wide, 10_000).expect("in order");
        assert_eq!((wide.enough(), wide.mark_above(Hard)), (600, Some(9600)));
        assert!(!falls_short(Hard, 600, [].into_iter(), &wide));
    }

    fn state() -> impl Strategy<Value = FreeState> {
        prop::sample::select(&STATES)
    }

    /// Any thresholds that a host may have.
    fn any_thresholds() -> impl Strategy<Value = Thresholds> {
        let parts = (0.01..0.5f64, 0.1..0.9f64, 0.1..0.9f64, 0.0..0.9f64, 0.0..1.0f64);
        (parts, 1u32..20_000).prop_map(|((high, to_soft, to_hard, to_low, margin), machine)| {
            let (soft, hard) = (high * to_soft, high * to_soft * to_hard);
            let config = ThresholdConfig { high, soft, hard, low: hard * to_low, margin };
            Thresholds::new(&config, machine).expect("in order")
        })
    }

    proptest! {
        #[test]
        fn falling_at_once_is_falling_step_by_step(
            state in state(), free in 0u32..20_000, other in 0u32..20_000, thresholds in any_thresholds(),
        ) {
            let fallen = fallen_state(state, free, &thresholds);
            prop_assert!(fallen >= state, "never up");
            prop_assert_eq!(fallen_state(fallen, free, &thresholds), fallen, "twice is once");
            let by_steps = fallen_state(fallen_state(state, free.max(other), &thresholds), free, &thresholds);
            prop_assert_eq!(by_steps, fallen);
            let next = next_state(state, free, &thresholds);
            prop_assert!(next as usize + 1 >= state as usize, "never skips up");
            if next > state {
                prop_assert_eq!(next, fallen);
                prop_assert_eq!(next_state(next, free, &thresholds), next, "twice is once");
            }
        }

        /// A state that has risen does not fall again with as much free, nor one that has fallen rise: it changes
        /// back only when free memory crosses the whole margin.
        #[test]
        fn free_memory_that_swings_within_the_margin_changes_nothing(
            state in state(), swings in vec(0.0..=1.0f64, 1..20), thresholds in any_thresholds(),
        ) {
            let floor = match state {
                FreeState::High => FreeState::Soft,
                FreeState::Soft => FreeState::Hard,
                FreeState::Hard | FreeState::Low => FreeState::Low,
            };
            let lowest = if state == FreeState::Low { 0 } else { thresholds.of(floor) };
            let highest = thresholds.mark_above(state).unwrap_or(u32::MAX).max(lowest);
            let mut now = state;
            for swing in swings {
                let free = lowest + (f64::from(highest - lowest) * swing) as u32;
                now = next_state(now, free, &thresholds);
                // On machines of a few pages all thresholds are one page, and there is no margin to swing in.
                let margin = thresholds.mark_above(state).is_none_or(|mark| mark >= lowest);
                prop_assert!(now == state || !margin, "{state:?} became {now:?} with {free} free");
            }
        }

        #[test]
        fn with_all_memory_free_three_ticks_reach_high(state in state(), machine in 1u32..200) {
            let thresholds = of_machine(machine);
            let risen = (0..3).fold(state, |state, _| next_state(state, machine, &thresholds));
            prop_assert_eq!(risen, FreeState::High);
        }
    }

    /// 1000 pages, 800 of them allocated, 20 of these on their way out, 100 in the balloon.
    const VM: Usage = Usage {
        target: 700,
        allocated: 800,
        pages: 1000,
        max: 1000,
        balloon: 100,
        balloon_cap: 500,
        driver: DriverHealth::Working,
        swapped: 0,
        leaving: 20,
    };

    /// Thirty pages above the soft threshold.
    const FREE: u32 = 430;

    fn action(balloon_target: u32, page_out: u32, blocked: bool) -> Action {
        Action { balloon_target, page_out, blocked }
    }

    fn plan_one(state: FreeState, vm: Usage) -> Action {
        plan(state, &[vm], FREE, &thresholds())[0]
    }

    #[test]
    fn the_plan_in_full() {
        let working = VM;
        let absent = Usage { balloon: 0, driver: DriverHealth::Absent, ..VM };
        let stalled = Usage { driver: DriverHealth::Stalled, ..VM };
        let capped = Usage { balloon_cap: 150, ..VM };
        let (above, at, below) = (700, 800, 950);
        // target; balloon target and pages to page out in the high, soft, hard and low states; blocked in the low one
        let table = [
            ("working", working, above, [(100, 0), (300, 0), (300, 80), (300, 80)], true),
            ("working", working, at, [(100, 0), (200, 0), (200, 0), (200, 0)], false),
            ("working", working, below, [(70, 0), (70, 0), (70, 0), (70, 0)], false),
            ("absent", absent, above, [(0, 0), (300, 80), (300, 80), (300, 80)], true),
            ("absent", absent, at, [(0, 0), (200, 0), (200, 0), (200, 0)], false),
            ("absent", absent, below, [(0, 0), (50, 0), (50, 0), (50, 0)], false),
            ("stalled", stalled, above, [(100, 0), (300, 80), (300, 80), (300, 80)], true),
            ("stalled", stalled, at, [(100, 0), (200, 0), (200, 0), (200, 0)], false),
            ("stalled", stalled, below, [(70, 0), (70, 0), (70, 0), (70, 0)], false),
            ("capped", capped, above, [(100, 0), (150, 30), (150, 80), (150, 80)], true),
            ("capped", capped, at, [(100, 0), (150, 0), (150, 0), (150, 0)], false),
            ("capped", capped, below, [(70, 0), (70, 0), (70, 0), (70, 0)], false),
        ];
        for (driver, usage, target, expected, blocked) in table {
            for (state, (balloon, page_out)) in STATES.into_iter().zip(expected) {
                let blocked = blocked && state == FreeState::Low;
                let found = plan_one(state, Usage { target, ..usage });
                assert_eq!(found, action(balloon, page_out, blocked), "{driver}, {target}, {state:?}");
            }
        }
    }

    #[test]
    fn pages_on_their_way_out_are_not_asked_for_again() {
        for (leaving, page_out) in [(0, 100), (99, 1), (100, 0), (300, 0)] {
            assert_eq!(plan_one(FreeState::Hard, Usage { leaving, ..VM }), action(300, page_out, false));
        }
    }

    #[test]
    fn a_lowered_max_is_kept_in_every_state() {
        let lowered = Usage { max: 750, target: 750, ..VM };
        let expected = [(250, 0), (250, 0), (250, 30), (250, 30)];
        for (state, (balloon, page_out)) in STATES.into_iter().zip(expected) {
            assert_eq!(
                plan_one(state, lowered),
                action(balloon, page_out, state == FreeState::Low),
                "{state:?}"
            );
            // A target of before max was lowered counts as max.
            assert_eq!(
                plan_one(state, Usage { target: 900, ..lowered }),
                plan_one(state, lowered),
                "{state:?}"
            );
        }
        // Below max the target counts, but nothing is reclaimed for it while memory is enough.
        assert_eq!(plan_one(FreeState::High, Usage { target: 600, ..lowered }), action(250, 0, false));
        assert_eq!(plan_one(FreeState::Soft, Usage { target: 600, ..lowered }), action(400, 0, false));
        // What the cap leaves of it is paged as soon as anything is reclaimed.
        let capped = Usage { balloon_cap: 180, ..lowered };
        assert_eq!(plan_one(FreeState::High, capped), action(180, 0, false));
        assert_eq!(
            plan_one(FreeState::Soft, Usage { leaving: 0, allocated: 850, ..capped }),
            action(180, 20, false)
        );
    }

    #[test]
    fn a_balloon_above_a_lowered_cap_shrinks_as_it_is_granted() {
        let vm = Usage { balloon: 300, balloon_cap: 200, allocated: 700, target: 650, leaving: 0, ..VM };
        let expected =
            [action(270, 0, false), action(270, 50, false), action(270, 50, false), action(270, 50, true)];
        assert_eq!(STATES.map(|state| plan_one(state, vm)), expected);
        let short = plan(FreeState::Soft, &[vm], 400, &thresholds());
        assert_eq!(short, [action(300, 50, false)], "nothing to grant at the soft threshold");
        let ample = plan(FreeState::Soft, &[vm], 5000, &thresholds());
        assert_eq!(ample, [action(200, 50, false)]);
    }

    #[test]
    fn grants_are_dealt_out_in_proportion() {
        let back =
            |balloon: u32| Usage { target: 1000, allocated: 1000 - balloon, balloon, leaving: 0, ..VM };
        let vms = [back(100), VM, back(200), back(0), back(301)];
        let balloons = |free| {
            let plan = plan(FreeState::High, &vms, free, &thresholds());
            plan.iter().map(|action| action.balloon_target).collect::<Vec<_>>()
        };
        // The second has more than its target, and makes room while free memory does not do for the others.
        assert_eq!(balloons(0), [100, 300, 200, 0, 301]);
        assert_eq!(balloons(400), [100, 300, 200, 0, 301]);
        assert_eq!(balloons(401), [99, 300, 200, 0, 301], "the first gets the page that does not divide");
        assert_eq!(balloons(700), [50, 300, 100, 0, 151], "49.9, 99.8 and 150.2 of 300");
        assert_eq!(balloons(1001), [0, 100, 0, 0, 0]);
        assert_eq!(balloons(u32::MAX), [0, 100, 0, 0, 0]);
    }

    #[test]
    fn page_outs_are_dealt_out_in_proportion() {
        assert_eq!(deal(SWAP_OUT_RATE, &[100, 0, 200]), [100, 0, 200]);
        assert_eq!(deal(SWAP_OUT_RATE, &[6000, 0, 2000, 192]), [3000, 0, 1000, 96]);
        assert_eq!(deal(SWAP_OUT_RATE, &[0, 10_000, 10_000, 10_000]), [0, 1366, 1365, 1365]);
        assert_eq!(deal(0, &[1, u32::MAX]), [0, 0]);
        assert_eq!(deal(u32::MAX, &[u32::MAX, u32::MAX]), [1 << 31, u32::MAX >> 1]);
        assert_eq!(deal(SWAP_OUT_RATE, &[]), [0; 0]);
    }

    #[test]
    fn what_is_paged_out_already_is_not_ballooned_too() {
        let asked = |swapped, allocated| {
            let vm = Usage { swapped, allocated, leaving: 0, ..VM };
            plan(FreeState::Soft, &[vm], 5000, &thresholds())[0].balloon_target
        };
        let whole = asked(0, VM.allocated);
        assert_eq!(whole, VM.pages - VM.target);
        assert_eq!(asked(whole / 2, VM.allocated), whole - whole / 2);
        assert_eq!(asked(whole + 9, VM.allocated), 0);
    }

    fn driver() -> impl Strategy<Value = DriverHealth> {
        prop::sample::select(&[DriverHealth::Absent, DriverHealth::Working, DriverHealth::Stalled])
    }

    /// Pages as they may be, and as they may not.
    fn pages() -> impl Strategy<Value = u32> {
        prop_oneof![8 => 0u32..2000, 1 => Just(u32::MAX), 1 => any::<u32>()]
    }

    fn usage() -> impl Strategy<Value = Usage> {
        let first = (pages(), pages(), pages(), pages());
        (first, pages(), pages(), driver(), (pages(), pages())).prop_map(
            |((target, allocated, pages, max), balloon, balloon_cap, driver, (swapped, leaving))| Usage {
                target,
                allocated,
                pages,
                max,
                balloon,
                balloon_cap,
                driver,
                swapped,
                leaving,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_plan_keeps_its_bounds(
            vms in vec(usage(), 0..12), state in state(), free in pages(),
        ) {
            let thresholds = thresholds();
            let actions = plan(state, &vms, free, &thresholds);
            prop_assert_eq!(actions.len(), vms.len());
            let (mut granted, mut asked_back) = (0u64, 0u64);
            for (vm, action) in vms.iter().zip(&actions) {
                let need = vm.allocated.saturating_sub(vm.target.min(vm.max));
                prop_assert!(u64::from(action.page_out) + u64::from(vm.leaving) <= u64::from(need.max(vm.leaving)));
                prop_assert!(action.balloon_target <= vm.balloon_cap.max(vm.balloon));
                prop_assert!(action.balloon_target <= vm.pages.max(vm.balloon));
                prop_assert!(action.balloon_target >= vm.pages.saturating_sub(vm.max).saturating_sub(vm.swapped).min(vm.balloon_cap));
                prop_assert_eq!(action.blocked, state == FreeState::Low && need > 0);
                granted += u64::from(vm.balloon.saturating_sub(action.balloon_target));
                let beyond = vm.pages.saturating_sub(vm.target.min(vm.max)).saturating_sub(vm.swapped);
                let size = beyond.min(vm.balloon_cap);
                asked_back += u64::from(vm.balloon.saturating_sub(size));
            }
            prop_assert_eq!(granted, asked_back.min(u64::from(free.saturating_sub(400))));
        }

        #[test]
        fn targets_that_keep_to_what_is_available_are_enough(
            vms in vec((0u32..2000, 0u32..2000), 1..12), free in 0u32..2000, state in state(), thresholds in any_thresholds(),
        ) {
            // Targets of any proportion that add up to no more than is there without the high threshold.
            let (high, weights) = (u64::from(thresholds.of(FreeState::High)), vms.iter().map(|vm| vm.1));
            let allocated: u64 = vms.iter().map(|vm| u64::from(vm.0)).sum();
            prop_assume!(allocated + u64::from(free) >= high);
            let available = u32::try_from(allocated + u64::from(free) - high).expect("few");
            let targets = deal(available, &weights.collect::<Vec<_>>());
            let needs = vms.iter().zip(targets).map(|(vm, target)| vm.0.saturating_sub(target));
            prop_assert!(!falls_short(state, free, needs, &thresholds));
        }

        #[test]
        fn a_worse_state_never_asks_for_less(vms in vec(usage(), 0..12), free in pages()) {
            let plans = STATES.map(|state| plan(state, &vms, free, &thresholds()));
            for (better, worse) in plans.iter().zip(&plans[1..]) {
                for (better, worse) in better.iter().zip(worse) {
                    prop_assert!(worse.balloon_target >= better.balloon_target);
                    prop_assert!(worse.page_out >= better.page_out);
                    prop_assert!(worse.blocked >= better.blocked);
                }
            }
        }

        #[test]
        fn in_the_high_state_nothing_is_taken_unless_others_lack_it(
            vms in vec(usage(), 0..12),
            free in pages(),
        ) {
            let vms: Vec<Usage> = vms.into_iter().map(|vm| Usage { max: vm.pages, ..vm }).collect();
            let wanted: u64 = vms.iter().map(|vm| u64::from(vm.given_back())).sum();
            let is_short = wanted > u64::from(free.saturating_sub(thresholds().of(FreeState::Soft)));
            let soft = plan(FreeState::Soft, &vms, free, &thresholds());
            let high = plan(FreeState::High, &vms, free, &thresholds());
            for ((vm, action), soft) in vms.iter().zip(high).zip(soft) {
                let most = if is_short { soft.balloon_target } else { vm.balloon };
                prop_assert!(action.balloon_target <= most);
                prop_assert_eq!((action.page_out, action.blocked), (0, false));
            }
        }

        #[test]
        fn dealing_is_in_proportion(wanted in vec(pages(), 0..12), budget in pages()) {
            let dealt = deal(budget, &wanted);
            let sum: u64 = wanted.iter().map(|pages| u64::from(*pages)).sum();
            let all: u64 = dealt.iter().map(|pages| u64::from(*pages)).sum();
            prop_assert_eq!(all, sum.min(u64::from(budget)));
            for (dealt, wanted) in dealt.iter().zip(&wanted) {
                prop_assert!(dealt <= wanted);
                let fair = u128::from(*wanted) * u128::from(all);
                prop_assert!(u128::from(*dealt).abs_diff(fair / u128::from(sum.max(1))) <= 1);
            }
        }
    }

    /// A host in small, to carry plans out: no guest touches anything, drivers move 64 pages a poll.
    #[derive(Clone, Debug)]
    struct Carried {
        vms: Vec<Usage>,
        free: u32,
        state: FreeState,
    }

    impl Carried {
        /// Free memory is as low as it gets; the targets free enough for the high state.
        fn new(sizes: &[(u32, DriverHealth)]) -> Self {
            let vm = |(pages, driver): &(u32, DriverHealth)| Usage {
                target: pages - pages / 4,
                allocated: *pages,
                pages: *pages,
                max: *pages,
                balloon: 0,
                balloon_cap: pages / 5,
                driver: *driver,
                swapped: 0,
                leaving: 0,
            };
            Self { vms: sizes.iter().map(vm).collect(), free: 0, state: FreeState::High }
        }

        fn tick(&mut self) {
            self.state = next_state(self.state, self.free, &thresholds());
            let actions = plan(self.state, &self.vms, self.free, &thresholds());
            let wanted: Vec<u32> = actions.iter().map(|action| action.page_out).collect();
            let written = deal(100, &wanted);
            for ((vm, action), written) in self.vms.iter_mut().zip(actions).zip(written) {
                let polled = vm.driver == DriverHealth::Working && !action.blocked;
                let inflated =
                    action.balloon_target.saturating_sub(vm.balloon).min(if polled { 64 } else { 0 });
                vm.balloon += inflated;
                vm.allocated -= inflated + written;
                self.free += inflated + written;
            }
        }
    }

    proptest! {
            #[test]
            fn a_plan_that_is_carried_out_ends_the_shortage(
                sizes in vec((1000u32..2000, driver()), 3..8),
            ) {
                let mut host = Carried::new(&sizes);
                let mut worst_to_best = vec![];
                for _ in 0..200 {
                    host.tick();
                    worst_to_best.push(host.state);
                }
                worst_to_best.dedup();
                prop_assert_eq!(worst_to_best, [FreeState::Low, FreeState::Hard, FreeState::Soft, FreeState::High]);
    for vm in &host.vms {
                    let paged = vm.pages - vm.allocated - vm.balloon;
                    prop_assert!(vm.balloon <= vm.pages - vm.target, "the guest keeps its target");
                    prop_assert!(paged <= vm.pages - vm.target, "no more is paged than the need");
                }
            }
        }

    fn candidate(allocated: u32, target: u32, min: u32, pageable: u32) -> Candidate {
        Candidate { allocated, target, min, pageable }
    }

    /// What is told, the candidates, the faulting one, and who loses how many pages.
    type Emergency<'a> = (&'a str, &'a [Candidate], usize, Option<(usize, u32)>);

    #[test]
    fn in_an_emergency_the_furthest_above_its_target_loses_pages() {
        let none = candidate(0, 0, 0, 0);
        let far = candidate(500, 100, 50, 500);
        let near = candidate(110, 100, 50, 110);
        let at = candidate(100, 100, 50, 100);
        let guaranteed = candidate(50, 100, 50, 50);
        let stuck = |vm: Candidate| Candidate { pageable: 0, ..vm };
        let table: [Emergency; 13] = [
            ("furthest above its target", &[near, far, at], 2, Some((1, 32))),
            ("itself if it is", &[near, far, at], 1, Some((1, 32))),
            ("no more than what is above", &[at, near], 0, Some((1, 10))),
            ("no more than can be paged", &[at, Candidate { pageable: 3, ..far }], 0, Some((1, 3))),
            ("the first among equals", &[at, far, far], 0, Some((1, 32))),
            ("the next if nothing can be paged", &[at, stuck(far), near], 0, Some((2, 10))),
            ("furthest above its min", &[guaranteed, candidate(60, 60, 50, 60), at], 0, Some((2, 32))),
            ("no more than above its min", &[guaranteed, candidate(60, 60, 50, 60)], 0, Some((1, 10))),
            ("target before min", &[candidate(900, 900, 0, 900), near], 0, Some((1, 10))),
            ("the faulting one", &[guaranteed, guaranteed], 1, Some((1, 32))),
            ("the faulting one has few", &[guaranteed, candidate(5, 60, 50, 5)], 1, Some((1, 5))),
            ("nobody below its min for another", &[guaranteed, none], 1, None),
            ("nobody can page", &[stuck(far), stuck(at)], 0, None),
        ];
        for (what, candidates, faulting, expected) in table {
            let expected = expected.map(|(vm, pages)| Victim { vm, pages });
            assert_eq!(victim(candidates, faulting), expected, "{what}");
        }
        assert_eq!(victim(&[], 0), None);
    }

    proptest! {
        #[test]
        fn a_victim_has_what_it_loses(
            vms in vec((pages(), pages(), pages(), pages()), 1..12), faulting in 0usize..12,
        ) {
            let vms: Vec<_> = vms.into_iter().map(|(a, t, m, p)| candidate(a, t, m, p.min(a))).collect();
            let faulting = faulting % vms.len();
            let above = |vm: &Candidate| vm.pageable > 0 && (vm.allocated > vm.target || vm.allocated > vm.min);
            match victim(&vms, faulting) {
                Some(Victim { vm, pages }) => {
                    prop_assert!((1..=EMERGENCY_PAGES).contains(&pages) && pages <= vms[vm].pageable);
                    let left = vms[vm].allocated - pages;
                    prop_assert!(vm == faulting || left >= vms[vm].min.min(vms[vm].target));
                }
                None => prop_assert!(vms[faulting].pageable == 0 && !vms.iter().any(above)),
            }
        }
    }
}
