//! What things cost in time. docs/costs.md has the source of every number, or the word *chosen*, and what of paging that is
//! blind to the guest is paid for and what is not.

/// One disk, and its queue: first come, first served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskCosts {
    /// To get to another position.
    pub position_ns: u64,
    /// To transfer a page.
    pub page_ns: u64,
}

/// What things cost. Processor time unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostConfig {
    /// A reference that does not fault.
    pub access_ns: u64,
    /// A page zeroed at its first touch, or by the guest.
    pub zero_fill_ns: u64,
    /// A shared page copied for its writer.
    pub cow_break_ns: u64,
    /// A page that the scanner hashes; the host's time.
    pub scan_page_ns: u64,
    /// Two pages compared before they are shared; the host's time.
    pub compare_ns: u64,
    /// A page that moves into or out of a balloon; the guest's time.
    pub balloon_page_ns: u64,
    /// The fault by which a sampled page is counted.
    pub sample_fault_ns: u64,
    /// A page copied for a device that cannot reach it.
    pub io_copy_ns: u64,
    /// A page moved from high to low memory, or up to make room (§7): a copy, and every processor told of the new place.
    pub io_remap_ns: u64,
    /// A page handed to a device: addresses written where it looks for them, and the device told.
    pub dma_setup_ns: u64,
    /// An interrupt of a device, taken by the server and passed on to the guest.
    pub interrupt_ns: u64,
    /// A fault that the server handles without any of these.
    pub fault_ns: u64,
    /// The disk that holds the swap file and the guests' disks.
    pub disk: DiskCosts,
}

impl CostConfig {
    /// A server and a disk of 2002.
    pub const OF_2002: Self = Self {
        access_ns: 100,
        zero_fill_ns: 8_000,
        cow_break_ns: 14_000,
        scan_page_ns: 14_000,
        compare_ns: 14_000,
        balloon_page_ns: 3_000,
        sample_fault_ns: 2_000,
        io_copy_ns: 14_000,
        io_remap_ns: 56_000,
        dma_setup_ns: 1_000,
        interrupt_ns: 10_000,
        fault_ns: 2_000,
        disk: DiskCosts { position_ns: 8_000_000, page_ns: 100_000 },
    };

    /// A server and an NVMe drive of today.
    pub const NVME: Self = Self {
        access_ns: 5,
        zero_fill_ns: 800,
        cow_break_ns: 1_500,
        scan_page_ns: 250,
        compare_ns: 400,
        balloon_page_ns: 500,
        sample_fault_ns: 700,
        io_copy_ns: 1_500,
        io_remap_ns: 12_000,
        dma_setup_ns: 200,
        interrupt_ns: 2_000,
        fault_ns: 700,
        disk: DiskCosts { position_ns: 80_000, page_ns: 2_000 },
    };

    /// Both, by name.
    pub const PRESETS: [(&'static str, Self); 2] = [("2002", Self::OF_2002), ("nvme", Self::NVME)];

    /// Copies after which a page is to be moved so that, by these costs, no page ever costs more than twice the best course
    /// chosen in hindsight.
    #[must_use]
    pub fn competitive_threshold(&self) -> u32 {
        super::competitive_threshold(self.io_copy_ns, self.io_remap_ns)
    }
}

impl Default for CostConfig {
    fn default() -> Self {
        Self::NVME
    }
}
