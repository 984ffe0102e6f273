//! Why a virtual machine has the target it has: as a value, and in a few sentences.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use super::record::{Action, Bound, Decision, Entitlement, Failure, Mechanism, Moves, Row};
use super::situation::{Situation, Target};
use crate::types::{FreeState, PAGE_SIZE};

/// Pages of a MiB.
const MIB_PAGES: f64 = ((1 << 20) / PAGE_SIZE) as f64;

/// Fewer pages than these, a tenth of a MiB, are told in pages.
const FEW_PAGES: u64 = 26;

/// Who would lose the next page.
#[derive(Clone, Debug, PartialEq)]
pub struct NextToLose {
    /// Serial of the virtual machine.
    pub serial: u64,
    /// Its name; none if it has gone since.
    pub name: Option<Arc<str>>,
    /// Its adjusted shares-per-page ρ, if the policy has prices.
    pub price: Option<f64>,
}

/// Why a virtual machine had its target at a time. [`Display`] puts it in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The time asked for.
    pub at_ns: u64,
    /// Serial of the virtual machine.
    pub serial: u64,
    /// Its name.
    pub name: Arc<str>,
    /// What it was entitled to.
    pub entitlement: Entitlement,
    /// How short of memory the host was.
    pub state: FreeState,
    /// Since when; 0 if it had never been another.
    pub state_since_ns: u64,
    /// The target, who set it, and what explains it; none before the first decision.
    pub target: Option<Target>,
    /// The latest decision of the host, which may have left this target as it was.
    pub decision: Option<Decision>,
    /// Who would have lost the next page by that decision.
    pub cheapest: Option<NextToLose>,
    /// What the plan did about it.
    pub action: Action,
    /// Pages moved since the target was set, or since power-on if there is none.
    pub moved: Moves,
    /// Why a policy has failed since the latest decision.
    pub failure: Option<Failure>,
}

impl Explanation {
    /// None if no such virtual machine is there.
    pub(super) fn new(situation: &Situation, serial: u64, at_ns: u64) -> Option<Self> {
        let vm = situation.vm(serial)?;
        let before = vm.target.as_ref().map_or_else(Moves::default, |target| target.moves_before);
        let cheapest = situation.decision.as_ref().and_then(|decision| decision.cheapest);
        Some(Self {
            at_ns,
            serial,
            name: vm.name.clone(),
            entitlement: vm.entitlement,
            state: situation.state,
            state_since_ns: situation.state_since_ns,
            target: vm.target.clone(),
            decision: situation.decision.clone(),
            cheapest: cheapest.map(|cheapest| NextToLose {
                serial: cheapest.serial,
                name: situation.vm(cheapest.serial).map(|vm| vm.name.clone()),
                price: cheapest.price,
            }),
            action: vm.action,
            moved: vm.moves.since(&before),
            failure: situation.failure.clone(),
        })
    }

    fn write_target(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: ", self.name, Time(self.at_ns))?;
        let Some(Target { set_by, before_pages, row, .. }) = &self.target else {
            return write!(f, "no target yet; state {}.", word(self.state));
        };
        write!(f, "target {}", InFull(row.target_pages))?;
        if let Some(before) = before_pages {
            write!(f, ", was {}", Pages(u64::from(*before)))?;
        }
        write!(f, ". Set at {} by {} because {}", Time(set_by.time_ns), set_by.policy, set_by.cause)?;
        match self.confirmed() {
            Some(latest) => write!(f, ", left so at {}.", Time(latest.time_ns))?,
            None => write!(f, ".")?,
        }
        self.write_reconfigured(f)
    }

    /// What another min or max did to the target, of which the policy that set it knew nothing.
    fn write_reconfigured(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(Target { reconfigured: Some(reconfigured), row, .. }) = &self.target else { return Ok(()) };
        write!(f, " The VM was reconfigured at {}", Time(reconfigured.time_ns))?;
        let (decided, held) = (u64::from(reconfigured.decided_pages), u64::from(row.target_pages));
        if decided != held {
            write!(f, ", which clamped the target from {} to {}", Pages(decided), Pages(held))?;
        }
        write!(f, "; no policy has been asked since.")
    }

    /// The latest decision, if it is not the one that set the target.
    fn confirmed(&self) -> Option<&Decision> {
        let set_ns = self.target.as_ref()?.set_by.time_ns;
        self.decision.as_ref().filter(|latest| latest.time_ns != set_ns)
    }

    fn write_host(&self, decision: &Decision, f: &mut Formatter<'_>) -> fmt::Result {
        let (available, free) = (Pages(decision.available_pages), Pages(decision.free_pages.into()));
        write!(f, "\nThe host then: state {}, {available} available, {free} free", word(decision.state))?;
        match decision.target_pages.saturating_sub(decision.available_pages) {
            0 => write!(f, ".")?,
            more => {
                write!(f, "; all targets together are {} more than that, so paging follows.", Pages(more))?
            }
        }
        if self.state != decision.state {
            write!(f, " State {} since {}.", word(self.state), Time(self.state_since_ns))?;
        }
        match &self.failure {
            Some(failure) => write!(
                f,
                " At {} {} gave no targets, so the old ones stay: {}.",
                Time(failure.time_ns),
                failure.policy,
                failure.reason.trim_end_matches('.')
            ),
            None => Ok(()),
        }
    }

    fn write_row(&self, target: &Target, f: &mut Formatter<'_>) -> fmt::Result {
        let row = &target.row;
        write!(f, "\nAt {} it had {}", Time(target.row_ns), Pages(row.allocated_pages.into()))?;
        if let Some(active) = row.active_pages {
            write!(f, ", {} of its memory active", Pages(active.into()))?;
        }
        write!(f, "; min {}", Pages(self.entitlement.min_pages.into()))?;
        write!(f, ", max {}", Pages(self.entitlement.max_pages.into()))?;
        write!(f, ", {} shares.", self.entitlement.shares)?;
        self.write_price(row, f)?;
        if row.taxed_pages != 0 {
            let pages = Pages(row.taxed_pages.unsigned_abs());
            if row.taxed_pages > 0 {
                write!(f, " The tax on idle memory takes {pages} from its target.")?;
            } else {
                write!(f, " The tax on idle memory of others adds {pages} to its target.")?;
            }
        }
        match row.bound {
            Bound::None => Ok(()),
            Bound::Min => write!(f, " Its min holds the target up."),
            Bound::Max => write!(f, " Its max holds the target down."),
        }
    }

    fn write_price(&self, row: &Row, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(price) = row.price else { return self.write_cheapest(f) };
        write!(f, " It pays {} shares a page (adjusted)", Price(price))?;
        match &self.cheapest {
            Some(cheapest) if cheapest.serial == self.serial => {
                write!(f, ", the least of all that are above their min, so it loses the next page.")
            }
            Some(cheapest) => write!(f, "; {cheapest} loses the next page."),
            None => write!(f, "; nobody is above their min."),
        }
    }

    /// Who loses the next page, where there are no prices.
    fn write_cheapest(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.cheapest {
            Some(cheapest) if cheapest.serial == self.serial => write!(f, " It loses the next page."),
            Some(cheapest) => write!(f, " The next page is lost by {cheapest}."),
            None => Ok(()),
        }
    }

    fn write_action(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Action { balloon_pages, page_out_pages, blocked } = self.action;
        let mut done = vec![];
        if balloon_pages > 0 {
            done.push(format!("wants a balloon of {}", Pages(balloon_pages.into())));
        }
        if page_out_pages > 0 {
            done.push(format!("pages {} out", Pages(page_out_pages.into())));
        }
        if blocked {
            done.push("blocks it until it is at its target".into());
        }
        if done.is_empty() {
            return write!(f, "\nThe host takes nothing from it.");
        }
        write!(f, "\nThe host {}.", Listed(&done))
    }

    fn write_moves(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let since = if self.target.is_some() { "Since that target" } else { "Since its power-on" };
        let told = |(mechanism, pages)| match mechanism {
            Mechanism::BalloonFreed => None,
            Mechanism::BalloonInflate => Some(format!(
                "balloon +{} ({} freed)",
                Pages(pages),
                Pages(self.moved[Mechanism::BalloonFreed])
            )),
            _ => Some(format!("{} {}", mechanism.past(), Pages(pages))),
        };
        let moves: Vec<_> = self.moved.iter().filter_map(told).collect();
        if moves.is_empty() {
            return write!(f, "\n{since} none of its pages has moved.");
        }
        write!(f, "\n{since}: {}.", moves.join(", "))
    }
}

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_target(f)?;
        if let (Some(target), Some(decision)) = (&self.target, &self.decision) {
            self.write_host(decision, f)?;
            self.write_row(target, f)?;
        }
        self.write_action(f)?;
        self.write_moves(f)
    }
}

impl Display for NextToLose {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.name, self.price) {
            (Some(name), Some(price)) => {
                write!(f, "{name} pays the least of those above their min, {}, and", Price(price))
            }
            (Some(name), None) => write!(f, "{name}"),
            (None, _) => write!(f, "a VM that is gone by now"),
        }
    }
}

fn word(state: FreeState) -> &'static str {
    match state {
        FreeState::High => "high",
        FreeState::Soft => "soft",
        FreeState::Hard => "hard",
        FreeState::Low => "low",
    }
}

/// `a`, `a and b`, `a, b and c`.
struct Listed<'a>(&'a [String]);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            [first @ .., last] if !first.is_empty() => write!(f, "{} and {last}", first.join(", ")),
            rest => write!(f, "{}", rest.concat()),
        }
    }
}

/// Pages in MiB, few of them in pages.
struct Pages(u64);

impl Display for Pages {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "0 MiB"),
            1 => write!(f, "1 page"),
            2..FEW_PAGES => write!(f, "{} pages", self.0),
            pages => write!(f, "{:.1} MiB", pages as f64 / MIB_PAGES),
        }
    }
}

/// Pages in MiB and in pages.
struct InFull(u32);

impl Display for InFull {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match u64::from(self.0) {
            few @ 1..FEW_PAGES => write!(f, "{}", Pages(few)),
            pages => write!(f, "{} ({pages} pages)", Pages(pages)),
        }
    }
}

/// Virtual time in seconds, exactly.
struct Time(u64);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        match format!("{rest:09}").trim_end_matches('0') {
            "" => write!(f, "{seconds} s"),
            digits => write!(f, "{seconds}.{digits} s"),
        }
    }
}

/// A number with three significant digits where it is below 100.
struct Price(f64);

impl Display for Price {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut decimals = 0;
        let mut scaled = self.0.abs();
        while scaled > 0.0 && scaled < 99.95 && decimals < 9 {
            scaled *= 10.0;
            decimals += 1;
        }
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ledger;
    use super::super::record::{Cause, Cheapest, Newcomer, Occasion};
    use super::super::situation::Reconfigured;
    use super::*;
    use crate::config::LedgerConfig;
    use crate::types::VmId;

    const SECOND: u64 = 1_000_000_000;

    fn row(serial: u64, target_pages: u32, price: Option<f64>) -> Row {
        Row {
            serial,
            target_pages,
            allocated_pages: 45_824,
            active_pages: Some(2560),
            price,
            taxed_pages: 0,
            bound: Bound::None,
        }
    }

    fn occasion(cause: Cause, policy: &str) -> Occasion<'_> {
        Occasion {
            cause,
            policy,
            state: FreeState::Soft,
            available_pages: 91_648,
            free_pages: 2500,
            cheapest: Some(0),
        }
    }

    /// Two machines of 256 MiB in 358 MiB, the first of them idle (§7.3 of the paper).
    fn idle_and_busy() -> Ledger {
        let mut ledger = Ledger::new(&LedgerConfig::default());
        for (serial, name) in [(0, "idle"), (1, "busy")] {
            let entitlement = Entitlement { max_pages: 65_536, min_pages: 32_768, shares: 2560 };
            let vm = VmId(serial as u16);
            ledger.came(0, Newcomer { serial, vm, name: name.into(), entitlement });
        }
        ledger.state(700 * SECOND, FreeState::Soft, 2500);
        let rows = [row(0, 45_824, Some(0.0559)), row(1, 45_824, Some(0.0559))];
        ledger.targets(700 * SECOND, &occasion(Cause::StateChanged, "proportional"), &rows);
        let idle = Row { taxed_pages: 13_056, bound: Bound::Min, ..row(0, 32_768, Some(0.014_32)) };
        let rows = [idle, Row { taxed_pages: -13_056, ..row(1, 58_880, Some(0.0435)) }];
        ledger.targets(715 * SECOND, &occasion(Cause::Period, "esx2002"), &rows);
        ledger
    }

    fn text(ledger: &Ledger, serial: u64, time_ns: u64) -> String {
        ledger.why(serial, time_ns).expect("recorded").to_string()
    }

    #[test]
    fn a_vm_that_loses_memory_reads_why() {
        let mut ledger = idle_and_busy();
        let action = Action { balloon_pages: 32_768, page_out_pages: 100, blocked: true };
        ledger.action(716 * SECOND, 0, action);
        ledger.moved(717 * SECOND, 0, Mechanism::BalloonInflate, 3149);
        ledger.moved(717 * SECOND, 0, Mechanism::BalloonFreed, 2816);
        ledger.moved(718 * SECOND, 0, Mechanism::PageOut, 1);
        ledger.moved(718 * SECOND, 0, Mechanism::Merge, 25);
        assert_eq!(
            text(&ledger, 0, 720 * SECOND),
            "idle at 720 s: target 128.0 MiB (32768 pages), was 179.0 MiB. Set at 715 s by esx2002 because a balance \
             period was over.\n\
             The host then: state soft, 358.0 MiB available, 9.8 MiB free.\n\
             At 715 s it had 179.0 MiB, 10.0 MiB of its memory active; min 128.0 MiB, max 256.0 MiB, 2560 shares. \
             It pays 0.0143 shares a page (adjusted), the least of all that are above their min, so it loses the \
             next page. The tax on idle memory takes 51.0 MiB from its target. Its min holds the target up.\n\
             The host wants a balloon of 128.0 MiB, pages 0.4 MiB out and blocks it until it is at its target.\n\
             Since that target: merged 25 pages, balloon +12.3 MiB (11.0 MiB freed), paged out 1 page."
        );
    }

    #[test]
    fn a_vm_that_gains_memory_reads_who_pays() {
        let told = text(&idle_and_busy(), 1, 715 * SECOND + 250_000_000);
        for part in [
            "busy at 715.25 s: target 230.0 MiB (58880 pages), was 179.0 MiB.",
            "It pays 0.0435 shares a page (adjusted); idle pays the least of those above their min, 0.0143, and \
             loses the next page.",
            "The tax on idle memory of others adds 51.0 MiB to its target.",
            "\nThe host takes nothing from it.",
            "\nSince that target none of its pages has moved.",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }

    #[test]
    fn a_target_left_alone_keeps_its_day_and_tells_the_latest_state() {
        let mut ledger = idle_and_busy();
        let before = ledger.why(1, 720 * SECOND).expect("recorded");
        let rows =
            [row(0, 32_768, Some(0.0143)), Row { taxed_pages: -13_056, ..row(1, 58_880, Some(0.0435)) }];
        ledger.targets(
            730 * SECOND,
            &Occasion { available_pages: 91_000, ..occasion(Cause::Period, "esx2002") },
            &rows,
        );
        ledger.state(731 * SECOND, FreeState::Hard, 900);
        ledger.policy_failed(745 * SECOND, "mine", "ZeroDivisionError.");
        let after = ledger.why(1, 750 * SECOND).expect("recorded");
        assert_eq!(after.target, before.target);
        let told = after.to_string();
        for part in [
            "Set at 715 s by esx2002 because a balance period was over, left so at 730 s.",
            "state soft, 355.5 MiB available, 9.8 MiB free; all targets together are 2.5 MiB more than that, so \
             paging follows. State hard since 731 s. At 745 s mine gave no targets, so the old ones stay: \
             ZeroDivisionError.",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }

    #[test]
    fn a_target_that_was_clamped_says_so_until_somebody_decides() {
        let mut ledger = idle_and_busy();
        let entitlement = Entitlement { max_pages: 38_400, min_pages: 32_768, shares: 2560 };
        ledger.configured(720 * SECOND, 1, entitlement);
        let why = ledger.why(1, 721 * SECOND).expect("recorded");
        let target = why.target.as_ref().expect("set");
        assert_eq!((target.row.target_pages, target.row.bound), (38_400, Bound::Max));
        assert_eq!(target.reconfigured, Some(Reconfigured { time_ns: 720 * SECOND, decided_pages: 58_880 }));
        let told = why.to_string();
        for part in [
            "busy at 721 s: target 150.0 MiB (38400 pages), was 179.0 MiB. Set at 715 s by esx2002 because a balance \
             period was over. The VM was reconfigured at 720 s, which clamped the target from 230.0 MiB to \
             150.0 MiB; no policy has been asked since.\n",
            "max 150.0 MiB, 2560 shares.",
            " Its max holds the target down.",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
        // What was decided was not this target, so the decision that confirms it is the one that sets it.
        let row = target.row;
        ledger.targets(721 * SECOND, &occasion(Cause::Reconfigured, "esx2002"), &[row]);
        let after = ledger.why(1, 721 * SECOND).expect("recorded");
        let target = after.target.as_ref().expect("set");
        assert_eq!((target.reconfigured, target.before_pages), (None, Some(58_880)));
        assert_eq!(target.set_by.cause, Cause::Reconfigured);
        assert!(after.to_string().contains("Set at 721 s by esx2002 because a VM was reconfigured.\n"));
    }

    #[test]
    fn a_change_that_clamps_nothing_is_told_too() {
        let mut ledger = idle_and_busy();
        let entitlement = Entitlement { max_pages: 65_536, min_pages: 32_768, shares: 10 };
        ledger.configured(720 * SECOND, 1, entitlement);
        let part = " The VM was reconfigured at 720 s; no policy has been asked since.\n";
        assert!(text(&ledger, 1, 720 * SECOND).contains(part));
        let before = ledger.why(1, 720 * SECOND).expect("recorded").target.expect("set");
        let rows = [before.row];
        ledger.targets(721 * SECOND, &occasion(Cause::Reconfigured, "esx2002"), &rows);
        let after = ledger.why(1, 721 * SECOND).expect("recorded").target.expect("set");
        assert_eq!(
            (after.reconfigured, after.set_by, after.before_pages),
            (None, before.set_by, before.before_pages)
        );
    }

    #[test]
    fn without_a_decision_there_is_only_what_was_done() {
        let mut ledger = idle_and_busy();
        let entitlement = Entitlement { max_pages: 10, min_pages: 0, shares: 1 };
        ledger.came(716 * SECOND, Newcomer { serial: 2, vm: VmId(2), name: "new".into(), entitlement });
        ledger.moved(717 * SECOND, 2, Mechanism::ZeroFill, 7);
        assert_eq!(
            text(&ledger, 2, 718 * SECOND),
            "new at 718 s: no target yet; state soft.\nThe host takes nothing from it.\n\
             Since its power-on: first touched 7 pages."
        );
    }

    #[test]
    fn policies_without_prices_tell_who_is_next_if_they_can() {
        let mut ledger = idle_and_busy();
        let rows = [row(0, 40_000, None), row(1, 40_000, None)];
        ledger.targets(730 * SECOND, &occasion(Cause::PolicySet, "equal"), &rows);
        assert!(text(&ledger, 0, 730 * SECOND).contains("2560 shares. It loses the next page.\n"));
        assert!(text(&ledger, 1, 730 * SECOND).contains("2560 shares. The next page is lost by idle.\n"));
        ledger.went(731 * SECOND, 0);
        let why = ledger.why(1, 731 * SECOND).expect("recorded");
        assert_eq!(why.cheapest, Some(NextToLose { serial: 0, name: None, price: None }));
        assert!(why.to_string().contains("The next page is lost by a VM that is gone by now.\n"));
        let nobody = Occasion { cheapest: None, ..occasion(Cause::PowerOff, "equal") };
        ledger.targets(732 * SECOND, &nobody, &rows[1..]);
        assert!(!text(&ledger, 1, 732 * SECOND).contains("next page"));
    }

    #[test]
    fn the_cheapest_has_the_price_of_its_row() {
        let decision = idle_and_busy().now().decision.clone().expect("made");
        assert_eq!(decision.cheapest, Some(Cheapest { serial: 0, price: Some(0.014_32) }));
        assert_eq!(decision.target_pages, 91_648);
    }

    #[test]
    fn numbers_read_well() {
        let told = |pages| Pages(pages).to_string();
        assert_eq!(
            [0, 1, 2, 25, 26, 256].map(told),
            ["0 MiB", "1 page", "2 pages", "25 pages", "0.1 MiB", "1.0 MiB"]
        );
        assert_eq!(
            [0, 25, 256].map(|pages| InFull(pages).to_string()),
            ["0 MiB (0 pages)", "25 pages", "1.0 MiB (256 pages)"]
        );
        let price = |price: f64| Price(price).to_string();
        let prices = [0.0, 14.32, 0.014_32, 99.99, 1234.5, f64::INFINITY, 1e-12];
        assert_eq!(prices.map(price), ["0", "14.3", "0.0143", "100", "1234", "inf", "0.000000000"]);
        assert_eq!([0, 1, 1_500_000_000].map(|ns| Time(ns).to_string()), ["0 s", "0.000000001 s", "1.5 s"]);
        let list =
            |words: &[&str]| Listed(&words.iter().map(|w| (*w).to_string()).collect::<Vec<_>>()).to_string();
        assert_eq!([list(&["a"]), list(&["a", "b"]), list(&["a", "b", "c"])], ["a", "a and b", "a, b and c"]);
    }
}
