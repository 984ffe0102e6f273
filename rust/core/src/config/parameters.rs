//! Every number of the paper as a named default with its section.

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
    /// Largest balloon that a host lets any virtual machine have, as a fraction of its max; from the product's version 4.
    BALLOON_HOST_CAP_FRACTION: f64 = 0.65, "balloon_host_cap_fraction", "1", "3.2", Manual;
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
    /// What a cycle without failure adds to a driver's rate.
    BALLOON_RATE_STEP: u32 = 16, "balloon_rate_step", "pages/s", "3.2", Driver;
    /// Polls until a driver whose guest had nothing free allocates at the full rate again.
    BALLOON_SLOW_POLLS: u32 = 4, "balloon_slow_polls", "polls", "3.2", Driver;
    /// Polls in a row without progress after which a driver is taken to be stalled.
    BALLOON_STALLED_POLLS: u32 = 3, "balloon_stalled_polls", "polls", "3.2", Chosen;
    /// Pages that the server pages out a second, of all virtual machines together.
    SWAP_OUT_RATE: u32 = 4096, "swap_out_rate", "pages/s", "3.3", Chosen;
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
    /// The same of one with low shares.
    LOW_SHARES_PER_MIB: u32 = 5, "low_shares_per_mib", "shares", "5.1", Manual;
    /// The same of one with high shares.
    HIGH_SHARES_PER_MIB: u32 = 20, "high_shares_per_mib", "shares", "5.1", Manual;
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
    /// Most pages taken at once where a reference finds no free machine page.
    EMERGENCY_PAGES: u32 = 32, "emergency_pages", "pages", "6.3", Chosen;
    /// Copies after which an I/O page is hot.
    HOT_COPIES: u32 = 16, "hot_copies", "copies", "7", Chosen;
    /// Seconds after which copies and transfers of an I/O page count half.
    HOT_HALF_LIFE_S: u32 = 60, "hot_half_life_s", "s", "7", Chosen;
    /// End of the memory that every device reaches.
    LOW_MEMORY_GIB: u32 = 4, "low_memory_gib", "GiB", "7", Paper;
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
    fn a_frame_is_as_large_as_the_paper_says() {
        assert_eq!(FRAME_BYTES as usize, size_of::<crate::frame_table::Frame>());
    }
}
