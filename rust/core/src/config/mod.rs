//! Every number of the paper as a named default with its section (`parameters`), and the settings that hosts and virtual
//! machines take: those of memory's division in `balance`, all others here.

mod balance;
mod costs;
mod devices;
mod guest;
mod parameters;
mod remap;

pub use balance::*;
pub use costs::*;
pub use devices::*;
pub use guest::*;
pub use parameters::*;
pub use remap::*;

use crate::error::Error;
use crate::rng::Seed;
use crate::types::ContentKind;

/// The standard normal quantile of [`SAMPLE_CONFIDENCE`], two-sided.
pub const SAMPLE_CONFIDENCE_Z: f64 = 1.959_963_984_540_054;

/// Most pages that can be sampled in a period: they tell the fraction to ±0.1 %.
pub const MAX_SAMPLE_PAGES: u32 = 1 << 20;

/// In which order a virtual machine's pages are scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOrder {
    /// For each pass a fresh pseudo-random permutation of clusters of neighbouring pages: a pass meets every page once.
    Permutation,
    /// Independent draws, as the paper scans (§4.3).
    Draws,
}

/// With what pages are hashed; the choice changes hash values and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashPath {
    /// The fastest that the processor has.
    Fastest,
    /// The same on every processor.
    Portable,
}

/// Which virtual machines may share with each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Salt {
    /// Everyone without a salt.
    None,
    /// Nobody else.
    PerVm,
    /// Everyone with the same name.
    Named(String),
}

/// How a host shares pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharingConfig {
    /// Order of a scan.
    pub order: ScanOrder,
    /// Pages of one virtual machine scanned each second; 0 with `host_rate` 0 switches the scanner off.
    pub vm_rate: u32,
    /// Pages of all of them scanned each second.
    pub host_rate: u32,
    /// With what pages are hashed.
    pub hash_path: HashPath,
    /// What is kept of a page's hash. Experiments clear bits to make collisions, long chains and false matches happen.
    pub hash_mask: u64,
    /// The sharing domain of virtual machines that do not name one.
    pub salt: Salt,
}

impl Default for SharingConfig {
    fn default() -> Self {
        Self {
            order: ScanOrder::Permutation,
            vm_rate: SCAN_VM_RATE,
            host_rate: SCAN_HOST_RATE,
            hash_path: HashPath::Fastest,
            hash_mask: u64::MAX,
            salt: Salt::None,
        }
    }
}

/// How a host samples active memory (§5.3).
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingConfig {
    /// Pages of each virtual machine sampled in a period, all of a smaller one; 0 switches sampling off.
    pub pages: u32,
    /// Length of a period in the virtual machine's own time.
    pub period_s: u32,
    /// What the slow moving average keeps of its old value.
    pub slow_keep: f64,
    /// What the fast moving average keeps of its old value.
    pub fast_keep: f64,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            pages: SAMPLE_PAGES,
            period_s: SAMPLE_PERIOD_S,
            slow_keep: SAMPLE_SLOW_KEEP,
            fast_keep: SAMPLE_FAST_KEEP,
        }
    }
}

impl SamplingConfig {
    /// Refuses settings that no host can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    fn check(&self) -> Result<(), Error> {
        let refuse = |what, value, expected| Err(Error::Setting { what, value, expected });
        if self.pages > MAX_SAMPLE_PAGES {
            return refuse("sample_pages", self.pages.to_string(), format!("0 to {MAX_SAMPLE_PAGES}"));
        }
        if self.period_s == 0 {
            return refuse("sample_period", "0 s".into(), "at least one second".into());
        }
        if !(0.0..1.0).contains(&self.slow_keep) {
            let expected = "at least 0 and below 1".into();
            return refuse("sample_slow_keep", self.slow_keep.to_string(), expected);
        }
        if !(0.0..=self.slow_keep).contains(&self.fast_keep) {
            let expected = format!("0 to {}, which is sample_slow_keep", self.slow_keep);
            return refuse("sample_fast_keep", self.fast_keep.to_string(), expected);
        }
        Ok(())
    }
}

/// What a host is.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// Machine memory.
    pub machine_pages: u32,
    /// Slots of the swap file.
    pub swap_pages: u32,
    /// How pages' contents are held.
    pub content: ContentKind,
    /// What everything random comes from.
    pub seed: Seed,
    /// How pages are shared.
    pub sharing: SharingConfig,
    /// How active memory is sampled.
    pub sampling: SamplingConfig,
    /// What devices reach, and what becomes of pages that they do not.
    pub remap: RemapConfig,
    /// How memory is divided; none leaves it to those who come first: nothing is reserved, reclaimed or refused while
    /// a page is free.
    pub balance: Option<BalanceConfig>,
}

impl HostConfig {
    /// A host of that size with the paper's defaults.
    #[must_use]
    pub fn new(machine_pages: u32, content: ContentKind, seed: Seed) -> Self {
        Self { balance: Some(BalanceConfig::default()), ..Self::bare(machine_pages, content, seed) }
    }

    /// A host that divides nothing: memory is given to those who come first until none is left.
    #[must_use]
    pub fn bare(machine_pages: u32, content: ContentKind, seed: Seed) -> Self {
        Self {
            balance: None,
            machine_pages,
            swap_pages: machine_pages,
            content,
            seed,
            sharing: SharingConfig::default(),
            sampling: SamplingConfig::default(),
            remap: RemapConfig::default(),
        }
    }

    /// Refuses settings that no host can have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first one.
    pub fn check(&self) -> Result<(), Error> {
        if self.machine_pages == 0 {
            return Err(Error::Setting {
                what: "memory",
                value: "0 pages".into(),
                expected: "at least one page".into(),
            });
        }
        self.balance.as_ref().map_or(Ok(()), BalanceConfig::check)?;
        self.remap.check(self.machine_pages)?;
        self.sampling.check()
    }
}

/// What a virtual machine is; what it does not say follows from its size or from the host's rules.
#[derive(Clone, Debug, PartialEq)]
pub struct VmConfig {
    /// Name, unique on its host.
    pub name: String,
    /// Its "physical" memory (§6.1).
    pub max_pages: u32,
    /// What it is promised and may claim (§6.1).
    pub allocation: AllocationConfig,
    /// Most pages that its balloon may take (§3.2); none takes the host's fraction of its max.
    pub balloon_limit: Option<u32>,
    /// The balloon driver in its guest.
    pub driver: DriverConfig,
    /// The operating system of its guest.
    pub guest: GuestConfig,
    /// Its devices.
    pub devices: DeviceConfig,
    /// Its sharing domain; the host's rule.
    pub salt: Option<Salt>,
}

impl VmConfig {
    /// A virtual machine that says nothing but its name and its size.
    #[must_use]
    pub fn new(name: impl Into<String>, max_pages: u32) -> Self {
        Self {
            name: name.into(),
            max_pages,
            allocation: AllocationConfig::default(),
            balloon_limit: None,
            driver: DriverConfig::default(),
            guest: GuestConfig::default(),
            devices: DeviceConfig::default(),
            salt: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_settings_have_bounds() {
        let plain = SamplingConfig::default();
        assert_eq!(plain.check(), Ok(()));
        assert_eq!(
            SamplingConfig { pages: 0, slow_keep: 0.0, fast_keep: 0.0, ..plain.clone() }.check(),
            Ok(())
        );
        let wrong = [
            ("sample_pages", SamplingConfig { pages: MAX_SAMPLE_PAGES + 1, ..plain.clone() }),
            ("sample_period", SamplingConfig { period_s: 0, ..plain.clone() }),
            ("sample_slow_keep", SamplingConfig { slow_keep: 1.0, ..plain.clone() }),
            ("sample_slow_keep", SamplingConfig { slow_keep: f64::NAN, ..plain.clone() }),
            ("sample_fast_keep", SamplingConfig { fast_keep: -0.1, ..plain.clone() }),
            ("sample_fast_keep", SamplingConfig { fast_keep: 0.95, ..plain.clone() }),
        ];
        for (name, settings) in wrong {
            assert!(matches!(settings.check(), Err(Error::Setting { what, .. }) if what == name), "{name}");
        }
    }
}
