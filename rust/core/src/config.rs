//! Every number of the paper as a named default with its section, and the settings that hosts and virtual machines take.

use crate::error::Error;
use crate::rng::Seed;
use crate::types::ContentKind;

/// How well a number is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// Read in the paper.
    Paper,
    /// Read in notes on the paper that others published.
    Notes,
    /// Read in the product's manual of about the same age.
    Manual,
    /// Read in the product's own driver for a public guest.
    Driver,
    /// Chosen here; the paper is silent.
    Chosen,
}

/// One number that the engine takes from the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Name, as settings have it.
    pub name: &'static str,
    /// Value in `unit`.
    pub value: f64,
    /// Unit.
    pub unit: &'static str,
    /// Section of the paper.
    pub section: &'static str,
    /// How well it is known.
    pub confidence: Confidence,
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $constant:ident: $kind:ty = $value:expr, $name:literal, $unit:literal, $section:literal, $confidence:ident;)*) => {
        $($(#[$doc])* pub const $constant: $kind = $value;)*
        /// All of them, in the order of the paper.
        pub const PARAMETERS: &[Parameter] = &[$(Parameter {
            name: $name,
            value: $constant as f64,
            unit: $unit,
            section: $section,
            confidence: Confidence::$confidence,
        },)*];
    };
}

parameters! {
    /// Seconds between two questions of a balloon driver for its target.
    BALLOON_POLL_S: u32 = 1, "balloon_poll_s", "s", "3.2", Notes;
    /// Largest balloon, as a fraction of the virtual machine's max.
    BALLOON_CAP_FRACTION: f64 = 0.5, "balloon_cap_fraction", "1", "3.2", Manual;
    /// Lowest rate at which a driver allocates while the guest may sleep.
    BALLOON_SLEEP_MIN_RATE: u32 = 512, "balloon_sleep_min_rate", "pages/s", "3.2", Driver;
    /// Highest rate at which a driver allocates while the guest may sleep.
    BALLOON_SLEEP_MAX_RATE: u32 = 2048, "balloon_sleep_max_rate", "pages/s", "3.2", Driver;
    /// Rate at which a driver allocates as long as nothing has to wait.
    BALLOON_NOSLEEP_RATE: u32 = 16_384, "balloon_nosleep_rate", "pages/s", "3.2", Driver;
    /// Lowest rate at which a driver gives pages back.
    BALLOON_FREE_MIN_RATE: u32 = 512, "balloon_free_min_rate", "pages/s", "3.2", Driver;
    /// Highest rate at which a driver gives pages back.
    BALLOON_FREE_MAX_RATE: u32 = 16_384, "balloon_free_max_rate", "pages/s", "3.2", Driver;
    /// Width of a page's hash.
    HASH_BITS: u32 = 64, "hash_bits", "bits", "4.3", Paper;
    /// Size of a hint frame or shared frame.
    FRAME_BYTES: u32 = 16, "frame_bytes", "bytes", "4.3", Paper;
    /// Width of a shared frame's reference count; larger counts overflow into a table.
    COUNT_BITS: u32 = 16, "count_bits", "bits", "4.3", Paper;
    /// Most that sharing's own structures may take of machine memory.
    SHARING_METADATA_FRACTION: f64 = 0.005, "sharing_metadata_fraction", "1", "4.3", Paper;
    /// Pages of one virtual machine that are scanned each second.
    SCAN_VM_RATE: u32 = 50, "scan_vm_rate", "pages/s", "4.3", Manual;
    /// Pages of the whole host that are scanned each second.
    SCAN_HOST_RATE: u32 = 200, "scan_host_rate", "pages/s", "4.3", Manual;
    /// Shares of a virtual machine for each MiB of its max.
    SHARES_PER_MIB: u32 = 10, "shares_per_mib", "shares", "5.1", Manual;
    /// Most shares of a virtual machine.
    MAX_SHARES: u32 = 100_000, "max_shares", "shares", "5.1", Manual;
    /// Largest fraction of idle pages that may be reclaimed: the idle memory tax.
    TAX_RATE: f64 = 0.75, "tax_rate", "1", "5.2", Paper;
    /// Pages sampled in a period.
    SAMPLE_PAGES: u32 = 100, "sample_pages", "pages", "5.3", Paper;
    /// Length of a sampling period, in the virtual machine's own time.
    SAMPLE_PERIOD_S: u32 = 30, "sample_period_s", "s", "5.3", Paper;
    /// Confidence of the interval of one period.
    SAMPLE_CONFIDENCE: f64 = 0.95, "sample_confidence", "1", "5.3", Chosen;
    /// What the slow moving average keeps of its old value.
    SAMPLE_SLOW_KEEP: f64 = 0.9, "sample_slow_keep", "1", "5.3", Chosen;
    /// What the fast moving average keeps of its old value.
    SAMPLE_FAST_KEEP: f64 = 0.3, "sample_fast_keep", "1", "5.3", Chosen;
    /// Memory that each virtual machine takes beyond its own.
    OVERHEAD_MIB: u32 = 32, "overhead_mib", "MiB", "6.2", Notes;
    /// Size from which the overhead grows.
    OVERHEAD_GROWS_ABOVE_MIB: u32 = 512, "overhead_grows_above_mib", "MiB", "6.2", Manual;
    /// Overhead for each further GiB.
    OVERHEAD_PER_GIB_MIB: u32 = 32, "overhead_per_gib_mib", "MiB", "6.2", Manual;
    /// Seconds between two computations of targets.
    BALANCE_PERIOD_S: u32 = 15, "balance_period_s", "s", "6.3", Manual;
    /// Free memory above which nothing is reclaimed.
    HIGH_THRESHOLD: f64 = 0.06, "high_threshold", "of memory", "6.3", Notes;
    /// Free memory below which balloons inflate.
    SOFT_THRESHOLD: f64 = 0.04, "soft_threshold", "of memory", "6.3", Notes;
    /// Free memory below which the server pages.
    HARD_THRESHOLD: f64 = 0.02, "hard_threshold", "of memory", "6.3", Notes;
    /// Free memory below which virtual machines above their target are blocked.
    LOW_THRESHOLD: f64 = 0.01, "low_threshold", "of memory", "6.3", Notes;
    /// How far into the next interval free memory must rise before the state improves.
    STATE_MARGIN: f64 = 0.25, "state_margin", "of interval", "6.3", Chosen;
    /// Copies after which an I/O page is hot.
    HOT_COPIES: u32 = 16, "hot_copies", "copies", "7", Chosen;
    /// End of the memory that every device reaches.
    LOW_MEMORY_GIB: u32 = 4, "low_memory_gib", "GiB", "7", Paper;
}

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
}

impl HostConfig {
    /// A host of that size with the paper's defaults.
    #[must_use]
    pub fn new(machine_pages: u32, content: ContentKind, seed: Seed) -> Self {
        Self {
            machine_pages,
            swap_pages: machine_pages,
            content,
            seed,
            sharing: SharingConfig::default(),
            sampling: SamplingConfig::default(),
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
        self.sampling.check()
    }
}

/// What a virtual machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmConfig {
    /// Name, unique on its host.
    pub name: String,
    /// Its "physical" memory (§6.1).
    pub max_pages: u32,
    /// Its sharing domain; none takes the host's rule.
    pub salt: Option<Salt>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_names_of_their_own() {
        let mut names: Vec<_> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PARAMETERS.len());
    }

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

    #[test]
    fn a_frame_is_as_large_as_the_paper_says() {
        assert_eq!(FRAME_BYTES as usize, size_of::<crate::frame_table::Frame>());
    }
}
