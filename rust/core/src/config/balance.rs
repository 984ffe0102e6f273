//! The settings of memory's division: shares, thresholds, balloons, paging, the ledger (§3, §5, §6).

use super::parameters::*;
use crate::error::Error;

/// How a shared page counts for each virtual machine that has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedCharge {
    /// In full.
    #[default]
    Full,
    /// As its part: one page among all who share it.
    Fraction,
}

/// Whether a page is offered for sharing before it is paged out (§4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeforeSwap {
    /// It is.
    #[default]
    Share,
    /// It is written at once, whatever it holds.
    Write,
}

/// How a host divides its memory among virtual machines (§6).
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceConfig {
    /// Seconds between two computations of targets.
    pub balance_period_s: u32,
    /// How shared pages are charged.
    pub shared_charge: SharedCharge,
    /// What comes before paging out.
    pub before_swap: BeforeSwap,
    /// At which free memory the state changes.
    pub thresholds: ThresholdConfig,
    /// How large balloons may get.
    pub balloon: BalloonConfig,
    /// Pages that are paged out a second, of all virtual machines together.
    pub swap_out_rate: u32,
    /// How much is remembered of what was decided.
    pub ledger: LedgerConfig,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            balance_period_s: BALANCE_PERIOD_S,
            shared_charge: SharedCharge::default(),
            before_swap: BeforeSwap::default(),
            thresholds: ThresholdConfig::default(),
            balloon: BalloonConfig::default(),
            swap_out_rate: SWAP_OUT_RATE,
            ledger: LedgerConfig::default(),
        }
    }
}

impl BalanceConfig {
    /// Refuses settings that no host can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        if self.balance_period_s == 0 {
            let (value, expected) = ("0 s".into(), "at least one second".into());
            return Err(Error::Setting { what: "balance_period", value, expected });
        }
        if self.swap_out_rate == 0 {
            // A virtual machine that is held up could not come down to its target.
            let (value, expected) = ("0 pages a second".into(), "at least one page a second".into());
            return Err(Error::Setting { what: "swap_out_rate", value, expected });
        }
        self.thresholds.check()?;
        self.balloon.check()?;
        self.ledger.check()
    }
}

/// At which free memory a host changes its state, in fractions of machine memory (§6.3).
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdConfig {
    /// What reclaiming aims at, and what admission keeps free.
    pub high: f64,
    /// Below it balloons inflate.
    pub soft: f64,
    /// Below it the server pages.
    pub hard: f64,
    /// Below it virtual machines above their target are blocked; 0 if that should never be.
    pub low: f64,
    /// How far beyond the threshold of the better state free memory must rise before the state improves, in intervals
    /// between the two thresholds.
    pub margin: f64,
}

impl Default for ThresholdConfig {
    fn default() -> Self {
        Self {
            high: HIGH_THRESHOLD,
            soft: SOFT_THRESHOLD,
            hard: HARD_THRESHOLD,
            low: LOW_THRESHOLD,
            margin: STATE_MARGIN,
        }
    }
}

impl ThresholdConfig {
    /// Refuses settings that no host can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        self.check_order()?;
        let Self { high, soft, hard, low, margin } = *self;
        if !(margin.is_finite() && margin >= 0.0) {
            let expected = "a finite number of at least 0".into();
            return Err(Error::Setting { what: "state_margin", value: margin.to_string(), expected });
        }
        let marks =
            [(high, soft), (soft, hard), (hard, low)].map(|(upper, lower)| upper + (upper - lower) * margin);
        if marks.iter().any(|mark| *mark >= 1.0) {
            let expected = "so little that less than all memory must be free before a state improves".into();
            return Err(Error::Setting { what: "state_margin", value: margin.to_string(), expected });
        }
        Ok(())
    }

    /// 1 > high > soft > hard > low >= 0.
    fn check_order(&self) -> Result<(), Error> {
        let refuse =
            |what, value: f64, expected| Err(Error::Setting { what, value: value.to_string(), expected });
        if !(self.high > 0.0 && self.high < 1.0) {
            return refuse("high_threshold", self.high, "above 0 and below 1".into());
        }
        let lower = [
            ("soft_threshold", self.soft, "high_threshold", self.high),
            ("hard_threshold", self.hard, "soft_threshold", self.soft),
        ];
        for (what, value, above, limit) in lower {
            if !(value > 0.0 && value < limit) {
                return refuse(what, value, format!("above 0 and below {limit}, which is {above}"));
            }
        }
        if !(self.low >= 0.0 && self.low < self.hard) {
            let expected = format!("at least 0 and below {}, which is hard_threshold", self.hard);
            return refuse("low_threshold", self.low, expected);
        }
        Ok(())
    }
}

/// How large balloons may get (§3.2), in fractions of a virtual machine's max.
#[derive(Clone, Debug, PartialEq)]
pub struct BalloonConfig {
    /// The cap of a virtual machine that has none of its own.
    pub cap_fraction: f64,
    /// The cap of every virtual machine.
    pub host_cap_fraction: f64,
    /// Caps by the name of the guest's type, each name once.
    pub guest_type_caps: Vec<(String, f64)>,
}

impl Default for BalloonConfig {
    fn default() -> Self {
        Self {
            cap_fraction: BALLOON_CAP_FRACTION,
            host_cap_fraction: BALLOON_HOST_CAP_FRACTION,
            guest_type_caps: vec![],
        }
    }
}

impl BalloonConfig {
    /// The largest balloon of a virtual machine of `pages` pages: the least of `own` or the default, the host's cap and
    /// that of the guest's type. Fractions give the nearest whole page.
    #[must_use]
    pub fn cap_pages(&self, pages: u32, own: Option<u32>, guest_type: &str) -> u32 {
        let part = |fraction: f64| (f64::from(pages) * fraction).round() as u32;
        let own = own.unwrap_or_else(|| part(self.cap_fraction));
        let of_type = self.guest_type_caps.iter().find(|(name, _)| name == guest_type);
        let caps = [own, part(self.host_cap_fraction), of_type.map_or(u32::MAX, |(_, cap)| part(*cap))];
        caps.into_iter().fold(pages, u32::min)
    }

    /// Refuses settings that no host can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        let of_types = self.guest_type_caps.iter().map(|(_, cap)| ("balloon_guest_caps", *cap));
        let all = [("balloon_cap", self.cap_fraction), ("balloon_host_cap", self.host_cap_fraction)];
        for (what, cap) in all.into_iter().chain(of_types) {
            if !(0.0..=1.0).contains(&cap) {
                return Err(Error::Setting { what, value: cap.to_string(), expected: "0 to 1".into() });
            }
        }
        let mut names: Vec<&str> = self.guest_type_caps.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::Setting {
                what: "balloon_guest_caps",
                value: format!("{:?} twice", pair[0]),
                expected: "each guest type once".into(),
            }),
            None => Ok(()),
        }
    }
}

/// The balloon driver of a guest (§3.2). Its numbers make it a healthy one, or one that is absent, late, slow, stingy or
/// stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// Second after power-on, from 0, in which it begins to poll; none if the guest has no driver.
    pub start_s: Option<u32>,
    /// Most pages that it moves in a poll, either way.
    pub max_rate: u32,
    /// Largest balloon that it makes.
    pub limit_pages: u32,
    /// Second after power-on, from 0, in which it is heard no more.
    pub stuck_at_s: Option<u32>,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self { start_s: Some(0), max_rate: u32::MAX, limit_pages: u32::MAX, stuck_at_s: None }
    }
}

/// Records of decisions that a host keeps; chosen here.
pub const LEDGER_RECORDS: u32 = 1 << 14;

/// Most records that can be kept: of this many the memory is some 6 GiB.
pub const MAX_LEDGER_RECORDS: u32 = 1 << 26;

/// How much a host remembers of its decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// Records kept; 0 switches the ledger off.
    pub records: u32,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { records: LEDGER_RECORDS }
    }
}

impl LedgerConfig {
    /// Refuses settings that no host can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<(), Error> {
        if self.records > MAX_LEDGER_RECORDS {
            let expected = format!("0 to {MAX_LEDGER_RECORDS}");
            return Err(Error::Setting { what: "ledger_records", value: self.records.to_string(), expected });
        }
        Ok(())
    }
}

/// Entitlement of a virtual machine relative to others (§5.1): a number, or so many for each MiB of its max.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shares {
    /// [`LOW_SHARES_PER_MIB`].
    Low,
    /// [`SHARES_PER_MIB`].
    #[default]
    Normal,
    /// [`HIGH_SHARES_PER_MIB`].
    High,
    /// So many, 0 included.
    Number(u32),
}

/// What a virtual machine is promised and may claim (§6.1). What is not given follows from its max.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocationConfig {
    /// What it gets in any case; none takes half of max.
    pub min_pages: Option<u32>,
    /// Its part relative to others.
    pub shares: Shares,
    /// Memory it takes beyond its own (§6.2); none takes what its size needs.
    pub overhead_pages: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_cap_of_a_balloon_counts() {
        let caps = vec![("netware".into(), 0.29), ("windows".into(), 0.9)];
        let config = BalloonConfig { guest_type_caps: caps, ..BalloonConfig::default() };
        let table = [
            (100, None, "linux", 50),
            (101, None, "linux", 51),
            (100, Some(60), "linux", 60),
            (100, Some(80), "linux", 65),
            (100, Some(80), "windows", 65),
            (100, Some(u32::MAX), "windows", 65),
            (100, None, "netware", 29),
            (100, Some(10), "netware", 10),
            (100, Some(0), "linux", 0),
            (1, None, "linux", 1),
            (u32::MAX, Some(u32::MAX), "linux", 2_791_728_742),
        ];
        for (pages, own, guest_type, cap) in table {
            assert_eq!(config.cap_pages(pages, own, guest_type), cap, "{pages} {own:?} {guest_type}");
        }
        let whole = BalloonConfig { host_cap_fraction: 1.0, ..config };
        assert_eq!(whole.cap_pages(100, Some(101), "linux"), 100);
        assert_eq!(whole.cap_pages(100, Some(100), "windows"), 90);
    }

    #[test]
    fn balloon_settings_have_bounds() {
        let plain = BalloonConfig::default();
        let typed = |caps: &[(&str, f64)]| BalloonConfig {
            guest_type_caps: caps.iter().map(|(name, cap)| ((*name).into(), *cap)).collect(),
            ..plain.clone()
        };
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(typed(&[("b", 0.0), ("a", 1.0)]).check(), Ok(()));
        let wrong = [
            ("balloon_cap", BalloonConfig { cap_fraction: 1.01, ..plain.clone() }),
            ("balloon_host_cap", BalloonConfig { host_cap_fraction: f64::NAN, ..plain.clone() }),
            ("balloon_guest_caps", typed(&[("a", -0.1)])),
            ("balloon_guest_caps", typed(&[("a", 0.1), ("b", 0.1), ("a", 0.1)])),
        ];
        for (name, settings) in wrong {
            assert!(matches!(settings.check(), Err(Error::Setting { what, .. }) if what == name), "{name}");
        }
    }

    #[test]
    fn a_ledger_has_an_end() {
        for records in [0, 1, LEDGER_RECORDS, MAX_LEDGER_RECORDS] {
            assert_eq!(LedgerConfig { records }.check(), Ok(()));
        }
        let refused = LedgerConfig { records: MAX_LEDGER_RECORDS + 1 }.check();
        assert!(matches!(refused, Err(Error::Setting { what: "ledger_records", .. })));
    }

    #[test]
    fn thresholds_are_in_order() {
        let plain = ThresholdConfig::default;
        for fine in [
            plain(),
            ThresholdConfig { low: 0.0, ..plain() },
            ThresholdConfig { margin: 0.0, ..plain() },
            ThresholdConfig { high: 0.999, margin: 0.001, ..plain() },
        ] {
            assert_eq!(fine.check(), Ok(()));
        }
        let wrong = [
            ("high_threshold", ThresholdConfig { high: 1.0, ..plain() }),
            ("high_threshold", ThresholdConfig { high: f64::NAN, ..plain() }),
            ("high_threshold", ThresholdConfig { high: f64::INFINITY, ..plain() }),
            ("high_threshold", ThresholdConfig { high: -0.06, ..plain() }),
            ("soft_threshold", ThresholdConfig { soft: 0.06, ..plain() }),
            ("soft_threshold", ThresholdConfig { high: 0.04, ..plain() }),
            ("soft_threshold", ThresholdConfig { soft: f64::NAN, ..plain() }),
            ("hard_threshold", ThresholdConfig { hard: 0.05, ..plain() }),
            ("hard_threshold", ThresholdConfig { hard: 0.0, low: 0.0, ..plain() }),
            ("low_threshold", ThresholdConfig { low: 0.02, ..plain() }),
            ("low_threshold", ThresholdConfig { low: -0.01, ..plain() }),
            ("low_threshold", ThresholdConfig { low: f64::NAN, ..plain() }),
            ("state_margin", ThresholdConfig { margin: -0.25, ..plain() }),
            ("state_margin", ThresholdConfig { margin: f64::NAN, ..plain() }),
            ("state_margin", ThresholdConfig { margin: f64::INFINITY, ..plain() }),
            ("state_margin", ThresholdConfig { margin: 48.0, ..plain() }),
            ("state_margin", ThresholdConfig { margin: f64::MAX, ..plain() }),
        ];
        for (name, settings) in wrong {
            let refused = settings.check();
            assert!(
                matches!(refused, Err(Error::Setting { what, .. }) if what == name),
                "{name}: {refused:?}"
            );
        }
        let refused = ThresholdConfig { soft: 0.07, ..plain() }.check().map_err(|error| error.to_string());
        let expected = "soft_threshold is 0.07; expected above 0 and below 0.06, which is high_threshold";
        assert_eq!(refused, Err(expected.into()));
    }
}
